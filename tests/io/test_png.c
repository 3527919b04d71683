/* PNG: legal pictures of every kind, and the hostile cases PNG-01 ... PNG-07, built chunk by chunk. */
#include "../harness/harness.h"

#include "io/files.h"
#include "io/formats/deflate.h"
#include "io/formats/png.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* ---- building pictures ------------------------------------------------------------------------- */

typedef struct file {
    uint8_t b[16384];
    size_t n;
} file;

static char warned[512];

static void remember(void *user, const char *text) {
    (void)user;
    snprintf(warned, sizeof warned, "%s", text);
}

static void start(file *f) {
    memcpy(f->b, "\x89PNG\r\n\x1a\n", 8);
    f->n = 8;
}

static void chunk(file *f, const char *type, const void *data, size_t n) {
    uint8_t *p = f->b + f->n;
    gy_put_be32(p, (uint32_t)n);
    memcpy(p + 4, type, 4);
    if (n) memcpy(p + 8, data, n);
    gy_put_be32(p + 8 + n, gy_crc32(0, p + 4, n + 4));
    f->n += 12 + n;
}

static void ihdr(file *f, uint32_t width, uint32_t height, int depth, int colour, int interlaced) {
    uint8_t d[13] = {0};
    gy_put_be32(d, width);
    gy_put_be32(d + 4, height);
    d[8] = (uint8_t)depth;
    d[9] = (uint8_t)colour;
    d[12] = (uint8_t)interlaced;
    chunk(f, "IHDR", d, 13);
}

/* rows: with their filter bytes */
static void idat(gy_ctx *ctx, file *f, const void *rows, size_t n) {
    uint8_t *packed;
    uint64_t size;
    assert_ok(ctx, gy_deflate(ctx, rows, n, GY_DEFLATE_ZLIB, 6, &packed, &size));
    chunk(f, "IDAT", packed, (size_t)size);
    gy_free(ctx, packed);
}

static gy_status parse(gy_ctx *ctx, const file *f, gy_image *img) {
    gy_bytes src;
    warned[0] = 0;
    gy_set_warn_handler(ctx, remember, NULL);
    /* a copy of exactly the file's size, so that the sanitizer sees a step beyond it */
    uint8_t *copy = malloc(f->n ? f->n : 1);
    assert_non_null(copy);
    memcpy(copy, f->b, f->n);
    assert_ok(ctx, gy_bytes_from_memory(ctx, "p.png", copy, f->n, NULL, &src));
    gy_status s = gy_png_parse(&src, img);
    gy_bytes_close(&src);
    free(copy);
    return s;
}

static void assert_refused(gy_ctx *ctx, const file *f, const char *message) {
    gy_image img;
    gy_status s = parse(ctx, f, &img);
    if (s == GY_OK) gy_image_free(ctx, &img);
    assert_message(ctx, s, message);
    assert_null(img.pixels);
}

static void assert_pixels(gy_ctx *ctx, const file *f, int64_t channels, const void *expected, size_t n) {
    gy_image img;
    assert_ok(ctx, parse(ctx, f, &img));
    assert_int_equal(img.channels, channels);
    assert_int_equal(img.width * img.height * channels * (img.bit_depth / 8), n);
    assert_memory_equal(img.pixels, expected, n);
    gy_image_free(ctx, &img);
}

/* 2 x 2 grey: 1 2 / 3 4 */
static file grey(gy_ctx *ctx) {
    file f;
    start(&f);
    ihdr(&f, 2, 2, 8, 0, 0);
    idat(ctx, &f, "\0\1\2\0\3\4", 6);
    chunk(&f, "IEND", NULL, 0);
    return f;
}

/* ---- legal pictures ---------------------------------------------------------------------------- */

static void every_filter_is_undone(void **state) {
    gy_ctx *ctx = *state;
    /* 3 pixels a row: 10 20 30, each row equal, by filters 0, 1, 2, 3, 4 */
    static const uint8_t rows[] = {0, 10, 20, 30, 1, 10, 10, 10, 2, 0, 0, 0, 3, 5, 5, 5, 4, 0, 0, 0};
    uint8_t expected[15];
    for (size_t i = 0; i < 15; i++) expected[i] = (uint8_t)(10 + 10 * (i % 3));
    file f;
    start(&f);
    ihdr(&f, 3, 5, 8, 0, 0);
    idat(ctx, &f, rows, sizeof rows);
    chunk(&f, "IEND", NULL, 0);
    assert_pixels(ctx, &f, 1, expected, 15);
    static const uint8_t first[5][4] = {
        {0, 10, 20, 30}, {1, 10, 10, 10}, {2, 10, 20, 30}, {3, 10, 15, 20}, {4, 10, 10, 10}};
    for (int k = 0; k < 5; k++) { /* in the first row, above is 0 */
        start(&f);
        ihdr(&f, 3, 1, 8, 0, 0);
        idat(ctx, &f, first[k], 4);
        chunk(&f, "IEND", NULL, 0);
        assert_pixels(ctx, &f, 1, expected, 3);
    }
}

static void low_depths_palettes_and_transparency_are_expanded(void **state) {
    gy_ctx *ctx = *state;
    file f;
    start(&f);
    ihdr(&f, 3, 1, 2, 0, 0); /* grey 0 2 3 of 2 bits */
    idat(ctx, &f, "\0\x2c", 2);
    chunk(&f, "IEND", NULL, 0);
    assert_pixels(ctx, &f, 1, "\x00\xaa\xff", 3);
    start(&f);
    ihdr(&f, 3, 1, 1, 0, 0); /* grey 1 0 1 of 1 bit, 1 is transparent */
    chunk(&f, "tRNS", "\0\1", 2);
    idat(ctx, &f, "\0\xa0", 2);
    chunk(&f, "IEND", NULL, 0);
    assert_pixels(ctx, &f, 2, "\xff\x00\x00\xff\xff\x00", 6);
    start(&f);
    ihdr(&f, 3, 1, 4, 3, 0); /* palette 1 0 1 */
    chunk(&f, "PLTE", "abcdef", 6);
    idat(ctx, &f, "\0\x10\x10", 3);
    chunk(&f, "IEND", NULL, 0);
    assert_pixels(ctx, &f, 3, "defabcdef", 9);
    start(&f);
    ihdr(&f, 3, 1, 4, 3, 0);
    chunk(&f, "PLTE", "abcdef", 6);
    chunk(&f, "tRNS", "x", 1);
    idat(ctx, &f, "\0\x10\x10", 3);
    chunk(&f, "IEND", NULL, 0);
    assert_pixels(ctx, &f, 4,
                  "def\xff"
                  "abcxdef\xff",
                  12);
    start(&f);
    ihdr(&f, 2, 1, 16, 2, 0); /* 16-bit RGB, the first colour is transparent */
    chunk(&f, "tRNS", "\0\1\0\2\0\3", 6);
    idat(ctx, &f, "\0\0\1\0\2\0\3\1\1\0\2\0\3", 13);
    chunk(&f, "IEND", NULL, 0);
    assert_pixels(ctx, &f, 4, (uint16_t[]){1, 2, 3, 0, 257, 2, 3, 65535}, 16);
}

static void adam7_is_resolved_down_to_one_pixel(void **state) { /* PNG-05 */
    gy_ctx *ctx = *state;
    file f;
    start(&f);
    ihdr(&f, 1, 1, 8, 0, 1);
    idat(ctx, &f, "\0\7", 2);
    chunk(&f, "IEND", NULL, 0);
    assert_pixels(ctx, &f, 1, "\7", 1);
    start(&f);
    ihdr(&f, 1, 7, 8, 0, 1); /* column: passes 1 (row 0), 3 (row 4), 5 (rows 2, 6), 7 (rows 1, 3, 5) */
    idat(ctx, &f, "\0\1\0\5\0\3\0\7\0\2\0\4\0\6", 14);
    chunk(&f, "IEND", NULL, 0);
    assert_pixels(ctx, &f, 1, "\1\2\3\4\5\6\7", 7);
    start(&f);
    ihdr(&f, 7, 1, 8, 0, 1); /* row: passes 1 (x 0), 2 (4), 4 (2, 6), 6 (1, 3, 5) */
    idat(ctx, &f, "\0\1\0\5\0\3\7\0\2\4\6", 11);
    chunk(&f, "IEND", NULL, 0);
    assert_pixels(ctx, &f, 1, "\1\2\3\4\5\6\7", 7);
    uint8_t rows[8 * 8 + 15], expected[64]; /* 8 x 8: every pass, each pixel its own number */
    static const int passes[7][4] = {{0, 0, 8, 8}, {4, 0, 8, 8}, {0, 4, 4, 8}, {2, 0, 4, 4},
                                     {0, 2, 2, 4}, {1, 0, 2, 2}, {0, 1, 1, 2}};
    size_t n = 0;
    for (int p = 0; p < 7; p++)
        for (int y = passes[p][1]; y < 8; y += passes[p][3]) {
            rows[n++] = 0;
            for (int x = passes[p][0]; x < 8; x += passes[p][2]) rows[n++] = (uint8_t)(8 * y + x);
        }
    for (int i = 0; i < 64; i++) expected[i] = (uint8_t)i;
    assert_int_equal(n, sizeof rows);
    start(&f);
    ihdr(&f, 8, 8, 8, 0, 1);
    idat(ctx, &f, rows, n);
    chunk(&f, "IEND", NULL, 0);
    assert_pixels(ctx, &f, 1, expected, 64);
}

static void the_picture_may_lie_in_many_idat_chunks(void **state) {
    gy_ctx *ctx = *state;
    file f;
    uint8_t *packed;
    uint64_t size;
    assert_ok(ctx, gy_deflate(ctx, "\0\1\2\0\3\4", 6, GY_DEFLATE_ZLIB, 6, &packed, &size));
    start(&f);
    ihdr(&f, 2, 2, 8, 0, 0);
    chunk(&f, "IDAT", NULL, 0);
    for (uint64_t i = 0; i < size; i++) chunk(&f, "IDAT", packed + i, 1);
    gy_free(ctx, packed);
    chunk(&f, "IEND", NULL, 0);
    assert_pixels(ctx, &f, 1, "\1\2\3\4", 4);
}

/* ---- hostile pictures -------------------------------------------------------------------------- */

static void impossible_headers_are_refused(void **state) { /* PNG-01, PNG-04 */
    gy_ctx *ctx = *state;
    file f;
    static const struct {
        uint32_t width, height;
        const char *message;
    } sizes[] = {{0, 1, "byte 8: IHDR: expected width and height from 1 to 2147483647, found 0 x 1"},
                 {1, 0, "found 1 x 0"},
                 {0x80000000u, 1, "found 2147483648 x 1"},
                 {1, 0xffffffffu, "found 1 x 4294967295"},
                 {0x7fffffff, 0x7fffffff, "pixels: 4611686014132420609 is above the limit image-pixels = 268435456"},
                 {16385, 16384, "pixels: 268451840 is above the limit"}};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        start(&f);
        ihdr(&f, sizes[i].width, sizes[i].height, 8, 6, 0);
        size_t live = gy_mem_peak(ctx);
        assert_refused(ctx, &f, sizes[i].message);
        assert_true(gy_mem_peak(ctx) - live < 65536);
    }
    for (int colour = 0; colour <= 8; colour++)
        for (int depth = 0; depth <= 32; depth++) {
            bool low = depth == 1 || depth == 2 || depth == 4, high = depth == 8 || depth == 16;
            bool legal = colour == 0   ? low || high
                         : colour == 3 ? low || depth == 8
                                       : (colour == 2 || colour == 4 || colour == 6) && high;
            char message[80];
            start(&f);
            ihdr(&f, 1, 1, depth, colour, 0);
            snprintf(message, sizeof message, legal ? "no IEND" : "IHDR: colour type %d with %d bits does not exist",
                     colour, depth);
            assert_refused(ctx, &f, message);
        }
    start(&f);
    ihdr(&f, 1, 1, 8, 0, 2);
    assert_refused(ctx, &f, "unknown compression 0, filter 0 or interlace method 2");
    start(&f);
    chunk(&f, "IHDR", "\0\0\0\1", 4);
    assert_refused(ctx, &f, "IHDR: expected 13 bytes, found 4");
    f = grey(ctx);
    f.b[1] = 'p';
    assert_refused(ctx, &f, "p.png: byte 0: this is no PNG file");
}

static void a_chunk_longer_than_the_file_is_refused(void **state) { /* PNG-02 */
    gy_ctx *ctx = *state;
    file f = grey(ctx);
    gy_put_be32(f.b + 33, 0x40000000);
    assert_refused(ctx, &f, "byte 33: chunk of 1073741824 bytes, but only ");
    gy_put_be32(f.b + 33, 0xffffffffu);
    assert_refused(ctx, &f, "byte 33: chunk of 4294967295 bytes");
}

static void a_file_cut_or_changed_anywhere_is_refused(void **state) {
    gy_ctx *ctx = *state;
    const file whole = grey(ctx);
    for (size_t n = 0; n < whole.n; n++) {
        file f = whole;
        f.n = n;
        assert_refused(ctx, &f, n < 8 ? "this is no PNG" : "p.png: byte");
    }
    for (size_t n = 8; n < whole.n; n++)
        for (int bit = 0; bit < 8; bit++) {
            file f = whole;
            f.b[n] ^= (uint8_t)(1 << bit);
            assert_refused(ctx, &f, "p.png"); /* every byte stands under a CRC or is one */
        }
}

static void pixel_data_of_another_size_is_refused(void **state) { /* PNG-03 */
    gy_ctx *ctx = *state;
    static const uint8_t rows[70000];
    for (int k = 0; k < 3; k++) {
        file f;
        size_t n = (size_t[]){5, 7, 70000}[k];
        start(&f);
        ihdr(&f, 2, 2, 8, 0, 0);
        idat(ctx, &f, rows, n);
        chunk(&f, "IEND", NULL, 0);
        assert_refused(ctx, &f, "IDAT (6 bytes of rows expected");
    }
    file f;
    start(&f);
    ihdr(&f, 16384, 16384, 8, 0, 0); /* asks for 268 MB, holds 70,000 bytes */
    idat(ctx, &f, rows, sizeof rows);
    chunk(&f, "IEND", NULL, 0);
    size_t before = gy_mem_peak(ctx);
    assert_refused(ctx, &f, "IDAT (268451840 bytes of rows expected");
    assert_true(gy_mem_peak(ctx) - before < 1 << 20);
}

static void filters_and_palette_indices_are_checked(void **state) { /* PNG-04 */
    gy_ctx *ctx = *state;
    file f;
    start(&f);
    ihdr(&f, 1, 2, 8, 0, 0);
    idat(ctx, &f, "\0\1\5\1", 4);
    chunk(&f, "IEND", NULL, 0);
    assert_refused(ctx, &f, "IDAT: row 1: filter type 5 does not exist");
    start(&f);
    ihdr(&f, 2, 1, 4, 3, 0);
    chunk(&f, "PLTE", "abcdef", 6);
    idat(ctx, &f, "\0\x02", 2);
    chunk(&f, "IEND", NULL, 0);
    assert_refused(ctx, &f, "IDAT: row 0: a colour past the palette's 2");
    start(&f);
    ihdr(&f, 2, 1, 4, 3, 0);
    idat(ctx, &f, "\0\x00", 2);
    assert_refused(ctx, &f, "IDAT: expected PLTE before it");
}

static void palette_chunks_are_checked(void **state) { /* PNG-04 */
    gy_ctx *ctx = *state;
    static const struct {
        int colour, depth;
        const char *type;
        size_t n;
        const char *message;
    } cases[] = {{3, 1, "PLTE", 9, "PLTE: expected 1 to 2 colours of 3 bytes, found 9 bytes"},
                 {3, 8, "PLTE", 7, "PLTE: expected 1 to 256 colours"},
                 {3, 8, "PLTE", 0, "found 0 bytes"},
                 {2, 8, "PLTE", 771, "found 771 bytes"},
                 {0, 8, "PLTE", 3, "PLTE: in a grey picture"},
                 {3, 8, "tRNS", 1, "tRNS: expected at most 0 entries as in PLTE, found 1"},
                 {0, 8, "tRNS", 3, "tRNS: expected 2 bytes, found 3"},
                 {2, 8, "tRNS", 2, "tRNS: expected 6 bytes, found 2"},
                 {6, 8, "tRNS", 6, "tRNS: the picture has alpha already"}};
    static const uint8_t zeros[800];
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        file f;
        start(&f);
        ihdr(&f, 1, 1, cases[i].depth, cases[i].colour, 0);
        chunk(&f, cases[i].type, zeros, cases[i].n);
        assert_refused(ctx, &f, cases[i].message);
    }
    file f;
    start(&f);
    ihdr(&f, 1, 1, 8, 3, 0);
    chunk(&f, "PLTE", zeros, 6);
    file g = f;
    chunk(&g, "PLTE", zeros, 6);
    assert_refused(ctx, &g, "PLTE: a second one, or one after IDAT");
    g = f;
    chunk(&g, "tRNS", zeros, 3);
    assert_refused(ctx, &g, "tRNS: expected at most 2 entries as in PLTE, found 3");
    chunk(&f, "tRNS", zeros, 2);
    chunk(&f, "tRNS", zeros, 2);
    assert_refused(ctx, &f, "tRNS: a second one, or one after IDAT");
}

static void the_order_of_chunks_is_checked(void **state) { /* PNG-06 */
    gy_ctx *ctx = *state;
    file f = grey(ctx), whole = f;
    f.b[f.n - 1] ^= 1;
    assert_refused(ctx, &f, "chunk 'IEND': expected CRC ae426082, found ae426083");
    start(&f);
    ihdr(&f, 2, 2, 8, 0, 0);
    ihdr(&f, 2, 2, 8, 0, 0);
    assert_refused(ctx, &f, "byte 33: a second IHDR");
    start(&f);
    chunk(&f, "tEXt", "a\0b", 3);
    assert_refused(ctx, &f, "byte 8: expected IHDR as the first chunk");
    start(&f);
    ihdr(&f, 2, 2, 8, 0, 0);
    chunk(&f, "IEND", NULL, 0);
    assert_refused(ctx, &f, "IEND: expected IDAT before it");
    start(&f);
    ihdr(&f, 2, 2, 8, 0, 0);
    idat(ctx, &f, "\0\1\2\0\3\4", 6);
    assert_refused(ctx, &f, "expected a chunk, found the end: no IEND");
    file split = f;
    chunk(&split, "tEXt", "a\0b", 3);
    chunk(&split, "IDAT", NULL, 0);
    assert_refused(ctx, &split, "IDAT: another chunk lies between the parts of the picture");
    chunk(&f, "\x1b[2J", NULL, 0);
    assert_refused(ctx, &f, "unknown critical chunk '\\x1b[2J'");
    f = whole;
    memcpy(f.b + f.n, "more", 4);
    f.n += 4;
    assert_pixels(ctx, &f, 1, "\1\2\3\4", 4);
    assert_string_equal(warned, "p.png: 4 bytes after IEND are ignored");
}

static void compressed_side_chunks_are_passed_over_unread(void **state) { /* PNG-07 */
    gy_ctx *ctx = *state;
    static const uint8_t zeros[1000000];
    uint8_t *packed;
    uint64_t size;
    assert_ok(ctx, gy_deflate(ctx, zeros, sizeof zeros, GY_DEFLATE_ZLIB, 9, &packed, &size));
    uint8_t body[4096] = "name\0";
    assert_true(size < sizeof body - 6);
    memcpy(body + 6, packed, size);
    gy_free(ctx, packed);
    file f;
    start(&f);
    ihdr(&f, 2, 2, 8, 0, 0);
    chunk(&f, "iCCP", body, (size_t)size + 6);
    chunk(&f, "zTXt", body, (size_t)size + 6);
    idat(ctx, &f, "\0\1\2\0\3\4", 6);
    chunk(&f, "IEND", NULL, 0);
    gy_ctx *fresh = gy_ctx_new((gy_ctx_args){.threads = 1});
    size_t before = gy_mem_live(fresh);
    assert_pixels(fresh, &f, 1, "\1\2\3\4", 4);
    assert_true(gy_mem_peak(fresh) - before < 262144);
    gy_ctx_free(fresh);
}

/* ---- writing ----------------------------------------------------------------------------------- */

static void every_kind_of_picture_survives_a_round_trip(void **state) {
    gy_ctx *ctx = *state;
    for (int64_t channels = 1; channels <= 4; channels++)
        for (int depth = 8; depth <= 16; depth += 8)
            for (int64_t width = 1; width <= 37; width += 18) {
                gy_image img = {.width = width, .height = 23, .channels = channels, .bit_depth = depth}, back;
                size_t n = (size_t)(width * 23 * channels * (depth / 8));
                gy_bytes src;
                uint8_t *bytes;
                uint64_t size;
                img.pixels = gy_malloc(ctx, n);
                uint32_t noise = 1;
                for (size_t i = 0; i < n; i++) { /* smooth above, noise below */
                    noise = noise * 1664525u + 1013904223u;
                    img.pixels[i] = (uint8_t)(i < n / 2 ? i * 3 / (size_t)channels : noise >> 24);
                }
                assert_ok(ctx, gy_png_encode(ctx, &img, width == 1 ? NULL : "gyrus", &bytes, &size));
                assert_ok(ctx, gy_bytes_from_memory(ctx, "r.png", bytes, size, NULL, &src));
                assert_ok(ctx, gy_png_parse(&src, &back));
                assert_true(back.width == width && back.height == 23 && back.channels == channels &&
                            back.bit_depth == depth);
                assert_memory_equal(img.pixels, back.pixels, n);
                gy_bytes_close(&src);
                gy_free(ctx, bytes);
                gy_image_free(ctx, &img);
                gy_image_free(ctx, &back);
            }
}

static void the_description_is_written_in_latin_1(void **state) {
    gy_ctx *ctx = *state;
    gy_image img = {.width = 1, .height = 1, .channels = 1, .bit_depth = 8, .pixels = (uint8_t[]){9}};
    uint8_t *bytes;
    uint64_t size;
    assert_ok(ctx, gy_png_encode(ctx, &img, "a\xc3\xa9\xe2\x82\xac\x1b\xff\n", &bytes,
                                 &size)); /* a, e acute, euro, ESC, invalid */
    assert_memory_equal(bytes + 33, "\0\0\0\x12tEXtDescription\0a\xe9???\n", 26);
    gy_free(ctx, bytes);
}

static void files_are_written_and_read_and_bad_pictures_refused(void **state) {
    gy_ctx *ctx = *state;
    char path[] = "/tmp/gyrus-png-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    gy_image img = {.width = 1, .height = 2, .channels = 1, .bit_depth = 8, .pixels = (uint8_t[]){9, 8}}, back;
    assert_ok(ctx, gy_png_write(ctx, path, &img, NULL));
    assert_ok(ctx, gy_png_read(ctx, path, &back));
    assert_memory_equal(back.pixels, img.pixels, 2);
    gy_image_free(ctx, &back);
    img.channels = 5;
    assert_message(ctx, gy_png_write(ctx, path, &img, NULL), "found 1 x 2 with 5 channels of 8 bits");
    img.channels = 1;
    img.bit_depth = 4;
    assert_message(ctx, gy_png_write(ctx, path, &img, NULL), "1 channels of 4 bits");
    img.bit_depth = 8;
    img.width = 0;
    assert_message(ctx, gy_png_write(ctx, path, &img, NULL), "found 0 x 2");
    assert_ok(ctx, gy_png_read(ctx, path, &back)); /* the old file stays */
    gy_image_free(ctx, &back);
    unlink(path);
    assert_message(ctx, gy_png_read(ctx, path, &back), path);
}

static void every_failing_allocation_ends_cleanly(void **state) {
    gy_ctx *ctx = *state;
    gy_image img = {.width = 1, .height = 2, .channels = 1, .bit_depth = 8, .pixels = (uint8_t[]){9, 8}};
    file f = grey(ctx);
    f.n -= 12;
    chunk(&f, "IDAT", NULL, 0); /* two chunks: they are joined */
    chunk(&f, "IEND", NULL, 0);
    int64_t failures = 0;
    for (int64_t n = 1;; n++) {
        gy_image back;
        gy_bytes src;
        uint8_t *bytes;
        uint64_t size;
        size_t live = gy_mem_live(ctx);
        gy_mem_fail_at(ctx, n);
        gy_status s = gy_bytes_from_memory(ctx, "p.png", f.b, f.n, NULL, &src);
        if (s == GY_OK) {
            s = gy_png_parse(&src, &back);
            if (s == GY_OK) gy_image_free(ctx, &back);
            gy_bytes_close(&src);
        }
        if (s == GY_OK && (s = gy_png_encode(ctx, &img, "text", &bytes, &size)) == GY_OK) gy_free(ctx, bytes);
        gy_mem_fail_at(ctx, 0);
        assert_int_equal(gy_mem_live(ctx), live);
        if (s == GY_OK) break;
        assert_message(ctx, s, "out of memory");
        failures++;
    }
    assert_true(failures >= 10);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(every_filter_is_undone),
        TEST(low_depths_palettes_and_transparency_are_expanded),
        TEST(adam7_is_resolved_down_to_one_pixel),
        TEST(the_picture_may_lie_in_many_idat_chunks),
        TEST(impossible_headers_are_refused),
        TEST(a_chunk_longer_than_the_file_is_refused),
        TEST(a_file_cut_or_changed_anywhere_is_refused),
        TEST(pixel_data_of_another_size_is_refused),
        TEST(filters_and_palette_indices_are_checked),
        TEST(palette_chunks_are_checked),
        TEST(the_order_of_chunks_is_checked),
        TEST(compressed_side_chunks_are_passed_over_unread),
        TEST(every_kind_of_picture_survives_a_round_trip),
        TEST(the_description_is_written_in_latin_1),
        TEST(files_are_written_and_read_and_bad_pictures_refused),
        TEST(every_failing_allocation_ends_cleanly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
