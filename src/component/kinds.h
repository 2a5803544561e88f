/* kinds.h — the smaller interfaces: secret stores, name resolution, bindings, HTTP middleware.
 * Owner, thread, failure: as in component.h; results go into the caller's arena. */
#pragma once

#include "component/component.h"

/* ---- secret stores ---- */
enum secret_feature { SECRET_MULTIPLE = 1 }; /* MULTIPLE_KEY_VALUES_PER_SECRET */

struct secret {
    str name;
    struct kvs values;
};

struct secret_ops {
    struct component_type t;
    CO int (*get)(void *self, str name, struct kvs metadata, struct arena *a, struct kvs *ret,
                  struct error *err);
    CO int (*bulk)(void *self, struct kvs metadata, struct arena *a, struct secret **ret,
                   size_t *ret_n, struct error *err);
};

/* ---- name resolution ---- */
/* One sidecar of an app. */
struct registration {
    str address;      /* "ip:port", NUL-terminated */
    str zone, region; /* where it says it is (--zone, --region); empty = unknown */
};

struct resolver_ops {
    struct component_type t;
    /* Registers this instance (env of open): it takes calls from now on. Once at most, where open
     * ran. After a failure it may still come to it by itself; close takes it back in any case.
     * NULL: there is nothing to register. */
    CO int (*join)(void *self, struct error *err);
    /* Takes the registration back for good, while resolve goes on: the instance is about to stop.
     * Where open ran; close follows, a join may still be under way.
     * NULL: there is none to be taken back. */
    CO void (*leave)(void *self);
    /* Fills up to max registrations of app id (in the arena); *ret_n may be 0. Called on a cache
     * miss only: the block keeps answers for a while. */
    CO int (*resolve)(void *self, str app_id, str namespace_, struct arena *a,
                      struct registration *ret, size_t max, size_t *ret_n, struct error *err);
};

/* ---- bindings ---- */
struct binding_result {
    str data;
    struct kvs metadata;
};

struct binding_event { /* of an input binding */
    str data;
    struct kvs metadata;
    /* Where the app's answer goes, for engines that hand it on; arena NULL = it isn't wanted. */
    struct arena *arena;
    str *ret_data;
};

struct binding_ops {
    struct component_type t;
    const char *const *operations; /* of the output side, NULL-ended; NULL = no output binding */
    /* Where they are known only once an instance is open; NULL: .operations. */
    const char *const *(*operations_of)(void *self);
    CO int (*invoke)(void *self, str operation, str data, struct kvs metadata, struct arena *a,
                     struct binding_result *ret, struct error *err);
    /* Input side, NULL = none: starts events until stop; handle returning 0 = processed. */
    CO int (*start)(void *self,
                    CO int (*handle)(void *arg, const struct binding_event *e, struct error *err),
                    void *arg, struct error *err);
    CO void (*stop)(void *self); /* waits for handlers in flight */
};

/* ---- HTTP middleware ---- */
struct http_exchange;
struct middleware_chain { /* the rest of the pipeline; whoever runs it embeds this */
    CO void (*next)(struct middleware_chain *rest, struct http_exchange *x);
};

CO static inline void middleware_next(struct middleware_chain *rest, struct http_exchange *x)
{
    rest->next(rest, x);
}

struct middleware_ops {
    struct component_type t;
    /* Answers the exchange itself, or changes it and calls middleware_next() (at most once). */
    CO void (*handle)(void *self, struct http_exchange *x, struct middleware_chain *rest);
};
