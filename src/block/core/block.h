/* block.h — what the building blocks work on: the loaded components, the app, the peers.
 * Owner:  the runtime makes one for the process, fills it before the APIs open, and ends it after
 * they closed. Thread: read by every worker; written only while nobody calls. Failure: lookups
 * answer with the contract's own errors. */
#pragma once

#include "base/list.h"
#include "block/core/catalog.h"
#include "component/kinds.h"
#include "component/pubsub.h"
#include "component/state.h"
#include "fiber/sync.h"

#include <stdatomic.h>

struct resources;
struct app;
struct invoker;
struct streamings;
struct resiliency;
struct live;
struct chaos;
struct policy;

/* A component that has been opened. */
struct instance {
    char *name;
    const struct component_type *type;
    void *self;
    struct kvs metadata; /* spec.metadata, resolved; in .arena */
    struct component_env env;
    struct arena arena;
    const char *file; /* for people: where it was defined */
    unsigned line;
    struct policy *outbound, *inbound; /* operation.h; NULL = none */
    struct chaos *chaos;               /* faults on purpose; NULL = not enabled */
    void *extra; /* of the block that serves this kind: key prefix, topic scopes … */
    CO void (*extra_stop)(struct instance *i); /* before it is closed; NULL = nothing to do */
    void (*extra_free)(void *extra);
};

/* An HTTPEndpoint whose references have been resolved. */
struct endpoint {
    str name, base_url;
    struct kvs headers;
    struct outside *outside; /* its own clients; owned */
};

/* Middlewares in the order in which a request meets them. */
struct pipeline {
    struct instance **v;
    size_t n;
};

struct blocks {
    const char *app_id, *namespace_; /* namespace_ "default" when the environment has none */
    const char *namespace_raw;       /* "" when the environment has none: several rules want that */
    struct {
        struct catalog *now;
    } catalog[64];              /* what is loaded, as each worker sees it: catalog.h */
    struct list retired;        /* catalogs that were replaced; worker 0, as all that follows */
    struct wait_group retiring; /* fibers that close what nobody holds any more */
    struct instance *resolver;  /* NULL: none came up */
    struct resources *resources;
    const struct endpoint *endpoints;
    size_t n_endpoints;
    bool ask_app;         /* GET /dapr/subscribe is wanted */
    bool trace_zero;      /* events without a context carry all-zero ids, not empty ones */
    atomic_bool leaving;  /* the end has been asked for: callers are to go elsewhere */
    atomic_bool draining; /* deliveries are being stopped: no further retry of one */
    struct app *app;      /* NULL without an app port */
    struct invoker *invoker;
    struct streamings *streamings; /* subscriptions of streams: streaming.h */
    struct resiliency *resiliency; /* policies by target */
    struct live *live;             /* what changes while calls are under way; NULL = nothing */
    struct chaos *chaos;           /* faults on purpose; NULL = not enabled */
};

int blocks_init(struct blocks *b) WUR; /* -EXHAUSTED */
/* Closes every component. In a fiber. */
CO void blocks_done(struct blocks *b);
CO void instance_free(struct instance *i);
unsigned instance_features(const struct instance *i); /* bits of its kind */
