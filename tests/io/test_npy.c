/* NumPy's files: every dtype and order read right, everything else refused by name. */
#include "build.h"

#include "io/formats/npy.h"

#include <math.h>

static buf npy(int version, const char *header, const void *data, size_t n) {
    buf b = buf_new();
    put(&b, "\x93NUMPY", 6);
    put8(&b, (unsigned)version);
    put8(&b, 0);
    if (version == 1)
        put16(&b, (unsigned)strlen(header));
    else
        put32(&b, (uint32_t)strlen(header));
    put_s(&b, header);
    put(&b, data, n);
    return b;
}

static gy_status parse(gy_ctx *ctx, const buf *b, gy_tensor *t) {
    source s = source_of(ctx, b->d, b->n);
    gy_status st = gy_npy_parse(&s.b, t);
    source_free(&s);
    return st;
}

static void refuses(gy_ctx *ctx, const char *header, size_t n, const char *message) {
    static const uint8_t zeros[1000];
    gy_tensor t;
    buf b = npy(1, header, zeros, n);
    assert_message(ctx, parse(ctx, &b, &t), message);
    assert_null(t.data);
    buf_free(&b);
}

static void npy01_a_header_length_past_the_file_is_refused(void **state) {
    gy_ctx *ctx = *state;
    gy_tensor t;
    buf b = npy(2, "", "", 0);
    memset(b.d + 8, 0xff, 4);
    assert_message(ctx, parse(ctx, &b, &t), "npy: header length: expected at most 0, found 4294967295");
    b.n = 9;
    assert_message(ctx, parse(ctx, &b, &t), "byte 0: expected 10 more bytes, found 9");
    b.n = 11;
    assert_message(ctx, parse(ctx, &b, &t), "byte 8: expected 4 more bytes, found 3");
    b.n = 12;
    b.d[6] = 4;
    assert_message(ctx, parse(ctx, &b, &t), "npy: version: expected 1.0, 2.0 or 3.0, found 4.0");
    b.d[0] = 'x';
    assert_message(ctx, parse(ctx, &b, &t), "not an .npy file");
    buf_free(&b);
    char *longer = calloc(1, 70001);
    memset(longer, ' ', 70000);
    b = npy(2, longer, "", 0);
    assert_message(ctx, parse(ctx, &b, &t), "npy header length: 70000 is above the limit npy-header = 65536");
    buf_free(&b);
    free(longer);
}

static void npy02_only_the_three_keys_as_literals_are_read(void **state) {
    gy_ctx *ctx = *state;
    static const char *const cases[][2] = {
        {"", "expected a dictionary"},
        {"[1]", "expected a dictionary"},
        {"{'descr': '<f4', 'fortran_order': False}", "the key 'shape' is missing"},
        {"{'descr': '<f4', 'shape': (1,)}", "the key 'fortran_order' is missing"},
        {"{'fortran_order': False, 'shape': (1,)}", "the key 'descr' is missing"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'x': 1}", "unknown key 'x'"},
        {"{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (1,)}", "the key 'descr' appears twice"},
        {"{'descr': '<f4' 'fortran_order': False}", "expected ',' or '}'"},
        {"{'descr': '<f4', 'fortran_order': 0, 'shape': (1,)}", "fortran_order: expected True or False"},
        {"{'descr': open('x'), 'fortran_order': False, 'shape': (1,)}", "descr: expected a type such as '<f4'"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,)", "expected ',' or '}'"},
        {"{'descr': '<f4', ", "expected a key in quotes"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,)} + 1", "text after the dictionary"},
        {"{'descr' '<f4'}", "expected ':'"},
        {"{'descr", "expected a key in quotes"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) refuses(ctx, cases[i][0], 4, cases[i][1]);
    char deep[60001];
    memset(deep, '(', 60000);
    deep[60000] = 0;
    refuses(ctx, deep, 0, "expected a dictionary");
    memcpy(deep, "{'shape': ", 10);
    refuses(ctx, deep, 0, "shape: expected a dimension");
}

static void with_shape(gy_ctx *ctx, const char *shape, size_t n, const char *message) {
    char h[512];
    snprintf(h, sizeof h, "{'descr': '<f4', 'fortran_order': False, 'shape': %s, }", shape);
    refuses(ctx, h, n, message);
}

static void npy03_impossible_shapes_are_refused_before_allocation(void **state) {
    gy_ctx *ctx = *state;
    with_shape(ctx, "(4294967296, 4294967296)", 4, "npy: shape [4294967296, 4294967296] is beyond 64 bits");
    with_shape(ctx, "(0, 9223372036854775807, 9223372036854775807)", 0, "is beyond 64 bits");
    with_shape(ctx, "(9223372036854775808,)", 4, "expected a dimension in 0 .. 2^63 - 1");
    with_shape(ctx, "(-1,)", 4, "expected a dimension");
    with_shape(ctx, "(3)", 12, "shape: expected a tuple such as (3,), found a number in brackets");
    with_shape(ctx, "3", 12, "shape: expected a tuple");
    with_shape(ctx, "(1, 2 3)", 12, "shape: expected ',' or ')'");
    with_shape(ctx, "(1,,2)", 12, "expected a dimension");
    with_shape(ctx, "(1.5,)", 12, "expected ',' or ')'");
    with_shape(ctx, "(1,1,1,1,1,1,1,1,1)", 4, "rank 9, at most 8 is supported");
    size_t peak = gy_mem_peak(ctx);
    with_shape(ctx, "(100000000000,)", 4, "expected 400000000000 bytes, found 4");
    assert_true(gy_mem_peak(ctx) < peak + 65536);
}

static void npy04_types_that_are_no_numbers_are_refused_by_name(void **state) {
    static const char *const cases[][2] = {{"|O", "Python objects (pickled code)"},
                                           {"<U5", "strings"},
                                           {"|S5", "byte strings"},
                                           {"<M8[ns]", "dates"},
                                           {"<m8[ns]", "time spans"},
                                           {"<c8", "complex numbers"},
                                           {"|V4", "raw or structured data"},
                                           {"<f16", "floats of another size"},
                                           {"q", "unknown type"},
                                           {"<i3", "unknown type"},
                                           {"", "unknown type"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char h[128];
        snprintf(h, sizeof h, "{'descr': '%s', 'fortran_order': False, 'shape': (1,), }", cases[i][0]);
        refuses(*state, h, 4, cases[i][1]);
        snprintf(h, sizeof h, "descr '%s'", cases[i][0]);
        assert_non_null(strstr(gy_error(*state), h));
    }
    refuses(*state, "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }", 4,
            "structured types are not supported");
}

/* One element of each type, both byte orders. */
static void npy05_every_type_and_byte_order_is_read(void **state) {
    gy_ctx *ctx = *state;
    static const struct {
        const char *descr;
        gy_dtype dtype;
        uint8_t big[8];
        double value;
    } cases[] = {{"f4", GY_F32, {0xc0, 0x20, 0, 0}, -2.5},
                 {"f8", GY_F64, {0xc0, 0x04, 0, 0, 0, 0, 0, 0}, -2.5},
                 {"f2", GY_F16, {0xc1, 0x00}, -2.5},
                 {"i2", GY_I16, {0xff, 0xfe}, -2},
                 {"u2", GY_U16, {0xff, 0xfe}, 65534},
                 {"i4", GY_I32, {0xff, 0xff, 0xff, 0xfe}, -2},
                 {"u4", GY_U32, {0xff, 0xff, 0xff, 0xfe}, 4294967294.0},
                 {"i8", GY_I64, {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe}, -2},
                 {"u8", GY_U64, {1, 0, 0, 0, 0, 0, 0, 0}, 72057594037927936.0},
                 {"i1", GY_I8, {0xfe}, -2},
                 {"u1", GY_U8, {0xfe}, 254},
                 {"b1", GY_BOOL, {2}, 1}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (const char *order = "<>=|"; *order; order++) {
            char h[128];
            uint8_t d[8];
            size_t n = gy_dtype_size(cases[i].dtype);
            bool big = *order == '>';
            for (size_t k = 0; k < n; k++) d[k] = cases[i].big[big ? k : n - 1 - k];
            snprintf(h, sizeof h, "{'descr': '%c%s', 'fortran_order': False, 'shape': (), }", *order, cases[i].descr);
            gy_tensor t;
            buf b = npy(1, h, d, n);
            assert_ok(ctx, parse(ctx, &b, &t));
            assert_int_equal(t.dtype, cases[i].dtype);
            assert_int_equal(t.shape.rank, 0);
            assert_true(gy_tensor_get(&t, 0) == cases[i].value);
            gy_tensor_free(ctx, &t);
            buf_free(&b);
        }
}

static void npy05_fortran_order_becomes_row_major(void **state) {
    gy_ctx *ctx = *state;
    gy_tensor t;
    uint8_t d[24]; /* element (i, j, k) = 100 i + 10 j + k, first index fastest */
    for (int k = 0, n = 0; k < 4; k++)
        for (int j = 0; j < 3; j++)
            for (int i = 0; i < 2; i++) d[n++] = (uint8_t)(100 * i + 10 * j + k);
    buf b = npy(3, "{\"shape\": (2, 3, 4L), \"fortran_order\": True, \"descr\": \"|u1\"}\n", d, 24);
    assert_ok(ctx, parse(ctx, &b, &t));
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 3; j++)
            for (int k = 0; k < 4; k++)
                assert_int_equal((int)gy_tensor_get(&t, (i * 3 + j) * 4 + k), 100 * i + 10 * j + k);
    gy_tensor_free(ctx, &t);
    buf_free(&b);
}

static void npy06_short_and_long_data_are_refused(void **state) {
    with_shape(*state, "(3,)", 11, "npy: data of f32 [3]: expected 12 bytes, found 11");
    with_shape(*state, "(3,)", 13, "npy: data of f32 [3]: expected 12 bytes, found 13");
}

static void every_cut_is_refused_and_no_flipped_bit_crashes(void **state) {
    gy_ctx *ctx = *state;
    gy_tensor t;
    buf b = npy(1, "{'descr': '<f4', 'fortran_order': True, 'shape': (2, 2), }\n", "0123456789abcdef", 16);
    size_t whole = b.n;
    for (b.n = 0; b.n < whole; b.n++) assert_int_equal(parse(ctx, &b, &t), GY_ERR_FORMAT);
    for (size_t i = 0; i < 8 * whole; i++) {
        b.d[i / 8] ^= (uint8_t)(1u << i % 8);
        if (parse(ctx, &b, &t) == GY_OK) gy_tensor_free(ctx, &t);
        b.d[i / 8] ^= (uint8_t)(1u << i % 8);
    }
    buf_free(&b);
}

/* ---- npz ---- */

static void npz07_a_member_that_declares_more_than_it_stores_is_refused(void **state) {
    gy_ctx *ctx = *state;
    char dir[64], path[256];
    buf b = npy(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000,), }", "1234", 4);
    gy_zip_writer *w;
    gy_npz z;
    gy_tensor t;
    temp_dir(dir);
    assert_ok(ctx, gy_zip_create(ctx, in_dir(dir, "x.npz", path), &w));
    assert_ok(ctx, gy_zip_add(w, "w.npy", b.d, b.n, 6));
    assert_ok(ctx, gy_zip_commit(w));
    assert_ok(ctx, gy_npz_open(ctx, path, NULL, &z));
    assert_message(ctx, gy_npz_read(&z, "w", &t),
                   "x.npz: 'w.npy': byte 73: npy: data of f32 [1000000]: expected 4000000 bytes, found 4");
    assert_message(ctx, gy_npz_read(&z, "v", &t), "no array 'v'; it has: w");
    gy_npz_close(ctx, &z);
    store(path, b.d, b.n);
    assert_message(ctx, gy_npz_open(ctx, path, NULL, &z), "not a zip archive");
    buf_free(&b);
    remove_dir(ctx, dir);
}

typedef struct job {
    const char *dir;
    gy_tensor t[GY_DTYPE_COUNT];
    const char *names[GY_DTYPE_COUNT];
} job;

static gy_status round_trip(gy_ctx *ctx, void *arg) {
    job *j = arg;
    char path[256];
    gy_npz z = {0};
    gy_tensor r = {0};
    int n = GY_DTYPE_COUNT - 1;
    gy_status s = gy_npy_write(ctx, in_dir(j->dir, "x.npy", path), &j->t[GY_BF16 - 1]);
    if (s == GY_OK) s = gy_npy_read(ctx, path, &r);
    if (s == GY_OK) assert_int_equal(r.dtype, GY_F32); /* bf16 widened */
    gy_tensor_free(ctx, &r);
    for (int level = 0; level < 7 && s == GY_OK; level += 6) {
        s = gy_npz_write(ctx, in_dir(j->dir, "x.npz", path), j->names, j->t, n, level);
        if (s == GY_OK) s = gy_npz_open(ctx, path, NULL, &z);
        for (int i = 0; i < n && s == GY_OK; i++) {
            char name[32];
            assert_string_equal(gy_npz_name(&z, i, name, sizeof name), j->names[i]);
            s = gy_npz_read(&z, name, &r);
            if (s != GY_OK) break;
            assert_true(gy_shape_equal(r.shape, j->t[i].shape));
            for (int64_t k = 0; k < gy_shape_count(r.shape); k++)
                assert_true(gy_tensor_get(&r, k) == gy_tensor_get(&j->t[i], k));
            gy_tensor_free(ctx, &r);
        }
        gy_npz_close(ctx, &z);
    }
    return s;
}

static void every_dtype_round_trips_and_no_memory_is_reported(void **state) {
    gy_ctx *ctx = *state;
    static const gy_shape shapes[] = {{0}, {1, {3}}, {2, {2, 3}}, {3, {4, 0, 2}}, {8, {1, 2, 1, 2, 1, 2, 1, 2}}};
    char dir[64];
    job *j = calloc(1, sizeof *j);
    j->dir = temp_dir(dir);
    for (int t = 1; t < GY_DTYPE_COUNT; t++) {
        j->names[t - 1] = gy_dtype_name((gy_dtype)t);
        assert_ok(ctx, gy_tensor_new(ctx, &j->t[t - 1], (gy_dtype)t, shapes[t % 5]));
        for (int64_t k = 0; k < gy_shape_count(shapes[t % 5]); k++) gy_tensor_set(&j->t[t - 1], k, (double)k - 1);
    }
    survive_no_memory(ctx, round_trip, j);
    for (int t = 1; t < GY_DTYPE_COUNT; t++) gy_tensor_free(ctx, &j->t[t - 1]);
    free(j);
    remove_dir(ctx, dir);
}

static void the_header_is_what_numpy_writes(void **state) {
    gy_ctx *ctx = *state;
    gy_tensor t;
    uint8_t *p;
    uint64_t n;
    assert_ok(ctx, gy_tensor_new(ctx, &t, GY_F32, GY_S(3)));
    assert_ok(ctx, gy_npy_encode(ctx, &t, &p, &n));
    assert_int_equal(n, 128 + 12);
    assert_memory_equal(p, "\x93NUMPY\x01\x00\x76\x00{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }",
                        10 + 57);
    assert_int_equal(p[127], '\n');
    gy_free(ctx, p);
    gy_tensor_free(ctx, &t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(npy01_a_header_length_past_the_file_is_refused),
        TEST(npy02_only_the_three_keys_as_literals_are_read),
        TEST(npy03_impossible_shapes_are_refused_before_allocation),
        TEST(npy04_types_that_are_no_numbers_are_refused_by_name),
        TEST(npy05_every_type_and_byte_order_is_read),
        TEST(npy05_fortran_order_becomes_row_major),
        TEST(npy06_short_and_long_data_are_refused),
        TEST(every_cut_is_refused_and_no_flipped_bit_crashes),
        TEST(npz07_a_member_that_declares_more_than_it_stores_is_refused),
        TEST(every_dtype_round_trips_and_no_memory_is_reported),
        TEST(the_header_is_what_numpy_writes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
