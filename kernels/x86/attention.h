/* attention.h: what forward, few queries and backward share: the operands, packing, and blocks of scores (see
 * attention.c). */
#ifndef GY_X86_ATTENTION_H
#define GY_X86_ATTENTION_H

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
    float *pieces;    /* few queries: what the pieces leave */
    uint32_t *packed; /* AVX512-BF16: keys and values */
    char *scratch;
    size_t room;  /* bytes a worker */
    bool rounded; /* weights and dS, as factors; the operands were rounded before */
} attention_job;

static inline void spread(const gy_view *v, int64_t stride[4]) {
    for (int64_t i = 0; i < 4; i++) stride[i] = 0;
    int64_t shift = 4 - v->shape.rank;
    for (int64_t i = shift; i < 4 && v->dtype; i++)
        if (v->shape.dim[i - shift] != 1) stride[i] = v->stride[i - shift];
}

static inline attention_job attention_begin(const gy_kargs *k, int first) {
    const gy_view *in = k->in + first;
    attention_job j = {.attr = k->attr,
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
                       .scratch = k->scratch,
                       .rounded = k->precision == GY_BF16};
    if (j.mask) spread(&in[3], j.mask_stride);
    if (j.bias) spread(&in[4], j.bias_stride);
    j.queries = j.b * j.h * gy_tiles(j.tq, 256) >= 32 ? 256 : 64;
    return j;
}

static inline int64_t least(int64_t a, int64_t b) {
    return a < b ? a : b;
}
static inline int64_t up(int64_t n, int64_t unit) {
    return (n + unit - 1) / unit * unit;
}
/* Row t of head h of sample b. */
static inline const float *row(const gy_view *v, int64_t b, int64_t t, int64_t h) {
    return (const float *)v->data + b * v->stride[0] + t * v->stride[1] + h * v->stride[2];
}

/* Rows are cut into panels of nearly equal height; panel p ends before row panel_end. */
static inline int64_t panel_end(int64_t rows, int64_t panel) {
    return rows * (panel + 1) / gy_tiles(rows, GY_MR);
}
/* `lines` lines of a matrix, `stride` floats apart, as panels of A. Where a panel has fewer lines than a vector, the
 * last is read again instead of asking. */
static inline void line_panels(const float *src, int64_t stride, int64_t lines, int64_t depth, float *dst) {
    for (int64_t panel = 0, r = 0, end; r < lines; panel++, r = end) {
        end = panel_end(lines, panel);
        int64_t n = end - r;
        const float *line[VL];
        for (int64_t i = 0; i < VL; i++) line[i] = src + (r + least(i, n - 1)) * stride;
        for (int64_t p = 0; p < depth; p += VL) {
            int64_t np = least(depth - p, VL);
            vf b[VL];
            if (np == VL)
                for (int64_t i = 0; i < VL; i++) b[i] = v_load(line[i] + p);
            else
                for (int64_t i = 0; i < VL; i++) b[i] = v_loadn(line[i] + p, np);
            v_transpose(b);
            for (int64_t e = 0; e < np; e++) v_storen(dst + r * depth + (p + e) * n, b[e], n);
        }
    }
}
/* The same of a matrix whose lines are adjacent and whose depths are `stride` floats apart. */
static inline void across_panels(const float *src, int64_t stride, int64_t lines, int64_t depth, float *dst) {
    for (int64_t p = 0; p < depth; p++, src += stride)
        for (int64_t panel = 0, r = 0, end; r < lines; panel++, r = end) {
            end = panel_end(lines, panel);
            v_storen(dst + r * depth + p * (end - r), v_loadn(src + r, end - r), end - r);
        }
}
/* c [lines x n] = or += panels a [depth] times rows of b. n <= Q; whole vectors of b are read. Of the lines and depth
 * that were packed only the first `need` and `deep` enter; c is written to the end of a panel. */
static inline void part_product(const float *a, int64_t lines, int64_t depth, int64_t need, int64_t deep,
                                const float *b, int64_t ldb, float *c, int64_t ldc, int64_t n, bool first) {
    int vectors = n > VL ? 1 : n > VL / 2 ? 0 : 2; /* two, one, half a vector */
    for (int64_t panel = 0, r = 0; r < need; panel++) {
        int64_t end = panel_end(lines, panel);
        GY_ISAFN(gy_ukr_table_f32)
        [end - r - 1][vectors](deep, a + r * depth, b, ldb, c + r * ldc, ldc, n, first, gy_fetch_nothing);
        r = end;
    }
}
static inline void product(const float *a, int64_t lines, int64_t depth, const float *b, int64_t ldb, float *c,
                           int64_t ldc, int64_t n, bool first) {
    part_product(a, lines, depth, lines, depth, b, ldb, c, ldc, n, first);
}
/* The same with b of any width, of which only n columns may be read: the last, partial vectors go through `edge`
 * [depth x Q]. */
static inline void wide_product(const float *a, int64_t lines, int64_t depth, const float *b, int64_t ldb, float *c,
                                int64_t ldc, int64_t n, float *edge) {
    for (int64_t j = 0, w; j < n; j += w) {
        w = n - j >= Q ? Q : least(n - j, VL);
        if (w >= VL) {
            product(a, lines, depth, b + j, ldb, c + j, ldc, w, false);
            continue;
        }
        for (int64_t p = 0; p < depth; p++) v_store(edge + p * VL, v_loadn(b + p * ldb + j, w));
        product(a, lines, depth, edge, VL, c + j, ldc, w, false);
    }
}

/* Queries i0 .. +n of a head, times the scale, as B: [d][Q]. */
static inline void pack_queries(const gy_view *v, int64_t b, int64_t h, int64_t i0, int64_t n, int64_t width,
                                float scale, float *dst) {
    gy_strided m = {row(v, b, i0, h), v->stride[1], 1};
    for (int64_t i = 0; i < n; i++) /* the next block's: short lines far apart, none is fetched unasked */
        for (int64_t c = 0; c < width; c += 16) __builtin_prefetch((const float *)m.data + (i + Q) * m.line + c);
    GY_ISAFN(gy_pack_strided_f32)(&m, 0, n, 0, width, Q, dst);
    for (int64_t i = 0; scale != 1 && i < width * Q; i += VL) v_store(dst + i, v_mul(v_set(scale), v_load(dst + i)));
}

/* Lanes that nq queries need, in whole vectors. */
static inline int64_t width(int64_t nq) {
    return nq > VL ? Q : VL;
}

/* What exponents start from where the largest score is `top`. Weights to be rounded start from a power of two, so that
 * they round alike whatever is the largest score of a block. */
static inline vf from_top(const attention_job *w, vf top) {
    if (!w->rounded) return top;
    return v_mul(v_floor(v_mul(top, v_set(-1.44269504f))), v_set(-0.693147181f));
}
static inline vf as_factor(const attention_job *w, vf x) {
    return w->rounded ? v_through_bf16(x) : x;
}

/* What the mask says of a block. */
typedef enum { NONE, SOME, ALL } allowed;

/* to[j * Q + i] = from[i * step + j], 16 x 16: row i and row i + 8 mix, four times over. */
static inline void transpose_bytes(const uint8_t *from, int64_t step, uint8_t *to) {
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
static inline allowed read_mask(const attention_job *w, int64_t b, int64_t h, int64_t i0, int64_t nq, int64_t j0,
                                int64_t nk, uint8_t *allow) {
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
static inline int64_t visible(const attention_job *w, int64_t i0, int64_t n) {
    int64_t seen = w->attr->causal ? i0 + n + w->tk - w->tq : w->tk;
    return seen < 0 ? 0 : least(seen, w->tk);
}

#if defined(GY_TIER_avx512bf16)
#define GY_PACK_BIAS gy_pack_strided_f32_avx512 /* f32 is the tier below's */
void GY_PACK_BIAS(const void *source, int64_t r0, int64_t n, int64_t p0, int64_t depth, int64_t width, float *dst);
#else
#define GY_PACK_BIAS GY_ISAFN(gy_pack_strided_f32)
#endif

/* Of keys j0 .. +nk, how many there are before those that the causal mask hides from all of queries i0 .. +nq; 0 if
 * there is nothing to see. *allow: the mask in `bytes`, or NULL if it forbids nothing. */
static inline int64_t in_sight(const attention_job *w, int64_t b, int64_t h, int64_t i0, int64_t nq, int64_t j0,
                               int64_t nk, uint8_t bytes[KEYS * Q], const uint8_t **allow) {
    int64_t n = least(nk, visible(w, i0, nq) - j0);
    *allow = NULL;
    if (n <= 0 || !w->mask) return n < 0 ? 0 : n;
    allowed all = read_mask(w, b, h, i0, nq, j0, n, bytes);
    if (all == SOME) *allow = bytes;
    return all == NONE ? 0 : n;
}
/* s[n][Q] = s times `scale`, plus bias. `extra` is room of [KEYS x Q]. */
static inline void add_bias(const attention_job *w, int64_t b, int64_t h, int64_t i0, int64_t nq, int64_t j0, int64_t n,
                            float scale, float *s, float *extra) {
    const int64_t *t = w->bias_stride;
    gy_strided m = {w->bias + b * t[0] + h * t[1] + i0 * t[2] + j0 * t[3], t[2], t[3]};
    GY_PACK_BIAS(&m, 0, nq, 0, n, Q, extra);
    for (int64_t e = 0; e < n * Q; e += VL) v_store(s + e, v_fma(v_set(scale), v_load(s + e), v_load(extra + e)));
}
/* s[n][Q] = -inf where masks forbid. */
static inline void forbid(const attention_job *w, int64_t i0, int64_t nq, int64_t j0, int64_t n, const uint8_t *allow,
                          float *s) {
    if (allow)
        for (int64_t e = 0; e < n * Q; e += VL)
            v_store(s + e, v_sel(v_load_mask(allow + e), v_load(s + e), v_set(-INFINITY)));
    int64_t shift = w->tk - w->tq;
    if (w->attr->causal && j0 + n - 1 > i0 + shift)
        for (int64_t j = 0; j < n; j++)
            for (int64_t i = 0; i < nq && i + i0 + shift < j + j0; i++) s[j * Q + i] = -INFINITY;
}

/* s[n][Q]: scores of keys j0 .. +n and queries i0 .. +nq, with bias; -inf where forbidden. Returns n: nk less the last
 * keys that the causal mask hides from all these queries, or 0 if there is nothing to see. A second vector that no
 * query needs is left as it was. */
static inline int64_t scores(const attention_job *w, int64_t b, int64_t h, int64_t i0, int64_t nq, int64_t j0,
                             int64_t nk, const float *keys, const float *queries, float *s, float *extra) {
    uint8_t bytes[KEYS * Q];
    const uint8_t *allow;
    int64_t n = in_sight(w, b, h, i0, nq, j0, nk, bytes, &allow);
    if (!n) return 0;
    part_product(keys, nk, w->d, n, w->d, queries, Q, s, Q, width(nq), true);
    if (w->bias) add_bias(w, b, h, i0, nq, j0, n, 1, s, extra);
    forbid(w, i0, nq, j0, n, allow, s);
    return n;
}

/* to[i * step + c] = factor[i] from[c * Q + i], i < n <= VL, c < d. */
static inline void write_lanes(const float *from, vf factor, int64_t n, int64_t d, float *to, int64_t step) {
    for (int64_t c = 0; c < d; c += VL) {
        vf r[VL];
        for (int64_t e = 0; e < VL; e++) r[e] = c + e < d ? v_mul(factor, v_load(from + (c + e) * Q)) : v_zero();
        v_transpose(r);
        for (int64_t i = 0; i < n; i++) {
            __builtin_prefetch(to + (i + Q) * step + c, 1); /* short lines far apart: none is fetched unasked */
            v_storen(to + i * step + c, r[i], least(d - c, VL));
        }
    }
}
/* y [nq][dv], rows `step` apart, and lse [nq], from o^T and l, which were summed with exponents less `base`. */
static inline void finish(const float *o, const float *base, const float *l, int64_t nq, int64_t dv, float *y,
                          int64_t step, float *lse) {
    for (int64_t lane = 0; lane < nq; lane += VL) {
        int64_t lines = least(nq - lane, VL);
        vf sum = v_load(l + lane);
        vm blind = v_eq(sum, v_zero());
        vf inverse = v_sel(blind, v_zero(), v_div(v_set(1), sum));
        v_storen(lse + lane, v_sel(blind, v_set(-INFINITY), v_add(v_load(base + lane), v_log(sum))), lines);
        write_lanes(o + lane, inverse, lines, dv, y + lane * step, step);
    }
}

/* ---- backward ---- */

/* Queries, in blocks of Q, of which a worker keeps what the gradients need: all that share a key head; one block, used
 * up before the next, where there is but one block of keys. */
static inline int64_t kept_queries(const attention_job *w) {
    return w->tk <= KEYS ? Q : w->h / w->hkv * up(w->tq, Q);
}
/* Where query i of the g'th head of a group is kept. */
static inline int64_t kept_at(const attention_job *w, int64_t g, int64_t i) {
    return w->tk <= KEYS ? 0 : g * up(w->tq, Q) + i;
}
/* <ct, y> of n features. */
static inline float ct_times_y(const attention_job *w, const float *ct, const float *y, int64_t n) {
    vf sum = v_zero();
    for (int64_t c = 0; c < n; c += VL) {
        int64_t lanes = least(n - c, VL);
        __builtin_prefetch(y + Q * w->h * n + c); /* the next block's: short lines far apart */
        sum = v_fma(as_factor(w, v_loadn(ct + c, lanes)), v_loadn(y + c, lanes), sum);
    }
    return v_sum(sum);
}
/* dq [nq][d] of queries i .. of head h, from dq^T. */
static inline void write_dq(const attention_job *w, int64_t b, int64_t h, int64_t i, const float *from) {
    for (int64_t e = 0; e < least(w->tq - i, Q); e += VL)
        write_lanes(from + e, v_set((float)w->attr->scale), least(w->tq - i - e, VL), w->d,
                    w->dq + ((b * w->tq + i + e) * w->h + h) * w->d, w->h * w->d);
}

/* ---- few queries (attention_few.c) ---- */

enum { FEW = 8 }; /* at most */
size_t GY_ISAFN(gy_attention_few_scratch)(const attention_job *w, int threads);
void GY_ISAFN(gy_attention_few)(attention_job *w, gy_pool *pool);

static inline size_t room_of(size_t floats) {
    return (floats * sizeof(float) + 63) & ~(size_t)63;
}
/* Rows of operands [from, to) must be adjacent in memory. */
static inline bool rows_adjacent(const gy_kargs *k, int from, int to) {
    for (int i = from; i < to; i++)
        if (k->in[i].stride[3] != 1 && k->in[i].shape.dim[3] != 1) return false;
    return true;
}

#endif
