/* component.h — what every component is: one const table and its config rows.
 * Owner:  the runtime opens and closes instances; an instance is one block of .size zeroed bytes.
 * Thread: open and close run in a fiber on worker 0; operations run on any worker, at the same
 * time. Failure: each operation fills *err or returns -CODE; it never logs and returns, never
 * exits, and suspends instead of blocking. A NULL operation means 'not supported'; the block
 * answers that once. */
#pragma once

#include "base/arena.h"
#include "base/error.h"

/* ---- configuration rows: spec.metadata of the resource into fields of the instance ---- */

enum cfg_kind {
    CFG_STR,      /* const char *; never NULL, "" when absent */
    CFG_BOOL,     /* bool; what str_truthy() takes */
    CFG_INT,      /* int64_t */
    CFG_DURATION, /* int64_t ns; "20s" or bare milliseconds, unless CFG_SECONDS */
    CFG_SIZE,     /* int64_t bytes; "4Mi" or a bare number */
};
enum { CFG_REQUIRED = 1, CFG_SECRET = 2, CFG_SECONDS = 4 };

struct cfg_field {
    const char *name, *alias; /* compared without case; alias may be NULL */
    enum cfg_kind kind;
    size_t off;
    unsigned flags;
    const char *def; /* default as it would be written; NULL = zero */
    const char *doc;
};

struct kv {
    str key, value;
};

struct kvs {
    const struct kv *v;
    size_t n;
};

str kvs_get(struct kvs kvs, str key); /* case-insensitive; .p NULL when absent */
/* All of `first`, then what `then` has under other keys; the strings stay where they are.
 * -EXHAUSTED. */
int kvs_merge(struct arena *a, struct kvs first, struct kvs then, struct kvs *ret) WUR;

/* What an instance may know of its surroundings; lives as long as the instance. */
struct component_env {
    const char *name; /* metadata.name */
    const char *app_id, *namespace_;
    const struct component_type *type; /* the instance's table */
    struct kvs metadata;       /* all of spec.metadata, resolved; config rows are already decoded */
    const char *host_address;  /* what this host is reached at */
    const char *zone, *region; /* where it stands, "" = not said */
    uint16_t http_port, grpc_port, internal_port;
    uint16_t app_port; /* 0: none */
};

/* Common head of every kind's table. */
struct component_type {
    const char *kind;           /* "state", "pubsub", "secretstores", "nameresolution", "bindings",
                                   "middleware.http" */
    const char *type;           /* full: "state.sqlite" */
    const char *const *aliases; /* NULL-ended, may be NULL */
    const char *version;        /* "v1" */
    const char *doc;            /* one line */
    unsigned features;          /* bits of the kind */
    /* Where they are known only once an instance is open; NULL: .features. */
    unsigned (*features_of)(void *self);
    size_t size; /* of an instance */
    const struct cfg_field *fields;
    size_t n_fields;
    /* Accepts keys that no row names (middleware.http.routeralias, bindings.http headers …). */
    bool free_form;
    CO int (*open)(void *self, const struct component_env *env, struct error *err);
    CO void (*close)(void *self); /* also after a failed open */
};

/* Whether t answers to this type (without case, aliases too) and version ("" and "v0" = "v1"). */
bool type_is(const struct component_type *t, str type, str version);

/* Decodes metadata into self by the rows; unknown keys are reported through warn (may be NULL) with
 * a 'did you mean'. Strings are kept in arena. Errors name the field and what is expected. */
int cfg_decode(const struct component_type *type, struct kvs metadata, struct arena *arena,
               void *self, void (*warn)(void *arg, const char *text), void *arg, struct error *err)
    WUR;

/* In the generated list of all engines, then among those that were added; NULL when unknown. type
 * is compared without case, version "" and "v0" = "v1". */
const struct component_type *registry_find(str type, str version);
const struct component_type *const *registry_all(size_t *ret_n);

/* Types that are found while we run (source.h): on worker 0, while no component is being opened by
 * anybody else. -EXISTS when the type is there already, -EXHAUSTED past REGISTRY_ADDED_MAX. */
enum { REGISTRY_ADDED_MAX = 256 };
int registry_add(const struct component_type *t) WUR;
void registry_remove(const struct component_type *t);
const struct component_type *const *registry_added(size_t *ret_n);
