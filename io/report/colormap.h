/* colormap.h: the colours of every picture, safe for the common kinds of colour blindness.
 *
 * The maps are curves in OKLab (B. Ottosson, "A perceptual color space for image processing", 2020),
 * a space in which equal distances look about equally large:
 *  - sequential (on paper): a straight line from near white (L 0.97) to deep blue (L 0.36, chroma 0.16, hue 262);
 *  - sequential-dark (on black): a helix of constant chroma 0.094; lightness 0.28 -> 0.95 and hue 285 -> 105
 *    degrees (deep blue, teal, pale yellow) both run linearly;
 *  - diverging (on paper): two straight arms of equal length and lightness from a neutral centre (L 0.96) to
 *    L 0.45, chroma 0.14: blue (hue 258) for negative, orange-brown (hue 40) for positive values;
 *  - diverging-dark (over anatomy, above a threshold): two helices of chroma 0.122 from L 0.42 near zero to
 *    L 0.86: deep to pale blue (hue 262 -> 200), brown to pale orange (hue 35 -> 88). It jumps at zero on
 *    purpose: the sign of a voxel must be seen against grey tissue.
 * Along each of these curves equal steps in t are equal distances. Blue and orange stay apart for red- and
 * green-weak eyes, and lightness alone orders every curve, so they survive a black-and-white print. */
#ifndef GY_REPORT_COLORMAP_H
#define GY_REPORT_COLORMAP_H

#include <stdint.h>

typedef enum gy_colormap {
    GY_MAP_SEQUENTIAL,      /* low near white, high deep blue: tables and matrices on paper */
    GY_MAP_SEQUENTIAL_DARK, /* low dark, high pale yellow: pictures on black */
    GY_MAP_DIVERGING,       /* negative blue, zero near white, positive orange-brown */
    GY_MAP_DIVERGING_DARK,  /* negative blue, positive orange, brighter as they grow: over anatomy */
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
