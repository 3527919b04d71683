/* Layer, RMS, group and batch normalisation and their gradients, over x seen as [outer, inner, groups, channels]
 * (core/ops/norm.h). Two ways:
 *
 * Rows (layer, RMS): the statistics of a contiguous row. A warp a row of up to 1024 elements, a block a longer one; the
 * row stays in registers (up to 8 times 16 bytes a thread), so that x is read once and y written once: 8 bytes an
 * element forward, 12 backward, and nothing but DRAM bandwidth bounds it. Rows that do not fit or do not lie on 16
 * bytes are read again instead, from L1.
 *
 * Columns (group, batch): the statistics lie across rows. A block takes up to 32 neighbouring channels, so that a warp
 * reads 128 contiguous bytes, of a run of positions. Three launches: partial statistics of each run and channel; one
 * warp a set that combines them; the affine map. 12 bytes an element forward, 20 backward. Means and squared deviations
 * are combined as in Chan, Golub, LeVeque 1983: no cancellation, whatever the mean.
 *
 * dgamma and dbeta are sums down the columns in both ways, in two stages whose pieces depend on the shape alone. */
#include "vec.h"

enum { THREADS = 256, KEEP = 8 /* 16-byte pieces of a row a thread */, LANES = 32 /* channels a block */, AHEAD = 8 };

typedef struct {
    const float *x, *gamma, *beta, *ct;
    const float *given_mean, *given_spread; /* of the gradient */
    float *y, *mean, *spread;               /* y: or dx */
    float *dgamma, *dbeta;
    float *partial, *average;
    int64_t rows, c, inner, groups, channels; /* c = groups channels; rows = outer inner */
    int64_t unit, units, run, runs; /* columns: `units` times `unit` rows, each cut into `runs` of `run` rows */
    float eps;
    int centre, silu, spread_is_var; /* batchnorm saves the variance, the others rstd */
    int warp;                        /* a warp a row */
} norm_args;

/* ---- rows ---- */

/* A row's team: a warp or the block. */
typedef struct {
    int64_t row;
    int at, step;
} norm_team;
GY_DEVICE norm_team team_of(const norm_args *a) {
    norm_team t;
    t.row = a->warp ? (int64_t)blockIdx.x * (blockDim.x / GY_WARP) + threadIdx.x / GY_WARP : (int64_t)blockIdx.x;
    t.at = a->warp ? gy_lane() : (int)threadIdx.x;
    t.step = a->warp ? GY_WARP : (int)blockDim.x;
    return t;
}
GY_DEVICE float team_sum(const norm_args *a, float v, int room) {
    return a->warp ? gy_warp_sum_f32(v) : gy_block_sum_f32(v, GY_SHARED(float) + room * GY_WARP);
}

GY_KERNEL(norm_rows, norm_args, THREADS) {
    norm_team t = team_of(a);
    if (t.row >= a->rows) return;
    const float *x = a->x + t.row * a->c;
    int pieces = (int)(a->c / 4);
    float sum = 0, squares = 0, mean = 0;
    gy_f32x4 v[KEEP];
    GY_UNROLL
    for (int j = 0; j < KEEP; j++) {
        int i = t.at + j * t.step;
        v[j] = i < pieces ? gy_load_f32x4(x + 4 * i) : gy_f32x4_of(0);
        sum += (v[j].v[0] + v[j].v[1]) + (v[j].v[2] + v[j].v[3]);
    }
    if (a->centre) mean = team_sum(a, sum, 0) / (float)a->c;
    GY_UNROLL
    for (int j = 0; j < KEEP; j++) {
        GY_UNROLL
        for (int e = 0; e < 4; e++) v[j].v[e] = t.at + j * t.step < pieces ? v[j].v[e] - mean : 0;
        GY_UNROLL
        for (int e = 0; e < 4; e++) squares = fmaf(v[j].v[e], v[j].v[e], squares);
    }
    float rstd = 1 / sqrtf(team_sum(a, squares, 1) / (float)a->c + a->eps);
    if (t.at == 0) {
        if (a->centre) a->mean[t.row] = mean;
        a->spread[t.row] = rstd;
    }
    GY_UNROLL
    for (int j = 0; j < KEEP; j++) {
        int i = t.at + j * t.step;
        if (i >= pieces) continue;
        gy_f32x4 gamma = a->gamma ? gy_load_f32x4(a->gamma + 4 * i) : gy_f32x4_of(1);
        gy_f32x4 beta = a->beta ? gy_load_f32x4(a->beta + 4 * i) : gy_f32x4_of(0);
        GY_UNROLL
        for (int e = 0; e < 4; e++) v[j].v[e] = fmaf(gamma.v[e], v[j].v[e] * rstd, beta.v[e]);
        gy_store_f32x4(a->y + t.row * a->c + 4 * i, v[j]);
    }
}

/* Any row: x is read three times. */
GY_KERNEL(norm_rows_any, norm_args, THREADS) {
    norm_team t = team_of(a);
    if (t.row >= a->rows) return;
    const float *x = a->x + t.row * a->c;
    float sum = 0, squares = 0, mean = 0;
    if (a->centre) {
        for (int64_t i = t.at; i < a->c; i += t.step) sum += x[i];
        mean = team_sum(a, sum, 0) / (float)a->c;
    }
    for (int64_t i = t.at; i < a->c; i += t.step) squares = fmaf(x[i] - mean, x[i] - mean, squares);
    float rstd = 1 / sqrtf(team_sum(a, squares, 1) / (float)a->c + a->eps);
    if (t.at == 0) {
        if (a->centre) a->mean[t.row] = mean;
        a->spread[t.row] = rstd;
    }
    for (int64_t i = t.at; i < a->c; i += t.step)
        a->y[t.row * a->c + i] = fmaf(a->gamma ? a->gamma[i] : 1, (x[i] - mean) * rstd, a->beta ? a->beta[i] : 0);
}

GY_KERNEL(norm_rows_dx, norm_args, THREADS) {
    norm_team t = team_of(a);
    if (t.row >= a->rows) return;
    int pieces = (int)(a->c / 4);
    float mean = a->centre ? a->given_mean[t.row] : 0, rstd = a->given_spread[t.row], sum = 0, sum_x = 0;
    gy_f32x4 xhat[KEEP], g[KEEP];
    GY_UNROLL
    for (int j = 0; j < KEEP; j++) {
        int i = t.at + j * t.step;
        xhat[j] = g[j] = gy_f32x4_of(0);
        if (i >= pieces) continue;
        xhat[j] = gy_load_f32x4(a->x + t.row * a->c + 4 * i);
        g[j] = gy_load_f32x4(a->ct + t.row * a->c + 4 * i);
        gy_f32x4 gamma = a->gamma ? gy_load_f32x4(a->gamma + 4 * i) : gy_f32x4_of(1);
        GY_UNROLL
        for (int e = 0; e < 4; e++) {
            xhat[j].v[e] = (xhat[j].v[e] - mean) * rstd;
            g[j].v[e] *= gamma.v[e];
            sum += g[j].v[e];
            sum_x = fmaf(g[j].v[e], xhat[j].v[e], sum_x);
        }
    }
    sum = a->centre ? team_sum(a, sum, 0) / (float)a->c : 0;
    sum_x = team_sum(a, sum_x, 1) / (float)a->c;
    GY_UNROLL
    for (int j = 0; j < KEEP; j++) {
        int i = t.at + j * t.step;
        if (i >= pieces) continue;
        GY_UNROLL
        for (int e = 0; e < 4; e++) g[j].v[e] = rstd * (g[j].v[e] - sum - xhat[j].v[e] * sum_x);
        gy_store_f32x4(a->y + t.row * a->c + 4 * i, g[j]);
    }
}

GY_KERNEL(norm_rows_dx_any, norm_args, THREADS) {
    norm_team t = team_of(a);
    if (t.row >= a->rows) return;
    const float *x = a->x + t.row * a->c, *ct = a->ct + t.row * a->c;
    float mean = a->centre ? a->given_mean[t.row] : 0, rstd = a->given_spread[t.row], sum = 0, sum_x = 0;
    for (int64_t i = t.at; i < a->c; i += t.step) {
        float g = a->gamma ? ct[i] * a->gamma[i] : ct[i];
        sum += g;
        sum_x = fmaf(g, (x[i] - mean) * rstd, sum_x);
    }
    sum = a->centre ? team_sum(a, sum, 0) / (float)a->c : 0;
    sum_x = team_sum(a, sum_x, 1) / (float)a->c;
    for (int64_t i = t.at; i < a->c; i += t.step) {
        float g = a->gamma ? ct[i] * a->gamma[i] : ct[i];
        a->y[t.row * a->c + i] = rstd * (g - sum - (x[i] - mean) * rstd * sum_x);
    }
}

/* ---- columns ---- */

/* A thread's channel and its rows row, row + step, ... below end. Threads past the last whole row of lanes, and those
 * past the last channel, have no rows. */
typedef struct {
    int64_t channel, row, end;
    int lane, line, lanes, lines; /* place among the block's lanes x lines threads */
    bool used;
} norm_column;
GY_DEVICE norm_column column_of(const norm_args *a) {
    norm_column t;
    t.lanes = a->c < LANES ? (int)a->c : LANES;
    t.lines = (int)blockDim.x / t.lanes;
    t.lane = (int)threadIdx.x % t.lanes;
    t.line = (int)threadIdx.x / t.lanes;
    t.channel = (int64_t)blockIdx.y * t.lanes + t.lane;
    t.used = t.line < t.lines && t.channel < a->c;
    int64_t runs = a->runs ? a->runs : 1; /* no rows at all: norm_parameters still writes its sums */
    int64_t unit = blockIdx.x / runs, run = blockIdx.x % runs, start = run * a->run;
    t.row = unit * a->unit + start + t.line;
    t.end = t.used ? unit * a->unit + (start + a->run < a->unit ? start + a->run : a->unit) : 0;
    return t;
}

/* n values of the given mean and sum of squared deviations from it. */
typedef struct {
    float n, mean, m2;
} moments;
GY_DEVICE moments combined(moments a, moments b) {
    moments r;
    float d = b.mean - a.mean;
    r.n = a.n + b.n;
    float share = r.n > 0 ? b.n / r.n : 0;
    r.mean = fmaf(d, share, a.mean);
    r.m2 = fmaf(d * d, a.n * share, a.m2 + b.m2);
    return r;
}

/* partial[unit, run, channel] */
GY_KERNEL(norm_moments, norm_args, THREADS) {
    norm_column t = column_of(a);
    moments *room = GY_SHARED(moments), m = {0, 0, 0};
    for (int64_t row = t.row; row < t.end; row += AHEAD * t.lines) {
        float x[AHEAD], sum = 0;
        moments chunk = {0, 0, 0};
        GY_UNROLL
        for (int i = 0; i < AHEAD; i++) {
            bool there = row + i * t.lines < t.end;
            x[i] = there ? a->x[(row + i * t.lines) * a->c + t.channel] : 0;
            chunk.n += there ? 1.0f : 0.0f;
            sum += x[i];
        }
        chunk.mean = sum / chunk.n;
        GY_UNROLL
        for (int i = 0; i < AHEAD; i++) {
            float d = row + i * t.lines < t.end ? x[i] - chunk.mean : 0;
            chunk.m2 = fmaf(d, d, chunk.m2);
        }
        m = combined(m, chunk);
    }
    for (int n = t.lines; n > 1; n = (n + 1) / 2) { /* the upper half of the lines joins the lower */
        int half = (n + 1) / 2;
        if (t.used && t.line >= half && t.line < n) room[t.line * t.lanes + t.lane] = m;
        __syncthreads();
        if (t.used && t.line + half < n) m = combined(m, room[(t.line + half) * t.lanes + t.lane]);
    }
    if (t.used && t.line == 0) ((moments *)(void *)a->partial)[blockIdx.x * a->c + t.channel] = m;
}

/* A warp combines what belongs to one (outer, group): unit `outer` of the columns. */
GY_KERNEL(norm_statistics, norm_args, THREADS) {
    int64_t set = (int64_t)blockIdx.x * (blockDim.x / GY_WARP) + threadIdx.x / GY_WARP;
    if (set >= a->units * a->groups) return;
    int64_t unit = set / a->groups, first = set % a->groups * a->channels, n = a->runs * a->channels;
    const moments *partial = (const moments *)(const void *)a->partial + unit * a->runs * a->c + first;
    moments m = {0, 0, 0};
    for (int64_t i = gy_lane(); i < n; i += GY_WARP) m = combined(m, partial[i / a->channels * a->c + i % a->channels]);
    for (int k = GY_WARP / 2; k > 0; k /= 2) {
        moments o;
        o.n = gy_shfl_xor_f32(m.n, k);
        o.mean = gy_shfl_xor_f32(m.mean, k);
        o.m2 = gy_shfl_xor_f32(m.m2, k);
        m = combined(m, o);
    }
    if (gy_lane() == 0) {
        float var = m.m2 / m.n;
        a->mean[set] = m.mean;
        a->spread[set] = a->spread_is_var ? var : 1 / sqrtf(var + a->eps);
    }
}

GY_DEVICE float rstd_of(const norm_args *a, float spread) {
    return a->spread_is_var ? 1 / sqrtf(spread + a->eps) : spread;
}

GY_KERNEL(norm_columns, norm_args, THREADS) {
    norm_column t = column_of(a);
    if (t.row >= t.end) return;
    int64_t set = blockIdx.x / a->runs * a->groups + t.channel / a->channels;
    float mean = a->mean[set], rstd = rstd_of(a, a->spread[set]);
    float gamma = a->gamma ? a->gamma[t.channel] : 1, beta = a->beta ? a->beta[t.channel] : 0;
    for (int64_t row = t.row; row < t.end; row += AHEAD * t.lines) {
        float x[AHEAD];
        GY_UNROLL
        for (int i = 0; i < AHEAD; i++)
            x[i] = row + i * t.lines < t.end ? a->x[(row + i * t.lines) * a->c + t.channel] : 0;
        GY_UNROLL
        for (int i = 0; i < AHEAD; i++) {
            float z = fmaf(gamma, (x[i] - mean) * rstd, beta);
            if (row + i * t.lines < t.end)
                a->y[(row + i * t.lines) * a->c + t.channel] = a->silu ? z / (1 + expf(-z)) : z;
        }
    }
}

/* ---- gradients across rows ---- */

/* dz = ct act'(z), and xhat. */
GY_DEVICE float dz_of(const norm_args *a, float x, float ct, float mean, float rstd, float gamma, float beta,
                      float *xhat) {
    *xhat = (x - mean) * rstd;
    if (!a->silu) return ct;
    float z = fmaf(gamma, *xhat, beta), s = 1 / (1 + expf(-z));
    return ct * s * (1 + z * (1 - s));
}

typedef struct {
    float dz, dzx;
} pair;
/* Adds the lines' pairs; the result is in line 0. */
GY_DEVICE pair lines_sum(const norm_column *t, pair p) {
    pair *room = GY_SHARED(pair);
    for (int n = t->lines; n > 1; n = (n + 1) / 2) {
        int half = (n + 1) / 2;
        if (t->used && t->line >= half && t->line < n) room[t->line * t->lanes + t->lane] = p;
        __syncthreads();
        if (t->used && t->line + half < n) {
            p.dz += room[(t->line + half) * t->lanes + t->lane].dz;
            p.dzx += room[(t->line + half) * t->lanes + t->lane].dzx;
        }
    }
    return p;
}

/* partial[unit, run, channel] = sums of dz and dz xhat. A row's statistics are those of (row / inner, group). */
GY_KERNEL(norm_slopes, norm_args, THREADS) {
    norm_column t = column_of(a);
    pair p = {0, 0};
    if (t.row < t.end) {
        int64_t group = t.channel / a->channels;
        float gamma = a->gamma ? a->gamma[t.channel] : 1, beta = a->beta ? a->beta[t.channel] : 0;
        for (int64_t row = t.row; row < t.end; row += t.lines) {
            int64_t set = (a->inner == 1 ? row : row / a->inner) * a->groups + group;
            float mean = a->centre ? a->given_mean[set] : 0, rstd = rstd_of(a, a->given_spread[set]), xhat;
            float dz =
                dz_of(a, a->x[row * a->c + t.channel], a->ct[row * a->c + t.channel], mean, rstd, gamma, beta, &xhat);
            p.dz += dz;
            p.dzx = fmaf(dz, xhat, p.dzx);
        }
    }
    p = lines_sum(&t, p);
    if (t.used && t.line == 0) ((pair *)(void *)a->partial)[blockIdx.x * a->c + t.channel] = p;
}

/* dgamma and dbeta: the sums of all units' runs. */
GY_KERNEL(norm_parameters, norm_args, THREADS) {
    norm_column t = column_of(a);
    pair p = {0, 0};
    if (t.used)
        for (int64_t i = t.line; i < a->units * a->runs; i += t.lines) {
            pair q = ((const pair *)(const void *)a->partial)[i * a->c + t.channel];
            p.dz += q.dz;
            p.dzx += q.dzx;
        }
    p = lines_sum(&t, p);
    if (!t.used || t.line) return;
    a->dgamma[t.channel] = p.dzx;
    if (a->dbeta) a->dbeta[t.channel] = p.dz;
}

/* average[outer, group] = <g>, <g xhat>; a warp each. */
GY_KERNEL(norm_averages, norm_args, THREADS) {
    int64_t set = (int64_t)blockIdx.x * (blockDim.x / GY_WARP) + threadIdx.x / GY_WARP;
    if (set >= a->units * a->groups) return;
    int64_t unit = set / a->groups, first = set % a->groups * a->channels, n = a->runs * a->channels;
    const pair *partial = (const pair *)(const void *)a->partial + unit * a->runs * a->c + first;
    float g = 0, gx = 0;
    for (int64_t i = gy_lane(); i < n; i += GY_WARP) {
        int64_t c = i % a->channels;
        pair p = partial[i / a->channels * a->c + c];
        float gamma = a->gamma ? a->gamma[first + c] : 1;
        g = fmaf(p.dz, gamma, g);
        gx = fmaf(p.dzx, gamma, gx);
    }
    g = gy_warp_sum_f32(g);
    gx = gy_warp_sum_f32(gx);
    if (gy_lane() == 0) {
        pair r = {g / ((float)a->unit * (float)a->channels), gx / ((float)a->unit * (float)a->channels)};
        ((pair *)(void *)a->average)[set] = r;
    }
}

GY_KERNEL(norm_columns_dx, norm_args, THREADS) {
    norm_column t = column_of(a);
    if (t.row >= t.end) return;
    int64_t set = blockIdx.x / a->runs * a->groups + t.channel / a->channels;
    float mean = a->given_mean[set], rstd = rstd_of(a, a->given_spread[set]);
    float gamma = a->gamma ? a->gamma[t.channel] : 1, beta = a->beta ? a->beta[t.channel] : 0;
    pair average = ((const pair *)(const void *)a->average)[set];
    for (int64_t row = t.row; row < t.end; row += t.lines) {
        int64_t at = row * a->c + t.channel;
        float xhat, dz = dz_of(a, a->x[at], a->ct[at], mean, rstd, gamma, beta, &xhat);
        a->y[at] = rstd * (dz * gamma - average.dz - xhat * average.dzx);
    }
}

#ifdef GY_HOST
void cuda_norm_rows(const gy_kargs *k);
void cuda_norm_rows_grad(const gy_kargs *k);
void cuda_norm_columns(const gy_kargs *k);
void cuda_norm_columns_grad(const gy_kargs *k);
size_t cuda_norm_scratch(const gy_kargs *k, int threads);

static bool is_grad(const gy_kargs *k) {
    return k->op == GY_OP_layernorm_grad || k->op == GY_OP_rmsnorm_grad || k->op == GY_OP_groupnorm_grad ||
           k->op == GY_OP_batchnorm_grad;
}

/* Everything but the operands. Columns of row norms are one unit, those of group norms one a sample. */
static norm_args norm_shape(const gy_kargs *k) {
    const gy_norm_attr *attr = k->attr;
    gy_norm_dims d = gy_norm_view(k->op, attr, k->in[is_grad(k)].shape);
    bool batch = k->op == GY_OP_batchnorm || k->op == GY_OP_batchnorm_grad;
    bool group = k->op == GY_OP_groupnorm || k->op == GY_OP_groupnorm_grad;
    norm_args a = {.rows = d.outer * d.inner,
                   .c = d.groups * d.channels,
                   .inner = d.inner,
                   .groups = d.groups,
                   .channels = d.channels,
                   .units = group ? d.outer : 1,
                   .eps = (float)attr->eps,
                   .centre = k->op != GY_OP_rmsnorm && k->op != GY_OP_rmsnorm_grad,
                   .silu = group && attr->act == GY_ACT_SILU,
                   .spread_is_var = batch};
    a.unit = group ? d.inner : a.rows;
    a.warp = a.c <= GY_WARP * 4 * KEEP;
    /* about 1024 blocks in all, of 8 to 256 rows */
    int64_t tiles = gy_blocks(a.c, LANES), want = a.rows * tiles / 1024;
    a.run = want < 8 ? 8 : want > 256 ? 256 : want;
    a.runs = gy_blocks(a.unit, a.run);
    return a;
}

static int row_threads(const norm_args *a) {
    if (a->warp) return a->rows < 4 ? GY_WARP : 128;
    return a->c <= 128 * 4 * KEEP ? 128 : THREADS;
}
static void launch_rows(const gy_kargs *k, norm_args *a, const gy_cuda_kernel *fast, const gy_cuda_kernel *any) {
    int threads = row_threads(a), rows = a->warp ? threads / GY_WARP : 1;
    bool fits = a->c % 4 == 0 && a->c <= (int64_t)THREADS * 4 * KEEP;
    gy_cuda_launch(k, fits ? fast : any, (gy_grid){gy_blocks(a->rows, rows), 1, 1}, threads, a->warp ? 0 : 256, a,
                   sizeof *a);
}

/* `rows`: how many a block has use for. */
static void launch_columns(const gy_kargs *k, const norm_args *a, const gy_cuda_kernel *f, int64_t runs, int64_t rows) {
    int64_t lanes = a->c < LANES ? a->c : LANES, threads = lanes * (rows < 1 ? 1 : rows);
    threads = gy_blocks(threads < THREADS ? threads : THREADS, GY_WARP) * GY_WARP;
    if (a->c == 0) return;
    gy_cuda_launch(k, f, (gy_grid){runs, gy_blocks(a->c, lanes), 1}, (int)threads, (size_t)threads * sizeof(moments), a,
                   sizeof *a);
}
static void launch_sets(const gy_kargs *k, const norm_args *a, const gy_cuda_kernel *f) {
    int64_t sets = a->units * a->groups, warps = sets < 4 ? 1 : 4;
    gy_cuda_launch(k, f, (gy_grid){gy_blocks(sets, warps), 1, 1}, (int)warps * GY_WARP, 0, a, sizeof *a);
}

/* Partial sums, and averages of the gradient across rows. */
size_t cuda_norm_scratch(const gy_kargs *k, int threads) {
    norm_args a = norm_shape(k);
    (void)threads;
    return (size_t)(a.units * a.runs * a.c) * sizeof(moments) + (size_t)(a.units * a.groups) * sizeof(pair);
}

static norm_args norm_forward(const gy_kargs *k) {
    norm_args a = norm_shape(k);
    a.x = k->in[0].data;
    a.gamma = k->in[1].data;
    a.beta = a.centre ? k->in[2].data : NULL;
    a.y = k->out[0].data;
    a.mean = a.centre ? k->out[1].data : NULL;
    a.spread = k->out[k->n_out - 1].data;
    a.partial = k->scratch;
    return a;
}
/* in = (ct, x, gamma, beta, mean, spread), or (ct, x, gamma, rstd) of rmsnorm. */
static norm_args norm_backward(const gy_kargs *k) {
    norm_args a = norm_shape(k);
    a.ct = k->in[0].data;
    a.x = k->in[1].data;
    a.gamma = k->in[2].data;
    a.beta = a.centre ? k->in[3].data : NULL;
    a.given_mean = a.centre ? k->in[4].data : NULL;
    a.given_spread = k->in[k->n_in - 1].data;
    a.y = k->out[0].data;
    a.dgamma = k->n_out > 1 ? k->out[1].data : NULL;
    a.dbeta = k->n_out > 2 ? k->out[2].data : NULL;
    a.average = k->scratch;
    a.partial = a.average ? a.average + 2 * a.units * a.groups : NULL;
    return a;
}

void cuda_norm_rows(const gy_kargs *k) {
    norm_args a = norm_forward(k);
    launch_rows(k, &a, &norm_rows, &norm_rows_any);
}
void cuda_norm_rows_grad(const gy_kargs *k) {
    norm_args a = norm_backward(k);
    launch_rows(k, &a, &norm_rows_dx, &norm_rows_dx_any);
    if (!a.dgamma) return;
    launch_columns(k, &a, &norm_slopes, a.units * a.runs, a.run);
    launch_columns(k, &a, &norm_parameters, 1, a.units * a.runs);
}
void cuda_norm_columns(const gy_kargs *k) {
    norm_args a = norm_forward(k);
    launch_columns(k, &a, &norm_moments, a.units * a.runs, a.run);
    launch_sets(k, &a, &norm_statistics);
    launch_columns(k, &a, &norm_columns, a.units * a.runs, a.run);
}
void cuda_norm_columns_grad(const gy_kargs *k) {
    norm_args a = norm_backward(k);
    launch_columns(k, &a, &norm_slopes, a.units * a.runs, a.run);
    if (a.dgamma) launch_columns(k, &a, &norm_parameters, 1, a.units * a.runs);
    launch_sets(k, &a, &norm_averages);
    launch_columns(k, &a, &norm_columns_dx, a.units * a.runs, a.run);
}
#endif
