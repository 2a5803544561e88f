#include "fetch.h"

#include "base/clock.h"
#include "fiber/fiber.h"
#include "format/uri.h"
#include "loop/worker.h"

int fetcher_init(struct fetcher *f, struct error *err)
{
    struct http_schemes_config c = { .client = { .max_conns = 4, .max_idle = 1 } };
    return http_schemes_new(&c, &f->clients, err);
}

static void free_clients(void *arg)
{
    http_schemes_free(arg);
}

CO void fetcher_done(struct fetcher *f)
{
    while (f->clients && blocking(free_clients, f->clients)) /* waits for all workers: not on one */
        (void)fiber_sleep(MS(10));
    f->clients = NULL;
}

struct place {
    bool tls;
    const char *address;
    struct http_request req;
};

static int parse(str url, struct uri *ret, bool *ret_tls, struct error *err)
{
    bool ok = uri_parse(url, ret) >= 0 && ret->host.n;
    if (ok && ret->userinfo.n)
        return fail(err, INVALID, NULL, "a URL with a user can't be fetched");
    *ret_tls = ok && str_ieq(ret->scheme, S("https"));
    if (*ret_tls || (ok && str_ieq(ret->scheme, S("http"))))
        return 0;
    return fail(err, INVALID, NULL, "\"" STR_FMT "\" is no http:// or https:// URL",
                STR_ARG(str_take(url, 200)));
}

static int locate(str url, struct arena *a, struct place *ret, struct error *err)
{
    struct uri u;
    int r = parse(url, &u, &ret->tls, err);
    if (r < 0)
        return r;
    unsigned port = u.port ? u.port : ret->tls ? 443 : 80;
    str host = arena_printf(a, u.ipv6 ? "[" STR_FMT "]" : STR_FMT, STR_ARG(u.host));
    str address = arena_printf(a, STR_FMT ":%u", STR_ARG(host), port);
    str target = arena_printf(a, STR_FMT "%s" STR_FMT, STR_ARG(u.path.n ? u.path : S("/")),
                              u.query.n ? "?" : "", STR_ARG(u.query));
    ret->address = address.p;
    ret->req = (struct http_request){ .method = S("GET"),
                                      .target = target,
                                      .authority = u.port ? address : host };
    http_headers_init(&ret->req.headers, a);
    r = http_headers_add(&ret->req.headers, S("Accept"), S("application/json"));
    return r < 0 || !host.p || !address.p || !target.p ? fail(err, EXHAUSTED, NULL, "out of memory")
                                                       : 0;
}

CO static int read_answer(struct http_call *call, struct arena *a, str *ret, struct error *err)
{
    const struct http_response *res;
    str body;
    int r = http_call_response(call, &res, err);
    if (r < 0)
        return r;
    if (res->status != 200)
        return fail(err, UNAVAILABLE, NULL, "the answer's status is %d", res->status);
    r = http_call_read_all(call, FETCH_MAX, &body);
    if (r < 0)
        return fail(err, r == -RANGE ? EXHAUSTED : (enum code) - r, NULL,
                    r == -RANGE ? "the answer is larger than 1 MiB" : "the answer broke off");
    *ret = arena_dup(a, body);
    return ret->p ? 0 : fail(err, EXHAUSTED, NULL, "out of memory");
}

CO int fetch(struct fetcher *f, str url, struct arena *a, str *ret, struct error *err)
{
    AUTO(http_call_freep) struct http_call *call = NULL;
    struct place p = { 0 };
    DEADLINE(SEC(FETCH_S));
    int r = locate(url, a, &p, err);
    if (r < 0)
        return r;
    struct http_client *client = http_schemes_get(f->clients, p.tls, err);
    if (!client)
        return err ? -(int)err->code : -INVALID;
    r = http_call_start(client, p.address, &p.req, S(""), true, &call, err);
    if (r >= 0)
        r = read_answer(call, a, ret, err);
    if (r < 0 && err && err->code)
        return fail_wrap(err, STR_FMT, STR_ARG(str_take(url, 200)));
    return r < 0 ? fail(err, (enum code) - r, NULL, STR_FMT " could not be fetched",
                        STR_ARG(str_take(url, 200)))
                 : 0;
}
