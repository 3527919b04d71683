/* Filters, resampling and spectra against scipy 1.x's values and against what is known of sines. */
#include "../harness/harness.h"

#include "core/linalg/signal.h"

#include <math.h>
#include <string.h>

static const double PI = 3.14159265358979323846;

/* The signal of all values from scipy: sin(0.3 n) + 0.5 cos(1.7 n) + 0.01 n, 64 samples */
static void wave(double x[64]) {
    for (int n = 0; n < 64; n++) x[n] = sin(0.3 * n) + 0.5 * cos(1.7 * n) + 0.01 * n;
}

static void butterworth_gains_are_scipys(void **state) { /* sosfreqz of butter(..., fs=128) at 3, 6, 20, 40 Hz */
    static const struct {
        gy_band band;
        int64_t order;
        double low, high, gain[4];
    } cases[] = {
        {GY_BAND_PASS, 5, 4, 8, {0.0392865964625, 0.999999993795, 0.000333880911901, 1.42122121309e-06}},
        {GY_LOW_PASS, 3, 30, 0, {0.999999854694, 0.999990391062, 0.979606239167, 0.216822917501}},
        {GY_HIGH_PASS, 4, 1, 0, {0.99992477504, 0.999999718671, 0.99999999999, 1.0}},
        {GY_LOW_PASS, 1, 20, 0, {0.990611404177, 0.963582653475, 0.707106781187, 0.336341463058}},
        {GY_BAND_PASS, 3, 2, 55, {0.962166777711, 0.999626879461, 0.999999999736, 0.999584665676}}, /* real poles */
    };
    static const double at[] = {3, 6, 20, 40};
    gy_ctx *ctx = *state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        gy_filter f;
        assert_ok(ctx, gy_butterworth(ctx, cases[i].band, cases[i].order, cases[i].low, cases[i].high, 128, &f));
        for (int k = 0; k < 4; k++) {
            double g = gy_filter_gain(&f, at[k], 128);
            if (fabs(g - cases[i].gain[k]) > 1e-9) fail_msg("case %d at %g Hz: %.12g", (int)i, at[k], g);
        }
    }
}

static void filtering_is_scipys(void **state) { /* butter(2, [4, 20], 'bandpass'): sosfilt, sosfiltfilt */
    static const int at[] = {0, 1, 10, 31, 63};
    static const double causal[] = {0.0488155364689, 0.152824558691, -0.44423986112, -0.460225437512, 0.600813002912};
    static const double both[] = {0.0492981870993, 0.0155460893115, 0.105635601599, 0.089141668701, -0.233953980738};
    gy_ctx *ctx = *state;
    gy_filter f;
    double x[64], y[128];
    wave(x);
    for (int i = 0; i < 64; i++) y[2 * i] = x[i], y[2 * i + 1] = 7; /* another channel between, untouched */
    assert_ok(ctx, gy_butterworth(ctx, GY_BAND_PASS, 2, 4, 20, 128, &f));
    gy_filter_forward(&f, x, 64, 1);
    assert_ok(ctx, gy_filter_both_ways(ctx, &f, y, 64, 2));
    for (int k = 0; k < 5; k++) {
        assert_close(x[at[k]], causal[k], 1e-10);
        assert_close(y[2 * at[k]], both[k], 1e-10);
        assert_true(y[2 * at[k] + 1] == 7);
    }
}

static void narrow_bands_of_high_order_stay_stable(void **state) { /* 4 to 8 Hz at 2048 Hz: one polynomial would not */
    gy_ctx *ctx = *state;
    gy_filter f;
    double *x = gy_calloc(ctx, 20480, sizeof *x), most = 0;
    assert_non_null(x);
    for (int t = 0; t < 20480; t++) x[t] = sin(2 * PI * 6 * t / 2048) + sin(2 * PI * 50 * t / 2048);
    assert_ok(ctx, gy_butterworth(ctx, GY_BAND_PASS, 5, 4, 8, 2048, &f));
    assert_ok(ctx, gy_filter_both_ways(ctx, &f, x, 20480, 1));
    for (int t = 8192; t < 12288; t++) most = fmax(most, fabs(x[t] - sin(2 * PI * 6 * t / 2048)));
    if (!(most < 1e-4)) fail_msg("a 6 Hz sine is off by %g", most);
    gy_free(ctx, x);
}

static void notch_takes_out_one_frequency(void **state) {
    gy_ctx *ctx = *state;
    gy_filter f;
    assert_ok(ctx, gy_notch(ctx, 50, 30, 250, &f));
    assert_close(f.s[0].b0, 0.97948276, 1e-8); /* scipy.signal.iirnotch(50, 30, fs=250) */
    assert_close(f.s[0].b1, -0.60535364, 1e-8);
    assert_close(f.s[0].a2, 0.95896552, 1e-8);
    assert_true(gy_filter_gain(&f, 50, 250) < 1e-12 && gy_filter_gain(&f, 10, 250) > 0.999);
}

static void symmetric_filters_are_scipys(void **state) { /* firwin(31, ..., fs=128), taps 0, 5, 15 */
    static const struct {
        double low, high, tap[3];
    } cases[] = {{8, 13, {0.000690933494448, 0.0137036581683, 0.134757205281}},
                 {0, 20, {0.00140787580308, -0.00376634925323, 0.311687316294}},
                 {20, 0, {-0.0014102824258, 0.00377278745015, 0.686884252015}}};
    gy_ctx *ctx = *state;
    double tap[31], x[64];
    for (int i = 0; i < 3; i++) {
        assert_ok(ctx, gy_fir(ctx, cases[i].low, cases[i].high, 128, 31, tap));
        for (int k = 0; k < 3; k++) assert_close(tap[(int[]){0, 5, 15}[k]], cases[i].tap[k], 1e-10);
    }
    assert_ok(ctx, gy_fir(ctx, 0, 20, 128, 31, tap));
    for (int t = 0; t < 64; t++) x[t] = 3;
    assert_ok(ctx, gy_fir_apply(ctx, tap, 31, x, 64, 1));
    for (int t = 0; t < 64; t++) assert_close(x[t], 3, 1e-12);
}

static void resampling_keeps_sines_and_drops_what_cannot_be_kept(void **state) {
    gy_ctx *ctx = *state;
    double x[1000], y[1000];
    for (int t = 0; t < 1000; t++) x[t] = sin(2 * PI * 10 * t / 500);
    int64_t n = gy_resampled(1000, 500, 128);
    assert_int_equal(n, 256);
    assert_int_equal(gy_resampled(256, 256, 128), 128);
    assert_ok(ctx, gy_resample(ctx, x, 1000, 500, 128, y));
    for (int t = 40; t < 210; t++) assert_close(y[t], sin(2 * PI * 10 * t / 128), 1e-4);
    assert_ok(ctx, gy_resample(ctx, y, 256, 128, 300, x)); /* up again */
    for (int t = 150; t < 400; t++) assert_close(x[t], sin(2 * PI * 10 * t / 300), 2e-4);
    for (int t = 0; t < 1000; t++) x[t] = sin(2 * PI * 100 * t / 500); /* above 64 Hz */
    assert_ok(ctx, gy_resample(ctx, x, 1000, 500, 128, y));
    for (int t = 40; t < 210; t++) assert_true(fabs(y[t]) < 1e-3);
    for (int t = 0; t < 1000; t++) x[t] = -2;
    assert_ok(ctx, gy_resample(ctx, x, 1000, 500, 128, y));
    for (int t = 0; t < 256; t++) assert_close(y[t], -2, 1e-12);
}

/* At 128 Hz. */
static void spectrum(gy_ctx *ctx, const double *x, int64_t n, int64_t piece, double *p) {
    gy_welch w;
    assert_ok(ctx, gy_welch_new(ctx, piece, 128, &w));
    memset(p, 0, (size_t)(piece / 2 + 1) * sizeof *p);
    gy_welch_add(&w, x, n, 1, p);
    gy_welch_free(&w);
}

static void spectra_are_scipys_and_hold_a_sines_power(void **state) { /* welch(x, 128, nperseg=32 and 15) */
    static const int at32[] = {0, 1, 3, 9, 16}, at15[] = {0, 1, 3, 7};
    static const double p32[] = {0.0142144475512, 0.0734797343529, 0.00286517367181, 0.0178921401125,
                                 7.92985388222e-09};
    static const double p15[] = {0.00634197132237, 0.0226604641605, 0.00204590236659, 9.88254532485e-08};
    gy_ctx *ctx = *state;
    double x[1280], p[129];
    wave(x);
    spectrum(ctx, x, 64, 32, p);
    for (int k = 0; k < 5; k++) assert_true(fabs(p[at32[k]] - p32[k]) < 1e-10);
    spectrum(ctx, x, 64, 15, p);
    for (int k = 0; k < 4; k++) assert_true(fabs(p[at15[k]] - p15[k]) < 1e-10);
    for (int t = 0; t < 1280; t++) x[t] = 2 * sin(2 * PI * 10 * t / 128);
    const gy_welch w = {.piece = 256, .rate = 128};
    spectrum(ctx, x, 1280, 256, p);
    assert_close(gy_band_power(&w, p, 8, 13), 2, 1e-6); /* half the squared height */
    assert_true(gy_band_power(&w, p, 20, 40) < 1e-9);
    assert_close(gy_bins_power(&w, p, 8, 13), 2, 1e-6);
    assert_close(gy_bins_power(&w, p, 8, 10) + gy_bins_power(&w, p, 10, 13), 2, 1e-6); /* no bin counts twice */
    assert_true(gy_bins_power(&w, p, 0, 8) < 1e-9);
}

static void spectra_add_up_and_step_over_other_channels(void **state) {
    gy_ctx *ctx = *state;
    gy_welch w;
    double x[128], p[33] = {0}, q[33];
    wave(x);
    spectrum(ctx, x, 64, 64, q);
    for (int t = 63; t >= 0; t--) x[2 * t] = x[t], x[2 * t + 1] = 1e6;
    assert_ok(ctx, gy_welch_new(ctx, 64, 128, &w));
    gy_welch_add(&w, x, 64, 2, p);
    gy_welch_add(&w, x, 64, 2, p);
    for (int k = 0; k < 33; k++) assert_close(p[k], 2 * q[k], 1e-12);
    gy_welch_free(&w);
}

static void band_noise_stays_in_its_band(void **state) {
    gy_ctx *ctx = *state;
    gy_rfft_plan *fft;
    double x[256], p[129], square = 0;
    double complex bins[129], work[1024];
    gy_rng r;
    gy_rng_init(&r, 1, "noise");
    assert_ok(ctx, gy_rfft_new(ctx, 256, &fft));
    assert_true(gy_rfft_work(fft) <= 1024);
    gy_band_noise(fft, 256, 20, 40, 0, &r, x, bins, work);
    for (int i = 0; i < 256; i++) square += x[i] * x[i] / 256;
    assert_close(square, 1, 1e-12);
    const gy_welch w = {.piece = 256, .rate = 128};
    spectrum(ctx, x, 256, 256, p); /* at 128 Hz: all frequencies are halved */
    assert_true(gy_bins_power(&w, p, 9.5, 21) > 0.999 * gy_bins_power(&w, p, 0, 65));
    gy_rfft_free(ctx, fft);
}

static void references_and_scaling(void **state) {
    double x[] = {1, 3, 2, 6, 3, 9}, y[] = {1, 5, 2, 5, 3, 5, 100, 5};
    (void)state;
    gy_average_reference(x, 3, 2);
    for (int t = 0; t < 3; t++) assert_true(x[2 * t] == -x[2 * t + 1] && x[2 * t] == -(t + 1));
    gy_standardise(y, 4, 2, 0, 3, 4); /* fitted on the first three rows */
    assert_close(y[0], -sqrt(1.5), 1e-12);
    assert_close(y[2], 0, 1e-12);
    assert_close(y[6], 4, 1e-12);                               /* clipped */
    for (int t = 0; t < 4; t++) assert_true(y[2 * t + 1] == 0); /* constant */
}

static void impossible_requests_are_refused(void **state) {
    gy_ctx *ctx = *state;
    gy_filter f;
    double x[8] = {0}, p[8];
    assert_message(ctx, gy_butterworth(ctx, GY_LOW_PASS, 0, 10, 0, 128, &f), "order 0");
    assert_message(ctx, gy_butterworth(ctx, GY_LOW_PASS, 21, 10, 0, 128, &f), "order 21");
    assert_message(ctx, gy_butterworth(ctx, GY_LOW_PASS, 2, 64, 0, 128, &f), "half the rate");
    assert_message(ctx, gy_butterworth(ctx, GY_BAND_PASS, 2, 20, 10, 128, &f), "half the rate");
    assert_message(ctx, gy_butterworth(ctx, GY_HIGH_PASS, 2, NAN, 0, 128, &f), "half the rate");
    assert_message(ctx, gy_notch(ctx, 70, 30, 128, &f), "notch");
    assert_message(ctx, gy_fir(ctx, 0, 20, 128, 4, p), "taps");
    gy_welch w;
    assert_message(ctx, gy_welch_new(ctx, 1, 128, &w), "pieces");
    assert_message(ctx, gy_welch_new(ctx, 8, 0, &w), "pieces");
    assert_message(ctx, gy_resample(ctx, x, 8, 0, 128, p), "resampling");
    assert_ok(ctx, gy_butterworth(ctx, GY_LOW_PASS, 2, 10, 0, 128, &f));
    assert_message(ctx, gy_filter_both_ways(ctx, &f, x, 1, 1), "2 samples");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(butterworth_gains_are_scipys),
        TEST(filtering_is_scipys),
        TEST(narrow_bands_of_high_order_stay_stable),
        TEST(notch_takes_out_one_frequency),
        TEST(symmetric_filters_are_scipys),
        TEST(resampling_keeps_sines_and_drops_what_cannot_be_kept),
        TEST(spectra_are_scipys_and_hold_a_sines_power),
        TEST(spectra_add_up_and_step_over_other_channels),
        TEST(band_noise_stays_in_its_band),
        TEST(references_and_scaling),
        TEST(impossible_requests_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
