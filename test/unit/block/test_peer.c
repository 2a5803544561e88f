#include "block/call/frames.h"
#include "block/call/invoke.h"
#include "block/call/peer.h"
#include "fixture.h"
#include "http/grpc.h"
#include "internals.pb-c.h"
#include "test/unit/http/harness.h"

/* A sidecar's internal port, and a door whose handler calls it as one sidecar calls another. */
struct pair {
    struct fixture f;
    struct http_server *internal, *door;
    struct http_client *grpc, *http;
    char internal_address[64], door_address[64];
    bool direct;
    int result;
    struct error err;
};

CO static void door_handle(void *arg, struct http_exchange *x)
{
    struct pair *p = arg;
    struct relay r;
    struct http_request req = x->req;
    struct guard_attempt attempt = { 0 };
    p->err = (struct error){ 0 };
    p->direct = false;
    http_headers_strip_hop(&req.headers);
    int code = relay_init(&r, x, &p->err);
    if (code >= 0)
        code = p->result =
            peer_try(&r, p->grpc, p->internal_address, &req, &p->direct, &attempt, &p->err);
    if (r.answer.source)
        code = relay_answer(&r, &p->err);
    relay_done(&r);
    if (code < 0 && !x->started)
        (void)http_reply(x, 502, NULL, str_c(p->err.text));
}

static void pair_open(struct pair *p)
{
    struct http_server_config internal = { .h2 = true, .max_header_bytes = 8192 };
    *p = (struct pair){ 0 };
    fixture_open(&p->f, NULL);
    p->internal = harness_open(api_handle_internal, p->f.api, &internal);
    p->door = harness_open(door_handle, p, NULL);
    snprintf(p->internal_address, 64, "127.0.0.1:%u", http_server_port(p->internal));
    snprintf(p->door_address, 64, "127.0.0.1:%u", http_server_port(p->door));
    p->grpc = http_client_new(&(struct http_client_config){ .h2 = true });
    p->http = http_client_new(&(struct http_client_config){ 0 });
}

static void pair_close(struct pair *p)
{
    harness_client_free(p->http);
    (void)harness_close(p->door, SEC(5));
    harness_client_free(p->grpc);
    (void)harness_close(p->internal, SEC(5));
    fixture_close(&p->f);
}

/* Headers that the next call has besides X-Mine. */
static struct kvs more_headers;

static int call(struct pair *p, const char *verb, const char *target, str body, str *ret,
                struct http_headers *ret_headers)
{
    struct http_call *c;
    struct error err = { 0 };
    const struct http_response *res;
    struct http_request req = { .method = str_c(verb),
                                .target = str_c(target),
                                .content_length = (int64_t)body.n };
    http_headers_init(&req.headers, &p->f.arena);
    REQUIRE(http_headers_add(&req.headers, S("X-Mine"), S("1")) == 0);
    for (size_t i = 0; i < more_headers.n; i++)
        REQUIRE(http_headers_add(&req.headers, more_headers.v[i].key, more_headers.v[i].value) ==
                0);
    REQUIRE(http_call_start(p->http, p->door_address, &req, body, true, &c, &err) == 0, "%s",
            err.text);
    REQUIRE(http_call_response(c, &res, &err) == 0, "%s", err.text);
    int status = res->status;
    str got = S("");
    CHECK_OK(http_call_read_all(c, MIB(8), &got));
    *ret = arena_dup(&p->f.arena, got);
    if (ret_headers) {
        http_headers_init(ret_headers, &p->f.arena);
        for (size_t i = 0; i < res->headers.n; i++)
            (void)http_headers_add(ret_headers, arena_dup(&p->f.arena, res->headers.v[i].name),
                                   arena_dup(&p->f.arena, res->headers.v[i].value));
    }
    http_call_free(c);
    return status;
}

TEST_LOOP(a_call_arrives_as_it_was_made)
{
    struct pair p;
    str got;
    struct http_headers h;
    pair_open(&p);
    p.f.status = 201;
    p.f.body = "answer";
    CHECK_EQ(call(&p, "PUT", "/a/b%20c?x=%3F", S("body"), &got, &h), 201);
    CHECK_STR(got, "answer");
    CHECK(p.direct, "a Proa says that it is one");
    CHECK_STR(p.f.seen_body, "body");
    CHECK_STR(p.f.seen_target, "/a/b%20c?x=%3F");
    CHECK_STR(http_headers_get(&p.f.seen, S("x-mine")), "1");
    CHECK(!http_headers_has(&h, S("proa-direct")), "that's between sidecars");
    pair_close(&p);
}

/* The metadata of the last gRPC call, and what it is passed on to. */
static struct pair *listening;
static char seen_bin[64], seen_parent[64], seen_state[64];

CO static void listen_in(void *arg, struct http_exchange *x)
{
    const struct http_headers *h = &x->req.headers;
    snprintf(seen_bin, sizeof seen_bin, STR_FMT, STR_ARG(http_headers_get(h, S("grpc-trace-bin"))));
    snprintf(seen_parent, sizeof seen_parent, STR_FMT,
             STR_ARG(http_headers_get(h, S("traceparent"))));
    snprintf(seen_state, sizeof seen_state, STR_FMT, STR_ARG(http_headers_get(h, S("tracestate"))));
    api_handle_internal(listening->f.api, x);
}

TEST_LOOP(the_calls_metadata_have_the_trace_in_binary_too)
{
    static const char PARENT[] = "00-404142434445464748494a4b4c4d4e4f-6162636465666768-01";
    struct kv h[] = { { S("traceparent"), str_c(PARENT) }, { S("tracestate"), S("a=b") } };
    struct http_server_config config = { .h2 = true, .max_header_bytes = 8192 };
    struct pair p;
    str got;
    pair_open(&p);
    struct http_server *ear = harness_open(listen_in, NULL, &config);
    snprintf(p.internal_address, 64, "127.0.0.1:%u", http_server_port(ear));
    listening = &p;
    more_headers = (struct kvs){ h, 2 };
    CHECK_EQ(call(&p, "GET", "/m", S(""), &got, NULL), 200);
    more_headers = (struct kvs){ 0 };
    CHECK_TEXT(seen_bin, "AABAQUJDREVGR0hJSktMTU5PAWFiY2RlZmdoAgE");
    CHECK_TEXT(seen_parent, PARENT);
    CHECK_TEXT(seen_state, "a=b");
    CHECK_STR(http_headers_get(&p.f.seen, S("traceparent")), PARENT);
    CHECK_EQ(call(&p, "GET", "/m", S(""), &got, NULL), 200);
    CHECK_TEXT(seen_bin, "", "without a trace there is none");
    pair_close(&p);
    (void)harness_close(ear, SEC(5));
}

static void echo(struct fixture *f, struct http_exchange *x)
{
    CHECK_OK(http_reply_start(x, 200, NULL, -1));
    str chunk;
    int r;
    while ((r = http_read(x, &chunk)) > 0)
        CHECK_OK(http_reply_write(x, chunk));
    CHECK_OK(r);
    CHECK_OK(http_reply_end(x, NULL));
}

TEST_LOOP(bodies_of_any_size_stream_both_ways)
{
    static const size_t sizes[] = { 0, 1, 2047, 2048, 2049, 16384, 16385, 300000 };
    struct pair p;
    pair_open(&p);
    p.f.handle = echo;
    static char body[300000];
    for (size_t i = 0; i < sizeof body; i++)
        body[i] = (char)('a' + i % 23);
    EACH (sizes, n) {
        str got;
        CHECK_EQ(call(&p, "POST", "/echo", str_of(body, *n), &got, NULL), 200);
        CHECK(str_eq(got, str_of(body, *n)), "%zu bytes, got %zu", *n, got.n);
    }
    pair_close(&p);
}

TEST_LOOP(failure_statuses_are_answers)
{
    static const int statuses[] = { 204, 302, 400, 404, 418, 500, 503, 599 };
    struct pair p;
    pair_open(&p);
    EACH (statuses, s) {
        str got;
        p.f.status = *s;
        p.f.body = *s == 204 ? "" : "why";
        CHECK_EQ(call(&p, "GET", "/", S(""), &got, NULL), *s);
        CHECK_STR(got, p.f.body);
        CHECK_EQ(p.result<0, *s> 399);
    }
    pair_close(&p);
}

static void silent(struct fixture *f, struct http_exchange *x)
{
}

/* Headers in a frame that is gone when they are sent. */
__attribute__((noinline)) static void begin_reply(struct http_exchange *x)
{
    char name[16], value[16];
    snprintf(name, sizeof name, "x-%s", "local");
    snprintf(value, sizeof value, "%d", 42);
    struct http_headers h;
    http_headers_init(&h, x->arena);
    CHECK_OK(http_headers_add(&h, str_c(name), str_c(value)));
    CHECK_OK(http_reply_start(x, 200, &h, -1));
}

static void in_steps(struct fixture *f, struct http_exchange *x)
{
    begin_reply(x);
    CHECK_OK(http_reply_write(x, S("x")));
    CHECK_OK(http_reply_end(x, NULL));
}

TEST_LOOP(an_app_without_an_answer_is_an_error)
{
    struct pair p;
    str got;
    struct http_headers h;
    pair_open(&p);
    p.f.handle = silent;
    CHECK_EQ(call(&p, "GET", "/", S(""), &got, NULL), 502);
    CHECK(p.result < 0);
    p.f.handle = in_steps;
    CHECK_EQ(call(&p, "GET", "/", S(""), &got, &h), 200);
    CHECK_STR(http_headers_get(&h, S("x-local")), "42");
    p.f.b.app = NULL;
    CHECK_EQ(call(&p, "GET", "/", S(""), &got, NULL), 502);
    CHECK(str_contains(got, S("app channel is not initialized")), "%.*s", STR_ARG(got));
    p.f.b.app = p.f.app;
    pair_close(&p);
}

/* ---- a peer that doesn't keep the rules ---- */

static enum code ask(struct pair *p, const char *method, const str *message, size_t n,
                     struct frame_response *ret)
{
    struct http_call *c;
    struct error err = { 0 };
    struct grpc_status status = { 0 };
    str path = arena_printf(&p->f.arena, "/" INTERNAL_SERVICE "/%s", method), got;
    REQUIRE(grpc_call_start(p->grpc, p->internal_address, S("x"), path, NULL, UINT64_MAX, &c,
                            &err) == 0,
            "%s", err.text);
    int r = 0;
    for (size_t i = 0; i < n && r == 0; i++)
        r = grpc_call_send(c, message[i], i + 1 == n);
    *ret = (struct frame_response){ 0 };
    while ((r = grpc_call_recv(c, MIB(4), &got)) > 0)
        if (!ret->has_response && frame_unpack_response(got, &p->f.arena, ret) < 0)
            CHECK(str_starts(str_c(method), S("CallLocal")));
    CHECK_OK(grpc_call_status(c, &status));
    http_call_free(c);
    return status.code;
}

static str request_frame(struct pair *p, const char *verb, str data, uint64_t seq)
{
    struct buf out;
    struct http_request req = { .method = str_c(verb), .target = S("/m"), .content_length = -1 };
    http_headers_init(&req.headers, &p->f.arena);
    REQUIRE(http_headers_add(&req.headers, S("a"), S("b")) == 0);
    buf_init(&out, MIB(1));
    REQUIRE(frame_pack_request(verb ? &req : NULL, data, seq, &p->f.arena, &out) == 0);
    str copy = arena_dup(&p->f.arena, buf_str(&out));
    buf_done(&out);
    return copy;
}

TEST_LOOP(peers_that_break_the_rules_get_an_error)
{
    struct pair p;
    struct frame_response f;
    pair_open(&p);
    str good = request_frame(&p, "POST", S("x"), 0), more = request_frame(&p, NULL, S("y"), 1);
    str none = (str){ 0 };
    const struct {
        const char *name, *method;
        str m[3];
        size_t n;
        enum code want;
    } row[] = {
        { "all is well", "CallLocalStream", { good, more }, 2, OK },
        { "nothing", "CallLocalStream", { none }, 0, INVALID },
        { "payload first", "CallLocalStream", { request_frame(&p, NULL, S("x"), 0) }, 1, INVALID },
        { "first number isn't 0",
          "CallLocalStream",
          { request_frame(&p, "POST", S("x"), 1) },
          1,
          INVALID },
        { "verb NONE", "CallLocalStream", { request_frame(&p, "ODD", S(""), 0) }, 1, INVALID },
        { "CONNECT", "CallLocalStream", { request_frame(&p, "CONNECT", S(""), 0) }, 1, INVALID },
        { "garbage", "CallLocalStream", { S("\xff\xff\xff") }, 1, INVALID },
        { "empty message", "CallLocalStream", { S("") }, 1, INVALID },
        { "empty unary", "CallLocal", { S("") }, 1, INVALID },
        { "unknown method", "CallActor", { good }, 1, UNIMPLEMENTED },
    };
    EACH (row, r) {
        if (!r->n) /* grpc_call_send() of nothing half-closes nothing */
            continue;
        CHECK_EQ(ask(&p, r->method, r->m, r->n, &f), r->want, "%s", r->name);
    }
    str twice[] = { good, good };
    CHECK(ask(&p, "CallLocalStream", twice, 2, &f) != OK || !f.has_response || f.status != 200);
    str gap[] = { good, request_frame(&p, NULL, S("y"), 2) };
    CHECK(ask(&p, "CallLocalStream", gap, 2, &f) != OK || !f.has_response || f.status != 200);
    pair_close(&p);
}

static str unary(struct pair *p, const char *body)
{
    Dapr__Proto__Internals__V1__InternalInvokeRequest r =
        DAPR__PROTO__INTERNALS__V1__INTERNAL_INVOKE_REQUEST__INIT;
    Dapr__Proto__Common__V1__InvokeRequest m = DAPR__PROTO__COMMON__V1__INVOKE_REQUEST__INIT;
    Dapr__Proto__Common__V1__HTTPExtension x = DAPR__PROTO__COMMON__V1__HTTPEXTENSION__INIT;
    Dapr__Proto__Internals__V1__MetadataEntry e = DAPR__PROTO__INTERNALS__V1__METADATA_ENTRY__INIT;
    Dapr__Proto__Internals__V1__MetadataEntry *entries[] = { &e };
    Google__Protobuf__Any any = GOOGLE__PROTOBUF__ANY__INIT;
    any.value = (ProtobufCBinaryData){ strlen(body), (uint8_t *)body };
    e.key = "k";
    x.verb = DAPR__PROTO__COMMON__V1__HTTPEXTENSION__VERB__POST;
    m.method = "unary";
    m.http_extension = &x;
    m.data = &any;
    r.message = &m;
    r.metadata = entries;
    r.n_metadata = 1;
    size_t n = protobuf_c_message_get_packed_size(&r.base);
    uint8_t *wire = arena_alloc(&p->f.arena, n);
    protobuf_c_message_pack(&r.base, wire);
    return str_of(wire, n);
}

TEST_LOOP(the_unary_call_has_the_same_errors)
{
    struct pair p;
    struct frame_response f;
    pair_open(&p);
    str m = unary(&p, "hello");
    p.f.body = "back";
    CHECK_EQ(ask(&p, "CallLocal", &m, 1, &f), OK);
    CHECK_STR(p.f.seen_body, "hello");
    CHECK_STR(p.f.seen_target, "/unary");
    p.f.handle = silent;
    CHECK_EQ(ask(&p, "CallLocal", &m, 1, &f), INTERNAL, "no answer isn't an empty 200");
    pair_close(&p);
}

TEST_LOOP(plain_http_on_the_internal_port_needs_to_name_its_app)
{
    struct pair p;
    struct arena a;
    arena_init(&a, MIB(16));
    pair_open(&p);
    p.f.body = "mine";
    str got = harness_talk(p.internal_address,
                           S("GET /x HTTP/1.1\r\nHost: x\r\nproa-direct: me\r\nConnection: "
                             "close\r\n\r\n"),
                           0, &a);
    CHECK(str_contains(got, S("HTTP/1.1 200")) && str_ends(got, S("mine")));
    got = harness_talk(p.internal_address,
                       S("GET /x HTTP/1.1\r\nHost: x\r\nproa-direct: you\r\nConnection: "
                         "close\r\n\r\n"),
                       0, &a);
    CHECK(str_contains(got, S("HTTP/1.1 421")) && str_contains(got, S("proa-direct: me")), "%.*s",
          STR_ARG(got));
    got = harness_talk(p.internal_address,
                       S("GET /x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"), 0, &a);
    CHECK(str_contains(got, S("HTTP/1.1 415")), "%.*s", STR_ARG(got));
    pair_close(&p);
    arena_done(&a);
}
