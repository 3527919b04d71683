#include "state.h"
#include "device.h"
#include "rng.h"

#include <math.h>
#include <string.h>

struct gy_store {
    gy_ctx *ctx;
    gy_device *device; /* whose memory the values lie in; NULL: the host's */
    gy_state **state;
    int64_t n, cap;
    int64_t *hash; /* open addressing, index + 1 */
    int64_t hash_cap;
    bool dry;
};

gy_store *gy_store_new(gy_ctx *ctx) {
    gy_store *s = gy_calloc(ctx, 1, sizeof *s);
    if (!s) return NULL;
    s->ctx = ctx;
    s->device = gy_ctx_device(ctx);
    return s;
}

gy_store *gy_store_new_dry(gy_ctx *ctx) {
    gy_store *s = gy_store_new(ctx);
    if (s) s->dry = true;
    return s;
}

static gy_status value_new(gy_store *s, gy_tensor *t, gy_dtype dtype, gy_shape shape) {
    if (!s->device) return gy_tensor_new(s->ctx, t, dtype, shape);
    *t = (gy_tensor){.dtype = dtype, .shape = shape};
    t->data = s->device->alloc_shared(s->device, gy_tensor_bytes(t));
    return t->data ? GY_OK : gy_fail(s->ctx, GY_ERR_NOMEM, "%s: out of memory", s->device->name);
}

static void value_free(gy_store *s, gy_tensor *t) {
    if (!s->device) {
        gy_tensor_free(s->ctx, t);
    } else if (t->data) {
        s->device->free_shared(s->device, t->data);
    }
}

void gy_store_free(gy_store *s) {
    if (!s) return;
    for (int64_t i = 0; i < s->n; i++) {
        value_free(s, &s->state[i]->value);
        gy_free(s->ctx, (char *)(uintptr_t)s->state[i]->name);
        gy_free(s->ctx, s->state[i]);
    }
    gy_free(s->ctx, s->state);
    gy_free(s->ctx, s->hash);
    gy_free(s->ctx, s);
}

gy_ctx *gy_store_ctx(const gy_store *s) {
    return s->ctx;
}

static int64_t *slot_of(const gy_store *s, const char *name) {
    uint64_t mask = (uint64_t)(s->hash_cap - 1), at = gy_hash_str(name, 0) & mask;
    while (s->hash[at] && strcmp(s->state[s->hash[at] - 1]->name, name) != 0) at = (at + 1) & mask;
    return &s->hash[at];
}

gy_state *gy_state_find(const gy_store *s, const char *name) {
    if (!s->n) return NULL;
    int64_t *slot = slot_of(s, name);
    return *slot ? s->state[*slot - 1] : NULL;
}

static bool reserve(gy_store *s) {
    if (s->n == s->cap) {
        int64_t cap = s->cap ? 2 * s->cap : 64;
        gy_state **p = gy_realloc(s->ctx, s->state, sizeof *p * (size_t)cap);
        if (!p) return false;
        s->state = p;
        s->cap = cap;
    }
    if (2 * (s->n + 1) > s->hash_cap) {
        int64_t cap = s->hash_cap ? 2 * s->hash_cap : 256, *old = s->hash;
        int64_t *h = gy_calloc(s->ctx, (size_t)cap, sizeof *h);
        if (!h) return false;
        s->hash = h;
        s->hash_cap = cap;
        for (int64_t i = 0; i < s->n; i++) *slot_of(s, s->state[i]->name) = i + 1;
        gy_free(s->ctx, old);
    }
    return true;
}

/* Inputs a unit sums over: [out, in] and [out, in, k...] count all but the first axis. */
static double fan_in(gy_shape s) {
    double n = 1;
    for (int64_t i = 1; i < s.rank; i++) n *= (double)s.dim[i];
    return s.rank == 1 ? (double)s.dim[0] : n;
}
static double fan_out(gy_shape s) {
    double n = s.rank ? (double)s.dim[0] : 1;
    for (int64_t i = 2; i < s.rank; i++) n *= (double)s.dim[i];
    return n;
}

/* Rows (or columns, whichever are fewer) orthonormal: Gram-Schmidt, twice, on normal draws. */
static void orthogonal(gy_tensor *t, gy_rng *r, double gain) {
    int64_t rows = t->shape.rank ? t->shape.dim[0] : 1, n = gy_shape_count(t->shape), cols = rows ? n / rows : 0;
    bool wide = cols >= rows;
    int64_t vectors = wide ? rows : cols, length = wide ? cols : rows, step = wide ? 1 : cols, hop = wide ? cols : 1;
    for (int64_t i = 0; i < n; i++) gy_tensor_set(t, i, gy_rng_normal(r));
    for (int64_t v = 0; v < vectors; v++)
        for (int pass = 0; pass < 2; pass++) {
            for (int64_t u = 0; u < v; u++) {
                double dot = 0, norm = 0;
                for (int64_t i = 0; i < length; i++) {
                    double b = gy_tensor_get(t, u * hop + i * step);
                    dot += b * gy_tensor_get(t, v * hop + i * step);
                    norm += b * b;
                }
                for (int64_t i = 0; i < length; i++)
                    gy_tensor_set(t, v * hop + i * step,
                                  gy_tensor_get(t, v * hop + i * step) -
                                      dot / norm * gy_tensor_get(t, u * hop + i * step));
            }
            double norm = 0;
            for (int64_t i = 0; i < length; i++) norm += pow(gy_tensor_get(t, v * hop + i * step), 2);
            for (int64_t i = 0; i < length; i++)
                gy_tensor_set(t, v * hop + i * step, gy_tensor_get(t, v * hop + i * step) / sqrt(norm));
        }
    for (int64_t i = 0; i < n; i++) gy_tensor_set(t, i, gain * gy_tensor_get(t, i));
}

void gy_state_touch(gy_state *st) {
    st->version++;
}

void gy_state_reset(gy_state *st, gy_init init, uint64_t seed) {
    gy_tensor *t = &st->value;
    gy_state_touch(st);
    int64_t n = gy_shape_count(t->shape);
    double a = init.a, bound = 0;
    gy_rng r;
    gy_rng_init(&r, seed, st->name);
    switch (init.kind) {
    case GY_INIT_DEFAULT:
    case GY_INIT_ZEROS: memset(t->data, 0, gy_tensor_bytes(t)); return;
    case GY_INIT_ONES: a = 1.0; /* fall through */
    case GY_INIT_CONSTANT:
        for (int64_t i = 0; i < n; i++) gy_tensor_set(t, i, a);
        return;
    case GY_INIT_XAVIER_NORMAL:
        a = (a == 0 ? 1 : a) * sqrt(2.0 / (fan_in(t->shape) + fan_out(t->shape))); /* fall through */
    case GY_INIT_NORMAL:
        for (int64_t i = 0; i < n; i++) gy_tensor_set(t, i, a * gy_rng_normal(&r));
        return;
    case GY_INIT_TRUNC_NORMAL:
        for (int64_t i = 0; i < n; i++) {
            double z = gy_rng_normal(&r);
            while (fabs(z) > 2.0) z = gy_rng_normal(&r);
            gy_tensor_set(t, i, a * z);
        }
        return;
    case GY_INIT_ORTHOGONAL: orthogonal(t, &r, a == 0 ? 1 : a); return;
    case GY_INIT_UNIFORM: bound = a; break;
    case GY_INIT_KAIMING_UNIFORM: bound = sqrt(6.0 / ((1.0 + a * a) * fan_in(t->shape))); break;
    case GY_INIT_XAVIER_UNIFORM: bound = (a == 0 ? 1 : a) * sqrt(6.0 / (fan_in(t->shape) + fan_out(t->shape))); break;
    case GY_INIT_FAN_IN: bound = 1.0 / sqrt(a); break;
    }
    for (int64_t i = 0; i < n; i++) gy_tensor_set(t, i, bound * (2.0 * gy_rng_uniform(&r) - 1.0));
}

gy_state *gy_state_get(gy_store *s, const char *name, gy_state_kind kind, gy_dtype dtype, gy_shape shape, gy_init init,
                       uint64_t seed) {
    char have[GY_SHAPE_TEXT], want[GY_SHAPE_TEXT];
    gy_state *st = gy_state_find(s, name);
    if (st) {
        if (st->kind == kind && st->value.dtype == dtype && gy_shape_equal(st->value.shape, shape)) return st;
        gy_fail(s->ctx, GY_ERR_SHAPE, "state '%s' is %s %s, asked for as %s %s", name, gy_dtype_name(st->value.dtype),
                gy_shape_text(st->value.shape, have), gy_dtype_name(dtype), gy_shape_text(shape, want));
        return NULL;
    }
    if (!reserve(s)) return NULL;
    st = gy_calloc(s->ctx, 1, sizeof *st);
    if (!st) return NULL;
    st->name = gy_strdup(s->ctx, name);
    st->kind = kind;
    st->value = (gy_tensor){.dtype = dtype, .shape = shape};
    if (!st->name || (!s->dry && value_new(s, &st->value, dtype, shape) != GY_OK)) {
        gy_free(s->ctx, (char *)(uintptr_t)st->name);
        gy_free(s->ctx, st);
        return NULL;
    }
    if (!s->dry) gy_state_reset(st, init, seed);
    s->state[s->n++] = st;
    *slot_of(s, name) = s->n;
    return st;
}

int64_t gy_store_count(const gy_store *s) {
    return s->n;
}

gy_state *gy_store_at(const gy_store *s, int64_t i) {
    return i >= 0 && i < s->n ? s->state[i] : NULL;
}

int64_t gy_store_parameters(const gy_store *s) {
    int64_t n = 0;
    for (int64_t i = 0; i < s->n; i++)
        if (s->state[i]->kind == GY_PARAM) n += gy_shape_count(s->state[i]->value.shape);
    return n;
}

int64_t gy_store_freeze(gy_store *s, const char *prefix, bool frozen) {
    int64_t n = 0;
    size_t len = strlen(prefix);
    for (int64_t i = 0; i < s->n; i++)
        if (s->state[i]->kind == GY_PARAM && strncmp(s->state[i]->name, prefix, len) == 0) {
            s->state[i]->frozen = frozen;
            n++;
        }
    return n;
}

gy_store *gy_store_averaged(const gy_store *s) {
    gy_store *out = gy_store_new(s->ctx);
    for (int64_t i = 0; out && i < s->n; i++) {
        const gy_state *from = s->state[i], *average;
        if (from->kind == GY_SLOT) continue;
        char *name = gy_format(s->ctx, "%s.ema", from->name);
        gy_state *to =
            name ? gy_state_get(out, from->name, from->kind, from->value.dtype, from->value.shape, (gy_init){0}, 0)
                 : NULL;
        if (!to) {
            gy_free(s->ctx, name);
            gy_store_free(out);
            return NULL;
        }
        average = from->kind == GY_PARAM ? gy_state_find(s, name) : NULL;
        memcpy(to->value.data, (average ? average : from)->value.data, gy_tensor_bytes(&to->value));
        gy_free(s->ctx, name);
    }
    return out;
}
