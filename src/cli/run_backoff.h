/* run_backoff.h — how long to wait before a process that ended is started again.
 * Owner:  the process' record.   Pure; randomness is passed in.   Failure: none. */
#pragma once

#include "base/defs.h"

enum { BACKOFF_FIRST_MS = 250, BACKOFF_MAX_MS = 30000, BACKOFF_STABLE_MS = 10000 };

struct backoff {
    unsigned failures; /* in a row, each soon after the start */
};

/* The process had run for ran_ns; unit = a random number in [0, 1). Doubles from BACKOFF_FIRST_MS
 * to BACKOFF_MAX_MS, give or take a quarter; one stable run starts it over. */
uint64_t backoff_next(struct backoff *b, uint64_t ran_ns, double unit);
