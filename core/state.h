/* state.h: what outlives a run: parameters, buffers, optimizer slots, each under the name that public
 * checkpoints use ("down_blocks.0.resnets.0.conv1.weight"). */
#ifndef GY_STATE_H
#define GY_STATE_H

#include "base.h"

typedef enum gy_state_kind {
    GY_PARAM = 1, /* trained */
    GY_BUFFER,    /* saved, not trained: running statistics, codebooks by EMA */
    GY_SLOT       /* optimizer moments, EMA copies, counters */
} gy_state_kind;

struct gy_state {
    const char *name;
    gy_state_kind kind;
    bool frozen; /* a parameter that the optimizer skips */
    gy_tensor value;
    uint64_t version; /* moves with every change of the value */
};
typedef struct gy_state gy_state;

/* An ordered set of states; addresses are stable while the store lives. */
typedef struct gy_store gy_store;
gy_store *gy_store_new(gy_ctx *ctx);     /* NULL: out of memory */
gy_store *gy_store_new_dry(gy_ctx *ctx); /* names and shapes only: for counting and memory estimates */
void gy_store_free(gy_store *s);
gy_ctx *gy_store_ctx(const gy_store *s);

/* How new values are drawn. */
typedef enum gy_init_kind {
    GY_INIT_DEFAULT = 0, /* zeros */
    GY_INIT_ZEROS,
    GY_INIT_ONES,
    GY_INIT_CONSTANT,        /* a */
    GY_INIT_NORMAL,          /* mean 0, standard deviation a */
    GY_INIT_TRUNC_NORMAL,    /* the same, redrawn outside +-2 a */
    GY_INIT_UNIFORM,         /* [-a, a] */
    GY_INIT_KAIMING_UNIFORM, /* U(+-sqrt(3) gain / sqrt(fan_in)), gain sqrt(2/(1+a^2)); PyTorch's Linear and
                                Conv use a = sqrt 5, i.e. U(+-1/sqrt(fan_in)) */
    GY_INIT_XAVIER_UNIFORM,  /* U(+-a sqrt(6 / (fan_in + fan_out))) */
    GY_INIT_XAVIER_NORMAL,   /* mean 0, standard deviation a sqrt(2 / (fan_in + fan_out)); a 0: 1 */
    GY_INIT_ORTHOGONAL,      /* rows or columns orthonormal, times a */
    GY_INIT_FAN_IN           /* U(+-1/sqrt(a)), a = fan_in: biases of PyTorch's layers */
} gy_init_kind;
typedef struct gy_init {
    gy_init_kind kind;
    double a;
} gy_init;

/* Finds `name` or makes it with initial values drawn from (seed, name) alone, so that the same name and
 * seed give the same values in any order of creation. NULL with a message if it exists with another kind,
 * dtype or shape, or memory is out. */
gy_state *gy_state_get(gy_store *s, const char *name, gy_state_kind kind, gy_dtype dtype, gy_shape shape, gy_init init,
                       uint64_t seed);
gy_state *gy_state_find(const gy_store *s, const char *name); /* NULL: none */
int64_t gy_store_count(const gy_store *s);
gy_state *gy_store_at(const gy_store *s, int64_t i); /* in order of creation */
int64_t gy_store_parameters(const gy_store *s);      /* scalar parameters in all, frozen ones included */
/* Freezes (or unfreezes) every parameter whose name begins with prefix; returns how many. */
int64_t gy_store_freeze(gy_store *s, const char *prefix, bool frozen);
/* A store to evaluate with: copies of s's parameters and buffers, each parameter at its moving average "<param>.ema"
 * where an optimizer keeps one (optim.h). NULL: out of memory. Free with gy_store_free. */
gy_store *gy_store_averaged(const gy_store *s);
/* To be called after writing to value.data by hand: plans may keep the value in another layout. */
void gy_state_touch(gy_state *st);
/* Draws a state's values anew. */
void gy_state_reset(gy_state *st, gy_init init, uint64_t seed);

#endif
