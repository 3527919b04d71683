/* Peers: the table, and the two that speak CBLAS.
 *
 * A batched product is one cblas call a matrix, as a user of CBLAS would write it. */
#define _GNU_SOURCE
#include "sides.h"

#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void *bench_dlopen(const char *variable, const char *const *names, char why[160]) {
    const char *forced = getenv(variable);
    if (forced && *forced) {
        void *l = dlopen(forced, RTLD_NOW | RTLD_LOCAL);
        if (!l) snprintf(why, 160, "absent: %s=%.120s cannot be loaded", variable, forced);
        return l;
    }
    for (int i = 0; names[i]; i++) {
        void *l = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
        if (l) return l;
    }
    snprintf(why, 160, "absent: no %s (%s names another file)", names[0], variable);
    return NULL;
}

bool bench_symbol(void *library, const char *name, void *function_pointer) {
    void *p = dlsym(library, name);
    memcpy(function_pointer, &p, sizeof p);
    return p != NULL;
}

/* ---- CBLAS ---- */

enum { ROW_MAJOR = 101, NO_TRANS = 111, TRANS = 112 };

typedef void (*sgemm_fn)(int order, int ta, int tb, int m, int n, int k, float alpha, const float *a, int lda,
                         const float *b, int ldb, float beta, float *c, int ldc);
typedef void (*dgemm_fn)(int order, int ta, int tb, int m, int n, int k, double alpha, const double *a, int lda,
                         const double *b, int ldb, double beta, double *c, int ldc);

typedef struct blas {
    void *library;
    sgemm_fn sgemm;
    dgemm_fn dgemm;
    int m, n, k, batch, ta, tb;
    bool wide; /* f64 */
    const void *a, *b;
    gy_tensor c;
} blas;

static void version_of_openblas(bench_peer *p, void *library, const char *prefix, int threads) {
    char symbol[64];
    char *(*config)(void) = NULL;
    void (*set)(int) = NULL;
    snprintf(symbol, sizeof symbol, "%sopenblas_get_config", prefix);
    snprintf(p->version, sizeof p->version, "%s", bench_symbol(library, symbol, &config) ? config() : "OpenBLAS");
    snprintf(symbol, sizeof symbol, "%sopenblas_set_num_threads", prefix);
    if (bench_symbol(library, symbol, &set)) set(threads);
}

static void version_of_blis(bench_peer *p, void *library, int threads) {
    const char *(*text)(void) = NULL;
    const char *(*arch_name)(int) = NULL;
    int (*arch)(void) = NULL;
    void (*set)(int64_t) = NULL;
    snprintf(p->version, sizeof p->version, "BLIS %s %s",
             bench_symbol(library, "bli_info_get_version_str", &text) ? text() : "",
             bench_symbol(library, "bli_arch_query_id", &arch) && bench_symbol(library, "bli_arch_string", &arch_name)
                 ? arch_name(arch())
                 : "");
    if (bench_symbol(library, "bli_thread_set_num_threads", &set)) set(threads);
}

static bool blas_open(bench_peer *p, gy_ctx *ctx, int threads) {
    static const char *const openblas[] = {"libopenblas.so.0", "libopenblas.so", NULL};
    static const char *const blis[] = {"libblis.so.4", "libblis.so.3", "libblis.so", NULL};
    const char *prefix = "";
    blas *s = gy_calloc(ctx, 1, sizeof *s);
    p->ctx = ctx;
    p->state = s;
    if (!s) return false;
    s->library = p->variant == 0 ? bench_dlopen("GYRUS_OPENBLAS", openblas, p->version)
                                 : bench_dlopen("GYRUS_BLIS", blis, p->version);
    if (!s->library) return false;
    if (!bench_symbol(s->library, "cblas_sgemm", &s->sgemm) || !bench_symbol(s->library, "cblas_dgemm", &s->dgemm)) {
        prefix = "scipy_"; /* the build that NumPy's and SciPy's packages carry */
        if (!bench_symbol(s->library, "scipy_cblas_sgemm", &s->sgemm) ||
            !bench_symbol(s->library, "scipy_cblas_dgemm", &s->dgemm)) {
            snprintf(p->version, sizeof p->version, "absent: the library has no cblas_sgemm and cblas_dgemm");
            return false;
        }
    }
    if (p->variant == 0)
        version_of_openblas(p, s->library, prefix, threads);
    else
        version_of_blis(p, s->library, threads);
    return true;
}

/* The library stays loaded: its threads may still be running. */
static void blas_close(bench_peer *p) {
    gy_free(p->ctx, p->state);
    p->state = NULL;
}

static bool blas_prepare(bench_peer *p, const bench_task *t) {
    blas *s = p->state;
    const bench_case *c = t->c;
    const char *name = strncmp(c->name, "matmul", 6) == 0    ? c->name + 6
                       : strncmp(c->name, "batched", 7) == 0 ? c->name + 7
                       : t->constant.data                    ? c->name + 6
                                                             : NULL;
    gy_dtype dtype = t->in[0].dtype;
    if (!name || (dtype != GY_F32 && dtype != GY_F64) || t->rounded) return false;
    s->m = (int)c->d[0];
    s->n = (int)c->d[1];
    s->k = (int)c->d[2];
    s->batch = c->d[3] ? (int)c->d[3] : 1;
    s->ta = strcmp(name, "_tn") == 0 || strcmp(name, "_tt") == 0 ? TRANS : NO_TRANS;
    s->tb = strcmp(name, "_nt") == 0 || strcmp(name, "_tt") == 0 ? TRANS : NO_TRANS;
    s->wide = dtype == GY_F64;
    s->a = t->in[0].data;
    s->b = t->constant.data ? t->constant.data : t->in[1].data;
    return gy_tensor_new(p->ctx, &s->c, dtype, t->out[0].shape) == GY_OK;
}

static void multiply(const blas *s, int64_t i) {
    int64_t m = s->m, n = s->n, k = s->k;
    int lda = s->ta == TRANS ? s->m : s->k, ldb = s->tb == TRANS ? s->k : s->n;
    if (s->wide)
        s->dgemm(ROW_MAJOR, s->ta, s->tb, s->m, s->n, s->k, 1, (const double *)s->a + i * m * k, lda,
                 (const double *)s->b + i * k * n, ldb, 0, (double *)s->c.data + i * m * n, s->n);
    else
        s->sgemm(ROW_MAJOR, s->ta, s->tb, s->m, s->n, s->k, 1, (const float *)s->a + i * m * k, lda,
                 (const float *)s->b + i * k * n, ldb, 0, (float *)s->c.data + i * m * n, s->n);
}

static bool blas_sample(void *self, int inner, double *seconds) {
    const blas *s = ((bench_peer *)self)->state;
    double t0 = bench_now();
    for (int r = 0; r < inner; r++)
        for (int64_t i = 0; i < s->batch; i++) multiply(s, i);
    *seconds = (bench_now() - t0) / inner;
    return true;
}

static double blas_difference(bench_peer *p, const bench_task *t) {
    const blas *s = p->state;
    return bench_difference(&t->out[0], &s->c);
}

static void blas_done(bench_peer *p) {
    blas *s = p->state;
    gy_tensor_free(p->ctx, &s->c);
}

bench_peer bench_peer_blas(int variant) {
    return (bench_peer){.name = variant == 0 ? "OpenBLAS" : "BLIS",
                        .open = blas_open,
                        .close = blas_close,
                        .prepare = blas_prepare,
                        .sample = blas_sample,
                        .difference = blas_difference,
                        .done = blas_done,
                        .variant = variant};
}

/* ---- the table ---- */

void bench_peers_open(bench_peers *p, gy_ctx *ctx, int threads, const char *only) {
    *p = (bench_peers){{bench_peer_blas(0), bench_peer_blas(1), bench_peer_onednn(), bench_peer_child(BENCH_EAGER),
                        bench_peer_child(BENCH_COMPILE), bench_peer_child(BENCH_GGML)}};
    for (bench_peer *q = p->peer; q->name; q++) {
        if (only && !strstr(q->name, only)) continue;
        q->there = q->open(q, ctx, threads);
        if (!q->there && !q->version[0]) snprintf(q->version, sizeof q->version, "absent: %.140s", gy_error(ctx));
    }
}

void bench_peers_close(bench_peers *p) {
    for (bench_peer *q = p->peer; q->name; q++) q->close(q);
}
