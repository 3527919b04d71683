#define _GNU_SOURCE
#include "cli.h"

#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

bool cli_has(const cli_args *a, const char *name) {
    for (int i = 0; i < a->n; i++)
        if (strcmp(a->given[i].option->name, name) == 0) return true;
    return false;
}

const char *cli_get(const cli_args *a, const char *name) {
    for (int i = a->n - 1; i >= 0; i--)
        if (strcmp(a->given[i].option->name, name) == 0) return a->given[i].value;
    return NULL;
}

int cli_all(const cli_args *a, const char *name, const char *values[], int max) {
    int n = 0;
    for (int i = 0; i < a->n && n < max; i++)
        if (strcmp(a->given[i].option->name, name) == 0) values[n++] = a->given[i].value;
    return n;
}

bool cli_int(gy_ctx *ctx, const cli_args *a, const char *name, int64_t lo, int64_t hi, int64_t *out) {
    const char *text = cli_get(a, name);
    int64_t v;
    if (!text) return true;
    if (!gy_parse_int(text, strlen(text), &v) || v < lo || v > hi) {
        gy_fail(ctx, GY_ERR_USAGE, "%s '%s': expected an integer in [%" PRId64 ", %" PRId64 "]", name, text, lo, hi);
        return false;
    }
    *out = v;
    return true;
}

bool cli_u64(gy_ctx *ctx, const cli_args *a, const char *name, uint64_t *out) {
    int64_t v = 0;
    if (!cli_get(a, name)) return true;
    if (!cli_int(ctx, a, name, 0, INT64_MAX, &v)) return false;
    *out = (uint64_t)v;
    return true;
}

void cli_talk(const char *before, const char *text) {
    char line[4 * 4096 + 64]; /* a context's message, every byte of it shown as four */
    size_t n = strlen(text), len = 0;
    for (size_t i = 0; i < n && len + 16 < sizeof line;) {
        uint32_t code = 0;
        int step = gy_utf8_next(text + i, n - i, &code);
        bool control = step == 0 || (code < 32 && code != '\n' && code != '\t') || (code >= 127 && code < 160);
        for (int k = 0; k < (step ? step : 1); k++, i++)
            if (control)
                len += (size_t)snprintf(line + len, 8, "\\x%02x", (unsigned char)text[i]);
            else
                line[len++] = text[i];
    }
    fprintf(stderr, "%s%.*s\n", before, (int)len, line);
}

int cli_fail(gy_ctx *ctx, const cli_args *a) {
    char before[64];
    snprintf(before, sizeof before, "gyrus %s: ", a->verb);
    cli_talk(before, gy_error(ctx));
    return gy_error_status(ctx) == GY_ERR_USAGE ? CLI_USAGE : CLI_FAILED;
}

int cli_usage_error(gy_ctx *ctx, const cli_args *a, const char *fmt, ...) {
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    gy_fail(ctx, GY_ERR_USAGE, "%s (see: gyrus %s --help)", text, a->verb);
    return cli_fail(ctx, a);
}

const gy_model_def *cli_model(gy_ctx *ctx, const char *slug) {
    const gy_model_def *def = gy_model_find(slug);
    if (def) return def;
    const char *names[256];
    int n = 0;
    for (const gy_model_def *const *m = gy_models; *m && n < 255; m++) names[n++] = (*m)->slug;
    names[n] = NULL;
    const char *near = gy_nearest(slug, names);
    char shown[256];
    gy_fail(ctx, GY_ERR_USAGE, "no model '%s'%s%s%s (gyrus list shows all)",
            gy_show_text(slug, strlen(slug), shown, sizeof shown), near ? "; did you mean '" : "", near ? near : "",
            near ? "'?" : "");
    return NULL;
}

static gy_status check_ablation(gy_ctx *ctx, const gy_model_def *def, const char *name) {
    char all[512] = "";
    for (const char *const *p = def->ablations; p && *p; p++) {
        size_t n = strcspn(*p, " "), used = strlen(all);
        if (strlen(name) == n && strncmp(*p, name, n) == 0) return GY_OK;
        snprintf(all + used, sizeof all - used, "%s%.*s", used ? ", " : "", (int)n, *p);
    }
    return gy_fail(ctx, GY_ERR_USAGE, "%s has no ablation '%s'; it has: %s", def->slug, name, *all ? all : "none");
}

gy_status cli_job(gy_ctx *ctx, const cli_args *a, const gy_model_def *def, gy_job *j) {
    const char *settings[128];
    int n = cli_all(a, "--set", settings, 128);
    uint64_t seed = 0;
    if (!cli_u64(ctx, a, "--seed", &seed)) return GY_ERR_USAGE;
    const char *ablate = cli_get(a, "--ablate");
    if (ablate && check_ablation(ctx, def, ablate) != GY_OK) return GY_ERR_USAGE;
    gy_status s = gy_job_init(j, ctx, def, cli_get(a, "--config"), settings, n);
    if (s != GY_OK) return s;
    j->seed = seed;
    j->data_path = cli_get(a, "--data");
    j->ablate = ablate;
    return GY_OK;
}

gy_status cli_precision(gy_ctx *ctx, const cli_args *a) {
    const char *name = cli_get(a, "--dtype");
    gy_dtype t;
    if (!name) return GY_OK;
    if (!gy_dtype_parse(name, &t) || (t != GY_F32 && t != GY_BF16))
        return gy_fail(ctx, GY_ERR_USAGE, "--dtype '%s': expected f32 or bf16", name);
    gy_ctx_set_precision(ctx, t);
    return GY_OK;
}

char *cli_command_text(gy_ctx *ctx, const cli_args *a) {
    char *text = gy_format(ctx, "gyrus %s", a->verb);
    for (int i = 0; text && i < a->n_positional; i++) {
        char *next = gy_format(ctx, "%s %s", text, a->positional[i]);
        gy_free(ctx, text);
        text = next;
    }
    for (int i = 0; text && i < a->n; i++) {
        char *next = gy_format(ctx, "%s %s%s%s", text, a->given[i].option->name, a->given[i].value ? " " : "",
                               a->given[i].value ? a->given[i].value : "");
        gy_free(ctx, text);
        text = next;
    }
    return text;
}

/* ---- numbers for people ---- */

static char *scaled(double x, double base, const char *const units[], int n, char buf[32]) {
    int u = 0;
    while (u + 1 < n && fabs(x) >= base) {
        x /= base;
        u++;
    }
    snprintf(buf, 32, u == 0 || fabs(x) >= 99.95 ? "%.0f %s" : "%.1f %s", x, units[u]);
    return buf;
}

char *cli_bytes_text(double bytes, char buf[32]) {
    static const char *const u[] = {"B", "kB", "MB", "GB", "TB"};
    return scaled(bytes, 1000, u, 5, buf);
}

char *cli_count_text(double n, const char *unit, char buf[32]) {
    static const char *const u[] = {"", "k", "M", "G", "T", "P"};
    char number[32];
    scaled(n, 1000, u, 6, number);
    snprintf(buf, 32, "%s%s", number, unit);
    return buf;
}

char *cli_time_text(double s, char buf[32]) {
    if (s < 60)
        snprintf(buf, 32, s < 10 ? "%.1f s" : "%.0f s", s);
    else if (s < 3600)
        snprintf(buf, 32, "%d min %02d s", (int)(s / 60), (int)fmod(s, 60));
    else
        snprintf(buf, 32, "%d h %02d min", (int)(s / 3600), (int)(fmod(s, 3600) / 60));
    return buf;
}

static bool coloured(FILE *f) {
    const char *no = getenv("NO_COLOR");
    return isatty(fileno(f)) && !(no && *no);
}
const char *cli_bold(FILE *f) {
    return coloured(f) ? "\033[1m" : "";
}
const char *cli_dim(FILE *f) {
    return coloured(f) ? "\033[2m" : "";
}
const char *cli_plain(FILE *f) {
    return coloured(f) ? "\033[0m" : "";
}

double cli_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- signals ---- */

static volatile sig_atomic_t stop;

static void on_signal(int sig) {
    if (stop) {
        signal(sig, SIG_DFL);
        raise(sig);
    }
    stop = 1;
}

void cli_catch_signals(void) {
    struct sigaction sa = {.sa_handler = on_signal};
    sigemptyset(&sa.sa_mask);
    sigaction(SIGINT, &sa, NULL);
    sigaction(SIGTERM, &sa, NULL);
    signal(SIGPIPE, SIG_IGN);
}

bool cli_stop_asked(void) {
    return stop;
}
