#include "policy/adaptive.h"

#include <math.h>

/* TOLERANCE: latencies scatter; so much above the baseline is none. STEEPEST: the most that one
 * window takes off. A dip takes a quarter off: its effect on latency shows above the scatter, and
 * the queue in front fills in. */
static const double TOLERANCE = 1.1, STEEPEST = 0.3;
/* A dip goes a little below what the callee seems to do at once without a queue. */
static const double DIP = 0.9, DIP_MIN = 0.5, DIP_MAX = 0.85;
/* Below it a change of latency has little to do with the limit; in a queue it is 1. */
static const double ELASTIC = 0.2;
enum { DIP_EVERY = 16, CALM = 8, CALM_MAX = 1000 };

void adaptive_init(struct adaptive *a, unsigned min, unsigned max)
{
    unsigned low = min ? min : ADAPTIVE_MIN, high = max ? max : ADAPTIVE_MAX;
    *a = (struct adaptive){ .min = low, .max = high < low ? low : high, .calm = CALM };
    a->limit = fmin(fmax(ADAPTIVE_START, a->min), a->max);
}

static void set_limit(struct adaptive *a, double limit)
{
    a->limit = fmin(fmax(limit, a->min), a->max);
}

unsigned adaptive_limit(const struct adaptive *a)
{
    double part = a->dip ? fmin(fmax(a->before_gradient * DIP, DIP_MIN), DIP_MAX) : 1;
    return (unsigned)fmax(a->limit * part, a->min);
}

bool adaptive_growing(const struct adaptive *a)
{
    return a->calm >= CALM && a->limit < a->max;
}

void adaptive_grow(struct adaptive *a)
{
    if (a->calm >= CALM)
        set_limit(a, a->limit * 2);
}

/* By how much of the change of the limit did the latency change? In a queue both go together, so
 * the gradient rises as the limit falls. */
static bool elastic(const struct adaptive *a, double limit, double gradient)
{
    double lowered = log(a->before_limit / limit), gained = log(gradient / a->before_gradient);
    return gained > ELASTIC * lowered;
}

static void compare_next(struct adaptive *a, double gradient, bool dip)
{
    a->before_limit = a->limit;
    a->before_gradient = gradient;
    a->comparing = true;
    a->dip = dip;
}

/* The window after a lower limit. True: the baseline was wrong, and the limit goes back. */
static bool compare(struct adaptive *a, double gradient)
{
    double limit = adaptive_limit(a);
    bool slower =
        gradient * TOLERANCE < 1 && limit < a->before_limit * 0.9 && !elastic(a, limit, gradient);
    a->comparing = a->dip = false;
    if (slower)
        set_limit(a, a->before_limit);
    return slower;
}

static void follow_use(struct adaptive *a, const struct adaptive_window *w)
{
    double wanted = fmax(fmin(ADAPTIVE_START, a->max), 2.0 * w->inflight);
    if (a->limit > wanted)
        set_limit(a, fmax(wanted, a->limit * 0.9));
}

static void move(struct adaptive *a, const struct adaptive_window *w)
{
    double g = fmin(fmax(w->gradient * TOLERANCE, STEEPEST), 1), old = a->limit;
    a->calm = g < 1 ? 0 : a->calm < CALM_MAX ? a->calm + 1 : a->calm;
    if (!w->saturated && g == 1)
        follow_use(a, w);
    else if (w->saturated && a->calm >= CALM)
        set_limit(a, old * 2); /* nobody has waited inside for long: far from the end */
    else
        set_limit(a, fmin(old * g + sqrt(old), w->saturated ? a->max : old));
    if (a->limit < old * 0.8) { /* enough to see whether it helps */
        double now = a->limit;
        a->limit = old;
        compare_next(a, w->gradient, false);
        a->limit = now;
    }
}

enum adaptive_verdict adaptive_update(struct adaptive *a, const struct adaptive_window *w)
{
    bool dipped = a->dip;
    if (a->comparing && compare(a, w->gradient))
        return ADAPTIVE_REBASE;
    if (dipped)
        return ADAPTIVE_OK; /* what was seen at the lower limit says nothing about the other */
    a->since_dip = w->saturated && !w->no_dip && w->gradient < 1 ? a->since_dip + 1 : 0;
    if (a->since_dip < DIP_EVERY) {
        move(a, w);
        return ADAPTIVE_OK;
    }
    a->since_dip = 0;
    compare_next(a, w->gradient, true);
    return ADAPTIVE_OK;
}

/* ---- the baseline ---- */

void baseline_update(struct baseline *b, double mean_ns, enum baseline_window w)
{
    static const double UP[] = { 0.1, 0, 0.3 }, DOWN[] = { 0.1, 0.1, 0.3 };
    if (b->ns == 0)
        b->ns = mean_ns;
    else if (mean_ns < b->ns * 0.6) /* that's no scatter */
        b->ns += (mean_ns - b->ns) * 0.6;
    else
        b->ns += (mean_ns - b->ns) * (mean_ns > b->ns ? UP : DOWN)[w];
}

void baseline_rebase(struct baseline *b, double mean_ns)
{
    if (mean_ns > b->ns)
        b->ns = mean_ns;
}
