#include "weight_rules.h"

#include <stdio.h>
#include <string.h>

/* `name` fits `pattern`; what its '*' stands for comes out as a piece of name. */
static bool fits(const char *pattern, const char *name, const char **star, size_t *len) {
    const char *at = strchr(pattern, '*');
    size_t n = strlen(name);
    *star = "";
    *len = 0;
    if (!at) return strcmp(pattern, name) == 0;
    size_t before = (size_t)(at - pattern), after = strlen(at + 1);
    if (n < before + after || strncmp(name, pattern, before) != 0 || strcmp(name + n - after, at + 1) != 0)
        return false;
    *star = name + before;
    *len = n - before - after;
    return true;
}

static void fill(const char *pattern, const char *star, size_t len, char *out, size_t n) {
    const char *at = strchr(pattern, '*');
    if (at)
        snprintf(out, n, "%.*s%.*s%s", (int)(at - pattern), pattern, (int)len, star, at + 1);
    else
        snprintf(out, n, "%s", pattern);
}

gy_weight_place gy_weight_find(const gy_weights *w, const gy_weight_rule *rules, const char *name) {
    char other[1024];
    const char *star;
    size_t len;
    gy_weight_place p = {gy_weights_find(w, name), NULL};
    for (const gy_weight_rule *r = rules; p.at < 0 && r && r->model; r++) {
        if (!fits(r->model, name, &star, &len)) continue;
        fill(r->file, star, len, other, sizeof other);
        p = (gy_weight_place){gy_weights_find(w, other), r};
    }
    return p;
}

bool gy_weight_shape(const gy_weight_rule *r, gy_shape s, gy_shape *out) {
    *out = s;
    if (r && r->parts) {
        if (s.rank < 1 || s.dim[0] % r->parts) return false;
        out->dim[0] = s.dim[0] / r->parts;
    }
    if (r && r->transpose) {
        if (s.rank != 2) return false;
        int64_t rows = out->dim[0];
        out->dim[0] = out->dim[1];
        out->dim[1] = rows;
    }
    return true;
}

void gy_weight_take(const gy_weight_rule *r, const gy_tensor *t, gy_tensor *out) {
    size_t size = gy_dtype_size(t->dtype), bytes = gy_tensor_bytes(out);
    const char *src = (const char *)t->data + (r && r->parts ? (size_t)r->part * bytes : 0);
    if (!r || !r->transpose) {
        memcpy(out->data, src, bytes);
        return;
    }
    int64_t rows = out->shape.dim[0], columns = out->shape.dim[1];
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < columns; j++)
            memcpy((char *)out->data + (size_t)(i * columns + j) * size, src + (size_t)(j * rows + i) * size, size);
}
