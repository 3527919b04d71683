/* dict.h: byte strings to numbers: open addressing, linear probing. The keys stay the caller's and must
 * outlive the dictionary. */
#ifndef GY_IO_DICT_H
#define GY_IO_DICT_H

#include "../core/base.h"

typedef struct gy_dict_slot {
    const char *key; /* NULL: free */
    uint32_t n;      /* bytes of the key, which may hold NUL */
    int64_t value;
} gy_dict_slot;
typedef struct gy_dict {
    gy_ctx *ctx;
    gy_dict_slot *slots;
    uint64_t n, room; /* room is a power of two, or 0 */
} gy_dict;

void gy_dict_init(gy_dict *d, gy_ctx *ctx);
void gy_dict_free(gy_dict *d);                                      /* all-zero is fine */
int64_t gy_dict_get(const gy_dict *d, const char *key, uint64_t n); /* -1: no such key */
/* *old gets the value that the key had, or -1 when it is new; an old value stays. Values are >= 0. */
gy_status gy_dict_add(gy_dict *d, const char *key, uint64_t n, int64_t value, int64_t *old) GY_MUST_CHECK;

#endif
