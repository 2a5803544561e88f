#include "api/request.h"
#include "block/invoke.h"
#include "telemetry/metrics.h"

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
    str caller = http_headers_get(&x->req.headers, S("dapr-caller-app-id"));
    caller = arena_dup(x->arena, caller);
    metric_add(metric_cell(&req_recv, &caller), 1);
    bool ill = !b->app || !atomic_load(&b->app->healthy);
    int r = invoke_app(b, x, x->req.target, &err);
    if (r < 0 && !x->started && (ill || r == -UNAVAILABLE))
        reply_undelivered(x, &err);
    else if (r < 0)
        reply_error(x, &err);
    char status[3];
    str label[] = { caller, http_status_text(x->status, status) };
    metric_add(metric_cell(&res_sent, label), 1);
}

CO void api_handle_internal(void *api, struct http_exchange *x)
{
    struct blocks *b = api_blocks(api);
    str wanted = http_headers_get(&x->req.headers, S(DIRECT_HEADER));
    if (wanted.n)
        handle_direct(b, x, wanted);
    else
        api_handle_grpc_internal(api, x);
}
