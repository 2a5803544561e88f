/* private.h — the parts of a runtime, for the files of src/runtime alone.
 * Owner, thread, failure: as in runtime.h. */
#pragma once

#include "api/api.h"
#include "api/metadata.h"
#include "block/app/app.h"
#include "block/call/invoke.h"
#include "block/outbox.h"
#include "block/subscribe.h"
#include "component/resource.h"
#include "fiber/sync.h"
#include "runtime/export.h"
#include "runtime/identity.h"
#include "runtime/runtime.h"
#include "telemetry/feed.h"

#include <pthread.h>
#include <stdatomic.h>

enum { SERVERS_MAX = 16, SOURCES_MAX = 4 };
static const char RUNTIME_SCOPE[] __attribute__((unused)) = "dapr.runtime";

struct attribute { /* extended metadata, PUT /v1.0/metadata/{key} */
    str key, value;
};

struct runtime {
    const struct options *options;
    struct runtime_app inside; /* handle NULL: the app is on a port */
    struct arena arena;
    char host_address[64];
    char hostname[64];
    uint64_t start_ns;

    struct resources *resources;
    struct resiliency *resiliency;
    struct blocks blocks;
    struct instance *sources[SOURCES_MAX]; /* of types; outlive what is of them */
    size_t n_sources;
    struct app *app;
    struct api *api;
    struct tracing tracing;
    struct exporter *exporter; /* NULL: nobody gets spans */
    struct identity *identity; /* NULL: sidecars speak plainly */

    struct http_server *internal;
    struct http_server *servers[SERVERS_MAX]; /* APIs, public, metrics */
    size_t n_servers;
    uint16_t internal_port, http_port, grpc_port;

    struct subscriptions subscriptions;
    struct fiber_mutex deliveries; /* worker 0: who starts and stops them */
    struct fiber *reloader;        /* worker 0: follows the resources' files; NULL = has ended */
    struct resources *live;        /* the latest snapshot: its components and subscriptions count */
    struct fiber *life;     /* waits for the app, starts deliveries, probes health; worker 0 */
    struct fiber *reliever; /* worker 0: counts the app's instances; NULL = has ended */
    struct fiber *retrier;  /* worker 0: tries the brokers that are missing again; NULL = none is */
    atomic_bool reload_done;
    struct outboxes *outboxes; /* worker 0 */
    uint64_t app_start_ns; /* worker 0: what the app took until it listened; 0 = it doesn't yet */
    atomic_bool life_done, relief_done, outbound_ready, ready, stopping, app_was_ready;
    atomic_bool leaving;     /* the end has been asked for */
    atomic_bool discovered;  /* .subscriptions are all there, and the list stays as it is */
    bool deliveries_running; /* worker 0 */
    bool deliveries_over;    /* worker 0; the end has begun: none is started any more */
    size_t missing;          /* worker 0: subscriptions whose broker didn't take them yet */

    pthread_mutex_t lock; /* attributes */
    struct attribute attribute[64];
    size_t n_attributes;
};

/* runtime.c: what the files say, read anew; any thread. And what there is to say about them. */
int resources_read(struct runtime *r, struct resources **ret, struct error *err) WUR;
void resources_tell(const struct resources *res);
/* The app's Overload, or the defaults, count from now on. False: out of memory, nothing changed. */
bool apply_overload(struct runtime *r, struct resources *res) WUR;
/* host.c */
/* A variable of the environment; .p NULL: unset, or its name is longer than 255 bytes. */
str host_getenv(void *arg, str name);
/* Appends what the file holds. -NOT_FOUND, -INVALID (also: over the buffer's limit). */
int host_read_file(str path, struct buf *out) WUR;
uint16_t host_stable_port(const char *app_id); /* 47300 … 65534 (facts 1) */
void host_address(const char *override, char ret[64]);
/* load.c: on worker 0 */
CO int load_components(struct runtime *r, struct error *err) WUR;
/* Whether c shall be loaded now: not denied, and the store of its secrets is there. */
bool component_wanted(const struct runtime *r, const struct component_resource *c);
/* Opens one and says so; it isn't in the catalog yet. A failure that is to be ignored: 0 and NULL.
 */
CO int component_open(struct runtime *r, const struct component_resource *c, struct instance **ret,
                      struct error *err) WUR;
void components_count(struct runtime *r); /* the metric, after the catalog has changed */
void free_endpoints(struct runtime *r);   /* off the workers */
/* telemetry.c: metrics and traces as the Configuration wants them. The last spans are sent until
 * then (clock_now_ns()). */
int telemetry_start(struct runtime *r, struct error *err) WUR;
void telemetry_stop(struct runtime *r, uint64_t until);
/* describe.c */
CO int describe_metadata(void *runtime, struct arena *a, struct sidecar_info *ret) WUR;
int describe_set(void *runtime, str key, str value);
CO void describe_feed(void *runtime, struct buf *out);
/* reload.c: the fiber that follows the files */
CO void reload_main(void *runtime);
/* What the name resolution can do; NULL = there is none. */
static inline const struct resolver_ops *runtime_resolver(const struct runtime *r)
{
    const struct instance *i = r->blocks.resolver;
    return i ? CONTAINER_OF(i->type, struct resolver_ops, t) : NULL;
}
/* relief.c: the fiber that looks whether an overloaded app gets more instances */
CO void relief_main(void *runtime);
/* life.c: the fiber that follows the app */
CO void life_main(void *runtime);
CO void life_stop_deliveries(struct runtime *r);
/* Starts what isn't running, if deliveries run at all; .deliveries is held. */
CO void life_refresh_deliveries(struct runtime *r);
