#include "policy/admission.h"

#include "test/unit/policy/sim_app.h"

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

/* ---- the control law, in virtual time ---- */

static void offer(struct sim *s, double per_s, uint64_t ns)
{
    const struct sim_source source[] = {
        { .per_s = per_s * 0.15, .priority = PRIORITY_CRITICAL },
        { .per_s = per_s * 0.35, .priority = PRIORITY_NORMAL },
        { .per_s = per_s * 0.50, .priority = PRIORITY_BACKGROUND },
    };
    sim_run(s, source, COUNT(source), ns);
}

static double part(uint64_t n, uint64_t of)
{
    return of ? (double)n / (double)of : 1;
}

/* Bar 1 of the issue: eight workers of 20 ms, 400 calls/s. */
TEST(goodput_stays_at_four_and_at_twenty_times_the_capacity)
{
    for (uint64_t seed = 1; seed <= 5; seed++) {
        struct sim s;
        sim_init(&s, 8, 20, seed);
        offer(&s, 200, SEC(5));
        CHECK(sim_sum(s.r.shed) <= 2, "seed %ju: shed at half load", (uintmax_t)seed);
        double unloaded = sim_quantile(&s, 0.99);
        offer(&s, 1600, SEC(30));
        CHECK(sim_sum(s.r.done) > 0.9 * 400 * 30, "seed %ju: %ju", (uintmax_t)seed,
              (uintmax_t)sim_sum(s.r.done));
        CHECK(part(s.r.done[PRIORITY_CRITICAL], s.r.offered[PRIORITY_CRITICAL]) > 0.99, "seed %ju",
              (uintmax_t)seed);
        CHECK(sim_quantile(&s, 0.99) < 3.5 * unloaded, "seed %ju: p99 %.1f ms, unloaded %.1f ms",
              (uintmax_t)seed, sim_quantile(&s, 0.99), unloaded);
        offer(&s, 8000, SEC(10));
        CHECK(sim_sum(s.r.done) > 0.85 * 400 * 10, "seed %ju: %ju at 20 times", (uintmax_t)seed,
              (uintmax_t)sim_sum(s.r.done));
        offer(&s, 200, SEC(2)); /* time to recover */
        offer(&s, 200, SEC(3));
        CHECK(sim_sum(s.r.shed) == 0, "seed %ju: shed after the spike", (uintmax_t)seed);
        CHECK(sim_quantile(&s, 0.99) < 1.5 * unloaded, "seed %ju", (uintmax_t)seed);
        sim_done(&s);
    }
}

TEST(app_without_a_limit_of_its_own_is_not_held_back)
{
    struct sim s;
    sim_init(&s, 4000, 20, 11);
    offer(&s, 10, SEC(5));
    offer(&s, 10000, SEC(2)); /* from one to two hundred at once */
    offer(&s, 10000, SEC(3));
    CHECK_EQ(sim_sum(s.r.shed), 0);
    CHECK(sim_quantile(&s, 0.99) < 25, "%.1f ms", sim_quantile(&s, 0.99));
    for (size_t i = 0; i < SIM_METHODS; i++)
        s.service_ns[i] *= 8; /* what it waits for has become slow */
    offer(&s, 10000, SEC(20));
    offer(&s, 10000, SEC(5));
    CHECK(part(sim_sum(s.r.done), sim_sum(s.r.offered)) > 0.95, "%ju of %ju",
          (uintmax_t)sim_sum(s.r.done), (uintmax_t)sim_sum(s.r.offered));
    sim_done(&s);
}

TEST(limit_does_not_drift_in_ten_minutes_of_overload)
{
    struct sim s;
    sim_init(&s, 8, 20, 5);
    offer(&s, 200, SEC(5));
    for (int minute = 0; minute < 10; minute++) {
        offer(&s, 800, SEC(60));
        double p50 = sim_quantile(&s, 0.5);
        CHECK(p50 < 45, "minute %d: %.1f ms", minute, p50);
        CHECK(sim_sum(s.r.done) > 0.93 * 400 * 60, "minute %d: %ju", minute,
              (uintmax_t)sim_sum(s.r.done));
    }
    sim_done(&s);
}

TEST(scattered_service_times_cost_little)
{
    for (uint64_t seed = 1; seed <= 3; seed++) {
        struct sim s;
        sim_init(&s, 8, 20, seed);
        s.exponential = true;
        offer(&s, 200, SEC(5));
        offer(&s, 800, SEC(120));
        CHECK(sim_sum(s.r.done) > 0.9 * 400 * 120, "seed %ju: %ju", (uintmax_t)seed,
              (uintmax_t)sim_sum(s.r.done));
        sim_done(&s);
    }
}

TEST(slow_method_does_not_starve_a_fast_one)
{
    struct sim s;
    sim_init(&s, 100, 10, 3);
    const struct sim_source source[] = {
        { .per_s = 100, .priority = PRIORITY_NORMAL, .method = 0 },
        { .per_s = 1000, .priority = PRIORITY_NORMAL, .method = 1 }, /* needs 400 workers */
    };
    s.service_ns[1] = 400e6;
    sim_run(&s, source, 2, SEC(10));
    sim_run(&s, source, 2, SEC(20));
    CHECK(s.r.by_method[0] > 0.8 * 100 * 20, "%ju of the fast ones", (uintmax_t)s.r.by_method[0]);
    CHECK(s.r.by_method[1] > 0.5 * 250 * 20, "%ju of the slow ones", (uintmax_t)s.r.by_method[1]);
    sim_done(&s);
}

TEST(deliveries_wait_and_go_on_under_overload)
{
    struct sim s;
    sim_init(&s, 8, 20, 4);
    const struct sim_source source[] = {
        { .per_s = 1600, .priority = PRIORITY_NORMAL },
        { .per_s = 30, .priority = PRIORITY_LOW, .patient = true },
    };
    sim_run(&s, source, 2, SEC(20));
    CHECK_EQ(s.r.patient_shed, 0);
    CHECK(s.r.patient_done > 0.9 * (double)s.r.patient_offered, "%ju of %ju",
          (uintmax_t)s.r.patient_done, (uintmax_t)s.r.patient_offered);
    CHECK(sim_sum(s.r.done) > 0.9 * 370 * 20, "%ju", (uintmax_t)sim_sum(s.r.done));
    sim_done(&s);
}

TEST(nothing_is_begun_after_its_deadline)
{
    struct sim s;
    sim_init(&s, 8, 20, 8);
    const struct sim_source source[] = {
        { .per_s = 1600, .priority = PRIORITY_NORMAL, .timeout_ns = MS(15) },
    };
    sim_run(&s, source, 1, SEC(10));
    CHECK_EQ(s.r.late, 0);
    CHECK(sim_sum(s.r.done) > 0.85 * 400 * 10, "%ju", (uintmax_t)sim_sum(s.r.done));
    sim_done(&s);
}

TEST(app_that_stands_still_for_a_while_comes_back)
{
    struct sim s;
    sim_init(&s, 8, 20, 6);
    offer(&s, 300, SEC(5));
    s.stall_until_ns = s.now_ns + SEC(3);
    offer(&s, 300, SEC(4));
    offer(&s, 300, SEC(5));
    CHECK(part(sim_sum(s.r.done), sim_sum(s.r.offered)) > 0.98, "%ju of %ju",
          (uintmax_t)sim_sum(s.r.done), (uintmax_t)sim_sum(s.r.offered));
    sim_done(&s);
}
