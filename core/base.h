/* base.h: what everything else stands on: status codes and messages, the one allocator,
 * element types, shapes, plain host tensors.
 *
 * Every call that can fail returns a gy_status (or NULL); the message is on the context and says
 * what, where, what was expected and what was found. Nothing here exits, asserts on user input or
 * keeps global mutable state; several contexts may live in one process. */
#ifndef GY_BASE_H
#define GY_BASE_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GY_VERSION "0.1.0"

#if defined(__GNUC__)
#define GY_PRINTF(f, a) __attribute__((format(printf, f, a)))
#define GY_MUST_CHECK   __attribute__((warn_unused_result))
#else
#define GY_PRINTF(f, a)
#define GY_MUST_CHECK
#endif

typedef enum gy_status {
    GY_OK = 0,
    GY_ERR_USAGE,       /* the caller's arguments or options are wrong */
    GY_ERR_NOMEM,       /* an allocation failed or would pass a limit */
    GY_ERR_IO,          /* open, read, write, rename, disk full */
    GY_ERR_FORMAT,      /* a file's content is not legal */
    GY_ERR_SHAPE,       /* shapes or dtypes do not fit */
    GY_ERR_NUMERIC,     /* NaN, Inf, singular, no convergence */
    GY_ERR_UNSUPPORTED, /* legal, but nothing here handles it (named in the message) */
    GY_ERR_INTERRUPTED, /* SIGINT/SIGTERM: stopped after a clean save */
    GY_ERR_DEVICE       /* a GPU (or its emulator) reports a fault */
} gy_status;

/* ---- context ------------------------------------------------------------------------------ */

/* The caller's allocator. `alloc` returns at least 64-byte aligned memory or NULL. */
typedef struct gy_allocator {
    void *(*alloc)(void *user, size_t bytes);
    void (*free)(void *user, void *p, size_t bytes);
    void *user;
} gy_allocator;

typedef struct gy_pool gy_pool; /* threads.h */

/* One context owns an allocator, a message, a thread pool and the CPU feature mask.
 * A context is used by one thread at a time. */
typedef struct gy_ctx gy_ctx;

typedef struct gy_ctx_args {
    int threads;                   /* 0: affinity mask and cgroup quota decide */
    const gy_allocator *allocator; /* NULL: the C library's */
    const char *isa;               /* NULL: environment GYRUS_ISA, else the best the CPU has */
} gy_ctx_args;

gy_ctx *gy_ctx_new(gy_ctx_args args); /* NULL only if memory for the context itself is missing */
void gy_ctx_free(gy_ctx *ctx);

/* Records a message and returns `status`, so that `return gy_fail(ctx, GY_ERR_IO, ...)` reads well. */
gy_status gy_fail(gy_ctx *ctx, gy_status status, const char *fmt, ...) GY_PRINTF(3, 4);
/* Puts "prefix: " before the present message (a file name before a parser's complaint). */
void gy_error_prefix(gy_ctx *ctx, const char *fmt, ...) GY_PRINTF(2, 3);
const char *gy_error(const gy_ctx *ctx); /* "" if none */
gy_status gy_error_status(const gy_ctx *ctx);
void gy_error_clear(gy_ctx *ctx);
/* A remark that does not stop the work; printed once by the command line ("warning: ..."). */
void gy_warn(gy_ctx *ctx, const char *fmt, ...) GY_PRINTF(2, 3);
void gy_set_warn_handler(gy_ctx *ctx, void (*handler)(void *user, const char *text), void *user);

gy_pool *gy_ctx_pool(gy_ctx *ctx);

/* ---- memory: every allocation in Gyrus passes through these -------------------------------- */

/* 64-byte aligned; NULL with GY_ERR_NOMEM recorded on failure. Zero bytes give a valid pointer. */
void *gy_malloc(gy_ctx *ctx, size_t bytes) GY_MUST_CHECK;
void *gy_calloc(gy_ctx *ctx, size_t count, size_t size) GY_MUST_CHECK; /* checked multiply, zeroed */
void *gy_realloc(gy_ctx *ctx, void *p, size_t bytes) GY_MUST_CHECK;    /* p survives a failure */
void gy_free(gy_ctx *ctx, void *p);                                    /* NULL is fine */
char *gy_strdup(gy_ctx *ctx, const char *s) GY_MUST_CHECK;
char *gy_format(gy_ctx *ctx, const char *fmt, ...) GY_PRINTF(2, 3) GY_MUST_CHECK; /* owned string */
size_t gy_mem_live(const gy_ctx *ctx); /* bytes now allocated through this context */
size_t gy_mem_peak(const gy_ctx *ctx);
/* Makes the n-th allocation from now fail (1 = the next one); 0 switches the fault off. For tests. */
void gy_mem_fail_at(gy_ctx *ctx, int64_t n);

/* Checked size arithmetic: false on overflow, *out untouched. */
static inline bool gy_mul_u64(uint64_t a, uint64_t b, uint64_t *out) {
    if (a != 0 && b > UINT64_MAX / a) return false;
    *out = a * b;
    return true;
}
static inline bool gy_add_u64(uint64_t a, uint64_t b, uint64_t *out) {
    if (b > UINT64_MAX - a) return false;
    *out = a + b;
    return true;
}

/* A bump allocator over gy_malloc: many small pieces, freed together. */
typedef struct gy_arena {
    gy_ctx *ctx;
    struct gy_arena_block *head;
} gy_arena;
void gy_arena_init(gy_arena *a, gy_ctx *ctx);
void *gy_arena_alloc(gy_arena *a, size_t bytes) GY_MUST_CHECK; /* zeroed, 16-byte aligned; NULL on failure */
char *gy_arena_strdup(gy_arena *a, const char *s) GY_MUST_CHECK;
void gy_arena_free(gy_arena *a);

/* ---- element types -------------------------------------------------------------------------- */

/* 0 means "default" wherever an option holds a dtype. The engine computes in F32 and F64, stores
 * BF16 and F16, indexes with I32 and I64 and masks with U8 (0 or 1); the others exist for files. */
typedef enum gy_dtype {
    GY_DTYPE_DEFAULT = 0,
    GY_F32,
    GY_F64,
    GY_BF16,
    GY_F16,
    GY_I8,
    GY_U8,
    GY_I16,
    GY_U16,
    GY_I32,
    GY_U32,
    GY_I64,
    GY_U64,
    GY_BOOL,
    GY_DTYPE_COUNT
} gy_dtype;

size_t gy_dtype_size(gy_dtype t);      /* bytes an element */
const char *gy_dtype_name(gy_dtype t); /* "f32", "bf16", ... */
bool gy_dtype_is_float(gy_dtype t);    /* F32, F64, BF16, F16 */
bool gy_dtype_parse(const char *name, gy_dtype *out);

/* Round to nearest even; NaN stays NaN. */
uint16_t gy_f32_to_bf16(float x);
float gy_bf16_to_f32(uint16_t h);
uint16_t gy_f32_to_f16(float x);
float gy_f16_to_f32(uint16_t h);

/* ---- shapes ---------------------------------------------------------------------------------- */

#define GY_MAX_RANK 8

/* Dimensions outermost first, row-major. All members are 64-bit so that attribute structs that hold
 * shapes have no padding (they are compared byte by byte). */
typedef struct gy_shape {
    int64_t rank;
    int64_t dim[GY_MAX_RANK];
} gy_shape;

/* GY_S(2, 3, 4) is the shape [2, 3, 4]; GY_S0 is a scalar. */
#define GY_S(...)                                                                                                      \
    ((gy_shape){.rank = (int64_t)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), .dim = {__VA_ARGS__}})
#define GY_S0 ((gy_shape){.rank = 0})

int64_t gy_shape_count(gy_shape s); /* product of dims; a scalar has 1 */
bool gy_shape_equal(gy_shape a, gy_shape b);
/* "[2, 3, 4]" into a caller's buffer of at least GY_SHAPE_TEXT bytes; returns buf. */
#define GY_SHAPE_TEXT 192
char *gy_shape_text(gy_shape s, char buf[GY_SHAPE_TEXT]);

/* ---- host tensors ----------------------------------------------------------------------------- */

/* Contiguous row-major data in host memory: what files hold and what goes in and out of a plan. */
typedef struct gy_tensor {
    gy_dtype dtype;
    gy_shape shape;
    void *data;    /* gy_malloc'd unless `borrowed` */
    bool borrowed; /* data belongs to somebody else (a mapped file, a caller's array) */
} gy_tensor;

/* Allocates zeroed data. On failure *t is all zero. */
gy_status gy_tensor_new(gy_ctx *ctx, gy_tensor *t, gy_dtype dtype, gy_shape shape) GY_MUST_CHECK;
void gy_tensor_free(gy_ctx *ctx, gy_tensor *t); /* leaves *t all zero */
size_t gy_tensor_bytes(const gy_tensor *t);
/* Element i as double, whatever the dtype (i64 beyond 2^53 rounds). */
double gy_tensor_get(const gy_tensor *t, int64_t i);
void gy_tensor_set(gy_tensor *t, int64_t i, double v); /* rounds to the dtype; integers saturate */
/* A new tensor of another dtype. */
gy_status gy_tensor_cast(gy_ctx *ctx, const gy_tensor *src, gy_dtype dtype, gy_tensor *out) GY_MUST_CHECK;

/* ---- hashing (names, attributes, RNG keys, data fingerprints) ------------------------------- */
uint64_t gy_hash(const void *data, size_t bytes, uint64_t seed); /* FNV-1a with a final mix */
uint64_t gy_hash_str(const char *s, uint64_t seed);

#endif
