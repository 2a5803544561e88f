#include "api/grpc_call.h"
#include "block/publish.h"
#include "runtime.pb-c.h"

typedef Dapr__Proto__Runtime__V1__PublishEventRequest publish_request;
typedef Dapr__Proto__Runtime__V1__BulkPublishRequest bulk_request;
typedef Dapr__Proto__Runtime__V1__BulkPublishRequestEntry bulk_entry;

/* A raw event has no envelope: its trace context goes along as metadata (facts 3.2). */
static int raw_trace(struct grpc_call *c, struct kvs *kvs)
{
    bool raw;
    if (!str_to_bool(kvs_get(*kvs, S("rawPayload")), &raw) || !raw)
        return 0;
    struct kv *kv = arena_alloc(c->a, (kvs->n + 2) * sizeof *kv);
    if (!kv)
        return -EXHAUSTED;
    size_t n = 0;
    kv[n++] = (struct kv){ S("traceid"), str_c(c->trace.parent) };
    kv[n++] = (struct kv){ S("tracestate"), c->trace.state };
    for (size_t i = 0; i < kvs->n; i++)
        if (!str_eq(kvs->v[i].key, S("traceid")) && !str_eq(kvs->v[i].key, S("tracestate")))
            kv[n++] = kvs->v[i];
    *kvs = (struct kvs){ kv, n };
    return 0;
}

CO int publish_rpc(struct grpc_call *c, const void *in, void **ret_out, struct error *err)
{
    const publish_request *q = in;
    struct publish_request p = {
        .pubsub = pb_str(q->pubsub_name),
        .topic = pb_str(q->topic),
        .data = pb_bytes(q->data),
        .content_type = pb_str(q->data_content_type),
        .trace = c->trace,
    };
    if (pb_kvs(c->a, q->metadata, q->n_metadata, &p.metadata) < 0 || raw_trace(c, &p.metadata) < 0)
        return grpc_no_memory(err);
    return block_publish(c->b, &p, c->a, err);
}

/* ---- bulk ---- */

/* An entry's own metadata comes first, and counts. */
static int entry_metadata(struct grpc_call *c, const bulk_entry *q, struct kvs common,
                          struct kvs *ret)
{
    struct kvs own;
    int r = pb_kvs(c->a, q->metadata, q->n_metadata, &own);
    return r < 0 ? r : kvs_merge(c->a, own, common, ret);
}

/* One entry that failed fails the call (surprise 20). */
CO int publish_bulk_rpc(struct grpc_call *c, const void *in, void **ret_out, struct error *err)
{
    const bulk_request *q = in;
    struct instance *i;
    struct publish_request p = { .pubsub = pb_str(q->pubsub_name),
                                 .topic = pb_str(q->topic),
                                 .trace = c->trace };
    int r = block_publish_check(c->b, p.pubsub, p.topic, &i, err);
    if (r < 0)
        return r;
    struct publish_entry *e = arena_zalloc(c->a, q->n_entries * sizeof *e);
    r = e ? pb_kvs(c->a, q->metadata, q->n_metadata, &p.metadata) : -EXHAUSTED;
    for (size_t k = 0; k < q->n_entries && r >= 0; k++) {
        e[k].id = pb_str(q->entries[k]->entry_id);
        e[k].data = pb_bytes(q->entries[k]->event);
        e[k].content_type = pb_str(q->entries[k]->content_type);
        r = entry_metadata(c, q->entries[k], p.metadata, &e[k].metadata);
    }
    if (r < 0)
        return grpc_no_memory(err);
    r = block_publish_check_entries(&p, e, q->n_entries, err);
    return r < 0 ? r : block_publish_bulk(c->b, &p, e, q->n_entries, c->a, err);
}
