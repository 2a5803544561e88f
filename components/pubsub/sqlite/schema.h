/* schema.h — the tables of the queue and every statement on them; docs/pubsub.sqlite.md draws them.
 * Owner:  static text.
 * Thread: any.   Failure: queue_migrate() refuses a layout that is newer than this one. */
#pragma once

#include "components/common/sqlite/conn.h"

/* A message's id is its topic and its number there: one table, ordered by topic, then arrival. */
enum { QUEUE_SEQ_BITS = 40 };
#define QUEUE_TOPIC(id) ((id) >> QUEUE_SEQ_BITS)
#define QUEUE_FIRST(topic) ((int64_t)((uint64_t)(topic) << QUEUE_SEQ_BITS))
#define QUEUE_LAST(topic) (QUEUE_FIRST(topic) | ((INT64_C(1) << QUEUE_SEQ_BITS) - 1))

/* Values of delivery.due that are no time: later than any. */
#define QUEUE_PARKED (INT64_C(1) << 60)     /* waits for an earlier message of its key */
#define QUEUE_DEAD ((INT64_C(1) << 60) + 1) /* tried often enough; kept for a human */

enum queue_sql {
    Q_CLOCK_GET,
    Q_CLOCK_SET,
    Q_TOPIC_FIND,
    Q_TOPIC_MAKE,
    Q_TOPIC_NEXT,
    Q_DEDUP,
    Q_MESSAGE_PUT,
    Q_MESSAGE_GET,
    Q_MESSAGE_SCAN,
    Q_MESSAGE_FORGET,
    Q_MESSAGE_COPY,
    Q_GROUP_MAKE,
    Q_GROUP_FIND,
    Q_GROUP_CURSOR,
    Q_GROUP_MOVE,
    Q_GROUP_DEAD,
    Q_DUE,
    Q_LEASE_NEW,
    Q_LEASE_AGAIN,
    Q_LEASE_EXTEND,
    Q_ACK,
    Q_NACK,
    Q_DROP,
    Q_BURY,
    Q_NEXT_DUE,
    Q_KEY_BUSY,
    Q_KEY_NEXT,
    Q_PARKED_MANY,
    Q_NEWS,
    Q_STATS,
    Q_OLDEST,
    Q_UNSEEN,
    Q_DEAD_LIST,
    Q_DEAD_REPLAY,
    Q_CLEAN_DEDUP,
    Q_CLEAN_EXPIRED,
    Q_CLEAN_DEAD,
    Q_CLEAN_OLD,
    Q_CLEAN_MESSAGE,
    QUEUE_N_SQL,
};

extern const char *const queue_sql[QUEUE_N_SQL];
int queue_migrate(void *arg, struct sqlite_conn *c, struct error *err) WUR;
