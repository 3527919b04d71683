/* models.h: one step of a whole model, timed as users run it: forward pass, training step, prefill, decoding,
 * optimizer.
 *
 * Weights and inputs are made by rule, so that a peer has the same: element k of the tensor called `name` is
 *     pool[(hash(name) + k) mod POOL] * gain + shift,
 * with pool[i] = bench_value(0, i), hash = 32-bit FNV-1a, and
 *     parameters with two or more axes   gain sqrt(12 dim[0] / count), shift 0: variance 1 / fan in
 *     parameters with one axis           gain 0.1, shift 1 if the name ends in "weight", else 0
 *     float inputs                       gain sqrt(12), shift 0: variance 1; "noise": gain 1, shift 0.5; "timestep":
 * 500 integer inputs                     floor((pool + 0.5) * vocabulary) Values are counted in the order in which the
 * official checkpoint keeps them (weights) or features last (inputs). */
#ifndef GY_BENCH_MODELS_H
#define GY_BENCH_MODELS_H

#include "sides.h"

enum { BENCH_POOL = 1000003 };

/* What a row of a model reports to. */
typedef struct bench_model_run {
    gy_ctx *ctx;
    const bench_options *options;
    bench_report *report;
    void (*sink)(void *user, const bench_report *r, const bench_row *row);
    void (*note)(void *user, const char *text);
    void *user;
} bench_model_run;

/* All rows that options->match lets through. Work counts matrix products, convolutions and attention alone, and what is
 * computed again in the backward pass not at all: peak_fraction is the share of the arithmetic peak that such work
 * reaches; for decoding and the optimizer, of the memory bandwidth. */
gy_status bench_models(bench_model_run *r) GY_MUST_CHECK;

#endif
