/* Files as named arrays; see arrays.h. */
#include "arrays.h"

#include "../files.h"
#include "../formats/deflate.h"
#include "../formats/mat.h"
#include "../formats/nifti.h"
#include "../formats/npy.h"
#include "../formats/png.h"
#include "../formats/recording.h"
#include "../formats/table.h"
#include "../report/raster.h"
#include "../weights.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

static const char *const names[CLI_FORMAT_COUNT] = {[CLI_UNKNOWN] = "unknown",
                                                    [CLI_NPY] = "npy",
                                                    [CLI_NPZ] = "npz",
                                                    [CLI_ZIP] = "zip",
                                                    [CLI_NIFTI] = "NIfTI",
                                                    [CLI_SAFETENSORS] = "safetensors",
                                                    [CLI_PNG] = "PNG",
                                                    [CLI_TABLE] = "table",
                                                    [CLI_SAFETENSORS_INDEX] = "safetensors index",
                                                    [CLI_JSON] = "JSON",
                                                    [CLI_MAT] = "MAT",
                                                    [CLI_RECORDING] = "recording",
                                                    [CLI_RUN] = "run folder",
                                                    [CLI_PTH] = "PyTorch state dict",
                                                    [CLI_TOKENIZER] = "tokenizer"};

const char *cli_format_name(cli_format f) {
    return names[f];
}

/* ---- which format ---- */

/* sizeof_hdr is 348 (NIfTI-1, Analyze) or 540 (NIfTI-2) in one of the byte orders. */
static bool looks_nifti(const uint8_t *p, uint64_t n) {
    if (n < 348) return false;
    uint32_t le = gy_le32(p), be = gy_be32(p);
    return le == 348 || be == 348 || ((le == 540 || be == 540) && n >= 8 && memcmp(p + 4, "n", 1) == 0);
}

static bool looks_text(const uint8_t *p, uint64_t n) {
    uint64_t i = 0;
    if (n >= 3 && memcmp(p, "\xef\xbb\xbf", 3) == 0) i = 3;
    if (i == n) return false;
    while (i < n) {
        int step = gy_utf8_next((const char *)p + i, n - i, NULL);
        if (step == 0) return n - i < 4 && i > 0; /* the prefix may end inside a character */
        if (step == 1 && p[i] < 32 && p[i] != '\t' && p[i] != '\n' && p[i] != '\r') return false;
        i += (uint64_t)step;
    }
    return true;
}

static cli_format judge(const uint8_t *p, uint64_t n) {
    if (n >= 6 && memcmp(p, "\x93NUMPY", 6) == 0) return CLI_NPY;
    if (n >= 4 && (memcmp(p, "PK\3\4", 4) == 0 || memcmp(p, "PK\5\6", 4) == 0)) return CLI_ZIP;
    if (n >= 4 && memcmp(p, "\x89PNG", 4) == 0) return CLI_PNG;
    if (gy_recording_looks(p, n)) return CLI_RECORDING;
    if (n >= 128 && memcmp(p, "MATLAB", 6) == 0) return CLI_MAT;
    if (looks_nifti(p, n)) return CLI_NIFTI;
    if (n >= 9 && p[8] == '{' && gy_le64(p) < UINT32_MAX) return CLI_SAFETENSORS; /* cut short or not */
    if (n >= 4 && p[0] == 0x80 && p[1] < 16 && p[3] > 5) return CLI_PTH;          /* a pickle */
    if (!looks_text(p, n)) return CLI_UNKNOWN;
    uint64_t i = 0;
    while (i < n && (p[i] == ' ' || p[i] == '\t' || p[i] == '\n' || p[i] == '\r')) i++;
    return i < n && (p[i] == '{' || p[i] == '[') ? CLI_JSON : CLI_TABLE;
}

static bool all_npy(const gy_bytes *src) {
    gy_zip z;
    bool all = false;
    if (gy_zip_open(src, &z) == GY_OK) {
        all = z.n > 0;
        for (int64_t i = 0; i < z.n; i++) all = all && gy_path_has_suffix(z.entries[i].name, ".npy");
        gy_zip_close(&z);
    } else {
        gy_error_clear(src->ctx);
    }
    return all;
}

/* torch.save's archive: NAME/data.pkl and storages. */
static bool has_pickle(const gy_bytes *src) {
    gy_zip z;
    bool yes = false;
    if (gy_zip_open(src, &z) == GY_OK) {
        for (int64_t i = 0; i < z.n; i++) yes = yes || gy_path_has_suffix(z.entries[i].name, "data.pkl");
        gy_zip_close(&z);
    } else {
        gy_error_clear(src->ctx);
    }
    return yes;
}

/* JSON of which more is known: the index of a sharded model, a tokenizer. */
static cli_format json_kind(const gy_bytes *src) {
    gy_json doc;
    cli_format f = CLI_JSON;
    if (gy_json_parse(src, 0, src->size, &doc) == GY_OK) {
        if (gy_json_get(&doc, 0, "weight_map") >= 0) f = CLI_SAFETENSORS_INDEX;
        if (gy_json_get(&doc, gy_json_get(&doc, 0, "model"), "vocab") >= 0) f = CLI_TOKENIZER;
        gy_json_free(&doc);
    } else {
        gy_error_clear(src->ctx);
    }
    return f;
}

gy_status cli_detect(gy_ctx *ctx, const char *path, cli_format *format, bool *gzip) {
    *format = CLI_UNKNOWN;
    *gzip = false;
    if (gy_path_is_dir(path)) {
        char *json = gy_path_join(ctx, path, "run.json");
        if (!json) return GY_ERR_NOMEM;
        if (gy_path_exists(json)) *format = CLI_RUN;
        gy_free(ctx, json);
        return GY_OK;
    }
    gy_bytes src;
    gy_status s = gy_bytes_open(ctx, path, cli_limits(), &src);
    if (s != GY_OK) return s;
    enum { LOOK = 4096 };
    uint8_t head[LOOK], *inner = NULL;
    uint64_t n = src.size < LOOK ? src.size : LOOK, inner_n = 0;
    s = gy_bytes_read(&src, 0, head, n);
    *gzip = s == GY_OK && n >= 2 && head[0] == 0x1f && head[1] == 0x8b;
    if (*gzip) {
        s = gy_inflate_prefix(&src, 0, src.size, GY_DEFLATE_GZIP, LOOK, &inner, &inner_n);
        if (s == GY_OK) *format = judge(inner, inner_n);
        gy_free(ctx, inner);
    } else if (s == GY_OK) {
        *format = judge(head, n);
        if (*format == CLI_ZIP && all_npy(&src)) *format = CLI_NPZ;
        if (*format == CLI_ZIP && has_pickle(&src)) *format = CLI_PTH;
        if (*format == CLI_JSON) *format = json_kind(&src);
        if (*format == CLI_MAT && gy_path_has_suffix(path, ".set")) *format = CLI_RECORDING;
        /* No mark: the name may be right and the file damaged (that reader then says how), and the voxels of a
         * .hdr + .img pair never have one. */
        if (*format == CLI_UNKNOWN) *format = cli_format_of_name(path);
    }
    gy_bytes_close(&src);
    return s;
}

gy_status cli_source_open(gy_ctx *ctx, const char *path, cli_source *out) {
    gy_bytes file;
    uint8_t magic[2];
    uint64_t n;
    *out = (cli_source){0};
    gy_status s = gy_bytes_open(ctx, path, cli_limits(), &file);
    if (s != GY_OK) return s;
    if (!gy_bytes_has(&file, 0, 2) || gy_bytes_read(&file, 0, magic, 2) != GY_OK || magic[0] != 0x1f ||
        magic[1] != 0x8b) {
        out->src = file;
        return GY_OK;
    }
    s = gy_inflate(&file, 0, file.size, GY_DEFLATE_GZIP, UINT64_MAX, &out->inflated, &n);
    gy_bytes_close(&file);
    if (s != GY_OK) return s;
    s = gy_bytes_from_memory(ctx, path, out->inflated, n, cli_limits(), &out->src);
    if (s != GY_OK) gy_free(ctx, out->inflated);
    return s;
}

void cli_source_close(cli_source *s) {
    gy_ctx *ctx = s->src.ctx;
    gy_bytes_close(&s->src);
    if (s->inflated) gy_free(ctx, s->inflated);
    *s = (cli_source){0};
}

cli_format cli_format_of_name(const char *path) {
    static const struct {
        const char *suffix;
        cli_format format;
    } ends[] = {{".npy", CLI_NPY},       {".npz", CLI_NPZ},       {".safetensors", CLI_SAFETENSORS},
                {".nii", CLI_NIFTI},     {".hdr", CLI_NIFTI},     {".nii.gz", CLI_NIFTI},
                {".hdr.gz", CLI_NIFTI},  {".png", CLI_PNG},       {".csv", CLI_TABLE},
                {".img.gz", CLI_NIFTI},  {".img", CLI_NIFTI},     {".tsv", CLI_TABLE},
                {".edf", CLI_RECORDING}, {".bdf", CLI_RECORDING}, {".vhdr", CLI_RECORDING},
                {".set", CLI_RECORDING}, {".mat", CLI_MAT}};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (gy_path_has_suffix(path, ends[i].suffix)) return ends[i].format;
    return CLI_UNKNOWN;
}

/* ---- reading ---- */

void cli_arrays_free(gy_ctx *ctx, cli_arrays *s) {
    for (int64_t i = 0; s->a && i < s->n; i++) {
        gy_free(ctx, s->a[i].name);
        gy_tensor_free(ctx, &s->a[i].value);
    }
    gy_free(ctx, s->a);
    *s = (cli_arrays){0};
}

static gy_status room_for(gy_ctx *ctx, cli_arrays *s, int64_t n) {
    s->a = gy_calloc(ctx, (size_t)n + 1, sizeof *s->a);
    return s->a ? GY_OK : GY_ERR_NOMEM;
}

/* Takes t over. */
static gy_status add(gy_ctx *ctx, cli_arrays *s, const char *name, size_t len, gy_tensor *t) {
    cli_array *a = &s->a[s->n++];
    a->value = *t;
    a->name = gy_format(ctx, "%.*s", (int)len, name);
    return a->name ? GY_OK : GY_ERR_NOMEM;
}

/* "dir/bold.nii.gz" -> "bold" */
static const char *stem(const char *path, size_t *len) {
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
    size_t n = strcspn(base, ".");
    *len = n ? n : strlen(base);
    return base;
}

static gy_status read_npz(gy_ctx *ctx, const char *path, const char *member, cli_arrays *out) {
    gy_npz z;
    char name[4200];
    gy_status s = gy_npz_open(ctx, path, cli_limits(), &z);
    if (s != GY_OK) return s;
    int64_t n = gy_npz_count(&z);
    s = room_for(ctx, out, n);
    for (int64_t i = 0; s == GY_OK && i < (member ? 1 : n); i++) {
        gy_tensor t;
        const char *want = member ? member : gy_npz_name(&z, i, name, sizeof name);
        s = gy_npz_read(&z, want, &t);
        if (s == GY_OK) s = add(ctx, out, want, strlen(want), &t);
    }
    gy_npz_close(ctx, &z);
    return s;
}

static gy_status read_weights(gy_ctx *ctx, const char *path, const char *member, cli_arrays *out) {
    gy_weights w;
    gy_status s = gy_weights_open(ctx, path, cli_limits(), &w);
    if (s != GY_OK) return s;
    int64_t n = gy_weights_count(&w), k = member ? gy_weights_find(&w, member) : 0;
    s = room_for(ctx, out, n);
    if (s == GY_OK && k < 0) s = gy_fail(ctx, GY_ERR_USAGE, "%s: no tensor '%s' among %" PRId64, path, member, n);
    for (int64_t i = k; s == GY_OK && i < (member ? k + 1 : n); i++) {
        gy_tensor t;
        const char *name = gy_weights_name(&w, i);
        s = gy_weights_read(&w, i, &t);
        if (s == GY_OK) s = add(ctx, out, name, strlen(name), &t);
    }
    gy_weights_close(&w);
    return s;
}

static gy_status read_nifti(gy_ctx *ctx, const char *path, gy_tensor *t) {
    gy_nifti img;
    gy_status s = gy_nifti_open(ctx, path, cli_limits(), &img);
    if (s != GY_OK) return s;
    bool scaled = img.slope != 1 || img.inter != 0;
    s = gy_nifti_read(&img, scaled ? GY_F32 : GY_DTYPE_DEFAULT, t);
    gy_nifti_close(&img);
    return s;
}

/* One array a sampling rate, called by it where there are several: "night.100Hz". */
static gy_status read_recording(gy_ctx *ctx, const char *path, cli_arrays *out) {
    gy_recording r;
    size_t len;
    const char *name = stem(path, &len);
    gy_status s = gy_recording_open(ctx, path, cli_limits(), &r);
    if (s != GY_OK) return s;
    s = room_for(ctx, out, r.n_channels);
    for (int64_t i = 0; s == GY_OK && i < r.n_channels; i++) {
        gy_tensor t;
        char full[256];
        bool seen = r.channel[i].trigger;
        for (int64_t k = 0; !seen && k < i; k++) seen = !r.channel[k].trigger && r.channel[k].rate == r.channel[i].rate;
        if (seen) continue;
        s = gy_recording_tensor(&r, r.channel[i].rate, &t);
        int n = snprintf(full, sizeof full, "%.*s", (int)(len < 200 ? len : 200), name);
        if (!(r.rate > 0)) n += snprintf(full + n, sizeof full - (size_t)n, ".%gHz", r.channel[i].rate);
        if (s == GY_OK) s = add(ctx, out, full, (size_t)n, &t);
    }
    gy_recording_close(&r);
    return s;
}

/* "EEG.chanlocs(3).theta": where node i of the file is found. */
static void mat_path(const gy_mat *m, const int64_t *parent, int64_t i, char *out, size_t size) {
    char part[128], rest[512] = "";
    for (; i >= 0; i = parent[i]) {
        int64_t up = parent[i];
        const gy_mat_node *n = &m->node[i], *p = up >= 0 ? &m->node[up] : NULL;
        int64_t element = p ? (i - p->part) / (p->fields ? p->fields : 1) : 0;
        char before[512];
        snprintf(before, sizeof before, "%s", rest);
        if (p && p->class == GY_MAT_CELL)
            snprintf(part, sizeof part, "{%" PRId64 "}", element + 1);
        else if (p && p->count > 1)
            snprintf(part, sizeof part, "(%" PRId64 ").%.64s", element + 1, n->name);
        else
            snprintf(part, sizeof part, "%s%.64s", p ? "." : "", n->name);
        snprintf(rest, sizeof rest, "%s%.360s", part, before);
    }
    snprintf(out, size, "%s", rest);
}

static gy_status read_mat(gy_ctx *ctx, const char *path, const char *member, cli_arrays *out) {
    gy_mat m;
    gy_status s = gy_mat_open(ctx, path, cli_limits(), &m);
    if (s != GY_OK) return s;
    int64_t *parent = gy_malloc(ctx, (size_t)(m.n + 1) * sizeof *parent);
    s = parent ? room_for(ctx, out, m.n) : GY_ERR_NOMEM;
    for (int64_t i = 0; s == GY_OK && i < m.n; i++) parent[i] = -1;
    for (int64_t i = 0; s == GY_OK && i < m.n; i++)
        for (int64_t k = 0; k < m.node[i].count * m.node[i].fields; k++) parent[m.node[i].part + k] = i;
    for (int64_t i = 0; s == GY_OK && i < m.n; i++) {
        const gy_mat_node *n = &m.node[i];
        char name[512];
        gy_tensor t;
        bool real =
            !n->complex && (n->class == GY_MAT_SPARSE || (n->class >= GY_MAT_DOUBLE && n->class <= GY_MAT_UINT64));
        if (!real || n->rank > GY_MAX_RANK) continue;
        mat_path(&m, parent, i, name, sizeof name);
        if (member && strcmp(name, member) != 0) continue;
        s = gy_mat_tensor(&m, i, &t);
        if (s == GY_OK) s = add(ctx, out, name, strlen(name), &t);
    }
    if (s == GY_OK && member && out->n == 0)
        s = gy_fail(ctx, GY_ERR_USAGE, "%s: no array of real numbers '%s'", path, member);
    gy_free(ctx, parent);
    gy_mat_close(&m);
    return s;
}

static gy_status read_npy(gy_ctx *ctx, const char *path, gy_tensor *t) {
    cli_source file;
    gy_status s = cli_source_open(ctx, path, &file);
    if (s != GY_OK) return s;
    s = gy_npy_parse(&file.src, t);
    cli_source_close(&file);
    return s;
}

static gy_status read_png(gy_ctx *ctx, const char *path, gy_tensor *t) {
    gy_image img;
    cli_source file;
    gy_status s = cli_source_open(ctx, path, &file);
    if (s != GY_OK) return s;
    s = gy_png_parse(&file.src, &img);
    cli_source_close(&file);
    if (s != GY_OK) return s;
    gy_shape shape = img.channels == 1 ? GY_S(img.height, img.width) : GY_S(img.height, img.width, img.channels);
    s = gy_tensor_new(ctx, t, img.bit_depth == 16 ? GY_U16 : GY_U8, shape);
    if (s == GY_OK) memcpy(t->data, img.pixels, gy_tensor_bytes(t));
    gy_image_free(ctx, &img);
    return s;
}

/* A first line of numbers alone is no header. */
static bool headerless(const gy_table *t) {
    double x;
    for (int64_t c = 0; t->header && c < t->columns; c++)
        if (!gy_parse_double(t->header[c], strlen(t->header[c]), &x)) return false;
    return t->columns > 0;
}

gy_status cli_table_open(gy_ctx *ctx, const char *path, gy_table *t) {
    gy_status s = gy_table_read(ctx, path, cli_limits(), (gy_table_args){0}, t);
    if (s != GY_OK) {
        /* a headerless table whose first row repeats a number is refused as a header with one name twice */
        char why[1024];
        gy_status first = s;
        snprintf(why, sizeof why, "%s", gy_error(ctx));
        s = gy_table_read(ctx, path, cli_limits(), (gy_table_args){.headerless = true}, t);
        double x;
        bool numbers = s == GY_OK && t->rows > 0;
        for (int64_t c = 0; numbers && c < t->columns; c++) {
            const char *cell = gy_table_cell(t, 0, c);
            numbers = gy_parse_double(cell, strlen(cell), &x);
        }
        if (numbers) return GY_OK;
        if (s == GY_OK) gy_table_free(t);
        return gy_fail(ctx, first, "%s", why);
    }
    if (!headerless(t)) return GY_OK;
    gy_table_free(t);
    return gy_table_read(ctx, path, cli_limits(), (gy_table_args){.headerless = true}, t);
}

static gy_status read_table(gy_ctx *ctx, const char *path, gy_tensor *out) {
    gy_table t;
    gy_status s = cli_table_open(ctx, path, &t);
    if (s != GY_OK) return s;
    s = gy_tensor_new(ctx, out, GY_F64, GY_S(t.rows, t.columns));
    for (int64_t c = 0; s == GY_OK && c < t.columns; c++) {
        double *v = NULL;
        s = gy_table_numbers(&t, c, &v);
        for (int64_t r = 0; s == GY_OK && r < t.rows; r++) ((double *)out->data)[r * t.columns + c] = v[r];
        gy_free(ctx, v);
    }
    if (s != GY_OK) gy_tensor_free(ctx, out);
    gy_table_free(&t);
    return s;
}

/* "FILE:NAME" is split at the last colon, unless a file of the whole name exists. */
static char *split(gy_ctx *ctx, const char *spec, const char **member) {
    const char *colon = gy_path_exists(spec) ? NULL : strrchr(spec, ':');
    *member = colon && colon[1] ? colon + 1 : NULL;
    return gy_format(ctx, "%.*s", (int)(*member ? (size_t)(colon - spec) : strlen(spec)), spec);
}

static gy_status read_as(gy_ctx *ctx, const char *path, const char *member, cli_arrays *out) {
    bool gzip;
    gy_tensor t = {0};
    gy_status s = cli_detect(ctx, path, &out->format, &gzip);
    if (s == GY_OK && gzip && (out->format == CLI_SAFETENSORS || out->format == CLI_PTH || out->format == CLI_ZIP))
        s = gy_fail(ctx, GY_ERR_UNSUPPORTED, "%s: %s behind gzip is not read: unpack it first (gunzip)", path,
                    cli_format_name(out->format));
    if (s != GY_OK) return s;
    if (out->format == CLI_NPZ) return read_npz(ctx, path, member, out);
    if (out->format == CLI_SAFETENSORS || out->format == CLI_SAFETENSORS_INDEX || out->format == CLI_PTH)
        return read_weights(ctx, path, member, out);
    if (out->format == CLI_MAT) return read_mat(ctx, path, member, out);
    if (member)
        return gy_fail(ctx, GY_ERR_USAGE,
                       "%s:%s: only .npz, .safetensors, .pth and .mat hold arrays by name, this is %s", path, member,
                       cli_format_name(out->format));
    if (out->format == CLI_RECORDING) return read_recording(ctx, path, out);
    switch (out->format) {
    case CLI_NPY: s = read_npy(ctx, path, &t); break;
    case CLI_NIFTI: s = read_nifti(ctx, path, &t); break;
    case CLI_PNG: s = read_png(ctx, path, &t); break;
    case CLI_TABLE: s = read_table(ctx, path, &t); break;
    default:
        return gy_fail(
            ctx, GY_ERR_UNSUPPORTED,
            "%s: no arrays in this (%s%s); arrays are read from npy, npz, safetensors, pth, NIfTI, PNG, CSV, TSV, MAT, "
            "EDF, BDF, BrainVision, EEGLAB",
            path, cli_format_name(out->format), gzip ? " behind gzip" : "");
    }
    if (s != GY_OK) return s;
    size_t len;
    const char *name = stem(path, &len);
    s = room_for(ctx, out, 1);
    if (s == GY_OK) return add(ctx, out, name, len, &t);
    gy_tensor_free(ctx, &t);
    return s;
}

gy_status cli_arrays_read(gy_ctx *ctx, const char *spec, cli_arrays *out) {
    const char *member;
    *out = (cli_arrays){0};
    char *path = split(ctx, spec, &member);
    gy_status s = path ? read_as(ctx, path, member, out) : GY_ERR_NOMEM;
    gy_free(ctx, path);
    if (s != GY_OK) cli_arrays_free(ctx, out);
    return s;
}

/* ---- writing ---- */

static gy_status write_many(gy_ctx *ctx, const char *path, cli_format f, const cli_arrays *s) {
    gy_st_tensor *st = gy_calloc(ctx, (size_t)s->n + 1, sizeof *st);
    gy_tensor *t = gy_calloc(ctx, (size_t)s->n + 1, sizeof *t);
    const char **name = gy_calloc(ctx, (size_t)s->n + 1, sizeof *name);
    gy_status r = st && t && name ? GY_OK : GY_ERR_NOMEM;
    for (int64_t i = 0; r == GY_OK && i < s->n; i++) {
        st[i] = (gy_st_tensor){s->a[i].name, &s->a[i].value};
        t[i] = s->a[i].value;
        name[i] = s->a[i].name;
    }
    if (r == GY_OK)
        r = f == CLI_NPZ ? gy_npz_write(ctx, path, name, t, s->n, 6)
                         : gy_safetensors_write(ctx, path, st, s->n, NULL, 0);
    gy_free(ctx, st);
    gy_free(ctx, t);
    gy_free(ctx, name);
    return r;
}

static gy_status write_nifti(gy_ctx *ctx, const char *path, const gy_tensor *t, const char *like) {
    gy_nifti img = {0};
    if (!like) return gy_nifti_write(ctx, path, t, (gy_nifti_write_args){0});
    gy_status s = gy_nifti_open(ctx, like, cli_limits(), &img);
    if (s == GY_OK) s = gy_nifti_write(ctx, path, t, (gy_nifti_write_args){.like = &img});
    gy_nifti_close(&img);
    return s;
}

static gy_status write_png(gy_ctx *ctx, const char *path, const gy_tensor *t) {
    int64_t rank = t->shape.rank, channels = rank == 3 ? t->shape.dim[2] : 1;
    char text[GY_SHAPE_TEXT];
    if (rank < 2 || rank > 3 || channels < 1 || channels > 4)
        return gy_fail(ctx, GY_ERR_SHAPE,
                       "%s: a picture is [height, width] or [height, width, 1..4 channels], found %s", path,
                       gy_shape_text(t->shape, text));
    gy_image img = {t->shape.dim[1], t->shape.dim[0], channels, 8, NULL};
    if (t->dtype == GY_U8 || t->dtype == GY_U16) {
        img.bit_depth = t->dtype == GY_U16 ? 16 : 8;
        img.pixels = t->data;
        return gy_png_write(ctx, path, &img, NULL);
    }
    if (!gy_dtype_is_float(t->dtype))
        return gy_fail(ctx, GY_ERR_SHAPE, "%s: pixels are u8, u16, or floats in [0, 1]; found %s (see --dtype)", path,
                       gy_dtype_name(t->dtype));
    int64_t n = gy_shape_count(t->shape), outside = 0;
    img.pixels = gy_malloc(ctx, (size_t)n);
    if (!img.pixels) return GY_ERR_NOMEM;
    for (int64_t i = 0; i < n; i++) {
        double v = gy_tensor_get(t, i);
        bool inside = v >= 0 && v <= 1;
        outside += !inside;
        img.pixels[i] = (uint8_t)(inside ? 255 * v + 0.5 : v > 1 ? 255 : 0);
    }
    if (outside) gy_warn(ctx, "%s: %" PRId64 " of %" PRId64 " values were outside [0, 1]", path, outside, n);
    gy_status s = gy_png_write(ctx, path, &img, NULL);
    gy_free(ctx, img.pixels);
    return s;
}

static gy_status write_table(gy_ctx *ctx, const char *path, const gy_tensor *t) {
    char text[GY_SHAPE_TEXT];
    if (t->shape.rank < 1 || t->shape.rank > 2)
        return gy_fail(ctx, GY_ERR_SHAPE, "%s: a table is [rows] or [rows, columns], found %s", path,
                       gy_shape_text(t->shape, text));
    int64_t rows = t->shape.dim[0], columns = t->shape.rank == 2 ? t->shape.dim[1] : 1;
    if (columns < 1 || columns > 65536)
        return gy_fail(ctx, GY_ERR_SHAPE, "%s: expected 1 to 65536 columns, found %" PRId64, path, columns);
    gy_table_data *c = gy_calloc(ctx, (size_t)columns, sizeof *c);
    char(*name)[24] = gy_calloc(ctx, (size_t)columns, sizeof *name);
    double *v = gy_malloc(ctx, (size_t)(rows * columns + 1) * sizeof *v);
    gy_status s = c && name && v ? GY_OK : GY_ERR_NOMEM;
    for (int64_t k = 0; s == GY_OK && k < columns; k++) {
        snprintf(name[k], sizeof name[k], "c%" PRId64, k);
        for (int64_t r = 0; r < rows; r++) v[k * rows + r] = gy_tensor_get(t, r * columns + k);
        c[k] = (gy_table_data){.name = name[k], .numbers = v + k * rows};
    }
    char separator = gy_path_has_suffix(path, ".tsv") ? '\t' : ',';
    if (s == GY_OK) s = gy_table_write(ctx, path, separator, c, columns, rows);
    gy_free(ctx, c);
    gy_free(ctx, name);
    gy_free(ctx, v);
    return s;
}

gy_status cli_arrays_write(gy_ctx *ctx, const char *path, const cli_arrays *s, const char *like) {
    cli_format f = cli_format_of_name(path);
    if (f == CLI_UNKNOWN)
        return gy_fail(ctx, GY_ERR_USAGE,
                       "%s: the ending says no format; write to .npy, .npz, .safetensors, .nii, .nii.gz, .hdr, .png, "
                       ".csv or .tsv",
                       path);
    if (f == CLI_NPZ || f == CLI_SAFETENSORS) return write_many(ctx, path, f, s);
    if (s->n != 1) {
        char all[512] = "";
        for (int64_t i = 0; i < s->n && i < 12; i++) {
            char shown[80];
            size_t used = strlen(all);
            snprintf(all + used, sizeof all - used, "%s%s", used ? ", " : "",
                     gy_show_text(s->a[i].name, strlen(s->a[i].name), shown, sizeof shown));
        }
        return gy_fail(ctx, GY_ERR_USAGE,
                       "%s holds one array, there are %" PRId64 ": choose one as FILE:NAME; names: %s%s", path, s->n,
                       all, s->n > 12 ? ", ..." : "");
    }
    const gy_tensor *t = &s->a[0].value;
    switch (f) {
    case CLI_NPY: return gy_npy_write(ctx, path, t);
    case CLI_NIFTI: return write_nifti(ctx, path, t, like);
    case CLI_PNG: return write_png(ctx, path, t);
    default: return write_table(ctx, path, t);
    }
}

gy_status cli_array_cast(gy_ctx *ctx, gy_tensor *t, gy_dtype dtype, int64_t *changed) {
    gy_tensor to;
    *changed = 0;
    if (t->dtype == dtype) return GY_OK;
    gy_status s = gy_tensor_cast(ctx, t, dtype, &to);
    if (s != GY_OK) return s;
    int64_t n = gy_shape_count(t->shape);
    for (int64_t i = 0; i < n; i++) {
        double a = gy_tensor_get(t, i), b = gy_tensor_get(&to, i);
        *changed += a != b && !(isnan(a) && isnan(b));
    }
    gy_tensor_free(ctx, t);
    *t = to;
    return GY_OK;
}
