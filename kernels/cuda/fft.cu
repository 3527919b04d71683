/* Fourier transforms of any length by mixed-radix decimation in time, in double, as kernels/ref/fft.c, whose comment
 * has the recurrence; but factors of two go in fours. A block transforms one lane, or several short ones, between two
 * buffers in shared memory: a pass of radix p makes each of its n outputs from p inputs, neighbouring threads
 * neighbouring outputs. Lanes too long for shared memory pass through global memory, a launch a pass. A large prime
 * factor p costs n p operations, like the definition. The roots of unity are a table, made first.
 *
 * An element of n = 2^q takes about 6 q double operations and 8 q roots and inputs from L1 and shared memory against
 * at most 24 bytes of global memory. */
#include "walk.h"

enum { THREADS = 256, PASSES = 40, ROOM = 160 << 10 /* bytes of shared memory, which every chip has */ };

typedef struct {
    double re, im;
} cplx;

typedef struct {
    const void *x;
    void *y;
    cplx *root, *buffer[2]; /* buffers: of lanes in global memory */
    int64_t n, lanes;
    int64_t x_hop, x_im, y_hop; /* distance of elements, and of x's imaginary part */
    gy_walk x_lane, y_lane;
    double scale;
    int wide, real_in, real_out, both, forward, across, passes; /* across: lanes a block */
    int radix[PASSES];
} fft_args;

typedef struct {
    fft_args f;
    int64_t len; /* of the transforms before the pass */
    int radix, from;
} fft_pass_args;

GY_KERNEL(fft_roots, fft_args, THREADS) {
    int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= a->n) return;
    double angle = 6.283185307179586476925286766559 * ((double)i / (double)a->n);
    a->root[i].re = cos(angle);
    a->root[i].im = a->forward ? -sin(angle) : sin(angle);
}

GY_DEVICE double bin_weight(const fft_args *a, int64_t bin) {
    return a->both && bin > 0 && 2 * bin < a->n ? 2 * a->scale : a->scale;
}

/* Element i of a lane, as the transform wants it. */
GY_DEVICE cplx fft_given(const fft_args *a, int64_t lane, int64_t i) {
    cplx v;
    v.re = v.im = 0;
    if (a->real_out && i > a->n / 2) return v;
    int64_t at = gy_walk_at(&a->x_lane, lane) + i * a->x_hop;
    v.re = gy_number(a->x, a->wide, at);
    if (!a->real_in) v.im = gy_number(a->x, a->wide, at + a->x_im);
    if (a->real_out) { /* the real part of a transform whose upper bins are 0 */
        double w = bin_weight(a, i);
        v.re *= w;
        v.im *= i == 0 || 2 * i == a->n ? 0 : w;
    }
    return v;
}
GY_DEVICE void fft_put(const fft_args *a, int64_t lane, int64_t i, cplx v) {
    if (a->real_in && i > a->n / 2) return;
    int64_t at = gy_walk_at(&a->y_lane, lane) + i * a->y_hop;
    if (a->real_out) {
        gy_put_number(a->y, a->wide, at, v.re);
    } else {
        double w = bin_weight(a, i);
        gy_put_number(a->y, a->wide, at, w * v.re);
        gy_put_number(a->y, a->wide, at + 1, w * v.im);
    }
}

/* Output o of the pass from transforms of length len to such of length len p. */
GY_DEVICE cplx fft_output(const cplx *from, const cplx *root, int64_t n, int64_t len, int64_t p, int64_t o) {
    int64_t rest = gy_quotient(n, len), step = gy_quotient(rest, p), k = gy_quotient(o, step);
    const cplx *x = from + (k - gy_quotient(k, len) * len) * rest + (o - k * step);
    cplx y = x[0];
    for (int64_t q = 1, turn = k * step; q < p; q++) {
        cplx w = root[turn], v = x[q * step];
        y.re += w.re * v.re - w.im * v.im;
        y.im += w.re * v.im + w.im * v.re;
        turn += k * step; /* modulo n; k step < n */
        if (turn >= n) turn -= n;
    }
    return y;
}

GY_KERNEL(fft_block, fft_args, THREADS) {
    int n = (int)a->n, all = n * a->across;
    cplx *from = GY_SHARED(cplx), *to = from + all;
    int64_t first = (int64_t)blockIdx.x * a->across;
    bool side = a->across > 1 && a->x_hop != 1; /* lanes lie side by side: neighbours read neighbours */
    for (int e = (int)threadIdx.x; e < all; e += (int)blockDim.x) {
        int lane = side ? e % a->across : e / n, i = side ? e / a->across : e % n;
        if (first + lane < a->lanes) from[lane * n + i] = fft_given(a, first + lane, i);
    }
    int64_t len = 1;
    for (int p = 0; p < a->passes; p++) {
        __syncthreads();
        for (int e = (int)threadIdx.x; e < all; e += (int)blockDim.x) {
            int lane = e / n;
            to[e] = fft_output(from + lane * n, a->root, n, len, a->radix[p], e - lane * n);
        }
        len *= a->radix[p];
        cplx *swap = from;
        from = to;
        to = swap;
    }
    __syncthreads();
    for (int e = (int)threadIdx.x; e < all; e += (int)blockDim.x) {
        int lane = side ? e % a->across : e / n, i = side ? e / a->across : e % n;
        if (first + lane < a->lanes) fft_put(a, first + lane, i, from[lane * n + i]);
    }
}

/* The same through global memory: radix 0 brings the lanes in, -1 takes them out. */
GY_KERNEL(fft_pass, fft_pass_args, THREADS) {
    const fft_args *f = &a->f;
    int64_t e = (int64_t)blockIdx.x * blockDim.x + threadIdx.x, lane = gy_quotient(e, f->n), i = e - lane * f->n;
    if (lane >= f->lanes) return;
    const cplx *from = f->buffer[a->from];
    if (a->radix == 0)
        f->buffer[0][e] = fft_given(f, lane, i);
    else if (a->radix < 0)
        fft_put(f, lane, i, from[e]);
    else
        f->buffer[1 - a->from][e] = fft_output(from + lane * f->n, f->root, f->n, a->len, a->radix, i);
}

#ifdef GY_HOST
void cuda_fft(const gy_kargs *k);
size_t cuda_fft_scratch(const gy_kargs *k, int threads);

static int64_t lanes_of(const gy_kargs *k) {
    const gy_fft_attr *attr = k->attr;
    const gy_view *x = &k->in[0];
    int64_t lanes = 1, rank = x->shape.rank - (k->op != GY_OP_rfft);
    for (int64_t i = 0; i < rank; i++)
        if (i != attr->axis) lanes *= x->shape.dim[i];
    return lanes;
}
static bool fits(int64_t n) {
    return 2 * n <= ROOM / (int64_t)sizeof(cplx);
}

size_t cuda_fft_scratch(const gy_kargs *k, int threads) {
    (void)threads;
    int64_t n = ((const gy_fft_attr *)k->attr)->n;
    return sizeof(cplx) * (size_t)(n + (fits(n) ? 0 : 2 * n * lanes_of(k)));
}

void cuda_fft(const gy_kargs *k) {
    const gy_fft_attr *attr = k->attr;
    const gy_view *x = &k->in[0], *y = &k->out[0];
    fft_pass_args p = {.f = {.x = x->data,
                             .y = y->data,
                             .root = k->scratch,
                             .n = attr->n,
                             .lanes = lanes_of(k),
                             .x_hop = x->stride[attr->axis],
                             .y_hop = y->stride[attr->axis],
                             .scale = attr->scale,
                             .wide = x->dtype == GY_F64,
                             .real_in = k->op == GY_OP_rfft,
                             .real_out = k->op == GY_OP_irfft,
                             .both = attr->both != 0,
                             .across = 1}};
    fft_args *a = &p.f;
    int64_t rank = x->shape.rank - !a->real_in, n = a->n;
    if (a->lanes == 0) return;
    a->x_im = a->real_in ? 0 : x->stride[rank];
    a->forward = !(a->real_out || attr->inverse);
    for (int64_t i = 0; i < rank; i++) {
        if (i == attr->axis) continue;
        gy_walk_push(&a->x_lane, x->shape.dim[i], x->stride[i]);
        gy_walk_push(&a->y_lane, x->shape.dim[i], y->stride[i]);
    }
    for (int64_t rest = n, r = 4; rest > 1; a->passes++) {
        if (r == 4 && rest % 4) r = 2;
        if (r == 2 && rest % 2) r = 3;
        while (r > 2 && r != 4 && rest % r) r = r * r > rest ? rest : r + 2;
        a->radix[a->passes] = (int)r;
        rest /= r;
    }
    gy_cuda_launch(k, &fft_roots, (gy_grid){gy_blocks(n, THREADS), 1, 1}, gy_power_of_two(n, GY_WARP, THREADS), 0, a,
                   sizeof *a);
    if (fits(n)) {
        while (2 * a->across * n <= THREADS && a->across < a->lanes) a->across *= 2;
        int threads = gy_power_of_two(n * a->across, GY_WARP, THREADS);
        gy_cuda_launch(k, &fft_block, (gy_grid){gy_blocks(a->lanes, a->across), 1, 1}, threads,
                       (size_t)(2 * n * a->across) * sizeof(cplx), a, sizeof *a);
        return;
    }
    a->buffer[0] = a->root + n;
    a->buffer[1] = a->buffer[0] + n * a->lanes;
    gy_grid grid = {gy_blocks(n * a->lanes, THREADS), 1, 1};
    gy_cuda_launch(k, &fft_pass, grid, THREADS, 0, &p, sizeof p);
    p.len = 1;
    for (int i = 0; i < a->passes; i++, p.from = 1 - p.from) {
        p.radix = a->radix[i];
        gy_cuda_launch(k, &fft_pass, grid, THREADS, 0, &p, sizeof p);
        p.len *= p.radix;
    }
    p.radix = -1;
    gy_cuda_launch(k, &fft_pass, grid, THREADS, 0, &p, sizeof p);
}
#endif
