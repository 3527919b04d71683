#define _GNU_SOURCE /* sched_getaffinity */
#include "threads.h"
#include "internal.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

/* One job at a time. A worker waits for `epoch` to move: it spins a little (a step's kernels follow
 * each other within microseconds), then sleeps on the condition variable. Tiles are handed out by an
 * atomic counter; which worker takes a tile is open, what the tile computes is not. */
struct gy_pool {
    int threads; /* workers including the caller */
    pthread_t *handles;
    int started;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    atomic_uint epoch;
    atomic_int sleepers, active;
    atomic_bool stop;
    atomic_llong next;
    int64_t n_tiles;
    gy_tile_fn fn;
    void *arg;
};

enum { SPIN = 4000 };
static _Thread_local bool inside_tile;

static inline void relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

static void work(gy_pool *p, int worker) {
    int64_t n = p->n_tiles;
    gy_tile_fn fn = p->fn;
    void *arg = p->arg;
    inside_tile = true;
    for (;;) {
        int64_t t = atomic_fetch_add_explicit(&p->next, 1, memory_order_relaxed);
        if (t >= n) break;
        fn(arg, t, worker);
    }
    inside_tile = false;
}

struct start {
    gy_pool *pool;
    int worker;
};

static void *thread_main(void *arg) {
    struct start s = *(struct start *)arg;
    gy_pool *p = s.pool;
    unsigned seen = 0;
    atomic_fetch_add(&p->active, -1); /* the creator waits: `arg` has been read */
    for (;;) {
        for (int i = 0; i < SPIN && atomic_load_explicit(&p->epoch, memory_order_acquire) == seen; i++) relax();
        if (atomic_load_explicit(&p->epoch, memory_order_acquire) == seen) {
            pthread_mutex_lock(&p->lock);
            atomic_fetch_add(&p->sleepers, 1);
            while (atomic_load(&p->epoch) == seen) pthread_cond_wait(&p->wake, &p->lock);
            atomic_fetch_add(&p->sleepers, -1);
            pthread_mutex_unlock(&p->lock);
        }
        seen = atomic_load_explicit(&p->epoch, memory_order_acquire);
        if (atomic_load(&p->stop)) return NULL;
        work(p, s.worker);
        atomic_fetch_add_explicit(&p->active, -1, memory_order_release);
    }
}

static void publish(gy_pool *p) {
    atomic_fetch_add_explicit(&p->epoch, 1, memory_order_seq_cst);
    if (atomic_load_explicit(&p->sleepers, memory_order_seq_cst) > 0) {
        pthread_mutex_lock(&p->lock);
        pthread_cond_broadcast(&p->wake);
        pthread_mutex_unlock(&p->lock);
    }
}

void gy_par(gy_pool *p, int64_t n_tiles, gy_tile_fn fn, void *arg) {
    if (n_tiles <= 0) return;
    if (!p || p->started == 0 || n_tiles == 1 || inside_tile) {
        for (int64_t t = 0; t < n_tiles; t++) fn(arg, t, 0);
        return;
    }
    p->fn = fn;
    p->arg = arg;
    p->n_tiles = n_tiles;
    atomic_store_explicit(&p->next, 0, memory_order_relaxed);
    atomic_store_explicit(&p->active, p->started, memory_order_relaxed);
    publish(p);
    work(p, 0);
    for (int i = 0; atomic_load_explicit(&p->active, memory_order_acquire) > 0; i++) {
        relax();
        if (i > SPIN) sched_yield();
    }
}

int gy_pool_threads(const gy_pool *p) {
    return p ? p->started + 1 : 1;
}

gy_pool *gy_pool_new(gy_ctx *ctx, int threads) {
    gy_pool *p = gy_calloc(ctx, 1, sizeof *p);
    if (!p) return NULL;
    if (threads < 1) threads = 1;
    p->threads = threads;
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->wake, NULL);
    p->handles = gy_calloc(ctx, (size_t)threads, sizeof *p->handles);
    if (!p->handles) {
        gy_pool_free(ctx, p);
        return NULL;
    }
    for (int i = 1; i < threads; i++) {
        struct start s = {p, i};
        atomic_store(&p->active, 1);
        if (pthread_create(&p->handles[p->started], NULL, thread_main, &s) != 0) break; /* fewer threads, same bits */
        while (atomic_load(&p->active) > 0) sched_yield();
        p->started++;
    }
    return p;
}

void gy_pool_free(gy_ctx *ctx, gy_pool *p) {
    if (!p) return;
    atomic_store(&p->stop, true);
    publish(p);
    for (int i = 0; i < p->started; i++) pthread_join(p->handles[i], NULL);
    pthread_mutex_destroy(&p->lock);
    pthread_cond_destroy(&p->wake);
    gy_free(ctx, p->handles);
    gy_free(ctx, p);
}

/* cgroup v2 states "quota period" in cpu.max ("max" when unlimited). */
static int cgroup_limit(void) {
    FILE *f = fopen("/sys/fs/cgroup/cpu.max", "r");
    if (!f) return 1 << 20;
    long long quota, period;
    int n = fscanf(f, "%lld %lld", &quota, &period);
    fclose(f);
    if (n != 2 || quota <= 0 || period <= 0) return 1 << 20;
    long long cpus = (quota + period - 1) / period;
    return cpus < 1 ? 1 : cpus > (1 << 20) ? 1 << 20 : (int)cpus;
}

int gy_cpu_budget(void) {
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    int limit = cgroup_limit();
    n = n < limit ? n : limit;
    return n < 1 ? 1 : n;
}
