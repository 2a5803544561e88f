/* A thousand instances in three zones: one zone goes, comes back, freezes, and flaps. */
#include "test/sim/cells.h"

#include <errno.h>
#include <math.h>

enum { B = 1 };

static void zone_kill(struct cells *x, unsigned zone)
{
    for (size_t i = zone; i < CELLS_SERVERS; i += CELLS_ZONES)
        server_kill(&x->fleet.server[i]);
}

static void zone_start(struct cells *x, unsigned zone)
{
    for (size_t i = zone; i < CELLS_SERVERS; i += CELLS_ZONES)
        server_start(&x->fleet.server[i]);
}

static uint64_t arrived(const struct cells *x, unsigned zone)
{
    uint64_t n = 0;
    for (size_t i = zone; i < CELLS_SERVERS; i += CELLS_ZONES)
        n += x->fleet.server[i].arrived;
    return n;
}

/* The mean use of a zone's workers over some seconds. */
static void mean_use(struct scenario *s, struct cells *x, unsigned seconds, double use[CELLS_ZONES])
{
    for (unsigned z = 0; z < CELLS_ZONES; z++)
        use[z] = 0;
    for (unsigned i = 0; i < 20 * seconds; i++) {
        scenario_for(s, MS(50));
        for (unsigned z = 0; z < CELLS_ZONES; z++)
            use[z] += cells_busy(x, z) / (20 * seconds);
    }
}

/* The instances of a zone die; those who call from there don't. */
static void zone_loss(struct scenario *s)
{
    struct cells x = { 0 };
    double use[CELLS_ZONES], most = 0;
    cells_open(s, &x, 0.6, SEC(2));
    s->flow.slow_ns = SEC(1);
    scenario_draw(s, CELLS_EVERY, cells_look, &x);
    scenario_for(s, SEC(5));
    double across = cells_across(&x);
    HOLDS(s, across <= 0.02, "%.4f to other zones in the normal state", across);

    scenario_mark(s, "zone b dies");
    zone_kill(&x, B);
    scenario_for(s, SEC(5));
    mean_use(s, &x, 5, use);
    double apart = fabs(use[0] - use[2]) / (use[0] + use[2]);
    HOLDS(s, apart <= 0.1, "zones a and c are %.3f and %.3f busy", use[0], use[2]);

    scenario_mark(s, "zone b is back");
    zone_start(&x, B);
    double fair = x.source.per_s / CELLS_ZONES;
    for (int i = 0; i < 20; i++) {
        uint64_t before = arrived(&x, B);
        scenario_for(s, SEC(1));
        most = fmax(most, (double)(arrived(&x, B) - before) / fair);
    }
    double good = flow_good(&s->flow);
    HOLDS(s, good >= 0.999, "%.5f good in all", good);
    HOLDS(s, most <= 1.2, "%.2f times its share goes to the zone that comes back", most);
    scenario_note(s, "across %.2f %%; %.3f %% failed; a and c %.0f and %.0f %% busy; herd %.2f",
                  100 * across, 100 * (1 - good), 100 * use[0], 100 * use[2], most);
    cells_close(s, &x);
}

TEST(zone_of_three_dies_and_comes_back)
{
    scenario_run("zone_loss", zone_loss, 1);
}

/* Three times the calls in one zone, more than it can do: others take what is too much, and give it
 * back. */
static void zone_spike(struct scenario *s)
{
    struct cells x = { 0 };
    struct source more;
    struct client *here[CELLS_CALLERS];
    size_t n = 0;
    cells_open(s, &x, 0.4, SEC(2));
    s->flow.slow_ns = SEC(1);
    for (size_t i = 0; i < CELLS_CALLERS; i += CELLS_ZONES)
        here[n++] = x.client[i];
    source_init(&more, &x.fleet, here, n, &s->flow);
    more.timeout_ns = SEC(2);
    scenario_draw(s, CELLS_EVERY, cells_look, &x);
    scenario_for(s, SEC(4));
    scenario_mark(s, "3 times the calls in zone a");
    source_rate(&more, 2 * x.source.per_s / CELLS_ZONES);
    flow_reset(&s->flow);
    scenario_for(s, SEC(5));
    double first = flow_good(&s->flow);
    flow_reset(&s->flow);
    scenario_for(s, SEC(10));
    double then = flow_good(&s->flow);
    HOLDS(s, then >= 0.99, "%.4f good from 5 s on", then);
    scenario_mark(s, "back");
    source_rate(&more, 0);
    scenario_for(s, SEC(10));
    cells_reset(&x);
    scenario_for(s, SEC(2));
    double across = cells_across(&x);
    HOLDS(s, across <= 0.02, "%.4f to other zones from 10 s after it on", across);
    scenario_note(s, "%.2f %% good in the first 5 s, %.2f %% then; across %.2f %% 10 s after it",
                  100 * first, 100 * then, 100 * across);
    cells_close(s, &x);
}

TEST(zone_with_too_many_calls_is_helped_for_as_long)
{
    scenario_run("zone_spike", zone_spike, 1);
}

/* The apps of a zone hang (its storage does, say), and no connection breaks: calls end with their
 * deadline. */
static void zone_hangs(struct scenario *s)
{
    struct cells x = { 0 };
    cells_open(s, &x, 0.5, SEC(1));
    s->flow.slow_ns = SEC(1);
    scenario_draw(s, CELLS_EVERY, cells_look, &x);
    scenario_for(s, SEC(4));
    scenario_mark(s, "zone b hangs");
    for (size_t i = B; i < CELLS_SERVERS; i += CELLS_ZONES)
        x.fleet.server[i].frozen = true;
    flow_reset(&s->flow);
    scenario_for(s, SEC(8)); /* a call that hangs tells nothing before its second is over */
    double first = flow_affected(&s->flow);
    flow_reset(&s->flow);
    scenario_for(s, SEC(4));
    double then = flow_affected(&s->flow);
    HOLDS(s, then < 0.01, "%.4f affected from 8 s on", then);
    scenario_note(s, "%.2f %% affected in the first 8 s, %.2f %% then", 100 * first, 100 * then);
    for (size_t i = B; i < CELLS_SERVERS; i += CELLS_ZONES)
        x.fleet.server[i].frozen = false;
    cells_close(s, &x);
}

TEST(zone_that_hangs_gets_no_calls)
{
    scenario_run("zone_hangs", zone_hangs, 1);
}

/* Up for three seconds, down for two, again and again: what is just back gets little. */
static void zone_flaps(struct scenario *s)
{
    struct cells x = { 0 };
    double most = 0;
    cells_open(s, &x, 0.5, SEC(2));
    s->flow.slow_ns = SEC(1);
    scenario_draw(s, CELLS_EVERY, cells_look, &x);
    scenario_for(s, SEC(3));
    double fair = x.source.per_s / CELLS_ZONES;
    for (int i = 0; i < 4; i++) {
        scenario_mark(s, "dies");
        zone_kill(&x, B);
        scenario_for(s, SEC(2));
        scenario_mark(s, "back");
        zone_start(&x, B);
        uint64_t before = arrived(&x, B);
        scenario_for(s, SEC(3));
        most = fmax(most, (double)(arrived(&x, B) - before) / (3 * fair));
    }
    double good = flow_good(&s->flow);
    HOLDS(s, good >= 0.999, "%.5f good", good);
    HOLDS(s, most <= 0.1, "a zone that is just back gets %.2f of its share", most);
    scenario_note(s, "%.3f %% failed; at most %.0f %% of its share when just back",
                  100 * (1 - good), 100 * most);
    cells_close(s, &x);
}

TEST(flapping_zone_does_no_harm)
{
    scenario_run("zone_flaps", zone_flaps, 1);
}

/* All of a zone answers with errors, at once: its callers can't tell that from a dependency that
 * is down everywhere, unless they hear of others. */
static void zone_fails(struct scenario *s)
{
    struct cells x = { 0 };
    cells_open(s, &x, 0.5, SEC(2));
    s->flow.slow_ns = SEC(1);
    scenario_draw(s, CELLS_EVERY, cells_look, &x);
    scenario_for(s, SEC(4));
    scenario_mark(s, "zone b fails");
    for (size_t i = B; i < CELLS_SERVERS; i += CELLS_ZONES)
        x.fleet.server[i].fail = 1;
    scenario_for(s, SEC(4));
    flow_reset(&s->flow);
    scenario_for(s, SEC(6));
    double then = flow_affected(&s->flow);
    HOLDS(s, then < 0.01, "%.4f affected from 4 s on", then);
    scenario_note(s, "%.2f %% affected from 4 s on", 100 * then);
    cells_close(s, &x);
}

TEST(zone_that_fails_gets_no_calls)
{
    scenario_run("zone_fails", zone_fails, 1);
}
