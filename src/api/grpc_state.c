#include "api/grpc_call.h"
#include "base/clock.h"
#include "block/state.h"
#include "format/json.h"
#include "runtime.pb-c.h"

typedef Dapr__Proto__Runtime__V1__GetStateRequest get_request;
typedef Dapr__Proto__Runtime__V1__GetStateResponse get_response;
typedef Dapr__Proto__Runtime__V1__GetBulkStateRequest bulk_request;
typedef Dapr__Proto__Runtime__V1__GetBulkStateResponse bulk_response;
typedef Dapr__Proto__Runtime__V1__BulkStateItem bulk_item;
typedef Dapr__Proto__Runtime__V1__SaveStateRequest save_request;
typedef Dapr__Proto__Runtime__V1__DeleteStateRequest delete_request;
typedef Dapr__Proto__Runtime__V1__DeleteBulkStateRequest delete_bulk_request;
typedef Dapr__Proto__Runtime__V1__ExecuteStateTransactionRequest transact_request;
typedef Dapr__Proto__Runtime__V1__TransactionalStateOperation operation;
typedef Dapr__Proto__Runtime__V1__QueryStateRequest query_request;
typedef Dapr__Proto__Runtime__V1__QueryStateResponse query_response;
typedef Dapr__Proto__Runtime__V1__QueryStateItem query_item;
typedef Dapr__Proto__Common__V1__StateItem item;
typedef Dapr__Proto__Common__V1__StateOptions options;

#define PB(message) &dapr__proto__runtime__v1__##message##__descriptor

static enum state_consistency consistency_of(int v)
{
    return v == DAPR__PROTO__COMMON__V1__STATE_OPTIONS__STATE_CONSISTENCY__CONSISTENCY_EVENTUAL
               ? EVENTUAL
           : v == DAPR__PROTO__COMMON__V1__STATE_OPTIONS__STATE_CONSISTENCY__CONSISTENCY_STRONG
               ? STRONG
               : CONSISTENCY_NONE;
}

static enum state_concurrency concurrency_of(int v)
{
    return v == DAPR__PROTO__COMMON__V1__STATE_OPTIONS__STATE_CONCURRENCY__CONCURRENCY_FIRST_WRITE
               ? FIRST_WRITE
           : v == DAPR__PROTO__COMMON__V1__STATE_OPTIONS__STATE_CONCURRENCY__CONCURRENCY_LAST_WRITE
               ? LAST_WRITE
               : CONCURRENCY_NONE;
}

/* ---- get ---- */

/* ttlExpireTime, for values that expire, and what else the store says. */
static int value_metadata(struct arena *a, const struct state_value *v,
                          Dapr__Proto__Runtime__V1__StringEntry ***ret, size_t *ret_n)
{
    char text[RFC3339_MAX];
    struct kv *kv = arena_alloc(a, (v->metadata.n + 1) * sizeof *kv);
    size_t n = 0;
    if (!kv)
        return -EXHAUSTED;
    if (v->expire_ns)
        kv[n++] = (struct kv){ S("ttlExpireTime"),
                               str_of(text, clock_rfc3339(v->expire_ns, false, 0, text)) };
    for (size_t i = 0; i < v->metadata.n; i++)
        kv[n++] = v->metadata.v[i];
    return pb_map(a, (struct kvs){ kv, n }, ret, ret_n);
}

CO int state_get_rpc(struct grpc_call *c, const void *in, void **ret_out, struct error *err)
{
    const get_request *q = in;
    struct instance *store;
    struct kvs metadata;
    struct state_value v = { 0 };
    int r = state_find(c->b, pb_str(q->store_name), &store, err);
    if (r >= 0)
        r = pb_kvs(c->a, q->metadata, q->n_metadata, &metadata);
    if (r >= 0)
        r = block_state_get(c->b, store, pb_str(q->key), consistency_of(q->consistency), metadata,
                            c->a, &v, err);
    if (r < 0 || !v.found)
        return r;
    get_response *out = *ret_out = pb_new(c->a, PB(get_state_response));
    if (!out || !(out->etag = pb_text(c->a, v.etag)) ||
        value_metadata(c->a, &v, &out->metadata, &out->n_metadata) < 0)
        return grpc_no_memory(err);
    out->data = pb_data(v.value);
    return 0;
}

/* ---- bulk get ---- */

static bulk_item *make_item(struct arena *a, const char *key, const struct state_value *v)
{
    bulk_item *m = pb_new(a, PB(bulk_state_item));
    if (!m || !(m->etag = pb_text(a, v->etag)) || !(m->error = pb_text(a, str_c(v->err.text))) ||
        value_metadata(a, v, &m->metadata, &m->n_metadata) < 0)
        return NULL;
    m->key = (char *)key;
    m->data = pb_data(v->value);
    return m;
}

static int make_items(struct arena *a, const bulk_request *q, const struct state_value *v,
                      bulk_response *out)
{
    out->items = arena_alloc(a, q->n_keys * sizeof *out->items);
    bool ok = out->items;
    for (size_t i = 0; ok && i < q->n_keys; i++)
        ok = (out->items[out->n_items++] = make_item(a, q->keys[i], &v[i]));
    return ok ? 0 : -EXHAUSTED;
}

CO int state_bulk_rpc(struct grpc_call *c, const void *in, void **ret_out, struct error *err)
{
    const bulk_request *q = in;
    struct instance *store;
    struct kvs metadata;
    int r = state_find(c->b, pb_str(q->store_name), &store, err);
    if (r < 0)
        return r;
    str *keys = arena_alloc(c->a, q->n_keys * sizeof *keys);
    struct state_value *v = arena_zalloc(c->a, q->n_keys * sizeof *v);
    bulk_response *out = *ret_out = pb_new(c->a, PB(get_bulk_state_response));
    if (!keys || !v || !out || pb_kvs(c->a, q->metadata, q->n_metadata, &metadata) < 0)
        return grpc_no_memory(err);
    for (size_t i = 0; i < q->n_keys; i++)
        keys[i] = pb_str(q->keys[i]);
    r = block_state_bulk_get(c->b, store, keys, q->n_keys, q->parallelism, metadata, c->a, v, err);
    return r < 0 ? r : make_items(c->a, q, v, out) < 0 ? grpc_no_memory(err) : 0;
}

/* ---- save ---- */

/* contentType=application/json: the bytes must be JSON (facts 3.2, 11.6). */
static int check_json(struct kvs metadata, struct state_write *w, struct error *err)
{
    struct json v;
    struct json_error where;
    str type = kvs_get(metadata, S("contentType"));
    if (!str_istarts(type, S("application/json")))
        return 0;
    w->json = true;
    if (json_parse(w->value, &v, &where) < 0)
        return fail(err, UNKNOWN, NULL, "%s", where.text);
    return 0;
}

static int read_item(struct grpc_call *c, const item *q, bool remove, struct state_write *w,
                     struct error *err)
{
    *w = (struct state_write){ .key = pb_str(q->key), .value = pb_bytes(q->value) };
    if (q->etag)
        w->etag = pb_str(q->etag->value);
    if (q->options) {
        w->concurrency = concurrency_of(q->options->concurrency);
        w->consistency = consistency_of(q->options->consistency);
    }
    if (!w->key.n)
        return fail(err, INVALID, "ERR_MALFORMED_REQUEST", "\"key\" is a required field");
    if (pb_kvs(c->a, q->metadata, q->n_metadata, &w->metadata) < 0)
        return grpc_no_memory(err);
    return remove ? 0 : check_json(w->metadata, w, err);
}

static int read_items(struct grpc_call *c, item *const *v, size_t n, bool remove,
                      struct state_write **ret, struct error *err)
{
    struct state_write *w = arena_alloc(c->a, n * sizeof *w);
    int r = w ? 0 : grpc_no_memory(err);
    for (size_t i = 0; i < n && r >= 0; i++)
        r = read_item(c, v[i], remove, &w[i], err);
    *ret = w;
    return r;
}

CO int state_save_rpc(struct grpc_call *c, const void *in, void **ret_out, struct error *err)
{
    const save_request *q = in;
    struct instance *store;
    struct state_write *w = NULL;
    int r = state_find(c->b, pb_str(q->store_name), &store, err);
    if (r >= 0)
        r = read_items(c, q->states, q->n_states, false, &w, err);
    return r < 0 ? r : block_state_save(c->b, store, w, q->n_states, c->a, err);
}

/* ---- delete ---- */

CO int state_delete_rpc(struct grpc_call *c, const void *in, void **ret_out, struct error *err)
{
    const delete_request *q = in;
    struct instance *store;
    struct state_write w = { .key = pb_str(q->key) };
    int r = state_find(c->b, pb_str(q->store_name), &store, err);
    if (r < 0)
        return r;
    if (q->etag)
        w.etag = pb_str(q->etag->value);
    if (q->options) {
        w.concurrency = concurrency_of(q->options->concurrency);
        w.consistency = consistency_of(q->options->consistency);
    }
    r = pb_kvs(c->a, q->metadata, q->n_metadata, &w.metadata);
    return r < 0 ? grpc_no_memory(err) : block_state_delete(c->b, store, &w, c->a, err);
}

CO int state_delete_bulk_rpc(struct grpc_call *c, const void *in, void **ret_out, struct error *err)
{
    const delete_bulk_request *q = in;
    struct instance *store;
    struct state_write *w = NULL;
    int r = state_find(c->b, pb_str(q->store_name), &store, err);
    if (r >= 0)
        r = read_items(c, q->states, q->n_states, true, &w, err);
    return r < 0 ? r : block_state_delete_bulk(c->b, store, w, q->n_states, c->a, err);
}

/* ---- transaction ---- */

static int read_operation(struct grpc_call *c, const operation *q, struct state_write *w,
                          struct error *err)
{
    str type = pb_str(q->operationtype);
    bool remove = str_eq(type, S("delete"));
    if (!remove && !str_eq(type, S("upsert")))
        return fail(err, UNIMPLEMENTED, "ERR_NOT_SUPPORTED_STATE_OPERATION",
                    "operation type " STR_FMT " not supported", STR_ARG(str_take(type, 64)));
    if (!q->request)
        return fail(err, INVALID, "ERR_MALFORMED_REQUEST", "an operation has no request");
    int r = read_item(c, q->request, remove, w, err);
    w->remove = remove;
    return r;
}

CO int state_transact_rpc(struct grpc_call *c, const void *in, void **ret_out, struct error *err)
{
    const transact_request *q = in;
    struct instance *store;
    struct state_transaction t = { .n = q->n_operations, .trace = c->trace };
    int r = state_find(c->b, pb_str(q->storename), &store, err);
    if (r < 0)
        return r;
    t.w = arena_alloc(c->a, t.n * sizeof *t.w);
    if (!t.w || pb_kvs(c->a, q->metadata, q->n_metadata, &t.metadata) < 0)
        return grpc_no_memory(err);
    for (size_t i = 0; i < t.n && r >= 0; i++)
        r = read_operation(c, q->operations[i], &t.w[i], err);
    return r < 0 ? r : block_state_transact(c->b, store, &t, c->a, err);
}

/* ---- query ---- */

static query_item *make_result(struct arena *a, const struct state_query_result *v)
{
    query_item *m = pb_new(a, PB(query_state_item));
    if (!m || !(m->key = pb_text(a, v->key)) || !(m->etag = pb_text(a, v->etag)))
        return NULL;
    m->data = pb_data(v->value);
    return m;
}

CO int state_query_rpc(struct grpc_call *c, const void *in, void **ret_out, struct error *err)
{
    const query_request *q = in;
    struct instance *store;
    struct kvs metadata;
    struct state_query_result *v = NULL;
    size_t n = 0;
    str token = S("");
    int r = state_find(c->b, pb_str(q->store_name), &store, err);
    if (r >= 0 && pb_kvs(c->a, q->metadata, q->n_metadata, &metadata) < 0)
        r = grpc_no_memory(err);
    if (r >= 0)
        r = block_state_query(c->b, store, pb_str(q->query), metadata, c->a, &v, &n, &token, err);
    if (r < 0)
        return r;
    query_response *out = *ret_out = pb_new(c->a, PB(query_state_response));
    bool ok = out && (out->token = pb_text(c->a, token)) &&
              (out->results = arena_alloc(c->a, n * sizeof *out->results));
    for (size_t i = 0; ok && i < n; i++)
        ok = (out->results[out->n_results++] = make_result(c->a, &v[i]));
    return ok ? 0 : grpc_no_memory(err);
}
