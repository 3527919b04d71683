/* braindive.h: what the files of BrainDiVE share; of no use outside them. braindive.c is the paper, braindive_data.c
 * its generated brain and what it trains on, braindive_claim.c the guided drawing, what is measured, claimed and shown.
 */
#ifndef GY_DECODING_BRAINDIVE_H
#define GY_DECODING_BRAINDIVE_H

#include "../../core/gyrus.h"
#include "../blocks/tinysd.h"

enum { ROIS = 3, MAX_VOXELS = 1 << 20 };

typedef struct config {
    char part[64];      /* of the inference graph: "encoder", "guidance"; empty: both */
    char generator[64]; /* file of the frozen generator's weights; empty: none */
    int64_t full;       /* 1: Stable Diffusion 2.1 and CLIP B/16, 0: tinySD and three convolutions */
    int64_t image, features, voxels, batch, steps, head_steps, images, tests, shift;
    double lr, head_lr, weight_decay, pixel_noise, gamma, sag;
    int64_t sampling, samples;
} config;

/* What guided drawing found. */
typedef struct drawn {
    double concept[ROIS];    /* share of pictures that hold each region's concept */
    double activation[ROIS]; /* mean predicted response of each region */
    double objects;          /* drawn in a picture */
    double ratio;            /* mean over steps of |change of eps| / |eps| */
} drawn;

typedef struct lab {
    gy_world world;
    gy_stimuli train, test;
    float *weight;            /* [voxels, 64]: r = (w . e - mean) / deviation */
    float *mean, *deviation;  /* [voxels] over the training images */
    float *response;          /* [images, voxels], noisy */
    double r[ROIS];           /* found: correlation of predicted and noiseless responses */
    drawn free, guided[ROIS]; /* found: without guidance, guided to each region */
} lab;

/* ---- braindive.c ---- */

/* Scene features in [-1, 1], [B, image, image, 3] -> unit vectors [B, features]. */
gy_t gy_braindive_features(gy_mod *m, const config *c, gy_t image);
extern const char *const gy_braindive_rois[ROIS];

/* ---- braindive_data.c ---- */

int64_t gy_braindive_roi_of(const config *c, int64_t voxel); /* voxels lie in equal runs, a region each */
gy_status gy_braindive_open(gy_job *j) GY_MUST_CHECK;
void gy_braindive_close(gy_job *j);
gy_status gy_braindive_batch(gy_job *j, gy_plan *p, int64_t phase, int64_t step) GY_MUST_CHECK;
/* Whether a picture's scene has what region `roi` prefers: something blue; a cross; a red ring. label: the oracle's. */
bool gy_braindive_holds(int roi, const int label[4]);
/* Noiseless response of a voxel to the meaning e [64]. */
double gy_braindive_response(const lab *d, int64_t voxel, const float *e);

/* ---- braindive_claim.c ---- */

/* x [n, 16, 16, 3]: noise in, pictures out, gamma times the response of `roi` pulling. Into `ratio`, unless NULL, the
 * mean over steps of |change of eps| / |eps|. */
gy_status gy_braindive_guide(gy_job *j, int64_t n, int roi, double gamma, double *x, double *ratio) GY_MUST_CHECK;
/* n pictures [n, 16, 16, 3] from the same noise for every (roi, gamma); `found` may be NULL. */
gy_status gy_braindive_draw(gy_job *j, int64_t n, int roi, double gamma, uint64_t seed, float *images,
                            drawn *found) GY_MUST_CHECK;
gy_status gy_braindive_evaluate(gy_job *j, gy_metrics *out) GY_MUST_CHECK;
gy_status gy_braindive_claim(gy_job *j, gy_claim *out) GY_MUST_CHECK;
gy_status gy_braindive_panels(gy_job *j, void *report) GY_MUST_CHECK;
gy_status gy_braindive_sample(gy_job *j, int64_t n, gy_tensor *out) GY_MUST_CHECK;

#endif
