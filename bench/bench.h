/* bench.h: how the machine, the kernels and their peers are timed.
 *
 * A benchmark is a small graph of one operator, compiled and run like any model, so that what is timed is what users
 * get: the kernel that dispatch chose, with the plan's threads. A peer is another library that computes the same from
 * the same inputs; its result is compared with ours before its time counts, and both are timed in turns (A B A B), so
 * that what the machine does meanwhile meets both. No peer is linked, and none is needed.
 *
 *   probes.c  loops that reach the machine's limits      suites.c  runs the cases
 *   peaks.c   measures them                              peers.c, onednn.c, child.c  the peers
 *   cases.c   the lists of shapes                        rows.c, page.c  JSON, comparison, HTML
 *   models.c  whole models                               peers/  the peers that are programs of their own */
#ifndef GY_BENCH_H
#define GY_BENCH_H

#include "../core/gyrus.h"

double bench_now(void); /* seconds, monotonic */

/* ---- the machine ---- */

typedef enum bench_unit { BENCH_F32, BENCH_F64, BENCH_BF16, BENCH_INT8, BENCH_UNITS } bench_unit;
typedef enum bench_level { BENCH_L1, BENCH_L2, BENCH_L3, BENCH_DRAM, BENCH_LEVELS } bench_level;
extern const char *const bench_unit_names[BENCH_UNITS];
extern const char *const bench_level_names[BENCH_LEVELS];

/* The most that a count of threads reached. */
typedef struct bench_peak {
    int threads;
    double gflops[BENCH_UNITS];                    /* multiply-adds are 2; 0: no such instruction in use */
    double read[BENCH_LEVELS], copy[BENCH_LEVELS]; /* 1e9 bytes a second; a copy counts both directions */
} bench_peak;

enum { BENCH_COUNTS = 10 };
typedef struct bench_peaks {
    double gflops, gbps;              /* in short: f32, and copying in main memory, with all threads */
    double level_bytes[BENCH_LEVELS]; /* L1 and L2 of one thread, L3 in all; DRAM infinite */
    int n;                            /* counts measured; the last is all threads of the context */
    bench_peak count[BENCH_COUNTS];
} bench_peaks;
/* With the context's instruction sets. `scaling`: for 1, 2, 4, ... threads, else for all threads alone. Each loop runs
 * `tries` times; 8 tries take about 0.6 s a count. */
gy_status bench_measure_peaks(gy_ctx *ctx, bool scaling, int tries, bench_peaks *out) GY_MUST_CHECK;
const bench_peak *bench_peak_all(const bench_peaks *p);
/* The innermost level that holds so many bytes, all threads together. */
bench_level bench_level_of(const bench_peaks *p, double bytes);

/* ---- rows ---- */

typedef struct bench_row {
    char kernel[48], shape[96], dtype[8]; /* "f32bf16": f32 operands in a plan of precision bf16 */
    char isa[16];                         /* tier of the kernel that ran */
    int threads, repeats;
    double seconds; /* median of the repeats */
    double seconds_min;
    double spread;             /* (third - first quartile) / median */
    double gflops, gbps;       /* the operator's stated work over the median */
    double intensity;          /* operations a byte: the place on the roofline */
    char bound[8];             /* what limits it there: "f32" (arithmetic), "L1" ... "DRAM" (bandwidth of that level) */
    double peak_fraction;      /* the time that the peaks allow / the median: max(flops / peak, bytes / bandwidth) */
    double bandwidth_fraction; /* bytes / bandwidth of the level / the median, whatever the bound: for streaming work
                                  whose stated operations (an exponential counts as many) are not its limit */
    char peer[64];             /* "" : none */
    double peer_seconds_min;
    double peer_seconds, ratio;             /* medians; ratio = peer_seconds / seconds: above 1, ours is faster */
    double memory_bytes, peer_memory_bytes; /* whole models: needed beside weights and optimizer state; 0: not known */
    double difference;                      /* largest |ours - peer's| / largest |peer's| */
} bench_row;

enum { BENCH_NAMED = 16 };
/* The rows of a run and what is needed to read them; also the content of a saved file. */
typedef struct bench_report {
    gy_ctx *ctx;
    char cpu[128], version[16], commit[32], date[16]; /* date: 2026-11-24, of the run's begin, UTC */
    int threads;
    bool cold;
    bench_peaks peaks;
    int64_t n, room;
    bench_row *row;
    int n_peers;
    struct {
        char name[32], version[160]; /* version "absent: why" for those that are not there */
    } peer[BENCH_NAMED];
} bench_report;
void bench_report_free(bench_report *r);
/* In the place of a row of the same work that has the same peer or none, or as a new one. */
gy_status bench_report_add(bench_report *r, const bench_row *row) GY_MUST_CHECK;
/* Names a peer and its version; the later of two entries of one name counts, unless it says that the peer is absent. */
void bench_report_peer(bench_report *r, const char *name, const char *version);
/* Same kernel, shape, type and threads. */
bool bench_same_work(const bench_row *a, const bench_row *b);
/* The rows as a JSON array, the contract of `gyrus bench --json`; text is gy_malloc'd. */
gy_status bench_rows_json(const bench_report *r, char **text, size_t *n) GY_MUST_CHECK;
/* The whole report as a JSON object: version, commit, date, cpu, threads, caches, peaks, peers, rows; numbers of rows
 * with five digits, a row a line. */
gy_status bench_save(const bench_report *r, const char *path) GY_MUST_CHECK;
/* Reads what bench_save wrote, or an array of rows alone. */
gy_status bench_load(gy_ctx *ctx, const char *path, bench_report *out) GY_MUST_CHECK;
/* One HTML page: peaks, rooflines, peers with versions and how they compare, a table a suite. */
gy_status bench_page(const bench_report *r, const char *path, const char *command) GY_MUST_CHECK;

/* The rows of `now` whose kernel, shape, dtype and threads `before` has too, and how much longer they took. A row that
 * stands several times (once a peer) counts with its fastest. */
typedef struct bench_change {
    const bench_row *before, *now;
    double slower; /* now / before - 1 of the fastest repeats */
} bench_change;
/* change has room for now->n; returns how many. */
int64_t bench_compare(const bench_report *before, const bench_report *now, bench_change *change);

/* ---- running ---- */

typedef struct bench_options {
    bool quick;               /* the short list, few repeats */
    bool cold;                /* caches emptied before each run */
    bool profile;             /* whole models: note the time by kernel */
    bool peers;               /* time every peer that is found */
    const char *peer;         /* only peers with this text in their name; NULL: all */
    double budget;            /* seconds for each side of a row; 0: 0.15 (0.02 if quick) */
    const char *match;        /* only rows with this text in "kernel shape dtype"; NULL: all */
    const bench_report *done; /* an interrupted run whose rows are kept and not measured again; NULL: none */
} bench_options;

/* Whether `done` has the row (with `peer`: against such a peer). Its last work does not count: it may lack peers. */
bool bench_measured(const bench_options *o, const bench_row *row);

extern const char *const bench_suites[]; /* NULL-terminated */
/* The suite of a row, by its kernel. */
const char *bench_suite_of(const bench_row *row);

/* Measures peaks and rows of the suites named (NULL-terminated; an empty list: all), calling `sink` after each row and
 * `note` for what is left out. GY_ERR_USAGE for an unknown suite. The report must be all zero; free it in every case.
 */
gy_status bench_run(gy_ctx *ctx, const char *const *suites, bench_options options, bench_report *out,
                    void (*sink)(void *user, const bench_report *r, const bench_row *row),
                    void (*note)(void *user, const char *text), void *user) GY_MUST_CHECK;

#endif
