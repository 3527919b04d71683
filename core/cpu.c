#include "cpu.h"
#include "internal.h"

#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

static const char *const names[GY_ISA_COUNT] = {"ref", "avx2", "avx512", "avx512bf16"};

const char *gy_isa_name(gy_isa isa) {
    return isa == GY_ISA_CUDA ? "cuda" : isa >= 0 && isa < GY_ISA_COUNT ? names[isa] : "?";
}

bool gy_isa_parse(const char *name, gy_isa *out) {
    for (int i = 0; i < GY_ISA_COUNT; i++)
        if (strcmp(name, names[i]) == 0) {
            *out = (gy_isa)i;
            return true;
        }
    return false;
}

#if defined(__x86_64__)
static uint64_t xgetbv0(void) {
    uint32_t lo, hi;
    __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
    return (uint64_t)hi << 32 | lo;
}

/* The operating system must save the wide registers too (XCR0), or the first use would fault. */
static gy_isa best_tier(void) {
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d)) return GY_ISA_REF;
    const unsigned fma = 1u << 12, osxsave = 1u << 27, avx = 1u << 28, f16c = 1u << 29;
    if ((c & (fma | osxsave | avx | f16c)) != (fma | osxsave | avx | f16c)) return GY_ISA_REF;
    uint64_t xcr0 = xgetbv0();
    if ((xcr0 & 0x6) != 0x6) return GY_ISA_REF;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(b & 1u << 5)) return GY_ISA_REF;
    const unsigned f = 1u << 16, dq = 1u << 17, bw = 1u << 30, vl = 1u << 31;
    if ((xcr0 & 0xe6) != 0xe6 || (b & (f | dq | bw | vl)) != (f | dq | bw | vl)) return GY_ISA_AVX2;
    if (!__get_cpuid_count(7, 1, &a, &b, &c, &d) || !(a & 1u << 5)) return GY_ISA_AVX512;
    return GY_ISA_AVX512BF16;
}
#else
static gy_isa best_tier(void) {
    return GY_ISA_REF;
}
#endif

uint64_t gy_isa_detect(const char *want) {
    gy_isa best = best_tier(), cap;
    if (want && *want) {
        if (!gy_isa_parse(want, &cap)) cap = GY_ISA_REF;
        if (cap < best) best = cap;
    }
    return (UINT64_C(2) << best) - 1;
}

uint64_t gy_ctx_isa_mask(const gy_ctx *ctx) {
    return ctx->isa_mask;
}
