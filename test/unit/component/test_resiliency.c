#include "load.h"

#define RESILIENCY(spec)                                                                           \
    "apiVersion: dapr.io/v1alpha1\nkind: Resiliency\nmetadata: {name: res}\nspec:\n" spec

TEST(resource_becomes_the_structs_of_policy_s63)
{
    struct resources *r = load(RESILIENCY(
        "  policies:\n"
        "    timeouts: {general: 5s, ms: 250, none: ''}\n"
        "    retries:\n"
        "      pubsub: {policy: constant, duration: 2s, maxRetries: 10, matching: "
        "{httpStatusCodes: '429,500-599', gRPCStatusCodes: 14}}\n"
        "      big: {policy: exponential, duration: 250, maxInterval: 15s}\n"
        "      empty: {}\n"
        "    circuitBreakers:\n"
        "      cb: {maxRequests: 2, interval: 8s, timeout: 45s, trip: consecutiveFailures >= 8}\n"
        "      plain: {}\n"
        "  targets:\n"
        "    apps:\n"
        "      orders: {timeout: general, retry: pubsub, circuitBreaker: cb, "
        "circuitBreakerCacheSize: 7}\n"
        "    actors: {thing: {retry: x}}\n"
        "    components:\n"
        "      db: {outbound: {timeout: ms, retry: big}, inbound: {circuitBreaker: cb}}\n"
        "scopes: [me]\n"));
    CHECK_TEXT(said(r), "");
    REQUIRE(r->n_resiliencies == 1);
    const struct resiliency_spec *s = r->resiliency[0];
    CHECK_STR(s->name, "res");
    REQUIRE(s->n_timeout == 3 && s->n_retry == 3 && s->n_breaker == 2);
    CHECK_STR(s->timeout[0].name, "general");
    CHECK_EQ(s->timeout[0].ns, SEC(5));
    CHECK_EQ(s->timeout[1].ns, MS(250));
    CHECK_EQ(s->timeout[2].ns, 0);
    const struct retry_policy *p = &s->retry[0].policy;
    CHECK(!p->exponential && p->interval_ns == SEC(2) && p->max_retries == 10);
    CHECK_EQ(p->match.n_http, 2);
    CHECK_EQ(p->match.grpc[0].first, 14);
    p = &s->retry[1].policy;
    CHECK(p->exponential && p->max_interval_ns == SEC(15) && p->max_retries == -1);
    CHECK_EQ(p->initial_ns, MS(500), "whatever its duration");
    p = &s->retry[2].policy;
    CHECK(!p->exponential && p->interval_ns == SEC(5) && p->max_retries == -1);
    CHECK_EQ(s->breaker[0].config.max_requests, 2);
    CHECK_EQ(s->breaker[0].config.interval_ns, SEC(8));
    CHECK(s->breaker[0].config.trip && !s->breaker[1].config.trip);
    REQUIRE(s->n_app == 1 && s->n_component == 1);
    CHECK_STR(s->app[0].use.breaker, "cb");
    CHECK_EQ(s->app[0].max_breakers, 7);
    CHECK_STR(s->component[0].outbound.retry, "big");
    CHECK_STR(s->component[0].inbound.breaker, "cb");
    resources_unref(r);
}

TEST(faulty_policy_rejects_the_resource_and_nothing_else_s63)
{
    static const struct {
        const char *name, *spec, *want;
    } row[] = {
        { "duration", "  policies: {timeouts: {t: soon}}\n",
          "f.yaml:5:28: timeout: \"soon\" is not a duration such as 30s, or a number of "
          "milliseconds" },
        { "negative", "  policies: {timeouts: {t: -5}}\n",
          "f.yaml:5:28: timeout: \"-5\" is not a duration such as 30s, or a number of "
          "milliseconds" },
        { "codes", "  policies: {retries: {r: {matching: {httpStatusCodes: '500, 501'}}}}\n",
          "f.yaml:5:38: retry \"r\": matching: \" 501\" is not a status code in 100 … 599 or a "
          "range such as 500-504 (no spaces)" },
        { "kind", "  policies: {retries: {r: {policy: linear}}}\n",
          "f.yaml:5:27: retry \"r\": policy \"linear\" is neither constant nor exponential" },
        { "max", "  policies: {retries: {r: {maxRetries: many}}}\n",
          "f.yaml:5:40: maxRetries: \"many\" is not a whole number" },
        { "requests", "  policies: {circuitBreakers: {c: {maxRequests: -1}}}\n",
          "f.yaml:5:35: circuit breaker \"c\": maxRequests must be 0 … 4294967295" },
        { "cache", "  targets: {apps: {a: {circuitBreakerCacheSize: -1}}}\n",
          "f.yaml:5:23: circuitBreakerCacheSize must be 0 … 1000000" },
    };
    EACH (row, c) {
        char text[512], want[1024];
        snprintf(text, sizeof text, RESILIENCY("%s"), c->spec);
        struct resources *r = load(text);
        const char *detail = strstr(c->want, ": ") + 2;
        snprintf(want, sizeof want, "e %s\ne f.yaml:1:1: Could not read resiliency policy res: %s",
                 c->want, detail);
        CHECK_TEXT(said(r), want, "%s", c->name);
        CHECK(r->n_resiliencies == 0 && !r->fatal, "%s", c->name);
        resources_unref(r);
    }
    struct resources *r =
        load(RESILIENCY("  policies: {circuitBreakers: {c: {trip: 'consecutiveFailures >'}}}\n"));
    CHECK_EQ(r->diags.v[0].column, 42);
    CHECK(str_starts(str_c(r->diags.v[0].text), S("circuit breaker \"c\": trip ")), "%s", said(r));
    CHECK_EQ(r->n_resiliencies, 0);
    resources_unref(r);
}

TEST(built_in_names_keep_three_retries)
{
    struct resources *r = load(RESILIENCY(
        "  policies: {retries: {DaprBuiltInServiceRetries: {maxRetries: 1, duration: 5}, "
        "DaprBuiltInActorNotFoundRetries: {maxRetries: 9}}}\n"));
    CHECK_TEXT(said(r), "w f.yaml:5:51: DaprBuiltInServiceRetries needs at least 3 retries: "
                        "maxRetries is set to 3\n"
                        "w f.yaml:5:114: DaprBuiltInActorNotFoundRetries can't be redefined: the "
                        "built-in policy stays");
    REQUIRE(r->n_resiliencies == 1);
    CHECK_EQ(r->resiliency[0]->retry[0].policy.max_retries, 3);
    CHECK_EQ(r->resiliency[0]->retry[0].policy.interval_ns, MS(5));
    resources_unref(r);
}

TEST(names_that_nobody_defines_are_warned_of)
{
    struct resources *r =
        load(RESILIENCY("  policies: {retries: {important: {}}}\n"
                        "  targets: {apps: {a: {retry: importent, timeout: t}, b: {retry: "
                        "other}}}\n") "---\n"
                                      "apiVersion: dapr.io/v1alpha1\nkind: Resiliency\nmetadata: "
                                      "{name: two}\n"
                                      "spec: {policies: {timeouts: {t: 1s}}}\n");
    CHECK_TEXT(said(r), "w Resiliency res: target \"a\" names retry \"importent\", which no policy "
                        "defines (did you mean \"important\"?)\n"
                        "w Resiliency res: target \"b\" names retry \"other\", which no policy "
                        "defines");
    resources_unref(r);
}

TEST(resources_of_other_apps_are_left_out)
{
    struct resources *r = load(RESILIENCY("  policies: {timeouts: {t: wrong}}\nscopes: [you]\n"));
    CHECK_TEXT(said(r), "");
    CHECK_EQ(r->n_resiliencies, 0);
    resources_unref(r);
}

TEST(failing_allocations_are_errors)
{
    static const char text[] =
        RESILIENCY("  policies: {timeouts: {t: 1s}, retries: {r: {matching: {httpStatusCodes: "
                   "500}}}, circuitBreakers: {c: {trip: requests > 1}}}\n"
                   "  targets: {apps: {a: {retry: r, timeout: nope}}}\n");
    FAIL_EACH_ALLOC(n)
    {
        struct resource_text file = { "f.yaml", str_c(text), false };
        struct resources *r = NULL;
        struct error err = { 0 };
        if (resources_parse(&load_defaults, &file, 1, &r, &err) < 0)
            CHECK(err.code == EXHAUSTED && test_alloc_failed(n));
        else if (r->n_resiliencies == 0) /* the document could not be parsed for it: said so */
            CHECK(test_alloc_failed(n) && diags_have(&r->diags, DIAG_ERROR));
        else
            CHECK(r->diags.n == 1, "allocation %zu: %s", n, said(r));
        resources_unref(r);
    }
}
