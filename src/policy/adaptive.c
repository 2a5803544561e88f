#include "policy/adaptive.h"

#include <math.h>

/* TOLERANCE: so much above the baseline is no queue; nor is what may be scatter, by ERRORS standard
 * errors of the mean, SCATTER_MAX at most. STEEPEST: the most that one
 * window takes off. A dip takes a quarter off: its effect on latency shows above the scatter, and
 * the queue in front fills in. */
static const double TOLERANCE = 1.1, ERRORS = 2, SCATTER_MAX = 2, STEEPEST = 0.3;
/* Less than that isn't chance any more: somebody waits inside. */
static const double CLEAR = 0.8;
/* A dip goes a little below what the callee seems to do at once without a queue. */
static const double DIP = 0.9, DIP_MIN = 0.5, DIP_MAX = 0.85;
/* Below it a change of latency has little to do with the limit; in a queue it is 1. */
static const double ELASTIC = 0.35, LEAST_ERROR = 0.05, SURE = 5; /* SURE: 150 times as likely */
enum { DIP_EVERY = 16, CALM = 6, CALM_MAX = 32 };

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

static double tolerance(double scatter)
{
    return fmax(TOLERANCE, fmin(1 + ERRORS * scatter, SCATTER_MAX));
}

bool adaptive_is_calm(const struct adaptive_window *w)
{
    return w->gradient * tolerance(w->scatter) >= 1;
}

/* By how much of the change of the limit did the latency change? In a queue both go together, so
 * the gradient rises as the limit falls. Says how much likelier it is that calls are slower by
 * themselves, as a logarithm: what may be chance weighs little. */
static double likelier(const struct adaptive *a, double limit, const struct adaptive_window *w)
{
    double lowered = log(a->before_limit / limit), gained = log(w->gradient / a->before_gradient);
    double error = fmax(hypot(a->before_scatter, w->scatter), LEAST_ERROR);
    return lowered * (ELASTIC * lowered - gained) / (error * error);
}

static void compare_next(struct adaptive *a, const struct adaptive_window *w, bool dip)
{
    a->before_limit = a->limit;
    a->before_gradient = w->gradient;
    a->before_scatter = w->scatter;
    a->comparing = true;
    a->dip = dip;
}

/* The window after a lower limit: what dips show adds up; a limit that falls for several windows is
 * compared with where it began. True: the baseline was wrong, and the limit goes back. */
static bool compare(struct adaptive *a, const struct adaptive_window *w)
{
    double limit = adaptive_limit(a), sum = a->slower;
    if (adaptive_is_calm(w))
        sum = 0;
    else if (limit < a->before_limit * 0.9)
        sum = fmax(sum + likelier(a, limit, w), 0);
    a->fell = a->dip ? 0 : sum;
    if (a->dip || sum == 0)
        a->slower = sum;
    a->comparing = a->dip = false;
    if (sum < SURE)
        return false;
    a->slower = 0;
    a->falling = false;
    set_limit(a, a->before_limit);
    return true;
}

static void follow_use(struct adaptive *a, const struct adaptive_window *w)
{
    double wanted = fmax(fmin(ADAPTIVE_START, a->max), 2.0 * w->inflight);
    if (a->limit > wanted)
        set_limit(a, fmax(wanted, a->limit * 0.9));
}

/* One window that is a little slower may be chance: it takes no more than half of the trust, and
 * none where the limit held nobody back, since that says nothing about more calls at once. */
static void note_calm(struct adaptive *a, double g, bool saturated)
{
    if (g < CLEAR)
        a->calm = 0;
    else if (g == 1)
        a->calm += a->calm < CALM_MAX;
    else if (saturated)
        a->calm /= 2;
}

static void move(struct adaptive *a, const struct adaptive_window *w)
{
    double g = fmin(fmax(w->gradient * tolerance(w->scatter), STEEPEST), 1), old = a->limit;
    note_calm(a, g, w->saturated);
    if (!w->saturated && g == 1)
        follow_use(a, w);
    else if (w->saturated && a->was_saturated && a->calm >= CALM)
        set_limit(a, old * 2); /* nobody has waited inside for long: far from the end */
    else if (w->saturated)
        set_limit(a, old * g + sqrt(old));
    else /* nobody is held back: what is slow has no more than a hint in it */
        set_limit(a, fmin(fmax(old * g + sqrt(old), ADAPTIVE_START), old));
    a->was_saturated = w->saturated;   /* the first such window has calls of before in it */
    bool falls = a->limit < old * 0.8; /* enough to see whether it helps */
    if (falls && !a->falling) {
        double now = a->limit;
        a->limit = old;
        compare_next(a, w, false);
        a->limit = now;
    }
    if (!falls) {
        a->slower = fmax(a->slower, a->fell);
        a->fell = 0;
    }
    a->comparing = a->falling = falls;
}

enum adaptive_verdict adaptive_update(struct adaptive *a, const struct adaptive_window *w)
{
    bool dipped = a->dip;
    if (a->comparing && compare(a, w))
        return ADAPTIVE_REBASE;
    if (dipped)
        return ADAPTIVE_OK; /* what was seen at the lower limit says nothing about the other */
    a->since_dip = w->saturated && !w->no_dip && w->gradient < 1 ? a->since_dip + 1 : 0;
    if (a->since_dip < DIP_EVERY) {
        move(a, w);
        return ADAPTIVE_OK;
    }
    a->since_dip = 0;
    a->falling = false;
    compare_next(a, w, true);
    return ADAPTIVE_OK;
}

/* ---- the baseline ---- */

void baseline_update(struct baseline *b, double mean_ns, enum baseline_window w)
{
    static const double UP[] = { 0.1, 0, 0.03, 0.3 }, DOWN[] = { 0.1, 0.1, 0.1, 0.3 };
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
