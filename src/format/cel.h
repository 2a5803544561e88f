/* cel.h — Common Expression Language: compiled once, evaluated many times, always bounded.
 * Owner:  a program lives in the arena it was compiled into; values in the arena of the evaluation.
 * Thread: a program is immutable and may be shared; an evaluation belongs to one thread.
 * Limits: below.   Failure: -INVALID with line:column; evaluation errors are values of the rule. */
#pragma once

#include "format/json.h"

enum {
    CEL_SOURCE_MAX = 65536,  /* bytes of source */
    CEL_DEPTH_MAX = 64,      /* nesting of the expression, and terms of a chain a + b + c */
    CEL_STEPS_MAX = 1000000, /* steps of one evaluation when the caller gives 0 */
};

enum cel_kind {
    CEL_NULL,
    CEL_BOOL,
    CEL_INT,
    CEL_UINT,
    CEL_DOUBLE,
    CEL_STRING,
    CEL_BYTES,
    CEL_LIST,
    CEL_MAP,
    CEL_TIMESTAMP,
    CEL_DURATION,
    CEL_TYPE,
};

struct cel_list;
struct cel_map;

struct cel_value {
    enum cel_kind kind;
    union {
        bool b;
        int64_t i; /* CEL_INT; CEL_DURATION in ns */
        uint64_t u;
        double d;
        str s; /* CEL_STRING (UTF-8), CEL_BYTES, CEL_TYPE (its name) */
        const struct cel_list *list;
        const struct cel_map *map;
        struct cel_time {
            int64_t s;  /* seconds since 1970 UTC */
            int32_t ns; /* 0 … 999999999 */
        } t;
    };
    struct json json; /* a list or map that is still JSON: read item by item, when asked for */
};

/* What the expression's free names mean. */
struct cel_env {
    /* false = unknown: using the name is an evaluation error. The value must outlive the
     * evaluation. name may be qualified ("a.b") when the expression says so; of an absolute one,
     * ".a", both forms are asked for. */
    bool (*lookup)(void *arg, str name, struct cel_value *ret);
    void *arg;
    uint64_t max_steps; /* 0 = CEL_STEPS_MAX */
};

struct cel_program;

/* Parses and checks source (copied). Returns 0, -INVALID "line:column: what", -EXHAUSTED. */
int cel_compile(struct arena *a, str source, struct cel_program **ret, struct error *err) WUR;

/* Returns 0, -INVALID (an evaluation error: no such field, overflow, division by zero …),
 * -EXHAUSTED (steps or arena). The text says where. */
int cel_eval(const struct cel_program *p, const struct cel_env *env, struct arena *a,
             struct cel_value *ret, struct error *err) WUR;
/* The same for a condition: any other kind of result is -INVALID. */
int cel_eval_bool(const struct cel_program *p, const struct cel_env *env, struct arena *a,
                  bool *ret, struct error *err) WUR;

/* Names that the expression leaves free, each once, in order of appearance: for a check at load
 * time. Returns how many there are; fills up to max. */
size_t cel_free_names(const struct cel_program *p, str *ret, size_t max);

static inline struct cel_value cel_int(int64_t v)
{
    return (struct cel_value){ .kind = CEL_INT, .i = v };
}
static inline struct cel_value cel_bool(bool v)
{
    return (struct cel_value){ .kind = CEL_BOOL, .b = v };
}
static inline struct cel_value cel_string(str v)
{
    return (struct cel_value){ .kind = CEL_STRING, .s = v };
}
/* A validated view; scalars are decoded now (strings into the arena when escaped), lists and maps
 * lazily. A number is a CEL_DOUBLE, whole or not, as in Dapr's rules: int(event.data.n) % 2. */
int cel_json(struct arena *a, struct json v, struct cel_value *ret) WUR;
const char *cel_kind_name(enum cel_kind kind); /* as type() names it */
/* Evaluation result as JSON (bytes base64, timestamps and durations as strings, types by name). */
void cel_to_json(struct cel_value v, struct json_w *w);
