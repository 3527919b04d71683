/* safetensors: legal files read, hostile ones refused by tensor name, damage noticed, saves atomic. */
#include "build.h"

#include "io/formats/safetensors.h"

#include <errno.h>
#include <math.h>

typedef struct folder {
    char dir[64], path[256];
} folder;
static folder new_folder(void) {
    folder f;
    temp_dir(f.dir);
    in_dir(f.dir, "m.safetensors", f.path);
    return f;
}

static gy_status open_file(gy_ctx *ctx, const char *path, gy_safetensors *st) {
    return gy_safetensors_open(ctx, path, NULL, st);
}

/* Header text and data as a file. */
static void store_st(const char *path, const char *header, size_t hn, const void *data, size_t n) {
    buf b = buf_new();
    put64(&b, hn);
    put(&b, header, hn);
    put(&b, data, n);
    store(path, b.d, b.n);
    buf_free(&b);
}

static const uint8_t zeros[4096];

static void refuses_n(gy_ctx *ctx, const char *header, size_t hn, size_t n, const char *message) {
    folder f = new_folder();
    gy_safetensors st;
    store_st(f.path, header, hn, zeros, n);
    assert_message(ctx, open_file(ctx, f.path, &st), message);
    assert_non_null(strstr(gy_error(ctx), "m.safetensors: "));
    remove_dir(ctx, f.dir);
}
static void refuses(gy_ctx *ctx, const char *header, size_t n, const char *message) {
    refuses_n(ctx, header, strlen(header), n, message);
}
static void accepts(gy_ctx *ctx, const char *header, size_t n, int64_t count) {
    folder f = new_folder();
    gy_safetensors st;
    store_st(f.path, header, strlen(header), zeros, n);
    assert_ok(ctx, open_file(ctx, f.path, &st));
    assert_int_equal(st.n, count);
    for (int64_t i = 0; i < count; i++) {
        gy_tensor t;
        assert_ok(ctx, gy_safetensors_read(&st, i, &t));
        gy_tensor_free(ctx, &t);
    }
    gy_safetensors_close(&st);
    remove_dir(ctx, f.dir);
}

static void st01_lengths_that_lie_are_refused(void **state) {
    gy_ctx *ctx = *state;
    folder f = new_folder();
    gy_safetensors st;
    for (size_t n = 0; n < 8; n++) {
        store(f.path, zeros, n);
        assert_message(ctx, open_file(ctx, f.path, &st), "safetensors: expected at least 8 bytes, found");
    }
    store(f.path, zeros, 8);
    assert_message(ctx, open_file(ctx, f.path, &st), "JSON: expected a value, found the end");
    static const uint64_t lengths[] = {100 - 7, (uint64_t)1 << 63, UINT64_MAX, UINT64_MAX - 7};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        buf b = buf_new();
        put64(&b, lengths[i]);
        put(&b, zeros, 92);
        store(f.path, b.d, b.n);
        assert_message(ctx, open_file(ctx, f.path, &st),
                       "byte 0: safetensors: header length: expected at most 92, found");
        buf_free(&b);
    }
    remove_dir(ctx, f.dir);
    refuses(ctx, "{", 0, "expected a key or '}'");
}

static void st02_the_header_limit_is_named(void **state) {
    gy_ctx *ctx = *state;
    folder f = new_folder();
    gy_safetensors st;
    gy_limits l;
    gy_limits_init(&l);
    l.v[GY_LIMIT_SAFETENSORS_HEADER] = 10;
    store_st(f.path, "{          }", 12, "", 0);
    assert_message(ctx, gy_safetensors_open(ctx, f.path, &l, &st),
                   "safetensors header length: 12 is above the limit safetensors-header = 10");
    remove_dir(ctx, f.dir);
}

static void st03_headers_that_are_not_strict_json_are_refused(void **state) {
    gy_ctx *ctx = *state;
    refuses(ctx, "[]", 0, "header: expected an object, found an array");
    refuses(ctx, "nonsense", 0, "JSON: expected a value, found 'n'");
    refuses(ctx, "{\"\xc0\xaf\":1}", 0, "invalid UTF-8");
    refuses(ctx, "{\"\xff\":1}", 0, "invalid UTF-8");
    refuses(ctx, "{\"\\ud800\":1}", 0, "a lone surrogate");
    refuses(ctx, "{\"\\u0000\":1}", 0, "\\u0000 inside a string");
    refuses_n(ctx, "{\"a\0b\":1}", 9, 0, "a control character inside a string");
    refuses(ctx, "{}x", 0, "expected the end, found 'x'");
    enum { DEEP = 100000 };
    char *deep = malloc(DEEP);
    memset(deep, '[', DEEP);
    refuses_n(ctx, deep, DEEP, 0, "JSON nesting: 65 is above the limit json-depth = 64");
    free(deep);
}

#define T(dtype, shape, begin, end) "{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":[" begin "," end "]}"

static void st04_white_space_around_is_read(void **state) {
    accepts(*state, "{\"a\":" T("F32", "[1]", "0", "4") "}      ", 4, 1);
    accepts(*state, "\n\t{\"a\":" T("F32", "[1]", "0", "4") "}\t\n", 4, 1);
    accepts(*state, "{}", 0, 0);
    accepts(*state, "{\"__metadata__\":{\"k\":\"v\"}}", 0, 0);
}

static void st05_repeated_keys_and_bad_metadata_are_refused(void **state) {
    gy_ctx *ctx = *state;
    refuses(ctx, "{\"a\":" T("F32", "[1]", "0", "4") ",\"a\":" T("F32", "[1]", "0", "4") "}", 4,
            "the key 'a' appears twice");
    refuses(ctx, "{\"a\":" T("F32", "[1]", "0", "4") ",\"\\u0061\":" T("F32", "[1]", "0", "4") "}", 4,
            "the key 'a' appears twice");
    refuses(ctx, "{\"__metadata__\":{},\"__metadata__\":{}}", 0, "the key '__metadata__' appears twice");
    refuses(ctx, "{\"__metadata__\":{\"k\":1}}", 0,
            "'__metadata__': safetensors: values must be strings, found an integer");
    refuses(ctx, "{\"__metadata__\":[]}", 0, "'__metadata__': safetensors: expected an object");
    refuses(ctx, "{\"a\":1}", 0, "'a': safetensors: expected an object, found an integer");
}

static void st06_offsets_must_cover_the_data_once(void **state) {
    gy_ctx *ctx = *state;
    refuses(ctx, "{\"a\":" T("F32", "[1]", "4", "0") "}", 4,
            "'a': safetensors: data_offsets: expected 0 <= begin <= end, found [4, 0]");
    refuses(ctx, "{\"a\":" T("F32", "[1]", "-4", "0") "}", 4,
            "'a': safetensors: data_offsets: expected 0 <= begin <= end");
    static const char *const odd[] = {"1.5", "1e2", "18446744073709551616", "\"4\"", "null"};
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
        char h[256];
        snprintf(h, sizeof h, "{\"a\":" T("F32", "[1]", "0", "%s") "}", odd[i]);
        refuses(ctx, h, 4, "'a': safetensors: data_offsets: expected two integers");
    }
    refuses(ctx, "{\"a\":" T("U8", "[9007199254740993]", "0", "9007199254740993") "}", 4,
            "'a': safetensors: data ends at 9007199254740993, past the file's 4 bytes of data");
    refuses(ctx, "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4,8]}}", 8, "expected two integers");
    refuses(ctx, "{\"a\":" T("F32", "[1]", "4", "8") "}", 8,
            "'a': safetensors: data leaves a hole: expected to begin at 0, found 4");
    refuses(ctx, "{\"a\":" T("F32", "[1]", "0", "4") ",\"b\":" T("F32", "[1]", "8", "12") "}", 12,
            "'b': safetensors: data leaves a hole: expected to begin at 4, found 8");
    refuses(ctx, "{\"a\":" T("F32", "[2]", "0", "8") ",\"b\":" T("F32", "[2]", "4", "12") "}", 12,
            "'b': safetensors: data overlaps: expected to begin at 8, found 4");
    char ten[2048] = "{";
    for (int i = 0; i < 10; i++) {
        char one[128];
        snprintf(one, sizeof one, "%s\"n%d\":" T("F32", "[4]", "0", "16"), i ? "," : "", i);
        strcat(ten, one);
    }
    refuses(ctx, strcat(ten, "}"), 16, "'n1': safetensors: data overlaps");
    refuses(ctx, "{\"a\":" T("F32", "[1]", "0", "4") "}", 9, "safetensors: 5 bytes after the last tensor");
    refuses(ctx, "{\"a\":" T("F32", "[1]", "0", "4") "}", 3,
            "'a': safetensors: data ends at 4, past the file's 3 bytes of data");
}

static void st07_shapes_are_multiplied_with_care(void **state) {
    gy_ctx *ctx = *state;
    refuses(ctx, "{\"a\":" T("F32", "[2]", "0", "4") "}", 4,
            "'a': safetensors: F32 [2]: expected 8 bytes, found data_offsets of 4");
    refuses(ctx, "{\"a\":" T("F32", "[2, 18446744073709551614]", "0", "4") "}", 4,
            "shape: expected integers in 0 .. 2^63 - 1");
    refuses(ctx, "{\"a\":" T("I16", "[2, 9223372036854775807]", "0", "4") "}", 4, "is beyond 64 bits");
    refuses(ctx, "{\"a\":" T("F32", "[0, 9223372036854775808]", "0", "0") "}", 0,
            "shape: expected integers in 0 .. 2^63 - 1");
    refuses(ctx, "{\"a\":" T("F32", "[0, 9223372036854775807, 9223372036854775807]", "0", "0") "}", 0,
            "is beyond 64 bits");
    refuses(ctx, "{\"a\":" T("F32", "[-1]", "0", "4") "}", 4, "found a negative one");
    refuses(ctx, "{\"a\":" T("F32", "[1.0]", "0", "4") "}", 4, "found a fraction");
    refuses(ctx, "{\"a\":" T("F32", "1", "0", "4") "}", 4, "'a': safetensors: expected an array 'shape'");
    char *rank = malloc(300000);
    size_t n = (size_t)sprintf(rank, "{\"a\":{\"dtype\":\"F32\",\"shape\":[1");
    for (int i = 1; i < 100000; i++) n += (size_t)sprintf(rank + n, ",1");
    sprintf(rank + n, "],\"data_offsets\":[0,4]}}");
    refuses(ctx, rank, 4, "'a': safetensors: rank 100000, at most 8 is supported");
    free(rank);
}

static void st08_dtypes_ranks_and_alignment(void **state) {
    gy_ctx *ctx = *state;
    accepts(ctx, "{\"a\":" T("F32", "[]", "0", "4") "}", 4, 1);
    accepts(ctx, "{\"a\":" T("F32", "[2,0]", "5", "5") ",\"b\":" T("U8", "[5]", "0", "5") "}", 5, 2);
    accepts(ctx, "{\"b\":" T("U8", "[1]", "0", "1") ",\"a\":" T("F64", "[1]", "1", "9") "}", 9,
            2); /* not aligned: copied */
    static const char *const unknown[] = {"F4", "F8_E4M3", "C64", "f32", ""};
    for (int i = 0; i < 5; i++) {
        char h[256], m[64];
        snprintf(h, sizeof h, "{\"a\":" T("%s", "[3]", "0", "2") "}", unknown[i]);
        snprintf(m, sizeof m, "'a': safetensors: dtype '%s' is not supported", unknown[i]);
        refuses(ctx, h, 2, m);
    }
    refuses(ctx, "{\"a\":{\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "expected a string 'dtype'");
    refuses(ctx, "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4],\"x\":1}}", 4,
            "expected dtype, shape and data_offsets only");
}

/* ---- sharded models ---- */

static void index_case(gy_ctx *ctx, const char *index, const char *message) {
    static const char a[] = "{\"a\":" T("F32", "[1]", "0", "4") "}", b[] = "{\"b\":" T("F32", "[1]", "0", "4") "}";
    folder f = new_folder();
    char path[256];
    gy_safetensors st;
    store_st(in_dir(f.dir, "s1", path), a, sizeof a - 1, zeros, 4);
    store_st(in_dir(f.dir, "s2", path), b, sizeof b - 1, zeros, 4);
    store_st(in_dir(f.dir, "s3", path), a, sizeof a - 1, zeros, 4);
    store(in_dir(f.dir, "model.safetensors.index.json", path), index, strlen(index));
    gy_status s = gy_safetensors_open(ctx, path, NULL, &st);
    if (message)
        assert_message(ctx, s, message);
    else {
        assert_ok(ctx, s);
        assert_int_equal(st.n, 2);
        assert_int_equal(st.entries[gy_safetensors_find(&st, "b")].file, 1);
        gy_tensor t;
        assert_ok(ctx, gy_safetensors_get(&st, "b", &t));
        gy_tensor_free(ctx, &t);
        assert_message(ctx, gy_safetensors_get(&st, "c", &t), "'c': safetensors: no such tensor among 2");
        gy_safetensors_close(&st);
    }
    remove_dir(ctx, f.dir);
}

static void st09_an_index_and_its_shards_must_agree(void **state) {
    gy_ctx *ctx = *state;
    index_case(ctx, "{\"metadata\":{\"total_size\":8},\"weight_map\":{\"a\":\"s1\",\"b\":\"s2\"}}", NULL);
    index_case(ctx, "{\"weight_map\":{\"a\":\"s1\",\"b\":\"none\"}}", "none: cannot open");
    static const char *const outside[] = {"../../x", "/etc/passwd", "sub/s1", "..", "", "C:x", "a\\\\b"};
    for (int i = 0; i < 7; i++) {
        char h[256];
        snprintf(h, sizeof h, "{\"weight_map\":{\"a\":\"%s\"}}", outside[i]);
        index_case(ctx, h, "'a': safetensors index: '");
        assert_non_null(strstr(gy_error(ctx), "is not a file name in this folder"));
    }
    index_case(ctx, "{\"weight_map\":{\"a\":\"s1\",\"b\":\"s2\",\"c\":\"s2\"}}",
               "'c': safetensors index: the tensor is not in 's2'");
    index_case(ctx, "{\"weight_map\":{\"a\":\"s2\",\"b\":\"s1\"}}",
               "'a': safetensors index: the tensor is not in 's2'");
    index_case(ctx, "{\"weight_map\":{\"a\":\"s1\",\"b\":\"s3\"}}",
               "'a': safetensors: the tensor is in another shard too");
    index_case(ctx, "{\"weight_map\":{\"a\":\"s1\",\"c\":\"s2\"}}",
               "'c': safetensors index: the tensor is not in 's2'");
    index_case(ctx, "{\"weight_map\":{\"a\":7}}", "'a': safetensors index: expected a file name");
    index_case(ctx, "{\"weight_map\":{}}", "expected an object 'weight_map' with tensors");
    index_case(ctx, "{\"weight_map\":[\"s1\"]}", "expected an object 'weight_map' with tensors");
}

static void st09_a_tensor_that_no_index_lists_is_refused(void **state) {
    gy_ctx *ctx = *state;
    folder f = new_folder();
    char path[256];
    gy_safetensors st;
    static const char header[] = "{\"a\":" T("U8", "[1]", "0", "1") ",\"hidden\":" T("U8", "[1]", "1", "2") "}";
    static const char index[] = "{\"weight_map\":{\"a\":\"m.safetensors\"}}";
    store_st(f.path, header, strlen(header), zeros, 2);
    store(in_dir(f.dir, "i.json", path), index, strlen(index));
    assert_message(ctx, gy_safetensors_open(ctx, path, NULL, &st),
                   "m.safetensors: 'hidden': safetensors: the tensor is not in the index");
    remove_dir(ctx, f.dir);
}

/* ---- writing ---- */

typedef struct model {
    gy_tensor t[GY_DTYPE_COUNT];
    gy_st_tensor named[GY_DTYPE_COUNT];
    int64_t n;
    const char *path;
} model;

static void make_model(gy_ctx *ctx, model *m, const char *path) {
    static const gy_shape shapes[] = {{0}, {1, {3}}, {2, {5, 7}}, {2, {0, 4}}};
    memset(m, 0, sizeof *m);
    m->path = path;
    for (int t = 1; t < GY_DTYPE_COUNT; t++) {
        gy_tensor *x = &m->t[m->n];
        assert_ok(ctx, gy_tensor_new(ctx, x, (gy_dtype)t, shapes[t % 4]));
        for (int64_t k = 0; k < gy_shape_count(x->shape); k++) gy_tensor_set(x, k, (double)(k * k) - 3);
        if (t == GY_F32) ((float *)x->data)[0] = NAN;
        m->named[m->n++] = (gy_st_tensor){gy_dtype_name((gy_dtype)t), x};
    }
}
static void free_model(gy_ctx *ctx, model *m) {
    for (int64_t i = 0; i < m->n; i++) gy_tensor_free(ctx, &m->t[i]);
}
static gy_status write_model(gy_ctx *ctx, const model *m) {
    static const gy_st_pair meta[] = {{"step", "42"}, {"note", "\"<\xc3\xa9>\"\n"}};
    return gy_safetensors_write(ctx, m->path, m->named, m->n, meta, 2);
}

static gy_status write_read(gy_ctx *ctx, void *arg) {
    const model *m = arg;
    gy_safetensors st = {0};
    gy_status s = write_model(ctx, m);
    if (s == GY_OK) s = open_file(ctx, m->path, &st);
    if (s == GY_OK) s = gy_safetensors_verify(&st);
    for (int64_t i = 0; i < m->n && s == GY_OK; i++) {
        gy_tensor t;
        s = gy_safetensors_get(&st, m->named[i].name, &t);
        if (s != GY_OK) break;
        assert_true(t.dtype == m->t[i].dtype && gy_shape_equal(t.shape, m->t[i].shape));
        assert_memory_equal(t.data, m->t[i].data, gy_tensor_bytes(&t)); /* NaN and all */
        const gy_st_entry *e = &st.entries[gy_safetensors_find(&st, m->named[i].name)];
        assert_int_equal(e->at % gy_dtype_size(t.dtype), 0);
        gy_tensor_free(ctx, &t);
    }
    if (s == GY_OK) {
        assert_string_equal(gy_safetensors_metadata(&st, "step"), "42");
        assert_string_equal(gy_safetensors_metadata(&st, "note"), "\"<\xc3\xa9>\"\n");
        assert_null(gy_safetensors_metadata(&st, "none"));
        assert_int_equal(st.files[0].data_at % 8, 0);
    }
    gy_safetensors_close(&st);
    return s;
}

static void every_dtype_round_trips_and_no_memory_is_reported(void **state) {
    gy_ctx *ctx = *state;
    folder f = new_folder();
    model m;
    make_model(ctx, &m, f.path);
    assert_ok(ctx, write_read(ctx, &m));
    buf a = slurp(f.path);
    assert_int_equal(a.d[8], '{');
    survive_no_memory(ctx, write_read, &m);
    buf b = slurp(f.path);
    assert_int_equal(a.n, b.n);
    assert_memory_equal(a.d, b.d, a.n);
    buf_free(&a);
    buf_free(&b);
    free_model(ctx, &m);
    remove_dir(ctx, f.dir);
}

/* A checkpoint with any bit flipped or cut anywhere never passes: opening or verifying refuses it. */
static void every_flipped_bit_and_every_cut_is_noticed(void **state) {
    gy_ctx *ctx = *state;
    folder f = new_folder();
    gy_tensor t;
    gy_safetensors st;
    int checksums = 0;
    assert_ok(ctx, gy_tensor_new(ctx, &t, GY_F32, GY_S(4)));
    gy_st_tensor named = {"w", &t};
    assert_ok(ctx, gy_safetensors_write(ctx, f.path, &named, 1, NULL, 0));
    buf b = slurp(f.path);
    for (size_t i = 0; i < 8 * b.n; i++) {
        b.d[i / 8] ^= (uint8_t)(1u << i % 8);
        store(f.path, b.d, b.n);
        gy_status s = open_file(ctx, f.path, &st);
        if (s == GY_OK) {
            s = gy_safetensors_verify(&st);
            checksums += s == GY_ERR_FORMAT;
            gy_safetensors_close(&st);
        }
        if (s != GY_ERR_FORMAT) fail_msg("bit %zu passed", i);
        assert_non_null(strstr(gy_error(ctx), "m.safetensors: "));
        b.d[i / 8] ^= (uint8_t)(1u << i % 8);
    }
    assert_true(checksums > 128); /* at least those in the data */
    b.d[b.n - 1] ^= 1;
    store(f.path, b.d, b.n);
    assert_ok(ctx, open_file(ctx, f.path, &st));
    assert_message(ctx, gy_safetensors_verify(&st), "m.safetensors: damaged: checksum crc32: expected ");
    gy_safetensors_close(&st);
    for (size_t n = 0; n < b.n; n++) {
        store(f.path, b.d, n);
        assert_int_equal(open_file(ctx, f.path, &st), GY_ERR_FORMAT);
    }
    buf_free(&b);
    store_st(f.path, "{}", 2, "", 0);
    assert_ok(ctx, open_file(ctx, f.path, &st));
    assert_message(ctx, gy_safetensors_verify(&st), "no checksum: expected metadata 'crc32'");
    gy_safetensors_close(&st);
    gy_tensor_free(ctx, &t);
    remove_dir(ctx, f.dir);
}

static void st10_saving_onto_the_file_being_read_is_safe(void **state) {
    gy_ctx *ctx = *state;
    folder f = new_folder();
    enum { N = 1 << 19 }; /* 2 MiB: mapped */
    gy_tensor t, r;
    gy_safetensors st;
    assert_ok(ctx, gy_tensor_new(ctx, &t, GY_F32, GY_S(N)));
    for (int i = 0; i < N; i++) ((float *)t.data)[i] = (float)i;
    gy_st_tensor named = {"w", &t};
    assert_ok(ctx, gy_safetensors_write(ctx, f.path, &named, 1, NULL, 0));
    assert_ok(ctx, open_file(ctx, f.path, &st));
    gy_tensor_set(&t, 0, -1);
    assert_ok(ctx, gy_safetensors_write(ctx, f.path, &named, 1, NULL, 0));
    assert_ok(ctx, gy_safetensors_get(&st, "w", &r)); /* the old content still */
    assert_true(gy_tensor_get(&r, 0) == 0 && gy_tensor_get(&r, N - 1) == N - 1);
    gy_tensor_free(ctx, &r);
    gy_safetensors_close(&st);

    assert_ok(ctx, open_file(ctx, f.path, &st)); /* cut while open: an error, no signal */
    assert_int_equal(truncate(f.path, 5000), 0);
    assert_message(ctx, gy_safetensors_get(&st, "w", &r), "the file was cut while open");
    assert_message(ctx, gy_safetensors_verify(&st), "the file was cut while open");
    gy_safetensors_close(&st);
    gy_tensor_free(ctx, &t);
    remove_dir(ctx, f.dir);
}

static void a_failed_save_leaves_the_old_checkpoint(void **state) {
    gy_ctx *ctx = *state;
    folder f = new_folder();
    model m;
    make_model(ctx, &m, f.path);
    assert_ok(ctx, write_model(ctx, &m));
    gy_tensor_set(&m.t[1], 0, 99);
    for (int64_t n = 1;; n++) {
        gy_safetensors st;
        gy_files_set_fault(ctx, (gy_fault){.at = n, .err = ENOSPC});
        gy_status s = write_model(ctx, &m);
        gy_files_set_fault(ctx, (gy_fault){0});
        assert_int_equal(count_files(ctx, f.dir), 1);
        gy_error_clear(ctx);
        assert_ok(ctx, open_file(ctx, f.path, &st)); /* whole, old or new */
        assert_ok(ctx, gy_safetensors_verify(&st));
        gy_safetensors_close(&st);
        if (s == GY_OK) break;
    }
    free_model(ctx, &m);
    remove_dir(ctx, f.dir);
}

static void names_that_cannot_be_written_are_refused(void **state) {
    gy_ctx *ctx = *state;
    folder f = new_folder();
    gy_tensor t;
    assert_ok(ctx, gy_tensor_new(ctx, &t, GY_F32, GY_S(1)));
    gy_st_tensor twice[] = {{"w", &t}, {"v", &t}, {"w", &t}}, reserved = {"__metadata__", &t}, latin = {"caf\xe9", &t};
    gy_st_pair crc = {"crc32", "x"}, bad = {"k", "\xff"};
    assert_message(ctx, gy_safetensors_write(ctx, f.path, twice, 3, NULL, 0), "tensor name 'w' appears twice");
    assert_message(ctx, gy_safetensors_write(ctx, f.path, &reserved, 1, NULL, 0),
                   "tensor name '__metadata__' is reserved");
    assert_message(ctx, gy_safetensors_write(ctx, f.path, &latin, 1, NULL, 0), "tensor name 'caf\\xe9' is not UTF-8");
    assert_message(ctx, gy_safetensors_write(ctx, f.path, twice, 2, &crc, 1), "metadata key 'crc32' is reserved");
    assert_message(ctx, gy_safetensors_write(ctx, f.path, twice, 2, &bad, 1), "metadata 'k': the value is not UTF-8");
    assert_false(gy_path_exists(f.path));
    gy_tensor_free(ctx, &t);
    remove_dir(ctx, f.dir);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(st01_lengths_that_lie_are_refused),
        TEST(st02_the_header_limit_is_named),
        TEST(st03_headers_that_are_not_strict_json_are_refused),
        TEST(st04_white_space_around_is_read),
        TEST(st05_repeated_keys_and_bad_metadata_are_refused),
        TEST(st06_offsets_must_cover_the_data_once),
        TEST(st07_shapes_are_multiplied_with_care),
        TEST(st08_dtypes_ranks_and_alignment),
        TEST(st09_an_index_and_its_shards_must_agree),
        TEST(st09_a_tensor_that_no_index_lists_is_refused),
        TEST(every_dtype_round_trips_and_no_memory_is_reported),
        TEST(every_flipped_bit_and_every_cut_is_noticed),
        TEST(st10_saving_onto_the_file_being_read_is_safe),
        TEST(a_failed_save_leaves_the_old_checkpoint),
        TEST(names_that_cannot_be_written_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
