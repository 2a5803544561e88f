/* worker.h — the worker threads: each runs one libuv loop and one fiber scheduler.
 * Owner:  the process; workers_start() to workers_stop().
 * Thread: a worker's things belong to its thread; worker_post() and ticket_done() are for any
 * thread. Failure: worker_post() never fails for a caller-owned message node; start fails with a
 * clear error. */
#pragma once

#include "base/error.h"
#include "fiber/fiber.h"

struct worker;

/* Starts n workers (1 … 64), each with room for max_fibers. The calling thread is not one of them.
 */
int workers_start(size_t n, size_t max_fibers, struct error *err) WUR;
/* Asks every fiber to end, waits for them (at most grace_ns), stops the threads and joins them.
 * Returns how many fibers were left behind: 0 is a clean end. */
size_t workers_stop(uint64_t grace_ns);
size_t workers_count(void);
struct worker *worker_at(size_t i);
struct worker *worker_self(void); /* NULL on any other thread */
size_t worker_index(const struct worker *w);
struct uv_loop_s *worker_uv(
    struct worker *w); /* for src/loop and for client libraries' libuv adapters */

/* A message to a worker: the node is the sender's until run() is called, on that worker, outside a
 * fiber. */
struct mail {
    struct mail *next;
    void (*run)(struct mail *m);
};
void worker_post(struct worker *w, struct mail *m);
/* Runs fn(arg) in a new fiber of worker w. -EXHAUSTED out of memory. Any thread. */
int worker_spawn(struct worker *w, const char *name, fiber_fn *fn, void *arg) WUR;
/* The same from a thread that is not a worker, and waits for the end. For start-up, shutdown and
 * tests. */
int worker_run(struct worker *w, const char *name, fiber_fn *fn, void *arg) WUR;

/* Runs fn(arg) on a pool thread while the calling fiber is suspended, shielded: fn always ends
 * first. For libraries that block. The pool has UV_THREADPOOL_SIZE (4) threads. */
CO int blocking(void (*fn)(void *arg), void *arg) WUR; /* 0 or -EXHAUSTED */

/* One answer from another thread to one waiting fiber. */
struct ticket {
    struct mail mail;
    struct worker *worker;
    struct fiber *fiber;
    int result;
    bool done;
};
void ticket_init(struct ticket *t);
void ticket_done(struct ticket *t, int result); /* any thread, exactly once */
CO int ticket_wait(struct ticket *t) WUR; /* shielded: the answer always comes; returns result */

/* A timer that calls back on its worker, outside a fiber. */
struct loop_timer;
struct loop_timer *loop_timer_start(uint64_t first_ns, uint64_t repeat_ns, void (*fn)(void *),
                                    void *arg) WUR;
void loop_timer_stop(struct loop_timer *t);
