/* emu.h: what a kernel sees when the C compiler compiles it: the names of CUDA, carried out by the emulator.
 *
 * Each thread of a block is a fiber. A thread runs until it meets a barrier or an operation of its warp; a warp's
 * operation happens when all 32 lanes have come to the same one, at the same line. Warps run greedily, one until it can
 * go no further, in an order that the schedule gives: a missing barrier then shows as another result in another order.
 */
#ifndef GY_EMU_H
#define GY_EMU_H

#include "../../../core/base.h"
#include "fiber.h"

typedef struct gy_emu_index {
    unsigned x, y, z;
} gy_emu_index;

enum {
    GY_EMU_COPIES = 64,   /* asynchronous copies of a thread that may be under way */
    GY_EMU_TILES = 64,    /* of a block's tiles */
    GY_EMU_PRODUCTS = 16, /* asynchronous products of a warpgroup */
    GY_EMU_WARPGROUP = 128
};

typedef struct gy_emu_block {
    gy_emu_index index, grid, threads;
    unsigned char *shared;
    size_t shared_bytes;
    const char *kernel;
    struct { /* copies of tiles under way; done when somebody waits on their barrier object */
        const void *map;
        void *to;
        uint64_t *barrier;
        int column, row;
    } tile[GY_EMU_TILES];
    int n_tiles;
} gy_emu_block;

/* What a thread waits for. */
typedef enum gy_emu_wait {
    GY_EMU_READY = 0,
    GY_EMU_BARRIER,  /* all threads of the block */
    GY_EMU_GROUP,    /* the 128 threads of its warpgroup */
    GY_EMU_MBARRIER, /* a phase of a barrier object in shared memory */
    GY_EMU_SHUFFLE,  /* from here on: all lanes of the warp */
    GY_EMU_BALLOT,
    GY_EMU_SYNCWARP,
    GY_EMU_TOGETHER, /* an operation of mma.c */
    GY_EMU_DONE
} gy_emu_wait;

typedef struct gy_emu_thread gy_emu_thread;
/* What the lanes of a warp (or the threads of a warpgroup) do together once all have come; they lie in an array. */
typedef void (*gy_emu_operation)(gy_emu_thread *lane);

struct gy_emu_thread {
    gy_emu_index index;
    gy_emu_block *block;
    gy_emu_wait wait;
    int line; /* of what it waits at */
    bool begun;
    uint64_t value; /* handed to, then taken from the warp's operation */
    int lane;       /* whose value a shuffle asks for */
    gy_fiber fiber;
    struct {
        void *to;
        const void *from; /* NULL: zeros */
        int bytes, group;
    } copy[GY_EMU_COPIES];
    int n_copies, group;
    gy_emu_operation operation;
    void *operands; /* of the operation; the thread's own */
    uint64_t *barrier;
    int parity;
    struct {
        float *d;
        uint64_t a, b;
        int accumulate, group;
    } product[GY_EMU_PRODUCTS];
    int n_products, products_group, products_pending;
};

/* The thread that runs now. Per OS thread, and NULL outside kernels. */
extern _Thread_local gy_emu_thread *gy_emu_self;

#define threadIdx       (gy_emu_self->index)
#define blockIdx        (gy_emu_self->block->index)
#define blockDim        (gy_emu_self->block->threads)
#define gridDim         (gy_emu_self->block->grid)
#define GY_SHARED(type) ((type *)(void *)gy_emu_self->block->shared)

#define __syncthreads()      gy_emu_barrier(__LINE__)
#define gy_shfl_f32(v, lane) gy_emu_shuffle_f32(v, lane, __LINE__)
#define gy_shfl_f64(v, lane) gy_emu_shuffle_f64(v, lane, __LINE__)
#define gy_shfl_i32(v, lane) ((int)gy_emu_shuffle((uint64_t)(int64_t)(v), lane, __LINE__))
#define gy_shfl_i64(v, lane) ((int64_t)gy_emu_shuffle((uint64_t)(v), lane, __LINE__))
#define gy_ballot(v)         gy_emu_ballot(v, __LINE__)
#define gy_syncwarp()        gy_emu_syncwarp(__LINE__)

/* The calling thread waits; `operation` happens when its warp (its warpgroup) is complete. */
void gy_emu_together(gy_emu_operation operation, void *operands, int line);
void gy_emu_group(gy_emu_operation operation, int line);
void gy_emu_mbarrier_wait(uint64_t *barrier, int parity, int line);
/* Carries out what is under way towards t's barrier object; has the phase that t waits for ended? (mma.c) */
bool gy_emu_mbarrier_done(gy_emu_thread *t);

void gy_emu_barrier(int line);
uint64_t gy_emu_shuffle(uint64_t v, int lane, int line);
uint32_t gy_emu_ballot(bool v, int line);
void gy_emu_syncwarp(int line);
/* The kernel's fault: reported with its block and thread; does not return. */
_Noreturn void gy_emu_fault(const char *fmt, ...) GY_PRINTF(1, 2);

static inline float gy_emu_shuffle_f32(float v, int lane, int line) {
    union {
        float f;
        uint32_t u;
    } b;
    b.f = v;
    b.u = (uint32_t)gy_emu_shuffle(b.u, lane, line);
    return b.f;
}
static inline double gy_emu_shuffle_f64(double v, int lane, int line) {
    union {
        double f;
        uint64_t u;
    } b;
    b.f = v;
    b.u = gy_emu_shuffle(b.u, lane, line);
    return b.f;
}

/* Integer atomics: blocks may run on several threads of the host. */
static inline int gy_atomic_add_i32(int *p, int v) {
    return __atomic_fetch_add(p, v, __ATOMIC_RELAXED);
}
static inline int64_t gy_atomic_add_i64(int64_t *p, int64_t v) {
    return __atomic_fetch_add(p, v, __ATOMIC_RELAXED);
}

/* Carried out no sooner than the wait that asks for it: who forgets to wait reads what lay there before. */
void gy_emu_copy_async(void *shared, const void *global, int bytes, bool valid);
void gy_cp_async_commit(void);
void gy_cp_async_wait(int pending);
static inline void gy_cp_async16(void *shared, const void *global, bool valid) {
    gy_emu_copy_async(shared, global, 16, valid);
}
static inline void gy_cp_async8(void *shared, const void *global, bool valid) {
    gy_emu_copy_async(shared, global, 8, valid);
}
static inline void gy_cp_async4(void *shared, const void *global, bool valid) {
    gy_emu_copy_async(shared, global, 4, valid);
}

/* In which order warps, their lanes and the blocks of a grid run. "forward", "reverse" or "random:SEED" of the
 * environment's GYRUS_EMU_SCHEDULE at first. */
typedef enum gy_emu_order { GY_EMU_FORWARD, GY_EMU_REVERSE, GY_EMU_RANDOM } gy_emu_order;
struct gy_device;
void gy_emu_schedule(struct gy_device *emulator, gy_emu_order order, uint64_t seed);

#endif
