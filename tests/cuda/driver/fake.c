/* A CUDA driver with two pretended GPUs, whose memory is the host's. Copies and fills are carried out, kernels are only
 * written to a log; a captured stream's work is kept and carried out when the graph is launched, as the real one does.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef unsigned long long pointer;
typedef struct work {
    int kind; /* 0 copy, 1 fill, 2 launch */
    void *dst;
    const void *src;
    size_t bytes;
    int byte;
    char text[160];
} work;
typedef struct graph {
    work w[256];
    int n;
} graph;

static graph *capturing;
static char text[1 << 16];
static size_t length;
static long live;
static int fail_kernels;

const char *fake_log(void);
void fake_reset(int fail);
long fake_live(void);
/* The log since the last reset: a line an event. fail: every stream's wait reports an error from then on. */
const char *fake_log(void) {
    return text;
}
void fake_reset(int fail) {
    length = 0;
    text[0] = 0;
    fail_kernels = fail;
}
long fake_live(void) {
    return live; /* allocations not freed */
}

static void say(const char *what) {
    size_t n = strlen(what);
    if (length + n + 2 > sizeof text) return;
    memcpy(text + length, what, n);
    text[length + n] = '\n';
    length += n + 1;
    text[length] = 0;
}
static void carry_out(const work *w) {
    if (w->kind == 0) memcpy(w->dst, w->src, w->bytes);
    if (w->kind == 1) memset(w->dst, w->byte, w->bytes);
    say(w->kind == 0 ? "copy" : w->kind == 1 ? "fill" : w->text);
}
static int queue(work w) {
    if (capturing)
        capturing->w[capturing->n++] = w;
    else
        carry_out(&w);
    return 0;
}

#define API(name, ...)                                                                                                 \
    int name(__VA_ARGS__);                                                                                             \
    int name(__VA_ARGS__)

API(cuInit, unsigned flags) {
    return flags != 0;
}
API(cuDeviceGetCount, int *n) {
    *n = 2;
    return 0;
}
API(cuDeviceGet, int *d, int i) {
    *d = i;
    return i < 2 ? 0 : 101;
}
API(cuDeviceGetName, char *s, int n, int d) {
    snprintf(s, (size_t)n, "Pretended %d", d);
    return 0;
}
API(cuDeviceGetAttribute, int *v, int what, int d) {
    *v = what == 75 ? (d == 0 ? 9 : 7) : what == 76 ? (d == 0 ? 0 : 5) : what == 97 ? 227 << 10 : what == 16 ? 132 : 0;
    return 0;
}
API(cuDeviceTotalMem_v2, size_t *n, int d) {
    *n = (size_t)80 << 30;
    return d > 1;
}
API(cuDevicePrimaryCtxRetain, void **c, int d) {
    *c = text;
    live++;
    return d > 1;
}
API(cuDevicePrimaryCtxRelease_v2, int d) {
    live--;
    return d > 1;
}
API(cuCtxSetCurrent, void *c) {
    return c == NULL;
}
API(cuModuleLoadData, void **m, const void *image) {
    uint32_t magic;
    memcpy(&magic, image, sizeof magic);
    *m = malloc(1);
    live++;
    return magic == 0xba55ed50u ? 0 : 200; /* a fat binary begins so */
}
API(cuModuleUnload, void *m) {
    free(m);
    live--;
    return 0;
}
static char names[256][64];
static int n_names;
API(cuModuleGetFunction, void **f, void *m, const char *name) {
    (void)m;
    if (n_names == 256) return 2;
    snprintf(names[n_names], sizeof names[0], "%s", name);
    *f = names[n_names++];
    return 0;
}
API(cuFuncSetAttribute, void *f, int what, int value) {
    char line[160];
    snprintf(line, sizeof line, "attribute %s %d %d", (char *)f, what, value);
    say(line);
    return 0;
}
API(cuLaunchKernel, void *f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
    unsigned shared, void *stream, void **args, void **extra) {
    work w = {.kind = 2};
    (void)stream;
    snprintf(w.text, sizeof w.text, "launch %s %u %u %u x %u %u %u, %u bytes%s", (char *)f, gx, gy, gz, bx, by, bz,
             shared, args && args[0] && !extra ? "" : " without arguments");
    return queue(w);
}
API(cuMemAlloc_v2, pointer *p, size_t bytes) {
    void *m = bytes ? aligned_alloc(256, (bytes + 255) / 256 * 256) : NULL;
    *p = (pointer)(uintptr_t)m;
    live += m != NULL;
    return m ? 0 : 2;
}
API(cuMemFree_v2, pointer p) {
    free((void *)(uintptr_t)p);
    live--;
    return 0;
}
API(cuMemAllocHost_v2, void **p, size_t bytes) {
    *p = malloc(bytes);
    live++;
    return *p ? 0 : 2;
}
API(cuMemFreeHost, void *p) {
    free(p);
    live--;
    return 0;
}
API(cuMemAllocManaged, pointer *p, size_t bytes, unsigned flags) {
    return flags == 1 ? cuMemAlloc_v2(p, bytes) : 1;
}
API(cuMemcpyAsync, pointer dst, pointer src, size_t bytes, void *stream) {
    (void)stream;
    return queue((work){.kind = 0, .dst = (void *)(uintptr_t)dst, .src = (void *)(uintptr_t)src, .bytes = bytes});
}
API(cuMemsetD8Async, pointer dst, unsigned char byte, size_t bytes, void *stream) {
    (void)stream;
    return queue((work){.kind = 1, .dst = (void *)(uintptr_t)dst, .byte = byte, .bytes = bytes});
}
API(cuStreamCreate, void **s, unsigned flags) {
    *s = text;
    live++;
    return flags != 1;
}
API(cuStreamDestroy_v2, void *s) {
    live--;
    return s == NULL;
}
API(cuStreamSynchronize, void *s) {
    (void)s;
    if (capturing) return 900; /* not while capturing */
    return fail_kernels ? 700 : 0;
}
API(cuStreamBeginCapture_v2, void *s, int mode) {
    (void)s;
    if (capturing || mode != 1) return 901;
    capturing = calloc(1, sizeof *capturing);
    return 0;
}
API(cuStreamEndCapture, void *s, void **g) {
    (void)s;
    *g = capturing;
    capturing = NULL;
    return *g ? 0 : 901;
}
API(cuGraphInstantiateWithFlags, void **exec, void *g, unsigned long long flags) {
    *exec = malloc(sizeof(graph));
    memcpy(*exec, g, sizeof(graph));
    live++;
    return flags != 0;
}
API(cuGraphLaunch, void *exec, void *s) {
    const graph *g = exec;
    (void)s;
    say("graph");
    for (int i = 0; i < g->n; i++) carry_out(&g->w[i]);
    return 0;
}
API(cuGraphExecDestroy, void *exec) {
    free(exec);
    live--;
    return 0;
}
API(cuGraphDestroy, void *g) {
    free(g);
    return 0;
}
API(cuGetErrorString, int e, const char **s) {
    *s = e == 700 ? "an illegal memory access was encountered" : "an error";
    return 0;
}

/* ---- events and NCCL: written to the log, in the order of the queue ---- */

API(cuEventCreate, void **e, unsigned flags) {
    *e = text;
    live++;
    return flags != 2;
}
API(cuEventDestroy_v2, void *e) {
    live--;
    return e == NULL;
}
API(cuEventRecord, void *e, void *s) {
    (void)e, (void)s;
    return queue((work){.kind = 2, .text = "event"});
}
API(cuStreamWaitEvent, void *s, void *e, unsigned flags) {
    (void)s, (void)e;
    return flags ? 1 : queue((work){.kind = 2, .text = "wait for event"});
}

typedef struct {
    char bytes[128];
} unique_id;
API(ncclGetUniqueId, unique_id *id) {
    memset(id->bytes, 7, sizeof id->bytes);
    return 0;
}
API(ncclCommInitRank, void **comm, int size, unique_id id, int rank) {
    *comm = text;
    live++;
    return id.bytes[127] != 7 || rank >= size; /* the id of rank 0 has arrived */
}
API(ncclCommDestroy, void *comm) {
    live--;
    return comm == NULL;
}
API(ncclAllReduce, const void *from, void *to, size_t n, int type, int op, void *comm, void *stream) {
    work w = {.kind = 2};
    (void)comm, (void)stream;
    snprintf(w.text, sizeof w.text, "all reduce %zu of type %d", n, type);
    return op || from != to ? 4 : queue(w);
}
API(ncclGroupStart, void) {
    return queue((work){.kind = 2, .text = "group {"});
}
API(ncclGroupEnd, void) {
    return queue((work){.kind = 2, .text = "}"});
}
const char *ncclGetErrorString(int e);
const char *ncclGetErrorString(int e) {
    return e ? "an error of NCCL" : "no error";
}
