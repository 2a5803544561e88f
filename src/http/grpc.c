#include "http/grpc.h"

#include "http/client_private.h"

#include "base/id.h"

enum { PREFIX = 5, STATUS_MAX = 16, DRAIN_MAX = 4 << 20 };

/* ---- requests ---- */

static bool is_grpc_type(str type)
{
    static const str base = S("application/grpc");
    return str_istarts(type, base) &&
           (type.n == base.n || type.p[base.n] == '+' || type.p[base.n] == ';');
}

bool grpc_is_request(const struct http_request *req)
{
    return str_eq(req->method, S("POST")) &&
           is_grpc_type(http_headers_get(&req->headers, S("content-type")));
}

bool grpc_split_path(str path, str *ret_service, str *ret_method)
{
    str service, method;
    if (!str_starts(path, S("/")) || !str_cut(str_skip(path, 1), '/', &service, &method) ||
        !service.n || !method.n || str_find_c(method, '/') >= 0)
        return false;
    *ret_service = service;
    *ret_method = method;
    return true;
}

static const struct unit {
    char letter;
    uint64_t ns;
} units[] = {
    { 'n', 1 },      { 'u', 1000 },    { 'm', 1000000 },
    { 'S', SEC(1) }, { 'M', SEC(60) }, { 'H', SEC(3600) },
};

bool grpc_timeout_parse(str text, uint64_t *ret_ns)
{
    uint64_t n;
    if (text.n < 2 || text.n > 9 || !str_to_u64(str_take(text, text.n - 1), &n))
        return false;
    for (size_t i = 0; i < COUNT(units); i++)
        if (text.p[text.n - 1] == units[i].letter) {
            if (__builtin_mul_overflow(n, units[i].ns, ret_ns))
                *ret_ns = UINT64_MAX - 1;
            return true;
        }
    return false;
}

bool grpc_timeout(const struct http_headers *h, uint64_t *ret_ns)
{
    str text = http_headers_get(h, S("grpc-timeout"));
    if (text.p)
        return grpc_timeout_parse(text, ret_ns);
    *ret_ns = UINT64_MAX;
    return true;
}

/* At most 8 digits, in the finest unit that has room. */
static str format_timeout(struct arena *arena, uint64_t ns)
{
    size_t i = 0;
    while (i + 1 < COUNT(units) && ns / units[i].ns > 99999999)
        i++;
    return arena_printf(arena, "%llu%c", (unsigned long long)min_u64(ns / units[i].ns, 99999999),
                        units[i].letter);
}

str grpc_timeout_left(struct arena *arena)
{
    uint64_t at = fiber_deadline(), now = sched_now();
    return at == UINT64_MAX ? S("") : format_timeout(arena, at > now ? at - now : 1);
}

/* ---- messages ---- */

typedef int next_fn(void *arg, str *ret); /* http_read() or http_call_read() */

/* Where a side is in its stream of messages. */
struct reader {
    struct arena *arena;
    next_fn *next;
    void *arg;
    str rest; /* of the present piece */
    char *p;  /* a message that came in pieces; reused, grows by doubling */
    size_t cap;
};

/* The next n ≤ cap bytes into p: 1, 0 = the stream ended before the first, negative. */
CO static int collect(struct reader *r, char *p, size_t n)
{
    for (size_t got = 0; got < n;) {
        str part = str_take(r->rest, n - got);
        if (part.n)
            memcpy(p + got, part.p, part.n);
        got += part.n;
        r->rest = str_skip(r->rest, part.n);
        if (got == n)
            break;
        int e = r->next(r->arg, &r->rest);
        if (e < 0)
            return e;
        if (e == 0)
            return got ? -INTERNAL : 0;
    }
    return 1;
}

static int make_room(struct reader *r, size_t n)
{
    if (n <= r->cap)
        return 0;
    size_t cap = r->cap * 2 > n ? r->cap * 2 : n;
    char *p = arena_alloc(r->arena, cap);
    if (!p)
        return -EXHAUSTED;
    r->p = p;
    r->cap = cap;
    return 0;
}

CO static int read_message(struct reader *r, size_t max, str *ret)
{
    unsigned char prefix[PREFIX];
    int e = collect(r, (char *)prefix, PREFIX);
    if (e <= 0)
        return e;
    size_t n =
        (size_t)prefix[1] << 24 | (size_t)prefix[2] << 16 | (size_t)prefix[3] << 8 | prefix[4];
    if (prefix[0] > 1)
        return -INTERNAL;
    if (prefix[0] == 1)
        return -UNIMPLEMENTED; /* we offer no compression: grpc-accept-encoding is identity */
    if (n > max)
        return -EXHAUSTED;
    if (n <= r->rest.n) { /* it lies in one piece: no copy */
        *ret = str_take(r->rest, n);
        r->rest = str_skip(r->rest, n);
        return 1;
    }
    e = make_room(r, n);
    if (e < 0)
        return e;
    e = collect(r, r->p, n);
    if (e == 0)
        return -INTERNAL;
    *ret = str_of(r->p, n);
    return e;
}

static struct reader *reader_of(void **slot, struct arena *arena, next_fn *next, void *arg)
{
    if (!*slot) {
        struct reader *r = arena_zalloc(arena, sizeof *r);
        if (!r)
            return NULL;
        *r = (struct reader){ .arena = arena, .next = next, .arg = arg };
        *slot = r;
    }
    return *slot;
}

static void put_prefix(unsigned char prefix[PREFIX], size_t n)
{
    prefix[0] = 0;
    for (int i = 1; i < PREFIX; i++)
        prefix[i] = (unsigned char)(n >> (8 * (PREFIX - 1 - i)));
}

/* ---- status texts ---- */

static str percent_encode(struct arena *arena, str s)
{
    static const char hex[] = "0123456789ABCDEF";
    char *p = arena_alloc(arena, s.n * 3 + 1);
    size_t n = 0;
    if (!p)
        return (str){ 0 };
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c >= ' ' && c <= '~' && c != '%') {
            p[n++] = (char)c;
            continue;
        }
        p[n++] = '%';
        p[n++] = hex[c >> 4];
        p[n++] = hex[c & 15];
    }
    return str_of(p, n);
}

/* What is no valid escape stays as it is: the text must not get lost over it. */
static str percent_decode(struct arena *arena, str s)
{
    char *p = arena_alloc(arena, s.n + 1);
    size_t n = 0;
    if (!p)
        return (str){ 0 };
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '%' && s.n - i > 2 && id_unhex(str_of(s.p + i + 1, 2), p + n)) {
            n++;
            i += 2;
        } else {
            p[n++] = s.p[i];
        }
    }
    return str_of(p, n);
}

static str encode_details(struct arena *arena, str details)
{
    size_t n = base64_len(details.n);
    char *p = arena_alloc(arena, n);
    if (!p)
        return (str){ 0 };
    base64_encode(details, p);
    while (n && p[n - 1] == '=') /* -bin headers go without padding */
        n--;
    return str_of(p, n);
}

static str decode_details(struct arena *arena, str text)
{
    char *padded = arena_alloc(arena, text.n + 4), *p = arena_alloc(arena, text.n + 4);
    size_t n = text.n, len;
    if (!padded || !p)
        return (str){ 0 };
    memcpy(padded, text.p, n);
    while (n % 4)
        padded[n++] = '=';
    return base64_decode(str_of(padded, n), p, &len) ? str_of(p, len) : (str){ 0 };
}

/* ---- server ---- */

CO static int next_of_exchange(void *arg, str *ret)
{
    return http_read(arg, ret);
}

int grpc_recv(struct http_exchange *x, size_t max, str *ret_message)
{
    struct reader *r = reader_of(&x->grpc, x->arena, next_of_exchange, x);
    return r ? read_message(r, max, ret_message) : -EXHAUSTED;
}

static int add_all(struct http_headers *to, const struct http_headers *from)
{
    int r = 0;
    for (size_t i = 0; from && i < from->n && r == 0; i++)
        r = http_headers_add(to, from->v[i].name, from->v[i].value);
    return r;
}

int grpc_send_headers(struct http_exchange *x, const struct http_headers *metadata)
{
    struct http_headers h;
    http_headers_init(&h, x->arena);
    int r = http_headers_add(&h, S("content-type"), S("application/grpc"));
    if (r == 0)
        r = http_headers_add(&h, S("grpc-accept-encoding"), S("identity"));
    if (r == 0)
        r = add_all(&h, metadata);
    return r < 0 ? r : http_reply_start(x, 200, &h, -1);
}

int grpc_send(struct http_exchange *x, str message)
{
    if (message.n > UINT32_MAX)
        return -EXHAUSTED;
    int r = x->started ? 0 : grpc_send_headers(x, NULL);
    unsigned char prefix[PREFIX];
    put_prefix(prefix, message.n);
    if (r == 0)
        r = http_reply_write(x, str_of(prefix, PREFIX));
    return r == 0 && message.n ? http_reply_write(x, message) : r;
}

static int add_status(struct http_headers *h, enum code code, str message, str details)
{
    str number = arena_printf(h->arena, "%d", (int)code);
    int r = number.p ? http_headers_add(h, S("grpc-status"), number) : -EXHAUSTED;
    if (r == 0 && message.n) {
        str text = percent_encode(h->arena, message);
        r = text.p ? http_headers_add(h, S("grpc-message"), text) : -EXHAUSTED;
    }
    if (r == 0 && details.n) {
        str text = encode_details(h->arena, details);
        r = text.p ? http_headers_add(h, S("grpc-status-details-bin"), text) : -EXHAUSTED;
    }
    return r;
}

int grpc_finish(struct http_exchange *x, enum code code, str message, str details,
                const struct http_headers *trailers)
{
    struct http_headers h;
    http_headers_init(&h, x->arena);
    int r = add_status(&h, code, message, details);
    if (r == 0)
        r = add_all(&h, trailers);
    if (r == 0 && !x->started) /* a reply in one block would show our Content-Length as metadata */
        r = grpc_send_headers(x, NULL);
    return r < 0 ? r : http_reply_end(x, &h);
}

/* ---- client ---- */

/* to: authority, target and peer_id. */
CO static int call_start(struct http_client *c, const char *address, const struct http_request *to,
                         const struct http_headers *metadata, uint64_t timeout_ns,
                         struct http_call **ret, struct error *err)
{
    struct arena arena; /* for the head only: the call copies it */
    arena_init(&arena, MIB(16));
    struct http_request req = *to;
    req.method = S("POST");
    req.content_length = -1;
    http_headers_init(&req.headers, &arena);
    int r = http_headers_add(&req.headers, S("te"), S("trailers"));
    if (r == 0)
        r = http_headers_add(&req.headers, S("content-type"), S("application/grpc"));
    if (r == 0 && timeout_ns != UINT64_MAX) {
        str text = format_timeout(&arena, timeout_ns);
        r = text.p ? http_headers_add(&req.headers, S("grpc-timeout"), text) : -EXHAUSTED;
    }
    if (r == 0)
        r = add_all(&req.headers, metadata);
    if (r == 0)
        r = http_call_start(c, address, &req, S(""), false, ret, err);
    else
        r = fail(err, EXHAUSTED, NULL, "the metadata needs too much memory");
    arena_done(&arena);
    return r;
}

int grpc_call_start(struct http_client *c, const char *address, str authority, str path,
                    const struct http_headers *metadata, uint64_t timeout_ns,
                    struct http_call **ret, struct error *err)
{
    const struct http_request to = { .target = path, .authority = authority };
    return call_start(c, address, &to, metadata, timeout_ns, ret, err);
}

int grpc_call_start_to(struct http_client *c, const char *address, str peer_id, str path,
                       const struct http_headers *metadata, uint64_t timeout_ns,
                       struct http_call **ret, struct error *err)
{
    const struct http_request to = { .target = path,
                                     .authority = str_c(address),
                                     .peer_id = peer_id };
    return call_start(c, address, &to, metadata, timeout_ns, ret, err);
}

int grpc_call_send(struct http_call *call, str message, bool last)
{
    if (message.n > UINT32_MAX)
        return -EXHAUSTED;
    unsigned char prefix[PREFIX];
    put_prefix(prefix, message.n);
    int r = http_call_write(call, str_of(prefix, PREFIX));
    if (r == 0 && message.n)
        r = http_call_write(call, message);
    return r == 0 && last ? http_call_end(call, NULL) : r;
}

CO static int next_of_call(void *arg, str *ret)
{
    return http_call_read(arg, ret);
}

/* Whether the answer is gRPC's: a proxy's page, or trailers only, holds no messages. */
static bool has_messages(const struct http_response *res)
{
    return res->status == 200 && !http_headers_has(&res->headers, S("grpc-status")) &&
           is_grpc_type(http_headers_get(&res->headers, S("content-type")));
}

int grpc_call_recv(struct http_call *call, size_t max, str *ret_message)
{
    const struct http_response *res;
    int r = http_call_response(call, &res, NULL);
    if (r < 0)
        return r;
    if (!has_messages(res))
        return 0;
    struct reader *reader = reader_of(&call->grpc, call->arena, next_of_call, call);
    return reader ? read_message(reader, max, ret_message) : -EXHAUSTED;
}

/* For answers without grpc-status: the table of gRPC's "HTTP to gRPC Status Code Mapping". */
static enum code code_of_answer(int status)
{
    switch (status) {
    case 400:
        return INTERNAL;
    case 401:
        return UNAUTHENTICATED;
    case 403:
        return DENIED;
    case 404:
        return UNIMPLEMENTED;
    case 429:
    case 502:
    case 503:
    case 504:
        return UNAVAILABLE;
    default:
        return UNKNOWN;
    }
}

CO static int drain(struct http_call *call)
{
    str piece;
    int r;
    size_t n = 0;
    while ((r = http_call_read(call, &piece)) == 1)
        if ((n += piece.n) > DRAIN_MAX)
            return -RANGE;
    return r;
}

const struct http_headers *grpc_call_trailers(struct http_call *call,
                                              const struct http_response *res)
{
    const struct http_headers *h = http_call_trailers(call);
    return h && http_headers_has(h, S("grpc-status")) ? h : &res->headers;
}

int grpc_call_status(struct http_call *call, struct grpc_status *ret)
{
    const struct http_response *res;
    int r = http_call_response(call, &res, NULL);
    if (r == 0)
        r = drain(call);
    if (r < 0)
        return r;
    const struct http_headers *h = grpc_call_trailers(call, res);
    struct arena *arena = call->arena;
    str number = http_headers_get(h, S("grpc-status"));
    uint64_t code;
    if (!number.p) {
        *ret = (struct grpc_status){ .code = code_of_answer(res->status),
                                     .message = arena_printf(arena, "HTTP status %d without gRPC's",
                                                             res->status) };
        return 0;
    }
    *ret = (struct grpc_status){ .code = UNKNOWN };
    if (str_to_u64(number, &code) && code <= STATUS_MAX)
        ret->code = (enum code)code;
    str message = http_headers_get(h, S("grpc-message"));
    str details = http_headers_get(h, S("grpc-status-details-bin"));
    if (message.n)
        ret->message = percent_decode(arena, message);
    if (details.n)
        ret->details = decode_details(arena, details);
    return 0;
}
