#include "block/core/parallel.h"
#include "test/testing.h"

struct count {
    size_t now, most, done;
    unsigned char seen[300];
};

CO static void one(void *arg, size_t i)
{
    struct count *c = arg;
    c->now++;
    c->most = c->now > c->most ? c->now : c->most;
    (void)fiber_sleep(MS(1 + i % 3));
    c->now--;
    c->done++;
    c->seen[i]++;
}

TEST_CO(each_item_is_done_once_and_no_more_at_a_time_than_allowed)
{
    static const struct {
        size_t n, limit, most;
    } row[] = { { 0, 1, 0 },   { 1, 1, 1 },   { 300, 1, 1 },         { 300, 7, 7 },
                { 3, 100, 3 }, { 1, 100, 1 }, { 300, SIZE_MAX, 300 } };
    EACH (row, r) {
        struct count c = { 0 };
        parallel_for(r->n, r->limit, one, &c);
        CHECK_EQ(c.done, r->n);
        CHECK_EQ(c.most, r->most, "%zu items, %zu at once", r->n, r->limit);
        for (size_t i = 0; i < r->n; i++)
            CHECK_EQ(c.seen[i], 1);
    }
}

struct cancelled {
    struct count count;
    bool done;
};

CO static void run(void *arg)
{
    struct cancelled *c = arg;
    parallel_for(20, 5, one, &c->count);
    c->done = true;
}

TEST_CO(a_cancelled_caller_still_waits_for_its_helpers)
{
    struct cancelled c = { 0 };
    struct fiber *f = fiber_spawn("run", run, &c);
    REQUIRE(f);
    fiber_yield();
    fiber_cancel(f);
    while (!c.done)
        REQUIRE(fiber_sleep(MS(1)) == 0);
    CHECK_EQ(c.count.done, 20);
    CHECK_EQ(c.count.now, 0);
}

TEST_CO(without_fibers_the_caller_does_it_all)
{
    FAIL_EACH_ALLOC(n)
    {
        struct count c = { 0 };
        parallel_for(9, 4, one, &c);
        CHECK_EQ(c.done, 9, "allocation %zu", n);
    }
}
