/* EDF, EDF+ and BDF: the cases of the hostile list (EDF-01 to 13). */
#include "edf_files.h"

static void physical_values_and_mixed_rates_are_read(void **state) { /* EDF-08 */
    gy_ctx *ctx = *state;
    gy_recording r;
    gy_tensor t;
    double v[8];
    buf b = small(&(head){0});
    listen(ctx);
    save(ctx, "a.edf", b.d, b.n);
    assert_ok(ctx, gy_recording_open(ctx, in_folder("a.edf"), NULL, &r));
    assert_string_equal(warned, "");
    assert_int_equal(r.n_channels, 2);
    assert_string_equal(r.started, "1999-12-31 23:59:58");
    assert_true(r.rate == 0 && r.channel[0].rate == 4 && r.channel[1].rate == 2 && r.seconds == 2);
    assert_ok(ctx, gy_recording_read(&r, 0, 0, 8, v));
    for (int i = 0; i < 8; i++) assert_close(v[i], i, 1e-12); /* 10 digital a microvolt */
    assert_ok(ctx, gy_recording_read(&r, 0, 3, 2, v));
    assert_close(v[0] + v[1], 7, 1e-12); /* across records */
    assert_ok(ctx, gy_recording_read(&r, 1, 0, 4, v));
    assert_true(v[0] == -1 && v[1] == 1);
    assert_message(ctx, gy_recording_read(&r, 1, 3, 2, v), "not there");
    assert_message(ctx, gy_recording_tensor(&r, 0, &t), "different rates");
    assert_ok(ctx, gy_recording_tensor(&r, 4, &t));
    assert_int_equal(t.shape.dim[0], 8);
    assert_int_equal(t.shape.dim[1], 1);
    assert_int_equal(gy_recording_find(&r, "cZ"), 1);
    gy_tensor_free(ctx, &t);
    gy_recording_close(&r);
    buf_free(&b);
}

static void header_fields_that_are_no_numbers_are_refused(void **state) { /* EDF-01, 02, 04 */
    static const struct {
        head h;
        const char *part;
    } cases[] = {
        {{.records = "two"}, "number of records: expected a number, found 'two'"},
        {{.records = "-2"}, "number of records"},
        {{.seconds = "0x10"}, "seconds of a record"},
        {{.seconds = "1,5"}, "seconds of a record"},
        {{.seconds = "1e400"}, "seconds of a record"},
        {{.seconds = "nan"}, "seconds of a record"},
        {{.seconds = "0"}, "expected more than 0"},
        {{.seconds = "-1"}, "expected more than 0"},
        {{.seconds = ""}, "seconds of a record"},
        {{.signals = "0"}, "number of signals"},
        {{.signals = "4097"}, "channels"},
        {{.signals = "9e99"}, "number of signals"},
        {{.bytes = "512"}, "bytes of the header: expected 768"},
    };
    gy_ctx *ctx = *state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        buf b = small(&cases[i].h);
        save(ctx, "a.edf", b.d, b.n);
        refused(ctx, "a.edf", cases[i].part);
        buf_free(&b);
    }
}

static void samples_of_a_record_are_checked(void **state) { /* EDF-05 */
    static const char *const wrong[] = {"0", "-4", "1.5", "2e10"};
    gy_ctx *ctx = *state;
    for (int i = 0; i < 4; i++) {
        buf b = buf_new();
        sig s = two[0];
        s.samples = wrong[i];
        put_head(&b, &(head){0}, &s, 1);
        save(ctx, "a.edf", b.d, b.n);
        refused(ctx, "a.edf", "samples in a record");
        buf_free(&b);
    }
}

static void another_number_of_records_than_announced_is_told(void **state) { /* EDF-03 */
    static const struct {
        const char *records;
        size_t cut;
        int64_t have;
        const char *part;
    } cases[] = {{"-1", 0, 2, ""},
                 {"-1", 5, 1, "the last record is cut"},
                 {"7", 0, 2, "announces 7 records, 2 whole ones"},
                 {"1", 0, 1, "announces 1 records, 2 whole ones"},
                 {"2", 24, 0, "announces 2 records, 0 whole ones"}};
    gy_ctx *ctx = *state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        gy_recording r;
        buf b = small(&(head){.records = cases[i].records});
        listen(ctx);
        save(ctx, "a.edf", b.d, b.n - cases[i].cut);
        assert_ok(ctx, gy_recording_open(ctx, in_folder("a.edf"), NULL, &r));
        assert_int_equal(r.channel[0].samples, 4 * cases[i].have);
        assert_non_null(strstr(warned, cases[i].part));
        if (!*cases[i].part) assert_string_equal(warned, "");
        gy_recording_close(&r);
        buf_free(&b);
    }
}

static void channels_without_a_range_are_left_out(void **state) { /* EDF-06 */
    gy_ctx *ctx = *state;
    gy_recording r;
    double v;
    sig s[] = {two[0], {"blank", "uV", "0", "0", "0", "0", "1"}, {"up", "uV", "-1", "1", "5", "5", "1"}};
    s[0].samples = "1";
    buf b = buf_new();
    put_head(&b, &(head){.records = "1"}, s, 3);
    for (unsigned i = 0; i < 3; i++) put16(&b, 70 + i);
    listen(ctx);
    save(ctx, "a.edf", b.d, b.n);
    assert_ok(ctx, gy_recording_open(ctx, in_folder("a.edf"), NULL, &r));
    assert_int_equal(r.n_channels, 1);
    assert_non_null(strstr(warned, "'blank'"));
    assert_ok(ctx, gy_recording_read(&r, 0, 0, 1, &v));
    assert_close(v, 7, 1e-12);
    gy_recording_close(&r);
    buf_free(&b);
}

static void units_are_known_or_named_never_guessed(void **state) { /* EDF-07, 13 */
    static const struct {
        const char *unit;
        double microvolts;
    } cases[] = {{"uV", 1}, {"\xb5V", 1}, {"\xc2\xb5V", 1}, {"mV", 1000}, {".V", 0}, {"", 0}, {"UV", 0}};
    gy_ctx *ctx = *state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        gy_recording r;
        double v;
        sig s = two[0];
        s.unit = cases[i].unit;
        s.label = "F\xfc"; /* Latin-1 */
        buf b = buf_new();
        put_head(&b, &(head){.records = "1"}, &s, 1);
        for (unsigned k = 0; k < 4; k++) put16(&b, 100);
        listen(ctx);
        save(ctx, "a.edf", b.d, b.n);
        assert_ok(ctx, gy_recording_open(ctx, in_folder("a.edf"), NULL, &r));
        assert_string_equal(r.channel[0].name, "F\xc3\xbc");
        assert_true(gy_unit_microvolts(r.channel[0].unit) == cases[i].microvolts);
        assert_ok(ctx, gy_recording_read(&r, 0, 0, 1, &v));
        assert_close(v, 10, 1e-12); /* as the file says, whatever the unit */
        assert_true((strstr(warned, "no unit of voltage") != NULL) == (cases[i].microvolts == 0));
        gy_recording_close(&r);
        buf_free(&b);
    }
}

static void illegal_dates_are_told_and_years_turn_at_85(void **state) { /* EDF-11 */
    static const char *const cases[][3] = {{"01.02.85", "00.00.00", "1985-02-01 00:00:00"},
                                           {"01.02.84", "01.02.03", "2084-02-01 01:02:03"},
                                           {"31.02.85", "00.00.00", ""},
                                           {"01.01.85", "12:61:75", ""},
                                           {"01.01.85", "12.05:99", ""},
                                           {"XX.XX.XX", "00.00.00", ""}};
    gy_ctx *ctx = *state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        gy_recording r;
        buf b = small(&(head){.date = cases[i][0], .time = cases[i][1]});
        listen(ctx);
        save(ctx, "a.edf", b.d, b.n);
        assert_ok(ctx, gy_recording_open(ctx, in_folder("a.edf"), NULL, &r));
        assert_string_equal(r.started, cases[i][2]);
        assert_true((strstr(warned, "date and time") != NULL) == (*cases[i][2] == 0));
        gy_recording_close(&r);
        buf_free(&b);
    }
}

/* ---- EDF+ ---- */

#define LIST(s) s, sizeof(s) - 1

static void annotations_become_marks_and_gaps_segments(void **state) { /* EDF-09, 10 */
    static const char a[] = "+10\x14\x14\0+10.5\x15"
                            "0.25\x14left\x14right\x14\0",
                      c[] = "+11\x14\x14\0",
                      d[] = "+20\x14\x14\0+20.25\x14"
                            "F\xfc\xdf"
                            "e\x14\0";
    const char *const list[] = {a, c, d};
    const size_t len[] = {sizeof a - 1, sizeof c - 1, sizeof d - 1};
    gy_ctx *ctx = *state;
    gy_recording r;
    gy_tensor t;
    buf b = plus("EDF+D", list, len, 3);
    listen(ctx);
    save(ctx, "a.edf", b.d, b.n);
    assert_ok(ctx, gy_recording_open(ctx, in_folder("a.edf"), NULL, &r));
    assert_string_equal(warned, "");
    assert_string_equal(r.variant, "EDF+D");
    assert_int_equal(r.n_channels, 1);
    assert_int_equal(r.n_marks, 3);
    assert_string_equal(r.mark[0].text, "left");
    assert_string_equal(r.mark[1].text, "right");
    assert_string_equal(r.mark[2].text, "F\xc3\xbc\xc3\x9f"
                                        "e");
    assert_close(r.mark[0].onset, 0.5, 1e-12);
    assert_close(r.mark[0].duration, 0.25, 1e-12);
    assert_close(r.mark[2].onset, 10.25, 1e-12);
    assert_int_equal(r.n_segments, 2);
    assert_close(r.segment[0].seconds, 2, 1e-12);
    assert_close(r.segment[1].onset, 10, 1e-12);
    assert_ok(ctx, gy_recording_tensor(&r, 0, &t));
    assert_non_null(strstr(warned, "1 gaps"));
    gy_tensor_free(ctx, &t);
    gy_recording_close(&r);
    buf_free(&b);
}

static void broken_annotations_are_left_out(void **state) { /* EDF-10 */
    static const struct {
        const char *list;
        size_t len;
    } cases[] = {{LIST("+0\x14\x14\0 5\x14x\x14\0")},     {LIST("+0\x14\x14\0+5\x15-1\x14x\x14\0")},
                 {LIST("+0\x14\x14\0+1e999\x14x\x14\0")}, {LIST("+0\x14\x14\0+5 no end\0")},
                 {LIST("+0\x14\x14\0+5\x14no end\0")},    {LIST("+0\x14\x14\0\x14x\x14\0")},
                 {LIST("+0\x14\x14\0+nan\x14x\x14\0")},   {LIST("+0\x14\x14\0+5\x15\x14x\x14\0")}};
    gy_ctx *ctx = *state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        gy_recording r;
        buf b = plus("EDF+C", &cases[i].list, &cases[i].len, 1);
        listen(ctx);
        save(ctx, "a.edf", b.d, b.n);
        assert_ok(ctx, gy_recording_open(ctx, in_folder("a.edf"), NULL, &r));
        assert_int_equal(r.n_marks, 0);
        assert_non_null(strstr(warned, "1 annotation lists are not as EDF+ says"));
        gy_recording_close(&r);
        buf_free(&b);
    }
}

static void a_list_longer_than_its_record_is_left_out(void **state) { /* EDF-10 */
    char list[60] = "+0\x14\x14";
    const char *p = list;
    size_t n = sizeof list;
    gy_ctx *ctx = *state;
    gy_recording r;
    memset(list + 5, 'x', sizeof list - 5);
    memcpy(list + 5, "+1\x14", 3);
    buf b = plus("EDF+C", &p, &n, 1);
    listen(ctx);
    save(ctx, "a.edf", b.d, b.n);
    assert_ok(ctx, gy_recording_open(ctx, in_folder("a.edf"), NULL, &r));
    assert_int_equal(r.n_marks, 0);
    assert_non_null(strstr(warned, "annotation lists"));
    gy_recording_close(&r);
    buf_free(&b);
}

/* ---- BDF ---- */

static void bdf_has_24_bits_with_a_sign_and_codes(void **state) { /* EDF-12 */
    static const uint8_t bytes[] = {
        1, 0, 0, 0xff, 0xff, 0xff, 0, 0, 0x80, 0xff, 0xff, 0x7f, /* 1, -1, -2^23, 2^23 - 1 */
        0, 0, 1, 7,    0,    1,    7, 0, 1,    9,    0,    1};
    sig s[] = {{"A1", "uV", "-8388608", "8388607", "-8388608", "8388607", "4"},
               {"Status", "Boolean", "-8388608", "8388607", "-8388608", "8388607", "4"}};
    gy_ctx *ctx = *state;
    gy_recording r;
    double v[4];
    buf b = buf_new();
    put_head(&b, &(head){.version = "B", .records = "1"}, s, 2);
    put(&b, bytes, sizeof bytes);
    listen(ctx);
    save(ctx, "a.bdf", b.d, b.n);
    assert_ok(ctx, gy_recording_open(ctx, in_folder("a.bdf"), NULL, &r));
    assert_string_equal(warned, "");
    assert_int_equal(r.kind, GY_RECORDING_BDF);
    assert_ok(ctx, gy_recording_read(&r, 0, 0, 4, v));
    assert_true(v[0] == 1 && v[1] == -1 && v[2] == -8388608 && v[3] == 8388607);
    assert_true(r.channel[1].trigger && r.rate == 4);
    assert_int_equal(r.n_marks, 2);
    assert_string_equal(r.mark[0].text, "7");
    assert_string_equal(r.mark[1].text, "9");
    assert_close(r.mark[1].onset, 0.75, 1e-12);
    gy_recording_close(&r);
    buf_free(&b);
}

static void cut_and_damaged_files_do_no_harm(void **state) {
    gy_ctx *ctx = *state;
    listen(ctx);
    buf b = small(&(head){0});
    survives_cuts(ctx, "a.edf", &b, 13);
    for (size_t at = 168; at < 256; at += 88) survives_flips(ctx, "a.edf", &b, 256);
    buf_free(&b);
    static const char a[] = "+10\x14\x14\0+10.5\x15"
                            "0.25\x14left\x14\0";
    const char *list = a;
    size_t len = sizeof a - 1;
    b = plus("EDF+D", &list, &len, 1);
    survives_cuts(ctx, "a.edf", &b, 7);
    buf_free(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(physical_values_and_mixed_rates_are_read),
        TEST(header_fields_that_are_no_numbers_are_refused),
        TEST(samples_of_a_record_are_checked),
        TEST(another_number_of_records_than_announced_is_told),
        TEST(channels_without_a_range_are_left_out),
        TEST(units_are_known_or_named_never_guessed),
        TEST(illegal_dates_are_told_and_years_turn_at_85),
        TEST(annotations_become_marks_and_gaps_segments),
        TEST(broken_annotations_are_left_out),
        TEST(a_list_longer_than_its_record_is_left_out),
        TEST(bdf_has_24_bits_with_a_sign_and_codes),
        TEST(cut_and_damaged_files_do_no_harm),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
