/* scenario.h — running a scenario over many seeds, and keeping what its picture shows.
 * Owner:  the scenario.   Thread: one.   Failure: what doesn't hold is a failed check with the seed
 * and how to run it again.
 *
 * From the environment: SIM_SEEDS=n runs n seeds instead of the few of a test; SIM_SEED=k begins
 * with that one; SIM_PLOTS=DIR keeps the samples of the first seed in DIR/<name>.csv, from which
 * plot.py draws; SIM_FIGURES=1 prints what notes say. */
#pragma once

#include "test/sim/load.h"
#include "test/testing.h"

enum { COLUMNS_MAX = 12, MARKS_MAX = 12, SAMPLES_MAX = 4000 };

struct scenario {
    struct sim sim;
    struct flow flow;
    const char *name;
    /* the picture */
    struct event sample;
    uint64_t every_ns, begin_ns;
    void (*look)(struct scenario *s, void *arg); /* puts a value into each column */
    void *arg;
    struct {
        const char *panel, *name; /* "calls/s", "goodput" */
        double *value;
    } column[COLUMNS_MAX];
    size_t n_columns, n_samples;
    struct {
        double at_s;
        const char *text;
    } mark[MARKS_MAX];
    size_t n_marks;
    char note[400]; /* figures, for the table */
};

typedef void scenario_fn(struct scenario *s);

/* For so many seeds. */
void scenario_run(const char *name, scenario_fn *fn, unsigned seeds);
/* One seed twice: the trace must be the same. */
void scenario_repeats(const char *name, scenario_fn *fn);

/* Samples from now on: look() is called each every_ns and puts its values with scenario_put(). */
void scenario_draw(struct scenario *s, uint64_t every_ns,
                   void (*look)(struct scenario *s, void *arg), void *arg);
/* Panel and name are literals; the same ones in each sample. */
void scenario_put(struct scenario *s, const char *panel, const char *name, double value);
void scenario_mark(struct scenario *s, const char *text); /* a vertical line, now */
void scenario_note(struct scenario *s, const char *fmt, ...) PRINTF(2, 3);

void scenario_for(struct scenario *s, uint64_t ns); /* runs it for so long */
/* No more samples; all sources are silent, and what is under way ends. */
void scenario_end(struct scenario *s, struct fleet *f);

#define HOLDS(s, cond, fmt, ...)                                                                   \
    CHECK(cond, fmt "; again: SIM_SEED=%ju SIM_SEEDS=1 %s %s", ##__VA_ARGS__,                      \
          (uintmax_t)(s)->sim.seed, program_invocation_name, (s)->name)

/* A counter's growth a second since the last sample; one that was reset grows from 0. */
struct gauge {
    double last;
};
double gauge_rate(struct gauge *g, double now, uint64_t every_ns);
