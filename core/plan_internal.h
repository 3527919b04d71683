/* plan_internal.h: shared by passes.c, again.c, place.c, lower.c, offsets.c and plan.c. */
#ifndef GY_PLAN_INTERNAL_H
#define GY_PLAN_INTERNAL_H

#include "../kernels/kernel.h"
#include "op.h"
#include "plan.h"
#include "state.h"

typedef enum gy_buffer_kind {
    GY_BUF_ARENA, /* placed by offsets.c */
    GY_BUF_CONST, /* data of the graph, or one scalar of the plan */
    GY_BUF_INPUT, /* the plan's own, outside the arena */
    GY_BUF_STATE  /* a state's storage */
} gy_buffer_kind;

typedef struct gy_buffer {
    gy_buffer_kind kind;
    int64_t bytes, offset; /* offset in the arena, in the block of inputs, or in a device's copy of the constants */
    int32_t first, last;   /* steps between which it is alive */
    int32_t rep;           /* the buffer whose memory it shares (itself if none) */
    bool summing;          /* on a device: a sum over ranks into it may be under way */
    const void *data;      /* CONST */
    gy_state *state;       /* STATE */
} gy_buffer;

/* Where a value lies. Offset and strides in elements. */
typedef struct gy_place {
    int32_t buffer; /* -1: not lowered */
    gy_dtype dtype;
    int64_t offset;
    gy_shape shape;
    int64_t stride[GY_MAX_RANK];
} gy_place;

/* An input in its kernel's own layout, for as long as the plan lives. */
typedef struct gy_packed {
    int32_t step, input; /* the first step that reads it */
    size_t bytes;
    void *data;
    const gy_state *state; /* NULL: a constant */
    uint64_t version;      /* of the state when it was packed */
    bool made;
} gy_packed;

typedef struct gy_step {
    const gy_node *node;
    const gy_kernel *kernel;
    gy_place *in, *out; /* n_in, n_out; an absent input has buffer -1 */
    int32_t n_in, n_out;
    int32_t scratch;   /* buffer, -1: none */
    int32_t packed[2]; /* of inputs 0 and 1; -1: none */
    gy_kargs k;
    gy_cost cost;
    double seconds;
    int64_t live_bytes;
} gy_step;

typedef struct gy_named_place {
    const char *name;
    gy_place place;
    int64_t host_offset; /* of an output: where its copy lies in output_block */
} gy_named_place;

struct gy_plan {
    gy_ctx *ctx;
    gy_graph *given, *g; /* the caller's graph; the rewritten one (owned) */
    gy_arena mem;
    uint64_t isa_mask;
    gy_device *device;  /* NULL: the CPU */
    gy_dtype precision; /* GY_F32 or GY_BF16 */
    gy_plan_args args;
    gy_buffer *buffer;
    int32_t n_buffers, cap_buffers;
    gy_step *step;
    int32_t n_steps, cap_steps;
    gy_packed *packed;
    char *packed_block; /* the data of all of them */
    int32_t n_packed, cap_packed;
    gy_named_place *input, *output;
    int64_t n_input, n_output;
    char *arena_block, *input_block; /* on a device: its memory; memory of the host, copied to input_device first */
    char *input_device, *const_device, *output_block; /* on a device only; the last is the host's */
    int64_t const_bytes, output_bytes;
    void *recording; /* of a device: everything a run queues */
    int64_t arena_bytes, input_bytes, lower_bound, sum_bytes;
    bool profile;
};

/* passes.c: a chain's program, run by gy_chain_run (kernels/elementwise.c). */
enum { GY_CHAIN_OPS = 24, GY_CHAIN_INPUTS = 12, GY_CHAIN_SLOTS = 8 };
typedef struct gy_chain_op {
    gy_op_id op;
    const void *attr;
    gy_span_fn span;
    int n_in;
    int in[3]; /* >= 0: input of the chain; < 0: slot -1 - in */
    int out;   /* slot, or -1: the chain's output */
    gy_dtype dtype;
} gy_chain_op;
typedef struct gy_chain {
    int64_t n;
    gy_chain_op ops[GY_CHAIN_OPS];
} gy_chain;
typedef struct gy_chain_attr {
    const gy_chain *chain;
    gy_shape shape;
    int64_t dtype;
} gy_chain_attr;

/* Each returns a new graph (the caller frees the old one unless it is the given one), or NULL. */
gy_graph *gy_pass_fold(gy_plan *p, gy_graph *g);
gy_graph *gy_pass_recompute(gy_plan *p, gy_graph *g);
gy_graph *gy_pass_epilogue(gy_plan *p, gy_graph *g);
gy_graph *gy_pass_chain(gy_plan *p, gy_graph *g);
gy_graph *gy_pass_again(gy_plan *p, gy_graph *g); /* again.c */
gy_graph *gy_pass_clean(gy_plan *p, gy_graph *g); /* dead code only */

/* place.c */
gy_place gy_contiguous_place(int32_t buffer, gy_dtype dtype, gy_shape shape);
bool gy_place_contiguous(const gy_place *p);
gy_view gy_place_view(const gy_place *p, void *data); /* data: of the place's first element */
/* Applies a view operator to a place; false: the data must be made contiguous first. */
bool gy_view_place(const gy_node *n, gy_place in, gy_place *out);

/* lower.c: nodes to steps, buffers, in-place sharing. */
gy_status gy_lower(gy_plan *p);
/* Runs one node alone, as the plan would (constant folding): contiguous operands in, results in out[]. */
gy_status gy_run_node(const gy_plan *p, const gy_node *n, const gy_tensor in[], gy_tensor out[]);
/* offsets.c: places the arena's buffers. */
gy_status gy_offsets(gy_plan *p);
/* On a device that can watch memory, plans without GY_PASS_OFFSETS give each buffer pages of its own: its last 16 bytes
 * end where a page begins that nothing may touch. */
enum { GY_GUARD_PAGE = 4096 };
bool gy_plan_guarded(const gy_plan *p);
int64_t gy_buffer_room(const gy_plan *p, int64_t bytes);  /* what a buffer takes up */
int64_t gy_buffer_shift(const gy_plan *p, int64_t bytes); /* where in it the data begin */

#endif
