/* internal.h: what only core's own files (and io/files.c, for its fault) see of a context. */
#ifndef GY_INTERNAL_H
#define GY_INTERNAL_H

#include "base.h"
#include "device.h"
#include "group.h"
#include "threads.h"

struct gy_ctx {
    gy_allocator allocator;
    gy_pool *pool;
    gy_device *device;  /* NULL: the CPU */
    gy_group *group;    /* NULL: alone */
    uint64_t isa_mask;  /* GY_ISA_* bits that kernels may use */
    gy_dtype precision; /* of plans, unless they say otherwise */
    char message[4096];
    gy_status status;
    void (*warn)(void *user, const char *text);
    void *warn_user;
    size_t mem_live, mem_peak;
    int64_t mem_fail_at; /* counts down; 0 off */
    struct {
        int64_t at; /* counts down; 0 off */
        int err;
        bool short_write;
    } io_fault;
};

#endif
