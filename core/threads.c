#define _GNU_SOURCE /* sched_getaffinity */
#include "threads.h"
#include "internal.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

/* One job at a time. Each thread owns a stretch of the tiles, the same stretch of every job with as many tiles, so that
 * what one step left in a core's cache is where the next step reads it; who is through with his own takes tiles of the
 * others. Which thread runs a tile is open, what the tile computes is not.
 *
 * A stretch is one word, `next` and `end`, and a tile is claimed by moving `next` on. A claim holds the job open, so
 * that fn and arg are read after it; the job ends when no tile is left, not when every thread has been seen: a worker
 * that sleeps, or that the system gives no time, holds nobody up unless it was stopped inside a tile.
 *
 * A worker waits for `epoch` to move: it spins a little (a step's kernels follow each other within microseconds), then
 * sleeps on the condition variable. */
typedef struct {
    _Alignas(64) atomic_ullong word; /* a cache line each */
} stretch;

struct gy_pool {
    int threads; /* workers including the caller */
    pthread_t *handles;
    int started;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    atomic_uint epoch;
    atomic_int sleepers;
    atomic_bool stop, arrived;
    gy_tile_fn fn;
    void *arg;
    int64_t first;     /* tile number 0 of the stretches is this one */
    stretch *stretch;  /* of thread 0..started */
    atomic_llong left; /* tiles not finished */
};

enum { SPIN = 4000, MOST = 1 << 30 /* tiles at once */ };
static _Thread_local bool inside_tile;

static inline void relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

static inline unsigned long long bounds(uint32_t next, uint32_t end) {
    return (unsigned long long)end << 32 | next;
}

/* Claims a tile of one stretch; -1: none is left. */
static int64_t claim(stretch *s) {
    unsigned long long w = atomic_load_explicit(&s->word, memory_order_relaxed);
    do {
        if ((uint32_t)w >= (uint32_t)(w >> 32)) return -1;
    } while (!atomic_compare_exchange_weak_explicit(&s->word, &w, w + 1, memory_order_acquire, memory_order_relaxed));
    return (int64_t)(uint32_t)w;
}

static void work(gy_pool *p, int worker) {
    int threads = p->started + 1;
    inside_tile = true;
    for (int i = 0; i < threads; i++) {
        stretch *s = &p->stretch[(worker + i) % threads];
        int64_t t, n = 0;
        for (; (t = claim(s)) >= 0; n++) p->fn(p->arg, p->first + t, worker);
        if (n) atomic_fetch_sub_explicit(&p->left, n, memory_order_release);
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
    atomic_store(&p->arrived, true); /* the creator waits: `arg` has been read */
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
    int64_t threads = p->started + 1;
    p->fn = fn;
    p->arg = arg;
    for (p->first = 0; p->first < n_tiles; p->first += MOST) {
        int64_t n = n_tiles - p->first < MOST ? n_tiles - p->first : MOST;
        atomic_store_explicit(&p->left, n, memory_order_relaxed);
        for (int64_t w = 0; w < threads; w++) {
            uint32_t lo = (uint32_t)gy_tiles(n * w, threads), hi = (uint32_t)gy_tiles(n * (w + 1), threads);
            atomic_store_explicit(&p->stretch[w].word, bounds(lo, hi), memory_order_release);
        }
        publish(p);
        work(p, 0);
        for (int i = 0; atomic_load_explicit(&p->left, memory_order_acquire) > 0; i++) {
            relax();
            if (i > SPIN) sched_yield();
        }
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
    p->stretch = gy_calloc(ctx, (size_t)threads, sizeof *p->stretch);
    if (!p->handles || !p->stretch) {
        gy_pool_free(ctx, p);
        return NULL;
    }
    for (int i = 1; i < threads; i++) {
        struct start s = {p, i};
        atomic_store(&p->arrived, false);
        if (pthread_create(&p->handles[p->started], NULL, thread_main, &s) != 0) break; /* fewer threads, same bits */
        while (!atomic_load(&p->arrived)) sched_yield();
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
    gy_free(ctx, p->stretch);
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
