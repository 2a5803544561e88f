#include "fiber/sync.h"
#include "test/testing.h"

#include <pthread.h>
#include <stdatomic.h>

/* ---- mail ---- */

enum { SENDERS = 4, MAILS = 20000 };

struct note {
    struct mail mail;
    size_t sender, number;
};

static size_t last_seen[SENDERS], n_seen, n_out_of_order;
static struct worker *receiver;

static void on_note(struct mail *m)
{
    struct note *n = CONTAINER_OF(m, struct note, mail);
    if (worker_self() != receiver || fiber_self() || n->number != last_seen[n->sender] + 1)
        n_out_of_order++;
    last_seen[n->sender] = n->number;
    n_seen++;
}

static void *send_mails(void *arg)
{
    struct note *n = arg;
    for (size_t i = 0; i < MAILS; i++)
        worker_post(receiver, &n[i].mail);
    return NULL;
}

static void wait_for_mails(void *arg)
{
    (void)arg;
    DEADLINE(SEC(20));
    while (n_seen < SENDERS * MAILS && fiber_sleep(MS(1)) == 0)
        ;
}

TEST(mail_of_many_threads_arrives_in_each_ones_order)
{
    struct error err = { 0 };
    REQUIRE(workers_start(2, 100, &err) == 0);
    receiver = worker_at(1);
    struct note *notes = mem_zalloc(SENDERS * MAILS * sizeof *notes);
    pthread_t thread[SENDERS];
    REQUIRE(notes);
    for (size_t i = 0; i < SENDERS * MAILS; i++)
        notes[i] = (struct note){ { .run = on_note }, i / MAILS, i % MAILS + 1 };
    for (size_t i = 0; i < SENDERS; i++)
        REQUIRE(!pthread_create(&thread[i], NULL, send_mails, notes + i * MAILS));
    for (size_t i = 0; i < SENDERS; i++)
        pthread_join(thread[i], NULL);
    CHECK_OK(worker_run(receiver, "wait", wait_for_mails, NULL));
    CHECK_EQ(workers_stop(SEC(5)), 0);
    CHECK_EQ(n_seen, SENDERS * MAILS);
    CHECK_EQ(n_out_of_order, 0);
    mem_free(notes);
}

struct hop {
    struct mail mail;
    int left;
    struct ticket *ticket;
};

static void on_hop(struct mail *m)
{
    struct hop *h = CONTAINER_OF(m, struct hop, mail);
    if (!h->left--)
        ticket_done(h->ticket, 77);
    else
        worker_post(worker_at((worker_index(worker_self()) + 1) % workers_count()), &h->mail);
}

TEST_LOOP(mail_may_be_sent_on_from_its_own_run)
{
    struct ticket ticket;
    ticket_init(&ticket);
    struct hop hop = { .mail.run = on_hop, .left = 10000, .ticket = &ticket };
    worker_post(worker_self(), &hop.mail);
    CHECK_EQ(ticket_wait(&ticket), 77);
}

/* ---- tickets, the pool ---- */

static void *answer(void *arg)
{
    ticket_done(arg, -NOT_FOUND);
    return NULL;
}

TEST_LOOP(ticket_brings_the_answer_of_another_thread)
{
    for (int i = 0; i < 100; i++) {
        struct ticket ticket;
        ticket_init(&ticket);
        pthread_t thread;
        REQUIRE(!pthread_create(&thread, NULL, answer, &ticket));
        if (i % 2)
            CHECK_OK(fiber_sleep(MS(1)), "an early answer doesn't end another wait");
        CHECK_EQ(ticket_wait(&ticket), -NOT_FOUND);
        pthread_join(thread, NULL);
    }
}

struct slow {
    pthread_t thread;
    atomic_bool ended;
};

static void work_slowly(void *arg)
{
    struct slow *s = arg;
    s->thread = pthread_self();
    uint64_t end = clock_now_ns() + MS(20);
    while (clock_now_ns() < end)
        ;
    atomic_store(&s->ended, true);
}

static void cancel_soon(void *arg)
{
    CHECK_OK(fiber_sleep(MS(2)));
    fiber_cancel(arg);
}

TEST_LOOP(blocking_runs_elsewhere_and_ends_first)
{
    struct slow slow = { 0 };
    REQUIRE(fiber_spawn("canceller", cancel_soon, fiber_self()));
    DEADLINE(MS(5));
    CHECK_OK(blocking(work_slowly, &slow));
    CHECK(atomic_load(&slow.ended), "neither cancel nor deadline cut it short");
    CHECK(!pthread_equal(slow.thread, pthread_self()));
    CHECK_EQ(fiber_sleep(MS(1)), -CANCELLED);
}

/* ---- spawning ---- */

struct where {
    size_t index;
    bool in_fiber;
};

static void look_around(void *arg)
{
    struct where *w = arg;
    w->index = worker_index(worker_self());
    w->in_fiber = fiber_self() != NULL;
    CHECK_TEXT(fiber_name(fiber_self()), "look");
}

TEST(run_waits_for_a_fiber_of_the_worker)
{
    struct error err = { 0 };
    REQUIRE(workers_start(3, 10, &err) == 0);
    CHECK_EQ(workers_count(), 3);
    CHECK(!worker_self());
    for (size_t i = 0; i < 3; i++) {
        struct where w = { 99, false };
        CHECK_OK(worker_run(worker_at(i), "look", look_around, &w));
        CHECK_EQ(w.index, i);
        CHECK(w.in_fiber);
    }
    mem_fail_at(1);
    CHECK_EQ(worker_run(worker_at(0), "look", look_around, NULL), -EXHAUSTED);
    mem_fail_at(0);
    CHECK_EQ(workers_stop(SEC(5)), 0);
    CHECK_EQ(workers_count(), 0);
}

static atomic_size_t n_ran;

static void sleep_and_count(void *arg)
{
    (void)arg;
    CHECK_OK(fiber_sleep(MS(1)));
    atomic_fetch_add(&n_ran, 1);
}

static void wait_for_count(void *arg)
{
    DEADLINE(SEC(10));
    while (atomic_load(&n_ran) < *(size_t *)arg && fiber_sleep(MS(1)) == 0)
        ;
}

TEST(spawns_past_the_limit_wait_for_room)
{
    struct error err = { 0 };
    size_t n = 500;
    atomic_store(&n_ran, 0);
    REQUIRE(workers_start(1, 20, &err) == 0);
    for (size_t i = 0; i < n; i++)
        CHECK_OK(worker_spawn(worker_at(0), "count", sleep_and_count, NULL));
    CHECK_OK(worker_run(worker_at(0), "wait", wait_for_count, &n));
    CHECK_EQ(atomic_load(&n_ran), n);
    CHECK_EQ(workers_stop(SEC(5)), 0);
}

/* ---- timers ---- */

struct ticker {
    struct fiber *fiber;
    struct loop_timer *timer;
    int n, stop_at;
};

static void on_tick(void *arg)
{
    struct ticker *t = arg;
    CHECK(!fiber_self());
    if (++t->n < t->stop_at)
        return;
    loop_timer_stop(TAKE(t->timer));
    (void)fiber_wake(t->fiber, 0);
}

TEST_LOOP(timer_repeats_until_stopped)
{
    struct ticker t = { .fiber = fiber_self(), .stop_at = 5 };
    uint64_t before = clock_now_ns();
    t.timer = loop_timer_start(MS(5), MS(2), on_tick, &t);
    DEADLINE(SEC(5));
    CHECK_OK(fiber_park());
    CHECK(clock_now_ns() - before >= MS(13));
    CHECK_OK(fiber_sleep(MS(10)));
    CHECK_EQ(t.n, 5);
}

TEST_LOOP(timer_without_repeat_fires_once)
{
    struct ticker t = { .fiber = fiber_self(), .stop_at = 99 };
    t.timer = loop_timer_start(MS(1), 0, on_tick, &t);
    CHECK_OK(fiber_sleep(MS(20)));
    CHECK_EQ(t.n, 1);
    loop_timer_stop(t.timer);
}

TEST_LOOP(sleep_is_not_shorter_than_asked)
{
    for (uint64_t ns = 1; ns < MS(20); ns = ns * 5 + 1) {
        uint64_t before = clock_now_ns();
        CHECK_OK(fiber_sleep(ns));
        uint64_t took = clock_now_ns() - before;
        CHECK(took >= ns, "%ju of %ju ns", (uintmax_t)took, (uintmax_t)ns);
    }
}

/* ---- stopping ---- */

static void sleep_for_ever(void *arg)
{
    CHECK_EQ(fiber_sleep(SEC(3600)), -CANCELLED);
    atomic_fetch_add((atomic_size_t *)arg, 1);
}

static void clean_up_for_a_while(void *arg)
{
    CHECK_EQ(fiber_sleep(SEC(3600)), -CANCELLED);
    {
        SHIELD();
        CHECK_OK(fiber_sleep(MS(20)));
    }
    atomic_fetch_add((atomic_size_t *)arg, 1);
}

static void child_of_a_cancelled(void *arg)
{
    CHECK_EQ(fiber_sleep(SEC(3600)), -CANCELLED);
    atomic_fetch_add((atomic_size_t *)arg, 1);
}

static void spawn_when_cancelled(void *arg)
{
    CHECK_EQ(fiber_sleep(SEC(3600)), -CANCELLED);
    REQUIRE(fiber_spawn("late child", child_of_a_cancelled, arg));
    atomic_fetch_add((atomic_size_t *)arg, 1);
}

TEST(stop_ends_fibers_in_flight)
{
    struct error err = { 0 };
    atomic_size_t ended = 0;
    REQUIRE(workers_start(2, 100, &err) == 0);
    for (size_t i = 0; i < 2; i++) {
        for (int k = 0; k < 10; k++)
            CHECK_OK(worker_spawn(worker_at(i), "sleeper", sleep_for_ever, &ended));
        CHECK_OK(worker_spawn(worker_at(i), "cleaner", clean_up_for_a_while, &ended));
        CHECK_OK(worker_spawn(worker_at(i), "parent", spawn_when_cancelled, &ended));
    }
    uint64_t before = clock_now_ns();
    CHECK_EQ(workers_stop(SEC(20)), 0);
    CHECK(clock_now_ns() - before < SEC(15));
    CHECK_EQ(atomic_load(&ended), 2 * 13);
}

struct ask {
    struct mail mail;
    struct ticket ticket;
};

static void on_ask(struct mail *m)
{
    struct ask *a = CONTAINER_OF(m, struct ask, mail);
    ticket_done(&a->ticket, 3);
}

static void ask_when_cancelled(void *arg)
{
    CHECK_EQ(fiber_sleep(SEC(3600)), -CANCELLED);
    struct ask ask = { .mail.run = on_ask };
    ticket_init(&ask.ticket);
    worker_post(arg, &ask.mail);
    CHECK_EQ(ticket_wait(&ask.ticket), 3);
}

TEST(stop_lets_workers_answer_each_other)
{
    struct error err = { 0 };
    REQUIRE(workers_start(2, 100, &err) == 0);
    CHECK_OK(worker_spawn(worker_at(0), "asks", ask_when_cancelled, worker_at(1)));
    CHECK_EQ(workers_stop(SEC(20)), 0);
}

static void never_end(void *arg)
{
    (void)arg;
    SHIELD();
    (void)fiber_sleep(SEC(3600));
}

/* Its worker is kept: a stack that can't be unwound can't be freed. */
TEST(stop_counts_what_would_not_end)
{
    struct error err = { 0 };
    REQUIRE(workers_start(2, 100, &err) == 0);
    CHECK_OK(worker_spawn(worker_at(1), "stubborn", never_end, NULL));
    struct where w;
    CHECK_OK(worker_run(worker_at(1), "look", look_around, &w));
    uint64_t before = clock_now_ns();
    CHECK_EQ(workers_stop(MS(50)), 1);
    CHECK(clock_now_ns() - before < SEC(10));
}

TEST(start_survives_each_failing_allocation)
{
    FAIL_EACH_ALLOC(n)
    {
        struct error err = { 0 };
        int r = workers_start(2, 10, &err);
        if (r == 0)
            CHECK_EQ(workers_stop(SEC(5)), 0);
        else
            CHECK_EQ(err.code, EXHAUSTED, "allocation %zu: %s", n, err.text);
        CHECK_EQ(workers_count(), 0);
    }
}
