/* The catalogue: one line a file under models/<family>/, written by the Makefile. A file models/x/some-slug.c
 * that does not define gy_model_some_slug fails to link. */
#include "../core/model.h"

#include <string.h>

#define X(name) extern const gy_model_def gy_model_##name;
#include "models.inc"
#undef X

const gy_model_def *const gy_models[] = {
#define X(name) &gy_model_##name,
#include "models.inc"
#undef X
    NULL};

const gy_model_def *gy_model_find(const char *slug) {
    for (const gy_model_def *const *m = gy_models; *m; m++)
        if (strcmp((*m)->slug, slug) == 0) return *m;
    return NULL;
}
