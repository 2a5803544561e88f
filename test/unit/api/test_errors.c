#include "api/errors.h"
#include "format/json.h"
#include "http/memory.h"
#include "telemetry/metrics.h"
#include "test/testing.h"

TEST(tags_and_codes_have_the_contracts_status)
{
    static const struct {
        enum code code;
        const char *tag;
        int want;
    } row[] = {
        { INVALID, "ERR_STATE_STORE_NOT_FOUND", 400 },
        { PRECONDITION, "ERR_STATE_STORE_NOT_CONFIGURED", 500 },
        { UNIMPLEMENTED, "ERR_STATE_STORE_NOT_SUPPORTED", 500 },
        { INTERNAL, "ERR_STATE_STORE_NOT_SUPPORTED", 500 },
        { INVALID, "ERR_STATE_STORE_TOO_MANY_TRANSACTIONS", 400 },
        { INVALID, "ERR_NOT_SUPPORTED_STATE_OPERATION", 400 },
        { INTERNAL, "ERR_STATE_GET", 500 },
        { INTERNAL, "ERR_STATE_BULK_GET", 500 },
        { INTERNAL, "ERR_STATE_SAVE", 500 },
        { ABORTED, "ERR_STATE_SAVE", 409 },
        { INVALID, "ERR_STATE_SAVE", 400 },
        { ABORTED, "ERR_STATE_DELETE", 409 },
        { INVALID, "ERR_STATE_DELETE", 400 },
        { INTERNAL, "ERR_STATE_TRANSACTION", 500 },
        { INTERNAL, "ERR_STATE_QUERY", 500 },
        { INVALID, "ERR_MALFORMED_REQUEST", 400 },
        { INVALID, "ERR_PUBSUB_NOT_FOUND", 404 },
        { INVALID, "ERR_PUBSUB_EMPTY", 404 },
        { INVALID, "ERR_TOPIC_NAME_EMPTY", 404 },
        { PRECONDITION, "ERR_PUBSUB_NOT_CONFIGURED", 400 },
        { DENIED, "ERR_PUBSUB_FORBIDDEN", 403 },
        { INTERNAL, "ERR_PUBSUB_PUBLISH_MESSAGE", 500 },
        { INVALID, "ERR_PUBSUB_REQUEST_METADATA", 400 },
        { INVALID, "ERR_PUBSUB_CLOUD_EVENTS_SER", 500 },
        { INVALID, "ERR_PUBSUB_EVENTS_SER", 400 },
        { PRECONDITION, "ERR_SECRET_STORES_NOT_CONFIGURED", 500 },
        { INVALID, "ERR_SECRET_STORE_NOT_FOUND", 401 },
        { DENIED, "ERR_PERMISSION_DENIED", 403 },
        { INTERNAL, "ERR_SECRET_GET", 500 },
        { INTERNAL, "ERR_INVOKE_OUTPUT_BINDING", 500 },
        { NOT_FOUND, "ERR_INVOKE_OUTPUT_BINDING", 500 },
        { NOT_FOUND, "ERR_DIRECT_INVOKE", 404 },
        { DENIED, "ERR_DIRECT_INVOKE", 403 },
        { INVALID, "ERR_DIRECT_INVOKE", 500 },
        { UNAVAILABLE, "ERR_DIRECT_INVOKE", 500 },
        { TIMEOUT, "ERR_DIRECT_INVOKE", 500 },
        { INTERNAL, "ERR_HEALTH_NOT_READY", 500 },
        { INTERNAL, "ERR_HEALTH_APPID_NOT_MATCH", 500 },
        { INTERNAL, "ERR_OUTBOUND_HEALTH_NOT_READY", 500 },
        /* without a tag: the code's own */
        { CANCELLED, NULL, 408 },
        { UNKNOWN, NULL, 500 },
        { INVALID, NULL, 400 },
        { TIMEOUT, NULL, 504 },
        { NOT_FOUND, NULL, 404 },
        { EXISTS, NULL, 409 },
        { DENIED, NULL, 403 },
        { EXHAUSTED, NULL, 429 },
        { PRECONDITION, NULL, 400 },
        { ABORTED, NULL, 409 },
        { RANGE, NULL, 400 },
        { UNIMPLEMENTED, NULL, 501 },
        { INTERNAL, NULL, 500 },
        { UNAVAILABLE, NULL, 503 },
        { DATA_LOSS, NULL, 500 },
        { UNAUTHENTICATED, NULL, 401 },
    };
    EACH (row, r) {
        struct error err = { .code = r->code, .tag = r->tag };
        CHECK_EQ(error_http_status(&err), r->want, "%s %s", code_name(r->code),
                 r->tag ? r->tag : "");
        err.http = 507;
        CHECK_EQ(error_http_status(&err), 507);
    }
}

static void body_is(const struct error *err, const char *want)
{
    struct buf out;
    struct json v;
    buf_init(&out, KIB(64));
    error_http_body(err, &out);
    CHECK_STR(buf_str(&out), want);
    CHECK_OK(json_parse(buf_str(&out), &v, NULL));
    buf_done(&out);
}

TEST(bodies_have_the_details_in_the_contracts_order)
{
    struct error err = { 0 };
    fail(&err, INTERNAL, "ERR_SECRET_GET", "a <b> & \"c\"");
    body_is(&err, "{\"errorCode\":\"ERR_SECRET_GET\",\"message\":\"a \\u003cb\\u003e \\u0026 "
                  "\\\"c\\\"\"}");

    err = (struct error){ 0 };
    fail(&err, INVALID, "ERR_PUBSUB_FORBIDDEN", "no");
    fail_reason(&err, "DAPR_PUBSUB_FORBIDDEN", "pubsub", S("p"));
    fail_meta(&err, "topic", S("t"));
    body_is(
        &err,
        "{\"errorCode\":\"ERR_PUBSUB_FORBIDDEN\",\"message\":\"no\",\"details\":[{\"@type\":"
        "\"type.googleapis.com/google.rpc.ResourceInfo\",\"resource_type\":\"pubsub\",\"resource_"
        "name\":\"p\",\"owner\":\"\",\"description\":\"no\"},{\"@type\":\"type.googleapis.com/"
        "google.rpc.ErrorInfo\",\"reason\":\"DAPR_PUBSUB_FORBIDDEN\",\"domain\":\"dapr.io\","
        "\"metadata\":{\"topic\":\"t\"}}]}");

    err = (struct error){ 0 };
    fail(&err, INVALID, "ERR_MALFORMED_REQUEST", "no");
    fail_reason(&err, "DAPR_STATE_ILLEGAL_KEY", "state", S("s"));
    snprintf(err.violation, sizeof err.violation, "a||b");
    body_is(
        &err,
        "{\"errorCode\":\"ERR_MALFORMED_REQUEST\",\"message\":\"no\",\"details\":[{\"@type\":"
        "\"type.googleapis.com/google.rpc.BadRequest\",\"field_violations\":[{\"field\":\"a||b\","
        "\"description\":\"no\"}]},{\"@type\":\"type.googleapis.com/google.rpc.ResourceInfo\","
        "\"resource_type\":\"state\",\"resource_name\":\"s\",\"owner\":\"\",\"description\":\"\"}"
        ",{\"@type\":\"type.googleapis.com/google.rpc.ErrorInfo\",\"reason\":\"DAPR_STATE_ILLEGAL"
        "_KEY\",\"domain\":\"dapr.io\",\"metadata\":null}]}");

    err = (struct error){ 0 };
    fail(&err, UNIMPLEMENTED, "ERR_X", "no");
    fail_reason(&err, "R", "state", S("s"));
    err.help_url = "u";
    err.help_text = "h";
    body_is(&err,
            "{\"errorCode\":\"ERR_X\",\"message\":\"no\",\"details\":[{\"@type\":"
            "\"type.googleapis.com/google.rpc.Help\",\"links\":[{\"description\":\"h\",\"url\":"
            "\"u\"}]},{\"@type\":\"type.googleapis.com/google.rpc.ResourceInfo\",\"resource_type"
            "\":\"state\",\"resource_name\":\"s\",\"owner\":\"\",\"description\":\"\"},{\"@type"
            "\":\"type.googleapis.com/google.rpc.ErrorInfo\",\"reason\":\"R\",\"domain\":"
            "\"dapr.io\",\"metadata\":null}]}");
}

TEST(without_a_tag_the_reason_names_the_error)
{
    struct error err = { .code = INTERNAL, .reason = "DAPR_R", .text = "x" };
    struct buf out;
    buf_init(&out, KIB(4));
    error_http_body(&err, &out);
    CHECK(str_starts(buf_str(&out), S("{\"errorCode\":\"DAPR_R\"")));
    buf_clear(&out);
    err.reason = NULL;
    error_http_body(&err, &out);
    CHECK_STR(buf_str(&out), "{\"errorCode\":\"ERR_INTERNAL\",\"message\":\"x\"}");
    buf_done(&out);
}

static int reply(const struct error *err, bool started, bool *ret_aborted)
{
    struct arena a;
    struct http_memory m;
    struct http_request req = { .method = S("GET"), .target = S("/"), .path = S("/") };
    arena_init(&a, MIB(1));
    http_memory_init(&m, &req, S(""), &a, KIB(64));
    if (started)
        CHECK_OK(http_reply_start(&m.x, 200, NULL, -1));
    reply_error(&m.x, err);
    int status = m.x.status;
    *ret_aborted = m.aborted;
    if (!started)
        CHECK_STR(http_headers_get(&m.reply_headers, S("content-type")), "application/json");
    http_memory_done(&m);
    arena_done(&a);
    return status;
}

TEST_CO(an_error_without_a_story_is_never_a_success)
{
    bool aborted;
    struct error err = { 0 };
    CHECK_EQ(reply(&err, false, &aborted), 429);
    CHECK(!aborted);
    fail(&err, NOT_FOUND, NULL, "x");
    CHECK_EQ(reply(&err, false, &aborted), 404);
    CHECK_EQ(reply(&err, true, &aborted), 200);
    CHECK(aborted, "a reply that has begun is broken off");
}

static bool counted(const char *line)
{
    struct buf out;
    buf_init(&out, MIB(4));
    metrics_write(&out);
    bool found = str_contains(buf_str(&out), str_c(line));
    buf_done(&out);
    return found;
}

TEST_CO(errors_are_counted_only_where_the_configuration_says_so)
{
    static const struct {
        const char *tag, *category;
    } row[] = {
        { "ERR_STATE_GET", "state" },          { "ERR_NOT_SUPPORTED_STATE_OPERATION", "state" },
        { "ERR_PUBSUB_EMPTY", "pubsub" },      { "ERR_TOPIC_NAME_EMPTY", "pubsub" },
        { "ERR_SECRET_GET", "secret" },        { "ERR_DIRECT_INVOKE", "service-invocation" },
        { "ERR_HEALTH_NOT_READY", "health" },  { "ERR_INVOKE_OUTPUT_BINDING", "binding" },
        { "ERR_MALFORMED_REQUEST", "common" },
    };
    bool aborted;
    EACH (row, r) {
        char line[200];
        struct error err = { .code = INTERNAL, .tag = r->tag };
        snprintf(line, sizeof line, "error_code=\"%s\",category=\"%s\"} 1\n", r->tag, r->category);
        error_counting(false);
        (void)reply(&err, false, &aborted);
        CHECK(!counted(line), "%s", line);
        error_counting(true);
        (void)reply(&err, false, &aborted);
        CHECK(counted(line), "%s", line);
    }
    error_counting(false);
}
