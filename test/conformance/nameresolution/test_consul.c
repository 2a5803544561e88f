/* nameresolution.consul: what is said to the agent, and what happens when it forgets us. */
#include "fixture.h"

#include "components/nameresolution/consul/agent.h"
#include "format/json.h"
#include "http/client.h"
#include "test/conformance/server.h"

static const struct agent_service plain = {
    .id = "shop-10.0.0.1-50001",
    .app_id = "shop",
    .host = "10.0.0.1",
    .zone = "a",
    .region = "",
    .port_key = "DAPR_PORT",
    .app_port = 8080,
    .http_port = 3500,
    .internal_port = 50001,
    .tags = "",
    .meta = "",
    .checks = "",
    .ttl_s = 9,
};

static struct json say(const struct agent_service *s, struct buf *b)
{
    struct json v = { 0 };
    buf_init(b, KIB(64));
    agent_put_service(b, s);
    REQUIRE(buf_ok(b) && json_parse(buf_str(b), &v, NULL) == 0, STR_FMT, STR_ARG(buf_str(b)));
    return v;
}

TEST(registration_has_the_contracts_words_and_our_lease)
{
    AUTO(buf_done) struct buf b;
    struct json v = say(&plain, &b), meta = json_get(v, S("Meta"));
    struct json check = json_at(json_get(v, S("Checks")), 0);
    CHECK(json_eq_str(json_get(v, S("Name")), S("shop")));
    CHECK(json_eq_str(json_get(v, S("ID")), S("shop-10.0.0.1-50001")));
    CHECK(json_eq_str(json_get(v, S("Address")), S("10.0.0.1")));
    CHECK_STR(json_get(v, S("Port")).raw, "8080");
    CHECK(json_eq_str(json_get(meta, S("DAPR_PORT")), S("50001")));
    CHECK(json_eq_str(json_get(meta, S("PROA_ZONE")), S("a")));
    CHECK_EQ(json_get(meta, S("PROA_REGION")).type, JSON_NONE);
    CHECK_EQ(json_count(json_get(v, S("Checks"))), 1);
    CHECK(json_eq_str(json_get(check, S("TTL")), S("9s")));
    CHECK(json_eq_str(json_get(check, S("CheckID")), S("proa:shop-10.0.0.1-50001")));
}

TEST(without_a_lease_the_agent_asks_for_our_health)
{
    AUTO(buf_done) struct buf b;
    struct agent_service s = plain;
    s.ttl_s = 0;
    struct json check = json_at(json_get(say(&s, &b), S("Checks")), 0);
    CHECK(json_eq_str(json_get(check, S("HTTP")), S("http://10.0.0.1:3500/v1.0/healthz")));
    CHECK(json_eq_str(json_get(check, S("Interval")), S("15s")));
}

TEST(lists_of_the_configuration_are_passed_on_with_variables_replaced)
{
    AUTO(buf_done) struct buf b;
    struct agent_service s = plain;
    s.ttl_s = 0;
    s.tags = "[\"dapr\",\"${APP_ID}\"]";
    s.meta = "{\"PORTS\":\"${DAPR_HTTP_PORT} ${APP_PORT} $DAPR_PORT\",\"n\":1}";
    s.checks = "[{\"name\":\"x\",\"http\":\"http://${HOST_ADDRESS}:${APP_PORT}/h\",\"tls\":true}]";
    struct json v = say(&s, &b), check = json_at(json_get(v, S("Checks")), 0);
    CHECK_STR(json_get(v, S("Tags")).raw, "[\"dapr\",\"shop\"]");
    CHECK(json_eq_str(json_get(json_get(v, S("Meta")), S("PORTS")), S("3500 8080 50001")));
    CHECK_STR(json_get(json_get(v, S("Meta")), S("n")).raw, "1");
    CHECK(json_eq_str(json_get(check, S("http")), S("http://10.0.0.1:8080/h")));
    CHECK_STR(json_get(check, S("tls")).raw, "true");
    CHECK_EQ(json_count(json_get(v, S("Checks"))), 1, "own checks replace the usual one");
}

TEST(answers_are_read_and_broken_ones_refused)
{
    static const struct {
        const char *name, *json;
        int want;
        size_t n;
        const char *first;
    } row[] = {
        { "address of the service",
          "[{\"Node\":{\"Address\":\"10.0.0.9\"},\"Service\":{\"Address\":\"10.0.0.1\","
          "\"Meta\":{\"DAPR_PORT\":\"5\",\"PROA_ZONE\":\"b\"}}}]",
          0, 1, "10.0.0.1:5" },
        { "address of the node",
          "[{\"Node\":{\"Address\":\"10.0.0.9\"},\"Service\":{\"Meta\":{\"DAPR_PORT\":\"5\"}}}]", 0,
          1, "10.0.0.9:5" },
        { "IPv6", "[{\"Service\":{\"Address\":\"fd00::1\",\"Meta\":{\"DAPR_PORT\":\"5\"}}}]", 0, 1,
          "[fd00::1]:5" },
        { "no port", "[{\"Service\":{\"Address\":\"10.0.0.1\",\"Meta\":{}}}]", 0, 0, NULL },
        { "no address", "[{\"Service\":{\"Meta\":{\"DAPR_PORT\":\"5\"}}}]", 0, 0, NULL },
        { "nothing", "[]", 0, 0, NULL },
        { "null", "null", 0, 0, NULL },
        { "no list", "{}", -INVALID, 0, NULL },
        { "no JSON", "oops", -INVALID, 0, NULL },
        { "odd types", "[{\"Service\":{\"Address\":7}}]", -INVALID, 0, NULL },
    };
    struct arena a;
    arena_init(&a, KIB(64));
    EACH (row, r) {
        struct registration v[4];
        size_t n = 0;
        CHECK_EQ(agent_read_services(str_c(r->json), "DAPR_PORT", &a, v, 4, &n), r->want, "%s",
                 r->name);
        CHECK_EQ(n, r->n, "%s", r->name);
        if (n && r->first)
            CHECK_STR(v[0].address, r->first, "%s", r->name);
    }
    arena_done(&a);
}

/* ---- with an agent ---- */

struct bench {
    struct arena arena;
    struct server server;
    const char *address;
    struct http_client *client;
};

static void bench_open(struct bench *b)
{
    struct http_client_config config = { 0 };
    arena_init(&b->arena, KIB(256));
    const char *log = fixture_file(&b->arena, "server.log", "");
    char dir[64], command[512];
    snprintf(dir, sizeof dir, "%.*s", (int)(strlen(log) - strlen("/server.log")), log);
    snprintf(command, sizeof command,
             "python3 %s/test/conformance/nameresolution/player.py consul {port}",
             getenv("PROA_SOURCE"));
    REQUIRE(server_start(&b->server, command, dir));
    b->address = arena_printf(&b->arena, "127.0.0.1:%u", b->server.port).p;
    b->client = http_client_new(&config);
    REQUIRE(b->client);
}

static void free_client(void *arg)
{
    http_client_free(arg);
}

CO static void bench_close(struct bench *b)
{
    CHECK_OK(blocking(free_client, b->client));
    server_stop(&b->server);
    arena_done(&b->arena);
}

/* What the player answers. */
CO static str play(struct bench *b, const char *method, const char *path)
{
    AUTO(http_call_freep) struct http_call *call = NULL;
    const struct http_response *res;
    struct error err = { 0 };
    str body = S("");
    struct http_request req = { .method = str_c(method), .target = str_c(path) };
    (void)str_cut(req.target, '?', &req.path, &req.query);
    CHECK_OK(http_call_start(b->client, b->address, &req, S(""), true, &call, &err), "%s",
             err.text);
    if (!call)
        return S("");
    CHECK_OK(http_call_response(call, &res, &err), "%s", err.text);
    CHECK_OK(http_call_read_all(call, KIB(64), &body));
    return arena_dup(&b->arena, body);
}

static const struct component_env env = {
    .app_id = "shop",
    .host_address = "10.0.0.1",
    .zone = "a",
    .region = "eu",
    .internal_port = 50001,
};

CO static int join(struct bench *b, struct fixture *f, const char *register_, const char *key,
                   const char *value)
{
    const char *md[] = { "client",
                         arena_printf(&b->arena, "{\"address\":\"%s\"}", b->address).p,
                         "selfRegister",
                         register_,
                         key,
                         value,
                         NULL };
    return fixture_join(f, "nameresolution.hashicorp.consul", md, &env);
}

/* For at most twenty seconds. */
CO static void await_registered(struct bench *b, bool want)
{
    uint64_t end = clock_now_ns() + SEC(20);
    bool is = !want;
    while (clock_now_ns() < end && (is = str_contains(play(b, "GET", "/player/services"),
                                                      S("shop-10.0.0.1-50001"))) != want)
        CHECK_OK(fiber_sleep(MS(20)));
    CHECK_EQ(is, want);
}

TEST_LOOP(agent_that_forgets_us_is_told_again)
{
    struct bench b;
    struct fixture f;
    bench_open(&b);
    CHECK_OK(join(&b, &f, "true", "ttl", "1s"), "%s", f.err.text);
    await_registered(&b, true);
    play(&b, "POST", "/player/forget");
    await_registered(&b, true);
    play(&b, "POST", "/player/fail?n=2");
    CHECK_OK(fiber_sleep(SEC(2))); /* longer than the lease: renewed after all */
    struct registration v[2];
    struct error err = { 0 };
    size_t n = 0;
    const struct resolver_ops *ops = CONTAINER_OF(f.type, struct resolver_ops, t);
    CHECK_OK(ops->resolve(f.self, S("shop"), S(""), &b.arena, v, 2, &n, &err), "%s", err.text);
    CHECK_EQ(n, 1);
    fixture_close(&f);
    await_registered(&b, false);
    bench_close(&b);
}

TEST_LOOP(without_self_register_nothing_is_registered)
{
    struct bench b;
    struct fixture f;
    bench_open(&b);
    CHECK_OK(join(&b, &f, "false", "ttl", "1s"), "%s", f.err.text);
    await_registered(&b, false);
    fixture_close(&f);
    bench_close(&b);
}

TEST_LOOP(wrong_configurations_and_absent_agents_are_refused)
{
    static const struct {
        const char *key, *value, *says;
    } row[] = {
        { "tags", "{}", "tags" },
        { "checks", "x", "checks" },
        { "meta", "[]", "meta" },
        { "ttl", "1500ms", "ttl" },
        { "queryOptions", "[]", "queryOptions" },
        { "queryOptions", "{\"filter\":1}", "filter" },
        { "client", "{\"address\":\"127.0.0.1:1\",\"scheme\":\"ftp\"}", "scheme" },
        { "client", "{\"address\":\"127.0.0.1:1\"}", "cannot connect" },
        { "advancedRegistration", "{}", "selfRegister" },
    };
    EACH (row, r) {
        struct fixture f;
        const char *md[] = { "selfRegister", "true", r->key, r->value, NULL };
        CHECK(fixture_open(&f, "nameresolution.consul", md, &env) < 0, "%s", r->value);
        CHECK(strstr(f.err.text, r->says), "%s: %s", r->value, f.err.text);
        fixture_close(&f);
    }
}

TEST_LOOP(agent_that_refuses_is_quoted)
{
    struct bench b;
    struct fixture f;
    bench_open(&b);
    play(&b, "POST", "/player/fail?n=1");
    CHECK_EQ(join(&b, &f, "true", "ttl", "0"), -UNAVAILABLE);
    CHECK(strstr(f.err.text, "answers 500"), "%s", f.err.text);
    fixture_close(&f);
    bench_close(&b);
}
