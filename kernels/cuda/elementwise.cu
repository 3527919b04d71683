/* Elementwise operators, and chains of them fused by the planner: one kernel for all, which carries out a small program
 * an element. Every thread of a block decodes the same instruction, so the decoding costs little beside memory traffic;
 * values between instructions stay in shared memory, one column a thread. A lone operator is a program of one
 * instruction. */
#include "cuda.h"

enum { OPS = 24, INPUTS = 12, SLOTS = 8, THREADS = 256, ELEMENTS = 4 /* a thread */ };

#define T       float
#define TNAME   f32
#define M(name) name##f
#include "elementwise_ops.h"
#undef T
#undef TNAME
#undef M
#define T       double
#define TNAME   f64
#define M(name) name
#include "elementwise_ops.h"
#undef T
#undef TNAME
#undef M

typedef union {
    float f;
    double d;
    int64_t i; /* integers and masks */
} value;

typedef struct {
    int op, n_in, out /* slot, or -1: the result */, dtype;
    int in[3]; /* >= 0: input; < 0: slot -1 - in */
    int in_dtype[3];
    double p, q;
} instruction;

typedef struct {
    int64_t n, dim[GY_MAX_RANK];
    int rank, n_in, n_ops, out_dtype;
    void *out; /* contiguous; may be an input's memory of the same size, which is read before it is written */
    struct {
        const void *data;
        int64_t stride[GY_MAX_RANK]; /* over the output's axes; 0 where it broadcasts */
        int dtype;
    } in[INPUTS];
    instruction ops[OPS];
} program;

GY_DEVICE value load(const void *data, int dtype, int64_t i) {
    value v;
    switch (dtype) {
    case GY_F32: v.f = ((const float *)data)[i]; break;
    case GY_F64: v.d = ((const double *)data)[i]; break;
    case GY_BF16: v.f = gy_bf16_value(((const uint16_t *)data)[i]); break;
    case GY_I64: v.i = ((const int64_t *)data)[i]; break;
    case GY_I32: v.i = ((const int32_t *)data)[i]; break;
    default: v.i = ((const uint8_t *)data)[i]; break;
    }
    return v;
}
GY_DEVICE void store(void *data, int dtype, int64_t i, value v) {
    switch (dtype) {
    case GY_F32: ((float *)data)[i] = v.f; break;
    case GY_F64: ((double *)data)[i] = v.d; break;
    case GY_BF16: ((uint16_t *)data)[i] = gy_bf16_bits(v.f); break;
    case GY_I64: ((int64_t *)data)[i] = v.i; break;
    case GY_I32: ((int32_t *)data)[i] = (int32_t)v.i; break;
    default: ((uint8_t *)data)[i] = (uint8_t)v.i; break;
    }
}

/* Toward zero; out of range to the nearest value, NaN to 0. */
GY_DEVICE int64_t to_integer(double x, int dtype) {
    if (x != x) return 0;
    if (dtype == GY_U8) return x <= 0 ? 0 : x >= 255 ? 255 : (int64_t)x;
    if (dtype == GY_I32) return x <= -2147483648.0 ? -2147483648LL : x >= 2147483647.0 ? 2147483647 : (int64_t)x;
    return x <= -9223372036854775808.0 ? INT64_MIN : x >= 9223372036854775808.0 ? INT64_MAX : (int64_t)x;
}
GY_DEVICE value converted(value v, int from, int to) {
    value w;
    double x = from == GY_F64 ? v.d : from == GY_F32 || from == GY_BF16 ? (double)v.f : (double)v.i;
    if (to == GY_F64)
        w.d = x;
    else if (to == GY_F32 || to == GY_BF16)
        w.f = (float)x;
    else
        w.i = to_integer(x, to);
    return w;
}

GY_DEVICE int64_t integers(int op, int dtype, int64_t a, int64_t b) {
    switch (op) {
    case GY_OPCODE_add: return (int64_t)((uint64_t)a + (uint64_t)b);
    case GY_OPCODE_sub: return (int64_t)((uint64_t)a - (uint64_t)b);
    case GY_OPCODE_mul: return dtype == GY_U8 ? a && b : (int64_t)((uint64_t)a * (uint64_t)b);
    case GY_OPCODE_maximum: return dtype == GY_U8 ? a || b : a > b ? a : b;
    case GY_OPCODE_minimum: return a < b ? a : b;
    case GY_OPCODE_eq: return a == b;
    case GY_OPCODE_ne: return a != b;
    case GY_OPCODE_lt: return a < b;
    default: return a <= b;
    }
}

GY_DEVICE value carry_out(const instruction *o, const value x[3]) {
    value y;
    int dtype = o->in_dtype[o->n_in - 1];
    bool compares = o->op == GY_OPCODE_eq || o->op == GY_OPCODE_ne || o->op == GY_OPCODE_lt || o->op == GY_OPCODE_le;
    if (o->op == GY_OPCODE_copy) return x[0];
    if (o->op == GY_OPCODE_where) return x[0].i ? x[1] : x[2];
    if (o->op == GY_OPCODE_cast) return converted(x[0], dtype, o->dtype);
    if (dtype == GY_F32) {
        if (compares)
            y.i = compare_f32(o->op, x[0].f, x[1].f);
        else
            y.f = o->n_in == 1 ? unary_f32(o->op, x[0].f, (float)o->p, (float)o->q) : binary_f32(o->op, x[0].f, x[1].f);
    } else if (dtype == GY_F64) {
        if (compares)
            y.i = compare_f64(o->op, x[0].d, x[1].d);
        else
            y.d = o->n_in == 1 ? unary_f64(o->op, x[0].d, o->p, o->q) : binary_f64(o->op, x[0].d, x[1].d);
    } else {
        y.i = integers(o->op, dtype, x[0].i, x[1].i);
    }
    return y;
}

GY_KERNEL(elementwise, program, THREADS) {
    value *slot = GY_SHARED(value) + threadIdx.x;
    for (int e = 0; e < ELEMENTS; e++) {
        int64_t i = ((int64_t)blockIdx.x * ELEMENTS + e) * THREADS + threadIdx.x, rest = i, offset[INPUTS];
        if (i >= a->n) return;
        for (int k = 0; k < a->n_in; k++) offset[k] = 0;
        for (int d = a->rank - 1; d >= 0; d--) {
            int64_t at = d ? rest % a->dim[d] : rest;
            rest = d ? rest / a->dim[d] : 0;
            for (int k = 0; k < a->n_in; k++) offset[k] += at * a->in[k].stride[d];
        }
        value y;
        y.i = 0;
        for (int k = 0; k < a->n_ops; k++) {
            const instruction *o = &a->ops[k];
            value x[3];
            for (int j = 0; j < o->n_in; j++) {
                int from = o->in[j];
                x[j] =
                    from >= 0 ? load(a->in[from].data, a->in[from].dtype, offset[from]) : slot[(-1 - from) * THREADS];
            }
            y = carry_out(o, x);
            if (o->out >= 0) slot[o->out * THREADS] = y;
        }
        store(a->out, a->out_dtype, i, y);
    }
}

#ifdef GY_HOST
#include "../../core/plan_internal.h" /* the chain's program */

void cuda_elementwise(const gy_kargs *k);
void cuda_chain(const gy_kargs *k);
bool cuda_elementwise_supports(const gy_kargs *k);

_Static_assert((int)OPS >= (int)GY_CHAIN_OPS && (int)INPUTS >= (int)GY_CHAIN_INPUTS &&
                   (int)SLOTS >= (int)GY_CHAIN_SLOTS,
               "a chain must fit");

static bool known(gy_dtype t) {
    return t == GY_F32 || t == GY_F64 || t == GY_BF16 || t == GY_I64 || t == GY_I32 || t == GY_U8;
}
/* bf16 is converted only. */
bool cuda_elementwise_supports(const gy_kargs *k) {
    for (int i = 0; i < k->n_in; i++)
        if (!known(k->in[i].dtype)) return false;
    return known(k->out[0].dtype);
}

/* Shape, with axes that lie alike in all operands merged, and operands. */
static void prepare(program *a, const gy_kargs *k) {
    gy_shape s = k->out[0].shape;
    a->n = gy_shape_count(s);
    a->n_in = k->n_in;
    a->out = k->out[0].data;
    a->out_dtype = (int)k->out[0].dtype;
    for (int i = 0; i < k->n_in; i++) {
        a->in[i].data = k->in[i].data;
        a->in[i].dtype = (int)k->in[i].dtype;
    }
    for (int64_t d = 0; d < s.rank; d++) {
        int64_t stride[INPUTS];
        bool merge = a->rank > 0;
        if (s.dim[d] == 1) continue;
        for (int i = 0; i < k->n_in; i++) {
            int64_t b = d - (s.rank - k->in[i].shape.rank);
            stride[i] = b < 0 || k->in[i].shape.dim[b] == 1 ? 0 : k->in[i].stride[b];
            merge = merge && a->in[i].stride[a->rank - 1] == stride[i] * s.dim[d];
        }
        if (!merge) a->dim[a->rank++] = 1;
        a->dim[a->rank - 1] *= s.dim[d];
        for (int i = 0; i < k->n_in; i++) a->in[i].stride[a->rank - 1] = stride[i];
    }
}

static void run(const gy_kargs *k, program *a) {
    int slots = 0;
    for (int i = 0; i < a->n_ops; i++)
        if (a->ops[i].out >= slots) slots = a->ops[i].out + 1;
    gy_cuda_launch(k, &elementwise, (gy_grid){gy_blocks(a->n, ELEMENTS * THREADS), 1, 1}, THREADS,
                   (size_t)slots * THREADS * sizeof(value), a, sizeof *a);
}

/* The operator's numbers, where it has any. */
static void numbers(instruction *o, gy_op_id op, const void *attr) {
    if (op != GY_OP_leaky_relu && op != GY_OP_elu && op != GY_OP_clamp) return;
    const gy_pair_attr *p = attr;
    o->p = p->a;
    o->q = p->b;
}

void cuda_chain(const gy_kargs *k) {
    const gy_chain *c = ((const gy_chain_attr *)k->attr)->chain;
    program a = {.n_ops = (int)c->n};
    int slot_dtype[SLOTS] = {0};
    prepare(&a, k);
    for (int64_t i = 0; i < c->n; i++) {
        const gy_chain_op *from = &c->ops[i];
        instruction *o = &a.ops[i];
        *o = (instruction){.op = (int)from->op, .n_in = from->n_in, .out = from->out, .dtype = (int)from->dtype};
        numbers(o, from->op, from->attr);
        for (int j = 0; j < from->n_in; j++) {
            o->in[j] = from->in[j];
            o->in_dtype[j] = o->in[j] >= 0 ? (int)k->in[o->in[j]].dtype : slot_dtype[-1 - o->in[j]];
        }
        if (o->out >= 0) slot_dtype[o->out] = o->dtype;
    }
    run(k, &a);
}

void cuda_elementwise(const gy_kargs *k) {
    program a = {.n_ops = 1};
    prepare(&a, k);
    instruction *o = &a.ops[0];
    *o = (instruction){.op = (int)k->op, .n_in = k->n_in, .out = -1, .dtype = (int)k->out[0].dtype};
    numbers(o, k->op, k->attr);
    for (int i = 0; i < k->n_in; i++) {
        o->in[i] = i;
        o->in_dtype[i] = (int)k->in[i].dtype;
    }
    run(k, &a);
}
#endif
