/* gyrus doctor: what this machine offers and what Gyrus makes of it. */
#define _GNU_SOURCE
#include "cli.h"

#include "../../bench/bench.h"
#include "../../core/op.h"
#include "../../kernels/kernel.h"
#include "../formats/json.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

typedef struct machine {
    char cpu[128], features[256];
    int64_t memory, available, limit; /* bytes; 0: unknown; limit: of the cgroup */
    int64_t cpus;
    bench_peaks peaks;
} machine;

/* "key   : value" of a file like /proc/cpuinfo. */
static bool proc_value(const char *path, const char *key, char *out, size_t n) {
    char line[8192];
    FILE *f = fopen(path, "r");
    bool found = false;
    if (!f) return false;
    while (!found && fgets(line, sizeof line, f)) {
        size_t len = strlen(key);
        if (strncmp(line, key, len) != 0) continue;
        char *p = line + len + strspn(line + len, " \t:");
        p[strcspn(p, "\n")] = 0;
        snprintf(out, n, "%s", p);
        found = true;
    }
    fclose(f);
    return found;
}

static int64_t kilobytes(const char *key) {
    char text[64];
    int64_t v;
    if (!proc_value("/proc/meminfo", key, text, sizeof text)) return 0;
    return gy_parse_int(text, strcspn(text, " "), &v) ? v * 1024 : 0;
}

static int64_t cgroup_limit(void) {
    char text[64];
    int64_t v;
    if (!proc_value("/sys/fs/cgroup/memory.max", "", text, sizeof text)) return 0;
    return gy_parse_int(text, strlen(text), &v) ? v : 0;
}

static void find_features(machine *m) {
    static const char *const known[] = {"sse4_2",      "avx",         "avx2",     "fma",      "f16c",
                                        "avx512f",     "avx512bw",    "avx512dq", "avx512vl", "avx512_bf16",
                                        "avx512_vnni", "avx512_fp16", "amx_tile", "amx_bf16"};
    char flags[8192];
    if (!proc_value("/proc/cpuinfo", "flags", flags, sizeof flags)) return;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        size_t len = strlen(known[i]), used = strlen(m->features);
        for (const char *p = flags; (p = strstr(p, known[i])); p += len)
            if ((p == flags || p[-1] == ' ') && (p[len] == ' ' || p[len] == 0)) {
                snprintf(m->features + used, sizeof m->features - used, "%s%s", used ? " " : "", known[i]);
                break;
            }
    }
}

static void examine(gy_ctx *ctx, machine *m) {
    *m = (machine){0};
    if (!proc_value("/proc/cpuinfo", "model name", m->cpu, sizeof m->cpu)) snprintf(m->cpu, sizeof m->cpu, "unknown");
    find_features(m);
    m->memory = kilobytes("MemTotal");
    m->available = kilobytes("MemAvailable");
    m->limit = cgroup_limit();
    m->cpus = sysconf(_SC_NPROCESSORS_ONLN);
    if (bench_measure_peaks(ctx, false, 4, &m->peaks) == GY_OK) return;
    gy_warn(ctx, "peaks are not measured: %s", gy_error(ctx)); /* the rest is still worth knowing */
    gy_error_clear(ctx);
    m->peaks = (bench_peaks){.gflops = NAN, .gbps = NAN};
}

/* The kernel that f32 operands get; *depends: a condition on the operands may send some to a lower tier. */
static const gy_kernel *f32_kernel(gy_op_id op, uint64_t mask, bool *depends) {
    int64_t n;
    const gy_kernel *k = gy_kernel_table(&n), *best = NULL;
    for (int64_t i = 0; i < n; i++) {
        if (k[i].op != op || (k[i].dtype != GY_F32 && k[i].dtype != GY_DTYPE_DEFAULT)) continue;
        if (k[i].flags & GY_K_BF16_COMPUTE) continue; /* for plans of precision bf16 */
        if (mask >> k[i].isa & 1 && (!best || k[i].isa > best->isa)) best = &k[i];
    }
    *depends = best && best->supports && best->isa != GY_ISA_REF;
    return best;
}

static void tiers_text(uint64_t mask, char *buf, size_t n) {
    *buf = 0;
    for (int i = 0; i < GY_ISA_COUNT; i++) {
        size_t used = strlen(buf);
        if (mask >> i & 1) snprintf(buf + used, n - used, "%s%s", used ? " " : "", gy_isa_name((gy_isa)i));
    }
}

/* "2 devices", or why there is none. */
static const char *cuda_text(int *devices, char text[128]) {
    const char *why;
    *devices = gy_cuda_count(&why);
    snprintf(text, 128, *devices == 1 ? "%d device" : "%d devices", *devices);
    if (!*devices) snprintf(text, 128, "no CUDA device: %s", why);
    return text;
}

static void print(gy_ctx *ctx, const machine *m) {
    char t1[32], t2[32], tiers[64];
    uint64_t mask = gy_ctx_isa_mask(ctx);
    printf("gyrus     %s\n", GY_VERSION);
    printf("cpu       %s, %" PRId64 " CPUs online\n", m->cpu, m->cpus);
    printf("features  %s\n", m->features);
    tiers_text(gy_isa_detect(NULL), tiers, sizeof tiers);
    printf("tiers     %s", tiers);
    tiers_text(mask, tiers, sizeof tiers);
    printf(" (in use: %s)\n", tiers);
    printf("threads   %d\n", gy_pool_threads(gy_ctx_pool(ctx)));
    printf("memory    %s, %s available", cli_bytes_text((double)m->memory, t1),
           cli_bytes_text((double)m->available, t2));
    if (m->limit) printf(", limit of this group %s", cli_bytes_text((double)m->limit, t1));
    if (isfinite(m->peaks.gflops))
        printf("\npeaks     %.0f GFLOP/s f32, %.1f GB/s (measured)\n", m->peaks.gflops, m->peaks.gbps);
    else
        printf("\npeaks     not measured\n");
    char text[128];
    int devices;
    printf("cuda      %s\n", cuda_text(&devices, text));
    for (int i = 0; i < devices; i++)
        if (gy_cuda_describe(i, text, sizeof text)) printf("  cuda:%d  %s\n", i, text);
    printf("\n%skernels for f32%s (* some operands go to a lower tier)\n", cli_bold(stdout), cli_plain(stdout));
    for (int i = 1; i < GY_OP_COUNT; i++) {
        bool depends;
        const gy_kernel *k = f32_kernel((gy_op_id)i, mask, &depends);
        if (gy_ops[i].flags & (GY_F_LEAF | GY_F_VIEW)) continue;
        printf("  %-22s %-11s %s%s\n", gy_ops[i].name, k ? gy_isa_name(k->isa) : "-", k ? k->name : "none for f32",
               depends ? " *" : "");
    }
}

static int print_json(gy_ctx *ctx, const cli_args *a, const machine *m) {
    gy_json_writer w;
    uint64_t mask = gy_ctx_isa_mask(ctx);
    gy_json_start(ctx, &w, false);
    gy_json_open_object(&w, NULL);
    gy_json_put_string(&w, "version", GY_VERSION);
    gy_json_put_string(&w, "cpu", m->cpu);
    gy_json_put_int(&w, "cpus", m->cpus);
    gy_json_put_string(&w, "features", m->features);
    gy_json_open_array(&w, "tiers");
    for (int i = 0; i < GY_ISA_COUNT; i++)
        if (mask >> i & 1) gy_json_put_string(&w, NULL, gy_isa_name((gy_isa)i));
    gy_json_close(&w);
    gy_json_put_int(&w, "threads", gy_pool_threads(gy_ctx_pool(ctx)));
    gy_json_put_int(&w, "memory_bytes", m->memory);
    gy_json_put_int(&w, "available_bytes", m->available);
    gy_json_put_real(&w, "peak_gflops", m->peaks.gflops);
    gy_json_put_real(&w, "peak_gbps", m->peaks.gbps);
    char cuda[128], device[128];
    int devices;
    cuda_text(&devices, cuda);
    gy_json_open_array(&w, "cuda_devices");
    for (int i = 0; i < devices; i++)
        if (gy_cuda_describe(i, device, sizeof device)) gy_json_put_string(&w, NULL, device);
    gy_json_close(&w);
    gy_json_put_string(&w, "cuda", cuda);
    gy_json_open_object(&w, "kernels");
    for (int i = 1; i < GY_OP_COUNT; i++) {
        bool depends;
        const gy_kernel *k = f32_kernel((gy_op_id)i, mask, &depends);
        if (gy_ops[i].flags & (GY_F_LEAF | GY_F_VIEW)) continue;
        gy_json_put_string(&w, gy_ops[i].name, k ? k->name : NULL);
    }
    gy_json_close(&w);
    gy_json_close(&w);
    char *text;
    size_t n;
    if (gy_json_finish(&w, &text, &n) != GY_OK) return cli_fail(ctx, a);
    printf("%s\n", text);
    gy_free(ctx, text);
    return CLI_OK;
}

int cli_doctor(gy_ctx *ctx, const cli_args *a) {
    machine m;
    if (a->n_positional) return cli_usage_error(ctx, a, "unexpected argument '%s'", a->positional[0]);
    examine(ctx, &m);
    if (cli_has(a, "--json")) return print_json(ctx, a, &m);
    print(ctx, &m);
    return CLI_OK;
}
