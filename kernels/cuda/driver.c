/* A GPU through the CUDA driver, which is opened at run time: the program runs where there is none. Kernels are
 * embedded as fat binaries (the Makefile's fatbins.S; none when it was built without the CUDA toolkit).
 *
 * Types and constants of the driver's interface that are used here are written out below: cuda.h of the toolkit is not
 * needed to build. Reference: CUDA Driver API. */
#define _GNU_SOURCE
#include "../../core/device.h"
#include "nccl.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef int cu_result; /* 0: success */
typedef int cu_device;
typedef unsigned long long cu_pointer;
typedef struct cu_context *cu_context;
typedef struct cu_module *cu_module;
typedef struct cu_function *cu_function;
typedef struct cu_stream *cu_stream;
typedef struct cu_event *cu_event;
typedef struct cu_graph *cu_graph;
typedef struct cu_graph_exec *cu_graph_exec;

enum { /* CUdevice_attribute, CUfunction_attribute, flags */
       ATTR_PROCESSORS = 16,
       ATTR_MAJOR = 75,
       ATTR_MINOR = 76,
       ATTR_SHARED_LIMIT = 97,
       FUNC_SHARED = 8,
       STREAM_NON_BLOCKING = 1,
       ATTACH_GLOBAL = 1,
       CAPTURE_THREAD_LOCAL = 1,
       EVENT_WITHOUT_TIME = 2,
       MOST_SUMS = 64,        /* over ranks, in one launch of NCCL */
       ENOUGH_SUMS = 8 << 20, /* bytes: no reason to wait for more */
       TENSOR_BF16 = 9,
       TENSOR_SWIZZLE_128 = 3,
       TENSOR_PROMOTE_128 = 2,
       CONTEXT_LAUNCH = 256 /* kernels kept by name */
};

/* The driver's functions; filled by name. */
typedef struct driver {
    void *library;
    cu_result (*init)(unsigned);
    cu_result (*device_count)(int *);
    cu_result (*device_get)(cu_device *, int);
    cu_result (*device_name)(char *, int, cu_device);
    cu_result (*device_attribute)(int *, int, cu_device);
    cu_result (*device_memory)(size_t *, cu_device);
    cu_result (*context_retain)(cu_context *, cu_device);
    cu_result (*context_release)(cu_device);
    cu_result (*context_use)(cu_context);
    cu_result (*module_load)(cu_module *, const void *);
    cu_result (*module_unload)(cu_module);
    cu_result (*module_function)(cu_function *, cu_module, const char *);
    cu_result (*function_set)(cu_function, int, int);
    cu_result (*launch)(cu_function, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, cu_stream,
                        void **, void **);
    cu_result (*alloc)(cu_pointer *, size_t);
    cu_result (*free)(cu_pointer);
    cu_result (*alloc_host)(void **, size_t);
    cu_result (*free_host)(void *);
    cu_result (*alloc_managed)(cu_pointer *, size_t, unsigned);
    cu_result (*copy)(cu_pointer, cu_pointer, size_t, cu_stream);
    cu_result (*fill)(cu_pointer, unsigned char, size_t, cu_stream);
    cu_result (*stream_new)(cu_stream *, unsigned);
    cu_result (*stream_free)(cu_stream);
    cu_result (*stream_wait)(cu_stream);
    cu_result (*event_new)(cu_event *, unsigned);
    cu_result (*event_free)(cu_event);
    cu_result (*event_record)(cu_event, cu_stream);
    cu_result (*event_wait)(cu_stream, cu_event, unsigned);
    cu_result (*capture_begin)(cu_stream, int);
    cu_result (*capture_end)(cu_stream, cu_graph *);
    cu_result (*graph_make)(cu_graph_exec *, cu_graph, unsigned long long);
    cu_result (*graph_launch)(cu_graph_exec, cu_stream);
    cu_result (*graph_exec_free)(cu_graph_exec);
    cu_result (*graph_free)(cu_graph);
    cu_result (*error_text)(cu_result, const char **);
    /* NULL before version 12: map, type, axes, base, sizes, strides in bytes of all axes but the first, box, steps,
     * interleave, swizzle, promotion in the second cache, what is read outside */
    cu_result (*tensor_map)(void *, int, unsigned, void *, const uint64_t *, const uint64_t *, const unsigned *,
                            const unsigned *, int, int, int, int);
} driver;

/* fatbins.S */
typedef struct fatbin {
    const void *data;
    uint64_t bytes;
} fatbin;
extern const fatbin gy_fatbins[];
extern const uint64_t gy_fatbin_count;

typedef struct gpu {
    gy_device device;
    driver cu;
    cu_device index;
    cu_context context;
    cu_stream stream;
    cu_module *module;
    struct {
        const char *name;
        cu_function function;
    } kernel[CONTEXT_LAUNCH];
    int kernels;
    /* Several GPUs: sums run on a stream of their own, some at a time. */
    gy_nccl *nccl;
    cu_stream side;
    cu_event forked, joined;
    gy_nccl_sum sum[MOST_SUMS];
    int sums;
    size_t sum_bytes;
    bool summing; /* the side stream has work that join must wait for */
} gpu;

/* NULL, or why not. */
static const char *open_driver(driver *d) {
    const struct {
        const char *name;
        void *to;
    } need[] = {{"cuInit", &d->init},
                {"cuDeviceGetCount", &d->device_count},
                {"cuDeviceGet", &d->device_get},
                {"cuDeviceGetName", &d->device_name},
                {"cuDeviceGetAttribute", &d->device_attribute},
                {"cuDeviceTotalMem_v2", &d->device_memory},
                {"cuDevicePrimaryCtxRetain", &d->context_retain},
                {"cuDevicePrimaryCtxRelease_v2", &d->context_release},
                {"cuCtxSetCurrent", &d->context_use},
                {"cuModuleLoadData", &d->module_load},
                {"cuModuleUnload", &d->module_unload},
                {"cuModuleGetFunction", &d->module_function},
                {"cuFuncSetAttribute", &d->function_set},
                {"cuLaunchKernel", &d->launch},
                {"cuMemAlloc_v2", &d->alloc},
                {"cuMemFree_v2", &d->free},
                {"cuMemAllocHost_v2", &d->alloc_host},
                {"cuMemFreeHost", &d->free_host},
                {"cuMemAllocManaged", &d->alloc_managed},
                {"cuMemcpyAsync", &d->copy},
                {"cuMemsetD8Async", &d->fill},
                {"cuStreamCreate", &d->stream_new},
                {"cuStreamDestroy_v2", &d->stream_free},
                {"cuStreamSynchronize", &d->stream_wait},
                {"cuEventCreate", &d->event_new},
                {"cuEventDestroy_v2", &d->event_free},
                {"cuEventRecord", &d->event_record},
                {"cuStreamWaitEvent", &d->event_wait},
                {"cuStreamBeginCapture_v2", &d->capture_begin},
                {"cuStreamEndCapture", &d->capture_end},
                {"cuGraphInstantiateWithFlags", &d->graph_make},
                {"cuGraphLaunch", &d->graph_launch},
                {"cuGraphExecDestroy", &d->graph_exec_free},
                {"cuGraphDestroy", &d->graph_free},
                {"cuGetErrorString", &d->error_text}};
    const char *path = getenv("GYRUS_CUDA_DRIVER"); /* where it lies elsewhere; the tests have one of their own */
    d->library = dlopen(path && *path ? path : "libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!d->library) return "no NVIDIA driver here (libcuda.so.1 cannot be loaded)";
    const char *why = NULL;
    for (size_t i = 0; !why && i < sizeof need / sizeof *need; i++) {
        void *f = dlsym(d->library, need[i].name);
        if (!f) why = "the CUDA driver is too old: version 11.4 or later is needed";
        memcpy(need[i].to, &f, sizeof f);
    }
    void *optional = why ? NULL : dlsym(d->library, "cuTensorMapEncodeTiled");
    memcpy(&d->tensor_map, &optional, sizeof optional);
    if (!why && d->init(0) != 0) why = "the CUDA driver does not start: no GPU, or none that this process may use";
    if (why) {
        dlclose(d->library);
        d->library = NULL;
    }
    return why;
}

int gy_cuda_count(const char **why) {
    driver d;
    int n = 0;
    *why = open_driver(&d);
    if (*why) return 0;
    if (d.device_count(&n) != 0 || n == 0) *why = "the CUDA driver shows no GPU";
    dlclose(d.library);
    return n;
}

static bool describe(const driver *d, cu_device id, char *text, size_t bytes) {
    char name[80];
    int major, minor;
    size_t memory;
    if (d->device_name(name, sizeof name, id) || d->device_attribute(&major, ATTR_MAJOR, id) ||
        d->device_attribute(&minor, ATTR_MINOR, id) || d->device_memory(&memory, id))
        return false;
    snprintf(text, bytes, "%s, sm_%d%d, %.1f GiB", name, major, minor, (double)memory / (1 << 30));
    return true;
}

bool gy_cuda_describe(int index, char *text, size_t bytes) {
    driver d;
    cu_device id;
    if (open_driver(&d)) return false;
    bool ok = d.device_get(&id, index) == 0 && describe(&d, id, text, bytes);
    dlclose(d.library);
    return ok;
}

/* ---- the device ---- */

static gpu *of(gy_device *d) {
    return (gpu *)(void *)d; /* its first member */
}

static bool done(gy_device *d, cu_result r, const char *what) {
    if (r == 0) return true;
    const char *text = NULL;
    of(d)->cu.error_text(r, &text);
    gy_device_fail(d, "%s: %s", what, text ? text : "unknown error");
    return false;
}

static void *device_alloc(gy_device *d, size_t bytes) {
    cu_pointer p = 0;
    return of(d)->cu.alloc(&p, bytes ? bytes : 1) == 0 ? (void *)(uintptr_t)p : NULL;
}
static void device_free(gy_device *d, void *p) {
    if (p) of(d)->cu.free((cu_pointer)(uintptr_t)p);
}
static void *host_alloc(gy_device *d, size_t bytes) {
    void *p = NULL;
    return of(d)->cu.alloc_host(&p, bytes ? bytes : 1) == 0 ? p : NULL;
}
static void host_free(gy_device *d, void *p) {
    if (p) of(d)->cu.free_host(p);
}
static void *shared_alloc(gy_device *d, size_t bytes) {
    cu_pointer p = 0;
    return of(d)->cu.alloc_managed(&p, bytes ? bytes : 1, ATTACH_GLOBAL) == 0 ? (void *)(uintptr_t)p : NULL;
}
static void device_copy(gy_device *d, void *dst, const void *src, size_t bytes) {
    if (!*d->error && bytes)
        done(d, of(d)->cu.copy((cu_pointer)(uintptr_t)dst, (cu_pointer)(uintptr_t)src, bytes, of(d)->stream), "copy");
}
static void device_fill(gy_device *d, void *dst, int byte, size_t bytes) {
    if (!*d->error && bytes)
        done(d, of(d)->cu.fill((cu_pointer)(uintptr_t)dst, (unsigned char)byte, bytes, of(d)->stream), "fill");
}
static bool device_tile_map(gy_device *d, void *map, const void *base, int64_t rows, int64_t columns, int64_t row_bytes,
                            int box_rows, int box_columns) {
    const uint64_t size[] = {(uint64_t)columns, (uint64_t)rows}, stride[] = {(uint64_t)row_bytes};
    const unsigned box[] = {(unsigned)box_columns, (unsigned)box_rows}, step[] = {1, 1};
    return done(d,
                of(d)->cu.tensor_map(map, TENSOR_BF16, 2, (void *)(uintptr_t)base, size, stride, box, step, 0,
                                     TENSOR_SWIZZLE_128, TENSOR_PROMOTE_128, 0),
                "describing a matrix");
}
static void device_wait(gy_device *d) {
    done(d, of(d)->cu.stream_wait(of(d)->stream), "a kernel failed");
}

/* The kernel of that name in any of the modules. */
static cu_function find_kernel(gpu *g, const char *name) {
    for (int i = 0; i < g->kernels; i++)
        if (strcmp(g->kernel[i].name, name) == 0) return g->kernel[i].function;
    cu_function f = NULL;
    for (uint64_t m = 0; m < gy_fatbin_count && !f; m++)
        if (g->cu.module_function(&f, g->module[m], name) != 0) f = NULL;
    if (f && g->kernels < CONTEXT_LAUNCH) {
        g->kernel[g->kernels].name = name;
        g->kernel[g->kernels++].function = f;
    }
    return f;
}

static void device_launch(gy_device *d, const gy_launch *l) {
    gpu *g = of(d);
    if (*d->error) return;
    cu_function f = find_kernel(g, l->kernel);
    if (!f) {
        gy_device_fail(d, "kernel %s is not in this build", l->kernel);
        return;
    }
    void *args[] = {(void *)(uintptr_t)l->args};
    if (l->shared > 48 << 10 && !done(d, g->cu.function_set(f, FUNC_SHARED, (int)l->shared), l->kernel)) return;
    done(d,
         g->cu.launch(f, (unsigned)l->grid[0], (unsigned)l->grid[1], (unsigned)l->grid[2], (unsigned)l->threads, 1, 1,
                      (unsigned)l->shared, g->stream, args, NULL),
         l->kernel);
}

static void *device_record(gy_device *d, void (*enqueue)(void *arg), void *arg) {
    gpu *g = of(d);
    cu_graph graph = NULL;
    cu_graph_exec exec = NULL;
    if (!done(d, g->cu.capture_begin(g->stream, CAPTURE_THREAD_LOCAL), "recording a graph")) return NULL;
    enqueue(arg);
    bool ok = done(d, g->cu.capture_end(g->stream, &graph), "recording a graph");
    ok = ok && !*d->error && done(d, g->cu.graph_make(&exec, graph, 0), "making a graph");
    if (graph) g->cu.graph_free(graph);
    return ok ? exec : NULL;
}
static void device_play(gy_device *d, void *exec) {
    if (!*d->error) done(d, of(d)->cu.graph_launch(exec, of(d)->stream), "launching a graph");
}
static void device_forget(gy_device *d, void *exec) {
    of(d)->cu.graph_exec_free(exec);
}

/* The side stream takes the waiting sums, after all that is queued so far. */
static void start_sums(gy_device *d) {
    gpu *g = of(d);
    if (!g->sums || *d->error) return;
    if (!done(d, g->cu.event_record(g->forked, g->stream), "event") ||
        !done(d, g->cu.event_wait(g->side, g->forked, 0), "event"))
        return;
    const char *why = gy_nccl_sums(g->nccl, g->sum, g->sums, g->side);
    if (why) gy_device_fail(d, "NCCL: %s", why);
    g->sums = 0;
    g->sum_bytes = 0;
    g->summing = true;
}
static void device_sum(gy_device *d, gy_dtype dtype, void *data, int64_t n) {
    gpu *g = of(d);
    if (!g->nccl || *d->error) return;
    g->sum[g->sums++] = (gy_nccl_sum){data, n, dtype};
    g->sum_bytes += (size_t)n * gy_dtype_size(dtype);
    if (g->sums == MOST_SUMS || g->sum_bytes >= ENOUGH_SUMS) start_sums(d);
}
static void device_join(gy_device *d) {
    gpu *g = of(d);
    start_sums(d);
    if (!g->summing || *d->error) return;
    if (done(d, g->cu.event_record(g->joined, g->side), "event"))
        done(d, g->cu.event_wait(g->stream, g->joined, 0), "event");
    g->summing = false;
}

static void device_close(gy_device *d) {
    gpu *g = of(d);
    gy_nccl_close(g->nccl);
    if (g->side) g->cu.stream_free(g->side);
    if (g->forked) g->cu.event_free(g->forked);
    if (g->joined) g->cu.event_free(g->joined);
    for (uint64_t m = 0; g->module && m < gy_fatbin_count; m++)
        if (g->module[m]) g->cu.module_unload(g->module[m]);
    if (g->stream) g->cu.stream_free(g->stream);
    if (g->context) g->cu.context_release(g->index);
    if (g->cu.library) dlclose(g->cu.library);
    free(g->module);
    free(g);
}

/* NULL, or why not. */
static const char *start(gpu *g, int index) {
    static char text[256];
    int major, minor, limit, processors, n = 0;
    const char *why = open_driver(&g->cu);
    if (why) return why;
    if (g->cu.device_count(&n) != 0 || index >= n) {
        snprintf(text, sizeof text, "there is no GPU %d: the driver shows %d", index, n);
        return text;
    }
    if (g->cu.device_get(&g->index, index) || g->cu.context_retain(&g->context, g->index) ||
        g->cu.context_use(g->context) || g->cu.stream_new(&g->stream, STREAM_NON_BLOCKING))
        return "the GPU cannot be used (busy, or in exclusive mode)";
    if (g->cu.device_attribute(&major, ATTR_MAJOR, g->index) || g->cu.device_attribute(&minor, ATTR_MINOR, g->index) ||
        g->cu.device_attribute(&limit, ATTR_SHARED_LIMIT, g->index) ||
        g->cu.device_attribute(&processors, ATTR_PROCESSORS, g->index) ||
        !describe(&g->cu, g->index, g->device.description, sizeof g->device.description))
        return "the GPU does not tell its properties";
    g->device.sm = 10 * major + minor;
    g->device.shared_limit = (size_t)limit;
    g->device.processors = processors;
    g->device.tile_map = g->cu.tensor_map ? device_tile_map : NULL;
    if (g->device.sm < 80) return "compute capability 8.0 (Ampere) or later is needed";
    if (!gy_fatbin_count) return "this program was built without the CUDA toolkit (make CUDA=1)";
    g->module = calloc((size_t)gy_fatbin_count, sizeof *g->module);
    for (uint64_t m = 0; m < gy_fatbin_count; m++)
        if (!g->module || g->cu.module_load(&g->module[m], gy_fatbins[m].data) != 0)
            return "the embedded kernels cannot be loaded";
    if (!gy_ctx_group(g->device.ctx)) return NULL;
    if (g->cu.stream_new(&g->side, STREAM_NON_BLOCKING) || g->cu.event_new(&g->forked, EVENT_WITHOUT_TIME) ||
        g->cu.event_new(&g->joined, EVENT_WITHOUT_TIME))
        return "no second stream for sums over GPUs";
    g->nccl = gy_nccl_open(gy_ctx_group(g->device.ctx), &why);
    return why;
}

gy_device *gy_cuda_open(gy_ctx *ctx, int index) {
    gpu *g = calloc(1, sizeof *g);
    if (!g) {
        gy_fail(ctx, GY_ERR_NOMEM, "out of memory");
        return NULL;
    }
    g->device = (gy_device){.ctx = ctx,
                            .alloc = device_alloc,
                            .free = device_free,
                            .alloc_host = host_alloc,
                            .free_host = host_free,
                            .alloc_shared = shared_alloc,
                            .free_shared = device_free,
                            .copy = device_copy,
                            .fill = device_fill,
                            .launch = device_launch,
                            .wait = device_wait,
                            .sum_over_ranks = device_sum,
                            .join = device_join,
                            .record = device_record,
                            .play = device_play,
                            .forget = device_forget,
                            .close = device_close};
    snprintf(g->device.name, sizeof g->device.name, "cuda:%d", index);
    const char *why = start(g, index);
    if (!why) return &g->device;
    gy_fail(ctx, GY_ERR_DEVICE, "cuda:%d: %s", index, why);
    device_close(&g->device);
    return NULL;
}
