/* colormap.h: the colours of every picture, safe for the common kinds of colour blindness.
 *
 * The maps are curves in OKLab (B. Ottosson, "A perceptual color space for image processing", 2020),
 * a space in which equal distances look about equally large:
 *  - sequential: a helix of constant chroma 0.094; lightness 0.95 -> 0.28 and hue 105 -> 285 degrees
 *    (pale yellow, teal, deep blue) both run linearly, so every step has the same length;
 *  - diverging: two straight arms of equal length and equal lightness from a neutral centre, to blue
 *    (hue 258) for negative and orange-brown (hue 40) for positive values. Blue and orange stay apart
 *    for red- and green-weak eyes; the sign can be read without telling red from green.
 * Lightness alone orders the sequential map and the size of a diverging value, so both survive a
 * black-and-white print. */
#ifndef GY_REPORT_COLORMAP_H
#define GY_REPORT_COLORMAP_H

#include <stdint.h>

typedef enum gy_colormap {
    GY_MAP_SEQUENTIAL,      /* low light, high dark: tables and matrices on paper */
    GY_MAP_SEQUENTIAL_DARK, /* the same curve from its dark end: pictures on black */
    GY_MAP_DIVERGING,       /* negative blue, zero near white, positive orange-brown */
    GY_MAP_DIVERGING_DARK,  /* negative bright blue, zero dark grey, positive bright orange: on anatomy */
    GY_MAP_GREY             /* low black, high white, linear in OKLab lightness */
} gy_colormap;

typedef struct gy_rgb {
    uint8_t r, g, b;
} gy_rgb;

/* t in [0, 1] (values outside are clamped); diverging maps have their zero at 0.5. NaN is the first colour;
 * callers that can meet NaN show it as missing instead. */
gy_rgb gy_colormap_at(gy_colormap map, double t);
/* "sequential", ... for messages and tests. */
const char *gy_colormap_name(gy_colormap map);
/* Perceived lightness (OKLab L, 0..1), to choose black or white text on a colour. */
double gy_rgb_lightness(gy_rgb c);
void gy_rgb_to_oklab(gy_rgb c, double lab[3]);

/* The eight categorical colours of M. Okabe and K. Ito, "Color Universal Design" (2008), in the order
 * blue, vermillion, green, purple, orange, sky blue, yellow, black; i is taken modulo 8. Lines and
 * markers also differ in dash and shape: colour is never the only sign. */
enum { GY_PALETTE_SIZE = 8 };
gy_rgb gy_palette(int64_t i);

#endif
