/* state.h (block) — what the state API means: key prefixes, limits, the contract's errors.
 * Owner:  results live in the caller's arena.   Thread: any worker; suspends in the store.
 * Failure: *err has the contract's tag and details; -ABORTED for a stale ETag. */
#pragma once

#include "block/core/block.h"
#include "telemetry/trace.h"

/* Prepares what the block keeps with a store; once, after it was opened. */
int state_attach(struct blocks *b, struct instance *i, struct error *err) WUR;
/* Likewise: the keys of its metadata, and the names of the secrets that they came from
 * (state_crypt.h). */
int state_attach_keys(struct instance *i, str primary_name, str secondary_name, struct error *err)
    WUR;

/* The store called name, or the contract's 'not configured' / 'not found' error. */
int state_find(struct blocks *b, str name, struct instance **ret, struct error *err) WUR;
bool state_has(const struct instance *store, unsigned feature);

CO int block_state_get(struct blocks *b, struct instance *store, str key, enum state_consistency c,
                       struct kvs metadata, struct arena *a, struct state_value *ret,
                       struct error *err) WUR;
/* ret[i] answers keys[i], each with its own error. parallelism <= 0: the contract's default, 10; at
 * most 100 count. */
CO int block_state_bulk_get(struct blocks *b, struct instance *store, const str *keys, size_t n,
                            int64_t parallelism, struct kvs metadata, struct arena *a,
                            struct state_value *ret, struct error *err) WUR;
/* Saves all items (several are one call each, not a transaction: the contract's semantics). */
CO int block_state_save(struct blocks *b, struct instance *store, struct state_write *w, size_t n,
                        struct arena *a, struct error *err) WUR;
CO int block_state_delete(struct blocks *b, struct instance *store, struct state_write *w,
                          struct arena *a, struct error *err) WUR;
/* Each key is tried, whatever becomes of the others; the error is that of the first that failed. */
CO int block_state_delete_bulk(struct blocks *b, struct instance *store, struct state_write *w,
                               size_t n, struct arena *a, struct error *err) WUR;
struct state_transaction {
    struct state_write *w; /* their keys get the store's prefix */
    size_t n;
    struct kvs metadata;
    struct trace_context trace; /* of the request: what outbox events belong to */
};
CO int block_state_transact(struct blocks *b, struct instance *store, struct state_transaction *t,
                            struct arena *a, struct error *err) WUR;
CO int block_state_query(struct blocks *b, struct instance *store, str query, struct kvs metadata,
                         struct arena *a, struct state_query_result **ret, size_t *ret_n,
                         str *ret_token, struct error *err) WUR;
