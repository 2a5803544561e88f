#include "api/internal.h"
#include "api/access.h"
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

str internal_received(struct arena *a, const struct http_headers *headers)
{
    str caller = arena_dup(a, http_headers_get(headers, S("dapr-caller-app-id")));
    metric_add(metric_cell(&req_recv, &caller), 1);
    return caller;
}

void internal_answered(str caller, int status)
{
    char text[3];
    str label[] = { caller, http_status_text(status, text) };
    metric_add(metric_cell(&res_sent, label), 1);
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
    str caller = internal_received(x->arena, &x->req.headers);
    bool ill = !b->app || !atomic_load(&b->app->healthy);
    int r = access_check(b, x->req.target, x->req.method, &err);
    if (r >= 0)
        r = invoke_app(b, x, x->req.target, &err);
    else
        ill = false;
    if (r < 0 && !x->started && (ill || r == -UNAVAILABLE))
        reply_undelivered(x, &err);
    else if (r < 0)
        reply_error(x, &err);
    internal_answered(caller, x->status);
}

CO void api_handle_internal(void *api, struct http_exchange *x)
{
    struct blocks *b = api_blocks(api);
    AUTO(catalog_unpinp) struct catalog *pin = catalog_pin(b);
    str wanted = http_headers_get(&x->req.headers, S(DIRECT_HEADER));
    if (wanted.n)
        handle_direct(b, x, wanted);
    else
        api_handle_grpc_internal(api, x);
}
