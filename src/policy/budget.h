/* budget.h — retry budget: retries may add only a share of the calls, so that a failing peer isn't
 * buried under them. Of the last ten seconds retries <= ratio * calls, or floor if that is more;
 * and they are spread: nothing is saved up for longer than a second. Owner:  lives in its user (one
 * per target). Thread: any, without a lock; n threads that withdraw at the same instant may get n -
 * 1 more than there are.   Failure: budget_withdraw() says no; then the error is final. */
#pragma once

#include "base/defs.h"

#include <stdatomic.h>

enum { BUDGET_SLOTS = 40, BUDGET_PERCENT = 20, BUDGET_FLOOR = 20 };

struct budget_config {
    double ratio; /* retries per call, (0, 1]; 0 = BUDGET_PERCENT */
    int floor;    /* retries in 10 s however few the calls are; negative = none, 0 = BUDGET_FLOOR */
};

struct budget {
    _Atomic uint32_t permille; /* by budget_share() */
    uint32_t floor;
    /* By slot of time: its number in the upper half, the count in the lower one. */
    _Atomic uint64_t calls[BUDGET_SLOTS], retries[BUDGET_SLOTS];
};

void budget_init(struct budget *b, const struct budget_config *config);
void budget_share(struct budget *b, double ratio);           /* another one from now on */
void budget_deposit(struct budget *b, uint64_t now_ns);      /* at each call */
bool budget_withdraw(struct budget *b, uint64_t now_ns) WUR; /* before each retry */
