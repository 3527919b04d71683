#include "jobs.h"

void make_job(gy_ctx *ctx, gy_job *j, const char *slug, uint64_t seed, const char *const *settings) {
    int64_t n = 0;
    while (settings[n]) n++;
    assert_ok(ctx, gy_job_init(j, ctx, gy_model_find(slug), "tiny", settings, n));
    j->seed = seed;
}

void start_job(gy_ctx *ctx, gy_job *j, const char *slug, uint64_t seed, const char *const *settings) {
    make_job(ctx, j, slug, seed, settings);
    assert_ok(ctx, gy_job_open(j));
}

const gy_tensor *state_value(const gy_job *j, const char *name) {
    const gy_state *s = gy_state_find(j->store, name);
    if (!s) fail_msg("no state '%s'", name);
    return &s->value;
}

int64_t parameters_of(const gy_store *s, const char *prefix) {
    int64_t n = 0;
    for (int64_t i = 0; i < gy_store_count(s); i++) {
        const gy_state *p = gy_store_at(s, i);
        if (p->kind == GY_PARAM && strncmp(p->name, prefix, strlen(prefix)) == 0) n += gy_shape_count(p->value.shape);
    }
    return n;
}

/* What a checkpoint keeps. */
static void copy_store(gy_store *to, const gy_store *from) {
    for (int64_t i = 0; i < gy_store_count(from); i++) {
        const gy_state *s = gy_store_at(from, i);
        gy_state *t = gy_state_get(to, s->name, s->kind, s->value.dtype, s->value.shape, (gy_init){0}, 0);
        assert_non_null(t);
        memcpy(t->value.data, s->value.data, gy_tensor_bytes(&s->value));
        gy_state_touch(t);
    }
}

void assert_resume_is_bit_identical(gy_ctx *ctx, const char *slug, const char *const *settings, int n,
                                    const int64_t *stops) {
    gy_job whole, part[2];
    start_job(ctx, &whole, slug, 5, settings);
    whole.steps = stops[n - 1];
    assert_ok(ctx, gy_job_train(&whole));
    for (int k = 0; k < n; k++) {
        gy_job *j = &part[k % 2], *before = &part[1 - k % 2];
        start_job(ctx, j, slug, 5, settings);
        j->steps = stops[k];
        if (k > 0) {
            copy_store(j->store, before->store);
            j->step = before->step;
            gy_job_free(before);
        }
        assert_ok(ctx, gy_job_train(j));
    }
    gy_job *last = &part[(n - 1) % 2];
    assert_int_equal(gy_store_count(last->store), gy_store_count(whole.store));
    for (int64_t i = 0; i < gy_store_count(whole.store); i++) {
        const gy_state *s = gy_store_at(whole.store, i);
        const gy_tensor *t = state_value(last, s->name);
        assert_int_equal(gy_tensor_bytes(t), gy_tensor_bytes(&s->value));
        assert_memory_equal(t->data, s->value.data, gy_tensor_bytes(t));
    }
    gy_job_free(last);
    gy_job_free(&whole);
}

void assert_settings_are_refused(gy_ctx *ctx, const char *slug, int64_t n, const char *const cases[][2]) {
    gy_job j;
    for (int64_t i = 0; i < n; i++) {
        assert_message(ctx, gy_job_init(&j, ctx, gy_model_find(slug), NULL, cases[i], 1), cases[i][1]);
        gy_error_clear(ctx);
    }
}

void assert_opening_survives_lack_of_memory(gy_ctx *ctx, const char *slug, const char *const *settings, int64_t last) {
    for (int64_t n = 1; n <= last; n++) {
        gy_job j;
        make_job(ctx, &j, slug, 1, settings);
        gy_mem_fail_at(ctx, n);
        gy_status s = gy_job_open(&j);
        gy_mem_fail_at(ctx, 0);
        assert_true(s == GY_OK || s == GY_ERR_NOMEM);
        gy_job_free(&j);
        gy_error_clear(ctx);
    }
}
