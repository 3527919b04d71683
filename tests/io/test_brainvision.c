/* BrainVision: the cases of the hostile list (BV-01 to 08). */
#include "recordings.h"

static const char header[] = "Brain Vision Data Exchange Header File Version 1.0\r\n"
                             "; a remark\r\n"
                             "[Common Infos]\r\nCodepage=UTF-8\r\nDataFile=a.eeg\r\nMarkerFile=a.vmrk\r\n"
                             "DataFormat=BINARY\r\nDataOrientation=MULTIPLEXED\r\nNumberOfChannels=2\r\n"
                             "SamplingInterval=4000\r\n[Binary Infos]\r\nBinaryFormat=INT_16\r\n"
                             "[Channel Infos]\r\nCh1=F\\1z,,0.5,\xc2\xb5V\r\nCh2=Cz,Ref,10\r\n";
static const char markers[] = "Brain Vision Data Exchange Marker File, Version 1.0\n[Marker Infos]\n"
                              "Mk1=New Segment,,1,1,0,20130321102312794311\nMk2=Stimulus,S  1,2,1,0\n"
                              "Mk3=Comment,a\\1b,3,2,2\n";
static const int16_t samples[] = {1, 2, 3, 4, -5, -6}; /* three of two channels */

static void save_all(gy_ctx *ctx) {
    save_text(ctx, "a.vhdr", header);
    save_text(ctx, "a.vmrk", markers);
    save(ctx, "a.eeg", samples, sizeof samples);
}

/* The header with one piece of text replaced. */
static void save_with(gy_ctx *ctx, const char *old, const char *new) {
    char text[4096];
    const char *at = strstr(header, old);
    assert_non_null(at);
    snprintf(text, sizeof text, "%.*s%s%s", (int)(at - header), header, new, at + strlen(old));
    save_text(ctx, "a.vhdr", text);
}

static void values_channels_and_markers_are_read(void **state) {
    gy_ctx *ctx = *state;
    gy_recording r;
    gy_tensor t;
    listen(ctx);
    save_all(ctx);
    assert_ok(ctx, gy_recording_open(ctx, in_folder("a.vhdr"), NULL, &r));
    assert_string_equal(warned, "");
    assert_int_equal(r.n_channels, 2);
    assert_string_equal(r.channel[0].name, "F,z");
    assert_string_equal(r.channel[0].unit, "\xc2\xb5V");
    assert_string_equal(r.channel[1].reference, "Ref");
    assert_string_equal(r.channel[1].unit, "\xc2\xb5V"); /* the format's default */
    assert_true(r.rate == 250);
    assert_ok(ctx, gy_recording_tensor(&r, 0, &t));
    static const float want[] = {0.5f, 20, 1.5f, 40, -2.5f, -60};
    assert_memory_equal(t.data, want, sizeof want);
    assert_int_equal(r.n_marks, 3);
    assert_string_equal(r.mark[0].text, "New Segment");
    assert_string_equal(r.mark[1].text, "S  1");
    assert_close(r.mark[1].onset, 0.004, 1e-12);
    assert_string_equal(r.mark[2].text, "a,b");
    assert_int_equal(r.mark[2].channel, 1);
    assert_close(r.mark[2].duration, 0.008, 1e-12);
    gy_tensor_free(ctx, &t);
    gy_recording_close(&r);
}

static void layouts_and_formats_are_read(void **state) { /* BV-05 */
    static const float floats[] = {1.5f, -2, 1e6f, 4, 5, 6};
    gy_ctx *ctx = *state;
    gy_recording r;
    double v[3];
    listen(ctx);
    save_all(ctx);
    save_with(ctx, "MULTIPLEXED", "VECTORIZED");
    assert_ok(ctx, gy_recording_open(ctx, in_folder("a.vhdr"), NULL, &r));
    assert_ok(ctx, gy_recording_read(&r, 0, 0, 3, v));
    assert_true(v[0] == 0.5 && v[1] == 1 && v[2] == 1.5);
    gy_recording_close(&r);
    save_with(ctx, "INT_16", "IEEE_FLOAT_32");
    save(ctx, "a.eeg", floats, sizeof floats);
    assert_ok(ctx, gy_recording_open(ctx, in_folder("a.vhdr"), NULL, &r));
    assert_ok(ctx, gy_recording_read(&r, 0, 0, 3, v));
    assert_true(v[0] == 0.75 && v[1] == 5e5 && v[2] == 2.5);
    gy_recording_close(&r);
}

static void what_the_header_may_not_say_is_refused(void **state) { /* BV-01, 03, 04, 05, 08 */
    static const char *const cases[][3] = {
        {"DataFile=a.eeg", "DataFile=../a.eeg", "only its own folder is read"},
        {"DataFile=a.eeg", "DataFile=/etc/passwd", "only its own folder is read"},
        {"DataFile=a.eeg", "DataFile=C:\\a.eeg", "only its own folder is read"},
        {"DataFile=a.eeg", "Nothing=", "'DataFile': missing"},
        {"NumberOfChannels=2", "NumberOfChannels=0", "NumberOfChannels"},
        {"NumberOfChannels=2", "NumberOfChannels=3", "3 announced, 2 described"},
        {"NumberOfChannels=2", "NumberOfChannels=1", "Ch2 among 1"},
        {"NumberOfChannels=2", "NumberOfChannels=1000000000", "channels"},
        {"NumberOfChannels=2", "NumberOfChannels=1e30", "NumberOfChannels"},
        {"SamplingInterval=4000", "SamplingInterval=0", "SamplingInterval"},
        {"SamplingInterval=4000", "SamplingInterval=nan", "SamplingInterval"},
        {"SamplingInterval=4000", "SamplingInterval=-4", "SamplingInterval"},
        {",,0.5,", ",,0,", "resolution '0'"},
        {",,0.5,", ",,nan,", "resolution 'nan'"},
        {",,0.5,", ",,0x5,", "resolution '0x5'"},
        {"Ch2=", "Ch1=", "Ch1 is there twice"},
        {"DataFormat=BINARY", "DataFormat=HEXADECIMAL", "expected BINARY or ASCII"},
        {"BinaryFormat=INT_16", "BinaryFormat=INT_16\nUseBigEndianOrder=YES", "only little-endian samples are read"},
        {"INT_16", "INT_24", "BinaryFormat"},
        {"MULTIPLEXED", "SIDEWAYS", "DataOrientation"},
        {"BinaryFormat=INT_16", "", "BinaryFormat"},
    };
    gy_ctx *ctx = *state;
    listen(ctx);
    save_all(ctx);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        save_with(ctx, cases[i][0], cases[i][1]);
        refused(ctx, "a.vhdr", cases[i][2]);
    }
    save_text(ctx, "a.vhdr", header);
    save(ctx, "a.eeg", samples, sizeof samples - 1);
    refused(ctx, "a.vhdr", "no multiple of 2 channels");
}

/* ---- DataFormat=ASCII ---- */

/* The header for text, with [ASCII Infos] as given; the samples go into a.dat. */
static void save_decimal(gy_ctx *ctx, const char *orientation, const char *infos, const char *text) {
    char all[1024];
    snprintf(all, sizeof all,
             "Brain Vision Data Exchange Header File Version 2.0\n[Common Infos]\nDataFile=a.dat\nDataFormat=ASCII\n"
             "DataOrientation=%s\nNumberOfChannels=2\nSamplingInterval=2000\n[ASCII Infos]\n%s\n[Channel Infos]\n"
             "Ch1=Fz,,,\xc2\xb5V\nCh2=Cz,,0.5,mV\n",
             orientation, infos);
    save_text(ctx, "a.vhdr", all);
    save_text(ctx, "a.dat", text);
}

static void decimal_samples_are_read(void **state) { /* BV-05 */
    static const char *const cases[][3] = {
        {"MULTIPLEXED", "DecimalSymbol=.\nSkipLines=1\nSkipColumns=0", "Fz Cz\r\n 1.25 -4\r\n-2e1\t8\r\n0.5 +.25\r\n"},
        {"MULTIPLEXED", "DecimalSymbol=,\nSkipLines=2\nSkipColumns=1", "a title\n\n0 1,25 -4\n2;-20;8\n\n4 0,5\t0,25"},
        {"VECTORIZED", "SkipColumns=1", "Fz 1.25 -20.0 0.5\rCz -4,8,0.25"},
    };
    gy_ctx *ctx = *state;
    listen(ctx);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        gy_recording r;
        double v[3];
        save_decimal(ctx, cases[i][0], cases[i][1], cases[i][2]);
        assert_ok(ctx, gy_recording_open(ctx, in_folder("a.vhdr"), NULL, &r));
        assert_string_equal(warned, "");
        assert_string_equal(r.variant, "ASCII");
        assert_true(r.rate == 500 && r.channel[0].samples == 3 && r.channel[1].samples == 3);
        assert_ok(ctx, gy_recording_read(&r, 0, 0, 3, v));
        assert_true(v[0] == 1.25 && v[1] == -20 && v[2] == 0.5);
        assert_ok(ctx, gy_recording_read(&r, 1, 0, 3, v));
        assert_true(v[0] == -2 && v[1] == 4 && v[2] == 0.125); /* the resolution counts here too */
        gy_recording_close(&r);
    }
}

static void decimal_text_that_is_no_table_of_numbers_is_refused(void **state) { /* BV-05 */
    static const char *const cases[][4] = {
        {"MULTIPLEXED", "DecimalSymbol=;", "1 2\n", "expected '.' or ','"},
        {"MULTIPLEXED", "SkipLines=-1", "1 2\n", "'SkipLines': expected a whole number"},
        {"MULTIPLEXED", "SkipColumns=1.5", "1 2\n", "'SkipColumns': expected a whole number"},
        {"MULTIPLEXED", "SkipLines=3", "1 2\n1 2\n", "SkipLines is 3, the file has 2"},
        {"MULTIPLEXED", "SkipColumns=2", "1 2\n", "expected numbers, found none"},
        {"MULTIPLEXED", "SkipColumns=2000000000", "1 2\n", "expected numbers, found none"},
        {"MULTIPLEXED", "", "", "expected numbers, found none"},
        {"MULTIPLEXED", "", "1 2 3\n", "3 numbers in a line for 2 channels"},
        {"MULTIPLEXED", "", "1 2\n3\n", "byte 5: a line of 1 numbers, where the first has 2"},
        {"MULTIPLEXED", "", "1 2\n3 4 5\n", "a line of 3 numbers"},
        {"MULTIPLEXED", "", "1 2\n3 0x4\n", "byte 6: expected a decimal number, found '0x4'"},
        {"MULTIPLEXED", "", "1 2\n3 1e39\n", "expected a decimal number, found '1e39'"}, /* no 32-bit float */
        {"MULTIPLEXED", "DecimalSymbol=,", "1.234,5 2\n", "expected a decimal number"},
        {"VECTORIZED", "", "1 2\n", "1 lines for 2 channels"},
        {"VECTORIZED", "", "1 2 3 4 5 6 7 8\n9\n", "more numbers than most"},
    };
    gy_ctx *ctx = *state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        save_decimal(ctx, cases[i][0], cases[i][1], cases[i][2]);
        refused(ctx, "a.vhdr", cases[i][3]);
    }
}

static void renamed_files_are_found_beside_the_header(void **state) { /* BV-01, 02 */
    gy_ctx *ctx = *state;
    gy_recording r;
    save_all(ctx);
    save_with(ctx, "DataFile=a.eeg\r\nMarkerFile=a.vmrk", "DataFile=old.eeg\r\nMarkerFile=old.vmrk");
    listen(ctx);
    assert_ok(ctx, gy_recording_open(ctx, in_folder("a.vhdr"), NULL, &r));
    assert_non_null(strstr(warned, "its data file is missing; read is"));
    assert_int_equal(r.n_marks, 3);
    gy_recording_close(&r);
    unlink(in_folder("a.vmrk"));
    listen(ctx);
    assert_ok(ctx, gy_recording_open(ctx, in_folder("a.vhdr"), NULL, &r));
    assert_non_null(strstr(warned, "no markers"));
    assert_int_equal(r.n_marks, 0);
    gy_recording_close(&r);
    unlink(in_folder("a.eeg"));
    refused(ctx, "a.vhdr", "'old.eeg' is missing");
}

static void markers_outside_are_left_out(void **state) { /* BV-06 */
    gy_ctx *ctx = *state;
    gy_recording r;
    save_all(ctx);
    save_text(ctx, "a.vmrk",
              "[Marker Infos]\nMk1=Stimulus,a,0,1,0\nMk2=Stimulus,b,-5,1,0\nMk3=Stimulus,c,4,1,0\n"
              "Mk4=Stimulus,d,3,1,0\nMk5=Stimulus,e,1e30,1,0\nMk6=Stimulus\nMk7=Stimulus,f,1,-3,99\n");
    listen(ctx);
    assert_ok(ctx, gy_recording_open(ctx, in_folder("a.vhdr"), NULL, &r));
    assert_non_null(strstr(warned, "5 markers lie outside"));
    assert_int_equal(r.n_marks, 2);
    assert_string_equal(r.mark[0].text, "f"); /* by onset */
    assert_true(r.mark[0].duration == 0 && r.mark[0].channel == -1);
    assert_string_equal(r.mark[1].text, "d");
    gy_recording_close(&r);
}

static void line_ends_marks_of_order_and_repeated_sections_are_read(void **state) { /* BV-07 */
    char text[4096] = "\xef\xbb\xbf";
    gy_ctx *ctx = *state;
    gy_recording r;
    save_all(ctx);
    size_t used = strlen(text);
    for (const char *s = header; *s; s++)
        if (*s != '\n') text[used++] = *s; /* CR alone */
    text[used] = 0;
    strcat(text, "[Comment]\rCh3=no,,1,V\r[channel infos]\r");
    save_text(ctx, "a.vhdr", text);
    listen(ctx);
    assert_ok(ctx, gy_recording_open(ctx, in_folder("a.vhdr"), NULL, &r));
    assert_int_equal(r.n_channels, 2);
    gy_recording_close(&r);
    char *line = calloc(1, 1 << 20);
    memset(line, 'x', (1 << 20) - 1);
    memcpy(line, "Brain Vision Data Exchange Header", 33);
    save_text(ctx, "a.vhdr", line);
    refused(ctx, "a.vhdr", "DataOrientation");
    free(line);
}

static void cut_and_damaged_headers_do_no_harm(void **state) {
    gy_ctx *ctx = *state;
    buf b = buf_new();
    save_all(ctx);
    listen(ctx);
    put_s(&b, header);
    survives_cuts(ctx, "a.vhdr", &b, 11);
    buf_free(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(values_channels_and_markers_are_read),
        TEST(layouts_and_formats_are_read),
        TEST(what_the_header_may_not_say_is_refused),
        TEST(renamed_files_are_found_beside_the_header),
        TEST(markers_outside_are_left_out),
        TEST(line_ends_marks_of_order_and_repeated_sections_are_read),
        TEST(cut_and_damaged_headers_do_no_harm),
        TEST(decimal_samples_are_read),
        TEST(decimal_text_that_is_no_table_of_numbers_is_refused),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
