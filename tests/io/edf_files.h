/* edf_files.h: EDF, EDF+ and BDF files, built field by field. */
#ifndef GY_TEST_EDF_FILES_H
#define GY_TEST_EDF_FILES_H

#include "recordings.h"

typedef struct sig {
    const char *label, *unit, *pmin, *pmax, *dmin, *dmax, *samples;
} sig;

static inline void text(buf *b, const char *s, size_t width) {
    size_t n = strlen(s);
    for (size_t i = 0; i < width; i++) put8(b, i < n ? (uint8_t)s[i] : ' ');
}

/* A header; NULL members of `h` take legal values. */
typedef struct head {
    const char *version, *date, *time, *bytes, *reserved, *records, *seconds, *signals;
} head;
static inline void put_head(buf *b, const head *h, const sig *s, int n) {
    char bytes[16], count[16];
    snprintf(bytes, sizeof bytes, "%d", 256 * (n + 1));
    snprintf(count, sizeof count, "%d", n);
    if (h->version && *h->version == 'B') {
        put8(b, 0xff);
        text(b, "BIOSEMI", 7);
    } else {
        text(b, "0", 8);
    }
    text(b, "X", 80);
    text(b, "Startdate", 80);
    text(b, h->date ? h->date : "31.12.99", 8);
    text(b, h->time ? h->time : "23.59.58", 8);
    text(b, h->bytes ? h->bytes : bytes, 8);
    text(b, h->reserved ? h->reserved : "", 44);
    text(b, h->records ? h->records : "2", 8);
    text(b, h->seconds ? h->seconds : "1", 8);
    text(b, h->signals ? h->signals : count, 4);
    for (int i = 0; i < n; i++) text(b, s[i].label, 16);
    for (int i = 0; i < n; i++) text(b, "AgCl", 80);
    for (int i = 0; i < n; i++) text(b, s[i].unit, 8);
    for (int i = 0; i < n; i++) text(b, s[i].pmin, 8);
    for (int i = 0; i < n; i++) text(b, s[i].pmax, 8);
    for (int i = 0; i < n; i++) text(b, s[i].dmin, 8);
    for (int i = 0; i < n; i++) text(b, s[i].dmax, 8);
    for (int i = 0; i < n; i++) text(b, "HP:0.1Hz", 80);
    for (int i = 0; i < n; i++) text(b, s[i].samples, 8);
    for (int i = 0; i < n; i++) text(b, "", 32);
}

static const sig two[] = {{"Fz", "uV", "-100", "100", "-1000", "1000", "4"},
                          {"Cz", "mV", "-1", "1", "-32768", "32767", "2"}};

/* Two records of 4 + 2 samples: Fz counts 0, 10, 20, ..., Cz is -32768, 32767, 0, 1. */
static inline buf small(const head *h) {
    buf b = buf_new();
    static const int cz[] = {-32768, 32767, 0, 1};
    put_head(&b, h, two, 2);
    for (int r = 0; r < 2; r++) {
        for (int i = 0; i < 4; i++) put16(&b, (unsigned)(10 * (4 * r + i)));
        for (int i = 0; i < 2; i++) put16(&b, (unsigned)cz[2 * r + i]);
    }
    return b;
}

/* One signal and annotations of 60 bytes; record k begins with list[k] (its own 0s included by `len`). */
static inline buf plus(const char *reserved, const char *const *list, const size_t *len, int records) {
    sig s[] = {two[0], {"EDF Annotations", "", "-1", "1", "-32768", "32767", "30"}};
    char count[8];
    buf b = buf_new();
    snprintf(count, sizeof count, "%d", records);
    put_head(&b, &(head){.reserved = reserved, .records = count}, s, 2);
    for (int r = 0; r < records; r++) {
        for (int i = 0; i < 4; i++) put16(&b, (unsigned)(10 * r));
        put(&b, list[r], len[r]);
        for (size_t i = len[r]; i < 60; i++) put8(&b, 0);
    }
    return b;
}

#endif
