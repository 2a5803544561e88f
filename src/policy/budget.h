/* budget.h — retry budget: retries may add only a share of the calls, so that a failing peer isn't
 * buried under them. Of the last ttl: retries <= max(ratio * calls, min_per_s * ttl).
 * Owner:  lives in its user (one per target).
 * Thread: any, without a lock; n threads that withdraw at the same instant may get n - 1 more than
 * there are.   Failure: budget_withdraw() says no; then the error is final. */
#pragma once

#include "base/defs.h"

#include <stdatomic.h>

enum { BUDGET_SLOTS = 10 };

struct budget_config {
    double ratio;     /* retries per call, (0, 1]; 0 = 0.2 */
    double min_per_s; /* granted however few the calls are; negative = none, 0 = 3 */
    uint64_t ttl_ns;  /* how long a call counts; 0 = 10 s */
};

struct budget {
    _Atomic uint32_t permille; /* retries per 1,000 calls; may be set while in use */
    uint32_t floor;            /* retries per ttl */
    uint64_t slot_ns;
    /* By slot of time: its number in the upper half, the count in the lower one. */
    _Atomic uint64_t calls[BUDGET_SLOTS], retries[BUDGET_SLOTS];
};

void budget_init(struct budget *b, const struct budget_config *config);
void budget_deposit(struct budget *b, uint64_t now_ns);      /* at each call */
bool budget_withdraw(struct budget *b, uint64_t now_ns) WUR; /* before each retry */
