/* ZIP: an archive that two programs could read differently is refused by name. */
#include "build.h"

#include "io/formats/deflate.h"
#include "io/formats/zip.h"

/* A legal archive of stored entries and where its records are. */
enum { MAX = 4 };
typedef struct archive {
    buf b;
    size_t local[MAX], central[MAX], end;
} archive;

static void put_local(archive *a, int i, const char *name, size_t nlen, const char *data) {
    size_t n = strlen(data);
    a->local[i] = a->b.n;
    put(&a->b, "PK\3\4", 4);
    put16(&a->b, 20);
    put16(&a->b, 0); /* flags +6 */
    put16(&a->b, 0); /* method +8 */
    put32(&a->b, 0x00210000);
    put32(&a->b, gy_crc32(0, data, n)); /* +14 */
    put32(&a->b, (uint32_t)n);          /* packed +18 */
    put32(&a->b, (uint32_t)n);          /* size +22 */
    put16(&a->b, (unsigned)nlen);       /* +26 */
    put16(&a->b, 0);                    /* extra +28 */
    put(&a->b, name, nlen);
    put_s(&a->b, data);
}

static void put_central(archive *a, int i, const char *name, size_t nlen, const char *data) {
    size_t n = strlen(data);
    a->central[i] = a->b.n;
    put(&a->b, "PK\1\2", 4);
    put16(&a->b, 20);
    put16(&a->b, 20);
    put16(&a->b, 0); /* flags +8 */
    put16(&a->b, 0); /* method +10 */
    put32(&a->b, 0x00210000);
    put32(&a->b, gy_crc32(0, data, n)); /* +16 */
    put32(&a->b, (uint32_t)n);          /* packed +20 */
    put32(&a->b, (uint32_t)n);          /* size +24 */
    put16(&a->b, (unsigned)nlen);       /* +28 */
    put16(&a->b, 0);                    /* extra +30 */
    put16(&a->b, 0);                    /* comment +32 */
    put16(&a->b, 0);                    /* disk +34 */
    put16(&a->b, 0);
    put32(&a->b, 0); /* attributes +38 */
    put32(&a->b, (uint32_t)a->local[i]);
    put(&a->b, name, nlen);
}

static void put_end(archive *a, unsigned count, size_t cd) {
    a->end = a->b.n;
    put(&a->b, "PK\5\6", 4);
    put16(&a->b, 0);
    put16(&a->b, 0);
    put16(&a->b, count);
    put16(&a->b, count);
    put32(&a->b, (uint32_t)(a->end - cd));
    put32(&a->b, (uint32_t)cd);
    put16(&a->b, 0);
}

static archive archive_of(const char *prefix, int n, const char *const *names, const size_t *nlen) {
    static const char *const data[MAX] = {"hello", "world!", "third", "fourth"};
    archive a = {.b = buf_new()};
    put_s(&a.b, prefix);
    for (int i = 0; i < n; i++) put_local(&a, i, names[i], nlen ? nlen[i] : strlen(names[i]), data[i]);
    size_t cd = a.b.n;
    for (int i = 0; i < n; i++) put_central(&a, i, names[i], nlen ? nlen[i] : strlen(names[i]), data[i]);
    put_end(&a, (unsigned)n, cd);
    return a;
}

static archive two(void) {
    static const char *const names[] = {"a.npy", "b.npy"};
    return archive_of("", 2, names, NULL);
}

static void set16(archive *a, size_t at, unsigned v) {
    gy_put_le16(a->b.d + at, (uint16_t)v);
}
static void set32(archive *a, size_t at, uint32_t v) {
    gy_put_le32(a->b.d + at, v);
}

/* Opens and reads every entry. */
static gy_status read_all(gy_ctx *ctx, const void *d, size_t n) {
    source s = source_of(ctx, d, n);
    gy_zip z;
    gy_status st = gy_zip_open(&s.b, &z);
    for (int64_t i = 0; st == GY_OK && i < z.n; i++) {
        uint8_t *p;
        uint64_t size;
        st = gy_zip_read(&z, i, &p, &size);
        gy_free(ctx, p);
    }
    gy_zip_close(&z);
    source_free(&s);
    return st;
}

static void refuses(gy_ctx *ctx, archive *a, const char *message) {
    assert_message(ctx, read_all(ctx, a->b.d, a->b.n), message);
    buf_free(&a->b);
}

static void a_legal_archive_is_read(void **state) {
    gy_ctx *ctx = *state;
    archive a = two();
    source s = source_of(ctx, a.b.d, a.b.n);
    gy_zip z;
    uint8_t *p;
    uint64_t n;
    assert_ok(ctx, gy_zip_open(&s.b, &z));
    assert_int_equal(z.n, 2);
    assert_int_equal(gy_zip_find(&z, "b.npy"), 1);
    assert_int_equal(gy_zip_find(&z, "c.npy"), -1);
    assert_ok(ctx, gy_zip_read(&z, 1, &p, &n));
    assert_int_equal(n, 6);
    assert_memory_equal(p, "world!", 6);
    gy_free(ctx, p);
    gy_zip_close(&z);
    source_free(&s);
    buf_free(&a.b);
    archive empty = archive_of("", 0, NULL, NULL);
    assert_ok(ctx, read_all(ctx, empty.b.d, empty.b.n));
    buf_free(&empty.b);
}

static void zip01_overlapping_entries_are_refused_by_both_names(void **state) {
    archive a = two();
    set32(&a, a.central[1] + 42, (uint32_t)a.local[0]); /* one local header, two names */
    refuses(*state, &a, "'b.npy': zip: the local header and the directory differ in name");
    a = two(); /* the first entry swallows the second */
    uint32_t n = (uint32_t)(a.central[0] - a.local[0] - 35);
    for (int i = 0; i < 2; i++) {
        set32(&a, (i ? a.local[0] + 18 : a.central[0] + 20), n);
        set32(&a, (i ? a.local[0] + 22 : a.central[0] + 24), n);
    }
    refuses(*state, &a, "'a.npy': zip: overlaps 'b.npy'");
}

static void zip02_local_and_central_headers_must_agree(void **state) {
    static const struct {
        size_t at;
        unsigned v;
        const char *message;
    } cases[] = {{6, 0x800, "differ in flags"},    {8, 8, "differ in method"}, {14, 1, "differ in CRC"},
                 {18, 4, "differ in size"},        {22, 4, "differ in size"},  {30, 'x' | '.' << 8, "differ in name"},
                 {0, 0, "no local header at byte"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        archive a = two();
        set16(&a, a.local[1] + cases[i].at, cases[i].v);
        refuses(*state, &a, cases[i].message);
    }
}

static void zip03_ambiguous_ends_are_refused(void **state) {
    gy_ctx *ctx = *state;
    archive a = two(), b = two();
    put(&a.b, b.b.d + b.end, 22); /* a second record; the first one's comment made to fit as well */
    set16(&a, a.end + 20, 22);
    refuses(ctx, &a, "a second end record");
    a = two();
    put(&a.b, b.b.d + b.end, 22); /* the first's comment does not fit: the last one counts, and disagrees */
    refuses(ctx, &a, "zip: directory: expected to end at byte");
    a = two();
    put(&a.b, "note PK\5\6", 9);
    set16(&a, a.end + 20, 9);
    refuses(ctx, &a, "a second end record");
    a = two();
    set16(&a, a.end + 20, 7);
    refuses(ctx, &a, "the end record's comment does not end with the file");
    a = two();
    put_s(&a.b, "x");
    refuses(ctx, &a, "the end record's comment does not end with the file");
    a = two();
    put_s(&a.b, "a plain comment");
    set16(&a, a.end + 20, 15);
    assert_ok(ctx, read_all(ctx, a.b.d, a.b.n));
    buf_free(&a.b);
    static const char *const names[] = {"a", "b"};
    a = archive_of("#!/bin/sh\n", 2, names, NULL); /* bytes before, and offsets that count them */
    assert_ok(ctx, read_all(ctx, a.b.d, a.b.n));
    memmove(a.b.d + 3, a.b.d, a.b.n); /* bytes before, and offsets that do not */
    a.b.n += 3;
    refuses(ctx, &a, "zip: directory: expected to end at byte");
    buf_free(&b.b);
    assert_message(ctx, read_all(ctx, "", 0), "no end record: not a zip archive, or cut");
    assert_message(ctx, read_all(ctx, "this is not a zip archive", 25), "no end record");
}

static void zip04_names_stay_inside_and_differ(void **state) {
    gy_ctx *ctx = *state;
    static const struct {
        const char *name;
        size_t n;
        const char *message;
    } cases[] = {{"", 0, "the name '' is empty"},
                 {"a\0b", 3, "the name 'a\\x00b' has a NUL"},
                 {"../x", 4, "the name '../x' leaves the folder"},
                 {"a/../../x", 9, "leaves the folder"},
                 {"/x", 2, "the name '/x' is absolute"},
                 {"C:\\x", 4, "has a backslash"},
                 {"C:x", 3, "has a drive letter"},
                 {"a.npy", 5, "'a.npy': zip: the name appears twice"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *names[] = {"a.npy", cases[i].name};
        size_t n[] = {5, cases[i].n};
        archive a = archive_of("", 2, names, n);
        refuses(ctx, &a, cases[i].message);
    }
    static const char *const both[] = {"W.npy", "w.npy"}; /* numpy.savez(W=..., w=...) */
    archive a = archive_of("", 2, both, NULL);
    assert_ok(ctx, read_all(ctx, a.b.d, a.b.n));
    set16(&a, a.central[0] + 4, 3 << 8 | 20);
    set32(&a, a.central[0] + 38, 0120777u << 16);
    refuses(ctx, &a, "'W.npy': zip: a symbolic link or special file");
}

static void zip05_encryption_and_unknown_methods_are_refused(void **state) {
    static const unsigned flags[] = {0x1, 0x40, 0x20, 0x2000};
    for (int i = 0; i < 4; i++) {
        archive a = two();
        set16(&a, a.central[0] + 8, flags[i]);
        set16(&a, a.local[0] + 6, flags[i]);
        refuses(*state, &a, i < 2 ? "'a.npy': zip: encrypted" : "'a.npy': zip: unknown flag bits 0x2");
    }
    archive a = two();
    set16(&a, a.central[0] + 10, 12);
    refuses(*state, &a, "'a.npy': zip: method: expected 0 (stored) or 8 (deflated), found 12");
}

static void zip06_a_wrong_crc_is_refused(void **state) {
    archive a = two();
    a.b.d[a.local[0] + 36] ^= 1; /* the content itself */
    refuses(*state, &a, "'a.npy': zip: CRC-32: expected");
}

static void zip07_zip64_and_disks(void **state) {
    archive a = two();
    set32(&a, a.end + 16, 0xffffffff);
    refuses(*state, &a, "a zip64 record is needed and missing");
    a = two();
    set32(&a, a.central[0] + 24, 0xffffffff);
    refuses(*state, &a, "'a.npy': zip: bad extra field or missing zip64 sizes");
    a = two();
    set16(&a, a.end + 4, 1);
    refuses(*state, &a, "an archive on several disks");
    a = two();
    set16(&a, a.central[0] + 34, 1);
    refuses(*state, &a, "an archive on several disks");
    a = two();
    set16(&a, a.end + 8, 65535);
    set16(&a, a.end + 10, 65535);
    refuses(*state, &a, "65535 entries in a directory of 102 bytes");
    a = two();
    set16(&a, a.end + 8, 1);
    set16(&a, a.end + 10, 1);
    refuses(*state, &a, "1 entries were announced, more follow");
}

/* One entry whose directory says its sizes in a zip64 field. */
static archive wide(uint64_t size, uint64_t packed) {
    archive a = {.b = buf_new()};
    put_local(&a, 0, "a", 1, "hello");
    size_t cd = a.b.n;
    put_central(&a, 0, "a", 1, "hello");
    set32(&a, a.central[0] + 20, 0xffffffff);
    set32(&a, a.central[0] + 24, 0xffffffff);
    set16(&a, a.central[0] + 30, 20);
    put16(&a.b, 1);
    put16(&a.b, 16);
    put64(&a.b, size);
    put64(&a.b, packed);
    put_end(&a, 1, cd);
    return a;
}

static void zip07_zip64_sizes_are_checked(void **state) {
    gy_ctx *ctx = *state;
    archive a = wide(5, 5);
    assert_ok(ctx, read_all(ctx, a.b.d, a.b.n));
    buf_free(&a.b);
    a = wide(UINT64_MAX, UINT64_MAX);
    refuses(ctx, &a, "differ in size");
    a = wide(5, UINT64_MAX);
    refuses(ctx, &a, "stored, but 5 bytes take 18446744073709551615");
    a = wide(UINT64_MAX, UINT64_MAX); /* the same lie in both headers, by way of a descriptor */
    set16(&a, a.central[0] + 8, 8);
    set16(&a, a.local[0] + 6, 8);
    set32(&a, a.local[0] + 18, 0);
    set32(&a, a.local[0] + 22, 0);
    refuses(ctx, &a, "expected 18446744073709551615 bytes of data, found 5");
}

static void zip64_end_record(archive *a, uint64_t count, uint64_t size, uint64_t cd) {
    size_t at = a->b.n;
    put(&a->b, "PK\6\6", 4);
    put64(&a->b, 44);
    put16(&a->b, 45);
    put16(&a->b, 45);
    put32(&a->b, 0);
    put32(&a->b, 0);
    put64(&a->b, count);
    put64(&a->b, count);
    put64(&a->b, size);
    put64(&a->b, cd);
    put(&a->b, "PK\6\7", 4);
    put32(&a->b, 0);
    put64(&a->b, at);
    put32(&a->b, 1);
    put_end(a, 1, cd);
    set16(a, a->end + 8, 0xffff);
    set16(a, a->end + 10, 0xffff);
    set32(a, a->end + 12, 0xffffffff);
    set32(a, a->end + 16, 0xffffffff);
}

static void zip64_end_records_are_followed_and_checked(void **state) {
    gy_ctx *ctx = *state;
    for (int i = 0; i < 5; i++) {
        archive a = {.b = buf_new()};
        put_local(&a, 0, "a", 1, "hello");
        size_t cd = a.b.n;
        put_central(&a, 0, "a", 1, "hello");
        size_t size = a.b.n - cd;
        zip64_end_record(&a, i == 1 ? (uint64_t)1 << 62 : 1, i == 2 ? UINT64_MAX : size, cd);
        if (i == 3) set32(&a, a.end - 12, 1); /* the locator points elsewhere */
        if (i == 4) set32(&a, a.end + 12, 5); /* both records speak, and differ */
        if (i == 0) {
            assert_ok(ctx, read_all(ctx, a.b.d, a.b.n));
            buf_free(&a.b);
        } else
            refuses(ctx, &a,
                    i == 1   ? "4611686018427387904 entries in a directory of 47 bytes"
                    : i == 2 ? "zip: directory: expected to end at byte"
                    : i == 3 ? "the zip64 end record is not where the locator says"
                             : "the end record and the zip64 end record differ");
    }
}

static void zip08_extents_and_descriptors(void **state) {
    gy_ctx *ctx = *state;
    archive a = two();
    set32(&a, a.central[1] + 42, 0x7fffffff);
    refuses(ctx, &a, "past the data's end");
    a = two();
    set32(&a, a.central[1] + 20, 1000);
    set32(&a, a.central[1] + 24, 1000);
    set32(&a, a.local[1] + 18, 1000);
    set32(&a, a.local[1] + 22, 1000);
    refuses(ctx, &a, "'b.npy': zip: expected 1000 bytes of data, found 6");
    for (int i = 0; i < 4; i++) { /* descriptor: with and without signature, right and wrong */
        archive d = {.b = buf_new()};
        put_local(&d, 0, "a", 1, "hello");
        set16(&d, 6, 8);
        set32(&d, 14, 0);
        set32(&d, 18, 0);
        set32(&d, 22, 0);
        if (i & 1) put(&d.b, "PK\7\10", 4);
        put32(&d.b, gy_crc32(0, "hello", 5));
        put32(&d.b, 5);
        put32(&d.b, i & 2 ? 6 : 5);
        size_t cd = d.b.n;
        put_central(&d, 0, "a", 1, "hello");
        set16(&d, d.central[0] + 8, 8);
        put_end(&d, 1, cd);
        if (i & 2)
            refuses(ctx, &d, "the data descriptor and the directory differ");
        else {
            assert_ok(ctx, read_all(ctx, d.b.d, d.b.n));
            buf_free(&d.b);
        }
    }
}

static void a_cut_at_any_byte_is_refused(void **state) {
    gy_ctx *ctx = *state;
    archive a = two();
    for (size_t n = 0; n < a.b.n; n++) assert_int_equal(read_all(ctx, a.b.d, n), GY_ERR_FORMAT);
    for (size_t i = 0; i < 8 * a.b.n; i++) { /* any flipped bit: an answer or a refusal (sanitizers watch) */
        a.b.d[i / 8] ^= (uint8_t)(1u << i % 8);
        (void)!read_all(ctx, a.b.d, a.b.n);
        a.b.d[i / 8] ^= (uint8_t)(1u << i % 8);
    }
    buf_free(&a.b);
}

static gy_status write_and_read(gy_ctx *ctx, void *arg) {
    char path[256], text[5000];
    memset(text, 'z', sizeof text);
    gy_zip_writer *w = NULL;
    gy_bytes b = {0};
    gy_zip z = {0};
    uint8_t *p = NULL;
    uint64_t n = 0;
    gy_status s = gy_zip_create(ctx, in_dir(arg, "x.zip", path), &w);
    if (s == GY_OK) s = gy_zip_add(w, "stored", "abc", 3, 0);
    if (s == GY_OK) s = gy_zip_add(w, "deflated", text, sizeof text, 6);
    if (s == GY_OK) s = gy_zip_add(w, "empty", NULL, 0, 6);
    if (s == GY_OK)
        s = gy_zip_commit(w);
    else
        gy_zip_abort(w);
    if (s == GY_OK) s = gy_bytes_open(ctx, path, NULL, &b);
    if (s == GY_OK) s = gy_zip_open(&b, &z);
    if (s == GY_OK) s = gy_zip_read(&z, gy_zip_find(&z, "deflated"), &p, &n);
    if (s == GY_OK) {
        assert_int_equal(z.n, 3);
        assert_int_equal(n, sizeof text);
        assert_memory_equal(p, text, n);
        assert_true(b.size < 600);
    }
    gy_free(ctx, p);
    gy_zip_close(&z);
    gy_bytes_close(&b);
    return s;
}

static void what_is_written_reads_back_and_no_memory_is_reported(void **state) {
    gy_ctx *ctx = *state;
    char dir[64], path[256];
    temp_dir(dir);
    assert_ok(ctx, write_and_read(ctx, dir));
    buf first = slurp(in_dir(dir, "x.zip", path));
    survive_no_memory(ctx, write_and_read, dir);
    buf second = slurp(path);
    assert_int_equal(first.n, second.n); /* equal content, equal bytes */
    assert_memory_equal(first.d, second.d, first.n);
    buf_free(&first);
    buf_free(&second);
    gy_zip_writer *w;
    assert_ok(ctx, gy_zip_create(ctx, path, &w));
    assert_ok(ctx, gy_zip_add(w, "a", "1", 1, 0));
    assert_message(ctx, gy_zip_add(w, "", "2", 1, 0), "expected 1 to 4096 bytes, found 0");
    assert_ok(ctx, gy_zip_add(w, "a", "2", 1, 0));
    assert_message(ctx, gy_zip_commit(w), "the name 'a' appears twice");
    remove_dir(ctx, dir);
}

static void more_entries_than_16_bits_count_are_written_and_read(void **state) {
    gy_ctx *ctx = *state;
    char dir[64], path[256], name[32];
    gy_zip_writer *w;
    gy_bytes b;
    gy_zip z;
    temp_dir(dir);
    assert_ok(ctx, gy_zip_create(ctx, in_dir(dir, "x.zip", path), &w));
    for (int i = 0; i < 65536; i++) {
        snprintf(name, sizeof name, "%d", i);
        assert_ok(ctx, gy_zip_add(w, name, name, strlen(name), 0));
    }
    assert_ok(ctx, gy_zip_commit(w));
    assert_ok(ctx, gy_bytes_open(ctx, path, NULL, &b));
    assert_ok(ctx, gy_zip_open(&b, &z));
    assert_int_equal(z.n, 65536);
    gy_zip_close(&z);
    b.limits.v[GY_LIMIT_ZIP_ENTRIES] = 65535;
    assert_message(ctx, gy_zip_open(&b, &z), "zip entries: 65536 is above the limit zip-entries = 65535");
    gy_bytes_close(&b);
    remove_dir(ctx, dir);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(a_legal_archive_is_read),
        TEST(zip01_overlapping_entries_are_refused_by_both_names),
        TEST(zip02_local_and_central_headers_must_agree),
        TEST(zip03_ambiguous_ends_are_refused),
        TEST(zip04_names_stay_inside_and_differ),
        TEST(zip05_encryption_and_unknown_methods_are_refused),
        TEST(zip06_a_wrong_crc_is_refused),
        TEST(zip07_zip64_and_disks),
        TEST(zip07_zip64_sizes_are_checked),
        TEST(zip64_end_records_are_followed_and_checked),
        TEST(zip08_extents_and_descriptors),
        TEST(a_cut_at_any_byte_is_refused),
        TEST(what_is_written_reads_back_and_no_memory_is_reported),
        TEST(more_entries_than_16_bits_count_are_written_and_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
