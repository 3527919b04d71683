/* jobs.h: jobs of registered models in tests. */
#ifndef GY_TEST_JOBS_H
#define GY_TEST_JOBS_H

#include "harness.h"

#include "core/gyrus.h"

/* A job of the configuration "tiny" with the settings "a=1", ..., NULL-terminated; not opened. */
void make_job(gy_ctx *ctx, gy_job *j, const char *slug, uint64_t seed, const char *const *settings);
/* The same, opened. */
void start_job(gy_ctx *ctx, gy_job *j, const char *slug, uint64_t seed, const char *const *settings);
/* A state's value, by name; absent: fails. */
const gy_tensor *state_value(const gy_job *j, const char *name);
/* Scalars of the parameters whose names begin so. */
int64_t parameters_of(const gy_store *s, const char *prefix);

/* Trains until the last of n increasing step numbers at once, and again with a new job after each of them that takes
 * over the last one's store: the stores must hold the same names and bits. */
void assert_resume_is_bit_identical(gy_ctx *ctx, const char *slug, const char *const *settings, int n,
                                    const int64_t *stops);

/* Each of n settings of the default configuration is refused with the message beside it. */
void assert_settings_are_refused(gy_ctx *ctx, const char *slug, int64_t n, const char *const cases[][2]);
/* Opening a "tiny" job whose first, second, ... last allocation fails: either it goes well or memory is out, and
 * nothing leaks (the harness sees it). */
void assert_opening_survives_lack_of_memory(gy_ctx *ctx, const char *slug, const char *const *settings, int64_t last);

#endif
