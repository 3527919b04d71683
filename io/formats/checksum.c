/* CRC-32 (RFC 1952 §8, polynomial 0xedb88320 reflected) and Adler-32 (RFC 1950 §8.2). */
#include "deflate.h"

#include <string.h>

/* One byte through the polynomial, bit by bit. */
static uint32_t crc_of_byte(uint32_t c) {
    for (int k = 0; k < 8; k++) c = c & 1 ? 0xedb88320u ^ c >> 1 : c >> 1;
    return c;
}

/* Four bits a step: no table worth building for a short text. */
static uint32_t crc_short(uint32_t c, const uint8_t *p, uint64_t n) {
    uint32_t nibble[16];
    for (uint32_t i = 0; i < 16; i++) nibble[i] = crc_of_byte(i << 4);
    /* crc_of_byte runs 8 steps; the low 4 of i << 4 are zero, so the first 4 steps only shift */
    for (uint64_t i = 0; i < n; i++) {
        c ^= p[i];
        c = c >> 4 ^ nibble[c & 15];
        c = c >> 4 ^ nibble[c & 15];
    }
    return c;
}

/* Slicing by 8: eight bytes a step from eight tables. The tables are made for each long text (a few
 * microseconds), which keeps the library free of global state. */
static uint32_t crc_long(uint32_t c, const uint8_t *p, uint64_t n) {
    uint32_t t[8][256];
    for (uint32_t i = 0; i < 256; i++) t[0][i] = crc_of_byte(i);
    for (int k = 1; k < 8; k++)
        for (uint32_t i = 0; i < 256; i++) t[k][i] = t[k - 1][i] >> 8 ^ t[0][t[k - 1][i] & 255];
    for (; n >= 8; p += 8, n -= 8) {
        uint32_t a = gy_le32(p) ^ c, b = gy_le32(p + 4);
        c = t[7][a & 255] ^ t[6][a >> 8 & 255] ^ t[5][a >> 16 & 255] ^ t[4][a >> 24] ^ t[3][b & 255] ^
            t[2][b >> 8 & 255] ^ t[1][b >> 16 & 255] ^ t[0][b >> 24];
    }
    for (; n; p++, n--) c = c >> 8 ^ t[0][(c ^ *p) & 255];
    return c;
}

uint32_t gy_crc32(uint32_t crc, const void *data, uint64_t n) {
    const uint8_t *p = data;
    crc = ~crc;
    crc = n < 4096 ? crc_short(crc, p, n) : crc_long(crc, p, n);
    return ~crc;
}

uint32_t gy_adler32(uint32_t adler, const void *data, uint64_t n) {
    const uint8_t *p = data;
    uint32_t a = adler & 0xffff, b = adler >> 16;
    while (n) {
        uint64_t part = n < 5552 ? n : 5552; /* the most steps before b can pass 2^32 */
        for (uint64_t i = 0; i < part; i++) {
            a += p[i];
            b += a;
        }
        a %= 65521;
        b %= 65521;
        p += part;
        n -= part;
    }
    return b << 16 | a;
}
