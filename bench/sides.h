/* sides.h: timing one or several implementations of the same work in turns, and the contract of a peer. */
#ifndef GY_BENCH_SIDES_H
#define GY_BENCH_SIDES_H

#include "cases.h"

/* One implementation, ready to run. `sample` does the work `inner` times and adds the seconds of one; false: it failed
 * (and says no more). */
typedef struct bench_side {
    bool (*sample)(void *self, int inner, double *seconds);
    void *self;
} bench_side;

typedef struct bench_times {
    double median, min, spread; /* seconds; spread: (third - first quartile) / median */
    int repeats;
} bench_times;

typedef struct bench_timing {
    double budget; /* seconds for each side */
    bool cold;     /* empty the caches before each run */
    void *sweep;   /* cold: memory of sweep_bytes to walk through */
    int64_t sweep_bytes;
} bench_timing;

/* Times n sides (at most 2) in turns. Warm: an untimed run before each sample, and runs shorter than 0.2 ms are
 * repeated inside a sample. False if a side failed. */
bool bench_time(const bench_side *side, int n, bench_timing t, bench_times *out);

/* What a peer is given: the case, our inputs (filled) and our outputs (computed). */
typedef struct bench_task {
    const bench_case *c;
    int threads;
    int64_t n_in, n_out;
    const char *in_name[BENCH_INPUTS];
    gy_tensor in[BENCH_INPUTS], out[BENCH_INPUTS];
    gy_tensor constant; /* the second operand of a product, where the plan holds it; else none */
    bool rounded;       /* ours rounds f32 operands to bf16: a peer may take them in bf16 */
} bench_task;

/* A library or a program that may be there. All functions get the peer itself. */
typedef struct bench_peer bench_peer;
struct bench_peer {
    const char *name;
    char version[160];                                     /* "absent: why" when open failed */
    bool (*open)(bench_peer *p, gy_ctx *ctx, int threads); /* fills version */
    void (*close)(bench_peer *p);
    /* Makes ready what the task asks; false: it offers no such thing. */
    bool (*prepare)(bench_peer *p, const bench_task *t);
    bool (*sample)(void *self, int inner, double *seconds);
    /* After a sample: the largest |ours - peer's| / largest |peer's| over all outputs; NaN if it has none. */
    double (*difference)(bench_peer *p, const bench_task *t);
    void (*done)(bench_peer *p); /* after each successful prepare */
    gy_ctx *ctx;
    void *state;   /* the peer's own */
    double memory; /* bytes that the task needs beside weights and optimizer state, if the peer says so */
    int variant;   /* of peers that share their functions */
    bool there;
};

/* All peers that exist for Gyrus, in a table that ends with name NULL. bench_peers_open opens them (only: those with
 * this text in their name). */
enum { BENCH_PEERS = 6 };
typedef struct bench_peers {
    bench_peer peer[BENCH_PEERS + 1];
} bench_peers;
void bench_peers_open(bench_peers *p, gy_ctx *ctx, int threads, const char *only);
void bench_peers_close(bench_peers *p);

/* The tables' rows; each file fills in its own. */
bench_peer bench_peer_blas(int variant); /* 0 OpenBLAS, 1 BLIS */
bench_peer bench_peer_onednn(void);
/* Programs in a child process: PyTorch eager and compiled, and what is compiled from peers/NAME_rows.c. */
enum {
    BENCH_EAGER,
    BENCH_COMPILE,
    BENCH_GGML,
    BENCH_MODELS_EAGER, /* the first of those that run whole models */
    BENCH_MODELS_COMPILE,
    BENCH_LLAMA,
    BENCH_LLMC,
    BENCH_SDCPP,
    BENCH_CHILDREN
};
bench_peer bench_peer_child(int variant);
/* Whether it is worth starting for this work. */
bool bench_child_offers(int variant, const char *kernel);

/* Opens the first library of a NULL-terminated list, or the one that the environment variable names; NULL with the
 * reason in `why`. */
void *bench_dlopen(const char *variable, const char *const *names, char why[160]);
/* dlsym into a function pointer: ISO C has no cast between the two. */
bool bench_symbol(void *library, const char *name, void *function_pointer);

/* The best tier among a plan's steps of operator `op` (GY_OP_NONE: of all steps). */
const char *bench_plan_tier(const gy_plan *p, gy_op_id op);

/* The largest |a - b| / largest |b|, of arrays of the same float type; NaN where an element is NaN. */
double bench_difference(const gy_tensor *a, const gy_tensor *b);

#endif
