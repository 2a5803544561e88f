#include "base/clock.h"
#include "base/mem.h"
#include "block/core/chaos.h"
#include "block/streaming.h"
#include "format/json.h"
#include "runtime/private.h"

#include <stdio.h>
#include <unistd.h>

enum { ATTRIBUTE_MAX = 64 << 10 };

/* ---- GET /v1.0/metadata: facts 2.11 ---- */

struct capability {
    unsigned bit;
    const char *name;
};

static const struct capability state_capability[] = {
    { STATE_ETAG, "ETAG" },
    { STATE_TXN, "TRANSACTIONAL" },
    { STATE_QUERY, "QUERY_API" },
    { STATE_TTL, "TTL" },
    { STATE_DELETE_PREFIX, "DELETE_WITH_PREFIX" },
    { STATE_PARTITION_KEY, "PARTITION_KEY" },
    { STATE_KEYS_LIKE, "KEYS_LIKE" },
    { STATE_ETAG | STATE_TXN, "ACTOR" },
    { 0, NULL },
};
static const struct capability pubsub_capability[] = {
    { PUBSUB_TTL, "MESSAGE_TTL" },
    { PUBSUB_WILDCARDS, "SUBSCRIBE_WILDCARDS" },
    { PUBSUB_BULK_PUBLISH, "BULK_PUBSUB" },
    { PUBSUB_BULK_SUBSCRIBE, "BULK_SUBSCRIBE_IMMEDIATE" },
    { 0, NULL },
};
static const struct capability secret_capability[] = {
    { SECRET_MULTIPLE, "MULTIPLE_KEY_VALUES_PER_SECRET" }, { 0, NULL }
};
enum { HAS_INPUT = 1, HAS_OUTPUT = 2 };
static const struct capability binding_capability[] = { { HAS_INPUT, "INPUT_BINDING" },
                                                        { HAS_OUTPUT, "OUTPUT_BINDING" },
                                                        { 0, NULL } };

static unsigned features_of(const struct instance *i)
{
    if (str_eq(str_c(i->type->kind), S("bindings"))) {
        const struct binding_ops *o = CONTAINER_OF(i->type, struct binding_ops, t);
        return (o->start ? HAS_INPUT : 0) | (o->invoke ? HAS_OUTPUT : 0);
    }
    return instance_features(i);
}

static const struct capability *capabilities_of(const struct instance *i)
{
    str kind = str_c(i->type->kind);
    return str_eq(kind, S("state"))          ? state_capability
           : str_eq(kind, S("pubsub"))       ? pubsub_capability
           : str_eq(kind, S("secretstores")) ? secret_capability
           : str_eq(kind, S("bindings"))     ? binding_capability
                                             : NULL;
}

static int describe_component(const struct instance *i, struct arena *a,
                              struct sidecar_component *ret)
{
    enum { MOST = 8 };
    const struct capability *c = capabilities_of(i);
    unsigned features = features_of(i);
    str *names = arena_alloc(a, MOST * sizeof *names);
    if (!names)
        return -EXHAUSTED;
    *ret = (struct sidecar_component){ .name = arena_dup(a, str_c(i->name)), /* it may go */
                                       .type = str_c(i->type->type),
                                       .version = str_c(i->type->version),
                                       .capability = names };
    for (; c && c->name && ret->n_capabilities < MOST; c++)
        if ((features & c->bit) == c->bit)
            names[ret->n_capabilities++] = str_c(c->name);
    return ret->name.p ? 0 : -EXHAUSTED;
}

static int describe_components(struct runtime *r, struct arena *a, struct sidecar_info *ret)
{
    AUTO(catalog_unpinp) struct catalog *c = catalog_pin(&r->blocks);
    struct instance *i;
    size_t n = 0;
    for (size_t k = 0; k < COMPONENT_KINDS; k++)
        for (size_t at = 0; catalog_next(c, (enum component_kind)k, &at);)
            n++;
    ret->component = arena_alloc(a, n * sizeof *ret->component);
    int code = ret->component ? 0 : -EXHAUSTED;
    for (size_t k = 0; k < COMPONENT_KINDS; k++)
        for (size_t at = 0; code >= 0 && (i = catalog_next(c, (enum component_kind)k, &at));)
            code = describe_component(i, a, &ret->component[ret->n_components++]);
    return code;
}

static void describe_app(struct runtime *r, struct sidecar_app *ret)
{
    const struct options *o = r->options;
    *ret = (struct sidecar_app){
        .port = o->app_port,
        .protocol = str_c(o->app_protocol),
        .address = str_c(o->app_channel_address),
        .max_concurrency = o->app_max_concurrency,
        .probed = o->health_check,
        .health_path = str_c(o->health_path),
        .health_interval_ns = SEC((uint64_t)o->health_interval_s),
        .health_timeout_ns = MS((uint64_t)o->health_timeout_ms),
        .health_threshold = o->health_threshold,
    };
}

static int describe_attributes(struct runtime *r, struct arena *a, struct kvs *ret)
{
    enum { OWN = 3 };
    struct kv *kv = arena_alloc(a, (COUNT(r->attribute) + OWN) * sizeof *kv);
    if (!kv)
        return -EXHAUSTED;
    size_t n = 0;
    kv[n++] = (struct kv){ S("daprRuntimeVersion"), S(PROA_VERSION) };
    if (r->options->zone[0])
        kv[n++] = (struct kv){ S("proaZone"), str_c(r->options->zone) };
    if (r->options->region[0])
        kv[n++] = (struct kv){ S("proaRegion"), str_c(r->options->region) };
    bool ok = true;
    pthread_mutex_lock(&r->lock);
    for (size_t i = 0; i < r->n_attributes && ok; i++, n++) {
        kv[n] =
            (struct kv){ arena_dup(a, r->attribute[i].key), arena_dup(a, r->attribute[i].value) };
        ok = kv[n].key.p && kv[n].value.p;
    }
    pthread_mutex_unlock(&r->lock);
    *ret = (struct kvs){ kv, n };
    return ok ? 0 : -EXHAUSTED;
}

static int describe_resiliencies(struct runtime *r, struct arena *a, struct sidecar_info *ret)
{
    size_t n = r->resources->n_resiliencies;
    str *names = arena_alloc(a, n * sizeof *names);
    if (!names)
        return -EXHAUSTED;
    for (size_t i = 0; i < n; i++)
        names[i] = r->resources->resiliency[i]->name;
    ret->resiliency = names;
    ret->n_resiliencies = n;
    return 0;
}

/* The app's, and those of open streams. */
static int describe_subscriptions(struct runtime *r, struct arena *a, struct sidecar_info *ret)
{
    size_t n = atomic_load(&r->discovered) ? r->subscriptions.n : 0;
    struct subscription **v =
        arena_alloc(a, (n + STREAMINGS_SHOWN) * sizeof(struct subscription *));
    if (!v)
        return -EXHAUSTED;
    for (size_t i = 0; i < n; i++)
        v[i] = r->subscriptions.v[i];
    ret->subscription = v;
    ret->n_subscriptions = n;
    return streamings_copy(r->blocks.streamings, a, v, &ret->n_subscriptions);
}

CO int describe_metadata(void *runtime, struct arena *a, struct sidecar_info *ret)
{
    struct runtime *r = runtime;
    *ret = (struct sidecar_info){
        .id = str_c(r->options->app_id),
        .version = S(PROA_VERSION),
        .endpoint = r->blocks.endpoints,
        .n_endpoints = r->blocks.n_endpoints,
        .has_app = r->app,
    };
    describe_app(r, &ret->app);
    int code = describe_subscriptions(r, a, ret);
    if (code >= 0)
        code = describe_components(r, a, ret);
    if (code >= 0)
        code = describe_attributes(r, a, &ret->extended);
    return code < 0 ? code : describe_resiliencies(r, a, ret);
}

int describe_set(void *runtime, str key, str value)
{
    struct runtime *r = runtime;
    int code = -EXHAUSTED;
    if (key.n + value.n > ATTRIBUTE_MAX)
        return code;
    struct attribute copy = { str_of(mem_dup(key.p, key.n), key.n),
                              str_of(mem_dup(value.p, value.n), value.n) };
    pthread_mutex_lock(&r->lock);
    size_t at = 0;
    while (at < r->n_attributes && !str_eq(r->attribute[at].key, key))
        at++;
    if (copy.key.p && copy.value.p && at < COUNT(r->attribute)) {
        struct attribute old = r->attribute[at]; /* zero for a new one */
        r->attribute[at] = copy;
        copy = old;
        if (at == r->n_attributes)
            r->n_attributes++;
        code = 0;
    }
    pthread_mutex_unlock(&r->lock);
    mem_free((void *)copy.key.p);
    mem_free((void *)copy.value.p);
    return code;
}

/* ---- the page's feed ---- */

static void put_resource(struct json_w *w, const struct instance *i)
{
    char type[160], file[512];
    snprintf(type, sizeof type, "%s/%s", i->type->type, i->type->version);
    snprintf(file, sizeof file, "%s:%u", i->file ? i->file : "", i->line);
    json_w_object(w);
    json_w_kv(w, S("kind"), S("Component"));
    json_w_kv(w, S("name"), str_c(i->name));
    json_w_kv(w, S("type"), str_c(type));
    json_w_kv(w, S("status"), S("loaded"));
    json_w_kv(w, S("file"), str_c(file));
    json_w_kv(w, S("error"), S(""));
    json_w_object_end(w);
}

static void put_topic(struct json_w *w, const struct instance *i, const struct pubsub_stats *s)
{
    json_w_object(w);
    json_w_kv(w, S("pubsub"), str_c(i->name));
    json_w_kv(w, S("topic"), s->topic);
    json_w_kv(w, S("consumer"), s->consumer);
    json_w_key(w, S("depth"));
    json_w_u64(w, s->depth);
    json_w_key(w, S("oldest_s"));
    json_w_double(w, (double)s->oldest_ns / 1e9);
    json_w_key(w, S("dead"));
    json_w_u64(w, s->dead);
    json_w_object_end(w);
}

CO static void put_topics(struct runtime *r, struct json_w *w)
{
    AUTO(catalog_unpinp) struct catalog *c = catalog_pin(&r->blocks);
    struct instance *i;
    for (size_t at = 0; (i = catalog_next(c, KIND_PUBSUB, &at));) {
        const struct pubsub_ops *o = CONTAINER_OF(i->type, struct pubsub_ops, t);
        struct pubsub_stats *s = NULL;
        size_t n = 0;
        struct arena arena;
        arena_init(&arena, MIB(4));
        if (o->stats && o->stats(i->self, &arena, &s, &n) < 0)
            n = 0;
        for (size_t k = 0; k < n; k++)
            put_topic(w, i, &s[k]);
        arena_done(&arena);
    }
}

static void put_resources(struct runtime *r, struct json_w *w)
{
    AUTO(catalog_unpinp) struct catalog *c = catalog_pin(&r->blocks);
    struct instance *i;
    for (size_t k = 0; k < COMPONENT_KINDS; k++)
        for (size_t at = 0; (i = catalog_next(c, (enum component_kind)k, &at));)
            put_resource(w, i);
}

static void put_breakers(struct runtime *r, struct json_w *w, uint64_t now)
{
    json_w_key(w, S("breakers"));
    json_w_array(w);
    instances_write_breakers(&r->blocks.invoker->instances, w, now);
    for (struct policy *p = NULL; (p = policy_each(r->resiliency, p));) {
        if (!p->has_breaker)
            continue;
        int state = atomic_load_explicit(&p->stats.breaker_state, memory_order_relaxed);
        json_w_object(w);
        json_w_kv(w, S("target"), p->target);
        json_w_kv(w, S("state"), str_c(breaker_state_name((enum breaker_state)state)));
        json_w_object_end(w);
    }
    json_w_array_end(w);
}

static void put_instances(struct runtime *r, struct json_w *w)
{
    uint64_t now = clock_now_ns();
    if (!r->blocks.invoker)
        return;
    instances_write(&r->blocks.invoker->instances, w, now);
    if (r->blocks.invoker->zoning)
        zoning_write(r->blocks.invoker->zoning, w);
    put_breakers(r, w, now);
}

CO void describe_feed(void *runtime, struct buf *out)
{
    struct runtime *r = runtime;
    char instance[160];
    snprintf(instance, sizeof instance, "%s-%d", r->hostname, getpid());
    size_t in_flight = 0;
    for (size_t i = 0; i < r->n_servers; i++)
        in_flight += http_server_active(r->servers[i]);
    struct json_w w;
    json_w_init(&w, out, 0);
    json_w_object(&w);
    json_w_kv(&w, S("app"), str_c(r->options->app_id));
    json_w_kv(&w, S("instance"), str_c(instance));
    json_w_key(&w, S("pid"));
    json_w_i64(&w, getpid());
    json_w_key(&w, S("in_flight"));
    json_w_u64(&w, in_flight ? in_flight - 1 : 0); /* not counting this one */
    json_w_key(&w, S("topics"));
    json_w_array(&w);
    put_topics(r, &w);
    json_w_array_end(&w);
    json_w_key(&w, S("resources"));
    json_w_array(&w);
    put_resources(r, &w);
    json_w_array_end(&w);
    put_instances(r, &w);
    if (r->app) {
        admit_describe(r->app->admit, &w);
        sleep_describe(&r->app->sleep, &w);
    }
    if (r->blocks.chaos) {
        json_w_key(&w, S("chaos"));
        chaos_write(r->blocks.chaos, &w);
    }
    feed_write(&w);
    json_w_object_end(&w);
}
