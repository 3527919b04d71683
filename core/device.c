#include "device.h"
#include "internal.h"

#include <stdio.h>
#include <string.h>

gy_status gy_ctx_set_device(gy_ctx *ctx, const char *name) {
    int index = 0, used = 0;
    if (ctx->device) {
        ctx->device->close(ctx->device);
        ctx->device = NULL;
    }
    if (!name || !*name || strcmp(name, "cpu") == 0) return GY_OK;
    if (strcmp(name, "emu") == 0) {
        ctx->device = gy_emulator_open(ctx);
    } else if (strcmp(name, "cuda") == 0 ||
               (sscanf(name, "cuda:%d%n", &index, &used) == 1 && !name[used] && index >= 0)) {
        ctx->device = gy_cuda_open(ctx, name[4] ? index : gy_group_local_rank(ctx->group));
    } else {
        return gy_fail(ctx, GY_ERR_USAGE, "device '%s': expected cpu, cuda, cuda:N or emu", name);
    }
    return ctx->device ? GY_OK : gy_error_status(ctx);
}

gy_device *gy_ctx_device(const gy_ctx *ctx) {
    return ctx->device;
}

void gy_device_fail(gy_device *d, const char *fmt, ...) {
    if (*d->error) return;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(d->error, sizeof d->error, fmt, ap);
    va_end(ap);
}

gy_status gy_device_wait(gy_device *d) {
    d->wait(d);
    return *d->error ? gy_fail(d->ctx, GY_ERR_DEVICE, "%s: %s", d->name, d->error) : GY_OK;
}
