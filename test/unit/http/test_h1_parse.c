/* RFC 9112 by table: every hostile head whole and byte by byte, with the same verdict. */
#include "http/h1_parse.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

enum { LIMIT = 1024 };

struct verdict {
    int r;
    struct h1_head head;
};

static struct verdict feed(enum h1_kind kind, str in, size_t step, struct arena *arena)
{
    struct verdict v;
    h1_head_init(&v.head, kind, LIMIT, arena);
    size_t n = 0;
    do {
        n = min_size(n + step, in.n);
        v.r = h1_parse(&v.head, in.p, n);
    } while (v.r == 0 && n < in.n);
    return v;
}

#define GET "GET / HTTP/1.1\r\nHost: a\r\n"
/* POST is the house's postcondition macro */
#define PST "POST / HTTP/1.1\r\nHost: a\r\n"
#define OK200 "HTTP/1.1 200 OK\r\n"
#define A10 "aaaaaaaaaa"
#define A100 A10 A10 A10 A10 A10 A10 A10 A10 A10 A10
#define A1000 A100 A100 A100 A100 A100 A100 A100 A100 A100 A100

struct hostile {
    const char *name;
    enum h1_kind kind;
    str in;
    int status;
};

static const struct hostile hostile[] = {
    /* the request line */
    { "empty method", H1_REQUEST, S(" / HTTP/1.1\r\nHost: a\r\n\r\n"), 400 },
    { "only a newline", H1_REQUEST, S("\n"), 400 },
    { "bare LF after the request line", H1_REQUEST, S("GET / HTTP/1.1\nHost: a\r\n\r\n"), 400 },
    { "two spaces before the target", H1_REQUEST, S("GET  / HTTP/1.1\r\nHost: a\r\n\r\n"), 400 },
    { "two spaces before the version", H1_REQUEST, S("GET /  HTTP/1.1\r\nHost: a\r\n\r\n"), 400 },
    { "tab as separator", H1_REQUEST, S("GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n"), 400 },
    { "space behind the version", H1_REQUEST, S("GET / HTTP/1.1 \r\nHost: a\r\n\r\n"), 400 },
    { "no version", H1_REQUEST, S("GET /\r\nHost: a\r\n\r\n"), 400 },
    { "no target", H1_REQUEST, S("GET HTTP/1.1\r\nHost: a\r\n\r\n"), 400 },
    { "space in the target", H1_REQUEST, S("GET /a b HTTP/1.1\r\nHost: a\r\n\r\n"), 400 },
    { "NUL in the target", H1_REQUEST, S("GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n"), 400 },
    { "CR in the target", H1_REQUEST, S("GET /\rx HTTP/1.1\r\nHost: a\r\n\r\n"), 400 },
    { "DEL in the target", H1_REQUEST, S("GET /\x7f HTTP/1.1\r\nHost: a\r\n\r\n"), 400 },
    { "raw UTF-8 in the target", H1_REQUEST, S("GET /\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n"), 400 },
    { "fragment in the target", H1_REQUEST, S("GET /#x HTTP/1.1\r\nHost: a\r\n\r\n"), 400 },
    { "relative target", H1_REQUEST, S("GET a/b HTTP/1.1\r\nHost: a\r\n\r\n"), 400 },
    { "unknown scheme", H1_REQUEST, S("GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n"), 400 },
    { "absolute form, no host", H1_REQUEST, S("GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n"), 400 },
    { "absolute form, user", H1_REQUEST, S("GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n"), 400 },
    { "asterisk for GET", H1_REQUEST, S("GET * HTTP/1.1\r\nHost: a\r\n\r\n"), 400 },
    { "authority form for GET", H1_REQUEST, S("GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n"), 400 },
    { "CONNECT to a path", H1_REQUEST, S("CONNECT /x HTTP/1.1\r\nHost: a\r\n\r\n"), 400 },
    { "CONNECT without a port", H1_REQUEST, S("CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n"), 400 },
    { "method with a slash", H1_REQUEST, S("GE/T / HTTP/1.1\r\nHost: a\r\n\r\n"), 400 },
    { "method with a colon", H1_REQUEST, S("GET: / HTTP/1.1\r\nHost: a\r\n\r\n"), 400 },
    { "endless method", H1_REQUEST, S(A100 " / HTTP/1.1\r\nHost: a\r\n\r\n"), 501 },
    { "HTTP/1.2", H1_REQUEST, S("GET / HTTP/1.2\r\nHost: a\r\n\r\n"), 505 },
    { "HTTP/2.0", H1_REQUEST, S("GET / HTTP/2.0\r\nHost: a\r\n\r\n"), 505 },
    { "HTTP/0.9", H1_REQUEST, S("GET / HTTP/0.9\r\nHost: a\r\n\r\n"), 505 },
    { "HTTP/01.1", H1_REQUEST, S("GET / HTTP/01.1\r\nHost: a\r\n\r\n"), 400 },
    { "lower-case http/1.1", H1_REQUEST, S("GET / http/1.1\r\nHost: a\r\n\r\n"), 400 },
    { "HTTP/1.x", H1_REQUEST, S("GET / HTTP/1.x\r\nHost: a\r\n\r\n"), 400 },
    { "TLS hello", H1_REQUEST, S("\x16\x03\x01\x02"), 400 },
    { "two empty lines first", H1_REQUEST, S("\r\n\r\n" GET "\r\n"), 400 },
    { "CR CR LF first", H1_REQUEST, S("\r\r\n" GET "\r\n"), 400 },
    { "endless target", H1_REQUEST, S("GET /" A1000 A100 " HTTP/1.1\r\nHost: a\r\n\r\n"), 414 },

    /* lines */
    { "bare LF after a field", H1_REQUEST, S(GET "A: b\nC: d\r\n\r\n"), 400 },
    { "bare LF as the empty line", H1_REQUEST, S(GET "\n"), 400 },
    { "bare CR in a value", H1_REQUEST, S(GET "A: b\rC: d\r\n\r\n"), 400 },
    { "bare CR before the line end", H1_REQUEST, S(GET "A: b\r\r\n\r\n"), 400 },
    { "CR in a name", H1_REQUEST, S(GET "A\rB: b\r\n\r\n"), 400 },
    { "LF CR", H1_REQUEST, S(GET "A: b\n\r\n\r\n"), 400 },
    { "folded value, space", H1_REQUEST, S(GET "A: b\r\n c\r\n\r\n"), 400 },
    { "folded value, tab", H1_REQUEST, S(GET "A: b\r\n\tc\r\n\r\n"), 400 },
    { "folded first field", H1_REQUEST, S("GET / HTTP/1.1\r\n Host: a\r\n\r\n"), 400 },
    { "line of one space", H1_REQUEST, S(GET " \r\n\r\n"), 400 },

    /* fields */
    { "space before the colon", H1_REQUEST, S(GET "A : b\r\n\r\n"), 400 },
    { "tab before the colon", H1_REQUEST, S(GET "A\t: b\r\n\r\n"), 400 },
    { "space before Content-Length's colon", H1_REQUEST, S(PST "Content-Length : 5\r\n\r\n"), 400 },
    { "no colon", H1_REQUEST, S(GET "A\r\n\r\n"), 400 },
    { "empty name", H1_REQUEST, S(GET ": b\r\n\r\n"), 400 },
    { "space in the name", H1_REQUEST, S(GET "A B: b\r\n\r\n"), 400 },
    { "NUL in the name", H1_REQUEST, S(GET "A\0: b\r\n\r\n"), 400 },
    { "UTF-8 in the name", H1_REQUEST, S(GET "\xc3\xa9: b\r\n\r\n"), 400 },
    { "brackets in the name", H1_REQUEST, S(GET "A[0]: b\r\n\r\n"), 400 },
    { "NUL in the value", H1_REQUEST, S(GET "A: b\0c\r\n\r\n"), 400 },
    { "NUL in a long value", H1_REQUEST, S(GET "A: " A10 A10 "\0" A10 "\r\n\r\n"), 400 },
    { "escape in the value", H1_REQUEST, S(GET "A: \x1b[0m\r\n\r\n"), 400 },
    { "DEL in the value", H1_REQUEST, S(GET "A: " A10 "\x7f" A10 "\r\n\r\n"), 400 },
    { "vertical tab in the value", H1_REQUEST, S(GET "A: \x0b\r\n\r\n"), 400 },
    { "head over the limit", H1_REQUEST, S(GET "A: " A1000 A100 "\r\n\r\n"), 431 },

    /* Host */
    { "no Host in 1.1", H1_REQUEST, S("GET / HTTP/1.1\r\n\r\n"), 400 },
    { "two Hosts", H1_REQUEST, S(GET "Host: b\r\n\r\n"), 400 },
    { "two equal Hosts", H1_REQUEST, S(GET "host: a\r\n\r\n"), 400 },
    { "space in Host", H1_REQUEST, S("GET / HTTP/1.1\r\nHost: a b\r\n\r\n"), 400 },
    { "path in Host", H1_REQUEST, S("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"), 400 },
    { "user in Host", H1_REQUEST, S("GET / HTTP/1.1\r\nHost: u@a\r\n\r\n"), 400 },
    { "letters in Host's port", H1_REQUEST, S("GET / HTTP/1.1\r\nHost: a:b\r\n\r\n"), 400 },
    { "long port in Host", H1_REQUEST, S("GET / HTTP/1.1\r\nHost: a:123456\r\n\r\n"), 400 },
    { "open bracket in Host", H1_REQUEST, S("GET / HTTP/1.1\r\nHost: [::1\r\n\r\n"), 400 },
    { "text behind the bracket", H1_REQUEST, S("GET / HTTP/1.1\r\nHost: [::1]x\r\n\r\n"), 400 },
    { "absolute form and bad Host", H1_REQUEST, S("GET http://b/ HTTP/1.1\r\nHost: ?\r\n\r\n"),
      400 },

    /* smuggling */
    { "length and chunked", H1_REQUEST,
      S(PST "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"), 400 },
    { "chunked and length", H1_REQUEST,
      S(PST "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n"), 400 },
    { "chunked and length 0", H1_REQUEST,
      S(PST "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n"), 400 },
    { "lengths differ", H1_REQUEST, S(PST "Content-Length: 5\r\nContent-Length: 6\r\n\r\n"), 400 },
    { "list of lengths", H1_REQUEST, S(PST "Content-Length: 5, 6\r\n\r\n"), 400 },
    { "list of equal lengths", H1_REQUEST, S(PST "Content-Length: 5, 5\r\n\r\n"), 400 },
    { "negative length", H1_REQUEST, S(PST "Content-Length: -1\r\n\r\n"), 400 },
    { "signed length", H1_REQUEST, S(PST "Content-Length: +5\r\n\r\n"), 400 },
    { "hexadecimal length", H1_REQUEST, S(PST "Content-Length: 0x5\r\n\r\n"), 400 },
    { "empty length", H1_REQUEST, S(PST "Content-Length:\r\n\r\n"), 400 },
    { "length with a space", H1_REQUEST, S(PST "Content-Length: 1 0\r\n\r\n"), 400 },
    { "length with a fraction", H1_REQUEST, S(PST "Content-Length: 5.0\r\n\r\n"), 400 },
    { "length of 2^63", H1_REQUEST, S(PST "Content-Length: 9223372036854775808\r\n\r\n"), 400 },
    { "length of 2^64 + 5", H1_REQUEST, S(PST "Content-Length: 18446744073709551621\r\n\r\n"),
      400 },
    { "gzip, chunked", H1_REQUEST, S(PST "Transfer-Encoding: gzip, chunked\r\n\r\n"), 501 },
    { "chunked, identity", H1_REQUEST, S(PST "Transfer-Encoding: chunked, identity\r\n\r\n"), 501 },
    { "identity", H1_REQUEST, S(PST "Transfer-Encoding: identity\r\n\r\n"), 501 },
    { "xchunked", H1_REQUEST, S(PST "Transfer-Encoding: xchunked\r\n\r\n"), 501 },
    { "chunked with a parameter", H1_REQUEST, S(PST "Transfer-Encoding: chunked;q=1\r\n\r\n"),
      501 },
    { "quoted chunked", H1_REQUEST, S(PST "Transfer-Encoding: \"chunked\"\r\n\r\n"), 501 },
    { "vertical tab before chunked", H1_REQUEST,
      S(PST "Transfer-Encoding: \x0b"
            "chunked\r\n\r\n"),
      400 },
    { "space before the colon of chunked", H1_REQUEST, S(PST "Transfer-Encoding : chunked\r\n\r\n"),
      400 },
    { "folded chunked", H1_REQUEST, S(PST "Transfer-Encoding:\r\n chunked\r\n\r\n"), 400 },
    { "empty Transfer-Encoding", H1_REQUEST, S(PST "Transfer-Encoding:\r\n\r\n"), 400 },
    { "chunked twice", H1_REQUEST,
      S(PST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"), 400 },
    { "chunked, then identity", H1_REQUEST,
      S(PST "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n"), 400 },
    { "chunked in 1.0", H1_REQUEST, S("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"),
      400 },

    /* answers */
    { "answer in lower case", H1_RESPONSE, S("http/1.1 200 OK\r\n\r\n"), 400 },
    { "answer without a code", H1_RESPONSE, S("HTTP/1.1 OK\r\n\r\n"), 400 },
    { "code of two digits", H1_RESPONSE, S("HTTP/1.1 20 OK\r\n\r\n"), 400 },
    { "code of four digits", H1_RESPONSE, S("HTTP/1.1 2000 OK\r\n\r\n"), 400 },
    { "code below 100", H1_RESPONSE, S("HTTP/1.1 099 OK\r\n\r\n"), 400 },
    { "answer of 1.2", H1_RESPONSE, S("HTTP/1.2 200 OK\r\n\r\n"), 505 },
    { "answer of two versions", H1_RESPONSE, S("HTTP/1.1  200 OK\r\n\r\n"), 400 },
    { "NUL in the reason", H1_RESPONSE, S("HTTP/1.1 200 O\0K\r\n\r\n"), 400 },
    { "answer: length and chunked", H1_RESPONSE,
      S(OK200 "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"), 400 },
    { "answer: lengths differ", H1_RESPONSE,
      S(OK200 "Content-Length: 5\r\nContent-Length: 6\r\n\r\n"), 400 },
    { "answer: gzip", H1_RESPONSE, S(OK200 "Transfer-Encoding: gzip\r\n\r\n"), 501 },
    { "answer: chunked in 1.0", H1_RESPONSE,
      S("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"), 400 },
    { "answer: folded field", H1_RESPONSE, S(OK200 "A: b\r\n c\r\n\r\n"), 400 },
    { "answer: empty line first", H1_RESPONSE, S("\r\n" OK200 "\r\n"), 400 },
    { "answer: SSH banner", H1_RESPONSE, S("SSH-2.0-OpenSSH\r\n"), 400 },

    /* trailers */
    { "trailer without a colon", H1_TRAILERS, S("A\r\n\r\n"), 400 },
    { "folded trailer", H1_TRAILERS, S("A: b\r\n c\r\n\r\n"), 400 },
    { "trailer with a bare LF", H1_TRAILERS, S("A: b\n\r\n"), 400 },
    { "trailers over the limit", H1_TRAILERS, S("A: " A1000 A100 "\r\n\r\n"), 431 },
};

static void hostile_heads_are_refused(void **state)
{
    (void)state;
    assert_true(COUNT(hostile) >= 80);
    struct arena arena;
    arena_init(&arena, MIB(1));
    for (size_t i = 0; i < COUNT(hostile); i++) {
        const struct hostile *c = &hostile[i];
        for (size_t step = 1; step <= c->in.n; step++) {
            struct verdict v = feed(c->kind, c->in, step, &arena);
            if (v.r != -INVALID || v.head.status != c->status || !v.head.why)
                fail_msg("%s (step %zu): %d, status %d, want %d", c->name, step, v.r, v.head.status,
                         c->status);
            arena_reset(&arena);
        }
    }
    arena_done(&arena);
}

struct legal {
    const char *name;
    enum h1_kind kind;
    str in;
    const char *method, *path, *query, *authority;
    int64_t length;
    size_t n_fields;
    bool chunked, close;
};

static const struct legal legal[] = {
    { "plain", H1_REQUEST, S(GET "\r\n"), "GET", "/", "", "a", -1, 1 },
    { "query", H1_REQUEST, S("GET /a%20b?x=1&y=? HTTP/1.1\r\nHost: a:80\r\n\r\n"), "GET", "/a%20b",
      "x=1&y=?", "a:80", -1, 1 },
    { "1.0 without Host", H1_REQUEST, S("GET /x HTTP/1.0\r\n\r\n"), "GET", "/x", "", "", -1, 0 },
    { "empty Host", H1_REQUEST, S("GET / HTTP/1.1\r\nHost:\r\n\r\n"), "GET", "/", "", "", -1, 1 },
    { "IPv6 Host", H1_REQUEST, S("GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n"), "GET", "/", "",
      "[::1]:80", -1, 1 },
    { "absolute form outranks Host", H1_REQUEST,
      S("GET http://b:1/c?d HTTP/1.1\r\nHost: a\r\n\r\n"), "GET", "/c", "d", "b:1", -1, 1 },
    { "absolute form without a path", H1_REQUEST, S("GET HTTP://b HTTP/1.1\r\nHost: a\r\n\r\n"),
      "GET", "/", "", "b", -1, 1 },
    { "OPTIONS *", H1_REQUEST, S("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"), "OPTIONS", "*", "", "a",
      -1, 1 },
    { "CONNECT", H1_REQUEST, S("CONNECT b:443 HTTP/1.1\r\nHost: b\r\n\r\n"), "CONNECT", "b:443", "",
      "b:443", -1, 1 },
    { "one empty line first", H1_REQUEST, S("\r\n" GET "\r\n"), "GET", "/", "", "a", -1, 1 },
    { "length", H1_REQUEST, S(PST "Content-Length: 5\r\n\r\n"), "POST", "/", "", "a", 5, 2 },
    { "equal lengths become one", H1_REQUEST,
      S(PST "Content-Length: 5\r\ncontent-length: 5\r\n\r\n"), "POST", "/", "", "a", 5, 2 },
    { "length of 2^63 - 1", H1_REQUEST, S(PST "Content-Length: 9223372036854775807\r\n\r\n"),
      "POST", "/", "", "a", INT64_MAX, 2 },
    { "chunked in capitals", H1_REQUEST, S(PST "TRANSFER-ENCODING: \t CHUNKED \t\r\n\r\n"), "POST",
      "/", "", "a", -1, 2, .chunked = true },
    { "close among others", H1_REQUEST, S(GET "Connection: x, Close\r\n\r\n"), "GET", "/", "", "a",
      -1, 2, .close = true },
    { "empty value", H1_REQUEST, S(GET "A:\r\nB: \t \r\n\r\n"), "GET", "/", "", "a", -1, 3 },
    { "no space behind the colon", H1_REQUEST, S(GET "A:b\r\n\r\n"), "GET", "/", "", "a", -1, 2 },
    { "obs-text in a value", H1_REQUEST, S(GET "A: \xc3\xa9 tab\tx " A10 "\r\n\r\n"), "GET", "/",
      "", "a", -1, 2 },
    { "unusual token", H1_REQUEST,
      S("M-SEARCH /a|b{c} HTTP/1.1\r\nHost: a\r\n!#$%&'*+-.^_`|~: "
        "b\r\n\r\n"),
      "M-SEARCH", "/a|b{c}", "", "a", -1, 2 },
    { "answer", H1_RESPONSE, S(OK200 "Content-Length: 3\r\n\r\n"), .length = 3, .n_fields = 1 },
    { "answer without a reason", H1_RESPONSE, S("HTTP/1.1 200\r\n\r\n"), .length = -1 },
    { "answer with an empty reason", H1_RESPONSE, S("HTTP/1.0 200 \r\n\r\n"), .length = -1 },
    { "answer with a Host", H1_RESPONSE, S(OK200 "Host: a b\r\n\r\n"), .length = -1,
      .n_fields = 1 },
    { "trailers", H1_TRAILERS, S("A: b\r\nContent-Length: x\r\n\r\n"), .length = -1,
      .n_fields = 2 },
    { "no trailers", H1_TRAILERS, S("\r\n"), .length = -1 },
};

static void check_legal(const struct legal *c, const struct verdict *v)
{
    if (v->r != 1 || v->head.size != c->in.n)
        fail_msg("%s: %d (%s), size %zu", c->name, v->r, v->head.why, v->head.size);
    const struct h1_head *h = &v->head;
    bool same = h->content_length == c->length && h->chunked == c->chunked &&
                h->close == c->close && h->headers.n == c->n_fields;
    if (c->kind == H1_REQUEST)
        same = same && str_eq(h->method, str_c(c->method)) && str_eq(h->path, str_c(c->path)) &&
               str_eq(h->query, str_c(c->query)) && str_eq(h->authority, str_c(c->authority));
    if (c->kind == H1_RESPONSE)
        same = same && h->code == 200;
    if (!same)
        fail_msg("%s: the parts differ", c->name);
}

static void legal_heads_parse_whole_and_byte_by_byte(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, MIB(1));
    for (size_t i = 0; i < COUNT(legal); i++)
        for (size_t step = 1; step <= legal[i].in.n; step++) {
            struct verdict v = feed(legal[i].kind, legal[i].in, step, &arena);
            check_legal(&legal[i], &v);
            arena_reset(&arena);
        }
    arena_done(&arena);
}

static void rest_behind_the_head_is_left_alone(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, MIB(1));
    struct verdict v = feed(H1_REQUEST, S(GET "\r\nGET /next HTTP/1.1\r\n"), SIZE_MAX / 2, &arena);
    assert_int_equal(v.r, 1);
    assert_int_equal(v.head.size, sizeof(GET "\r\n") - 1);
    arena_done(&arena);
}

static void values_are_trimmed_slices_of_the_input(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, MIB(1));
    str in = S(GET "X-A: \t one two\t \r\nExpect: 100-Continue\r\nUpgrade: h2c\r\n"
                   "Connection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMA\r\n\r\n");
    struct verdict v = feed(H1_REQUEST, in, in.n, &arena);
    assert_int_equal(v.r, 1);
    str a = http_headers_get(&v.head.headers, S("x-a"));
    assert_true(str_eq(a, S("one two")));
    assert_true(a.p > in.p && a.p < in.p + in.n);
    assert_true(v.head.expect_continue && v.head.upgrade_h2c && v.head.http2_settings_named);
    assert_true(str_eq(v.head.http2_settings, S("AAMA")));
    arena_done(&arena);
}

static void many_fields_are_refused(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, MIB(1));
    char in[4096] = GET;
    size_t n = strlen(in);
    for (int i = 0; i < 300; i++, n += 6)
        memcpy(in + n, "A: b\r\n", 6);
    struct h1_head h;
    h1_head_init(&h, H1_REQUEST, sizeof in, &arena);
    assert_int_equal(h1_parse(&h, in, n), -INVALID);
    assert_int_equal(h.status, 431);
    arena_done(&arena);
}

static void full_arena_is_exhausted(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, 64);
    struct verdict v = feed(H1_REQUEST, S(GET "\r\n"), 100, &arena);
    assert_int_equal(v.r, -EXHAUSTED);
    arena_done(&arena);
}

/* ---- chunked ---- */

static const struct {
    const char *name;
    str in;
} bad_chunks[] = {
    { "empty size", S("\r\nabc\r\n0\r\n\r\n") },
    { "size with a sign", S("+3\r\nabc\r\n0\r\n\r\n") },
    { "negative size", S("-3\r\nabc\r\n0\r\n\r\n") },
    { "0x prefix", S("0x3\r\nabc\r\n0\r\n\r\n") },
    { "leading space", S(" 3\r\nabc\r\n0\r\n\r\n") },
    { "trailing space", S("3 \r\nabc\r\n0\r\n\r\n") },
    { "trailing tab", S("3\t\r\nabc\r\n0\r\n\r\n") },
    { "underscore", S("1_0\r\nabc\r\n0\r\n\r\n") },
    { "not hexadecimal", S("g\r\nabc\r\n0\r\n\r\n") },
    { "bare LF behind the size", S("3\nabc\r\n0\r\n\r\n") },
    { "bare CR behind the size", S("3\rabc\r\n0\r\n\r\n") },
    { "CR CR LF behind the size", S("3\r\r\nabc\r\n0\r\n\r\n") },
    { "bare LF behind the data", S("3\r\nabc\n0\r\n\r\n") },
    { "bare CR behind the data", S("3\r\nabc\r0\r\n\r\n") },
    { "data longer than its size", S("3\r\nabcd\r\n0\r\n\r\n") },
    { "data shorter than its size", S("4\r\nabc\r\n0\r\n\r\n") },
    { "17 digits", S("00000000000000003\r\nabc\r\n") },
    { "size of 2^63", S("8000000000000000\r\nabc\r\n") },
    { "size of 2^64", S("10000000000000000\r\nabc\r\n") },
    { "bare LF in an extension", S("3;a=b\nabc\r\n0\r\n\r\n") },
    { "bare CR in an extension", S("3;a\rb\r\nabc\r\n0\r\n\r\n") },
    { "NUL in an extension", S("3;a\0\r\nabc\r\n0\r\n\r\n") },
    { "comma behind the size", S("3,a\r\nabc\r\n0\r\n\r\n") },
    { "NUL behind the size", S("3\0\r\nabc\r\n0\r\n\r\n") },
};

/* Feeds in pieces; the data goes to out. Returns H1_CHUNKS_END, _MORE or -INVALID. */
static int dechunk(str in, size_t step, char *out, size_t *ret_n, size_t *ret_used)
{
    struct h1_chunks c;
    h1_chunks_init(&c);
    *ret_n = 0;
    for (size_t at = 0; at < in.n;) {
        size_t used = 0;
        str data;
        int r = h1_chunks_next(&c, in.p + at, min_size(step, in.n - at), &used, &data);
        at += used;
        *ret_used = at;
        if (r < 0 || r == H1_CHUNKS_END)
            return r;
        if (r == H1_CHUNKS_DATA) {
            memcpy(out + *ret_n, data.p, data.n);
            *ret_n += data.n;
        }
    }
    return H1_CHUNKS_MORE;
}

static void bad_chunks_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(bad_chunks); i++)
        for (size_t step = 1; step <= bad_chunks[i].in.n; step++) {
            char out[256];
            size_t n, used;
            if (dechunk(bad_chunks[i].in, step, out, &n, &used) != -INVALID)
                fail_msg("%s (step %zu) was taken", bad_chunks[i].name, step);
        }
}

static void chunks_decode_in_any_pieces(void **state)
{
    (void)state;
    str in = S("3\r\nabc\r\n00A;x=\"y z\";q\r\n0123456789\r\n1\r\n!\r\n000\r\nTrailer: x\r\n\r\n");
    for (size_t step = 1; step <= in.n; step++) {
        char out[256];
        size_t n, used;
        assert_int_equal(dechunk(in, step, out, &n, &used), H1_CHUNKS_END);
        assert_true(str_eq(str_of(out, n), S("abc0123456789!")));
        assert_true(str_starts(str_skip(in, used), S("Trailer")));
    }
}

static void endless_extensions_are_refused(void **state)
{
    (void)state;
    struct h1_chunks c;
    h1_chunks_init(&c);
    size_t used;
    str data;
    int r = h1_chunks_next(&c, "3;", 2, &used, &data);
    for (int i = 0; i < 10000 && r == H1_CHUNKS_MORE; i++)
        r = h1_chunks_next(&c, "a", 1, &used, &data);
    assert_int_equal(r, -INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hostile_heads_are_refused),
        cmocka_unit_test(legal_heads_parse_whole_and_byte_by_byte),
        cmocka_unit_test(rest_behind_the_head_is_left_alone),
        cmocka_unit_test(values_are_trimmed_slices_of_the_input),
        cmocka_unit_test(many_fields_are_refused),
        cmocka_unit_test(full_arena_is_exhausted),
        cmocka_unit_test(bad_chunks_are_refused),
        cmocka_unit_test(chunks_decode_in_any_pieces),
        cmocka_unit_test(endless_extensions_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
