/* graph.h: computations as graphs of documented operators.
 *
 * Nodes never change (SSA): a node is an operator, its attributes and its inputs; a value is one
 * output of a node. Only gy_assign writes, and it writes states, after all reads of the step. Nodes with
 * equal operator, attributes, inputs and scope are one node.
 *
 * Errors: a constructor that finds wrong shapes does not stop the program; it poisons the graph with one
 * message ("models/x.c:31: matmul: inner sizes differ: [32, 768] x [512, 10]"), later constructors do
 * nothing, and compiling returns that message. Model code stays free of error checks. */
#ifndef GY_GRAPH_H
#define GY_GRAPH_H

#include "base.h"

typedef struct gy_graph gy_graph;
typedef struct gy_state gy_state; /* state.h */

/* A value: output `out` of node `id`. {NULL} (GY_NONE) means "no value": an optional input left out, or a
 * gradient that is not connected. Id 0 is the poison node. */
typedef struct gy_t {
    gy_graph *g;
    int32_t id, out;
} gy_t;
#define GY_NONE ((gy_t){NULL, 0, 0})
static inline bool gy_is_none(gy_t t) {
    return t.g == NULL;
}

/* The place in the source where a node was made. Constructors are macros that pass GY_HERE. */
typedef struct gy_site {
    const char *file;
    int line;
} gy_site;
#define GY_HERE ((gy_site){__FILE__, __LINE__})

gy_graph *gy_graph_new(gy_ctx *ctx); /* NULL: out of memory */
void gy_graph_free(gy_graph *g);     /* NULL is fine */
gy_ctx *gy_graph_ctx(const gy_graph *g);
/* GY_OK, or the status of the first mistake; its message is then on the context. */
gy_status gy_graph_status(gy_graph *g);

/* Shape and dtype of a value; a poisoned value is a f32 scalar. */
gy_shape gy_shape_of(gy_t t);
gy_dtype gy_dtype_of(gy_t t);
int64_t gy_dim(gy_t t, int64_t axis); /* axis -1 is the last */
int64_t gy_rank(gy_t t);
int64_t gy_count(gy_t t);

/* Output i of the node that t belongs to (attention: 0 out, 1 lse; ...). */
gy_t gy_out(gy_t t, int32_t i);

/* Poisons t's graph with your own message (layers use it for their arguments). Returns a poisoned value. */
gy_t gy_poison(gy_graph *g, gy_site at, const char *fmt, ...) GY_PRINTF(3, 4);

/* Names of the nodes made from now on are prefixed "scope."; scopes nest. Names key random numbers,
 * reports and hooks. */
void gy_scope_push(gy_graph *g, const char *name);
void gy_scope_pop(gy_graph *g);
const char *gy_scope_of(gy_t t); /* "block3.attn", "" at the top */

/* ---- leaves --------------------------------------------------------------------------------- */

/* An input that is fed before each run. Asking twice for a name gives the same node. */
gy_t gy_input_(gy_site at, gy_graph *g, const char *name, gy_dtype dtype, gy_shape shape);
#define gy_input(g, name, dtype, shape) gy_input_(GY_HERE, g, name, dtype, shape)

/* A constant array: the data are copied. */
gy_t gy_const_(gy_site at, gy_graph *g, const gy_tensor *value);
#define gy_const(g, value) gy_const_(GY_HERE, g, value)

/* Every element equal to `value`. */
gy_t gy_full_(gy_site at, gy_graph *g, gy_dtype dtype, gy_shape shape, double value);
#define gy_full(g, dtype, shape, value) gy_full_(GY_HERE, g, dtype, shape, value)
/* A scalar of like's graph and dtype: gy_mul(x, gy_scalar(x, 0.5)). */
gy_t gy_scalar_(gy_site at, gy_t like, double value);
#define gy_scalar(like, value) gy_scalar_(GY_HERE, like, value)

/* The present value of a state (parameter, buffer, optimizer slot). */
gy_t gy_read_(gy_site at, gy_graph *g, gy_state *state);
#define gy_read(g, state) gy_read_(GY_HERE, g, state)

/* After all reads of the step, state := value (same shape and dtype). One assignment a state. */
void gy_assign_(gy_site at, gy_state *state, gy_t value);
#define gy_assign(state, value) gy_assign_(GY_HERE, state, value)
/* What `state` is to become after the step, so far: the value assigned to it, else its present one. A layer that is
 * used several times in a step (running statistics of a shared module) goes on from it, and gy_assign_next takes the
 * place of the assignment before. */
gy_t gy_next_(gy_site at, gy_graph *g, gy_state *state);
#define gy_next(g, state) gy_next_(GY_HERE, g, state)
void gy_assign_next_(gy_site at, gy_state *state, gy_t value);
#define gy_assign_next(state, value) gy_assign_next_(GY_HERE, state, value)

/* Names a value that the caller will read after each run. */
void gy_output_(gy_site at, gy_t t, const char *name);
#define gy_output(t, name) gy_output_(GY_HERE, t, name)

/* ---- gradients ------------------------------------------------------------------------------ */

/* gx[i] = (d y / d x[i])^T ct, as new nodes made of the same operators, so that gradients of gradients
 * are exact. `ct` GY_NONE means ones (y is usually a scalar loss). The x's of one call are independent variables:
 * a path that leads through another of them does not count. Three answers are kept apart:
 *   zero: the path exists but its derivative is zero everywhere (sign, floor, gy_stop): a zero node;
 *   not connected: no path from x[i] to y: GY_NONE (zeros if `zeros` is set);
 *   not differentiable: a path needs the derivative of an operator that has none (argmax fed back
 *   as a float): the graph is poisoned with the operator's reason. */
void gy_grad_(gy_site at, gy_t y, gy_t ct, int64_t n, const gy_t x[], gy_t gx[], bool zeros);
#define gy_grad(y, ct, n, x, gx)       gy_grad_(GY_HERE, y, ct, n, x, gx, false)
#define gy_grad_zeros(y, ct, n, x, gx) gy_grad_(GY_HERE, y, ct, n, x, gx, true)

/* Marks the nodes made between begin and end as a segment whose values are recomputed in the backward
 * pass instead of being kept (gradient checkpointing). Segments do not nest. */
void gy_recompute_begin(gy_graph *g);
void gy_recompute_end(gy_graph *g);

#endif
