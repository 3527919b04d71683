/* gyrus inspect: what is in a file, judged by its content. Every fact is put once, as a key and a value; --json prints
 * them as an object, else as lines. Strings from files are escaped before a terminal sees them. */
#include "arrays.h"

#include "../files.h"
#include "../formats/json.h"
#include "../formats/mat.h"
#include "../formats/nifti.h"
#include "../formats/npy.h"
#include "../formats/png.h"
#include "../formats/pth.h"
#include "../formats/recording.h"
#include "../formats/safetensors.h"
#include "../formats/tokenizer.h"
#include "../formats/table.h"
#include "../run.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

typedef struct page {
    gy_ctx *ctx;
    bool json;
    gy_json_writer w;
} page;

static void put_text(page *p, const char *key, const char *value) {
    char shown[256];
    if (p->json)
        gy_json_put_string(&p->w, key, value);
    else if (value)
        printf("  %-14s %s\n", key, gy_show_text(value, strlen(value), shown, sizeof shown));
}

static void put_int(page *p, const char *key, int64_t value) {
    if (p->json)
        gy_json_put_int(&p->w, key, value);
    else
        printf("  %-14s %" PRId64 "\n", key, value);
}

static void put_real(page *p, const char *key, double value) {
    if (p->json)
        gy_json_put_real(&p->w, key, value);
    else
        printf("  %-14s %.7g\n", key, value);
}

static void put_bool(page *p, const char *key, bool value) {
    if (p->json)
        gy_json_put_bool(&p->w, key, value);
    else
        printf("  %-14s %s\n", key, value ? "yes" : "no");
}

static void put_ints(page *p, const char *key, const int64_t *v, int64_t n) {
    if (p->json) gy_json_open_array(&p->w, key);
    if (!p->json) printf("  %-14s [", key);
    for (int64_t i = 0; i < n; i++)
        if (p->json)
            gy_json_put_int(&p->w, NULL, v[i]);
        else
            printf("%s%" PRId64, i ? ", " : "", v[i]);
    if (p->json)
        gy_json_close(&p->w);
    else
        printf("]\n");
}

static void put_reals(page *p, const char *key, const double *v, int64_t n) {
    if (p->json) gy_json_open_array(&p->w, key);
    if (!p->json) printf("  %-14s [", key);
    for (int64_t i = 0; i < n; i++)
        if (p->json)
            gy_json_put_real(&p->w, NULL, v[i]);
        else
            printf("%s%.7g", i ? ", " : "", v[i] + 0.0); /* no -0 */
    if (p->json)
        gy_json_close(&p->w);
    else
        printf("]\n");
}

/* A named array or column: its own object in JSON, one line in text. */
static void put_item(page *p, const char *name, const char *type, const gy_shape *shape, const char *remark) {
    char text[GY_SHAPE_TEXT], shown[256];
    if (p->json) {
        gy_json_open_object(&p->w, NULL);
        gy_json_put_string(&p->w, "name", name);
        gy_json_put_string(&p->w, "type", type);
        if (shape) put_ints(p, "shape", shape->dim, shape->rank);
        if (remark) gy_json_put_string(&p->w, "remark", remark);
        gy_json_close(&p->w);
    } else {
        printf("    %-40s %-6s %s%s%s\n", gy_show_text(name, strlen(name), shown, sizeof shown), type,
               shape ? gy_shape_text(*shape, text) : "", shape && remark ? "  " : "", remark ? remark : "");
    }
}

static void open_list(page *p, const char *key, int64_t n) {
    if (p->json)
        gy_json_open_array(&p->w, key);
    else
        printf("  %-14s %" PRId64 "\n", key, n);
}

static void close_list(page *p) {
    if (p->json) gy_json_close(&p->w);
}

/* ---- statistics of values ---- */

typedef struct range {
    int64_t n, nan, inf;
    double lo, hi, sum;
} range;

static void widen(range *r, const gy_tensor *t) {
    int64_t n = gy_shape_count(t->shape);
    if (r->n == 0) r->lo = INFINITY, r->hi = -INFINITY;
    for (int64_t i = 0; i < n; i++) {
        double v = gy_tensor_get(t, i);
        if (isnan(v)) {
            r->nan++;
        } else if (isinf(v)) {
            r->inf++;
        } else {
            r->sum += v;
            r->lo = fmin(r->lo, v);
            r->hi = fmax(r->hi, v);
        }
    }
    r->n += n;
}

static void put_range(page *p, const range *r) {
    int64_t finite = r->n - r->nan - r->inf;
    put_int(p, "values", r->n);
    if (finite > 0) {
        put_real(p, "min", r->lo);
        put_real(p, "max", r->hi);
        put_real(p, "mean", r->sum / (double)finite);
    }
    put_int(p, "nan", r->nan);
    put_int(p, "inf", r->inf);
}

/* ---- one function a format ---- */

static gy_status npy(page *p, const char *path) {
    cli_arrays one;
    range r = {0};
    gy_status s = cli_arrays_read(p->ctx, path, &one);
    if (s != GY_OK) return s;
    const gy_tensor *t = &one.a[0].value;
    put_text(p, "dtype", gy_dtype_name(t->dtype));
    put_ints(p, "shape", t->shape.dim, t->shape.rank);
    widen(&r, t);
    put_range(p, &r);
    cli_arrays_free(p->ctx, &one);
    return GY_OK;
}

static gy_status npz(page *p, const char *path) {
    cli_arrays all;
    gy_status s = cli_arrays_read(p->ctx, path, &all);
    if (s != GY_OK) return s;
    open_list(p, "arrays", all.n);
    for (int64_t i = 0; i < all.n; i++) {
        const gy_tensor *t = &all.a[i].value;
        range r = {0};
        char remark[128];
        widen(&r, t);
        snprintf(remark, sizeof remark, "range %.6g .. %.6g", r.lo, r.hi);
        if (r.nan + r.inf)
            snprintf(remark, sizeof remark, "range %.6g .. %.6g, %" PRId64 " NaN, %" PRId64 " Inf", r.lo, r.hi, r.nan,
                     r.inf);
        put_item(p, all.a[i].name, gy_dtype_name(t->dtype), &t->shape, r.n > r.nan + r.inf ? remark : NULL);
    }
    close_list(p);
    cli_arrays_free(p->ctx, &all);
    return GY_OK;
}

static gy_status zip(page *p, const char *path) {
    cli_source file;
    gy_zip z;
    gy_status s = cli_source_open(p->ctx, path, &file);
    if (s != GY_OK) return s;
    s = gy_zip_open(&file.src, &z);
    if (s == GY_OK) {
        open_list(p, "entries", z.n);
        for (int64_t i = 0; i < z.n; i++) {
            char remark[64];
            snprintf(remark, sizeof remark, "%" PRIu64 " bytes, %" PRIu64 " packed", z.entries[i].size,
                     z.entries[i].packed);
            put_item(p, z.entries[i].name, z.entries[i].method ? "deflated" : "stored", NULL, remark);
        }
        close_list(p);
        gy_zip_close(&z);
    }
    cli_source_close(&file);
    return s;
}

static gy_status safetensors(page *p, const char *path) {
    gy_safetensors st;
    gy_status s = gy_safetensors_open(p->ctx, path, cli_limits(), &st);
    if (s != GY_OK) return s;
    int64_t elements = 0;
    for (int64_t i = 0; i < st.n; i++) elements += gy_shape_count(st.entries[i].shape);
    put_int(p, "files", st.nfiles);
    put_int(p, "elements", elements);
    const gy_json *h = &st.files[0].header;
    int64_t meta = gy_json_get(h, 0, "__metadata__");
    open_list(p, "metadata", meta >= 0 ? h->nodes[meta].u.list.count : 0);
    for (int64_t i = gy_json_first(h, meta); i >= 0; i = h->nodes[i].next) {
        char shown[256];
        const char *v = gy_json_string(h, i);
        if (p->json)
            put_item(p, h->nodes[i].key, "text", NULL, v);
        else
            put_item(p, h->nodes[i].key, "text", NULL,
                     gy_show_text(v ? v : "", v ? strlen(v) : 0, shown, sizeof shown));
    }
    close_list(p);
    open_list(p, "tensors", st.n);
    for (int64_t i = 0; i < st.n; i++)
        put_item(p, st.entries[i].name, gy_dtype_name(st.entries[i].dtype), &st.entries[i].shape, NULL);
    close_list(p);
    if (gy_safetensors_metadata(&st, "crc32")) {
        s = gy_safetensors_verify(&st);
        if (s == GY_OK) put_text(p, "checksum", "good");
    }
    gy_safetensors_close(&st);
    return s;
}

static gy_status pth(page *p, const char *path) {
    gy_pth f;
    gy_status s = gy_pth_open(p->ctx, path, cli_limits(), &f);
    if (s != GY_OK) return s;
    int64_t elements = 0;
    for (int64_t i = 0; i < f.n; i++) elements += gy_shape_count(f.entries[i].shape);
    put_int(p, "storages", f.n_storages);
    put_int(p, "elements", elements);
    open_list(p, "tensors", f.n);
    for (int64_t i = 0; i < f.n; i++)
        put_item(p, f.entries[i].name, gy_dtype_name(f.entries[i].dtype), &f.entries[i].shape, NULL);
    close_list(p);
    gy_pth_close(&f);
    return GY_OK;
}

static gy_status tokenizer(page *p, const char *path) {
    gy_tokenizer *t;
    gy_status s = gy_tokenizer_open(p->ctx, path, cli_limits(), &t);
    if (s != GY_OK) return s;
    put_text(p, "kind", gy_tokenizer_describe(t));
    put_int(p, "tokens", gy_tokenizer_size(t));
    gy_tokenizer_free(t);
    return GY_OK;
}

static gy_status voxels(page *p, gy_nifti *img) {
    range r = {0};
    int64_t outer = img->ndim >= 4 ? img->dim[img->ndim - 1] : 1;
    gy_dtype wide = gy_dtype_size(img->dtype) > 4 || img->dtype == GY_I32 || img->dtype == GY_U32 ? GY_F64 : GY_F32;
    for (int64_t i = 0; i < outer; i++) { /* a volume at a time: memory stays small */
        gy_tensor t;
        gy_status s = img->ndim >= 4 ? gy_nifti_read_volumes(img, i, 1, wide, &t) : gy_nifti_read(img, wide, &t);
        if (s != GY_OK) return s;
        widen(&r, &t);
        gy_tensor_free(p->ctx, &t);
    }
    put_range(p, &r);
    return GY_OK;
}

static gy_status nifti(page *p, const char *path) {
    static const char *const spaces[] = {"sform", "qform", "voxel sizes alone (the place is unknown)",
                                         "voxel sizes alone (left and right are unknown)"};
    static const char *const codes[] = {"unknown", "scanner", "aligned", "Talairach", "MNI152", "template"};
    static const char *const rows[] = {"affine x", "affine y", "affine z"};
    gy_nifti img;
    char axes[4], version[32];
    gy_status s = gy_nifti_open(p->ctx, path, cli_limits(), &img);
    if (s != GY_OK) return s;
    snprintf(version, sizeof version, img.version ? "NIfTI-%d%s" : "Analyze 7.5", img.version, img.pair ? " pair" : "");
    put_text(p, "version", version);
    put_text(p, "byte order", img.big_endian ? "big-endian" : "little-endian");
    put_ints(p, "dim", img.dim, img.ndim);
    put_text(p, "stored", gy_dtype_name(img.dtype));
    put_real(p, "slope", img.slope);
    put_real(p, "intercept", img.inter);
    put_reals(p, p->json ? "voxel_mm" : "voxel mm", img.pixdim, 3);
    put_real(p, p->json ? "tr_seconds" : "TR seconds", img.tr);
    put_text(p, "orientation", gy_nifti_orientation(&img, axes));
    put_text(p, "space", spaces[img.space]);
    put_text(p, p->json ? "space_code" : "space code",
             codes[img.space_code >= 0 && img.space_code < 6 ? img.space_code : 0]);
    if (p->json) gy_json_open_array(&p->w, "affine");
    for (int i = 0; i < 3; i++) put_reals(p, p->json ? NULL : rows[i], img.affine[i], 4);
    if (p->json) gy_json_close(&p->w);
    if (*img.descrip) put_text(p, "description", img.descrip);
    if (*img.intent_name) put_text(p, "intent", img.intent_name);
    if (img.extensions) put_int(p, "extensions", img.extensions);
    s = voxels(p, &img);
    gy_nifti_close(&img);
    return s;
}

static gy_status png(page *p, const char *path) {
    static const char *const kinds[] = {"", "grey", "grey + alpha", "RGB", "RGBA"};
    gy_image img;
    cli_source file;
    gy_status s = cli_source_open(p->ctx, path, &file);
    if (s != GY_OK) return s;
    s = gy_png_parse(&file.src, &img);
    cli_source_close(&file);
    if (s != GY_OK) return s;
    put_int(p, "width", img.width);
    put_int(p, "height", img.height);
    put_text(p, "colour", kinds[img.channels]);
    put_int(p, p->json ? "bit_depth" : "bits", img.bit_depth);
    gy_image_free(p->ctx, &img);
    return GY_OK;
}

static void put_column(page *p, const gy_table *t, int64_t c) {
    int64_t missing = 0, numbers = 0;
    double lo = INFINITY, hi = -INFINITY, v;
    char remark[160], name[32], shown[96];
    for (int64_t r = 0; r < t->rows; r++) {
        const char *cell = gy_table_cell(t, r, c);
        if (gy_cell_is_missing(cell)) {
            missing++;
        } else if (gy_parse_double(cell, strlen(cell), &v)) {
            numbers++;
            lo = fmin(lo, v);
            hi = fmax(hi, v);
        }
    }
    bool numeric = numbers > 0 && numbers + missing == t->rows;
    int n;
    if (numeric)
        n = snprintf(remark, sizeof remark, "%g .. %g", lo, hi);
    else
        n = snprintf(remark, sizeof remark, "e.g. '%s'",
                     t->rows ? gy_show_text(gy_table_cell(t, 0, c), strlen(gy_table_cell(t, 0, c)), shown, 64) : "");
    if (missing) snprintf(remark + n, sizeof remark - (size_t)n, ", %" PRId64 " missing", missing);
    snprintf(name, sizeof name, "column %" PRId64, c);
    put_item(p, t->header && *t->header[c] ? t->header[c] : name, numeric ? "number" : "text", NULL, remark);
}

static void put_trials(page *p, const gy_events *e) {
    enum { KINDS = 256 };
    const char *kind[KINDS];
    int64_t count[KINDS], n = 0;
    for (int64_t i = 0; e->trial_type && i < e->count; i++) {
        int64_t k = 0;
        while (k < n && strcmp(kind[k], e->trial_type[i]) != 0) k++;
        if (k == KINDS) continue;
        if (k == n) kind[n] = e->trial_type[i], count[n++] = 0;
        count[k]++;
    }
    open_list(p, p->json ? "trial_types" : "trial types", n);
    for (int64_t k = 0; k < n; k++) {
        char remark[32];
        snprintf(remark, sizeof remark, "%" PRId64 " events", count[k]);
        put_item(p, kind[k], "trial", NULL, remark);
    }
    close_list(p);
}

static gy_status table(page *p, const char *path) {
    gy_table t;
    gy_status s = cli_table_open(p->ctx, path, &t);
    if (s != GY_OK) return s;
    put_int(p, "rows", t.rows);
    put_bool(p, "header", t.header != NULL);
    open_list(p, "columns", t.columns);
    for (int64_t c = 0; c < t.columns; c++) put_column(p, &t, c);
    close_list(p);
    if (t.header && gy_table_has(&t, "onset") && gy_table_has(&t, "duration")) {
        gy_events e;
        s = gy_events_read(p->ctx, path, cli_limits(), &e);
        if (s == GY_OK) {
            put_text(p, "meaning", "BIDS events");
            put_int(p, "events", e.count);
            put_trials(p, &e);
            gy_events_free(&e);
        }
    }
    gy_table_free(&t);
    return s;
}

/* Texts of marks and how often each is there. */
static void put_marks(page *p, const gy_recording *r) {
    enum { KINDS = 256 };
    const char *kind[KINDS];
    int64_t count[KINDS], n = 0, other = 0;
    for (int64_t i = 0; i < r->n_marks; i++) {
        int64_t k = 0;
        while (k < n && strcmp(kind[k], r->mark[i].text) != 0) k++;
        if (k == KINDS) {
            other++;
            continue;
        }
        if (k == n) kind[n] = r->mark[i].text, count[n++] = 0;
        count[k]++;
    }
    put_int(p, "marks", r->n_marks);
    open_list(p, p->json ? "mark_kinds" : "kinds of marks", n);
    for (int64_t k = 0; k < n; k++) {
        char remark[32];
        snprintf(remark, sizeof remark, "%" PRId64, count[k]);
        put_item(p, kind[k], "mark", NULL, remark);
    }
    close_list(p);
    if (other) put_int(p, p->json ? "marks_of_other_kinds" : "others", other);
}

static gy_status recording(page *p, const char *path) {
    gy_recording r;
    gy_status s = gy_recording_open(p->ctx, path, cli_limits(), &r);
    if (s != GY_OK) return s;
    put_text(p, "kind", gy_recording_kind_name(r.kind));
    put_text(p, "variant", r.variant);
    if (*r.started) put_text(p, "started", r.started);
    put_real(p, "seconds", r.seconds);
    if (r.rate > 0)
        put_real(p, p->json ? "rate_hz" : "rate Hz", r.rate);
    else
        put_text(p, p->json ? "rate_hz" : "rate Hz", "differs by channel");
    if (r.epochs > 1) put_int(p, "epochs", r.epochs);
    put_int(p, "gaps", r.n_segments > 0 ? r.n_segments - 1 : 0);
    open_list(p, "channels", r.n_channels);
    for (int64_t i = 0; i < r.n_channels; i++) {
        const gy_channel *c = &r.channel[i];
        char remark[160], unit[64];
        snprintf(remark, sizeof remark, "%g Hz, %s%s%s", c->rate,
                 gy_show_text(c->unit, strlen(c->unit), unit, sizeof unit), *c->unit ? "" : "no unit",
                 c->trigger ? ", trigger codes" : "");
        gy_shape shape = GY_S(c->samples);
        put_item(p, c->name, c->trigger ? "codes" : "signal", &shape, remark);
    }
    close_list(p);
    put_marks(p, &r);
    gy_recording_close(&r);
    return s;
}

static gy_status mat(page *p, const char *path) {
    gy_mat m;
    gy_status s = gy_mat_open(p->ctx, path, cli_limits(), &m);
    if (s != GY_OK) return s;
    put_text(p, "byte order", m.big_endian ? "big-endian" : "little-endian");
    open_list(p, "variables", m.n_top);
    for (int64_t i = 0; i < m.n_top; i++) {
        const gy_mat_node *n = &m.node[i];
        gy_shape shape = {.rank = n->rank};
        char fields[160] = "";
        for (int64_t k = 0; k < n->rank; k++) shape.dim[k] = n->dim[k];
        for (int64_t k = 0; n->class == GY_MAT_STRUCT && n->count && k < n->fields; k++) {
            size_t used = strlen(fields);
            snprintf(fields + used, sizeof fields - used, "%s%s", k ? ", " : "fields ", m.node[n->part + k].name);
        }
        char shown[256];
        put_item(p, n->name, gy_mat_class_name(n->class), &shape,
                 *fields      ? gy_show_text(fields, strlen(fields), shown, sizeof shown)
                 : n->complex ? "complex"
                              : NULL);
    }
    close_list(p);
    gy_mat_close(&m);
    return s;
}

static gy_status json(page *p, const char *path) {
    cli_source file;
    gy_json doc;
    gy_status s = cli_source_open(p->ctx, path, &file);
    if (s != GY_OK) return s;
    s = gy_json_parse(&file.src, 0, file.src.size, &doc);
    if (s == GY_OK) {
        const gy_json_node *root = &doc.nodes[0];
        put_text(p, "value", gy_json_kind_name(root->kind));
        int64_t n = root->kind == GY_JSON_OBJECT || root->kind == GY_JSON_ARRAY ? root->u.list.count : 0;
        open_list(p, "members", n);
        for (int64_t i = gy_json_first(&doc, 0), k = 0; i >= 0; i = doc.nodes[i].next, k++) {
            char index[32];
            snprintf(index, sizeof index, "[%" PRId64 "]", k);
            if (k < 1000)
                put_item(p, doc.nodes[i].key ? doc.nodes[i].key : index, "value", NULL,
                         gy_json_kind_name(doc.nodes[i].kind));
        }
        close_list(p);
        gy_json_free(&doc);
    }
    cli_source_close(&file);
    return s;
}

static gy_status run(page *p, const char *dir) {
    gy_job j;
    gy_status s = gy_run_job(p->ctx, dir, &j);
    if (s != GY_OK) return s;
    char seed[32];
    snprintf(seed, sizeof seed, "%" PRIu64, j.seed);
    put_text(p, "model", j.def->slug);
    put_text(p, "config", j.config_name);
    put_text(p, "seed", seed);
    put_text(p, "data", j.data_path ? j.data_path : "generated");
    put_int(p, "steps", j.steps);
    if (j.ablate) put_text(p, "ablate", j.ablate);
    char *path = gy_path_join(p->ctx, dir, "checkpoint.safetensors");
    bool there = path && gy_path_exists(path);
    gy_free(p->ctx, path);
    if (!there) {
        put_text(p, "checkpoint", "none yet");
    } else if ((s = gy_run_load(p->ctx, dir, &j)) == GY_OK) {
        put_text(p, "checkpoint", "whole");
        put_int(p, "step", j.step);
        put_int(p, "parameters", gy_store_parameters(j.store));
    }
    gy_job_free(&j);
    return s;
}

static gy_status one(page *p, const char *path) {
    cli_format f;
    bool gzip;
    char shown[256];
    gy_status s = cli_detect(p->ctx, path, &f, &gzip);
    if (s != GY_OK) return s;
    if (f == CLI_UNKNOWN)
        return gy_fail(
            p->ctx, GY_ERR_UNSUPPORTED,
            gy_path_is_dir(path) ? "%s: a folder without run.json"
            : gzip               ? "%s: gzip, but what is behind it is no format known here"
                   : "%s: none of the formats known here (npy, npz, zip, safetensors, pth, NIfTI, PNG, CSV, TSV, "
                     "JSON, MAT, EDF, BDF, BrainVision, EEGLAB, run folder)",
            gy_show_text(path, strlen(path), shown, sizeof shown));
    if (!p->json)
        printf("%s%s%s\n", cli_bold(stdout), gy_show_text(path, strlen(path), shown, sizeof shown), cli_plain(stdout));
    put_text(p, "format", cli_format_name(f));
    if (gzip) put_bool(p, "gzip", true);
    if (gzip && (f == CLI_SAFETENSORS || f == CLI_PTH))
        return gy_fail(p->ctx, GY_ERR_UNSUPPORTED, "%s: %s behind gzip is not read: unpack it first (gunzip)", path,
                       cli_format_name(f));
    switch (f) {
    case CLI_NPY: return npy(p, path);
    case CLI_NPZ: return npz(p, path);
    case CLI_ZIP: return zip(p, path);
    case CLI_SAFETENSORS:
    case CLI_SAFETENSORS_INDEX: return safetensors(p, path);
    case CLI_PTH: return pth(p, path);
    case CLI_TOKENIZER: return tokenizer(p, path);
    case CLI_NIFTI: return nifti(p, path);
    case CLI_RECORDING: return recording(p, path);
    case CLI_MAT: return mat(p, path);
    case CLI_PNG: return png(p, path);
    case CLI_TABLE: return table(p, path);
    case CLI_JSON: return json(p, path);
    default: return run(p, path);
    }
}

int cli_inspect(gy_ctx *ctx, const cli_args *a) {
    if (a->n_positional < 1) return cli_usage_error(ctx, a, "expected at least one file");
    page p = {.ctx = ctx, .json = cli_has(a, "--json")};
    int rc = CLI_OK;
    bool many = a->n_positional > 1;
    gy_json_start(ctx, &p.w, false);
    gy_json_open_object(&p.w, NULL);
    if (many) gy_json_open_array(&p.w, "files");
    for (int i = 0; i < a->n_positional; i++) {
        if (many) gy_json_open_object(&p.w, NULL);
        gy_json_put_string(&p.w, "path", a->positional[i]);
        int depth = p.w.depth;
        if (one(&p, a->positional[i]) != GY_OK) {
            while (p.w.depth > depth) gy_json_close(&p.w); /* a list that the failure left open */
            gy_json_put_string(&p.w, "error", gy_error(ctx));
            int failed = cli_fail(ctx, a);
            rc = rc > failed ? rc : failed;
            gy_error_clear(ctx);
        }
        if (many) gy_json_close(&p.w);
    }
    if (many) gy_json_close(&p.w);
    gy_json_close(&p.w);
    char *text;
    size_t n;
    if (gy_json_finish(&p.w, &text, &n) != GY_OK) return cli_fail(ctx, a);
    if (p.json) printf("%s\n", text);
    gy_free(ctx, text);
    return rc;
}
