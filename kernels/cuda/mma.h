/* mma.h: tensor cores and the copies that feed them, one wrapper an instruction of PTX; without nvcc, the emulator's
 * (emu/mma.c). Layouts are those of "Parallel Thread Execution ISA", by its sections' names; tests/cuda/conformance.cu
 * shows what each wrapper does, on a GPU or emulated.
 *
 * A lane's group is lane / 4, its place in the group lane % 4. */
#ifndef GY_CUDA_MMA_H
#define GY_CUDA_MMA_H

#include "cuda.h"

/* Describes a matrix of bf16 in global memory, to be copied in tiles of `box` (gy_device's tile_map makes it). It must
 * lie in the arguments of a kernel. */
typedef struct __attribute__((aligned(64))) {
    uint64_t opaque[16];
} gy_tile_map;

#ifdef __CUDACC__

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define GY_SM90A 1 /* compiled for sm_90a */
#endif

GY_DEVICE uint32_t gy_shared_address(const void *p) {
    return (uint32_t)__cvta_generic_to_shared(p);
}

/* Section "ldmatrix". Four matrices of 8 x 8 16-bit elements from shared memory: lane l gives the address of row l % 8
 * of matrix l / 8, 16 bytes, aligned. Register i holds of matrix i the elements (row group, columns 2 place, 2 place +
 * 1), the first in the lower half; transposed: of its transpose. */
GY_DEVICE void gy_ldmatrix_x4(uint32_t r[4], const void *row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(gy_shared_address(row))
                 : "memory");
}
GY_DEVICE void gy_ldmatrix_x4_transposed(uint32_t r[4], const void *row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(gy_shared_address(row))
                 : "memory");
}

/* Section "Matrix Fragments for mma.m16n8k16 with floating point type". c [16, 8] += a [16, 16] b [16, 8]; two bf16 a
 * register, the lower column (b: row) in the lower half.
 *   a: registers 0, 1: rows group, group + 8, columns 2 place, + 1; 2, 3: the same rows, columns 2 place + 8, + 9.
 *   b: registers 0, 1: column group, rows 2 place, + 1; 2 place + 8, + 9.
 *   c: 0, 1: row group, columns 2 place, + 1; 2, 3: row group + 8. */
GY_DEVICE void gy_mma_16816_bf16(float c[4], const uint32_t a[4], const uint32_t b[2]) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                 "{%0, %1, %2, %3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

/* Section "Matrix Fragments for mma.m16n8k8" (.tf32). c [16, 8] += a [16, 8] b [8, 8], values from gy_tf32_bits.
 *   a: 0, 1: rows group, group + 8, column place; 2, 3: column place + 4.
 *   b: 0, 1: column group, rows place, place + 4. c: as above. */
GY_DEVICE void gy_mma_1688_tf32(float c[4], const uint32_t a[4], const uint32_t b[2]) {
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                 "{%0, %1, %2, %3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
/* Section "cvt": to 10 bits of mantissa, ties away from zero. */
GY_DEVICE uint32_t gy_tf32_bits(float x) {
    uint32_t y;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(y) : "f"(x));
    return y;
}
/* Two values rounded to bf16, to nearest even, lo in the lower half. NaN becomes a NaN. */
GY_DEVICE uint32_t gy_bf16x2(float lo, float hi) {
    uint32_t y;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(y) : "f"(hi), "f"(lo));
    return y;
}

/* Section "mbarrier". An object of 8 bytes in shared memory that counts a phase's arrivals and bytes still to come; the
 * phase of that parity (0, 1, 0, ...) has ended when gy_mbarrier_wait returns. */
GY_DEVICE void gy_mbarrier_init(uint64_t *barrier, int arrivals) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(gy_shared_address(barrier)), "r"(arrivals) : "memory");
}
/* After the initialisation, before other threads (and copies) use the objects; then a __syncthreads. */
GY_DEVICE void gy_mbarrier_fence(void) {
#ifdef GY_SM90A
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#endif
}
GY_DEVICE void gy_mbarrier_arrive(uint64_t *barrier) {
    asm volatile("{\n.reg .b64 s;\nmbarrier.arrive.shared::cta.b64 s, [%0];\n}" ::"r"(gy_shared_address(barrier))
                 : "memory");
}
/* Arrives, and makes the phase wait for so many bytes of copies. */
GY_DEVICE void gy_mbarrier_expect(uint64_t *barrier, int bytes) {
#ifdef GY_SM90A
    asm volatile(
        "{\n.reg .b64 s;\nmbarrier.arrive.expect_tx.shared::cta.b64 s, [%0], %1;\n}" ::"r"(gy_shared_address(barrier)),
        "r"(bytes)
        : "memory");
#endif
}
GY_DEVICE void gy_mbarrier_wait(uint64_t *barrier, int parity) {
#ifdef GY_SM90A
    asm volatile("{\n.reg .pred p;\nagain:\nmbarrier.try_wait.parity.shared::cta.b64 p, [%0], %1;\n@p bra done;\nbra "
                 "again;\ndone:\n}" ::"r"(gy_shared_address(barrier)),
                 "r"(parity)
                 : "memory");
#endif
}

/* Section "cp.async.bulk.tensor". The tile whose first element is (row, column) goes to shared memory, zeros where the
 * matrix has none, and its bytes count towards the barrier's phase. Section "Swizzling modes", 128 bytes: a row of the
 * tile is 128 bytes, rows follow one another, and of a byte's address bits 4-6 are exclusive-or'd with bits 7-9; `to`
 * begins on 1024 bytes. */
GY_DEVICE void gy_tile_load(void *to, const gy_tile_map *map, int64_t row, int64_t column, uint64_t *barrier) {
#ifdef GY_SM90A
    asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3}], "
                 "[%4];" ::"r"(gy_shared_address(to)),
                 "l"(map), "r"((int)column), "r"((int)row), "r"(gy_shared_address(barrier))
                 : "memory");
#endif
}

/* Section "Matrix Descriptor Format" of wgmma: a tile [lines][64] of bf16 as gy_tile_load leaves it, both operands
 * K-major: groups of 8 lines are 1024 bytes apart. 16 depths further on: 32 bytes further on. */
GY_DEVICE uint64_t gy_wgmma_operand(const void *tile) {
    return (uint64_t)(gy_shared_address(tile) & 0x3ffff) >> 4 | (uint64_t)1 << 16 | (uint64_t)(1024 >> 4) << 32 |
           (uint64_t)1 << 62;
}
/* Section "Register Fragments and Shared Memory Matrix Layouts", wgmma.m64nNk16. d [64, 128] = a [64, 16] b [128,
 * 16]^T (+ d), by the 128 threads of a warpgroup, some time before gy_wgmma_wait(n) returns: then all but its latest n
 * commits are done. Warp w has rows 16 w to 16 w + 15; its lanes hold for each 8 columns what an mma's c holds. d may
 * not be touched in between. gy_wgmma_begin comes before the first product after d was touched. */
GY_DEVICE void gy_wgmma_begin(void) {
#ifdef GY_SM90A
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
#endif
}
GY_DEVICE void gy_wgmma_commit(void) {
#ifdef GY_SM90A
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
#endif
}
GY_DEVICE void gy_wgmma_64x128x16(float d[64], uint64_t a, uint64_t b, int accumulate) {
#ifdef GY_SM90A
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %66, 0;\n"
                 "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {"
                 "%0, %1, %2, %3, %4, %5, %6, %7, "
                 "%8, %9, %10, %11, %12, %13, %14, %15, "
                 "%16, %17, %18, %19, %20, %21, %22, %23, "
                 "%24, %25, %26, %27, %28, %29, %30, %31, "
                 "%32, %33, %34, %35, %36, %37, %38, %39, "
                 "%40, %41, %42, %43, %44, %45, %46, %47, "
                 "%48, %49, %50, %51, %52, %53, %54, %55, "
                 "%56, %57, %58, %59, %60, %61, %62, %63"
                 "}, %64, %65, p, 1, 1, 0, 0;\n}"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]),
                   "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15]),
                   "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]), "+f"(d[22]),
                   "+f"(d[23]), "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]), "+f"(d[29]),
                   "+f"(d[30]), "+f"(d[31]), "+f"(d[32]), "+f"(d[33]), "+f"(d[34]), "+f"(d[35]), "+f"(d[36]),
                   "+f"(d[37]), "+f"(d[38]), "+f"(d[39]), "+f"(d[40]), "+f"(d[41]), "+f"(d[42]), "+f"(d[43]),
                   "+f"(d[44]), "+f"(d[45]), "+f"(d[46]), "+f"(d[47]), "+f"(d[48]), "+f"(d[49]), "+f"(d[50]),
                   "+f"(d[51]), "+f"(d[52]), "+f"(d[53]), "+f"(d[54]), "+f"(d[55]), "+f"(d[56]), "+f"(d[57]),
                   "+f"(d[58]), "+f"(d[59]), "+f"(d[60]), "+f"(d[61]), "+f"(d[62]), "+f"(d[63])
                 : "l"(a), "l"(b), "r"(accumulate));
#endif
}
#ifdef GY_SM90A
#define gy_wgmma_wait(n) asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(n) : "memory")
#else
#define gy_wgmma_wait(n) ((void)0)
#endif

#else /* emulated: emu/mma.c */

#define gy_ldmatrix_x4(r, row)            gy_emu_ldmatrix(r, row, false, __LINE__)
#define gy_ldmatrix_x4_transposed(r, row) gy_emu_ldmatrix(r, row, true, __LINE__)
#define gy_mma_16816_bf16(c, a, b)        gy_emu_mma_bf16(c, a, b, __LINE__)
#define gy_mma_1688_tf32(c, a, b)         gy_emu_mma_tf32(c, a, b, __LINE__)
#define gy_mbarrier_wait(barrier, parity) gy_emu_mbarrier_wait(barrier, parity, __LINE__)
#define gy_wgmma_wait(n)                  gy_emu_wgmma_wait(n, __LINE__)

void gy_emu_ldmatrix(uint32_t r[4], const void *row, bool transposed, int line);
void gy_emu_mma_bf16(float c[4], const uint32_t a[4], const uint32_t b[2], int line);
void gy_emu_mma_tf32(float c[4], const uint32_t a[4], const uint32_t b[2], int line);
uint32_t gy_tf32_bits(float x);
void gy_mbarrier_init(uint64_t *barrier, int arrivals);
void gy_mbarrier_arrive(uint64_t *barrier);
void gy_mbarrier_expect(uint64_t *barrier, int bytes);
void gy_tile_load(void *to, const gy_tile_map *map, int64_t row, int64_t column, uint64_t *barrier);
uint64_t gy_wgmma_operand(const void *tile);
void gy_wgmma_64x128x16(float d[64], uint64_t a, uint64_t b, int accumulate);
void gy_wgmma_commit(void);
void gy_emu_wgmma_wait(int pending, int line);
GY_DEVICE void gy_mbarrier_fence(void) {}
GY_DEVICE void gy_wgmma_begin(void) {}
GY_DEVICE uint32_t gy_bf16x2(float lo, float hi) {
    return (uint32_t)gy_bf16_bits(lo) | (uint32_t)gy_bf16_bits(hi) << 16;
}

#endif
#endif
