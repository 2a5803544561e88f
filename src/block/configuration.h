/* configuration.h (block) — what reading and watching configuration means: policies, subscriptions
 * and their ids, updates to the app.
 * Owner:  results live in the caller's arena. A subscription belongs to its store until it is
 * unsubscribed, or until configuration_stop().
 * Thread: any worker; suspends in the store.
 * Failure: *err has the contract's tag. An update that the app doesn't take is logged: changes are
 * told once.
 * Limits: CONFIGURATION_WATCHES subscriptions a store; the app has 10 s for an update. */
#pragma once

#include "base/id.h"
#include "block/core/block.h"
#include "component/configuration.h"
#include "format/json.h"

enum { CONFIGURATION_WATCHES = 10000 };

struct configuration_query {
    const str *keys; /* n_keys 0: every key */
    size_t n_keys;
    struct kvs metadata;
};

int configuration_attach(struct blocks *b, struct instance *i, struct error *err) WUR;
int configuration_find(struct blocks *b, str name, struct instance **ret, struct error *err) WUR;

/* Sorted by key, each key once. */
CO int block_configuration_get(struct blocks *b, struct instance *store,
                               const struct configuration_query *q, struct arena *a,
                               struct configuration_item **ret, size_t *ret_n, struct error *err)
    WUR;

/* Who is told of changes. stop and gone may be NULL. */
struct configuration_watcher {
    CO int (*tell)(void *arg, str id, const struct configuration_item *items, size_t n,
                   struct error *err);
    void (*stop)(void *arg); /* make an end of tell(): somebody unsubscribes; any thread */
    void (*gone)(void *arg); /* tell() isn't called any more; the last use of arg; any thread */
    void *arg;
};
CO int block_configuration_subscribe(struct blocks *b, struct instance *store,
                                     const struct configuration_query *q,
                                     const struct configuration_watcher *watcher,
                                     char ret_id[UUID_LEN], struct error *err) WUR;
/* POSTs changes to the app, /configuration/<store>/<key> once for each key (surprise 78). */
CO int block_configuration_subscribe_app(struct blocks *b, struct instance *store,
                                         const struct configuration_query *q, char ret_id[UUID_LEN],
                                         struct error *err) WUR;
/* -NOT_FOUND: there is no such subscription (any more); then nothing was done. */
CO int block_configuration_unsubscribe(struct blocks *b, struct instance *store, str id,
                                       struct error *err) WUR;
/* Ends every subscription and refuses new ones. */
CO void configuration_stop(struct blocks *b);

/* {"value","version","metadata"}, what is empty left out: in updates and in the HTTP API alike. */
void configuration_item_json(struct json_w *w, const struct configuration_item *item);
