/* artifactgen.h: what the files of ArtifactGen share; of no use outside them. artifactgen.c is the paper,
 * artifactgen_data.c what it trains on, artifactgen_draw.c how windows are drawn, artifactgen_judge.c how measured,
 * artifactgen_claim.c what is claimed and shown. */
#ifndef GY_ELECTROPHYSIOLOGY_ARTIFACTGEN_H
#define GY_ELECTROPHYSIOLOGY_ARTIFACTGEN_H

#include "../../core/gyrus.h"
#include "../blocks/sampler.h"
#include "../blocks/unet.h"

enum { MAX_CLASSES = 16, CRITIC_STEPS = 5 };

typedef struct config {
    char part[64]; /* of the inference graph: "diffusion", "generator", "critic"; empty: all three */
    int64_t channels, length, gan_length, classes;
    double rate;           /* Hz */
    int64_t width, blocks; /* U-Net: channels of the first level, residual blocks a level */
    int64_t gan_width, latent;
    double range; /* the generator gives range tanh; 0: windows scaled to [-1, 1] each */
    int64_t batch, steps;
    double lr, gan_lr, drop, ema, penalty, guidance;
    int64_t sampling, windows, tests, samples;
    double clip;
} config;

/* Windows of one set, each channel standardised by the training set: x [n, length, channels]. */
typedef struct windows {
    int64_t n;
    float *x;
    int64_t *label; /* [n], 0 .. classes - 1 */
} windows;

/* Where windows come from: the U-Net's moving average, with guidance w; the same through
 * the sampler of the published code; the generator (gan_length samples); noise that is white in time with the channels'
 * mean and covariance of each class. */
typedef enum source { BY_DIFFUSION, BY_RELEASED_SAMPLER, BY_GENERATOR, BY_NOISE, SOURCES } source;

enum { BANDS = 5 }; /* delta 0.5 to 4 Hz, theta to 8, alpha to 13, beta to 30, gamma to 50 */
extern const char *const gy_artifactgen_bands[BANDS];
/* What a set of windows is worth against the real test windows. */
typedef struct verdict {
    double recovery;           /* share whose class a network trained on real windows finds */
    double band, bands[BANDS]; /* mean over classes of |P - P_real| / P_real, a band each; their mean */
    double mmd;        /* squared maximum mean discrepancy, radial kernel of the median distance, in its features */
    double covariance; /* of the channels: mean over classes of |C - C_real| / |C_real|, Frobenius */
    double
        diversity; /* mean distance within a class of that network's features at unit length, real windows' being 1 */
} verdict;
typedef struct judge judge;

typedef struct lab {
    windows train, test;
    int64_t classes;                /* in use, at most the configuration's */
    char name[MAX_CLASSES][32];     /* of the classes */
    double mean[64], deviation[64]; /* of the channels, before standardising */
    judge *judge[2];                /* of the U-Net's windows, of the GAN's; made when first asked for */
    verdict found[SOURCES];         /* by the last evaluation, for the report */
    double ceiling;
} lab;

/* ---- artifactgen.c ---- */

void gy_artifactgen_noise(gy_noise *out); /* the schedule of training: linear, 1000 timesteps */
gy_t gy_artifactgen_critic(gy_mod *m, const config *c, gy_t x, gy_t label);
gy_t gy_artifactgen_generator(gy_mod *m, const config *c, gy_t z, gy_t label);
gy_t gy_artifactgen_unet(gy_mod *m, const config *c, gy_t x, gy_t t, gy_t label);
/* mean over the batch of (||grad_x D(x, y)|| - 1)^2 */
gy_t gy_artifactgen_penalty(gy_mod *m, const config *c, gy_t x, gy_t label);

/* ---- artifactgen_data.c ---- */

enum { MAX_CHANNELS = 64 };
gy_status gy_artifactgen_open(gy_job *j) GY_MUST_CHECK;
void gy_artifactgen_close(gy_job *j);
gy_status gy_artifactgen_batch(gy_job *j, gy_plan *p, int64_t phase, int64_t step) GY_MUST_CHECK;
/* x [n] from its least and largest value to [-1, 1]. */
void gy_artifactgen_min_max(float *x, int64_t n);

/* ---- artifactgen_draw.c ---- */

/* x [n, length, channels] for the labels [n]; the generator's are [n, gan_length, channels]. */
gy_status gy_artifactgen_draw(gy_job *j, source by, double w, int64_t n, const int64_t *label, uint64_t seed,
                              float *x) GY_MUST_CHECK;
/* Mean [ch] and covariance [ch, ch] of the channels over the windows of a class; x [n, length, ch]. */
void gy_artifactgen_moments(const config *c, int64_t length, int64_t n, const float *x, const int64_t *label,
                            int64_t class, double *mean, double *cov);

/* ---- artifactgen_judge.c ---- */

/* x [n, length, channels] made for the labels [n]; gan: they have the form of the GAN's windows. */
gy_status gy_artifactgen_judge(gy_job *j, bool gan, int64_t n, const float *x, const int64_t *label,
                               verdict *out) GY_MUST_CHECK;
/* Share of the real test windows whose class is found. */
gy_status gy_artifactgen_ceiling(gy_job *j, double *share) GY_MUST_CHECK;
void gy_artifactgen_judge_free(gy_ctx *ctx, judge *judge);

/* ---- artifactgen_claim.c ---- */

gy_status gy_artifactgen_evaluate(gy_job *j, gy_metrics *out) GY_MUST_CHECK;
gy_status gy_artifactgen_claim(gy_job *j, gy_claim *out) GY_MUST_CHECK;
gy_status gy_artifactgen_panels(gy_job *j, void *report) GY_MUST_CHECK;
gy_status gy_artifactgen_sample(gy_job *j, int64_t n, gy_tensor *out) GY_MUST_CHECK;

#endif
