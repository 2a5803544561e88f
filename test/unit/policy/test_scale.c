#include "policy/scale.h"

#include "base/id.h"

#include <math.h>

#include "test/testing.h"

/* An app in virtual time: calls come as offered() says; an instance does CAPACITY calls a second
 * and starts for START; what is more than they can do waits for at most a second, and is then
 * turned away. */
enum { CAPACITY = 100, INSTANCES_MAX = 64 };
static const double SERVICE_S = 0.1;
static const uint64_t TICK = MS(500), START = MS(700);

struct fleet {
    struct scale scale;
    struct scale_rule rule;
    struct scale_decision last;
    uint64_t now, ready_at[INSTANCES_MAX];
    unsigned n, most, turns; /* turns: changes of direction */
    int direction;
    double limit;      /* calls a second of what all share behind them */
    double waiting;    /* calls */
    double shed, late; /* calls so far; ticks in which some waited for over 0.5 s */
    double instance_s; /* used so far */
    bool blind;        /* nothing can be measured */
};

static struct fleet fleet_new(void)
{
    struct fleet f = { .now = SEC(1000), .n = 1, .limit = INFINITY };
    scale_rule_defaults(&f.rule);
    f.rule.row[0].target = 7; /* of the 10 that are CAPACITY */
    return f;
}

static void resize(struct fleet *f, unsigned to)
{
    int direction = to > f->n ? 1 : to < f->n ? -1 : 0;
    REQUIRE(to <= INSTANCES_MAX);
    for (unsigned i = f->n; i < to; i++)
        f->ready_at[i] = f->now + START;
    if (direction && f->direction && direction != f->direction)
        f->turns++;
    if (direction)
        f->direction = direction;
    f->n = to;
    f->most = to > f->most ? to : f->most;
}

static void tick(struct fleet *f, double offered)
{
    double s = (double)TICK / 1e9, can, done, shed = 0;
    unsigned ready = 0;
    for (unsigned i = 0; i < f->n; i++)
        ready += f->ready_at[i] <= f->now;
    can = fmin((double)ready * CAPACITY, f->limit);
    done = fmin(offered + f->waiting / s, can);
    f->waiting += (offered - done) * s;
    if (f->waiting > fmax(can, CAPACITY)) {
        shed = (f->waiting - fmax(can, CAPACITY)) / s;
        f->waiting = fmax(can, CAPACITY);
    }
    f->shed += shed * s;
    f->late += f->waiting > can * 0.5;
    f->instance_s += f->n * s;
    double unknown = f->blind ? NAN : 0;
    struct scale_sample x = { .instances = f->n,
                              .ready = ready,
                              .done = done + unknown,
                              .unmet = f->waiting + shed + unknown };
    for (size_t m = 0; m < SCALE_METRICS; m++)
        x.value[m] = NAN;
    x.value[SCALE_CONCURRENCY] = (done + shed) * SERVICE_S + f->waiting + unknown;
    x.value[SCALE_REQUESTS] = offered + unknown;
    scale_decide(&f->scale, &f->rule, &x, f->now, &f->last);
    resize(f, f->last.desired);
    f->now += TICK;
}

static void run(struct fleet *f, double seconds, double offered)
{
    for (double s = 0; s < seconds; s += (double)TICK / 1e9)
        tick(f, offered);
}

/* The decision for that many calls at once, a quarter of a panic window later. */
static unsigned wanted(struct scale *s, uint64_t *now, unsigned instances, unsigned ready,
                       double at_once)
{
    struct scale_rule rule;
    struct scale_decision d;
    scale_rule_defaults(&rule);
    struct scale_sample x = {
        .instances = instances, .ready = ready, .done = 10 * at_once, .unmet = 0
    };
    for (size_t m = 0; m < SCALE_METRICS; m++)
        x.value[m] = NAN;
    x.value[SCALE_CONCURRENCY] = at_once;
    *now += rule.panic_ns / SCALE_FINE;
    scale_decide(s, &rule, &x, *now, &d);
    return d.desired;
}

/* 10 is the target: the panic window wants 1.9, and its newer half 3.3. */
TEST(panic_goes_by_what_has_come_lately_unless_help_is_on_its_way)
{
    struct scale s = { 0 };
    uint64_t now = SEC(1000);
    for (int i = 0; i < 100; i++)
        CHECK_EQ(wanted(&s, &now, 1, 1, 5), 1);
    CHECK_EQ(wanted(&s, &now, 1, 1, 60), 4);
    CHECK_EQ(wanted(&s, &now, 4, 1, 60), 4, "three start: the calls that wait are theirs");
    CHECK_EQ(wanted(&s, &now, 4, 4, 60), 6, "it wasn't enough");
    CHECK_EQ(wanted(&s, &now, 6, 6, 40), 6, "and none goes at once");
}

TEST(load_that_steps_up_and_down_turns_the_direction_once)
{
    struct fleet f = fleet_new();
    run(&f, 120, 50);
    CHECK_EQ(f.n, 1);
    run(&f, 5, 500);
    f.late = 0;
    run(&f, 120, 500);
    CHECK_EQ(f.late, 0, "nobody waits 5 s after the step");
    CHECK(f.n >= 7 && f.n <= 10, "%u", f.n);
    run(&f, 125, 50);
    CHECK_EQ(f.n, 1, "after the stable window and the delay");
    CHECK_EQ(f.turns, 1, "up, then down");
    CHECK_EQ(f.last.reason, SCALE_STEADY);
}

TEST(spike_that_ends_soon_is_kept_for_a_stable_window)
{
    struct fleet f = fleet_new();
    run(&f, 60, 50);
    run(&f, 4, 600);
    unsigned peak = f.n;
    CHECK(peak >= 5, "%u", peak);
    run(&f, 50, 50);
    CHECK_EQ(f.n, f.most, "panic never shrinks");
    CHECK_EQ(f.last.reason, SCALE_PANIC);
    run(&f, 80, 50);
    CHECK_EQ(f.n, 1);
    CHECK_EQ(f.turns, 1);
}

TEST(load_that_wobbles_by_less_than_a_tenth_changes_nothing)
{
    struct fleet f = fleet_new();
    run(&f, 300, 210); /* 21 calls at once: exactly three */
    unsigned n = f.n;
    f.turns = 0;
    for (int i = 0; i < 600; i++)
        tick(&f, 210 + 15 * sin(i));
    CHECK_EQ(f.n, n);
    CHECK_EQ(f.turns, 0);
}

TEST(slow_wave_is_followed_once_up_and_once_down_a_period)
{
    struct fleet f = fleet_new();
    enum { PERIOD_S = 600, PERIODS = 4 };
    for (double s = 0; s < PERIOD_S * PERIODS; s += 0.5) {
        double offered = 300 - 250 * cos(2 * M_PI * s / PERIOD_S);
        tick(&f, offered);
    }
    CHECK(f.turns <= 2 * PERIODS, "%u", f.turns);
    CHECK_EQ(f.shed, 0);
    CHECK(f.instance_s < 0.8 * f.most * PERIOD_S * PERIODS, "it shrinks too");
}

TEST(train_of_spikes_is_one_rise)
{
    struct fleet f = fleet_new();
    for (int i = 0; i < 12; i++) {
        run(&f, 5, 500);
        run(&f, 25, 50);
    }
    CHECK(f.turns <= 1, "%u: what the first one was too much", f.turns);
    CHECK(f.n >= 5, "%u", f.n);
    run(&f, 150, 50);
    CHECK_EQ(f.n, 1);
}

TEST(lost_metrics_hold_what_there_is)
{
    struct fleet f = fleet_new();
    run(&f, 120, 400);
    unsigned n = f.n;
    f.blind = true;
    run(&f, 600, 0);
    CHECK_EQ(f.n, n);
    CHECK_EQ(f.last.reason, SCALE_UNKNOWN);
    f.blind = false;
    run(&f, 130, 0);
    CHECK_EQ(f.n, 1);
}

TEST(one_unknown_row_doesnt_shrink_what_another_would)
{
    struct fleet f = fleet_new();
    f.rule.row[1] = (struct scale_row){ SCALE_QUEUE_DEPTH, 5 };
    f.rule.n_rows = 2;
    run(&f, 120, 400);
    unsigned n = f.n;
    run(&f, 600, 10);
    CHECK_EQ(f.n, n);
}

TEST(shared_limit_behind_the_app_undoes_what_brings_nothing)
{
    struct fleet f = fleet_new();
    f.limit = 150;
    run(&f, 120, 100);
    unsigned before = f.n;
    run(&f, 200, 600); /* two instances can do all that the database can */
    CHECK(f.n <= before + 1, "%u, was %u", f.n, before);
    CHECK_EQ(f.last.reason, SCALE_NO_GAIN);
    CHECK_EQ(f.turns, 1);
    run(&f, 200, 600);
    CHECK_EQ(f.turns, 1, "it isn't tried again at once");
    f.limit = INFINITY;
    run(&f, 200, 600);
    CHECK(f.n >= 8, "but later: %u", f.n);
}

TEST(idle_app_goes_to_zero_and_the_first_call_wakes_it)
{
    struct fleet f = fleet_new();
    f.rule.min = 0;
    run(&f, 20, 50);
    CHECK_EQ(f.n, 1);
    run(&f, 25, 0);
    CHECK_EQ(f.n, 1, "not within the grace");
    run(&f, 150, 0);
    CHECK_EQ(f.n, 0);
    CHECK_EQ(f.last.reason, SCALE_IDLE);
    tick(&f, 2); /* one call */
    CHECK_EQ(f.n, 1);
    CHECK_EQ(f.last.reason, SCALE_WAKE);
    run(&f, 10, 2);
    CHECK_EQ(f.shed, 0);
}

static unsigned after(struct scale *s, const struct scale_rule *r, const struct scale_sample *x,
                      unsigned seconds)
{
    struct scale_decision d = { 0 };
    for (unsigned i = 0; i <= seconds; i++)
        scale_decide(s, r, x, SEC(1000 + i), &d);
    return d.desired;
}

TEST(each_metric_wishes_by_its_own_rule)
{
    static const struct {
        const char *name;
        enum scale_metric metric;
        double target, value, depth, done;
        unsigned want;
    } row[] = {
        { "concurrency: a sum", SCALE_CONCURRENCY, 10, 45, NAN, 0, 5 },
        { "requests: a sum", SCALE_REQUESTS, 100, 701, NAN, 0, 8 },
        { "depth: a sum", SCALE_QUEUE_DEPTH, 5, 31, 31, 0, 7 },
        { "within the dead band", SCALE_CONCURRENCY, 10, 21, NAN, 0, 2 },
        { "latency half as high again", SCALE_LATENCY, 0.2, 0.3, NAN, 10, 3 },
        { "latency doubles at most", SCALE_LATENCY, 0.2, 60, NAN, 10, 4 },
        { "latency that is low holds for the delay", SCALE_LATENCY, 0.2, 0.001, NAN, 10, 2 },
        { "age: backlog and arrivals by what one can do", SCALE_QUEUE_AGE, 10, 30, 400, 20, 6 },
        { "age without a rate: in proportion", SCALE_QUEUE_AGE, 10, 15, NAN, NAN, 3 },
        { "at most the maximum", SCALE_CONCURRENCY, 10, 1e9, NAN, 0, 12 },
    };
    EACH (row, c) {
        struct scale s = { 0 };
        struct scale_rule r;
        scale_rule_defaults(&r);
        r.max = 12;
        r.row[0] = (struct scale_row){ c->metric, c->target };
        struct scale_sample x = { .instances = 2, .ready = 2, .done = c->done, .unmet = 0 };
        for (size_t m = 0; m < SCALE_METRICS; m++)
            x.value[m] = NAN;
        x.value[SCALE_QUEUE_DEPTH] = c->depth;
        x.value[c->metric] = c->value;
        CHECK_EQ(after(&s, &r, &x, 3), c->want, "%s", c->name);
    }
}

TEST(rules_are_equal_when_all_of_them_is)
{
    struct scale_rule a, b;
    scale_rule_defaults(&a);
    b = a;
    CHECK(scale_rule_eq(&a, &b));
    b.row[0].target = 11;
    CHECK(!scale_rule_eq(&a, &b));
    b = a;
    b.zero_grace_ns++;
    CHECK(!scale_rule_eq(&a, &b));
    b = a;
    b.row[b.n_rows++] = (struct scale_row){ SCALE_LATENCY, 1 };
    CHECK(!scale_rule_eq(&a, &b));
}

TEST(change_of_the_windows_begins_anew_with_what_there_is)
{
    struct fleet f = fleet_new();
    run(&f, 120, 400);
    unsigned n = f.n;
    f.rule.panic_ns = SEC(2);
    run(&f, 10, 50);
    CHECK_EQ(f.n, n, "not at once down to what the new windows know");
    run(&f, 130, 50);
    CHECK_EQ(f.n, 1);
}

/* Whatever the load does: within the bounds, no hasty turn, and back to the minimum in the end. */
TEST(any_load_keeps_the_bounds_and_comes_back_to_the_minimum)
{
    for (uint64_t seed = 1; seed <= 300; seed++) {
        uint64_t dice = seed * 0x9e3779b97f4a7c15u;
        struct fleet f = fleet_new();
        f.rule.min = (unsigned)(seed % 3);
        for (int step = 0; step < 40; step++) {
            dice = dice * 6364136223846793005u + 1442695040888963407u;
            double load = (double)(dice >> 40) / (1 << 24);
            f.blind = (dice >> 20) % 16 == 0;
            f.limit = (dice >> 24) % 4 == 0 ? 250 : INFINITY;
            unsigned turns = f.turns;
            run(&f, 20, load * load * 900);
            CHECK(f.n <= f.rule.max && f.n >= f.rule.min, "seed %llu", (unsigned long long)seed);
            CHECK(f.turns <= turns + 2, "seed %llu", (unsigned long long)seed);
        }
        f.blind = false;
        run(&f, 200, 0);
        CHECK_EQ(f.n, f.rule.min, "seed %llu", (unsigned long long)seed);
    }
}
