/* safetensors_internal.h: what the reader, the writer and the shard index share. */
#ifndef GY_IO_SAFETENSORS_INTERNAL_H
#define GY_IO_SAFETENSORS_INTERNAL_H

#include "safetensors.h"

extern const char *const gy_st_codes[GY_DTYPE_COUNT]; /* "F32", "BF16", ... */
/* Eight lower-case hexadecimal digits and NUL. */
void gy_st_hex8(uint32_t v, char out[9]);
/* Opens these files into st, which has its ctx only; on failure gy_safetensors_close tidies up. */
gy_status gy_st_open_files(gy_safetensors *st, const char *const *paths, int64_t n, const gy_limits *limits);
/* The same for an index file. */
gy_status gy_st_open_index(gy_safetensors *st, const char *path, const gy_limits *limits);

#endif
