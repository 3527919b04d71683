/* The emulator: what it must carry out, and every fault that it must report. The kernels here are right, or wrong on
 * purpose, as their names say. */
#include "../harness/harness.h"

#include "core/gyrus.h"
#include "kernels/cuda/cuda.h"

#include <string.h>

typedef struct {
    const float *x;
    float *y;
    int64_t n;
} args;

/* y = x, backwards within each block, through shared memory. */
GY_KERNEL(reverses, args, 128) {
    float *s = GY_SHARED(float);
    s[threadIdx.x] = a->x[blockIdx.x * blockDim.x + threadIdx.x];
    __syncthreads();
    a->y[blockIdx.x * blockDim.x + threadIdx.x] = s[blockDim.x - 1 - threadIdx.x];
}
GY_KERNEL(reverses_without_a_barrier, args, 128) {
    float *s = GY_SHARED(float);
    s[threadIdx.x] = a->x[blockIdx.x * blockDim.x + threadIdx.x];
    a->y[blockIdx.x * blockDim.x + threadIdx.x] = s[blockDim.x - 1 - threadIdx.x];
}
GY_KERNEL(sums, args, 128) {
    float s = gy_block_sum_f32(a->x[blockIdx.x * blockDim.x + threadIdx.x], GY_SHARED(float));
    if (threadIdx.x == 0) a->y[blockIdx.x] = s;
}
GY_KERNEL(votes, args, 128) {
    uint32_t v = gy_ballot(a->x[threadIdx.x] > 0);
    a->y[threadIdx.x] = (float)v;
}
GY_KERNEL(copies_asynchronously, args, 128) {
    float *s = GY_SHARED(float);
    gy_cp_async16(s + 4 * threadIdx.x, a->x + 4 * threadIdx.x, threadIdx.x < 8);
    gy_cp_async_commit();
    gy_cp_async_wait(0);
    for (int i = 0; i < 4; i++) a->y[4 * threadIdx.x + (unsigned)i] = s[4 * threadIdx.x + (unsigned)i];
}
GY_KERNEL(forgets_to_wait, args, 128) {
    float *s = GY_SHARED(float);
    gy_cp_async16(s + 4 * threadIdx.x, a->x + 4 * threadIdx.x, true);
    gy_cp_async_commit();
    gy_cp_async_wait(1); /* of one group, all but one */
    for (int i = 0; i < 4; i++) a->y[4 * threadIdx.x + (unsigned)i] = s[4 * threadIdx.x + (unsigned)i];
}
GY_KERNEL(leaves_before_the_barrier, args, 128) {
    if (threadIdx.x == 100) return;
    __syncthreads();
    a->y[threadIdx.x] = 0;
}
GY_KERNEL(takes_two_barriers, args, 128) {
    if (threadIdx.x < 64)
        __syncthreads();
    else
        __syncthreads();
    a->y[threadIdx.x] = 0;
}
GY_KERNEL(splits_a_warp, args, 128) {
    float v = 1;
    if (threadIdx.x % 32 < 16) v = gy_shfl_xor_f32(v, 1);
    __syncthreads();
    a->y[threadIdx.x] = v;
}
GY_KERNEL(reads_past_the_end, args, 128) {
    a->y[threadIdx.x] = a->x[threadIdx.x + 1024 * (threadIdx.x == 77)];
}
GY_KERNEL(writes_past_the_end, args, 128) {
    a->y[threadIdx.x + 1024 * (threadIdx.x == 5)] = 1;
}
GY_KERNEL(passes_the_end_of_shared_memory, args, 128) {
    GY_SHARED(float)[threadIdx.x + 128] = a->x[0];
}
GY_KERNEL(reads_unset_shared_memory, args, 128) {
    a->y[threadIdx.x] = GY_SHARED(float)[threadIdx.x];
}

/* Launches f on x = 1, 2, ... of n = 1024 floats, each buffer alone on its pages; y is left for the caller. */
static float y[1024];
static gy_status launch(gy_ctx *ctx, const gy_cuda_kernel *f, int64_t blocks, int threads, size_t shared) {
    gy_device *d = gy_ctx_device(ctx);
    gy_kargs k = {.device = d};
    float *dx = d->alloc(d, 4096), *dy = d->alloc(d, 4096);
    for (int i = 0; i < 1024; i++) dx[i] = (float)(i + 1);
    memset(dy, 0, 4096);
    args a = {dx, dy, 1024};
    gy_cuda_launch(&k, f, (gy_grid){blocks, 1, 1}, threads, shared, &a, sizeof a);
    gy_status s = gy_device_wait(d);
    memcpy(y, dy, 4096);
    d->free(d, dx);
    d->free(d, dy);
    return s;
}

static int setup(void **state) {
    gy_ctx *ctx = gy_ctx_new((gy_ctx_args){.threads = 2});
    *state = ctx;
    return ctx && gy_ctx_set_device(ctx, "emu") == GY_OK ? 0 : -1;
}
static int teardown(void **state) {
    gy_ctx_free(*state);
    return 0;
}

static void barriers_order_shared_memory(void **state) {
    for (int order = GY_EMU_FORWARD; order <= GY_EMU_RANDOM; order++) {
        gy_emu_schedule(gy_ctx_device(*state), (gy_emu_order)order, 9);
        assert_ok(*state, launch(*state, &reverses, 8, 128, 512));
        for (int i = 0; i < 1024; i++) assert_true(y[i] == (float)(i / 128 * 128 + 127 - i % 128 + 1));
    }
}
static void warps_exchange_values(void **state) {
    assert_ok(*state, launch(*state, &sums, 8, 128, 128));
    for (int b = 0; b < 8; b++) assert_true(y[b] == (float)(128 * 128 * b + 128 * 129 / 2));
    assert_ok(*state, launch(*state, &votes, 1, 32, 0));
    assert_true(y[0] == 4294967296.0f && y[31] == y[0]); /* all bits, rounded to f32 */
}
static void asynchronous_copies_arrive_when_waited_for(void **state) {
    assert_ok(*state, launch(*state, &copies_asynchronously, 1, 128, 2048));
    for (int i = 0; i < 512; i++) assert_true(y[i] == (i < 32 ? (float)(i + 1) : 0.0f));
}
static void a_missing_barrier_changes_the_result(void **state) {
    bool differs = false;
    assert_ok(*state, launch(*state, &reverses_without_a_barrier, 8, 128, 512));
    for (int i = 0; i < 1024; i++) differs = differs || y[i] != (float)(i / 128 * 128 + 127 - i % 128 + 1);
    assert_true(differs);
}
static void a_missing_wait_shows_what_lay_there(void **state) {
    assert_ok(*state, launch(*state, &forgets_to_wait, 1, 128, 2048));
    assert_true(y[0] != y[0]); /* NaN */
}
static void unset_shared_memory_is_nan(void **state) {
    assert_ok(*state, launch(*state, &reads_unset_shared_memory, 1, 128, 512));
    assert_true(y[0] != y[0] && y[127] != y[127]);
}

static void expect_fault(void **state, const gy_cuda_kernel *f, size_t shared, const char *words[3]) {
    gy_ctx *ctx = *state;
    assert_int_equal(launch(ctx, f, 1, 128, shared), GY_ERR_DEVICE);
    for (int i = 0; i < 3 && words[i]; i++)
        if (!strstr(gy_error(ctx), words[i])) fail_msg("'%s' does not say '%s'", gy_error(ctx), words[i]);
    assert_ok(ctx, gy_ctx_set_device(ctx, "emu")); /* a device that has failed stays so */
    assert_ok(ctx, launch(ctx, &reverses, 8, 128, 512));
}
static void divergence_is_reported_with_its_place(void **state) {
    expect_fault(
        state, &leaves_before_the_barrier, 0,
        (const char *[]){"kernel leaves_before_the_barrier, block (0, 0, 0)", "the barrier diverges", "thread 100"});
    expect_fault(state, &takes_two_barriers, 0, (const char *[]){"takes_two_barriers", "the barrier diverges", "line"});
    expect_fault(state, &splits_a_warp, 0, (const char *[]){"splits_a_warp", "the warp diverges", "shuffle"});
}
static void memory_of_others_is_reported_with_the_thread(void **state) {
    expect_fault(state, &reads_past_the_end, 0, (const char *[]){"reads_past_the_end", "thread 77", "not its own"});
    expect_fault(state, &writes_past_the_end, 0, (const char *[]){"writes_past_the_end", "thread 5", "not its own"});
    expect_fault(state, &passes_the_end_of_shared_memory, 512,
                 (const char *[]){"passes_the_end", "past the end of shared memory", NULL});
}
static void impossible_launches_are_refused(void **state) {
    gy_ctx *ctx = *state;
    assert_int_equal(launch(ctx, &reverses, 1, 100, 512), GY_ERR_DEVICE);
    assert_non_null(strstr(gy_error(ctx), "of 100 threads"));
    assert_ok(ctx, gy_ctx_set_device(ctx, "emu"));
    assert_int_equal(launch(ctx, &reverses, 1, 128, 1 << 20), GY_ERR_DEVICE);
    assert_non_null(strstr(gy_error(ctx), "shared memory"));
    assert_ok(ctx, gy_ctx_set_device(ctx, "emu"));
    assert_int_equal(gy_ctx_set_device(ctx, "emulator"), GY_ERR_USAGE);
    assert_int_equal(gy_ctx_set_device(ctx, "cuda:x"), GY_ERR_USAGE);
    assert_ok(ctx, gy_ctx_set_device(ctx, "emu"));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(barriers_order_shared_memory),
                                       cmocka_unit_test(warps_exchange_values),
                                       cmocka_unit_test(asynchronous_copies_arrive_when_waited_for),
                                       cmocka_unit_test(a_missing_barrier_changes_the_result),
                                       cmocka_unit_test(a_missing_wait_shows_what_lay_there),
                                       cmocka_unit_test(unset_shared_memory_is_nan),
                                       cmocka_unit_test(divergence_is_reported_with_its_place),
                                       cmocka_unit_test(memory_of_others_is_reported_with_the_thread),
                                       cmocka_unit_test(impossible_launches_are_refused)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
