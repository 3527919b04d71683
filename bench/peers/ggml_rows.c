/* ggml as a peer of `gyrus bench --peers`: its CPU backend, one graph of one operation, as programs on ggml write it.
 * Activations are where those programs keep them (features or width innermost; pictures planar), weights as ggml's
 * layouts ask; what is converted is converted before the clock starts. */
#include "rows.h"

#include "ggml-alloc.h"
#include "ggml-backend.h"
#include "ggml-cpu.h"
#include "ggml.h"

#include <math.h>

static struct ggml_context *context;
static struct ggml_cgraph *graph;
static ggml_backend_buffer_t buffer;
static ggml_backend_t backend;

typedef struct ggml_tensor *value;

/* Inputs wait for memory: which of ours each is, and how its elements are found in it. */
enum { MOST = 4, AXES = 4 };
typedef struct input {
    value v;
    int number;           /* -1: a causal mask of [keys, queries]; -2: a mask by input 3's values */
    int64_t stride[AXES]; /* of ours, in elements, along ggml's axes */
} input;
static input inputs[MOST];
static int n_inputs;

/* A tensor of ggml dimensions n[0] (innermost) to n[3], element (i, j, k, l) of which is ours at the strides' sum. */
static value in(int number, enum ggml_type type, const int64_t n[AXES], const int64_t stride[AXES]) {
    input *x = &inputs[n_inputs++];
    x->v = ggml_new_tensor_4d(context, type, n[0], n[1], n[2], n[3]);
    x->number = number;
    memcpy(x->stride, stride, sizeof x->stride);
    return x->v;
}
static value dense(int number, enum ggml_type type, int64_t a, int64_t b, int64_t c, int64_t d) {
    return in(number, type, (int64_t[]){a, b, c, d}, (int64_t[]){1, a, a * b, a * b * c});
}

static void put(const input *x) {
    const int64_t *n = x->v->ne;
    char *bytes = malloc(ggml_nbytes(x->v));
    int64_t at = 0;
    for (int64_t l = 0; l < n[3]; l++)
        for (int64_t k = 0; k < n[2]; k++)
            for (int64_t j = 0; j < n[1]; j++)
                for (int64_t i = 0; i < n[0]; i++, at++) {
                    int64_t ours = i * x->stride[0] + j * x->stride[1] + k * x->stride[2] + l * x->stride[3];
                    float f = row_value((uint32_t)(x->number < 0 ? 3 : x->number), (uint32_t)ours);
                    if (x->number == -1) f = i > j + n[0] - n[1] ? -INFINITY : 0;
                    if (x->number == -2) f = f > -0.25f ? 0 : -INFINITY;
                    if (x->v->type == GGML_TYPE_F32) ((float *)bytes)[at] = f;
                    if (x->v->type == GGML_TYPE_F16) ((ggml_fp16_t *)bytes)[at] = ggml_fp32_to_fp16(f);
                    if (x->v->type == GGML_TYPE_BF16) ((ggml_bf16_t *)bytes)[at] = ggml_fp32_to_bf16(f);
                }
    ggml_backend_tensor_set(x->v, bytes, 0, ggml_nbytes(x->v));
    free(bytes);
}

static bool is(const row_task *t, const char *name) {
    return strcmp(t->kernel, name) == 0;
}

/* x [m, k] times w [n, k]: the one product that ggml has. bf16: its weights, f32 activations rounded inside. */
static value product(const row_task *t, enum ggml_type type) {
    int64_t m = t->d[0], n = t->d[1], k = t->d[2], batch = t->d[3] ? t->d[3] : 1;
    value x = dense(0, GGML_TYPE_F32, k, m, batch, 1), w = dense(1, type, k, n, batch, 1);
    value y = ggml_mul_mat(context, w, x);
    if (is(t, "linear+gelu")) y = ggml_gelu_erf(context, ggml_add(context, y, dense(2, GGML_TYPE_F32, n, 1, 1, 1)));
    return y;
}

static value attend(const row_task *t) {
    const int64_t *d = t->d;
    value q = dense(0, GGML_TYPE_F32, d[3], d[2], d[1], d[0]), k = dense(1, GGML_TYPE_F32, d[3], d[5], d[4], d[0]);
    value v = dense(2, GGML_TYPE_F32, d[3], d[5], d[4], d[0]), mask = NULL;
    if (d[6]) mask = dense(-1, GGML_TYPE_F16, d[4], d[1], 1, 1);
    if (is(t, "attention_masked")) mask = dense(-2, GGML_TYPE_F16, d[4], d[1], 1, 1);
    q = ggml_permute(context, q, 0, 2, 1, 3);
    k = ggml_permute(context, k, 0, 2, 1, 3);
    v = ggml_permute(context, v, 0, 2, 1, 3);
    return ggml_flash_attn_ext(context, q, k, v, mask, 1 / sqrtf((float)d[3]), 0, 0);
}

/* Patches times weights, as ggml_conv_2d and ggml_conv_3d do it; theirs round patches to f16. */
static value unfolded(value patches, value w, int64_t per_output, int64_t outputs, const int64_t out[3],
                      int64_t batch) {
    value y = ggml_mul_mat(context, ggml_reshape_2d(context, patches, per_output, ggml_nelements(patches) / per_output),
                           ggml_reshape_2d(context, w, per_output, outputs)); /* [positions, outputs] */
    y = ggml_reshape_4d(context, y, out[0] * out[1], out[2], batch, outputs);
    return ggml_cont(context, ggml_permute(context, y, 0, 1, 3, 2));
}

/* Planar pictures; `direct`: without a buffer of patches. */
static value convolve(const row_task *t, int axes, bool depthwise, bool direct) {
    const int64_t *d = t->d;
    int64_t size = d[1], c = d[2], k = d[4];
    int s = (int)d[5], p = (int)(k / 2);
    if (axes == 2) {
        value x = in(0, GGML_TYPE_F32, (int64_t[]){size, size, c, d[0]}, (int64_t[]){c, c * size, 1, c * size * size});
        value w = dense(1, GGML_TYPE_F32, k, k, depthwise ? 1 : c, d[3]);
        if (depthwise) return ggml_conv_2d_dw_direct(context, w, x, s, s, p, p, 1, 1);
        if (direct) return ggml_conv_2d_direct(context, w, x, s, s, p, p, 1, 1);
        value patches = ggml_im2col(context, w, x, s, s, p, p, 1, 1, true, GGML_TYPE_F32);
        return unfolded(patches, w, k * k * c, d[3], (int64_t[]){patches->ne[1], patches->ne[2], 1}, d[0]);
    }
    /* batch 1; ggml folds channels and batch, and channels in and out, into one axis */
    value x = in(0, GGML_TYPE_F32, (int64_t[]){size, size, size, c}, (int64_t[]){c, c * size, c * size * size, 1});
    value w = dense(1, GGML_TYPE_F32, k, k, k, c * d[3]);
    if (direct) return ggml_conv_3d_direct(context, w, x, s, s, s, p, p, p, 1, 1, 1, (int)c, 1, (int)d[3]);
    value patches = ggml_im2col_3d(context, w, x, c, s, s, s, p, p, p, 1, 1, 1, GGML_TYPE_F32);
    return unfolded(patches, w, k * k * k * c, d[3], (int64_t[]){patches->ne[1], patches->ne[2], patches->ne[3]}, 1);
}

static value build(const row_task *t, bool direct) {
    const int64_t *d = t->d;
    bool bf16 = strcmp(t->dtype, "bf16") == 0, f32 = strcmp(t->dtype, "f32") == 0;
    if ((f32 || bf16) && (is(t, "matmul_nt") || is(t, "packed_nt") || is(t, "batched_nt") || is(t, "linear+gelu")))
        return product(t, bf16 ? GGML_TYPE_BF16 : GGML_TYPE_F32);
    if (!f32) return NULL;
    if (is(t, "attention") || is(t, "attention_masked")) return attend(t);
    if (is(t, "conv2d")) return convolve(t, 2, false, direct);
    if (is(t, "depthwise")) return convolve(t, 2, true, direct);
    if (is(t, "conv3d") && d[0] == 1) return convolve(t, 3, false, direct);
    if (is(t, "softmax")) return ggml_soft_max(context, dense(0, GGML_TYPE_F32, d[1], d[0], 1, 1));
    if (is(t, "layernorm") || is(t, "rmsnorm")) {
        value x = dense(0, GGML_TYPE_F32, d[1], d[0], 1, 1), g = dense(1, GGML_TYPE_F32, d[1], 1, 1, 1);
        if (is(t, "rmsnorm")) return ggml_mul(context, ggml_rms_norm(context, x, 1e-6f), g);
        value b = dense(2, GGML_TYPE_F32, d[1], 1, 1, 1);
        return ggml_add(context, ggml_mul(context, ggml_norm(context, x, 1e-5f), g), b);
    }
    if (is(t, "groupnorm")) {
        int64_t size = d[1], c = d[2];
        value x = in(0, GGML_TYPE_F32, (int64_t[]){size, size, c, d[0]}, (int64_t[]){c, c * size, 1, c * size * size});
        value g = dense(1, GGML_TYPE_F32, 1, 1, c, 1), b = dense(2, GGML_TYPE_F32, 1, 1, c, 1);
        value y = ggml_add(context, ggml_mul(context, ggml_group_norm(context, x, (int)d[3], 1e-5f), g), b);
        return d[4] ? ggml_silu(context, y) : y;
    }
    if (is(t, "silu")) return ggml_silu(context, dense(0, GGML_TYPE_F32, d[0], 1, 1, 1));
    if (is(t, "add")) {
        value a = dense(0, GGML_TYPE_F32, d[0], 1, 1, 1), b = dense(1, GGML_TYPE_F32, d[0], 1, 1, 1);
        return ggml_add(context, a, b);
    }
    return NULL;
}

static void forget(void) {
    if (buffer) ggml_backend_buffer_free(buffer);
    if (context) ggml_free(context);
    buffer = NULL;
    context = NULL;
    n_inputs = 0;
}

static double run(int n) {
    double t0 = row_now();
    for (int i = 0; i < n; i++) ggml_backend_graph_compute(backend, graph);
    return (row_now() - t0) / n;
}

static value make(const row_task *t, bool direct) {
    forget();
    context = ggml_init((struct ggml_init_params){.mem_size = 1 << 20, .no_alloc = true});
    value y = context ? build(t, direct) : NULL;
    if (!y) return NULL;
    graph = ggml_new_graph(context);
    ggml_build_forward_expand(graph, y);
    buffer = ggml_backend_alloc_ctx_tensors(context, backend);
    if (!buffer || !ggml_backend_supports_op(backend, y)) return NULL;
    for (int i = 0; i < n_inputs; i++) put(&inputs[i]);
    run(1);
    return y;
}

/* In the order of ours: planar results become features last. */
static void give(const row_task *t, value y) {
    int64_t n = ggml_nelements(y);
    float *planar = malloc((size_t)n * sizeof *planar), *ours = planar;
    ggml_backend_tensor_get(y, planar, 0, ggml_nbytes(y));
    if (strncmp(t->kernel, "conv", 4) == 0 || is(t, "depthwise") || is(t, "groupnorm")) {
        int64_t c = is(t, "groupnorm") ? t->d[2] : t->d[3], batch = t->d[0], area = n / c / batch;
        ours = malloc((size_t)n * sizeof *ours);
        for (int64_t b = 0; b < batch; b++)
            for (int64_t k = 0; k < c; k++)
                for (int64_t i = 0; i < area; i++) ours[(b * area + i) * c + k] = planar[(b * c + k) * area + i];
    }
    row_output(t, ours, n);
    if (ours != planar) free(ours);
    free(planar);
}

static bool prepare(const row_task *t) {
    ggml_backend_cpu_set_n_threads(backend, t->threads);
    value y = make(t, false);
    if (y && (is(t, "conv2d") || is(t, "conv3d"))) { /* two ways: the faster one is the peer */
        double two = run(2), plain = two < run(2) ? two : run(2);
        y = make(t, true);
        if (y && run(2) > plain) y = make(t, false);
        if (!y) y = make(t, false);
    }
    if (y) give(t, y);
    return y != NULL;
}

int main(void) {
    char version[96];
    backend = ggml_backend_cpu_init();
    if (!backend) return 1;
    snprintf(version, sizeof version, "ggml %s (%s), CPU backend", ggml_version(), ggml_commit());
    return rows_main(version);
}
