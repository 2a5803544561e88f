#include "policy/overload.h"

#include "test/testing.h"

/* ---- a call of a few headers ---- */

struct headers {
    str name, value;
};

static str header_of(void *arg, str name)
{
    const struct headers *h = arg;
    return h && str_eq(h->name, name) ? h->value : (str){ 0 };
}

static struct overload_call call_of(str route, str caller, struct headers *h)
{
    return (struct overload_call){ route, caller, header_of, h };
}

static struct overload *make(const struct overload_spec *spec)
{
    struct overload *o = overload_new(spec, NULL, NULL);
    REQUIRE(o);
    return o;
}

/* ---- priorities ---- */

static struct overload_rule rules[] = {
    { .match = { .header = S("x-tier"), .value = S("gold") },
      .priority = PRIORITY_CRITICAL,
      .force = true },
    { .match = { .caller = S("shop"), .route = S("/pay") }, .priority = PRIORITY_HIGH },
    { .match = { .route = S("/reports/*") }, .priority = PRIORITY_BACKGROUND },
    { .match = { .header = S("x-batch") }, .priority = PRIORITY_LOW },
    { .match = { .caller = S("shop") }, .priority = PRIORITY_NORMAL },
};

TEST(first_rule_of_which_all_matches_counts)
{
    struct overload_spec spec = overload_defaults();
    spec.rule = rules;
    spec.n_rules = COUNT(rules);
    spec.fallback = PRIORITY_LOW;
    static const struct {
        const char *name;
        str route, caller;
        struct headers header;
        bool has, want;
        enum priority was, priority;
    } row[] = {
        { "nothing matches", S("/x"), S("a"), { { 0 } }, false, true, 0, PRIORITY_LOW },
        { "the call's own word",
          S("/x"),
          S("a"),
          { { 0 } },
          true,
          false,
          PRIORITY_HIGH,
          PRIORITY_HIGH },
        { "whole route and caller",
          S("/pay"),
          S("shop"),
          { { 0 } },
          false,
          true,
          0,
          PRIORITY_HIGH },
        { "half of a rule", S("/pay"), S("a"), { { 0 } }, false, true, 0, PRIORITY_LOW },
        { "longer route", S("/pay/1"), S("shop"), { { 0 } }, false, true, 0, PRIORITY_NORMAL },
        { "prefix", S("/reports/7"), S("a"), { { 0 } }, false, true, 0, PRIORITY_BACKGROUND },
        { "header is there",
          S("/x"),
          S("a"),
          { S("x-batch"), S("any") },
          false,
          true,
          0,
          PRIORITY_LOW },
        { "value",
          S("/pay"),
          S("shop"),
          { S("x-tier"), S("gold") },
          false,
          true,
          0,
          PRIORITY_CRITICAL },
        { "another value",
          S("/pay"),
          S("shop"),
          { S("x-tier"), S("tin") },
          false,
          true,
          0,
          PRIORITY_HIGH },
        { "forced",
          S("/x"),
          S("a"),
          { S("x-tier"), S("gold") },
          true,
          true,
          PRIORITY_LOW,
          PRIORITY_CRITICAL },
        { "not forced",
          S("/reports/7"),
          S("a"),
          { { 0 } },
          true,
          false,
          PRIORITY_HIGH,
          PRIORITY_HIGH },
    };
    struct overload *o = make(&spec);
    CHECK(!overload_is_plain(o));
    EACH (row, r) {
        struct headers h = r->header;
        struct overload_call call = call_of(r->route, r->caller, &h);
        enum priority p = r->was;
        CHECK_EQ(overload_priority(o, &call, r->has, &p), r->want, "%s", r->name);
        CHECK_EQ(p, r->priority, "%s", r->name);
    }
    overload_unref(o);
}

TEST(spec_that_says_nothing_is_plain)
{
    struct overload_spec on = overload_defaults(), off = overload_none();
    struct overload *o = make(&on);
    struct overload_call call = call_of(S("/x"), S("a"), NULL);
    enum priority p = PRIORITY_HIGH;
    CHECK(on.enabled && !off.enabled);
    CHECK(overload_is_plain(o));
    CHECK(!overload_priority(o, &call, false, &p));
    CHECK_EQ(p, PRIORITY_NORMAL);
    overload_unref(o);
    on.key_header = S("x-user");
    o = make(&on);
    CHECK(!overload_is_plain(o));
    overload_unref(o);
}

/* ---- rates ---- */

static struct overload_rate rates[] = {
    { .name = S("user"),
      .match = { .route = S("/search*") },
      .key_header = S("x-user"),
      .per_s = 10,
      .burst = 2,
      .max_keys = 10 },
    { .name = S("caller"), .key_caller = true, .per_s = 1, .burst = 1, .max_keys = 10 },
    { .name = S("all"), .match = { .caller = S("shop") }, .per_s = 1, .burst = 5, .max_keys = 1 },
};

static struct overload_spec with_rates(void)
{
    struct overload_spec spec = overload_defaults();
    spec.rate = rates;
    spec.n_rates = COUNT(rates);
    return spec;
}

TEST(call_falls_under_all_rates_that_match_each_with_its_key)
{
    struct overload_spec spec = with_rates();
    struct overload *o = make(&spec);
    struct headers h = { S("x-user"), S("ann") };
    struct overload_call call = call_of(S("/search/x"), S("shop"), &h);
    static const str want[] = { S("ann"), S("shop"), S("") };
    size_t at = 0, n = 0;
    const struct overload_rate *r;
    for (str key; (r = overload_rate(o, &call, &at, &key)); n++) {
        REQUIRE(n < COUNT(want));
        CHECK(r == &rates[n] && str_eq(key, want[n]), "rate %zu", n);
    }
    CHECK_EQ(n, 3);
    call = call_of(S("/x"), S("other"), NULL);
    str key;
    at = 0;
    CHECK(overload_rate(o, &call, &at, &key) == &rates[1]);
    CHECK_STR(key, "other");
    CHECK(overload_rate(o, &call, &at, &key) == NULL);
    overload_unref(o);
}

TEST(bucket_of_each_key_is_its_own_and_fills_up_with_time)
{
    struct overload_spec spec = with_rates();
    struct overload *o = make(&spec);
    uint64_t wait = 0, now = SEC(100);
    for (int i = 0; i < 2; i++)
        CHECK(overload_take(o, &rates[0], S("ann"), now, &wait));
    CHECK(!overload_take(o, &rates[0], S("ann"), now, &wait));
    CHECK(wait > MS(90) && wait <= MS(101), "%ju ns", (uintmax_t)wait);
    CHECK(overload_take(o, &rates[0], S("bob"), now, &wait));
    CHECK(overload_take(o, &rates[1], S("ann"), now, &wait));
    CHECK(!overload_take(o, &rates[0], S("ann"), now + MS(50), &wait));
    CHECK(overload_take(o, &rates[0], S("ann"), now + MS(102), &wait));
    overload_unref(o);
}

/* ---- ownership ---- */

static void count(void *arg)
{
    ++*(int *)arg;
}

TEST(what_the_spec_points_into_is_released_once_with_the_last_reference)
{
    struct overload_spec spec = overload_defaults();
    int released = 0;
    struct overload *o = overload_new(&spec, &released, count);
    REQUIRE(o);
    CHECK(overload_ref(o) == o);
    overload_unref(o);
    CHECK_EQ(released, 0);
    overload_unref(o);
    CHECK_EQ(released, 1);
    overload_unref(NULL);
}

TEST(out_of_memory_is_said_and_keeps_nothing)
{
    struct overload_spec spec = with_rates();
    FAIL_EACH_ALLOC(n)
    {
        int released = 0;
        struct overload *o = overload_new(&spec, &released, count);
        CHECK(o || test_alloc_failed(n));
        CHECK_EQ(released, 0); /* it is the caller's until it has been taken over */
        overload_unref(o);
        CHECK_EQ(released, o ? 1 : 0);
    }
}
