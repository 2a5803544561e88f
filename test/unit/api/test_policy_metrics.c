#include "api/policy_metrics.h"
#include "fixture.h"
#include "telemetry/metrics.h"

static const char POLICIES[] =
    "apiVersion: dapr.io/v1alpha1\nkind: Resiliency\nmetadata:\n  name: myres\nspec:\n  policies:\n"
    "    retries:\n      two: {policy: constant, duration: 1ms, maxRetries: 2}\n"
    "    timeouts:\n      long: 10s\n"
    "    circuitBreakers:\n      cb: {timeout: 60s, trip: consecutiveFailures >= 3}\n"
    "  targets:\n    components:\n"
    "      s: {outbound: {retry: two, timeout: long, circuitBreaker: cb}}\n";

static void show(struct fixture *f, struct buf *out)
{
    policy_metrics(&f->b);
    buf_clear(out);
    metrics_write(out);
}

TEST_CO(policies_show_what_they_did)
{
    struct fixture f;
    struct buf out;
    fixture_open(&f, POLICIES);
    buf_init(&out, MIB(4));
    struct fake *s = fixture_add(&f, "state", "s", NULL);
    show(&f, &out);
    CHECK(str_contains(buf_str(&out), S("dapr_resiliency_loaded{app_id=\"\",name=\"myres\"")));
    CHECK(!str_contains(buf_str(&out), S("dapr_resiliency_count{")), "nothing was called yet");
    CHECK_EQ(fixture_call(&f, "GET /v1.0/state/s/k", NULL, NULL).status, 204);
    s->failures = 9;
    s->code = UNAVAILABLE;
    s->text = "x";
    CHECK_EQ(fixture_call(&f, "GET /v1.0/state/s/k", NULL, NULL).status, 500);
    show(&f, &out);
    static const struct {
        const char *metric, *policy, *status, *value;
    } row[] = {
        { "count", "timeout", "", "2" },
        { "count", "retry", "", "2" },
        { "count", "circuitbreaker", "closed", "2" },
        { "activations_total", "retry", "", "1" },
        { "activations_total", "circuitbreaker", "open", "1" },
        { "cb_state", "circuitbreaker", "open", "1" },
        { "cb_state", "circuitbreaker", "closed", "0" },
        { "cb_state", "circuitbreaker", "half-open", "0" },
    };
    EACH (row, r) {
        char line[300];
        snprintf(line, sizeof line,
                 "dapr_resiliency_%s{app_id=\"\",name=\"myres\",policy=\"%s\",namespace=\"\","
                 "flow_direction=\"outbound\",target=\"Statestore_s\",status=\"%s\"} %s\n",
                 r->metric, r->policy, r->status, r->value);
        CHECK(str_contains(buf_str(&out), str_c(line)), "%s", line);
    }
    struct policy *builtin = policy_builtin(f.b.resiliency, BUILTIN_SERVICE_RETRIES);
    REQUIRE(builtin);
    atomic_fetch_add(&builtin->stats.used[POLICY_RETRY], 1);
    show(&f, &out);
    CHECK(!str_contains(buf_str(&out), S("DaprBuiltIn")), "built-in policies aren't shown");
    CHECK(str_contains(buf_str(&out),
                       S("policy=\"timeout\",namespace=\"\",flow_direction=\"outbound\","
                         "target=\"Statestore_s\",status=\"\"} 2\n")),
          "a second look changes nothing");
    buf_done(&out);
    fixture_close(&f);
}
