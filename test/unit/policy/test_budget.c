#include "policy/budget.h"

#include "test/testing.h"

#include <pthread.h>

static size_t drain(struct budget *b, uint64_t now)
{
    size_t n = 0;
    while (n < 100000 && budget_withdraw(b, now))
        n++;
    return n;
}

TEST(retries_are_a_share_of_calls)
{
    struct budget b;
    budget_init(&b, &(struct budget_config){ .ratio = 0.2, .floor = -1 });
    CHECK_EQ(drain(&b, SEC(50)), 0);
    for (int i = 0; i < 100; i++)
        budget_deposit(&b, SEC(51));
    CHECK_EQ(drain(&b, SEC(51)), 18, "a tenth is kept back");
    budget_share(&b, 0.5);
    CHECK_EQ(drain(&b, SEC(51)), 45 - 18);
}

TEST(calls_stop_counting_after_a_second)
{
    struct budget b;
    budget_init(&b, &(struct budget_config){ .ratio = 0.5, .floor = -1 });
    for (int i = 0; i < 10; i++)
        budget_deposit(&b, SEC(1));
    CHECK_EQ(drain(&b, SEC(2)), 0);
    for (int i = 0; i < 10; i++)
        budget_deposit(&b, SEC(12));
    CHECK_EQ(drain(&b, SEC(12) + MS(900)), 4);
}

TEST(the_floor_is_granted_without_any_deposit)
{
    struct budget b;
    budget_init(&b, &(struct budget_config){ 0 });
    CHECK_EQ(drain(&b, 0), BUDGET_FLOOR);
    CHECK_EQ(drain(&b, SEC(5)), 0);
    CHECK_EQ(drain(&b, SEC(3600)), BUDGET_FLOOR);
}

TEST(the_floor_is_no_addition_to_the_share)
{
    struct budget b;
    budget_init(&b, &(struct budget_config){ 0 });
    for (int i = 0; i < 100; i++)
        budget_deposit(&b, SEC(1));
    CHECK_EQ(drain(&b, SEC(1)), BUDGET_FLOOR);
    for (int i = 0; i < 100; i++)
        budget_deposit(&b, SEC(1));
    CHECK_EQ(drain(&b, SEC(1)), 36 - BUDGET_FLOOR);
}

TEST(a_clock_that_goes_back_grants_nothing_more)
{
    struct budget b;
    budget_init(&b, &(struct budget_config){ .floor = 10 });
    CHECK_EQ(drain(&b, SEC(100)), 10);
    CHECK_EQ(drain(&b, SEC(10)), 0);
}

/* A dependency that was well and now fails every call: what reaches it, from the first second on,
 * after ten, and in all. */
TEST(attempts_never_exceed_calls_by_more_than_the_share)
{
    static const unsigned rate[] = { 100, 200, 1000, 5000 };
    EACH (rate, r) {
        struct budget b;
        unsigned calls = 0, retries = 0;
        budget_init(&b, &(struct budget_config){ 0 });
        for (unsigned i = 0; i < 20 * *r; i++)
            budget_deposit(&b, i * (SEC(1) / *r));
        for (unsigned i = 20 * *r; i < 80 * *r; i++) {
            uint64_t now = i * (SEC(1) / *r);
            calls++;
            budget_deposit(&b, now);
            for (int n = 0; n < 3 && budget_withdraw(&b, now); n++)
                retries++;
            if (calls >= 10 * *r)
                CHECK(retries * 10 <= calls * 2, "%u retries, %u calls, %u/s", retries, calls, *r);
            CHECK(retries <= calls * 0.2 + 0.2 * *r, "in the first seconds: %u of %u", retries,
                  calls);
        }
        CHECK(retries >= calls * 0.17, "%u of %u: the budget is there to be used", retries, calls);
    }
}

static void *hammer(void *arg)
{
    struct budget *b = arg;
    uintptr_t granted = 0;
    for (int i = 0; i < 10000; i++) {
        budget_deposit(b, SEC(5));
        granted += budget_withdraw(b, SEC(5));
    }
    return (void *)granted;
}

TEST(threads_share_it)
{
    enum { THREADS = 4 };
    struct budget b;
    pthread_t t[THREADS];
    uintptr_t granted = 0;
    budget_init(&b, &(struct budget_config){ .floor = -1 });
    for (int i = 0; i < THREADS; i++)
        REQUIRE(pthread_create(&t[i], NULL, hammer, &b) == 0);
    for (int i = 0; i < THREADS; i++) {
        void *n;
        REQUIRE(pthread_join(t[i], &n) == 0);
        granted += (uintptr_t)n;
    }
    CHECK(granted <= THREADS * 1800 + THREADS, "%zu", (size_t)granted);
    CHECK(granted >= THREADS * 1800 * 9 / 10, "%zu", (size_t)granted);
    CHECK_EQ(drain(&b, SEC(5)) + granted >= THREADS * 1800, 1, "no deposit was lost");
}
