/* state.h — the interface of a state store.
 * Owner:  results go into the caller's arena.   Thread: any worker, concurrently; may suspend.
 * Failure: -ABORTED "…etag…" for a stale ETag, -INVALID for an ETag that can't be one of this
 * store's, -NOT_FOUND never for a plain get (ret->found says it), other codes as they fit. A write
 * that returns 0 is durable to the store's promise. */
#pragma once

#include "component/component.h"

enum state_feature {
    STATE_ETAG = 1,
    STATE_TXN = 2,
    STATE_QUERY = 4,
    STATE_TTL = 8,
    STATE_DELETE_PREFIX = 16,
    STATE_KEYS_LIKE = 32,
    STATE_PARTITION_KEY = 64,
};
enum state_concurrency { CONCURRENCY_NONE, FIRST_WRITE, LAST_WRITE };
enum state_consistency { CONSISTENCY_NONE, EVENTUAL, STRONG };

struct state_write { /* a set, or a delete when .remove */
    str key;         /* with its prefix: "app||key" */
    str value;       /* bytes, stored as they are */
    str etag;        /* .n == 0: none */
    struct kvs metadata;
    enum state_concurrency concurrency;
    enum state_consistency consistency;
    bool remove;
    bool json; /* value is JSON text; otherwise bytes (state.sqlite: is_binary) */
};

struct state_value {
    bool found;
    str value, etag;     /* etag.n == 0: none */
    uint64_t expire_ns;  /* wall clock; 0 = never */
    struct kvs metadata; /* what else the store says of it */
    struct error err;    /* of this key, in a bulk answer */
};

struct state_query_result {
    str key, value, etag;
    str error; /* of this key; .n == 0: none */
};

struct state_ops {
    struct component_type t;
    CO int (*get)(void *self, str key, enum state_consistency c, struct kvs metadata,
                  struct arena *a, struct state_value *ret, struct error *err);
    /* ret[i] answers keys[i]. NULL: the block calls get for each. */
    CO int (*bulk_get)(void *self, const str *keys, size_t n, struct kvs metadata, struct arena *a,
                       struct state_value *ret, struct error *err);
    /* One write, set or delete. */
    CO int (*write)(void *self, const struct state_write *w, struct error *err);
    /* Several sets, or several deletes, in one call to the store; not a transaction: after a
     * failure some may have been done. NULL: the block calls write for each. */
    CO int (*bulk_write)(void *self, const struct state_write *w, size_t n, struct error *err);
    /* All or nothing. NULL = no transactions. */
    CO int (*transact)(void *self, const struct state_write *w, size_t n, struct kvs metadata,
                       struct error *err);
    int (*max_ops)(void *self); /* of one transaction; NULL = no limit */
    /* query is the JSON text of the request; see docs. NULL = not supported. */
    CO int (*query)(void *self, str query, struct kvs metadata, struct arena *a,
                    struct state_query_result **ret, size_t *ret_n, str *ret_token,
                    struct error *err);
    /* Takes one from a bucket that all who use the store share and that fills by per_s a second up
     * to burst, in one atomic step by the store's clock. *ret_wait_ns: 0 = taken, else until there
     * is one. NULL = not supported. */
    CO int (*take)(void *self, str bucket, double per_s, double burst, uint64_t *ret_wait_ns,
                   struct error *err);
};

/* "ttlInSeconds" of metadata: 0 = none, -1 = never (clears), > 0 seconds; -INVALID with a clear
 * text. */
int state_ttl(struct kvs metadata, int64_t *ret_seconds, struct error *err) WUR;
