#include "block/core/guard.h"
#include "block/core/pipeline.h"
#include "fixture.h"

static const char POLICIES[] =
    "apiVersion: dapr.io/v1alpha1\nkind: Resiliency\nmetadata:\n  name: r\nspec:\n  policies:\n"
    "    timeouts:\n      short: 100ms\n"
    "    retries:\n      three: {policy: constant, duration: 10ms, maxRetries: 3}\n"
    "      only503: {policy: constant, duration: 1ms, maxRetries: 5, matching: {httpStatusCodes: "
    "\"503\", gRPCStatusCodes: \"8,14\"}}\n"
    "    circuitBreakers:\n      cb: {timeout: 60s, trip: consecutiveFailures >= 2}\n"
    "  targets:\n    apps:\n      retry: {retry: three}\n      slow: {timeout: short}\n"
    "      slowretry: {timeout: short, retry: three}\n      broken: {circuitBreaker: cb}\n"
    "      both: {circuitBreaker: cb, retry: three}\n      coded: {retry: only503}\n";

struct job {
    int code;
    unsigned failures, calls;
    int http, grpc;
    bool fatal, retried, shed;
    uint64_t sleep_ns;
};

CO static int work(void *arg, struct guard_attempt *attempt, struct error *err)
{
    struct job *j = arg;
    CHECK_EQ(attempt->number, j->calls);
    j->calls++;
    if (j->sleep_ns) {
        int r = fiber_sleep(j->sleep_ns);
        if (r < 0)
            return r;
    }
    if (!j->failures)
        return 5;
    j->failures--;
    attempt->http_status = j->http;
    attempt->grpc_status = j->grpc;
    attempt->fatal = j->fatal;
    attempt->retried = j->retried;
    attempt->shed = j->shed;
    return fail(err, (enum code)j->code, "ERR_X", "failure %u", j->calls);
}

static int guarded(struct fixture *f, const char *app, struct job *j, struct error *err)
{
    return guard_call(policy_app(f->b.resiliency, str_c(app)), S("e"), work, j, err);
}

TEST_CO(calls_follow_their_policy)
{
    static const struct {
        const char *name, *app;
        struct job job;
        int want;
        unsigned calls;
    } row[] = {
        { "no policy", "none", { .code = UNAVAILABLE, .failures = 1 }, -UNAVAILABLE, 1 },
        { "success", "retry", { 0 }, 5, 1 },
        { "healed", "retry", { .code = UNAVAILABLE, .failures = 2 }, 5, 3 },
        { "given up", "retry", { .code = INTERNAL, .failures = 9 }, -INTERNAL, 4 },
        { "fatal", "retry", { .code = INTERNAL, .failures = 9, .fatal = true }, -INTERNAL, 1 },
        { "cancelled", "retry", { .code = CANCELLED, .failures = 9 }, -CANCELLED, 1 },
        { "matching status", "coded", { .code = UNKNOWN, .failures = 2, .http = 503 }, 5, 3 },
        { "other status", "coded", { .code = UNKNOWN, .failures = 2, .http = 500 }, -UNKNOWN, 1 },
        { "matching code", "coded", { .code = EXHAUSTED, .failures = 2, .grpc = 8 }, 5, 3 },
        { "other code", "coded", { .code = INTERNAL, .failures = 2, .grpc = 13 }, -INTERNAL, 1 },
        { "neither", "coded", { .code = INTERNAL, .failures = 2 }, 5, 3 },
        { "timeout", "slow", { .sleep_ns = SEC(1) }, -TIMEOUT, 1 },
        { "timeout and retry", "slowretry", { .sleep_ns = SEC(1) }, -TIMEOUT, 4 },
    };
    struct fixture f;
    fixture_open(&f, POLICIES);
    EACH (row, r) {
        struct job j = r->job;
        struct error err = { 0 };
        CHECK_EQ(guarded(&f, r->app, &j, &err), r->want, "%s", r->name);
        CHECK_EQ(j.calls, r->calls, "%s", r->name);
        CHECK_EQ(err.code, r->want < 0 ? -r->want : 0, "%s", r->name);
        if (r->want < 0)
            CHECK(err.text[0], "%s", r->name);
    }
    fixture_close(&f);
}

TEST_CO(who_is_outside_hears_whether_trying_is_any_use)
{
    static const struct {
        const char *name, *app;
        struct job job;
        unsigned calls;
        bool retried, spent;
    } row[] = {
        { "no policy", "none", { .code = UNKNOWN, .failures = 9 }, 1, false, false },
        { "no policy, marked",
          "none",
          { .code = UNKNOWN, .failures = 9, .retried = true },
          1,
          true,
          true },
        { "healed", "retry", { .code = UNKNOWN, .failures = 2 }, 3, false, false },
        { "tried to the end", "retry", { .code = UNKNOWN, .failures = 9 }, 4, false, true },
        { "marked", "retry", { .code = UNKNOWN, .failures = 9, .retried = true }, 1, true, true },
        { "shed", "retry", { .code = EXHAUSTED, .failures = 9, .shed = true }, 1, false, true },
        { "not to be tried",
          "coded",
          { .code = UNKNOWN, .failures = 9, .http = 500 },
          1,
          false,
          false },
        { "cancelled", "retry", { .code = CANCELLED, .failures = 9 }, 1, false, false },
    };
    struct fixture f;
    fixture_open(&f, POLICIES);
    EACH (row, r) {
        struct job j = r->job;
        struct guard_attempt outer = { 0 };
        (void)guard_call_in(&outer, policy_app(f.b.resiliency, str_c(r->app)), S("e"), work, &j,
                            NULL);
        CHECK_EQ(j.calls, r->calls, "%s", r->name);
        CHECK_EQ(outer.retried, r->retried, "%s", r->name);
        CHECK_EQ(outer.spent, r->spent, "%s", r->name);
    }
    fixture_close(&f);
}

TEST_CO(the_last_failure_is_reported)
{
    struct fixture f;
    fixture_open(&f, POLICIES);
    struct job j = { .code = INTERNAL, .failures = 9 };
    struct error err = { 0 };
    CHECK_EQ(guarded(&f, "retry", &j, &err), -INTERNAL);
    CHECK_TEXT(err.text, "failure 4");
    CHECK_TEXT(err.tag, "ERR_X");
    fixture_close(&f);
}

TEST_CO(an_open_breaker_lets_nothing_through)
{
    struct fixture f;
    fixture_open(&f, POLICIES);
    struct error err = { 0 };
    struct job j = { .code = INTERNAL, .failures = 9 };
    CHECK_EQ(guarded(&f, "broken", &j, NULL), -INTERNAL);
    j.calls = 0;
    CHECK_EQ(guarded(&f, "broken", &j, NULL), -INTERNAL);
    j.calls = 0;
    CHECK_EQ(guarded(&f, "broken", &j, &err), -UNAVAILABLE);
    CHECK_TEXT(err.text, "circuit breaker is open");
    CHECK_EQ(j.calls, 0);
    fixture_close(&f);
}

TEST_CO(a_breaker_that_opens_ends_the_retries)
{
    struct fixture f;
    fixture_open(&f, POLICIES);
    struct job j = { .code = INTERNAL, .failures = 9 };
    CHECK_EQ(guarded(&f, "both", &j, NULL), -UNAVAILABLE);
    CHECK_EQ(j.calls, 2);
    fixture_close(&f);
}

struct nested {
    struct fixture *f;
    unsigned outer, calls;
};

CO static int nested_try(void *arg, struct guard_attempt *attempt, struct error *err)
{
    struct nested *n = arg;
    struct job j = { .code = INTERNAL, .failures = 9 };
    n->outer++;
    int r =
        guard_call_in(attempt, policy_app(n->f->b.resiliency, S("broken")), S("e"), work, &j, err);
    n->calls += j.calls;
    return r;
}

TEST_CO(a_breaker_inside_ends_the_retries_around_it)
{
    struct fixture f;
    fixture_open(&f, POLICIES);
    struct nested n = { .f = &f };
    CHECK_EQ(guard_call(policy_app(f.b.resiliency, S("retry")), S("o"), nested_try, &n, NULL),
             -UNAVAILABLE);
    CHECK_EQ(n.calls, 2, "it opens at the second failure");
    CHECK_EQ(n.outer, 3, "the third try was refused, and none follows");
    fixture_close(&f);
}

struct victim {
    struct fixture *f;
    struct job job;
    int result;
    bool done;
};

CO static void run_victim(void *arg)
{
    struct victim *v = arg;
    struct error err = { 0 };
    v->result = guarded(v->f, "retry", &v->job, &err);
    CHECK_EQ(err.code, CANCELLED);
    v->done = true;
}

TEST_CO(cancel_ends_the_wait_for_the_next_try)
{
    struct fixture f;
    fixture_open(&f, POLICIES);
    struct victim v = { .f = &f, .job = { .code = INTERNAL, .failures = 9 } };
    struct fiber *fiber = fiber_spawn("victim", run_victim, &v);
    REQUIRE(fiber);
    fiber_yield();
    CHECK_EQ(v.job.calls, 1);
    fiber_cancel(fiber);
    while (!v.done)
        fiber_yield();
    CHECK_EQ(v.result, -CANCELLED);
    CHECK_EQ(v.job.calls, 1);
    fixture_close(&f);
}

/* ---- pipelines ---- */

struct link {
    char name;
    bool answers;
};
static char trail[16];

static void leave_mark(char c)
{
    size_t n = strlen(trail);
    REQUIRE(n + 1 < sizeof trail);
    trail[n] = c;
    trail[n + 1] = 0;
}

CO static void middleware(void *self, struct http_exchange *x, struct middleware_chain *rest)
{
    const struct link *l = self;
    leave_mark(l->name);
    if (l->answers)
        (void)http_reply(x, 403, NULL, S("no"));
    else
        middleware_next(rest, x);
    leave_mark(l->name);
}

CO static void the_end(void *arg, struct http_exchange *x)
{
    leave_mark('.');
    (void)http_reply(x, 204, NULL, S(""));
}

static int run_pipeline(struct link *links, size_t n)
{
    static const struct middleware_ops ops = { .t = { .kind = "middleware.http" },
                                               .handle = middleware };
    struct instance instance[3];
    struct instance *v[3];
    for (size_t i = 0; i < n; i++) {
        instance[i] = (struct instance){ .type = &ops.t, .self = &links[i] };
        v[i] = &instance[i];
    }
    struct arena a;
    arena_init(&a, MIB(1));
    struct http_request req = { .method = S("GET"), .target = S("/"), .path = S("/") };
    struct http_memory m;
    http_memory_init(&m, &req, S(""), &a, 100);
    trail[0] = 0;
    pipeline_run(&(struct pipeline){ v, n }, &m.x, the_end, NULL);
    int status = m.x.status;
    http_memory_done(&m);
    arena_done(&a);
    return status;
}

TEST_CO(middlewares_run_in_order_around_the_rest)
{
    struct link l[] = { { 'a', false }, { 'b', false }, { 'c', false } };
    CHECK_EQ(run_pipeline(l, 0), 204);
    CHECK_TEXT(trail, ".");
    CHECK_EQ(run_pipeline(l, 3), 204);
    CHECK_TEXT(trail, "abc.cba");
    l[1].answers = true;
    CHECK_EQ(run_pipeline(l, 3), 403);
    CHECK_TEXT(trail, "abba");
}
