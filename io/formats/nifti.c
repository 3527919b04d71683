#include "nifti_layout.h"

#include "../files.h"
#include "deflate.h"

#include <ctype.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>

const nifti_layout nifti_layouts[2] = {
    {.size = 348,
     .dim_width = 2,
     .real_width = 4,
     .code_width = 2,
     .units_width = 1,
     .dim = 40,
     .datatype = 70,
     .bitpix = 72,
     .pixdim = 76,
     .vox_offset = 108,
     .slope = 112,
     .inter = 116,
     .units = 123,
     .toffset = 136,
     .descrip = 148,
     .qform = 252,
     .sform = 254,
     .quatern = 256,
     .qoffset = 268,
     .srow = 280,
     .intent = 68,
     .intent_name = 328,
     .magic = 344},
    {.size = 540,
     .dim_width = 8,
     .real_width = 8,
     .code_width = 4,
     .units_width = 4,
     .dim = 16,
     .datatype = 12,
     .bitpix = 14,
     .pixdim = 104,
     .vox_offset = 168,
     .slope = 176,
     .inter = 184,
     .units = 500,
     .toffset = 216,
     .descrip = 240,
     .qform = 344,
     .sform = 348,
     .quatern = 352,
     .qoffset = 376,
     .srow = 400,
     .intent = 504,
     .intent_name = 508,
     .magic = 4},
};

static const nifti_type types[] = {
    {2, 8, GY_U8, "uint8"},
    {4, 16, GY_I16, "int16"},
    {8, 32, GY_I32, "int32"},
    {16, 32, GY_F32, "float32"},
    {64, 64, GY_F64, "float64"},
    {256, 8, GY_I8, "int8"},
    {512, 16, GY_U16, "uint16"},
    {768, 32, GY_U32, "uint32"},
    {1024, 64, GY_I64, "int64"},
    {1280, 64, GY_U64, "uint64"},
    {1, 1, GY_DTYPE_DEFAULT, "binary"},
    {32, 64, GY_DTYPE_DEFAULT, "complex64"},
    {128, 24, GY_DTYPE_DEFAULT, "RGB24"},
    {1536, 128, GY_DTYPE_DEFAULT, "float128"},
    {1792, 128, GY_DTYPE_DEFAULT, "complex128"},
    {2048, 256, GY_DTYPE_DEFAULT, "complex256"},
    {2304, 32, GY_DTYPE_DEFAULT, "RGBA32"},
};

const nifti_type *nifti_type_of_code(int code) {
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
        if (types[i].code == code) return &types[i];
    return NULL;
}

const nifti_type *nifti_type_of_dtype(gy_dtype dtype) {
    if (dtype == GY_BOOL) dtype = GY_U8;
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
        if (types[i].dtype == dtype && dtype != GY_DTYPE_DEFAULT) return &types[i];
    return NULL;
}

char *nifti_sibling(gy_ctx *ctx, const char *path, const char *from, const char *to) {
    size_t n = strlen(path), tail = gy_path_has_suffix(path, ".gz") ? 3 : 0;
    if (n < tail + 4 || path[n - tail - 4] != '.') return NULL;
    for (size_t i = 0; i < 3; i++)
        if (tolower((unsigned char)path[n - tail - 3 + i]) != from[i]) return NULL;
    char *out = gy_strdup(ctx, path);
    for (size_t i = 0; out && i < 3; i++) {
        char *c = &out[n - tail - 3 + i];
        *c = (char)(isupper((unsigned char)*c) ? toupper((unsigned char)to[i]) : to[i]);
    }
    return out;
}

/* ---- fields ---------------------------------------------------------------------------------- */

/* The header's bytes and how to read them. */
typedef struct head {
    gy_bytes src; /* for messages and extents: the header file, inflated as far as needed */
    uint8_t *owned;
    const nifti_layout *at;
    const uint8_t *p;
    bool big;
} head;

static int64_t int_at(const head *h, int at, int width) {
    const uint8_t *p = h->p + at;
    switch (width) {
    case 1: return p[0];
    case 2: return (int16_t)(h->big ? gy_be16(p) : gy_le16(p));
    case 4: return (int32_t)(h->big ? gy_be32(p) : gy_le32(p));
    default: return (int64_t)(h->big ? gy_be64(p) : gy_le64(p));
    }
}

static double real_at(const head *h, int at) {
    const uint8_t *p = h->p + at;
    if (h->at->real_width == 4) {
        uint32_t u = h->big ? gy_be32(p) : gy_le32(p);
        float x;
        memcpy(&x, &u, sizeof x);
        return (double)x;
    }
    uint64_t u = h->big ? gy_be64(p) : gy_le64(p);
    double x;
    memcpy(&x, &u, sizeof x);
    return x;
}

static double real_i(const head *h, int at, int i) {
    return real_at(h, at + i * h->at->real_width);
}

/* ---- which format ----------------------------------------------------------------------------- */

/* sizeof_hdr tells version and byte order; the magic tells NIfTI from Analyze and one file from two. */
static gy_status identify(head *h, gy_nifti *out) {
    static const uint8_t magic2_end[4] = {'\r', '\n', 0x1a, '\n'};
    if (h->src.size < 4)
        return gy_bytes_fail(&h->src, 0, "expected a header of 348 or 540 bytes, found %" PRIu64, h->src.size);
    uint32_t le = gy_le32(h->src.data), be = gy_be32(h->src.data);
    h->big = be == 348 || be == 540;
    uint32_t size = h->big ? be : le;
    if (size != 348 && size != 540)
        return gy_bytes_fail(&h->src, 0,
                             "sizeof_hdr: expected 348 (NIfTI-1) or 540 (NIfTI-2) in either byte order, found %" PRId32,
                             (int32_t)le);
    h->at = &nifti_layouts[size == 540];
    if (!gy_bytes_has(&h->src, 0, size))
        return gy_bytes_fail(&h->src, 0, "expected a header of %" PRIu32 " bytes, found %" PRIu64, size, h->src.size);
    h->p = h->src.data;
    out->big_endian = h->big;
    out->version = size == 540 ? 2 : 1;
    const uint8_t *m = h->p + h->at->magic;
    bool one = m[0] == 'n' && m[1] == '+' && m[3] == 0, two = m[0] == 'n' && m[1] == 'i' && m[3] == 0;
    if ((one || two) && m[2] != (size == 540 ? '2' : '1'))
        return gy_bytes_fail(&h->src, (uint64_t)h->at->magic, "magic says NIfTI-%c, the header's size says NIfTI-%d",
                             m[2] >= ' ' && m[2] < 127 ? m[2] : '?', out->version);
    if (!one && !two) {
        if (size == 540) return gy_bytes_fail(&h->src, 4, "magic: expected \"n+2\" or \"ni2\"");
        if (!gy_path_has_suffix(h->src.path, ".hdr") && !gy_path_has_suffix(h->src.path, ".hdr.gz"))
            return gy_bytes_fail(&h->src, 344, "magic: expected \"n+1\" or \"ni1\": neither NIfTI nor an Analyze .hdr");
        out->version = 0;
    } else if (size == 540 && memcmp(m + 4, magic2_end, 4) != 0) {
        return gy_bytes_fail(&h->src, 8, "magic: the bytes 0d 0a 1a 0a are damaged (a transfer in text mode?)");
    }
    out->pair = !one;
    return GY_OK;
}

/* ---- sizes and type --------------------------------------------------------------------------- */

static gy_status read_dims(const head *h, gy_nifti *out) {
    const nifti_layout *at = h->at;
    int64_t n = int_at(h, at->dim, at->dim_width);
    if (n < 1 || n > NIFTI_MAX_NDIM)
        return gy_bytes_fail(&h->src, (uint64_t)at->dim, "dim[0]: expected 1 to 7 axes, found %" PRId64, n);
    out->ndim = n;
    for (int i = 0; i < NIFTI_MAX_NDIM; i++) out->dim[i] = 1;
    for (int i = 0; i < n; i++) {
        int where = at->dim + (i + 1) * at->dim_width;
        int64_t d = int_at(h, where, at->dim_width);
        /* FreeSurfer stores surfaces with more than 32,767 vertices as dim[1] = -1, count in glmin. */
        if (i == 0 && d == -1 && out->version == 1) {
            d = int_at(h, 144, 4);
            if (d > 0)
                gy_warn(h->src.ctx, "%s: dim[1] is -1: size %" PRId64 " taken from glmin (FreeSurfer's convention)",
                        h->src.path, d);
        }
        if (d < 1)
            return gy_bytes_fail(&h->src, (uint64_t)where, "dim[%d]: expected a positive size, found %" PRId64, i + 1,
                                 d);
        out->dim[i] = d;
    }
    return GY_OK;
}

static gy_status read_type(const head *h, gy_nifti *out) {
    int code = (int)int_at(h, h->at->datatype, 2), bits = (int)int_at(h, h->at->bitpix, 2);
    uint64_t where = (uint64_t)h->at->datatype;
    const nifti_type *t = nifti_type_of_code(code);
    if (!t) return gy_bytes_fail(&h->src, where, "datatype: %d is no NIfTI type", code);
    if (t->dtype == GY_DTYPE_DEFAULT) {
        gy_status s = gy_bytes_fail(&h->src, where, "datatype %d (%s) is not read: integers and float32, float64 are",
                                    code, t->name);
        (void)s;
        return gy_fail(h->src.ctx, GY_ERR_UNSUPPORTED, "%s", gy_error(h->src.ctx));
    }
    if (bits != t->bits)
        return gy_bytes_fail(&h->src, (uint64_t)h->at->bitpix,
                             "bitpix: datatype %d (%s) has %d bits, the header says %d", code, t->name, t->bits, bits);
    out->datatype = code;
    out->dtype = t->dtype;
    return GY_OK;
}

static gy_status read_scaling(const head *h, gy_nifti *out) {
    out->slope = 1;
    out->inter = 0;
    if (out->version == 0) return GY_OK; /* Analyze knows none */
    double slope = real_at(h, h->at->slope), inter = real_at(h, h->at->inter);
    if (slope == 0 || isnan(slope)) return GY_OK; /* the standard's "no scaling" */
    if (isinf(slope)) return gy_bytes_fail(&h->src, (uint64_t)h->at->slope, "scl_slope: infinite");
    if (isinf(inter)) return gy_bytes_fail(&h->src, (uint64_t)h->at->inter, "scl_inter: infinite");
    if (isnan(inter)) {
        gy_warn(h->src.ctx, "%s: scl_inter is NaN beside a valid scl_slope: taken as 0", h->src.path);
        inter = 0;
    }
    out->slope = slope;
    out->inter = inter;
    return GY_OK;
}

static gy_status read_vox_offset(const head *h, gy_nifti *out) {
    int64_t offset, least = out->pair ? 0 : h->at->size + NIFTI_EXTENDER;
    uint64_t where = (uint64_t)h->at->vox_offset;
    if (h->at->size == 540) {
        offset = int_at(h, h->at->vox_offset, 8);
    } else {
        double x = real_at(h, h->at->vox_offset);
        if (!gy_checked_int(x, INT64_MIN / 2, INT64_MAX / 2, &offset))
            return gy_bytes_fail(&h->src, where, "vox_offset: expected a whole number of bytes, found %g", x);
    }
    if (offset < least)
        return gy_bytes_fail(&h->src, where, "vox_offset: expected at least %" PRId64 ", found %" PRId64, least,
                             offset);
    out->vox_offset = (uint64_t)offset;
    return GY_OK;
}

/* ---- space and time --------------------------------------------------------------------------- */

/* Returns the factor to mm and stores the one to seconds (0 if the unit is not of time). */
static double read_units(const head *h, gy_nifti *out, double *to_seconds) {
    int units = (int)int_at(h, h->at->units, h->at->units_width);
    bool analyze = out->version == 0; /* its voxel sizes are mm by definition, its time unit is not told */
    double to_mm = 1;
    out->space_unit_known = true;
    switch (analyze ? 2 : units & 7) {
    case 1: to_mm = 1000; break;
    case 2: break;
    case 3: to_mm = 1e-3; break;
    default:
        out->space_unit_known = false;
        gy_warn(h->src.ctx, "%s: the unit of voxel sizes is not given: numbers are used as they are", h->src.path);
    }
    *to_seconds = 0;
    if (!analyze) switch (units & 0x38) {
        case 8: *to_seconds = 1; break;
        case 16: *to_seconds = 1e-3; break;
        case 24: *to_seconds = 1e-6; break;
        default: break; /* hertz, ppm, rad/s and unknown */
        }
    out->time_unit_known = *to_seconds > 0;
    return to_mm;
}

static void read_time(const head *h, gy_nifti *out, double to_seconds) {
    double tr = real_i(h, h->at->pixdim, 4), start = real_at(h, h->at->toffset);
    if (out->time_unit_known) {
        out->tr = isfinite(tr) && tr > 0 ? tr * to_seconds : 0;
        out->toffset = isfinite(start) ? start * to_seconds : 0;
    } else if (out->dim[3] > 1) {
        gy_warn(h->src.ctx, "%s: the unit of time is not given: pixdim[4] = %g is not taken as the TR", h->src.path,
                tr);
    }
}

static double column_norm(double a[3][4], int j) {
    return sqrt(a[0][j] * a[0][j] + a[1][j] * a[1][j] + a[2][j] * a[2][j]);
}

/* |det| of the 3x3 part against the product of its column lengths: 1 for a rotation, 0 when flat. */
static bool is_invertible(double a[3][4]) {
    double scale = column_norm(a, 0) * column_norm(a, 1) * column_norm(a, 2);
    double det = a[0][0] * (a[1][1] * a[2][2] - a[1][2] * a[2][1]) - a[0][1] * (a[1][0] * a[2][2] - a[1][2] * a[2][0]) +
                 a[0][2] * (a[1][0] * a[2][1] - a[1][1] * a[2][0]);
    return isfinite(scale) && scale > 0 && fabs(det) > 1e-6 * scale;
}

/* Voxel sizes for the methods that need them: positive and finite. */
static gy_status read_pixdim(const head *h, gy_nifti *out, bool needed) {
    for (int i = 0; i < 3; i++) {
        double x = real_i(h, h->at->pixdim, i + 1);
        bool usable = isfinite(x) && x != 0;
        if (!usable && out->dim[i] > 1 && needed)
            return gy_bytes_fail(&h->src, (uint64_t)(h->at->pixdim + (i + 1) * h->at->real_width),
                                 "pixdim[%d]: expected a voxel size, found %g", i + 1, x);
        if (usable && x < 0) {
            gy_warn(h->src.ctx, "%s: pixdim[%d] = %g is negative: its size is used", h->src.path, i + 1, x);
            x = -x;
        }
        out->pixdim[i] = usable ? x : 1; /* an axis of one voxel: any thickness does */
    }
    return GY_OK;
}

/* nifti1.h, "method 2": a rotation by the unit quaternion (a, b, c, d), a >= 0 implied, times voxel sizes. */
static gy_status read_qform(const head *h, gy_nifti *out) {
    double b = real_i(h, h->at->quatern, 0), c = real_i(h, h->at->quatern, 1), d = real_i(h, h->at->quatern, 2);
    double sum = b * b + c * c + d * d, a = 0;
    if (!(sum <= 1 + 1e-5)) /* float32 rounding stays below 1e-6 */
        return gy_bytes_fail(&h->src, (uint64_t)h->at->quatern, "qform: b^2 + c^2 + d^2: expected at most 1, found %g",
                             sum);
    if (1 - sum > 1e-7) {
        a = sqrt(1 - sum);
    } else { /* half a turn: a is 0 up to rounding, the rest becomes a unit vector */
        double r = 1 / sqrt(sum);
        b *= r, c *= r, d *= r;
    }
    double qfac = real_i(h, h->at->pixdim, 0) < 0 ? -1 : 1;
    double r[3][3] = {{a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)},
                      {2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)},
                      {2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c}};
    for (int i = 0; i < 3; i++) {
        for (int j = 0; j < 3; j++) out->affine[i][j] = r[i][j] * out->pixdim[j] * (j == 2 ? qfac : 1);
        out->affine[i][3] = real_i(h, h->at->qoffset, i);
        if (!isfinite(out->affine[i][3]))
            return gy_bytes_fail(&h->src, (uint64_t)(h->at->qoffset + i * h->at->real_width), "qoffset: not finite");
    }
    return GY_OK;
}

static gy_status read_space(const head *h, gy_nifti *out) {
    int qcode = (int)int_at(h, h->at->qform, h->at->code_width),
        scode = (int)int_at(h, h->at->sform, h->at->code_width);
    if (out->version == 0) qcode = scode = 0;
    bool use_sform = scode > 0;
    if (use_sform) {
        for (int i = 0; i < 3; i++)
            for (int j = 0; j < 4; j++) out->affine[i][j] = real_i(h, h->at->srow, 4 * i + j);
        bool finite = isfinite(out->affine[0][3]) && isfinite(out->affine[1][3]) && isfinite(out->affine[2][3]);
        if (!finite || !is_invertible(out->affine)) {
            if (qcode <= 0)
                return gy_bytes_fail(&h->src, (uint64_t)h->at->srow,
                                     "sform: singular or not finite, and no qform to use instead");
            gy_warn(h->src.ctx, "%s: the sform is singular or not finite: the qform is used instead", h->src.path);
            use_sform = false;
        }
    }
    double to_seconds, to_mm = read_units(h, out, &to_seconds);
    gy_status s = GY_OK;
    if (use_sform) {
        out->space = GY_NIFTI_SPACE_SFORM;
        out->space_code = scode;
        for (int j = 0; j < 3; j++) out->pixdim[j] = column_norm(out->affine, j);
    } else if ((s = read_pixdim(h, out, true)) != GY_OK) {
        return s;
    } else if (qcode > 0) {
        out->space = GY_NIFTI_SPACE_QFORM;
        out->space_code = qcode;
        if ((s = read_qform(h, out)) != GY_OK) return s;
    } else {
        out->space = out->version ? GY_NIFTI_SPACE_PIXDIM : GY_NIFTI_SPACE_ANALYZE;
        for (int i = 0; i < 3; i++)
            for (int j = 0; j < 4; j++) out->affine[i][j] = i == j ? out->pixdim[j] : 0;
        gy_warn(h->src.ctx,
                out->version ? "%s: neither qform nor sform: voxel sizes are known, the place in the scanner is not"
                             : "%s: Analyze 7.5 without NIfTI magic: left and right are unknown",
                h->src.path);
    }
    for (int i = 0; i < 3; i++) {
        out->pixdim[i] *= to_mm;
        for (int j = 0; j < 4; j++) {
            out->affine[i][j] *= to_mm;
            if (!isfinite(out->affine[i][j])) return gy_bytes_fail_key(&h->src, "affine", "not finite in mm");
        }
    }
    read_time(h, out, to_seconds);
    return GY_OK;
}

static void read_text(const head *h, gy_nifti *out) {
    memcpy(out->descrip, h->p + h->at->descrip, 80);
    if (out->version == 0) return; /* Analyze has other fields there */
    out->intent_code = (int)int_at(h, h->at->intent, h->at->code_width);
    memcpy(out->intent_name, h->p + h->at->intent_name, 16);
}

/* ---- extensions ------------------------------------------------------------------------------- */

/* Counts the extensions between the header and `end`. The voxels' place comes from vox_offset alone, so a
 * malformed list cannot lead anywhere: the walk stops with a warning. */
static void count_extensions(const head *h, gy_nifti *out, uint64_t end) {
    uint64_t at = (uint64_t)h->at->size + NIFTI_EXTENDER;
    if (out->version == 0 || !gy_bytes_has(&h->src, (uint64_t)h->at->size, NIFTI_EXTENDER) || !h->src.data[h->at->size])
        return;
    if (at >= end) gy_warn(h->src.ctx, "%s: the header announces extensions, none is there", h->src.path);
    while (at < end) {
        int64_t size = gy_bytes_has(&h->src, at, 8) && end - at >= 8
                           ? (int32_t)(h->big ? gy_be32(h->src.data + at) : gy_le32(h->src.data + at))
                           : 0;
        if (size < 16 || size % 16 || (uint64_t)size > end - at) {
            gy_warn(h->src.ctx,
                    "%s: byte %" PRIu64 ": header extension of %" PRId64
                    " bytes (expected a multiple of 16 that ends before the voxels): "
                    "the extensions from here on are ignored",
                    h->src.path, at, size);
            return;
        }
        at += (uint64_t)size;
        out->extensions++;
    }
}

/* ---- opening ---------------------------------------------------------------------------------- */

static gy_status is_gzip(const gy_bytes *b, bool *out) {
    uint8_t p[2] = {0};
    gy_status s = gy_bytes_read(b, 0, p, b->size < 2 ? 0 : 2);
    *out = p[0] == 0x1f && p[1] == 0x8b;
    return s;
}

/* Makes at least the first `want` bytes of the header file (inflated) visible in h->src, if it has them. */
static gy_status load_head(const gy_bytes *file, uint64_t want, head *h) {
    gy_ctx *ctx = file->ctx;
    gy_bytes_close(&h->src);
    gy_free(ctx, h->owned);
    h->owned = NULL;
    uint64_t size = want < file->size ? want : file->size;
    bool packed = false;
    gy_status s = is_gzip(file, &packed);
    if (s != GY_OK) return s;
    if (packed) {
        s = gy_inflate_prefix(file, 0, file->size, GY_DEFLATE_GZIP, want, &h->owned, &size);
    } else {
        h->owned = gy_malloc(ctx, (size_t)size);
        s = h->owned ? gy_bytes_read(file, 0, h->owned, size) : GY_ERR_NOMEM;
    }
    if (s == GY_OK) s = gy_bytes_from_memory(ctx, file->path, h->owned, size, &file->limits, &h->src);
    if (s == GY_OK) h->p = h->src.data;
    return s;
}

/* The other file of a pair, compressed or not; *out is NULL when `path` does not end in `from`. Where neither
 * exists, the likelier name comes back. */
static gy_status find_sibling(gy_ctx *ctx, const char *path, const char *from, const char *to, char **out) {
    gy_error_clear(ctx);
    *out = nifti_sibling(ctx, path, from, to);
    if (!*out) return gy_error_status(ctx);
    if (gy_path_exists(*out)) return GY_OK;
    bool packed = gy_path_has_suffix(*out, ".gz");
    char *other = gy_format(ctx, packed ? "%s" : "%s.gz", *out);
    if (!other) {
        gy_free(ctx, *out);
        *out = NULL;
        return GY_ERR_NOMEM;
    }
    if (packed) other[strlen(other) - 3] = 0;
    char *unwanted = gy_path_exists(other) ? *out : other;
    if (unwanted == *out) *out = other;
    gy_free(ctx, unwanted);
    return GY_OK;
}

/* Opens the .img that belongs to a .hdr. */
static gy_status open_pair(const gy_bytes *header, gy_bytes *out) {
    gy_ctx *ctx = header->ctx;
    char *img;
    gy_status s = find_sibling(ctx, header->path, "hdr", "img", &img);
    if (s != GY_OK) return s;
    if (!img)
        return gy_bytes_fail(
            header, 344, "magic \"ni1\" says that the voxels are in an .img file, but this name does not end in .hdr");
    s = gy_path_exists(img) ? gy_bytes_open(ctx, img, &header->limits, out)
                            : gy_fail(ctx, GY_ERR_IO, "%s: the voxels' file %s is not there", header->path, img);
    gy_free(ctx, img);
    return s;
}

static gy_status voxel_bytes(const gy_nifti *img, uint64_t *out) {
    uint64_t n = gy_dtype_size(img->dtype);
    for (int i = 0; i < NIFTI_MAX_NDIM; i++)
        if (!gy_mul_u64(n, (uint64_t)img->dim[i], &n))
            return gy_bytes_fail_key(&img->file, "dim", "the sizes' product passes 2^64");
    if (n > INT64_MAX) return gy_bytes_fail_key(&img->file, "dim", "the sizes' product passes 2^63 bytes");
    *out = n;
    return GY_OK;
}

/* Compares what the header asks for with what the file can hold, before anything is allocated for it. */
static gy_status check_extent(const gy_nifti *img) {
    uint64_t bytes = 0, need, most = img->file.size;
    char text[GY_SHAPE_TEXT];
    gy_status s = voxel_bytes(img, &bytes);
    if (s != GY_OK) return s;
    gy_shape_text(gy_nifti_shape(img), text);
    if (img->gzip && !gy_mul_u64(most, img->file.limits.v[GY_LIMIT_INFLATE_RATIO], &most)) most = UINT64_MAX;
    if (!gy_add_u64(img->vox_offset, bytes, &need) || need > most)
        return gy_bytes_fail(&img->file, img->vox_offset,
                             "expected %" PRIu64 " bytes of voxels (%s %s), the file has %s%" PRIu64 " bytes in all",
                             bytes, text, gy_dtype_name(img->dtype), img->gzip ? "when inflated at most " : "", most);
    if (!img->gzip && need < most)
        gy_warn(img->file.ctx, "%s: %" PRIu64 " bytes after the voxels are ignored", img->file.path, most - need);
    return GY_OK;
}

static gy_status read_header(const head *h, gy_nifti *out) {
    gy_status s = read_dims(h, out);
    if (s == GY_OK) s = read_type(h, out);
    if (s == GY_OK) s = read_vox_offset(h, out);
    if (s == GY_OK) s = read_scaling(h, out);
    if (s == GY_OK) s = read_space(h, out);
    if (s == GY_OK) read_text(h, out);
    return s;
}

gy_status gy_nifti_open(gy_ctx *ctx, const char *path, const gy_limits *limits, gy_nifti *out) {
    memset(out, 0, sizeof *out);
    gy_bytes file = {0};
    head h = {0};
    char *header;
    gy_status s = find_sibling(ctx, path, "img", "hdr", &header);
    if (s == GY_OK) s = gy_bytes_open(ctx, header ? header : path, limits, &file);
    if (s == GY_OK) s = load_head(&file, NIFTI_HEADER_MAX, &h);
    if (s == GY_OK) s = identify(&h, out);
    if (s == GY_OK) s = read_header(&h, out);
    if (s == GY_OK && out->pair) s = open_pair(&file, &out->file);
    if (s == GY_OK && !out->pair) out->file = file;
    if (s == GY_OK) s = is_gzip(&out->file, &out->gzip);
    if (s == GY_OK) s = check_extent(out);
    uint64_t end = out->pair ? file.size : out->vox_offset;
    if (s == GY_OK && gy_bytes_has(&h.src, (uint64_t)h.at->size, 1) && h.src.data[h.at->size]) {
        s = load_head(&file, end, &h);
        if (s == GY_OK) count_extensions(&h, out, h.src.size);
    }
    gy_bytes_close(&h.src);
    gy_free(ctx, h.owned);
    gy_free(ctx, header);
    if (s != GY_OK && out->pair) gy_nifti_close(out);
    if (s != GY_OK) memset(out, 0, sizeof *out);
    if (s != GY_OK || out->pair) gy_bytes_close(&file);
    return s;
}

void gy_nifti_close(gy_nifti *img) {
    gy_ctx *ctx = img->file.ctx;
    gy_bytes_close(&img->inflated);
    if (ctx) gy_free(ctx, img->inflated_at);
    gy_bytes_close(&img->file);
    memset(img, 0, sizeof *img);
}

gy_shape gy_nifti_shape(const gy_nifti *img) {
    gy_shape s = {.rank = img->ndim};
    for (int64_t i = 0; i < img->ndim; i++) s.dim[i] = img->dim[img->ndim - 1 - i];
    return s;
}
