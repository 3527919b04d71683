/* Where values lie: a buffer, an offset and a stride an axis, so that reshape, permute, broadcast, slice and flip need
 * no copy. */
#include "plan_internal.h"

#include <string.h>

gy_place gy_contiguous_place(int32_t buffer, gy_dtype dtype, gy_shape shape) {
    gy_place p = {.buffer = buffer, .dtype = dtype, .shape = shape};
    int64_t n = 1;
    for (int64_t i = shape.rank - 1; i >= 0; i--) {
        p.stride[i] = n;
        n *= shape.dim[i];
    }
    return p;
}

gy_view gy_place_view(const gy_place *p, void *data) {
    gy_view v = {.data = data, .dtype = p->dtype, .shape = p->shape};
    memcpy(v.stride, p->stride, sizeof v.stride);
    return v;
}

bool gy_place_contiguous(const gy_place *p) {
    gy_view v = gy_place_view(p, NULL);
    return gy_view_contiguous(&v);
}

/* Strides for the same elements under another shape, if there are any: runs of axes that lie evenly in memory are
 * regrouped; false when a new axis would straddle two runs. */
static bool reshape_place(gy_place in, gy_shape to, gy_place *out) {
    gy_place o = {.buffer = in.buffer, .dtype = in.dtype, .offset = in.offset, .shape = to};
    gy_shape s = {0};
    int64_t stride[GY_MAX_RANK];
    if (gy_shape_count(to) == 0) {
        *out = gy_contiguous_place(in.buffer, in.dtype, to);
        return true;
    }
    for (int64_t i = 0; i < in.shape.rank; i++)
        if (in.shape.dim[i] != 1) {
            s.dim[s.rank] = in.shape.dim[i];
            stride[s.rank++] = in.stride[i];
        }
    int64_t i = 0, j = 0;
    while (i < s.rank) {
        int64_t i0 = i, have = s.dim[i++], j0 = j, want = 1;
        while (want != have) {
            if (want < have) {
                if (j == to.rank) return false;
                want *= to.dim[j++];
            } else {
                have *= s.dim[i++];
            }
        }
        for (int64_t a = i0; a + 1 < i; a++)
            if (stride[a] != stride[a + 1] * s.dim[a + 1]) return false;
        int64_t step = stride[i - 1];
        for (int64_t a = j - 1; a >= j0; a--) {
            o.stride[a] = step;
            step *= to.dim[a];
        }
    }
    for (; j < to.rank; j++) o.stride[j] = 1; /* what is left has size 1 */
    *out = o;
    return true;
}

bool gy_view_place(const gy_node *n, gy_place in, gy_place *out) {
    gy_place o = in;
    o.shape = n->shape[0];
    switch (n->op->id) {
    case GY_OP_stop:
    case GY_OP_scale_grad: break;
    case GY_OP_reshape: return reshape_place(in, n->shape[0], out);
    case GY_OP_permute: {
        const gy_shape_attr *a = n->attr;
        for (int64_t i = 0; i < a->shape.rank; i++) o.stride[i] = in.stride[a->shape.dim[i]];
        break;
    }
    case GY_OP_broadcast: {
        int64_t extra = o.shape.rank - in.shape.rank;
        for (int64_t i = 0; i < o.shape.rank; i++)
            o.stride[i] = i < extra || (in.shape.dim[i - extra] == 1 && o.shape.dim[i] != 1) ? 0 : in.stride[i - extra];
        break;
    }
    case GY_OP_slice: {
        const gy_axis_attr *a = n->attr;
        o.offset += a->start * in.stride[a->axis];
        o.stride[a->axis] *= a->step;
        break;
    }
    case GY_OP_flip: {
        const gy_axis_attr *a = n->attr;
        if (a->n > 0) o.offset += (a->n - 1) * in.stride[a->axis];
        o.stride[a->axis] = -in.stride[a->axis];
        break;
    }
    default: return false;
    }
    *out = o;
    return true;
}
