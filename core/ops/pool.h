/* pool.h: max, average, adaptive and global pooling, features last.
 *
 * A window slides over each of the one to three spatial axes of x [B, spatial..., C]; channels are independent.
 * Output o of an axis looks at
 *     fixed windows     o stride - pad + k dilation, k < window             (Dumoulin & Visin 2016, arXiv:1603.07285)
 *     adaptive windows  [floor(o V / n), ceil((o + 1) V / n)) of V elements for n outputs (PyTorch's rule)
 *
 * Max pooling saves the place of each maximum; its gradient adds to that place, and the gradient of that reads
 * there: max_unpool and max_pool_at are each other's adjoint, so that any order is exact with places held constant.
 * Average pooling is linear; avg_pool and avg_pool_dx are each other's adjoint. */
#ifndef GY_OPS_POOL_H
#define GY_OPS_POOL_H

#include "../graph.h"
#include "reduce.h"

/* Attributes of max_pool, avg_pool and avg_pool_dx. Arrays hold three axes whatever the rank: the last spatial axis
 * is entry 2; leading axes that x lacks have window, stride and dilation 1, padding 0, size 1. */
typedef struct gy_pool_attr {
    int64_t window[3], stride[3], before[3], after[3], dilation[3]; /* fixed windows */
    int64_t adaptive;
    int64_t size[3];    /* avg_pool_dx, max_unpool: the spatial size of x */
    int64_t out[3];     /* adaptive: the spatial size of y */
    int64_t skip_zeros; /* avg_pool: padding does not count in the divisor */
} gy_pool_attr;

/* The window of output o on one axis of x with `in` elements: taps `*start + k dilation` for k < *taps; those outside
 * [0, in) are padding. */
static inline void gy_pool_window(const gy_pool_attr *a, int axis, int64_t in, int64_t o, int64_t *start,
                                  int64_t *taps) {
    if (a->adaptive) {
        int64_t n = a->out[axis];
        *start = o * in / n;
        *taps = ((o + 1) * in + n - 1) / n - *start;
    } else {
        *start = o * a->stride[axis] - a->before[axis];
        *taps = a->window[axis];
    }
}

/* x [B, spatial..., C] -> [B, spatial..., C]. Options, one value an axis or one value for all axes:
 *   window    required
 *   stride    default: the window
 *   pad       default 0; max_pool pads with -infinity, avg_pool with zeros
 *   pad_end   padding after an axis, where it differs from that before (PyTorch's ceil_mode of max_pool is the pad_end
 *             that completes the last window)
 *   dilation  (max_pool) default 1
 *   exclude_pad  (avg_pool) divide by the elements inside x; default: by the window (count_include_pad)
 * Ties go to the first element in row-major order; a NaN in a window is its maximum.
 * Errors: a window larger than the padded input; a window of padding alone where its value would be -inf or 0/0. */
typedef struct gy_pool_args {
    gy_site at;
    gy_t x;
    gy_shape window, stride, pad, pad_end, dilation;
    bool exclude_pad;
} gy_pool_args;
gy_t gy_max_pool_(gy_pool_args args);
#define gy_max_pool(...) gy_max_pool_((gy_pool_args){GY_HERE, __VA_ARGS__})
gy_t gy_avg_pool_(gy_pool_args args);
#define gy_avg_pool(...) gy_avg_pool_((gy_pool_args){GY_HERE, __VA_ARGS__})

/* Output 1 of gy_max_pool and gy_adaptive_max_pool, gy_out(y, 1), is i64 and holds for each maximum its place: the
 * row-major index over the spatial axes of x (PyTorch's return_indices). */

/* x [B, spatial..., C] -> [B, out..., C]; `out` holds one size a spatial axis, or one for all. */
gy_t gy_adaptive_avg_pool_(gy_site at, gy_t x, gy_shape out);
#define gy_adaptive_avg_pool(x, ...) gy_adaptive_avg_pool_(GY_HERE, x, GY_S(__VA_ARGS__))
gy_t gy_adaptive_max_pool_(gy_site at, gy_t x, gy_shape out);
#define gy_adaptive_max_pool(x, ...) gy_adaptive_max_pool_(GY_HERE, x, GY_S(__VA_ARGS__))

/* y [B, spatial..., C] and the places of the same shape -> x [B, size..., C], zero but for the y's at their places,
 * which add where places coincide; places outside x are dropped. size: one value a spatial axis. */
gy_t gy_max_unpool_(gy_site at, gy_t y, gy_t place, gy_shape size);
#define gy_max_unpool(y, place, ...) gy_max_unpool_(GY_HERE, y, place, GY_S(__VA_ARGS__))
/* The adjoint: x [B, spatial..., C], places [B, out..., C] -> x at the places; 0 for places outside x. */
gy_t gy_max_pool_at_(gy_site at, gy_t x, gy_t place);
#define gy_max_pool_at(x, place) gy_max_pool_at_(GY_HERE, x, place)

/* x [B, spatial..., C] -> [B, C] over all spatial axes: gy_mean and gy_max, so that equal maxima share the gradient. */
gy_t gy_global_avg_pool_(gy_site at, gy_t x);
#define gy_global_avg_pool(x) gy_global_avg_pool_(GY_HERE, x)
gy_t gy_global_max_pool_(gy_site at, gy_t x);
#define gy_global_max_pool(x) gy_global_max_pool_(GY_HERE, x)

#endif
