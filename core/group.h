/* group.h: several processes that train one model together (data parallelism): each works on its rows of the batch, and
 * gradients are averaged over all. Started like PyTorch's: by torchrun or mpirun, or by hand,
 *
 *     for r in 0 1; do RANK=$r WORLD_SIZE=2 MASTER_ADDR=127.0.0.1 MASTER_PORT=29500 gyrus train gpt2 & done
 *
 * Rank 0 listens on MASTER_PORT, the others connect to it: a star of TCP connections, over which sums are made in the
 * order of ranks, so that every rank gets the same bits. On GPUs the sums go through NCCL instead, whose
 * meeting is arranged over the same connections. */
#ifndef GY_GROUP_H
#define GY_GROUP_H

#include "base.h"

typedef struct gy_group gy_group;

/* Joins the group that RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR (127.0.0.1) and MASTER_PORT (29500) name, or
 * OMPI_COMM_WORLD_RANK, _SIZE and _LOCAL_RANK; waits up to 60 s for the others. No variables, or a size of 1: no group.
 */
gy_status gy_ctx_join(gy_ctx *ctx);
gy_group *gy_ctx_group(const gy_ctx *ctx); /* NULL: alone */
void gy_group_leave(gy_group *g);
int gy_group_rank(const gy_group *g); /* 0 when g is NULL */
int gy_group_size(const gy_group *g); /* 1 when g is NULL */
/* LOCAL_RANK: the rank on this machine, which picks the GPU. */
int gy_group_local_rank(const gy_group *g);

/* data [n] := sum over ranks of data; f32 or f64. All ranks must call with the same n and dtype, in the same order.
 * GY_ERR_IO when a rank has gone. */
gy_status gy_group_sum(gy_group *g, gy_dtype dtype, void *data, int64_t n) GY_MUST_CHECK;
/* GY_OK, or what the first failed call has said, for those that cannot return it (kernels). */
gy_status gy_group_status(gy_group *g);
/* data of rank 0 to all. */
gy_status gy_group_share(gy_group *g, void *data, size_t bytes) GY_MUST_CHECK;

#endif
