#include "policy/limiter.h"

#include "base/mem.h"

#include <pthread.h>
#include <stdio.h>

#include "test/testing.h"

TEST(burst_then_rate)
{
    struct limiter *l = limiter_new(&(struct limiter_config){ 10, 3, 100 });
    uint64_t wait = 77;
    for (int i = 0; i < 3; i++)
        CHECK(limiter_take(l, S("a"), SEC(1), &wait));
    CHECK_EQ(wait, 77);
    CHECK(!limiter_take(l, S("a"), SEC(1), &wait));
    CHECK_EQ(wait, MS(100) + 1);
    CHECK(limiter_take(l, S("b"), SEC(1), NULL));
    CHECK(!limiter_take(l, S("a"), SEC(1) + MS(99), NULL));
    CHECK(limiter_take(l, S("a"), SEC(1) + wait, NULL));
    CHECK(!limiter_take(l, S("a"), SEC(1) + wait, NULL));
    limiter_free(l);
}

TEST(idle_bucket_holds_no_more_than_the_burst)
{
    struct limiter *l = limiter_new(&(struct limiter_config){ 10, 3, 100 });
    CHECK(limiter_take(l, S("a"), 0, NULL));
    int n = 0;
    while (limiter_take(l, S("a"), SEC(86400), NULL))
        n++;
    CHECK_EQ(n, 3);
    CHECK(!limiter_take(l, S("a"), SEC(10), NULL)); /* the clock went back */
    limiter_free(l);
}

TEST(full_table_forgets_the_key_that_was_idle_longest)
{
    struct limiter *l = limiter_new(&(struct limiter_config){ 1, 1, 2 });
    CHECK(limiter_take(l, S("a"), 1, NULL));
    CHECK(limiter_take(l, S("b"), 2, NULL));
    CHECK(!limiter_take(l, S("a"), 3, NULL));
    CHECK(limiter_take(l, S("c"), 4, NULL)); /* b goes */
    CHECK_EQ(limiter_count(l), 2);
    CHECK(!limiter_take(l, S("a"), 5, NULL));
    CHECK(limiter_take(l, S("b"), 6, NULL)); /* afresh */
    for (int i = 0; i < 1000; i++) {
        char key[32];
        int n = snprintf(key, sizeof key, "flood-%d", i);
        CHECK(limiter_take(l, str_of(key, (size_t)n), 7, NULL));
    }
    CHECK_EQ(limiter_count(l), 2);
    limiter_free(l);
}

TEST(long_and_empty_keys_have_buckets_of_their_own)
{
    static char big[2][5000];
    big[1][4999] = 1;
    struct limiter *l = limiter_new(&(struct limiter_config){ 1, 1, 10 });
    CHECK(limiter_take(l, str_of(big[0], sizeof big[0]), 1, NULL));
    CHECK(limiter_take(l, str_of(big[1], sizeof big[1]), 1, NULL));
    CHECK(!limiter_take(l, str_of(big[0], sizeof big[0]), 1, NULL));
    CHECK(limiter_take(l, S(""), 1, NULL));
    CHECK(!limiter_take(l, S(""), 1, NULL));
    limiter_free(l);
}

TEST(out_of_memory_lets_the_call_pass)
{
    mem_fail_at(1);
    CHECK(!limiter_new(&(struct limiter_config){ 1, 1, 10 }));
    for (uint64_t n = 1; n < 5; n++) {
        mem_fail_at(0);
        struct limiter *l = limiter_new(&(struct limiter_config){ 1, 1, 10 });
        mem_fail_at(n);
        CHECK(limiter_take(l, S("a"), 1, NULL));
        mem_fail_at(0);
        limiter_free(l);
    }
}

enum { THREADS = 4, TAKES = 5000 };

static void *take_many(void *arg)
{
    uintptr_t taken = 0;
    for (int i = 0; i < TAKES; i++)
        taken += limiter_take(arg, S("shared"), 1, NULL);
    return (void *)taken;
}

TEST(threads_together_get_no_more_than_the_burst)
{
    struct limiter *l = limiter_new(&(struct limiter_config){ 1, 1000, 10 });
    pthread_t t[THREADS];
    uintptr_t sum = 0;
    for (int i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_create(&t[i], NULL, take_many, l), 0);
    for (int i = 0; i < THREADS; i++) {
        void *taken;
        pthread_join(t[i], &taken);
        sum += (uintptr_t)taken;
    }
    CHECK_EQ(sum, 1000);
    limiter_free(l);
}
