/* rows.h: what the compiled peers share: the protocol of bench/child.c, inputs by rule (bench/cases.h, bench/models.h),
 * sampled outputs, memory. C11 and C++17; a peer includes it once, defines prepare and run, and calls rows_main. */
#ifndef GY_PEER_ROWS_H
#define GY_PEER_ROWS_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

typedef struct row_task {
    char kernel[64], dtype[8];
    int64_t d[8];
    int threads, compared;
} row_task;

/* A peer's own. prepare: makes the task ready, runs it once, gives each result to row_output; false: not offered. */
static bool prepare(const row_task *t);
/* Runs it n times; seconds of one. */
static double run(int n);

static FILE *row_out; /* what was stdout: answers only */
static int row_outputs;
static double row_memory; /* bytes beside weights and optimizer state; 0: not said */

static double row_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- values ---- */

static inline float row_value(uint32_t i, uint32_t k) {
    uint32_t z = k * 0x9E3779B1u + (i + 1) * 0x85EBCA77u;
    z = (z ^ z >> 15) * 0x2C1B3CEDu;
    z = (z ^ z >> 12) * 0x297A2D39u;
    z ^= z >> 15;
    return (float)(z >> 8) * (1.0f / 16777216.0f) - 0.5f;
}

enum { ROW_POOL = 1000003 };

static int64_t row_start(const char *name) {
    uint32_t h = 2166136261u;
    for (; *name; name++) h = (h ^ (uint8_t)*name) * 16777619u;
    return h % ROW_POOL;
}
static inline float row_pool(int64_t start, int64_t k) {
    return row_value(0, (uint32_t)((start + k) % ROW_POOL));
}
/* Element k of the tensor `name` of a model. */
static inline float row_real(int64_t start, int64_t k, double gain, double shift) {
    return row_pool(start, k) * (float)gain + (float)shift;
}
static int32_t row_id(const char *name, int64_t k, int64_t vocabulary) {
    char one[64];
    snprintf(one, sizeof one, "%s.%lld", name, (long long)k);
    return (int32_t)((double)(row_pool(row_start(one), 0) + 0.5f) * (double)vocabulary);
}

/* A parameter of rows x columns values, or of `rows` (columns 0), as the checkpoint has it; `turned`: its transpose. */
static void row_parameter(const char *name, int64_t rows, int64_t columns, bool turned, float *out) {
    int64_t start = row_start(name), at = 0;
    size_t len = strlen(name);
    bool weight = len > 6 && strcmp(name + len - 6, "weight") == 0;
    double gain = columns ? sqrt(12.0 / (double)columns) : 0.1, shift = !columns && weight ? 1 : 0;
    if (!columns) columns = 1;
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < columns; j++, at++) out[turned ? j * rows + i : at] = row_real(start, at, gain, shift);
}

/* ---- memory ---- */

static double row_status(const char *key) {
    char line[128];
    double kb = 0;
    FILE *f = fopen("/proc/self/status", "r");
    while (f && fgets(line, sizeof line, f))
        if (strncmp(line, key, strlen(key)) == 0) kb = atof(line + strlen(key) + 1);
    if (f) fclose(f);
    return kb * 1024;
}
/* Forgets the high-water mark; the resident set now. */
static double row_memory_begin(void) {
    FILE *f = fopen("/proc/self/clear_refs", "w");
    if (f) fputs("5", f), fclose(f);
    return row_status("VmRSS");
}
static void row_memory_end(double before) {
    double most = row_status("VmHWM");
    row_memory = most > before ? most - before : 0;
}

/* ---- answers ---- */

/* A result of n values: sampled evenly, as bench/child.c does. */
static void row_output(const row_task *t, const float *y, int64_t n) {
    int64_t m = n < t->compared ? n : t->compared;
    fprintf(row_out, row_outputs++ ? ", [" : "{\"ok\": true, \"outputs\": [[");
    for (int64_t i = 0; i < m; i++) fprintf(row_out, "%s%.9g", i ? ", " : "", (double)y[i * n / m]);
    fprintf(row_out, "]");
}

static bool row_text(const char *line, const char *key, char *out, size_t n) {
    char quoted[32];
    snprintf(quoted, sizeof quoted, "\"%s\"", key);
    const char *p = strstr(line, quoted);
    p = p ? strchr(p + strlen(quoted), '"') : NULL;
    size_t len = p ? strcspn(p + 1, "\"") : n;
    if (len >= n) return false;
    memcpy(out, p + 1, len);
    out[len] = '\0';
    return true;
}
static long long row_number(const char *line, const char *key) {
    const char *p = strstr(line, key);
    p = p ? strchr(p, ':') : NULL;
    return p ? atoll(p + 1) : 0;
}

static int rows_main(const char *version) {
    char line[4096];
    row_out = fdopen(dup(1), "w");
    if (!row_out) return 1;
    dup2(2, 1); /* whatever a library prints is no answer */
    fprintf(row_out, "{\"version\": \"%s\"}\n", version);
    for (fflush(row_out); fgets(line, sizeof line, stdin); fflush(row_out)) {
        row_task t;
        memset(&t, 0, sizeof t);
        if (strstr(line, "\"run\"")) {
            fprintf(row_out, "{\"seconds\": %.9g}\n", run((int)row_number(line, "\"run\"")));
            continue;
        }
        const char *d = strstr(line, "\"d\"");
        d = d ? strchr(d, '[') : NULL;
        for (int i = 0; i < 8 && d; i++) {
            t.d[i] = atoll(d + 1);
            d = strchr(d + 1, ',');
        }
        t.threads = (int)row_number(line, "\"threads\"");
        t.compared = (int)row_number(line, "\"compared\"");
        row_outputs = 0;
        row_memory = 0;
        bool ok = row_text(line, "kernel", t.kernel, sizeof t.kernel) &&
                  row_text(line, "dtype", t.dtype, sizeof t.dtype) && prepare(&t);
        if (ok && row_outputs)
            fprintf(row_out, "], \"memory\": %.0f}\n", row_memory);
        else
            fprintf(row_out, "{\"ok\": %s}\n", ok ? "true, \"outputs\": []" : "false");
    }
    return 0;
}

#endif
