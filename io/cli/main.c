/* gyrus: reads the command line, finds the verb, runs it. */
#define _GNU_SOURCE
#include "cli.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#define CONFIG_OPTIONS                                                                                                 \
    {"--config", "C", "configuration (see: gyrus show SLUG)"}, {                                                       \
        "--set", "key=value", "change one option of the configuration; repeatable"                                     \
    }

static const cli_option json_only[] = {{"--json", NULL, "print one JSON value"}, {0}};
/* Not of convert, whose --dtype is the type of what it writes. */
#define DTYPE_OPTION                                                                                                   \
    { "--dtype", "T", "f32, or bf16: factors of products are rounded, sums and weights stay f32" }
#define DEVICE_OPTION                                                                                                  \
    { "--device", "D", "cpu, cuda, cuda:N, or emu: the kernels for GPUs, emulated (default: $GYRUS_DEVICE, else cpu)" }
static const cli_option list_options[] = {{"--family", "F", "only this family"},
                                          {"--ops", NULL, "list the operators instead of the models"},
                                          {"--json", NULL, "print a JSON array"},
                                          {0}};
static const cli_option show_options[] = {CONFIG_OPTIONS,
                                          {"--batch", "N", "rows of a batch (default: the configuration's)"},
                                          DTYPE_OPTION,
                                          {"--memory", NULL, "draw the plan's memory over its steps"},
                                          {"--json", NULL, "print a JSON object"},
                                          {0}};
static const cli_option train_options[] = {CONFIG_OPTIONS,
                                           {"--data", "PATH", "a data set; without it the model generates its own"},
                                           {"--weights", "F",
                                            "parameters to begin with: safetensors, .pth, or their folder "
                                            "(default: initial values)"},
                                           {"--steps", "N", "training steps (default: the configuration's)"},
                                           {"--seed", "S", "seed of initial values, batches and noise (default 0)"},
                                           DEVICE_OPTION,
                                           DTYPE_OPTION,
                                           {"--out", "DIR", "run folder (default: runs/SLUG)"},
                                           {"--save-every", "N", "steps between checkpoints (default: a tenth of all)"},
                                           {"--resume", NULL, "go on from the run folder's checkpoint"},
                                           {"--dry-run", NULL, "print options, memory and time expected, then stop"},
                                           {"--ablate", "NAME", "break one mechanism on purpose (see: gyrus show)"},
                                           {"--quiet", NULL, "no progress"},
                                           {"--json", NULL, "print the final metrics as JSON"},
                                           {0}};
static const cli_option eval_options[] = {{"--data", "PATH", "another data set than the run's"},
                                          DEVICE_OPTION,
                                          DTYPE_OPTION,
                                          {"--json", NULL, "print a JSON object"},
                                          {0}};
static const cli_option run_options[] = {
    CONFIG_OPTIONS,
    {"--weights", "F", "parameters: safetensors, .pth, or a folder with them (default: the run's checkpoint)"},
    {"--input", "name=F.npy", "an input; repeatable"},
    {"--output", "name=F.npy", "an output to write; repeatable"},
    {"--seed", "S", "seed of initial values, without weights (default 0)"},
    DEVICE_OPTION,
    DTYPE_OPTION,
    {"--dry-run", NULL, "print inputs, outputs and memory, then stop"},
    {0}};
static const cli_option sample_options[] = {CONFIG_OPTIONS,
                                            {"--weights", "F", "parameters: safetensors, .pth, or a folder with them"},
                                            {"-n", "N", "how many (default: 16 pictures, 1 text)"},
                                            {"--seed", "S", "seed (default 0)"},
                                            {"-o", "F", "grid.png of pictures; file for texts (default: stdout)"},
                                            {"--prompt", "TEXT", "texts: what they go on from"},
                                            {"--tokenizer", "F",
                                             "texts: tokenizer.json, .tiktoken, or a folder with "
                                             "vocab.json (default: beside the weights; bytes)"},
                                            {"--tokens", "N", "texts: new tokens at most (default 64)"},
                                            {"--temperature", "X", "texts: 0 takes the likeliest (default 0.8)"},
                                            {"--top-k", "K", "texts: only the K likeliest tokens (default: all)"},
                                            {"--top-p", "P", "texts: only the likeliest that reach P (default 0.95)"},
                                            {"--repetition", "X", "texts: penalty of tokens that were there (1: none)"},
                                            {"--beams", "B", "texts: beam search instead of drawing"},
                                            {"--stop", "TOKEN",
                                             "texts: the token that ends one (default: the "
                                             "tokenizer's)"},
                                            {"--json", NULL, "texts: print a JSON array"},
                                            DEVICE_OPTION,
                                            DTYPE_OPTION,
                                            {0}};
static const cli_option claim_options[] = {CONFIG_OPTIONS,
                                           {"--seed", "S", "seed (default 0)"},
                                           {"--ablate", "NAME", "break the mechanism: the claim must fail"},
                                           DEVICE_OPTION,
                                           {"--json", NULL, "print a JSON object"},
                                           {0}};
static const cli_option explain_options[] = {CONFIG_OPTIONS,
                                             {"--batch", "N", "rows of a batch"},
                                             {"--time", NULL, "run it on zeros and show each step's time"},
                                             DEVICE_OPTION,
                                             DTYPE_OPTION,
                                             {"-o", "PAGE.html", "write a page instead of the table"},
                                             {"--data", "D", "data that the page's pictures show (default: generated)"},
                                             {"--weights", "F", "parameters behind the pictures (default: initial)"},
                                             {"--op", "NAME", "explain an operator instead"},
                                             {"--json", NULL, "print a JSON object"},
                                             {0}};
static const cli_option bench_options[] = {
    {"--quick", NULL, "the short list, few repeats: seconds instead of minutes"},
    {"--match", "TEXT", "only rows with this text in kernel, shape and type"},
    {"--profile", NULL, "whole models: show the time by kernel"},
    {"--cold", NULL, "empty the caches before each run"},
    DTYPE_OPTION,
    {"--peers", NULL,
     "time others beside: GYRUS_OPENBLAS, _BLIS, _ONEDNN, _PYTHON, _GGML, _LLAMA, _LLMC, _SDCPP name them"},
    {"--peer", "NAME", "of these, only peers with this text in their name"},
    {"--list", NULL, "print the names of the suites"},
    {"--save", "F.json", "keep the results, row by row"},
    {"--resume", NULL, "with --save: measure only what the file does not hold yet"},
    {"--load", "F.json", "take the results of a file instead of measuring"},
    {"--compare", "F.json", "fail if a row is slower than in that file"},
    {"--tolerance", "PERCENT", "what --compare lets pass (default 10)"},
    {"--html", "page.html", "write a page with rooflines and tables"},
    {"--json", NULL, "print a JSON array"},
    {0}};
static const cli_option convert_options[] = {
    {"--dtype", "T", "element type of the result"},
    {"--tokenizer", "F", "a text becomes an array of tokens, or the other way (tokenizer.json, .tiktoken, folder)"},
    {"--like", "IMAGE.nii", "take the space (affine, voxel size, TR) of this image"},
    {0}};

const cli_verb cli_verbs[] = {
    {"list", "the catalogue of models", cli_list, "[OPTION]...", list_options, "gyrus list --family decoding"},
    {"show", "a model: paper, inputs, outputs, parameters, work, memory", cli_show, "SLUG [OPTION]...", show_options,
     "gyrus show mindbridge --config paper\ngyrus show haxby --json"},
    {"train", "train a model", cli_train, "SLUG [OPTION]...", train_options,
     "gyrus train haxby --data DIR --out runs/haxby\ngyrus train mindbridge --seed 3 --set steps=800\n"
     "gyrus train --resume --out runs/haxby"},
    {"eval", "the paper's metrics of a trained model", cli_eval, "DIR [OPTION]...", eval_options,
     "gyrus eval runs/haxby --json"},
    {"run", "inference", cli_run, "SLUG|DIR [OPTION]...", run_options,
     "gyrus run runs/haxby --input voxels=x.npy --output logits=y.npy"},
    {"sample", "pictures or texts from a generative model", cli_sample, "SLUG|DIR [OPTION]...", sample_options,
     "gyrus sample runs/tinysd -n 16 -o grid.png\n"
     "gyrus sample gpt2 --config small --weights gpt2/model.safetensors --prompt 'The brain'"},
    {"claim", "the paper's claim in miniature, on fresh data", cli_claim, "SLUG [OPTION]...", claim_options,
     "gyrus claim mindbridge --seed 7\ngyrus claim mindbridge --ablate cycle"},
    {"explain", "a model taken apart, layer by layer", cli_explain, "SLUG [OPTION]...", explain_options,
     "gyrus explain haxby\ngyrus explain haxby --time -o haxby.html\ngyrus explain --op softmax"},
    {"bench", "time the kernels", cli_bench, "[SUITE]... [OPTION]...", bench_options,
     "gyrus bench matmul --threads 1 --json\ngyrus bench --quick --save before.json\n"
     "gyrus bench --quick --compare before.json\ngyrus bench matmul conv --peers --html bench.html"},
    {"doctor", "this machine: CPU features, kernels, peaks", cli_doctor, "[OPTION]...", json_only, "gyrus doctor"},
    {"inspect", "what is in a file", cli_inspect, "FILE... [OPTION]...", json_only, "gyrus inspect bold.nii.gz"},
    {"convert", "from one format to another", cli_convert, "IN OUT [OPTION]...", convert_options,
     "gyrus convert bold.nii.gz bold.npy\ngyrus convert weights.npz weights.safetensors\n"
     "gyrus convert map.npy map.nii.gz --like bold.nii.gz\n"
     "gyrus convert book.txt book.npy --tokenizer gpt2/tokenizer.json"},
    {0}};

static const cli_option common[] = {{"--help", NULL, "this text"},
                                    {"--threads", "T", "worker threads (default: the CPUs this process may use)"},
                                    {"--limit", "name=value", "raise a limit on what files may ask for; repeatable"},
                                    {0}};

static gy_limits limits;

const gy_limits *cli_limits(void) {
    return &limits;
}

/* ---- help ---- */

static void print_options(const cli_option *o) {
    for (; o && o->name; o++) {
        char left[64];
        snprintf(left, sizeof left, "%s%s%s", o->name, o->value ? " " : "", o->value ? o->value : "");
        printf("  %-24s %s\n", left, o->help);
    }
}

static void print_help(void) {
    printf("gyrus %s: brain decoding from scratch\n\nUsage: gyrus VERB [ARGUMENT]... [OPTION]...\n\n", GY_VERSION);
    for (const cli_verb *v = cli_verbs; v->name; v++) printf("  %-10s %s\n", v->name, v->summary);
    printf("\n'gyrus VERB --help' has the options and an example. Environment: GYRUS_ISA=ref|avx2|avx512|avx512bf16,\n"
           "GYRUS_EAGER=1 (run node by node and stop at the first NaN), NO_COLOR.\n");
}

static void print_verb_help(const cli_verb *v) {
    printf("Usage: gyrus %s %s\n\n%s.\n\n", v->name, v->usage, v->summary);
    print_options(v->options);
    print_options(common);
    printf("\nExample:\n");
    for (const char *p = v->examples; *p;) {
        size_t n = strcspn(p, "\n");
        printf("  %.*s\n", (int)n, p);
        p += n + (p[n] == '\n');
    }
}

/* ---- parsing ---- */

static const cli_option *find(const cli_option *list, const char *name, size_t n) {
    for (; list && list->name; list++)
        if (strlen(list->name) == n && strncmp(list->name, name, n) == 0) return list;
    return NULL;
}

static int unknown_option(const cli_verb *v, const char *word) {
    const char *names[64];
    int n = 0;
    for (const cli_option *o = v->options; o && o->name; o++) names[n++] = o->name;
    for (const cli_option *o = common; o->name; o++) names[n++] = o->name;
    names[n] = NULL;
    const char *near = gy_nearest(word, names);
    char shown[256];
    fprintf(stderr, "gyrus %s: unknown option '%s'%s%s%s\n", v->name,
            gy_show_text(word, strlen(word), shown, sizeof shown), near ? "; did you mean '" : "", near ? near : "",
            near ? "'?" : "");
    return CLI_USAGE;
}

static int parse(const cli_verb *v, int argc, char **argv, cli_args *a) {
    bool options = true;
    a->verb = v->name;
    for (int i = 2; i < argc; i++) {
        const char *w = argv[i];
        if (options && strcmp(w, "--") == 0) {
            options = false;
            continue;
        }
        if (!options || w[0] != '-' || w[1] == 0) {
            if (a->n_positional == (int)(sizeof a->positional / sizeof *a->positional)) {
                fprintf(stderr, "gyrus %s: too many arguments\n", v->name);
                return CLI_USAGE;
            }
            a->positional[a->n_positional++] = w;
            continue;
        }
        const char *eq = w[1] == '-' ? strchr(w, '=') : NULL;
        size_t n = eq ? (size_t)(eq - w) : strlen(w);
        const cli_option *o = find(v->options, w, n);
        if (!o) o = find(common, w, n);
        if (!o) return unknown_option(v, w);
        const char *value = eq ? eq + 1 : NULL;
        if (o->value && !value) {
            if (++i == argc) {
                fprintf(stderr, "gyrus %s: %s needs a value (%s)\n", v->name, o->name, o->value);
                return CLI_USAGE;
            }
            value = argv[i];
        } else if (!o->value && value) {
            fprintf(stderr, "gyrus %s: %s takes no value\n", v->name, o->name);
            return CLI_USAGE;
        }
        if (a->n == (int)(sizeof a->given / sizeof *a->given)) {
            fprintf(stderr, "gyrus %s: too many options\n", v->name);
            return CLI_USAGE;
        }
        a->given[a->n].option = o;
        a->given[a->n++].value = value;
    }
    return CLI_OK;
}

static int set_limits(const cli_args *a) {
    const char *given[64];
    int n = cli_all(a, "--limit", given, 64);
    gy_limits_init(&limits);
    for (int i = 0; i < n; i++) {
        char name[64];
        const char *eq = strchr(given[i], '=');
        gy_limit l;
        int64_t value;
        snprintf(name, sizeof name, "%.*s", eq ? (int)(eq - given[i]) : 0, given[i]);
        if (!eq || !gy_limit_parse(name, &l) || !gy_parse_int(eq + 1, strlen(eq + 1), &value) || value < 0) {
            fprintf(stderr, "gyrus: --limit %s: expected NAME=BYTES_OR_COUNT, NAME one of", given[i]);
            for (int k = 0; k < GY_LIMIT_COUNT; k++) fprintf(stderr, " %s", gy_limit_name((gy_limit)k));
            fprintf(stderr, "\n");
            return CLI_USAGE;
        }
        limits.v[l] = (uint64_t)value;
    }
    return CLI_OK;
}

static void warn(void *user, const char *text) {
    (void)user;
    cli_talk("warning: ", text);
}

static const cli_verb *find_verb(const char *name) {
    for (const cli_verb *v = cli_verbs; v->name; v++)
        if (strcmp(v->name, name) == 0) return v;
    const char *names[32];
    int n = 0;
    for (const cli_verb *v = cli_verbs; v->name; v++) names[n++] = v->name;
    names[n] = NULL;
    const char *near = gy_nearest(name, names);
    char shown[256];
    fprintf(stderr, "gyrus: unknown verb '%s'%s%s%s (gyrus --help lists them)\n",
            gy_show_text(name, strlen(name), shown, sizeof shown), near ? "; did you mean '" : "", near ? near : "",
            near ? "'?" : "");
    return NULL;
}

int main(int argc, char **argv) {
    if (argc < 2) {
        print_help();
        return CLI_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0) {
        print_help();
        return CLI_OK;
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("gyrus %s\n", GY_VERSION);
        return CLI_OK;
    }
    const cli_verb *v = find_verb(argv[1]);
    if (!v) return CLI_USAGE;
    cli_args a = {0};
    int rc = parse(v, argc, argv, &a);
    if (rc != CLI_OK) return rc;
    if (cli_has(&a, "--help")) {
        print_verb_help(v);
        return CLI_OK;
    }
    if ((rc = set_limits(&a)) != CLI_OK) return rc;
    gy_isa isa;
    const char *want = getenv("GYRUS_ISA");
    if (want && *want && !gy_isa_parse(want, &isa)) {
        fprintf(stderr, "gyrus: GYRUS_ISA=%s: expected ref, avx2, avx512 or avx512bf16\n", want);
        return CLI_USAGE;
    }
    int64_t threads = 0;
    const char *t = cli_get(&a, "--threads");
    if (t && (!gy_parse_int(t, strlen(t), &threads) || threads < 1 || threads > 1024)) {
        fprintf(stderr, "gyrus %s: --threads '%s': expected an integer in [1, 1024]\n", v->name, t);
        return CLI_USAGE;
    }
    gy_ctx *ctx = gy_ctx_new((gy_ctx_args){.threads = (int)threads});
    if (!ctx) {
        fprintf(stderr, "gyrus: out of memory\n");
        return CLI_FAILED;
    }
    gy_set_warn_handler(ctx, warn, NULL);
    signal(SIGXFSZ, SIG_IGN); /* a file-size limit then ends in a message, like a full disk */
    bool places = false;      /* whether the verb runs plans */
    for (const cli_option *o = v->options; o->name; o++) places = places || strcmp(o->name, "--device") == 0;
    gy_status s = v->run != cli_convert ? cli_precision(ctx, &a) : GY_OK;
    const char *device = cli_get(&a, "--device");
    if (s == GY_OK && v->run == cli_train) s = gy_ctx_join(ctx);
    if (s == GY_OK && places) s = gy_ctx_set_device(ctx, device ? device : getenv("GYRUS_DEVICE"));
    rc = s != GY_OK ? cli_fail(ctx, &a) : v->run(ctx, &a);
    gy_ctx_free(ctx);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        fprintf(stderr, "gyrus %s: writing to standard output failed\n", v->name);
        if (rc == CLI_OK) rc = CLI_FAILED;
    }
    return rc;
}
