/* resource.h — what the YAML files say: one immutable snapshot, decoded and checked as a whole.
 * Owner:  reference counted; everything in it lives in its arena and is never written again.
 * Thread: loading one (it reads files: use blocking()); a snapshot any.
 * Limit:  RESOURCE_FILE_MAX bytes a file, RESOURCE_FILES_MAX files a folder, RESOURCES_MAX in all.
 * Failure: nothing is printed: what there is to say is in .diags; with .fatal the snapshot must not
 * be used. */
#pragma once

#include "component/bind.h"
#include "component/config.h"
#include "policy/chaos.h"
#include "policy/resiliency.h"
#include "policy/scale.h"
#include "policy/traffic.h"

enum { RESOURCE_FILE_MAX = 4 << 20, RESOURCE_FILES_MAX = 10000, RESOURCES_MAX = 256 << 20 };

struct cel_program;
struct overload_spec;

/* Common to all kinds. */
struct resource_head {
    str name, namespace_;
    struct strs scopes; /* app ids; none = all */
    const char *file;
    unsigned line;
    uint64_t hash; /* of all that the document says: comments, order of keys in a map, layout and
                      place don't count */
};

/* A name with a value, or with where to find it. */
struct secret_ref {
    str name, key; /* .n == 0: none; key is the name when the file has none */
};
struct value_ref {
    str value; /* as text: "true", "10", JSON of a map; .p == NULL: none given */
    struct secret_ref secret;
};
struct name_value {
    str name;
    struct value_ref from;
    str env;
    const struct yaml_node *node; /* the value's, as it was written */
    const struct yaml_node *at;
};
struct name_values {
    struct name_value *v;
    size_t n;
};

struct component_resource {
    struct resource_head head;
    str type, version;
    bool ignore_errors;
    uint64_t init_timeout_ns;
    struct name_values metadata;
    str secret_store; /* auth.secretStore */
};

struct route_rule {
    str match;                         /* CEL; empty = always */
    const struct cel_program *program; /* NULL = always */
    str path;
};

/* v1alpha1 and v2alpha1 alike: v1's route is default_path. Not filtered by scopes: the block does
 * that with resource_in_scope(). */
struct subscription_resource {
    struct resource_head head;
    str pubsub, topic, dead_letter_topic;
    struct kvs metadata;
    struct route_rule *rule;
    size_t n_rules;
    str default_path; /* empty: what matches no rule is dropped */
    bool bulk;
    int64_t bulk_max, bulk_await_ms; /* 0 = the contract's default */
};

struct endpoint_resource {
    struct resource_head head;
    str base_url;
    struct name_values headers;
    struct value_ref root_ca, certificate, private_key;
    str renegotiation;
    str secret_store;
};

/* Of proa.dev/v1alpha1. */
struct chaos_resource {
    struct resource_head head;
    struct chaos_fault fault;
};

/* proa.dev/v1alpha1: kept as it is for the module that knows the kind. */
struct custom_resource {
    struct resource_head head;
    str kind;
    const struct yaml_node *spec; /* may be NULL */
};

/* proa.dev/v1alpha1 Scale. */
struct scale_spec {
    str name;
    struct scale_rule rule;
};

struct resources {
    struct component_resource *component; /* secret stores first, else in the order of the files */
    struct subscription_resource *subscription;
    struct endpoint_resource *endpoint;
    struct custom_resource *custom;
    struct resiliency_spec **resiliency;
    struct traffic_spec **traffic;
    struct overload_spec *overload; /* of this app; NULL = none */
    struct scale_spec *scale;       /* of this app; NULL = none */
    struct chaos_resource *chaos;
    size_t n_components, n_subscriptions, n_endpoints, n_customs, n_resiliencies, n_traffics,
        n_chaos;
    struct configuration config;
    struct diags diags;
    uint64_t rest_hash; /* of what can't be changed while running: all but Components, Subscriptions
                           and what is in .live_hash */
    uint64_t
        live_hash; /* of kinds that count at once when the snapshot is swapped: block/core/live.h */
    const char *fatal; /* NULL = usable; else what must stop the start, lines joined by '\n' */
    struct arena arena;
    atomic_uint refs;
};

struct resource_options {
    const char *const *path; /* folders (not recursive) or files */
    size_t n_paths;
    const char *const *config; /* --config files, later ones on top of earlier ones */
    size_t n_configs;
    str app_id;
    str namespace_; /* of the environment; empty = resources of any namespace count */
    bool chaos;     /* --enable-chaos: kind Chaos counts */
    str (*getenv)(void *arg, str name); /* $VAR in --config files; .p NULL = unset; may be NULL */
    void *arg;
};

/* Reads and decodes everything. 0 also when some of it is faulty: look at .fatal, log .diags.
 * -EXHAUSTED out of memory or past RESOURCES_MAX. The paths are copied. */
int resources_load(const struct resource_options *opt, struct resources **ret, struct error *err)
    WUR;
struct resources *resources_ref(struct resources *r);
void resources_unref(struct resources *r); /* NULL is fine */

/* One text in memory, for tests and for what comes over a wire; config: it is a --config file. */
struct resource_text {
    const char *file;
    str text;
    bool config;
};
/* The same without the disk; opt's paths are not looked at. */
int resources_parse(const struct resource_options *opt, const struct resource_text *text, size_t n,
                    struct resources **ret, struct error *err) WUR;

bool resource_in_scope(const struct resource_head *h, str app_id);
const struct component_resource *resources_component(const struct resources *r, str name);
/* Whether both say the same, so that a hot reload may leave the component alone. */
bool component_resource_eq(const struct component_resource *a, const struct component_resource *b);

enum { COMPONENT_LABEL_MAX = 400 };
/* "name (type/version)", as the logs have it. Returns ret. */
const char *component_label(const struct component_resource *c, char ret[COMPONENT_LABEL_MAX]);

/* ---- values: references and templates become text ---- */

struct resolve_env {
    str app_id, namespace_;
    str (*getenv)(void *arg, str name); /* .p NULL = unset */
    /* The value of key in secret name of store; NULL: no store is there. */
    CO int (*secret)(void *arg, str store, str name, str key, struct arena *a, str *ret,
                     struct error *err);
    void *arg;
};

/* The store that must be open before c's values can be had; .n == 0: none. */
str component_secret_store(const struct component_resource *c);

/* Resolves items: envRef, secretKeyRef, then {uuid} {podName} {namespace} {appID}. A reference that
 * leads nowhere is a diagnostic and leaves the value empty. -INVALID: {podName} without POD_NAME.
 */
CO int values_resolve(const struct name_values *items, str secret_store, const char *file,
                      const struct resolve_env *env, struct arena *a, struct kvs *ret,
                      struct diags *diags, struct error *err) WUR;
/* One value, such as a certificate; empty when there is none. */
CO int value_resolve(const struct value_ref *v, str secret_store, const struct resolve_env *env,
                     struct arena *a, str *ret, struct error *err) WUR;
