/* kernel.h: what a kernel is: a row of kernels.def, a function, and what the function is given.
 *
 * A kernel cannot fail: every check was made when the plan was compiled. It writes every element of its
 * outputs, cuts its work into tiles whose bounds depend on shapes alone (gy_par), and combines partial
 * results in tile order, so the same bits come out for any number of threads. */
#ifndef GY_KERNEL_H
#define GY_KERNEL_H

#include "../core/cpu.h"
#include "../core/device.h"
#include "../core/op.h"
#include "../core/threads.h"

/* One operand: pointer to its first element, and strides counted in elements (0 along broadcast axes,
 * negative along flipped ones). */
typedef struct gy_view {
    void *data;
    gy_dtype dtype;
    gy_shape shape;
    int64_t stride[GY_MAX_RANK];
} gy_view;

bool gy_view_contiguous(const gy_view *v); /* row-major without gaps (axes of size 1 do not matter) */

typedef struct gy_span gy_span;
typedef void (*gy_span_fn)(const gy_span *s);

typedef struct gy_kargs {
    gy_op_id op; /* for functions that serve several */
    const void *attr;
    int n_in, n_out;
    gy_view *in;   /* in[i].data == NULL: an optional input that was left out */
    gy_view *out;  /* contiguous */
    void *scratch; /* 64-byte aligned, of the size that the row's scratch function asked for */
    gy_pool *pool;
    gy_device *device;     /* rows of tier CUDA: where they launch; then data are device pointers */
    gy_span_fn span;       /* elementwise rows: the span function the plan chose */
    const void *packed[2]; /* inputs 0 and 1 as the row's prepack left them; NULL: not packed */
    bool winograd;         /* the plan allows GY_K_WINOGRAD rows */
    gy_dtype precision;    /* the plan's: GY_BF16, or GY_F32 (also GY_DTYPE_DEFAULT); see GY_K_BF16_COMPUTE */
} gy_kargs;

/* Inputs 0 and 1 of a row, kept in the row's own layout from run to run where the plan sees that they do not change:
 * parameters that it never assigns, constants. The plan makes the copy at its first run, again when the state's version
 * moves, and hands it over as k->packed; steps of the same row, operand and attribute share one. A row gives the same
 * bits with and without. */
typedef struct gy_prepack {
    size_t (*bytes)(const gy_kargs *k, int i); /* of input i so laid out; 0: it stays as it is */
    void (*pack)(const gy_kargs *k, int i, void *dst);
} gy_prepack;

typedef void (*gy_kernel_fn)(const gy_kargs *k);

/* Elementwise kernels are spans: n elements, output contiguous, inputs `step` elements apart (0: one value
 * for all). The driver (elementwise.c) cuts tensors into spans, so a span knows nothing of shapes. The
 * output may be the same memory as an input of the same size and step 1. */
struct gy_span {
    const void *attr;
    int64_t n;
    void *out;
    gy_dtype out_dtype;
    const void *in[3];
    int64_t step[3];
    gy_dtype in_dtype[3];
    bool past; /* advice: the whole result is larger than the caches, it may be written past them */
};

/* Row flags. */
enum {
    GY_K_STRIDED = 1, /* inputs may have any strides; otherwise the plan makes them contiguous first */
    /* For plans of precision bf16 alone, and there before every row without it: operands and results are f32, but the
     * factors of products are rounded to bf16, to nearest even, before they are multiplied; sums, bias, activation and
     * residual are f32. An operator that has such rows has one for the tier ref, so that results mean the same on every
     * machine; one that has none computes in f32. A function may serve both kinds of rows and look at precision. */
    GY_K_BF16_COMPUTE = 2,
    /* For some shapes (supports says which), faster and less exact than the other rows, which it is preferred to where
     * the plan allows it. In precision bf16 a row with GY_K_BF16_COMPUTE too rounds the factors after their transforms
     * and keeps its errors near those of the rounding itself (conv_winograd.h); where there is none, the one in f32 is
     * faster than rounded products and far more exact. */
    GY_K_WINOGRAD = 4
};

typedef struct gy_kernel {
    gy_op_id op;
    gy_isa isa;
    gy_dtype dtype; /* of the first float among inputs, then outputs; GY_DTYPE_DEFAULT: any */
    uint32_t flags;
    gy_kernel_fn fn;
    gy_span_fn span; /* instead of fn */
    /* NULL or returns true: this kernel takes the operands (data pointers are not set yet). */
    bool (*supports)(const gy_kargs *k);
    /* NULL or bytes of scratch for the operands and `threads` workers. */
    size_t (*scratch)(const gy_kargs *k, int threads);
    const gy_prepack *prepack; /* NULL: none */
    const char *name;          /* "matmul_avx512" */
} gy_kernel;

/* All rows, best tier first for each operator. */
const gy_kernel *gy_kernel_table(int64_t *n);
/* The best row that fits `op`, `dtype`, the tier mask, k->precision and supports(k); NULL: none. */
const gy_kernel *gy_kernel_choose(gy_op_id op, gy_dtype dtype, uint64_t isa_mask, const gy_kargs *k);
/* The dtype that selects rows: the first float among inputs, then outputs, else in[0]'s, else out[0]'s. */
gy_dtype gy_kernel_dtype(const gy_kargs *k);

/* Runs k->span over the broadcast shape of the inputs. */
void gy_elementwise_run(const gy_kargs *k);
/* Runs a chain of elementwise operators (made by the planner) tile by tile. */
void gy_chain_run(const gy_kargs *k);

#endif
