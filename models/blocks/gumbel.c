/* The concrete distribution. */
#include "gumbel.h"

#include <math.h>

gy_t gy_concrete_log_density(gy_t log_pi, gy_t log_a, double tau) {
    double k = (double)gy_dim(log_a, -1);
    gy_t u = gy_sub(log_pi, gy_scale(log_a, tau)); /* log(pi a^-tau) */
    gy_t sum = gy_sum(gy_sub(u, log_a), GY_AXES(-1));
    gy_t density = gy_sub(sum, gy_scale(gy_logsumexp(u, GY_AXES(-1)), k));
    return gy_add_scalar(density, lgamma(k) + (k - 1) * log(tau));
}
