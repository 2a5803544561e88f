/* fiber.h — stackful coroutines: code that waits reads straight down.
 * Owner:  a scheduler owns its fibers; a fiber ends by returning from its function.
 * Thread: a fiber lives and dies on the scheduler's thread; others reach it by loop/worker.h.
 * Failure: fiber_spawn() returns NULL past the scheduler's maximum: that is the load-shedding
 * limit. */
#pragma once

#include "base/list.h"

struct fiber;
struct sched;

/* ---- the scheduler: one per worker thread; the loop (or a test) drives it ---- */

struct sched_config {
    size_t max_fibers;          /* 1 … 30000; mprotect guards run out at 32,753 mappings */
    size_t stack_size;          /* bytes, a multiple of the page; 128 KiB is the house's */
    uint64_t (*now)(void *ctx); /* ns; tests pass a virtual clock */
    void *ctx;
};

struct sched *sched_new(const struct sched_config *config) WUR;
void sched_free(struct sched *s); /* no fiber may be left */
/* Runs what is ready, and timers that are due, until nothing is; never blocks, and never runs for
 * ever: after a thousand switches, or when fibers yielded, it returns 0 so that the loop can poll.
 * Returns the ns until the next timer, UINT64_MAX without one. Not from inside a fiber. */
uint64_t sched_run(struct sched *s);
size_t sched_count(const struct sched *s); /* fibers alive */
bool sched_cancel_all(struct sched *s);    /* fiber_cancel() for each; true: some are ready now */
/* Gives memory of stacks back that were not needed since the last call; to be called about a second
 * after sched_trim_due() has become true. */
void sched_trim(struct sched *s);
bool sched_trim_due(const struct sched *s);
struct sched *sched_self(void);    /* the one of this thread, NULL outside of a worker */
void sched_enter(struct sched *s); /* makes it this thread's */
/* ns; inside a fiber cached: read at the start of a round and whenever a sleep or deadline begins.
 */
uint64_t sched_now(void);

/* ---- fibers ---- */

typedef void fiber_fn(void *arg);

/* Starts fn(arg) on the calling thread's scheduler at its next round. name has static storage.
 * A detached fiber: nobody waits for it. NULL at the limit or out of memory. */
struct fiber *fiber_spawn(const char *name, fiber_fn *fn, void *arg) WUR;
struct fiber *fiber_self(void); /* NULL outside of a fiber */
const char *fiber_name(const struct fiber *f);

/* Suspends until fiber_wake(). Returns the value given to it, -CANCELLED when the fiber was
 * cancelled (now or before), or -TIMEOUT at its deadline; cancel outranks timeout, and a wake that
 * came before either stands. A shielded fiber sees only the wake. Whoever could still wake it must
 * be told to forget it before the frame goes away. */
CO int fiber_park(void) WUR;
/* Makes a parked fiber ready. False, and nothing done, for one that is not parked, or already
 * woken, cancelled or timed out. Same thread. */
bool fiber_wake(struct fiber *f, int value);
/* Lets all others and the loop have their turn. */
CO void fiber_yield(void);
CO int fiber_sleep(uint64_t ns) WUR; /* 0, -CANCELLED or -TIMEOUT */

/* Asks f to end: its present or next suspension returns -CANCELLED, as does every one after that.
 */
void fiber_cancel(struct fiber *f);
bool fiber_cancelled(void); /* of the caller */

/* The nearest deadline of the calling fiber, ns by sched_now(); UINT64_MAX = none. */
uint64_t fiber_deadline(void);

/* ---- scopes ---- */

struct fiber_scope {
    struct fiber *fiber;
    uint64_t deadline;
    bool shielded;
};
struct fiber_scope fiber_deadline_push(
    uint64_t ns_from_now); /* the earlier of old and new counts */
struct fiber_scope fiber_shield_push(void);
void fiber_scope_pop(struct fiber_scope *scope);

#define FIBER_CONCAT2(a, b) a##b
#define FIBER_CONCAT(a, b) FIBER_CONCAT2(a, b)
/* DEADLINE(MS(250)); — until the end of the enclosing block. */
#define DEADLINE(ns)                                                                               \
    AUTO(fiber_scope_pop)                                                                          \
    __attribute__((unused)) struct fiber_scope FIBER_CONCAT(scope_, __LINE__) =                    \
        fiber_deadline_push(ns)
/* SHIELD(); — until the end of the block neither cancel nor a deadline of the scopes around it
 * interrupts: the outcome must be known. A DEADLINE() inside it counts. */
#define SHIELD()                                                                                   \
    AUTO(fiber_scope_pop)                                                                          \
    __attribute__((unused)) struct fiber_scope FIBER_CONCAT(scope_, __LINE__) = fiber_shield_push()
