/* Convolution, attention, norms and what goes with them on the emulator, at sizes where several tiles, split depths and
 * long rows occur, which the operators' small cases do not reach: against the reference kernels, by three schedules
 * with equal bits, buffers ending at a page that may not be touched. */
#include "../harness/harness.h"

#include "core/gyrus.h"
#include "core/ops.h"
#include "kernels/cuda/cuda.h"

#include <float.h>
#include <stdio.h>
#include <stdlib.h>

static gy_ctx *ctx;

static int setup(void **state) {
    (void)state;
    ctx = gy_ctx_new((gy_ctx_args){.threads = 2});
    return ctx && gy_ctx_set_device(ctx, "emu") == GY_OK ? 0 : -1;
}
static int teardown(void **state) {
    (void)state;
    gy_ctx_free(ctx);
    return 0;
}

static uint64_t random_state = 7;
static double uniform(void) { /* -1 to 1, of 24 bits */
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (double)(random_state >> 40) / (1 << 23) - 1;
}

enum { MOST = 8 };
/* An operator's call: inputs are drawn, outputs are NaN. */
typedef struct {
    gy_op_id op;
    const void *attr;
    int n_in, n_out;
    gy_view in[MOST], out[MOST];
    void *memory[2 * MOST];
    int n_memory;
    double floor; /* outputs whose largest result is below are measured against it */
} call;

/* Room for a tensor that ends where the device's memory does. */
static gy_view room(call *c, gy_shape s, gy_dtype t) {
    gy_device *d = gy_ctx_device(ctx);
    size_t bytes = ((size_t)gy_shape_count(s) * gy_dtype_size(t) + 15) / 16 * 16, pages = (bytes + 4095) / 4096 * 4096;
    char *p = d->alloc(d, pages ? pages : 1);
    assert_non_null(p);
    memset(p, 0xff, pages);
    c->memory[c->n_memory++] = p;
    gy_view v = {.data = p + pages - bytes, .dtype = t, .shape = s};
    int64_t step = 1;
    for (int64_t i = s.rank - 1; i >= 0; i--) {
        v.stride[i] = step;
        step *= s.dim[i];
    }
    return v;
}
static gy_view *add_input(call *c, gy_shape s) {
    gy_view *v = &c->in[c->n_in++];
    *v = room(c, s, GY_F32);
    for (int64_t i = 0; i < gy_shape_count(s); i++) ((float *)v->data)[i] = (float)uniform();
    return v;
}
static void add_none(call *c) {
    c->in[c->n_in++] = (gy_view){0};
}
static void add_output(call *c, gy_shape s, gy_dtype t) {
    c->out[c->n_out++] = room(c, s, t);
}

static double number(const gy_view *v, int64_t i) {
    if (v->dtype == GY_I64) return (double)((const int64_t *)v->data)[i];
    return (double)((const float *)v->data)[i];
}

/* Runs the reference into `want`'s memory. */
static void reference(const call *c, gy_dtype precision, gy_view want[MOST]) {
    gy_kargs k = {.op = c->op,
                  .attr = c->attr,
                  .n_in = c->n_in,
                  .n_out = c->n_out,
                  .in = (gy_view *)(uintptr_t)c->in,
                  .out = want,
                  .pool = gy_ctx_pool(ctx),
                  .precision = precision};
    for (int i = 0; i < c->n_out; i++) {
        want[i] = c->out[i];
        want[i].data = calloc((size_t)gy_shape_count(want[i].shape) + 1, 8);
    }
    const gy_kernel *row = gy_kernel_choose(c->op, GY_F32, 1, &k);
    size_t scratch = row->scratch ? row->scratch(&k, 2) : 0;
    k.scratch = calloc(scratch + 64, 1);
    row->fn(&k);
    free(k.scratch);
}

/* Within `tol` of the largest result of each output. */
static void check(call *c, gy_dtype precision, double tol) {
    gy_device *d = gy_ctx_device(ctx);
    gy_view want[MOST];
    reference(c, precision, want);
    gy_kargs k = {.op = c->op,
                  .attr = c->attr,
                  .n_in = c->n_in,
                  .n_out = c->n_out,
                  .in = c->in,
                  .out = c->out,
                  .device = d,
                  .precision = precision};
    const gy_kernel *row = gy_kernel_choose(c->op, GY_F32, UINT64_C(1) << GY_ISA_CUDA, &k);
    assert_non_null(row);
    size_t scratch = row->scratch ? row->scratch(&k, 2) : 0;
    k.scratch = scratch ? d->alloc(d, scratch) : NULL;
    void *first[MOST] = {NULL};
    for (int order = GY_EMU_FORWARD; order <= GY_EMU_RANDOM; order++) {
        gy_emu_schedule(d, (gy_emu_order)order, 3);
        if (scratch) memset(k.scratch, 0xff, scratch);
        row->fn(&k);
        assert_ok(ctx, gy_device_wait(d));
        for (int o = 0; o < c->n_out; o++) {
            int64_t n = gy_shape_count(want[o].shape);
            size_t bytes = (size_t)n * gy_dtype_size(want[o].dtype);
            double scale = c->floor;
            for (int64_t i = 0; i < n; i++)
                if (isfinite(number(&want[o], i))) scale = fmax(scale, fabs(number(&want[o], i)));
            for (int64_t i = 0; i < n; i++) {
                double have = number(&c->out[o], i), ought = number(&want[o], i);
                if (have != ought && !(fabs(have - ought) <= tol * scale) && !(isnan(have) && isnan(ought)))
                    fail_msg("%s output %d: element %d is %.9g, expected %.9g (largest %g)", row->name, o, (int)i, have,
                             ought, scale);
            }
            if (order == GY_EMU_FORWARD) {
                first[o] = malloc(bytes + 1);
                memcpy(first[o], c->out[o].data, bytes);
            } else if (memcmp(first[o], c->out[o].data, bytes) != 0) {
                fail_msg("%s output %d: other bits in another order of warps", row->name, o);
            }
            memset(c->out[o].data, 0xff, bytes);
        }
    }
    for (int o = 0; o < c->n_out; o++) {
        free(first[o]);
        free(want[o].data);
    }
    if (scratch) d->free(d, k.scratch);
}
static void release(call *c) {
    gy_device *d = gy_ctx_device(ctx);
    for (int i = 0; i < c->n_memory; i++) d->free(d, c->memory[i]);
}

/* ---- norms ---- */

static void norm(gy_op_id op, gy_shape x, int64_t groups, bool affine, int64_t act) {
    gy_norm_attr a = {.eps = 1e-5, .groups = groups, .act = act};
    bool rms = op == GY_OP_rmsnorm;
    gy_op_id grad = op == GY_OP_layernorm   ? GY_OP_layernorm_grad
                    : rms                   ? GY_OP_rmsnorm_grad
                    : op == GY_OP_groupnorm ? GY_OP_groupnorm_grad
                                            : GY_OP_batchnorm_grad;
    gy_shape stat = x, vector = GY_S(x.dim[x.rank - 1]);
    stat.dim[--stat.rank] = 0;
    if (op == GY_OP_groupnorm) stat = GY_S(x.dim[0], groups);
    if (op == GY_OP_batchnorm) stat = vector;
    call c = {.op = op, .attr = &a};
    gy_view *v = add_input(&c, x);
    for (int64_t i = 0; i < gy_shape_count(x); i++) ((float *)v->data)[i] += 100; /* a mean far from 0 */
    for (int i = 0; i < (rms ? 1 : 2); i++) {
        if (affine)
            add_input(&c, vector);
        else
            add_none(&c);
    }
    add_output(&c, x, GY_F32);
    for (int i = 0; i < (rms ? 1 : 2); i++) add_output(&c, stat, GY_F32);
    gy_view saved[MOST];
    reference(&c, GY_F32, saved);
    call g = {.op = grad, .attr = &a};
    add_input(&g, x);
    for (int i = 0; i < (rms ? 2 : 3); i++) {
        if (!c.in[i].data) {
            add_none(&g);
            continue;
        }
        gy_view *w = add_input(&g, c.in[i].shape);
        memcpy(w->data, c.in[i].data, (size_t)gy_shape_count(w->shape) * sizeof(float));
    }
    for (int i = 1; i < c.n_out; i++) {
        gy_view *w = add_input(&g, stat);
        memcpy(w->data, saved[i].data, (size_t)gy_shape_count(stat) * sizeof(float));
    }
    add_output(&g, x, GY_F32);
    for (int i = 0; affine && i < (rms ? 1 : 2); i++) add_output(&g, vector, GY_F32);
    for (int i = 0; i < c.n_out; i++) free(saved[i].data);
    /* x itself carries 100 eps of error, a few times that after division by its deviation of 0.6 */
    check(&c, GY_F32, 500 * FLT_EPSILON);
    release(&c);
    check(&g, GY_F32, 500 * FLT_EPSILON);
    release(&g);
}

static void norms_of_long_rows_and_many_columns(void **state) {
    (void)state;
    static const int64_t length[] = {1024, 1023, 1028, 5000, 9000};
    for (int i = 0; i < 5; i++) {
        norm(GY_OP_layernorm, GY_S(9, length[i]), 0, i % 2 == 0, 0);
        norm(GY_OP_rmsnorm, GY_S(5, length[i]), 0, i % 2 == 1, 0);
    }
    norm(GY_OP_layernorm, GY_S(2500, 36), 0, true, 0);
    norm(GY_OP_groupnorm, GY_S(3, 20, 17, 80), 8, true, GY_ACT_SILU);
    norm(GY_OP_groupnorm, GY_S(2, 700, 6), 2, false, GY_ACT_NONE);
    norm(GY_OP_batchnorm, GY_S(6, 90, 41), 0, true, 0);
    norm(GY_OP_batchnorm, GY_S(3000, 1), 0, true, 0);
}

/* ---- convolution ---- */

typedef struct {
    int64_t batch, in[3], cin, cout, kernel[3], stride, pad, dilation, groups;
    int rank, act;
    bool bias, residual;
} conv_problem;

static gy_shape with(int64_t first, const int64_t dim[3], int64_t rank, int64_t last, bool channels_last) {
    gy_shape s = {.rank = rank + 2};
    s.dim[0] = first;
    for (int64_t i = 0; i < rank; i++) s.dim[(channels_last ? 1 : 2) + i] = dim[3 - rank + i];
    s.dim[channels_last ? rank + 1 : 1] = last;
    return s;
}
static void convolve(const conv_problem *p, gy_dtype precision, double tol) {
    gy_conv_attr a = {.groups = p->groups};
    int64_t out[3];
    for (int i = 0; i < 3; i++) {
        bool used = i >= 3 - p->rank;
        a.stride[i] = used ? p->stride : 1;
        a.dilation[i] = used ? p->dilation : 1;
        a.before[i] = a.after[i] = used ? p->pad : 0;
        out[i] = (p->in[i] + 2 * a.before[i] - a.dilation[i] * (p->kernel[i] - 1) - 1) / a.stride[i] + 1;
    }
    gy_shape x = with(p->batch, p->in, p->rank, p->cin, true), y = with(p->batch, out, p->rank, p->cout, true),
             w = with(p->cout, p->kernel, p->rank, p->cin / p->groups, false);
    a.act = p->act;
    call c = {.op = GY_OP_conv, .attr = &a};
    add_input(&c, x);
    add_input(&c, w);
    if (p->bias)
        add_input(&c, GY_S(p->cout));
    else
        add_none(&c);
    if (p->residual) add_input(&c, y);
    add_output(&c, y, GY_F32);
    check(&c, precision, tol);
    release(&c);
    a.act = 0;
    for (int i = 0; i < 3; i++) a.size[i] = p->in[i];
    call dx = {.op = GY_OP_conv_dx, .attr = &a};
    add_input(&dx, y);
    add_input(&dx, w);
    add_output(&dx, x, GY_F32);
    check(&dx, precision, tol);
    release(&dx);
    for (int i = 0; i < 3; i++) a.size[i] = p->kernel[i];
    call dw = {.op = GY_OP_conv_dw, .attr = &a};
    add_input(&dw, x);
    add_input(&dw, y);
    add_output(&dw, w, GY_F32);
    check(&dw, precision, tol);
    release(&dw);
}
static const conv_problem conv_problems[] = {
    {1, {1, 92, 92}, 8, 130, {1, 1, 1}, 1, 0, 1, 1, 2, 0, true, true}, /* the largest tiles */
    {1, {1, 50, 50}, 4, 64, {1, 2, 2}, 1, 1, 1, 1, 2, 0, true, false}, /* the middle ones */
    {2, {1, 13, 11}, 40, 72, {1, 3, 3}, 1, 1, 1, 1, 2, GY_ACT_SILU, true, true},
    {1, {1, 24, 24}, 20, 136, {1, 3, 3}, 1, 1, 1, 1, 2, 0, true, false},          /* a wide product */
    {1, {1, 8, 8}, 96, 24, {1, 3, 3}, 1, 1, 1, 1, 2, 0, true, true},              /* a split depth */
    {3, {1, 1, 300}, 3, 40, {1, 1, 25}, 1, 0, 1, 1, 1, GY_ACT_GELU, true, false}, /* few channels */
    {2, {1, 17, 16}, 33, 35, {1, 3, 2}, 2, 1, 1, 1, 2, 0, false, false},          /* classes of positions */
    {2, {1, 12, 12}, 16, 32, {1, 4, 4}, 2, 1, 1, 1, 2, 0, true, false},
    {1, {6, 7, 8}, 8, 20, {3, 3, 3}, 2, 1, 1, 1, 3, 0, true, false},
    {1, {1, 20, 20}, 32, 48, {1, 3, 3}, 1, 2, 2, 2, 2, 0, true, false},  /* groups, dilation */
    {1, {1, 30, 21}, 70, 70, {1, 5, 5}, 1, 2, 1, 70, 2, 0, true, false}, /* depthwise */
    {2, {1, 1, 400}, 24, 48, {1, 1, 7}, 3, 3, 1, 24, 1, 0, true, true},
    {1, {1, 33, 1}, 130, 70, {1, 1, 1}, 1, 0, 1, 1, 2, 0, true, false}, /* pointwise */
};
static void convolutions_of_several_tiles(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof conv_problems / sizeof *conv_problems; i++)
        convolve(&conv_problems[i], GY_F32, 64 * FLT_EPSILON);
}
static void convolutions_of_rounded_factors(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof conv_problems / sizeof *conv_problems; i++)
        convolve(&conv_problems[i], GY_BF16, 64 * FLT_EPSILON);
}

/* ---- attention ---- */

typedef struct {
    int64_t b, tq, tk, h, hkv, d, dv;
    bool causal;
    gy_shape mask, bias; /* rank 0: none */
} attention_problem;

static void attend(const attention_problem *p, gy_dtype precision, double tol) {
    gy_attention_attr a = {.scale = 2 / sqrt((double)p->d), .causal = p->causal};
    call c = {.op = GY_OP_attention, .attr = &a};
    add_input(&c, GY_S(p->b, p->tq, p->h, p->d));
    add_input(&c, GY_S(p->b, p->tk, p->hkv, p->d));
    add_input(&c, GY_S(p->b, p->tk, p->hkv, p->dv));
    if (p->mask.rank) {
        gy_view *m = &c.in[c.n_in++];
        *m = room(&c, p->mask, GY_U8);
        for (int64_t i = 0; i < gy_shape_count(p->mask); i++) ((uint8_t *)m->data)[i] = uniform() < 0.4;
    } else {
        add_none(&c);
    }
    if (p->bias.rank)
        add_input(&c, p->bias);
    else
        add_none(&c);
    gy_shape y = GY_S(p->b, p->tq, p->h, p->dv), lse = GY_S(p->b, p->h, p->tq);
    add_output(&c, y, GY_F32);
    add_output(&c, lse, GY_F32);
    gy_view saved[MOST];
    reference(&c, precision, saved);
    call g = {.op = GY_OP_attention_grad, .attr = &a, .floor = 1}; /* a bias alike for all keys has gradient 0 */
    add_input(&g, y);
    for (int i = 0; i < 5; i++) {
        if (!c.in[i].data) {
            add_none(&g);
            continue;
        }
        gy_view *v = &g.in[g.n_in++];
        *v = room(&g, c.in[i].shape, c.in[i].dtype);
        memcpy(v->data, c.in[i].data, (size_t)gy_shape_count(v->shape) * gy_dtype_size(v->dtype));
    }
    for (int i = 0; i < 2; i++) {
        gy_view *v = add_input(&g, saved[i].shape);
        memcpy(v->data, saved[i].data, (size_t)gy_shape_count(v->shape) * sizeof(float));
        free(saved[i].data);
    }
    for (int i = 0; i < 3; i++) add_output(&g, c.in[i].shape, GY_F32);
    if (p->bias.rank) add_output(&g, p->bias, GY_F32);
    check(&c, precision, tol);
    release(&c);
    check(&g, precision, tol);
    release(&g);
}
static const attention_problem attention_problems[] = {
    {1, 150, 140, 2, 2, 64, 64, false, {0}, {0}},
    {2, 70, 70, 2, 2, 40, 40, true, {0}, {0}},
    {1, 70, 140, 1, 1, 160, 160, true, {0}, {0}},
    {1, 10, 130, 8, 2, 32, 32, true, {4, {1, 1, 1, 130}}, {0}}, /* grouped queries */
    {2, 1, 300, 6, 3, 24, 20, false, {4, {2, 1, 1, 300}}, {0}}, /* decoding */
    {1, 65, 129, 1, 1, 300, 290, false, {0}, {0}},              /* heads beyond 256 */
    {2, 80, 66, 2, 2, 17, 9, false, {2, {80, 66}}, {3, {2, 80, 66}}},
    {3, 70, 90, 2, 2, 8, 8, false, {0}, {4, {3, 1, 1, 90}}},
    {2, 70, 70, 3, 3, 8, 8, true, {0}, {4, {1, 3, 70, 1}}},
};
static void attention_of_several_tiles(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof attention_problems / sizeof *attention_problems; i++)
        attend(&attention_problems[i], GY_F32, 64 * FLT_EPSILON);
}

/* A weight that lies half-way between two bf16 may be rounded up here and down there: 2^-9 of it. */
static void attention_of_rounded_factors(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof attention_problems / sizeof *attention_problems; i++)
        if (attention_problems[i].d <= 256) attend(&attention_problems[i], GY_BF16, 1.0 / 2048);
}

/* What stands where nobody looks may be NaN. */
static void hidden_values_do_not_matter(void **state) {
    (void)state;
    gy_attention_attr a = {.scale = 1};
    call c = {.op = GY_OP_attention, .attr = &a};
    add_input(&c, GY_S(1, 70, 1, 8));
    for (int i = 0; i < 2; i++) {
        gy_view *v = add_input(&c, GY_S(1, 100, 1, 8));
        for (int64_t e = 90 * 8; e < 100 * 8; e++) ((float *)v->data)[e] = NAN;
    }
    gy_view *m = &c.in[c.n_in++];
    *m = room(&c, GY_S(1, 1, 1, 100), GY_U8);
    for (int i = 0; i < 100; i++) ((uint8_t *)m->data)[i] = i < 90;
    add_none(&c);
    add_output(&c, GY_S(1, 70, 1, 8), GY_F32);
    add_output(&c, GY_S(1, 1, 70), GY_F32);
    for (int i = 0; i < 2; i++) check(&c, i ? GY_BF16 : GY_F32, i ? 1.0 / 2048 : 64 * FLT_EPSILON);
    release(&c);
}

/* ---- rows ---- */

static void rows_of_any_length(void **state) {
    (void)state;
    static const int64_t length[] = {1024, 1022, 1500, 4097, 40000};
    for (int i = 0; i < 5; i++) {
        static const gy_op_id ops[] = {GY_OP_softmax, GY_OP_log_softmax, GY_OP_softmax_grad, GY_OP_log_softmax_grad};
        gy_shape s = GY_S(5, length[i]);
        for (int o = 0; o < 4; o++) {
            call c = {.op = ops[o]};
            gy_view *x = add_input(&c, s);
            for (int64_t e = 0; o < 2 && e < 40; e++) ((float *)x->data)[e] = -INFINITY; /* classes ruled out */
            if (o >= 2) add_input(&c, s);
            add_output(&c, s, GY_F32);
            check(&c, GY_F32, 64 * FLT_EPSILON);
            release(&c);
        }
        for (int grad = 0; grad < 2; grad++) {
            gy_cross_entropy_attr a = {.smoothing = i % 2 ? 0.1 : 0, .ignore = 3};
            call c = {.op = grad ? GY_OP_cross_entropy_grad : GY_OP_cross_entropy, .attr = &a};
            if (grad) add_input(&c, GY_S(5));
            gy_view *x = add_input(&c, s), *t = &c.in[c.n_in++];
            for (int64_t e = 0; i % 2 == 0 && e < 40; e++) ((float *)x->data)[e] = -INFINITY;
            *t = room(&c, GY_S(5), GY_I64);
            for (int r = 0; r < 5; r++) ((int64_t *)t->data)[r] = r == 4 ? 3 : length[i] - 1 - 100 * r;
            if (i == 1)
                add_input(&c, GY_S(length[i]));
            else
                add_none(&c);
            if (grad) {
                gy_view *l = add_input(&c, GY_S(5));
                for (int r = 0; r < 5; r++) ((float *)l->data)[r] = logf((float)length[i]);
            }
            add_output(&c, grad ? s : GY_S(5), GY_F32);
            for (int o = 0; !grad && o < 2; o++) add_output(&c, GY_S(5), GY_F32);
            check(&c, GY_F32, 64 * FLT_EPSILON);
            release(&c);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(norms_of_long_rows_and_many_columns),
                                       cmocka_unit_test(convolutions_of_several_tiles),
                                       cmocka_unit_test(convolutions_of_rounded_factors),
                                       cmocka_unit_test(attention_of_several_tiles),
                                       cmocka_unit_test(attention_of_rounded_factors),
                                       cmocka_unit_test(hidden_values_do_not_matter),
                                       cmocka_unit_test(rows_of_any_length)};
    return cmocka_run_group_tests_name("cuda networks", tests, setup, teardown);
}
