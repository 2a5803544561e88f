/* yaml.h — YAML text as a tree that knows where each node stands, and as JSON.
 * Owner:  nodes and texts live in the caller's arena.
 * Thread: any.   Limits: YAML_DEPTH_MAX levels, YAML_NODES_MAX nodes, YAML_EXPAND_MAX nodes that
 * aliases may add, YAML_SIZE_MAX bytes.   Failure: -CODE, text "file:line:column: what; remedy". */
#pragma once

#include "format/json.h"

enum {
    YAML_DEPTH_MAX = 100,
    YAML_NODES_MAX = 200000,
    YAML_EXPAND_MAX = 100000,
    YAML_SIZE_MAX = 16 << 20,
};

enum yaml_type { YAML_NULL, YAML_BOOL, YAML_INT, YAML_FLOAT, YAML_STR, YAML_SEQ, YAML_MAP };

/* Scalars are resolved as sigs.k8s.io/yaml does, which Dapr reads its files with: quoted ones are
 * strings; yes, no, on, off, y and n are booleans; 010 is octal; a date is a string. */
struct yaml_node {
    enum yaml_type type;
    bool quoted;           /* a scalar in quotes or a block: always YAML_STR */
    unsigned line, column; /* in the file, from 1; of an alias: where the anchor stands */
    str text;  /* of a scalar: its content as written; NUL-terminated, never .p == NULL */
    str canon; /* the same as JSON writes it: "true", "8" for 010, "1.1" for 1.10; else = text */
    size_t n;  /* items or pairs */
    struct yaml_node **item;
    struct yaml_pair *pair; /* in the order of the file; keys are unique scalars */
};

struct yaml_pair {
    struct yaml_node *key, *value;
};

/* One document of a file. For a lone text: { .text = …, .file = "name", .line = 1 }. */
struct yaml_source {
    str text;
    const char *file; /* for messages; outlives the nodes' users */
    unsigned line;    /* of the file at which text begins */
};

/* Cuts a file at lines that begin with "---", as Dapr does:
 *   struct yaml_split s = yaml_split(text, file);
 *   while (yaml_split_next(&s, &doc)) …
 * Documents of white space alone are left out. */
struct yaml_split {
    str rest;
    const char *file;
    unsigned line;
    bool done;
};
struct yaml_split yaml_split(str text, const char *file);
bool yaml_split_next(struct yaml_split *s, struct yaml_source *ret);

/* Parses one document. *ret is NULL for an empty one (only comments). Merge keys ("<<") are
 * applied. Returns 0, -INVALID (not YAML, duplicate key), -EXHAUSTED (a limit above, or the
 * arena's). */
int yaml_parse(struct arena *a, const struct yaml_source *src, const struct yaml_node **ret,
               struct error *err) WUR;

/* All of these take NULL for 'absent'. */
const struct yaml_node *yaml_get(const struct yaml_node *map, str key); /* NULL when absent */
bool yaml_is_null(const struct yaml_node *n);                           /* absent or null */
bool yaml_is_scalar(const struct yaml_node *n);                         /* and not null */
const char *yaml_type_name(enum yaml_type type); /* "a list", "a string" … */
/* .canon of any scalar, as Dapr turns metadata values into strings; def when absent, null or no
 * scalar. NUL-terminated if def is. */
str yaml_text(const struct yaml_node *n, str def);
bool yaml_bool(const struct yaml_node *n, bool *ret) WUR;     /* false: not a YAML_BOOL */
bool yaml_i64(const struct yaml_node *n, int64_t *ret) WUR;   /* 10.0 and 0x10, too */
bool yaml_double(const struct yaml_node *n, double *ret) WUR; /* integers too; .inf and .nan */

/* fail() with "file:line:column: " of the node before the text; n may be NULL. Returns -code. */
int yaml_fail(struct error *err, const char *file, const struct yaml_node *n, enum code code,
              const char *fmt, ...) PRINTF(5, 6);

/* The node as JSON, keys in the order of the file; NULL as null. .inf and .nan become null. */
void yaml_to_json(const struct yaml_node *n, struct json_w *w);
