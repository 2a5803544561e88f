#include "api/grpc_call.h"
#include "base/clock.h"
#include "block/state.h"
#include "format/json.h"
#include "runtime.pb-c.h"

typedef Dapr__Proto__Runtime__V1__GetStateRequest get_request;
typedef Dapr__Proto__Runtime__V1__GetStateResponse get_response;
typedef Dapr__Proto__Runtime__V1__SaveStateRequest save_request;
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

/* ttlExpireTime, for values that expire. */
static int value_metadata(struct arena *a, const struct state_value *v,
                          Dapr__Proto__Runtime__V1__StringEntry ***ret, size_t *ret_n)
{
    if (!v->expire_ns)
        return 0;
    char text[RFC3339_MAX];
    size_t n = clock_rfc3339(v->expire_ns, false, 0, text);
    struct kv kv = { S("ttlExpireTime"), str_of(text, n) };
    return pb_map(a, (struct kvs){ &kv, 1 }, ret, ret_n);
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

static int read_item(struct grpc_call *c, const item *q, struct state_write *w, struct error *err)
{
    *w = (struct state_write){ .key = pb_str(q->key), .value = pb_bytes(q->value) };
    if (q->etag)
        w->etag = pb_str(q->etag->value);
    if (q->options) {
        w->concurrency = concurrency_of(q->options->concurrency);
        w->consistency = consistency_of(q->options->consistency);
    }
    if (pb_kvs(c->a, q->metadata, q->n_metadata, &w->metadata) < 0)
        return grpc_no_memory(err);
    return check_json(w->metadata, w, err);
}

static int read_items(struct grpc_call *c, item *const *v, size_t n, struct state_write **ret,
                      struct error *err)
{
    struct state_write *w = arena_alloc(c->a, n * sizeof *w);
    int r = w ? 0 : grpc_no_memory(err);
    for (size_t i = 0; i < n && r >= 0; i++)
        r = read_item(c, v[i], &w[i], err);
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
        r = read_items(c, q->states, q->n_states, &w, err);
    return r < 0 ? r : block_state_save(c->b, store, w, q->n_states, c->a, err);
}
