/* pubsub.h — the interface of a message broker.
 * Owner:  a message's slices are the publisher's (publish) or the engine's (delivery) during the
 * call. Thread: publish on any worker; handlers run in fibers that the engine makes, on any worker.
 * Failure: publish returning 0 = the broker has it, to its promise. A handler returning 0 =
 * processed: ack; negative = not processed: the engine redelivers if it can. */
#pragma once

#include "component/component.h"

enum pubsub_feature {
    PUBSUB_TTL = 1,
    PUBSUB_WILDCARDS = 2,
    PUBSUB_BULK_PUBLISH = 4,
    PUBSUB_BULK_SUBSCRIBE = 8,
};

struct pubsub_message {
    str topic;
    str data; /* the cloud event's bytes, or raw ones */
    str content_type;
    struct kvs metadata; /* also "ttlInSeconds", "partitionKey" (ordering), "rawPayload" */
    str entry_id;        /* of a bulk entry */
    struct error err;    /* of a bulk entry, filled by bulk_publish */
};

struct pubsub_subscription {
    str topic; /* copied */
    struct kvs metadata;
    CO int (*handle)(void *arg, const struct pubsub_message *m, struct error *err);
    /* Engines with PUBSUB_BULK_SUBSCRIBE only, when set: ret_codes[i] = 0 or a negative code for
     * m[i]. */
    CO int (*handle_bulk)(void *arg, const struct pubsub_message *m, size_t n, int *ret_codes,
                          struct error *err);
    size_t bulk_max; /* messages */
    uint64_t bulk_await_ns;
    void *arg;
};

struct pubsub_stats { /* for the page; one row a topic (and consumer) */
    str topic, consumer;
    uint64_t depth;     /* waiting or leased */
    uint64_t oldest_ns; /* age of the oldest one not acked */
    uint64_t dead;      /* dead-lettered so far */
};

struct pubsub_ops {
    struct component_type t;
    CO int (*publish)(void *self, const struct pubsub_message *m, struct error *err);
    /* NULL: the block publishes one by one. Fills each entry's err; returns the number that failed.
     */
    CO int (*bulk_publish)(void *self, struct pubsub_message *m, size_t n, struct error *err);
    /* Starts deliveries. *ret_sub is the engine's handle. */
    CO int (*subscribe)(void *self, const struct pubsub_subscription *s, void **ret_sub,
                        struct error *err);
    /* Takes no new message, waits for handlers in flight, acks or gives back, frees. */
    CO void (*unsubscribe)(void *self, void *sub);
    CO int (*stats)(void *self, struct arena *a, struct pubsub_stats **ret,
                    size_t *ret_n); /* may be NULL */
};
