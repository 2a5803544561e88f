/* row.h — a message's row as a message; apart, so that a fuzzer can feed it any row.
 * Owner:  the message's arena.
 * Thread: any.   Failure: -DATA_LOSS with what is wrong, -EXHAUSTED. */
#pragma once

#include "base/buf.h"
#include "component/pubsub.h"

#include <sqlite3.h>

struct queue_row {
    int64_t id, at, due, expires; /* ms; 0 = none */
    str part;                     /* .n == 0: none; borrowed from the statement */
};

/* s stands on a row of id, at, due, expires, part, type, meta, body. */
struct queue_row queue_row_head(sqlite3_stmt *s);
int queue_row_message(sqlite3_stmt *s, str topic, struct arena *a, struct pubsub_message *ret,
                      struct error *err) WUR;
/* The column meta of a message. */
void queue_row_meta(struct kvs metadata, struct buf *out);
