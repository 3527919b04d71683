/* Runs the cases: compiles each as a model would be, times it alone or in turns with every peer that offers the same,
 * and places it under the roofline (Williams, Waterman, Patterson 2009): the time that the machine allows is the
 * larger of operations / peak and bytes / bandwidth of the level that holds the operands. */
#define _GNU_SOURCE
#include "models.h"

#include "commit.h"

#include "../core/op.h"
#include "../io/bytes.h"
#include "../kernels/kernel.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

typedef struct run {
    gy_ctx *ctx;
    bench_options options;
    bench_timing timing;
    bench_report *report;
    bench_peers peers;
    void (*sink)(void *user, const bench_report *r, const bench_row *row);
    void (*note)(void *user, const char *text);
    void *user;
} run;

static void note(run *r, const char *fmt, ...) GY_PRINTF(2, 3);
static void note(run *r, const char *fmt, ...) {
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (r->note) r->note(r->user, text);
}

/* ---- our side ---- */

typedef struct ours {
    gy_plan *plan;
    const char *step; /* the operator whose steps count; NULL: the whole run */
} ours;

static double step_seconds(const ours *o) {
    double sum = 0;
    int64_t n = gy_plan_report(o->plan).steps;
    for (int64_t i = 0; i < n; i++) {
        gy_plan_step_info step = gy_plan_step(o->plan, i);
        if (strcmp(step.op, o->step) == 0) sum += step.seconds;
    }
    return sum;
}

static bool sample_ours(void *self, int inner, double *seconds) {
    ours *o = self;
    if (o->step) gy_plan_profile(o->plan, true);
    double t0 = bench_now();
    for (int i = 0; i < inner; i++)
        if (gy_plan_run(o->plan) != GY_OK) return false;
    *seconds = (o->step ? step_seconds(o) : bench_now() - t0) / inner;
    return true;
}

static gy_isa tier_of(const char *kernel) {
    int64_t n;
    const gy_kernel *k = gy_kernel_table(&n);
    for (int64_t i = 0; i < n; i++)
        if (strcmp(k[i].name, kernel) == 0) return k[i].isa;
    return GY_ISA_REF;
}

const char *bench_plan_tier(const gy_plan *p, gy_op_id op) {
    gy_isa best = GY_ISA_REF;
    int64_t steps = gy_plan_report(p).steps;
    for (int64_t i = 0; i < steps; i++) {
        gy_plan_step_info s = gy_plan_step(p, i);
        gy_isa tier = tier_of(s.kernel);
        if (tier > best && (op == GY_OP_NONE || strcmp(s.op, gy_ops[op].name) == 0)) best = tier;
    }
    return gy_isa_name(best);
}

/* ---- rows ---- */

/* The work of a row: of the whole plan, or of the steps that count. */
typedef struct work {
    double flops, bytes;
    double held; /* bytes of all operands: decides the level */
    bool writes; /* the output is more than an eighth of the input: copying is the limit, not reading */
} work;

static work work_of(const ours *o, const bench_task *t, bool cold) {
    gy_plan_info info = gy_plan_report(o->plan);
    work w = {info.flops, info.bytes, 0, false};
    double in = 0, out = 0;
    for (int64_t i = 0; t && i < t->n_in; i++) in += (double)gy_tensor_bytes(&t->in[i]);
    for (int64_t i = 0; t && i < t->n_out; i++) out += (double)gy_tensor_bytes(&t->out[i]);
    w.held = t ? in + out + (double)info.const_bytes : (double)(info.arena_bytes + info.input_bytes + info.state_bytes);
    w.writes = !t || 8 * out > in;
    if (t && w.bytes <= 0) w.bytes = w.held; /* an operator that states no cost: its operands once */
    if (o->step) {
        w.flops = w.bytes = 0;
        for (int64_t i = 0; i < info.steps; i++) {
            gy_plan_step_info step = gy_plan_step(o->plan, i);
            if (strcmp(step.op, o->step) != 0) continue;
            w.flops += step.flops;
            w.bytes += step.bytes;
        }
    }
    if (w.bytes > 0) w.held = fmin(w.held, w.bytes); /* a gather touches few rows of its table */
    if (cold) w.held = INFINITY;
    return w;
}

static void place(const run *r, bench_row *row, work w) {
    const bench_peak *peak = bench_peak_all(&r->report->peaks);
    bench_unit unit = BENCH_F32;
    if (strcmp(row->dtype, "f64") == 0) unit = BENCH_F64;
    if (strstr(row->dtype, "bf16") && peak->gflops[BENCH_BF16] > 0) unit = BENCH_BF16;
    bench_level level = bench_level_of(&r->report->peaks, w.held);
    double arithmetic = w.flops * 1e-9 / peak->gflops[unit];
    double moving = w.bytes * 1e-9 / (w.writes ? peak->copy : peak->read)[level];
    row->threads = peak->threads;
    row->gflops = w.flops / row->seconds * 1e-9;
    row->gbps = w.bytes / row->seconds * 1e-9;
    row->intensity = w.bytes > 0 ? w.flops / w.bytes : 0;
    row->peak_fraction = fmax(arithmetic, moving) / row->seconds;
    row->bandwidth_fraction = moving / row->seconds;
    snprintf(row->bound, sizeof row->bound, "%s",
             arithmetic > moving ? bench_unit_names[unit] : bench_level_names[level]);
}

static void put_times(bench_row *row, const bench_times *t) {
    row->seconds = t->median;
    row->seconds_min = t->min;
    row->spread = t->spread;
    row->repeats = t->repeats;
}

static gy_status emit(run *r, const bench_row *row) {
    gy_status s = bench_report_add(r->report, row);
    if (s == GY_OK && r->sink) r->sink(r->user, r->report, row);
    return s;
}

/* ---- cases ---- */

/* How far two correct results may differ, against the largest element: rounding of long sums in another order, and for
 * bf16 the rounding of the result or of the factors. */
static double allowed_difference(const bench_row *row) {
    if (strcmp(row->dtype, "f32bf16") == 0) return 3e-2; /* a peer in bf16 rounds its result and its own middle too */
    return strcmp(row->dtype, "f64") == 0 ? 1e-11 : strstr(row->dtype, "bf16") ? 1e-2 : 2e-4;
}

static gy_status run_peers(run *r, ours *o, const bench_task *t, bench_row *row, work w, bool *any) {
    for (bench_peer *p = r->peers.peer; p->name; p++) {
        if (!p->there || (r->options.peer && !strstr(p->name, r->options.peer)) || !p->prepare(p, t)) continue;
        bench_side side[2] = {{sample_ours, o}, {p->sample, p}};
        bench_times times[2];
        double ignored;
        bool ran = p->sample(p, 1, &ignored);
        row->difference = ran ? p->difference(p, t) : NAN;
        if (!ran) {
            note(r, "%s %s: %s failed", row->kernel, row->shape, p->name);
        } else if (!(row->difference <= allowed_difference(row))) {
            note(r, "%s %s: not compared with %s: results differ by %.2g of the largest element", row->kernel,
                 row->shape, p->name, row->difference);
        } else if (bench_time(side, 2, r->timing, times)) {
            put_times(row, &times[0]);
            snprintf(row->peer, sizeof row->peer, "%s", p->name);
            row->peer_seconds = times[1].median;
            row->peer_seconds_min = times[1].min;
            row->ratio = row->peer_seconds / row->seconds;
            place(r, row, w);
            gy_status s = emit(r, row);
            if (s != GY_OK) return s;
            *any = true;
        }
        p->done(p);
    }
    row->peer[0] = '\0';
    row->peer_seconds = row->peer_seconds_min = row->ratio = row->difference = 0;
    return GY_OK;
}

static gy_status take_task(run *r, gy_graph *g, gy_plan *p, const bench_case *c, bench_task *t) {
    static const char *const outputs[] = {"y", "d1", "d2", "d3", "m1", "v1"};
    *t = (bench_task){.c = c, .threads = gy_pool_threads(gy_ctx_pool(r->ctx))};
    for (int64_t i = 0; i < g->n_input; i++) {
        gy_t v = g->input[i].value;
        void *data = gy_plan_input(p, g->input[i].name);
        if (!data) continue;
        if (t->n_in == BENCH_INPUTS)
            return gy_fail(r->ctx, GY_ERR_USAGE, "bench: %s has more than %d inputs", c->name, BENCH_INPUTS);
        int64_t number = (c->in_place ? gy_store_count(c->store) : 0) + t->n_in;
        bench_fill(c, number, g->input[i].name, gy_dtype_of(v), gy_shape_of(v), data);
        t->in_name[t->n_in] = g->input[i].name;
        t->in[t->n_in++] =
            (gy_tensor){.dtype = gy_dtype_of(v), .shape = gy_shape_of(v), .data = data, .borrowed = true};
    }
    for (size_t i = 0; i < sizeof outputs / sizeof *outputs; i++) {
        gy_tensor y = gy_plan_output(p, outputs[i]);
        if (y.data) t->out[t->n_out++] = y;
    }
    return GY_OK;
}

/* The states after the first run, which later runs overwrite, stand for the outputs. */
static gy_status keep_states(run *r, const bench_case *c, bench_task *t) {
    for (int64_t i = 0; i < gy_store_count(c->store); i++) {
        const gy_tensor *v = &gy_store_at(c->store, i)->value;
        gy_status s = gy_tensor_new(r->ctx, &t->out[t->n_out], v->dtype, v->shape);
        if (s != GY_OK) return s;
        memcpy(t->out[t->n_out++].data, v->data, gy_tensor_bytes(v));
    }
    return GY_OK;
}

static double available_bytes(void) {
    return (double)sysconf(_SC_AVPHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
}

/* Whether a case is worth starting: its memory is there, and it would not take all evening on this tier. */
static bool affordable(run *r, const bench_case *c, const bench_row *row, gy_graph *g) {
    gy_plan *dry = gy_compile(g, (gy_plan_args){.dry = true});
    if (!dry) return true; /* compiling again gives the message */
    gy_plan_info info = gy_plan_report(dry);
    gy_plan_free(dry);
    double bytes = (double)(info.arena_bytes + info.input_bytes + info.state_bytes),
           seconds = info.flops * 1e-9 / r->report->peaks.gflops;
    if (bytes > 0.6 * available_bytes()) {
        note(r, "%s %s: left out: needs %.1f GB of memory", c->name, row->shape, bytes * 1e-9);
        return false;
    }
    if (seconds > 4) note(r, "%s %s: left out: %.0f s a run even at the peak", c->name, row->shape, seconds);
    return seconds <= 4;
}

static bool matches(const run *r, const bench_row *row) {
    char text[192];
    snprintf(text, sizeof text, "%s %s %s", row->kernel, row->shape, row->dtype);
    return !r->options.match || strstr(text, r->options.match);
}

/* Whether plans of precision bf16 have kernels of their own for this operator. */
static bool rounds(gy_op_id op) {
    int64_t n;
    const gy_kernel *k = gy_kernel_table(&n);
    for (int64_t i = 0; i < n; i++)
        if (k[i].op == op && k[i].flags & GY_K_BF16_COMPUTE) return true;
    return false;
}

static gy_status run_case(run *r, const bench_case *given) {
    bench_case with_store = *given;
    const bench_case *c = &with_store;
    bench_row row = {.isa = "ref"};
    gy_graph *g = gy_graph_new(r->ctx);
    if (!g) return GY_ERR_NOMEM;
    snprintf(row.kernel, sizeof row.kernel, "%s", c->name);
    bool rounded = !c->dtype && gy_ctx_precision(r->ctx) == GY_BF16 && rounds(c->op);
    snprintf(row.dtype, sizeof row.dtype, "%s", rounded ? "f32bf16" : gy_dtype_name(c->dtype ? c->dtype : GY_F32));
    snprintf(row.shape, sizeof row.shape, c->shape, (int)c->d[0], (int)c->d[1], (int)c->d[2], (int)c->d[3],
             (int)c->d[4], (int)c->d[5], (int)c->d[6]);
    row.threads = r->report->threads;
    if (!matches(r, &row) || bench_measured(&r->options, &row)) {
        gy_graph_free(g);
        return GY_OK;
    }
    gy_plan *p = NULL;
    gy_status s = GY_OK;
    if (c->in_place && !(with_store.store = gy_store_new(r->ctx))) s = GY_ERR_NOMEM;
    if (s == GY_OK) {
        gy_t y = c->build(g, c);
        if (!c->in_place) gy_output(y, "y");
    }
    if (s == GY_OK && affordable(r, c, &row, g)) {
        p = gy_compile(g, (gy_plan_args){0});
        if (!p && gy_error_status(r->ctx) != GY_ERR_NOMEM) {
            note(r, "%s %s %s: left out: %s", c->name, row.shape, row.dtype, gy_error(r->ctx));
            gy_error_clear(r->ctx);
        } else if (!p) {
            s = GY_ERR_NOMEM;
        }
    }
    if (p) {
        ours o = {p, c->step ? gy_ops[c->op].name : NULL};
        bench_task t;
        bench_times times;
        bool any = false;
        snprintf(row.isa, sizeof row.isa, "%s", bench_plan_tier(p, c->op));
        s = take_task(r, g, p, c, &t);
        t.rounded = rounded;
        if (s == GY_OK && strcmp(c->name, "packed_nt") == 0) {
            s = gy_tensor_new(r->ctx, &t.constant, t.in[0].dtype, GY_S(c->d[1], c->d[2]));
            if (s == GY_OK) bench_fill(c, 1, "b", t.constant.dtype, t.constant.shape, t.constant.data);
        }
        if (s == GY_OK) s = gy_plan_run(p);
        if (s == GY_OK && c->in_place) s = keep_states(r, c, &t);
        if (s == GY_OK) s = run_peers(r, &o, &t, &row, work_of(&o, &t, r->options.cold), &any);
        if (s == GY_OK && !any) {
            if (!bench_time(&(bench_side){sample_ours, &o}, 1, r->timing, &times)) s = gy_error_status(r->ctx);
            if (s == GY_OK) {
                put_times(&row, &times);
                place(r, &row, work_of(&o, &t, r->options.cold));
                s = emit(r, &row);
            }
        }
        gy_tensor_free(r->ctx, &t.constant);
        for (int64_t i = 0; c->in_place && i < t.n_out; i++) gy_tensor_free(r->ctx, &t.out[i]);
    }
    gy_plan_free(p);
    gy_graph_free(g);
    gy_store_free(with_store.store);
    return s;
}

/* One training step of each model's default configuration, first phase. */
static gy_status run_model(run *r, const gy_model_def *def) {
    gy_job j;
    gy_compiled c = {0};
    bench_times times;
    bench_row row = {.dtype = "f32"};
    snprintf(row.kernel, sizeof row.kernel, "step:%s", def->slug);
    if (!matches(r, &row)) return GY_OK;
    gy_status s = gy_job_init(&j, r->ctx, def, NULL, NULL, 0);
    if (s != GY_OK) return s;
    s = gy_job_open(&j); /* settles the batch */
    snprintf(row.shape, sizeof row.shape, "%s batch %" PRId64, j.config_name, j.batch);
    row.threads = r->report->threads;
    if (s == GY_OK && bench_measured(&r->options, &row)) {
        gy_job_free(&j);
        return GY_OK;
    }
    if (s == GY_OK) s = gy_job_compile_phase(&j, 0, false, &c);
    if (s == GY_OK) s = def->batch(&j, c.plan, 0, 0);
    if (s == GY_OK) {
        snprintf(row.isa, sizeof row.isa, "%s", bench_plan_tier(c.plan, GY_OP_NONE));
        gy_plan_set_rng(c.plan, 0, 0);
        ours o = {c.plan, NULL};
        if (!bench_time(&(bench_side){sample_ours, &o}, 1, r->timing, &times)) s = gy_error_status(r->ctx);
        if (s == GY_OK) {
            put_times(&row, &times);
            place(r, &row, work_of(&o, NULL, r->options.cold));
            s = emit(r, &row);
        }
    }
    gy_compiled_free(&c);
    gy_job_free(&j);
    return s;
}

/* ---- the whole ---- */

static bool wanted(const char *const *suites, const char *name) {
    if (!suites[0]) return true;
    for (int i = 0; suites[i]; i++)
        if (strcmp(suites[i], name) == 0) return true;
    return false;
}

/* They have peers of their own, in children that end with their row. */
static bool only_models(const char *const *suites) {
    return suites[0] && strcmp(suites[0], "models") == 0 && !suites[1];
}

static gy_status check_suites(gy_ctx *ctx, const char *const *suites) {
    for (int i = 0; suites[i]; i++) {
        if (wanted(bench_suites, suites[i])) continue;
        char all[256] = "";
        for (int k = 0; bench_suites[k]; k++) {
            size_t used = strlen(all);
            snprintf(all + used, sizeof all - used, " %s", bench_suites[k]);
        }
        const char *near = gy_nearest(suites[i], bench_suites);
        return gy_fail(ctx, GY_ERR_USAGE, "no suite '%.60s'%s%s%s; there are:%s", suites[i],
                       near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "", all);
    }
    return GY_OK;
}

static void read_cpu_name(char *out, size_t n) {
    char line[1024];
    FILE *f = fopen("/proc/cpuinfo", "r");
    snprintf(out, n, "unknown");
    while (f && fgets(line, sizeof line, f)) {
        char *at = strncmp(line, "model name", 10) == 0 ? strchr(line, ':') : NULL;
        if (!at) continue;
        snprintf(out, n, "%s", at + 1 + strspn(at + 1, " "));
        out[strcspn(out, "\n")] = '\0';
        break;
    }
    if (f) fclose(f);
}

static void list_peers(run *r) {
    for (bench_peer *p = r->peers.peer; p->name; p++) {
        if (!p->version[0]) continue; /* not asked for */
        bench_report_peer(r->report, p->name, p->version);
        note(r, "peer %s: %s", p->name, p->version);
    }
}

gy_status bench_run(gy_ctx *ctx, const char *const *suites, bench_options options, bench_report *out,
                    void (*sink)(void *user, const bench_report *r, const bench_row *row),
                    void (*note_)(void *user, const char *text), void *user) {
    run r = {.ctx = ctx, .options = options, .report = out, .sink = sink, .note = note_, .user = user};
    *out = (bench_report){.ctx = ctx, .threads = gy_pool_threads(gy_ctx_pool(ctx)), .cold = options.cold};
    gy_status s = check_suites(ctx, suites);
    if (s != GY_OK) return s;
    snprintf(out->version, sizeof out->version, "%s", GY_VERSION);
    snprintf(out->commit, sizeof out->commit, "%s", GY_COMMIT);
    time_t now = time(NULL);
    strftime(out->date, sizeof out->date, "%Y-%m-%d", gmtime(&now));
    read_cpu_name(out->cpu, sizeof out->cpu);
    for (int64_t i = 0; options.done && s == GY_OK && i < options.done->n; i++)
        s = bench_report_add(out, &options.done->row[i]);
    for (int i = 0; options.done && i < options.done->n_peers; i++)
        bench_report_peer(out, options.done->peer[i].name, options.done->peer[i].version);
    if (s != GY_OK) return s;
    s = bench_measure_peaks(ctx, !options.quick, options.quick ? 3 : 8, &out->peaks);
    if (s != GY_OK) return s;
    r.timing = (bench_timing){.budget = options.budget > 0 ? options.budget : options.quick ? 0.02 : 0.15};
    r.timing.cold = options.cold;
    if (options.cold) {
        r.timing.sweep_bytes = (int64_t)(2 * out->peaks.level_bytes[BENCH_L3]);
        r.timing.sweep = gy_calloc(ctx, (size_t)r.timing.sweep_bytes, 1);
        if (!r.timing.sweep) return GY_ERR_NOMEM;
    }
    if (options.peers && !only_models(suites)) {
        bench_peers_open(&r.peers, ctx, out->threads, options.peer);
        list_peers(&r);
    }
    for (int64_t i = 0; s == GY_OK && i < bench_n_cases + bench_n_more_cases; i++) {
        const bench_case *c = i < bench_n_cases ? &bench_cases[i] : &bench_more_cases[i - bench_n_cases];
        if (wanted(suites, c->suite) && (c->quick || !options.quick)) s = run_case(&r, c);
    }
    for (const gy_model_def *const *m = gy_models; s == GY_OK && *m && wanted(suites, "miniatures"); m++)
        if ((*m)->objective && (*m)->open && (*m)->batch) s = run_model(&r, *m);
    if (r.peers.peer[0].name) bench_peers_close(&r.peers);
    /* whole models only when asked for by name: each takes minutes and gigabytes */
    bench_model_run models = {ctx, &r.options, out, sink, note_, user};
    if (s == GY_OK && suites[0] && wanted(suites, "models")) s = bench_models(&models);
    gy_free(ctx, r.timing.sweep);
    return s;
}
