#include "api/grpc_call.h"
#include "block/binding.h"
#include "runtime.pb-c.h"

typedef Dapr__Proto__Runtime__V1__InvokeBindingRequest invoke_request;
typedef Dapr__Proto__Runtime__V1__InvokeBindingResponse invoke_response;

/* The transport's own, which gRPC's servers don't show either. */
static bool is_transport(str name)
{
    static const str ours[] = { S("te"),          S("grpc-timeout"), S("grpc-encoding"),
                                S("traceparent"), S("tracestate"),   S("grpc-trace-bin") };
    for (size_t i = 0; i < COUNT(ours); i++)
        if (str_eq(name, ours[i]))
            return true;
    return false;
}

/* The request's metadata, then the call's, which doesn't override (facts 3.2). */
static int merge(struct grpc_call *c, struct kvs own, struct kvs *ret)
{
    const struct http_headers *h = &c->x->req.headers;
    struct kv *kv = arena_alloc(c->a, (own.n + h->n + 3) * sizeof *kv);
    if (!kv)
        return -EXHAUSTED;
    size_t n = 0;
    for (size_t i = 0; i < own.n; i++)
        kv[n++] = own.v[i];
    if (!kvs_get(own, S("dapr-authority")).p)
        kv[n++] = (struct kv){ S("dapr-authority"), c->x->req.authority };
    for (size_t i = 0; i < h->n; i++) {
        str name = h->v[i].name, part[] = { S("dapr-"), name };
        if (is_transport(name))
            continue;
        if (str_starts(name, S("grpc-")) && !(name = arena_join(c->a, part, 2)).p)
            return -EXHAUSTED;
        if (!kvs_get(own, name).p)
            kv[n++] = (struct kv){ name, h->v[i].value };
    }
    if (c->trace.parent[0])
        kv[n++] = (struct kv){ S("traceparent"), str_c(c->trace.parent) };
    if (c->trace.parent[0] && c->trace.state.n)
        kv[n++] = (struct kv){ S("tracestate"), c->trace.state };
    *ret = (struct kvs){ kv, n };
    return 0;
}

/* metadata.<key> of the answer, on failures too. */
static int result_headers(struct grpc_call *c, struct kvs metadata)
{
    int r = 0;
    for (size_t i = 0; i < metadata.n && r >= 0; i++) {
        str part[] = { S("metadata."), metadata.v[i].key }, name = arena_join(c->a, part, 2);
        if (name.p && http_is_token(name) && http_is_field_value(metadata.v[i].value))
            r = http_headers_add(&c->headers, name, metadata.v[i].value);
    }
    return r;
}

CO int binding_rpc(struct grpc_call *c, const void *in, void **ret_out, struct error *err)
{
    const invoke_request *q = in;
    struct kvs own, metadata;
    struct binding_result result = { 0 };
    invoke_response *out = *ret_out = pb_new(c->a, c->method->out);
    if (!out || pb_kvs(c->a, q->metadata, q->n_metadata, &own) < 0 || merge(c, own, &metadata) < 0)
        return grpc_no_memory(err);
    int r = block_binding_invoke(c->b, pb_str(q->name), pb_str(q->operation), pb_bytes(q->data),
                                 metadata, c->a, &result, err);
    if (result_headers(c, result.metadata) < 0 ||
        pb_map(c->a, result.metadata, &out->metadata, &out->n_metadata) < 0)
        return grpc_no_memory(err);
    out->data = pb_data(result.data);
    return r;
}
