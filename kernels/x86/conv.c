/* The operators conv, conv_dx and conv_dw: which way a convolution goes.
 *
 * - 3 x 3 and 3 x 3 x 3 with stride 1: Winograd's algorithm, where the plan allows it (conv_winograd_rows.c).
 * - one channel in and out a group: sums over taps of vectors of channels (depthwise.c).
 * - one to four channels on one side, one group: conv_few.c.
 * - most others: conv_direct.c, conv_direct_dw.c.
 * - lines of fewer than four outputs: matrix products (below).
 *
 * The positions of x that leave the same rest when divided by the strides read the same taps: conv_dx is one dense
 * convolution, or product, for each such phase.
 *
 * The products have packers that compute the addresses of patches, so no matrix of patches exists in memory. With p an
 * output position, q an input position, once a group:
 *
 * - conv:    y[p, co] = sum_(tap, ci) x[source(p, tap), ci] w[co, ci, tap]      m = positions, n = Cout, k = taps Cin
 * - conv_dx: x[q, ci] = sum_(tap, co) y[reader(q, tap), co] w[co, ci, tap]      m = positions, n = Cin, k = taps Cout
 * - conv_dw: w[co, (tap, ci)] = sum_p y[p, co] x[source(p, tap), ci]            m = Cout, n = taps Cin, k = positions
 *
 * Channels are adjacent in memory, so a packer moves runs of them: a run is one tap's channels or, when taps along the
 * last axis touch each other (no dilation, one group), a whole row of taps.
 *
 * In plans of precision bf16 the rows at the end of this file round both operands and go the same ways in f32;
 * AVX512-BF16 has its own (conv_avx512bf16.c). FLOPs 2 m n k; the files named above state what they reach. */
#include "conv_shape.h"

typedef struct {
    const gy_conv_attr *a;
    gy_conv_dims d;
    const float *data; /* the tensor that patches are taken from, at the group's first channel */
    int64_t run;       /* elements along depth (conv, conv_dx) or lines (conv_dw) that are adjacent */
    int64_t row_taps;  /* taps a run: 1, or the last axis's */
    int64_t channels;  /* a tap */
} patches;

/* x as conv and conv_dw see it. */
static patches source_patches(const gy_conv_attr *a, const gy_conv_dims *d, const float *x, int64_t group) {
    patches s = {.a = a, .d = *d, .channels = d->cin / d->groups};
    s.data = x + group * s.channels;
    s.row_taps = d->groups == 1 && a->dilation[2] == 1 ? d->kernel[2] : 1;
    s.run = s.row_taps * s.channels;
    return s;
}

/* Where the run with number `index` begins for output o: its first element, of which [*lo, *hi) exist. */
static const float *source_run(const patches *s, const int64_t o[3], const float *sample, int64_t index, int64_t *lo,
                               int64_t *hi) {
    const gy_conv_dims *d = &s->d;
    int64_t rows = d->kernel[2] / s->row_taps,
            k[3] = {index / rows / d->kernel[1], index / rows % d->kernel[1], index % rows * s->row_taps};
    int64_t i0 = gy_conv_source(s->a, 0, o[0], k[0]), i1 = gy_conv_source(s->a, 1, o[1], k[1]),
            i2 = gy_conv_source(s->a, 2, o[2], k[2]);
    *lo = *hi = 0;
    if (i0 < 0 || i0 >= d->in[0] || i1 < 0 || i1 >= d->in[1]) return sample;
    int64_t first = i2 < 0 ? -i2 : 0, end = d->in[2] - i2 < s->row_taps ? d->in[2] - i2 : s->row_taps;
    if (first < end) {
        *lo = first * s->channels;
        *hi = end * s->channels;
    }
    return sample + ((i0 * d->in[1] + i1) * d->in[2] + i2) * d->cin;
}

/* The outputs that read position i through tap `index`. */
static const float *reader_run(const patches *s, const int64_t i[3], const float *sample, int64_t index, int64_t *lo,
                               int64_t *hi) {
    const gy_conv_dims *d = &s->d;
    int64_t k[3] = {index / d->kernel[2] / d->kernel[1], index / d->kernel[2] % d->kernel[1], index % d->kernel[2]};
    int64_t at = 0;
    *lo = *hi = 0;
    for (int axis = 0; axis < 3; axis++) {
        int64_t o = i[axis] + s->a->before[axis] - k[axis] * s->a->dilation[axis];
        if (o < 0 || o % s->a->stride[axis] != 0) return sample;
        o /= s->a->stride[axis];
        if (o >= d->out[axis]) return sample;
        at = at * d->out[axis] + o;
    }
    *hi = s->channels;
    return sample + at * d->cout;
}

static void unflatten(int64_t p, const int64_t dim[3], int64_t idx[3]) {
    for (int i = 2; i >= 0; i--) {
        idx[i] = p % dim[i];
        p /= dim[i];
    }
}

/* Lines of `len` elements each to dst[p * width + r]; `last`: nothing of the panel follows. */
static void pack_lines(const float *const line[], int64_t n, int64_t len, int64_t width, float *dst, bool last) {
    int64_t p = 0;
    for (; p + VL <= len; p += VL)
        for (int64_t r = 0; r < width; r += VL) {
            int64_t w = width - r < VL ? width - r : VL, lines = n - r < VL ? n - r : VL;
            vf b[VL];
            for (int i = 0; i < VL; i++) b[i] = i < lines ? v_load(line[r + i] + p) : v_zero();
            v_transpose(b);
            float *d = dst + p * width + r;
            for (int i = 0; i < VL; i++) {
                if (w == VL || !(last && p + i + 1 == len))
                    v_store(d + i * width, b[i]);
                else
                    v_storen(d + i * width, b[i], w);
            }
        }
    for (; p < len; p++) {
        for (int64_t r = 0; r < n; r++) dst[p * width + r] = line[r][p];
        for (int64_t r = n; r < width; r++) dst[p * width + r] = 0;
    }
}

typedef const float *(*run_fn)(const patches *s, const int64_t at[3], const float *sample, int64_t index, int64_t *lo,
                               int64_t *hi);

/* Panels of A: lines are positions of a grid, depth runs over taps and channels. Runs that are not whole are completed
 * with zeros in a buffer. */
GY_INLINE void pack_positions(const patches *s, run_fn run_of, const int64_t grid[3], int64_t sample_size, int64_t r0,
                              int64_t n, int64_t p0, int64_t depth, int64_t width, float *dst) {
    float room[GY_MR][GY_KC];
    int64_t at[GY_MR][3], size = grid[0] * grid[1] * grid[2];
    const float *sample[GY_MR], *line[GY_MR];
    for (int64_t r = 0; r < n; r++) {
        unflatten((r0 + r) % size, grid, at[r]);
        sample[r] = s->data + (r0 + r) / size * sample_size;
    }
    for (int64_t p = 0; p < depth;) {
        int64_t index = (p0 + p) / s->run, from = (p0 + p) % s->run;
        int64_t len = s->run - from < depth - p ? s->run - from : depth - p;
        for (int64_t r = 0; r < n; r++) {
            int64_t lo, hi;
            const float *x = run_of(s, at[r], sample[r], index, &lo, &hi);
            if (lo <= from && hi >= from + len) {
                line[r] = x + from;
                continue;
            }
            for (int64_t e = 0; e < len; e++) room[r][e] = from + e >= lo && from + e < hi ? x[from + e] : 0;
            line[r] = room[r];
        }
        pack_lines(line, n, len, width, dst + p * width, p + len == depth);
        p += len;
    }
}
static void pack_source(const void *source, int64_t r0, int64_t n, int64_t p0, int64_t depth, int64_t width,
                        float *dst) {
    const patches *s = source;
    pack_positions(s, source_run, s->d.out, s->d.n_in * s->d.cin, r0, n, p0, depth, width, dst);
}
static void pack_reader(const void *source, int64_t r0, int64_t n, int64_t p0, int64_t depth, int64_t width,
                        float *dst) {
    const patches *s = source;
    pack_positions(s, reader_run, s->d.in, s->d.n_out * s->d.cout, r0, n, p0, depth, width, dst);
}

/* Panels of B of conv_dw: lines run over taps and channels, depth over output positions. */
static void pack_source_lines(const void *source, int64_t r0, int64_t n, int64_t p0, int64_t depth, int64_t width,
                              float *dst) {
    const patches *s = source;
    for (int64_t p = 0; p < depth; p++, dst += width) {
        int64_t o[3];
        unflatten((p0 + p) % s->d.n_out, s->d.out, o);
        const float *sample = s->data + (p0 + p) / s->d.n_out * s->d.n_in * s->d.cin;
        for (int64_t r = 0; r < n;) {
            int64_t lo, hi, index = (r0 + r) / s->run, from = (r0 + r) % s->run;
            int64_t len = s->run - from < n - r ? s->run - from : n - r;
            const float *x = source_run(s, o, sample, index, &lo, &hi) + from;
            lo -= from;
            hi -= from;
            if (lo <= 0 && hi >= len)
                for (int64_t e = 0; e < len; e++) dst[r + e] = x[e];
            else
                for (int64_t e = 0; e < len; e++) dst[r + e] = e >= lo && e < hi ? x[e] : 0;
            r += len;
        }
        for (int64_t r = n; r < width; r++) dst[r] = 0;
    }
}

/* Weights [Cout, Cin/groups, taps] as B: lines `line` apart, depth = (tap, channel), channels `channel` apart. Tap
 * (j0, j1, j2) of `kernel` is at sum j step. */
typedef struct {
    const float *w;
    int64_t line, channel, channels, kernel[3], step[3];
} weights;
static void pack_weights(const void *source, int64_t r0, int64_t n, int64_t p0, int64_t depth, int64_t width,
                         float *dst) {
    const weights *s = source;
    int64_t tap = p0 / s->channels, c = p0 % s->channels;
    for (int64_t p = 0; p < depth; p++, dst += width) {
        int64_t j2 = tap % s->kernel[2], j1 = tap / s->kernel[2] % s->kernel[1], j0 = tap / s->kernel[2] / s->kernel[1];
        const float *w = s->w + r0 * s->line + c * s->channel + j0 * s->step[0] + j1 * s->step[1] + j2 * s->step[2];
        for (int64_t r = 0; r < n; r++) dst[r] = w[r * s->line];
        for (int64_t r = n; r < width; r++) dst[r] = 0;
        if (++c == s->channels) c = 0, tap++;
    }
}

size_t GY_ISAFN(x86_conv_scratch)(const gy_kargs *k, int threads) {
    shape s = shape_of(k, k->in[0].shape, k->in[1].shape, k->out[0].shape);
    if (depthwise(&s)) return (size_t)(s.d.taps * s.d.cin) * sizeof(float);
    if (few(&s, s.d.cin)) return GY_ISAFN(gy_conv_few_in_scratch)(s.a, &s.d);
    if (few(&s, s.d.cout)) return GY_ISAFN(gy_conv_few_out_scratch)(s.d.taps, s.d.cin, s.d.cout);
    gy_conv_direct q = direct_forward(&s);
    if (GY_ISAFN(gy_conv_direct_fits)(&q)) return GY_ISAFN(gy_conv_direct_scratch)(&q, threads);
    return GY_ISAFN(gy_gemm_scratch_f32)(s.d.batch * s.d.n_out, s.out_group, s.d.taps * s.in_group, false, false,
                                         threads);
}
size_t GY_ISAFN(x86_conv_dx_scratch)(const gy_kargs *k, int threads) {
    shape s = shape_of(k, k->out[0].shape, k->in[1].shape, k->in[0].shape);
    if (depthwise(&s)) return (size_t)(s.d.taps * s.d.cin) * sizeof(float);
    gy_conv_attr a;
    gy_conv_dims d;
    if (few(&s, s.d.cin)) return GY_ISAFN(gy_conv_few_out_scratch)(s.d.taps, s.d.cout, s.d.cin);
    if (mirror(&s, &a, &d)) return GY_ISAFN(gy_conv_few_in_scratch)(&a, &d);
    size_t most = 0;
    for (int64_t i = 0; i < phase_count(&s); i++) {
        gy_conv_phase p = phase_of(&s, i);
        gy_conv_direct q = direct_phase(&s, &p);
        if (GY_ISAFN(gy_conv_direct_fits)(&q)) {
            most = larger(most, GY_ISAFN(gy_conv_direct_scratch)(&q, threads));
            continue;
        }
        most = larger(most, GY_ISAFN(gy_gemm_scratch_f32)(s.d.batch * p.d.n_in, s.in_group, p.d.taps * s.out_group,
                                                          false, false, threads));
    }
    return phase_room(&s) * sizeof(float) + most;
}
/* A group's gradient [Cout/groups, taps, Cin/groups] before its axes are put in order, 64-byte units. */
static size_t gradient_elements(const shape *s) {
    return (size_t)(s->out_group * s->d.taps * s->in_group + 15) & ~(size_t)15;
}
size_t GY_ISAFN(x86_conv_dw_scratch)(const gy_kargs *k, int threads) {
    shape s = shape_of(k, k->in[0].shape, k->out[0].shape, k->in[1].shape);
    if (depthwise(&s)) return 0;
    gy_conv_attr a;
    gy_conv_dims d;
    if (few(&s, s.d.cin)) return GY_ISAFN(gy_conv_few_in_dw_scratch)(s.a, &s.d);
    if (mirror(&s, &a, &d)) return GY_ISAFN(gy_conv_few_in_dw_scratch)(&a, &d);
    if (GY_ISAFN(gy_conv_direct_dw_fits)(s.a, &s.d)) return GY_ISAFN(gy_conv_direct_dw_scratch)(s.a, &s.d, threads);
    return gradient_elements(&s) * sizeof(float) + GY_ISAFN(gy_gemm_scratch_f32)(s.out_group, s.d.taps * s.in_group,
                                                                                 s.d.batch * s.d.n_out, false, false,
                                                                                 threads);
}

void GY_ISAFN(x86_conv)(const gy_kargs *k) {
    shape s = shape_of(k, k->in[0].shape, k->in[1].shape, k->out[0].shape);
    gy_gemm_f32 g = epilogue(&s, k);
    const float *bias = g.bias, *residual = g.residual;
    g.n = s.out_group;
    g.k = s.d.taps * s.in_group;
    g.pack_a = pack_source;
    g.pack_b = pack_weights;
    if (depthwise(&s)) {
        g.n = s.d.cout;
        GY_ISAFN(gy_depthwise)(s.a, &s.d, k->in[0].data, k->in[1].data, &g, k->scratch, k->pool);
        return;
    }
    if (few(&s, s.d.cin)) {
        GY_ISAFN(gy_conv_few_in)(s.a, &s.d, k->in[0].data, k->in[1].data, &g, false, k->scratch, k->pool);
        return;
    }
    if (few(&s, s.d.cout)) {
        GY_ISAFN(gy_conv_few_out)(s.a, &s.d, k->in[0].data, k->in[1].data, &g, k->scratch, k->pool);
        return;
    }
    gy_conv_direct q = direct_forward(&s);
    if (GY_ISAFN(gy_conv_direct_fits)(&q)) {
        q.in = k->in[0].data;
        q.w.w = k->in[1].data;
        q.out = k->out[0].data;
        g.n = s.d.cout;
        q.finish = &g;
        GY_ISAFN(gy_conv_direct)(&q, k->scratch, k->pool);
        return;
    }
    for (int64_t group = 0; group < s.d.groups; group++) {
        int64_t c = group * s.out_group;
        patches x = source_patches(s.a, &s.d, k->in[0].data, group);
        weights w = {(const float *)k->in[1].data + c * s.in_group * s.d.taps,
                     s.in_group * s.d.taps,
                     s.d.taps,
                     s.in_group,
                     {s.d.kernel[0], s.d.kernel[1], s.d.kernel[2]},
                     {s.d.kernel[1] * s.d.kernel[2], s.d.kernel[2], 1}};
        g.a = &x;
        g.b = &w;
        g.c = (float *)k->out[0].data + c;
        g.bias = bias ? bias + c : NULL;
        g.residual = residual ? residual + c : NULL;
        GY_ISAFN(gy_gemm_f32)(&g, k->scratch, k->pool);
    }
}

/* Rows of a phase's result to their positions in x. */
typedef struct {
    const gy_conv_phase *p;
    const gy_conv_dims *d;
    const float *room;
    float *x; /* at the group's first channel */
    int64_t n;
} placing;
static void place_line(void *arg, int64_t line, int worker) {
    (void)worker;
    const placing *q = arg;
    const int64_t *count = q->p->d.in, *first = q->p->first, *step = q->p->step, *in = q->d->in;
    int64_t t1 = line % count[1], t0 = line / count[1] % count[0], b = line / count[1] / count[0];
    int64_t i0 = b * in[0] + first[0] + t0 * step[0], i1 = first[1] + t1 * step[1];
    float *x = q->x + ((i0 * in[1] + i1) * in[2] + first[2]) * q->d->cin;
    const float *from = q->room + line * count[2] * q->n;
    for (int64_t t = 0; t < count[2]; t++, x += step[2] * q->d->cin, from += q->n)
        memcpy(x, from, (size_t)q->n * sizeof(float));
}

void GY_ISAFN(x86_conv_dx)(const gy_kargs *k) {
    shape s = shape_of(k, k->out[0].shape, k->in[1].shape, k->in[0].shape);
    if (depthwise(&s)) {
        GY_ISAFN(gy_depthwise_dx)(s.a, &s.d, k->in[0].data, k->in[1].data, k->out[0].data, k->scratch, k->pool);
        return;
    }
    gy_conv_attr a;
    gy_conv_dims d;
    if (!few(&s, s.d.cin) && mirror(&s, &a, &d)) {
        gy_gemm_f32 g = {.m = d.batch * d.n_out, .n = d.cout, .c = k->out[0].data, .ldc = d.cout, .alpha = 1};
        GY_ISAFN(gy_conv_few_in)(&a, &d, k->in[0].data, k->in[1].data, &g, true, k->scratch, k->pool);
        return;
    }
    int64_t phases = phase_count(&s);
    for (int64_t i = 0; i < phases; i++) {
        gy_conv_phase p = phase_of(&s, i);
        if (few(&s, s.d.cin)) {
            GY_ISAFN(gy_conv_few_out_dx)
            (&p, &s.d, k->in[0].data, k->in[1].data, k->out[0].data, k->scratch, k->pool);
            continue;
        }
        gy_conv_direct q = direct_phase(&s, &p);
        if (GY_ISAFN(gy_conv_direct_fits)(&q)) {
            q.in = k->in[0].data;
            q.w.w = k->in[1].data;
            q.out = k->out[0].data;
            GY_ISAFN(gy_conv_direct)(&q, (float *)k->scratch + phase_room(&s), k->pool);
            continue;
        }
        for (int64_t group = 0; group < s.d.groups; group++) {
            int64_t c = group * s.out_group;
            float *x = (float *)k->out[0].data + group * s.in_group;
            patches y = {.a = &p.a,
                         .d = p.d,
                         .data = (const float *)k->in[0].data + c,
                         .run = s.out_group,
                         .row_taps = 1,
                         .channels = s.out_group};
            weights w = {(const float *)k->in[1].data + c * s.in_group * s.d.taps + p.tap,
                         s.d.taps,
                         s.in_group * s.d.taps,
                         s.out_group,
                         {p.d.kernel[0], p.d.kernel[1], p.d.kernel[2]},
                         {p.tap_step[0], p.tap_step[1], p.tap_step[2]}};
            gy_gemm_f32 g = {.m = s.d.batch * p.d.n_in,
                             .n = s.in_group,
                             .k = p.d.taps * s.out_group,
                             .pack_a = pack_reader,
                             .pack_b = pack_weights,
                             .a = &y,
                             .b = &w,
                             .ldc = phases > 1 ? s.in_group : s.d.cin,
                             .alpha = 1,
                             .c = phases > 1 ? k->scratch : x};
            GY_ISAFN(gy_gemm_f32)(&g, (float *)k->scratch + phase_room(&s), k->pool);
            placing to = {&p, &s.d, k->scratch, x, s.in_group};
            if (phases > 1) gy_par(k->pool, s.d.batch * p.d.in[0] * p.d.in[1], place_line, &to);
        }
    }
}

void GY_ISAFN(x86_conv_dw)(const gy_kargs *k) {
    shape s = shape_of(k, k->in[0].shape, k->out[0].shape, k->in[1].shape);
    gy_conv_attr a;
    gy_conv_dims d;
    if (depthwise(&s)) {
        GY_ISAFN(gy_depthwise_dw)(s.a, &s.d, k->in[0].data, k->in[1].data, k->out[0].data, k->pool);
        return;
    }
    if (few(&s, s.d.cin)) {
        GY_ISAFN(gy_conv_few_in_dw)
        (s.a, &s.d, k->in[0].data, k->in[1].data, k->out[0].data, false, k->scratch, k->pool);
        return;
    }
    if (mirror(&s, &a, &d)) {
        GY_ISAFN(gy_conv_few_in_dw)(&a, &d, k->in[1].data, k->in[0].data, k->out[0].data, true, k->scratch, k->pool);
        return;
    }
    if (GY_ISAFN(gy_conv_direct_dw_fits)(s.a, &s.d)) {
        GY_ISAFN(gy_conv_direct_dw)(s.a, &s.d, k->in[0].data, k->in[1].data, k->out[0].data, k->scratch, k->pool);
        return;
    }
    float *room = k->scratch, *w = k->out[0].data;
    for (int64_t group = 0; group < s.d.groups; group++) {
        gy_strided y = {(const float *)k->in[1].data + group * s.out_group, 1, s.d.cout};
        patches x = source_patches(s.a, &s.d, k->in[0].data, group);
        gy_gemm_f32 g = {.m = s.out_group,
                         .n = s.d.taps * s.in_group,
                         .k = s.d.batch * s.d.n_out,
                         .pack_a = GY_ISAFN(gy_pack_strided_f32),
                         .pack_b = pack_source_lines,
                         .a = &y,
                         .b = &x,
                         .c = room,
                         .ldc = s.d.taps * s.in_group,
                         .alpha = 1};
        GY_ISAFN(gy_gemm_f32)(&g, room + gradient_elements(&s), k->pool);
        for (int64_t co = 0; co < s.out_group; co++, room += g.n)
            for (int64_t ci = 0; ci < s.in_group; ci++)
                for (int64_t tap = 0; tap < s.d.taps; tap++) *w++ = room[tap * s.in_group + ci];
        room = k->scratch;
    }
}

/* ---- plans of precision bf16: both factors rounded first ---- */

static size_t copy_floats(const gy_view *v) {
    return ((size_t)gy_shape_count(v->shape) + 15) & ~(size_t)15;
}
typedef struct {
    const float *from;
    float *to;
    int64_t n;
} rounding;
enum { ROUND_GRAIN = 1 << 14 };
static void round_tile(void *arg, int64_t t, int worker) {
    (void)worker;
    const rounding *r = arg;
    int64_t i, hi;
    gy_tile_range(r->n, ROUND_GRAIN, t, &i, &hi);
    for (; i + VL <= hi; i += VL) v_store(r->to + i, v_float(vi_sll(v_to_bf16(v_load(r->from + i)), 16)));
    if (i < hi) v_storen(r->to + i, v_float(vi_sll(v_to_bf16(v_loadn(r->from + i, hi - i)), 16)), hi - i);
}
static void run_rounded(const gy_kargs *k, gy_kernel_fn fn) {
    gy_view in[4];
    gy_kargs rounded = *k;
    float *room = k->scratch;
    for (int i = 0; i < k->n_in; i++) in[i] = k->in[i];
    for (int i = 0; i < 2; i++) {
        rounding r = {k->in[i].data, room, gy_shape_count(k->in[i].shape)};
        gy_par(k->pool, gy_tiles(r.n, ROUND_GRAIN), round_tile, &r);
        in[i].data = room;
        room += copy_floats(&k->in[i]);
    }
    rounded.in = in;
    rounded.scratch = room;
    fn(&rounded);
}
static size_t copies(const gy_kargs *k) {
    return (copy_floats(&k->in[0]) + copy_floats(&k->in[1])) * sizeof(float);
}
size_t GY_ISAFN(x86_conv_rounded_scratch)(const gy_kargs *k, int threads) {
    return copies(k) + GY_ISAFN(x86_conv_scratch)(k, threads);
}
void GY_ISAFN(x86_conv_rounded)(const gy_kargs *k) {
    run_rounded(k, GY_ISAFN(x86_conv));
}
size_t GY_ISAFN(x86_conv_dx_rounded_scratch)(const gy_kargs *k, int threads) {
    return copies(k) + GY_ISAFN(x86_conv_dx_scratch)(k, threads);
}
void GY_ISAFN(x86_conv_dx_rounded)(const gy_kargs *k) {
    run_rounded(k, GY_ISAFN(x86_conv_dx));
}
size_t GY_ISAFN(x86_conv_dw_rounded_scratch)(const gy_kargs *k, int threads) {
    return copies(k) + GY_ISAFN(x86_conv_dw_scratch)(k, threads);
}
void GY_ISAFN(x86_conv_dw_rounded)(const gy_kargs *k) {
    run_rounded(k, GY_ISAFN(x86_conv_dw));
}
