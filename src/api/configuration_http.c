#include "api/request.h"
#include "block/configuration.h"
#include "format/uri.h"

/* ?key=a&key=b&metadata.x=y */
static int read_query(struct request *r, struct configuration_query *ret)
{
    str query = r->x->req.query, key, value;
    *ret = (struct configuration_query){ 0 };
    size_t cap = 1;
    for (size_t i = 0; i < query.n; i++)
        cap += query.p[i] == '&';
    str *keys = arena_alloc(r->a, cap * sizeof *keys);
    if (!keys)
        return -EXHAUSTED;
    ret->keys = keys;
    struct uri_query q = uri_query(query, r->a);
    while (uri_query_next(&q, &key, &value))
        if (str_eq(key, S("key")))
            keys[ret->n_keys++] = value;
    return q.failed ? -EXHAUSTED : request_metadata(r, &ret->metadata);
}

static void write_items(struct json_w *w, const struct configuration_item *v, size_t n)
{
    json_w_object(w);
    for (size_t i = 0; i < n; i++) {
        json_w_key(w, v[i].key);
        configuration_item_json(w, &v[i]);
    }
    json_w_object_end(w);
}

CO void configuration_get_route(struct request *r)
{
    struct error err = { 0 };
    struct instance *store;
    struct configuration_query q;
    struct configuration_item *items = NULL;
    size_t n = 0;
    int code = configuration_find(r->b, r->part[0], &store, &err);
    if (code >= 0 && (code = read_query(r, &q)) >= 0)
        code = block_configuration_get(r->b, store, &q, r->a, &items, &n, &err);
    if (code < 0) {
        reply_error(r->x, &err);
        return;
    }
    if (!n) {
        reply_empty(r, 204);
        return;
    }
    AUTO(buf_done) struct buf out;
    buf_init(&out, MIB(64));
    struct json_w w;
    json_w_init(&w, &out, JSON_W_HTML);
    write_items(&w, items, n);
    reply_buf(r, 200, &out);
}

CO void configuration_subscribe_route(struct request *r)
{
    struct error err = { 0 };
    struct instance *store;
    struct configuration_query q;
    char id[UUID_LEN];
    int code = configuration_find(r->b, r->part[0], &store, &err);
    if (code >= 0 && (code = read_query(r, &q)) >= 0)
        code = block_configuration_subscribe_app(r->b, store, &q, id, &err);
    if (code < 0) {
        reply_error(r->x, &err);
        return;
    }
    AUTO(buf_done) struct buf out;
    buf_init(&out, KIB(1));
    struct json_w w;
    json_w_init(&w, &out, 0);
    json_w_object(&w);
    json_w_kv(&w, S("id"), str_of(id, UUID_LEN));
    json_w_object_end(&w);
    reply_buf(r, 200, &out);
}

/* A failure has its text alone, with neither a code nor "ok": facts 2.9. */
CO void configuration_unsubscribe_route(struct request *r)
{
    struct error err = { 0 };
    struct instance *store;
    if (configuration_find(r->b, r->part[0], &store, &err) < 0) {
        reply_error(r->x, &err);
        return;
    }
    int code = block_configuration_unsubscribe(r->b, store, r->part[1], &err);
    AUTO(buf_done) struct buf out;
    buf_init(&out, KIB(4));
    struct json_w w;
    json_w_init(&w, &out, JSON_W_HTML);
    json_w_object(&w);
    if (code < 0) {
        json_w_kv(&w, S("message"), str_c(err.text));
        error_count(&err);
    } else {
        json_w_key(&w, S("ok"));
        json_w_bool(&w, true);
    }
    json_w_object_end(&w);
    reply_buf(r, code < 0 ? 500 : 200, &out);
}
