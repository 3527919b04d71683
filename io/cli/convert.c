/* gyrus convert: from one format to another. */
#include "arrays.h"

#include "../files.h"
#include "../formats/nifti.h"
#include "../formats/table.h"
#include "../formats/tokenizer.h"

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

/* ---- texts ---- */

/* A text's tokens as an array [n]. */
static gy_status tokens_of_text(gy_ctx *ctx, const gy_tokenizer *t, const char *in, cli_arrays *s) {
    gy_bytes src;
    const uint8_t *text;
    void *owned = NULL;
    gy_tokens tokens = {0};
    gy_status r = gy_bytes_open(ctx, in, cli_limits(), &src);
    if (r != GY_OK) return r;
    r = gy_bytes_borrow(&src, 0, src.size, &text, &owned);
    if (r == GY_OK) r = gy_tokenizer_encode(t, (const char *)text, src.size, (gy_encode_args){0}, &tokens);
    if (r == GY_OK && !(s->a = gy_calloc(ctx, 1, sizeof *s->a))) r = GY_ERR_NOMEM;
    s->n = s->a ? 1 : 0;
    if (r == GY_OK && !(s->a[0].name = gy_strdup(ctx, "tokens"))) r = GY_ERR_NOMEM;
    if (r == GY_OK) r = gy_tensor_new(ctx, &s->a[0].value, GY_I32, GY_S(tokens.n));
    for (int64_t i = 0; r == GY_OK && i < tokens.n; i++) ((int32_t *)s->a[0].value.data)[i] = tokens.t[i].id;
    gy_tokens_free(&tokens);
    gy_free(ctx, owned);
    gy_bytes_close(&src);
    return r;
}

static gy_status text_of_tokens(gy_ctx *ctx, const gy_tokenizer *t, const char *in, const char *out, cli_arrays *s) {
    char shape[GY_SHAPE_TEXT], *text = NULL;
    uint64_t bytes = 0;
    gy_status r = cli_arrays_read(ctx, in, s);
    if (r != GY_OK) return r;
    if (s->n != 1 || gy_dtype_is_float(s->a[0].value.dtype))
        return gy_fail(ctx, GY_ERR_SHAPE, "%s: expected one array of integer tokens, found %s %s", in,
                       s->n ? gy_dtype_name(s->a[0].value.dtype) : "none",
                       s->n ? gy_shape_text(s->a[0].value.shape, shape) : "");
    int64_t n = gy_shape_count(s->a[0].value.shape);
    int32_t *id = gy_malloc(ctx, (size_t)n * sizeof *id + 1);
    if (!id) return GY_ERR_NOMEM;
    for (int64_t i = 0; i < n; i++) {
        double v = gy_tensor_get(&s->a[0].value, i);
        id[i] = v >= 0 && v <= INT32_MAX ? (int32_t)v : -1;
    }
    r = gy_tokenizer_decode(t, id, n, false, &text, &bytes);
    gy_free(ctx, id);
    if (r == GY_OK) r = gy_write_file(ctx, out, text, (size_t)bytes);
    gy_free(ctx, text);
    return r;
}

/* --tokenizer: text to .npy, or any array of tokens to a text. */
static gy_status convert_text(gy_ctx *ctx, const cli_args *a, const char *in, const char *out, cli_arrays *s) {
    gy_tokenizer *t;
    const char *dtype = cli_get(a, "--dtype");
    cli_format from = cli_format_of_name(in), to = cli_format_of_name(out);
    if ((from == CLI_UNKNOWN) == (to == CLI_UNKNOWN))
        return gy_fail(ctx, GY_ERR_USAGE, "--tokenizer: expected a text and an array (.npy), found %s and %s", in, out);
    gy_status r = gy_tokenizer_open(ctx, cli_get(a, "--tokenizer"), cli_limits(), &t);
    if (r != GY_OK) return r;
    if (to == CLI_UNKNOWN) {
        r = text_of_tokens(ctx, t, in, out, s);
    } else {
        r = tokens_of_text(ctx, t, in, s);
        if (r == GY_OK && dtype) r = cast_all(ctx, s, dtype);
        if (r == GY_OK) r = cli_arrays_write(ctx, out, s, NULL);
    }
    gy_tokenizer_free(t);
    return r;
}

static gy_status convert(gy_ctx *ctx, const cli_args *a, const char *in, const char *out, cli_arrays *s) {
    const char *dtype = cli_get(a, "--dtype"), *like = cli_get(a, "--like");
    cli_format to = cli_format_of_name(out), from = CLI_UNKNOWN;
    bool gzip;
    if (cli_get(a, "--tokenizer")) return convert_text(ctx, a, in, out, s);
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
