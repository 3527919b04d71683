/* x86.h: what the tests of the x86 kernels share. */
#ifndef GY_TEST_X86_H
#define GY_TEST_X86_H

#include "../harness/harness.h"

#include "core/cpu.h"
#include "core/op.h"
#include "kernels/kernel.h"

/* Tiers of this machine above ref, lowest first; n is set to their number (0: nothing to test here). */
static inline void x86_tiers(gy_isa tier[GY_ISA_COUNT], int *n) {
    uint64_t mask = gy_isa_detect(NULL);
    *n = 0;
    for (int i = GY_ISA_AVX2; i < GY_ISA_COUNT; i++)
        if (mask >> i & 1) tier[(*n)++] = (gy_isa)i;
}

/* The row of exactly this tier, or NULL. */
static inline const gy_kernel *x86_row(gy_op_id op, gy_dtype dtype, gy_isa isa) {
    int64_t n;
    const gy_kernel *rows = gy_kernel_table(&n);
    for (int64_t i = 0; i < n; i++)
        if (rows[i].op == op && rows[i].isa == isa && !(rows[i].flags & GY_K_BF16_COMPUTE) &&
            (rows[i].dtype == dtype || rows[i].dtype == GY_DTYPE_DEFAULT))
            return &rows[i];
    return NULL;
}

/* A contiguous view. */
static inline gy_view x86_view(void *data, gy_dtype dtype, gy_shape s) {
    gy_view v = {.data = data, .dtype = dtype, .shape = s};
    int64_t stride = 1;
    for (int64_t i = s.rank - 1; i >= 0; i--) {
        v.stride[i] = stride;
        stride *= s.dim[i];
    }
    return v;
}

#endif
