/* sim.h — virtual time: events in order, one source of dice, and a hash of all that happened.
 * Owner:  the scenario; sim_done() frees.   Thread: one.   Failure: aborts when memory is out.
 * The same seed gives the same run: nothing here looks at a clock, at an address or at a file. */
#pragma once

#include "base/heap.h"
#include "base/list.h"

struct sim;

struct event { /* lives in what it happens to; zeroed = not due */
    struct heap_node node;
    void (*fn)(struct sim *s, struct event *e);
};

struct sim {
    uint64_t now, seed;
    uint64_t dice;  /* the generator's state */
    uint64_t trace; /* hash of each event's time, and of the dice at it */
    uint64_t n_events;
    struct heap heap;
    struct list all; /* memory that lives as long as the simulation */
};

void sim_init(struct sim *s, uint64_t seed);
void sim_done(struct sim *s);
/* Zeroed memory until sim_done(). */
void *sim_alloc(struct sim *s, size_t size);

/* At that time; an event that is due already is moved. */
void sim_at(struct sim *s, struct event *e, uint64_t at);
static inline void sim_after(struct sim *s, struct event *e, uint64_t ns)
{
    sim_at(s, e, s->now + ns);
}
static inline bool sim_is_due(const struct event *e)
{
    return e->node.place;
}
void sim_cancel(struct sim *s, struct event *e); /* one that isn't due is fine */
/* All events up to then; it is then afterwards. */
void sim_run_until(struct sim *s, uint64_t at);

uint64_t sim_bits(struct sim *s); /* 64 uniform ones */
double sim_unit(struct sim *s);   /* [0, 1) */
uint64_t sim_exponential(struct sim *s, double mean_ns);
