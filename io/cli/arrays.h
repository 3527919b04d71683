/* arrays.h: files as named arrays: which format a file has (by content), every array in it, and writing arrays to a
 * file whose name says the format. What run, inspect and convert share. */
#ifndef GY_CLI_ARRAYS_H
#define GY_CLI_ARRAYS_H

#include "../formats/table.h"
#include "cli.h"

typedef enum cli_format {
    CLI_UNKNOWN = 0,
    CLI_NPY,
    CLI_NPZ, /* a zip whose members are all .npy */
    CLI_ZIP,
    CLI_SAFETENSORS,
    CLI_SAFETENSORS_INDEX,
    CLI_PTH, /* a PyTorch state dict, in a zip or before zips */
    CLI_NIFTI,
    CLI_PNG,
    CLI_TABLE,
    CLI_JSON,
    CLI_TOKENIZER, /* a tokenizer.json */
    CLI_MAT,       /* a MAT file of level 5 */
    CLI_RECORDING, /* EDF, BDF, BrainVision, EEGLAB */
    CLI_RUN,       /* a run folder */
    CLI_FORMAT_COUNT
} cli_format;
const char *cli_format_name(cli_format f); /* "npy", "NIfTI", ... */

/* What a file holds, judged by its first bytes, and only where they say nothing by its name; *gzip: they are behind
 * gzip. A file that is none of these is CLI_UNKNOWN, no error. Fails when it cannot be read. */
gy_status cli_detect(gy_ctx *ctx, const char *path, cli_format *format, bool *gzip) GY_MUST_CHECK;
/* The content of a file, inflated when it is behind gzip; close with cli_source_close. */
typedef struct cli_source {
    gy_bytes src;
    uint8_t *inflated; /* NULL: not behind gzip */
} cli_source;
gy_status cli_source_open(gy_ctx *ctx, const char *path, cli_source *out) GY_MUST_CHECK;
void cli_source_close(cli_source *s);

/* By the ending of a name that is about to be written. */
cli_format cli_format_of_name(const char *path);

typedef struct cli_array {
    char *name;
    gy_tensor value;
} cli_array;
typedef struct cli_arrays {
    cli_format format; /* of the file they came from */
    int64_t n;
    cli_array *a;
} cli_arrays;
void cli_arrays_free(gy_ctx *ctx, cli_arrays *s); /* all-zero is fine */

/* Reads "FILE" (every array) or "FILE:NAME" (one of an .npz, .safetensors or .pth). An array without a name of its own
 * is called as the file without folder and ending. NIfTI: [t, z, y, x], the stored type, or f32 when the file scales
 * its values; PNG:   [height, width, channels] u8 or u16, [height, width] when grey; table: [rows, columns] f64;
 * missing cells are NaN. A recording: [samples, channels] f32, one array a sampling rate; MAT: every array of real
 * numbers under its path ("EEG.times"), axes in reverse. */
gy_status cli_arrays_read(gy_ctx *ctx, const char *spec, cli_arrays *out) GY_MUST_CHECK;

/* A table whose first line counts as its header unless it holds numbers alone. */
gy_status cli_table_open(gy_ctx *ctx, const char *path, gy_table *t) GY_MUST_CHECK;

/* Writes to the format that the name's ending says; `like`: an image whose space a NIfTI file takes over, or NULL.
 * Refuses what the format cannot hold. */
gy_status cli_arrays_write(gy_ctx *ctx, const char *path, const cli_arrays *s, const char *like) GY_MUST_CHECK;

/* t in another type, replaced in place; *changed counts values that are no longer the same. */
gy_status cli_array_cast(gy_ctx *ctx, gy_tensor *t, gy_dtype dtype, int64_t *changed) GY_MUST_CHECK;

#endif
