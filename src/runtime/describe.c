#include "base/clock.h"
#include "base/mem.h"
#include "format/duration.h"
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

/* Some secret stores know only once they are configured. */
static unsigned features_of(const struct instance *i)
{
    if (str_eq(str_c(i->type->kind), S("secretstores"))) {
        const struct secret_ops *o = CONTAINER_OF(i->type, struct secret_ops, t);
        if (o->features)
            return o->features(i->self);
    }
    return i->type->features;
}

static void put_capabilities(struct json_w *w, const struct instance *i)
{
    static const struct capability state[] = {
        { STATE_ETAG, "ETAG" },
        { STATE_TXN, "TRANSACTIONAL" },
        { STATE_QUERY, "QUERY_API" },
        { STATE_TTL, "TTL" },
        { STATE_DELETE_PREFIX, "DELETE_WITH_PREFIX" },
        { STATE_KEYS_LIKE, "KEYS_LIKE" },
        { 0, NULL },
    };
    static const struct capability pubsub[] = {
        { PUBSUB_TTL, "MESSAGE_TTL" },
        { PUBSUB_WILDCARDS, "SUBSCRIBE_WILDCARDS" },
        { PUBSUB_BULK_PUBLISH, "BULK_PUBSUB" },
        { PUBSUB_BULK_SUBSCRIBE, "BULK_SUBSCRIBE_IMMEDIATE" },
        { 0, NULL },
    };
    static const struct capability secret[] = {
        { SECRET_MULTIPLE, "MULTIPLE_KEY_VALUES_PER_SECRET" }, { 0, NULL }
    };
    str kind = str_c(i->type->kind);
    const struct capability *c = str_eq(kind, S("state"))          ? state
                                 : str_eq(kind, S("pubsub"))       ? pubsub
                                 : str_eq(kind, S("secretstores")) ? secret
                                                                   : NULL;
    unsigned features = features_of(i);
    json_w_key(w, S("capabilities"));
    json_w_array(w);
    for (; c && c->name; c++)
        if (features & c->bit)
            json_w_str(w, str_c(c->name));
    unsigned actor = STATE_ETAG | STATE_TXN;
    if (str_eq(kind, S("state")) && (features & actor) == actor)
        json_w_str(w, S("ACTOR"));
    if (str_eq(kind, S("bindings"))) {
        const struct binding_ops *o = CONTAINER_OF(i->type, struct binding_ops, t);
        if (o->start)
            json_w_str(w, S("INPUT_BINDING"));
        if (o->invoke)
            json_w_str(w, S("OUTPUT_BINDING"));
    }
    json_w_array_end(w);
}

static bool has_capabilities(const struct instance *i)
{
    return features_of(i) || str_eq(str_c(i->type->kind), S("bindings"));
}

typedef void each_fn(struct json_w *w, const struct instance *i);

static void each_component(struct runtime *r, struct json_w *w, each_fn *fn)
{
    AUTO(catalog_unpinp) struct catalog *c = catalog_pin(&r->blocks);
    for (size_t k = 0; k < COMPONENT_KINDS; k++) {
        struct instance *i;
        for (size_t at = 0; (i = catalog_next(c, (enum component_kind)k, &at));)
            fn(w, i);
    }
}

static void put_component(struct json_w *w, const struct instance *i)
{
    json_w_object(w);
    json_w_kv(w, S("name"), str_c(i->name));
    json_w_kv(w, S("type"), str_c(i->type->type));
    json_w_kv(w, S("version"), str_c(i->type->version));
    if (has_capabilities(i))
        put_capabilities(w, i);
    json_w_object_end(w);
}

static void put_subscription(struct json_w *w, const struct subscription *s)
{
    static const char *const type[] = { "UNKNOWN", "DECLARATIVE", "PROGRAMMATIC", "STREAMING" };
    json_w_object(w);
    json_w_kv(w, S("pubsubname"), s->pubsub);
    json_w_kv(w, S("topic"), s->topic);
    if (s->metadata.n) {
        json_w_key(w, S("metadata"));
        json_w_object(w);
        for (size_t i = 0; i < s->metadata.n; i++)
            json_w_kv(w, s->metadata.v[i].key, s->metadata.v[i].value);
        json_w_object_end(w);
    }
    json_w_key(w, S("rules"));
    json_w_array(w);
    for (size_t i = 0; i < s->n_rules; i++) {
        json_w_object(w);
        if (s->rules[i].match.n)
            json_w_kv(w, S("match"), s->rules[i].match);
        if (s->rules[i].path.n)
            json_w_kv(w, S("path"), s->rules[i].path);
        json_w_object_end(w);
    }
    json_w_array_end(w);
    json_w_kv(w, S("deadLetterTopic"), s->dead_letter);
    json_w_kv(w, S("type"), str_c(type[s->type]));
    json_w_object_end(w);
}

static void put_duration(struct json_w *w, str key, uint64_t ns)
{
    char text[DURATION_MAX];
    size_t n = duration_print((int64_t)ns, text);
    json_w_kv(w, key, str_of(text, n));
}

static void put_app(struct runtime *r, struct json_w *w)
{
    const struct options *o = r->options;
    json_w_key(w, S("appConnectionProperties"));
    json_w_object(w);
    json_w_key(w, S("port"));
    json_w_i64(w, o->app_port);
    json_w_kv(w, S("protocol"), str_c(o->app_protocol));
    json_w_kv(w, S("channelAddress"), str_c(o->app_channel_address));
    if (o->app_max_concurrency) {
        json_w_key(w, S("maxConcurrency"));
        json_w_i64(w, o->app_max_concurrency);
    }
    if (o->health_check) {
        json_w_key(w, S("health"));
        json_w_object(w);
        json_w_kv(w, S("healthCheckPath"), str_c(o->health_path));
        put_duration(w, S("healthProbeInterval"), SEC((uint64_t)o->health_interval_s));
        put_duration(w, S("healthProbeTimeout"), MS((uint64_t)o->health_timeout_ms));
        json_w_key(w, S("healthThreshold"));
        json_w_i64(w, o->health_threshold);
        json_w_object_end(w);
    }
    json_w_object_end(w);
}

static void put_extended(struct runtime *r, struct json_w *w)
{
    json_w_key(w, S("extended"));
    json_w_object(w);
    json_w_kv(w, S("daprRuntimeVersion"), S(PROA_VERSION));
    pthread_mutex_lock(&r->lock);
    for (size_t i = 0; i < r->n_attributes; i++)
        json_w_kv(w, r->attribute[i].key, r->attribute[i].value);
    pthread_mutex_unlock(&r->lock);
    json_w_object_end(w);
}

static void put_named(struct json_w *w, str key, const struct blocks *b)
{
    if (!b->n_endpoints)
        return;
    json_w_key(w, key);
    json_w_array(w);
    for (size_t i = 0; i < b->n_endpoints; i++) {
        json_w_object(w);
        json_w_kv(w, S("name"), b->endpoints[i].name);
        json_w_object_end(w);
    }
    json_w_array_end(w);
}

static void put_resiliencies(struct runtime *r, struct json_w *w)
{
    if (!r->resources->n_resiliencies)
        return;
    json_w_key(w, S("resiliencies"));
    json_w_array(w);
    for (size_t i = 0; i < r->resources->n_resiliencies; i++) {
        json_w_object(w);
        json_w_kv(w, S("name"), r->resources->resiliency[i]->name);
        json_w_object_end(w);
    }
    json_w_array_end(w);
}

CO void describe_metadata(void *runtime, struct buf *out)
{
    struct runtime *r = runtime;
    struct json_w w;
    json_w_init(&w, out, JSON_W_HTML);
    json_w_object(&w);
    json_w_kv(&w, S("id"), str_c(r->options->app_id));
    json_w_kv(&w, S("runtimeVersion"), S(PROA_VERSION));
    json_w_key(&w, S("components"));
    json_w_array(&w);
    each_component(r, &w, put_component);
    json_w_array_end(&w);
    put_extended(r, &w);
    json_w_key(&w, S("subscriptions"));
    json_w_array(&w);
    for (size_t i = 0; atomic_load(&r->discovered) && i < r->subscriptions.n; i++)
        put_subscription(&w, r->subscriptions.v[i]);
    json_w_array_end(&w);
    put_named(&w, S("httpEndpoints"), &r->blocks);
    if (r->app)
        put_app(r, &w);
    json_w_key(&w, S("actorRuntime"));
    json_w_object(&w);
    json_w_kv(&w, S("runtimeStatus"), S("DISABLED"));
    json_w_key(&w, S("hostReady"));
    json_w_bool(&w, false);
    json_w_object_end(&w);
    put_resiliencies(r, &w);
    json_w_object_end(&w);
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
    each_component(r, &w, put_resource);
    json_w_array_end(&w);
    feed_write(&w);
    json_w_object_end(&w);
}
