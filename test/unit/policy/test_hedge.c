#include "policy/hedge.h"

#include "test/testing.h"

TEST(copies_are_at_most_the_share_of_calls)
{
    struct hedge_budget b = { 0 };
    struct hedge_config c = { .on = true, .percent = 5 };
    unsigned copies = 0;
    for (unsigned i = 1; i <= 10000; i++) {
        hedge_deposit(&b, &c);
        copies += hedge_take(&b);
        CHECK(copies * 20 <= i, "call %u", i);
    }
    CHECK_EQ(copies, 500);
}

TEST(what_is_saved_up_is_bounded)
{
    struct hedge_budget b = { 0 };
    struct hedge_config c = { .on = true, .percent = 5 };
    for (unsigned i = 0; i < 100000; i++)
        hedge_deposit(&b, &c);
    unsigned copies = 0;
    while (hedge_take(&b))
        copies++;
    CHECK_EQ(copies, HEDGE_BURST);
}

TEST(no_share_means_no_copy)
{
    struct hedge_budget b = { 0 };
    struct hedge_config c = { .on = true };
    hedge_deposit(&b, &c);
    CHECK(!hedge_take(&b));
}

TEST(delay_is_the_high_quantile_or_what_is_configured)
{
    struct latency l = { 0 };
    struct hedge_config c = { .on = true };
    CHECK_EQ(hedge_delay(&c, &l), 0, "nothing is known yet");
    CHECK_EQ(hedge_delay(&c, NULL), 0);
    l.high_ns = MS(30);
    CHECK_EQ(hedge_delay(&c, &l), MS(30));
    l.high_ns = 1000;
    CHECK_EQ(hedge_delay(&c, &l), MS(1));
    c.after_ns = MS(7);
    CHECK_EQ(hedge_delay(&c, &l), MS(7));
    CHECK_EQ(hedge_delay(&c, NULL), MS(7));
}
