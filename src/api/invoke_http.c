#include "api/request.h"
#include "base/id.h"
#include "block/call/invoke.h"
#include "format/uri.h"

/* "Authorization: Basic base64(dapr-app-id:<id>)" */
static str app_of_basic(struct request *r)
{
    str value = http_headers_get(&r->x->req.headers, S("Authorization"));
    if (!str_istarts(value, S("Basic ")))
        return S("");
    value = str_trim(str_skip(value, 6));
    char *text = arena_alloc(r->a, value.n / 4 * 3 + 3);
    size_t n;
    if (!text || !base64_decode(value, text, &n))
        return S("");
    str user, id;
    return str_cut(str_of(text, n), ':', &user, &id) && str_eq(user, S("dapr-app-id")) ? id : S("");
}

/* "/v1.0/invoke/<id>/method/<method>" → the two, still escaped. The id may be a URL with its own
 * slashes. */
static bool split_path(str path, str *ret_id, str *ret_method)
{
    static const str PREFIX = { "/v1.0/invoke/", 13 }, METHOD = { "/method/", 8 };
    if (!str_starts(path, PREFIX))
        return false;
    path = str_skip(path, PREFIX.n);
    ptrdiff_t at = str_find(path, METHOD);
    if (at < 0 &&
        str_ends(path, S("/method"))) /* cleaning has taken the slash of an empty method */
        at = (ptrdiff_t)(path.n - S("/method").n);
    if (at <= 0)
        return false;
    *ret_id = str_take(path, (size_t)at);
    *ret_method = str_skip(path, (size_t)at + METHOD.n);
    return true;
}

static int set_id(struct request *r, str id, struct invoke_target *t, struct error *err)
{
    static const str scheme[] = { S("http:/"), S("https:/") };
    for (size_t i = 0; i < COUNT(scheme); i++) {
        if (!str_istarts(id, scheme[i]))
            continue;
        str rest = str_skip(id, scheme[i].n);
        rest =
            str_starts(rest, S("/")) ? str_skip(rest, 1) : rest; /* cleaning may have eaten one */
        str part[] = { scheme[i], S("/"), rest };
        t->url = arena_join(r->a, part, COUNT(part));
        return t->url.p ? 0 : fail(err, EXHAUSTED, NULL, "out of memory");
    }
    str name, space;
    t->app_id = id;
    if (!str_cut(id, '.', &name, &space))
        return 0;
    if (str_find_c(space, '.') >= 0)
        return fail(err, INTERNAL, "ERR_DIRECT_INVOKE",
                    "failed to invoke, id: " STR_FMT ", err: an app id has at most one dot: "
                    "<app>.<namespace>",
                    STR_ARG(id));
    t->app_id = name;
    t->namespace_ = space;
    return 0;
}

/* Decoded once, then cleaned; what a URL can't carry on is refused (surprise 4). */
static int set_method(struct request *r, str escaped, struct invoke_target *t, struct error *err)
{
    str decoded;
    if (str_find_c(escaped, '%') < 0)
        decoded = escaped;
    else if (uri_decode(r->a, escaped, URI_PATH, &decoded) < 0)
        return fail(err, INTERNAL, "ERR_DIRECT_INVOKE", "invalid escape in the method " STR_FMT,
                    STR_ARG(str_take(escaped, 200)));
    for (size_t i = 0; i < decoded.n; i++) {
        unsigned char c = (unsigned char)decoded.p[i];
        if (c < 0x20 || c == 0x7f || c == '#' || c == '?' || c == '%')
            return fail(err, INTERNAL, "ERR_DIRECT_INVOKE",
                        "failed to invoke, id: " STR_FMT
                        ", err: invalid method name: character 0x%02x",
                        STR_ARG(t->app_id), c);
    }
    t->method = decoded;
    if (decoded.p == escaped.p)
        return 0; /* nothing was escaped: the path has been cleaned already */
    str part[] = { S("/"), decoded }, clean;
    str whole = arena_join(r->a, part, 2);
    if (!whole.p || uri_clean(r->a, whole, &clean) < 0)
        return fail(err, EXHAUSTED, NULL, "out of memory");
    t->method = str_skip(clean, 1);
    return 0;
}

/* The header beats basic authentication beats the path. */
static bool find_target(struct request *r, struct invoke_target *t, struct error *err)
{
    str id = http_headers_get(&r->x->req.headers, S("dapr-app-id"));
    str method = str_starts(r->path, S("/")) ? str_skip(r->path, 1) : r->path;
    if (!id.n)
        id = app_of_basic(r);
    if (!id.n && !split_path(r->path, &id, &method)) {
        fail(err, NOT_FOUND, "ERR_DIRECT_INVOKE",
             "failed getting app id either from the URL path or the header dapr-app-id");
        return false;
    }
    if (str_find_c(id, '%') >= 0 && uri_decode(r->a, id, URI_PATH, &id) < 0) {
        fail(err, INTERNAL, "ERR_DIRECT_INVOKE", "invalid escape in the app id");
        return false;
    }
    r->callee = id;
    r->callee_method = method;
    if (set_id(r, id, t, err) < 0 || set_method(r, method, t, err) < 0)
        return false;
    r->callee_method = t->method;
    return true;
}

CO void invoke_route(struct request *r)
{
    struct error err = { 0 };
    struct invoke_target t = { 0 };
    if (!find_target(r, &t, &err) || invoke(r->b, &t, r->x, &err) < 0)
        reply_error(r->x, &err);
}

/* What no route takes is a service invocation (surprise 1). */
CO void fallback_route(struct request *r)
{
    invoke_route(r);
}
