/* The registered networks: they train on their generated worlds, resume bit for bit, and refuse what makes no sense. */
#include "../harness/harness.h"

#include "core/gyrus.h"

#include <math.h>
#include <stdio.h>

static void open_job(gy_ctx *ctx, const char *slug, const char *config, const char *const *settings, int64_t n,
                     gy_job *j) {
    assert_ok(ctx, gy_job_init(j, ctx, gy_model_find(slug), config, settings, n));
    j->seed = 3;
    assert_ok(ctx, gy_job_open(j));
}

/* The first and the last loss. */
typedef struct curve {
    int64_t n;
    double first, last;
} curve;
static bool note(void *user, const gy_job *j, const gy_metrics *logged) {
    curve *c = user;
    double v = gy_metric_get(logged, "loss");
    (void)j;
    if (c->n++ == 0) c->first = v;
    c->last = v;
    return true;
}

static void trains(gy_ctx *ctx, const char *slug, const char *config, const char *const *settings, int64_t n,
                   double factor) {
    gy_job j;
    curve c = {0};
    open_job(ctx, slug, config, settings, n, &j);
    j.steps = 25;
    j.sink = (gy_job_sink){.step = note, .user = &c};
    assert_ok(ctx, gy_job_train(&j));
    if (!(c.last < factor * c.first)) fail_msg("%s %s: loss %g after %g", slug, config, c.last, c.first);
    gy_job_free(&j);
}

static void the_text_conditioned_net_learns(void **state) {
    trains(*state, "sd15-unet", "tiny", (const char *const[]){"batch=8"}, 1, 0.95);
}

static void the_autoencoder_learns(void **state) {
    trains(*state, "sd-vae", "tiny", (const char *const[]){"batch=4"}, 1, 0.9);
}

/* Ten steps at once, and five, then five more with the store that five left. */
static void training_in_two_parts_gives_the_same_bits(void **state) {
    static const char *const small[] = {"batch=4"};
    gy_job whole, parts;
    open_job(*state, "sd15-unet", "tiny", small, 1, &whole);
    open_job(*state, "sd15-unet", "tiny", small, 1, &parts);
    whole.steps = 10;
    assert_ok(*state, gy_job_train(&whole));
    for (int64_t i = 0; i < 2; i++) {
        parts.steps = 10;
        for (int64_t stop = 5 * (i + 1); parts.step < stop;) {
            gy_compiled c;
            assert_ok(*state, gy_job_compile_phase(&parts, 0, false, &c));
            for (; parts.step < stop; parts.step++) {
                assert_ok(*state, parts.def->batch(&parts, c.plan, 0, parts.step));
                gy_plan_set_rng(c.plan, parts.seed, (uint64_t)parts.step);
                *(double *)gy_plan_input(c.plan, "lr") = parts.def->lr(&parts, 0, parts.step);
                assert_ok(*state, gy_plan_run(c.plan));
            }
            gy_compiled_free(&c);
        }
    }
    for (int64_t i = 0; i < gy_store_count(whole.store); i++) {
        gy_state *a = gy_store_at(whole.store, i), *b = gy_state_find(parts.store, a->name);
        assert_non_null(b);
        assert_memory_equal(a->value.data, b->value.data, gy_tensor_bytes(&a->value));
    }
    gy_job_free(&whole);
    gy_job_free(&parts);
}

static void refused(gy_ctx *ctx, const char *slug, const char *setting, const char *part) {
    gy_job j;
    assert_message(ctx, gy_job_init(&j, ctx, gy_model_find(slug), NULL, &setting, 1), part);
}

static void settings_that_make_no_net_are_refused(void **state) {
    refused(*state, "sd15-unet", "widths=16,32,64", "two lists of the same length");
    refused(*state, "sd15-unet", "groups=5", "no multiple of 5 groups");
    refused(*state, "sd15-unet", "mid_heads=3", "3 heads do not divide");
    refused(*state, "sd-vae", "widths=x", "expected 1 to 8 numbers");
    refused(*state, "sd-vae", "height=15", "multiples of 2");
}

/* The outputs of `slug` are sd15-unet's inputs, name by name. */
static void outputs_fit(gy_ctx *ctx, const char *slug, const char *config, const char *setting, int n,
                        const char *const names[]) {
    gy_job net, side;
    gy_compiled a, b;
    assert_ok(ctx, gy_job_init(&net, ctx, gy_model_find("sd15-unet"), NULL, &setting, 1));
    assert_ok(ctx, gy_job_init(&side, ctx, gy_model_find(slug), config, NULL, 0));
    assert_ok(ctx, gy_job_compile(&net, 1, NULL, 0, &a));
    assert_ok(ctx, gy_job_compile(&side, 1, NULL, 0, &b));
    assert_ok(ctx, gy_plan_run(b.plan));
    for (int i = 0; i < n; i++) {
        gy_tensor t = gy_plan_output(b.plan, names[i]);
        assert_ok(ctx, gy_plan_feed(a.plan, names[i], &t));
    }
    assert_ok(ctx, gy_plan_run(a.plan));
    gy_compiled_free(&a);
    gy_compiled_free(&b);
    gy_job_free(&net);
    gy_job_free(&side);
}

static void control_outputs_fit_the_net_s_inputs(void **state) {
    static const char *const names[] = {"down_0", "down_1", "down_2", "down_3", "mid"};
    outputs_fit(*state, "sd15-controlnet", "small", "control=1", 5, names);
}

static void adapter_outputs_fit_the_net_s_inputs(void **state) {
    static const char *const names[] = {"level_0", "level_1"};
    outputs_fit(*state, "sd15-adapter", "small", "adapter=1", 2, names);
}

static bool same_state(const gy_job *j, const char *a, const char *b) {
    gy_state *x = gy_state_find(j->store, a), *y = gy_state_find(j->store, b);
    assert_non_null(x);
    assert_non_null(y);
    return memcmp(x->value.data, y->value.data, gy_tensor_bytes(&x->value)) == 0;
}

/* At first the copy has the U-Net's weights and steers by nothing at all: both errors are one number, bit for bit. The
 * copy learns, the U-Net stays. */
static void a_control_net_starts_as_the_bare_net_and_learns(void **state) {
    static const char *const set[] = {"batch=16"};
    gy_ctx *ctx = *state;
    gy_job j;
    gy_metrics before = {0}, after = {0};
    open_job(ctx, "sd15-controlnet", NULL, set, 1, &j);
    assert_true(same_state(&j, "conv_in.weight", "unet.conv_in.weight"));
    assert_true(same_state(&j, "mid_block.resnets.1.conv2.weight", "unet.mid_block.resnets.1.conv2.weight"));
    assert_ok(ctx, j.def->evaluate(&j, &before));
    assert_true(gy_metric_get(&before, "eps_mse") == gy_metric_get(&before, "eps_mse_without_hint"));
    j.steps = 60;
    assert_ok(ctx, gy_job_train(&j));
    assert_ok(ctx, j.def->evaluate(&j, &after));
    assert_true(gy_metric_get(&after, "eps_mse_without_hint") == gy_metric_get(&before, "eps_mse_without_hint"));
    if (!(gy_metric_get(&after, "eps_mse") < gy_metric_get(&before, "eps_mse")))
        fail_msg("error %g with the hint, %g without", gy_metric_get(&after, "eps_mse"),
                 gy_metric_get(&after, "eps_mse_without_hint"));
    assert_false(same_state(&j, "mid_block.resnets.1.conv2.weight", "unet.mid_block.resnets.1.conv2.weight"));
    gy_job_free(&j);
}

/* The adapter learns from the hint, not only from more training: its own picture's hint helps, another's harms, and the
 * U-Net without it is untouched. Captions are blank, so that only the hint can say what is there. */
static void an_adapter_learns_to_steer_by_the_hint(void **state) {
    static const char *const set[] = {"batch=16", "lr=0.01", "drop=1"};
    gy_ctx *ctx = *state;
    gy_job j;
    gy_metrics before = {0}, after = {0};
    open_job(ctx, "sd15-adapter", NULL, set, 3, &j);
    assert_ok(ctx, j.def->evaluate(&j, &before));
    j.steps = 120;
    assert_ok(ctx, gy_job_train(&j));
    assert_ok(ctx, j.def->evaluate(&j, &after));
    double bare = gy_metric_get(&after, "eps_mse_without_hint"), own = gy_metric_get(&after, "eps_mse"),
           wrong = gy_metric_get(&after, "eps_mse_wrong_hint");
    assert_true(bare == gy_metric_get(&before, "eps_mse_without_hint"));
    assert_true(gy_metric_get(&before, "eps_mse") > bare); /* untrained, it is in the way */
    if (!(own < 0.97 * bare && wrong > 1.2 * bare))
        fail_msg("error %g with the hint, %g without, %g with another's", own, bare, wrong);
    gy_job_free(&j);
}

static void an_adapter_resumes_bit_for_bit(void **state) {
    static const char *const set[] = {"batch=2", NULL};
    gy_ctx *ctx = *state;
    gy_job whole, parts;
    open_job(ctx, "sd15-adapter", NULL, set, 1, &whole);
    open_job(ctx, "sd15-adapter", NULL, set, 1, &parts);
    whole.steps = parts.steps = 4;
    assert_ok(ctx, gy_job_train(&whole));
    for (int i = 0; i < 2; i++) {
        gy_compiled c;
        assert_ok(ctx, gy_job_compile_phase(&parts, 0, false, &c));
        for (; parts.step < 2 * (i + 1); parts.step++) {
            assert_ok(ctx, parts.def->batch(&parts, c.plan, 0, parts.step));
            gy_plan_set_rng(c.plan, parts.seed, (uint64_t)parts.step);
            *(double *)gy_plan_input(c.plan, "lr") = parts.def->lr(&parts, 0, parts.step);
            assert_ok(ctx, gy_plan_run(c.plan));
        }
        gy_compiled_free(&c);
    }
    for (int64_t i = 0; i < gy_store_count(whole.store); i++) {
        gy_state *a = gy_store_at(whole.store, i), *b = gy_state_find(parts.store, a->name);
        assert_non_null(b);
        assert_memory_equal(a->value.data, b->value.data, gy_tensor_bytes(&a->value));
    }
    gy_job_free(&whole);
    gy_job_free(&parts);
}

static void nets_that_steer_say_what_they_can_be_trained_on(void **state) {
    static const struct {
        const char *config, *setting, *message;
    } cases[] = {{"small", NULL, "fits the configuration tiny only"},
                 {"sd15", NULL, "fits the configuration tiny only"},
                 {NULL, "channels=1", "hints of 3 channels"},
                 {NULL, "height=8", "16 x 16 pictures"},
                 {NULL, "base=nowhere.safetensors", "base='nowhere.safetensors': the U-Net's weights are not there"}};
    static const char *const slugs[] = {"sd15-adapter", "sd15-controlnet"};
    for (size_t i = 0; i < 2 * (sizeof cases / sizeof *cases); i++) {
        gy_job j;
        char want[160];
        snprintf(want, sizeof want, "%s: ", slugs[i % 2]);
        assert_ok(*state, gy_job_init(&j, *state, gy_model_find(slugs[i % 2]), cases[i / 2].config,
                                      &cases[i / 2].setting, cases[i / 2].setting != NULL));
        assert_message(*state, gy_job_open(&j), want);
        assert_non_null(strstr(gy_error(*state), cases[i / 2].message));
        gy_job_free(&j);
        gy_error_clear(*state);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(the_text_conditioned_net_learns),
        TEST(the_autoencoder_learns),
        TEST(training_in_two_parts_gives_the_same_bits),
        TEST(settings_that_make_no_net_are_refused),
        TEST(control_outputs_fit_the_net_s_inputs),
        TEST(adapter_outputs_fit_the_net_s_inputs),
        TEST(a_control_net_starts_as_the_bare_net_and_learns),
        TEST(an_adapter_learns_to_steer_by_the_hint),
        TEST(an_adapter_resumes_bit_for_bit),
        TEST(nets_that_steer_say_what_they_can_be_trained_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
