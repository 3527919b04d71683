/* eeg.h: windows of real recordings, as models of brain signals take them.
 *
 * Two layouts are read: a recording (io/formats/recording.h: EDF, BDF, BrainVision, EEGLAB), whose labelled windows lie
 * at its marks; and a folder of cut trials: eeg.npy [trials, channels, samples] f32 with trials.csv, a row a trial, of
 * which a column `group` (or `label`) names the class and `subject` (or `person`, `id`) the person, and `rate` in Hz
 * may stand in the option. Training and test never share a person (folder) or a stretch of time (recording). */
#ifndef GY_DATA_EEG_H
#define GY_DATA_EEG_H

#include "../core/base.h"

typedef struct gy_eeg_args {
    double rate;       /* Hz that signals are brought to; 0: as they are */
    double trial_rate; /* Hz of a folder's trials; 0: 256 */
    double low, high;  /* band-pass in Hz (Butterworth of order 4, both ways); 0: that edge is open */
    bool reference;    /* common average */
    double clip;       /* in standard deviations; 0: 5 */
    double from;       /* start of a labelled window, seconds after the mark */
    int64_t samples;   /* of a window, at `rate` */
    int64_t kinds;     /* most classes; 0: 16. Marks of fewer than 10 are left out. */
    double train;      /* share of the time (or people) to train on; 0: 0.7 */
    uint64_t seed;     /* which people are held out */
} gy_eeg_args;

typedef struct gy_eeg_windows {
    int64_t n;
    float *x;       /* [n, samples, channels], standardised by what is trained on */
    int64_t *label; /* [n]; the pool has none */
    int64_t *group; /* [n] person, or 0 */
} gy_eeg_windows;

typedef struct gy_eeg {
    gy_ctx *ctx;
    int64_t channels, samples, classes;
    double rate;
    char (*name)[32];                 /* [classes] */
    gy_eeg_windows pool, train, test; /* pool: half-overlapping windows of the training part */
    uint64_t hash;
    char label[64]; /* of the data: the file's name */
} gy_eeg;

gy_status gy_eeg_open(gy_ctx *ctx, const char *path, const gy_eeg_args *args, gy_eeg *out) GY_MUST_CHECK;
void gy_eeg_close(gy_eeg *e); /* all zero is fine */

#endif
