#include "fused.h"

gy_t gy_alias(gy_t x, int64_t index) {
    if (gy_is_none(x)) return x;
    /* a factor of exactly one; the unused second attribute keeps the copies apart */
    return gy_node_make(GY_VJP_SITE, x.g, GY_OP_scale_grad, &(gy_pair_attr){1.0, (double)(index + 1)}, 1, &x);
}

gy_t gy_add_maybe(gy_t a, gy_t b) {
    if (gy_is_none(a)) return b;
    return gy_is_none(b) ? a : gy_add(a, b);
}

gy_t gy_or_zeros(gy_t gx, gy_t x) {
    return gy_is_none(gx) ? gy_full(x.g, gy_dtype_of(x), gy_shape_of(x), 0.0) : gx;
}

void gy_fused_grad(gy_op_id op, const void *attr, int n_in, const gy_t in[], int n_out, int k, gy_t ct, gy_t gx[]) {
    enum { MOST = 8 };
    gy_t alias[MOST] = {{0}}, out[GY_MAX_OUT] = {{0}}, x[MOST], part[MOST];
    int64_t n = 0;
    /* Differentiating with respect to aliases: two inputs may be one value (self-attention without projections),
     * and a node inside the expansion may equal one of the inputs; both would lose or double paths. */
    for (int i = 0; i < n_in; i++) {
        bool differentiable = gy_dtype_is_float(gy_dtype_of(in[i]));
        alias[i] = differentiable ? gy_alias(in[i], i) : in[i];
        if (differentiable) x[n++] = alias[i];
    }
    gy_ops[op].impl->expand(attr, n_in, alias, n_out, out);
    gy_grad(out[k], ct, n, x, part);
    n = 0;
    for (int i = 0; i < n_in; i++)
        if (gy_dtype_is_float(gy_dtype_of(in[i]))) gx[i] = gy_add_maybe(gx[i], part[n++]);
}
