/* gyrus explain SLUG -o page.html: what flows through the model when it reads a batch of its own data. The first
 * training step runs once, and the values at the model's named places (gy_tap), else at the ends of its layers, are
 * drawn as their shapes suggest: pictures, heat maps, traces. */
#include "explain.h"

#include "../../core/op.h"
#include "../report/html.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

enum {
    SHOWN = 12,              /* values on the page */
    ENOUGH_TAPS = 4,         /* with as many named places the ends of layers are left out */
    MAPS = 8,                /* channels of one value */
    SIDE = 192,              /* pixels or cells a side; larger ones are thinned */
    LINES = 6,               /* a trace each: more columns make a heat map */
    NAME_BYTES = 160,        /* of a value */
    MOST_BYTES = 1000000000, /* parameters and working memory together: larger models are not run for a page */
};

typedef struct view {
    gy_t value;
    char name[NAME_BYTES]; /* as shown */
    char output[16];       /* as the plan knows it */
} view;

/* ---- which values ---- */

/* True for values that an input reaches: those that only parameters make say nothing about the data. */
static bool *find_reached(gy_ctx *ctx, const gy_graph *g) {
    bool *reached = gy_calloc(ctx, (size_t)g->n, sizeof *reached);
    for (int32_t id = 1; reached && id < g->n; id++) {
        const gy_node *n = g->node[id];
        reached[id] = n->op->id == GY_OP_input;
        for (int32_t i = 0; i < n->n_in; i++)
            if (!gy_is_none(n->in[i])) reached[id] |= reached[n->in[i].id];
    }
    return reached;
}

/* Of a size that a picture can show: a scalar or a single number a row is none. */
static bool drawable(const gy_graph *g, int32_t id, int64_t batch) {
    gy_t t = {(gy_graph *)(uintptr_t)g, id, 0};
    int64_t n = gy_count(t);
    if (gy_rank(t) > 1 && gy_dim(t, 0) == batch) n /= batch;
    return gy_dtype_is_float(gy_dtype_of(t)) && n > 1;
}

static const char *input_name(const gy_graph *g, int32_t id) {
    for (int64_t i = 0; i < g->n_input; i++)
        if (g->input[i].value.id == id) return g->input[i].name;
    return "input";
}

/* Marks each layer's last value before the loss: what it hands on. */
static void mark_ends(const gy_graph *g, int32_t loss, const bool *reached, int64_t batch, bool *chosen) {
    for (int32_t id = 1; id < loss; id++) {
        const gy_node *n = g->node[id];
        if (!*n->scope || n->grad || !reached[id] || !drawable(g, id, batch)) continue;
        bool last = true;
        for (int32_t k = id + 1; last && k < loss; k++)
            last = g->node[k]->scope != n->scope || g->node[k]->grad || !drawable(g, k, batch);
        chosen[id] = last;
    }
}

/* Inputs, named places, and (where few places have names) the ends of layers, in the order of the graph; evenly thinned
 * to SHOWN. */
static int64_t choose(gy_graph *g, int32_t loss, const bool *reached, bool *chosen, int64_t batch, view out[SHOWN]) {
    int64_t taps = 0, all = 0, n = 0, seen = 0;
    for (int32_t id = 1; id < loss; id++)
        taps += g->node[id]->tap && !g->node[id]->grad && reached[id] && drawable(g, id, batch);
    if (taps < ENOUGH_TAPS) mark_ends(g, loss, reached, batch, chosen);
    for (int32_t id = 1; id < loss; id++) {
        const gy_node *node = g->node[id];
        bool named = node->tap || node->op->id == GY_OP_input;
        chosen[id] = (chosen[id] || named) && !node->grad && reached[id] && drawable(g, id, batch);
        all += chosen[id];
    }
    for (int32_t id = 1; id < loss; id++) {
        const gy_node *node = g->node[id];
        if (!chosen[id]) continue;
        int64_t slot = all <= SHOWN ? seen : seen * (SHOWN - 1) / (all - 1); /* the first and the last are kept */
        bool first_of_slot = seen == 0 || all <= SHOWN || (seen - 1) * (SHOWN - 1) / (all - 1) < slot;
        seen++;
        if (!first_of_slot) continue;
        view *v = &out[n++];
        v->value = (gy_t){g, id, 0};
        const char *name = node->op->id == GY_OP_input ? input_name(g, id) : node->tap ? node->tap : node->scope;
        snprintf(v->name, sizeof v->name, "%s", name);
        snprintf(v->output, sizeof v->output, "seen:%d", (int)id);
    }
    return n;
}

/* ---- one value as a figure ---- */

/* The first row of a batch as numbers, its axes, and what is known of them. */
typedef struct field {
    double *v;
    int64_t rank, dim[GY_MAX_RANK], n;
    double lo, hi, mean, sd;
    bool attention; /* weights [heads, queries, keys]; elsewhere features are last */
    bool input;
} field;

static double element(const gy_tensor *t, int64_t i) {
    switch (t->dtype) {
    case GY_F32: return (double)((const float *)t->data)[i];
    case GY_F64: return ((const double *)t->data)[i];
    case GY_BF16: return (double)gy_bf16_to_f32(((const uint16_t *)t->data)[i]);
    default: return NAN;
    }
}

/* Whether the last axis holds shares of 1, as attention's weights do; a picture of class probabilities has fewer
 * classes than rows. */
static bool are_shares(const field *f) {
    int64_t w = f->rank > 1 ? f->dim[f->rank - 1] : 0;
    if (w < 2 || w < f->dim[f->rank < 3 ? 0 : f->rank - 3] || f->lo < 0) return false;
    for (int64_t i = 0; i < f->n; i += w) {
        double sum = 0;
        for (int64_t k = 0; k < w; k++) sum += f->v[i + k];
        if (fabs(sum - 1) > 1e-3) return false;
    }
    return true;
}

static bool read_field(gy_ctx *ctx, const gy_plan *p, const view *v, int64_t batch, field *f) {
    gy_tensor t = gy_plan_output(p, v->output);
    const gy_node *node = gy_node_of(v->value);
    bool first_row = t.shape.rank > 1 && t.shape.dim[0] == batch;
    *f = (field){.n = 1, .lo = INFINITY, .hi = -INFINITY};
    for (int64_t d = first_row; d < t.shape.rank;
         d++) { /* axes of one element show nothing; a last one is the colour */
        f->n *= t.shape.dim[d];
        if (t.shape.dim[d] > 1 || (d == t.shape.rank - 1 && f->rank > 1)) f->dim[f->rank++] = t.shape.dim[d];
    }
    f->v = t.data && f->n > 1 ? gy_malloc(ctx, (size_t)f->n * sizeof *f->v) : NULL;
    if (!f->v) return false;
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < f->n; i++) {
        double x = f->v[i] = element(&t, i);
        f->lo = fmin(f->lo, x);
        f->hi = fmax(f->hi, x);
        sum += x;
        squares += x * x;
    }
    f->mean = sum / (double)f->n;
    f->sd = sqrt(fmax(squares / (double)f->n - f->mean * f->mean, 0));
    f->attention = are_shares(f);
    f->input = node->op->id == GY_OP_input;
    int64_t *last = f->dim + f->rank - 1;
    if (f->rank == 3 && !f->attention && (last[-2] > 4 * last[-1] || last[-1] > 4 * last[-2])) {
        last[-1] *= last[0]; /* no picture's proportions: rather positions by heads of features */
        f->rank = 2;
    }
    return true;
}

static gy_figure_head head_of(const view *v, const field *f, const char *caption, const char *command) {
    return (gy_figure_head){.title = v->name,
                            .caption = caption,
                            .alt = v->name,
                            .command = command,
                            .n = f->n,
                            .n_of = "values",
                            .chance = gy_no_chance(),
                            .side = GY_SIDE_NONE};
}

/* [n] or [time, columns]: a line a column. */
static gy_status draw_traces(gy_ctx *ctx, const field *f, gy_figure_head head, gy_figure *out) {
    int64_t columns = f->rank == 1 ? 1 : f->dim[1], n = f->n / columns;
    double *y = gy_malloc(ctx, (size_t)f->n * sizeof *y);
    if (!y) return GY_ERR_NOMEM;
    gy_series series[LINES];
    char name[LINES][24];
    for (int64_t c = 0; c < columns; c++) {
        for (int64_t i = 0; i < n; i++) y[c * n + i] = f->v[i * columns + c];
        snprintf(name[c], sizeof name[c], columns > 1 ? "column %" PRId64 : "value", c + 1);
        series[c] = (gy_series){.name = name[c], .n = n, .y = y + c * n};
    }
    gy_line_chart c = {.head = head,
                       .x = {.label = "index", .unit = GY_NO_UNIT},
                       .y = {.label = "activation", .unit = GY_NO_UNIT},
                       .series = series,
                       .n_series = columns};
    gy_status s = gy_figure_line(ctx, &c, out);
    gy_free(ctx, y);
    return s;
}

/* Every k-th of n, such that at most SIDE are left. */
static int64_t every(int64_t n) {
    return (n + SIDE - 1) / SIDE;
}

/* Positions down, features across; the other way round where there are many more positions, as signals are drawn. */
static gy_status draw_heatmap(gy_ctx *ctx, const field *f, gy_figure_head head, gy_figure *out) {
    bool turned = f->dim[0] > 2 * f->dim[1] && !f->attention;
    int64_t rows = f->dim[turned], columns = f->dim[!turned], down = turned ? 1 : columns, across = turned ? rows : 1;
    int64_t ky = every(rows), kx = every(columns), h = (rows + ky - 1) / ky, w = (columns + kx - 1) / kx;
    double *v = gy_malloc(ctx, (size_t)(h * w) * sizeof *v);
    if (!v) return GY_ERR_NOMEM;
    for (int64_t i = 0; i < h * w; i++) v[i] = f->v[i / w * ky * down + i % w * kx * across];
    const char *position = f->attention ? "query" : "position", *feature = f->attention ? "key" : "feature";
    gy_heatmap c = {.head = head,
                    .values = v,
                    .rows = h,
                    .cols = w,
                    .row_label = turned ? feature : position,
                    .col_label = turned ? position : feature,
                    .value = {.label = "activation", .unit = GY_NO_UNIT},
                    .decimals = 1,
                    .map = f->lo < 0 && f->hi > 0 ? GY_MAP_DIVERGING : GY_MAP_SEQUENTIAL};
    gy_status s = gy_figure_heatmap(ctx, &c, out);
    gy_free(ctx, v);
    return s;
}

/* [height, width, features], or [heads, height, width]: a picture a feature; three features of no sign are colours. Of
 * a volume, the slice through the middle. */
static gy_status draw_pictures(gy_ctx *ctx, const field *f, gy_figure_head head, gy_figure *out) {
    int64_t first = f->rank - 3, skip = 0, inner = f->dim[first] * f->dim[first + 1] * f->dim[first + 2];
    for (int64_t d = 0, size = f->n; d < first; d++) {
        size /= f->dim[d];
        skip += f->dim[d] / 2 * size;
    }
    const int64_t *dim = f->dim + first;
    int64_t h = dim[f->attention ? 1 : 0], w = dim[f->attention ? 2 : 1], maps = inner / (h * w);
    int64_t row = f->attention ? w : w * maps, column = f->attention ? 1 : maps, map = f->attention ? h * w : 1;
    int64_t ky = every(h), kx = every(w), th = (h + ky - 1) / ky, tw = (w + kx - 1) / kx;
    bool colours = maps == 3 && !f->attention;
    int64_t n = colours ? 1 : maps < MAPS ? maps : MAPS, channels = colours ? 3 : 1;
    bool signs = f->lo < 0 && f->hi > 0 && !f->input;
    double hi = signs ? fmax(-f->lo, f->hi) : f->hi, lo = signs ? -hi : f->lo;
    gy_image image[MAPS] = {0};
    char name[MAPS][24];
    const char *names[MAPS];
    float *v = gy_malloc(ctx, (size_t)(th * tw * channels) * sizeof *v);
    gy_status s = v ? GY_OK : GY_ERR_NOMEM;
    if (!(lo < hi)) hi = lo + 1;
    for (int64_t k = 0; s == GY_OK && k < n; k++) {
        for (int64_t i = 0; i < th * tw * channels; i++) {
            int64_t c = i % channels, x = i / channels % tw * kx, y = i / channels / tw * ky;
            double value = f->v[skip + y * row + x * column + (k + c) * map];
            v[i] = (float)(colours ? (value - lo) / (hi - lo) : value);
        }
        s = colours ? gy_raster_image(ctx, v, th, tw, 3, &image[k])
                    : gy_raster_map(ctx, v, th, tw, signs ? GY_MAP_DIVERGING : GY_MAP_GREY, lo, hi, &image[k]);
        snprintf(name[k], sizeof name[k], "%s %" PRId64,
                 f->attention ? "head"
                 : colours    ? "colours"
                              : "feature",
                 k + 1);
        names[k] = name[k];
    }
    gy_pictures c = {.head = head,
                     .value = {.label = "activation", .unit = GY_NO_UNIT, .lo = lo, .hi = hi},
                     .images = image,
                     .names = names,
                     .n_images = n,
                     .columns = 4};
    if (s == GY_OK) s = gy_figure_pictures(ctx, &c, out);
    for (int64_t k = 0; k < n; k++) gy_image_free(ctx, &image[k]);
    gy_free(ctx, v);
    return s;
}

static gy_status draw(gy_ctx *ctx, gy_report *report, const view *v, const field *f, const char *panel,
                      const char *command) {
    char caption[512], shape[GY_SHAPE_TEXT];
    snprintf(caption, sizeof caption,
             "%s of shape %s, first row of the batch; mean %.3g, standard deviation %.3g, from %.3g to %.3g%s",
             f->input ? "An input" : "A value", gy_shape_text(gy_shape_of(v->value), shape), f->mean, f->sd, f->lo,
             f->hi, f->rank > 3 ? "; the slice through the middle" : "");
    gy_figure_head head = head_of(v, f, caption, command);
    gy_figure figure;
    gy_status s = f->rank == 1 || (f->rank == 2 && f->dim[1] <= LINES && f->dim[0] >= 2 * f->dim[1])
                      ? draw_traces(ctx, f, head, &figure)
                  : f->rank == 2 ? draw_heatmap(ctx, f, head, &figure)
                                 : draw_pictures(ctx, f, head, &figure);
    if (s != GY_OK) return s;
    s = gy_report_figure(report, panel, &figure);
    gy_figure_free(ctx, &figure);
    return s;
}

/* ---- the step ---- */

static gy_status run_step(gy_job *j, gy_plan *p) {
    gy_status s = j->def->batch(j, p, 0, 0);
    if (s != GY_OK) return s;
    gy_plan_set_rng(p, j->seed, 0);
    double *lr = gy_plan_input(p, "lr"); /* the weights that the step leaves behind are not kept */
    if (lr) *lr = j->def->lr ? j->def->lr(j, 0, 0) : 1e-3;
    return gy_plan_run(p);
}

static int32_t loss_of(const gy_graph *g) {
    for (int64_t i = 0; i < g->n_output; i++)
        if (strcmp(g->output[i].name, "loss") == 0) return g->output[i].value.id;
    return 0;
}

static gy_status show_step(gy_ctx *ctx, gy_job *j, gy_graph *g, gy_report *report, const char *panel,
                           const char *command) {
    static const gy_hook marks = {.name = "*", .kind = GY_HOOK_MARK};
    gy_mod m = gy_mod_make(g, j->store, j->seed, true);
    m.hooks = &marks;
    m.n_hooks = 1;
    gy_build b = {.m = &m, .cfg = j->cfg, .batch = j->batch, .ablate = j->ablate, .job = j};
    j->def->objective(&b);
    if (gy_graph_status(g) != GY_OK) return gy_error_status(ctx);
    view views[SHOWN];
    bool *reached = find_reached(ctx, g), *chosen = gy_calloc(ctx, (size_t)g->n, sizeof *chosen);
    int64_t n = reached && chosen ? choose(g, loss_of(g), reached, chosen, j->batch, views) : -1;
    gy_free(ctx, reached);
    gy_free(ctx, chosen);
    if (n < 0) return GY_ERR_NOMEM;
    for (int64_t i = 0; i < n; i++) gy_output(views[i].value, views[i].output);
    gy_plan *p = gy_compile(g, (gy_plan_args){0});
    gy_status s = p ? run_step(j, p) : gy_error_status(ctx);
    bool drawn = false;
    for (int64_t i = 0; s == GY_OK && i < n; i++) {
        field f;
        if (!read_field(ctx, p, &views[i], j->batch, &f)) continue;
        s = draw(ctx, report, &views[i], &f, drawn ? NULL : panel, command);
        drawn = true;
        gy_free(ctx, f.v);
    }
    if (s == GY_OK && !drawn) s = gy_report_explain(report, panel, "the model has no value that a picture could show");
    gy_plan_free(p);
    return s;
}

gy_status cli_explain_activations(gy_ctx *ctx, const cli_args *a, double bytes, gy_report *report, const char *panel,
                                  const char *command) {
    const gy_model_def *def = gy_model_find(a->positional[0]);
    if (!def->open || !def->objective || !def->batch)
        return gy_report_explain(report, panel, "the model is not trained by steps: it brings no batch to look at");
    if (bytes > MOST_BYTES)
        return gy_report_explain(report, panel,
                                 "the model is too large to run for a page; a smaller configuration is "
                                 "drawn (`--config`)");
    gy_job j;
    gy_status s = cli_job(ctx, a, def, &j);
    if (s != GY_OK) return s;
    if (cli_has(a, "--weights")) s = cli_load_weights(ctx, a, &j);
    if (s == GY_OK && gy_job_open(&j) != GY_OK) {
        s = j.data_path ? gy_error_status(ctx) : gy_report_explain(report, panel, gy_error(ctx));
    } else if (s == GY_OK) {
        gy_graph *g = gy_graph_new(ctx);
        s = g ? show_step(ctx, &j, g, report, panel, command) : GY_ERR_NOMEM;
        gy_graph_free(g);
    }
    gy_job_free(&j);
    return s;
}
