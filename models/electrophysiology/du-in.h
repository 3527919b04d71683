/* du-in.h: what the four files of Du-IN share; of no use outside them. du-in.c is the paper, du-in_config.c its sizes,
 * du-in_data.c what it trains on and when, du-in_claim.c what is measured and claimed. */
#ifndef GY_ELECTROPHYSIOLOGY_DU_IN_H
#define GY_ELECTROPHYSIOLOGY_DU_IN_H

#include "../../core/gyrus.h"

typedef struct config {
    char stage[64];                               /* what the inference graph answers: words, codes or mask */
    int64_t channels, samples, segment, subjects; /* of a window; samples of a segment */
    int64_t neural, filters, features;            /* width of the shared channels; of the convolutions; of the last */
    int64_t kernel, stride;                       /* of the first convolution */
    int64_t layers, decoder_layers, heads, head_dim;
    int64_t codes, code_width, hidden, words;
    double init, commit, mask, drop, weight_decay;
    int64_t vq_steps, mask_steps, word_steps, vq_batch, mask_batch, word_batch;
    double vq_lr, mask_lr, word_lr, min_lr, warmup;
    int64_t pretrain, shift;             /* 0: the classifier starts afresh; largest shift of a training window */
    int64_t pool, train, tests;          /* generated windows: unlabelled, labelled a word, held out a word */
    double amplitude, noise, rate, from; /* of the generated units; recordings: Hz, start of a window in s */
} config;

/* Tokens of a window; their width. */
int64_t gy_duin_tokens(const config *c);
int64_t gy_duin_width(const config *c);

/* What evaluation found, for the report. */
typedef struct findings {
    double words, nmi, shuffled_nmi, perplexity, masked, frequent, error;
    int64_t units, codes;
    double *confusion; /* [words, words] counts, rows: true */
    double *table;     /* [units, codes] counts of segments */
} findings;

/* Windows [n, samples, channels], each of one subject. Borrowing nothing. */
typedef struct windows {
    int64_t n;
    float *x;
    int64_t *label;   /* [n]; NULL: unlabelled */
    int64_t *subject; /* [n] */
    int64_t *unit;    /* [n, tokens] the generator's truth, silence is the last; NULL: unknown */
} windows;

typedef struct lab {
    int64_t channels, words, subjects, units; /* units 0: unknown */
    windows pool, train, test;
    char (*names)[32]; /* [words] */
    findings found;
} lab;

/* The sizes that data or weights decide: channels, words, subjects. */
typedef struct sizes {
    int64_t channels, words, subjects;
} sizes;
sizes gy_duin_sizes(const gy_build *b);

/* ---- du-in_config.c ---- */

extern const gy_option gy_duin_options[];
extern const gy_config gy_duin_configs[]; /* "tiny", "paper" */
gy_status gy_duin_check(gy_ctx *ctx, const void *cfg) GY_MUST_CHECK;

/* ---- du-in_data.c ---- */

gy_status gy_duin_open(gy_job *j) GY_MUST_CHECK; /* job->data: a lab */
void gy_duin_close(gy_job *j);
gy_status gy_duin_batch(gy_job *j, gy_plan *p, int64_t phase, int64_t step) GY_MUST_CHECK;
/* Phases follow each other: 0 codes, 1 masked prediction, 2 words. */
int64_t gy_duin_phases(const gy_job *j);
int64_t gy_duin_phase_of(const gy_job *j, int64_t step);
double gy_duin_rate(const gy_job *j, int64_t phase, int64_t step);

/* ---- du-in_claim.c ---- */

gy_status gy_duin_evaluate(gy_job *j, gy_metrics *out) GY_MUST_CHECK;
gy_status gy_duin_claim(gy_job *j, gy_claim *out) GY_MUST_CHECK;
gy_status gy_duin_panels(gy_job *j, void *report) GY_MUST_CHECK; /* report: gy_report */

#endif
