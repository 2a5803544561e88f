/* cel_ast.h — what the parts of CEL share: the tree, the run, and values; private to src/format.
 * Owner:  nodes live in the program's arena, everything of a run in the evaluation's.
 * Thread: nodes are immutable once compiled; a run belongs to one thread.
 * Failure: functions of a run return false and leave the first cause in it. */
#pragma once

#include "format/cel.h"
#include "format/regex.h"

enum node_kind {
    NODE_LITERAL,
    NODE_IDENT,  /* name */
    NODE_SELECT, /* child[0] . name */
    NODE_HAS,    /* has(child[0] . name) */
    NODE_INDEX,  /* child[0] [ child[1] ] */
    NODE_CALL,   /* fn; a member call's target is child[0] */
    NODE_LIST,
    NODE_MAP, /* key, value, key, value … */
    NODE_COND,
    NODE_AND, /* two or more */
    NODE_OR,
    NODE_NOT,
    NODE_NEGATE,
    NODE_BINARY, /* op */
    NODE_LOOP,   /* macro; child[0] = range, child[1] = predicate or NULL, child[2] = transform */
};

enum cel_op {
    OP_ADD,
    OP_SUB,
    OP_MUL,
    OP_DIV,
    OP_MOD,
    OP_EQ,
    OP_NE,
    OP_LT,
    OP_LE,
    OP_GT,
    OP_GE,
    OP_IN
};

enum cel_macro { MACRO_ALL, MACRO_EXISTS, MACRO_EXISTS_ONE, MACRO_MAP, MACRO_FILTER };

struct cel_run;
struct cel_function {
    const char *name;
    bool member;     /* x.f(…); the target is arg[0] */
    unsigned n_args; /* target included */
    bool (*call)(struct cel_run *r, unsigned pos, const struct cel_value *arg,
                 struct cel_value *ret);
};

struct cel_node {
    enum node_kind kind;
    unsigned pos;   /* byte of the source, for messages */
    unsigned depth; /* levels below, itself included */
    enum cel_op op;
    enum cel_macro macro;
    bool absolute; /* of an identifier: ".x", no loop variable */
    size_t n;
    struct cel_node **child;
    str name; /* identifier, field or loop variable */
    str path; /* "a.b.c" of a chain of names, ".a.b" of an absolute one; empty otherwise */
    const struct cel_function *fn;
    struct regex *regex; /* of matches() with a literal pattern */
    struct cel_value value;
};

struct cel_program {
    str source;
    struct cel_node *root;
};

struct cel_list {
    size_t n;
    const struct cel_value *item;
};

struct cel_entry {
    struct cel_value key, value;
};

struct cel_map {
    size_t n;
    const struct cel_entry *entry;
};

struct cel_scope { /* variables of the loops around, innermost first */
    const struct cel_scope *up;
    str name;
    struct cel_value value;
};

struct cel_run {
    const struct cel_program *program;
    const struct cel_env *env;
    struct arena *arena;
    const struct cel_scope *scope;
    uint64_t steps, max_steps;
    void *scratch; /* of regex_match() */
    size_t scratch_size;
    enum code code; /* of the failure: INVALID, or EXHAUSTED, which no || can absorb */
    unsigned pos;
    const char *why;
};

/* ---- cel.c ---- */
/* Fills err with "line:column: what"; the place is pos of the source. Returns -code. */
int cel_report(struct error *err, enum code code, str source, unsigned pos, const char *what);
bool cel_eval_node(struct cel_run *r, const struct cel_node *n, struct cel_value *ret);

/* ---- cel_parse.c ---- */
/* The tree of source, which must outlive it. Returns 0, -INVALID or -EXHAUSTED with err filled. */
int cel_parse(struct arena *a, str source, struct cel_node **ret, struct error *err) WUR;

/* ---- cel_func.c ---- */
const struct cel_function *cel_function_find(str name, bool member, size_t n_args);
/* For the message: whether any function has that name, and the one closest to it ("" = none). */
bool cel_function_exists(str name);
const char *cel_function_suggest(str name);

/* ---- cel_value.c ---- */
extern const char cel_no_memory[];
bool cel_fail(struct cel_run *r, unsigned pos, const char *fmt, ...) PRINTF(3, 4);
bool cel_exhausted(struct cel_run *r, unsigned pos, const char *why); /* static text */
void *cel_alloc(struct cel_run *r, unsigned pos, size_t size) WUR;
bool cel_charge(struct cel_run *r, unsigned pos,
                size_t bytes); /* steps for work on so many bytes */
bool cel_is_number(const struct cel_value *v);

enum cel_order { ORDER_LESS = -1, ORDER_EQUAL = 0, ORDER_GREATER = 1, ORDER_NONE = 2 };
/* ORDER_NONE: NaN is among them. False (and nothing failed) when the kinds have no order. */
bool cel_compare(const struct cel_value *a, const struct cel_value *b, enum cel_order *ret);
bool cel_equal(struct cel_run *r, unsigned pos, const struct cel_value *a,
               const struct cel_value *b, bool *ret);

size_t cel_count(const struct cel_value *v); /* of a list or map */
struct cel_iter {
    const struct cel_value *v;
    size_t i;
    struct json_iter json;
};
struct cel_iter cel_iter(const struct cel_value *v);
/* *ret_more = whether there is one. A list gives items as *ret_key; ret_value may be NULL. */
bool cel_iter_next(struct cel_run *r, unsigned pos, struct cel_iter *it, struct cel_value *ret_key,
                   struct cel_value *ret_value, bool *ret_more);
bool cel_map_find(struct cel_run *r, unsigned pos, const struct cel_value *map,
                  const struct cel_value *key, struct cel_value *ret, bool *ret_found);
bool cel_index(struct cel_run *r, unsigned pos, const struct cel_value *v,
               const struct cel_value *key, struct cel_value *ret);

static inline struct cel_value cel_uint(uint64_t v)
{
    return (struct cel_value){ .kind = CEL_UINT, .u = v };
}
static inline struct cel_value cel_double(double v)
{
    return (struct cel_value){ .kind = CEL_DOUBLE, .d = v };
}
static inline struct cel_value cel_type(str name)
{
    return (struct cel_value){ .kind = CEL_TYPE, .s = name };
}

/* ---- cel_op.c ---- */
bool cel_binary(struct cel_run *r, unsigned pos, enum cel_op op, const struct cel_value *a,
                const struct cel_value *b, struct cel_value *ret);
bool cel_negate(struct cel_run *r, unsigned pos, const struct cel_value *a, struct cel_value *ret);
bool cel_matches(struct cel_run *r, unsigned pos, const struct regex *re, str text,
                 struct cel_value *ret);

/* ---- cel_time.c ---- */
enum { CEL_TIME_MAX = 40 };
bool cel_time_parse(str s, struct cel_time *ret) WUR; /* RFC 3339, years 1 to 9999 */
size_t cel_time_print(struct cel_time t, char ret[CEL_TIME_MAX]);
size_t cel_duration_print(int64_t ns, char ret[CEL_TIME_MAX]); /* "12.5s" */
bool cel_time_valid(int64_t s);
bool cel_time_add(struct cel_time t, int64_t ns, struct cel_time *ret) WUR;
bool cel_time_sub(struct cel_time a, struct cel_time b, int64_t *ret_ns) WUR;

enum cel_time_part {
    PART_YEAR,
    PART_MONTH,        /* from 0 */
    PART_DAY_OF_MONTH, /* from 0 */
    PART_DATE,         /* from 1 */
    PART_DAY_OF_WEEK,  /* Sunday = 0 */
    PART_DAY_OF_YEAR,  /* from 0 */
    PART_HOURS,
    PART_MINUTES,
    PART_SECONDS,
    PART_MILLISECONDS,
};
/* zone: "UTC", "", "+05:30", "-2:00", "02:00". False for any other. */
bool cel_time_part(struct cel_time t, str zone, enum cel_time_part part, int64_t *ret) WUR;
