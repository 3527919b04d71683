/* npy.h: NumPy's .npy (format versions 1.0, 2.0, 3.0; NEP 1) and .npz (a zip of them), both ways.
 *
 * Read: bool and every integer and float of 1 to 8 bytes, either byte order, C or Fortran order; the
 * result is row-major in host order. Objects (which would run pickled code), strings, dates, complex and
 * structured types are refused by name. A file must hold exactly the bytes its header announces. */
#ifndef GY_IO_NPY_H
#define GY_IO_NPY_H

#include "../bytes.h"
#include "zip.h"

gy_status gy_npy_read(gy_ctx *ctx, const char *path, gy_tensor *out) GY_MUST_CHECK;
/* The whole of src is one .npy. */
gy_status gy_npy_parse(const gy_bytes *src, gy_tensor *out) GY_MUST_CHECK;
/* BF16, which NumPy lacks, is written as f4 (every value is kept). */
gy_status gy_npy_write(gy_ctx *ctx, const char *path, const gy_tensor *t) GY_MUST_CHECK;
/* The same bytes in memory. */
gy_status gy_npy_encode(gy_ctx *ctx, const gy_tensor *t, uint8_t **out, uint64_t *size) GY_MUST_CHECK;

typedef struct gy_npz {
    gy_bytes *src; /* owned */
    gy_zip zip;
} gy_npz;
gy_status gy_npz_open(gy_ctx *ctx, const char *path, const gy_limits *limits, gy_npz *out) GY_MUST_CHECK;
void gy_npz_close(gy_ctx *ctx, gy_npz *z); /* all-zero is fine */
int64_t gy_npz_count(const gy_npz *z);
/* Member i's name without ".npy", into buf (cut at n - 1 bytes); returns buf. */
char *gy_npz_name(const gy_npz *z, int64_t i, char *buf, size_t n);
/* `name` with or without ".npy". A missing one is refused, with the names that are there. */
gy_status gy_npz_read(const gy_npz *z, const char *name, gy_tensor *out) GY_MUST_CHECK;
/* names[i] without ".npy"; level 0 as numpy.savez, 1..9 as numpy.savez_compressed. */
gy_status gy_npz_write(gy_ctx *ctx, const char *path, const char *const *names, const gy_tensor *tensors, int64_t n,
                       int level) GY_MUST_CHECK;

#endif
