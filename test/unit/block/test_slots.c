#include "block/slots.h"
#include "fiber/sync.h"
#include "test/testing.h"

#include <stdatomic.h>

struct taker {
    struct slots *slots;
    struct wait_group *group;
    char *trail; /* names in the order in which they got in */
    char name;
    uint64_t deadline_ns;
    int result;
    bool keep;
};

CO static void take(void *arg)
{
    struct taker *t = arg;
    DEADLINE(t->deadline_ns ? t->deadline_ns : UINT64_MAX);
    t->result = slots_take(t->slots);
    if (t->result == 0) {
        size_t n = strlen(t->trail);
        t->trail[n] = t->name;
        t->trail[n + 1] = 0;
        if (!t->keep)
            slots_give(t->slots);
    }
    wait_group_done(t->group);
}

static struct fiber *start(struct taker *t)
{
    wait_group_add(t->group);
    struct fiber *f = fiber_spawn("taker", take, t);
    REQUIRE(f);
    return f;
}

TEST_LOOP(whoever_came_first_gets_in_first)
{
    struct slots s;
    struct wait_group g;
    char trail[16] = "";
    slots_init(&s, 1);
    wait_group_init(&g);
    CHECK_OK(slots_take(&s));
    struct taker t[5];
    for (int i = 0; i < 5; i++) {
        t[i] = (struct taker){ .slots = &s, .group = &g, .trail = trail, .name = (char)('a' + i) };
        (void)start(&t[i]);
        fiber_yield();
    }
    CHECK_TEXT(trail, "");
    slots_give(&s);
    CHECK_OK(wait_group_wait(&g));
    CHECK_TEXT(trail, "abcde");
    slots_done(&s);
}

TEST_LOOP(no_limit_is_no_wait)
{
    struct slots s;
    slots_init(&s, 0);
    for (int i = 0; i < 1000; i++)
        CHECK_OK(slots_take(&s));
    slots_done(&s);
}

TEST_LOOP(a_deadline_ends_the_wait_and_holds_nothing)
{
    struct slots s;
    struct wait_group g;
    char trail[16] = "";
    slots_init(&s, 1);
    wait_group_init(&g);
    CHECK_OK(slots_take(&s));
    struct taker late = {
        .slots = &s, .group = &g, .trail = trail, .name = 'l', .deadline_ns = MS(5)
    };
    (void)start(&late);
    CHECK_OK(wait_group_wait(&g));
    CHECK_EQ(late.result, -TIMEOUT);
    slots_give(&s);
    CHECK_OK(slots_take(&s), "the place is free again");
    slots_give(&s);
    slots_done(&s);
}

/* The cancel comes before, at the same time as, and after the grant. */
TEST_LOOP(a_cancel_at_any_moment_loses_no_place)
{
    for (int moment = 0; moment < 6; moment++) {
        struct slots s;
        struct wait_group g;
        char trail[16] = "";
        slots_init(&s, 1);
        wait_group_init(&g);
        CHECK_OK(slots_take(&s));
        struct taker a = { .slots = &s, .group = &g, .trail = trail, .name = 'a' };
        struct taker b = { .slots = &s, .group = &g, .trail = trail, .name = 'b' };
        struct fiber *f = start(&a);
        if (moment == 0)
            fiber_cancel(f); /* before it ran */
        fiber_yield();
        (void)start(&b);
        fiber_yield();
        if (moment == 1)
            fiber_cancel(f);
        if (moment == 2) {
            fiber_cancel(f);
            fiber_yield();
        }
        slots_give(&s);
        if (moment == 3)
            fiber_cancel(f); /* the grant is under way */
        CHECK_OK(wait_group_wait(&g));
        CHECK(a.result == 0 || a.result == -CANCELLED, "moment %d: %d", moment, a.result);
        CHECK_EQ(a.result == 0, moment > 3, "moment %d", moment);
        CHECK_OK(b.result, "moment %d", moment);
        CHECK_OK(slots_take(&s), "moment %d: the place is there", moment);
        slots_give(&s);
        slots_done(&s);
    }
}

/* ---- all workers ---- */

enum { CLIENTS = 40, ROUNDS = 200, PLACES = 3 };

struct crowd {
    struct slots slots;
    atomic_int inside, most, done, timeouts, running;
};

CO static void client(void *arg)
{
    struct crowd *c = arg;
    for (int i = 0; i < ROUNDS; i++) {
        DEADLINE(i % 7 == 0 ? MS(1) : SEC(60));
        int r = slots_take(&c->slots);
        if (r < 0) {
            CHECK_EQ(r, -TIMEOUT);
            atomic_fetch_add(&c->timeouts, 1);
            continue;
        }
        int now = atomic_fetch_add(&c->inside, 1) + 1;
        if (now > atomic_load(&c->most))
            atomic_store(&c->most, now);
        if (i % 3 == 0)
            fiber_yield();
        atomic_fetch_sub(&c->inside, 1);
        slots_give(&c->slots);
        atomic_fetch_add(&c->done, 1);
    }
    atomic_fetch_sub(&c->running, 1);
}

TEST_LOOP(the_limit_holds_across_workers)
{
    static struct crowd c;
    slots_init(&c.slots, PLACES);
    atomic_store(&c.running, CLIENTS);
    for (size_t i = 0; i < CLIENTS; i++)
        REQUIRE(worker_spawn(worker_at(i % workers_count()), "client", client, &c) == 0);
    while (atomic_load(&c.running))
        REQUIRE(fiber_sleep(MS(1)) == 0);
    CHECK(atomic_load(&c.most) <= PLACES, "%d inside", atomic_load(&c.most));
    CHECK_EQ(atomic_load(&c.done) + atomic_load(&c.timeouts), CLIENTS * ROUNDS);
    for (int i = 0; i < PLACES; i++) {
        DEADLINE(MS(100));
        CHECK_OK(slots_take(&c.slots), "no place was lost");
    }
    for (int i = 0; i < PLACES; i++)
        slots_give(&c.slots);
    slots_done(&c.slots);
}
