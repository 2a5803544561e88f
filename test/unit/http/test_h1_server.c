#include "harness.h"

#include "http/server_private.h"

#include <stdatomic.h>
#include <sys/resource.h>
#include <unistd.h>

/* What the handler below did; the tests read it when the exchange has ended. */
static struct {
    atomic_int calls, cancelled, written_kib;
    _Atomic uint64_t body;
    atomic_bool reading;
} seen;

static void reset_seen(void)
{
    seen.calls = seen.cancelled = seen.written_kib = 0;
    seen.body = 0;
    seen.reading = false;
}

static void echo(struct http_exchange *x)
{
    str body;
    int r = http_read_all(x, MIB(8), &body);
    (void)http_reply(x, r == 0 ? 200 : r == -RANGE ? 413 : 400, NULL, r == 0 ? body : S("bad"));
}

static void count_body(struct http_exchange *x)
{
    str piece;
    int r;
    while ((r = http_read(x, &piece)) == 1)
        seen.body += piece.n;
    char text[32];
    snprintf(text, sizeof text, "%llu", (unsigned long long)seen.body);
    (void)http_reply(x, r == 0 ? 200 : 400, NULL, str_c(text));
}

static void stream_reply(struct http_exchange *x)
{
    struct http_headers h, trailers;
    http_headers_init(&h, x->arena);
    http_headers_init(&trailers, x->arena);
    CHECK_OK(http_headers_add(&h, S("X-A"), S("1")));
    CHECK_OK(http_headers_add(&h, S("Connection"), S("X-A")));
    CHECK_OK(http_headers_add(&trailers, S("X-End"), S("2")));
    CHECK_OK(http_reply_start(x, 201, &h, -1));
    CHECK_OK(http_reply_write(x, S("one")));
    CHECK_OK(http_reply_write(x, S("")));
    CHECK_OK(http_reply_write(x, S("three")));
    CHECK_OK(http_reply_end(x, &trailers));
    CHECK_EQ(http_reply_end(x, NULL), -PRECONDITION);
}

/* Waits until it's cancelled. */
static void hang(struct http_exchange *x)
{
    (void)x;
    seen.reading = true;
    if (fiber_sleep(SEC(30)) == -CANCELLED)
        seen.cancelled++;
}

static void flood(struct http_exchange *x)
{
    static char block[64 << 10];
    CHECK_OK(http_reply_start(x, 200, NULL, -1));
    for (int i = 0; i < 16 * 64; i++) {
        if (http_reply_write(x, str_of(block, sizeof block)) < 0)
            return;
        seen.written_kib += 64;
    }
    (void)http_reply_end(x, NULL);
}

static void promise_more(struct http_exchange *x)
{
    CHECK_OK(http_reply_start(x, 200, NULL, 10));
    CHECK_OK(http_reply_write(x, S("abc")));
    CHECK_EQ(http_reply_write(x, S("0123456789")), -RANGE);
    CHECK_EQ(http_reply_end(x, NULL), -PRECONDITION);
}

static void split(struct http_exchange *x)
{
    struct http_headers h;
    http_headers_init(&h, x->arena);
    CHECK_OK(http_headers_add(&h, S("X"), S("a\r\nSet-Cookie: b")));
    CHECK_EQ(http_reply(x, 200, &h, S("")), -INVALID);
    (void)http_reply(x, 500, NULL, S("refused"));
}

/* The head must go out although the first write comes much later. */
static void slow_start(struct http_exchange *x)
{
    CHECK_OK(http_reply_start(x, 200, NULL, -1));
    while (!seen.reading && fiber_sleep(MS(1)) == 0)
        ;
    CHECK_OK(http_reply_write(x, S("late")));
    CHECK_OK(http_reply_end(x, NULL));
}

static void aborted(struct http_exchange *x)
{
    CHECK_OK(http_reply_start(x, 200, NULL, -1));
    CHECK_OK(http_reply_write(x, S("part")));
    http_reply_abort(x);
}

static void describe(struct http_exchange *x)
{
    str text = arena_printf(x->arena, STR_FMT " " STR_FMT " " STR_FMT " " STR_FMT " %d",
                            STR_ARG(x->req.method), STR_ARG(x->req.path), STR_ARG(x->req.query),
                            STR_ARG(x->req.authority), x->version);
    (void)http_reply(x, 200, NULL, text);
}

static void handle(void *arg, struct http_exchange *x)
{
    static const struct {
        str path;
        void (*fn)(struct http_exchange *x);
    } route[] = {
        { S("/echo"), echo },     { S("/count"), count_body }, { S("/stream"), stream_reply },
        { S("/hang"), hang },     { S("/flood"), flood },      { S("/more"), promise_more },
        { S("/split"), split },   { S("/slow"), slow_start },  { S("/abort"), aborted },
        { S("/what"), describe },
    };
    (void)arg;
    seen.calls++;
    for (size_t i = 0; i < COUNT(route); i++)
        if (str_eq(x->req.path, route[i].path)) {
            route[i].fn(x);
            return;
        }
    if (str_eq(x->req.path, S("/ok")))
        (void)http_reply(x, 200, NULL, S("ok"));
    if (str_eq(x->req.path, S("/204")))
        (void)http_reply(x, 204, NULL, S(""));
}

/* One conversation until the server closes; *_date is cut out so that texts compare. */
static str talk(const char *address, str text, size_t step, struct arena *arena)
{
    str got = harness_talk(address, text, step, arena);
    char *p = arena_alloc(arena, got.n + 1);
    size_t n = 0;
    REQUIRE(p);
    while (got.n) {
        ptrdiff_t at = str_find(got, S("Date: "));
        size_t keep = at < 0 ? got.n : (size_t)at;
        memcpy(p + n, got.p, keep);
        n += keep;
        got = str_skip(got,
                       at < 0 ? got.n : keep + strlen("Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"));
    }
    return str_of(p, n);
}

#define HOST "Host: a\r\n"
#define CLOSE "Connection: close\r\n"

static const struct row {
    const char *name;
    str in;
    const char *want;
    bool whole; /* makes no sense byte by byte */
} rows[] = {
    { "get", S("GET /ok HTTP/1.1\r\n" HOST CLOSE "\r\n"),
      "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok" },
    { "1.0", S("GET /ok HTTP/1.0\r\n\r\n"),
      "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok" },
    { "head", S("HEAD /ok HTTP/1.1\r\n" HOST CLOSE "\r\n"),
      "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n" },
    { "204", S("GET /204 HTTP/1.1\r\n" HOST CLOSE "\r\n"),
      "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n" },
    { "no reply", S("GET /none HTTP/1.1\r\n" HOST CLOSE "\r\n"),
      "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" },
    { "parts", S("GET http://b:1/what?x=y HTTP/1.1\r\n" HOST CLOSE "\r\n"),
      "HTTP/1.1 200 OK\r\nContent-Length: 20\r\nConnection: close\r\n\r\nGET /what x=y b:1 11" },
    { "echo", S("POST /echo HTTP/1.1\r\n" HOST CLOSE "Content-Length: 5\r\n\r\nhello"),
      "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello" },
    { "echo chunked",
      S("POST /echo HTTP/1.1\r\n" HOST CLOSE "Transfer-Encoding: chunked\r\n\r\n"
        "3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\nTrailer: x\r\n\r\n"),
      "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello" },
    { "bad chunk",
      S("POST /echo HTTP/1.1\r\n" HOST CLOSE "Transfer-Encoding: chunked\r\n\r\n3\r\nhello"),
      "HTTP/1.1 400 Bad Request\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbad" },
    { "pipelined",
      S("GET /ok HTTP/1.1\r\n" HOST "\r\nPOST /echo HTTP/1.1\r\n" HOST
        "Content-Length: 3\r\n\r\nabcGET /ok HTTP/1.1\r\n" HOST CLOSE "\r\n"),
      "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
      "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"
      "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok" },
    { "unread body is passed over",
      S("POST /ok HTTP/1.1\r\n" HOST "Content-Length: 3\r\n\r\nabcGET /ok HTTP/1.1\r\n" HOST CLOSE
        "\r\n"),
      "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
      "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok" },
    { "large unread body closes",
      S("POST /ok HTTP/1.1\r\n" HOST "Content-Length: 99999\r\n\r\nabc"),
      "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok" },
    { "streamed", S("GET /stream HTTP/1.1\r\n" HOST CLOSE "\r\n"),
      "HTTP/1.1 201 Created\r\nX-A: 1\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
      "3\r\none\r\n5\r\nthree\r\n0\r\nX-End: 2\r\n\r\n" },
    { "streamed to 1.0", S("GET /stream HTTP/1.0\r\n\r\n"),
      "HTTP/1.1 201 Created\r\nX-A: 1\r\nConnection: close\r\n\r\nonethree" },
    { "streamed to HEAD", S("HEAD /stream HTTP/1.1\r\n" HOST CLOSE "\r\n"),
      "HTTP/1.1 201 Created\r\nX-A: 1\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n" },
    { "less than promised", S("GET /more HTTP/1.1\r\n" HOST "\r\n"),
      "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc" },
    { "aborted", S("GET /abort HTTP/1.1\r\n" HOST "\r\n"),
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n" },
    { "split reply", S("GET /split HTTP/1.1\r\n" HOST CLOSE "\r\n"),
      "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 7\r\nConnection: "
      "close\r\n\r\nrefused" },
    { "100-continue, read",
      S("POST /echo HTTP/1.1\r\n" HOST CLOSE "Expect: 100-continue\r\nContent-Length: 2\r\n\r\nhi"),
      "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi", .whole = true },
    { "100-continue, refused",
      S("POST /ok HTTP/1.1\r\n" HOST "Expect: 100-continue\r\nContent-Length: 2\r\n\r\n"),
      "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok" },
    { "CONNECT", S("CONNECT b:1 HTTP/1.1\r\n" HOST "\r\n"),
      "HTTP/1.1 501 Not Implemented\r\nContent-Type: text/plain\r\nContent-Length: 25\r\n"
      "Connection: close\r\n\r\nCONNECT is not supported\n" },
    { "smuggling",
      S("POST /ok HTTP/1.1\r\n" HOST "Content-Length: 3\r\n"
        "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /ok HTTP/1.1\r\n\r\n"),
      "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 41\r\n"
      "Connection: close\r\n\r\nboth Transfer-Encoding and Content-Length" },
};

TEST_LOOP(conversations_whole_and_byte_by_byte)
{
    struct http_server_config config = { .h2 = true };
    struct http_server *s = harness_open(handle, NULL, &config);
    struct arena arena;
    arena_init(&arena, MIB(64));
    EACH (rows, r)
        for (size_t step = 0; step < (r->whole ? 1 : 2); step++) {
            str got = talk(http_server_address(s), r->in, step, &arena);
            CHECK_STR(got, r->want, "%s (step %zu)", r->name, step);
            arena_reset(&arena);
        }
    arena_done(&arena);
    CHECK_EQ(harness_close(s, SEC(5)), 0);
}

TEST_LOOP(oversized_heads_get_their_status)
{
    struct http_server_config config = { .max_header_bytes = 512 };
    struct http_server *s = harness_open(handle, NULL, &config);
    struct arena arena;
    arena_init(&arena, MIB(64));
    static char big[300 << 10];
    memset(big, 'a', sizeof big);
    memcpy(big, "GET /ok HTTP/1.1\r\nA: ", 21);
    str got = talk(http_server_address(s), str_of(big, sizeof big), 0, &arena);
    CHECK(str_starts(got, S("HTTP/1.1 431 ")), STR_FMT, STR_ARG(got));
    memcpy(big, "GET /aaaaaaaaaaaaaaaa", 21);
    got = talk(http_server_address(s), str_of(big, 20000), 0, &arena);
    CHECK(str_starts(got, S("HTTP/1.1 414 ")), STR_FMT, STR_ARG(got));
    arena_done(&arena);
    CHECK_EQ(harness_close(s, SEC(5)), 0);
}

TEST_LOOP(continue_is_sent_when_the_body_is_asked_for)
{
    struct http_server *s = harness_open(handle, NULL, NULL);
    struct arena arena;
    arena_init(&arena, MIB(8));
    AUTO(stream_closep) struct stream *c = harness_dial(http_server_address(s));
    CHECK_OK(stream_write(c, S("POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n"
                               "Content-Length: 2\r\n\r\n")));
    CHECK_STR(harness_read_until(c, "\r\n\r\n", &arena), "HTTP/1.1 100 Continue\r\n\r\n");
    CHECK_OK(stream_write(c, S("hi")));
    str got = harness_read_until(c, "\r\n\r\nhi", &arena);
    CHECK(str_starts(got, S("HTTP/1.1 200 OK")), STR_FMT, STR_ARG(got));
    arena_done(&arena);
    CHECK_EQ(harness_close(s, SEC(5)), 0, "an idle connection doesn't hold the stop up");
}

TEST_LOOP(body_over_the_limit_is_413)
{
    struct http_server_config config = { .max_body_bytes = 100 };
    struct http_server *s = harness_open(handle, NULL, &config);
    struct arena arena;
    arena_init(&arena, MIB(8));
    str got = talk(http_server_address(s),
                   S("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 101\r\n\r\n"), 0, &arena);
    CHECK(str_starts(got, S("HTTP/1.1 413 ")), STR_FMT, STR_ARG(got));
    char chunked[300] =
        "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n65\r\n";
    size_t n = strlen(chunked);
    memset(chunked + n, 'x', 101);
    got = talk(http_server_address(s), str_of(chunked, n + 101), 0, &arena);
    CHECK(str_starts(got, S("HTTP/1.1 413 ")), STR_FMT, STR_ARG(got));
    arena_done(&arena);
    CHECK_EQ(harness_close(s, SEC(5)), 0);
}

TEST_LOOP(head_of_a_slow_stream_is_not_held_back)
{
    reset_seen();
    struct http_server *s = harness_open(handle, NULL, NULL);
    struct arena arena;
    arena_init(&arena, MIB(8));
    AUTO(stream_closep) struct stream *c = harness_dial(http_server_address(s));
    CHECK_OK(stream_write(c, S("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")));
    str head = harness_read_until(c, "\r\n\r\n", &arena);
    CHECK(str_ends(head, S("Transfer-Encoding: chunked\r\n\r\n")), STR_FMT, STR_ARG(head));
    seen.reading = true;
    CHECK_STR(harness_read_until(c, "0\r\n\r\n", &arena), "4\r\nlate\r\n0\r\n\r\n");
    arena_done(&arena);
    CHECK_EQ(harness_close(s, SEC(5)), 0);
}

static void wait_for(atomic_int *v, int at_least)
{
    DEADLINE(SEC(20));
    while (*v < at_least && fiber_sleep(MS(1)) == 0)
        ;
    CHECK(*v >= at_least);
}

TEST_LOOP(caller_that_leaves_cancels_its_call)
{
    reset_seen();
    struct http_server *s = harness_open(handle, NULL, NULL);
    struct stream *c = harness_dial(http_server_address(s));
    CHECK_OK(stream_write(c, S("GET /hang HTTP/1.1\r\nHost: a\r\n\r\n")));
    wait_for(&seen.calls, 1);
    stream_close(c);
    wait_for(&seen.cancelled, 1);
    CHECK_EQ(harness_close(s, SEC(5)), 0);
}

TEST_LOOP(stop_cuts_what_outlives_its_grace)
{
    reset_seen();
    struct http_server *s = harness_open(handle, NULL, NULL);
    struct stream *c = harness_dial(http_server_address(s));
    CHECK_OK(stream_write(c, S("GET /hang HTTP/1.1\r\nHost: a\r\n\r\n")));
    wait_for(&seen.calls, 1);
    CHECK_EQ(http_server_active(s), 1);
    CHECK_EQ(harness_close(s, MS(20)), 1);
    CHECK_EQ(seen.cancelled, 1);
    stream_close(c);
}

TEST_LOOP(slow_reader_stops_the_writer)
{
    reset_seen();
    struct http_server *s = harness_open(handle, NULL, NULL);
    struct stream *c = harness_dial(http_server_address(s));
    CHECK_OK(stream_write(c, S("GET /flood HTTP/1.1\r\nHost: a\r\n\r\n")));
    wait_for(&seen.written_kib, 64);
    int before;
    do { /* until the kernel's buffers are full */
        before = seen.written_kib;
        CHECK_OK(fiber_sleep(MS(50)));
    } while (seen.written_kib != before);
    CHECK(seen.written_kib < 16 << 10, "%d KiB went into the kernel's buffers", seen.written_kib);
    stream_close(c);
    (void)harness_close(s, SEC(5));
}

TEST_LOOP(large_upload_arrives_whole)
{
    reset_seen();
    struct http_server *s = harness_open(handle, NULL, NULL);
    struct arena arena;
    arena_init(&arena, MIB(8));
    AUTO(stream_closep) struct stream *c = harness_dial(http_server_address(s));
    static char block[1 << 20];
    CHECK_OK(
        stream_write(c, S("POST /count HTTP/1.1\r\nHost: a\r\nContent-Length: 16777216\r\n\r\n")));
    for (int i = 0; i < 16; i++)
        CHECK_OK(stream_write(c, str_of(block, sizeof block)));
    str got = harness_read_until(c, "\r\n\r\n16777216", &arena);
    CHECK(str_ends(got, S("16777216")), STR_FMT, STR_ARG(got));
    arena_done(&arena);
    CHECK_EQ(harness_close(s, SEC(5)), 0);
}

TEST_LOOP(idle_connections_are_closed_after_their_time)
{
    struct http_server_config config = { .idle_timeout_ns = MS(30), .header_timeout_ns = MS(30) };
    struct http_server *s = harness_open(handle, NULL, &config);
    struct arena arena;
    arena_init(&arena, MIB(8));
    CHECK_EQ(harness_talk(http_server_address(s), S(""), 0, &arena).n, 0);
    str got = harness_talk(http_server_address(s), S("GET / HT"), 0, &arena);
    CHECK(str_starts(got, S("HTTP/1.1 408 ")), STR_FMT, STR_ARG(got));
    arena_done(&arena);
    CHECK_EQ(harness_close(s, SEC(5)), 0);
}

static size_t resident_bytes(void)
{
    FILE *f = fopen("/proc/self/statm", "re");
    unsigned long size, resident = 0;
    if (f && fscanf(f, "%lu %lu", &size, &resident) != 2)
        resident = 0;
    if (f)
        fclose(f);
    return resident * (size_t)sysconf(_SC_PAGESIZE);
}

/* Both ends live in this process, so a connection is counted with its client's stream. */
TEST_LOOP(idle_connections_hold_little_memory)
{
#ifdef __SANITIZE_THREAD__
    enum { WANT = 500 }; /* it keeps a trace of each fiber */
#else
    enum { WANT = 10000 };
#endif
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    size_t n = min_size(WANT, (size_t)(files.rlim_cur - 100) / 2);
    struct http_server *s = harness_open(handle, NULL, NULL);
    struct arena arena;
    arena_init(&arena, MIB(8));
    struct stream **c = mem_zalloc(n * sizeof(struct stream *));
    REQUIRE(c);
    size_t before = resident_bytes();
    for (size_t i = 0; i < n; i++) {
        c[i] = harness_dial(http_server_address(s));
        REQUIRE(stream_write(c[i], S("GET /ok HTTP/1.1\r\nHost: a\r\n\r\n")) == 0);
        str got = harness_read_until(c[i], "\r\n\r\nok", &arena);
        CHECK(got.n > 0);
        arena_reset(&arena);
    }
    size_t each = (resident_bytes() - before) / n;
    printf("%zu idle connections: %zu bytes each, both ends\n", n, each);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    CHECK(each <= KIB(8));
#endif
    for (size_t i = 0; i < n; i++)
        stream_close(c[i]);
    mem_free(c);
    arena_done(&arena);
    CHECK_EQ(harness_close(s, SEC(5)), 0);
}
