/* A model of two halves through the command line: clip is trained, resumed and evaluated, its run serves each tower
 * alone, and the towers say what trains them. */
#define _GNU_SOURCE
#include "../harness/cli.h"

#include "io/formats/npy.h"

#include <math.h>
#include <sys/stat.h>

enum { TOKENS = 16, SIDE = 16, ROWS = 3, WIDTH = 24 };

static void write_array(gy_ctx *ctx, const char *name, gy_dtype dtype, gy_shape shape) {
    char path[256];
    gy_tensor t;
    gy_rng r;
    gy_rng_init(&r, 1, name);
    assert_ok(ctx, gy_tensor_new(ctx, &t, dtype, shape));
    for (int64_t i = 0; i < gy_shape_count(shape); i++)
        gy_tensor_set(&t, i, dtype == GY_F32 ? gy_rng_normal(&r) : (double)gy_rng_below(&r, 64));
    assert_ok(ctx, gy_npy_write(ctx, scratch(name, path), &t));
    gy_tensor_free(ctx, &t);
}

static void read_array(gy_ctx *ctx, const char *name, gy_tensor *out) {
    char path[256];
    assert_ok(ctx, gy_npy_read(ctx, scratch(name, path), out));
}

/* Rows of `tower` brought to length 1 are those of `whole`. */
static void same_direction(gy_ctx *ctx, const char *tower, const char *whole) {
    gy_tensor a, b;
    read_array(ctx, tower, &a);
    read_array(ctx, whole, &b);
    assert_true(gy_shape_equal(a.shape, GY_S(ROWS, WIDTH)) && gy_shape_equal(b.shape, a.shape));
    for (int64_t i = 0; i < ROWS; i++) {
        double length = 0;
        for (int64_t k = 0; k < WIDTH; k++) length += pow(gy_tensor_get(&a, i * WIDTH + k), 2);
        for (int64_t k = i * WIDTH; k < (i + 1) * WIDTH; k++)
            assert_close(gy_tensor_get(&a, k) / sqrt(length), gy_tensor_get(&b, k), 1e-5);
    }
    gy_tensor_free(ctx, &a);
    gy_tensor_free(ctx, &b);
}

static void make_inputs(gy_ctx *ctx) {
    write_array(ctx, "ids.npy", GY_I64, GY_S(ROWS, TOKENS));
    write_array(ctx, "pixels.npy", GY_F32, GY_S(ROWS, SIDE, SIDE, 3));
}

static void a_run_of_the_whole_serves_each_tower(void **state) {
    gy_ctx *ctx = *state;
    make_inputs(ctx);
    json_doc d = json_of(ctx, 0, "train clip --set batch=16 --steps 4 --seed 5 --quiet --out whole --json");
    assert_close(json_number(&d, "step"), 4, 0);
    json_done(&d);
    expect(0, "image_to_text", "", "eval whole");
    expect(0, NULL, NULL,
           "run whole --input ids=ids.npy --input pixels=pixels.npy --output text_embeds=t.npy --output "
           "image_embeds=i.npy --output logits_per_image=l.npy");
    /* the folder, and the file in it */
    expect(0, NULL, NULL, "run clip-text --weights whole --input ids=ids.npy --output text_embeds=tower_t.npy");
    expect(0, NULL, NULL,
           "run clip-vision --weights whole/checkpoint.safetensors --input pixels=pixels.npy --output "
           "image_embeds=tower_i.npy");
    same_direction(ctx, "tower_t.npy", "t.npy");
    same_direction(ctx, "tower_i.npy", "i.npy");
    /* and not the untrained tower */
    expect(0, NULL, NULL, "run clip-text --seed 5 --input ids=ids.npy --output text_embeds=untrained.npy");
    assert_false(same_bytes("untrained.npy", "tower_t.npy"));
}

static void training_in_two_parts_ends_with_the_same_bytes(void **state) {
    (void)state;
    expect(0, NULL, NULL, "train clip --set batch=16 --steps 100 --save-every 2 --seed 5 --quiet --out straight");
    pid_t pid = cli_start("train clip --set batch=16 --steps 100 --save-every 2 --seed 5 --quiet --out killed");
    for (int i = 0; i < 3000 && !in_scratch("killed/checkpoint.safetensors"); i++) usleep(1000);
    kill(pid, SIGKILL);
    assert_int_equal(cli_wait(pid), 128 + SIGKILL);
    expect(0, NULL, NULL, "train --resume --quiet --out killed");
    assert_true(same_bytes("straight/checkpoint.safetensors", "killed/checkpoint.safetensors"));
    assert_true(same_bytes("straight/metrics.csv", "killed/metrics.csv"));
}

/* One picture against several sentences: what zero-shot use asks for. */
static void pictures_meet_any_number_of_sentences(void **state) {
    gy_ctx *ctx = *state;
    gy_tensor l;
    write_array(ctx, "one.npy", GY_F32, GY_S(1, SIDE, SIDE, 3));
    write_array(ctx, "five.npy", GY_I64, GY_S(5, TOKENS));
    expect(0, NULL, NULL,
           "run clip --set texts=5 --input pixels=one.npy --input ids=five.npy --output logits_per_image=five_l.npy");
    read_array(ctx, "five_l.npy", &l);
    assert_true(gy_shape_equal(l.shape, GY_S(1, 5)));
    gy_tensor_free(ctx, &l);
    expect(1, NULL, "input 'ids': expected [1, 16], found [5, 16]",
           "run clip --input pixels=one.npy --input ids=five.npy --output logits_per_image=x.npy");
}

static void a_tower_is_not_trained_alone(void **state) {
    (void)state;
    expect(1, NULL,
           "clip-text is a part of clip and trained with it: gyrus train clip --out D, then gyrus run clip-text "
           "--weights D",
           "train clip-text --out alone");
    expect(1, NULL, "clip-vision is a part of clip", "train clip-vision --out alone");
    assert_false(in_scratch("alone"));
    expect(0, "with clip, which it is a part of", "", "show clip-text");
}

/* A folder that is no run, and a run of another model. */
static void weights_that_do_not_fit_are_named(void **state) {
    gy_ctx *ctx = *state;
    make_inputs(ctx);
    char path[256];
    assert_int_equal(mkdir(scratch("empty", path), 0700), 0);
    expect(1, NULL, "empty: ", "run clip-text --weights empty --input ids=ids.npy --output text_embeds=x.npy");
    expect(0, NULL, NULL, "train vit-mae --set batch=4 --steps 1 --quiet --out other");
    expect(1, NULL, "'text_model.embeddings.token_embedding.weight'",
           "run clip-text --weights other --input ids=ids.npy --output text_embeds=x.npy");
}

static void show_and_explain_know_it(void **state) {
    json_doc d = json_of(*state, 0, "show clip --config vit-b-32 --json");
    assert_close(json_number(&d, "parameters"), 151277313, 0);
    assert_true(json_number(&d, "flops_step") > 2.9 * json_number(&d, "flops_forward"));
    json_done(&d);
    expect(0, "logit_scale", "", "explain clip");
    expect(0, "", "page: clip.html", "explain clip -o clip.html");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(a_run_of_the_whole_serves_each_tower),  TEST(training_in_two_parts_ends_with_the_same_bytes),
        TEST(pictures_meet_any_number_of_sentences), TEST(a_tower_is_not_trained_alone),
        TEST(weights_that_do_not_fit_are_named),     TEST(show_and_explain_know_it),
    };
    return cmocka_run_group_tests(tests, cli_group_setup, cli_group_teardown);
}
