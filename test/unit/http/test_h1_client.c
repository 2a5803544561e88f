#include "harness.h"

#include "fiber/sync.h"

#include <stdatomic.h>

static void handle(void *arg, struct http_exchange *x)
{
    (void)arg;
    str body = S("");
    if (str_eq(x->req.path, S("/early"))) { /* answers before it has read anything */
        (void)http_reply(x, 403, NULL, S("no"));
        return;
    }
    if (str_eq(x->req.path, S("/hang"))) {
        (void)fiber_sleep(SEC(30));
        return;
    }
    if (str_eq(x->req.path, S("/duplex"))) { /* echoes piece by piece */
        CHECK_OK(http_reply_start(x, 200, NULL, -1));
        while (http_read(x, &body) == 1)
            CHECK_OK(http_reply_write(x, body));
        CHECK_OK(http_reply_end(x, NULL));
        return;
    }
    if (http_read_all(x, MIB(8), &body) < 0)
        return;
    struct http_headers h;
    http_headers_init(&h, x->arena);
    CHECK_OK(http_headers_add(&h, S("X-Host"), x->req.authority));
    CHECK_OK(http_headers_add(&h, S("X-Method"), x->req.method));
    (void)http_reply(x, 200, &h, body);
}

struct fixture {
    struct http_server *server;
    struct http_client *client;
    const char *address;
};

static struct fixture open_fixture(const struct http_client_config *config)
{
    struct fixture f = { .server = harness_open(handle, NULL, NULL) };
    f.client = http_client_new(config ? config : &(struct http_client_config){ 0 });
    REQUIRE(f.client);
    f.address = http_server_address(f.server);
    return f;
}

static void close_fixture(struct fixture *f)
{
    harness_client_free(f->client);
    CHECK_EQ(harness_close(f->server, SEC(5)), 0);
}

static struct http_request request(const char *method, const char *target)
{
    return (struct http_request){ .method = str_c(method),
                                  .target = str_c(target),
                                  .content_length = -1 };
}

/* A whole call; 0 or the first failure. */
static int call(struct http_client *c, const char *address, const struct http_request *req,
                str body, int *ret_status, char *ret_body, size_t cap, bool *ret_reused)
{
    AUTO(http_call_freep) struct http_call *call = NULL;
    const struct http_response *res;
    str got;
    int r = http_call_start(c, address, req, body, true, &call, NULL);
    if (r == 0)
        r = http_call_response(call, &res, NULL);
    if (r == 0)
        r = http_call_read_all(call, cap - 1, &got);
    if (r < 0)
        return r;
    *ret_status = res->status;
    memcpy(ret_body, got.p, got.n);
    ret_body[got.n] = 0;
    if (ret_reused)
        *ret_reused = http_call_reused(call);
    return 0;
}

TEST_LOOP(calls_share_a_kept_connection)
{
    struct fixture f = open_fixture(NULL);
    for (int i = 0; i < 3; i++) {
        char body[64];
        int status = 0;
        bool reused = false;
        struct http_request req = request("POST", "/echo");
        CHECK_OK(call(f.client, f.address, &req, S("hello"), &status, body, sizeof body, &reused));
        CHECK_EQ(status, 200);
        CHECK_TEXT(body, "hello");
        CHECK_EQ(reused, i > 0);
    }
    close_fixture(&f);
}

TEST_LOOP(host_is_the_authority_or_the_address)
{
    struct fixture f = open_fixture(NULL);
    struct http_request req = request("GET", "/");
    for (int i = 0; i < 2; i++) {
        AUTO(http_call_freep) struct http_call *call = NULL;
        const struct http_response *res;
        req.authority = i ? S("example.com") : S("");
        CHECK_OK(http_call_start(f.client, f.address, &req, S(""), true, &call, NULL));
        CHECK_OK(http_call_response(call, &res, NULL));
        CHECK_STR(http_headers_get(&res->headers, S("x-host")), i ? "example.com" : f.address);
    }
    close_fixture(&f);
}

TEST_LOOP(streamed_upload_is_chunked_or_counted)
{
    struct fixture f = open_fixture(NULL);
    for (int i = 0; i < 2; i++) {
        AUTO(http_call_freep) struct http_call *call = NULL;
        struct http_request req = request("POST", "/echo");
        req.content_length = i ? 9 : -1;
        CHECK_OK(http_call_start(f.client, f.address, &req, S("one"), false, &call, NULL));
        CHECK_OK(http_call_write(call, S("two")));
        CHECK_OK(http_call_write(call, S("")));
        CHECK_EQ(http_call_end(call, NULL), i ? -PRECONDITION : 0);
        if (i)
            CHECK_EQ(http_call_write(call, S("four")), -PRECONDITION);
        if (i) {
            CHECK_OK(http_call_write(call, S("six")));
            CHECK_OK(http_call_end(call, NULL));
        }
        str got = S("");
        CHECK_OK(http_call_read_all(call, 100, &got));
        CHECK_STR(got, i ? "onetwosix" : "onetwo");
    }
    close_fixture(&f);
}

TEST_LOOP(upload_and_answer_may_overlap)
{
    struct fixture f = open_fixture(NULL);
    AUTO(http_call_freep) struct http_call *call = NULL;
    struct http_request req = request("POST", "/duplex");
    CHECK_OK(http_call_start(f.client, f.address, &req, S("a"), false, &call, NULL));
    for (int i = 0; i < 5; i++) {
        str got;
        CHECK_EQ(http_call_read(call, &got), 1);
        CHECK_STR(got, i ? "b" : "a");
        CHECK_OK(http_call_write(call, S("b")));
    }
    CHECK_OK(http_call_end(call, NULL));
    str got;
    CHECK_EQ(http_call_read(call, &got), 1);
    CHECK_EQ(http_call_read(call, &got), 0);
    CHECK_EQ(http_call_read(call, &got), 0);
    http_call_free(TAKE(call));
    close_fixture(&f);
}

TEST_LOOP(early_answer_is_read_while_uploading)
{
    struct fixture f = open_fixture(NULL);
    AUTO(http_call_freep) struct http_call *call = NULL;
    struct http_request req = request("POST", "/early");
    CHECK_OK(http_call_start(f.client, f.address, &req, S("a"), false, &call, NULL));
    const struct http_response *res;
    CHECK_OK(http_call_response(call, &res, NULL));
    CHECK_EQ(res->status, 403);
    http_call_free(TAKE(call));
    close_fixture(&f);
}

TEST_LOOP(deadline_ends_the_wait)
{
    struct fixture f = open_fixture(NULL);
    AUTO(http_call_freep) struct http_call *call = NULL;
    struct http_request req = request("GET", "/hang");
    CHECK_OK(http_call_start(f.client, f.address, &req, S(""), true, &call, NULL));
    const struct http_response *res = NULL;
    struct error err = { 0 };
    {
        DEADLINE(MS(20));
        CHECK_EQ(http_call_response(call, &res, &err), -TIMEOUT);
    }
    CHECK_EQ(err.code, TIMEOUT);
    http_call_free(TAKE(call)); /* the server's handler is cancelled by that */
    close_fixture(&f);
}

struct elsewhere {
    struct fixture *f;
    int r;
    bool reused;
};

static void call_here(void *arg)
{
    struct elsewhere *e = arg;
    char body[64];
    int status;
    struct http_request req = request("POST", "/echo");
    e->r = call(e->f->client, e->f->address, &req, S("x"), &status, body, sizeof body, &e->reused);
}

static void call_on_the_other_worker(void *arg)
{
    CHECK_OK(worker_run(worker_at(1), "call", call_here, arg));
}

TEST_LOOP(each_worker_has_a_pool_of_its_own)
{
    struct fixture f = open_fixture(NULL);
    struct elsewhere e = { .f = &f };
    call_here(&e);
    CHECK_OK(e.r);
    for (int i = 0; i < 2; i++) {
        CHECK_OK(blocking(call_on_the_other_worker, &e));
        CHECK_OK(e.r);
        CHECK_EQ(e.reused, i);
    }
    close_fixture(&f); /* closes both */
}

struct many {
    struct fixture *f;
    struct wait_group group;
    int ok;
};

static void one_of_many(void *arg)
{
    struct many *m = arg;
    char body[64];
    int status;
    struct http_request req = request("POST", "/echo");
    m->ok += call(m->f->client, m->f->address, &req, S("x"), &status, body, sizeof body, NULL) == 0;
    wait_group_done(&m->group);
}

TEST_LOOP(callers_queue_at_the_connection_limit)
{
    struct http_client_config config = { .max_conns = 2 };
    struct fixture f = open_fixture(&config);
    struct many m = { .f = &f };
    wait_group_init(&m.group);
    for (int i = 0; i < 50; i++) {
        wait_group_add(&m.group);
        REQUIRE(fiber_spawn("one", one_of_many, &m));
    }
    CHECK_OK(wait_group_wait(&m.group));
    CHECK_EQ(m.ok, 50);
    close_fixture(&f);
}

TEST_LOOP(nobody_there_is_unavailable)
{
    struct fixture f = open_fixture(NULL);
    struct script s = { .reply = { "" } };
    script_open(&s);
    char address[ADDRESS_MAX];
    snprintf(address, sizeof address, "%s", listener_address(s.listener));
    script_close(&s);
    struct http_call *call = NULL;
    struct http_request req = request("GET", "/");
    struct error err = { 0 };
    CHECK_EQ(http_call_start(f.client, address, &req, S(""), true, &call, &err), -UNAVAILABLE);
    CHECK(str_contains(str_c(err.text), str_c(address)), "%s", err.text);
    CHECK(!call);
    close_fixture(&f);
}

/* ---- against a scripted peer ---- */

static const struct answer {
    const char *name, *reply;
    bool close;
    const char *method;
    int want; /* status, or a failure */
    const char *body;
} answers[] = {
    { "length", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", false, "GET", 200, "hi" },
    { "chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", false,
      "GET", 200, "hi" },
    { "to the end", "HTTP/1.1 200 OK\r\n\r\nhi", true, "GET", 200, "hi" },
    { "1.0 to the end", "HTTP/1.0 200 OK\r\n\r\nhi", true, "GET", 200, "hi" },
    { "interim answers are passed over",
      "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
      "HTTP/1.1 404 Not Found\r\nContent-Length: 1\r\n\r\nx",
      false, "GET", 404, "x" },
    { "HEAD has no body", "HTTP/1.1 200 OK\r\nContent-Length: 200\r\n\r\n", false, "HEAD", 200,
      "" },
    { "204 has no body", "HTTP/1.1 204 No Content\r\n\r\n", false, "GET", 204, "" },
    { "304 has no body", "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", false, "GET",
      304, "" },
    { "cut short", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhi", true, "GET", -UNAVAILABLE },
    { "cut chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhi", true, "GET",
      -UNAVAILABLE },
    { "no last chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n", true,
      "GET", -UNAVAILABLE },
    { "cut head", "HTTP/1.1 200 OK\r\nContent-Le", true, "GET", -UNAVAILABLE },
    { "no answer", "", true, "GET", -UNAVAILABLE },
    { "garbage", "hello\r\n\r\n", true, "GET", -INVALID },
    { "two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx", false,
      "GET", -INVALID },
    { "bad chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", false, "GET",
      -INVALID },
};

TEST_LOOP(answers_of_all_kinds)
{
    struct http_client *c = http_client_new(&(struct http_client_config){ 0 });
    EACH (answers, a) {
        struct script s = { .reply = { a->reply, a->reply, a->reply, a->reply },
                            .close = a->close };
        script_open(&s);
        char body[64] = "";
        int status = 0;
        bool reused;
        struct http_request req = request(a->method, "/");
        int r =
            call(c, listener_address(s.listener), &req, S(""), &status, body, sizeof body, &reused);
        CHECK_EQ(r < 0 ? r : status, a->want, "%s", a->name);
        if (a->want > 0)
            CHECK_TEXT(body, a->body, "%s", a->name);
        if (a->want > 0 && !a->close) { /* and the connection is good for another one */
            CHECK_OK(call(c, listener_address(s.listener), &req, S(""), &status, body, sizeof body,
                          &reused),
                     "%s", a->name);
            CHECK(reused, "%s", a->name);
        }
        script_close(&s);
    }
    harness_client_free(c);
}

TEST_LOOP(trailers_are_shown_after_the_end)
{
    struct http_client *c = http_client_new(&(struct http_client_config){ 0 });
    struct script s = { .reply = { "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                                   "2\r\nhi\r\n0\r\nX-Sum: 7\r\n\r\n" } };
    script_open(&s);
    struct http_call *call = NULL;
    struct http_request req = request("GET", "/");
    CHECK_OK(http_call_start(c, listener_address(s.listener), &req, S(""), true, &call, NULL));
    CHECK(!http_call_trailers(call));
    str got;
    CHECK_OK(http_call_read_all(call, 10, &got));
    REQUIRE(http_call_trailers(call));
    CHECK_STR(http_headers_get(http_call_trailers(call), S("x-sum")), "7");
    http_call_free(call);
    script_close(&s);
    harness_client_free(c);
}

/* The first connection answers once and dies on the second request without a word. */
static void second_on_a_dying_connection(const char *method, int want, size_t want_conns)
{
    static const char ok[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
    struct http_client *c = http_client_new(&(struct http_client_config){ 0 });
    struct script s = { .reply = { ok, ok } };
    script_open(&s);
    char body[64];
    int status;
    bool reused;
    struct http_request req = request(method, "/");
    CHECK_OK(call(c, listener_address(s.listener), &req, S(""), &status, body, sizeof body, NULL));
    s.reply[0] = NULL; /* too late for the first connection's index, so: */
    s.close = true;
    s.reply[1] = ok;
    int r = call(c, listener_address(s.listener), &req, S(""), &status, body, sizeof body, &reused);
    CHECK_EQ(r, want, "%s", method);
    CHECK_EQ(s.n_conns, want_conns, "%s", method);
    script_close(&s);
    harness_client_free(c);
}

TEST_LOOP(kept_connection_that_died_is_replaced_once)
{
    second_on_a_dying_connection("GET", 0, 2);
    second_on_a_dying_connection("POST", -UNAVAILABLE, 1);
}

TEST_LOOP(fields_that_would_split_the_request_are_refused)
{
    struct fixture f = open_fixture(NULL);
    struct arena arena;
    arena_init(&arena, KIB(64));
    static const struct {
        const char *name, *method, *target, *field, *value;
    } row[] = {
        { "method", "GE T", "/", "A", "b" },
        { "target", "GET", "/ HTTP/1.1\r\nX: ", "A", "b" },
        { "empty target", "GET", "", "A", "b" },
        { "name", "GET", "/", "A:", "b" },
        { "value", "GET", "/", "A", "b\r\nX: y" },
    };
    EACH (row, r) {
        struct http_request req = request(r->method, r->target);
        http_headers_init(&req.headers, &arena);
        CHECK_OK(http_headers_add(&req.headers, str_c(r->field), str_c(r->value)));
        struct http_call *call = NULL;
        CHECK_EQ(http_call_start(f.client, f.address, &req, S(""), true, &call, NULL), -INVALID,
                 "%s", r->name);
    }
    arena_done(&arena);
    close_fixture(&f);
}

TEST_LOOP(each_failing_allocation_is_survived)
{
    struct http_server *server = harness_open(handle, NULL, NULL);
    FAIL_EACH_ALLOC(n)
    {
        struct http_client *c = http_client_new(&(struct http_client_config){ 0 });
        if (!c)
            continue;
        char body[64];
        int status = 0;
        struct http_request req = request("POST", "/echo");
        int r = call(c, http_server_address(server), &req, S("hello"), &status, body, sizeof body,
                     NULL);
        CHECK(r == -EXHAUSTED || r == -UNAVAILABLE || (r == 0 && (status == 200 || status >= 400)),
              "allocation %zu: %d, %d", n, r, status);
        harness_client_free(c);
    }
    CHECK_EQ(harness_close(server, SEC(5)), 0);
}
