/* BrainVision's DataFormat=ASCII: samples as decimal numbers. [ASCII Infos] names the decimal symbol and how many lines
 * and columns in front are no samples. Multiplexed, a line is one moment of all channels; vectorized, it is one
 * channel, most often behind its name. */
#include "recording_internal.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>

typedef struct cursor {
    const char *at, *end;
    char decimal;
} cursor;

/* The next line without its end: LF, CR LF or CR. */
static bool next_line(cursor *file, cursor *line) {
    if (file->at == file->end) return false;
    const char *s = file->at, *p = s;
    while (p < file->end && *p != '\n' && *p != '\r') p++;
    *line = (cursor){s, p, file->decimal};
    if (p < file->end && *p++ == '\r' && p < file->end && *p == '\n') p++;
    file->at = p;
    return true;
}

/* The next field of a line. The format names no separator: programs write blanks, tabs, semicolons or, where it is not
 * the decimal symbol, commas. */
static bool next_field(cursor *line, const char **s, size_t *n) {
    const char mark = line->decimal == ',' ? ';' : ',';
    const char *p = line->at;
    while (p < line->end && (*p == ' ' || *p == '\t' || *p == ';' || *p == mark)) p++;
    *s = p;
    while (p < line->end && *p != ' ' && *p != '\t' && *p != ';' && *p != mark) p++;
    *n = (size_t)(p - *s);
    line->at = p;
    return *n > 0;
}

static bool next_line_with_text(cursor *file, cursor *line) {
    while (next_line(file, line)) {
        cursor fields = *line;
        const char *s;
        size_t n;
        if (next_field(&fields, &s, &n)) return true;
    }
    return false;
}

static bool value_of(const char *s, size_t n, char decimal, float *out) {
    char plain[64];
    double v;
    if (n > sizeof plain) return false;
    for (size_t i = 0; i < n; i++) {
        if (decimal == ',' && s[i] == '.') return false; /* would mark thousands */
        plain[i] = (char)(s[i] == decimal ? '.' : s[i]);
    }
    if (!gy_parse_double(plain, n, &v) || (isfinite(v) && fabs(v) > FLT_MAX)) return false;
    *out = (float)v;
    return true;
}

static gy_status values(const gy_bytes *f, const char *text, cursor body, int64_t lines, int64_t fields,
                        int64_t skip_columns, float *out) {
    cursor line;
    for (int64_t i = 0; i < lines && next_line_with_text(&body, &line); i++) {
        const char *s = line.at;
        size_t n;
        int64_t k = -skip_columns;
        for (; next_field(&line, &s, &n); k++) {
            char shown[64];
            if (k < 0) continue;
            if (k < fields && !value_of(s, n, line.decimal, &out[i * fields + k]))
                return gy_bytes_fail(f, (uint64_t)(s - text), "expected a decimal number, found '%s'",
                                     gy_show_text(s, n, shown, sizeof shown));
        }
        if (k != fields)
            return gy_bytes_fail(f, (uint64_t)(line.end - text),
                                 "a line of %" PRId64 " numbers, where the first has %" PRId64, k > 0 ? k : 0, fields);
    }
    return GY_OK;
}

static gy_status read_text(gy_recording *r, const char *text, gy_bv_text how, float **out, int64_t *samples) {
    const gy_bytes *f = &r->data;
    cursor body = {text, text + f->size, how.decimal}, line, rest;
    int64_t lines = 0, fields = -how.skip_columns;
    const char *s;
    size_t n;
    for (int64_t i = 0; i < how.skip_lines; i++)
        if (!next_line(&body, &line))
            return gy_bytes_fail(f, f->size, "SkipLines is %" PRId64 ", the file has %" PRId64, how.skip_lines, i);
    for (rest = body; next_line_with_text(&rest, &line); lines++)
        while (lines == 0 && next_field(&line, &s, &n)) fields++;
    if (lines == 0 || fields < 1) return gy_bytes_fail(f, (uint64_t)(body.at - text), "expected numbers, found none");
    if ((r->vectorized ? lines : fields) != r->n_channels)
        return gy_bytes_fail(f, (uint64_t)(body.at - text), "%" PRId64 " %s for %" PRId64 " channels",
                             r->vectorized ? lines : fields, r->vectorized ? "lines" : "numbers in a line",
                             r->n_channels);
    /* a number and what parts it from the next are two bytes at least: the text bounds what is allocated */
    if ((uint64_t)fields > (f->size / 2 + 1) / (uint64_t)lines)
        return gy_bytes_fail(f, (uint64_t)(body.at - text), "the first of %" PRId64 " lines has more numbers than most",
                             lines);
    *out = gy_malloc(r->ctx, (size_t)(lines * fields) * sizeof **out);
    if (!*out) return GY_ERR_NOMEM;
    *samples = r->vectorized ? fields : lines;
    return values(f, text, body, lines, fields, how.skip_columns, *out);
}

gy_status gy_brainvision_text(gy_recording *r, gy_bv_text how, int64_t *samples) {
    const uint8_t *text;
    void *owned;
    float *out = NULL;
    gy_status s = gy_bytes_limit(&r->data, GY_LIMIT_FILE, r->data.size, "bytes of samples");
    if (s == GY_OK) s = gy_bytes_borrow(&r->data, 0, r->data.size, &text, &owned);
    if (s != GY_OK) return s;
    s = read_text(r, (const char *)text, how, &out, samples);
    gy_free(r->ctx, owned);
    r->owned = out;
    if (s != GY_OK) return s;
    int64_t count = r->n_channels * *samples;
    if (!gy_host_is_little_endian()) gy_swap_bytes(out, count, sizeof *out);
    gy_bytes was = r->data;
    r->data = (gy_bytes){0};
    s = gy_bytes_from_memory(r->ctx, was.path, out, (uint64_t)count * sizeof *out, &was.limits, &r->data);
    gy_bytes_close(&was);
    return s;
}
