/* synthbrain.h: a generated visual world with known ground truth: pictures of coloured shapes, what they mean, and the
 * fMRI responses of any number of subjects who look at them. Every number is a function of seeds, so that the truth
 * (which object is where, the noiseless response of a voxel) can be asked for. Models of the decoding family share it.
 *
 *     gy_world w;
 *     gy_stimuli train;
 *     gy_synthbrain s;
 *     gy_world_init(&w, 0);
 *     gy_stimuli_new(ctx, &w, 600, seed, "train", 0.5, NULL, &train);
 *     gy_synthbrain_new(ctx, &w, 0, (gy_voxels){.low = 100, .high = 200, .noise = 90}, &train, &s);
 *     gy_rng_init(&r, seed, "noise");
 *     gy_synthbrain_trial(&s, &train, i, 1, &r, y);     y [390]: what the scanner sees
 *     gy_synthbrain_signal(&s, &train, i, y);           the same without noise
 *
 * No function here writes anything but its outputs. */
#ifndef GY_DATA_SYNTHBRAIN_H
#define GY_DATA_SYNTHBRAIN_H

#include "../core/base.h"
#include "../core/rng.h"

enum {
    GY_SHAPES16 = 16,                                       /* a picture is [16, 16, 3] */
    GY_SHAPES16_SIZE = 16 * 16 * 3,                         /* its elements */
    GY_WORLD_LAYOUT = 4 * 4 * 3,                            /* the layout code: colours on a grid of 4 x 4 */
    GY_WORLD_SEMANTIC = 64,                                 /* the semantic embedding */
    GY_WORLD_FACTORS = 34,                                  /* what the embedding is a projection of */
    GY_WORLD_PROTOTYPES = 8,                                /* response profiles that all subjects share */
    GY_WORLD_FEATURES = GY_WORLD_LAYOUT + GY_WORLD_SEMANTIC /* what a voxel weighs */
};

/* ---- shapes16: the pictures ---- */

enum { GY_SQUARE = 0, GY_RING, GY_CROSS };                               /* shapes */
enum { GY_RED = 0, GY_GREEN, GY_BLUE, GY_YELLOW };                       /* colours */
enum { GY_TOP_LEFT = 0, GY_TOP_RIGHT, GY_BOTTOM_LEFT, GY_BOTTOM_RIGHT }; /* quadrants, of 8 x 8 pixels */

typedef struct gy_object {
    int shape, colour, quadrant;
} gy_object;
/* One or two objects of different colour in different quadrants on a grey background in [0.3, 0.5]. */
typedef struct gy_scene {
    int n;
    gy_object object[2];
    double background;
} gy_scene;

/* A scene, with a second object with probability `two`. */
gy_scene gy_scene_draw(gy_rng *r, double two);
/* image [16, 16, 3] in about [-1, 1], with pixel noise of standard deviation 0.02 (of the range 0..1) from `r`; NULL:
 * none. */
void gy_scene_image(const gy_scene *s, gy_rng *r, float image[GY_SHAPES16_SIZE]);
/* The judge of generated pictures: for each quadrant the least-squares template among empty and the twelve objects;
 * label 4 shape + colour, or -1 for empty. Right in every quadrant of every gy_scene_image. */
void gy_scene_oracle(const float image[GY_SHAPES16_SIZE], int label[4]);
/* Means over 4 x 4 pixels: layout [4, 4, 3]. */
void gy_scene_layout(const float image[GY_SHAPES16_SIZE], float layout[GY_WORLD_LAYOUT]);

/* ---- the world: what scenes mean ---- */

typedef struct gy_world {
    uint64_t number;
    float embedding[GY_WORLD_SEMANTIC * GY_WORLD_FACTORS];    /* [64, 34], N(0, 1) / sqrt 34 */
    float gap[GY_WORLD_SEMANTIC];                             /* what text has and images lack; norm 0.5 */
    float prototype[GY_WORLD_PROTOTYPES * GY_WORLD_SEMANTIC]; /* [8, 64], N(0, 1) */
} gy_world;

/* World 0, 1, ...: other numbers have other embeddings, other gaps and other brains. */
void gy_world_init(gy_world *w, uint64_t number);
/* e [64]: embedding times [shapes (3), colours (4), objects 4 shape + colour (12), quadrants / 2 (4), zeros (11)], at
 * unit length. */
void gy_world_semantic(const gy_world *w, const gy_scene *s, float e[GY_WORLD_SEMANTIC]);
/* Stand-ins for CLIP's two towers [64]: e + 0.05 N(0, 1) an element, at unit length; text is shifted by the gap. */
void gy_world_clip_image(const gy_world *w, const float *e, gy_rng *r, float out[GY_WORLD_SEMANTIC]);
void gy_world_clip_text(const gy_world *w, const float *e, gy_rng *r, float out[GY_WORLD_SEMANTIC]);

/* ---- stimuli: a set of scenes with all that is known about them ---- */

typedef struct gy_stimuli {
    gy_ctx *ctx;
    int64_t n;
    gy_scene *scene;                    /* [n] */
    float *image;                       /* [n, 16, 16, 3] */
    float *layout;                      /* [n, 48], minus layout_mean */
    float *semantic;                    /* [n, 64] */
    float *clip_image, *clip_text;      /* [n, 64] */
    float layout_mean[GY_WORLD_LAYOUT]; /* of this set, or of the training set that it was given */
} gy_stimuli;

/* n >= 1 scenes from the stream (seed, name): the same in every run, whatever else is drawn. `train` (NULL: this set
 * itself) gives the mean layout to subtract. Free with gy_stimuli_free. */
gy_status gy_stimuli_new(gy_ctx *ctx, const gy_world *w, int64_t n, uint64_t seed, const char *name, double two,
                         const gy_stimuli *train, gy_stimuli *out) GY_MUST_CHECK;
void gy_stimuli_free(gy_stimuli *s);

/* ---- synthbrain: subjects ---- */

/* How many voxels of each kind: `low` have a receptive field (Gaussian on the 4 x 4 grid, centre uniform, sigma 0.5 to
 * 1 cells) and a preferred colour; `high` weigh the semantic embedding by a shared prototype plus 0.3 N; `noise` answer
 * nothing. */
typedef struct gy_voxels {
    int64_t low, high, noise;
} gy_voxels;

/* y = sqrt(rho) r + sqrt(1 - rho) n: r the response at mean 0 and variance 1 over the training stimuli, n ~ N(0, 1) a
 * trial, rho ~ U(0.1, 0.5) a voxel (0 in noise voxels): the correlation of y with r is sqrt(rho), the best that any
 * model can reach on single trials. */
typedef struct gy_synthbrain {
    gy_ctx *ctx;
    int64_t n;     /* voxels, in an order of the subject's own */
    char *kind;    /* [n]: 'l', 'h' or 'n' */
    float *weight; /* [n, 112] of the layout and semantic codes, standardised */
    float *offset; /* [n] */
    float *rho;    /* [n] */
} gy_synthbrain;

/* Subject k of the world. Free with gy_synthbrain_free. */
gy_status gy_synthbrain_new(gy_ctx *ctx, const gy_world *w, uint64_t k, gy_voxels count, const gy_stimuli *train,
                            gy_synthbrain *out) GY_MUST_CHECK;
void gy_synthbrain_free(gy_synthbrain *s);
/* y [n] = sqrt(rho) r: the response to stimulus i without noise. */
void gy_synthbrain_signal(const gy_synthbrain *s, const gy_stimuli *stimuli, int64_t i, float *y);
/* y [n]: the mean of `repeats` noisy trials. */
void gy_synthbrain_trial(const gy_synthbrain *s, const gy_stimuli *stimuli, int64_t i, int64_t repeats, gy_rng *r,
                         float *y);

#endif
