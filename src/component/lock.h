/* lock.h — the interface of a lock store: mutual exclusion with an owner and an end.
 * Owner:  nothing is kept.   Thread: any worker, concurrently; may suspend.
 * Failure: *err or -CODE as in component.h; "held by somebody else" is a result, not a failure. */
#pragma once

#include "component/component.h"

/* The numbers are the contract's (facts 2.10). */
enum unlock_status {
    UNLOCK_SUCCESS = 0,
    UNLOCK_DOES_NOT_EXIST = 1,
    UNLOCK_BELONGS_TO_OTHERS = 2,
    UNLOCK_INTERNAL_ERROR = 3,
};

struct lock_ops {
    struct component_type t;
    /* *ret: whether owner holds it now, for expiry_s (> 0) seconds. Taken again by its owner:
     * false. */
    CO int (*try_lock)(void *self, str resource, str owner, int64_t expiry_s, bool *ret,
                       struct error *err);
    CO int (*unlock)(void *self, str resource, str owner, enum unlock_status *ret,
                     struct error *err);
};
