#include "api/grpc_proxy.h"

#include "api/access.h"
#include "block/call/proxy.h"
#include "format/uri.h"
#include "http/grpc.h"

/* The method is normalised, and never unescaped (surprise 5). */
static int clean_path(struct http_exchange *x, str *ret, struct error *err)
{
    if (uri_clean(x->arena, x->req.path, ret) < 0)
        return fail(err, INVALID, NULL, "the method's name is too long");
    return 0;
}

static int prepare(struct blocks *b, struct http_exchange *x, size_t max_message,
                   struct proxy_call *ret, struct error *err)
{
    str stream = http_headers_get(&x->req.headers, S("dapr-stream"));
    *ret = (struct proxy_call){
        .b = b, .x = x, .max_message = max_message, .stream = str_eq(stream, S("true"))
    };
    return clean_path(x, &ret->path, err);
}

CO static int to_app(struct proxy_call *p, struct error *err)
{
    int r = access_check(p->b, p->x->peer_id, p->path, S(""), err);
    return r < 0 ? r : proxy_to_app(p, err);
}

CO int grpc_proxy(struct blocks *b, struct http_exchange *x, size_t max_message,
                  enum code *ret_code, struct error *err)
{
    struct proxy_call p;
    str id = http_headers_get(&x->req.headers, S("dapr-app-id"));
    if (!id.n)
        return fail(err, UNKNOWN, NULL,
                    "failed to proxy request: required metadata dapr-callee-app-id or dapr-app-id "
                    "not found");
    int r = prepare(b, x, max_message, &p, err);
    if (r < 0)
        return r;
    r = proxy_is_own(b, id) ? to_app(&p, err) : proxy_to(&p, id, err);
    *ret_code = p.status;
    return r;
}

CO int grpc_proxy_internal(struct blocks *b, struct http_exchange *x, size_t max_message,
                           struct error *err)
{
    struct proxy_call p;
    str id = http_headers_get(&x->req.headers, S("dapr-callee-app-id"));
    if (!id.n)
        id = http_headers_get(&x->req.headers, S("dapr-app-id"));
    if (!id.n)
        return fail(err, UNKNOWN, NULL,
                    "failed to proxy request: required metadata dapr-callee-app-id or dapr-app-id "
                    "not found");
    if (!proxy_is_own(b, id)) /* an address that was another app's before */
        return fail(err, UNAVAILABLE, NULL, "this is the sidecar of %s, not of " STR_FMT, b->app_id,
                    STR_ARG(str_take(id, 100)));
    uint64_t timeout_ns;
    if (!grpc_timeout(&x->req.headers, &timeout_ns))
        return fail(err, INTERNAL, NULL, "malformed grpc-timeout");
    DEADLINE(timeout_ns);
    int r = prepare(b, x, max_message, &p, err);
    return r < 0 ? r : to_app(&p, err);
}
