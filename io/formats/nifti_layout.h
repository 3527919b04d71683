/* nifti_layout.h: where each field lies in a NIfTI header; what the reader and the writer share. */
#ifndef GY_IO_NIFTI_LAYOUT_H
#define GY_IO_NIFTI_LAYOUT_H

#include "nifti.h"

/* NIfTI-1 and -2 hold the same fields at other places and in other widths. */
typedef struct nifti_layout {
    int size;       /* of the header; also its first field */
    int dim_width;  /* bytes of each dim[], signed */
    int real_width; /* bytes of each floating-point field */
    int code_width; /* bytes of qform_code, sform_code, intent_code */
    int units_width;
    int dim, datatype, bitpix, pixdim, vox_offset, slope, inter, units, toffset, descrip;
    int qform, sform, quatern, qoffset, srow, intent, intent_name, magic;
} nifti_layout;

extern const nifti_layout nifti_layouts[2]; /* version 1, version 2 */

typedef struct nifti_type {
    int code;         /* "datatype" */
    int bits;         /* "bitpix" */
    gy_dtype dtype;   /* GY_DTYPE_DEFAULT: not read here */
    const char *name; /* the standard's */
} nifti_type;

/* NULL if the standard has no such type. */
const nifti_type *nifti_type_of_code(int code);
const nifti_type *nifti_type_of_dtype(gy_dtype dtype);

enum { NIFTI_EXTENDER = 4, NIFTI_MAX_NDIM = 7, NIFTI_HEADER_MAX = 540 + NIFTI_EXTENDER };

/* "a/b.IMG.gz", from "img", to "hdr" -> "a/b.HDR.gz" (owned). NULL when the name does not end in `from`: then
 * no message is recorded; or when memory is out: then one is. */
char *nifti_sibling(gy_ctx *ctx, const char *path, const char *from, const char *to);

#endif
