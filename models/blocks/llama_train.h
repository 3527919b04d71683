/* llama_train.h: what the registered models of the Llama family have in common beside the training of lm_train.h. */
#ifndef GY_BLOCKS_LLAMA_TRAIN_H
#define GY_BLOCKS_LLAMA_TRAIN_H

#include "llama.h"
#include "lm_train.h"

/* Their configuration, its options, and the members of gy_model_def and gy_lm_train that look into it. */
typedef struct gy_llama_model {
    gy_lm_train train;
    gy_llama_config model;
} gy_llama_model;
extern const gy_option gy_llama_options[];
gy_status gy_llama_check(gy_ctx *ctx, const void *cfg);
gy_lm gy_llama_family(const void *cfg);
/* A public size as it is; training follows the usual recipe. */
#define GY_LLAMA_PUBLIC(...)                                                                                           \
    {                                                                                                                  \
        .train = {1024, 1, 100000, 3e-4, 0.02, 0.1, 1024, gy_llama_family}, .model = { __VA_ARGS__ }                   \
    }
/* Members of gy_model_def, as initialisers. */
#define GY_LLAMA_MODEL                                                                                                 \
    GY_LM_MODEL, .config_size = sizeof(gy_llama_model), .options = gy_llama_options, .check = gy_llama_check

#endif
