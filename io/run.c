/* The run folder: run.json, checkpoints, metrics.csv. The report is in run_report.c. */
#define _GNU_SOURCE /* flock */
#include "run.h"
#include "files.h"
#include "formats/json.h"
#include "formats/safetensors.h"
#include "formats/table.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#define CHECKPOINT "checkpoint.safetensors"
#define PREVIOUS   "checkpoint.previous.safetensors"
enum { RUN_FORMAT = 1 }; /* of run.json and checkpoints; a newer one is refused */

struct gy_run_folder {
    gy_ctx *ctx;
    char *dir;
    int lock;
    bool log_started;
};

const char *gy_run_dir(const gy_run_folder *r) {
    return r->dir;
}

static char *in_dir(gy_ctx *ctx, const char *dir, const char *name) {
    return gy_path_join(ctx, dir, name);
}

static gy_status lock_folder(gy_run_folder *r) {
    char *path = in_dir(r->ctx, r->dir, ".lock");
    if (!path) return GY_ERR_NOMEM;
    r->lock = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0666);
    gy_status s = GY_OK;
    if (r->lock < 0)
        s = gy_fail(r->ctx, GY_ERR_IO, "%s: %s", path, strerror(errno));
    else if (flock(r->lock, LOCK_EX | LOCK_NB) != 0)
        s = gy_fail(r->ctx, GY_ERR_IO, "%s: another process is training into this folder", r->dir);
    gy_free(r->ctx, path);
    return s;
}

gy_status gy_run_open(gy_ctx *ctx, const char *dir, bool resume, gy_run_folder **out) {
    *out = NULL;
    char *json = in_dir(ctx, dir, "run.json");
    if (!json) return GY_ERR_NOMEM;
    bool exists = gy_path_exists(json);
    gy_free(ctx, json);
    if (exists && !resume)
        return gy_fail(ctx, GY_ERR_USAGE,
                       "%s holds a run already: add --resume to go on with it, or choose another --out", dir);
    if (!exists && resume) return gy_fail(ctx, GY_ERR_USAGE, "%s holds no run to resume (no run.json)", dir);
    gy_status s = gy_make_dirs(ctx, dir);
    if (s != GY_OK) return s;
    gy_run_folder *r = gy_calloc(ctx, 1, sizeof *r);
    if (!r) return GY_ERR_NOMEM;
    r->ctx = ctx;
    r->lock = -1;
    r->dir = gy_strdup(ctx, dir);
    s = r->dir ? lock_folder(r) : GY_ERR_NOMEM;
    if (s != GY_OK) {
        gy_run_close(r);
        return s;
    }
    *out = r;
    return GY_OK;
}

void gy_run_close(gy_run_folder *r) {
    if (!r) return;
    if (r->lock >= 0) close(r->lock); /* gives the lock back */
    gy_free(r->ctx, r->dir);
    gy_free(r->ctx, r);
}

/* ---- run.json ---- */

gy_status gy_run_describe(gy_run_folder *r, const gy_job *j, char *const argv[]) {
    gy_json_writer w;
    char text[96], hash[32];
    gy_json_start(r->ctx, &w, true);
    gy_json_open_object(&w, NULL);
    gy_json_put_int(&w, "format", RUN_FORMAT);
    gy_json_put_string(&w, "gyrus", GY_VERSION);
    gy_json_put_string(&w, "slug", j->def->slug);
    gy_json_put_string(&w, "config", j->config_name);
    gy_json_open_object(&w, "options");
    for (const gy_option *o = j->def->options; o && o->name; o++) {
        gy_config_text(o, j->cfg, text, sizeof text);
        gy_json_put_string(&w, o->name, text);
    }
    gy_json_close(&w);
    snprintf(text, sizeof text, "%" PRIu64, j->seed);
    gy_json_put_string(&w, "seed", text);
    gy_json_put_int(&w, "steps", j->steps);
    gy_json_put_int(&w, "save_every", j->save_every);
    gy_json_put_string(&w, "data", j->data_path);
    gy_json_put_string(&w, "data_label", j->data_label);
    snprintf(hash, sizeof hash, "%016" PRIx64, j->data_hash);
    gy_json_put_string(&w, "data_hash", hash);
    gy_json_put_string(&w, "ablate", j->ablate);
    gy_json_put_string(&w, "dtype", gy_dtype_name(gy_ctx_precision(r->ctx)));
    gy_json_put_string(&w, "device", gy_ctx_device(r->ctx) ? gy_ctx_device(r->ctx)->name : "cpu");
    gy_isa best = GY_ISA_REF;
    for (int i = 0; i < GY_ISA_COUNT; i++)
        if (gy_ctx_isa_mask(r->ctx) >> i & 1) best = (gy_isa)i;
    gy_json_put_string(&w, "kernels", gy_isa_name(best));
    gy_json_open_array(&w, "command");
    for (int i = 0; argv && argv[i]; i++) gy_json_put_string(&w, NULL, argv[i]);
    gy_json_close(&w);
    gy_json_close(&w);
    char *json;
    size_t n;
    gy_status s = gy_json_finish(&w, &json, &n);
    if (s != GY_OK) return s;
    char *path = in_dir(r->ctx, r->dir, "run.json");
    s = path ? gy_write_file(r->ctx, path, json, n) : GY_ERR_NOMEM;
    gy_free(r->ctx, path);
    gy_free(r->ctx, json);
    return s;
}

/* A member of run.json, as a copy that outlives the file (NULL stays NULL). */
static const char *kept(gy_job *j, const char *text) {
    return text ? gy_strdup(j->ctx, text) : NULL;
}

static gy_status job_from_json(gy_ctx *ctx, const gy_bytes *src, const gy_json *doc, gy_job *j) {
    int64_t format = 0, steps = 0, save_every = 0;
    if (!gy_json_integer(doc, gy_json_get(doc, 0, "format"), &format) || format < 1)
        return gy_bytes_fail_key(src, "format", "expected a run's format number");
    if (format > RUN_FORMAT)
        return gy_bytes_fail_key(src, "format",
                                 "written by a newer version (format %" PRId64 ", this program reads %d)", format,
                                 RUN_FORMAT);
    const char *slug = gy_json_string(doc, gy_json_get(doc, 0, "slug"));
    const gy_model_def *def = slug ? gy_model_find(slug) : NULL;
    char shown[128];
    if (!def)
        return gy_bytes_fail_key(src, "slug", "no model '%s' in this program",
                                 slug ? gy_show_text(slug, strlen(slug), shown, sizeof shown) : "");
    const char *config = gy_json_string(doc, gy_json_get(doc, 0, "config"));
    gy_status s = gy_job_init(j, ctx, def, config, NULL, 0);
    if (s != GY_OK) return s;
    int64_t options = gy_json_get(doc, 0, "options"), seen = 0, have = 0;
    for (int64_t i = gy_json_first(doc, options); s == GY_OK && i >= 0; i = doc->nodes[i].next) {
        char pair[256];
        const char *value = gy_json_string(doc, i);
        snprintf(pair, sizeof pair, "%s=%s", doc->nodes[i].key, value ? value : "");
        s = gy_config_set(ctx, def, j->cfg, pair);
        seen++;
    }
    for (const gy_option *o = def->options; o && o->name; o++) have++;
    if (s == GY_OK && seen != have)
        s = gy_bytes_fail_key(src, "options",
                              "%" PRId64 " options, the model has %" PRId64 ": written by another version", seen, have);
    if (s == GY_OK && def->check) s = def->check(ctx, j->cfg);
    const char *seed = gy_json_string(doc, gy_json_get(doc, 0, "seed"));
    const char *dtype = gy_json_string(doc, gy_json_get(doc, 0, "dtype")); /* older runs have none: f32 */
    gy_dtype precision = GY_F32;
    char *end = NULL;
    if (s == GY_OK && dtype && (!gy_dtype_parse(dtype, &precision) || (precision != GY_F32 && precision != GY_BF16)))
        s = gy_bytes_fail_key(src, "dtype", "expected f32 or bf16");
    if (seed) j->seed = strtoull(seed, &end, 10);
    if (s == GY_OK && (!seed || *end || !gy_json_integer(doc, gy_json_get(doc, 0, "steps"), &steps) || steps < 0 ||
                       !gy_json_integer(doc, gy_json_get(doc, 0, "save_every"), &save_every) || save_every < 0))
        s = gy_bytes_fail_key(src, "seed", "expected seed, steps and save_every");
    if (s != GY_OK) {
        gy_job_free(j);
        return s;
    }
    gy_ctx_set_precision(ctx, precision);
    j->from_run = true;
    j->steps = steps;
    j->save_every = save_every;
    const char *hash = gy_json_string(doc, gy_json_get(doc, 0, "data_hash"));
    if (hash) j->data_hash = strtoull(hash, NULL, 16);
    j->owned[0] = kept(j, gy_json_string(doc, gy_json_get(doc, 0, "data")));
    j->owned[1] = kept(j, gy_json_string(doc, gy_json_get(doc, 0, "ablate")));
    j->data_path = j->owned[0];
    j->ablate = j->owned[1];
    return GY_OK;
}

gy_status gy_run_job(gy_ctx *ctx, const char *dir, gy_job *j) {
    gy_bytes src;
    gy_json doc;
    *j = (gy_job){0};
    if (!gy_path_is_dir(dir)) return gy_fail(ctx, GY_ERR_USAGE, "%s: no run folder", dir);
    char *path = in_dir(ctx, dir, "run.json");
    if (!path) return GY_ERR_NOMEM;
    gy_status s = gy_bytes_open(ctx, path, NULL, &src);
    gy_free(ctx, path);
    if (s != GY_OK) return s;
    s = gy_json_parse(&src, 0, src.size, &doc);
    if (s == GY_OK) {
        s = job_from_json(ctx, &src, &doc, j);
        gy_json_free(&doc);
    }
    gy_bytes_close(&src);
    return s;
}

/* ---- checkpoints ---- */

static const char *kind_name(gy_state_kind k) {
    return k == GY_PARAM ? "param" : k == GY_BUFFER ? "buffer" : "slot";
}

/* The present checkpoint gets a second name before it is replaced: at no moment is there none. */
static gy_status keep_previous(gy_ctx *ctx, const char *dir, const char *now) {
    if (!gy_path_exists(now)) return GY_OK;
    char *before = in_dir(ctx, dir, PREVIOUS), *tmp = before ? gy_format(ctx, "%s.link.tmp", before) : NULL;
    gy_status s = before && tmp ? GY_OK : GY_ERR_NOMEM;
    if (s == GY_OK) {
        unlink(tmp);
        if (link(now, tmp) != 0 || rename(tmp, before) != 0)
            s = gy_fail(ctx, GY_ERR_IO, "%s: %s", before, strerror(errno));
    }
    gy_free(ctx, before);
    gy_free(ctx, tmp);
    return s;
}

static int by_key(const void *a, const void *b) {
    return strcmp(((const gy_st_pair *)a)->key, ((const gy_st_pair *)b)->key);
}

gy_status gy_run_save(gy_run_folder *r, const gy_job *j) {
    gy_ctx *ctx = r->ctx;
    int64_t n = gy_store_count(j->store), pairs = 0;
    gy_st_tensor *t = gy_calloc(ctx, (size_t)n + 1, sizeof *t);
    gy_st_pair *meta = gy_calloc(ctx, (size_t)n + 8, sizeof *meta);
    char **keys = gy_calloc(ctx, (size_t)n + 1, sizeof *keys), step[32], seed[32],
         *path = in_dir(ctx, r->dir, CHECKPOINT);
    gy_status s = t && meta && keys && path ? GY_OK : GY_ERR_NOMEM;
    if (s == GY_OK) {
        snprintf(step, sizeof step, "%" PRId64, j->step);
        snprintf(seed, sizeof seed, "%" PRIu64, j->seed);
        meta[pairs++] = (gy_st_pair){"format", "gyrus-1"};
        meta[pairs++] = (gy_st_pair){"slug", j->def->slug};
        meta[pairs++] = (gy_st_pair){"config", j->config_name};
        meta[pairs++] = (gy_st_pair){"step", step};
        meta[pairs++] = (gy_st_pair){"seed", seed};
    }
    for (int64_t i = 0; s == GY_OK && i < n; i++) {
        const gy_state *st = gy_store_at(j->store, i);
        t[i] = (gy_st_tensor){st->name, &st->value};
        if (st->kind == GY_PARAM) continue;
        keys[i] = gy_format(ctx, "kind:%s", st->name);
        if (!keys[i]) s = GY_ERR_NOMEM;
        meta[pairs++] = (gy_st_pair){keys[i], kind_name(st->kind)};
    }
    /* A resumed run's store is in the order of the file, another than that of its making: sorted, the bytes agree. */
    if (s == GY_OK) qsort(meta, (size_t)pairs, sizeof *meta, by_key);
    if (s == GY_OK) s = keep_previous(ctx, r->dir, path);
    if (s == GY_OK) s = gy_safetensors_write(ctx, path, t, n, meta, pairs);
    for (int64_t i = 0; keys && i < n; i++) gy_free(ctx, keys[i]);
    gy_free(ctx, keys);
    gy_free(ctx, meta);
    gy_free(ctx, t);
    gy_free(ctx, path);
    return s;
}

static gy_state_kind kind_of(const gy_safetensors *st, const char *name) {
    char key[1100];
    snprintf(key, sizeof key, "kind:%s", name);
    const char *k = gy_safetensors_metadata(st, key);
    return !k ? GY_PARAM : strcmp(k, "buffer") == 0 ? GY_BUFFER : GY_SLOT;
}

static gy_status load_states(const gy_safetensors *st, gy_job *j) {
    for (int64_t i = 0; i < st->n; i++) {
        gy_tensor t;
        gy_status s = gy_safetensors_read(st, i, &t);
        if (s != GY_OK) return s;
        gy_state *state = gy_state_get(j->store, st->entries[i].name, kind_of(st, st->entries[i].name), t.dtype,
                                       t.shape, (gy_init){0}, 0);
        if (state) {
            memcpy(state->value.data, t.data, gy_tensor_bytes(&t));
            gy_state_touch(state);
        }
        gy_tensor_free(j->ctx, &t);
        if (!state) return gy_error_status(j->ctx);
    }
    return GY_OK;
}

static gy_status load_file(gy_ctx *ctx, const char *path, gy_job *j) {
    gy_safetensors st;
    gy_status s = gy_safetensors_open(ctx, path, NULL, &st);
    if (s != GY_OK) return s;
    s = gy_safetensors_verify(&st);
    const char *slug = gy_safetensors_metadata(&st, "slug"), *step = gy_safetensors_metadata(&st, "step");
    char *end = NULL;
    int64_t at = step ? strtoll(step, &end, 10) : -1;
    if (s == GY_OK && (!slug || !step || *end || at < 0))
        s = gy_fail(ctx, GY_ERR_FORMAT, "%s: no checkpoint of a run (metadata 'slug' or 'step' missing)", path);
    if (s == GY_OK && strcmp(slug, j->def->slug) != 0)
        s = gy_fail(ctx, GY_ERR_FORMAT, "%s: a checkpoint of '%s', expected '%s'", path, slug, j->def->slug);
    if (s == GY_OK) s = load_states(&st, j);
    if (s == GY_OK) j->step = at;
    gy_safetensors_close(&st);
    return s;
}

gy_status gy_run_load(gy_ctx *ctx, const char *dir, gy_job *j) {
    char *path = in_dir(ctx, dir, CHECKPOINT), *before = in_dir(ctx, dir, PREVIOUS);
    gy_status s = path && before ? load_file(ctx, path, j) : GY_ERR_NOMEM;
    if (s == GY_ERR_FORMAT || s == GY_ERR_IO) {
        char why[2048];
        snprintf(why, sizeof why, "%s", gy_error(ctx));
        gy_safetensors st;
        bool whole = false;
        if (gy_safetensors_open(ctx, before, NULL, &st) == GY_OK) {
            whole = gy_safetensors_verify(&st) == GY_OK;
            gy_safetensors_close(&st);
        }
        s = whole ? gy_fail(ctx, s, "%s\nthe checkpoint before it is whole; to go on from there: cp '%s' '%s'", why,
                            before, path)
                  : gy_fail(ctx, s, "%s\nno older whole checkpoint is in %s", why, dir);
    }
    gy_free(ctx, path);
    gy_free(ctx, before);
    return s;
}

/* ---- metrics.csv ---- */

/* Rows up to and including `step` (and the header) survive. */
static gy_status cut_log(gy_ctx *ctx, const char *path, int64_t step) {
    gy_bytes src;
    gy_status s = gy_bytes_open(ctx, path, NULL, &src);
    if (s != GY_OK) return s;
    uint64_t keep = 0, at = 0;
    bool header = true;
    while (at < src.size) {
        const uint8_t *nl = memchr(src.data + at, '\n', (size_t)(src.size - at));
        if (!nl) break; /* a row cut short by a kill */
        uint64_t end = (uint64_t)(nl - src.data) + 1;
        if (!header && strtoll((const char *)src.data + at, NULL, 10) > step) break;
        header = false;
        keep = at = end;
    }
    if (keep != src.size) s = gy_write_file(ctx, path, src.data, (size_t)keep);
    gy_bytes_close(&src);
    return s;
}

gy_status gy_run_log(gy_run_folder *r, const gy_job *j, const gy_metrics *row) {
    char line[2048], *path = in_dir(r->ctx, r->dir, "metrics.csv");
    if (!path) return GY_ERR_NOMEM;
    gy_status s = GY_OK;
    if (!r->log_started) {
        r->log_started = true;
        if (gy_path_exists(path)) {
            s = cut_log(r->ctx, path, j->step - 1);
        } else {
            int n = snprintf(line, sizeof line, "step");
            for (int64_t i = 0; i < row->n; i++)
                n += snprintf(line + n, sizeof line - (size_t)n, ",%s", row->m[i].name);
            n += snprintf(line + n, sizeof line - (size_t)n, "\n");
            s = gy_append_file(r->ctx, path, line, (size_t)n);
        }
    }
    int n = snprintf(line, sizeof line, "%" PRId64, j->step);
    for (int64_t i = 0; i < row->n; i++) n += snprintf(line + n, sizeof line - (size_t)n, ",%.9g", row->m[i].value);
    n += snprintf(line + n, sizeof line - (size_t)n, "\n");
    if (s == GY_OK) s = gy_append_file(r->ctx, path, line, (size_t)n);
    gy_free(r->ctx, path);
    return s;
}

gy_status gy_run_read_log(gy_ctx *ctx, const char *dir, gy_run_curve *out) {
    gy_table t = {0};
    *out = (gy_run_curve){0};
    char *path = in_dir(ctx, dir, "metrics.csv");
    gy_status s = path ? gy_table_read(ctx, path, NULL, (gy_table_args){.separator = ','}, &t) : GY_ERR_NOMEM;
    gy_free(ctx, path);
    if (s != GY_OK) return s;
    out->n_columns = t.columns;
    out->n_rows = t.rows;
    out->names = gy_calloc(ctx, (size_t)t.columns + 1, sizeof *out->names);
    out->values = gy_calloc(ctx, (size_t)(t.columns * t.rows) + 1, sizeof *out->values);
    if (!out->names || !out->values) s = GY_ERR_NOMEM;
    for (int64_t c = 0; s == GY_OK && c < t.columns; c++) {
        double *v = NULL;
        out->names[c] = gy_strdup(ctx, t.header[c]);
        s = out->names[c] ? gy_table_numbers(&t, c, &v) : GY_ERR_NOMEM;
        for (int64_t i = 0; s == GY_OK && i < t.rows; i++) out->values[i * t.columns + c] = v[i];
        gy_free(ctx, v);
    }
    gy_table_free(&t);
    if (s != GY_OK) gy_run_curve_free(ctx, out);
    return s;
}

void gy_run_curve_free(gy_ctx *ctx, gy_run_curve *c) {
    for (int64_t i = 0; c->names && i < c->n_columns; i++) gy_free(ctx, c->names[i]);
    gy_free(ctx, c->names);
    gy_free(ctx, c->values);
    *c = (gy_run_curve){0};
}
