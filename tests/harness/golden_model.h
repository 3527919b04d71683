/* golden_model.h: a model with weights from a golden file, its outputs and gradients against the file's. */
#ifndef GY_TEST_GOLDEN_MODEL_H
#define GY_TEST_GOLDEN_MODEL_H

#include "harness.h"

#include "core/gyrus.h"
#include "io/formats/safetensors.h"

typedef struct golden_model {
    gy_ctx *ctx;
    gy_safetensors file;
    gy_store *store;
    gy_graph *g;
    gy_mod m;
    gy_plan *plan;
} golden_model;

/* Opens "tests/golden/<name>.safetensors"; the graph is empty. */
void golden_open(golden_model *t, gy_ctx *ctx, const char *name);
void golden_close(golden_model *t);
/* An input of the shape and dtype of the file's "test/<name>". */
gy_t golden_input(golden_model *t, const char *name);
/* "test/<name>" as a constant. */
gy_t golden_const(golden_model *t, const char *name);
/* Outputs "grad.<state>" for every parameter, and for the inputs given: d loss / d them. */
void golden_gradients(golden_model *t, gy_t loss, int64_t n, const char *const *names, const gy_t *inputs);
/* Compiles, loads the weights by `rules`, feeds every input from the file, runs. The file may hold "test/" tensors and
 * what `ignorable` (NULL: nothing) lists beside the model's. */
void golden_run(golden_model *t, const char *name, const gy_weight_rule *rules, const char *const *ignorable);
/* The output against "test/<name>": |a - b| <= tolerance max |b|. Absent from the file: fails. */
void golden_compare(golden_model *t, const char *name, double tolerance);
/* Every gradient of the file; each trained parameter of the model must have one there. */
void golden_compare_gradients(golden_model *t, double tolerance);
gy_tensor golden_tensor(golden_model *t, const char *name); /* "test/<name>", owned */

#endif
