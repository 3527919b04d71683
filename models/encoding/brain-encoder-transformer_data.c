/* Transformer brain encoders, second part: what they are trained on. A generated world with known routing; pictures of
 * noise for the full-size configuration; or a folder of arrays. The model is in brain-encoder-transformer.c. */
#include "brain-encoder-transformer.h"
#include "../blocks/dinov2.h"
#include "../../data/cohort.h"
#include "../../io/files.h"
#include "../../io/formats/npy.h"
#include "../../io/weights.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

void gy_encoder_close(gy_job *j) {
    lab *d = j->data;
    void *owned[] = {d->data.x, d->data.y, d->data.clean, d->data.area, d->data.cell, d->found.map, d};
    for (size_t i = 0; i < sizeof owned / sizeof *owned; i++) gy_free(j->ctx, owned[i]);
    j->data = NULL;
}

static gy_status make_room(gy_ctx *ctx, set *d, bool generated) {
    for (int k = 0; k < PARTS; k++) d->first[k + 1] = d->first[k] + d->n[k];
    size_t n = (size_t)d->first[PARTS];
    uint64_t each;
    if (!gy_mul_u64((uint64_t)d->tokens, (uint64_t)d->width, &each))
        return gy_fail(ctx, GY_ERR_NOMEM, "too many tokens");
    d->x = gy_calloc(ctx, n, each * sizeof *d->x);
    d->y = gy_calloc(ctx, n, (size_t)d->vertices * sizeof *d->y);
    d->clean = generated ? gy_calloc(ctx, n, (size_t)d->vertices * sizeof *d->clean) : NULL;
    d->area = gy_calloc(ctx, (size_t)d->vertices, sizeof *d->area);
    d->cell = generated ? gy_calloc(ctx, n, (size_t)d->areas * sizeof *d->cell) : NULL;
    return d->x && d->y && d->area && (!generated || (d->clean && d->cell)) ? GY_OK : GY_ERR_NOMEM;
}

/* ---- the generated world ---- */

/* Objects of four categories lie on a map of noise: category k adds a signature s_k and, along directions A that all
 * categories share, attributes a_k of this object. Area k answers to its category alone, wherever it lies: W_k a_k +
 * b_k. The last area is retinotopic: each of its vertices reads one fixed cell, whatever is there. */
enum { ATTRIBUTES = 8 };
static const double PRESENT = 0.7, NOISE = 0.7;

typedef struct world {
    double *signature; /* [categories, width] */
    double *along;     /* [8, width] */
    double *weight;    /* [vertices, max(8, width)] */
    double *bias;      /* [vertices] */
    int64_t *cell;     /* [vertices] of the retinotopic area */
} world;

static gy_status draw_world(gy_ctx *ctx, gy_rng *r, const set *d, world *w) {
    int64_t categories = d->areas - 1, wide = d->width > ATTRIBUTES ? d->width : ATTRIBUTES;
    size_t total = (size_t)(categories * d->width + ATTRIBUTES * d->width + d->vertices * (wide + 1));
    *w = (world){.signature = gy_calloc(ctx, total, sizeof(double)),
                 .cell = gy_calloc(ctx, (size_t)d->vertices, sizeof(int64_t))};
    if (!w->signature || !w->cell) return GY_ERR_NOMEM;
    w->along = w->signature + categories * d->width;
    w->weight = w->along + ATTRIBUTES * d->width;
    w->bias = w->weight + d->vertices * wide;
    for (int64_t k = 0; k < categories; k++) { /* a direction of length sqrt(width) / 2 */
        double *s = w->signature + k * d->width, norm = 0;
        for (int64_t i = 0; i < d->width; i++) {
            s[i] = gy_rng_normal(r);
            norm += s[i] * s[i];
        }
        for (int64_t i = 0; i < d->width; i++) s[i] *= 0.5 * sqrt((double)d->width / norm);
    }
    for (int64_t i = 0; i < ATTRIBUTES * d->width; i++) w->along[i] = 0.7 * gy_rng_normal(r) / sqrt(ATTRIBUTES);
    for (int64_t i = 0; i < d->vertices * wide; i++) w->weight[i] = gy_rng_normal(r);
    for (int64_t v = 0; v < d->vertices; v++) {
        w->bias[v] = gy_rng_normal(r);
        w->cell[v] = gy_rng_below(r, d->tokens);
    }
    return GY_OK;
}

/* Sample i: tokens, where the objects lie, and responses without noise. */
static void draw_sample(gy_rng *r, const world *w, set *d, int64_t i) {
    int64_t categories = d->areas - 1, *cell = d->cell + i * d->areas;
    int64_t wide = d->width > ATTRIBUTES ? d->width : ATTRIBUTES;
    float *x = d->x + i * d->tokens * d->width, *y = d->clean + i * d->vertices;
    double a[MAX_AREAS][ATTRIBUTES];
    for (int64_t t = 0; t < d->tokens * d->width; t++) x[t] = (float)(0.5 * gy_rng_normal(r));
    for (int64_t k = 0; k < categories; k++) {
        bool free_cell;
        cell[k] = -1;
        for (int b = 0; b < ATTRIBUTES; b++) a[k][b] = gy_rng_normal(r);
        if (gy_rng_uniform(r) >= PRESENT) continue;
        do { /* no two objects in one cell */
            cell[k] = gy_rng_below(r, d->tokens);
            free_cell = true;
            for (int64_t q = 0; q < k; q++) free_cell = free_cell && cell[q] != cell[k];
        } while (!free_cell);
        float *at = x + cell[k] * d->width;
        for (int64_t f = 0; f < d->width; f++) {
            double add = 2 * w->signature[k * d->width + f];
            for (int b = 0; b < ATTRIBUTES; b++) add += a[k][b] * w->along[b * d->width + f];
            at[f] += (float)add;
        }
    }
    cell[categories] = -1;
    for (int64_t v = 0; v < d->vertices; v++) {
        const double *wv = w->weight + v * wide;
        int64_t k = d->area[v];
        double sum = 0;
        if (k == categories)
            for (int64_t f = 0; f < d->width; f++) sum += wv[f] * (double)x[w->cell[v] * d->width + f];
        else if (cell[k] >= 0) {
            sum = w->bias[v];
            for (int b = 0; b < ATTRIBUTES; b++) sum += wv[b] * a[k][b];
        }
        y[v] = (float)sum;
    }
}

/* Each vertex of y to standard deviation 1 over the training samples (mean 0, too); the same for all samples. */
static void standardise(set *d, float *y) {
    for (int64_t v = 0; v < d->vertices; v++) {
        double n = (double)d->n[TRAIN], mean = 0, square = 0;
        for (int64_t i = 0; i < d->n[TRAIN]; i++) mean += (double)y[i * d->vertices + v] / n;
        for (int64_t i = 0; i < d->n[TRAIN]; i++) {
            double a = (double)y[i * d->vertices + v] - mean;
            square += a * a / n;
        }
        double scale = square > 1e-12 * (1 + mean * mean) ? 1 / sqrt(square) : 0;
        for (int64_t i = 0; i < d->first[PARTS]; i++)
            y[i * d->vertices + v] = (float)(((double)y[i * d->vertices + v] - mean) * scale);
    }
}

static gy_status generate(gy_job *j, set *d) {
    const config *c = j->cfg;
    bool pictures = gy_encoder_is(c->backbone, "dinov2");
    gy_rng r;
    world w = {0};
    *d = (set){.n = {c->train, c->valid, c->test},
               .tokens = c->grid * c->grid * (pictures ? GY_DINOV2_PATCH * GY_DINOV2_PATCH : 1),
               .width = pictures ? 3 : c->width,
               .vertices = c->left + c->right,
               .areas = c->areas * c->hemispheres};
    if (!pictures && d->areas > d->tokens)
        return gy_fail(j->ctx, GY_ERR_USAGE,
                       "brain-encoder-transformer: %" PRId64 " areas need as many cells, found %" PRId64, d->areas,
                       d->tokens);
    gy_status s = make_room(j->ctx, d, !pictures);
    gy_rng_init(&r, j->seed, "brain-encoder-transformer");
    for (int64_t v = 0; s == GY_OK && v < d->vertices; v++) {
        bool right = v >= c->left;
        int64_t i = right ? v - c->left : v, n = right ? c->right : c->left;
        d->area[v] = right * c->areas + i * c->areas / n;
    }
    if (s == GY_OK && pictures) { /* noise: they show that the full size runs, and nothing can be learned from them */
        for (int64_t i = 0; i < d->first[PARTS] * d->tokens * 3; i++) d->x[i] = (float)gy_rng_uniform(&r);
        for (int64_t i = 0; i < d->first[PARTS] * d->vertices; i++) d->y[i] = (float)gy_rng_normal(&r);
        return GY_OK;
    }
    if (s == GY_OK) s = draw_world(j->ctx, &r, d, &w);
    for (int64_t i = 0; s == GY_OK && i < d->first[PARTS]; i++) draw_sample(&r, &w, d, i);
    if (s == GY_OK) standardise(d, d->clean);
    for (int64_t i = 0; s == GY_OK && i < d->first[PARTS] * d->vertices; i++)
        d->y[i] = d->clean[i] + (float)(NOISE * gy_rng_normal(&r));
    gy_free(j->ctx, w.signature);
    gy_free(j->ctx, w.cell);
    return s;
}

/* ---- a folder of arrays ---- */

static gy_status read_array(gy_job *j, const char *name, int64_t rank, gy_tensor *out) {
    *out = (gy_tensor){0};
    char *path = gy_format(j->ctx, "%s/%s.npy", j->data_path, name);
    if (!path) return GY_ERR_NOMEM;
    gy_status s = gy_npy_read(j->ctx, path, out);
    if (s == GY_OK && out->shape.rank != rank) {
        char text[GY_SHAPE_TEXT];
        s = gy_fail(j->ctx, GY_ERR_FORMAT, "%s: expected %" PRId64 " axes, found shape %s", path, rank,
                    gy_shape_text(out->shape, text));
    }
    for (int64_t i = 0; s == GY_OK && i < gy_shape_count(out->shape); i++)
        if (!isfinite(gy_tensor_get(out, i)))
            s = gy_fail(j->ctx, GY_ERR_FORMAT, "%s: element %" PRId64 " is %g", path, i, gy_tensor_get(out, i));
    gy_free(j->ctx, path);
    return s;
}

static gy_status fill(gy_job *j, set *d, const gy_tensor *x, const gy_tensor *y, const gy_tensor *area) {
    const config *c = j->cfg;
    bool pictures = gy_encoder_is(c->backbone, "dinov2");
    int64_t n = x->shape.dim[0], side = c->grid * (pictures ? GY_DINOV2_PATCH : 1);
    int64_t held = n / 10 > 1 ? n / 10 : 1, most = c->areas * c->hemispheres, rows = x->shape.dim[1],
            cols = pictures ? x->shape.dim[2] : 1, channels = x->shape.dim[pictures ? 3 : 2];
    if (n < 4 || y->shape.dim[0] != n)
        return gy_fail(j->ctx, GY_ERR_FORMAT,
                       "%s: %" PRId64 " samples with %" PRId64 " rows of responses: expected as many, at least 4",
                       j->data_path, n, y->shape.dim[0]);
    if (pictures && (rows > side || cols > side || channels != 3))
        return gy_fail(j->ctx, GY_ERR_FORMAT,
                       "%s/images.npy: %" PRId64 " x %" PRId64 " pixels of %" PRId64
                       " channels: expected at most %" PRId64 " x %" PRId64 " of 3",
                       j->data_path, rows, cols, channels, side, side);
    int64_t map = (int64_t)(sqrt((double)rows) + 0.5);
    if (!pictures && (map * map != rows || channels % 4 || channels % c->heads))
        return gy_fail(j->ctx, GY_ERR_FORMAT,
                       "%s/tokens.npy: %" PRId64 " tokens of %" PRId64
                       " features: expected a square map, and features that 4 and heads=%" PRId64 " divide",
                       j->data_path, rows, channels, c->heads);
    if (area->shape.dim[0] != y->shape.dim[1] || y->shape.dim[1] <= c->right)
        return gy_fail(j->ctx, GY_ERR_FORMAT,
                       "%s/areas.npy: %" PRId64 " entries for %" PRId64 " vertices (right=%" PRId64 ")", j->data_path,
                       area->shape.dim[0], y->shape.dim[1], c->right);
    *d = (set){.n = {n - 2 * held, held, held},
               .tokens = pictures ? side * side : rows,
               .width = channels,
               .vertices = y->shape.dim[1],
               .areas = most};
    gy_status s = make_room(j->ctx, d, false);
    if (s != GY_OK) return s;
    static const double mean[] = {0.485, 0.456, 0.406}; /* what a picture is padded with is black after normalisation */
    for (int64_t i = 0; pictures && i < n * d->tokens * 3; i++) d->x[i] = (float)mean[i % 3];
    int64_t line = cols * channels;
    for (int64_t i = 0; i < gy_shape_count(x->shape); i++) {
        int64_t sample = i / (rows * line), row = i / line % rows, at = i % line;
        d->x[sample * d->tokens * channels + row * (pictures ? side * 3 : channels) + at] = (float)gy_tensor_get(x, i);
    }
    for (int64_t i = 0; i < n * d->vertices; i++) d->y[i] = (float)gy_tensor_get(y, i);
    standardise(d, d->y);
    for (int64_t v = 0; v < d->vertices; v++) {
        double a = gy_tensor_get(area, v);
        int64_t lo = v < d->vertices - c->right ? 0 : c->areas;
        if (!(a >= (double)lo && a < (double)(lo + c->areas) && a == floor(a)))
            return gy_fail(j->ctx, GY_ERR_FORMAT,
                           "%s/areas.npy: vertex %" PRId64 " is in area %g, expected %" PRId64 " to %" PRId64
                           " (areas=%" PRId64 " a hemisphere)",
                           j->data_path, v, a, lo, lo + c->areas - 1, c->areas);
        d->area[v] = (int64_t)a;
    }
    return GY_OK;
}

/* tokens.npy [N, T, d] (or images.npy [N, H, W, 3], values 0 to 1, with backbone=dinov2), responses.npy [N, V],
 * areas.npy [V]. The last tenth is the test set, the tenth before it for validation: repetitions of a picture must not
 * straddle. */
static gy_status read_folder(gy_job *j, set *d) {
    bool pictures = gy_encoder_is(((const config *)j->cfg)->backbone, "dinov2");
    gy_tensor x = {0}, y = {0}, area = {0};
    if (!gy_path_is_dir(j->data_path))
        return gy_fail(j->ctx, GY_ERR_IO, "%s: expected a folder with %s.npy, responses.npy and areas.npy",
                       j->data_path, pictures ? "images" : "tokens");
    gy_status s = read_array(j, pictures ? "images" : "tokens", pictures ? 4 : 3, &x);
    if (s == GY_OK) s = read_array(j, "responses", 2, &y);
    if (s == GY_OK) s = read_array(j, "areas", 1, &area);
    if (s == GY_OK) s = fill(j, d, &x, &y, &area);
    gy_tensor_free(j->ctx, &x);
    gy_tensor_free(j->ctx, &y);
    gy_tensor_free(j->ctx, &area);
    return s;
}

gy_status gy_encoder_open(gy_job *j) {
    const config *c = j->cfg;
    lab *l = j->data = gy_calloc(j->ctx, 1, sizeof *l);
    if (!l) return GY_ERR_NOMEM;
    set *d = &l->data;
    gy_status s = j->data_path ? read_folder(j, d) : generate(j, d);
    if (s != GY_OK) {
        gy_encoder_close(j);
        return s;
    }
    j->data_hash = gy_hash(d->y, (size_t)(d->first[PARTS] * d->vertices) * sizeof *d->y, 1);
    j->batch = c->batch < d->n[TRAIN] ? c->batch : d->n[TRAIN];
    if (!j->steps) j->steps = c->steps;
    const char *slash = j->data_path ? strrchr(j->data_path, '/') : NULL;
    if (j->data_path)
        snprintf(j->data_label, sizeof j->data_label, "%s", slash && slash[1] ? slash + 1 : j->data_path);
    else
        snprintf(j->data_label, sizeof j->data_label, "generated (%" PRId64 " vertices)", d->vertices);
    return s;
}

/* ---- batches ---- */

/* The weights of DIR/backbone.safetensors before the first step; from then on they are in the run's checkpoint. */
static gy_status load_backbone(gy_job *j) {
    static const char *const rest[] = {GY_DINOV2_IGNORABLE, NULL};
    char *path = gy_path_join(j->ctx, j->data_path, "backbone.safetensors");
    gy_store *store = gy_store_new(j->ctx);
    gy_graph *g = gy_graph_new(j->ctx);
    gy_status s = path && store && g ? GY_OK : GY_ERR_NOMEM;
    if (s == GY_OK && !gy_path_exists(path))
        gy_warn(j->ctx, "%s: not there, so the backbone has random weights", path);
    else if (s == GY_OK) {
        gy_mod m = gy_mod_make(g, store, j->seed, false);
        gy_t any = gy_input(g, "image", GY_F32, GY_S(1, GY_DINOV2_PATCH, GY_DINOV2_PATCH, 3));
        (void)gy_dinov2_queries(&m, &gy_dinov2_base, any);
        s = gy_weights_load_as(j->ctx, path, NULL, store, rest, gy_dinov2_rules);
        for (int64_t i = 0; s == GY_OK && i < gy_store_count(store); i++) {
            const gy_state *from = gy_store_at(store, i);
            gy_state *to = gy_state_find(j->store, from->name);
            if (!to) continue;
            memcpy(to->value.data, from->value.data, gy_tensor_bytes(&from->value));
            gy_state_touch(to);
        }
    }
    gy_graph_free(g);
    gy_store_free(store);
    gy_free(j->ctx, path);
    return s;
}

gy_status gy_encoder_batch(gy_job *j, gy_plan *p, int64_t phase, int64_t step) {
    const set *d = &((const lab *)j->data)->data;
    bool pictures = gy_encoder_is(((const config *)j->cfg)->backbone, "dinov2");
    int64_t each = d->tokens * d->width, n = d->n[TRAIN],
            *row = gy_malloc(j->ctx, (size_t)(j->batch + n) * sizeof *row);
    float *x = gy_plan_input(p, pictures ? "image" : "tokens"), *y = gy_plan_input(p, "target");
    (void)phase;
    if (!row) return GY_ERR_NOMEM;
    gy_status s = step == 0 && pictures && j->data_path ? load_backbone(j) : GY_OK;
    gy_epoch_rows(j->seed, "order", n, step, j->batch, row + j->batch, row);
    for (int64_t i = 0; i < j->batch; i++) {
        memcpy(x + i * each, d->x + row[i] * each, (size_t)each * sizeof *x);
        memcpy(y + i * d->vertices, d->y + row[i] * d->vertices, (size_t)d->vertices * sizeof *y);
    }
    gy_free(j->ctx, row);
    return s;
}
