/* PyTorch state dicts: what torch writes is read, whatever is foreign is refused by name and never run. */
#include "build.h"

#include "core/state.h"
#include "io/formats/zip.h"
#include "io/weights.h"

#include <time.h>

/* ---- building pickles ---- */

static void p_text(buf *b, const char *s) {
    put8(b, 'X');
    put32(b, (uint32_t)strlen(s));
    put_s(b, s);
}
static void p_int(buf *b, int64_t v) {
    put8(b, 0x8a);
    put8(b, 8);
    put64(b, (uint64_t)v);
}
static void p_ints(buf *b, int n, const int64_t *v) {
    put8(b, '(');
    for (int i = 0; i < n; i++) p_int(b, v[i]);
    put8(b, 't');
}
static void p_storage(buf *b, const char *type, const char *key, int64_t count) {
    put8(b, '(');
    p_text(b, "storage");
    put_s(b, "ctorch\n");
    put_s(b, type);
    put_s(b, "\n");
    p_text(b, key);
    p_text(b, "cpu");
    p_int(b, count);
    put_s(b, "tQ");
}
typedef struct view {
    const char *type, *key;
    int64_t count, offset, rank, size[10], stride[10];
} view;
static void p_tensor(buf *b, view v) {
    put_s(b, "ctorch._utils\n_rebuild_tensor_v2\n(");
    p_storage(b, v.type ? v.type : "FloatStorage", v.key ? v.key : "0", v.count);
    p_int(b, v.offset);
    p_ints(b, (int)v.rank, v.size);
    p_ints(b, (int)v.rank, v.stride);
    put_s(b, "\x89"
             "ccollections\nOrderedDict\n)RtR");
}

/* ---- building files ---- */

typedef struct place {
    char dir[64], path[256];
} place;
static place new_place(void) {
    place f;
    temp_dir(f.dir);
    in_dir(f.dir, "m.pth", f.path);
    return f;
}

static const uint8_t content[64] = {0, 0, 0x80, 0x3f, 0, 0, 0, 0x40}; /* 1.0f, 2.0f, 0 ... */

static void store_zip(gy_ctx *ctx, const char *path, const void *pickle, size_t n, const char *key, size_t bytes,
                      int level) {
    gy_zip_writer *w;
    char name[128];
    assert_ok(ctx, gy_zip_create(ctx, path, &w));
    assert_ok(ctx, gy_zip_add(w, "m/data.pkl", pickle, n, 0));
    snprintf(name, sizeof name, "m/data/%s", key);
    assert_ok(ctx, gy_zip_add(w, name, content, bytes, level));
    assert_ok(ctx, gy_zip_commit(w));
}

static void open_pickle(gy_ctx *ctx, const void *pickle, size_t n, size_t bytes, const char *message) {
    place f = new_place();
    gy_pth p;
    store_zip(ctx, f.path, pickle, n, "0", bytes, 0);
    gy_status s = gy_pth_open(ctx, f.path, NULL, &p);
    if (message) {
        assert_message(ctx, s, message);
        assert_non_null(strstr(gy_error(ctx), "m.pth: "));
    } else {
        assert_ok(ctx, s);
        for (int64_t i = 0; i < p.n; i++) {
            gy_tensor t;
            assert_ok(ctx, gy_pth_read(&p, i, &t));
            gy_tensor_free(ctx, &t);
        }
        gy_pth_close(&p);
    }
    remove_dir(ctx, f.dir);
}

/* "\x80\2" and the bytes of a string literal, NULs included. */
#define REFUSES(body, message) refuses_raw(ctx, "\x80\2" body, sizeof("\x80\2" body) - 1, message)
static void refuses_raw(gy_ctx *ctx, const char *s, size_t n, const char *message) {
    open_pickle(ctx, s, n, 4, message);
}

/* {"w": tensor} */
static void tensor_case(gy_ctx *ctx, view v, size_t bytes, const char *message) {
    buf b = buf_new();
    put_s(&b, "\x80\2}");
    p_text(&b, "w");
    p_tensor(&b, v);
    put_s(&b, "s.");
    open_pickle(ctx, b.d, b.n, bytes, message);
    buf_free(&b);
}

/* ---- what torch writes ---- */

static void check_values(gy_ctx *ctx, gy_pth *p, const char *name, gy_dtype dtype, gy_shape shape, const double *v) {
    gy_tensor t;
    assert_ok(ctx, gy_pth_get(p, name, &t));
    assert_int_equal(t.dtype, dtype);
    assert_true(gy_shape_equal(t.shape, shape));
    for (int64_t i = 0; i < gy_shape_count(shape); i++)
        if (gy_tensor_get(&t, i) != v[i]) fail_msg("%s[%d] is %g, not %g", name, (int)i, gy_tensor_get(&t, i), v[i]);
    gy_tensor_free(ctx, &t);
}

static void check_golden(gy_ctx *ctx, const char *path) {
    gy_pth p;
    double v[24];
    static const double up[] = {0, 1, 2, 3, 4, 5}, about[] = {-1, 0, 1}, two[] = {5, 5}, six[] = {6};
    assert_ok(ctx, gy_pth_open(ctx, path, NULL, &p));
    assert_int_equal(p.n, 25);
    for (int i = 0; i < 24; i++) v[i] = (i % 4) * 6 + i / 4;
    check_values(ctx, &p, "model.transposed", GY_F32, GY_S(6, 4), v);
    check_values(ctx, &p, "model.head", GY_F32, GY_S(5), up);
    check_values(ctx, &p, "model.strided", GY_F32, GY_S(2, 2, 2), (double[]){4, 6, 8, 10, 16, 18, 20, 22});
    check_values(ctx, &p, "model.weight", GY_F32, GY_S(2, 3), up);
    check_values(ctx, &p, "model.f64", GY_F64, GY_S(3), up);
    check_values(ctx, &p, "model.f16", GY_F16, GY_S(3), up);
    check_values(ctx, &p, "model.bf16", GY_BF16, GY_S(3), up);
    check_values(ctx, &p, "model.i64", GY_I64, GY_S(3), about);
    check_values(ctx, &p, "model.i32", GY_I32, GY_S(3), about);
    check_values(ctx, &p, "model.i16", GY_I16, GY_S(3), about);
    check_values(ctx, &p, "model.i8", GY_I8, GY_S(3), about);
    check_values(ctx, &p, "model.u8", GY_U8, GY_S(3), up);
    check_values(ctx, &p, "model.bool", GY_BOOL, GY_S(3), (double[]){1, 0, 1});
    check_values(ctx, &p, "model.scalar", GY_I64, GY_S0, (double[]){7});
    check_values(ctx, &p, "model.empty", GY_F32, GY_S(0, 4), NULL);
    check_values(ctx, &p, "layer.weight", GY_F32, GY_S(1, 2), (double[]){1, 1});
    check_values(ctx, &p, "optimizer.state.0.step", GY_F32, GY_S0, (double[]){1});
    check_values(ctx, &p, "list.0", GY_F32, GY_S(2), two);
    check_values(ctx, &p, "list.1.0", GY_F32, GY_S(1), six);
    assert_int_equal(p.entries[gy_pth_find(&p, "model.head")].storage,
                     p.entries[gy_pth_find(&p, "model.transposed")].storage);
    assert_int_equal(gy_pth_find(&p, "epoch"), -1);
    gy_tensor t;
    assert_message(ctx, gy_pth_get(&p, "model.none", &t), "'model.none': pth: no such tensor among 25");
    gy_pth_close(&p);
}

static void pt09_files_that_torch_wrote_are_read(void **state) {
    check_golden(*state, "tests/golden/state_dict.pth");
    check_golden(*state, "tests/golden/state_dict_legacy.pth");
}

/* ---- PT-01 ---- */

static void pt01_foreign_globals_are_refused_by_name(void **state) {
    gy_ctx *ctx = *state;
    REFUSES("cos\nsystem\nX\2\0\0\0ls\x85R.", "byte 2: pickle: the global 'os.system' is not allowed");
    REFUSES("c__builtin__\neval\n.", "the global '__builtin__.eval' is not allowed");
    REFUSES("cbuiltins\ngetattr\n.", "the global 'builtins.getattr' is not allowed");
    REFUSES("ctorch.hub\nload\n.", "the global 'torch.hub.load' is not allowed");
    REFUSES("ctorch\nhub.load\n.", "the global 'torch.hub.load' is not allowed");
    REFUSES("ctorch._utils\n_rebuild_tensor_v2.__globals__\n.", "_rebuild_tensor_v2.__globals__' is not allowed");
    REFUSES("ctorch\nFloatStorage.from_file\n.", "the global 'torch.FloatStorage.from_file' is not allowed");
    /* both words from the memo */
    REFUSES("X\2\0\0\0osq\0X\6\0\0\0systemq\1h\0h\1\x93.", "the global 'os.system' is not allowed");
    REFUSES("cos\nsy\x1b[2Jstem\n.", "'os.sy\\x1b[2Jstem' is not allowed");
    REFUSES("\x82\1.", "opcode 0x82 (EXT1) is not allowed");
    REFUSES("\x83\1\0.", "opcode 0x83 (EXT2) is not allowed");
    REFUSES("\x84\1\0\0\0.", "opcode 0x84 (EXT4) is not allowed");
    REFUSES("ccollections\nOrderedDict\n)\x81.", "opcode 0x81 (NEWOBJ) is not allowed");
    REFUSES("(S'ls'\nios\nsystem\n.", "opcode 0x53 (STRING) is not allowed");
    REFUSES("(ios\nsystem\n.", "opcode 0x69 (INST) is not allowed");
    REFUSES("P0\n.", "opcode 0x50 (PERSID) is not allowed");
    REFUSES("\xff.", "opcode 0xff (no opcode) is not allowed");
    REFUSES("ctorch\nFloatStorage\n)R.", "REDUCE: 'torch.FloatStorage' cannot be called");
    REFUSES("ctorch\nfloat32\n)R.", "REDUCE: 'torch.float32' cannot be called");
    REFUSES("X\1\0\0\0a)R.", "REDUCE: expected a global and a tuple");
}

/* ---- PT-02, PT-03 ---- */

static void pt03_pickles_that_do_not_end_well_are_refused(void **state) {
    gy_ctx *ctx = *state;
    REFUSES("}.}", "byte 4: pickle: 1 bytes after STOP");
    REFUSES("}", "byte 3: pickle: the end without STOP");
    REFUSES("", "byte 2: pickle: the end without STOP");
    REFUSES(".", "STOP: expected one object on the stack, found 0");
    REFUSES("}}.", "STOP: expected one object on the stack, found 2");
    REFUSES("}(.", "STOP: expected one object");
    refuses_raw(ctx, "\x80\6}.", 4, "byte 0: pickle: PROTO: expected 2 to 5, found 6");
    refuses_raw(ctx, "\x80\1}.", 4, "PROTO: expected 2 to 5, found 1");
    refuses_raw(ctx, "}.", 2, "byte 0: pickle: expected PROTO first");
    REFUSES("\x95\xff\0\0\0\0\0\0\0}.", "byte 2: pickle: FRAME: 255 bytes, 2 are left");
    REFUSES("\x95\2\0\0\0\0\0\0\0}.", NULL);
    REFUSES("K\1.", "pth: expected a dictionary of tensors, found an integer");
    /* the payload first, broken bytes behind: refused all the same, and by the payload's name */
    REFUSES("cposix\nsystem\nX\2\0\0\0ls\x85R\xff\xff", "the global 'posix.system' is not allowed");
}

/* ---- PT-04 ---- */

static void pt04_misuse_of_the_stack_is_refused(void **state) {
    gy_ctx *ctx = *state;
    REFUSES("0.", "pickle: stack underflow");
    REFUSES("1.", "pickle: no mark on the stack");
    REFUSES("t.", "pickle: no mark on the stack");
    REFUSES("\x87.", "pickle: stack underflow");
    REFUSES("K\1(\x85.", "pickle: stack underflow"); /* below the mark */
    REFUSES("q\0.", "pickle: stack underflow");
    REFUSES("(u.", "pickle: stack underflow");
    REFUSES("]X\1\0\0\0aK\1s.", "SETITEMS: expected a dictionary, found a list");
    REFUSES("](X\1\0\0\0aK\1u.", "SETITEMS: expected a dictionary, found a list");
    REFUSES("}(X\1\0\0\0au.", "SETITEMS: a key without a value");
    REFUSES("}K\1a.", "APPENDS: expected a list, found a dictionary");
    REFUSES(")(K\1e.", "APPENDS: expected a list, found a tuple");
    REFUSES("}}b.", "BUILD: expected an OrderedDict and a dictionary, found a dictionary and a dictionary");
    REFUSES("X\1\0\0\0a}b.", "BUILD: expected an OrderedDict and a dictionary, found a string");
    REFUSES("ccollections\nOrderedDict\n)R)b.", "BUILD: expected an OrderedDict and a dictionary");
    REFUSES("K\1Q.", "BINPERSID: expected a tuple");
    REFUSES(")Q.", "BINPERSID: expected ('storage', type, key, location, elements)");
    REFUSES("ctorch._utils\n_rebuild_tensor_v2\n)R.", "tensor: expected (storage, offset, sizes, strides, ...)");
    REFUSES("ctorch._utils\n_rebuild_parameter\nK\1\x85R.", "parameter: expected a tensor");
    REFUSES("ctorch\nSize\n)R.", "torch.Size: expected a tuple of integers");
    REFUSES("ccollections\nOrderedDict\n}\x85R.", "OrderedDict: expected a list of pairs");
    REFUSES("ccollections\nOrderedDict\n]K\1a\x85R.", "OrderedDict: expected a list of pairs");
}

/* ---- PT-05 ---- */

static void pt05_lengths_and_memo_indices_that_lie_are_refused(void **state) {
    gy_ctx *ctx = *state;
    REFUSES("}r\0\0\0\x80.", "memo: expected an index up to 0, found 2147483648");
    REFUSES("}q\1.", "memo: expected an index up to 0, found 1");
    REFUSES("h\7.", "memo: nothing was stored at 7");
    REFUSES("j\0\0\0\x80.", "memo: nothing was stored at 2147483648");
    REFUSES("\x8d\0\0\0\0\0\0\0\x80.", "pickle: expected 9223372036854775808 more bytes, found 1");
    REFUSES("X\xff\xff\xff\xff.", "pickle: expected 4294967295 more bytes, found 1");
    REFUSES("\x8b\0\0\0\x80.", "LONG4: a negative length");
    REFUSES("\x8b\xff\xff\xff\x7f.", "pickle: expected 2147483647 more bytes");
    REFUSES("\x8a\xff.", "pickle: expected 255 more bytes, found 1");
    REFUSES("K", "byte 3: pickle: expected 1 more bytes, found 0");
    REFUSES("G\0\0.", "pickle: expected 8 more bytes, found 3");
    REFUSES("cos", "pickle: expected 1 more bytes, found 0");
    REFUSES("}(K\xff"
            "M\xff\xff"
            "J\xff\xff\xff\xffNu.",
            NULL);
    REFUSES("\x80\2}q\0r\1\0\0\0\x94h\0"
            "0.",
            NULL);
}

/* ---- PT-06 ---- */

static void pt06_shared_and_circular_objects_cost_bounded_work(void **state) {
    gy_ctx *ctx = *state;
    REFUSES("}N]s.", "'': pth: a key that is None, expected a string or an integer");
    REFUSES("}q\0X\1\0\0\0ah\0s.", "'a': pth: a container that contains itself");
    REFUSES("]q\0h\0a.", "pth: a container that contains itself");
    buf b = buf_new(); /* t0 = [], t(i+1) = (ti, ti): 2^60 places */
    put_s(&b, "\x80\2]q");
    put8(&b, 0);
    for (unsigned i = 0; i < 60; i++) {
        put8(&b, 'h');
        put8(&b, i);
        put_s(&b, "\x86q");
        put8(&b, i + 1);
    }
    put_s(&b, ".");
    clock_t t = clock();
    open_pickle(ctx, b.d, b.n, 4, "pth: shared containers multiply beyond");
    assert_true(clock() - t < CLOCKS_PER_SEC);
    buf_free(&b);
    b = buf_new();
    put_s(&b, "\x80\2");
    for (int i = 0; i < 100000; i++) put8(&b, ']');
    for (int i = 1; i < 100000; i++) put8(&b, 'a');
    put_s(&b, ".");
    open_pickle(ctx, b.d, b.n, 4, "pth: containers nested deeper than 64");
    buf_free(&b);
    b = buf_new(); /* one list of pairs, made a dictionary again and again */
    put_s(&b, "\x80\2](");
    for (int i = 0; i < 10000; i++) put_s(&b, "K\1K\1\x86");
    put_s(&b, "eq");
    put8(&b, 0);
    for (int i = 0; i < 10000; i++) {
        put_s(&b, "ccollections\nOrderedDict\nh");
        put8(&b, 0);
        put_s(&b, "\x85R"
                  "0");
    }
    put_s(&b, ".");
    open_pickle(ctx, b.d, b.n, 4, "pickle: more items than bytes");
    buf_free(&b);
}

/* ---- PT-07 ---- */

static void pt07_storages_must_be_what_the_pickle_says(void **state) {
    gy_ctx *ctx = *state;
    view one = {.count = 1, .rank = 1, .size = {1}, .stride = {1}}, v = one;
    tensor_case(ctx, one, 4, NULL);
    v.key = "1";
    tensor_case(ctx, v, 4, "'w': pth: the archive has no member for storage '1'");
    static const char *const paths[] = {"../x", "/etc/passwd", "a/b", "..", "", "a\\b", "a.b"};
    for (int i = 0; i < 7; i++) {
        v.key = paths[i];
        tensor_case(ctx, v, 4, "' is not a plain word");
    }
    tensor_case(ctx, one, 8, "'m/data/0': pth: the storage is declared with 4 bytes, found 8");
    tensor_case(ctx, one, 3, "'m/data/0': pth: the storage is declared with 4 bytes, found 3");
    v = one;
    v.count = INT64_MAX;
    tensor_case(ctx, v, 4, "'w': pth: a storage of 9223372036854775807 elements, more than the file holds");
    v.count = -1;
    tensor_case(ctx, v, 4, "BINPERSID: expected");
    buf b = buf_new();
    put_s(&b, "\x80\2}(");
    p_text(&b, "a");
    p_tensor(&b, one);
    p_text(&b, "b");
    v = one;
    v.type = "IntStorage";
    p_tensor(&b, v);
    put_s(&b, "u.");
    open_pickle(ctx, b.d, b.n, 4, "'b': pth: its storage is used with two element types");
    b.n -= 2;
    put_s(&b, "u.");
    buf_free(&b);
    b = buf_new();
    put_s(&b, "\x80\2}(");
    p_text(&b, "a.b");
    p_tensor(&b, one);
    p_text(&b, "a");
    put8(&b, '}');
    p_text(&b, "b");
    p_tensor(&b, one);
    put_s(&b, "su.");
    open_pickle(ctx, b.d, b.n, 4, "'a.b': pth: the name appears twice");
    buf_free(&b);
    v = one;
    v.type = "ComplexFloatStorage";
    tensor_case(ctx, v, 4, "the global 'torch.ComplexFloatStorage' is not allowed");
}

/* ---- PT-08 ---- */

static void pt08_views_must_lie_in_their_storage(void **state) {
    gy_ctx *ctx = *state;
    int64_t huge = INT64_MAX;
    tensor_case(ctx, (view){.count = 4, .offset = -1, .rank = 1, .size = {1}, .stride = {1}}, 16,
                "'w': pth: a negative offset, -1");
    tensor_case(ctx, (view){.count = 4, .rank = 1, .size = {2}, .stride = {-1}}, 16, "'w': pth: a negative stride, -1");
    tensor_case(ctx, (view){.count = 4, .rank = 1, .size = {-2}, .stride = {1}}, 16, "'w': pth: a negative size, -2");
    tensor_case(ctx, (view){.count = 4, .offset = 1, .rank = 1, .size = {4}, .stride = {1}}, 16,
                "'w': pth: [4] at offset 1 goes past its storage of 4 elements");
    tensor_case(ctx, (view){.count = 4, .rank = 2, .size = {2, 2}, .stride = {3, 1}}, 16,
                "'w': pth: [2, 2] at offset 0 goes past its storage of 4 elements");
    tensor_case(ctx, (view){.count = 4, .offset = huge, .rank = 1, .size = {1}, .stride = {1}}, 16,
                "goes past its storage");
    tensor_case(ctx, (view){.count = 4, .rank = 2, .size = {3, 3}, .stride = {huge, huge}}, 16,
                "goes past its storage");
    tensor_case(ctx, (view){.count = 1, .rank = 1, .size = {1000000000000}, .stride = {0}}, 4,
                "'w': pth: [1000000000000] is expanded from a storage of 1 elements");
    tensor_case(ctx, (view){.count = 1, .rank = 3, .size = {huge, huge, 2}, .stride = {0, 0, 0}}, 4,
                "is beyond 64 bits");
    tensor_case(ctx, (view){.count = 1, .rank = 9, .size = {1, 1, 1, 1, 1, 1, 1, 1, 1}}, 4,
                "'w': pth: more than 8 dimensions");
    /* legal: strides of dimensions of one element are never used; nothing is read of an empty tensor */
    tensor_case(ctx, (view){.count = 2, .rank = 3, .size = {1, 2, 1}, .stride = {huge, 1, huge}}, 8, NULL);
    tensor_case(ctx, (view){.count = 2, .rank = 2, .size = {0, 5}, .stride = {huge, huge}}, 8, NULL);
    tensor_case(ctx, (view){.count = 2, .offset = 3, .rank = 1, .size = {0}, .stride = {1}}, 8,
                "goes past its storage");
    buf b = buf_new();
    put_s(&b, "\x80\2}");
    p_text(&b, "w");
    put_s(&b, "ctorch._utils\n_rebuild_tensor\n(");
    p_storage(&b, "FloatStorage", "0", 2);
    p_int(&b, 0);
    p_ints(&b, 1, (int64_t[]){2});
    p_ints(&b, 2, (int64_t[]){1, 1});
    put_s(&b, "tRs.");
    open_pickle(ctx, b.d, b.n, 8, "'w': pth: the sizes and the strides differ in number");
    buf_free(&b);
}

/* A view whose elements lie far apart is read run by run, a dense one at once; both give the same. */
static void sparse_and_dense_views_agree(void **state) {
    gy_ctx *ctx = *state;
    place f = new_place();
    buf b = buf_new();
    put_s(&b, "\x80\2}(");
    p_text(&b, "sparse");
    p_tensor(&b, (view){.count = 16, .offset = 1, .rank = 2, .size = {2, 1}, .stride = {14, 1}});
    p_text(&b, "dense");
    p_tensor(&b, (view){.count = 16, .rank = 2, .size = {2, 2}, .stride = {1, 2}});
    put_s(&b, "u.");
    store_zip(ctx, f.path, b.d, b.n, "0", 64, 0);
    gy_pth p;
    assert_ok(ctx, gy_pth_open(ctx, f.path, NULL, &p));
    check_values(ctx, &p, "sparse", GY_F32, GY_S(2, 1), (double[]){2, 0});
    check_values(ctx, &p, "dense", GY_F32, GY_S(2, 2), (double[]){1, 0, 2, 0});
    gy_pth_close(&p);
    buf_free(&b);
    remove_dir(ctx, f.dir);
}

/* ---- the archive ---- */

static void archives_that_torch_does_not_write_are_refused(void **state) {
    gy_ctx *ctx = *state;
    place f = new_place();
    buf b = buf_new();
    gy_pth p;
    gy_zip_writer *w;
    put_s(&b, "\x80\2}");
    p_text(&b, "w");
    p_tensor(&b, (view){.count = 16, .rank = 1, .size = {16}, .stride = {1}});
    put_s(&b, "s.");
    store_zip(ctx, f.path, b.d, b.n, "0", 64, 9);
    assert_message(ctx, gy_pth_open(ctx, f.path, NULL, &p),
                   "'m/data/0': pth: expected a stored member, found a compressed one");
    assert_ok(ctx, gy_zip_create(ctx, f.path, &w));
    assert_ok(ctx, gy_zip_add(w, "m/data.pkl", b.d, b.n, 0));
    assert_ok(ctx, gy_zip_add(w, "n/data.pkl", b.d, b.n, 0));
    assert_ok(ctx, gy_zip_commit(w));
    assert_message(ctx, gy_pth_open(ctx, f.path, NULL, &p), "'n/data.pkl': pth: a second data.pkl");
    assert_ok(ctx, gy_zip_create(ctx, f.path, &w));
    assert_ok(ctx, gy_zip_add(w, "m/code.pkl", b.d, b.n, 0));
    assert_ok(ctx, gy_zip_commit(w));
    assert_message(ctx, gy_pth_open(ctx, f.path, NULL, &p), "pth: the archive has no data.pkl");
    assert_ok(ctx, gy_zip_create(ctx, f.path, &w));
    assert_ok(ctx, gy_zip_add(w, "m/data.pkl", b.d, b.n, 0));
    assert_ok(ctx, gy_zip_add(w, "m/byteorder", "middle", 6, 0));
    assert_ok(ctx, gy_zip_commit(w));
    assert_message(ctx, gy_pth_open(ctx, f.path, NULL, &p), "'m/byteorder': pth: expected 'little' or 'big'");
    store(f.path, "nonsense", 8);
    assert_message(ctx, gy_pth_open(ctx, f.path, NULL, &p), "pth: expected a zip archive or a pickle, found neither");
    store(f.path, "\x80\2}q\0.", 6);
    assert_message(ctx, gy_pth_open(ctx, f.path, NULL, &p), "pth: a pickle without PyTorch's magic number");
    /* one bit of a weight */
    store_zip(ctx, f.path, b.d, b.n, "0", 64, 0);
    buf z = slurp(f.path);
    for (size_t i = 0; i + 8 < z.n; i++)
        if (memcmp(z.d + i, content, 8) == 0) z.d[i + 3] ^= 1;
    store(f.path, z.d, z.n);
    gy_tensor t;
    assert_ok(ctx, gy_pth_open(ctx, f.path, NULL, &p));
    assert_message(ctx, gy_pth_read(&p, 0, &t), "'w': pth: damaged: CRC-32 of its storage: expected");
    gy_pth_close(&p);
    buf_free(&z);
    buf_free(&b);
    remove_dir(ctx, f.dir);
}

static void big_endian_storages_are_turned(void **state) {
    gy_ctx *ctx = *state;
    place f = new_place();
    buf b = buf_new();
    gy_pth p;
    gy_zip_writer *w;
    put_s(&b, "\x80\2}");
    p_text(&b, "w");
    p_tensor(&b, (view){.count = 1, .rank = 1, .size = {1}, .stride = {1}});
    put_s(&b, "s.");
    assert_ok(ctx, gy_zip_create(ctx, f.path, &w));
    assert_ok(ctx, gy_zip_add(w, "m/data.pkl", b.d, b.n, 0));
    assert_ok(ctx, gy_zip_add(w, "m/byteorder", "big", 3, 0));
    assert_ok(ctx, gy_zip_add(w, "m/data/0", "\x40\x40\0\0", 4, 0));
    assert_ok(ctx, gy_zip_commit(w));
    assert_ok(ctx, gy_pth_open(ctx, f.path, NULL, &p));
    check_values(ctx, &p, "w", GY_F32, GY_S(1), (double[]){3});
    gy_pth_close(&p);
    buf_free(&b);
    remove_dir(ctx, f.dir);
}

/* Cut anywhere, with any byte changed: an error or a whole result, under the sanitizers without a finding. */
static void damaged_files_never_crash_the_reader(void **state) {
    gy_ctx *ctx = *state;
    static const char *const golden[] = {"tests/golden/state_dict.pth", "tests/golden/state_dict_legacy.pth"};
    place f = new_place();
    uint64_t random = 1;
    for (int k = 0; k < 2; k++) {
        buf b = slurp(golden[k]);
        for (int i = 0; i < 600; i++) {
            random = random * 6364136223846793005u + 1442695040888963407u;
            size_t at = (size_t)(random >> 33) % (k ? b.n : 4200 < b.n ? 4200 : b.n);
            uint8_t old = b.d[at];
            bool cut = i % 8 == 0;
            b.d[at] = (uint8_t)(random >> 20);
            store(f.path, b.d, cut ? at : b.n);
            b.d[at] = old;
            gy_pth p;
            if (gy_pth_open(ctx, f.path, NULL, &p) != GY_OK) {
                assert_true(gy_error(ctx)[0] != 0);
                continue;
            }
            for (int64_t j = 0; j < p.n; j++) {
                gy_tensor t;
                if (gy_pth_read(&p, j, &t) == GY_OK) gy_tensor_free(ctx, &t);
            }
            gy_pth_close(&p);
        }
        buf_free(&b);
    }
    remove_dir(ctx, f.dir);
}

static void legacy_storages_must_fill_the_file(void **state) {
    gy_ctx *ctx = *state;
    place f = new_place();
    gy_pth p;
    buf b = slurp("tests/golden/state_dict_legacy.pth");
    store(f.path, b.d, b.n - 1);
    assert_message(ctx, gy_pth_open(ctx, f.path, NULL, &p), "bytes of a storage, found");
    put8(&b, 0);
    store(f.path, b.d, b.n);
    assert_message(ctx, gy_pth_open(ctx, f.path, NULL, &p), "pth: 1 bytes after the last storage");
    buf_free(&b);
    remove_dir(ctx, f.dir);
}

static gy_status open_golden(gy_ctx *ctx, void *path) {
    gy_pth p;
    gy_status s = gy_pth_open(ctx, path, NULL, &p);
    for (int64_t i = 0; s == GY_OK && i < p.n; i++) {
        gy_tensor t;
        s = gy_pth_read(&p, i, &t);
        if (s == GY_OK) gy_tensor_free(ctx, &t);
    }
    gy_pth_close(&p);
    return s;
}

static void running_out_of_memory_is_reported(void **state) {
    char zip[] = "tests/golden/state_dict.pth", old[] = "tests/golden/state_dict_legacy.pth";
    survive_no_memory(*state, open_golden, zip);
    survive_no_memory(*state, open_golden, old);
}

/* ---- weights into a model ---- */

static void patterns_match_names(void **state) {
    (void)state;
    static const char *const patterns[] = {"*.position_ids", "head.*", "exact", "a*b*c", NULL};
    static const char *const yes[] = {
        "text_model.embeddings.position_ids", ".position_ids", "head.weight", "head.", "exact", "abc", "a.b.bb.c"};
    static const char *const no[] = {"position_ids", "position_ids.x", "my.head.weight", "exactly", "abcd", "ac", ""};
    for (int i = 0; i < 7; i++) {
        assert_true(gy_name_matches(patterns, yes[i]));
        assert_false(gy_name_matches(patterns, no[i]));
    }
    assert_false(gy_name_matches(NULL, "exact"));
}

static gy_state *new_state(gy_store *s, const char *name, gy_state_kind kind, gy_dtype dtype, gy_shape shape) {
    gy_state *st = gy_state_get(s, name, kind, dtype, shape, (gy_init){0}, 0);
    assert_non_null(st);
    return st;
}

static void weights_load_by_content_and_are_widened(void **state) {
    gy_ctx *ctx = *state;
    static const char *const rest[] = {"model.*", "layer.*", "optimizer.*", "list.*", NULL};
    gy_store *s = gy_store_new(ctx);
    gy_state *a = new_state(s, "model.f16", GY_PARAM, GY_F32, GY_S(3)),
             *b = new_state(s, "model.transposed", GY_PARAM, GY_F32, GY_S(6, 4)),
             *c = new_state(s, "model.bf16", GY_BUFFER, GY_F32, GY_S(3));
    assert_ok(ctx, gy_weights_load(ctx, "tests/golden/state_dict.pth", NULL, s, rest));
    assert_true(gy_tensor_get(&a->value, 2) == 2 && gy_tensor_get(&b->value, 1) == 6 &&
                gy_tensor_get(&c->value, 1) == 1);
    gy_store_free(s);
}

static void misfits_are_reported_by_name_and_change_nothing(void **state) {
    gy_ctx *ctx = *state;
    place f = new_place();
    float v[6] = {1, 2, 3, 4, 5, 6};
    int64_t ids[2] = {0, 1};
    gy_tensor x = {.dtype = GY_F32, .shape = GY_S(2), .data = v}, y = {.dtype = GY_F32, .shape = GY_S(2, 3), .data = v},
              z = {.dtype = GY_I64, .shape = GY_S(2), .data = ids};
    gy_st_tensor t[] = {{"x", &x}, {"y", &y}, {"z", &z}, {"position_ids", &z}};
    assert_ok(ctx, gy_safetensors_write(ctx, f.path, t, 4, NULL, 0));
    gy_store *s = gy_store_new(ctx);
    gy_state *a = new_state(s, "x", GY_PARAM, GY_F32, GY_S(2));
    new_state(s, "y", GY_PARAM, GY_F32, GY_S(3, 2));
    new_state(s, "z", GY_BUFFER, GY_F32, GY_S(2));
    new_state(s, "w", GY_BUFFER, GY_F32, GY_S(2));
    new_state(s, "adam.x", GY_SLOT, GY_F32, GY_S(2));
    gy_status st = gy_weights_load(ctx, f.path, NULL, s, NULL);
    assert_message(ctx, st, "tensors do not fit the model: 1 missing: 'w'");
    assert_message(ctx, st, "; 1 not in the model: 'position_ids'");
    assert_message(ctx, st,
                   "; 2 of another shape or type: 'y' is f32 [2, 3], the model expects f32 [3, 2], "
                   "'z' is i64 [2], the model expects f32 [2]");
    assert_true(gy_tensor_get(&a->value, 0) == 0);
    static const char *const some[] = {"*_ids", "w", "y", NULL}, *const all[] = {"*_ids", "w", "y", "z", NULL};
    assert_message(ctx, gy_weights_load(ctx, f.path, NULL, s, some), "model: 1 of another shape or type: 'z' is i64");
    assert_ok(ctx, gy_weights_load(ctx, f.path, NULL, s, all));
    assert_true(gy_tensor_get(&a->value, 1) == 2);
    gy_store_free(s);
    remove_dir(ctx, f.dir);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(pt09_files_that_torch_wrote_are_read),
        TEST(pt01_foreign_globals_are_refused_by_name),
        TEST(pt03_pickles_that_do_not_end_well_are_refused),
        TEST(pt04_misuse_of_the_stack_is_refused),
        TEST(pt05_lengths_and_memo_indices_that_lie_are_refused),
        TEST(pt06_shared_and_circular_objects_cost_bounded_work),
        TEST(pt07_storages_must_be_what_the_pickle_says),
        TEST(pt08_views_must_lie_in_their_storage),
        TEST(sparse_and_dense_views_agree),
        TEST(archives_that_torch_does_not_write_are_refused),
        TEST(big_endian_storages_are_turned),
        TEST(damaged_files_never_crash_the_reader),
        TEST(legacy_storages_must_fill_the_file),
        TEST(running_out_of_memory_is_reported),
        TEST(patterns_match_names),
        TEST(weights_load_by_content_and_are_widened),
        TEST(misfits_are_reported_by_name_and_change_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
