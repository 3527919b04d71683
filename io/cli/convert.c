/* gyrus convert: from one format to another. */
#include "arrays.h"

#include "../files.h"
#include "../formats/nifti.h"
#include "../formats/table.h"

#include <inttypes.h>
#include <string.h>

/* Which ways are meaningful: arrays go anywhere that can hold them; an image, a picture or a table becomes an array or
 * stays what it is. */
static bool possible(cli_format from, cli_format to) {
    bool arrays_in = from == CLI_NPY || from == CLI_NPZ || from == CLI_SAFETENSORS || from == CLI_SAFETENSORS_INDEX ||
                     from == CLI_PTH || from == CLI_RECORDING || from == CLI_MAT;
    bool arrays_out = to == CLI_NPY || to == CLI_NPZ || to == CLI_SAFETENSORS;
    return (arrays_in && (arrays_out || to == CLI_NIFTI || to == CLI_PNG || to == CLI_TABLE)) ||
           ((from == CLI_NIFTI || from == CLI_PNG || from == CLI_TABLE) && (arrays_out || to == from));
}

static gy_status refuse(gy_ctx *ctx, const char *in, cli_format from, const char *out, cli_format to) {
    return gy_fail(ctx, GY_ERR_UNSUPPORTED,
                   "%s (%s) to %s (%s): no such conversion. Possible are\n"
                   "  .npy .npz .safetensors .pth .mat ->  .npy .npz .safetensors .nii .nii.gz .hdr .png .csv .tsv\n"
                   "  .edf .bdf .vhdr .set             ->  .npy .npz .safetensors .csv .tsv\n"
                   "  .nii .nii.gz .hdr                ->  .npy .npz .safetensors .nii .nii.gz .hdr\n"
                   "  .png                             ->  .npy .npz .safetensors .png\n"
                   "  .csv .tsv                        ->  .npy .npz .safetensors .csv .tsv",
                   in, cli_format_name(from), out, cli_format_name(to));
}

/* Text cells survive from table to table. */
static gy_status table_to_table(gy_ctx *ctx, const char *in, const char *out) {
    gy_table t;
    gy_status s = cli_table_open(ctx, in, &t);
    if (s != GY_OK) return s;
    gy_table_data *c = gy_calloc(ctx, (size_t)t.columns, sizeof *c);
    char(*name)[24] = gy_calloc(ctx, (size_t)t.columns, sizeof *name);
    s = c && name ? GY_OK : GY_ERR_NOMEM;
    for (int64_t k = 0; s == GY_OK && k < t.columns; k++) {
        snprintf(name[k], sizeof name[k], "c%" PRId64, k);
        c[k].name = t.header ? t.header[k] : name[k];
        s = gy_table_strings(&t, k, (const char ***)(uintptr_t)&c[k].texts);
    }
    char separator = gy_path_has_suffix(out, ".tsv") ? '\t' : ',';
    if (s == GY_OK) s = gy_table_write(ctx, out, separator, c, t.columns, t.rows);
    for (int64_t k = 0; c && k < t.columns; k++) gy_free(ctx, (void *)(uintptr_t)c[k].texts);
    gy_free(ctx, c);
    gy_free(ctx, name);
    gy_table_free(&t);
    return s;
}

/* An array loses the place of its voxels: say where they were. */
static gy_status note_space(gy_ctx *ctx, const char *in, const char *out) {
    gy_nifti img;
    char axes[4];
    gy_status s = gy_nifti_open(ctx, in, cli_limits(), &img);
    if (s != GY_OK) return s;
    fprintf(stderr,
            "note: %s: axes are the image's in reverse ([t, z, y, x]); x, y, z point to %s; affine "
            "[[%g, %g, %g, %g], [%g, %g, %g, %g], [%g, %g, %g, %g]]\n"
            "note: to write voxels back into this space: gyrus convert F.npy F.nii.gz --like %s\n",
            out, gy_nifti_orientation(&img, axes), img.affine[0][0], img.affine[0][1], img.affine[0][2],
            img.affine[0][3], img.affine[1][0], img.affine[1][1], img.affine[1][2], img.affine[1][3], img.affine[2][0],
            img.affine[2][1], img.affine[2][2], img.affine[2][3], in);
    gy_nifti_close(&img);
    return GY_OK;
}

static gy_status cast_all(gy_ctx *ctx, cli_arrays *s, const char *dtype_name) {
    gy_dtype dtype;
    if (!gy_dtype_parse(dtype_name, &dtype))
        return gy_fail(ctx, GY_ERR_USAGE, "--dtype '%s': expected f32, f64, f16, bf16, i8 ... i64, u8 ... u64 or bool",
                       dtype_name);
    for (int64_t i = 0; i < s->n; i++) {
        int64_t changed;
        gy_status r = cli_array_cast(ctx, &s->a[i].value, dtype, &changed);
        if (r != GY_OK) return r;
        if (changed)
            gy_warn(ctx, "%s: %" PRId64 " of %" PRId64 " values changed (rounded or out of the range of %s)",
                    s->a[i].name, changed, gy_shape_count(s->a[i].value.shape), dtype_name);
    }
    return GY_OK;
}

static gy_status convert(gy_ctx *ctx, const cli_args *a, const char *in, const char *out, cli_arrays *s) {
    const char *dtype = cli_get(a, "--dtype"), *like = cli_get(a, "--like");
    cli_format to = cli_format_of_name(out), from = CLI_UNKNOWN;
    bool gzip;
    if (gy_path_exists(in)) { /* else FILE:NAME, or the reader says what is missing */
        gy_status r = cli_detect(ctx, in, &from, &gzip);
        if (r != GY_OK) return r;
        if (!possible(from, to)) return refuse(ctx, in, from, out, to);
        if (from == CLI_TABLE && to == CLI_TABLE && !dtype) return table_to_table(ctx, in, out);
    }
    if (like && to != CLI_NIFTI) return gy_fail(ctx, GY_ERR_USAGE, "--like is for .nii and .hdr, not %s", out);
    gy_status r = cli_arrays_read(ctx, in, s);
    if (r != GY_OK) return r;
    if (!possible(s->format, to)) return refuse(ctx, in, s->format, out, to);
    if (dtype) r = cast_all(ctx, s, dtype);
    if (r == GY_OK && s->format == CLI_NIFTI && to != CLI_NIFTI) r = note_space(ctx, in, out);
    if (r == GY_OK) r = cli_arrays_write(ctx, out, s, like ? like : s->format == CLI_NIFTI ? in : NULL);
    return r;
}

int cli_convert(gy_ctx *ctx, const cli_args *a) {
    if (a->n_positional != 2) return cli_usage_error(ctx, a, "expected IN and OUT");
    cli_arrays s = {0};
    gy_status r = convert(ctx, a, a->positional[0], a->positional[1], &s);
    if (r == GY_OK)
        for (int64_t i = 0; i < s.n && i < 8; i++) {
            char text[GY_SHAPE_TEXT], shown[256];
            fprintf(stderr, "%s: %s %s %s\n", a->positional[1],
                    gy_show_text(s.a[i].name, strlen(s.a[i].name), shown, sizeof shown),
                    gy_dtype_name(s.a[i].value.dtype), gy_shape_text(s.a[i].value.shape, text));
        }
    cli_arrays_free(ctx, &s);
    return r == GY_OK ? CLI_OK : cli_fail(ctx, a);
}
