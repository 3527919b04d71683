/* Graphs, gradients, plans, hooks: the engine seen from a model's side. */
#include "../harness/ops.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* A small transformer-like step with everything that the passes touch: products with bias, activation and residual,
 * norms, attention, dropout, chains, AdamW. */
enum { T = 5 };

static void build_step(gy_mod *m, int64_t batch, int64_t depth, bool recompute) {
    gy_graph *g = m->g;
    gy_t x = gy_input(g, "x", GY_F32, GY_S(batch, T, 24)), t = gy_input(g, "t", GY_I64, GY_S(batch, T));
    gy_t h = gy_nn_linear(m, "embed", x, .out = 32);
    for (int64_t i = 0; i < depth; i++) {
        gy_push(m, "blocks.%d", (int)i);
        if (recompute) gy_recompute_begin(g);
        gy_t n = gy_nn_layernorm(m, "norm1", h);
        gy_t q = gy_reshape(gy_nn_linear(m, "q", n, .out = 32), batch, T, 4, 8);
        gy_t k = gy_reshape(gy_nn_linear(m, "k", n, .out = 32), batch, T, 4, 8);
        gy_t v = gy_reshape(gy_nn_linear(m, "v", n, .out = 32), batch, T, 4, 8);
        gy_t a = gy_reshape(gy_attention(q, k, v, .causal = true), batch, T, 32);
        h = gy_add(h, gy_nn_dropout(m, "drop", gy_nn_linear(m, "proj", a, .out = 32), 0.1));
        gy_t f = gy_gelu(gy_nn_linear(m, "fc1", gy_nn_layernorm(m, "norm2", h), .out = 64));
        h = gy_add(h, gy_nn_linear(m, "fc2", f, .out = 32));
        h = gy_tap(m, "out", h);
        if (recompute) gy_recompute_end(g);
        gy_pop(m);
    }
    gy_t logits = gy_nn_linear(m, "head", gy_tanh(gy_scale(gy_add_scalar(h, 0.5), 0.7)), .out = 11);
    gy_output(logits, "logits");
    gy_t loss = gy_cross_entropy(logits, t);
    gy_output(loss, "loss");
    gy_optim_adamw(g, m->store, loss, .weight_decay = 0.01, .clip_norm = 1.0);
}

typedef struct trained {
    double loss[4];
    uint64_t hash; /* of every state after the steps */
    double sum;    /* of |parameters| */
    gy_plan_info info;
} trained;

static trained train_steps(gy_ctx *ctx, gy_plan_args args, bool recompute, int64_t depth) {
    int64_t batch = depth > 2 ? 64 : 2; /* deep ones keep many activations */
    trained r = {0};
    gy_store *store = gy_store_new(ctx);
    gy_graph *g = gy_graph_new(ctx);
    gy_mod m = gy_mod_make(g, store, 3, true);
    build_step(&m, batch, depth, recompute);
    gy_plan *p = gy_compile(g, args);
    if (!p) fail_msg("%s", gy_error(ctx));
    assert_true(gy_plan_verify(p));
    for (int step = 0; step < 4; step++) {
        float *x = gy_plan_input(p, "x");
        int64_t *t = gy_plan_input(p, "t");
        gy_rng rng;
        gy_rng_init(&rng, (uint64_t)step, "data");
        for (int64_t i = 0; i < batch * T * 24; i++) x[i] = (float)gy_rng_normal(&rng);
        for (int64_t i = 0; i < batch * T; i++) t[i] = gy_rng_below(&rng, 11);
        *(double *)gy_plan_input(p, "lr") = 1e-2;
        gy_plan_set_rng(p, 9, (uint64_t)step);
        assert_ok(ctx, gy_plan_run(p));
        r.loss[step] = gy_plan_scalar(p, "loss");
    }
    for (int64_t i = 0; i < gy_store_count(store); i++) {
        const gy_state *s = gy_store_at(store, i);
        r.hash = gy_hash(s->value.data, gy_tensor_bytes(&s->value), r.hash);
        for (int64_t k = 0; k < gy_shape_count(s->value.shape); k++) r.sum += fabs(gy_tensor_get(&s->value, k));
    }
    r.info = gy_plan_report(p);
    gy_plan_free(p);
    gy_graph_free(g);
    gy_store_free(store);
    return r;
}

static void a_step_lowers_the_loss(void **state) {
    trained r = train_steps(*state, (gy_plan_args){0}, false, 2);
    assert_true(r.loss[3] < r.loss[0] + 0.5);
    assert_true(isfinite(r.loss[3]));
}

static void folding_in_place_and_offsets_change_no_bit(void **state) {
    uint32_t fusion = GY_PASS_EPILOGUE | GY_PASS_CHAIN;
    trained plain = train_steps(*state, (gy_plan_args){.off = GY_PASS_ALL}, false, 2);
    trained some = train_steps(*state, (gy_plan_args){.off = fusion}, false, 2);
    assert_memory_equal(plain.loss, some.loss, sizeof plain.loss);
    assert_true(plain.hash == some.hash);
    assert_true(some.info.arena_bytes < plain.info.arena_bytes / 2);
}

static void fusion_changes_the_last_bits_only(void **state) {
    trained plain = train_steps(*state, (gy_plan_args){.off = GY_PASS_ALL}, false, 2);
    trained fused = train_steps(*state, (gy_plan_args){0}, false, 2);
    for (int i = 0; i < 4; i++) assert_close(fused.loss[i], plain.loss[i], 2e-6 * (1 << (2 * i)));
    assert_close(fused.sum, plain.sum, 1e-5);
    assert_true(fused.info.steps < plain.info.steps * 3 / 4);
}

static void the_same_bits_come_out_on_any_number_of_threads(void **state) {
    trained want = train_steps(*state, (gy_plan_args){0}, false, 2);
    for (int threads = 1; threads <= 8; threads += threads == 1 ? 2 : 5) {
        gy_ctx *ctx = gy_ctx_new((gy_ctx_args){.threads = threads});
        trained have = train_steps(ctx, (gy_plan_args){0}, false, 2);
        assert_true(have.hash == want.hash);
        gy_ctx_free(ctx);
    }
}

/* d/dx of sum(w (a b + c)), [a, b, c] = split x: the planner joins the three parts instead of adding them in zeros. */
static void the_gradient_of_a_split_is_one_join(void **state) {
    double value[2][30];
    for (int off = 0; off < 2; off++) {
        gy_graph *g = gy_graph_new(*state);
        gy_t x = gy_reshape(gy_sin(gy_iota(g, GY_F64, 30)), 5, 6), in = gy_input(g, "x", GY_F64, GY_S(5, 6)), part[3],
             gx;
        gy_split(in, 1, 3, part);
        gy_t y = gy_sum(gy_mul(gy_slice(x, 1, 0, 2), gy_add(gy_mul(part[0], part[1]), gy_square(part[2]))), GY_ALL);
        gy_grad(y, GY_NONE, 1, &in, &gx);
        gy_output(gx, "gx");
        gy_plan *p = gy_compile(g, (gy_plan_args){.off = off ? GY_PASS_EPILOGUE : 0});
        assert_non_null(p);
        double *data = gy_plan_input(p, "x");
        for (int i = 0; i < 30; i++) data[i] = cos(2.3 * i);
        assert_ok(*state, gy_plan_run(p));
        gy_tensor t = gy_plan_output(p, "gx");
        int joins = 0, parts = 0;
        for (int64_t i = 0; i < gy_plan_report(p).steps; i++) {
            joins += strcmp(gy_plan_step(p, i).op, "concat") == 0;
            parts += strcmp(gy_plan_step(p, i).op, "unslice") == 0;
        }
        assert_int_equal(joins, off ? 0 : 1);
        assert_int_equal(parts, off ? 3 : 0);
        for (int i = 0; i < 30; i++) value[off][i] = gy_tensor_get(&t, i);
        gy_plan_free(p);
        gy_graph_free(g);
    }
    for (int i = 0; i < 30; i++) assert_true(value[0][i] == value[1][i]);
}

/* The gradient of cross-entropy takes the place of the logits, which are the largest value of a language model. */
static void the_gradient_of_the_logits_takes_their_place(void **state) {
    enum { N = 37, C = 211 };
    static float value[2][N * C];
    int64_t bytes[2];
    for (int off = 0; off < 2; off++) {
        gy_graph *g = gy_graph_new(*state);
        gy_t x = gy_input(g, "x", GY_F32, GY_S(N, C)), target = gy_input(g, "target", GY_I64, GY_S(N)), gx;
        gy_t logits = gy_matmul(x, gy_reshape(gy_sin(gy_iota(g, GY_F32, C * C)), C, C));
        gy_grad(gy_cross_entropy(logits, target, .smoothing = 0.1), GY_NONE, 1, &logits, &gx);
        gy_output(gy_matmul(gx, gy_reshape(gy_cos(gy_iota(g, GY_F32, C * C)), C, C)), "y");
        gy_plan *p = gy_compile(g, (gy_plan_args){.off = off ? GY_PASS_INPLACE : 0});
        assert_non_null(p);
        float *data = gy_plan_input(p, "x");
        int64_t *t = gy_plan_input(p, "target");
        for (int i = 0; i < N * C; i++) data[i] = (float)cos(2.3 * i);
        for (int i = 0; i < N; i++) t[i] = i == 5 ? -100 : 7 * i % C;
        assert_ok(*state, gy_plan_run(p));
        memcpy(value[off], gy_plan_output(p, "y").data, sizeof value[off]);
        bytes[off] = gy_plan_report(p).sum_bytes;
        gy_plan_free(p);
        gy_graph_free(g);
    }
    assert_true(bytes[1] - bytes[0] >= N * C * 4);
    assert_memory_equal(value[0], value[1], sizeof value[0]);
}

static void recomputing_segments_saves_memory_and_changes_no_bit(void **state) {
    uint32_t fusion = GY_PASS_EPILOGUE | GY_PASS_CHAIN;
    trained keep = train_steps(*state, (gy_plan_args){.off = fusion}, false, 6);
    trained again = train_steps(*state, (gy_plan_args){.off = fusion}, true, 6);
    assert_memory_equal(keep.loss, again.loss, sizeof keep.loss);
    assert_true(keep.hash == again.hash);
    printf("# arena %d bytes kept, %d recomputed\n", (int)keep.info.arena_bytes, (int)again.info.arena_bytes);
    assert_true(again.info.arena_bytes < keep.info.arena_bytes * 3 / 4);
    assert_true(again.info.flops > keep.info.flops);
}

static void the_arena_is_close_to_its_lower_bound(void **state) {
    trained r = train_steps(*state, (gy_plan_args){0}, false, 6);
    assert_true((double)r.info.arena_bytes <= 1.05 * (double)r.info.lower_bound);
}

static void planning_time_grows_gently_with_the_graph(void **state) {
    gy_ctx *ctx = *state;
    gy_graph *g = gy_graph_new(ctx);
    gy_t x = gy_input(g, "x", GY_F32, GY_S(4, 4)), h = x;
    for (int i = 0; i < 4200; i++) h = gy_tanh(gy_matmul(h, gy_add_scalar(x, 1e-5 * i)));
    gy_t gx, L = gy_sum(h, GY_ALL);
    gy_grad(L, GY_NONE, 1, &x, &gx);
    gy_output(gx, "g");
    struct timespec a, b;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &a);
    gy_plan *p = gy_compile(g, (gy_plan_args){.dry = true});
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &b);
    double seconds = (double)(b.tv_sec - a.tv_sec) + 1e-9 * (double)(b.tv_nsec - a.tv_nsec);
    assert_non_null(p);
    assert_true(gy_plan_report(p).nodes > 50000);
    printf("# %d nodes planned in %.2f s\n", (int)gy_plan_report(p).nodes, seconds);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    assert_true(seconds < 4.0); /* a quadratic pass would take minutes */
#endif
    gy_plan_free(p);
    gy_graph_free(g);
}

/* ---- gradients ---- */

static void the_three_answers_without_a_gradient_are_kept_apart(void **state) {
    gy_ctx *ctx = *state;
    gy_graph *g = gy_graph_new(ctx);
    gy_t x[3], gx[3];
    for (int i = 0; i < 3; i++) {
        char name[8];
        snprintf(name, sizeof name, "x%d", i);
        x[i] = gy_input(g, name, GY_F64, GY_S(3));
    }
    gy_t y = gy_sum(gy_add(gy_mul(x[0], x[0]), gy_sign(x[1])), GY_ALL);
    gy_grad(y, GY_NONE, 3, x, gx);
    assert_false(gy_is_none(gx[0]));
    assert_false(gy_is_none(gx[1])); /* zero, but connected */
    assert_true(gy_is_none(gx[2]));  /* not connected */
    gy_t bad = gy_sum(gy_cast(gy_argmax(x[0], 0), GY_F64), GY_ALL);
    gy_grad(bad, GY_NONE, 1, x, gx);
    assert_true(gy_is_none(gx[0])); /* an i64 index carries no cotangent */
    gy_t r = gy_sum(gy_mul(gy_cast(gy_lt(x[0], x[1]), GY_F64), x[0]), GY_ALL);
    gy_grad(r, GY_NONE, 1, x, gx);
    assert_int_equal(gy_graph_status(g), GY_OK);
    gy_graph_free(g);
}

static void third_derivatives_are_exact(void **state) {
    gy_ctx *ctx = *state;
    gy_graph *g = gy_graph_new(ctx);
    gy_t x = gy_input(g, "x", GY_F64, GY_S0), y = gy_mul(gy_square(x), gy_square(x)); /* x^4 */
    for (int i = 0; i < 3; i++) gy_grad(y, GY_NONE, 1, &x, &y);
    gy_output(y, "y");
    gy_plan *p = gy_compile(g, (gy_plan_args){0});
    assert_non_null(p);
    *(double *)gy_plan_input(p, "x") = 1.5;
    assert_ok(ctx, gy_plan_run(p));
    assert_close(gy_plan_scalar(p, "y"), 24 * 1.5, 1e-12);
    gy_plan_free(p);
    gy_graph_free(g);
}

static void a_value_read_twice_gets_both_gradients(void **state) {
    gy_ctx *ctx = *state;
    gy_graph *g = gy_graph_new(ctx);
    gy_t x = gy_input(g, "x", GY_F64, GY_S(4)), s = gy_softmax(x, -1), gx;
    gy_grad(gy_sum(gy_mul(s, gy_mul(s, x)), GY_ALL), GY_NONE, 1, &x, &gx);
    gy_output(gx, "g");
    assert_int_equal(gy_graph_status(g), GY_OK);
    gy_graph_free(g);
}

/* ---- messages ---- */

static void a_mistake_is_told_with_file_line_shapes_and_scope(void **state) {
    gy_ctx *ctx = *state;
    gy_graph *g = gy_graph_new(ctx);
    gy_scope_push(g, "encoder");
    gy_t a = gy_input(g, "a", GY_F32, GY_S(32, 768)), b = gy_input(g, "b", GY_F32, GY_S(512, 10));
    gy_t y = gy_matmul(a, b);
    int line = __LINE__ - 1;
    y = gy_add(gy_relu(y), a); /* ignored: the first mistake is the cause */
    gy_output(y, "y");
    char want[256];
    snprintf(want, sizeof want,
             "tests/core/test_engine.c:%d: matmul: inner sizes differ: [32, 768] x [512, 10] (in encoder)", line);
    assert_null(gy_compile(g, (gy_plan_args){0}));
    assert_string_equal(gy_error(ctx), want);
    gy_graph_free(g);
}

static void every_operator_refuses_inputs_of_the_wrong_rank_or_dtype_by_name(void **state) {
    gy_ctx *ctx = *state;
    int refused = 0;
    for (int op = 1; op < GY_OP_COUNT; op++) {
        const gy_op *o = &gy_ops[op];
        if (o->flags & (GY_F_LEAF | GY_F_VIEW) || o->n_in < 1 || o->id == GY_OP_chain || o->id == GY_OP_copy ||
            o->id == GY_OP_cast || o->id == GY_OP_pad || o->id == GY_OP_unslice) /* any dtype goes */
            continue;
        gy_graph *g = gy_graph_new(ctx);
        gy_t in[8];
        gy_case c = {.g = g, .dtype = GY_F64};
        for (int i = 0; i < o->n_in; i++) {
            char name[8];
            snprintf(name, sizeof name, "x%d", i);
            /* ranks and dtypes that fit together nowhere */
            in[i] = gy_input(g, name, i % 2 ? GY_BF16 : GY_U16, i % 2 ? GY_S(3, 2, 7, 5, 2, 3, 2) : GY_S(5));
        }
        /* attributes of a legal case */
        gy_graph *legal = gy_graph_new(ctx);
        c.g = legal;
        const void *attr = NULL;
        if (o->impl->cases && o->impl->cases(&c, 0))
            for (int32_t id = 1; id < legal->n; id++)
                if (legal->node[id]->op == o) attr = legal->node[id]->attr;
        if (attr || o->impl->attr_size == 0) {
            gy_t t = gy_node_make(GY_HERE, g, o->id, attr, o->n_in, in);
            if (t.id == 0) {
                refused++;
                assert_int_not_equal(gy_graph_status(g), GY_OK);
                if (!strstr(gy_error(ctx), o->name))
                    fail_msg("%s: the message does not name it: %s", o->name, gy_error(ctx));
            } else if (!(o->flags & GY_F_ELEMENTWISE)) {
                fail_msg("%s takes u16 and bf16 inputs of ranks 1 and 7", o->name);
            }
        }
        gy_graph_free(g);
        gy_graph_free(legal);
    }
    assert_true(refused > 40);
}

static void feeding_a_wrong_shape_names_the_input_and_both_shapes(void **state) {
    gy_ctx *ctx = *state;
    gy_graph *g = gy_graph_new(ctx);
    gy_output(gy_relu(gy_input(g, "voxels", GY_F32, GY_S(2, 3))), "y");
    gy_plan *p = gy_compile(g, (gy_plan_args){0});
    gy_tensor t;
    assert_ok(ctx, gy_tensor_new(ctx, &t, GY_F32, GY_S(3, 2)));
    assert_message(ctx, gy_plan_feed(p, "voxels", &t), "input 'voxels': expected f32 [2, 3], found f32 [3, 2]");
    assert_message(ctx, gy_plan_feed(p, "voxel", &t), "no input 'voxel'");
    gy_tensor_free(ctx, &t);
    gy_plan_free(p);
    const char *outputs[] = {"z", NULL};
    assert_null(gy_compile(g, (gy_plan_args){.outputs = outputs}));
    assert_non_null(strstr(gy_error(ctx), "no output 'z'"));
    gy_graph_free(g);
}

static void check_mode_stops_at_the_first_nan_with_the_models_line(void **state) {
    gy_ctx *ctx = *state;
    gy_graph *g = gy_graph_new(ctx);
    gy_t x = gy_input(g, "x", GY_F32, GY_S(3));
    gy_t bad = gy_log(x);
    int line = __LINE__ - 1;
    gy_output(gy_exp(bad), "y");
    gy_plan *p = gy_compile(g, (gy_plan_args){.check = true});
    float *v = gy_plan_input(p, "x");
    v[0] = 1;
    v[1] = -1;
    v[2] = 2;
    char want[128];
    snprintf(want, sizeof want, "test_engine.c:%d: log gives NaN at element 1 of [3]", line);
    assert_message(ctx, gy_plan_run(p), want);
    gy_plan_free(p);
    gy_graph_free(g);
}

/* ---- states ---- */

static void two_states_can_be_exchanged(void **state) {
    gy_ctx *ctx = *state;
    gy_store *s = gy_store_new(ctx);
    gy_state *a = gy_state_get(s, "a", GY_BUFFER, GY_F32, GY_S(3), (gy_init){GY_INIT_CONSTANT, 1}, 0);
    gy_state *b = gy_state_get(s, "b", GY_BUFFER, GY_F32, GY_S(3), (gy_init){GY_INIT_CONSTANT, 2}, 0);
    gy_graph *g = gy_graph_new(ctx);
    gy_t va = gy_read(g, a), vb = gy_read(g, b);
    gy_assign(a, vb);
    gy_assign(b, gy_add(va, va));
    gy_output(va, "old_a");
    gy_plan *p = gy_compile(g, (gy_plan_args){0});
    assert_ok(ctx, gy_plan_run(p));
    assert_close(gy_tensor_get(&a->value, 0), 2, 0);
    assert_close(gy_tensor_get(&b->value, 2), 2, 0);
    assert_close(gy_plan_scalar(p, "old_a"), 1, 0);
    assert_ok(ctx, gy_plan_run(p));
    assert_close(gy_tensor_get(&b->value, 2), 4, 0);
    gy_plan_free(p);
    gy_graph_free(g);
    gy_store_free(s);
}

static void a_state_read_after_its_new_value_keeps_the_old_one(void **state) {
    gy_ctx *ctx = *state;
    gy_store *s = gy_store_new(ctx);
    gy_state *a = gy_state_get(s, "a", GY_BUFFER, GY_F32, GY_S(64), (gy_init){GY_INIT_CONSTANT, 3}, 0);
    gy_graph *g = gy_graph_new(ctx);
    gy_t v = gy_read(g, a), next = gy_square(v);
    gy_assign(a, next);
    gy_output(gy_sum(gy_sub(gy_cumsum(next, 0), gy_cumsum(v, 0)), GY_ALL), "y"); /* reads the old value later */
    gy_plan *p = gy_compile(g, (gy_plan_args){0});
    assert_ok(ctx, gy_plan_run(p));
    assert_close(gy_plan_scalar(p, "y"), 6.0 * 64 * 65 / 2, 1e-6);
    assert_close(gy_tensor_get(&a->value, 63), 9, 0);
    gy_plan_free(p);
    gy_graph_free(g);
    gy_store_free(s);
}

static void initial_values_depend_on_name_and_seed_alone(void **state) {
    gy_ctx *ctx = *state;
    gy_store *s = gy_store_new(ctx), *r = gy_store_new(ctx);
    gy_init normal = {GY_INIT_NORMAL, 1};
    gy_state *a = gy_state_get(s, "a", GY_PARAM, GY_F32, GY_S(5), normal, 7);
    gy_state_get(r, "b", GY_PARAM, GY_F32, GY_S(9), normal, 7);
    gy_state *a2 = gy_state_get(r, "a", GY_PARAM, GY_F32, GY_S(5), normal, 7);
    assert_memory_equal(a->value.data, a2->value.data, 20);
    assert_null(gy_state_get(s, "a", GY_PARAM, GY_F32, GY_S(6), normal, 7));
    assert_non_null(strstr(gy_error(ctx), "state 'a' is f32 [5], asked for as f32 [6]"));
    gy_store_free(s);
    gy_store_free(r);
}

/* ---- hooks ---- */

static void hooks_read_replace_and_ablate_named_values(void **state) {
    gy_ctx *ctx = *state;
    double plain = 0;
    for (int kind = 0; kind <= GY_HOOK_SCALE; kind++) {
        gy_hook hook = {"blocks.1.out", (gy_hook_kind)kind, 0.0};
        gy_store *store = gy_store_new(ctx);
        gy_graph *g = gy_graph_new(ctx);
        gy_mod m = gy_mod_make(g, store, 3, false);
        m.hooks = &hook;
        m.n_hooks = kind ? 1 : 0;
        build_step(&m, 2, 2, false);
        gy_plan *p = gy_compile(g, (gy_plan_args){.no_assign = true});
        if (!p) fail_msg("%s", gy_error(ctx));
        float *x = gy_plan_input(p, "x");
        for (int i = 0; x && i < 240; i++) x[i] = (float)sin(i); /* a replaced value needs no x */
        float *h = gy_plan_input(p, "hook:blocks.1.out");
        if (kind == GY_HOOK_REPLACE || kind == GY_HOOK_ADD) assert_non_null(h);
        assert_ok(ctx, gy_plan_run(p));
        double loss = gy_plan_scalar(p, "loss");
        gy_tensor read = gy_plan_output(p, "blocks.1.out");
        if (kind == 0) plain = loss;
        if (kind == GY_HOOK_READ) {
            assert_non_null(read.data);
            assert_close(loss, plain, 1e-6);
        }
        if (kind == GY_HOOK_ADD) assert_close(loss, plain, 1e-6); /* plus zeros */
        if (kind == GY_HOOK_REPLACE || kind == GY_HOOK_SCALE) assert_true(fabs(loss - plain) > 1e-4);
        gy_plan_free(p);
        gy_graph_free(g);
        gy_store_free(store);
    }
}

/* ---- memory faults ---- */

static void every_failed_allocation_ends_in_a_message_and_no_leak(void **state) {
    gy_ctx *ctx = *state;
    size_t before = gy_mem_live(ctx);
    bool done = false;
    for (int64_t n = 1; !done; n += 1 + n / 40) {
        gy_error_clear(ctx);
        gy_mem_fail_at(ctx, n);
        gy_store *store = gy_store_new(ctx);
        gy_graph *g = store ? gy_graph_new(ctx) : NULL;
        gy_plan *p = NULL;
        if (g) {
            gy_mod m = gy_mod_make(g, store, 3, true);
            build_step(&m, 2, 1, false);
            p = gy_compile(g, (gy_plan_args){0});
        }
        gy_mem_fail_at(ctx, 0);
        if (p) done = true;
        if (!p && !strstr(gy_error(ctx), "out of memory"))
            fail_msg("allocation %d: message '%s'", (int)n, gy_error(ctx));
        gy_plan_free(p);
        gy_graph_free(g);
        gy_store_free(store);
        if (gy_mem_live(ctx) != before)
            fail_msg("allocation %d leaks %d bytes", (int)n, (int)(gy_mem_live(ctx) - before));
    }
}

/* ---- weights packed once ---- */

/* y = x W (or x W^T), W a parameter or an input with the same values. */
static gy_plan *product_plan(gy_ctx *ctx, gy_graph **g, gy_state *w, int64_t m, bool trans, gy_dtype precision,
                             uint64_t isa_mask) {
    *g = gy_graph_new(ctx);
    int64_t k = w->value.shape.dim[trans ? 1 : 0];
    gy_t x = gy_input(*g, "x", GY_F32, GY_S(m, k)), own = gy_input(*g, "w", GY_F32, w->value.shape);
    gy_output(gy_matmul(x, gy_read(*g, w), .trans_b = trans), "state");
    gy_output(gy_matmul(x, own, .trans_b = trans), "input");
    gy_plan *p = gy_compile(*g, (gy_plan_args){.precision = precision, .isa_mask = isa_mask});
    if (!p) fail_msg("%s", gy_error(ctx));
    float *v = gy_plan_input(p, "x");
    for (int64_t i = 0; i < m * k; i++) v[i] = (float)sin((double)i);
    return p;
}
static void expect_equal_products(gy_ctx *ctx, gy_plan *p, const gy_state *w) {
    memcpy(gy_plan_input(p, "w"), w->value.data, gy_tensor_bytes(&w->value));
    assert_ok(ctx, gy_plan_run(p));
    gy_tensor a = gy_plan_output(p, "state"), b = gy_plan_output(p, "input");
    assert_memory_equal(a.data, b.data, gy_tensor_bytes(&a));
}

static void packed_weights_give_the_bits_of_unpacked_ones_and_follow_their_changes(void **state) {
    static const int64_t rows[] = {1, 3, 7, 16, 65, 200};
    gy_ctx *ctx = *state;
    uint64_t all = gy_ctx_isa_mask(ctx);
    bool any = false;
    for (int v = 0; v < 24 * GY_ISA_COUNT; v++) {
        gy_dtype precision = v % 24 < 12 ? GY_F32 : GY_BF16;
        uint64_t mask = all & ((UINT64_C(2) << v / 24) - 1);
        bool trans = v & 1;
        gy_store *store = gy_store_new(ctx);
        gy_state *w = gy_state_get(store, "w", GY_PARAM, GY_F32, trans ? GY_S(300, 611) : GY_S(611, 300),
                                   (gy_init){GY_INIT_NORMAL, 1}, 1);
        gy_graph *g, *change = gy_graph_new(ctx);
        gy_plan *p = product_plan(ctx, &g, w, rows[v / 2 % 6], trans, precision, mask);
        any = any || gy_plan_report(p).packed_bytes > 0;
        expect_equal_products(ctx, p, w);
        gy_state_reset(w, (gy_init){GY_INIT_NORMAL, 1}, 2);
        expect_equal_products(ctx, p, w);
        ((float *)w->value.data)[5] = 7;
        gy_state_touch(w);
        expect_equal_products(ctx, p, w);
        gy_assign(w, gy_scale(gy_read(change, w), 0.5));
        gy_plan *other = gy_compile(change, (gy_plan_args){0});
        assert_ok(ctx, gy_plan_run(other));
        expect_equal_products(ctx, p, w);
        gy_plan_free(other);
        gy_plan_free(p);
        gy_graph_free(change);
        gy_graph_free(g);
        gy_store_free(store);
    }
    if (all != 1) assert_true(any);
}

static void a_weight_that_the_plan_assigns_is_not_packed(void **state) {
    gy_ctx *ctx = *state;
    gy_store *store = gy_store_new(ctx);
    gy_graph *g = gy_graph_new(ctx);
    gy_state *w = gy_state_get(store, "w", GY_PARAM, GY_F32, GY_S(64, 64), (gy_init){GY_INIT_NORMAL, 1}, 1);
    gy_t x = gy_input(g, "x", GY_F32, GY_S(20, 64)), r = gy_read(g, w);
    gy_output(gy_matmul(x, r), "y");
    gy_assign(w, gy_scale(r, 0.5));
    gy_plan *p = gy_compile(g, (gy_plan_args){0});
    assert_int_equal(gy_plan_report(p).packed_bytes, 0);
    gy_plan_free(p);
    gy_graph_free(g);
    gy_store_free(store);
}

/* Two scopes read one state by two nodes; the first one's new value must not be there before the second has read. */
static void a_state_read_in_two_scopes_is_not_overwritten_early(void **state) {
    gy_ctx *ctx = *state;
    gy_store *store = gy_store_new(ctx);
    gy_graph *g = gy_graph_new(ctx);
    gy_state *w = gy_state_get(store, "w", GY_PARAM, GY_F32, GY_S(8), (gy_init){GY_INIT_ONES}, 1);
    gy_scope_push(g, "first");
    gy_t old = gy_read(g, w);
    gy_scope_pop(g);
    gy_scope_push(g, "second");
    gy_t half = gy_scale(gy_read(g, w), 0.5);
    gy_assign(w, half);
    gy_scope_pop(g);
    gy_output(gy_mul(gy_mean(half, GY_ALL), old), "y"); /* 0.5 * 1 */
    gy_plan *p = gy_compile(g, (gy_plan_args){0});
    assert_ok(ctx, gy_plan_run(p));
    assert_close(*(float *)gy_plan_output(p, "y").data, 0.5, 1e-7);
    assert_close(*(float *)w->value.data, 0.5, 1e-7);
    gy_plan_free(p);
    gy_graph_free(g);
    gy_store_free(store);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(a_state_read_in_two_scopes_is_not_overwritten_early),
        TEST(a_step_lowers_the_loss),
        TEST(folding_in_place_and_offsets_change_no_bit),
        TEST(fusion_changes_the_last_bits_only),
        TEST(the_same_bits_come_out_on_any_number_of_threads),
        TEST(the_gradient_of_a_split_is_one_join),
        TEST(the_gradient_of_the_logits_takes_their_place),
        TEST(recomputing_segments_saves_memory_and_changes_no_bit),
        TEST(the_arena_is_close_to_its_lower_bound),
        TEST(planning_time_grows_gently_with_the_graph),
        TEST(the_three_answers_without_a_gradient_are_kept_apart),
        TEST(third_derivatives_are_exact),
        TEST(a_value_read_twice_gets_both_gradients),
        TEST(a_mistake_is_told_with_file_line_shapes_and_scope),
        TEST(every_operator_refuses_inputs_of_the_wrong_rank_or_dtype_by_name),
        TEST(feeding_a_wrong_shape_names_the_input_and_both_shapes),
        TEST(check_mode_stops_at_the_first_nan_with_the_models_line),
        TEST(two_states_can_be_exchanged),
        TEST(a_state_read_after_its_new_value_keeps_the_old_one),
        TEST(initial_values_depend_on_name_and_seed_alone),
        TEST(hooks_read_replace_and_ablate_named_values),
        TEST(packed_weights_give_the_bits_of_unpacked_ones_and_follow_their_changes),
        TEST(a_weight_that_the_plan_assigns_is_not_packed),
        TEST(every_failed_allocation_ends_in_a_message_and_no_leak),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
