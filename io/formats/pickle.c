/* The pickle machine: a stack, a stack of marks, a memo (Python's Lib/pickletools.py describes the opcodes). */
#include "pickle.h"

#include <inttypes.h>
#include <string.h>

/* ---- what a pickle may name ---- */

typedef enum role { ORDERED_DICT, TENSOR_V1, TENSOR_V2, TENSOR_V3, PARAMETER, STORAGE, DTYPE, SIZE, DEVICE } role;

static const struct {
    const char *module, *name;
    role role;
    gy_dtype dtype;
} allowed[] = {
    {"collections", "OrderedDict", ORDERED_DICT, 0},
    {"torch._utils", "_rebuild_tensor", TENSOR_V1, 0},
    {"torch._utils", "_rebuild_tensor_v2", TENSOR_V2, 0},
    {"torch._utils", "_rebuild_tensor_v3", TENSOR_V3, 0},
    {"torch._utils", "_rebuild_parameter", PARAMETER, 0},
    {"torch", "FloatStorage", STORAGE, GY_F32},
    {"torch", "DoubleStorage", STORAGE, GY_F64},
    {"torch", "HalfStorage", STORAGE, GY_F16},
    {"torch", "BFloat16Storage", STORAGE, GY_BF16},
    {"torch", "LongStorage", STORAGE, GY_I64},
    {"torch", "IntStorage", STORAGE, GY_I32},
    {"torch", "ShortStorage", STORAGE, GY_I16},
    {"torch", "CharStorage", STORAGE, GY_I8},
    {"torch", "ByteStorage", STORAGE, GY_U8},
    {"torch", "BoolStorage", STORAGE, GY_BOOL},
    {"torch", "UntypedStorage", STORAGE, 0},
    {"torch.storage", "UntypedStorage", STORAGE, 0},
    {"torch", "float32", DTYPE, GY_F32},
    {"torch", "float64", DTYPE, GY_F64},
    {"torch", "float16", DTYPE, GY_F16},
    {"torch", "bfloat16", DTYPE, GY_BF16},
    {"torch", "int64", DTYPE, GY_I64},
    {"torch", "int32", DTYPE, GY_I32},
    {"torch", "int16", DTYPE, GY_I16},
    {"torch", "int8", DTYPE, GY_I8},
    {"torch", "uint8", DTYPE, GY_U8},
    {"torch", "uint16", DTYPE, GY_U16},
    {"torch", "uint32", DTYPE, GY_U32},
    {"torch", "uint64", DTYPE, GY_U64},
    {"torch", "bool", DTYPE, GY_BOOL},
    {"torch", "Size", SIZE, 0},
    {"torch", "device", DEVICE, 0},
};

/* ---- the machine ---- */

enum { WINDOW = 1 << 16, MAX_SIZES = 32 };

typedef struct machine {
    gy_pickle *p;
    const gy_bytes *src;
    uint64_t first, at, limit; /* its first byte, the next one, where it must have ended */
    uint64_t op_at;            /* of the opcode under way, for messages */
    uint8_t *window;           /* bytes [window_at, window_at + window_n) of the source */
    uint64_t window_at, window_n;
    uint32_t *stack, *marks, *memo;
    uint32_t n_stack, n_marks, n_memo, room_stack, room_marks, room_memo;
} machine;

static gy_status bad(const machine *m, const char *what) {
    return gy_bytes_fail(m->src, m->op_at, "pickle: %s", what);
}

/* Makes room for `more` elements behind n; counts stay below 2^32 - 1, which marks an end. */
static gy_status reserve(machine *m, void *array, uint32_t n, uint64_t more, uint32_t *room, size_t size) {
    if (n + more <= *room) return GY_OK;
    if (n + more >= UINT32_MAX) return bad(m, "too large");
    uint64_t want = 2 * (uint64_t)*room;
    if (want < n + more) want = n + more;
    if (want < 64) want = 64;
    if (want >= UINT32_MAX) want = UINT32_MAX - 1;
    void *old, *bigger;
    memcpy(&old, array, sizeof old);
    bigger = gy_realloc(m->p->ctx, old, (size_t)want * size);
    if (!bigger) return GY_ERR_NOMEM;
    memcpy(array, &bigger, sizeof bigger);
    *room = (uint32_t)want;
    return GY_OK;
}

static gy_status push(machine *m, uint32_t node) {
    gy_status s = reserve(m, &m->stack, m->n_stack, 1, &m->room_stack, sizeof *m->stack);
    if (s == GY_OK) m->stack[m->n_stack++] = node;
    return s;
}

static gy_status add_node(machine *m, gy_pickle_node node, uint32_t *out) {
    gy_pickle *p = m->p;
    gy_status s = reserve(m, &p->nodes, p->n_nodes, 1, &p->room_nodes, sizeof *p->nodes);
    if (s != GY_OK) return s;
    *out = p->n_nodes;
    p->nodes[p->n_nodes++] = node;
    return GY_OK;
}

static gy_status push_new(machine *m, gy_pickle_node node) {
    uint32_t id;
    gy_status s = add_node(m, node, &id);
    return s == GY_OK ? push(m, id) : s;
}

static gy_pickle_node list_node(gy_pickle_kind kind) {
    return (gy_pickle_node){.kind = (uint8_t)kind, .u.list = {GY_PICKLE_END, GY_PICKLE_END}};
}

static gy_status add_item(machine *m, uint32_t list, uint32_t key, uint32_t value) {
    gy_pickle *p = m->p;
    /* An object is pushed by an opcode before it is an item; only a list that is copied over and over, as
     * OrderedDict(list) does, could pass this. */
    if (p->n_items > m->limit - m->first) return bad(m, "more items than bytes");
    gy_status s = reserve(m, &p->items, p->n_items, 1, &p->room_items, sizeof *p->items);
    if (s != GY_OK) return s;
    p->items[p->n_items] = (gy_pickle_item){key, value, GY_PICKLE_END};
    gy_pickle_node *l = &p->nodes[list];
    if (l->u.list.last == GY_PICKLE_END)
        l->u.list.first = p->n_items;
    else
        p->items[l->u.list.last].next = p->n_items;
    l->u.list.last = p->n_items++;
    return GY_OK;
}

/* The elements above the last mark (or, without marks, all) are what opcodes may touch. */
static uint32_t floor_of(const machine *m) {
    return m->n_marks ? m->marks[m->n_marks - 1] : 0;
}

static gy_status need(const machine *m, uint32_t n) {
    return m->n_stack - floor_of(m) >= n ? GY_OK : bad(m, "stack underflow");
}

static gy_status pop_mark(machine *m, uint32_t *first) {
    if (m->n_marks == 0) return bad(m, "no mark on the stack");
    *first = m->marks[--m->n_marks];
    return GY_OK;
}

/* ---- bytes ---- */

/* The next n bytes, at most WINDOW. */
static gy_status take(machine *m, uint64_t n, const uint8_t **out) {
    if (n > m->limit - m->at)
        return gy_bytes_fail(m->src, m->at, "pickle: expected %" PRIu64 " more bytes, found %" PRIu64, n,
                             m->limit - m->at);
    if (m->at < m->window_at || m->at + n > m->window_at + m->window_n) {
        m->window_at = m->at;
        m->window_n = m->limit - m->at < WINDOW ? m->limit - m->at : WINDOW;
        gy_status s = gy_bytes_read(m->src, m->at, m->window, m->window_n);
        if (s != GY_OK) return s;
    }
    *out = m->window + (m->at - m->window_at);
    m->at += n;
    return GY_OK;
}

static gy_status take_length(machine *m, uint64_t width, uint64_t *n) {
    const uint8_t *p;
    gy_status s = take(m, width, &p);
    if (s == GY_OK) *n = width == 1 ? p[0] : width == 4 ? gy_le32(p) : gy_le64(p);
    return s;
}

static gy_status push_text(machine *m, gy_pickle_kind kind, uint64_t n) {
    gy_pickle *p = m->p;
    if (n > m->limit - m->at)
        return gy_bytes_fail(m->src, m->at, "pickle: expected %" PRIu64 " more bytes, found %" PRIu64, n,
                             m->limit - m->at);
    gy_status s = reserve(m, &p->texts, p->n_texts, n + 1, &p->room_texts, 1);
    if (s == GY_OK) s = gy_bytes_read(m->src, m->at, p->texts + p->n_texts, n);
    if (s != GY_OK) return s;
    gy_pickle_node node = {.kind = (uint8_t)kind, .u.text = {p->n_texts, (uint32_t)n}};
    p->texts[p->n_texts + n] = 0;
    p->n_texts += (uint32_t)n + 1;
    m->at += n;
    return push_new(m, node);
}

static gy_status push_int(machine *m, int64_t v) {
    return push_new(m, (gy_pickle_node){.kind = GY_PICKLE_INT, .u.integer = v});
}

/* Two's complement, little-endian, of n bytes. */
static gy_status push_long(machine *m, uint64_t width) {
    uint64_t n = 0, v = 0;
    const uint8_t *p;
    gy_status s = take_length(m, width, &n);
    if (s != GY_OK) return s;
    if (width == 4 && n > INT32_MAX) return bad(m, "LONG4: a negative length");
    if (n > 8) return push_text(m, GY_PICKLE_BIG_INT, n);
    s = take(m, n, &p);
    if (s != GY_OK) return s;
    if (n && p[n - 1] & 0x80) v = UINT64_MAX;
    for (uint64_t i = n; i > 0; i--) v = v << 8 | p[i - 1];
    return push_int(m, (int64_t)v);
}

static gy_status push_float(machine *m) {
    const uint8_t *p;
    double d;
    gy_status s = take(m, 8, &p);
    if (s != GY_OK) return s;
    uint64_t v = gy_be64(p);
    memcpy(&d, &v, 8);
    return push_new(m, (gy_pickle_node){.kind = GY_PICKLE_FLOAT, .u.real = d});
}

/* ---- globals ---- */

static gy_status push_global(machine *m, const char *module, size_t module_n, const char *name, size_t name_n) {
    for (size_t i = 0; i < sizeof allowed / sizeof *allowed; i++)
        if (strlen(allowed[i].module) == module_n && memcmp(allowed[i].module, module, module_n) == 0 &&
            strlen(allowed[i].name) == name_n && memcmp(allowed[i].name, name, name_n) == 0)
            return push_new(m, (gy_pickle_node){.kind = GY_PICKLE_GLOBAL, .global = (uint8_t)i});
    char a[256], b[256];
    return gy_bytes_fail(m->src, m->op_at,
                         "pickle: the global '%s.%s' is not allowed: only plain values and tensors are read, "
                         "nothing is executed",
                         gy_show_text(module, module_n, a, sizeof a), gy_show_text(name, name_n, b, sizeof b));
}

/* "module\nname\n" */
static gy_status op_global(machine *m) {
    char line[2][256];
    size_t n[2] = {0, 0};
    for (int i = 0; i < 2; i++)
        for (;;) {
            const uint8_t *p;
            gy_status s = take(m, 1, &p);
            if (s != GY_OK) return s;
            if (*p == '\n') break;
            if (n[i] == sizeof line[i]) return bad(m, "GLOBAL: a name of more than 256 bytes");
            line[i][n[i]++] = (char)*p;
        }
    return push_global(m, line[0], n[0], line[1], n[1]);
}

static gy_status op_stack_global(machine *m) {
    gy_status s = need(m, 2);
    if (s != GY_OK) return s;
    const gy_pickle_node *a = &m->p->nodes[m->stack[m->n_stack - 2]], *b = &m->p->nodes[m->stack[m->n_stack - 1]];
    if (a->kind != GY_PICKLE_TEXT || b->kind != GY_PICKLE_TEXT) return bad(m, "STACK_GLOBAL: expected two strings");
    m->n_stack -= 2;
    return push_global(m, m->p->texts + a->u.text.at, a->u.text.n, m->p->texts + b->u.text.at, b->u.text.n);
}

static bool is_kind(const gy_pickle *p, uint32_t node, gy_pickle_kind kind) {
    return node != GY_PICKLE_END && p->nodes[node].kind == kind;
}

static bool is_role(const gy_pickle *p, uint32_t node, role r) {
    return is_kind(p, node, GY_PICKLE_GLOBAL) && allowed[p->nodes[node].global].role == r;
}

/* A tuple of at most MAX_SIZES integers (so that a long one, shared by many tensors, costs nothing). */
static bool is_sizes(const gy_pickle *p, uint32_t node) {
    if (!is_kind(p, node, GY_PICKLE_TUPLE)) return false;
    uint32_t n = 0, i = p->nodes[node].u.list.first;
    for (; i != GY_PICKLE_END && n < MAX_SIZES; i = p->items[i].next, n++)
        if (p->nodes[p->items[i].value].kind != GY_PICKLE_INT) return false;
    return i == GY_PICKLE_END;
}

/* A storage is named, not held, by the pickle: ("storage", type, key, location, elements[, view]). */
static gy_status op_persistent_id(machine *m) {
    gy_pickle *p = m->p;
    gy_status s = need(m, 1);
    if (s != GY_OK) return s;
    uint32_t t = m->stack[m->n_stack - 1];
    if (!is_kind(p, t, GY_PICKLE_TUPLE)) return bad(m, "BINPERSID: expected a tuple");
    uint32_t word = gy_pickle_at(p, t, 0), count = gy_pickle_at(p, t, 4), view = gy_pickle_at(p, t, 5);
    bool ok = is_kind(p, word, GY_PICKLE_TEXT) && strcmp(p->texts + p->nodes[word].u.text.at, "storage") == 0 &&
              is_role(p, gy_pickle_at(p, t, 1), STORAGE) && is_kind(p, gy_pickle_at(p, t, 2), GY_PICKLE_TEXT) &&
              is_kind(p, gy_pickle_at(p, t, 3), GY_PICKLE_TEXT) && is_kind(p, count, GY_PICKLE_INT) &&
              p->nodes[count].u.integer >= 0 && (view == GY_PICKLE_END || is_kind(p, view, GY_PICKLE_NONE)) &&
              gy_pickle_at(p, t, 6) == GY_PICKLE_END;
    if (!ok) return bad(m, "BINPERSID: expected ('storage', type, key, location, elements)");
    m->n_stack--;
    return push_new(m, (gy_pickle_node){.kind = GY_PICKLE_STORAGE, .u.args = t});
}

static gy_status push_tensor(machine *m, role r, uint32_t args) {
    const gy_pickle *p = m->p;
    uint32_t n = 0, least = r == TENSOR_V1 ? 4 : r == TENSOR_V2 ? 6 : 7, most = r == TENSOR_V1 ? 4 : least + 1;
    for (uint32_t i = p->nodes[args].u.list.first; i != GY_PICKLE_END && n <= most; i = p->items[i].next) n++;
    if (n < least || n > most || !is_kind(p, gy_pickle_at(p, args, 0), GY_PICKLE_STORAGE) ||
        !is_kind(p, gy_pickle_at(p, args, 1), GY_PICKLE_INT) || !is_sizes(p, gy_pickle_at(p, args, 2)) ||
        !is_sizes(p, gy_pickle_at(p, args, 3)) || (r == TENSOR_V3 && !is_role(p, gy_pickle_at(p, args, 6), DTYPE)))
        return bad(m, "tensor: expected (storage, offset, sizes, strides, ...)");
    return push_new(m, (gy_pickle_node){.kind = GY_PICKLE_TENSOR, .global = r == TENSOR_V3, .u.args = args});
}

/* OrderedDict() or, from Python 2, OrderedDict([[key, value], ...]). */
static gy_status push_ordered(machine *m, uint32_t args) {
    uint32_t dict, pairs = gy_pickle_at(m->p, args, 0);
    gy_status s = add_node(m, list_node(GY_PICKLE_ORDERED_DICT), &dict);
    if (s != GY_OK) return s;
    if (pairs != GY_PICKLE_END && !is_kind(m->p, pairs, GY_PICKLE_LIST))
        return bad(m, "OrderedDict: expected a list of pairs");
    for (uint32_t i = pairs == GY_PICKLE_END ? pairs : m->p->nodes[pairs].u.list.first; i != GY_PICKLE_END;
         i = m->p->items[i].next) {
        uint32_t pair = m->p->items[i].value;
        if (!is_kind(m->p, pair, GY_PICKLE_LIST) && !is_kind(m->p, pair, GY_PICKLE_TUPLE))
            return bad(m, "OrderedDict: expected a list of pairs");
        uint32_t key = gy_pickle_at(m->p, pair, 0), value = gy_pickle_at(m->p, pair, 1);
        if (value == GY_PICKLE_END) return bad(m, "OrderedDict: expected a list of pairs");
        s = add_item(m, dict, key, value);
        if (s != GY_OK) return s;
    }
    return push(m, dict);
}

/* "Calls" the global below the arguments: here a table lookup that makes a node. */
static gy_status op_reduce(machine *m) {
    const gy_pickle *p = m->p;
    gy_status s = need(m, 2);
    if (s != GY_OK) return s;
    uint32_t args = m->stack[m->n_stack - 1], f = m->stack[m->n_stack - 2];
    if (!is_kind(p, f, GY_PICKLE_GLOBAL) || !is_kind(p, args, GY_PICKLE_TUPLE))
        return bad(m, "REDUCE: expected a global and a tuple");
    uint32_t first = gy_pickle_at(p, args, 0);
    m->n_stack -= 2;
    role r = allowed[p->nodes[f].global].role;
    switch (r) {
    case ORDERED_DICT: return push_ordered(m, args);
    case TENSOR_V1:
    case TENSOR_V2:
    case TENSOR_V3: return push_tensor(m, r, args);
    case PARAMETER:
        if (!is_kind(p, first, GY_PICKLE_TENSOR)) return bad(m, "parameter: expected a tensor");
        return push(m, first);
    case SIZE:
        if (!is_sizes(p, first)) return bad(m, "torch.Size: expected a tuple of integers");
        return push(m, first);
    case DEVICE: return push_new(m, (gy_pickle_node){.kind = GY_PICKLE_NONE});
    default: break;
    }
    return gy_bytes_fail(m->src, m->op_at, "pickle: REDUCE: '%s.%s' cannot be called",
                         allowed[p->nodes[f].global].module, allowed[p->nodes[f].global].name);
}

/* ---- containers ---- */

static gy_status op_tuple(machine *m, uint32_t first, gy_pickle_kind kind) {
    uint32_t t;
    gy_status s = add_node(m, list_node(kind), &t);
    for (uint32_t i = first; i < m->n_stack && s == GY_OK; i++) s = add_item(m, t, 0, m->stack[i]);
    if (s != GY_OK) return s;
    m->n_stack = first;
    return push(m, t);
}

static gy_status op_tuple_n(machine *m, uint32_t n) {
    gy_status s = need(m, n);
    return s == GY_OK ? op_tuple(m, m->n_stack - n, GY_PICKLE_TUPLE) : s;
}

static gy_status op_marked(machine *m, gy_pickle_kind kind) {
    uint32_t first = 0;
    gy_status s = pop_mark(m, &first);
    return s == GY_OK ? op_tuple(m, first, kind) : s;
}

/* Moves the stack from `first` on into the container below it. */
static gy_status fill(machine *m, uint32_t first, bool pairs) {
    if (first <= floor_of(m)) return bad(m, "stack underflow");
    uint32_t to = m->stack[first - 1], n = m->n_stack - first;
    uint8_t kind = m->p->nodes[to].kind;
    if (pairs && kind != GY_PICKLE_DICT && kind != GY_PICKLE_ORDERED_DICT)
        return gy_bytes_fail(m->src, m->op_at, "pickle: SETITEMS: expected a dictionary, found %s",
                             gy_pickle_kind_name(kind));
    if (!pairs && kind != GY_PICKLE_LIST)
        return gy_bytes_fail(m->src, m->op_at, "pickle: APPENDS: expected a list, found %s", gy_pickle_kind_name(kind));
    if (pairs && n % 2) return bad(m, "SETITEMS: a key without a value");
    gy_status s = GY_OK;
    for (uint32_t i = first; i < m->n_stack && s == GY_OK; i += pairs ? 2 : 1)
        s = add_item(m, to, pairs ? m->stack[i] : 0, m->stack[pairs ? i + 1 : i]);
    m->n_stack = first;
    return s;
}

static gy_status op_fill(machine *m, bool pairs) {
    gy_status s = need(m, pairs ? 3 : 2);
    return s == GY_OK ? fill(m, m->n_stack - (pairs ? 2u : 1u), pairs) : s;
}

static gy_status op_fill_marked(machine *m, bool pairs) {
    uint32_t first = 0;
    gy_status s = pop_mark(m, &first);
    return s == GY_OK ? fill(m, first, pairs) : s;
}

/* The attributes that PyTorch hangs on a state dict ("_metadata": versions of layers) are not data. */
static gy_status op_build(machine *m) {
    gy_status s = need(m, 2);
    if (s != GY_OK) return s;
    uint32_t state = m->stack[m->n_stack - 1], object = m->stack[m->n_stack - 2];
    if (!is_kind(m->p, object, GY_PICKLE_ORDERED_DICT) || !is_kind(m->p, state, GY_PICKLE_DICT))
        return gy_bytes_fail(
            m->src, m->op_at, "pickle: BUILD: expected an OrderedDict and a dictionary, found %s and %s",
            gy_pickle_kind_name(m->p->nodes[object].kind), gy_pickle_kind_name(m->p->nodes[state].kind));
    m->n_stack--;
    return GY_OK;
}

/* ---- the memo: picklers number their objects 0, 1, 2, ... ---- */

static gy_status memo_put(machine *m, uint64_t i) {
    gy_status s = need(m, 1);
    if (s != GY_OK) return s;
    if (i > m->n_memo)
        return gy_bytes_fail(m->src, m->op_at, "pickle: memo: expected an index up to %" PRIu32 ", found %" PRIu64,
                             m->n_memo, i);
    s = reserve(m, &m->memo, m->n_memo, 1, &m->room_memo, sizeof *m->memo);
    if (s != GY_OK) return s;
    m->memo[i] = m->stack[m->n_stack - 1];
    if (i == m->n_memo) m->n_memo++;
    return GY_OK;
}

static gy_status memo_get(machine *m, uint64_t i) {
    if (i >= m->n_memo) return gy_bytes_fail(m->src, m->op_at, "pickle: memo: nothing was stored at %" PRIu64, i);
    return push(m, m->memo[i]);
}

/* ---- opcodes ---- */

static const char *op_name(uint8_t op) {
    static const struct {
        uint8_t op;
        const char *name;
    } names[] = {
        {'I', "INT"},          {'L', "LONG"},
        {'S', "STRING"},       {'V', "UNICODE"},
        {'F', "FLOAT"},        {'p', "PUT"},
        {'g', "GET"},          {'P', "PERSID"},
        {'i', "INST"},         {'o', "OBJ"},
        {'2', "DUP"},          {0x81, "NEWOBJ"},
        {0x82, "EXT1"},        {0x83, "EXT2"},
        {0x84, "EXT4"},        {0x8f, "EMPTY_SET"},
        {0x90, "ADDITEMS"},    {0x91, "FROZENSET"},
        {0x92, "NEWOBJ_EX"},   {0x96, "BYTEARRAY8"},
        {0x97, "NEXT_BUFFER"}, {0x98, "READONLY_BUFFER"},
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (names[i].op == op) return names[i].name;
    return "no opcode";
}

static gy_status op_proto(machine *m) {
    const uint8_t *p;
    gy_status s = take(m, 1, &p);
    if (s == GY_OK && (*p < 2 || *p > 5))
        return gy_bytes_fail(m->src, m->op_at, "pickle: PROTO: expected 2 to 5, found %d", *p);
    return s;
}

static gy_status op_frame(machine *m) {
    uint64_t n = 0;
    gy_status s = take_length(m, 8, &n);
    if (s == GY_OK && n > m->limit - m->at)
        return gy_bytes_fail(m->src, m->op_at, "pickle: FRAME: %" PRIu64 " bytes, %" PRIu64 " are left", n,
                             m->limit - m->at);
    return s;
}

static gy_status push_int_of(machine *m, uint64_t width) {
    const uint8_t *p;
    gy_status s = take(m, width, &p);
    if (s != GY_OK) return s;
    return push_int(m, width == 1 ? p[0] : width == 2 ? gy_le16(p) : (int64_t)(int32_t)gy_le32(p));
}

static gy_status text_of(machine *m, uint64_t width) {
    uint64_t n = 0;
    gy_status s = take_length(m, width, &n);
    return s == GY_OK ? push_text(m, GY_PICKLE_TEXT, n) : s;
}

static gy_status put_of(machine *m, uint64_t width) {
    uint64_t i = 0;
    gy_status s = take_length(m, width, &i);
    return s == GY_OK ? memo_put(m, i) : s;
}

static gy_status get_of(machine *m, uint64_t width) {
    uint64_t i = 0;
    gy_status s = take_length(m, width, &i);
    return s == GY_OK ? memo_get(m, i) : s;
}

static gy_status op_mark(machine *m) {
    gy_status s = reserve(m, &m->marks, m->n_marks, 1, &m->room_marks, sizeof *m->marks);
    if (s == GY_OK) m->marks[m->n_marks++] = m->n_stack;
    return s;
}

static gy_status op_pop(machine *m) {
    gy_status s = need(m, 1);
    if (s == GY_OK) m->n_stack--;
    return s;
}

static gy_status op_pop_mark(machine *m) {
    return pop_mark(m, &m->n_stack);
}

static gy_status push_bool(machine *m, bool v) {
    return push_new(m, (gy_pickle_node){.kind = GY_PICKLE_BOOL, .u.boolean = v});
}

static gy_status step(machine *m, uint8_t op) {
    switch (op) {
    case 0x80: return op_proto(m);
    case 0x95: return op_frame(m);
    case '(': return op_mark(m);
    case '0': return op_pop(m);
    case '1': return op_pop_mark(m);
    case 'N': return push_new(m, (gy_pickle_node){.kind = GY_PICKLE_NONE});
    case 0x88: return push_bool(m, true);
    case 0x89: return push_bool(m, false);
    case 'K': return push_int_of(m, 1); /* BININT1 */
    case 'M': return push_int_of(m, 2); /* BININT2 */
    case 'J': return push_int_of(m, 4); /* BININT */
    case 0x8a: return push_long(m, 1);  /* LONG1 */
    case 0x8b: return push_long(m, 4);  /* LONG4 */
    case 'G': return push_float(m);     /* BINFLOAT */
    case 0x8c:                          /* SHORT_BINUNICODE */
    case 'U':                           /* SHORT_BINSTRING */
    case 'C': return text_of(m, 1);     /* SHORT_BINBYTES */
    case 'X':                           /* BINUNICODE */
    case 'T':                           /* BINSTRING */
    case 'B': return text_of(m, 4);     /* BINBYTES */
    case 0x8d:                          /* BINUNICODE8 */
    case 0x8e: return text_of(m, 8);    /* BINBYTES8 */
    case ')': return push_new(m, list_node(GY_PICKLE_TUPLE));
    case ']': return push_new(m, list_node(GY_PICKLE_LIST));
    case '}': return push_new(m, list_node(GY_PICKLE_DICT));
    case 't': return op_marked(m, GY_PICKLE_TUPLE);
    case 'l': return op_marked(m, GY_PICKLE_LIST);
    case 0x85: return op_tuple_n(m, 1);
    case 0x86: return op_tuple_n(m, 2);
    case 0x87: return op_tuple_n(m, 3);
    case 'a': return op_fill(m, false);        /* APPEND */
    case 'e': return op_fill_marked(m, false); /* APPENDS */
    case 's': return op_fill(m, true);         /* SETITEM */
    case 'u': return op_fill_marked(m, true);  /* SETITEMS */
    case 'c': return op_global(m);
    case 0x93: return op_stack_global(m);
    case 'R': return op_reduce(m);
    case 'b': return op_build(m);
    case 'Q': return op_persistent_id(m);
    case 'q': return put_of(m, 1);            /* BINPUT */
    case 'r': return put_of(m, 4);            /* LONG_BINPUT */
    case 0x94: return memo_put(m, m->n_memo); /* MEMOIZE */
    case 'h': return get_of(m, 1);            /* BINGET */
    case 'j': return get_of(m, 4);            /* LONG_BINGET */
    default: break;
    }
    return gy_bytes_fail(m->src, m->op_at, "pickle: opcode 0x%02x (%s) is not allowed", op, op_name(op));
}

static gy_status run(machine *m) {
    for (;;) {
        const uint8_t *p;
        m->op_at = m->at;
        if (m->at == m->limit) return bad(m, "the end without STOP");
        gy_status s = take(m, 1, &p);
        if (s != GY_OK) return s;
        uint8_t op = *p;
        if (m->op_at == m->first && op != 0x80) return bad(m, "expected PROTO first");
        if (op == '.') break;
        s = step(m, op);
        if (s != GY_OK) return s;
    }
    if (m->n_marks != 0 || m->n_stack != 1)
        return gy_bytes_fail(m->src, m->op_at, "pickle: STOP: expected one object on the stack, found %" PRIu32,
                             m->n_stack);
    m->p->root = m->stack[0];
    m->p->end = m->at;
    return GY_OK;
}

gy_status gy_pickle_read(const gy_bytes *src, uint64_t at, uint64_t limit, gy_pickle *out) {
    *out = (gy_pickle){.ctx = src->ctx};
    if (limit > src->size) limit = src->size;
    machine m = {.p = out, .src = src, .first = at, .at = at, .limit = limit};
    m.window = gy_malloc(src->ctx, WINDOW);
    gy_status s = m.window ? run(&m) : GY_ERR_NOMEM;
    gy_free(src->ctx, m.window);
    gy_free(src->ctx, m.stack);
    gy_free(src->ctx, m.marks);
    gy_free(src->ctx, m.memo);
    if (s != GY_OK) gy_pickle_free(out);
    return s;
}

void gy_pickle_free(gy_pickle *p) {
    if (!p->ctx) return;
    gy_free(p->ctx, p->nodes);
    gy_free(p->ctx, p->items);
    gy_free(p->ctx, p->texts);
    *p = (gy_pickle){0};
}

/* ---- looking at nodes ---- */

const char *gy_pickle_kind_name(gy_pickle_kind k) {
    static const char *const names[] = {"None",     "a boolean", "an integer", "a long integer", "a float",
                                        "a string", "a tuple",   "a list",     "a dictionary",   "an OrderedDict",
                                        "a global", "a storage", "a tensor"};
    return names[k];
}

uint32_t gy_pickle_at(const gy_pickle *p, uint32_t list, uint32_t i) {
    uint32_t at = p->nodes[list].u.list.first;
    for (; at != GY_PICKLE_END && i > 0; i--) at = p->items[at].next;
    return at == GY_PICKLE_END ? GY_PICKLE_END : p->items[at].value;
}

uint32_t gy_pickle_get(const gy_pickle *p, uint32_t dict, const char *key) {
    if (!is_kind(p, dict, GY_PICKLE_DICT) && !is_kind(p, dict, GY_PICKLE_ORDERED_DICT)) return GY_PICKLE_END;
    for (uint32_t i = p->nodes[dict].u.list.first; i != GY_PICKLE_END; i = p->items[i].next) {
        const gy_pickle_node *k = &p->nodes[p->items[i].key];
        if (k->kind == GY_PICKLE_TEXT && strcmp(p->texts + k->u.text.at, key) == 0) return p->items[i].value;
    }
    return GY_PICKLE_END;
}

gy_dtype gy_pickle_storage_dtype(const gy_pickle *p, uint32_t storage) {
    uint32_t type = gy_pickle_at(p, p->nodes[storage].u.args, 1);
    return allowed[p->nodes[type].global].dtype;
}

gy_dtype gy_pickle_tensor_dtype(const gy_pickle *p, uint32_t tensor) {
    if (!p->nodes[tensor].global) return GY_DTYPE_DEFAULT;
    uint32_t type = gy_pickle_at(p, p->nodes[tensor].u.args, 6);
    return allowed[p->nodes[type].global].dtype;
}
