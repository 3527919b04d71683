/* recording_internal.h: between the readers of recordings. */
#ifndef GY_IO_RECORDING_INTERNAL_H
#define GY_IO_RECORDING_INTERNAL_H

#include "recording.h"

/* Each fills an all-zero r; on failure the caller closes it. */
gy_status gy_edf_open(const gy_bytes *file, gy_recording *r) GY_MUST_CHECK; /* takes a source of its own later */
gy_status gy_brainvision_open(const gy_bytes *header, gy_recording *r) GY_MUST_CHECK;
gy_status gy_eeglab_open(gy_ctx *ctx, const char *path, const gy_limits *limits, gy_recording *r) GY_MUST_CHECK;

/* Samples as decimal text: r->data is the text, r->n_channels and r->vectorized are set. Afterwards r->data is the same
 * numbers as 32-bit floats in the same order, each channel having *samples of them. */
typedef struct gy_bv_text {
    char decimal; /* '.' or ',' */
    int64_t skip_lines, skip_columns;
} gy_bv_text;
gy_status gy_brainvision_text(gy_recording *r, gy_bv_text how, int64_t *samples) GY_MUST_CHECK;

/* Text of unknown encoding, blanks cut at both ends: UTF-8 stays, else each byte is Latin-1. */
void gy_recording_text(char *out, size_t size, const char *s, size_t n);
gy_status gy_recording_channels(gy_recording *r, int64_t n) GY_MUST_CHECK; /* room for n, all zero */
/* A mark at the end; room grows. */
gy_status gy_recording_mark(gy_recording *r, double onset, double duration, int64_t channel, const char *text,
                            size_t len) GY_MUST_CHECK;

/* `name` as the file `path` calls a companion: beside it, or the same stem with `suffix` beside it if that is missing
 * (*renamed). Names that leave the folder are refused. Owned; NULL with a message: none, or refused. */
char *gy_recording_companion(const gy_bytes *from, const char *path, const char *name, const char *suffix,
                             bool *renamed) GY_MUST_CHECK;

#endif
