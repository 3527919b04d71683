/* text.h: a growing text for SVG and HTML. Errors stick: after a failed allocation every call is a
 * no-op and gy_text_status tells, so that drawing code stays free of checks.
 *
 * Nothing that came from a file or a user reaches the page except through gy_text_escaped, and
 * numbers never depend on the locale. */
#ifndef GY_REPORT_TEXT_H
#define GY_REPORT_TEXT_H

#include "../../core/base.h"

typedef struct gy_text {
    gy_ctx *ctx;
    char *s; /* NUL-terminated once something was put; gy_malloc'd */
    size_t size, capacity;
    gy_status status;
} gy_text;

void gy_text_init(gy_text *t, gy_ctx *ctx);
void gy_text_free(gy_text *t);
void gy_text_put(gy_text *t, const char *markup); /* trusted text, as it is */
void gy_text_bytes(gy_text *t, const void *p, size_t n);
/* Markup around numbers: each % in `markup` is replaced by the next of the n numbers, written with at most two
 * decimals (a hundredth of a pixel) and without trailing zeros. */
void gy_text_draw(gy_text *t, const char *markup, int n, const double *numbers);
#define GY_DRAW(t, markup, ...)                                                                                        \
    gy_text_draw(t, markup, (int)(sizeof((double[]){__VA_ARGS__}) / sizeof(double)), (const double[]){__VA_ARGS__})
void gy_text_int(gy_text *t, int64_t v);
/* A stranger's string in element content or a quoted attribute: < > & " ' as entities; control and
 * direction-changing characters, non-characters and invalid UTF-8 as U+FFFD; white space as one
 * space character each; cut after `cap` characters with an ellipsis. NULL counts as "". */
void gy_text_escaped(gy_text *t, const char *s, int64_t cap);
void gy_text_base64(gy_text *t, const uint8_t *p, size_t n); /* RFC 4648, section 4 */
/* Hands the text over (never NULL on GY_OK) or frees it and returns the first failure. */
gy_status gy_text_take(gy_text *t, char **out, size_t *size) GY_MUST_CHECK;

/* gy_fail for messages that quote strangers' strings: what a terminal would act on is shown as \xNN. */
gy_status gy_refuse(gy_ctx *ctx, gy_status status, const char *fmt, ...) GY_PRINTF(3, 4);

/* Number to text in buf of GY_NUMBER_TEXT bytes, decimal point always '.', "-0" written as "0", NaN
 * as "n/a": exactly `decimals` digits (0..9) after the point; %g style beyond 1e9. Returns buf. */
#define GY_NUMBER_TEXT 40
char *gy_number_fixed(double x, int decimals, char buf[GY_NUMBER_TEXT]);
/* `digits` significant digits, trailing zeros dropped: 0.125, 1.2e-7. */
char *gy_number_short(double x, int digits, char buf[GY_NUMBER_TEXT]);

/* Characters of s as gy_text_escaped would show them, and their width in units of the font size,
 * estimated a little wide for sans-serif fonts. */
double gy_text_width(const char *s, int64_t cap);

#endif
