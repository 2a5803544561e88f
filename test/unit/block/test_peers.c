#include "block/call/peers.h"

#include "block/call/invoke.h"
#include "block/call/traffic.h"
#include "block/core/live.h"
#include "fixture.h"

/* An app of three instances, and what each of them says to a call. */
enum says { GOOD, ERROR, NOT_FOUND_404, DEAD, BROKEN, SHED, LEFT, LAST, TOO_LATE };

struct box {
    struct fixture f;
    struct fake *resolver;
    struct invoker invoker;
    struct traffic_rule rule;
    enum says says[3];
    unsigned asked[3];
    bool full; /* all say that they are */
    struct peers p;
};

static size_t index_of(const struct peer *peer)
{
    return (size_t)(peer->address[0] - '1');
}

CO static int answer(void *arg, struct peer *peer, struct peer_asked *ret,
                     struct guard_attempt *attempt, struct error *err)
{
    struct box *b = arg;
    size_t i = index_of(peer);
    CHECK_EQ(atomic_load(&peer->in_flight), 1);
    b->asked[i]++;
    switch (b->says[i]) {
    case GOOD:
        ret->load = b->full ? 1000 : -1;
        return 0;
    case ERROR:
        attempt->http_status = 500;
        return fail(err, UNKNOWN, NULL, "it answered 500");
    case NOT_FOUND_404:
        attempt->http_status = 404;
        return fail(err, UNKNOWN, NULL, "it answered 404");
    case DEAD:
        ret->unsent = ret->gone = true;
        return fail(err, UNAVAILABLE, NULL, "connection refused");
    case BROKEN:
        return fail(err, UNAVAILABLE, NULL, "the connection broke");
    case SHED:
        attempt->http_status = 503;
        ret->shed = true;
        ret->load = 1000;
        return fail(err, UNKNOWN, NULL, "it answered 503");
    case LAST:
        ret->draining = true;
        return 0;
    case TOO_LATE: /* more than 2 ms is slow */
        (void)fiber_sleep(MS(3));
        return fail(err, TIMEOUT, NULL, "the deadline has passed");
    case LEFT:
        return fail(err, CANCELLED, NULL, "the caller has left");
    }
    return -INTERNAL;
}

static void box_open(struct box *b)
{
    *b = (struct box){ .rule = *traffic_defaults() };
    fixture_open(&b->f, NULL);
    b->resolver = fixture_add(&b->f, "resolver", "nr", NULL);
    b->resolver->item[b->resolver->n++] = (struct kv){ S("a"), S("1.1.1.1:1 2.2.2.2:2 3.3.3.3:3") };
    CHECK_OK(instances_init(&b->invoker.instances));
    b->invoker.resolved = resolve_cache_new(&b->invoker.instances);
    REQUIRE(b->invoker.resolved);
    b->f.b.invoker = &b->invoker;
}

static void box_close(struct box *b)
{
    b->f.b.invoker = NULL;
    resolve_cache_free(b->invoker.resolved);
    instances_done(&b->invoker.instances);
    fixture_close(&b->f);
}

CO static int call(struct box *b, bool idempotent, struct error *err)
{
    struct guard_attempt attempt = { 0 };
    b->p = (struct peers){ .b = &b->f.b,
                           .app_id = S("a"),
                           .ask = answer,
                           .arg = b,
                           .rule = &b->rule,
                           .idempotent = idempotent };
    *err = (struct error){ 0 };
    int r = peers_ask(&b->p, &attempt, err);
    CHECK(!b->p.up || attempt.budget == &b->p.up->retries);
    peers_done(&b->p);
    return r;
}

static unsigned sum(const struct box *b)
{
    return b->asked[0] + b->asked[1] + b->asked[2];
}

static void all_say(struct box *b, enum says what)
{
    for (int i = 0; i < 3; i++)
        b->says[i] = what;
}

static uint64_t stat(struct box *b, enum traffic_stat which)
{
    struct upstream *u = instances_get(&b->invoker.instances, S("a"), S("default"), 0);
    REQUIRE(u);
    uint64_t n = atomic_load(&u->stat[which]);
    upstream_unref(u);
    return n;
}

TEST_LOOP(a_dead_instance_is_passed_over_and_then_left_out)
{
    struct box b;
    struct error err;
    box_open(&b);
    b.says[1] = DEAD;
    for (int i = 0; i < 300; i++)
        CHECK_OK(call(&b, false, &err), "a call that was never sent may be any");
    CHECK_EQ(b.asked[1], 1, "then it is ejected");
    CHECK_EQ(sum(&b), 301);
    CHECK_EQ(stat(&b, STAT_RETRY_UNSENT), 1);
    CHECK(b.asked[0] > 100 && b.asked[2] > 100);
    box_close(&b);
}

TEST_LOOP(when_all_are_dead_each_is_tried_once_and_the_error_is_theirs)
{
    struct box b;
    struct error err;
    box_open(&b);
    all_say(&b, DEAD);
    CHECK_EQ(call(&b, false, &err), -UNAVAILABLE);
    CHECK_TEXT(err.text, "connection refused");
    CHECK(b.asked[0] == 1 && b.asked[1] == 1 && b.asked[2] == 1);
    CHECK_EQ(call(&b, false, &err), -UNAVAILABLE);
    CHECK_EQ(sum(&b), 6, "there is nobody better");
    box_close(&b);
}

TEST_LOOP(a_broken_connection_is_tried_elsewhere_if_the_method_may_be)
{
    struct box b;
    struct error err;
    box_open(&b);
    b.says[0] = BROKEN;
    unsigned failed = 0;
    for (int i = 0; i < 20; i++)
        CHECK_OK(call(&b, true, &err));
    CHECK(b.asked[0] > 0);
    for (int i = 0; i < 3; i++)
        b.asked[i] = 0;
    b.rule.outlier.failures = 0;
    for (int i = 0; i < 50; i++)
        failed += call(&b, false, &err) < 0;
    CHECK_EQ(sum(&b), 50, "it may have been acted on");
    CHECK_EQ(failed, b.asked[0]);
    box_close(&b);
}

TEST_LOOP(answers_are_never_tried_again)
{
    struct box b;
    struct error err;
    box_open(&b);
    all_say(&b, ERROR);
    for (int i = 0; i < 10; i++)
        CHECK_EQ(call(&b, true, &err), -UNKNOWN);
    CHECK_EQ(sum(&b), 10);
    all_say(&b, NOT_FOUND_404);
    CHECK_EQ(call(&b, true, &err), -UNKNOWN);
    all_say(&b, LEFT);
    CHECK_EQ(call(&b, true, &err), -CANCELLED);
    CHECK_EQ(sum(&b), 12);
    box_close(&b);
}

TEST_LOOP(what_was_shed_is_tried_once_more_and_held_against_nobody)
{
    struct box b;
    struct error err;
    box_open(&b);
    all_say(&b, SHED);
    for (int i = 0; i < 10; i++)
        CHECK_EQ(call(&b, false, &err), -UNKNOWN);
    CHECK_EQ(sum(&b), 20);
    CHECK_EQ(stat(&b, STAT_RETRY_SHED), 10);
    struct upstream *u = instances_get(&b.invoker.instances, S("a"), S("default"), 0);
    for (size_t i = 0; i < u->n_peers; i++) {
        CHECK_EQ(atomic_load(&u->peer[i]->failed), 0);
        CHECK_EQ(atomic_load(&u->peer[i]->load), 1000);
        CHECK_EQ(atomic_load(&u->peer[i]->in_flight), 0);
    }
    upstream_unref(u);
    box_close(&b);
}

TEST_LOOP(what_the_only_instance_shed_costs_no_retry)
{
    struct box b;
    struct error err;
    box_open(&b);
    b.resolver->item[0].value = S("1.1.1.1:1");
    all_say(&b, SHED);
    for (int i = 0; i < 100; i++) {
        CHECK_EQ(call(&b, false, &err), -UNKNOWN);
        CHECK(!b.p.spent);
        CHECK_TEXT(err.text, "it answered 503");
    }
    CHECK_EQ(sum(&b), 100);
    CHECK_EQ(stat(&b, STAT_RETRY_SHED), 0);
    CHECK_EQ(stat(&b, STAT_RETRY_REFUSED), 0);
    all_say(&b, DEAD);
    CHECK_EQ(call(&b, false, &err), -UNAVAILABLE);
    CHECK_EQ(stat(&b, STAT_RETRY_UNSENT), 0, "nobody else was asked");
    box_close(&b);
}

/* It answers at once, so that it has fewer calls in flight than the others. */
TEST_LOOP(who_turns_calls_away_is_not_asked_more_for_it)
{
    struct box b;
    struct error err;
    box_open(&b);
    b.rule.retry = false;
    b.says[0] = SHED;
    b.full = true;
    for (int i = 0; i < 60; i++)
        (void)call(&b, false, &err);
    CHECK(b.asked[0] > 0 && b.asked[0] < 10, "%u of 60", b.asked[0]);
    box_close(&b);
}

TEST_LOOP(who_is_about_to_stop_is_asked_no_more)
{
    struct box b;
    struct error err;
    box_open(&b);
    b.says[1] = LAST;
    for (int i = 0; i < 200; i++)
        CHECK_OK(call(&b, false, &err));
    CHECK_EQ(b.asked[1], 1);
    box_close(&b);
}

TEST_LOOP(retries_elsewhere_end_with_the_budget)
{
    struct box b;
    struct error err;
    box_open(&b);
    all_say(&b, BROKEN);
    for (int i = 0; i < 100; i++)
        CHECK_EQ(call(&b, true, &err), -UNAVAILABLE);
    CHECK(sum(&b) <= 100 + 20, "%u", sum(&b));
    CHECK(stat(&b, STAT_RETRY_REFUSED) > 0);
    b.rule.retry = false;
    unsigned before = sum(&b);
    CHECK_EQ(call(&b, true, &err), -UNAVAILABLE);
    CHECK_EQ(sum(&b), before + 1);
    box_close(&b);
}

TEST_LOOP(four_oh_fours_are_no_failures)
{
    struct box b;
    struct error err;
    box_open(&b);
    b.says[0] = NOT_FOUND_404;
    for (int i = 0; i < 300; i++)
        (void)call(&b, false, &err);
    CHECK(b.asked[0] > 60, "%u", b.asked[0]);
    b.says[0] = ERROR;
    for (int i = 0; i < 300; i++)
        (void)call(&b, false, &err);
    struct upstream *u = instances_get(&b.invoker.instances, S("a"), S("default"), 0);
    unsigned ejected = 0;
    for (size_t i = 0; i < u->n_peers; i++)
        ejected += (unsigned)atomic_load(&u->peer[i]->ejections);
    CHECK_EQ(ejected, 1);
    upstream_unref(u);
    box_close(&b);
}

static uint64_t latencies(struct upstream *u)
{
    uint64_t n = 0;
    for (size_t i = 0; i < LATENCY_BUCKETS; i++)
        n += atomic_load(&upstream_latency(u, 0)->count[i]);
    return n;
}

/* It is known to be slow, but not how long it would have taken. */
TEST_LOOP(calls_that_run_out_of_time_are_no_measure_of_latency)
{
    struct box b;
    struct error err;
    box_open(&b);
    CHECK_OK(call(&b, false, &err));
    struct upstream *u = instances_get(&b.invoker.instances, S("a"), S("default"), 0);
    atomic_store(&upstream_latency(u, 0)->median_ns, 1000);
    atomic_store(&u->sweep_ns, UINT64_MAX); /* the median stays */
    uint64_t before = latencies(u);
    all_say(&b, TOO_LATE);
    CHECK_EQ(call(&b, false, &err), -TIMEOUT);
    CHECK_EQ(latencies(u), before);
    unsigned slow = 0;
    for (size_t i = 0; i < u->n_peers; i++) {
        slow += atomic_load(&u->peer[i]->health.bad);
        CHECK_EQ(atomic_load(&u->peer[i]->failed), 0);
        CHECK(atomic_load(&u->peer[i]->latency_ns) < MS(3));
    }
    CHECK_EQ(slow, 1);
    all_say(&b, GOOD);
    CHECK_OK(call(&b, false, &err));
    CHECK_EQ(latencies(u), before + 1);
    upstream_unref(u);
    box_close(&b);
}

CO static void count_zones(void *arg, struct upstream *u, const struct traffic_rule *rule,
                           struct peer *const *peer, size_t n, uint64_t now_ns)
{
    unsigned *calls = arg;
    ++*calls;
    CHECK_EQ(n, 3);
    for (size_t i = 0; i < n; i++)
        atomic_store(&peer[i]->zone_weight, index_of(peer[i]) == 2 ? 1000 : 0);
}

TEST_LOOP(zones_weigh_the_instances)
{
    struct box b;
    struct error err;
    unsigned zones = 0;
    box_open(&b);
    b.invoker.instances.zones = count_zones;
    b.invoker.instances.zones_arg = &zones;
    CHECK_OK(call(&b, false, &err));
    struct upstream *u = instances_get(&b.invoker.instances, S("a"), S("default"), 0);
    atomic_store(&u->sweep_ns, 1);
    upstream_unref(u);
    for (int i = 0; i < 3; i++)
        b.asked[i] = 0;
    for (int i = 0; i < 50; i++)
        CHECK_OK(call(&b, false, &err));
    CHECK(zones >= 1);
    CHECK_EQ(b.asked[2], 50);
    box_close(&b);
}

/* ---- what Traffic says about a call ---- */

static struct http_request request(struct arena *a, const char *header, const char *value)
{
    struct http_request r = { .method = S("GET"), .query = S("user=7&x=1") };
    http_headers_init(&r.headers, a);
    REQUIRE(http_headers_add(&r.headers, str_c(header), str_c(value)) == 0);
    return r;
}

static struct resources *parse(const char *spec)
{
    static char text[1024];
    snprintf(text, sizeof text,
             "apiVersion: proa.dev/v1alpha1\nkind: Traffic\nmetadata: {name: t}\nspec: %s\n", spec);
    struct resource_text file = { "f.yaml", str_c(text), false };
    struct resource_options opt = { .app_id = S("me") };
    struct resources *r = NULL;
    struct error err = { 0 };
    REQUIRE(resources_parse(&opt, &file, 1, &r, &err) == 0, "%s", err.text);
    return r;
}

TEST_LOOP(a_call_keeps_the_snapshot_that_it_began_with)
{
    struct blocks b = { .live = live_new() };
    struct arena a;
    arena_init(&a, MIB(1));
    struct http_request req = request(&a, "x", "y");
    struct traffic_call before, after;
    traffic_begin(&before, &b, S("a"), &req, S("/"), false);
    CHECK(before.rule == traffic_defaults());
    struct resources *one = parse("{split: [{app: b, weight: 1}]}");
    struct resources *two = parse("{split: [{app: c, weight: 1}]}");
    live_set(b.live, one);
    resources_unref(one);
    traffic_end(&before);
    traffic_begin(&before, &b, S("a"), &req, S("/"), false);
    live_set(b.live, two);
    resources_unref(two);
    traffic_begin(&after, &b, S("a"), &req, S("/"), false);
    CHECK_STR(before.app_id, "b");
    CHECK_STR(after.app_id, "c");
    CHECK_EQ(before.rule->n_parts, 1);
    CHECK_STR(before.rule->part[0].app, "b");
    traffic_end(&before);
    traffic_end(&after);
    live_free(b.live);
    arena_done(&a);
}

TEST_LOOP(keys_and_sessions_come_from_the_request)
{
    static const struct {
        const char *name, *spec, *header, *value;
        bool key, sticky;
    } row[] = {
        { "header", "{hash: {header: x-user}}", "X-User", "u", true, false },
        { "no header", "{hash: {header: x-user}}", "x-other", "u", false, false },
        { "cookie", "{hash: {cookie: id}}", "Cookie", "a=b; id=7", true, false },
        { "another cookie", "{hash: {cookie: id}}", "Cookie", "idx=7; xid=1", false, false },
        { "query", "{hash: {header: x-user, query: user}}", "x", "y", true, false },
        { "session", "{sticky: {cookie: at}}", "cookie", "at=00000000000000ff", false, true },
        { "forged", "{sticky: {cookie: at}}", "cookie", "at=zz000000000000ff", false, false },
        { "short", "{sticky: {header: x-at}}", "x-at", "ff", false, false },
        { "by header", "{sticky: {header: x-at}}", "x-at", "00000000000000ff", false, true },
    };
    struct arena a;
    arena_init(&a, MIB(1));
    EACH (row, r) {
        struct blocks b = { .live = live_new() };
        struct resources *res = parse(r->spec);
        struct http_request req = request(&a, r->header, r->value);
        struct traffic_call c;
        live_set(b.live, res);
        resources_unref(res);
        traffic_begin(&c, &b, S("a"), &req, S("/x"), false);
        CHECK_EQ(c.key != 0, r->key, "%s", r->name);
        CHECK_EQ(c.sticky, r->sticky ? 255 : 0, "%s", r->name);
        traffic_end(&c);
        live_free(b.live);
    }
    arena_done(&a);
}

TEST_LOOP(loads_of_answers_are_taken_out_and_checked)
{
    static const struct {
        const char *value;
        int want;
    } row[] = {
        { "0", 0 }, { "1000", 1000 }, { "1001", -1 }, { "-1", -1 }, { "x", -1 }, { "", -1 }
    };
    struct arena a;
    arena_init(&a, MIB(1));
    EACH (row, r) {
        struct http_headers h;
        http_headers_init(&h, &a);
        CHECK_OK(http_headers_add(&h, S("Proa-Load"), str_c(r->value)));
        CHECK_OK(http_headers_add(&h, S("proa-draining"), S("1")));
        CHECK_EQ(traffic_load(&h), r->want, "%s", r->value);
        CHECK(traffic_draining(&h));
        traffic_strip(&h);
        CHECK_EQ(h.n, 0);
        CHECK_EQ(traffic_load(&h), -1);
        CHECK(!traffic_draining(&h));
        CHECK(!traffic_was_shed(&h));
        CHECK_OK(http_headers_add(&h, S("proa-shed"), S("deadline")));
        CHECK(!traffic_was_shed(&h), "others would be as late");
        CHECK_EQ(traffic_load(&h), -1);
        CHECK_OK(http_headers_set(&h, S("proa-shed"), S("rate")));
        CHECK(traffic_was_shed(&h));
        CHECK_EQ(traffic_load(&h), -1, "it may be idle");
        CHECK_OK(http_headers_set(&h, S("proa-shed"), S("queue")));
        CHECK(traffic_was_shed(&h));
        CHECK_EQ(traffic_load(&h), 1000);
    }
    arena_done(&a);
}
