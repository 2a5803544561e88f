/* cells.h — a large fleet: services of so many instances, each called by sidecars in every zone.
 * Owner:  the scenario's frame.   Thread: one.   Failure: aborts. */
#pragma once

#include "test/sim/scenario.h"

enum { CELLS = 20, CELL_SIZE = 50, CELL_CALLERS = 6, CELL_WORKERS = 4, CELL_MS = 100 };
enum { CELLS_SERVERS = CELLS * CELL_SIZE, CELLS_CALLERS = CELLS * CELL_CALLERS, CELLS_ZONES = 3 };

struct cells {
    struct fleet fleet;
    struct client *client[CELLS_CALLERS]; /* client i is in zone i % CELLS_ZONES */
    struct source source;
    double capacity; /* calls a second */
    /* of the picture */
    struct gauge offered, good, bad, zone[CELLS_ZONES];
};

/* 1,000 instances of 20 services in three zones, and six callers of each service. */
void cells_open(struct scenario *s, struct cells *x, double use, uint64_t timeout_ns);
void cells_close(struct scenario *s, struct cells *x);
void cells_look(struct scenario *s, void *arg); /* for scenario_draw(), each CELLS_EVERY */
#define CELLS_EVERY MS(250)

/* Tries that went to another zone than their caller's, of all, since the last reset. */
double cells_across(const struct cells *x);
void cells_reset(struct cells *x);
/* How busy the instances of a zone are, 0 … 1: workers in use. */
double cells_busy(const struct cells *x, unsigned zone);
