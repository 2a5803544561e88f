#include "appcallback.pb-c.h"
#include "block/app/channel_private.h"
#include "format/pbstruct.h"
#include "test/testing.h"

typedef Dapr__Proto__Runtime__V1__TopicSubscription subscription;
typedef Dapr__Proto__Runtime__V1__TopicRule rule;

static str pack(struct arena *a, const ProtobufCMessage *m)
{
    uint8_t *p = arena_alloc(a, protobuf_c_message_get_packed_size(m));
    REQUIRE(p);
    return str_of(p, protobuf_c_message_pack(m, p));
}

TEST(a_grpc_app_without_routes_has_one_rule_s30)
{
    static const struct {
        const char *name, *rule, *path; /* NULL: none */
        size_t want;
        const char *last;
        bool routes;
    } row[] = {
        { "no routes", NULL, NULL, 1, "", false }, { "empty routes", NULL, NULL, 1, "", true },
        { "default", NULL, "/d", 1, "/d", true },  { "rule", "/a", NULL, 1, "/a", true },
        { "both", "/a", "/d", 2, "/d", true },
    };
    EACH (row, r) {
        struct arena a;
        arena_init(&a, MIB(1));
        Dapr__Proto__Runtime__V1__ListTopicSubscriptionsResponse list =
            DAPR__PROTO__RUNTIME__V1__LIST_TOPIC_SUBSCRIPTIONS_RESPONSE__INIT;
        subscription s = DAPR__PROTO__RUNTIME__V1__TOPIC_SUBSCRIPTION__INIT, *all[] = { &s };
        Dapr__Proto__Runtime__V1__TopicRoutes routes = DAPR__PROTO__RUNTIME__V1__TOPIC_ROUTES__INIT;
        rule one = DAPR__PROTO__RUNTIME__V1__TOPIC_RULE__INIT, *rules[] = { &one };
        s.pubsub_name = "p";
        s.topic = "t";
        s.routes = r->routes ? &routes : NULL;
        one.path = (char *)r->rule;
        routes.rules = rules;
        routes.n_rules = r->rule ? 1 : 0;
        routes.default_path = (char *)(r->path ? r->path : "");
        list.subscriptions = all;
        list.n_subscriptions = 1;
        struct app_subscriptions got;
        CHECK_OK(grpc_read_subscriptions(pack(&a, &list.base), &a, &got));
        CHECK(got.n == 1 && !got.refused, "%s", r->name);
        CHECK_EQ(got.v[0].n_rules, r->want, "%s", r->name);
        CHECK_STR(got.v[0].rules[r->want - 1].path, r->last, "%s", r->name);
        arena_done(&a);
    }
}

TEST(an_answer_that_is_no_list_is_said)
{
    struct arena a;
    struct app_subscriptions got;
    arena_init(&a, MIB(1));
    CHECK_OK(grpc_read_subscriptions(S("\xff\xff"), &a, &got));
    CHECK(got.refused && !got.n);
    CHECK_OK(http_read_subscriptions(S("{}"), &a, &got));
    CHECK(got.refused && !got.n);
    arena_done(&a);
}

TEST(without_memory_a_list_is_refused)
{
    FAIL_EACH_ALLOC(n)
    {
        struct arena a;
        struct app_subscriptions got = { 0 };
        arena_init(&a, MIB(1));
        int r = http_read_subscriptions(S("[{\"topic\":\"a\\u0041\",\"route\":\"/r\"}]"), &a, &got);
        CHECK(r == 0 || r == -EXHAUSTED);
        CHECK(r == 0 || test_alloc_failed(n));
        arena_done(&a);
    }
}

TEST(json_becomes_a_struct)
{
    static const struct {
        const char *json, *want;
        size_t n;
    } row[] = {
        { "{}", "", 0 },
        { "[1]", "", 0 },
        { "{\"a\":null}", "\n\7\n\1a\22\2\10\0", 9 },
        { "{\"a\":true}", "\n\7\n\1a\22\2 \1", 9 },
        { "{\"a\":\"x\"}", "\n\10\n\1a\22\3\32\1x", 10 },
        { "{\"a\":1}", "\n\16\n\1a\22\11\21\0\0\0\0\0\0\360?", 16 },
        { "{\"a\":[]}", "\n\7\n\1a\22\0022\0", 9 },
        { "{\"a\":{\"b\":false}}", "\n\20\n\1a\22\13*\11\n\7\n\1b\22\2 \0", 18 },
        { "{\"a\":1e999}", "\n\14\n\1a\22\7\32\0051e999", 14 },
    };
    EACH (row, r) {
        struct buf out;
        struct json v;
        buf_init(&out, KIB(64));
        REQUIRE(json_parse(str_c(r->json), &v, NULL) == 0);
        pbstruct_put(&out, v, NULL);
        CHECK(buf_ok(&out));
        CHECK(str_eq(buf_str(&out), str_of(r->want, r->n)), "%s: %zu bytes", r->json, out.len);
        buf_done(&out);
    }
}

TEST(long_and_deep_values_keep_their_lengths)
{
    struct buf text, out;
    struct json v;
    buf_init(&text, MIB(1));
    buf_init(&out, MIB(1));
    buf_put(&text, S("{\"a\":"));
    for (int i = 0; i < 500; i++)
        buf_putc(&text, '[');
    for (int i = 0; i < 500; i++)
        buf_putc(&text, ']');
    buf_putc(&text, '}');
    REQUIRE(json_parse(buf_str(&text), &v, NULL) == 0);
    pbstruct_put(&out, v, NULL);
    CHECK(buf_ok(&out));
    CHECK(str_contains(buf_str(&out), S("[[[[")), "deeper than PBSTRUCT_DEPTH: as text");
    buf_done(&out);
    buf_init(&out, 64);
    pbstruct_put(&out, v, NULL);
    CHECK(!buf_ok(&out), "the limit is seen");
    buf_done(&text);
    buf_done(&out);
}
