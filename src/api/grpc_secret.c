#include "api/grpc_call.h"
#include "block/secret.h"
#include "runtime.pb-c.h"

typedef Dapr__Proto__Runtime__V1__GetSecretRequest get_request;
typedef Dapr__Proto__Runtime__V1__GetSecretResponse get_response;
typedef Dapr__Proto__Runtime__V1__GetBulkSecretRequest bulk_request;
typedef Dapr__Proto__Runtime__V1__GetBulkSecretResponse bulk_response;
typedef Dapr__Proto__Runtime__V1__SecretEntry secret_entry;

#define PB(message) &dapr__proto__runtime__v1__##message##__descriptor

CO int secret_get_rpc(struct grpc_call *c, const void *in, void **ret_out, struct error *err)
{
    const get_request *q = in;
    struct instance *store;
    struct kvs metadata, values = { 0 };
    int r = secret_find(c->b, pb_str(q->store_name), &store, err);
    if (r >= 0 && pb_kvs(c->a, q->metadata, q->n_metadata, &metadata) < 0)
        r = grpc_no_memory(err);
    if (r >= 0)
        r = block_secret_get(c->b, store, pb_str(q->key), metadata, c->a, &values, err);
    if (r < 0)
        return r;
    get_response *out = *ret_out = pb_new(c->a, PB(get_secret_response));
    return out && pb_map(c->a, values, &out->data, &out->n_data) >= 0 ? 0 : grpc_no_memory(err);
}

static secret_entry *make_entry(struct arena *a, const struct secret *s)
{
    secret_entry *e = pb_new(a, PB(secret_entry));
    if (!e || !(e->key = pb_text(a, s->name)) || !(e->value = pb_new(a, PB(secret_response))) ||
        pb_map(a, s->values, &e->value->secrets, &e->value->n_secrets) < 0)
        return NULL;
    return e;
}

CO int secret_bulk_rpc(struct grpc_call *c, const void *in, void **ret_out, struct error *err)
{
    const bulk_request *q = in;
    struct instance *store;
    struct kvs metadata;
    struct secret *v = NULL;
    size_t n = 0;
    int r = secret_find(c->b, pb_str(q->store_name), &store, err);
    if (r >= 0 && pb_kvs(c->a, q->metadata, q->n_metadata, &metadata) < 0)
        r = grpc_no_memory(err);
    if (r >= 0)
        r = block_secret_bulk(c->b, store, metadata, c->a, &v, &n, err);
    if (r < 0)
        return r;
    bulk_response *out = *ret_out = pb_new(c->a, PB(get_bulk_secret_response));
    bool ok = out && (out->data = arena_alloc(c->a, n * sizeof *out->data));
    for (size_t i = 0; ok && i < n; i++)
        ok = (out->data[out->n_data++] = make_entry(c->a, &v[i]));
    return ok ? 0 : grpc_no_memory(err);
}
