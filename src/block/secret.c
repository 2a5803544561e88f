#include "block/secret.h"

#include "base/clock.h"
#include "block/core/observe.h"
#include "block/core/operation.h"
#include "component/resource.h"

struct vault {
    struct observer get, bulk;
};

static const struct secret_ops *ops(const struct instance *i)
{
    return CONTAINER_OF(i->type, struct secret_ops, t);
}

int secret_attach(struct blocks *b, struct instance *i, struct error *err)
{
    struct vault *v = arena_zalloc(&i->arena, sizeof *v);
    if (!v)
        return fail(err, EXHAUSTED, NULL, "out of memory");
    operation_attach(b, i, "Secretstore");
    i->extra = v;
    return 0;
}

int secret_find(struct blocks *b, str name, struct instance **ret, struct error *err)
{
    if (!catalog_count(b, KIND_SECRET))
        return fail(err, PRECONDITION, "ERR_SECRET_STORES_NOT_CONFIGURED",
                    "secret store is not configured");
    struct instance *i = catalog_get(b, KIND_SECRET, name);
    if (!i) /* 401, not 404: surprise 17 */
        return fail(err, INVALID, "ERR_SECRET_STORE_NOT_FOUND",
                    "failed finding secret store with key " STR_FMT, STR_ARG(name));
    *ret = i;
    return 0;
}

struct get_call {
    struct instance *store;
    str key;
    struct kvs metadata;
    struct arena *arena;
    struct kvs *ret;
    struct secret **ret_all;
    size_t *ret_n;
};

CO static int try_get(void *arg, struct guard_attempt *attempt, struct error *err)
{
    struct get_call *c = arg;
    return ops(c->store)->get(c->store->self, c->key, c->metadata, c->arena, c->ret, err);
}

CO static int try_bulk(void *arg, struct guard_attempt *attempt, struct error *err)
{
    struct get_call *c = arg;
    if (!ops(c->store)->bulk) {
        attempt->fatal = true;
        return fail(err, UNIMPLEMENTED, NULL, "this secret store can't list its secrets");
    }
    return ops(c->store)->bulk(c->store->self, c->metadata, c->arena, c->ret_all, c->ret_n, err);
}

CO int block_secret_get(struct blocks *b, struct instance *store, str key, struct kvs metadata,
                        struct arena *a, struct kvs *ret, struct error *err)
{
    if (!config_allows_secret(&b->resources->config, str_c(store->name), key))
        return fail(err, DENIED, "ERR_PERMISSION_DENIED",
                    "access denied by policy to get \"" STR_FMT "\" from \"%s\"", STR_ARG(key),
                    store->name);
    struct vault *v = store->extra;
    struct get_call call = {
        .store = store, .key = key, .metadata = metadata, .arena = a, .ret = ret
    };
    struct error cause = { 0 };
    uint64_t start = clock_now_ns();
    int r = operation_run(store, "get", try_get, &call, &cause);
    observe(&v->get, OBSERVE_SECRET, b, store->name, "get", start,
            r >= 0 ? OUTCOME_OK : OUTCOME_FAILED);
    if (r < 0)
        return fail(err, INTERNAL, "ERR_SECRET_GET",
                    "failed getting secret with key " STR_FMT " from secret store %s: %s",
                    STR_ARG(key), store->name, cause.text);
    return 0;
}

CO int block_secret_bulk(struct blocks *b, struct instance *store, struct kvs metadata,
                         struct arena *a, struct secret **ret, size_t *ret_n, struct error *err)
{
    struct vault *v = store->extra;
    struct secret *all = NULL;
    size_t n = 0;
    struct get_call call = {
        .store = store,
        .metadata = metadata,
        .arena = a,
        .ret_all = &all,
        .ret_n = &n,
    };
    struct error cause = { 0 };
    uint64_t start = clock_now_ns();
    int r = operation_run(store, "bulk_get", try_bulk, &call, &cause);
    observe(&v->bulk, OBSERVE_SECRET, b, store->name, "bulk_get", start,
            r >= 0 ? OUTCOME_OK : OUTCOME_FAILED);
    if (r < 0)
        return fail(err, INTERNAL, "ERR_SECRET_GET",
                    "failed getting secrets from secret store %s: %s", store->name, cause.text);
    size_t kept = 0;
    for (size_t i = 0; i < n; i++)
        if (config_allows_secret(&b->resources->config, str_c(store->name), all[i].name))
            all[kept++] = all[i];
    *ret = all;
    *ret_n = kept;
    return 0;
}
