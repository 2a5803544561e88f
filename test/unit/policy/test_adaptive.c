#include "policy/adaptive.h"

#include "test/testing.h"

/* A callee with so many workers, seen through the limit: what a saturated window of it measures. */
struct callee {
    double workers, service_ns;
    struct baseline baseline;
    struct adaptive limit;
};

static void window(struct callee *c, bool saturated)
{
    double inside = adaptive_limit(&c->limit);
    double latency = c->service_ns * (inside > c->workers ? inside / c->workers : 1);
    double base = c->baseline.ns > 0 ? c->baseline.ns : latency;
    struct adaptive_window w = {
        .gradient = base < latency ? base / latency : 1,
        .saturated = saturated,
        .inflight = saturated ? (unsigned)inside : 1,
    };
    baseline_update(&c->baseline, latency, c->limit.dip ? BASELINE_DIP : BASELINE_BUSY);
    if (adaptive_update(&c->limit, &w) == ADAPTIVE_REBASE)
        baseline_rebase(&c->baseline, latency);
}

static void windows(struct callee *c, int n)
{
    while (n-- > 0)
        window(c, true);
}

TEST(limit_settles_a_little_above_what_the_callee_does_at_once)
{
    static const struct {
        const char *name;
        double workers;
        unsigned least, most;
    } row[] = {
        { "one", 1, 2, 5 },
        { "eight", 8, 8, 15 },
        { "sixty", 60, 60, 80 },
        { "five hundred", 500, 500, 600 },
    };
    EACH (row, r) {
        struct callee c = { .workers = r->workers, .service_ns = 20e6, .baseline = { 20e6 } };
        adaptive_init(&c.limit, 0, 0);
        windows(&c, 100);
        double sum = 0;
        for (int i = 0; i < 100; i++) {
            windows(&c, 1);
            sum += c.limit.limit / 100;
        }
        CHECK(sum >= r->least && sum <= r->most, "%s: %.1f", r->name, sum);
    }
}

TEST(baseline_that_began_under_load_is_found_by_dips)
{
    struct callee c = { .workers = 8, .service_ns = 20e6 };
    adaptive_init(&c.limit, 0, 0);
    windows(&c, 1);
    CHECK(c.baseline.ns > 45e6); /* 20 inside at once */
    windows(&c, 1000);
    CHECK(c.baseline.ns < 23e6, "%.1f ms", c.baseline.ns / 1e6);
    CHECK(c.limit.limit < 16, "%.1f", c.limit.limit);
}

TEST(slower_calls_of_a_callee_without_a_queue_raise_the_baseline_not_lower_the_limit)
{
    struct callee c = { .workers = 10000, .service_ns = 20e6, .baseline = { 20e6 } };
    adaptive_init(&c.limit, 0, 0);
    windows(&c, 5);
    unsigned before = adaptive_limit(&c.limit);
    c.service_ns = 300e6;
    windows(&c, 40);
    CHECK(c.baseline.ns > 250e6, "%.1f ms", c.baseline.ns / 1e6);
    CHECK(adaptive_limit(&c.limit) >= before, "%u before, now %u", before,
          adaptive_limit(&c.limit));
}

TEST(slower_workers_keep_their_limit)
{
    struct callee c = { .workers = 8, .service_ns = 20e6, .baseline = { 20e6 } };
    adaptive_init(&c.limit, 0, 0);
    windows(&c, 50);
    c.service_ns = 60e6;
    windows(&c, 300);
    CHECK(c.limit.limit > 7 && c.limit.limit < 25, "%.1f", c.limit.limit);
}

TEST(unused_limit_goes_back_to_twice_what_is_used)
{
    struct callee c = { .workers = 2000, .service_ns = 20e6, .baseline = { 20e6 } };
    adaptive_init(&c.limit, 0, 0);
    windows(&c, 30);
    CHECK_EQ(adaptive_limit(&c.limit), ADAPTIVE_MAX);
    for (int i = 0; i < 100; i++)
        window(&c, false);
    CHECK_EQ(adaptive_limit(&c.limit), ADAPTIVE_START);
}

/* What a window says of the next ones: may the limit double? */
TEST(slower_window_takes_trust_only_where_the_limit_held_calls_back)
{
    static const struct {
        const char *name;
        double gradient;
        bool saturated, growing;
    } row[] = {
        { "as ever, not held back", 1, false, true },
        { "as ever, held back", 1, true, true },
        { "a little slower, not held back", 0.85, false, true },
        { "a little slower, held back", 0.85, true, false },
        { "much slower, not held back", 0.5, false, false },
        { "much slower, held back", 0.5, true, false },
    };
    EACH (row, r) {
        struct adaptive a;
        struct adaptive_window w = { .gradient = r->gradient,
                                     .saturated = r->saturated,
                                     .inflight = 5 };
        adaptive_init(&a, 0, 0);
        REQUIRE(adaptive_growing(&a));
        CHECK_EQ(adaptive_update(&a, &w), ADAPTIVE_OK);
        CHECK_EQ(adaptive_growing(&a), r->growing, "%s", r->name);
    }
}

TEST(limit_doubles_in_a_burst_though_little_load_was_a_little_slower_by_chance)
{
    struct adaptive a;
    struct adaptive_window little = { .gradient = 0.85, .inflight = 5 },
                           full = { .gradient = 1, .saturated = true, .inflight = 20 };
    adaptive_init(&a, 0, 0);
    for (int i = 0; i < 5; i++)
        CHECK_EQ(adaptive_update(&a, &little), ADAPTIVE_OK);
    CHECK_EQ(adaptive_limit(&a), ADAPTIVE_START);
    CHECK_EQ(adaptive_update(&a, &full), ADAPTIVE_OK); /* has calls of before in it */
    for (int i = 0; i < 3; i++) {
        unsigned before = adaptive_limit(&a);
        CHECK_EQ(adaptive_update(&a, &full), ADAPTIVE_OK);
        CHECK(adaptive_limit(&a) >= 2 * before, "%u, before %u", adaptive_limit(&a), before);
    }
}

TEST(bounds_hold_whatever_is_measured)
{
    struct adaptive a;
    adaptive_init(&a, 5, 30);
    static const double gradient[] = { 1, 0.0001, 0.5, 0.9, 1, 1 };
    for (int i = 0; i < 6000; i++) {
        struct adaptive_window w = { .gradient = gradient[i / 1000],
                                     .saturated = i % 3 != 0,
                                     .inflight = 10 };
        (void)adaptive_update(&a, &w);
        adaptive_grow(&a);
        unsigned limit = adaptive_limit(&a);
        REQUIRE(limit >= 5 && limit <= 30, "%u", limit);
    }
}
