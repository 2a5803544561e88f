/* limiter.h — rate limit: one token bucket per key, in a table of bounded size.
 * Owner:  the one who made it.
 * Thread: any; a short mutex inside.   Limit: max_keys; past it the key that was idle longest is
 * forgotten, so a flood of new keys can't grow memory (it may let old keys start afresh).
 * Failure: limiter_take() says no and for how long. */
#pragma once

#include "base/str.h"

struct limiter_config {
    double per_s;    /* tokens that come in each second, > 0 */
    double burst;    /* the most that a bucket holds, >= 1 */
    size_t max_keys; /* 1 … 1000000 */
};

struct limiter;

struct limiter *limiter_new(const struct limiter_config *config) WUR; /* NULL out of memory */
void limiter_free(struct limiter *l);
/* Takes one token of key. false: none is there; *ret_wait_ns (may be NULL) = until the next one is.
 * Keys past 256 bytes are told apart by their hash. Out of memory lets the call pass. */
bool limiter_take(struct limiter *l, str key, uint64_t now_ns, uint64_t *ret_wait_ns) WUR;
size_t limiter_count(struct limiter *l); /* keys in the table */
