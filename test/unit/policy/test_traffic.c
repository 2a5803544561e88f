#include "policy/traffic.h"

#include "test/testing.h"

static const struct traffic_route routes[] = {
    { S("/cart/*"), S(""), { .retry_percent = 1 } },
    { S("/cart"), S("GET"), { .retry_percent = 2 } },
    { S(""), S("DELETE"), { .retry_percent = 3 } },
};
static const str orders[] = { S("orders"), S("carts") };
static const struct traffic_spec of_all = { .name = S("all"), .rule = { .retry_percent = 10 } };
static const struct traffic_spec of_orders = { .name = S("orders"),
                                               .app = orders,
                                               .n_apps = COUNT(orders),
                                               .rule = { .retry_percent = 11 },
                                               .route = routes,
                                               .n_routes = COUNT(routes) };
static const struct traffic_spec again = {
    .name = S("again"), .app = orders, .n_apps = 1, .rule = { .retry_percent = 12 }
};

TEST(the_rule_that_says_most_about_a_call_counts)
{
    static const struct traffic_spec *const spec[] = { &of_orders, &of_all };
    static const struct {
        const char *name;
        str app, method, path;
        uint32_t want;
    } row[] = {
        { "another app", S("users"), S("GET"), S("/cart/1"), 10 },
        { "prefix", S("orders"), S("GET"), S("/cart/1"), 1 },
        { "prefix of another app of the list", S("carts"), S("POST"), S("/cart/"), 1 },
        { "whole path and method", S("orders"), S("GET"), S("/cart"), 2 },
        { "whole path, another method", S("orders"), S("POST"), S("/cart"), 11 },
        { "method alone", S("orders"), S("DELETE"), S("/x"), 3 },
        { "no route", S("orders"), S("GET"), S("/x"), 11 },
    };
    EACH (row, r)
        CHECK_EQ(traffic_find(spec, 2, r->app, r->method, r->path)->retry_percent, r->want, "%s",
                 r->name);
    CHECK(traffic_find(NULL, 0, S("a"), S("GET"), S("/")) == traffic_defaults());
    const struct traffic_spec *const only[] = { &of_orders };
    CHECK(traffic_find(only, 1, S("users"), S("GET"), S("/")) == traffic_defaults());
}

TEST(of_two_resources_about_an_app_the_later_counts)
{
    static const struct traffic_spec *const spec[] = { &of_orders, &again };
    CHECK_EQ(traffic_find(spec, 2, S("orders"), S("GET"), S("/cart"))->retry_percent, 12);
    CHECK_EQ(traffic_find(spec, 2, S("carts"), S("GET"), S("/x"))->retry_percent, 11);
}

TEST(a_split_gives_each_part_its_share_and_a_key_always_the_same)
{
    static const struct traffic_part part[] = { { S("v1"), 90 }, { S("v2"), 10 }, { S("v3"), 0 } };
    struct traffic_rule r = { .part = part, .n_parts = COUNT(part) };
    int hits[4] = { 0 };
    uint64_t seed = 7;
    for (int i = 0; i < 100000; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        uint64_t random = seed ^ (seed << 23);
        str app = traffic_split(&r, S("v1"), random);
        hits[app.p[1] - '0']++;
        CHECK(str_eq(app, traffic_split(&r, S("v1"), random)));
    }
    CHECK(hits[1] > 89000 && hits[1] < 91000, "%d", hits[1]);
    CHECK(hits[2] > 9000 && hits[2] < 11000, "%d", hits[2]);
    CHECK_EQ(hits[3], 0);
    r.n_parts = 0;
    CHECK(str_eq(traffic_split(&r, S("x"), 1), S("x")));
}
