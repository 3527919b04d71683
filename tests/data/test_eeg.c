/* Windows of recordings and of cut trials: what trains is never what tests. */
#include "../io/recordings.h"

#include "data/eeg.h"
#include "io/formats/npy.h"

enum { RATE = 100, SECONDS = 60, TRIALS = 12, LENGTH = 64 };

static void field(buf *b, const char *s, size_t width) {
    size_t n = strlen(s);
    for (size_t i = 0; i < width; i++) put8(b, i < n ? (uint8_t)s[i] : ' ');
}

/* EDF+ of two channels at 100 Hz, one of them in mV, and one of a temperature; marks "a" and "b" take turns every
 * second and a half, "c" comes three times. Both voltages are a 10 Hz sine of 50 uV. */
static void save_recording(gy_ctx *ctx) {
    static const char *const label[] = {"Fz", "Cz", "Temp", "EDF Annotations"}, *const unit[] = {"uV", "mV", "degC",
                                                                                                 ""};
    static const char *const lo[] = {"-100", "-0.1", "0", "-1"}, *const hi[] = {"100", "0.1", "50", "1"};
    static const char *const size[] = {"100", "100", "1", "40"};
    buf b = buf_new();
    field(&b, "0", 8), field(&b, "X", 80), field(&b, "Y", 80), field(&b, "01.01.01", 8), field(&b, "00.00.00", 8);
    field(&b, "1280", 8), field(&b, "EDF+C", 44), field(&b, "60", 8), field(&b, "1", 8), field(&b, "4", 4);
    for (int i = 0; i < 4; i++) field(&b, label[i], 16);
    for (int i = 0; i < 4; i++) field(&b, "", 80);
    for (int i = 0; i < 4; i++) field(&b, unit[i], 8);
    for (int i = 0; i < 4; i++) field(&b, lo[i], 8);
    for (int i = 0; i < 4; i++) field(&b, hi[i], 8);
    for (int i = 0; i < 4; i++) field(&b, "-32768", 8);
    for (int i = 0; i < 4; i++) field(&b, "32767", 8);
    for (int i = 0; i < 4; i++) field(&b, "", 80);
    for (int i = 0; i < 4; i++) field(&b, size[i], 8);
    for (int i = 0; i < 4; i++) field(&b, "", 32);
    for (int s = 0, k = 0; s < SECONDS; s++) {
        for (int c = 0; c < 2; c++)
            for (int t = 0; t < RATE; t++) put16(&b, (unsigned)(int)(16384 * sin(0.2 * 3.14159265358979 * t)));
        put16(&b, 100);
        char list[80] = "";
        int n = snprintf(list, sizeof list, "+%d\x14\x14", s) + 1;
        for (; 1.5 * k < s + 1 && k < 40; k++)
            n += snprintf(list + n, sizeof list - (size_t)n, "+%g\x14%s\x14", 1.5 * k, k % 2 ? "b" : "a") + 1;
        if (s % 20 == 5)
            n += snprintf(list + n, sizeof list - (size_t)n,
                          "+%d\x14"
                          "c\x14",
                          s) +
                 1;
        put(&b, list, 80);
    }
    save(ctx, "a.edf", b.d, b.n);
    buf_free(&b);
}

static void recordings_are_cut_at_their_marks(void **state) {
    gy_ctx *ctx = *state;
    gy_eeg e;
    listen(ctx);
    save_recording(ctx);
    gy_eeg_args a = {.rate = 50, .samples = 40, .from = 0.1};
    assert_ok(ctx, gy_eeg_open(ctx, in_folder("a.edf"), &a, &e));
    assert_int_equal(e.channels, 2); /* the temperature is no voltage */
    assert_int_equal(e.classes, 2);  /* "c" is too rare */
    assert_string_equal(e.name[0], "a");
    assert_string_equal(e.name[1], "b");
    assert_string_equal(e.label, "a.edf");
    /* 40 marks 1.5 s apart; windows of 0.8 s from 0.1 s on must end before second 42, or begin after it */
    assert_int_equal(e.train.n, 28);
    assert_int_equal(e.test.n, 12);
    assert_int_equal(e.train.label[0], 0);
    assert_int_equal(e.train.label[1], 1);
    assert_int_equal(e.pool.n, (42 * 50 - 40) / 20 + 1);
    for (int64_t i = 0; i < e.test.n * 80; i += 2)
        assert_close(e.test.x[i], e.test.x[i + 1], 2e-3); /* uV and mV alike */
    double most = 0;
    for (int64_t i = 0; i < e.train.n * 80; i++) most = fmax(most, fabs((double)e.train.x[i]));
    assert_close(most, sqrt(2), 0.05); /* a sine of deviation 1 */
    gy_eeg_close(&e);
    a.samples = 50 * 40;
    assert_message(ctx, gy_eeg_open(ctx, in_folder("a.edf"), &a, &e), "two windows");
}

/* Twelve trials of two channels: six people, three in each group. Values are 100 times the person, channels differ. */
static void save_trials(gy_ctx *ctx, const char *header) {
    char text[1024];
    gy_tensor t;
    int n = snprintf(text, sizeof text, "%s\n", header);
    assert_ok(ctx, gy_tensor_new(ctx, &t, GY_F32, GY_S(TRIALS, 2, LENGTH)));
    for (int i = 0; i < TRIALS; i++) {
        int person = i % 6;
        n += snprintf(text + n, sizeof text - (size_t)n, "p%d,%s\n", person, person < 3 ? "a" : "c");
        for (int k = 0; k < 2 * LENGTH; k++) ((float *)t.data)[i * 2 * LENGTH + k] = (float)(100 * person + k % 7);
    }
    assert_ok(ctx, gy_npy_write(ctx, in_folder("eeg.npy"), &t));
    save_text(ctx, "trials.csv", text);
    gy_tensor_free(ctx, &t);
}

static void people_are_either_trained_on_or_held_out(void **state) {
    gy_ctx *ctx = *state;
    save_trials(ctx, "subject,group");
    for (uint64_t seed = 0; seed < 4; seed++) {
        gy_eeg e;
        bool trained[6] = {false};
        gy_eeg_args a = {.samples = 32, .seed = seed};
        assert_ok(ctx, gy_eeg_open(ctx, folder, &a, &e));
        assert_int_equal(e.classes, 2);
        assert_int_equal(e.channels, 2);
        assert_int_equal(e.train.n + e.test.n, TRIALS);
        assert_int_equal(e.test.n, 4); /* one person of each group, two trials each */
        for (int64_t i = 0; i < e.train.n; i++) trained[e.train.group[i]] = true;
        int64_t of[2] = {0};
        for (int64_t i = 0; i < e.test.n; i++) {
            assert_false(trained[e.test.group[i]]);
            of[e.test.label[i]]++;
        }
        assert_true(of[0] == 2 && of[1] == 2);
        gy_eeg_close(&e);
    }
}

static void folders_that_do_not_fit_are_refused(void **state) {
    gy_ctx *ctx = *state;
    gy_eeg e;
    gy_eeg_args a = {.samples = 65};
    save_trials(ctx, "subject,group");
    assert_message(ctx, gy_eeg_open(ctx, folder, &a, &e), "set fewer samples");
    a.samples = 32;
    save_trials(ctx, "subject,colour");
    assert_message(ctx, gy_eeg_open(ctx, folder, &a, &e), "columns subject and group");
    save_text(ctx, "trials.csv", "subject,group\np0,a\n");
    assert_message(ctx, gy_eeg_open(ctx, folder, &a, &e), "expected f32 [1 trials");
    unlink(in_folder("eeg.npy"));
    assert_message(ctx, gy_eeg_open(ctx, folder, &a, &e), "eeg.npy");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(recordings_are_cut_at_their_marks),
        TEST(people_are_either_trained_on_or_held_out),
        TEST(folders_that_do_not_fit_are_refused),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
