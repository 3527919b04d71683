/* bench.h: how kernels and the machine are timed.
 *
 * A benchmark is a small graph of one operator, compiled and run like any model, so that what is timed is what users
 * get: the kernel that dispatch chose, with the plan's threads. */
#ifndef GY_BENCH_H
#define GY_BENCH_H

#include "../core/gyrus.h"

/* What this machine can do at most with the context's threads and instruction set, measured. */
enum { BENCH_SETS = 4 };
typedef struct bench_peaks {
    double gflops; /* f32 fused multiply-adds (2 operations each) from registers; plain C: multiply and add */
    double gbps;   /* main memory: a = b + s c, 3 arrays moved, in 1e9 bytes a second */
    /* the same over growing working sets, from the inner caches to main memory */
    struct {
        double bytes, gbps;
    } set[BENCH_SETS];
} bench_peaks;
/* The bandwidth that work over so many bytes can have: that of the smallest measured set that holds them. */
double bench_bandwidth(const bench_peaks *p, double bytes);
/* About 0.3 s. */
gy_status bench_measure_peaks(gy_ctx *ctx, bench_peaks *out) GY_MUST_CHECK;

typedef struct bench_row {
    char kernel[48], shape[96], dtype[8];
    const char *isa; /* tier of the kernel that ran */
    int threads;
    double seconds; /* median of the repeats */
    double seconds_min;
    double gflops, gbps;  /* the operator's stated work over the median */
    double peak_fraction; /* the time that the peaks allow / the median: max(flops / peak, bytes / bandwidth);
                              above 1 where reading alone is faster than the triad, or caches hold more than assumed */
    int repeats;
} bench_row;

/* Warm-up, then runs for about `budget` seconds (5 to 1000 repeats); fills the times of *row. */
gy_status bench_time_plan(gy_plan *p, double budget, bench_row *row) GY_MUST_CHECK;

/* Calls `sink` for each row of a suite ("matmul", ...; NULL: all). GY_ERR_USAGE for an unknown suite. */
gy_status bench_run(gy_ctx *ctx, const char *suite, const bench_peaks *peaks,
                    void (*sink)(void *user, const bench_row *row), void *user) GY_MUST_CHECK;
extern const char *const bench_suites[]; /* NULL-terminated */

#endif
