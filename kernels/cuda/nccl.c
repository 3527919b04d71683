/* Reference: NVIDIA NCCL documentation, "NCCL API". */
#define _GNU_SOURCE
#include "nccl.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

typedef struct nccl_id { /* ncclUniqueId */
    char bytes[128];
} nccl_id;
typedef struct nccl_comm *nccl_comm;
enum { FLOAT32 = 7, FLOAT64 = 8, SUM = 0 }; /* ncclDataType_t, ncclRedOp_t */

struct gy_nccl {
    void *library;
    nccl_comm comm;
    int (*unique_id)(nccl_id *);
    int (*comm_init)(nccl_comm *, int, nccl_id, int);
    int (*comm_free)(nccl_comm);
    int (*all_reduce)(const void *, void *, size_t, int, int, nccl_comm, void *);
    int (*group_start)(void);
    int (*group_end)(void);
    const char *(*error_text)(int);
};

static const char *load(gy_nccl *n) {
    const struct {
        const char *name;
        void *to;
    } need[] = {{"ncclGetUniqueId", &n->unique_id},    {"ncclCommInitRank", &n->comm_init},
                {"ncclCommDestroy", &n->comm_free},    {"ncclAllReduce", &n->all_reduce},
                {"ncclGroupStart", &n->group_start},   {"ncclGroupEnd", &n->group_end},
                {"ncclGetErrorString", &n->error_text}};
    const char *path = getenv("GYRUS_NCCL"); /* where it lies elsewhere */
    n->library = dlopen(path && *path ? path : "libnccl.so.2", RTLD_NOW | RTLD_LOCAL);
    if (!n->library) return "training on several GPUs needs NCCL (libnccl.so.2 cannot be loaded)";
    for (size_t i = 0; i < sizeof need / sizeof *need; i++) {
        void *f = dlsym(n->library, need[i].name);
        if (!f) return "NCCL lacks a function that is needed: version 2.7 or later";
        memcpy(need[i].to, &f, sizeof f);
    }
    return NULL;
}

gy_nccl *gy_nccl_open(gy_group *group, const char **why) {
    gy_nccl *n = calloc(1, sizeof *n);
    nccl_id id = {{0}};
    *why = n ? load(n) : "out of memory";
    int rank = gy_group_rank(group), e = 0;
    if (!*why && rank == 0 && (e = n->unique_id(&id)) != 0) *why = n->error_text(e);
    /* a rank that fails here still sends: the others then fail with NCCL's own message instead of waiting */
    gy_status s = gy_group_share(group, &id, sizeof id);
    if (!*why && s != GY_OK) *why = "the other ranks have gone";
    if (!*why && (e = n->comm_init(&n->comm, gy_group_size(group), id, rank)) != 0) *why = n->error_text(e);
    if (!*why) return n;
    gy_nccl_close(n);
    return NULL;
}

void gy_nccl_close(gy_nccl *n) {
    if (!n) return;
    if (n->comm) n->comm_free(n->comm);
    if (n->library) dlclose(n->library);
    free(n);
}

const char *gy_nccl_sums(gy_nccl *n, const gy_nccl_sum *sum, int count, void *stream) {
    int e = n->group_start();
    for (int i = 0; !e && i < count; i++)
        e = n->all_reduce(sum[i].data, sum[i].data, (size_t)sum[i].n, sum[i].dtype == GY_F64 ? FLOAT64 : FLOAT32, SUM,
                          n->comm, stream);
    int end = n->group_end();
    return e ? n->error_text(e) : end ? n->error_text(end) : NULL;
}
