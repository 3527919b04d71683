/* circuit-reuse.h: what the files of this paper share. */
#ifndef GY_CIRCUIT_REUSE_H
#define GY_CIRCUIT_REUSE_H

#include "../blocks/gpt2.h"
#include "../blocks/patching.h"

enum { GY_CIRCUIT_TOKENS = 10, GY_CIRCUIT_VOCABULARY = 66 };

typedef struct gy_circuit_config {
    gy_gpt2_config model;
    int64_t planted; /* 1: the hand-made network instead of a trained one */
    int64_t tokens, each, steps, prompts;
    double lr, weight_decay;
} gy_circuit_config;

/* ---- tasks (circuit-reuse_tasks.c) ---- */

typedef enum gy_circuit_task {
    GY_TASK_IOI = 0, /* BOS A w B w w w S w END -> the name of A, B that is not S */
    GY_TASK_COLOUR,  /* BOS c o c o c o Q o END -> the colour before the object asked for */
    GY_TASK_TABLE,   /* BOS w w w w w w w d d -> an entry of a table of ten by ten */
    GY_TASKS
} gy_circuit_task;
/* How the corrupt prompt differs. */
typedef enum gy_corruption {
    GY_CORRUPT_FLIP = 0, /* the other answer: S is the other name, another object or digit is asked for */
    GY_CORRUPT_ABC,      /* IOI: a third name stands where S stood */
    GY_CORRUPT_CONTENT   /* what is answered is another: another name or colour stands in its place (a table has other
                            digits) */
} gy_corruption;
/* The tokens of a prompt's alphabet. */
typedef struct gy_alphabet {
    int64_t begin, end, question;
    int64_t name, names, filler, fillers; /* first and how many */
    int64_t object, objects, colour, colours, digit, answer;
} gy_alphabet;
extern const gy_alphabet gy_circuit_trained_alphabet, gy_circuit_planted_alphabet;

/* n prompts of a task from `r`; arrays of n (answer, other, and `at`, the place of what is answered) or n x 10 ids, one
 * after another in one allocation that starts at `clean`. Free with gy_circuit_free_prompts. The table of GY_TASK_TABLE
 * is fixed by `seed`. */
typedef struct gy_circuit_prompts {
    gy_prompts p;
    int64_t *clean, *corrupt, *answer, *other, *at;
} gy_circuit_prompts;
gy_status gy_circuit_draw(gy_ctx *ctx, const gy_alphabet *a, gy_circuit_task task, gy_corruption how, int64_t n,
                          uint64_t seed, gy_rng *r, gy_circuit_prompts *out) GY_MUST_CHECK;
void gy_circuit_free_prompts(gy_ctx *ctx, gy_circuit_prompts *p);

/* ---- the planted network (circuit-reuse_planted.c) ---- */

enum { GY_PLANTED_LAYERS = 3, GY_PLANTED_HEADS = 3, GY_PLANTED_WIDTH = 115, GY_PLANTED_HEAD = 34 };
/* One head's matrices: q, k, v [115, 34], o [34, 115]. */
typedef struct gy_planted_head {
    double q[GY_PLANTED_WIDTH][GY_PLANTED_HEAD], k[GY_PLANTED_WIDTH][GY_PLANTED_HEAD],
        v[GY_PLANTED_WIDTH][GY_PLANTED_HEAD], o[GY_PLANTED_HEAD][GY_PLANTED_WIDTH];
} gy_planted_head;
void gy_planted_weights(int64_t layer, int64_t head, gy_planted_head *out);
/* The residual stream's start for a token at a position, [115]; and where the logits of names are read. */
void gy_planted_embedding(int64_t token, int64_t position, double *x);
int64_t gy_planted_out(int64_t name);
/* ids [B, T] -> logits [B, T, 66] */
gy_t gy_planted(gy_mod *m, gy_t ids);

/* ---- findings on a trained network (circuit-reuse.c), and the claim (circuit-reuse_claim.c) ---- */

enum { GY_CIRCUIT_MOST_HEADS = 1024 };
typedef struct gy_circuit_findings {
    double accuracy[GY_TASKS];
    double effect[GY_TASKS][GY_CIRCUIT_MOST_HEADS]; /* of each head on the logits, negative ones cut to 0 */
    double same, control;                           /* cosines of maps: IOI with colours, IOI with the table */
    double overlap_same, overlap_control;           /* shares of the four strongest heads */
} gy_circuit_findings;
/* `colours` (NULL: j itself): the trained job whose heads are taken for the second task. */
gy_status gy_circuit_measure(gy_job *j, gy_job *colours, gy_circuit_findings *f) GY_MUST_CHECK;
gy_status gy_circuit_claim(gy_job *j, gy_claim *out) GY_MUST_CHECK;

#endif
