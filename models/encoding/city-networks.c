/* City-Networks: does a graph network need to look far, and does it?
 *
 * Liang, Borde, Sripathmanathan, Bronstein, Dong: "Towards Quantifying Long-Range Interactions in Graph Machine
 * Learning: a Large Graph Dataset and a Measurement", 2025, arXiv:2503.09008.
 *
 * Most graph benchmarks are solved within two or three hops. Here nodes are crossings of a city and the label is how
 * far one must drive to leave the neighbourhood of 16 hops: it cannot be known from nearby. The paper measures, by the
 * Jacobian, how much the features of nodes h hops away matter to a trained network. The claims: on road networks
 * accuracy grows with depth while on small-world graphs it falls, and influence decays far more slowly with distance.
 *
 *   (1)  label of v: the longest of the shortest ways from v inside the subgraph within k hops of it, in classes of
 *        equal size
 *   (2)  SAGE: h_v <- relu(W_r h_v + W_l mean_nb h_u + b)
 *        beside it GCN, GAT, ChebNet (K = 2), SGFormer (blocks/gnn.h)
 *   (3)  I(v, u) = sum_ij |d out_vi / d x_uj|
 *   (4)  T_h(v) = sum of I(v, u) over the u exactly h hops from v
 *   (5)  R = mean_v [ sum_h h T_h(v) / sum_h T_h(v) ]: the influence-weighted receptive field
 *
 * The architectures are those of the official code: torch_geometric's GraphSAGE, GCN and GAT (hidden layers of one
 * width, relu and dropout between), ChebNet with SiLU and linear layers before and after, SGFormer. The miniature puts
 * such linear layers around SAGE too (`project`), so that every depth sees the same width.
 *
 * Inferred: the town (data/ has no streets), its lengths, which follow a smooth field so that the far side of a
 * neighbourhood can be guessed from what lies on the way, and the community graph that stands in for citation graphs.
 * Graphs and labels are in city-networks_data.c; what is measured and claimed in city-networks_claim.c. */
#include "city-networks.h"
#include "../blocks/options.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* ---- configurations ---- */

static const gy_option options[] = {TEXT(arch, "sage, gcn, gat, cheb, sgformer or mlp"),
                                    TEXT(network, "generated graph: town or blocks (communities)"),
                                    INT(depth, 1, 64, "layers"),
                                    INT(width, 1, 4096, "features of a hidden layer"),
                                    INT(project, 0, 1, "1: linear layers before and after (always in cheb, sgformer)"),
                                    INT(side, 4, 4096, "crossings on a side of the generated town"),
                                    INT(features, 6, 4096, "features of a node; beyond 6 they are noise in a town"),
                                    INT(classes, 2, 4096, "classes"),
                                    INT(label_hops, 1, 64, "hops that the label looks at"),
                                    INT(steps, 1, 1e9, "steps, each over the whole graph"),
                                    INT(influence_nodes, 1, 1e6, "nodes whose influences are measured"),
                                    INT(influence_hops, 1, MAX_HOPS, "and how far"),
                                    REAL(lr, 1e-8, 10, "learning rate of AdamW"),
                                    REAL(weight_decay, 0, 10, "its weight decay"),
                                    REAL(dropout, 0, 0.95, "of hidden layers"),
                                    REAL(train_share, 0.001, 0.99, "of the nodes, drawn at random"),
                                    REAL(valid_share, 0, 0.99, "likewise, to watch; the rest is for the test"),
                                    {NULL}};

/* The miniature. */
static const config tiny = {.arch = "sage",
                            .network = "town",
                            .depth = 8,
                            .width = 32,
                            .project = 1,
                            .side = 50,
                            .features = 6,
                            .classes = 5,
                            .label_hops = 8,
                            .steps = 300,
                            .influence_nodes = 40,
                            .influence_hops = 8,
                            .lr = 3e-3,
                            .weight_decay = 0.01,
                            .train_share = 0.3,
                            .valid_share = 0.1};
/* Section 5: 16 layers of width 64; a town of the size of Paris (114,127 nodes). Influence at 200 nodes, the default of
 * the official code; the paper takes 10,000. */
static const config paper = {.arch = "sage",
                             .network = "town",
                             .depth = 16,
                             .width = 64,
                             .side = 338,
                             .features = 37,
                             .classes = 10,
                             .label_hops = 16,
                             .steps = 30000,
                             .influence_nodes = 200,
                             .influence_hops = 16,
                             .lr = 5e-4,
                             .weight_decay = 1e-5,
                             .dropout = 0.2,
                             .train_share = 0.1,
                             .valid_share = 0.1};
/* The control of the claim: a small world of communities. */
static const config blocks = {.arch = "sage",
                              .network = "blocks",
                              .depth = 2,
                              .width = 32,
                              .project = 1,
                              .side = 50,
                              .features = 16,
                              .classes = 7,
                              .label_hops = 8,
                              .steps = 300,
                              .influence_nodes = 40,
                              .influence_hops = 8,
                              .lr = 3e-3,
                              .weight_decay = 0.01,
                              .train_share = 0.1,
                              .valid_share = 0.1};
static const gy_config configs[] = {
    {"tiny", "a town of about 2,500 crossings, 8 layers", &tiny},
    {"paper", "16 layers of width 64 on a town of the size of Paris", &paper},
    {"blocks", "1,000 nodes in 7 communities, 2 layers: where depth does not pay", &blocks},
    {NULL}};

static bool is(const char *a, const char *b) {
    return strcmp(a, b) == 0;
}

static gy_status check(gy_ctx *ctx, const void *cfg) {
    static const char *const archs[] = {"sage", "gcn", "gat", "cheb", "sgformer", "mlp", NULL};
    const config *c = cfg;
    bool known = false;
    for (int i = 0; archs[i]; i++) known = known || is(c->arch, archs[i]);
    if (!known)
        return gy_fail(ctx, GY_ERR_USAGE, "city-networks: arch='%s': expected sage, gcn, gat, cheb, sgformer or mlp",
                       c->arch);
    if (!is(c->network, "town") && !is(c->network, "blocks"))
        return gy_fail(ctx, GY_ERR_USAGE, "city-networks: network='%s': expected town or blocks", c->network);
    if (c->train_share + c->valid_share > 0.999)
        return gy_fail(ctx, GY_ERR_USAGE, "city-networks: train_share=%g and valid_share=%g leave nothing to test",
                       c->train_share, c->valid_share);
    return GY_OK;
}

/* ---- the networks: x [N, F] -> logits [N, C] ---- */

static gy_t drop(gy_mod *m, const config *c, gy_t x) {
    return gy_nn_dropout(m, "dropout", x, c->dropout);
}

/* One layer, eq. (2): [N, F] -> [N, out] */
static gy_t layer(gy_mod *m, const config *c, const char *name, const gy_gnn_graph *g, gy_t x, int64_t out) {
    if (is(c->arch, "sage")) return gy_gnn_sage(m, name, g, x, out);
    if (is(c->arch, "gcn")) return gy_gnn_gcn(m, name, g, x, out);
    if (is(c->arch, "gat")) return gy_gnn_gat(m, name, g, x, out);
    if (is(c->arch, "cheb")) return gy_gnn_cheb(m, name, g, x, out);
    return gy_nn_linear(m, name, x, out);
}

/* SGFormer (Wu et al. 2023): 0.8 of a residual GCN with batch norms, 0.2 of one layer of attention to all nodes. */
static gy_t sgformer(gy_mod *m, const config *c, const gy_gnn_graph *g, gy_t x, int64_t classes) {
    char name[32];
    gy_push(m, "trans_conv");
    gy_t a = gy_relu(gy_nn_layernorm(m, "bns.0", gy_nn_linear(m, "fcs.0", x, c->width))); /* [N, W] */
    a = drop(m, c, a);
    a = gy_scale(gy_add(gy_gnn_linear_attention(m, "convs.0", a, c->width), a), 0.5);
    a = drop(m, c, gy_nn_layernorm(m, "bns.1", a));
    gy_pop(m);
    gy_push(m, "graph_conv");
    gy_t b = drop(m, c, gy_relu(gy_nn_batchnorm(m, "bns.0", gy_nn_linear(m, "fcs.0", x, c->width)))), before = b;
    for (int64_t i = 0; i < c->depth; i++) { /* the residual is always to the layers' input, as in the official code */
        snprintf(name, sizeof name, "convs.%d.W", (int)i);
        gy_t h = gy_nn_linear(m, name, gy_gnn_symmetric(g, b, false), c->width);
        snprintf(name, sizeof name, "bns.%d", (int)i + 1);
        b = gy_add(drop(m, c, gy_relu(gy_nn_batchnorm(m, name, h))), before);
    }
    gy_pop(m);
    return gy_nn_linear(m, "fc", gy_add(gy_scale(b, 0.8), gy_scale(a, 0.2)), classes);
}

static gy_t network(gy_mod *m, const config *c, const gy_gnn_graph *g, gy_t x, int64_t classes) {
    char name[32];
    bool around = c->project || is(c->arch, "cheb"), cheb = is(c->arch, "cheb");
    if (is(c->arch, "sgformer")) return sgformer(m, c, g, x, classes);
    gy_t h = x;
    if (around) {
        h = gy_nn_linear(m, "input_proj", x, c->width); /* [N, W] */
        h = drop(m, c, cheb ? gy_silu(h) : gy_relu(h));
    }
    for (int64_t i = 0; i < c->depth; i++) {
        bool last = i == c->depth - 1 && !around;
        snprintf(name, sizeof name, "convs.%d", (int)i);
        h = layer(m, c, name, g, h, last ? classes : c->width); /* [N, W] */
        if (!last) h = drop(m, c, cheb ? gy_silu(h) : gy_relu(h));
    }
    return around ? gy_nn_linear(m, "output_proj", h, classes) : h; /* [N, C] */
}

/* Sizes of the open graph, or of one like the configuration's town. */
static void sizes(const gy_build *b, int64_t *nodes, int64_t *edges, int64_t *features, int64_t *classes) {
    const config *c = b->cfg;
    *nodes = c->side * c->side, *edges = (int64_t)(3.2 * (double)*nodes);
    *features = c->features, *classes = c->classes;
    if (!b->job) return;
    const city *d = &((const lab *)b->job->data)->data;
    *nodes = d->graph.n, *edges = d->graph.nnz, *features = d->features, *classes = d->classes;
}

static gy_t logits(gy_build *b, int64_t *classes) {
    int64_t nodes, edges, features;
    gy_graph *g = b->m->g;
    sizes(b, &nodes, &edges, &features, classes);
    gy_t x = gy_input(g, "features", GY_F32, GY_S(nodes, features));
    gy_t indptr = gy_input(g, "indptr", GY_I64, GY_S(nodes + 1)), indices = gy_input(g, "indices", GY_I64, GY_S(edges));
    gy_gnn_graph on = gy_gnn_on(indptr, indices, GY_F32);
    return network(b->m, b->cfg, &on, x, *classes);
}

static void build(gy_build *b) {
    int64_t classes;
    gy_t y = logits(b, &classes);
    gy_output(y, "logits");                        /* [N, C] */
    gy_output(gy_softmax(y, -1), "probabilities"); /* [N, C] */
    gy_output(gy_argmax(y, 1), "class");           /* [N] */
}

/* Cross-entropy of the training nodes: the others' targets are -100. */
static void objective(gy_build *b) {
    const config *c = b->cfg;
    int64_t classes;
    gy_t y = logits(b, &classes), target = gy_input(b->m->g, "target", GY_I64, GY_S(gy_dim(y, 0)));
    gy_t loss = gy_cross_entropy(y, target);
    gy_output(loss, "loss");
    gy_optim_adamw(b->m->g, b->m->store, loss, .weight_decay = c->weight_decay);
}

gy_t gy_city_network(void *user, gy_mod *m, const gy_gnn_graph *g, gy_t x) {
    const gy_job *j = user;
    return network(m, j->cfg, g, x, ((const lab *)j->data)->data.classes);
}

/* ---- training: every step sees the whole graph ---- */

static gy_status batch(gy_job *j, gy_plan *p, int64_t phase, int64_t step) {
    const city *d = &((lab *)j->data)->data;
    int64_t *target = gy_plan_input(p, "target"), *indptr = gy_plan_input(p, "indptr"),
            *indices = gy_plan_input(p, "indices");
    (void)phase, (void)step;
    memcpy(gy_plan_input(p, "features"), d->x, (size_t)(d->graph.n * d->features) * sizeof(float));
    if (indptr) memcpy(indptr, d->graph.indptr, (size_t)(d->graph.n + 1) * sizeof *indptr); /* an mlp needs no graph */
    if (indices) memcpy(indices, d->graph.indices, (size_t)d->graph.nnz * sizeof *indices);
    for (int64_t v = 0; v < d->graph.n; v++) target[v] = d->part[v] == TRAIN ? d->label[v] : -100;
    return GY_OK;
}

static double rate(const gy_job *j, int64_t phase, int64_t step) {
    (void)phase, (void)step;
    return ((const config *)j->cfg)->lr;
}

/* ---- the definition ---- */

static const char *const equations[] = {
    "(1) label of v: max over u within k hops of the shortest way v to u inside that neighbourhood, in quantiles",
    "(2) SAGE: h\u1d65 \u2190 relu(W\u1d63 h\u1d65 + W\u2097 mean h\u1d64 + b); GCN: D\u0303^-1/2 \u00c3 "
    "D\u0303^-1/2 H W",
    "(3) I(v, u) = \u03a3\u1d62\u2c7c |\u2202out\u1d65\u1d62 / \u2202x\u1d64\u2c7c|",
    "(4) T\u2095(v) = \u03a3 I(v, u) over u exactly h hops from v",
    "(5) R = mean\u1d65 \u03a3\u2095 h T\u2095(v) / \u03a3\u2095 T\u2095(v)",
    NULL};

static const char *const ablations[] = {
    "rewire - messages pass between other nodes of the same degrees: nothing far away can be found",
    "mlp - no messages at all", NULL};

const gy_model_def gy_model_city_networks = {
    .slug = "city-networks",
    .family = "encoding",
    .title = "Long-range interactions on road networks, and total influence",
    .cite = "H. Liang, H. S. de Oc\u00e1riz Borde, B. Sripathmanathan, M. Bronstein, X. Dong, 2025, arXiv:2503.09008",
    .job =
        "A road network with features of its crossings -> how accessible each crossing is, and how much the features "
        "of crossings h hops away matter to that answer",
    .year = 2025,
    .equations = equations,
    .config_size = sizeof(config),
    .options = options,
    .configs = configs,
    .ablations = ablations,
    .check = check,
    .build = build,
    .objective = objective,
    .open = gy_city_open,
    .close = gy_city_close,
    .batch = batch,
    .lr = rate,
    .evaluate = gy_city_evaluate,
    .panels = gy_city_panels,
    .claim = gy_city_claim,
};
