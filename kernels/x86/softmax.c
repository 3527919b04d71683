/* Softmax, log-softmax, cross-entropy and their gradients, row by row along the last axis.
 *
 * Forward, three rows are under way at once (see below), so that each element is read from memory once and written
 * once; cross-entropy stores no softmax and takes long rows in segments that fit the first cache. Results too large for
 * the caches go past them, which saves reading what is overwritten. 8 bytes an element forward (cross-entropy 4), 12
 * backward; the exponential takes 6.5 of the 10.6 cycles a vector of 16, which is the limit inside the caches.
 * Measured on one thread of Zen 4, AVX-512 (gyrus bench softmax --threads 1): softmax of 256 x 256 5.4 elements a ns;
 * its gradient 84 GB/s in the second cache, 50 GB/s at 4096 x 1024; cross-entropy of 512 x 50257 24 GB/s. */
#include "lines.h"
#include "rows.h"

#include "core/ops/loss.h"

enum { GRAIN = 8192, MOST = 65536 /* elements a tile */, ROOM = 4096, EACH = 64, SEGMENT = 2048 };

typedef struct {
    const gy_kargs *k;
    int64_t rows, n, grain;
    bool past;      /* results go past the caches */
    double weights; /* cross_entropy_grad: sum of the class weights */
} job;

static void run(const gy_kargs *k, gy_shape s, gy_tile_fn fn, double weights) {
    int64_t n = s.dim[s.rank - 1], rows = n ? gy_shape_count(s) / n : 0, grain = rows * n / 16;
    grain = grain < GRAIN ? GRAIN : grain > MOST ? MOST : grain;
    job j = {k, rows, n, n >= grain ? 1 : grain / (n ? n : 1), false, weights};
    /* an operand of as many elements as the result, or two */
    j.past = line_past(k->out[0].data, n, (k->n_in > 1 ? 12 : 8) * rows * n);
    gy_par(k->pool, gy_tiles(rows, j.grain), fn, &j);
    _mm_sfence();
}

/* ---- forward: three rows at a time ----
 *
 * While row r is finished, the exponentials of row r + 1 are summed and the maximum of row r + 2 is found: reading,
 * arithmetic and writing overlap, and no row waits for sums across lanes. A stage without a row (NULL) does nothing. */

typedef enum { SOFTMAX, LOG_SOFTMAX, SUM_ONLY } result;

typedef struct {
    const float *found;           /* row whose maximum is taken */
    const float *x;               /* row whose exponentials are summed, */
    float *e, max;                /* times V_WEIGHT to e (SOFTMAX); its maximum */
    const float *from;            /* row that is finished: exponentials, or x (LOG_SOFTMAX), */
    float *y, scale_or_max, rest; /* times a scale, or less the maximum and the rest */
} stages;

typedef struct {
    double sum;
    float max;
} found;

GY_INLINE void turn(const bool finds, const bool sums, const bool ends, const result kind, const bool past,
                    const stages *s, int64_t i, int64_t left, vf *top, vf *acc) {
    if (finds) {
        line_call(s->found + i + 4096);
        *top = v_max(*top, line_keep(line_load(s->found + i, left), left, -INFINITY));
    }
    if (sums) {
        vf e = v_exp_weight(v_sub(line_load(s->x + i, left), v_set(s->max)));
        if (kind == SOFTMAX) line_store(s->e + i, e, left);
        *acc = v_add(*acc, line_keep(e, left, 0));
    }
    if (ends && kind != SUM_ONLY) {
        vf f = line_load(s->from + i, left), a = v_set(s->scale_or_max);
        vf y = kind == SOFTMAX ? v_mul(f, a) : v_sub(v_sub(f, a), v_set(s->rest));
        if (past)
            v_stream(s->y + i, y);
        else
            line_store(s->y + i, y, left);
    }
}
GY_INLINE found pass(const bool finds, const bool sums, const bool ends, const result kind, const bool past,
                     const stages *s, int64_t n) {
    const stages own = *s;
    vf top[2] = {v_set(-INFINITY), v_set(-INFINITY)};
    double sum = 0;
    for (int64_t block = 0; block < n; block += 64 * VL) {
        int64_t end = n < block + 64 * VL ? n : block + 64 * VL, i = block;
        vf acc[2] = {v_zero(), v_zero()};
        for (; i + 2 * VL <= end; i += 2 * VL) {
            turn(finds, sums, ends, kind, past, &own, i, VL, &top[0], &acc[0]);
            turn(finds, sums, ends, kind, past, &own, i + VL, VL, &top[1], &acc[1]);
        }
        for (; i < end; i += VL) turn(finds, sums, ends, kind, past, &own, i, end - i, &top[0], &acc[0]);
        sum += (double)v_sum(v_add(acc[0], acc[1]));
    }
    if (kind != SOFTMAX) sum *= 1 / V_WEIGHT; /* exact enough: one rounding of a double */
    return (found){sum, v_hmax(v_max(top[0], top[1]))};
}
/* The pass for the stages that have a row. */
GY_INLINE found pass_of(const result kind, const bool past, const stages *s, int64_t n) {
    if (s->found && s->x && s->from) return pass(true, true, true, kind, past, s, n);
    if (s->found && s->x) return pass(true, true, false, kind, past, s, n);
    if (s->x && s->from) return pass(false, true, true, kind, past, s, n);
    if (s->found) return pass(true, false, false, kind, past, s, n);
    if (s->x) return pass(false, true, false, kind, past, s, n);
    return pass(false, false, true, kind, past, s, n);
}
/* Rows [lo, hi): results to y, or (SUM_ONLY) maximum and sum of exponentials of row r to each[r - lo]. */
GY_INLINE void forward_rows(const result kind, const bool past, const job *j, int64_t lo, int64_t hi, found *each) {
    _Alignas(64) float room[2][ROOM];
    int64_t n = j->n;
    const float *x = j->k->in[0].data;
    float *y = j->k->out[0].data;
    stages s = {0};
    float max = 0; /* of row r - 1 */
    for (int64_t r = lo; r < hi + 2; r++) {
        const float *first = r < hi ? x + r * n : NULL, *second = r > lo && r <= hi ? x + (r - 1) * n : NULL;
        s.found = first;
        s.x = second;
        s.max = max;
        if (kind == SOFTMAX) s.e = past ? room[r & 1] : y + (r - 1) * n;
        found f = pass_of(kind, past, &s, n);
        if (second && kind == SUM_ONLY) each[r - 1 - lo] = (found){f.sum, max};
        s.from = !second || kind == SUM_ONLY ? NULL : kind == SOFTMAX ? s.e : s.x;
        s.y = second && kind != SUM_ONLY ? y + (r - 1) * n : NULL;
        s.scale_or_max = kind == SOFTMAX ? (float)(1 / f.sum) : max;
        if (second && kind == LOG_SOFTMAX) s.rest = (float)log(f.sum);
        max = f.max;
        if (r == hi && kind == SUM_ONLY) break;
    }
}
static void softmax_tile(void *arg, int64_t t, int worker) {
    (void)worker;
    const job *j = arg;
    int64_t lo, hi;
    gy_tile_range(j->rows, j->grain, t, &lo, &hi);
    if (j->past && j->n <= ROOM)
        forward_rows(SOFTMAX, true, j, lo, hi, NULL);
    else
        forward_rows(SOFTMAX, false, j, lo, hi, NULL);
}
static void log_softmax_tile(void *arg, int64_t t, int worker) {
    (void)worker;
    const job *j = arg;
    int64_t lo, hi;
    gy_tile_range(j->rows, j->grain, t, &lo, &hi);
    if (j->past)
        forward_rows(LOG_SOFTMAX, true, j, lo, hi, NULL);
    else
        forward_rows(LOG_SOFTMAX, false, j, lo, hi, NULL);
}

/* ---- backward ---- */

static void softmax_grad_tile(void *arg, int64_t t, int worker) {
    (void)worker;
    const job *j = arg;
    int64_t lo, hi, n = j->n;
    gy_tile_range(j->rows, j->grain, t, &lo, &hi);
    for (int64_t r = lo; r < hi; r++) {
        const float *ct = (const float *)j->k->in[0].data + r * n, *y = (const float *)j->k->in[1].data + r * n;
        float *dx = (float *)j->k->out[0].data + r * n;
        double dot = 0;
        LINE_SUM(dot, n, v_mul(line_load(ct + i, left), line_load(y + i, left)))
        vf d = v_set((float)dot);
        if (j->past)
            for (int64_t i = 0; i < n; i += VL) v_stream(dx + i, v_mul(v_load(y + i), v_sub(v_load(ct + i), d)));
        else
            LINE_EACH(n, line_store(dx + i, v_mul(line_load(y + i, left), v_sub(line_load(ct + i, left), d)), left););
    }
}
static void log_softmax_grad_tile(void *arg, int64_t t, int worker) {
    (void)worker;
    const job *j = arg;
    int64_t lo, hi, n = j->n;
    gy_tile_range(j->rows, j->grain, t, &lo, &hi);
    for (int64_t r = lo; r < hi; r++) {
        const float *ct = (const float *)j->k->in[0].data + r * n, *y = (const float *)j->k->in[1].data + r * n;
        float *dx = (float *)j->k->out[0].data + r * n;
        double sum = 0;
        LINE_SUM(sum, n, line_load(ct + i, left))
        vf s = v_set((float)sum);
        if (j->past)
            for (int64_t i = 0; i < n; i += VL) v_stream(dx + i, v_fnma(v_exp(v_load(y + i)), s, v_load(ct + i)));
        else
            LINE_EACH(n, line_store(dx + i, v_fnma(v_exp(line_load(y + i, left)), s, line_load(ct + i, left)), left););
    }
}

/* ---- cross-entropy ---- */

/* A long row by segments that fit the first cache, each with a maximum of its own. */
static found long_row(const float *x, int64_t n) {
    found all = {0, -INFINITY}, part = {0, 0};
    for (int64_t i = 0; i < n + SEGMENT; i += SEGMENT) {
        int64_t next = n - i < SEGMENT ? n - i : SEGMENT, last = i == 0 ? 0 : n - i + SEGMENT;
        stages s = {.found = x + i, .x = x + i - SEGMENT, .max = part.max == -INFINITY ? 0 : part.max};
        if (last > SEGMENT) last = SEGMENT;
        found f = {0, 0};
        if (next == SEGMENT && last == SEGMENT) {
            f = pass(true, true, false, SUM_ONLY, false, &s, SEGMENT);
        } else {
            if (last > 0) f.sum = pass(false, true, false, SUM_ONLY, false, &s, last).sum;
            if (next > 0) f.max = line_max(x + i, next);
        }
        if (last > 0 && part.max == -INFINITY) {
            all.sum += f.sum; /* 0, or NaN */
        } else if (last > 0) {
            float top = part.max > all.max ? part.max : all.max;
            all.sum = all.sum * exp((double)all.max - (double)top) + f.sum * exp((double)part.max - (double)top);
            all.max = top;
        }
        part.max = f.max;
    }
    if (all.max == -INFINITY) all.sum = NAN; /* as in a short row */
    return all;
}

/* in = (logits, target, weight) -> loss, lse, weight of the row. */
static void cross_entropy_tile(void *arg, int64_t t, int worker) {
    (void)worker;
    const job *j = arg;
    const gy_cross_entropy_attr *a = j->k->attr;
    const float *weight = j->k->in[2].data;
    const int64_t *target = j->k->in[1].data;
    float *loss = j->k->out[0].data, *lse = j->k->out[1].data, *row_weight = j->k->out[2].data;
    int64_t lo, hi, n = j->n;
    gy_tile_range(j->rows, j->grain, t, &lo, &hi);
    found each[EACH];
    for (int64_t r = lo; r < hi; r++) {
        const float *x = (const float *)j->k->in[0].data + r * n;
        found *f = &each[(r - lo) % EACH];
        if (n > 2 * SEGMENT)
            *f = long_row(x, n);
        else if (f == each)
            forward_rows(SUM_ONLY, false, j, r, r + EACH < hi ? r + EACH : hi, each);
        double log_sum = (double)f->max + log(f->sum), smooth = 0;
        lse[r] = (float)log_sum;
        loss[r] = row_weight[r] = 0;
        if (target[r] == a->ignore) continue;
        if (target[r] < 0 || target[r] >= n) {
            loss[r] = row_weight[r] = NAN;
            continue;
        }
        double w = weight ? (double)weight[target[r]] : 1;
        if (a->smoothing > 0) {
            vf l = v_set(lse[r]);
            LINE_SUM(smooth, n,
                     weight ? v_mul(line_load(weight + i, left), v_sub(l, line_load(x + i, left)))
                            : line_keep(v_sub(l, line_load(x + i, left)), left, 0))
        }
        loss[r] =
            (float)((1 - a->smoothing) * w * (log_sum - (double)x[target[r]]) + a->smoothing / (double)n * smooth);
        row_weight[r] = (float)w;
    }
}

/* in = (ct, logits, target, weight, lse) -> dlogits. */
static void cross_entropy_grad_tile(void *arg, int64_t t, int worker) {
    (void)worker;
    const job *j = arg;
    const gy_cross_entropy_attr *a = j->k->attr;
    const float *ct = j->k->in[0].data, *weight = j->k->in[3].data, *lse = j->k->in[4].data;
    const int64_t *target = j->k->in[2].data;
    int64_t lo, hi, n = j->n;
    gy_tile_range(j->rows, j->grain, t, &lo, &hi);
    double each = a->smoothing / (double)n; /* e/C */
    for (int64_t r = lo; r < hi; r++) {
        const float *x = (const float *)j->k->in[1].data + r * n;
        float *dx = (float *)j->k->out[0].data + r * n;
        bool ignored = target[r] == a->ignore, wrong = !ignored && (target[r] < 0 || target[r] >= n);
        if (ignored || wrong) {
            for (int64_t c = 0; c < n; c++) dx[c] = wrong ? NAN : 0.0f;
            continue;
        }
        double hit = (1 - a->smoothing) * (weight ? (double)weight[target[r]] : 1), c = (double)ct[r];
        vf p = v_set((float)(c * (hit + each * j->weights))), e = v_set((float)(c * each)), l = v_set(lse[r]);
        if (weight)
            LINE_EACH(n, vf q = v_exp(v_sub(line_load(x + i, left), l));
                      line_store(dx + i, v_fms(p, q, v_mul(e, line_load(weight + i, left))), left););
        else if (j->past)
            for (int64_t i = 0; i < n; i += VL) v_stream(dx + i, v_fms(p, v_exp(v_sub(v_load(x + i), l)), e));
        else
            LINE_EACH(n, line_store(dx + i, v_fms(p, v_exp(v_sub(line_load(x + i, left), l)), e), left););
        dx[target[r]] -= (float)(c * hit);
    }
}

void GY_ISAFN(x86_softmax)(const gy_kargs *k) {
    run(k, k->in[0].shape, softmax_tile, 0);
}
void GY_ISAFN(x86_log_softmax)(const gy_kargs *k) {
    run(k, k->in[0].shape, log_softmax_tile, 0);
}
void GY_ISAFN(x86_softmax_grad)(const gy_kargs *k) {
    run(k, k->in[0].shape, softmax_grad_tile, 0);
}
void GY_ISAFN(x86_log_softmax_grad)(const gy_kargs *k) {
    run(k, k->in[0].shape, log_softmax_grad_tile, 0);
}
void GY_ISAFN(x86_cross_entropy)(const gy_kargs *k) {
    run(k, k->in[0].shape, cross_entropy_tile, 0);
}
void GY_ISAFN(x86_cross_entropy_grad)(const gy_kargs *k) {
    const gy_shape *s = &k->in[1].shape;
    const float *weight = k->in[3].data;
    int64_t n = s->dim[s->rank - 1];
    double all = 0;
    for (int64_t c = 0; c < n; c++) all += weight ? (double)weight[c] : 1;
    run(k, *s, cross_entropy_grad_tile, all);
}
