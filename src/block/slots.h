/* slots.h — a counted limit that fibers of all workers share (--app-max-concurrency), fair.
 * Owner:  its user; slots_done() when nobody waits.
 * Thread: any worker; a short mutex, never held across a suspension.
 * Failure: slots_take() returns -CANCELLED or -TIMEOUT and then holds nothing. */
#pragma once

#include "loop/worker.h"

#include <pthread.h>

struct slots {
    pthread_mutex_t lock;
    size_t free;
    bool unlimited;
    struct list waiters;
};

void slots_init(struct slots *s, size_t n); /* 0 = no limit */
void slots_done(struct slots *s);
CO int slots_take(struct slots *s) WUR;
void slots_give(struct slots *s);
