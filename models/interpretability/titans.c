/* Titans: a sequence model whose long-term memory learns while it reads.
 *
 * Behrouz, Zhong, Mirrokni: "Titans: Learning to Memorize at Test Time", 2024, arXiv 2501.00663.
 *
 * Attention is a short-term memory: exact, but only as long as its window. Beside it stands a small network M that is
 * trained by gradient descent on the sequence itself, at test time too: what surprises it is written into its weights,
 * and gates made from each token decide how strongly (theta), how long a surprise lasts (eta) and how fast all is
 * forgotten (alpha). models/blocks/memory.h has the equations of the memory; this file builds the paper's three ways
 * to join the two (section 4): memory as context (MAC), as a gate (MAG), as a layer (MAL), and the plain sum that the
 * miniature uses.
 *
 * The claim: pairs "key value" are told, nonsense follows, longer than the attention window, then the keys are asked
 * for in another order. Values are drawn anew for every sequence: no trained weight can know them. With the memory the
 * answers are right, at a gap never trained on too; the same network with attention alone guesses. Ablation `conv`
 * takes the short convolution away, so that a token cannot see the key before its value; `theta` sets all learning
 * steps to zero; `memory` drops the branch.
 *
 * Inferred, for no official code exists: sizes of the 340M model beyond width 1024, 24 layers and 16 heads; sigmoid
 * gates per head; MAC's read-out h_j is open to the queries t >= j only, since h_j has seen token j; rotary positions
 * in `text` and `paper`, none in `tiny`; learning steps below 1 / chunk, since a chunk's gradients are all taken at its
 * first weights and keys resemble each other at the start: 0.1 with chunks of 64 overshoots to infinity. */
#include "../blocks/memory.h"
#include "../blocks/options.h"
#include "titans.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- configuration ---- */

static const gy_option options[] = {
    GY_LM_TRAIN_OPTIONS(config),
    INT(layers, 1, 1024, "blocks"),
    INT(heads, 1, 1024, "heads of attention and of the memory"),
    INT(width, 1, 1 << 20, "of the residual stream"),
    INT(inner, 1, 1 << 22, "neurons of an MLP"),
    INT(vocabulary, 2, 1 << 24, "tokens that there are; 256: bytes"),
    INT(window, 1, 1 << 24, "tokens that attention sees; mac: the segment"),
    INT(persistent, 0, 4096, "learned tokens that attention always sees"),
    INT(depth, 1, GY_MEMORY_DEPTH, "layers of the memory network; 1: a matrix"),
    INT(expand, 1, 64, "its hidden width, in head widths"),
    {"memory_chunk", "tokens whose gradients are taken at the same weights", GY_OPT_INT, offsetof(config, chunk), 1,
     1 << 20},
    INT(conv, 1, 64, "width of the causal convolution over queries, keys and values"),
    INT(rope, 0, 1, "rotary positions in attention"),
    {"rate", "largest learning step theta of the memory", GY_OPT_REAL, offsetof(config, rate), 0, 10},
    INT(pairs, 0, 16, "recall task: pairs to remember; 0: train on text"),
    INT(keys, 2, 16, "recall task: keys, and as many values"),
    INT(gap, 0, 1 << 20, "recall task: tokens of nonsense between telling and asking"),
    INT(long_gap, 0, 1 << 20, "recall task: the gap of evaluation that training never saw"),
    {"join", "mac, mag, mal, or sum: how memory and attention meet", GY_OPT_TEXT, offsetof(config, join), 0, 0},
    {NULL},
};

static const config tiny = {.train = {48, 32, 900, 4e-3, 0.0, 0.01, 4096},
                            .layers = 1,
                            .heads = 1,
                            .width = 32,
                            .inner = 64,
                            .vocabulary = 256,
                            .window = 8,
                            .depth = 1,
                            .expand = 1,
                            .chunk = 12,
                            .conv = 4,
                            .rate = 1,
                            .pairs = 6,
                            .keys = 16,
                            .gap = 24,
                            .long_gap = 60,
                            .join = "sum"};
static const config text = {.train = {128, 8, 600, 2e-3, 0.05, 0.1, 4096},
                            .layers = 2,
                            .heads = 4,
                            .width = 64,
                            .inner = 128,
                            .vocabulary = 256,
                            .window = 32,
                            .persistent = 4,
                            .depth = 2,
                            .expand = 2,
                            .chunk = 16,
                            .conv = 4,
                            .rope = 1,
                            .rate = 0.03,
                            .keys = 16,
                            .join = "mac"};
/* 340M: 24 blocks of width 1024, 16 heads, two-layer memories four heads wide. The MLP's width is chosen for the count:
 * blocks of 12,140,592, and 32,768,000 for the vocabulary's matrix, are 324.1 million with one such matrix for input
 * and output and 356.9 million with two, as here; the paper does not say which it counts. */
static const config paper = {.train = {2048, 1, 30000, 4e-4, 0.02, 0.1, 1024},
                             .layers = 24,
                             .heads = 16,
                             .width = 1024,
                             .inner = 1024,
                             .vocabulary = 32000,
                             .window = 512,
                             .persistent = 16,
                             .depth = 2,
                             .expand = 4,
                             .chunk = 64,
                             .conv = 4,
                             .rope = 1,
                             .rate = 0.01,
                             .keys = 16,
                             .join = "mag"};
static const gy_config configs[] = {
    {"tiny", "one block that must remember pairs beyond its window: trains in seconds", &tiny},
    {"text", "two MAC blocks on bytes", &text},
    {"paper", "the 340M model: MAG, 24 blocks of width 1024", &paper},
    {NULL}};
static const char *const ablations[] = {"memory - attention alone",
                                        "conv - no short convolution: keys and values are never seen together",
                                        "theta - learning steps of zero: nothing is written", NULL};

static gy_status check(gy_ctx *ctx, const void *cfg) {
    const config *c = cfg;
    static const char *const joins[] = {"mac", "mag", "mal", "sum", NULL};
    bool known = false;
    for (int i = 0; joins[i]; i++) known |= !strcmp(c->join, joins[i]);
    if (!known) {
        const char *near = gy_nearest(c->join, joins);
        return gy_fail(ctx, GY_ERR_USAGE, "titans: join=%s: expected mac, mag, mal or sum%s%s", c->join,
                       near ? "; did you mean " : "", near ? near : "");
    }
    if (c->width % c->heads || (c->rope && c->width / c->heads % 2))
        return gy_fail(ctx, GY_ERR_USAGE, "titans: width=%" PRId64 " cannot be cut into heads=%" PRId64 "%s", c->width,
                       c->heads, c->rope ? " of even width" : "");
    if (c->pairs && (c->pairs > c->keys || c->train.tokens != 4 * c->pairs + c->gap || c->vocabulary < 128))
        return gy_fail(ctx, GY_ERR_USAGE,
                       "titans: the recall task needs pairs <= keys, tokens = 4 pairs + gap = %" PRId64
                       " and vocabulary >= 128",
                       4 * c->pairs + c->gap);
    return GY_OK;
}

/* ---- the model ---- */

static gy_t linear(gy_mod *m, const char *name, gy_t x, int64_t out) {
    return gy_nn_linear(m, name, x, out, .no_bias = true, .init = {GY_INIT_NORMAL, 0.02});
}

/* q, k or v of the memory: x W, a causal convolution over `conv` tokens, SiLU (section 4.4): [B, H, T, D] */
static gy_t projected(gy_mod *m, const scene *s, const char *name, gy_t x) {
    const config *c = s->c;
    int64_t b = gy_dim(x, 0), t = gy_dim(x, 1), d = c->width;
    char conv[32];
    gy_t y = gy_nn_linear(m, name, x, d, .no_bias = true);
    snprintf(conv, sizeof conv, "%s_conv", name);
    if (!gy_ablates(s->ablate, "conv"))
        y = gy_nn_conv(m, conv, gy_pad(y, 1, c->conv - 1, 0), d, .kernel = GY_S(c->conv), .groups = d, .no_bias = true);
    return gy_permute(gy_reshape(gy_silu(y), b, t, c->heads, d / c->heads), 0, 2, 1, 3);
}

static gy_t gate(gy_mod *m, const char *name, gy_t x, int64_t heads, double bias) {
    gy_t y = gy_nn_linear(m, name, x, heads, .bias_init = {GY_INIT_CONSTANT, bias}); /* [B, T, H] */
    return gy_permute(y, 0, 2, 1);
}

static gy_t merged(gy_t y) { /* [B, H, T, D] -> [B, T, H D] */
    return gy_flatten(gy_permute(y, 0, 2, 1, 3), 2, 3);
}

/* M_0: learned by the outer training */
static gy_memory beginning(gy_mod *m, const config *c) {
    gy_memory mem = {.depth = c->depth};
    int64_t d = c->width / c->heads, hidden = d * c->expand;
    for (int64_t l = 0; l < c->depth; l++) {
        char name[32];
        int64_t in = l ? hidden : d, out = l + 1 < c->depth ? hidden : d;
        snprintf(name, sizeof name, "start.%" PRId64, l);
        /* a matrix starts empty; a deep one must not, or no gradient passes */
        mem.weight[l] = c->depth == 1
                            ? gy_param(m, name, GY_S(c->heads, out, in), GY_INIT_ZEROS)
                            : gy_param(m, name, GY_S(c->heads, out, in), GY_INIT_NORMAL, 1 / sqrt((double)in));
        mem.momentum[l] = GY_NONE;
    }
    return mem;
}

/* Reads x [B, T, d] into the memory; y_t = M_t(q_t) [B, T, d]. */
static gy_t memorize(gy_mod *m, const scene *s, gy_memory *mem, gy_t x) {
    const config *c = s->c;
    gy_t q = gy_l2_normalize(projected(m, s, "q", x)), k = gy_l2_normalize(projected(m, s, "k", x));
    gy_t v = projected(m, s, "v", x);
    gy_memory_gates g = {gate(m, "theta", x, c->heads, 0), gate(m, "eta", x, c->heads, -2),
                         gate(m, "alpha", x, c->heads, -4), c->rate};
    g.theta = gy_tap(m, "theta", g.theta);
    if (gy_ablates(s->ablate, "theta")) g.theta = gy_add_scalar(gy_scale(g.theta, 0), -1e4);
    return merged(gy_memorize(mem, q, k, v, &g, c->chunk));
}

/* Which keys a query may see, u8 [1, 1, T, prefix + read + T]: all of the prefix; of the read-out and of the tokens,
 * those up to its own, and of the tokens the last `window`. */
static gy_t visible(gy_mod *m, int64_t prefix, bool read, int64_t t, int64_t window) {
    gy_ctx *ctx = gy_graph_ctx(m->g);
    int64_t n = prefix + (read ? 2 : 1) * t;
    gy_tensor mask;
    if (gy_graph_status(m->g) != GY_OK) return GY_NONE;
    if (gy_tensor_new(ctx, &mask, GY_U8, GY_S(1, 1, t, n)) != GY_OK)
        return gy_poison(m->g, GY_HERE, "%s", gy_error(ctx));
    uint8_t *p = mask.data;
    for (int64_t i = 0; i < t; i++)
        for (int64_t j = 0; j < n; j++) {
            int64_t from = j - prefix;
            bool token = from >= 0 && (!read || from >= t);
            if (from >= t) from -= t;
            p[i * n + j] = j < prefix || (from <= i && (!token || i - from < window));
        }
    gy_t y = gy_const(m->g, &mask);
    gy_tensor_free(ctx, &mask);
    return y;
}

static gy_t heads(const config *c, gy_t x) {
    return gy_reshape(x, gy_dim(x, 0), gy_dim(x, 1), c->heads, c->width / c->heads);
}

/* Sliding-window attention over [persistent | read | x] (eq. (20), (21)); read [B, T, d] or GY_NONE. */
static gy_t attend(gy_mod *m, const scene *s, gy_t x, gy_t read, int64_t at) {
    const config *c = s->c;
    int64_t b = gy_dim(x, 0), t = gy_dim(x, 1), n = 0;
    gy_t parts[3], keys = x;
    gy_push(m, "attn");
    if (c->persistent) {
        gy_t p = gy_param(m, "persistent", GY_S(c->persistent, c->width), GY_INIT_NORMAL, 0.02);
        parts[n++] = gy_broadcast_to(p, GY_S(b, c->persistent, c->width));
    }
    if (!gy_is_none(read)) parts[n++] = read;
    gy_t q = heads(c, linear(m, "q", x, c->width)), v, k = heads(c, linear(m, "k", x, c->width));
    if (c->rope) {
        gy_rope r = {gy_slice(s->rope.cos, 0, at, at + t), gy_slice(s->rope.sin, 0, at, at + t)};
        q = gy_rope_turn(r, q);
        k = gy_rope_turn(r, k);
    }
    if (n) { /* what stands before the tokens has no place, and is not turned */
        gy_t before = n == 2 ? gy_concat(1, 2, parts) : parts[0];
        k = gy_concat2(1, heads(c, linear(m, "k", before, c->width)), k);
        keys = gy_concat2(1, before, x);
    }
    v = heads(c, linear(m, "v", keys, c->width));
    gy_t mask = visible(m, c->persistent, !gy_is_none(read), t, c->window);
    gy_t y = gy_flatten(gy_attention(.q = q, .k = k, .v = v, .mask = mask), 2, 3);
    y = linear(m, "o", y, c->width);
    gy_pop(m);
    return y;
}

/* Memory as context, section 4.1: segment by segment, read, attend, write, gate. */
static gy_t mac(gy_mod *m, const scene *s, gy_t x) {
    const config *c = s->c;
    int64_t t = gy_dim(x, 1), n = 0;
    gy_t *part = gy_malloc(gy_graph_ctx(m->g), (size_t)(t / c->window + 1) * sizeof *part);
    if (!part) return gy_poison(m->g, GY_HERE, "%s", gy_error(gy_graph_ctx(m->g)));
    gy_push(m, "memory");
    gy_memory mem = beginning(m, c);
    gy_pop(m);
    for (int64_t at = 0; at < t; at += c->window) {
        int64_t end = at + c->window < t ? at + c->window : t;
        gy_t seg = gy_slice(x, 1, at, end);
        gy_push(m, "memory");
        gy_t q = gy_l2_normalize(projected(m, s, "q", seg));
        gy_t h = merged(gy_memory_read(&mem, q)); /* eq. (21): what was learned before this segment */
        gy_pop(m);
        gy_t y = attend(m, s, seg, h, at); /* eq. (22), (23) */
        gy_push(m, "memory");
        gy_t z = memorize(m, s, &mem, y); /* eq. (24), (25) */
        part[n++] = gy_mul(y, gy_sigmoid(gy_nn_rmsnorm(m, "norm", z)));
        gy_pop(m);
    }
    gy_t y = n == 1 ? part[0] : gy_concat(1, n, part);
    gy_free(gy_graph_ctx(m->g), part);
    return y;
}

static gy_t remembered(gy_mod *m, const scene *s, gy_t x) {
    gy_push(m, "memory");
    gy_memory mem = beginning(m, s->c);
    gy_t y = linear(m, "o", memorize(m, s, &mem, x), s->c->width);
    gy_pop(m);
    return y;
}

/* Attention and memory of one block. */
static gy_t mixer(gy_mod *m, const scene *s, gy_t x) {
    const char *join = s->c->join;
    if (gy_ablates(s->ablate, "memory")) return attend(m, s, x, GY_NONE, 0);
    if (!strcmp(join, "mac")) return mac(m, s, x);
    if (!strcmp(join, "mal")) return attend(m, s, remembered(m, s, x), GY_NONE, 0); /* eq. (29) to (31) */
    gy_t y = attend(m, s, x, GY_NONE, 0), z = remembered(m, s, x);
    if (!strcmp(join, "sum")) return gy_add(y, z);
    return gy_mul(gy_nn_rmsnorm(m, "attn_norm", y), gy_silu(gy_nn_rmsnorm(m, "memory_norm", z))); /* eq. (26) to (28) */
}

/* tokens -> states [B, T, d] after the last norm; cfg is a scene without rope */
static gy_t states_of(gy_mod *m, const void *cfg, const gy_lm_in *in) {
    scene s = *(const scene *)cfg;
    const config *c = s.c;
    if (c->rope) s.rope = gy_rope_tables(m, &(gy_rope_args){.theta = 1e4}, in, c->width / c->heads);
    gy_t x = gy_nn_embedding(m, "embed", in->ids, c->vocabulary, c->width, GY_INIT_NORMAL, 0.02); /* [B, T, d] */
    for (int64_t l = 0; l < c->layers; l++) {
        gy_push(m, "layers.%d", (int)l);
        x = gy_add(x, mixer(m, &s, gy_nn_rmsnorm(m, "norm1", x)));
        gy_t h = gy_nn_rmsnorm(m, "norm2", x);
        h = gy_mul(gy_silu(linear(m, "mlp.gate", h, c->inner)), linear(m, "mlp.up", h, c->inner));
        x = gy_add(x, linear(m, "mlp.down", h, c->width));
        gy_pop(m);
    }
    return gy_nn_rmsnorm(m, "norm", x);
}

static gy_t logits_of(gy_mod *m, const void *cfg, gy_t states) {
    const scene *s = cfg;
    return gy_tap(m, "logits", linear(m, "head", states, s->c->vocabulary));
}

gy_lm gy_titans_lm(const scene *s) {
    return (gy_lm){s, states_of, logits_of, s->c->layers, s->c->heads, s->c->width / s->c->heads, s->c->vocabulary, 0};
}
static void build(gy_build *b) {
    scene s = {.c = b->cfg, .ablate = b->ablate};
    gy_lm l = gy_titans_lm(&s);
    gy_lm_build(b, &l);
}
static void objective(gy_build *b) {
    scene s = {.c = b->cfg, .ablate = b->ablate};
    gy_lm l = gy_titans_lm(&s);
    gy_lm_objective(b, &l);
}

static const char *const equations[] = {"eq. (12): l(M; x_t) = |M(k_t) - v_t|^2",
                                        "eq. (14): S_t = eta_t S_{t-1} - theta_t grad l(M; x_t)",
                                        "eq. (13): M_t = (1 - alpha_t) M_{t-1} + S_t",
                                        "eq. (15): y_t = M_t(q_t)",
                                        "eq. (26): MAG: o = attention([persistent | x]) (x) M(x)",
                                        NULL};

const gy_model_def gy_model_titans = {
    .slug = "titans",
    .family = "interpretability",
    .title = "Titans: learning to memorize at test time",
    .cite = "Behrouz, Zhong, Mirrokni: Titans: Learning to Memorize at Test Time, 2024, arXiv 2501.00663",
    .job = "token ids in; the probabilities of each next token out, with a memory that learns while reading",
    .year = 2024,
    .equations = equations,
    .config_size = sizeof(config),
    .options = options,
    .configs = configs,
    .ablations = ablations,
    .check = check,
    .build = build,
    .objective = objective,
    .open = gy_titans_open,
    .close = gy_lm_close,
    .batch = gy_titans_batch,
    .lr = gy_lm_lr,
    .evaluate = gy_titans_evaluate,
    .panels = gy_titans_panels,
    .claim = gy_titans_claim,
};
