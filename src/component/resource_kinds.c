/* Component, Subscription and HTTPEndpoint: their rows, and what must hold of them. */
#include "component/resource_priv.h"
#include "format/cel.h"
#include "format/duration.h"

#include <stdio.h>

#define AT(type, field) offsetof(struct type, field)

static const uint64_t INIT_TIMEOUT_NS = SEC(5);

/* ---- name, value | secretKeyRef | envRef ---- */

static const struct bind_row secret_ref_rows[] = {
    { "name", BIND_STR, AT(secret_ref, name) },
    { "key", BIND_STR, AT(secret_ref, key) },
};
static const struct bind_table secret_ref_table = { "secretKeyRef", sizeof(struct secret_ref),
                                                    secret_ref_rows, COUNT(secret_ref_rows) };

static const struct bind_row name_value_rows[] = {
    { NULL, BIND_SELF, AT(name_value, at) },
    { "name", BIND_STR, AT(name_value, name) },
    { "value", BIND_NODE, AT(name_value, node) },
    { "secretKeyRef", BIND_STRUCT, AT(name_value, from.secret), &secret_ref_table },
    { "envRef", BIND_STR, AT(name_value, env) },
};
static const struct bind_table name_value_table = { "an item of name and value",
                                                    sizeof(struct name_value), name_value_rows,
                                                    COUNT(name_value_rows) };

/* Any value as text: scalars as they are written, anything deeper as JSON. */
static str value_text(struct bind *b, const struct yaml_node *n)
{
    if (yaml_is_null(n))
        return (str){ 0 };
    if (yaml_is_scalar(n))
        return yaml_text(n, S(""));
    struct buf out;
    struct json_w w;
    buf_init(&out, RESOURCE_FILE_MAX);
    json_w_init(&w, &out, 0);
    yaml_to_json(n, &w);
    str text = buf_ok(&out) ? arena_dup(b->arena, buf_str(&out)) : (str){ 0 };
    buf_done(&out);
    if (!text.p)
        bind_no_memory(b, n);
    return text;
}

static void default_key(struct secret_ref *ref)
{
    if (!ref->key.n)
        ref->key = ref->name;
}

static void finish_values(struct bind *b, struct name_values *items)
{
    for (size_t i = 0; i < items->n; i++) {
        struct name_value *item = &items->v[i];
        item->from.value = value_text(b, item->node);
        default_key(&item->from.secret);
        if (!item->name.n)
            bind_fail(b, item->at, "an item has no name: give it one");
        if (item->env.n && item->from.value.n)
            bind_warn(b, item->at, "\"%.*s\" has both value and envRef: the value is used",
                      (int)min_size(item->name.n, 60), item->name.p);
    }
}

/* ---- Component ---- */

struct component_spec {
    struct component_resource c;
    const struct yaml_node *init_timeout;
};

static const struct bind_row component_rows[] = {
    { "type", BIND_STR, AT(component_spec, c.type) },
    { "version", BIND_STR, AT(component_spec, c.version) },
    { "ignoreErrors", BIND_BOOL, AT(component_spec, c.ignore_errors) },
    { "initTimeout", BIND_NODE, AT(component_spec, init_timeout) },
    { "metadata", BIND_LIST, AT(component_spec, c.metadata), &name_value_table },
};
static const struct bind_table component_table = { "a Component's spec",
                                                   sizeof(struct component_spec), component_rows,
                                                   COUNT(component_rows) };

static uint64_t init_timeout(struct bind *b, const struct yaml_node *n)
{
    int64_t ns;
    str text = yaml_text(n, S(""));
    if (!text.n)
        return INIT_TIMEOUT_NS;
    if (duration_parse(text, &ns) && ns > 0)
        return (uint64_t)ns;
    bind_warn(b, n, "initTimeout \"%.*s\" is not a duration such as 10s: 5s is used",
              (int)min_size(text.n, 60), text.p);
    return INIT_TIMEOUT_NS;
}

const char *component_label(const struct component_resource *c, char ret[COMPONENT_LABEL_MAX])
{
    snprintf(ret, COMPONENT_LABEL_MAX, "%.*s (%.*s/%.*s)", (int)min_size(c->head.name.n, 253),
             c->head.name.p, (int)min_size(c->type.n, 100), c->type.p,
             (int)min_size(c->version.n, 30), c->version.p);
    return ret;
}

static bool other_namespace(const struct loader *l, const struct document *d)
{
    return l->opt->namespace_.n && d->head.namespace_.n &&
           !str_eq(l->opt->namespace_, d->head.namespace_);
}

/* What Dapr does, in its order: namespace, duplicates, scopes; only what is in scope takes a name.
 */
static bool admit(struct loader *l, struct document *d, struct map *by_name, const char *label)
{
    if (other_namespace(l, d))
        return false;
    const char *before = map_get(by_name, d->head.name);
    if (before)
        loader_fatal(l, d->head.file, d->node,
                     "duplicate definition of %.*s name %s with existing %s", (int)d->kind.n,
                     d->kind.p, label, before);
    if (before || !resource_in_scope(&d->head, l->opt->app_id))
        return false;
    const char *copy = arena_cstr(&l->r->arena, str_c(label));
    if (!copy || map_put(by_name, d->head.name, (void *)copy, NULL) < 0)
        l->exhausted = true;
    return !l->exhausted;
}

void load_component(struct loader *l, struct document *d)
{
    struct component_spec spec = { 0 };
    char label[COMPONENT_LABEL_MAX];
    bind_map(&d->bind, &component_table, d->spec, &spec);
    finish_values(&d->bind, &spec.c.metadata);
    if (d->bind.failed)
        return;
    if (!spec.c.type.n)
        bind_warn(&d->bind, d->spec ? d->spec : d->node,
                  "spec.type is missing: give one such as state.sqlite");
    spec.c.head = d->head;
    spec.c.secret_store = d->secret_store;
    spec.c.init_timeout_ns = init_timeout(&d->bind, spec.init_timeout);
    if (!admit(l, d, &l->component_by_name, component_label(&spec.c, label)))
        return;
    struct component_resource *c = vec_push(l, &l->component, sizeof *c);
    if (c)
        *c = spec.c;
}

/* ---- Subscription, both versions ---- */

struct subscription_spec {
    struct subscription_resource s;
    str route;
    const struct yaml_node *routes;
};

static const struct bind_row rule_rows[] = {
    { "match", BIND_STR, AT(route_rule, match) },
    { "path", BIND_STR, AT(route_rule, path) },
};
static const struct bind_table rule_table = { "a rule of routes", sizeof(struct route_rule),
                                              rule_rows, COUNT(rule_rows) };
static const struct bind_row routes_rows[] = {
    { "rules", BIND_LIST, AT(subscription_spec, s.rule), &rule_table },
    { "default", BIND_STR, AT(subscription_spec, s.default_path) },
};
static const struct bind_table routes_table = { "routes", 0, routes_rows, COUNT(routes_rows) };
static const struct bind_row bulk_rows[] = {
    { "enabled", BIND_BOOL, AT(subscription_spec, s.bulk) },
    { "maxMessagesCount", BIND_INT, AT(subscription_spec, s.bulk_max) },
    { "maxAwaitDurationMs", BIND_INT, AT(subscription_spec, s.bulk_await_ms) },
};
static const struct bind_table bulk_table = { "bulkSubscribe", 0, bulk_rows, COUNT(bulk_rows) };
static const struct bind_row subscription_rows[] = {
    { "pubsubname", BIND_STR, AT(subscription_spec, s.pubsub) },
    { "topic", BIND_STR, AT(subscription_spec, s.topic) },
    { "metadata", BIND_KVS, AT(subscription_spec, s.metadata) },
    { "deadLetterTopic", BIND_STR, AT(subscription_spec, s.dead_letter_topic) },
    { "bulkSubscribe", BIND_STRUCT, 0, &bulk_table },
    { "route", BIND_STR, AT(subscription_spec, route) },
    { "routes", BIND_STRUCT, 0, &routes_table },
};
static const struct bind_table subscription_table = { "a Subscription's spec",
                                                      sizeof(struct subscription_spec),
                                                      subscription_rows, COUNT(subscription_rows) };

static void check_subscription(struct document *d, struct subscription_spec *spec, bool v1)
{
    struct bind *b = &d->bind;
    const struct yaml_node *at = d->spec ? d->spec : d->node;
    if (!spec->s.pubsub.n)
        bind_fail(b, at, "spec.pubsubname is missing: name the pubsub component");
    if (!spec->s.topic.n)
        bind_fail(b, at, "spec.topic is missing");
    if (spec->s.bulk_max < 0 || spec->s.bulk_await_ms < 0)
        bind_fail(b, at, "bulkSubscribe: its numbers can't be negative");
    const struct yaml_node *misplaced = bind_get(d->spec, v1 ? S("routes") : S("route"));
    if (misplaced)
        bind_fail(b, misplaced,
                  v1 ? "routes is of dapr.io/v2alpha1: set apiVersion to that, or "
                       "use route"
                     : "route is of dapr.io/v1alpha1: use routes with a default");
    if (v1)
        spec->s.default_path = spec->route;
}

/* A condition that doesn't parse stops the start if it concerns us. */
static void refuse_rule(struct loader *l, struct document *d, size_t i, const char *why)
{
    const struct yaml_node *rules = bind_get(bind_get(d->spec, S("routes")), S("rules"));
    const struct yaml_node *at = rules && i < rules->n ? rules->item[i] : NULL;
    at = bind_get(at, S("match"));
    if (resource_in_scope(&d->head, l->opt->app_id))
        loader_fatal(l, d->head.file, at, "Subscription %.*s: match %s", (int)d->head.name.n,
                     d->head.name.p, why);
    else
        bind_warn(&d->bind, at, "match %s", why);
}

static void compile_rules(struct loader *l, struct document *d, struct subscription_resource *s)
{
    for (size_t i = 0; i < s->n_rules; i++) {
        struct error err = { 0 };
        struct cel_program *program = NULL;
        int r = 0;
        if (s->rule[i].match.n)
            r = cel_compile(&l->r->arena, s->rule[i].match, &program, &err);
        if (r == -EXHAUSTED)
            bind_no_memory(&d->bind, d->node);
        else if (r < 0)
            refuse_rule(l, d, i, err.text);
        s->rule[i].program = program;
    }
}

void load_subscription(struct loader *l, struct document *d)
{
    struct subscription_spec spec = { 0 };
    bind_map(&d->bind, &subscription_table, d->spec, &spec);
    check_subscription(d, &spec, str_ends(d->api_version, S("/v1alpha1")));
    if (d->bind.failed)
        return;
    compile_rules(l, d, &spec.s);
    struct subscription_resource *s = vec_push(l, &l->subscription, sizeof *s);
    if (!s)
        return;
    *s = spec.s;
    s->head = d->head;
}

/* ---- HTTPEndpoint ---- */

struct tls_value {
    const struct yaml_node *node;
    struct secret_ref secret;
};
struct endpoint_spec {
    struct endpoint_resource e;
    struct tls_value root_ca, certificate, private_key;
};

static const struct bind_row tls_value_rows[] = {
    { "value", BIND_NODE, AT(tls_value, node) },
    { "secretKeyRef", BIND_STRUCT, AT(tls_value, secret), &secret_ref_table },
};
static const struct bind_table tls_value_table = { "a TLS value", sizeof(struct tls_value),
                                                   tls_value_rows, COUNT(tls_value_rows) };
static const struct bind_row tls_rows[] = {
    { "rootCA", BIND_STRUCT, AT(endpoint_spec, root_ca), &tls_value_table },
    { "certificate", BIND_STRUCT, AT(endpoint_spec, certificate), &tls_value_table },
    { "privateKey", BIND_STRUCT, AT(endpoint_spec, private_key), &tls_value_table },
    { "renegotiation", BIND_STR, AT(endpoint_spec, e.renegotiation) },
};
static const struct bind_table tls_table = { "clientTLS", 0, tls_rows, COUNT(tls_rows) };
static const struct bind_row endpoint_rows[] = {
    { "baseUrl", BIND_STR, AT(endpoint_spec, e.base_url) },
    { "headers", BIND_LIST, AT(endpoint_spec, e.headers), &name_value_table },
    { "clientTLS", BIND_STRUCT, 0, &tls_table },
};
static const struct bind_table endpoint_table = { "an HTTPEndpoint's spec",
                                                  sizeof(struct endpoint_spec), endpoint_rows,
                                                  COUNT(endpoint_rows) };

static struct value_ref tls_value(struct bind *b, struct tls_value *v)
{
    struct value_ref ref = { value_text(b, v->node), v->secret };
    default_key(&ref.secret);
    return ref;
}

static void check_endpoint(struct document *d, struct endpoint_resource *e)
{
    static const str modes[] = { S("RenegotiateNever"), S("RenegotiateOnceAsClient"),
                                 S("RenegotiateFreelyAsClient") };
    bool known = !e->renegotiation.n;
    for (size_t i = 0; i < COUNT(modes); i++)
        known |= str_eq(e->renegotiation, modes[i]);
    const struct yaml_node *at = d->spec ? d->spec : d->node;
    if (!known)
        bind_fail(&d->bind, at,
                  "renegotiation \"%.*s\" is none of RenegotiateNever, RenegotiateOnceAsClient, "
                  "RenegotiateFreelyAsClient",
                  (int)min_size(e->renegotiation.n, 60), e->renegotiation.p);
    if (!str_istarts(e->base_url, S("http://")) && !str_istarts(e->base_url, S("https://")))
        bind_fail(&d->bind, at, "spec.baseUrl \"%.*s\" must begin with http:// or https://",
                  (int)min_size(e->base_url.n, 100), e->base_url.p);
}

void load_endpoint(struct loader *l, struct document *d)
{
    struct endpoint_spec spec = { 0 };
    bind_map(&d->bind, &endpoint_table, d->spec, &spec);
    finish_values(&d->bind, &spec.e.headers);
    spec.e.head = d->head;
    spec.e.secret_store = d->secret_store;
    spec.e.root_ca = tls_value(&d->bind, &spec.root_ca);
    spec.e.certificate = tls_value(&d->bind, &spec.certificate);
    spec.e.private_key = tls_value(&d->bind, &spec.private_key);
    check_endpoint(d, &spec.e);
    if (d->bind.failed)
        return;
    char label[COMPONENT_LABEL_MAX];
    snprintf(label, sizeof label, "%.*s (%.*s)", (int)min_size(d->head.name.n, 100), d->head.name.p,
             (int)min_size(spec.e.base_url.n, 200), spec.e.base_url.p);
    if (!admit(l, d, &l->endpoint_by_name, label))
        return;
    struct endpoint_resource *e = vec_push(l, &l->endpoint, sizeof *e);
    if (e)
        *e = spec.e;
}
