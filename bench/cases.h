/* cases.h: what is timed: operators at shapes of the models. */
#ifndef GY_BENCH_CASES_H
#define GY_BENCH_CASES_H

#include "bench.h"

enum { BENCH_DIMS = 8, BENCH_INPUTS = 12 };

typedef struct bench_case {
    const char *suite, *name;                               /* peers know what to compute by the name */
    gy_op_id op;                                            /* the operator whose kernel is reported */
    gy_t (*build)(gy_graph *g, const struct bench_case *c); /* the value to be named "y"; may name more outputs */
    const char *shape;                                      /* printf format with %d for each of d */
    int64_t d[BENCH_DIMS];
    gy_dtype dtype;  /* of the inputs; GY_DTYPE_DEFAULT: f32 */
    bool quick;      /* in the short list */
    bool step;       /* time the steps of `op` alone: a gradient without the forward pass that feeds it */
    bool in_place;   /* as in training, results take the place of operands: states that build makes and assigns */
    gy_store *store; /* in_place: of the run's making; its states are the first inputs, and the outputs */
} bench_case;

extern const bench_case bench_cases[], bench_more_cases[];
extern const int64_t bench_n_cases, bench_n_more_cases;

/* Element k of input number i of a case, in [-0.5, 0.5): a hash, so that peers can make the same inputs. */
static inline float bench_value(uint32_t i, uint32_t k) {
    uint32_t z = k * 0x9E3779B1u + (i + 1) * 0x85EBCA77u;
    z = (z ^ z >> 15) * 0x2C1B3CEDu;
    z = (z ^ z >> 12) * 0x297A2D39u;
    z ^= z >> 15;
    return (float)(z >> 8) * 0x1p-24f - 0.5f;
}

/* Fills an input by its name:
 *   "ids..."     i64: (bench_value + 0.5) n, where n is the case's last dimension that is not 0
 *   "indptr"     i64: nnz / rows entries in each row, evenly
 *   "var"        float: |bench_value| (second moments)
 *   "rate", "step"  1e-3, 10
 *   anything else  float: bench_value */
void bench_fill(const bench_case *c, int64_t i, const char *name, gy_dtype dtype, gy_shape shape, void *data);

#endif
