/* json.h: JSON (RFC 8259), read strictly into one flat array of nodes, and written with escapes.
 *
 * The reader refuses what two programs would understand differently: repeated keys, invalid or overlong
 * UTF-8, lone surrogates, \u0000, comments, trailing commas, text after the value, numbers that no double
 * holds. It does not recurse; depth is bounded by the limit json-depth. */
#ifndef GY_IO_JSON_H
#define GY_IO_JSON_H

#include "../bytes.h"

typedef enum gy_json_kind {
    GY_JSON_NULL,
    GY_JSON_BOOL,
    GY_JSON_INT,    /* a number without fraction and exponent that an int64_t holds */
    GY_JSON_DOUBLE, /* any other number */
    GY_JSON_STRING,
    GY_JSON_ARRAY,
    GY_JSON_OBJECT
} gy_json_kind;

/* Nodes stand in the order of the text; node 0 is the whole. */
typedef struct gy_json_node {
    gy_json_kind kind;
    const char *key; /* in an object; else NULL */
    int64_t parent;  /* -1 for node 0 */
    int64_t next;    /* the next member or element of the parent; -1 for the last */
    uint64_t at;     /* byte offset in the source */
    union {
        bool boolean;
        int64_t integer;
        double real;
        const char *string; /* UTF-8, ended by NUL, which is never inside */
        struct {
            int64_t count, last; /* members or elements; the last one's node */
        } list;
    } u;
} gy_json_node;

typedef struct gy_json {
    const gy_bytes *src; /* must outlive this */
    gy_json_node *nodes;
    int64_t n, room;
    char *text; /* all strings */
} gy_json;

/* Reads src[at, at+n), which must be one value with white space around it. */
gy_status gy_json_parse(const gy_bytes *src, uint64_t at, uint64_t n, gy_json *out) GY_MUST_CHECK;
void gy_json_free(gy_json *j); /* all-zero is fine */

/* for (int64_t i = gy_json_first(j, list); i >= 0; i = j->nodes[i].next) */
int64_t gy_json_first(const gy_json *j, int64_t list);                  /* -1: empty, or neither array nor object */
int64_t gy_json_get(const gy_json *j, int64_t object, const char *key); /* -1: no such member */
/* False unless node >= 0 is of that kind. gy_json_real takes integers too. */
bool gy_json_integer(const gy_json *j, int64_t node, int64_t *out);
bool gy_json_real(const gy_json *j, int64_t node, double *out);
const char *gy_json_string(const gy_json *j, int64_t node); /* NULL if it is none */
const char *gy_json_kind_name(gy_json_kind k);              /* "an integer", "a string", ... */

/* ---- writing ---- */

enum { GY_JSON_MAX_DEPTH = 64 };

/* Builds one value in memory. A failure sticks and gy_json_finish reports it, so calls need no check.
 * `key` is NULL outside objects. Invalid UTF-8 becomes U+FFFD; NaN and infinities, which JSON lacks,
 * become null; doubles have the fewest digits that read back the same. */
typedef struct gy_json_writer {
    gy_ctx *ctx;
    char *text;
    size_t size, room;
    gy_status status;
    bool pretty; /* two spaces a level, else one line */
    int depth;
    char close[GY_JSON_MAX_DEPTH]; /* '}' or ']' */
    bool filled[GY_JSON_MAX_DEPTH + 1];
} gy_json_writer;

void gy_json_start(gy_ctx *ctx, gy_json_writer *w, bool pretty);
void gy_json_open_object(gy_json_writer *w, const char *key);
void gy_json_open_array(gy_json_writer *w, const char *key);
void gy_json_close(gy_json_writer *w);                                          /* the innermost object or array */
void gy_json_put_string(gy_json_writer *w, const char *key, const char *value); /* NULL value: null */
void gy_json_put_int(gy_json_writer *w, const char *key, int64_t value);
void gy_json_put_real(gy_json_writer *w, const char *key, double value);
void gy_json_put_bool(gy_json_writer *w, const char *key, bool value);
void gy_json_put_null(gy_json_writer *w, const char *key);
/* *text (gy_malloc'd, ended by NUL) has *n bytes. On failure NULL. Frees w's memory in every case. */
gy_status gy_json_finish(gy_json_writer *w, char **text, size_t *n) GY_MUST_CHECK;

#endif
