/* Random values of the x86 floors must be the reference's, bit for bit, wherever a tail or a tile ends. */
#include "x86.h"

#include "core/ops/random.h"

#include <math.h>
#include <stdlib.h>

enum { MOST = 200000 };

static void values_are_the_references_bit_for_bit(void **state) {
    static const gy_random_attr kinds[] = {
        {.kind = GY_RANDOM_UNIFORM, .a = -1, .b = 2},         {.kind = GY_RANDOM_UNIFORM, .a = 0, .b = 1e-30},
        {.kind = GY_RANDOM_NORMAL, .a = 1, .b = 3},           {.kind = GY_RANDOM_NORMAL, .a = 0, .b = 1},
        {.kind = GY_RANDOM_NORMAL, .a = 0, .b = INFINITY},    {.kind = GY_RANDOM_GUMBEL, .a = 0, .b = 1},
        {.kind = GY_RANDOM_BERNOULLI, .a = 0.3, .b = 1 / 0.7}};
    static const int64_t sizes[] = {1, 3, 4, 63, 64, 65, 4097, MOST};
    static float want[MOST], got[MOST];
    gy_isa tier[GY_ISA_COUNT];
    int tiers;
    x86_tiers(tier, &tiers);
    for (size_t kind = 0; kind < sizeof kinds / sizeof *kinds; kind++)
        for (size_t n = 0; n < sizeof sizes / sizeof *sizes; n++) {
            gy_random_attr a = kinds[kind];
            int64_t rng[2] = {7, 11};
            a.key = 1234567;
            a.dtype = GY_F32;
            a.shape = GY_S(sizes[n]);
            gy_view in = x86_view(rng, GY_I64, GY_S(2)), out = x86_view(want, GY_F32, a.shape);
            gy_kargs k = {.attr = &a, .n_in = 1, .n_out = 1, .in = &in, .out = &out, .pool = gy_ctx_pool(*state)};
            x86_row(GY_OP_random, GY_F32, GY_ISA_REF)->fn(&k);
            for (int t = 0; t < tiers; t++) {
                const gy_kernel *row = x86_row(GY_OP_random, GY_F32, tier[t]);
                if (!row) continue;
                out.data = got;
                memset(got, 0xff, sizeof got);
                row->fn(&k);
                assert_memory_equal(got, want, (size_t)sizes[n] * sizeof *got);
            }
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {TEST(values_are_the_references_bit_for_bit)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
