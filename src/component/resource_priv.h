/* resource_priv.h — what the files of the resource loader share.
 * Owner:  a loader lives in the frame of resources_load() or resources_parse().
 * Thread: one.   Failure: out of memory is kept in .exhausted and ends the load. */
#pragma once

#include "base/map.h"
#include "component/resource.h"

struct vec { /* grows in the arena */
    void *v;
    size_t n, cap;
};

struct loader {
    const struct resource_options *opt;
    struct resources *r;
    struct vec component, subscription, endpoint, custom, resiliency, traffic, chaos;
    struct map component_by_name, endpoint_by_name; /* → label of the first one */
    struct buf fatal;
    struct config_raw *raw; /* of the --config files */
    bool exhausted;
};

/* One document, its head decoded. */
struct document {
    struct resource_head head;
    str api_version, kind, secret_store;
    const struct yaml_node *spec, *node;
    struct bind bind; /* to go on with, at DIAG_ERROR */
};

/* Room for one more item of size bytes, zeroed; NULL = out of memory. */
void *vec_push(struct loader *l, struct vec *vec, size_t size);
/* Adds to .fatal, and to the diagnostics with the place of n (may be NULL). */
void loader_fatal(struct loader *l, const char *file, const struct yaml_node *n, const char *fmt,
                  ...) PRINTF(4, 5);

void load_component(struct loader *l, struct document *d);
void load_subscription(struct loader *l, struct document *d);
void load_endpoint(struct loader *l, struct document *d);
void load_resiliency(struct loader *l, struct document *d);
void load_traffic(struct loader *l, struct document *d);
void load_overload(struct loader *l, struct document *d);
void load_scale(struct loader *l, struct document *d);
void load_chaos(struct loader *l, struct document *d);
/* After all files: names of policies that nobody defines. */
void check_policy_names(struct loader *l);

void load_resource_text(struct loader *l, const char *file, str text);
void load_config_text(struct loader *l, const char *file, str text);
void finish_config(struct loader *l);

/* Start, and end: *ret on success, freed otherwise. */
int loader_begin(struct loader *l, const struct resource_options *opt, struct error *err) WUR;
int loader_end(struct loader *l, struct resources **ret, struct error *err) WUR;
