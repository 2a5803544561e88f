#include "block/call/outside.h"

#include "base/clock.h"
#include "base/mem.h"
#include "block/call/invoke.h"
#include "block/core/relay.h"
#include "format/uri.h"
#include "http/schemes.h"

enum { REQUESTS_MAX = 10, DIAL_S = 15 }; /* a call's, redirects included; facts 6 */

struct outside {
    struct http_schemes *clients;
    bool follow;
};

int outside_new(const struct outside_config *c, struct outside **ret, struct error *err)
{
    struct http_schemes_config config = { .tls = c->tls, .secure = c->secure };
    config.client.dial_timeout_ns = SEC(DIAL_S);
    struct outside *o = mem_zalloc(sizeof *o);
    if (!o)
        return fail(err, EXHAUSTED, NULL, "out of memory");
    o->follow = c->follow;
    int r = http_schemes_new(&config, &o->clients, err);
    if (r < 0) {
        mem_free(o);
        return r;
    }
    *ret = o;
    return 0;
}

void outside_free(struct outside *o)
{
    if (!o)
        return;
    http_schemes_free(o->clients);
    mem_free(o);
}

/* ---- one request ---- */

struct hop { /* where a request goes */
    str url;
    struct uri uri;
    bool secure;
    const char *address;
    str authority;
};

struct outside_ctx {
    struct outside *o;
    const struct endpoint *named;
    struct relay relay;
    struct hop first, at;
    struct http_request req;  /* for .at */
    struct http_request sent; /* for .first: what each try of the policy begins with */
    struct arena *arena;
};

static int no_memory(struct error *err)
{
    return fail(err, EXHAUSTED, NULL, "the request is too large for its memory");
}

static int hop_to(struct arena *a, str url, struct hop *ret, struct error *err)
{
    struct hop h = { .url = url };
    if (uri_parse(url, &h.uri) < 0 || !h.uri.host.n)
        return fail(err, INVALID, NULL, "\"" STR_FMT "\" is not a URL like https://host:port",
                    STR_ARG(str_take(url, 200)));
    h.secure = str_ieq(h.uri.scheme, S("https"));
    if (!h.secure && !str_ieq(h.uri.scheme, S("http")))
        return fail(err, INVALID, NULL, "\"" STR_FMT "\" begins with neither http:// nor https://",
                    STR_ARG(str_take(url, 200)));
    uint16_t usual = h.secure ? 443 : 80, port = h.uri.port ? h.uri.port : usual;
    const char *open = h.uri.ipv6 ? "[" : "", *close = h.uri.ipv6 ? "]" : "";
    str host = arena_printf(a, "%s" STR_FMT "%s", open, STR_ARG(h.uri.host), close);
    str address = arena_printf(a, STR_FMT ":%u", STR_ARG(host), port);
    if (!host.p || !address.p)
        return no_memory(err);
    h.address = address.p;
    h.authority = port == usual ? host : address;
    *ret = h;
    return 0;
}

/* Path and query of a hop's URL, as they stand in a request line. */
static str target_of(struct arena *a, const struct uri *u)
{
    str part[] = { u->path.n ? u->path : S("/"), u->query.n ? S("?") : S(""), u->query };
    return arena_join(a, part, COUNT(part));
}

/* The base's path in front of the method's. */
static int first_hop(struct outside_ctx *c, str base, const struct invoke_target *t,
                     struct http_exchange *x, struct error *err)
{
    struct uri u;
    str rest;
    if (uri_parse(base, &u) < 0) /* hop_to() says it */
        return hop_to(c->arena, base, &c->first, err);
    size_t n = (size_t)(u.path.p - base.p) + u.path.n;
    while (n && u.path.n-- && base.p[n - 1] == '/')
        n--;
    if (relay_target(c->arena, t->method, x->req.query, &rest) < 0)
        return no_memory(err);
    str part[] = { str_take(base, n), rest }, url = arena_join(c->arena, part, COUNT(part));
    return url.p ? hop_to(c->arena, url, &c->first, err) : no_memory(err);
}

static int first_request(struct outside_ctx *c, struct http_exchange *x, struct error *err)
{
    const struct endpoint *named = c->named;
    int r = relay_request(x, target_of(c->arena, &c->first.uri), &c->sent);
    for (size_t i = 0; named && i < named->headers.n && r >= 0; i++)
        r = http_headers_set(&c->sent.headers, named->headers.v[i].key, named->headers.v[i].value);
    c->sent.authority = c->first.authority;
    return r < 0 || !c->sent.target.p ? no_memory(err) : 0;
}

/* ---- redirects, by the rules of Go's net/http ---- */

static bool same_or_below(str host, str domain)
{
    if (str_ieq(host, domain))
        return true;
    return host.n > domain.n && host.p[host.n - domain.n - 1] == '.' &&
           str_ieq(str_skip(host, host.n - domain.n), domain);
}

/* May credentials for the first hop's server be shown to this one? */
static bool trusted_like_first(const struct outside_ctx *c)
{
    bool address = c->first.uri.ipv6 || c->at.uri.ipv6;
    bool host = address ? str_ieq(c->at.uri.host, c->first.uri.host)
                        : same_or_below(c->at.uri.host, c->first.uri.host);
    return host && (c->at.secure || !c->first.secure);
}

/* Also what the endpoint's resource adds: it was written down for that server alone. */
static void drop_credentials(struct outside_ctx *c)
{
    static const str secret[] = { S("authorization"), S("www-authenticate"), S("cookie"),
                                  S("cookie2") };
    for (size_t i = 0; i < COUNT(secret); i++)
        http_headers_remove(&c->req.headers, secret[i]);
    for (size_t i = 0; c->named && i < c->named->headers.n; i++)
        http_headers_remove(&c->req.headers, c->named->headers.v[i].key);
}

/* The rest of a streamed upload isn't wanted any more. */
CO static void drop_body(struct outside_ctx *c)
{
    static const str about[] = { S("content-type"), S("content-encoding"), S("content-language"),
                                 S("content-location") };
    relay_done(&c->relay);
    c->relay.upload = (struct upload){ 0 };
    c->relay.sent = false;
    c->relay.whole = true;
    c->relay.body = S("");
    c->req.method = S("GET");
    c->req.content_length = 0;
    for (size_t i = 0; i < COUNT(about); i++)
        http_headers_remove(&c->req.headers, about[i]);
}

static bool drops_body(const struct outside_ctx *c)
{
    int status = c->relay.answer.status;
    return status >= 301 && status <= 303 && !str_eq(c->req.method, S("GET")) &&
           !str_eq(c->req.method, S("HEAD"));
}

/* Where the present answer leads; empty: nowhere, it is the answer. */
static str location(const struct outside_ctx *c)
{
    const struct answer *a = &c->relay.answer;
    bool repeats = a->status == 307 || a->status == 308;
    bool redirects = (a->status >= 301 && a->status <= 303) || (repeats && c->relay.whole);
    if (!c->o->follow || !a->source || !redirects)
        return (str){ 0 };
    return http_headers_get(&a->headers, S("location"));
}

/* Headers of a request are changed on the way: each try begins with a copy. */
static int begin(struct outside_ctx *c, struct error *err)
{
    c->at = c->first;
    c->req = c->sent;
    struct http_headers *h = &c->req.headers;
    h->v = arena_alloc(c->arena, c->sent.headers.cap * sizeof *h->v);
    if (!h->v)
        return no_memory(err);
    memcpy(h->v, c->sent.headers.v, h->n * sizeof *h->v);
    return 0;
}

static int turn_to(struct outside_ctx *c, str where, struct error *err)
{
    str url;
    str own = arena_dup(c->arena, where);
    int r = own.p ? uri_resolve(c->arena, c->at.url, own, &url) : -EXHAUSTED;
    if (r < 0)
        return no_memory(err);
    r = hop_to(c->arena, url, &c->at, err);
    if (r < 0)
        return fail_wrap(err, "the redirect to another URL can't be followed");
    c->req.target = target_of(c->arena, &c->at.uri);
    c->req.authority = c->at.authority;
    if (!trusted_like_first(c))
        drop_credentials(c);
    return c->req.target.p ? 0 : no_memory(err);
}

CO static int send_hop(struct outside_ctx *c, struct guard_attempt *attempt, struct error *err)
{
    struct error local = { 0 };
    struct error *story = err ? err : &local;
    struct http_client *client = http_schemes_get(c->o->clients, c->at.secure, story);
    if (!client)
        return -(int)story->code;
    return relay_try(&c->relay, client, c->at.address, &c->req, attempt, err);
}

CO static int send_and_follow(struct outside_ctx *c, struct guard_attempt *attempt,
                              struct error *err)
{
    int r = begin(c, err);
    if (r >= 0)
        r = send_hop(c, attempt, err);
    str where;
    for (int n = 1; r >= 0 && (where = location(c)).n; n++) {
        if (n == REQUESTS_MAX)
            r = fail(err, UNKNOWN, NULL, "stopped after %d redirects", REQUESTS_MAX);
        else
            r = turn_to(c, where, err);
        if (r < 0) {
            relay_done(&c->relay); /* this answer is none */
            break;
        }
        if (drops_body(c))
            drop_body(c);
        r = send_hop(c, attempt, err);
    }
    return r;
}

CO static int try_outside(void *arg, struct guard_attempt *attempt, struct error *err)
{
    struct outside_ctx *c = arg;
    str body = c->relay.body;
    bool whole = c->relay.whole;
    int r = send_and_follow(c, attempt, err);
    if (c->relay.whole != whole)
        c->relay.sent = attempt->fatal = true; /* a redirect has ended the upload */
    c->relay.whole = whole;
    c->relay.body = body;
    return r;
}

CO int invoke_outside(struct blocks *b, struct outside *o, str base, const struct endpoint *named,
                      const struct invoke_target *t, struct http_exchange *x, struct error *err)
{
    struct outside_ctx c = { .o = o, .named = named, .arena = x->arena };
    int r = first_hop(&c, base, t, x, err);
    if (r >= 0)
        r = first_request(&c, x, err);
    if (r < 0)
        return r;
    str name = named ? named->name : base;
    str key[] = { name, named ? S(":") : S("/"), named ? base : t->method };
    struct policy *policy = policy_app(b->resiliency, name);
    r = relay_init(&c.relay, x, err);
    struct guard_attempt outer = { 0 };
    if (r >= 0)
        r = guard_call_in(&outer, policy, arena_join(x->arena, key, 3), try_outside, &c, err);
    if (outer.spent)
        app_note_retried(b->app, &x->req.headers);
    if (r >= 0 || c.relay.answer.source)
        r = relay_pass(&c.relay, r, err);
    relay_done(&c.relay);
    return r;
}
