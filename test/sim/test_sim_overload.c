/* What overload does to an app: spikes, users who ask again, half an hour of too much. */
#include "test/sim/scenario.h"

#include <errno.h>
#include <math.h>

static const uint64_t EVERY = MS(200);

struct shop { /* one app, and the sidecar of who calls it */
    struct fleet fleet;
    struct client *client;
    struct source source;
    double capacity;  /* calls a second */
    struct flow seen; /* as flow, but never reset */
    struct gauge offered, good, shed[PRIORITIES];
};

static void look(struct scenario *s, void *arg)
{
    struct shop *x = arg;
    struct admission_stats all = { 0 }, one;
    for (size_t i = 0; i < x->fleet.n_servers; i++) {
        admission_stats(x->fleet.server[i].admission, &one);
        all.limit += one.limit;
        all.inflight += one.inflight;
        for (size_t p = 0; p < PRIORITIES; p++)
            all.by_class[p] += one.by_class[p];
    }
    const char *panel = "calls/s";
    scenario_put(s, panel, "offered",
                 gauge_rate(&x->offered, (double)flow_offered(&s->flow), s->every_ns));
    scenario_put(s, panel, "goodput",
                 gauge_rate(&x->good, (double)flow_sum(&s->flow, CALL_GOOD), s->every_ns));
    scenario_put(s, "shed/s", "critical",
                 gauge_rate(&x->shed[0], (double)all.by_class[0], s->every_ns));
    scenario_put(s, "shed/s", "normal",
                 gauge_rate(&x->shed[2], (double)all.by_class[2], s->every_ns));
    scenario_put(s, "shed/s", "background",
                 gauge_rate(&x->shed[4], (double)all.by_class[4], s->every_ns));
    scenario_put(s, "calls", "limit", all.limit);
    scenario_put(s, "calls", "in the app", all.inflight);
}

static void shop_open(struct scenario *s, struct shop *x, size_t n, unsigned workers, double ms,
                      bool limits)
{
    fleet_init(&x->fleet, &s->sim, n, 0, limits);
    fleet_work(&x->fleet, workers, ms, true);
    x->client = client_new(&x->fleet, ZONE_UNKNOWN, 0, n);
    x->capacity = (double)n * workers * 1000 / ms;
    source_init(&x->source, &x->fleet, &x->client, 1, &s->flow);
    x->source.mix[PRIORITY_CRITICAL] = 0.15;
    x->source.mix[PRIORITY_NORMAL] = 0.35;
    x->source.mix[PRIORITY_BACKGROUND] = 0.5;
}

static void offer(struct scenario *s, struct shop *x, double times, uint64_t ns)
{
    flow_reset(&s->flow);
    source_rate(&x->source, times * x->capacity);
    scenario_for(s, ns);
}

static void shop_close(struct scenario *s, struct shop *x)
{
    source_rate(&x->source, 0);
    scenario_end(s, &x->fleet);
}

/* Of what the app can do. */
static double goodput(const struct scenario *s, const struct shop *x, uint64_t ns)
{
    return (double)flow_sum(&s->flow, CALL_GOOD) / (x->capacity * (double)ns / 1e9);
}

/* ---- a step to 4 and to 20 times the capacity ---- */

static void overload_step(struct scenario *s)
{
    struct shop x = { 0 };
    shop_open(s, &x, 1, 8, 20, true);
    scenario_draw(s, EVERY, look, &x);
    offer(s, &x, 0.5, SEC(10));
    double calm = flow_quantile_ms(&s->flow, 0.99);
    HOLDS(s, flow_good(&s->flow) > 0.999, "%.4f good at half load", flow_good(&s->flow));
    scenario_mark(s, "4 times");
    offer(s, &x, 4, SEC(20));
    double four = goodput(s, &x, SEC(20)), critical = flow_good_of(&s->flow, PRIORITY_CRITICAL);
    double p99 = flow_quantile_ms(&s->flow, 0.99);
    HOLDS(s, four >= 0.9, "goodput %.3f of the capacity at 4 times", four);
    HOLDS(s, critical >= 0.995, "%.4f of the critical at 4 times", critical);
    HOLDS(s, p99 <= 3 * calm, "p99 %.1f ms, unloaded %.1f ms", p99, calm);
    scenario_mark(s, "20 times");
    offer(s, &x, 20, SEC(10));
    double twenty = goodput(s, &x, SEC(10));
    HOLDS(s, twenty >= 0.85, "goodput %.3f of the capacity at 20 times", twenty);
    scenario_mark(s, "back");
    offer(s, &x, 0.5, SEC(2));
    offer(s, &x, 0.5, SEC(8));
    HOLDS(s, flow_good(&s->flow) > 0.995, "%.4f good 2 s after the spike", flow_good(&s->flow));
    scenario_note(s,
                  "goodput %.1f %% at 4x, %.1f %% at 20x; critical %.2f %%; p99 %.0f, calm %.0f ms",
                  100 * four, 100 * twenty, 100 * critical, p99, calm);
    shop_close(s, &x);
}

TEST(overload_step_keeps_goodput_and_the_important)
{
    scenario_run("overload_step", overload_step, 3);
}

/* ---- a tenfold step to an app that has room ---- */

/* It uses a twentieth of what the app can do, then half of it: nobody has to be turned away, though
 * times scatter and the limit is still that of the little load. */
static void step_with_room(struct scenario *s)
{
    struct shop x = { 0 };
    shop_open(s, &x, 1, 100, 20, true);
    scenario_draw(s, EVERY, look, &x);
    offer(s, &x, 0.05, SEC(20));
    scenario_mark(s, "10 times");
    offer(s, &x, 0.5, SEC(1));
    uint64_t shed = flow_sum(&s->flow, CALL_SHED);
    double first = flow_quantile_ms(&s->flow, 0.99);
    offer(s, &x, 0.5, SEC(20));
    shed += flow_sum(&s->flow, CALL_SHED);
    double p99 = flow_quantile_ms(&s->flow, 0.99);
    scenario_mark(s, "back");
    offer(s, &x, 0.05, SEC(20));
    scenario_mark(s, "10 times");
    offer(s, &x, 0.5, SEC(20));
    shed += flow_sum(&s->flow, CALL_SHED);
    scenario_note(s, "%ju turned away; p99 %.0f ms in the first second, then %.0f", (uintmax_t)shed,
                  first, p99);
    HOLDS(s, shed == 0, "%ju turned away though there is room", (uintmax_t)shed);
    HOLDS(s, p99 < 150, "p99 %.1f ms", p99);
    shop_close(s, &x);
}

TEST(step_to_an_app_with_room_is_not_shed)
{
    scenario_run("step_with_room", step_with_room, 5);
}

/* Who turns more away has fewer calls in flight: that mustn't make it look the less busy of the
 * two. */
static void overload_of_two(struct scenario *s)
{
    struct shop x = { 0 };
    shop_open(s, &x, 2, 8, 20, true);
    scenario_draw(s, EVERY, look, &x);
    offer(s, &x, 0.5, SEC(10));
    scenario_mark(s, "4 times");
    offer(s, &x, 4, SEC(20));
    double four = goodput(s, &x, SEC(20)), critical = flow_good_of(&s->flow, PRIORITY_CRITICAL);
    double more = (double)x.fleet.server[0].arrived / (double)x.fleet.server[1].arrived;
    more = more > 1 ? more : 1 / more;
    HOLDS(s, four >= 0.9, "goodput %.3f of the capacity", four);
    HOLDS(s, critical >= 0.99, "%.4f of the critical", critical);
    HOLDS(s, more <= 1.25, "one is asked %.2f times as often", more);
    scenario_note(s, "goodput %.1f %%; critical %.2f %%; one is asked %.2f times as often",
                  100 * four, 100 * critical, more);
    shop_close(s, &x);
}

TEST(overload_of_two_instances)
{
    scenario_run("overload_of_two", overload_of_two, 2);
}

TEST(same_seed_gives_the_same_trace)
{
    scenario_repeats("overload_step", overload_step);
}

/* ---- users who ask again ---- */

/* For 5 s three times as much comes; each call that fails is made again, up to 5 times, and a call
 * counts for nothing after 500 ms. Without limits this is the spike that never ends: the queue is
 * older than anybody waits for it. */
static double metastable(struct scenario *s, bool limits)
{
    struct shop x = { 0 };
    shop_open(s, &x, 2, 8, 20, limits);
    x.source.timeout_ns = MS(500);
    x.source.asks_again = 5;
    x.source.again_ns = 300e6;
    scenario_draw(s, EVERY, look, &x);
    offer(s, &x, 0.8, SEC(10));
    scenario_mark(s, "3 times for 5 s");
    offer(s, &x, 3, SEC(5));
    scenario_mark(s, "back");
    offer(s, &x, 0.8, SEC(5));
    offer(s, &x, 0.8, SEC(20));
    double good = flow_good(&s->flow);
    scenario_note(s, "%.2f %% good from 5 s after the spike on", 100 * good);
    shop_close(s, &x);
    return good;
}

static void metastability(struct scenario *s)
{
    double good = metastable(s, true);
    HOLDS(s, good > 0.99, "%.4f good from 5 s after the spike on", good);
}

/* Shows that the scenario can tell. */
static void metastability_without_limits(struct scenario *s)
{
    double good = metastable(s, false);
    HOLDS(s, good < 0.5, "%.4f good: the spike is too small to show anything", good);
}

TEST(users_who_ask_again_do_not_keep_it_down)
{
    scenario_run("metastability", metastability, 3);
    scenario_run("metastability_without_limits", metastability_without_limits, 1);
}

/* ---- half an hour at twice the capacity ---- */

/* It wanders by some calls; what it mustn't do is to go up and up, with the calls that wait inside.
 */
static void limiter_drift(struct scenario *s)
{
    struct shop x = { 0 };
    double ten[3] = { 0 }, least = 1; /* the mean limit of each ten minutes */
    struct admission_stats now;
    shop_open(s, &x, 1, 8, 40, true);
    scenario_draw(s, SEC(6), look, &x);
    offer(s, &x, 2, SEC(60));
    for (int minute = 0; minute < 30; minute++) {
        offer(s, &x, 2, 0);
        for (int i = 0; i < 60; i++) {
            scenario_for(s, SEC(1));
            admission_stats(x.fleet.server[0].admission, &now);
            ten[minute / 10] += now.limit / 600.0;
        }
        least = fmin(least, goodput(s, &x, SEC(60)));
    }
    HOLDS(s, least > 0.94, "goodput %.3f of the capacity in the worst minute", least);
    HOLDS(s, ten[2] < ten[0] * 1.6, "limit %.1f, at first %.1f", ten[2], ten[0]);
    HOLDS(s, ten[2] < 3 * 8, "limit %.1f for 8 workers", ten[2]);
    scenario_note(s,
                  "goodput %.1f %% in the worst minute; limit %.1f, %.1f, %.1f in ten minutes each",
                  100 * least, ten[0], ten[1], ten[2]);
    shop_close(s, &x);
}

TEST(limit_does_not_drift_in_half_an_hour)
{
    scenario_run("limiter_drift", limiter_drift, 1);
}
