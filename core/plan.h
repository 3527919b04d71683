/* plan.h: a graph made ready to run: dead code gone, constants folded, elementwise chains and epilogues
 * fused, kernels chosen, every buffer at a fixed place in one arena. After compiling, a run allocates
 * nothing. */
#ifndef GY_PLAN_H
#define GY_PLAN_H

#include "graph.h"
#include "state.h"

typedef struct gy_plan gy_plan;

/* Passes that can be switched off (gy_plan_args.off). Equal bits with or without: FOLD, INPLACE, OFFSETS, AGAIN.
 * EPILOGUE and CHAIN may change the last bits (other kernels, other order of rounding). */
enum {
    GY_PASS_FOLD = 1,      /* constants are computed once */
    GY_PASS_RECOMPUTE = 2, /* segments marked by gy_recompute_begin are computed again in the backward pass */
    GY_PASS_EPILOGUE = 4,  /* bias, activation, residual inside the product or convolution */
    GY_PASS_CHAIN = 8,     /* elementwise operators tile by tile */
    GY_PASS_INPLACE = 16,  /* outputs overwrite inputs that nobody reads any more */
    GY_PASS_OFFSETS = 32,  /* buffers share memory by lifetime */
    GY_PASS_WINOGRAD = 64, /* 3 x 3 and 3 x 3 x 3 convolutions by Winograd's algorithm, whose rounding errors are
                              larger; also left out by the environment variable GYRUS_WINOGRAD=0 */
    GY_PASS_AGAIN = 128,   /* norms, activations and the like that fill the fullest step are made again in the backward
                              pass instead of being kept; not on devices */
    GY_PASS_ALL = 255
};

typedef struct gy_plan_args {
    uint32_t off;               /* GY_PASS_* to leave out */
    bool check;                 /* run every node alone on ref kernels and stop at the first NaN or Inf; also set by
                                   the environment variable GYRUS_EAGER=1 */
    bool feed_only;             /* lay out, and allocate the inputs alone: to be fed, not run */
    bool no_assign;             /* evaluate only: states stay as they are */
    bool dry;                   /* lay out, but allocate nothing: for memory estimates; cannot run */
    const char *const *outputs; /* the outputs wanted, NULL-terminated; NULL: all */
    uint64_t isa_mask;          /* tiers to choose kernels from; 0: the context's */
    gy_dtype precision;         /* GY_BF16: the factors of f32 products are rounded to bf16, sums stay f32 (operators
                                   with GY_K_BF16_COMPUTE rows, kernels/kernel.h; values and states stay f32, f64 is
                                   left alone); GY_F32: no rounding; 0: the context's */
} gy_plan_args;

/* The precision of plans whose arguments name none: GY_F32 (at first) or GY_BF16. */
gy_dtype gy_ctx_precision(const gy_ctx *ctx);
void gy_ctx_set_precision(gy_ctx *ctx, gy_dtype precision);

/* NULL with a message: the graph is poisoned, an output is unknown, or memory is out. The graph and the
 * states it reads must outlive the plan. */
gy_plan *gy_compile(gy_graph *g, gy_plan_args args);
void gy_plan_free(gy_plan *p);

/* Copies an input's value in; shape and dtype must fit. */
gy_status gy_plan_feed(gy_plan *p, const char *name, const gy_tensor *value) GY_MUST_CHECK;
/* The input's own memory (contiguous), to fill in place; NULL: no such input in this plan. */
void *gy_plan_input(gy_plan *p, const char *name);
/* Input i of the plan and its memory in *t; its name, or NULL past the last. */
const char *gy_plan_input_at(gy_plan *p, int64_t i, gy_tensor *t);
/* Seed and step of the random operators of the next run. */
void gy_plan_set_rng(gy_plan *p, uint64_t seed, uint64_t step);

gy_status gy_plan_run(gy_plan *p) GY_MUST_CHECK; /* fails only in check mode, or on a dry plan */

/* An output's value after a run: borrowed memory, valid until the next run. All zero: no such output. */
gy_tensor gy_plan_output(const gy_plan *p, const char *name);
double gy_plan_scalar(const gy_plan *p, const char *name); /* its first element; NaN: no such output */

/* ---- the report ----------------------------------------------------------------------------- */

typedef struct gy_plan_step_info {
    const char *op, *kernel, *scope;
    gy_site site;
    gy_shape shape; /* of output 0 */
    gy_dtype dtype;
    double flops, bytes;
    bool again;         /* a value of the forward pass computed once more, for the backward pass */
    double seconds;     /* accumulated while profiling */
    int64_t live_bytes; /* bytes of the arena in use during the step */
    const char *fused;  /* "matmul+bias+gelu", "chain: mul add tanh"; NULL */
} gy_plan_step_info;

typedef struct gy_plan_info {
    int64_t nodes; /* of the graph given */
    int64_t steps;
    int64_t arena_bytes; /* what the run needs beside inputs, constants and states */
    int64_t lower_bound; /* largest sum of bytes alive at one step: no layout can do with less */
    int64_t sum_bytes;   /* of all buffers: what no sharing would need */
    int64_t const_bytes, input_bytes, state_bytes;
    int64_t packed_bytes; /* copies of parameters in the layouts of kernels (kernels/kernel.h) */
    double flops, bytes;
} gy_plan_info;
gy_plan_info gy_plan_report(const gy_plan *p);
gy_plan_step_info gy_plan_step(const gy_plan *p, int64_t i);

/* A buffer of the arena and who writes it first. */
typedef struct gy_plan_live_info {
    const char *op, *scope;
    gy_shape shape; /* of what is written; rank 0 for scratch */
    int64_t bytes;
    int64_t first, last; /* steps between which it is alive; last = steps: an output */
    bool scratch;
} gy_plan_live_info;
/* The buffers alive during a step: the first `most` go to list, in the order in which they were planned. Returns how
 * many there are. */
int64_t gy_plan_live(const gy_plan *p, int64_t step, gy_plan_live_info *list, int64_t most);
void gy_plan_profile(gy_plan *p, bool on); /* on: clears the times, then each run adds to them */
/* True when no two buffers that are alive together overlap (tests). */
bool gy_plan_verify(const gy_plan *p);

#endif
