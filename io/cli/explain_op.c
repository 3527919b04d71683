/* gyrus explain --op: one operator: its formula, its kernels, and its gradient as the nodes that gy_grad appends to the
 * operator's first test case. */
#include "explain.h"

#include "../../core/op.h"
#include "../../kernels/kernel.h"
#include "../formats/json.h"

#include <inttypes.h>
#include <string.h>

typedef struct lesson {
    const gy_op *op;
    gy_case c;
    gy_plan *plan;       /* of the case alone; NULL: there is none */
    int32_t first;       /* node id of the gradient's first node */
    gy_t ct, grad[8];    /* grad[i]: with respect to input i */
    const char *nodiff;  /* why there is no gradient */
    double flops, bytes; /* of the operator in the case */
    const char *kernel;
} lesson;

static gy_op_id find_op(gy_ctx *ctx, const char *name) {
    const char *names[GY_OP_COUNT];
    int n = 0;
    for (int i = 1; i < GY_OP_COUNT; i++) {
        if (strcmp(gy_ops[i].name, name) == 0) return (gy_op_id)i;
        names[n++] = gy_ops[i].name;
    }
    names[n] = NULL;
    const char *near = gy_nearest(name, names);
    char shown[128];
    gy_fail(ctx, GY_ERR_USAGE, "no operator '%s'%s%s%s (gyrus list --ops shows all)",
            gy_show_text(name, strlen(name), shown, sizeof shown), near ? "; did you mean '" : "", near ? near : "",
            near ? "'?" : "");
    return GY_OP_NONE;
}

/* Inputs that a gradient can reach. */
static int64_t float_inputs(const lesson *l, gy_t x[8]) {
    int64_t n = 0;
    for (int64_t i = 0; i < l->c.n_in; i++)
        if (gy_dtype_is_float(gy_dtype_of(l->c.in[i]))) x[n++] = l->c.in[i];
    return n;
}

static gy_status differentiate(gy_ctx *ctx, lesson *l) {
    gy_t x[8], gx[8];
    int64_t n = float_inputs(l, x), k = 0;
    l->first = l->c.g->n;
    if (l->op->impl->nodiff || !gy_dtype_is_float(gy_dtype_of(l->c.y)) || n == 0) {
        l->nodiff = l->op->impl->nodiff ? l->op->impl->nodiff : "no float goes in, or none comes out";
        return GY_OK;
    }
    l->ct = gy_input(l->c.g, "ct", gy_dtype_of(l->c.y), gy_shape_of(l->c.y));
    l->first = l->c.g->n;
    gy_grad(l->c.y, l->ct, n, x, gx);
    for (int64_t i = 0; i < l->c.n_in; i++) l->grad[i] = gy_dtype_is_float(gy_dtype_of(l->c.in[i])) ? gx[k++] : GY_NONE;
    if (gy_graph_status(l->c.g) == GY_OK) return GY_OK;
    (void)ctx;
    l->nodiff = l->c.g->message;
    l->first = l->c.g->n;
    return GY_OK;
}

/* The first case whose result has several elements teaches more than a scalar; without one, the first. */
static bool build_case(gy_ctx *ctx, lesson *l) {
    for (int index = 0, last = -1;; index++) {
        gy_graph_free(l->c.g);
        l->c = (gy_case){.g = gy_graph_new(ctx), .dtype = GY_F32};
        if (!l->c.g) return false;
        if (!l->op->impl->cases || !l->op->impl->cases(&l->c, index)) {
            if (index == 0 || last == 0) return false;
            index = -1; /* none has: back to the first */
            last = 0;
            continue;
        }
        if (gy_graph_status(l->c.g) != GY_OK) return false;
        if (gy_count(l->c.y) > 1 || last == 0) return true;
    }
}

static gy_status prepare(gy_ctx *ctx, lesson *l) {
    if (!build_case(ctx, l)) return gy_error_status(ctx); /* GY_OK: made by the planner alone */
    gy_output(l->c.y, "y");
    l->plan = gy_compile(l->c.g, (gy_plan_args){.dry = true, .off = GY_PASS_ALL});
    if (!l->plan) return gy_error_status(ctx);
    int64_t steps = gy_plan_report(l->plan).steps;
    for (int64_t i = 0; i < steps; i++) {
        gy_plan_step_info s = gy_plan_step(l->plan, i);
        if (strcmp(s.op, l->op->name) != 0) continue;
        l->flops = s.flops;
        l->bytes = s.bytes;
        l->kernel = s.kernel;
    }
    return differentiate(ctx, l);
}

/* "x0", "ct", "y", "t7", and "t7[1]" for a further output. */
static const char *value_name(const lesson *l, gy_t t, char buf[32]) {
    if (gy_is_none(t)) return "-";
    const gy_node *n = gy_node_of(t);
    for (int64_t i = 0; i < l->c.g->n_input; i++)
        if (l->c.g->input[i].value.id == t.id) return l->c.g->input[i].name;
    const char *base = gy_node_of(l->c.y) == n ? "y" : NULL;
    if (base)
        snprintf(buf, 32, t.out ? "%s[%d]" : "%s", base, t.out);
    else
        snprintf(buf, 32, t.out ? "t%d[%d]" : "t%d", t.id, t.out);
    return buf;
}

static bool transposed(const gy_node *n, int input) {
    if (n->op->id != GY_OP_matmul) return false;
    const gy_matmul_attr *m = n->attr;
    return (input == 0 && m->trans_a) || (input == 1 && m->trans_b);
}

/* The node as text: "t7 = mul(ct, x1)" */
static void node_text(const lesson *l, const gy_node *n, char *buf, size_t size) {
    char name[32], shape[GY_SHAPE_TEXT];
    gy_t self = {l->c.g, n->id, 0};
    size_t len = (size_t)snprintf(buf, size, "%s = %s(", value_name(l, self, name), n->op->name);
    for (int i = 0; i < n->n_in && len < size; i++)
        len += (size_t)snprintf(buf + len, size - len, "%s%s%s", i ? ", " : "", value_name(l, n->in[i], name),
                                transposed(n, i) ? "^T" : "");
    if (len < size) snprintf(buf + len, size - len, ")  %s", gy_shape_text(n->shape[0], shape));
}

static void arity_text(const lesson *l, char *buf, size_t n) {
    char in[32] = "any number of", out[32] = "one or more";
    if (l->op->n_in >= 0) snprintf(in, sizeof in, "%d", l->op->n_in);
    if (l->op->n_out >= 0) snprintf(out, sizeof out, "%d", l->op->n_out);
    snprintf(buf, n, "%s input%s, %s output%s", in, l->op->n_in == 1 ? "" : "s", out, l->op->n_out == 1 ? "" : "s");
}

static void print_gradient(const lesson *l) {
    char text[512], name[32];
    if (l->nodiff) {
        printf("\ngradient   none: %s\n", l->nodiff);
        return;
    }
    printf("\ngradient   given ct = dL/dy, gy_grad appends\n");
    for (int32_t i = l->first; i < l->c.g->n; i++) {
        node_text(l, l->c.g->node[i], text, sizeof text);
        printf("  %-50s %s\n", text, l->c.g->node[i]->op->formula);
    }
    for (int64_t i = 0; i < l->c.n_in; i++)
        if (!gy_is_none(l->grad[i])) {
            printf("  dL/dx%" PRId64 " = %s\n", i, value_name(l, l->grad[i], name));
        } else if (gy_dtype_is_float(gy_dtype_of(l->c.in[i]))) {
            printf("  dL/dx%" PRId64 " = 0\n", i);
        }
}

static void print(gy_ctx *ctx, const lesson *l) {
    char text[512], t1[32], t2[32], name[32];
    int64_t n;
    const gy_kernel *k = gy_kernel_table(&n);
    arity_text(l, text, sizeof text);
    printf("%s%s%s     %s\noperands   %s\n", cli_bold(stdout), l->op->name, cli_plain(stdout), l->op->formula, text);
    if (l->op->flags & GY_F_ELEMENTWISE) printf("           elementwise: shapes broadcast as in NumPy\n");
    if (l->op->flags & GY_F_VIEW) printf("           a view: the same data under other strides, no kernel runs\n");
    if (l->op->flags & GY_F_RANDOM) printf("           random: a function of seed, step and scope alone\n");
    if (l->op->flags & GY_F_LEAF) printf("           a leaf: no kernel runs\n");
    if (l->op->impl->expand) printf("           fused: it can be written as more primitive operators\n");
    for (int tier = GY_ISA_COUNT - 1; tier >= 0; tier--)
        for (int64_t i = 0; i < n; i++)
            if (k[i].op == l->op->id && (int)k[i].isa == tier)
                printf("kernel     %-11s %-4s %s%s%s%s%s\n", gy_isa_name(k[i].isa),
                       k[i].dtype ? gy_dtype_name(k[i].dtype) : "any", k[i].name,
                       k[i].supports ? " (for some operands)" : "",
                       k[i].flags & GY_K_BF16_COMPUTE ? " (precision bf16)" : "",
                       gy_ctx_isa_mask(ctx) >> tier & 1 ? "" : " (not on this machine)",
                       l->kernel && strcmp(l->kernel, k[i].name) == 0 ? "  <- chosen in the example" : "");
    if (!l->plan) {
        printf("\nexample    none: only the planner makes it\n");
        return;
    }
    printf("\nexample    ");
    node_text(l, gy_node_of(l->c.y), text, sizeof text);
    printf("%s\n", text);
    for (int64_t i = 0; i < l->c.n_in; i++)
        printf("           %s: %s %s\n", value_name(l, l->c.in[i], name), gy_dtype_name(gy_dtype_of(l->c.in[i])),
               gy_shape_text(gy_shape_of(l->c.in[i]), text));
    if (l->kernel)
        printf("cost       %s, %s moved\n", cli_count_text(l->flops, "FLOP", t1), cli_bytes_text(l->bytes, t2));
    print_gradient(l);
}

static int print_json(gy_ctx *ctx, const cli_args *a, const lesson *l) {
    gy_json_writer w;
    char *text, line[512];
    size_t size;
    int64_t n;
    const gy_kernel *k = gy_kernel_table(&n);
    gy_json_start(ctx, &w, false);
    gy_json_open_object(&w, NULL);
    gy_json_put_string(&w, "op", l->op->name);
    gy_json_put_string(&w, "formula", l->op->formula);
    gy_json_open_array(&w, "kernels");
    for (int64_t i = 0; i < n; i++) {
        if (k[i].op != l->op->id) continue;
        gy_json_open_object(&w, NULL);
        gy_json_put_string(&w, "kernel", k[i].name);
        gy_json_put_string(&w, "isa", gy_isa_name(k[i].isa));
        gy_json_put_string(&w, "dtype", k[i].dtype ? gy_dtype_name(k[i].dtype) : "any");
        gy_json_put_bool(&w, "chosen", l->kernel && strcmp(l->kernel, k[i].name) == 0);
        gy_json_close(&w);
    }
    gy_json_close(&w);
    gy_json_put_string(&w, "no_gradient", l->nodiff);
    gy_json_open_array(&w, "gradient");
    for (int32_t i = l->plan ? l->first : l->c.g->n; i < l->c.g->n; i++) {
        node_text(l, l->c.g->node[i], line, sizeof line);
        gy_json_put_string(&w, NULL, line);
    }
    gy_json_close(&w);
    gy_json_close(&w);
    if (gy_json_finish(&w, &text, &size) != GY_OK) return cli_fail(ctx, a);
    printf("%s\n", text);
    gy_free(ctx, text);
    return CLI_OK;
}

int cli_explain_op(gy_ctx *ctx, const cli_args *a, const char *name) {
    gy_op_id id = find_op(ctx, name);
    if (id == GY_OP_NONE) return cli_fail(ctx, a);
    lesson l = {.op = &gy_ops[id]};
    int rc = CLI_OK;
    if (prepare(ctx, &l) != GY_OK)
        rc = cli_fail(ctx, a);
    else if (cli_has(a, "--json"))
        rc = print_json(ctx, a, &l);
    else
        print(ctx, &l);
    gy_plan_free(l.plan);
    gy_graph_free(l.c.g);
    return rc;
}
