#include "block/deliver.h"
#include "block/publish.h"
#include "fixture.h"
#include "format/cel.h"
#include "telemetry/metrics.h"

static const char EVENT[] =
    "{\"id\":\"1\",\"type\":\"order\",\"data\":{\"n\":3},\"traceparent\":"
    "\"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\",\"tracestate\":\"a=b\"}";

struct setup {
    struct fixture f;
    struct fake *broker;
    struct subscription s;
    struct route_rule rule[4];
    struct error err;
};

static void setup_open(struct setup *s, const char *yaml, const char *dead_letter)
{
    *s = (struct setup){ 0 };
    fixture_open(&s->f, yaml);
    s->broker = fixture_add(&s->f, "pubsub", "p", NULL);
    s->rule[0] = (struct route_rule){ .path = S("/orders") };
    s->s = (struct subscription){ .type = DECLARATIVE,
                                  .pubsub = S("p"),
                                  .topic = S("t"),
                                  .dead_letter = str_c(dead_letter),
                                  .rules = s->rule,
                                  .n_rules = 1,
                                  .blocks = &s->f.b,
                                  .instance = fixture_instance(&s->f, "pubsub", "p") };
}

static int deliver(struct setup *s, const char *data, struct kvs metadata)
{
    struct pubsub_message m = { .topic = S("t"), .data = str_c(data), .metadata = metadata };
    s->err = (struct error){ 0 };
    return deliver_one(&s->s, &m, &s->err);
}

TEST_CO(the_apps_answer_decides)
{
    static const struct {
        const char *name, *body;
        int status, want; /* without a dead letter topic */
        bool dead;        /* goes to the dead letters, if there are any */
    } row[] = {
        { "empty", "", 200, 0, false },
        { "success", "{\"status\":\"SUCCESS\"}", 200, 0, false },
        { "status is empty", "{\"status\":\"\"}", 200, 0, false },
        { "any 2xx", "", 204, 0, false },
        { "garbage", "<html>", 200, 0, false },
        { "not an object", "[1]", 200, 0, false },
        { "status is a number", "{\"status\":5}", 200, 0, false },
        { "retry", "{\"status\":\"RETRY\"}", 200, -UNAVAILABLE, true },
        { "drop", "{\"status\":\"DROP\"}", 200, 0, true },
        { "unknown", "{\"status\":\"MAYBE\"}", 200, -UNKNOWN, true },
        { "lower case", "{\"status\":\"success\"}", 200, -UNKNOWN, true },
        { "not found", "", 404, 0, true },
        { "server error", "boom", 500, -UNAVAILABLE, true },
        { "unavailable", "{\"status\":\"SUCCESS\"}", 503, -UNAVAILABLE, true },
        { "redirect", "", 302, -UNAVAILABLE, true },
    };
    for (int with = 0; with < 2; with++)
        EACH (row, r) {
            struct setup s;
            setup_open(&s, NULL, with ? "dlq" : "");
            s.f.status = r->status;
            s.f.body = r->body;
            CHECK_EQ(deliver(&s, EVENT, (struct kvs){ 0 }), with ? 0 : r->want, "%s", r->name);
            CHECK_EQ(s.f.app_calls, 1, "%s", r->name);
            CHECK_EQ(s.broker->n, with && r->dead, "%s", r->name);
            if (with && r->dead) {
                CHECK_STR(s.broker->item[0].key, "dlq", "%s", r->name);
                CHECK_STR(s.broker->item[0].value, EVENT, "%s", r->name);
            }
            if (!with)
                CHECK_EQ(s.err.code, -r->want, "%s", r->name);
            fixture_close(&s.f);
        }
}

TEST_CO(a_dead_letter_that_fails_keeps_the_message_s33)
{
    static const struct {
        const char *body;
        unsigned publishes;
    } row[] = { { "{\"status\":\"DROP\"}", 2 /* surprise 33: once more after the try */ },
                { "{\"status\":\"RETRY\"}", 1 } };
    EACH (row, r) {
        struct setup s;
        setup_open(&s, NULL, "dlq");
        s.f.body = r->body;
        s.broker->code = UNAVAILABLE;
        s.broker->failures = 9;
        s.broker->text = "full";
        CHECK(deliver(&s, EVENT, (struct kvs){ 0 }) < 0);
        CHECK_EQ(s.broker->calls, r->publishes);
        CHECK(str_contains(str_c(s.err.text), S("dlq failed too (full)")), "%s", s.err.text);
        fixture_close(&s.f);
    }
}

TEST_CO(headers_tell_of_the_message_and_nothing_else)
{
    struct setup s;
    setup_open(&s, NULL, "");
    struct kv kv[] = {
        { S("my-key"), S("v") },        { S("Content-Length"), S("9999") },
        { S("host"), S("evil") },       { S("Transfer-Encoding"), S("chunked") },
        { S("bad name"), S("x") },      { S("split"), S("a\r\nInjected: 1") },
        { S("traceparent"), S("old") }, { S("pubsubname"), S("other") },
    };
    CHECK_OK(deliver(&s, EVENT, (struct kvs){ kv, COUNT(kv) }));
    const struct http_headers *h = &s.f.seen;
    CHECK_STR(http_headers_get(h, S("My-Key")), "v");
    CHECK_STR(http_headers_get(h, S("pubsubName")), "p");
    CHECK_STR(http_headers_get(h, S("traceparent")),
              "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    CHECK_STR(http_headers_get(h, S("tracestate")), "a=b");
    CHECK_STR(http_headers_get(h, S("Content-Type")), "application/cloudevents+json");
    CHECK_EQ(h->n, 5);
    CHECK_STR(s.f.seen_body, EVENT, "byte for byte");
    fixture_close(&s.f);
}

static void add_rule(struct setup *s, size_t i, const char *match, const char *path)
{
    struct error err = { 0 };
    struct cel_program *program = NULL;
    if (match[0])
        REQUIRE(cel_compile(&s->f.arena, str_c(match), &program, &err) == 0, "%s", err.text);
    s->rule[i] =
        (struct route_rule){ .match = str_c(match), .program = program, .path = str_c(path) };
    s->s.n_rules = i + 1;
}

TEST_CO(the_first_rule_that_matches_wins)
{
    static const struct {
        const char *first, *second, *event, *want; /* NULL: none matches; "!": a failure */
    } row[] = {
        { "event.type == 'order'", "", "{\"type\":\"order\"}", "/1" },
        { "event.type == 'order'", "", "{\"type\":\"x\"}", "/2" },
        { "event.type == 'a'", "event.type == 'b'", "{\"type\":\"x\"}", NULL },
        { "event.data.n > 2", "", "{\"data\":{\"n\":3}}", "/1" },
        { "event.data.n > 2", "", "{}", "!" },
        { "event.data.n", "", "{\"data\":{\"n\":3}}", "!" },
    };
    EACH (row, r) {
        struct setup s;
        setup_open(&s, NULL, "");
        add_rule(&s, 0, r->first, "/1");
        add_rule(&s, 1, r->second, "/2");
        int code = deliver(&s, r->event, (struct kvs){ 0 });
        bool bad = r->want && r->want[0] == '!';
        CHECK_EQ(code < 0, bad, "%s on %s", r->first, r->event);
        CHECK_EQ(s.f.app_calls, r->want && !bad, "%s", r->first);
        if (r->want && !bad)
            CHECK_STR(s.f.seen_target, r->want);
        if (bad)
            CHECK(str_contains(str_c(s.err.text), S("error matching the rule")), "%s", s.err.text);
        fixture_close(&s.f);
    }
}

TEST_CO(routes_may_lack_their_slash)
{
    static const struct {
        const char *path, *want;
    } row[] = { { "orders", "/orders" }, { "/orders?a=b", "/orders?a=b" }, { "", "/" } };
    EACH (row, r) {
        struct setup s;
        setup_open(&s, NULL, "");
        s.rule[0].path = str_c(r->path);
        CHECK_OK(deliver(&s, EVENT, (struct kvs){ 0 }));
        CHECK_STR(s.f.seen_target, r->want);
        fixture_close(&s.f);
    }
}

TEST_CO(what_cannot_be_read_goes_to_the_dead_letters)
{
    static const char *const garbage[] = { "", "no json", "[1]", "{\"id\":", "\xff" };
    EACH (garbage, g) {
        struct setup s;
        setup_open(&s, NULL, "");
        CHECK(deliver(&s, *g, (struct kvs){ 0 }) < 0, "%s", *g);
        CHECK(s.err.text[0], "%s", *g);
        s.s.dead_letter = S("dlq");
        CHECK_OK(deliver(&s, *g, (struct kvs){ 0 }));
        CHECK_STR(s.broker->item[0].value, *g);
        CHECK_EQ(s.f.app_calls, 0);
        fixture_close(&s.f);
    }
}

TEST_CO(expired_events_do_not_reach_the_app)
{
    struct setup s;
    setup_open(&s, NULL, "");
    CHECK_OK(deliver(&s, "{\"expiration\":\"2001-01-01T00:00:00Z\"}", (struct kvs){ 0 }));
    CHECK_EQ(s.f.app_calls, 0);
    CHECK_OK(deliver(&s, "{\"expiration\":\"2999-01-01T00:00:00Z\"}", (struct kvs){ 0 }));
    CHECK_OK(deliver(&s, "{\"expiration\":\"soon\"}", (struct kvs){ 0 }));
    CHECK_EQ(s.f.app_calls, 2);
    fixture_close(&s.f);
}

TEST_CO(raw_payloads_get_an_envelope_on_delivery)
{
    struct setup s;
    setup_open(&s, NULL, "");
    s.s.raw = true;
    CHECK_OK(deliver(&s, "\x01raw", (struct kvs){ 0 }));
    CHECK(str_contains(s.f.seen_body, S("\"data_base64\":\"AXJhdw==\"")));
    s.s.raw_malformed = true;
    CHECK_EQ(deliver(&s, "x", (struct kvs){ 0 }), -INVALID, "facts 11.9");
    fixture_close(&s.f);
}

static const char RETRIES[] =
    "apiVersion: dapr.io/v1alpha1\nkind: Resiliency\nmetadata:\n  name: r\nspec:\n  policies:\n"
    "    retries:\n      two: {policy: constant, duration: 10ms, maxRetries: 2}\n"
    "  targets:\n    components:\n      p: {inbound: {retry: two}}\n";

TEST_CO(inbound_policies_retry_the_app)
{
    struct setup s;
    setup_open(&s, RETRIES, "dlq");
    s.f.status = 500;
    CHECK_OK(deliver(&s, EVENT, (struct kvs){ 0 }));
    CHECK_EQ(s.f.app_calls, 3);
    CHECK_EQ(s.broker->n, 1);
    s.f.status = 200;
    s.f.body = "{\"status\":\"DROP\"}";
    CHECK_OK(deliver(&s, EVENT, (struct kvs){ 0 }));
    CHECK_EQ(s.f.app_calls, 4, "a drop isn't retried");
    fixture_close(&s.f);
}

static void no_answer(struct fixture *f, struct http_exchange *x)
{
}

static void huge_answer(struct fixture *f, struct http_exchange *x)
{
    static char big[2 << 20];
    memset(big, 'x', sizeof big);
    (void)http_reply(x, 200, NULL, str_of(big, sizeof big));
}

TEST_CO(an_app_without_a_proper_answer_is_a_failed_delivery)
{
    struct setup s;
    setup_open(&s, NULL, "");
    s.f.handle = no_answer;
    CHECK_EQ(deliver(&s, EVENT, (struct kvs){ 0 }), -UNAVAILABLE);
    s.f.handle = huge_answer;
    CHECK_EQ(deliver(&s, EVENT, (struct kvs){ 0 }), -RANGE);
    CHECK(str_contains(str_c(s.err.text), S("larger than 1048576 bytes")), "%s", s.err.text);
    fixture_close(&s.f);
}

/* ---- bulk ---- */

static int bulk(struct setup *s, size_t n, int *codes)
{
    static const char *const data[] = { EVENT, "{\"type\":\"b\"}", "garbage",
                                        "{\"expiration\":\"2001-01-01T00:00:00Z\"}" };
    static const char *const id[] = { "a", "b", "c", "d" };
    struct pubsub_message m[4] = { 0 };
    for (size_t i = 0; i < n; i++) {
        m[i] = (struct pubsub_message){ .topic = S("t"),
                                        .data = str_c(data[i]),
                                        .entry_id = str_c(id[i]) };
        codes[i] = 77;
    }
    s->err = (struct error){ 0 };
    return deliver_bulk(&s->s, m, n, codes, &s->err);
}

TEST_CO(a_bulk_is_answered_by_entry)
{
    static const struct {
        const char *name, *body;
        int status, a, b; /* 0 or failed */
    } row[] = {
        { "all",
          "{\"statuses\":[{\"entryId\":\"a\",\"status\":\"SUCCESS\"},"
          "{\"entryId\":\"b\",\"status\":\"SUCCESS\"}]}",
          200, 0, 0 },
        { "one missing", "{\"statuses\":[{\"entryId\":\"b\",\"status\":\"SUCCESS\"}]}", 200, 1, 0 },
        { "names in any case",
          "{\"Statuses\":[{\"EntryID\":\"a\",\"Status\":\"SUCCESS\"},{\"entryid\":\"b\",\"status\":"
          "\"DROP\"}]}",
          200, 0, 0 },
        { "one retry",
          "{\"statuses\":[{\"entryId\":\"a\",\"status\":\"RETRY\"},"
          "{\"entryId\":\"b\",\"status\":\"DROP\"}]}",
          200, 1, 0 },
        { "nothing", "", 200, 1, 1 },
        { "garbage",
          "{\"statuses\":[5,{\"entryId\":1},{\"entryId\":\"z\",\"status\":\"SUCCESS\"}]}", 200, 1,
          1 },
        { "not found", "", 404, 0, 0 },
        { "error", "", 500, 1, 1 },
    };
    EACH (row, r) {
        struct setup s;
        int codes[2];
        setup_open(&s, NULL, "");
        s.f.status = r->status;
        s.f.body = r->body;
        CHECK_EQ(bulk(&s, 2, codes) < 0, r->a || r->b, "%s", r->name);
        CHECK_EQ(codes[0] < 0, r->a, "%s", r->name);
        CHECK_EQ(codes[1] < 0, r->b, "%s", r->name);
        CHECK(codes[0] <= 0 && codes[1] <= 0, "%s", r->name);
        fixture_close(&s.f);
    }
}

TEST_CO(a_bulk_sends_only_what_can_be_read_and_dead_letters_the_rest)
{
    struct setup s;
    int codes[4];
    setup_open(&s, NULL, "dlq");
    s.f.body = "{\"statuses\":[{\"entryId\":\"a\",\"status\":\"SUCCESS\"},"
               "{\"entryId\":\"b\",\"status\":\"DROP\"}]}";
    CHECK_OK(bulk(&s, 4, codes));
    CHECK_EQ(s.f.app_calls, 1);
    CHECK(str_contains(s.f.seen_body, S("\"entryId\":\"b\"")));
    CHECK(!str_contains(s.f.seen_body, S("\"entryId\":\"c\"")));
    CHECK(!str_contains(s.f.seen_body, S("\"entryId\":\"d\"")));
    CHECK(str_contains(s.f.seen_body, S("\"type\":\"com.dapr.event.sent.bulk\"")));
    CHECK_EQ(s.broker->n, 3, "the dropped, the unreadable and the expired one");
    fixture_close(&s.f);
}

TEST_CO(a_bulk_goes_to_each_path_apart)
{
    struct setup s;
    int codes[2];
    setup_open(&s, NULL, "");
    add_rule(&s, 0, "event.type == 'order'", "/1");
    add_rule(&s, 1, "", "/2");
    s.f.status = 404;
    CHECK_OK(bulk(&s, 2, codes));
    CHECK_EQ(s.f.app_calls, 2);
    fixture_close(&s.f);
}

TEST_CO(without_memory_a_delivery_fails_and_is_kept)
{
    struct setup s;
    setup_open(&s, NULL, "");
    CHECK_OK(deliver(&s, EVENT, (struct kvs){ 0 })); /* metric cells are there */
    (void)arena_alloc(&s.f.arena, MIB(1) / 2);
    FAIL_EACH_ALLOC(n)
    {
        unsigned before = s.f.app_calls;
        int r = deliver(&s, EVENT, (struct kvs){ 0 });
        CHECK(r < 0 ? s.err.code != OK : s.f.app_calls == before + 1, "allocation %zu", n);
    }
    fixture_close(&s.f);
}
