#include "weight_rules.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* ---- one face for both formats ---- */

gy_status gy_weights_open(gy_ctx *ctx, const char *path, const gy_limits *limits, gy_weights *out) {
    *out = (gy_weights){0};
    gy_status s = gy_pth_is(ctx, path, limits, &out->is_pth);
    if (s != GY_OK) return s;
    return out->is_pth ? gy_pth_open(ctx, path, limits, &out->pth) : gy_safetensors_open(ctx, path, limits, &out->st);
}

void gy_weights_close(gy_weights *w) {
    gy_pth_close(&w->pth);
    gy_safetensors_close(&w->st);
}

int64_t gy_weights_count(const gy_weights *w) {
    return w->is_pth ? w->pth.n : w->st.n;
}

const char *gy_weights_name(const gy_weights *w, int64_t i) {
    return w->is_pth ? w->pth.entries[i].name : w->st.entries[i].name;
}

gy_dtype gy_weights_dtype(const gy_weights *w, int64_t i) {
    return w->is_pth ? w->pth.entries[i].dtype : w->st.entries[i].dtype;
}

gy_shape gy_weights_shape(const gy_weights *w, int64_t i) {
    return w->is_pth ? w->pth.entries[i].shape : w->st.entries[i].shape;
}

int64_t gy_weights_find(const gy_weights *w, const char *name) {
    return w->is_pth ? gy_pth_find(&w->pth, name) : gy_safetensors_find(&w->st, name);
}

gy_status gy_weights_read(gy_weights *w, int64_t i, gy_tensor *out) {
    return w->is_pth ? gy_pth_read(&w->pth, i, out) : gy_safetensors_read(&w->st, i, out);
}

/* ---- names that may be missing or extra ---- */

/* Greedy: on a mismatch the last '*' takes one more character. */
static bool matches(const char *pattern, const char *name) {
    const char *star = NULL, *mark = NULL;
    while (*name) {
        if (*pattern == '*') {
            star = pattern++;
            mark = name;
        } else if (*pattern == *name) {
            pattern++;
            name++;
        } else if (star) {
            pattern = star + 1;
            name = ++mark;
        } else {
            return false;
        }
    }
    while (*pattern == '*') pattern++;
    return *pattern == 0;
}

bool gy_name_matches(const char *const *patterns, const char *name) {
    for (; patterns && *patterns; patterns++)
        if (matches(*patterns, name)) return true;
    return false;
}

/* ---- loading ---- */

enum { LISTED = 8 };

/* "3 missing: a, b, c" of one kind of trouble. */
typedef struct trouble {
    const char *what;
    int64_t n;
    char text[2048];
} trouble;

static void note(trouble *t, const char *name, const char *detail) {
    char shown[256];
    size_t at = strlen(t->text);
    gy_show_text(name, strlen(name), shown, sizeof shown);
    if (t->n++ < LISTED) snprintf(t->text + at, sizeof t->text - at, "%s'%s'%s", at ? ", " : "", shown, detail);
}

static bool fits(const gy_weights *w, gy_weight_place p, const gy_state *state) {
    gy_shape taken;
    return gy_weight_shape(p.rule, gy_weights_shape(w, p.at), &taken) && gy_shape_equal(taken, state->value.shape) &&
           gy_dtype_is_float(gy_weights_dtype(w, p.at)) == gy_dtype_is_float(state->value.dtype);
}

static void note_misfit(trouble *t, const gy_weights *w, gy_weight_place p, const gy_state *state) {
    char a[GY_SHAPE_TEXT], b[GY_SHAPE_TEXT], of[64] = "", detail[2 * GY_SHAPE_TEXT + 128];
    if (p.rule && p.rule->parts) snprintf(of, sizeof of, " in a part of %d", (int)p.rule->parts);
    if (p.rule && p.rule->transpose) snprintf(of, sizeof of, " the other way round");
    snprintf(detail, sizeof detail, " is %s %s, the model expects %s %s%s", gy_dtype_name(gy_weights_dtype(w, p.at)),
             gy_shape_text(gy_weights_shape(w, p.at), a), gy_dtype_name(state->value.dtype),
             gy_shape_text(state->value.shape, b), of);
    note(t, state->name, detail);
}

/* Our own checkpoints hold more than a model's inference needs: what only training has, and the optimizer's slots. */
static bool is_checkpoint(const gy_weights *w) {
    return !w->is_pth && gy_safetensors_metadata(&w->st, "slug") != NULL;
}

/* used[i]: the model takes something from tensor i of the file. */
static gy_status compare(gy_ctx *ctx, const char *path, const gy_weights *w, const gy_store *store,
                         const char *const *ignorable, const gy_weight_rule *rules, bool *used) {
    trouble t[3] = {{.what = "missing"}, {.what = "not in the model"}, {.what = "of another shape or type"}};
    for (int64_t i = 0; i < gy_store_count(store); i++) {
        const gy_state *state = gy_store_at(store, i);
        if (state->kind == GY_SLOT) continue;
        gy_weight_place p = gy_weight_find(w, rules, state->name);
        if (p.at >= 0) used[p.at] = true;
        if (gy_name_matches(ignorable, state->name)) continue;
        if (p.at < 0)
            note(&t[0], state->name, "");
        else if (!fits(w, p, state))
            note_misfit(&t[2], w, p, state);
    }
    for (int64_t i = 0; i < gy_weights_count(w) && !is_checkpoint(w); i++)
        if (!used[i] && !gy_name_matches(ignorable, gy_weights_name(w, i))) note(&t[1], gy_weights_name(w, i), "");
    char text[3 * sizeof t[0].text + 256] = "";
    for (int i = 0; i < 3; i++) {
        size_t at = strlen(text);
        if (t[i].n)
            snprintf(text + at, sizeof text - at, "%s%" PRId64 " %s: %s%s", at ? "; " : "", t[i].n, t[i].what,
                     t[i].text, t[i].n > LISTED ? ", ..." : "");
    }
    if (!text[0]) return GY_OK;
    return gy_fail(ctx, t[0].n || t[1].n ? GY_ERR_FORMAT : GY_ERR_SHAPE, "%s: tensors do not fit the model: %s", path,
                   text);
}

static gy_status load_state(gy_ctx *ctx, gy_weights *w, gy_weight_place p, gy_state *state) {
    gy_tensor t, cast = {0};
    gy_status s = gy_weights_read(w, p.at, &t);
    if (s != GY_OK) return s;
    s = gy_tensor_cast(ctx, &t, state->value.dtype, &cast);
    if (s == GY_OK) {
        gy_weight_take(p.rule, &cast, &state->value);
        gy_state_touch(state);
    }
    gy_tensor_free(ctx, &cast);
    gy_tensor_free(ctx, &t);
    return s;
}

gy_status gy_weights_load_as(gy_ctx *ctx, const char *path, const gy_limits *limits, gy_store *store,
                             const char *const *ignorable, const gy_weight_rule *rules) {
    gy_weights w;
    gy_status s = gy_weights_open(ctx, path, limits, &w);
    if (s != GY_OK) return s;
    bool *used = gy_calloc(ctx, (size_t)gy_weights_count(&w) + 1, sizeof *used);
    s = used ? compare(ctx, path, &w, store, ignorable, rules, used) : GY_ERR_NOMEM;
    for (int64_t i = 0; s == GY_OK && i < gy_store_count(store); i++) {
        gy_state *state = gy_store_at(store, i);
        if (state->kind == GY_SLOT) continue;
        gy_weight_place p = gy_weight_find(&w, rules, state->name);
        if (p.at >= 0 && fits(&w, p, state)) s = load_state(ctx, &w, p, state);
    }
    gy_free(ctx, used);
    gy_weights_close(&w);
    return s;
}

gy_status gy_weights_load(gy_ctx *ctx, const char *path, const gy_limits *limits, gy_store *store,
                          const char *const *ignorable) {
    return gy_weights_load_as(ctx, path, limits, store, ignorable, NULL);
}
