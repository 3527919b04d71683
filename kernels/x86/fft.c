/* Fourier transforms of f32 by Stockham passes of radix 4, 2, 3, 5 and other small primes.
 *
 * L lanes are transformed together, interleaved: element j of lane l lies at j L + l, real and imaginary parts apart.
 * A pass of radix r takes `s` interleaved transforms of length len to r s of length len/r,
 *
 *     y[q + s (r p + v)] = w^{p v} sum_u x[q + s (p + u len/r)] e^{-2 pi i uv/r},   w = e^{-2 pi i/len}, q < s
 *
 * so that starting with s = L costs nothing, and vectors run along q. The inverse transform is the forward one with
 * real and imaginary parts in each other's place. A real lane of even length n is a complex one of length n/2, of which
 * one more pass makes the bins (Sorensen et al. 1987, IEEE Trans. ASSP 35(6), 849-863).
 *
 * Lengths with a prime factor above MAX_PRIME are left to the reference, whose sums are double.
 *
 * Measured on Zen 4, one thread (`gyrus bench fft`), with 5 n log2 n FLOPs a complex transform: 1024 lanes of 256
 * complex numbers .24 of the peak of 118 GFLOP/s, 1024 of 256 real ones .21, 256 of 1000 .34, 64 of 65536 .13. */
#include "lines.h"
#include "rows.h"

#include "core/ops/fft.h"

enum {
    MAX_PRIME = 61,
    FEW = 4,         /* lanes together where a vector of them would be too many: still one vector after a pass */
    CACHE = 1 << 21, /* bytes of buffers that VL lanes may take */
    GRAIN = 1 << 15, /* elements a tile, about */
    ROOT_BLOCK = 64
};

typedef struct {
    float *re, *im;
} parts;

typedef struct {
    const gy_kargs *k;
    const gy_fft_attr *a;
    const float *root_re, *root_im; /* e^{-2 pi i j/n}, j < n */
    float *buffers;
    int64_t rank; /* axes without the complex one */
    int64_t n, m; /* m: length of the complex transform */
    int64_t lanes, together, grain, worker_floats;
    bool real_in, real_out, half; /* half: m = n/2 */
} job;

/* The radix of the next pass over what is left of a length. */
static int64_t radix(int64_t rest) {
    if (rest % 4 == 0) return 4;
    for (int64_t p = 2; p * p <= rest; p++)
        if (rest % p == 0) return p;
    return rest;
}

static int64_t whole_lines(int64_t floats) {
    return (floats + 15) / 16 * 16;
}

static job job_of(const gy_kargs *k, bool real_in, bool real_out) {
    const gy_fft_attr *a = k->attr;
    job j = {.k = k, .a = a, .n = a->n, .real_in = real_in, .real_out = real_out, .lanes = 1};
    j.rank = k->in[0].shape.rank - !real_in;
    for (int64_t i = 0; i < j.rank; i++)
        if (i != a->axis) j.lanes *= k->in[0].shape.dim[i];
    j.half = (real_in || real_out) && j.n % 2 == 0;
    j.m = j.half ? j.n / 2 : j.n;
    bool many = j.lanes >= 4 * VL && j.m <= CACHE / (VL * 16);
    j.together = many ? VL : FEW;
    j.worker_floats = 4 * whole_lines((j.m + 1) * j.together);
    j.grain = GRAIN / (j.m * j.together) > 1 ? GRAIN / (j.m * j.together) : 1;
    return j;
}

bool GY_ISAFN(x86_fft_supports)(const gy_kargs *k) {
    for (int64_t rest = ((const gy_fft_attr *)k->attr)->n; rest > 1;) {
        int64_t r = radix(rest);
        if (r > MAX_PRIME) return false;
        rest /= r;
    }
    return true;
}
size_t GY_ISAFN(x86_fft_scratch)(const gy_kargs *k, int threads) {
    bool complex_in = k->in[0].shape.rank >= k->out[0].shape.rank,
         complex_out = k->out[0].shape.rank >= k->in[0].shape.rank;
    job j = job_of(k, !complex_in, !complex_out);
    return sizeof(float) * (size_t)(2 * whole_lines(j.n) + threads * j.worker_floats);
}

/* e^{-2 pi i (b + t)/n} as a product of two roots, in double. */
static void roots(float *re, float *im, int64_t n) {
    double fine_re[ROOT_BLOCK], fine_im[ROOT_BLOCK], turn = -6.283185307179586476925286766559;
    for (int64_t t = 0; t < ROOT_BLOCK; t++) {
        fine_re[t] = cos(turn * ((double)t / (double)n));
        fine_im[t] = sin(turn * ((double)t / (double)n));
    }
    for (int64_t b = 0; b < n; b += ROOT_BLOCK) {
        double c = cos(turn * ((double)b / (double)n)), s = sin(turn * ((double)b / (double)n));
        for (int64_t t = 0; t < ROOT_BLOCK && b + t < n; t++) {
            re[b + t] = (float)(c * fine_re[t] - s * fine_im[t]);
            im[b + t] = (float)(c * fine_im[t] + s * fine_re[t]);
        }
    }
}

/* ---- passes ---- */

typedef struct {
    vf re, im;
} cvec;

GY_INLINE cvec c_add(cvec a, cvec b) {
    return (cvec){v_add(a.re, b.re), v_add(a.im, b.im)};
}
GY_INLINE cvec c_sub(cvec a, cvec b) {
    return (cvec){v_sub(a.re, b.re), v_sub(a.im, b.im)};
}
GY_INLINE cvec c_fma(float w, cvec a, cvec b) { /* w a + b */
    return (cvec){v_fma(v_set(w), a.re, b.re), v_fma(v_set(w), a.im, b.im)};
}
GY_INLINE cvec c_minus_i(cvec a) {
    return (cvec){a.im, v_neg(a.re)};
}
GY_INLINE cvec c_mul(cvec a, vf re, vf im) {
    return (cvec){v_fms(a.re, re, v_mul(a.im, im)), v_fma(a.re, im, v_mul(a.im, re))};
}

/* a becomes its transform of length r. */
GY_INLINE void butterfly(const int r, cvec *a) {
    const cvec zero = {v_zero(), v_zero()};
    if (r == 2) {
        cvec t = a[1];
        a[1] = c_sub(a[0], t);
        a[0] = c_add(a[0], t);
    } else if (r == 3) {
        cvec s = c_add(a[1], a[2]), d = c_minus_i(c_fma(0.866025404f, c_sub(a[1], a[2]), zero));
        cvec m = c_fma(-0.5f, s, a[0]);
        a[0] = c_add(a[0], s);
        a[1] = c_add(m, d);
        a[2] = c_sub(m, d);
    } else if (r == 4) {
        cvec s = c_add(a[0], a[2]), d = c_sub(a[0], a[2]), t = c_add(a[1], a[3]), e = c_minus_i(c_sub(a[1], a[3]));
        a[0] = c_add(s, t);
        a[1] = c_add(d, e);
        a[2] = c_sub(s, t);
        a[3] = c_sub(d, e);
    } else { /* 5: cosines and sines of 2 pi/5 and 4 pi/5 */
        const float c1 = 0.309016994f, c2 = -0.809016994f, s1 = 0.951056516f, s2 = 0.587785252f;
        cvec p = c_add(a[1], a[4]), q = c_add(a[2], a[3]), d = c_sub(a[1], a[4]), e = c_sub(a[2], a[3]);
        cvec m = c_fma(c1, p, c_fma(c2, q, a[0])), n = c_fma(c2, p, c_fma(c1, q, a[0]));
        cvec t = c_minus_i(c_fma(s1, d, c_fma(s2, e, zero))), u = c_minus_i(c_fma(s2, d, c_fma(-s1, e, zero)));
        a[0] = c_add(a[0], c_add(p, q));
        a[1] = c_add(m, t);
        a[2] = c_add(n, u);
        a[3] = c_sub(n, u);
        a[4] = c_sub(m, t);
    }
}

GY_INLINE void small_pass(const int r, const job *j, int64_t len, int64_t s, parts x, parts y) {
    int64_t rows = len / r, step = j->n / len;
    for (int64_t p = 0; p < rows; p++) {
        vf w_re[5], w_im[5];
        for (int v = 1; v < r; v++) {
            w_re[v] = v_set(j->root_re[p * v * step]);
            w_im[v] = v_set(j->root_im[p * v * step]);
        }
        for (int64_t q = 0; q < s; q += VL) {
            cvec a[5];
            for (int u = 0; u < r; u++) {
                int64_t at = q + s * (p + rows * u);
                a[u] = (cvec){line_load(x.re + at, s - q), line_load(x.im + at, s - q)};
            }
            butterfly(r, a);
            for (int v = 0; v < r; v++) {
                int64_t at = q + s * (r * p + v);
                cvec b = v ? c_mul(a[v], w_re[v], w_im[v]) : a[0];
                line_store(y.re + at, b.re, s - q);
                line_store(y.im + at, b.im, s - q);
            }
        }
    }
}

static void prime_pass(int64_t r, const job *j, int64_t len, int64_t s, parts x, parts y) {
    int64_t rows = len / r, step = j->n / len, turn = j->n / r;
    for (int64_t p = 0; p < rows; p++)
        for (int64_t q = 0; q < s; q += VL)
            for (int64_t v = 0; v < r; v++) {
                cvec sum = {v_zero(), v_zero()};
                for (int64_t u = 0; u < r; u++) {
                    int64_t from = q + s * (p + rows * u), w = u * v % r * turn;
                    cvec a = {line_load(x.re + from, s - q), line_load(x.im + from, s - q)};
                    sum = c_add(sum, c_mul(a, v_set(j->root_re[w]), v_set(j->root_im[w])));
                }
                int64_t w = p * v * step, to = q + s * (r * p + v);
                sum = c_mul(sum, v_set(j->root_re[w]), v_set(j->root_im[w]));
                line_store(y.re + to, sum.re, s - q);
                line_store(y.im + to, sum.im, s - q);
            }
}

/* Transforms *x, with *y as the other buffer; on return the result is in *x. */
static void transform(const job *j, int64_t lanes, parts *x, parts *y) {
    for (int64_t len = j->m, s = lanes; len > 1;) {
        int64_t r = radix(len);
        if (r == 4)
            small_pass(4, j, len, s, *x, *y);
        else if (r == 2)
            small_pass(2, j, len, s, *x, *y);
        else if (r == 3)
            small_pass(3, j, len, s, *x, *y);
        else if (r == 5)
            small_pass(5, j, len, s, *x, *y);
        else
            prime_pass(r, j, len, s, *x, *y);
        len /= r;
        s *= r;
        parts swap = *x;
        *x = *y;
        *y = swap;
    }
}

/* ---- between tensors and buffers ---- */

/* Pair i of a lane: two floats at i hop and i hop + im of the tensor. */
typedef struct {
    float *lane[VL];
    int64_t count, hop, im;
} lanes_view;

static lanes_view view_of(const job *j, const gy_view *v, int64_t lo, bool real) {
    lanes_view t = {.count = j->lanes - lo < j->together ? j->lanes - lo : j->together};
    for (int64_t l = 0; l < t.count; l++) {
        int64_t offset = 0, rest = lo + l;
        for (int64_t i = j->rank - 1; i >= 0; i--) {
            if (i == j->a->axis) continue;
            offset += rest % v->shape.dim[i] * v->stride[i];
            rest /= v->shape.dim[i];
        }
        t.lane[l] = (float *)v->data + offset;
    }
    t.hop = v->stride[j->a->axis] * (real && j->half ? 2 : 1);
    t.im = real ? v->stride[j->a->axis] : v->stride[j->rank];
    return t;
}

/* `pairs` pairs of each lane to x, blocks of VL lanes by VL floats through the registers. */
static void load_pairs(const lanes_view *t, int64_t pairs, parts x) {
    int64_t i = 0, n = t->count;
    if (n == VL && t->hop == 2 && t->im == 1)
        for (; i + VL / 2 <= pairs; i += VL / 2) {
            vf block[VL];
            for (int l = 0; l < VL; l++) block[l] = v_load(t->lane[l] + 2 * i);
            v_transpose(block);
            for (int e = 0; e < VL / 2; e++) {
                v_store(x.re + (i + e) * VL, block[2 * e]);
                v_store(x.im + (i + e) * VL, block[2 * e + 1]);
            }
        }
    for (; i < pairs; i++)
        for (int64_t l = 0; l < n; l++) {
            x.re[i * n + l] = t->lane[l][i * t->hop];
            x.im[i * n + l] = t->lane[l][i * t->hop + t->im];
        }
}
static void store_pairs(const lanes_view *t, int64_t pairs, parts x) {
    int64_t i = 0, n = t->count;
    if (n == VL && t->hop == 2 && t->im == 1)
        for (; i + VL / 2 <= pairs; i += VL / 2) {
            vf block[VL];
            for (int e = 0; e < VL / 2; e++) {
                block[2 * e] = v_load(x.re + (i + e) * VL);
                block[2 * e + 1] = v_load(x.im + (i + e) * VL);
            }
            v_transpose(block);
            for (int l = 0; l < VL; l++) v_store(t->lane[l] + 2 * i, block[l]);
        }
    for (; i < pairs; i++)
        for (int64_t l = 0; l < n; l++) {
            t->lane[l][i * t->hop] = x.re[i * n + l];
            t->lane[l][i * t->hop + t->im] = x.im[i * n + l];
        }
}

static float weight(const gy_fft_attr *a, int64_t bin) {
    return (float)(a->both && bin > 0 && 2 * bin < a->n ? 2 * a->scale : a->scale);
}
/* Element i of x, n lanes of it from the q-th on. */
GY_INLINE cvec element(parts x, int64_t i, int64_t n, int64_t q) {
    return (cvec){line_load(x.re + i * n + q, n - q), line_load(x.im + i * n + q, n - q)};
}
GY_INLINE void set_element(parts x, int64_t i, int64_t n, int64_t q, cvec a) {
    line_store(x.re + i * n + q, a.re, n - q);
    line_store(x.im + i * n + q, a.im, n - q);
}
GY_INLINE cvec c_conj(cvec a) {
    return (cvec){a.re, v_neg(a.im)};
}

/* Bins 0..m of the real lanes of which z is the half-length transform:
 * y_k = w_k/2 ((z_k + z*_{m-k}) - i e^{-2 pi i k/n} (z_k - z*_{m-k})). */
static void bins_of_half(const job *j, int64_t lanes, parts z, parts y) {
    for (int64_t k = 0; k <= j->m; k++) {
        cvec a = element(z, k % j->m, lanes, 0), b = c_conj(element(z, (j->m - k) % j->m, lanes, 0));
        float re = k < j->m ? j->root_re[k] : -1.0f, im = k < j->m ? j->root_im[k] : 0.0f;
        cvec y_k = c_add(c_add(a, b), c_minus_i(c_mul(c_sub(a, b), v_set(re), v_set(im))));
        vf w = v_set(0.5f * weight(j->a, k));
        set_element(y, k, lanes, 0, (cvec){v_mul(w, y_k.re), v_mul(w, y_k.im)});
    }
}
/* The inverse, from weighted bins: z_k = (x_k + x*_{m-k}) + i e^{2 pi i k/n} (x_k - x*_{m-k}), the bins between the
 * first and the last at half their weight, since each stands for two here. */
static void half_of_bins(const job *j, int64_t lanes, parts x, parts z) {
    for (int64_t k = 0; k < j->m; k++) {
        cvec a = element(x, k, lanes, 0), b = c_conj(element(x, j->m - k, lanes, 0));
        if (k == 0) a.im = b.im = v_zero();
        vf w = v_set((k ? 0.5f : 1.0f) * weight(j->a, k));
        cvec d = c_mul(c_sub(a, b), v_set(j->root_re[k]), v_set(-j->root_im[k])),
             z_k = c_sub(c_add(a, b), c_minus_i(d));
        set_element(z, k, lanes, 0, (cvec){v_mul(w, z_k.re), v_mul(w, z_k.im)});
    }
}
static void scaled(parts x, int64_t n, float scale) {
    for (int64_t i = 0; i < n; i += VL) {
        line_store(x.re + i, v_mul(line_load(x.re + i, n - i), v_set(scale)), n - i);
        line_store(x.im + i, v_mul(line_load(x.im + i, n - i), v_set(scale)), n - i);
    }
}
static parts swapped(parts x) {
    return (parts){x.im, x.re};
}

static void batch(const job *j, int64_t lo, int worker) {
    int64_t size = j->worker_floats / 4;
    float *at = j->buffers + worker * j->worker_floats;
    parts x = {at, at + size}, y = {at + 2 * size, at + 3 * size};
    lanes_view from = view_of(j, &j->k->in[0], lo, j->real_in), to = view_of(j, &j->k->out[0], lo, j->real_out);
    int64_t n = from.count, bins = j->n / 2 + 1;
    if (j->real_in && !j->half) {
        for (int64_t i = 0; i < j->n; i++)
            for (int64_t l = 0; l < n; l++) {
                x.re[i * n + l] = from.lane[l][i * from.hop];
                x.im[i * n + l] = 0;
            }
    } else {
        load_pairs(&from, j->real_out ? bins : j->m, x);
    }
    if (j->real_out && j->half) {
        half_of_bins(j, n, x, y);
        parts t = x;
        x = y;
        y = t;
    } else if (j->real_out) { /* the real part of a transform whose other bins are 0 */
        for (int64_t i = 0; i < j->n; i++)
            for (int64_t l = 0; l < n; l++) {
                x.re[i * n + l] = i < bins ? weight(j->a, i) * x.re[i * n + l] : 0;
                x.im[i * n + l] = i && i < bins ? weight(j->a, i) * x.im[i * n + l] : 0;
            }
    }
    bool inverse = j->real_out || j->a->inverse;
    if (inverse) {
        x = swapped(x);
        y = swapped(y);
    }
    transform(j, n, &x, &y);
    if (inverse) {
        x = swapped(x);
        y = swapped(y);
    }
    if (j->real_in && j->half) {
        bins_of_half(j, n, x, y);
        store_pairs(&to, bins, y);
    } else if (j->real_out && !j->half) {
        for (int64_t i = 0; i < j->n; i++)
            for (int64_t l = 0; l < n; l++) to.lane[l][i * to.hop] = x.re[i * n + l];
    } else {
        if (!j->real_out && !j->real_in) scaled(x, j->m * n, (float)j->a->scale);
        if (j->real_in)
            for (int64_t i = 0; i < bins; i++)
                for (int64_t l = 0; l < n; l++) {
                    x.re[i * n + l] *= weight(j->a, i);
                    x.im[i * n + l] *= weight(j->a, i);
                }
        store_pairs(&to, j->real_in ? bins : j->m, x);
    }
}

static void tile(void *arg, int64_t t, int worker) {
    const job *j = arg;
    int64_t lo, hi;
    gy_tile_range(gy_tiles(j->lanes, j->together), j->grain, t, &lo, &hi);
    for (int64_t b = lo; b < hi; b++) batch(j, b * j->together, worker);
}

static void run(const gy_kargs *k, bool real_in, bool real_out) {
    job j = job_of(k, real_in, real_out);
    if (j.lanes == 0) return;
    float *at = k->scratch;
    j.root_re = at;
    j.root_im = at + whole_lines(j.n);
    j.buffers = at + 2 * whole_lines(j.n);
    roots(at, at + whole_lines(j.n), j.n);
    gy_par(k->pool, gy_tiles(gy_tiles(j.lanes, j.together), j.grain), tile, &j);
}

void GY_ISAFN(x86_fft)(const gy_kargs *k) {
    run(k, false, false);
}
void GY_ISAFN(x86_rfft)(const gy_kargs *k) {
    run(k, true, false);
}
void GY_ISAFN(x86_irfft)(const gy_kargs *k) {
    run(k, false, true);
}
