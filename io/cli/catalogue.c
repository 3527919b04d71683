/* gyrus list, gyrus show: the catalogue and one model's facts. */
#include "cli.h"

#include "../../core/op.h"
#include "../formats/json.h"

#include <inttypes.h>
#include <string.h>

static int print_json(gy_ctx *ctx, const cli_args *a, gy_json_writer *w) {
    char *text;
    size_t n;
    if (gy_json_finish(w, &text, &n) != GY_OK) return cli_fail(ctx, a);
    fwrite(text, 1, n, stdout);
    putchar('\n');
    gy_free(ctx, text);
    return CLI_OK;
}

static int list_ops(gy_ctx *ctx, const cli_args *a) {
    gy_json_writer w;
    bool json = cli_has(a, "--json");
    gy_json_start(ctx, &w, false);
    gy_json_open_array(&w, NULL);
    for (int i = 1; i < GY_OP_COUNT; i++) {
        if (!json) {
            printf("%-22s %s\n", gy_ops[i].name, gy_ops[i].formula);
            continue;
        }
        gy_json_open_object(&w, NULL);
        gy_json_put_string(&w, "op", gy_ops[i].name);
        gy_json_put_string(&w, "formula", gy_ops[i].formula);
        gy_json_close(&w);
    }
    gy_json_close(&w);
    if (json) return print_json(ctx, a, &w);
    gy_free(ctx, w.text);
    return CLI_OK;
}

int cli_list(gy_ctx *ctx, const cli_args *a) {
    const char *family = cli_get(a, "--family");
    bool json = cli_has(a, "--json");
    int64_t shown = 0;
    gy_json_writer w;
    if (a->n_positional) return cli_usage_error(ctx, a, "unexpected argument '%s'", a->positional[0]);
    if (cli_has(a, "--ops")) return list_ops(ctx, a);
    gy_json_start(ctx, &w, false);
    gy_json_open_array(&w, NULL);
    for (const gy_model_def *const *m = gy_models; *m; m++) {
        const gy_model_def *d = *m;
        if (family && strcmp(family, d->family) != 0) continue;
        shown++;
        if (!json) {
            printf("%s%-22s%s %-18s %d  %s\n", cli_bold(stdout), d->slug, cli_plain(stdout), d->family, d->year,
                   d->title);
            continue;
        }
        gy_json_open_object(&w, NULL);
        gy_json_put_string(&w, "slug", d->slug);
        gy_json_put_string(&w, "family", d->family);
        gy_json_put_int(&w, "year", d->year);
        gy_json_put_string(&w, "title", d->title);
        gy_json_close(&w);
    }
    gy_json_close(&w);
    if (json) return print_json(ctx, a, &w);
    gy_free(ctx, w.text);
    if (family && !shown) return cli_usage_error(ctx, a, "no model of family '%s'", family);
    return CLI_OK;
}

/* ---- show ---- */

typedef struct facts {
    gy_store *store; /* dry */
    gy_graph *infer, *train;
    gy_plan *infer_plan, *train_plan;
} facts;

static void facts_free(facts *f) {
    gy_plan_free(f->infer_plan);
    gy_plan_free(f->train_plan);
    gy_graph_free(f->infer);
    gy_graph_free(f->train);
    gy_store_free(f->store);
}

static gy_status plan_dry(gy_ctx *ctx, const gy_job *j, facts *f, bool train, gy_graph **g, gy_plan **p) {
    *g = gy_graph_new(ctx);
    if (!*g) return GY_ERR_NOMEM;
    gy_mod m = gy_mod_make(*g, f->store, 0, train);
    gy_build b = {.m = &m, .cfg = j->cfg, .batch = j->batch, .ablate = j->ablate};
    (train ? j->def->objective : j->def->build)(&b);
    *p = gy_compile(*g, (gy_plan_args){.dry = true});
    return *p ? GY_OK : gy_error_status(ctx);
}

static void put_values(gy_json_writer *w, const char *key, const gy_named *v, int64_t n) {
    gy_json_open_array(w, key);
    for (int64_t i = 0; i < n; i++) {
        if (strcmp(v[i].name, "rng") == 0 || strcmp(v[i].name, "lr") == 0) continue;
        gy_shape s = gy_shape_of(v[i].value);
        gy_json_open_object(w, NULL);
        gy_json_put_string(w, "name", v[i].name);
        gy_json_put_string(w, "dtype", gy_dtype_name(gy_dtype_of(v[i].value)));
        gy_json_open_array(w, "shape");
        for (int64_t d = 0; d < s.rank; d++) gy_json_put_int(w, NULL, s.dim[d]);
        gy_json_close(w);
        gy_json_close(w);
    }
    gy_json_close(w);
}

static void print_values(const char *what, const gy_named *v, int64_t n) {
    char text[GY_SHAPE_TEXT];
    for (int64_t i = 0; i < n; i++)
        if (strcmp(v[i].name, "rng") != 0 && strcmp(v[i].name, "lr") != 0)
            printf("%-12s %-20s %s %s\n", what, v[i].name, gy_dtype_name(gy_dtype_of(v[i].value)),
                   gy_shape_text(gy_shape_of(v[i].value), text));
}

/* A bar a step, at most 40 lines: the largest of each group of steps. */
static void print_memory(const gy_plan *p) {
    gy_plan_info r = gy_plan_report(p);
    char text[32];
    int64_t rows = r.steps < 40 ? r.steps : 40;
    printf("\nmemory alive over the %" PRId64 " steps of a training step:\n", r.steps);
    for (int64_t row = 0; row < rows; row++) {
        int64_t lo = row * r.steps / rows, hi = (row + 1) * r.steps / rows, top = 0, at = lo;
        for (int64_t i = lo; i < hi; i++)
            if (gy_plan_step(p, i).live_bytes > top) {
                top = gy_plan_step(p, i).live_bytes;
                at = i;
            }
        int width = r.arena_bytes ? (int)(50 * top / r.arena_bytes) : 0;
        printf("%6" PRId64 " %9s ", at, cli_bytes_text((double)top, text));
        for (int k = 0; k < width; k++) putchar('#');
        printf(" %s %s\n", gy_plan_step(p, at).op, gy_plan_step(p, at).scope);
    }
}

/* ---- parameters by part: "embedder.1" for embedder.1.*, "head" for head.* ---- */

enum { MAX_PARTS = 256 };
typedef struct part {
    char name[64];
    size_t base;     /* bytes of the name before ".1"; all of it: no number */
    int64_t n, same; /* parameters; parts of this base and size, 0: counted by an earlier one */
} part;

/* The part's name: up to the first dot, and the number after it if there is one. */
static part part_of(const char *name) {
    part p = {.base = strcspn(name, ".")};
    size_t digits = name[p.base] ? strspn(name + p.base + 1, "0123456789") : 0;
    size_t len = digits && name[p.base + 1 + digits] == '.' ? p.base + 1 + digits : p.base;
    snprintf(p.name, sizeof p.name, "%.*s", (int)len, name);
    return p;
}

/* Numbered parts of one base and size are one line. */
static bool alike(const part *a, const part *b) {
    return a->base == b->base && a->n == b->n && a->name[a->base] && b->name[b->base] &&
           strncmp(a->name, b->name, a->base) == 0;
}

static int64_t count_parts(const gy_store *store, part parts[MAX_PARTS]) {
    int64_t n = 0;
    for (int64_t i = 0; i < gy_store_count(store); i++) {
        const gy_state *s = gy_store_at(store, i);
        if (s->kind != GY_PARAM) continue;
        part p = part_of(s->name);
        int64_t at = 0;
        while (at < n && strcmp(parts[at].name, p.name) != 0) at++;
        if (at == MAX_PARTS) continue;
        if (at == n) parts[n++] = p;
        parts[at].n += gy_shape_count(s->value.shape);
    }
    for (int64_t i = 0; i < n; i++) {
        int64_t first = 0;
        while (first < i && !alike(&parts[first], &parts[i])) first++;
        parts[first].same++;
    }
    return n;
}

static void print_parts(const gy_store *store) {
    part parts[MAX_PARTS];
    int64_t n = count_parts(store, parts);
    for (int64_t i = 0; n > 1 && i < n; i++) {
        if (parts[i].same > 1)
            printf("%-12s %.*s.*: %" PRId64 " x %" PRId64 "\n", "", (int)parts[i].base, parts[i].name, parts[i].same,
                   parts[i].n);
        else if (parts[i].same == 1)
            printf("%-12s %s: %" PRId64 "\n", "", parts[i].name, parts[i].n);
    }
}

static void put_parts(gy_json_writer *w, const gy_store *store) {
    part parts[MAX_PARTS];
    int64_t n = count_parts(store, parts);
    gy_json_open_object(w, "parameters_of");
    for (int64_t i = 0; i < n; i++) gy_json_put_int(w, parts[i].name, parts[i].n);
    gy_json_close(w);
}

/* Parameters of a net that only training needs, and holds still: somebody else's. States from the `first` on. */
static int64_t frozen_parameters(const gy_store *store, int64_t first) {
    int64_t n = 0;
    for (int64_t i = first; i < gy_store_count(store); i++) {
        const gy_state *s = gy_store_at(store, i);
        if (s->kind == GY_PARAM && s->frozen) n += gy_shape_count(s->value.shape);
    }
    return n;
}

static int show(gy_ctx *ctx, const cli_args *a, gy_job *j, facts *f) {
    const gy_model_def *d = j->def;
    f->store = gy_store_new_dry(ctx);
    if (!f->store || plan_dry(ctx, j, f, false, &f->infer, &f->infer_plan) != GY_OK) return cli_fail(ctx, a);
    int64_t parameters = gy_store_parameters(f->store), own = gy_store_count(f->store);
    if (d->objective && plan_dry(ctx, j, f, true, &f->train, &f->train_plan) != GY_OK) return cli_fail(ctx, a);
    int64_t frozen = frozen_parameters(f->store, own);
    if (d->objective) parameters = gy_store_parameters(f->store) - frozen;
    gy_plan_info fwd = gy_plan_report(f->infer_plan), step = f->train_plan ? gy_plan_report(f->train_plan) : fwd;
    double peak =
        (double)(step.arena_bytes + step.const_bytes + step.input_bytes + step.state_bytes + step.packed_bytes);
    if (cli_has(a, "--json")) {
        gy_json_writer w;
        gy_json_start(ctx, &w, false);
        gy_json_open_object(&w, NULL);
        gy_json_put_string(&w, "slug", d->slug);
        gy_json_put_string(&w, "config", j->config_name);
        gy_json_put_int(&w, "batch", j->batch);
        gy_json_put_int(&w, "parameters", parameters);
        gy_json_put_int(&w, "frozen", frozen);
        put_parts(&w, f->store);
        gy_json_put_real(&w, "flops_forward", fwd.flops);
        gy_json_put_real(&w, "flops_step", step.flops);
        gy_json_put_real(&w, "bytes_step", step.bytes);
        gy_json_put_real(&w, "bytes_peak", peak);
        put_values(&w, "inputs", f->infer->input, f->infer->n_input);
        put_values(&w, "outputs", f->infer->output, f->infer->n_output);
        gy_json_close(&w);
        return print_json(ctx, a, &w);
    }
    char t1[32], t2[32];
    printf("%s%s%s: %s (%d)\n%s\n\n%s\n\n", cli_bold(stdout), d->slug, cli_plain(stdout), d->title, d->year, d->cite,
           d->job);
    printf("%-12s %s, batch %" PRId64 "\n", "config", j->config_name, j->batch);
    print_values("input", f->infer->input, f->infer->n_input);
    print_values("output", f->infer->output, f->infer->n_output);
    printf("%-12s %" PRId64 "\n", "parameters", parameters);
    if (frozen) printf("%-12s %" PRId64 "\n", "frozen", frozen);
    print_parts(f->store);
    printf("%-12s %s forward, %s a training step\n", "work", cli_count_text(fwd.flops, "FLOP", t1),
           cli_count_text(step.flops, "FLOP", t2));
    printf("%-12s %s moved a step, peak %s\n", "memory", cli_bytes_text(step.bytes, t1), cli_bytes_text(peak, t2));
    if (d->trained_as) printf("%-12s with %s, which it is a part of\n", "training", d->trained_as);
    for (const gy_config *c = d->configs; c->name; c++)
        printf("%-12s %s: %s\n", c == d->configs ? "configs" : "", c->name, c->help);
    for (const gy_option *o = d->options; o && o->name; o++) {
        char value[96];
        gy_config_text(o, j->cfg, value, sizeof value);
        printf("%-12s %-18s %-10s %s\n", o == d->options ? "options" : "", o->name, value, o->help);
    }
    printf("%-12s %s%s\n", "claim", d->claim ? "gyrus claim " : "none", d->claim ? d->slug : "");
    for (const char *const *p = d->ablations; p && *p; p++)
        printf("%-12s %s\n", p == d->ablations ? "ablations" : "", *p);
    if (cli_has(a, "--memory") && f->train_plan) print_memory(f->train_plan);
    return CLI_OK;
}

int cli_show(gy_ctx *ctx, const cli_args *a) {
    if (a->n_positional != 1) return cli_usage_error(ctx, a, "expected one model");
    const gy_model_def *def = cli_model(ctx, a->positional[0]);
    gy_job j;
    if (!def || cli_job(ctx, a, def, &j) != GY_OK) return cli_fail(ctx, a);
    facts f = {0};
    if (j.batch == 0) j.batch = 1;
    int rc = cli_int(ctx, a, "--batch", 1, 1 << 24, &j.batch) ? show(ctx, a, &j, &f) : cli_fail(ctx, a);
    facts_free(&f);
    gy_job_free(&j);
    return rc;
}
