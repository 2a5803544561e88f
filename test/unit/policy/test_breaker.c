#include "policy/breaker.h"

#include "format/cel.h"
#include "policy/breakers.h"
#include "test/testing.h"

#include <pthread.h>

/* Under a simulated clock: one call at a time. */
static int call(struct breaker *b, uint64_t now, bool success, struct error *err)
{
    uint64_t ticket;
    int r = breaker_enter(b, now, &ticket, err);
    if (r == 0)
        (void)breaker_leave(b, ticket, success, now);
    return r;
}

static void trip(struct breaker *b, uint64_t now)
{
    for (int i = 0; i < 6; i++)
        CHECK_OK(call(b, now, false, NULL));
    CHECK_EQ(breaker_state(b, now), BREAKER_OPEN);
}

TEST(sixth_failure_in_a_row_opens)
{
    struct breaker *b = breaker_new(&(struct breaker_config){ 0 }, 0);
    struct error err = { 0 };
    for (int i = 0; i < 5; i++)
        CHECK_OK(call(b, 1, false, NULL));
    CHECK_OK(call(b, 1, true, NULL)); /* the row is broken */
    for (int i = 0; i < 5; i++)
        CHECK_OK(call(b, 1, false, NULL));
    CHECK_EQ(breaker_state(b, 1), BREAKER_CLOSED);
    CHECK_OK(call(b, 1, false, NULL));
    CHECK_EQ(breaker_state(b, 1), BREAKER_OPEN);
    CHECK_EQ(call(b, 2, true, &err), -UNAVAILABLE);
    CHECK_TEXT(err.text, "circuit breaker is open");
    breaker_unref(b);
}

TEST(open_becomes_half_open_after_its_time_and_one_success_closes)
{
    struct breaker *b = breaker_new(&(struct breaker_config){ 0 }, 0);
    trip(b, SEC(10));
    CHECK_EQ(call(b, SEC(70), true, NULL), -UNAVAILABLE);
    CHECK_EQ(breaker_state(b, SEC(70) + 1), BREAKER_HALF_OPEN);
    CHECK_OK(call(b, SEC(71), true, NULL));
    CHECK_EQ(breaker_state(b, SEC(71)), BREAKER_CLOSED);
    CHECK_EQ(breaker_counts(b).requests, 0);
    breaker_unref(b);
}

TEST(half_open_failure_opens_again_for_the_whole_time)
{
    struct breaker *b = breaker_new(&(struct breaker_config){ .timeout_ns = SEC(5) }, 0);
    trip(b, 0);
    CHECK_OK(call(b, SEC(6), false, NULL));
    CHECK_EQ(breaker_state(b, SEC(11)), BREAKER_OPEN);
    CHECK_EQ(breaker_state(b, SEC(11) + 1), BREAKER_HALF_OPEN);
    breaker_unref(b);
}

TEST(half_open_lets_max_requests_in_and_needs_as_many_successes)
{
    struct breaker_config config = { .max_requests = 2, .timeout_ns = SEC(1) };
    struct breaker *b = breaker_new(&config, 0);
    struct error err = { 0 };
    uint64_t t1, t2, t3 = 77;
    trip(b, 0);
    CHECK_OK(breaker_enter(b, SEC(2), &t1, NULL));
    CHECK_OK(breaker_enter(b, SEC(2), &t2, NULL));
    CHECK_EQ(breaker_enter(b, SEC(2), &t3, &err), -UNAVAILABLE);
    CHECK_TEXT(err.text, "too many requests");
    CHECK_EQ(t3, 77);
    CHECK(!breaker_leave(b, t1, true, SEC(2)));
    CHECK_EQ(breaker_state(b, SEC(2)), BREAKER_HALF_OPEN);
    CHECK(breaker_leave(b, t2, true, SEC(2)));
    CHECK_EQ(breaker_state(b, SEC(2)), BREAKER_CLOSED);
    breaker_unref(b);
}

TEST(result_of_an_older_generation_counts_for_nothing)
{
    struct breaker *b = breaker_new(&(struct breaker_config){ .timeout_ns = SEC(1) }, 0);
    uint64_t late;
    CHECK_OK(breaker_enter(b, 0, &late, NULL));
    trip(b, 0);
    CHECK_EQ(breaker_state(b, SEC(2)), BREAKER_HALF_OPEN);
    CHECK(!breaker_leave(b, late, false, SEC(2)));
    CHECK_EQ(breaker_state(b, SEC(2)), BREAKER_HALF_OPEN);
    CHECK(!breaker_leave(b, late, true, SEC(2)));
    CHECK_EQ(breaker_state(b, SEC(2)), BREAKER_HALF_OPEN);
    breaker_unref(b);
}

TEST(forgotten_probe_frees_its_place)
{
    struct breaker *b = breaker_new(&(struct breaker_config){ .timeout_ns = SEC(1) }, 0);
    uint64_t ticket;
    trip(b, 0);
    CHECK_OK(breaker_enter(b, SEC(2), &ticket, NULL));
    CHECK_EQ(call(b, SEC(2), true, NULL), -UNAVAILABLE);
    breaker_forget(b, ticket, SEC(2));
    CHECK_OK(call(b, SEC(2), true, NULL));
    CHECK_EQ(breaker_state(b, SEC(2)), BREAKER_CLOSED);
    breaker_unref(b);
}

TEST(interval_clears_the_counts_while_closed)
{
    struct breaker *b = breaker_new(&(struct breaker_config){ .interval_ns = SEC(10) }, 0);
    for (int i = 0; i < 5; i++)
        CHECK_OK(call(b, SEC(9), false, NULL));
    CHECK_EQ(breaker_counts(b).consecutive_failures, 5);
    for (int i = 0; i < 5; i++)
        CHECK_OK(call(b, SEC(11), false, NULL));
    CHECK_EQ(breaker_state(b, SEC(11)), BREAKER_CLOSED);
    CHECK_EQ(breaker_counts(b).total_failures, 5);
    breaker_unref(b);
}

TEST(condition_decides_when_to_trip)
{
    static const struct {
        const char *name, *trip;
        int failures, successes;
        enum breaker_state want;
    } row[] = {
        { "total", "totalFailures >= 2", 2, 5, BREAKER_OPEN },
        { "not yet", "totalFailures >= 3", 2, 5, BREAKER_CLOSED },
        { "ratio", "requests >= 4 && double(totalFailures) / double(requests) > 0.4", 2, 2,
          BREAKER_OPEN },
        { "successes", "totalSuccesses == 3 && consecutiveSuccesses == 0", 1, 3, BREAKER_OPEN },
        { "unknown name", "nonsense > 0", 9, 0, BREAKER_CLOSED },
        { "no condition", "requests + 1", 9, 0, BREAKER_CLOSED },
        { "division by zero", "1 / totalSuccesses > 0", 9, 0, BREAKER_CLOSED },
    };
    EACH (row, r) {
        struct arena a;
        struct breaker_config config = { 0 };
        struct cel_program *program = NULL;
        arena_init(&a, KIB(64));
        REQUIRE(cel_compile(&a, str_c(r->trip), &program, NULL) == 0, "%s", r->name);
        config.trip = program;
        struct breaker *b = breaker_new(&config, 0);
        for (int i = 0; i < r->successes; i++)
            CHECK_OK(call(b, 1, true, NULL));
        for (int i = 0; i < r->failures; i++)
            (void)call(b, 1, false, NULL);
        CHECK_EQ(breaker_state(b, 1), r->want, "%s", r->name);
        breaker_unref(b);
        arena_done(&a);
    }
}

TEST(state_names_are_the_contracts)
{
    CHECK_TEXT(breaker_state_name(BREAKER_CLOSED), "closed");
    CHECK_TEXT(breaker_state_name(BREAKER_HALF_OPEN), "half-open");
    CHECK_TEXT(breaker_state_name(BREAKER_OPEN), "open");
}

enum { THREADS = 4, CALLS = 5000 };

static void *hammer(void *arg)
{
    for (uint64_t i = 0; i < CALLS; i++)
        (void)call(arg, i * MS(1), i % 7 == 0, NULL);
    return NULL;
}

TEST(threads_keep_the_counts_consistent)
{
    struct breaker *b = breaker_new(&(struct breaker_config){ .timeout_ns = MS(3) }, 0);
    pthread_t t[THREADS];
    for (int i = 0; i < THREADS; i++)
        REQUIRE(pthread_create(&t[i], NULL, hammer, breaker_ref(b)) == 0);
    for (int i = 0; i < THREADS; i++) {
        pthread_join(t[i], NULL);
        breaker_unref(b);
    }
    struct breaker_counts c = breaker_counts(b);
    CHECK_EQ(c.requests, c.total_successes + c.total_failures);
    breaker_unref(b);
}

TEST(table_drops_the_least_used_breaker_but_holders_keep_it)
{
    struct breaker_table t;
    struct breaker_config config = { 0 };
    breakers_init(&t, 2);
    struct breaker *a = breakers_get(&t, S("a"), &config, 0);
    trip(a, 0);
    struct breaker *b = breakers_get(&t, S("b"), &config, 0);
    struct breaker *again = breakers_get(&t, S("a"), &config, 0);
    CHECK(a == again);
    struct breaker *c = breakers_get(&t, S("c"), &config, 0);  /* b goes */
    struct breaker *b2 = breakers_get(&t, S("b"), &config, 0); /* a goes */
    CHECK(b2 != b && c != b);
    CHECK_EQ(breaker_state(a, 0), BREAKER_OPEN);
    struct breaker *all[] = { a, b, again, c, b2 };
    for (size_t i = 0; i < COUNT(all); i++)
        breaker_unref(all[i]);
    breakers_done(&t);
}

TEST(table_out_of_memory_gives_none)
{
    struct breaker_config config = { 0 };
    FAIL_EACH_ALLOC(n)
    {
        struct breaker_table t;
        breakers_init(&t, 2);
        struct breaker *b = breakers_get(&t, S("a"), &config, 0);
        CHECK(b || test_alloc_failed(n));
        breaker_unref(b);
        breakers_done(&t);
    }
}
