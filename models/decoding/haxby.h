/* haxby.h: what the two files of haxby share; of no use outside them. haxby.c is the model and its data, haxby_claim.c
 * what is measured, shown and claimed. */
#ifndef GY_DECODING_HAXBY_H
#define GY_DECODING_HAXBY_H

#include "../../core/gyrus.h"
#include "../blocks/runcv_panels.h"

typedef struct haxby_cfg {
    char arch[64], classes[64];
    int64_t hidden, tokens, members, batch, steps, permutations, voxels, categories;
    double delay, lr, weight_decay, smooth, drop_in, drop, ridge, signal;
} haxby_cfg;

typedef struct haxby_data {
    gy_fmri f;
    gy_runcv_result result; /* of the last evaluation */
    int64_t *neighbour;     /* [voxels, 6]: voxels that share a face, -1: none inside the mask */
} haxby_data;

/* score [volumes, classes]: log-probabilities of each volume by the networks that did not see its run. */
gy_status gy_haxby_scores(gy_job *j, double *score) GY_MUST_CHECK;

/* ---- haxby_claim.c ---- */

gy_status gy_haxby_evaluate(gy_job *j, gy_metrics *out) GY_MUST_CHECK;
gy_status gy_haxby_artefacts(gy_job *j, const char *dir) GY_MUST_CHECK;
gy_status gy_haxby_panels(gy_job *j, void *report) GY_MUST_CHECK; /* report: gy_report */
gy_status gy_haxby_claim(gy_job *j, gy_claim *out) GY_MUST_CHECK;

#endif
