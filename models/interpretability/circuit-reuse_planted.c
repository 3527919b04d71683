/* A network planted by hand, whose circuit is known: three layers of three heads, no norms, no MLPs. The residual
 * stream is cut into orthogonal blocks
 *
 *     tok (22) | pos (10) | dup (22) | inh (22) | out (22) | one (1) | junk (16)
 *
 * and four heads do what the paper's families do:
 *
 *     0.0 duplicate token   attends to an earlier copy of its own token, and writes it to dup
 *     1.0 inhibition        END attends to a token that has something in dup, and writes that token to inh
 *     2.0 name mover        END attends to names except those in inh, and writes them to out
 *     2.1 negative mover    the same, times -1/2
 *
 * BOS is where a head looks that has nothing to look for. The other five heads are noise, written to junk. */
#include "circuit-reuse.h"

#include "../blocks/attend.h"

#include <math.h>
#include <string.h>

enum { V = 22, P = 10, TOK = 0, POS = 22, DUP = 32, INH = 54, OUT = 76, ONE = 98, JUNK = 99, JUNKS = 16 };
enum { NAMES = 12, BOS = 20, END = 21, SINK = 32, EXTRA = 33 }; /* the last two: features of a head */
enum { D = GY_PLANTED_HEAD, W = GY_PLANTED_WIDTH };
static const double SHARP = 20; /* how sure a head is: e^-10 leaks to what it does not mean */

static void sink(gy_planted_head *h, double logit) {
    h->q[ONE][SINK] = logit;
    h->k[TOK + BOS][SINK] = 1;
}
static void writes_names(gy_planted_head *h, int64_t block, double gain) {
    for (int i = 0; i < NAMES; i++) {
        h->v[TOK + i][i] = 1;
        h->o[i][block + i] = gain;
    }
}

static void duplicate(gy_planted_head *h) {
    for (int i = 0; i < V; i++) {
        h->q[TOK + i][i] = SHARP;
        h->k[TOK + i][i] = 1;
    }
    for (int i = 0; i < P; i++) { /* never itself */
        h->q[POS + i][V + i] = 2 * SHARP;
        h->k[POS + i][V + i] = -1;
    }
    sink(h, SHARP / 2);
    writes_names(h, DUP, 1);
}

static void inhibition(gy_planted_head *h) {
    h->q[TOK + END][EXTRA] = SHARP;
    for (int i = 0; i < V; i++) h->k[DUP + i][EXTRA] = 1;
    sink(h, SHARP / 2);
    writes_names(h, INH, 1);
}

static void mover(gy_planted_head *h, double gain) {
    gy_rng r;
    gy_rng_init(&r, 0, "mover"); /* both movers like the same names */
    h->q[TOK + END][EXTRA] = SHARP;
    for (int i = 0; i < NAMES; i++) h->k[TOK + i][EXTRA] = 1 + 0.5 * gy_rng_normal(&r) / SHARP;
    for (int i = 0; i < V; i++) {
        h->q[INH + i][i] = -2 * SHARP;
        h->k[TOK + i][i] = 1;
    }
    sink(h, SHARP / 4);
    writes_names(h, OUT, gain);
}

static void noise(gy_planted_head *h, int64_t layer, int64_t head) {
    gy_rng r;
    gy_rng_init(&r, (uint64_t)(layer * GY_PLANTED_HEADS + head), "noise");
    for (int i = 0; i < W; i++)
        for (int d = 0; d < D; d++) {
            h->q[i][d] = gy_rng_normal(&r);
            h->k[i][d] = 0.3 * gy_rng_normal(&r);
            h->v[i][d] = gy_rng_normal(&r);
        }
    for (int d = 0; d < D; d++)
        for (int i = 0; i < JUNKS; i++) h->o[d][JUNK + i] = 0.1 * gy_rng_normal(&r);
}

void gy_planted_weights(int64_t layer, int64_t head, gy_planted_head *h) {
    memset(h, 0, sizeof *h);
    if (layer == 0 && head == 0)
        duplicate(h);
    else if (layer == 1 && head == 0)
        inhibition(h);
    else if (layer == 2 && head < 2)
        mover(h, head ? -0.5 : 1);
    else
        noise(h, layer, head);
    for (int i = 0; i < W; i++)
        for (int d = 0; d < D; d++) h->q[i][d] *= sqrt((double)D); /* attention divides by it */
}

void gy_planted_embedding(int64_t token, int64_t position, double *x) {
    memset(x, 0, W * sizeof *x);
    if (token >= 0 && token < V) x[TOK + token] = 1;
    if (position >= 0 && position < P) x[POS + position] = 1;
    x[ONE] = 1;
}

int64_t gy_planted_out(int64_t name) {
    return OUT + name;
}

/* ---- as a graph ---- */

typedef double (*element_fn)(const void *of, int64_t row, int64_t column);

static gy_t matrix(gy_mod *m, int64_t rows, int64_t columns, element_fn element, const void *of) {
    gy_ctx *ctx = gy_graph_ctx(m->g);
    gy_tensor t;
    if (gy_graph_status(m->g) != GY_OK) return GY_NONE;
    if (gy_tensor_new(ctx, &t, m->dtype, GY_S(rows, columns)) != GY_OK)
        return gy_poison(m->g, GY_HERE, "%s", gy_error(ctx));
    for (int64_t i = 0; i < rows * columns; i++) gy_tensor_set(&t, i, element(of, i / columns, i % columns));
    gy_t y = gy_const(m->g, &t);
    gy_tensor_free(ctx, &t);
    return y;
}

static double of_token(const void *of, int64_t row, int64_t column) {
    double x[W];
    (void)of;
    gy_planted_embedding(row, -1, x);
    return x[column];
}
static double of_position(const void *of, int64_t row, int64_t column) {
    (void)of;
    return column == POS + row;
}
static double of_logit(const void *of, int64_t row, int64_t column) {
    (void)of;
    return column < NAMES && row == OUT + column;
}
/* columns: heads side by side */
static double of_q(const void *of, int64_t row, int64_t column) {
    return ((const gy_planted_head *)of)[column / D].q[row][column % D];
}
static double of_k(const void *of, int64_t row, int64_t column) {
    return ((const gy_planted_head *)of)[column / D].k[row][column % D];
}
static double of_v(const void *of, int64_t row, int64_t column) {
    return ((const gy_planted_head *)of)[column / D].v[row][column % D];
}
static double of_o(const void *of, int64_t row, int64_t column) {
    return ((const gy_planted_head *)of)[row / D].o[row % D][column];
}

gy_t gy_planted(gy_mod *m, gy_t ids) {
    enum { H = GY_PLANTED_HEADS };
    gy_ctx *ctx = gy_graph_ctx(m->g);
    int64_t b = gy_dim(ids, 0), t = gy_dim(ids, 1);
    gy_planted_head *h = gy_calloc(ctx, H, sizeof *h);
    if (!h) return gy_poison(m->g, GY_HERE, "%s", gy_error(ctx));
    gy_t x = gy_add(gy_embedding(matrix(m, GY_CIRCUIT_VOCABULARY, W, of_token, NULL), ids), /* [B, T, 115] */
                    gy_slice(matrix(m, P, W, of_position, NULL), 0, 0, t < P ? t : P));
    for (int64_t l = 0; l < GY_PLANTED_LAYERS; l++) {
        for (int64_t i = 0; i < H; i++) gy_planted_weights(l, i, &h[i]);
        x = gy_point(m, "resid_pre", l, x);
        gy_t q = gy_reshape(gy_matmul(x, matrix(m, W, H * D, of_q, h)), b, t, H, D); /* [B, T, H, 34] */
        gy_t k = gy_reshape(gy_matmul(x, matrix(m, W, H * D, of_k, h)), b, t, H, D);
        gy_t v = gy_reshape(gy_matmul(x, matrix(m, W, H * D, of_v, h)), b, t, H, D);
        gy_t z = gy_attend(m, l, q, k, v, .causal = true);
        x = gy_add(x, gy_attend_out(m, l, z, matrix(m, H * D, W, of_o, h), false, GY_NONE));
        x = gy_point(m, "resid_post", l, x);
    }
    gy_free(ctx, h);
    return gy_tap(m, "logits", gy_matmul(x, matrix(m, W, GY_CIRCUIT_VOCABULARY, of_logit, NULL)));
}
