/* direct.h: one kernel called on host arrays, without graph or plan. */
#ifndef GY_TEST_DIRECT_H
#define GY_TEST_DIRECT_H

#include "../harness/harness.h"

#include "kernels/kernel.h"

/* A contiguous view of a caller's array. */
static inline gy_view view_of(gy_dtype dtype, gy_shape shape, void *data) {
    gy_view v = {data, dtype, shape, {0}};
    int64_t step = 1;
    for (int64_t i = shape.rank - 1; i >= 0; i--) {
        v.stride[i] = step;
        step *= shape.dim[i];
    }
    return v;
}
#define F64(data, ...) view_of(GY_F64, GY_S(__VA_ARGS__), data)
#define F32(data, ...) view_of(GY_F32, GY_S(__VA_ARGS__), data)
#define I64(data, ...) view_of(GY_I64, GY_S(__VA_ARGS__), data)

/* Runs fn with scratch of exactly the size that `scratch` (or NULL) asks for, on the context's threads. */
static inline void run_kernel(gy_ctx *ctx, gy_kernel_fn fn, size_t (*scratch)(const gy_kargs *, int), const void *attr,
                              int n_in, gy_view *in, int n_out, gy_view *out) {
    gy_kargs k = {.attr = attr, .n_in = n_in, .n_out = n_out, .in = in, .out = out, .pool = gy_ctx_pool(ctx)};
    size_t bytes = scratch ? scratch(&k, gy_pool_threads(k.pool)) : 0;
    void *mem = gy_malloc(ctx, bytes);
    assert_non_null(mem);
    memset(mem, 0xA5, bytes); /* scratch comes dirty */
    k.scratch = mem;
    fn(&k);
    gy_free(ctx, mem);
}

#endif
