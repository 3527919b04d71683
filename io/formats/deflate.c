/* Deflating: DEFLATE (RFC 1951) inside nothing, zlib (RFC 1950) or gzip (RFC 1952).
 *
 * Repeated strings are found through hash chains over the last 32 KiB; a match is held back for one byte
 * to see whether the next position has a longer one (lazy matching). Up to TOKENS literals and matches
 * make a block, written in whichever of the three ways is shortest: stored, fixed codes, own Huffman
 * codes. No step depends on anything but the input, so the bytes are the same everywhere. */
#include "deflate.h"

#include <string.h>

enum {
    WINDOW = 1 << 15,
    HASH_BITS = 15,
    MIN_MATCH = 3,
    MAX_MATCH = 258,
    TOKENS = 1 << 15,
    LIT_CODES = 286,
    DIST_CODES = 30,
    LENGTH_CODES = 19,
    TOO_FAR = 4096 /* a match of 3 from further away costs more bits than three literals */
};

/* How hard to search: at most `chain` candidates, fewer (a quarter) once a match of `good` is held; a
 * match of `nice` ends the search; matches longer than `lazy` are not held back. */
static const struct effort {
    int chain, good, nice, lazy;
} efforts[10] = {
    {0, 0, 0, 0},    {4, 4, 8, 0},     {8, 4, 16, 0},      {16, 6, 32, 4},      {16, 8, 32, 8},
    {32, 8, 64, 16}, {64, 8, 128, 16}, {128, 16, 128, 32}, {512, 32, 258, 128}, {2048, 32, 258, 258},
};

typedef struct packer {
    const uint8_t *in;
    uint64_t n;
    struct effort effort;
    uint8_t *out;
    uint64_t size;
    uint64_t bits;
    int nbits;
    uint64_t block_start; /* first input byte of the present block */
    int ntokens;
    uint32_t lit_count[LIT_CODES + 2], dist_count[DIST_CODES + 2];
    uint32_t tokens[TOKENS];                     /* distance << 16 | length, or the literal's byte with distance 0 */
    uint32_t head[1 << HASH_BITS], prev[WINDOW]; /* positions modulo 2^32 */
} packer;

/* ---- bits out ---- */

static inline void put(packer *k, uint32_t value, int n) {
    k->bits |= (uint64_t)value << k->nbits;
    k->nbits += n;
    while (k->nbits >= 32) {
        gy_put_le32(k->out + k->size, (uint32_t)k->bits);
        k->size += 4;
        k->bits >>= 32;
        k->nbits -= 32;
    }
}

static void flush_bits(packer *k) {
    while (k->nbits > 0) {
        k->out[k->size++] = (uint8_t)k->bits;
        k->bits >>= 8;
        k->nbits -= 8;
    }
    k->bits = 0;
    k->nbits = 0;
}

/* ---- symbols (RFC 1951 §3.2.5) ---- */

static int log2_of(uint32_t x) {
    int n = 0;
    while (x >>= 1) n++;
    return n;
}

/* Symbol of a length (3..258) or distance (1..32768), with its extra bits. */
static int length_symbol(int length, int *extra_bits, uint32_t *extra) {
    *extra_bits = 0;
    *extra = 0;
    if (length == MAX_MATCH) return 285;
    uint32_t x = (uint32_t)length - 3;
    if (x < 8) return 257 + (int)x;
    int b = log2_of(x) - 2;
    *extra_bits = b;
    *extra = x & ((1u << b) - 1);
    return 257 + 4 * b + (int)(x >> b);
}

static int distance_symbol(uint32_t distance, int *extra_bits, uint32_t *extra) {
    uint32_t x = distance - 1;
    *extra_bits = 0;
    *extra = 0;
    if (x < 4) return (int)x;
    int b = log2_of(x) - 1;
    *extra_bits = b;
    *extra = x & ((1u << b) - 1);
    return 2 * b + (int)(x >> b);
}

/* ---- Huffman codes ---- */

typedef struct code {
    uint8_t length[LIT_CODES + 2];
    uint16_t bits[LIT_CODES + 2]; /* reversed: DEFLATE sends codes highest bit first */
} code;

typedef struct leaf {
    uint32_t count;
    int symbol;
} leaf;

static bool leaf_less(leaf a, leaf b) {
    return a.count < b.count || (a.count == b.count && a.symbol < b.symbol);
}

static void sift(leaf *a, int root, int end) {
    for (int child = 2 * root + 1; child < end; child = 2 * root + 1) {
        if (child + 1 < end && leaf_less(a[child], a[child + 1])) child++;
        if (!leaf_less(a[root], a[child])) return;
        leaf t = a[root];
        a[root] = a[child];
        a[child] = t;
        root = child;
    }
}

/* Heap sort: n log n for any counts, no allocation, no recursion. */
static void sort_leaves(leaf *a, int n) {
    for (int root = n / 2 - 1; root >= 0; root--) sift(a, root, n);
    for (int end = n - 1; end > 0; end--) {
        leaf t = a[0];
        a[0] = a[end];
        a[end] = t;
        sift(a, 0, end);
    }
}

/* Code lengths by Huffman's algorithm with two queues (leaves sorted; inner nodes come out sorted), then
 * shortened to `most` bits: lengths beyond it are set to it, and the Kraft sum is repaired by lengthening
 * the longest shorter codes. */
static void huffman_lengths(const uint32_t *count, int n, int most, uint8_t *length) {
    leaf leaves[LIT_CODES + 2];
    uint32_t weight[LIT_CODES + 2];
    int parent[2 * (LIT_CODES + 2)], depth[2 * (LIT_CODES + 2)], number[64] = {0};
    int m = 0;
    memset(length, 0, (size_t)n);
    for (int s = 0; s < n; s++)
        if (count[s]) leaves[m++] = (leaf){count[s], s};
    for (int s = 0; m < 2; s++) { /* readers expect at least two codes, or one of one bit */
        if (m == 1 && leaves[0].symbol == s) continue;
        leaves[m++] = (leaf){1, s};
    }
    sort_leaves(leaves, m);
    int next_leaf = 0, next_inner = 0, inner = 0;
    for (; inner < m - 1; inner++) {
        weight[inner] = 0;
        for (int j = 0; j < 2; j++) {
            bool take_leaf = next_leaf < m && (next_inner >= inner || leaves[next_leaf].count <= weight[next_inner]);
            int child = take_leaf ? next_leaf : m + next_inner;
            weight[inner] += take_leaf ? leaves[next_leaf++].count : weight[next_inner++];
            parent[child] = m + inner;
        }
    }
    int root = m + inner - 1;
    depth[root] = 0;
    for (int i = root - 1; i >= 0; i--) depth[i] = depth[parent[i]] + 1;
    /* count codes of each length, with the too long ones cut; Kraft's sum in units of 2^-most */
    int64_t kraft = 0, full = (int64_t)1 << most;
    for (int i = 0; i < m; i++) {
        int d = depth[i] < most ? depth[i] : most;
        number[d]++;
        kraft += full >> d;
    }
    while (kraft > full) {
        int d = most - 1;
        while (number[d] == 0) d--;
        number[d]--;
        number[d + 1]++;
        kraft -= full >> (d + 1);
    }
    /* Over-long repairs may leave room: use it, so that the code is complete. */
    for (int d = most; d > 1 && kraft < full;) {
        if (number[d] == 0 || kraft + (full >> d) > full) {
            d--;
            continue;
        }
        number[d]--;
        number[d - 1]++;
        kraft += full >> d;
    }
    /* rarest symbols get the longest codes */
    for (int d = most, i = 0; d > 0; d--)
        for (int j = 0; j < number[d]; j++) length[leaves[i++].symbol] = (uint8_t)d;
}

static void canonical(code *c, int n) {
    uint32_t number[16] = {0}, next[16] = {0};
    for (int s = 0; s < n; s++) number[c->length[s]]++;
    number[0] = 0;
    for (int d = 1; d < 16; d++) next[d] = (next[d - 1] + number[d - 1]) << 1;
    for (int s = 0; s < n; s++) {
        int d = c->length[s];
        uint32_t v = d ? next[d]++ : 0, r = 0;
        for (int i = 0; i < d; i++) r |= (v >> i & 1) << (d - 1 - i);
        c->bits[s] = (uint16_t)r;
    }
}

/* ---- blocks ---- */

static uint64_t cost(const packer *k, const code *lit, const code *dist) {
    uint64_t bits = 0;
    for (int s = 0; s < LIT_CODES; s++) {
        int extra = s < 265 || s == 285 ? 0 : (s - 261) / 4;
        bits += (uint64_t)k->lit_count[s] * (uint64_t)(lit->length[s] + extra);
    }
    for (int s = 0; s < DIST_CODES; s++) {
        int extra = s < 4 ? 0 : s / 2 - 1;
        bits += (uint64_t)k->dist_count[s] * (uint64_t)(dist->length[s] + extra);
    }
    return bits;
}

static void put_tokens(packer *k, const code *lit, const code *dist) {
    for (int i = 0; i < k->ntokens; i++) {
        uint32_t t = k->tokens[i], distance = t >> 16, extra;
        int extra_bits, s;
        if (!distance) {
            put(k, lit->bits[t], lit->length[t]);
            continue;
        }
        s = length_symbol((int)(t & 0xffff), &extra_bits, &extra);
        put(k, lit->bits[s] | extra << lit->length[s], lit->length[s] + extra_bits);
        s = distance_symbol(distance, &extra_bits, &extra);
        put(k, dist->bits[s] | extra << dist->length[s], dist->length[s] + extra_bits);
    }
    put(k, lit->bits[256], lit->length[256]);
}

static void fixed_codes(code *lit, code *dist) {
    memset(lit->length, 8, 144);
    memset(lit->length + 144, 9, 112);
    memset(lit->length + 256, 7, 24);
    memset(lit->length + 280, 8, 8);
    canonical(lit, 288);
    memset(dist->length, 5, DIST_CODES + 2);
    canonical(dist, DIST_CODES + 2);
}

/* The head of a dynamic block: both codes' lengths, run-length coded (RFC 1951 §3.2.7). */
typedef struct head {
    int nlit, ndist, ncode, nruns;
    uint8_t symbol[LIT_CODES + DIST_CODES], extra[LIT_CODES + DIST_CODES];
    code lengths;
    uint64_t bits;
} head;

static const uint8_t code_order[LENGTH_CODES] = {16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15};
static const uint8_t run_bits[3] = {2, 3, 7}; /* extra bits of 16, 17, 18 */

static void add_run(head *h, uint32_t *count, int symbol, int extra) {
    h->symbol[h->nruns] = (uint8_t)symbol;
    h->extra[h->nruns++] = (uint8_t)extra;
    count[symbol]++;
}

static void make_head(head *h, const code *lit, const code *dist) {
    uint8_t all[LIT_CODES + DIST_CODES];
    uint32_t count[LENGTH_CODES] = {0};
    memset(h, 0, sizeof *h);
    h->nlit = LIT_CODES;
    h->ndist = DIST_CODES;
    while (h->nlit > 257 && lit->length[h->nlit - 1] == 0) h->nlit--;
    while (h->ndist > 1 && dist->length[h->ndist - 1] == 0) h->ndist--;
    memcpy(all, lit->length, (size_t)h->nlit);
    memcpy(all + h->nlit, dist->length, (size_t)h->ndist);
    int n = h->nlit + h->ndist;
    for (int i = 0; i < n;) {
        int run = 1, v = all[i];
        while (i + run < n && all[i + run] == v) run++;
        i += run;
        if (v != 0) {
            add_run(h, count, v, 0);
            run--;
        }
        while (run >= 3) {
            int most = v ? 6 : run >= 11 ? 138 : 10, part = run < most ? run : most;
            int symbol = v ? 16 : part >= 11 ? 18 : 17;
            add_run(h, count, symbol, part - (symbol == 18 ? 11 : 3));
            run -= part;
        }
        while (run-- > 0) add_run(h, count, v, 0);
    }
    huffman_lengths(count, LENGTH_CODES, 7, h->lengths.length);
    canonical(&h->lengths, LENGTH_CODES);
    h->ncode = LENGTH_CODES;
    while (h->ncode > 4 && h->lengths.length[code_order[h->ncode - 1]] == 0) h->ncode--;
    h->bits = 14 + 3 * (uint64_t)h->ncode;
    for (int i = 0; i < h->nruns; i++) {
        int s = h->symbol[i];
        h->bits += (uint64_t)(h->lengths.length[s] + (s >= 16 ? run_bits[s - 16] : 0));
    }
}

static void put_head(packer *k, const head *h) {
    put(k, (uint32_t)(h->nlit - 257), 5);
    put(k, (uint32_t)(h->ndist - 1), 5);
    put(k, (uint32_t)(h->ncode - 4), 4);
    for (int i = 0; i < h->ncode; i++) put(k, h->lengths.length[code_order[i]], 3);
    for (int i = 0; i < h->nruns; i++) {
        int s = h->symbol[i];
        put(k, h->lengths.bits[s], h->lengths.length[s]);
        if (s >= 16) put(k, h->extra[i], run_bits[s - 16]);
    }
}

static void put_stored(packer *k, const uint8_t *p, uint64_t n, bool last) {
    do {
        uint64_t part = n < 65535 ? n : 65535;
        put(k, last && part == n, 3); /* type 0 */
        flush_bits(k);
        gy_put_le16(k->out + k->size, (uint16_t)part);
        gy_put_le16(k->out + k->size + 2, (uint16_t)~part);
        memcpy(k->out + k->size + 4, p, (size_t)part);
        k->size += 4 + part;
        p += part;
        n -= part;
    } while (n > 0);
}

/* Writes the tokens gathered since block_start up to input byte `end`. */
static void end_block(packer *k, uint64_t end, bool last) {
    code fixed_lit = {0}, fixed_dist = {0}, lit = {0}, dist = {0};
    head h;
    k->lit_count[256] = 1;
    huffman_lengths(k->lit_count, LIT_CODES, 15, lit.length);
    huffman_lengths(k->dist_count, DIST_CODES, 15, dist.length);
    canonical(&lit, LIT_CODES);
    canonical(&dist, DIST_CODES);
    make_head(&h, &lit, &dist);
    fixed_codes(&fixed_lit, &fixed_dist);
    uint64_t n = end - k->block_start;
    uint64_t dynamic = h.bits + cost(k, &lit, &dist), fixed = cost(k, &fixed_lit, &fixed_dist);
    uint64_t stored = 8 * n + 40 * (n / 65535 + 1);
    if (stored < dynamic && stored < fixed) {
        put_stored(k, k->in + k->block_start, n, last);
    } else if (fixed <= dynamic) {
        put(k, (uint32_t)last | 1u << 1, 3);
        put_tokens(k, &fixed_lit, &fixed_dist);
    } else {
        put(k, (uint32_t)last | 2u << 1, 3);
        put_head(k, &h);
        put_tokens(k, &lit, &dist);
    }
    k->block_start = end;
    k->ntokens = 0;
    memset(k->lit_count, 0, sizeof k->lit_count);
    memset(k->dist_count, 0, sizeof k->dist_count);
}

/* `at` is the input byte behind the token. */
static inline void add_token(packer *k, uint32_t distance, uint32_t value, uint64_t at) {
    int extra_bits;
    uint32_t extra;
    k->tokens[k->ntokens++] = distance << 16 | value;
    if (distance) {
        k->lit_count[length_symbol((int)value, &extra_bits, &extra)]++;
        k->dist_count[distance_symbol(distance, &extra_bits, &extra)]++;
    } else
        k->lit_count[value]++;
    if (k->ntokens == TOKENS && at < k->n) end_block(k, at, false);
}

/* ---- matching ---- */

static inline uint32_t hash3(const uint8_t *p) {
    return (((uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16) * 0x9E3779B1u) >> (32 - HASH_BITS);
}

static inline void insert(packer *k, uint64_t at) {
    if (at + MIN_MATCH > k->n) return;
    uint32_t *head_of = &k->head[hash3(k->in + at)];
    k->prev[at % WINDOW] = *head_of;
    *head_of = (uint32_t)at;
}

static inline int same_bytes(const uint8_t *a, const uint8_t *b, int most) {
    int n = 0;
    for (; n + 8 <= most; n += 8) {
        uint64_t x = gy_le64(a + n) ^ gy_le64(b + n);
        if (x == 0) continue;
        while (!(x & 0xff)) {
            x >>= 8;
            n++;
        }
        return n;
    }
    while (n < most && a[n] == b[n]) n++;
    return n;
}

/* The longest earlier copy of what begins at `at`, longer than `best`; 0 if there is none. Positions are
 * kept modulo 2^32; a stale one is at worst a candidate whose bytes are compared like any other's. */
static int find(const packer *k, uint64_t at, int best, uint32_t *distance) {
    if (at + MIN_MATCH > k->n) return 0;
    int most = k->n - at < MAX_MATCH ? (int)(k->n - at) : MAX_MATCH;
    if (best >= most) return 0;
    int chain = best >= k->effort.good ? k->effort.chain / 4 : k->effort.chain;
    int found = 0;
    const uint8_t *p = k->in + at;
    uint32_t candidate = k->head[hash3(p)], before = 0;
    for (; chain > 0; chain--) {
        uint32_t d = (uint32_t)at - candidate;
        /* distances grow along a chain; anything else is an entry overwritten since */
        if (d <= before || d > WINDOW || d > at) break;
        before = d;
        const uint8_t *q = p - d;
        if (q[best] == p[best] && q[0] == p[0]) {
            int n = same_bytes(p, q, most);
            if (n > best && !(n == MIN_MATCH && d > TOO_FAR)) {
                best = found = n;
                *distance = d;
                if (n >= k->effort.nice || n == most) break;
            }
        }
        candidate = k->prev[candidate % WINDOW];
    }
    return found;
}

static void compress(packer *k) {
    uint64_t at = 0;
    int held = 0; /* length of a match that begins one byte back and waits for a better one */
    uint32_t held_distance = 0;
    while (at < k->n) {
        uint32_t distance = 0;
        int length = 0;
        if (held <= k->effort.lazy) length = find(k, at, held ? held : MIN_MATCH - 1, &distance);
        insert(k, at);
        if (held && length == 0) { /* the held one stands */
            uint64_t end = at - 1 + (uint64_t)held;
            for (uint64_t i = at + 1; i < end; i++) insert(k, i);
            at = end;
            add_token(k, held_distance, (uint32_t)held, at);
            held = 0;
            continue;
        }
        if (held) add_token(k, 0, k->in[at - 1], at); /* a longer one begins here */
        held = 0;
        if (length > 0) {
            held = length;
            held_distance = distance;
        } else
            add_token(k, 0, k->in[at], at + 1);
        at++;
    }
    end_block(k, k->n, true);
}

gy_status gy_deflate(gy_ctx *ctx, const void *src, uint64_t n, gy_deflate_wrap wrap, int level, uint8_t **out,
                     uint64_t *out_size) {
    *out = NULL;
    *out_size = 0;
    if (level < 0 || level > 9) return gy_fail(ctx, GY_ERR_USAGE, "deflate: level: expected 0..9, found %d", level);
    packer *k = gy_calloc(ctx, 1, sizeof *k);
    /* no block is longer than stored: five bytes for each 65,535, or for each block's 32,768 and more */
    uint8_t *buffer = k && n < UINT64_MAX / 2 ? gy_malloc(ctx, (size_t)(n + n / 2048 + 256)) : NULL;
    if (!buffer) {
        gy_free(ctx, k);
        return GY_ERR_NOMEM;
    }
    k->in = src;
    k->n = n;
    k->effort = efforts[level];
    k->out = buffer;
    if (wrap == GY_DEFLATE_ZLIB) {
        static const uint8_t zlib_head[2] = {0x78, 0x9c}; /* window 32 KiB, default level */
        memcpy(buffer, zlib_head, sizeof zlib_head);
        k->size = sizeof zlib_head;
    } else if (wrap == GY_DEFLATE_GZIP) {
        static const uint8_t gzip_head[10] = {0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255}; /* no time, unknown system */
        memcpy(buffer, gzip_head, sizeof gzip_head);
        k->size = sizeof gzip_head;
    }
    if (level == 0)
        put_stored(k, src, n, true);
    else
        compress(k);
    flush_bits(k);
    if (wrap == GY_DEFLATE_ZLIB) {
        gy_put_be32(buffer + k->size, gy_adler32(1, src, n));
        k->size += 4;
    } else if (wrap == GY_DEFLATE_GZIP) {
        gy_put_le32(buffer + k->size, gy_crc32(0, src, n));
        gy_put_le32(buffer + k->size + 4, (uint32_t)n);
        k->size += 8;
    }
    *out = buffer;
    *out_size = k->size;
    gy_free(ctx, k);
    return GY_OK;
}
