#include "component/acl.h"

#include "load.h"

#define ACL(text)                                                                                  \
    "apiVersion: dapr.io/v1alpha1\nkind: Configuration\nmetadata: {name: c}\n"                     \
    "spec:\n  accessControl:\n" text

static const char rules[] = ACL("    defaultAction: deny\n"
                                "    trustDomain: td\n"
                                "    policies:\n"
                                "    - appId: shop\n"
                                "      trustDomain: td\n"
                                "      namespace: prod\n"
                                "      defaultAction: allow\n"
                                "      operations:\n"
                                "      - {name: /orders, httpVerb: [POST], action: deny}\n"
                                "      - {name: /orders/*, httpVerb: ['*'], action: deny}\n"
                                "      - {name: /orders/7, httpVerb: [GET], action: allow}\n"
                                "      - {name: /a*c/d, httpVerb: ['*'], action: deny}\n"
                                "      - {name: /deep/**, httpVerb: ['*'], action: deny}\n"
                                "      - {name: /pkg.Service/Method, action: deny}\n"
                                "    - appId: strict\n"
                                "      trustDomain: td\n"
                                "      namespace: prod\n"
                                "      defaultAction: deny\n"
                                "      operations:\n"
                                "      - {name: /Open, httpVerb: [GET, PUT], action: allow}\n"
                                "    - appId: silent\n"
                                "      trustDomain: td\n"
                                "      namespace: prod\n"
                                "      operations:\n"
                                "      - {name: /Open, httpVerb: [GET], action: allow}\n"
                                "    - {appId: twice, trustDomain: td, namespace: prod, "
                                "defaultAction: deny}\n"
                                "    - {appId: twice, trustDomain: td, namespace: prod, "
                                "defaultAction: allow}\n");

TEST(rules_decide_by_caller_operation_and_verb)
{
    static const struct {
        const char *name, *app, *operation, *verb;
        bool want;
        enum acl_level level;
    } row[] = {
        { "unknown app", "other", "/orders", "GET", false, ACL_GLOBAL },
        { "no identity", "", "/orders", "GET", false, ACL_GLOBAL },
        { "default of the app", "shop", "/else", "GET", true, ACL_APP },
        { "listed verb", "shop", "/orders", "POST", false, ACL_APP },
        { "verb without case", "shop", "/orders", "post", false, ACL_APP },
        { "verb not listed", "shop", "/orders", "GET", true, ACL_APP },
        { "path without case", "shop", "/ORDERS", "POST", false, ACL_APP },
        { "without slash", "shop", "orders", "POST", false, ACL_APP },
        { "last slash", "shop", "/orders/", "POST", false, ACL_APP },
        { "one segment", "shop", "/orders/8", "GET", false, ACL_APP },
        { "the closer rule wins", "shop", "/orders/7", "GET", true, ACL_APP },
        { "one segment only", "shop", "/orders/8/x", "GET", true, ACL_APP },
        { "glob", "shop", "/abbbc/d", "GET", false, ACL_APP },
        { "glob that fails", "shop", "/abbb/d", "GET", true, ACL_APP },
        { "many segments", "shop", "/deep/a/b/c", "GET", false, ACL_APP },
        { "none of many", "shop", "/deep", "GET", true, ACL_APP },
        { "method", "shop", "/pkg.Service/Method", "", false, ACL_APP },
        { "method has case", "shop", "/pkg.Service/method", "", true, ACL_APP },
        { "allowed", "strict", "/open", "PUT", true, ACL_APP },
        { "not allowed", "strict", "/shut", "PUT", false, ACL_APP },
        { "no default", "silent", "/open", "PUT", false, ACL_GLOBAL },
        { "no default, but a rule", "silent", "/open", "GET", true, ACL_GLOBAL },
        { "the last of two policies", "twice", "/x", "GET", true, ACL_APP },
        { "below a refusal", "shop", "/a-c/d/e/f", "GET", false, ACL_APP },
        { "below a permission", "strict", "/open/more", "PUT", false, ACL_APP },
        { "below one segment", "shop", "/orders/8/x", "POST", false, ACL_APP },
    };
    struct resources *r = load_with(&load_defaults, rules, true);
    REQUIRE(!r->fatal, "%s", said(r));
    EACH (row, c) {
        struct acl_caller caller = { S("td"), S("prod"), str_c(c->app) };
        struct acl_request q = { &caller, str_c(c->operation), str_c(c->verb) };
        enum acl_level level = ACL_APP;
        CHECK_EQ(acl_allows(&r->config.acl, &q, &level), c->want, "%s", c->name);
        CHECK_EQ(level, c->level, "%s", c->name);
    }
    struct acl_caller caller = { S("other"), S("prod"), S("shop") };
    struct acl_request q = { &caller, S("/else"), S("GET") };
    enum acl_level level;
    CHECK(!acl_allows(&r->config.acl, &q, &level) && level == ACL_GLOBAL);
    caller.trust_domain = S("td");
    caller.namespace_ = S("test");
    CHECK(!acl_allows(&r->config.acl, &q, &level) && level == ACL_GLOBAL);
    q.caller = NULL;
    CHECK(!acl_allows(&r->config.acl, &q, &level) && level == ACL_GLOBAL);
    resources_unref(r);
}

TEST(without_rules_all_is_allowed)
{
    struct resources *r = load("");
    struct acl_request q = { .operation = S("/x"), .verb = S("GET") };
    enum acl_level level;
    CHECK(acl_allows(&r->config.acl, &q, &level));
    resources_unref(r);
}

TEST(hostile_paths_are_answered_in_time)
{
    static char path[200000];
    struct resources *r = load_with(
        &load_defaults,
        ACL("    policies: [{appId: a, trustDomain: t, namespace: n, defaultAction: deny, "
            "operations: [{name: '/*a*a*a*a*a*b', action: allow}, {name: '/**', action: deny}]}]\n"
            "    defaultAction: allow\n"),
        true);
    memset(path, 'a', sizeof path);
    struct acl_caller caller = { S("t"), S("n"), S("a") };
    struct acl_request q = { &caller, str_of(path, sizeof path) };
    enum acl_level level;
    CHECK(!acl_allows(&r->config.acl, &q, &level));
    for (size_t i = 0; i < sizeof path; i += 2)
        path[i] = '/';
    CHECK(!acl_allows(&r->config.acl, &q, &level));
    resources_unref(r);
}

TEST(no_way_of_writing_a_path_gets_past_a_rule)
{
    static const struct {
        const char *target, *want;
    } row[] = {
        { "/admin", "/admin" },
        { "/admin?x=/y", "/admin" },
        { "admin", "/admin" },
        { "//admin//", "/admin" },
        { "/%61dmin", "/admin" },
        { "/public/../admin", "/admin" },
        { "/public%2F..%2Fadmin", "/admin" },
        { "/public/%2e%2e/admin", "/admin" },
        { "/../../admin/.", "/admin" },
        { "", "/" },
        { "/a+b", "/a+b" },
        { "/%2561", "/%61" }, /* once: what the app gets is decoded once as well */
    };
    EACH (row, c) {
        struct arena a;
        str operation;
        arena_init(&a, KIB(64));
        CHECK_OK(acl_operation(str_c(c->target), &a, &operation), "%s", c->target);
        CHECK_STR(operation, c->want, "%s", c->target);
        arena_done(&a);
    }
    static const char *const bad[] = { "/%", "/%4", "/%zz" };
    EACH (bad, c) {
        struct arena a;
        str operation;
        arena_init(&a, KIB(64));
        CHECK_EQ(acl_operation(str_c(*c), &a, &operation), -INVALID, "%s", *c);
        arena_done(&a);
    }
}

TEST(refusals_name_caller_operation_and_verb)
{
    struct resources *r = load_with(&load_defaults, rules, true);
    struct acl_caller caller = { S("td"), S("prod"), S("strict") };
    static const struct {
        bool known;
        const char *operation, *verb, *want;
    } row[] = {
        { true, "/shut", "PUT",
          "access control policy has denied access to id: spiffe://td/ns/prod/strict operation: "
          "/shut verb: PUT" },
        { false, "/shut", "PUT",
          "access control policy has denied access to id:  operation: /shut verb: PUT" },
        { true, "/pkg.S/M", "",
          "access control policy has denied access to id: spiffe://td/ns/prod/strict operation: "
          "/pkg.S/M verb: NONE" },
    };
    EACH (row, c) {
        struct acl_request q = { c->known ? &caller : NULL, str_c(c->operation), str_c(c->verb) };
        struct error err = { 0 };
        enum acl_level level;
        CHECK_EQ(acl_check(&r->config.acl, &q, &level, &err), -DENIED);
        CHECK_STR(str_c(err.text), c->want);
    }
    struct acl_request q = { &caller, S("/open"), S("PUT") };
    struct error err = { 0 };
    enum acl_level level;
    CHECK_EQ(acl_check(&r->config.acl, &q, &level, &err), 0);
    CHECK_EQ(level, ACL_APP);
    CHECK_EQ(err.code, OK);
    resources_unref(r);
}

TEST(spiffe_ids_are_split)
{
    static const struct {
        const char *id;
        bool want;
    } row[] = {
        { "spiffe://td/ns/prod/shop", true }, { "spiffe://td/ns/prod/", false },
        { "spiffe://td/ns/prod", false },     { "spiffe://td/sa/prod/shop", false },
        { "spiffe:///ns/prod/shop", false },  { "https://td/ns/prod/shop", false },
        { "spiffe://td/ns/prod/a/b", false }, { "", false },
    };
    EACH (row, c) {
        struct acl_caller caller = { .app_id = S("canary") };
        CHECK_EQ(acl_parse_spiffe(str_c(c->id), &caller), c->want, "%s", c->id);
        CHECK_STR(caller.app_id, c->want ? "shop" : "canary", "%s", c->id);
        if (c->want)
            CHECK(str_eq(caller.trust_domain, S("td")) && str_eq(caller.namespace_, S("prod")));
    }
}
