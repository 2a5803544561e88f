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

TEST(retries_are_a_share_of_first_tries)
{
    struct budget b;
    budget_init(&b, &(struct budget_config){ .ratio = 0.2, .min_per_s = -1 });
    CHECK_EQ(drain(&b, SEC(50)), 0);
    for (int i = 0; i < 100; i++)
        budget_deposit(&b, SEC(51));
    CHECK_EQ(drain(&b, SEC(51)), 20);
}

TEST(first_tries_stop_counting_after_their_time)
{
    struct budget b;
    budget_init(&b, &(struct budget_config){ .ratio = 0.5, .min_per_s = -1, .ttl_ns = SEC(10) });
    for (int i = 0; i < 10; i++)
        budget_deposit(&b, SEC(1));
    CHECK_EQ(drain(&b, SEC(11)), 0);
    for (int i = 0; i < 10; i++)
        budget_deposit(&b, SEC(12));
    CHECK_EQ(drain(&b, SEC(20)), 5);
}

TEST(the_floor_is_granted_without_any_deposit)
{
    struct budget b;
    budget_init(&b, &(struct budget_config){ 0 });
    CHECK_EQ(drain(&b, 0), 30); /* 3 a second, for 10 s */
    CHECK_EQ(drain(&b, SEC(5)), 0);
    CHECK_EQ(drain(&b, SEC(3600)), 30);
}

TEST(the_floor_is_no_addition_to_the_share)
{
    struct budget b;
    budget_init(&b, &(struct budget_config){ 0 });
    for (int i = 0; i < 149; i++)
        budget_deposit(&b, SEC(1));
    CHECK_EQ(drain(&b, SEC(1)), 30);
    for (int i = 0; i < 51; i++)
        budget_deposit(&b, SEC(2));
    CHECK_EQ(drain(&b, SEC(2)), 10, "40 of 200");
}

TEST(a_clock_that_goes_back_grants_nothing_more)
{
    struct budget b;
    budget_init(&b, &(struct budget_config){ .min_per_s = 1 });
    CHECK_EQ(drain(&b, SEC(100)), 10);
    CHECK_EQ(drain(&b, SEC(10)), 0);
}

/* A dependency that fails every call: what reaches it, second by second and over all. */
TEST(attempts_never_exceed_calls_by_more_than_the_share)
{
    enum { CALLS = 200, SECONDS = 60 };
    struct budget b;
    budget_init(&b, &(struct budget_config){ 0 });
    unsigned calls = 0, retries = 0, window[SECONDS] = { 0 };
    for (unsigned s = 0; s < SECONDS; s++)
        for (unsigned i = 0; i < CALLS; i++) {
            uint64_t now = SEC(s) + i * (SEC(1) / CALLS);
            calls++;
            budget_deposit(&b, now);
            for (int n = 0; n < 3 && budget_withdraw(&b, now); n++)
                window[s]++, retries++;
        }
    CHECK(retries * 10 <= calls * 2, "%u of %u", retries, calls);
    CHECK(retries * 10 >= calls * 2 * 9 / 10, "%u of %u: the budget is there to be used", retries,
          calls);
    for (unsigned s = 10; s < SECONDS; s++) {
        unsigned sum = 0;
        for (unsigned k = 0; k < 10; k++)
            sum += window[s - k];
        CHECK(sum <= CALLS * 2, "second %u: %u", s, sum);
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
    budget_init(&b, &(struct budget_config){ .min_per_s = -1 });
    for (int i = 0; i < THREADS; i++)
        REQUIRE(pthread_create(&t[i], NULL, hammer, &b) == 0);
    for (int i = 0; i < THREADS; i++) {
        void *n;
        REQUIRE(pthread_join(t[i], &n) == 0);
        granted += (uintptr_t)n;
    }
    CHECK(granted <= THREADS * 2000 + THREADS, "%zu", (size_t)granted);
    CHECK(granted >= THREADS * 2000 * 9 / 10, "%zu", (size_t)granted);
    CHECK_EQ(drain(&b, SEC(5)) + granted >= THREADS * 2000, 1, "no deposit was lost");
}
