/* medforj.h: what the files of the MRI diffusion paper share; of no use outside them. medforj.c is the paper,
 * medforj_data.c what it trains on, medforj_claim.c sampling, what is measured, claimed and shown. */
#ifndef GY_IMAGING_MEDFORJ_H
#define GY_IMAGING_MEDFORJ_H

#include "../../core/gyrus.h"
#include "../blocks/sampler.h"
#include "../blocks/unet.h"

typedef struct config {
    char prediction[64]; /* "epsilon", "sample", "velocity", "flow" */
    int64_t depth, height, width;
    int64_t base, levels, blocks, groups, head_width;
    int64_t batch, steps, volumes, stride;
    double lr, ema, flip, affine, degrees, shift;
    int64_t sampling, samples;
} config;

enum { TISSUES = 2 }; /* inner: voxels above 0.5; head: above -0.5 */

/* Volumes of the tissues, in voxels, of a set of pictures. */
typedef struct sizes {
    int64_t n;
    double *of[TISSUES]; /* [n] each */
} sizes;

typedef struct lab {
    int64_t n_real;       /* NIfTI volumes; 0: generated phantoms */
    gy_tensor *real;      /* [z, y, x] f32 in [-1, 1] */
    sizes held_out, made; /* found by evaluation */
    double error[TISSUES], ks[TISSUES];
} lab;

/* ---- medforj.c ---- */

gy_prediction gy_medforj_prediction(const config *c);
void gy_medforj_noise(gy_noise *out); /* linear, 1000 timesteps */
int64_t gy_medforj_voxels(const config *c);

/* ---- medforj_data.c ---- */

gy_status gy_medforj_open(gy_job *j) GY_MUST_CHECK;
void gy_medforj_close(gy_job *j);
/* Picture `index` of the training or the held-out set, [depth, height, width] in [-1, 1]. */
void gy_medforj_volume(const gy_job *j, bool held_out, int64_t index, float *out);
gy_status gy_medforj_batch(gy_job *j, gy_plan *p, int64_t phase, int64_t step) GY_MUST_CHECK;

/* ---- medforj_claim.c ---- */

/* n volumes [n, depth, height, width] in [-1, 1] by the moving average. */
gy_status gy_medforj_draw(gy_job *j, int64_t n, uint64_t seed, float *out) GY_MUST_CHECK;
gy_status gy_medforj_evaluate(gy_job *j, gy_metrics *out) GY_MUST_CHECK;
gy_status gy_medforj_claim(gy_job *j, gy_claim *out) GY_MUST_CHECK;
gy_status gy_medforj_panels(gy_job *j, void *report) GY_MUST_CHECK;
gy_status gy_medforj_sample(gy_job *j, int64_t n, gy_tensor *out) GY_MUST_CHECK;
gy_status gy_medforj_artefacts(gy_job *j, const char *dir) GY_MUST_CHECK;
/* Largest distance of two cumulative distributions (Kolmogorov, Smirnov); sorts both. */
double gy_medforj_ks(double *a, int64_t n, double *b, int64_t m);

#endif
