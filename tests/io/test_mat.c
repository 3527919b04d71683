/* MAT v5 and EEGLAB's .set: the cases of the hostile lists (MAT-01 to 12, SET-09). */
#include "mat_files.h"

#include "io/formats/deflate.h"
#include "io/formats/mat.h"

static void opens(gy_ctx *ctx, const buf *b, gy_mat *m) {
    save(ctx, "a.mat", b->d, b->n);
    assert_ok(ctx, gy_mat_open(ctx, in_folder("a.mat"), NULL, m));
}
static void mat_refused(gy_ctx *ctx, const buf *b, const char *part) {
    gy_mat m;
    save(ctx, "a.mat", b->d, b->n);
    assert_message(ctx, gy_mat_open(ctx, in_folder("a.mat"), NULL, &m), part);
    assert_null(m.node);
    gy_error_clear(ctx);
}

/* ---- legal files ---- */

static void arrays_structs_cells_and_text_are_read(void **state) {
    static const double six[] = {1, 2, 3, 4, 5, 6};
    static const char *const fields[] = {"label", "value"};
    gy_ctx *ctx = *state;
    for (int order = 0; order < 2; order++) {
        gy_mat m;
        gy_tensor t;
        double v;
        big = order;
        buf b = buf_new();
        put_header(&b);
        put_doubles(&b, "x", 2, 3, six);
        size_t s = open_struct(&b, "people", 2, fields, 2);
        put_text(&b, "", "Ann");
        put_number(&b, "", 7);
        put_text(&b, "", "Z\xfc");
        put_number(&b, "", -8.5);
        close_element(&b, s);
        size_t c = open_matrix(&b, 1, 2, (uint32_t[]){1, 2}, "list");
        put_number(&b, "", 9);
        put_text(&b, "", "");
        close_element(&b, c);
        opens(ctx, &b, &m);
        assert_int_equal(m.n_top, 3);
        assert_ok(ctx, gy_mat_tensor(&m, gy_mat_find(&m, "x"), &t));
        assert_int_equal(t.shape.dim[0], 3); /* axes in reverse */
        assert_int_equal(t.shape.dim[1], 2);
        assert_memory_equal(t.data, six, sizeof six);
        gy_tensor_free(ctx, &t);
        int64_t people = gy_mat_find(&m, "people"), list = gy_mat_find(&m, "list");
        char *text = gy_mat_text(&m, gy_mat_field(&m, people, 1, "label"));
        assert_string_equal(text, "Z\xc3\xbc");
        gy_free(ctx, text);
        assert_true(gy_mat_number(&m, gy_mat_field(&m, people, 1, "value"), 0, &v) && v == -8.5);
        assert_int_equal(gy_mat_field(&m, people, 2, "value"), -1);
        assert_int_equal(gy_mat_field(&m, people, 0, "nothing"), -1);
        assert_true(gy_mat_number(&m, gy_mat_cell(&m, list, 0), 0, &v) && v == 9);
        assert_int_equal(gy_mat_cell(&m, list, 2), -1);
        gy_mat_close(&m);
        buf_free(&b);
    }
    big = false;
}

static void doubles_stored_as_bytes_and_sparse_ones_are_read(void **state) { /* MAT-07, 09 */
    gy_ctx *ctx = *state;
    gy_mat m;
    gy_tensor t;
    buf b = buf_new();
    put_header(&b);
    size_t e, x = open_matrix(&b, 6, 2, (uint32_t[]){1, 3}, "x");
    put_u32(&b, 3u << 16 | 2); /* a small element of u8 */
    put(&b, "\1\2\xff\0", 4);
    close_element(&b, x);
    x = open_matrix(&b, 5, 2, (uint32_t[]){3, 2}, "s");
    e = open_element(&b, 5);
    put_u32(&b, 2), put_u32(&b, 0);
    close_element(&b, e);
    e = open_element(&b, 5);
    put_u32(&b, 0), put_u32(&b, 1), put_u32(&b, 2);
    close_element(&b, e);
    e = open_element(&b, 9);
    put_double(&b, 5), put_double(&b, -6);
    close_element(&b, e);
    close_element(&b, x);
    opens(ctx, &b, &m);
    assert_ok(ctx, gy_mat_tensor(&m, 0, &t));
    assert_int_equal(t.dtype, GY_F64);
    assert_true(gy_tensor_get(&t, 2) == 255);
    gy_tensor_free(ctx, &t);
    assert_ok(ctx, gy_mat_tensor(&m, 1, &t));
    static const double dense[] = {0, 0, 5, -6, 0, 0};
    assert_memory_equal(t.data, dense, sizeof dense);
    gy_tensor_free(ctx, &t);
    gy_mat_close(&m);
    buf_free(&b);
}

static buf compressed(gy_ctx *ctx, const char *tail, size_t n_tail, int spoil) {
    static const double six[] = {1, 2, 3, 4, 5, 6};
    buf inner = buf_new(), b = buf_new();
    uint8_t *z;
    uint64_t n;
    put_doubles(&inner, "x", 2, 3, six);
    put(&inner, tail, n_tail);
    assert_ok(ctx, gy_deflate(ctx, inner.d, inner.n, GY_DEFLATE_ZLIB, 6, &z, &n));
    put_header(&b);
    size_t e = open_element(&b, 15);
    put(&b, z, n);
    gy_put_le32(b.d + e - 4, (uint32_t)(b.n - e)); /* no padding */
    if (spoil) b.d[b.n - 1] ^= 1;                  /* the checksum */
    put_number(&b, "after", 3);
    gy_free(ctx, z);
    buf_free(&inner);
    return b;
}

static void compressed_arrays_are_read_even_with_a_tail(void **state) { /* MAT-06 */
    gy_ctx *ctx = *state;
    for (int k = 0; k < 3; k++) {
        gy_mat m;
        double v;
        buf b = compressed(ctx, "surplus!", k == 1 ? 8 : 0, k == 2);
        listen(ctx);
        opens(ctx, &b, &m);
        assert_true((strstr(warned, "bytes too many or a wrong checksum") != NULL) == (k > 0));
        assert_true(gy_mat_number(&m, gy_mat_find(&m, "x"), 5, &v) && v == 6);
        assert_true(gy_mat_number(&m, gy_mat_find(&m, "after"), 0, &v) && v == 3);
        gy_mat_close(&m);
        buf_free(&b);
    }
}

/* ---- hostile ones ---- */

static void a_bomb_is_refused_before_it_unfolds(void **state) { /* MAT-06 */
    gy_ctx *ctx = *state;
    buf b = buf_new();
    uint8_t head[8] = {14, 0, 0, 0, 0xf0, 0xff, 0xff, 0xff}, *z;
    uint64_t n;
    assert_ok(ctx, gy_deflate(ctx, head, sizeof head, GY_DEFLATE_ZLIB, 6, &z, &n));
    put_header(&b);
    size_t e = open_element(&b, 15);
    put(&b, z, n);
    close_element(&b, e);
    mat_refused(ctx, &b, "are announced from");
    gy_free(ctx, z);
    /* an array inside which another compressed one hides */
    b.n = 128;
    put_u32(&b, 14);
    put_u32(&b, 8);
    put_u32(&b, 15);
    put_u32(&b, 0);
    mat_refused(ctx, &b, "array flags: expected element type 6, found 15");
    buf_free(&b);
}

static void other_versions_are_named(void **state) { /* MAT-02, 03 */
    gy_ctx *ctx = *state;
    buf b = buf_new();
    for (int i = 0; i < 4096; i++) put8(&b, 0);
    mat_refused(ctx, &b, "byte-order mark");
    b.n = 0;
    put_header(&b);
    b.d[125] = 2;
    mat_refused(ctx, &b, "MAT version 0x0200");
    memcpy(b.d, "MATLAB 7.3", 10);
    mat_refused(ctx, &b, "HDF5");
    b.n = 100;
    mat_refused(ctx, &b, "expected");
    buf_free(&b);
}

/* One matrix of class 6 whose parts are given; what is wrong is named. */
static void sizes_that_lie_are_refused(void **state) { /* MAT-04, 05, 07, 08 */
    static const struct {
        uint32_t rank, dim[3], storage, bytes, flags;
        const char *part;
    } cases[] = {
        {2, {2, 3}, 9, 40, 0, "6 values are announced, 5 are there"},
        {2, {2, 3}, 9, 47, 0, "values are announced"},
        {2, {2, 3}, 9, 0x7fffffff, 0, "bytes: "},
        {2, {0xffffffff, 3}, 9, 48, 0, "is negative"},
        {3, {0x7fffffff, 0x7fffffff, 0x7fffffff}, 9, 48, 0, "product of the dimensions"},
        {1, {6}, 9, 48, 0, "1 dimensions"},
        {0, {0}, 9, 48, 0, "0 dimensions"},
        {2, {2, 3}, 8, 48, 0, "element type 8"},
        {2, {2, 3}, 14, 48, 0, "element type 14"},
        {2, {2, 3}, 9, 48, 0x800, "expected an element"}, /* complex without its second half */
        {2, {2, 3}, 9, 48, 99, "array class"},
    };
    gy_ctx *ctx = *state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        buf b = buf_new();
        put_header(&b);
        size_t m = open_element(&b, 14), e = open_element(&b, 6);
        put_u32(&b, cases[i].flags == 99 ? 99 : 6 | cases[i].flags);
        put_u32(&b, 0);
        close_element(&b, e);
        e = open_element(&b, 5);
        for (uint32_t k = 0; k < cases[i].rank; k++) put_u32(&b, cases[i].dim[k]);
        close_element(&b, e);
        e = open_element(&b, 1);
        put_s(&b, "variable");
        close_element(&b, e);
        e = open_element(&b, cases[i].storage);
        for (int k = 0; k < 6; k++) put_double(&b, k);
        gy_put_le32(b.d + e - 4, cases[i].bytes);
        if (cases[i].bytes < 48) b.n = e + ((cases[i].bytes + 7) & ~7u);
        close_element(&b, m);
        mat_refused(ctx, &b, cases[i].part);
        buf_free(&b);
    }
    buf b = buf_new(); /* a small element of 5 bytes; a name of 2^31 */
    put_header(&b);
    put_u32(&b, 5u << 16 | 14);
    put_u32(&b, 0);
    mat_refused(ctx, &b, "small element of 5 bytes");
    b.n = 128;
    put_u32(&b, 14);
    put_u32(&b, 0xfffffff8);
    mat_refused(ctx, &b, "bytes: 0 are left");
    buf_free(&b);
}

static void sparse_indices_are_checked(void **state) { /* MAT-09 */
    static const struct {
        uint32_t ir[2], jc[3];
        const char *part;
    } cases[] = {{{3, 0}, {0, 1, 2}, "row index 3 of 3 rows"},
                 {{0, 0}, {0, 2, 1}, "column start 1 after 2"},
                 {{0, 0}, {1, 1, 2}, "column start 1 after 0"},
                 {{0, 0}, {0, 1, 9}, "column start 9 after 1"}};
    gy_ctx *ctx = *state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        buf b = buf_new();
        put_header(&b);
        size_t x = open_matrix(&b, 5, 2, (uint32_t[]){3, 2}, "s"), e = open_element(&b, 5);
        put_u32(&b, cases[i].ir[0]), put_u32(&b, cases[i].ir[1]);
        close_element(&b, e);
        e = open_element(&b, 5);
        for (int k = 0; k < 3; k++) put_u32(&b, cases[i].jc[k]);
        close_element(&b, e);
        e = open_element(&b, 9);
        put_double(&b, 5), put_double(&b, -6);
        close_element(&b, e);
        close_element(&b, x);
        mat_refused(ctx, &b, cases[i].part);
        buf_free(&b);
    }
}

static void deep_nesting_and_false_field_names_are_refused(void **state) { /* MAT-10, 11 */
    gy_ctx *ctx = *state;
    buf b = buf_new();
    size_t at[80];
    put_header(&b);
    for (int i = 0; i < 80; i++) at[i] = open_matrix(&b, 1, 2, (uint32_t[]){1, 1}, i ? "" : "c");
    put_number(&b, "", 1);
    for (int i = 80; i-- > 0;) close_element(&b, at[i]);
    mat_refused(ctx, &b, "nested deeper than 64");
    static const uint32_t width[] = {0, 5, 0xffffffff};
    for (int i = 0; i < 3; i++) {
        b.n = 0;
        put_header(&b);
        size_t m = open_matrix(&b, 2, 2, (uint32_t[]){1, 1}, "s");
        put_u32(&b, 4u << 16 | 5);
        put_u32(&b, width[i]);
        size_t e = open_element(&b, 1);
        put(&b, "field\0\0\0", 8);
        close_element(&b, e);
        put_number(&b, "", 1);
        close_element(&b, m);
        mat_refused(ctx, &b, "bytes of field names");
    }
    b.n = 0; /* a name without its 0 */
    put_header(&b);
    size_t m = open_matrix(&b, 2, 2, (uint32_t[]){1, 1}, "s");
    put_u32(&b, 4u << 16 | 5);
    put_u32(&b, 8);
    size_t e = open_element(&b, 1);
    put(&b, "fieldsss", 8);
    close_element(&b, e);
    put_number(&b, "", 1);
    close_element(&b, m);
    mat_refused(ctx, &b, "a field name has no end");
    b.n = 0; /* 2^30 elements that are not there */
    put_header(&b);
    m = open_matrix(&b, 1, 2, (uint32_t[]){1, 1u << 30}, "s");
    close_element(&b, m);
    mat_refused(ctx, &b, "arrays announced");
    b.n = 0;
    put_header(&b);
    put_number(&b, "x", 1);
    put_number(&b, "x", 2);
    mat_refused(ctx, &b, "is there twice");
    buf_free(&b);
}

/* ---- EEGLAB ---- */

static void sets_are_read_with_data_inside_or_beside(void **state) { /* SET-09 */
    static const float beside[] = {1, -1, 2, -2, 3, -3, 4, -4, 5, -5, 6, -6};
    gy_ctx *ctx = *state;
    save(ctx, "a.fdt", beside, sizeof beside);
    for (int k = 0; k < 3; k++) {
        gy_recording r;
        gy_tensor t;
        buf b = set(2, 2, 3, 100, k == 0 ? NULL : k == 1 ? "a.fdt" : "old.fdt");
        listen(ctx);
        save(ctx, "a.set", b.d, b.n);
        assert_ok(ctx, gy_recording_open(ctx, in_folder("a.set"), NULL, &r));
        assert_true((strstr(warned, "its data file is missing") != NULL) == (k == 2));
        assert_non_null(strstr(warned, "1 events lie outside"));
        assert_int_equal(r.epochs, 2);
        assert_string_equal(r.channel[1].name, "Cz");
        assert_int_equal(r.n_marks, 2);
        assert_string_equal(r.mark[0].text, "12");
        assert_close(r.mark[0].onset, 0.01, 1e-12);
        assert_string_equal(r.mark[1].text, "square");
        assert_ok(ctx, gy_recording_tensor(&r, 0, &t));
        assert_memory_equal(t.data, beside, sizeof beside);
        gy_tensor_free(ctx, &t);
        gy_recording_close(&r);
        buf_free(&b);
    }
}

static void sets_that_contradict_themselves_are_refused(void **state) { /* SET-09 */
    static const struct {
        double nbchan, trials, pnts, srate;
        const char *file, *part;
    } cases[] = {{3, 2, 3, 100, NULL, "12 values; expected 3 channels of 6"},
                 {2, 2, 4, 100, "a.fdt", "expected 64 bytes"},
                 {0, 2, 3, 100, NULL, "nbchan"},
                 {2.5, 2, 3, 100, NULL, "nbchan"},
                 {1e9, 2, 3, 100, NULL, "channels"},
                 {2, 2, 1e12, 100, NULL, "points in"},
                 {2, 2, 1e30, 100, NULL, "pnts"},
                 {2, 2, 3, 0, NULL, "srate"},
                 {2, 2, 3, NAN, NULL, "srate"},
                 {2, 2, 3, 100, "/etc/passwd", "only its own folder is read"},
                 {2, 2, 3, 100, "../a.fdt", "only its own folder is read"}};
    gy_ctx *ctx = *state;
    listen(ctx);
    save(ctx, "a.fdt", "", 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        buf b = set(cases[i].nbchan, cases[i].trials, cases[i].pnts, cases[i].srate, cases[i].file);
        save(ctx, "a.set", b.d, b.n);
        refused(ctx, "a.set", cases[i].part);
        buf_free(&b);
    }
    buf b = buf_new(); /* a sparse array of one value unfolds to 2^27 */
    put_header(&b);
    put_number(&b, "nbchan", 1);
    put_number(&b, "pnts", 1 << 27);
    put_number(&b, "srate", 100);
    size_t m = open_matrix(&b, 5, 2, (uint32_t[]){1 << 27, 1}, "data");
    for (uint32_t part = 0; part < 3; part++) { /* row, column starts, value */
        size_t e = open_element(&b, part < 2 ? 5 : 9);
        put_u32(&b, 0);
        if (part > 0) put_u32(&b, 1);
        close_element(&b, e);
    }
    close_element(&b, m);
    save(ctx, "a.set", b.d, b.n);
    refused(ctx, "a.set", "a sparse array; expected a full one");
    buf_free(&b);
    static const char hdf[200] = "\x89HDF\r\n\x1a\n";
    save(ctx, "a.set", hdf, sizeof hdf);
    refused(ctx, "a.set", "HDF5");
}

static void cut_and_damaged_files_do_no_harm(void **state) { /* MAT-01 */
    gy_ctx *ctx = *state;
    listen(ctx);
    buf b = set(2, 2, 3, 100, NULL);
    survives_cuts(ctx, "a.set", &b, 29);
    for (size_t i = 128; i < b.n; i += 3) {
        gy_recording r;
        uint8_t keep = b.d[i];
        b.d[i] = (uint8_t)(i % 2 ? 0xff : keep + 1);
        save(ctx, "a.set", b.d, b.n);
        if (gy_recording_open(ctx, in_folder("a.set"), NULL, &r) == GY_OK) gy_recording_close(&r);
        gy_error_clear(ctx);
        b.d[i] = keep;
    }
    buf_free(&b);
    b = compressed(ctx, "", 0, 0);
    for (size_t n = 0; n < b.n; n += 9) {
        gy_mat m;
        save(ctx, "a.mat", b.d, n);
        if (gy_mat_open(ctx, in_folder("a.mat"), NULL, &m) == GY_OK) gy_mat_close(&m);
        gy_error_clear(ctx);
    }
    buf_free(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(arrays_structs_cells_and_text_are_read),
        TEST(doubles_stored_as_bytes_and_sparse_ones_are_read),
        TEST(compressed_arrays_are_read_even_with_a_tail),
        TEST(a_bomb_is_refused_before_it_unfolds),
        TEST(other_versions_are_named),
        TEST(sizes_that_lie_are_refused),
        TEST(sparse_indices_are_checked),
        TEST(deep_nesting_and_false_field_names_are_refused),
        TEST(sets_are_read_with_data_inside_or_beside),
        TEST(sets_that_contradict_themselves_are_refused),
        TEST(cut_and_damaged_files_do_no_harm),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
