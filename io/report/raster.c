#include "raster.h"

#include <math.h>
#include <string.h>

enum { MOST_PIXELS = 1 << 28 }; /* what our own reader accepts by default */

/* 8-bit picture of the given size, zeroed; refuses sizes that no picture has. */
static gy_status new_image(gy_ctx *ctx, int64_t height, int64_t width, int64_t channels, gy_image *out) {
    *out = (gy_image){0};
    uint64_t pixels = 0, bytes = 0;
    if (height < 1 || width < 1 || !gy_mul_u64((uint64_t)height, (uint64_t)width, &pixels) || pixels > MOST_PIXELS ||
        !gy_mul_u64(pixels, (uint64_t)channels, &bytes))
        return gy_fail(ctx, GY_ERR_SHAPE, "picture: impossible size %lld x %lld pixels", (long long)width,
                       (long long)height);
    uint8_t *p = gy_calloc(ctx, (size_t)bytes, 1);
    if (!p) return GY_ERR_NOMEM;
    *out = (gy_image){.width = width, .height = height, .channels = channels, .bit_depth = 8, .pixels = p};
    return GY_OK;
}

gy_status gy_raster_map(gy_ctx *ctx, const float *values, int64_t height, int64_t width, gy_colormap map, double lo,
                        double hi, gy_image *out) {
    *out = (gy_image){0};
    if (!(isfinite(lo) && isfinite(hi) && lo < hi))
        return gy_fail(ctx, GY_ERR_USAGE, "colour map: expected a finite range lo < hi, found %g to %g", lo, hi);
    gy_status st = new_image(ctx, height, width, 4, out);
    if (st != GY_OK) return st;
    /* 1,024 steps are finer than 8-bit colour; a table keeps the cube roots out of the loop. */
    enum { STEPS = 1024 };
    gy_rgb table[STEPS + 1];
    for (int i = 0; i <= STEPS; i++) table[i] = gy_colormap_at(map, (double)i / STEPS);
    for (int64_t i = 0; i < height * width; i++) {
        double v = values[i];
        if (isnan(v)) continue;
        double t = (v - lo) / (hi - lo);
        gy_rgb c = table[lround(STEPS * (t > 0 ? (t < 1 ? t : 1) : 0))];
        uint8_t *p = out->pixels + 4 * i;
        p[0] = c.r, p[1] = c.g, p[2] = c.b, p[3] = 255;
    }
    return GY_OK;
}

gy_status gy_raster_overlay(gy_ctx *ctx, gy_image *base, const gy_image *over, const float *v, double threshold) {
    if (base->width != over->width || base->height != over->height || base->channels != 4 || over->channels != 4)
        return gy_fail(ctx, GY_ERR_SHAPE,
                       "overlay: expected two RGBA pictures of one size, found %lld x %lld x %lld "
                       "and %lld x %lld x %lld",
                       (long long)base->height, (long long)base->width, (long long)base->channels,
                       (long long)over->height, (long long)over->width, (long long)over->channels);
    for (int64_t i = 0; i < base->width * base->height; i++)
        if (fabs((double)v[i]) >= threshold) memcpy(base->pixels + 4 * i, over->pixels + 4 * i, 4);
    return GY_OK;
}

gy_status gy_raster_image(gy_ctx *ctx, const float *values, int64_t height, int64_t width, int64_t channels,
                          gy_image *out) {
    *out = (gy_image){0};
    if (channels != 1 && channels != 3 && channels != 4)
        return gy_fail(ctx, GY_ERR_SHAPE, "picture: expected 1, 3 or 4 channels, found %lld", (long long)channels);
    gy_status st = new_image(ctx, height, width, channels, out);
    if (st != GY_OK) return st;
    for (int64_t i = 0; i < height * width * channels; i++) {
        double v = values[i];
        out->pixels[i] = (uint8_t)lround(255 * (v > 0 ? (v < 1 ? v : 1) : 0));
    }
    return GY_OK;
}

gy_status gy_raster_upscale(gy_ctx *ctx, const gy_image *img, int64_t factor, gy_image *out) {
    *out = (gy_image){0};
    if (factor < 1 || factor > 1024)
        return gy_fail(ctx, GY_ERR_USAGE, "upscale: expected a factor from 1 to 1024, found %lld", (long long)factor);
    if (img->bit_depth != 8)
        return gy_fail(ctx, GY_ERR_UNSUPPORTED, "upscale: expected 8 bits a sample, found %d", img->bit_depth);
    gy_status st = new_image(ctx, img->height * factor, img->width * factor, img->channels, out);
    if (st != GY_OK) return st;
    size_t ch = (size_t)img->channels;
    for (int64_t y = 0; y < out->height; y++)
        for (int64_t x = 0; x < out->width; x++)
            memcpy(out->pixels + (size_t)(y * out->width + x) * ch,
                   img->pixels + (size_t)(y / factor * img->width + x / factor) * ch, ch);
    return GY_OK;
}

/* Any 8-bit pixel as RGBA. */
static void to_rgba(const uint8_t *p, int64_t channels, uint8_t out[4]) {
    bool colour = channels >= 3;
    out[0] = p[0];
    out[1] = colour ? p[1] : p[0];
    out[2] = colour ? p[2] : p[0];
    out[3] = channels == 2 ? p[1] : channels == 4 ? p[3] : 255;
}

gy_status gy_raster_grid(gy_ctx *ctx, const gy_image *images, int64_t n, int64_t columns, int64_t scale, int64_t gap,
                         gy_image *out) {
    *out = (gy_image){0};
    if (n < 1 || columns < 1 || scale < 1 || scale > 1024 || gap < 0 || gap > 1024)
        return gy_fail(ctx, GY_ERR_USAGE,
                       "picture grid: expected at least one picture, one column, scale 1 to 1024 and "
                       "gap 0 to 1024, found %lld, %lld, %lld, %lld",
                       (long long)n, (long long)columns, (long long)scale, (long long)gap);
    int64_t w = images[0].width, h = images[0].height;
    for (int64_t i = 0; i < n; i++)
        if (images[i].width != w || images[i].height != h || images[i].bit_depth != 8 || !images[i].pixels)
            return gy_fail(ctx, GY_ERR_SHAPE,
                           "picture grid: picture %lld: expected %lld x %lld pixels of 8 bits, found "
                           "%lld x %lld of %d",
                           (long long)i, (long long)w, (long long)h, (long long)images[i].width,
                           (long long)images[i].height, images[i].bit_depth);
    if (columns > n) columns = n;
    int64_t rows = (n + columns - 1) / columns;
    gy_status st = new_image(ctx, rows * (h * scale + gap) - gap, columns * (w * scale + gap) - gap, 4, out);
    if (st != GY_OK) return st;
    for (int64_t i = 0; i < n; i++) {
        const gy_image *img = &images[i];
        int64_t top = i / columns * (h * scale + gap), left = i % columns * (w * scale + gap);
        for (int64_t y = 0; y < h * scale; y++)
            for (int64_t x = 0; x < w * scale; x++)
                to_rgba(img->pixels + (y / scale * w + x / scale) * img->channels, img->channels,
                        out->pixels + 4 * ((top + y) * out->width + left + x));
    }
    return GY_OK;
}

gy_status gy_raster_data_url(gy_text *t, const gy_image *img) {
    uint8_t *png = NULL;
    uint64_t size = 0;
    gy_status st = gy_png_encode(t->ctx, img, NULL, &png, &size);
    if (st != GY_OK) return st;
    gy_text_put(t, "data:image/png;base64,");
    gy_text_base64(t, png, (size_t)size);
    gy_free(t->ctx, png);
    return t->status;
}
