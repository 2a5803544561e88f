/* budget.h — retry budget: retries may add only a share of the first tries, so that a failing peer
 * isn't buried under them.
 * Owner:  lives in its user (one per target).
 * Thread: any; a short mutex inside.   Failure: budget_withdraw() says no; then the error is final.
 */
#pragma once

#include "base/defs.h"

#include <pthread.h>

enum { BUDGET_SLOTS = 10 };

struct budget_config {
    double ratio;     /* retries per first try, (0, 1]; 0 = 0.2 */
    double min_per_s; /* retries that are always granted; negative = none, 0 = 10 */
    uint64_t ttl_ns;  /* how long a first try counts; 0 = 10 s */
};

struct budget {
    pthread_mutex_t lock;
    int64_t per_retry; /* thousandths of a deposit that one retry costs */
    int64_t reserve;   /* the floor, in thousandths */
    uint64_t slot_ns;
    uint64_t slot;                 /* number of the newest slot since time 0 */
    int64_t balance[BUDGET_SLOTS]; /* thousandths, by slot; may be negative */
};

void budget_init(struct budget *b, const struct budget_config *config, uint64_t now_ns);
void budget_done(struct budget *b);
void budget_deposit(struct budget *b, uint64_t now_ns);      /* at each first try */
bool budget_withdraw(struct budget *b, uint64_t now_ns) WUR; /* before each retry */
