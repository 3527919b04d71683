#include "pth.h"
#include "deflate.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* What is needed while the file is being opened. */
typedef struct opening {
    gy_pth *f;
    gy_pickle pickle;
    gy_zip zip;
    const char *prefix; /* of the archive's members, with its last '/'; NULL: the older layout */
    gy_dict members;    /* member name to entry of the zip */
    gy_dict keys;       /* storage key to storage */
    uint64_t room_entries, room_storages;
} opening;

static gy_status refuse(const opening *o, const char *name, const char *what) {
    return gy_bytes_fail_key(&o->f->src, name, "pth: %s", what);
}

/* ---- storages ---- */

static const char *text_of(const gy_pickle *p, uint32_t node, uint32_t *n) {
    *n = p->nodes[node].u.text.n;
    return p->texts + p->nodes[node].u.text.at;
}

/* The member NAME/data/KEY; only a plain word is a key, so that no path is ever formed from one. */
static gy_status find_member(opening *o, const char *name, const char *key, uint32_t n, uint64_t bytes,
                             gy_pth_storage *st) {
    char path[512], shown[128];
    gy_show_text(key, n, shown, sizeof shown);
    bool plain = n > 0 && n < 64;
    for (uint32_t i = 0; i < n && plain; i++)
        plain = (key[i] >= '0' && key[i] <= '9') || (key[i] >= 'a' && key[i] <= 'z') ||
                (key[i] >= 'A' && key[i] <= 'Z') || key[i] == '_' || key[i] == '-';
    if (!plain) return gy_bytes_fail_key(&o->f->src, name, "pth: storage key '%s' is not a plain word", shown);
    int len = snprintf(path, sizeof path, "%sdata/%s", o->prefix, key);
    int64_t m = len > 0 && len < (int)sizeof path ? gy_dict_get(&o->members, path, (uint64_t)len) : -1;
    if (m < 0) return gy_bytes_fail_key(&o->f->src, name, "pth: the archive has no member for storage '%s'", shown);
    const gy_zip_entry *e = &o->zip.entries[m];
    if (e->method != 0)
        return gy_bytes_fail_key(&o->f->src, e->name, "pth: expected a stored member, found a compressed one");
    if (e->size != bytes)
        return gy_bytes_fail_key(&o->f->src, e->name,
                                 "pth: the storage is declared with %" PRIu64 " bytes, found %" PRIu64, bytes, e->size);
    st->at = e->data_at;
    st->crc = e->crc;
    return GY_OK;
}

/* The storage behind a node, made when its key is first met. */
static gy_status storage_of(opening *o, const char *name, uint32_t node, int64_t *out) {
    const gy_pickle *p = &o->pickle;
    uint32_t args = p->nodes[node].u.args, n;
    const char *key = text_of(p, gy_pickle_at(p, args, 2), &n);
    gy_dtype dtype = gy_pickle_storage_dtype(p, node);
    uint64_t count = (uint64_t)p->nodes[gy_pickle_at(p, args, 4)].u.integer, bytes;
    gy_pth *f = o->f;
    if (!gy_mul_u64(count, dtype ? gy_dtype_size(dtype) : 1, &bytes) || bytes > f->src.size)
        return gy_bytes_fail_key(&f->src, name, "pth: a storage of %" PRIu64 " elements, more than the file holds",
                                 count);
    gy_status s = gy_dict_add(&o->keys, key, n, f->n_storages, out);
    if (s != GY_OK) return s;
    if (*out >= 0) {
        const gy_pth_storage *st = &f->storages[*out];
        if (st->dtype != dtype) return refuse(o, name, "its storage is used with two element types");
        if (st->bytes != bytes) return refuse(o, name, "its storage is declared with two sizes");
        return GY_OK;
    }
    if ((uint64_t)f->n_storages == o->room_storages) {
        o->room_storages = o->room_storages ? 2 * o->room_storages : 64;
        gy_pth_storage *all = gy_realloc(f->ctx, f->storages, (size_t)o->room_storages * sizeof *all);
        if (!all) return GY_ERR_NOMEM;
        f->storages = all;
    }
    gy_pth_storage st = {.dtype = dtype, .bytes = bytes};
    if (o->prefix) s = find_member(o, name, key, n, bytes, &st);
    if (s != GY_OK) return s;
    *out = f->n_storages;
    f->storages[f->n_storages++] = st;
    return GY_OK;
}

/* ---- tensors ---- */

/* sizes or strides into dst; negative ones are refused. */
static gy_status read_dims(const opening *o, const char *name, uint32_t list, const char *what, int64_t *rank,
                           int64_t dst[GY_MAX_RANK]) {
    const gy_pickle *p = &o->pickle;
    *rank = 0;
    for (uint32_t i = p->nodes[list].u.list.first; i != GY_PICKLE_END; i = p->items[i].next) {
        int64_t v = p->nodes[p->items[i].value].u.integer;
        if (v < 0) return gy_bytes_fail_key(&o->f->src, name, "pth: a negative %s, %" PRId64, what, v);
        if (*rank == GY_MAX_RANK)
            return gy_bytes_fail_key(&o->f->src, name, "pth: more than %d dimensions", GY_MAX_RANK);
        dst[(*rank)++] = v;
    }
    return GY_OK;
}

/* The elements from the first to the last that the tensor touches, 0 for an empty one; false on overflow. */
static bool extent_of(const gy_pth_entry *e, uint64_t *out) {
    uint64_t last = 0, step;
    for (int64_t i = 0; i < e->shape.rank; i++) {
        if (e->shape.dim[i] == 0) {
            *out = 0;
            return true;
        }
        if (!gy_mul_u64((uint64_t)e->shape.dim[i] - 1, (uint64_t)e->stride[i], &step) || !gy_add_u64(last, step, &last))
            return false;
    }
    return gy_add_u64(last, 1, out);
}

static gy_status check_extent(const opening *o, const gy_pth_entry *e) {
    const gy_pth_storage *st = &o->f->storages[e->storage];
    uint64_t have = st->bytes / gy_dtype_size(e->dtype), bytes, extent, end;
    char text[GY_SHAPE_TEXT];
    gy_shape_text(e->shape, text);
    if (!gy_shape_bytes(e->dtype, e->shape, &bytes))
        return gy_bytes_fail_key(&o->f->src, e->name, "pth: shape %s is beyond 64 bits", text);
    if (!extent_of(e, &extent) || !gy_add_u64((uint64_t)e->offset, extent, &end) || end > have)
        return gy_bytes_fail_key(&o->f->src, e->name,
                                 "pth: %s at offset %" PRId64 " goes past its storage of %" PRIu64 " elements", text,
                                 e->offset, have);
    if (bytes > st->bytes)
        return gy_bytes_fail_key(&o->f->src, e->name, "pth: %s is expanded from a storage of %" PRIu64 " elements",
                                 text, have);
    return GY_OK;
}

static gy_status add_tensor(opening *o, const char *name, uint64_t name_n, uint32_t node) {
    const gy_pickle *p = &o->pickle;
    gy_pth *f = o->f;
    uint32_t args = p->nodes[node].u.args;
    int64_t strides, old;
    if (memchr(name, 0, (size_t)name_n)) return refuse(o, name, "the name has a NUL");
    gy_status s = gy_bytes_limit(&f->src, GY_LIMIT_ENTRIES, (uint64_t)f->n + 1, "tensors");
    if (s != GY_OK) return s;
    if ((uint64_t)f->n == o->room_entries) {
        o->room_entries = o->room_entries ? 2 * o->room_entries : 64;
        gy_pth_entry *all = gy_realloc(f->ctx, f->entries, (size_t)o->room_entries * sizeof *all);
        if (!all) return GY_ERR_NOMEM;
        f->entries = all;
    }
    gy_pth_entry e = {.name = gy_arena_strdup(&f->strings, name)};
    if (!e.name) return GY_ERR_NOMEM;
    s = gy_dict_add(&f->names, e.name, name_n, f->n, &old);
    if (s != GY_OK) return s;
    if (old >= 0) return refuse(o, name, "the name appears twice");
    s = storage_of(o, name, gy_pickle_at(p, args, 0), &e.storage);
    if (s == GY_OK) s = read_dims(o, name, gy_pickle_at(p, args, 2), "size", &e.shape.rank, e.shape.dim);
    if (s == GY_OK) s = read_dims(o, name, gy_pickle_at(p, args, 3), "stride", &strides, e.stride);
    if (s != GY_OK) return s;
    for (int64_t d = 0; d < e.shape.rank; d++)
        if (e.shape.dim[d] == 1) e.stride[d] = 0; /* never stepped, so any value is legal in the file */
    if (strides != e.shape.rank) return refuse(o, name, "the sizes and the strides differ in number");
    gy_dtype own = gy_pickle_tensor_dtype(p, node), stored = f->storages[e.storage].dtype;
    if (stored && own && own != stored) return refuse(o, name, "its element type is not its storage's");
    e.dtype = own ? own : stored;
    if (!e.dtype) return refuse(o, name, "an untyped storage and no element type");
    e.offset = p->nodes[gy_pickle_at(p, args, 1)].u.integer;
    if (e.offset < 0) return gy_bytes_fail_key(&f->src, name, "pth: a negative offset, %" PRId64, e.offset);
    s = check_extent(o, &e);
    if (s == GY_OK) f->entries[f->n++] = e;
    return s;
}

/* ---- flattening ---- */

enum { DEPTH = 64 };

typedef struct frame {
    uint32_t node, item; /* a container and the next of its items */
    uint64_t name_n;     /* of the container's own name */
    int64_t index;       /* in a list or tuple */
} frame;

typedef struct walk {
    frame stack[DEPTH];
    int depth;
    char *name; /* of limit GY_LIMIT_NAME, and NUL */
    uint64_t room, visits;
} walk;

static bool is_container(uint8_t kind) {
    return kind == GY_PICKLE_TUPLE || kind == GY_PICKLE_LIST || kind == GY_PICKLE_DICT ||
           kind == GY_PICKLE_ORDERED_DICT;
}

static gy_status enter(const opening *o, walk *w, uint32_t node, uint64_t name_n) {
    for (int i = 0; i < w->depth; i++)
        if (w->stack[i].node == node) return refuse(o, w->name, "a container that contains itself");
    if (w->depth == DEPTH) return gy_bytes_fail(&o->f->src, 0, "pth: containers nested deeper than %d", DEPTH);
    w->stack[w->depth++] = (frame){node, o->pickle.nodes[node].u.list.first, name_n, 0};
    return GY_OK;
}

/* Puts ".key" behind the container's name. */
static gy_status name_item(const opening *o, walk *w, const frame *f, uint32_t key, uint64_t *name_n) {
    const gy_pickle *p = &o->pickle;
    char number[24];
    const char *text = number;
    uint32_t n;
    uint8_t kind = p->nodes[f->node].kind;
    if (kind == GY_PICKLE_TUPLE || kind == GY_PICKLE_LIST)
        n = (uint32_t)snprintf(number, sizeof number, "%" PRId64, f->index);
    else if (p->nodes[key].kind == GY_PICKLE_INT)
        n = (uint32_t)snprintf(number, sizeof number, "%" PRId64, p->nodes[key].u.integer);
    else if (p->nodes[key].kind == GY_PICKLE_TEXT)
        text = text_of(p, key, &n);
    else
        return gy_bytes_fail_key(&o->f->src, w->name, "pth: a key that is %s, expected a string or an integer",
                                 gy_pickle_kind_name(p->nodes[key].kind));
    uint64_t at = f->name_n;
    if (at + 1 + n > w->room) return gy_bytes_limit(&o->f->src, GY_LIMIT_NAME, at + 1 + n, "tensor name");
    if (w->depth > 1) w->name[at++] = '.';
    memcpy(w->name + at, text, n);
    *name_n = at + n;
    w->name[*name_n] = 0;
    return GY_OK;
}

/* Shared containers are visited once for each place, but the work stays in proportion to the pickle. */
static gy_status flatten(opening *o, walk *w) {
    const gy_pickle *p = &o->pickle;
    if (!is_container(p->nodes[p->root].kind))
        return gy_bytes_fail(&o->f->src, 0, "pth: expected a dictionary of tensors, found %s",
                             gy_pickle_kind_name(p->nodes[p->root].kind));
    gy_status s = enter(o, w, p->root, 0);
    while (s == GY_OK && w->depth > 0) {
        frame *f = &w->stack[w->depth - 1];
        if (f->item == GY_PICKLE_END) {
            w->depth--;
            continue;
        }
        gy_pickle_item item = p->items[f->item];
        f->item = item.next;
        if (++w->visits > 8 * (uint64_t)p->n_items)
            return gy_bytes_fail(&o->f->src, 0, "pth: shared containers multiply beyond %" PRIu64 " items",
                                 w->visits - 1);
        uint8_t kind = p->nodes[item.value].kind;
        uint64_t name_n = 0;
        if (kind == GY_PICKLE_TENSOR || is_container(kind)) s = name_item(o, w, f, item.key, &name_n);
        f->index++;
        if (s == GY_OK && kind == GY_PICKLE_TENSOR) s = add_tensor(o, w->name, name_n, item.value);
        if (s == GY_OK && is_container(kind)) s = enter(o, w, item.value, name_n);
    }
    return s;
}

static gy_status add_tensors(opening *o) {
    walk w = {.room = o->f->src.limits.v[GY_LIMIT_NAME]};
    if (w.room > 1 << 20) w.room = 1 << 20;
    w.name = gy_calloc(o->f->ctx, (size_t)w.room + 2, 1);
    if (!w.name) return GY_ERR_NOMEM;
    gy_status s = flatten(o, &w);
    gy_free(o->f->ctx, w.name);
    return s;
}

/* ---- the zip layout ---- */

static bool ends_with(const char *s, const char *end) {
    size_t n = strlen(s), k = strlen(end);
    return n >= k && strcmp(s + n - k, end) == 0;
}

/* The one member "NAME/data.pkl" (or "data.pkl") gives the prefix of all. */
static gy_status find_prefix(opening *o, int64_t *pickle) {
    *pickle = -1;
    for (int64_t i = 0; i < o->zip.n; i++) {
        const char *name = o->zip.entries[i].name;
        int64_t old;
        gy_status s = gy_dict_add(&o->members, name, strlen(name), i, &old);
        if (s != GY_OK) return s;
        if (strcmp(name, "data.pkl") != 0 && !ends_with(name, "/data.pkl")) continue;
        if (*pickle >= 0) return refuse(o, name, "a second data.pkl");
        *pickle = i;
    }
    if (*pickle < 0) return gy_bytes_fail(&o->f->src, 0, "pth: the archive has no data.pkl");
    char *prefix = gy_arena_strdup(&o->f->strings, o->zip.entries[*pickle].name);
    if (!prefix) return GY_ERR_NOMEM;
    prefix[strlen(prefix) - strlen("data.pkl")] = 0;
    o->prefix = prefix;
    return GY_OK;
}

static gy_status read_member(opening *o, int64_t i, uint8_t **data, uint64_t *n) {
    const gy_zip_entry *e = &o->zip.entries[i];
    *data = NULL;
    if (e->method != 0) return refuse(o, e->name, "expected a stored member, found a compressed one");
    gy_status s = gy_bytes_limit(&o->f->src, GY_LIMIT_PICKLE, e->size, e->name);
    return s == GY_OK ? gy_zip_read(&o->zip, i, data, n) : s;
}

/* "NAME/byteorder" holds "little" or "big"; files before PyTorch 2.1 have none and are little-endian. */
static gy_status read_byte_order(opening *o) {
    char path[512];
    int n = snprintf(path, sizeof path, "%sbyteorder", o->prefix);
    int64_t i = n > 0 && n < (int)sizeof path ? gy_dict_get(&o->members, path, (uint64_t)n) : -1;
    if (i < 0) return GY_OK;
    uint8_t *data;
    uint64_t size;
    gy_status s = read_member(o, i, &data, &size);
    if (s != GY_OK) return s;
    o->f->big_endian = size == 3 && memcmp(data, "big", 3) == 0;
    if (!o->f->big_endian && !(size == 6 && memcmp(data, "little", 6) == 0))
        s = refuse(o, path, "expected 'little' or 'big'");
    gy_free(o->f->ctx, data);
    return s;
}

static gy_status read_pickle_member(opening *o, int64_t i) {
    const gy_zip_entry *e = &o->zip.entries[i];
    uint8_t *data;
    uint64_t n;
    char shown[200];
    gy_bytes b = {0};
    gy_status s = read_member(o, i, &data, &n);
    if (s != GY_OK) return s;
    char *label =
        gy_format(o->f->ctx, "%s: %s", o->f->src.path, gy_show_text(e->name, strlen(e->name), shown, sizeof shown));
    s = label ? gy_bytes_from_memory(o->f->ctx, label, data, n, &o->f->src.limits, &b) : GY_ERR_NOMEM;
    if (s == GY_OK) s = gy_pickle_read(&b, 0, n, &o->pickle);
    if (s == GY_OK && o->pickle.end != n)
        s = gy_bytes_fail(&b, o->pickle.end, "pickle: %" PRIu64 " bytes after STOP", n - o->pickle.end);
    gy_bytes_close(&b);
    gy_free(o->f->ctx, label);
    gy_free(o->f->ctx, data);
    return s;
}

static gy_status open_zip(opening *o) {
    int64_t pickle;
    gy_status s = gy_zip_open(&o->f->src, &o->zip);
    if (s == GY_OK) s = find_prefix(o, &pickle);
    if (s == GY_OK) s = read_byte_order(o);
    if (s == GY_OK) s = read_pickle_member(o, pickle);
    return s == GY_OK ? add_tensors(o) : s;
}

/* ---- the layout before PyTorch 1.6 ---- */

static const uint8_t magic[10] = {0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19};

/* The next pickle of the file; *at moves behind it. */
static gy_status next_pickle(opening *o, uint64_t *at, gy_pickle *p) {
    const gy_bytes *b = &o->f->src;
    uint64_t most = b->limits.v[GY_LIMIT_PICKLE], limit = b->size - *at > most ? *at + most : b->size;
    gy_status s = gy_pickle_read(b, *at, limit, p);
    if (s == GY_OK) *at = p->end;
    return s;
}

static gy_status check_magic(opening *o, uint64_t *at) {
    const gy_bytes *b = &o->f->src;
    gy_pickle p;
    gy_status s = next_pickle(o, at, &p);
    if (s != GY_OK) return s;
    const gy_pickle_node *n = &p.nodes[p.root];
    if (n->kind != GY_PICKLE_BIG_INT || n->u.text.n != sizeof magic ||
        memcmp(p.texts + n->u.text.at, magic, sizeof magic) != 0)
        s = gy_bytes_fail(b, 0, "pth: a pickle without PyTorch's magic number: it cannot hold tensors");
    gy_pickle_free(&p);
    if (s == GY_OK) s = next_pickle(o, at, &p);
    if (s != GY_OK) return s;
    if (p.nodes[p.root].kind != GY_PICKLE_INT || p.nodes[p.root].u.integer != 1001)
        s = gy_bytes_fail(b, *at, "pth: expected protocol version 1001");
    gy_pickle_free(&p);
    return s;
}

static gy_status read_system(opening *o, uint64_t *at) {
    gy_pickle p;
    gy_status s = next_pickle(o, at, &p);
    if (s != GY_OK) return s;
    uint32_t little = gy_pickle_get(&p, p.root, "little_endian");
    if (little == GY_PICKLE_END || p.nodes[little].kind != GY_PICKLE_BOOL)
        s = gy_bytes_fail(&o->f->src, *at, "pth: expected a dictionary with 'little_endian'");
    else
        o->f->big_endian = !p.nodes[little].u.boolean;
    gy_pickle_free(&p);
    return s;
}

/* The storages follow in the order of a list of keys: eight bytes with the number of elements, then the
 * elements, up to the file's last byte. */
static gy_status place_storages(opening *o, const gy_pickle *keys, uint64_t at) {
    gy_pth *f = o->f;
    const gy_bytes *b = &f->src;
    int64_t placed = 0;
    if (keys->nodes[keys->root].kind != GY_PICKLE_LIST)
        return gy_bytes_fail(b, at, "pth: expected a list of storage keys");
    for (uint32_t i = keys->nodes[keys->root].u.list.first; i != GY_PICKLE_END; i = keys->items[i].next) {
        uint32_t node = keys->items[i].value, n = 0;
        const char *key = keys->nodes[node].kind == GY_PICKLE_TEXT ? text_of(keys, node, &n) : "";
        char shown[128];
        int64_t k = gy_dict_get(&o->keys, key, n);
        if (k < 0 || f->storages[k].checked)
            return gy_bytes_fail(b, at, "pth: storage '%s' %s", gy_show_text(key, n, shown, sizeof shown),
                                 k < 0 ? "belongs to no tensor" : "is listed twice");
        gy_pth_storage *st = &f->storages[k];
        uint8_t head[8];
        gy_status s = gy_bytes_read(b, at, head, 8);
        if (s != GY_OK) return s;
        uint64_t count = f->big_endian ? gy_be64(head) : gy_le64(head), bytes;
        if (!gy_mul_u64(count, st->dtype ? gy_dtype_size(st->dtype) : 1, &bytes) || bytes != st->bytes)
            return gy_bytes_fail(b, at,
                                 "pth: the storage is declared with %" PRIu64 " bytes, found %" PRIu64 " elements",
                                 st->bytes, count);
        at += 8;
        if (!gy_bytes_has(b, at, bytes))
            return gy_bytes_fail(b, at, "pth: expected %" PRIu64 " bytes of a storage, found %" PRIu64, bytes,
                                 b->size - at);
        st->at = at;
        st->checked = true;
        at += bytes;
        placed++;
    }
    if (placed != f->n_storages)
        return gy_bytes_fail(b, at, "pth: %" PRId64 " storages are missing", f->n_storages - placed);
    if (at != b->size) return gy_bytes_fail(b, at, "pth: %" PRIu64 " bytes after the last storage", b->size - at);
    return GY_OK;
}

static gy_status open_legacy(opening *o) {
    uint64_t at = 0;
    gy_pickle keys = {0};
    gy_status s = check_magic(o, &at);
    if (s == GY_OK) s = read_system(o, &at);
    if (s == GY_OK) s = next_pickle(o, &at, &o->pickle);
    if (s == GY_OK) s = add_tensors(o);
    if (s == GY_OK) s = next_pickle(o, &at, &keys);
    if (s == GY_OK) s = place_storages(o, &keys, at);
    gy_pickle_free(&keys);
    return s;
}

/* ---- opening ---- */

static gy_status looks_like(const gy_bytes *b, bool *zip, bool *pickle) {
    uint8_t head[4] = {0};
    gy_status s = gy_bytes_read(b, 0, head, b->size < 4 ? b->size : 4);
    *zip = memcmp(head, "PK\3\4", 4) == 0;
    /* A safetensors file's first bytes are a length; one with these four would pass that format's limit. */
    *pickle = head[0] == 0x80 && head[1] < 16 && head[3] != 0;
    return s;
}

gy_status gy_pth_is(gy_ctx *ctx, const char *path, const gy_limits *limits, bool *out) {
    gy_bytes b;
    bool zip = false, pickle = false;
    *out = false;
    gy_status s = gy_bytes_open(ctx, path, limits, &b);
    if (s != GY_OK) return s;
    s = looks_like(&b, &zip, &pickle);
    *out = zip || pickle;
    gy_bytes_close(&b);
    return s;
}

gy_status gy_pth_open(gy_ctx *ctx, const char *path, const gy_limits *limits, gy_pth *out) {
    *out = (gy_pth){.ctx = ctx};
    opening o = {.f = out};
    bool zip = false, pickle = false;
    gy_arena_init(&out->strings, ctx);
    gy_dict_init(&out->names, ctx);
    gy_dict_init(&o.members, ctx);
    gy_dict_init(&o.keys, ctx);
    gy_status s = gy_bytes_open(ctx, path, limits, &out->src);
    if (s == GY_OK) s = looks_like(&out->src, &zip, &pickle);
    if (s == GY_OK)
        s = zip      ? open_zip(&o)
            : pickle ? open_legacy(&o)
                     : gy_bytes_fail(&out->src, 0, "pth: expected a zip archive or a pickle, found neither");
    gy_dict_free(&o.keys);
    gy_dict_free(&o.members);
    gy_pickle_free(&o.pickle);
    gy_zip_close(&o.zip);
    if (s != GY_OK) gy_pth_close(out);
    return s;
}

void gy_pth_close(gy_pth *p) {
    if (!p->ctx) return;
    gy_free(p->ctx, p->entries);
    gy_free(p->ctx, p->storages);
    gy_dict_free(&p->names);
    gy_arena_free(&p->strings);
    gy_bytes_close(&p->src);
    *p = (gy_pth){0};
}

int64_t gy_pth_find(const gy_pth *p, const char *name) {
    return gy_dict_get(&p->names, name, strlen(name));
}

/* ---- content ---- */

static gy_status check_crc(gy_pth *p, const gy_pth_entry *e) {
    enum { ROOM = 1 << 20 };
    gy_pth_storage *st = &p->storages[e->storage];
    if (st->checked) return GY_OK;
    uint64_t room = st->bytes < ROOM ? st->bytes : ROOM;
    uint8_t *buffer = gy_malloc(p->ctx, (size_t)room);
    if (!buffer) return GY_ERR_NOMEM;
    uint32_t crc = 0;
    gy_status s = GY_OK;
    for (uint64_t at = 0; at < st->bytes && s == GY_OK; at += room) {
        uint64_t n = st->bytes - at < room ? st->bytes - at : room;
        s = gy_bytes_read(&p->src, st->at + at, buffer, n);
        if (s == GY_OK) crc = gy_crc32(crc, buffer, n);
    }
    gy_free(p->ctx, buffer);
    if (s == GY_OK && crc != st->crc)
        s = gy_bytes_fail_key(&p->src, e->name, "pth: damaged: CRC-32 of its storage: expected %08x, found %08x",
                              st->crc, crc);
    st->checked = s == GY_OK;
    return s;
}

/* Row-major copy of a strided tensor: an odometer over all dimensions but the last. `from` holds the bytes
 * of the tensor's extent, or is NULL when each run is read from the file by itself. */
static gy_status copy_strided(const gy_pth *p, const gy_pth_entry *e, const uint8_t *from, uint8_t *to) {
    int64_t rank = e->shape.rank, last = rank - 1, index[GY_MAX_RANK] = {0}, at = 0;
    size_t size = gy_dtype_size(e->dtype);
    uint64_t base = p->storages[e->storage].at + (uint64_t)e->offset * size;
    bool row = e->stride[last] == 1;
    int64_t run = row ? e->shape.dim[last] : 1;
    for (int64_t done = 0, count = gy_shape_count(e->shape); done < count; done += run) {
        size_t bytes = (size_t)run * size;
        if (from) {
            memcpy(to, from + (size_t)at * size, bytes);
        } else {
            gy_status s = gy_bytes_read(&p->src, base + (uint64_t)at * size, to, bytes);
            if (s != GY_OK) return s;
        }
        to += bytes;
        for (int64_t d = row ? last - 1 : last; d >= 0; d--) {
            at += e->stride[d];
            if (++index[d] < e->shape.dim[d]) break;
            at -= e->stride[d] * e->shape.dim[d];
            index[d] = 0;
        }
    }
    return GY_OK;
}

static bool is_contiguous(const gy_pth_entry *e) {
    int64_t want = 1;
    for (int64_t d = e->shape.rank - 1; d >= 0; d--) {
        if (e->shape.dim[d] != 1 && e->stride[d] != want) return false;
        want *= e->shape.dim[d];
    }
    return true;
}

static gy_status copy_out(const gy_pth *p, const gy_pth_entry *e, gy_tensor *out) {
    uint64_t bytes = gy_tensor_bytes(out), size = gy_dtype_size(e->dtype), extent = 0;
    uint64_t base = p->storages[e->storage].at + (uint64_t)e->offset * size;
    if (bytes == 0) return GY_OK;
    if (is_contiguous(e)) return gy_bytes_read(&p->src, base, out->data, bytes);
    extent_of(e, &extent); /* checked when the file was opened */
    const uint8_t *from = NULL;
    void *owned = NULL;
    if (extent * size <= 4 * bytes) { /* else a sparse view: reading run by run costs less */
        gy_status s = gy_bytes_borrow(&p->src, base, extent * size, &from, &owned);
        if (s != GY_OK) return s;
    }
    gy_status s = copy_strided(p, e, from, out->data);
    gy_free(p->ctx, owned);
    return s;
}

gy_status gy_pth_read(gy_pth *p, int64_t i, gy_tensor *out) {
    const gy_pth_entry *e = &p->entries[i];
    *out = (gy_tensor){0};
    gy_status s = check_crc(p, e);
    if (s == GY_OK) s = gy_tensor_new(p->ctx, out, e->dtype, e->shape);
    if (s != GY_OK) return s;
    s = copy_out(p, e, out);
    if (s != GY_OK)
        gy_tensor_free(p->ctx, out);
    else if (gy_host_is_little_endian() == p->big_endian)
        gy_swap_bytes(out->data, gy_shape_count(e->shape), gy_dtype_size(e->dtype));
    return s;
}

gy_status gy_pth_get(gy_pth *p, const char *name, gy_tensor *out) {
    *out = (gy_tensor){0};
    int64_t i = gy_pth_find(p, name);
    if (i < 0) return gy_bytes_fail_key(&p->src, name, "pth: no such tensor among %" PRId64, p->n);
    return gy_pth_read(p, i, out);
}
