/* Transposes that the operators' cases leave out: results so large that they go past the caches. */
#include "x86.h"

#include <stdlib.h>

static void transposes_past_the_caches_move_every_element(void **state) {
    (void)state;
    static const int64_t sizes[][2] = {{2048, 1040}, {1000, 2128}, {2111, 1024}}; /* rows and columns of the result */
    gy_isa tier[GY_ISA_COUNT];
    int tiers;
    x86_tiers(tier, &tiers);
    gy_ctx *ctx = gy_ctx_new((gy_ctx_args){.threads = 2});
    for (int t = 0; t < tiers; t++)
        for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
            const gy_kernel *row = x86_row(GY_OP_copy, GY_F32, tier[t]);
            if (!row) continue;
            int64_t rows = sizes[s][0], columns = sizes[s][1], n = rows * columns;
            float *x = malloc((size_t)n * sizeof *x), *y = aligned_alloc(64, (size_t)n * sizeof *y / 64 * 64 + 64);
            assert_true(x && y);
            for (int64_t i = 0; i < n; i++) x[i] = (float)i; /* exact below 2^24 */
            gy_view in[1] = {x86_view(x, GY_F32, GY_S(rows, columns))}, out[1];
            out[0] = x86_view(y, GY_F32, GY_S(rows, columns));
            in[0].stride[0] = 1;
            in[0].stride[1] = rows;
            gy_kargs k = {.n_in = 1, .n_out = 1, .in = in, .out = out, .pool = gy_ctx_pool(ctx)};
            row->fn(&k);
            for (int64_t r = 0; r < rows; r++)
                for (int64_t c = 0; c < columns; c++)
                    if (y[r * columns + c] != x[c * rows + r])
                        fail_msg("%s: element %d, %d of %d x %d", gy_isa_name(tier[t]), (int)r, (int)c, (int)rows,
                                 (int)columns);
            free(x);
            free(y);
        }
    gy_ctx_free(ctx);
}

int main(void) {
    const struct CMUnitTest tests[] = {TEST(transposes_past_the_caches_move_every_element)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
