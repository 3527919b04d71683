/* Fourier transforms by mixed-radix decimation in time, in double, n * (sum of the prime factors of n)
 * complex products a lane. After a pass the buffer holds, for each offset j < n/L, the transform of length L
 * of the decimated lane x_j, x_{j+n/L}, x_{j+2n/L}, ...:
 *
 *     A_L[k][j] = sum_{t<L} x_{j + t n/L} e^{-+2 pi i kt/L},   k < L
 *
 * and one pass with prime p goes from L to M = L p:
 *
 *     A_M[k][j] = sum_{q<p} e^{-+2 pi i kq/M} A_L[k mod L][j + q n/M],   k < M, j < n/M
 *
 * A_1 is the lane, A_n its transform: no bit reversal, no recursion. */
#define GY_REF_FILE "kernels/ref/fft.c"
#include "ref.h"

#ifndef GY_REF_FFT_SHARED
#define GY_REF_FFT_SHARED

typedef struct {
    double re, im;
} cplx;

size_t ref_fft_scratch(const gy_kargs *k, int threads);
size_t ref_fft_scratch(const gy_kargs *k, int threads) { /* two buffers a worker and one table of roots */
    return sizeof(cplx) * (size_t)((const gy_fft_attr *)k->attr)->n * (size_t)(2 * threads + 1);
}

/* root[i] = e^{sign 2 pi i/n} */
static void roots(cplx *root, int64_t n, double sign) {
    for (int64_t i = 0; i < n; i++) {
        double angle = 6.283185307179586476925286766559 * ((double)i / (double)n);
        root[i] = (cplx){cos(angle), sign * sin(angle)};
    }
}

/* The transform of `from`, in one of the two buffers. */
static cplx *transform(int64_t n, const cplx *root, cplx *from, cplx *to) {
    int64_t p = 2;
    for (int64_t len = 1; len < n;) {
        int64_t rest = n / len;
        while (rest % p && p * p <= rest) p++;
        if (rest % p) p = rest;
        int64_t m = len * p, step = n / m;
        for (int64_t k = 0; k < m; k++) {
            const cplx *a = from + k % len * rest;
            cplx *y = to + k * step;
            for (int64_t j = 0; j < step; j++) y[j] = a[j]; /* q = 0 */
            for (int64_t q = 1, turn = k * step; q < p; q++, turn += k * step) {
                cplx w = root[turn % n];
                for (int64_t j = 0; j < step; j++) {
                    cplx x = a[q * step + j];
                    y[j].re += w.re * x.re - w.im * x.im;
                    y[j].im += w.re * x.im + w.im * x.re;
                }
            }
        }
        cplx *swap = from;
        from = to;
        to = swap;
        len = m;
    }
    return from;
}

/* Offset of a lane in a view of which the axis `axis`, and the complex one if there is one, are left out. */
static int64_t lane_offset(const gy_view *v, int64_t axis, int64_t rank, int64_t lane) {
    int64_t offset = 0;
    for (int64_t i = rank - 1; i >= 0; i--) {
        if (i == axis) continue;
        offset += lane % v->shape.dim[i] * v->stride[i];
        lane /= v->shape.dim[i];
    }
    return offset;
}

typedef struct {
    const gy_kargs *k;
    const cplx *root;
    int64_t rank; /* axes without the complex one */
    bool real_in, real_out;
} fft_job;

static double weight(const gy_fft_attr *a, int64_t bin) {
    return a->both && bin > 0 && 2 * bin < a->n ? 2 * a->scale : a->scale;
}
#endif

#ifdef T

static void NAME(fft_lane)(void *arg, int64_t lane, int worker) {
    const fft_job *j = arg;
    const gy_fft_attr *a = j->k->attr;
    const gy_view *x = &j->k->in[0], *y = &j->k->out[0];
    const T *px = (const T *)x->data + lane_offset(x, a->axis, j->rank, lane);
    T *py = (T *)y->data + lane_offset(y, a->axis, j->rank, lane);
    int64_t n = a->n, half = n / 2 + 1, hop = x->stride[a->axis];
    int64_t im = j->real_in ? 0 : x->stride[j->rank];
    cplx *buf = (cplx *)j->k->scratch + n * (1 + 2 * worker);
    int64_t given = j->real_out ? half : n;
    for (int64_t i = 0; i < given; i++) {
        buf[i] = (cplx){px[i * hop], j->real_in ? 0 : px[i * hop + im]};
        if (!j->real_out) continue;
        /* Re(sum_{k<=n/2} w_k x_k e^{...}) is the real part of a transform whose other bins are 0 */
        buf[i].re *= weight(a, i);
        buf[i].im *= i == 0 || 2 * i == n ? 0 : weight(a, i);
    }
    for (int64_t i = given; i < n; i++) buf[i] = (cplx){0, 0};
    const cplx *f = transform(n, j->root, buf, buf + n);
    hop = y->stride[a->axis];
    int64_t wanted = j->real_in ? half : n;
    for (int64_t i = 0; i < wanted; i++) {
        if (j->real_out) {
            py[i * hop] = (T)f[i].re;
        } else {
            py[i * hop] = (T)(weight(a, i) * f[i].re);
            py[i * hop + 1] = (T)(weight(a, i) * f[i].im);
        }
    }
}

static void NAME(run)(const gy_kargs *k, bool real_in, bool real_out) {
    const gy_fft_attr *a = k->attr;
    int64_t rank = k->in[0].shape.rank - !real_in, lanes = 1;
    for (int64_t i = 0; i < rank; i++)
        if (i != a->axis) lanes *= k->in[0].shape.dim[i];
    if (lanes == 0) return;
    roots(k->scratch, a->n, real_out || a->inverse ? 1 : -1);
    fft_job j = {k, k->scratch, rank, real_in, real_out};
    gy_par(k->pool, lanes, NAME(fft_lane), &j);
}

void NAME(fft)(const gy_kargs *k);
void NAME(fft)(const gy_kargs *k) {
    NAME(run)(k, false, false);
}
void NAME(rfft)(const gy_kargs *k);
void NAME(rfft)(const gy_kargs *k) {
    NAME(run)(k, true, false);
}
void NAME(irfft)(const gy_kargs *k);
void NAME(irfft)(const gy_kargs *k) {
    NAME(run)(k, false, true);
}

#endif
