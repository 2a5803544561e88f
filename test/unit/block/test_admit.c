#include "block/app/admit.h"

#include "fiber/sync.h"
#include "test/testing.h"

/* Calls of one app, each in a fiber of its own. */
struct door {
    struct admit *admit;
    struct http_headers none; /* of a call; deliveries have no headers at all */
    struct arena arena;
    struct wait_group group;
    char trail[64]; /* names in the order in which they got in */
};

struct call {
    struct door *door;
    char name;
    enum priority priority;
    bool patient;
    uint64_t timeout_ns;
    struct admit_place place;
    int result;
    struct error err;
    bool keep; /* doesn't leave by itself */
};

static void door_init(struct door *d, size_t max_concurrency)
{
    memset(d, 0, sizeof *d);
    arena_init(&d->arena, 1 << 20);
    http_headers_init(&d->none, &d->arena);
    wait_group_init(&d->group);
    REQUIRE(admit_new(max_concurrency, &d->admit, NULL) == 0);
}

static void door_done(struct door *d)
{
    admit_free(d->admit);
    arena_done(&d->arena);
}

CO static void enter(void *arg)
{
    struct call *c = arg;
    struct call_context context = { c->priority, -1, true, UINT64_MAX };
    struct admit_ask ask = { S("/m"), c->patient ? NULL : &c->door->none, &context };
    DEADLINE(c->timeout_ns ? c->timeout_ns : UINT64_MAX);
    c->result = admit_enter(c->door->admit, &c->place, &ask, &c->err);
    if (c->result >= 0) {
        c->door->trail[strlen(c->door->trail)] = c->name;
        if (!c->keep)
            admit_leave(c->door->admit, &c->place, 0, 200);
    }
    wait_group_done(&c->door->group);
}

static struct fiber *start(struct door *d, struct call *c)
{
    c->door = d;
    wait_group_add(&d->group);
    struct fiber *f = fiber_spawn("call", enter, c);
    REQUIRE(f);
    fiber_yield();
    return f;
}

TEST_LOOP(places_go_by_importance_and_then_by_order)
{
    struct door d;
    door_init(&d, 1);
    struct call in = { .name = '-', .priority = PRIORITY_NORMAL, .keep = true };
    struct call c[] = {
        { .name = 'e', .priority = PRIORITY_LOW },
        { .name = 'c', .priority = PRIORITY_NORMAL },
        { .name = 'd', .priority = PRIORITY_NORMAL },
        { .name = 'a', .priority = PRIORITY_CRITICAL },
        { .name = 'f', .patient = true },
        { .name = 'b', .priority = PRIORITY_HIGH },
    };
    (void)start(&d, &in);
    CHECK_OK(in.result);
    for (size_t i = 0; i < COUNT(c); i++)
        (void)start(&d, &c[i]);
    CHECK_TEXT(d.trail, "-");
    admit_leave(d.admit, &in.place, 0, 200);
    CHECK_OK(wait_group_wait(&d.group));
    CHECK_TEXT(d.trail, "-abcdef");
    door_done(&d);
}

TEST_LOOP(deadline_and_cancellation_leave_the_queue)
{
    struct door d;
    door_init(&d, 1);
    struct call in = { .name = '-', .keep = true };
    struct call late = { .name = 'a', .priority = PRIORITY_NORMAL, .timeout_ns = MS(1) };
    struct call gone = { .name = 'b', .priority = PRIORITY_NORMAL };
    struct call last = { .name = 'c', .priority = PRIORITY_NORMAL };
    (void)start(&d, &in);
    (void)start(&d, &late);
    struct fiber *f = start(&d, &gone);
    (void)start(&d, &last);
    fiber_cancel(f);
    while (!late.result || !gone.result)
        fiber_yield();
    CHECK_EQ(gone.result, -CANCELLED);
    CHECK_EQ(late.result, -TIMEOUT);
    CHECK_TEXT(late.err.tag, "ERR_OVERLOADED");
    CHECK_TEXT(late.err.shed, "deadline");
    CHECK_EQ(late.err.http, 504);
    admit_leave(d.admit, &in.place, 0, 200);
    CHECK_OK(wait_group_wait(&d.group));
    CHECK_TEXT(d.trail, "-c");
    door_done(&d);
}

static void configure(struct door *d, const struct overload_spec *spec)
{
    struct overload *o = overload_new(spec, NULL, NULL);
    REQUIRE(o);
    admit_configure(d->admit, NULL, o);
}

TEST_LOOP(rate_limit_refuses_with_the_time_to_come_back)
{
    struct door d;
    door_init(&d, 0);
    struct overload_rate rate = { .name = S("all"), .per_s = 0.1, .burst = 2, .max_keys = 10 };
    struct overload_spec spec = overload_defaults();
    spec.rate = &rate;
    spec.n_rates = 1;
    configure(&d, &spec);
    struct call c[3] = { { .name = 'a' }, { .name = 'b' }, { .name = 'c' } };
    struct call delivery = { .name = 'd', .patient = true };
    for (size_t i = 0; i < 3; i++)
        (void)start(&d, &c[i]);
    (void)start(&d, &delivery);
    CHECK_OK(wait_group_wait(&d.group));
    CHECK_EQ(c[2].result, -EXHAUSTED);
    CHECK_TEXT(c[2].err.shed, "rate");
    CHECK_EQ(c[2].err.http, 503);
    CHECK_EQ(c[2].err.retry_after_s, 10);
    CHECK_TEXT(d.trail, "abd");
    spec.n_rates = 0; /* another configuration, while calls come */
    configure(&d, &spec);
    struct call more = { .name = 'e' };
    (void)start(&d, &more);
    CHECK_OK(wait_group_wait(&d.group));
    CHECK_OK(more.result);
    door_done(&d);
}

/* A call from another worker's fiber. */
struct remote {
    struct call call;
    atomic_bool waits, done;
};

CO static void enter_and_leave(void *arg)
{
    struct remote *r = arg;
    struct call_context context = { PRIORITY_NORMAL, -1, true, UINT64_MAX };
    struct admit_ask ask = { S("/m"), &r->call.door->none, &context };
    atomic_store(&r->waits, true);
    r->call.result = admit_enter(r->call.door->admit, &r->call.place, &ask, &r->call.err);
    if (r->call.result >= 0)
        admit_leave(r->call.door->admit, &r->call.place, 0, 200);
    atomic_store(&r->done, true);
}

TEST_LOOP(place_goes_to_a_call_on_another_worker)
{
    struct door d;
    door_init(&d, 1);
    struct call in = { .name = '-', .keep = true };
    struct remote r = { .call = { .door = &d } };
    (void)start(&d, &in);
    CHECK_OK(worker_spawn(worker_at(1), "remote", enter_and_leave, &r));
    while (!atomic_load(&r.waits))
        fiber_yield();
    admit_leave(d.admit, &in.place, 0, 200);
    while (!atomic_load(&r.done))
        fiber_yield();
    CHECK_OK(r.call.result);
    CHECK_OK(wait_group_wait(&d.group));
    door_done(&d);
}

TEST(out_of_memory_is_said)
{
    FAIL_EACH_ALLOC(n)
    {
        struct admit *a = NULL;
        struct error err = { 0 };
        int r = admit_new(0, &a, &err);
        CHECK(r == 0 || (r == -EXHAUSTED && test_alloc_failed(n)), "allocation %zu", n);
        admit_free(a);
    }
}
