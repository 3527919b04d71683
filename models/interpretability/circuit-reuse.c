/* Circuit component reuse: one set of attention heads, several tasks.
 *
 * Merullo, Eickhoff, Pavlick: "Circuit Component Reuse Across Tasks in Transformer Language Models", ICLR 2024,
 * arXiv 2310.08744.
 *
 * Which heads of a language model solve a task, and do tasks share them? The paper finds the heads by path patching
 * (models/blocks/patching.h): for "When Mary and John went to the store, John gave a drink to" (indirect object
 * identification, IOI) and for "a red book, a blue pen and a green cup. What color is the pen?" (coloured objects), in
 * GPT-2 medium, and finds that they overlap by some 78 %; the second task fails half of the time because the heads that
 * silence wrong answers look elsewhere, and forcing their attention onto the wrong colours repairs it.
 *
 * Here both halves are proved where the truth is known.
 *   planted  A network whose circuit was put there by hand (circuit-reuse_planted.c). Path patching must find exactly
 *            it: who writes the answer, who steers the writers, who feeds the steerer; and forcing the attention of
 *            the inhibition head must repair the coloured objects, as in the paper.
 *   trained  GPT-2 in small learns three tasks at once: IOI, coloured objects, and a lookup table that needs no moving
 *            of what is answered. Which heads write the answer (path patching to the logits, with another name, colour
 *            or digit in the prompt) must agree between the two tasks of one kind more than with the third.
 * Ablation `freeze` lets later heads react to a patch, so that what is measured is no longer a path.
 *
 * Inferred: prompts of ten tokens in place of English; three networks a claim. `paper` is
 * GPT-2 medium, for the public weights. */
#include "circuit-reuse.h"
#include "../blocks/options.h"
#include "../blocks/panels.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

typedef gy_circuit_config config;

#define SIZE(n, lo, hi, help)                                                                                          \
    { #n, help, GY_OPT_INT, offsetof(config, model.n), lo, hi }
static const gy_option options[] = {SIZE(layers, 1, 128, "blocks"),
                                    SIZE(heads, 1, 128, "attention heads of a block"),
                                    SIZE(width, 1, 1 << 20, "of the residual stream"),
                                    SIZE(inner, 0, 1 << 22, "neurons of an MLP; 0: four times the width"),
                                    SIZE(positions, GY_CIRCUIT_TOKENS, 1 << 20, "most tokens of a prompt"),
                                    SIZE(vocabulary, GY_CIRCUIT_VOCABULARY, 1 << 24, "tokens that there are"),
                                    INT(planted, 0, 1, "1: the hand-made network"),
                                    INT(tokens, 1, 1 << 20, "of a prompt (run, show); training prompts have 10"),
                                    INT(each, 1, 4096, "prompts of each task in a step"),
                                    INT(steps, 1, 1e9, "training steps"),
                                    INT(prompts, 2, 4096, "of each task, for the maps"),
                                    REAL(lr, 0, 1, "largest learning rate"),
                                    REAL(weight_decay, 0, 1, "of matrices"),
                                    {NULL}};

static const config tiny = {.model = {3, 4, 64, 256, GY_CIRCUIT_TOKENS, GY_CIRCUIT_VOCABULARY, 1e-5, 0},
                            .tokens = GY_CIRCUIT_TOKENS,
                            .each = 48,
                            .steps = 900,
                            .prompts = 200,
                            .lr = 2e-3,
                            .weight_decay = 0.01};
static const config planted = {.model = {GY_PLANTED_LAYERS, GY_PLANTED_HEADS, GY_PLANTED_WIDTH, 1, GY_CIRCUIT_TOKENS,
                                         GY_CIRCUIT_VOCABULARY, 1e-5, 0},
                               .planted = 1,
                               .tokens = GY_CIRCUIT_TOKENS,
                               .each = 1,
                               .steps = 1,
                               .prompts = 200};
static const config paper = {
    .model = {GY_GPT2_MEDIUM}, .tokens = 50, .each = 8, .steps = 1500, .prompts = 25, .lr = 6e-4, .weight_decay = 0.01};
static const gy_config configs[] = {
    {"tiny", "GPT-2 of 3 blocks, 4 heads, width 64, trained on the three tasks", &tiny},
    {"planted", "the hand-made circuit: 3 layers of 3 heads, nothing to train", &planted},
    {"paper", "GPT-2 medium, 354,823,168 parameters; the public weights", &paper},
    {NULL}};
static const char *const ablations[] = {"freeze - later heads see a patch: what is measured is no path any more", NULL};

static gy_status check(gy_ctx *ctx, const void *cfg) {
    const config *c = cfg;
    if (!c->planted && c->model.width % c->model.heads)
        return gy_fail(ctx, GY_ERR_USAGE, "circuit-reuse: width=%" PRId64 " is no multiple of heads=%" PRId64,
                       c->model.width, c->model.heads);
    if (c->model.layers * c->model.heads > GY_CIRCUIT_MOST_HEADS)
        return gy_fail(ctx, GY_ERR_USAGE, "circuit-reuse: %" PRId64 " heads; at most %d are mapped",
                       c->model.layers * c->model.heads, GY_CIRCUIT_MOST_HEADS);
    if (c->tokens > c->model.positions)
        return gy_fail(ctx, GY_ERR_USAGE, "circuit-reuse: tokens=%" PRId64 " is more than positions=%" PRId64,
                       c->tokens, c->model.positions);
    return GY_OK;
}

/* ---- the model ---- */

static void build(gy_build *b) {
    const config *c = b->cfg;
    gy_lm_in in = {.ids = gy_input(b->m->g, "ids", GY_I64, GY_S(b->batch, c->tokens))};
    gy_lm lm = gy_gpt2_lm(&c->model);
    gy_output(c->planted ? gy_planted(b->m, in.ids) : lm.logits(b->m, lm.cfg, lm.states(b->m, lm.cfg, &in)), "logits");
}

/* Cross-entropy of the token that follows END. */
static void objective(gy_build *b) {
    const config *c = b->cfg;
    gy_mod *m = b->m;
    gy_lm lm = gy_gpt2_lm(&c->model);
    gy_lm_in in = {.ids = gy_input(m->g, "ids", GY_I64, GY_S(b->batch, GY_CIRCUIT_TOKENS))};
    gy_t answer = gy_input(m->g, "answer", GY_I64, GY_S(b->batch));
    gy_t last = gy_slice(lm.states(m, lm.cfg, &in), 1, GY_CIRCUIT_TOKENS - 1, GY_CIRCUIT_TOKENS);
    gy_t loss = gy_lm_loss(m, &lm, last, gy_unsqueeze(answer, 1), 0);
    gy_output(loss, "loss");
    gy_optim_adamw(m->g, m->store, loss, .weight_decay = c->weight_decay, .decays = gy_decays_matrices,
                   .clip_norm = 1.0);
}

static double lr(const gy_job *j, int64_t phase, int64_t step) {
    const config *c = j->cfg;
    gy_schedule s = {GY_SCHEDULE_COSINE, .lr = c->lr, .warmup = 50, .total = j->steps, .min = c->lr / 10};
    (void)phase;
    return gy_schedule_lr(&s, step);
}

/* ---- data ---- */

static gy_status open_data(gy_job *j) {
    const config *c = j->cfg;
    if (j->data_path)
        return gy_fail(j->ctx, GY_ERR_UNSUPPORTED,
                       "circuit-reuse: %s: the model makes its own prompts; texts are trained on by gpt2",
                       j->data_path);
    if (c->planted)
        return gy_fail(j->ctx, GY_ERR_USAGE,
                       "circuit-reuse: the planted network has nothing to train; see: gyrus claim");
    j->batch = GY_TASKS * c->each;
    if (!j->steps) j->steps = c->steps;
    snprintf(j->data_label, sizeof j->data_label, "generated");
    j->data_hash = gy_hash_str("circuits", j->seed);
    return GY_OK;
}

static gy_status batch(gy_job *j, gy_plan *p, int64_t phase, int64_t step) {
    const config *c = j->cfg;
    int64_t *ids = gy_plan_input(p, "ids"), *answer = gy_plan_input(p, "answer");
    char name[48];
    gy_rng r;
    gy_status s = GY_OK;
    (void)phase;
    snprintf(name, sizeof name, "batch.%" PRId64, step);
    gy_rng_init(&r, j->seed, name);
    for (int task = 0; s == GY_OK && task < GY_TASKS; task++) {
        gy_circuit_prompts x;
        s = gy_circuit_draw(j->ctx, &gy_circuit_trained_alphabet, task, GY_CORRUPT_FLIP, c->each, j->seed, &r, &x);
        if (s != GY_OK) break;
        memcpy(ids + task * c->each * GY_CIRCUIT_TOKENS, x.clean, (size_t)(c->each * GY_CIRCUIT_TOKENS) * sizeof *ids);
        memcpy(answer + task * c->each, x.answer, (size_t)c->each * sizeof *answer);
        gy_circuit_free_prompts(j->ctx, &x);
    }
    return s;
}

/* ---- which heads matter ---- */

static double cosine(const double *a, const double *b, int64_t n) {
    double ab = 0, aa = 0, bb = 0;
    for (int64_t i = 0; i < n; i++) {
        ab += a[i] * b[i];
        aa += a[i] * a[i];
        bb += b[i] * b[i];
    }
    return aa > 0 && bb > 0 ? ab / sqrt(aa * bb) : 0;
}

/* The share of the four largest of a that are among the four largest of b. */
static double overlap(const double *a, const double *b, int64_t n) {
    enum { TOP = 4 };
    int64_t shared = 0;
    for (int64_t i = 0; i < n; i++) {
        int64_t above_a = 0, above_b = 0;
        for (int64_t k = 0; k < n; k++) {
            above_a += a[k] > a[i] || (a[k] == a[i] && k < i);
            above_b += b[k] > b[i] || (b[k] == b[i] && k < i);
        }
        shared += above_a < TOP && above_b < TOP;
    }
    return (double)shared / TOP;
}

gy_status gy_circuit_measure(gy_job *j, gy_job *colours, gy_circuit_findings *f) {
    const config *c = j->cfg;
    int64_t n = c->model.layers * c->model.heads;
    gy_status s = GY_OK;
    gy_rng r;
    gy_rng_init(&r, j->seed, "held out");
    for (int task = 0; s == GY_OK && task < GY_TASKS; task++) {
        gy_circuit_prompts x;
        gy_patching *p = NULL;
        gy_job *of = task == GY_TASK_COLOUR && colours ? colours : j;
        s = gy_circuit_draw(j->ctx, &gy_circuit_trained_alphabet, task, GY_CORRUPT_CONTENT, c->prompts, j->seed, &r,
                            &x);
        if (s == GY_OK) s = gy_patching_new(of, &x.p, c->model.layers, c->model.heads, -1, false, &p);
        if (s == GY_OK) s = gy_patching_map(p, GY_TO_LOGITS, 0, NULL, f->effect[task]);
        if (s == GY_OK) f->accuracy[task] = gy_patching_accuracy(p);
        for (int64_t i = 0; s == GY_OK && i < n; i++) f->effect[task][i] = fmax(f->effect[task][i], 0);
        gy_patching_free(p);
        gy_circuit_free_prompts(j->ctx, &x);
    }
    if (s != GY_OK) return s;
    f->same = cosine(f->effect[GY_TASK_IOI], f->effect[GY_TASK_COLOUR], n);
    f->control = cosine(f->effect[GY_TASK_IOI], f->effect[GY_TASK_TABLE], n);
    f->overlap_same = overlap(f->effect[GY_TASK_IOI], f->effect[GY_TASK_COLOUR], n);
    f->overlap_control = overlap(f->effect[GY_TASK_IOI], f->effect[GY_TASK_TABLE], n);
    return s;
}

static gy_status evaluate(gy_job *j, gy_metrics *out) {
    const config *c = j->cfg;
    gy_circuit_findings *f = gy_calloc(j->ctx, 1, sizeof *f);
    if (!f) return GY_ERR_NOMEM;
    gy_status s = gy_circuit_measure(j, NULL, f);
    double n = (double)(c->model.layers * c->model.heads);
    if (s == GY_OK) {
        gy_metric_add(out, "accuracy_ioi", f->accuracy[GY_TASK_IOI], 0.5, "accuracy");
        gy_metric_add(out, "accuracy_colours", f->accuracy[GY_TASK_COLOUR], 1.0 / 3, "accuracy");
        gy_metric_add(out, "accuracy_table", f->accuracy[GY_TASK_TABLE], 0.1, "accuracy");
        gy_metric_add(out, "cosine_ioi_colours", f->same, NAN, "cosine");
        gy_metric_add(out, "cosine_ioi_table", f->control, NAN, "cosine");
        gy_metric_add(out, "overlap_ioi_colours", f->overlap_same, fmin(1, 4 / n), "share");
        gy_metric_add(out, "overlap_ioi_table", f->overlap_control, fmin(1, 4 / n), "share");
    }
    gy_free(j->ctx, f);
    return s;
}

/* ---- the report: the three maps ---- */

static gy_status panels(gy_job *j, void *report) {
    enum { SHOWN = 16 };
    static const char *const panel[GY_TASKS] = {"ioi", "colours", "table"};
    static const char *const title[GY_TASKS] = {"Heads of indirect object identification", "Heads of coloured objects",
                                                "Heads of the lookup table"};
    const config *c = j->cfg;
    int64_t n = c->model.layers * c->model.heads;
    gy_circuit_findings *f = gy_calloc(j->ctx, 1, sizeof *f);
    char name[SHOWN][16];
    const char *names[SHOWN];
    if (!f) return GY_ERR_NOMEM;
    gy_status s = gy_circuit_measure(j, NULL, f);
    for (int task = 0; task < GY_TASKS; task++) gy_report_plan(report, panel[task], "which heads write the answer");
    for (int64_t i = 0; i < n && i < SHOWN; i++) {
        snprintf(name[i], sizeof name[i], "%" PRId64 ".%" PRId64, i / c->model.heads, i % c->model.heads);
        names[i] = name[i];
    }
    for (int task = 0; s == GY_OK && task < GY_TASKS; task++) {
        gy_panel about = {
            .panel = panel[task],
            .title = title[task],
            .caption = "How far each head alone carries the logits from one answer to another, when the name, colour "
                       "or digit that decides is exchanged. Tasks that share a circuit have the same tall bars.",
            .alt = "One bar a head: its direct effect on the logits",
            .label = "direct effect",
            .unit = "share of the logit difference",
            .n = c->prompts,
            .n_of = "held-out prompts",
            .chance = NAN};
        s = n <= SHOWN ? gy_panel_bars(j, report, &about, n, names, f->effect[task])
                       : gy_report_explain(report, panel[task], "more heads than a bar chart can show");
    }
    gy_report_term(report, "head", "one of the parallel attentions of a block, named layer.head");
    gy_report_term(report, "direct effect", "what a head writes into the logits itself, other heads held fixed");
    gy_free(j->ctx, f);
    return s;
}

static const char *const equations[] = {
    "m = logit(answer) - logit(alternative), at the last token",
    "effect(s -> R) = (m_patched - m_clean) / (m_corrupt - m_clean), every other head frozen",
    "similarity of tasks: cosine of their maps of direct effects, negative effects left out", NULL};

const gy_model_def gy_model_circuit_reuse = {
    .slug = "circuit-reuse",
    .family = "interpretability",
    .title = "Circuit component reuse across tasks",
    .cite = "Merullo, Eickhoff, Pavlick: Circuit Component Reuse Across Tasks in Transformer Language Models, ICLR "
            "2024, arXiv 2310.08744",
    .job = "token ids in; the next token's logits out, and which attention heads made them",
    .year = 2024,
    .equations = equations,
    .config_size = sizeof(config),
    .options = options,
    .configs = configs,
    .ablations = ablations,
    .weights = gy_gpt2_rules,
    .ignorable = gy_gpt2_ignorable,
    .check = check,
    .build = build,
    .objective = objective,
    .open = open_data,
    .batch = batch,
    .lr = lr,
    .evaluate = evaluate,
    .panels = panels,
    .claim = gy_circuit_claim,
};
