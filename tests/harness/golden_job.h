/* golden_job.h: a job whose weights, inputs and one training step are compared with a golden file. The file holds the
 * model's states under their names, and "in.NAME", "out.NAME", "grad.PARAMETER". */
#ifndef GY_TEST_GOLDEN_JOB_H
#define GY_TEST_GOLDEN_JOB_H

#include "harness.h"

#include "core/gyrus.h"
#include "io/formats/safetensors.h"

/* Opens tests/golden/<name>.safetensors. */
void golden_file(gy_ctx *ctx, const char *name, gy_safetensors *file);
/* Every parameter and buffer of the store from the file (each must be there, with its shape). */
void golden_load(gy_ctx *ctx, const gy_safetensors *file, gy_store *store);
/* Feeds every "in.NAME" of the file that the plan asks for; the learning rate is 0. */
void golden_feed(gy_ctx *ctx, const gy_safetensors *file, gy_plan *plan);
/* Feeds the tensor `key` to one input, where the plan has it. */
void golden_feed_one(gy_ctx *ctx, const gy_safetensors *file, const char *key, gy_plan *plan, const char *input);
/* |have - want| <= tolerance max |want|, for "out.NAME" or any other key. */
void golden_same(gy_ctx *ctx, const gy_safetensors *file, const char *key, const gy_tensor *have, double tolerance);
/* |have - want| <= tolerance max(1, |want|), element by element. */
void golden_close_to(gy_ctx *ctx, const gy_safetensors *file, const char *key, const gy_tensor *have, double tolerance);
/* The gradients of the first Adam step, read from its first moments (1 - beta1) g: every "grad.PARAMETER" of the file.
 * Gradients below a hundredth of the largest are compared on that scale. */
void golden_adam_gradients(gy_ctx *ctx, const gy_safetensors *file, gy_store *store, double beta1, double tolerance);

#endif
