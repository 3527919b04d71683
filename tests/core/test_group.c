/* Processes that train together: rank 1 is a child of the test. */
#include "../harness/harness.h"

#include "core/gyrus.h"

#include <math.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* A port that nobody listens at now. */
static int free_port(void) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    int s = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(s >= 0 && bind(s, (struct sockaddr *)&a, sizeof a) == 0);
    assert_int_equal(getsockname(s, (struct sockaddr *)&a, &n), 0);
    close(s);
    return ntohs(a.sin_port);
}

static void name_rank(int rank, int size, int port) {
    char text[16];
    snprintf(text, sizeof text, "%d", rank);
    setenv("RANK", text, 1);
    snprintf(text, sizeof text, "%d", size);
    setenv("WORLD_SIZE", text, 1);
    snprintf(text, sizeof text, "%d", port);
    setenv("MASTER_PORT", text, 1);
}

/* Runs f as ranks 1 .. size-1 in children and as rank 0 here; a child ends with 0 if f returned true. */
static void together(int size, bool (*f)(gy_ctx *ctx)) {
    pid_t child[4];
    int port = free_port();
    for (int r = size - 1; r >= 0; r--) {
        if (r > 0 && (child[r] = fork()) != 0) continue;
        name_rank(r, size, port);
        gy_ctx *ctx = gy_ctx_new((gy_ctx_args){.threads = 1});
        bool ok = gy_ctx_join(ctx) == GY_OK && gy_group_rank(gy_ctx_group(ctx)) == r && f(ctx);
        if (!ok) fprintf(stderr, "rank %d: %s\n", r, gy_error(ctx));
        gy_ctx_free(ctx);
        if (r > 0) _exit(ok ? 0 : 1);
        assert_true(ok);
    }
    for (int r = 1; r < size; r++) {
        int status;
        assert_int_equal(waitpid(child[r], &status, 0), child[r]);
        assert_int_equal(status, 0);
    }
    unsetenv("RANK");
    unsetenv("WORLD_SIZE");
    unsetenv("MASTER_PORT");
}

/* Numbers whose sum depends on the order; longer than one piece. */
static bool sums_in_order(gy_ctx *ctx) {
    enum { N = 70001 };
    gy_group *g = gy_ctx_group(ctx);
    float *x = malloc(N * sizeof *x);
    double y = 1.0 / (gy_group_rank(g) + 1);
    for (int i = 0; i < N; i++)
        x[i] = (float)(i + 1) * (gy_group_rank(g) == 0 ? 1.0f : gy_group_rank(g) == 1 ? 3e7f : -3e7f);
    bool ok = gy_group_sum(g, GY_F32, x, N) == GY_OK && gy_group_sum(g, GY_F64, &y, 1) == GY_OK;
    for (int i = 0; i < N; i++) ok = ok && x[i] == ((float)(i + 1) + (float)(i + 1) * 3e7f) + (float)(i + 1) * -3e7f;
    ok = ok && y == 1 + 1.0 / 2 + 1.0 / 3;
    char text[6] = "";
    if (gy_group_rank(g) == 0) memcpy(text, "hello", 6);
    ok = ok && gy_group_share(g, text, 6) == GY_OK && strcmp(text, "hello") == 0;
    free(x);
    return ok;
}
static void sums_are_made_in_the_order_of_ranks(void **state) {
    (void)state;
    together(3, sums_in_order);
}

/* w := w - lr mean over rows of x: each rank has its rows; the update is that of all rows. */
static bool trains_on_its_rows(gy_ctx *ctx) {
    gy_store *store = gy_store_new(ctx);
    gy_state *w = gy_state_get(store, "w", GY_PARAM, GY_F32, GY_S(3), (gy_init){GY_INIT_ONES, 0}, 0);
    gy_graph *g = gy_graph_new(ctx);
    gy_t x = gy_input(g, "x", GY_F32, GY_S(2, 3));
    gy_t loss = gy_scale(gy_sum(gy_mul(x, gy_read(g, w)), GY_ALL), 0.5);
    gy_output(loss, "loss");
    gy_optim_sgd(g, store, loss, .clip_norm = 1e6);
    gy_plan *p = gy_compile(g, (gy_plan_args){0});
    bool ok = p != NULL;
    for (int i = 0; ok && i < 6; i++)
        ((float *)gy_plan_input(p, "x"))[i] = (float)(6 * gy_group_rank(gy_ctx_group(ctx)) + i);
    if (ok) *(double *)gy_plan_input(p, "lr") = 0.5;
    ok = ok && gy_plan_run(p) == GY_OK;
    for (int i = 0; ok && i < 3; i++) /* rows i, i + 3, i + 6, i + 9: mean i + 4.5 */
        ok = fabsf(((float *)w->value.data)[i] - (1 - 0.5f * ((float)i + 4.5f))) < 1e-6f;
    gy_plan_free(p);
    gy_graph_free(g);
    gy_store_free(store);
    return ok;
}
static void an_update_is_that_of_all_rows(void **state) {
    (void)state;
    together(2, trains_on_its_rows);
}
static bool trains_on_the_emulator(gy_ctx *ctx) {
    return gy_ctx_set_device(ctx, "emu") == GY_OK && trains_on_its_rows(ctx);
}
static void an_update_is_that_of_all_rows_on_a_device(void **state) {
    (void)state;
    together(2, trains_on_the_emulator);
}

/* Rank 1 leaves; rank 0's plan says so. */
static bool first_is_left_alone(gy_ctx *ctx) {
    if (gy_group_rank(gy_ctx_group(ctx)) == 1) return true;
    gy_graph *g = gy_graph_new(ctx);
    gy_output(gy_all_reduce(gy_input(g, "x", GY_F32, GY_S(4))), "y");
    gy_plan *p = gy_compile(g, (gy_plan_args){0});
    bool ok = p && gy_plan_run(p) == GY_ERR_IO && strstr(gy_error(ctx), "rank 1 has gone") != NULL;
    ok = ok && gy_plan_run(p) == GY_ERR_IO;
    gy_plan_free(p);
    gy_graph_free(g);
    return ok;
}
static void a_rank_that_has_gone_is_named(void **state) {
    (void)state;
    together(2, first_is_left_alone);
}

static void wrong_variables_are_named(void **state) {
    (void)state;
    gy_ctx *ctx = gy_ctx_new((gy_ctx_args){.threads = 1});
    assert_ok(ctx, gy_ctx_join(ctx));
    assert_null(gy_ctx_group(ctx));
    setenv("WORLD_SIZE", "two", 1);
    assert_int_equal(gy_ctx_join(ctx), GY_ERR_USAGE);
    assert_non_null(strstr(gy_error(ctx), "WORLD_SIZE=two: expected an integer"));
    setenv("WORLD_SIZE", "2", 1);
    assert_int_equal(gy_ctx_join(ctx), GY_ERR_USAGE);
    assert_non_null(strstr(gy_error(ctx), "needs a RANK in [0, 1]"));
    setenv("OMPI_COMM_WORLD_RANK", "5", 1);
    assert_int_equal(gy_ctx_join(ctx), GY_ERR_USAGE);
    unsetenv("OMPI_COMM_WORLD_RANK");
    setenv("WORLD_SIZE", "1", 1);
    assert_ok(ctx, gy_ctx_join(ctx));
    assert_null(gy_ctx_group(ctx));
    unsetenv("WORLD_SIZE");
    gy_ctx_free(ctx);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_are_made_in_the_order_of_ranks), cmocka_unit_test(an_update_is_that_of_all_rows),
        cmocka_unit_test(an_update_is_that_of_all_rows_on_a_device), cmocka_unit_test(a_rank_that_has_gone_is_named),
        cmocka_unit_test(wrong_variables_are_named)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
