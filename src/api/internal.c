#include "api/internal.h"
#include "api/access.h"
#include "api/request.h"
#include "block/call/invoke.h"
#include "block/core/headers.h"
#include "telemetry/metrics.h"

#include <stdio.h>

static struct metric_family req_recv = {
    .name = "dapr_runtime_service_invocation_req_recv_total",
    .help = "Calls received from other services.",
    .label = { "src_app_id" },
};
static struct metric_family res_sent = {
    .name = "dapr_runtime_service_invocation_res_sent_total",
    .help = "Answers sent to other services.",
    .label = { "dst_app_id", "status" },
};

static void read_context(struct trace_context *t, const struct http_headers *own,
                         const struct http_headers *outer)
{
    str parent = http_headers_get(own, S("traceparent"));
    str state = http_headers_get(own, S("tracestate"));
    if (!outer) {
        trace_read(t, parent, state);
        return;
    }
    if (!parent.n) {
        parent = http_headers_get(outer, S("traceparent"));
        state = http_headers_get(outer, S("tracestate"));
    }
    trace_read_grpc(t, http_headers_get(outer, S("grpc-trace-bin")), parent, state);
}

/* Names and attributes by the contract: facts 7. */
static void tell(struct span *s, const struct blocks *b, str target, bool grpc)
{
    str method, query;
    (void)str_cut(str_starts(target, S("/")) ? str_skip(target, 1) : target, '?', &method, &query);
    span_name(s, (str[]){ S("CallLocal/"), str_c(b->app_id), S("/"), method }, 4);
    span_attr(s, S("rpc.service"), S("ServiceInvocation"));
    span_attr(s, S("dapr.invoke_method"), method);
    span_attr(s, S("dapr.protocol"), grpc ? S("grpc") : S("http"));
    span_attr(s, S("dapr.api"), S("/dapr.proto.internals.v1.ServiceInvocation/CallLocal"));
}

void internal_received(struct internal_call *c, const struct blocks *b, struct http_request *req,
                       str target, const struct http_headers *outer)
{
    struct http_headers *h = &req->headers;
    c->span.block = NULL;
    c->caller = arena_dup(h->arena, http_headers_get(h, S("dapr-caller-app-id")));
    metric_add(metric_cell(&req_recv, &c->caller), 1);
    if (!tracer_on() && !outer)
        return; /* what the headers say goes on as it is */
    struct trace_context from;
    read_context(&from, h, outer);
    span_start(&c->span, &from, SPAN_SERVER);
    if (span_recorded(&c->span))
        tell(&c->span, b, target, outer);
    /* The app is the span's child. */
    if (from.parent[0] || tracer_on())
        (void)http_headers_set(h, S("traceparent"), str_c(c->span.context.parent));
    if (from.state.n)
        (void)http_headers_set(h, S("tracestate"), from.state);
}

void internal_answered(struct internal_call *c, int status)
{
    char text[3];
    str label[] = { c->caller, http_status_text(status, text) };
    metric_add(metric_cell(&res_sent, label), 1);
    if (!span_recorded(&c->span))
        return;
    char digits[16];
    snprintf(digits, sizeof digits, "%d", status);
    span_attr(&c->span, S("dapr.status_code"), str_c(digits));
    span_http_status(&c->span, status);
    span_end(&c->span);
}

CO static void reply_undelivered(struct http_exchange *x, const struct error *err)
{
    str why = http_is_field_value(str_c(err->text)) ? str_c(err->text) : S("");
    struct http_headers h;
    http_headers_init(&h, x->arena);
    (void)http_headers_add(&h, S(UNDELIVERED_HEADER), why);
    (void)http_reply(x, 503, &h, S("")); /* the caller may have left */
}

/* A Proa that knows us as one calls in plain HTTP/1.1: the request is the app's, as it shall get
 * it. */
CO static void handle_direct(struct blocks *b, struct http_exchange *x, str wanted)
{
    struct error err = { 0 };
    if (!str_eq(wanted, str_c(b->app_id))) {
        /* Misdirected (RFC 9110 15.5.20): this address was another app's before. The header tells
         * our 421 from one of an app. */
        struct http_headers h;
        http_headers_init(&h, x->arena);
        if (http_headers_add(&h, S(DIRECT_HEADER), str_c(b->app_id)) >= 0)
            (void)http_reply(x, 421, &h, S(""));
        return;
    }
    struct internal_call call;
    internal_received(&call, b, &x->req, x->req.target, NULL);
    bool ill = !b->app || !atomic_load(&b->app->healthy);
    int r = access_check(b, x->peer_id, x->req.target, x->req.method, &err);
    if (r >= 0)
        r = invoke_app(b, x, x->req.target, &err);
    else
        ill = false;
    if (r < 0 && !x->started && (ill || r == -UNAVAILABLE))
        reply_undelivered(x, &err);
    else if (r < 0)
        reply_error(x, &err);
    internal_answered(&call, x->status);
}

CO void api_handle_internal(void *api, struct http_exchange *x)
{
    struct blocks *b = api_blocks(api);
    PINNED(b);
    str wanted = http_headers_get(&x->req.headers, S(DIRECT_HEADER));
    if (wanted.n)
        handle_direct(b, x, wanted);
    else
        api_handle_grpc_internal(api, x);
}
