#include "format/uri.h"

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    char low = (char)(c | 0x20);
    return low >= 'a' && low <= 'f' ? low - 'a' + 10 : -1;
}

/* Decoded length, or -1 when an escape is broken. */
static ptrdiff_t decoded_len(str s)
{
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++, n++) {
        if (s.p[i] != '%')
            continue;
        if (s.n - i < 3 || hex_digit(s.p[i + 1]) < 0 || hex_digit(s.p[i + 2]) < 0)
            return -1;
        i += 2;
    }
    return (ptrdiff_t)n;
}

int uri_decode(struct arena *a, str s, enum uri_rule rule, str *ret)
{
    bool plus = rule == URI_QUERY && str_find_c(s, '+') >= 0;
    ptrdiff_t n = decoded_len(s);
    if (n < 0)
        return -INVALID;
    if ((size_t)n == s.n && !plus) {
        *ret = s;
        return 0;
    }
    char *out = arena_alloc(a, (size_t)n + 1);
    if (!out)
        return -EXHAUSTED;
    char *to = out;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '%') {
            *to++ = (char)(hex_digit(s.p[i + 1]) << 4 | hex_digit(s.p[i + 2]));
            i += 2;
        } else {
            *to++ = plus && s.p[i] == '+' ? ' ' : s.p[i];
        }
    }
    *to = 0;
    *ret = str_of(out, (size_t)n);
    return 0;
}

static bool stays(char c, enum uri_rule rule)
{
    if ((c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z'))
        return true;
    if (c && memchr("-_.~", c, 4))
        return true;
    return rule == URI_PATH && c && memchr("$&+=:@", c, 6);
}

void uri_encode(struct buf *out, str s, enum uri_rule rule)
{
    static const char hex[] = "0123456789ABCDEF";
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (stays(s.p[i], rule)) {
            buf_putc(out, s.p[i]);
        } else if (rule == URI_QUERY && c == ' ') {
            buf_putc(out, '+');
        } else {
            char text[3] = { '%', hex[c >> 4], hex[c & 15] };
            buf_put(out, str_of(text, sizeof text));
        }
    }
}

struct uri_query uri_query(str text, struct arena *a)
{
    return (struct uri_query){ .rest = text, .arena = a };
}

bool uri_query_next(struct uri_query *q, str *ret_key, str *ret_value)
{
    while (q->rest.n && !q->failed) {
        str pair, key, value;
        (void)str_cut(q->rest, '&', &pair, &q->rest);
        if (!pair.n)
            continue;
        int r = -INVALID;
        (void)str_cut(pair, '=', &key, &value);
        if (str_find_c(pair, ';') < 0)
            r = uri_decode(q->arena, key, URI_QUERY, &key);
        if (!r)
            r = uri_decode(q->arena, value, URI_QUERY, &value);
        if (!r) {
            *ret_key = key;
            *ret_value = value;
            return true;
        }
        q->n_bad += r == -INVALID;
        q->failed = r == -EXHAUSTED;
    }
    return false;
}

bool uri_query_get(str text, struct arena *a, str key, str *ret)
{
    str k, value;
    for (struct uri_query q = uri_query(text, a); uri_query_next(&q, &k, &value);)
        if (str_eq(k, key)) {
            *ret = value;
            return true;
        }
    return false;
}

bool uri_query_next_metadata(struct uri_query *q, str *ret_key, str *ret_value)
{
    str key, value;
    while (uri_query_next(q, &key, &value))
        if (str_istarts(key, S("metadata."))) {
            *ret_key = str_skip(key, S("metadata.").n);
            *ret_value = value;
            return true;
        }
    return false;
}

/* Takes the last segment off out; never past floor, which guards the root or a leading "..". */
static size_t drop_segment(const char *out, size_t n, size_t floor)
{
    if (n > floor)
        n--;
    while (n > floor && out[n] != '/')
        n--;
    return n;
}

int uri_clean(struct arena *a, str path, str *ret)
{
    char *out = arena_alloc(a, path.n + 2);
    if (!out)
        return -EXHAUSTED;
    bool rooted = path.n && path.p[0] == '/';
    size_t n = 0, floor = rooted;
    if (rooted)
        out[n++] = '/';

    str rest = path, segment;
    while (rest.n) {
        (void)str_cut(rest, '/', &segment, &rest);
        if (!segment.n || str_eq(segment, S(".")))
            continue;
        bool up = str_eq(segment, S(".."));
        if (up && n > floor) {
            n = drop_segment(out, n, floor);
            continue;
        }
        if (up && rooted)
            continue; /* nothing above the root */
        if (n > (size_t)rooted)
            out[n++] = '/';
        memcpy(out + n, segment.p, segment.n);
        n += segment.n;
        if (up)
            floor = n;
    }
    if (!n)
        out[n++] = '.';
    out[n] = 0;
    *ret = str_of(out, n);
    return 0;
}

static bool parse_port(str s, uint16_t *ret)
{
    uint64_t port;
    if (!s.n || s.p[0] == '+' || !str_to_u64(s, &port) || !port || port > UINT16_MAX)
        return false;
    *ret = (uint16_t)port;
    return true;
}

/* "host", "host:port", "[v6]" or "[v6]:port" */
static bool parse_host(str s, struct uri *u)
{
    if (s.n && s.p[0] == '[') {
        ptrdiff_t close = str_find_c(s, ']');
        if (close < 2)
            return false;
        u->ipv6 = true;
        u->host = str_of(s.p + 1, (size_t)close - 1);
        s = str_skip(s, (size_t)close + 1);
        return !s.n || (s.p[0] == ':' && parse_port(str_skip(s, 1), &u->port));
    }
    str port;
    bool has_port = str_cut(s, ':', &u->host, &port);
    return u->host.n && (!has_port || parse_port(port, &u->port));
}

static bool is_scheme(str s)
{
    for (size_t i = 0; i < s.n; i++) {
        char low = (char)(s.p[i] | 0x20);
        bool letter = low >= 'a' && low <= 'z';
        bool other = (s.p[i] >= '0' && s.p[i] <= '9') || memchr("+-.", s.p[i], 3);
        if (!letter && !(i && other))
            return false;
    }
    return s.n > 0;
}

int uri_parse(str s, struct uri *ret)
{
    struct uri u = { 0 };
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] <= ' ' || s.p[i] == 0x7f)
            return -INVALID;
    (void)str_cut(s, '#', &s, &u.query);
    ptrdiff_t mark = str_find(s, S("://"));
    if (mark > 0 && is_scheme(str_take(s, (size_t)mark))) {
        u.scheme = str_take(s, (size_t)mark);
        s = str_skip(s, (size_t)mark + 3);
    } else if (mark == 0) {
        return -INVALID;
    }
    (void)str_cut(s, '?', &s, &u.query);
    ptrdiff_t slash = str_find_c(s, '/');
    str authority = slash < 0 ? s : str_take(s, (size_t)slash);
    u.path = str_skip(s, authority.n);
    bool has_host = authority.n > 0;
    if (!has_host && (u.scheme.n || !u.path.n))
        return -INVALID;

    for (ptrdiff_t at; (at = str_find_c(authority, '@')) >= 0;) {
        u.userinfo = str_of(s.p, (size_t)(authority.p + at - s.p));
        authority = str_skip(authority, (size_t)at + 1);
    }
    if (has_host && !parse_host(authority, &u))
        return -INVALID;
    *ret = u;
    return 0;
}

/* ---- references ---- */

static str without_fragment(str s)
{
    str rest;
    (void)str_cut(s, '#', &s, &rest);
    return s;
}

static bool has_scheme(str s)
{
    ptrdiff_t colon = str_find_c(s, ':');
    return colon > 0 && is_scheme(str_take(s, (size_t)colon));
}

/* Where the path of an absolute URL begins. */
static size_t path_at(str url)
{
    ptrdiff_t mark = str_find(url, S("://"));
    size_t at = mark < 0 ? 0 : (size_t)mark + 3;
    while (at < url.n && !memchr("/?", url.p[at], 2))
        at++;
    return at;
}

/* RFC 3986 section 5.2.4, for a path that begins with '/': "." and ".." go, all else stays. */
static size_t drop_dots(char *path, size_t n)
{
    size_t out = 0;
    for (size_t at = 0; at < n;) {
        size_t end = at + 1;
        while (end < n && path[end] != '/')
            end++;
        str segment = str_of(path + at + 1, end - at - 1);
        bool up = str_eq(segment, S("..")), dot = up || str_eq(segment, S("."));
        while (up && out && path[--out] != '/') {}
        if (!dot)
            memmove(path + out, path + at, end - at);
        out += dot ? 0 : end - at;
        if (dot && end == n)
            path[out++] = '/';
        at = end;
    }
    return out;
}

/* What of the base stands in front of the reference; both without fragments. */
static str front_of(str base, str ref)
{
    size_t root = path_at(base), path = root, folder = root;
    while (path < base.n && base.p[path] != '?')
        if (base.p[path++] == '/')
            folder = path;
    if (!ref.n)
        return base;
    if (str_starts(ref, S("//")))
        return str_take(base, (size_t)(str_find_c(base, ':') + 1));
    if (has_scheme(ref))
        return S("");
    return str_take(base, ref.p[0] == '/' ? root : ref.p[0] == '?' ? path : folder);
}

static void drop_dots_of(str *url)
{
    char *p = (char *)url->p;
    size_t from = path_at(*url), to = from;
    while (to < url->n && p[to] != '?')
        to++;
    if (to == from || p[from] != '/')
        return;
    size_t n = drop_dots(p + from, to - from);
    memmove(p + from + n, p + to, url->n - to);
    url->n -= to - from - n;
    p[url->n] = 0;
}

int uri_resolve(struct arena *a, str base, str ref, str *ret)
{
    base = without_fragment(base);
    ref = without_fragment(ref);
    str front = front_of(base, ref);
    bool rootless = front.n && front.n == path_at(base) && ref.n && !memchr("/?", ref.p[0], 2);
    str part[] = { front, rootless ? S("/") : S(""), ref };
    str url = arena_join(a, part, COUNT(part));
    if (!url.p)
        return -EXHAUSTED;
    drop_dots_of(&url);
    *ret = url;
    return 0;
}
