#include "check.h"

#include "base/clock.h"
#include "format/cloudevent.h"

static struct arena arena;
static struct buf out;

static int start(void **state)
{
    arena_init(&arena, MIB(1));
    buf_init(&out, MIB(1));
    return 0;
}

static int finish(void **state)
{
    arena_done(&arena);
    buf_done(&out);
    return 0;
}

static struct cloudevent_fields plain(void)
{
    return (struct cloudevent_fields){
        .id = S("id-1"),
        .source = S("app"),
        .time = S("2026-01-02T03:04:05+01:00"),
        .topic = S("orders"),
        .pubsubname = S("pubsub"),
    };
}

static str built(const struct cloudevent_fields *f)
{
    buf_clear(&out);
    assert_int_equal(cloudevent_build(f, &out), 0);
    struct json v;
    assert_int_equal(json_parse(buf_str(&out), &v, NULL), 0);
    return buf_str(&out);
}

static void envelope_is_sorted_and_complete(void **state)
{
    struct cloudevent_fields f = plain();
    f.data = S("hello <b>");
    check_str(built(&f),
              S("{\"data\":\"hello \\u003cb\\u003e\",\"datacontenttype\":\"text/plain\","
                "\"id\":\"id-1\",\"pubsubname\":\"pubsub\",\"source\":\"app\","
                "\"specversion\":\"1.0\",\"time\":\"2026-01-02T03:04:05+01:00\","
                "\"topic\":\"orders\",\"traceid\":\"\",\"traceparent\":\"\",\"tracestate\":\"\","
                "\"type\":\"com.dapr.event.sent\"}"),
              "defaults");

    f.datacontenttype = S("application/json");
    f.data = S(" { \"b\" : 1.0,\"a\":\"<\" }\n");
    f.subject = S("sub");
    f.expiration = S("2030-01-01T00:00:00Z");
    f.traceid = f.traceparent = S("00-1-2-01");
    f.tracestate = S("k=v");
    f.type = S("t");
    f.specversion = S("1.1");
    check_str(built(&f),
              S("{\"data\":{ \"b\" : 1.0,\"a\":\"<\" },\"datacontenttype\":\"application/json\","
                "\"expiration\":\"2030-01-01T00:00:00Z\",\"id\":\"id-1\",\"pubsubname\":\"pubsub\","
                "\"source\":\"app\",\"specversion\":\"1.1\",\"subject\":\"sub\","
                "\"time\":\"2026-01-02T03:04:05+01:00\",\"topic\":\"orders\","
                "\"traceid\":\"00-1-2-01\",\"traceparent\":\"00-1-2-01\",\"tracestate\":\"k=v\","
                "\"type\":\"t\"}"),
              "all");
}

static void data_goes_where_its_type_says(void **state)
{
    static const struct {
        const char *type;
        str data;
        const char *member;
    } row[] = {
        { "application/json", { "[1, 2]", 6 }, "{\"data\":[1, 2]," },
        { "APPLICATION/JSON; charset=utf-8", { "null", 4 }, "{\"data\":null," },
        { "application/json", { "{oops", 5 }, "{\"data\":\"{oops\"," },
        { "application/json", { "", 0 }, "{\"data\":\"\"," },
        { "application/octet-stream", { "\0\1\xff", 3 }, "{\"data_base64\":\"AAH/\"," },
        { "application/octet-stream;x=y", { "", 0 }, "{\"data_base64\":\"\"," },
        { "application/cloudevents+protobuf", { "x", 1 }, "{\"data_base64\":\"eA==\"," },
        { "application/x-protobuf", { "\x0a\1i\x12\1s\x1a\1v\x22\1t", 12 }, "{\"data_base64\":" },
        { "application/x-protobuf", { "\x0a\1i\x12\1s\x1a\1v", 9 }, "{\"data\":" },
        { "application/x-protobuf", { "\x0a\7i", 3 }, "{\"data\":" },
        { "application/x-protobuf", { "\xff\xff", 2 }, "{\"data\":" },
        { "application/vnd.x+json", { "{}", 2 }, "{\"data\":\"{}\"," },
        { "text/html", { "\xff", 1 }, "{\"data\":\"\\ufffd\"," },
        { "application/xml", { "<a/>", 4 }, "{\"data\":\"\\u003ca/\\u003e\"," },
    };
    for (size_t i = 0; i < COUNT(row); i++) {
        struct cloudevent_fields f = plain();
        f.datacontenttype = str_c(row[i].type);
        f.data = row[i].data;
        if (!str_starts(built(&f), str_c(row[i].member)))
            fail_msg("%s: %.*s", row[i].type, 40, out.p);
    }
}

static void raw_payload_leaves_out_what_is_empty(void **state)
{
    struct cloudevent_fields f = { .id = S("i"),
                                   .topic = S("t"),
                                   .pubsubname = S("p"),
                                   .datacontenttype = S("application/octet-stream"),
                                   .data = S("raw"),
                                   .sparse = true };
    check_str(built(&f),
              S("{\"data_base64\":\"cmF3\",\"datacontenttype\":\"application/octet-stream\","
                "\"id\":\"i\",\"pubsubname\":\"p\",\"source\":\"Dapr\",\"specversion\":\"1.0\","
                "\"topic\":\"t\",\"type\":\"com.dapr.event.sent\"}"),
              "sparse");
}

static void extra_attributes_find_their_place(void **state)
{
    static const struct cloudevent_extra extra[] = { { S("zz"), S("1") },
                                                     { S("aa"), S("<") },
                                                     { S("id"), S("not mine to set") },
                                                     { S("subjec"), S("x") },
                                                     { S("zz"), S("2") } };
    struct cloudevent_fields f = plain();
    f.sparse = true;
    f.time = S("");
    f.extra = extra;
    f.n_extra = COUNT(extra);
    check_str(built(&f),
              S("{\"aa\":\"\\u003c\",\"data\":\"\",\"datacontenttype\":\"text/plain\","
                "\"id\":\"id-1\",\"pubsubname\":\"pubsub\",\"source\":\"app\","
                "\"specversion\":\"1.0\",\"subjec\":\"x\",\"topic\":\"orders\","
                "\"type\":\"com.dapr.event.sent\",\"zz\":\"2\"}"),
              "extra");
}

static void too_many_attributes_are_refused(void **state)
{
    static struct cloudevent_extra extra[CLOUDEVENT_EXTRA_MAX + 20];
    static char names[COUNT(extra)][8];
    for (size_t i = 0; i < COUNT(extra); i++) {
        snprintf(names[i], sizeof names[i], "k%03zu", i);
        extra[i] = (struct cloudevent_extra){ str_c(names[i]), S("v") };
    }
    struct cloudevent_fields f = plain();
    f.extra = extra;
    f.n_extra = CLOUDEVENT_EXTRA_MAX;
    (void)built(&f);
    f.n_extra = COUNT(extra);
    assert_int_equal(cloudevent_build(&f, &out), -EXHAUSTED);

    AUTO(buf_done) struct buf small;
    buf_init(&small, 100);
    f.n_extra = 0;
    assert_int_equal(cloudevent_build(&f, &small), -EXHAUSTED);
}

static str wrapped(str body, const struct cloudevent_fields *f)
{
    struct error err = { 0 };
    buf_clear(&out);
    if (cloudevent_wrap(body, f, &arena, &out, &err))
        fail_msg("%.*s: %s", (int)body.n, body.p, err.text);
    return buf_str(&out);
}

static void a_clients_event_keeps_what_it_has(void **state)
{
    struct cloudevent_fields f = plain();
    f.traceid = f.traceparent = S("00-new");
    f.tracestate = S("new=1");
    check_str(wrapped(S("{\"type\" : \"mine\", \"data\": {\"x\" : 1e2},\"topic\":\"theirs\","
                        "\"pubsubname\":null,\"source\":null,\"ext\":[1, 2],\"id\":\"7\","
                        "\"\\u0061b\":\"<\",\"time\":\"then\"}"),
                      &f),
              S("{\"ab\":\"<\",\"data\":{\"x\" : 1e2},\"ext\":[1, 2],\"id\":\"7\","
                "\"pubsubname\":\"pubsub\",\"source\":\"Dapr\",\"specversion\":\"1.0\","
                "\"time\":\"then\",\"topic\":\"orders\",\"traceid\":\"00-new\","
                "\"traceparent\":\"00-new\",\"tracestate\":\"new=1\",\"type\":\"mine\"}"),
              "kept");

    f.expiration = S("2030-01-01T00:00:00Z");
    check_str(wrapped(S("{\"traceid\":\"old\",\"traceparent\":\"older\",\"tracestate\":\"s\","
                        "\"a\":1,\"a\":2}"),
                      &f),
              S("{\"a\":2,\"expiration\":\"2030-01-01T00:00:00Z\",\"id\":\"id-1\","
                "\"pubsubname\":\"pubsub\",\"source\":\"Dapr\",\"specversion\":\"1.0\","
                "\"time\":\"2026-01-02T03:04:05+01:00\",\"topic\":\"orders\",\"traceid\":\"old\","
                "\"traceparent\":\"older\",\"tracestate\":\"s\",\"type\":\"com.dapr.event.sent\"}"),
              "traced already");

    check_str(wrapped(S("{\"traceparent\":\"older\"}"), &f),
              S("{\"expiration\":\"2030-01-01T00:00:00Z\",\"id\":\"id-1\","
                "\"pubsubname\":\"pubsub\",\"source\":\"Dapr\",\"specversion\":\"1.0\","
                "\"time\":\"2026-01-02T03:04:05+01:00\",\"topic\":\"orders\","
                "\"traceid\":\"00-new\",\"traceparent\":\"00-new\",\"tracestate\":\"new=1\","
                "\"type\":\"com.dapr.event.sent\"}"),
              "traceparent without traceid is overwritten");
}

static void what_is_no_object_is_refused_in_gos_words(void **state)
{
    static const struct {
        const char *body, *want;
    } row[] = {
        { "{oops", "invalid character 'o' looking for beginning of object key string" },
        { "", "unexpected end of JSON input" },
        { "[1]", "json: cannot unmarshal array into Go value of type map[string]interface {}" },
        { "\"s\"", "json: cannot unmarshal string into Go value of type map[string]interface {}" },
    };
    for (size_t i = 0; i < COUNT(row); i++) {
        struct cloudevent_fields f = plain();
        struct error err = { 0 };
        struct cloudevent ce;
        buf_clear(&out);
        assert_int_equal(cloudevent_wrap(str_c(row[i].body), &f, &arena, &out, &err), -INVALID);
        assert_string_equal(err.text, row[i].want);
        assert_int_equal(cloudevent_read(str_c(row[i].body), &arena, &ce, NULL), -INVALID);
    }
}

static void an_event_with_too_many_members_is_refused(void **state)
{
    AUTO(buf_done) struct buf body;
    buf_init(&body, KIB(64));
    buf_put(&body, S("{\"a\":0"));
    for (int i = 0; i < 1000; i++)
        buf_printf(&body, ",\"k%d\":1", i);
    buf_putc(&body, '}');
    struct cloudevent_fields f = plain();
    struct error err = { 0 };
    buf_clear(&out);
    assert_int_equal(cloudevent_wrap(buf_str(&body), &f, &arena, &out, &err), -EXHAUSTED);
    assert_non_null(strstr(err.text, "send less"));
}

static struct cloudevent event(str text)
{
    struct cloudevent ce;
    struct error err = { 0 };
    if (cloudevent_read(text, &arena, &ce, &err))
        fail_msg("%s", err.text);
    return ce;
}

static void fields_are_read_back(void **state)
{
    struct cloudevent_fields f = plain();
    f.datacontenttype = S("application/json");
    f.data = S("{\"a\":[true]}");
    f.subject = S("quoted \"subject\"\n");
    f.tracestate = S("k=v");
    struct cloudevent ce = event(built(&f));
    check_str(ce.id, f.id, "id");
    check_str(ce.source, f.source, "source");
    check_str(ce.type, S("com.dapr.event.sent"), "type");
    check_str(ce.specversion, S("1.0"), "specversion");
    check_str(ce.datacontenttype, f.datacontenttype, "datacontenttype");
    check_str(ce.topic, f.topic, "topic");
    check_str(ce.pubsubname, f.pubsubname, "pubsubname");
    check_str(ce.subject, f.subject, "subject");
    check_str(ce.time, f.time, "time");
    check_str(ce.tracestate, f.tracestate, "tracestate");
    check_str(ce.expiration, S(""), "expiration");
    check_str(ce.data.raw, f.data, "data");
    assert_int_equal(ce.data_base64.type, JSON_NONE);
    assert_int_equal(ce.root.type, JSON_OBJECT);

    ce = event(S("{\"id\":5,\"type\":null,\"sourc\\u0065\":\"x\"}"));
    check_str(ce.id, S(""), "a number is no id");
    check_str(ce.type, S(""), "null");
    check_str(ce.source, S("x"), "escaped key");
}

static void payload_comes_out_as_a_grpc_app_gets_it(void **state)
{
    static const struct {
        const char *text, *want;
        int code;
    } row[] = {
        { "{\"data_base64\":\"cHJvYQ==\"}", "proa", 0 },
        { "{\"data_base64\":\"\"}", "", 0 },
        { "{\"data_base64\":\"cHJv\\u0059Q==\"}", "proa", 0 },
        { "{\"data_base64\":\"?\"}", NULL, -INVALID },
        { "{\"data_base64\":7}", NULL, -INVALID },
        { "{\"datacontenttype\":\"text/plain\",\"data\":\"a\\nb\"}", "a\nb", 0 },
        { "{\"datacontenttype\":\"application/xml; q=1\",\"data\":\"<a/>\"}", "<a/>", 0 },
        { "{\"datacontenttype\":\"text/plain\",\"data\":{}}", NULL, -INVALID },
        { "{\"datacontenttype\":\"application/json\",\"data\":{ \"a\":1}}", "{ \"a\":1}", 0 },
        { "{\"datacontenttype\":\"application/json\",\"data\":\"s\"}", "\"s\"", 0 },
        { "{\"datacontenttype\":\"application/cloudevents+json\",\"data\":[1]}", "[1]", 0 },
        { "{\"datacontenttype\":\"application/json\",\"data\":null}", "", 0 },
        { "{\"datacontenttype\":\"image/png\",\"data\":\"x\"}", "", 0 },
        { "{\"data\":\"x\"}", "", 0 },
        { "{}", "", 0 },
    };
    for (size_t i = 0; i < COUNT(row); i++) {
        struct cloudevent ce = event(str_c(row[i].text));
        str got = S("canary");
        if (cloudevent_data(&ce, &arena, &got) != row[i].code)
            fail_msg("%s: wrong code", row[i].text);
        check_str(got, row[i].want ? str_c(row[i].want) : S("canary"), row[i].text);
    }
}

static void expiry_is_strict_and_lenient_to_nonsense(void **state)
{
    uint64_t now = 0;
    assert_true(clock_parse_rfc3339(S("2026-01-02T00:00:00Z"), &now));
    static const struct {
        const char *expiration;
        bool expired;
    } row[] = {
        { "2026-01-01T23:59:59Z", true },
        { "2026-01-02T00:00:00Z", false },
        { "2026-01-02T00:00:01Z", false },
        { "2026-01-02T00:30:00+01:00", true },
        { "2026-01-01T23:30:00-01:00", false },
        { "tomorrow", false },
        { "", false },
    };
    for (size_t i = 0; i < COUNT(row); i++) {
        struct cloudevent ce = { .expiration = str_c(row[i].expiration) };
        check_that(cloudevent_expired(&ce, now) == row[i].expired, row[i].expiration);
    }
}

static void extensions_are_all_but_seven(void **state)
{
    static const struct {
        const char *key;
        bool extension;
    } row[] = {
        { "\"id\"", false },         { "\"source\"", false },
        { "\"type\"", false },       { "\"specversion\"", false },
        { "\"data\"", false },       { "\"data_base64\"", false },
        { "\"topic\"", true },       { "\"datacontenttype\"", false },
        { "\"mine\"", true },        { "\"d\\u0061ta\"", false },
        { "\"traceparent\"", true }, { "\"subject\"", true },
    };
    for (size_t i = 0; i < COUNT(row); i++) {
        struct json key;
        assert_int_equal(json_parse(str_c(row[i].key), &key, NULL), 0);
        check_that(cloudevent_is_extension(key) == row[i].extension, row[i].key);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(envelope_is_sorted_and_complete),
        cmocka_unit_test(data_goes_where_its_type_says),
        cmocka_unit_test(raw_payload_leaves_out_what_is_empty),
        cmocka_unit_test(extra_attributes_find_their_place),
        cmocka_unit_test(too_many_attributes_are_refused),
        cmocka_unit_test(a_clients_event_keeps_what_it_has),
        cmocka_unit_test(what_is_no_object_is_refused_in_gos_words),
        cmocka_unit_test(an_event_with_too_many_members_is_refused),
        cmocka_unit_test(fields_are_read_back),
        cmocka_unit_test(payload_comes_out_as_a_grpc_app_gets_it),
        cmocka_unit_test(expiry_is_strict_and_lenient_to_nonsense),
        cmocka_unit_test(extensions_are_all_but_seven),
    };
    return cmocka_run_group_tests_name("cloudevent", tests, start, finish);
}
