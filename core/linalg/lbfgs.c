#include "lbfgs.h"
#include "inner.h"

/* A trial along the search direction: step length, value and slope there. */
struct trial {
    double step, value, slope;
};

struct search {
    int64_t n;
    const double *from, *dir;
    double *x, *grad; /* the point and gradient of the last trial */
    gy_lbfgs_fn fn;
    void *user;
    int64_t evaluations;
    gy_status status;
};

static const double ARMIJO = 1e-4, CURVATURE = 0.9; /* c1 and c2 of (3.7), the usual pair for quasi-Newton */
enum { MAX_TRIALS = 40 };

static struct trial evaluate(struct search *s, double step) {
    struct trial t = {step, 0, 0};
    for (int64_t i = 0; i < s->n; i++) s->x[i] = s->from[i] + step * s->dir[i];
    s->status = s->fn(s->user, s->x, &t.value, s->grad);
    s->evaluations++;
    t.slope = gy_la_dot(s->n, s->grad, s->dir);
    if (!isfinite(t.value) || !isfinite(t.slope)) t.value = INFINITY, t.slope = INFINITY;
    return t;
}

/* The minimiser of the cubic through both ends (3.59), kept away from them; the middle if there is none. */
static double between(struct trial a, struct trial b) {
    double lo = fmin(a.step, b.step), hi = fmax(a.step, b.step), mid = 0.5 * (lo + hi), margin = 0.1 * (hi - lo);
    if (!isfinite(a.value) || !isfinite(b.value)) return mid;
    double d1 = a.slope + b.slope - 3 * (a.value - b.value) / (a.step - b.step), sq = d1 * d1 - a.slope * b.slope;
    if (!(sq >= 0)) return mid;
    double d2 = copysign(sqrt(sq), b.step - a.step);
    double t = b.step - (b.step - a.step) * ((b.slope + d2 - d1) / (b.slope - a.slope + 2 * d2));
    return isfinite(t) ? fmin(fmax(t, lo + margin), hi - margin) : mid;
}

/* Algorithms 3.5 and 3.6. True: *out meets the strong Wolfe conditions, or at least lowers the value, and x, grad
 * belong to it. */
static bool line_search(struct search *s, struct trial start, double first, struct trial *out) {
    struct trial lo = start, hi = start, t = start;
    bool bracketed = false;
    double step = first;
    for (int i = 0; i < MAX_TRIALS; i++) {
        t = evaluate(s, step);
        if (s->status) return false;
        if (t.value > start.value + ARMIJO * t.step * start.slope || t.value >= lo.value) {
            hi = t;
            bracketed = true;
        } else {
            if (fabs(t.slope) <= -CURVATURE * start.slope) {
                *out = t;
                return true;
            }
            if (bracketed ? t.slope * (hi.step - lo.step) >= 0 : t.slope >= 0) {
                hi = lo;
                bracketed = true;
            }
            lo = t;
        }
        step = bracketed ? between(lo, hi) : 2 * t.step;
        if (bracketed && fabs(hi.step - lo.step) <= 1e-16 * fmax(lo.step, hi.step)) break;
    }
    if (!(lo.step > 0 && lo.value < start.value)) return false;
    if (t.step != lo.step) {
        t = evaluate(s, lo.step);
        if (s->status) return false;
    }
    *out = t;
    return true;
}

static double max_abs(int64_t n, const double *x) {
    double top = 0;
    for (int64_t i = 0; i < n; i++) top = isnan(x[i]) ? INFINITY : fmax(top, fabs(x[i]));
    return top;
}

const char *gy_lbfgs_stop_name(gy_lbfgs_stop s) {
    static const char *const names[] = {"gradient", "value", "iterations", "line search"};
    return (unsigned)s < 4 ? names[s] : "?";
}

/* The last `count` steps and gradient changes, as a ring. */
struct memory {
    int64_t n, room, count, next;
    double *steps, *changes, *rho, *a;
};

static void remember(struct memory *m, const double *x, const double *old_x, const double *g, const double *old_g) {
    double *s = m->steps + m->next * m->n, *y = m->changes + m->next * m->n;
    for (int64_t i = 0; i < m->n; i++) {
        s[i] = x[i] - old_x[i];
        y[i] = g[i] - old_g[i];
    }
    double sy = gy_la_dot(m->n, s, y);
    if (!(sy > DBL_EPSILON * gy_la_dot(m->n, y, y))) return; /* would spoil positive definiteness */
    m->rho[m->next] = 1 / sy;
    m->next = (m->next + 1) % m->room;
    if (m->count < m->room) m->count++;
}

/* dir = -H grad: algorithm 7.4, with H's initial scale of (7.20). */
static void direction(struct memory *m, const double *grad, double *dir) {
    int64_t n = m->n;
    for (int64_t i = 0; i < n; i++) dir[i] = -grad[i];
    for (int64_t k = 1; k <= m->count; k++) {
        int64_t j = (m->next - k + m->room) % m->room;
        m->a[j] = m->rho[j] * gy_la_dot(n, m->steps + j * n, dir);
        gy_la_axpy(n, -m->a[j], m->changes + j * n, dir);
    }
    if (m->count > 0) {
        int64_t j = (m->next - 1 + m->room) % m->room;
        const double *y = m->changes + j * n;
        double scale = 1 / (m->rho[j] * gy_la_dot(n, y, y));
        for (int64_t i = 0; i < n; i++) dir[i] *= scale;
    }
    for (int64_t k = m->count; k >= 1; k--) {
        int64_t j = (m->next - k + m->room) % m->room;
        double b = m->rho[j] * gy_la_dot(n, m->changes + j * n, dir);
        gy_la_axpy(n, m->a[j] - b, m->steps + j * n, dir);
    }
}

gy_status gy_lbfgs(gy_ctx *ctx, int64_t n, double *x, gy_lbfgs_fn fn, void *user, gy_lbfgs_args args,
                   gy_lbfgs_result *result) {
    if (n < 1 || args.max_iter < 0 || args.history < 0 || !(args.grad_tol >= 0) || !(args.value_tol >= 0))
        return gy_fail(ctx, GY_ERR_USAGE, "lbfgs: n must be >= 1 and every option >= 0");
    int64_t max_iter = args.max_iter ? args.max_iter : 200, room = args.history ? args.history : 10;
    double grad_tol = args.grad_tol > 0 ? args.grad_tol : 1e-8, value_tol = args.value_tol > 0 ? args.value_tol : 1e-15;
    gy_status status = GY_ERR_NOMEM;
    double *pairs = NULL, *small = NULL;
    double *vecs = gy_la_new(ctx, 4, n);
    if (!vecs || !(pairs = gy_la_new(ctx, 2 * room, n)) || !(small = gy_la_new(ctx, 2, room))) goto out;
    double *grad = vecs, *dir = grad + n, *new_x = dir + n, *new_grad = new_x + n;
    struct memory mem = {n, room, 0, 0, pairs, pairs + room * n, small, small + room};
    struct search s = {n, x, dir, new_x, new_grad, fn, user, 1, GY_OK};
    gy_lbfgs_result r = {.stop = GY_LBFGS_MAX_ITER};
    if ((status = fn(user, x, &r.value, grad))) goto out;
    r.max_grad = max_abs(n, grad);
    if (!isfinite(r.value) || !isfinite(r.max_grad)) {
        status = gy_fail(ctx, GY_ERR_NUMERIC, "lbfgs: at the start the value is %g and the largest gradient %g",
                         r.value, r.max_grad);
        goto out;
    }
    for (;;) {
        if (r.max_grad <= grad_tol) {
            r.stop = GY_LBFGS_GRADIENT;
            break;
        }
        if (r.iterations >= max_iter) break;
        direction(&mem, grad, dir);
        struct trial start = {0, r.value, gy_la_dot(n, grad, dir)}, got;
        /* Without curvature yet: a first step of length at most 1. */
        double first = mem.count ? 1 : fmin(1, 1 / gy_la_norm2(n, grad, 1));
        bool found = start.slope < 0 && line_search(&s, start, first, &got);
        if ((status = s.status)) goto out;
        if (!found && mem.count > 0) { /* once more along the gradient */
            mem.count = 0;
            continue;
        }
        if (!found) {
            r.stop = GY_LBFGS_LINE_SEARCH;
            break;
        }
        remember(&mem, new_x, x, new_grad, grad);
        memcpy(x, new_x, (size_t)n * sizeof *x);
        memcpy(grad, new_grad, (size_t)n * sizeof *x);
        r.iterations++;
        r.max_grad = max_abs(n, grad);
        double drop = r.value - got.value;
        r.value = got.value;
        if (r.max_grad > grad_tol && drop <= value_tol * fmax(1, fabs(r.value))) {
            r.stop = GY_LBFGS_VALUE;
            break;
        }
    }
    r.evaluations = s.evaluations;
    if (result) *result = r;
    status = GY_OK;
out:
    gy_free(ctx, small);
    gy_free(ctx, pairs);
    gy_free(ctx, vecs);
    return status;
}
