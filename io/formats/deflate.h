/* deflate.h: DEFLATE (RFC 1951), zlib (RFC 1950) and gzip (RFC 1952), both ways, own code. */
#ifndef GY_IO_DEFLATE_H
#define GY_IO_DEFLATE_H

#include "../bytes.h"

typedef enum gy_deflate_wrap { GY_DEFLATE_RAW, GY_DEFLATE_ZLIB, GY_DEFLATE_GZIP } gy_deflate_wrap;

/* Inflates src[at, at+n) into a new buffer (*out, gy_malloc'd, *out_size bytes). `expected` is the size
 * the outer header announces: exactly that many bytes must come out (a bomb is stopped at expected + 1);
 * UINT64_MAX: unknown, bounded by the inflate-ratio limit. GZIP reads all members and zero padding.
 * Never allocates by a size that the stream merely claims. Errors name the byte in src. */
gy_status gy_inflate(const gy_bytes *src, uint64_t at, uint64_t n, gy_deflate_wrap wrap, uint64_t expected,
                     uint8_t **out, uint64_t *out_size) GY_MUST_CHECK;

/* As gy_inflate, but stops after at most `max` output bytes without complaint and without judging the
 * rest: to look at a header first. */
gy_status gy_inflate_prefix(const gy_bytes *src, uint64_t at, uint64_t n, gy_deflate_wrap wrap, uint64_t max,
                            uint8_t **out, uint64_t *out_size) GY_MUST_CHECK;

/* Deflates (hash chains, lazy matching, dynamic Huffman blocks); level 0 stores, 1..9 search harder.
 * Deterministic: the same input gives the same bytes everywhere (gzip header time 0, OS 255). */
gy_status gy_deflate(gy_ctx *ctx, const void *src, uint64_t n, gy_deflate_wrap wrap, int level, uint8_t **out,
                     uint64_t *out_size) GY_MUST_CHECK;

uint32_t gy_crc32(uint32_t crc, const void *data, uint64_t n);     /* start with 0 */
uint32_t gy_adler32(uint32_t adler, const void *data, uint64_t n); /* start with 1 */

#endif
