/* run.h: the run folder, the only truth about a training run:
 *
 *     run.json                        model, configuration with every effective option, seed, data and its hash,
 *                                     version, kernels, the command line
 *     checkpoint.safetensors          weights, optimizer slots, step; with a checksum
 *     checkpoint.previous.safetensors the one before
 *     metrics.csv                     step, loss, learning rate, ...
 *     report.html
 *
 * Everything is written whole or not at all (files.h). Resume needs the folder alone; an option, a data set or a
 * dtype that differs from run.json is refused, never silently taken. */
#ifndef GY_IO_RUN_H
#define GY_IO_RUN_H

#include "../core/gyrus.h"
#include "bytes.h"
#include "weights.h"

typedef struct gy_run_folder gy_run_folder;

/* Makes the folder if needed and locks it: two processes cannot train into one. Refused if it holds a run already
 * and `resume` is false, or holds none and `resume` is true. */
gy_status gy_run_open(gy_ctx *ctx, const char *dir, bool resume, gy_run_folder **out) GY_MUST_CHECK;
void gy_run_close(gy_run_folder *r); /* NULL is fine */
const char *gy_run_dir(const gy_run_folder *r);

/* Writes run.json for a job about to start. argv: the command that made it, NULL-terminated. */
gy_status gy_run_describe(gy_run_folder *r, const gy_job *j, char *const argv[]) GY_MUST_CHECK;

/* Reads run.json of a folder into a fresh job: model, configuration, seed, steps, data path, ablation. The context's
 * precision becomes the run's. */
gy_status gy_run_job(gy_ctx *ctx, const char *dir, gy_job *j) GY_MUST_CHECK;

/* A checkpoint of the job's store and step; the present one becomes the previous one. */
gy_status gy_run_save(gy_run_folder *r, const gy_job *j) GY_MUST_CHECK;
/* Loads DIR's checkpoint into the job (states are created as stored); verifies the checksum. A damaged file is refused
 * by name, and the message says whether the previous one is whole. */
gy_status gy_run_load(gy_ctx *ctx, const char *dir, gy_job *j) GY_MUST_CHECK;

/* Appends one row; the first call writes the header. On resume, rows after j->step are cut first. */
gy_status gy_run_log(gy_run_folder *r, const gy_job *j, const gy_metrics *row) GY_MUST_CHECK;
/* metrics.csv as columns: names (owned) and values[n_rows * n_columns], row-major, NaN where empty. */
typedef struct gy_run_curve {
    char **names;
    double *values;
    int64_t n_columns, n_rows;
} gy_run_curve;
gy_status gy_run_read_log(gy_ctx *ctx, const char *dir, gy_run_curve *out) GY_MUST_CHECK;
void gy_run_curve_free(gy_ctx *ctx, gy_run_curve *c);

/* report.html: facts, learning curves, metrics, the model's own panels. */
gy_status gy_run_report(gy_run_folder *r, gy_job *j, const gy_metrics *metrics, double seconds,
                        const char *command) GY_MUST_CHECK;

#endif
