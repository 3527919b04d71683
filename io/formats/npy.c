#include "npy.h"
#include "../files.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { PREFIX = 10 }; /* magic, version, two bytes of header length */
static const uint8_t magic[6] = {0x93, 'N', 'U', 'M', 'P', 'Y'};

/* ---- the header: a Python literal such as {'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), } ---- */

typedef struct header {
    gy_dtype dtype;
    bool swap, fortran;
    gy_shape shape;
} header;

typedef struct parser {
    const gy_bytes *src;
    const char *s;
    uint64_t n, i, at;
} parser;

static gy_status refuse(const parser *p, const char *what) {
    return gy_bytes_fail(p->src, p->at + p->i, "npy header: %s", what);
}

static void skip_space(parser *p) {
    while (p->i < p->n && (p->s[p->i] == ' ' || p->s[p->i] == '\n' || p->s[p->i] == '\t' || p->s[p->i] == '\r')) p->i++;
}

static bool accept(parser *p, char c) {
    skip_space(p);
    if (p->i >= p->n || p->s[p->i] != c) return false;
    p->i++;
    return true;
}

static bool accept_word(parser *p, const char *word) {
    uint64_t k = strlen(word);
    skip_space(p);
    if (p->n - p->i < k || memcmp(p->s + p->i, word, (size_t)k) != 0) return false;
    p->i += k;
    return true;
}

/* A quoted string without escapes, which no legal header has. */
static bool quoted(parser *p, char *out, size_t room) {
    skip_space(p);
    char q = p->i < p->n ? p->s[p->i] : 0;
    if (q != '\'' && q != '"') return false;
    uint64_t start = ++p->i;
    while (p->i < p->n && p->s[p->i] != q) {
        if (p->s[p->i] == '\\' || p->s[p->i] == 0) return false;
        p->i++;
    }
    uint64_t k = p->i - start;
    if (p->i >= p->n || k >= room) return false;
    memcpy(out, p->s + start, (size_t)k);
    out[k] = 0;
    p->i++;
    return true;
}

static gy_status read_descr(parser *p, header *h) {
    static const struct {
        const char *code;
        gy_dtype dtype;
    } types[] = {{"f2", GY_F16}, {"f4", GY_F32}, {"f8", GY_F64}, {"b1", GY_BOOL}, {"i1", GY_I8},  {"u1", GY_U8},
                 {"i2", GY_I16}, {"u2", GY_U16}, {"i4", GY_I32}, {"u4", GY_U32},  {"i8", GY_I64}, {"u8", GY_U64}};
    static const struct {
        char kind;
        const char *what;
    } others[] = {{'O', "Python objects (pickled code)"},
                  {'S', "byte strings"},
                  {'U', "strings"},
                  {'V', "raw or structured data"},
                  {'M', "dates"},
                  {'m', "time spans"},
                  {'c', "complex numbers"},
                  {'f', "floats of another size"}};
    char descr[64], shown[256];
    uint64_t start = p->i;
    if (accept(p, '[')) return refuse(p, "structured types are not supported");
    if (!quoted(p, descr, sizeof descr)) return refuse(p, "descr: expected a type such as '<f4'");
    const char *code = strchr("<>=|", descr[0]) && descr[0] ? descr + 1 : descr;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        if (strcmp(code, types[i].code) != 0) continue;
        h->dtype = types[i].dtype;
        h->swap = descr[0] == (gy_host_is_little_endian() ? '>' : '<') && gy_dtype_size(h->dtype) > 1;
        return GY_OK;
    }
    gy_show_text(descr, strlen(descr), shown, sizeof shown);
    p->i = start;
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (code[0] == others[i].kind)
            return gy_bytes_fail(p->src, p->at + start, "npy header: descr '%s': %s are not supported", shown,
                                 others[i].what);
    return gy_bytes_fail(p->src, p->at + start, "npy header: descr '%s': unknown type", shown);
}

/* A tuple of integers. (3) is an integer in brackets, not a tuple. */
static gy_status read_shape(parser *p, header *h) {
    bool comma = true;
    int64_t rank = 0;
    if (!accept(p, '(')) return refuse(p, "shape: expected a tuple such as (3,)");
    for (; !accept(p, ')'); rank++) {
        if (!comma) return refuse(p, "shape: expected ',' or ')'");
        skip_space(p);
        uint64_t start = p->i;
        while (p->i < p->n && p->s[p->i] >= '0' && p->s[p->i] <= '9') p->i++;
        int64_t dim;
        if (!gy_parse_int(p->s + start, (size_t)(p->i - start), &dim)) {
            p->i = start;
            return refuse(p, "shape: expected a dimension in 0 .. 2^63 - 1");
        }
        if (rank < GY_MAX_RANK) h->shape.dim[rank] = dim;
        if (p->i < p->n && p->s[p->i] == 'L') p->i++; /* Python 2 wrote 3L */
        comma = accept(p, ',');
    }
    if (rank == 1 && !comma) return refuse(p, "shape: expected a tuple such as (3,), found a number in brackets");
    if (rank > GY_MAX_RANK)
        return gy_bytes_fail(p->src, p->at + p->i, "npy header: shape: rank %" PRId64 ", at most %d is supported", rank,
                             GY_MAX_RANK);
    h->shape.rank = rank;
    return GY_OK;
}

static gy_status read_dict(parser *p, header *h) {
    bool seen[3] = {false}, comma = true;
    if (!accept(p, '{')) return refuse(p, "expected a dictionary '{...}'");
    while (!accept(p, '}')) {
        static const char *const keys[3] = {"descr", "fortran_order", "shape"};
        char key[64], shown[256];
        uint64_t start = p->i;
        if (!comma) return refuse(p, "expected ',' or '}'");
        if (!quoted(p, key, sizeof key)) return refuse(p, "expected a key in quotes");
        if (!accept(p, ':')) return refuse(p, "expected ':'");
        int k = 0;
        while (k < 3 && strcmp(key, keys[k]) != 0) k++;
        gy_show_text(key, strlen(key), shown, sizeof shown);
        if (k == 3) return gy_bytes_fail(p->src, p->at + start, "npy header: unknown key '%s'", shown);
        if (seen[k]) return gy_bytes_fail(p->src, p->at + start, "npy header: the key '%s' appears twice", shown);
        seen[k] = true;
        gy_status s = GY_OK;
        if (k == 0)
            s = read_descr(p, h);
        else if (k == 2)
            s = read_shape(p, h);
        else if (accept_word(p, "True"))
            h->fortran = true;
        else if (!accept_word(p, "False"))
            s = refuse(p, "fortran_order: expected True or False");
        if (s != GY_OK) return s;
        comma = accept(p, ',');
    }
    if (!seen[0]) return refuse(p, "the key 'descr' is missing");
    if (!seen[1]) return refuse(p, "the key 'fortran_order' is missing");
    if (!seen[2]) return refuse(p, "the key 'shape' is missing");
    skip_space(p);
    return p->i == p->n ? GY_OK : refuse(p, "text after the dictionary");
}

/* *data_at: where the elements begin. */
static gy_status read_header(const gy_bytes *src, header *h, uint64_t *data_at) {
    uint8_t head[PREFIX + 2] = {0};
    gy_status s = gy_bytes_read(src, 0, head, PREFIX);
    if (s != GY_OK) return s;
    if (memcmp(head, magic, sizeof magic) != 0)
        return gy_bytes_fail(src, 0, "npy: expected \\x93NUMPY: not an .npy file");
    uint64_t length = gy_le16(head + 8), at = PREFIX;
    if (head[6] < 1 || head[6] > 3 || head[7] != 0)
        return gy_bytes_fail(src, 6, "npy: version: expected 1.0, 2.0 or 3.0, found %u.%u", head[6], head[7]);
    if (head[6] > 1) {
        s = gy_bytes_read(src, 8, head + 8, 4);
        if (s != GY_OK) return s;
        length = gy_le32(head + 8);
        at += 2;
    }
    if (!gy_bytes_has(src, at, length))
        return gy_bytes_fail(src, 8, "npy: header length: expected at most %" PRIu64 ", found %" PRIu64, src->size - at,
                             length);
    s = gy_bytes_limit(src, GY_LIMIT_NPY_HEADER, length, "npy header length");
    if (s != GY_OK) return s;
    const uint8_t *text;
    void *owned;
    s = gy_bytes_borrow(src, at, length, &text, &owned);
    if (s != GY_OK) return s;
    parser p = {.src = src, .s = (const char *)text, .n = length, .at = at};
    s = read_dict(&p, h);
    gy_free(src->ctx, owned);
    *data_at = at + length;
    return s;
}

/* ---- elements ---- */

/* Column-major to row-major: walks the result in order, the source by strides. */
static gy_status from_fortran(gy_ctx *ctx, gy_tensor *t) {
    if (t->shape.rank < 2 || gy_tensor_bytes(t) == 0) return GY_OK;
    gy_tensor r;
    gy_status s = gy_tensor_new(ctx, &r, t->dtype, t->shape);
    if (s != GY_OK) return s;
    int64_t rank = t->shape.rank, index[GY_MAX_RANK] = {0}, stride[GY_MAX_RANK], from = 0, n = gy_shape_count(t->shape);
    size_t size = gy_dtype_size(t->dtype);
    stride[0] = 1;
    for (int64_t d = 1; d < rank; d++) stride[d] = stride[d - 1] * t->shape.dim[d - 1];
    for (int64_t i = 0; i < n; i++) {
        memcpy((char *)r.data + (size_t)i * size, (const char *)t->data + (size_t)from * size, size);
        int64_t d = rank - 1;
        for (; d >= 0; d--) {
            from += stride[d];
            if (++index[d] < t->shape.dim[d]) break;
            from -= stride[d] * index[d];
            index[d] = 0;
        }
    }
    gy_tensor_free(ctx, t);
    *t = r;
    return GY_OK;
}

static gy_status check_size(const gy_bytes *src, const header *h, uint64_t at) {
    uint64_t bytes;
    char text[GY_SHAPE_TEXT];
    if (!gy_shape_bytes(h->dtype, h->shape, &bytes))
        return gy_bytes_fail(src, PREFIX, "npy: shape %s is beyond 64 bits", gy_shape_text(h->shape, text));
    if (bytes != src->size - at)
        return gy_bytes_fail(src, at, "npy: data of %s %s: expected %" PRIu64 " bytes, found %" PRIu64,
                             gy_dtype_name(h->dtype), gy_shape_text(h->shape, text), bytes, src->size - at);
    return GY_OK;
}

gy_status gy_npy_parse(const gy_bytes *src, gy_tensor *out) {
    *out = (gy_tensor){0};
    header h = {0};
    uint64_t at = 0;
    gy_status s = read_header(src, &h, &at);
    if (s == GY_OK) s = check_size(src, &h, at);
    if (s == GY_OK) s = gy_tensor_new(src->ctx, out, h.dtype, h.shape);
    if (s == GY_OK) s = gy_bytes_read(src, at, out->data, src->size - at);
    if (s == GY_OK) {
        if (h.swap) gy_swap_bytes(out->data, gy_shape_count(h.shape), gy_dtype_size(h.dtype));
        uint8_t *truth = out->data;
        for (int64_t i = 0; h.dtype == GY_BOOL && i < gy_shape_count(h.shape); i++) truth[i] = truth[i] != 0;
        if (h.fortran) s = from_fortran(src->ctx, out);
    }
    if (s != GY_OK) gy_tensor_free(src->ctx, out);
    return s;
}

gy_status gy_npy_read(gy_ctx *ctx, const char *path, gy_tensor *out) {
    gy_bytes b;
    *out = (gy_tensor){0};
    gy_status s = gy_bytes_open(ctx, path, NULL, &b);
    if (s != GY_OK) return s;
    s = gy_npy_parse(&b, out);
    gy_bytes_close(&b);
    return s;
}

/* ---- writing ---- */

static void shape_literal(gy_shape s, char *buf, size_t n) {
    size_t o = 0;
    for (int64_t i = 0; i < s.rank; i++) o += (size_t)snprintf(buf + o, n - o, i ? ", %" PRId64 : "%" PRId64, s.dim[i]);
    if (s.rank == 1) snprintf(buf + o, n - o, ",");
    if (s.rank == 0) buf[0] = 0;
}

/* Version 1.0, padded so that the elements begin at a multiple of 64; returns the length. */
static size_t make_header(const gy_tensor *t, uint8_t out[512]) {
    static const char *const codes[GY_DTYPE_COUNT] = {
        [GY_F32] = "f4", [GY_F64] = "f8", [GY_F16] = "f2", [GY_BOOL] = "b1", [GY_I8] = "i1",  [GY_U8] = "u1",
        [GY_I16] = "i2", [GY_U16] = "u2", [GY_I32] = "i4", [GY_U32] = "u4",  [GY_I64] = "i8", [GY_U64] = "u8"};
    char shape[256], *text = (char *)out + PREFIX;
    shape_literal(t->shape, shape, sizeof shape);
    char order = gy_dtype_size(t->dtype) == 1 ? '|' : gy_host_is_little_endian() ? '<' : '>';
    int k = snprintf(text, 512 - PREFIX, "{'descr': '%c%s', 'fortran_order': False, 'shape': (%s), }", order,
                     codes[t->dtype], shape);
    size_t total = (PREFIX + (size_t)k + 1 + 63) / 64 * 64;
    memset(text + k, ' ', total - PREFIX - (size_t)k);
    out[total - 1] = '\n';
    memcpy(out, magic, sizeof magic);
    out[6] = 1;
    out[7] = 0;
    gy_put_le16(out + 8, (uint16_t)(total - PREFIX));
    return total;
}

/* *t, or a widened copy of it in *owned (all zero if none). */
static gy_status numpy_type(gy_ctx *ctx, const gy_tensor **t, gy_tensor *owned) {
    *owned = (gy_tensor){0};
    if ((*t)->dtype != GY_BF16) return GY_OK;
    gy_status s = gy_tensor_cast(ctx, *t, GY_F32, owned);
    *t = owned;
    return s;
}

gy_status gy_npy_encode(gy_ctx *ctx, const gy_tensor *t, uint8_t **out, uint64_t *size) {
    uint8_t head[512];
    gy_tensor owned;
    *out = NULL;
    *size = 0;
    gy_status s = numpy_type(ctx, &t, &owned);
    if (s != GY_OK) return s;
    size_t h = make_header(t, head), n = gy_tensor_bytes(t);
    *out = gy_malloc(ctx, h + n);
    if (*out) {
        memcpy(*out, head, h);
        if (n) memcpy(*out + h, t->data, n);
        *size = h + n;
    } else
        s = GY_ERR_NOMEM;
    gy_tensor_free(ctx, &owned);
    return s;
}

gy_status gy_npy_write(gy_ctx *ctx, const char *path, const gy_tensor *t) {
    uint8_t head[512];
    gy_tensor owned;
    gy_writer *w = NULL;
    gy_status s = numpy_type(ctx, &t, &owned);
    if (s == GY_OK) s = gy_writer_open(ctx, path, &w);
    if (s == GY_OK) s = gy_writer_put(w, head, make_header(t, head));
    if (s == GY_OK) s = gy_writer_put(w, t->data, gy_tensor_bytes(t));
    if (s == GY_OK)
        s = gy_writer_commit(w);
    else
        gy_writer_abort(w);
    gy_tensor_free(ctx, &owned);
    return s;
}
