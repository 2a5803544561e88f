#include "policy/latency.h"

#include "test/testing.h"

static struct latency l;

TEST(too_few_calls_are_unknown)
{
    l = (struct latency){ 0 };
    for (int i = 0; i < LATENCY_CALLS_MIN - 1; i++)
        latency_add(&l, MS(5));
    CHECK_EQ(latency_quantile(&l, 0.5), 0);
    latency_add(&l, MS(5));
    CHECK(latency_quantile(&l, 0.5) > 0);
}

TEST(quantiles_are_within_a_bucket)
{
    static const uint64_t ns[] = { 500, 1000, 3700, 64000, MS(1), MS(9), MS(250), SEC(3), SEC(60) };
    EACH (ns, v) {
        l = (struct latency){ 0 };
        for (int i = 0; i < 100; i++)
            latency_add(&l, *v);
        uint64_t q = latency_quantile(&l, 0.5);
        CHECK(q <= *v * 5 / 4 + 1000 && q * 5 / 4 + 1000 >= *v, "%llu: %llu",
              (unsigned long long)*v, (unsigned long long)q);
    }
}

TEST(high_quantile_sees_the_tail_and_median_does_not)
{
    l = (struct latency){ 0 };
    for (int i = 0; i < 1000; i++)
        latency_add(&l, i % 10 ? MS(2) : MS(100));
    latency_roll(&l, 0.95, SEC(1));
    CHECK(l.median_ns <= MS(3), "%llu", (unsigned long long)l.median_ns);
    CHECK(l.high_ns >= MS(80), "%llu", (unsigned long long)l.high_ns);
}

TEST(old_calls_fade)
{
    l = (struct latency){ 0 };
    for (int i = 0; i < 1000; i++)
        latency_add(&l, MS(100));
    for (unsigned s = 1; s < 80; s++) {
        for (int i = 0; i < 5; i++)
            latency_add(&l, MS(1));
        latency_roll(&l, 0.95, SEC(s));
    }
    CHECK(l.median_ns <= MS(2), "%llu", (unsigned long long)l.median_ns);
}
