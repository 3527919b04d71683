/* gyrus run: named arrays in, named arrays out. */
#include "arrays.h"

#include "../../core/op.h"
#include "../files.h"
#include "../run.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

enum { MAX_NAMES = 64 };

/* ---- the model: shared with sample ---- */

static bool is_run_folder(gy_ctx *ctx, const char *dir) {
    char *json = gy_path_join(ctx, dir, "run.json");
    bool yes = json && gy_path_exists(json);
    gy_free(ctx, json);
    return yes;
}

/* Inference asks the data of the training for sizes at most: where they are gone, the configuration has to do. */
static gy_status open_data(gy_ctx *ctx, gy_job *j, bool needed) {
    gy_status s = gy_job_open(j);
    if (s == GY_OK || s == GY_ERR_NOMEM || needed || !j->data_path) return s;
    gy_warn(ctx, "%s; the model is built from its configuration alone", gy_error(ctx));
    gy_error_clear(ctx);
    if (j->data && j->def->close) j->def->close(j);
    j->data = NULL;
    return GY_OK;
}

static gy_status open_folder(gy_ctx *ctx, const cli_args *a, const char *dir, gy_job *j, bool needs_data) {
    if (cli_has(a, "--config") || cli_has(a, "--set"))
        return gy_fail(ctx, GY_ERR_USAGE, "%s is a run: its configuration is in run.json; leave out --config and --set",
                       dir);
    gy_status s = gy_run_job(ctx, dir, j);
    if (s == GY_OK) s = cli_precision(ctx, a);
    bool reads = needs_data && !j->def->complete; /* a language model writes without the texts that it learned from */
    if (s == GY_OK && j->def->open) s = open_data(ctx, j, reads);
    if (s == GY_OK) s = gy_run_load(ctx, dir, j);
    return s;
}

gy_status cli_open_model(gy_ctx *ctx, const cli_args *a, gy_job *j, bool needs_data) {
    const char *what = a->positional[0];
    if (is_run_folder(ctx, what)) return open_folder(ctx, a, what, j, needs_data);
    if (gy_path_is_dir(what) && !gy_model_find(what))
        return gy_fail(ctx, GY_ERR_USAGE, "%s: a folder without run.json is no run", what);
    const gy_model_def *def = cli_model(ctx, what);
    return def ? cli_job(ctx, a, def, j) : GY_ERR_USAGE;
}

gy_graph *cli_build(gy_job *j, int64_t batch) {
    gy_graph *g = gy_graph_new(j->ctx);
    if (!g) return NULL;
    gy_mod m = gy_mod_make(g, j->store, j->seed, false);
    gy_build b = {.m = &m, .cfg = j->cfg, .batch = batch, .ablate = j->ablate, .job = j->data ? j : NULL};
    j->def->build(&b);
    if (gy_graph_status(g) == GY_OK) return g;
    gy_graph_free(g);
    return NULL;
}

/* A folder stands for the weights in it: a run's checkpoint (a part of the model that was trained there finds its
 * tensors), or what transformers and diffusers call theirs. Owned; NULL with a message when there is none. */
static char *weights_in(gy_ctx *ctx, const char *folder) {
    static const char *const names[] = {"checkpoint.safetensors",
                                        "model.safetensors",
                                        "model.safetensors.index.json",
                                        "diffusion_pytorch_model.safetensors",
                                        "diffusion_pytorch_model.safetensors.index.json",
                                        "pytorch_model.bin"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char *path = gy_path_join(ctx, folder, names[i]);
        if (!path || gy_path_exists(path)) return path;
        gy_free(ctx, path);
    }
    gy_fail(ctx, GY_ERR_IO,
            "--weights %s: a folder without weights: expected %s, %s, %s (or their .index.json) or %s in it", folder,
            names[0], names[1], names[3], names[5]);
    return NULL;
}

static gy_status load_weights(gy_ctx *ctx, const char *weights, gy_job *j) {
    char *inside = gy_path_is_dir(weights) ? weights_in(ctx, weights) : gy_strdup(ctx, weights);
    if (!inside) return gy_error_status(ctx);
    gy_status s = gy_weights_load_as(ctx, inside, cli_limits(), j->store, j->def->ignorable, j->def->weights);
    gy_free(ctx, inside);
    return s;
}

gy_status cli_load_weights(gy_ctx *ctx, const cli_args *a, gy_job *j) {
    const char *weights = cli_get(a, "--weights");
    if (!weights) {
        if (!is_run_folder(ctx, a->positional[0]))
            gy_warn(ctx, "no --weights: %s has the initial values of seed %" PRIu64, j->def->slug, j->seed);
        return GY_OK;
    }
    gy_graph *g = cli_build(j, 1);
    if (!g) return gy_error_status(ctx);
    gy_status s = load_weights(ctx, weights, j);
    gy_graph_free(g);
    return s;
}

/* ---- names and files ---- */

typedef struct binding {
    char name[128];
    const char *file;
} binding;

static gy_status bindings(gy_ctx *ctx, const cli_args *a, const char *option, binding *b, int *n) {
    const char *given[MAX_NAMES + 1];
    *n = cli_all(a, option, given, MAX_NAMES + 1);
    if (*n > MAX_NAMES) return gy_fail(ctx, GY_ERR_USAGE, "%s: at most %d are taken", option, MAX_NAMES);
    for (int i = 0; i < *n; i++) {
        const char *eq = strchr(given[i], '=');
        size_t len = eq ? (size_t)(eq - given[i]) : 0;
        if (len == 0 || len >= sizeof b[i].name || !eq[1])
            return gy_fail(ctx, GY_ERR_USAGE, "%s '%s': expected name=FILE", option, given[i]);
        memcpy(b[i].name, given[i], len);
        b[i].name[len] = 0;
        b[i].file = eq + 1;
        for (int k = 0; k < i; k++)
            if (strcmp(b[k].name, b[i].name) == 0)
                return gy_fail(ctx, GY_ERR_USAGE, "%s: '%s' is given twice", option, b[i].name);
    }
    return GY_OK;
}

static bool of_the_engine(const char *input) {
    return strcmp(input, "rng") == 0 || strcmp(input, "lr") == 0;
}

static gy_status check_name(gy_ctx *ctx, const char *what, const gy_named *v, int64_t n, const char *name) {
    const char *all[MAX_NAMES + 1];
    char list[1024] = "";
    int k = 0;
    for (int64_t i = 0; i < n; i++) {
        if (of_the_engine(v[i].name)) continue;
        if (strcmp(v[i].name, name) == 0) return GY_OK;
        size_t used = strlen(list);
        snprintf(list + used, sizeof list - used, "%s%s", used ? ", " : "", v[i].name);
        if (k < MAX_NAMES) all[k++] = v[i].name;
    }
    all[k] = NULL;
    const char *near = gy_nearest(name, all);
    char shown[160];
    return gy_fail(ctx, GY_ERR_USAGE, "no %s '%s'%s%s%s; there are: %s", what,
                   gy_show_text(name, strlen(name), shown, sizeof shown), near ? " (did you mean '" : "",
                   near ? near : "", near ? "'?)" : "", *list ? list : "none");
}

/* ---- values ---- */

/* The one array of the file, or the member of the input's name. */
static gy_status read_input(gy_ctx *ctx, const binding *b, gy_tensor *out) {
    cli_arrays s;
    gy_status r = cli_arrays_read(ctx, b->file, &s);
    if (r != GY_OK) return r;
    int64_t at = s.n == 1 ? 0 : -1;
    for (int64_t i = 0; at < 0 && i < s.n; i++)
        if (strcmp(s.a[i].name, b->name) == 0) at = i;
    if (at < 0) {
        r = gy_fail(ctx, GY_ERR_USAGE, "%s holds %" PRId64 " arrays, none named '%s': choose one as %s:NAME", b->file,
                    s.n, b->name, b->file);
    } else {
        *out = s.a[at].value;
        s.a[at].value = (gy_tensor){0};
    }
    cli_arrays_free(ctx, &s);
    return r;
}

/* To the type the graph wants, when no value changes its meaning: floats among floats, integers among integers,
 * integers to floats. */
static gy_status fit_dtype(gy_ctx *ctx, const binding *b, gy_tensor *t, gy_dtype want) {
    int64_t changed;
    gy_dtype have = t->dtype;
    if (have == want) return GY_OK;
    if (gy_dtype_is_float(have) && !gy_dtype_is_float(want))
        return gy_fail(ctx, GY_ERR_SHAPE, "%s: input '%s' is %s, found %s; convert it first: gyrus convert --dtype %s",
                       b->file, b->name, gy_dtype_name(want), gy_dtype_name(have), gy_dtype_name(want));
    gy_status s = cli_array_cast(ctx, t, want, &changed);
    if (s == GY_OK && changed && !gy_dtype_is_float(want))
        return gy_fail(ctx, GY_ERR_SHAPE, "%s: input '%s': %" PRId64 " values do not fit into %s", b->file, b->name,
                       changed, gy_dtype_name(want));
    if (s == GY_OK)
        fprintf(stderr, "note: input '%s': %s read as %s\n", b->name, gy_dtype_name(have), gy_dtype_name(want));
    return s;
}

static gy_status feed(gy_ctx *ctx, gy_graph *g, gy_plan *p, const binding *b, gy_tensor *t) {
    gy_t v = GY_NONE;
    char want[GY_SHAPE_TEXT], have[GY_SHAPE_TEXT];
    for (int64_t i = 0; i < g->n_input; i++)
        if (strcmp(g->input[i].name, b->name) == 0) v = g->input[i].value;
    if (!gy_shape_equal(gy_shape_of(v), t->shape))
        return gy_fail(ctx, GY_ERR_SHAPE, "%s: input '%s': expected %s, found %s%s", b->file, b->name,
                       gy_shape_text(gy_shape_of(v), want), gy_shape_text(t->shape, have),
                       t->shape.rank + 1 == gy_rank(v) ? " (the first axis is the batch, also of a single row)" : "");
    gy_status s = fit_dtype(ctx, b, t, gy_dtype_of(v));
    int64_t n = gy_shape_count(t->shape), bad = 0;
    for (int64_t i = 0; s == GY_OK && gy_dtype_is_float(t->dtype) && i < n; i++) bad += !isfinite(gy_tensor_get(t, i));
    if (bad) gy_warn(ctx, "%s: %" PRId64 " of %" PRId64 " values are NaN or Inf", b->file, bad, n);
    return s == GY_OK ? gy_plan_feed(p, b->name, t) : s;
}

static gy_status all_given(gy_ctx *ctx, gy_graph *g, gy_plan *p, const binding *in, int n_in) {
    char missing[1024] = "", text[GY_SHAPE_TEXT];
    for (int64_t i = 0; i < g->n_input; i++) {
        const char *name = g->input[i].name;
        bool given = of_the_engine(name) || !gy_plan_input(p, name); /* no wanted output depends on it */
        for (int k = 0; k < n_in; k++) given = given || strcmp(in[k].name, name) == 0;
        if (given) continue;
        size_t used = strlen(missing);
        snprintf(missing + used, sizeof missing - used, "%s'%s' (%s %s)", used ? ", " : "", name,
                 gy_dtype_name(gy_dtype_of(g->input[i].value)), gy_shape_text(gy_shape_of(g->input[i].value), text));
    }
    return *missing ? gy_fail(ctx, GY_ERR_USAGE, "inputs missing: %s", missing) : GY_OK;
}

static gy_status write_output(gy_ctx *ctx, const gy_plan *p, const binding *b) {
    gy_tensor t = gy_plan_output(p, b->name);
    cli_array a = {.name = (char *)(uintptr_t)b->name, .value = t};
    char text[GY_SHAPE_TEXT];
    gy_status s = cli_arrays_write(ctx, b->file, &(cli_arrays){.n = 1, .a = &a}, NULL);
    if (s == GY_OK)
        fprintf(stderr, "%s: %s %s %s\n", b->file, b->name, gy_dtype_name(t.dtype), gy_shape_text(t.shape, text));
    return s;
}

/* ---- the verb ---- */

static void print_values(const char *what, const gy_named *v, int64_t n) {
    char text[GY_SHAPE_TEXT];
    for (int64_t i = 0; i < n; i++)
        if (!of_the_engine(v[i].name))
            printf("%-8s %-20s %s %s\n", what, v[i].name, gy_dtype_name(gy_dtype_of(v[i].value)),
                   gy_shape_text(gy_shape_of(v[i].value), text));
}

/* Without outputs, or with --dry-run: what there is, and what it would cost. */
static gy_status describe(gy_ctx *ctx, gy_job *j, gy_graph *g, const char *const *outputs) {
    gy_plan *p = gy_compile(g, (gy_plan_args){.dry = true, .outputs = outputs});
    char t1[32];
    if (!p) return gy_error_status(ctx);
    gy_plan_info r = gy_plan_report(p);
    printf("model    %s, configuration %s\n", j->def->slug, j->config_name);
    print_values("input", g->input, g->n_input);
    print_values("output", g->output, g->n_output);
    printf(
        "memory   %s\n",
        cli_bytes_text((double)(r.arena_bytes + r.const_bytes + r.input_bytes + r.state_bytes + r.packed_bytes), t1));
    printf("work     %s\n", cli_count_text(r.flops, "FLOP", t1));
    gy_plan_free(p);
    return GY_OK;
}

typedef struct request {
    binding in[MAX_NAMES], out[MAX_NAMES];
    const char *wanted[MAX_NAMES + 1];
    int n_in, n_out;
    gy_tensor value[MAX_NAMES];
} request;

static gy_status infer(gy_ctx *ctx, const cli_args *a, gy_job *j, gy_graph *g, request *q) {
    gy_status s = cli_load_weights(ctx, a, j);
    if (s != GY_OK) return s;
    gy_plan *p = gy_compile(g, (gy_plan_args){.outputs = q->wanted, .no_assign = true});
    if (!p) return gy_error_status(ctx);
    s = all_given(ctx, g, p, q->in, q->n_in);
    for (int i = 0; s == GY_OK && i < q->n_in; i++) s = feed(ctx, g, p, &q->in[i], &q->value[i]);
    gy_plan_set_rng(p, j->seed, 0);
    if (s == GY_OK) s = gy_plan_run(p);
    for (int i = 0; s == GY_OK && i < q->n_out; i++) s = write_output(ctx, p, &q->out[i]);
    gy_plan_free(p);
    return s;
}

static gy_status run(gy_ctx *ctx, const cli_args *a, gy_job *j, request *q) {
    gy_status s = bindings(ctx, a, "--input", q->in, &q->n_in);
    if (s == GY_OK) s = bindings(ctx, a, "--output", q->out, &q->n_out);
    if (s == GY_OK) s = cli_open_model(ctx, a, j, false);
    for (int i = 0; s == GY_OK && i < q->n_in; i++) s = read_input(ctx, &q->in[i], &q->value[i]);
    if (s != GY_OK) return s;
    if (q->n_in && (q->value[0].shape.rank < 1 || q->value[0].shape.dim[0] < 1))
        return gy_fail(ctx, GY_ERR_SHAPE, "%s: input '%s': the first axis is the batch and holds at least one row",
                       q->in[0].file, q->in[0].name);
    gy_graph *g = cli_build(j, q->n_in ? q->value[0].shape.dim[0] : 1);
    if (!g) return gy_error_status(ctx);
    for (int i = 0; s == GY_OK && i < q->n_in; i++) s = check_name(ctx, "input", g->input, g->n_input, q->in[i].name);
    for (int i = 0; s == GY_OK && i < q->n_out; i++) {
        s = check_name(ctx, "output", g->output, g->n_output, q->out[i].name);
        q->wanted[i] = q->out[i].name;
    }
    if (s == GY_OK && (cli_has(a, "--dry-run") || !q->n_out)) {
        s = describe(ctx, j, g, q->n_out ? q->wanted : NULL);
        if (s == GY_OK && q->n_in && !cli_has(a, "--dry-run"))
            s = gy_fail(ctx, GY_ERR_USAGE, "expected --output name=FILE for at least one output");
    } else if (s == GY_OK) {
        s = infer(ctx, a, j, g, q);
    }
    gy_graph_free(g);
    return s;
}

int cli_run(gy_ctx *ctx, const cli_args *a) {
    if (a->n_positional != 1) return cli_usage_error(ctx, a, "expected one model or run folder");
    gy_job j = {0};
    request *q = gy_calloc(ctx, 1, sizeof *q);
    gy_status s = q ? run(ctx, a, &j, q) : GY_ERR_NOMEM;
    for (int i = 0; q && i < MAX_NAMES; i++) gy_tensor_free(ctx, &q->value[i]);
    gy_free(ctx, q);
    gy_job_free(&j);
    return s == GY_OK ? CLI_OK : cli_fail(ctx, a);
}
