#include "base/mem.h"
#include "format/cloudevent.h"
#include "format/uri.h"
#include "lib/private.h"

#include <stdarg.h>
#include <stdio.h>

enum { BODY_MAX = 16 << 20 };

/* What a handler's request is besides its public face. */
struct incoming {
    struct proa_request request;
    struct http_exchange *x;
};

static const char *cstr(struct arena *a, str s)
{
    const char *p = arena_cstr(a, s);
    return p ? p : "";
}

CO static void answer(struct http_exchange *x, int status, str type, str body)
{
    struct http_headers h;
    http_headers_init(&h, x->arena);
    if (type.n && http_is_field_value(type))
        (void)http_headers_add(&h, S("Content-Type"), type);
    (void)http_reply(x, status, &h, body); /* a caller that has left is no failure of ours */
}

/* ---- GET /dapr/subscribe ---- */

CO static void serve_subscriptions(struct proa *p, struct http_exchange *x)
{
    AUTO(buf_done) struct buf out;
    buf_init(&out, MIB(1));
    struct json_w w;
    json_w_init(&w, &out, 0);
    json_w_array(&w);
    for (size_t i = 0; i < p->n_topics; i++) {
        json_w_object(&w);
        json_w_kv(&w, S("pubsubname"), str_c(p->topic[i].pubsub));
        json_w_kv(&w, S("topic"), str_c(p->topic[i].topic));
        json_w_kv(&w, S("route"), str_c(p->topic[i].path));
        if (p->topic[i].dead_letter)
            json_w_kv(&w, S("deadLetterTopic"), str_c(p->topic[i].dead_letter));
        json_w_object_end(&w);
    }
    json_w_array_end(&w);
    answer(x, 200, S("application/json"), buf_str(&out));
}

/* ---- deliveries ---- */

CO static void serve_topic(struct proa *p, const struct topic *t, struct http_exchange *x)
{
    str body, data;
    struct cloudevent ce;
    struct error err = { 0 };
    struct arena *a = x->arena;
    if (http_read_all(x, BODY_MAX, &body) < 0 || cloudevent_read(body, a, &ce, &err) < 0 ||
        cloudevent_data(&ce, a, &data) < 0) {
        answer(x, 200, S("application/json"), S("{\"status\":\"DROP\"}")); /* it won't get better */
        return;
    }
    struct proa_event e = {
        .pubsub = t->pubsub,
        .topic = t->topic,
        .id = cstr(a, ce.id),
        .type = cstr(a, ce.type),
        .source = cstr(a, ce.source),
        .subject = cstr(a, ce.subject),
        .content_type = cstr(a, ce.datacontenttype),
        .data = cstr(a, data),
        .len = data.n,
        .proa = p,
    };
    static const str status[] = { S("{\"status\":\"SUCCESS\"}"), S("{\"status\":\"RETRY\"}"),
                                  S("{\"status\":\"DROP\"}") };
    enum proa_verdict v = t->fn(&e, t->arg);
    answer(x, 200, S("application/json"), status[(size_t)v < COUNT(status) ? v : PROA_RETRY]);
}

/* ---- methods ---- */

static const struct method *find_method(const struct proa *p, str path)
{
    const struct method *best = NULL;
    size_t longest = 0;
    for (size_t i = 0; i < p->n_methods; i++) {
        str name = str_c(p->method[i].name);
        bool whole = str_eq(name, path);
        bool front = str_starts(path, name) && path.n > name.n && path.p[name.n] == '/';
        if ((whole || front) && (!best || name.n > longest)) {
            best = &p->method[i];
            longest = name.n;
        }
    }
    return best;
}

CO static void serve_method(struct proa *p, struct http_exchange *x, str path)
{
    const struct method *m = find_method(p, path);
    str body;
    if (!m) {
        answer(x, 404, S("text/plain"), S("no such method\n"));
        return;
    }
    if (http_read_all(x, BODY_MAX, &body) < 0) {
        answer(x, 413, S("text/plain"), S("the body is larger than 16 MiB, or broke off\n"));
        return;
    }
    struct arena *a = x->arena;
    struct incoming in = { .x = x };
    in.request = (struct proa_request){
        .verb = cstr(a, x->req.method),
        .method = cstr(a, path),
        .query = cstr(a, x->req.query),
        .content_type = cstr(a, http_headers_get(&x->req.headers, S("Content-Type"))),
        .caller = cstr(a, http_headers_get(&x->req.headers, S("dapr-caller-app-id"))),
        .data = cstr(a, body),
        .len = body.n,
        .proa = p,
        .impl = &in,
    };
    m->fn(&in.request, m->arg);
    if (!x->started)
        answer(x, 500, S("text/plain"), S("the handler gave no answer\n"));
}

CO void serve(void *proa, struct http_exchange *x)
{
    struct proa *p = proa;
    str path = x->req.path, decoded;
    if (uri_decode(x->arena, path, URI_PATH, &decoded) < 0) {
        answer(x, 400, S("text/plain"), S("invalid escape in the path\n"));
        return;
    }
    if (str_eq(path, S("/dapr/subscribe")))
        serve_subscriptions(p, x);
    else if (str_eq(path, S("/dapr/config")))
        answer(x, 200, S("application/json"), S("{}"));
    else if (str_eq(path, S("/healthz")))
        answer(x, 204, S(""), S(""));
    else {
        for (size_t i = 0; i < p->n_topics; i++)
            if (str_eq(path, str_c(p->topic[i].path))) {
                serve_topic(p, &p->topic[i], x);
                return;
            }
        serve_method(p, x, str_skip(decoded, 1));
    }
}

/* ---- what handlers call ---- */

void proa_reply(struct proa_request *r, int status, const char *content_type, const char *data,
                size_t len)
{
    struct incoming *in = r->impl;
    if (!in->x->started)
        answer(in->x, status, str_c(content_type), str_of(data ? data : "", len));
}

void proa_reply_json(struct proa_request *r, int status, const char *fmt, ...)
{
    struct incoming *in = r->impl;
    va_list args;
    va_start(args, fmt);
    str text = arena_vprintf(in->x->arena, fmt, args);
    va_end(args);
    if (text.p)
        proa_reply(r, status, "application/json", text.p, text.n);
}

const char *proa_header(const struct proa_request *r, const char *name)
{
    const struct incoming *in = r->impl;
    return cstr(in->x->arena, http_headers_get(&in->x->req.headers, str_c(name)));
}
