/* One-hot HMM-GLM: which neurons drive which, when the brain switches between ways of working?
 *
 * Li, Kim, Rodgers, Choi, Wu: "One-hot Generalized Linear Model for Switching Brain State Discovery", ICLR 2024,
 * arXiv:2310.15263.
 *
 * Spike counts of N neurons are explained by a hidden state that switches now and then, and by one coupling matrix a
 * state: what neuron m did in the last few bins raises or lowers the rate of neuron n. Free matrices overfit. The paper
 * says that a synapse has a kind (inhibitory, none, excitatory), that the kinds come from one anatomical prior which
 * all states share, and that a state changes strengths and, at times, kinds. The kind is a one-hot vector, made
 * trainable by Gumbel-softmax. The claim: on held-out data the one-hot model predicts better and recovers the signed
 * graph better than free matrices, with the states found equally well.
 *
 *   (1)  h_tm = sum_k phi_k x_(t-k)m,  k = 1..K,  phi_k ~ e^-(k-1),  sum phi = 1
 *   (2)  f_tn^s = act(b_n + sum_m W^s_nm h_tm);   x_tn ~ Poisson(f_tn^s)
 *   (3)  z_1 uniform, z_t | z_(t-1) ~ A
 *   (4)  W^s_nm = (a_exc - a_inh) softplus(eta^s_nm),  a^s_nm ~ one of (inh, none, exc), logits theta^s_nm
 *   (5)  E step: gamma_ts = p(z_t = s | x),  A <- rows of sum xi, normalised
 *   (6)  M step: Adam on  -sum_t,s gamma_ts log p(x_t | s) - log p(a | pi),  pi = softmax(theta0)
 *   (7)  log p(a | pi) = sum_j a_j log pi_j, or the concrete density of Maddison et al. 2017 at temperature tau
 *   HG: free W. GHG: W^s ~ N(mean over states, sd^2). OHG: (4).
 *
 * Training has two phases: free matrices from several random starts side by side (HG), then the chosen model from the
 * best of them. In E steps a = softmax(theta) without noise, or the states flicker; when tested, a is the likeliest
 * class.
 *
 * Beside spikes, a table of trials fits the same model: one response of 0 or 1, covariates in place of the past, a bias
 * a state (configuration `behaviour`), as Ashwood et al. (Nature Neuroscience 25, 2022) do for choices.
 *
 * Inferred: the floor of GHG's sd (re-estimated from few sequences it falls to 0), the starting values of the one-hot
 * model, theta0's start, and that the prior counts in full for each batch of sequences. The data are in
 * onehot-hmm-glm_data.c; what is measured and claimed in onehot-hmm-glm_claim.c. */
#include "onehot-hmm-glm.h"
#include "../blocks/gumbel.h"
#include "../blocks/hmm.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- the emissions ---- */

bool gy_ohg_leaks(const char *ablate) {
    return gy_ablates(ablate, "leak");
}

void gy_ohg_kernel(const config *c, double *phi) {
    double sum = 0;
    for (int64_t k = 0; k < c->lags; k++) sum += phi[k] = exp(-(double)k);
    for (int64_t k = 0; k < c->lags; k++) phi[k] /= sum;
}

/* Eq. (1): counts [B, T, N] -> h [B, T, N]. A bin never sees itself, unless `leak`. */
static gy_t history(const config *c, bool leak, gy_t x) {
    double phi[64];
    int64_t t = gy_dim(x, 1);
    gy_t padded = gy_pad(x, 1, c->lags, 0), h = GY_NONE; /* [B, K + T, N] */
    gy_ohg_kernel(c, phi);
    for (int64_t k = 1; k <= c->lags; k++) {
        int64_t from = c->lags - k + leak;
        gy_t part = gy_scale(gy_slice(padded, 1, from, from + t), phi[k - 1]);
        h = k > 1 ? gy_add(h, part) : part;
    }
    return h;
}

/* log k! for k = 0 .. 255, as a table to gather from: x [...] -> [...] */
static gy_t log_factorial(gy_t x) {
    float table[MAX_COUNT + 1];
    for (int i = 0; i <= MAX_COUNT; i++) table[i] = (float)lgamma(i + 1.0);
    gy_tensor t = {.dtype = GY_F32, .shape = GY_S(MAX_COUNT + 1), .data = table, .borrowed = true};
    return gy_gather(gy_const(x.g, &t), gy_cast(x, GY_I64), 0);
}

/* Eq. (2): log p(x_t | state) [B, T, R, S] of R models side by side. x [B, T, N], h [B, T, M], w [R, S, N, M],
 * bias [R, S or 1, N] */
static gy_t log_emission(const config *c, gy_t x, gy_t h, gy_t w, gy_t bias) {
    int64_t b = gy_dim(x, 0), t = gy_dim(x, 1), r = gy_dim(w, 0), s = gy_dim(w, 1), n = gy_dim(w, 2);
    gy_t z = gy_linear(h, gy_reshape(w, r * s * n, -1), GY_NONE);           /* [B, T, R S N] */
    z = gy_add(gy_reshape(z, b, t, r, s, n), bias);                         /* [B, T, R, S, N] */
    gy_t y = gy_reshape(x, b, t, 1, 1, n), one = gy_softplus(gy_neg(z)), l; /* one: -log sigmoid(z) */
    if (is(c->family, "bernoulli"))
        l = gy_neg(gy_add(one, gy_mul(gy_sub(gy_scalar(y, 1), y), z))); /* y = 0: -log(1 - sigmoid(z)) = one + z */
    else if (is(c->family, "sigmoid"))
        l = gy_neg(gy_add(gy_mul(y, one), gy_exp(gy_neg(one))));
    else
        l = gy_sub(gy_mul(y, gy_log(gy_add_scalar(gy_softplus(z), 1e-8))), gy_softplus(z));
    l = gy_sum(l, GY_AXES(4));
    if (is(c->family, "bernoulli")) return l;
    return gy_sub(l, gy_reshape(gy_sum(log_factorial(x), GY_AXES(2)), b, t, 1, 1));
}

/* ---- the parameters of a phase ---- */

typedef struct sizes {
    int64_t restarts, states, outputs, inputs, length;
    bool own; /* the inputs are the outputs' past */
} sizes;

static sizes sizes_of(const gy_build *b, int64_t phase) {
    const config *c = b->cfg;
    sizes z = {phase ? 1 : c->restarts, c->states, c->outputs, c->covariates, c->length, !c->covariates};
    if (b->job) {
        const series *d = &((const lab *)b->job->data)->data;
        z.outputs = d->outputs, z.inputs = d->covariates, z.length = d->length, z.own = !d->covariate;
    }
    if (z.own) z.inputs = z.outputs;
    return z;
}

const char *gy_ohg_scope(int64_t phase) {
    return phase ? "glm" : "start";
}

gy_state *gy_ohg_state(const gy_job *j, int64_t phase, const char *name) {
    char full[64];
    snprintf(full, sizeof full, "%s.%s", gy_ohg_scope(phase), name);
    return gy_state_find(j->store, full);
}

/* 1 - identity [N, N]: no neuron drives itself. */
static gy_t off_diagonal(gy_graph *g, int64_t n) {
    gy_t i = gy_iota(g, GY_I64, n);
    return gy_cast(gy_ne(gy_reshape(i, n, 1), gy_reshape(i, 1, n)), GY_F32);
}

/* The weights [R, S, N, M] of a phase, -log of their prior (a scalar, or none), and the bias. */
typedef struct weights {
    gy_t w, bias, penalty, kind;
} weights;

/* Eq. (4), (7) */
static void one_hot_weights(gy_mod *m, const config *c, const sizes *z, weights_as how, bool no_prior, weights *o) {
    gy_shape each = GY_S(z->states, z->outputs, z->inputs);
    gy_t theta = gy_param(m, "theta", GY_S(z->states, z->outputs, z->inputs, CLASSES), GY_INIT_ZEROS);
    gy_t eta = gy_param(m, "eta", each, GY_INIT_ZEROS),
         theta0 = gy_param(m, "theta0", GY_S(z->outputs, z->inputs, CLASSES), GY_INIT_ZEROS);
    gy_t mean = gy_softmax(theta, -1), a = mean; /* [S, N, M, 3] */
    o->kind = gy_argmax(theta, -1);              /* [S, N, M] */
    if (how == SAMPLED) a = gy_gumbel_softmax(theta, "a", c->tau, false);
    if (how == HARD) a = gy_one_hot(o->kind, CLASSES, GY_F32);
    gy_t sign = gy_sub(gy_slice(a, 3, EXCITATORY, EXCITATORY + 1), gy_slice(a, 3, INHIBITORY, INHIBITORY + 1));
    o->w = gy_mul(gy_squeeze(sign, 3), gy_softplus(eta)); /* [S, N, M] */
    gy_t log_pi = gy_log_softmax(theta0, -1), log_p;      /* [N, M, 3] */
    if (is(c->prior, "categorical"))
        log_p = gy_sum(gy_mul(mean, log_pi), GY_AXES(3)); /* [S, N, M] */
    else
        log_p = gy_concrete_log_density(log_pi, gy_log_softmax(theta, -1), c->tau);
    if (z->own) log_p = gy_mul(log_p, off_diagonal(m->g, z->outputs));
    if (!no_prior) o->penalty = gy_neg(gy_sum(log_p, GY_ALL));
}

static weights make_weights(gy_mod *m, const config *c, const sizes *z, int64_t phase, weights_as how, bool no_prior) {
    weights o = {.penalty = GY_NONE};
    gy_push(m, "%s", gy_ohg_scope(phase));
    if (phase && is(c->model, "ohg")) {
        one_hot_weights(m, c, z, how, no_prior, &o);
        o.w = gy_unsqueeze(o.w, 0); /* [1, S, N, M] */
    } else {
        o.w = gy_param(m, "weight", GY_S(z->restarts, z->states, z->outputs, z->inputs), GY_INIT_NORMAL, 0.3);
        o.kind = gy_cast(gy_add_scalar(gy_sign(gy_slice(o.w, 0, 0, 1)), 1), GY_I64);
    }
    if (phase && is(c->model, "ghg")) {
        gy_t away = gy_sub(o.w, gy_mean_keep(o.w, GY_AXES(1))); /* [1, S, N, M] */
        gy_t sd = gy_maximum(gy_sqrt(gy_mean(gy_square(gy_stop(away)), GY_ALL)), gy_scalar(away, c->sd));
        if (!no_prior) o.penalty = gy_scale(gy_sum(gy_square(gy_div(away, sd)), GY_ALL), 0.5);
    }
    o.bias = gy_param(m, "bias", GY_S(z->restarts, c->state_bias ? z->states : 1, z->outputs), GY_INIT_ZEROS);
    if (z->own) o.w = gy_mul(o.w, off_diagonal(m->g, z->outputs));
    gy_pop(m);
    return o;
}

/* ---- the graphs ---- */

/* Inputs, and log emissions [B, T, R, S]. */
static gy_t emissions(gy_build *b, const sizes *z, const weights *w) {
    gy_t x = gy_input(b->m->g, "counts", GY_F32, GY_S(b->batch, z->length, z->outputs)), h;
    if (z->own)
        h = history(b->cfg, gy_ohg_leaks(b->ablate), x);
    else
        h = gy_input(b->m->g, "covariates", GY_F32, GY_S(b->batch, z->length, z->inputs));
    return log_emission(b->cfg, x, h, w->w, w->bias);
}

/* log A, kept as [R, S, S]; 0.98 on the diagonal at first. */
static gy_t transition(gy_mod *m, const sizes *z, int64_t phase) {
    char name[64];
    gy_push(m, "%s", gy_ohg_scope(phase));
    bool fresh = !gy_mod_state(m, "log_transition");
    gy_t read = gy_buffer(m, "log_transition", GY_S(z->restarts, z->states, z->states), GY_INIT_ZEROS);
    gy_pop(m);
    snprintf(name, sizeof name, "%s.log_transition", gy_ohg_scope(phase));
    gy_state *st = gy_state_find(m->store, name);
    float *a = fresh && st ? st->value.data : NULL;
    for (int64_t i = 0, s = z->states; a && i < z->restarts * s * s; i++)
        a[i] = (float)log(s == 1 ? 1 : i / s % s == i % s ? 0.98 : 0.02 / (double)(s - 1));
    return read;
}

static void build(gy_build *b) {
    const config *c = b->cfg;
    sizes z = sizes_of(b, 1);
    if (b->job && b->job->step > 0 && b->job->step <= c->warm_steps) {
        gy_poison(b->m->g, GY_HERE,
                  "the run stopped after step %" PRId64 ", before the one-hot model's first (%" PRId64
                  "): train on with --resume",
                  b->job->step, c->warm_steps + 1);
        return;
    }
    weights w = make_weights(b->m, c, &z, 1, HARD, false);
    gy_t l = emissions(b, &z, &w);                   /* [B, T, 1, S] */
    l = gy_squeeze(l, 2);                            /* [B, T, S] */
    gy_t a = gy_squeeze(transition(b->m, &z, 1), 0); /* [S, S] */
    gy_t start = gy_full(b->m->g, GY_F32, GY_S(z.states), -log((double)z.states));
    gy_hmm_nodes h = gy_hmm_infer(l, start, a);    /* eq. (3), (5) */
    gy_output(h.posterior, "posterior");           /* [B, T, S] */
    gy_output(h.path, "path");                     /* [B, T] */
    gy_output(h.log_likelihood, "log_likelihood"); /* [B] */
    gy_output(gy_squeeze(w.w, 0), "weight");       /* [S, N, M] */
    gy_output(w.kind, "kind");                     /* [S, N, M] 0 inhibitory, 1 none, 2 excitatory */
}

/* Eq. (6), a bin's share of it. The posterior is a buffer that the E step fills; it is 0 where a sequence has ended. */
static void objective(gy_build *b) {
    const config *c = b->cfg;
    gy_mod *m = b->m;
    sizes z = sizes_of(b, b->phase);
    bool no_prior = gy_ablates(b->ablate, "prior");
    weights w = make_weights(m, c, &z, b->phase, SAMPLED, no_prior);
    gy_t l = emissions(b, &z, &w); /* [B, T, R, S] */
    (void)transition(m, &z, b->phase);
    gy_push(m, "%s", gy_ohg_scope(b->phase));
    gy_t gamma = gy_buffer(m, "gamma", GY_S(b->batch, z.length, z.restarts, z.states), GY_INIT_ZEROS);
    int64_t sequences = b->job ? ((const lab *)b->job->data)->data.train : c->train;
    (void)gy_buffer(m, "pairs", GY_S(sequences, z.restarts, z.states, z.states), GY_INIT_ZEROS);
    gy_pop(m);
    gy_t bins = gy_sum(gamma, GY_ALL);
    gy_t loss = gy_div(gy_neg(gy_sum(gy_mul(gamma, l), GY_ALL)), bins);
    gy_t penalty = gy_is_none(w.penalty) ? gy_scalar(loss, 0) : gy_div(gy_scale(w.penalty, c->prior_weight), bins);
    gy_output(gy_add(loss, penalty), "loss");
    gy_optim_adam(m->g, m->store, gy_add(loss, penalty), .prefix = b->phase ? "glm." : "start.",
                  .name = b->phase ? "glm.optim" : "start.optim");
}

gy_status gy_ohg_compile(gy_job *j, int64_t phase, weights_as how, int64_t batch, gy_compiled *out) {
    *out = (gy_compiled){.g = gy_graph_new(j->ctx)};
    if (!out->g) return GY_ERR_NOMEM;
    gy_mod m = gy_mod_make(out->g, j->store, j->seed, false);
    gy_build b = {.m = &m, .cfg = j->cfg, .batch = batch, .ablate = j->ablate, .phase = phase, .job = j};
    sizes z = sizes_of(&b, phase);
    weights w = make_weights(&m, j->cfg, &z, phase, how, true);
    (void)transition(&m, &z, phase);
    gy_output(emissions(&b, &z, &w), "log_emission");
    gy_output(w.w, "weight");
    out->plan = gy_compile(out->g, (gy_plan_args){0});
    if (out->plan) return GY_OK;
    gy_compiled_free(out);
    return gy_error_status(j->ctx);
}

/* ---- training ---- */

static int64_t phases(const gy_job *j) {
    return ((const config *)j->cfg)->steps > 0 ? 2 : 1;
}

static int64_t phase_of(const gy_job *j, int64_t step) {
    const config *c = j->cfg;
    return step >= c->warm_steps && phases(j) > 1;
}

static double rate(const gy_job *j, int64_t phase, int64_t step) {
    (void)phase, (void)step;
    return ((const config *)j->cfg)->lr;
}

/* ---- the definition ---- */

static const char *const equations[] = {
    "(1) h\u209c\u2098 = \u03a3\u2096 \u03c6\u2096 x\u208d\u209c\u208b\u2096\u208e\u2098, \u03c6\u2096 \u221d "
    "e^-(k-1), k = 1..K",
    "(2) x\u209c\u2099 ~ Poisson(act(b\u2099 + \u03a3\u2098 W\u02e2\u2099\u2098 h\u209c\u2098)) in state s",
    "(3) z\u2081 uniform, z\u209c ~ A[z\u209c\u208b\u2081]",
    "(4) W\u02e2\u2099\u2098 = (a_exc - a_inh) softplus(\u03b7\u02e2\u2099\u2098), a\u02e2\u2099\u2098 ~ "
    "GumbelSoftmax(\u03b8\u02e2\u2099\u2098, \u03c4)",
    "(5) E: \u03b3\u209c\u209b = p(z\u209c = s | x) by forward-backward; A = rows of \u03a3 \u03be, normalised",
    "(6) M: min -\u03a3 \u03b3\u209c\u209b log p(x\u209c | s) - log p(a | \u03c0), \u03c0 = softmax(\u03b8\u2080)",
    "(7) log p(a | \u03c0) = \u03a3\u2c7c a\u2c7c log \u03c0\u2c7c (categorical) or log \u0393(3) + 2 log \u03c4 + "
    "\u03a3\u2c7c (log \u03c0\u2c7c - (\u03c4+1) log a\u2c7c) - 3 log \u03a3\u2c7c \u03c0\u2c7c a\u2c7c^-\u03c4 "
    "(concrete)",
    NULL};

static const char *const ablations[] = {"leak - the history holds the bin that is to be explained",
                                        "prior - the shared prior over kinds of synapse is left out",
                                        "cold - the one-hot model starts from equal classes, not from the free model",
                                        NULL};

const gy_model_def gy_model_onehot_hmm_glm = {
    .slug = "onehot-hmm-glm",
    .family = "encoding",
    .title = "One-hot GLM for switching brain state discovery",
    .cite = "C. Li, S. Y. Kim, R. Rodgers, H. Choi, A. Wu, ICLR 2024, arXiv:2310.15263",
    .job =
        "Spike counts of a population (or choices of an animal) -> the hidden state in each bin and, for each state, a "
        "signed sparse graph of who drives whom",
    .year = 2023,
    .equations = equations,
    .config_size = sizeof(config),
    .options = gy_ohg_options,
    .configs = gy_ohg_configs,
    .ablations = ablations,
    .check = gy_ohg_check,
    .build = build,
    .objective = objective,
    .phases = phases,
    .phase_of = phase_of,
    .open = gy_ohg_open,
    .close = gy_ohg_close,
    .batch = gy_ohg_batch,
    .lr = rate,
    .evaluate = gy_ohg_evaluate,
    .panels = gy_ohg_panels,
    .claim = gy_ohg_claim,
};
