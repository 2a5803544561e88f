#include "load.h"

#define SCALE(spec) "apiVersion: proa.dev/v1alpha1\nkind: Scale\nmetadata: {name: s}\nspec:\n" spec

TEST(empty_spec_is_the_defaults)
{
    struct resources *r = load(SCALE("  {}\n"));
    CHECK_TEXT(said(r), "");
    REQUIRE(r->scale);
    struct scale_rule d;
    scale_rule_defaults(&d);
    const struct scale_rule *rule = &r->scale->rule;
    CHECK(rule->min == d.min && rule->max == d.max && rule->stable_ns == d.stable_ns &&
          rule->panic_ns == d.panic_ns && rule->down_delay_ns == d.down_delay_ns &&
          rule->zero_grace_ns == d.zero_grace_ns);
    REQUIRE(rule->n_rows == 1);
    CHECK(rule->row[0].metric == SCALE_CONCURRENCY && rule->row[0].target > 9);
    resources_unref(r);
}

TEST(spec_becomes_a_rule)
{
    struct resources *r = load(SCALE("  min: 0\n"
                                     "  max: 7\n"
                                     "  metrics:\n"
                                     "    - {type: latency, target: 250ms}\n"
                                     "    - {type: requestRate, target: 12.5}\n"
                                     "    - {type: queueAge, target: 10s}\n"
                                     "  stableWindow: 20s\n"
                                     "  panicWindow: 2s\n"
                                     "  scaleDownDelay: 5s\n"
                                     "  zeroGrace: 3s\n"
                                     "scopes: [me]\n"));
    CHECK_TEXT(said(r), "");
    REQUIRE(r->scale);
    const struct scale_rule *rule = &r->scale->rule;
    CHECK_STR(r->scale->name, "s");
    CHECK_EQ(rule->min, 0);
    CHECK_EQ(rule->max, 7);
    REQUIRE(rule->n_rows == 3);
    CHECK(rule->row[0].metric == SCALE_LATENCY && rule->row[0].target == 0.25);
    CHECK(rule->row[1].metric == SCALE_REQUESTS && rule->row[1].target == 12.5);
    CHECK(rule->row[2].metric == SCALE_QUEUE_AGE && rule->row[2].target == 10);
    CHECK_EQ(rule->stable_ns, SEC(20));
    CHECK_EQ(rule->panic_ns, SEC(2));
    CHECK_EQ(rule->down_delay_ns, SEC(5));
    CHECK_EQ(rule->zero_grace_ns, SEC(3));
    resources_unref(r);
}

TEST(another_apps_scale_is_none_of_ours)
{
    struct resources *r = load(SCALE("  max: 3\nscopes: [other]\n"));
    CHECK_TEXT(said(r), "");
    CHECK(!r->scale);
    resources_unref(r);
}

TEST(fault_is_told_with_its_place_and_leaves_no_rule)
{
    static const struct {
        const char *name, *spec, *want;
    } row[] = {
        { "bounds", "  min: 5\n  max: 3\n",
          "e f.yaml:5:3: min is 5 and max 3: 0 <= min <= max, and max is 1 ... 10000" },
        { "metric", "  metrics: [{type: cpu, target: 1}]\n",
          "e f.yaml:5:13: type \"cpu\" is none of concurrency, requestRate, latency, queueDepth, "
          "queueAge" },
        { "target of a time", "  metrics: [{type: latency, target: 3}]\n",
          "e f.yaml:5:13: latency: target \"3\" is not a duration over 0, such as 250ms" },
        { "target of a count", "  metrics: [{type: concurrency, target: -3}]\n",
          "e f.yaml:5:13: concurrency: target \"-3\" is not a number over 0: for one instance" },
        { "twice", "  metrics: [{type: latency, target: 1s}, {type: latency, target: 2s}]\n",
          "e f.yaml:5:42: latency is there twice" },
        { "windows", "  stableWindow: 1s\n  panicWindow: 2s\n",
          "e f.yaml:5:3: panicWindow must be over 0 and at most stableWindow" },
        { "window too long", "  scaleDownDelay: 1h\n",
          "e f.yaml:5:3: stableWindow and scaleDownDelay can be at most 60 times the panicWindow" },
    };
    EACH (row, c) {
        char text[512];
        snprintf(text, sizeof text, SCALE("%s"), c->spec);
        struct resources *r = load(text);
        CHECK_TEXT(said(r), c->want, "%s", c->name);
        CHECK(!r->scale, "%s", c->name);
        resources_unref(r);
    }
}

TEST(second_scale_of_an_app_is_refused_and_the_first_counts)
{
    struct resources *r = load(SCALE("  max: 3\n---\n") SCALE("  max: 4\n"));
    CHECK_TEXT(said(r),
               "e f.yaml:7:1: another Scale, \"s\", is there for this app: scopes tell them apart");
    REQUIRE(r->scale);
    CHECK_EQ(r->scale->rule.max, 3);
    resources_unref(r);
}
