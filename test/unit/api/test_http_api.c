#include "fixture.h"
#include "format/json.h"
#include "telemetry/http_labels.h"
#include "telemetry/metrics.h"

static void remake(struct fixture *f, const char *token, const char *origins)
{
    struct error err = { 0 };
    struct api_config c = {
        .blocks = &f->b, .token = token, .allowed_origins = origins, .max_body_bytes = 4096
    };
    api_free(f->api);
    REQUIRE(api_new(&c, &f->api, &err) == 0);
}

static bool has(struct reply r, const char *what)
{
    return str_contains(r.body, str_c(what));
}

TEST_CO(the_token_guards_all_but_the_health_routes)
{
    static const struct {
        const char *what, *headers;
        int want;
    } row[] = {
        { "GET /v1.0/state/s/k", NULL, 401 },
        { "GET /v1.0/state/s/k", "dapr-api-token: wrong", 401 },
        { "GET /v1.0/state/s/k", "dapr-api-token: secre", 401 },
        { "GET /v1.0/state/s/k", "dapr-api-token: secret2", 401 },
        { "GET /v1.0/state/s/k", "dapr-api-token: secretsecret", 401 },
        { "GET /v1.0/state/s/k", "dapr-api-token:", 401 },
        { "GET /v1.0/state/s/k", "Dapr-Api-Token: secret", 204 },
        { "GET /nowhere", NULL, 401 },
        { "GET /nowhere", "dapr-api-token: secret", 404 },
        { "POST /v1.0/healthz", NULL, 401 },
    };
    struct fixture f;
    fixture_open(&f, NULL);
    fixture_add(&f, "state", "s", NULL);
    remake(&f, "secret", NULL);
    EACH (row, r) {
        struct reply got = fixture_call(&f, r->what, r->headers, NULL);
        CHECK_EQ(got.status, r->want, "%s %s", r->what, r->headers ? r->headers : "");
        if (r->want == 401) {
            CHECK_STR(got.body, "invalid api token");
            CHECK(str_starts(http_headers_get(&got.headers, S("Content-Type")), S("text/plain")));
        }
    }
    fixture_call(&f, "GET /v1.0/invoke/me/method/m", "dapr-api-token: secret", NULL);
    CHECK(f.app_calls == 1 && !http_headers_has(&f.seen, S("dapr-api-token")),
          "the app doesn't see it");
    fixture_close(&f);
}

TEST_CO(health_needs_no_token)
{
    struct fixture f;
    fixture_open(&f, NULL);
    CHECK_EQ(fixture_call(&f, "GET /v1.0/healthz", NULL, NULL).status, 204);
    CHECK_EQ(fixture_call(&f, "GET /v1.0/healthz/outbound", NULL, NULL).status, 204);
    CHECK_EQ(fixture_call(&f, "GET /v1.0/healthz?appid=me", NULL, NULL).status, 204);
    struct reply r = fixture_call(&f, "GET /v1.0/healthz?appid=you", NULL, NULL);
    CHECK_EQ(r.status, 500);
    CHECK(has(r, "ERR_HEALTH_APPID_NOT_MATCH"));
    CHECK_EQ(fixture_call(&f, "POST /v1.0/shutdown", NULL, NULL).status, 204);
    r = fixture_call(&f, "GET /v1.0/healthz", NULL, NULL);
    CHECK_EQ(r.status, 500);
    CHECK(has(r, "ERR_HEALTH_NOT_READY"));
    fixture_close(&f);
}

TEST_CO(preflights_pass_before_the_token)
{
    static const struct {
        const char *origins, *headers, *want; /* want: the allowed origin; NULL: none */
        int status;
    } row[] = {
        { "*", "Origin: http://a\nAccess-Control-Request-Method: PUT", "http://a", 200 },
        { "http://b,http://a", "Origin: http://a\nAccess-Control-Request-Method: PUT", "http://a",
          200 },
        { "http://b", "Origin: http://a\nAccess-Control-Request-Method: PUT", NULL, 200 },
        { "*", "Origin: http://a", NULL, 401 },
        { NULL, "Origin: http://a\nAccess-Control-Request-Method: PUT", NULL, 401 },
        { "", "Origin: http://a\nAccess-Control-Request-Method: PUT", NULL, 401 },
    };
    struct fixture f;
    fixture_open(&f, NULL);
    EACH (row, r) {
        remake(&f, "secret", r->origins);
        struct reply got = fixture_call(&f, "OPTIONS /v1.0/state/s/k", r->headers, NULL);
        CHECK_EQ(got.status, r->status, "%s", r->origins);
        str origin = http_headers_get(&got.headers, S("Access-Control-Allow-Origin"));
        if (r->status == 200)
            CHECK_STR(origin, r->want ? r->want : "", "%s", r->origins);
    }
    fixture_close(&f);
}

TEST_CO(paths_are_cleaned_before_they_are_matched)
{
    static const struct {
        const char *what;
        int want;
    } row[] = {
        { "GET /v1.0/state/s/k", 200 },        { "GET //v1.0//state///s/k", 200 },
        { "GET /v1.0/./state/s/../s/k", 200 }, { "GET /../../v1.0/state/s/k", 200 },
        { "GET /v1.0/state/s/k/", 200 },       { "GET /v1.0/state/s/%6B", 200 },
        { "GET /v1.0/state/s/%zz", 400 },      { "GET /v1.0/state/s/a+b", 204 },
        { "GET /v1.0/state/s/%2e%2e", 204 },   { "GET /V1.0/state/s/k", 404 },
        { "GET v1.0/state/s/k", 404 },
    };
    struct fixture f;
    fixture_open(&f, NULL);
    fixture_add(&f, "state", "s", NULL);
    CHECK_EQ(fixture_call(&f, "POST /v1.0/state/s", NULL, "[{\"key\":\"k\",\"value\":1}]").status,
             204);
    EACH (row, r)
        CHECK_EQ(fixture_call(&f, r->what, NULL, NULL).status, r->want, "%s", r->what);
    fixture_close(&f);
}

static const char RULES[] =
    "--- config\napiVersion: dapr.io/v1alpha1\nkind: Configuration\nmetadata: {name: c}\nspec:\n"
    "  api:\n    %s:\n      - {name: %s, version: %s, protocol: %s}\n";

TEST_CO(lists_make_endpoints_disappear)
{
    static const struct {
        const char *list, *name, *version, *protocol;
        bool state, secrets;
    } row[] = {
        { "allowed", "state", "v1", "http", true, false },
        { "denied", "state", "v1", "http", false, true },
        { "denied", "state", "v1.0", "http", false, true },
        { "denied", "state", "v1", "grpc", true, true },
        { "denied", "state", "v1", "\"\"", true, true },
        { "denied", "healthz", "v1", "http", true, true },
        { "allowed", "state", "v1", "grpc", true, true },
        { "denied", "stat", "v1", "http", true, true },
    };
    EACH (row, r) {
        char yaml[600];
        struct fixture f;
        snprintf(yaml, sizeof yaml, RULES, r->list, r->name, r->version, r->protocol);
        fixture_open(&f, yaml);
        fixture_add(&f, "state", "s", NULL);
        fixture_add(&f, "secret", "v", NULL);
        CHECK_EQ(fixture_call(&f, "GET /v1.0/state/s/k", NULL, NULL).status, r->state ? 204 : 404,
                 "%s %s %s", r->list, r->name, r->protocol);
        CHECK_EQ(fixture_call(&f, "GET /v1.0/secrets/v/k", NULL, NULL).status,
                 r->secrets ? 200 : 404, "%s %s %s", r->list, r->name, r->protocol);
        CHECK_EQ(fixture_call(&f, "GET /v1.0/healthz", NULL, NULL).status, 204);
        fixture_close(&f);
    }
}

static bool metric(const char *line)
{
    struct buf out;
    buf_init(&out, MIB(16));
    metrics_write(&out);
    bool found = str_contains(buf_str(&out), str_c(line));
    buf_done(&out);
    return found;
}

TEST_CO(requests_are_counted_without_keys)
{
    struct fixture f;
    fixture_open(&f, NULL);
    fixture_add(&f, "state", "counted", NULL);
    fixture_call(&f, "GET /v1.0/state/counted/secret-key", NULL, NULL);
    fixture_call(&f, "GET /v1.0/state/counted/other-key", NULL, NULL);
    CHECK(metric("method=\"GET\",path=\"/v1.0/state/counted\",status=\"204\"} 2\n"));
    CHECK(!metric("secret-key"));
    fixture_close(&f);
}

TEST_CO(the_settings_decide_the_labels)
{
    struct fixture f;
    struct http_labels low = { .exclude_verbs = true }, usual = { .increased_cardinality = true };
    fixture_open(&f, NULL);
    CHECK_OK(http_labels_setup(&low, NULL));
    fixture_add(&f, "state", "hidden", NULL);
    fixture_call(&f, "GET /v1.0/state/hidden/k", NULL, NULL);
    CHECK(metric(
        "dapr_http_server_request_count{app_id=\"\",method=\"\",path=\"\",status=\"204\"} 1\n"));
    CHECK(!metric("path=\"/v1.0/state/hidden\""));
    CHECK_OK(http_labels_setup(&usual, NULL));
    fixture_close(&f);
}

TEST_CO(what_no_route_takes_is_an_invocation)
{
    struct fixture f;
    fixture_open(&f, NULL);
    f.body = "app";
    struct reply r = fixture_call(&f, "GET /some/path?x=1", NULL, NULL);
    CHECK_EQ(r.status, 404);
    CHECK(has(r, "ERR_DIRECT_INVOKE"));
    static const struct {
        const char *what, *headers, *want;
    } row[] = {
        { "GET /some/path?x=1", "dapr-app-id: me", "/some/path?x=1" },
        { "GET /some//path/../b", "dapr-app-id: me", "/some/b" },
        { "GET /m", "Authorization: Basic ZGFwci1hcHAtaWQ6bWU=", "/m" },
        { "GET /v1.0/invoke/me/method/a/b?x", NULL, "/a/b?x" },
        { "GET /v1.0/invoke/me/method/a%20b", NULL, "/a%20b" },
        { "GET /v1.0/invoke/me/method/admin%2F..%2Fpublic", NULL, "/public" },
        { "GET /v1.0/invoke/me.default/method/m", NULL, "/m" },
        { "GET /v1.0/invoke/me/method/", NULL, "/" },
    };
    EACH (row, w) {
        f.app_calls = 0;
        r = fixture_call(&f, w->what, w->headers, NULL);
        CHECK_EQ(r.status, 200, "%s: %.*s", w->what, STR_ARG(r.body));
        CHECK_STR(f.app_calls ? f.seen_target : S("(not called)"), w->want, "%s", w->what);
    }
    static const char *const bad[] = {
        "GET /v1.0/invoke/me/method/a%23b", "GET /v1.0/invoke/me/method/a%3Fb",
        "GET /v1.0/invoke/me/method/a%00b", "GET /v1.0/invoke/me/method/a%0D%0Ab",
        "GET /v1.0/invoke/me/method/a%25b", "GET /v1.0/invoke/a.b.c/method/m",
    };
    EACH (bad, b) {
        f.app_calls = 0;
        r = fixture_call(&f, *b, NULL, NULL);
        CHECK_EQ(r.status, 500, "%s: %.*s", *b, STR_ARG(r.body));
        CHECK(has(r, "ERR_DIRECT_INVOKE") && !f.app_calls, "%s", *b);
    }
    CHECK_EQ(fixture_call(&f, "GET /v1.0/invoke/me/method/a%zz", NULL, NULL).status, 400);
    CHECK_EQ(fixture_call(&f, "GET /v1.0/invoke/%zz/method/m", NULL, NULL).status, 400);
    fixture_close(&f);
}

static void wrong_app(struct fixture *f, struct http_exchange *x)
{
}

TEST_CO(an_app_inside_without_an_answer_leaves_none)
{
    struct fixture f;
    fixture_open(&f, NULL);
    f.handle = wrong_app;
    struct reply r = fixture_call(&f, "GET /v1.0/invoke/me/method/m", NULL, NULL);
    CHECK(r.status == 0 || r.status == 500, "the server turns that into 500: %d", r.status);
    fixture_close(&f);
}

TEST_CO(the_public_port_shows_health_and_metadata_alone)
{
    static const struct {
        const char *method, *path;
        int want;
    } row[] = {
        { "GET", "/v1.0/healthz", 204 },
        { "GET", "/v1.0/healthz/outbound", 204 },
        { "GET", "/v1.0/metadata", 200 },
        { "PUT", "/v1.0/metadata/k", 404 },
        { "GET", "/v1.0/state/s/k", 404 },
        { "POST", "/v1.0/shutdown", 404 },
        { "GET", "/v1.0/invoke/me/method/m", 404 },
    };
    struct fixture f;
    fixture_open(&f, NULL);
    EACH (row, r) {
        struct http_request req = { .method = str_c(r->method),
                                    .target = str_c(r->path),
                                    .path = str_c(r->path) };
        struct http_memory m;
        http_memory_init(&m, &req, S(""), &f.arena, KIB(64));
        api_handle_public(f.api, &m.x);
        CHECK_EQ(m.x.status, r->want, "%s %s", r->method, r->path);
        http_memory_done(&m);
    }
    CHECK(!f.stopping);
    fixture_close(&f);
}

/* Whatever fails, the caller gets an error, and nobody a success that isn't one. */
TEST_CO(without_memory_requests_fail_as_errors)
{
    struct fixture f;
    fixture_open(&f, NULL);
    fixture_add(&f, "state", "s", NULL);
    fixture_add(&f, "secret", "v", NULL);
    static const struct {
        const char *what, *body;
        int want;
    } row[] = {
        { "GET /v1.0/secrets/v/k?metadata.a=b", NULL, 200 },
        { "GET /v1.0/state/s/none?metadata.a=b", NULL, 204 },
        { "POST /v1.0/state/s/bulk?metadata.a=b", "{\"keys\":[\"a\",\"b\"]}", 200 },
    };
    EACH (row, r) {
        CHECK_EQ(fixture_call(&f, r->what, NULL, r->body).status, r->want);
        FAIL_EACH_ALLOC(n)
        {
            struct arena a;
            arena_init(&a, MIB(1));
            struct http_request req = { .content_length = r->body ? (int64_t)strlen(r->body) : 0 };
            (void)str_cut(str_c(r->what), ' ', &req.method, &req.target);
            (void)str_cut(req.target, '?', &req.path, &req.query);
            struct http_memory m;
            http_memory_init(&m, &req, str_c(r->body), &a, KIB(64));
            api_handle(f.api, &m.x);
            bool whole = m.x.ended && !m.aborted && m.x.status == r->want;
            bool failed = !m.x.ended || m.aborted || m.x.status >= 400;
            CHECK(whole || failed, "%s, allocation %zu: %d", r->what, n, m.x.status);
            if (whole && r->want == 200) {
                struct json v;
                CHECK_OK(json_parse(buf_str(&m.reply), &v, NULL), "allocation %zu", n);
            }
            http_memory_done(&m);
            arena_done(&a);
        }
    }
    fixture_close(&f);
}
