/* weight_rules.h: tensors of a weight file under a model's own names (gy_weight_rule). Internal to weights.c. */
#ifndef GY_IO_WEIGHT_RULES_H
#define GY_IO_WEIGHT_RULES_H

#include "weights.h"

/* Where a tensor of the model is in a file: its index (-1: nowhere) and the rule that found it (NULL: its own name). */
typedef struct gy_weight_place {
    int64_t at;
    const gy_weight_rule *rule;
} gy_weight_place;
gy_weight_place gy_weight_find(const gy_weights *w, const gy_weight_rule *rules, const char *name);

/* The shape of what the rule takes from a tensor of shape s; false: it cannot be cut or turned so. */
bool gy_weight_shape(const gy_weight_rule *rule, gy_shape s, gy_shape *out);
/* Copies it: t is the file's whole tensor in the element type of out, whose shape is as above. */
void gy_weight_take(const gy_weight_rule *rule, const gy_tensor *t, gy_tensor *out);

#endif
