#include "harness.h"

#include <math.h>
#include <stdio.h>

static size_t live_at_start;

int test_ctx_setup(void **state) {
    gy_ctx *ctx = gy_ctx_new((gy_ctx_args){.threads = 2});
    if (!ctx) return -1;
    live_at_start = gy_mem_live(ctx);
    *state = ctx;
    return 0;
}

int test_ctx_teardown(void **state) {
    gy_ctx *ctx = *state;
    size_t live = gy_mem_live(ctx);
    gy_ctx_free(ctx);
    if (live != live_at_start) fprintf(stderr, "# leak: %zu bytes still allocated\n", live - live_at_start);
    return live == live_at_start ? 0 : -1;
}

void assert_message(gy_ctx *ctx, gy_status s, const char *part) {
    if (s == GY_OK) fail_msg("expected an error with \"%s\", got success", part);
    if (!strstr(gy_error(ctx), part)) fail_msg("expected \"%s\" in the message, found \"%s\"", part, gy_error(ctx));
}

void assert_ok(gy_ctx *ctx, gy_status s) {
    if (s != GY_OK) fail_msg("unexpected error: %s", gy_error(ctx));
}

void assert_close(double a, double b, double tol) {
    double scale = fabs(b) > 1.0 ? fabs(b) : 1.0;
    if (!(fabs(a - b) <= tol * scale)) fail_msg("%.17g differs from %.17g by more than %g", a, b, tol * scale);
}
