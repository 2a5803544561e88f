#include "telemetry/metric_rules.h"
#include "telemetry/metrics.h"
#include "test/testing.h"

static bool shows(const char *line)
{
    struct buf out;
    buf_init(&out, MIB(1));
    metrics_write(&out);
    bool found = str_contains(buf_str(&out), str_c(line));
    buf_done(&out);
    return found;
}

TEST(values_are_rewritten_before_they_are_counted)
{
    static struct metric_family f = { .name = "dapr_a_count",
                                      .help = "A.",
                                      .label = { "method", "path" } };
    static struct metric_family other = { .name = "dapr_b_count",
                                          .help = "B.",
                                          .label = { "method", "path" } };
    static const struct metric_rule rule[] = {
        { S("dapr_a_count"), S("path"), S("^/orders/[^/]+"), S("/orders/{id}") },
        { S("a/count"), S("method"), S("(?i)get|head"), S("READ") },
        { S("dapr_none"), S("path"), S("."), S("") },
    };
    CHECK_OK(metric_rules_setup(rule, COUNT(rule), NULL));
    CHECK(metric_rules_present);
    str labels[] = { S("GET"), S("/orders/17/items") },
        again[] = { S("HEAD"), S("/orders/18/items") };
    metric_add(metric_cell(&f, labels), 1);
    metric_add(metric_cell_hashed(&f, again, metric_hash(again, 2)), 1);
    metric_add(metric_cell(&other, labels), 1);
    CHECK(shows("dapr_a_count{app_id=\"\",method=\"READ\",path=\"/orders/{id}/items\"} 2\n"));
    CHECK(shows("dapr_b_count{app_id=\"\",method=\"GET\",path=\"/orders/17/items\"} 1\n"));
    CHECK_STR(labels[1], "/orders/17/items", "the caller's stay");
    CHECK_OK(metric_rules_setup(NULL, 0, NULL));
    CHECK(!metric_rules_present);
    metric_add(metric_cell(&f, labels), 1);
    CHECK(shows("dapr_a_count{app_id=\"\",method=\"GET\",path=\"/orders/17/items\"} 1\n"));
}

TEST(rules_of_one_label_are_applied_in_turn_and_values_are_bounded)
{
    static struct metric_family f = { .name = "dapr_c_count", .help = "C.", .label = { "x" } };
    static const struct metric_rule rule[] = {
        { S("c_count"), S("x"), S("a"), S("b") },
        { S("c_count"), S("x"), S("b+"), S("c") },
        { S("c_count"), S("x"), S("v"), S("") },
    };
    static char large[2 * METRIC_VALUE_MAX];
    memset(large, 'v', sizeof large);
    memcpy(large, "ab", 2);
    str value[] = { str_of(large, sizeof large) };
    CHECK_OK(metric_rules_setup(rule, COUNT(rule), NULL));
    metric_add(metric_cell(&f, value), 1);
    CHECK(shows("dapr_c_count{app_id=\"\",x=\"c\"} 1\n"));
    CHECK_OK(metric_rules_setup(NULL, 0, NULL));
}

TEST(an_app_id_of_its_own_takes_the_place_of_ours)
{
    static struct metric_family f = { .name = "dapr_d_count",
                                      .help = "D.",
                                      .label = { "app_id", "namespace" } };
    str value[] = { S("caller"), S("ns") };
    metric_add(metric_cell(&f, value), 1);
    CHECK(shows("dapr_d_count{app_id=\"caller\",namespace=\"ns\"} 1\n"));
}

TEST(a_broken_expression_is_told)
{
    static const struct metric_rule rule[] = { { S("dapr_a"), S("path"), S("("), S("") } };
    static struct metric_rule many[METRIC_RULES_MAX + 1];
    struct error err = { 0 };
    CHECK_EQ(metric_rules_setup(rule, 1, &err), -INVALID);
    CHECK(str_starts(str_c(err.text), S("metrics.rules: the regex \"(\" of dapr_a/path: ")), "%s",
          err.text);
    CHECK_EQ(metric_rules_setup(many, COUNT(many), NULL), -INVALID);
    CHECK_OK(metric_rules_setup(NULL, 0, NULL));
}

TEST(without_memory_values_are_counted_as_they_are)
{
    static struct metric_family f = { .name = "dapr_e_count", .help = "E.", .label = { "x" } };
    static const struct metric_rule rule[] = { { S("e_count"), S("x"), S("a"), S("b") } };
    str value[] = { S("a") };
    FAIL_EACH_ALLOC(n)
    {
        struct error err = { 0 };
        if (metric_rules_setup(rule, 1, &err) == 0)
            metric_add(metric_cell(&f, value), 1);
        else
            CHECK_EQ(err.code, EXHAUSTED, "allocation %zu: %s", n, err.text);
    }
    CHECK_OK(metric_rules_setup(NULL, 0, NULL));
}
