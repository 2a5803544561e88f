#include "api/metadata.h"

#include "api/request.h"
#include "format/duration.h"
#include "format/json.h"

static void put_component(struct json_w *w, const struct sidecar_component *c)
{
    json_w_object(w);
    json_w_kv(w, S("name"), c->name);
    json_w_kv(w, S("type"), c->type);
    json_w_kv(w, S("version"), c->version);
    if (c->n_capabilities) {
        json_w_key(w, S("capabilities"));
        json_w_array(w);
        for (size_t i = 0; i < c->n_capabilities; i++)
            json_w_str(w, c->capability[i]);
        json_w_array_end(w);
    }
    json_w_object_end(w);
}

static void put_kvs(struct json_w *w, str key, struct kvs kvs)
{
    json_w_key(w, key);
    json_w_object(w);
    for (size_t i = 0; i < kvs.n; i++)
        json_w_kv(w, kvs.v[i].key, kvs.v[i].value);
    json_w_object_end(w);
}

static void put_subscription(struct json_w *w, const struct subscription *s)
{
    static const str type[] = { S("UNKNOWN"), S("DECLARATIVE"), S("PROGRAMMATIC"), S("STREAMING") };
    json_w_object(w);
    json_w_kv(w, S("pubsubname"), s->pubsub);
    json_w_kv(w, S("topic"), s->topic);
    if (s->metadata.n)
        put_kvs(w, S("metadata"), s->metadata);
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
    json_w_kv(w, S("type"), type[s->type]);
    json_w_object_end(w);
}

static void put_duration(struct json_w *w, str key, uint64_t ns)
{
    char text[DURATION_MAX];
    size_t n = duration_print((int64_t)ns, text);
    json_w_kv(w, key, str_of(text, n));
}

static void put_app(struct json_w *w, const struct sidecar_app *a)
{
    json_w_key(w, S("appConnectionProperties"));
    json_w_object(w);
    json_w_key(w, S("port"));
    json_w_i64(w, a->port);
    json_w_kv(w, S("protocol"), a->protocol);
    json_w_kv(w, S("channelAddress"), a->address);
    if (a->max_concurrency) {
        json_w_key(w, S("maxConcurrency"));
        json_w_i64(w, a->max_concurrency);
    }
    if (a->probed) {
        json_w_key(w, S("health"));
        json_w_object(w);
        json_w_kv(w, S("healthCheckPath"), a->health_path);
        put_duration(w, S("healthProbeInterval"), a->health_interval_ns);
        put_duration(w, S("healthProbeTimeout"), a->health_timeout_ns);
        json_w_key(w, S("healthThreshold"));
        json_w_i64(w, a->health_threshold);
        json_w_object_end(w);
    }
    json_w_object_end(w);
}

static void put_name(struct json_w *w, str name)
{
    json_w_object(w);
    json_w_kv(w, S("name"), name);
    json_w_object_end(w);
}

static void put_names(struct json_w *w, const struct sidecar_info *i)
{
    if (i->n_endpoints) {
        json_w_key(w, S("httpEndpoints"));
        json_w_array(w);
        for (size_t k = 0; k < i->n_endpoints; k++)
            put_name(w, i->endpoint[k].name);
        json_w_array_end(w);
    }
    if (i->n_resiliencies) {
        json_w_key(w, S("resiliencies"));
        json_w_array(w);
        for (size_t k = 0; k < i->n_resiliencies; k++)
            put_name(w, i->resiliency[k]);
        json_w_array_end(w);
    }
}

void metadata_json(const struct sidecar_info *i, struct buf *out)
{
    struct json_w writer, *w = &writer;
    json_w_init(w, out, JSON_W_HTML);
    json_w_object(w);
    json_w_kv(w, S("id"), i->id);
    json_w_kv(w, S("runtimeVersion"), i->version);
    json_w_key(w, S("components"));
    json_w_array(w);
    for (size_t k = 0; k < i->n_components; k++)
        put_component(w, &i->component[k]);
    json_w_array_end(w);
    put_kvs(w, S("extended"), i->extended);
    json_w_key(w, S("subscriptions"));
    json_w_array(w);
    for (size_t k = 0; k < i->n_subscriptions; k++)
        put_subscription(w, i->subscription[k]);
    json_w_array_end(w);
    if (i->has_app)
        put_app(w, &i->app);
    json_w_key(w, S("actorRuntime"));
    json_w_object(w);
    json_w_kv(w, S("runtimeStatus"), S("DISABLED"));
    json_w_key(w, S("hostReady"));
    json_w_bool(w, false);
    json_w_object_end(w);
    put_names(w, i);
    json_w_object_end(w);
}

CO void metadata_get_route(struct request *r)
{
    AUTO(buf_done) struct buf out;
    struct sidecar_info info;
    struct error err = { 0 };
    if (r->config->host.describe(r->config->host.arg, r->a, &info) < 0) {
        reply_error(r->x, &err);
        return;
    }
    buf_init(&out, MIB(64));
    metadata_json(&info, &out);
    reply_buf(r, 200, &out);
}
