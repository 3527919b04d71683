/* CLIP as a model that trains: its captions and batches, its bounded temperature, what it learns, resuming, pairs from
 * a file, and what it refuses. Its numbers against transformers: test_vision.c. */
#define _GNU_SOURCE
#include "../harness/jobs.h"

#include "io/formats/npy.h"
#include "models/decoding/clip.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { TOKENS = 16, END = 63 };

static const config *cfg_of(const gy_job *j) {
    return j->cfg;
}

static void captions_say_what_and_where_and_end(void **state) {
    gy_job j;
    make_job(*state, &j, "clip", 1, (const char *[]){NULL});
    gy_scene s = {.n = 2, .object = {{GY_RING, GY_BLUE, GY_TOP_RIGHT}, {GY_CROSS, GY_RED, GY_BOTTOM_LEFT}}};
    static const int64_t two[TOKENS] = {1, 7, 3, 10, 13, 5, 4, 11, END, END, END, END, END, END, END, END};
    static const int64_t one[TOKENS] = {1, 7, 3, 10, END, END, END, END, END, END, END, END, END, END, END, END};
    int64_t have[TOKENS];
    gy_clip_caption(cfg_of(&j), &s, have);
    assert_memory_equal(have, two, sizeof two);
    s.n = 1;
    gy_clip_caption(cfg_of(&j), &s, have);
    assert_memory_equal(have, one, sizeof one);
    gy_job_free(&j);
}

/* The numbers of a scene, whatever the order of its objects. */
static int64_t key_of(const gy_scene *s) {
    int64_t k[2] = {0, 0};
    for (int i = 0; i < s->n; i++) k[i] = 1 + 16 * s->object[i].shape + 4 * s->object[i].colour + s->object[i].quadrant;
    return k[0] < k[1] ? 100 * k[0] + k[1] : 100 * k[1] + k[0];
}

static void no_two_pictures_of_a_batch_show_the_same(void **state) {
    (void)state;
    gy_scene scene[GY_CLIP_MOST];
    gy_rng r;
    gy_rng_init(&r, 4, "scenes");
    gy_clip_scenes(&r, GY_CLIP_MOST, 0.5, scene);
    int64_t twos = 0;
    for (int64_t i = 0; i < GY_CLIP_MOST; i++) {
        twos += scene[i].n == 2;
        for (int k = 0; k < scene[i].n; k++) assert_true(gy_clip_shown(&scene[i].object[k]));
        for (int64_t k = 0; k < i; k++) assert_true(key_of(&scene[i]) != key_of(&scene[k]));
    }
    assert_true(twos > 0 && twos < GY_CLIP_MOST);
    int64_t shown = 0;
    for (int s = 0; s < 3; s++)
        for (int c = 0; c < 4; c++)
            for (int q = 0; q < 4; q++) shown += gy_clip_shown(&(gy_object){s, c, q});
    assert_int_equal(shown, 36); /* each of twelve objects in three places */
}

/* What a batch feeds: the caption of each row is that of its own picture, unless the ablation shuffles them. */
static void captions_stand_with_their_pictures_unless_shuffled(void **state) {
    gy_ctx *ctx = *state;
    for (int broken = 0; broken < 2; broken++) {
        gy_job j;
        gy_compiled c;
        start_job(ctx, &j, "clip", 7, (const char *[]){"batch=32", NULL});
        if (broken) j.ablate = "pairs";
        assert_ok(ctx, gy_job_compile_phase(&j, 0, false, &c));
        assert_ok(ctx, j.def->batch(&j, c.plan, 0, 3));
        const float *pixels = gy_plan_input(c.plan, "pixels");
        const int64_t *ids = gy_plan_input(c.plan, "ids");
        int64_t own = 0;
        for (int64_t i = 0; i < 32; i++) {
            const int64_t *t = ids + i * TOKENS;
            int label[4];
            gy_scene_oracle(pixels + i * GY_SHAPES16_SIZE, label);
            bool right = label[t[3] - GY_WORD_QUADRANT] == 4 * (t[2] - GY_WORD_SHAPE) + t[1] - GY_WORD_COLOUR;
            if (t[4] == GY_WORD_AND)
                right = right && label[t[7] - GY_WORD_QUADRANT] == 4 * (t[6] - GY_WORD_SHAPE) + t[5] - GY_WORD_COLOUR;
            own += right;
        }
        if (broken)
            assert_true(own < 16);
        else
            assert_int_equal(own, 32);
        gy_compiled_free(&c);
        gy_job_free(&j);
    }
}

typedef struct curve {
    int64_t n;
    double first, last;
} curve;
static bool note(void *user, const gy_job *j, const gy_metrics *logged) {
    curve *c = user;
    (void)j;
    c->last = gy_metric_get(logged, "loss");
    if (c->n++ == 0) c->first = c->last;
    return true;
}

/* An untrained model guesses (ln 32 is what guessing costs); a hundred and twenty steps are well on the way. */
static void training_brings_pairs_together(void **state) {
    gy_ctx *ctx = *state;
    gy_job j;
    curve c = {0};
    gy_metrics before = {0}, after = {0};
    start_job(ctx, &j, "clip", 1, (const char *[]){"batch=32", NULL});
    gy_compiled k;
    assert_ok(ctx, gy_job_compile(&j, 1, NULL, 0, &k)); /* makes the states */
    gy_compiled_free(&k);
    assert_ok(ctx, j.def->evaluate(&j, &before));
    assert_true(gy_metric_get(&before, "image_to_text") < 0.1);
    assert_close(gy_metric_get(&before, "temperature"), 0.07, 1e-6);
    j.steps = 120;
    j.sink = (gy_job_sink){.step = note, .user = &c};
    assert_ok(ctx, gy_job_train(&j));
    assert_ok(ctx, j.def->evaluate(&j, &after));
    assert_true(c.last < 0.6 * c.first);
    if (!(gy_metric_get(&after, "image_to_text") > 0.25 && gy_metric_get(&after, "text_to_image") > 0.25 &&
          gy_metric_get(&after, "zero_shot_colour") > 0.9))
        fail_msg("image to text %g, text to image %g, colours %g", gy_metric_get(&after, "image_to_text"),
                 gy_metric_get(&after, "text_to_image"), gy_metric_get(&after, "zero_shot_colour"));
    gy_job_free(&j);
}

/* Sec. 2.5: exp(logit_scale) goes to 100 and no further, and comes back when the loss asks for it. */
static void the_scale_is_bounded_at_a_hundred(void **state) {
    gy_ctx *ctx = *state;
    gy_store *store = gy_store_new(ctx);
    gy_graph *g = gy_graph_new(ctx);
    gy_mod m = gy_mod_make(g, store, 1, true);
    gy_t s = gy_param(&m, "logit_scale", GY_S0, GY_INIT_CONSTANT, 4.0), sign = gy_input(g, "sign", GY_F32, GY_S0);
    gy_output(gy_mul(sign, s), "loss");
    gy_optim_sgd(g, store, gy_mul(sign, s));
    gy_clip_bound_scale(&m);
    gy_plan *p = gy_compile(g, (gy_plan_args){0});
    if (!p) fail_msg("%s", gy_error(ctx));
    const gy_tensor *value = &gy_state_find(store, "logit_scale")->value;
    static const double signs[] = {-1, -1, -1, 1},
                        want[] = {4.4, 4.605170185988092, 4.605170185988092, 4.205170185988092};
    for (int i = 0; i < 4; i++) {
        *(double *)gy_plan_input(p, "lr") = 0.4;
        *(float *)gy_plan_input(p, "sign") = (float)signs[i];
        assert_ok(ctx, gy_plan_run(p));
        assert_close(gy_tensor_get(value, 0), want[i], 1e-6);
    }
    gy_plan_free(p);
    gy_graph_free(g);
    gy_store_free(store);
}

static void a_training_step_applies_the_bound(void **state) {
    gy_ctx *ctx = *state;
    gy_job j;
    gy_compiled c;
    start_job(ctx, &j, "clip", 1, (const char *[]){"batch=4", NULL});
    assert_ok(ctx, gy_job_compile_phase(&j, 0, false, &c)); /* makes the states */
    gy_compiled_free(&c);
    gy_state *scale = gy_state_find(j.store, "logit_scale");
    gy_tensor_set(&scale->value, 0, 6);
    gy_state_touch(scale);
    j.steps = 1;
    assert_ok(ctx, gy_job_train(&j));
    assert_close(gy_tensor_get(&scale->value, 0), log(100), 1e-6);
    gy_job_free(&j);
}

static bool until_the_third(void *user, const gy_job *j, const gy_metrics *logged) {
    (void)user, (void)logged;
    return j->step < 3;
}

/* Six steps at once, and three, then three more by a new job that takes over the store. */
static void resuming_gives_the_same_bits(void **state) {
    static const char *const small[] = {"batch=8", NULL};
    gy_ctx *ctx = *state;
    gy_job whole, part, rest;
    start_job(ctx, &whole, "clip", 5, small);
    start_job(ctx, &part, "clip", 5, small);
    start_job(ctx, &rest, "clip", 5, small);
    whole.steps = part.steps = rest.steps = 6;
    assert_ok(ctx, gy_job_train(&whole));
    part.sink = (gy_job_sink){.step = until_the_third};
    assert_message(ctx, gy_job_train(&part), "stopped after step 3 of 6");
    gy_error_clear(ctx);
    assert_int_equal(part.step, 3);
    gy_store *keep = rest.store;
    rest.store = part.store;
    part.store = keep;
    rest.step = 3;
    assert_ok(ctx, gy_job_train(&rest));
    for (int64_t i = 0; i < gy_store_count(whole.store); i++) {
        const gy_state *s = gy_store_at(whole.store, i);
        assert_memory_equal(state_value(&rest, s->name)->data, s->value.data, gy_tensor_bytes(&s->value));
    }
    gy_job_free(&whole);
    gy_job_free(&part);
    gy_job_free(&rest);
}

/* ---- pairs from a file ---- */

enum { PAIRS = 24 };

static char folder[] = "/tmp/gyrus-clip-XXXXXX";

static void write_pairs(gy_ctx *ctx, const char *path, int64_t side, gy_dtype ids_dtype, double last_id) {
    gy_tensor t[2];
    static const char *const names[] = {"pixels", "ids"};
    gy_rng r;
    gy_rng_init(&r, 2, "pairs");
    assert_ok(ctx, gy_tensor_new(ctx, &t[0], GY_F32, GY_S(PAIRS, side, side, 3)));
    assert_ok(ctx, gy_tensor_new(ctx, &t[1], ids_dtype, GY_S(PAIRS, 5)));
    for (int64_t i = 0; i < gy_shape_count(t[0].shape); i++) ((float *)t[0].data)[i] = (float)gy_rng_normal(&r);
    for (int64_t i = 0; i < PAIRS * 5; i++) gy_tensor_set(&t[1], i, (double)(i % 5 == 4 ? 30 : i % 30));
    gy_tensor_set(&t[1], PAIRS * 5 - 1, last_id);
    assert_ok(ctx, gy_npz_write(ctx, path, names, t, 2, 0));
    for (int i = 0; i < 2; i++) gy_tensor_free(ctx, &t[i]);
}

static const char *const of_file[] = {"image=8", "tokens=5", "vocabulary=31", "batch=8", NULL};

static void pairs_of_a_file_are_learned(void **state) {
    gy_ctx *ctx = *state;
    char path[256];
    gy_job j;
    curve c = {0};
    gy_metrics m = {0};
    snprintf(path, sizeof path, "%s/pairs.npz", folder);
    write_pairs(ctx, path, 8, GY_I32, 30);
    make_job(ctx, &j, "clip", 1, of_file);
    j.data_path = path;
    assert_ok(ctx, gy_job_open(&j));
    j.steps = 60;
    j.sink = (gy_job_sink){.step = note, .user = &c};
    assert_ok(ctx, gy_job_train(&j));
    assert_true(c.last < 0.8 * c.first);
    assert_ok(ctx, j.def->evaluate(&j, &m));
    assert_int_equal(m.n, 3);          /* nothing is known about what these pictures show */
    assert_true(m.m[0].chance == 0.5); /* two pairs are held out */
    gy_job_free(&j);
    remove(path);
}

static void files_that_do_not_fit_are_refused(void **state) {
    static const struct {
        int64_t side;
        gy_dtype dtype;
        double last;
        const char *setting, *message;
    } cases[] = {{16, GY_I64, 30, NULL,
                  "expected pixels [N, 8, 8, 3] and ids [N, 5], found pixels [24, 16, 16, 3] and ids [24, 5]"},
                 {8, GY_F32, 30, NULL, "ids is f32, expected integers"},
                 {8, GY_I64, 31, NULL, "ids: token 4 of sentence 23 is 31, expected 0 to 30"},
                 {8, GY_I64, -1, NULL, "is -1, expected 0 to 30"},
                 {8, GY_I64, 30, "batch=23", "batch=23 pairs, expected at most the 22 of 24"}};
    gy_ctx *ctx = *state;
    char path[256];
    snprintf(path, sizeof path, "%s/bad.npz", folder);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        gy_job j;
        write_pairs(ctx, path, cases[i].side, cases[i].dtype, cases[i].last);
        make_job(ctx, &j, "clip", 1, of_file);
        if (cases[i].setting) assert_ok(ctx, gy_config_set(ctx, j.def, j.cfg, cases[i].setting));
        j.data_path = path;
        assert_message(ctx, gy_job_open(&j), cases[i].message);
        gy_job_free(&j);
        gy_error_clear(ctx);
    }
    remove(path);
}

/* ---- what makes no sense ---- */

static void settings_that_make_no_towers_are_refused(void **state) {
    static const char *const cases[][2] = {
        {"text_heads=3", "text_width=32, vision_width=32: expected multiples of text_heads=3"},
        {"vision_heads=5", "vision_heads=5"},
        {"patch=5", "image=16: of patch=5"},
        {"tokens=17", "tokens=17: at most positions=16"},
        {"projection=0", "outside"},
        {"batch=1", "outside"},
    };
    assert_settings_are_refused(*state, "clip", sizeof cases / sizeof *cases, cases);
    static const char *const without[][2] = {
        {"image=32", NULL}, {"tokens=8", NULL}, {"vocabulary=16", NULL}, {"batch=257", NULL}};
    for (size_t i = 0; i < sizeof without / sizeof *without; i++) {
        gy_job j;
        make_job(*state, &j, "clip", 1, without[i]);
        assert_message(*state, gy_job_open(&j), "give pairs with --data F.npz (pixels, ids)");
        gy_job_free(&j);
        gy_error_clear(*state);
    }
}

static void opening_survives_lack_of_memory(void **state) {
    assert_opening_survives_lack_of_memory(*state, "clip", (const char *[]){NULL}, 4);
}

static void full_sizes_have_the_published_parameter_counts(void **state) {
    static const struct {
        const char *config;
        int64_t n;
    } sizes[] = {{"vit-b-32", 151277313}, {"vit-b-16", 149620737}, {"vit-l-14", 427616513}, {"vit-h-14", 986109441}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        gy_ctx *ctx = *state;
        gy_job j;
        assert_ok(ctx, gy_job_init(&j, ctx, gy_model_find("clip"), sizes[i].config, NULL, 0));
        gy_store *store = gy_store_new_dry(ctx);
        gy_graph *g = gy_graph_new(ctx);
        gy_mod m = gy_mod_make(g, store, 0, false);
        gy_build b = {.m = &m, .cfg = j.cfg, .batch = 2};
        j.def->build(&b);
        if (gy_graph_status(g) != GY_OK) fail_msg("%s", gy_error(ctx));
        assert_int_equal(gy_store_parameters(store), sizes[i].n);
        gy_graph_free(g);
        gy_store_free(store);
        gy_job_free(&j);
    }
}

/* The towers alone have nothing to contrast: they say what trains them. */
static void the_towers_say_what_trains_them(void **state) {
    static const char *const towers[] = {"clip-text", "clip-vision"};
    for (int i = 0; i < 2; i++) {
        gy_job j;
        char want[128];
        snprintf(want, sizeof want, "%s is a part of clip and trained with it: gyrus train clip --out D", towers[i]);
        make_job(*state, &j, towers[i], 1, (const char *[]){NULL});
        assert_message(*state, gy_job_open(&j), want);
        gy_job_free(&j);
        gy_error_clear(*state);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(captions_say_what_and_where_and_end),
        TEST(no_two_pictures_of_a_batch_show_the_same),
        TEST(captions_stand_with_their_pictures_unless_shuffled),
        TEST(training_brings_pairs_together),
        TEST(the_scale_is_bounded_at_a_hundred),
        TEST(a_training_step_applies_the_bound),
        TEST(resuming_gives_the_same_bits),
        TEST(pairs_of_a_file_are_learned),
        TEST(files_that_do_not_fit_are_refused),
        TEST(settings_that_make_no_towers_are_refused),
        TEST(opening_survives_lack_of_memory),
        TEST(full_sizes_have_the_published_parameter_counts),
        TEST(the_towers_say_what_trains_them),
    };
    if (!mkdtemp(folder)) return 1;
    int failed = cmocka_run_group_tests_name("clip", tests, NULL, NULL);
    rmdir(folder);
    return failed;
}
