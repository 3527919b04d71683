/* module.h: layers that own parameters. A gy_mod is a scope: it finds or makes the state named
 * "<scope>.<name>", so that sharing weights is using the same name, and public checkpoints load by name. */
#ifndef GY_MODULE_H
#define GY_MODULE_H

#include "ops.h"
#include "state.h"

/* What a hook does with a named value x (gy_tap). Operands are inputs of the graph, zeros until they are fed. All kinds
 * pass gradients on, to x where x is used and to the operands. */
typedef enum gy_hook_kind {
    GY_HOOK_READ = 1,    /* the value becomes an output of its full name */
    GY_HOOK_REPLACE,     /* replaced by an input "hook:<name>" of the same shape */
    GY_HOOK_ADD,         /* the input "hook:<name>" is added (steering) */
    GY_HOOK_SCALE,       /* times `factor` (0: ablation) */
    GY_HOOK_MEAN,        /* replaced by a stored mean "mean:<name>", of the last `size` axes of x and repeated over the
                            others; size 0: all axes but the first, a mean over rows */
    GY_HOOK_PROJECT_OUT, /* x - (x - c) Q Q^T: what x, seen from c, has in a subspace is removed; inputs "basis:<name>",
                            Q [d, size] with orthonormal columns (size 0: 1), and "centre:<name>", c [d]; x [..., d] */
    GY_HOOK_RESAMPLE,    /* row i becomes row index[i]; input "rows:<name>" i64 [rows of x] */
    GY_HOOK_MARK /* unchanged, but a node of its own carries the full name (gy_node.tap), however often the layer
                    is used: for those who look for values in the finished graph */
} gy_hook_kind;
typedef struct gy_hook {
    const char *name; /* full name, "encoder.layer.3.attn"; a trailing '*' matches any ending */
    gy_hook_kind kind;
    double factor; /* SCALE */
    int64_t size;  /* MEAN, PROJECT_OUT */
} gy_hook;

typedef struct gy_mod {
    gy_graph *g;
    gy_store *store;
    uint64_t seed;  /* of initial values */
    gy_dtype dtype; /* of parameters and activations; GY_F32 by default */
    bool train;     /* dropout, batch statistics */
    const gy_hook *hooks;
    int64_t n_hooks;
    char scope[512]; /* "encoder.layer.3" */
} gy_mod;

gy_mod gy_mod_make(gy_graph *g, gy_store *store, uint64_t seed, bool train);
/* Parameters and node names below are prefixed; `fmt` as printf: gy_push(m, "blocks.%d", i). */
void gy_push(gy_mod *m, const char *fmt, ...) GY_PRINTF(2, 3);
void gy_pop(gy_mod *m); /* undoes the last push, however many dots it held */

/* The state "<scope>.<name>" as a value; made on first use. A parameter gets gradients; a buffer is saved
 * but not trained. */
gy_t gy_param_(gy_site at, gy_mod *m, const char *name, gy_shape shape, gy_init init);
#define gy_param(m, name, shape, ...) gy_param_(GY_HERE, m, name, shape, (gy_init){__VA_ARGS__})
gy_t gy_buffer_(gy_site at, gy_mod *m, const char *name, gy_shape shape, gy_init init);
#define gy_buffer(m, name, shape, ...) gy_buffer_(GY_HERE, m, name, shape, (gy_init){__VA_ARGS__})
gy_state *gy_mod_state(gy_mod *m, const char *name); /* NULL: none of that name in the scope */

/* A named value that hooks and traces can reach; x itself when nobody asks. Several hooks act in their order; those of
 * one kind at one value share their input. */
gy_t gy_tap_(gy_site at, gy_mod *m, const char *name, gy_t x);
#define gy_tap(m, name, x) gy_tap_(GY_HERE, m, name, x)
/* True when a hook reaches "<scope>.<name>": layers whose fast form does not compute that value ask first. */
bool gy_tapped(const gy_mod *m, const char *name);

/* ---- layers: names and initial values are PyTorch's ------------------------------------------------ */

typedef struct gy_nn_linear_args {
    gy_site at;
    gy_mod *m;
    const char *name;
    gy_t x; /* [..., in] */
    int64_t out;
    bool no_bias;
    gy_init init;      /* of the weight; default U(+-1/sqrt(in)) */
    gy_init bias_init; /* default U(+-1/sqrt(in)) */
} gy_nn_linear_args;
/* name.weight [out, in], name.bias [out] -> [..., out] */
gy_t gy_nn_linear_(gy_nn_linear_args a);
#define gy_nn_linear(m, name, x, ...) gy_nn_linear_((gy_nn_linear_args){GY_HERE, m, name, x, __VA_ARGS__})

typedef struct gy_nn_conv_args {
    gy_site at;
    gy_mod *m;
    const char *name;
    gy_t x; /* [B, spatial..., in] */
    int64_t out;
    gy_shape kernel;                /* one size an axis; GY_S(3) serves all axes */
    gy_shape stride, pad, dilation; /* as gy_conv's */
    int64_t groups;
    bool no_bias;
    gy_init init, bias_init; /* default U(+-1/sqrt(fan_in)) */
} gy_nn_conv_args;
/* name.weight [out, in/groups, k...], name.bias [out] */
gy_t gy_nn_conv_(gy_nn_conv_args a);
#define gy_nn_conv(m, name, x, ...) gy_nn_conv_((gy_nn_conv_args){GY_HERE, m, name, x, __VA_ARGS__})

typedef struct gy_nn_conv_transpose_args {
    gy_site at;
    gy_mod *m;
    const char *name;
    gy_t x; /* [B, spatial..., in] */
    int64_t out;
    gy_shape kernel;                      /* one size an axis; GY_S(3) serves all axes */
    gy_shape stride, pad, output_padding; /* as gy_conv_transpose's */
    int64_t groups;
    bool no_bias;
    gy_init init, bias_init; /* default U(+-1/sqrt(out/groups k...)), as PyTorch's */
} gy_nn_conv_transpose_args;
/* name.weight [in, out/groups, k...], name.bias [out] */
gy_t gy_nn_conv_transpose_(gy_nn_conv_transpose_args a);
#define gy_nn_conv_transpose(m, name, x, ...)                                                                          \
    gy_nn_conv_transpose_((gy_nn_conv_transpose_args){GY_HERE, m, name, x, __VA_ARGS__})

typedef struct gy_nn_norm_args {
    gy_site at;
    gy_mod *m;
    const char *name;
    gy_t x;
    double eps;     /* 0: 1e-5, rmsnorm 1e-6 */
    int64_t groups; /* group norm */
    bool no_affine;
    double momentum; /* batch norm's running statistics; 0: 0.1 */
    gy_act act;      /* group norm: GY_ACT_SILU is applied on the way out */
} gy_nn_norm_args;
gy_t gy_nn_layernorm_(gy_nn_norm_args a); /* name.weight, name.bias [features] */
gy_t gy_nn_rmsnorm_(gy_nn_norm_args a);   /* name.weight */
gy_t gy_nn_groupnorm_(gy_nn_norm_args a);
/* Also buffers name.running_mean, running_var; batch statistics while training, running ones else. Used several times
 * in a step (a shared module), each use moves them on. */
gy_t gy_nn_batchnorm_(gy_nn_norm_args a);
#define gy_nn_layernorm(m, name, ...) gy_nn_layernorm_((gy_nn_norm_args){GY_HERE, m, name, __VA_ARGS__})
#define gy_nn_rmsnorm(m, name, ...)   gy_nn_rmsnorm_((gy_nn_norm_args){GY_HERE, m, name, __VA_ARGS__})
#define gy_nn_groupnorm(m, name, ...) gy_nn_groupnorm_((gy_nn_norm_args){GY_HERE, m, name, __VA_ARGS__})
#define gy_nn_batchnorm(m, name, ...) gy_nn_batchnorm_((gy_nn_norm_args){GY_HERE, m, name, __VA_ARGS__})

/* x > 0 ? x : w x with one learned slope w, 0.25 at first: name.weight [1] (He et al. 2015, arXiv 1502.01852 eq. 1). */
gy_t gy_nn_prelu_(gy_site at, gy_mod *m, const char *name, gy_t x);
#define gy_nn_prelu(m, name, x) gy_nn_prelu_(GY_HERE, m, name, x)

/* name.weight [count, width], normal(0, 1) unless init says otherwise; index i64 -> [..., width] */
gy_t gy_nn_embedding_(gy_site at, gy_mod *m, const char *name, gy_t index, int64_t count, int64_t width, gy_init init);
#define gy_nn_embedding(m, name, index, count, width, ...)                                                             \
    gy_nn_embedding_(GY_HERE, m, name, index, count, width, (gy_init){__VA_ARGS__})

/* Zeroes each element with probability p while training; identity else. */
gy_t gy_nn_dropout_(gy_site at, gy_mod *m, const char *name, gy_t x, double p);
#define gy_nn_dropout(m, name, x, p) gy_nn_dropout_(GY_HERE, m, name, x, p)

#endif
