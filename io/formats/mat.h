/* mat.h: MATLAB's level-5 MAT files (versions 5 to 7.2), compressed or not, both byte orders.
 *
 * Source: MathWorks, "MAT-File Format" (level 5). Version 7.3 files are HDF5 and version 4 files have no header: both
 * are refused by name.
 *
 * Order of axes. MATLAB is column-major: an array of dims (a, b, c) holds its first index fastest. A gy_tensor is
 * row-major, so the same values in the same order have the shape [c, b, a]: EEGLAB's channels x samples is a tensor
 * [samples, channels]. No value is moved. Trailing dims of size 1 that MATLAB adds to rank 2 are kept. */
#ifndef GY_IO_MAT_H
#define GY_IO_MAT_H

#include "../bytes.h"

typedef enum gy_mat_class {
    GY_MAT_CELL = 1,
    GY_MAT_STRUCT,
    GY_MAT_OBJECT, /* read as a struct */
    GY_MAT_CHAR,
    GY_MAT_SPARSE,
    GY_MAT_DOUBLE,
    GY_MAT_SINGLE,
    GY_MAT_INT8,
    GY_MAT_UINT8,
    GY_MAT_INT16,
    GY_MAT_UINT16,
    GY_MAT_INT32,
    GY_MAT_UINT32,
    GY_MAT_INT64,
    GY_MAT_UINT64,
    GY_MAT_FUNCTION, /* this and the next are not looked into */
    GY_MAT_OPAQUE
} gy_mat_class;

enum { GY_MAT_RANK = 8 };

/* One array. Parts of a cell or struct are nodes part .. part + count x fields - 1: the fields of the first element,
 * then those of the second. */
typedef struct gy_mat_node {
    gy_mat_class class;
    bool complex, logical;
    int64_t rank, dim[GY_MAT_RANK], count; /* count: product of dims; of a sparse matrix: of its rows and columns */
    char *name;                            /* variable or field; "" in a cell */
    int64_t part, fields;                  /* cell: fields 1 */
    int64_t depth;
    /* internal: where its elements are */
    const gy_bytes *from;
    int storage;
    uint64_t at, bytes;          /* numbers or characters */
    uint64_t ir, jc, n_ir, n_jc; /* sparse: row indices and column starts, i32 */
} gy_mat_node;

typedef struct gy_mat {
    gy_ctx *ctx;
    gy_bytes file;
    bool big_endian;
    int64_t n, n_top; /* nodes; the first n_top are the file's variables */
    gy_mat_node *node;
    gy_arena arena;      /* names */
    gy_bytes **inflated; /* [n_inflated], each over a buffer of its own */
    int64_t n_inflated;
} gy_mat;

/* Reads the whole structure and checks it; numbers stay where they are. Compressed variables are inflated. A variable
 * whose compressed data has bytes too many or no checksum is read with a warning: real files are like that. */
gy_status gy_mat_open(gy_ctx *ctx, const char *path, const gy_limits *limits, gy_mat *out) GY_MUST_CHECK;
void gy_mat_close(gy_mat *m); /* all zero is fine */

int64_t gy_mat_find(const gy_mat *m, const char *name); /* a variable; -1: none */
/* Field of element i of a struct; -1: no struct, no such field or element. */
int64_t gy_mat_field(const gy_mat *m, int64_t node, int64_t i, const char *name);
/* Element i of a cell; -1. */
int64_t gy_mat_cell(const gy_mat *m, int64_t node, int64_t i);
const char *gy_mat_class_name(gy_mat_class c);

/* Element i of a real numeric or char array as a double; false: it has none. */
bool gy_mat_number(const gy_mat *m, int64_t node, int64_t i, double *out);
/* A char array's characters, row by row one text, as UTF-8; owned; NULL with a message. */
char *gy_mat_text(const gy_mat *m, int64_t node) GY_MUST_CHECK;
/* A real numeric array in its class's dtype; a sparse one is filled with its zeros. Others are refused. */
gy_status gy_mat_tensor(const gy_mat *m, int64_t node, gy_tensor *out) GY_MUST_CHECK;

#endif
