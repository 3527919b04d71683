/* pth.h: PyTorch's .pt, .pth, .bin and .ckpt files: state dicts as torch.save writes them, either a zip
 * archive (since PyTorch 1.6) with a pickle NAME/data.pkl and one stored member NAME/data/KEY a storage, or
 * the older layout, five pickles followed by the storages. Content decides which, not the file's name.
 *
 * The pickle is read by pickle.h, which executes nothing. Nested dictionaries, lists and tuples are
 * flattened, keys joined by dots ("state_dict.encoder.weight", "state.0.exp_avg"); what is no tensor
 * (numbers, None, strings) is passed over. */
#ifndef GY_IO_PTH_H
#define GY_IO_PTH_H

#include "../bytes.h"
#include "../dict.h"
#include "pickle.h"
#include "zip.h"

/* The bytes that one or more tensors are views of. */
typedef struct gy_pth_storage {
    gy_dtype dtype;
    uint64_t at, bytes; /* in the file */
    uint32_t crc;       /* of the zip member */
    bool checked;       /* its CRC was compared (once, before the first tensor is read); true in old files */
} gy_pth_storage;

typedef struct gy_pth_entry {
    const char *name;
    gy_dtype dtype;
    gy_shape shape;
    int64_t storage, offset;     /* of the first element, in elements */
    int64_t stride[GY_MAX_RANK]; /* in elements, >= 0 */
} gy_pth_entry;

typedef struct gy_pth {
    gy_ctx *ctx;
    gy_bytes src;
    gy_pth_entry *entries; /* in the order of the file */
    int64_t n;
    gy_pth_storage *storages;
    int64_t n_storages;
    bool big_endian;
    gy_dict names; /* of entries */
    gy_arena strings;
} gy_pth;

/* Whether the content begins like one of the two layouts: a zip archive, or a pickle. */
gy_status gy_pth_is(gy_ctx *ctx, const char *path, const gy_limits *limits, bool *out) GY_MUST_CHECK;
gy_status gy_pth_open(gy_ctx *ctx, const char *path, const gy_limits *limits, gy_pth *out) GY_MUST_CHECK;
void gy_pth_close(gy_pth *p);                           /* all-zero is fine */
int64_t gy_pth_find(const gy_pth *p, const char *name); /* -1: no such tensor */
/* Copies tensor i, whatever its strides, into a contiguous one. */
gy_status gy_pth_read(gy_pth *p, int64_t i, gy_tensor *out) GY_MUST_CHECK;
/* By name; a missing one is refused. */
gy_status gy_pth_get(gy_pth *p, const char *name, gy_tensor *out) GY_MUST_CHECK;

#endif
