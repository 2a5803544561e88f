#include "policy/resiliency.h"

#include "test/testing.h"

static struct named_timeout timeouts[] = { { S("fast"), MS(10) },
                                           { S("none"), 0 },
                                           { S("DefaultTimeoutPolicy"), SEC(1) },
                                           { S("DefaultComponentTimeoutPolicy"), SEC(2) } };
static struct named_retry retries[] = {
    { S("three"), { .max_retries = 3, .interval_ns = MS(1) } },
    { S("DefaultAppRetryPolicy"), { .max_retries = 4 } },
    { S("DefaultStatestoreComponentOutboundRetryPolicy"), { .max_retries = 5 } },
    { S("DefaultComponentInboundRetryPolicy"), { .max_retries = 6 } },
    { S("DaprBuiltInServiceRetries"), { .max_retries = 7 } },
    { S("DaprBuiltInActorNotFoundRetries"), { .max_retries = 99 } },
};
static struct named_breaker breakers[] = { { S("cb"), { .max_requests = 1 } } };
static struct app_target apps[] = { { S("orders"), { S("fast"), S("three"), S("cb") }, 2 },
                                    { S("plain"), { .timeout = { 0 } }, 0 },
                                    { S("typo"), { .retry = S("nope") }, 0 },
                                    { S("zero"), { .timeout = S("none") }, 0 } };
static struct component_target components[] = {
    { S("db"), { .retry = S("three"), .breaker = S("cb") }, { S("fast"), { 0 }, S("cb") } },
};
static const struct resiliency_spec first = {
    .name = S("first"),
    .timeout = timeouts,
    .retry = retries,
    .breaker = breakers,
    .app = apps,
    .component = components,
    .n_timeout = 2,
    .n_retry = 1,
    .n_breaker = 1,
    .n_app = COUNT(apps),
    .n_component = 1,
};
static const struct resiliency_spec defaults = {
    .name = S("defaults"),
    .namespace_ = S("prod"),
    .timeout = timeouts,
    .retry = retries,
    .n_timeout = COUNT(timeouts),
    .n_retry = COUNT(retries),
};

static struct resiliency *with(const struct resiliency_spec *a, const struct resiliency_spec *b)
{
    const struct resiliency_spec *spec[] = { a, b };
    struct resiliency *r = resiliency_new(spec, a ? b ? 2 : 1 : 0, NULL);
    REQUIRE(r);
    return r;
}

TEST(without_resources_nothing_applies_but_the_built_in_retries)
{
    struct resiliency *r = with(NULL, NULL);
    CHECK(!policy_app(r, S("orders")));
    CHECK(!policy_component(r, S("db"), "Statestore", POLICY_OUTBOUND));
    CHECK(!resiliency_has_app(r, S("orders")));
    struct policy *p = policy_builtin(r, BUILTIN_SERVICE_RETRIES);
    CHECK(p && policy_builtin(r, BUILTIN_SERVICE_RETRIES) == p);
    REQUIRE(p);
    CHECK(!p->retry->exponential);
    CHECK_EQ(p->retry->max_retries, 3);
    CHECK_EQ(p->retry->interval_ns, SEC(1));
    p = policy_builtin(r, BUILTIN_INIT_RETRIES);
    REQUIRE(p);
    CHECK(p->retry->exponential);
    CHECK_EQ(p->retry->max_elapsed_ns, SEC(10));
    CHECK(!policy_builtin(r, "three"));
    CHECK_STR(resiliency_name(r), "");
    resiliency_free(r);
}

TEST(target_app_gets_the_policies_it_names)
{
    struct resiliency *r = with(&first, NULL);
    struct policy *p = policy_app(r, S("orders"));
    REQUIRE(p);
    CHECK_EQ(p->timeout_ns, MS(10));
    CHECK_EQ(p->retry->max_retries, 3);
    CHECK(p->has_breaker);
    CHECK_STR(p->target, "app_orders");
    CHECK(p == policy_app(r, S("orders")));
    CHECK(resiliency_has_app(r, S("plain")));
    CHECK(!policy_app(r, S("plain")));
    CHECK(!policy_app(r, S("typo")));
    CHECK(!policy_app(r, S("zero")));
    CHECK(!policy_app(r, S("other")));
    resiliency_free(r);
}

TEST(defaults_apply_by_level_and_only_without_an_entry)
{
    struct resiliency *r = with(&first, &defaults);
    struct policy *p = policy_app(r, S("other"));
    REQUIRE(p);
    CHECK_EQ(p->retry->max_retries, 4);
    CHECK_EQ(p->timeout_ns, SEC(1));
    CHECK(!policy_app(r, S("plain")));
    p = policy_component(r, S("mem"), "Statestore", POLICY_OUTBOUND);
    REQUIRE(p);
    CHECK_EQ(p->retry->max_retries, 5);
    CHECK_EQ(p->timeout_ns, SEC(2));
    CHECK_STR(p->target, "Statestore_mem");
    p = policy_component(r, S("bus"), "Pubsub", POLICY_INBOUND);
    REQUIRE(p);
    CHECK_EQ(p->retry->max_retries, 6);
    CHECK_EQ(p->flow, POLICY_INBOUND);
    p = policy_component(r, S("bus"), "Pubsub", POLICY_OUTBOUND);
    REQUIRE(p);
    CHECK(!p->retry);
    p = policy_component(r, S("db"), "Statestore", POLICY_INBOUND);
    REQUIRE(p);
    CHECK_EQ(p->timeout_ns, 0); /* it has an entry, which names none */
    CHECK_STR(resiliency_name(r), "defaults");
    CHECK_STR(resiliency_namespace(r), "prod");
    resiliency_free(r);
}

/* Each level alone, of each kind and direction: whom its name reaches, and whom it doesn't. */
TEST(default_names_reach_their_level)
{
    static const char *const type[] = { "Binding", "Configuration", "Lock",       "Pubsub",
                                        "Crypto",  "Secretstore",   "Statestore", "Conversation" };
    static const struct {
        const char *format;                  /* of the level; %s is the kind */
        bool outbound, inbound, app, others; /* others: components of another kind */
    } level[] = {
        { "%sComponentOutbound", true, false, false, false },
        { "%sComponentInbound", false, true, false, false },
        { "ComponentOutbound", true, false, false, true },
        { "ComponentInbound", false, true, false, true },
        { "Component", true, true, false, true },
        { "App", false, false, true, false },
        { "Actor", false, false, false, false },
        { "", true, true, true, true },
    };
    EACH (type, t)
        EACH (level, l) {
            char name[100], text[64];
            snprintf(text, sizeof text, l->format, *t);
            snprintf(name, sizeof name, "Default%sTimeoutPolicy", text);
            struct named_timeout timeout = { str_c(name), MS(1) };
            struct resiliency_spec s = { .name = S("r"), .timeout = &timeout, .n_timeout = 1 };
            struct resiliency *r = with(&s, NULL);
            const char *other = t == type ? type[1] : type[0];
            CHECK_EQ(policy_component(r, S("c"), *t, POLICY_OUTBOUND) != NULL, l->outbound, "%s",
                     name);
            CHECK_EQ(policy_component(r, S("c"), *t, POLICY_INBOUND) != NULL, l->inbound, "%s",
                     name);
            CHECK_EQ(policy_component(r, S("o"), other, POLICY_OUTBOUND) != NULL,
                     l->others && l->outbound, "%s", name);
            CHECK_EQ(policy_app(r, S("a")) != NULL, l->app, "%s", name);
            resiliency_free(r);
        }
}

TEST(built_in_retries_may_be_redefined_but_the_protected_one_stays)
{
    struct resiliency *r = with(&defaults, NULL);
    CHECK_EQ(policy_builtin(r, BUILTIN_SERVICE_RETRIES)->retry->max_retries, 7);
    CHECK_EQ(policy_builtin(r, "DaprBuiltInActorNotFoundRetries")->retry->max_retries, 5);
    CHECK_EQ(resiliency_builtin(S("DaprBuiltInActorNotFoundRetries")), BUILTIN_PROTECTED);
    CHECK_EQ(resiliency_builtin(S("DaprBuiltInActorRetries")), BUILTIN_RETRY);
    CHECK_EQ(resiliency_builtin(S("three")), BUILTIN_NONE);
    resiliency_free(r);
}

TEST(breaker_of_a_component_is_one_for_both_directions_s63)
{
    struct resiliency *r = with(&first, NULL);
    struct policy *in = policy_component(r, S("db"), "Statestore", POLICY_INBOUND);
    struct policy *out = policy_component(r, S("db"), "Statestore", POLICY_OUTBOUND);
    REQUIRE(in && out && in != out);
    struct breaker *a = policy_breaker(in, S(""), 0), *b = policy_breaker(out, S(""), 0);
    CHECK(a && a == b);
    breaker_unref(a);
    breaker_unref(b);
    resiliency_free(r);
}

TEST(breakers_of_an_app_are_kept_by_endpoint_within_its_cache)
{
    struct resiliency *r = with(&first, NULL);
    struct policy *p = policy_app(r, S("orders"));
    struct breaker *a = policy_breaker(p, S("orders:a"), 0);
    struct breaker *b = policy_breaker(p, S("orders:b"), 0);
    struct breaker *c = policy_breaker(p, S("orders:c"), 0); /* its cache holds 2 */
    struct breaker *a2 = policy_breaker(p, S("orders:a"), 0);
    CHECK(a != b && b != c && a2 != a);
    breaker_unref(a);
    breaker_unref(b);
    breaker_unref(c);
    breaker_unref(a2);
    resiliency_free(r);
}

TEST(targets_past_the_limit_share_one_policy)
{
    struct resiliency *r = with(&defaults, NULL);
    struct policy *p = NULL, *q = NULL;
    for (int i = 0; i <= POLICY_TARGETS_MAX + 1; i++) {
        char id[32];
        int n = snprintf(id, sizeof id, "app%d", i);
        p = q;
        q = policy_app(r, str_of(id, (size_t)n));
    }
    CHECK(p && p == q);
    CHECK_STR(p->target, "other");
    size_t n = 0;
    for (struct policy *at = NULL; (at = policy_each(r, at));)
        n++;
    CHECK_EQ(n, POLICY_TARGETS_MAX + 1);
    resiliency_free(r);
}

TEST(out_of_memory_is_no_policy_and_no_crash)
{
    FAIL_EACH_ALLOC(n)
    {
        const struct resiliency_spec *spec[] = { &first };
        struct error err = { 0 };
        struct resiliency *r = resiliency_new(spec, 1, &err);
        if (!r) {
            CHECK_EQ(err.code, EXHAUSTED);
            continue;
        }
        struct policy *p = policy_app(r, S("orders"));
        CHECK(p || test_alloc_failed(n));
        breaker_unref(p ? policy_breaker(p, S("orders:a"), 0) : NULL);
        resiliency_free(r);
    }
}
