#include "policy/budget.h"

#include "test/testing.h"

static size_t drain(struct budget *b, uint64_t now)
{
    size_t n = 0;
    while (n < 100000 && budget_withdraw(b, now))
        n++;
    return n;
}

TEST(retries_are_a_share_of_first_tries)
{
    struct budget b;
    budget_init(&b, &(struct budget_config){ .ratio = 0.2, .min_per_s = -1 }, SEC(50));
    CHECK_EQ(drain(&b, SEC(50)), 0);
    for (int i = 0; i < 100; i++)
        budget_deposit(&b, SEC(51));
    CHECK_EQ(drain(&b, SEC(51)), 20);
    budget_done(&b);
}

TEST(first_tries_stop_counting_after_their_time)
{
    struct budget b;
    budget_init(&b, &(struct budget_config){ .ratio = 0.5, .min_per_s = -1, .ttl_ns = SEC(10) }, 0);
    for (int i = 0; i < 10; i++)
        budget_deposit(&b, SEC(1));
    CHECK_EQ(drain(&b, SEC(11)), 0);
    for (int i = 0; i < 10; i++)
        budget_deposit(&b, SEC(12));
    CHECK_EQ(drain(&b, SEC(20)), 5);
    budget_done(&b);
}

TEST(the_floor_is_granted_without_any_deposit)
{
    struct budget b;
    budget_init(&b, &(struct budget_config){ 0 }, 0);
    CHECK_EQ(drain(&b, 0), 100); /* 10 a second, for 10 s */
    CHECK_EQ(drain(&b, SEC(5)), 0);
    CHECK_EQ(drain(&b, SEC(3600)), 100);
    budget_done(&b);
}

TEST(a_clock_that_goes_back_grants_nothing_more)
{
    struct budget b;
    budget_init(&b, &(struct budget_config){ .min_per_s = 1 }, SEC(100));
    CHECK_EQ(drain(&b, SEC(100)), 10);
    CHECK_EQ(drain(&b, SEC(10)), 0);
    budget_done(&b);
}
