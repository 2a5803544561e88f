/* hedge.h — when a second copy of a call may be sent, because the first takes longer than most do.
 * Owner:  lives in its user (one per target).   Thread: any, without a lock.
 * Failure: hedge_take() says no.   Limit: percent of the calls that could have had one; at most
 * HEDGE_BURST may be saved up. */
#pragma once

#include "policy/latency.h"

enum { HEDGE_BURST = 20 };

struct hedge_config {
    bool on;
    uint32_t percent;  /* copies per 100 calls, at most; 0 = none */
    uint64_t after_ns; /* a fixed delay; 0 = the method's high quantile */
};

struct hedge_budget {
    _Atomic int64_t tokens; /* hundredths of a copy; all zeroes is an empty one */
};

void hedge_deposit(struct hedge_budget *b, const struct hedge_config *c); /* at each such call */
bool hedge_take(struct hedge_budget *b) WUR;                              /* before each copy */
/* How long to wait for the first copy; 0 = not known (yet): none is sent. At least 1 ms. */
uint64_t hedge_delay(const struct hedge_config *c, const struct latency *l);
