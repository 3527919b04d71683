/* gyrus sample, for language models: texts that go on from a prompt. */
#include "cli.h"

#include "../files.h"
#include "../formats/json.h"
#include "../formats/tokenizer.h"

#include <inttypes.h>
#include <string.h>

enum { BYTES = 256, DEFAULT_TOKENS = 64 };

typedef struct text_job {
    gy_ctx *ctx;
    const cli_args *a;
    gy_job *j;
    gy_tokenizer *tokenizer; /* NULL: tokens are bytes */
    int64_t size;            /* of the vocabulary */
    const char *prompt_text;
    int64_t *prompt, *out; /* [t]; [rows, n] */
    gy_completion c;
    /* what is shown while it grows */
    int64_t count;
    uint64_t shown; /* bytes */
    bool live;
    double begun, first, last; /* seconds: start, first new token, latest */
    gy_status failed;
} text_job;

static bool real_option(text_job *w, const char *name, double lo, double hi, double *out) {
    const char *text = cli_get(w->a, name);
    double v;
    if (!text) return true;
    if (!gy_parse_double(text, strlen(text), &v) || !(v >= lo && v <= hi)) {
        gy_fail(w->ctx, GY_ERR_USAGE, "%s '%s': expected a number in [%g, %g]", name, text, lo, hi);
        return false;
    }
    *out = v;
    return true;
}

static gy_status read_options(text_job *w) {
    gy_sampling *s = &w->c.sampling;
    gy_ctx *ctx = w->ctx;
    *s = (gy_sampling){.temperature = 0.8, .top_p = 0.95, .end = -1, .seed = w->j->seed};
    w->c.rows = 1;
    w->c.n = DEFAULT_TOKENS;
    bool ok = cli_int(ctx, w->a, "-n", 1, 65536, &w->c.rows) && cli_int(ctx, w->a, "--tokens", 1, 1 << 24, &w->c.n) &&
              cli_int(ctx, w->a, "--top-k", 0, INT32_MAX, &s->top_k) &&
              cli_int(ctx, w->a, "--beams", 1, 4096, &s->beams) &&
              real_option(w, "--temperature", 0, 1e6, &s->temperature) && real_option(w, "--top-p", 0, 1, &s->top_p) &&
              real_option(w, "--repetition", 0, 1e6, &s->repetition);
    if (!ok || !cli_u64(ctx, w->a, "--seed", &s->seed)) return GY_ERR_USAGE;
    if (s->beams > 1 && w->c.rows > 1)
        return gy_fail(ctx, GY_ERR_USAGE, "--beams finds one text: -n %" PRId64 " would print it as often", w->c.rows);
    w->prompt_text = cli_get(w->a, "--prompt");
    if (!w->prompt_text) return gy_fail(ctx, GY_ERR_USAGE, "%s writes texts: expected --prompt TEXT", w->j->def->slug);
    return GY_OK;
}

/* The tokenizer given, else one that lies beside the weights, as published checkpoints have it. */
static gy_status find_tokenizer(text_job *w) {
    const char *path = cli_get(w->a, "--tokenizer"), *weights = cli_get(w->a, "--weights");
    char *beside = NULL;
    if (!path && weights) {
        const char *slash = strrchr(weights, '/');
        if (gy_path_is_dir(weights))
            beside = gy_path_join(w->ctx, weights, "tokenizer.json");
        else
            beside = slash ? gy_format(w->ctx, "%.*s/tokenizer.json", (int)(slash - weights), weights)
                           : gy_strdup(w->ctx, "tokenizer.json");
        if (!beside) return GY_ERR_NOMEM;
        if (gy_path_exists(beside)) path = beside;
    }
    gy_status s = GY_OK;
    if (path)
        s = gy_tokenizer_open(w->ctx, path, cli_limits(), &w->tokenizer);
    else if (w->size != BYTES)
        s = gy_fail(w->ctx, GY_ERR_USAGE,
                    "%s has %" PRId64
                    " tokens: expected --tokenizer FILE (tokenizer.json, a folder with vocab.json and "
                    "merges.txt, or .tiktoken), or a tokenizer.json beside the weights",
                    w->j->def->slug, w->size);
    gy_free(w->ctx, beside);
    return s;
}

/* The token that ends a text: --stop, else what tokenizers usually name it. */
static gy_status find_end(text_job *w) {
    static const char *const usual[] = {"<|endoftext|>", "</s>", "<|end_of_text|>", "<|im_end|>"};
    const char *stop = cli_get(w->a, "--stop");
    gy_sampling *s = &w->c.sampling;
    if (!w->tokenizer) {
        if (stop && strlen(stop) != 1)
            return gy_fail(w->ctx, GY_ERR_USAGE, "--stop '%s': the tokens are bytes: expected one", stop);
        if (stop) s->end = (unsigned char)stop[0];
        return GY_OK;
    }
    if (stop) {
        s->end = gy_tokenizer_id(w->tokenizer, stop);
        if (s->end < 0) return gy_fail(w->ctx, GY_ERR_USAGE, "--stop '%s': the tokenizer has no such token", stop);
    }
    for (size_t i = 0; s->end < 0 && i < sizeof usual / sizeof *usual; i++)
        s->end = gy_tokenizer_id(w->tokenizer, usual[i]);
    if (s->end >= w->size) s->end = -1;
    return GY_OK;
}

static gy_status encode(text_job *w) {
    size_t n = strlen(w->prompt_text);
    gy_tokens tokens = {0};
    gy_status s = GY_OK;
    if (w->tokenizer) s = gy_tokenizer_encode(w->tokenizer, w->prompt_text, n, (gy_encode_args){0}, &tokens);
    w->c.t = w->tokenizer ? tokens.n : (int64_t)n;
    bool from_end = s == GY_OK && w->c.t == 0 && w->c.sampling.end >= 0; /* an empty prompt: any text may begin */
    if (from_end) w->c.t = 1;
    if (s == GY_OK && w->c.t == 0) s = gy_fail(w->ctx, GY_ERR_USAGE, "--prompt: empty: expected a token to go on from");
    if (s == GY_OK && !(w->prompt = gy_malloc(w->ctx, (size_t)w->c.t * sizeof *w->prompt))) s = GY_ERR_NOMEM;
    for (int64_t i = 0; s == GY_OK && i < w->c.t; i++) {
        w->prompt[i] = from_end ? w->c.sampling.end : w->tokenizer ? tokens.t[i].id : (unsigned char)w->prompt_text[i];
        if (w->prompt[i] >= w->size)
            s = gy_fail(w->ctx, GY_ERR_USAGE,
                        "token %" PRId64 " of the prompt is %" PRId64 ", but %s has %" PRId64
                        " tokens: is this the model's tokenizer?",
                        i, w->prompt[i], w->j->def->slug, w->size);
    }
    gy_tokens_free(&tokens);
    w->c.prompt = w->prompt;
    return s;
}

/* Numbers that pad a vocabulary beyond the tokenizer's stand for nothing. */
static gy_status decode(text_job *w, const int64_t *ids, int64_t n, char **text, uint64_t *bytes) {
    int32_t *kept = gy_malloc(w->ctx, (size_t)n * sizeof *kept + 1);
    int64_t count = 0;
    if (!kept) return GY_ERR_NOMEM;
    for (int64_t i = 0; i < n; i++)
        if (!w->tokenizer || ids[i] < gy_tokenizer_size(w->tokenizer)) kept[count++] = (int32_t)ids[i];
    gy_status s = GY_OK;
    if (w->tokenizer) {
        s = gy_tokenizer_decode(w->tokenizer, kept, count, true, text, bytes);
    } else if ((*text = gy_malloc(w->ctx, (size_t)count + 1))) {
        for (int64_t i = 0; i < count; i++) (*text)[i] = (char)kept[i];
        (*text)[ *bytes = (uint64_t)count] = 0;
    } else {
        s = GY_ERR_NOMEM;
    }
    gy_free(w->ctx, kept);
    return s;
}

/* Prompt and n tokens of a row together, so that the space between words is the tokenizer's; *from: where the new
 * text begins. */
static gy_status whole(text_job *w, int64_t row, int64_t n, char **text, uint64_t *bytes, uint64_t *from) {
    int64_t t = w->c.t, *all = gy_malloc(w->ctx, (size_t)(t + n) * sizeof *all);
    char *before = NULL;
    *text = NULL;
    if (!all) return GY_ERR_NOMEM;
    memcpy(all, w->prompt, (size_t)t * sizeof *all);
    memcpy(all + t, w->out + row * w->c.n, (size_t)n * sizeof *all);
    gy_status s = decode(w, all, t, &before, from);
    if (s == GY_OK) s = decode(w, all, t + n, text, bytes);
    gy_free(w->ctx, before);
    gy_free(w->ctx, all);
    if (s == GY_OK && *from > *bytes) *from = *bytes;
    return s;
}

/* Tokens of a row up to its end, or to where it was stopped. */
static int64_t length(const text_job *w, int64_t row) {
    int64_t n = 0;
    while (n < w->c.n && w->out[row * w->c.n + n] >= 0 && w->out[row * w->c.n + n] != w->c.sampling.end) n++;
    return n;
}

/* Shows a single text as it grows. */
static bool told(void *user, const int64_t *next) {
    text_job *w = user;
    double now = cli_now();
    if (!w->count) w->first = now;
    w->last = now;
    if (w->live) {
        char *text;
        uint64_t bytes, from;
        w->out[w->count] = next[0];
        w->failed = whole(w, 0, w->count + (next[0] != w->c.sampling.end), &text, &bytes, &from);
        if (w->failed != GY_OK) return false;
        if (bytes > w->shown) fwrite(text + w->shown, 1, (size_t)(bytes - w->shown), stdout);
        if (bytes > w->shown) w->shown = bytes;
        fflush(stdout);
        gy_free(w->ctx, text);
    }
    w->count++;
    return !cli_stop_asked();
}

static gy_status as_json(text_job *w, char **json, size_t *n) {
    gy_json_writer j;
    gy_status s = GY_OK;
    gy_json_start(w->ctx, &j, false);
    gy_json_open_array(&j, NULL);
    for (int64_t r = 0; s == GY_OK && r < w->c.rows; r++) {
        char *text;
        uint64_t bytes, from;
        int64_t count = length(w, r);
        s = whole(w, r, count, &text, &bytes, &from);
        if (s != GY_OK) break;
        gy_json_open_object(&j, NULL);
        gy_json_put_string(&j, "prompt", w->prompt_text);
        gy_json_put_string(&j, "text", text + from);
        gy_json_open_array(&j, "tokens");
        for (int64_t i = 0; i < count; i++) gy_json_put_int(&j, NULL, w->out[r * w->c.n + i]);
        gy_json_close(&j);
        gy_json_put_string(&j, "ended", count < w->c.n && w->out[r * w->c.n + count] >= 0 ? "stop" : "length");
        gy_json_close(&j);
        gy_free(w->ctx, text);
    }
    gy_json_close(&j);
    gy_status f = gy_json_finish(&j, json, n);
    return s == GY_OK ? f : s;
}

/* All texts as one: each whole, with a line between two. */
static gy_status as_text(text_job *w, FILE *f, gy_writer *file) {
    for (int64_t r = 0; r < w->c.rows; r++) {
        char *text;
        uint64_t bytes, from;
        gy_status s = whole(w, r, length(w, r), &text, &bytes, &from);
        if (s != GY_OK) return s;
        const char *between = r + 1 < w->c.rows ? "\n---\n" : "\n";
        if (file) {
            s = gy_writer_put(file, text, (size_t)bytes);
            if (s == GY_OK) s = gy_writer_put(file, between, strlen(between));
        } else {
            fwrite(text, 1, (size_t)bytes, f);
            fputs(between, f);
        }
        gy_free(w->ctx, text);
        if (s != GY_OK) return s;
    }
    return GY_OK;
}

static gy_status deliver(text_job *w, const char *path) {
    char *json = NULL;
    size_t n = 0;
    gy_writer *file = NULL;
    gy_status s = cli_has(w->a, "--json") ? as_json(w, &json, &n) : GY_OK;
    if (s == GY_OK && path) s = gy_writer_open(w->ctx, path, &file);
    if (s == GY_OK && json) {
        if (file)
            s = gy_writer_printf(file, "%s\n", json);
        else
            printf("%s\n", json);
    } else if (s == GY_OK && !w->live) {
        s = as_text(w, stdout, file);
    } else if (s == GY_OK) {
        putchar('\n');
    }
    if (file && s == GY_OK)
        s = gy_writer_commit(file);
    else if (file)
        gy_writer_abort(file);
    gy_free(w->ctx, json);
    return s;
}

static void say_speed(const text_job *w) {
    double n = (double)(w->count - 1), seconds = w->last - w->first;
    if (w->count < 2 || seconds <= 0) return;
    fprintf(stderr, "%s: prompt of %" PRId64 " tokens in %.0f ms, then %.1f tokens a second\n", w->j->def->slug, w->c.t,
            1e3 * (w->first - w->begun), n * (double)w->c.rows / seconds);
}

static gy_status write_texts(text_job *w) {
    const char *path = cli_get(w->a, "-o");
    gy_status s = read_options(w);
    if (s == GY_OK) s = find_tokenizer(w);
    if (s == GY_OK) s = find_end(w);
    if (s == GY_OK) s = encode(w);
    if (s == GY_OK && !cli_get(w->a, "--weights")) { /* else reading the weights makes the states */
        gy_graph *g = cli_build(w->j, 1);
        if (!g) return gy_error_status(w->ctx);
        gy_graph_free(g);
    }
    if (s == GY_OK) s = cli_load_weights(w->ctx, w->a, w->j);
    if (s == GY_OK && !(w->out = gy_malloc(w->ctx, (size_t)(w->c.rows * w->c.n) * sizeof *w->out))) s = GY_ERR_NOMEM;
    if (s != GY_OK) return s;
    w->live = !path && w->c.rows == 1 && w->c.sampling.beams < 2 && !cli_has(w->a, "--json");
    w->c.sampling.told = told;
    w->c.sampling.user = w;
    cli_catch_signals();
    w->begun = cli_now();
    if (w->live) {
        char *text;
        uint64_t bytes, from;
        s = whole(w, 0, 0, &text, &bytes, &from);
        if (s != GY_OK) return s;
        fwrite(text, 1, (size_t)(w->shown = bytes), stdout);
        fflush(stdout);
        gy_free(w->ctx, text);
    }
    s = w->j->def->complete(w->j, &w->c, w->out);
    if (w->failed != GY_OK) s = w->failed;
    if (s == GY_OK) s = deliver(w, path);
    if (s == GY_OK) say_speed(w);
    return s;
}

gy_status cli_sample_text(gy_ctx *ctx, const cli_args *a, gy_job *j) {
    text_job w = {.ctx = ctx, .a = a, .j = j, .size = j->def->vocabulary(j->cfg)};
    gy_status s = write_texts(&w);
    gy_tokenizer_free(w.tokenizer);
    gy_free(ctx, w.prompt);
    gy_free(ctx, w.out);
    return s;
}
