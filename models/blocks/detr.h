/* detr.h: learned queries that look at a map (Carion et al. 2020, arXiv 2005.12872): one decoder layer, its sine
 * positions, and a linear readout in which every output belongs to one query. */
#ifndef GY_BLOCKS_DETR_H
#define GY_BLOCKS_DETR_H

#include "../../core/gyrus.h"

/* Two-dimensional sine positions of a rows x cols map, row-major: [rows cols, width], width a multiple of 4. The first
 * half of the features is the row, the second the column; feature 2i is sin(u / 10000^(4i/width)), 2i + 1 the cosine of
 * the same; u runs from 2 pi / n to 2 pi. */
gy_status gy_detr_positions(gy_ctx *ctx, int64_t rows, int64_t cols, int64_t width, gy_tensor *out) GY_MUST_CHECK;

typedef struct gy_detr_layer {
    int64_t heads, inner;
    double dropout;
    bool positions_only; /* for ablations: k = pos, so that a query looks at the same places whatever is there */
} gy_detr_layer;
/* Cross-attention and MLP, normalised before, without self-attention: keys are multihead_attn.{in_proj_weight,
 * in_proj_bias, out_proj}, linear1, linear2, norm1, norm3 in m's scope. target [B, Q, d], query [Q, d], memory [B, T,
 * d], pos [T, d] -> [B, Q, d]; weights, if not NULL: the attention averaged over heads [B, Q, T]. */
gy_t gy_detr_decode(gy_mod *m, const gy_detr_layer *e, gy_t target, gy_t query, gy_t memory, gy_t pos, gy_t *weights);

/* y_v = W_v . x_{g(v)} + b_v: x [B, Q, d] -> [B, V] with name.weight [V, d], name.bias [V] and group [V], the query of
 * each output (0 .. Q-1). Costs V d: the outputs of one query are one product. */
gy_t gy_grouped_linear(gy_mod *m, const char *name, gy_t x, int64_t outputs, const int64_t *group);

#endif
