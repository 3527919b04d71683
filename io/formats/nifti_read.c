/* nifti_read.c: from the bytes of the voxels to tensors. */
#include "nifti_layout.h"

#include "deflate.h"

#include <inttypes.h>
#include <string.h>

/* ---- the inflated file ------------------------------------------------------------------------ */

/* Inflates the whole data file: exactly the announced bytes, so that a bomb stops there. A file with bytes
 * after the voxels is legal enough to be read once the strict way has failed, without its checksum. */
static gy_status inflate(gy_nifti *img, uint64_t need) {
    gy_ctx *ctx = img->file.ctx;
    uint64_t size = 0, more = need + 1;
    gy_status s = gy_inflate(&img->file, 0, img->file.size, GY_DEFLATE_GZIP, need, &img->inflated_at, &size);
    if (s != GY_OK && s != GY_ERR_NOMEM) {
        char *why = gy_strdup(ctx, gy_error(ctx));
        gy_status again =
            why ? gy_inflate_prefix(&img->file, 0, img->file.size, GY_DEFLATE_GZIP, more, &img->inflated_at, &size)
                : GY_ERR_NOMEM;
        if (again == GY_OK && size == more) {
            gy_warn(ctx, "%s: bytes after the voxels are ignored; the gzip checksum is not verified", img->file.path);
            s = GY_OK;
        } else {
            if (again == GY_OK) gy_free(ctx, img->inflated_at);
            img->inflated_at = NULL;
            s = again == GY_ERR_NOMEM ? again : gy_fail(ctx, s, "%s", why);
        }
        gy_free(ctx, why);
    }
    if (s == GY_OK)
        s = gy_bytes_from_memory(ctx, img->file.path, img->inflated_at, size, &img->file.limits, &img->inflated);
    if (s != GY_OK) {
        gy_free(ctx, img->inflated_at);
        img->inflated_at = NULL;
    }
    return s;
}

static void drop_inflated(gy_nifti *img) {
    gy_bytes_close(&img->inflated);
    gy_free(img->file.ctx, img->inflated_at);
    img->inflated_at = NULL;
    memset(&img->inflated, 0, sizeof img->inflated);
}

/* ---- elements --------------------------------------------------------------------------------- */

/* Reverses the bytes of each of n elements where the file's order is not this machine's. */
static void to_host_order(uint8_t *p, int64_t n, size_t width, bool big_endian) {
    if (gy_host_is_little_endian() != big_endian || width == 1) return;
    for (int64_t i = 0; i < n; i++, p += width)
        for (size_t a = 0, b = width - 1; a < b; a++, b--) {
            uint8_t t = p[a];
            p[a] = p[b];
            p[b] = t;
        }
}

enum { CHUNK = 4096 };

static void widen(const void *src, gy_dtype dtype, int64_t n, double *out) {
    switch (dtype) {
    case GY_U8:
        for (int64_t i = 0; i < n; i++) out[i] = ((const uint8_t *)src)[i];
        break;
    case GY_I8:
        for (int64_t i = 0; i < n; i++) out[i] = ((const int8_t *)src)[i];
        break;
    case GY_I16:
        for (int64_t i = 0; i < n; i++) out[i] = ((const int16_t *)src)[i];
        break;
    case GY_U16:
        for (int64_t i = 0; i < n; i++) out[i] = ((const uint16_t *)src)[i];
        break;
    case GY_I32:
        for (int64_t i = 0; i < n; i++) out[i] = ((const int32_t *)src)[i];
        break;
    case GY_U32:
        for (int64_t i = 0; i < n; i++) out[i] = ((const uint32_t *)src)[i];
        break;
    case GY_I64:
        for (int64_t i = 0; i < n; i++) out[i] = (double)((const int64_t *)src)[i];
        break;
    case GY_U64:
        for (int64_t i = 0; i < n; i++) out[i] = (double)((const uint64_t *)src)[i];
        break;
    case GY_F32:
        for (int64_t i = 0; i < n; i++) out[i] = (double)((const float *)src)[i];
        break;
    default: memcpy(out, src, (size_t)n * sizeof *out); break; /* f64 */
    }
}

/* Scaled values of elements first .. first+n-1 of the file. Scaling is computed in double and rounded once. */
static gy_status read_scaled(const gy_nifti *img, const gy_bytes *src, int64_t first, gy_tensor *out) {
    _Alignas(8) uint8_t raw[CHUNK * 8];
    double value[CHUNK];
    size_t width = gy_dtype_size(img->dtype);
    int64_t n = gy_shape_count(out->shape);
    for (int64_t i = 0; i < n; i += CHUNK) {
        int64_t m = n - i < CHUNK ? n - i : CHUNK;
        uint64_t at = img->vox_offset + (uint64_t)(first + i) * width;
        gy_status s = gy_bytes_read(src, at, raw, (uint64_t)m * width);
        if (s != GY_OK) return s;
        to_host_order(raw, m, width, img->big_endian);
        widen(raw, img->dtype, m, value);
        if (img->slope != 1 || img->inter != 0)
            for (int64_t j = 0; j < m; j++) value[j] = value[j] * img->slope + img->inter;
        if (out->dtype == GY_F64)
            memcpy((double *)out->data + i, value, (size_t)m * sizeof *value);
        else
            for (int64_t j = 0; j < m; j++) ((float *)out->data)[i + j] = (float)value[j];
    }
    return GY_OK;
}

static gy_status read_elements(gy_nifti *img, int64_t first, gy_shape shape, gy_dtype dtype, gy_tensor *out) {
    gy_ctx *ctx = img->file.ctx;
    const gy_bytes *src = img->gzip ? &img->inflated : &img->file;
    size_t width = gy_dtype_size(img->dtype);
    uint64_t at = img->vox_offset + (uint64_t)first * width;
    gy_status s = gy_tensor_new(ctx, out, dtype == GY_DTYPE_DEFAULT ? img->dtype : dtype, shape);
    if (s == GY_OK && dtype == GY_DTYPE_DEFAULT) {
        s = gy_bytes_read(src, at, out->data, gy_tensor_bytes(out));
        to_host_order(out->data, gy_shape_count(shape), width, img->big_endian);
    } else if (s == GY_OK) {
        s = read_scaled(img, src, first, out);
    }
    if (s != GY_OK) gy_tensor_free(ctx, out);
    return s;
}

static gy_status prepare(gy_nifti *img, gy_dtype dtype, gy_tensor *out) {
    memset(out, 0, sizeof *out);
    if (dtype != GY_DTYPE_DEFAULT && dtype != GY_F32 && dtype != GY_F64)
        return gy_fail(img->file.ctx, GY_ERR_USAGE, "%s: voxels are read as f32, f64 or as stored, not as %s",
                       img->file.path, gy_dtype_name(dtype));
    if (!img->gzip || img->inflated_at) return GY_OK;
    uint64_t bytes = (uint64_t)gy_shape_count(gy_nifti_shape(img)) * gy_dtype_size(img->dtype); /* checked by open */
    return inflate(img, img->vox_offset + bytes);
}

gy_status gy_nifti_read(gy_nifti *img, gy_dtype dtype, gy_tensor *out) {
    bool kept = img->inflated_at != NULL;
    gy_status s = prepare(img, dtype, out);
    if (s == GY_OK) s = read_elements(img, 0, gy_nifti_shape(img), dtype, out);
    if (!kept) drop_inflated(img);
    return s;
}

gy_status gy_nifti_read_volumes(gy_nifti *img, int64_t first, int64_t count, gy_dtype dtype, gy_tensor *out) {
    memset(out, 0, sizeof *out);
    gy_shape shape = gy_nifti_shape(img);
    if (img->ndim < 4)
        return gy_fail(img->file.ctx, GY_ERR_SHAPE, "%s: %" PRId64 " axes: there are no volumes to choose from",
                       img->file.path, img->ndim);
    if (first < 0 || count < 1 || count > shape.dim[0] || first > shape.dim[0] - count)
        return gy_fail(img->file.ctx, GY_ERR_USAGE,
                       "%s: %" PRId64 " volumes from number %" PRId64 " on asked for, the file has 0 to %" PRId64,
                       img->file.path, count, first, shape.dim[0] - 1);
    int64_t volume = gy_shape_count(shape) / shape.dim[0];
    shape.dim[0] = count;
    gy_status s = prepare(img, dtype, out);
    return s == GY_OK ? read_elements(img, first * volume, shape, dtype, out) : s;
}
