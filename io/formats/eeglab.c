/* EEGLAB: a MAT file with a structure EEG (or its fields as variables), the samples inside or in a .fdt file of 32-bit
 * floats beside it, channels fastest. Potentials are in microvolts by EEGLAB's convention. */
#include "mat.h"
#include "recording_internal.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* The structure's field, wherever the file has it. */
typedef struct set {
    const gy_mat *m;
    int64_t eeg; /* -1: fields are variables */
} set;

static int64_t field(const set *s, const char *name) {
    return s->eeg >= 0 ? gy_mat_field(s->m, s->eeg, 0, name) : gy_mat_find(s->m, name);
}

static gy_status count(const set *s, const char *name, int64_t fallback, int64_t lo, int64_t hi, int64_t *out) {
    double v;
    int64_t node = field(s, name);
    if (node < 0 && fallback >= 0) {
        *out = fallback;
        return GY_OK;
    }
    if (!gy_mat_number(s->m, node, 0, &v))
        return gy_bytes_fail_key(&s->m->file, name, "expected a number%s", node < 0 ? ", it is missing" : "");
    if (!gy_checked_int(v, lo, hi, out))
        return gy_bytes_fail_key(&s->m->file, name, "expected a whole number from %" PRId64 " to %" PRId64 ", found %g",
                                 lo, hi, v);
    return GY_OK;
}

static gy_status labels(gy_recording *r, const set *s) {
    int64_t locations = field(s, "chanlocs");
    for (int64_t i = 0; i < r->n_channels; i++) {
        gy_channel *c = &r->channel[i];
        int64_t node = gy_mat_field(s->m, locations, i, "labels");
        snprintf(c->name, sizeof c->name, "Ch%" PRId64, i + 1);
        snprintf(c->unit, sizeof c->unit, "uV");
        if (node < 0 || s->m->node[node].class != GY_MAT_CHAR) continue;
        char *text = gy_mat_text(s->m, node);
        if (!text) return gy_error_status(r->ctx);
        if (*text) gy_recording_text(c->name, sizeof c->name, text, strlen(text));
        gy_free(r->ctx, text);
    }
    return GY_OK;
}

/* Types are text or numbers; latencies count samples from 1, over all epochs together. */
static gy_status events(gy_recording *r, const set *s, int64_t samples) {
    int64_t list = field(s, "event"), n = list >= 0 ? s->m->node[list].count : 0, outside = 0;
    if (list < 0 || s->m->node[list].class != GY_MAT_STRUCT) return GY_OK;
    for (int64_t i = 0; i < n; i++) {
        double latency, duration, code;
        char number[32] = "";
        char *text = NULL;
        int64_t type = gy_mat_field(s->m, list, i, "type");
        if (!gy_mat_number(s->m, gy_mat_field(s->m, list, i, "latency"), 0, &latency) ||
            !(latency >= 0.5 && latency <= (double)samples + 0.5)) {
            outside++;
            continue;
        }
        if (!gy_mat_number(s->m, gy_mat_field(s->m, list, i, "duration"), 0, &duration) ||
            !(duration >= 0 && duration <= (double)samples))
            duration = 0;
        if (type >= 0 && s->m->node[type].class == GY_MAT_CHAR) {
            text = gy_mat_text(s->m, type);
            if (!text) return gy_error_status(r->ctx);
        } else if (gy_mat_number(s->m, type, 0, &code)) {
            snprintf(number, sizeof number, "%g", code);
        }
        const char *name = text ? text : number;
        gy_status st = gy_recording_mark(r, (latency - 1) / r->channel[0].rate, duration / r->channel[0].rate, -1, name,
                                         strlen(name));
        gy_free(r->ctx, text);
        if (st != GY_OK) return st;
    }
    if (outside)
        gy_warn(r->ctx, "%s: %" PRId64 " events lie outside the recording and were left out", s->m->file.path, outside);
    return GY_OK;
}

/* Samples inside the .set, as 32-bit floats in the order that .fdt files have. */
static gy_status inside(gy_recording *r, const set *s, int64_t data, int64_t samples) {
    gy_tensor t, f;
    if (s->m->node[data].class == GY_MAT_SPARSE) /* a few bytes would ask for gigabytes */
        return gy_bytes_fail_key(&s->m->file, "data", "a sparse array; expected a full one");
    if (s->m->node[data].count != r->n_channels * samples)
        return gy_bytes_fail_key(&s->m->file, "data", "%" PRId64 " values; expected %" PRId64 " channels of %" PRId64,
                                 s->m->node[data].count, r->n_channels, samples);
    gy_status st = gy_mat_tensor(s->m, data, &t);
    if (st != GY_OK) return st;
    st = gy_tensor_cast(r->ctx, &t, GY_F32, &f);
    gy_tensor_free(r->ctx, &t);
    if (st != GY_OK) return st;
    size_t bytes = gy_tensor_bytes(&f);
    if (!gy_host_is_little_endian()) gy_swap_bytes(f.data, r->n_channels * samples, 4);
    r->owned = f.data;
    return gy_bytes_from_memory(r->ctx, s->m->file.path, r->owned, bytes, &s->m->file.limits, &r->data);
}

static gy_status beside(gy_recording *r, const set *s, int64_t data, int64_t samples) {
    bool renamed;
    char *name = gy_mat_text(s->m, data);
    if (!name) return gy_error_status(r->ctx);
    char *path = gy_recording_companion(&s->m->file, s->m->file.path, name, ".fdt", &renamed);
    if (path && renamed) gy_warn(r->ctx, "%s: its data file is missing; read is %s", s->m->file.path, path);
    gy_free(r->ctx, name);
    if (!path) return gy_error_status(r->ctx);
    gy_status st = gy_bytes_open(r->ctx, path, &s->m->file.limits, &r->data);
    gy_free(r->ctx, path);
    if (st != GY_OK) return st;
    uint64_t want = (uint64_t)(r->n_channels * samples) * 4;
    if (r->data.size != want)
        return gy_bytes_fail(
            &r->data, 0, "expected %" PRIu64 " bytes for %" PRId64 " channels of %" PRId64 " samples, found %" PRIu64,
            want, r->n_channels, samples, r->data.size);
    return GY_OK;
}

static gy_status read_set(gy_recording *r, const set *s) {
    int64_t channels, points, epochs, data = field(s, "data");
    double rate;
    if (data < 0) return gy_bytes_fail_key(&s->m->file, "EEG.data", "missing: no EEGLAB data set");
    gy_status st = count(s, "nbchan", -1, 1, INT32_MAX, &channels);
    if (st == GY_OK) st = gy_bytes_limit(&s->m->file, GY_LIMIT_CHANNELS, (uint64_t)channels, "channels");
    if (st == GY_OK) st = count(s, "pnts", -1, 1, (int64_t)1 << 40, &points);
    if (st == GY_OK) st = count(s, "trials", 1, 1, 1 << 20, &epochs);
    if (st != GY_OK) return st;
    if (points > ((int64_t)1 << 40) / epochs)
        return gy_bytes_fail_key(&s->m->file, "pnts", "%" PRId64 " points in %" PRId64 " epochs", points, epochs);
    if (!gy_mat_number(s->m, field(s, "srate"), 0, &rate) || !(rate > 0 && rate < 1e9))
        return gy_bytes_fail_key(&s->m->file, "srate", "expected a sampling rate above 0");
    int64_t samples = points * epochs;
    st = gy_recording_channels(r, channels);
    if (st != GY_OK) return st;
    r->epochs = epochs;
    r->sample_bytes = 4;
    r->floats = true;
    r->seconds = (double)samples / rate;
    snprintf(r->variant, sizeof r->variant, "MAT v5");
    for (int64_t i = 0; i < channels; i++) {
        r->channel[i].rate = rate;
        r->channel[i].samples = samples;
        r->channel[i].gain = 1;
    }
    r->segment = gy_calloc(r->ctx, 1, sizeof *r->segment);
    if (!r->segment) return GY_ERR_NOMEM;
    r->n_segments = 1;
    r->segment[0].seconds = r->seconds;
    st = labels(r, s);
    if (st == GY_OK) st = events(r, s, samples);
    if (st == GY_OK)
        st = s->m->node[data].class == GY_MAT_CHAR ? beside(r, s, data, samples) : inside(r, s, data, samples);
    return st;
}

gy_status gy_eeglab_open(gy_ctx *ctx, const char *path, const gy_limits *limits, gy_recording *r) {
    gy_mat m;
    gy_status s = gy_mat_open(ctx, path, limits, &m);
    if (s != GY_OK) return s;
    r->kind = GY_RECORDING_EEGLAB;
    set all = {&m, gy_mat_find(&m, "EEG")};
    s = read_set(r, &all);
    gy_mat_close(&m);
    return s;
}
