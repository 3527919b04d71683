/* Packing a matrix with any strides into panels for the register kernels.
 *
 * Three layouts matter: lines adjacent in memory (whole vectors are copied), depth adjacent in memory (square blocks
 * are transposed in registers), and neither (element by element). Bytes: each element is read once and written once.
 * Transposing takes 0.35 to 0.4 cycles an element in the second level, adjacent lines of a panel of B 0.27.
 *
 * Its share of products shows in bench/LIMITS.md: 1024^3 still runs at .95 of the peak, 16 x 2048 x 2048 at .60. */
#define GY_TYPED_FILE "gemm_pack.c"
#include "gemm.h"
#include "types.h"

#ifdef T

enum { TYPE(AHEAD) = 512 / sizeof(T) }; /* elements of a line that are fetched early */

/* Stores run over into the next depths, which are written later; only where they would leave the panel are they masked.
 */
static void NAME(pack_lines_adjacent)(const T *src, int64_t stride, int64_t n, int64_t depth, int64_t width, T *dst) {
    for (int64_t p = 0; p < depth; p++, src += stride, dst += width)
        for (int64_t r = 0; r < width; r += LANES) {
            V x = n - r >= LANES ? OP(load)(src + r) : n > r ? OP(loadn)(src + r, n - r) : OP(zero)();
            if ((depth - p) * width - r >= LANES)
                OP(store)(dst + r, x);
            else
                OP(storen)(dst + r, x, width - r);
        }
}

static void NAME(pack_any)(const T *src, int64_t line, int64_t step, int64_t n, int64_t depth, int64_t width, T *dst) {
    for (int64_t p = 0; p < depth; p++, src += step, dst += width) {
        for (int64_t r = 0; r < n; r++) dst[r] = src[r * line];
        for (int64_t r = n; r < width; r++) dst[r] = 0;
    }
}

/* Whole blocks of LANES depths of `lines` <= LANES lines; how many depths that were. Stores are of whole vectors: what
 * runs over is written again with the next depths. */
GY_INLINE int64_t NAME(pack_blocks)(const int lines, const T *src, int64_t line, int64_t depth, int64_t width, T *dst) {
    int64_t p = 0;
    for (; p + LANES + (lines < LANES) <= depth; p += LANES, src += LANES, dst += LANES * width) {
        V b[LANES];
#pragma GCC unroll 16
        for (int i = 0; i < LANES; i++) {
            b[i] = i < lines ? OP(load)(src + i * line) : OP(zero)();
            if (i < lines) __builtin_prefetch(src + i * line + TYPE(AHEAD), 0, 2);
        }
        OP(transpose)(b);
#pragma GCC unroll 16
        for (int i = 0; i < LANES; i++) OP(store)(dst + i * width, b[i]);
    }
    return p;
}

/* Runs of LANES lines; the usual heights of panels without a decision a line. */
static void NAME(pack_depth_adjacent)(const T *src, int64_t line, int64_t n, int64_t depth, int64_t width, T *dst) {
    for (int64_t r = 0; r < width; r += LANES, src += LANES * line, dst += LANES) {
        int64_t w = width - r < LANES ? width - r : LANES, lines = n - r < w ? n - r : w, p = 0;
        if (lines == LANES)
            p = NAME(pack_blocks)(LANES, src, line, depth, width, dst);
        else if (width == GY_MR && lines == GY_MR)
            p = NAME(pack_blocks)(GY_MR, src, line, depth, width, dst);
        else if (width == GY_MR - 1 && lines == GY_MR - 1)
            p = NAME(pack_blocks)(GY_MR - 1, src, line, depth, width, dst);
        for (; p < depth; p += LANES) {
            int64_t np = depth - p < LANES ? depth - p : LANES;
            V b[LANES];
            for (int i = 0; i < LANES; i++) b[i] = i < lines ? OP(loadn)(src + i * line + p, np) : OP(zero)();
            OP(transpose)(b);
            for (int i = 0; i < np; i++) OP(storen)(dst + (p + i) * width, b[i], w);
        }
    }
}

void NAME(gy_pack_strided)(const void *source, int64_t r0, int64_t n, int64_t p0, int64_t depth, int64_t width,
                           T *dst) {
    const gy_strided *s = source;
    const T *src = (const T *)s->data + r0 * s->line + p0 * s->depth;
    if (s->line == 1 || n == 1)
        NAME(pack_lines_adjacent)(src, s->depth, n, depth, width, dst);
    else if (s->depth == 1)
        NAME(pack_depth_adjacent)(src, s->line, n, depth, width, dst);
    else
        NAME(pack_any)(src, s->line, s->depth, n, depth, width, dst);
}

#ifdef T_IS_F32
void NAME(gy_pack_rounded)(const void *source, int64_t r0, int64_t n, int64_t p0, int64_t depth, int64_t width,
                           T *dst) {
    NAME(gy_pack_strided)(source, r0, n, p0, depth, width, dst);
    int64_t i = 0, count = depth * width;
    for (; i + VL <= count; i += VL) v_store(dst + i, v_float(vi_sll(v_to_bf16(v_load(dst + i)), 16)));
    if (i < count) v_storen(dst + i, v_float(vi_sll(v_to_bf16(v_loadn(dst + i, count - i)), 16)), count - i);
}
#endif
#endif
