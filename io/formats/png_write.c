/* png_write.c: writing PNG: one filter a row, chosen by the least sum of absolute differences (12.8 of the
 * standard calls it the usual heuristic), then our deflate. */
#include "png.h"

#include "../files.h"
#include "deflate.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { FILTERS = 5, LEVEL = 6, IDAT_MOST = 1 << 30, MARGIN = 8 /* the most bytes a pixel has */ };

static int paeth(int a, int b, int c) {
    int pa = abs(b - c), pb = abs(a - c), pc = abs(a + b - 2 * c);
    return pa <= pb && pa <= pc ? a : pb <= pc ? b : c;
}

/* Filters a row and returns the sum of |bytes as signed|. Left of `row` and `above` lie at least `step` zeros. */
static uint64_t filter(int type, const uint8_t *row, const uint8_t *above, int64_t n, int64_t step, uint8_t *out) {
    switch (type) {
    case 0: memcpy(out, row, (size_t)n); break;
    case 1:
        for (int64_t i = 0; i < n; i++) out[i] = (uint8_t)(row[i] - row[i - step]);
        break;
    case 2:
        for (int64_t i = 0; i < n; i++) out[i] = (uint8_t)(row[i] - above[i]);
        break;
    case 3:
        for (int64_t i = 0; i < n; i++) out[i] = (uint8_t)(row[i] - (row[i - step] + above[i]) / 2);
        break;
    default:
        for (int64_t i = 0; i < n; i++) out[i] = (uint8_t)(row[i] - paeth(row[i - step], above[i], above[i - step]));
    }
    uint64_t sum = 0;
    for (int64_t i = 0; i < n; i++) sum += (uint64_t)abs((int8_t)out[i]);
    return sum;
}

/* Row y with 16-bit samples in network order. */
static void get_row(const gy_image *img, int64_t y, uint64_t bytes, uint8_t *out) {
    const uint8_t *p = img->pixels + (uint64_t)y * bytes;
    memcpy(out, p, bytes);
    if (img->bit_depth == 8) return;
    for (uint64_t i = 0; i + 1 < bytes; i += 2) {
        uint16_t v;
        memcpy(&v, p + i, 2);
        out[i] = (uint8_t)(v >> 8);
        out[i + 1] = (uint8_t)v;
    }
}

/* `rows` gets height times (filter type, bytes); `work` holds work_size(bytes) zeros. */
static void filter_rows(const gy_image *img, uint64_t bytes, uint8_t *work, uint8_t *rows) {
    int64_t n = (int64_t)bytes, step = img->channels * (img->bit_depth / 8);
    uint8_t *row = work + MARGIN, *above = row + bytes + MARGIN, *tries = above + bytes;
    for (int64_t y = 0; y < img->height; y++, rows += bytes + 1) {
        get_row(img, y, bytes, row);
        int best = 0;
        uint64_t least = UINT64_MAX;
        for (int f = 0; f < FILTERS; f++) {
            uint64_t sum = filter(f, row, above, n, step, tries + f * n);
            if (sum < least) least = sum, best = f;
        }
        rows[0] = (uint8_t)best;
        memcpy(rows + 1, tries + best * n, bytes);
        uint8_t *t = row;
        row = above, above = t;
    }
}

/* This row and the one above, each behind its margin, and the row in every filter. */
static uint64_t work_size(uint64_t bytes) {
    return 2 * (MARGIN + bytes) + FILTERS * bytes;
}

static uint8_t *put_chunk(uint8_t *p, const char type[5], const void *data, uint64_t n) {
    gy_put_be32(p, (uint32_t)n);
    memcpy(p + 4, type, 4);
    if (n) memcpy(p + 8, data, n);
    gy_put_be32(p + 8 + n, gy_crc32(0, p + 4, n + 4));
    return p + 12 + n;
}

/* "Description", NUL, and the text in Latin-1, the only encoding of tEXt: other characters become '?'. */
static uint64_t make_text(const char *text, uint8_t *out) {
    static const char key[] = "Description";
    memcpy(out, key, sizeof key);
    uint64_t n = sizeof key, left = strlen(text);
    while (left) {
        uint32_t code = '?';
        int k = gy_utf8_next(text, left, &code);
        bool printable = code == '\n' || (code >= 32 && code < 127) || (code >= 161 && code < 256);
        out[n++] = k > 0 && printable ? (uint8_t)code : '?';
        uint64_t step = k > 0 ? (uint64_t)k : 1;
        text += step;
        left -= step;
    }
    return n;
}

static gy_status check(gy_ctx *ctx, const gy_image *img) {
    static const char *const what =
        "PNG: expected 1 to 4 channels of 8 or 16 bits and sizes from 1 to 2147483647, found ";
    if (img->width < 1 || img->width > INT32_MAX || img->height < 1 || img->height > INT32_MAX || img->channels < 1 ||
        img->channels > 4 || (img->bit_depth != 8 && img->bit_depth != 16) || !img->pixels)
        return gy_fail(ctx, GY_ERR_USAGE, "%s%" PRId64 " x %" PRId64 " with %" PRId64 " channels of %d bits", what,
                       img->width, img->height, img->channels, img->bit_depth);
    return GY_OK;
}

static gy_status deflate_rows(gy_ctx *ctx, const gy_image *img, uint8_t **out, uint64_t *size) {
    uint64_t bytes = (uint64_t)(img->width * img->channels * (img->bit_depth / 8)), total; /* at most 2^34 */
    if (!gy_mul_u64(bytes + 1, (uint64_t)img->height, &total) || total > SIZE_MAX / 2)
        return gy_fail(ctx, GY_ERR_NOMEM, "PNG: %" PRId64 " x %" PRId64 " pixels are too many", img->width,
                       img->height);
    uint8_t *rows = gy_malloc(ctx, (size_t)total), *work = gy_calloc(ctx, 1, (size_t)work_size(bytes));
    gy_status s = rows && work ? GY_OK : GY_ERR_NOMEM;
    if (s == GY_OK) {
        filter_rows(img, bytes, work, rows);
        s = gy_deflate(ctx, rows, total, GY_DEFLATE_ZLIB, LEVEL, out, size);
    }
    gy_free(ctx, work);
    gy_free(ctx, rows);
    return s;
}

gy_status gy_png_encode(gy_ctx *ctx, const gy_image *img, const char *text, uint8_t **out, uint64_t *size) {
    static const uint8_t signature[8] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
    static const uint8_t colour[5] = {0, 0, 4, 2, 6};
    uint8_t *packed = NULL, *note = NULL;
    uint64_t n = 0, noted = 0;
    *out = NULL;
    *size = 0;
    gy_status s = check(ctx, img);
    if (s == GY_OK) s = deflate_rows(ctx, img, &packed, &n);
    if (s == GY_OK && text) {
        note = gy_malloc(ctx, strlen(text) + 16);
        if (!note)
            s = GY_ERR_NOMEM;
        else
            noted = make_text(text, note);
    }
    if (s == GY_OK) {
        uint64_t parts = n / IDAT_MOST + 1;
        *out = gy_malloc(ctx, (size_t)(8 + 25 + 12 + noted + 12 * parts + n + 12));
        if (!*out) s = GY_ERR_NOMEM;
    }
    if (s == GY_OK) {
        uint8_t ihdr[13] = {0}, *p = *out;
        gy_put_be32(ihdr, (uint32_t)img->width);
        gy_put_be32(ihdr + 4, (uint32_t)img->height);
        ihdr[8] = (uint8_t)img->bit_depth;
        ihdr[9] = colour[img->channels];
        memcpy(p, signature, 8);
        p = put_chunk(p + 8, "IHDR", ihdr, 13);
        if (note) p = put_chunk(p, "tEXt", note, noted);
        for (uint64_t at = 0; at < n; at += IDAT_MOST)
            p = put_chunk(p, "IDAT", packed + at, n - at < IDAT_MOST ? n - at : IDAT_MOST);
        p = put_chunk(p, "IEND", NULL, 0);
        *size = (uint64_t)(p - *out);
    }
    gy_free(ctx, note);
    gy_free(ctx, packed);
    return s;
}

gy_status gy_png_write(gy_ctx *ctx, const char *path, const gy_image *img, const char *text) {
    uint8_t *bytes = NULL;
    uint64_t n = 0;
    gy_status s = gy_png_encode(ctx, img, text, &bytes, &n);
    if (s == GY_OK) s = gy_write_file(ctx, path, bytes, (size_t)n);
    gy_free(ctx, bytes);
    return s;
}
