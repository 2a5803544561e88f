/* A bell wakes its fiber from any thread. */
#include "loop/bell.h"
#include "test/testing.h"

static void ring_it(void *bell)
{
    bell_ring(bell);
}

TEST_LOOP(bell_from_another_thread_ends_the_wait)
{
    struct bell b;
    bell_init(&b);
    uint64_t start = clock_now_ns();
    REQUIRE(worker_spawn(worker_at(1), "ringer", ring_it, &b) == 0);
    bell_wait(&b, SEC(30));
    CHECK(clock_now_ns() - start < SEC(20));
    bell_silence(&b);
}

TEST_LOOP(bell_that_rang_before_ends_the_next_wait_once)
{
    struct bell b;
    bell_init(&b);
    bell_ring(&b);
    bell_ring(&b);
    bell_silence(&b);
    CHECK(b.heard);
    bell_wait(&b, SEC(30));
    uint64_t start = clock_now_ns();
    bell_wait(&b, MS(20)); /* nobody has rung since */
    CHECK(clock_now_ns() - start >= MS(15));
}
