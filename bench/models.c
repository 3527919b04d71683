/* Whole models. Each case is compiled as a user's would be and timed in turns with PyTorch's version of the same step
 * (peers/model_rows.py), which starts from the same weights and inputs (models.h); outputs, or the loss of the first
 * training step, are compared before a ratio counts.
 *
 * Memory is what a step needs beside weights (as they are and as a plan packed them) and optimizer state: here the
 * arena (gradients, activations, scratch), inputs, constants and the plan itself; of a peer, the growth of its resident
 * set. */
#include "models.h"
#include "live.h"

#include "../core/op.h"
#include "../core/ops/update.h"
#include "../kernels/kernel.h"
#include "../models/blocks/generate.h"
#include "../models/blocks/gpt2.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef enum kind { FORWARD, TRAIN, PREFILL, DECODE, UPDATE } kind;

typedef struct model_case {
    const char *name, *shape;
    kind kind;
    const char *slug, *config, *settings[6];
    int64_t batch;
    const char *loss; /* TRAIN: the loss: NULL: the model's own objective; "loss": that output of its builder; another
                         output: its mean squared distance from the input "target" */
    int64_t d[2];     /* for the peer: rows, tokens */
    gy_dtype dtype;
    bool apart; /* memory does not hold both sides: the peer runs after ours is freed, not in turns */
} model_case;

static const model_case cases[] = {
    {"sd15-unet forward", "b1 64x64 latents 77 tokens", FORWARD, "sd15-unet", "sd15", .batch = 1},
    {"sd15-unet train",
     "b1 32x32 latents 77 tokens",
     TRAIN,
     "sd15-unet",
     "sd15",
     {"height=32", "width=32"},
     1,
     "noise",
     .apart = true},
    {"gpt2 train", "b4 t64", TRAIN, "gpt2", "small", {"dropout=0", "tokens=64"}, 4, .d = {4, 64}},
    {"gpt2 train", "b1 t1024", TRAIN, "gpt2", "small", {"dropout=0", "tokens=1024"}, 1, .d = {1, 1024}},
    {"gpt2 prefill", "b1 t1024", PREFILL, "gpt2", "small", .batch = 1},
    {"gpt2 decode", "b1 after 128 tokens", DECODE, "gpt2", "small", .batch = 1},
    {"vit-mae train", "b4 224x224", TRAIN, "vit-mae", "base", {NULL}, 4, "loss"},
    /* ids are drawn from GPT-2's vocabulary, here as in the rows above */
    {"clip train", "b4 224x224 77 tokens", TRAIN, "clip", "vit-b-32", {"vocabulary=50257"}, 4, "loss"},
    {"unet3d train",
     "b1 64x64x64 medforj",
     TRAIN,
     "medforj",
     "paper",
     {"depth=64", "height=64", "width=64"},
     1,
     "prediction"},
    {"adamw", "124439808 weights", UPDATE, "gpt2", "small", .batch = 1},
};

enum { PROMPT = 128, DECODED = 16, LONGEST = 1024, MOST_RUNS = 16 };

/* One side: ours. */
typedef struct side {
    const model_case *c;
    gy_job job;
    gy_graph *g;
    gy_plan *plan;
    gy_gpt2_config gpt2;
    gy_lm lm;
    gy_generator *generator;
    int64_t *ids; /* LONGEST tokens */
    float *pool;
    double memory, decoded_bytes;
} side;

static void note(bench_model_run *r, const char *fmt, ...) GY_PRINTF(2, 3);
static void note(bench_model_run *r, const char *fmt, ...) {
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (r->note) r->note(r->user, text);
}

/* ---- values by rule ---- */

static void fill_real(const float *pool, const char *name, double gain, double shift, int64_t n, float *out) {
    uint32_t h = 2166136261u;
    for (const char *s = name; *s; s++) h = (h ^ (uint8_t)*s) * 16777619u;
    int64_t at = h % BENCH_POOL;
    for (int64_t k = 0; k < n; k++) {
        out[k] = pool[at] * (float)gain + (float)shift;
        if (++at == BENCH_POOL) at = 0;
    }
}

static void fill_ids(const float *pool, const char *name, int64_t vocabulary, int64_t n, int64_t *out) {
    for (int64_t k = 0; k < n; k++) {
        float v;
        char one[64];
        snprintf(one, sizeof one, "%s.%" PRId64, name, k);
        fill_real(pool, one, 1, 0.5, 1, &v);
        out[k] = (int64_t)((double)v * (double)vocabulary);
    }
}

/* Memory for the states of a dry store: parameters by rule, everything else zero. */
static gy_status fill_states(gy_ctx *ctx, gy_store *store, const float *pool) {
    for (int64_t i = 0; i < gy_store_count(store); i++) {
        gy_state *s = gy_store_at(store, i);
        gy_tensor *t = &s->value;
        if (t->data) continue;
        gy_status st = gy_tensor_new(ctx, t, t->dtype, t->shape);
        if (st != GY_OK) return st;
        int64_t n = gy_shape_count(t->shape);
        size_t len = strlen(s->name);
        bool weight = len > 6 && strcmp(s->name + len - 6, "weight") == 0;
        if (s->kind != GY_PARAM || t->dtype != GY_F32)
            memset(t->data, 0, gy_tensor_bytes(t));
        else if (t->shape.rank > 1)
            fill_real(pool, s->name, sqrt(12.0 * (double)t->shape.dim[0] / (double)n), 0, n, t->data);
        else
            fill_real(pool, s->name, 0.1, weight, n, t->data);
    }
    return GY_OK;
}

static void fill_inputs(side *s, int64_t vocabulary) {
    for (int64_t i = 0; i < s->g->n_input; i++) {
        const char *name = s->g->input[i].name;
        gy_t v = s->g->input[i].value;
        void *data = gy_plan_input(s->plan, name);
        int64_t n = gy_count(v);
        if (!data) continue;
        if (gy_dtype_of(v) == GY_F64) /* the learning rate */
            *(double *)data = 1e-4;
        else if (gy_dtype_of(v) == GY_I64 && strcmp(name, "rng") != 0)
            fill_ids(s->pool, name, vocabulary, n, data);
        else if (gy_dtype_of(v) == GY_F32 && strcmp(name, "timestep") == 0)
            fill_real(s->pool, name, 0, 500, n, data);
        else if (gy_dtype_of(v) == GY_F32)
            fill_real(s->pool, name, strcmp(name, "noise") == 0 ? 1 : sqrt(12.0), strcmp(name, "noise") == 0 ? 0.5 : 0,
                      n, data);
    }
}

/* ---- our graphs ---- */

/* AdamW on every parameter, with gradients that are inputs. */
static void update_alone(gy_mod *m) {
    gy_graph *g = m->g;
    gy_t lr = gy_input(g, "lr", GY_F64, GY_S0), step = gy_full(g, GY_I64, GY_S0, 10);
    gy_update_attr attr = {.beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .weight_decay = 0.01, .lr_factor = 1};
    attr.decoupled = 1;
    int64_t n = gy_store_count(m->store);
    for (int64_t i = 0; i < n; i++) {
        gy_state *p = gy_store_at(m->store, i), *slot[2];
        char name[256];
        if (p->kind != GY_PARAM) continue;
        for (int k = 0; k < 2; k++) {
            snprintf(name, sizeof name, "%.200s.adam_%c", p->name, k ? 'v' : 'm');
            slot[k] = gy_state_get(m->store, name, GY_SLOT, GY_F32, p->value.shape, (gy_init){0}, 0);
            if (!slot[k]) return;
        }
        snprintf(name, sizeof name, "gradient:%.200s", p->name);
        gy_t grad = gy_input(g, name, GY_F32, p->value.shape);
        gy_t next = gy_adam(gy_read(g, p), gy_read(g, slot[0]), gy_read(g, slot[1]), grad, lr, step, GY_NONE, attr);
        gy_assign(p, next);
        gy_assign(slot[0], gy_out(next, 1));
        gy_assign(slot[1], gy_out(next, 2));
    }
}

static gy_t output_named(const gy_graph *g, const char *name) {
    for (int64_t i = 0; i < g->n_output; i++)
        if (strcmp(g->output[i].name, name) == 0) return g->output[i].value;
    return GY_NONE;
}

static gy_graph *make_graph(side *s) {
    const model_case *c = s->c;
    gy_graph *g = gy_graph_new(s->job.ctx);
    if (!g) return NULL;
    gy_mod m = gy_mod_make(g, s->job.store, 0, c->kind == TRAIN);
    gy_build b = {.m = &m, .cfg = s->job.cfg, .batch = c->batch};
    if (c->kind == UPDATE) {
        update_alone(&m);
    } else if (c->kind != TRAIN || c->loss) {
        s->job.def->build(&b);
    } else {
        s->job.def->objective(&b);
    }
    if (c->kind == TRAIN && c->loss) {
        gy_t y = output_named(g, c->loss);
        if (strcmp(c->loss, "loss") != 0) {
            y = gy_mse(y, gy_input(g, "target", GY_F32, gy_shape_of(y)), GY_LOSS_MEAN);
            gy_output(y, "loss");
        }
        gy_optim_adamw(g, s->job.store, y, .weight_decay = 0.01, .decays = gy_decays_matrices, .clip_norm = 1);
    }
    return g;
}

/* The parameters of the generator's model and of the update, as states without memory. */
static gy_status name_gpt2_states(side *s) {
    gy_graph *g = gy_graph_new(s->job.ctx);
    if (!g) return GY_ERR_NOMEM;
    gy_mod m = gy_mod_make(g, s->job.store, 0, false);
    gy_lm_in in = {.ids = gy_input(g, "ids", GY_I64, GY_S(1, 1))};
    gy_t h = s->lm.states(&m, s->lm.cfg, &in);
    s->lm.logits(&m, s->lm.cfg, h);
    gy_status st = gy_graph_status(g);
    gy_graph_free(g);
    return st;
}

static void side_free(side *s) {
    gy_ctx *ctx = s->job.ctx;
    if (!ctx) return;
    gy_generator_free(s->generator);
    gy_plan_free(s->plan);
    gy_graph_free(s->g);
    gy_free(ctx, s->ids);
    gy_free(ctx, s->pool);
    gy_job_free(&s->job);
    *s = (side){0};
}

static gy_status make_plan(side *s, int64_t vocabulary) {
    const model_case *c = s->c;
    gy_ctx *ctx = s->job.ctx;
    static const char *const loss[] = {"loss", NULL};
    s->g = make_graph(s); /* makes the states */
    if (!s->g || gy_graph_status(s->g) != GY_OK) return s->g ? gy_graph_status(s->g) : GY_ERR_NOMEM;
    gy_status st = fill_states(ctx, s->job.store, s->pool);
    if (st != GY_OK) return st;
    size_t before = gy_mem_live(ctx);
    s->plan = gy_compile(s->g, (gy_plan_args){.outputs = c->kind == TRAIN ? loss : NULL});
    if (!s->plan) return gy_error_status(ctx);
    s->memory = (double)(gy_mem_live(ctx) - before) - (double)gy_plan_report(s->plan).packed_bytes;
    fill_inputs(s, vocabulary);
    return GY_OK;
}

static gy_status make_generator(side *s) {
    gy_ctx *ctx = s->job.ctx;
    int64_t capacity = s->c->kind == DECODE ? PROMPT + DECODED : LONGEST;
    s->ids = gy_calloc(ctx, LONGEST, sizeof *s->ids);
    if (!s->ids) return GY_ERR_NOMEM;
    fill_ids(s->pool, "ids", s->lm.vocabulary, LONGEST, s->ids);
    gy_status st = fill_states(ctx, s->job.store, s->pool);
    size_t before = gy_mem_live(ctx);
    if (st == GY_OK)
        st = gy_generator_new(ctx,
                              (gy_generator_args){.lm = &s->lm, .store = s->job.store, .rows = 1, .capacity = capacity},
                              &s->generator);
    if (st == GY_OK) st = gy_generator_feed(s->generator, s->ids, s->c->kind == DECODE ? PROMPT : LONGEST);
    if (st == GY_OK && s->c->kind == DECODE) st = gy_generator_feed(s->generator, s->ids + PROMPT, 1);
    if (st == GY_OK) /* with the cache of keys and values, without packed weights */
        s->memory =
            (double)(gy_mem_live(ctx) - before) - (double)gy_plan_report(gy_generator_plan(s->generator)).packed_bytes;
    return st;
}

static gy_status make_side(gy_ctx *ctx, const model_case *c, side *s) {
    *s = (side){.c = c, .gpt2 = {GY_GPT2_SMALL}};
    const gy_model_def *def = gy_model_find(c->slug);
    int64_t n_settings = 0;
    if (!def) return gy_fail(ctx, GY_ERR_USAGE, "bench: no model '%s'", c->slug);
    while (n_settings < 6 && c->settings[n_settings]) n_settings++;
    gy_status st = gy_job_init(&s->job, ctx, def, c->config, c->settings, n_settings);
    if (st != GY_OK) return st;
    gy_store_free(s->job.store);
    s->job.store = gy_store_new_dry(ctx);
    s->job.batch = c->batch;
    s->pool = gy_malloc(ctx, BENCH_POOL * sizeof *s->pool);
    if (!s->job.store || !s->pool) return GY_ERR_NOMEM;
    for (uint32_t k = 0; k < BENCH_POOL; k++) s->pool[k] = bench_value(0, k);
    s->lm = gy_gpt2_lm(&s->gpt2);
    if (c->kind == PREFILL || c->kind == DECODE || c->kind == UPDATE) st = name_gpt2_states(s);
    if (st != GY_OK) return st;
    return c->kind == PREFILL || c->kind == DECODE ? make_generator(s) : make_plan(s, s->lm.vocabulary);
}

static const gy_plan *plan_of(const side *s) {
    return s->generator ? gy_generator_plan(s->generator) : s->plan;
}

/* One step; seconds of one token when decoding. */
static bool sample_side(void *self, int inner, double *seconds) {
    side *s = self;
    gy_status st = GY_OK;
    (void)inner;
    if (s->c->kind == DECODE) gy_generator_rewind(s->generator, PROMPT);
    if (s->c->kind == PREFILL) gy_generator_rewind(s->generator, 0);
    double t0 = bench_now();
    if (s->plan) {
        st = gy_plan_run(s->plan);
    } else if (s->c->kind == PREFILL) {
        st = gy_generator_feed(s->generator, s->ids, LONGEST);
    } else {
        for (int i = 0; st == GY_OK && i < DECODED; i++) st = gy_generator_feed(s->generator, s->ids + PROMPT + i, 1);
    }
    *seconds = (bench_now() - t0) / (s->c->kind == DECODE ? DECODED : 1);
    return st == GY_OK;
}

/* ---- what counts as work ---- */

static bool is_product(const char *op) {
    static const char *const ops[] = {"matmul", "conv", "conv_dx", "conv_dw", "attention", "attention_grad"};
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
        if (strcmp(op, ops[i]) == 0) return true;
    return false;
}

static gy_cost products(const gy_plan *p) {
    gy_cost sum = {0, 0};
    int64_t n = gy_plan_report(p).steps;
    for (int64_t i = 0; i < n; i++) {
        gy_plan_step_info s = gy_plan_step(p, i);
        if (!is_product(s.op) || s.again) continue;
        sum.flops += s.flops;
        sum.bytes += s.bytes;
    }
    return sum;
}

static void place(const bench_model_run *r, const side *s, bench_row *row) {
    const bench_peak *peak = bench_peak_all(&r->report->peaks);
    const gy_plan *p = plan_of(s);
    gy_plan_info info = gy_plan_report(p);
    bench_unit unit = s->c->dtype == GY_BF16 && peak->gflops[BENCH_BF16] > 0 ? BENCH_BF16 : BENCH_F32;
    bool moving = s->c->kind == DECODE || s->c->kind == UPDATE;
    gy_cost work = products(p);
    double flops = work.flops, bytes = s->c->kind == DECODE ? work.bytes : info.bytes;
    row->threads = peak->threads;
    row->gflops = flops / row->seconds * 1e-9;
    row->gbps = bytes / row->seconds * 1e-9;
    row->intensity = bytes > 0 ? flops / bytes : 0;
    row->bandwidth_fraction = row->gbps / (s->c->kind == DECODE ? peak->read : peak->copy)[BENCH_DRAM];
    row->peak_fraction = moving ? row->bandwidth_fraction : row->gflops / peak->gflops[unit];
    row->memory_bytes = s->memory;
    snprintf(row->bound, sizeof row->bound, "%s", moving ? bench_level_names[BENCH_DRAM] : bench_unit_names[unit]);
}

/* ---- where the time goes ---- */

typedef struct share {
    const char *kernel;
    char what[96]; /* fused operators and shape of the result; "": all of this kernel */
    double seconds, flops, bytes;
    int64_t steps;
} share;

enum { MOST_SHARES = 1024, SHOWN = 24 };

static int by_seconds(const void *a, const void *b) {
    const share *x = a, *y = b;
    return (x->seconds < y->seconds) - (x->seconds > y->seconds);
}

/* Adds a step to the share of its kernel, or of its kernel, shape and work. */
static int add_share(share *list, int n, const gy_plan_step_info *t, bool fine) {
    char what[sizeof list->what] = "", shape[GY_SHAPE_TEXT];
    int at = 0;
    if (fine)
        snprintf(what, sizeof what, "%.40s %.30s %.4g MFLOP", t->fused ? t->fused : t->op,
                 gy_shape_text(t->shape, shape), t->flops * 1e-6);
    while (at < n && (strcmp(list[at].kernel, t->kernel) != 0 || strcmp(list[at].what, what) != 0)) at++;
    if (at == MOST_SHARES) return n;
    share *x = &list[at];
    if (at == n) {
        *x = (share){.kernel = t->kernel};
        snprintf(x->what, sizeof x->what, "%s", what);
        n++;
    }
    x->seconds += t->seconds;
    x->flops += t->flops;
    x->bytes += t->bytes;
    x->steps++;
    return n;
}

static void note_shares(bench_model_run *r, share *list, int n, double all) {
    double peak = bench_peak_all(&r->report->peaks)->gflops[BENCH_F32];
    qsort(list, (size_t)n, sizeof *list, by_seconds);
    note(r, "  %5s %9s %5s %8s %5s %7s  %s", "steps", "ms", "share", "GFLOP/s", "peak", "GB/s", "kernel");
    for (int i = 0; i < n && i < SHOWN; i++) {
        double gflops = list[i].flops / list[i].seconds * 1e-9;
        note(r, "  %5" PRId64 " %9.3f %4.1f%% %8.1f %5.2f %7.1f  %s %s", list[i].steps, list[i].seconds * 1e3,
             100 * list[i].seconds / all, gflops, gflops / peak, list[i].bytes / list[i].seconds * 1e-9, list[i].kernel,
             list[i].what);
    }
}

/* Runs once more with a clock around every step, and notes the time by kernel, then by kernel and shape; then what
 * fills the arena where it is fullest. */
static gy_status profile(bench_model_run *r, side *s) {
    double ignored, all = 0;
    gy_plan *p = (gy_plan *)(uintptr_t)plan_of(s);
    share *list = gy_calloc(r->ctx, MOST_SHARES, sizeof *list);
    if (!list) return GY_ERR_NOMEM;
    gy_plan_profile(p, true);
    bool ran = sample_side(s, 1, &ignored);
    gy_plan_profile(p, false);
    int64_t steps = gy_plan_report(p).steps;
    for (int64_t i = 0; i < steps; i++) all += gy_plan_step(p, i).seconds;
    note(r, "%s %s: %" PRId64 " steps, %.1f ms", s->c->name, s->c->shape, steps, all * 1e3);
    for (int fine = 0; ran && fine < 2; fine++) {
        int n = 0;
        for (int64_t i = 0; i < steps; i++) {
            gy_plan_step_info t = gy_plan_step(p, i);
            n = add_share(list, n, &t, fine);
        }
        note_shares(r, list, n, all);
    }
    gy_free(r->ctx, list);
    if (!ran) return gy_error_status(r->ctx);
    return r->note ? bench_note_live(r->ctx, p, r->note, r->user) : GY_OK;
}

/* ---- rows ---- */

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static bench_times summary(double *t, int n) {
    qsort(t, (size_t)n, sizeof *t, ascending);
    double median = n % 2 ? t[n / 2] : (t[n / 2 - 1] + t[n / 2]) / 2;
    return (bench_times){
        .median = median, .min = t[0], .spread = (t[(3 * n - 1) / 4] - t[n / 4]) / median, .repeats = n};
}

/* n sides in turns; each has run before. Short steps are repeated for a second or so. */
static bool time_sides(const bench_side *turn, int n, bool quick, bench_times *out) {
    double t[2][MOST_RUNS], longest = 0;
    int runs = quick ? 2 : 3;
    for (int i = 0; i < runs; i++) {
        for (int k = 0; k < n; k++) {
            if (!turn[k].sample(turn[k].self, 1, &t[k][i])) return false;
            longest = fmax(longest, t[k][i]);
        }
        if (i == 0) runs = (int)fmin(MOST_RUNS, fmax(runs, (quick ? 1 : 4) / longest));
    }
    for (int k = 0; k < n; k++) out[k] = summary(t[k], runs);
    return true;
}

static void put_ours(bench_row *row, const bench_times *t) {
    row->seconds = t->median;
    row->seconds_min = t->min;
    row->spread = t->spread;
    row->repeats = t->repeats;
}

static gy_status emit(bench_model_run *r, const bench_row *row) {
    gy_status s = bench_report_add(r->report, row);
    if (s == GY_OK && r->sink) r->sink(r->user, r->report, row);
    return s;
}

/* Our result of a first step, for comparison: kept when our side is freed. */
static gy_status take_result(gy_ctx *ctx, side *s, bench_task *t) {
    double ignored;
    gy_tensor y = {0};
    if (s->c->kind == UPDATE) return GY_OK; /* nothing to see but the weights */
    if (s->plan && !sample_side(s, 1, &ignored)) return gy_error_status(ctx);
    if (s->plan) {
        y = gy_plan_output(s->plan, s->c->kind == TRAIN ? "loss" : s->g->output[0].name);
    } else {
        y = (gy_tensor){GY_F32, GY_S(s->lm.vocabulary), (void *)(uintptr_t)gy_generator_logits(s->generator), true};
    }
    t->n_out = 1;
    gy_status st = gy_tensor_new(ctx, &t->out[0], y.dtype, y.shape);
    if (st == GY_OK) memcpy(t->out[0].data, y.data, gy_tensor_bytes(&y));
    return st;
}

/* f32 sums in another order, through dozens of layers; bf16 rounds every operand. */
static double allowed(const model_case *c) {
    return c->dtype == GY_BF16 ? 5e-2 : 2e-3;
}

static gy_status run_peer(bench_model_run *r, int variant, const model_case *c, side *s, const bench_task *task,
                          bench_row row, bool *any) {
    bench_peer p = bench_peer_child(variant);
    gy_status st = GY_OK;
    bench_times times[2];
    if ((r->options->peer && !strstr(p.name, r->options->peer)) || !bench_child_offers(variant, c->name)) return GY_OK;
    if (c->apart && variant == BENCH_MODELS_COMPILE && !r->options->peer) { /* compiling takes longer than the rest */
        note(r, "%s %s: %s: only with --peer %s", row.kernel, row.shape, p.name, p.name);
        return GY_OK;
    }
    p.there = p.open(&p, r->ctx, row.threads);
    bench_report_peer(r->report, p.name, p.version);
    if (!p.there) {
        note(r, "%s %s: %s: %s", row.kernel, row.shape, p.name, p.version);
    } else if (p.prepare(&p, task)) {
        row.difference = task->n_out ? p.difference(&p, task) : 0;
        row.peer_memory_bytes = p.memory;
        bench_side both[2] = {{sample_side, s}, {p.sample, &p}};
        bool together = s->job.ctx != NULL; /* else ours has run, and its times are in the row */
        if (!(row.difference <= allowed(c)))
            note(r, "%s %s: not compared with %s: results differ by %.2g of the largest element", row.kernel, row.shape,
                 p.name, row.difference);
        else if (together ? time_sides(both, 2, r->options->quick, times)
                          : time_sides(both + 1, 1, r->options->quick, times + 1)) {
            if (together) {
                put_ours(&row, &times[0]);
                place(r, s, &row);
            }
            snprintf(row.peer, sizeof row.peer, "%s", p.name);
            row.peer_seconds = times[1].median;
            row.peer_seconds_min = times[1].min;
            row.ratio = row.peer_seconds / row.seconds;
            st = emit(r, &row);
            *any = true;
        }
    } else {
        note(r, "%s %s: %s does not offer it", row.kernel, row.shape, p.name);
    }
    p.close(&p);
    return st;
}

static double available_bytes(void) {
    double kb = 0;
    char line[128];
    FILE *f = fopen("/proc/meminfo", "r");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "MemAvailable: %lf", &kb) == 1) break;
    if (f) fclose(f);
    return kb > 0 ? kb * 1024 : (double)sysconf(_SC_AVPHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
}

/* Bytes of the states and of the arena, from a plan that is only laid out. */
static gy_status needed_bytes(gy_ctx *ctx, const model_case *c, double *bytes) {
    side s = {.c = c};
    *bytes = 0;
    if (c->kind == PREFILL || c->kind == DECODE || c->kind == UPDATE) return GY_OK; /* below 3 GB */
    const gy_model_def *def = gy_model_find(c->slug);
    int64_t n = 0;
    while (n < 6 && c->settings[n]) n++;
    gy_status st = gy_job_init(&s.job, ctx, def, c->config, c->settings, n);
    if (st != GY_OK) return st;
    gy_store_free(s.job.store);
    s.job.store = gy_store_new_dry(ctx);
    s.g = s.job.store ? make_graph(&s) : NULL;
    s.plan = s.g ? gy_compile(s.g, (gy_plan_args){.dry = true}) : NULL;
    if (s.plan) {
        gy_plan_info info = gy_plan_report(s.plan);
        *bytes = (double)(info.arena_bytes + info.input_bytes + info.state_bytes);
    }
    st = s.plan ? GY_OK : gy_error_status(ctx);
    side_free(&s);
    return st;
}

static gy_status run_case(bench_model_run *r, const model_case *c) {
    bench_row row = {.threads = gy_pool_threads(gy_ctx_pool(r->ctx))};
    char text[192];
    double needed;
    snprintf(row.kernel, sizeof row.kernel, "%s", c->name);
    snprintf(row.shape, sizeof row.shape, "%s", c->shape);
    snprintf(row.dtype, sizeof row.dtype, "%s", gy_dtype_name(c->dtype ? c->dtype : GY_F32));
    snprintf(text, sizeof text, "%s %s %s", row.kernel, row.shape, row.dtype);
    if (r->options->match && !strstr(text, r->options->match)) return GY_OK;
    if (bench_measured(r->options, &row)) return GY_OK;
    gy_status st = needed_bytes(r->ctx, c, &needed);
    if (st != GY_OK) return st;
    if (needed > 0.95 * available_bytes()) {
        note(r, "%s: left out: needs %.1f GB of memory, %.1f are free", text, needed * 1e-9, available_bytes() * 1e-9);
        return GY_OK;
    }
    side s;
    bench_case kase = {.name = c->name, .d = {c->d[0], c->d[1]}, .dtype = c->dtype};
    bench_task task = {.c = &kase, .threads = row.threads};
    bench_times times;
    bool any = false;
    st = make_side(r->ctx, c, &s);
    if (st == GY_OK) st = take_result(r->ctx, &s, &task);
    if (st == GY_OK) {
        snprintf(row.isa, sizeof row.isa, "%s", bench_plan_tier(plan_of(&s), GY_OP_NONE));
        double packed = (double)gy_plan_report(plan_of(&s)).packed_bytes;
        if (packed > 0) note(r, "%s: copies of weights in the layouts of kernels: %.0f MB", text, packed * 1e-6);
        bool together = r->options->peers && !c->apart;
        if (!together && !time_sides(&(bench_side){sample_side, &s}, 1, r->options->quick, &times))
            st = gy_error_status(r->ctx);
        if (st == GY_OK && !together) {
            put_ours(&row, &times);
            place(r, &s, &row);
        }
    }
    if (st == GY_OK && r->options->profile) st = profile(r, &s);
    if (r->options->peers && c->apart) side_free(&s);
    for (int v = BENCH_MODELS_EAGER; st == GY_OK && r->options->peers && v < BENCH_CHILDREN; v++)
        st = run_peer(r, v, c, &s, &task, row, &any);
    if (st == GY_OK && !any) {
        if (row.seconds <= 0 && time_sides(&(bench_side){sample_side, &s}, 1, r->options->quick, &times)) {
            put_ours(&row, &times);
            place(r, &s, &row);
        }
        st = row.seconds > 0 ? emit(r, &row) : gy_error_status(r->ctx);
    }
    gy_tensor_free(r->ctx, &task.out[0]);
    side_free(&s);
    return st;
}

gy_status bench_models(bench_model_run *r) {
    gy_status st = GY_OK;
    for (size_t i = 0; st == GY_OK && i < sizeof cases / sizeof *cases; i++) {
        model_case c = cases[i];
        c.dtype = gy_ctx_precision(r->ctx);
        if (c.kind != UPDATE || c.dtype != GY_BF16) st = run_case(r, &c); /* the optimizer is f32 always */
    }
    return st;
}
