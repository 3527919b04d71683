/* device.h: where plans run when not on the CPU. A device is a table of functions, filled by the CUDA driver
 * (kernels/cuda/driver.c) or by its emulator (kernels/cuda/emu/). Plans, states and kernels know nothing else of it.
 *
 * Work is queued in order. A failure (a kernel's fault, memory that is out) is kept by the device and reported by the
 * next gy_device_wait; what was queued after it counts for nothing. */
#ifndef GY_DEVICE_H
#define GY_DEVICE_H

#include "base.h"
#include "threads.h"

typedef struct gy_device gy_device;

/* One launch of a kernel: its grid of blocks, threads a block (a multiple of 32), bytes of shared memory, and its one
 * argument, a struct that is copied. */
typedef struct gy_launch {
    const char *kernel;                /* its name in the embedded code */
    void (*emulate)(const void *args); /* one thread of it, for the emulator */
    int64_t grid[3];
    int threads;
    size_t shared;
    const void *args;
    size_t args_bytes;
} gy_launch;

struct gy_device {
    char name[32];         /* "emu", "cuda:0" */
    char description[128]; /* "NVIDIA H100 80GB HBM3, sm_90, 79.6 GiB" */
    int sm;                /* compute capability times ten: 80, 90 */
    int processors;        /* streaming multiprocessors */
    size_t shared_limit;   /* bytes of shared memory a block may have */
    gy_ctx *ctx;
    char error[512]; /* the first failure, "" if none */

    /* Device memory, 256-byte aligned; NULL: out of memory. `guard`: nothing may touch [p, p + bytes), which lies in
     * such memory (the emulator reports who does); NULL where that cannot be had. */
    void *(*alloc)(gy_device *d, size_t bytes);
    void (*free)(gy_device *d, void *p);
    void (*guard)(gy_device *d, void *p, size_t bytes);
    /* Host memory that is copied to and from fast. */
    void *(*alloc_host)(gy_device *d, size_t bytes);
    void (*free_host)(gy_device *d, void *p);
    /* Memory for states: read and written by kernels and, when the device is idle, by the host. */
    void *(*alloc_shared)(gy_device *d, size_t bytes);
    void (*free_shared)(gy_device *d, void *p);

    void (*copy)(gy_device *d, void *dst, const void *src, size_t bytes); /* queued; from and to anywhere */
    void (*fill)(gy_device *d, void *dst, int byte, size_t bytes);        /* queued */
    void (*launch)(gy_device *d, const gy_launch *l);                     /* queued */
    void (*wait)(gy_device *d);                                           /* until the queue is empty */
    /* data [n] := its sum over the ranks of d's context (core/group.h). Queued after what is queued, beside what
     * follows until join, after which it is done. */
    void (*sum_over_ranks)(gy_device *d, gy_dtype dtype, void *data, int64_t n);
    void (*join)(gy_device *d);
    /* Describes a matrix of bf16 (rows of row_bytes, a multiple of 16) to kernels that copy it in tiles of box_rows x
     * box_columns: 128 bytes at `map` (gy_tile_map of kernels/cuda/mma.h). false: failed. NULL: cannot be had. */
    bool (*tile_map)(gy_device *d, void *map, const void *base, int64_t rows, int64_t columns, int64_t row_bytes,
                     int box_rows, int box_columns);
    /* A recording: what enqueue(arg) queues, to be queued again and again at one price (a CUDA graph). NULL on failure.
     */
    void *(*record)(gy_device *d, void (*enqueue)(void *arg), void *arg);
    void (*play)(gy_device *d, void *recording);
    void (*forget)(gy_device *d, void *recording);
    void (*close)(gy_device *d);
};

/* "cpu" (or NULL or ""): none; "emu": the emulator; "cuda", "cuda:1": a GPU, found through libcuda.so.1 at run time
 * ("cuda" of several processes, group.h: that of the local rank). To be called before the context's first store is
 * made, whose states lie in the device's memory from then on. */
gy_status gy_ctx_set_device(gy_ctx *ctx, const char *name);
gy_device *gy_ctx_device(const gy_ctx *ctx); /* NULL: the CPU */

/* Waits; GY_ERR_DEVICE with the device's message if anything has failed since it was opened. */
gy_status gy_device_wait(gy_device *d);
/* Keeps the first failure. */
void gy_device_fail(gy_device *d, const char *fmt, ...) GY_PRINTF(2, 3);

/* The two kinds. NULL with a message on ctx. */
gy_device *gy_emulator_open(gy_ctx *ctx);
gy_device *gy_cuda_open(gy_ctx *ctx, int index);
/* How many GPUs the driver shows; 0 with *why set to a reason (never NULL then). */
int gy_cuda_count(const char **why);
/* "NVIDIA H100 80GB HBM3, sm_90, 79.6 GiB"; false: no such device. */
bool gy_cuda_describe(int index, char *text, size_t bytes);

#endif
