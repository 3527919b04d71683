/* DEFLATE, zlib, gzip: round trips, and every hostile stream refused by name. */
#include "build.h"

#include "core/rng.h"
#include "io/formats/deflate.h"

static gy_status inflate_all(gy_ctx *ctx, const void *d, size_t n, gy_deflate_wrap wrap, uint64_t expected, buf *out) {
    source s = source_of(ctx, d, n);
    uint8_t *p;
    uint64_t size;
    gy_status st = gy_inflate(&s.b, 0, n, wrap, expected, &p, &size);
    if (st == GY_OK && out) {
        out->n = 0;
        put(out, p, size);
    }
    gy_free(ctx, p);
    source_free(&s);
    return st;
}

static void refuses(gy_ctx *ctx, const void *d, size_t n, gy_deflate_wrap wrap, const char *message) {
    assert_message(ctx, inflate_all(ctx, d, n, wrap, UINT64_MAX, NULL), message);
    assert_non_null(strstr(gy_error(ctx), "t: byte "));
}

static buf packed(gy_ctx *ctx, const void *d, size_t n, gy_deflate_wrap wrap, int level) {
    buf b = buf_new();
    uint8_t *p;
    uint64_t size;
    assert_ok(ctx, gy_deflate(ctx, d, n, wrap, level, &p, &size));
    put(&b, p, size);
    gy_free(ctx, p);
    return b;
}

/* ---- bits of hand-made streams ---- */

typedef struct bits {
    buf b;
    unsigned acc;
    int n;
} bits;
static bits bits_new(void) {
    return (bits){buf_new(), 0, 0};
}
static void put_bits(bits *z, unsigned v, int n) { /* numbers: lowest bit first */
    for (int i = 0; i < n; i++) {
        z->acc |= (v >> i & 1) << z->n;
        if (++z->n == 8) {
            put8(&z->b, z->acc);
            z->acc = 0;
            z->n = 0;
        }
    }
}
static void put_code(bits *z, unsigned v, int n) { /* Huffman codes: highest bit first */
    for (int i = n - 1; i >= 0; i--) put_bits(z, v >> i & 1, 1);
}
static void fixed_symbol(bits *z, unsigned s) {
    if (s < 144)
        put_code(z, 0x30 + s, 8);
    else if (s < 256)
        put_code(z, 0x190 + s - 144, 9);
    else if (s < 280)
        put_code(z, s - 256, 7);
    else
        put_code(z, 0xc0 + s - 280, 8);
}
static void flush(bits *z) {
    if (z->n) put_bits(z, 0, 8 - z->n);
}
static void refuses_bits(gy_ctx *ctx, bits *z, const char *message) {
    flush(z);
    refuses(ctx, z->b.d, z->b.n, GY_DEFLATE_RAW, message);
    buf_free(&z->b);
}

/* ---- tests ---- */

static void checksums_match_the_published_values(void **state) {
    (void)state;
    assert_int_equal(gy_crc32(0, "123456789", 9), 0xcbf43926u);
    assert_int_equal(gy_adler32(1, "Wikipedia", 9), 0x11e60398u);
    uint8_t d[10000];
    for (int i = 0; i < 10000; i++) d[i] = (uint8_t)(i * 7 + i / 256);
    for (uint64_t cut = 0; cut <= 10000; cut += 777) { /* both code paths, joined anywhere, agree */
        assert_int_equal(gy_crc32(gy_crc32(0, d, cut), d + cut, 10000 - cut), gy_crc32(0, d, 10000));
        assert_int_equal(gy_adler32(gy_adler32(1, d, cut), d + cut, 10000 - cut), gy_adler32(1, d, 10000));
    }
}

static uint64_t draw(gy_rng *r) {
    uint64_t high = gy_rng_u32(r);
    return high << 32 | gy_rng_u32(r);
}

/* Kinds of content: runs, noise, text, a steep distribution (codes longer than 15 bits would be optimal). */
static size_t make_content(uint8_t *d, int kind, size_t n) {
    gy_rng r;
    gy_rng_init(&r, (uint64_t)kind, "deflate");
    static const char *const words[] = {"cortex ", "voxel ", "the ", "decoding ", "and ", "of ", "a "};
    for (size_t i = 0; i < n;) {
        uint64_t x = draw(&r);
        if (kind == 0)
            d[i++] = 0;
        else if (kind == 1)
            d[i++] = (uint8_t)x;
        else if (kind == 2)
            for (const char *w = words[x % 7]; *w && i < n;) d[i++] = (uint8_t)*w++;
        else if (kind == 3) {
            int k = 0;
            while (k < 40 && !(x >> k & 1)) k++;
            d[i++] = (uint8_t)(k * 6 + (k > 8 ? (int)(x >> 60) % 3 : 0));
        } else {
            d[i] = (uint8_t)(i / 1000 & 1 ? x : 'q');
            i++;
        }
    }
    return n;
}

static void every_level_and_wrapper_round_trips(void **state) {
    gy_ctx *ctx = *state;
    static const size_t sizes[] = {0, 1, 2, 3, 4, 257, 258, 259, 32767, 32768, 32769, 65535, 65536, 200000};
    uint8_t *d = malloc(200000);
    buf back = buf_new();
    for (int kind = 0; kind < 5; kind++)
        for (int level = 0; level <= 9; level++)
            for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
                size_t n = make_content(d, kind, sizes[i]);
                gy_deflate_wrap wrap = (gy_deflate_wrap)((i + (size_t)level) % 3);
                if (n > 70000 && level > 6 && kind == 0) continue; /* slow and no different */
                buf z = packed(ctx, d, n, wrap, level);
                assert_ok(ctx, inflate_all(ctx, z.d, z.n, wrap, n, &back));
                assert_int_equal(back.n, n);
                assert_memory_equal(back.d, d, n);
                if (level > 0 && kind == 0 && n > 1000) assert_true(z.n < n / 50);
                assert_true(z.n <= n + n / 2048 + 64);
                buf_free(&z);
            }
    buf_free(&back);
    free(d);
}

/* Matches whose lengths have Fibonacci numbers as counts: Huffman's own code would need more than 15 bits
 * for the rarest, and the lengths of its codes more than 7. */
static size_t make_steep(uint8_t *d, uint64_t seed) {
    static const int lengths[] = {4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67};
    gy_rng r;
    gy_rng_init(&r, seed, "steep");
    size_t n = 0;
    while (n < 6000) d[n++] = (uint8_t)draw(&r);
    int left[20], total = 0;
    for (int k = 19, a = 1, b = 1; k >= 0; k--) {
        left[k] = a;
        total += a;
        b += a;
        a = b - a;
    }
    for (; total > 0; total--) { /* any order, each as often as it should */
        int64_t x = gy_rng_below(&r, total);
        int k = 0;
        while (x >= left[k]) x -= left[k++];
        left[k]--;
        size_t from = (n < 30000 ? 0 : n - 30000) + draw(&r) % ((n < 30000 ? n : 30000) - 70);
        memcpy(d + n, d + from, (size_t)lengths[k]);
        n += (size_t)lengths[k];
    }
    return n;
}

static void codes_are_cut_to_15_and_7_bits(void **state) {
    gy_ctx *ctx = *state;
    uint8_t *d = malloc(BUF);
    buf back = buf_new();
    for (uint64_t seed = 0; seed < 20; seed++) {
        size_t n = make_steep(d, seed);
        buf z = packed(ctx, d, n, GY_DEFLATE_ZLIB, 6);
        assert_ok(ctx, inflate_all(ctx, z.d, z.n, GY_DEFLATE_ZLIB, n, &back));
        assert_memory_equal(back.d, d, n);
        buf_free(&z);
    }
    buf_free(&back);
    free(d);
}

static void stored_blocks_stop_at_the_expected_size_too(void **state) {
    gy_ctx *ctx = *state;
    uint8_t d[2000], *p;
    uint64_t n;
    make_content(d, 1, sizeof d);
    buf z = packed(ctx, d, sizeof d, GY_DEFLATE_RAW, 0);
    assert_message(ctx, inflate_all(ctx, z.d, z.n, GY_DEFLATE_RAW, 100, NULL), "expected 100 bytes, found more");
    assert_message(ctx, inflate_all(ctx, z.d, z.n, GY_DEFLATE_RAW, 1999, NULL), "expected 1999 bytes, found more");
    source s = source_of(ctx, z.d, z.n);
    for (uint64_t most = 0; most < 2100; most += 100) {
        assert_ok(ctx, gy_inflate_prefix(&s.b, 0, z.n, GY_DEFLATE_RAW, most, &p, &n));
        assert_int_equal(n, most < 2000 ? most : 2000);
        assert_memory_equal(p, d, n);
        gy_free(ctx, p);
    }
    source_free(&s);
    buf_free(&z);
}

static void the_same_input_gives_the_same_bytes(void **state) {
    gy_ctx *ctx = *state;
    uint8_t d[5000];
    make_content(d, 2, sizeof d);
    buf a = packed(ctx, d, sizeof d, GY_DEFLATE_GZIP, 6), b = packed(ctx, d, sizeof d, GY_DEFLATE_GZIP, 6);
    assert_int_equal(a.n, b.n);
    assert_memory_equal(a.d, b.d, a.n);
    assert_memory_equal(a.d, "\x1f\x8b\x08\0\0\0\0\0\0\xff", 10);
    buf_free(&a);
    buf_free(&b);
}

static void gz01_members_and_zero_padding_are_read(void **state) {
    gy_ctx *ctx = *state;
    buf a = packed(ctx, "first ", 6, GY_DEFLATE_GZIP, 6), b = packed(ctx, "second", 6, GY_DEFLATE_GZIP, 0),
        out = buf_new();
    put(&a, b.d, b.n);
    for (int i = 0; i < 100; i++) put8(&a, 0);
    assert_ok(ctx, inflate_all(ctx, a.d, a.n, GY_DEFLATE_GZIP, UINT64_MAX, &out));
    assert_int_equal(out.n, 12);
    assert_memory_equal(out.d, "first second", 12);
    buf_free(&a);
    buf_free(&b);
    buf_free(&out);
}

static void gz02_garbage_after_the_last_member_is_counted(void **state) {
    gy_ctx *ctx = *state;
    buf a = packed(ctx, "data", 4, GY_DEFLATE_GZIP, 6);
    put_s(&a, "garbage");
    refuses(ctx, a.d, a.n, GY_DEFLATE_GZIP, "7 bytes of garbage after the compressed data");
    a.n -= 7;
    put(&a, "\0\0\0x", 4);
    refuses(ctx, a.d, a.n, GY_DEFLATE_GZIP, "4 bytes of garbage");
    buf_free(&a);
}

static void gz03_a_cut_at_any_byte_is_refused(void **state) {
    gy_ctx *ctx = *state;
    uint8_t d[3000];
    for (int kind = 1; kind < 3; kind++) {
        make_content(d, kind, sizeof d);
        buf a = packed(ctx, d, sizeof d, GY_DEFLATE_GZIP, 6);
        for (size_t n = 0; n < a.n; n++)
            assert_true(inflate_all(ctx, a.d, n, GY_DEFLATE_GZIP, UINT64_MAX, NULL) == GY_ERR_FORMAT);
        refuses(ctx, a.d, 5, GY_DEFLATE_GZIP, "the data ends inside the gzip header");
        refuses(ctx, a.d, 200, GY_DEFLATE_GZIP, "the compressed data ends too early");
        refuses(ctx, a.d, a.n - 3, GY_DEFLATE_GZIP, "the data ends inside the gzip trailer");
        buf_free(&a);
    }
}

static void gz03_wrong_checksum_and_size_are_refused(void **state) {
    gy_ctx *ctx = *state;
    buf a = packed(ctx, "payload", 7, GY_DEFLATE_GZIP, 6);
    a.d[a.n - 1] ^= 0x40; /* ISIZE says 1 GiB more: nothing is allocated for it */
    size_t peak = gy_mem_peak(ctx);
    refuses(ctx, a.d, a.n, GY_DEFLATE_GZIP, "gzip size: expected 1073741831 bytes, found 7");
    assert_true(gy_mem_peak(ctx) < peak + 100000);
    a.d[a.n - 1] ^= 0x40;
    a.d[a.n - 5] ^= 1;
    refuses(ctx, a.d, a.n, GY_DEFLATE_GZIP, "gzip CRC-32: expected");
    buf_free(&a);
}

static void gz04_bad_headers_are_refused(void **state) {
    gy_ctx *ctx = *state;
    static const uint8_t extra[] = {0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 255, 0xff, 0xff, 1, 2};
    static const uint8_t name[] = {0x1f, 0x8b, 8, 8, 0, 0, 0, 0, 0, 255, 'a', 'b'};
    static const uint8_t comment[] = {0x1f, 0x8b, 8, 16, 0, 0, 0, 0, 0, 255, 'a', 'b'};
    static const uint8_t hcrc[] = {0x1f, 0x8b, 8, 2, 0, 0, 0, 0, 0, 255, 1, 2};
    static const uint8_t reserved[] = {0x1f, 0x8b, 8, 0x20, 0, 0, 0, 0, 0, 255};
    static const uint8_t method[] = {0x1f, 0x8b, 7, 0, 0, 0, 0, 0, 0, 255};
    refuses(ctx, extra, sizeof extra, GY_DEFLATE_GZIP, "the data ends inside the gzip extra field");
    refuses(ctx, name, sizeof name, GY_DEFLATE_GZIP, "the data ends inside the gzip file name");
    refuses(ctx, comment, sizeof comment, GY_DEFLATE_GZIP, "the data ends inside the gzip comment");
    refuses(ctx, hcrc, sizeof hcrc, GY_DEFLATE_GZIP, "gzip header CRC: expected 0201");
    refuses(ctx, reserved, sizeof reserved, GY_DEFLATE_GZIP, "reserved flags 0x20");
    refuses(ctx, method, sizeof method, GY_DEFLATE_GZIP, "gzip method: expected 8, found 7");
    refuses(ctx, "not gzip at all", 15, GY_DEFLATE_GZIP, "expected gzip (1f 8b), found 6e 6f");
}

static void all_optional_header_fields_are_skipped(void **state) {
    gy_ctx *ctx = *state;
    buf a = buf_new(), raw = packed(ctx, "hello", 5, GY_DEFLATE_RAW, 6), out = buf_new();
    put(&a, "\x1f\x8b\x08\x1e\0\0\0\0\0\xff\x03\0xyzname\0note\0", 25);
    put16(&a, gy_crc32(0, a.d, a.n) & 0xffff);
    put(&a, raw.d, raw.n);
    put32(&a, gy_crc32(0, "hello", 5));
    put32(&a, 5);
    assert_ok(ctx, inflate_all(ctx, a.d, a.n, GY_DEFLATE_GZIP, 5, &out));
    assert_memory_equal(out.d, "hello", 5);
    buf_free(&a);
    buf_free(&raw);
    buf_free(&out);
}

static void gz05_a_bomb_stops_at_the_expected_size(void **state) {
    gy_ctx *ctx = *state;
    size_t n = 10 * 1000 * 1000;
    uint8_t *zeros = calloc(1, n), *p;
    uint64_t size;
    assert_ok(ctx, gy_deflate(ctx, zeros, n, GY_DEFLATE_GZIP, 6, &p, &size));
    size_t before = gy_mem_live(ctx);
    gy_ctx *small = gy_ctx_new((gy_ctx_args){.threads = 1}); /* its peak is this reading alone */
    assert_message(small, inflate_all(small, p, size, GY_DEFLATE_GZIP, 1024, NULL), "expected 1024 bytes, found more");
    assert_true(gy_mem_peak(small) < 64 * 1024 + 2 * size);
    gy_ctx_free(small);
    assert_message(ctx, inflate_all(ctx, p, size, GY_DEFLATE_GZIP, n + 1, NULL),
                   "expected 10000001 bytes, found 10000000");
    assert_message(ctx, inflate_all(ctx, p, size, GY_DEFLATE_GZIP, n - 1, NULL), "expected 9999999 bytes, found more");
    assert_int_equal(gy_mem_live(ctx), before);

    source s = source_of(ctx, p, size);
    uint8_t *head;
    uint64_t got;
    assert_ok(ctx, gy_inflate_prefix(&s.b, 0, size, GY_DEFLATE_GZIP, 352, &head, &got));
    assert_int_equal(got, 352);
    gy_free(ctx, head);
    s.b.limits.v[GY_LIMIT_INFLATE_RATIO] = 10;
    assert_message(ctx, gy_inflate(&s.b, 0, size, GY_DEFLATE_GZIP, UINT64_MAX, &head, &got),
                   "--limit inflate-ratio=N raises it");
    source_free(&s);
    gy_free(ctx, p);
    free(zeros);
}

static void dynamic_head(bits *z, unsigned hlit, unsigned hdist, unsigned ncode) {
    put_bits(z, 1, 1);
    put_bits(z, 2, 2);
    put_bits(z, hlit, 5);
    put_bits(z, hdist, 5);
    put_bits(z, ncode - 4, 4);
}

static void gz06_bad_code_lengths_are_refused(void **state) {
    gy_ctx *ctx = *state;
    bits z = bits_new();
    dynamic_head(&z, 0, 0, 19);
    for (int i = 0; i < 19; i++) put_bits(&z, 1, 3);
    put_bits(&z, 0, 32);
    refuses_bits(ctx, &z, "the code of the code lengths is over-subscribed or incomplete");

    z = bits_new();
    dynamic_head(&z, 0, 0, 4);
    put_bits(&z, 2, 3);
    put_bits(&z, 0, 32);
    refuses_bits(ctx, &z, "the code of the code lengths is over-subscribed or incomplete");

    z = bits_new();
    dynamic_head(&z, 30, 0, 4);
    put_bits(&z, 0, 32);
    refuses_bits(ctx, &z, "more than 286 literal and length codes");

    z = bits_new();
    dynamic_head(&z, 0, 30, 4);
    put_bits(&z, 0, 32);
    refuses_bits(ctx, &z, "more than 30 distance codes");

    z = bits_new(); /* codes: 0 -> '0', 16 -> '1' */
    dynamic_head(&z, 0, 0, 4);
    put_bits(&z, 1, 3);
    put_bits(&z, 0, 6);
    put_bits(&z, 1, 3);
    put_code(&z, 1, 1);
    put_bits(&z, 0, 32);
    refuses_bits(ctx, &z, "code lengths begin with a repetition");
}

/* Code lengths through a code with the symbols 1 ('0') and 18 ('1'). */
static bits ones_and_zeros(void) {
    bits z = bits_new();
    dynamic_head(&z, 0, 0, 18);
    for (int i = 0; i < 18; i++) put_bits(&z, i == 2 || i == 17 ? 1 : 0, 3);
    return z;
}
static void zeros(bits *z, unsigned n) {
    put_code(z, 1, 1);
    put_bits(z, n - 11, 7);
}

static void gz06_bad_codes_are_refused(void **state) {
    gy_ctx *ctx = *state;
    bits z = ones_and_zeros(); /* two literals, no end of block */
    put_code(&z, 0, 1);
    put_code(&z, 0, 1);
    zeros(&z, 138);
    zeros(&z, 117);
    put_code(&z, 0, 1);
    put_bits(&z, 0, 32);
    refuses_bits(ctx, &z, "no code for the end of the block");

    z = ones_and_zeros(); /* three codes of one bit */
    put_code(&z, 0, 1);
    put_code(&z, 0, 1);
    zeros(&z, 138);
    zeros(&z, 116);
    put_code(&z, 0, 1);
    put_code(&z, 0, 1);
    put_bits(&z, 0, 32);
    refuses_bits(ctx, &z, "the literal and length code is over-subscribed or incomplete");

    z = ones_and_zeros(); /* goes past the number of lengths */
    zeros(&z, 138);
    zeros(&z, 138);
    put_bits(&z, 0, 32);
    refuses_bits(ctx, &z, "a repetition of code lengths goes past their number");

    for (unsigned s = 286; s < 288; s++) {
        z = bits_new();
        put_bits(&z, 1, 1);
        put_bits(&z, 1, 2);
        fixed_symbol(&z, s);
        put_bits(&z, 0, 32);
        refuses_bits(ctx, &z, "a literal or length code that has no meaning");
    }
    for (unsigned s = 30; s < 32; s++) {
        z = bits_new();
        put_bits(&z, 1, 1);
        put_bits(&z, 1, 2);
        fixed_symbol(&z, 'a');
        fixed_symbol(&z, 257);
        put_code(&z, s, 5);
        put_bits(&z, 0, 32);
        refuses_bits(ctx, &z, "a distance code that has no meaning");
    }
    z = bits_new();
    put_bits(&z, 7, 3);
    refuses_bits(ctx, &z, "block type 3");
}

static void gz07_distances_stay_inside(void **state) {
    gy_ctx *ctx = *state;
    bits z = bits_new();
    put_bits(&z, 1, 1);
    put_bits(&z, 1, 2);
    fixed_symbol(&z, 'a');
    fixed_symbol(&z, 257);
    put_code(&z, 1, 5); /* distance 2 */
    fixed_symbol(&z, 256);
    put_bits(&z, 0, 32);
    refuses_bits(ctx, &z, "a distance that reaches before the start");

    z = bits_new(); /* zlib with a window of 256 */
    put_bits(&z, 0x08, 8);
    put_bits(&z, 29, 8); /* makes 0x081d a multiple of 31 */
    put_bits(&z, 1, 1);
    put_bits(&z, 1, 2);
    for (int i = 0; i < 300; i++) fixed_symbol(&z, 'a');
    fixed_symbol(&z, 257);
    put_code(&z, 16, 5);
    put_bits(&z, 300 - 257, 7);
    flush(&z);
    refuses(ctx, z.b.d, z.b.n, GY_DEFLATE_ZLIB, "a distance beyond the window");
    buf_free(&z.b);

    z = bits_new();
    put_bits(&z, 1, 1);
    put_bits(&z, 1, 2);
    fixed_symbol(&z, 'x');
    fixed_symbol(&z, 285);
    put_code(&z, 0, 5);
    fixed_symbol(&z, 256);
    flush(&z);
    buf out = buf_new();
    assert_ok(ctx, inflate_all(ctx, z.b.d, z.b.n, GY_DEFLATE_RAW, 259, &out));
    for (size_t i = 0; i < 259; i++) assert_int_equal(out.d[i], 'x');
    buf_free(&z.b);
    buf_free(&out);

    buf a = packed(ctx, "aaaa", 4, GY_DEFLATE_GZIP, 6), b = buf_new(); /* the second member must not see the first */
    bits m = bits_new();
    put_bits(&m, 1, 1);
    put_bits(&m, 1, 2);
    fixed_symbol(&m, 257);
    put_code(&m, 0, 5);
    put_bits(&m, 0, 32);
    flush(&m);
    put(&b, a.d, a.n);
    put(&b, "\x1f\x8b\x08\0\0\0\0\0\0\xff", 10);
    put(&b, m.b.d, m.b.n);
    refuses(ctx, b.d, b.n, GY_DEFLATE_GZIP, "a distance that reaches before the start");
    buf_free(&a);
    buf_free(&b);
    buf_free(&m.b);
}

static void gz08_stored_blocks_and_wrappers(void **state) {
    gy_ctx *ctx = *state;
    static const uint8_t lying[] = {1, 5, 0, 0xfa, 0xfe, 'h', 'e', 'l', 'l', 'o'};
    refuses(ctx, lying, sizeof lying, GY_DEFLATE_RAW, "a stored block whose length and its complement differ");
    size_t n = 5 * 1000 * 1000;
    uint8_t *many = calloc(1, n); /* a million empty stored blocks, the last one marked */
    for (size_t i = 0; i < n; i += 5) many[i + 3] = many[i + 4] = 0xff;
    many[n - 5] = 1;
    buf out = buf_new();
    assert_ok(ctx, inflate_all(ctx, many, n, GY_DEFLATE_RAW, 0, &out));
    free(many);
    bits z = bits_new(); /* and 300,000 empty fixed ones */
    for (int i = 0; i < 300000; i++) {
        put_bits(&z, i == 299999, 1);
        put_bits(&z, 1, 2);
        fixed_symbol(&z, 256);
    }
    flush(&z);
    assert_ok(ctx, inflate_all(ctx, z.b.d, z.b.n, GY_DEFLATE_RAW, 0, &out));
    buf_free(&z.b);
    buf_free(&out);

    buf a = packed(ctx, "zlib", 4, GY_DEFLATE_ZLIB, 6);
    a.d[a.n - 1] ^= 1;
    refuses(ctx, a.d, a.n, GY_DEFLATE_ZLIB, "Adler-32: expected");
    refuses(ctx, a.d, a.n - 2, GY_DEFLATE_ZLIB, "the data ends inside the Adler-32");
    a.d[1] = 0x20 | (31 - (0x7820 % 31));
    refuses(ctx, a.d, a.n, GY_DEFLATE_ZLIB, "a preset dictionary");
    a.d[0] = 0x77;
    refuses(ctx, a.d, a.n, GY_DEFLATE_ZLIB, "expected a zlib header");
    buf_free(&a);
}

/* Damage anywhere ends in an answer or a refusal, never in a crash (sanitizers watch). */
static void random_damage_never_crashes(void **state) {
    gy_ctx *ctx = *state;
    gy_rng r;
    gy_rng_init(&r, 11, "damage");
    uint8_t d[2000];
    for (int round = 0; round < 4000; round++) {
        make_content(d, round % 5, sizeof d);
        uint8_t *p;
        uint64_t n, out_n;
        assert_ok(ctx, gy_deflate(ctx, d, sizeof d, GY_DEFLATE_RAW, 1 + round % 9, &p, &n));
        for (int k = 0; k < 3; k++) p[draw(&r) % n] ^= (uint8_t)(1u << draw(&r) % 8);
        source s = source_of(ctx, p, n);
        uint8_t *out;
        if (gy_inflate(&s.b, 0, n, GY_DEFLATE_RAW, round % 2 ? 2000 : UINT64_MAX, &out, &out_n) == GY_OK)
            gy_free(ctx, out);
        source_free(&s);
        gy_free(ctx, p);
    }
}

static gy_status both_ways(gy_ctx *ctx, void *arg) {
    uint8_t *p = NULL, *q = NULL;
    uint64_t n, m;
    gy_bytes b = {0};
    gy_status s = gy_deflate(ctx, arg, 30000, GY_DEFLATE_ZLIB, 6, &p, &n);
    if (s == GY_OK) s = gy_bytes_from_memory(ctx, "t", p, n, NULL, &b);
    if (s == GY_OK) s = gy_inflate(&b, 0, n, GY_DEFLATE_ZLIB, UINT64_MAX, &q, &m);
    gy_bytes_close(&b);
    gy_free(ctx, p);
    gy_free(ctx, q);
    return s;
}

static void no_memory_is_reported(void **state) {
    uint8_t *d = calloc(1, 30000);
    survive_no_memory(*state, both_ways, d);
    free(d);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(checksums_match_the_published_values),
        TEST(every_level_and_wrapper_round_trips),
        TEST(codes_are_cut_to_15_and_7_bits),
        TEST(stored_blocks_stop_at_the_expected_size_too),
        TEST(the_same_input_gives_the_same_bytes),
        TEST(gz01_members_and_zero_padding_are_read),
        TEST(gz02_garbage_after_the_last_member_is_counted),
        TEST(gz03_a_cut_at_any_byte_is_refused),
        TEST(gz03_wrong_checksum_and_size_are_refused),
        TEST(gz04_bad_headers_are_refused),
        TEST(all_optional_header_fields_are_skipped),
        TEST(gz05_a_bomb_stops_at_the_expected_size),
        TEST(gz06_bad_code_lengths_are_refused),
        TEST(gz06_bad_codes_are_refused),
        TEST(gz07_distances_stay_inside),
        TEST(gz08_stored_blocks_and_wrappers),
        TEST(random_damage_never_crashes),
        TEST(no_memory_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
