/* An app whose number of instances follows the load: a step, a wave, spikes, and a metric that
 * isn't there for a while. */
#include "test/sim/scenario.h"

#include "policy/scale.h"

#include <errno.h>
#include <math.h>

enum { INSTANCES = 20 };
static const uint64_t EVERY = SEC(1), TICK = MS(1500), START = SEC(2), COUNT_EVERY = MS(250);

struct grown { /* an app under Scale; 100 ms a call, and the default target: ten calls at once */
    struct fleet fleet;
    struct client *client;
    struct source source;
    struct scale scale;
    struct scale_rule rule;
    struct event tick, count;
    uint64_t ready_ns[INSTANCES]; /* the first n are there, and take calls from then on */
    unsigned n, most, changes;    /* changes: of direction */
    int direction;
    bool deaf;  /* nothing is known of the app */
    bool stuck; /* instances are wanted, and none can be started */
    uint64_t done, shed, started, seconds;
    struct gauge offered, good, bad;
};

/* ---- the app ---- */

static unsigned ready(const struct grown *x)
{
    unsigned n = 0;
    for (unsigned i = 0; i < x->n; i++)
        n += x->ready_ns[i] <= x->fleet.sim->now;
    return n;
}

static struct scale_sample measure(struct grown *x)
{
    struct scale_sample ret = { .instances = x->n, .ready = ready(x), .done = NAN, .unmet = NAN };
    uint64_t done = 0, shed = 0;
    double inside = 0, waiting = 0, seconds = (double)TICK / 1e9;
    for (size_t i = 0; i < INSTANCES; i++) {
        struct admission_stats one;
        admission_stats(x->fleet.server[i].admission, &one);
        inside += (double)one.all;
        waiting += (double)one.queued;
        done += x->fleet.server[i].done;
        for (size_t p = 0; p < PRIORITIES; p++)
            shed += one.by_class[p];
    }
    for (size_t m = 0; m < SCALE_METRICS; m++)
        ret.value[m] = NAN;
    double done_s = (double)(done - x->done) / seconds, shed_s = (double)(shed - x->shed) / seconds;
    x->done = done;
    x->shed = shed;
    if (x->deaf)
        return ret;
    ret.done = done_s;
    ret.unmet = waiting + shed_s;
    ret.value[SCALE_CONCURRENCY] = inside + waiting + shed_s * 0.1;
    return ret;
}

static void resize(struct grown *x, unsigned to)
{
    int direction = to > x->n ? 1 : -1;
    if (to == x->n || x->stuck)
        return;
    x->changes += x->direction && direction != x->direction;
    x->direction = direction;
    for (; x->n > to; x->n--)
        client_forget(x->client, &x->fleet.server[x->n - 1]);
    for (; x->n < to; x->n++, x->started++)
        x->ready_ns[x->n] = x->fleet.sim->now + START;
    x->most = to > x->most ? to : x->most;
}

static void tick(struct sim *s, struct event *e)
{
    struct grown *x = CONTAINER_OF(e, struct grown, tick);
    struct scale_decision d;
    for (unsigned i = 0; i < x->n; i++)
        if (x->ready_ns[i] <= s->now)
            client_meet(x->client, &x->fleet.server[i]);
    const struct scale_sample sample = measure(x);
    scale_decide(&x->scale, &x->rule, &sample, s->now, &d);
    resize(x, d.desired);
    sim_after(s, e, TICK);
}

/* What sidecars do: src/runtime/relief.c. */
static void count(struct sim *s, struct event *e)
{
    struct grown *x = CONTAINER_OF(e, struct grown, count);
    const struct relief_facts facts = { ready(x), x->rule.max,
                                        x->rule.panic_ns + 2 * START + SEC(3) };
    for (size_t i = 0; i < INSTANCES; i++)
        admission_relief(x->fleet.server[i].admission, &facts, s->now);
    sim_after(s, e, COUNT_EVERY);
}

static void look(struct scenario *s, void *arg)
{
    struct grown *x = arg;
    double bad = 0;
    for (enum outcome o = CALL_SHED; o < OUTCOMES; o++)
        bad += (double)flow_sum(&s->flow, o);
    x->seconds += x->n;
    scenario_put(s, "calls/s", "offered",
                 gauge_rate(&x->offered, (double)flow_offered(&s->flow), s->every_ns));
    scenario_put(s, "calls/s", "goodput",
                 gauge_rate(&x->good, (double)flow_sum(&s->flow, CALL_GOOD), s->every_ns));
    scenario_put(s, "calls/s", "failed or shed", gauge_rate(&x->bad, bad, s->every_ns));
    scenario_put(s, "instances", "there", x->n);
    scenario_put(s, "instances", "ready", ready(x));
}

static void grown_open(struct scenario *s, struct grown *x, unsigned workers, bool exponential,
                       double per_s)
{
    fleet_init(&x->fleet, &s->sim, INSTANCES, 0, true);
    fleet_work(&x->fleet, workers, 100, exponential);
    scale_rule_defaults(&x->rule);
    x->rule.max = INSTANCES;
    x->n = x->most = 1;
    x->client = client_new(&x->fleet, ZONE_UNKNOWN, 0, 1);
    x->tick.fn = tick;
    x->count.fn = count;
    source_init(&x->source, &x->fleet, &x->client, 1, &s->flow);
    source_rate(&x->source, per_s);
    scenario_draw(s, EVERY, look, x);
    sim_after(&s->sim, &x->tick, TICK);
    sim_after(&s->sim, &x->count, COUNT_EVERY);
}

static void grown_close(struct scenario *s, struct grown *x)
{
    source_rate(&x->source, 0);
    sim_cancel(&s->sim, &x->tick);
    sim_cancel(&s->sim, &x->count);
    scenario_end(s, &x->fleet);
}

/* ---- 1, 10, 1 ---- */

struct stepped {
    unsigned grown;
    double waited_ms;      /* the longest within 5 s after the step */
    double p99_ms;         /* of calls that began 5 s after the step or later */
    uint64_t first, later; /* turned away within 5 s after the step, and at any other time */
};

/* *ret is filled; what both kinds of app have to hold is checked. */
static void step(struct scenario *s, struct grown *x, unsigned workers, unsigned most,
                 struct stepped *ret)
{
    grown_open(s, x, workers, false, 50);
    scenario_for(s, SEC(90));
    HOLDS(s, x->n == 1, "%u instances for a load of one", x->n);
    scenario_mark(s, "10 times");
    source_rate(&x->source, 500);
    scenario_for(s, SEC(5));
    ret->first = flow_sum(&s->flow, CALL_FAILED) + flow_sum(&s->flow, CALL_SHED);
    ret->waited_ms = flow_quantile_ms(&s->flow, 1);
    flow_reset(&s->flow);
    s->flow.since_ns = s->sim.now;
    scenario_for(s, SEC(85));
    ret->grown = x->n;
    ret->p99_ms = flow_quantile_ms(&s->flow, 0.99);
    HOLDS(s, ret->grown >= 5 && ret->grown <= most, "%u instances for a load of 5", ret->grown);
    HOLDS(s, ret->p99_ms < 200, "p99 %.0f ms from 5 s after the step on", ret->p99_ms);
    scenario_mark(s, "back");
    source_rate(&x->source, 50);
    scenario_for(s, SEC(125));
    ret->later = flow_sum(&s->flow, CALL_FAILED) + flow_sum(&s->flow, CALL_SHED);
    HOLDS(s, x->n == 1, "%u instances 125 s after the load has gone", x->n);
    HOLDS(s, x->changes <= 2, "%u changes of direction", x->changes);
    HOLDS(s, ret->later == 0, "%ju calls were turned away though there was room",
          (uintmax_t)ret->later);
    scenario_note(s, "1, %u, 1 instances; p99 %.0f ms; %u change of direction; %ju turned away",
                  ret->grown, ret->p99_ms, x->changes, (uintmax_t)(ret->first + ret->later));
    grown_close(s, x);
}

/* An app that waits more than it works, as most do: one instance can do all of it, if slowly. */
static void step_with_room(struct scenario *s)
{
    struct grown x = { 0 };
    struct stepped r;
    step(s, &x, 64, 7, &r);
    HOLDS(s, r.first == 0, "%ju calls were turned away", (uintmax_t)r.first);
}

TEST(step_of_ten_is_followed_both_ways)
{
    scenario_run("scale_step", step_with_room, 3);
}

/* One instance can do a third of it: until the others are there two thirds wait for them, and since
 * what waits is demand, more are started than are needed then. */
static void step_beyond(struct scenario *s)
{
    struct grown x = { 0 };
    struct stepped r;
    step(s, &x, 16, INSTANCES, &r);
    HOLDS(s, r.waited_ms > 1000, "no call waited for more than %.0f ms: it was no step",
          r.waited_ms);
    HOLDS(s, r.first == 0, "%ju calls were turned away", (uintmax_t)r.first);
}

TEST(step_beyond_what_one_can_do_is_over_in_five_seconds)
{
    scenario_run("scale_step_beyond", step_beyond, 3);
}

/* ---- more than it can do, and nobody comes ---- */

/* Calls wait in vain first, and now and then again; else the app is protected as any other. */
static void in_vain(struct scenario *s)
{
    struct grown x = { .stuck = true };
    grown_open(s, &x, 16, false, 50);
    scenario_for(s, SEC(30));
    scenario_mark(s, "10 times");
    source_rate(&x.source, 500);
    scenario_for(s, SEC(20));
    flow_reset(&s->flow);
    scenario_for(s, SEC(40));
    double good = (double)flow_sum(&s->flow, CALL_GOOD) / (160 * 40);
    double p99_ms = flow_quantile_ms(&s->flow, 0.99);
    HOLDS(s, good > 0.9, "%.3f of what can be done", good);
    HOLDS(s, p99_ms < 500, "p99 %.0f ms of what is done", p99_ms);
    flow_reset(&s->flow);
    scenario_for(s, SEC(600));
    good = (double)flow_sum(&s->flow, CALL_GOOD) / (160 * 600);
    HOLDS(s, good > 0.9, "%.3f of what can be done in the long run", good);
    scenario_note(s, "p99 %.0f ms, in ten minutes p80 %.0f ms and %.1f %% of what can be done",
                  p99_ms, flow_quantile_ms(&s->flow, 0.8), 100 * good);
    grown_close(s, &x);
}

TEST(app_that_gets_no_help_is_protected_as_any_other)
{
    scenario_run("scale_in_vain", in_vain, 2);
}

/* ---- a wave ---- */

static void wave(struct scenario *s)
{
    struct grown x = { 0 };
    grown_open(s, &x, 16, true, 400);
    scenario_for(s, SEC(60));
    x.changes = 0;
    flow_reset(&s->flow);
    for (int i = 0; i < 240; i++) { /* two waves of ten minutes */
        source_rate(&x.source, 400 + 320 * sin(i * 2 * M_PI / 120));
        scenario_for(s, SEC(5));
    }
    double good = flow_good(&s->flow);
    HOLDS(s, x.changes <= 6, "%u changes of direction in two waves", x.changes);
    HOLDS(s, good > 0.999, "%.4f good", good);
    scenario_note(s, "%.2f %% good; %u changes of direction in two waves; %u starts", 100 * good,
                  x.changes, (unsigned)x.started);
    grown_close(s, &x);
}

TEST(wave_is_followed_without_flapping)
{
    scenario_run("scale_wave", wave, 2);
}

/* ---- spikes ---- */

/* Ten times the load for ten seconds of each minute: after the first one the app stays large. */
static void spikes(struct scenario *s)
{
    struct grown x = { 0 };
    grown_open(s, &x, 16, true, 50);
    scenario_for(s, SEC(60));
    double first = 0, later;
    for (int i = 0; i < 8; i++) {
        source_rate(&x.source, 500);
        scenario_for(s, SEC(10));
        source_rate(&x.source, 50);
        scenario_for(s, SEC(50));
        if (i == 0) {
            first = flow_good(&s->flow);
            flow_reset(&s->flow);
        }
    }
    later = flow_good(&s->flow);
    HOLDS(s, later > 0.999, "%.4f good after the first spike", later);
    HOLDS(s, x.changes <= 1, "%u changes of direction", x.changes);
    scenario_note(s,
                  "%.1f %% good with the first spike, %.2f %% with seven more; up to %u instances",
                  100 * first, 100 * later, x.most);
    grown_close(s, &x);
}

TEST(spike_train_keeps_the_app_large)
{
    scenario_run("scale_spikes", spikes, 2);
}

/* ---- nothing is known ---- */

static void deaf(struct scenario *s)
{
    struct grown x = { 0 };
    grown_open(s, &x, 16, true, 400);
    scenario_for(s, SEC(300)); /* the load comes at once: more are started than are needed then */
    unsigned before = x.n;
    scenario_mark(s, "metrics are lost");
    x.deaf = true;
    scenario_for(s, SEC(300));
    HOLDS(s, x.n == before, "%u instances, %u before", x.n, before);
    scenario_mark(s, "there again");
    x.deaf = false;
    scenario_for(s, SEC(120));
    HOLDS(s, x.n == before, "%u instances in the end, %u before", x.n, before);
    HOLDS(s, flow_good(&s->flow) > 0.95, "%.4f good", flow_good(&s->flow));
    scenario_note(s, "%u instances before, while and after", before);
    grown_close(s, &x);
}

TEST(lost_metric_holds_the_number)
{
    scenario_run("scale_metric_loss", deaf, 2);
}
