/* The three tasks' prompts: ten tokens each, clean and corrupt. */
#include "circuit-reuse.h"

#include <string.h>

const gy_alphabet gy_circuit_trained_alphabet = {.begin = 0,
                                                 .end = 1,
                                                 .name = 2,
                                                 .names = 12,
                                                 .filler = 14,
                                                 .fillers = 8,
                                                 .object = 22,
                                                 .objects = 12,
                                                 .colour = 34,
                                                 .colours = 8,
                                                 .digit = 42,
                                                 .question = 52,
                                                 .answer = 53};
/* Names serve as colours and fillers as objects: the heads know only those. */
const gy_alphabet gy_circuit_planted_alphabet = {.begin = 20,
                                                 .end = 21,
                                                 .name = 0,
                                                 .names = 12,
                                                 .filler = 12,
                                                 .fillers = 8,
                                                 .object = 12,
                                                 .objects = 7,
                                                 .colour = 0,
                                                 .colours = 12,
                                                 .question = 19};

enum { T = GY_CIRCUIT_TOKENS, DIGITS = 10 };

/* k distinct numbers below n. */
static void distinct(gy_rng *r, int64_t n, int64_t k, int64_t *out) {
    for (int64_t i = 0; i < k; i++) {
        bool again;
        do {
            out[i] = gy_rng_below(r, n);
            again = false;
            for (int64_t j = 0; j < i; j++) again |= out[j] == out[i];
        } while (again);
    }
}

static int64_t entry(uint64_t seed, int64_t a, int64_t b) {
    gy_rng r;
    gy_rng_init(&r, seed, "table");
    int64_t table[DIGITS * DIGITS];
    for (int i = 0; i < DIGITS * DIGITS; i++) table[i] = gy_rng_below(&r, DIGITS);
    return table[a * DIGITS + b];
}

static void names(const gy_alphabet *a, gy_corruption how, gy_rng *r, int64_t *x, int64_t *y, int64_t *answer,
                  int64_t *other, int64_t *at) {
    int64_t who[3];
    distinct(r, a->names, 3, who);
    int64_t s = gy_rng_below(r, 2);
    x[1] = a->name + who[0];
    x[3] = a->name + who[1];
    x[7] = a->name + who[s];
    *answer = a->name + who[1 - s];
    *other = a->name + who[s];
    *at = s ? 1 : 3;
    memcpy(y, x, T * sizeof *y);
    if (how == GY_CORRUPT_CONTENT)
        y[*at] = *other = a->name + who[2];
    else
        y[7] = a->name + who[how == GY_CORRUPT_ABC ? 2 : 1 - s];
}

static void colours(const gy_alphabet *a, gy_corruption how, gy_rng *r, int64_t *x, int64_t *y, int64_t *answer,
                    int64_t *other, int64_t *at) {
    int64_t colour[4], object[3], asked[2];
    distinct(r, a->colours, 4, colour);
    distinct(r, a->objects, 3, object);
    distinct(r, 3, 2, asked);
    for (int i = 0; i < 3; i++) {
        x[1 + 2 * i] = a->colour + colour[i];
        x[2 + 2 * i] = a->object + object[i];
    }
    x[7] = a->question;
    x[8] = a->object + object[asked[0]];
    *answer = a->colour + colour[asked[0]];
    *other = a->colour + colour[asked[1]];
    *at = 1 + 2 * asked[0];
    memcpy(y, x, T * sizeof *y);
    if (how == GY_CORRUPT_CONTENT)
        y[*at] = *other = a->colour + colour[3];
    else
        y[8] = a->object + object[asked[1]];
}

static void table(const gy_alphabet *a, uint64_t seed, gy_rng *r, int64_t *x, int64_t *y, int64_t *answer,
                  int64_t *other, int64_t *at) {
    int64_t first = gy_rng_below(r, DIGITS), second = gy_rng_below(r, DIGITS), changed;
    *answer = a->answer + entry(seed, first, second);
    do {
        changed = gy_rng_below(r, DIGITS);
        *other = a->answer + entry(seed, changed, second);
    } while (*other == *answer);
    x[T - 2] = a->digit + first;
    x[T - 1] = a->digit + second;
    *at = T - 2;
    memcpy(y, x, T * sizeof *y);
    y[T - 2] = a->digit + changed;
}

gy_status gy_circuit_draw(gy_ctx *ctx, const gy_alphabet *a, gy_circuit_task task, gy_corruption how, int64_t n,
                          uint64_t seed, gy_rng *r, gy_circuit_prompts *out) {
    int64_t *p = gy_calloc(ctx, (size_t)n, (2 * T + 3) * sizeof *p);
    *out = (gy_circuit_prompts){.clean = p};
    if (!p) return GY_ERR_NOMEM;
    out->corrupt = out->clean + n * T;
    out->answer = out->corrupt + n * T;
    out->other = out->answer + n;
    out->at = out->other + n;
    for (int64_t i = 0; i < n; i++) {
        int64_t *x = out->clean + i * T, *y = out->corrupt + i * T;
        for (int k = 0; k < T; k++) x[k] = a->filler + gy_rng_below(r, a->fillers);
        x[0] = a->begin;
        x[T - 1] = a->end;
        if (task == GY_TASK_IOI) names(a, how, r, x, y, out->answer + i, out->other + i, out->at + i);
        if (task == GY_TASK_COLOUR) colours(a, how, r, x, y, out->answer + i, out->other + i, out->at + i);
        if (task == GY_TASK_TABLE) table(a, seed, r, x, y, out->answer + i, out->other + i, out->at + i);
    }
    out->p = (gy_prompts){n, T, out->clean, out->corrupt, out->answer, out->other};
    return GY_OK;
}

void gy_circuit_free_prompts(gy_ctx *ctx, gy_circuit_prompts *p) {
    gy_free(ctx, p->clean);
    *p = (gy_circuit_prompts){0};
}
