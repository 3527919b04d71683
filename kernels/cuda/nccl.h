/* nccl.h: sums over GPUs by NCCL, opened at run time. Its types that are used here are written out in nccl.c. */
#ifndef GY_NCCL_H
#define GY_NCCL_H

#include "../../core/group.h"

typedef struct gy_nccl gy_nccl;

/* Meets the other ranks of the group, each with its own GPU current; NULL with *why set. */
gy_nccl *gy_nccl_open(gy_group *group, const char **why);
void gy_nccl_close(gy_nccl *n);
/* Sums in place, all in one launch. `stream` is the driver's. NULL, or what went wrong. */
typedef struct gy_nccl_sum {
    void *data;
    int64_t n;
    gy_dtype dtype;
} gy_nccl_sum;
const char *gy_nccl_sums(gy_nccl *n, const gy_nccl_sum *sum, int count, void *stream);

#endif
