/* weights.h: public weights into a model, whatever file they come in: safetensors, a sharded index, or a
 * PyTorch state dict. The file's content decides, not its name. */
#ifndef GY_IO_WEIGHTS_H
#define GY_IO_WEIGHTS_H

#include "../core/model.h"
#include "formats/pth.h"
#include "formats/safetensors.h"

/* An open file of named tensors. */
typedef struct gy_weights {
    bool is_pth;
    gy_safetensors st;
    gy_pth pth;
} gy_weights;

gy_status gy_weights_open(gy_ctx *ctx, const char *path, const gy_limits *limits, gy_weights *out) GY_MUST_CHECK;
void gy_weights_close(gy_weights *w); /* all-zero is fine */
int64_t gy_weights_count(const gy_weights *w);
const char *gy_weights_name(const gy_weights *w, int64_t i);
gy_dtype gy_weights_dtype(const gy_weights *w, int64_t i);
gy_shape gy_weights_shape(const gy_weights *w, int64_t i);
int64_t gy_weights_find(const gy_weights *w, const char *name); /* -1: no such tensor */
gy_status gy_weights_read(gy_weights *w, int64_t i, gy_tensor *out) GY_MUST_CHECK;

/* Whether `name` matches one of the NULL-terminated patterns, in which '*' stands for any text, dots too. A
 * NULL list matches nothing. */
bool gy_name_matches(const char *const *patterns, const char *name);

/* Copies a file's tensors into the store's parameters and buffers by name; nothing is copied unless all fits.
 * f16, bf16 and f64 become the state's element type; integers do not become floats. Tensors that the file
 * lacks, that the model lacks, and of another shape or kind are refused in one message by name, unless
 * `ignorable` (as in gy_model_def) lists them: such a state keeps its value, such a tensor is not used. In a
 * checkpoint of ours, what only training uses is passed over. */
gy_status gy_weights_load(gy_ctx *ctx, const char *path, const gy_limits *limits, gy_store *store,
                          const char *const *ignorable) GY_MUST_CHECK;
/* The same, where a tensor that the file lacks by its own name is looked for by a model's rules (gy_model_def.weights);
 * rules NULL: none. */
gy_status gy_weights_load_as(gy_ctx *ctx, const char *path, const gy_limits *limits, gy_store *store,
                             const char *const *ignorable, const gy_weight_rule *rules) GY_MUST_CHECK;

#endif
