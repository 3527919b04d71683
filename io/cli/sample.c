/* gyrus sample: pictures from a generative model, as one PNG grid; texts from a language model (sample_text.c). */
#include "cli.h"

#include "../files.h"
#include "../report/raster.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

static gy_status write_grid(gy_ctx *ctx, const char *path, const gy_tensor *t) {
    char text[GY_SHAPE_TEXT];
    if (t->dtype != GY_F32 || t->shape.rank != 4 || t->shape.dim[0] < 1)
        return gy_fail(ctx, GY_ERR_SHAPE, "samples: expected f32 [n, height, width, channels], found %s %s",
                       gy_dtype_name(t->dtype), gy_shape_text(t->shape, text));
    int64_t n = t->shape.dim[0], h = t->shape.dim[1], w = t->shape.dim[2], c = t->shape.dim[3];
    gy_image *img = gy_calloc(ctx, (size_t)n, sizeof *img), grid = {0};
    gy_status s = img ? GY_OK : GY_ERR_NOMEM;
    for (int64_t i = 0; s == GY_OK && i < n; i++)
        s = gy_raster_image(ctx, (const float *)t->data + i * h * w * c, h, w, c, &img[i]);
    int64_t columns = (int64_t)ceil(sqrt((double)n)), scale = h < 64 && w < 64 ? 4 : 1;
    if (s == GY_OK) s = gy_raster_grid(ctx, img, n, columns, scale, 2, &grid);
    if (s == GY_OK) s = gy_png_write(ctx, path, &grid, "gyrus sample");
    gy_image_free(ctx, &grid);
    for (int64_t i = 0; img && i < n; i++) gy_image_free(ctx, &img[i]);
    gy_free(ctx, img);
    return s;
}

static gy_status pictures(gy_ctx *ctx, const cli_args *a, gy_job *j) {
    const char *out = cli_get(a, "-o");
    int64_t n = 16;
    gy_tensor t = {0};
    if (!out) return gy_fail(ctx, GY_ERR_USAGE, "expected -o FILE.png (see: gyrus sample --help)");
    if (!gy_path_has_suffix(out, ".png"))
        return gy_fail(ctx, GY_ERR_USAGE, "-o %s: expected a name ending in .png", out);
    if (!cli_int(ctx, a, "-n", 1, 65536, &n) || !cli_u64(ctx, a, "--seed", &j->seed)) return GY_ERR_USAGE;
    gy_status s = cli_load_weights(ctx, a, j);
    if (s == GY_OK) s = j->def->sample(j, n, &t);
    if (s == GY_OK) s = write_grid(ctx, out, &t);
    gy_tensor_free(ctx, &t);
    if (s == GY_OK) fprintf(stderr, "%s: %" PRId64 " samples of %s\n", out, n, j->def->slug);
    return s;
}

static gy_status sample(gy_ctx *ctx, const cli_args *a, gy_job *j) {
    gy_status s = cli_open_model(ctx, a, j, true);
    if (s != GY_OK) return s;
    if (j->def->complete) return cli_sample_text(ctx, a, j);
    if (j->def->sample) return pictures(ctx, a, j);
    return gy_fail(ctx, GY_ERR_UNSUPPORTED,
                   "%s is no generative model: it has nothing to sample (inference: gyrus run)", j->def->slug);
}

int cli_sample(gy_ctx *ctx, const cli_args *a) {
    gy_job j = {0};
    if (a->n_positional != 1) return cli_usage_error(ctx, a, "expected one model or run folder");
    gy_status s = sample(ctx, a, &j);
    gy_job_free(&j);
    return s == GY_OK ? CLI_OK : cli_fail(ctx, a);
}
