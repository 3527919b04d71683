/* The emulator: a device whose memory is the host's and whose blocks run on the context's pool, a thread as a fiber.
 *
 * It proves what a kernel does with indices, barriers and bounds. Shared memory is full of NaN when a block begins, and
 * ends at a page that may not be touched; so do buffers of plans that ask for it (core/offsets.c). Barriers that not
 * all threads reach, operations that not all lanes of a warp reach, and touched guard pages end the launch with a
 * message that names kernel, block and thread. */
#define _GNU_SOURCE
#include "../../../core/device.h"
#include "../../../core/group.h"
#include "emu.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
    WARP = 32,
    MOST_THREADS = 1024,
    STACK = 64 << 10,
    SHARED_LIMIT = 227 << 10, /* of sm_90; sm_80 has 163 KiB */
    SHARED_ROOM = 228 << 10,
    PAGE = 4096
};

_Thread_local gy_emu_thread *gy_emu_self;

/* What one thread of the host needs to run blocks. */
typedef struct worker {
    gy_emu_thread thread[MOST_THREADS];
    gy_emu_block block;
    gy_fiber scheduler;
    void *stack[MOST_THREADS]; /* [0, free_stacks) lie idle */
    int stacks, free_stacks;
    unsigned char *shared; /* SHARED_ROOM bytes, then a page that may not be touched */
    void *signal_stack;
    const gy_launch *launch;
    uint64_t random;
    sigjmp_buf fault;
    char message[384];
} worker;

typedef struct emulator {
    gy_device device;
    gy_emu_order order;
    uint64_t seed;
    worker **worker;
    int workers;
    pthread_mutex_t lock; /* of the device's message */
} emulator;

static _Thread_local worker *at_work; /* for the signal handler */

/* ---- what kernels call ---- */

static void park(gy_emu_wait wait, int line) {
    gy_emu_thread *t = gy_emu_self;
    t->wait = wait;
    t->line = line;
    gy_fiber_switch(&t->fiber, &at_work->scheduler);
    gy_emu_self = t;
}

void gy_emu_barrier(int line) {
    park(GY_EMU_BARRIER, line);
}

uint64_t gy_emu_shuffle(uint64_t v, int lane, int line) {
    gy_emu_thread *t = gy_emu_self;
    if (lane < 0 || lane >= WARP) gy_emu_fault("line %d: shuffle from lane %d", line, lane);
    t->value = v;
    t->lane = lane;
    park(GY_EMU_SHUFFLE, line);
    return t->value;
}

uint32_t gy_emu_ballot(bool v, int line) {
    gy_emu_self->value = v;
    park(GY_EMU_BALLOT, line);
    return (uint32_t)gy_emu_self->value;
}

void gy_emu_syncwarp(int line) {
    park(GY_EMU_SYNCWARP, line);
}

void gy_emu_together(gy_emu_operation operation, void *operands, int line) {
    gy_emu_self->operation = operation;
    gy_emu_self->operands = operands;
    park(GY_EMU_TOGETHER, line);
}

void gy_emu_group(gy_emu_operation operation, int line) {
    gy_emu_self->operation = operation;
    park(GY_EMU_GROUP, line);
}

void gy_emu_mbarrier_wait(uint64_t *barrier, int parity, int line) {
    gy_emu_self->barrier = barrier;
    gy_emu_self->parity = parity;
    if (!gy_emu_mbarrier_done(gy_emu_self)) park(GY_EMU_MBARRIER, line);
}

void gy_emu_fault(const char *fmt, ...) {
    worker *w = at_work;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(w->message, sizeof w->message, fmt, ap);
    va_end(ap);
    gy_fiber_leaving(&w->scheduler);
    siglongjmp(w->fault, 1);
}

void gy_emu_copy_async(void *shared, const void *global, int bytes, bool valid) {
    gy_emu_thread *t = gy_emu_self;
    if (t->n_copies == GY_EMU_COPIES) gy_emu_fault("more than %d asynchronous copies under way", GY_EMU_COPIES);
    if ((uintptr_t)shared % (unsigned)bytes || (valid && (uintptr_t)global % (unsigned)bytes))
        gy_emu_fault("an asynchronous copy of %d bytes is not aligned to as many", bytes);
    t->copy[t->n_copies].to = shared;
    t->copy[t->n_copies].from = valid ? global : NULL;
    t->copy[t->n_copies].bytes = bytes;
    t->copy[t->n_copies++].group = t->group;
}

void gy_cp_async_commit(void) {
    gy_emu_self->group++;
}

void gy_cp_async_wait(int pending) {
    gy_emu_thread *t = gy_emu_self;
    int kept = 0;
    for (int i = 0; i < t->n_copies; i++) {
        if (t->copy[i].group >= t->group - pending) {
            t->copy[kept++] = t->copy[i];
        } else if (t->copy[i].from) {
            memcpy(t->copy[i].to, t->copy[i].from, (size_t)t->copy[i].bytes);
        } else {
            memset(t->copy[i].to, 0, (size_t)t->copy[i].bytes);
        }
    }
    t->n_copies = kept;
}

/* ---- a block ---- */

static void entry(void) {
    gy_emu_thread *t = gy_emu_self;
    worker *w = at_work;
    gy_fiber_arrived(&t->fiber, &w->scheduler);
    w->launch->emulate(w->launch->args);
    t->wait = GY_EMU_DONE;
    gy_fiber_switch(&t->fiber, &w->scheduler);
}

/* A stack for the next thread; nobody returns from the functions that were left on it. */
static void take_stack(worker *w, void *stack) {
    gy_fiber_forget(stack, STACK);
    w->stack[w->free_stacks++] = stack;
}

static void resume(worker *w, gy_emu_thread *t) {
    if (!t->begun) {
        if (!w->free_stacks) {
            void *s = mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            if (s == MAP_FAILED) gy_emu_fault("out of memory for stacks");
            w->stack[w->free_stacks++] = s;
            w->stacks++;
        }
        gy_fiber_make(&t->fiber, w->stack[--w->free_stacks], STACK, entry);
        t->begun = true;
    }
    gy_emu_self = t;
    gy_fiber_switch(&w->scheduler, &t->fiber);
    if (t->wait == GY_EMU_DONE) take_stack(w, t->fiber.stack);
}

static const char *wait_text(gy_emu_wait w) {
    static const char *const text[] = {
        "runs",     "__syncthreads", "an operation of its warpgroup", "an mbarrier", "a shuffle",
        "a ballot", "__syncwarp",    "an operation of its warp",      "its end"};
    return text[w];
}

/* Two threads that ought to be at one place. */
static _Noreturn void diverged(const char *what, const gy_emu_thread *a, const gy_emu_thread *b) {
    gy_emu_fault("%s diverges: thread %u is at %s (line %d), thread %u at %s (line %d)", what, a->index.x,
                 wait_text(a->wait), a->line, b->index.x, wait_text(b->wait), b->line);
}

/* All lanes are here: their operation happens. */
static void operate(gy_emu_thread *lane) {
    uint64_t out[WARP];
    gy_emu_operation together = lane[0].wait == GY_EMU_TOGETHER ? lane[0].operation : NULL;
    if (together) { /* its faults are lane 0's */
        gy_emu_self = lane;
        together(lane);
    }
    uint32_t votes = 0;
    for (int i = 0; i < WARP; i++) {
        votes |= (uint32_t)(lane[i].value & 1) << i;
        out[i] = lane[i].wait == GY_EMU_SHUFFLE ? lane[lane[i].lane].value : 0;
    }
    for (int i = 0; i < WARP; i++) {
        if (lane[i].wait == GY_EMU_SHUFFLE) lane[i].value = out[i];
        if (lane[i].wait == GY_EMU_BALLOT) lane[i].value = votes;
        lane[i].wait = GY_EMU_READY;
    }
}

static int ordered(const worker *w, const emulator *e, int i, int n) {
    if (e->order == GY_EMU_REVERSE) return n - 1 - i;
    if (e->order == GY_EMU_RANDOM &&
        n > 1) { /* an odd stride through a power of two visits each once; others are skipped */
        int size = 1;
        while (size < n) size *= 2;
        return (int)((w->random + (uint64_t)i * (w->random >> 32 | 1)) % (uint64_t)size);
    }
    return i;
}
static int visits(const emulator *e, int n) {
    int size = 1;
    while (e->order == GY_EMU_RANDOM && size < n) size *= 2;
    return e->order == GY_EMU_RANDOM ? size : n;
}

/* Runs a warp until none of its lanes can go on. True if any did. */
static bool run_warp(worker *w, const emulator *e, gy_emu_thread *lane) {
    for (bool any = false;; any = true) {
        bool ran = false;
        for (int i = 0; i < visits(e, WARP); i++) {
            gy_emu_thread *t = &lane[ordered(w, e, i, WARP)];
            if (t->wait != GY_EMU_READY) continue;
            resume(w, t);
            ran = true;
        }
        if (!ran) return any;
        const gy_emu_thread *in_warp = NULL, *elsewhere = NULL;
        for (int i = 0; i < WARP; i++) {
            bool op = lane[i].wait >= GY_EMU_SHUFFLE && lane[i].wait < GY_EMU_DONE;
            if (op && in_warp && (lane[i].wait != in_warp->wait || lane[i].line != in_warp->line))
                diverged("the warp", in_warp, &lane[i]);
            if (op) in_warp = &lane[i];
            if (!op) elsewhere = &lane[i];
        }
        if (in_warp && elsewhere) diverged("the warp", in_warp, elsewhere);
        if (in_warp) operate(lane);
    }
}

/* Operations of warpgroups that are complete. True if there was any. */
static bool run_groups(worker *w) {
    bool any = false;
    for (int g = 0; g + GY_EMU_WARPGROUP <= w->launch->threads; g += GY_EMU_WARPGROUP) {
        gy_emu_thread *t = &w->thread[g];
        int n = 0;
        for (int i = 0; i < GY_EMU_WARPGROUP; i++) n += t[i].wait == GY_EMU_GROUP;
        if (n < GY_EMU_WARPGROUP) continue;
        for (int i = 1; i < GY_EMU_WARPGROUP; i++)
            if (t[i].line != t->line || t[i].operation != t->operation) diverged("the warpgroup", t, &t[i]);
        gy_emu_self = t;
        t->operation(t);
        for (int i = 0; i < GY_EMU_WARPGROUP; i++) t[i].wait = GY_EMU_READY;
        any = true;
    }
    return any;
}

/* Threads whose phase of a barrier object has ended may go on. */
static void wake(gy_emu_thread *lane) {
    for (int i = 0; i < WARP; i++)
        if (lane[i].wait == GY_EMU_MBARRIER) {
            gy_emu_self = &lane[i];
            if (gy_emu_mbarrier_done(&lane[i])) lane[i].wait = GY_EMU_READY;
        }
}

static void run_threads(worker *w, const emulator *e) {
    int threads = w->launch->threads, warps = threads / WARP;
    for (;;) {
        bool ran = false;
        for (int i = 0; i < visits(e, warps); i++) {
            int warp = ordered(w, e, i, warps);
            if (warp >= warps) continue;
            wake(&w->thread[warp * WARP]);
            ran = run_warp(w, e, &w->thread[warp * WARP]) || ran;
        }
        const gy_emu_thread *waits = NULL, *done = NULL, *elsewhere = NULL;
        for (int i = 0; i < threads; i++) {
            const gy_emu_thread *t = &w->thread[i];
            if (t->wait == GY_EMU_DONE) {
                done = t;
            } else if (t->wait != GY_EMU_BARRIER) {
                elsewhere = t;
            } else {
                if (waits && waits->line != t->line) diverged("the barrier", waits, t);
                waits = t;
            }
        }
        if (elsewhere) {
            if (run_groups(w) || ran) continue;
            gy_emu_self = &w->thread[elsewhere->index.x];
            gy_emu_fault("waits for ever at %s (line %d)", wait_text(elsewhere->wait), elsewhere->line);
        }
        if (!waits) return;
        if (done) diverged("the barrier", waits, done);
        if (!ran) gy_emu_fault("no thread can go on");
        for (int i = 0; i < threads; i++) w->thread[i].wait = GY_EMU_READY;
    }
}

static bool run_block(worker *w, emulator *e, const gy_launch *l, gy_emu_index at) {
    size_t shared = (l->shared + 15) / 16 * 16;
    w->launch = l;
    w->block = (gy_emu_block){at,
                              {(unsigned)l->grid[0], (unsigned)l->grid[1], (unsigned)l->grid[2]},
                              {(unsigned)l->threads, 1, 1},
                              w->shared + SHARED_ROOM - shared,
                              l->shared,
                              l->kernel,
                              {{NULL, NULL, NULL, 0, 0}},
                              0};
    memset(w->block.shared, 0xff, shared);
    for (int i = 0; i < l->threads; i++) {
        gy_emu_thread *t = &w->thread[i];
        t->index = (gy_emu_index){(unsigned)i, 0, 0};
        t->block = &w->block;
        t->wait = GY_EMU_READY;
        t->begun = false;
        t->n_copies = t->group = t->n_products = t->products_group = 0;
    }
    at_work = w;
    bool ok = sigsetjmp(w->fault, 1) == 0;
    if (ok) {
        run_threads(w, e);
    } else {
        gy_fiber_left();
        unsigned thread = gy_emu_self ? gy_emu_self->index.x : 0;
        pthread_mutex_lock(&e->lock);
        gy_device_fail(&e->device, "kernel %s, block (%u, %u, %u), thread %u: %s", l->kernel, at.x, at.y, at.z, thread,
                       w->message);
        pthread_mutex_unlock(&e->lock);
        for (int i = 0; i < l->threads; i++) /* stacks of threads that stopped half-way */
            if (w->thread[i].begun && w->thread[i].wait != GY_EMU_DONE) take_stack(w, w->thread[i].fiber.stack);
    }
    gy_emu_self = NULL;
    at_work = NULL;
    return ok;
}

/* ---- touched guard pages ---- */

static struct sigaction previous; /* the process has one handler; it passes on what is not the emulator's */

static void on_fault(int sig, siginfo_t *info, void *context) {
    worker *w = at_work;
    if (!w || !gy_emu_self) {
        if (previous.sa_flags & SA_SIGINFO) {
            previous.sa_sigaction(sig, info, context);
        } else if (previous.sa_handler != SIG_DFL && previous.sa_handler != SIG_IGN) {
            previous.sa_handler(sig);
        } else {
            signal(sig, SIG_DFL); /* returns to the same instruction, which now ends the process */
        }
        return;
    }
    const char *p = info->si_addr;
    snprintf(w->message, sizeof w->message, "touches memory that is not its own (%s)",
             p >= (char *)w->shared + SHARED_ROOM && p < (char *)w->shared + SHARED_ROOM + PAGE
                 ? "past the end of shared memory"
                 : "past the end of a buffer, or at no valid address");
    gy_fiber_leaving(&w->scheduler);
    siglongjmp(w->fault, 1);
}

/* Before each launch: a test's runner, say, may have set its own handler since. */
static void install_handler(void) {
    struct sigaction now, a = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
    if (sigaction(SIGSEGV, NULL, &now) == 0 && now.sa_flags & SA_SIGINFO && now.sa_sigaction == on_fault) return;
    sigemptyset(&a.sa_mask);
    sigaction(SIGSEGV, &a, &previous);
}

/* A thread of the host needs a stack of its own to handle a fault that happens on a fiber's. */
static void use_signal_stack(worker *w) {
    static _Thread_local bool has;
    if (has) return;
    stack_t s = {.ss_sp = w->signal_stack, .ss_size = STACK}, old;
    if (sigaltstack(NULL, &old) == 0 && !(old.ss_flags & SS_DISABLE) && old.ss_size >= STACK / 4) {
        has = true; /* the sanitizer's */
        return;
    }
    has = sigaltstack(&s, NULL) == 0;
}

/* ---- the device ---- */

static emulator *of(gy_device *d) {
    return (emulator *)(void *)d; /* its first member */
}

static worker *worker_new(void) {
    worker *w = calloc(1, sizeof *w);
    if (!w) return NULL;
    w->signal_stack = malloc(STACK);
    w->shared = mmap(NULL, SHARED_ROOM + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (!w->signal_stack || w->shared == MAP_FAILED || mprotect(w->shared + SHARED_ROOM, PAGE, PROT_NONE) != 0) {
        free(w->signal_stack);
        free(w);
        return NULL;
    }
    return w;
}

static void worker_free(worker *w) {
    if (!w) return;
    for (int i = 0; i < w->free_stacks; i++) munmap(w->stack[i], STACK);
    munmap(w->shared, SHARED_ROOM + PAGE);
    free(w->signal_stack);
    free(w);
}

typedef struct grid_job {
    emulator *e;
    const gy_launch *l;
    int64_t blocks;
} grid_job;

static void block_tile(void *arg, int64_t tile, int index) {
    const grid_job *j = arg;
    worker *w = j->e->worker[index];
    if (*j->e->device.error) return;
    use_signal_stack(w);
    w->random = j->e->seed + (uint64_t)tile * 0x9e3779b97f4a7c15u;
    w->random ^= w->random >> 29;
    int64_t b = j->e->order == GY_EMU_FORWARD ? tile : j->blocks - 1 - tile, gx = j->l->grid[0], gy = j->l->grid[1];
    run_block(w, j->e, j->l, (gy_emu_index){(unsigned)(b % gx), (unsigned)(b / gx % gy), (unsigned)(b / gx / gy)});
}

static void emu_launch(gy_device *d, const gy_launch *l) {
    emulator *e = of(d);
    if (*d->error) return;
    if (l->shared > d->shared_limit) {
        gy_device_fail(d, "kernel %s asks for %zu bytes of shared memory, %zu can be had", l->kernel, l->shared,
                       d->shared_limit);
        return;
    }
    install_handler();
    grid_job j = {e, l, l->grid[0] * l->grid[1] * l->grid[2]};
    gy_par(gy_ctx_pool(d->ctx), j.blocks, block_tile, &j);
}

/* Each allocation has its pages, so that guards can be set in it; how long it is stands in front. */
static void *emu_alloc(gy_device *d, size_t bytes) {
    (void)d;
    size_t room = PAGE + (bytes + PAGE - 1) / PAGE * PAGE + PAGE;
    char *p = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) return NULL;
    memcpy(p, &room, sizeof room);
    mprotect(p + room - PAGE, PAGE, PROT_NONE);
    return p + PAGE;
}
static void emu_free(gy_device *d, void *p) {
    (void)d;
    if (!p) return;
    size_t room;
    memcpy(&room, (char *)p - PAGE, sizeof room);
    munmap((char *)p - PAGE, room);
}
static void emu_guard(gy_device *d, void *p, size_t bytes) {
    (void)d;
    mprotect(p, bytes, PROT_NONE);
}
static void *host_alloc(gy_device *d, size_t bytes) {
    return gy_malloc(d->ctx, bytes);
}
static void host_free(gy_device *d, void *p) {
    gy_free(d->ctx, p);
}
static void emu_copy(gy_device *d, void *dst, const void *src, size_t bytes) {
    if (!*d->error && bytes) memcpy(dst, src, bytes);
}
static void emu_fill(gy_device *d, void *dst, int byte, size_t bytes) {
    if (!*d->error && bytes) memset(dst, byte, bytes);
}
static void emu_sum(gy_device *d, gy_dtype dtype, void *data, int64_t n) {
    if (!*d->error && gy_group_sum(gy_ctx_group(d->ctx), dtype, data, n) != GY_OK)
        gy_device_fail(d, "%s", gy_error(d->ctx));
}
/* mma.c */
void gy_emu_tile_map(void *to, const void *base, int64_t rows, int64_t columns, int64_t row_bytes, int box_rows,
                     int box_columns);
static bool emu_tile_map(gy_device *d, void *map, const void *base, int64_t rows, int64_t columns, int64_t row_bytes,
                         int box_rows, int box_columns) {
    bool ok = box_columns == 64 && box_rows <= 256 && row_bytes % 16 == 0 && (uintptr_t)base % 16 == 0;
    if (!ok) gy_device_fail(d, "a matrix that cannot be copied in tiles");
    gy_emu_tile_map(map, base, rows, columns, row_bytes, box_rows, box_columns);
    return ok;
}
static void emu_wait(gy_device *d) {
    (void)d;
}

typedef struct recording {
    void (*enqueue)(void *arg);
    void *arg;
} recording;
static void *emu_record(gy_device *d, void (*enqueue)(void *arg), void *arg) {
    recording *r = gy_malloc(d->ctx, sizeof *r);
    if (r) *r = (recording){enqueue, arg};
    return r;
}
static void emu_play(gy_device *d, void *arg) {
    (void)d;
    const recording *r = arg;
    r->enqueue(r->arg);
}

static void emu_close(gy_device *d) {
    emulator *e = of(d);
    for (int i = 0; i < e->workers; i++) worker_free(e->worker[i]);
    pthread_mutex_destroy(&e->lock);
    free(e->worker);
    free(e);
}

void gy_emu_schedule(gy_device *d, gy_emu_order order, uint64_t seed) {
    of(d)->order = order;
    of(d)->seed = seed;
}

static bool read_schedule(emulator *e) {
    const char *s = getenv("GYRUS_EMU_SCHEDULE");
    if (!s || !*s || strcmp(s, "forward") == 0) return true;
    if (strcmp(s, "reverse") == 0) {
        e->order = GY_EMU_REVERSE;
        return true;
    }
    if (strncmp(s, "random:", 7) != 0) return false;
    e->order = GY_EMU_RANDOM;
    e->seed = strtoull(s + 7, NULL, 10);
    return true;
}

gy_device *gy_emulator_open(gy_ctx *ctx) {
    emulator *e = calloc(1, sizeof *e);
    int workers = gy_pool_threads(gy_ctx_pool(ctx));
    if (e) e->worker = calloc((size_t)workers, sizeof(worker *));
    if (!e || !e->worker || sysconf(_SC_PAGESIZE) != PAGE) {
        if (e) free(e->worker);
        free(e);
        gy_fail(ctx, GY_ERR_NOMEM, "emu: out of memory, or pages that are not of %d bytes", PAGE);
        return NULL;
    }
    pthread_mutex_init(&e->lock, NULL);
    const char *sm = getenv("GYRUS_EMU_SM"); /* 80: kernels choose their twins for older chips */
    e->device = (gy_device){.name = "emu",
                            .sm = sm && strcmp(sm, "80") == 0 ? 80 : 90,
                            .processors = 4,
                            .ctx = ctx,
                            .alloc = emu_alloc,
                            .free = emu_free,
                            .guard = emu_guard,
                            .alloc_host = host_alloc,
                            .free_host = host_free,
                            .alloc_shared = host_alloc,
                            .free_shared = host_free,
                            .copy = emu_copy,
                            .fill = emu_fill,
                            .launch = emu_launch,
                            .tile_map = emu_tile_map,
                            .wait = emu_wait,
                            .sum_over_ranks = emu_sum,
                            .join = emu_wait,
                            .record = emu_record,
                            .play = emu_play,
                            .forget = host_free,
                            .close = emu_close};
    e->device.shared_limit = e->device.sm == 80 ? 163 << 10 : SHARED_LIMIT;
    snprintf(e->device.description, sizeof e->device.description, "emulator of sm_%d on %d threads", e->device.sm,
             workers);
    bool ok = read_schedule(e);
    if (!ok) gy_fail(ctx, GY_ERR_USAGE, "GYRUS_EMU_SCHEDULE: expected forward, reverse or random:SEED");
    for (; ok && e->workers < workers; e->workers++)
        if (!(e->worker[e->workers] = worker_new())) {
            gy_fail(ctx, GY_ERR_NOMEM, "emu: out of memory");
            ok = false;
            break;
        }
    if (!ok) {
        emu_close(&e->device);
        return NULL;
    }
    return &e->device;
}
