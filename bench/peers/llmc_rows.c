/* llm.c as a peer of `gyrus bench models --peers`: the training step of its train_gpt2.c, which is included whole. The
 * step clips no gradients and decays every weight; the loss of the first step is compared. */
#include "train_gpt2.c"

#include "rows.h"

enum { LAYERS = 12, WIDTH = 768, VOCABULARY = 50257, PADDED = 50304, LONGEST = 1024 };

static GPT2 model;
static int *ids, *targets, rows, tokens, step;

/* The parameters of all layers, one after the other; llm.c keeps matrices [out, in], the checkpoint [in, out]. */
static void layers(float *out, const char *name, int64_t in, int64_t width) {
    for (int l = 0; l < LAYERS; l++) {
        char full[64];
        snprintf(full, sizeof full, "h.%d.%s", l, name);
        row_parameter(full, in, width, width > 0, out);
        out += in * (width ? width : 1);
    }
}

static void make(void) {
    ParameterTensors *p = &model.params;
    model.config = (GPT2Config){LONGEST, VOCABULARY, PADDED, LAYERS, 12, WIDTH};
    fill_in_parameter_sizes(model.param_sizes, model.config);
    model.num_parameters = 0;
    for (int i = 0; i < NUM_PARAMETER_TENSORS; i++) model.num_parameters += model.param_sizes[i];
    model.params_memory = malloc_and_point_parameters(p, model.param_sizes);
    memset(p->wte, 0, model.param_sizes[0] * sizeof(float));
    row_parameter("wte.weight", VOCABULARY, WIDTH, false, p->wte);
    row_parameter("wpe.weight", LONGEST, WIDTH, false, p->wpe);
    layers(p->ln1w, "ln_1.weight", WIDTH, 0);
    layers(p->ln1b, "ln_1.bias", WIDTH, 0);
    layers(p->qkvw, "attn.c_attn.weight", WIDTH, 3 * WIDTH);
    layers(p->qkvb, "attn.c_attn.bias", 3 * WIDTH, 0);
    layers(p->attprojw, "attn.c_proj.weight", WIDTH, WIDTH);
    layers(p->attprojb, "attn.c_proj.bias", WIDTH, 0);
    layers(p->ln2w, "ln_2.weight", WIDTH, 0);
    layers(p->ln2b, "ln_2.bias", WIDTH, 0);
    layers(p->fcw, "mlp.c_fc.weight", WIDTH, 4 * WIDTH);
    layers(p->fcb, "mlp.c_fc.bias", 4 * WIDTH, 0);
    layers(p->fcprojw, "mlp.c_proj.weight", 4 * WIDTH, WIDTH);
    layers(p->fcprojb, "mlp.c_proj.bias", WIDTH, 0);
    row_parameter("ln_f.weight", WIDTH, 0, false, p->lnfw);
    row_parameter("ln_f.bias", WIDTH, 0, false, p->lnfb);
}

static double run(int n) {
    double t0 = row_now();
    for (int i = 0; i < n; i++) {
        gpt2_forward(&model, ids, targets, rows, tokens);
        gpt2_zero_grad(&model);
        gpt2_backward(&model);
        gpt2_update(&model, 1e-4f, 0.9f, 0.95f, 1e-8f, 0.1f, ++step);
    }
    return (row_now() - t0) / n;
}

static bool prepare(const row_task *t) {
    if (strcmp(t->kernel, "gpt2 train") != 0 || strcmp(t->dtype, "f32") != 0) return false;
    rows = (int)t->d[0];
    tokens = (int)t->d[1];
    make();
    ids = malloc((size_t)rows * tokens * sizeof *ids);
    targets = malloc((size_t)rows * tokens * sizeof *targets);
    for (int i = 0; i < rows * tokens; i++) {
        ids[i] = row_id("ids", i, VOCABULARY);
        targets[i] = row_id("target", i, VOCABULARY);
    }
#ifdef OMP
    omp_set_num_threads(t->threads);
#endif
    run(1);
    row_output(t, &model.mean_loss, 1);
    /* activations, their gradients, gradients of the weights; it keeps them from step to step */
    row_memory = 4.0 * (2.0 * (double)model.num_activations + (double)model.num_parameters);
    return true;
}

int main(void) {
    return rows_main("llm.c train_gpt2.c" LLMC_COMMIT);
}
