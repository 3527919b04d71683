/* What all readers of recordings share; see recording.h. */
#include "recording_internal.h"

#include "../files.h"

#include <ctype.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

const char *gy_recording_kind_name(gy_recording_kind k) {
    static const char *const name[] = {"", "EDF", "BDF", "BrainVision", "EEGLAB"};
    return k <= GY_RECORDING_EEGLAB ? name[k] : "";
}

/* ---- text ---- */

void gy_recording_text(char *out, size_t size, const char *s, size_t n) {
    while (n > 0 && (s[n - 1] == ' ' || s[n - 1] == 0 || s[n - 1] == '\t' || s[n - 1] == '\r')) n--;
    while (n > 0 && (*s == ' ' || *s == '\t')) s++, n--;
    bool utf8 = true;
    for (size_t i = 0; utf8 && i < n;) {
        int step = gy_utf8_next(s + i, n - i, NULL);
        utf8 = step > 0;
        i += (size_t)step;
    }
    size_t used = 0;
    for (size_t i = 0; i < n;) {
        int step = utf8 ? gy_utf8_next(s + i, n - i, NULL) : 1;
        bool wide = !utf8 && (uint8_t)s[i] >= 0x80;
        if (used + (size_t)(wide ? 2 : step) >= size) break;
        if (wide) { /* Latin-1 is the first 256 code points */
            out[used++] = (char)(0xc0 | (uint8_t)s[i] >> 6);
            out[used++] = (char)(0x80 | ((uint8_t)s[i] & 0x3f));
        } else {
            memcpy(out + used, s + i, (size_t)step);
            used += (size_t)step;
        }
        i += (size_t)step;
    }
    out[used] = 0;
}

double gy_unit_microvolts(const char *unit) {
    static const struct {
        const char *name;
        double value;
    } units[] = {{"uV", 1},  {"\xc2\xb5V", 1}, {"\xce\xbcV", 1}, {"microV", 1}, {"mV", 1e3},
                 {"V", 1e6}, {"nV", 1e-3},     {"Volts", 1e6},   {"Volt", 1e6}, {"microvolts", 1}};
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (strcmp(unit, units[i].name) == 0) return units[i].value;
    return 0;
}

/* ---- parts ---- */

gy_status gy_recording_channels(gy_recording *r, int64_t n) {
    r->channel = gy_calloc(r->ctx, (size_t)n + 1, sizeof *r->channel);
    r->n_channels = r->channel ? n : 0;
    return r->channel ? GY_OK : GY_ERR_NOMEM;
}

gy_status gy_recording_mark(gy_recording *r, double onset, double duration, int64_t channel, const char *text,
                            size_t len) {
    if ((r->n_marks & (r->n_marks - 1)) == 0) { /* full at powers of two */
        size_t room = r->n_marks ? (size_t)r->n_marks * 2 : 1;
        gy_mark *more = gy_realloc(r->ctx, r->mark, room * sizeof *more);
        if (!more) return GY_ERR_NOMEM;
        r->mark = more;
    }
    gy_mark *m = &r->mark[r->n_marks++];
    *m = (gy_mark){.onset = onset, .duration = duration, .channel = channel};
    gy_recording_text(m->text, sizeof m->text, text, len);
    return GY_OK;
}

char *gy_recording_companion(const gy_bytes *from, const char *path, const char *name, const char *suffix,
                             bool *renamed) {
    gy_ctx *ctx = from->ctx;
    char shown[128];
    const char *slash = strrchr(path, '/'), *dot = strrchr(path, '.');
    *renamed = false;
    if (*name) {
        bool outside = *name == '/' || *name == '\\' || strchr(name, ':') || strstr(name, "..") || strchr(name, '/') ||
                       strchr(name, '\\');
        if (outside) {
            (void)gy_bytes_fail_key(from, "data file", "'%s' is not beside the header: only its own folder is read",
                                    gy_show_text(name, strlen(name), shown, sizeof shown));
            return NULL;
        }
        char *there = gy_format(ctx, "%.*s%s", slash ? (int)(slash - path + 1) : 0, path, name);
        if (!there || gy_path_exists(there)) return there;
        gy_free(ctx, there);
    }
    size_t stem = dot && (!slash || dot > slash) ? (size_t)(dot - path) : strlen(path);
    char *same = gy_format(ctx, "%.*s%s", (int)stem, path, suffix);
    if (!same) return NULL;
    if (gy_path_exists(same)) {
        *renamed = true;
        return same;
    }
    gy_free(ctx, same);
    (void)gy_bytes_fail_key(from, "data file", "'%s' is missing, and no *%s of the same name is beside it",
                            gy_show_text(name, strlen(name), shown, sizeof shown), suffix);
    return NULL;
}

/* ---- opening ---- */

bool gy_recording_looks(const uint8_t *h, uint64_t n) {
    static const char *const vhdr[] = {"Brain Vision Data Exchange Header", "BrainVision Data Exchange Header"};
    if (n >= 8 && h[0] == 0xff && memcmp(h + 1, "BIOSEMI", 7) == 0) return true;
    /* EDF: version "0", and a digit where the header's length stands */
    if (n >= 256 && memcmp(h, "0       ", 8) == 0 && h[184] >= '0' && h[184] <= '9') return true;
    if (n >= 3 && memcmp(h, "\xef\xbb\xbf", 3) == 0) h += 3, n -= 3;
    for (int i = 0; i < 2; i++)
        if (n >= strlen(vhdr[i]) && memcmp(h, vhdr[i], strlen(vhdr[i])) == 0) return true;
    return false;
}

static int by_onset(const gy_mark *a, const gy_mark *b) {
    return a->onset < b->onset ? -1 : a->onset > b->onset;
}

/* Marks in order of time; equal ones keep theirs. Merge sort, bottom up. */
static gy_status sort_marks(gy_recording *r) {
    bool sorted = true;
    for (int64_t i = 1; i < r->n_marks; i++) sorted = sorted && by_onset(&r->mark[i - 1], &r->mark[i]) <= 0;
    if (sorted) return GY_OK;
    gy_mark *other = gy_malloc(r->ctx, (size_t)r->n_marks * sizeof *other);
    if (!other) return GY_ERR_NOMEM;
    gy_mark *from = r->mark, *to = other;
    for (int64_t run = 1; run < r->n_marks; run *= 2) {
        for (int64_t at = 0; at < r->n_marks; at += 2 * run) {
            int64_t a = at, b = at + run, m = at + run < r->n_marks ? at + run : r->n_marks;
            int64_t end = at + 2 * run < r->n_marks ? at + 2 * run : r->n_marks;
            for (int64_t k = at; k < end; k++)
                to[k] = a < m && (b >= end || by_onset(&from[a], &from[b]) <= 0) ? from[a++] : from[b++];
        }
        gy_mark *t = from;
        from = to;
        to = t;
    }
    r->mark = from;
    gy_free(r->ctx, to);
    return GY_OK;
}

/* The common rate, and a remark on units that are no voltage. */
static void summarise(gy_recording *r) {
    int64_t foreign = 0;
    const char *which = NULL;
    bool first = true;
    for (int64_t i = 0; i < r->n_channels; i++) {
        const gy_channel *c = &r->channel[i];
        if (c->trigger) continue;
        r->rate = first ? c->rate : r->rate == c->rate ? r->rate : 0;
        first = false;
        if (!(gy_unit_microvolts(c->unit) > 0)) {
            foreign++;
            which = c->name;
        }
    }
    char shown[80];
    if (foreign)
        gy_warn(r->ctx,
                "%s: %" PRId64 " of %" PRId64 " channels have no unit of voltage (such as '%s'); their values are "
                "as the file has them",
                r->data.path ? r->data.path : "", foreign, r->n_channels,
                gy_show_text(which, strlen(which), shown, sizeof shown));
}

gy_status gy_recording_open(gy_ctx *ctx, const char *path, const gy_limits *limits, gy_recording *out) {
    gy_bytes file;
    uint8_t head[256];
    *out = (gy_recording){.ctx = ctx, .epochs = 1};
    gy_status s = gy_bytes_open(ctx, path, limits, &file);
    if (s != GY_OK) return s;
    uint64_t n = file.size < sizeof head ? file.size : sizeof head;
    s = gy_bytes_read(&file, 0, head, n);
    if (s == GY_OK && gy_recording_looks(head, n)) {
        if (head[0] == 0xff || head[0] == '0')
            s = gy_edf_open(&file, out);
        else
            s = gy_brainvision_open(&file, out);
    } else if (s == GY_OK && (gy_path_has_suffix(path, ".set") || (n >= 6 && memcmp(head, "MATLAB", 6) == 0))) {
        s = gy_eeglab_open(ctx, path, limits, out);
    } else if (s == GY_OK) {
        s = gy_bytes_fail(&file, 0,
                          "no recording: expected the beginning of an EDF, BDF, BrainVision header or EEGLAB "
                          ".set file");
    }
    gy_bytes_close(&file);
    if (s == GY_OK) s = sort_marks(out);
    if (s == GY_OK)
        summarise(out);
    else
        gy_recording_close(out);
    return s;
}

void gy_recording_close(gy_recording *r) {
    if (!r->ctx) return;
    gy_bytes_close(&r->data);
    gy_free(r->ctx, r->channel);
    gy_free(r->ctx, r->mark);
    gy_free(r->ctx, r->segment);
    gy_free(r->ctx, r->owned);
    *r = (gy_recording){0};
}

int64_t gy_recording_find(const gy_recording *r, const char *name) {
    for (int64_t i = 0; i < r->n_channels; i++) {
        const char *a = r->channel[i].name, *b = name;
        while (*a && tolower((unsigned char)*a) == tolower((unsigned char)*b)) a++, b++;
        if (!*a && !*b) return i;
    }
    return -1;
}

/* ---- values ---- */

static float float_of(uint32_t bits) {
    float v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

/* A stored number, little-endian: 2 or 3 bytes two's complement, 4 bytes an integer or IEEE. */
static double stored(const uint8_t *p, int64_t bytes, bool floats) {
    if (bytes == 2) return (int16_t)gy_le16(p);
    if (bytes == 3) {
        uint32_t u = (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16;
        return (double)(int32_t)(u & 0x800000 ? u | 0xff000000 : u);
    }
    return floats ? (double)float_of(gy_le32(p)) : (double)(int32_t)gy_le32(p);
}

/* EDF and BDF keep records, and in each record a run of every channel; BrainVision and EEGLAB are one record, channels
 * one after the other (vectorized) or sample by sample. */
gy_status gy_recording_read(const gy_recording *r, int64_t channel, int64_t first, int64_t n, double *out) {
    if (channel < 0 || channel >= r->n_channels || first < 0 || n < 0 || first > r->channel[channel].samples - n)
        return gy_fail(r->ctx, GY_ERR_USAGE, "%s: channel %" PRId64 ", samples %" PRId64 " to %" PRId64 ": not there",
                       r->data.path, channel, first, first + n - 1);
    const gy_channel *c = &r->channel[channel];
    const int64_t w = r->sample_bytes;
    for (int64_t i = 0; i < n;) {
        int64_t at = first + i, run = n - i, step = w, byte;
        if (r->record_bytes) {
            int64_t inside = at % c->per_record;
            if (run > c->per_record - inside) run = c->per_record - inside;
            byte = at / c->per_record * r->record_bytes + c->offset + inside * w;
        } else if (r->vectorized) {
            byte = (channel * c->samples + at) * w;
        } else {
            step = r->n_channels * w;
            byte = at * step + channel * w;
        }
        void *owned;
        const uint8_t *p;
        if (run > (1 << 16)) run = 1 << 16; /* memory for a copy stays small */
        gy_status s =
            gy_bytes_borrow(&r->data, (uint64_t)(r->first_byte + byte), (uint64_t)((run - 1) * step + w), &p, &owned);
        if (s != GY_OK) return s;
        for (int64_t k = 0; k < run; k++)
            out[i + k] = (stored(p + k * step, w, r->floats) - c->zero) * c->gain + c->minimum;
        gy_free(r->ctx, owned);
        i += run;
    }
    return GY_OK;
}

gy_status gy_recording_tensor(const gy_recording *r, double rate, gy_tensor *out) {
    int64_t channels = 0, samples = 0;
    if (!(rate > 0)) rate = r->rate;
    if (!(rate > 0))
        return gy_fail(r->ctx, GY_ERR_UNSUPPORTED, "%s: channels have different rates: choose one", r->data.path);
    for (int64_t i = 0; i < r->n_channels; i++)
        if (!r->channel[i].trigger && r->channel[i].rate == rate) {
            channels++;
            samples = r->channel[i].samples;
        }
    if (!channels || !samples) return gy_fail(r->ctx, GY_ERR_FORMAT, "%s: no samples at %g Hz", r->data.path, rate);
    if (r->n_segments > 1)
        gy_warn(r->ctx, "%s: %" PRId64 " gaps: what follows a gap stands right after what came before it", r->data.path,
                r->n_segments - 1);
    gy_status s = gy_tensor_new(r->ctx, out, GY_F32, GY_S(samples, channels));
    enum { PIECE = 4096 };
    double *piece = s == GY_OK ? gy_malloc(r->ctx, PIECE * sizeof *piece) : NULL;
    if (s == GY_OK && !piece) s = GY_ERR_NOMEM;
    for (int64_t i = 0, k = 0; s == GY_OK && i < r->n_channels; i++) {
        if (r->channel[i].trigger || r->channel[i].rate != rate) continue;
        for (int64_t at = 0; s == GY_OK && at < samples; at += PIECE) {
            int64_t n = samples - at < PIECE ? samples - at : PIECE;
            s = gy_recording_read(r, i, at, n, piece);
            for (int64_t t = 0; s == GY_OK && t < n; t++)
                ((float *)out->data)[(at + t) * channels + k] = (float)piece[t];
        }
        k++;
    }
    gy_free(r->ctx, piece);
    if (s != GY_OK) gy_tensor_free(r->ctx, out);
    return s;
}
