/* ArtifactGen: windows drawn from the trained networks, by the released sampler, or as noise of the right covariance.
 */
#include "artifactgen.h"

#include "../../core/linalg/linalg.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { CHUNK = 50 };

/* The published code's sampler: `steps` of 1000 timesteps under the cosine schedule; the output o, trained as eps, is
 * read as v and turned into noise by (sqrt(abar) o + sqrt(1 - abar) x) / sqrt(1 - abar); the step goes to the timestep
 * just before t, not to the next one visited. */
static gy_status released(gy_denoise_plan *net, int64_t steps, double *x, double *out) {
    gy_noise cosine;
    gy_noise_init(&cosine, GY_NOISE_COSINE, 1000, 0, 0);
    for (int64_t k = steps - 1; k > 0; k--) {
        int64_t t = 999 * k / (steps - 1);
        double a = cosine.abar[t], before = cosine.abar[t - 1];
        gy_denoise_at at = {steps - 1 - k, (double)t, sqrt(a), sqrt(1 - a)};
        gy_status s = gy_denoise_by_plan(net, &at, x, out);
        if (s != GY_OK) return s;
        for (int64_t i = 0; i < net->n; i++) {
            double eps = (sqrt(a) * out[i] + sqrt(1 - a) * x[i]) / sqrt(1 - a);
            x[i] = sqrt(before) * (x[i] - sqrt(1 - a) * eps) / sqrt(a) + sqrt(1 - before) * eps;
        }
    }
    return GY_OK;
}

/* CHUNK windows; the plan holds twice as many rows when guidance mixes two predictions. */
static gy_status diffuse(gy_job *j, gy_plan *plan, bool by_released, double w, const int64_t *label, uint64_t seed,
                         double *x, double *scratch) {
    const config *c = j->cfg;
    bool mixed = w != 0 && w != 1 && !by_released;
    int64_t *row = gy_plan_input(plan, "label"), n = CHUNK * c->length * c->channels;
    for (int64_t i = 0; row && i < CHUNK; i++) {
        row[i] = mixed || w == 0 ? c->classes : label[i];
        if (mixed) row[CHUNK + i] = label[i];
    }
    gy_denoise_plan net = {plan, "window", "timestep", "noise", n, mixed ? w : 1};
    gy_noise noise;
    gy_artifactgen_noise(&noise);
    gy_sampler s = {.ctx = j->ctx,
                    .noise = &noise,
                    .kind = GY_SAMPLER_DDIM,
                    .prediction = GY_PREDICT_EPS,
                    .steps = c->sampling,
                    .spacing = GY_SPACING_TRAILING,
                    .clip = c->clip,
                    .seed = seed,
                    .denoise = gy_denoise_by_plan,
                    .user = &net,
                    .n = n};
    gy_status status = gy_sampler_start(&s, NULL, x);
    if (status == GY_OK) status = by_released ? released(&net, c->sampling, x, scratch) : gy_sampler_run(&s, x);
    return status;
}

static gy_status by_network(gy_job *j, source by, double w, int64_t n, const int64_t *label, uint64_t seed, float *x) {
    config c = *(const config *)j->cfg;
    gy_job view = *j;
    gy_compiled run = {0};
    bool gan = by == BY_GENERATOR;
    int64_t each = (gan ? c.gan_length : c.length) * c.channels, known[CHUNK];
    bool mixed = by == BY_DIFFUSION && w != 0 && w != 1;
    snprintf(c.part, sizeof c.part, gan ? "generator" : "diffusion");
    view.cfg = &c;
    view.store = gy_store_averaged(j->store);
    double *work = gy_calloc(j->ctx, CHUNK * 2, (size_t)each * sizeof *work);
    gy_status s = view.store && work ? gy_job_compile(&view, mixed ? 2 * CHUNK : CHUNK, NULL, 0, &run) : GY_ERR_NOMEM;
    for (int64_t done = 0; s == GY_OK && done < n; done += CHUNK) {
        int64_t here = n - done < CHUNK ? n - done : CHUNK;
        memset(known, 0, sizeof known);
        memcpy(known, label + done, (size_t)here * sizeof *known);
        if (gan) {
            gy_rng r;
            gy_rng_init(&r, seed + (uint64_t)done, "latent");
            float *z = gy_plan_input(run.plan, "latent");
            int64_t *y = gy_plan_input(run.plan, "label");
            for (int64_t i = 0; i < CHUNK * c.latent; i++) z[i] = (float)gy_rng_normal(&r);
            if (y) memcpy(y, known, sizeof known);
            s = gy_plan_run(run.plan);
            if (s == GY_OK)
                memcpy(x + done * each, gy_plan_output(run.plan, "generated").data, (size_t)(here * each) * sizeof *x);
            continue;
        }
        s = diffuse(&view, run.plan, by == BY_RELEASED_SAMPLER, w, known, seed + (uint64_t)done, work,
                    work + CHUNK * each);
        for (int64_t i = 0; i < here * each; i++) x[done * each + i] = (float)work[i];
    }
    gy_compiled_free(&run);
    gy_store_free(view.store);
    gy_free(j->ctx, work);
    return s;
}

void gy_artifactgen_moments(const config *c, int64_t length, int64_t n, const float *x, const int64_t *label,
                            int64_t class, double *mean, double *cov) {
    int64_t ch = c->channels;
    double count = 0;
    memset(mean, 0, (size_t)ch * sizeof *mean);
    memset(cov, 0, (size_t)(ch * ch) * sizeof *cov);
    for (int64_t i = 0; i < n * length; i++) {
        if (label[i / length] != class) continue;
        count++;
        for (int64_t a = 0; a < ch; a++) {
            mean[a] += x[i * ch + a];
            for (int64_t b = 0; b < ch; b++) cov[a * ch + b] += (double)x[i * ch + a] * (double)x[i * ch + b];
        }
    }
    for (int64_t a = 0; count > 0 && a < ch; a++) mean[a] /= count;
    for (int64_t a = 0; count > 0 && a < ch; a++)
        for (int64_t b = 0; b < ch; b++) cov[a * ch + b] = cov[a * ch + b] / count - mean[a] * mean[b];
}

static gy_status by_noise(gy_job *j, int64_t n, const int64_t *label, uint64_t seed, float *x) {
    const config *c = j->cfg;
    const lab *d = j->data;
    int64_t ch = c->channels;
    double mean[MAX_CHANNELS], cov[MAX_CHANNELS * MAX_CHANNELS], e[MAX_CHANNELS];
    gy_rng r;
    gy_rng_init(&r, seed, "noise");
    for (int64_t k = 0; k < d->classes; k++) {
        gy_artifactgen_moments(c, c->length, d->train.n, d->train.x, d->train.label, k, mean, cov);
        for (int64_t a = 0; a < ch; a++) cov[a * ch + a] += 1e-9;
        gy_status s = gy_la_cholesky(j->ctx, ch, cov, ch);
        if (s != GY_OK) return s;
        for (int64_t i = 0; i < n * c->length; i++) {
            if (label[i / c->length] != k) continue;
            for (int64_t a = 0; a < ch; a++) e[a] = gy_rng_normal(&r);
            for (int64_t a = 0; a < ch; a++) {
                double v = mean[a];
                for (int64_t b = 0; b <= a; b++) v += cov[a * ch + b] * e[b];
                x[i * ch + a] = (float)v;
            }
        }
    }
    return GY_OK;
}

gy_status gy_artifactgen_draw(gy_job *j, source by, double w, int64_t n, const int64_t *label, uint64_t seed,
                              float *x) {
    return by == BY_NOISE ? by_noise(j, n, label, seed, x) : by_network(j, by, w, n, label, seed, x);
}
