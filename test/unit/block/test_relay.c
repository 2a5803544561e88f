#include "block/core/relay.h"
#include "test/unit/http/harness.h"

#include <stdio.h>

/* A front door whose handler relays to .address once, or as often as .tries says. */
struct front {
    struct http_server *server;
    struct http_client *client;
    const char *address;
    char own[64];
    int tries;
    int result; /* of the last try */
    struct error err;
    bool whole;
};

CO static void front_handle(void *arg, struct http_exchange *x)
{
    struct front *f = arg;
    struct relay r;
    struct http_request req = x->req;
    http_headers_remove(&req.headers, S("content-length"));
    http_headers_remove(&req.headers, S("expect"));
    http_headers_strip_hop(&req.headers);
    f->err = (struct error){ 0 };
    int code = relay_init(&r, x, &f->err);
    f->whole = r.whole;
    for (int i = 0; code >= 0 && i < (f->tries ? f->tries : 1); i++) {
        struct guard_attempt attempt = { .number = (unsigned)i };
        f->err = (struct error){ 0 };
        f->result = relay_try(&r, f->client, f->address, &req, &attempt, &f->err);
        if (f->result >= 0 || attempt.fatal)
            break;
    }
    if (code >= 0 && r.answer.source)
        code = relay_answer(&r, &f->err);
    else if (code >= 0)
        code = f->result;
    relay_done(&r);
    if (code < 0 && !x->started)
        (void)http_reply(x, 502, NULL, str_c(f->err.text));
}

static void front_open(struct front *f, const char *address)
{
    *f = (struct front){ .address = address };
    f->client = http_client_new(&(struct http_client_config){ .max_header_bytes = 4096 });
    struct http_server_config config = { .max_body_bytes = 100000 };
    f->server = harness_open(front_handle, f, &config);
    snprintf(f->own, sizeof f->own, "127.0.0.1:%u", http_server_port(f->server));
}

static void front_close(struct front *f)
{
    (void)harness_close(f->server, SEC(5));
    harness_client_free(f->client);
}

static bool has(str s, const char *what)
{
    return str_contains(s, str_c(what));
}

static const char GET[] = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

TEST_LOOP(answers_of_the_app_pass_or_become_an_error)
{
    static const struct {
        const char *name, *reply, *want, *never;
    } row[] = {
        { "small", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A: b\r\n\r\nhello", "X-A: b", "502" },
        { "empty", "HTTP/1.1 204 No Content\r\n\r\n", "HTTP/1.1 204", "502" },
        { "chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
          "abc", "502" },
        { "to the end", "HTTP/1.1 200 OK\r\n\r\nuntil the end", "until the end", "502" },
        { "interim answers first",
          "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 "
          "OK\r\nContent-Length: 2\r\n\r\nok",
          "\r\n\r\nok", "103" },
        { "hop-by-hop fields",
          "HTTP/1.1 200 OK\r\nConnection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nContent-Length: "
          "2\r\n\r\nok",
          "\r\n\r\nok", "X-Hop" },
        { "error status", "HTTP/1.1 500 No\r\nContent-Length: 4\r\n\r\nboom", "boom", "502" },
        { "odd status", "HTTP/1.1 599 Odd\r\nContent-Length: 1\r\n\r\nx", "HTTP/1.1 599", "502" },
        { "redirect", "HTTP/1.1 302 Go\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n",
          "Location: /x", "502" },
        { "garbage", "what?\r\n\r\n", "HTTP/1.1 502", "what" },
        { "cut off in the head", "HTTP/1.1 200 OK\r\nContent-", "HTTP/1.1 502", "200 OK" },
        { "cut off in a small body", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
          "HTTP/1.1 502", "abc" },
        { "nothing", NULL, "HTTP/1.1 502", "200 OK" },
        { "two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
          "HTTP/1.1 502", "200 OK" },
        { "a status of two digits", "HTTP/1.1 99 No\r\n\r\n", "HTTP/1.1 502", " 99 " },
    };
    struct arena a;
    arena_init(&a, MIB(64));
    EACH (row, r) {
        struct script s = { .reply = { r->reply, r->reply, r->reply, r->reply }, .close = true };
        struct front f;
        script_open(&s);
        front_open(&f, listener_address(s.listener));
        str got = harness_talk(f.own, str_c(GET), 0, &a);
        CHECK(has(got, r->want), "%s: %.*s", r->name, STR_ARG(got));
        CHECK(!has(got, r->never), "%s: %.*s", r->name, STR_ARG(got));
        front_close(&f);
        script_close(&s);
    }
    arena_done(&a);
}

TEST_LOOP(a_large_answer_that_is_cut_off_is_cut_off_for_the_caller)
{
    static char reply[40000];
    int n = snprintf(reply, sizeof reply, "HTTP/1.1 200 OK\r\nContent-Length: 90000\r\n\r\n");
    memset(reply + n, 'x', sizeof reply - (size_t)n - 1);
    struct script s = { .reply = { reply }, .close = true };
    struct front f;
    struct arena a;
    arena_init(&a, MIB(64));
    script_open(&s);
    front_open(&f, listener_address(s.listener));
    str got = harness_talk(f.own, str_c(GET), 0, &a);
    CHECK(has(got, "Content-Length: 90000"));
    CHECK(got.n < 50000, "the rest never came, and the connection ended");
    front_close(&f);
    script_close(&s);
    arena_done(&a);
}

TEST_LOOP(a_head_answer_has_no_body)
{
    struct script s = { .reply = { "HTTP/1.1 200 OK\r\nContent-Length: 20\r\nX-H: 1\r\n\r\n" } };
    struct front f;
    struct arena a;
    arena_init(&a, MIB(1));
    script_open(&s);
    front_open(&f, listener_address(s.listener));
    str got =
        harness_talk(f.own, S("HEAD / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"), 0, &a);
    CHECK(has(got, "HTTP/1.1 200") && has(got, "X-H: 1"), "%.*s", STR_ARG(got));
    CHECK(str_ends(got, S("\r\n\r\n")), "%.*s", STR_ARG(got));
    front_close(&f);
    script_close(&s);
    arena_done(&a);
}

static str post(struct arena *a, size_t n, bool chunked)
{
    char *p = arena_alloc(a, n + 300);
    REQUIRE(p);
    int head = chunked ? snprintf(p, 300,
                                  "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                                  "Transfer-Encoding: chunked\r\n\r\n%zx\r\n",
                                  n)
                       : snprintf(p, 300,
                                  "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                                  "Content-Length: %zu\r\n\r\n",
                                  n);
    memset(p + head, 'b', n);
    size_t len = (size_t)head + n;
    if (chunked) {
        memcpy(p + len, "\r\n0\r\n\r\n", 7);
        len += 7;
    }
    return str_of(p, len);
}

TEST_LOOP(only_whole_bodies_are_sent_again)
{
    static const struct {
        const char *name;
        size_t n;
        bool chunked, again;
    } row[] = {
        { "none", 0, false, true },
        { "small", 100, false, true },
        { "at the limit", 16384, false, true },
        { "over it", 16385, false, false },
        { "chunked", 100, true, false },
    };
    EACH (row, r) {
        struct arena a;
        arena_init(&a, MIB(64));
        struct script s = { .reply = { "HTTP/1.1 500 No\r\nConnection: close\r\n"
                                       "Content-Length: 0\r\n\r\n",
                                       "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nyes" },
                            .close = true };
        struct front f;
        script_open(&s);
        front_open(&f, listener_address(s.listener));
        f.tries = 2;
        str got = harness_talk(f.own, post(&a, r->n, r->chunked), 0, &a);
        CHECK_EQ(f.whole, r->again, "%s", r->name);
        CHECK_EQ(s.n_conns, r->again ? 2 : 1, "%s", r->name);
        CHECK(has(got, r->again ? "yes" : "HTTP/1.1 500"), "%s: %.*s", r->name, STR_ARG(got));
        front_close(&f);
        script_close(&s);
        arena_done(&a);
    }
}

/* A peer that reads whatever comes and never answers. */
CO static void swallow(void *arg)
{
    AUTO(stream_closep) struct stream *s = arg;
    char bytes[4096];
    while (stream_read(s, bytes, sizeof bytes) > 0)
        ;
}

static void on_swallow(void *arg, struct stream *s)
{
    REQUIRE(fiber_spawn("swallow", swallow, s));
}

static struct listener *silent_open(void)
{
    struct listener *l;
    struct error err = { 0 };
    REQUIRE(listener_open("127.0.0.1:0", on_swallow, NULL, &l, &err) == 0, "%s", err.text);
    return l;
}

/* The app waits for the rest of a body that never comes: its caller must hear of it at once. */
TEST_LOOP(a_body_that_goes_wrong_ends_the_call)
{
    static const struct {
        const char *name, *body, *want;
    } row[] = {
        { "bad chunk size",
          "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
          "5\r\nhello\r\nzz\r\n",
          "could not be read" },
        { "over the limit", NULL, "over the limit" },
    };
    EACH (row, r) {
        struct arena a;
        arena_init(&a, MIB(64));
        struct listener *silent = silent_open();
        struct front f;
        front_open(&f, listener_address(silent));
        str text = r->body ? str_c(r->body) : post(&a, 200000, true);
        str got = harness_talk(f.own, text, 0, &a);
        CHECK(has(got, "HTTP/1.1 502") && has(got, r->want), "%s: %.*s", r->name,
              STR_ARG(str_take(got, 300)));
        front_close(&f);
        listener_close(silent);
        arena_done(&a);
    }
}

TEST_LOOP(an_early_answer_does_not_wait_for_the_upload)
{
    struct script s = { .reply = { "HTTP/1.1 413 No\r\nContent-Length: 5\r\n\r\nlarge" } };
    struct front f;
    struct arena a;
    arena_init(&a, MIB(1));
    script_open(&s);
    front_open(&f, listener_address(s.listener));
    AUTO(stream_closep) struct stream *c = harness_dial(f.own);
    CHECK_OK(
        stream_write(c, S("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 90000\r\n\r\nfirst")));
    str got = harness_read_until(c, "large", &a);
    CHECK(has(got, "HTTP/1.1 413"), "%.*s", STR_ARG(got));
    stream_close(TAKE(c));
    front_close(&f);
    script_close(&s);
    arena_done(&a);
}

TEST_LOOP(a_caller_that_leaves_takes_the_call_along)
{
    struct listener *silent = silent_open();
    struct front f;
    front_open(&f, listener_address(silent));
    struct stream *c = harness_dial(f.own);
    CHECK_OK(
        stream_write(c, S("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 90000\r\n\r\nfirst")));
    while (!http_server_active(f.server))
        fiber_yield();
    stream_close(c);
    DEADLINE(SEC(10));
    while (http_server_active(f.server))
        REQUIRE(fiber_sleep(MS(1)) == 0);
    CHECK(f.result < 0);
    front_close(&f);
    listener_close(silent);
}
