/* Qwen2, an open language model family.
 *
 * Yang et al.: "Qwen2 Technical Report", arXiv 2407.10671 (2024). Qwen2.5 (arXiv 2412.15115) has the same layout.
 *
 * Llama's plan (llama.c) with biases on queries, keys and values, longer rotary wavelengths, and the output matrix tied
 * to the embedding in the small sizes. In the smallest, seven query heads share each of two key heads. */
#include "../blocks/llama_train.h"

static const gy_llama_model tiny = {.train = {128, 16, 800, 3e-3, 0.05, 0.1, 1024, gy_llama_family},
                                    .model = {.layers = 3,
                                              .heads = 6,
                                              .kv_heads = 2,
                                              .width = 60,
                                              .inner = 160,
                                              .vocabulary = 256,
                                              .positions = 512,
                                              .eps = 1e-6,
                                              .rope = {1e6},
                                              .tied = 1,
                                              .qkv_bias = 1}};
static const gy_llama_model half = GY_LLAMA_PUBLIC(GY_QWEN2_05B), one = GY_LLAMA_PUBLIC(GY_QWEN2_15B),
                            seven = GY_LLAMA_PUBLIC(GY_QWEN2_7B);
static const gy_config configs[] = {{"tiny", "3 blocks of width 60 on bytes: trains in a minute", &tiny},
                                    {"qwen2-0.5b", "494,032,768 parameters", &half},
                                    {"qwen2-1.5b", "1,543,714,304 parameters", &one},
                                    {"qwen2-7b", "7,615,616,512 parameters", &seven},
                                    {NULL}};

static const char *const equations[] = {"x_0 = E[token]",
                                        "h = x / sqrt(mean x^2 + eps) * g",
                                        "x += W_o attention(turn(W_q h + b_q), turn(W_k h + b_k), W_v h + b_v)",
                                        "x += W_down (silu(W_gate h) * W_up h)",
                                        "logits = E h",
                                        "L = -mean log softmax(logits)_{next token}",
                                        NULL};

const gy_model_def gy_model_qwen2 = {.slug = "qwen2",
                                     .title = "Qwen2 technical report",
                                     .cite = "Yang et al. arXiv 2407.10671, 2024",
                                     .year = 2024,
                                     .equations = equations,
                                     .configs = configs,
                                     .ignorable = gy_llama_tied_ignorable,
                                     GY_LLAMA_MODEL};
