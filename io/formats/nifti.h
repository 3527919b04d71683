/* nifti.h: brain images: NIfTI-1 and NIfTI-2 (.nii, .nii.gz, .hdr + .img) and, with a warning, the
 * Analyze 7.5 pairs they grew out of.
 *
 * Sources: nifti1.h (R. Cox et al., 2004) and nifti2.h (2011) of the NIfTI working group.
 *
 * Order of axes. In the file x runs fastest: voxel (x, y, z, t) is element x + nx (y + ny (z + nz t)).
 * A gy_tensor is row-major, last axis fastest, so the same bytes in the same order have the shape
 * [t, z, y, x] (4-D) or [z, y, x] (3-D): the axes are the file's in reverse and no voxel is moved.
 * Everything about space (affine, dim[], voxel sizes, orientation codes) keeps the file's order x, y, z.
 *
 * Space is millimetres, +x Right, +y Anterior, +z Superior; time is seconds. */
#ifndef GY_IO_NIFTI_H
#define GY_IO_NIFTI_H

#include "../bytes.h"

typedef enum gy_nifti_space {
    GY_NIFTI_SPACE_SFORM,  /* the affine is the file's sform: preferred by the standard */
    GY_NIFTI_SPACE_QFORM,  /* rotation by a quaternion, voxel sizes, offset */
    GY_NIFTI_SPACE_PIXDIM, /* voxel sizes alone: NIfTI with both codes 0: where the head lies is unknown */
    GY_NIFTI_SPACE_ANALYZE /* the same, and left and right are unknown too */
} gy_nifti_space;

/* What a header says, in the program's units. Filled by gy_nifti_open; all zero is a closed one. */
typedef struct gy_nifti {
    int version;     /* 1 or 2; 0: Analyze 7.5 */
    bool pair;       /* .hdr + .img */
    bool gzip;       /* the voxels are behind gzip */
    bool big_endian; /* byte order of the file */

    int64_t ndim;   /* 1..7 */
    int64_t dim[7]; /* x, y, z, t, ...; 1 beyond ndim */
    int datatype;   /* the standard's code: 4 = int16, ... */
    gy_dtype dtype; /* the same as ours */
    double slope;   /* value = slope * stored + inter; 1 and 0 when the file asks for no scaling */
    double inter;

    double pixdim[3];      /* voxel size along x, y, z in mm, positive */
    double tr;             /* seconds between volumes; 0: not given, or its unit is not one of time */
    double toffset;        /* seconds at which the first volume starts; 0 when the unit is unknown */
    bool space_unit_known; /* false: affine and pixdim are in the file's own, unnamed unit (warned) */
    bool time_unit_known;

    gy_nifti_space space;
    int space_code;      /* 1 scanner, 2 aligned, 3 Talairach, 4 MNI152, 5 other template; 0 unknown */
    double affine[3][4]; /* rows x, y, z: mm = affine * (i, j, k, 1), voxel centres */

    int intent_code;
    char intent_name[17];
    char descrip[81];    /* a stranger's text: show through gy_show_text */
    int64_t extensions;  /* legal header extensions, skipped */
    uint64_t vox_offset; /* byte of the first voxel in the (inflated) data file */

    gy_bytes file;        /* the open file that holds the voxels, compressed or not */
    gy_bytes inflated;    /* its content after gzip, kept from the first gy_nifti_read_volumes on */
    uint8_t *inflated_at; /* owned */
} gy_nifti;

/* Opens an image and reads its header. `path` may name the .nii, .nii.gz, .hdr or .img file; content
 * decides over the name. `limits` NULL: the defaults. All sizes are checked against the bytes that are there
 * (for gzip: against what so many bytes could hold). Refused by name: complex, RGB, float128 and binary
 * voxels, dim[0] outside 1..7, empty axes, disagreeing bitpix, impossible vox_offset, quaternions that are
 * none, singular sform without a qform to fall back on. Read with a warning: unknown units, header
 * extensions that are not well formed, bytes after the voxels, negative voxel sizes, no qform and no sform. */
gy_status gy_nifti_open(gy_ctx *ctx, const char *path, const gy_limits *limits, gy_nifti *out) GY_MUST_CHECK;
void gy_nifti_close(gy_nifti *img); /* all-zero is fine */

/* The shape of gy_nifti_read's tensor: dim[] in reverse. */
gy_shape gy_nifti_shape(const gy_nifti *img);

/* All voxels. `dtype` GY_F32 or GY_F64: scaled values; GY_DTYPE_DEFAULT: the stored type and the stored
 * numbers, scaling not applied. Any other dtype is a usage error. The caller frees *out. */
gy_status gy_nifti_read(gy_nifti *img, gy_dtype dtype, gy_tensor *out) GY_MUST_CHECK;

/* Volumes first .. first+count-1 along the outermost axis of an image with ndim >= 4; shape
 * [count, ..., z, y, x]. A gzip stream cannot be entered in the middle: it is inflated whole, once, and kept
 * until gy_nifti_close, so that reading volume by volume stays linear. */
gy_status gy_nifti_read_volumes(gy_nifti *img, int64_t first, int64_t count, gy_dtype dtype,
                                gy_tensor *out) GY_MUST_CHECK;

/* ---- writing ---------------------------------------------------------------------------------- */

typedef struct gy_nifti_write_args {
    const gy_nifti *like; /* affine, its code, voxel size, TR, intent; x, y, z sizes must equal the tensor's.
                           * NULL: 1 mm voxels at an unknown place */
    double slope, inter;  /* written as they are for readers to apply; slope 0: none */
    int version;          /* 1, 2; 0: 1 where the sizes fit (each <= 32767), else 2 */
    int level;            /* of gzip, 1..9; 0: 6 */
} gy_nifti_write_args;

/* Writes `t` (shape [x], [y, x], [z, y, x], [t, z, y, x] ... up to rank 7) as little-endian NIfTI. The name
 * decides the form: .nii, .nii.gz, or .hdr / .img (both files are written). The tensor's dtype is kept:
 * f32, f64, any integer, bool as uint8; f16 and bf16 have no NIfTI type and are refused. The sform is always
 * written where the place is known, the qform too when the affine has no shear. Atomic (files.h). */
gy_status gy_nifti_write(gy_ctx *ctx, const char *path, const gy_tensor *t, gy_nifti_write_args args) GY_MUST_CHECK;

/* ---- space ------------------------------------------------------------------------------------ */

/* Fails with GY_ERR_SHAPE unless both images have the same x, y, z sizes and no voxel centre lies further apart
 * than tol_mm; the message names both files and what differs. */
gy_status gy_nifti_same_grid(gy_ctx *ctx, const gy_nifti *a, const gy_nifti *b, double tol_mm) GY_MUST_CHECK;

/* Where each voxel axis points, e.g. "RAS": towards Right, Anterior, Superior. Oblique axes get the letter of
 * the nearest one, each letter pair once. "???" when left and right are unknown (Analyze). Returns buf. */
char *gy_nifti_orientation(const gy_nifti *img, char buf[4]);

void gy_nifti_to_mm(const gy_nifti *img, const double voxel[3], double mm[3]);
/* False when the affine is singular (only a hand-made header can be). */
bool gy_nifti_to_voxel(const gy_nifti *img, const double mm[3], double voxel[3]);

#endif
