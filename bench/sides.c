/* Timing in turns. The median says what a user gets, the minimum what the machine can do, the spread whether to
 * believe either. */
#include "sides.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The p-quantile of n sorted values, linear between neighbours. */
static double quantile(const double *t, int n, double p) {
    double at = p * (n - 1);
    int i = (int)at;
    return i + 1 < n ? t[i] + (at - i) * (t[i + 1] - t[i]) : t[n - 1];
}

/* Writes to every line of a memory larger than the caches, which pushes everything else out. */
static void empty_caches(const bench_timing *t) {
    volatile char *p = t->sweep;
    for (int64_t i = 0; i < t->sweep_bytes; i += 64) p[i]++;
}

/* Threads of the side that has just run look out for more work for some milliseconds (OpenMP's do), on the processors
 * that the other side needs. */
static void let_sleep(void) {
    nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
}

bool bench_time(const bench_side *side, int n, bench_timing t, bench_times *out) {
    enum { MIN = 3, MAX = 200, SIDES = 2 };
    double seconds[SIDES][MAX], once[SIDES], begin;
    int inner[SIDES], k = 0;
    for (int s = 0; s < n; s++) {
        if (!side[s].sample(side[s].self, 1, &once[s])) return false; /* first touch of memory, code, tables */
        if (once[s] < 0.2 * t.budget && !side[s].sample(side[s].self, 1, &once[s])) return false;
        inner[s] = t.cold ? 1 : (int)fmin(1000, fmax(1, 2e-4 / fmax(once[s], 1e-7)));
    }
    begin = bench_now();
    while (k < MAX && (k == 0 || bench_now() - begin < (k < MIN ? 4 : 1) * t.budget * n)) {
        for (int s = 0; s < n; s++) {
            double ignored;
            if (n > 1) let_sleep();
            if (t.cold)
                empty_caches(&t);
            else if (once[s] < 0.02 && !side[s].sample(side[s].self, 1, &ignored))
                return false;
            if (!side[s].sample(side[s].self, inner[s], &seconds[s][k])) return false;
        }
        k++;
    }
    for (int s = 0; s < n; s++) {
        qsort(seconds[s], (size_t)k, sizeof(double), ascending);
        double median = quantile(seconds[s], k, 0.5);
        out[s] = (bench_times){.median = median, .min = seconds[s][0], .repeats = k};
        out[s].spread = (quantile(seconds[s], k, 0.75) - quantile(seconds[s], k, 0.25)) / median;
    }
    return true;
}

double bench_difference(const gy_tensor *a, const gy_tensor *b) {
    double most = 0, scale = 0;
    int64_t n = gy_shape_count(b->shape);
    for (int64_t i = 0; i < n; i++) {
        double x = gy_tensor_get(a, i), y = gy_tensor_get(b, i);
        if (isnan(x) || isnan(y)) return NAN;
        most = fmax(most, fabs(x - y));
        scale = fmax(scale, fabs(y));
    }
    return scale > 0 ? most / scale : most;
}
