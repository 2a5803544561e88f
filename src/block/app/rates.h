/* rates.h — takes from the bucket of a rate limit: one here, or one in a store that all instances
 * share (state_ops.take).
 * Owner:  the door of the app.   Thread: any worker, under a pin of the catalog.
 * Failure: a store that isn't there, can't, or doesn't answer within RATES_WAIT_NS: the bucket here
 * counts, and the store is left alone for a second. */
#pragma once

#include "block/core/block.h"
#include "policy/overload.h"

#define RATES_WAIT_NS MS(100)

struct rates {
    struct blocks *blocks; /* where stores are found; NULL = there are none */
    _Atomic uint64_t away_until_ns;
};

/* False: no token for *ret_wait_ns. */
CO bool rates_take(struct rates *r, struct overload *o, const struct overload_rate *rate, str key,
                   uint64_t *ret_wait_ns) WUR;
