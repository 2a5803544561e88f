#include "api/trace_http.h"

#include <stdio.h>

/* ---- an exchange whose answer names the trace ---- */

struct traced_exchange {
    struct http_exchange x;
    struct http_exchange *below;
    const struct trace_context *trace;
    str baggage;
};

static struct traced_exchange *traced_of(struct http_exchange *x)
{
    return CONTAINER_OF(x, struct traced_exchange, x);
}

/* An app that answers with a traceparent of its own is believed. */
static int with_trace(struct traced_exchange *t, const struct http_headers *headers,
                      struct http_headers *ret)
{
    http_headers_init(ret, t->x.arena);
    int r = 0;
    for (size_t i = 0; headers && i < headers->n && r >= 0; i++)
        r = http_headers_add(ret, headers->v[i].name, headers->v[i].value);
    if (r >= 0 && !http_headers_has(ret, S("traceparent"))) {
        r = http_headers_add(ret, S("traceparent"), str_c(t->trace->parent));
        if (r >= 0 && t->trace->state.n)
            r = http_headers_set(ret, S("tracestate"), t->trace->state);
    }
    return r >= 0 && t->baggage.n ? http_headers_set(ret, S("baggage"), t->baggage) : r;
}

CO static int traced_read(struct http_exchange *x, str *ret_chunk)
{
    return http_read(traced_of(x)->below, ret_chunk);
}

CO static int traced_start(struct http_exchange *x, int status, const struct http_headers *headers,
                           int64_t content_length)
{
    struct http_headers h;
    int r = with_trace(traced_of(x), headers, &h);
    return r < 0 ? r : http_reply_start(traced_of(x)->below, status, &h, content_length);
}

CO static int traced_write(struct http_exchange *x, str data)
{
    return http_reply_write(traced_of(x)->below, data);
}

CO static int traced_end(struct http_exchange *x, const struct http_headers *trailers)
{
    return http_reply_end(traced_of(x)->below, trailers);
}

CO static int traced_reply(struct http_exchange *x, int status, const struct http_headers *headers,
                           str body)
{
    struct http_headers h;
    int r = with_trace(traced_of(x), headers, &h);
    return r < 0 ? r : http_reply(traced_of(x)->below, status, &h, body);
}

static void traced_abort(struct http_exchange *x)
{
    http_reply_abort(traced_of(x)->below);
}

static const struct http_exchange_ops traced_ops = {
    .read = traced_read,
    .start = traced_start,
    .write = traced_write,
    .end = traced_end,
    .reply = traced_reply,
    .abort = traced_abort,
};

/* ---- begin ---- */

/* Whoever is called next finds our span in the headers that go on. */
static int pass_on(struct request *r)
{
    struct http_headers *h = &r->x->req.headers;
    int code = http_headers_set(h, S("traceparent"), str_c(r->trace.parent));
    if (!r->trace.state.n)
        http_headers_remove(h, S("tracestate"));
    return code;
}

CO bool trace_http_begin(struct request *r, struct span *s)
{
    s->block = NULL;
    bool probe = str_contains(r->path, S("/healthz")) || str_eq(r->path, S("/proa/v1/livez")) ||
                 str_eq(r->path, S("/proa/v1/readyz")) || str_eq(r->path, S("/proa/v1/startupz"));
    if (!tracer_on() || probe)
        return true;
    str baggage = http_headers_get(&r->x->req.headers, S("baggage"));
    if (baggage.n && !trace_baggage_valid(baggage)) {
        reply_text(r, 400, S("invalid baggage header: it must be key=value,key=value"));
        return false;
    }
    span_start(s, &r->trace, SPAN_CLIENT);
    r->trace = s->context;
    struct traced_exchange *t = pass_on(r) < 0 ? NULL : arena_alloc(r->a, sizeof *t);
    if (t) { /* without memory the answer only doesn't name the trace */
        *t = (struct traced_exchange){ *r->x, r->x, &r->trace, baggage };
        t->x.ops = &traced_ops;
        r->x = &t->x;
    }
    return true;
}

/* ---- what the span tells: names by the contract (facts 7) ---- */

static void tell_call(const struct request *r, struct span *s)
{
    if (!r->callee.n) {
        span_name(s, &r->path, 1);
        return;
    }
    str name[] = { S("CallLocal/"), r->callee, S("/"), r->callee_method };
    span_name(s, name, COUNT(name));
    span_attr(s, S("rpc.service"), S("ServiceInvocation"));
    span_attr(s, S("net.peer.name"), r->callee);
}

static void tell_block(const struct request *r, const struct route *route, struct span *s)
{
    static const str db[] = { S("state"), S("secrets"), S("bindings"), S("configuration") };
    str group = str_c(route->group), call[] = { r->x->req.method, S(" "), r->path };
    if (str_eq(group, S("publish"))) {
        span_attr(s, S("messaging.system"), S("pubsub"));
        span_attr(s, S("messaging.destination.name"), r->part[1]);
        return;
    }
    for (size_t i = 0; i < COUNT(db); i++) {
        if (!str_eq(group, db[i]))
            continue;
        span_attr(s, S("db.system"), group);
        span_attr(s, S("db.name"), r->part[0]);
        span_attr_joined(s, S("db.statement"), call, COUNT(call));
        span_attr(s, S("db.connection_string"), group);
    }
}

static void tell_http(const struct request *r, struct span *s)
{
    char status[16];
    str call[] = { r->x->req.method, S(" "), r->path };
    snprintf(status, sizeof status, "%d", r->x->status);
    span_attr(s, S("dapr.protocol"), S("http"));
    span_attr_joined(s, S("dapr.api"), call, COUNT(call));
    span_attr(s, S("dapr.status_code"), str_c(status));
    span_attr(s, S("http.request.method"), r->x->req.method);
    span_attr(s, S("url.full"), r->path);
    str peer = str_c(r->x->peer);
    ptrdiff_t colon = (ptrdiff_t)peer.n;
    while (colon > 0 && peer.p[colon - 1] != ':')
        colon--;
    span_attr(s, S("server.address"), colon > 0 ? str_take(peer, (size_t)colon - 1) : peer);
    span_attr(s, S("server.port"), colon > 0 ? str_skip(peer, (size_t)colon) : S(""));
}

/* dapr-… headers are how users label their spans; the token isn't theirs to show. */
static void tell_headers(const struct request *r, struct span *s)
{
    const struct http_headers *h = &r->x->req.headers;
    for (size_t i = 0; i < h->n; i++) {
        char name[128];
        str key = h->v[i].name;
        if (!str_istarts(key, S("dapr-")) || key.n > sizeof name ||
            str_ieq(key, S("dapr-api-token")))
            continue;
        for (size_t c = 0; c < key.n; c++)
            name[c] = (char)(key.p[c] >= 'A' && key.p[c] <= 'Z' ? key.p[c] + 32 : key.p[c]);
        span_attr(s, str_of(name, key.n), h->v[i].value);
    }
}

void trace_http_end(const struct request *r, const struct route *route, struct span *s)
{
    if (!span_recorded(s))
        return;
    tell_call(r, s);
    tell_http(r, s);
    if (route)
        tell_block(r, route, s);
    tell_headers(r, s);
    span_http_status(s, r->x->status);
    span_end(s);
}
