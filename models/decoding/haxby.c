/* haxby: which category of object was a person looking at?
 *
 * Haxby, Gobbini, Furey, Ishai, Schouten, Pietrini, "Distributed and overlapping representations of faces and objects
 * in ventral temporal cortex", Science 293 (2001) 2425-2430: the pattern of response across ventral temporal cortex
 * tells eight categories apart, and not only where the response is largest. Here the category of each volume is
 * read from its voxels by networks that never saw the run it was measured in, beside a linear classifier on the
 * same folds. The networks are ours; the paper correlated the patterns of two halves of the runs, which is also done.
 *
 *   (1)  x_v <- (x_v - line_v) / sd_v     per run and voxel (data/fmri.h)
 *   (2)  s = smooth(x): each voxel averaged with its six neighbours, which weigh a = 1/4
 *   (3)  z = W0 s + b0 + W2 drop(GELU(W1 drop(s) + b1)) + b2     mlp: a linear reading and a correction to it;
 *        the transformer corrects by T tokens read out of s that attend to each other
 *   (4)  L = sum_f mean_i |z_f(s_i) - onehot(y_i)|^2,  i from all runs but f; z averaged over networks that differ by
 *        their first weights; squares, because with few noisy volumes they generalise better than cross-entropy here
 *   (5)  score = K_f,-f (K_-f,-f + lambda I)^-1 Y,  K = X X^T    ridge, one run f held out
 *   (6)  pattern = cov(X) w / var(X w)    what the voxels do when the model says "face, not house" (Haufe et al. 2014)
 *
 * One graph holds the networks of every fold, each with parameters of its own ("without3.net0.hidden.weight"), and one
 * more trained on all runs ("all"), which `gyrus run` uses. No parameter is shared between folds and no
 * gradient clipped over them, hence nothing of a held-out run reaches the networks that are tested on it.
 *
 * Inferred, and found on the real data rather than in the paper: (2) and its weight (a Gaussian of 0.6 voxels; with the
 * ridge 0.4 to 0.8 voxels gave 0.69 to 0.71 where unsmoothed voxels gave 0.68), the linear path, and squares.
 * Evaluation, the charts and the claim are in haxby_claim.c. */
#include "haxby.h"

#include <stdio.h>
#include <string.h>

/* ---- configuration ------------------------------------------------------------------------------- */

#define CONFIG(arch_, hidden_, members_, steps_)                                                                       \
    {                                                                                                                  \
        .arch = arch_, .hidden = hidden_, .tokens = 8, .members = members_, .batch = 96, .steps = steps_,              \
        .permutations = 999, .voxels = 530, .categories = 8, .delay = -1, .lr = 2e-3, .weight_decay = 0.3,             \
        .smooth = 0.25, .drop_in = 0.5, .drop = 0.9, .ridge = 1, .signal = 1                                           \
    }
static const haxby_cfg tiny = CONFIG("mlp", 64, 2, 250), paper = CONFIG("mlp", 256, 8, 400),
                       transformer = CONFIG("transformer", 16, 2, 250);
static const gy_config configs[] = {{"tiny", "small networks: the demo", &tiny},
                                    {"paper", "wide networks, more of them, longer training", &paper},
                                    {"transformer", "tokens read out of the voxels, one attention block", &transformer},
                                    {0}};

#define INT(member, lo, hi, help)                                                                                      \
    { #member, help, GY_OPT_INT, offsetof(haxby_cfg, member), lo, hi }
#define REAL(member, lo, hi, help)                                                                                     \
    { #member, help, GY_OPT_REAL, offsetof(haxby_cfg, member), lo, hi }
#define TEXT(member, help)                                                                                             \
    { #member, help, GY_OPT_TEXT, offsetof(haxby_cfg, member), 0, 0 }
static const gy_option options[] = {
    TEXT(arch, "mlp or transformer"),
    TEXT(classes, "categories to keep, as face,house; empty: all"),
    INT(hidden, 1, 65536, "width of the hidden layer, or of a token"),
    INT(tokens, 1, 4096, "tokens that the transformer reads out of the voxels"),
    INT(members, 1, 64, "networks a fold, averaged"),
    INT(batch, 1, 65536, "volumes a step and fold"),
    INT(steps, 1, 1000000, "steps when --steps is not given"),
    INT(permutations, 19, 1000000, "relabellings of the permutation test"),
    INT(voxels, 1, 10000000, "voxels, when no data are open (show)"),
    INT(categories, 2, 64, "categories, when no data are open (show)"),
    REAL(delay, -1, 60, "seconds from event to response; -1: 4 for events.tsv, 0 for labelled volumes"),
    REAL(lr, 1e-8, 1, "largest learning rate; it falls along half a cosine"),
    REAL(weight_decay, 0, 100, "penalty on the weights of the linear path"),
    REAL(smooth, 0, 1, "weight of each neighbour in the average that the networks see; 0: none"),
    REAL(drop_in, 0, 0.95, "share of voxels hidden from the network while it learns"),
    REAL(drop, 0, 0.95, "share of hidden units dropped while it learns"),
    REAL(ridge, 1e-9, 1e9, "penalty of the linear baseline, in units of the number of voxels"),
    REAL(signal, 0, 100, "generated data: response in standard deviations of the noise"),
    {0}};
static const char *const ablations[] = {
    "shuffle - labels are dealt anew to the blocks of each run: nothing is left to decode",
    "pattern - each voxel is replaced by the mean of all: the level of the response stays, its pattern goes", NULL};

static gy_status check(gy_ctx *ctx, const void *cfg) {
    const haxby_cfg *c = cfg;
    if (strcmp(c->arch, "mlp") != 0 && strcmp(c->arch, "transformer") != 0)
        return gy_fail(ctx, GY_ERR_USAGE, "arch: expected mlp or transformer, found '%s'", c->arch);
    return GY_OK;
}

/* ---- the network --------------------------------------------------------------------------------- */

/* s [B, V] -> correction [B, K] */
static gy_t mlp(gy_mod *m, const haxby_cfg *c, gy_t s, int64_t classes) {
    gy_t h = gy_nn_dropout(m, "drop_in", s, c->drop_in);
    h = gy_tap(m, "hidden", gy_gelu(gy_nn_linear(m, "hidden", h, c->hidden))); /* [B, H] */
    return gy_nn_linear(m, "out", gy_nn_dropout(m, "drop", h, c->drop), classes, .init = {GY_INIT_ZEROS});
}

/* Tokens are T read-outs of all voxels: a voxel's place in a list says little about its neighbours in the brain. */
static gy_t attend(gy_mod *m, const haxby_cfg *c, gy_t s, int64_t classes) {
    int64_t b = gy_dim(s, 0), t = c->tokens, w = c->hidden;
    gy_t h = gy_nn_dropout(m, "drop_in", s, c->drop_in), qkv[3];
    h = gy_reshape(gy_nn_linear(m, "hidden", h, t * w), b, t, w); /* [B, T, W] */
    gy_split(gy_nn_linear(m, "qkv", gy_nn_layernorm(m, "norm1", h), 3 * w), -1, 3, qkv);
    for (int i = 0; i < 3; i++) qkv[i] = gy_reshape(qkv[i], b, t, 1, w);
    gy_t a = gy_reshape(gy_attention(qkv[0], qkv[1], qkv[2]), b, t, w);
    h = gy_add(h, gy_nn_dropout(m, "drop1", gy_nn_linear(m, "proj", a, w), c->drop));
    a = gy_gelu(gy_nn_linear(m, "fc1", gy_nn_layernorm(m, "norm2", h), 2 * w)); /* [B, T, 2W] */
    h = gy_add(h, gy_nn_dropout(m, "drop2", gy_nn_linear(m, "fc2", a, w), c->drop));
    h = gy_nn_dropout(m, "drop", gy_flatten(h, 1, 2), c->drop); /* [B, T W] */
    return gy_nn_linear(m, "out", h, classes, .init = {GY_INIT_ZEROS});
}

/* (2): x [B, V], neighbours [V, 6] (-1: none, which reads 0) -> [B, V]. Voxels come first while whole rows are
 * gathered, which is much faster than single numbers. */
static gy_t smooth(gy_t x, gy_t neighbours, double a) {
    gy_t xt = gy_transpose(x), ones = gy_full(x.g, GY_F32, GY_S(gy_dim(xt, 0), 1), 1);
    gy_t sum = gy_add(xt, gy_scale(gy_sum(gy_gather(xt, neighbours, 0), GY_AXES(1)), a));        /* [V, B] */
    gy_t weight = gy_add(ones, gy_scale(gy_sum(gy_gather(ones, neighbours, 0), GY_AXES(1)), a)); /* [V, 1] */
    return gy_transpose(gy_div(sum, weight));
}

/* The networks of one fold, their answers averaged; `fold` < 0: those trained on all runs. `loss` collects the
 * members' losses for training. z estimates the probability of each category, as regression on 0 and 1 does. */
static gy_t fold_answer(gy_mod *m, const haxby_cfg *c, int64_t fold, gy_t s, int64_t classes, gy_t target, gy_t *loss) {
    gy_t mean = GY_NONE;
    for (int64_t i = 0; i < c->members; i++) {
        if (fold < 0)
            gy_push(m, "all.net%d", (int)i);
        else
            gy_push(m, "without%d.net%d", (int)fold, (int)i);
        gy_t z = gy_nn_linear(m, "linear", s, classes, .init = {GY_INIT_ZEROS});                       /* [B, K] */
        z = gy_add(z, strcmp(c->arch, "mlp") == 0 ? mlp(m, c, s, classes) : attend(m, c, s, classes)); /* (3) */
        if (loss) {
            gy_t l = gy_scale(gy_mse(z, target, GY_LOSS_MEAN), (double)classes); /* (4) */
            *loss = gy_is_none(*loss) ? l : gy_add(*loss, l);
        }
        gy_pop(m);
        mean = gy_is_none(mean) ? z : gy_add(mean, z);
    }
    return gy_scale(mean, 1.0 / (double)c->members);
}
/* z lies between 0 and 1; times this it spreads a softmax as probabilities would be. */
static const double SHARPNESS = 8;

/* Voxels and categories: of the data, else of weights already there, else of the configuration. */
static void sizes(const gy_build *b, int64_t *voxels, int64_t *classes) {
    const haxby_cfg *c = b->cfg;
    *voxels = c->voxels, *classes = c->categories;
    if (b->job) {
        const gy_fmri *f = &((const haxby_data *)b->job->data)->f;
        *voxels = f->voxels, *classes = f->classes;
        return;
    }
    const gy_state *first = gy_state_find(b->m->store, "all.net0.linear.weight");
    if (first && first->value.shape.rank == 2)
        *classes = first->value.shape.dim[0], *voxels = first->value.shape.dim[1];
}

/* Which voxels touch is part of the trained model: a buffer [V, 6], saved with it. */
static gy_t neighbours(gy_mod *m, const gy_job *job, int64_t voxels) {
    gy_state *st =
        gy_state_get(m->store, "neighbours", GY_BUFFER, GY_I64, GY_S(voxels, 6), (gy_init){GY_INIT_ZEROS}, 0);
    if (!st) return gy_poison(m->g, GY_HERE, "%s", gy_error(gy_graph_ctx(m->g)));
    const haxby_data *d = job ? job->data : NULL;
    if (d && st->value.data) memcpy(st->value.data, d->neighbour, (size_t)(6 * voxels) * sizeof(int64_t));
    return gy_read(m->g, st);
}

static void build(gy_build *b) {
    const haxby_cfg *c = b->cfg;
    int64_t voxels, classes;
    sizes(b, &voxels, &classes);
    gy_t x = gy_input(b->m->g, "voxels", GY_F32, GY_S(b->batch, voxels));
    gy_t s = smooth(x, neighbours(b->m, b->job, voxels), c->smooth);
    gy_t z = gy_scale(fold_answer(b->m, c, -1, s, classes, GY_NONE, NULL), SHARPNESS);
    gy_output(z, "logits");
    gy_output(gy_softmax(z, -1), "probabilities");
}

/* Runs of the open data, or the twelve of the paper's set where only sizes are asked for. */
static int64_t runs_of(const gy_build *b) {
    return b->job ? ((const haxby_data *)b->job->data)->f.runs : 12;
}

static bool is_linear(const gy_state *p) {
    return strstr(p->name, ".linear.weight") != NULL;
}

static void objective(gy_build *b) {
    const haxby_cfg *c = b->cfg;
    int64_t voxels, classes, folds = runs_of(b) + 1, n = c->batch;
    sizes(b, &voxels, &classes);
    gy_t x = gy_input(b->m->g, "voxels", GY_F32, GY_S(folds, n, voxels));
    gy_t y = gy_input(b->m->g, "label", GY_I64, GY_S(folds, n));
    gy_t near = neighbours(b->m, b->job, voxels), sum = GY_NONE;
    for (int64_t f = 0; f < folds; f++) {
        gy_t xf = gy_reshape(gy_slice(x, 0, f, f + 1), n, voxels), yf = gy_reshape(gy_slice(y, 0, f, f + 1), n);
        gy_t target = gy_one_hot(yf, classes, GY_F32); /* [B, K] */
        (void)fold_answer(b->m, c, f < folds - 1 ? f : -1, smooth(xf, near, c->smooth), classes, target, &sum);
    }
    gy_output(gy_scale(sum, 1.0 / (double)(folds * c->members)), "loss");
    /* Only the linear path is penalised: the correction has dropout, and a penalty that suits the one kills the other.
     * The penalty goes through the gradient (not AdamW's): then the linear path alone would end as ridge regression. */
    gy_optim_adam(b->m->g, b->m->store, sum, .weight_decay = c->weight_decay, .decays = is_linear);
}

/* ---- data ---------------------------------------------------------------------------------------- */

static void close_data(gy_job *j) {
    haxby_data *d = j->data;
    if (!d) return;
    gy_runcv_result_free(&d->result);
    gy_free(j->ctx, d->neighbour);
    gy_fmri_free(&d->f);
    gy_free(j->ctx, d);
    j->data = NULL;
}

static gy_status open_data(gy_job *j) {
    const haxby_cfg *c = j->cfg;
    haxby_data *d = gy_calloc(j->ctx, 1, sizeof *d);
    if (!d) return GY_ERR_NOMEM;
    gy_status s =
        j->data_path
            ? gy_fmri_open(j->ctx, j->data_path, (gy_fmri_args){.delay = c->delay, .classes = c->classes}, &d->f)
            : gy_synthfmri(j->ctx, j->seed, (gy_synthfmri_args){.signal = c->signal, .offset = 3}, &d->f);
    if (s == GY_OK) s = gy_fmri_neighbours(&d->f, &d->neighbour);
    if (s != GY_OK) {
        gy_fmri_free(&d->f);
        gy_free(j->ctx, d);
        return s;
    }
    if (gy_ablates(j->ablate, "shuffle")) gy_fmri_deal_labels(&d->f, j->seed);
    if (gy_ablates(j->ablate, "pattern")) gy_fmri_level_only(&d->f);
    j->data = d;
    j->batch = c->batch;
    if (!j->steps) j->steps = c->steps;
    j->data_hash = d->f.hash;
    snprintf(j->data_label, sizeof j->data_label, "%s", d->f.name);
    return GY_OK;
}

/* Volumes drawn from all runs but the fold's own (from all for the last), a function of seed and step. */
static gy_status batch(gy_job *j, gy_plan *p, int64_t phase, int64_t step) {
    const gy_fmri *f = &((haxby_data *)j->data)->f;
    float *x = gy_plan_input(p, "voxels");
    int64_t *y = gy_plan_input(p, "label");
    (void)phase;
    for (int64_t fold = 0; fold <= f->runs; fold++) {
        gy_rng rng;
        gy_rng_init(&rng, gy_rng_key(j->seed, (uint64_t)fold, (uint64_t)step), "haxby.batch");
        for (int64_t i = 0; i < j->batch; i++) {
            int64_t row, at = fold * j->batch + i;
            do row = gy_rng_below(&rng, f->volumes);
            while (f->run[row] == fold);
            memcpy(x + at * f->voxels, f->x + row * f->voxels, (size_t)f->voxels * sizeof *x);
            y[at] = f->label[row];
        }
    }
    return GY_OK;
}

static double rate(const gy_job *j, int64_t phase, int64_t step) {
    gy_schedule s = {
        .kind = GY_SCHEDULE_COSINE, .lr = ((const haxby_cfg *)j->cfg)->lr, .total = j->steps, .warmup = j->steps / 20};
    (void)phase;
    return gy_schedule_lr(&s, step);
}

/* ---- scores of held-out volumes ------------------------------------------------------------------ */

gy_status gy_haxby_scores(gy_job *j, double *score) {
    const gy_fmri *f = &((haxby_data *)j->data)->f;
    const haxby_cfg *c = j->cfg;
    int64_t most = 0, row = 0;
    for (int64_t i = 0, n = 0; i < f->volumes; i++) {
        n = i > 0 && f->run[i] == f->run[i - 1] ? n + 1 : 1;
        if (n > most) most = n;
    }
    gy_graph *g = gy_graph_new(j->ctx);
    if (!g) return GY_ERR_NOMEM;
    gy_mod m = gy_mod_make(g, j->store, j->seed, false);
    gy_t x = gy_input(g, "voxels", GY_F32, GY_S(f->runs, most, f->voxels)), out[GY_FMRI_RUNS];
    gy_t near = neighbours(&m, j, f->voxels);
    for (int64_t r = 0; r < f->runs; r++) {
        gy_t xr = gy_reshape(gy_slice(x, 0, r, r + 1), most, f->voxels);
        gy_t z = fold_answer(&m, c, r, smooth(xr, near, c->smooth), f->classes, GY_NONE, NULL);
        out[r] = gy_log_softmax(gy_scale(z, SHARPNESS), -1);
    }
    gy_output(gy_stack(0, f->runs, out), "score");
    gy_plan *p = gy_compile(g, (gy_plan_args){0});
    gy_status s = p ? GY_OK : gy_error_status(j->ctx);
    for (int64_t i = 0, first = 0; p && i < f->volumes; i++) {
        if (f->run[i] != f->run[first]) first = i;
        row = f->run[i] * most + i - first;
        memcpy((float *)gy_plan_input(p, "voxels") + row * f->voxels, f->x + i * f->voxels,
               (size_t)f->voxels * sizeof(float));
    }
    if (s == GY_OK) s = gy_plan_run(p);
    gy_tensor t = s == GY_OK ? gy_plan_output(p, "score") : (gy_tensor){0};
    for (int64_t i = 0, first = 0; s == GY_OK && i < f->volumes; i++) {
        if (f->run[i] != f->run[first]) first = i;
        row = f->run[i] * most + i - first;
        for (int64_t k = 0; k < f->classes; k++)
            score[i * f->classes + k] = (double)((const float *)t.data)[row * f->classes + k];
    }
    gy_plan_free(p);
    gy_graph_free(g);
    return s;
}

/* ---- the definition ------------------------------------------------------------------------------ */

static const char *const equations[] = {
    "(1) x ← (x − line) / sd, per run and voxel, from the run's own volumes",
    "(2) s_v = (x_v + a Σ x_u) / (1 + a n_v), u the n_v neighbours of voxel v",
    "(3) z = W₀ s + b₀ + W₂ drop(GELU(W₁ drop(s) + b₁)) + b₂, averaged over the networks of a fold",
    "(4) L = Σ_f mean_i |z_f(s_i) − onehot(y_i)|², i from all runs but f",
    "(5) score = K_test,train (K_train,train + λI)⁻¹ Y, K = X Xᵀ centred on the training runs",
    "(6) pattern = cov(X) w / var(X w)",
    NULL};

const gy_model_def gy_model_haxby = {
    .slug = "haxby",
    .family = "decoding",
    .title = "Categories of objects from the ventral temporal cortex",
    .cite =
        "Haxby, Gobbini, Furey, Ishai, Schouten, Pietrini. Distributed and overlapping representations of faces and "
        "objects in ventral temporal cortex. Science 293:2425-2430",
    .job = "From the voxels of one brain volume, the category of the object that was being looked at: networks and a "
           "linear classifier, each tested on a run of the experiment that it never saw.",
    .year = 2001,
    .equations = equations,
    .config_size = sizeof(haxby_cfg),
    .options = options,
    .configs = configs,
    .ablations = ablations,
    .check = check,
    .build = build,
    .objective = objective,
    .open = open_data,
    .close = close_data,
    .batch = batch,
    .lr = rate,
    .evaluate = gy_haxby_evaluate,
    .panels = gy_haxby_panels,
    .artefacts = gy_haxby_artefacts,
    .claim = gy_haxby_claim,
};
