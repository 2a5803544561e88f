/* private.h — the inside of a worker, for the files of src/loop only.
 * Owner:  worker.c.
 * Thread: everything but inbox, asleep and the counters belongs to the worker's own thread. */
#pragma once

#include "base/heap.h"
#include "loop/worker.h"

#include <pthread.h>
#include <stdatomic.h>
#include <uv.h>

struct worker {
    uv_loop_t uv;
    uv_prepare_t prepare;
    uv_check_t check;
    uv_idle_t idle;   /* runs while there is more to do: then polling doesn't wait */
    uv_timer_t timer; /* the next deadline of a fiber or of `timers` */
    uv_timer_t trim;
    uv_async_t wake;
    struct sched *sched;
    struct heap timers; /* of struct timed: idle streams, loop timers, pauses */
    uint64_t armed_at;  /* when `timer` fires, UINT64_MAX = it doesn't */
    size_t n_timed;
    size_t index;
    pthread_t thread;
    struct list waiting; /* spawns that found no room */
    bool stopping, counted_idle;
    struct worker *next_abandoned;

    _Atomic(struct mail *) inbox; /* newest first */
    atomic_bool asleep;           /* in poll, or about to be: whoever posts must signal */
};

/* A point in time on the worker's own heap; fn runs outside of fibers, after it was removed. */
struct timed {
    struct heap_node node;
    void (*fn)(struct timed *t);
};
/* Takes room for one more; -EXHAUSTED. Then timed_start() can't fail. */
int timed_reserve(struct worker *w) WUR;
void timed_release(struct worker *w);
void timed_start(struct worker *w, struct timed *t, uint64_t at);
void timed_stop(struct worker *w, struct timed *t);

/* Runs fn(arg) on worker w, outside of fibers, and waits for it: from a foreign thread, a worker
 * (then at once) or a fiber (shielded). */
CO void worker_call(struct worker *w, void (*fn)(void *arg), void *arg);
