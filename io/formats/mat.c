#include "mat.h"

#include "deflate.h"

#include <inttypes.h>
#include <string.h>

enum { HEAD = 128, DEPTH = 64, MATRIX = 14, COMPRESSED = 15 };

/* Bytes of one element of a storage type (miINT8 ...), 0: not one of numbers or text. */
static int64_t storage_size(int type) {
    static const int8_t size[19] = {0, 1, 1, 2, 2, 4, 4, 4, 0, 8, 0, 0, 8, 8, 0, 0, 1, 2, 4};
    return type >= 0 && type < 19 ? size[type] : 0;
}

const char *gy_mat_class_name(gy_mat_class c) {
    static const char *const name[] = {"?",      "cell",   "struct", "object", "char",     "sparse",
                                       "double", "single", "int8",   "uint8",  "int16",    "uint16",
                                       "int32",  "uint32", "int64",  "uint64", "function", "opaque"};
    return c >= GY_MAT_CELL && c <= GY_MAT_OPAQUE ? name[c] : name[0];
}

/* ---- elements: a tag of type and size, then data, padded to 8 bytes ---- */

typedef struct element {
    int type;
    uint64_t at, bytes, next; /* of the data; next: the element after it */
} element;

static uint32_t u32(const gy_mat *m, const uint8_t *p) {
    return m->big_endian ? gy_be32(p) : gy_le32(p);
}

/* The element at `at`, inside [at, end). */
static gy_status tag(const gy_mat *m, const gy_bytes *f, uint64_t at, uint64_t end, element *e) {
    uint8_t p[8];
    if (end < at || end - at < 8)
        return gy_bytes_fail(f, at, "expected an element of at least 8 bytes, found %" PRIu64, end < at ? 0 : end - at);
    gy_status s = gy_bytes_read(f, at, p, 8);
    if (s != GY_OK) return s;
    uint32_t first = u32(m, p);
    if (first >> 16) { /* small: size and type share four bytes, the data is in the other four */
        *e = (element){(int)(first & 0xffff), at + 4, first >> 16, at + 8};
        if (e->bytes > 4)
            return gy_bytes_fail(f, at, "a small element of %" PRIu64 " bytes: expected at most 4", e->bytes);
        return GY_OK;
    }
    *e = (element){(int)first, at + 8, u32(m, p + 4), 0};
    if (e->bytes > end - e->at)
        return gy_bytes_fail(f, at, "an element of %" PRIu64 " bytes: %" PRIu64 " are left", e->bytes, end - e->at);
    uint64_t padded = e->type == COMPRESSED ? e->bytes : (e->bytes + 7) & ~(uint64_t)7;
    e->next = e->at + (padded < end - e->at ? padded : end - e->at); /* the last one's padding may be missing */
    return GY_OK;
}

/* The next element, which must be of one of two types. */
static gy_status part(const gy_mat *m, const gy_bytes *f, uint64_t *at, uint64_t end, int type, int other,
                      const char *what, element *e) {
    gy_status s = tag(m, f, *at, end, e);
    if (s == GY_OK && e->type != type && e->type != other)
        return gy_bytes_fail(f, *at, "%s: expected element type %d, found %d", what, type, e->type);
    *at = e->next;
    return s;
}

/* ---- nodes ---- */

static gy_status add_node(gy_mat *m, const gy_bytes *f, uint64_t count, int64_t *first) {
    gy_status s = gy_bytes_limit(f, GY_LIMIT_ENTRIES, (uint64_t)m->n + count, "arrays");
    if (s != GY_OK) return s;
    int64_t want = m->n + (int64_t)count, room = 16;
    while (room < m->n) room *= 2; /* what is there now */
    if (m->n == 0) room = 0;
    if (want > room) {
        int64_t more = room ? room : 16;
        while (more < want) more *= 2;
        gy_mat_node *grown = gy_realloc(m->ctx, m->node, (size_t)more * sizeof *grown);
        if (!grown) return GY_ERR_NOMEM;
        m->node = grown;
    }
    *first = m->n;
    memset(m->node + m->n, 0, (size_t)count * sizeof *m->node);
    m->n = want;
    return GY_OK;
}

/* A matrix's content, still to be read. */
typedef struct pending {
    int64_t node;
    const gy_bytes *from;
    uint64_t at, end;
    bool named; /* it has a name of its own (fields and cells do not) */
} pending;
typedef struct queue {
    pending *p;
    int64_t n, room, done;
} queue;

static gy_status push(gy_mat *m, queue *q, pending p) {
    if (q->n == q->room) {
        int64_t room = q->room ? 2 * q->room : 16;
        pending *more = gy_realloc(m->ctx, q->p, (size_t)room * sizeof *more);
        if (!more) return GY_ERR_NOMEM;
        q->p = more;
        q->room = room;
    }
    q->p[q->n++] = p;
    return GY_OK;
}

/* `count` matrices one after the other from `at`: nodes of their own, read later. */
static gy_status children(gy_mat *m, queue *q, const pending *p, uint64_t at, uint64_t count, int64_t fields) {
    const gy_bytes *f = p->from;
    int64_t first, depth = m->node[p->node].depth + 1;
    if (depth > DEPTH) return gy_bytes_fail(f, at, "nested deeper than %d", DEPTH);
    if (count > (p->end - at) / 8) /* each takes a tag at least */
        return gy_bytes_fail(f, at, "%" PRIu64 " arrays announced, %" PRIu64 " bytes are left", count, p->end - at);
    gy_status s = add_node(m, f, count, &first);
    if (s != GY_OK) return s;
    m->node[p->node].part = first;
    m->node[p->node].fields = fields;
    for (uint64_t i = 0; s == GY_OK && i < count; i++) {
        element e;
        s = part(m, f, &at, p->end, MATRIX, MATRIX, "element of a cell or struct", &e);
        m->node[first + (int64_t)i].depth = depth;
        m->node[first + (int64_t)i].name = (char *)(uintptr_t) "";
        if (s == GY_OK) s = push(m, q, (pending){first + (int64_t)i, f, e.at, e.at + e.bytes, false});
    }
    return s;
}

/* ---- matrices ---- */

static gy_status dims(gy_mat *m, const pending *p, uint64_t *at, gy_mat_node *n) {
    const gy_bytes *f = p->from;
    element e;
    uint64_t count = 1;
    uint8_t v[4 * GY_MAT_RANK];
    gy_status s = part(m, f, at, p->end, 5, 6, "dimensions", &e);
    if (s != GY_OK) return s;
    if (e.bytes % 4 || e.bytes < 8 || e.bytes > sizeof v)
        return gy_bytes_fail(f, e.at, "%" PRIu64 " dimensions: expected 2 to %d", e.bytes / 4, GY_MAT_RANK);
    s = gy_bytes_read(f, e.at, v, e.bytes);
    n->rank = (int64_t)e.bytes / 4;
    for (int64_t i = 0; s == GY_OK && i < n->rank; i++) {
        uint32_t d = u32(m, v + 4 * i);
        if (d > INT32_MAX) return gy_bytes_fail(f, e.at, "dimension %" PRId64 " is negative", i);
        n->dim[i] = d;
        if (!gy_mul_u64(count, d, &count) || count > INT64_MAX / 16)
            return gy_bytes_fail(f, e.at, "the product of the dimensions is too large");
    }
    n->count = (int64_t)count;
    return s;
}

static gy_status copy_name(gy_mat *m, const gy_bytes *f, uint64_t at, uint64_t bytes, char **out) {
    gy_status s = gy_bytes_limit(f, GY_LIMIT_NAME, bytes, "bytes of a name");
    if (s != GY_OK) return s;
    *out = gy_arena_alloc(&m->arena, bytes + 1);
    return *out ? gy_bytes_read(f, at, *out, bytes) : GY_ERR_NOMEM;
}

static gy_status structure(gy_mat *m, queue *q, const pending *p, uint64_t at) {
    const gy_bytes *f = p->from;
    element e;
    uint8_t four[4];
    uint64_t total;
    gy_status s = GY_OK;
    if (m->node[p->node].class == GY_MAT_OBJECT) s = part(m, f, &at, p->end, 1, 1, "class name", &e);
    if (s == GY_OK) s = part(m, f, &at, p->end, 5, 5, "length of field names", &e);
    if (s == GY_OK && e.bytes != 4) return gy_bytes_fail(f, e.at, "length of field names: expected one number");
    if (s == GY_OK) s = gy_bytes_read(f, e.at, four, 4);
    if (s != GY_OK) return s;
    uint32_t width = u32(m, four);
    s = part(m, f, &at, p->end, 1, 1, "field names", &e);
    if (s != GY_OK) return s;
    if (width == 0 || width > 4096 || e.bytes % width)
        return gy_bytes_fail(f, e.at, "%" PRIu64 " bytes of field names of %" PRIu32 " bytes each", e.bytes, width);
    uint64_t fields = e.bytes / width;
    if (!gy_mul_u64((uint64_t)m->node[p->node].count, fields, &total)) return gy_bytes_fail(f, e.at, "too many fields");
    s = children(m, q, p, at, total, (int64_t)fields);
    for (uint64_t k = 0; s == GY_OK && k < fields && total; k++) {
        char *name;
        s = copy_name(m, f, e.at + k * width, width, &name);
        if (s == GY_OK && !memchr(name, 0, width)) return gy_bytes_fail(f, e.at + k * width, "a field name has no end");
        for (uint64_t i = k; s == GY_OK && i < total; i += fields)
            m->node[m->node[p->node].part + (int64_t)i].name = name;
    }
    return s;
}

/* Where the values are; that they are as many as the dimensions say. */
static gy_status values(gy_mat *m, const pending *p, uint64_t at) {
    const gy_bytes *f = p->from;
    gy_mat_node *n = &m->node[p->node];
    element e;
    uint64_t want = (uint64_t)n->count;
    gy_status s;
    if (n->class == GY_MAT_SPARSE) {
        uint8_t four[4];
        uint32_t last = 0;
        if (n->rank != 2) return gy_bytes_fail(f, at, "a sparse array of rank %" PRId64, n->rank);
        s = part(m, f, &at, p->end, 5, 5, "row indices", &e);
        n->ir = e.at, n->n_ir = e.bytes / 4;
        if (s == GY_OK) s = part(m, f, &at, p->end, 5, 5, "column starts", &e);
        if (s != GY_OK) return s;
        n->jc = e.at, n->n_jc = e.bytes / 4;
        if (n->n_jc != (uint64_t)n->dim[1] + 1)
            return gy_bytes_fail(f, e.at, "%" PRIu64 " column starts for %" PRId64 " columns", n->n_jc, n->dim[1]);
        for (uint64_t c = 0; c < n->n_jc; c++) {
            s = gy_bytes_read(f, n->jc + 4 * c, four, 4);
            if (s != GY_OK) return s;
            uint32_t v = u32(m, four);
            if ((c == 0 && v != 0) || v < last || v > n->n_ir)
                return gy_bytes_fail(f, n->jc + 4 * c, "column start %" PRIu32 " after %" PRIu32 " of %" PRIu64, v,
                                     last, n->n_ir);
            last = v;
        }
        for (uint64_t i = 0; i < last; i++) {
            s = gy_bytes_read(f, n->ir + 4 * i, four, 4);
            if (s != GY_OK) return s;
            if (u32(m, four) >= (uint64_t)n->dim[0])
                return gy_bytes_fail(f, n->ir + 4 * i, "row index %" PRIu32 " of %" PRId64 " rows", u32(m, four),
                                     n->dim[0]);
        }
        want = last;
    }
    if (n->class == GY_MAT_SPARSE && want == 0) return GY_OK;
    s = tag(m, f, at, p->end, &e);
    if (s != GY_OK) return s;
    int64_t size = storage_size(e.type);
    if (!size) return gy_bytes_fail(f, at, "values of element type %d", e.type);
    n->storage = e.type;
    n->at = e.at;
    n->bytes = e.bytes;
    if (n->class == GY_MAT_CHAR && e.type == 16) return GY_OK; /* UTF-8: fewer characters than bytes */
    uint64_t have = e.bytes / (uint64_t)size;
    if (e.bytes % (uint64_t)size || (n->class == GY_MAT_SPARSE ? have < want : have != want))
        return gy_bytes_fail(f, e.at, "%" PRIu64 " values are announced, %" PRIu64 " are there", want, have);
    at = e.next;
    if (n->complex) {
        uint64_t real = e.bytes / (uint64_t)size;
        s = tag(m, f, at, p->end, &e);
        if (s == GY_OK && (!storage_size(e.type) || e.bytes / (uint64_t)storage_size(e.type) != real))
            return gy_bytes_fail(f, at, "the imaginary part is not like the real one");
    }
    return s;
}

static gy_status matrix(gy_mat *m, queue *q, const pending *p) {
    const gy_bytes *f = p->from;
    element e;
    uint64_t at = p->at;
    uint8_t flags[8];
    m->node[p->node].from = f;
    if (at == p->end) { /* an empty array may have no content at all */
        m->node[p->node].class = GY_MAT_DOUBLE;
        m->node[p->node].rank = 2;
        m->node[p->node].storage = 9;
        return GY_OK;
    }
    gy_status s = part(m, f, &at, p->end, 6, 6, "array flags", &e);
    if (s == GY_OK && e.bytes != 8)
        return gy_bytes_fail(f, e.at, "array flags: expected 8 bytes, found %" PRIu64, e.bytes);
    if (s == GY_OK) s = gy_bytes_read(f, e.at, flags, 8);
    if (s != GY_OK) return s;
    uint32_t word = u32(m, flags), class = word & 0xff;
    gy_mat_node n = m->node[p->node];
    n.class = (gy_mat_class) class;
    n.complex = word & 0x800;
    n.logical = word & 0x200;
    if (class < GY_MAT_CELL || class > GY_MAT_OPAQUE) return gy_bytes_fail(f, e.at, "array class %" PRIu32, class);
    if (class == GY_MAT_OPAQUE) { /* no dimensions: its name comes first */
        if (p->named) {
            s = part(m, f, &at, p->end, 1, 1, "name", &e);
            if (s == GY_OK) s = copy_name(m, f, e.at, e.bytes, &n.name);
        }
        n.rank = 2;
        m->node[p->node] = n;
        return s;
    }
    s = dims(m, p, &at, &n);
    if (s == GY_OK) s = part(m, f, &at, p->end, 1, 1, "name", &e);
    if (s == GY_OK && p->named) s = copy_name(m, f, e.at, e.bytes, &n.name);
    m->node[p->node] = n;
    if (s != GY_OK || class == GY_MAT_FUNCTION) return s;
    if (class == GY_MAT_CELL) return children(m, q, p, at, (uint64_t)n.count, 1);
    if (class == GY_MAT_STRUCT || class == GY_MAT_OBJECT) return structure(m, q, p, at);
    return values(m, p, at);
}

/* ---- compressed variables ---- */

static gy_status inflate(gy_mat *m, const element *e, const gy_bytes **out) {
    gy_bytes *f = &m->file;
    uint8_t *head = NULL, *all = NULL;
    uint64_t n = 0, size, most;
    gy_status s = gy_inflate_prefix(f, e->at, e->bytes, GY_DEFLATE_ZLIB, 8, &head, &n);
    if (s == GY_OK && (n < 8 || u32(m, head) != MATRIX))
        s = gy_bytes_fail(f, e->at, "a compressed element holds no array");
    size = s == GY_OK ? (uint64_t)u32(m, head + 4) + 8 : 0;
    gy_free(m->ctx, head);
    if (s != GY_OK) return s;
    if (!gy_mul_u64(e->bytes + 8, f->limits.v[GY_LIMIT_INFLATE_RATIO], &most) || size > most)
        return gy_bytes_fail(f, e->at, "%" PRIu64 " bytes are announced from %" PRIu64 " compressed ones", size,
                             e->bytes);
    s = gy_inflate(f, e->at, e->bytes, GY_DEFLATE_ZLIB, size, &all, &n);
    if (s == GY_ERR_FORMAT) {
        gy_error_clear(m->ctx);
        s = gy_inflate_prefix(f, e->at, e->bytes, GY_DEFLATE_ZLIB, size, &all, &n);
        if (s == GY_OK && n != size) {
            gy_free(m->ctx, all);
            return gy_bytes_fail(f, e->at, "the compressed array has %" PRIu64 " bytes, announced are %" PRIu64, n,
                                 size);
        }
        if (s == GY_OK)
            gy_warn(m->ctx, "%s: a compressed array has bytes too many or a wrong checksum; read as announced",
                    f->path);
    }
    if (s != GY_OK) return s;
    gy_bytes *slot = gy_arena_alloc(&m->arena, sizeof *slot); /* stays where it is: nodes point to it */
    gy_bytes **list = gy_realloc(m->ctx, m->inflated, (size_t)(m->n_inflated + 1) * sizeof *list);
    if (list) m->inflated = list;
    if (!slot || !list) {
        gy_free(m->ctx, all);
        return GY_ERR_NOMEM;
    }
    s = gy_bytes_from_memory(m->ctx, f->path, all, size, &f->limits, slot);
    if (s != GY_OK) {
        gy_free(m->ctx, all);
        return s;
    }
    m->inflated[m->n_inflated++] = slot;
    *out = slot;
    return GY_OK;
}

/* ---- opening ---- */

static gy_status variables(gy_mat *m, queue *q) {
    const gy_bytes *f = &m->file;
    gy_status s = GY_OK;
    for (uint64_t at = HEAD; s == GY_OK && at < f->size;) {
        element e, inner;
        const gy_bytes *from = f;
        uint64_t begin, end;
        int64_t node;
        s = tag(m, f, at, f->size, &e);
        if (s != GY_OK) return s;
        if (e.type != MATRIX && e.type != COMPRESSED)
            return gy_bytes_fail(f, at, "expected an array (type 14 or 15), found type %d", e.type);
        begin = e.at, end = e.at + e.bytes;
        if (e.type == COMPRESSED) {
            s = inflate(m, &e, &from);
            if (s == GY_OK) s = tag(m, from, 0, from->size, &inner);
            begin = inner.at, end = inner.at + inner.bytes;
        }
        if (s == GY_OK) s = add_node(m, f, 1, &node);
        if (s != GY_OK) return s;
        m->node[node].name = (char *)(uintptr_t) "";
        s = push(m, q, (pending){node, from, begin, end, true});
        at = e.next;
    }
    m->n_top = m->n;
    return s;
}

static gy_status header(gy_mat *m) {
    const gy_bytes *f = &m->file;
    uint8_t h[HEAD];
    gy_status s = gy_bytes_read(f, 0, h, HEAD);
    if (s != GY_OK) return s;
    if (memcmp(h, "\x89HDF", 4) == 0 || memcmp(h, "MATLAB 7.3", 10) == 0)
        return gy_fail(m->ctx, GY_ERR_UNSUPPORTED,
                       "%s: a MAT file of version 7.3 (HDF5); save it with -v7 to have it read here", f->path);
    bool little = h[126] == 'I' && h[127] == 'M', big = h[126] == 'M' && h[127] == 'I';
    if (!little && !big) return gy_bytes_fail(f, 126, "no MAT file of level 5: expected the byte-order mark IM or MI");
    m->big_endian = big;
    uint32_t version = big ? gy_be16(h + 124) : gy_le16(h + 124);
    if (version != 0x0100) return gy_bytes_fail(f, 124, "MAT version 0x%04x: expected 0x0100", (unsigned)version);
    return GY_OK;
}

gy_status gy_mat_open(gy_ctx *ctx, const char *path, const gy_limits *limits, gy_mat *m) {
    *m = (gy_mat){.ctx = ctx};
    gy_arena_init(&m->arena, ctx);
    queue q = {0};
    gy_status s = gy_bytes_open(ctx, path, limits, &m->file);
    if (s == GY_OK) s = header(m);
    if (s == GY_OK) s = variables(m, &q);
    for (; s == GY_OK && q.done < q.n; q.done++) {
        pending p = q.p[q.done]; /* the queue may move */
        s = matrix(m, &q, &p);
    }
    for (int64_t i = 0; s == GY_OK && i < m->n_top; i++)
        for (int64_t k = 0; s == GY_OK && k < i && m->n_top <= 4096; k++)
            if (strcmp(m->node[i].name, m->node[k].name) == 0 && *m->node[i].name)
                s = gy_bytes_fail_key(&m->file, m->node[i].name, "is there twice");
    gy_free(ctx, q.p);
    if (s != GY_OK) gy_mat_close(m);
    return s;
}

void gy_mat_close(gy_mat *m) {
    if (!m->ctx) return;
    for (int64_t i = 0; i < m->n_inflated; i++) {
        void *data = (void *)(uintptr_t)m->inflated[i]->data;
        gy_bytes_close(m->inflated[i]);
        gy_free(m->ctx, data);
    }
    gy_free(m->ctx, m->inflated);
    gy_free(m->ctx, m->node);
    gy_bytes_close(&m->file);
    gy_arena_free(&m->arena);
    *m = (gy_mat){0};
}

/* ---- looking up ---- */

int64_t gy_mat_find(const gy_mat *m, const char *name) {
    for (int64_t i = 0; i < m->n_top; i++)
        if (strcmp(m->node[i].name, name) == 0) return i;
    return -1;
}

int64_t gy_mat_field(const gy_mat *m, int64_t node, int64_t i, const char *name) {
    if (node < 0 || node >= m->n) return -1;
    const gy_mat_node *n = &m->node[node];
    if ((n->class != GY_MAT_STRUCT && n->class != GY_MAT_OBJECT) || i < 0 || i >= n->count) return -1;
    for (int64_t k = 0; k < n->fields; k++)
        if (strcmp(m->node[n->part + i * n->fields + k].name, name) == 0) return n->part + i * n->fields + k;
    return -1;
}

int64_t gy_mat_cell(const gy_mat *m, int64_t node, int64_t i) {
    if (node < 0 || node >= m->n || m->node[node].class != GY_MAT_CELL || i < 0 || i >= m->node[node].count) return -1;
    return m->node[node].part + i;
}

/* ---- values ---- */

static double stored(int type, const uint8_t *q, bool big) {
    uint8_t p[8];
    int64_t n = storage_size(type);
    for (int64_t i = 0; i < n; i++) p[i] = q[big ? n - 1 - i : i];
    float f;
    double d;
    uint32_t u = n == 4 ? gy_le32(p) : 0;
    uint64_t w = n == 8 ? gy_le64(p) : 0;
    switch (type) {
    case 1: return (int8_t)p[0];
    case 2:
    case 16: return p[0];
    case 3: return (int16_t)gy_le16(p);
    case 4:
    case 17: return gy_le16(p);
    case 5: return (int32_t)u;
    case 6:
    case 18: return u;
    case 7: memcpy(&f, &u, sizeof f); return (double)f;
    case 12: return (double)(int64_t)w;
    case 13: return (double)w;
    default: memcpy(&d, &w, sizeof d); return d;
    }
}

static bool has_numbers(const gy_mat_node *n) {
    return n->class >= GY_MAT_DOUBLE && n->class <= GY_MAT_UINT64;
}

bool gy_mat_number(const gy_mat *m, int64_t node, int64_t i, double *out) {
    if (node < 0 || node >= m->n) return false;
    const gy_mat_node *n = &m->node[node];
    uint8_t p[8];
    if ((!has_numbers(n) && n->class != GY_MAT_CHAR) || !n->storage || i < 0 || i >= n->count) return false;
    int64_t size = storage_size(n->storage);
    if ((uint64_t)((i + 1) * size) > n->bytes) return false;
    if (gy_bytes_read(n->from, n->at + (uint64_t)(i * size), p, (uint64_t)size) != GY_OK) return false;
    *out = stored(n->storage, p, m->big_endian);
    return true;
}

/* One code point as UTF-8; what is none (a lone surrogate) becomes U+FFFD. */
static size_t utf8(uint32_t c, char *out) {
    if (c > 0x10ffff || (c >= 0xd800 && c < 0xe000)) c = 0xfffd;
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const uint8_t first[] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (size_t i = n - 1; i > 0; i--, c >>= 6) out[i] = (char)(0x80 | (c & 0x3f));
    out[0] = (char)(first[n] | c);
    return n;
}

char *gy_mat_text(const gy_mat *m, int64_t node) {
    const gy_mat_node *n = node >= 0 && node < m->n ? &m->node[node] : NULL;
    if (!n || n->class != GY_MAT_CHAR || (n->bytes && !n->storage)) {
        (void)gy_fail(m->ctx, GY_ERR_FORMAT, "%s: expected text, found %s", m->file.path,
                      n ? gy_mat_class_name(n->class) : "nothing");
        return NULL;
    }
    int64_t size = n->storage ? storage_size(n->storage) : 1, count = (int64_t)n->bytes / size;
    const uint8_t *p;
    void *owned;
    char *out = gy_malloc(m->ctx, (size_t)(4 * count + 1));
    if (!out) return NULL;
    size_t used = 0;
    if (count && gy_bytes_borrow(n->from, n->at, n->bytes, &p, &owned) != GY_OK) {
        gy_free(m->ctx, out);
        return NULL;
    }
    if (!count) owned = NULL;
    if (n->storage == 16) { /* UTF-8 already */
        memcpy(out, p, n->bytes);
        used = n->bytes;
    } else {
        int64_t rows = n->rank == 2 && n->dim[0] > 1 && n->count == count ? n->dim[0] : 1;
        for (int64_t k = 0; k < count; k++) { /* column-major to rows */
            int64_t i = rows > 1 ? k / (count / rows) + k % (count / rows) * rows : k;
            uint32_t c = (uint32_t)stored(n->storage, p + i * size, m->big_endian);
            if (size == 2 && c >= 0xd800 && c < 0xdc00 && rows == 1 && k + 1 < count) {
                uint32_t low = (uint32_t)stored(n->storage, p + (i + 1) * size, m->big_endian);
                if (low >= 0xdc00 && low < 0xe000) {
                    c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
                    k++;
                }
            }
            used += utf8(c, out + used);
        }
    }
    out[used] = 0;
    gy_free(m->ctx, owned);
    return out;
}

static gy_dtype dtype_of(const gy_mat_node *n) {
    static const gy_dtype types[] = {
        [GY_MAT_SPARSE] = GY_F64, [GY_MAT_DOUBLE] = GY_F64, [GY_MAT_SINGLE] = GY_F32, [GY_MAT_INT8] = GY_I8,
        [GY_MAT_UINT8] = GY_U8,   [GY_MAT_INT16] = GY_I16,  [GY_MAT_UINT16] = GY_U16, [GY_MAT_INT32] = GY_I32,
        [GY_MAT_UINT32] = GY_U32, [GY_MAT_INT64] = GY_I64,  [GY_MAT_UINT64] = GY_U64};
    return types[n->class];
}

/* Values of one size and sort as the class's need no conversion. */
static bool same_bytes(const gy_mat_node *n) {
    static const int8_t own[] = {
        [GY_MAT_DOUBLE] = 9, [GY_MAT_SINGLE] = 7, [GY_MAT_INT8] = 1,   [GY_MAT_UINT8] = 2,  [GY_MAT_INT16] = 3,
        [GY_MAT_UINT16] = 4, [GY_MAT_INT32] = 5,  [GY_MAT_UINT32] = 6, [GY_MAT_INT64] = 12, [GY_MAT_UINT64] = 13};
    return has_numbers(n) && own[n->class] == n->storage;
}

gy_status gy_mat_tensor(const gy_mat *m, int64_t node, gy_tensor *out) {
    const gy_mat_node *n = node >= 0 && node < m->n ? &m->node[node] : NULL;
    if (!n || n->complex || (!has_numbers(n) && n->class != GY_MAT_SPARSE))
        return gy_fail(m->ctx, GY_ERR_UNSUPPORTED, "%s: '%s': expected real numbers, found %s%s", m->file.path,
                       n ? n->name : "", n && n->complex ? "complex " : "",
                       n ? gy_mat_class_name(n->class) : "nothing");
    gy_shape shape = {.rank = n->rank};
    for (int64_t i = 0; i < n->rank; i++) shape.dim[i] = n->dim[n->rank - 1 - i];
    bool sparse = n->class == GY_MAT_SPARSE;
    if (sparse) {
        gy_status s =
            gy_bytes_limit(n->from, GY_LIMIT_IMAGE_PIXELS, (uint64_t)n->count, "elements of a sparse array made dense");
        if (s != GY_OK) return s;
    }
    gy_status s = gy_tensor_new(m->ctx, out, dtype_of(n), shape);
    const uint8_t *p = NULL, *jc = NULL, *ir = NULL;
    void *owned = NULL, *owned_jc = NULL, *owned_ir = NULL;
    if (s == GY_OK && n->bytes) s = gy_bytes_borrow(n->from, n->at, n->bytes, &p, &owned);
    int64_t size = storage_size(n->storage);
    if (s == GY_OK && p && !sparse && same_bytes(n)) {
        memcpy(out->data, p, n->bytes);
        if (m->big_endian) gy_swap_bytes(out->data, n->count, (size_t)size);
    } else if (s == GY_OK && p && !sparse) {
        for (int64_t i = 0; i < n->count; i++) gy_tensor_set(out, i, stored(n->storage, p + i * size, m->big_endian));
    } else if (s == GY_OK && p) {
        s = gy_bytes_borrow(n->from, n->jc, 4 * n->n_jc, &jc, &owned_jc);
        if (s == GY_OK) s = gy_bytes_borrow(n->from, n->ir, 4 * n->n_ir, &ir, &owned_ir);
        for (int64_t c = 0; s == GY_OK && c < n->dim[1]; c++)
            for (uint32_t k = u32(m, jc + 4 * c); k < u32(m, jc + 4 * c + 4); k++)
                gy_tensor_set(out, c * n->dim[0] + (int64_t)u32(m, ir + 4 * k),
                              stored(n->storage, p + k * size, m->big_endian));
    }
    gy_free(m->ctx, owned);
    gy_free(m->ctx, owned_jc);
    gy_free(m->ctx, owned_ir);
    if (s != GY_OK) gy_tensor_free(m->ctx, out);
    return s;
}
