/* The zones of an app's instances: what the policy says becomes weights, and what was called is
 * counted. */
#include "block/call/zones.h"

#include "test/testing.h"

#define GET(field) atomic_load_explicit(&(field), memory_order_relaxed)
#define SET(field, value) atomic_store_explicit(&(field), (value), memory_order_relaxed)

enum { HOSTS = 6 };

struct bench {
    struct instances table;
    struct zoning *zoning;
    struct upstream *up;
    struct peer *peer[INSTANCES_MAX];
    size_t n;
    uint64_t now;
};

static const struct registration hosts[HOSTS] = {
    { S("10.0.1.1:1"), S("a"), S("eu") }, { S("10.0.1.2:1"), S("a"), S("eu") },
    { S("10.0.2.1:1"), S("b"), S("eu") }, { S("10.0.2.2:1"), S("b"), S("eu") },
    { S("10.0.3.1:1"), S("a"), S("us") }, { S("10.0.3.2:1"), S(""), S("") },
};

static void update(struct bench *b, size_t n)
{
    for (size_t i = 0; i < b->n; i++)
        peer_unref(b->peer[i]);
    CHECK_OK(upstream_update(&b->table, b->up, hosts, n, b->now, b->peer, &b->n));
    CHECK_EQ(b->n, n);
}

static void bench_open(struct bench *b, size_t n)
{
    *b = (struct bench){ .now = SEC(100) };
    REQUIRE(instances_init(&b->table) == 0);
    b->zoning = zoning_new("a", "eu");
    b->up = instances_get(&b->table, S("shop"), S("default"), b->now);
    REQUIRE(b->zoning && b->up);
    b->table.zones = zones_weigh;
    b->table.zones_arg = b->zoning;
    update(b, n);
}

static void bench_close(struct bench *b)
{
    for (size_t i = 0; i < b->n; i++)
        peer_unref(b->peer[i]);
    upstream_unref(b->up);
    instances_done(&b->table);
    zoning_free(b->zoning);
}

static void sweep(struct bench *b)
{
    upstream_sweep(&b->table, b->up, traffic_defaults(), b->peer, b->n, b->now);
}

static void check_weights(struct bench *b, const uint32_t *want)
{
    for (size_t i = 0; i < b->n; i++)
        CHECK_EQ(GET(b->peer[i]->zone_weight), want[i], "instance %zu", i);
}

TEST(first_call_stays_in_its_zone)
{
    struct bench b;
    bench_open(&b, 5);
    sweep(&b);
    check_weights(&b, (const uint32_t[]){ 1000, 1000, 0, 0, 0 });
    bench_close(&b);
}

TEST(ejected_zone_gives_all_to_the_next_one)
{
    struct bench b;
    bench_open(&b, 5);
    sweep(&b);
    SET(b.peer[0]->health.until_ns, SEC(1000));
    SET(b.peer[1]->health.until_ns, SEC(1000));
    b.now += SWEEP_NS;
    sweep(&b);
    check_weights(&b, (const uint32_t[]){ 0, 0, 1000, 1000, 0 });
    SET(b.peer[2]->health.until_ns, SEC(1000));
    SET(b.peer[3]->health.until_ns, SEC(1000));
    b.now += SWEEP_NS;
    sweep(&b);
    check_weights(&b, (const uint32_t[]){ 0, 0, 0, 0, 1000 });
    bench_close(&b);
}

TEST(loads_of_the_instances_count)
{
    struct bench b;
    bench_open(&b, 4);
    for (int second = 0; second < 30; second++) {
        for (size_t i = 0; i < b.n; i++) {
            SET(b.peer[i]->load, i < 2 ? 950 : 200);
            SET(b.peer[i]->load_ns, b.now);
        }
        sweep(&b);
        b.now += SEC(1);
    }
    uint32_t near = GET(b.peer[0]->zone_weight), far = GET(b.peer[2]->zone_weight);
    CHECK(far > near, "%u %u", far, near);
    bench_close(&b);
}

/* It may be what all of them depend on; or others, which nobody asks, would do better. */
TEST(zone_where_most_calls_fail_asks_others_a_little)
{
    struct bench b;
    bench_open(&b, 4);
    sweep(&b);
    CHECK_EQ(GET(b.peer[2]->zone_weight), 0);
    for (int i = 0; i < 8; i++) {
        SET(b.peer[0]->health.bad, 9);
        SET(b.peer[1]->health.bad, 9);
        b.now += SWEEP_NS;
        sweep(&b);
    }
    CHECK_EQ(GET(b.peer[0]->zone_weight), 1000);
    CHECK(GET(b.peer[2]->zone_weight) > 50 && GET(b.peer[2]->zone_weight) < 200, "%u",
          GET(b.peer[2]->zone_weight));
    for (int i = 0; i < 12; i++) {
        SET(b.peer[0]->health.good, 9);
        SET(b.peer[1]->health.good, 9);
        b.now += SWEEP_NS;
        sweep(&b);
    }
    CHECK_EQ(GET(b.peer[2]->zone_weight), 0);
    bench_close(&b);
}

TEST(zone_that_is_about_to_stop_gets_no_more)
{
    struct bench b;
    bench_open(&b, 4);
    sweep(&b);
    SET(b.peer[0]->draining_ns, b.now);
    SET(b.peer[1]->draining_ns, b.now);
    b.now += SWEEP_NS;
    sweep(&b);
    CHECK_EQ(GET(b.peer[0]->zone_weight), 0);
    CHECK_EQ(GET(b.peer[2]->zone_weight), 1000);
    bench_close(&b);
}

TEST(instances_that_come_are_looked_at_by_the_next_call)
{
    struct bench b;
    bench_open(&b, 2);
    sweep(&b);
    update(&b, 4);
    sweep(&b);
    check_weights(&b, (const uint32_t[]){ 1000, 1000, 0, 0 });
    bench_close(&b);
}

TEST(rules_of_traffic_give_the_order)
{
    static const str order[] = { S("a") }; /* of another region, too */
    struct bench b;
    struct traffic_rule rule = *traffic_defaults();
    bench_open(&b, 5);
    rule.zone = order;
    rule.n_zones = 1;
    SET(b.peer[0]->health.until_ns, SEC(1000));
    SET(b.peer[1]->health.until_ns, SEC(1000));
    upstream_sweep(&b.table, b.up, &rule, b.peer, b.n, b.now);
    check_weights(&b, (const uint32_t[]){ 0, 0, 0, 0, 1000 });
    bench_close(&b);
}

static void call(struct peer *p)
{
    _Atomic uint64_t *n = GET(p->zone_calls);
    REQUIRE(n);
    (*n)++;
}

TEST(calls_are_counted_by_zone)
{
    struct bench b;
    AUTO(buf_done) struct buf out;
    struct json_w w;
    bench_open(&b, 6);
    sweep(&b);
    for (size_t i = 0; i < b.n; i++)
        call(b.peer[i]);
    buf_init(&out, KIB(4));
    json_w_init(&w, &out, 0);
    json_w_object(&w);
    zoning_write(b.zoning, &w);
    json_w_object_end(&w);
    CHECK_STR(buf_str(&out), "{\"zones\":{\"own\":\"a\",\"region\":\"eu\",\"calls\":"
                             "{\"unknown\":1,\"a\":2,\"b\":2,\"us/a\":1}}}");
    bench_close(&b);
}

TEST(names_that_are_too_long_are_unknown)
{
    char name[ZONE_NAME_MAX + 1];
    memset(name, 'z', sizeof name);
    name[ZONE_NAME_MAX] = 0;
    struct zoning *z = zoning_new(name, "eu");
    REQUIRE(z);
    CHECK_TEXT(z->zone, "");
    CHECK_TEXT(z->region, "eu");
    zoning_free(z);
}
