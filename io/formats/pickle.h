/* pickle.h: the part of Python's pickle format (protocols 2 to 5) that PyTorch's state dicts use, read
 * into plain nodes by a table of opcodes. Nothing is ever imported, called or constructed: a global is an
 * entry of a short allow list or the file is refused with the global's name, and REDUCE on an allowed one
 * builds a node of ours. There is no laxer reader behind this one.
 *
 * Work and memory are linear in the bytes of the pickle: every opcode makes at most one node, shared objects
 * stay shared, nothing recurses. */
#ifndef GY_IO_PICKLE_H
#define GY_IO_PICKLE_H

#include "../bytes.h"

typedef enum gy_pickle_kind {
    GY_PICKLE_NONE,
    GY_PICKLE_BOOL,
    GY_PICKLE_INT,
    GY_PICKLE_BIG_INT, /* more than 64 bits: u.text holds its little-endian bytes */
    GY_PICKLE_FLOAT,
    GY_PICKLE_TEXT,  /* str, and bytes of Python 2 and 3 */
    GY_PICKLE_TUPLE, /* torch.Size too */
    GY_PICKLE_LIST,
    GY_PICKLE_DICT,
    GY_PICKLE_ORDERED_DICT,
    GY_PICKLE_GLOBAL,
    GY_PICKLE_STORAGE, /* u.args: ("storage", type, key, location, elements[, None]), checked */
    GY_PICKLE_TENSOR   /* u.args: (storage, offset, sizes, strides, ...[, dtype]), checked */
} gy_pickle_kind;

typedef struct gy_pickle_node {
    uint8_t kind;   /* gy_pickle_kind */
    uint8_t global; /* GLOBAL: row of the allow list */
    union {
        bool boolean;
        int64_t integer;
        double real;
        struct {
            uint32_t at, n; /* in texts */
        } text;
        struct {
            uint32_t first, last; /* items; GY_PICKLE_END: none */
        } list;
        uint32_t args; /* a TUPLE */
    } u;
} gy_pickle_node;

enum { GY_PICKLE_END = UINT32_MAX };
typedef struct gy_pickle_item {
    uint32_t key; /* of dictionaries */
    uint32_t value, next;
} gy_pickle_item;

typedef struct gy_pickle {
    gy_ctx *ctx;
    gy_pickle_node *nodes;
    gy_pickle_item *items;
    char *texts;
    uint32_t n_nodes, n_items, n_texts, room_nodes, room_items, room_texts;
    uint32_t root;
    uint64_t end; /* the byte of the source behind STOP */
} gy_pickle;

/* Reads one pickle that begins at `at` and ends at STOP, no later than `limit`. */
gy_status gy_pickle_read(const gy_bytes *src, uint64_t at, uint64_t limit, gy_pickle *out) GY_MUST_CHECK;
void gy_pickle_free(gy_pickle *p); /* all-zero is fine */

const char *gy_pickle_kind_name(gy_pickle_kind k); /* "a tuple", ... */
/* The node at position i of a tuple or list; GY_PICKLE_END: there is none. */
uint32_t gy_pickle_at(const gy_pickle *p, uint32_t list, uint32_t i);
/* The value of a text key in a dictionary, or GY_PICKLE_END. */
uint32_t gy_pickle_get(const gy_pickle *p, uint32_t dict, const char *key);
/* The element type of a storage; GY_DTYPE_DEFAULT: untyped, counted in bytes. */
gy_dtype gy_pickle_storage_dtype(const gy_pickle *p, uint32_t storage);
/* The element type that a tensor's own arguments name (_rebuild_tensor_v3); GY_DTYPE_DEFAULT: none. */
gy_dtype gy_pickle_tensor_dtype(const gy_pickle *p, uint32_t tensor);

#endif
