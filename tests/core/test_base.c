/* The foundation: allocation, messages, dtypes, threads, random numbers. */
#include "../harness/harness.h"

#include "core/rng.h"
#include "core/threads.h"

#include <math.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>

static void every_half_survives_a_round_trip(void **state) {
    (void)state;
    for (uint32_t h = 0; h < 65536; h++) {
        float x = gy_f16_to_f32((uint16_t)h);
        if (isnan(x)) continue;
        assert_int_equal(gy_f32_to_f16(x), h);
        float b = gy_bf16_to_f32((uint16_t)h);
        if (!isnan(b)) assert_int_equal(gy_f32_to_bf16(b), h);
    }
    assert_int_equal(gy_f32_to_bf16(1.00390625f), 0x3f80); /* tie goes to even */
    assert_int_equal(gy_f32_to_f16(65520.0f), 0x7c00);
    assert_int_equal(gy_f32_to_f16(65519.0f), 0x7bff);
}

/* Known answers of Random123's kat_vectors for philox4x32-10. */
static void philox_matches_the_published_vectors(void **state) {
    (void)state;
    uint32_t out[4];
    gy_philox(0, 0, 0, out);
    assert_int_equal(out[0], 0x6627e8d5u);
    assert_int_equal(out[1], 0xe169c58du);
    assert_int_equal(out[2], 0xbc57ac4cu);
    assert_int_equal(out[3], 0x9b00dbd8u);
    gy_philox(UINT64_MAX, UINT64_MAX, UINT64_MAX, out);
    assert_int_equal(out[0], 0x408f276du);
}

static void normal_draws_have_mean_zero_variance_one(void **state) {
    (void)state;
    gy_rng r;
    gy_rng_init(&r, 7, "test");
    double s = 0, q = 0;
    const int n = 200000;
    for (int i = 0; i < n; i++) {
        double x = gy_rng_normal(&r);
        s += x;
        q += x * x;
    }
    assert_true(fabs(s / n) < 0.01);
    assert_true(fabs(q / n - 1) < 0.015);
}

struct count {
    _Atomic int hits[1000];
};
static void hit(void *arg, int64_t tile, int worker) {
    (void)worker;
    atomic_fetch_add(&((struct count *)arg)->hits[tile], 1);
}
static void every_tile_runs_exactly_once(void **state) {
    (void)state;
    for (int threads = 1; threads <= 8; threads++) {
        gy_ctx *ctx = gy_ctx_new((gy_ctx_args){.threads = threads});
        for (int round = 0; round < 200; round++) {
            static struct count c;
            int n = round * 5;
            for (int i = 0; i < n; i++) c.hits[i] = 0;
            gy_par(gy_ctx_pool(ctx), n, hit, &c);
            for (int i = 0; i < n; i++) assert_int_equal(c.hits[i], 1);
        }
        gy_ctx_free(ctx);
    }
}

/* Tile 0 ends when all others have: a second thread must take those of the first one's stretch. */
struct held {
    _Atomic int done;
};
static void hold(void *arg, int64_t tile, int worker) {
    struct held *h = arg;
    (void)worker;
    while (tile == 0 && atomic_load(&h->done) < 15) sched_yield();
    atomic_fetch_add(&h->done, 1);
}
static void others_take_the_tiles_of_a_thread_that_is_held_up(void **state) {
    (void)state;
    for (int threads = 2; threads <= 4; threads++) {
        gy_ctx *ctx = gy_ctx_new((gy_ctx_args){.threads = threads});
        struct held h = {0};
        gy_par(gy_ctx_pool(ctx), 16, hold, &h);
        assert_int_equal(h.done, 16);
        gy_ctx_free(ctx);
    }
}

static void an_impossible_shape_is_refused_with_its_numbers(void **state) {
    gy_ctx *ctx = *state;
    gy_tensor t;
    assert_message(ctx, gy_tensor_new(ctx, &t, GY_F32, GY_S(INT64_MAX / 2, 8)),
                   "impossible shape [4611686018427387903, 8]");
    assert_message(ctx, gy_tensor_new(ctx, &t, GY_F32, GY_S(-1)), "[-1]");
}

static void the_nth_allocation_fails_with_a_message(void **state) {
    gy_ctx *ctx = *state;
    gy_mem_fail_at(ctx, 2);
    void *a = gy_malloc(ctx, 10);
    assert_non_null(a);
    assert_null(gy_malloc(ctx, 10));
    assert_non_null(strstr(gy_error(ctx), "out of memory"));
    gy_free(ctx, a);
}

static void hear(void *user, const char *text) {
    snprintf(user, 64, "%s", text);
}
static void a_name_in_a_message_cannot_steer_a_terminal(void **state) {
    gy_ctx *ctx = *state;
    char heard[64];
    gy_set_warn_handler(ctx, hear, heard);
    (void)gy_fail(ctx, GY_ERR_IO, "%s",
                  "a\x1b[2J\x7f\xc2\x9b"
                  "b\xc3\x9f\n\t\xc2\xb5V");
    assert_string_equal(gy_error(ctx), "a?[2J???b\xc3\x9f\n\t\xc2\xb5V");
    gy_error_prefix(ctx, "\x07");
    assert_memory_equal(gy_error(ctx), "?: a?", 5);
    gy_warn(ctx, "%s", "\x1b]0;x");
    assert_string_equal(heard, "?]0;x");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(every_half_survives_a_round_trip),
        TEST(philox_matches_the_published_vectors),
        TEST(normal_draws_have_mean_zero_variance_one),
        TEST(every_tile_runs_exactly_once),
        TEST(others_take_the_tiles_of_a_thread_that_is_held_up),
        TEST(an_impossible_shape_is_refused_with_its_numbers),
        TEST(the_nth_allocation_fails_with_a_message),
        TEST(a_name_in_a_message_cannot_steer_a_terminal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
