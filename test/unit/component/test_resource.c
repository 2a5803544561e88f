#include "load.h"

#define HEAD(kind, name)                                                                           \
    "apiVersion: dapr.io/v1alpha1\nkind: " kind "\nmetadata: {name: " name "}\n"

TEST(component_is_read_whole)
{
    struct resources *r = load("apiVersion: dapr.io/v1alpha1\n"
                               "kind: Component\n"
                               "metadata:\n"
                               "  name: db\n"
                               "  namespace: prod\n"
                               "spec:\n"
                               "  type: state.sqlite\n"
                               "  version: v1\n"
                               "  ignoreErrors: true\n"
                               "  initTimeout: 1m30s\n"
                               "  metadata:\n"
                               "  - name: url\n"
                               "    value: file.db\n"
                               "  - name: flag\n"
                               "    value: true\n"
                               "  - name: number\n"
                               "    value: 10\n"
                               "  - name: map\n"
                               "    value: {a: [1, x]}\n"
                               "  - name: password\n"
                               "    secretKeyRef: {name: db, key: pass}\n"
                               "  - name: token\n"
                               "    secretKeyRef: {name: token}\n"
                               "  - name: home\n"
                               "    envRef: HOME\n"
                               "auth:\n"
                               "  secretStore: vault\n"
                               "scopes: [me, you]\n");
    CHECK_TEXT(said(r), "");
    CHECK(!r->fatal);
    REQUIRE(r->n_components == 1);
    const struct component_resource *c = &r->component[0];
    char label[COMPONENT_LABEL_MAX];
    CHECK_TEXT(component_label(c, label), "db (state.sqlite/v1)");
    CHECK_STR(c->head.namespace_, "prod");
    CHECK_TEXT(c->head.file, "f.yaml");
    CHECK(c->ignore_errors);
    CHECK_EQ(c->init_timeout_ns, SEC(90));
    CHECK_STR(c->secret_store, "vault");
    CHECK_STR(component_secret_store(c), "vault");
    CHECK_EQ(c->head.scopes.n, 2);
    static const struct {
        const char *name, *value, *secret, *key, *env;
    } want[] = {
        { "url", "file.db", "", "", "" },     { "flag", "true", "", "", "" },
        { "number", "10", "", "", "" },       { "map", "{\"a\":[1,\"x\"]}", "", "", "" },
        { "password", "", "db", "pass", "" }, { "token", "", "token", "token", "" },
        { "home", "", "", "", "HOME" },
    };
    REQUIRE(c->metadata.n == COUNT(want));
    for (size_t i = 0; i < COUNT(want); i++) {
        const struct name_value *v = &c->metadata.v[i];
        CHECK_STR(v->name, want[i].name);
        CHECK_STR(v->from.value, want[i].value);
        CHECK_STR(v->from.secret.name, want[i].secret);
        CHECK_STR(v->from.secret.key, want[i].key);
        CHECK_STR(v->env, want[i].env);
    }
    CHECK(resources_component(r, S("db")) == c);
    CHECK(!resources_component(r, S("other")));
    resources_unref(r);
}

TEST(faults_are_named_with_their_place)
{
    static const struct {
        const char *name, *yaml, *want;
        size_t components;
    } row[] = {
        { "unknown field", HEAD("Component", "a") "spec: {type: state.x, metdata: []}\n",
          "w f.yaml:4:23: a Component's spec has no field \"metdata\" (did you mean "
          "\"metadata\"?): it is ignored",
          1 },
        { "unknown top field", HEAD("Component", "a") "spec: {type: state.x}\nscope: [me]\n",
          "w f.yaml:5:1: the document has no field \"scope\" (did you mean \"scopes\"?): it is "
          "ignored",
          1 },
        { "metadata is a map",
          HEAD("Component", "a") "spec:\n  type: state.x\n  metadata: {a: 1}\n",
          "e f.yaml:6:13: metadata: expected a list, found a map", 0 },
        { "type is a list", HEAD("Component", "a") "spec:\n  type: [x]\n",
          "e f.yaml:5:9: type: expected a string, found a list", 0 },
        { "spec is a text", HEAD("Component", "a") "spec: text\n",
          "e f.yaml:4:7: a Component's spec: \"text\" is not a map", 0 },
        { "bool", HEAD("Component", "a") "spec: {type: state.x, ignoreErrors: maybe}\n",
          "e f.yaml:4:37: ignoreErrors: \"maybe\" is not true or false", 0 },
        { "item without name",
          HEAD("Component", "a") "spec:\n  type: state.x\n  metadata:\n  - value: 1\n",
          "e f.yaml:7:5: an item has no name: give it one", 0 },
        { "init timeout", HEAD("Component", "a") "spec: {type: state.x, initTimeout: soon}\n",
          "w f.yaml:4:36: initTimeout \"soon\" is not a duration such as 10s: 5s is used", 1 },
        { "no type", HEAD("Component", "a") "spec: {version: v1}\n",
          "w f.yaml:4:7: spec.type is missing: give one such as state.sqlite", 1 },
        { "no name", "apiVersion: dapr.io/v1alpha1\nkind: Component\nspec: {}\n",
          "e f.yaml:1:1: metadata.name is missing", 0 },
        { "slash in name", HEAD("Component", "a/b") "spec: {type: state.x}\n",
          "e f.yaml:3:18: metadata.name \"a/b\" can't be used: no \".\", \"..\", '/' or '%'", 0 },
        { "dots", HEAD("Component", "..") "spec: {type: state.x}\n",
          "e f.yaml:3:18: metadata.name \"..\" can't be used: no \".\", \"..\", '/' or '%'", 0 },
        { "per cent", HEAD("Component", "\"a%b\"") "spec: {type: state.x}\n",
          "e f.yaml:3:18: metadata.name \"a%b\" can't be used: no \".\", \"..\", '/' or '%'", 0 },
        { "unknown kind", "apiVersion: dapr.io/v1alpha1\nkind: Componant\n",
          "w f.yaml:2:7: kind \"Componant\" isn't one that is known here (did you mean "
          "\"Component\"?): the document is ignored",
          0 },
        { "wrong version", "apiVersion: dapr.io/v1\nkind: Component\n",
          "w f.yaml:1:13: apiVersion \"dapr.io/v1\" isn't one of kind Component: it must be "
          "dapr.io/v1alpha1; the document is ignored",
          0 },
        { "no kind", "hello: world\n", "w f.yaml:1:1: the document has no kind: it is ignored", 0 },
        { "another group", "apiVersion: apps/v1\nkind: Deployment\n", "", 0 },
        { "configuration", HEAD("Configuration", "c") "spec: {}\n", "", 0 },
        { "actor policy", HEAD("WorkflowAccessPolicy", "c") "spec: {}\n", "", 0 },
        { "envRef and value",
          HEAD("Component", "a") "spec:\n  type: state.x\n  metadata:\n"
                                 "  - {name: k, value: v, envRef: HOME}\n",
          "w f.yaml:7:5: \"k\" has both value and envRef: the value is used", 1 },
    };
    EACH (row, c) {
        struct resources *r = load(c->yaml);
        CHECK_TEXT(said(r), c->want, "%s", c->name);
        CHECK_EQ(r->n_components, c->components, "%s", c->name);
        CHECK(!r->fatal, "%s", c->name);
        resources_unref(r);
    }
}

TEST(bad_document_is_skipped_and_the_others_load)
{
    struct resources *r = load(HEAD("Component", "a") "spec: {type: state.x}\n---\n"
                                                      "a: [1,\n"
                                                      "---\n" HEAD("Component", "b") "spec: {type: "
                                                                                     "state.y}\n");
    CHECK_EQ(r->n_components, 2);
    CHECK_EQ(r->diags.n, 1);
    CHECK_EQ(r->diags.v[0].level, DIAG_ERROR);
    CHECK(str_starts(str_c(said(r)), S("e f.yaml:")), "%s", said(r));
    CHECK(!r->fatal);
    resources_unref(r);
}

#define COMPONENT(name, type, more)                                                                \
    HEAD("Component", name) "spec: {type: " type ", version: v1}\n" more "---\n"

TEST(duplicates_are_fatal_and_all_are_listed)
{
    struct resources *r =
        load(COMPONENT("foo", "state.in-memory", "") COMPONENT("foo", "pubsub.in-memory", "")
                 COMPONENT("bar", "state.in-memory", "") COMPONENT("foo", "state.sqlite", "")
                     HEAD("HTTPEndpoint", "foo") "spec: {baseUrl: http://a}\n---\n" HEAD(
                         "HTTPEndpoint", "foo") "spec: {baseUrl: http://b}\n");
    REQUIRE(r->fatal);
    CHECK_TEXT(r->fatal, "duplicate definition of Component name foo (pubsub.in-memory/v1) with "
                         "existing foo (state.in-memory/v1)\n"
                         "duplicate definition of Component name foo (state.sqlite/v1) with "
                         "existing foo (state.in-memory/v1)\n"
                         "duplicate definition of HTTPEndpoint name foo (http://b) with existing "
                         "foo (http://a)");
    CHECK_EQ(r->diags.n, 3);
    CHECK_EQ(r->diags.v[0].level, DIAG_FATAL);
    CHECK_EQ(r->diags.v[0].line, 6);
    resources_unref(r);
}

TEST(only_what_is_in_scope_takes_a_name)
{
    struct resources *r = load(COMPONENT("foo", "state.a", "scopes: [you]\n")
                                   COMPONENT("foo", "state.b", "scopes: [me]\n"));
    CHECK(!r->fatal);
    REQUIRE(r->n_components == 1);
    CHECK_STR(r->component[0].type, "state.b");
    resources_unref(r);
    r = load(COMPONENT("foo", "state.b", "") COMPONENT("foo", "state.a", "scopes: [you]\n"));
    CHECK(r->fatal); /* the order matters, as it does in Dapr */
    resources_unref(r);
}

TEST(other_namespaces_are_left_out_when_there_is_one)
{
    const char *yaml = "apiVersion: dapr.io/v1alpha1\nkind: Component\n"
                       "metadata: {name: a, namespace: test}\nspec: {type: state.x}\n---\n"
                       "apiVersion: dapr.io/v1alpha1\nkind: Component\n"
                       "metadata: {name: a, namespace: prod}\nspec: {type: state.y}\n---\n"
                       "apiVersion: dapr.io/v1alpha1\nkind: Component\n"
                       "metadata: {name: b}\nspec: {type: state.z}\n";
    struct resource_options opt = load_defaults;
    opt.namespace_ = S("prod");
    struct resources *r = load_with(&opt, yaml, false);
    CHECK(!r->fatal);
    REQUIRE(r->n_components == 2);
    CHECK_STR(r->component[0].type, "state.y");
    CHECK_STR(r->component[1].type, "state.z");
    resources_unref(r);
    r = load(yaml);
    CHECK(r->fatal);
    resources_unref(r);
}

TEST(secret_stores_come_first_the_rest_in_the_order_of_the_files)
{
    struct resources *r =
        load(COMPONENT("a", "state.x", "") COMPONENT("b", "secretstores.local.env", "")
                 COMPONENT("c", "pubsub.x", "") COMPONENT("d", "SecretStores.local.file", ""));
    REQUIRE(r->n_components == 4);
    const char *want[] = { "b", "d", "a", "c" };
    for (size_t i = 0; i < 4; i++)
        CHECK_STR(r->component[i].head.name, want[i]);
    resources_unref(r);
}

TEST(both_versions_of_subscription_become_the_same)
{
    struct resources *r = load("apiVersion: dapr.io/v1alpha1\nkind: Subscription\n"
                               "metadata: {name: one}\n"
                               "spec:\n  pubsubname: bus\n  topic: t\n  route: /a\n"
                               "  deadLetterTopic: dead\n  metadata: {rawPayload: true}\n"
                               "  bulkSubscribe: {enabled: true, maxMessagesCount: 50, "
                               "maxAwaitDurationMs: 40}\n"
                               "scopes: [you]\n"
                               "---\n"
                               "apiVersion: dapr.io/v2alpha1\nkind: Subscription\n"
                               "metadata: {name: one}\n"
                               "spec:\n  pubsubname: bus\n  topic: t\n"
                               "  routes:\n    rules:\n    - match: event.type == \"x\"\n"
                               "      path: /x\n    - path: /always\n    default: /d\n");
    CHECK_TEXT(said(r), "");
    REQUIRE(r->n_subscriptions == 2);
    const struct subscription_resource *s = &r->subscription[0];
    CHECK_STR(s->pubsub, "bus");
    CHECK_STR(s->default_path, "/a");
    CHECK_STR(s->dead_letter_topic, "dead");
    CHECK_EQ(s->n_rules, 0);
    CHECK(s->bulk && s->bulk_max == 50 && s->bulk_await_ms == 40);
    CHECK_STR(kvs_get(s->metadata, S("rawpayload")), "true");
    CHECK(!resource_in_scope(&s->head, S("me")) && resource_in_scope(&s->head, S("you")));
    s = &r->subscription[1];
    CHECK_STR(s->default_path, "/d");
    REQUIRE(s->n_rules == 2);
    CHECK(s->rule[0].program && !s->rule[1].program);
    CHECK_STR(s->rule[0].path, "/x");
    resources_unref(r);
}

#define SUBSCRIPTION(version, spec, more)                                                          \
    "apiVersion: dapr.io/" version "\nkind: Subscription\nmetadata: {name: s}\nspec: {" spec       \
    "}\n" more

TEST(faulty_subscriptions_are_refused)
{
    static const struct {
        const char *name, *yaml, *want;
    } row[] = {
        { "no topic", SUBSCRIPTION("v1alpha1", "pubsubname: bus, route: /a", ""),
          "e f.yaml:4:7: spec.topic is missing" },
        { "no pubsub", SUBSCRIPTION("v1alpha1", "topic: t, route: /a", ""),
          "e f.yaml:4:7: spec.pubsubname is missing: name the pubsub component" },
        { "v2 with route", SUBSCRIPTION("v2alpha1", "pubsubname: b, topic: t, route: /a", ""),
          "e f.yaml:4:40: route is of dapr.io/v1alpha1: use routes with a default" },
        { "v1 with routes", SUBSCRIPTION("v1alpha1", "pubsubname: b, topic: t, routes: {}", ""),
          "e f.yaml:4:41: routes is of dapr.io/v2alpha1: set apiVersion to that, or use route" },
        { "negative",
          SUBSCRIPTION("v1alpha1", "pubsubname: b, topic: t, bulkSubscribe: {maxMessagesCount: -1}",
                       ""),
          "e f.yaml:4:7: bulkSubscribe: its numbers can't be negative" },
    };
    EACH (row, c) {
        struct resources *r = load(c->yaml);
        CHECK_TEXT(said(r), c->want, "%s", c->name);
        CHECK_EQ(r->n_subscriptions, 0, "%s", c->name);
        CHECK(!r->fatal);
        resources_unref(r);
    }
}

TEST(condition_that_does_not_parse_stops_the_start_of_those_it_concerns)
{
    struct resources *r = load(SUBSCRIPTION(
        "v2alpha1", "pubsubname: b, topic: t, routes: {rules: [{match: 'a ==', path: /x}]}", ""));
    REQUIRE(r->fatal);
    CHECK(str_starts(str_c(r->fatal), S("Subscription s: match ")), "%s", r->fatal);
    REQUIRE(r->diags.n == 1);
    CHECK_EQ(r->diags.v[0].line, 4);
    CHECK_EQ(r->diags.v[0].column, 58);
    resources_unref(r);
    r = load(SUBSCRIPTION("v2alpha1",
                          "pubsubname: b, topic: t, routes: {rules: [{match: 'a ==', path: /x}]}",
                          "scopes: [you]\n"));
    CHECK(!r->fatal);
    CHECK_EQ(r->diags.n, 1);
    resources_unref(r);
}

TEST(http_endpoint_is_read_whole)
{
    struct resources *r = load(HEAD("HTTPEndpoint", "api") "spec:\n"
                                                           "  baseUrl: https://example.com\n"
                                                           "  headers:\n"
                                                           "  - {name: X-A, value: 1}\n"
                                                           "  clientTLS:\n"
                                                           "    rootCA: {value: PEM}\n"
                                                           "    certificate:\n"
                                                           "      secretKeyRef: {name: c}\n"
                                                           "    renegotiation: RenegotiateNever\n"
                                                           "auth: {secretStore: vault}\n");
    CHECK_TEXT(said(r), "");
    REQUIRE(r->n_endpoints == 1);
    const struct endpoint_resource *e = &r->endpoint[0];
    CHECK_STR(e->base_url, "https://example.com");
    CHECK_STR(e->headers.v[0].from.value, "1");
    CHECK_STR(e->root_ca.value, "PEM");
    CHECK_STR(e->certificate.secret.key, "c");
    CHECK(!e->private_key.value.p);
    CHECK_STR(e->secret_store, "vault");
    resources_unref(r);
    r = load(HEAD("HTTPEndpoint", "api") "spec: {baseUrl: example.com}\n");
    CHECK_TEXT(said(r), "e f.yaml:4:7: spec.baseUrl \"example.com\" must begin with http:// or "
                        "https://");
    resources_unref(r);
    r = load(HEAD("HTTPEndpoint", "api") "spec: {baseUrl: 'http://a', clientTLS: {renegotiation: "
                                         "Often}}\n");
    CHECK_TEXT(said(r), "e f.yaml:4:7: renegotiation \"Often\" is none of RenegotiateNever, "
                        "RenegotiateOnceAsClient, RenegotiateFreelyAsClient");
    resources_unref(r);
}

TEST(kinds_of_our_own_are_kept_for_their_modules)
{
    struct resources *r = load("apiVersion: proa.dev/v1alpha1\nkind: Cache\n"
                               "metadata: {name: c}\nspec: {ttl: 5s}\n---\n"
                               "apiVersion: proa.dev/v1alpha1\nkind: Cach\nmetadata: {name: d}\n");
    REQUIRE(r->n_customs == 1);
    CHECK_STR(r->custom[0].kind, "Cache");
    CHECK_STR(yaml_text(yaml_get(r->custom[0].spec, S("ttl")), S("")), "5s");
    CHECK_TEXT(said(r), "w f.yaml:7:7: kind \"Cach\" isn't one that is known here (did you mean "
                        "\"Cache\"?): the document is ignored");
    resources_unref(r);
}

TEST(equal_components_are_told_from_changed_ones)
{
    static const char *const yaml[] = {
        COMPONENT("a", "state.x", ""),
        HEAD("Component", "a") "spec: {type: state.y, version: v1}\n",
        HEAD("Component", "a") "spec: {type: state.x, version: v1, metadata: [{name: k, value: 1}]}"
                               "\n",
        HEAD("Component", "a") "spec: {type: state.x, version: v1, metadata: [{name: k, value: 2}]}"
                               "\n",
        HEAD("Component", "a") "spec: {type: state.x, version: v1, metadata: [{name: k, envRef: 1}]"
                               "}\n",
        HEAD("Component", "a") "spec: {type: state.x, version: v1, initTimeout: 6s}\n",
    };
    for (size_t i = 0; i < COUNT(yaml); i++)
        for (size_t k = 0; k < COUNT(yaml); k++) {
            struct resources *a = load(yaml[i]), *b = load(yaml[k]);
            REQUIRE(a->n_components == 1 && b->n_components == 1);
            CHECK_EQ(component_resource_eq(&a->component[0], &b->component[0]), i == k, "%zu %zu",
                     i, k);
            resources_unref(a);
            resources_unref(b);
        }
}

TEST(hostile_texts_end_in_diagnostics)
{
    static const char *const yaml[] = {
        "",
        "---",
        "\n---\n---\n",
        "\t",
        "%YAML 9.9\n",
        "&a [*a]",
        "\xff\xfe",
        "a: &x [*x]",
        "kind: Component",
        "kind: [Component]",
        "kind: {a: b}",
        "apiVersion: dapr.io/v1alpha1",
        HEAD("Component", "a") "spec: [1, 2]\n",
        HEAD("Component", "a") "spec: 5\nscopes: 7\n",
        HEAD("Component", "a") "metadata: {name: b}\n",
        HEAD("Component", "[x]"),
        HEAD("Component", "a") "spec: {type: x, metadata: [1, [2], {}, null, {name: {}}]}\n",
        HEAD("Subscription", "a") "spec: {topic: {}, bulkSubscribe: [], routes: 1}\n",
        HEAD("HTTPEndpoint", "a") "spec: {headers: {}, clientTLS: 1}\n",
        HEAD("Resiliency", "a") "spec: {policies: [], targets: {apps: 1, components: [x]}}\n",
        "a: !!binary x",
        "? [a]\n: b\n",
        "- - - - - -",
        "{{{{{{{{",
        "'",
        "\"\\x\"",
        "|",
        ">\n",
    };
    EACH (yaml, text) {
        struct resources *r = load(*text);
        CHECK_EQ(r->n_components + r->n_subscriptions + r->n_endpoints + r->n_resiliencies, 0, "%s",
                 *text);
        resources_unref(r);
    }
}

TEST(every_failing_allocation_is_an_error_or_goes_unnoticed)
{
    static const char yaml[] = COMPONENT("a", "state.x", "") COMPONENT("a", "state.y", "")
        COMPONENT("b", "secretstores.z", "scopes: [me]\n") "apiVersion: dapr.io/v2alpha1\n"
                                                           "kind: Subscription\n"
                                                           "metadata: {name: s}\n"
                                                           "spec: {pubsubname: b, topic: t, odd: 1,"
                                                           " routes: {rules: [{match: 'true', "
                                                           "path: /}]}}\n";
    FAIL_EACH_ALLOC(n)
    {
        struct resource_text file = { "f.yaml", str_c(yaml), false };
        struct resources *r = NULL;
        struct error err = { 0 };
        int code = resources_parse(&load_defaults, &file, 1, &r, &err);
        if (code < 0) {
            CHECK_EQ(code, -EXHAUSTED);
            CHECK(!r && err.code == EXHAUSTED && test_alloc_failed(n));
            continue;
        }
        CHECK(r->fatal || test_alloc_failed(n));
        CHECK_EQ(r->n_components, 2);
        CHECK_EQ(r->n_subscriptions, 1);
        resources_unref(r);
    }
}

TEST(snapshot_lives_until_its_last_holder_goes)
{
    struct resources *r = load(COMPONENT("a", "state.x", ""));
    struct resources *again = resources_ref(r);
    resources_unref(r);
    CHECK_STR(again->component[0].type, "state.x");
    resources_unref(again);
    resources_unref(NULL);
}
