#include "sampler.h"

#include "../../core/rng.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

/* ---- timesteps ---- */

static gy_status check(const gy_sampler *s) {
    if (s->steps < 1 || !s->noise || s->noise->n < 1)
        return gy_fail(s->ctx, GY_ERR_USAGE, "sampler: %" PRId64 " steps: expected at least 1", s->steps);
    if (!s->times && s->spacing != GY_SPACING_STRAIGHT && s->steps > s->noise->n)
        return gy_fail(s->ctx, GY_ERR_USAGE, "sampler: %" PRId64 " steps of %" PRId64 " timesteps", s->steps,
                       s->noise->n);
    if (s->strength < 0.0 || s->strength > 1.0)
        return gy_fail(s->ctx, GY_ERR_USAGE, "sampler: strength %g: expected 0 to 1", s->strength);
    return GY_OK;
}

/* Timestep i, counted from the noisiest. */
static double time_at(const gy_sampler *s, int64_t i) {
    double n = (double)s->noise->n, steps = (double)s->steps, up = (double)(s->steps - 1 - i), at = 0.0;
    if (s->times) return s->times[i];
    switch (s->spacing) {
    case GY_SPACING_LEADING: at = up * floor(n / steps); break;
    case GY_SPACING_LINSPACE: at = s->steps > 1 ? nearbyint(up * (n - 1.0) / (steps - 1.0)) : 0.0; break;
    case GY_SPACING_TRAILING: at = nearbyint(n - (double)i * n / steps) - 1.0; break;
    case GY_SPACING_LEADING_OPEN: at = (up + 1.0) * floor(n / (steps + 1.0)); break;
    case GY_SPACING_LINSPACE_OPEN: at = nearbyint((up + 1.0) * (n - 1.0) / steps); break;
    case GY_SPACING_STRAIGHT: at = n * (up + 1.0) / steps; break;
    }
    return fmin(at + (double)s->offset, s->spacing == GY_SPACING_STRAIGHT ? n : n - 1.0);
}

/* How many steps are skipped at the noisy end. */
static int64_t skipped(const gy_sampler *s) {
    return s->strength > 0.0 ? s->steps - (int64_t)(s->strength * (double)s->steps) : 0;
}

int64_t gy_sampler_times(const gy_sampler *s, double *t) {
    if (check(s) != GY_OK) return -1;
    int64_t skip = skipped(s);
    for (int64_t i = skip; i < s->steps; i++) t[i - skip] = time_at(s, i);
    return s->steps - skip;
}

gy_status gy_sampler_start(const gy_sampler *s, const double *init, double *x) {
    gy_status r = check(s);
    if (r != GY_OK) return r;
    gy_rng rng;
    gy_rng_init(&rng, s->seed, "sampler.start");
    int64_t skip = skipped(s);
    double t = skip < s->steps ? time_at(s, skip) : -1.0;
    double alpha = gy_noise_alpha(s->noise, t), sigma = gy_noise_sigma(s->noise, t);
    for (int64_t i = 0; i < s->n; i++) {
        double e = gy_rng_normal(&rng);
        x[i] = init ? alpha * init[i] + sigma * e : e;
    }
    return GY_OK;
}

/* ---- the run ---- */

typedef struct node {
    double t, alpha, sigma;
} node;

static double lambda(node v) { /* half the log signal-to-noise ratio */
    return log(v.alpha / v.sigma);
}

typedef struct run {
    const gy_sampler *s;
    int64_t steps, calls, n;
    node *at;         /* [steps + 1]: where each step begins; the last is where the run ends */
    double *x;        /* [n] */
    double *out;      /* [n]: the prediction */
    double *x0, *eps; /* [n]: the present ones */
    double *old[3];   /* [n]: what multistep methods remember, newest first */
    double *saved;    /* [n]: x at the beginning of the step before */
    gy_rng rng;
} run;

/* x0 and eps at `where`. */
static gy_status predict(run *r, node where) {
    const gy_sampler *s = r->s;
    gy_denoise_at at = {r->calls++, where.t, where.alpha, where.sigma};
    gy_status status = s->denoise(s->user, &at, r->x, r->out);
    if (status != GY_OK) return status;
    for (int64_t i = 0; i < r->n; i++) {
        gy_predicted(s->prediction, where.alpha, where.sigma, r->x[i], r->out[i], &r->x0[i], &r->eps[i]);
        if (s->clip > 0.0) r->x0[i] = fmin(fmax(r->x0[i], -s->clip), s->clip);
    }
    return GY_OK;
}

/* Variance of the noise that an ancestral step adds: (1 - a')/(1 - a) (1 - a/a'), in terms of alpha and sigma. */
static double ancestral(node a, node b) {
    double ratio = a.alpha * a.alpha / (b.alpha * b.alpha);
    return fmax(b.sigma * b.sigma / (a.sigma * a.sigma) * (1.0 - ratio), 0.0);
}

/* DDIM eq. (12): x' = alpha' x0 + sqrt(sigma'^2 - v) eps + sqrt(v) n */
static void ddim(run *r, node a, node b) {
    double v = r->s->eta > 0.0 ? r->s->eta * r->s->eta * ancestral(a, b) : 0.0;
    double keep = sqrt(fmax(b.sigma * b.sigma - v, 0.0)), fresh = sqrt(v);
    for (int64_t i = 0; i < r->n; i++) {
        r->x[i] = b.alpha * r->x0[i] + keep * r->eps[i];
        if (v > 0.0) r->x[i] += fresh * gy_rng_normal(&r->rng);
    }
}

/* DDPM eq. (6)-(7): the posterior of x' given x and x0. */
static void ddpm(run *r, node a, node b) {
    double ratio = a.alpha / b.alpha, va = a.sigma * a.sigma, vb = b.sigma * b.sigma; /* sqrt(1 - beta) */
    double c0 = b.alpha * (1.0 - ratio * ratio) / va, c1 = ratio * vb / va, fresh = sqrt(ancestral(a, b));
    for (int64_t i = 0; i < r->n; i++) {
        r->x[i] = c0 * r->x0[i] + c1 * r->x[i];
        if (fresh > 0.0) r->x[i] += fresh * gy_rng_normal(&r->rng);
    }
}

static void remember(run *r, const double *v) {
    double *last = r->old[2];
    r->old[2] = r->old[1];
    r->old[1] = r->old[0];
    r->old[0] = last;
    memcpy(last, v, (size_t)r->n * sizeof *v);
}

/* ---- PNDM, eq. (9)-(12): Adams-Bashforth on eps ---- */

/* The transfer of eq. (11) from a to b: x / alpha moves along eps by the change of sigma / alpha. */
static void transfer(run *r, const double *from, const double *eps, node a, node b) {
    double scale = b.alpha / a.alpha, along = b.sigma - a.sigma * scale;
    for (int64_t i = 0; i < r->n; i++) r->x[i] = scale * from[i] + along * eps[i];
}

static gy_status pndm(run *r) {
    static const double bashforth[4][4] = {
        {1}, {1.5, -0.5}, {23 / 12.0, -16 / 12.0, 5 / 12.0}, {55 / 24.0, -59 / 24.0, 37 / 24.0, -9 / 24.0}};
    for (int64_t k = 0; k < r->steps; k++) {
        node a = r->at[k], b = r->at[k + 1];
        gy_status s = predict(r, a);
        if (s != GY_OK) return s;
        if (k == 0 && r->steps > 1) { /* Heun's step: look at b, then start again with the mean */
            memcpy(r->saved, r->x, (size_t)r->n * sizeof *r->x);
            remember(r, r->eps);
            transfer(r, r->saved, r->eps, a, b);
            if ((s = predict(r, b)) != GY_OK) return s;
            for (int64_t i = 0; i < r->n; i++) r->out[i] = 0.5 * (r->eps[i] + r->old[0][i]);
            transfer(r, r->saved, r->out, a, b);
            continue;
        }
        const double *c = bashforth[k < 3 ? k : 3];
        for (int64_t i = 0; i < r->n; i++)
            r->out[i] = c[0] * r->eps[i] + c[1] * r->old[0][i] + c[2] * r->old[1][i] + c[3] * r->old[2][i];
        remember(r, r->eps);
        transfer(r, r->x, r->out, a, b);
    }
    return GY_OK;
}

/* ---- exponential integrators on x0: x' = (sigma'/sigma) x - alpha' (e^-h - 1) D, h = lambda' - lambda ---- */

static void exponential(run *r, const double *from, const double *d, node a, node b) {
    double keep = b.sigma / a.sigma, step = -b.alpha * expm1(-(lambda(b) - lambda(a)));
    for (int64_t i = 0; i < r->n; i++) r->x[i] = keep * from[i] + step * d[i];
}

/* d = m0 + weight (m0 - m1) / ratio: the second order's estimate in the middle of the step from `at` to `to`. */
static void extrapolate(run *r, double weight, node before, node at, node to) {
    double ratio = (lambda(at) - lambda(before)) / (lambda(to) - lambda(at));
    for (int64_t i = 0; i < r->n; i++)
        r->out[i] = r->x0[i] + (isinf(ratio) ? 0.0 : weight * (r->x0[i] - r->old[0][i]) / ratio);
}

/* DPM-Solver++(2M), algorithm 2. The last step is of first order where it is long or ends in pure data. */
static gy_status dpm(run *r) {
    for (int64_t k = 0; k < r->steps; k++) {
        node a = r->at[k], b = r->at[k + 1];
        gy_status s = predict(r, a);
        if (s != GY_OK) return s;
        bool last = k + 1 == r->steps && (r->s->steps < 15 || b.sigma == 0.0);
        if (k == 0 || last)
            exponential(r, r->x, r->x0, a, b);
        else {
            extrapolate(r, 0.5, r->at[k - 1], a, b);
            exponential(r, r->x, r->out, a, b);
        }
        remember(r, r->x0);
    }
    return GY_OK;
}

/* The corrector of UniPC (algorithm 1, B = e^h - 1) for the step from `a` to `b`, now that x0 at b is known: the step
 * is done again from `saved`, with the differences to x0 at a (old[0]) of x0 at b and, at order 2, of x0 at `before`.
 */
static void correct(run *r, int64_t order, node before, node a, node b) {
    double h = lambda(b) - lambda(a), hh = -h, big = expm1(hh);
    double phi2 = big / hh - 1.0, phi3 = phi2 / hh - 0.5; /* h phi_k(h) of the paper, k = 2, 3 */
    double ratio = order > 1 ? (lambda(before) - lambda(a)) / h : 0.0;
    double w1 = 0.5, w0 = 0.0;
    if (order > 1) { /* rows: w0 + w1 = b1, ratio w0 + w1 = b2 */
        double b1 = phi2 / big, b2 = 2.0 * phi3 / big;
        w0 = (b1 - b2) / (1.0 - ratio);
        w1 = b1 - w0;
    }
    for (int64_t i = 0; i < r->n; i++) {
        double m0 = r->old[0][i], d = w1 * (r->x0[i] - m0);
        if (order > 1) d += w0 * (r->old[1][i] - m0) / ratio;
        r->out[i] = m0 + d;
    }
    exponential(r, r->saved, r->out, a, b);
}

static gy_status unipc(run *r) {
    int64_t order = 1; /* of the predictor of the step before */
    for (int64_t k = 0; k < r->steps; k++) {
        node a = r->at[k], b = r->at[k + 1];
        gy_status s = predict(r, a);
        if (s != GY_OK) return s;
        if (k > 0) correct(r, order, k > 1 ? r->at[k - 2] : r->at[0], r->at[k - 1], a);
        memcpy(r->saved, r->x, (size_t)r->n * sizeof *r->x);
        order = k == 0 || k + 1 == r->steps ? 1 : 2;
        if (order == 1)
            exponential(r, r->saved, r->x0, a, b);
        else {
            extrapolate(r, 0.5, r->at[k - 1], a, b);
            exponential(r, r->saved, r->out, a, b);
        }
        remember(r, r->x0);
    }
    return GY_OK;
}

/* ---- */

static gy_status one_step_methods(run *r) {
    for (int64_t k = 0; k < r->steps; k++) {
        gy_status s = predict(r, r->at[k]);
        if (s != GY_OK) return s;
        if (r->s->kind == GY_SAMPLER_DDPM)
            ddpm(r, r->at[k], r->at[k + 1]);
        else
            ddim(r, r->at[k], r->at[k + 1]);
    }
    return GY_OK;
}

gy_status gy_sampler_run(const gy_sampler *s, double *x) {
    gy_status status = check(s);
    if (status != GY_OK) return status;
    run r = {.s = s, .n = s->n, .x = x};
    size_t n = (size_t)s->n, nodes = (size_t)s->steps + 1;
    node *at = gy_calloc(s->ctx, nodes, sizeof *at);
    double *times = gy_calloc(s->ctx, nodes, sizeof *times), *work = gy_calloc(s->ctx, n, 7 * sizeof *work);
    if (!at || !times || !work) {
        status = GY_ERR_NOMEM;
    } else {
        r.steps = gy_sampler_times(s, times);
        for (int64_t k = 0; k < r.steps; k++)
            at[k] = (node){times[k], gy_noise_alpha(s->noise, times[k]), gy_noise_sigma(s->noise, times[k])};
        double end = s->end_at_first ? 0.0 : -1.0;
        at[r.steps] = s->noise->kind == GY_NOISE_STRAIGHT || end < 0.0
                          ? (node){end, 1.0, 0.0}
                          : (node){end, gy_noise_alpha(s->noise, end), gy_noise_sigma(s->noise, end)};
        r.at = at;
        double **part[7] = {&r.out, &r.x0, &r.eps, &r.old[0], &r.old[1], &r.old[2], &r.saved};
        for (size_t i = 0; i < 7; i++) *part[i] = work + i * n;
        gy_rng_init(&r.rng, s->seed, "sampler.steps");
        switch (s->kind) {
        case GY_SAMPLER_PNDM: status = pndm(&r); break;
        case GY_SAMPLER_DPM: status = dpm(&r); break;
        case GY_SAMPLER_UNIPC: status = unipc(&r); break;
        case GY_SAMPLER_DDIM:
        case GY_SAMPLER_DDPM: status = one_step_methods(&r); break;
        }
    }
    gy_free(s->ctx, at);
    gy_free(s->ctx, times);
    gy_free(s->ctx, work);
    return status;
}
