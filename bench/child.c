/* Peers that are programs, in a child process that runs one of bench/peers: torch_rows.py and model_rows.py by Python,
 * and NAME_rows.c, which compiled.sh compiles against what a variable names. Lines go back and forth, so that the
 * child's runs alternate with ours:
 *
 *   child   {"version": "..."} or {"absent": "why"}                at the start
 *   gyrus   {"kernel": ..., "d": [...], "dtype": ..., "threads": ...}
 *   child   {"ok": true, "outputs": [[...], ...]} or {"ok": false}  after its first run
 *   gyrus   {"run": N}
 *   child   {"seconds": S}                                          of one run
 *
 * The child makes its inputs by the same hash (cases.h). An output is compared at up to 4096 evenly spaced elements. */
#define _GNU_SOURCE
#include "sides.h"

#include "../io/formats/json.h"

#include <errno.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { COMPARED = 4096, PATIENCE = 1200 /* seconds: torch.compile calls a C++ compiler */ };

typedef struct child {
    pid_t pid;
    int to, from;
    char *line; /* the last answer, parsed */
    size_t size, room;
    gy_bytes src;
    gy_json answer;
    double difference; /* of the present task's first run */
} child;

static const struct {
    const char *name, *script, *mode;
    const char *offers; /* the kernels it is asked for; NULL: any, it says itself */
} variants[BENCH_CHILDREN] = {
    [BENCH_EAGER] = {"torch eager", "torch_rows.py", "eager", NULL},
    [BENCH_COMPILE] = {"torch.compile", "torch_rows.py", "compile", NULL},
    [BENCH_GGML] = {"ggml", "compiled.sh", "ggml", NULL},
    [BENCH_MODELS_EAGER] = {"torch eager", "model_rows.py", "eager", NULL},
    [BENCH_MODELS_COMPILE] = {"torch.compile", "model_rows.py", "compile", NULL},
    [BENCH_LLAMA] = {"llama.cpp", "compiled.sh", "llama", "gpt2 prefill, gpt2 decode"},
    [BENCH_LLMC] = {"llm.c", "compiled.sh", "llmc", "gpt2 train"},
    [BENCH_SDCPP] = {"stable-diffusion.cpp", "compiled.sh", "sdcpp", "sd15-unet forward"},
};

bool bench_child_offers(int variant, const char *kernel) {
    return !variants[variant].offers || strstr(variants[variant].offers, kernel);
}

static void forget_answer(child *c) {
    gy_json_free(&c->answer);
    gy_bytes_close(&c->src);
    c->answer = (gy_json){0};
    c->src = (gy_bytes){0};
}

/* Reads one line and parses it; false when the child is gone, silent or talks nonsense. */
static bool hear(bench_peer *p) {
    child *c = p->state;
    forget_answer(c);
    c->size = 0;
    while (c->size == 0 || c->line[c->size - 1] != '\n') {
        if (c->size == c->room) {
            size_t room = c->room ? 2 * c->room : 65536;
            char *more = room <= 16 << 20 ? gy_realloc(p->ctx, c->line, room) : NULL;
            if (!more) return false;
            c->line = more;
            c->room = room;
        }
        struct pollfd fd = {.fd = c->from, .events = POLLIN};
        int ready = poll(&fd, 1, PATIENCE * 1000);
        if (ready < 0 && errno == EINTR) continue;
        ssize_t n = ready > 0 ? read(c->from, c->line + c->size, c->room - c->size) : 0;
        if (n <= 0) return false;
        c->size += (size_t)n;
    }
    bool ok = gy_bytes_from_memory(p->ctx, p->name, c->line, c->size, NULL, &c->src) == GY_OK &&
              gy_json_parse(&c->src, 0, c->size, &c->answer) == GY_OK;
    gy_error_clear(p->ctx);
    return ok;
}

/* Sends a line and reads the answer. */
static bool ask(bench_peer *p, const char *line) {
    child *c = p->state;
    size_t n = strlen(line), at = 0;
    while (at < n) {
        ssize_t w = write(c->to, line + at, n - at);
        if (w < 0 && errno == EINTR) continue;
        if (w <= 0) return false;
        at += (size_t)w;
    }
    return hear(p);
}

/* Where the scripts are: $GYRUS_PEERS, beside the program's build folder, or installed with it. */
static bool find_script(const char *script, char *out, size_t n) {
    static const char *const places[] = {"../bench/peers", "../share/gyrus/peers"};
    const char *forced = getenv("GYRUS_PEERS");
    char self[512];
    if (forced && *forced) {
        snprintf(out, n, "%s/%s", forced, script);
        return access(out, R_OK) == 0;
    }
    ssize_t len = readlink("/proc/self/exe", self, sizeof self - 1);
    if (len <= 0) return false;
    self[len] = '\0';
    char *slash = strrchr(self, '/');
    if (slash) *slash = '\0';
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        snprintf(out, n, "%s/%s/%s", self, places[i], script);
        if (access(out, R_OK) == 0) return true;
    }
    return false;
}

static bool start(bench_peer *p, int threads) {
    child *c = p->state;
    const char *python = getenv("GYRUS_PYTHON");
    char script[640], count[16];
    int in[2], out[2];
    if (!python || !*python) python = "python3";
    if (strcmp(variants[p->variant].script, "compiled.sh") == 0) python = "sh";
    if (!find_script(variants[p->variant].script, script, sizeof script)) {
        snprintf(p->version, sizeof p->version, "absent: bench/peers/%s not found (GYRUS_PEERS names a folder)",
                 variants[p->variant].script);
        return false;
    }
    snprintf(count, sizeof count, "%d", threads);
    if (pipe(in) != 0) return false;
    if (pipe(out) != 0) {
        close(in[0]), close(in[1]);
        return false;
    }
    c->pid = fork();
    if (c->pid == 0) {
        dup2(in[0], 0);
        dup2(out[1], 1);
        close(in[0]), close(in[1]), close(out[0]), close(out[1]);
        setenv("OMP_NUM_THREADS", count, 1);
        execlp(python, python, script, variants[p->variant].mode, (char *)NULL);
        _exit(127);
    }
    close(in[0]);
    close(out[1]);
    c->to = in[1];
    c->from = out[0];
    return c->pid > 0;
}

static void child_close(bench_peer *p) {
    child *c = p->state;
    if (!c) return;
    forget_answer(c);
    if (c->to >= 0) close(c->to); /* the child ends at the end of its input */
    if (c->from >= 0) close(c->from);
    if (c->pid > 0) {
        bool gone = false;
        for (int i = 0; i < 50 && !gone; i++) {
            gone = waitpid(c->pid, NULL, WNOHANG) != 0;
            if (!gone) usleep(20000);
        }
        if (!gone) kill(c->pid, SIGKILL), waitpid(c->pid, NULL, 0);
    }
    gy_free(p->ctx, c->line);
    gy_free(p->ctx, c);
    p->state = NULL;
}

static bool child_open(bench_peer *p, gy_ctx *ctx, int threads) {
    child *c = gy_calloc(ctx, 1, sizeof *c);
    p->ctx = ctx;
    p->state = c;
    if (!c) return false;
    c->to = c->from = -1;
    signal(SIGPIPE, SIG_IGN); /* a child that died then ends in a failed write */
    if (!start(p, threads)) return false;
    if (!hear(p)) {
        if (strcmp(variants[p->variant].script, "compiled.sh") == 0)
            snprintf(p->version, sizeof p->version, "absent: its program does not run");
        else
            snprintf(p->version, sizeof p->version, "absent: python3 does not run (GYRUS_PYTHON names another)");
        return false;
    }
    const char *version = gy_json_string(&c->answer, gy_json_get(&c->answer, 0, "version"));
    const char *absent = gy_json_string(&c->answer, gy_json_get(&c->answer, 0, "absent"));
    snprintf(p->version, sizeof p->version, "%s%.140s", version ? "" : "absent: ",
             version  ? version
             : absent ? absent
                      : "no version");
    return version != NULL;
}

static bool is_true(const gy_json *j, const char *key) {
    int64_t i = gy_json_get(j, 0, key);
    return i >= 0 && j->nodes[i].kind == GY_JSON_BOOL && j->nodes[i].u.boolean;
}

/* Of the outputs in the answer to a task. */
static double difference_of(const child *c, const bench_task *t) {
    int64_t list = gy_json_get(&c->answer, 0, "outputs"), output = gy_json_first(&c->answer, list);
    double worst = 0;
    if (list < 0) return NAN;
    for (int64_t o = 0; o < t->n_out; o++, output = c->answer.nodes[output].next) {
        if (output < 0) return NAN;
        int64_t n = gy_shape_count(t->out[o].shape), m = n < COMPARED ? n : COMPARED, i = 0;
        double most = 0, scale = 0, theirs;
        for (int64_t e = gy_json_first(&c->answer, output); e >= 0; e = c->answer.nodes[e].next, i++) {
            if (i >= m || !gy_json_real(&c->answer, e, &theirs)) return NAN;
            most = fmax(most, fabs(gy_tensor_get(&t->out[o], i * n / m) - theirs));
            scale = fmax(scale, fabs(theirs));
        }
        if (i != m) return NAN;
        worst = fmax(worst, scale > 0 ? most / scale : most);
    }
    return worst;
}

static bool child_prepare(bench_peer *p, const bench_task *t) {
    child *c = p->state;
    const bench_case *k = t->c;
    gy_json_writer w;
    char *text;
    size_t n;
    gy_json_start(p->ctx, &w, false);
    gy_json_open_object(&w, NULL);
    gy_json_put_string(&w, "kernel", k->name);
    gy_json_open_array(&w, "d");
    for (int i = 0; i < BENCH_DIMS; i++) gy_json_put_int(&w, NULL, k->d[i]);
    gy_json_close(&w);
    gy_json_put_string(&w, "dtype", gy_dtype_name(t->rounded ? GY_BF16 : k->dtype ? k->dtype : GY_F32));
    gy_json_put_int(&w, "threads", t->threads);
    gy_json_put_int(&w, "compared", COMPARED);
    gy_json_close(&w);
    if (gy_json_finish(&w, &text, &n) != GY_OK) return false;
    char *line = gy_format(p->ctx, "%s\n", text);
    bool ok = line && ask(p, line) && is_true(&c->answer, "ok");
    gy_free(p->ctx, line);
    gy_free(p->ctx, text);
    if (ok) c->difference = difference_of(c, t);
    if (!ok || !gy_json_real(&c->answer, gy_json_get(&c->answer, 0, "memory"), &p->memory)) p->memory = 0;
    return ok;
}

static double child_difference(bench_peer *p, const bench_task *t) {
    (void)t;
    return ((const child *)p->state)->difference;
}

static bool child_sample(void *self, int inner, double *seconds) {
    bench_peer *p = self;
    child *c = p->state;
    char line[64];
    snprintf(line, sizeof line, "{\"run\": %d}\n", inner);
    return ask(p, line) && gy_json_real(&c->answer, gy_json_get(&c->answer, 0, "seconds"), seconds);
}

static void child_done(bench_peer *p) {
    (void)p; /* the next task takes the place of this one */
}

bench_peer bench_peer_child(int variant) {
    return (bench_peer){.name = variants[variant].name,
                        .open = child_open,
                        .close = child_close,
                        .prepare = child_prepare,
                        .sample = child_sample,
                        .difference = child_difference,
                        .done = child_done,
                        .variant = variant};
}
