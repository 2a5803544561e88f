#include "policy/admission.h"

#include "test/testing.h"

/* ---- one call at a time ---- */

static struct admission_place *told[64];
static size_t n_told;

static void on_wake(struct admission_place *p)
{
    REQUIRE(n_told < COUNT(told));
    told[n_told++] = p;
}

static struct admission *start(size_t max_concurrency, bool adaptive)
{
    n_told = 0;
    struct admission *a = admission_new(&(struct admission_config){
        .adaptive = adaptive, .max_concurrency = max_concurrency, .wake = on_wake });
    REQUIRE(a);
    return a;
}

static struct admission_ask ask_of(enum priority p)
{
    return (struct admission_ask){ 1, priority_level(p, 3), false, UINT64_MAX };
}

static struct admission_ask patient(void)
{
    return (struct admission_ask){ 1, priority_level(PRIORITY_LOW, 0), true, UINT64_MAX };
}

/* A limit of one that was measured: the app is asked by one at a time, so as to be at it. */
static struct admission *start_with_limit(unsigned limit)
{
    n_told = 0;
    struct admission *a = admission_new(&(struct admission_config){
        .adaptive = true, .min = limit, .max = limit, .wake = on_wake });
    REQUIRE(a);
    return a;
}

TEST(concurrency_of_the_flag_holds_and_who_came_first_is_served_first)
{
    struct admission *a = start(2, false);
    struct admission_place p[5];
    struct admission_ask ask = ask_of(PRIORITY_NORMAL);
    for (int i = 0; i < 5; i++)
        CHECK_EQ(admission_enter(a, &p[i], &ask, SEC(1)), i < 2 ? ADMISSION_IN : ADMISSION_WAIT);
    for (size_t i = 0; i < 3; i++) {
        admission_leave(a, &p[i], ADMISSION_DONE, SEC(2));
        REQUIRE(n_told == i + 1);
        CHECK(told[i] == &p[i + 2]);
        CHECK_EQ(p[i + 2].verdict, ADMISSION_IN);
    }
    admission_leave(a, &p[3], ADMISSION_DONE, SEC(3));
    admission_leave(a, &p[4], ADMISSION_DONE, SEC(3));
    admission_free(a);
}

TEST(more_important_calls_are_served_first)
{
    struct admission *a = start(1, true);
    struct admission_place in, p[PRIORITIES];
    struct admission_ask ask = ask_of(PRIORITY_LOW);
    CHECK_EQ(admission_enter(a, &in, &ask, SEC(1)), ADMISSION_IN);
    for (size_t i = PRIORITIES; i-- > 0;) {
        ask = ask_of((enum priority)i);
        CHECK_EQ(admission_enter(a, &p[i], &ask, SEC(1)), ADMISSION_WAIT);
    }
    admission_leave(a, &in, ADMISSION_DONE, SEC(1) + 1);
    for (size_t i = 0; i < PRIORITIES; i++) {
        REQUIRE(n_told == i + 1);
        CHECK(told[i] == &p[i], "place %zu", i);
        admission_leave(a, &p[i], ADMISSION_DONE, SEC(1) + 2);
    }
    admission_free(a);
}

TEST(full_queue_sheds_the_least_important_first)
{
    n_told = 0;
    struct admission *a = admission_new(&(struct admission_config){
        .adaptive = true, .max_concurrency = 1, .max_queue = 2, .wake = on_wake });
    struct admission_place in, low, normal, late, high;
    struct admission_ask ask = ask_of(PRIORITY_NORMAL);
    CHECK_EQ(admission_enter(a, &in, &ask, 1), ADMISSION_IN);
    CHECK_EQ(admission_enter(a, &normal, &ask, 1), ADMISSION_WAIT);
    ask = ask_of(PRIORITY_LOW);
    CHECK_EQ(admission_enter(a, &low, &ask, 1), ADMISSION_WAIT);
    CHECK_EQ(admission_enter(a, &late, &ask, 1), ADMISSION_OUT);
    CHECK_EQ(late.reason, SHED_QUEUE);
    ask = ask_of(PRIORITY_HIGH);
    CHECK_EQ(admission_enter(a, &high, &ask, 1), ADMISSION_WAIT);
    CHECK_EQ(n_told, 1);
    CHECK(told[0] == &low && low.verdict == ADMISSION_OUT && low.reason == SHED_PRIORITY);
    struct admission_stats s;
    admission_stats(a, &s);
    CHECK_EQ(s.queued, 2);
    CHECK_EQ(s.by_class[PRIORITY_LOW], 2);
    CHECK_EQ(s.by_reason[SHED_QUEUE], 1);
    CHECK_EQ(admission_abandon(a, &high, 2), ADMISSION_OUT);
    CHECK_EQ(admission_abandon(a, &normal, 2), ADMISSION_OUT);
    admission_leave(a, &in, ADMISSION_DONE, 3);
    admission_free(a);
}

TEST(patient_calls_wait_for_hours_and_get_their_turn)
{
    struct admission *a = start_with_limit(2);
    struct admission_place in[2], p, call[20];
    struct admission_ask ask = ask_of(PRIORITY_CRITICAL), wait = patient();
    uint64_t now = SEC(1);
    CHECK_EQ(admission_enter(a, &in[0], &ask, now), ADMISSION_IN);
    CHECK_EQ(admission_enter(a, &in[1], &ask, now), ADMISSION_IN);
    CHECK_EQ(admission_enter(a, &p, &wait, now), ADMISSION_WAIT);
    for (size_t i = 0; i < 20; i++)
        CHECK_EQ(admission_enter(a, &call[i], &ask, now), ADMISSION_WAIT);
    admission_leave(a, &in[0], ADMISSION_DONE, now + 1);
    size_t at = 0;
    for (; at < n_told && told[at] != &p; at++) {
        CHECK_EQ(told[at]->verdict, ADMISSION_IN);
        admission_leave(a, told[at], ADMISSION_DONE, now + 2 + at);
        REQUIRE(at < 15, "a delivery was starved");
    }
    CHECK_EQ(p.verdict, ADMISSION_IN);
    for (; at < n_told; at++)
        admission_leave(a, told[at], ADMISSION_DONE, now + 50);
    admission_leave(a, &in[1], ADMISSION_DONE, now + 60);
    for (; at < n_told; at++)
        admission_leave(a, told[at], ADMISSION_DONE, now + 60);
    CHECK_EQ(n_told, 21);
    admission_free(a);
}

TEST(patient_call_is_not_shed_by_time)
{
    struct admission *a = start(1, true);
    struct admission_place in, p;
    struct admission_ask ask = ask_of(PRIORITY_NORMAL), wait = patient();
    CHECK_EQ(admission_enter(a, &in, &ask, SEC(1)), ADMISSION_IN);
    CHECK_EQ(admission_enter(a, &p, &wait, SEC(1)), ADMISSION_WAIT);
    for (uint64_t s = 2; s < 7200; s += 7)
        CHECK_EQ(admission_check(a, &p, SEC(s)), ADMISSION_WAIT);
    admission_leave(a, &in, ADMISSION_DONE, SEC(7201));
    CHECK_EQ(p.verdict, ADMISSION_IN);
    admission_leave(a, &p, ADMISSION_DONE, SEC(7202));
    admission_free(a);
}

TEST(work_whose_deadline_has_passed_is_not_begun)
{
    struct admission *a = start(1, true);
    struct admission_place in, p, q;
    struct admission_ask ask = ask_of(PRIORITY_NORMAL);
    CHECK_EQ(admission_enter(a, &in, &ask, SEC(1)), ADMISSION_IN);
    ask.deadline_ns = SEC(1) + MS(10);
    CHECK_EQ(admission_enter(a, &p, &ask, SEC(1)), ADMISSION_WAIT);
    CHECK_EQ(admission_enter(a, &q, &ask, SEC(1) + MS(10)), ADMISSION_OUT);
    CHECK_EQ(q.reason, SHED_DEADLINE);
    admission_leave(a, &in, ADMISSION_DONE, SEC(1) + MS(11));
    CHECK_EQ(p.verdict, ADMISSION_OUT);
    CHECK_EQ(p.reason, SHED_DEADLINE);
    admission_free(a);
}

TEST(who_leaves_the_queue_holds_nothing)
{
    struct admission *a = start(1, true);
    struct admission_place in, p, q;
    struct admission_ask ask = ask_of(PRIORITY_NORMAL);
    CHECK_EQ(admission_enter(a, &in, &ask, 1), ADMISSION_IN);
    CHECK_EQ(admission_enter(a, &p, &ask, 1), ADMISSION_WAIT);
    CHECK_EQ(admission_enter(a, &q, &ask, 1), ADMISSION_WAIT);
    CHECK_EQ(admission_abandon(a, &p, 2), ADMISSION_OUT);
    CHECK_EQ(p.reason, SHED_NONE);
    admission_leave(a, &in, ADMISSION_DONE, 3);
    CHECK_EQ(q.verdict, ADMISSION_IN);
    CHECK_EQ(admission_abandon(a, &q, 4), ADMISSION_IN); /* too late: it has been told */
    CHECK(q.told);
    admission_leave(a, &q, ADMISSION_FAILED, 5);
    CHECK_EQ(admission_enter(a, &p, &ask, 6), ADMISSION_IN);
    admission_leave(a, &p, ADMISSION_DONE, 7);
    admission_free(a);
}

TEST(long_calls_give_their_places_back)
{
    struct admission *a = start_with_limit(4);
    struct admission_place p[4], q;
    struct admission_ask ask = ask_of(PRIORITY_NORMAL);
    for (int i = 0; i < 4; i++)
        CHECK_EQ(admission_enter(a, &p[i], &ask, SEC(10)), ADMISSION_IN);
    CHECK_EQ(admission_enter(a, &q, &ask, SEC(10)), ADMISSION_WAIT);
    CHECK_EQ(admission_check(a, &q, SEC(10) + MS(500)), ADMISSION_WAIT);
    CHECK_EQ(admission_check(a, &q, SEC(12) + MS(500)), ADMISSION_IN);
    struct admission_stats s;
    admission_stats(a, &s);
    CHECK_EQ(s.inflight, 1);
    CHECK_EQ(s.all, 5);
    for (int i = 0; i < 4; i++)
        admission_leave(a, &p[i], ADMISSION_DONE, SEC(100));
    admission_leave(a, &q, ADMISSION_DONE, SEC(100));
    admission_stats(a, &s);
    CHECK_EQ(s.inflight, 0);
    CHECK_EQ(s.all, 0);
    admission_free(a);
}

TEST(streams_hold_no_places_and_neither_does_their_method)
{
    struct admission *a = start_with_limit(2);
    struct admission_place p[50];
    struct admission_ask ask = ask_of(PRIORITY_NORMAL);
    for (int i = 0; i < 50; i++) {
        CHECK_EQ(admission_enter(a, &p[i], &ask, SEC(1)), ADMISSION_IN);
        admission_stream(a, &p[i], SEC(1));
    }
    struct admission_stats s;
    admission_stats(a, &s);
    CHECK_EQ(s.inflight, 0);
    CHECK_EQ(s.all, 50);
    for (int i = 0; i < 50; i++)
        admission_leave(a, &p[i], ADMISSION_DONE, SEC(2));
    admission_free(a);
}

TEST(uploads_hold_no_places_but_those_of_the_flag)
{
    struct admission *a = start(3, true);
    struct admission_place p[4];
    struct admission_ask ask = ask_of(PRIORITY_NORMAL);
    struct admission_stats s;
    ask.stream = true;
    for (int i = 0; i < 4; i++)
        CHECK_EQ(admission_enter(a, &p[i], &ask, SEC(1)), i < 3 ? ADMISSION_IN : ADMISSION_WAIT);
    admission_stats(a, &s);
    CHECK_EQ(s.inflight, 0);
    CHECK_EQ(s.all, 3);
    for (int i = 0; i < 4; i++)
        admission_leave(a, &p[i], ADMISSION_DONE, SEC(2));
    admission_free(a);
}

/* ---- an app that gets help ---- */

/* It works on two calls at once for 50 ms, 40 a second, and is asked for so many a second. */
struct rush {
    struct admission *a;
    struct admission_place p[4000];
    bool left[4000];
    size_t n;
    uint64_t now, next_ns;
};
static const uint64_t WORK = MS(50), STEP = MS(5), PATIENCE = SEC(3);

static void ignore(struct admission_place *p)
{
    p->told = false; /* rush_for() looks at all of them */
}

static struct rush *rush_start(void)
{
    static struct rush r;
    r = (struct rush){ .now = SEC(100), .next_ns = SEC(100) };
    r.a = admission_new(
        &(struct admission_config){ .adaptive = true, .min = 2, .max = 2, .wake = ignore });
    REQUIRE(r.a);
    return &r;
}

static void rush_look(struct rush *r)
{
    for (size_t i = 0; i < r->n; i++) {
        struct admission_place *p = &r->p[i];
        if (p->verdict == ADMISSION_WAIT)
            (void)!admission_check(r->a, p, r->now);
        else if (p->verdict == ADMISSION_IN && !r->left[i] && r->now - p->start_ns >= WORK) {
            r->left[i] = true;
            admission_leave(r->a, p, ADMISSION_DONE, r->now);
        }
    }
}

static void rush_for(struct rush *r, uint64_t ns, unsigned per_s)
{
    struct admission_ask ask = ask_of(PRIORITY_NORMAL);
    for (uint64_t end = r->now + ns; r->now < end; r->now += STEP) {
        rush_look(r);
        for (; r->next_ns <= r->now; r->next_ns += SEC(1) / per_s) {
            REQUIRE(r->n < COUNT(r->p));
            (void)!admission_enter(r->a, &r->p[r->n++], &ask, r->now);
        }
    }
}

static uint64_t rush_shed(struct rush *r, size_t *ret_queued)
{
    struct admission_stats s;
    admission_stats(r->a, &s);
    *ret_queued = s.queued;
    return s.by_class[PRIORITY_NORMAL];
}

static void rush_help(struct rush *r, unsigned instances, unsigned max)
{
    admission_relief(r->a, &(struct relief_facts){ instances, max, PATIENCE }, r->now);
}

static void rush_end(struct rush *r)
{
    for (size_t i = 0; i < r->n; i++)
        if (r->p[i].verdict == ADMISSION_WAIT)
            CHECK_EQ(admission_abandon(r->a, &r->p[i], r->now), ADMISSION_OUT);
    r->now += WORK;
    rush_look(r);
    admission_free(r->a);
}

TEST(calls_wait_while_more_instances_come_and_nobody_is_turned_away)
{
    struct rush *r = rush_start();
    size_t queued;
    rush_help(r, 1, 4);
    rush_for(r, SEC(5), 8);
    rush_for(r, SEC(2), 80);
    CHECK_EQ(rush_shed(r, &queued), 0);
    CHECK(queued > 50, "%zu wait", queued);
    rush_help(r, 4, 4); /* all there may be: what waits is worked off */
    rush_for(r, PATIENCE, 10);
    CHECK_EQ(rush_shed(r, &queued), 0);
    CHECK_EQ(queued, 0);
    rush_end(r);
}

/* Each thread reads the clock before it has the lock. */
TEST(who_comes_with_a_clock_that_is_behind_turns_nobody_away)
{
    struct rush *r = rush_start();
    struct admission_place in[2], first, second;
    struct admission_ask ask = ask_of(PRIORITY_NORMAL);
    rush_for(r, SEC(5), 8);
    r->now += SEC(1);
    rush_look(r);
    for (size_t i = 0; i < 2; i++)
        CHECK_EQ(admission_enter(r->a, &in[i], &ask, r->now), ADMISSION_IN);
    CHECK_EQ(admission_enter(r->a, &first, &ask, r->now + 2), ADMISSION_WAIT);
    CHECK_EQ(admission_enter(r->a, &second, &ask, r->now + 1), ADMISSION_WAIT);
    CHECK_EQ(first.verdict, ADMISSION_WAIT);
    CHECK_EQ(admission_abandon(r->a, &first, r->now + 2), ADMISSION_OUT);
    CHECK_EQ(admission_abandon(r->a, &second, r->now + 2), ADMISSION_OUT);
    for (size_t i = 0; i < 2; i++)
        admission_leave(r->a, &in[i], ADMISSION_DONE, r->now + 3);
    rush_end(r);
}

TEST(without_help_a_standing_queue_sheds)
{
    struct rush *r = rush_start();
    size_t queued;
    rush_help(r, 4, 4);
    rush_for(r, SEC(5), 8);
    rush_for(r, SEC(2), 80);
    CHECK(rush_shed(r, &queued) > 20);
    rush_end(r);
}

TEST(help_that_does_not_come_is_not_waited_for)
{
    struct rush *r = rush_start();
    size_t queued;
    rush_help(r, 1, 4);
    rush_for(r, SEC(5), 8);
    rush_for(r, PATIENCE - MS(500), 80);
    CHECK_EQ(rush_shed(r, &queued), 0);
    rush_for(r, SEC(2), 80);
    uint64_t before = rush_shed(r, &queued);
    CHECK(before > 50);
    CHECK(queued < 20, "%zu wait", queued);
    rush_for(r, PATIENCE, 80); /* nor soon again */
    CHECK(rush_shed(r, &queued) - before > 3 * 30);
    CHECK(queued < 20, "%zu wait", queued);
    rush_end(r);
}

/* No more wait for help than the app does by itself in the time that help may take. */
TEST(help_lets_no_more_wait_than_can_be_done)
{
    struct rush *r = rush_start();
    size_t queued;
    rush_help(r, 1, 4);
    rush_for(r, SEC(5), 8);
    rush_for(r, PATIENCE - MS(500), 400);
    CHECK(rush_shed(r, &queued) > 0);
    CHECK(queued > 50 && queued < 250, "%zu wait", queued);
    rush_help(r, 4, 4);
    uint64_t before = rush_shed(r, &queued);
    rush_for(r, PATIENCE, 1);
    CHECK(rush_shed(r, &queued) - before < 20, "%zu wait", queued);
    rush_end(r);
}

TEST(what_is_above_the_cut_outlasts_a_hiccup_of_the_app)
{
    struct rush *r = rush_start();
    struct admission_place p;
    struct admission_ask ask = ask_of(PRIORITY_CRITICAL);
    rush_for(r, SEC(5), 8);
    rush_for(r, SEC(3), 120);
    REQUIRE(admission_cuts(r->a));
    REQUIRE(admission_enter(r->a, &p, &ask, r->now) == ADMISSION_WAIT);
    r->now += 6 * WORK; /* in which nothing ends */
    CHECK_EQ(admission_check(r->a, &p, r->now), ADMISSION_WAIT);
    rush_look(r);
    REQUIRE(p.verdict == ADMISSION_IN);
    admission_leave(r->a, &p, ADMISSION_DONE, r->now);
    rush_end(r);
}

TEST(out_of_memory_is_said)
{
    FAIL_EACH_ALLOC(n)
    {
        struct admission *a = admission_new(&(struct admission_config){ .adaptive = true });
        CHECK(a || test_alloc_failed(n));
        admission_free(a);
    }
}

TEST(load_is_what_is_in_use)
{
    struct admission *a = start_with_limit(4);
    struct admission_place p[5];
    struct admission_ask ask = ask_of(PRIORITY_NORMAL);
    static const unsigned want[] = { 250, 500, 750, 1000, 1000 };
    CHECK_EQ(admission_load(a), 0);
    for (int i = 0; i < 5; i++) {
        (void)!admission_enter(a, &p[i], &ask, SEC(1));
        CHECK_EQ(admission_load(a), want[i]);
    }
    CHECK_EQ(admission_abandon(a, &p[4], SEC(1)), ADMISSION_OUT);
    for (int i = 0; i < 4; i++)
        admission_leave(a, &p[i], ADMISSION_DONE, SEC(1));
    admission_free(a);
}
