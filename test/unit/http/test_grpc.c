#include "harness.h"

#include "http/grpc.h"

static void finish(struct http_exchange *x, enum code code, const char *message)
{
    CHECK_OK(grpc_finish(x, code, str_c(message), S(""), NULL));
}

/* Echoes each message; its path says how it ends. */
static void handle(void *arg, struct http_exchange *x)
{
    (void)arg;
    str service, method, message;
    CHECK(grpc_is_request(&x->req));
    REQUIRE(grpc_split_path(x->req.path, &service, &method));
    if (str_eq(method, S("Nothing"))) {
        finish(x, NOT_FOUND, "50% of\n\xc3\xa9");
        return;
    }
    if (str_eq(method, S("Only"))) { /* trailers only, as other servers write it */
        struct http_headers h;
        http_headers_init(&h, x->arena);
        CHECK_OK(http_headers_add(&h, S("content-type"), S("application/grpc")));
        CHECK_OK(http_headers_add(&h, S("grpc-status"), S("9")));
        CHECK_OK(http_headers_add(&h, S("grpc-message"), S("a%20b%zz")));
        CHECK_OK(http_reply(x, 200, &h, S("")));
        return;
    }
    if (str_eq(method, S("Page"))) {
        (void)http_reply(x, 503, NULL, S("<html>"));
        return;
    }
    int r;
    while ((r = grpc_recv(x, KIB(256), &message)) == 1)
        CHECK_OK(grpc_send(x, message));
    if (r < 0) {
        finish(x, (enum code) - r, "bad message");
        return;
    }
    struct http_headers trailers;
    http_headers_init(&trailers, x->arena);
    CHECK_OK(http_headers_add(&trailers, S("x-extra"), S("1")));
    CHECK_OK(grpc_finish(x, str_eq(method, S("Fail")) ? ABORTED : OK, S("done"), S("\1\2\3\4"),
                         &trailers));
}

struct fixture {
    struct http_server *server;
    struct http_client *client;
};

static struct fixture open_fixture(void)
{
    struct http_server_config config = { .h2_only = true };
    struct fixture f = { .server = harness_open(handle, NULL, &config) };
    f.client = http_client_new(&(struct http_client_config){ .h2 = true });
    REQUIRE(f.client);
    return f;
}

static void close_fixture(struct fixture *f)
{
    harness_client_free(f->client);
    CHECK_EQ(harness_close(f->server, SEC(5)), 0);
}

static struct http_call *start(struct fixture *f, const char *path, uint64_t timeout_ns)
{
    struct http_call *call = NULL;
    struct error err = { 0 };
    REQUIRE(grpc_call_start(f->client, http_server_address(f->server), S(""), str_c(path), NULL,
                            timeout_ns, &call, &err) == 0,
            "%s", err.text);
    return call;
}

TEST_LOOP(unary_call_brings_message_status_and_details)
{
    struct fixture f = open_fixture();
    AUTO(http_call_freep) struct http_call *call = start(&f, "/a.B/Fail", SEC(5));
    str message;
    struct grpc_status status;
    CHECK_OK(grpc_call_send(call, S("hello"), true));
    CHECK_EQ(grpc_call_recv(call, 100, &message), 1);
    CHECK_STR(message, "hello");
    CHECK_EQ(grpc_call_recv(call, 100, &message), 0);
    CHECK_OK(grpc_call_status(call, &status));
    CHECK_EQ(status.code, ABORTED);
    CHECK_STR(status.message, "done");
    CHECK_STR(status.details, "\1\2\3\4");
    CHECK_STR(http_headers_get(http_call_trailers(call), S("x-extra")), "1");
    http_call_free(TAKE(call));
    close_fixture(&f);
}

TEST_LOOP(stream_of_messages_of_all_sizes)
{
    struct fixture f = open_fixture();
    AUTO(http_call_freep) struct http_call *call = start(&f, "/a.B/Echo", UINT64_MAX);
    static char block[256 << 10];
    for (size_t i = 0; i < sizeof block; i++)
        block[i] = (char)(i % 251);
    static const size_t sizes[] = {
        0, 1, 4, 5, 16383, 16384, 65530, 65535, 65536, 200000, 262144, 3
    };
    EACH (sizes, n) {
        str message = S("");
        CHECK_OK(grpc_call_send(call, str_of(block, *n), false));
        CHECK_EQ(grpc_call_recv(call, sizeof block, &message), 1, "%zu", *n);
        CHECK(str_eq(message, str_of(block, *n)), "%zu", *n);
    }
    for (int i = 0; i < 100; i++)
        CHECK_OK(grpc_call_send(call, str_of(block, (size_t)i), false));
    CHECK_OK(grpc_call_send(call, S("last"), true));
    str message;
    for (int i = 0; i < 100; i++) {
        CHECK_EQ(grpc_call_recv(call, 1000, &message), 1);
        CHECK_EQ(message.n, i);
    }
    CHECK_EQ(grpc_call_recv(call, 1000, &message), 1);
    CHECK_EQ(grpc_call_recv(call, 1000, &message), 0);
    struct grpc_status status;
    CHECK_OK(grpc_call_status(call, &status));
    CHECK_EQ(status.code, OK);
    http_call_free(TAKE(call));
    close_fixture(&f);
}

TEST_LOOP(messages_over_the_limit_are_exhausted)
{
    struct fixture f = open_fixture();
    static char block[300 << 10];
    struct grpc_status status;
    str message;
    struct http_call *call = start(&f, "/a.B/Echo", UINT64_MAX);
    (void)!grpc_call_send(call, str_of(block, sizeof block), true); /* may be cut short */
    CHECK_EQ(grpc_call_recv(call, 100, &message), 0);
    CHECK_OK(grpc_call_status(call, &status));
    CHECK_EQ(status.code, EXHAUSTED);
    http_call_free(call);
    call = start(&f, "/a.B/Echo", UINT64_MAX);
    CHECK_OK(grpc_call_send(call, S("hello"), true));
    CHECK_EQ(grpc_call_recv(call, 4, &message), -EXHAUSTED);
    http_call_free(call);
    close_fixture(&f);
}

TEST_LOOP(trailers_only_answer_is_a_status)
{
    struct fixture f = open_fixture();
    struct grpc_status status;
    str message;
    struct http_call *call = start(&f, "/a.B/Only", UINT64_MAX);
    CHECK_EQ(grpc_call_recv(call, 100, &message), 0);
    CHECK_OK(grpc_call_status(call, &status));
    CHECK_EQ(status.code, PRECONDITION);
    CHECK_STR(status.message, "a b%zz");
    http_call_free(call);
    close_fixture(&f);
}

TEST_LOOP(answer_without_messages_keeps_its_text)
{
    struct fixture f = open_fixture();
    struct grpc_status status;
    str message;
    struct http_call *call = start(&f, "/a.B/Nothing", UINT64_MAX);
    CHECK_EQ(grpc_call_recv(call, 100, &message), 0);
    CHECK_OK(grpc_call_status(call, &status));
    CHECK_EQ(status.code, NOT_FOUND);
    CHECK_STR(status.message, "50% of\n\xc3\xa9");
    http_call_free(call);
    close_fixture(&f);
}

TEST_LOOP(page_of_a_proxy_becomes_a_status)
{
    struct fixture f = open_fixture();
    struct grpc_status status;
    str message;
    struct http_call *call = start(&f, "/a.B/Page", UINT64_MAX);
    CHECK_EQ(grpc_call_recv(call, 100, &message), 0);
    CHECK_OK(grpc_call_status(call, &status));
    CHECK_EQ(status.code, UNAVAILABLE);
    http_call_free(call);
    close_fixture(&f);
}

TEST_LOOP(bad_frames_are_refused)
{
    static const struct {
        const char *name;
        str body;
        enum code want;
    } row[] = {
        { "cut prefix", S("\0\0\0"), INTERNAL },
        { "cut message", S("\0\0\0\0\5hell"), INTERNAL },
        { "no message behind the prefix", S("\0\0\0\0\5"), INTERNAL },
        { "compressed", S("\1\0\0\0\1x"), UNIMPLEMENTED },
        { "unknown flag", S("\2\0\0\0\1x"), INTERNAL },
        { "huge", S("\0\xff\xff\xff\xffx"), EXHAUSTED },
        { "good", S("\0\0\0\0\1x"), OK },
        { "none", S(""), OK },
    };
    struct fixture f = open_fixture();
    EACH (row, r) {
        struct http_call *call = start(&f, "/a.B/Echo", UINT64_MAX);
        struct grpc_status status = { 0 };
        CHECK_OK(http_call_write(call, r->body));
        CHECK_OK(http_call_end(call, NULL));
        CHECK_OK(grpc_call_status(call, &status), "%s", r->name);
        CHECK_EQ(status.code, r->want, "%s", r->name);
        http_call_free(call);
    }
    close_fixture(&f);
}

TEST(timeouts_parse_or_are_refused)
{
    static const struct {
        const char *text;
        bool ok;
        uint64_t ns;
    } row[] = {
        { "1n", true, 1 },         { "100u", true, 100000 },
        { "250m", true, MS(250) }, { "3S", true, SEC(3) },
        { "2M", true, SEC(120) },  { "1H", true, SEC(3600) },
        { "0m", true, 0 },         { "99999999H", true, UINT64_MAX - 1 },
        { "", false, 0 },          { "1", false, 0 },
        { "m", false, 0 },         { "1s", false, 0 },
        { "-1m", false, 0 },       { "123456789n", false, 0 },
        { "1 m", false, 0 },
    };
    struct arena arena;
    arena_init(&arena, KIB(64));
    EACH (row, r) {
        struct http_headers h;
        http_headers_init(&h, &arena);
        CHECK_OK(http_headers_add(&h, S("Grpc-Timeout"), str_c(r->text)));
        uint64_t ns = 4711;
        CHECK_EQ(grpc_timeout(&h, &ns), r->ok, "%s", r->text);
        CHECK_EQ(ns, r->ok ? r->ns : 4711, "%s", r->text);
    }
    struct http_headers none;
    http_headers_init(&none, &arena);
    uint64_t ns;
    CHECK(grpc_timeout(&none, &ns) && ns == UINT64_MAX);
    arena_done(&arena);
}

TEST(paths_split_in_two)
{
    str service, method;
    CHECK(grpc_split_path(S("/a.b.C/D"), &service, &method));
    CHECK_STR(service, "a.b.C");
    CHECK_STR(method, "D");
    CHECK(!grpc_split_path(S("a.C/D"), &service, &method));
    CHECK(!grpc_split_path(S("/a.C"), &service, &method));
    CHECK(!grpc_split_path(S("/a.C/"), &service, &method));
    CHECK(!grpc_split_path(S("//D"), &service, &method));
    CHECK(!grpc_split_path(S("/a/b/c"), &service, &method));
}

TEST(requests_are_told_by_method_and_type)
{
    static const struct {
        const char *method, *type;
        bool want;
    } row[] = {
        { "POST", "application/grpc", true },      { "POST", "application/grpc+proto", true },
        { "POST", "application/grpc;x=y", true },  { "POST", "Application/GRPC", true },
        { "POST", "application/grpc-web", false }, { "POST", "application/json", false },
        { "GET", "application/grpc", false },
    };
    struct arena arena;
    arena_init(&arena, KIB(64));
    EACH (row, r) {
        struct http_request req = { .method = str_c(r->method) };
        http_headers_init(&req.headers, &arena);
        CHECK_OK(http_headers_add(&req.headers, S("content-type"), str_c(r->type)));
        CHECK_EQ(grpc_is_request(&req), r->want, "%s %s", r->method, r->type);
    }
    arena_done(&arena);
}
