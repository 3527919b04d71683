/* Brain slices: a grey image, a signed map over it, and letters that say which side is which. */
#include "canvas.h"

#include <math.h>
#include <string.h>

/* ---- orientation ---- */

/* World axis (0 R-L, 1 A-P, 2 S-I) and direction of an orientation letter. */
static bool letter(char c, int *axis, int *sign) {
    static const char positive[] = "RAS", negative[] = "LPI";
    for (int i = 0; i < 3; i++) {
        if (c == positive[i]) return *axis = i, *sign = 1, true;
        if (c == negative[i]) return *axis = i, *sign = -1, true;
    }
    return false;
}

gy_status gy_orientation_of(gy_ctx *ctx, const double affine[3][4], char out[4]) {
    static const char positive[] = "RAS", negative[] = "LPI";
    double m[3][3];
    memset(out, 0, 4);
    for (int j = 0; j < 3; j++) { /* columns scaled to length 1: only their directions matter */
        double len = sqrt(affine[0][j] * affine[0][j] + affine[1][j] * affine[1][j] + affine[2][j] * affine[2][j]);
        if (!(len > 0) || !isfinite(len))
            return gy_refuse(ctx, GY_ERR_NUMERIC,
                             "orientation: column %d of the affine: expected finite numbers, not all "
                             "zero, found length %g",
                             j, len);
        for (int i = 0; i < 3; i++) m[i][j] = affine[i][j] / len;
    }
    double det = m[0][0] * (m[1][1] * m[2][2] - m[1][2] * m[2][1]) - m[0][1] * (m[1][0] * m[2][2] - m[1][2] * m[2][0]) +
                 m[0][2] * (m[1][0] * m[2][1] - m[1][1] * m[2][0]);
    if (fabs(det) < 1e-6) return gy_refuse(ctx, GY_ERR_NUMERIC, "orientation: the affine is singular (%g)", det);
    /* Of the six ways to pair indices with directions, the one with the largest product of cosines. */
    static const int ways[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    double best = -1;
    for (int w = 0; w < 6; w++) {
        double product = fabs(m[ways[w][0]][0] * m[ways[w][1]][1] * m[ways[w][2]][2]);
        if (product <= best) continue;
        best = product;
        for (int j = 0; j < 3; j++) out[j] = m[ways[w][j]][j] > 0 ? positive[ways[w][j]] : negative[ways[w][j]];
    }
    return GY_OK;
}

/* How the array lies in the picture. Index 0..2 below is the world axis R, A, S. */
typedef struct view {
    int array_axis[3]; /* which index runs along this world axis */
    int sign[3];       /* +1: towards R, A, S */
    double mm[3];      /* voxel size along it; 1 if unknown */
    int64_t stride[3], dim[3];
    bool in_mm;
    int across, up, normal; /* world axes of the picture's width, height and of the slices */
    bool flip_across;       /* radiological */
} view;

static gy_status make_view(gy_ctx *ctx, const gy_mosaic *c, view *v) {
    const char *o = c->orientation, *title = c->head.title;
    *v = (view){.mm = {1, 1, 1}};
    bool seen[3] = {false, false, false};
    for (int j = 0; j < 3; j++) {
        int axis, sign;
        if (strlen(o) != 3 || !letter(o[j], &axis, &sign) || seen[axis])
            return gy_refuse(ctx, GY_ERR_USAGE,
                             "brain slices '%.80s': 'orientation': expected three letters, one each of "
                             "R/L, A/P, S/I, such as \"RAS\", found \"%.8s\"",
                             title, o);
        seen[axis] = true;
        v->array_axis[axis] = j;
        v->sign[axis] = sign;
    }
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 4; j++) v->in_mm = v->in_mm || c->affine[i][j] != 0;
    if (v->in_mm) {
        char found[4];
        gy_status st = gy_orientation_of(ctx, c->affine, found);
        if (st != GY_OK) return st;
        if (strcmp(found, o) != 0)
            return gy_refuse(ctx, GY_ERR_USAGE,
                             "brain slices '%.80s': 'orientation' says %s, but the affine says %s: one of "
                             "them has the sides wrong",
                             title, o, found);
    }
    bool given = c->stride[0] || c->stride[1] || c->stride[2];
    int64_t order[3] = {1, c->dim[0], c->dim[0] * c->dim[1]};
    for (int a = 0; a < 3; a++) {
        int j = v->array_axis[a];
        v->stride[a] = given ? c->stride[j] : order[j];
        v->dim[a] = c->dim[j];
        if (v->in_mm)
            v->mm[a] = sqrt(c->affine[0][j] * c->affine[0][j] + c->affine[1][j] * c->affine[1][j] +
                            c->affine[2][j] * c->affine[2][j]);
    }
    v->normal = c->plane == GY_PLANE_AXIAL ? 2 : c->plane == GY_PLANE_CORONAL ? 1 : 0;
    v->across = c->plane == GY_PLANE_SAGITTAL ? 1 : 0;
    v->up = c->plane == GY_PLANE_AXIAL ? 1 : 2;
    v->flip_across = c->radiological && v->across == 0;
    return GY_OK;
}

/* The index along world axis a of the i-th step towards R, A or S. */
static int64_t along(const view *v, int a, int64_t i) {
    return v->sign[a] > 0 ? i : v->dim[a] - 1 - i;
}

/* One slice, top row first, as the picture shows it. */
static void take_slice(const view *v, const float *volume, int64_t slice, float *out) {
    int64_t w = v->dim[v->across], h = v->dim[v->up];
    for (int64_t y = 0; y < h; y++)
        for (int64_t x = 0; x < w; x++) {
            int64_t i = along(v, v->across, v->flip_across ? w - 1 - x : x), j = along(v, v->up, h - 1 - y);
            out[y * w + x] = volume[i * v->stride[v->across] + j * v->stride[v->up] + slice * v->stride[v->normal]];
        }
}

/* ---- ranges ---- */

/* Least and greatest finite value of a volume. */
static void extremes(const view *v, const float *volume, double *lo, double *hi) {
    *lo = 1, *hi = 0;
    for (int64_t k = 0; k < v->dim[2]; k++)
        for (int64_t j = 0; j < v->dim[1]; j++)
            for (int64_t i = 0; i < v->dim[0]; i++) {
                double x = volume[i * v->stride[0] + j * v->stride[1] + k * v->stride[2]];
                gy_range_add(&x, 1, false, lo, hi);
            }
}

/* Grey from the least value to the 99.5th percentile, so that a few bright voxels (vessels, spikes) do not
 * darken all others; by a histogram of 4,096 steps. */
static gy_status grey_range(gy_ctx *ctx, const view *v, const float *volume, double *lo, double *hi) {
    enum { STEPS = 4096 };
    extremes(v, volume, lo, hi);
    if (!(*lo < *hi)) {
        if (*lo > *hi) *lo = 0;
        *hi = *lo + 1;
        return GY_OK;
    }
    int64_t *count = gy_calloc(ctx, STEPS, sizeof *count), total = 0, sum = 0;
    if (!count) return GY_ERR_NOMEM;
    for (int64_t k = 0; k < v->dim[2]; k++)
        for (int64_t j = 0; j < v->dim[1]; j++)
            for (int64_t i = 0; i < v->dim[0]; i++) {
                double x = volume[i * v->stride[0] + j * v->stride[1] + k * v->stride[2]];
                if (!isfinite(x)) continue;
                int64_t b = (int64_t)((x - *lo) / (*hi - *lo) * STEPS);
                count[b < STEPS ? b : STEPS - 1]++;
                total++;
            }
    int64_t b = 0;
    while (b < STEPS - 1 && (sum += count[b]) * 1000 < total * 995) b++;
    *hi = *lo + (*hi - *lo) * (double)(b + 1) / STEPS;
    gy_free(ctx, count);
    return GY_OK;
}

/* The stretch of slices that hold something: first and last with a finite value other than zero. */
static void extent(const view *v, const float *volume, int64_t *first, int64_t *last) {
    int a = v->across, u = v->up, n = v->normal;
    *first = 0, *last = v->dim[n] - 1;
    int64_t lo = v->dim[n], hi = -1;
    for (int64_t k = 0; k < v->dim[n]; k++)
        for (int64_t j = 0; j < v->dim[u]; j++)
            for (int64_t i = 0; i < v->dim[a]; i++) {
                float x = volume[i * v->stride[a] + j * v->stride[u] + k * v->stride[n]];
                if (!isfinite(x) || x == 0) continue;
                if (k < lo) lo = k;
                hi = k;
            }
    if (lo <= hi) *first = lo, *last = hi;
}

/* ---- drawing ---- */

/* "z = -12 mm" at the middle of the slice, or "slice 7 (S)" without an affine. */
static char *slice_name(gy_ctx *ctx, const gy_mosaic *c, const view *v, int64_t slice) {
    static const char axis[] = "xyz";
    char num[GY_NUMBER_TEXT];
    if (!v->in_mm) return gy_format(ctx, "slice %lld", (long long)slice);
    double at[3], mm = c->affine[v->normal][3];
    for (int j = 0; j < 3; j++) at[j] = (double)(c->dim[j] - 1) / 2;
    at[v->array_axis[v->normal]] = (double)slice;
    for (int j = 0; j < 3; j++) mm += c->affine[v->normal][j] * at[j];
    if (v->normal != 0) return gy_format(ctx, "%c = %s mm", axis[v->normal], gy_number_fixed(mm, 0, num));
    return gy_format(ctx, "x = %s mm (%s)", gy_number_fixed(mm, 0, num), mm < 0 ? "L" : mm > 0 ? "R" : "mid");
}

typedef struct ranges {
    double grey_lo, grey_hi, map_hi;
} ranges;

static gy_status slice_picture(gy_ctx *ctx, const gy_mosaic *c, const view *v, const ranges *r, int64_t slice,
                               gy_image *out) {
    int64_t w = v->dim[v->across], h = v->dim[v->up];
    *out = (gy_image){0};
    float *buf = gy_malloc(ctx, (size_t)(w * h) * sizeof *buf);
    if (!buf) return GY_ERR_NOMEM;
    take_slice(v, c->base, slice, buf);
    gy_status st = gy_raster_map(ctx, buf, h, w, GY_MAP_GREY, r->grey_lo, r->grey_hi, out);
    if (st == GY_OK && c->map) {
        gy_image over;
        take_slice(v, c->map, slice, buf);
        st = gy_raster_map(ctx, buf, h, w, GY_MAP_DIVERGING_DARK, -r->map_hi, r->map_hi, &over);
        if (st == GY_OK) st = gy_raster_overlay(ctx, out, &over, buf, c->threshold);
        gy_image_free(ctx, &over);
    }
    gy_free(ctx, buf);
    return st;
}

static gy_status check(gy_ctx *ctx, const gy_mosaic *c) {
    static const char kind[] = "brain slices";
    const gy_figure_head *h = &c->head;
    gy_status st = gy_need_head(ctx, kind, h);
    if (st == GY_OK)
        st = gy_need(ctx, kind, h, h->side != GY_SIDE_NONE, "side",
                     "a picture of a brain shows the left, the right or both hemispheres");
    if (st == GY_OK)
        st = gy_need(ctx, kind, h, c->orientation && *c->orientation, "orientation",
                     "expected three letters such as \"RAS\"; without them left and right are unknown");
    if (st == GY_OK) st = gy_need_axis(ctx, kind, h, &c->value, "value");
    if (st == GY_OK) st = gy_need(ctx, kind, h, c->base != NULL, "base", "expected a volume to draw in grey");
    if (st == GY_OK)
        st = gy_need(ctx, kind, h, c->base_is && *c->base_is, "base_is", "expected what the grey image is");
    if (st == GY_OK) st = gy_need(ctx, kind, h, c->n_slices > 0, "n_slices", "expected at least one slice");
    if (st != GY_OK) return st;
    for (int i = 0; i < 3; i++)
        if (c->dim[i] < 1 || c->dim[i] > 4096 || c->plane > GY_PLANE_SAGITTAL || c->n_slices > 400)
            return gy_refuse(ctx, GY_ERR_SHAPE,
                             "brain slices '%.80s': expected sizes from 1 to 4096 and at most 400 slices, "
                             "found %lld x %lld x %lld and %lld",
                             h->title, (long long)c->dim[0], (long long)c->dim[1], (long long)c->dim[2],
                             (long long)c->n_slices);
    if (c->value.log || !(c->threshold >= 0))
        return gy_refuse(ctx, GY_ERR_USAGE,
                         "brain slices '%.80s': expected a linear value axis and a threshold of at least 0", h->title);
    return GY_OK;
}

gy_status gy_figure_mosaic(gy_ctx *ctx, const gy_mosaic *c, gy_figure *out) {
    *out = (gy_figure){0};
    view v;
    ranges r;
    gy_status st = check(ctx, c);
    if (st == GY_OK) st = make_view(ctx, c, &v);
    for (int64_t i = 0; st == GY_OK && c->slices && i < c->n_slices; i++)
        if (c->slices[i] < 0 || c->slices[i] >= v.dim[v.normal])
            st = gy_refuse(ctx, GY_ERR_SHAPE, "brain slices '%.80s': slice %lld: expected 0 to %lld", c->head.title,
                           (long long)c->slices[i], (long long)v.dim[v.normal] - 1);
    if (st == GY_OK) st = grey_range(ctx, &v, c->base, &r.grey_lo, &r.grey_hi);
    if (st != GY_OK) return st;
    if (!c->map && c->value.lo < c->value.hi) r.grey_lo = c->value.lo, r.grey_hi = c->value.hi;
    if (c->map) r.grey_hi = r.grey_lo + (r.grey_hi - r.grey_lo) / 0.85; /* no tissue as bright as the map's peaks */
    r.map_hi = c->value.hi;
    if (c->map && !(r.map_hi > 0)) {
        double lo, hi;
        extremes(&v, c->map, &lo, &hi);
        r.map_hi = lo <= hi ? fmax(fabs(lo), fabs(hi)) : 1;
        if (!(r.map_hi > 0)) r.map_hi = 1;
    }

    int64_t columns = c->columns > 0 ? c->columns : 6, first, last;
    if (columns > c->n_slices) columns = c->n_slices;
    int64_t rows = (c->n_slices + columns - 1) / columns;
    extent(&v, c->base, &first, &last);
    enum { GAP = 10, PAD = 12, BAR = 92, CAPTION = 20 };
    double wide = (double)v.dim[v.across] * v.mm[v.across], tall = (double)v.dim[v.up] * v.mm[v.up];
    double w = (GY_FIGURE_WIDTH - 24.0 - BAR - 2 * PAD - GAP * (double)(columns - 1)) / (double)columns;
    w = fmin(fmin(w, 300), 360 * wide / tall);
    double h = w * tall / wide, panel_w = (w + GAP) * (double)columns - GAP + 2 * PAD;
    double panel_h = (h + CAPTION + GAP) * (double)rows - GAP + 2 * PAD, panel_least = fmax(panel_h, 130);

    char num[GY_NUMBER_TEXT];
    char *drawn =
        gy_format(ctx, "drawn where |%s| is at least %s", c->value.label, gy_number_short(c->threshold, 3, num));
    if (!drawn) return GY_ERR_NOMEM;
    gy_canvas cv;
    gy_canvas_open(&cv, ctx, &c->head, GY_FIGURE_WIDTH, GY_HEAD_HEIGHT + panel_least + 12,
                   (const char *const[2]){c->base_is, c->map && c->threshold > 0 ? drawn : NULL});
    gy_free(ctx, drawn);
    double top = cv.top, left = 12;
    GY_DRAW(&cv.t, "<rect x=\"%\" y=\"%\" width=\"%\" height=\"%\" rx=\"6\" fill=\"#000\"/>", left, top, panel_w,
            panel_least);
    static const char *const low[] = {"L", "P", "I"}, *const high[] = {"R", "A", "S"};
    for (int64_t i = 0; st == GY_OK && i < c->n_slices; i++) {
        /* ascending towards R, A, S */
        int64_t lo = v.sign[v.normal] > 0 ? first : v.dim[v.normal] - 1 - last;
        int64_t slice =
            c->slices ? c->slices[i] : along(&v, v.normal, lo + ((2 * i + 1) * (last - first + 1)) / (2 * c->n_slices));
        double x = left + PAD + (double)(i % columns) * (w + GAP);
        double y = top + PAD + (double)(i / columns) * (h + CAPTION + GAP);
        gy_image img;
        st = slice_picture(ctx, c, &v, &r, slice, &img);
        gy_canvas_image(&cv, x, y, w, h, &img, &st);
        gy_image_free(ctx, &img);
        char *name = slice_name(ctx, c, &v, slice);
        if (!name)
            st = GY_ERR_NOMEM;
        else
            gy_canvas_text(&cv, x + w / 2, y + h + 14, "e", GY_MIDDLE, 0, w, name);
        gy_free(ctx, name);
        gy_canvas_text(&cv, x, y + 10, "e b", GY_START, 0, 0, v.flip_across ? high[v.across] : low[v.across]);
        gy_canvas_text(&cv, x + w, y + 10, "e b", GY_END, 0, 0, v.flip_across ? low[v.across] : high[v.across]);
    }
    double bar = left + panel_w + 18, bar_h = fmin(panel_least - 16, 220), bar_top = top + (panel_least - bar_h) / 2;
    gy_chance none = gy_no_chance();
    gy_canvas_colorbar(&cv, bar, bar_top, bar_top + bar_h, c->map ? GY_MAP_DIVERGING_DARK : GY_MAP_GREY,
                       c->map ? -r.map_hi : r.grey_lo, c->map ? r.map_hi : r.grey_hi, c->map ? c->threshold : 0,
                       &c->value, c->map ? c->head.chance : none);
    return gy_canvas_close(&cv, &c->head, st, out);
}
