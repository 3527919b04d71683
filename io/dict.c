#include "dict.h"

#include <string.h>

void gy_dict_init(gy_dict *d, gy_ctx *ctx) {
    *d = (gy_dict){.ctx = ctx};
}

void gy_dict_free(gy_dict *d) {
    if (d->ctx) gy_free(d->ctx, d->slots);
    *d = (gy_dict){0};
}

/* The slot that holds the key, or the free one where it belongs. */
static gy_dict_slot *slot_of(const gy_dict *d, const char *key, uint64_t n) {
    uint64_t h = gy_hash(key, (size_t)n, 0) & (d->room - 1);
    while (d->slots[h].key && (d->slots[h].n != n || (n && memcmp(d->slots[h].key, key, (size_t)n) != 0)))
        h = (h + 1) & (d->room - 1);
    return &d->slots[h];
}

int64_t gy_dict_get(const gy_dict *d, const char *key, uint64_t n) {
    if (d->n == 0 || n > UINT32_MAX) return -1;
    const gy_dict_slot *s = slot_of(d, key, n);
    return s->key ? s->value : -1;
}

static gy_status grow(gy_dict *d) {
    gy_dict bigger = {.ctx = d->ctx, .n = d->n, .room = d->room ? 2 * d->room : 16};
    bigger.slots = gy_calloc(d->ctx, (size_t)bigger.room, sizeof *bigger.slots);
    if (!bigger.slots) return GY_ERR_NOMEM;
    for (uint64_t i = 0; i < d->room; i++)
        if (d->slots[i].key) *slot_of(&bigger, d->slots[i].key, d->slots[i].n) = d->slots[i];
    gy_free(d->ctx, d->slots);
    *d = bigger;
    return GY_OK;
}

gy_status gy_dict_add(gy_dict *d, const char *key, uint64_t n, int64_t value, int64_t *old) {
    *old = -1;
    if (n > UINT32_MAX) return gy_fail(d->ctx, GY_ERR_UNSUPPORTED, "a key of %llu bytes", (unsigned long long)n);
    if (2 * (d->n + 1) > d->room) {
        gy_status s = grow(d);
        if (s != GY_OK) return s;
    }
    gy_dict_slot *s = slot_of(d, key, n);
    if (s->key) {
        *old = s->value;
        return GY_OK;
    }
    *s = (gy_dict_slot){key, (uint32_t)n, value};
    d->n++;
    return GY_OK;
}
