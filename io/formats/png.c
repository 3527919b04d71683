/* png.c: reading PNG. W3C Portable Network Graphics, 2nd edition; section numbers are its. */
#include "png.h"

#include "deflate.h"

#include <inttypes.h>
#include <string.h>

enum { GREY = 0, RGB = 2, PALETTE = 3, GREY_ALPHA = 4, RGBA = 6 };

/* What the chunks say. */
typedef struct png {
    gy_bytes src; /* in memory: offsets in messages are the file's */
    uint64_t width, height;
    int depth, colour, samples; /* samples a stored pixel */
    bool interlaced;
    uint8_t palette[256][3];
    int64_t palette_size;
    uint8_t alpha[256];   /* of palette entries */
    uint16_t clear[3];    /* tRNS of grey and RGB: the colour that is transparent */
    bool has_alpha_chunk; /* tRNS was there */
    uint64_t idat_from, idat_chunks, idat_bytes;
} png;

/* ---- chunks (5, 11) ---------------------------------------------------------------------------- */

static gy_status read_ihdr(png *k, uint64_t at, const uint8_t *p, uint64_t n) {
    static const uint8_t legal_depths[7] = {1 | 2 | 4 | 8 | 16, 0, 8 | 16, 1 | 2 | 4 | 8, 8 | 16, 0, 8 | 16};
    static const uint8_t samples[7] = {1, 0, 3, 1, 2, 0, 4};
    if (n != 13) return gy_bytes_fail(&k->src, at, "IHDR: expected 13 bytes, found %" PRIu64, n);
    k->width = gy_be32(p);
    k->height = gy_be32(p + 4);
    k->depth = p[8];
    k->colour = p[9];
    if (k->width - 1 > INT32_MAX - 1 || k->height - 1 > INT32_MAX - 1)
        return gy_bytes_fail(&k->src, at,
                             "IHDR: expected width and height from 1 to 2147483647, found %" PRIu64 " x %" PRIu64,
                             k->width, k->height);
    bool one_bit = k->depth && !(k->depth & (k->depth - 1));
    if (k->colour > 6 || !one_bit || !(legal_depths[k->colour] & k->depth))
        return gy_bytes_fail(&k->src, at, "IHDR: colour type %d with %d bits does not exist", k->colour, k->depth);
    if (p[10] || p[11] || p[12] > 1)
        return gy_bytes_fail(&k->src, at, "IHDR: unknown compression %d, filter %d or interlace method %d", p[10],
                             p[11], p[12]);
    k->samples = samples[k->colour];
    k->interlaced = p[12] == 1;
    return gy_bytes_limit(&k->src, GY_LIMIT_IMAGE_PIXELS, k->width * k->height, "pixels");
}

static gy_status read_plte(png *k, uint64_t at, const uint8_t *p, uint64_t n) {
    if (k->palette_size || k->idat_chunks) return gy_bytes_fail(&k->src, at, "PLTE: a second one, or one after IDAT");
    if (k->colour == GREY || k->colour == GREY_ALPHA) return gy_bytes_fail(&k->src, at, "PLTE: in a grey picture");
    uint64_t most = k->colour == PALETTE ? (uint64_t)1 << k->depth : 256;
    if (n == 0 || n % 3 || n / 3 > most)
        return gy_bytes_fail(&k->src, at, "PLTE: expected 1 to %" PRIu64 " colours of 3 bytes, found %" PRIu64 " bytes",
                             most, n);
    memcpy(k->palette, p, n);
    k->palette_size = (int64_t)(n / 3);
    return GY_OK;
}

static gy_status read_trns(png *k, uint64_t at, const uint8_t *p, uint64_t n) {
    if (k->has_alpha_chunk || k->idat_chunks)
        return gy_bytes_fail(&k->src, at, "tRNS: a second one, or one after IDAT");
    if (k->colour == GREY_ALPHA || k->colour == RGBA)
        return gy_bytes_fail(&k->src, at, "tRNS: the picture has alpha already");
    k->has_alpha_chunk = true;
    if (k->colour == PALETTE) {
        if (n > (uint64_t)k->palette_size)
            return gy_bytes_fail(&k->src, at, "tRNS: expected at most %" PRId64 " entries as in PLTE, found %" PRIu64,
                                 k->palette_size, n);
        memset(k->alpha, 255, sizeof k->alpha);
        memcpy(k->alpha, p, n);
        return GY_OK;
    }
    uint64_t expected = 2 * (uint64_t)k->samples;
    if (n != expected)
        return gy_bytes_fail(&k->src, at, "tRNS: expected %" PRIu64 " bytes, found %" PRIu64, expected, n);
    for (int i = 0; i < k->samples; i++) k->clear[i] = gy_be16(p + 2 * i);
    return GY_OK;
}

static gy_status note_idat(png *k, uint64_t at, uint64_t n, bool follows_idat) {
    if (k->idat_chunks && !follows_idat)
        return gy_bytes_fail(&k->src, at, "IDAT: another chunk lies between the parts of the picture");
    if (k->colour == PALETTE && !k->palette_size) return gy_bytes_fail(&k->src, at, "IDAT: expected PLTE before it");
    if (!k->idat_chunks) k->idat_from = at;
    k->idat_chunks++;
    k->idat_bytes += n;
    return GY_OK;
}

static gy_status read_chunk(png *k, uint64_t at, const uint8_t *type, const uint8_t *data, uint64_t n,
                            bool follows_idat) {
    if (memcmp(type, "IHDR", 4) == 0)
        return k->width ? gy_bytes_fail(&k->src, at, "a second IHDR") : read_ihdr(k, at, data, n);
    if (!k->width) return gy_bytes_fail(&k->src, at, "expected IHDR as the first chunk");
    if (memcmp(type, "PLTE", 4) == 0) return read_plte(k, at, data, n);
    if (memcmp(type, "tRNS", 4) == 0) return read_trns(k, at, data, n);
    if (memcmp(type, "IDAT", 4) == 0) return note_idat(k, at, n, follows_idat);
    if (type[0] & 0x20) return GY_OK; /* lower case: safe to pass over, unread and never inflated (5.4) */
    char shown[32];
    return gy_bytes_fail(&k->src, at, "unknown critical chunk '%s'",
                         gy_show_text((const char *)type, 4, shown, sizeof shown));
}

static gy_status read_chunks(png *k) {
    static const uint8_t signature[8] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
    const uint8_t *p = k->src.data;
    if (k->src.size < 8 || memcmp(p, signature, 8) != 0) return gy_bytes_fail(&k->src, 0, "this is no PNG file");
    bool follows_idat = false;
    for (uint64_t at = 8;;) {
        if (!gy_bytes_has(&k->src, at, 12))
            return gy_bytes_fail(&k->src, at, "expected a chunk, found the end: no IEND");
        uint64_t n = gy_be32(p + at);
        if (n > INT32_MAX || !gy_bytes_has(&k->src, at + 12, n))
            return gy_bytes_fail(&k->src, at, "chunk of %" PRIu64 " bytes, but only %" PRIu64 " are left", n,
                                 k->src.size - at - 12);
        const uint8_t *type = p + at + 4;
        uint32_t stored = gy_be32(type + 4 + n), crc = gy_crc32(0, type, n + 4);
        char shown[32];
        gy_show_text((const char *)type, 4, shown, sizeof shown);
        if (stored != crc)
            return gy_bytes_fail(&k->src, at, "chunk '%s': expected CRC %08" PRIx32 ", found %08" PRIx32, shown, crc,
                                 stored);
        if (memcmp(type, "IEND", 4) == 0) {
            if (!k->idat_chunks) return gy_bytes_fail(&k->src, at, "IEND: expected IDAT before it");
            if (at + 12 + n < k->src.size)
                gy_warn(k->src.ctx, "%s: %" PRIu64 " bytes after IEND are ignored", k->src.path,
                        k->src.size - at - 12 - n);
            return GY_OK;
        }
        gy_status s = read_chunk(k, at, type, type + 4, n, follows_idat);
        if (s != GY_OK) return s;
        follows_idat = memcmp(type, "IDAT", 4) == 0;
        at += 12 + n;
    }
}

/* ---- rows (7, 8, 9) ---------------------------------------------------------------------------- */

/* Adam7: pass i holds the pixels (x0 + dx a, y0 + dy b). A picture that is not interlaced is one pass. */
typedef struct pass {
    uint64_t x0, y0, dx, dy, width, height, row_bytes;
} pass;

static int make_passes(const png *k, pass out[7]) {
    static const uint8_t adam7[7][4] = {{0, 0, 8, 8}, {4, 0, 8, 8}, {0, 4, 4, 8}, {2, 0, 4, 4},
                                        {0, 2, 2, 4}, {1, 0, 2, 2}, {0, 1, 1, 2}};
    static const uint8_t whole[1][4] = {{0, 0, 1, 1}};
    const uint8_t(*from)[4] = k->interlaced ? adam7 : whole;
    int n = 0;
    for (int i = 0; i < (k->interlaced ? 7 : 1); i++) {
        pass p = {.x0 = from[i][0], .y0 = from[i][1], .dx = from[i][2], .dy = from[i][3]};
        p.width = k->width > p.x0 ? (k->width - p.x0 + p.dx - 1) / p.dx : 0;
        p.height = k->height > p.y0 ? (k->height - p.y0 + p.dy - 1) / p.dy : 0;
        p.row_bytes = (p.width * (uint64_t)(k->samples * k->depth) + 7) / 8;
        if (p.width && p.height) out[n++] = p; /* an empty pass has no bytes at all, not even filter types */
    }
    return n;
}

static uint8_t paeth(int a, int b, int c) {
    int pa = b - c, pb = a - c, pc = pa + pb;
    pa = pa < 0 ? -pa : pa, pb = pb < 0 ? -pb : pb, pc = pc < 0 ? -pc : pc;
    return (uint8_t)(pa <= pb && pa <= pc ? a : pb <= pc ? b : c);
}

/* Undoes one row's filter in place. `above` is the row before, already undone; step: bytes a pixel, at least 1. */
static bool unfilter(int type, uint8_t *row, const uint8_t *above, uint64_t n, uint64_t step) {
    switch (type) {
    case 0: return true;
    case 1:
        for (uint64_t i = step; i < n; i++) row[i] = (uint8_t)(row[i] + row[i - step]);
        return true;
    case 2:
        for (uint64_t i = 0; above && i < n; i++) row[i] = (uint8_t)(row[i] + above[i]);
        return true;
    case 3:
        for (uint64_t i = 0; i < n; i++) {
            int left = i >= step ? row[i - step] : 0, up = above ? above[i] : 0;
            row[i] = (uint8_t)(row[i] + (left + up) / 2);
        }
        return true;
    case 4:
        for (uint64_t i = 0; i < n; i++) {
            int left = i >= step ? row[i - step] : 0, up = above ? above[i] : 0;
            row[i] = (uint8_t)(row[i] + paeth(left, up, above && i >= step ? above[i - step] : 0));
        }
        return true;
    default: return false;
    }
}

/* Sample i of a row, as stored. */
static uint16_t sample_at(const uint8_t *row, uint64_t i, int depth) {
    if (depth == 8) return row[i];
    if (depth == 16) return gy_be16(row + 2 * i);
    uint64_t bit = i * (uint64_t)depth;
    return (uint16_t)(row[bit / 8] >> (8 - depth - (int)(bit % 8)) & ((1 << depth) - 1));
}

static void put_sample(gy_image *img, uint64_t i, uint16_t v) {
    if (img->bit_depth == 16)
        memcpy(img->pixels + 2 * i, &v, 2);
    else
        img->pixels[i] = (uint8_t)v;
}

/* One stored pixel becomes img->channels samples from `to` on. False: the palette has no such colour. */
static bool put_pixel(const png *k, gy_image *img, const uint8_t *row, uint64_t x, uint64_t to) {
    uint16_t v[4];
    bool clear = k->has_alpha_chunk;
    for (int c = 0; c < k->samples; c++) {
        v[c] = sample_at(row, x * (uint64_t)k->samples + (uint64_t)c, k->depth);
        if (c < 3 && v[c] != k->clear[c]) clear = false;
    }
    if (k->colour == PALETTE) {
        if (v[0] >= k->palette_size) return false;
        for (uint64_t c = 0; c < 3; c++) put_sample(img, to + c, k->palette[v[0]][c]);
        if (img->channels == 4) put_sample(img, to + 3, k->alpha[v[0]]);
        return true;
    }
    int most = (1 << k->depth) - 1, full = img->bit_depth == 16 ? 65535 : 255;
    for (int c = 0; c < k->samples; c++) put_sample(img, to + (uint64_t)c, (uint16_t)(v[c] * (full / most)));
    if (img->channels > k->samples) put_sample(img, to + (uint64_t)k->samples, (uint16_t)(clear ? 0 : full));
    return true;
}

/* All IDAT content as one source; *owned holds the joined bytes where there is more than one chunk. */
static gy_status join_idat(const png *k, uint8_t **owned, gy_bytes *out) {
    const uint8_t *p = k->src.data + k->idat_from, *data = p + 8;
    if (k->idat_chunks > 1) {
        *owned = gy_malloc(k->src.ctx, (size_t)k->idat_bytes);
        if (!*owned) return GY_ERR_NOMEM;
        uint8_t *to = *owned;
        for (uint64_t i = 0; i < k->idat_chunks; i++) {
            uint32_t n = gy_be32(p);
            memcpy(to, p + 8, n);
            to += n;
            p += (uint64_t)n + 12;
        }
        data = *owned;
    }
    return gy_bytes_from_memory(k->src.ctx, k->src.path, data, k->idat_bytes, &k->src.limits, out);
}

static gy_status decode(const png *k, uint8_t *raw, gy_image *out) {
    pass passes[7];
    int n = make_passes(k, passes);
    uint64_t step = (uint64_t)(k->samples * k->depth + 7) / 8;
    for (int i = 0; i < n; i++) {
        const pass *s = &passes[i];
        uint8_t *above = NULL;
        for (uint64_t y = 0; y < s->height; y++, raw += s->row_bytes + 1) {
            uint8_t *row = raw + 1;
            if (!unfilter(raw[0], row, above, s->row_bytes, step))
                return gy_bytes_fail(&k->src, k->idat_from, "IDAT: row %" PRIu64 ": filter type %d does not exist", y,
                                     raw[0]);
            above = row;
            for (uint64_t x = 0; x < s->width; x++) {
                uint64_t at = (s->y0 + y * s->dy) * k->width + s->x0 + x * s->dx;
                if (!put_pixel(k, out, row, x, at * (uint64_t)out->channels))
                    return gy_bytes_fail(&k->src, k->idat_from,
                                         "IDAT: row %" PRIu64 ": a colour past the palette's %" PRId64, y,
                                         k->palette_size);
            }
        }
    }
    return GY_OK;
}

static gy_status read_pixels(const png *k, gy_image *out) {
    gy_ctx *ctx = k->src.ctx;
    pass passes[7];
    uint64_t expected = 0, size = 0;
    int n = make_passes(k, passes);
    for (int i = 0; i < n; i++)
        expected += (passes[i].row_bytes + 1) * passes[i].height; /* < 2^28 pixels: no overflow */
    gy_bytes idat = {0};
    uint8_t *joined = NULL, *raw = NULL;
    gy_status s = join_idat(k, &joined, &idat);
    if (s == GY_OK && (s = gy_inflate(&idat, 0, idat.size, GY_DEFLATE_ZLIB, expected, &raw, &size)) != GY_OK)
        gy_error_prefix(ctx, "IDAT (%" PRIu64 " bytes of rows expected; bytes count within IDAT)", expected);
    gy_bytes_close(&idat);
    gy_free(ctx, joined);
    if (s == GY_OK) {
        int64_t colours = k->colour == PALETTE ? 3 : k->samples;
        *out = (gy_image){.width = (int64_t)k->width,
                          .height = (int64_t)k->height,
                          .channels = colours + k->has_alpha_chunk,
                          .bit_depth = k->depth == 16 ? 16 : 8};
        out->pixels = gy_malloc(ctx, (size_t)(out->width * out->height * out->channels * (out->bit_depth / 8)));
        s = out->pixels ? decode(k, raw, out) : GY_ERR_NOMEM;
    }
    gy_free(ctx, raw);
    if (s != GY_OK) gy_image_free(ctx, out);
    return s;
}

gy_status gy_png_parse(const gy_bytes *src, gy_image *out) {
    memset(out, 0, sizeof *out);
    png k = {0};
    void *owned = NULL;
    const uint8_t *data;
    gy_status s = gy_bytes_borrow(src, 0, src->size, &data, &owned);
    if (s == GY_OK) s = gy_bytes_from_memory(src->ctx, src->path, data, src->size, &src->limits, &k.src);
    if (s == GY_OK) s = read_chunks(&k);
    if (s == GY_OK) s = read_pixels(&k, out);
    gy_bytes_close(&k.src);
    gy_free(src->ctx, owned);
    return s;
}

gy_status gy_png_read(gy_ctx *ctx, const char *path, gy_image *out) {
    memset(out, 0, sizeof *out);
    gy_bytes src;
    gy_status s = gy_bytes_open(ctx, path, NULL, &src);
    if (s != GY_OK) return s;
    s = gy_png_parse(&src, out);
    gy_bytes_close(&src);
    return s;
}

void gy_image_free(gy_ctx *ctx, gy_image *img) {
    gy_free(ctx, img->pixels);
    memset(img, 0, sizeof *img);
}
