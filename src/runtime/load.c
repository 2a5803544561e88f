#include "base/log.h"
#include "base/mem.h"
#include "block/binding.h"
#include "block/call/outside.h"
#include "block/configuration.h"
#include "block/crypto.h"
#include "block/lock.h"
#include "block/publish.h"
#include "block/secret.h"
#include "block/state.h"
#include "component/suggest.h"
#include "fiber/sync.h"
#include "runtime/private.h"
#include "telemetry/metrics.h"

#include <stdio.h>
#include <stdlib.h>

enum { INSTANCE_ARENA = 16 << 20, RESOLVER_VALUE_MAX = 1 << 20 };
static const uint64_t SOURCE_OPEN_NS = UINT64_C(60000000000); /* of all that it asks */
static const char SCOPE[] = "dapr.runtime.processor";
#define FAILURE "[INIT_COMPONENT_FAILURE]: initialization error occurred for %s: %s"

static struct metric_family loaded = {
    .name = "dapr_runtime_component_loaded",
    .help = "Components that were loaded.",
    .kind = METRIC_GAUGE,
};
static struct metric_family init_total = {
    .name = "dapr_runtime_component_init_total",
    .help = "Components initialised.",
    .label = { "component" },
};
static struct metric_family init_fail = {
    .name = "dapr_runtime_component_init_fail_total",
    .help = "Components that failed to initialise.",
    .label = { "component", "reason", "componentName" },
};

/* A reference into a secret store that is open already. */
CO static int read_secret(void *arg, str store, str name, str key, struct arena *a, str *ret,
                          struct error *err)
{
    struct runtime *r = arg;
    struct instance *i = catalog_get(&r->blocks, KIND_SECRET, store);
    if (!i)
        return fail(err, NOT_FOUND, NULL, "secret store " STR_FMT " isn't loaded", STR_ARG(store));
    const struct secret_ops *ops = CONTAINER_OF(i->type, struct secret_ops, t);
    struct kvs values;
    int code = ops->get(i->self, name, (struct kvs){ 0 }, a, &values, err);
    if (code < 0)
        return code;
    str value = kvs_get(values, key);
    if (!value.p)
        return fail(err, NOT_FOUND, NULL, "secret " STR_FMT " has no key " STR_FMT, STR_ARG(name),
                    STR_ARG(key));
    *ret = value;
    return 0;
}

static struct resolve_env resolve_env(struct runtime *r)
{
    return (struct resolve_env){
        .app_id = str_c(r->options->app_id),
        .namespace_ = str_c(r->blocks.namespace_),
        .getenv = host_getenv,
        .secret = read_secret,
        .arg = r,
    };
}

static void log_diags(const struct diags *d)
{
    char text[DIAG_TEXT_MAX];
    for (size_t i = 0; i < d->n; i++)
        log_at(d->v[i].level == DIAG_WARN ? LOG_WARN : LOG_ERROR, SCOPE, "%s",
               diag_print(&d->v[i], text));
}

static void warn_config(void *arg, const char *text)
{
    log_warn(SCOPE, "component %s: %s", (const char *)arg, text);
}

/* An instance of the type, not yet open: its metadata is decoded by configure(). */
static struct instance *new_instance(const struct component_type *type, str name, struct error *err)
{
    struct instance *i = mem_zalloc(sizeof *i);
    if (!i) {
        fail(err, EXHAUSTED, NULL, "out of memory");
        return NULL;
    }
    arena_init(&i->arena, INSTANCE_ARENA);
    i->type = type;
    i->name = mem_dup(name.p, name.n);
    if (i->name)
        return i;
    instance_free(i);
    fail(err, EXHAUSTED, NULL, "out of memory");
    return NULL;
}

/* .self is there only when this succeeds: close must not see what was never opened. */
static int configure(struct runtime *r, struct instance *i, struct kvs metadata, struct error *err)
{
    i->metadata = metadata;
    i->env = (struct component_env){
        .name = i->name,
        .type = i->type,
        .app_id = r->options->app_id,
        .namespace_ = r->blocks.namespace_,
        .metadata = metadata,
        .host_address = r->host_address,
        .zone = r->options->zone,
        .region = r->options->region,
        .http_port = r->http_port,
        .grpc_port = r->grpc_port,
        .internal_port = r->internal_port,
        .app_port = (uint16_t)r->options->app_port,
    };
    void *self = mem_zalloc(i->type->size);
    if (!self)
        return fail(err, EXHAUSTED, NULL, "out of memory");
    int code = cfg_decode(i->type, metadata, &i->arena, self, warn_config, i->name, err);
    if (code < 0)
        mem_free(self);
    else
        i->self = self;
    return code;
}

CO static int open_instance(struct instance *i, uint64_t timeout_ns, struct error *err)
{
    DEADLINE(timeout_ns ? timeout_ns : SEC(5));
    return i->type->open ? i->type->open(i->self, &i->env, err) : 0;
}

static bool namespaced(const struct component_resource *c)
{
    for (size_t i = 0; i < c->metadata.n; i++)
        if (str_contains(c->metadata.v[i].from.value, S("{namespace}")))
            return true;
    return false;
}

/* Those of kind among the types onto the list, and all of them as suggestions. */
static str offer(const struct component_type *const *type, size_t n, str kind, str list,
                 struct suggest *near, struct arena *a)
{
    for (size_t i = 0; i < n; i++) {
        suggest_offer(near, str_c(type[i]->type));
        if (str_istarts(str_c(type[i]->type), kind))
            list = arena_printf(a, STR_FMT " %s", STR_ARG(list), type[i]->type);
    }
    return list;
}

/* ' (did you mean "x"?)', or the kind's engines, so that the next try works. */
static const char *hint(str type, struct arena *a)
{
    size_t n, n_added;
    const struct component_type *const *all = registry_all(&n);
    const struct component_type *const *added = registry_added(&n_added);
    struct suggest near = { .word = type };
    str kind, rest, list = S("");
    (void)str_cut(type, '.', &kind, &rest);
    list = offer(all, n, kind, list, &near, a);
    list = offer(added, n_added, kind, list, &near, a);
    char *text = arena_alloc(a, SUGGEST_MAX);
    if (text && suggest_text(&near, text)[0])
        return text;
    str known = list.n ? arena_printf(a, "; there are:" STR_FMT, STR_ARG(list)) : S("");
    return known.p ? known.p : "";
}

/* The secret that a field's value came from; empty = it was written down. */
static str secret_of(const struct component_resource *c, str field)
{
    for (size_t i = 0; i < c->metadata.n; i++)
        if (str_ieq(c->metadata.v[i].name, field))
            return c->metadata.v[i].from.secret.name;
    return S("");
}

static int attach_state(struct runtime *r, const struct component_resource *c, struct instance *i,
                        struct error *err)
{
    int code = state_attach(&r->blocks, i, err);
    return code < 0 ? code
                    : state_attach_keys(i, secret_of(c, S("primaryEncryptionKey")),
                                        secret_of(c, S("secondaryEncryptionKey")), err);
}

/* What the block of its kind keeps with it. */
static int attach(struct runtime *r, const struct component_resource *c, struct instance *i,
                  struct error *err)
{
    static const struct {
        const char *kind;
        int (*attach)(struct blocks *b, struct instance *i, struct error *err);
    } row[] = {
        { "secretstores", secret_attach },
        { "bindings", binding_attach },
        { "configuration", configuration_attach },
        { "lock", lock_attach },
        { "crypto", crypto_attach },
    };
    str kind = str_c(i->type->kind);
    if (str_eq(kind, S("pubsub")))
        return publish_attach(&r->blocks, i, namespaced(c), err);
    if (str_eq(kind, S("state")))
        return attach_state(r, c, i, err);
    for (size_t k = 0; k < COUNT(row); k++)
        if (str_eq(kind, str_c(row[k].kind)))
            return row[k].attach(&r->blocks, i, err);
    return 0;
}

static const struct component_type *find_type(struct runtime *r, const struct component_resource *c,
                                              struct error *err)
{
    static const str kinds[] = { S("state."),       S("pubsub."),     S("secretstores."),
                                 S("bindings."),    S("middleware."), S("configuration."),
                                 S("lock."),        S("crypto."),     S("nameresolution."),
                                 S("conversation.") };
    bool known = false;
    for (size_t i = 0; i < COUNT(kinds); i++)
        known = known || str_istarts(c->type, kinds[i]);
    if (!known) {
        fail(err, INVALID, NULL, "incorrect type " STR_FMT, STR_ARG(c->type));
        return NULL;
    }
    const struct component_type *type = registry_find(c->type, c->version);
    if (!type)
        fail(err, NOT_FOUND, NULL, "couldn't find component " STR_FMT "/" STR_FMT "%s",
             STR_ARG(c->type), STR_ARG(c->version.n ? c->version : S("v1")),
             hint(c->type, &r->arena));
    return type;
}

/* Everything of it lives in the instance's arena: the resource may go. */
CO static int prepare(struct runtime *r, const struct component_resource *c, struct instance *i,
                      struct error *err)
{
    struct resolve_env env = resolve_env(r);
    struct kvs metadata;
    struct diags diags;
    diags_init(&diags, &i->arena);
    int code = values_resolve(&c->metadata, c->secret_store, c->head.file, &env, &i->arena,
                              &metadata, &diags, err);
    log_diags(&diags);
    if (code >= 0)
        code = configure(r, i, metadata, err);
    i->file = arena_cstr(&i->arena, str_c(c->head.file));
    i->line = c->head.line;
    if (code >= 0)
        code = open_instance(i, c->init_timeout_ns, err);
    return code < 0 ? code : attach(r, c, i, err);
}

CO static int open_component(struct runtime *r, const struct component_resource *c,
                             struct instance **ret, struct error *err)
{
    const struct component_type *type = find_type(r, c, err);
    struct instance *i = type ? new_instance(type, str_take(c->head.name, 255), err) : NULL;
    if (!i)
        return -(int)err->code;
    int code = prepare(r, c, i, err);
    if (code < 0)
        instance_free(i);
    else
        *ret = i;
    return code;
}

/* What a failure is called; the loader's and the component's words: facts 9.3. */
static void tell_failure(struct runtime *r, const struct component_resource *c,
                         const struct error *cause, struct error *err)
{
    char label[COMPONENT_LABEL_MAX], type[128], once[1024], text[1600];
    component_label(c, label);
    snprintf(type, sizeof type, STR_FMT, STR_ARG(str_take(c->type, 120)));
    str labels[] = { str_c(type), S("init"), c->head.name };
    metric_add(metric_cell(&init_fail, labels), 1);
    snprintf(once, sizeof once, FAILURE, label, cause->text);
    snprintf(text, sizeof text, FAILURE, label, once);
    log_error(SCOPE, "Failed to init component %s: %s", label, once);
    feed_event("error", "component %s failed: %s", label, cause->text);
    log_error(SCOPE, "%s: process component " STR_FMT " error: %s",
              c->ignore_errors ? "Ignoring error processing component"
                               : "Error processing component, daprd will exit gracefully",
              STR_ARG(c->head.name), text);
    if (!c->ignore_errors)
        fail(err, cause->code, NULL, "process component " STR_FMT " error: %s",
             STR_ARG(c->head.name), text);
}

CO int component_open(struct runtime *r, const struct component_resource *c, struct instance **ret,
                      struct error *err)
{
    char label[COMPONENT_LABEL_MAX], type[128];
    struct error cause = { 0 };
    if (open_component(r, c, ret, &cause) < 0) {
        *ret = NULL;
        tell_failure(r, c, &cause, err);
        return c->ignore_errors ? 0 : -(int)cause.code;
    }
    snprintf(type, sizeof type, STR_FMT, STR_ARG(str_take(c->type, 120)));
    str labels[] = { str_c(type) };
    metric_add(metric_cell(&init_total, labels), 1);
    log_info(SCOPE, "Component loaded: %s", component_label(c, label));
    return 0;
}

void components_count(struct runtime *r)
{
    size_t n = 0;
    for (size_t k = 0; k < COMPONENT_KINDS; k++)
        n += catalog_count(&r->blocks, (enum component_kind)k);
    metric_set(metric_cell(&loaded, NULL), (int64_t)n);
}

/* ---- types that are found while we run ---- */

/* Before anything is loaded: what it finds may be what a resource asks for. */
CO static int load_sources(struct runtime *r, struct error *err)
{
    size_t n;
    const struct component_type *const *all = registry_all(&n);
    const char *folder = getenv("DAPR_COMPONENTS_SOCKETS_FOLDER");
    struct kv *kv = arena_zalloc(&r->arena, sizeof *kv);
    if (!kv)
        return fail(err, EXHAUSTED, NULL, "out of memory");
    *kv = (struct kv){ S("folder"), str_c(folder) };
    for (size_t i = 0; i < n && r->n_sources < SOURCES_MAX; i++) {
        if (!str_eq(str_c(all[i]->kind), S("source")))
            continue;
        struct kvs metadata = { kv, folder && folder[0] };
        struct instance *s = new_instance(all[i], str_c(all[i]->type), err);
        if (!s)
            return -(int)err->code;
        r->sources[r->n_sources++] = s;
        int code = configure(r, s, metadata, err);
        if (code >= 0)
            code = open_instance(s, SOURCE_OPEN_NS, err);
        if (code < 0)
            return code;
    }
    return 0;
}

/* ---- name resolution ---- */

/* A scalar as text, anything else as JSON. */
static str resolver_value(struct runtime *r, const struct yaml_node *n)
{
    if (yaml_is_null(n) || yaml_is_scalar(n))
        return yaml_text(n, S(""));
    AUTO(buf_done) struct buf b;
    struct json_w w;
    buf_init(&b, RESOLVER_VALUE_MAX);
    json_w_init(&w, &b, 0);
    yaml_to_json(n, &w);
    return buf_ok(&b) ? arena_dup(&r->arena, buf_str(&b)) : (str){ 0 };
}

static int resolver_metadata(struct runtime *r, struct kvs *ret)
{
    const struct yaml_node *map = r->resources->config.resolver_config;
    *ret = (struct kvs){ 0 };
    if (!map || map->type != YAML_MAP)
        return 0;
    struct kv *kv = arena_alloc(&r->arena, map->n * sizeof *kv);
    if (!kv)
        return -EXHAUSTED;
    for (size_t i = 0; i < map->n; i++) {
        kv[i] = (struct kv){ yaml_text(map->pair[i].key, S("")),
                             resolver_value(r, map->pair[i].value) };
        if (!kv[i].value.p)
            return -EXHAUSTED;
    }
    *ret = (struct kvs){ kv, map->n };
    return 0;
}

/* A failure is logged, not fatal: calls to other apps then say what's missing. */
CO static void load_resolver(struct runtime *r)
{
    const struct configuration *c = &r->resources->config;
    str name = c->resolver.n ? c->resolver : S("mdns");
    str part[] = { str_istarts(name, S("nameresolution.")) ? S("") : S("nameresolution."), name };
    struct error err = { 0 };
    struct kvs metadata;
    str type_name = arena_join(&r->arena, part, 2);
    const struct component_type *type = registry_find(type_name, c->resolver_version);
    struct instance *i = NULL;
    if (!type)
        fail(&err, NOT_FOUND, NULL, "couldn't find name resolution %.*s%s", (int)type_name.n,
             type_name.p, hint(type_name, &r->arena));
    else if (resolver_metadata(r, &metadata) >= 0)
        i = new_instance(type, str_c(type->type), &err);
    if (i && (configure(r, i, metadata, &err) < 0 || open_instance(i, SEC(5), &err) < 0)) {
        instance_free(i);
        i = NULL;
    }
    if (!i) {
        log_error(SCOPE, "failed to init name resolution: %s", err.text);
        feed_event("error", "name resolution failed: %s", err.text);
        return;
    }
    r->blocks.resolver = i;
    log_info(SCOPE, "Initialized name resolution to %s", type->type);
}

/* ---- endpoints ---- */

/* The endpoint's own clients. How a server's wish for a new handshake is answered matters whether
 * there are certificates or not (surprise 50). */
CO static int make_outside(struct runtime *r, const struct endpoint_resource *from,
                           const struct resolve_env *env, struct outside **ret, struct error *err)
{
    const struct value_ref *ref[] = { &from->root_ca, &from->certificate, &from->private_key };
    struct outside_config c = { .follow = true };
    str *value[] = { &c.tls.ca, &c.tls.certificate, &c.tls.key };
    int code = 0;
    for (size_t i = 0; i < COUNT(ref) && code >= 0; i++)
        code = value_resolve(ref[i], from->secret_store, env, &r->arena, value[i], err);
    (void)tls_renegotiation_parse(from->renegotiation, &c.tls.renegotiation); /* was checked */
    c.secure = str_istarts(from->base_url, S("https:")) || c.tls.ca.n || c.tls.certificate.n ||
               c.tls.key.n;
    if (code >= 0)
        code = outside_new(&c, ret, err);
    return code < 0 ? fail_wrap(err, "HTTPEndpoint " STR_FMT, STR_ARG(from->head.name)) : 0;
}

CO static int load_endpoints(struct runtime *r, struct error *err)
{
    struct resources *res = r->resources;
    struct endpoint *e = arena_zalloc(&r->arena, res->n_endpoints * sizeof *e);
    struct resolve_env env = resolve_env(r);
    struct diags diags;
    diags_init(&diags, &r->arena);
    if (!e)
        return fail(err, EXHAUSTED, NULL, "out of memory");
    r->blocks.endpoints = e;
    for (size_t i = 0; i < res->n_endpoints; i++) {
        const struct endpoint_resource *from = &res->endpoint[i];
        e[i].name = from->head.name;
        e[i].base_url = from->base_url;
        int code = values_resolve(&from->headers, from->secret_store, from->head.file, &env,
                                  &r->arena, &e[i].headers, &diags, err);
        if (code >= 0)
            code = make_outside(r, from, &env, &e[i].outside, err);
        if (code < 0)
            return code;
        r->blocks.n_endpoints++;
    }
    log_diags(&diags);
    return 0;
}

void free_endpoints(struct runtime *r)
{
    for (size_t i = 0; i < r->blocks.n_endpoints; i++)
        outside_free(r->blocks.endpoints[i].outside);
}

struct resolver_job {
    struct runtime *r;
    struct wait_group done;
};

CO static void resolver_main(void *arg)
{
    struct resolver_job *job = arg;
    load_resolver(job->r);
    wait_group_done(&job->done);
}

/* A component that waits for a secret store doesn't stop the others (surprise 66). */
static bool lacks_secrets(const struct runtime *r, const struct component_resource *c)
{
    bool refers = false;
    for (size_t i = 0; i < c->metadata.n; i++)
        refers = refers || c->metadata.v[i].from.secret.name.n;
    return refers && c->secret_store.n && !catalog_get(&r->blocks, KIND_SECRET, c->secret_store);
}

bool component_wanted(const struct runtime *r, const struct component_resource *c)
{
    if (config_denies_component(&r->resources->config, c->type, c->version)) {
        log_warn(SCOPE, "component " STR_FMT " is not authorized: denied by the Configuration",
                 STR_ARG(c->head.name));
        return false;
    }
    if (lacks_secrets(r, c)) {
        log_error(SCOPE, "component " STR_FMT " waits: its secret store " STR_FMT " isn't loaded",
                  STR_ARG(c->head.name), STR_ARG(c->secret_store));
        return false;
    }
    return true;
}

CO static int load_all(struct runtime *r, struct error *err)
{
    const struct resources *res = r->resources;
    int code = 0;
    for (size_t i = 0; i < res->n_components && code >= 0; i++) {
        struct instance *opened = NULL;
        if (!component_wanted(r, &res->component[i]))
            continue;
        code = component_open(r, &res->component[i], &opened, err);
        if (opened && (code = catalog_add(&r->blocks, opened, err)) < 0)
            instance_free(opened);
    }
    components_count(r);
    return code;
}

static void check_secret_scopes(const struct runtime *r)
{
    const struct configuration *c = &r->resources->config;
    for (size_t i = 0; i < c->n_secret_scopes; i++)
        if (!catalog_get(&r->blocks, KIND_SECRET, c->secret_scope[i].store))
            log_warn(SCOPE,
                     "Secrets configuration added for '" STR_FMT
                     "', but no matching secret store was found",
                     STR_ARG(c->secret_scope[i].store));
}

/* Name resolution comes up beside the components: both may wait for a disk. */
CO int load_components(struct runtime *r, struct error *err)
{
    struct resolver_job job = { .r = r };
    wait_group_init(&job.done);
    wait_group_add(&job.done);
    if (!fiber_spawn("resolver", resolver_main, &job))
        return fail(err, EXHAUSTED, NULL, "out of memory");
    int code = load_sources(r, err);
    if (code >= 0)
        code = load_all(r, err);
    SHIELD(); /* it uses this frame */
    (void)wait_group_wait(&job.done);
    check_secret_scopes(r);
    if (code >= 0)
        code = load_endpoints(r, err);
    if (code >= 0)
        code = catalog_link(&r->blocks, err);
    return code;
}
