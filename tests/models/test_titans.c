/* Titans: the memory against its recurrence written out, against PyTorch (tests/golden/make_titans.py), what it must
 * remember exactly, that no token sees a later one, and the recall task through the job. */
#include "../harness/golden_model.h"

#include "core/op.h"
#include "models/blocks/memory.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- the memory alone, in double precision ---- */

enum { B = 2, H = 2, D = 3, HIDDEN = 5, MOST = 48 };

typedef struct lab {
    gy_ctx *ctx;
    int64_t t, depth, chunk;
    double q[B * H * MOST * D], k[B * H * MOST * D], v[B * H * MOST * D]; /* [B, H, T, D] */
    double theta[B * H * MOST], eta[B * H * MOST], alpha[B * H * MOST];   /* logits */
    double start[2][B * H * HIDDEN * D];                                  /* [B, H, out, in] */
    double y[B * H * MOST * D], end[2][B * H * HIDDEN * D];
} lab;

static int64_t in_of(const lab *x, int64_t l) {
    return x->depth > 1 && l ? HIDDEN : D;
}
static int64_t out_of(const lab *x, int64_t l) {
    return x->depth > 1 && !l ? HIDDEN : D;
}

static void fill(lab *x, gy_ctx *ctx, int64_t t, int64_t depth, int64_t chunk) {
    gy_rng r;
    gy_rng_init(&r, 3, "titans");
    *x = (lab){.ctx = ctx, .t = t, .depth = depth, .chunk = chunk};
    for (int64_t i = 0; i < B * H * t * D; i++) {
        x->q[i] = gy_rng_normal(&r);
        x->k[i] = gy_rng_normal(&r);
        x->v[i] = gy_rng_normal(&r);
    }
    for (int64_t i = 0; i < B * H * t; i++) {
        x->theta[i] = gy_rng_normal(&r) - 2;
        x->eta[i] = gy_rng_normal(&r) - 1;
        x->alpha[i] = gy_rng_normal(&r) - 2;
    }
    for (int64_t l = 0; l < depth; l++)
        for (int64_t i = 0; i < B * H * out_of(x, l) * in_of(x, l); i++) x->start[l][i] = 0.5 * gy_rng_normal(&r);
}

static gy_t constant(gy_graph *g, gy_ctx *ctx, const double *p, gy_shape shape) {
    gy_tensor t;
    assert_ok(ctx, gy_tensor_new(ctx, &t, GY_F64, shape));
    memcpy(t.data, p, gy_tensor_bytes(&t));
    gy_t y = gy_const(g, &t);
    gy_tensor_free(ctx, &t);
    return y;
}

/* gy_memorize of tokens from .. to - 1, from the weights (and momenta, if `carried`) in *m. */
static gy_t read_tokens(lab *x, gy_graph *g, gy_memory *m, int64_t from, int64_t to) {
    gy_shape tokens = GY_S(B, H, x->t, D), gates = GY_S(B, H, x->t);
    gy_memory_gates s = {gy_slice(constant(g, x->ctx, x->theta, gates), 2, from, to),
                         gy_slice(constant(g, x->ctx, x->eta, gates), 2, from, to),
                         gy_slice(constant(g, x->ctx, x->alpha, gates), 2, from, to), 1};
    return gy_memorize(m, gy_slice(constant(g, x->ctx, x->q, tokens), 2, from, to),
                       gy_slice(constant(g, x->ctx, x->k, tokens), 2, from, to),
                       gy_slice(constant(g, x->ctx, x->v, tokens), 2, from, to), &s, x->chunk);
}

/* Fills y and end; tokens are read in two calls, split at `split` (0: in one). */
static void run(lab *x, int64_t split) {
    gy_graph *g = gy_graph_new(x->ctx);
    gy_memory m = {.depth = x->depth};
    for (int64_t l = 0; l < x->depth; l++) {
        m.weight[l] = constant(g, x->ctx, x->start[l], GY_S(B, H, out_of(x, l), in_of(x, l)));
        m.momentum[l] = GY_NONE;
    }
    gy_t y = GY_NONE;
    if (split) y = read_tokens(x, g, &m, 0, split);
    gy_t rest = read_tokens(x, g, &m, split, x->t);
    gy_output(split ? gy_concat2(2, y, rest) : rest, "y");
    for (int64_t l = 0; l < x->depth; l++) gy_output(m.weight[l], l ? "w1" : "w0");
    gy_plan *p = gy_compile(g, (gy_plan_args){0});
    if (!p) fail_msg("%s", gy_error(x->ctx));
    assert_ok(x->ctx, gy_plan_run(p));
    memcpy(x->y, gy_plan_output(p, "y").data, sizeof(double) * (size_t)(B * H * x->t * D));
    for (int64_t l = 0; l < x->depth; l++) {
        gy_tensor w = gy_plan_output(p, l ? "w1" : "w0");
        memcpy(x->end[l], w.data, gy_tensor_bytes(&w));
    }
    gy_plan_free(p);
    gy_graph_free(g);
}

static double logistic(double x) {
    return 1 / (1 + exp(-x));
}

/* One memory, eq. (12) to (15) as they stand: w [2][out in], gradients at w0. */
typedef struct network {
    double w[2][HIDDEN * D];
} network;

static void apply(const lab *x, const network *n, const double *z, double *hidden, double *y) {
    double a[HIDDEN];
    for (int64_t o = 0; x->depth > 1 && o < HIDDEN; o++) {
        hidden[o] = 0;
        for (int64_t i = 0; i < D; i++) hidden[o] += n->w[0][o * D + i] * z[i];
        a[o] = hidden[o] * logistic(hidden[o]);
    }
    const double *in = x->depth > 1 ? a : z, *w = n->w[x->depth - 1];
    int64_t width = x->depth > 1 ? HIDDEN : D;
    for (int64_t o = 0; o < D; o++) {
        y[o] = 0;
        for (int64_t i = 0; i < width; i++) y[o] += w[o * width + i] * in[i];
    }
}

/* grad |M(k) - v|^2 */
static void gradient(const lab *x, const network *n, const double *k, const double *v, network *g) {
    double h[HIDDEN], y[D], e[D];
    apply(x, n, k, h, y);
    for (int64_t o = 0; o < D; o++) e[o] = 2 * (y[o] - v[o]);
    if (x->depth == 1) {
        for (int64_t o = 0; o < D; o++)
            for (int64_t i = 0; i < D; i++) g->w[0][o * D + i] = e[o] * k[i];
        return;
    }
    for (int64_t j = 0; j < HIDDEN; j++) {
        double s = logistic(h[j]), back = 0;
        for (int64_t o = 0; o < D; o++) {
            g->w[1][o * HIDDEN + j] = e[o] * h[j] * s;
            back += e[o] * n->w[1][o * HIDDEN + j];
        }
        back *= s + h[j] * s * (1 - s);
        for (int64_t i = 0; i < D; i++) g->w[0][j * D + i] = back * k[i];
    }
}

/* The recurrence of one sequence and head, gradients at the chunk's first weights. */
static void literal(const lab *x, int64_t bh, double *y, network *n) {
    network s = {0}, g, begin = {0};
    double hidden[HIDDEN];
    for (int64_t l = 0; l < x->depth; l++)
        memcpy(n->w[l], x->start[l] + bh * out_of(x, l) * in_of(x, l),
               sizeof(double) * (size_t)(out_of(x, l) * in_of(x, l)));
    for (int64_t t = 0; t < x->t; t++) {
        int64_t at = bh * x->t + t;
        if (t % x->chunk == 0) begin = *n;
        gradient(x, &begin, x->k + at * D, x->v + at * D, &g);
        for (int64_t l = 0; l < x->depth; l++)
            for (int64_t i = 0; i < out_of(x, l) * in_of(x, l); i++) {
                s.w[l][i] = logistic(x->eta[at]) * s.w[l][i] - logistic(x->theta[at]) * g.w[l][i];
                n->w[l][i] = (1 - logistic(x->alpha[at])) * n->w[l][i] + s.w[l][i];
            }
        apply(x, n, x->q + at * D, hidden, y + t * D);
    }
}

static void expect_literal(lab *x) {
    network n;
    double y[MOST * D];
    run(x, 0);
    for (int64_t bh = 0; bh < B * H; bh++) {
        literal(x, bh, y, &n);
        for (int64_t i = 0; i < x->t * D; i++) assert_close(x->y[bh * x->t * D + i], y[i], 1e-12);
        for (int64_t l = 0; l < x->depth; l++)
            for (int64_t i = 0; i < out_of(x, l) * in_of(x, l); i++)
                assert_close(x->end[l][bh * out_of(x, l) * in_of(x, l) + i], n.w[l][i], 1e-12);
    }
}

static void chunks_equal_the_recurrence_for_every_depth_and_size(void **state) {
    static const int64_t sizes[] = {1, 3, 8, 11, 40};
    for (int64_t depth = 1; depth <= 2; depth++)
        for (int i = 0; i < 5; i++) {
            lab x;
            fill(&x, *state, 11, depth, sizes[i]);
            expect_literal(&x);
        }
}

static void a_split_sequence_that_carries_its_state_equals_one_pass(void **state) {
    static lab whole, halves;
    fill(&whole, *state, 12, 2, 4);
    fill(&halves, *state, 12, 2, 4);
    run(&whole, 0);
    run(&halves, 8);
    for (int64_t i = 0; i < B * H * 12 * D; i++) assert_close(halves.y[i], whole.y[i], 1e-13);
}

/* theta 1/2, no momentum, nothing forgotten, orthonormal keys, an empty start: M = sum v k^T. */
static void orthonormal_keys_are_recalled_exactly(void **state) {
    static lab x;
    fill(&x, *state, D, 1, D);
    memset(x.start, 0, sizeof x.start);
    for (int64_t bh = 0; bh < B * H; bh++)
        for (int64_t t = 0; t < D; t++) {
            x.theta[bh * D + t] = 0;
            x.eta[bh * D + t] = x.alpha[bh * D + t] = -60;
            for (int64_t i = 0; i < D; i++) x.k[(bh * D + t) * D + i] = x.q[(bh * D + t) * D + i] = i == t;
        }
    run(&x, 0);
    for (int64_t bh = 0; bh < B * H; bh++)
        for (int64_t o = 0; o < D; o++)
            for (int64_t t = 0; t < D; t++)
                assert_close(x.end[0][bh * D * D + o * D + t], x.v[(bh * D + t) * D + o], 1e-14);
    for (int64_t i = 0; i < B * H * D * D; i++) assert_close(x.y[i], x.v[i], 1e-14);
}

static void forgetting_all_leaves_the_last_surprise(void **state) {
    static lab x, empty;
    fill(&x, *state, 1, 1, 1);
    fill(&empty, *state, 1, 1, 1);
    for (int64_t i = 0; i < B * H; i++) x.alpha[i] = 60;
    run(&x, 0);
    for (int64_t bh = 0; bh < B * H; bh++) {
        network n = {0}, g;
        memcpy(n.w[0], x.start[0] + bh * D * D, sizeof(double) * D * D);
        gradient(&x, &n, x.k + bh * D, x.v + bh * D, &g);
        for (int64_t i = 0; i < D * D; i++)
            assert_close(x.end[0][bh * D * D + i], -logistic(x.theta[bh]) * g.w[0][i], 1e-13);
    }
}

/* d sum(y^2) / d start: through deltas that are gradients themselves. */
static void outer_gradients_pass_finite_differences(void **state) {
    static lab x;
    fill(&x, *state, 4, 2, 2);
    gy_graph *g = gy_graph_new(x.ctx);
    gy_memory m = {.depth = 2};
    gy_t leaf[2], gx[2];
    for (int64_t l = 0; l < 2; l++) {
        leaf[l] = m.weight[l] = constant(g, x.ctx, x.start[l], GY_S(B, H, out_of(&x, l), in_of(&x, l)));
        m.momentum[l] = GY_NONE;
    }
    gy_grad(gy_sum(gy_square(read_tokens(&x, g, &m, 0, 4)), GY_ALL), GY_NONE, 2, leaf, gx);
    gy_output(gx[0], "g0");
    gy_output(gx[1], "g1");
    gy_plan *p = gy_compile(g, (gy_plan_args){0});
    if (!p) fail_msg("%s", gy_error(x.ctx));
    assert_ok(x.ctx, gy_plan_run(p));
    for (int64_t l = 0; l < 2; l++)
        for (int64_t i = 0; i < 7; i++) {
            double value[2], h = 1e-5, keep = x.start[l][i];
            for (int side = 0; side < 2; side++) {
                x.start[l][i] = keep + (side ? h : -h);
                run(&x, 0);
                value[side] = 0;
                for (int64_t k = 0; k < B * H * 4 * D; k++) value[side] += x.y[k] * x.y[k];
            }
            x.start[l][i] = keep;
            gy_tensor have = gy_plan_output(p, l ? "g1" : "g0");
            assert_close(gy_tensor_get(&have, i), (value[1] - value[0]) / (2 * h), 1e-7);
        }
    gy_plan_free(p);
    gy_graph_free(g);
}

/* ---- the model ---- */

static void job(gy_job *j, gy_ctx *ctx, const char *config, int64_t n, const char *const *settings) {
    const gy_model_def *def = gy_model_find("titans");
    assert_non_null(def);
    assert_ok(ctx, gy_job_init(j, ctx, def, config, settings, n));
}

static const char *const small[] = {
    "layers=2", "heads=2", "width=8",  "inner=12", "vocabulary=128", "window=4", "conv=3",         "depth=2",
    "expand=2", "rope=1",  "rate=0.1", "pairs=0",  "tokens=10",      "batch=2",  "memory_chunk=2", "persistent=2"};
enum { SMALL = sizeof small / sizeof *small };

static gy_t output_named(gy_graph *g, const char *name) {
    for (int64_t i = 0; i < g->n_output; i++)
        if (!strcmp(g->output[i].name, name)) return g->output[i].value;
    fail_msg("no output '%s'", name);
    return GY_NONE;
}

static void outputs_and_gradients_match_pytorch(void **state) {
    static const char *const joins[] = {"mac", "mag", "mal"};
    for (int i = 0; i < 3; i++) {
        golden_model t;
        gy_job j;
        char join[16], name[32];
        const char *settings[SMALL + 1];
        snprintf(join, sizeof join, "join=%s", joins[i]);
        snprintf(name, sizeof name, "titans_%s", joins[i]);
        memcpy(settings, small, sizeof small);
        settings[SMALL] = join;
        job(&j, *state, "tiny", SMALL + 1, settings);
        golden_open(&t, *state, name);
        j.def->build(&(gy_build){.m = &t.m, .cfg = j.cfg, .batch = 2});
        gy_t rows = gy_reshape(output_named(t.g, "logits"), 20, 128);
        gy_t loss = gy_cross_entropy(rows, gy_reshape(golden_input(&t, "target"), 20), .reduction = GY_LOSS_MEAN);
        gy_output(loss, "loss");
        golden_gradients(&t, loss, 0, NULL, NULL);
        golden_run(&t, name, NULL, NULL);
        golden_compare(&t, "logits", 1e-4);
        golden_compare(&t, "loss", 1e-5);
        golden_compare_gradients(&t, 1e-3);
        golden_close(&t);
        gy_job_free(&j);
    }
}

static void no_token_changes_an_earlier_answer(void **state) {
    static const char *const joins[] = {"join=mac", "join=mag", "join=mal", "join=sum"};
    for (int i = 0; i < 4; i++) {
        gy_job j;
        gy_compiled c;
        const char *settings[SMALL + 1];
        float before[10 * 128];
        memcpy(settings, small, sizeof small);
        settings[SMALL] = joins[i];
        job(&j, *state, "tiny", SMALL + 1, settings);
        assert_ok(*state, gy_job_compile(&j, 1, NULL, 0, &c));
        int64_t *ids = gy_plan_input(c.plan, "ids");
        for (int64_t k = 0; k < 10; k++) ids[k] = 7 * k + 3;
        assert_ok(*state, gy_plan_run(c.plan));
        memcpy(before, gy_plan_output(c.plan, "logits").data, sizeof before);
        ids[6] = 99;
        assert_ok(*state, gy_plan_run(c.plan));
        const float *after = gy_plan_output(c.plan, "logits").data;
        double change = 0;
        for (int64_t k = 0; k < 6 * 128; k++) assert_close(after[k], before[k], 1e-6);
        for (int64_t k = 6 * 128; k < 10 * 128; k++) change = fmax(change, fabs((double)(after[k] - before[k])));
        assert_true(change > 1e-4);
        gy_compiled_free(&c);
        gy_job_free(&j);
    }
}

static double first_loss, last_loss;
static bool watch(void *user, const gy_job *j, const gy_metrics *logged) {
    (void)user;
    last_loss = gy_metric_get(logged, "loss");
    if (j->step == 1) first_loss = last_loss;
    return true;
}

static void the_recall_task_is_learned_beyond_guessing(void **state) {
    gy_job j;
    gy_metrics m = {0};
    job(&j, *state, NULL, 0, NULL);
    j.steps = 150;
    j.sink.step = watch;
    assert_ok(*state, gy_job_open(&j));
    assert_ok(*state, gy_job_train(&j));
    assert_ok(*state, j.def->evaluate(&j, &m));
    assert_true(last_loss < 0.6 * first_loss);
    assert_true(gy_metric_get(&m, "recall") >= 0 && gy_metric_get(&m, "recall_long_gap") >= 0);
    j.def->close(&j);
    gy_job_free(&j);
}

static void a_task_that_cannot_be_is_refused(void **state) {
    gy_job j;
    const gy_model_def *def = gy_model_find("titans");
    static const char *const wrong[] = {"join=maq", "tokens=47", "width=30"};
    static const char *const message[] = {"did you mean mac", "tokens = 4 pairs + gap = 48",
                                          "cannot be cut into heads"};
    for (int i = 0; i < 3; i++) {
        const char *settings[] = {wrong[i], "heads=4"};
        assert_message(*state, gy_job_init(&j, *state, def, NULL, settings, i == 2 ? 2 : 1), message[i]);
        gy_job_free(&j);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(chunks_equal_the_recurrence_for_every_depth_and_size),
        TEST(a_split_sequence_that_carries_its_state_equals_one_pass),
        TEST(orthonormal_keys_are_recalled_exactly),
        TEST(forgetting_all_leaves_the_last_surprise),
        TEST(outer_gradients_pass_finite_differences),
        TEST(outputs_and_gradients_match_pytorch),
        TEST(no_token_changes_an_earlier_answer),
        TEST(the_recall_task_is_learned_beyond_guessing),
        TEST(a_task_that_cannot_be_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
