/* The registered language models as jobs: the grammar and its truth, training, resuming, other texts, bad ones. */
#include "../harness/harness.h"

#include "core/gyrus.h"
#include "data/grammar.h"
#include "io/files.h"
#include "io/formats/npy.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* ---- the grammar ---- */

static void marks_stand_where_the_verb_agrees(void **state) {
    (void)state;
    enum { N = 40000 };
    static uint8_t text[N + 1], mark[N];
    gy_grammar_text(3, "test", text, mark, N);
    int64_t judged = 0, attracted = 0;
    /* each sentence parsed again: "the NOUN[s] [PREP the NOUN[s]] VERB[s] the NOUN[s] .\n" */
    for (int64_t at = 0; at < N;) {
        int64_t end = at;
        while (end < N && text[end] != '\n') end++;
        if (end == N) break;
        int64_t space[9], n = 0;
        for (int64_t i = at; i < end && n < 9; i++)
            if (text[i] == ' ') space[n++] = i;
        assert_true(n == 5 || n == 8);
        bool subject = text[space[1] - 1] == 's', last = text[space[n - 4] - 1] == 's';
        bool verb = text[space[n - 3] - 1] == 's'; /* no stem ends in s */
        assert_int_equal(verb, !subject);
        int64_t decided = verb ? space[n - 3] - 1 : space[n - 3];
        for (int64_t i = at; i <= end; i++) {
            int want = i != decided ? GY_GRAMMAR_OTHER : last == subject ? GY_GRAMMAR_AGREES : GY_GRAMMAR_ATTRACTED;
            assert_int_equal(mark[i], want);
        }
        judged++;
        attracted += last != subject;
        at = end + 1;
    }
    assert_true(judged > 900);
    assert_close((double)attracted / (double)judged, 0.25, 0.05);
    /* nats of a sentence / its length: 2 number + 2 noun + verb + phrase? (1/2: preposition, number, noun) */
    double nats = log(2) * (2 * (1 + 3) + 3 + 1 + 0.5 * (2 + 1 + 3)), length = (double)N / (double)judged;
    assert_close(gy_grammar_entropy(), nats / length, 0.02);
}

/* ---- jobs ---- */

static const char *const quick[] = {"tokens=32", "batch=4", "layers=1", "width=24", "inner=32", "heads=2"};

static gy_status start(gy_ctx *ctx, gy_job *j, const char *slug, const char *data, int64_t steps) {
    const gy_model_def *def = gy_model_find(slug);
    assert_non_null(def);
    assert_ok(ctx, gy_job_init(j, ctx, def, "tiny", quick, 6));
    j->seed = 5;
    j->steps = steps;
    j->data_path = data;
    return gy_job_open(j);
}

typedef struct curve {
    double first, last;
} curve;
static bool note(void *user, const gy_job *j, const gy_metrics *logged) {
    curve *c = user;
    c->last = logged->m[0].value;
    if (j->step == 1) c->first = c->last;
    return true;
}

static void each_model_learns_from_the_grammar(void **state) {
    static const char *const slugs[] = {"gpt2", "llama", "qwen2"};
    for (int i = 0; i < 3; i++) {
        gy_job j;
        curve c = {0, 0};
        gy_metrics m = {0};
        assert_ok(*state, start(*state, &j, slugs[i], NULL, 80));
        j.sink = (gy_job_sink){note, NULL, &c};
        assert_ok(*state, gy_job_train(&j));
        assert_close(c.first, log(256), 0.15); /* knows nothing at first */
        assert_true(c.last < 3.0);
        assert_ok(*state, j.def->evaluate(&j, &m));
        assert_true(gy_metric_get(&m, "loss") < 3.0);
        assert_true(gy_metric_get(&m, "above_entropy") > 0); /* no model beats the truth */
        assert_close(gy_metric_get(&m, "perplexity"), exp(gy_metric_get(&m, "loss")), 1e-9);
        gy_job_free(&j);
    }
}

static void training_in_pieces_gives_the_same_bits(void **state) {
    gy_job whole, pieces;
    assert_ok(*state, start(*state, &whole, "gpt2", NULL, 6));
    assert_ok(*state, gy_job_train(&whole));
    assert_ok(*state, start(*state, &pieces, "gpt2", NULL, 6));
    while (pieces.step < 6) { /* a fresh plan over the same store at every step, as after a restart */
        gy_compiled c;
        assert_ok(*state, gy_job_compile_phase(&pieces, 0, false, &c));
        assert_ok(*state, pieces.def->batch(&pieces, c.plan, 0, pieces.step));
        gy_plan_set_rng(c.plan, pieces.seed, (uint64_t)pieces.step);
        *(double *)gy_plan_input(c.plan, "lr") = pieces.def->lr(&pieces, 0, pieces.step);
        assert_ok(*state, gy_plan_run(c.plan));
        gy_compiled_free(&c);
        pieces.step++;
    }
    for (int64_t i = 0; i < gy_store_count(whole.store); i++) {
        gy_state *a = gy_store_at(whole.store, i), *b = gy_state_find(pieces.store, a->name);
        assert_non_null(b);
        assert_memory_equal(a->value.data, b->value.data, gy_tensor_bytes(&a->value));
    }
    gy_job_free(&whole);
    gy_job_free(&pieces);
}

static void bytes_and_token_ids_are_read(void **state) {
    gy_ctx *ctx = *state;
    char dir[] = "/tmp/gyrus-lm-XXXXXX", path[64];
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/text.txt", dir);
    char text[1000];
    for (int i = 0; i < 1000; i++) text[i] = (char)(i % 7 + 'a');
    assert_ok(ctx, gy_write_file(ctx, path, text, sizeof text));
    gy_job j;
    assert_ok(ctx, start(ctx, &j, "gpt2", path, 2));
    assert_string_equal(j.data_label, "text.txt");
    assert_ok(ctx, gy_job_train(&j));
    gy_metrics m = {0};
    assert_ok(ctx, j.def->evaluate(&j, &m));
    assert_close(m.m[0].chance, log(7), 1e-3);
    assert_ok(ctx, j.def->artefacts(&j, dir));
    gy_job_free(&j);
    text[500] = 0; /* a picture, an archive: no text */
    assert_ok(ctx, gy_write_file(ctx, path, text, sizeof text));
    assert_message(ctx, start(ctx, &j, "gpt2", path, 2), "byte 500: a NUL byte");
    gy_job_free(&j);
    unlink(path);
    snprintf(path, sizeof path, "%s/sample.txt", dir);
    assert_int_equal(unlink(path), 0);

    snprintf(path, sizeof path, "%s/ids.npy", dir);
    gy_tensor ids;
    assert_ok(ctx, gy_tensor_new(ctx, &ids, GY_I64, GY_S(600)));
    for (int64_t i = 0; i < 600; i++) ((int64_t *)ids.data)[i] = i % 256;
    assert_ok(ctx, gy_npy_write(ctx, path, &ids));
    assert_ok(ctx, start(ctx, &j, "llama", path, 2));
    assert_ok(ctx, gy_job_train(&j));
    gy_job_free(&j);
    ((int64_t *)ids.data)[77] = 256;
    assert_ok(ctx, gy_npy_write(ctx, path, &ids));
    assert_message(ctx, start(ctx, &j, "llama", path, 2), "token 77 is 256, outside the vocabulary of 256");
    gy_job_free(&j);
    ids.shape = GY_S(300);
    assert_ok(ctx, gy_npy_write(ctx, path, &ids));
    assert_message(ctx, start(ctx, &j, "llama", path, 2), "token 77");
    gy_job_free(&j);
    ((int64_t *)ids.data)[77] = 1;
    assert_ok(ctx, gy_npy_write(ctx, path, &ids));
    assert_message(ctx, start(ctx, &j, "llama", path, 2), "must hold one window of 33");
    gy_job_free(&j);
    gy_tensor_free(ctx, &ids);
    unlink(path);
    rmdir(dir);
}

static void sizes_that_do_not_fit_are_refused(void **state) {
    static const struct {
        const char *slug, *set, *message;
    } cases[] = {{"gpt2", "heads=5", "no multiple of heads=5"},     {"gpt2", "tokens=4096", "more than positions"},
                 {"llama", "kv_heads=3", "multiple of kv_heads=3"}, {"qwen2", "heads=8", "divides width"},
                 {"clip-text", "heads=5", "multiple of heads=5"},   {"clip-vision", "patch=5", "of patch=5"},
                 {"vit-mae", "mask_ratio=0.99", "hides all"},       {"vit-mae", "patch=3", "multiple of patch=3"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        gy_job j;
        assert_message(*state, gy_job_init(&j, *state, gy_model_find(cases[i].slug), "tiny", &cases[i].set, 1),
                       cases[i].message);
    }
}

static void the_masked_autoencoder_learns_and_is_judged(void **state) {
    gy_job j;
    static const char *const set[] = {"batch=8", "width=16", "inner=16", "heads=2", "layers=1", "decoder_layers=1"};
    curve c = {0, 0};
    gy_metrics m = {0};
    assert_ok(*state, gy_job_init(&j, *state, gy_model_find("vit-mae"), "tiny", set, 6));
    j.seed = 5;
    j.steps = 60;
    assert_ok(*state, gy_job_open(&j));
    j.sink = (gy_job_sink){note, NULL, &c};
    assert_ok(*state, gy_job_train(&j));
    assert_true(c.last < c.first / 2);
    /* the sine tables stay what they were */
    gy_state *table = gy_state_find(j.store, "vit.embeddings.position_embeddings");
    assert_non_null(table);
    assert_true(table->frozen);
    assert_close(gy_tensor_get(&table->value, 2 * 16 + 0), sin(1), 1e-6); /* second patch: column 1, row 0 */
    assert_close(gy_tensor_get(&table->value, 2 * 16 + 4), cos(1), 1e-6);
    assert_close(gy_tensor_get(&table->value, 2 * 16 + 8), 0, 1e-6);
    assert_ok(*state, j.def->evaluate(&j, &m));
    assert_true(gy_metric_get(&m, "hidden_mse") > 0);
    double found = gy_metric_get(&m, "objects_found");
    assert_true(found >= 0 && found <= 1);
    gy_tensor grid;
    assert_ok(*state, j.def->sample(&j, 2, &grid));
    assert_true(gy_shape_equal(grid.shape, GY_S(2, 16, 48, 3)));
    for (int64_t i = 0; i < gy_shape_count(grid.shape); i++)
        assert_true(gy_tensor_get(&grid, i) >= 0 && gy_tensor_get(&grid, i) <= 1);
    /* what was seen is painted as it was */
    int64_t same = 0;
    for (int64_t y = 0; y < 16; y++)
        for (int64_t x = 0; x < 16; x++)
            same += gy_tensor_get(&grid, (y * 48 + x) * 3) == gy_tensor_get(&grid, (y * 48 + 32 + x) * 3);
    assert_true(same >= 128); /* half of the 256 pixels */
    gy_tensor_free(*state, &grid);
    gy_job_free(&j);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(marks_stand_where_the_verb_agrees),      TEST(each_model_learns_from_the_grammar),
        TEST(training_in_pieces_gives_the_same_bits), TEST(bytes_and_token_ids_are_read),
        TEST(sizes_that_do_not_fit_are_refused),      TEST(the_masked_autoencoder_learns_and_is_judged),
    };
    return cmocka_run_group_tests_name("language training", tests, NULL, NULL);
}
