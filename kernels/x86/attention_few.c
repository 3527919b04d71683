/* Attention forward of a handful of queries (FEW), each of which meets a cache of keys.
 *
 * Nothing is used often enough to be packed, and bytes are the limit: keys and values are read once, in the order in
 * which they lie in memory, where all heads of a time are neighbours. A tile is (sample, up to PIECE keys) with all
 * heads: it makes the scores of these keys, four keys a turn, then their weights, then sums their values, again four a
 * turn. It leaves its own m, l and o, and a second pass adds the pieces in order.
 *
 * On AVX512-BF16, where plans of precision bf16 round q, k, v and the weights, a part of a row is 32 numbers, rounded
 * as they are read.
 *
 * Measured on Zen 4, one thread (`gyrus bench attention --match q1`): 12 heads of 64 over 1024 keys 66 GB/s, .8 of what
 * the third level gives; 32 heads of 128 that share 8 key heads 43 GB/s in f32, 48 in bf16, where arithmetic allows 59.
 */
#include "attention.h"

enum { PIECE = 128, ROWS = VL / 4, TURN = 4 };

#if defined(GY_TIER_avx512bf16)
typedef __m512bh part;
enum { PART = 2 * VL };
GY_INLINE part read_part(const float *p, int64_t n) {
    if (n >= PART) return _mm512_cvtne2ps_pbh(v_load(p + VL), v_load(p));
    return _mm512_cvtne2ps_pbh(n > VL ? v_loadn(p + VL, n - VL) : v_zero(), v_loadn(p, least(n, VL)));
}
GY_INLINE vf times(part a, part b, vf sum) {
    return _mm512_dpbf16_ps(sum, a, b);
}
/* Lane i: (a[i], b[i]). */
GY_INLINE part pair_of(vf a, vf b) {
    const __m512i order = _mm512_set_epi32(0x1f000f, 0x1e000e, 0x1d000d, 0x1c000c, 0x1b000b, 0x1a000a, 0x190009,
                                           0x180008, 0x170007, 0x160006, 0x150005, 0x140004, 0x130003, 0x120002,
                                           0x110001, 0x100000) /* words 0, 16, 1, 17, ... */;
    return (part)_mm512_permutexvar_epi16(order, (__m512i)_mm512_cvtne2ps_pbh(b, a));
}
#else
typedef vf part;
enum { PART = VL };
GY_INLINE part read_part(const float *p, int64_t n) {
    return n >= PART ? v_load(p) : v_loadn(p, n);
}
GY_INLINE vf times(part a, part b, vf sum) {
    return v_fma(a, b, sum);
}
#endif

/* Rows of a key head, and of a sample. */
static int64_t few_rows(const attention_job *w) {
    return w->h / w->hkv * w->tq;
}
static int64_t all_rows(const attention_job *w) {
    return w->h * w->tq;
}
/* Keys of a piece: a short cache is cut finer, so that all threads have one. */
static int64_t piece_keys(const attention_job *w) {
    return w->tk < 4 * PIECE ? PIECE / 2 : PIECE;
}
/* Of one piece: m, l [rows], o [rows][dv in whole vectors]. */
static int64_t piece_floats(const attention_job *w) {
    return all_rows(w) * (up(w->dv, VL) + 2);
}
static size_t few_shared_floats(const attention_job *w) {
    return (size_t)(w->b * gy_tiles(w->tk, piece_keys(w)) * piece_floats(w));
}
static size_t few_floats(const attention_job *w) {
    return (size_t)(all_rows(w) * (up(w->d, PART) / PART * VL + PIECE));
}

static __m128 four_sums(const vf a[4]) {
    __m256 h[4];
    for (int i = 0; i < 4; i++) h[i] = v_half_add(a[i]);
    __m256 q = _mm256_hadd_ps(_mm256_hadd_ps(h[0], h[1]), _mm256_hadd_ps(h[2], h[3]));
    return _mm_add_ps(_mm256_castps256_ps128(q), _mm256_extractf128_ps(q, 1));
}
/* s[r * PIECE + 0..3] = query r . key[0..3] for `rows` <= ROWS queries of `parts` parts. */
GY_INLINE void dots(const part *queries, int rows, const float *const key[TURN], int64_t d, int64_t parts, float *s) {
    vf sum[ROWS][TURN];
    for (int r = 0; r < rows; r++)
        for (int n = 0; n < TURN; n++) sum[r][n] = v_zero();
    for (int64_t c = 0; c < parts; c++) {
        part k[TURN];
        for (int n = 0; n < TURN; n++) k[n] = read_part(key[n] + c * PART, d - c * PART);
        for (int r = 0; r < rows; r++)
            for (int n = 0; n < TURN; n++) sum[r][n] = times(queries[r * parts + c], k[n], sum[r][n]);
    }
    for (int r = 0; r < rows; r++) _mm_storeu_ps(s + r * PIECE, four_sums(sum[r]));
}
/* s[row][j - j0], rows PIECE apart, of keys j0 .. +nk and all heads. */
static void few_scores(const attention_job *w, int64_t b, int64_t j0, int64_t nk, const part *queries, float *s) {
    int64_t rows = few_rows(w), parts = gy_tiles(w->d, PART);
    for (int64_t j = 0; j < nk; j += TURN)
        for (int64_t h = 0; h < w->hkv; h++) {
            const float *key[TURN];
            for (int64_t n = 0; n < TURN; n++) key[n] = row(&w->k, b, j0 + least(j + n, nk - 1), h);
            int64_t r = h * rows, end = r + rows;
            for (; r + ROWS <= end; r += ROWS) dots(queries + r * parts, ROWS, key, w->d, parts, s + r * PIECE + j);
            for (; r < end; r++) dots(queries + r * parts, 1, key, w->d, parts, s + r * PIECE + j);
        }
}
/* Row s [nk] of query i of head h: scaled, with bias, -inf where forbidden and in what the last vector has too much. */
static void few_limits(const attention_job *w, int64_t b, int64_t h, int64_t i, int64_t j0, int64_t nk, float *s) {
    int64_t end = visible(w, i, 1) - j0;
    for (int64_t j = 0; j < nk; j += VL) v_store(s + j, v_mul(v_set((float)w->attr->scale), v_load(s + j)));
    if (w->bias) {
        const int64_t *t = w->bias_stride;
        const float *bias = w->bias + b * t[0] + h * t[1] + i * t[2] + j0 * t[3];
        for (int64_t j = 0; j < nk; j++) s[j] += bias[j * t[3]];
    }
    if (w->mask) {
        const int64_t *t = w->mask_stride;
        const uint8_t *mask = w->mask + b * t[0] + h * t[1] + i * t[2] + j0 * t[3];
        for (int64_t j = 0; j < nk; j++) s[j] = mask[j * t[3]] ? s[j] : -INFINITY;
    }
    for (int64_t j = end < 0 ? 0 : least(end, nk); j < up(nk, VL); j++) s[j] = -INFINITY;
}
/* s becomes weights, 0 from up(nk, VL) on; the sum of e^(s - m) in *l. */
static void few_weights(const attention_job *w, int64_t nk, float *s, float *m, float *l) {
    vf top = v_set(-INFINITY), sum = v_zero();
    for (int64_t j = 0; j < nk; j += VL) top = v_max(top, v_load(s + j));
    vf base = from_top(w, v_set(v_hmax(top)));
    v_storen(m, base, 1);
    base = v_sel(v_eq(base, v_set(-INFINITY)), v_zero(), base);
    for (int64_t j = 0; j < nk; j += VL) {
        vf e = v_exp(v_sub(v_load(s + j), base));
        v_store(s + j, (int)PART > (int)VL ? e : as_factor(w, e)); /* pairs are rounded when they are made */
        sum = v_add(sum, e);
    }
    *l = v_sum(sum);
}
/* o[r][dv] += weights of four keys times their values. The weights stay in registers. */
GY_INLINE void add_values(const float *p, const int rows, const float *const value[TURN], int64_t dv, int64_t ldo,
                          float *o) {
    part weight[ROWS][TURN * VL / PART]; /* pairs of keys, or keys */
    for (int r = 0; r < rows; r++)
#if defined(GY_TIER_avx512bf16)
    {
        __m128i e = (__m128i)_mm_cvtneps_pbh(_mm_loadu_ps(p + r * PIECE));
        weight[r][0] = (part)_mm512_broadcastd_epi32(e);
        weight[r][1] = (part)_mm512_broadcastd_epi32(_mm_srli_si128(e, 4));
    }
#else
        for (int n = 0; n < TURN; n++) weight[r][n] = v_set(p[r * PIECE + n]);
#endif
    for (int64_t c = 0; c < dv; c += VL) {
        vf v[TURN];
        for (int n = 0; n < TURN; n++) v[n] = c + VL <= dv ? v_load(value[n] + c) : v_loadn(value[n] + c, dv - c);
#if defined(GY_TIER_avx512bf16)
        part pair[2] = {pair_of(v[0], v[1]), pair_of(v[2], v[3])};
#else
        const part *pair = v;
#endif
        for (int r = 0; r < rows; r++) {
            vf sum = v_load(o + r * ldo + c);
            for (int n = 0; n < TURN * VL / PART; n++) sum = times(weight[r][n], pair[n], sum);
            v_store(o + r * ldo + c, sum);
        }
    }
}
static void few_values(const attention_job *w, int64_t b, int64_t j0, int64_t nk, const float *p, float *o) {
    int64_t rows = few_rows(w), ldo = up(w->dv, VL);
    memset(o, 0, (size_t)(all_rows(w) * ldo) * sizeof *o);
    for (int64_t j = 0; j < nk; j += TURN)
        for (int64_t h = 0; h < w->hkv; h++) {
            const float *value[TURN];
            for (int64_t n = 0; n < TURN; n++) value[n] = row(&w->v, b, j0 + least(j + n, nk - 1), h);
            int64_t r = h * rows, end = r + rows;
            for (; r + ROWS <= end; r += ROWS) add_values(p + r * PIECE + j, ROWS, value, w->dv, ldo, o + r * ldo);
            for (; r < end; r++) add_values(p + r * PIECE + j, 1, value, w->dv, ldo, o + r * ldo);
        }
}

static void few_tile(void *arg, int64_t t, int worker) {
    const attention_job *w = arg;
    int64_t pieces = gy_tiles(w->tk, piece_keys(w)), b = t / pieces, rows = all_rows(w), parts = gy_tiles(w->d, PART),
            j0, end;
    gy_tile_range(w->tk, piece_keys(w), t % pieces, &j0, &end);
    float *m = w->pieces + t * piece_floats(w), *l = m + rows, *o = l + rows;
    float *s = (float *)(void *)(w->scratch + (size_t)worker * w->room);
    part *queries = (part *)(void *)(s + rows * PIECE);
    for (int64_t r = 0; r < rows; r++) { /* row r: query r % tq of head r / tq */
        const float *q = row(&w->q, b, r % w->tq, r / w->tq);
        for (int64_t c = 0; c < parts; c++) queries[r * parts + c] = read_part(q + c * PART, w->d - c * PART);
    }
    few_scores(w, b, j0, end - j0, queries, s);
    for (int64_t r = 0; r < rows; r++) {
        few_limits(w, b, r / w->tq, r % w->tq, j0, end - j0, s + r * PIECE);
        few_weights(w, end - j0, s + r * PIECE, m + r, l + r);
    }
    few_values(w, b, j0, end - j0, s, o);
}

/* The pieces of one (sample, head, query). */
static void few_sum_tile(void *arg, int64_t t, int worker) {
    (void)worker;
    const attention_job *w = arg;
    int64_t pieces = gy_tiles(w->tk, piece_keys(w)), rows = all_rows(w), b = t / rows, r = t % rows,
            ldo = up(w->dv, VL);
    int64_t size = piece_floats(w);
    float *m = w->pieces + b * pieces * size + r, top = -INFINITY, sum = 0;
    float *y = w->y + ((b * w->tq + r % w->tq) * w->h + r / w->tq) * w->dv;
    for (int64_t n = 0; n < pieces; n++) top = fmaxf(top, m[n * size]);
    for (int64_t n = 0; n < pieces; n++) { /* what the piece is multiplied by takes the place of its m */
        m[n * size] = m[n * size] == -INFINITY ? 0 : expf(m[n * size] - top);
        sum += m[n * size] * m[n * size + rows];
    }
    vf inverse = v_set(sum == 0 ? 0 : 1 / sum);
    for (int64_t c = 0; c < w->dv; c += VL) {
        vf all = v_zero();
        const float *o = m - r + 2 * rows + r * ldo + c;
        for (int64_t n = 0; n < pieces; n++) all = v_fma(v_set(m[n * size]), v_load(o + n * size), all);
        v_storen(y + c, v_mul(all, inverse), least(w->dv - c, VL));
    }
    w->lse[(b * w->h + r / w->tq) * w->tq + r % w->tq] = sum == 0 ? -INFINITY : top + logf(sum);
}

size_t GY_ISAFN(gy_attention_few_scratch)(const attention_job *w, int threads) {
    return room_of(few_shared_floats(w)) + room_of(few_floats(w)) * (size_t)threads;
}
void GY_ISAFN(gy_attention_few)(attention_job *w, gy_pool *pool) {
    w->pieces = (float *)(void *)w->scratch;
    w->scratch += room_of(few_shared_floats(w));
    w->room = room_of(few_floats(w));
    gy_par(pool, w->b * gy_tiles(w->tk, piece_keys(w)), few_tile, w);
    gy_par(pool, w->b * all_rows(w), few_sum_tile, w);
}
