/* Llama, the open language model family.
 *
 * Touvron et al.: "LLaMA: Open and Efficient Foundation Language Models", arXiv 2302.13971 (2023); Llama 2: arXiv
 * 2307.09288; Llama 3: arXiv 2407.21783.
 *
 * GPT-2's plan with four changes: the norm divides by the root mean square alone, positions turn queries and keys
 * instead of being added, the MLP is gated, and there are no biases. Later members share keys and values among groups
 * of query heads. All public sizes are configurations and take the public weights by name; the miniature learns
 * the grammar of data/grammar.h on bytes. */
#include "../blocks/llama_train.h"

static const gy_llama_model tiny = {.train = {128, 16, 800, 3e-3, 0.05, 0.1, 1024, gy_llama_family},
                                    .model = {.layers = 3,
                                              .heads = 4,
                                              .kv_heads = 2,
                                              .width = 64,
                                              .inner = 172,
                                              .vocabulary = 256,
                                              .positions = 512,
                                              .eps = 1e-5,
                                              .rope = {1e4}}};
static const gy_llama_model tinyllama = GY_LLAMA_PUBLIC(GY_TINYLLAMA_1B), llama2 = GY_LLAMA_PUBLIC(GY_LLAMA2_7B),
                            llama31 = GY_LLAMA_PUBLIC(GY_LLAMA31_8B), llama32 = GY_LLAMA_PUBLIC(GY_LLAMA32_1B);
static const gy_config configs[] = {{"tiny", "3 blocks of width 64 on bytes: trains in a minute", &tiny},
                                    {"llama-3.2-1b", "1,235,814,400 parameters", &llama32},
                                    {"tinyllama-1.1b", "1,100,048,384 parameters", &tinyllama},
                                    {"llama-2-7b", "6,738,415,616 parameters", &llama2},
                                    {"llama-3.1-8b", "8,030,261,248 parameters", &llama31},
                                    {NULL}};

static const char *const equations[] = {"x_0 = E[token]",
                                        "h = x / sqrt(mean x^2 + eps) * g",
                                        "x += W_o attention(turn(W_q h), turn(W_k h), W_v h)",
                                        "x += W_down (silu(W_gate h) * W_up h)",
                                        "logits = U h",
                                        "L = -mean log softmax(logits)_{next token}",
                                        NULL};

const gy_model_def gy_model_llama = {.slug = "llama",
                                     .title = "Llama: open and efficient foundation language models",
                                     .cite = "Touvron et al. arXiv 2302.13971, 2023; Llama 3: arXiv 2407.21783, 2024",
                                     .year = 2023,
                                     .equations = equations,
                                     .configs = configs,
                                     .ignorable = gy_llama_ignorable,
                                     GY_LLAMA_MODEL};
