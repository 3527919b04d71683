/* The claim of circuit reuse: the planted circuit is found exactly, and two trained tasks share their heads. */
#include "circuit-reuse.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { L = GY_PLANTED_LAYERS, H = GY_PLANTED_HEADS, N = L * H, PROMPTS = 200 };

/* ---- planted ---- */

/* Effects expected within 1e-3 (single precision; e^-10 leaks of each head included); NAN: not zero is enough. */
static double worst(const double *map, const double *expected) {
    double most = 0;
    for (int i = 0; i < N; i++)
        if (!isnan(expected[i])) most = fmax(most, fabs(map[i] - expected[i]));
    return most;
}

/* Everything path patching must say about the planted network. */
typedef struct planted {
    double logits, mover_q, flip_k, abc_k, abc_end; /* largest deviations from what was planted */
    double duplicate;                               /* effect of 0.0 on the keys of 1.0 under a third name */
    double accuracy, before, after, attention;
} planted;

static gy_status maps(gy_job *j, bool unfrozen, planted *f) {
    static const gy_head movers[] = {{2, 0}, {2, 1}}, inhibition[] = {{1, 0}};
    static const double to_logits[N] = {0, 0, 0, 0, 0, 0, 2, -1, 0}, to_q[N] = {0, 0, 0, 1, 0, 0, 0, 0, 0},
                        none[N] = {0}, to_k[N] = {NAN, 0, 0, 0, 0, 0, 0, 0, 0};
    double map[N];
    for (int abc = 0; abc < 2; abc++) {
        gy_circuit_prompts x;
        gy_patching *p = NULL, *end = NULL;
        gy_rng r;
        gy_rng_init(&r, j->seed, abc ? "abc" : "flip");
        gy_status s = gy_circuit_draw(j->ctx, &gy_circuit_planted_alphabet, GY_TASK_IOI,
                                      abc ? GY_CORRUPT_ABC : GY_CORRUPT_FLIP, PROMPTS, j->seed, &r, &x);
        if (s == GY_OK) s = gy_patching_new(j, &x.p, L, H, -1, unfrozen, &p);
        if (s == GY_OK && !abc) {
            f->accuracy = gy_patching_accuracy(p);
            s = gy_patching_map(p, GY_TO_LOGITS, 0, NULL, map);
            f->logits = worst(map, to_logits);
            if (s == GY_OK) s = gy_patching_map(p, GY_TO_Q, 2, movers, map);
            f->mover_q = worst(map, to_q);
        }
        if (s == GY_OK) s = gy_patching_map(p, GY_TO_K, 1, inhibition, map);
        if (!abc) f->flip_k = worst(map, none);
        if (abc) {
            f->abc_k = worst(map, to_k);
            f->duplicate = map[0];
            if (s == GY_OK) s = gy_patching_new(j, &x.p, L, H, GY_CIRCUIT_TOKENS - 1, unfrozen, &end);
            if (s == GY_OK) s = gy_patching_map(end, GY_TO_K, 1, inhibition, map);
            f->abc_end = worst(map, none);
        }
        gy_patching_free(end);
        gy_patching_free(p);
        gy_circuit_free_prompts(j->ctx, &x);
        if (s != GY_OK) return s;
    }
    return GY_OK;
}

/* Coloured objects: nothing is there twice, so that nothing is inhibited, and the mover picks a colour it likes;
 * the inhibition head is made to look at the two wrong ones. */
static gy_status repair(gy_job *j, planted *f) {
    enum { T = GY_CIRCUIT_TOKENS };
    gy_circuit_prompts x;
    gy_patching *p = NULL;
    gy_rng r;
    gy_head mover = {2, 0};
    gy_rng_init(&r, j->seed, "colours");
    gy_status s = gy_circuit_draw(j->ctx, &gy_circuit_planted_alphabet, GY_TASK_COLOUR, GY_CORRUPT_FLIP, PROMPTS,
                                  j->seed, &r, &x);
    float *weights = gy_calloc(j->ctx, PROMPTS * T, sizeof *weights);
    if (s == GY_OK && !weights) s = GY_ERR_NOMEM;
    /* The heads do not know which object is asked for: clean and corrupt prompts give equal answers, which path
     * patching refuses. Another scene serves as the corrupt one. */
    for (int64_t i = 0; s == GY_OK && i < PROMPTS; i++) {
        memcpy(x.corrupt + i * T, x.clean + ((i + 1) % PROMPTS) * T, T * sizeof *x.corrupt);
        for (int64_t c = 1; c <= 5; c += 2) weights[i * T + c] = c == x.at[i] ? 0.0f : 0.5f;
    }
    if (s == GY_OK) s = gy_patching_new(j, &x.p, L, H, -1, false, &p);
    if (s == GY_OK) {
        f->before = gy_patching_accuracy(p);
        s = gy_patching_repair(p, (gy_head){1, 0}, T - 1, weights, &mover, x.at, &f->after, &f->attention);
    }
    gy_patching_free(p);
    gy_free(j->ctx, weights);
    gy_circuit_free_prompts(j->ctx, &x);
    return s;
}

/* ---- trained ---- */

static gy_status trained(const gy_job *j, uint64_t seed, gy_job *out) {
    gy_status s = gy_job_init(out, j->ctx, j->def, "tiny", NULL, 0);
    if (s != GY_OK) return s;
    memcpy(out->cfg, j->cfg, sizeof(gy_circuit_config));
    out->seed = seed;
    s = gy_job_open(out);
    return s == GY_OK ? gy_job_train(out) : s;
}

/* ---- together ---- */

enum { NETWORKS = 3 };
static const double EXACT = 1e-3, MARGIN = 0.2;

/* Means over the networks; `across`: the similarity when the second task's heads are those of the next network. It is
 * high too (seed 11: 0.78, and 0.88 within one), for in all of them the last layer writes the answers: what
 * the trained half shows is a division of labour that tasks of one kind have in common, not the identity of heads. */
static gy_status shared(gy_job *j, gy_circuit_findings *mean, double *across) {
    gy_job net[NETWORKS] = {{0}};
    gy_circuit_findings *g = gy_calloc(j->ctx, 1, sizeof *g);
    gy_status s = g ? GY_OK : GY_ERR_NOMEM;
    for (int i = 0; s == GY_OK && i < NETWORKS; i++) s = trained(j, j->seed + 1000 * (uint64_t)i, &net[i]);
    for (int i = 0; s == GY_OK && i < NETWORKS; i++) {
        s = gy_circuit_measure(&net[i], &net[(i + 1) % NETWORKS], g);
        *across += g->same / NETWORKS;
        if (s == GY_OK) s = gy_circuit_measure(&net[i], NULL, g);
        mean->same += g->same / NETWORKS;
        mean->control += g->control / NETWORKS;
        mean->overlap_same += g->overlap_same / NETWORKS;
        mean->overlap_control += g->overlap_control / NETWORKS;
        for (int t = 0; t < GY_TASKS; t++) mean->accuracy[t] += g->accuracy[t] / NETWORKS;
    }
    for (int i = 0; i < NETWORKS; i++) gy_job_free(&net[i]);
    gy_free(j->ctx, g);
    return s;
}

gy_status gy_circuit_claim(gy_job *j, gy_claim *out) {
    gy_job hand = {0};
    planted f = {0};
    gy_circuit_findings *g = gy_calloc(j->ctx, 1, sizeof *g);
    bool unfrozen = gy_ablates(j->ablate, "freeze");
    double across = 0;
    gy_status s = g ? gy_job_init(&hand, j->ctx, j->def, "planted", NULL, 0) : GY_ERR_NOMEM;
    hand.seed = j->seed;
    if (s == GY_OK) s = maps(&hand, unfrozen, &f);
    if (s == GY_OK) s = repair(&hand, &f);
    if (s == GY_OK) s = shared(j, g, &across);
    gy_job_free(&hand);
    if (s == GY_OK) {
        gy_metrics *m = &out->details;
        gy_metric_add(m, "planted accuracy", f.accuracy, 0.5, "");
        gy_metric_add(m, "deviation, effects on logits", f.logits, NAN, "");
        gy_metric_add(m, "deviation, on the movers' queries", f.mover_q, NAN, "");
        gy_metric_add(m, "deviation, on inhibition keys, flipped", f.flip_k, NAN, "");
        gy_metric_add(m, "deviation, on inhibition keys, third name", f.abc_k, NAN, "");
        gy_metric_add(m, "the same, senders at END only", f.abc_end, NAN, "");
        gy_metric_add(m, "effect of duplicate on inhibition keys", f.duplicate, NAN, "");
        gy_metric_add(m, "colours before repair", f.before, 1.0 / 3, "");
        gy_metric_add(m, "colours after repair", f.after, 1.0 / 3, "");
        gy_metric_add(m, "mover's attention on the answer, repaired", f.attention, NAN, "");
        gy_metric_add(m, "trained accuracy, ioi", g->accuracy[GY_TASK_IOI], 0.5, "");
        gy_metric_add(m, "trained accuracy, colours", g->accuracy[GY_TASK_COLOUR], 1.0 / 3, "");
        gy_metric_add(m, "trained accuracy, table", g->accuracy[GY_TASK_TABLE], 0.1, "");
        gy_metric_add(m, "cosine, colours in another network", across, NAN, "");
        gy_metric_add(m, "top-4 overlap, ioi and colours", g->overlap_same, 1.0 / 3, "");
        gy_metric_add(m, "top-4 overlap, ioi and table", g->overlap_control, 1.0 / 3, "");
        out->metric = "cosine of the head maps of two tasks of one kind";
        out->value = g->same;
        out->baseline = g->control;
        out->threshold = g->control + MARGIN;
        out->chance = g->control;
        out->pass = f.accuracy == 1 && f.logits < EXACT && f.mover_q < EXACT && f.flip_k < EXACT && f.abc_k < EXACT &&
                    f.abc_end < EXACT && f.duplicate > 0.5 && f.before < 0.6 && f.after == 1 && f.attention > 0.99 &&
                    g->same >= g->control + MARGIN;
    }
    gy_free(j->ctx, g);
    return s;
}
