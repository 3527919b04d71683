#include "base.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    size_t size;
    bool is_float;
} dtypes[GY_DTYPE_COUNT] = {
    [GY_DTYPE_DEFAULT] = {"default", 0, false},
    [GY_F32] = {"f32", 4, true},
    [GY_F64] = {"f64", 8, true},
    [GY_BF16] = {"bf16", 2, true},
    [GY_F16] = {"f16", 2, true},
    [GY_I8] = {"i8", 1, false},
    [GY_U8] = {"u8", 1, false},
    [GY_I16] = {"i16", 2, false},
    [GY_U16] = {"u16", 2, false},
    [GY_I32] = {"i32", 4, false},
    [GY_U32] = {"u32", 4, false},
    [GY_I64] = {"i64", 8, false},
    [GY_U64] = {"u64", 8, false},
    [GY_BOOL] = {"bool", 1, false},
};

static bool known(gy_dtype t) {
    return t > GY_DTYPE_DEFAULT && t < GY_DTYPE_COUNT;
}

size_t gy_dtype_size(gy_dtype t) {
    return known(t) ? dtypes[t].size : 0;
}

const char *gy_dtype_name(gy_dtype t) {
    return known(t) ? dtypes[t].name : "?";
}

bool gy_dtype_is_float(gy_dtype t) {
    return known(t) && dtypes[t].is_float;
}

bool gy_dtype_parse(const char *name, gy_dtype *out) {
    for (int i = 1; i < GY_DTYPE_COUNT; i++)
        if (strcmp(name, dtypes[i].name) == 0) {
            *out = (gy_dtype)i;
            return true;
        }
    return false;
}

static uint32_t bits_of(float x) {
    uint32_t u;
    memcpy(&u, &x, 4);
    return u;
}

static float float_of(uint32_t u) {
    float x;
    memcpy(&x, &u, 4);
    return x;
}

uint16_t gy_f32_to_bf16(float x) {
    uint32_t u = bits_of(x);
    if ((u & 0x7fffffffu) > 0x7f800000u) return (uint16_t)(u >> 16 | 0x40u); /* quiet NaN */
    return (uint16_t)((u + 0x7fffu + (u >> 16 & 1u)) >> 16);
}

float gy_bf16_to_f32(uint16_t h) {
    return float_of((uint32_t)h << 16);
}

uint16_t gy_f32_to_f16(float x) {
    uint32_t u = bits_of(x), sign = u >> 16 & 0x8000u, a = u & 0x7fffffffu;
    if (a > 0x7f800000u) return (uint16_t)(sign | 0x7e00u);
    if (a >= 0x477ff000u) return (uint16_t)(sign | 0x7c00u); /* rounds to 65536 or more: infinity */
    if (a < 0x38800000u) {                                   /* below 2^-14: subnormal in f16 */
        float scaled = float_of(a) * 16777216.0f;            /* units of 2^-24, exact */
        return (uint16_t)(sign | (uint32_t)nearbyintf(scaled));
    }
    uint32_t r = a + 0xfffu + (a >> 13 & 1u);
    return (uint16_t)(sign | ((r - 0x38000000u) >> 13));
}

float gy_f16_to_f32(uint16_t h) {
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16, e = h >> 10 & 0x1fu, m = h & 0x3ffu;
    if (e == 0) {
        float x = (float)m * (1.0f / 16777216.0f);
        return sign ? -x : x;
    }
    if (e == 31) return float_of(sign | 0x7f800000u | m << 13);
    return float_of(sign | (e + 112u) << 23 | m << 13);
}

int64_t gy_shape_count(gy_shape s) {
    int64_t n = 1;
    for (int64_t i = 0; i < s.rank; i++) n *= s.dim[i];
    return n;
}

bool gy_shape_equal(gy_shape a, gy_shape b) {
    if (a.rank != b.rank) return false;
    for (int64_t i = 0; i < a.rank; i++)
        if (a.dim[i] != b.dim[i]) return false;
    return true;
}

char *gy_shape_text(gy_shape s, char buf[GY_SHAPE_TEXT]) {
    int n = snprintf(buf, GY_SHAPE_TEXT, "[");
    for (int64_t i = 0; i < s.rank; i++)
        n += snprintf(buf + n, (size_t)(GY_SHAPE_TEXT - n), "%s%" PRId64, i ? ", " : "", s.dim[i]);
    snprintf(buf + n, (size_t)(GY_SHAPE_TEXT - n), "]");
    return buf;
}

static bool checked_bytes(gy_dtype dtype, gy_shape s, uint64_t *bytes) {
    uint64_t n = gy_dtype_size(dtype);
    bool zero = false;
    for (int64_t i = 0; i < s.rank; i++) {
        if (s.dim[i] < 0) return false;
        if (s.dim[i] == 0) zero = true;
    }
    if (zero) n = 0;
    for (int64_t i = 0; i < s.rank && n; i++)
        if (!gy_mul_u64(n, (uint64_t)s.dim[i], &n)) return false;
    *bytes = n;
    return n <= SIZE_MAX / 2;
}

gy_status gy_tensor_new(gy_ctx *ctx, gy_tensor *t, gy_dtype dtype, gy_shape shape) {
    uint64_t bytes;
    char text[GY_SHAPE_TEXT];
    memset(t, 0, sizeof *t);
    if (shape.rank < 0 || shape.rank > GY_MAX_RANK || !known(dtype))
        return gy_fail(ctx, GY_ERR_SHAPE, "tensor: rank %" PRId64 ", dtype %s", shape.rank, gy_dtype_name(dtype));
    if (!checked_bytes(dtype, shape, &bytes))
        return gy_fail(ctx, GY_ERR_SHAPE, "tensor: impossible shape %s", gy_shape_text(shape, text));
    void *data = gy_calloc(ctx, 1, (size_t)bytes);
    if (!data) return GY_ERR_NOMEM;
    *t = (gy_tensor){.dtype = dtype, .shape = shape, .data = data};
    return GY_OK;
}

void gy_tensor_free(gy_ctx *ctx, gy_tensor *t) {
    if (!t->borrowed) gy_free(ctx, t->data);
    memset(t, 0, sizeof *t);
}

size_t gy_tensor_bytes(const gy_tensor *t) {
    return (size_t)gy_shape_count(t->shape) * gy_dtype_size(t->dtype);
}

double gy_tensor_get(const gy_tensor *t, int64_t i) {
    const void *d = t->data;
    switch (t->dtype) {
    case GY_F32: return (double)((const float *)d)[i];
    case GY_F64: return ((const double *)d)[i];
    case GY_BF16: return (double)gy_bf16_to_f32(((const uint16_t *)d)[i]);
    case GY_F16: return (double)gy_f16_to_f32(((const uint16_t *)d)[i]);
    case GY_I8: return (double)((const int8_t *)d)[i];
    case GY_U8:
    case GY_BOOL: return (double)((const uint8_t *)d)[i];
    case GY_I16: return (double)((const int16_t *)d)[i];
    case GY_U16: return (double)((const uint16_t *)d)[i];
    case GY_I32: return (double)((const int32_t *)d)[i];
    case GY_U32: return (double)((const uint32_t *)d)[i];
    case GY_I64: return (double)((const int64_t *)d)[i];
    case GY_U64: return (double)((const uint64_t *)d)[i];
    default: return 0.0;
    }
}

/* To the nearest integer inside [lo, hi]; NaN becomes 0. */
static double saturate(double v, double lo, double hi) {
    if (!(v == v)) return 0.0;
    v = nearbyint(v);
    return v < lo ? lo : v > hi ? hi : v;
}

void gy_tensor_set(gy_tensor *t, int64_t i, double v) {
    void *d = t->data;
    switch (t->dtype) {
    case GY_F32: ((float *)d)[i] = (float)v; break;
    case GY_F64: ((double *)d)[i] = v; break;
    case GY_BF16: ((uint16_t *)d)[i] = gy_f32_to_bf16((float)v); break;
    case GY_F16: ((uint16_t *)d)[i] = gy_f32_to_f16((float)v); break;
    case GY_I8: ((int8_t *)d)[i] = (int8_t)saturate(v, -128, 127); break;
    case GY_U8: ((uint8_t *)d)[i] = (uint8_t)saturate(v, 0, 255); break;
    case GY_BOOL: ((uint8_t *)d)[i] = v != 0.0; break;
    case GY_I16: ((int16_t *)d)[i] = (int16_t)saturate(v, -32768, 32767); break;
    case GY_U16: ((uint16_t *)d)[i] = (uint16_t)saturate(v, 0, 65535); break;
    case GY_I32: ((int32_t *)d)[i] = (int32_t)saturate(v, -2147483648.0, 2147483647.0); break;
    case GY_U32: ((uint32_t *)d)[i] = (uint32_t)saturate(v, 0, 4294967295.0); break;
    /* 2^63 - 1024 and 2^64 - 2048 are the largest doubles below the ends */
    case GY_I64: ((int64_t *)d)[i] = (int64_t)saturate(v, -9223372036854775808.0, 9223372036854774784.0); break;
    case GY_U64: ((uint64_t *)d)[i] = (uint64_t)saturate(v, 0, 18446744073709549568.0); break;
    default: break;
    }
}

gy_status gy_tensor_cast(gy_ctx *ctx, const gy_tensor *src, gy_dtype dtype, gy_tensor *out) {
    gy_status s = gy_tensor_new(ctx, out, dtype, src->shape);
    if (s != GY_OK) return s;
    int64_t n = gy_shape_count(src->shape);
    if (dtype == src->dtype) {
        memcpy(out->data, src->data, gy_tensor_bytes(src));
        return GY_OK;
    }
    for (int64_t i = 0; i < n; i++) gy_tensor_set(out, i, gy_tensor_get(src, i));
    return GY_OK;
}

/* FNV-1a over bytes, then a strong mix so that low and high bits are equally good. */
uint64_t gy_hash(const void *data, size_t bytes, uint64_t seed) {
    const uint8_t *p = data;
    uint64_t h = 0xcbf29ce484222325u ^ seed * 0x9E3779B97F4A7C15u;
    for (size_t i = 0; i < bytes; i++) h = (h ^ p[i]) * 0x100000001b3u;
    h ^= h >> 32;
    h *= 0xd6e8feb86659fd93u;
    h ^= h >> 32;
    return h;
}

uint64_t gy_hash_str(const char *s, uint64_t seed) {
    return gy_hash(s, strlen(s), seed);
}
