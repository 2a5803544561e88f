/* What broken and slow parts do to calls: one instance, a third of a thousand, all of the last hop,
 * and what copies of calls bring. */
#include "test/sim/cells.h"

#include <errno.h>

static const uint64_t EVERY = MS(200);
enum { FIVE = 5 };

struct five { /* a service, and who calls it */
    struct fleet fleet;
    struct client *client;
    struct source source;
    struct traffic_rule rule;
    struct gauge good, bad, sick, attempts, calls;
};

static void look_at_five(struct scenario *s, void *arg)
{
    struct five *x = arg;
    double bad = (double)s->flow.slow;
    for (enum outcome o = CALL_SHED; o < OUTCOMES; o++)
        bad += (double)flow_sum(&s->flow, o);
    double good = gauge_rate(&x->good, (double)(flow_sum(&s->flow, CALL_GOOD)), s->every_ns);
    bad = gauge_rate(&x->bad, bad, s->every_ns);
    double sick = gauge_rate(&x->sick, (double)x->fleet.server[0].arrived, s->every_ns);
    double tries = gauge_rate(&x->attempts, (double)x->client->attempts, s->every_ns);
    double calls = gauge_rate(&x->calls, (double)x->client->calls, s->every_ns);
    scenario_put(s, "calls/s", "good", good);
    scenario_put(s, "calls/s", "failed or slow", bad);
    scenario_put(s, "calls/s", "to the sick one", sick);
    scenario_put(s, "tries a call", "tries a call", calls > 0 ? tries / calls : 1);
}

/* n instances of 8 workers and 10 ms. Slow is ten times as long as usual. */
static void five_open(struct scenario *s, struct five *x, size_t n, double use)
{
    fleet_init(&x->fleet, &s->sim, n, 0, true);
    fleet_work(&x->fleet, 8, 10, true);
    x->client = client_new(&x->fleet, ZONE_UNKNOWN, 0, n);
    x->rule = *traffic_defaults();
    x->client->rule = &x->rule;
    source_init(&x->source, &x->fleet, &x->client, 1, &s->flow);
    source_rate(&x->source, use * (double)n * 800);
    s->flow.slow_ns = MS(100);
    scenario_draw(s, EVERY, look_at_five, x);
}

static void five_close(struct scenario *s, struct five *x)
{
    source_rate(&x->source, 0);
    scenario_end(s, &x->fleet);
}

static double affected_after(struct scenario *s, uint64_t grace, uint64_t ns)
{
    scenario_for(s, grace);
    flow_reset(&s->flow);
    scenario_for(s, ns);
    return flow_affected(&s->flow);
}

/* ---- one instance ---- */

static void grey(struct scenario *s)
{
    struct five x = { 0 };
    five_open(s, &x, FIVE, 0.5);
    double usual = affected_after(s, SEC(1), SEC(4));
    HOLDS(s, usual < 0.001, "%.4f affected before", usual);
    scenario_mark(s, "20 times slower");
    x.fleet.server[0].slow = 20;
    double affected = affected_after(s, SEC(2), SEC(15));
    HOLDS(s, affected < 0.01, "%.4f affected from 2 s on", affected);
    scenario_mark(s, "well again");
    x.fleet.server[0].slow = 1;
    double after = affected_after(s, SEC(2), SEC(8));
    HOLDS(s, after < 0.001, "%.4f affected when it is well again", after);
    scenario_note(s, "%.2f %% affected from 2 s on", 100 * affected);
    five_close(s, &x);
}

TEST(instance_twenty_times_slower_gets_no_calls)
{
    scenario_run("grey_instance", grey, 5);
}

static void failing(struct scenario *s)
{
    struct five x = { 0 };
    five_open(s, &x, FIVE, 0.5);
    scenario_for(s, SEC(5));
    scenario_mark(s, "fails");
    x.fleet.server[0].fail = 1;
    double affected = affected_after(s, SEC(2), SEC(8));
    HOLDS(s, affected < 0.01, "%.4f affected from 2 s on", affected);
    scenario_mark(s, "well again");
    x.fleet.server[0].fail = 0;
    scenario_for(s, SEC(30)); /* at most 16 s, or 32 if it had been out before */
    uint64_t arrived = x.fleet.server[0].arrived;
    scenario_for(s, SEC(10));
    arrived = x.fleet.server[0].arrived - arrived;
    HOLDS(s, arrived > 2000, "%ju calls to it in 10 s when it is well again", (uintmax_t)arrived);
    scenario_note(s, "%.2f %% affected from 2 s on", 100 * affected);
    five_close(s, &x);
}

TEST(instance_that_fails_gets_no_calls)
{
    scenario_run("failing_instance", failing, 5);
}

/* An idempotent call never sees it: what was under way there is asked elsewhere. */
static void killed(struct scenario *s)
{
    struct five x = { 0 };
    five_open(s, &x, FIVE, 0.5);
    scenario_for(s, SEC(5));
    scenario_mark(s, "killed");
    server_kill(&x.fleet.server[0]);
    scenario_for(s, SEC(10));
    scenario_mark(s, "there again");
    server_start(&x.fleet.server[0]);
    scenario_for(s, SEC(10));
    HOLDS(s, flow_good(&s->flow) == 1, "%ju of %ju failed",
          (uintmax_t)flow_sum(&s->flow, CALL_FAILED), (uintmax_t)flow_offered(&s->flow));
    scenario_note(s, "%ju failed of %ju", (uintmax_t)flow_sum(&s->flow, CALL_FAILED),
                  (uintmax_t)flow_offered(&s->flow));
    five_close(s, &x);
}

TEST(killed_instance_fails_no_idempotent_call)
{
    scenario_run("killed_instance", killed, 5);
}

/* ---- a third of a thousand ---- */

static void break_third(struct scenario *s, struct server *of)
{
    for (size_t left = CELL_SIZE / 3; left;) {
        struct server *one = &of[sim_bits(&s->sim) % CELL_SIZE];
        left -= one->fail < 1;
        one->fail = 1;
    }
}

/* Each of the 120 callers finds out by itself which 16 of its 50 are sick. What is left then are
 * the probes after one, three and seven seconds. */
static void correlated(struct scenario *s)
{
    struct cells x = { 0 };
    cells_open(s, &x, 0.5, SEC(5));
    s->flow.slow_ns = SEC(1);
    scenario_draw(s, CELLS_EVERY, cells_look, &x);
    scenario_for(s, SEC(4));
    scenario_mark(s, "a third fails");
    for (size_t cell = 0; cell < CELLS; cell++)
        break_third(s, &x.fleet.server[cell * CELL_SIZE]);
    double at_once = affected_after(s, 0, SEC(2));
    double affected = affected_after(s, 0, SEC(8));
    HOLDS(s, affected < 0.015, "%.4f affected from 2 s on", affected);
    scenario_note(s, "%.2f %% affected in the first 2 s, %.2f %% then", 100 * at_once,
                  100 * affected);
    cells_close(s, &x);
}

TEST(third_of_a_thousand_instances_fails_at_once)
{
    scenario_run("correlated_failure", correlated, 2);
}

/* ---- retries over three hops ---- */

static const struct retry_policy *often(void)
{
    static struct retry_policy p;
    p = retry_defaults();
    p.exponential = true;
    p.initial_ns = MS(50);
    p.max_interval_ns = MS(100);
    p.max_retries = 3;
    return &p;
}

struct chain { /* front → a → b → c, five instances each */
    struct fleet fleet;
    struct client *front;
    struct source source;
    struct gauge offered, good, last;
};

static void look_at_chain(struct scenario *s, void *arg)
{
    struct chain *x = arg;
    uint64_t last = 0;
    for (size_t i = 2 * FIVE; i < 3 * FIVE; i++)
        last += x->fleet.server[i].arrived;
    scenario_put(s, "calls/s", "offered",
                 gauge_rate(&x->offered, (double)flow_offered(&s->flow), s->every_ns));
    scenario_put(s, "calls/s", "goodput",
                 gauge_rate(&x->good, (double)flow_sum(&s->flow, CALL_GOOD), s->every_ns));
    scenario_put(s, "calls/s", "tries at the last hop",
                 gauge_rate(&x->last, (double)last, s->every_ns));
}

struct hop {
    uint64_t calls, attempts;
};

static struct hop hop_of(const struct chain *x, size_t hop)
{
    struct hop h = { 0 };
    if (hop == 0)
        return (struct hop){ x->front->calls, x->front->attempts };
    for (size_t i = (hop - 1) * FIVE; i < hop * FIVE; i++) {
        h.calls += x->fleet.server[i].client->calls;
        h.attempts += x->fleet.server[i].client->attempts;
    }
    return h;
}

static void storm(struct scenario *s)
{
    struct chain x = { 0 };
    struct hop before[3], after;
    double ratio[3];
    fleet_init(&x.fleet, &s->sim, 3 * FIVE, 0, true);
    fleet_work(&x.fleet, 32, 10, true);
    x.front = client_new(&x.fleet, ZONE_UNKNOWN, 0, FIVE);
    x.front->retry = often();
    for (size_t i = 0; i < 2 * FIVE; i++) {
        x.fleet.server[i].client = client_new(&x.fleet, ZONE_UNKNOWN, (i / FIVE + 1) * FIVE, FIVE);
        x.fleet.server[i].client->retry = often();
    }
    source_init(&x.source, &x.fleet, &x.front, 1, &s->flow);
    source_rate(&x.source, 1000);
    scenario_draw(s, EVERY, look_at_chain, &x);
    scenario_for(s, SEC(10));
    for (size_t i = 0; i < 3; i++)
        before[i] = hop_of(&x, i);
    scenario_mark(s, "the last hop fails");
    for (size_t i = 2 * FIVE; i < 3 * FIVE; i++)
        x.fleet.server[i].fail = 1;
    scenario_for(s, SEC(10));
    for (size_t i = 0; i < 3; i++) {
        after = hop_of(&x, i);
        ratio[i] =
            (double)(after.attempts - before[i].attempts) / (double)(after.calls - before[i].calls);
        HOLDS(s, ratio[i] <= 1.2, "%.3f tries a call at hop %zu", ratio[i], i);
    }
    double all =
        (double)(after.attempts - before[2].attempts) / (double)(x.front->calls - before[0].calls);
    HOLDS(s, all <= 1.2, "%.3f tries at the last hop for each call at the front", all);
    scenario_mark(s, "well again");
    for (size_t i = 2 * FIVE; i < 3 * FIVE; i++)
        x.fleet.server[i].fail = 0;
    double bad = affected_after(s, SEC(2), SEC(8));
    HOLDS(s, bad < 0.001, "%.4f fail from 2 s on", bad);
    scenario_note(
        s, "tries a call by hop: %.2f, %.2f, %.2f; at the last one %.2f for each call at the front",
        ratio[0], ratio[1], ratio[2], all);
    source_rate(&x.source, 0);
    scenario_end(s, &x.fleet);
}

TEST(retries_over_three_hops_are_no_storm)
{
    scenario_run("retry_storm", storm, 3);
}

/* ---- copies of calls ---- */

static double hedged(struct scenario *s, bool on, double *ret_p999)
{
    struct five x = { 0 };
    five_open(s, &x, 20, 0.3);
    x.rule.hedge.on = on;
    for (size_t i = 0; i < 20; i++) {
        x.fleet.server[i].method[0].exponential = false;
        x.fleet.server[i].late = 0.01; /* one answer of a hundred, wherever it is from */
        x.fleet.server[i].late_factor = 100;
    }
    source_rate(&x.source, 1000);
    scenario_for(s, SEC(10));
    uint64_t calls = x.client->calls, copies = x.client->copies;
    flow_reset(&s->flow);
    scenario_for(s, SEC(20));
    *ret_p999 = flow_quantile_ms(&s->flow, 0.999);
    double share = (double)(x.client->copies - copies) / (double)(x.client->calls - calls);
    five_close(s, &x);
    return share;
}

static void hedge_off(struct scenario *s)
{
    double p999, copies = hedged(s, false, &p999);
    HOLDS(s, copies == 0 && p999 > 500, "p99.9 %.1f ms: nothing to gain", p999);
    scenario_note(s, "p99.9 %.1f ms without copies", p999);
}

static void hedge_on(struct scenario *s)
{
    double p999, copies = hedged(s, true, &p999);
    HOLDS(s, p999 < 100, "p99.9 %.1f ms", p999);
    HOLDS(s, copies <= 0.05, "%.4f copies a call", copies);
    scenario_note(s, "p99.9 %.1f ms with %.2f %% more calls", p999, 100 * copies);
}

TEST(copies_cut_the_tail)
{
    scenario_run("hedge_off", hedge_off, 1);
    scenario_run("hedge", hedge_on, 3);
}

static void all_slow(struct scenario *s)
{
    struct five x = { 0 };
    five_open(s, &x, FIVE, 0.05);
    x.rule.hedge.on = true;
    scenario_for(s, SEC(10));
    scenario_mark(s, "all are 10 times slower");
    for (size_t i = 0; i < FIVE; i++)
        x.fleet.server[i].slow = 10;
    uint64_t calls = x.client->calls, copies = x.client->copies;
    scenario_for(s, SEC(20));
    calls = x.client->calls - calls;
    copies = x.client->copies - copies;
    double share = (double)copies / (double)calls;
    HOLDS(s, copies <= calls * 5 / 100 + HEDGE_BURST, "%ju copies of %ju calls", (uintmax_t)copies,
          (uintmax_t)calls);
    HOLDS(s, flow_good(&s->flow) > 0.99, "%.4f good", flow_good(&s->flow));
    scenario_note(s, "%.2f %% more calls while all are slow", 100 * share);
    five_close(s, &x);
}

TEST(all_slow_is_no_reason_for_copies)
{
    scenario_run("all_slow", all_slow, 3);
}
