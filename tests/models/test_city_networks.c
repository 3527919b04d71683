/* city-networks: networks and influence against torch_geometric, sizes, learning, resuming, folders of arrays, bad
 * options. */
#include "../harness/jobs.h"
#include "../harness/tensors.h"

#include "core/op.h"
#include "io/formats/npy.h"
#include "io/formats/safetensors.h"
#include "models/blocks/influence.h"
#include "models/encoding/city-networks.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const gy_model_def *def(void) {
    return gy_model_find("city-networks");
}

static const char *const small[] = {"side=10", "depth=2", "width=8", "label_hops=2", "steps=8", NULL};

/* ---- against torch_geometric ---- */

static gy_tensor tensor(gy_ctx *ctx, const gy_safetensors *f, const char *fmt, const char *name) {
    char key[128];
    gy_tensor t;
    snprintf(key, sizeof key, fmt, name);
    assert_ok(ctx, gy_safetensors_get(f, key, &t));
    return t;
}

static void same(const char *what, const char *name, const gy_tensor *have, const gy_tensor *want, double tolerance) {
    char both[256];
    snprintf(both, sizeof both, "%s %s", what, name);
    assert_tensor_near(both, have, want, tolerance, 1e-2);
}

/* The states of m's scope get the values that the file has under their names. */
static int64_t load(gy_ctx *ctx, const gy_safetensors *f, gy_store *store) {
    int64_t n = 0;
    for (int64_t i = 0; i < gy_store_count(store); i++) {
        gy_state *s = gy_store_at(store, i);
        gy_tensor t = tensor(ctx, f, "%s", s->name);
        assert_true(gy_shape_equal(t.shape, s->value.shape));
        memcpy(s->value.data, t.data, gy_tensor_bytes(&t));
        gy_tensor_free(ctx, &t);
        n++;
    }
    return n;
}

typedef struct named_job {
    gy_job *j;
    const char *scope;
} named_job;

static gy_t in_scope(void *user, gy_mod *m, const gy_gnn_graph *g, gy_t x) {
    const named_job *n = user;
    gy_push(m, "%s", n->scope);
    gy_t y = gy_city_network(n->j, m, g, x);
    gy_pop(m);
    return y;
}

static void check_network(gy_ctx *ctx, const gy_safetensors *f, const char *name, const char *depth) {
    enum { HOPS = 3, NODES = 3 };
    char setting[32];
    const char *settings[] = {"side=10", "width=5", "label_hops=2", depth, "project=0", setting, NULL};
    gy_job j;
    snprintf(setting, sizeof setting, "arch=%s", name);
    start_job(ctx, &j, "city-networks", 1, settings);
    ((lab *)j.data)->data.classes = 3; /* of the file's graph, not of the town that is open */
    gy_tensor x = tensor(ctx, f, "test/x%s", ""), indptr = tensor(ctx, f, "test/indptr%s", ""),
              indices = tensor(ctx, f, "test/indices%s", "");
    int64_t n = x.shape.dim[0], edges = indices.shape.dim[0];
    float w[16 * 3];
    for (int i = 0; i < 16; i++)
        for (int k = 0; k < 3; k++) w[3 * i + k] = (float)sin(3.0 * i + k);
    gy_graph *g = gy_graph_new(ctx);
    gy_store *store = gy_store_new(ctx);
    gy_mod m = gy_mod_make(g, store, 1, false);
    gy_gnn_graph on = gy_gnn_on(gy_const(g, &indptr), gy_const(g, &indices), GY_F32);
    gy_t at = gy_input(g, "x", GY_F32, x.shape), gx[64], wanted[64];
    named_job user = {&j, name};
    gy_t y = in_scope(&user, &m, &on, at);
    gy_tensor weight = {.dtype = GY_F32, .shape = GY_S(n, 3), .data = w, .borrowed = true};
    gy_t loss = gy_sum(gy_mul(y, gy_const(g, &weight)), GY_ALL);
    int64_t count = 1;
    const gy_state *state_of[64] = {NULL};
    wanted[0] = at;
    for (int32_t id = 1; id < g->n; id++) {
        const gy_node *node = g->node[id];
        if (node->op->id != GY_OP_read) continue;
        const gy_state *s = *(gy_state *const *)node->attr;
        if (s->kind != GY_PARAM) continue;
        state_of[count] = s;
        wanted[count++] = (gy_t){g, id, 0};
    }
    gy_grad_zeros(loss, GY_NONE, count, wanted, gx);
    gy_output(y, "out");
    for (int64_t i = 0; i < count; i++) {
        char key[32];
        snprintf(key, sizeof key, "grad%d", (int)i);
        gy_output(gx[i], key);
    }
    gy_plan *p = gy_compile(g, (gy_plan_args){0});
    if (!p) fail_msg("%s: %s", name, gy_error(ctx));
    assert_true(load(ctx, f, store) >= 5);
    assert_ok(ctx, gy_plan_feed(p, "x", &x));
    assert_ok(ctx, gy_plan_run(p));
    gy_tensor have = gy_plan_output(p, "out"), want = tensor(ctx, f, "test/%s.out", name);
    same(name, "out", &have, &want, 1e-5);
    gy_tensor_free(ctx, &want);
    for (int64_t i = 0; i < count; i++) {
        char key[128], own[32];
        snprintf(own, sizeof own, "grad%d", (int)i);
        /* "sage.convs.0.bias" is test/sage.grad.convs.0.bias */
        if (i)
            snprintf(key, sizeof key, "test/%s.grad.%s", name, state_of[i]->name + strlen(name) + 1);
        else
            snprintf(key, sizeof key, "test/%s.grad_x", name);
        want = tensor(ctx, f, "%s", key);
        have = gy_plan_output(p, own);
        same(name, key, &have, &want, 1e-4);
        gy_tensor_free(ctx, &want);
    }
    if (strcmp(name, "sgformer") != 0) {
        static const int64_t node[NODES] = {0, 3, 7};
        double total[NODES * (HOPS + 1)];
        gy_csr graph = {.ctx = ctx, .n = n, .nnz = edges, .indptr = indptr.data, .indices = indices.data};
        gy_influence_args a = {store, in_scope, &user, &graph, x.data, x.shape.dim[1], NODES, node, HOPS};
        assert_ok(ctx, gy_total_influence(ctx, &a, total));
        gy_tensor t = {.dtype = GY_F64, .shape = GY_S(NODES, HOPS + 1), .data = total, .borrowed = true};
        want = tensor(ctx, f, "test/%s.influence", name);
        same(name, "influence", &t, &want, 1e-5);
        gy_tensor_free(ctx, &want);
    }
    gy_plan_free(p);
    gy_graph_free(g);
    gy_store_free(store);
    gy_tensor_free(ctx, &x);
    gy_tensor_free(ctx, &indptr);
    gy_tensor_free(ctx, &indices);
    gy_job_free(&j);
}

static void networks_and_influence_match_torch_geometric(void **state) {
    gy_ctx *ctx = *state;
    gy_safetensors f;
    assert_ok(ctx, gy_safetensors_open(ctx, "tests/golden/city_networks.safetensors", NULL, &f));
    check_network(ctx, &f, "sage", "depth=3");
    check_network(ctx, &f, "gcn", "depth=3");
    check_network(ctx, &f, "gat", "depth=3");
    check_network(ctx, &f, "cheb", "depth=3");
    check_network(ctx, &f, "sgformer", "depth=2");
    gy_safetensors_close(&f);
}

/* torch_geometric's GraphSAGE(37, 64, 16, 10): 37 -> 64, 14 times 64 -> 64, 64 -> 10; one bias a layer. */
static void paper_configuration_has_graphsages_parameters(void **state) {
    gy_ctx *ctx = *state;
    gy_job j;
    gy_compiled c;
    assert_ok(ctx, gy_job_init(&j, ctx, def(), "paper", NULL, 0));
    gy_store_free(j.store);
    j.store = gy_store_new_dry(ctx);
    assert_ok(ctx, gy_job_compile_phase(&j, 0, true, &c));
    assert_int_equal(gy_store_parameters(j.store), (2 * 37 * 64 + 64) + 14 * (2 * 64 * 64 + 64) + (2 * 64 * 10 + 10));
    gy_compiled_free(&c);
    gy_job_free(&j);
}

/* ---- training ---- */

typedef struct losses {
    double first, last;
} losses;

static bool note(void *user, const gy_job *j, const gy_metrics *logged) {
    losses *l = user;
    if (j->step == 1) l->first = gy_metric_get(logged, "loss");
    l->last = gy_metric_get(logged, "loss");
    return true;
}

static void training_lowers_the_loss_and_nothing_comes_from_beyond_the_depth(void **state) {
    static const char *const settings[] = {"side=20", "depth=3", "width=16", "label_hops=3", "steps=60", NULL};
    gy_ctx *ctx = *state;
    gy_job j;
    losses l;
    gy_metrics m = {0};
    start_job(ctx, &j, "city-networks", 2, settings);
    j.sink.step = note;
    j.sink.user = &l;
    assert_ok(ctx, gy_job_train(&j));
    assert_true(l.last < 0.85 * l.first);
    assert_ok(ctx, def()->evaluate(&j, &m));
    assert_true(gy_metric_get(&m, "accuracy") > 0.3); /* chance 0.2 */
    const findings *f = &((const lab *)j.data)->found;
    assert_true(f->curve[0] == 1);
    for (int64_t h = 1; h <= 3; h++) assert_true(f->curve[h] > 0);
    for (int64_t h = 4; h <= f->hops; h++) assert_true(f->curve[h] == 0); /* exactly */
    gy_job_free(&j);
}

static void resumed_run_is_bit_identical(void **state) {
    static const char *const settings[] = {"side=10",     "depth=2", "width=8",       "label_hops=2",
                                           "dropout=0.2", "steps=8", "arch=sgformer", NULL};
    static const int64_t stops[] = {3, 8};
    assert_resume_is_bit_identical(*state, "city-networks", settings, 2, stops);
}

static void towns_of_the_same_seed_are_the_same(void **state) {
    gy_ctx *ctx = *state;
    gy_job a, b, c;
    start_job(ctx, &a, "city-networks", 5, small);
    start_job(ctx, &b, "city-networks", 5, small);
    start_job(ctx, &c, "city-networks", 6, small);
    assert_true(a.data_hash == b.data_hash && a.data_hash != c.data_hash);
    const city *d = &((const lab *)a.data)->data;
    int64_t count[5] = {0};
    for (int64_t v = 0; v < d->graph.n; v++) count[d->label[v]]++;
    for (int i = 0; i < 5; i++) assert_true(llabs(count[i] - d->graph.n / 5) <= 1);
    gy_job_free(&a);
    gy_job_free(&b);
    gy_job_free(&c);
}

/* ---- folders ---- */

static char folder[64];

static void put(gy_ctx *ctx, const char *name, gy_dtype dtype, gy_shape shape, const void *data) {
    char path[128];
    gy_tensor t = {.dtype = dtype, .shape = shape, .data = (void *)(uintptr_t)data, .borrowed = true};
    snprintf(path, sizeof path, "%s/%s.npy", folder, name);
    assert_ok(ctx, gy_npy_write(ctx, path, &t));
}

static void take_away(const char *name) {
    char path[128];
    snprintf(path, sizeof path, "%s/%s.npy", folder, name);
    unlink(path);
}

static const float features[6 * 2] = {0, 1, 2, 1, 4, 1, 6, 1, 8, 1, 10, 1};
static const int64_t edge_ends[2 * 6] = {0, 1, 2, 3, 4, 4, 1, 2, 3, 4, 5, 4}, labels[6] = {0, 1, 2, 0, 1, 2};
static const uint8_t in_train[6] = {1, 1, 0, 0, 0, 0}, in_valid[6] = {0, 0, 1, 0, 0, 0},
                     in_test[6] = {0, 0, 0, 1, 1, 0};

static void write_folder(gy_ctx *ctx) {
    put(ctx, "node_features", GY_F32, GY_S(6, 2), features);
    put(ctx, "edge_indices", GY_I64, GY_S(2, 6), edge_ends);
    put(ctx, "node_labels", GY_I64, GY_S(6), labels);
    put(ctx, "train_mask", GY_BOOL, GY_S(6), in_train);
    put(ctx, "valid_mask", GY_BOOL, GY_S(6), in_valid);
    put(ctx, "test_mask", GY_BOOL, GY_S(6), in_test);
}

static gy_status open_folder(gy_ctx *ctx, gy_job *j, const char *path) {
    static const char *const settings[] = {"depth=2", "width=4", "steps=2", "influence_nodes=3"};
    assert_ok(ctx, gy_job_init(j, ctx, def(), "tiny", settings, 4));
    j->data_path = path;
    return gy_job_open(j);
}

static void folders_of_arrays_are_read_trained_on_and_evaluated(void **state) {
    gy_ctx *ctx = *state;
    gy_job j;
    gy_metrics m = {0};
    write_folder(ctx);
    assert_ok(ctx, open_folder(ctx, &j, folder));
    const city *d = &((const lab *)j.data)->data;
    assert_int_equal(d->graph.n, 6);
    assert_int_equal(d->graph.nnz, 10); /* the loop at 4 is left out, both directions are there */
    assert_int_equal(d->classes, 3);
    assert_true(d->part[0] == TRAIN && d->part[2] == VALID && d->part[4] == TEST && d->part[5] == 0);
    assert_true(fabsf(d->x[0] + d->x[10]) < 1e-6f && d->x[10] > 1 && d->x[1] == 0); /* standardised; a constant is 0 */
    assert_ok(ctx, gy_job_train(&j));
    assert_ok(ctx, def()->evaluate(&j, &m));
    assert_true(isfinite(gy_metric_get(&m, "accuracy")));
    gy_job_free(&j);
    take_away("train_mask");
    assert_ok(ctx, open_folder(ctx, &j, folder)); /* without masks the split is drawn */
    gy_job_free(&j);
}

static void refused(gy_ctx *ctx, const char *message) {
    gy_job j;
    assert_message(ctx, open_folder(ctx, &j, folder), message);
    gy_error_clear(ctx);
    gy_job_free(&j);
    write_folder(ctx);
}

static void bad_folders_are_refused_with_file_and_place(void **state) {
    static const int64_t far[2 * 1] = {0, 6}, negative[6] = {0, 1, -1, 0, 1, 2}, three[3 * 2] = {0};
    static const float nan_[6 * 2] = {0, 0, NAN};
    static const uint8_t none[6] = {0};
    gy_ctx *ctx = *state;
    gy_job j;
    write_folder(ctx);
    put(ctx, "edge_indices", GY_I64, GY_S(2, 1), far);
    refused(ctx, "edge_indices.npy: element 1 is 6, expected a whole number from 0 to 5");
    put(ctx, "edge_indices", GY_I64, GY_S(3, 2), three);
    refused(ctx, "expected 2 rows, found 3");
    put(ctx, "edge_indices", GY_I64, GY_S(2), far);
    refused(ctx, "edge_indices.npy: expected 2 axes, found shape [2]");
    put(ctx, "node_labels", GY_I64, GY_S(6), negative);
    refused(ctx, "node_labels.npy: element 2 is -1");
    put(ctx, "node_labels", GY_I64, GY_S(2), negative);
    refused(ctx, "node_labels.npy: 2 values for 6 nodes");
    put(ctx, "node_features", GY_F32, GY_S(6, 2), nan_);
    refused(ctx, "node_features.npy: node 1, feature 0 is");
    put(ctx, "train_mask", GY_BOOL, GY_S(6), none);
    refused(ctx, "0 nodes to train on and 2 to test");
    take_away("test_mask");
    refused(ctx, "test_mask.npy");
    take_away("node_labels");
    refused(ctx, "node_labels.npy");
    assert_message(ctx, open_folder(ctx, &j, "tests/golden/city_networks.safetensors"), "expected a folder with");
    gy_job_free(&j);
}

static void bad_options_are_named(void **state) {
    static const char *const cases[][2] = {
        {"arch=gin", "arch='gin': expected sage, gcn, gat, cheb, sgformer or mlp"},
        {"network=village", "network='village': expected town or blocks"},
        {"train_share=0.95", "leave nothing to test"},
        {"depth=0", "outside [1, 64]"},
        {"widht=3", "did you mean 'width'?"},
    };
    assert_settings_are_refused(*state, "city-networks", sizeof cases / sizeof *cases, cases);
}

static void out_of_memory_while_opening_leaks_nothing(void **state) {
    assert_opening_survives_lack_of_memory(*state, "city-networks", small, 59);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(networks_and_influence_match_torch_geometric),
        TEST(paper_configuration_has_graphsages_parameters),
        TEST(training_lowers_the_loss_and_nothing_comes_from_beyond_the_depth),
        TEST(resumed_run_is_bit_identical),
        TEST(towns_of_the_same_seed_are_the_same),
        TEST(folders_of_arrays_are_read_trained_on_and_evaluated),
        TEST(bad_folders_are_refused_with_file_and_place),
        TEST(bad_options_are_named),
        TEST(out_of_memory_while_opening_leaks_nothing),
    };
    static const char *const names[] = {"node_features", "edge_indices", "node_labels",
                                        "train_mask",    "valid_mask",   "test_mask"};
    snprintf(folder, sizeof folder, "/tmp/gyrus-city-XXXXXX");
    if (!mkdtemp(folder)) return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    for (int i = 0; i < 6; i++) take_away(names[i]);
    rmdir(folder);
    return failed;
}
