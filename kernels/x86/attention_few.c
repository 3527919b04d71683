/* Attention forward of a handful of queries (FEW).
 *
 * Where a cache of keys meets a handful of queries, nothing is used often enough to be packed: keys and values are
 * streamed where they lie, once for all the rows (group x Tq) that share them. A tile is (sample, key head, PIECE keys)
 * and leaves its own m, l and o; a second pass adds the pieces in order. */
#include "attention.h"

enum { PIECE = 128, ROWS = VL / 4, AHEAD = 16 };

static int64_t few_rows(const attention_job *w) {
    return w->h / w->hkv * w->tq;
}
/* Of one piece: m, l [rows], o [rows][dv]. */
static int64_t piece_floats(const attention_job *w) {
    return few_rows(w) * (w->dv + 2);
}
static size_t few_shared_floats(const attention_job *w) {
    return (size_t)(w->b * w->hkv * gy_tiles(w->tk, PIECE) * piece_floats(w));
}
static size_t few_floats(const attention_job *w) {
    return (size_t)(few_rows(w) * (up(w->d, VL) + 2 * PIECE) + PIECE * Q);
}

static __m128 four_sums(const vf a[4]) {
    __m256 h[4];
    for (int i = 0; i < 4; i++) h[i] = v_half_add(a[i]);
    __m256 q = _mm256_hadd_ps(_mm256_hadd_ps(h[0], h[1]), _mm256_hadd_ps(h[2], h[3]));
    return _mm_add_ps(_mm256_castps256_ps128(q), _mm256_extractf128_ps(q, 1));
}
/* s[r][0..3] = query r . key[0..3] for `rows` <= ROWS queries, padded with zeros to whole vectors. */
GY_INLINE void dots(const float *queries, int rows, const float *const key[4], int64_t d, float *s) {
    vf sum[ROWS][4];
    int64_t ldq = up(d, VL), c = 0;
    for (int r = 0; r < rows; r++)
        for (int n = 0; n < 4; n++) sum[r][n] = v_zero();
    for (; c < d; c += VL) {
        vf k[4];
        for (int n = 0; n < 4; n++) k[n] = c + VL <= d ? v_load(key[n] + c) : v_loadn(key[n] + c, d - c);
        for (int r = 0; r < rows; r++) {
            vf q = v_load(queries + r * ldq + c);
            for (int n = 0; n < 4; n++) sum[r][n] = v_fma(q, k[n], sum[r][n]);
        }
    }
    for (int r = 0; r < rows; r++) _mm_storeu_ps(s + r * PIECE, four_sums(sum[r]));
}
static void fetch(const float *p, int64_t n) {
    for (int64_t c = 0; c < n; c += 16) _mm_prefetch((const char *)(p + c), _MM_HINT_T1);
}
/* s[r][j - j0], rows PIECE apart, of keys j0 .. +nk. The values of these keys are called to the caches meanwhile. */
static void few_scores(const attention_job *w, int64_t b, int64_t hkv, int64_t j0, int64_t nk, const float *queries,
                       float *s) {
    int64_t rows = few_rows(w), ldq = up(w->d, VL);
    for (int64_t j = j0; j < j0 + nk; j += 4) {
        const float *key[4];
        for (int64_t n = 0; n < 4; n++) {
            int64_t at = least(j + n, j0 + nk - 1);
            key[n] = row(&w->k, b, at, hkv);
            fetch(row(&w->k, b, least(at + AHEAD, w->tk - 1), hkv), w->d);
            fetch(row(&w->v, b, at, hkv), w->dv);
        }
        int64_t r = 0;
        for (; r + ROWS <= rows; r += ROWS) dots(queries + r * ldq, ROWS, key, w->d, s + r * PIECE + (j - j0));
        for (; r < rows; r++) dots(queries + r * ldq, 1, key, w->d, s + r * PIECE + (j - j0));
    }
}
/* Row s [nk] of query i of head h with bias, -inf where forbidden and in what the last vector has too much. */
static void few_limits(const attention_job *w, int64_t b, int64_t h, int64_t i, int64_t j0, int64_t nk, float *s) {
    int64_t end = visible(w, i, 1) - j0;
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

static void few_tile(void *arg, int64_t t, int worker) {
    const attention_job *w = arg;
    int64_t pieces = gy_tiles(w->tk, PIECE), b = t / pieces / w->hkv, hkv = t / pieces % w->hkv, j0, end;
    int64_t rows = few_rows(w), ldq = up(w->d, VL);
    gy_tile_range(w->tk, PIECE, t % pieces, &j0, &end);
    float *m = w->pieces + t * piece_floats(w), *l = m + rows, *o = l + rows;
    float *queries = (float *)(void *)(w->scratch + (size_t)worker * w->room), *s = queries + rows * ldq;
    float *panels = s + rows * PIECE, *edge = panels + rows * PIECE;
    for (int64_t r = 0; r < rows; r++) {
        const float *q = row(&w->q, b, r % w->tq, hkv * (rows / w->tq) + r / w->tq);
        for (int64_t c = 0; c < ldq; c++) queries[r * ldq + c] = c < w->d ? (float)w->attr->scale * q[c] : 0;
    }
    few_scores(w, b, hkv, j0, end - j0, queries, s);
    for (int64_t r = 0; r < rows; r++) {
        float *p = s + r * PIECE;
        few_limits(w, b, hkv * (rows / w->tq) + r / w->tq, r % w->tq, j0, end - j0, p);
        vf top = v_set(-INFINITY), sum = v_zero();
        for (int64_t j = 0; j < end - j0; j += VL) top = v_max(top, v_load(p + j));
        vf base = from_top(w, v_set(v_hmax(top)));
        v_storen(m + r, base, 1);
        base = v_sel(v_eq(base, v_set(-INFINITY)), v_zero(), base);
        for (int64_t j = 0; j < end - j0; j += VL) {
            vf e = v_exp(v_sub(v_load(p + j), base));
            v_store(p + j, as_factor(w, e));
            sum = v_add(sum, e);
        }
        l[r] = v_sum(sum);
    }
    for (int64_t n = 0; n < rows * w->dv; n++) o[n] = 0;
    pack_panels(&(gy_strided){s, PIECE, 1}, rows, end - j0, panels);
    wide_product(panels, rows, end - j0, row(&w->v, b, j0, hkv), w->v.stride[1], o, w->dv, w->dv, edge);
}

/* The pieces of one (sample, head, query). */
static void few_sum_tile(void *arg, int64_t t, int worker) {
    (void)worker;
    const attention_job *w = arg;
    int64_t pieces = gy_tiles(w->tk, PIECE), rows = few_rows(w), head = t / w->tq, i = t % w->tq;
    int64_t b = head / w->h, h = head % w->h, group = w->h / w->hkv, r = h % group * w->tq + i, size = piece_floats(w);
    const float *from = w->pieces + (b * w->hkv + h / group) * pieces * size;
    float top = -INFINITY, sum = 0, *y = w->y + ((b * w->tq + i) * w->h + h) * w->dv;
    for (int64_t n = 0; n < pieces; n++) top = fmaxf(top, from[n * size + r]);
    for (int64_t c = 0; c < w->dv; c++) y[c] = 0;
    for (int64_t n = 0; n < pieces; n++) {
        const float *piece = from + n * size, *o = piece + 2 * rows + r * w->dv;
        float keep = piece[r] == -INFINITY ? 0 : expf(piece[r] - top);
        if (piece[rows + r] == 0) continue; /* sees nothing */
        sum += keep * piece[rows + r];
        for (int64_t c = 0; c < w->dv; c++) y[c] += keep * o[c];
    }
    for (int64_t c = 0; c < w->dv; c++) y[c] *= sum == 0 ? 0 : 1 / sum;
    w->lse[head * w->tq + i] = sum == 0 ? -INFINITY : top + logf(sum);
}

size_t GY_ISAFN(gy_attention_few_scratch)(const attention_job *w, int threads) {
    return room_of(few_shared_floats(w)) + room_of(few_floats(w)) * (size_t)threads;
}
void GY_ISAFN(gy_attention_few)(attention_job *w, gy_pool *pool) {
    w->pieces = (float *)(void *)w->scratch;
    w->scratch += room_of(few_shared_floats(w));
    w->room = room_of(few_floats(w));
    gy_par(pool, w->b * w->hkv * gy_tiles(w->tk, PIECE), few_tile, w);
    gy_par(pool, w->b * w->h * w->tq, few_sum_tile, w);
}
