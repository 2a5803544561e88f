#include "api/request.h"
#include "base/clock.h"
#include "block/state.h"
#include "format/uri.h"

enum { ITEMS_MAX = 100000 };

/* Where a store isn't there, the request isn't looked at any further. */
CO static bool find_store(struct request *r, struct instance **ret)
{
    struct error err = { 0 };
    if (state_find(r->b, r->part[0], ret, &err) >= 0)
        return true;
    reply_error(r->x, &err);
    return false;
}

static enum state_consistency consistency_of(str s)
{
    return str_eq(s, S("strong")) ? STRONG : str_eq(s, S("eventual")) ? EVENTUAL : CONSISTENCY_NONE;
}

static enum state_concurrency concurrency_of(str s)
{
    return str_eq(s, S("first-write"))  ? FIRST_WRITE
           : str_eq(s, S("last-write")) ? LAST_WRITE
                                        : CONCURRENCY_NONE;
}

static str query_value(struct request *r, str key)
{
    str value = S("");
    if (r->x->req.query.n && !uri_query_get(r->x->req.query, r->a, key, &value))
        value = S("");
    return value;
}

/* ---- get ---- */

static int value_headers(struct request *r, const struct state_value *v, struct http_headers *h)
{
    http_headers_init(h, r->a);
    int code = http_headers_add(h, S("Content-Type"), S("application/json"));
    if (code >= 0 && v->etag.n)
        code = http_headers_add(h, S("Etag"), v->etag);
    if (code >= 0 && v->expire_ns) {
        char text[RFC3339_MAX];
        size_t n = clock_rfc3339(v->expire_ns, false, 0, text);
        str value = arena_dup(r->a, str_of(text, n));
        code = value.p ? http_headers_add(h, S("Metadata.ttlexpiretime"), value) : -EXHAUSTED;
    }
    for (size_t i = 0; i < v->metadata.n && code >= 0; i++) {
        str part[] = { S("metadata."), v->metadata.v[i].key };
        str name = arena_join(r->a, part, 2);
        if (name.p && http_is_token(name) && http_is_field_value(v->metadata.v[i].value))
            code = http_headers_add(h, name, v->metadata.v[i].value);
    }
    return code;
}

CO void state_get_route(struct request *r)
{
    struct instance *store;
    if (!find_store(r, &store))
        return;
    struct error err = { 0 };
    struct state_value v = { 0 };
    struct kvs metadata;
    struct http_headers h;
    int code = request_metadata(r, &metadata);
    if (code >= 0)
        code = block_state_get(r->b, store, r->part[1],
                               consistency_of(query_value(r, S("consistency"))), metadata, r->a, &v,
                               &err);
    if (code >= 0 && v.found && v.value.n)
        code = value_headers(r, &v, &h);
    if (code < 0) {
        fail(&err, EXHAUSTED, NULL, "the request is too large for its memory");
        reply_error(r->x, &err);
    } else if (!v.found || !v.value.n)
        reply_empty(r, 204);
    else
        (void)http_reply(r->x, 200, &h, v.value);
}

/* ---- set and delete ---- */

static int bad_option(struct error *err, const char *what, str value)
{
    return fail(err, INTERNAL, "ERR_STATE_SAVE", "unrecognized %s mode: " STR_FMT, what,
                STR_ARG(str_take(value, 64)));
}

static int read_options(struct request *r, struct json v, struct state_write *w, struct error *err)
{
    str text;
    if (json_string_or(r->a, json_get_fold(v, S("concurrency")), S(""), &text) < 0)
        return fail(err, INVALID, "ERR_MALFORMED_REQUEST", "options.concurrency must be a string");
    w->concurrency = concurrency_of(text);
    if (text.n && !w->concurrency)
        return bad_option(err, "concurrency", text);
    if (json_string_or(r->a, json_get_fold(v, S("consistency")), S(""), &text) < 0)
        return fail(err, INVALID, "ERR_MALFORMED_REQUEST", "options.consistency must be a string");
    w->consistency = consistency_of(text);
    return text.n && !w->consistency ? bad_option(err, "consistency", text) : 0;
}

/* Metadata of the item, overridden by the URL's. */
static int merge_metadata(struct request *r, struct json item, struct kvs url, struct kvs *ret)
{
    struct kvs own;
    int code = request_kvs(r, item, &own);
    return code < 0 ? code : kvs_merge(r->a, url, own, ret);
}

/* {"key","value","etag"?,"metadata"?,"options"?} */
static int read_item(struct request *r, struct json v, struct kvs url, struct state_write *w,
                     struct error *err)
{
    struct json key = json_get_fold(v, S("key")), etag = json_get_fold(v, S("etag"));
    *w = (struct state_write){ .json = true };
    if (v.type != JSON_OBJECT || json_string_or(r->a, key, S(""), &w->key) < 0 ||
        json_string_or(r->a, etag, S(""), &w->etag) < 0)
        return fail(
            err, INVALID, "ERR_MALFORMED_REQUEST",
            "failed deserializing HTTP body: an item must be an object whose key and etag are "
            "strings");
    if (!w->key.n)
        return fail(err, INVALID, "ERR_MALFORMED_REQUEST", "\"key\" is a required field");
    struct json value = json_get_fold(v, S("value"));
    w->value = value.type == JSON_NONE ? S("null") : value.raw; /* byte for byte */
    if (merge_metadata(r, json_get_fold(v, S("metadata")), url, &w->metadata) < 0)
        return fail(err, EXHAUSTED, NULL, "the request is too large for its memory");
    struct json options = json_get_fold(v, S("options"));
    return options.type == JSON_OBJECT ? read_options(r, options, w, err) : 0;
}

typedef int read_write_fn(struct request *r, struct json v, struct kvs url, struct state_write *w,
                          struct error *err);

/* A list of writes, each read by read_one; what: how errors call them. */
static int read_writes(struct request *r, struct json list, struct kvs url, read_write_fn *read_one,
                       const char *what, struct state_write **ret, size_t *ret_n, struct error *err)
{
    size_t n = json_count(list), at = 0;
    if (n > ITEMS_MAX)
        return fail(err, INVALID, "ERR_MALFORMED_REQUEST", "more than %d %s", ITEMS_MAX, what);
    struct state_write *w = arena_alloc(r->a, n * sizeof *w);
    if (!w)
        return fail(err, EXHAUSTED, NULL, "the request is too large for its memory");
    struct json_iter it = json_iter(list);
    struct json item;
    while (json_next(&it, NULL, &item)) {
        int code = read_one(r, item, url, &w[at++], err);
        if (code < 0)
            return code;
    }
    *ret = w;
    *ret_n = n;
    return 0;
}

static int read_items(struct request *r, struct json root, struct kvs url, struct state_write **ret,
                      size_t *ret_n, struct error *err)
{
    if (root.type != JSON_ARRAY && !json_is_null(root))
        return fail(
            err, INVALID, "ERR_MALFORMED_REQUEST",
            "failed deserializing HTTP body: json: cannot unmarshal %s into an array of items",
            json_type_name(root.type));
    return read_writes(r, root, url, read_item, "items", ret, ret_n, err);
}

CO void state_save_route(struct request *r)
{
    struct instance *store;
    if (!find_store(r, &store))
        return;
    struct error err = { 0 };
    struct json root;
    struct kvs url;
    struct state_write *w = NULL;
    size_t n = 0;
    int code = request_json(r, &root, &err);
    if (code >= 0 && (code = request_metadata(r, &url)) >= 0)
        code = read_items(r, root, url, &w, &n, &err);
    if (code >= 0)
        code = block_state_save(r->b, store, w, n, r->a, &err);
    if (code < 0)
        reply_error(r->x, &err);
    else
        reply_empty(r, 204);
}

CO void state_delete_route(struct request *r)
{
    struct instance *store;
    if (!find_store(r, &store))
        return;
    struct error err = { 0 };
    struct state_write w = {
        .key = r->part[1],
        .etag = http_headers_get(&r->x->req.headers, S("If-Match")),
        .concurrency = concurrency_of(query_value(r, S("concurrency"))),
        .consistency = consistency_of(query_value(r, S("consistency"))),
    };
    int code = request_metadata(r, &w.metadata);
    if (code >= 0)
        code = block_state_delete(r->b, store, &w, r->a, &err);
    if (code < 0)
        reply_error(r->x, &err);
    else
        reply_empty(r, 204);
}

/* ---- bulk get ---- */

static int read_keys(struct request *r, struct json list, str **ret, size_t *ret_n,
                     struct error *err)
{
    size_t n = json_count(list), at = 0;
    if (n > ITEMS_MAX)
        return fail(err, INVALID, "ERR_MALFORMED_REQUEST", "more than %d keys", ITEMS_MAX);
    str *keys = arena_alloc(r->a, n * sizeof *keys);
    if (!keys)
        return fail(err, EXHAUSTED, NULL, "the request is too large for its memory");
    struct json_iter it = json_iter(list);
    struct json item;
    while (json_next(&it, NULL, &item))
        if (json_string(r->a, item, &keys[at++]) < 0)
            return fail(err, INVALID, "ERR_MALFORMED_REQUEST",
                        "failed deserializing HTTP body: keys must be strings");
    *ret = keys;
    *ret_n = n;
    return 0;
}

static void write_value(struct json_w *w, str key, const struct state_value *v)
{
    json_w_object(w);
    json_w_kv(w, S("key"), key);
    struct json data;
    if (v->found && json_parse(v->value, &data, NULL) >= 0) {
        json_w_key(w, S("data"));
        json_w_raw(w, data.raw);
    } else if (v->found &&
               v->value.n) { /* bytes that are no JSON, saved by gRPC or another program */
        json_w_key(w, S("data"));
        json_w_str(w, v->value);
    }
    if (v->etag.n)
        json_w_kv(w, S("etag"), v->etag);
    if (v->expire_ns || v->metadata.n) {
        json_w_key(w, S("metadata"));
        json_w_object(w);
        if (v->expire_ns) {
            char text[RFC3339_MAX];
            size_t n = clock_rfc3339(v->expire_ns, false, 0, text);
            json_w_kv(w, S("ttlExpireTime"), str_of(text, n));
        }
        for (size_t i = 0; i < v->metadata.n; i++)
            json_w_kv(w, v->metadata.v[i].key, v->metadata.v[i].value);
        json_w_object_end(w);
    }
    if (v->err.code)
        json_w_kv(w, S("error"), str_c(v->err.text));
    json_w_object_end(w);
}

CO void state_bulk_route(struct request *r)
{
    struct instance *store;
    if (!find_store(r, &store))
        return;
    struct error err = { 0 };
    struct json root;
    struct kvs metadata, url;
    str *keys = NULL;
    size_t n = 0;
    struct state_value *v = NULL;
    int64_t parallelism = 0;
    int code = request_json(r, &root, &err);
    if (code >= 0)
        code = read_keys(r, json_get_fold(root, S("keys")), &keys, &n, &err);
    if (code >= 0 && !json_i64(json_get_fold(root, S("parallelism")), &parallelism))
        parallelism = 0;
    if (code >= 0 && (v = arena_alloc(r->a, n * sizeof *v)) == NULL)
        code = fail(&err, EXHAUSTED, NULL, "the request is too large for its memory");
    if (code >= 0 && (code = request_metadata(r, &url)) >= 0)
        code = merge_metadata(r, json_get_fold(root, S("metadata")), url, &metadata);
    if (code >= 0)
        code = block_state_bulk_get(r->b, store, keys, n, parallelism, metadata, r->a, v, &err);
    if (code < 0) {
        reply_error(r->x, &err);
        return;
    }
    AUTO(buf_done) struct buf out;
    buf_init(&out, MIB(256));
    struct json_w w;
    json_w_init(&w, &out, 0);
    json_w_array(&w);
    for (size_t i = 0; i < n; i++)
        write_value(&w, keys[i], &v[i]);
    json_w_array_end(&w);
    reply_buf(r, 200, &out);
}

/* ---- transaction ---- */

static int read_operation(struct request *r, struct json v, struct kvs url, struct state_write *w,
                          struct error *err)
{
    str operation;
    if (json_string_or(r->a, json_get_fold(v, S("operation")), S(""), &operation) < 0)
        operation = S("");
    bool remove = str_eq(operation, S("delete"));
    if (!remove && !str_eq(operation, S("upsert")))
        return fail(err, INVALID, "ERR_NOT_SUPPORTED_STATE_OPERATION",
                    "operation type " STR_FMT " not supported", STR_ARG(str_take(operation, 64)));
    int code = read_item(r, json_get_fold(v, S("request")), url, w, err);
    w->remove = remove;
    return code;
}

CO void state_transact_route(struct request *r)
{
    struct instance *store;
    if (!find_store(r, &store))
        return;
    struct error err = { 0 };
    struct json root;
    struct kvs url;
    struct state_transaction t = { .trace = r->trace };
    int code = request_json(r, &root, &err);
    if (code >= 0)
        code = read_writes(r, json_get_fold(root, S("operations")), (struct kvs){ 0 },
                           read_operation, "operations", &t.w, &t.n, &err);
    if (code >= 0 && (code = request_metadata(r, &url)) >= 0)
        code = merge_metadata(r, json_get_fold(root, S("metadata")), url, &t.metadata);
    if (code >= 0)
        code = block_state_transact(r->b, store, &t, r->a, &err);
    if (code < 0)
        reply_error(r->x, &err);
    else
        reply_empty(r, 204);
}

/* ---- query ---- */

CO void state_query_route(struct request *r)
{
    struct instance *store;
    if (!find_store(r, &store))
        return;
    struct error err = { 0 };
    struct kvs metadata;
    str body, token = S("");
    struct state_query_result *v = NULL;
    size_t n = 0;
    int code = request_body(r, &body, &err);
    if (code >= 0 && (code = request_metadata(r, &metadata)) >= 0)
        code = block_state_query(r->b, store, body, metadata, r->a, &v, &n, &token, &err);
    if (code < 0) {
        reply_error(r->x, &err);
        return;
    }
    if (!n) {
        reply_empty(r, 204);
        return;
    }
    AUTO(buf_done) struct buf out;
    buf_init(&out, MIB(256));
    struct json_w w;
    json_w_init(&w, &out, 0);
    json_w_object(&w);
    json_w_key(&w, S("results"));
    json_w_array(&w);
    for (size_t i = 0; i < n; i++) {
        struct state_value value = { .found = true, .value = v[i].value, .etag = v[i].etag };
        if (v[i].error.n)
            (void)fail(&value.err, UNKNOWN, NULL, STR_FMT, STR_ARG(v[i].error));
        write_value(&w, v[i].key, &value);
    }
    json_w_array_end(&w);
    if (token.n)
        json_w_kv(&w, S("token"), token);
    json_w_object_end(&w);
    reply_buf(r, 200, &out);
}
