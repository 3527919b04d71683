/* llama.cpp as a peer of `gyrus bench models --peers`: prefill and decoding of GPT-2 small by the C interface of its
 * library, from a GGUF file with the weights of bench/models.h. bf16: matrices in bf16. The cache of keys and values
 * has the library's default type, f16. */
#include "rows.h"

#include "gguf.h"
#include "llama.h"

enum { LAYERS = 12, WIDTH = 768, VOCABULARY = 50257, LONGEST = 1024, PROMPT = 128, DECODED = 16 };

static struct llama_model *model;
static struct llama_context *context;
static llama_token ids[LONGEST];
static bool decodes;
static double before;

/* One parameter: `ours` in the checkpoint, [in, out] if it is a matrix, and `theirs` in the file. */
static void add(struct gguf_context *file, struct ggml_context *memory, const char *ours, const char *theirs,
                int64_t rows, int64_t columns, bool turned, enum ggml_type type) {
    int64_t n = rows * (columns ? columns : 1);
    struct ggml_tensor *t = !columns ? ggml_new_tensor_1d(memory, type, rows)
                            : turned ? ggml_new_tensor_2d(memory, type, rows, columns)
                                     : ggml_new_tensor_2d(memory, type, columns, rows);
    float *f = malloc((size_t)n * sizeof *f);
    row_parameter(ours, rows, columns, turned, f);
    if (type == GGML_TYPE_BF16)
        ggml_fp32_to_bf16_row(f, t->data, n);
    else
        memcpy(t->data, f, (size_t)n * sizeof *f);
    free(f);
    ggml_set_name(t, theirs);
    gguf_add_tensor(file, t);
}

static bool write_model(const char *path, enum ggml_type type) {
    static const struct {
        const char *ours, *theirs;
        int64_t in, out;
    } layer[] = {{"ln_1", "attn_norm", WIDTH, 0},
                 {"attn.c_attn", "attn_qkv", WIDTH, 3 * WIDTH},
                 {"attn.c_proj", "attn_output", WIDTH, WIDTH},
                 {"ln_2", "ffn_norm", WIDTH, 0},
                 {"mlp.c_fc", "ffn_up", WIDTH, 4 * WIDTH},
                 {"mlp.c_proj", "ffn_down", 4 * WIDTH, WIDTH}};
    struct ggml_context *memory = ggml_init((struct ggml_init_params){.mem_size = (size_t)560 << 20});
    struct gguf_context *file = gguf_init_empty();
    gguf_set_val_str(file, "general.architecture", "gpt2");
    gguf_set_val_u32(file, "gpt2.context_length", LONGEST);
    gguf_set_val_u32(file, "gpt2.embedding_length", WIDTH);
    gguf_set_val_u32(file, "gpt2.feed_forward_length", 4 * WIDTH);
    gguf_set_val_u32(file, "gpt2.block_count", LAYERS);
    gguf_set_val_u32(file, "gpt2.attention.head_count", 12);
    gguf_set_val_f32(file, "gpt2.attention.layer_norm_epsilon", 1e-5f);
    gguf_set_val_u32(file, "gpt2.vocab_size", VOCABULARY);
    gguf_set_val_str(file, "tokenizer.ggml.model", "none");
    add(file, memory, "wte.weight", "token_embd.weight", VOCABULARY, WIDTH, false, type);
    add(file, memory, "wpe.weight", "position_embd.weight", LONGEST, WIDTH, false, GGML_TYPE_F32);
    add(file, memory, "ln_f.weight", "output_norm.weight", WIDTH, 0, false, GGML_TYPE_F32);
    add(file, memory, "ln_f.bias", "output_norm.bias", WIDTH, 0, false, GGML_TYPE_F32);
    for (int l = 0; l < LAYERS; l++)
        for (size_t i = 0; i < sizeof layer / sizeof *layer; i++) {
            char ours[64], theirs[64];
            int64_t out = layer[i].out;
            snprintf(ours, sizeof ours, "h.%d.%s.weight", l, layer[i].ours);
            snprintf(theirs, sizeof theirs, "blk.%d.%s.weight", l, layer[i].theirs);
            add(file, memory, ours, theirs, layer[i].in, out, out > 0, out ? type : GGML_TYPE_F32);
            snprintf(ours, sizeof ours, "h.%d.%s.bias", l, layer[i].ours);
            snprintf(theirs, sizeof theirs, "blk.%d.%s.bias", l, layer[i].theirs);
            add(file, memory, ours, theirs, out ? out : layer[i].in, 0, false, GGML_TYPE_F32);
        }
    bool ok = gguf_write_to_file(file, path, false);
    gguf_free(file);
    ggml_free(memory);
    return ok;
}

/* Feeds n tokens from `at` on; the logits of the last. */
static const float *feed(int at, int n) {
    return llama_decode(context, llama_batch_get_one(ids + at, n)) == 0 ? llama_get_logits_ith(context, -1) : NULL;
}

/* One run: the whole prompt, or DECODED tokens after PROMPT; the first logits. */
static const float *once(void) {
    static float first[VOCABULARY];
    llama_memory_t memory = llama_get_memory(context);
    if (!decodes) {
        llama_memory_clear(memory, false);
        return feed(0, LONGEST);
    }
    llama_memory_seq_rm(memory, 0, PROMPT, -1);
    for (int i = 0; i < DECODED; i++) {
        const float *y = feed(PROMPT + i, 1);
        if (!y) return NULL;
        if (i == 0) memcpy(first, y, sizeof first);
    }
    return first;
}

static double run(int n) {
    double t0 = row_now();
    for (int i = 0; i < n; i++) once();
    return (row_now() - t0) / n / (decodes ? DECODED : 1);
}

static bool load(const row_task *t) {
    const char *folder = getenv("TMPDIR");
    char path[512];
    snprintf(path, sizeof path, "%s/gyrus-%d.gguf", folder ? folder : "/tmp", (int)getpid());
    if (write_model(path, strcmp(t->dtype, "bf16") == 0 ? GGML_TYPE_BF16 : GGML_TYPE_F32))
        model = llama_model_load_from_file(path, llama_model_default_params());
    unlink(path);
    if (!model) return false;
    before = row_status("RssAnon"); /* without the weights, which are a mapped file */
    struct llama_context_params cp = llama_context_default_params();
    cp.n_ctx = cp.n_batch = cp.n_ubatch = decodes ? 2 * PROMPT : LONGEST;
    cp.n_threads = cp.n_threads_batch = t->threads;
    context = llama_init_from_model(model, cp);
    return context != NULL;
}

static bool prepare(const row_task *t) {
    decodes = strcmp(t->kernel, "gpt2 decode") == 0;
    if (!decodes && strcmp(t->kernel, "gpt2 prefill") != 0) return false;
    if (strcmp(t->dtype, "f32") != 0 && strcmp(t->dtype, "bf16") != 0) return false;
    for (int i = 0; i < LONGEST; i++) ids[i] = row_id("ids", i, VOCABULARY);
    if (!load(t)) return false;
    if (decodes && !feed(0, PROMPT)) return false;
    const float *y = once();
    row_memory = row_status("RssAnon") - before;
    if (y) row_output(t, y, VOCABULARY);
    return y != NULL;
}

static void only_errors(enum ggml_log_level level, const char *text, void *user) {
    (void)user;
    if (level == GGML_LOG_LEVEL_ERROR) fputs(text, stderr);
}

int main(void) {
    char version[128];
    llama_log_set(only_errors, NULL);
    llama_backend_init();
    snprintf(version, sizeof version, "llama.cpp %s, ggml %s (%s)", llama_version(), ggml_version(), ggml_commit());
    return rows_main(version);
}
