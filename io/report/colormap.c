#include "colormap.h"

#include <math.h>

static const double DEGREE = 3.14159265358979323846 / 180.0;

/* The published OKLab matrices (see the header for the source). */
static void oklab_to_linear(const double lab[3], double rgb[3]) {
    double l = lab[0] + 0.3963377774 * lab[1] + 0.2158037573 * lab[2];
    double m = lab[0] - 0.1055613458 * lab[1] - 0.0638541728 * lab[2];
    double s = lab[0] - 0.0894841775 * lab[1] - 1.2914855480 * lab[2];
    l = l * l * l, m = m * m * m, s = s * s * s;
    rgb[0] = 4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s;
    rgb[1] = -1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s;
    rgb[2] = -0.0041960863 * l - 0.7034186147 * m + 1.7076147010 * s;
}

static uint8_t srgb_encode(double x) { /* IEC 61966-2-1 */
    double v = x <= 0 ? 0 : x >= 1 ? 1 : x <= 0.0031308 ? 12.92 * x : 1.055 * pow(x, 1 / 2.4) - 0.055;
    return (uint8_t)lround(255 * v);
}

static double srgb_decode(uint8_t x) {
    double v = x / 255.0;
    return v <= 0.04045 ? v / 12.92 : pow((v + 0.055) / 1.055, 2.4);
}

static gy_rgb from_lch(double lightness, double chroma, double hue) {
    double lab[3] = {lightness, chroma * cos(hue * DEGREE), chroma * sin(hue * DEGREE)}, rgb[3];
    oklab_to_linear(lab, rgb);
    return (gy_rgb){srgb_encode(rgb[0]), srgb_encode(rgb[1]), srgb_encode(rgb[2])};
}

/* Lightness, chroma and hue run linearly from a to b. */
typedef struct lch {
    double lightness, chroma, hue;
} lch;
static gy_rgb between(lch a, lch b, double t) {
    return from_lch(a.lightness + (b.lightness - a.lightness) * t, a.chroma + (b.chroma - a.chroma) * t,
                    a.hue + (b.hue - a.hue) * t);
}

gy_rgb gy_colormap_at(gy_colormap map, double t) {
    t = t > 0 ? (t < 1 ? t : 1) : 0;
    double r = fabs(2 * t - 1); /* distance from the centre of a diverging map */
    switch (map) {
    case GY_MAP_SEQUENTIAL: return between((lch){0.97, 0, 262}, (lch){0.36, 0.16, 262}, t);
    case GY_MAP_SEQUENTIAL_DARK: return between((lch){0.28, 0.094, 285}, (lch){0.95, 0.094, 105}, t);
    case GY_MAP_DIVERGING:
        return t < 0.5 ? between((lch){0.96, 0, 258}, (lch){0.45, 0.14, 258}, r)
                       : between((lch){0.96, 0, 40}, (lch){0.45, 0.14, 40}, r);
    case GY_MAP_DIVERGING_DARK:
        return t < 0.5 ? between((lch){0.42, 0.122, 262}, (lch){0.86, 0.122, 200}, r)
                       : between((lch){0.42, 0.122, 35}, (lch){0.86, 0.122, 88}, r);
    case GY_MAP_GREY: break;
    }
    return from_lch(t, 0, 0);
}

const char *gy_colormap_name(gy_colormap map) {
    static const char *const names[] = {"sequential", "sequential-dark", "diverging", "diverging-dark", "grey"};
    return (unsigned)map < sizeof names / sizeof *names ? names[map] : "unknown";
}

void gy_rgb_to_oklab(gy_rgb c, double lab[3]) {
    double r = srgb_decode(c.r), g = srgb_decode(c.g), b = srgb_decode(c.b);
    double l = cbrt(0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b);
    double m = cbrt(0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b);
    double s = cbrt(0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b);
    lab[0] = 0.2104542553 * l + 0.7936177850 * m - 0.0040720468 * s;
    lab[1] = 1.9779984951 * l - 2.4285922050 * m + 0.4505937099 * s;
    lab[2] = 0.0259040371 * l + 0.7827717662 * m - 0.8086757660 * s;
}

double gy_rgb_lightness(gy_rgb c) {
    double lab[3];
    gy_rgb_to_oklab(c, lab);
    return lab[0];
}

gy_rgb gy_palette(int64_t i) {
    static const gy_rgb okabe_ito[GY_PALETTE_SIZE] = {
        {0x00, 0x72, 0xb2}, {0xd5, 0x5e, 0x00}, {0x00, 0x9e, 0x73}, {0xcc, 0x79, 0xa7},
        {0xe6, 0x9f, 0x00}, {0x56, 0xb4, 0xe9}, {0xf0, 0xe4, 0x42}, {0x00, 0x00, 0x00},
    };
    return okabe_ito[(i % GY_PALETTE_SIZE + GY_PALETTE_SIZE) % GY_PALETTE_SIZE];
}
