/* Sums over processes. The network is slower than any loop: one kernel for all. */
#include "../kernel.h"
#include "../../core/group.h"

#include <string.h>

void ref_all_reduce(const gy_kargs *k);
void ref_all_reduce(const gy_kargs *k) {
    const gy_all_reduce_attr *a = k->attr;
    const gy_view *x = &k->in[0];
    int64_t n = gy_shape_count(x->shape);
    size_t bytes = (size_t)n * gy_dtype_size(x->dtype);
    if (bytes && k->out[0].data != x->data) memcpy(k->out[0].data, x->data, bytes);
    /* a rank that has gone is told by gy_group_status after the run */
    if (a->group && gy_group_sum(a->group, x->dtype, k->out[0].data, n) != GY_OK) return;
}
