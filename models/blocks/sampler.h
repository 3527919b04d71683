/* sampler.h: noise schedules, what a network may predict, and the samplers that turn noise into data. The loops run on
 * the host in double precision and ask a callback for each prediction: a compiled plan (gy_denoise_plan), or an exact
 * formula (gy_denoise_exact), which makes them testable to their order of convergence.
 *
 * One notation for all: x_t = alpha x0 + sigma eps, eps ~ N(0, I). Variance preserving schedules (DDPM, Stable
 * Diffusion): alpha = sqrt(abar), sigma = sqrt(1 - abar). Rectified flow: alpha = 1 - s, sigma = s.
 *
 * Ho et al. 2020, arXiv:2006.11239 (DDPM); Song et al. 2021, arXiv:2010.02502 (DDIM); Liu et al. 2022, arXiv:2202.09778
 * (PNDM); Lu et al. 2022, arXiv:2211.01095 (DPM-Solver++); Zhao et al. 2023, arXiv:2302.04867 (UniPC); Liu et al. 2023,
 * arXiv:2209.03003 (rectified flow). */
#ifndef GY_BLOCKS_SAMPLER_H
#define GY_BLOCKS_SAMPLER_H

#include "../../core/module.h"
#include "../../core/plan.h"

/* ---- schedules ---- */

enum { GY_NOISE_MAX = 4096 };
typedef enum gy_noise_kind {
    GY_NOISE_SCALED_LINEAR = 1, /* beta_t = linspace(sqrt b0, sqrt b1)^2: Stable Diffusion, .00085 to .012 */
    GY_NOISE_LINEAR,            /* beta_t = linspace(b0, b1): DDPM, 1e-4 to 0.02 */
    GY_NOISE_COSINE,            /* abar = cos^2(((t/T + .008) / 1.008) pi/2), beta at most .999 (arXiv:2102.09672) */
    GY_NOISE_STRAIGHT           /* rectified flow: s = t / n, then shifted: b0 s / (1 + (b0 - 1) s); b0 0: 1 */
} gy_noise_kind;
typedef struct gy_noise {
    gy_noise_kind kind;
    int64_t n;                 /* timesteps: 0 .. n-1; straight: 1 .. n */
    double shift;              /* straight */
    double abar[GY_NOISE_MAX]; /* cumulative products of 1 - beta */
} gy_noise;
/* n in [1, GY_NOISE_MAX]; b0 = b1 = 0: the kind's usual values. */
void gy_noise_init(gy_noise *s, gy_noise_kind kind, int64_t n, double b0, double b1);
double gy_noise_alpha(const gy_noise *s, double t); /* t is rounded to a timestep, except on the straight path */
double gy_noise_sigma(const gy_noise *s, double t);

/* ---- what a network predicts ---- */

typedef enum gy_prediction {
    GY_PREDICT_EPS = 1,
    GY_PREDICT_X0,
    GY_PREDICT_V,   /* alpha eps - sigma x0 (Salimans & Ho 2022, arXiv:2202.00512) */
    GY_PREDICT_FLOW /* eps - x0 */
} gy_prediction;
/* x0 and eps from the network's output o at x = alpha x0 + sigma eps. */
void gy_predicted(gy_prediction p, double alpha, double sigma, double x, double o, double *x0, double *eps);

/* ---- training: the noised batch, as graph nodes ---- */

typedef struct gy_noised {
    gy_t x;            /* alpha x0 + sigma eps, x0's shape */
    gy_t t;            /* [B], x0's dtype: uniform over the timesteps */
    gy_t target;       /* what the network should predict */
    gy_t eps;          /* the noise drawn */
    gy_t alpha, sigma; /* [B, 1, ...] */
} gy_noised;
/* x0 [B, ...]; draws "t" and "eps" in the module's scope. The loss is gy_mse(network(x, t), target). */
gy_noised gy_noise_batch(gy_mod *m, const gy_noise *s, gy_t x0, gy_prediction p);

/* ---- sampling ---- */

/* Where a prediction is asked for. */
typedef struct gy_denoise_at {
    int64_t index; /* of the evaluation, from 0 */
    double t, alpha, sigma;
} gy_denoise_at;
/* Fills out [n] with the prediction at x [n]. Guidance by energies adds to it here (eps += sigma grad E). */
typedef gy_status (*gy_denoise_fn)(void *user, const gy_denoise_at *at, const double *x, double *out);

typedef enum gy_sampler_kind {
    GY_SAMPLER_DDIM = 1, /* on the straight path: Euler's method; on the others: Euler in x / alpha (k-diffusion's) */
    GY_SAMPLER_DDPM,     /* ancestral */
    GY_SAMPLER_PNDM,     /* linear multistep, without Runge-Kutta warm-up; one evaluation more than steps */
    GY_SAMPLER_DPM,      /* DPM-Solver++(2M), midpoint */
    GY_SAMPLER_UNIPC     /* order 2, B(h) = e^h - 1 */
} gy_sampler_kind;

/* Timesteps, of T, for S steps, each descending; offset is added. */
typedef enum gy_spacing {
    GY_SPACING_LEADING = 1,   /* i floor(T / S) */
    GY_SPACING_LINSPACE,      /* round linspace(0, T - 1, S) */
    GY_SPACING_TRAILING,      /* round(T, T - T/S, ...) - 1 */
    GY_SPACING_LEADING_OPEN,  /* i floor(T / (S + 1)), i = 1 .. S: diffusers' multistep solvers */
    GY_SPACING_LINSPACE_OPEN, /* round linspace(0, T - 1, S + 1) without the 0: likewise */
    GY_SPACING_STRAIGHT       /* linspace(T, T / S, S), not rounded: rectified flow */
} gy_spacing;

typedef struct gy_sampler {
    gy_ctx *ctx;
    const gy_noise *noise;
    gy_sampler_kind kind;
    gy_prediction prediction;
    int64_t steps; /* S */
    gy_spacing spacing;
    int64_t offset;      /* Stable Diffusion: 1 */
    const double *times; /* [steps], descending, instead of `spacing`; NULL: spacing */
    bool end_at_first;   /* end at abar_0 (Stable Diffusion, DDIM and PNDM); else at pure data, abar = 1 */
    double eta;          /* DDIM: 0 deterministic .. 1 */
    double clip;         /* x0 is clamped to [-clip, clip], eps kept; 0: not clamped */
    double strength;     /* img2img: the last floor(strength S) steps only; 0: all of them */
    uint64_t seed;       /* of all noise */
    gy_denoise_fn denoise;
    void *user;
    int64_t n; /* elements of x */
} gy_sampler;

/* The timesteps that will be visited, descending, into t [steps]; returns how many, or -1 with a message. */
int64_t gy_sampler_times(const gy_sampler *s, double *t);
/* x [n] at the first timestep: standard normal noise, or, with `init` [n] (img2img), alpha init + sigma eps. */
gy_status gy_sampler_start(const gy_sampler *s, const double *init, double *x) GY_MUST_CHECK;
/* Takes x [n] from there to data. */
gy_status gy_sampler_run(const gy_sampler *s, double *x) GY_MUST_CHECK;

/* ---- denoisers ---- */

/* A compiled network: plan inputs `x` [B, ...], `t` [B], output `y`; f32 or f64. With guidance w != 1 the plan's batch
 * is twice x's, first half without condition, second half with: e_u + w (e_c - e_u) (Ho & Salimans 2022,
 * arXiv:2207.12598). Feed contexts before. */
typedef struct gy_denoise_plan {
    gy_plan *plan;
    const char *x, *t, *y;
    int64_t n; /* elements of the sampler's x */
    double guidance;
} gy_denoise_plan;
gy_status gy_denoise_by_plan(void *user, const gy_denoise_at *at, const double *x, double *out);

/* The exact eps for a finite set of data points x_k [count, width] with weights: m = sum_k w_k x_k,
 * w = softmax_k(log weight_k - |x - alpha x_k|^2 / (2 (sigma^2 + alpha^2 spread^2))). A perfect network for that set;
 * `spread` > 0 widens the points to Gaussians. */
typedef struct gy_denoise_set {
    int64_t count, width, rows; /* x is [rows, width] */
    const double *points;       /* [count, width] */
    const double *log_weight;   /* [count]; NULL: equal */
    double spread;
    double *scratch; /* [count] */
} gy_denoise_set;
gy_status gy_denoise_exact(void *user, const gy_denoise_at *at, const double *x, double *out);

#endif
