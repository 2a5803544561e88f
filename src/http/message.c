#include "http/message.h"

enum { FIRST_CAP = 24 };

void http_headers_init(struct http_headers *h, struct arena *arena)
{
    *h = (struct http_headers){ .arena = arena };
}

static int grow(struct http_headers *h)
{
    size_t cap = h->cap ? h->cap * 2 : FIRST_CAP;
    struct http_header *v = arena_alloc(h->arena, cap * sizeof *v);
    if (!v)
        return -EXHAUSTED;
    if (h->n)
        memcpy(v, h->v, h->n * sizeof *v);
    h->v = v;
    h->cap = cap;
    return 0;
}

int http_headers_add(struct http_headers *h, str name, str value)
{
    if (h->n == h->cap && grow(h) < 0)
        return -EXHAUSTED;
    h->v[h->n++] = (struct http_header){ name, value };
    return 0;
}

static struct http_header *find(const struct http_headers *h, str name)
{
    for (size_t i = 0; i < h->n; i++)
        if (str_ieq(h->v[i].name, name))
            return &h->v[i];
    return NULL;
}

int http_headers_set(struct http_headers *h, str name, str value)
{
    struct http_header *first = find(h, name);
    if (!first)
        return http_headers_add(h, name, value);
    size_t keep = (size_t)(first - h->v) + 1;
    for (size_t i = keep; i < h->n; i++)
        if (!str_ieq(h->v[i].name, name))
            h->v[keep++] = h->v[i];
    h->n = keep;
    first->value = value;
    return 0;
}

str http_headers_get(const struct http_headers *h, str name)
{
    const struct http_header *hit = find(h, name);
    return hit ? hit->value : (str){ 0 };
}

bool http_headers_has(const struct http_headers *h, str name)
{
    return find(h, name) != NULL;
}

void http_headers_remove(struct http_headers *h, str name)
{
    size_t keep = 0;
    for (size_t i = 0; i < h->n; i++)
        if (!str_ieq(h->v[i].name, name))
            h->v[keep++] = h->v[i];
    h->n = keep;
}

static bool named_by_connection(const struct http_headers *h, str name)
{
    for (size_t i = 0; i < h->n; i++) {
        if (!str_ieq(h->v[i].name, S("Connection")))
            continue;
        str rest = h->v[i].value, item;
        while (str_next(&rest, ',', &item))
            if (str_ieq(item, name))
                return true;
    }
    return false;
}

void http_headers_strip_hop(struct http_headers *h)
{
    static const str hop[] = {
        S("Connection"),
        S("Keep-Alive"),
        S("Proxy-Connection"),
        S("TE"),
        S("Trailer"),
        S("Transfer-Encoding"),
        S("Upgrade"),
        S("HTTP2-Settings"),
        S("Proxy-Authenticate"),
        S("Proxy-Authorization"),
    };
    size_t keep = 0;
    for (size_t i = 0; i < h->n; i++) { /* Connection itself stays until all have been asked */
        bool connection = str_ieq(h->v[i].name, S("Connection"));
        if (connection || !named_by_connection(h, h->v[i].name))
            h->v[keep++] = h->v[i];
    }
    h->n = keep;
    for (size_t i = 0; i < COUNT(hop); i++)
        http_headers_remove(h, hop[i]);
}

static const struct reason {
    int status;
    const char *text;
} reasons[] = {
    { 100, "Continue" },
    { 101, "Switching Protocols" },
    { 103, "Early Hints" },
    { 200, "OK" },
    { 201, "Created" },
    { 202, "Accepted" },
    { 203, "Non-Authoritative Information" },
    { 204, "No Content" },
    { 205, "Reset Content" },
    { 206, "Partial Content" },
    { 207, "Multi-Status" },
    { 300, "Multiple Choices" },
    { 301, "Moved Permanently" },
    { 302, "Found" },
    { 303, "See Other" },
    { 304, "Not Modified" },
    { 307, "Temporary Redirect" },
    { 308, "Permanent Redirect" },
    { 400, "Bad Request" },
    { 401, "Unauthorized" },
    { 402, "Payment Required" },
    { 403, "Forbidden" },
    { 404, "Not Found" },
    { 405, "Method Not Allowed" },
    { 406, "Not Acceptable" },
    { 407, "Proxy Authentication Required" },
    { 408, "Request Timeout" },
    { 409, "Conflict" },
    { 410, "Gone" },
    { 411, "Length Required" },
    { 412, "Precondition Failed" },
    { 413, "Content Too Large" },
    { 414, "URI Too Long" },
    { 415, "Unsupported Media Type" },
    { 416, "Range Not Satisfiable" },
    { 417, "Expectation Failed" },
    { 421, "Misdirected Request" },
    { 422, "Unprocessable Content" },
    { 423, "Locked" },
    { 424, "Failed Dependency" },
    { 425, "Too Early" },
    { 426, "Upgrade Required" },
    { 428, "Precondition Required" },
    { 429, "Too Many Requests" },
    { 431, "Request Header Fields Too Large" },
    { 451, "Unavailable For Legal Reasons" },
    { 499, "Client Closed Request" },
    { 500, "Internal Server Error" },
    { 501, "Not Implemented" },
    { 502, "Bad Gateway" },
    { 503, "Service Unavailable" },
    { 504, "Gateway Timeout" },
    { 505, "HTTP Version Not Supported" },
    { 507, "Insufficient Storage" },
    { 511, "Network Authentication Required" },
};

const char *http_reason(int status)
{
    if (status == 200)
        return "OK";
    size_t lo = 0, hi = COUNT(reasons);
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (reasons[mid].status == status)
            return reasons[mid].text;
        if (reasons[mid].status < status)
            lo = mid + 1;
        else
            hi = mid;
    }
    return "";
}

/* RFC 9110 section 5.6.2: the characters of a token. */
static const bool token_char[256] = {
    ['!'] = 1, ['#'] = 1, ['$'] = 1, ['%'] = 1,         ['&'] = 1,         ['\''] = 1,
    ['*'] = 1, ['+'] = 1, ['-'] = 1, ['.'] = 1,         ['^'] = 1,         ['_'] = 1,
    ['`'] = 1, ['|'] = 1, ['~'] = 1, ['0' ... '9'] = 1, ['a' ... 'z'] = 1, ['A' ... 'Z'] = 1,
};

size_t http_token_span(const char *p, size_t n)
{
    size_t i = 0;
    while (i < n && token_char[(unsigned char)p[i]])
        i++;
    return i;
}

bool http_is_token(str s)
{
    return s.n && http_token_span(s.p, s.n) == s.n;
}

/* Whether any of the 8 bytes may be a control character: exact on "none", careful on "some". */
static bool maybe_control(const char *p)
{
    const uint64_t ones = 0x0101010101010101u, high = 0x8080808080808080u;
    uint64_t v;
    memcpy(&v, p, sizeof v);
    uint64_t below_space = (v - ones * 0x20) & ~v;
    uint64_t del = v ^ ones * 0x7f;
    del = (del - ones) & ~del;
    return (below_space | del) & high;
}

bool http_is_field_value(str s)
{
    size_t i = 0;
    while (i < s.n) {
        if (s.n - i >= 8 && !maybe_control(s.p + i)) {
            i += 8;
            continue;
        }
        for (size_t end = min_size(i + 8, s.n); i < end; i++) {
            unsigned char c = (unsigned char)s.p[i];
            if ((c < ' ' && c != '\t') || c == 0x7f)
                return false;
        }
    }
    return true;
}

str http_status_text(int status, char to[3])
{
    to[0] = (char)('0' + status / 100 % 10);
    to[1] = (char)('0' + status / 10 % 10);
    to[2] = (char)('0' + status % 10);
    return str_of(to, 3);
}

bool http_is_idempotent(const struct http_request *req)
{
    static const str method[] = { S("GET"), S("HEAD"), S("PUT"), S("DELETE"), S("OPTIONS") };
    for (size_t i = 0; i < COUNT(method); i++)
        if (str_eq(req->method, method[i]))
            return true;
    return http_headers_has(&req->headers, S("Idempotency-Key"));
}
