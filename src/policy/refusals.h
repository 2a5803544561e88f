/* refusals.h — what an instance has turned away lately, as load. A refusal takes no time, so who
 * refuses most has the fewest calls in flight, looks idle, and would be asked more and more.
 * Counted as if it took as long as a call usually does, an instance that is full looks as busy as
 * one that works on as many calls as it gets.
 * Owner:  lives in its user; all zeroes is a fresh one.   Thread: any, without a lock.
 * Failure: none.   Limit: REFUSALS_MAX at once. The clock is passed in. */
#pragma once

#include "base/defs.h"

#include <stdatomic.h>

enum { REFUSALS_MAX = 60000 };

struct refusals {
    _Atomic uint64_t count_at; /* the count in 1/256 above, microseconds in the lower 40 bits */
};

/* usual_ns: how long a call takes mostly, the same for all instances of an app; 0 = unknown. */
void refusals_add(struct refusals *r, uint64_t usual_ns, uint64_t now_ns);
/* So many calls would be in flight now if refusals took as long as others. */
uint32_t refusals_in_flight(const struct refusals *r, uint64_t usual_ns, uint64_t now_ns);
