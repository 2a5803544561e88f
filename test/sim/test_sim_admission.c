/* One app behind its admission: methods, deliveries, deadlines, and an app that stands still. */
#include "test/sim/scenario.h"

#include <errno.h>

struct app {
    struct fleet fleet;
    struct client *client;
    struct source source, other;
    struct flow other_flow;
};

static void app_open(struct scenario *s, struct app *x, unsigned workers, double ms)
{
    fleet_init(&x->fleet, &s->sim, 1, 0, true);
    fleet_work(&x->fleet, workers, ms, false);
    x->client = client_new(&x->fleet, ZONE_UNKNOWN, 0, 1);
    source_init(&x->source, &x->fleet, &x->client, 1, &s->flow);
    source_init(&x->other, &x->fleet, &x->client, 1, &x->other_flow);
}

static void app_close(struct scenario *s, struct app *x)
{
    source_rate(&x->source, 0);
    source_rate(&x->other, 0);
    scenario_end(s, &x->fleet);
    flow_done(&x->other_flow);
}

static void run(struct scenario *s, struct app *x, double per_s, double other_s, uint64_t ns)
{
    flow_reset(&s->flow);
    flow_reset(&x->other_flow);
    source_rate(&x->source, per_s);
    source_rate(&x->other, other_s);
    scenario_for(s, ns);
}

/* It can do 200,000 calls a second. Then what it waits for becomes slow. */
static void boundless(struct scenario *s)
{
    struct app x = { 0 };
    app_open(s, &x, 4000, 20);
    run(s, &x, 10, 0, SEC(5));
    run(s, &x, 10000, 0, SEC(2)); /* from one to two hundred at once */
    run(s, &x, 10000, 0, SEC(3));
    HOLDS(s, flow_good(&s->flow) == 1, "%.4f good", flow_good(&s->flow));
    HOLDS(s, flow_quantile_ms(&s->flow, 0.99) < 25, "p99 %.1f ms",
          flow_quantile_ms(&s->flow, 0.99));
    x.fleet.server[0].slow = 8;
    run(s, &x, 10000, 0, SEC(20));
    run(s, &x, 10000, 0, SEC(5));
    HOLDS(s, flow_good(&s->flow) > 0.95, "%.4f good when it is slower", flow_good(&s->flow));
    app_close(s, &x);
}

TEST(app_without_a_limit_of_its_own_is_not_held_back)
{
    scenario_run("boundless", boundless, 1);
}

static void two_methods(struct scenario *s)
{
    struct app x = { 0 };
    app_open(s, &x, 100, 10);
    x.other.method = 1;
    x.fleet.server[0].method[1].service_ns = 400e6; /* needs 400 workers */
    run(s, &x, 100, 1000, SEC(10));
    run(s, &x, 100, 1000, SEC(20));
    double fast = (double)flow_sum(&s->flow, CALL_GOOD) / (100 * 20);
    double slow = (double)flow_sum(&x.other_flow, CALL_GOOD) / (250 * 20);
    HOLDS(s, fast > 0.8, "%.3f of the fast ones", fast);
    HOLDS(s, slow > 0.65, "%.3f of what can be done of the slow ones", slow);
    scenario_note(s, "%.3f of the fast ones, %.3f of what can be done of the slow ones", fast,
                  slow);
    app_close(s, &x);
}

TEST(slow_method_does_not_starve_a_fast_one)
{
    scenario_run("two_methods", two_methods, 2);
}

static void deliveries(struct scenario *s)
{
    struct app x = { 0 };
    app_open(s, &x, 8, 20);
    x.other.patient = true;
    x.other.mix[PRIORITY_NORMAL] = 0;
    x.other.mix[PRIORITY_LOW] = 1;
    run(s, &x, 1600, 30, SEC(20));
    uint64_t done = flow_sum(&x.other_flow, CALL_GOOD), offered = flow_offered(&x.other_flow);
    double good = (double)flow_sum(&s->flow, CALL_GOOD) / (370 * 20);
    HOLDS(s, flow_sum(&x.other_flow, CALL_SHED) == 0, "deliveries are turned away");
    HOLDS(s, done > 0.9 * (double)offered, "%ju of %ju deliveries", (uintmax_t)done,
          (uintmax_t)offered);
    HOLDS(s, good > 0.9, "%.3f of what can be done", good);
    app_close(s, &x);
}

TEST(deliveries_wait_and_go_on_under_overload)
{
    scenario_run("deliveries", deliveries, 2);
}

static void deadlines(struct scenario *s)
{
    struct app x = { 0 };
    app_open(s, &x, 8, 20);
    x.source.timeout_ns = MS(200);
    run(s, &x, 1600, 0, SEC(10));
    double good = (double)flow_sum(&s->flow, CALL_GOOD) / (400 * 10);
    HOLDS(s, x.fleet.server[0].began_late == 0, "%ju calls are begun too late",
          (uintmax_t)x.fleet.server[0].began_late);
    HOLDS(s, good > 0.85, "%.3f of what can be done", good);
    app_close(s, &x);
}

TEST(nothing_is_begun_after_its_deadline)
{
    scenario_run("deadlines", deadlines, 2);
}

static void stall(struct scenario *s)
{
    struct app x = { 0 };
    app_open(s, &x, 8, 20);
    run(s, &x, 300, 0, SEC(5));
    x.fleet.server[0].stall_ns = s->sim.now + SEC(3);
    run(s, &x, 300, 0, SEC(4));
    run(s, &x, 300, 0, SEC(5));
    HOLDS(s, flow_good(&s->flow) > 0.98, "%.4f good", flow_good(&s->flow));
    app_close(s, &x);
}

TEST(app_that_stands_still_for_a_while_comes_back)
{
    scenario_run("stall", stall, 2);
}
