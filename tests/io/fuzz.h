/* fuzz.h: valid files are damaged at random, always in the same way, and read: each must be read or be refused with a
 * message. Whatever a reader does to memory, a sanitizer build sees it: pieces have their very size here. */
#ifndef GY_TEST_FUZZ_H
#define GY_TEST_FUZZ_H

#include "recordings.h"

#include <ctype.h>
#include <fcntl.h>
#include <time.h>

/* One kind of file. */
typedef struct subject {
    const char *file;              /* the name under which the damaged file is stored */
    const char *open;              /* the name that is opened, where it is another file or the folder ("") */
    int seeds;                     /* valid files 0 .. seeds - 1 */
    buf (*seed)(gy_ctx *, int k);  /* stores companions, too */
    void (*pack)(gy_ctx *, buf *); /* done after the damage: compresses, corrects checksums; may be NULL */
    gy_status (*read)(gy_ctx *, const char *path); /* reads all there is and closes */
    const char *words[12];                         /* of the format; they replace others in text */
} subject;

/* ---- memory, counted ---- */

typedef struct meter {
    size_t live, peak, most;
} meter;

static inline void *metered_alloc(void *user, size_t bytes) {
    meter *m = user;
    void *p;
    if (m->live + bytes > m->most || posix_memalign(&p, 64, bytes) != 0) return NULL;
    m->live += bytes;
    if (m->live > m->peak) m->peak = m->live;
    return p;
}
static inline void metered_free(void *user, void *p, size_t bytes) {
    ((meter *)user)->live -= bytes;
    free(p);
}

/* ---- damage ---- */

static inline uint64_t draw(uint64_t *state) { /* splitmix64 (Steele et al. 2014) */
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}
static inline size_t below(uint64_t *state, size_t n) {
    return n ? (size_t)(draw(state) % n) : 0;
}

/* Puts n bytes at `at` in the place of `old` ones. */
static inline void replace(buf *b, size_t at, size_t old, const void *p, size_t n) {
    enum { MOST = 1 << 16 };
    uint8_t piece[4096];
    if (n > sizeof piece || b->n - old + n > MOST) return;
    if (n) memcpy(piece, p, n); /* may lie in b itself */
    memmove(b->d + at + n, b->d + at + old, b->n - at - old);
    if (n) memcpy(b->d + at, piece, n);
    b->n = b->n - old + n;
}

/* A field of 1, 2, 4 or 8 bytes in either order gets a value at which lengths and counts go wrong. */
static inline void damage_field(uint64_t *rng, buf *b) {
    static const uint64_t value[] = {0,
                                     1,
                                     2,
                                     7,
                                     8,
                                     0x7f,
                                     0x80,
                                     0xff,
                                     0x100,
                                     0x7fff,
                                     0x8000,
                                     0xffff,
                                     0x7fffffff,
                                     0x80000000,
                                     0xffffffff,
                                     0x40000000,
                                     0xfffffff8,
                                     (uint64_t)1 << 62,
                                     INT64_MAX,
                                     (uint64_t)1 << 63,
                                     UINT64_MAX - 7,
                                     UINT64_MAX};
    size_t width = (size_t)1 << below(rng, 4), at;
    if (b->n < width) return;
    at = below(rng, b->n - width + 1);
    bool big_order = draw(rng) & 1;
    uint64_t v = 0;
    for (size_t i = 0; i < width; i++) v |= (uint64_t)b->d[at + (big_order ? width - 1 - i : i)] << 8 * i;
    switch (below(rng, 4)) {
    case 0: v++; break;
    case 1: v--; break;
    case 2: v = b->n - below(rng, 16); break;
    default: v = value[below(rng, sizeof value / sizeof *value)];
    }
    for (size_t i = 0; i < width; i++) b->d[at + (big_order ? width - 1 - i : i)] = (uint8_t)(v >> 8 * i);
}

/* A run of digits, or a word, becomes another number or one of the format's words. */
static inline void damage_text(uint64_t *rng, buf *b, const char *const words[12]) {
    static const char *const number[] = {"0",
                                         "-1",
                                         "1",
                                         "1.5",
                                         "1e999",
                                         "nan",
                                         "-0",
                                         "inf",
                                         "65536",
                                         "2147483648",
                                         "9223372036854775807",
                                         "18446744073709551616",
                                         "0x7",
                                         ""};
    size_t at = below(rng, b->n), n_words = 0, end;
    while (n_words < 12 && words[n_words]) n_words++;
    bool digits = n_words == 0 || (draw(rng) & 1);
    for (size_t k = 0; k < 64 && at < b->n; k++, at++) /* the next that begins here */
        if (digits ? b->d[at] >= '0' && b->d[at] <= '9' : isalpha(b->d[at]) != 0) break;
    for (end = at; end < b->n && (digits ? b->d[end] >= '0' && b->d[end] <= '9' : isalnum(b->d[end]) != 0);) end++;
    const char *new = digits ? number[below(rng, sizeof number / sizeof *number)] : words[below(rng, n_words)];
    replace(b, at, end - at, new, strlen(new));
}

static inline void damage(uint64_t *rng, buf *b, const buf *other, const char *const words[12]) {
    size_t at = below(rng, b->n), n = 1 + below(rng, below(rng, 4) ? 16 : 512), from;
    if (n > b->n - at) n = b->n - at;
    if (b->n == 0) return;
    switch (below(rng, 10)) {
    case 0: b->d[at] ^= (uint8_t)(1u << below(rng, 8)); break;
    case 1: b->d[at] = (uint8_t)draw(rng); break;
    case 2:
    case 3: damage_field(rng, b); break;
    case 4:
    case 5: damage_text(rng, b, words); break;
    case 6: replace(b, at, n, "", 0); break;        /* a piece is lost */
    case 7: replace(b, at, 0, b->d + at, n); break; /* or is there twice */
    case 8:                                         /* or comes from elsewhere */
        from = below(rng, other->n);
        if (n > other->n - from) n = other->n - from;
        replace(b, at, below(rng, b->n - at < 512 ? b->n - at + 1 : 512), other->d + from, n);
        break;
    default:
        if (below(rng, 4) == 0) b->n = at; /* cut */
    }
}

/* ---- the run ---- */

static inline void check_text(const char *text, const char *where, long i) {
    for (const uint8_t *c = (const uint8_t *)text; *c; c++)
        if ((*c < 0x20 && *c != '\n' && *c != '\t') || *c == 0x7f || (*c == 0xc2 && c[1] >= 0x80 && c[1] < 0xa0))
            fail_msg("%s, damage %ld: a control character 0x%02x in \"%s\"", where, i, (unsigned)*c, text);
}

static inline void hear(void *user, const char *text) {
    check_text(text, "a warning", -1);
    ++*(long *)user;
}

/* GYRUS_FUZZ=N: N damaged files of each kind instead of the usual number. */
static inline void fuzz(gy_ctx *builder, const subject *s) {
    enum { USUAL = 2000, SEEDS = 10 };
    const char *wanted = getenv("GYRUS_FUZZ");
    const long count = wanted ? atol(wanted) : USUAL;
    char file[256], path[256];
    buf seed[SEEDS], b = buf_new();
    meter m = {.most = (size_t)1 << 30};
    gy_allocator counted = {metered_alloc, metered_free, &m};
    gy_ctx *ctx = gy_ctx_new((gy_ctx_args){.threads = 1, .allocator = &counted});
    long accepted = 0, warnings = 0;
    size_t most_kept = 0;
    assert_non_null(ctx);
    assert_true(s->seeds <= SEEDS);
    gy_set_warn_handler(ctx, hear, &warnings);
    in_dir(folder, s->file, file);
    in_dir(folder, s->open ? s->open : s->file, path);
    for (int k = 0; k < s->seeds; k++) seed[k] = s->seed(builder, k);
    const int fd = open(file, O_RDWR | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    for (long i = -s->seeds; i < count; i++) { /* the valid ones first */
        const int k = (int)((i + s->seeds) % s->seeds);
        uint64_t rng = gy_hash_str(s->file, (uint64_t)i);
        b.n = 0;
        put(&b, seed[k].d, seed[k].n);
        if (i >= 0)
            for (size_t times = 1 + below(&rng, below(&rng, 3) ? 2 : 8); times > 0; times--)
                damage(&rng, &b, &seed[below(&rng, (size_t)s->seeds)], s->words);
        if (s->pack) s->pack(builder, &b);
        assert_int_equal(pwrite(fd, b.d, b.n, 0), b.n); /* the same file each time: making one costs more */
        assert_int_equal(ftruncate(fd, (off_t)b.n), 0);
        const size_t live = m.live;
        const clock_t start = clock();
        m.peak = m.live;
        gy_error_clear(ctx);
        gy_status status = s->read(ctx, path);
        if (i < 0) assert_ok(ctx, status);
        if (m.live != live) fail_msg("%s, damage %ld: %zu bytes are not freed", s->file, i, m.live - live);
        if (m.peak - live > ((size_t)1 << 20) + 1100 * b.n)
            fail_msg("%s, damage %ld: %zu bytes of memory for %zu of file", s->file, i, m.peak - live, b.n);
        if (status != GY_OK && (!*gy_error(ctx) || gy_error_status(ctx) != status || status == GY_ERR_NOMEM))
            fail_msg("%s, damage %ld: status %d, message \"%s\"", s->file, i, (int)status, gy_error(ctx));
        check_text(gy_error(ctx), s->file, i);
        if ((clock() - start) / CLOCKS_PER_SEC >= 2) fail_msg("%s, damage %ld takes too long", s->file, i);
        accepted += i >= 0 && status == GY_OK;
        if (m.peak - live > most_kept) most_kept = m.peak - live;
    }
    if (wanted)
        print_message("%s: %ld read, %ld refused, peak %zu bytes\n", s->file, accepted, count - accepted, most_kept);
    assert_true(accepted < count || warnings > 0); /* damage that nobody notices is none */
    close(fd);
    for (int k = 0; k < s->seeds; k++) buf_free(&seed[k]);
    buf_free(&b);
    gy_ctx_free(ctx);
    remove(file);
}

#endif
