/* op.h: what an operator is to the engine. Internal: models use ops.h.
 *
 * One operator = one row of ops/ops.def + one gy_op_impl in its file under core/ops/. */
#ifndef GY_OP_H
#define GY_OP_H

#include "graph.h"
#include "ops.h"

enum { GY_MAX_OUT = 4 };

/* Row flags. */
enum {
    GY_F_ELEMENTWISE = 1, /* inputs broadcast to the output; kernels are spans (kernels/kernel.h) */
    GY_F_VIEW = 2,        /* output is the input's data under other shape/strides; no kernel needed */
    GY_F_INPLACE0 = 4,    /* output 0 may overwrite input 0 (same bytes); output i may overwrite input i for */
    GY_F_INPLACE_ALL = 8, /* every i with INPLACE_ALL (optimizer updates) */
    GY_F_RANDOM = 16,     /* input 0 is the graph's (seed, step) node */
    GY_F_EPILOGUE = 64,   /* inputs (a, b, bias, residual), attribute impl->act_offset: see ops/matmul.h */
    GY_F_LEAF = 32        /* input, const, full, read: no kernel, never removed by folding */
};

typedef struct gy_node gy_node;

/* Handed to a shape rule. in[i] may be absent (optional inputs): dtype GY_DTYPE_DEFAULT. */
typedef struct gy_infer {
    const struct gy_op *op;
    const void *attr;
    int n_in, n_out; /* n_out: set by the rule when the row says -1 */
    const gy_shape *in_shape;
    const gy_dtype *in_dtype;
    gy_shape shape[GY_MAX_OUT];
    gy_dtype dtype[GY_MAX_OUT];
    char message[512];
} gy_infer;
/* Records why the inputs do not fit; returns false. Use gy_shape_text for shapes. */
bool gy_infer_fail(gy_infer *c, const char *fmt, ...) GY_PRINTF(2, 3);

/* Handed to a gradient rule: y are the node's outputs, ct[i] the cotangent of output i (GY_NONE: zero).
 * The rule sets gx[k] for each input k (left GY_NONE: zero). A gx[k] may have the broadcast shape: it is
 * summed down to the input's shape by the engine. */
typedef struct gy_vjp {
    const void *attr;
    int n_in, n_out;
    const gy_t *in, *y, *ct;
    gy_t *gx;
} gy_vjp;

/* Work of one evaluation: floating-point operations (a fused multiply-add is 2) and bytes moved at least. */
typedef struct gy_cost {
    double flops, bytes;
} gy_cost;

/* One test case of an operator: the builder makes inputs with gy_case_in and sets y. Shapes include
 * 1, primes, non-multiples of the vector width, empty, strided and broadcast ones. */
typedef struct gy_case gy_case;
struct gy_case {
    gy_graph *g;
    gy_dtype dtype;     /* the float type under test */
    gy_t y;             /* set by the builder: any output of the operator */
    double tol;         /* c in |err| <= c * eps * (value computed with absolute values); 0: 16 */
    bool no_grad_check; /* kinks or ties make differences meaningless in this case */
    int64_t n_in;
    gy_t in[8];
    struct {
        double lo, hi; /* uniform values */
        bool integer;  /* i64 in [lo, hi) */
        bool mask;     /* u8, 0 or 1 */
        bool distinct; /* all values differ by at least 1e-2 of the range (max, sort) */
    } fill[8];
};
gy_t gy_case_in(gy_case *c, gy_shape s, double lo, double hi); /* a float input */
gy_t gy_case_distinct(gy_case *c, gy_shape s, double lo, double hi);
gy_t gy_case_index(gy_case *c, gy_shape s, int64_t lo, int64_t hi); /* i64 input in [lo, hi) */
gy_t gy_case_mask(gy_case *c, gy_shape s);                          /* u8 input */

typedef struct gy_op_impl {
    size_t act_offset; /* GY_F_EPILOGUE: where the attribute struct keeps its int64_t gy_act */
    size_t attr_size;  /* attribute structs hold only int64_t, double, gy_shape and pointers: no padding */
    bool (*infer)(gy_infer *c);
    void (*vjp)(const gy_vjp *v); /* NULL: expand, else nodiff must say why */
    /* The same values from more primitive operators (fused operators only). */
    void (*expand)(const void *attr, int n_in, const gy_t in[], int n_out, gy_t out[]);
    gy_cost (*cost)(const gy_node *n);    /* NULL: bytes of inputs and outputs, one flop an output element */
    const char *nodiff;                   /* why there is no gradient */
    bool (*cases)(gy_case *c, int index); /* builds case `index`; false past the last */
} gy_op_impl;

typedef struct gy_op {
    const char *name;
    gy_op_id id;
    int n_in, n_out; /* -1: variable */
    uint32_t flags;
    const char *formula;
    const gy_op_impl *impl;
} gy_op;
extern const gy_op gy_ops[GY_OP_COUNT]; /* ops/table.c; row 0 is the poison */

struct gy_node {
    const gy_op *op;
    const void *attr;
    gy_t *in; /* n_in values; GY_NONE where an optional input is left out */
    int32_t id, n_in, n_out;
    int32_t segment; /* recompute segment, 0: none */
    bool grad;       /* made by gy_grad */
    gy_shape shape[GY_MAX_OUT];
    gy_dtype dtype[GY_MAX_OUT];
    gy_site site;
    const char *scope; /* interned: equal scopes are equal pointers */
    const char *tap;   /* name of a hooked or traced value, else NULL: a fusion barrier */
};

typedef struct gy_named {
    const char *name;
    gy_t value;
} gy_named;
typedef struct gy_assignment {
    gy_state *state;
    gy_t value;
} gy_assignment;

struct gy_graph {
    gy_ctx *ctx;
    gy_arena arena;
    gy_node **node; /* node[id]; node[0] is the poison */
    int32_t n, cap;
    int32_t *hash; /* open addressing over node ids */
    int32_t hash_cap;
    gy_named *output, *input;
    int64_t n_output, n_input, cap_output, cap_input;
    gy_assignment *assign;
    int64_t n_assign, cap_assign;
    const char *scope;
    struct gy_scope_entry *scopes; /* interned */
    const char *scope_stack[64];
    int scope_depth;
    /* while gradients are built, new nodes take the site and scope of the forward node */
    const gy_node *inherit;
    bool differentiating;        /* gy_grad is at work */
    struct gy_rng_use *rng_uses; /* how often each (scope, name) has drawn; ops/random.c */
    int32_t segment, n_segments;
    gy_graph *previous; /* a rewritten graph owns the one it came from: attributes may point into it */
    gy_status status;
    char message[1024];
};

/* The one way a node comes to be: checks shapes, looks for an equal node, else appends. `attr` is copied.
 * Returns output 0. */
gy_t gy_node_make(gy_site at, gy_graph *g, gy_op_id op, const void *attr, int n_in, const gy_t in[]);
const gy_node *gy_node_of(gy_t t);
const char *gy_intern_scope(gy_graph *g, const char *scope);

/* The (seed, step) input of random operators: i64 [2], fed by gy_plan_set_rng. */
gy_t gy_rng_input(gy_graph *g);

/* Helpers for shape rules and gradient rules. */
bool gy_broadcast_shape(gy_shape a, gy_shape b, gy_shape *out); /* NumPy's rules */
gy_t gy_sum_to(gy_t x, gy_shape s); /* sums the axes that broadcasting s to x's shape had stretched */
bool gy_axis_norm(int64_t rank, int64_t axis, int64_t *out); /* -1 -> rank-1; false when out of range */
#define GY_VJP_SITE ((gy_site){__FILE__, __LINE__})

#endif
