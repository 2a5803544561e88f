#include "http/h1_parse.h"

enum {
    MAX_FIELDS = 256,
    MAX_METHOD = 32,
    MAX_EXTENSIONS = 8192, /* of all chunks of a body */
    MAX_SIZE_DIGITS = 16,
};

void h1_head_init(struct h1_head *h, enum h1_kind kind, size_t max, struct arena *arena)
{
    *h = (struct h1_head){
        .kind = kind, .max = max, .content_length = -1, .first_done = kind == H1_TRAILERS
    };
    http_headers_init(&h->headers, arena);
}

static int refuse(struct h1_head *h, int status, const char *why)
{
    h->status = status;
    h->why = why;
    return -INVALID;
}

/* ---- the first line ---- */

/* 1.0 and 1.1 only: RFC 9112 section 2.3. */
static int parse_version(struct h1_head *h, const char *p)
{
    if (memcmp(p, "HTTP/1.", 7) == 0 && (p[7] == '1' || p[7] == '0')) {
        h->minor = p[7] - '0';
        return 0;
    }
    bool other = memcmp(p, "HTTP/", 5) == 0 && p[5] >= '0' && p[5] <= '9' && p[6] == '.' &&
                 p[7] >= '0' && p[7] <= '9';
    return other ? refuse(h, 505, "HTTP version is neither 1.0 nor 1.1")
                 : refuse(h, 400, "malformed HTTP version");
}

static const bool host_char[256] = {
    ['!'] = 1, ['$'] = 1,         ['%'] = 1,         ['&'] = 1,         ['\''] = 1,
    ['('] = 1, [')'] = 1,         ['*'] = 1,         ['+'] = 1,         [','] = 1,
    ['-'] = 1, ['.'] = 1,         [';'] = 1,         ['='] = 1,         ['_'] = 1,
    ['~'] = 1, ['0' ... '9'] = 1, ['a' ... 'z'] = 1, ['A' ... 'Z'] = 1,
};

/* How many bytes of s are a host: a name, an IPv4 address, or an IPv6 address in brackets. The
 * length of an empty name is 0; false for brackets that are no address. */
static bool host_span(str s, size_t *ret_n)
{
    bool bracket = s.n && s.p[0] == '[';
    size_t i = bracket;
    while (i < s.n && (host_char[(unsigned char)s.p[i]] || (bracket && s.p[i] == ':')))
        i++;
    *ret_n = i + bracket;
    return !bracket || (i >= 3 && i < s.n && s.p[i] == ']');
}

/* uri-host [ ":" port ] of RFC 3986; an empty one is legal when the target has no authority. */
static bool valid_authority(str s)
{
    size_t n;
    if (!host_span(s, &n))
        return false;
    str port = str_skip(s, n);
    if (!port.n)
        return true;
    if (port.p[0] != ':' || port.n > 6)
        return false;
    for (size_t i = 1; i < port.n; i++)
        if (port.p[i] < '0' || port.p[i] > '9')
            return false;
    return true;
}

static void split_query(struct h1_head *h, str path_and_query)
{
    if (!str_cut(path_and_query, '?', &h->path, &h->query))
        h->query = (str){ path_and_query.p + path_and_query.n, 0 };
}

/* scheme "://" authority path: RFC 9112 section 3.2.2; its authority outranks Host. */
static int parse_absolute(struct h1_head *h)
{
    bool secure = str_istarts(h->target, S("https://"));
    if (!secure && !str_istarts(h->target, S("http://")))
        return refuse(h, 400, "request target has an unknown form");
    str rest = str_skip(h->target, secure ? 8 : 7);
    size_t n = 0;
    while (n < rest.n && rest.p[n] != '/' && rest.p[n] != '?')
        n++;
    h->authority = str_take(rest, n);
    if (!n || !valid_authority(h->authority))
        return refuse(h, 400, "request target has an invalid authority");
    split_query(h, str_skip(rest, n));
    if (!h->path.n)
        h->path = S("/");
    return 0;
}

static int parse_target(struct h1_head *h)
{
    for (size_t i = 0; i < h->target.n; i++) {
        unsigned char c = (unsigned char)h->target.p[i];
        if (c <= ' ' || c >= 0x7f || c == '#')
            return refuse(h, 400, "request target has a character that must be percent-encoded");
    }
    if (str_eq(h->method, S("CONNECT"))) {
        h->authority = h->path = h->target;
        if (!valid_authority(h->target) || str_find_c(h->target, ':') < 1)
            return refuse(h, 400, "CONNECT needs host:port");
        return 0;
    }
    if (h->target.p[0] == '/') {
        split_query(h, h->target);
        return 0;
    }
    if (str_eq(h->target, S("*"))) {
        h->path = h->target;
        return str_eq(h->method, S("OPTIONS")) ? 0 : refuse(h, 400, "only OPTIONS may ask for *");
    }
    return parse_absolute(h);
}

static int parse_request_line(struct h1_head *h, str line)
{
    size_t n = http_token_span(line.p, line.n);
    if (!n || n == line.n || line.p[n] != ' ')
        return refuse(h, 400, "malformed request line");
    if (n > MAX_METHOD)
        return refuse(h, 501, "method is longer than 32 characters");
    h->method = str_take(line, n);
    str rest = str_skip(line, n + 1);
    if (rest.n < 10 || rest.p[rest.n - 9] != ' ')
        return refuse(h, 400, "malformed request line");
    h->target = str_take(rest, rest.n - 9);
    int r = parse_version(h, rest.p + rest.n - 8);
    return r < 0 ? r : parse_target(h);
}

/* "HTTP/1.1 200 OK"; the space behind the code may be missing when there is no reason. */
static int parse_status_line(struct h1_head *h, str line)
{
    if (line.n < 12 || line.p[8] != ' ')
        return refuse(h, 400, "malformed status line");
    int r = parse_version(h, line.p);
    if (r < 0)
        return r;
    for (size_t i = 9; i < 12; i++) {
        if (line.p[i] < '0' || line.p[i] > '9')
            return refuse(h, 400, "malformed status code");
        h->code = h->code * 10 + (line.p[i] - '0');
    }
    if (h->code < 100 || (line.n > 12 && line.p[12] != ' '))
        return refuse(h, 400, "malformed status code");
    h->reason = str_skip(line, 13);
    return http_is_field_value(h->reason) ? 0 : refuse(h, 400, "control character in the reason");
}

/* ---- fields ---- */

static int take_content_length(struct h1_head *h, str value, bool *ret_drop)
{
    uint64_t v = 0;
    if (!str_to_u64(value, &v) || v > INT64_MAX)
        return refuse(h, 400, "invalid Content-Length");
    if (h->content_length >= 0 && h->content_length != (int64_t)v)
        return refuse(h, 400, "Content-Length fields differ");
    *ret_drop = h->content_length >= 0; /* RFC 9110 section 8.6: equal ones become one */
    h->content_length = (int64_t)v;
    return 0;
}

static int take_transfer_encoding(struct h1_head *h, str value, bool *ret_drop)
{
    (void)ret_drop;
    if (h->chunked)
        return refuse(h, 400, "Transfer-Encoding is given twice");
    if (!value.n)
        return refuse(h, 400, "Transfer-Encoding is empty");
    if (!str_ieq(value, S("chunked")))
        return refuse(h, 501, "Transfer-Encoding is not exactly \"chunked\"");
    h->chunked = true;
    return 0;
}

static int take_host(struct h1_head *h, str value, bool *ret_drop)
{
    (void)ret_drop;
    if (h->kind != H1_REQUEST)
        return 0;
    if (h->host_seen)
        return refuse(h, 400, "Host is given twice");
    if (!valid_authority(value))
        return refuse(h, 400, "invalid Host");
    h->host_seen = true;
    if (!h->authority.p)
        h->authority = value;
    return 0;
}

static int take_connection(struct h1_head *h, str value, bool *ret_drop)
{
    (void)ret_drop;
    str rest = value, item;
    while (str_next(&rest, ',', &item)) {
        if (str_ieq(item, S("close")))
            h->close = true;
        else if (str_ieq(item, S("keep-alive")))
            h->keep_alive = true;
        else if (str_ieq(item, S("http2-settings")))
            h->http2_settings_named = true;
    }
    return 0;
}

static int take_expect(struct h1_head *h, str value, bool *ret_drop)
{
    (void)ret_drop;
    if (str_ieq(value, S("100-continue")))
        h->expect_continue = true;
    return 0;
}

static int take_upgrade(struct h1_head *h, str value, bool *ret_drop)
{
    (void)ret_drop;
    str rest = value, item;
    while (str_next(&rest, ',', &item))
        if (str_ieq(item, S("h2c")))
            h->upgrade_h2c = true;
    return 0;
}

static int take_http2_settings(struct h1_head *h, str value, bool *ret_drop)
{
    (void)ret_drop;
    if (h->http2_settings.p)
        h->upgrade_h2c = false; /* given twice: no upgrade, RFC 7540 section 3.2.1 */
    h->http2_settings = value;
    return 0;
}

/* The fields that mean something to the framing, found by length before any comparison. */
static const struct known {
    str name;
    int (*take)(struct h1_head *h, str value, bool *ret_drop);
} known[] = {
    { S("Host"), take_host },
    { S("Expect"), take_expect },
    { S("Upgrade"), take_upgrade },
    { S("Connection"), take_connection },
    { S("Content-Length"), take_content_length },
    { S("HTTP2-Settings"), take_http2_settings },
    { S("Transfer-Encoding"), take_transfer_encoding },
};

static int take_known(struct h1_head *h, str name, str value, bool *ret_drop)
{
    const uint32_t lengths = 1u << 4 | 1u << 6 | 1u << 7 | 1u << 10 | 1u << 14 | 1u << 17;
    if (name.n > 17 || !(lengths >> name.n & 1) || h->kind == H1_TRAILERS)
        return 0;
    for (size_t i = 0; i < COUNT(known); i++)
        if (known[i].name.n == name.n && str_ieq(known[i].name, name))
            return known[i].take(h, value, ret_drop);
    return 0;
}

static str trim_ows(str s)
{
    while (s.n && (s.p[0] == ' ' || s.p[0] == '\t'))
        s = str_skip(s, 1);
    while (s.n && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t'))
        s.n--;
    return s;
}

static int parse_field(struct h1_head *h, str line)
{
    size_t n = http_token_span(line.p, line.n);
    if (!n && (line.p[0] == ' ' || line.p[0] == '\t'))
        return refuse(h, 400, "folded field lines are obsolete");
    if (!n || n == line.n || line.p[n] != ':')
        return refuse(h, 400, "malformed field name");
    str name = str_take(line, n), value = trim_ows(str_skip(line, n + 1));
    if (!http_is_field_value(value))
        return refuse(h, 400, "control character in a field value");
    if (h->headers.n == MAX_FIELDS)
        return refuse(h, 431, "more than 256 fields");
    bool drop = false;
    int r = take_known(h, name, value, &drop);
    if (r < 0 || drop)
        return r;
    return http_headers_add(&h->headers, name, value);
}

/* ---- the whole head ---- */

static int check_head(struct h1_head *h)
{
    if (h->kind == H1_TRAILERS)
        return 0;
    if (h->chunked && h->content_length >= 0)
        return refuse(h, 400, "both Transfer-Encoding and Content-Length");
    if (h->chunked && h->minor == 0)
        return refuse(h, 400, "Transfer-Encoding in HTTP/1.0");
    if (h->kind == H1_REQUEST && h->minor == 1 && !h->host_seen)
        return refuse(h, 400, "Host is missing");
    return 0;
}

static int parse_line(struct h1_head *h, str line)
{
    if (h->first_done)
        return parse_field(h, line);
    h->first_done = true;
    return h->kind == H1_REQUEST ? parse_request_line(h, line) : parse_status_line(h, line);
}

/* What can be said before the first line is whole, so that garbage needs no timeout. */
static int check_start(struct h1_head *h, const char *p, size_t n)
{
    if (h->first_done || n == h->line)
        return 0;
    if (h->kind == H1_RESPONSE)
        return memcmp(p, "HTTP/", min_size(n, 5)) == 0 ? 0 : refuse(h, 400, "not an HTTP answer");
    p += h->line;
    n -= h->line;
    size_t token = http_token_span(p, n);
    bool empty_line = !token && p[0] == '\r' && !h->skipped_empty && (n == 1 || p[1] == '\n');
    if (empty_line || (token && (token == n || p[token] == ' ')))
        return 0;
    return refuse(h, 400, "malformed request line");
}

static int too_large(struct h1_head *h)
{
    if (h->kind == H1_REQUEST && !h->first_done)
        return refuse(h, 414, "request line is over the limit of a head");
    return refuse(h, 431, "head is over the limit");
}

int h1_parse(struct h1_head *h, const char *p, size_t n)
{
    size_t seen = min_size(n, h->max);
    for (;;) {
        const char *lf = memchr(p + h->scan, '\n', seen - h->scan);
        if (!lf)
            break;
        size_t end = (size_t)(lf - p);
        if (end == h->line || p[end - 1] != '\r')
            return refuse(h, 400, "line ends with a bare LF");
        str line = { p + h->line, end - 1 - h->line };
        h->line = h->scan = end + 1;
        if (line.n) {
            int r = parse_line(h, line);
            if (r < 0)
                return r;
        } else if (h->first_done) {
            h->size = end + 1;
            int r = check_head(h);
            return r < 0 ? r : 1;
        } else if (h->kind == H1_RESPONSE || h->skipped_empty) {
            return refuse(h, 400, "empty line before the first line");
        } else {
            h->skipped_empty = true; /* RFC 9112 section 2.2: one is to be ignored */
        }
    }
    h->scan = seen;
    int r = check_start(h, p, seen);
    if (r < 0)
        return r;
    return n >= h->max ? too_large(h) : 0;
}

/* ---- chunked ---- */

enum { SIZE, EXTENSION, SIZE_LF, DATA, DATA_CR, DATA_LF };

void h1_chunks_init(struct h1_chunks *c)
{
    *c = (struct h1_chunks){ .state = SIZE };
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int eat_size(struct h1_chunks *c, char byte)
{
    int v = hex_value(byte);
    if (v >= 0) {
        if (++c->digits > MAX_SIZE_DIGITS || c->left >> 59) /* stays below 2^63 */
            return -INVALID;
        c->left = c->left << 4 | (unsigned)v;
        return 0;
    }
    if (!c->digits || (byte != '\r' && byte != ';'))
        return -INVALID;
    c->state = byte == ';' ? EXTENSION : SIZE_LF;
    return 0;
}

/* Extensions have no meaning to us; they must only not hide a line end. */
static int eat_extension(struct h1_chunks *c, char byte)
{
    unsigned char u = (unsigned char)byte;
    if (byte == '\r') {
        c->state = SIZE_LF;
        return 0;
    }
    if ((u < ' ' && u != '\t') || u == 0x7f || ++c->ext > MAX_EXTENSIONS)
        return -INVALID;
    return 0;
}

static int eat_framing(struct h1_chunks *c, char byte)
{
    switch (c->state) {
    case SIZE:
        return eat_size(c, byte);
    case EXTENSION:
        return eat_extension(c, byte);
    case SIZE_LF:
        if (byte != '\n')
            return -INVALID;
        c->state = DATA;
        return c->left ? 0 : H1_CHUNKS_END;
    case DATA_CR:
        c->state = DATA_LF;
        return byte == '\r' ? 0 : -INVALID;
    default:
        c->state = SIZE;
        c->digits = 0;
        return byte == '\n' ? 0 : -INVALID;
    }
}

int h1_chunks_next(struct h1_chunks *c, const char *p, size_t n, size_t *ret_used, str *ret_data)
{
    size_t i = 0;
    while (i < n && c->state != DATA) {
        int r = eat_framing(c, p[i++]);
        if (r < 0)
            return r;
        if (r == H1_CHUNKS_END) {
            *ret_used = i;
            return r;
        }
    }
    if (i == n) {
        *ret_used = n;
        return H1_CHUNKS_MORE;
    }
    size_t take = (size_t)min_u64(c->left, n - i);
    *ret_data = str_of(p + i, take);
    *ret_used = i + take;
    c->left -= take;
    if (!c->left)
        c->state = DATA_CR;
    return H1_CHUNKS_DATA;
}
