/* Panels of a convolution's weights, [tap][channel][columns], from their place in w and back: blocks of w are
 * transposed in registers. Bytes: each weight is read once and written once; measured, 14.7 M weights that come from
 * memory take about 4 ms (one thread of Zen 4, AVX-512). */
#include "conv.h"

static int64_t least(int64_t a, int64_t b) {
    return a < b ? a : b;
}

/* A run is what lies adjacent in memory: the taps of one channel, or of all the channels of a chunk. */
static bool joined(const gy_conv_weights *q) {
    return q->channel == q->taps;
}
int64_t GY_ISAFN(gy_conv_weights_run)(const gy_conv_weights *q, int64_t cc) {
    return (joined(q) ? cc : 1) * q->taps;
}

void GY_ISAFN(gy_conv_weights_rows)(const gy_conv_weights *q, int64_t cc, int32_t *row) {
    const int64_t *k = q->kernel;
    int64_t channels = joined(q) ? cc : 1, n = 0;
    for (int64_t i = 0; i < channels * q->taps; i++) row[i] = -1;
    for (int64_t k0 = 0; k0 < k[0]; k0++)
        for (int64_t k1 = 0; k1 < k[1]; k1++)
            for (int64_t k2 = 0; k2 < k[2]; k2++, n += cc) {
                int64_t tap = q->tap + k0 * q->tap_step[0] + k1 * q->tap_step[1] + k2 * q->tap_step[2];
                for (int64_t c = 0; c < channels; c++) row[c * q->taps + tap] = (int32_t)(n + c);
            }
}

void GY_ISAFN(gy_conv_weights_pack)(const gy_conv_weights *q, const int32_t *row, int64_t group, int64_t j0, int64_t n,
                                    int64_t c0, int64_t cc, float *dst) {
    int64_t width = (n + VL - 1) / VL * VL, line = q->line, step = joined(q) ? cc : 1, run = step * q->taps;
    const float *w = q->w + group * q->group + j0 * line + c0 * q->channel, *end = q->w + q->count;
    if (q->kernel[0] * q->kernel[1] * q->kernel[2] == 0) return; /* a phase that no tap reaches */
    for (int64_t r = 0; r < width; r += VL, w += VL * line) {
        int64_t lines = least(n - r, VL);
        for (int64_t c = 0; c < cc; c += step) {
            const float *from = w + c * q->channel;
            float *to = dst + c * width + r;
            if (line == 1) { /* columns are adjacent; one tap */
                v_store(to, lines == VL ? v_load(from) : v_loadn(from, lines));
                continue;
            }
            int64_t p = 0;
            for (; p + VL <= run && lines == VL; p += VL) {
                vf b[VL];
#pragma GCC unroll 16
                for (int i = 0; i < VL; i++) b[i] = v_load(from + i * line + p);
                v_transpose(b);
#pragma GCC unroll 16
                for (int i = 0; i < VL; i++)
                    if (row[p + i] >= 0) v_store(to + row[p + i] * width, b[i]);
            }
            for (; p < run; p += VL) {
                int64_t np = least(run - p, VL);
                vf b[VL];
                if (lines == VL && from + (VL - 1) * line + p + VL <= end) { /* what follows is read, and left */
#pragma GCC unroll 16
                    for (int i = 0; i < VL; i++) b[i] = v_load(from + i * line + p);
                    v_transpose(b);
#pragma GCC unroll 16
                    for (int i = 0; i < VL; i++)
                        if (i < np && row[p + i] >= 0) v_store(to + row[p + i] * width, b[i]);
                    continue;
                }
                for (int i = 0; i < VL; i++) b[i] = i < lines ? v_loadn(from + i * line + p, np) : v_zero();
                v_transpose(b);
                for (int i = 0; i < np; i++)
                    if (row[p + i] >= 0) v_store(to + row[p + i] * width, b[i]);
            }
        }
    }
}

void GY_ISAFN(gy_conv_weights_fetch)(const gy_conv_weights *q, int64_t group, int64_t j0, int64_t n, int64_t c0,
                                     int64_t cc, int64_t part, int64_t parts) {
    const float *w = q->w + group * q->group + j0 * q->line + c0 * q->channel;
    int64_t rows = joined(q) ? n : cc, step = joined(q) ? q->line : q->channel, run = (joined(q) ? cc : n) * q->taps;
    for (int64_t r = rows * part / parts; r < rows * (part + 1) / parts; r++)
        for (int64_t e = 0; e < run; e += 16) __builtin_prefetch(w + r * step + e, 0, 2);
}

void GY_ISAFN(gy_conv_weights_unpack)(const float *sum, int64_t taps, int64_t channels, int64_t width, int64_t n,
                                      float *w, int64_t w_line) {
    for (int64_t r = 0; r < n; r += VL) {
        int64_t lines = least(n - r, VL), tap = 0, channel = 0, run = channels * taps;
        for (int64_t p = 0; p < run; p += VL) {
            int64_t np = least(run - p, VL);
            vf b[VL];
            for (int i = 0; i < VL; i++) {
                b[i] = i < np ? v_load(sum + (tap * channels + channel) * width + r) : v_zero();
                if (++tap == taps) tap = 0, channel++;
            }
            v_transpose(b);
            float *to = w + r * w_line + p;
            for (int i = 0; i < lines; i++, to += w_line) {
                if (np == VL)
                    v_store(to, b[i]);
                else
                    v_storen(to, b[i], np);
            }
        }
    }
}
