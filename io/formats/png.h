/* png.h: PNG pictures (W3C PNG, 2nd edition), read and written with our own deflate. */
#ifndef GY_IO_PNG_H
#define GY_IO_PNG_H

#include "../bytes.h"

typedef struct gy_image {
    int64_t width, height, channels; /* channels: 1 grey, 2 grey+alpha, 3 RGB, 4 RGBA */
    int bit_depth;                   /* 8 or 16 */
    uint8_t *pixels;                 /* row-major, interleaved; 16-bit samples in host order; gy_malloc'd */
} gy_image;

/* Reads every legal PNG (palette and low depths are expanded, tRNS becomes alpha, Adam7 is resolved). */
gy_status gy_png_read(gy_ctx *ctx, const char *path, gy_image *out) GY_MUST_CHECK;
gy_status gy_png_parse(const gy_bytes *src, gy_image *out) GY_MUST_CHECK;
void gy_image_free(gy_ctx *ctx, gy_image *img);

/* Writes through files.h; adaptive filters. `text` (may be NULL): a tEXt "Description", e.g. the command
 * that made the picture. */
gy_status gy_png_write(gy_ctx *ctx, const char *path, const gy_image *img, const char *text) GY_MUST_CHECK;
/* The same bytes in memory (for data: URLs in a report). */
gy_status gy_png_encode(gy_ctx *ctx, const gy_image *img, const char *text, uint8_t **out,
                        uint64_t *size) GY_MUST_CHECK;

#endif
