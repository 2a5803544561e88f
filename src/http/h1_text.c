#include "http/h1_io.h"

#include <stdio.h>
#include <time.h>

/* Room for what we add ourselves: first line without target, Date, Content-Length, Connection. */
enum { OWN_MAX = 256 };

struct out {
    char *p;
    size_t n;
};

static void put(struct out *o, str s)
{
    if (s.n)
        memcpy(o->p + o->n, s.p, s.n);
    o->n += s.n;
}

static void put_u64(struct out *o, uint64_t v)
{
    char digit[20];
    size_t n = sizeof digit;
    do
        digit[--n] = (char)('0' + v % 10);
    while (v /= 10);
    put(o, str_of(digit + n, sizeof digit - n));
}

/* "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n", made once a second and thread. */
static str date_line(void)
{
    static _Thread_local struct {
        time_t second;
        size_t n;
        char text[48];
    } cache;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME_COARSE, &now);
    if (now.tv_sec != cache.second || !cache.n) {
        struct tm tm;
        gmtime_r(&now.tv_sec, &tm);
        cache.n =
            strftime(cache.text, sizeof cache.text, "Date: %a, %d %b %Y %H:%M:%S GMT\r\n", &tm);
        cache.second = now.tv_sec;
    }
    return str_of(cache.text, cache.n);
}

str http_date(void)
{
    str line = str_skip(date_line(), strlen("Date: "));
    return str_take(line, line.n - 2);
}

/* Fields that describe the connection or the framing are ours to write. */
static bool is_framing(str name, bool request)
{
    switch (name.n) {
    case 4:
        return request && str_ieq(name, S("Host"));
    case 7:
        return str_ieq(name, S("Upgrade"));
    case 10:
        return str_ieq(name, S("Connection")) || str_ieq(name, S("Keep-Alive"));
    case 14:
        return str_ieq(name, S("Content-Length"));
    case 16:
        return str_ieq(name, S("Proxy-Connection"));
    case 17:
        return str_ieq(name, S("Transfer-Encoding"));
    default:
        return false;
    }
}

static size_t fields_size(const struct http_headers *h)
{
    size_t n = 0;
    for (size_t i = 0; h && i < h->n; i++)
        n += h->v[i].name.n + h->v[i].value.n + 4;
    return n;
}

/* -INVALID for what would split the message; *ret_date = they bring a Date of their own. */
static int put_fields(struct out *o, const struct http_headers *h, bool request, bool *ret_date)
{
    for (size_t i = 0; h && i < h->n; i++) {
        str name = h->v[i].name, value = h->v[i].value;
        if (!http_is_token(name) || !http_is_field_value(value))
            return -INVALID;
        if (is_framing(name, request))
            continue;
        if (name.n == 4 && str_ieq(name, S("Date")))
            *ret_date = true;
        put(o, name);
        put(o, S(": "));
        put(o, value);
        put(o, S("\r\n"));
    }
    return 0;
}

static void put_framing(struct out *o, const struct h1_message *m)
{
    if (m->framing == H1_FRAME_LENGTH) {
        put(o, S("Content-Length: "));
        put_u64(o, m->length);
        put(o, S("\r\n"));
    } else if (m->framing == H1_FRAME_CHUNKED) {
        put(o, S("Transfer-Encoding: chunked\r\n"));
    }
    if (m->close || m->framing == H1_FRAME_CLOSE)
        put(o, S("Connection: close\r\n"));
}

int h1_put_reply(struct arena *arena, int status, const struct h1_message *m, str *ret)
{
    if (status < 200 || status > 999)
        return -INVALID;
    struct out o = { arena_alloc(arena, OWN_MAX + fields_size(m->headers)), 0 };
    if (!o.p)
        return -EXHAUSTED;
    if (status == 200) {
        put(&o, S("HTTP/1.1 200 OK\r\n"));
    } else {
        put(&o, S("HTTP/1.1 "));
        put_u64(&o, (uint64_t)status);
        put(&o, S(" "));
        put(&o, str_c(http_reason(status)));
        put(&o, S("\r\n"));
    }
    bool date = false;
    int r = put_fields(&o, m->headers, false, &date);
    if (r < 0)
        return r;
    if (!date)
        put(&o, date_line());
    put_framing(&o, m);
    put(&o, S("\r\n"));
    *ret = str_of(o.p, o.n);
    return 0;
}

static bool valid_target(str s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] <= ' ' || (unsigned char)s.p[i] >= 0x7f)
            return false;
    return s.n > 0;
}

int h1_put_request(struct arena *arena, const struct http_request *req, str host,
                   const struct h1_message *m, str *ret)
{
    if (!http_is_token(req->method) || !valid_target(req->target) || !http_is_field_value(host))
        return -INVALID;
    size_t size = OWN_MAX + req->method.n + req->target.n + host.n + fields_size(m->headers);
    struct out o = { arena_alloc(arena, size), 0 };
    if (!o.p)
        return -EXHAUSTED;
    put(&o, req->method);
    put(&o, S(" "));
    put(&o, req->target);
    put(&o, S(" HTTP/1.1\r\nHost: "));
    put(&o, host);
    put(&o, S("\r\n"));
    bool date = false;
    int r = put_fields(&o, m->headers, true, &date);
    if (r < 0)
        return r;
    put_framing(&o, m);
    put(&o, S("\r\n"));
    *ret = str_of(o.p, o.n);
    return 0;
}

int h1_put_trailers(struct arena *arena, const struct http_headers *trailers, str *ret)
{
    if (!trailers || !trailers->n) {
        *ret = S("0\r\n\r\n");
        return 0;
    }
    struct out o = { arena_alloc(arena, OWN_MAX + fields_size(trailers)), 0 };
    if (!o.p)
        return -EXHAUSTED;
    put(&o, S("0\r\n"));
    bool date = false;
    int r = put_fields(&o, trailers, true, &date);
    if (r < 0)
        return r;
    put(&o, S("\r\n"));
    *ret = str_of(o.p, o.n);
    return 0;
}

size_t h1_put_chunk_size(char ret[H1_CHUNK_MAX], size_t n)
{
    static const char hex[] = "0123456789abcdef";
    char digit[16];
    size_t at = sizeof digit;
    do
        digit[--at] = hex[n & 15];
    while (n >>= 4);
    size_t len = sizeof digit - at;
    memcpy(ret, digit + at, len);
    memcpy(ret + len, "\r\n", 2);
    return len + 2;
}
