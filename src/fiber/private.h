/* private.h — what fiber.c, sched.c and stack.c share.
 * Owner:  a scheduler owns its fibers; a fiber sits at the top of its own stack.
 * Thread: the scheduler's.   Failure: see fiber.h. */
#pragma once

#include "base/heap.h"
#include "fiber/context.h"
#include "fiber/fiber.h"
#include "fiber/hooks.h"

enum fiber_state {
    FIBER_READY,    /* in sched.ready or sched.later */
    FIBER_RUNNING,  /* sched.current */
    FIBER_PARKED,   /* until fiber_wake(), cancel or deadline */
    FIBER_SLEEPING, /* the same, but a wake is not for it */
    FIBER_DONE,     /* returned; about to be recycled */
};

enum fiber_cause { CAUSE_WAKE, CAUSE_TIMER, CAUSE_CANCEL };

struct fiber {
    struct list link; /* sched.ready or .later; the pool when it's over */
    struct list all;  /* sched.all */
    struct context context;
    struct heap_node timer;
    struct sched *sched;
    const char *name;
    fiber_fn *fn;
    void *arg;
    uint64_t deadline; /* of the innermost scope */
    int value;         /* given to fiber_wake() */
    enum fiber_state state;
    enum fiber_cause cause; /* of the last end of a suspension */
    bool cancelled, shielded, cold;
    struct hooks hooks;
};

/* Stacks that are free, the most recently used one first. */
struct pool {
    struct list free;
    size_t n, n_mapped;
    size_t low; /* fewest free ones since the last trim: so many were not needed */
    size_t stack_size;
    bool trimmed; /* and not used since */
};

struct sched {
    struct sched_config config;
    struct list ready, later, all;
    struct heap timers;
    struct pool pool;
    size_t n_fibers;
    struct fiber *current;
    uint64_t now;
    struct context context; /* of sched_run() */
    struct hooks hooks;
};

void pool_init(struct pool *p, size_t stack_size);
void pool_done(struct pool *p);
struct fiber *pool_take(struct pool *p) WUR; /* NULL out of memory or mappings */
void pool_give(struct pool *p, struct fiber *f);
void pool_trim(struct pool *p);

void sched_ready(struct fiber *f);      /* to the end of the queue */
CO void sched_suspend(struct fiber *f); /* from f to the scheduler */
