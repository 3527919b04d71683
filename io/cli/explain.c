/* gyrus explain: a model taken apart, layer by layer, as the plan runs it; one operator: explain_op.c; as a page:
 * explain_page.c. */
#include "explain.h"

#include "../../core/op.h"
#include "../formats/json.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const char *formula_of(const char *op, size_t n) {
    for (int i = 1; i < GY_OP_COUNT; i++)
        if (strlen(gy_ops[i].name) == n && strncmp(gy_ops[i].name, op, n) == 0) return gy_ops[i].formula;
    return "";
}

const char *cli_step_formula(const gy_plan_step_info *s, char buf[512]) {
    static const char mark[] = "chain: ";
    if (!s->fused || strncmp(s->fused, mark, sizeof mark - 1) != 0) return formula_of(s->op, strlen(s->op));
    size_t used = 0;
    for (const char *p = s->fused + sizeof mark - 1; *p && used < 512;) {
        size_t n = strcspn(p, " ");
        used += (size_t)snprintf(buf + used, 512 - used, "%s%s", used ? "; " : "", formula_of(p, n));
        p += n + (p[n] == ' ');
    }
    return buf;
}

/* Scalars of the parameters that a scope itself owns: "<scope>.<leaf>". */
static int64_t parameters_of(const gy_store *store, const char *scope) {
    size_t n = strlen(scope);
    int64_t sum = 0;
    for (int64_t i = 0; i < gy_store_count(store); i++) {
        const gy_state *s = gy_store_at(store, i);
        const char *leaf = n ? s->name + n + 1 : s->name;
        if (s->kind != GY_PARAM || (n && (strncmp(s->name, scope, n) != 0 || s->name[n] != '.'))) continue;
        if (!strchr(leaf, '.')) sum += gy_shape_count(s->value.shape);
    }
    return sum;
}

typedef struct placed {
    const char *scope;
    int64_t step;
} placed;

static int by_scope(const void *a, const void *b) {
    const placed *x = a, *y = b;
    int order = strcmp(x->scope, y->scope);
    return order ? order : (x->step > y->step) - (x->step < y->step);
}

int64_t *cli_step_parameters(gy_ctx *ctx, const gy_plan *p, const gy_store *store) {
    int64_t n = gy_plan_report(p).steps;
    int64_t *out = gy_calloc(ctx, (size_t)n + 1, sizeof *out);
    placed *at = gy_calloc(ctx, (size_t)n + 1, sizeof *at);
    for (int64_t i = 0; out && at && i < n; i++) at[i] = (placed){gy_plan_step(p, i).scope, i};
    if (out && at) qsort(at, (size_t)n, sizeof *at, by_scope); /* each layer's steps side by side, the first ahead */
    for (int64_t i = 0; out && at && i < n; i++)
        if (i == 0 || strcmp(at[i].scope, at[i - 1].scope) != 0) out[at[i].step] = parameters_of(store, at[i].scope);
    if (!at) {
        gy_free(ctx, out);
        out = NULL;
    }
    gy_free(ctx, at);
    return out;
}

static void print_table(const gy_plan *p, const gy_store *store, const int64_t *own, bool timed) {
    gy_plan_info r = gy_plan_report(p);
    char shape[GY_SHAPE_TEXT], t1[32], t2[32], number[32], formula[512], time[32] = "";
    int64_t rest = gy_store_parameters(store);
    printf("%s%-4s %-30s %-28s %-22s %10s %11s %10s %s %-24s %s%s\n", cli_bold(stdout), "step", "layer", "operator",
           "result", "parameters", "work", "moved", timed ? "  time us" : "", "kernel", "formula", cli_plain(stdout));
    for (int64_t i = 0; i < r.steps; i++) {
        gy_plan_step_info s = gy_plan_step(p, i);
        int64_t parameters = own[i];
        rest -= parameters;
        snprintf(number, sizeof number, "%" PRId64, parameters);
        if (timed) snprintf(time, sizeof time, "%9.1f", 1e6 * s.seconds / CLI_EXPLAIN_RUNS);
        printf("%-4" PRId64 " %-30s %-28s %-22s %10s %11s %10s %s %-24s %s\n", i, *s.scope ? s.scope : "-",
               s.fused ? s.fused : s.op, gy_shape_text(s.shape, shape), parameters ? number : "",
               s.flops > 0 ? cli_count_text(s.flops, "FLOP", t1) : "", cli_bytes_text(s.bytes, t2), time, s.kernel,
               cli_step_formula(&s, formula));
    }
    if (rest > 0) printf("%-4s %-30s %-28s %-22s %10" PRId64 "\n", "", "layers without a step", "", "", rest);
}

static void put_steps(gy_json_writer *w, const gy_plan *p, const int64_t *own, bool timed) {
    gy_plan_info r = gy_plan_report(p);
    char formula[512];
    gy_json_open_array(w, "steps");
    for (int64_t i = 0; i < r.steps; i++) {
        gy_plan_step_info s = gy_plan_step(p, i);
        gy_json_open_object(w, NULL);
        gy_json_put_string(w, "layer", s.scope);
        gy_json_put_string(w, "op", s.op);
        gy_json_put_string(w, "fused", s.fused);
        gy_json_put_string(w, "formula", cli_step_formula(&s, formula));
        gy_json_put_string(w, "dtype", gy_dtype_name(s.dtype));
        gy_json_open_array(w, "shape");
        for (int64_t d = 0; d < s.shape.rank; d++) gy_json_put_int(w, NULL, s.shape.dim[d]);
        gy_json_close(w);
        gy_json_put_int(w, "parameters", own[i]);
        gy_json_put_real(w, "flops", s.flops);
        gy_json_put_real(w, "bytes", s.bytes);
        gy_json_put_string(w, "kernel", s.kernel);
        if (timed) gy_json_put_real(w, "seconds", s.seconds / CLI_EXPLAIN_RUNS);
        gy_json_put_string(w, "source", s.site.file);
        gy_json_put_int(w, "line", s.site.line);
        gy_json_close(w);
    }
    gy_json_close(w);
}

static int print_json(gy_ctx *ctx, const cli_args *a, const gy_job *j, const gy_plan *p, const int64_t *own) {
    const gy_model_def *d = j->def;
    gy_plan_info r = gy_plan_report(p);
    gy_json_writer w;
    char *text;
    size_t n;
    gy_json_start(ctx, &w, false);
    gy_json_open_object(&w, NULL);
    gy_json_put_string(&w, "slug", d->slug);
    gy_json_put_string(&w, "config", j->config_name);
    gy_json_put_string(&w, "title", d->title);
    gy_json_put_string(&w, "cite", d->cite);
    gy_json_put_string(&w, "job", d->job);
    gy_json_put_int(&w, "batch", j->batch);
    gy_json_put_int(&w, "parameters", gy_store_parameters(j->store));
    gy_json_put_real(&w, "flops", r.flops);
    gy_json_put_real(&w, "bytes", r.bytes);
    gy_json_put_int(&w, "arena_bytes", r.arena_bytes);
    gy_json_put_int(&w, "packed_bytes", r.packed_bytes);
    gy_json_open_array(&w, "equations");
    for (const char *const *e = d->equations; e && *e; e++) gy_json_put_string(&w, NULL, *e);
    gy_json_close(&w);
    put_steps(&w, p, own, cli_has(a, "--time"));
    gy_json_close(&w);
    if (gy_json_finish(&w, &text, &n) != GY_OK) return cli_fail(ctx, a);
    printf("%s\n", text);
    gy_free(ctx, text);
    return CLI_OK;
}

static void print(const cli_args *a, const gy_job *j, const gy_plan *p, const int64_t *own) {
    const gy_model_def *d = j->def;
    gy_plan_info r = gy_plan_report(p);
    char t1[32], t2[32], t3[32], t4[32];
    printf("%s%s%s: %s (%d)\n%s\n\n%s\n\n", cli_bold(stdout), d->slug, cli_plain(stdout), d->title, d->year, d->cite,
           d->job);
    for (const char *const *e = d->equations; e && *e; e++) printf("  %s\n", *e);
    printf("\nconfiguration %s, batch %" PRId64 "\n\n", j->config_name, j->batch);
    print_table(p, j->store, own, cli_has(a, "--time"));
    printf("\nin all: %" PRId64 " parameters, %" PRId64
           " steps, %s, %s moved; working memory %s (%s if nothing shared its place)\n",
           gy_store_parameters(j->store), r.steps, cli_count_text(r.flops, "FLOP", t1), cli_bytes_text(r.bytes, t2),
           cli_bytes_text((double)r.arena_bytes, t3), cli_bytes_text((double)r.sum_bytes, t4));
}

/* Without --time nothing is allocated, so that the largest configuration can be looked at anywhere. */
static gy_plan *make_plan(gy_graph *g, bool timed) {
    gy_plan *p = gy_compile(g, (gy_plan_args){.dry = !timed});
    gy_status s = GY_OK;
    if (!p || !timed) return p;
    gy_plan_set_rng(p, 0, 0);
    for (int i = 0; s == GY_OK && i < 2 * CLI_EXPLAIN_RUNS; i++) {
        if (i == CLI_EXPLAIN_RUNS) gy_plan_profile(p, true); /* the first half warms up */
        s = gy_plan_run(p);
    }
    if (s == GY_OK) return p;
    gy_plan_free(p);
    return NULL;
}

static int write_page(gy_ctx *ctx, const cli_args *a, const gy_job *j, const gy_plan *p, const int64_t *own,
                      const char *path) {
    char *command = cli_command_text(ctx, a);
    gy_status s = command ? cli_explain_page(ctx, a, j, p, own, cli_has(a, "--time"), path, command) : GY_ERR_NOMEM;
    gy_free(ctx, command);
    if (s != GY_OK) return cli_fail(ctx, a);
    fprintf(stderr, "page: %s\n", path);
    return CLI_OK;
}

static int explain(gy_ctx *ctx, const cli_args *a, gy_job *j) {
    const char *page = cli_get(a, "-o");
    bool timed = cli_has(a, "--time");
    if (!timed) {
        gy_store *dry = gy_store_new_dry(ctx);
        if (!dry) return cli_fail(ctx, a);
        gy_store_free(j->store);
        j->store = dry;
    }
    if (j->batch == 0) j->batch = 1;
    if (!cli_int(ctx, a, "--batch", 1, 1 << 24, &j->batch)) return cli_fail(ctx, a);
    gy_graph *g = cli_build(j, j->batch);
    gy_plan *p = g ? make_plan(g, timed) : NULL;
    int64_t *own = p ? cli_step_parameters(ctx, p, j->store) : NULL;
    int rc = CLI_OK;
    if (!own)
        rc = cli_fail(ctx, a);
    else if (cli_has(a, "--json"))
        rc = print_json(ctx, a, j, p, own);
    else if (!page)
        print(a, j, p, own);
    if (page && rc == CLI_OK) rc = write_page(ctx, a, j, p, own, page);
    gy_free(ctx, own);
    gy_plan_free(p);
    gy_graph_free(g);
    return rc;
}

int cli_explain(gy_ctx *ctx, const cli_args *a) {
    const char *op = cli_get(a, "--op");
    if (op && cli_has(a, "-o")) return cli_usage_error(ctx, a, "-o is for models: an operator has no page");
    if (op)
        return a->n_positional ? cli_usage_error(ctx, a, "expected a model or --op, not both")
                               : cli_explain_op(ctx, a, op);
    if (a->n_positional != 1) return cli_usage_error(ctx, a, "expected one model, or --op NAME");
    const gy_model_def *def = cli_model(ctx, a->positional[0]);
    gy_job j;
    if (!def || cli_job(ctx, a, def, &j) != GY_OK) return cli_fail(ctx, a);
    int rc = explain(ctx, a, &j);
    gy_job_free(&j);
    return rc;
}
