#include "policy/outlier.h"

#include <math.h>
#include <stdlib.h>

enum {
    FULL = 1000,       /* a weight, or a share, of one */
    NAT = 1000,        /* evidence */
    EXPECTED_MIN = 20, /* a healthy instance may fail 2 calls of 100 … */
    EXPECTED_MAX = 900,
    BROKEN = 500,       /* … and a broken one fails half of them, or more */
    SWEEP_MAX = 256,    /* instances that are compared */
    START_WEIGHT = 100, /* slow start begins with a tenth */
    GOOD_TIMES = 10,    /* after so many times its length an ejection is forgotten */
    HEARD_SWEEPS = 40,  /* for so long an instance counts that gets no calls */
};

#define GET(field) atomic_load_explicit(&(field), memory_order_relaxed)
#define SET(field, value) atomic_store_explicit(&(field), (value), memory_order_relaxed)

/* Likelihood that a call is bad at a broken instance, where `expected` is that of a healthy one. */
static double broken(double expected)
{
    double halfway = (1 + expected) / 2;
    return halfway > BROKEN / 1000.0 ? halfway : BROKEN / 1000.0;
}

static int32_t gain_bad(double expected)
{
    return (int32_t)(NAT * log(broken(expected) / expected));
}

static int32_t gain_good(double expected)
{
    return (int32_t)(NAT * log((1 - broken(expected)) / (1 - expected)));
}

static int32_t threshold(const struct outlier_config *c)
{
    return gain_bad(EXPECTED_MIN / 1000.0) * (int32_t)c->failures;
}

/* ---- ejection and return ---- */

static uint64_t time_of(const struct outlier_config *c, uint32_t in_a_row, double unit)
{
    double ns = ldexp((double)c->eject_ns, (int)(in_a_row < 32 ? in_a_row : 32));
    if (ns > (double)c->eject_max_ns)
        ns = (double)c->eject_max_ns;
    return (uint64_t)(ns * (0.9 + 0.2 * unit));
}

bool outlier_peers_are_well(const struct outlier_group *g)
{
    return GET(g->expected) < BROKEN;
}

/* Times grow only while it is this instance that's to blame. */
static void eject(const struct outlier_config *c, const struct outlier_group *g, struct outlier *o,
                  bool again, uint64_t now_ns, double unit)
{
    uint32_t row = GET(o->in_a_row);
    uint64_t back = GET(o->returned_ns);
    if (!outlier_peers_are_well(g) || (!again && now_ns - back > GOOD_TIMES * time_of(c, row, 0.5)))
        row = 0;
    uint64_t ns = time_of(c, row, unit);
    SET(o->in_a_row, row + 1);
    SET(o->evidence, 0);
    SET(o->ejected_ns, now_ns);
    SET(o->until_ns, now_ns + (ns ? ns : 1));
}

/* It comes back on probation: half of the evidence ejects it again. */
static void come_back(const struct outlier_config *c, struct outlier *o, uint64_t now_ns)
{
    SET(o->evidence, threshold(c) / 2);
    SET(o->returned_ns, now_ns);
    SET(o->unreachable, false);
    SET(o->until_ns, 0);
}

/* ---- one call ---- */

/* A slow call says half of what a failed one does: a busy machine makes some, now here, now there.
 */
static int32_t weigh(const struct outlier_group *g, enum outlier_result result)
{
    int32_t bad = GET(g->gain_bad), good = GET(g->gain_good);
    if (!bad) {
        bad = gain_bad(EXPECTED_MIN / 1000.0);
        good = gain_good(EXPECTED_MIN / 1000.0);
    }
    return result == OUTLIER_OK ? good : result == OUTLIER_SLOW ? bad / 2 : bad;
}

static int32_t add_evidence(struct outlier *o, int32_t gain, int32_t most)
{
    int32_t old = GET(o->evidence), new;
    do
        new = old + gain < 0 ? 0 : old + gain > most ? most : old + gain;
    while (old != new && !atomic_compare_exchange_weak_explicit(
                             &o->evidence, &old, new, memory_order_relaxed, memory_order_relaxed));
    return new;
}

/* Of an ejected one: its probe, or a call in panic. */
static void judge_ejected(const struct outlier_config *c, struct outlier_group *g,
                          struct outlier *o, enum outlier_result result, uint64_t now_ns,
                          double unit)
{
    SET(o->probing, false);
    if (result == OUTLIER_OK)
        come_back(c, o, now_ns);
    else if (now_ns >= GET(o->until_ns))
        eject(c, g, o, true, now_ns, unit);
    if (result != OUTLIER_OK)
        SET(o->unreachable, result == OUTLIER_UNREACHABLE);
}

bool outlier_record(const struct outlier_config *c, struct outlier_group *g, struct outlier *o,
                    enum outlier_result result, uint64_t start_ns, uint64_t now_ns, double unit)
{
    bool bad = result != OUTLIER_OK;
    atomic_fetch_add_explicit(bad ? &o->bad : &o->good, 1, memory_order_relaxed);
    if (GET(o->until_ns)) {
        if (start_ns >= GET(o->ejected_ns))
            judge_ejected(c, g, o, result, now_ns, unit);
        return false;
    }
    if (!bad && GET(o->evidence) == 0)
        return false; /* the common way */
    int32_t evidence = add_evidence(o, weigh(g, result), threshold(c));
    bool to_blame = GET(g->n) >= 2 && c->failures && outlier_peers_are_well(g);
    bool out = result == OUTLIER_UNREACHABLE || (bad && to_blame && evidence >= threshold(c));
    if (!out)
        return false;
    SET(o->unreachable, result == OUTLIER_UNREACHABLE);
    eject(c, g, o, false, now_ns, unit);
    return true;
}

void outlier_forget(struct outlier *o)
{
    SET(o->probing, false);
}

enum outlier_state outlier_state(const struct outlier_config *c, const struct outlier *o,
                                 uint64_t now_ns)
{
    uint64_t until = GET(o->until_ns), back = GET(o->returned_ns);
    if (until)
        return now_ns < until ? OUTLIER_EJECTED : OUTLIER_PROBE_DUE;
    return back && now_ns - back < c->slow_start_ns ? OUTLIER_SLOW_START : OUTLIER_IN;
}

bool outlier_probe(struct outlier *o)
{
    bool none = false;
    return atomic_compare_exchange_strong_explicit(&o->probing, &none, true, memory_order_relaxed,
                                                   memory_order_relaxed);
}

uint32_t outlier_weight(const struct outlier_config *c, const struct outlier *o, uint64_t now_ns)
{
    if (GET(o->until_ns))
        return 0;
    uint64_t back = GET(o->returned_ns);
    if (!back || now_ns - back >= c->slow_start_ns)
        return FULL;
    uint64_t since = now_ns > back ? now_ns - back : 0;
    return START_WEIGHT +
           (uint32_t)((double)(FULL - START_WEIGHT) * (double)since / (double)c->slow_start_ns);
}

/* ---- all of them ---- */

static int ascending(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

/* What was counted since the last sweep joins the share, half and half. False: what is known of it
 * is no measure for others. An instance that few calls are sent to, such as one of another zone,
 * isn't heard of in each sweep. */
static bool update_share(struct outlier *o)
{
    uint32_t good = atomic_exchange_explicit(&o->good, 0, memory_order_relaxed);
    uint32_t bad = atomic_exchange_explicit(&o->bad, 0, memory_order_relaxed);
    uint64_t all = (uint64_t)good + bad;
    uint32_t heard = GET(o->heard);
    if (!all && heard)
        SET(o->heard, heard - 1);
    if (!all)
        return heard && !GET(o->until_ns);
    SET(o->heard, HEARD_SWEEPS);
    uint32_t now = (uint32_t)(bad * (uint64_t)FULL / all);
    SET(o->share, (GET(o->share) + now + 1) / 2);
    return true;
}

/* The lower median is what a healthy one looks like: up to half of them may be broken. */
void outlier_sweep(struct outlier_group *g, struct outlier *const *o, size_t n)
{
    uint32_t share[SWEEP_MAX];
    size_t seen = 0;
    for (size_t i = 0; i < n; i++)
        if (update_share(o[i]) && seen < SWEEP_MAX)
            share[seen++] = GET(o[i]->share);
    SET(g->n, (uint32_t)n);
    if (seen < 2)
        return; /* nothing to compare with */
    qsort(share, seen, sizeof *share, ascending);
    uint32_t expected = share[(seen - 1) / 2];
    expected = expected < EXPECTED_MIN   ? EXPECTED_MIN
               : expected > EXPECTED_MAX ? EXPECTED_MAX
                                         : expected;
    SET(g->expected, expected);
    SET(g->gain_bad, gain_bad(expected / 1000.0));
    SET(g->gain_good, gain_good(expected / 1000.0));
}
