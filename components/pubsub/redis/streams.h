/* streams.h — the inside of pubsub.redis, shared by its files: publish.c, entry.c (an entry of a
 * stream), consumer.c (a subscription), streams.c (the table, opening).
 * Owner:  struct streams is the instance; a consumer belongs to whoever subscribed.
 * Thread: fields are marked.   Failure: -CODE with *err filled. */
#pragma once

#include "base/buf.h"
#include "base/list.h"
#include "component/pubsub.h"
#include "components/common/redis/redis.h"
#include "fiber/sync.h"
#include "loop/worker.h"

#include <pthread.h>
#include <stdatomic.h>

struct streams {
    struct redis_config config;
    const char *consumer_id;             /* group and consumer */
    int64_t redeliver_ns, processing_ns; /* 0: no redelivery */
    int64_t queue_depth, concurrency;
    int64_t max_len, ttl_ns;
    const char *name;
    struct redis *redis;
    atomic_size_t next_worker;
};

/* ---- publish.c ---- */
CO int streams_publish(void *self, const struct pubsub_message *m, struct error *err);
CO int streams_bulk_publish(void *self, struct pubsub_message *m, size_t n, struct error *err);

/* ---- entry.c ---- */

struct entry {         /* a message that this process has taken */
    struct list node;  /* of the consumer's taken ones */
    struct list ready; /* of those that wait for a handler */
    struct arena a;
    str id;
    struct pubsub_message m;
};

/* Reads [id, [field, value, …]] of a reply that lives in a; NULL fields (an entry that was deleted)
 * are -NOT_FOUND. What isn't as the contract has it is read as far as it goes: an entry without
 * data has empty data. */
int entry_read(const struct redis_reply *reply, str topic, struct entry **ret) WUR;
void entry_free(struct entry *e);
/* The id right behind it: "5-1" → "5-2". False when it is none. */
bool entry_id_next(str id, char ret[48]);
/* The value of the field "metadata": JSON with a member for each. */
bool entry_put_metadata(struct buf *b, struct kvs metadata);

/* ---- consumer.c ---- */
CO int streams_subscribe(void *self, const struct pubsub_subscription *s, void **ret,
                         struct error *err);
CO void streams_unsubscribe(void *self, void *sub);
