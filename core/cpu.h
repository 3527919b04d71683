/* cpu.h: which instruction sets kernels may use: what the CPU and the operating system offer,
 * masked by GYRUS_ISA. */
#ifndef GY_CPU_H
#define GY_CPU_H

#include "base.h"

/* Tiers, worst to best; a tier implies those below it. */
typedef enum gy_isa {
    GY_ISA_REF = 0,            /* plain C */
    GY_ISA_AVX2,               /* AVX2, FMA, F16C */
    GY_ISA_AVX512,             /* AVX-512 F, BW, DQ, VL */
    GY_ISA_AVX512BF16,         /* and BF16 */
    GY_ISA_COUNT,              /* of the CPU's tiers */
    GY_ISA_CUDA = GY_ISA_COUNT /* kernels for GPUs: the only tier of plans on a device */
} gy_isa;

const char *gy_isa_name(gy_isa isa); /* "ref", "avx2", "avx512", "avx512bf16" */
/* Bit (1 << tier) for each tier that may be used. `want` NULL: all the machine has; "avx2": up to
 * avx2; an unknown name counts as "ref" (the command line refuses it first with gy_isa_parse). */
uint64_t gy_isa_detect(const char *want);
bool gy_isa_parse(const char *name, gy_isa *out);
uint64_t gy_ctx_isa_mask(const gy_ctx *ctx);

#endif
