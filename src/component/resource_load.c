/* Documents of YAML into the snapshot: which ones count, and the snapshot's life. */
#include "component/resource_priv.h"
#include "component/suggest.h"

#include "base/hash.h"
#include "base/mem.h"

#include <stdio.h>

enum { FATAL_MAX = 64 << 10, NAMES_MAX = 100000 };

/* ---- the kinds ---- */

static void load_custom(struct loader *l, struct document *d)
{
    struct custom_resource *c = vec_push(l, &l->custom, sizeof *c);
    if (c)
        *c = (struct custom_resource){ d->head, d->kind, d->spec };
}

static const struct kind {
    const char *api_version, *name;
    void (*load)(struct loader *l, struct document *d); /* NULL: known, but not from here */
    bool live; /* a changed one counts at once: block/core/live.h */
} kinds[] = {
    { "dapr.io/v1alpha1", "Component", load_component },
    { "dapr.io/v1alpha1", "Subscription", load_subscription },
    { "dapr.io/v2alpha1", "Subscription", load_subscription },
    { "dapr.io/v1alpha1", "HTTPEndpoint", load_endpoint },
    { "dapr.io/v1alpha1", "Resiliency", load_resiliency },
    { "dapr.io/v1alpha1", "Configuration", NULL }, /* --config */
    { "dapr.io/v1alpha1", "MCPServer", NULL },
    { "dapr.io/v1alpha1", "WorkflowAccessPolicy", NULL },
    { "proa.dev/v1alpha1", "Cache", load_custom },
    { "proa.dev/v1alpha1", "Shards", load_custom },
    { "proa.dev/v1alpha1", "Traffic", load_traffic, .live = true },
    { "proa.dev/v1alpha1", "Overload", load_overload, .live = true },
    { "proa.dev/v1alpha1", "Scale", load_scale, .live = true },
    { "proa.dev/v1alpha1", "Chaos", load_chaos, .live = true },
};

static const struct kind *find_kind(str api_version, str name)
{
    for (size_t i = 0; i < COUNT(kinds); i++)
        if (str_eq(str_c(kinds[i].api_version), api_version) && str_eq(str_c(kinds[i].name), name))
            return &kinds[i];
    return NULL;
}

/* Other groups' resources are none of our business; within ours a slip is worth a word. */
static void warn_unknown_kind(struct document *d)
{
    char hint[SUGGEST_MAX];
    struct suggest near = { .word = d->kind };
    bool ours =
        str_starts(d->api_version, S("dapr.io/")) || str_starts(d->api_version, S("proa.dev/"));
    const char *wants = NULL;
    for (size_t i = 0; i < COUNT(kinds); i++) {
        suggest_offer(&near, str_c(kinds[i].name));
        if (str_eq(str_c(kinds[i].name), d->kind))
            wants = kinds[i].api_version;
    }
    if (wants)
        bind_warn(&d->bind, bind_get(d->node, S("apiVersion")),
                  "apiVersion \"%.*s\" isn't one of kind %.*s: it must be %s; the document is "
                  "ignored",
                  (int)min_size(d->api_version.n, 60), d->api_version.p, (int)d->kind.n, d->kind.p,
                  wants);
    else if (!d->kind.n)
        bind_warn(&d->bind, d->node, "the document has no kind: it is ignored");
    else if (ours)
        bind_warn(&d->bind, bind_get(d->node, S("kind")),
                  "kind \"%.*s\" isn't one that is known here%s: the document is ignored",
                  (int)min_size(d->kind.n, 60), d->kind.p, suggest_text(&near, hint));
}

/* ---- what a document says, as a number ---- */

static uint64_t mix(uint64_t h, uint64_t more)
{
    return hash_bytes(str_of((uint64_t[]){ h, more }, 2 * sizeof h));
}

/* Depth is the parser's limit. A map's pairs are added up: their order means nothing. */
static uint64_t node_hash(const struct yaml_node *n)
{
    if (!n)
        return 0;
    uint64_t h = mix(n->type, hash_bytes(n->canon));
    for (size_t i = 0; n->type == YAML_SEQ && i < n->n; i++)
        h = mix(h, node_hash(n->item[i]));
    uint64_t pairs = 0;
    for (size_t i = 0; n->type == YAML_MAP && i < n->n; i++)
        pairs += mix(node_hash(n->pair[i].key), node_hash(n->pair[i].value));
    return mix(h, pairs);
}

/* ---- one document ---- */

static const struct bind_row metadata_rows[] = {
    { "name", BIND_STR, offsetof(struct document, head.name) },
    { "namespace", BIND_STR, offsetof(struct document, head.namespace_) },
    { "labels", BIND_SKIP },
    { "annotations", BIND_SKIP },
    { "creationTimestamp", BIND_SKIP },
    { "generation", BIND_SKIP },
    { "resourceVersion", BIND_SKIP },
    { "uid", BIND_SKIP },
    { "managedFields", BIND_SKIP },
    { "finalizers", BIND_SKIP },
    { "ownerReferences", BIND_SKIP },
};
static const struct bind_table metadata_table = { "metadata", 0, metadata_rows,
                                                  COUNT(metadata_rows) };
static const struct bind_row auth_rows[] = {
    { "secretStore", BIND_STR, offsetof(struct document, secret_store) },
};
static const struct bind_table auth_table = { "auth", 0, auth_rows, COUNT(auth_rows) };
static const struct bind_row document_rows[] = {
    { "apiVersion", BIND_SKIP },
    { "kind", BIND_SKIP },
    { "metadata", BIND_STRUCT, 0, &metadata_table },
    { "spec", BIND_NODE, offsetof(struct document, spec) },
    { "auth", BIND_STRUCT, 0, &auth_table },
    { "scopes", BIND_STRS, offsetof(struct document, head.scopes) },
    { "status", BIND_SKIP },
};
static const struct bind_table document_table = { "the document", 0, document_rows,
                                                  COUNT(document_rows) };

static bool check_name(struct document *d)
{
    str name = d->head.name;
    const struct yaml_node *meta = bind_get(d->node, S("metadata"));
    const struct yaml_node *at = bind_get(meta, S("name"));
    if (!name.n)
        bind_fail(&d->bind, meta ? meta : d->node, "metadata.name is missing");
    else if (str_eq(name, S(".")) || str_eq(name, S("..")) || str_find_c(name, '/') >= 0 ||
             str_find_c(name, '%') >= 0 || str_find_c(name, 0) >= 0)
        bind_fail(&d->bind, at,
                  "metadata.name \"%.*s\" can't be used: no \".\", \"..\", '/' or '%%'",
                  (int)min_size(name.n, 60), name.p);
    else if (name.n > 253)
        bind_fail(&d->bind, at, "metadata.name is longer than 253 characters");
    return !d->bind.failed;
}

static void load_document(struct loader *l, const struct yaml_source *src)
{
    struct resources *r = l->r;
    struct document d = { .bind = { &r->arena, &r->diags, src->file, DIAG_ERROR } };
    struct error err = { 0 };
    int code = yaml_parse(&r->arena, src, &d.node, &err);
    if (code < 0) {
        l->exhausted |= code == -EXHAUSTED && r->arena.used >= r->arena.max;
        diag_add(&r->diags, DIAG_ERROR, NULL, 0, 0, "%s", err.text); /* the text has the place */
        return;
    }
    if (!d.node)
        return;
    d.head = (struct resource_head){ .file = src->file, .line = d.node->line };
    d.api_version = yaml_text(bind_get(d.node, S("apiVersion")), S(""));
    d.kind = yaml_text(bind_get(d.node, S("kind")), S(""));
    const struct kind *kind = find_kind(d.api_version, d.kind);
    if (!kind)
        warn_unknown_kind(&d);
    if (!kind || !kind->load)
        return;
    bind_map(&d.bind, &document_table, d.node, &d);
    if (!check_name(&d))
        return;
    d.head.hash = node_hash(d.node);
    if (kind->live) /* files come in any order: sums */
        r->live_hash += d.head.hash;
    else if (kind->load != load_component && kind->load != load_subscription)
        r->rest_hash += d.head.hash;
    kind->load(l, &d);
}

void load_resource_text(struct loader *l, const char *file, str text)
{
    struct yaml_split split = yaml_split(text, file);
    struct yaml_source src;
    while (!l->exhausted && yaml_split_next(&split, &src))
        load_document(l, &src);
}

/* ---- helpers of the kinds ---- */

void *vec_push(struct loader *l, struct vec *vec, size_t size)
{
    if (vec->n == vec->cap) {
        size_t cap = vec->cap ? vec->cap * 2 : 8;
        void *v = arena_alloc(&l->r->arena, cap * size);
        if (!v) {
            l->exhausted = true;
            return NULL;
        }
        if (vec->n)
            memcpy(v, vec->v, vec->n * size);
        vec->v = v;
        vec->cap = cap;
    }
    return memset((char *)vec->v + size * vec->n++, 0, size);
}

void loader_fatal(struct loader *l, const char *file, const struct yaml_node *n, const char *fmt,
                  ...)
{
    char text[1024];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    diag_add(&l->r->diags, DIAG_FATAL, file, n ? n->line : 0, n ? n->column : 0, "%s", text);
    buf_printf(&l->fatal, "%s%s", buf_str(&l->fatal).n ? "\n" : "", text);
}

bool resource_in_scope(const struct resource_head *h, str app_id)
{
    for (size_t i = 0; i < h->scopes.n; i++)
        if (str_eq(h->scopes.v[i], app_id))
            return true;
    return h->scopes.n == 0;
}

/* ---- start and end ---- */

int loader_begin(struct loader *l, const struct resource_options *opt, struct error *err)
{
    *l = (struct loader){ .opt = opt, .r = mem_zalloc(sizeof *l->r) };
    if (!l->r)
        return fail(err, EXHAUSTED, NULL, "out of memory for the resources");
    atomic_init(&l->r->refs, 1);
    arena_init(&l->r->arena, RESOURCES_MAX);
    diags_init(&l->r->diags, &l->r->arena);
    map_init(&l->component_by_name, NAMES_MAX);
    map_init(&l->endpoint_by_name, NAMES_MAX);
    buf_init(&l->fatal, FATAL_MAX);
    return 0;
}

static bool is_secret_store(const struct component_resource *c)
{
    return str_istarts(c->type, S("secretstores."));
}

/* Stable: the other components may need them. */
static bool secret_stores_first(struct loader *l)
{
    const struct component_resource *from = l->component.v;
    size_t n = l->component.n, k = 0;
    struct component_resource *to = arena_alloc(&l->r->arena, (n + 1) * sizeof *to);
    if (!to)
        return false;
    for (int wanted = 1; wanted >= 0; wanted--)
        for (size_t i = 0; i < n; i++)
            if (is_secret_store(&from[i]) == (bool)wanted)
                to[k++] = from[i];
    l->r->component = to;
    l->r->n_components = n;
    return true;
}

static bool take_lists(struct loader *l)
{
    struct resources *r = l->r;
    r->subscription = l->subscription.v;
    r->n_subscriptions = l->subscription.n;
    r->endpoint = l->endpoint.v;
    r->n_endpoints = l->endpoint.n;
    r->custom = l->custom.v;
    r->n_customs = l->custom.n;
    r->resiliency = l->resiliency.v;
    r->n_resiliencies = l->resiliency.n;
    r->traffic = l->traffic.v;
    r->n_traffics = l->traffic.n;
    r->chaos = l->chaos.v;
    r->n_chaos = l->chaos.n;
    str fatal = buf_str(&l->fatal);
    if (fatal.n && !(r->fatal = arena_cstr(&r->arena, fatal)))
        return false;
    return secret_stores_first(l) && (fatal.n || !l->fatal.failed);
}

int loader_end(struct loader *l, struct resources **ret, struct error *err)
{
    if (!l->exhausted)
        check_policy_names(l);
    bool good = !l->exhausted && take_lists(l) && !l->r->diags.no_memory;
    map_done(&l->component_by_name);
    map_done(&l->endpoint_by_name);
    buf_done(&l->fatal);
    if (!good) {
        resources_unref(l->r);
        return fail(err, EXHAUSTED, NULL,
                    "the resources need more memory than there is (at most %d MiB)",
                    RESOURCES_MAX >> 20);
    }
    *ret = l->r;
    return 0;
}

struct resources *resources_ref(struct resources *r)
{
    atomic_fetch_add_explicit(&r->refs, 1, memory_order_relaxed);
    return r;
}

void resources_unref(struct resources *r)
{
    if (!r || atomic_fetch_sub_explicit(&r->refs, 1, memory_order_acq_rel) != 1)
        return;
    arena_done(&r->arena);
    mem_free(r);
}

int resources_parse(const struct resource_options *opt, const struct resource_text *text, size_t n,
                    struct resources **ret, struct error *err)
{
    struct loader l;
    int r = loader_begin(&l, opt, err);
    if (r < 0)
        return r;
    for (size_t i = 0; i < n; i++)
        if (text[i].config)
            load_config_text(&l, text[i].file, text[i].text);
    finish_config(&l);
    for (size_t i = 0; i < n; i++)
        if (!text[i].config)
            load_resource_text(&l, text[i].file, text[i].text);
    return loader_end(&l, ret, err);
}

/* ---- look-ups ---- */

const struct component_resource *resources_component(const struct resources *r, str name)
{
    for (size_t i = 0; i < r->n_components; i++)
        if (str_eq(r->component[i].head.name, name))
            return &r->component[i];
    return NULL;
}

bool component_resource_eq(const struct component_resource *a, const struct component_resource *b)
{
    return str_eq(a->head.name, b->head.name) && a->head.hash == b->head.hash;
}
