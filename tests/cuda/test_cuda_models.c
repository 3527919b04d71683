/* Every registered model on the emulator: the tiny configuration, with small batches and data, trains ten steps with
 * the losses of the CPU, step by step; then it answers one batch with the CPU's values, and (where that does not take
 * minutes) is evaluated with the CPU's metrics. Its line says how far the values lie apart, how many kernels were
 * launched, and the seconds that training and evaluation took. `test_cuda_models vit` runs those whose names begin so,
 * `test_cuda_models 0/4` every fourth. With GYRUS_TEST_KERNELS=1 the kernels that took longest are named. */
#include "../harness/harness.h"

#include "core/device.h"
#include "core/gyrus.h"
#include "core/op.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { STEPS = 10, LOGGED = 64, MODELS = 128 };

/* What is said of a model when the common terms do not fit it. */
typedef struct {
    const char *slug;
    const char *settings[8]; /* smaller than tiny, where ten steps of it would take long */
    double tolerance;        /* of losses, relative to max(1, |loss|); 0: 1e-4 */
    double answers;          /* of answers after training; 0: as losses */
    bool no_evaluation;      /* it draws many samples or reads long texts: minutes on the emulator */
} terms;
static const terms special[] = {
    {"artifactgen", {"batch=2", "samples=5"}, .no_evaluation = true},
    {"brain-encoder-transformer", {"batch=8", "train=40", "valid=8", "test=16"}},
    {"braindive", {"batch=8"}, .no_evaluation = true},
    {"brainmae", {"batch=1", "scans=16", "train=4", "tests=8", "pretrain_steps=5", "tune_steps=5"}},
    {"circuit-reuse", {"each=2", "prompts=4"}},
    {"city-networks", {"side=16", "depth=3", "influence_nodes=2"}},
    {"clip", {"batch=4"}, .no_evaluation = true},
    {"demovae", {"batch=20", "train=40", "tests=20", "generated=10"}},
    /* three phases, each begun with Adam's steps of full size, of which a sign is all that counts: losses agree within
     * 2e-7, but what is left of gradients that ought to be 0 moves parameters either way */
    {"du-in",
     {"vq_batch=2", "mask_batch=2", "word_batch=2", "pool=40", "tests=1", "vq_steps=4", "mask_steps=3", "word_steps=3"},
     .answers = 1e-2},
    {"gpt2", {"batch=1", "tokens=24"}},
    /* batch normalisation of 16 values magnifies what rounding leaves: in ten steps the CPU's own tiers part by 1.3e-5,
     * the emulator by 1.4e-4 */
    {"guided-attention-seg", {"batch=1", "size=32", "train=4", "tests=2", "lr=0.0001"}, 1e-3},
    {"haxby", {"batch=16", "permutations=19", "members=1"}},
    {"llama", {"batch=1", "tokens=24"}, .no_evaluation = true},
    {"medforj", {"batch=1", "volumes=4", "depth=8", "height=8", "width=8", "levels=2"}, .no_evaluation = true},
    {"mindbridge", {"batch=4", "trials=60", "tests=50", "adapt_trials=50"}, .no_evaluation = true},
    {"onehot-hmm-glm", {"length=40", "restarts=1", "warm_steps=5", "steps=5"}},
    {"qwen2", {"batch=1", "tokens=24"}, .no_evaluation = true},
    {"sd-vae", {"batch=1"}, .no_evaluation = true},
    {"sd15-adapter", {"batch=1"}, .no_evaluation = true},
    {"sd15-controlnet", {"batch=1"}, .no_evaluation = true},
    {"sd15-unet", {"batch=1"}, .no_evaluation = true},
    {"strega", {"batch=1", "size=32", "train=4", "tests=2"}, .no_evaluation = true},
    {"tinysd", {"batch=1"}, .no_evaluation = true},
    {"titans", {"batch=2"}, .no_evaluation = true},
    {"vdvae", {"batch=1"}, .no_evaluation = true},
    {"vit-mae", {"batch=2"}, .no_evaluation = true},
    {NULL}};

static terms terms_of(const char *slug) {
    for (const terms *t = special; t->slug; t++)
        if (strcmp(t->slug, slug) == 0) return *t;
    return (terms){.slug = slug};
}

typedef struct {
    char name[48];
    double value;
} logged;
typedef struct {
    logged l[LOGGED * STEPS];
    int64_t n, trained; /* values; those of training */
    gy_metrics metrics;
    double training, evaluation; /* seconds */
} run;

static bool keep(void *user, const gy_job *j, const gy_metrics *m) {
    (void)j;
    run *r = user;
    for (int64_t i = 0; i < m->n && r->n < LOGGED * STEPS; i++) {
        snprintf(r->l[r->n].name, sizeof r->l[r->n].name, "%s", m->m[i].name);
        r->l[r->n++].value = m->m[i].value;
    }
    return true;
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* The answers to one batch of zeros and small indices, as logged values. */
static void answer(gy_ctx *ctx, gy_job *j, run *r) {
    gy_compiled c;
    assert_ok(ctx, gy_job_compile(j, 1, NULL, 0, &c));
    for (int64_t i = 0; i < c.g->n_input; i++) {
        gy_t in = c.g->input[i].value;
        gy_tensor t;
        assert_ok(ctx, gy_tensor_new(ctx, &t, gy_dtype_of(in), gy_shape_of(in)));
        gy_rng rng;
        gy_rng_init(&rng, 3, c.g->input[i].name);
        bool real = gy_dtype_is_float(t.dtype);
        for (int64_t k = 0; k < gy_shape_count(t.shape); k++)
            gy_tensor_set(&t, k, real ? gy_rng_uniform(&rng) - 0.5 : (double)gy_rng_below(&rng, 16));
        gy_status s = gy_plan_feed(c.plan, c.g->input[i].name, &t);
        if (s != GY_OK) gy_error_clear(ctx); /* an input that the answer does not depend on */
        gy_tensor_free(ctx, &t);
    }
    assert_ok(ctx, gy_plan_run(c.plan));
    for (int64_t o = 0; o < c.g->n_output; o++) {
        gy_tensor t = gy_plan_output(c.plan, c.g->output[o].name);
        int64_t n = t.data ? gy_shape_count(t.shape) : 0;
        for (int64_t k = 0; k < n && k < LOGGED && r->n < LOGGED * STEPS; k++) {
            snprintf(r->l[r->n].name, sizeof r->l[r->n].name, "%s[%d]", c.g->output[o].name, (int)k);
            r->l[r->n++].value = gy_tensor_get(&t, k);
        }
    }
    gy_compiled_free(&c);
}

static void work(gy_ctx *ctx, const gy_model_def *def, const terms *t, run *r) {
    double begin = now();
    gy_job j;
    int64_t n = 0;
    while (n < 8 && t->settings[n]) n++;
    assert_ok(ctx, gy_job_init(&j, ctx, def, "tiny", t->settings, n));
    j.seed = 1;
    if (def->objective && def->open) {
        assert_ok(ctx, gy_job_open(&j));
        j.steps = STEPS;
        j.sink = (gy_job_sink){.step = keep, .user = r};
        assert_ok(ctx, gy_job_train(&j));
        r->training = now() - begin;
        begin = now();
        if (def->evaluate && !t->no_evaluation) assert_ok(ctx, def->evaluate(&j, &r->metrics));
        r->evaluation = now() - begin;
    }
    r->trained = r->n;
    answer(ctx, &j, r);
    gy_job_free(&j);
}

/* ---- how many kernels ---- */

static int64_t launched;
static struct {
    const char *name;
    double seconds;
} spent[256];
static void (*launch)(gy_device *d, const gy_launch *l);
static void counted(gy_device *d, const gy_launch *l) {
    launched++;
    double begin = now();
    launch(d, l);
    int k = 0;
    while (k < 255 && spent[k].name && strcmp(spent[k].name, l->kernel) != 0) k++;
    spent[k].name = l->kernel;
    spent[k].seconds += now() - begin;
}

static void trains_as_on_the_cpu(void **state) {
    const gy_model_def *def = *state;
    terms t = terms_of(def->slug);
    double tolerance = t.tolerance > 0 ? t.tolerance : 1e-4, worst = 0;
    static run cpu, emu;
    memset(&cpu, 0, sizeof cpu);
    memset(&emu, 0, sizeof emu);
    gy_ctx *host = gy_ctx_new((gy_ctx_args){.threads = 2}), *ctx = gy_ctx_new((gy_ctx_args){.threads = 2});
    assert_true(host && ctx);
    assert_ok(ctx, gy_ctx_set_device(ctx, "emu"));
    launch = gy_ctx_device(ctx)->launch;
    gy_ctx_device(ctx)->launch = counted;
    launched = 0;
    memset(spent, 0, sizeof spent);
    work(ctx, def, &t, &emu);
    work(host, def, &t, &cpu);
    assert_true(emu.n > 0);
    assert_int_equal(emu.n, cpu.n);
    for (int64_t i = 0; i < cpu.n; i++) {
        double d = fabs(emu.l[i].value - cpu.l[i].value) / fmax(1, fabs(cpu.l[i].value));
        if (d > worst) worst = d;
        if (!(d <= (i >= cpu.trained && t.answers > 0 ? t.answers : tolerance)))
            fail_msg("%s: %s number %d is %.9g on the emulator, %.9g on the CPU", def->slug, cpu.l[i].name, (int)i,
                     emu.l[i].value, cpu.l[i].value);
    }
    assert_int_equal(emu.metrics.n, cpu.metrics.n);
    double apart = 0;
    for (int64_t i = 0; i < cpu.metrics.n; i++) {
        double a = emu.metrics.m[i].value, b = cpu.metrics.m[i].value, d = fabs(a - b) / fmax(1, fabs(b));
        if (isnan(a) && isnan(b)) continue;
        if (d > apart) apart = d;
        if (!(d <= 0.02))
            fail_msg("%s: metric %s is %.9g on the emulator, %.9g on the CPU", def->slug, cpu.metrics.m[i].name, a, b);
    }
    printf("%-26s %4d values within %.1e, %2d metrics within %.1e, %6lld kernels, %5.1f + %5.1f s (CPU %.1f + %.1f)\n",
           def->slug, (int)cpu.n, worst, (int)cpu.metrics.n, apart, (long long)launched, emu.training, emu.evaluation,
           cpu.training, cpu.evaluation);
    for (int n = 0; getenv("GYRUS_TEST_KERNELS") && n < 4; n++) { /* the slowest */
        int k = 0;
        for (int i = 0; i < 256 && spent[i].name; i++)
            if (spent[i].seconds > spent[k].seconds) k = i;
        printf("    %-30s %6.2f s\n", spent[k].name, spent[k].seconds);
        spent[k].seconds = 0;
    }
    fflush(stdout);
    gy_ctx_free(ctx);
    gy_ctx_free(host);
}

int main(int argc, char **argv) {
    static struct CMUnitTest tests[MODELS];
    static char names[MODELS][96];
    int shard = 0, shards = 1, n = 0, i = 0;
    const char *prefix = "";
    if (argc > 1 && sscanf(argv[1], "%d/%d", &shard, &shards) != 2) prefix = argv[1];
    for (const gy_model_def *const *m = gy_models; *m && n < MODELS; m++, i++) {
        if (i % shards != shard || strncmp((*m)->slug, prefix, strlen(prefix)) != 0) continue;
        snprintf(names[n], sizeof names[n], "%s on the emulator", (*m)->slug);
        tests[n] = (struct CMUnitTest){names[n], trains_as_on_the_cpu, NULL, NULL, (void *)(uintptr_t)*m};
        n++;
    }
    return _cmocka_run_group_tests("models on the emulator", tests, (size_t)n, NULL, NULL);
}
