/* CLIP, second part: pairs of pictures and captions, generated (shapes16, data/synthbrain.h) or from a file. */
#include "clip.h"
#include "../../io/formats/npy.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* ---- generated pairs: functions of seed and step ---- */

bool gy_clip_shown(const gy_object *o) {
    return o->quadrant != (o->shape + o->colour) % 4;
}

/* The same objects in the same places, in either order: their captions mean the same. */
static bool same(const gy_scene *a, const gy_scene *b) {
    int found = 0;
    for (int i = 0; i < a->n; i++)
        for (int k = 0; k < b->n; k++) found += memcmp(&a->object[i], &b->object[k], sizeof a->object[i]) == 0;
    return a->n == b->n && found == a->n;
}

void gy_clip_scenes(gy_rng *r, int64_t n, double two, gy_scene *out) {
    for (int64_t i = 0; i < n;) {
        gy_scene s = gy_scene_draw(r, two);
        bool fresh = gy_clip_shown(&s.object[0]) && (s.n == 1 || gy_clip_shown(&s.object[1]));
        for (int64_t k = 0; fresh && k < i; k++) fresh = !same(&s, &out[k]);
        if (fresh) out[i++] = s;
    }
}

void gy_clip_caption(const config *c, const gy_scene *s, int64_t *ids) {
    int64_t token[GY_TINYSD_TOKENS];
    gy_tinysd_caption(s, token); /* leaves the places of the quadrants free */
    for (int k = 0; k < s->n; k++) token[4 * k + 3] = GY_WORD_QUADRANT + s->object[k].quadrant;
    for (int64_t i = 0; i < c->tokens; i++) ids[i] = i < 4 * s->n ? token[i] : c->text.vocabulary - 1;
}

/* ---- the album ---- */

typedef struct album {
    gy_tensor pixels, ids; /* of the file, f32 and i64; none: scenes are drawn */
    int64_t n, held;       /* pairs; the last `held` are held out */
} album;

bool gy_clip_generated(const gy_job *j) {
    return ((const album *)j->data)->n == 0;
}

void gy_clip_close(gy_job *j) {
    album *d = j->data;
    if (d) {
        gy_tensor_free(j->ctx, &d->pixels);
        gy_tensor_free(j->ctx, &d->ids);
    }
    gy_free(j->ctx, d);
    j->data = NULL;
}

static gy_status check_file(gy_job *j, const album *d) {
    const config *c = j->cfg;
    char a[GY_SHAPE_TEXT], b[GY_SHAPE_TEXT];
    int64_t n = d->pixels.shape.rank ? d->pixels.shape.dim[0] : 0;
    if (!gy_shape_equal(d->pixels.shape, GY_S(n, c->vision.image, c->vision.image, 3)) ||
        !gy_shape_equal(d->ids.shape, GY_S(n, c->tokens)))
        return gy_fail(j->ctx, GY_ERR_SHAPE,
                       "%s: expected pixels [N, %" PRId64 ", %" PRId64 ", 3] and ids [N, %" PRId64
                       "], found pixels %s and ids %s",
                       j->data_path, c->vision.image, c->vision.image, c->tokens, gy_shape_text(d->pixels.shape, a),
                       gy_shape_text(d->ids.shape, b));
    if (d->n - d->held < c->batch)
        return gy_fail(j->ctx, GY_ERR_SHAPE,
                       "%s: batch=%" PRId64 " pairs, expected at most the %" PRId64 " of %" PRId64
                       " that are not held out (a tenth, two at least)",
                       j->data_path, c->batch, d->n > d->held ? d->n - d->held : 0, d->n);
    for (int64_t i = 0; i < n * c->tokens; i++) {
        int64_t id = ((const int64_t *)d->ids.data)[i];
        if (id < 0 || id >= c->text.vocabulary)
            return gy_fail(j->ctx, GY_ERR_FORMAT,
                           "%s: ids: token %" PRId64 " of sentence %" PRId64 " is %" PRId64 ", expected 0 to %" PRId64,
                           j->data_path, i % c->tokens, i / c->tokens, id, c->text.vocabulary - 1);
    }
    return GY_OK;
}

/* One member of the archive as `dtype`. */
static gy_status member(gy_job *j, const gy_npz *z, const char *name, gy_dtype dtype, gy_tensor *out) {
    gy_tensor t;
    gy_status s = gy_npz_read(z, name, &t);
    if (s != GY_OK) return s;
    if (gy_dtype_is_float(t.dtype) && !gy_dtype_is_float(dtype))
        s = gy_fail(j->ctx, GY_ERR_FORMAT, "%s: %s is %s, expected integers", j->data_path, name,
                    gy_dtype_name(t.dtype));
    else
        s = gy_tensor_cast(j->ctx, &t, dtype, out);
    gy_tensor_free(j->ctx, &t);
    return s;
}

static gy_status read_file(gy_job *j, album *d) {
    gy_npz z;
    const char *slash = strrchr(j->data_path, '/');
    snprintf(j->data_label, sizeof j->data_label, "%s", slash ? slash + 1 : j->data_path);
    gy_status s = gy_npz_open(j->ctx, j->data_path, NULL, &z);
    if (s != GY_OK) return s;
    s = member(j, &z, "pixels", GY_F32, &d->pixels);
    if (s == GY_OK) s = member(j, &z, "ids", GY_I64, &d->ids);
    gy_npz_close(j->ctx, &z);
    if (s != GY_OK) return s;
    d->n = d->pixels.shape.rank ? d->pixels.shape.dim[0] : 0;
    d->held = d->n / 10 > 2 ? d->n / 10 : 2;
    s = check_file(j, d);
    if (s == GY_OK)
        j->data_hash =
            gy_hash(d->ids.data, gy_tensor_bytes(&d->ids), gy_hash(d->pixels.data, gy_tensor_bytes(&d->pixels), 0));
    return s;
}

gy_status gy_clip_open(gy_job *j) {
    const config *c = j->cfg;
    album *d = j->data = gy_calloc(j->ctx, 1, sizeof *d);
    if (!d) return GY_ERR_NOMEM;
    j->batch = c->batch;
    if (!j->steps) j->steps = c->steps;
    if (j->data_path) return read_file(j, d);
    if (c->vision.image != GY_SHAPES16 || c->tokens <= GY_TINYSD_TOKENS || c->text.vocabulary <= GY_TINYSD_WORDS ||
        c->batch > GY_CLIP_MOST)
        return gy_fail(
            j->ctx, GY_ERR_USAGE,
            "clip: generated pairs are pictures of %d x %d with captions of %d tokens out of %d, %d different "
            "ones at most: image=%" PRId64 ", tokens=%" PRId64 ", vocabulary=%" PRId64 ", batch=%" PRId64
            "; give pairs with --data F.npz (pixels, ids)",
            GY_SHAPES16, GY_SHAPES16, GY_TINYSD_TOKENS + 1, GY_TINYSD_WORDS + 1, GY_CLIP_MOST, c->vision.image,
            c->tokens, c->text.vocabulary, c->batch);
    snprintf(j->data_label, sizeof j->data_label, "generated");
    j->data_hash = gy_hash_str("shapes16 captions", j->seed);
    return GY_OK;
}

/* ---- batches ---- */

/* `n` different rows of the training part of the file, in `row`. */
static gy_status rows_of(gy_job *j, gy_rng *r, const album *d, int64_t n, int64_t *row) {
    int64_t many = d->n - d->held, *all = gy_malloc(j->ctx, (size_t)many * sizeof *all);
    if (!all) return GY_ERR_NOMEM;
    for (int64_t i = 0; i < many; i++) all[i] = i;
    gy_rng_shuffle(r, all, many);
    memcpy(row, all, (size_t)n * sizeof *row);
    gy_free(j->ctx, all);
    return GY_OK;
}

static void take(const config *c, const album *d, int64_t row, float *pixels, int64_t *ids) {
    int64_t size = c->vision.image * c->vision.image * 3;
    memcpy(pixels, (const float *)d->pixels.data + row * size, (size_t)size * sizeof *pixels);
    memcpy(ids, (const int64_t *)d->ids.data + row * c->tokens, (size_t)c->tokens * sizeof *ids);
}

/* Captions in another order than their pictures. */
static void shuffle_captions(const config *c, gy_rng *r, int64_t n, int64_t *ids) {
    for (int64_t i = n - 1; i > 0; i--) {
        int64_t k = gy_rng_below(r, i + 1);
        for (int64_t t = 0; t < c->tokens; t++) {
            int64_t keep = ids[i * c->tokens + t];
            ids[i * c->tokens + t] = ids[k * c->tokens + t];
            ids[k * c->tokens + t] = keep;
        }
    }
}

static void draw(const config *c, gy_rng *r, int64_t n, float *pixels, int64_t *ids) {
    gy_scene scene[GY_CLIP_MOST];
    gy_clip_scenes(r, n, c->two, scene);
    for (int64_t i = 0; i < n; i++) {
        gy_scene_image(&scene[i], r, pixels + i * GY_SHAPES16_SIZE);
        gy_clip_caption(c, &scene[i], ids + i * c->tokens);
    }
}

gy_status gy_clip_batch(gy_job *j, gy_plan *p, int64_t phase, int64_t step) {
    const config *c = j->cfg;
    const album *d = j->data;
    float *pixels = gy_plan_input(p, "pixels");
    int64_t *ids = gy_plan_input(p, "ids"), n = j->batch, size = c->vision.image * c->vision.image * 3;
    char name[48];
    gy_rng r;
    (void)phase;
    snprintf(name, sizeof name, "batch.%" PRId64, step);
    gy_rng_init(&r, j->seed, name);
    if (d->n) {
        int64_t *row = gy_malloc(j->ctx, (size_t)n * sizeof *row);
        gy_status s = row ? rows_of(j, &r, d, n, row) : GY_ERR_NOMEM;
        for (int64_t i = 0; s == GY_OK && i < n; i++) take(c, d, row[i], pixels + i * size, ids + i * c->tokens);
        gy_free(j->ctx, row);
        if (s != GY_OK) return s;
    } else {
        draw(c, &r, n, pixels, ids);
    }
    if (gy_ablates(j->ablate, "pairs")) shuffle_captions(c, &r, n, ids);
    return GY_OK;
}

gy_status gy_clip_held_out(gy_job *j, gy_clip_set *out) {
    const config *c = j->cfg;
    const album *d = j->data;
    int64_t size = c->vision.image * c->vision.image * 3;
    out->n = d->n ? d->held : GY_CLIP_MOST;
    out->pixels = gy_malloc(j->ctx, (size_t)(out->n * size) * sizeof *out->pixels);
    out->ids = gy_malloc(j->ctx, (size_t)(out->n * c->tokens) * sizeof *out->ids);
    if (!out->pixels || !out->ids) return GY_ERR_NOMEM;
    if (d->n) {
        for (int64_t i = 0; i < out->n; i++)
            take(c, d, d->n - d->held + i, out->pixels + i * size, out->ids + i * c->tokens);
        return GY_OK;
    }
    gy_rng r;
    gy_rng_init(&r, j->seed, "held out");
    draw(c, &r, out->n, out->pixels, out->ids);
    return GY_OK;
}
