/* unet_internal.h: the way down, which ControlNet copies. */
#ifndef GY_BLOCKS_UNET_INTERNAL_H
#define GY_BLOCKS_UNET_INTERNAL_H

#include "unet.h"

typedef struct gy_unet_encoded {
    gy_diffusion_style style; /* defaults filled in */
    gy_t temb;                /* [B, time_width] */
    gy_t h;                   /* after the middle */
    int64_t n;
    gy_t skip[GY_UNET_SKIPS];
} gy_unet_encoded;

/* `hint` [B, spatial..., channels[0]] is added to conv_in's output; GY_NONE: nothing. */
gy_unet_encoded gy_unet_encode(const gy_unet_args *a, gy_t hint);

#endif
