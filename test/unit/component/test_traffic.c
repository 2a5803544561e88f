#include "load.h"

#define TRAFFIC(spec)                                                                              \
    "apiVersion: proa.dev/v1alpha1\nkind: Traffic\nmetadata: {name: t}\nspec:\n" spec

TEST(what_is_not_said_is_the_default)
{
    struct resources *r =
        load("apiVersion: proa.dev/v1alpha1\nkind: Traffic\nmetadata: {name: t}\n");
    CHECK_TEXT(said(r), "");
    REQUIRE(r->n_traffics == 1);
    const struct traffic_rule *rule = &r->traffic[0]->rule, *d = traffic_defaults();
    CHECK_EQ(r->traffic[0]->n_apps, 0);
    CHECK_EQ(rule->balance, d->balance);
    CHECK_EQ(rule->bounded_percent, d->bounded_percent);
    CHECK_EQ(rule->retry_percent, d->retry_percent);
    CHECK(rule->retry && !rule->hedge.on && rule->hedge.percent == 5);
    CHECK_EQ(rule->outlier.failures, d->outlier.failures);
    CHECK_EQ(rule->outlier.eject_ns, d->outlier.eject_ns);
    CHECK_EQ(rule->outlier.eject_max_ns, d->outlier.eject_max_ns);
    CHECK_EQ(rule->outlier.slow_start_ns, d->outlier.slow_start_ns);
    CHECK_EQ(rule->outlier.panic_percent, d->outlier.panic_percent);
    resources_unref(r);
}

TEST(routes_inherit_what_they_do_not_say)
{
    struct resources *r =
        load(TRAFFIC("  apps: [orders, carts]\n"
                     "  balance: roundRobin\n"
                     "  slowStart: 3s\n"
                     "  hash: {header: x-user, boundedLoad: 150}\n"
                     "  outliers: {failures: 9, ejection: 2s}\n"
                     "  retries: {budget: 7, elsewhere: false}\n"
                     "  split: [{app: orders, weight: 9}, {app: next, weight: 1}]\n"
                     "  mirror: {app: shadow, percent: 3}\n"
                     "  routes:\n"
                     "  - {path: /a/*, method: GET, hedge: {enabled: true, after: 20ms}}\n"
                     "  - {method: PUT, balance: random, split: [], outliers: {failures: 0}}\n"));
    CHECK_TEXT(said(r), "");
    REQUIRE(r->n_traffics == 1 && r->traffic[0]->n_routes == 2 && r->traffic[0]->n_apps == 2);
    const struct traffic_spec *s = r->traffic[0];
    CHECK_STR(s->app[1], "carts");
    const struct traffic_rule *a = &s->route[0].rule, *b = &s->route[1].rule;
    CHECK_STR(s->route[0].path, "/a/*");
    CHECK_EQ(a->balance, TRAFFIC_ROUND_ROBIN);
    CHECK_EQ(a->outlier.failures, 9);
    CHECK_EQ(a->outlier.eject_ns, SEC(2));
    CHECK_EQ(a->outlier.slow_start_ns, SEC(3));
    CHECK_EQ(a->bounded_percent, 150);
    CHECK_STR(a->hash.header, "x-user");
    CHECK_EQ(a->n_parts, 2);
    CHECK_STR(a->mirror.app, "shadow");
    CHECK_EQ(a->mirror.percent, 3);
    CHECK(a->hedge.on && a->hedge.after_ns == MS(20));
    CHECK(!a->retry && a->retry_percent == 7);
    CHECK_EQ(b->balance, TRAFFIC_RANDOM);
    CHECK_EQ(b->outlier.failures, 0);
    CHECK_EQ(b->outlier.eject_ns, SEC(2));
    CHECK_EQ(b->n_parts, 0);
    CHECK(!b->hedge.on && !s->rule.hedge.on);
    CHECK_EQ(s->rule.outlier.failures, 9);
    resources_unref(r);
}

TEST(faults_have_their_place_and_reject_the_resource)
{
    static const struct {
        const char *name, *spec, *want;
    } row[] = {
        { "balance", "  balance: fastest\n",
          "e f.yaml:5:12: balance \"fastest\" is none of leastLoaded, roundRobin, random" },
        { "percent", "  retries: {budget: 101}\n",
          "e f.yaml:5:3: retries.budget, percent is 101: it must be 0 … 100" },
        { "hedges", "  hedge: {budget: 11}\n",
          "e f.yaml:5:3: hedge.budget, percent is 11: it must be 0 … 10" },
        { "split", "  split: [{app: a, weight: 0}]\n",
          "e f.yaml:5:10: split: at least one part must have a weight" },
        { "part", "  split: [{weight: 1}]\n", "e f.yaml:5:10: a part of split has no app" },
        { "bound", "  hash: {boundedLoad: 100}\n",
          "e f.yaml:5:3: hash.boundedLoad is 100: percent of the mean load, over 100 (0 = not "
          "bounded)" },
        { "sticky", "  sticky: {cookie: a, header: b}\n",
          "e f.yaml:5:3: sticky has a cookie and a header: give one of them" },
        { "times", "  outliers: {ejection: 2m}\n",
          "e f.yaml:5:3: outliers.ejection must be over 0 and at most maxEjection" },
        { "route", "  routes: [{balance: random}]\n",
          "e f.yaml:5:12: a route needs a path (such as /orders or /orders/*) or a method" },
        { "path", "  routes: [{path: x}]\n", "e f.yaml:5:12: path \"x\" must begin with a slash" },
        { "routes", "  routes: 7\n", "e f.yaml:5:11: routes must be a list of at most 1000" },
    };
    EACH (row, r) {
        char text[512];
        snprintf(text, sizeof text, TRAFFIC("%s"), r->spec);
        struct resources *res = load(text);
        CHECK_TEXT(said(res), r->want, "%s", r->name);
        CHECK_EQ(res->n_traffics, 0, "%s", r->name);
        resources_unref(res);
    }
}

TEST(zones_are_of_the_spec_and_of_all_its_routes)
{
    struct resources *r = load(TRAFFIC("  zones: {order: [b, c], regions: [us], rampUp: 8s}\n"
                                       "  routes: [{path: /x}]\n"));
    REQUIRE(r->n_traffics == 1, "%s", said(r));
    const struct traffic_rule *rule[] = { &r->traffic[0]->rule, &r->traffic[0]->route[0].rule };
    for (size_t i = 0; i < COUNT(rule); i++) {
        REQUIRE(rule[i]->n_zones == 2 && rule[i]->n_regions == 1);
        CHECK_STR(rule[i]->zone[1], "c");
        CHECK_STR(rule[i]->region[0], "us");
        CHECK_EQ(rule[i]->zone_ramp_ns, SEC(8));
    }
    resources_unref(r);
    r = load(TRAFFIC("  zones: {order: [a, b, c, d, e, f, g, h, i]}\n"));
    CHECK(strstr(said(r), "at most 8"), "%s", said(r));
    resources_unref(r);
}

TEST(a_slip_in_a_name_is_said_with_what_was_meant)
{
    struct resources *r = load(TRAFFIC("  outlier: {failures: 3}\n"));
    CHECK(strstr(said(r), "outliers"), "%s", said(r));
    resources_unref(r);
}

TEST(only_callers_in_scope_have_it_and_it_counts_while_running)
{
    struct resources *r = load(TRAFFIC("  apps: [a]\nscopes: [other]\n"));
    CHECK_EQ(r->n_traffics, 0);
    resources_unref(r);
    struct resources *one = load(TRAFFIC("  apps: [a]\n")), *two = load(TRAFFIC("  apps: [b]\n"));
    CHECK(one->live_hash != two->live_hash);
    CHECK_EQ(one->rest_hash, two->rest_hash);
    resources_unref(one);
    resources_unref(two);
}
