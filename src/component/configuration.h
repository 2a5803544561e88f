/* configuration.h — the interface of a configuration store: values that an operator changes while
 * apps run.
 * Owner:  results go into the caller's arena; a subscription's keys are copied by the engine.
 * Thread: any worker, concurrently; may suspend. Handlers run in fibers that the engine makes.
 * Failure: *err or -CODE as in component.h; a handler's failure is its own business: changes are
 * told once. */
#pragma once

#include "component/component.h"

struct configuration_item {
    str key, value, version; /* value .p NULL: the key was deleted (updates only) */
    struct kvs metadata;
};

struct configuration_subscription {
    const str *keys; /* n_keys 0: every key */
    size_t n_keys;
    struct kvs metadata;
    /* Items that changed. Called until unsubscribe() returns, never twice at the same time. */
    CO int (*handle)(void *arg, const struct configuration_item *items, size_t n,
                     struct error *err);
    void *arg;
};

struct configuration_ops {
    struct component_type t;
    /* n_keys 0: every key. Keys that aren't there are left out. */
    CO int (*get)(void *self, const str *keys, size_t n_keys, struct kvs metadata, struct arena *a,
                  struct configuration_item **ret, size_t *ret_n, struct error *err);
    /* *ret_sub is the engine's handle. What changes after it has returned is told. */
    CO int (*subscribe)(void *self, const struct configuration_subscription *s, void **ret_sub,
                        struct error *err);
    CO void (*unsubscribe)(void *self, void *sub); /* waits for a handler in flight */
};
