#include "test/testing.h"

static void park_and_tell(void *arg)
{
    *(int *)arg = fiber_park();
}

TEST_CO(wake_gives_its_value_to_the_parked)
{
    int got = 99;
    struct fiber *f = fiber_spawn("parker", park_and_tell, &got);
    REQUIRE(f);
    CHECK(!fiber_wake(f, 1), "not parked yet");
    fiber_yield();
    CHECK(fiber_wake(f, 7));
    CHECK(!fiber_wake(f, 8), "the second wake is left alone");
    CHECK_EQ(got, 99, "runs only at the next switch");
    fiber_yield();
    CHECK_EQ(got, 7);
}

TEST_CO(cancel_ends_the_present_wait)
{
    int got = 99;
    struct fiber *f = fiber_spawn("parker", park_and_tell, &got);
    REQUIRE(f);
    fiber_yield();
    fiber_cancel(f);
    CHECK(!fiber_wake(f, 1), "cancel came first");
    fiber_yield();
    CHECK_EQ(got, -CANCELLED);
}

TEST_CO(cancel_before_the_start_ends_the_first_wait)
{
    int got = 99;
    struct fiber *f = fiber_spawn("parker", park_and_tell, &got);
    REQUIRE(f);
    fiber_cancel(f);
    fiber_yield();
    CHECK_EQ(got, -CANCELLED);
}

TEST_CO(wake_before_cancel_stands)
{
    int got = 99;
    struct fiber *f = fiber_spawn("parker", park_and_tell, &got);
    REQUIRE(f);
    fiber_yield();
    CHECK(fiber_wake(f, 5));
    fiber_cancel(f);
    fiber_yield();
    CHECK_EQ(got, 5);
}

TEST_CO(cancel_is_told_at_every_later_wait)
{
    fiber_cancel(fiber_self());
    CHECK(fiber_cancelled());
    CHECK_EQ(fiber_park(), -CANCELLED);
    CHECK_EQ(fiber_sleep(MS(1)), -CANCELLED);
    fiber_yield(); /* can't be refused */
    CHECK_EQ(fiber_park(), -CANCELLED);
}

TEST_CO(sleep_takes_its_time)
{
    uint64_t before = sched_now();
    CHECK_OK(fiber_sleep(MS(250)));
    CHECK_EQ(sched_now() - before, MS(250));
    CHECK_OK(fiber_sleep(0));
}

TEST_CO(deadline_interrupts_park_and_sleep)
{
    uint64_t before = sched_now();
    DEADLINE(MS(10));
    CHECK_EQ(fiber_sleep(SEC(1)), -TIMEOUT);
    CHECK_EQ(sched_now() - before, MS(10));
    CHECK_EQ(fiber_park(), -TIMEOUT, "once it has passed, at once");
    CHECK_EQ(sched_now() - before, MS(10));
}

TEST_CO(nearest_deadline_of_the_scopes_counts)
{
    CHECK_EQ(fiber_deadline(), UINT64_MAX);
    uint64_t now = sched_now();
    {
        DEADLINE(MS(50));
        {
            DEADLINE(MS(10));
            CHECK_EQ(fiber_deadline(), now + MS(10));
        }
        {
            DEADLINE(MS(100));
            CHECK_EQ(fiber_deadline(), now + MS(50), "an inner one can't lengthen it");
        }
        CHECK_EQ(fiber_deadline(), now + MS(50));
    }
    CHECK_EQ(fiber_deadline(), UINT64_MAX);
    DEADLINE(UINT64_MAX);
    CHECK_EQ(fiber_deadline(), UINT64_MAX);
}

TEST_CO(sleep_that_ends_at_the_deadline_is_whole)
{
    DEADLINE(MS(10));
    CHECK_OK(fiber_sleep(MS(10)));
    CHECK_EQ(fiber_sleep(1), -TIMEOUT);
}

struct cancel_later {
    struct fiber *target;
    uint64_t after_ns;
};

static void cancel_later(void *arg)
{
    struct cancel_later *c = arg;
    CHECK_OK(fiber_sleep(c->after_ns));
    fiber_cancel(c->target);
}

TEST_CO(cancel_outranks_timeout)
{
    /* Both fall on the same instant: the timer fires first, the cancel comes before the fiber runs.
     */
    struct cancel_later c = { fiber_self(), MS(10) };
    REQUIRE(fiber_spawn("canceller", cancel_later, &c));
    fiber_yield();
    DEADLINE(MS(10));
    CHECK_EQ(fiber_sleep(SEC(1)), -CANCELLED);
}

TEST_CO(shield_hides_cancel_until_its_end)
{
    struct cancel_later c = { fiber_self(), MS(5) };
    REQUIRE(fiber_spawn("canceller", cancel_later, &c));
    {
        SHIELD();
        CHECK_OK(fiber_sleep(MS(50)));
        CHECK(fiber_cancelled(), "but it can be asked for");
    }
    CHECK_EQ(fiber_sleep(MS(1)), -CANCELLED);
}

TEST_CO(shield_hides_outer_deadline_but_not_inner)
{
    uint64_t before = sched_now();
    DEADLINE(MS(10));
    {
        SHIELD();
        CHECK_EQ(fiber_deadline(), UINT64_MAX);
        CHECK_OK(fiber_sleep(MS(20)));
        {
            DEADLINE(MS(30));
            {
                SHIELD();
                CHECK_OK(fiber_sleep(MS(40)), "nested shield");
            }
            CHECK_EQ(fiber_sleep(MS(1)), -TIMEOUT, "30 ms are over");
        }
        CHECK_OK(fiber_sleep(MS(1)));
    }
    CHECK_EQ(fiber_sleep(MS(1)), -TIMEOUT);
    CHECK_EQ(sched_now() - before, MS(61));
}

TEST_CO(wake_does_not_end_a_sleep)
{
    struct cancel_later unused = { NULL, 0 };
    (void)unused;
    uint64_t before = sched_now();
    CHECK(!fiber_wake(fiber_self(), 1));
    CHECK_OK(fiber_sleep(MS(3)));
    CHECK_EQ(sched_now() - before, MS(3));
}

struct trail {
    char text[64];
    size_t n;
};

struct step {
    struct trail *trail;
    char letter;
};

static void take_two_steps(void *arg)
{
    struct step *s = arg;
    s->trail->text[s->trail->n++] = s->letter;
    fiber_yield();
    s->trail->text[s->trail->n++] = s->letter;
}

TEST_CO(ready_fibers_run_in_order_of_arrival)
{
    struct trail trail = { 0 };
    struct step step[3] = { { &trail, 'a' }, { &trail, 'b' }, { &trail, 'c' } };
    EACH (step, s)
        REQUIRE(fiber_spawn("step", take_two_steps, s));
    CHECK_OK(fiber_sleep(MS(1)));
    CHECK_TEXT(trail.text, "abcabc");
}

static void sleep_then_step(void *arg)
{
    struct step *s = arg;
    CHECK_OK(fiber_sleep(MS(s->letter)));
    s->trail->text[s->trail->n++] = s->letter;
}

TEST_CO(timers_fire_in_order_of_time)
{
    struct trail trail = { 0 };
    static const char letters[] = "qetuoadgjlzcbmwryipsfhkxvn";
    struct step step[26];
    for (size_t i = 0; i < COUNT(step); i++) {
        step[i] = (struct step){ &trail, letters[i] };
        REQUIRE(fiber_spawn("sleeper", sleep_then_step, &step[i]));
    }
    CHECK_OK(fiber_sleep(SEC(1)));
    CHECK_TEXT(trail.text, "abcdefghijklmnopqrstuvwxyz");
}

static void count_up(void *arg)
{
    ++*(size_t *)arg;
}

static void count_after_sleep(void *arg)
{
    (void)fiber_sleep(MS(1));
    ++*(size_t *)arg;
}

static void wait_a_bit(void *arg)
{
    (void)arg;
    CHECK_OK(fiber_sleep(MS(1)));
}

static uint64_t real_now(void *ctx)
{
    (void)ctx;
    return clock_now_ns();
}

static void drain(struct sched *s)
{
    while (sched_count(s))
        (void)sched_run(s);
}

static struct sched *make_sched(size_t max_fibers)
{
    struct sched *s = sched_new(&(struct sched_config){
        .max_fibers = max_fibers, .stack_size = KIB(128), .now = real_now });
    REQUIRE(s);
    sched_enter(s);
    return s;
}

TEST(spawn_past_the_limit_fails)
{
    struct sched *s = make_sched(3);
    for (int i = 0; i < 3; i++)
        CHECK(fiber_spawn("one", wait_a_bit, NULL));
    CHECK(!fiber_spawn("too many", wait_a_bit, NULL));
    CHECK_EQ(sched_count(s), 3);
    drain(s);
    CHECK(fiber_spawn("again", wait_a_bit, NULL));
    drain(s);
    sched_free(s);
}

#ifdef __SANITIZE_THREAD__
enum { MANY = 1000 }; /* TSan's own limit of threads and fibers is 8,128 */
#else
enum { MANY = 10000 };
#endif

TEST(ten_thousand_fibers_live_at_once)
{
    struct sched *s = make_sched(MANY);
    size_t n = 0;
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < MANY; i++)
            REQUIRE(fiber_spawn("one of many", count_after_sleep, &n));
        drain(s);
        sched_trim(s);
    }
    CHECK_EQ(n, 2 * MANY);
    sched_free(s);
}

static void remember_stack(void *arg)
{
    char local;
    *(uintptr_t *)arg = (uintptr_t)&local;
}

TEST(stacks_are_recycled_and_trimmed)
{
    struct sched *s = make_sched(100);
    uintptr_t first = 0, second = 0;
    CHECK(!sched_trim_due(s));
    REQUIRE(fiber_spawn("first", remember_stack, &first));
    drain(s);
    REQUIRE(fiber_spawn("second", remember_stack, &second));
    drain(s);
    CHECK_EQ(first, second);
    for (int i = 0; i < 100; i++)
        REQUIRE(fiber_spawn("burst", wait_a_bit, NULL));
    drain(s);
    CHECK(sched_trim_due(s));
    for (int i = 0; i < 3; i++)
        sched_trim(s);
    CHECK(!sched_trim_due(s));
    REQUIRE(fiber_spawn("on a stack that was given back", remember_stack, &second));
    drain(s);
    CHECK(sched_trim_due(s));
    sched_free(s);
}

static void yield_for_ever(void *arg)
{
    bool *stop = arg;
    while (!*stop)
        fiber_yield();
}

static void wake_each_other(void *arg)
{
    struct fiber **other = arg;
    for (int i = 0; i < 100000; i++) {
        if (*other)
            (void)fiber_wake(*other, 0);
        if (fiber_park() < 0)
            return;
    }
}

TEST(a_round_ends_though_fibers_stay_ready)
{
    struct sched *s = make_sched(10);
    bool stop = false;
    REQUIRE(fiber_spawn("yields", yield_for_ever, &stop));
    CHECK_EQ(sched_run(s), 0);
    stop = true;
    CHECK_EQ(sched_run(s), UINT64_MAX);

    struct fiber *a = NULL, *b = NULL;
    a = fiber_spawn("a", wake_each_other, &b);
    b = fiber_spawn("b", wake_each_other, &a);
    REQUIRE(a && b);
    CHECK_EQ(sched_run(s), 0, "bounded by the number of switches");
    CHECK(sched_cancel_all(s));
    drain(s);
    sched_free(s);
}

TEST(run_tells_the_time_to_the_next_timer)
{
    struct sched *s = make_sched(10);
    CHECK_EQ(sched_run(s), UINT64_MAX);
    REQUIRE(fiber_spawn("sleeper", wait_a_bit, NULL));
    uint64_t next = sched_run(s);
    CHECK(next <= MS(1), "%ju", (uintmax_t)next);
    drain(s);
    sched_free(s);
}

TEST(failing_allocations_are_survived)
{
    FAIL_EACH_ALLOC(n)
    {
        size_t done = 0;
        struct sched *s = sched_new(
            &(struct sched_config){ .max_fibers = 10, .stack_size = KIB(128), .now = real_now });
        if (!s)
            continue;
        sched_enter(s);
        bool ok = fiber_spawn("one", count_up, &done) != NULL;
        drain(s);
        CHECK_EQ(done, ok ? 1 : 0);
        CHECK_EQ(ok, !test_alloc_failed(n));
        sched_free(s);
    }
}

static double deep(int n, double x)
{
    volatile char room[512];
    room[n % 512] = (char)n;
    return n ? deep(n - 1, x * 1.0000001) + room[n % 512] * 0.0 : x;
}

static void compute(void *arg)
{
    double *x = arg;
    double a = *x, b = a * 2, c = a * 3;
    for (int i = 0; i < 50; i++) {
        fiber_yield();
        a += 1;
        b += a;
        c += b;
    }
    *x = deep(100, a + b + c);
}

TEST_CO(registers_and_deep_stacks_survive_switches)
{
    double x[20], want[20];
    for (size_t i = 0; i < COUNT(x); i++) {
        double a = (double)i, b = a * 2, c = a * 3;
        for (int k = 0; k < 50; k++) {
            a += 1;
            b += a;
            c += b;
        }
        want[i] = deep(100, a + b + c);
        x[i] = (double)i;
        REQUIRE(fiber_spawn("compute", compute, &x[i]));
    }
    CHECK_OK(fiber_sleep(MS(1)));
    for (size_t i = 0; i < COUNT(x); i++)
        CHECK(x[i] == want[i], "%zu: %g, want %g", i, x[i], want[i]);
}

TEST(outside_of_a_fiber_there_is_no_self)
{
    CHECK(!fiber_self());
    struct sched *s = make_sched(1);
    CHECK(!fiber_self());
    CHECK(sched_self() == s);
    CHECK(sched_now() > 0);
    sched_free(s);
    CHECK(!sched_self());
}
