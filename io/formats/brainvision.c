/* BrainVision: a header in INI form (.vhdr) that names a file of samples (.eeg) and one of markers (.vmrk). */
#include "recording_internal.h"

#include "../files.h"

#include <ctype.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- INI ---- */

typedef struct line {
    const char *key, *value;
    size_t key_len, value_len;
} line;

static bool word(const char *s, size_t n, const char *want) {
    size_t i = 0;
    for (; i < n && want[i]; i++)
        if (tolower((unsigned char)s[i]) != tolower((unsigned char)want[i])) return false;
    return i == n && !want[i];
}

/* The next line of text[*at..n); ends are LF, CR LF or CR. False: no more. */
static bool next_line(const char *text, size_t n, size_t *at, const char **s, size_t *len) {
    if (*at >= n) return false;
    size_t end = *at;
    while (end < n && text[end] != '\n' && text[end] != '\r') end++;
    *s = text + *at;
    *len = end - *at;
    *at = end + 1 + (end + 1 < n && text[end] == '\r' && text[end + 1] == '\n');
    while (*len > 0 && (**s == ' ' || **s == '\t')) (*s)++, (*len)--;
    while (*len > 0 && ((*s)[*len - 1] == ' ' || (*s)[*len - 1] == '\t')) (*len)--;
    return true;
}

/* The next "key=value" inside [section] (any case, repeated sections count as one); comments begin with ';'. */
static bool next_entry(const char *text, size_t n, size_t *at, const char *section, bool *inside, line *out) {
    const char *s;
    size_t len;
    while (next_line(text, n, at, &s, &len)) {
        if (len == 0 || *s == ';') continue;
        if (*s == '[') {
            *inside = len > 2 && s[len - 1] == ']' && word(s + 1, len - 2, section);
            continue;
        }
        const char *eq = memchr(s, '=', len);
        if (!*inside || !eq) continue;
        *out = (line){s, eq + 1, (size_t)(eq - s), len - (size_t)(eq - s) - 1};
        return true;
    }
    return false;
}

static bool find(const char *text, size_t n, const char *section, const char *key, line *out) {
    size_t at = 0;
    bool inside = false;
    while (next_entry(text, n, &at, section, &inside, out))
        if (word(out->key, out->key_len, key)) return true;
    return false;
}

static gy_status number(const gy_bytes *f, const char *text, size_t n, const char *section, const char *key,
                        double *out) {
    line l;
    char shown[64];
    if (!find(text, n, section, key, &l)) return gy_bytes_fail_key(f, key, "missing in [%s]", section);
    if (!gy_parse_double(l.value, l.value_len, out) || !isfinite(*out))
        return gy_bytes_fail_key(f, key, "expected a number, found '%s'",
                                 gy_show_text(l.value, l.value_len, shown, sizeof shown));
    return GY_OK;
}

/* Field i of a comma-separated value, "\1" standing for a comma, as text. */
static void field(const line *l, int64_t i, char *out, size_t size) {
    const char *s = l->value, *end = s + l->value_len;
    char raw[512];
    size_t used = 0;
    while (i > 0 && s < end) i -= *s++ == ',';
    for (; i == 0 && s < end && *s != ',' && used < sizeof raw - 1; s++) {
        if (*s == '\\' && s + 1 < end && s[1] == '1')
            raw[used++] = ',', s++;
        else
            raw[used++] = *s;
    }
    gy_recording_text(out, size, raw, used);
}

/* "Ch12" or "Mk3" -> 12 or 3; 0: another key. */
static int64_t numbered(const line *l, const char *prefix) {
    int64_t v;
    size_t p = strlen(prefix);
    if (l->key_len <= p || !word(l->key, p, prefix) || !gy_parse_int(l->key + p, l->key_len - p, &v)) return 0;
    return v > 0 ? v : 0;
}

/* ---- the header ---- */

/* A whole number in [ASCII Infos] that may be missing: then 0. */
static gy_status skipped(const gy_bytes *f, const char *text, size_t n, const char *key, int64_t *out) {
    line l;
    double v;
    *out = 0;
    if (!find(text, n, "ASCII Infos", key, &l) || l.value_len == 0) return GY_OK;
    gy_status s = number(f, text, n, "ASCII Infos", key, &v);
    if (s == GY_OK && !gy_checked_int(v, 0, INT32_MAX, out))
        return gy_bytes_fail_key(f, key, "expected a whole number, 0 or more, found %g", v);
    return s;
}

static gy_status decimal_layout(gy_recording *r, const gy_bytes *f, const char *text, size_t n, gy_bv_text *how) {
    line l;
    char shown[64];
    r->sample_bytes = 4; /* as gy_brainvision_text leaves them */
    r->floats = true;
    snprintf(r->variant, sizeof r->variant, "ASCII");
    how->decimal = '.';
    if (find(text, n, "ASCII Infos", "DecimalSymbol", &l) && l.value_len > 0) {
        if (l.value_len != 1 || (*l.value != '.' && *l.value != ','))
            return gy_bytes_fail_key(f, "DecimalSymbol", "expected '.' or ',', found '%s'",
                                     gy_show_text(l.value, l.value_len, shown, sizeof shown));
        how->decimal = *l.value;
    }
    gy_status s = skipped(f, text, n, "SkipLines", &how->skip_lines);
    return s == GY_OK ? skipped(f, text, n, "SkipColumns", &how->skip_columns) : s;
}

/* How samples are stored; how->decimal is set for text alone. */
static gy_status layout(gy_recording *r, const gy_bytes *f, const char *text, size_t n, gy_bv_text *how) {
    line l;
    char value[64];
    bool found = find(text, n, "Common Infos", "DataFormat", &l), ascii = found && word(l.value, l.value_len, "ASCII");
    if (found && !ascii && !word(l.value, l.value_len, "BINARY"))
        return gy_bytes_fail_key(f, "DataFormat", "expected BINARY or ASCII, found '%s'",
                                 gy_show_text(l.value, l.value_len, value, sizeof value));
    if (!find(text, n, "Common Infos", "DataOrientation", &l))
        return gy_bytes_fail_key(f, "DataOrientation", "missing in [Common Infos]");
    r->vectorized = word(l.value, l.value_len, "VECTORIZED");
    if (!r->vectorized && !word(l.value, l.value_len, "MULTIPLEXED"))
        return gy_bytes_fail_key(f, "DataOrientation", "expected MULTIPLEXED or VECTORIZED, found '%s'",
                                 gy_show_text(l.value, l.value_len, value, sizeof value));
    if (ascii) return decimal_layout(r, f, text, n, how);
    if (!find(text, n, "Binary Infos", "BinaryFormat", &l))
        return gy_bytes_fail_key(f, "BinaryFormat", "missing in [Binary Infos]");
    r->floats = word(l.value, l.value_len, "IEEE_FLOAT_32");
    r->sample_bytes = word(l.value, l.value_len, "INT_16") ? 2 : 4;
    if (!r->floats && r->sample_bytes != 2 && !word(l.value, l.value_len, "INT_32"))
        return gy_bytes_fail_key(f, "BinaryFormat", "expected INT_16, INT_32 or IEEE_FLOAT_32, found '%s'",
                                 gy_show_text(l.value, l.value_len, value, sizeof value));
    if (find(text, n, "Binary Infos", "UseBigEndianOrder", &l) && word(l.value, l.value_len, "YES"))
        return gy_bytes_fail_key(f, "UseBigEndianOrder", "YES: only little-endian samples are read");
    snprintf(r->variant, sizeof r->variant, "%s",
             r->floats              ? "IEEE_FLOAT_32"
             : r->sample_bytes == 2 ? "INT_16"
                                    : "INT_32");
    return GY_OK;
}

static gy_status channel_lines(gy_recording *r, const gy_bytes *f, const char *text, size_t n) {
    line l;
    size_t at = 0;
    bool inside = false;
    int64_t seen = 0;
    while (next_entry(text, n, &at, "Channel Infos", &inside, &l)) {
        int64_t k = numbered(&l, "Ch");
        char resolution[64], shown[64];
        double v = 1;
        if (!k) continue;
        if (k > r->n_channels)
            return gy_bytes_fail_key(f, "Channel Infos", "Ch%" PRId64 " among %" PRId64 " channels", k, r->n_channels);
        gy_channel *c = &r->channel[k - 1];
        if (*c->name) return gy_bytes_fail_key(f, "Channel Infos", "Ch%" PRId64 " is there twice", k);
        field(&l, 0, c->name, sizeof c->name);
        if (!*c->name) snprintf(c->name, sizeof c->name, "Ch%" PRId64, k);
        field(&l, 1, c->reference, sizeof c->reference);
        field(&l, 2, resolution, sizeof resolution);
        field(&l, 3, c->unit, sizeof c->unit);
        if (!*c->unit) snprintf(c->unit, sizeof c->unit, "\xc2\xb5V"); /* the format's default */
        if (*resolution && (!gy_parse_double(resolution, strlen(resolution), &v) || !isfinite(v) || v == 0))
            return gy_bytes_fail_key(f, "Channel Infos", "Ch%" PRId64 ": resolution '%s' is no number but 0", k,
                                     gy_show_text(resolution, strlen(resolution), shown, sizeof shown));
        c->gain = v;
        seen++;
    }
    if (seen != r->n_channels)
        return gy_bytes_fail_key(f, "NumberOfChannels", "%" PRId64 " announced, %" PRId64 " described", r->n_channels,
                                 seen);
    return GY_OK;
}

/* ---- markers ---- */

static gy_status markers(gy_recording *r, const gy_bytes *f, const char *text, size_t n) {
    line l;
    size_t at = 0;
    bool inside = false;
    int64_t outside = 0, samples = r->n_channels ? r->channel[0].samples : 0;
    while (next_entry(text, n, &at, "Marker Infos", &inside, &l)) {
        char type[80], what[80], value[32];
        double position, size = 0, channel = 0;
        if (!numbered(&l, "Mk")) continue;
        field(&l, 0, type, sizeof type);
        field(&l, 1, what, sizeof what);
        field(&l, 2, value, sizeof value);
        if (!gy_parse_double(value, strlen(value), &position) || !(position >= 1 && position <= (double)samples)) {
            outside++;
            continue;
        }
        field(&l, 3, value, sizeof value);
        if (!gy_parse_double(value, strlen(value), &size) || !(size >= 0 && size <= (double)samples)) size = 0;
        field(&l, 4, value, sizeof value);
        if (!gy_parse_double(value, strlen(value), &channel) || !(channel >= 1 && channel <= (double)r->n_channels))
            channel = 0;
        const char *name = *what ? what : type;
        double rate = r->channel[0].rate;
        gy_status s = gy_bytes_limit(f, GY_LIMIT_ENTRIES, (uint64_t)r->n_marks + 1, "markers");
        if (s == GY_OK)
            s = gy_recording_mark(r, (position - 1) / rate, size > 1 ? size / rate : 0, (int64_t)channel - 1, name,
                                  strlen(name));
        if (s != GY_OK) return s;
    }
    if (outside)
        gy_warn(r->ctx, "%s: %" PRId64 " markers lie outside the recording and were left out", f->path, outside);
    return GY_OK;
}

static gy_status marker_file(gy_recording *r, const gy_bytes *header, const char *text, size_t n) {
    line l;
    char name[512] = "";
    bool renamed;
    if (!find(text, n, "Common Infos", "MarkerFile", &l) || l.value_len == 0) return GY_OK;
    snprintf(name, sizeof name, "%.*s", (int)(l.value_len < 500 ? l.value_len : 500), l.value);
    char *path = gy_recording_companion(header, header->path, name, ".vmrk", &renamed);
    if (!path) {
        gy_warn(r->ctx, "no markers: %s", gy_error(r->ctx));
        gy_error_clear(r->ctx);
        return GY_OK;
    }
    gy_bytes f;
    const uint8_t *body;
    void *owned = NULL;
    gy_status s = gy_bytes_open(r->ctx, path, &header->limits, &f);
    if (s == GY_OK) {
        s = gy_bytes_borrow(&f, 0, f.size, &body, &owned);
        if (s == GY_OK) s = markers(r, &f, (const char *)body, (size_t)f.size);
        gy_free(r->ctx, owned);
        gy_bytes_close(&f);
    }
    gy_free(r->ctx, path);
    return s;
}

/* ---- opening ---- */

static gy_status data_file(gy_recording *r, const gy_bytes *header, const char *text, size_t n) {
    line l;
    char name[512] = "";
    bool renamed;
    if (!find(text, n, "Common Infos", "DataFile", &l))
        return gy_bytes_fail_key(header, "DataFile", "missing in [Common Infos]");
    snprintf(name, sizeof name, "%.*s", (int)(l.value_len < 500 ? l.value_len : 500), l.value);
    if (strncmp(name, "$b.", 3) == 0) *name = 0; /* "$b": the header's own stem */
    char *path = gy_recording_companion(header, header->path, name, ".eeg", &renamed);
    if (!path) return gy_error_status(r->ctx);
    if (renamed && *name) gy_warn(r->ctx, "%s: its data file is missing; read is %s", header->path, path);
    gy_status s = gy_bytes_open(r->ctx, path, &header->limits, &r->data);
    gy_free(r->ctx, path);
    return s;
}

static gy_status count_samples(const gy_recording *r, int64_t *samples) {
    uint64_t frame = (uint64_t)(r->n_channels * r->sample_bytes);
    *samples = (int64_t)(r->data.size / frame);
    if (r->data.size % frame)
        return gy_bytes_fail(&r->data, (uint64_t)*samples * frame,
                             "%" PRIu64 " bytes are no multiple of %" PRId64 " channels of %" PRId64 " bytes",
                             r->data.size, r->n_channels, r->sample_bytes);
    return GY_OK;
}

static gy_status read_header(gy_recording *r, const gy_bytes *f, const char *text, size_t n) {
    double count, interval;
    int64_t channels;
    gy_bv_text how = {0};
    gy_status s = layout(r, f, text, n, &how);
    if (s == GY_OK) s = number(f, text, n, "Common Infos", "NumberOfChannels", &count);
    if (s == GY_OK && !gy_checked_int(count, 1, INT32_MAX, &channels))
        return gy_bytes_fail_key(f, "NumberOfChannels", "expected a whole number above 0, found %g", count);
    if (s == GY_OK) s = gy_bytes_limit(f, GY_LIMIT_CHANNELS, (uint64_t)channels, "channels");
    if (s == GY_OK) s = number(f, text, n, "Common Infos", "SamplingInterval", &interval);
    if (s == GY_OK && !(interval > 0))
        return gy_bytes_fail_key(f, "SamplingInterval", "expected microseconds above 0, found %g", interval);
    if (s == GY_OK) s = gy_recording_channels(r, channels);
    if (s == GY_OK) s = channel_lines(r, f, text, n);
    if (s == GY_OK) s = data_file(r, f, text, n);
    if (s != GY_OK) return s;
    int64_t samples;
    s = how.decimal ? gy_brainvision_text(r, how, &samples) : count_samples(r, &samples);
    if (s != GY_OK) return s;
    for (int64_t i = 0; i < channels; i++) {
        r->channel[i].rate = 1e6 / interval;
        r->channel[i].samples = samples;
    }
    r->seconds = (double)samples * interval * 1e-6;
    r->segment = gy_calloc(r->ctx, 1, sizeof *r->segment);
    if (!r->segment) return GY_ERR_NOMEM;
    r->n_segments = 1;
    r->segment[0].seconds = r->seconds;
    return marker_file(r, f, text, n);
}

gy_status gy_brainvision_open(const gy_bytes *header, gy_recording *r) {
    const uint8_t *text;
    void *owned;
    r->kind = GY_RECORDING_BRAINVISION;
    gy_status s = gy_bytes_limit(header, GY_LIMIT_TEXT_LINE, header->size, "bytes of the header");
    if (s == GY_OK) s = gy_bytes_borrow(header, 0, header->size, &text, &owned);
    if (s != GY_OK) return s;
    s = read_header(r, header, (const char *)text, (size_t)header->size);
    gy_free(r->ctx, owned);
    return s;
}
