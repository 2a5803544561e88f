#include "api/grpc_call.h"
#include "api/metadata.h"
#include "component/resource.h"
#include "format/duration.h"
#include "runtime.pb-c.h"

/* What the service says about the sidecar itself. */

typedef Dapr__Proto__Runtime__V1__GetMetadataResponse metadata_response;
typedef Dapr__Proto__Runtime__V1__SetMetadataRequest set_request;
typedef Dapr__Proto__Runtime__V1__RegisteredComponents component;
typedef Dapr__Proto__Runtime__V1__PubsubSubscription pubsub_subscription;
typedef Dapr__Proto__Runtime__V1__PubsubSubscriptionRule rule;
typedef Dapr__Proto__Runtime__V1__AppConnectionProperties app_properties;
typedef Dapr__Proto__Runtime__V1__AppConnectionHealthProperties health_properties;

#define PB(message) &dapr__proto__runtime__v1__##message##__descriptor

static component *make_component(struct arena *a, const struct sidecar_component *c)
{
    component *m = pb_new(a, PB(registered_components));
    if (!m || !(m->name = pb_text(a, c->name)) || !(m->type = pb_text(a, c->type)) ||
        !(m->version = pb_text(a, c->version)) ||
        !(m->capabilities = arena_alloc(a, c->n_capabilities * sizeof *m->capabilities)))
        return NULL;
    for (size_t i = 0; i < c->n_capabilities; i++)
        if (!(m->capabilities[m->n_capabilities++] = pb_text(a, c->capability[i])))
            return NULL;
    return m;
}

static rule *make_rule(struct arena *a, const struct route_rule *r)
{
    rule *m = pb_new(a, PB(pubsub_subscription_rule));
    if (!m || !(m->match = pb_text(a, r->match)) || !(m->path = pb_text(a, r->path)))
        return NULL;
    return m;
}

static pubsub_subscription *make_subscription(struct arena *a, const struct subscription *s)
{
    pubsub_subscription *m = pb_new(a, PB(pubsub_subscription));
    if (!m || !(m->pubsub_name = pb_text(a, s->pubsub)) || !(m->topic = pb_text(a, s->topic)) ||
        !(m->dead_letter_topic = pb_text(a, s->dead_letter)) ||
        !(m->rules = pb_new(a, PB(pubsub_subscription_rules))) ||
        !(m->rules->rules = arena_alloc(a, s->n_rules * sizeof *m->rules->rules)) ||
        pb_map(a, s->metadata, &m->metadata, &m->n_metadata) < 0)
        return NULL;
    m->type = (int)s->type; /* the same numbers */
    for (size_t i = 0; i < s->n_rules; i++)
        if (!(m->rules->rules[m->rules->n_rules++] = make_rule(a, &s->rules[i])))
            return NULL;
    return m;
}

static char *duration_text(struct arena *a, uint64_t ns)
{
    char text[DURATION_MAX];
    size_t n = duration_print((int64_t)ns, text);
    return pb_text(a, str_of(text, n));
}

static app_properties *make_app(struct arena *a, const struct sidecar_app *s)
{
    app_properties *m = pb_new(a, PB(app_connection_properties));
    if (!m || !(m->protocol = pb_text(a, s->protocol)) ||
        !(m->channel_address = pb_text(a, s->address)))
        return NULL;
    m->port = (int32_t)s->port;
    m->max_concurrency = (int32_t)s->max_concurrency;
    if (!s->probed)
        return m;
    health_properties *h = m->health = pb_new(a, PB(app_connection_health_properties));
    if (!h || !(h->health_check_path = pb_text(a, s->health_path)) ||
        !(h->health_probe_interval = duration_text(a, s->health_interval_ns)) ||
        !(h->health_probe_timeout = duration_text(a, s->health_timeout_ns)))
        return NULL;
    h->health_threshold = (int32_t)s->health_threshold;
    return m;
}

/* The messages of a list: make(a, first + i * size) for each. */
typedef void *make_fn(struct arena *a, const void *from);
static int make_list(struct arena *a, make_fn *make, const void *first, size_t size, size_t n,
                     void *ret, size_t *ret_n)
{
    void **v = arena_alloc(a, n * sizeof *v);
    if (!v)
        return -EXHAUSTED;
    for (size_t i = 0; i < n; i++)
        if (!(v[i] = make(a, (const char *)first + i * size)))
            return -EXHAUSTED;
    *(void ***)ret = v;
    *ret_n = n;
    return 0;
}

static void *list_component(struct arena *a, const void *from)
{
    return make_component(a, from);
}

static void *list_subscription(struct arena *a, const void *from)
{
    return make_subscription(a, *(struct subscription *const *)from);
}

static void *list_endpoint(struct arena *a, const void *from)
{
    const struct endpoint *e = from;
    Dapr__Proto__Runtime__V1__MetadataHTTPEndpoint *m = pb_new(a, PB(metadata_httpendpoint));
    return m && (m->name = pb_text(a, e->name)) ? m : NULL;
}

static void *list_resiliency(struct arena *a, const void *from)
{
    Dapr__Proto__Runtime__V1__MetadataResiliency *m = pb_new(a, PB(metadata_resiliency));
    return m && (m->name = pb_text(a, *(const str *)from)) ? m : NULL;
}

static int make_metadata(struct arena *a, const struct sidecar_info *i, metadata_response *m)
{
    if (!(m->id = pb_text(a, i->id)) || !(m->runtime_version = pb_text(a, i->version)) ||
        !(m->actor_runtime = pb_new(a, PB(actor_runtime))) ||
        (i->has_app && !(m->app_connection_properties = make_app(a, &i->app))))
        return -EXHAUSTED;
    m->actor_runtime->runtime_status =
        DAPR__PROTO__RUNTIME__V1__ACTOR_RUNTIME__ACTOR_RUNTIME_STATUS__DISABLED;
    int r = pb_map(a, i->extended, &m->extended_metadata, &m->n_extended_metadata);
    if (r >= 0)
        r = make_list(a, list_component, i->component, sizeof *i->component, i->n_components,
                      &m->registered_components, &m->n_registered_components);
    if (r >= 0)
        r = make_list(a, list_subscription, i->subscription, sizeof *i->subscription,
                      i->n_subscriptions, &m->subscriptions, &m->n_subscriptions);
    if (r >= 0)
        r = make_list(a, list_endpoint, i->endpoint, sizeof *i->endpoint, i->n_endpoints,
                      &m->http_endpoints, &m->n_http_endpoints);
    if (r >= 0)
        r = make_list(a, list_resiliency, i->resiliency, sizeof *i->resiliency, i->n_resiliencies,
                      &m->resiliencies, &m->n_resiliencies);
    return r;
}

CO int metadata_get_rpc(struct grpc_call *c, const void *in, void **ret_out, struct error *err)
{
    struct sidecar_info info;
    *ret_out = pb_new(c->a, c->method->out);
    if (!*ret_out || c->config->host.describe(c->config->host.arg, c->a, &info) < 0 ||
        make_metadata(c->a, &info, *ret_out) < 0)
        return grpc_no_memory(err);
    return 0;
}

CO int metadata_set_rpc(struct grpc_call *c, const void *in, void **ret_out, struct error *err)
{
    const set_request *q = in;
    if (c->config->host.set_metadata(c->config->host.arg, pb_str(q->key), pb_str(q->value)) < 0)
        return fail(err, EXHAUSTED, "ERR_MALFORMED_REQUEST",
                    "too many attributes, or too large a value");
    return 0;
}

/* The answer goes out first: the end may be quick. */
CO int shutdown_rpc(struct grpc_call *c, const void *in, void **ret_out, struct error *err)
{
    str force = http_headers_get(&c->x->req.headers, S("dapr-force-shutdown"));
    int r = grpc_reply(c, NULL, err);
    c->config->host.shutdown(c->config->host.arg, str_eq(force, S("true")));
    return r;
}
