#include "api/policy_metrics.h"
#include "api/request.h"
#include "block/app/app.h"
#include "block/app/demand.h"
#include "block/binding.h"
#include "block/call/invoke.h"
#include "format/uri.h"
#include "telemetry/metrics.h"

/* ---- metadata, health, shutdown, the page's feed ---- */

CO void metadata_put_route(struct request *r)
{
    struct error err = { 0 };
    str body;
    int code = request_body(r, &body, &err);
    if (code >= 0 && r->config->host.set_metadata(r->config->host.arg, r->part[0], body) < 0)
        code = fail(&err, EXHAUSTED, "ERR_MALFORMED_REQUEST",
                    "too many attributes, or too large a value");
    if (code < 0)
        reply_error(r->x, &err);
    else
        reply_empty(r, 204);
}

CO void shutdown_route(struct request *r)
{
    bool force = str_eq(http_headers_get(&r->x->req.headers, S("dapr-force-shutdown")), S("true"));
    reply_empty(r, 204);
    r->config->host.shutdown(r->config->host.arg, force);
}

CO void healthz_route(struct request *r)
{
    struct error err = { 0 };
    str id;
    if (!r->config->host.ready(r->config->host.arg, &err)) {
        reply_error(r->x, &err);
        return;
    }
    if (r->x->req.query.n && uri_query_get(r->x->req.query, r->a, S("appid"), &id) &&
        !str_eq(id, str_c(r->b->app_id))) {
        fail(&err, INTERNAL, "ERR_HEALTH_APPID_NOT_MATCH", "dapr app-id does not match");
        reply_error(r->x, &err);
        return;
    }
    reply_empty(r, 204);
}

CO void outbound_route(struct request *r)
{
    struct error err = { 0 };
    if (r->config->host.outbound_ready(r->config->host.arg, &err))
        reply_empty(r, 204);
    else
        reply_error(r->x, &err);
}

CO static void answer_probe(struct request *r, enum host_probe probe)
{
    struct error err = { 0 };
    if (r->config->host.probe(r->config->host.arg, probe, &err))
        reply_empty(r, 204);
    else
        reply_error(r->x, &err);
}

CO void livez_route(struct request *r)
{
    answer_probe(r, PROBE_LIVE);
}

CO void readyz_route(struct request *r)
{
    answer_probe(r, PROBE_READY);
}

CO void startupz_route(struct request *r)
{
    answer_probe(r, PROBE_STARTED);
}

CO void feed_route(struct request *r)
{
    AUTO(buf_done) struct buf out;
    buf_init(&out, MIB(16));
    r->config->host.write_feed(r->config->host.arg, &out);
    reply_buf(r, 200, &out);
}

/* Who started the app wants to end it for a while: 200 = nothing is under way, and what comes
 * waits.
 */
CO void sleep_route(struct request *r)
{
    struct error err = { 0 };
    int code = r->b->app ? sleep_begin(&r->b->app->sleep, &err)
                         : fail(&err, ABORTED, NULL, "there is no app that could sleep");
    if (code < 0)
        reply_error(r->x, &err);
    else
        reply_empty(r, 200);
}

/* It has been started again. */
CO void wake_route(struct request *r)
{
    if (r->b->app)
        sleep_wake(&r->b->app->sleep);
    reply_empty(r, 204);
}

/* The contract's building blocks that Proa doesn't have (docs/compatibility.md). */
CO void unimplemented_route(struct request *r)
{
    struct error err = { 0 };
    fail(&err, UNIMPLEMENTED, "ERR_API_UNIMPLEMENTED", "this API is currently not implemented");
    reply_error(r->x, &err);
}

/* ---- bindings ---- */

static int result_headers(struct request *r, const struct binding_result *result,
                          struct http_headers *h)
{
    http_headers_init(h, r->a);
    int code = http_headers_add(h, S("Content-Type"), S("application/json"));
    for (size_t i = 0; i < result->metadata.n && code >= 0; i++) {
        str part[] = { S("metadata."), result->metadata.v[i].key };
        str name = arena_join(r->a, part, 2);
        if (name.p && http_is_token(name) && http_is_field_value(result->metadata.v[i].value))
            code = http_headers_add(h, name, result->metadata.v[i].value);
    }
    return code;
}

/* Trace context goes along in the metadata. */
static int trace_metadata(struct request *r, struct kvs *kvs)
{
    if (!r->trace.parent[0])
        return 0;
    struct kv *kv = arena_alloc(r->a, (kvs->n + 2) * sizeof *kv);
    if (!kv)
        return -EXHAUSTED;
    size_t n = 0;
    for (; n < kvs->n; n++)
        kv[n] = kvs->v[n];
    kv[n++] = (struct kv){ S("traceparent"), arena_dup(r->a, str_c(r->trace.parent)) };
    if (r->trace.state.n)
        kv[n++] = (struct kv){ S("tracestate"), r->trace.state };
    *kvs = (struct kvs){ kv, n };
    return 0;
}

CO void binding_route(struct request *r)
{
    struct error err = { 0 };
    struct json root;
    struct kvs metadata;
    str operation;
    struct binding_result result = { 0 };
    int code = request_json(r, &root, &err);
    if (code >= 0 &&
        json_string_or(r->a, json_get_fold(root, S("operation")), S(""), &operation) < 0)
        code = fail(&err, INVALID, "ERR_MALFORMED_REQUEST",
                    "failed deserializing HTTP body: operation must be a string");
    if (code >= 0 && (request_kvs(r, json_get_fold(root, S("metadata")), &metadata) < 0 ||
                      trace_metadata(r, &metadata) < 0))
        code = fail(&err, EXHAUSTED, NULL, "the request is too large for its memory");
    if (code < 0) {
        reply_error(r->x, &err);
        return;
    }
    struct json data = json_get_fold(root, S("data"));
    code =
        block_binding_invoke(r->b, r->part[0], operation, data.type == JSON_NONE ? S("") : data.raw,
                             metadata, r->a, &result, &err);
    struct http_headers h;
    if (result_headers(r, &result, &h) < 0) {
        err = (struct error){ 0 };
        reply_error(r->x, &err);
        return;
    }
    AUTO(buf_done) struct buf out;
    buf_init(&out, KIB(64));
    if (code < 0) {
        error_http_body(&err, &out);
        error_count(&err);
        (void)http_reply(r->x, error_http_status(&err), &h, buf_str(&out));
    } else if (result.data.n)
        (void)http_reply(r->x, 200, &h, result.data);
    else {
        http_headers_remove(&h, S("Content-Type"));
        (void)http_reply(r->x, 204, &h, S(""));
    }
}

CO void api_handle_metrics(void *api, struct http_exchange *x)
{
    AUTO(buf_done) struct buf out;
    buf_init(&out, MIB(64));
    policy_metrics(api_blocks(api));
    demand_metrics(api_blocks(api));
    if (api_blocks(api)->invoker)
        instances_metrics(&api_blocks(api)->invoker->instances);
    if (api_blocks(api)->invoker && api_blocks(api)->invoker->zoning)
        zoning_metrics(api_blocks(api)->invoker->zoning);
    metrics_write(&out);
    if (!buf_ok(&out)) {
        (void)http_reply(x, 500, NULL, S("the metrics don't fit into memory\n"));
        return;
    }
    struct http_headers h;
    http_headers_init(&h, x->arena);
    (void)http_headers_add(&h, S("Content-Type"), S("text/plain; version=0.0.4; charset=utf-8"));
    (void)http_reply(x, 200, &h, buf_str(&out));
}
