#include "load.h"

#include "policy/overload.h"

#define OVERLOAD(spec)                                                                             \
    "apiVersion: proa.dev/v1alpha1\nkind: Overload\nmetadata: {name: o}\nspec:\n" spec

TEST(what_is_not_said_is_the_default)
{
    struct resources *r =
        load("apiVersion: proa.dev/v1alpha1\nkind: Overload\nmetadata: {name: o}\n");
    CHECK_TEXT(said(r), "");
    REQUIRE(r->overload);
    const struct overload_spec *o = r->overload;
    CHECK(o->enabled);
    CHECK_STR(o->name, "o");
    CHECK_EQ(o->min, 0);
    CHECK_EQ(o->max, 0);
    CHECK_EQ(o->target_ns, 0);
    CHECK_EQ(o->max_queue, 0);
    CHECK_EQ(o->fallback, PRIORITY_NORMAL);
    CHECK_EQ(o->key_header.n, 0);
    CHECK_EQ(o->n_rules + o->n_rates, 0);
    resources_unref(r);
}

TEST(all_that_is_said_arrives)
{
    struct resources *r =
        load(OVERLOAD("  enabled: false\n"
                      "  limit: {min: 3, max: 500}\n"
                      "  queue: {target: 20ms, max: 77}\n"
                      "  default: low\n"
                      "  key: {header: x-user-id}\n"
                      "  priorities:\n"
                      "  - {caller: checkout, priority: high}\n"
                      "  - {route: /reports/*, priority: background}\n"
                      "  - {header: x-tier, value: gold, priority: critical, force: true}\n"
                      "  rates:\n"
                      "  - {name: searches, route: /search*, key: {header: x-user}, rate: 10, per: "
                      "2s, burst: 20,\n"
                      "     maxKeys: 9, store: shared}\n"
                      "  - {name: callers, key: {caller: true}, rate: 30, per: 1m}\n"));
    CHECK_TEXT(said(r), "");
    REQUIRE(r->overload);
    const struct overload_spec *o = r->overload;
    CHECK(!o->enabled);
    CHECK(o->min == 3 && o->max == 500 && o->max_queue == 77 && o->target_ns == MS(20));
    CHECK_EQ(o->fallback, PRIORITY_LOW);
    CHECK_STR(o->key_header, "x-user-id");
    REQUIRE(o->n_rules == 3 && o->n_rates == 2);
    CHECK_STR(o->rule[0].match.caller, "checkout");
    CHECK(o->rule[0].priority == PRIORITY_HIGH && !o->rule[0].force);
    CHECK_STR(o->rule[1].match.route, "/reports/*");
    CHECK_STR(o->rule[2].match.header, "x-tier");
    CHECK_STR(o->rule[2].match.value, "gold");
    CHECK(o->rule[2].priority == PRIORITY_CRITICAL && o->rule[2].force);
    const struct overload_rate *a = &o->rate[0], *b = &o->rate[1];
    CHECK_STR(a->name, "searches");
    CHECK_STR(a->match.route, "/search*");
    CHECK_STR(a->key_header, "x-user");
    CHECK_STR(a->store, "shared");
    CHECK(a->per_s == 5 && a->burst == 20 && a->max_keys == 9 && !a->key_caller);
    CHECK(b->per_s == 0.5 && b->burst == 1 && b->max_keys == 10000 && b->key_caller);
    resources_unref(r);
}

TEST(faults_have_their_place_and_reject_the_resource)
{
    static const struct {
        const char *name, *spec, *want;
    } row[] = {
        { "limits", "  limit: {min: 9, max: 8}\n",
          "f.yaml:5:3: limit.min is larger than limit.max" },
        { "limit", "  limit: {max: -1}\n", "f.yaml:5:3: limit.max must be 0 … 100000, not -1" },
        { "queue", "  queue: {max: 100001}\n", "f.yaml:5:3: queue.max must be 0 … 100000" },
        { "default", "  default: urgent\n", "priority \"urgent\" is none of critical, high" },
        { "rule of nothing", "  priorities: [{priority: low}]\n",
          "f.yaml:5:16: a priority is for a header, a caller or a route" },
        { "priority", "  priorities: [{caller: a, priority: top}]\n",
          "f.yaml:5:16: priority \"top\" is none of" },
        { "value alone", "  priorities: [{caller: a, value: b, priority: low}]\n",
          "f.yaml:5:16: value is that of a header" },
        { "route", "  priorities: [{route: a, priority: low}]\n",
          "f.yaml:5:16: route \"a\" must begin with a slash" },
        { "key", "  key: {caller: true}\n", "spec.key must be a header" },
        { "rate", "  rates: [{name: a}]\n", "f.yaml:5:11: rate must be 1 … 1000000000, not 0" },
        { "name", "  rates: [{rate: 1}]\n", "f.yaml:5:11: a rate limit needs a name" },
        { "two keys", "  rates: [{name: a, rate: 1, key: {header: x, caller: true}}]\n",
          "f.yaml:5:11: key is a header or the caller, not both" },
    };
    EACH (row, r) {
        char text[512];
        snprintf(text, sizeof text, OVERLOAD("%s"), r->spec);
        struct resources *res = load(text);
        CHECK(strstr(said(res), r->want), "%s: %s", r->name, said(res));
        CHECK(!res->overload, "%s", r->name);
        resources_unref(res);
    }
}

TEST(one_resource_an_app_counts_and_only_in_its_scopes)
{
    struct resources *r = load(OVERLOAD("  default: low\nscopes: [other]\n"));
    CHECK(!r->overload);
    CHECK_TEXT(said(r), "");
    resources_unref(r);
    r = load(OVERLOAD("  default: low\n") "---\n" OVERLOAD("  default: high\n"));
    CHECK(strstr(said(r), "is a second Overload of this app"), "%s", said(r));
    REQUIRE(r->overload);
    CHECK_EQ(r->overload->fallback, PRIORITY_LOW);
    resources_unref(r);
}
