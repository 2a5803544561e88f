#include "block/app/channel.h"
#include "fixture.h"
#include "http/grpc.h"
#include "test/unit/http/harness.h"

static char seen_bin[64], seen_parent[64], seen_state[64], seen_path[64];

/* An app that takes everything, and remembers the trace that came along. */
CO static void app_handle(void *arg, struct http_exchange *x)
{
    const struct http_headers *h = &x->req.headers;
    str message;
    snprintf(seen_path, sizeof seen_path, STR_FMT, STR_ARG(x->req.path));
    snprintf(seen_bin, sizeof seen_bin, STR_FMT, STR_ARG(http_headers_get(h, S("grpc-trace-bin"))));
    snprintf(seen_parent, sizeof seen_parent, STR_FMT,
             STR_ARG(http_headers_get(h, S("traceparent"))));
    snprintf(seen_state, sizeof seen_state, STR_FMT, STR_ARG(http_headers_get(h, S("tracestate"))));
    CHECK(grpc_recv(x, MIB(1), &message) >= 0);
    CHECK_OK(grpc_send(x, S("")));
    CHECK_OK(grpc_finish(x, OK, S(""), S(""), NULL));
}

static void tell_event(struct app *app, const char *parent, const char *state)
{
    struct arena arena;
    struct error err = { 0 };
    enum event_verdict verdict;
    int http = 0;
    static const str EVENT = { "{\"id\":\"1\",\"data\":1,\"datacontenttype\":\"application/json\"}",
                               56 };
    struct pubsub_message m = { .topic = S("t"), .data = EVENT };
    struct cloudevent ce;
    arena_init(&arena, MIB(8));
    CHECK_OK(cloudevent_read(EVENT, &arena, &ce, &err), "%s", err.text);
    struct app_event e = { S("/t"), S("t"), S("bus"), &m, EVENT, &ce, { { 0 }, { 0 } } };
    trace_read(&e.trace, str_c(parent), str_c(state));
    CHECK_OK(app->channel->event(app, &e, &arena, &verdict, &http, &err), "%s", err.text);
    CHECK_EQ(verdict, EVENT_SUCCESS);
    arena_done(&arena);
}

TEST_LOOP(an_app_gets_the_trace_of_an_event_in_binary_too)
{
    static const char PARENT[] = "00-404142434445464748494a4b4c4d4e4f-6162636465666768-01";
    struct http_server_config config = { .h2 = true, .max_header_bytes = 8192 };
    struct http_server *server = harness_open(app_handle, NULL, &config);
    struct app_config c = { .app_id = "me",
                            .host = "127.0.0.1",
                            .port = http_server_port(server),
                            .protocol = "grpc",
                            .max_header_bytes = 4096 };
    struct app *app = NULL;
    struct error err = { 0 };
    REQUIRE(app_new(&c, &app, &err) == 0, "%s", err.text);
    tell_event(app, PARENT, "a=b");
    CHECK_TEXT(seen_path, "/dapr.proto.runtime.v1.AppCallback/OnTopicEvent");
    CHECK_TEXT(seen_bin, "AABAQUJDREVGR0hJSktMTU5PAWFiY2RlZmdoAgE");
    CHECK_TEXT(seen_parent, PARENT);
    CHECK_TEXT(seen_state, "a=b");
    tell_event(app, "", "");
    CHECK_TEXT(seen_bin, "", "without a trace there is none");
    harness_client_free(TAKE(app->client));
    app_free(app);
    (void)harness_close(server, SEC(5));
}
