/* The kernel table: one row a line of kernels.def, sorted best tier first. */
#include "kernel.h"

/* Prototypes: each row declares its functions. */
#define GY_SPAN(op, tier, dtype, f)                             void f(const gy_span *s);
#define GY_KERNEL(op, tier, dtype, flags, f, supports, scratch) void f(const gy_kargs *k);
#define GY_REF_SPAN(op)                                                                                                \
    void ref_##op##_f32(const gy_span *s);                                                                             \
    void ref_##op##_f64(const gy_span *s);
#define GY_REF(op, flags, supports, scratch)                                                                           \
    void ref_##op##_f32(const gy_kargs *k);                                                                            \
    void ref_##op##_f64(const gy_kargs *k);
#define GY_CUDA(op, dtype, flags, f, supports, scratch) GY_KERNEL(op, CUDA, dtype, flags, f, supports, scratch)
#ifdef GY_X86
#define GY_X86_SPAN(op, tier, dtype, f) GY_SPAN(op, tier, dtype, f)
#define GY_X86_KERNEL(op, tier, dtype, flags, f, supports, scratch)                                                    \
    GY_KERNEL(op, tier, dtype, flags, f, supports, scratch)
#define GY_X86_PACKING(op, tier, dtype, flags, f, supports, scratch, packs)                                            \
    GY_KERNEL(op, tier, dtype, flags, f, supports, scratch)                                                            \
    extern const gy_prepack packs;
#else
#define GY_X86_SPAN(op, tier, dtype, f)
#define GY_X86_KERNEL(op, tier, dtype, flags, f, supports, scratch)
#define GY_X86_PACKING(op, tier, dtype, flags, f, supports, scratch, packs)
#endif
#define GY_SUPPORTS(f) bool f(const gy_kargs *k);
#define GY_SCRATCH(f)  size_t f(const gy_kargs *k, int threads);
#include "kernels.def"
#include "cuda/cuda.def"
#undef GY_SPAN
#undef GY_KERNEL
#undef GY_REF_SPAN
#undef GY_REF
#undef GY_SUPPORTS
#undef GY_SCRATCH
#ifdef GY_X86
#undef GY_X86_PACKING
#define GY_X86_PACKING(op, tier, type, flags, f, supports, scratch, packs)                                             \
    {GY_OP_##op, GY_ISA_##tier, GY_##type, flags, f, NULL, supports, scratch, &packs, #f},
#endif

#define NONE NULL
#define GY_SUPPORTS(f)
#define GY_SCRATCH(f)
#define GY_SPAN(op, tier, type, f) {GY_OP_##op, GY_ISA_##tier, GY_##type, GY_K_STRIDED, NULL, f, NULL, NULL, NULL, #f},
#define GY_KERNEL(op, tier, type, flags, f, supports, scratch)                                                         \
    {GY_OP_##op, GY_ISA_##tier, GY_##type, flags, f, NULL, supports, scratch, NULL, #f},
#define GY_REF_SPAN(op) GY_SPAN(op, REF, F32, ref_##op##_f32) GY_SPAN(op, REF, F64, ref_##op##_f64)
#define GY_REF(op, flags, supports, scratch)                                                                           \
    GY_KERNEL(op, REF, F32, flags, ref_##op##_f32, supports, scratch)                                                  \
    GY_KERNEL(op, REF, F64, flags, ref_##op##_f64, supports, scratch)
static const gy_kernel rows[] = {
#include "kernels.def"
#include "cuda/cuda.def"
};

const gy_kernel *gy_kernel_table(int64_t *n) {
    *n = (int64_t)(sizeof rows / sizeof *rows);
    return rows;
}

gy_dtype gy_kernel_dtype(const gy_kargs *k) {
    for (int i = 0; i < k->n_in; i++)
        if (gy_dtype_is_float(k->in[i].dtype)) return k->in[i].dtype;
    for (int i = 0; i < k->n_out; i++)
        if (gy_dtype_is_float(k->out[i].dtype)) return k->out[i].dtype;
    return k->n_in ? k->in[0].dtype : k->out[0].dtype;
}

/* Winograd's rows first, of each kind those that round as the precision asks, then higher tiers. */
static int rank(const gy_kernel *r) {
    int kind = (r->flags & GY_K_WINOGRAD ? 2 : 0) + (r->flags & GY_K_BF16_COMPUTE ? 1 : 0);
    return kind * GY_ISA_COUNT + (int)r->isa;
}

const gy_kernel *gy_kernel_choose(gy_op_id op, gy_dtype dtype, uint64_t isa_mask, const gy_kargs *k) {
    const gy_kernel *best = NULL;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const gy_kernel *r = &rows[i];
        if (r->op != op || (r->dtype != GY_DTYPE_DEFAULT && r->dtype != dtype)) continue;
        if (!(isa_mask >> r->isa & 1) || (r->flags & GY_K_BF16_COMPUTE && k->precision != GY_BF16)) continue;
        if (r->flags & GY_K_WINOGRAD && !k->winograd) continue;
        if (best && rank(r) <= rank(best)) continue;
        if (r->supports && !r->supports(k)) continue;
        best = r;
    }
    return best;
}

bool gy_view_contiguous(const gy_view *v) {
    int64_t want = 1;
    for (int64_t i = v->shape.rank - 1; i >= 0; i--) {
        if (v->shape.dim[i] == 0) return true;
        if (v->shape.dim[i] != 1 && v->stride[i] != want) return false;
        want *= v->shape.dim[i];
    }
    return true;
}
