/* lbfgs.h: minimise a smooth function of many variables. Nocedal & Wright, Numerical Optimization, 2nd edition (2006),
 * algorithms 7.4 and 7.5 (two-loop recursion) with the strong-Wolfe line search of 3.5 and 3.6. */
#ifndef GY_LBFGS_H
#define GY_LBFGS_H

#include "../base.h"

/* Writes the value and the gradient [n] at x [n]. An error stops the minimiser, which returns it. A value that is not
 * finite only tells the line search that the step was too long. Must not depend on anything but x. */
typedef gy_status (*gy_lbfgs_fn)(void *user, const double *x, double *value, double *grad);

typedef enum gy_lbfgs_stop {
    GY_LBFGS_GRADIENT,   /* max |grad| <= grad_tol */
    GY_LBFGS_VALUE,      /* the last step lowered the value by <= value_tol * max(1, |value|) */
    GY_LBFGS_MAX_ITER,   /* max_iter steps were made */
    GY_LBFGS_LINE_SEARCH /* no lower value along the direction: rounding is all that is left */
} gy_lbfgs_stop;

/* 0 stands for the default in brackets. */
typedef struct gy_lbfgs_args {
    int64_t max_iter; /* [200] */
    int64_t history;  /* pairs kept [10] */
    double grad_tol;  /* [1e-8] */
    double value_tol; /* [1e-15] */
} gy_lbfgs_args;

typedef struct gy_lbfgs_result {
    gy_lbfgs_stop stop;
    double value, max_grad;
    int64_t iterations, evaluations;
} gy_lbfgs_result;

/* x [n]: the start, on return the best point found. Errors: a start whose value or gradient is not finite
 * (GY_ERR_NUMERIC), memory, and whatever fn returns. result may be NULL. */
gy_status gy_lbfgs(gy_ctx *ctx, int64_t n, double *x, gy_lbfgs_fn fn, void *user, gy_lbfgs_args args,
                   gy_lbfgs_result *result) GY_MUST_CHECK;

const char *gy_lbfgs_stop_name(gy_lbfgs_stop s); /* "gradient", "value", "iterations", "line search" */

#endif
