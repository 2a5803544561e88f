#include "block/app/sleep.h"

#include "test/testing.h"

/* An app that listens when .up says so, and a caller in a fiber of its own. */
struct door {
    struct sleep sleep;
    bool up;
    unsigned asked;
};

struct caller {
    struct door *door;
    struct fiber *fiber;
    int result;
    bool over;
    struct error err;
};

CO static bool listens(void *arg)
{
    struct door *d = arg;
    d->asked++;
    return d->up;
}

static void begin(struct door *d)
{
    *d = (struct door){ 0 };
    sleep_init(&d->sleep, listens, d);
    sleep_started(&d->sleep);
}

CO static void come(void *arg)
{
    struct caller *c = arg;
    c->result = sleep_enter(&c->door->sleep, &c->err);
    c->over = true;
}

static void call(struct caller *c, struct door *d)
{
    *c = (struct caller){ .door = d };
    REQUIRE((c->fiber = fiber_spawn("caller", come, c)));
}

TEST_CO(awake_app_is_entered_at_once)
{
    struct door d;
    struct error err = { 0 };
    begin(&d);
    CHECK_OK(sleep_enter(&d.sleep, &err));
    sleep_leave(&d.sleep);
    CHECK_EQ(d.asked, 0);
}

TEST_CO(call_waits_until_the_app_has_been_started_and_listens)
{
    struct door d;
    struct caller c[2];
    struct error err = { 0 };
    begin(&d);
    d.up = true; /* the old one may listen to its last moment */
    CHECK_OK(sleep_begin(&d.sleep, &err));
    call(&c[0], &d);
    call(&c[1], &d);
    CHECK_OK(fiber_sleep(MS(500)));
    CHECK(!c[0].over && !c[1].over, "nobody has said that there is a new one");
    CHECK_EQ(atomic_load(&d.sleep.waiting), 2);
    CHECK_EQ(d.asked, 0);
    d.up = false;
    sleep_wake(&d.sleep);
    CHECK_OK(fiber_sleep(MS(500)));
    CHECK(!c[0].over && !c[1].over && d.asked > 0);
    d.up = true;
    CHECK_OK(fiber_sleep(MS(500)));
    CHECK(c[0].over && c[1].over);
    CHECK_OK(c[0].result);
    CHECK_EQ(atomic_load(&d.sleep.inside), 2);
    CHECK_EQ(atomic_load(&d.sleep.waiting), 0);
    CHECK(!sleep_is_asleep(&d.sleep));
}

TEST_CO(app_that_doesnt_come_up_fails_the_call_in_the_end)
{
    struct door d;
    struct caller c;
    struct error err = { 0 };
    begin(&d);
    CHECK_OK(sleep_begin(&d.sleep, &err));
    call(&c, &d);
    sleep_wake(&d.sleep);
    CHECK_OK(fiber_sleep(MS(SLEEP_WAIT_MS) + SEC(1)));
    CHECK(c.over);
    CHECK_EQ(c.result, -UNAVAILABLE);
    CHECK_EQ(atomic_load(&d.sleep.waiting), 0);
    CHECK_EQ(atomic_load(&d.sleep.inside), 0);
}

TEST_CO(caller_that_leaves_holds_nothing)
{
    struct door d;
    struct caller c;
    struct error err = { 0 };
    begin(&d);
    CHECK_OK(sleep_begin(&d.sleep, &err));
    call(&c, &d);
    CHECK_OK(fiber_sleep(MS(50)));
    fiber_cancel(c.fiber);
    CHECK_OK(fiber_sleep(MS(50)));
    CHECK_EQ(c.result, -CANCELLED);
    CHECK_EQ(atomic_load(&d.sleep.waiting), 0);
    CHECK_EQ(atomic_load(&d.sleep.inside), 0);
}

TEST_CO(sleep_is_given_up_for_a_call_that_comes_and_for_one_that_takes_too_long)
{
    struct door d;
    struct caller c;
    struct error err = { 0 };
    begin(&d);
    CHECK_OK(sleep_enter(&d.sleep, &err));
    CHECK_EQ(sleep_begin(&d.sleep, &err), -ABORTED, "it's at work");
    CHECK(!sleep_is_asleep(&d.sleep));
    call(&c, &d); /* runs when we wait: then the door is shut already */
    CHECK_EQ(sleep_begin(&d.sleep, &err), -ABORTED, "another came");
    CHECK_OK(fiber_sleep(MS(50)));
    CHECK(c.over);
    CHECK_OK(c.result);
    CHECK_EQ(atomic_load(&d.sleep.inside), 2);
}

TEST_CO(sleeping_app_cant_be_put_to_sleep)
{
    struct door d;
    struct error err = { 0 };
    begin(&d);
    CHECK_OK(sleep_begin(&d.sleep, &err));
    CHECK_EQ(sleep_begin(&d.sleep, &err), -ABORTED);
    CHECK(sleep_is_asleep(&d.sleep));
}

TEST_CO(end_of_the_sidecar_is_told_to_those_that_wait)
{
    struct door d;
    struct caller c;
    struct error err = { 0 };
    begin(&d);
    sleep_end(&d.sleep);
    CHECK_OK(sleep_enter(&d.sleep, &err), "awake: it drains as ever");
    sleep_leave(&d.sleep);
    CHECK_OK(sleep_begin(&d.sleep, &err));
    call(&c, &d);
    CHECK_OK(fiber_sleep(MS(50)));
    sleep_end(&d.sleep);
    CHECK_OK(fiber_sleep(MS(50)));
    CHECK(c.over);
    CHECK_EQ(c.result, -UNAVAILABLE);
}

TEST_CO(call_that_comes_before_the_app_has_ever_listened_waits_for_it)
{
    struct door d = { 0 };
    struct caller c;
    sleep_init(&d.sleep, listens, &d);
    call(&c, &d);
    CHECK_OK(fiber_sleep(MS(500)));
    CHECK(!c.over && !sleep_is_asleep(&d.sleep));
    d.up = true;
    CHECK_OK(fiber_sleep(SEC(1)));
    CHECK(c.over);
    CHECK_OK(c.result);
}

TEST_CO(app_that_never_listens_is_waited_for_once)
{
    struct door d = { 0 };
    struct caller c;
    struct error err = { 0 };
    sleep_init(&d.sleep, listens, &d);
    call(&c, &d);
    CHECK_OK(fiber_sleep(MS(SLEEP_START_MS) + SEC(1)));
    CHECK(c.over);
    CHECK_OK(c.result, "it's let in, and fails as calls do that find no app");
    CHECK_OK(sleep_enter(&d.sleep, &err), "at once");
    CHECK_EQ(atomic_load(&d.sleep.inside), 2);
}
