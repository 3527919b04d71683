#include "fft.h"

#include <math.h>
#include <string.h>

typedef double complex cplx;

enum { MAX_PRIME = 13 };

static inline cplx make(double re, double im) {
    union {
        double part[2];
        cplx z;
    } u = {{re, im}};
    return u.z;
}

/* C's complex product also repairs infinities, at the price of a call; this is the schoolbook one. */
static inline cplx mul(cplx a, cplx b) {
    double ar = creal(a), ai = cimag(a), br = creal(b), bi = cimag(b);
    return make(ar * br - ai * bi, ar * bi + ai * br);
}

static inline cplx times_minus_i(cplx a) {
    return make(cimag(a), -creal(a));
}

/* exp(-2 pi i k / n), 0 <= k < n, from an angle in the first eighth of the circle: exact at multiples of a quarter
 * and never more than an ulp off. */
static cplx unit_root(int64_t k, int64_t n) {
    const double two_pi = 6.283185307179586476925;
    int64_t q = 4 * k / n, r = 4 * k - q * n; /* quarter, and the rest in units of a quarter / n */
    bool mirror = 2 * r > n;
    double angle = two_pi / 4 * (double)(mirror ? n - r : r) / (double)n;
    double c = mirror ? sin(angle) : cos(angle), s = mirror ? cos(angle) : sin(angle);
    switch (q) {
    case 0: return make(c, -s);
    case 1: return make(-s, -c);
    case 2: return make(-c, s);
    default: return make(s, c);
    }
}

/* Butterflies: y[v] = sum_u a[u] exp(-2 pi i u v / r). */
static inline void dft2(const cplx *a, cplx *y) {
    y[0] = a[0] + a[1];
    y[1] = a[0] - a[1];
}

static inline void dft3(const cplx *a, cplx *y) {
    const double h = 0.86602540378443864676; /* sqrt(3) / 2 */
    cplx s = a[1] + a[2], d = times_minus_i(h * (a[1] - a[2])), m = a[0] - 0.5 * s;
    y[0] = a[0] + s;
    y[1] = m + d;
    y[2] = m - d;
}

static inline void dft4(const cplx *a, cplx *y) {
    cplx s0 = a[0] + a[2], d0 = a[0] - a[2], s1 = a[1] + a[3], d1 = times_minus_i(a[1] - a[3]);
    y[0] = s0 + s1;
    y[1] = d0 + d1;
    y[2] = s0 - s1;
    y[3] = d0 - d1;
}

static inline void dft5(const cplx *a, cplx *y) {
    const double c1 = 0.30901699437494742410, c2 = -0.80901699437494742410; /* cos(2 pi / 5), cos(4 pi / 5) */
    const double s1 = 0.95105651629515357212, s2 = 0.58778525229247312917;  /* sin of the same */
    cplx p = a[1] + a[4], q = a[2] + a[3], d = a[1] - a[4], e = a[2] - a[3];
    cplx m1 = a[0] + c1 * p + c2 * q, m2 = a[0] + c2 * p + c1 * q;
    cplx t1 = times_minus_i(s1 * d + s2 * e), t2 = times_minus_i(s2 * d - s1 * e);
    y[0] = a[0] + p + q;
    y[1] = m1 + t1;
    y[2] = m2 + t2;
    y[3] = m2 - t2;
    y[4] = m1 - t1;
}

/* root is the table of the whole length n; step = n / r. */
static void dft_prime(int64_t r, const cplx *root, int64_t step, const cplx *a, cplx *y) {
    for (int64_t v = 0; v < r; v++) {
        cplx s = a[0];
        for (int64_t u = 1; u < r; u++) s += mul(a[u], root[u * v % r * step]);
        y[v] = s;
    }
}

/* One Stockham pass: `s` transforms of length `len` lie interleaved in x; each becomes r of length len / r in y. */
static void pass(const gy_fft_plan *f, int64_t r, int64_t len, int64_t s, const cplx *x, cplx *y) {
    int64_t m = len / r;
    for (int64_t p = 0; p < m; p++) {
        cplx w[MAX_PRIME], a[MAX_PRIME], b[MAX_PRIME];
        for (int64_t v = 0; v < r; v++) w[v] = f->root[p * v * s];
        for (int64_t q = 0; q < s; q++) {
            for (int64_t u = 0; u < r; u++) a[u] = x[q + s * (p + m * u)];
            switch (r) {
            case 2: dft2(a, b); break;
            case 3: dft3(a, b); break;
            case 4: dft4(a, b); break;
            case 5: dft5(a, b); break;
            default: dft_prime(r, f->root, f->n / r, a, b);
            }
            y[q + s * r * p] = b[0];
            for (int64_t v = 1; v < r; v++) y[q + s * (r * p + v)] = mul(b[v], w[v]);
        }
    }
}

static void mixed_radix(const gy_fft_plan *f, const cplx *in, cplx *out, cplx *work) {
    const cplx *from = in;
    int64_t len = f->n, s = 1;
    if (f->n_factors == 0 || (in == out && f->n_factors % 2 == 1)) { /* passes alternate and must end in out */
        memcpy(work, in, (size_t)f->n * sizeof *in);
        from = work;
    }
    if (f->n_factors == 0) memcpy(out, work, (size_t)f->n * sizeof *in);
    for (int64_t i = 0; i < f->n_factors; i++) {
        cplx *to = (f->n_factors - i) % 2 == 1 ? out : work;
        pass(f, f->factor[i], len, s, from, to);
        len /= f->factor[i];
        s *= f->factor[i];
        from = to;
    }
}

/* j k = (j^2 + k^2 - (k - j)^2) / 2 makes the transform a convolution with a chirp, whatever n is. */
static void bluestein(const gy_fft_plan *f, const cplx *in, cplx *out, cplx *work) {
    int64_t n = f->n, m = f->inner->n;
    cplx *a = work, *rest = work + m;
    for (int64_t k = 0; k < n; k++) a[k] = mul(in[k], f->chirp[k]);
    memset(a + n, 0, (size_t)(m - n) * sizeof *a);
    gy_fft_forward(f->inner, a, a, rest);
    for (int64_t k = 0; k < m; k++) a[k] = mul(a[k], f->filter[k]);
    gy_fft_inverse(f->inner, a, a, rest);
    for (int64_t k = 0; k < n; k++) out[k] = mul(a[k], f->chirp[k]);
}

void gy_fft_forward(const gy_fft_plan *f, const cplx *in, cplx *out, cplx *work) {
    if (f->inner)
        bluestein(f, in, out, work);
    else
        mixed_radix(f, in, out, work);
}

void gy_fft_inverse(const gy_fft_plan *f, const cplx *in, cplx *out, cplx *work) {
    /* The inverse is the forward transform read backwards: X[0], X[n-1], ..., X[1]. */
    gy_fft_forward(f, in, out, work);
    double scale = 1 / (double)f->n;
    out[0] *= scale;
    for (int64_t i = 1, j = f->n - 1; i <= j; i++, j--) {
        cplx t = out[i];
        out[i] = scale * out[j];
        out[j] = scale * t;
    }
}

int64_t gy_fft_work(const gy_fft_plan *f) {
    return f->inner ? 2 * f->inner->n : f->n;
}

void gy_fft_free(gy_ctx *ctx, gy_fft_plan *f) {
    if (!f) return;
    if (f->inner) { /* a power of two: has no inner plan itself */
        gy_free(ctx, f->inner->root);
        gy_free(ctx, f->inner);
    }
    gy_free(ctx, f->root);
    gy_free(ctx, f->chirp);
    gy_free(ctx, f->filter);
    gy_free(ctx, f);
}

static cplx *new_complex(gy_ctx *ctx, int64_t n) {
    return gy_calloc(ctx, (size_t)n, sizeof(cplx));
}

/* True if n has only small primes; the factors then are in f. */
static bool factorise(gy_fft_plan *f) {
    static const int64_t radix[] = {4, 2, 3, 5, 7, 11, 13};
    int64_t rest = f->n;
    f->n_factors = 0;
    for (size_t i = 0; i < sizeof radix / sizeof *radix; i++)
        for (; rest % radix[i] == 0; rest /= radix[i]) f->factor[f->n_factors++] = radix[i];
    if (rest == 1) return true;
    f->n_factors = 0;
    return false;
}

static gy_status plan_bluestein(gy_ctx *ctx, gy_fft_plan *f) {
    int64_t n = f->n, m = 1;
    while (m < 2 * n - 1) m *= 2;
    gy_status s = gy_fft_new(ctx, m, &f->inner);
    if (s) return s;
    cplx *work = NULL;
    if (!(f->chirp = new_complex(ctx, n)) || !(f->filter = new_complex(ctx, m)) ||
        !(work = new_complex(ctx, gy_fft_work(f->inner))))
        return GY_ERR_NOMEM;
    int64_t square = 0; /* k^2 mod 2 n, by its differences 2 k + 1: no overflow */
    for (int64_t k = 0; k < n; k++) {
        f->chirp[k] = unit_root(square, 2 * n);
        square = (square + 2 * k + 1) % (2 * n);
        f->filter[k] = f->filter[(m - k) % m] = conj(f->chirp[k]);
    }
    gy_fft_forward(f->inner, f->filter, f->filter, work);
    gy_free(ctx, work);
    return GY_OK;
}

gy_status gy_fft_new(gy_ctx *ctx, int64_t n, gy_fft_plan **plan) {
    *plan = NULL;
    if (n < 1 || n > INT64_C(1) << 40)
        return gy_fail(ctx, GY_ERR_SHAPE, "fft: length %lld; 1..2^40 expected", (long long)n);
    gy_fft_plan *f = gy_calloc(ctx, 1, sizeof *f);
    if (!f) return GY_ERR_NOMEM;
    f->n = n;
    gy_status s = GY_OK;
    if (!factorise(f))
        s = plan_bluestein(ctx, f);
    else if (!(f->root = new_complex(ctx, n)))
        s = GY_ERR_NOMEM;
    else
        for (int64_t k = 0; k < n; k++) f->root[k] = unit_root(k, n);
    if (s) {
        gy_fft_free(ctx, f);
        return s;
    }
    *plan = f;
    return GY_OK;
}

void gy_rfft_free(gy_ctx *ctx, gy_rfft_plan *r) {
    if (!r) return;
    gy_fft_free(ctx, r->plan);
    gy_free(ctx, r->root);
    gy_free(ctx, r);
}

gy_status gy_rfft_new(gy_ctx *ctx, int64_t n, gy_rfft_plan **plan) {
    *plan = NULL;
    if (n < 1) return gy_fail(ctx, GY_ERR_SHAPE, "fft: length %lld; 1..2^40 expected", (long long)n);
    gy_rfft_plan *r = gy_calloc(ctx, 1, sizeof *r);
    if (!r) return GY_ERR_NOMEM;
    r->n = n;
    gy_status s = gy_fft_new(ctx, n % 2 ? n : n / 2, &r->plan);
    if (!s && n % 2 == 0) {
        if (!(r->root = new_complex(ctx, n / 2 + 1)))
            s = GY_ERR_NOMEM;
        else
            for (int64_t k = 0; k <= n / 2; k++) r->root[k] = unit_root(k, n);
    }
    if (s) {
        gy_rfft_free(ctx, r);
        return s;
    }
    *plan = r;
    return GY_OK;
}

int64_t gy_rfft_work(const gy_rfft_plan *r) {
    return r->plan->n + gy_fft_work(r->plan);
}

/* Even n: z[j] = x[2j] + i x[2j+1] is transformed at half length, and the two interleaved spectra
 * E[k] = (Z[k] + conj Z[-k]) / 2 and O[k] = -i (Z[k] - conj Z[-k]) / 2 are joined as E[k] + w^k O[k]. */
void gy_rfft_forward(const gy_rfft_plan *r, const double *in, cplx *out, cplx *work) {
    int64_t n = r->n, h = r->plan->n;
    cplx *z = work, *rest = work + h;
    if (!r->root) {
        for (int64_t j = 0; j < n; j++) z[j] = in[j];
        gy_fft_forward(r->plan, z, z, rest);
        memcpy(out, z, (size_t)(n / 2 + 1) * sizeof *out);
        return;
    }
    for (int64_t j = 0; j < h; j++) z[j] = make(in[2 * j], in[2 * j + 1]);
    gy_fft_forward(r->plan, z, z, rest);
    for (int64_t k = 0; k <= h; k++) {
        cplx a = z[k % h], b = conj(z[(h - k) % h]);
        out[k] = 0.5 * (a + b) + mul(r->root[k], times_minus_i(0.5 * (a - b)));
    }
}

void gy_rfft_inverse(const gy_rfft_plan *r, const cplx *in, double *out, cplx *work) {
    int64_t n = r->n, h = r->plan->n;
    cplx *z = work, *rest = work + h;
    if (!r->root) {
        z[0] = creal(in[0]);
        for (int64_t k = 1; k <= n / 2; k++) {
            z[k] = in[k];
            z[n - k] = conj(in[k]);
        }
        gy_fft_inverse(r->plan, z, z, rest);
        for (int64_t j = 0; j < n; j++) out[j] = creal(z[j]);
        return;
    }
    for (int64_t k = 0; k < h; k++) {
        cplx a = k ? in[k] : creal(in[0]), b = k ? conj(in[h - k]) : creal(in[h]);
        cplx odd = mul(conj(r->root[k]), 0.5 * (a - b));
        z[k] = 0.5 * (a + b) - times_minus_i(odd); /* E + i O */
    }
    gy_fft_inverse(r->plan, z, z, rest);
    for (int64_t j = 0; j < h; j++) {
        out[2 * j] = creal(z[j]);
        out[2 * j + 1] = cimag(z[j]);
    }
}
