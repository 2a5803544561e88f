#include "load.h"

#define CONFIG(spec)                                                                               \
    "apiVersion: dapr.io/v1alpha1\nkind: Configuration\nmetadata: {name: cfg}\nspec:\n" spec

static struct resources *config(const char *text)
{
    return load_with(&load_defaults, text, true);
}

TEST(without_a_file_the_defaults_hold)
{
    struct resources *r = load("");
    const struct configuration *c = &r->config;
    CHECK(!c->loaded && !c->tracing.present && !c->acl.present);
    CHECK_EQ(c->metrics.enabled, TRI_YES);
    CHECK_EQ(c->metrics.increased_cardinality, TRI_YES);
    CHECK(c->acl.allow);
    CHECK_STR(c->acl.trust_domain, "public");
    CHECK(config_feature(c, S("HotReload")));
    CHECK(!config_feature(c, S("ActorStateTTL")));
    CHECK(!config_denies_component(c, S(""), S("")));
    CHECK(config_allows_secret(c, S("s"), S("k")));
    resources_unref(r);
}

TEST(everything_is_read)
{
    struct resources *r = config(CONFIG(
        "  tracing:\n"
        "    samplingRate: \"0.5\"\n"
        "    stdout: true\n"
        "    zipkin: {endpointAddress: 'http://z'}\n"
        "    otel: {protocol: http, endpointAddress: o, isSecure: false, headers: [a=b], "
        "timeout: 5s}\n"
        "  metric: {enabled: false}\n"
        "  httpPipeline: {handlers: [{name: up, type: middleware.http.uppercase, version: v1}]}\n"
        "  appHttpPipeline: {handlers: [{name: a, type: t}, {name: b, type: t}]}\n"
        "  api:\n"
        "    allowed: [{name: state, version: v1.0, protocol: http}]\n"
        "    denied: [{name: invoke, version: v1.0, protocol: grpc}]\n"
        "  nameResolution: {component: sqlite, version: v1, configuration: {a: 1}}\n"
        "  features: [{name: HotReload, enabled: false}]\n"
        "  components: {deny: [state.redis, pubsub.x/v2]}\n"
        "  logging: {apiLogging: {enabled: true, obfuscateURLs: true, omitHealthChecks: false}}\n"
        "  mtls: {enabled: true}\n"));
    CHECK_TEXT(said(r), "");
    const struct configuration *c = &r->config;
    CHECK_STR(c->name, "cfg");
    CHECK(c->loaded && c->tracing.present && c->tracing.to_stdout && !c->tracing.otel_secure);
    CHECK(c->tracing.rate == 0.5);
    CHECK_STR(c->tracing.zipkin, "http://z");
    CHECK_STR(c->tracing.otel_headers.v[0], "a=b");
    CHECK_EQ(c->tracing.otel_timeout_ns, SEC(5));
    CHECK_EQ(c->metrics.enabled, TRI_NO);
    CHECK_STR(c->http_pipeline.v[0].type, "middleware.http.uppercase");
    CHECK_EQ(c->app_http_pipeline.n, 2);
    CHECK_STR(c->api_allowed.v[0].protocol, "http");
    CHECK_STR(c->api_denied.v[0].name, "invoke");
    CHECK_STR(c->resolver, "sqlite");
    CHECK_STR(yaml_text(yaml_get(c->resolver_config, S("a")), S("")), "1");
    CHECK(!config_feature(c, S("HotReload")));
    CHECK(config_denies_component(c, S("state.redis"), S("v1")));
    CHECK(config_denies_component(c, S("pubsub.x"), S("v2")));
    CHECK(!config_denies_component(c, S("pubsub.x"), S("v1")));
    CHECK(config_denies_component(c, S("state.y"), S("")));
    CHECK(c->log_api == TRI_YES && c->log_omit_health_checks == TRI_NO);
    resources_unref(r);
}

TEST(sampling_rates_are_forgiving)
{
    static const struct {
        const char *name, *text;
        double want;
        const char *said;
    } row[] = {
        { "one", "\"1\"", 1, "" },
        { "number", "0.25", 0.25, "" },
        { "zero", "\"0\"", 0, "" },
        { "empty", "\"\"", 0.0001, "" },
        { "too much", "7", 1, "" },
        { "garbage", "often", 0.0001,
          "w f.yaml:5:27: samplingRate \"often\" is not a number in 0 … 1: 0.0001 is used" },
        { "negative", "-1", 0.0001,
          "w f.yaml:5:27: samplingRate \"-1\" is not a number in 0 … 1: 0.0001 is used" },
    };
    EACH (row, c) {
        char text[256];
        snprintf(text, sizeof text, CONFIG("  tracing: {samplingRate: %s}\n"), c->text);
        struct resources *r = config(text);
        CHECK(r->config.tracing.rate == c->want, "%s", c->name);
        CHECK_TEXT(said(r), c->said, "%s", c->name);
        resources_unref(r);
    }
}

TEST(metrics_wins_over_metric_field_by_field)
{
    struct resources *r = config(CONFIG(
        "  metrics: {http: {increasedCardinality: false}, latencyDistributionBuckets: [1, 2]}\n"
        "  metric: {enabled: false, recordErrorCodes: true, http: {increasedCardinality: true, "
        "excludeVerbs: true, pathMatching: [/a]}, latencyDistributionBuckets: [9], "
        "rules: [{name: n, labels: [{name: method, regex: {orders: 'o.*'}}]}]}\n"));
    const struct config_metrics *m = &r->config.metrics;
    CHECK_TEXT(said(r), "");
    CHECK_EQ(m->enabled, TRI_NO);
    CHECK_EQ(m->record_error_codes, TRI_YES);
    CHECK_EQ(m->increased_cardinality, TRI_NO);
    CHECK_EQ(m->exclude_verbs, TRI_YES);
    CHECK_EQ(m->latency_buckets.n, 2);
    CHECK_STR(m->path_matching.v[0], "/a");
    REQUIRE(m->n_rules == 1 && m->rule[0].n_labels == 1);
    CHECK_STR(kvs_get(m->rule[0].label[0].regex, S("orders")), "o.*");
    resources_unref(r);
}

TEST(later_files_are_put_on_top_of_earlier_ones)
{
    struct resource_text file[] = {
        { "a.yaml",
          S(CONFIG("  tracing: {samplingRate: '1', stdout: true}\n"
                   "  features: [{name: HotReload, enabled: false}]\n")),
          true },
        { "b.yaml",
          S(CONFIG("  tracing: {samplingRate: '0'}\n"
                   "  features: [{name: ActorStateTTL, enabled: true}]\n")),
          true },
    };
    struct resources *r = NULL;
    REQUIRE(resources_parse(&load_defaults, file, 2, &r, NULL) == 0);
    CHECK(r->config.tracing.rate == 0 && r->config.tracing.to_stdout);
    CHECK(config_feature(&r->config, S("HotReload")));
    CHECK(config_feature(&r->config, S("ActorStateTTL")));
    resources_unref(r);
}

static str fake_env(void *arg, str name)
{
    if (str_eq(name, S("RATE")))
        return S("0.75");
    return str_eq(name, S("HOST")) ? S("zip:1") : (str){ 0 };
}

TEST(variables_are_replaced_in_the_whole_file)
{
    struct resource_options opt = load_defaults;
    opt.getenv = fake_env;
    struct resources *r = load_with(
        &opt,
        CONFIG("  tracing: {samplingRate: \"$RATE\", zipkin: {endpointAddress: \"http://${HOST}/"
               "$NOPE\"}}\n"),
        true);
    CHECK(r->config.tracing.rate == 0.75);
    CHECK_STR(r->config.tracing.zipkin, "http://zip:1/");
    resources_unref(r);
}

TEST(access_control_is_read_and_checked)
{
    struct resources *r = config(
        CONFIG("  accessControl:\n    trustDomain: td\n    policies:\n"
               "    - {appId: a, trustDomain: td, namespace: ns, defaultAction: allow, operations: "
               "[{name: /x, httpVerb: [GET, POST], action: deny}, {name: /y, action: allow}]}\n"));
    CHECK_TEXT(said(r), "w f.yaml:6:5: accessControl has policies but no defaultAction: deny is "
                        "used");
    const struct config_acl *acl = &r->config.acl;
    CHECK(acl->present && !acl->allow);
    REQUIRE(acl->n_policies == 1 && acl->policy[0].n_operations == 2);
    CHECK(!acl->policy[0].operation[0].allow && acl->policy[0].operation[1].allow);
    CHECK_STR(acl->policy[0].operation[0].verbs.v[1], "POST");
    CHECK(!r->fatal);
    resources_unref(r);
}

TEST(faulty_configurations_are_fatal)
{
    static const struct {
        const char *name, *spec, *want;
    } row[] = {
        { "acl policy",
          "  accessControl: {policies: [{appId: a, trustDomain: t}], defaultAction: "
          "deny}\n",
          "e f.yaml:5:30: accessControl: a policy needs appId, trustDomain and namespace (appId "
          "\"a\")" },
        { "acl action", "  accessControl: {defaultAction: maybe}\n",
          "e f.yaml:5:18: accessControl: action \"maybe\" is neither allow nor deny" },
        { "scope twice", "  secrets: {scopes: [{storeName: a}, {storeName: a}]}\n",
          "e f.yaml:5:38: secrets.scopes: storeName \"a\" is there twice" },
        { "scope access", "  secrets: {scopes: [{storeName: a, defaultAccess: some}]}\n",
          "e f.yaml:5:22: secrets.scopes: defaultAccess \"some\" is neither allow nor deny" },
        { "otel", "  tracing: {otel: {endpointAddress: a, protocol: smoke}}\n",
          "e f.yaml:5:19: otel.protocol \"smoke\" is neither http nor grpc" },
        { "buckets", "  metrics: {latencyDistributionBuckets: [5, 1]}\n",
          "e f.yaml:5:3: latencyDistributionBuckets must be whole milliseconds in rising order" },
        { "type", "  features: {HotReload: true}\n",
          "e f.yaml:5:13: features: expected a list, found a map" },
        { "bool", "  metrics: {enabled: perhaps}\n",
          "e f.yaml:5:22: enabled: \"perhaps\" is not true or false" },
    };
    EACH (row, c) {
        char text[512];
        snprintf(text, sizeof text, CONFIG("%s"), c->spec);
        struct resources *r = config(text);
        str first, rest;
        (void)str_cut(str_c(said(r)), '\n', &first, &rest);
        CHECK_STR(first, c->want, "%s", c->name);
        REQUIRE(r->fatal, "%s", c->name);
        CHECK_TEXT(r->fatal, "error loading configuration: f.yaml is faulty: see the errors", "%s",
                   c->name);
        resources_unref(r);
    }
    struct resources *r = config("a: [");
    REQUIRE(r->fatal);
    CHECK(str_starts(str_c(r->fatal), S("error loading configuration: f.yaml:2:")), "%s", r->fatal);
    resources_unref(r);
}

TEST(slips_are_warned_of)
{
    struct resources *r = config(CONFIG("  tracin: {}\n"
                                        "  features: [{name: Hotreload, enabled: true}]\n"));
    CHECK_TEXT(said(r), "w f.yaml:5:3: a Configuration's spec has no field \"tracin\" (did you "
                        "mean \"tracing\"?): it is ignored\n"
                        "w f.yaml:6:14: feature \"Hotreload\" isn't known here (did you mean "
                        "\"HotReload\"?): it has no effect");
    CHECK(!r->fatal);
    resources_unref(r);
}

TEST(sections_of_parts_that_are_not_here_are_told)
{
    struct resources *r = config(CONFIG("  wasm: {strictSandbox: true}\n"
                                        "  workflow: {maxConcurrentWorkflowInvocations: 3}\n"
                                        "  mtls: {enabled: true}\n"));
    CHECK_TEXT(said(r), "w f.yaml:5:9: wasm: there is no WebAssembly here: it has no effect\n"
                        "w f.yaml:6:13: workflow: there are no workflows here: it has no effect");
    CHECK(!r->fatal);
    resources_unref(r);
}

TEST(secret_scopes_decide_who_reads_what)
{
    static const struct {
        const char *name, *scope, *key;
        bool want;
    } row[] = {
        { "no scope", "{storeName: other}", "k", true },
        { "default", "{storeName: s}", "k", true },
        { "deny", "{storeName: s, defaultAccess: deny}", "k", false },
        { "denied key", "{storeName: s, deniedSecrets: [k]}", "k", false },
        { "other denied key", "{storeName: s, deniedSecrets: [j]}", "k", true },
        { "allowed key", "{storeName: s, defaultAccess: deny, allowedSecrets: [k]}", "k", true },
        { "not the allowed key", "{storeName: s, allowedSecrets: [j]}", "k", false },
    };
    EACH (row, c) {
        char text[256];
        snprintf(text, sizeof text, CONFIG("  secrets: {scopes: [%s]}\n"), c->scope);
        struct resources *r = config(text);
        CHECK_EQ(config_allows_secret(&r->config, S("s"), str_c(c->key)), c->want, "%s", c->name);
        resources_unref(r);
    }
}

TEST(failing_allocations_are_errors)
{
    static const char text[] =
        CONFIG("  tracing: {samplingRate: '1'}\n  features: [{name: x, enabled: true}]\n"
               "  secrets: {scopes: [{storeName: a}, {storeName: a}]}\n");
    FAIL_EACH_ALLOC(n)
    {
        struct resource_text file = { "f.yaml", str_c(text), true };
        struct resources *r = NULL;
        struct error err = { 0 };
        if (resources_parse(&load_defaults, &file, 1, &r, &err) < 0)
            CHECK(err.code == EXHAUSTED && test_alloc_failed(n));
        else
            CHECK(r->fatal);
        resources_unref(r);
    }
}
