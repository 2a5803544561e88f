/* adaptive.h — how many calls at once are good for somebody: a limit that finds itself from
 * measured latency, with no number to tune. Owner:  a plain struct in its user. Thread: one at a
 * time.   Failure: none; without samples nothing moves.
 *
 * Each window of calls gives a gradient: the latency without a queue by the measured one, 1 =
 * nobody waits inside. limit' = limit * gradient + sqrt(limit): it settles where about sqrt(limit)
 * calls wait inside, which keeps the callee busy and the wait short. What may be scatter, by the
 * spread of the window's calls, is no queue. Two things guard the baseline
 * against its known failures: a lowered limit that doesn't lower the latency shows that the calls
 * have become slower by themselves, and now and then the limit dips for a window, to see the
 * latency with a shorter queue. Both are the same test. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum { ADAPTIVE_MIN = 2, ADAPTIVE_MAX = 2000, ADAPTIVE_START = 20 };

struct adaptive {
    unsigned min, max;
    double limit;
    /* what the last window had, when the limit has been lowered after it: to be compared */
    double before_limit, before_gradient, before_scatter;
    /* How likely calls are slower by themselves, by what dips and falls have shown; by the present
     * fall alone. */
    double slower, fell;
    unsigned since_dip; /* windows in which the limit was what held calls back */
    unsigned calm; /* windows in which nobody waited inside; from many on the limit may double */
    bool was_saturated;  /* in the last window */
    bool comparing, dip; /* a comparison is under way; by a dip */
    bool falling;        /* … with where the limit was before it began to fall */
};

struct adaptive_window {
    double gradient;   /* mean of baseline / latency of its calls, 0 < g <= 1 */
    double scatter;    /* standard error of the mean latency by the latency; 0 = calls are alike */
    bool saturated;    /* the limit held calls back in it */
    bool no_dip;       /* another limit around this one dips */
    unsigned inflight; /* the most at once */
};

enum adaptive_verdict {
    ADAPTIVE_OK,
    ADAPTIVE_REBASE, /* calls take longer by themselves: the baseline is to follow what is measured
                      */
};

/* Nobody seems to have waited inside: what its calls took longer may be scatter. */
bool adaptive_is_calm(const struct adaptive_window *w);
/* min 0 and max 0: the ones above. */
void adaptive_init(struct adaptive *a, unsigned min, unsigned max);
/* After each window that had enough samples. */
enum adaptive_verdict adaptive_update(struct adaptive *a, const struct adaptive_window *w);
/* Calls wait for a place and none of those inside has ever ended: they are long, not slow. */
void adaptive_grow(struct adaptive *a);
unsigned adaptive_limit(const struct adaptive *a); /* now: min … max */
/* The limit was being doubled lately: calls that wait will get their place soon. */
bool adaptive_growing(const struct adaptive *a);

/* The latency of a kind of call when nobody waits inside. */
struct baseline {
    double ns; /* 0 = not known yet */
};
enum baseline_window {
    BASELINE_FREE, /* few calls: none waited for another */
    BASELINE_BUSY, /* some may have waited inside: only what is lower is believed */
    BASELINE_CALM, /* they may have, but it isn't seen: what is higher is believed a little */
    BASELINE_DIP,  /* none should have: what the dip is for */
};
/* By the mean of a window's calls. */
void baseline_update(struct baseline *b, double mean_ns, enum baseline_window w);
/* Calls have become slower by themselves. */
void baseline_rebase(struct baseline *b, double mean_ns);
