#include "api/cors.h"

static bool allowed(const char *list, str origin)
{
    str item;
    for (str rest = str_c(list); str_next(&rest, ',', &item);)
        if (str_eq(item, S("*")) || str_ieq(item, origin))
            return true;
    return false;
}

CO static void answer_preflight(struct http_exchange *x, str origin, bool ok)
{
    struct http_headers h;
    http_headers_init(&h, x->arena);
    (void)http_headers_add(&h, S("Vary"), S("Origin"));
    if (ok) {
        (void)http_headers_add(&h, S("Access-Control-Allow-Origin"), origin);
        (void)http_headers_add(&h, S("Access-Control-Allow-Methods"),
                               S("HEAD, GET, POST, PUT, PATCH, DELETE"));
        (void)http_headers_add(&h, S("Access-Control-Allow-Headers"), S("*"));
    }
    (void)http_reply(x, 200, &h, S("")); /* the caller may have left */
}

/* ---- an exchange whose answer names the origin ---- */

struct cors_exchange {
    struct http_exchange x;
    struct http_exchange *below;
    str origin;
};

static struct cors_exchange *cors_of(struct http_exchange *x)
{
    return CONTAINER_OF(x, struct cors_exchange, x);
}

static int with_origin(struct cors_exchange *c, const struct http_headers *headers,
                       struct http_headers *ret)
{
    http_headers_init(ret, c->x.arena);
    int r = 0;
    for (size_t i = 0; headers && i < headers->n && r >= 0; i++)
        r = http_headers_add(ret, headers->v[i].name, headers->v[i].value);
    if (r >= 0)
        r = http_headers_add(ret, S("Vary"), S("Origin"));
    return r < 0 ? r : http_headers_set(ret, S("Access-Control-Allow-Origin"), c->origin);
}

CO static int cors_read(struct http_exchange *x, str *ret_chunk)
{
    return http_read(cors_of(x)->below, ret_chunk);
}

CO static int cors_start(struct http_exchange *x, int status, const struct http_headers *headers,
                         int64_t content_length)
{
    struct http_headers h;
    int r = with_origin(cors_of(x), headers, &h);
    return r < 0 ? r : http_reply_start(cors_of(x)->below, status, &h, content_length);
}

CO static int cors_write(struct http_exchange *x, str data)
{
    return http_reply_write(cors_of(x)->below, data);
}

CO static int cors_end(struct http_exchange *x, const struct http_headers *trailers)
{
    return http_reply_end(cors_of(x)->below, trailers);
}

CO static int cors_reply(struct http_exchange *x, int status, const struct http_headers *headers,
                         str body)
{
    struct http_headers h;
    int r = with_origin(cors_of(x), headers, &h);
    return r < 0 ? r : http_reply(cors_of(x)->below, status, &h, body);
}

static void cors_abort(struct http_exchange *x)
{
    http_reply_abort(cors_of(x)->below);
}

static const struct http_exchange_ops cors_ops = {
    .read = cors_read,
    .start = cors_start,
    .write = cors_write,
    .end = cors_end,
    .reply = cors_reply,
    .abort = cors_abort,
};

CO bool cors_handle(const char *origins, struct http_exchange **x)
{
    if (!origins || !origins[0])
        return false;
    struct http_exchange *below = *x;
    str origin = http_headers_get(&below->req.headers, S("Origin"));
    if (!origin.n)
        return false;
    bool ok = allowed(origins, origin);
    if (str_eq(below->req.method, S("OPTIONS")) &&
        http_headers_has(&below->req.headers, S("Access-Control-Request-Method"))) {
        answer_preflight(below, origin, ok);
        return true;
    }
    struct cors_exchange *c = ok ? arena_alloc(below->arena, sizeof *c) : NULL;
    if (c) {
        *c = (struct cors_exchange){ *below, below, origin };
        c->x.ops = &cors_ops;
        *x = &c->x;
    }
    return false;
}
