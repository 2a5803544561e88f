#include "query.h"
#include "format/json.h"
#include "plugin.h"
#include "wire.h"

/* {"filter":{…},"sort":[{"key","order"}],"page":{"limit","token"}} of the state API: each member of
 * the filter goes as the text that it came in. */

static int filter_to(struct json filter, struct arena *a, WIRE(Query) * into)
{
    size_t n = json_count(filter);
    struct json_iter it = json_iter(filter);
    struct json key, value;
    into->filter = arena_alloc(a, n * sizeof(void *));
    if (!into->filter)
        return -EXHAUSTED;
    while (into->n_filter < n && json_next(&it, &key, &value)) {
        WIRE(FilterEntry) *e = arena_alloc(a, sizeof *e);
        Google__Protobuf__Any *any = arena_alloc(a, sizeof *any);
        str name;
        if (!e || !any || json_string(a, key, &name) < 0)
            return -EXHAUSTED;
        dapr__proto__components__v1__filter_entry__init(e);
        google__protobuf__any__init(any);
        any->value = wire_bytes(value.raw);
        e->value = any;
        if (!(e->key = arena_cstr(a, name)))
            return -EXHAUSTED;
        into->filter[into->n_filter++] = e;
    }
    return 0;
}

static int sort_to(struct json sort, struct arena *a, WIRE(Query) * into, struct error *err)
{
    size_t n = json_count(sort);
    struct json_iter it = json_iter(sort);
    struct json item;
    into->sort = arena_alloc(a, n * sizeof(void *));
    if (!into->sort)
        return -EXHAUSTED;
    while (into->n_sort < n && json_next(&it, NULL, &item)) {
        WIRE(Sorting) *s = arena_alloc(a, sizeof *s);
        str key;
        if (!s)
            return -EXHAUSTED;
        if (json_string(a, json_get_fold(item, S("key")), &key) < 0)
            return fail(err, INVALID, NULL, "query: each member of sort needs a key, a string");
        dapr__proto__components__v1__sorting__init(s);
        s->order = json_eq_str(json_get_fold(item, S("order")), S("DESC"));
        if (!(s->key = arena_cstr(a, key)))
            return -EXHAUSTED;
        into->sort[into->n_sort++] = s;
    }
    return 0;
}

static int page_to(struct json page, struct arena *a, WIRE(Pagination) * into, struct error *err)
{
    dapr__proto__components__v1__pagination__init(into);
    struct json limit = json_get_fold(page, S("limit"));
    str token;
    if (!json_is_null(limit) && !json_i64(limit, &into->limit))
        return fail(err, INVALID, NULL, "query: page.limit must be a whole number");
    if (json_string_or(a, json_get_fold(page, S("token")), S(""), &token) < 0)
        return fail(err, INVALID, NULL, "query: page.token must be a string");
    into->token = arena_cstr(a, token);
    return into->token ? 0 : -EXHAUSTED;
}

int plugin_query_to(str query, struct arena *a, WIRE(Query) * into, struct error *err)
{
    struct json root;
    struct json_error where;
    dapr__proto__components__v1__query__init(into);
    if (json_parse(query, &root, &where) < 0)
        return fail(err, INVALID, NULL, "query: %s", where.text);
    if (root.type != JSON_OBJECT)
        return fail(err, INVALID, NULL, "query: expected an object, found %s",
                    json_type_name(root.type));
    WIRE(Pagination) *page = arena_alloc(a, sizeof *page);
    int r = page ? page_to(json_get_fold(root, S("page")), a, page, err) : -EXHAUSTED;
    if (r >= 0)
        r = filter_to(json_get_fold(root, S("filter")), a, into);
    if (r >= 0)
        r = sort_to(json_get_fold(root, S("sort")), a, into, err);
    into->pagination = page;
    return r == -EXHAUSTED ? fail(err, EXHAUSTED, NULL, "the query is too large for its memory")
                           : r;
}

CO int plugin_query(void *self, str query, struct kvs metadata, struct arena *a,
                    struct state_query_result **ret, size_t *ret_n, str *ret_token,
                    struct error *err)
{
    struct plug *plug = self; /* the head of a store */
    WIRE(QueryRequest) request = DAPR__PROTO__COMPONENTS__V1__QUERY_REQUEST__INIT;
    WIRE(Query) q;
    WIRE(QueryResponse) * reply;
    int r = plugin_query_to(query, a, &q, err);
    if (r < 0)
        return r;
    request.query = &q;
    if (wire_map(metadata, a, &request.metadata, &request.n_metadata) < 0)
        return fail(err, EXHAUSTED, NULL, "the query is too large for its memory");
    r = plug_call(plug, PLUGIN_PATH("QueriableStateStore", "Query"), &request.base,
                  WIRE_TYPE(query_response), a, &reply, err);
    if (r < 0)
        return r;
    struct state_query_result *v = arena_zalloc(a, reply->n_items * sizeof *v);
    if (!v)
        return fail(err, EXHAUSTED, NULL, "the answer is too large for its memory");
    for (size_t i = 0; i < reply->n_items; i++) {
        const WIRE(QueryItem) *item = reply->items[i];
        v[i] = (struct state_query_result){ .key = str_c(item->key),
                                            .value = wire_slice(item->data),
                                            .etag = str_c(item->etag ? item->etag->value : ""),
                                            .error = str_c(item->error) };
    }
    *ret = v;
    *ret_n = reply->n_items;
    *ret_token = str_c(reply->token);
    return 0;
}
