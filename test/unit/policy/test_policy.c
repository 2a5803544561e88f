#include "policy/policy.h"

#include "test/testing.h"

static struct named_timeout timeouts[] = { { S("t"), MS(250) } };
static struct named_retry retries[] = {
    { S("two"), { .max_retries = 2, .interval_ns = MS(100) } },
    { S("picky"), { .max_retries = 9 } },
};
static struct named_breaker breakers[] = { { S("cb"), { .timeout_ns = SEC(5) } } };
static struct app_target apps[] = {
    { S("all"), { S("t"), S("two"), S("cb") }, 0 },
    { S("retry"), { .retry = S("two") }, 0 },
    { S("picky"), { .retry = S("picky") }, 0 },
    { S("cb"), { .breaker = S("cb") }, 0 },
};
static const struct code_range unavailable[] = { { 14, 14 } }, five_hundreds[] = { { 500, 599 } };
static const struct resiliency_spec spec = {
    .timeout = timeouts,
    .retry = retries,
    .breaker = breakers,
    .app = apps,
    .n_timeout = 1,
    .n_retry = 2,
    .n_breaker = 1,
    .n_app = COUNT(apps),
};

struct fixture {
    struct resiliency *r;
    struct policy *p;
    struct policy_run run;
    uint64_t now, timeout, wait;
    struct error err;
};

static void begin(struct fixture *f, const char *app)
{
    static const struct resiliency_spec *const specs[] = { &spec };
    retries[1].policy.match = (struct retry_match){ five_hundreds, unavailable, 1, 1 };
    *f = (struct fixture){ .r = resiliency_new(specs, 1, NULL), .now = SEC(1), .wait = 77 };
    REQUIRE(f->r);
    f->p = app ? policy_app(f->r, str_c(app)) : NULL;
    policy_begin(&f->run, f->p, S("app:method"), f->now);
}

static void end(struct fixture *f)
{
    policy_end(&f->run, f->now);
    resiliency_free(f->r);
}

/* One try; returns whether to go on. */
static bool try_once(struct fixture *f, struct policy_outcome o)
{
    REQUIRE(policy_attempt(&f->run, f->now, &f->timeout, &f->err) == 0, "%s", f->err.text);
    bool again = policy_result(&f->run, &o, f->now, 0.5, &f->wait);
    f->now += again ? f->wait : 0;
    return again;
}

TEST(no_policy_means_one_try_without_limit)
{
    struct fixture f;
    begin(&f, NULL);
    CHECK(!try_once(&f, (struct policy_outcome){ .result = -UNAVAILABLE }));
    CHECK_EQ(f.timeout, 0);
    end(&f);
}

TEST(failure_is_tried_again_until_the_policy_is_spent)
{
    struct fixture f;
    begin(&f, "all");
    struct policy_outcome failed = { .result = -UNAVAILABLE };
    CHECK(try_once(&f, failed));
    CHECK_EQ(f.timeout, MS(250));
    CHECK_EQ(f.wait, MS(100));
    CHECK(try_once(&f, failed));
    CHECK(!try_once(&f, failed));
    CHECK_EQ(f.run.attempts, 3);
    CHECK_EQ(f.p->stats.used[POLICY_RETRY], 1);
    CHECK_EQ(f.p->stats.activated[POLICY_RETRY], 1);
    CHECK_EQ(f.p->stats.used[POLICY_TIMEOUT], 1);
    CHECK_EQ(f.p->stats.breaker_used[BREAKER_CLOSED], 1);
    end(&f);
}

TEST(outcomes_decide_on_another_try)
{
    static const struct {
        const char *name, *app;
        struct policy_outcome o;
        bool again;
    } row[] = {
        { "success", "retry", { .result = 0 }, false },
        { "failure", "retry", { .result = -INTERNAL }, true },
        { "permanent", "retry", { .result = -INTERNAL, .permanent = true }, false },
        { "caller gone", "retry", { .result = -CANCELLED }, false },
        { "own timeout", "retry", { .result = -TIMEOUT, .timed_out = true }, true },
        { "no status", "picky", { .result = -UNAVAILABLE }, true },
        { "listed status", "picky", { .result = -UNAVAILABLE, .http = 503 }, true },
        { "other status", "picky", { .result = -NOT_FOUND, .http = 404 }, false },
        { "listed code", "picky", { .result = -UNAVAILABLE, .grpc = 14 }, true },
        { "other code", "picky", { .result = -NOT_FOUND, .grpc = 5 }, false },
        { "no retry policy", "cb", { .result = -UNAVAILABLE }, false },
    };
    EACH (row, r) {
        struct fixture f;
        begin(&f, r->app);
        CHECK_EQ(try_once(&f, r->o), r->again, "%s", r->name);
        CHECK_EQ(f.p->stats.activated[POLICY_TIMEOUT], r->o.timed_out, "%s", r->name);
        end(&f);
    }
}

TEST(open_breaker_refuses_and_ends_the_retries)
{
    struct fixture f;
    begin(&f, "cb");
    policy_end(&f.run, f.now);
    for (int i = 0; i < 6; i++) {
        policy_begin(&f.run, f.p, S("app:method"), f.now);
        CHECK(!try_once(&f, (struct policy_outcome){ .result = -UNAVAILABLE }));
        policy_end(&f.run, f.now);
    }
    CHECK_EQ(f.p->stats.breaker_activated[BREAKER_OPEN], 1);
    policy_begin(&f.run, f.p, S("app:method"), f.now);
    CHECK_EQ(policy_attempt(&f.run, f.now, &f.timeout, &f.err), -UNAVAILABLE);
    CHECK_TEXT(f.err.text, "circuit breaker is open");
    policy_end(&f.run, f.now);
    policy_begin(&f.run, f.p, S("app:other"), f.now); /* has a breaker of its own */
    CHECK(!try_once(&f, (struct policy_outcome){ .result = 0 }));
    CHECK_EQ(f.p->stats.breaker_used[BREAKER_OPEN], 1);
    end(&f);
}

TEST(abandoned_call_is_neither_success_nor_failure)
{
    struct fixture f;
    begin(&f, "cb");
    for (int i = 0; i < 20; i++) {
        policy_end(&f.run, f.now);
        policy_begin(&f.run, f.p, S("app:method"), f.now);
        CHECK_OK(policy_attempt(&f.run, f.now, &f.timeout, NULL));
    }
    struct breaker *b = policy_breaker(f.p, S("app:method"), f.now);
    CHECK_EQ(breaker_counts(b).requests, 1); /* the one that is still inside */
    CHECK_EQ(breaker_counts(b).total_failures, 0);
    breaker_unref(b);
    end(&f);
}

TEST(spent_budget_ends_the_retries)
{
    struct fixture f;
    struct budget budget;
    budget_init(&budget, &(struct budget_config){ .ratio = 1, .floor = 1 });
    budget_deposit(&budget, SEC(1)); /* the call's own */
    begin(&f, "retry");
    f.run.budget = &budget;
    CHECK(try_once(&f, (struct policy_outcome){ .result = -UNAVAILABLE }));
    CHECK(!f.run.spent);
    CHECK(!try_once(&f, (struct policy_outcome){ .result = -UNAVAILABLE }));
    CHECK(f.run.spent);
    end(&f);
}
