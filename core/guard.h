/* guard.h: in a build with the address sanitizer, the parts of a block that nobody may touch just now are out of
 * bounds; in any other build these calls do nothing. */
#ifndef GY_CORE_GUARD_H
#define GY_CORE_GUARD_H

#include <stddef.h>

#if defined(__SANITIZE_ADDRESS__)
#define GY_GUARDED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define GY_GUARDED 1
#endif
#endif

#ifdef GY_GUARDED
#include <sanitizer/asan_interface.h>
static inline void gy_guard(const void *p, size_t bytes) {
    __asan_poison_memory_region(p, bytes);
}
static inline void gy_unguard(const void *p, size_t bytes) {
    __asan_unpoison_memory_region(p, bytes);
}
#else
static inline void gy_guard(const void *p, size_t bytes) {
    (void)p, (void)bytes;
}
static inline void gy_unguard(const void *p, size_t bytes) {
    (void)p, (void)bytes;
}
#endif

#endif
