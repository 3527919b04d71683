/* One-hot HMM-GLM: its options and configurations, and which of them make sense. The model is in onehot-hmm-glm.c. */
#include "onehot-hmm-glm.h"
#include "../blocks/options.h"

#include <inttypes.h>

const gy_option gy_ohg_options[] = {TEXT(model, "hg (free weights), ghg (Gaussian prior) or ohg (one-hot)"),
                                    TEXT(family, "sigmoid or softplus (rates of counts), or bernoulli (0 or 1)"),
                                    TEXT(prior, "of the one-hot model: categorical or concrete"),
                                    TEXT(response, "column of a table of trials that is explained; empty: counts"),
                                    TEXT(inputs, "its covariates, as s1,s2; empty: all columns that end in _prev"),
                                    TEXT(group, "column that tells sequences apart; a table without it is cut"),
                                    INT(states, 1, MAX_STATES, "hidden states"),
                                    INT(outputs, 1, 4096, "neurons, when no file is open"),
                                    INT(covariates, 0, 63, "covariates, when no file is open; 0: the neurons' past"),
                                    INT(lags, 1, 64, "bins of the past that count"),
                                    INT(restarts, 1, 64, "random starts of the free model"),
                                    INT(warm_steps, 1, 1e7, "steps of the free model"),
                                    INT(steps, 1, 1e7, "steps of the chosen model after it"),
                                    INT(e_every, 1, 1e6, "M steps after each E step"),
                                    INT(batch, 0, 1e6, "sequences a step; 0: all"),
                                    INT(train, 1, 1e6, "generated sequences to train on"),
                                    INT(test, 1, 1e6, "generated sequences held out"),
                                    INT(length, 2, 1e6, "bins of a sequence"),
                                    INT(state_bias, 0, 1, "1: each state has its own bias"),
                                    REAL(lr, 1e-8, 1, "learning rate of Adam"),
                                    REAL(tau, 1e-2, 100, "temperature of Gumbel-softmax"),
                                    REAL(sd, 1e-3, 100, "smallest standard deviation of ghg's weights"),
                                    REAL(prior_weight, 0, 1e3, "factor of the log prior"),
                                    REAL(train_share, 0.01, 0.99, "of a file's sequences, the first are trained on"),
                                    {NULL}};

/* The miniature. */
static const config tiny = {.model = "ohg",
                            .family = "sigmoid",
                            .prior = "categorical",
                            .group = "sequence",
                            .states = 3,
                            .outputs = 12,
                            .lags = 5,
                            .restarts = 3,
                            .warm_steps = 200,
                            .steps = 200,
                            .e_every = 5,
                            .train = 8,
                            .test = 10,
                            .length = 400,
                            .lr = 0.03,
                            .tau = 0.2,
                            .sd = 1.0 / 3,
                            .prior_weight = 1,
                            .train_share = 0.75};
/* Section 4.1: 30 of 50 sequences, 10 passes of 50 Adam steps for each. Of 19,320 parameters, 8,000 are the one-hot
 * model's kinds (theta, 6,000) and strengths (eta, 2,000), 1,200 the prior's logits, 20 the bias; 10,100 are those of
 * the five free models (2,000 weights and 20 biases each) of which the best is its start. */
static const config paper = {.model = "ohg",
                             .family = "sigmoid",
                             .prior = "concrete",
                             .group = "sequence",
                             .states = 5,
                             .outputs = 20,
                             .lags = 5,
                             .restarts = 5,
                             .warm_steps = 30 * 10 * 50,
                             .steps = 30 * 10 * 50,
                             .e_every = 50,
                             .batch = 1,
                             .train = 30,
                             .test = 20,
                             .length = 2000,
                             .lr = 0.01,
                             .tau = 0.2,
                             .sd = 1.0 / 3,
                             .prior_weight = 1,
                             .train_share = 0.75};
/* Choices of an animal, trial by trial, in sessions. On 20,000 trials of one rat (psytrack's W053, the last 20 of its
 * 80 sessions held out, seed 0): -0.6265 nat a trial, 0.665 right one step ahead; free weights -0.6255; one state,
 * which is plain logistic regression, -0.6404. */
static const config behaviour = {.model = "ohg",
                                 .family = "bernoulli",
                                 .prior = "categorical",
                                 .response = "y",
                                 .inputs = "s1,s2,s_avg_prev,h_prev,r_prev,c_prev",
                                 .group = "session",
                                 .states = 3,
                                 .outputs = 1,
                                 .covariates = 6,
                                 .lags = 1,
                                 .restarts = 5,
                                 .warm_steps = 200,
                                 .steps = 200,
                                 .e_every = 5,
                                 .train = 40,
                                 .test = 20,
                                 .length = 250,
                                 .state_bias = 1,
                                 .lr = 0.03,
                                 .tau = 0.2,
                                 .sd = 1.0 / 3,
                                 .prior_weight = 1,
                                 .train_share = 0.75};
const gy_config gy_ohg_configs[] = {
    {"tiny", "12 generated neurons in 3 states, 8 sequences of 400 bins", &tiny},
    {"paper", "the synthetic study: 20 neurons in 5 states, 30 sequences of 2000 bins", &paper},
    {"behaviour", "two-choice trials: one response, covariates, a bias a state", &behaviour},
    {NULL}};

gy_status gy_ohg_check(gy_ctx *ctx, const void *cfg) {
    const config *c = cfg;
    if (!is(c->model, "hg") && !is(c->model, "ghg") && !is(c->model, "ohg"))
        return gy_fail(ctx, GY_ERR_USAGE, "onehot-hmm-glm: model='%s': expected hg, ghg or ohg", c->model);
    if (!is(c->family, "sigmoid") && !is(c->family, "softplus") && !is(c->family, "bernoulli"))
        return gy_fail(ctx, GY_ERR_USAGE, "onehot-hmm-glm: family='%s': expected sigmoid, softplus or bernoulli",
                       c->family);
    if (!is(c->prior, "categorical") && !is(c->prior, "concrete"))
        return gy_fail(ctx, GY_ERR_USAGE, "onehot-hmm-glm: prior='%s': expected categorical or concrete", c->prior);
    if ((c->response[0] != 0) != is(c->family, "bernoulli"))
        return gy_fail(ctx, GY_ERR_USAGE,
                       "onehot-hmm-glm: family=%s with response='%s': a response goes with family=bernoulli, counts "
                       "with sigmoid or softplus",
                       c->family, c->response);
    if (!is(c->family, "bernoulli") && c->covariates)
        return gy_fail(ctx, GY_ERR_USAGE, "onehot-hmm-glm: covariates=%" PRId64 " go with family=bernoulli",
                       c->covariates);
    return GY_OK;
}
