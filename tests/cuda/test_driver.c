/* What the program asks of the CUDA driver, on a driver without a GPU (driver/fake.c): kernels are not carried out, the
 * order of events, copies, graphs and errors can be seen. */
#include "../harness/harness.h"

#include "core/gyrus.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *(*fake_log)(void);
static void (*fake_reset)(int fail);
static long (*fake_live)(void);

/* Beside this program. */
static int setup(void **state) {
    (void)state;
    char self[4096], *slash;
    FILE *f = fopen("/proc/self/cmdline", "rb");
    if (!f || !fgets(self, sizeof self - 32, f)) return -1;
    fclose(f);
    slash = strrchr(self, '/');
    if (!slash) return -1;
    strcpy(slash, "/libcuda.so.1");
    setenv("GYRUS_CUDA_DRIVER", self, 1);
    void *lib = dlopen(self, RTLD_NOW), *a, *b, *c;
    if (!lib) return -1;
    a = dlsym(lib, "fake_log");
    b = dlsym(lib, "fake_reset");
    c = dlsym(lib, "fake_live");
    memcpy(&fake_log, &a, sizeof a);
    memcpy(&fake_reset, &b, sizeof b);
    memcpy(&fake_live, &c, sizeof c);
    return a && b && c ? 0 : -1;
}

static bool has_kernels(gy_ctx *ctx) {
    return gy_ctx_set_device(ctx, "cuda") == GY_OK || !strstr(gy_error(ctx), "without the CUDA toolkit");
}

static void devices_are_counted_and_described(void **state) {
    (void)state;
    const char *why;
    char text[128];
    assert_int_equal(gy_cuda_count(&why), 2);
    assert_true(gy_cuda_describe(0, text, sizeof text));
    assert_string_equal(text, "Pretended 0, sm_90, 80.0 GiB");
    assert_false(gy_cuda_describe(7, text, sizeof text));
}

static void what_cannot_be_used_is_refused_with_the_reason(void **state) {
    (void)state;
    gy_ctx *ctx = gy_ctx_new((gy_ctx_args){.threads = 1});
    assert_int_equal(gy_ctx_set_device(ctx, "cuda:2"), GY_ERR_DEVICE);
    assert_non_null(strstr(gy_error(ctx), "there is no GPU 2: the driver shows 2"));
    assert_int_equal(gy_ctx_set_device(ctx, "cuda:1"), GY_ERR_DEVICE);
    assert_non_null(strstr(gy_error(ctx), "8.0 (Ampere) or later"));
    setenv("GYRUS_CUDA_DRIVER_KEPT", getenv("GYRUS_CUDA_DRIVER"), 1);
    setenv("GYRUS_CUDA_DRIVER", "/nowhere/libcuda.so.1", 1);
    assert_int_equal(gy_ctx_set_device(ctx, "cuda"), GY_ERR_DEVICE);
    assert_non_null(strstr(gy_error(ctx), "no NVIDIA driver"));
    setenv("GYRUS_CUDA_DRIVER", getenv("GYRUS_CUDA_DRIVER_KEPT"), 1);
    gy_ctx_free(ctx);
    assert_int_equal(fake_live(), 0);
}

/* The first word of each line. */
static const char *kinds(const char *log, char text[256]) {
    size_t n = 0;
    for (const char *at = log; *at && n < 200; at = strchr(at, '\n') + 1)
        n += (size_t)snprintf(text + n, 256 - n, "%.*s ", (int)strcspn(at, " \n"), at);
    return text;
}

static void a_plan_is_one_graph_of_copies_and_launches(void **state) {
    (void)state;
    gy_ctx *ctx = gy_ctx_new((gy_ctx_args){.threads = 1});
    if (!has_kernels(ctx)) {
        gy_ctx_free(ctx);
        skip();
    }
    gy_store *store = gy_store_new(ctx);
    gy_state *w = gy_state_get(store, "w", GY_PARAM, GY_F32, GY_S(5), (gy_init){GY_INIT_ONES, 0}, 0);
    gy_graph *g = gy_graph_new(ctx);
    gy_t x = gy_input(g, "x", GY_F32, GY_S(3, 5));
    gy_output(x, "same");
    gy_output(gy_softmax(gy_mul(x, gy_read(g, w)), -1), "y");
    gy_plan *p = gy_compile(g, (gy_plan_args){0});
    assert_non_null(p);
    for (int i = 0; i < 15; i++) ((float *)gy_plan_input(p, "x"))[i] = (float)i;
    char text[256];
    fake_reset(0);
    assert_ok(ctx, gy_plan_run(p));
    assert_string_equal(kinds(fake_log(), text), "graph copy launch launch launch copy copy ");
    assert_non_null(strstr(fake_log(), "launch elementwise 1 1 1 x 256 1 1, 0 bytes\n"));
    assert_non_null(strstr(fake_log(), " 3 1 1 x 32 1 1, ")); /* softmax: a block a row */
    ((float *)gy_plan_input(p, "x"))[4] = 7;                  /* fed again: the graph copies what lies there now */
    fake_reset(0);
    assert_ok(ctx, gy_plan_run(p));
    assert_string_equal(kinds(fake_log(), text), "graph copy launch launch launch copy copy ");
    fake_reset(1);
    assert_int_equal(gy_plan_run(p), GY_ERR_DEVICE);
    assert_string_equal(gy_error(ctx), "cuda:0: a kernel failed: an illegal memory access was encountered");
    gy_plan_free(p);
    gy_graph_free(g);
    gy_store_free(store);
    gy_ctx_free(ctx);
    fake_reset(0);
    assert_int_equal(fake_live(), 0);
}

/* Gradients of two weights: each is summed over the ranks as soon as it is known, both are waited for once. */
static void sums_over_gpus_run_beside_the_backward_pass(void **state) {
    (void)state;
    setenv("GYRUS_NCCL", getenv("GYRUS_CUDA_DRIVER"), 1);
    setenv("WORLD_SIZE", "2", 1);
    char port[16];
    snprintf(port, sizeof port, "%d", 20000 + (int)(getpid() % 20000));
    setenv("MASTER_PORT", port, 1);
    pid_t child = fork();
    setenv("RANK", child ? "0" : "1", 1);
    setenv("LOCAL_RANK", "0", 1);
    gy_ctx *ctx = gy_ctx_new((gy_ctx_args){.threads = 1});
    gy_status s = gy_ctx_join(ctx);
    if (s == GY_OK) s = gy_ctx_set_device(ctx, "cuda");
    if (child == 0) _exit(s == GY_OK || strstr(gy_error(ctx), "without the CUDA toolkit") ? 0 : 1);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    unsetenv("WORLD_SIZE");
    unsetenv("RANK");
    bool toolkit = s == GY_OK || !strstr(gy_error(ctx), "without the CUDA toolkit");
    if (!toolkit) {
        gy_ctx_free(ctx);
        skip();
    }
    assert_ok(ctx, s);
    assert_int_equal(status, 0);
    gy_store *store = gy_store_new(ctx);
    gy_state *v = gy_state_get(store, "v", GY_PARAM, GY_F32, GY_S(5), (gy_init){GY_INIT_ONES, 0}, 0);
    gy_state *w = gy_state_get(store, "w", GY_PARAM, GY_F32, GY_S(5), (gy_init){GY_INIT_ONES, 0}, 0);
    gy_graph *g = gy_graph_new(ctx);
    gy_t x = gy_input(g, "x", GY_F32, GY_S(3, 5));
    gy_t loss = gy_sum(gy_mul(gy_softmax(gy_mul(x, gy_read(g, v)), -1), gy_read(g, w)), GY_ALL);
    gy_output(loss, "loss");
    gy_optim_sgd(g, store, loss);
    gy_plan *p = gy_compile(g, (gy_plan_args){0});
    assert_non_null(p);
    fake_reset(0);
    assert_ok(ctx, gy_plan_run(p));
    const char *log = fake_log(), *first = strstr(log, "all reduce 5 of type 7"), *last = NULL;
    for (const char *at = log; (at = strstr(at, "all reduce")); at++) last = at;
    const char *join = strstr(last, "wait for event");
    assert_true(first && last > first && join);
    /* the steps that update come after the wait, and nothing waits before */
    assert_non_null(strstr(join, "launch"));
    static const char start[] = "event\nwait for event\ngroup {";
    assert_int_equal(strncmp(strstr(log, "event"), start, sizeof start - 1), 0);
    gy_plan_free(p);
    gy_graph_free(g);
    gy_store_free(store);
    gy_ctx_free(ctx);
    assert_int_equal(fake_live(), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(devices_are_counted_and_described),
                                       cmocka_unit_test(what_cannot_be_used_is_refused_with_the_reason),
                                       cmocka_unit_test(a_plan_is_one_graph_of_copies_and_launches),
                                       cmocka_unit_test(sums_over_gpus_run_beside_the_backward_pass)};
    return cmocka_run_group_tests(tests, setup, NULL);
}
