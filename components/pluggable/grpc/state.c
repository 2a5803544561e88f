#include "base/clock.h"
#include "base/map.h"
#include "plugin.h"
#include "query.h"
#include "wire.h"

enum { PARALLELISM = 10 };

struct store {
    struct plug plug;
    int max_ops; /* of a transaction; 0 = no limit */
};

static const struct plugin_feature features[] = {
    { "ETAG", STATE_ETAG },
    { "TRANSACTIONAL", STATE_TXN },
    { "QUERY_API", STATE_QUERY },
    { "TTL", STATE_TTL },
    { "DELETE_WITH_PREFIX", STATE_DELETE_PREFIX },
    { "KEYS_LIKE", STATE_KEYS_LIKE },
    { "PARTITION_KEY", STATE_PARTITION_KEY },
    { NULL, 0 },
};

static int no_memory(struct error *err)
{
    return fail(err, EXHAUSTED, NULL, "the request is too large for its memory");
}

/* ---- what is the same in several messages ---- */

struct common {
    WIRE(Etag) etag;
    WIRE(StateOptions) options;
};

static WIRE(Etag) * etag_to(str etag, struct arena *a, WIRE(Etag) * into)
{
    dapr__proto__components__v1__etag__init(into);
    return etag.n && (into->value = arena_cstr(a, etag)) ? into : NULL;
}

static str etag_from(const WIRE(Etag) * etag)
{
    return etag ? str_c(etag->value) : S("");
}

static WIRE(StateOptions) * options_to(const struct state_write *w, WIRE(StateOptions) * into)
{
    dapr__proto__components__v1__state_options__init(into);
    into->concurrency = (int32_t)w->concurrency;
    into->consistency = (int32_t)w->consistency;
    return into;
}

static int set_to(const struct state_write *w, struct arena *a, WIRE(SetRequest) * into)
{
    struct common *c = arena_alloc(a, sizeof *c);
    dapr__proto__components__v1__set_request__init(into);
    if (!c || !(into->key = arena_cstr(a, w->key)) ||
        wire_map(w->metadata, a, &into->metadata, &into->n_metadata) < 0)
        return -EXHAUSTED;
    into->value = wire_bytes(w->value);
    into->etag = etag_to(w->etag, a, &c->etag);
    into->options = options_to(w, &c->options);
    return w->etag.n && !into->etag ? -EXHAUSTED : 0;
}

static int delete_to(const struct state_write *w, struct arena *a, WIRE(DeleteRequest) * into)
{
    struct common *c = arena_alloc(a, sizeof *c);
    dapr__proto__components__v1__delete_request__init(into);
    if (!c || !(into->key = arena_cstr(a, w->key)) ||
        wire_map(w->metadata, a, &into->metadata, &into->n_metadata) < 0)
        return -EXHAUSTED;
    into->etag = etag_to(w->etag, a, &c->etag);
    into->options = options_to(w, &c->options);
    return w->etag.n && !into->etag ? -EXHAUSTED : 0;
}

/* ---- reading ---- */

static int get_to(str key, enum state_consistency c, struct kvs metadata, struct arena *a,
                  WIRE(GetRequest) * into)
{
    dapr__proto__components__v1__get_request__init(into);
    into->consistency = (int32_t)c;
    into->key = arena_cstr(a, key);
    return into->key ? wire_map(metadata, a, &into->metadata, &into->n_metadata) : -EXHAUSTED;
}

/* A missing key is an answer without data and ETag. */
static int value_from(ProtobufCBinaryData data, const WIRE(Etag) * etag, wire_entry *const *meta,
                      size_t n_meta, struct arena *a, struct state_value *ret)
{
    ret->value = wire_slice(data);
    ret->etag = etag_from(etag);
    ret->found = ret->value.n || ret->etag.n;
    int r = wire_kvs(meta, n_meta, a, &ret->metadata);
    struct kv *kv = (struct kv *)ret->metadata.v;
    for (size_t i = 0; r == 0 && i < ret->metadata.n; i++)
        if (str_ieq(kv[i].key, S("ttlExpireTime")) &&
            clock_parse_rfc3339(kv[i].value, &ret->expire_ns)) {
            kv[i] = kv[--ret->metadata.n];
            break;
        }
    return r;
}

CO static int store_get(void *self, str key, enum state_consistency c, struct kvs metadata,
                        struct arena *a, struct state_value *ret, struct error *err)
{
    struct store *s = self;
    WIRE(GetRequest) request;
    WIRE(GetResponse) * reply;
    *ret = (struct state_value){ 0 };
    if (get_to(key, c, metadata, a, &request) < 0)
        return no_memory(err);
    int r = plug_call(&s->plug, PLUGIN_PATH("StateStore", "Get"), &request.base,
                      WIRE_TYPE(get_response), a, &reply, err);
    if (r < 0)
        return r;
    return value_from(reply->data, reply->etag, reply->metadata, reply->n_metadata, a, ret) < 0
               ? no_memory(err)
               : 0;
}

/* The items come in any order; a key that has none is absent, one asked for twice has one. */
static int items_from(const WIRE(BulkGetResponse) * reply, const str *keys, size_t n,
                      struct arena *a, struct state_value *ret)
{
    AUTO(map_done) struct map items;
    map_init(&items, reply->n_items + 1);
    for (size_t i = 0; i < reply->n_items; i++)
        if (map_put(&items, str_c(reply->items[i]->key), reply->items[i], NULL) < 0)
            return -EXHAUSTED;
    for (size_t k = 0; k < n; k++) {
        const WIRE(BulkStateItem) *item = map_get(&items, keys[k]);
        if (!item)
            continue;
        if (value_from(item->data, item->etag, item->metadata, item->n_metadata, a, &ret[k]) < 0)
            return -EXHAUSTED;
        if (item->error[0])
            fail(&ret[k].err, UNKNOWN, NULL, "%s", item->error);
    }
    return 0;
}

CO static int store_bulk_get(void *self, const str *keys, size_t n, struct kvs metadata,
                             struct arena *a, struct state_value *ret, struct error *err)
{
    struct store *s = self;
    WIRE(BulkGetRequest) request = DAPR__PROTO__COMPONENTS__V1__BULK_GET_REQUEST__INIT;
    WIRE(BulkOptions) options = DAPR__PROTO__COMPONENTS__V1__BULK_OPTIONS__INIT;
    WIRE(BulkGetResponse) * reply;
    WIRE(GetRequest) *item = arena_alloc(a, n * sizeof *item);
    request.items = arena_alloc(a, n * sizeof item);
    if (!item || !request.items)
        return no_memory(err);
    for (size_t i = 0; i < n; i++) {
        ret[i] = (struct state_value){ 0 };
        request.items[i] = &item[i];
        if (get_to(keys[i], CONSISTENCY_NONE, metadata, a, &item[i]) < 0)
            return no_memory(err);
    }
    request.n_items = n;
    options.parallelism = PARALLELISM;
    request.options = &options;
    int r = plug_call(&s->plug, PLUGIN_PATH("StateStore", "BulkGet"), &request.base,
                      WIRE_TYPE(bulk_get_response), a, &reply, err);
    if (r < 0)
        return r;
    return items_from(reply, keys, n, a, ret) < 0 ? no_memory(err) : 0;
}

/* ---- writing ---- */

/* Writes have no arena of the caller's: one of their own, for the request and the empty answer. */
static void write_arena(struct arena *a)
{
    arena_init(a, PLUGIN_ARENA_MAX);
}

CO static int store_write(void *self, const struct state_write *w, struct error *err)
{
    struct store *s = self;
    AUTO(arena_done) struct arena a;
    write_arena(&a);
    WIRE(SetRequest) set;
    WIRE(DeleteRequest) del;
    WIRE(Nothing) * reply;
    if ((w->remove ? delete_to(w, &a, &del) : set_to(w, &a, &set)) < 0)
        return no_memory(err);
    return w->remove ? plug_call(&s->plug, PLUGIN_PATH("StateStore", "Delete"), &del.base,
                                 WIRE_TYPE(nothing), &a, &reply, err)
                     : plug_call(&s->plug, PLUGIN_PATH("StateStore", "Set"), &set.base,
                                 WIRE_TYPE(nothing), &a, &reply, err);
}

CO static int bulk_set(struct store *s, const struct state_write *w, size_t n, struct arena *a,
                       struct error *err)
{
    WIRE(BulkSetRequest) request = DAPR__PROTO__COMPONENTS__V1__BULK_SET_REQUEST__INIT;
    WIRE(BulkOptions) options = DAPR__PROTO__COMPONENTS__V1__BULK_OPTIONS__INIT;
    WIRE(SetRequest) *item = arena_alloc(a, n * sizeof *item);
    WIRE(Nothing) * reply;
    request.items = arena_alloc(a, n * sizeof item);
    if (!item || !request.items)
        return no_memory(err);
    for (size_t i = 0; i < n; i++)
        if (set_to(&w[i], a, request.items[i] = &item[i]) < 0)
            return no_memory(err);
    request.n_items = n;
    options.parallelism = PARALLELISM;
    request.options = &options;
    return plug_call(&s->plug, PLUGIN_PATH("StateStore", "BulkSet"), &request.base,
                     WIRE_TYPE(nothing), a, &reply, err);
}

CO static int bulk_delete(struct store *s, const struct state_write *w, size_t n, struct arena *a,
                          struct error *err)
{
    WIRE(BulkDeleteRequest) request = DAPR__PROTO__COMPONENTS__V1__BULK_DELETE_REQUEST__INIT;
    WIRE(BulkOptions) options = DAPR__PROTO__COMPONENTS__V1__BULK_OPTIONS__INIT;
    WIRE(DeleteRequest) *item = arena_alloc(a, n * sizeof *item);
    WIRE(Nothing) * reply;
    request.items = arena_alloc(a, n * sizeof item);
    if (!item || !request.items)
        return no_memory(err);
    for (size_t i = 0; i < n; i++)
        if (delete_to(&w[i], a, request.items[i] = &item[i]) < 0)
            return no_memory(err);
    request.n_items = n;
    options.parallelism = PARALLELISM;
    request.options = &options;
    return plug_call(&s->plug, PLUGIN_PATH("StateStore", "BulkDelete"), &request.base,
                     WIRE_TYPE(nothing), a, &reply, err);
}

/* All of w are sets, or all are deletes. */
CO static int store_bulk_write(void *self, const struct state_write *w, size_t n, struct error *err)
{
    AUTO(arena_done) struct arena a;
    write_arena(&a);
    return n && w[0].remove ? bulk_delete(self, w, n, &a, err) : bulk_set(self, w, n, &a, err);
}

struct operation {
    WIRE(TransactionalStateOperation) op;
    WIRE(SetRequest) set;
    WIRE(DeleteRequest) del;
};

static int operation_to(const struct state_write *w, struct arena *a, struct operation *o)
{
    dapr__proto__components__v1__transactional_state_operation__init(&o->op);
    if (w->remove) {
        o->op.request_case =
            DAPR__PROTO__COMPONENTS__V1__TRANSACTIONAL_STATE_OPERATION__REQUEST_DELETE;
        o->op.delete_ = &o->del;
        return delete_to(w, a, &o->del);
    }
    o->op.request_case = DAPR__PROTO__COMPONENTS__V1__TRANSACTIONAL_STATE_OPERATION__REQUEST_SET;
    o->op.set = &o->set;
    return set_to(w, a, &o->set);
}

CO static int store_transact(void *self, const struct state_write *w, size_t n, struct kvs metadata,
                             struct error *err)
{
    struct store *s = self;
    AUTO(arena_done) struct arena a;
    write_arena(&a);
    WIRE(TransactionalStateRequest)
    request = DAPR__PROTO__COMPONENTS__V1__TRANSACTIONAL_STATE_REQUEST__INIT;
    WIRE(Nothing) * reply;
    struct operation *o = arena_alloc(&a, n * sizeof *o);
    request.operations = arena_alloc(&a, n * sizeof(void *));
    if (!o || !request.operations ||
        wire_map(metadata, &a, &request.metadata, &request.n_metadata) < 0)
        return no_memory(err);
    for (size_t i = 0; i < n; i++) {
        request.operations[i] = &o[i].op;
        if (operation_to(&w[i], &a, &o[i]) < 0)
            return no_memory(err);
    }
    request.n_operations = n;
    return plug_call(&s->plug, PLUGIN_PATH("TransactionalStateStore", "Transact"), &request.base,
                     WIRE_TYPE(nothing), &a, &reply, err);
}

static int store_max_ops(void *self)
{
    struct store *s = self;
    return s->max_ops;
}

/* ---- life ---- */

static unsigned store_features(void *self)
{
    struct store *s = self;
    return atomic_load_explicit(&s->plug.features, memory_order_relaxed);
}

/* A component that can't say how many operations a transaction may have takes any number. */
CO static int store_open(void *self, const struct component_env *env, struct error *err)
{
    struct store *s = self;
    struct plugin *plugin = CONTAINER_OF(env->type, struct plugin, state.t);
    int r = plug_open(&s->plug, plugin, PART_STATE, features, env, err);
    if (r < 0 || !(plugin->parts & PART_MAX_SIZE))
        return r;
    WIRE(Nothing) request = DAPR__PROTO__COMPONENTS__V1__NOTHING__INIT;
    WIRE(MultiMaxSizeResponse) * reply;
    AUTO(arena_done) struct arena a;
    write_arena(&a);
    r = plug_call(&s->plug, PLUGIN_PATH("TransactionalStoreMultiMaxSize", "MultiMaxSize"),
                  &request.base, WIRE_TYPE(multi_max_size_response), &a, &reply, NULL);
    if (r >= 0 && reply->max_size > 0)
        s->max_ops = (int)min_u64((uint64_t)reply->max_size, INT32_MAX);
    return 0;
}

static void store_close(void *self)
{
}

void plugin_state_table(struct plugin *p)
{
    struct component_type t = p->state.t;
    t.doc = "a state store in a process of its own";
    t.size = sizeof(struct store);
    t.features_of = store_features;
    t.free_form = true;
    t.open = store_open;
    t.close = store_close;
    p->state = (struct state_ops){
        .t = t,
        .get = store_get,
        .bulk_get = store_bulk_get,
        .write = store_write,
        .bulk_write = store_bulk_write,
        .transact = p->parts & PART_TRANSACT ? store_transact : NULL,
        .max_ops = p->parts & PART_MAX_SIZE ? store_max_ops : NULL,
        .query = p->parts & PART_QUERY ? plugin_query : NULL,
    };
}
