/* Name resolution that registers nothing: static, nameformat and dns, where they differ. */
#include "fixture.h"

#include "test/conformance/server.h"

CO static int open_one(struct fixture *f, const char *type, const char *key, const char *value)
{
    const char *md[] = { key, value, NULL };
    return fixture_open(f, type, md, NULL);
}

CO static int find(struct fixture *f, const char *app, struct registration *v, size_t max,
                   size_t *ret_n, struct error *err)
{
    const struct resolver_ops *ops = CONTAINER_OF(f->type, struct resolver_ops, t);
    return ops->resolve(f->self, str_c(app), S("default"), &f->arena, v, max, ret_n, err);
}

TEST_LOOP(wrong_configurations_are_refused_with_a_reason)
{
    static const struct {
        const char *type, *key, *value, *says;
    } row[] = {
        { "static", "apps", "[]", "map" },
        { "static", "apps", "{\"a\":1}", "its value is no list" },
        { "static", "apps", "{\"a\":[1]}", "has no address" },
        { "static", "apps", "{\"a\":[\"host\"]}", "has no address" },
        { "static", "apps", "{\"a\":[{\"zone\":\"z\"}]}", "has no address" },
        { "static", "apps", "{\"a\":[{\"address\":\"h:1\",\"zone\":7}]}", "has no address" },
        { "static", "other", "x", "apps" },
        { "nameformat", "format", "example.org", "{appid}" },
        { "nameformat", "other", "x", "format" },
        { "dns", "name", "example.org", "{appid}" },
        { "dns", "name", "{appid}.{zone}.test", "zones" },
    };
    EACH (row, r) {
        struct fixture f;
        char type[64];
        snprintf(type, sizeof type, "nameresolution.%s", r->type);
        CHECK_EQ(open_one(&f, type, r->key, r->value), -INVALID, "%s %s", r->type, r->value);
        CHECK(strstr(f.err.text, r->says), "%s %s: %s", r->type, r->value, f.err.text);
        fixture_close(&f);
    }
}

TEST_LOOP(nameformat_makes_an_address_of_plain_names_only)
{
    static const struct {
        const char *format, *app, *want;
    } row[] = {
        { "{appid}.example.org:50002", "shop", "shop.example.org:50002" },
        { "{appid}-{appid}.test", "a", "a-a.test" },
        { "x{appid}y:1", "my.app_1-b", "xmy.app_1-by:1" },
        { "{appid}.test", "a/b", NULL },
        { "{appid}.test", "a:1", NULL },
        { "{appid}.test", "a@b", NULL },
        { "{appid}.test", "{appid}", NULL },
    };
    EACH (row, r) {
        struct fixture f;
        struct registration v[2];
        struct error err = { 0 };
        size_t n = 9;
        CHECK_OK(open_one(&f, "nameresolution.nameformat", "format", r->format), "%s", f.err.text);
        CHECK_OK(find(&f, r->app, v, 2, &n, &err));
        CHECK_EQ(n, r->want ? 1 : 0, "%s", r->app);
        if (n == 1 && r->want)
            CHECK_STR(v[0].address, r->want);
        CHECK_EQ(find(&f, "", v, 2, &n, &err), -INVALID);
        fixture_close(&f);
    }
}

struct bench {
    struct arena arena;
    struct server server;
    char address[32];
};

static void bench_open(struct bench *b)
{
    char dir[64], command[512];
    arena_init(&b->arena, KIB(64));
    const char *log = fixture_file(&b->arena, "server.log", "");
    snprintf(dir, sizeof dir, "%.*s", (int)(strlen(log) - strlen("/server.log")), log);
    snprintf(command, sizeof command,
             "python3 %s/test/conformance/nameresolution/player.py dns {port}",
             getenv("PROA_SOURCE"));
    REQUIRE(server_start(&b->server, command, dir));
    snprintf(b->address, sizeof b->address, "127.0.0.1:%u", b->server.port);
}

TEST_LOOP(dns_asks_for_each_zone)
{
    struct bench b;
    struct fixture f;
    struct registration v[8];
    struct error err = { 0 };
    size_t n = 0, in[2] = { 0 };
    bench_open(&b);
    const char *md[] = { "server", b.address,       "name", "{appid}.{zone}.zone.test",
                         "zones",  "eu/a, b, gone", "port", "50002",
                         NULL };
    CHECK_OK(fixture_open(&f, "nameresolution.dns", md, NULL), "%s", f.err.text);
    CHECK_OK(find(&f, "placed", v, 8, &n, &err), "%s", err.text);
    CHECK_EQ(n, 3);
    for (size_t i = 0; i < n; i++) {
        bool b_zone = str_eq(v[i].zone, S("b"));
        in[b_zone]++;
        CHECK(str_starts(v[i].address, b_zone ? S("10.0.2.") : S("10.0.1.")));
        CHECK(str_ends(v[i].address, S(":50002")));
        CHECK_STR(v[i].region, b_zone ? "" : "eu");
    }
    CHECK(in[0] == 2 && in[1] == 1);
    CHECK_OK(find(&f, "nobody", v, 8, &n, &err), "%s", err.text);
    CHECK_EQ(n, 0);
    fixture_close(&f);
    server_stop(&b.server);
    arena_done(&b.arena);
}

TEST_LOOP(dns_server_that_is_silent_is_an_error)
{
    struct bench b;
    struct fixture f;
    struct registration v[8];
    struct error err = { 0 };
    size_t n = 0;
    bench_open(&b);
    const char *md[] = { "server", b.address, "name", "_proa.{appid}.test", "tries", "1", NULL };
    CHECK_OK(fixture_open(&f, "nameresolution.dns", md, NULL), "%s", f.err.text);
    server_stop(&b.server);
    CHECK_EQ(find(&f, "alpha", v, 8, &n, &err), -UNAVAILABLE);
    CHECK(strstr(err.text, "_proa.alpha.test"), "%s", err.text);
    fixture_close(&f);
    arena_done(&b.arena);
}
