/* From a kernel's row to its device. */
#include "cuda.h"

void gy_cuda_launch(const gy_kargs *k, const gy_cuda_kernel *f, gy_grid grid, int threads, size_t shared,
                    const void *args, size_t args_bytes) {
    gy_device *d = k->device;
    if (grid.x <= 0 || grid.y <= 0 || grid.z <= 0) return;
    if (threads < GY_WARP || threads % GY_WARP || threads > f->most_threads || grid.x > INT32_MAX || grid.y > 65535 ||
        grid.z > 65535) {
        gy_device_fail(d, "kernel %s: %lld x %lld x %lld blocks of %d threads cannot be launched", f->name,
                       (long long)grid.x, (long long)grid.y, (long long)grid.z, threads);
        return;
    }
    d->launch(d, &(gy_launch){.kernel = f->name,
                              .emulate = f->emulate,
                              .grid = {grid.x, grid.y, grid.z},
                              .threads = threads,
                              .shared = shared,
                              .args = args,
                              .args_bytes = args_bytes});
}
