/* queue.h — the inside of pubsub.sqlite, shared by its files: publish.c, lease.c (what happens in a
 * transaction), consumer.c (fibers), queue.c (the table, opening, upkeep).
 * Owner:  struct queue is the instance; a consumer belongs to it from subscribe to unsubscribe.
 * Thread: fields are marked; everything that takes a sqlite_conn runs on the writer's thread.
 * Failure: -CODE with *err filled. */
#pragma once

#include "base/list.h"
#include "component/pubsub.h"
#include "components/common/sqlite/db.h"
#include "components/pubsub/sqlite/row.h"
#include "components/pubsub/sqlite/schema.h"
#include "loop/bell.h"

#include <pthread.h>
#include <stdatomic.h>

struct queue {
    /* ---- configuration ---- */
    const char *connection, *consumer_id, *start;
    int64_t timeout_ns, busy_ns, lease_ns, backoff_min_ns, backoff_max_ns, dedup_ns, retention_ns,
        ttl_ns;
    int64_t max_retries, concurrency;
    /* ---- life ---- */
    struct sqlite_db *db;
    const char *app_id, *name;
    pthread_mutex_t lock; /* of consumers */
    bool has_lock;
    struct list consumers;
    atomic_size_t next_worker;
    /* ---- the writer's thread ---- */
    int64_t clock_offset_ms; /* wall clock minus the monotonic one, never less than it was */
    uint64_t clock_read_ns;
};

/* ---- time: ms, agreed on by all processes of the file; never steps back ---- */
int queue_now(struct queue *q, struct sqlite_conn *c, int64_t *ret_ms, struct error *err) WUR;

/* ---- publish.c ---- */
CO int queue_publish(void *self, const struct pubsub_message *m, struct error *err);
CO int queue_bulk_publish(void *self, struct pubsub_message *m, size_t n, struct error *err);

/* ---- lease.c: in a transaction ---- */

struct consumer;

struct lease {        /* one message that this process has to deal with until due */
    struct list node; /* of the consumer's, while it is handled */
    struct arena a;   /* of m */
    struct pubsub_message m;
    int64_t id, token, tries;
    str part; /* key of its order; .n == 0: none */
};

void lease_free(struct lease *l);

struct claim {
    struct sqlite_job job;
    struct queue *q;
    struct consumer *consumer;
    size_t max;
    struct list leases; /* of struct lease; the caller frees them, also after a failure */
    size_t n;
    int64_t now, next_due; /* ms; INT64_MAX = nothing is waiting for its time */
    bool more;             /* another claim may find something at once */
};
int queue_claim(struct sqlite_job *job, struct sqlite_conn *c);

enum { VERDICT_ACK, VERDICT_RETRY, VERDICT_BACK }; /* BACK: it was never tried */
struct settle {
    struct sqlite_job job;
    struct queue *q;
    struct consumer *consumer;
    struct lease *const *lease;
    const int *verdict;
    const char *cause; /* of the retries */
    size_t n;
};
int queue_settle(struct sqlite_job *job, struct sqlite_conn *c);

struct extend {
    struct sqlite_job job;
    struct queue *q;
    struct consumer *consumer;
    int64_t (*lease)[2]; /* id, token */
    size_t n;
};
int queue_extend(struct sqlite_job *job, struct sqlite_conn *c);

/* Puts message m at the end of topic (its id), due and expires in ms or 0. */
int queue_next_id(struct sqlite_conn *c, int64_t topic, int64_t *ret, struct error *err) WUR;

/* ---- consumer.c ---- */

struct consumer {
    struct list node; /* of the queue's */
    struct queue *q;
    struct pubsub_subscription s;
    char *topic, *dead_topic; /* owned; dead_topic NULL = none */
    int64_t topic_id, group_id;
    size_t concurrency;
    struct bell bell;
    bool news;               /* the writer's thread: ring after the commit */
    _Atomic int64_t wake_ms; /* when it looks again by itself */
    atomic_bool closing;
    pthread_mutex_t lock; /* of what follows */
    struct list leases;   /* being handled */
    size_t running;       /* handlers at work */
    size_t in_flight;     /* and those whose answer is being written */
    bool ended;           /* the pump's fiber */
    struct ticket *closer;
};

CO int queue_subscribe(void *self, const struct pubsub_subscription *s, void **ret,
                       struct error *err);
CO void queue_unsubscribe(void *self, void *sub);

/* The writer's thread: consumers of that topic (or only of that group) have something to do. */
void queue_note_topic(struct queue *q, int64_t topic);
void queue_note_group(struct queue *q, int64_t group);
void queue_ring_noted(void *q);                         /* after a commit */
void queue_look_around(void *q, struct sqlite_conn *c); /* after another process's commit */

/* ---- dead letters without a topic of their own ---- */

struct queue_dead {
    int64_t id, tries;
    int64_t at_ms; /* published, wall clock */
    str cause;
    struct pubsub_message m;
};
/* Dead messages of topic and consumer with an id above after, oldest first, at most max. */
CO int queue_dead_list(struct queue *q, str topic, str consumer, int64_t after, size_t max,
                       struct arena *a, struct queue_dead *ret, size_t *ret_n, struct error *err);
/* Makes one of them (or all: id 0) due again with fresh tries. *ret_n = how many. */
CO int queue_dead_replay(struct queue *q, str topic, str consumer, int64_t id, size_t *ret_n,
                         struct error *err);
