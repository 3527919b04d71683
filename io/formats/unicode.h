/* unicode.h: the properties of code points that tokenizers depend on (Unicode 16): letters, numbers, white
 * space, lower case, and canonical composition (NFC, Unicode Standard Annex 15). */
#ifndef GY_IO_UNICODE_H
#define GY_IO_UNICODE_H

#include "../../core/base.h"

bool gy_code_is_letter(uint32_t c); /* general category L* */
bool gy_code_is_number(uint32_t c); /* general category N* */
bool gy_code_is_space(uint32_t c);  /* White_Space */
/* Its lower case where that is one code point (all but U+0130), else c itself. */
uint32_t gy_code_lower(uint32_t c);
/* Writes c's UTF-8 to s and returns its length, 1 to 4. */
int gy_utf8_put(uint32_t c, char s[4]);

/* Text as code points, each with the bytes [begin, end) of the source that it stands for. A byte that is not
 * UTF-8 is a code point of its own, GY_CODE_BYTE + its value, and has no properties. */
enum { GY_CODE_BYTE = 0x110000 };
typedef struct gy_code {
    uint32_t code;
    int64_t begin, end;
} gy_code;
typedef struct gy_codes {
    gy_ctx *ctx;
    gy_code *c;
    int64_t n, room;
} gy_codes;
gy_status gy_codes_add(gy_codes *t, gy_code c) GY_MUST_CHECK;
/* Decodes text[0..n), which begins at byte `at` of the source. */
gy_status gy_codes_add_text(gy_codes *t, const char *text, int64_t n, int64_t at) GY_MUST_CHECK;
void gy_codes_free(gy_codes *t); /* all-zero is fine */
/* NFC in place. What several code points were composed into stands for the bytes of all of them. Linear but for
 * the sorting of marks on one letter, which is n log n. */
gy_status gy_codes_nfc(gy_codes *t) GY_MUST_CHECK;

#endif
