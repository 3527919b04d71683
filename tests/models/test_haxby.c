/* The model haxby on generated data: it decodes what is there, nothing when nothing is there, and no run leaks into the
 * networks that are tested on it. */
#include "../io/build.h"

#include "core/gyrus.h"
#include "io/run.h"
#include "models/blocks/runcv_panels.h"

#include <math.h>

extern const gy_model_def gy_model_haxby;

static const char *const SMALL[] = {"members=1", "steps=6", "batch=16", "permutations=39", "hidden=8"};
enum { N_SMALL = 5 };

static gy_job opened(gy_ctx *ctx, const char *ablate) {
    gy_job j;
    assert_ok(ctx, gy_job_init(&j, ctx, &gy_model_haxby, NULL, SMALL, N_SMALL));
    j.seed = 7;
    j.ablate = ablate;
    assert_ok(ctx, gy_job_open(&j));
    return j;
}
/* haxby's data begin with the volumes. */
static gy_fmri *volumes_of(gy_job *j) {
    return j->data;
}

static double ridge_accuracy(gy_ctx *ctx, const gy_fmri *f, double *p) {
    gy_runcv_data d = gy_runcv_view(f);
    gy_runcv_result r;
    assert_ok(ctx, gy_runcv_result_new(ctx, &d, 39, &r));
    assert_ok(ctx, gy_runcv_baseline(f, (double)f->voxels, 3, &r));
    double accuracy = gy_runcv_accuracy(&d, r.ridge, -1);
    if (p) *p = r.p;
    gy_runcv_result_free(&r);
    return accuracy;
}

static void the_linear_baseline_finds_the_categories(void **state) {
    gy_ctx *ctx = *state;
    gy_job j = opened(ctx, NULL);
    double p;
    assert_string_equal(j.data_label, "generated");
    assert_true(ridge_accuracy(ctx, volumes_of(&j), &p) > 0.5);
    assert_close(p, 1.0 / 40, 1e-12); /* no relabelling does as well */
    gy_job_free(&j);
}

static void ablations_leave_nothing_to_decode(void **state) {
    gy_ctx *ctx = *state;
    static const char *const names[] = {"shuffle", "pattern"};
    for (int i = 0; i < 2; i++) {
        gy_job j = opened(ctx, names[i]);
        assert_true(ridge_accuracy(ctx, volumes_of(&j), NULL) < 0.25);
        gy_job_free(&j);
    }
}

static void a_constant_of_the_run_does_not_help(void **state) {
    gy_ctx *ctx = *state;
    gy_fmri still, shifted;
    assert_ok(ctx, gy_synthfmri(ctx, 5, (gy_synthfmri_args){.runs = 4, .signal = 0.7}, &still));
    assert_ok(ctx, gy_synthfmri(ctx, 5, (gy_synthfmri_args){.runs = 4, .signal = 0.7, .offset = 20}, &shifted));
    for (int64_t i = 0; i < still.volumes * still.voxels; i++)
        assert_true(fabs((double)still.x[i] - (double)shifted.x[i]) < 1e-2);
    double a = ridge_accuracy(ctx, &still, NULL), b = ridge_accuracy(ctx, &shifted, NULL);
    assert_true(fabs(a - b) < 0.01);
    gy_fmri_free(&still);
    gy_fmri_free(&shifted);
}

static void a_network_never_sees_the_run_it_is_tested_on(void **state) {
    gy_ctx *ctx = *state;
    gy_job j = opened(ctx, NULL);
    gy_fmri *f = volumes_of(&j);
    gy_compiled c;
    for (int64_t i = 0; i < f->volumes; i++) f->x[i * f->voxels] = (float)f->run[i];
    assert_ok(ctx, gy_job_compile_phase(&j, 0, false, &c));
    const float *x = gy_plan_input(c.plan, "voxels");
    bool seen[16] = {0};
    for (int64_t step = 0; step < 20; step++) {
        assert_ok(ctx, gy_model_haxby.batch(&j, c.plan, 0, step));
        for (int64_t fold = 0; fold <= f->runs; fold++)
            for (int64_t i = 0; i < j.batch; i++) {
                int64_t run = (int64_t)x[(fold * j.batch + i) * f->voxels];
                assert_true(run != fold);
                if (fold == f->runs) seen[run] = true; /* the networks for use learn from every run */
            }
    }
    for (int64_t r = 0; r < f->runs; r++) assert_true(seen[r]);
    gy_compiled_free(&c);
    gy_job_free(&j);
}

static void held_out_numbers_do_not_change_the_network(void **state) {
    gy_ctx *ctx = *state;
    gy_job a = opened(ctx, NULL), b = opened(ctx, NULL);
    gy_fmri *f = volumes_of(&b);
    for (int64_t i = 0; i < f->volumes; i++)
        if (f->run[i] == 2)
            for (int64_t v = 0; v < f->voxels; v++) f->x[i * f->voxels + v] += 3;
    assert_ok(ctx, gy_job_train(&a));
    assert_ok(ctx, gy_job_train(&b));
    int64_t same = 0, other = 0;
    for (int64_t i = 0; i < gy_store_count(a.store); i++) {
        const gy_state *x = gy_store_at(a.store, i), *y = gy_state_find(b.store, x->name);
        if (x->kind != GY_PARAM) continue;
        bool equal = memcmp(x->value.data, y->value.data, gy_tensor_bytes(&x->value)) == 0;
        if (strncmp(x->name, "without2.", 9) == 0) {
            assert_true(equal);
            same++;
        } else {
            other += !equal;
        }
    }
    assert_true(same > 0 && other > 0);
    gy_job_free(&a);
    gy_job_free(&b);
}

static bool stop_at_three(void *user, const gy_job *j, const gy_metrics *logged) {
    (void)user;
    (void)logged;
    return j->step < 3;
}
static gy_status save(void *user, const gy_job *j) {
    return gy_run_save(user, j);
}

static void two_halves_are_the_whole(void **state) {
    gy_ctx *ctx = *state;
    char dir[64];
    gy_run_folder *run;
    gy_job whole = opened(ctx, NULL), half = opened(ctx, NULL), rest;
    char *argv[] = {"gyrus", NULL};
    assert_ok(ctx, gy_job_train(&whole));
    assert_ok(ctx, gy_run_open(ctx, temp_dir(dir), false, &run));
    assert_ok(ctx, gy_run_describe(run, &half, argv));
    half.sink = (gy_job_sink){stop_at_three, save, run};
    assert_int_equal(gy_job_train(&half), GY_ERR_INTERRUPTED);
    gy_error_clear(ctx);
    assert_ok(ctx, gy_run_job(ctx, dir, &rest));
    assert_ok(ctx, gy_job_open(&rest));
    assert_ok(ctx, gy_run_load(ctx, dir, &rest));
    assert_int_equal(rest.step, 3);
    assert_ok(ctx, gy_job_train(&rest));
    assert_int_equal(gy_store_count(rest.store), gy_store_count(whole.store));
    for (int64_t i = 0; i < gy_store_count(whole.store); i++) {
        const gy_state *a = gy_store_at(whole.store, i), *b = gy_state_find(rest.store, a->name);
        assert_non_null(b);
        assert_memory_equal(a->value.data, b->value.data, gy_tensor_bytes(&a->value));
    }
    gy_run_close(run);
    gy_job_free(&whole);
    gy_job_free(&half);
    gy_job_free(&rest);
    remove_dir(ctx, dir);
}

static void inference_takes_voxels_and_gives_probabilities(void **state) {
    gy_ctx *ctx = *state;
    static const char *const archs[] = {"tiny", "transformer"};
    for (int i = 0; i < 2; i++) {
        gy_job j;
        gy_compiled c;
        assert_ok(ctx, gy_job_init(&j, ctx, &gy_model_haxby, archs[i], NULL, 0)); /* no data: sizes of the set */
        assert_ok(ctx, gy_job_compile(&j, 3, NULL, 0, &c));
        float *x = gy_plan_input(c.plan, "voxels");
        for (int k = 0; k < 3 * 530; k++) x[k] = (float)sin(k);
        assert_ok(ctx, gy_plan_run(c.plan));
        gy_tensor p = gy_plan_output(c.plan, "probabilities");
        assert_true(gy_shape_equal(p.shape, GY_S(3, 8)));
        double sum = 0;
        for (int k = 0; k < 8; k++) sum += gy_tensor_get(&p, k);
        assert_close(sum, 1, 1e-5);
        gy_compiled_free(&c);
        gy_job_free(&j);
    }
    gy_job j;
    assert_message(ctx, gy_job_init(&j, ctx, &gy_model_haxby, NULL, (const char *const[]){"arch=forest"}, 1),
                   "expected mlp or transformer");
}

static void a_run_leaves_map_predictions_and_a_report_with_its_licence(void **state) {
    gy_ctx *ctx = *state;
    char dir[64], path[256], *html;
    size_t n;
    gy_job j = opened(ctx, NULL);
    gy_fmri *f = volumes_of(&j);
    gy_metrics m = {0};
    gy_report *r;
    gy_nifti map;
    assert_ok(ctx, gy_job_train(&j));
    assert_ok(ctx, gy_model_haxby.evaluate(&j, &m));
    assert_true(gy_metric_get(&m, "accuracy_linear") > 0.5);
    assert_close(gy_metric_get(&m, "split_half_identified"), 8, 0);
    assert_ok(ctx, gy_model_haxby.artefacts(&j, temp_dir(dir)));
    assert_ok(ctx, gy_nifti_open(ctx, in_dir(dir, "weights.nii.gz", path), NULL, &map));
    assert_int_equal(map.dim[0], f->grid.dim[0]);
    assert_close(map.affine[0][3], f->grid.affine[0][3], 1e-5);
    gy_nifti_close(&map);
    buf csv = slurp(in_dir(dir, "predictions.csv", path));
    int64_t lines = 0;
    for (size_t i = 0; i < csv.n; i++) lines += csv.d[i] == '\n';
    assert_int_equal(lines, f->volumes + 1);
    buf_free(&csv);
    remove_dir(ctx, dir);
    gy_runcv_data d = gy_runcv_view(f);
    gy_runcv_result result;
    assert_ok(ctx, gy_runcv_result_new(ctx, &d, 39, &result));
    assert_ok(ctx, gy_runcv_baseline(f, (double)f->voxels, 3, &result));
    for (int haxby = 0; haxby < 2; haxby++) {
        assert_ok(ctx, gy_report_new(ctx, (gy_report_args){.title = "t", .command = "c"}, &r));
        assert_ok(ctx, gy_runcv_panels(f, &result, "gyrus train haxby", haxby, r));
        assert_ok(ctx, gy_report_bytes(r, &html, &n));
        assert_int_equal(strstr(html, "CC BY-SA 3.0") != NULL, haxby);
        assert_non_null(strstr(html, "are generated, not measured"));
        assert_non_null(strstr(html, "cross-validation"));
        assert_null(strstr(html, "was not filled"));
        gy_free(ctx, html);
        gy_report_free(r);
    }
    gy_runcv_result_free(&result);
    gy_job_free(&j);
    buf demo = slurp("data/demo.sh");
    assert_non_null(strstr((char *)demo.d, "licence CC BY-SA 3.0"));
    buf_free(&demo);
}

static void blocks_and_pairs_are_scored(void **state) {
    (void)state;
    const int64_t label[] = {0, 0, 1, 1}, run[] = {0, 0, 1, 1}, block[] = {0, 0, 1, 1};
    const double score[] = {1, 0, 0, 3, 0, 1, 2, 1};
    gy_runcv_data d = {
        .n = 4, .p = 1, .classes = 2, .runs = 2, .blocks = 2, .label = label, .run = run, .block = block};
    double counts[4];
    assert_close(gy_runcv_accuracy(&d, score, -1), 0.5, 0);
    assert_close(gy_runcv_accuracy(&d, score, 0), 0.5, 0);
    assert_close(gy_runcv_block_accuracy(&d, score), 0, 0); /* sums (1, 3) and (2, 2): the tie goes to class 0 */
    assert_close(gy_runcv_pair_accuracy(&d, score, 0, 1), 0.5, 0);
    gy_runcv_confusion(&d, score, counts);
    for (int i = 0; i < 4; i++) assert_close(counts[i], 1, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {TEST(the_linear_baseline_finds_the_categories),
                                       TEST(ablations_leave_nothing_to_decode),
                                       TEST(a_constant_of_the_run_does_not_help),
                                       TEST(a_network_never_sees_the_run_it_is_tested_on),
                                       TEST(held_out_numbers_do_not_change_the_network),
                                       TEST(two_halves_are_the_whole),
                                       TEST(inference_takes_voxels_and_gives_probabilities),
                                       TEST(a_run_leaves_map_predictions_and_a_report_with_its_licence),
                                       TEST(blocks_and_pairs_are_scored)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
