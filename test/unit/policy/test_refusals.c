#include "policy/refusals.h"

#include "test/testing.h"

static const uint64_t START = SEC(100), USUAL = MS(50);

TEST(a_refusal_counts_for_about_as_long_as_a_call_takes)
{
    struct refusals r = { 0 };
    CHECK_EQ(refusals_in_flight(&r, USUAL, START), 0);
    for (int i = 0; i < 100; i++)
        refusals_add(&r, USUAL, START);
    CHECK_EQ(refusals_in_flight(&r, USUAL, START), 100);
    CHECK_EQ(refusals_in_flight(&r, USUAL, START + USUAL), 37); /* 1 / e */
    CHECK_EQ(refusals_in_flight(&r, 2 * USUAL, START + 2 * USUAL), 37);
    CHECK_EQ(refusals_in_flight(&r, USUAL, START + 10 * USUAL), 0);
}

/* Little's law, as for calls that are served: rate times duration. */
TEST(a_steady_stream_of_them_is_rate_times_duration)
{
    struct refusals r = { 0 };
    uint64_t now = START;
    for (int i = 0; i < 1000; i++)
        refusals_add(&r, USUAL, now += MS(2));
    uint32_t n = refusals_in_flight(&r, USUAL, now);
    CHECK(n >= 24 && n <= 26, "%u", n);
}

TEST(what_is_usual_has_bounds)
{
    static const struct {
        const char *name;
        uint64_t usual, counts_as;
    } row[] = {
        { "unknown", 0, MS(20) },
        { "very short", 1000, MS(1) },
        { "very long", SEC(60), SEC(1) },
    };
    EACH (row, c) {
        struct refusals r = { 0 };
        for (int i = 0; i < 100; i++)
            refusals_add(&r, c->usual, START);
        CHECK_EQ(refusals_in_flight(&r, c->usual, START + c->counts_as), 37, "%s", c->name);
    }
}

TEST(there_is_a_most_and_clocks_may_differ)
{
    struct refusals r = { 0 };
    for (int i = 0; i < 2 * REFUSALS_MAX; i++)
        refusals_add(&r, USUAL, START);
    CHECK_EQ(refusals_in_flight(&r, USUAL, START), REFUSALS_MAX);
    CHECK_EQ(refusals_in_flight(&r, USUAL, START - MS(5)), REFUSALS_MAX);
}
