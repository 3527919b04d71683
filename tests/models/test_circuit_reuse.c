/* Path patching of the planted network against a forward pass in double precision written out here, the exact rules of
 * patching, and the tasks. */
#include "../harness/harness.h"

#include "core/gyrus.h"
#include "models/interpretability/circuit-reuse.h"

#include <math.h>
#include <stdlib.h>

enum { T = GY_CIRCUIT_TOKENS, L = GY_PLANTED_LAYERS, H = GY_PLANTED_HEADS, W = GY_PLANTED_WIDTH, D = GY_PLANTED_HEAD };

/* ---- the planted network in plain C ---- */

typedef struct net {
    gy_planted_head head[L][H];
} net;
typedef struct trace { /* of one prompt */
    double z[L][H][T][D], q[L][H][T][D], k[L][H][T][D], logit[12];
} trace;

/* Forward; heads' outputs are taken from `z` where given, queries and keys of the marked heads from `from`. */
static void forward(const net *n, const int64_t *ids, const trace *z, const trace *from, bool take_q[L][H],
                    bool take_k[L][H], trace *out) {
    static double x[T][W];
    for (int t = 0; t < T; t++) gy_planted_embedding(ids[t], t, x[t]);
    for (int l = 0; l < L; l++) {
        static double add[T][W];
        memset(add, 0, sizeof add);
        for (int h = 0; h < H; h++) {
            const gy_planted_head *w = &n->head[l][h];
            static double v[T][D];
            for (int t = 0; t < T; t++)
                for (int d = 0; d < D; d++) {
                    double a = 0, b = 0, c = 0;
                    for (int i = 0; i < W; i++) {
                        a += x[t][i] * w->q[i][d];
                        b += x[t][i] * w->k[i][d];
                        c += x[t][i] * w->v[i][d];
                    }
                    out->q[l][h][t][d] = take_q && take_q[l][h] ? from->q[l][h][t][d] : a;
                    out->k[l][h][t][d] = take_k && take_k[l][h] ? from->k[l][h][t][d] : b;
                    v[t][d] = c;
                }
            for (int t = 0; t < T; t++) {
                double p[T], sum = 0, most = -INFINITY;
                for (int s = 0; s <= t; s++) {
                    p[s] = 0;
                    for (int d = 0; d < D; d++) p[s] += out->q[l][h][t][d] * out->k[l][h][s][d];
                    p[s] /= sqrt((double)D);
                    most = fmax(most, p[s]);
                }
                for (int s = 0; s <= t; s++) sum += p[s] = exp(p[s] - most);
                for (int d = 0; d < D; d++) {
                    double y = 0;
                    for (int s = 0; s <= t; s++) y += p[s] / sum * v[s][d];
                    out->z[l][h][t][d] = z ? z->z[l][h][t][d] : y;
                    for (int i = 0; i < W; i++) add[t][i] += out->z[l][h][t][d] * w->o[d][i];
                }
            }
        }
        for (int t = 0; t < T; t++)
            for (int i = 0; i < W; i++) x[t][i] += add[t][i];
    }
    for (int i = 0; i < 12; i++) out->logit[i] = x[T - 1][gy_planted_out(i)];
}

typedef struct lab {
    net n;
    trace clean, corrupt, mixed, sent, patched;
} lab;

/* The mean effect over the prompts, by the three steps as they are told. */
static double literal(lab *x, const gy_prompts *p, int sender_layer, int sender, gy_receiver to, int64_t n,
                      const gy_head *receiver) {
    bool take[L][H] = {{false}};
    double clean = 0, corrupt = 0, changed = 0;
    for (int64_t i = 0; i < n; i++) take[receiver[i].layer][receiver[i].head] = true;
    for (int64_t r = 0; r < p->rows; r++) {
        forward(&x->n, p->clean + r * T, NULL, NULL, NULL, NULL, &x->clean);
        forward(&x->n, p->corrupt + r * T, NULL, NULL, NULL, NULL, &x->corrupt);
        x->mixed = x->clean;
        memcpy(x->mixed.z[sender_layer][sender], x->corrupt.z[sender_layer][sender], sizeof x->mixed.z[0][0]);
        forward(&x->n, p->clean + r * T, &x->mixed, NULL, NULL, NULL, &x->sent);
        if (to)
            forward(&x->n, p->clean + r * T, NULL, &x->sent, to == GY_TO_Q ? take : NULL, to == GY_TO_K ? take : NULL,
                    &x->patched);
        const trace *last = to ? &x->patched : &x->sent;
        int64_t a = p->answer[r], b = p->other[r];
        clean += x->clean.logit[a] - x->clean.logit[b];
        corrupt += x->corrupt.logit[a] - x->corrupt.logit[b];
        changed += last->logit[a] - last->logit[b];
    }
    return (changed - clean) / (corrupt - clean);
}

/* ---- jobs ---- */

static void job(gy_job *j, gy_ctx *ctx, const char *config) {
    const gy_model_def *def = gy_model_find("circuit-reuse");
    assert_non_null(def);
    assert_ok(ctx, gy_job_init(j, ctx, def, config, NULL, 0));
    j->seed = 5;
}

static void draw(gy_ctx *ctx, gy_circuit_task task, gy_corruption how, int64_t n, gy_circuit_prompts *x) {
    gy_rng r;
    gy_rng_init(&r, 5, "test");
    assert_ok(ctx, gy_circuit_draw(ctx, &gy_circuit_planted_alphabet, task, how, n, 5, &r, x));
}

static void maps_equal_three_passes_written_out(void **state) {
    enum { N = 6 };
    static const gy_head movers[] = {{2, 0}, {2, 1}}, inhibition[] = {{1, 0}};
    static const struct {
        gy_corruption how;
        gy_receiver to;
        int64_t n;
        const gy_head *receiver;
    } cases[] = {{GY_CORRUPT_FLIP, GY_TO_LOGITS, 0, NULL},
                 {GY_CORRUPT_FLIP, GY_TO_Q, 2, movers},
                 {GY_CORRUPT_ABC, GY_TO_K, 1, inhibition},
                 {GY_CORRUPT_ABC, GY_TO_Q, 2, movers}};
    lab *x = calloc(1, sizeof *x);
    assert_non_null(x);
    for (int l = 0; l < L; l++)
        for (int h = 0; h < H; h++) gy_planted_weights(l, h, &x->n.head[l][h]);
    for (int i = 0; i < 4; i++) {
        gy_job j;
        gy_circuit_prompts prompts;
        gy_patching *p;
        double map[L * H];
        job(&j, *state, "planted");
        draw(*state, GY_TASK_IOI, cases[i].how, N, &prompts);
        assert_ok(*state, gy_patching_new(&j, &prompts.p, L, H, -1, false, &p));
        assert_ok(*state, gy_patching_map(p, cases[i].to, cases[i].n, cases[i].receiver, map));
        for (int s = 0; s < L * H; s++)
            assert_close(map[s], literal(x, &prompts.p, s / H, s % H, cases[i].to, cases[i].n, cases[i].receiver),
                         1e-5);
        gy_patching_free(p);
        gy_circuit_free_prompts(*state, &prompts);
        gy_job_free(&j);
    }
    free(x);
}

static void without_freezing_the_steerer_seems_to_write_answers(void **state) {
    for (int unfrozen = 0; unfrozen < 2; unfrozen++) {
        gy_job j;
        gy_circuit_prompts prompts;
        gy_patching *p;
        double map[L * H];
        job(&j, *state, "planted");
        draw(*state, GY_TASK_IOI, GY_CORRUPT_FLIP, 20, &prompts);
        assert_ok(*state, gy_patching_new(&j, &prompts.p, L, H, -1, unfrozen, &p));
        assert_close(gy_patching_clean(p), 0.5, 1e-3);
        assert_close(gy_patching_corrupt(p), -0.5, 1e-3);
        assert_true(gy_patching_accuracy(p) == 1);
        assert_ok(*state, gy_patching_map(p, GY_TO_LOGITS, 0, NULL, map));
        assert_close(map[3], unfrozen, 1e-4); /* 1.0, the inhibition head */
        assert_close(map[6], 2, 1e-4);
        assert_close(map[7], -1, 1e-4);
        gy_patching_free(p);
        gy_circuit_free_prompts(*state, &prompts);
        gy_job_free(&j);
    }
}

static void ablation_names_the_heads_that_the_answer_needs(void **state) {
    gy_job j;
    gy_circuit_prompts prompts;
    gy_patching *p;
    double drop[L * H];
    job(&j, *state, "planted");
    draw(*state, GY_TASK_IOI, GY_CORRUPT_FLIP, 50, &prompts);
    assert_ok(*state, gy_patching_new(&j, &prompts.p, L, H, -1, false, &p));
    assert_ok(*state, gy_patching_ablate(p, drop));
    assert_true(drop[3] > 0.1 && drop[6] > 0.1); /* inhibition, mover */
    assert_true(drop[7] < -0.1);                 /* the negative mover holds the answer back */
    for (int i = 0; i < L * H; i++)
        if (i != 0 && i != 3 && i != 6 && i != 7) assert_true(fabs(drop[i]) < 1e-6);
    gy_patching_free(p);
    gy_circuit_free_prompts(*state, &prompts);
    gy_job_free(&j);
}

static void corrupt_prompts_ask_for_the_other_answer(void **state) {
    gy_circuit_prompts x;
    gy_rng r;
    gy_rng_init(&r, 1, "test");
    for (int task = 0; task < GY_TASKS; task++) {
        assert_ok(*state, gy_circuit_draw(*state, &gy_circuit_trained_alphabet, task, GY_CORRUPT_FLIP, 64, 5, &r, &x));
        for (int64_t i = 0; i < 64; i++) {
            int64_t differ = 0;
            for (int64_t t = 0; t < T; t++) {
                assert_true(x.clean[i * T + t] >= 0 && x.clean[i * T + t] < GY_CIRCUIT_VOCABULARY);
                differ += x.clean[i * T + t] != x.corrupt[i * T + t];
            }
            assert_int_equal(differ, 1);
            assert_int_not_equal(x.answer[i], x.other[i]);
            if (task != GY_TASK_TABLE) assert_int_equal(x.clean[i * T + x.at[i]], x.answer[i]);
        }
        gy_circuit_free_prompts(*state, &x);
    }
}

static void prompts_that_change_nothing_are_refused(void **state) {
    gy_job j;
    gy_circuit_prompts x;
    gy_patching *p = NULL;
    job(&j, *state, "planted");
    draw(*state, GY_TASK_IOI, GY_CORRUPT_FLIP, 4, &x);
    x.p.corrupt = x.p.clean;
    assert_message(*state, gy_patching_new(&j, &x.p, L, H, -1, false, &p), "the same logit difference");
    assert_null(p);
    gy_circuit_free_prompts(*state, &x);
    gy_job_free(&j);
}

static double first, last;
static bool watch(void *user, const gy_job *j, const gy_metrics *logged) {
    (void)user;
    last = gy_metric_get(logged, "loss");
    if (j->step == 1) first = last;
    return true;
}

static void training_lowers_the_loss_and_evaluates(void **state) {
    gy_job j;
    gy_metrics m = {0};
    job(&j, *state, "tiny");
    j.steps = 40;
    j.sink.step = watch;
    ((gy_circuit_config *)j.cfg)->each = 8;
    assert_ok(*state, gy_job_open(&j));
    assert_ok(*state, gy_job_train(&j));
    assert_true(last < 0.8 * first);
    assert_ok(*state, j.def->evaluate(&j, &m));
    double same = gy_metric_get(&m, "cosine_ioi_colours");
    assert_true(same >= 0 && same <= 1);
    gy_job_free(&j);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(maps_equal_three_passes_written_out),
        TEST(without_freezing_the_steerer_seems_to_write_answers),
        TEST(ablation_names_the_heads_that_the_answer_needs),
        TEST(corrupt_prompts_ask_for_the_other_answer),
        TEST(prompts_that_change_nothing_are_refused),
        TEST(training_lowers_the_loss_and_evaluates),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
