/* runcv_panels.h: what a decoder of brain volumes reports: figures, tables and words of a leave-one-run-out study, the
 * network beside the linear baseline. */
#ifndef GY_BLOCKS_RUNCV_PANELS_H
#define GY_BLOCKS_RUNCV_PANELS_H

#include "../../core/model.h"
#include "../../data/fmri.h"
#include "../../io/report/html.h"
#include "runcv.h"

/* Scores of every volume by models that did not see its run, and the permutation test. */
typedef struct gy_runcv_result {
    gy_ctx *ctx;
    double *network, *ridge, *logistic; /* [n, classes] */
    double *null;                       /* [permutations]: accuracies of the ridge with permuted labels */
    double *pattern;                    /* [p]: class pair[0] against pair[1] */
    int64_t permutations, identified;   /* of the split halves */
    int64_t pair[2];
    double pair_ridge, p; /* accuracy of the two-class ridge; p of the ridge's accuracy */
} gy_runcv_result;
gy_status gy_runcv_result_new(gy_ctx *ctx, const gy_runcv_data *d, int64_t permutations,
                              gy_runcv_result *out) GY_MUST_CHECK;
void gy_runcv_result_free(gy_runcv_result *r); /* all-zero is fine */

gy_runcv_data gy_runcv_view(const gy_fmri *f);

/* Everything but the network's scores; the pair is face against house, or the first two classes. */
gy_status gy_runcv_baseline(const gy_fmri *f, double penalty, uint64_t seed, gy_runcv_result *r) GY_MUST_CHECK;
void gy_runcv_metrics(const gy_fmri *f, const gy_runcv_result *r, gy_metrics *out);
/* weights.nii.gz (the pattern, on the data's grid) and predictions.csv into a folder. */
gy_status gy_runcv_write(const gy_fmri *f, const gy_runcv_result *r, const char *dir) GY_MUST_CHECK;
/* Confusion matrices, accuracies by run, the permutations, the map, and an explanation. `haxby`: the data are those
 * of Haxby et al. 2001, whose licence asks to be named. */
gy_status gy_runcv_panels(const gy_fmri *f, const gy_runcv_result *r, const char *command, bool haxby,
                          gy_report *report) GY_MUST_CHECK;

#endif
