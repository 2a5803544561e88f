/* lock.h (block) — what taking and giving back a lock means: key prefixes, the contract's errors.
 * Owner:  nothing is kept.   Thread: any worker; suspends in the store.
 * Failure: *err has the contract's tag; "held by somebody else" is a result. */
#pragma once

#include "block/core/block.h"
#include "component/lock.h"

struct lock_request {
    str store, resource, owner;
    int64_t expiry_s; /* try alone */
};

int lock_attach(struct blocks *b, struct instance *i, struct error *err) WUR;
CO int block_lock_try(struct blocks *b, const struct lock_request *q, struct arena *a, bool *ret,
                      struct error *err) WUR;
CO int block_lock_unlock(struct blocks *b, const struct lock_request *q, struct arena *a,
                         enum unlock_status *ret, struct error *err) WUR;
