/* clip.h: what the three files of CLIP share; of no use outside them. clip.c is the paper, clip_data.c what it trains
 * on, clip_claim.c what is measured and claimed. */
#ifndef GY_DECODING_CLIP_H
#define GY_DECODING_CLIP_H

#include "../blocks/clip.h"
#include "../blocks/tinysd.h"

typedef struct config {
    gy_clip_text_config text;
    gy_clip_vision_config vision; /* projection and quick are the text tower's */
    int64_t tokens, texts, batch, steps;
    double two, lr, warmup, weight_decay;
} config;
gy_clip_vision_config gy_clip_vision_of(const config *c);

/* ---- clip_data.c ---- */

enum {
    GY_CLIP_NAMES = 48, /* captions of one object: 16 shape + 4 colour + quadrant */
    GY_CLIP_MOST = 256  /* different scenes that are drawn at once; there are 402 */
};

gy_status gy_clip_open(gy_job *j) GY_MUST_CHECK;
void gy_clip_close(gy_job *j);
gy_status gy_clip_batch(gy_job *j, gy_plan *p, int64_t phase, int64_t step) GY_MUST_CHECK;

/* Whether training shows this object in this place: each is kept from one of the four. */
bool gy_clip_shown(const gy_object *o);
/* n <= GY_CLIP_MOST scenes of shown objects, no two of the same objects in the same places. */
void gy_clip_scenes(gy_rng *r, int64_t n, double two, gy_scene *out);
/* ids [tokens]: begin, then colour, shape, quadrant of each object with "and" between them, then the end token (the
 * largest id) to the end. */
void gy_clip_caption(const config *c, const gy_scene *s, int64_t *ids);

/* Held-out pairs: of the file, or freshly drawn. Both [n, ...]; free with gy_free. */
typedef struct gy_clip_set {
    int64_t n;
    float *pixels;
    int64_t *ids;
} gy_clip_set;
gy_status gy_clip_held_out(gy_job *j, gy_clip_set *out) GY_MUST_CHECK;
bool gy_clip_generated(const gy_job *j);

/* ---- clip_claim.c ---- */

gy_status gy_clip_evaluate(gy_job *j, gy_metrics *out) GY_MUST_CHECK;
gy_status gy_clip_panels(gy_job *j, void *report) GY_MUST_CHECK;
gy_status gy_clip_claim(gy_job *j, gy_claim *out) GY_MUST_CHECK;

#endif
