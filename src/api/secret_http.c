#include "api/request.h"
#include "block/secret.h"

static void write_kvs(struct json_w *w, struct kvs kvs)
{
    json_w_object(w);
    for (size_t i = 0; i < kvs.n; i++)
        json_w_kv(w, kvs.v[i].key, kvs.v[i].value);
    json_w_object_end(w);
}

CO void secret_get_route(struct request *r)
{
    struct error err = { 0 };
    struct instance *store;
    struct kvs metadata, values;
    int code = secret_find(r->b, r->part[0], &store, &err);
    if (code >= 0 && (code = request_metadata(r, &metadata)) >= 0)
        code = block_secret_get(r->b, store, r->part[1], metadata, r->a, &values, &err);
    if (code < 0) {
        reply_error(r->x, &err);
        return;
    }
    AUTO(buf_done) struct buf out;
    buf_init(&out, MIB(64));
    struct json_w w;
    json_w_init(&w, &out, 0);
    write_kvs(&w, values);
    reply_buf(r, 200, &out);
}

CO void secret_bulk_route(struct request *r)
{
    struct error err = { 0 };
    struct instance *store;
    struct kvs metadata;
    struct secret *v = NULL;
    size_t n = 0;
    int code = secret_find(r->b, r->part[0], &store, &err);
    if (code >= 0 && (code = request_metadata(r, &metadata)) >= 0)
        code = block_secret_bulk(r->b, store, metadata, r->a, &v, &n, &err);
    if (code < 0) {
        reply_error(r->x, &err);
        return;
    }
    AUTO(buf_done) struct buf out;
    buf_init(&out, MIB(64));
    struct json_w w;
    json_w_init(&w, &out, 0);
    json_w_object(&w);
    for (size_t i = 0; i < n; i++) {
        json_w_key(&w, v[i].name);
        write_kvs(&w, v[i].values);
    }
    json_w_object_end(&w);
    reply_buf(r, 200, &out);
}
