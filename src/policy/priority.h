/* priority.h — how important a call is: five classes of 128 sub-levels, and the cut that moves
 * through them when there is more work than can be done.
 * Owner:  a cut lives in its admission.
 * Thread: a cut is counted and asked by any worker without a lock; cut_move() by one at a time.
 * Failure: parsing says false. */
#pragma once

#include "base/str.h"

#include <stdatomic.h>

enum priority {
    PRIORITY_CRITICAL,
    PRIORITY_HIGH,
    PRIORITY_NORMAL,
    PRIORITY_LOW,
    PRIORITY_BACKGROUND,
    PRIORITIES
};

/* A level is class * 128 + sub-level; 0 is the most important. */
enum { PRIORITY_SUBS = 128, PRIORITY_LEVELS = PRIORITIES * PRIORITY_SUBS };
enum { PRIORITY_TEXT = 16 }; /* "background/127" */

static inline enum priority priority_class(unsigned level)
{
    return (enum priority)(level / PRIORITY_SUBS);
}

static inline unsigned priority_level(enum priority p, unsigned sub)
{
    return (unsigned)p * PRIORITY_SUBS + sub % PRIORITY_SUBS;
}

str priority_name(enum priority p); /* "critical" */
/* A class by its name, letter case aside. */
bool priority_parse_class(str text, enum priority *ret);
/* "high" or "high/17", as the header proa-priority has it; *ret_sub: -1 = none was given. */
bool priority_parse(str text, enum priority *ret, int *ret_sub);
/* "high/17" into to; returns what was written. */
str priority_format(unsigned level, char to[PRIORITY_TEXT]);
/* The same for a key on every machine, and another one in each hour: nobody is always the last. */
unsigned priority_sub(str key, uint64_t wall_ns);

/* ---- the cut ---- */

struct priority_cut {
    atomic_uint cut;                      /* levels from it on are refused */
    atomic_uint arrived[PRIORITY_LEVELS]; /* since the last move */
    double share[PRIORITY_LEVELS];        /* arrivals a second, smoothed; of cut_move() */
};

void cut_init(struct priority_cut *c); /* everything passes */
/* Counts the arrival of a call of that level, and says whether it may come in. */
bool cut_passes(struct priority_cut *c, unsigned level) WUR;
/* After window_ns: with more arrivals than `served_s` calls a second (and a margin, so that the
 * queue behind never runs dry), the least important levels are cut off. !overloaded: all pass. */
void cut_move(struct priority_cut *c, bool overloaded, double served_s, uint64_t window_ns);
