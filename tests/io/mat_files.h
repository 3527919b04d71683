/* mat_files.h: MAT v5 files and EEGLAB sets, built element by element. */
#ifndef GY_TEST_MAT_FILES_H
#define GY_TEST_MAT_FILES_H

#include "recordings.h"

static bool big; /* byte order of what is built */

static inline void put_u32(buf *b, uint32_t v) {
    uint8_t c[4];
    if (big)
        gy_put_be32(c, v);
    else
        gy_put_le32(c, v);
    put(b, c, 4);
}
static inline void put_u16(buf *b, unsigned v) {
    put8(b, big ? v >> 8 : v);
    put8(b, big ? v : v >> 8);
}
static inline void put_double(buf *b, double v) {
    uint64_t w;
    memcpy(&w, &v, 8);
    put_u32(b, (uint32_t)(big ? w >> 32 : w));
    put_u32(b, (uint32_t)(big ? w : w >> 32));
}
static inline void pad(buf *b) {
    while (b->n % 8) put8(b, 0);
}
/* Size fields are set when an element ends. */
static inline size_t open_element(buf *b, uint32_t type) {
    put_u32(b, type);
    put_u32(b, 0);
    return b->n;
}
static inline void close_element(buf *b, size_t at) {
    uint8_t *c = b->d + at - 4;
    if (big)
        gy_put_be32(c, (uint32_t)(b->n - at));
    else
        gy_put_le32(c, (uint32_t)(b->n - at));
    pad(b);
}
static inline void put_header(buf *b) {
    put_s(b, "MATLAB 5.0 MAT-file, built by a test");
    while (b->n < 124) put8(b, ' ');
    put_u16(b, 0x0100);
    put_s(b, big ? "MI" : "IM");
}
/* Flags, dims and name of a matrix; returns what close_element wants. */
static inline size_t open_matrix(buf *b, uint32_t class, int rank, const uint32_t *dim, const char *name) {
    size_t m = open_element(b, 14), e = open_element(b, 6);
    put_u32(b, class);
    put_u32(b, 0);
    close_element(b, e);
    e = open_element(b, 5);
    for (int i = 0; i < rank; i++) put_u32(b, dim[i]);
    close_element(b, e);
    if (*name && strlen(name) <= 4) { /* a small element */
        put_u32(b, (uint32_t)strlen(name) << 16 | 1);
        put(b, "\0\0\0\0", 4);
        memcpy(b->d + b->n - 4, name, strlen(name));
    } else {
        e = open_element(b, 1);
        put_s(b, name);
        close_element(b, e);
    }
    return m;
}
static inline void put_doubles(buf *b, const char *name, uint32_t rows, uint32_t cols, const double *v) {
    size_t m = open_matrix(b, 6, 2, (uint32_t[]){rows, cols}, name), e = open_element(b, 9);
    for (uint32_t i = 0; i < rows * cols; i++) put_double(b, v[i]);
    close_element(b, e);
    close_element(b, m);
}
static inline void put_number(buf *b, const char *name, double v) {
    put_doubles(b, name, 1, 1, &v);
}
static inline void put_text(buf *b, const char *name, const char *s) {
    size_t m = open_matrix(b, 4, 2, (uint32_t[]){1, (uint32_t)strlen(s)}, name), e = open_element(b, 4);
    for (; *s; s++) put_u16(b, (uint8_t)*s);
    close_element(b, e);
    close_element(b, m);
}
/* A struct's fields follow its opening: names of at most 15 letters. */
static inline size_t open_struct(buf *b, const char *name, uint32_t n, const char *const *field, int fields) {
    size_t m = open_matrix(b, 2, 2, (uint32_t[]){1, n}, name);
    put_u32(b, 4u << 16 | 5);
    put_u32(b, 16);
    size_t e = open_element(b, 1);
    for (int i = 0; i < fields; i++) {
        char name16[16] = "";
        snprintf(name16, sizeof name16, "%s", field[i]);
        put(b, name16, 16);
    }
    close_element(b, e);
    return m;
}

/* Two channels, two epochs of three samples at 100 Hz; data: its samples, or the name of a file. */
static inline buf set(double nbchan, double trials, double pnts, double srate, const char *file) {
    static const char *const fields[] = {"nbchan", "trials", "pnts", "srate", "data", "chanlocs", "event"};
    static const char *const labels[] = {"labels"}, *const parts[] = {"type", "latency"};
    static const double v[] = {1, -1, 2, -2, 3, -3, 4, -4, 5, -5, 6, -6};
    buf b = buf_new();
    put_header(&b);
    size_t eeg = open_struct(&b, "EEG", 1, fields, 7);
    put_number(&b, "", nbchan);
    put_number(&b, "", trials);
    put_number(&b, "", pnts);
    put_number(&b, "", srate);
    if (file)
        put_text(&b, "", file);
    else
        put_doubles(&b, "", 2, 6, v);
    size_t s = open_struct(&b, "", 2, labels, 1);
    put_text(&b, "", "Fz");
    put_text(&b, "", "Cz");
    close_element(&b, s);
    s = open_struct(&b, "", 3, parts, 2);
    put_text(&b, "", "square");
    put_number(&b, "", 5);
    put_number(&b, "", 12); /* a number as type */
    put_number(&b, "", 2);
    put_text(&b, "", "late");
    put_number(&b, "", 70);
    close_element(&b, s);
    close_element(&b, eeg);
    return b;
}

#endif
