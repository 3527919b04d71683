/* probes.h: loops whose speed is a limit of the machine: multiply-adds on registers, reading, copying.
 * A file-size table of them, one row a unit and instruction set, stands in probes.c. */
#ifndef GY_BENCH_PROBES_H
#define GY_BENCH_PROBES_H

#include "bench.h"

/* Does `rounds` x a fixed count of operations on registers; the result only keeps the loop alive. */
typedef float (*bench_arithmetic_fn)(int64_t rounds);
typedef struct bench_arithmetic {
    bench_arithmetic_fn run;
    double flops; /* of one round; a multiply-add is 2. 0: the machine has no such instruction */
} bench_arithmetic;
/* The fastest loop for `unit` among the tiers of the mask. */
bench_arithmetic bench_arithmetic_probe(bench_unit unit, uint64_t isa_mask);

/* `bytes` is a multiple of 512 and both pointers are 64-byte aligned. */
typedef struct bench_streams {
    uint64_t (*read)(const void *src, int64_t bytes);
    void (*copy)(void *dst, const void *src, int64_t bytes);
    void (*copy_past)(void *dst, const void *src, int64_t bytes); /* stores that bypass the caches; NULL: none */
} bench_streams;
bench_streams bench_stream_probe(uint64_t isa_mask);

#endif
