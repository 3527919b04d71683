/* EDF, EDF+ and BDF.
 *
 * A header of 256 bytes of text and 256 for each signal; then records of equal length in seconds, each holding a run of
 * every signal, 16 bits a sample in EDF and 24 in BDF. EDF+ keeps annotations in a signal "EDF Annotations": lists
 * "+onset[0x15 duration]0x14 text 0x14 ... 0x00" (TALs), the first of a record without text: when the record begins. */
#include "recording_internal.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { HEAD = 256, TAL_FAULTS = 3 };

/* ---- the header ---- */

static void trim(const char **s, size_t *n) {
    while (*n > 0 && ((*s)[*n - 1] == ' ' || (*s)[*n - 1] == 0)) (*n)--;
    while (*n > 0 && **s == ' ') (*s)++, (*n)--;
}

/* A number in a field of n bytes at `at`. */
static gy_status number(const gy_bytes *f, const uint8_t *head, uint64_t at, size_t n, const char *what, double *out) {
    const char *s = (const char *)head + at;
    char shown[32];
    trim(&s, &n);
    if (gy_parse_double(s, n, out) && isfinite(*out)) return GY_OK;
    return gy_bytes_fail(f, at, "%s: expected a number, found '%s'", what, gy_show_text(s, n, shown, sizeof shown));
}

static gy_status whole(const gy_bytes *f, const uint8_t *head, uint64_t at, size_t n, const char *what, int64_t lo,
                       int64_t hi, int64_t *out) {
    double v;
    gy_status s = number(f, head, at, n, what, &v);
    if (s == GY_OK && !gy_checked_int(v, lo, hi, out))
        return gy_bytes_fail(f, at, "%s: expected a whole number from %" PRId64 " to %" PRId64 ", found %g", what, lo,
                             hi, v);
    return s;
}

/* "dd.mm.yy" and "hh.mm.ss"; years 85 to 99 are of the last century. */
static bool started(const uint8_t *h, char out[24]) {
    static const int days[] = {31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int v[6];
    for (int i = 0; i < 6; i++) {
        const uint8_t *p = h + 168 + 3 * i - (i >= 3); /* the date's eighth byte is followed by the time's first */
        if (p[0] < '0' || p[0] > '9' || p[1] < '0' || p[1] > '9') return false;
        v[i] = 10 * (p[0] - '0') + p[1] - '0';
    }
    if (v[1] < 1 || v[1] > 12 || v[0] < 1 || v[0] > days[v[1] - 1] || v[3] > 23 || v[4] > 59 || v[5] > 59) return false;
    snprintf(out, 24, "%04d-%02d-%02d %02d:%02d:%02d", v[2] + (v[2] < 85 ? 2000 : 1900), v[1], v[0], v[3], v[4], v[5]);
    return true;
}

typedef struct signal {
    char label[64], unit[24];
    double pmin, pmax;
    int64_t dmin, dmax, samples, offset; /* offset: bytes from the record's beginning */
    bool annotations, usable;
} signal;

static gy_status read_signal(const gy_bytes *f, const uint8_t *h, int64_t n, int64_t i, int64_t width, signal *s) {
    uint64_t at = HEAD, k = (uint64_t)i, all = (uint64_t)n;
    gy_recording_text(s->label, sizeof s->label, (const char *)h + at + 16 * k, 16);
    at += 96 * all; /* labels 16, transducers 80 */
    gy_recording_text(s->unit, sizeof s->unit, (const char *)h + at + 8 * k, 8);
    at += 8 * all;
    gy_status st = whole(f, h, HEAD + 216 * all + 8 * k, 8, "samples in a record", 1, INT32_MAX, &s->samples);
    if (st != GY_OK) return st;
    s->annotations = strcmp(s->label, "EDF Annotations") == 0 || strcmp(s->label, "BDF Annotations") == 0;
    if (s->annotations) return GY_OK;
    int64_t most = width == 2 ? 32767 : 8388607;
    double lo, hi;
    st = number(f, h, at + 8 * k, 8, "physical minimum", &s->pmin);
    if (st == GY_OK) st = number(f, h, at + 8 * all + 8 * k, 8, "physical maximum", &s->pmax);
    if (st == GY_OK) st = number(f, h, at + 16 * all + 8 * k, 8, "digital minimum", &lo);
    if (st == GY_OK) st = number(f, h, at + 24 * all + 8 * k, 8, "digital maximum", &hi);
    if (st != GY_OK) return st;
    s->usable = gy_checked_int(lo, -most - 1, most, &s->dmin) && gy_checked_int(hi, -most - 1, most, &s->dmax) &&
                s->dmin < s->dmax && s->pmin != s->pmax;
    return GY_OK;
}

/* ---- annotations ---- */

/* "+12.5" or "-3"; the standard wants the sign. */
static bool onset_of(const char *s, size_t n, double *out) {
    return n > 1 && (*s == '+' || *s == '-') && gy_parse_double(s + (*s == '+'), n - (*s == '+'), out) &&
           isfinite(*out);
}

/* One list s[0..n), without its final 0. The record's own (first) list says when the record begins. */
static gy_status one_list(gy_recording *r, const char *s, size_t n, double *begins, int64_t *faults) {
    const char *end = memchr(s, 0x14, n);
    if (!end) {
        ++*faults;
        return GY_OK;
    }
    const char *mid = memchr(s, 0x15, (size_t)(end - s));
    double onset, duration = 0;
    bool good = onset_of(s, (size_t)((mid ? mid : end) - s), &onset);
    if (good && mid)
        good = gy_parse_double(mid + 1, (size_t)(end - mid - 1), &duration) && duration >= 0 && isfinite(duration);
    if (!good) {
        ++*faults;
        return GY_OK;
    }
    if (isnan(*begins)) *begins = onset;
    for (const char *t = end + 1; t < s + n;) {
        const char *stop = memchr(t, 0x14, (size_t)(s + n - t));
        if (!stop) {
            ++*faults;
            break;
        }
        if (stop > t) {
            gy_status st = gy_recording_mark(r, onset, duration, -1, t, (size_t)(stop - t));
            if (st != GY_OK) return st;
        }
        t = stop + 1;
    }
    return GY_OK;
}

static gy_status lists(gy_recording *r, const char *s, size_t n, double *begins, int64_t *faults) {
    gy_status st = GY_OK;
    for (const char *stop = s + n; st == GY_OK && s < stop;) {
        const char *zero = memchr(s, 0, (size_t)(stop - s));
        if (!zero) {
            ++*faults; /* runs into the next record's */
            break;
        }
        if (zero > s) st = one_list(r, s, (size_t)(zero - s), begins, faults);
        s = zero + 1;
    }
    return st;
}

/* All annotations; where records begin gives the segments. */
static gy_status annotations(gy_recording *r, const signal *sig, int64_t n, double seconds) {
    int64_t faults = 0, room = 0;
    double due = 0, first = NAN;
    gy_status s = GY_OK;
    for (int64_t k = 0; s == GY_OK && k < r->records; k++) {
        double begins = NAN;
        for (int64_t i = 0; s == GY_OK && i < n; i++) {
            if (!sig[i].annotations) continue;
            const uint8_t *p;
            void *owned;
            size_t len = (size_t)(sig[i].samples * r->sample_bytes);
            s = gy_bytes_borrow(&r->data, (uint64_t)(r->first_byte + k * r->record_bytes + sig[i].offset), len, &p,
                                &owned);
            if (s == GY_OK) s = lists(r, (const char *)p, len, &begins, &faults);
            gy_free(r->ctx, owned);
        }
        if (isnan(begins)) begins = due;
        if (isnan(first)) first = begins;
        if (s == GY_OK && (k == 0 || fabs(begins - due) > 1e-3 + 1e-9 * fabs(due))) {
            if (k > 0 && begins < due) faults++; /* backwards: as if there were no gap */
            if (r->n_segments == room) {
                room = room ? 2 * room : 4;
                gy_segment *more = gy_realloc(r->ctx, r->segment, (size_t)room * sizeof *more);
                if (!more) return GY_ERR_NOMEM;
                r->segment = more;
            }
            if (k == 0 || begins > due) r->segment[r->n_segments++] = (gy_segment){begins, 0};
        }
        if (s == GY_OK) r->segment[r->n_segments - 1].seconds += seconds;
        due = fmax(begins, due) + seconds;
    }
    if (isnan(first)) first = 0;
    for (int64_t i = 0; i < r->n_marks; i++) r->mark[i].onset -= first; /* times count from the first sample */
    for (int64_t i = 0; i < r->n_segments; i++) r->segment[i].onset -= first;
    if (s == GY_OK && faults)
        gy_warn(r->ctx, "%s: %" PRId64 " annotation lists are not as EDF+ says and were left out", r->data.path,
                faults);
    return s;
}

/* BDF's Status: a mark at each change of the lower 16 bits to another code than 0. */
static gy_status triggers(gy_recording *r, int64_t channel) {
    const gy_channel *c = &r->channel[channel];
    enum { PIECE = 4096 };
    double *v = gy_malloc(r->ctx, PIECE * sizeof *v);
    gy_status s = v ? GY_OK : GY_ERR_NOMEM;
    int64_t last = -1;
    for (int64_t at = 0; s == GY_OK && at < c->samples; at += PIECE) {
        int64_t n = c->samples - at < PIECE ? c->samples - at : PIECE;
        s = gy_recording_read(r, channel, at, n, v);
        for (int64_t i = 0; s == GY_OK && i < n; i++) {
            int64_t code = (int64_t)v[i] & 0xffff;
            char text[16];
            if (code != last && last >= 0 && code) {
                int len = snprintf(text, sizeof text, "%" PRId64, code);
                s = gy_recording_mark(r, (double)(at + i) / c->rate, 0, -1, text, (size_t)len);
            }
            last = code;
        }
    }
    gy_free(r->ctx, v);
    return s;
}

/* ---- opening ---- */

/* Channels of the usable signals. */
static gy_status channels(gy_recording *r, const signal *sig, int64_t n, double seconds) {
    int64_t keep = 0, dropped = 0, k = 0;
    for (int64_t i = 0; i < n; i++) keep += !sig[i].annotations && sig[i].usable;
    gy_status s = gy_recording_channels(r, keep);
    for (int64_t i = 0; s == GY_OK && i < n; i++) {
        char shown[80];
        if (sig[i].annotations) continue;
        if (!sig[i].usable) {
            if (dropped++ == 0)
                gy_warn(r->ctx, "%s: signal %" PRId64 " ('%s') has no range of values and is left out", r->data.path, i,
                        gy_show_text(sig[i].label, strlen(sig[i].label), shown, sizeof shown));
            continue;
        }
        gy_channel *c = &r->channel[k++];
        c->rate = (double)sig[i].samples / seconds;
        c->samples = r->records * sig[i].samples;
        c->per_record = sig[i].samples;
        c->offset = sig[i].offset;
        c->gain = (sig[i].pmax - sig[i].pmin) / (double)(sig[i].dmax - sig[i].dmin);
        c->zero = (double)sig[i].dmin;
        c->minimum = sig[i].pmin;
        c->trigger = r->kind == GY_RECORDING_BDF && strcmp(sig[i].label, "Status") == 0;
        if (c->trigger) c->gain = 1, c->zero = c->minimum = 0; /* bits, not a quantity */
        memcpy(c->name, sig[i].label, sizeof c->name);
        memcpy(c->unit, sig[i].unit, sizeof c->unit);
    }
    if (dropped > 1)
        gy_warn(r->ctx, "%s: %" PRId64 " signals without a range of values are left out", r->data.path, dropped);
    for (int64_t i = 0; s == GY_OK && i < r->n_channels; i++)
        if (r->channel[i].trigger) s = triggers(r, i);
    return s;
}

/* How many whole records are there, against how many the header announces (-1: still being recorded). */
static gy_status count_records(gy_recording *r, int64_t announced) {
    uint64_t body = r->data.size - (uint64_t)r->first_byte;
    r->records = (int64_t)(body / (uint64_t)r->record_bytes);
    if (announced >= 0 && announced != r->records)
        gy_warn(r->ctx, "%s: the header announces %" PRId64 " records, %" PRId64 " whole ones are there", r->data.path,
                announced, r->records);
    else if (body % (uint64_t)r->record_bytes)
        gy_warn(r->ctx, "%s: the last record is cut and left out", r->data.path);
    if (announced >= 0 && announced < r->records) r->records = announced;
    return GY_OK;
}

static gy_status read_all(gy_recording *r, const uint8_t *h, int64_t n, signal *sig) {
    const gy_bytes *f = &r->data;
    int64_t announced, any = 0;
    double seconds;
    gy_status s = whole(f, h, 236, 8, "number of records", -1, INT64_MAX / 4, &announced);
    if (s == GY_OK) s = number(f, h, 244, 8, "seconds of a record", &seconds);
    uint64_t bytes = 0;
    for (int64_t i = 0; s == GY_OK && i < n; i++) {
        s = read_signal(f, h, n, i, r->sample_bytes, &sig[i]);
        sig[i].offset = (int64_t)bytes;
        bytes += (uint64_t)(sig[i].samples * r->sample_bytes); /* 4096 signals of 2^31 samples of 3 bytes fit */
        any += !sig[i].annotations;
    }
    if (s != GY_OK) return s;
    if (seconds < 0 || (seconds == 0 && any))
        return gy_bytes_fail(f, 244, "seconds of a record: expected more than 0, found %g", seconds);
    r->record_bytes = (int64_t)bytes;
    s = count_records(r, announced);
    if (s == GY_OK) s = channels(r, sig, n, seconds);
    r->seconds = (double)r->records * seconds;
    if (s == GY_OK) s = annotations(r, sig, n, seconds);
    return s;
}

gy_status gy_edf_open(const gy_bytes *file, gy_recording *r) {
    gy_ctx *ctx = r->ctx;
    int64_t n, bytes;
    gy_status s = gy_bytes_open(ctx, file->path, &file->limits, &r->data);
    if (s != GY_OK) return s;
    const gy_bytes *f = &r->data;
    uint8_t fixed[HEAD];
    s = gy_bytes_read(f, 0, fixed, HEAD);
    if (s != GY_OK) return s;
    r->kind = fixed[0] == 0xff ? GY_RECORDING_BDF : GY_RECORDING_EDF;
    r->sample_bytes = r->kind == GY_RECORDING_BDF ? 3 : 2;
    const char *reserved = (const char *)fixed + 192;
    bool plus = memcmp(reserved, "EDF+", 4) == 0 || memcmp(reserved, "BDF+", 4) == 0;
    snprintf(r->variant, sizeof r->variant, "%.*s", plus ? 5 : 3,
             plus                          ? reserved
             : r->kind == GY_RECORDING_BDF ? "BDF"
                                           : "EDF");
    if (!started(fixed, r->started)) gy_warn(ctx, "%s: no legal date and time in the header", f->path);
    s = whole(f, fixed, 252, 4, "number of signals", 1, 9999, &n);
    if (s == GY_OK) s = gy_bytes_limit(f, GY_LIMIT_CHANNELS, (uint64_t)n, "signals");
    if (s == GY_OK) s = whole(f, fixed, 184, 8, "bytes of the header", 0, INT32_MAX, &bytes);
    if (s == GY_OK && bytes != HEAD * (n + 1))
        return gy_bytes_fail(f, 184,
                             "bytes of the header: expected %" PRId64 " for %" PRId64 " signals, found %" PRId64,
                             HEAD * (n + 1), n, bytes);
    if (s != GY_OK) return s;
    const uint8_t *h;
    void *owned;
    s = gy_bytes_borrow(f, 0, (uint64_t)bytes, &h, &owned);
    if (s != GY_OK) return s;
    signal *sig = gy_calloc(ctx, (size_t)n, sizeof *sig);
    r->first_byte = bytes;
    s = sig ? read_all(r, h, n, sig) : GY_ERR_NOMEM;
    gy_free(ctx, sig);
    gy_free(ctx, owned);
    return s;
}
