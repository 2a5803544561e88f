/* sync.h — what fibers of one worker use to wait for each other.
 * Owner:  the struct lives in its user; it must outlive its waiters.
 * Thread: one worker; across workers use mail and tickets (loop/worker.h).
 * Failure: a wait returns 0, -CANCELLED or -TIMEOUT; then the caller holds nothing. */
#pragma once

#include "fiber/fiber.h"

struct waitq { /* fibers in order of arrival */
    struct list waiters;
};
void waitq_init(struct waitq *q);
CO int waitq_wait(struct waitq *q) WUR;
bool waitq_wake_one(struct waitq *q, int value); /* false: nobody waited */
void waitq_wake_all(struct waitq *q, int value);

struct fiber_mutex { /* fair: the lock is handed to the first waiter */
    struct fiber *owner;
    struct waitq queue;
};
void fiber_mutex_init(struct fiber_mutex *m);
CO int fiber_mutex_lock(struct fiber_mutex *m) WUR;
void fiber_mutex_unlock(struct fiber_mutex *m);

struct semaphore { /* concurrency limits; fair */
    size_t free;
    struct waitq queue;
};
void semaphore_init(struct semaphore *s, size_t n);
CO int semaphore_take(struct semaphore *s) WUR;
void semaphore_give(struct semaphore *s);

struct chan { /* bounded queue of pointers */
    void **ring;
    size_t head, n, cap;
    bool closed;
    struct waitq readers, writers;
};
int chan_init(struct chan *c, size_t cap) WUR; /* -EXHAUSTED */
void chan_done(struct chan *c);
CO int chan_put(struct chan *c, void *item) WUR;      /* also -PRECONDITION once closed */
CO int chan_get(struct chan *c, void **ret_item) WUR; /* also -NOT_FOUND once closed and drained */
bool chan_try_put(struct chan *c, void *item);
void chan_close(struct chan *c);

struct wait_group { /* a parent waits for its children */
    size_t n;
    struct waitq queue;
};
void wait_group_init(struct wait_group *g);
void wait_group_add(struct wait_group *g);
void wait_group_done(struct wait_group *g);
CO int wait_group_wait(struct wait_group *g) WUR; /* until n == 0 */
