/* model.h: what a paper's file defines, and the job that trains, evaluates and runs it.
 *
 * A model is one gy_model_def. Its builder makes graphs; everything that varies between papers (data, batches, phases,
 * metrics, panels, claim) is a function pointer; everything they share (the loop, checkpoints, the command line, the
 * report's frame) is written once. A function that is NULL means "this model has none".
 *
 * Bit-exact resume rests on two rules: all that changes during training lives in the store, and a batch is a
 * function of (seed, step) alone. */
#ifndef GY_MODEL_H
#define GY_MODEL_H

#include "module.h"
#include "optim.h"
#include "plan.h"

typedef struct gy_model_def gy_model_def;
typedef struct gy_job gy_job;

/* ---- configurations ---- */

typedef enum gy_option_type { GY_OPT_INT = 1, GY_OPT_REAL, GY_OPT_TEXT } gy_option_type;
/* One member of a model's configuration struct: int64_t, double, or char[64]. */
typedef struct gy_option {
    const char *name, *help;
    gy_option_type type;
    size_t offset;
    double min, max; /* bounds of numbers, inclusive */
} gy_option;
/* A named set of values; `values` points to the model's configuration struct. The first is the default. */
typedef struct gy_config {
    const char *name, *help;
    const void *values;
} gy_config;

/* ---- building ---- */

/* What a builder is given. It declares inputs (gy_input on m->g, batch axis first) and names outputs. */
typedef struct gy_build {
    gy_mod *m;
    const void *cfg;
    int64_t batch;
    const char *ablate; /* NULL, or the name of the mechanism to break */
    int64_t phase;      /* objective only: which of the job's phases */
    const gy_job *job;  /* NULL when only shapes are wanted (show): sizes then come from cfg alone */
} gy_build;

/* Whether `ablate` (NULL: nothing is broken) names this mechanism. */
bool gy_ablates(const char *ablate, const char *mechanism);

/* ---- weights by other names ---- */

/* How a tensor of the model is called in files that do not use our names (which are one public checkpoint's own). A
 * pattern holds at most one '*', which stands for any text and is the same text on both sides:
 *     {"text_model.encoder.layers.*.mlp.fc1.weight", "transformer.resblocks.*.mlp.c_fc.weight"}
 * A tensor's own name counts first, then the first rule whose file name exists. A table ends with an all-zero row. */
typedef struct gy_weight_rule {
    const char *model, *file;
    int64_t part, parts; /* the part-th of `parts` equal runs of the first axis; parts 0: all of it */
    bool transpose;      /* a matrix kept the other way round */
} gy_weight_rule;

/* ---- metrics ---- */

enum { GY_MAX_METRICS = 32 };
typedef struct gy_metric {
    char name[48];
    double value;
    double chance; /* NaN: none */
    char unit[16]; /* "accuracy", "r", "" */
} gy_metric;
typedef struct gy_metrics {
    gy_metric m[GY_MAX_METRICS];
    int64_t n;
} gy_metrics;
void gy_metric_add(gy_metrics *s, const char *name, double value, double chance, const char *unit);
double gy_metric_get(const gy_metrics *s, const char *name); /* NaN: absent */

/* ---- the claim ---- */

typedef struct gy_claim {
    const char *metric; /* what `value` is, in words */
    double value, baseline, threshold, chance;
    bool pass;
    gy_metrics details; /* every condition of the card, for the table and --json */
} gy_claim;

/* ---- text ---- */

/* How a language model's next token is chosen. All zero: the most probable (greedy). */
typedef struct gy_sampling {
    double temperature;  /* 0: greedy; else probabilities softmax(logits / temperature) */
    int64_t top_k;       /* only the k most probable; 0: all */
    double top_p;        /* only the most probable that together reach p, the one that crosses it included; 0: all */
    double repetition;   /* a token that was there: positive logits divided, negative multiplied by this; 0 or 1: none
                            (Keskar et al. 2019, arXiv 1909.05858 section 4.1) */
    double frequency;    /* subtracted from a logit for each time that its token was there */
    int64_t beams;       /* 2 or more: beam search; temperature and the cuts above are then not used */
    double length_power; /* beam search: a finished row's score is its log-probability / length^this; 0: 1 */
    int64_t end;         /* token that ends a row (and fills it up from there); -1: none */
    uint64_t seed;
    /* Told the token that each row has got, [rows], after each of them; false stops: what is missing is -1. Not of a
     * beam search, whose tokens may be taken back. NULL: nobody. */
    bool (*told)(void *user, const int64_t *next);
    void *user;
} gy_sampling;

/* A prompt, to be continued `rows` times by n tokens. */
typedef struct gy_completion {
    const int64_t *prompt; /* [t] */
    int64_t t, rows, n;
    gy_sampling sampling;
} gy_completion;

/* ---- the definition ---- */

struct gy_model_def {
    const char *slug, *family, *title, *cite, *job; /* job: one sentence: what goes in, what comes out */
    int year;
    const char *const *equations; /* lines "eq. (3): L = ..." for explain; NULL-terminated, may be NULL */
    size_t config_size;
    const gy_option *options;     /* ends with name NULL */
    const gy_config *configs;     /* ends with name NULL */
    const char *const *ablations; /* names for --ablate with " - " and a remark; NULL-terminated, may be NULL */

    /* Names in public weight files that may be missing, extra or of another shape ("*.position_ids"; '*' is any
     * text); NULL-terminated, NULL: none. All other differences are refused by name. */
    const char *const *ignorable;
    const gy_weight_rule *weights; /* other names of its tensors in public files; may be NULL */
    const char *trained_as;        /* slug of the model that this one is a part of and trained with; NULL: none */

    /* Checks the values of a configuration together (heads divide width, ...). */
    gy_status (*check)(gy_ctx *ctx, const void *cfg);
    /* The inference graph: named inputs to named outputs. Required. */
    void (*build)(gy_build *b);
    /* The training graph of one phase: inputs, a scalar output "loss" (and others to log), the optimizer. Required
     * for training. The learning rate comes from the optimizer's input "lr". */
    void (*objective)(gy_build *b);
    /* Phases alternate within a step (a GAN has "d" and "g"), or follow each other; NULL: one phase. */
    int64_t (*phases)(const gy_job *j);
    /* The phase of a step, when each step runs one; -1: all phases in order. NULL: all. */
    int64_t (*phase_of)(const gy_job *j, int64_t step);

    /* Opens j->data_path, or generates (data_path NULL); sets j->data, j->batch, and j->steps if it is 0. */
    gy_status (*open)(gy_job *j);
    void (*close)(gy_job *j); /* frees j->data; NULL data is fine */
    /* Fills the inputs of the phase's plan for `step` (gy_plan_feed / gy_plan_input), except rng and lr. */
    gy_status (*batch)(gy_job *j, gy_plan *p, int64_t phase, int64_t step);
    double (*lr)(const gy_job *j, int64_t phase, int64_t step); /* NULL: 1e-3 */
    /* The paper's metrics on held-out data with the present store. */
    gy_status (*evaluate)(gy_job *j, gy_metrics *out);
    /* Panels of its own for report.html; `report` is a gy_report (io/report/html.h). */
    gy_status (*panels)(gy_job *j, void *report);
    /* Files of its own in the run folder after training (weight maps ...). */
    gy_status (*artefacts)(gy_job *j, const char *dir);
    /* Generative models: n samples as an image tensor [n, H, W, C] in 0..1. */
    gy_status (*sample)(gy_job *j, int64_t n, gy_tensor *out);
    /* Language models: how many tokens there are (256: bytes), and texts: out [rows, n]. */
    int64_t (*vocabulary)(const void *cfg);
    gy_status (*complete)(gy_job *j, const gy_completion *c, int64_t *out);
    /* The miniature. j->seed, j->ablate and j->cfg are set, nothing else is open. */
    gy_status (*claim)(gy_job *j, gy_claim *out);
};

/* ---- the job ---- */

/* Called after each step and each evaluation; false stops after a save. */
typedef struct gy_job_sink {
    bool (*step)(void *user, const gy_job *j, const gy_metrics *logged); /* loss and whatever phases name */
    gy_status (*save)(void *user, const gy_job *j);                      /* a checkpoint is due */
    void *user;
} gy_job_sink;

struct gy_job {
    gy_ctx *ctx;
    const gy_model_def *def;
    void *cfg; /* owned copy of the configuration's values */
    const char *config_name;
    uint64_t seed;
    const char *data_path, *ablate;
    int64_t steps, step; /* in all; done so far */
    bool from_run;       /* a checkpoint follows open: what it holds need not be read from elsewhere */
    int64_t batch;
    int64_t save_every; /* steps between checkpoints; 0: only at the end */
    gy_store *store;
    void *data;
    gy_job_sink sink;
    uint64_t data_hash;   /* set by open: identifies the data in run.json */
    char data_label[64];  /* "generated" or the file names */
    const char *owned[2]; /* strings freed with the job */
};

/* Copies a configuration (NULL: the first) and applies "key=value" settings. Errors name the nearest option. */
gy_status gy_job_init(gy_job *j, gy_ctx *ctx, const gy_model_def *def, const char *config, const char *const *settings,
                      int64_t n_settings) GY_MUST_CHECK;
void gy_job_free(gy_job *j);
gy_status gy_config_set(gy_ctx *ctx, const gy_model_def *def, void *cfg, const char *key_value) GY_MUST_CHECK;
/* "0.5" of an option, as text for run.json and show. */
void gy_config_text(const gy_option *o, const void *cfg, char *buf, size_t n);

/* Trains from j->step to j->steps: compiles one plan a phase, runs them, calls the sink. A NaN or Inf loss stops with
 * a message that names the step. Call def->open first (gy_job_open). */
gy_status gy_job_open(gy_job *j) GY_MUST_CHECK;
gy_status gy_job_train(gy_job *j) GY_MUST_CHECK;

/* A compiled inference graph over the job's store (eval mode), with `batch` rows; outputs NULL: all. The graph is
 * returned for freeing after the plan. */
typedef struct gy_compiled {
    gy_graph *g;
    gy_plan *plan;
} gy_compiled;
gy_status gy_job_compile(gy_job *j, int64_t batch, const gy_hook *hooks, int64_t n_hooks,
                         gy_compiled *out) GY_MUST_CHECK;
/* The training graph of a phase; `dry`: layout only, nothing allocated. */
gy_status gy_job_compile_phase(gy_job *j, int64_t phase, bool dry, gy_compiled *out) GY_MUST_CHECK;
void gy_compiled_free(gy_compiled *c);

/* ---- the registry (models/registry.c): made by the Makefile from the file list ---- */
extern const gy_model_def *const gy_models[];        /* NULL-terminated, by slug */
const gy_model_def *gy_model_find(const char *slug); /* NULL: none */
/* The closest of `names` (NULL-terminated) by edit distance, for "did you mean"; NULL: none is close. */
const char *gy_nearest(const char *word, const char *const *names);

#endif
