/* Inflating: DEFLATE (RFC 1951) inside nothing, zlib (RFC 1950) or gzip (RFC 1952).
 *
 * Symbols are decoded by table: the next TABLE bits of the stream index an entry that holds the code's
 * length, its extra bits and its base value; longer codes go through a second table. A 64-bit buffer is
 * refilled eight bytes at a time; at least 48 bits, the most that one length and distance need, are in it
 * before each symbol. At the stream's end zeros are fed and the deficit is noticed afterwards.
 *
 * The output buffer grows with what really comes out, never by what a header claims. */
#include "deflate.h"

#include <inttypes.h>
#include <string.h>

enum {
    MAX_BITS = 15,
    LIT_BITS = 11, /* first-level tables: 8 KiB and 1 KiB */
    DIST_BITS = 8,
    CODE_BITS = 7,
    /* second-level tables: one for each prefix that has longer codes, at most one for two symbols */
    LIT_TABLE = (1 << LIT_BITS) + 144 * (1 << (MAX_BITS - LIT_BITS)),
    DIST_TABLE = (1 << DIST_BITS) + 16 * (1 << (MAX_BITS - DIST_BITS)),
    SLACK = 320 /* a copy of 258 may overshoot by 8 */
};

/* Entry: bits 0-7 code length, 8-11 extra bits (or bits of the second table), flags, 16-31 value. */
enum { LITERAL = 1 << 12, SECOND = 1 << 13, END = 1 << 14, BAD = 1 << 15 };

typedef struct state {
    const gy_bytes *src;
    uint64_t at;                 /* offset of `in` inside src, for messages */
    const uint8_t *in, *p, *end; /* compressed bytes */
    uint64_t bits;               /* the next bits, lowest first */
    int nbits;                   /* how many are real; below zero: the stream was cut */
    uint8_t *out;                /* output, with SLACK bytes beyond `room` */
    uint64_t size, room, most;   /* written, allocated, allowed */
    bool most_is_ratio;          /* `most` comes from the ratio limit, not from the caller */
    bool prefix;                 /* reaching `most` ends the work without complaint */
    bool full;                   /* it did */
    uint64_t first;              /* where this member's output starts: no copy reaches before */
    uint64_t window;             /* the longest distance */
    bool fixed;                  /* lit and dist are the fixed codes: a million empty blocks build them once */
    uint32_t lit[LIT_TABLE], dist[DIST_TABLE];
} state;

/* ---- messages and room ---- */

static uint64_t position(const state *z) {
    uint64_t ahead = z->nbits > 0 ? (uint64_t)z->nbits / 8 : 0;
    uint64_t used = (uint64_t)(z->p - z->in);
    return z->at + (used > ahead ? used - ahead : 0);
}

static gy_status damaged(const state *z, const char *what) {
    if (z->nbits < 0) what = "the compressed data ends too early";
    return gy_bytes_fail(z->src, position(z), "inflate: %s", what);
}

static gy_status too_much(state *z) {
    if (z->prefix) {
        z->full = true;
        z->size = z->most;
        return GY_OK;
    }
    if (z->most_is_ratio)
        return gy_bytes_fail(z->src, position(z),
                             "inflate: more than %" PRIu64 " bytes come out of %" PRIu64
                             ", above the limit inflate-ratio = %" PRIu64 " (--limit inflate-ratio=N raises it)",
                             z->most, (uint64_t)(z->end - z->in), z->src->limits.v[GY_LIMIT_INFLATE_RATIO]);
    return gy_bytes_fail(z->src, position(z), "inflate: expected %" PRIu64 " bytes, found more", z->most);
}

/* Makes room for one more copy. The buffer doubles, so its size stays within the output's. */
static gy_status grow(state *z) {
    uint64_t room = z->room < z->most / 2 ? 2 * z->room : z->most;
    uint8_t *more = gy_realloc(z->src->ctx, z->out, (size_t)(room + SLACK));
    if (!more) return GY_ERR_NOMEM;
    z->out = more;
    z->room = room;
    return GY_OK;
}

/* Called when size >= room. */
static gy_status next_room(state *z) {
    if (z->size > z->most || (z->prefix && z->size >= z->most)) return too_much(z);
    return z->room < z->most ? grow(z) : GY_OK;
}

/* ---- bits ---- */

static inline void refill(state *z) {
    if (z->end - z->p >= 8) {
        z->bits |= gy_le64(z->p) << z->nbits;
        z->p += (63 - z->nbits) >> 3;
        z->nbits |= 56;
        return;
    }
    while (z->nbits >= 0 && z->nbits <= 55 && z->p < z->end) {
        z->bits |= (uint64_t)*z->p++ << z->nbits;
        z->nbits += 8;
    }
}

static inline uint32_t take(state *z, int n) {
    uint32_t v = (uint32_t)(z->bits & (((uint64_t)1 << n) - 1));
    z->bits >>= n;
    z->nbits -= n;
    return v;
}

/* ---- tables ---- */

static uint32_t reversed(uint32_t code, int n) {
    uint32_t r = 0;
    for (int i = 0; i < n; i++) r |= (code >> i & 1) << (n - 1 - i);
    return r;
}

/* Decoding tables of the canonical code with these lengths (RFC 1951 §3.2.2). meaning[s] is the entry of
 * symbol s without its length. False: over-subscribed, or incomplete; one code of one bit may stand alone,
 * and a distance code may be empty (may_be_empty). */
static bool build(uint32_t *table, int first_bits, const uint8_t *lengths, const uint32_t *meaning, int n,
                  bool may_be_empty) {
    int count[MAX_BITS + 1] = {0};
    uint32_t next[MAX_BITS + 1];
    int longest = 0;
    for (int s = 0; s < n; s++) count[lengths[s]]++;
    count[0] = 0;
    int left = 1;
    uint32_t code = 0;
    for (int len = 1; len <= MAX_BITS; len++) {
        code = (code + (uint32_t)count[len - 1]) << 1;
        next[len] = code;
        left = 2 * left - count[len];
        if (left < 0) return false;
        if (count[len]) longest = len;
    }
    if (left > 0 && !(longest == 1 || (longest == 0 && may_be_empty))) return false;
    uint32_t first_size = 1u << first_bits, used = first_size;
    for (uint32_t i = 0; i < first_size; i++) table[i] = BAD | 1;
    int second_bits = longest - first_bits;
    for (int s = 0; s < n; s++) {
        int len = lengths[s];
        if (!len) continue;
        uint32_t r = reversed(next[len]++, len);
        if (len <= first_bits) {
            for (uint32_t i = r; i < first_size; i += 1u << len) table[i] = meaning[s] | (uint32_t)len;
            continue;
        }
        uint32_t *slot = &table[r & (first_size - 1)];
        if (!(*slot & SECOND)) {
            *slot = used << 16 | SECOND | (uint32_t)second_bits << 8 | (uint32_t)first_bits;
            used += 1u << second_bits;
        }
        uint32_t *second = table + (*slot >> 16);
        for (uint32_t i = r >> first_bits; i < 1u << second_bits; i += 1u << (len - first_bits))
            second[i] = meaning[s] | (uint32_t)(len - first_bits);
    }
    return true;
}

/* Entries of all symbols. RFC 1951 §3.2.5: lengths 3..258 in groups of four a bit, 258 on its own;
 * distances 1..32768 in groups of two a bit. Symbols 286, 287 and 30, 31 have codes but no meaning. */
static void meanings(uint32_t lit[288], uint32_t dist[32]) {
    for (uint32_t s = 0; s < 256; s++) lit[s] = s << 16 | LITERAL;
    lit[256] = END;
    uint32_t base = 3;
    for (uint32_t i = 0; i < 28; i++) {
        uint32_t extra = i < 8 ? 0 : i / 4 - 1;
        lit[257 + i] = base << 16 | extra << 8;
        base += 1u << extra;
    }
    lit[285] = 258u << 16;
    lit[286] = lit[287] = BAD;
    base = 1;
    for (uint32_t i = 0; i < 30; i++) {
        uint32_t extra = i < 4 ? 0 : i / 2 - 1;
        dist[i] = base << 16 | extra << 8;
        base += 1u << extra;
    }
    dist[30] = dist[31] = BAD;
}

static gy_status fixed_tables(state *z) {
    uint32_t lit[288], dist[32];
    uint8_t lengths[288], five[32];
    if (z->fixed) return GY_OK;
    z->fixed = true;
    meanings(lit, dist);
    memset(lengths, 8, 144);
    memset(lengths + 144, 9, 112);
    memset(lengths + 256, 7, 24);
    memset(lengths + 280, 8, 8);
    memset(five, 5, 32);
    build(z->lit, LIT_BITS, lengths, lit, 288, false);
    build(z->dist, DIST_BITS, five, dist, 32, false);
    return GY_OK;
}

/* The code lengths of both codes, run-length coded by a third (RFC 1951 §3.2.7). */
static gy_status read_lengths(state *z, const uint32_t *table, uint8_t *lengths, int total) {
    int i = 0;
    while (i < total) {
        refill(z);
        uint32_t e = table[z->bits & ((1u << CODE_BITS) - 1)];
        take(z, (int)(e & 255));
        if (e & BAD) return damaged(z, "code lengths use a code that was not defined");
        int symbol = (int)(e >> 16), repeat = 1;
        uint8_t value = (uint8_t)symbol;
        if (symbol == 16) {
            if (i == 0) return damaged(z, "code lengths begin with a repetition");
            value = lengths[i - 1];
            repeat = 3 + (int)take(z, 2);
        } else if (symbol > 16) {
            value = 0;
            repeat = symbol == 17 ? 3 + (int)take(z, 3) : 11 + (int)take(z, 7);
        }
        if (z->nbits < 0) return damaged(z, "");
        if (repeat > total - i) return damaged(z, "a repetition of code lengths goes past their number");
        memset(lengths + i, value, (size_t)repeat);
        i += repeat;
    }
    return GY_OK;
}

static gy_status dynamic_tables(state *z) {
    static const uint8_t order[19] = {16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15};
    uint32_t lit[288], dist[32], plain[19], table[1 << CODE_BITS];
    uint8_t lengths[288 + 32] = {0}, code_lengths[19] = {0};
    z->fixed = false;
    refill(z);
    int nlit = 257 + (int)take(z, 5), ndist = 1 + (int)take(z, 5), ncode = 4 + (int)take(z, 4);
    if (nlit > 286) return damaged(z, "more than 286 literal and length codes");
    if (ndist > 30) return damaged(z, "more than 30 distance codes");
    for (int i = 0; i < ncode; i++) {
        if (z->nbits < 3) refill(z);
        code_lengths[order[i]] = (uint8_t)take(z, 3);
    }
    if (z->nbits < 0) return damaged(z, "");
    for (uint32_t i = 0; i < 19; i++) plain[i] = i << 16;
    if (!build(table, CODE_BITS, code_lengths, plain, 19, false))
        return damaged(z, "the code of the code lengths is over-subscribed or incomplete");
    gy_status s = read_lengths(z, table, lengths, nlit + ndist);
    if (s != GY_OK) return s;
    if (lengths[256] == 0) return damaged(z, "no code for the end of the block");
    meanings(lit, dist);
    if (!build(z->lit, LIT_BITS, lengths, lit, nlit, false))
        return damaged(z, "the literal and length code is over-subscribed or incomplete");
    if (!build(z->dist, DIST_BITS, lengths + nlit, dist, ndist, true))
        return damaged(z, "the distance code is over-subscribed or incomplete");
    return GY_OK;
}

/* ---- blocks ---- */

/* Copies may overlap: the bytes repeat with period d. */
static inline void copy_match(uint8_t *to, uint64_t d, uint64_t n) {
    const uint8_t *from = to - d;
    if (d >= 8) {
        for (uint64_t i = 0; i < n; i += 8) memcpy(to + i, from + i, 8);
    } else if (d == 1) {
        memset(to, *from, (size_t)n);
    } else {
        for (uint64_t i = 0; i < n; i++) to[i] = from[i];
    }
}

static inline uint32_t decode(state *z, const uint32_t *table, int first_bits) {
    uint32_t e = table[z->bits & ((1u << first_bits) - 1)];
    if (e & SECOND) {
        take(z, first_bits);
        e = table[(e >> 16) + (z->bits & ((1u << (e >> 8 & 15)) - 1))];
    }
    take(z, (int)(e & 255));
    return e;
}

static gy_status coded_block(state *z) {
    for (;;) {
        if (z->size >= z->room) {
            gy_status s = next_room(z);
            if (s != GY_OK || z->full) return s;
        }
        if (z->nbits < 48) refill(z);
        uint32_t e = decode(z, z->lit, LIT_BITS);
        if (z->nbits < 0) return damaged(z, "");
        if (e & LITERAL) {
            z->out[z->size++] = (uint8_t)(e >> 16);
            continue;
        }
        if (e & END) return GY_OK;
        if (e & BAD) return damaged(z, "a literal or length code that has no meaning");
        uint64_t n = (e >> 16) + take(z, (int)(e >> 8 & 15));
        e = decode(z, z->dist, DIST_BITS);
        if (e & BAD) return damaged(z, "a distance code that has no meaning");
        uint64_t d = (e >> 16) + take(z, (int)(e >> 8 & 15));
        if (z->nbits < 0) return damaged(z, "");
        if (d > z->size - z->first) return damaged(z, "a distance that reaches before the start");
        if (d > z->window) return damaged(z, "a distance beyond the window");
        copy_match(z->out + z->size, d, n);
        z->size += n;
    }
}

/* Gives whole unread bytes back, so that p is the next byte. */
static void align(state *z) {
    z->p -= z->nbits / 8;
    z->bits = 0;
    z->nbits = 0;
}

static gy_status stored_block(state *z) {
    align(z);
    if (z->end - z->p < 4) {
        z->nbits = -1;
        return damaged(z, "");
    }
    uint64_t n = gy_le16(z->p);
    if ((gy_le16(z->p + 2) ^ 0xffff) != n) return damaged(z, "a stored block whose length and its complement differ");
    z->p += 4;
    bool cut = (uint64_t)(z->end - z->p) < n;
    if (cut) n = (uint64_t)(z->end - z->p);
    while (n > 0) {
        if (z->size >= z->room) {
            gy_status s = next_room(z);
            if (s != GY_OK || z->full) return s;
        }
        uint64_t part = z->room + SLACK - z->size;
        if (part > n) part = n;
        memcpy(z->out + z->size, z->p, (size_t)part);
        z->size += part;
        z->p += part;
        n -= part;
    }
    if (cut) {
        z->nbits = -1;
        return damaged(z, "");
    }
    return GY_OK;
}

/* One raw DEFLATE stream; afterwards p is the byte behind it. */
static gy_status blocks(state *z) {
    bool last = false;
    z->bits = 0;
    z->nbits = 0;
    z->first = z->size;
    while (!last) {
        refill(z);
        last = take(z, 1);
        uint32_t type = take(z, 2);
        if (z->nbits < 0) return damaged(z, "");
        gy_status s = GY_OK;
        if (type == 3) return damaged(z, "block type 3");
        if (type == 0)
            s = stored_block(z);
        else {
            s = type == 1 ? fixed_tables(z) : dynamic_tables(z);
            if (s == GY_OK) s = coded_block(z);
        }
        if (s != GY_OK || z->full) return s;
        /* the slack may hold a few bytes too many */
        if (z->size > z->most || (z->prefix && z->size >= z->most)) {
            s = too_much(z);
            if (s != GY_OK || z->full) return s;
        }
    }
    align(z);
    return GY_OK;
}

/* ---- wrappers ---- */

static gy_status missing(state *z, const char *what) {
    return gy_bytes_fail(z->src, z->at + (uint64_t)(z->end - z->in), "inflate: the data ends inside %s", what);
}

static gy_status zlib_stream(state *z) {
    if (z->end - z->p < 2) return missing(z, "the zlib header");
    uint32_t cmf = z->p[0], flags = z->p[1];
    if ((cmf << 8 | flags) % 31 != 0 || (cmf & 15) != 8 || cmf >> 4 > 7)
        return gy_bytes_fail(z->src, position(z), "inflate: expected a zlib header, found %02x %02x", cmf, flags);
    if (flags & 0x20) return damaged(z, "a preset dictionary, which nothing here can know");
    z->window = (uint64_t)1 << ((cmf >> 4) + 8);
    z->p += 2;
    gy_status s = blocks(z);
    if (s != GY_OK || z->full) return s;
    if (z->end - z->p < 4) return missing(z, "the Adler-32");
    uint32_t sum = gy_adler32(1, z->out, z->size), found = gy_be32(z->p);
    if (sum != found)
        return gy_bytes_fail(z->src, position(z), "inflate: Adler-32: expected %08x, found %08x", found, sum);
    z->p += 4;
    return GY_OK;
}

/* Skips a text that ends with NUL. */
static bool skip_text(state *z) {
    const uint8_t *nul = memchr(z->p, 0, (size_t)(z->end - z->p));
    if (nul) z->p = nul + 1;
    return nul != NULL;
}

static gy_status gzip_header(state *z) {
    const uint8_t *start = z->p;
    if (z->end - z->p < 10) return missing(z, "the gzip header");
    if (start[0] != 0x1f || start[1] != 0x8b)
        return gy_bytes_fail(z->src, position(z), "inflate: expected gzip (1f 8b), found %02x %02x", start[0],
                             start[1]);
    uint32_t flags = start[3];
    if (start[2] != 8)
        return gy_bytes_fail(z->src, position(z) + 2, "inflate: gzip method: expected 8, found %u", start[2]);
    if (flags & 0xe0)
        return gy_bytes_fail(z->src, position(z) + 3, "inflate: gzip: reserved flags 0x%02x", flags & 0xe0);
    z->p += 10;
    if (flags & 4) { /* FEXTRA */
        if (z->end - z->p < 2) return missing(z, "the gzip extra field");
        uint64_t n = gy_le16(z->p);
        z->p += 2;
        if ((uint64_t)(z->end - z->p) < n) return missing(z, "the gzip extra field");
        z->p += n;
    }
    if (flags & 8 && !skip_text(z)) return missing(z, "the gzip file name");
    if (flags & 16 && !skip_text(z)) return missing(z, "the gzip comment");
    if (flags & 2) { /* FHCRC */
        if (z->end - z->p < 2) return missing(z, "the gzip header's CRC");
        uint32_t sum = gy_crc32(0, start, (uint64_t)(z->p - start)) & 0xffff, found = gy_le16(z->p);
        if (sum != found)
            return gy_bytes_fail(z->src, position(z), "inflate: gzip header CRC: expected %04x, found %04x", found,
                                 sum);
        z->p += 2;
    }
    return GY_OK;
}

static gy_status gzip_member(state *z) {
    gy_status s = gzip_header(z);
    if (s == GY_OK) s = blocks(z);
    if (s != GY_OK || z->full) return s;
    if (z->end - z->p < 8) return missing(z, "the gzip trailer");
    uint32_t sum = gy_crc32(0, z->out + z->first, z->size - z->first), found = gy_le32(z->p);
    if (sum != found)
        return gy_bytes_fail(z->src, position(z), "inflate: gzip CRC-32: expected %08x, found %08x", found, sum);
    uint32_t size = (uint32_t)(z->size - z->first), claimed = gy_le32(z->p + 4); /* modulo 2^32 by definition */
    if (size != claimed)
        return gy_bytes_fail(z->src, position(z) + 4, "inflate: gzip size: expected %u bytes, found %u", claimed, size);
    z->p += 8;
    return GY_OK;
}

static gy_status stream(state *z, gy_deflate_wrap wrap) {
    gy_status s;
    if (wrap == GY_DEFLATE_ZLIB)
        s = zlib_stream(z);
    else if (wrap == GY_DEFLATE_RAW)
        s = blocks(z);
    else {
        do s = gzip_member(z);
        while (s == GY_OK && !z->full && z->end - z->p >= 2 && z->p[0] == 0x1f && z->p[1] == 0x8b);
        if (s == GY_OK && !z->full) { /* tapes and block devices pad with zeros */
            const uint8_t *p = z->p;
            while (p < z->end && *p == 0) p++;
            if (p == z->end) z->p = p;
        }
    }
    if (s != GY_OK || z->full) return s;
    if (z->p != z->end)
        return gy_bytes_fail(z->src, position(z), "inflate: %" PRIu64 " bytes of garbage after the compressed data",
                             (uint64_t)(z->end - z->p));
    return GY_OK;
}

static gy_status inflate(const gy_bytes *src, uint64_t at, uint64_t n, gy_deflate_wrap wrap, uint64_t most, bool prefix,
                         uint8_t **out, uint64_t *out_size) {
    *out = NULL;
    *out_size = 0;
    void *owned;
    const uint8_t *in;
    gy_status s = gy_bytes_borrow(src, at, n, &in, &owned);
    if (s != GY_OK) return s;
    state *z = gy_malloc(src->ctx, sizeof *z);
    if (!z) {
        gy_free(src->ctx, owned);
        return GY_ERR_NOMEM;
    }
    memset(z, 0, offsetof(state, lit));
    z->src = src;
    z->at = at;
    z->in = z->p = in;
    z->end = in + n;
    z->window = 32768;
    z->prefix = prefix;
    uint64_t ratio = src->limits.v[GY_LIMIT_INFLATE_RATIO];
    z->most = most;
    if (most == UINT64_MAX) {
        z->most_is_ratio = true;
        if (!gy_mul_u64(n, ratio, &z->most) || z->most > UINT64_MAX / 4) z->most = UINT64_MAX / 4;
    } else if (z->most > UINT64_MAX / 4)
        z->most = UINT64_MAX / 4;
    uint64_t guess = n < ((uint64_t)1 << 60) ? 4 * n + 4096 : n;
    z->room = z->most < guess ? z->most : guess;
    z->out = gy_malloc(src->ctx, (size_t)(z->room + SLACK));
    s = z->out ? stream(z, wrap) : GY_ERR_NOMEM;
    if (s == GY_OK && !prefix && !z->most_is_ratio && z->size != z->most)
        s = gy_bytes_fail(src, at + n, "inflate: expected %" PRIu64 " bytes, found %" PRIu64, z->most, z->size);
    if (s == GY_OK) {
        *out = z->out;
        *out_size = z->size;
    } else
        gy_free(src->ctx, z->out);
    gy_free(src->ctx, z);
    gy_free(src->ctx, owned);
    return s;
}

gy_status gy_inflate(const gy_bytes *src, uint64_t at, uint64_t n, gy_deflate_wrap wrap, uint64_t expected,
                     uint8_t **out, uint64_t *out_size) {
    return inflate(src, at, n, wrap, expected, false, out, out_size);
}

gy_status gy_inflate_prefix(const gy_bytes *src, uint64_t at, uint64_t n, gy_deflate_wrap wrap, uint64_t max,
                            uint8_t **out, uint64_t *out_size) {
    return inflate(src, at, n, wrap, max, true, out, out_size);
}
