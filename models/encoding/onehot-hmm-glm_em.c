/* One-hot HMM-GLM, second part: EM. E steps run forward-backward on the host and leave posteriors in the store; M steps
 * are the training graph of onehot-hmm-glm.c; between the phases, the best of the free models hands over. */
#include "onehot-hmm-glm.h"
#include "../../core/linalg/linalg.h"

#include <math.h>
#include <string.h>

void gy_ohg_feed(const series *d, gy_plan *p, int64_t first, int64_t n) {
    float *x = gy_plan_input(p, "counts"), *u = gy_plan_input(p, "covariates");
    int64_t each = d->length * d->outputs, wide = d->length * d->covariates;
    memcpy(x, d->count + first * each, (size_t)(n * each) * sizeof *x);
    if (u) memcpy(u, d->covariate + first * wide, (size_t)(n * wide) * sizeof *u);
}

/* Eq. (5) for sequences first .. first + n - 1: fills the phase's buffers gamma, pairs and log_transition. */
static gy_status e_step(gy_job *j, int64_t phase, int64_t first, int64_t n) {
    lab *d = j->data;
    const config *c = j->cfg;
    int64_t s = c->states, rs = phase ? 1 : c->restarts, room = d->data.length;
    gy_compiled *em = &d->emission[phase];
    gy_status e = em->plan ? GY_OK : gy_ohg_compile(j, phase, MEAN, n, em);
    if (e != GY_OK) return e;
    gy_ohg_feed(&d->data, em->plan, first, n);
    if ((e = gy_plan_run(em->plan)) != GY_OK) return e;
    const float *l = gy_plan_output(em->plan, "log_emission").data;
    float *gamma = gy_ohg_state(j, phase, "gamma")->value.data, *pairs = gy_ohg_state(j, phase, "pairs")->value.data,
          *a = gy_ohg_state(j, phase, "log_transition")->value.data;
    double *work = gy_calloc(j->ctx, (size_t)(2 * room + 2 * s + 1), (size_t)s * sizeof *work);
    if (!work) return GY_ERR_NOMEM;
    double *g = work + room * s, *log_a = g + room * s, *xi = log_a + s * s, *start = xi + s * s;
    for (int64_t r = 0; e == GY_OK && r < rs; r++) {
        for (int64_t i = 0; i < s * s; i++) log_a[i] = a[r * s * s + i];
        for (int64_t i = 0; i < s; i++) start[i] = -log((double)s);
        gy_hmm h = {s, start, log_a};
        for (int64_t q = 0; e == GY_OK && q < n; q++) {
            int64_t t = d->data.steps[first + q];
            const float *lq = l + (q * room * rs + r) * s;
            for (int64_t i = 0; i < t * s; i++) work[i] = lq[i / s * rs * s + i % s];
            e = gy_la_hmm_posterior(j->ctx, &h, t, work, g, xi, NULL, NULL);
            float *gq = gamma + (q * room * rs + r) * s, *pq = pairs + ((first + q) * rs + r) * s * s;
            for (int64_t i = 0; i < room * s; i++) gq[i / s * rs * s + i % s] = i < t * s ? (float)g[i] : 0;
            for (int64_t i = 0; i < s * s; i++) pq[i] = (float)xi[i];
        }
        for (int64_t i = 0; e == GY_OK && i < s; i++) { /* A over all sequences seen so far; e^-8 at least */
            double row = 0;
            memset(xi, 0, (size_t)s * sizeof *xi);
            for (int64_t q = 0; q < d->data.train; q++)
                for (int64_t k = 0; k < s; k++) xi[k] += pairs[((q * rs + r) * s + i) * s + k];
            for (int64_t k = 0; k < s; k++) row += xi[k];
            for (int64_t k = 0; row > 0 && k < s; k++) a[(r * s + i) * s + k] = (float)fmax(log(xi[k] / row), -8);
        }
    }
    gy_free(j->ctx, work);
    return e;
}

/* log p of all training sequences under restart r of phase 0; total [restarts]. */
static gy_status start_likelihoods(gy_job *j, double *total) {
    lab *d = j->data;
    int64_t s = ((const config *)j->cfg)->states, rs = ((const config *)j->cfg)->restarts, room = d->data.length;
    gy_compiled em;
    double *work = gy_calloc(j->ctx, (size_t)(room + s + 1), (size_t)s * sizeof *work);
    gy_status e = work ? gy_ohg_compile(j, 0, MEAN, 1, &em) : GY_ERR_NOMEM;
    if (e != GY_OK) {
        gy_free(j->ctx, work);
        return e;
    }
    double *log_a = work + room * s, *start = log_a + s * s;
    const float *a = gy_ohg_state(j, 0, "log_transition")->value.data;
    gy_hmm h = {s, start, log_a};
    for (int64_t i = 0; i < s; i++) start[i] = -log((double)s);
    for (int64_t r = 0; r < rs; r++) total[r] = 0;
    for (int64_t q = 0; e == GY_OK && q < d->data.train; q++) {
        gy_ohg_feed(&d->data, em.plan, q, 1);
        e = gy_plan_run(em.plan);
        const float *l = gy_plan_output(em.plan, "log_emission").data;
        for (int64_t r = 0; e == GY_OK && r < rs; r++) {
            double one;
            int64_t t = d->data.steps[q];
            for (int64_t i = 0; i < s * s; i++) log_a[i] = a[r * s * s + i];
            for (int64_t i = 0; i < t * s; i++) work[i] = l[(i / s * rs + r) * s + i % s];
            e = gy_la_hmm_posterior(j->ctx, &h, t, work, NULL, NULL, NULL, &one);
            total[r] += one;
        }
    }
    gy_compiled_free(&em);
    gy_free(j->ctx, work);
    return e;
}

/* Copies restart r of a state of phase 0 into phase 1's of the same name. */
static void carry(gy_job *j, const char *name, int64_t r) {
    gy_state *from = gy_ohg_state(j, 0, name), *to = gy_ohg_state(j, 1, name);
    size_t bytes = gy_tensor_bytes(&to->value);
    memcpy(to->value.data, (const char *)from->value.data + (size_t)r * bytes, bytes);
    gy_state_touch(to);
}

/* Phase 1 takes over from the best restart of phase 0. */
static gy_status warm_start(gy_job *j) {
    const config *c = j->cfg;
    double total[64];
    int64_t best = 0;
    gy_status e = start_likelihoods(j, total);
    if (e != GY_OK) return e;
    for (int64_t r = 1; r < c->restarts; r++)
        if (total[r] > total[best]) best = r;
    carry(j, "bias", best);
    carry(j, "log_transition", best);
    if (!is(c->model, "ohg")) {
        carry(j, "weight", best);
        return GY_OK;
    }
    gy_state *eta = gy_ohg_state(j, 1, "eta");
    float *theta = gy_ohg_state(j, 1, "theta")->value.data, *strength = eta->value.data,
          *theta0 = gy_ohg_state(j, 1, "theta0")->value.data;
    int64_t edges = gy_shape_count(eta->value.shape), pairs = edges / c->states;
    const float *w = (const float *)gy_ohg_state(j, 0, "weight")->value.data + best * edges;
    bool cold = gy_ablates(j->ablate, "cold");
    memset(theta0, 0, (size_t)(pairs * CLASSES) * sizeof *theta0);
    for (int64_t i = 0; i < edges; i++) {
        double v = cold ? 0 : (double)w[i];
        double logit[CLASSES] = {4 * fmax(-v, 0), 2, 4 * fmax(v, 0)}, sum = 0;
        strength[i] = (float)log(expm1(fabs(v) + 0.4)); /* softplus of it is |w| + 0.4 */
        for (int k = 0; k < CLASSES; k++) sum += exp(logit[k]);
        for (int k = 0; k < CLASSES; k++) {
            theta[i * CLASSES + k] = (float)logit[k];
            theta0[i % pairs * CLASSES + k] += (float)(exp(logit[k]) / sum / (double)c->states);
        }
    }
    for (int64_t i = 0; i < pairs * CLASSES; i++) theta0[i] = logf(theta0[i]); /* pi starts as the states' mean class */
    gy_state_touch(eta);
    gy_state_touch(gy_ohg_state(j, 1, "theta"));
    gy_state_touch(gy_ohg_state(j, 1, "theta0"));
    return GY_OK;
}

/* The M step's inputs; at the beginning of a block of e_every steps, the E step before it. A block's sequences
 * follow from the step; everything that E steps leave behind is in the store. */
gy_status gy_ohg_batch(gy_job *j, gy_plan *p, int64_t phase, int64_t step) {
    const config *c = j->cfg;
    const series *d = &((lab *)j->data)->data;
    int64_t k = step - (phase ? c->warm_steps : 0), block = k / c->e_every, n = j->batch;
    int64_t first = block * n % (d->train / n * n);
    gy_status e = GY_OK;
    if (phase && k == 0) e = warm_start(j);
    if (e == GY_OK && k % c->e_every == 0) e = e_step(j, phase, first, n);
    if (e == GY_OK) gy_ohg_feed(d, p, first, n);
    return e;
}
