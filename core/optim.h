/* optim.h: the optimizer half of a training step, as nodes of the same graph: gradients, clipping, updates,
 * moments and moving averages, all written back by assignments. One plan is one step.
 *
 *     gy_optim_adamw(g, store, loss, .weight_decay = 0.05, .decays = gy_decays_matrices, .clip_norm = 1.0);
 *     ...
 *     *(double *)gy_plan_input(plan, "lr") = gy_schedule_lr(&schedule, step);
 *
 * The graph gets a scalar f64 input "lr"; the store gets slots "<param>.adam_m", "<param>.adam_v",
 * "<param>.sgd_m", "<param>.lion_m", "<param>.ema" and the i64 counter "<name>.step". */
#ifndef GY_OPTIM_H
#define GY_OPTIM_H

#include "graph.h"
#include "state.h"

typedef enum gy_optim_kind {
    GY_OPTIM_SGD = 1,
    GY_OPTIM_ADAM,  /* weight decay through the gradient */
    GY_OPTIM_ADAMW, /* decoupled weight decay */
    GY_OPTIM_LION
} gy_optim_kind;

/* Parameters whose name begins with `prefix`; the first group that fits counts. */
typedef struct gy_optim_group {
    const char *prefix;
    double lr_factor;    /* 0: 1; GY_OPTIM_NONE: the group is not trained */
    double weight_decay; /* 0: the optimizer's; GY_OPTIM_NONE: none */
} gy_optim_group;
/* A true zero where 0 means the default. */
#define GY_OPTIM_NONE (-1.0)

typedef struct gy_optim_args {
    gy_site at;
    gy_optim_kind kind;
    gy_graph *g;
    gy_store *store;
    gy_t loss;          /* scalar */
    const char *prefix; /* NULL: all unfrozen parameters that the loss depends on; else those of this prefix */
    const char *name;   /* of the step counter; NULL: "optim". Two optimizers in one graph need two names */
    const char *lr;     /* name of the rate's input; NULL: "lr" */
    double momentum;    /* sgd; 0: none */
    bool nesterov;
    double beta1, beta2;               /* 0: 0.9 and 0.999 (lion 0.9, 0.99) */
    double eps;                        /* 0: 1e-8 */
    double weight_decay;               /* 0: none */
    bool (*decays)(const gy_state *p); /* which parameters are decayed; NULL: all */
    double clip_norm;                  /* largest norm of all gradients together; 0: no clipping */
    double ema;                        /* decay of the parameters' moving averages "<param>.ema"; 0: none */
    int64_t n_groups;
    const gy_optim_group *groups;
} gy_optim_args;

typedef struct gy_optim {
    int64_t n; /* parameters that are updated */
    gy_t norm; /* norm of their gradients before clipping; GY_NONE without clipping */
    gy_t step; /* the counter after this step: 1 in the first */
} gy_optim;

/* Poisons the graph if the loss is no scalar or depends on none of the parameters. */
gy_optim gy_optim_(gy_optim_args args);
#define gy_optim_sgd(g, store, ...)   gy_optim_((gy_optim_args){GY_HERE, GY_OPTIM_SGD, g, store, __VA_ARGS__})
#define gy_optim_adam(g, store, ...)  gy_optim_((gy_optim_args){GY_HERE, GY_OPTIM_ADAM, g, store, __VA_ARGS__})
#define gy_optim_adamw(g, store, ...) gy_optim_((gy_optim_args){GY_HERE, GY_OPTIM_ADAMW, g, store, __VA_ARGS__})
#define gy_optim_lion(g, store, ...)  gy_optim_((gy_optim_args){GY_HERE, GY_OPTIM_LION, g, store, __VA_ARGS__})

/* True for rank 2 and more: neither biases nor the gains of norms are decayed. */
bool gy_decays_matrices(const gy_state *p);

/* ---- schedules: learning rate as a function of the step, 0 in the first ----------------------- */

typedef enum gy_schedule_kind {
    GY_SCHEDULE_CONSTANT = 0,
    GY_SCHEDULE_LINEAR,   /* falls to `min` at step `total` */
    GY_SCHEDULE_COSINE,   /* falls to `min` at step `total` along half a cosine */
    GY_SCHEDULE_STEP,     /* times `gamma` every `every` steps */
    GY_SCHEDULE_ONE_CYCLE /* torch.optim.lr_scheduler.OneCycleLR, cosine annealing, two phases; no warm-up */
} gy_schedule_kind;

typedef struct gy_schedule {
    gy_schedule_kind kind;
    double lr;      /* the largest rate */
    int64_t warmup; /* step t < warmup: lr (t + 1) / warmup; the rest starts after it */
    int64_t total;  /* steps in all, warm-up included; later steps keep the last value */
    double min;
    double gamma; /* 0: 0.1 */
    int64_t every;
    double pct_start;      /* one-cycle: share of the rise; 0: 0.3 */
    double div, final_div; /* one-cycle: starts at lr / div, ends at lr / div / final_div; 0: 25, 1e4 */
} gy_schedule;
double gy_schedule_lr(const gy_schedule *s, int64_t step);

#endif
