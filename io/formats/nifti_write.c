/* nifti_write.c: tensors to NIfTI files. */
#include "nifti_layout.h"

#include "../files.h"
#include "deflate.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>

/* ---- the header -------------------------------------------------------------------------------- */

static void put_int(uint8_t *p, int width, int64_t v) {
    if (width == 1)
        p[0] = (uint8_t)v;
    else if (width == 2)
        gy_put_le16(p, (uint16_t)v);
    else if (width == 4)
        gy_put_le32(p, (uint32_t)v);
    else
        gy_put_le64(p, (uint64_t)v);
}

static void put_real(uint8_t *p, int width, double v) {
    if (width == 4) {
        float x = (float)v;
        uint32_t u;
        memcpy(&u, &x, sizeof u);
        gy_put_le32(p, u);
    } else {
        uint64_t u;
        memcpy(&u, &v, sizeof u);
        gy_put_le64(p, u);
    }
}

/* The unit quaternion (b, c, d) of a rotation matrix, a >= 0 left out; *qfac is -1 for a mirrored one.
 * False when the affine's columns are not at right angles: a qform cannot say that. */
static bool rotation_of(const gy_nifti *like, double q[3], double *qfac) {
    double r[3][3];
    for (int j = 0; j < 3; j++)
        for (int i = 0; i < 3; i++) r[i][j] = like->affine[i][j] / like->pixdim[j];
    for (int j = 0; j < 3; j++) {
        int k = (j + 1) % 3;
        double dot = r[0][j] * r[0][k] + r[1][j] * r[1][k] + r[2][j] * r[2][k];
        if (!(fabs(dot) < 1e-5)) return false;
    }
    double det = r[0][0] * (r[1][1] * r[2][2] - r[1][2] * r[2][1]) - r[0][1] * (r[1][0] * r[2][2] - r[1][2] * r[2][0]) +
                 r[0][2] * (r[1][0] * r[2][1] - r[1][1] * r[2][0]);
    *qfac = det < 0 ? -1 : 1;
    for (int i = 0; i < 3; i++) r[i][2] *= *qfac;
    /* Four ways to the same quaternion; dividing by the largest of its parts loses no digits. */
    double square[4] = {1 + r[0][0] + r[1][1] + r[2][2], 1 + r[0][0] - r[1][1] - r[2][2],
                        1 - r[0][0] + r[1][1] - r[2][2],
                        1 - r[0][0] - r[1][1] + r[2][2]}; /* 4 a^2, 4 b^2, 4 c^2, 4 d^2 */
    int big = 0;
    for (int i = 1; i < 4; i++)
        if (square[i] > square[big]) big = i;
    double s = 2 * sqrt(square[big]);                                              /* 4 times that part */
    double ab = r[2][1] - r[1][2], ac = r[0][2] - r[2][0], ad = r[1][0] - r[0][1]; /* 4ab, 4ac, 4ad */
    double bc = r[0][1] + r[1][0], bd = r[0][2] + r[2][0], cd = r[1][2] + r[2][1]; /* 4bc, 4bd, 4cd */
    double part[4][4] = {{s / 4, ab / s, ac / s, ad / s},
                         {ab / s, s / 4, bc / s, bd / s},
                         {ac / s, bc / s, s / 4, cd / s},
                         {ad / s, bd / s, cd / s, s / 4}};
    double sign = part[big][0] < 0 ? -1 : 1; /* q and -q are one rotation: choose a >= 0 */
    for (int i = 0; i < 3; i++) q[i] = sign * part[big][i + 1];
    return true;
}

static void put_space(uint8_t *h, const nifti_layout *at, const gy_nifti *like) {
    int w = at->real_width;
    double q[3], qfac = 1;
    bool placed = like && (like->space == GY_NIFTI_SPACE_SFORM || like->space == GY_NIFTI_SPACE_QFORM);
    int code = placed ? (like->space_code > 0 ? like->space_code : 2) : 0;
    bool qform = placed && rotation_of(like, q, &qfac);
    for (int i = 0; i < 3; i++) put_real(h + at->pixdim + (i + 1) * w, w, like ? like->pixdim[i] : 1);
    put_real(h + at->pixdim, w, qfac);
    if (like) put_real(h + at->pixdim + 4 * w, w, like->tr);
    if (like) put_real(h + at->toffset, w, like->toffset);
    int space_unit = !like || like->space_unit_known ? 2 : 0, time_unit = like && like->time_unit_known ? 8 : 0;
    put_int(h + at->units, at->units_width, space_unit | time_unit);
    put_int(h + at->sform, at->code_width, code);
    put_int(h + at->qform, at->code_width, qform ? code : 0);
    for (int i = 0; i < 3; i++) {
        for (int j = 0; placed && j < 4; j++) put_real(h + at->srow + (4 * i + j) * w, w, like->affine[i][j]);
        if (qform) put_real(h + at->quatern + i * w, w, q[i]);
        if (qform) put_real(h + at->qoffset + i * w, w, like->affine[i][3]);
    }
}

static void make_header(uint8_t h[NIFTI_HEADER_MAX], const nifti_layout *at, bool pair, const gy_tensor *t,
                        const nifti_type *type, const gy_nifti_write_args *args) {
    memset(h, 0, NIFTI_HEADER_MAX);
    gy_put_le32(h, (uint32_t)at->size);
    memcpy(h + at->magic, pair ? "ni" : "n+", 2);
    h[at->magic + 2] = at->size == 540 ? '2' : '1';
    if (at->size == 540)
        memcpy(h + at->magic + 4, "\r\n\x1a\n", 4);
    else
        h[38] = 'r'; /* "regular": Analyze readers ask for it */
    int64_t rank = t->shape.rank;
    for (int i = 0; i <= NIFTI_MAX_NDIM; i++)
        put_int(h + at->dim + i * at->dim_width, at->dim_width, i == 0 ? rank : i <= rank ? t->shape.dim[rank - i] : 1);
    for (int i = 5; i <= NIFTI_MAX_NDIM; i++) put_real(h + at->pixdim + i * at->real_width, at->real_width, 1);
    put_int(h + at->datatype, 2, type->code);
    put_int(h + at->bitpix, 2, type->bits);
    int64_t offset = pair ? 0 : at->size + NIFTI_EXTENDER;
    if (at->size == 540)
        put_int(h + at->vox_offset, 8, offset);
    else
        put_real(h + at->vox_offset, 4, (double)offset);
    put_real(h + at->slope, at->real_width, args->slope != 0 ? args->slope : 1);
    put_real(h + at->inter, at->real_width, args->slope != 0 ? args->inter : 0);
    put_space(h, at, args->like);
    if (args->like) {
        put_int(h + at->intent, at->code_width, args->like->intent_code);
        memcpy(h + at->intent_name, args->like->intent_name, 16);
    }
    memcpy(h + at->descrip, "gyrus " GY_VERSION, sizeof "gyrus " GY_VERSION);
}

/* Whether a header of this version can hold v; version 1 has float32 fields. */
static bool fits(double v, int version, bool positive) {
    double kept = version == 1 ? (fabs(v) <= FLT_MAX ? (double)(float)v : (double)INFINITY) : v;
    return isfinite(kept) && (!positive || kept > 0);
}

static bool space_fits(const gy_nifti *like, int version) {
    for (int i = 0; i < 3; i++) {
        if (!fits(like->pixdim[i], version, true)) return false;
        for (int j = 0; j < 4; j++)
            if (!fits(like->affine[i][j], version, false)) return false;
    }
    return fits(like->tr, version, false) && fits(like->toffset, version, false);
}

/* Refuses what NIfTI cannot say; chooses the version where the caller leaves it open. */
static gy_status check(gy_ctx *ctx, const char *path, const gy_tensor *t, gy_nifti_write_args *args) {
    const gy_shape *s = &t->shape;
    char text[GY_SHAPE_TEXT];
    bool small = true, legal = s->rank >= 1 && s->rank <= NIFTI_MAX_NDIM;
    for (int64_t i = 0; i < s->rank && legal; i++) {
        if (s->dim[i] < 1) legal = false;
        if (s->dim[i] > INT16_MAX) small = false;
    }
    if (!legal)
        return gy_fail(ctx, GY_ERR_SHAPE, "%s: NIfTI holds 1 to 7 axes of at least one voxel, not %s", path,
                       gy_shape_text(*s, text));
    if (!nifti_type_of_dtype(t->dtype))
        return gy_fail(ctx, GY_ERR_UNSUPPORTED, "%s: NIfTI has no type for %s: cast to f32 first", path,
                       gy_dtype_name(t->dtype));
    if (args->version < 0 || args->version > 2 || (args->version == 1 && !small))
        return gy_fail(ctx, GY_ERR_USAGE, "%s: %s does not fit NIfTI-%d (sizes up to 32767 in version 1)", path,
                       gy_shape_text(*s, text), args->version);
    if (!args->version) args->version = small ? 1 : 2;
    if (!fits(args->slope, args->version, args->slope > 0) || !fits(args->inter, args->version, false))
        return gy_fail(ctx, GY_ERR_USAGE, "%s: slope %g and inter %g must be finite and fit NIfTI-%d", path,
                       args->slope, args->inter, args->version);
    if (args->like && !space_fits(args->like, args->version))
        return gy_fail(ctx, GY_ERR_USAGE,
                       "%s: the affine, voxel sizes or times of the image whose space it takes do not fit NIfTI-%d",
                       path, args->version);
    for (int i = 0; args->like && i < 3; i++) {
        int64_t n = i < s->rank ? s->dim[s->rank - 1 - i] : 1;
        if (n != args->like->dim[i])
            return gy_fail(ctx, GY_ERR_SHAPE,
                           "%s: the tensor %s has %" PRId64
                           " voxels along %c, the image whose space it takes has %" PRId64,
                           path, gy_shape_text(*s, text), n, "xyz"[i], args -> like -> dim[i]);
    }
    return GY_OK;
}

/* ---- the files --------------------------------------------------------------------------------- */

/* Puts elements in little-endian order, a block at a time. */
static gy_status put_voxels(gy_writer *w, const gy_tensor *t) {
    uint8_t block[32768];
    size_t width = gy_dtype_size(t->dtype), bytes = gy_tensor_bytes(t);
    if (gy_host_is_little_endian() || width == 1) return gy_writer_put(w, t->data, bytes);
    gy_status s = GY_OK;
    for (size_t at = 0; at < bytes && s == GY_OK; at += sizeof block) {
        size_t n = bytes - at < sizeof block ? bytes - at : sizeof block;
        for (size_t i = 0; i < n; i++)
            block[i] = ((const uint8_t *)t->data)[at + (i / width + 1) * width - 1 - i % width];
        s = gy_writer_put(w, block, n);
    }
    return s;
}

/* gzip needs the content in one piece. */
static gy_status put_gzip(gy_ctx *ctx, gy_writer *w, const uint8_t *header, size_t n, const gy_tensor *t, int level) {
    size_t bytes = gy_tensor_bytes(t), width = gy_dtype_size(t->dtype);
    uint8_t *whole = gy_malloc(ctx, n + bytes), *packed = NULL;
    if (!whole) return GY_ERR_NOMEM;
    if (n) memcpy(whole, header, n);
    if (bytes && gy_host_is_little_endian())
        memcpy(whole + n, t->data, bytes);
    else
        for (size_t i = 0; i < bytes; i++)
            whole[n + i] = ((const uint8_t *)t->data)[(i / width + 1) * width - 1 - i % width];
    uint64_t size = 0;
    gy_status s = gy_deflate(ctx, whole, n + bytes, GY_DEFLATE_GZIP, level ? level : 6, &packed, &size);
    gy_free(ctx, whole);
    if (s == GY_OK) s = gy_writer_put(w, packed, (size_t)size);
    gy_free(ctx, packed);
    return s;
}

/* One file with n header bytes (may be 0) and, if t is given, the voxels. Left open for the caller to commit. */
static gy_status stage(gy_ctx *ctx, const char *path, const uint8_t *header, size_t n, const gy_tensor *t, int level,
                       gy_writer **w) {
    static const gy_tensor none = {.dtype = GY_U8, .shape = {.rank = 1}};
    gy_status s = gy_writer_open(ctx, path, w);
    if (s != GY_OK) return s;
    if (gy_path_has_suffix(path, ".gz")) return put_gzip(ctx, *w, header, n, t ? t : &none, level);
    if (n) s = gy_writer_put(*w, header, n);
    return s == GY_OK && t ? put_voxels(*w, t) : s;
}

gy_status gy_nifti_write(gy_ctx *ctx, const char *path, const gy_tensor *t, gy_nifti_write_args args) {
    gy_status s = check(ctx, path, t, &args);
    if (s != GY_OK) return s;
    const nifti_layout *at = &nifti_layouts[args.version - 1];
    bool is_hdr = gy_path_has_suffix(path, ".hdr") || gy_path_has_suffix(path, ".hdr.gz");
    bool is_img = gy_path_has_suffix(path, ".img") || gy_path_has_suffix(path, ".img.gz");
    if (!is_hdr && !is_img && !gy_path_has_suffix(path, ".nii") && !gy_path_has_suffix(path, ".nii.gz"))
        return gy_fail(ctx, GY_ERR_USAGE, "%s: the name must end in .nii, .nii.gz, .hdr or .img", path);
    uint8_t header[NIFTI_HEADER_MAX];
    size_t n = (size_t)at->size + NIFTI_EXTENDER;
    make_header(header, at, is_hdr || is_img, t, nifti_type_of_dtype(t->dtype), &args);
    gy_writer *first = NULL, *second = NULL;
    if (!is_hdr && !is_img) {
        s = stage(ctx, path, header, n, t, args.level, &first);
    } else { /* both files are complete on disk before either gets its name; the header comes last */
        char *other = is_hdr ? nifti_sibling(ctx, path, "hdr", "img") : nifti_sibling(ctx, path, "img", "hdr");
        s = other ? stage(ctx, is_hdr ? other : path, NULL, 0, t, args.level, &first) : GY_ERR_NOMEM;
        if (s == GY_OK) s = stage(ctx, is_hdr ? path : other, header, n, NULL, args.level, &second);
        gy_free(ctx, other);
    }
    if (s == GY_OK)
        s = gy_writer_commit(first);
    else
        gy_writer_abort(first);
    if (s == GY_OK && second) return gy_writer_commit(second);
    gy_writer_abort(second);
    return s;
}
