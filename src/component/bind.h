/* bind.h — YAML into structs by tables: one row a field, which also gives 'did you mean'.
 * Owner:  texts and lists live in the arena of the document.
 * Thread: one.   Failure: each fault becomes a diagnostic with its place and sets .failed; the rest
 * of the document is still read, so that one run shows all faults. */
#pragma once

#include "component/component.h"
#include "component/diag.h"
#include "format/yaml.h"

enum bind_kind {
    BIND_STR,      /* str: any scalar, as text */
    BIND_BOOL,     /* bool */
    BIND_TRI,      /* enum tri */
    BIND_INT,      /* int64_t */
    BIND_DURATION, /* uint64_t ns: "20s", or a bare number of milliseconds; not negative */
    BIND_STRS,     /* struct strs: a list of scalars */
    BIND_INTS,     /* struct ints: a list of whole numbers */
    BIND_KVS,      /* struct kvs: a map of scalars */
    BIND_NODE,     /* const struct yaml_node *: whatever it is */
    BIND_STRUCT,   /* in place, by .sub */
    BIND_LIST,     /* struct { T *v; size_t n; }: a list of .sub */
    BIND_MAP,      /* the same from a map; the first member of T is a str: the key */
    BIND_SKIP,     /* a field of the contract that we don't use */
    BIND_SELF,     /* const struct yaml_node *: the map itself, for later messages; no name */
};

enum tri { TRI_UNSET, TRI_NO, TRI_YES };

struct strs {
    str *v;
    size_t n;
};

struct ints {
    int64_t *v;
    size_t n;
};

struct bind_table {
    const char *what; /* "a Component's spec" */
    size_t size;
    const struct bind_row *rows;
    size_t n_rows;
    const struct bind_row *scalar; /* where a lone scalar goes; NULL = it must be a map */
};

struct bind_row {
    const char *name; /* compared without ASCII case, as Go does */
    enum bind_kind kind;
    size_t off;
    const struct bind_table *sub;
};

struct bind {
    struct arena *arena;
    struct diags *diags;
    const char *file;
    enum diag_level level; /* of faults: DIAG_ERROR or DIAG_FATAL */
    bool failed;
};

/* Fields that are absent or null stay as they are in *into; lists and maps are replaced whole. */
void bind_map(struct bind *b, const struct bind_table *t, const struct yaml_node *n, void *into);
/* Adds a fault at n. */
void bind_fail(struct bind *b, const struct yaml_node *n, const char *fmt, ...) PRINTF(3, 4);
/* The same for want of memory: the whole load fails then. */
void bind_no_memory(struct bind *b, const struct yaml_node *n);
void bind_warn(struct bind *b, const struct yaml_node *n, const char *fmt, ...) PRINTF(3, 4);

/* yaml_get() that compares names as bind_map() does. */
const struct yaml_node *bind_get(const struct yaml_node *map, str name);

static inline bool tri_or(enum tri t, bool def)
{
    return t == TRI_UNSET ? def : t == TRI_YES;
}
