/* Attention forward and backward without the score matrix (Dao et al. 2022, arXiv 2205.14135, alg. 1 and 4).
 *
 * Scores are made transposed, S[j, i] = k_j . q_i, in blocks of KEYS keys by Q = two vectors of queries: a query is a
 * lane, so that maxima, sums and rescaling need no sums across lanes, and S itself is the B operand (rows over keys) of
 * the next product. All products run in the register kernels of gemm_ukr.c:
 *
 *   forward    S = K Q^T;  p = e^(S - m);  O^T = O^T e^(m_old - m) + V^T p
 *   backward   S again, p = e^(S - lse);  dP = V ct^T;  dS = p (dP - <ct, y>)
 *              dQ^T += K^T dS;  dV += p ct;  dK += dS Q
 *
 * Forward, a tile is (sample, head, up to 256 queries), which share the packing of a block of keys: packing is 4 % of
 * the work. Backward, a tile is (sample, key head) with all its queries; it owns its dk, dv, dq. Scores the mask
 * forbids are -inf; blocks it forbids whole and keys above the diagonal of a causal mask are skipped. Memory: O(T) a
 * worker. FLOPs: 2 (D + Dv) a visible pair forward, 2 (3 D + 2 Dv) backward. A handful of queries takes another way
 * (see below): it moves each key and value once, bytes are its limit. Measured, one thread of Zen 4 with a peak of 118
 * GFLOP/s and 68 GB/s from L3 (gyrus bench attention), AVX-512, in GFLOP/s: forward, 12 heads of D = 64, 1024 tokens,
 * causal 90; batch 4 of 197 tokens 87; 4096 tokens on 77, D = 40, 80; 400 tokens with a mask 88; backward, causal 85.
 * One query on 1024 keys, 12 heads of 64: 40 GB/s (AVX2 37); 32 heads of 128 on 8 heads of keys: 31 GB/s (AVX2 26). */
#include "gemm.h"
#include "rows.h"
#include "vmath.h"

#include "core/ops/attention.h"

enum { Q = 2 * VL, KEYS = 8 * GY_MR }; /* 112 keys (AVX2: 48) x 32 (16) queries: S is 14 KiB */

typedef struct {
    const gy_attention_attr *attr;
    gy_view q, k, v, ct;
    const uint8_t *mask;
    const float *bias, *y_in, *lse_in;
    int64_t mask_stride[4], bias_stride[4];
    int64_t b, h, hkv, tq, tk, d, dv;
    int64_t queries; /* forward: a tile */
    float *y, *lse, *dq, *dk, *dv_out;
    float *pieces; /* few queries: what the pieces leave */
    char *scratch;
    size_t room; /* bytes a worker */
} job;

static void spread(const gy_view *v, int64_t stride[4]) {
    for (int64_t i = 0; i < 4; i++) stride[i] = 0;
    int64_t shift = 4 - v->shape.rank;
    for (int64_t i = shift; i < 4 && v->dtype; i++)
        if (v->shape.dim[i - shift] != 1) stride[i] = v->stride[i - shift];
}

static job begin(const gy_kargs *k, int first) {
    const gy_view *in = k->in + first;
    job j = {.attr = k->attr,
             .q = in[0],
             .k = in[1],
             .v = in[2],
             .mask = in[3].data,
             .bias = in[4].data,
             .b = in[0].shape.dim[0],
             .tq = in[0].shape.dim[1],
             .h = in[0].shape.dim[2],
             .d = in[0].shape.dim[3],
             .tk = in[1].shape.dim[1],
             .hkv = in[1].shape.dim[2],
             .dv = in[2].shape.dim[3],
             .scratch = k->scratch};
    if (j.mask) spread(&in[3], j.mask_stride);
    if (j.bias) spread(&in[4], j.bias_stride);
    j.queries = j.b * j.h * gy_tiles(j.tq, 256) >= 32 ? 256 : 64;
    return j;
}

static int64_t least(int64_t a, int64_t b) {
    return a < b ? a : b;
}
static int64_t up(int64_t n, int64_t unit) {
    return (n + unit - 1) / unit * unit;
}
/* Row t of head h of sample b. */
static const float *row(const gy_view *v, int64_t b, int64_t t, int64_t h) {
    return (const float *)v->data + b * v->stride[0] + t * v->stride[1] + h * v->stride[2];
}

/* Rows are cut into panels of nearly equal height; panel p ends before row panel_end. */
static int64_t panel_end(int64_t rows, int64_t panel) {
    return rows * (panel + 1) / gy_tiles(rows, GY_MR);
}
/* `lines` lines of a matrix as panels of A. */
static void pack_panels(const gy_strided *m, int64_t lines, int64_t depth, float *dst) {
    for (int64_t panel = 0, r = 0; r < lines; panel++) {
        int64_t end = panel_end(lines, panel);
        GY_ISAFN(gy_pack_strided_f32)(m, r, end - r, 0, depth, end - r, dst + r * depth);
        r = end;
    }
}
/* c [lines x n] = or += panels a [depth] times rows of b. n <= Q; whole vectors of b are read. Of the lines and depth
 * that were packed only the first `need` and `deep` enter; c is written to the end of a panel. */
static void part_product(const float *a, int64_t lines, int64_t depth, int64_t need, int64_t deep, const float *b,
                         int64_t ldb, float *c, int64_t ldc, int64_t n, bool first) {
    for (int64_t panel = 0, r = 0; r < need; panel++) {
        int64_t end = panel_end(lines, panel);
        GY_ISAFN(gy_ukr_table_f32)[end - r - 1][n > VL](deep, a + r * depth, b, ldb, c + r * ldc, ldc, n, first);
        r = end;
    }
}
static void product(const float *a, int64_t lines, int64_t depth, const float *b, int64_t ldb, float *c, int64_t ldc,
                    int64_t n, bool first) {
    part_product(a, lines, depth, lines, depth, b, ldb, c, ldc, n, first);
}
/* The same with b of any width, of which only n columns may be read: the last, partial vectors go through `edge`
 * [depth x Q]. */
static void wide_product(const float *a, int64_t lines, int64_t depth, const float *b, int64_t ldb, float *c,
                         int64_t ldc, int64_t n, float *edge) {
    for (int64_t j = 0; j < n; j += Q) {
        int64_t w = least(n - j, Q);
        if (w == Q || w == VL) {
            product(a, lines, depth, b + j, ldb, c + j, ldc, w, false);
            continue;
        }
        for (int64_t p = 0; p < depth; p++)
            for (int64_t e = 0; e < Q; e++) edge[p * Q + e] = e < w ? b[p * ldb + j + e] : 0;
        product(a, lines, depth, edge, Q, c + j, ldc, w, false);
    }
}

/* Queries i0 .. +n of a head, times the scale, as B: [d][Q]. */
static void pack_queries(const gy_view *v, int64_t b, int64_t h, int64_t i0, int64_t n, int64_t width, float scale,
                         float *dst) {
    gy_strided m = {row(v, b, i0, h), v->stride[1], 1};
    GY_ISAFN(gy_pack_strided_f32)(&m, 0, n, 0, width, Q, dst);
    for (int64_t i = 0; scale != 1 && i < width * Q; i += VL) v_store(dst + i, v_mul(v_set(scale), v_load(dst + i)));
}

/* Lanes that nq queries need, in whole vectors. */
static int64_t width(int64_t nq) {
    return nq > VL ? Q : VL;
}

/* What the mask says of a block. */
typedef enum { NONE, SOME, ALL } allowed;

/* to[j * Q + i] = from[i * step + j], 16 x 16: row i and row i + 8 mix, four times over. */
static void transpose_bytes(const uint8_t *from, int64_t step, uint8_t *to) {
    __m128i r[16], t[16];
    for (int64_t i = 0; i < 16; i++) r[i] = _mm_loadu_si128((const __m128i *)(const void *)(from + i * step));
    for (int turn = 0; turn < 4; turn++) {
        for (int i = 0; i < 8; i++) {
            t[2 * i] = _mm_unpacklo_epi8(r[i], r[i + 8]);
            t[2 * i + 1] = _mm_unpackhi_epi8(r[i], r[i + 8]);
        }
        for (int i = 0; i < 16; i++) r[i] = t[i];
    }
    for (int64_t j = 0; j < 16; j++) _mm_storeu_si128((__m128i *)(void *)(to + j * Q), r[j]);
}
/* allow[nk][Q] of keys j0 .. and queries i0 .. as bytes; lanes beyond nq see all that query i0 + nq - 1 sees. */
static allowed read_mask(const job *w, int64_t b, int64_t h, int64_t i0, int64_t nq, int64_t j0, int64_t nk,
                         uint8_t *allow) {
    const int64_t *t = w->mask_stride;
    const uint8_t *m = w->mask + b * t[0] + h * t[1] + i0 * t[2] + j0 * t[3];
    int64_t n = 0;
    for (; t[2] && t[3] == 1 && nq == Q && n + 16 <= nk; n += 16)
        for (int64_t i = 0; i < Q; i += 16) transpose_bytes(m + i * t[2] + n, t[2], allow + n * Q + i);
    for (; n < nk; n++)
        for (int64_t i = 0; i < Q; i++) allow[n * Q + i] = m[(i < nq ? i : nq - 1) * t[2] + n * t[3]];
    unsigned any = 0, all = ~0u;
    for (int64_t e = 0; e < nk * Q; e += VL) {
        unsigned bits = v_bitmask(v_load_mask(allow + e));
        any |= bits;
        all &= bits;
    }
    return !any ? NONE : all == (1u << VL) - 1 ? ALL : SOME;
}

/* Keys that the last of queries i0 .. +n may see. */
static int64_t visible(const job *w, int64_t i0, int64_t n) {
    int64_t seen = w->attr->causal ? i0 + n + w->tk - w->tq : w->tk;
    return seen < 0 ? 0 : least(seen, w->tk);
}

/* s[n][Q]: scores of keys j0 .. +n and queries i0 .. +nq, with bias; -inf where forbidden. Returns n: nk less the last
 * keys that the causal mask hides from all these queries, or 0 if there is nothing to see. A second vector that no
 * query needs is left as it was. `extra` is room of [KEYS x Q]. */
static int64_t scores(const job *w, int64_t b, int64_t h, int64_t i0, int64_t nq, int64_t j0, int64_t nk,
                      const float *keys, const float *queries, float *s, float *extra) {
    int64_t n = least(nk, visible(w, i0, nq) - j0);
    if (n <= 0) return 0;
    uint8_t bytes[KEYS * Q], *allow = NULL;
    if (w->mask) {
        allowed all = read_mask(w, b, h, i0, nq, j0, n, bytes);
        if (all == NONE) return 0;
        if (all == SOME) allow = bytes;
    }
    part_product(keys, nk, w->d, n, w->d, queries, Q, s, Q, width(nq), true);
    if (w->bias) {
        const int64_t *t = w->bias_stride;
        gy_strided m = {w->bias + b * t[0] + h * t[1] + i0 * t[2] + j0 * t[3], t[2], t[3]};
        GY_ISAFN(gy_pack_strided_f32)(&m, 0, nq, 0, n, Q, extra);
        for (int64_t e = 0; e < n * Q; e += VL) v_store(s + e, v_add(v_load(s + e), v_load(extra + e)));
    }
    if (allow)
        for (int64_t e = 0; e < n * Q; e += VL)
            v_store(s + e, v_sel(v_load_mask(allow + e), v_load(s + e), v_set(-INFINITY)));
    int64_t shift = w->tk - w->tq;
    if (w->attr->causal && j0 + n - 1 > i0 + shift)
        for (int64_t j = 0; j < n; j++)
            for (int64_t i = 0; i < nq && i + i0 + shift < j + j0; i++) s[j * Q + i] = -INFINITY;
    return n;
}
/* ---- forward ---- */

static size_t forward_floats(const job *w) {
    int64_t q = up(least(w->queries, w->tq), Q);
    return (size_t)(q * (w->d + w->dv + 2) + KEYS * (up(w->d, 16) + up(w->dv, 16) + 2 * Q));
}

/* One block of scores meets the running maximum m, sum l and output o^T [dv][Q]. */
static void absorb(float *s, int64_t nq, int64_t nk, float *m, float *l, float *o, int64_t dv) {
    for (int64_t lane = 0; lane < nq; lane += VL) {
        vf old = v_load(m + lane), top = old;
        for (int64_t j = 0; j < nk; j++) top = v_max(top, v_load(s + j * Q + lane));
        vf base = v_sel(v_eq(top, v_set(-INFINITY)), v_zero(), top), sum = v_zero();
        for (int64_t j = 0; j < nk; j++) {
            vf e = v_exp(v_sub(v_load(s + j * Q + lane), base));
            v_store(s + j * Q + lane, e);
            sum = v_add(sum, e);
        }
        vf keep = v_exp(v_sub(old, base));
        v_store(m + lane, top);
        v_store(l + lane, v_fma(v_load(l + lane), keep, sum));
        if (v_bitmask(v_ne(keep, v_set(1))))
            for (int64_t c = 0; c < dv; c++) v_store(o + c * Q + lane, v_mul(keep, v_load(o + c * Q + lane)));
    }
}

/* y [nq][dv], rows `step` apart, and lse [nq]. */
static void finish(const float *o, const float *m, const float *l, int64_t nq, int64_t dv, float *y, int64_t step,
                   float *lse) {
    for (int64_t lane = 0; lane < nq; lane += VL) {
        int64_t lines = least(nq - lane, VL);
        vf sum = v_load(l + lane);
        vm blind = v_eq(sum, v_zero());
        vf inverse = v_sel(blind, v_zero(), v_div(v_set(1), sum));
        v_storen(lse + lane, v_sel(blind, v_set(-INFINITY), v_add(v_load(m + lane), v_log(sum))), lines);
        for (int64_t c = 0; c < dv; c += VL) {
            vf r[VL];
            for (int64_t n = 0; n < VL; n++)
                r[n] = c + n < dv ? v_mul(inverse, v_load(o + (c + n) * Q + lane)) : v_zero();
            v_transpose(r);
            for (int64_t n = 0; n < lines; n++) v_storen(y + (lane + n) * step + c, r[n], least(dv - c, VL));
        }
    }
}

static void forward_tile(void *arg, int64_t t, int worker) {
    const job *w = arg;
    int64_t tiles = gy_tiles(w->tq, w->queries), lo, hi, head = t / tiles, b = head / w->h, h = head % w->h;
    int64_t hkv = h / (w->h / w->hkv), blocks = up(least(w->queries, w->tq), Q) / Q;
    gy_tile_range(w->tq, w->queries, t % tiles, &lo, &hi);
    float *queries = (float *)(void *)(w->scratch + (size_t)worker * w->room), *o = queries + blocks * w->d * Q;
    float *m = o + blocks * w->dv * Q, *l = m + blocks * Q, *keys = l + blocks * Q;
    float *values = keys + KEYS * up(w->d, 16), *s = values + KEYS * up(w->dv, 16), *extra = s + KEYS * Q;
    for (int64_t n = 0; n < blocks * w->dv * Q; n++) o[n] = 0;
    for (int64_t n = 0; n < blocks * Q; n++) m[n] = -INFINITY, l[n] = 0;
    for (int64_t i = lo; i < hi; i += Q)
        pack_queries(&w->q, b, h, i, least(hi - i, Q), w->d, (float)w->attr->scale, queries + (i - lo) * w->d);
    int64_t seen = visible(w, lo, hi - lo);
    for (int64_t j = 0; j < seen; j += KEYS) {
        int64_t nk = least(seen - j, KEYS);
        pack_panels(&(gy_strided){row(&w->k, b, j, hkv), w->k.stride[1], 1}, nk, w->d, keys);
        pack_panels(&(gy_strided){row(&w->v, b, j, hkv), 1, w->v.stride[1]}, w->dv, nk, values);
        for (int64_t i = lo; i < hi; i += Q) {
            int64_t nq = least(hi - i, Q);
            float *ob = o + (i - lo) * w->dv;
            int64_t n = scores(w, b, h, i, nq, j, nk, keys, queries + (i - lo) * w->d, s, extra);
            if (!n) continue;
            absorb(s, nq, n, m + (i - lo), l + (i - lo), ob, w->dv);
            part_product(values, w->dv, nk, w->dv, n, s, Q, ob, Q, width(nq), false);
        }
    }
    for (int64_t i = lo; i < hi; i += Q)
        finish(o + (i - lo) * w->dv, m + (i - lo), l + (i - lo), least(hi - i, Q), w->dv,
               w->y + ((b * w->tq + i) * w->h + h) * w->dv, w->h * w->dv, w->lse + head * w->tq + i);
}

/* ---- forward, few queries ----
 *
 * Where a cache of keys meets a handful of queries, nothing is used often enough to be packed: keys and values are
 * streamed where they lie, once for all the rows (group x Tq) that share them. A tile is (sample, key head, PIECE keys)
 * and leaves its own m, l and o; a second pass adds the pieces in order. */

enum { FEW = 8, PIECE = 128, ROWS = VL / 4, AHEAD = 16 };

static int64_t few_rows(const job *w) {
    return w->h / w->hkv * w->tq;
}
/* Of one piece: m, l [rows], o [rows][dv]. */
static int64_t piece_floats(const job *w) {
    return few_rows(w) * (w->dv + 2);
}
static size_t few_shared_floats(const job *w) {
    return (size_t)(w->b * w->hkv * gy_tiles(w->tk, PIECE) * piece_floats(w));
}
static size_t few_floats(const job *w) {
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
static void few_scores(const job *w, int64_t b, int64_t hkv, int64_t j0, int64_t nk, const float *queries, float *s) {
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
static void few_limits(const job *w, int64_t b, int64_t h, int64_t i, int64_t j0, int64_t nk, float *s) {
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
    const job *w = arg;
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
        m[r] = v_hmax(top);
        vf base = v_set(m[r] == -INFINITY ? 0 : m[r]);
        for (int64_t j = 0; j < end - j0; j += VL) {
            vf e = v_exp(v_sub(v_load(p + j), base));
            v_store(p + j, e);
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
    const job *w = arg;
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

/* ---- backward ---- */

static size_t backward_floats(const job *w) {
    int64_t group = w->h / w->hkv, q = group * up(w->tq, Q), wide = w->d > w->dv ? w->d : w->dv;
    return (size_t)(q * (2 * w->d + w->dv + 2) + KEYS * (3 * up(w->d, 16) + 2 * up(w->dv, 16) + 4 * Q) +
                    Q * up(wide, 16) + Q * Q);
}

/* p (from scores s and lse) and dS (from dp and delta), in place. */
static void weigh(float *s, float *dp, int64_t nk, const float *lse, const float *delta) {
    for (int64_t lane = 0; lane < Q; lane += VL) {
        vf base = v_load(lse + lane), d = v_load(delta + lane);
        vm blind = v_eq(base, v_set(-INFINITY));
        for (int64_t j = 0; j < nk; j++) {
            float *at = s + j * Q + lane, *dat = dp + j * Q + lane;
            vf score = v_load(at), p = v_exp(v_sub(score, base));
            p = v_sel(blind, v_zero(), v_sel(v_eq(score, v_set(-INFINITY)), v_zero(), p));
            v_store(at, p);
            v_store(dat, v_mul(p, v_sub(v_load(dat), d)));
        }
    }
}

/* What a block of queries brings: q times the scale and ct as B operands, lse, and delta = <ct, y>. */
static void pack_block(const job *w, int64_t b, int64_t h, int64_t i, int64_t nq, float *queries, float *cts,
                       float *lse, float *delta) {
    pack_queries(&w->q, b, h, i, nq, w->d, (float)w->attr->scale, queries);
    pack_queries(&w->ct, b, h, i, nq, w->dv, 1, cts);
    for (int64_t e = 0; e < Q; e++) {
        lse[e] = e < nq ? w->lse_in[(b * w->h + h) * w->tq + i + e] : -INFINITY;
        double sum = 0;
        const float *y = w->y_in + ((b * w->tq + i + e) * w->h + h) * w->dv;
        for (int64_t c = 0; e < nq && c < w->dv; c++) sum += (double)(y[c] * cts[c * Q + e]);
        delta[e] = (float)sum;
    }
}

static void backward_tile(void *arg, int64_t t, int worker) {
    const job *w = arg;
    int64_t b = t / w->hkv, hkv = t % w->hkv, group = w->h / w->hkv, span = up(w->tq, Q), d16 = up(w->d, 16),
            v16 = up(w->dv, 16);
    float *queries = (float *)(void *)(w->scratch + (size_t)worker * w->room), *cts = queries + group * span * w->d;
    float *dq = cts + group * span * w->dv, *lse = dq + group * span * w->d, *delta = lse + group * span;
    float *keys = delta + group * span, *keys_t = keys + KEYS * d16, *values = keys_t + KEYS * d16,
          *dk = values + KEYS * v16;
    float *dv = dk + KEYS * d16, *s = dv + KEYS * v16, *dp = s + KEYS * Q, *flipped = dp + KEYS * Q,
          *extra = flipped + KEYS * Q, *edge = extra + KEYS * Q;
    float scale = (float)w->attr->scale;
    for (int64_t n = 0; n < group * span * w->d; n++) dq[n] = 0;
    for (int64_t g = 0; g < group; g++)
        for (int64_t i = 0; i < w->tq; i += Q) {
            int64_t at = g * span + i;
            pack_block(w, b, hkv * group + g, i, least(w->tq - i, Q), queries + at * w->d, cts + at * w->dv, lse + at,
                       delta + at);
        }
    for (int64_t j = 0; j < w->tk; j += KEYS) {
        int64_t nk = least(w->tk - j, KEYS);
        pack_panels(&(gy_strided){row(&w->k, b, j, hkv), w->k.stride[1], 1}, nk, w->d, keys);
        pack_panels(&(gy_strided){row(&w->k, b, j, hkv), 1, w->k.stride[1]}, w->d, nk, keys_t);
        pack_panels(&(gy_strided){row(&w->v, b, j, hkv), w->v.stride[1], 1}, nk, w->dv, values);
        for (int64_t n = 0; n < nk * w->d; n++) dk[n] = 0;
        for (int64_t n = 0; n < nk * w->dv; n++) dv[n] = 0;
        for (int64_t g = 0; g < group; g++)
            for (int64_t i = 0; i < w->tq; i += Q) {
                int64_t h = hkv * group + g, nq = least(w->tq - i, Q), at = g * span + i;
                int64_t n = scores(w, b, h, i, nq, j, nk, keys, queries + at * w->d, s, extra);
                if (!n) continue;
                part_product(values, nk, w->dv, n, w->dv, cts + at * w->dv, Q, dp, Q, Q, true);
                weigh(s, dp, n, lse + at, delta + at);
                part_product(keys_t, w->d, nk, w->d, n, dp, Q, dq + at * w->d, Q, Q, false);
                pack_panels(&(gy_strided){s, Q, 1}, n, nq, flipped);
                wide_product(flipped, n, nq, row(&w->ct, b, i, h), w->ct.stride[1], dv, w->dv, w->dv, edge);
                pack_panels(&(gy_strided){dp, Q, 1}, n, nq, flipped);
                wide_product(flipped, n, nq, row(&w->q, b, i, h), w->q.stride[1], dk, w->d, w->d, edge);
            }
        for (int64_t n = 0; n < nk; n++) {
            int64_t to = (b * w->tk + j + n) * w->hkv + hkv;
            for (int64_t c = 0; c < w->d; c++) w->dk[to * w->d + c] = scale * dk[n * w->d + c];
            for (int64_t c = 0; c < w->dv; c++) w->dv_out[to * w->dv + c] = dv[n * w->dv + c];
        }
    }
    for (int64_t g = 0; g < group; g++)
        for (int64_t i = 0; i < w->tq; i++) {
            const float *from = dq + (g * span + i / Q * Q) * w->d + i % Q;
            float *to = w->dq + ((b * w->tq + i) * w->h + hkv * group + g) * w->d;
            for (int64_t c = 0; c < w->d; c++) to[c] = scale * from[c * Q];
        }
}

/* ---- backward: the bias ----
 *
 * A bias may be shared by samples, heads, queries or keys. A tile owns the bias elements of one (sample, head, block of
 * keys), as far as the bias tells them apart, and adds the dS of all that share them in a fixed order. */

typedef struct {
    job w;
    gy_view out;
    int64_t stride[4]; /* of out over [B, H, Tq, Tk] */
    int64_t tiles[3];  /* samples, heads, blocks of keys: 1 where shared */
} bias_job;

static bias_job bias_begin(const gy_kargs *k) {
    bias_job q = {.w = begin(k, 1), .out = k->out[3]};
    spread(&q.out, q.stride);
    q.tiles[0] = q.stride[0] ? q.w.b : 1;
    q.tiles[1] = q.stride[1] ? q.w.h : 1;
    q.tiles[2] = q.stride[3] ? gy_tiles(q.w.tk, KEYS) : 1;
    return q;
}
static size_t bias_floats(const job *w) {
    return (size_t)((KEYS + Q) * (up(w->d, 16) + up(w->dv, 16)) + 3 * KEYS * Q + 2 * Q);
}

static void bias_block(const bias_job *q, int64_t b, int64_t h, int64_t j, float *room) {
    const job *w = &q->w;
    int64_t d16 = up(w->d, 16), v16 = up(w->dv, 16), hkv = h / (w->h / w->hkv), nk = least(w->tk - j, KEYS);
    float *keys = room, *values = keys + KEYS * d16, *queries = values + KEYS * v16, *cts = queries + Q * d16;
    float *s = cts + Q * v16, *dp = s + KEYS * Q, *extra = dp + KEYS * Q, *lse = extra + KEYS * Q, *delta = lse + Q;
    pack_panels(&(gy_strided){row(&w->k, b, j, hkv), w->k.stride[1], 1}, nk, w->d, keys);
    pack_panels(&(gy_strided){row(&w->v, b, j, hkv), w->v.stride[1], 1}, nk, w->dv, values);
    for (int64_t i = 0; i < w->tq; i += Q) {
        int64_t nq = least(w->tq - i, Q);
        pack_block(w, b, h, i, nq, queries, cts, lse, delta);
        int64_t seen = scores(w, b, h, i, nq, j, nk, keys, queries, s, extra);
        if (!seen) continue;
        part_product(values, nk, w->dv, seen, w->dv, cts, Q, dp, Q, Q, true);
        weigh(s, dp, seen, lse, delta);
        float *to = (float *)q->out.data + b * q->stride[0] + h * q->stride[1] + i * q->stride[2] + j * q->stride[3];
        for (int64_t n = 0; n < seen; n++)
            for (int64_t e = 0; e < nq; e++) to[e * q->stride[2] + n * q->stride[3]] += dp[n * Q + e];
    }
}

static void bias_tile(void *arg, int64_t t, int worker) {
    const bias_job *q = arg;
    const job *w = &q->w;
    float *room = (float *)(void *)(w->scratch + (size_t)worker * w->room);
    int64_t own[3] = {t / q->tiles[2] / q->tiles[1], t / q->tiles[2] % q->tiles[1], t % q->tiles[2] * KEYS};
    for (int64_t b = q->stride[0] ? own[0] : 0; b < (q->stride[0] ? own[0] + 1 : w->b); b++)
        for (int64_t h = q->stride[1] ? own[1] : 0; h < (q->stride[1] ? own[1] + 1 : w->h); h++)
            for (int64_t j = own[2]; j < (q->stride[3] ? least(own[2] + KEYS, w->tk) : w->tk); j += KEYS)
                bias_block(q, b, h, j, room);
}

/* ---- the operators ---- */

static size_t room_of(size_t floats) {
    return (floats * sizeof(float) + 63) & ~(size_t)63;
}
/* Rows of q, k, v (and ct) must be adjacent in memory. */
static bool rows_adjacent(const gy_kargs *k, int from, int to) {
    for (int i = from; i < to; i++)
        if (k->in[i].stride[3] != 1 && k->in[i].shape.dim[3] != 1) return false;
    return true;
}
bool GY_ISAFN(x86_attention_supports)(const gy_kargs *k) {
    return rows_adjacent(k, 0, 3);
}
size_t GY_ISAFN(x86_attention_scratch)(const gy_kargs *k, int threads) {
    job w = begin(k, 0);
    if (w.tq <= FEW) return room_of(few_shared_floats(&w)) + room_of(few_floats(&w)) * (size_t)threads;
    return room_of(forward_floats(&w)) * (size_t)threads;
}
size_t GY_ISAFN(x86_attention_grad_scratch)(const gy_kargs *k, int threads) {
    job w = begin(k, 1);
    size_t main = room_of(backward_floats(&w)), bias = k->n_out > 3 ? room_of(bias_floats(&w)) : 0;
    return (main > bias ? main : bias) * (size_t)threads;
}

void GY_ISAFN(x86_attention)(const gy_kargs *k) {
    job w = begin(k, 0);
    w.y = k->out[0].data;
    w.lse = k->out[1].data;
    if (w.tq <= FEW) {
        w.pieces = k->scratch;
        w.scratch += room_of(few_shared_floats(&w));
        w.room = room_of(few_floats(&w));
        gy_par(k->pool, w.b * w.hkv * gy_tiles(w.tk, PIECE), few_tile, &w);
        gy_par(k->pool, w.b * w.h * w.tq, few_sum_tile, &w);
        return;
    }
    w.room = room_of(forward_floats(&w));
    gy_par(k->pool, w.b * w.h * gy_tiles(w.tq, w.queries), forward_tile, &w);
}

/* in = (ct, q, k, v, mask, bias, y, lse). */
void GY_ISAFN(x86_attention_grad)(const gy_kargs *k) {
    job w = begin(k, 1);
    w.ct = k->in[0];
    w.y_in = k->in[6].data;
    w.lse_in = k->in[7].data;
    w.dq = k->out[0].data;
    w.dk = k->out[1].data;
    w.dv_out = k->out[2].data;
    w.room = room_of(backward_floats(&w));
    gy_par(k->pool, w.b * w.hkv, backward_tile, &w);
    if (k->n_out < 4) return;
    bias_job q = bias_begin(k);
    w.room = room_of(bias_floats(&w));
    q.w = w;
    memset(q.out.data, 0, (size_t)gy_shape_count(q.out.shape) * sizeof(float));
    gy_par(k->pool, q.tiles[0] * q.tiles[1] * q.tiles[2], bias_tile, &q);
}
