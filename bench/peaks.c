/* What the machine can do at most, by the loops of probes.c: each runs on 1, 2, 4, ... and all threads of the pool,
 * each thread on memory of its own, and the best of several runs counts, for a peak is a limit. Should a thread have
 * missed all of them, the arithmetic of n threads stays far below n times that of one: then it is run again.
 *
 * The working sets: half of a thread's first and second level cache, half of the last level shared by the threads, and
 * four times the last level for memory. A copy counts the bytes read and written, and not the line that a plain store
 * fetches first; for sets beyond the caches, stores that bypass them are tried too and the faster counts. */
#include "probes.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

double bench_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Size of cpu0's data or unified cache of a level by sysfs, which knows what a virtual machine was given; 0: unknown.
 */
static double cache_bytes(int level) {
    for (int i = 0; i < 8; i++) {
        static const char *const items[] = {"level", "type", "size"};
        char path[96], text[3][32] = {"", "", ""};
        for (int k = 0; k < 3; k++) {
            snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/%s", i, items[k]);
            FILE *f = fopen(path, "r");
            if (f && !fgets(text[k], sizeof text[k], f)) text[k][0] = '\0';
            if (f) fclose(f);
        }
        if (text[0][0] != '0' + level || strncmp(text[1], "Instruction", 11) == 0) continue;
        return atof(text[2]) * (strchr(text[2], 'M') ? 1048576.0 : strchr(text[2], 'K') ? 1024.0 : 1.0);
    }
    return 0;
}

static void find_levels(double bytes[BENCH_LEVELS]) {
    for (int l = BENCH_L1; l <= BENCH_L3; l++) bytes[l] = cache_bytes(l + 1);
    /* sizes that hold nearly everywhere, where they are hidden */
    if (bytes[BENCH_L1] <= 0) bytes[BENCH_L1] = 32 << 10;
    if (bytes[BENCH_L2] <= bytes[BENCH_L1]) bytes[BENCH_L2] = 256 << 10;
    if (bytes[BENCH_L3] <= bytes[BENCH_L2]) bytes[BENCH_L3] = 8 * bytes[BENCH_L2];
    bytes[BENCH_DRAM] = INFINITY;
}

/* ---- arithmetic ---- */

typedef struct arithmetic {
    bench_arithmetic probe;
    int64_t rounds;
    volatile float result[64]; /* of tile mod 64: only to be written somewhere */
} arithmetic;

static void run_arithmetic(void *arg, int64_t tile, int worker) {
    (void)worker;
    arithmetic *a = arg;
    a->result[tile % 64] = a->probe.run(a->rounds);
}

/* `alone`: what one thread reaches; 0: not known. Threads that do not reach three quarters of as many times that were
 * not all running (a worker that sleeps when the tiles are handed out leaves them to the others): measured again. */
static double measure_arithmetic(gy_ctx *ctx, bench_unit unit, int threads, int tries, double alone) {
    enum { ROUNDS = 8 };
    arithmetic a = {.probe = bench_arithmetic_probe(unit, gy_ctx_isa_mask(ctx)), .rounds = 1000};
    double best = INFINITY;
    if (!a.probe.run) return 0;
    run_arithmetic(&a, 0, 0);
    double t0 = bench_now();
    run_arithmetic(&a, 0, 0);
    a.rounds = (int64_t)(1000 * fmin(1e4, fmax(1, 3e-3 / fmax(bench_now() - t0, 1e-7)))); /* about 3 ms */
    double work = a.probe.flops * (double)a.rounds * threads * 1e-9;
    for (int k = 0; k < ROUNDS; k++) {
        for (int i = 0; i < tries; i++) {
            t0 = bench_now();
            gy_par(gy_ctx_pool(ctx), threads, run_arithmetic, &a);
            best = fmin(best, bench_now() - t0);
        }
        if (threads == 1 || work / best >= 0.75 * threads * alone) break;
    }
    return work / best;
}

/* ---- bandwidth ---- */

typedef enum stream_kind { READ, COPY, COPY_PAST } stream_kind;

/* Tile t owns bytes [t slice, (t + 1) slice) of memory and goes over them `passes` times. */
typedef struct stream {
    bench_streams fn;
    stream_kind kind;
    char *memory;
    int64_t slice, passes;
    volatile uint64_t result[64];
} stream;

static void run_stream(void *arg, int64_t tile, int worker) {
    (void)worker;
    stream *s = arg;
    char *mine = s->memory + tile * s->slice;
    int64_t half = s->slice / 2;
    uint64_t seen = 0;
    for (int64_t k = 0; k < s->passes; k++) switch (s->kind) {
        case READ: seen |= s->fn.read(mine, s->slice); break;
        case COPY: s->fn.copy(mine + half, mine, half); break;
        case COPY_PAST: s->fn.copy_past(mine + half, mine, half); break;
        }
    s->result[tile % 64] = seen;
}

/* 1e9 bytes a second over a set of `bytes` in all. */
static double measure_stream(gy_ctx *ctx, stream *s, stream_kind kind, double bytes, int threads, int tries) {
    double best = INFINITY;
    s->kind = kind;
    s->slice = (int64_t)(bytes / threads) / 1024 * 1024;
    double moved = (double)(s->slice * threads);
    s->passes = (int64_t)fmax(1, 64e6 / moved);
    for (int i = 0; i < tries; i++) {
        double t0 = bench_now();
        gy_par(gy_ctx_pool(ctx), threads, run_stream, s);
        best = fmin(best, bench_now() - t0);
    }
    return moved * (double)s->passes / best * 1e-9;
}

static void measure(gy_ctx *ctx, stream *s, const bench_peaks *p, double memory, int tries, bench_peak *out) {
    *out = (bench_peak){.threads = out->threads};
    for (int u = 0; u < BENCH_UNITS; u++) {
        double alone = out->threads > 1 ? measure_arithmetic(ctx, (bench_unit)u, 1, tries, 0) : 0;
        out->gflops[u] = measure_arithmetic(ctx, (bench_unit)u, out->threads, tries, alone);
    }
    for (int l = 0; l < BENCH_LEVELS; l++) {
        double bytes = p->level_bytes[l] / 2 * (l <= BENCH_L2 ? out->threads : 1);
        if (l == BENCH_DRAM) bytes = memory;
        out->read[l] = measure_stream(ctx, s, READ, bytes, out->threads, tries);
        out->copy[l] = measure_stream(ctx, s, COPY, bytes, out->threads, tries);
        if (l == BENCH_DRAM && s->fn.copy_past)
            out->copy[l] = fmax(out->copy[l], measure_stream(ctx, s, COPY_PAST, bytes, out->threads, tries));
    }
}

gy_status bench_measure_peaks(gy_ctx *ctx, bool scaling, int tries, bench_peaks *out) {
    int threads = gy_pool_threads(gy_ctx_pool(ctx));
    *out = (bench_peaks){0};
    find_levels(out->level_bytes);
    double memory = fmin(fmax(4 * out->level_bytes[BENCH_L3], 64 << 20), 512 << 20);
    double most = fmax(memory, out->level_bytes[BENCH_L2] * threads);
    stream s = {.fn = bench_stream_probe(gy_ctx_isa_mask(ctx)), .memory = gy_malloc(ctx, (size_t)most)};
    if (!s.memory) return GY_ERR_NOMEM;
    memset(s.memory, 1, (size_t)most);
    for (int t = scaling ? 1 : threads; out->n < BENCH_COUNTS; t = 2 * t < threads ? 2 * t : threads) {
        if (out->n == BENCH_COUNTS - 1) t = threads;
        out->count[out->n].threads = t;
        measure(ctx, &s, out, memory, tries, &out->count[out->n++]);
        if (t == threads) break;
    }
    gy_free(ctx, s.memory);
    const bench_peak *all = bench_peak_all(out);
    out->gflops = all->gflops[BENCH_F32];
    out->gbps = all->copy[BENCH_DRAM];
    return GY_OK;
}

const bench_peak *bench_peak_all(const bench_peaks *p) {
    return &p->count[p->n - 1];
}

bench_level bench_level_of(const bench_peaks *p, double bytes) {
    int threads = bench_peak_all(p)->threads;
    if (bytes <= p->level_bytes[BENCH_L1] * threads) return BENCH_L1;
    if (bytes <= p->level_bytes[BENCH_L2] * threads) return BENCH_L2;
    return bytes <= p->level_bytes[BENCH_L3] ? BENCH_L3 : BENCH_DRAM;
}

const char *const bench_unit_names[BENCH_UNITS] = {"f32", "f64", "bf16", "int8"};
const char *const bench_level_names[BENCH_LEVELS] = {"L1", "L2", "L3", "DRAM"};
