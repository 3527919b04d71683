/* gyrus train, gyrus eval, gyrus claim. */
#define _GNU_SOURCE
#include "cli.h"

#include "../files.h"
#include "../formats/json.h"
#include "../run.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- progress ---- */

typedef struct progress {
    gy_run_folder *run;
    double start, shown;
    int64_t first, every; /* step the process began at; steps between log rows */
    double loss;          /* smoothed for the bar */
    bool bar, quiet;
    gy_status failed;
} progress;

static void draw(progress *p, const gy_job *j, bool last) {
    double now = cli_now(), elapsed = now - p->start, done = (double)(j->step - p->first);
    char left[32], took[32];
    if (p->quiet || (!last && now - p->shown < (p->bar ? 0.1 : 5.0))) return;
    p->shown = now;
    double rate = elapsed > 0 ? done / elapsed : 0, remaining = rate > 0 ? (double)(j->steps - j->step) / rate : 0;
    if (p->bar) {
        enum { WIDTH = 24 };
        int full = j->steps ? (int)(WIDTH * j->step / j->steps) : WIDTH;
        fprintf(stderr, "\r%s ", j->def->slug);
        for (int i = 0; i < WIDTH; i++) fputs(i < full ? "\u2588" : "\u2591", stderr);
        fprintf(stderr, " %" PRId64 "/%" PRId64 "  loss %.4g  %.3g steps/s  %s left \033[K", j->step, j->steps, p->loss,
                rate, cli_time_text(remaining, left));
        if (last) fputc('\n', stderr);
    } else {
        fprintf(stderr, "step %" PRId64 "/%" PRId64 "  loss %.4g  %.3g steps/s  %s elapsed, %s left\n", j->step,
                j->steps, p->loss, rate, cli_time_text(elapsed, took), cli_time_text(remaining, left));
    }
}

static bool on_step(void *user, const gy_job *j, const gy_metrics *logged) {
    progress *p = user;
    double loss = logged->n ? logged->m[0].value : NAN;
    p->loss = j->step - p->first <= 1 ? loss : 0.9 * p->loss + 0.1 * loss;
    if (j->step % p->every == 0 || j->step == j->steps || j->step == 1) {
        p->failed = gy_run_log(p->run, j, logged);
        if (p->failed != GY_OK) return false;
    }
    draw(p, j, j->step == j->steps);
    return !cli_stop_asked();
}

static gy_status on_save(void *user, const gy_job *j) {
    return gy_run_save(((progress *)user)->run, j);
}

/* ---- metrics ---- */

static int print_metrics(gy_ctx *ctx, const cli_args *a, const gy_job *j, const gy_metrics *m, const char *dir,
                         double seconds) {
    if (cli_has(a, "--json")) {
        gy_json_writer w;
        gy_json_start(ctx, &w, false);
        gy_json_open_object(&w, NULL);
        gy_json_put_string(&w, "slug", j->def->slug);
        gy_json_put_string(&w, "config", j->config_name);
        gy_json_put_string(&w, "run", dir);
        gy_json_put_int(&w, "step", j->step);
        gy_json_put_string(&w, "data", j->data_label);
        gy_json_put_real(&w, "seconds", seconds);
        gy_json_open_object(&w, "metrics");
        for (int64_t i = 0; i < m->n; i++) gy_json_put_real(&w, m->m[i].name, m->m[i].value);
        gy_json_close(&w);
        gy_json_open_object(&w, "chance");
        for (int64_t i = 0; i < m->n; i++)
            if (isfinite(m->m[i].chance)) gy_json_put_real(&w, m->m[i].name, m->m[i].chance);
        gy_json_close(&w);
        gy_json_close(&w);
        char *text;
        size_t n;
        if (gy_json_finish(&w, &text, &n) != GY_OK) return cli_fail(ctx, a);
        printf("%s\n", text);
        gy_free(ctx, text);
        return CLI_OK;
    }
    for (int64_t i = 0; i < m->n; i++) {
        const gy_metric *x = &m->m[i];
        printf("%-32s %-10.4g %s", x->name, x->value, x->unit);
        if (isfinite(x->chance)) printf(" %s(chance %.4g)%s", cli_dim(stdout), x->chance, cli_plain(stdout));
        putchar('\n');
    }
    return CLI_OK;
}

static gy_status evaluate(gy_job *j, gy_metrics *m) {
    *m = (gy_metrics){0};
    return j->def->evaluate ? j->def->evaluate(j, m) : GY_OK;
}

/* ---- train ---- */

static int dry_run(gy_ctx *ctx, const cli_args *a, gy_job *j, const char *dir) {
    char text[96], t1[32];
    printf("model    %s, configuration %s\n", j->def->slug, j->config_name);
    for (const gy_option *o = j->def->options; o && o->name; o++) {
        gy_config_text(o, j->cfg, text, sizeof text);
        printf("option   %s = %s\n", o->name, text);
    }
    printf("seed     %" PRIu64 "\nsteps    %" PRId64 "\ndata     %s\nout      %s\ndevice   %s\nthreads  %d\n", j->seed,
           j->steps, j->data_label, dir, gy_ctx_device(ctx) ? gy_ctx_device(ctx)->description : "cpu",
           gy_pool_threads(gy_ctx_pool(ctx)));
    if (!j->def->objective) return CLI_OK;
    gy_store_free(j->store); /* names and shapes are enough: a large model is planned without being allocated */
    j->store = gy_store_new_dry(ctx);
    if (!j->store) return cli_fail(ctx, a);
    int64_t phases = j->def->phases ? j->def->phases(j) : 1;
    double bytes = 0, flops = 0;
    for (int64_t i = 0; i < phases; i++) {
        gy_compiled c;
        if (gy_job_compile_phase(j, i, true, &c) != GY_OK) return cli_fail(ctx, a);
        gy_plan_info r = gy_plan_report(c.plan);
        bytes += (double)(r.arena_bytes + r.const_bytes + r.input_bytes + r.packed_bytes);
        if (i == 0) bytes += (double)r.state_bytes;
        flops += r.flops;
        gy_compiled_free(&c);
    }
    bool one = j->def->phase_of != NULL;
    if (one && phases > 0) flops /= (double)phases;
    printf("memory   %s\n", cli_bytes_text(bytes, t1));
    /* 20 GFLOP/s a thread is a cautious rate for mixed work; `gyrus doctor` measures this machine's peak */
    double seconds = flops * (double)j->steps / (20e9 * gy_pool_threads(gy_ctx_pool(ctx)));
    printf("work     %s a step\n", cli_count_text(flops, "FLOP", t1));
    printf("time     about %s (at 20 GFLOP/s a thread)\n", cli_time_text(seconds, t1));
    return CLI_OK;
}

/* Options that a resumed run may not change: they are in run.json. */
static gy_status refuse_changes(gy_ctx *ctx, const cli_args *a, const gy_job *j) {
    static const char *const fixed[] = {"--config", "--set",   "--data",       "--steps", "--seed",
                                        "--ablate", "--dtype", "--save-every", NULL};
    if (a->n_positional && strcmp(a->positional[0], j->def->slug) != 0)
        return gy_fail(ctx, GY_ERR_USAGE, "the run is of model '%s', asked for '%s'", j->def->slug, a->positional[0]);
    for (const char *const *o = fixed; *o; o++) {
        const char *v = cli_get(a, *o);
        char have[128] = "";
        if (!v) continue;
        if (strcmp(*o, "--config") == 0) snprintf(have, sizeof have, "%s", j->config_name);
        if (strcmp(*o, "--steps") == 0) snprintf(have, sizeof have, "%" PRId64, j->steps);
        if (strcmp(*o, "--seed") == 0) snprintf(have, sizeof have, "%" PRIu64, j->seed);
        if (strcmp(*o, "--save-every") == 0) snprintf(have, sizeof have, "%" PRId64, j->save_every);
        if (strcmp(*o, "--data") == 0) snprintf(have, sizeof have, "%s", j->data_path ? j->data_path : "(generated)");
        if (strcmp(*o, "--ablate") == 0) snprintf(have, sizeof have, "%s", j->ablate ? j->ablate : "(none)");
        if (strcmp(*o, "--dtype") == 0) snprintf(have, sizeof have, "%s", gy_dtype_name(gy_ctx_precision(ctx)));
        if (strcmp(*o, "--set") == 0) {
            const char *given[128];
            int n = cli_all(a, "--set", given, 128);
            for (int i = 0; i < n; i++) {
                const char *eq = strchr(given[i], '=');
                for (const gy_option *p = j->def->options; eq && p && p->name; p++) {
                    if (strncmp(p->name, given[i], (size_t)(eq - given[i])) != 0 || p->name[eq - given[i]]) continue;
                    char value[96];
                    gy_config_text(p, j->cfg, value, sizeof value);
                    if (strcmp(value, eq + 1) != 0)
                        return gy_fail(ctx, GY_ERR_USAGE,
                                       "--set %s: the run has %s=%s; a resumed run keeps its options", given[i],
                                       p->name, value);
                }
            }
            continue;
        }
        if (strcmp(v, have) != 0)
            return gy_fail(ctx, GY_ERR_USAGE, "%s %s: the run has %s; a resumed run keeps its options", *o, v, have);
    }
    return GY_OK;
}

static gy_status prepare(gy_ctx *ctx, const cli_args *a, gy_job *j, const char *dir, bool resume) {
    gy_status s;
    if (resume) {
        s = gy_run_job(ctx, dir, j);
        if (s == GY_OK) s = refuse_changes(ctx, a, j);
    } else {
        const gy_model_def *def = cli_model(ctx, a->positional[0]);
        if (!def) return GY_ERR_USAGE;
        s = cli_job(ctx, a, def, j);
        if (s == GY_OK && (!cli_int(ctx, a, "--steps", 0, INT64_MAX / 2, &j->steps) ||
                           !cli_int(ctx, a, "--save-every", 1, INT64_MAX / 2, &j->save_every)))
            s = GY_ERR_USAGE;
    }
    if (s != GY_OK) return s;
    uint64_t known = j->data_hash;
    s = gy_job_open(j);
    if (s == GY_OK && resume && known && j->data_hash != known)
        s = gy_fail(ctx, GY_ERR_FORMAT,
                    "%s: the data have changed since the run began (hash %016" PRIx64 ", was %016" PRIx64 ")",
                    j->data_path ? j->data_path : "generated data", j->data_hash, known);
    if (s == GY_OK && !j->save_every) j->save_every = j->steps >= 10 ? j->steps / 10 : 1;
    return s;
}

/* A rank other than the first: it trains along; the first writes, draws and reports. */
static bool go_on(void *user, const gy_job *j, const gy_metrics *logged) {
    (void)user, (void)j, (void)logged;
    return !cli_stop_asked();
}
static int train_along(gy_ctx *ctx, const cli_args *a, gy_job *j, const char *dir, bool resume) {
    j->sink = (gy_job_sink){.step = go_on};
    cli_catch_signals();
    gy_status s = resume ? gy_run_load(ctx, dir, j) : GY_OK;
    if (s == GY_OK && j->def->objective) s = gy_job_train(j);
    return s == GY_OK ? CLI_OK : cli_fail(ctx, a);
}

static int train(gy_ctx *ctx, const cli_args *a, gy_job *j, const char *dir, bool resume, char **command) {
    gy_run_folder *run = NULL;
    gy_metrics metrics;
    gy_status s = prepare(ctx, a, j, dir, resume);
    if (s != GY_OK) return cli_fail(ctx, a);
    if (cli_has(a, "--dry-run")) return dry_run(ctx, a, j, dir);
    if (s == GY_OK && !resume && cli_get(a, "--weights")) s = cli_load_weights(ctx, a, j);
    if (s != GY_OK) return cli_fail(ctx, a);
    if (gy_group_rank(gy_ctx_group(ctx)) > 0) return train_along(ctx, a, j, dir, resume);
    *command = cli_command_text(ctx, a);
    char *argv[] = {*command, NULL};
    s = *command ? gy_run_open(ctx, dir, resume, &run) : GY_ERR_NOMEM;
    if (s == GY_OK) s = resume ? gy_run_load(ctx, dir, j) : gy_run_describe(run, j, argv);
    double t0 = cli_now();
    progress p = {.run = run,
                  .start = t0,
                  .first = j->step,
                  .every = j->steps >= 400 ? j->steps / 200 : 1,
                  .quiet = cli_has(a, "--quiet")};
    p.bar = isatty(STDERR_FILENO) && !getenv("NO_COLOR");
    j->sink = (gy_job_sink){on_step, on_save, &p};
    cli_catch_signals();
    if (s == GY_OK && j->def->objective) s = gy_job_train(j);
    if (p.failed != GY_OK) s = p.failed;
    gy_group_leave(gy_ctx_group(ctx)); /* what follows is this process's alone */
    if (s == GY_OK) s = evaluate(j, &metrics);
    if (s == GY_OK && j->def->artefacts) s = j->def->artefacts(j, dir);
    double seconds = cli_now() - t0;
    if (s == GY_OK) s = gy_run_report(run, j, &metrics, seconds, *command);
    int rc = CLI_OK;
    if (s != GY_OK) {
        rc = cli_fail(ctx, a);
        if (run && j->step > 0 && s != GY_ERR_USAGE) {
            char *last = gy_path_join(ctx, dir, "checkpoint.safetensors");
            if (last && gy_path_exists(last))
                fprintf(stderr, "the last whole checkpoint is %s; go on with: gyrus train --resume --out %s\n", last,
                        dir);
            gy_free(ctx, last);
        }
    } else {
        rc = print_metrics(ctx, a, j, &metrics, dir, seconds);
        if (!p.quiet) fprintf(stderr, "report: %s/report.html\n", dir);
    }
    gy_run_close(run);
    return rc;
}

int cli_train(gy_ctx *ctx, const cli_args *a) {
    bool resume = cli_has(a, "--resume");
    const char *out = cli_get(a, "--out");
    if (a->n_positional > 1 || (a->n_positional == 0 && !resume)) return cli_usage_error(ctx, a, "expected one model");
    if (resume && cli_get(a, "--weights"))
        return cli_usage_error(ctx, a, "--weights: a resumed run goes on from its own checkpoint");
    if (!out && a->n_positional == 0) return cli_usage_error(ctx, a, "--resume needs --out DIR");
    char *dir = out ? gy_strdup(ctx, out) : gy_format(ctx, "runs/%s", a->positional[0]), *command = NULL;
    gy_job j = {0};
    int rc = dir ? train(ctx, a, &j, dir, resume, &command) : cli_fail(ctx, a);
    gy_job_free(&j);
    gy_free(ctx, command);
    gy_free(ctx, dir);
    return rc;
}

/* ---- eval ---- */

int cli_eval(gy_ctx *ctx, const cli_args *a) {
    if (a->n_positional != 1) return cli_usage_error(ctx, a, "expected one run folder");
    const char *dir = a->positional[0], *data = cli_get(a, "--data");
    gy_job j;
    gy_metrics m;
    double t0 = cli_now();
    if (gy_run_job(ctx, dir, &j) != GY_OK) return cli_fail(ctx, a);
    if (data) j.data_path = data;
    gy_status s = gy_job_open(&j);
    if (s == GY_OK && !j.def->evaluate) s = gy_fail(ctx, GY_ERR_UNSUPPORTED, "%s has no metrics", j.def->slug);
    if (s == GY_OK) s = gy_run_load(ctx, dir, &j);
    if (s == GY_OK) s = evaluate(&j, &m);
    int rc = s == GY_OK ? print_metrics(ctx, a, &j, &m, dir, cli_now() - t0) : cli_fail(ctx, a);
    gy_job_free(&j);
    return rc;
}

/* ---- claim ---- */

int cli_claim(gy_ctx *ctx, const cli_args *a) {
    if (a->n_positional != 1) return cli_usage_error(ctx, a, "expected one model");
    const gy_model_def *def = cli_model(ctx, a->positional[0]);
    gy_job j;
    gy_claim c = {0};
    if (!def) return cli_fail(ctx, a);
    if (!def->claim) {
        gy_fail(ctx, GY_ERR_UNSUPPORTED, "%s makes no claim", def->slug);
        return cli_fail(ctx, a);
    }
    if (cli_job(ctx, a, def, &j) != GY_OK) return cli_fail(ctx, a);
    double t0 = cli_now();
    gy_status s = def->claim(&j, &c);
    double seconds = cli_now() - t0;
    if (s != GY_OK) {
        gy_job_free(&j);
        return cli_fail(ctx, a);
    }
    if (cli_has(a, "--json")) {
        gy_json_writer w;
        char *text;
        size_t n;
        gy_json_start(ctx, &w, false);
        gy_json_open_object(&w, NULL);
        gy_json_put_string(&w, "slug", def->slug);
        gy_json_put_int(&w, "seed", (int64_t)j.seed);
        gy_json_put_string(&w, "ablate", j.ablate);
        const char *settings[128];
        int n_settings = cli_all(a, "--set", settings, 128);
        if (n_settings) { /* not the paper's claim any more: say so */
            gy_json_open_array(&w, "set");
            for (int i = 0; i < n_settings; i++) gy_json_put_string(&w, NULL, settings[i]);
            gy_json_close(&w);
        }
        gy_json_put_bool(&w, "pass", c.pass);
        gy_json_put_string(&w, "metric", c.metric);
        gy_json_put_real(&w, "value", c.value);
        gy_json_put_real(&w, "baseline", c.baseline);
        gy_json_put_real(&w, "threshold", c.threshold);
        gy_json_put_real(&w, "chance", c.chance);
        gy_json_put_real(&w, "seconds", seconds);
        gy_json_open_object(&w, "details");
        for (int64_t i = 0; i < c.details.n; i++) gy_json_put_real(&w, c.details.m[i].name, c.details.m[i].value);
        gy_json_close(&w);
        gy_json_close(&w);
        if (gy_json_finish(&w, &text, &n) != GY_OK) {
            gy_job_free(&j);
            return cli_fail(ctx, a);
        }
        printf("%s\n", text);
        gy_free(ctx, text);
    } else {
        char took[32];
        printf("%s%s%s seed %" PRIu64 "%s%s: %s %.4g, baseline %.4g, threshold %.4g, chance %.4g (%s)\n",
               cli_bold(stdout), c.pass ? "pass" : "FAIL", cli_plain(stdout), j.seed, j.ablate ? " without " : "",
               j.ablate ? j.ablate : "", c.metric, c.value, c.baseline, c.threshold, c.chance,
               cli_time_text(seconds, took));
        for (int64_t i = 0; i < c.details.n; i++) printf("  %-40s %.4g\n", c.details.m[i].name, c.details.m[i].value);
    }
    gy_job_free(&j);
    return c.pass ? CLI_OK : CLI_FAILED;
}
