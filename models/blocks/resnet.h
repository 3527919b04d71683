/* resnet.h: residual networks in two or three dimensions: plain, bottleneck and grouped (ResNeXt) blocks.
 *
 * He et al. 2015, arXiv:1512.03385 (fig. 5, table 1); Xie et al. 2016, arXiv:1611.05431 (grouped bottleneck). Names
 * and the place of the stride (the 3x3 convolution) are torchvision's, so that its weights load. */
#ifndef GY_BLOCKS_RESNET_H
#define GY_BLOCKS_RESNET_H

#include "../../core/gyrus.h"

typedef struct gy_resnet_spec {
    bool bottleneck;                 /* 1x1, 3x3, 1x1 with four times the planes at the end; else 3x3, 3x3 */
    int64_t groups, width_per_group; /* bottleneck: the 3x3 has planes * width_per_group / 64 * groups channels;
                                        0: 1 and 64 */
    gy_init init;                    /* of the convolutions; default: PyTorch's */
} gy_resnet_spec;

/* Channels that a layer of `planes` puts out. */
int64_t gy_resnet_width(const gy_resnet_spec *s, int64_t planes);

/* `blocks` residual blocks, the first with `stride`: x [B, spatial..., C] -> [B, spatial / stride..., width].
 * Weights name.i.{conv1,bn1,conv2,bn2[,conv3,bn3]}, and name.0.downsample.{0,1} where the shape changes. */
gy_t gy_resnet_layer(gy_mod *m, const gy_resnet_spec *s, const char *name, gy_t x, int64_t planes, int64_t blocks,
                     int64_t stride);

#endif
