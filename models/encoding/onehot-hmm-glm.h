/* onehot-hmm-glm.h: what the files of the one-hot HMM-GLM share; of no use outside them. onehot-hmm-glm.c is the
 * paper, onehot-hmm-glm_config.c its configurations, onehot-hmm-glm_data.c what it is trained on, onehot-hmm-glm_em.c
 * how, onehot-hmm-glm_claim.c what is measured and claimed, onehot-hmm-glm_report.c the charts. */
#ifndef GY_ENCODING_ONEHOT_HMM_GLM_H
#define GY_ENCODING_ONEHOT_HMM_GLM_H

#include "../../core/gyrus.h"
#include "../../core/model.h"

#include <string.h>

enum { INHIBITORY = 0, NONE = 1, EXCITATORY = 2, CLASSES = 3, MAX_STATES = 16, MAX_COUNT = 255 };

typedef struct config {
    char model[64], family[64], prior[64];     /* hg, ghg, ohg; sigmoid, softplus, bernoulli; categorical, concrete */
    char response[64], inputs[64], group[64];  /* columns of a table of trials; empty: a table of spike counts */
    int64_t states, outputs, covariates, lags; /* covariates 0: the outputs' own past */
    int64_t restarts, warm_steps, steps, e_every, batch;
    int64_t train, test, length; /* sequences, and bins of each */
    int64_t state_bias;
    double lr, tau, sd, prior_weight, train_share;
} config;

/* Of the words in a configuration. */
static inline bool is(const char *a, const char *b) {
    return strcmp(a, b) == 0;
}

/* Sequences of equal room; what lies beyond a sequence's own length is zero. */
typedef struct series {
    int64_t n, train, length, outputs, covariates; /* the first `train` sequences are trained on */
    int64_t *steps;                                /* [n] */
    float *count;                                  /* [n, length, outputs]; 0 or 1 for bernoulli */
    float *covariate;                              /* [n, length, covariates]; NULL: the past of the counts */
    int64_t *state;                                /* [n, length] truth; NULL: unknown */
    const char *input_name[64];                    /* of the covariates, NULL where there is none */
} series;

/* The generator's own parameters; all NULL for data from a file. */
typedef struct truth {
    double *weight; /* [S, N, M] */
    double *bias;   /* [N] */
    double *prior;  /* [N, M, 3] */
    double *logit;  /* [n, length, S, N] w h + b of every bin */
} truth;

/* What evaluation found, for the report. */
typedef struct findings {
    bool done;
    double log_likelihood, free, oracle, single, accuracy, state_accuracy, f1, f1_free;
    int64_t match[MAX_STATES]; /* the true state of each inferred one */
    double *weight;            /* [S, N, M] as inferred */
    double *gamma;             /* [length, S] of the first held-out sequence */
} findings;

typedef struct lab {
    series data;
    truth true_;
    findings found;
    gy_compiled emission[2]; /* log emissions of a batch under the parameters of each phase */
    char names[1024];
} lab;

/* ---- onehot-hmm-glm.c ---- */

/* Whether the history holds the bin that is to be explained (an ablation). */
bool gy_ohg_leaks(const char *ablate);
/* The kernel of the history: phi[k], k = 1 .. lags, at index k - 1. */
void gy_ohg_kernel(const config *c, double *phi);
/* How weights enter the emissions: a Gumbel-softmax sample, softmax, or one-hot of the likeliest class. */
typedef enum weights_as { SAMPLED, MEAN, HARD } weights_as;
/* A graph with output "log_emission" [B, T, R, S] (and "weight" [R, S, N, M]) of phase 0 or 1. */
gy_status gy_ohg_compile(gy_job *j, int64_t phase, weights_as how, int64_t batch, gy_compiled *out) GY_MUST_CHECK;
/* Names of the states of a phase: "start" or "glm". */
const char *gy_ohg_scope(int64_t phase);
gy_state *gy_ohg_state(const gy_job *j, int64_t phase, const char *name);

/* ---- onehot-hmm-glm_config.c ---- */

extern const gy_option gy_ohg_options[];
extern const gy_config gy_ohg_configs[];
gy_status gy_ohg_check(gy_ctx *ctx, const void *cfg);

/* ---- onehot-hmm-glm_em.c ---- */

/* Sequences first .. first + n - 1 into a plan's inputs "counts" and "covariates". */
void gy_ohg_feed(const series *d, gy_plan *p, int64_t first, int64_t n);
gy_status gy_ohg_batch(gy_job *j, gy_plan *p, int64_t phase, int64_t step) GY_MUST_CHECK;

/* ---- onehot-hmm-glm_data.c ---- */

gy_status gy_ohg_open(gy_job *j) GY_MUST_CHECK; /* job->data: a lab */
void gy_ohg_close(gy_job *j);
/* log p(y | logit) of one output, without a count's factorial where it has none. */
double gy_ohg_log_probability(const config *c, double y, double logit);

/* ---- onehot-hmm-glm_claim.c ---- */

gy_status gy_ohg_evaluate(gy_job *j, gy_metrics *out) GY_MUST_CHECK;
gy_status gy_ohg_claim(gy_job *j, gy_claim *out) GY_MUST_CHECK;

/* ---- onehot-hmm-glm_report.c ---- */

gy_status gy_ohg_panels(gy_job *j, void *report) GY_MUST_CHECK; /* report: gy_report */

#endif
