#include "fiber/sync.h"
#include "test/testing.h"

/* ---- wait queue ---- */

struct queued {
    struct waitq *q;
    int *order, place, result;
};

static void wait_in_queue(void *arg)
{
    struct queued *w = arg;
    w->result = waitq_wait(w->q);
    w->place = ++*w->order;
}

TEST_CO(waitq_wakes_in_order_of_arrival)
{
    struct waitq q;
    waitq_init(&q);
    CHECK(!waitq_wake_one(&q, 0));
    int order = 0;
    struct queued w[3];
    EACH (w, i) {
        *i = (struct queued){ &q, &order, 0, 99 };
        REQUIRE(fiber_spawn("waiter", wait_in_queue, i));
    }
    fiber_yield();
    CHECK(waitq_wake_one(&q, 11));
    fiber_yield();
    CHECK_EQ(w[0].result, 11);
    CHECK_EQ(w[1].place, 0);
    waitq_wake_all(&q, 12);
    fiber_yield();
    CHECK_EQ(w[1].place, 2);
    CHECK_EQ(w[2].place, 3);
    CHECK_EQ(w[2].result, 12);
}

TEST_CO(waitq_passes_over_the_cancelled)
{
    struct waitq q;
    waitq_init(&q);
    int order = 0;
    struct queued a = { &q, &order, 0, 99 }, b = { &q, &order, 0, 99 };
    struct fiber *first = fiber_spawn("first", wait_in_queue, &a);
    REQUIRE(first && fiber_spawn("second", wait_in_queue, &b));
    fiber_yield();
    fiber_cancel(first);
    CHECK(waitq_wake_one(&q, 5), "before the cancelled one has run");
    fiber_yield();
    CHECK_EQ(a.result, -CANCELLED);
    CHECK_EQ(b.result, 5);
}

/* ---- mutex ---- */

struct locker {
    struct fiber_mutex *m;
    int *inside, *order, place, result;
    uint64_t hold_ns;
};

static void lock_for_a_while(void *arg)
{
    struct locker *l = arg;
    l->result = fiber_mutex_lock(l->m);
    if (l->result < 0)
        return;
    CHECK_EQ(++*l->inside, 1);
    l->place = ++*l->order;
    CHECK_OK(fiber_sleep(l->hold_ns));
    --*l->inside;
    fiber_mutex_unlock(l->m);
}

TEST_CO(mutex_is_handed_over_in_order)
{
    struct fiber_mutex m;
    fiber_mutex_init(&m);
    int inside = 0, order = 0;
    struct locker l[5];
    EACH (l, i) {
        *i = (struct locker){ &m, &inside, &order, 0, 99, MS(10) };
        REQUIRE(fiber_spawn("locker", lock_for_a_while, i));
    }
    CHECK_OK(fiber_sleep(SEC(1)));
    for (size_t i = 0; i < COUNT(l); i++)
        CHECK_EQ(l[i].place, i + 1);
    CHECK(!m.owner);
}

TEST_CO(mutex_survives_a_waiter_that_gives_up)
{
    struct fiber_mutex m;
    fiber_mutex_init(&m);
    int inside = 0, order = 0;
    struct locker a = { &m, &inside, &order, 0, 99, MS(10) }, b = a, c = a;
    REQUIRE(fiber_spawn("a", lock_for_a_while, &a));
    struct fiber *second = fiber_spawn("b", lock_for_a_while, &b);
    REQUIRE(second && fiber_spawn("c", lock_for_a_while, &c));
    CHECK_OK(fiber_sleep(MS(5)));
    {
        DEADLINE(MS(1));
        CHECK_EQ(fiber_mutex_lock(&m), -TIMEOUT);
    }
    fiber_cancel(second);
    CHECK_OK(fiber_sleep(SEC(1)));
    CHECK_EQ(b.result, -CANCELLED);
    CHECK_EQ(c.place, 2);
    CHECK(!m.owner);
}

TEST_CO(mutex_handed_to_a_cancelled_waiter_is_its_own)
{
    struct fiber_mutex m;
    fiber_mutex_init(&m);
    int inside = 0, order = 0;
    struct locker l = { &m, &inside, &order, 0, 99, 0 };
    CHECK_OK(fiber_mutex_lock(&m));
    struct fiber *f = fiber_spawn("waiter", lock_for_a_while, &l);
    REQUIRE(f);
    fiber_yield();
    fiber_mutex_unlock(&m);
    CHECK(m.owner == f);
    SHIELD();
    CHECK_OK(fiber_mutex_lock(&m));
    CHECK_EQ(l.place, 1);
    fiber_mutex_unlock(&m);
}

/* ---- semaphore ---- */

struct user {
    struct semaphore *s;
    int *now, *most;
};

static void use(void *arg)
{
    struct user *u = arg;
    CHECK_OK(semaphore_take(u->s));
    if (++*u->now > *u->most)
        *u->most = *u->now;
    CHECK_OK(fiber_sleep(MS(1)));
    --*u->now;
    semaphore_give(u->s);
}

TEST_CO(semaphore_admits_its_number)
{
    struct semaphore s;
    semaphore_init(&s, 3);
    int now = 0, most = 0;
    struct user u = { &s, &now, &most };
    for (int i = 0; i < 20; i++)
        REQUIRE(fiber_spawn("user", use, &u));
    uint64_t before = sched_now();
    CHECK_OK(fiber_sleep(MS(100)));
    CHECK_EQ(most, 3);
    CHECK_EQ(now, 0);
    CHECK_EQ(s.free, 3);
    CHECK(sched_now() - before == MS(100));
}

/* ---- channel ---- */

enum { ITEMS = 1000 };

static void produce(void *arg)
{
    struct chan *c = arg;
    for (uintptr_t i = 1; i <= ITEMS; i++)
        CHECK_OK(chan_put(c, (void *)i));
    chan_close(c);
}

TEST_CO(chan_keeps_order_and_ends_after_close)
{
    struct chan c;
    REQUIRE(chan_init(&c, 7) == 0);
    REQUIRE(fiber_spawn("producer", produce, &c));
    void *item;
    for (uintptr_t i = 1; i <= ITEMS; i++) {
        CHECK_OK(chan_get(&c, &item));
        CHECK_EQ((uintptr_t)item, i);
        if (i % 100 == 0)
            CHECK_OK(fiber_sleep(MS(1)));
    }
    CHECK_EQ(chan_get(&c, &item), -NOT_FOUND);
    CHECK_EQ(chan_put(&c, &c), -PRECONDITION);
    CHECK(!chan_try_put(&c, &c));
    chan_done(&c);
}

TEST_CO(chan_that_is_full_or_empty_waits_until_the_deadline)
{
    struct chan c;
    REQUIRE(chan_init(&c, 1) == 0);
    void *item = &c;
    {
        DEADLINE(MS(1));
        CHECK_EQ(chan_get(&c, &item), -TIMEOUT);
        CHECK(item == &c, "set on success only");
    }
    CHECK(chan_try_put(&c, &c));
    CHECK(!chan_try_put(&c, &c));
    {
        DEADLINE(MS(1));
        CHECK_EQ(chan_put(&c, &c), -TIMEOUT);
    }
    chan_close(&c);
    CHECK_OK(chan_get(&c, &item), "what was put before the close is still there");
    chan_done(&c);
}

static void put_one(void *arg)
{
    CHECK_EQ(chan_put(arg, arg), -PRECONDITION);
}

TEST_CO(chan_close_wakes_waiting_writers)
{
    struct chan c;
    REQUIRE(chan_init(&c, 1) == 0);
    CHECK(chan_try_put(&c, &c));
    REQUIRE(fiber_spawn("writer", put_one, &c));
    fiber_yield();
    chan_close(&c);
    fiber_yield();
    chan_done(&c);
}

TEST(chan_init_out_of_memory_is_told)
{
    struct chan c;
    mem_fail_at(1);
    CHECK_EQ(chan_init(&c, 4), -EXHAUSTED);
}

/* ---- wait group ---- */

static void child(void *arg)
{
    CHECK_OK(fiber_sleep(MS(5)));
    wait_group_done(arg);
}

TEST_CO(wait_group_waits_for_every_child)
{
    struct wait_group g;
    wait_group_init(&g);
    CHECK_OK(wait_group_wait(&g), "of none");
    for (int i = 0; i < 10; i++) {
        wait_group_add(&g);
        REQUIRE(fiber_spawn("child", child, &g));
    }
    {
        DEADLINE(MS(1));
        CHECK_EQ(wait_group_wait(&g), -TIMEOUT);
    }
    CHECK_EQ(g.n, 10);
    CHECK_OK(wait_group_wait(&g));
    CHECK_EQ(g.n, 0);
}
