/* subscribe.h — what a subscription means: discovery, routing, delivery, dead letters.
 * Owner:  the set of subscriptions belongs to the runtime; each one holds its engine's handle.
 * Thread: start and stop on worker 0; deliveries on any worker, in the engines' fibers.
 * Failure: a message is acknowledged to the broker only after the app's success, a drop, or a dead
 * letter. */
#pragma once

#include "block/app/channel.h"
#include "component/resource.h"

/* Who gets the events of a subscription that isn't the app's: streaming.h. */
struct event_sink {
    CO int (*event)(void *arg, const struct app_event *e, struct arena *a, enum event_verdict *ret,
                    struct error *err);
    void *arg;
    const atomic_bool *over; /* no more retries: what is undelivered goes back to the broker */
};

struct batcher;
enum subscription_type { SUBSCRIPTION_UNKNOWN, DECLARATIVE, PROGRAMMATIC, STREAMING };

struct subscription {
    enum subscription_type type;
    str pubsub, topic, dead_letter;
    struct kvs metadata;
    struct route_rule *rules;
    size_t n_rules;
    bool bulk;
    int64_t bulk_max, bulk_await_ms;
    struct resources *from; /* a declarative one's snapshot, held; its slices point there */
    uint64_t hash;          /* of its resource */
    /* while it runs */
    struct blocks *blocks;
    struct instance *instance;
    const struct event_sink *sink; /* NULL = the app */
    void *engine;                  /* the engine's handle; NULL = not started */
    struct batcher *batcher;       /* bulk on a broker that can't; NULL = none */
    bool raw, raw_malformed;
    bool hopeless; /* said once: nothing to start */
};

struct subscriptions {
    struct arena arena;
    struct subscription **v;
    size_t n, cap;
};

/* Declarative ones, and what the app answers to GET /dapr/subscribe; programmatic wins over
 * declarative of the same pubsub and topic. -UNAVAILABLE: the app didn't answer. */
CO int subscriptions_discover(struct blocks *b, struct subscriptions *ret, struct error *err) WUR;
/* Starts what isn't running. Returns how many could not be started, but might be later: call it
 * again after a while. What a scope forbids, or has no broker, isn't among them. */
CO size_t subscriptions_start(struct blocks *b, struct subscriptions *s);
/* Takes no further message, waits for deliveries in flight. */
CO void subscriptions_stop(struct subscriptions *s);
/* The same for those on one broker that is about to go; subscriptions_start() finds its successor.
 */
CO void subscriptions_leave(struct subscriptions *s, const struct instance *broker);
/* Hot reload: drops declarative ones that res doesn't have any more, adds those that are new;
 * subscriptions_start() starts them. */
CO void subscriptions_update(struct blocks *b, struct subscriptions *s, struct resources *res);
CO void subscriptions_done(struct subscriptions *s);

/* ---- for whoever makes a subscription otherwise ---- */

/* rawPayload of the metadata. */
void subscription_read_raw(struct subscription *s);
/* What the engine is told: the metadata, and where dead letters go. */
int subscription_metadata(const struct subscription *s, struct arena *a, struct kvs *ret) WUR;
