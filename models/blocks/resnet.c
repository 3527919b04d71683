#include "resnet.h"

int64_t gy_resnet_width(const gy_resnet_spec *s, int64_t planes) {
    return s->bottleneck ? 4 * planes : planes;
}

/* bn(conv(x)), "conv1" and "bn1" */
static gy_t conv_bn(gy_mod *m, const gy_resnet_spec *s, const char *conv, const char *bn, gy_t x, int64_t out,
                    int64_t kernel, int64_t stride, int64_t groups) {
    x = gy_nn_conv(m, conv, x, out, GY_S(kernel), GY_S(stride), GY_S(kernel / 2), .groups = groups, .no_bias = true,
                   .init = s->init);
    return gy_nn_batchnorm(m, bn, x);
}

static gy_t block(gy_mod *m, const gy_resnet_spec *s, gy_t x, int64_t planes, int64_t stride) {
    int64_t groups = s->groups ? s->groups : 1, per_group = s->width_per_group ? s->width_per_group : 64;
    int64_t out = gy_resnet_width(s, planes);
    gy_t h, skip = x;
    if (s->bottleneck) {
        int64_t width = planes * per_group / 64 * groups;
        h = gy_relu(conv_bn(m, s, "conv1", "bn1", x, width, 1, 1, 1));
        h = gy_relu(conv_bn(m, s, "conv2", "bn2", h, width, 3, stride, groups));
        h = conv_bn(m, s, "conv3", "bn3", h, out, 1, 1, 1);
    } else {
        h = gy_relu(conv_bn(m, s, "conv1", "bn1", x, out, 3, stride, 1));
        h = conv_bn(m, s, "conv2", "bn2", h, out, 3, 1, 1);
    }
    if (stride != 1 || gy_dim(x, -1) != out) skip = conv_bn(m, s, "downsample.0", "downsample.1", x, out, 1, stride, 1);
    return gy_relu(gy_add(h, skip));
}

gy_t gy_resnet_layer(gy_mod *m, const gy_resnet_spec *s, const char *name, gy_t x, int64_t planes, int64_t blocks,
                     int64_t stride) {
    for (int64_t i = 0; i < blocks; i++) {
        gy_push(m, "%s.%d", name, (int)i);
        x = block(m, s, x, planes, i ? 1 : stride);
        gy_pop(m);
    }
    return x;
}
