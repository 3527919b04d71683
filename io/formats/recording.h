/* recording.h: recordings of brain signals: EDF, EDF+ and BDF (.edf, .bdf), BrainVision (.vhdr with .vmrk and .eeg),
 * EEGLAB (.set, alone or with .fdt).
 *
 * Sources: Kemp et al. 1992 and Kemp & Olivan 2003 (EDF, EDF+); BioSemi's description of BDF; the BrainVision Core Data
 * Format 1.0; EEGLAB's description of its EEG structure.
 *
 * Values are physical values in the unit that the file names for the channel, never rescaled by a guess: see
 * gy_unit_microvolts. Times are seconds from the first sample. */
#ifndef GY_IO_RECORDING_H
#define GY_IO_RECORDING_H

#include "../bytes.h"

typedef enum gy_recording_kind {
    GY_RECORDING_EDF = 1,
    GY_RECORDING_BDF,
    GY_RECORDING_BRAINVISION,
    GY_RECORDING_EEGLAB
} gy_recording_kind;

/* Strings from files are UTF-8 (Latin-1 is converted), cut to the array's size. */
typedef struct gy_channel {
    char name[64], unit[24], reference[64];
    double rate;     /* samples a second */
    int64_t samples; /* in all segments together */
    bool trigger;    /* codes instead of a signal (BDF's Status); left out of gy_recording_tensor */
    /* internal: how to get at its values */
    double gain, zero, minimum; /* physical = (stored - zero) gain + minimum */
    int64_t per_record, offset;
} gy_channel;

/* Something that happened: an EDF+ annotation, a BrainVision marker, an EEGLAB event, a change of BDF's Status. */
typedef struct gy_mark {
    double onset, duration; /* s; duration 0: a moment */
    int64_t channel;        /* -1: all */
    char text[80];          /* "S 1", "square"; BrainVision: the description, or the type where that is empty */
} gy_mark;

/* A stretch without gaps: samples first .. first + n - 1 of a channel with rate r start at `onset`. */
typedef struct gy_segment {
    double onset, seconds;
} gy_segment;

typedef struct gy_recording {
    gy_ctx *ctx;
    gy_recording_kind kind;
    char variant[16]; /* "EDF+D", "BDF", "INT_16", "ASCII", "MAT v5" */
    char started[24]; /* "1999-12-31 23:59:59"; empty: unknown */
    double seconds;   /* of signal, gaps left out */
    double rate;      /* of all channels but triggers; 0: they differ */
    int64_t n_channels, n_marks, n_segments;
    gy_channel *channel;
    gy_mark *mark; /* by onset */
    gy_segment *segment;
    int64_t epochs; /* EEGLAB: epochs of equal length, one after the other; else 1 */
    gy_bytes data;  /* internal from here on */
    int64_t records, record_bytes, sample_bytes, first_byte;
    bool vectorized, floats;
    void *owned; /* values in memory */
} gy_recording;

/* Opens by content: `path` is the .edf, .bdf, .vhdr or .set file. Every size is checked against the bytes that are
 * there before anything is allocated. What real files get wrong without harm is said in a warning: a missing marker
 * file, a header with another number of records, a channel without a range (it is left out). `limits` NULL: the
 * defaults. */
gy_status gy_recording_open(gy_ctx *ctx, const char *path, const gy_limits *limits, gy_recording *out) GY_MUST_CHECK;
void gy_recording_close(gy_recording *r); /* all zero is fine */
/* True if the first bytes are those of EDF, BDF or a BrainVision header. (.set is a MAT file: its name decides.) */
bool gy_recording_looks(const uint8_t *head, uint64_t n);
const char *gy_recording_kind_name(gy_recording_kind k);

/* Samples first .. first + n - 1 of a channel. */
gy_status gy_recording_read(const gy_recording *r, int64_t channel, int64_t first, int64_t n,
                            double *out) GY_MUST_CHECK;
/* All channels of one rate but triggers: [samples, channels] f32. `rate` 0: the common one, refused where rates differ.
 * Gaps are not filled; a recording with gaps warns. */
gy_status gy_recording_tensor(const gy_recording *r, double rate, gy_tensor *out) GY_MUST_CHECK;
/* Channel by name, any case; -1: none. */
int64_t gy_recording_find(const gy_recording *r, const char *name);

/* Microvolts in one of `unit`: V, mV, uV, nV with either micro sign; 0: not a voltage, or unknown. */
double gy_unit_microvolts(const char *unit);

#endif
