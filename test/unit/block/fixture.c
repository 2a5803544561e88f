#include "fixture.h"

#include "api/metadata.h"
#include "block/streaming.h"

#include "block/binding.h"
#include "block/configuration.h"
#include "block/crypto.h"
#include "block/lock.h"
#include "block/publish.h"
#include "block/secret.h"
#include "block/state.h"

#include <stdio.h>

/* ---- the engines ---- */

CO static int begin(struct fake *f, struct error *err)
{
    f->calls++;
    if (f->sleep_ns) {
        int r = fiber_sleep(f->sleep_ns);
        if (r < 0)
            return r;
    }
    if (!f->failures)
        return 0;
    f->failures--;
    return f->text ? fail(err, (enum code)f->code, NULL, "%s", f->text) : -f->code;
}

static void keep(struct fake *f, str key, str value)
{
    for (size_t i = 0; i < f->n; i++)
        if (str_eq(f->item[i].key, key)) {
            f->item[i].value = value.p ? arena_dup(&f->arena, value) : value;
            return;
        }
    REQUIRE(f->n < FAKE_ITEMS);
    f->item[f->n++] =
        (struct kv){ arena_dup(&f->arena, key), value.p ? arena_dup(&f->arena, value) : value };
}

CO static int open_fake(void *self, const struct component_env *env, struct error *err)
{
    return 0;
}

CO static void close_fake(void *self)
{
    struct fake *f = self;
    arena_done(&f->arena);
}

CO static int state_get(void *self, str key, enum state_consistency c, struct kvs metadata,
                        struct arena *a, struct state_value *ret, struct error *err)
{
    struct fake *f = self;
    int r = begin(f, err);
    for (size_t i = 0; r == 0 && i < f->n; i++)
        if (str_eq(f->item[i].key, key) && f->item[i].value.p)
            *ret = (struct state_value){ .found = true, .value = f->item[i].value, .etag = S("7") };
    return r;
}

CO static int state_write(void *self, const struct state_write *w, struct error *err)
{
    struct fake *f = self;
    int r = begin(f, err);
    if (r == 0)
        keep(f, w->key, w->remove ? (str){ 0 } : w->value);
    return r;
}

CO static int state_bulk_get(void *self, const str *keys, size_t n, struct kvs metadata,
                             struct arena *a, struct state_value *ret, struct error *err)
{
    struct fake *f = self;
    int r = begin(f, err);
    for (size_t k = 0; k < n && r == 0; k++)
        for (size_t i = 0; i < f->n; i++)
            if (str_eq(f->item[i].key, keys[k]) && f->item[i].value.p)
                ret[k] = (struct state_value){ .found = true, .value = f->item[i].value };
    return r;
}

CO static int state_transact(void *self, const struct state_write *w, size_t n, struct kvs metadata,
                             struct error *err)
{
    struct fake *f = self;
    int r = begin(f, err);
    for (size_t i = 0; i < n && r == 0; i++)
        keep(f, w[i].key, w[i].remove ? (str){ 0 } : w[i].value);
    return r;
}

static int state_max_ops(void *self)
{
    return 3;
}

CO static int state_query(void *self, str query, struct kvs metadata, struct arena *a,
                          struct state_query_result **ret, size_t *ret_n, str *ret_token,
                          struct error *err)
{
    struct fake *f = self;
    int r = begin(f, err);
    if (r < 0)
        return r;
    *ret = arena_zalloc(a, (f->n + 1) * sizeof **ret);
    for (size_t i = 0; i < f->n; i++)
        (*ret)[i] = (struct state_query_result){ f->item[i].key, f->item[i].value, S("7") };
    *ret_n = f->n;
    *ret_token = f->n ? S("next") : S("");
    return 0;
}

#define HEAD(k, name)                                                                              \
    .kind = k, .type = name, .version = "v1", .size = sizeof(struct fake), .open = open_fake,      \
    .close = close_fake

static const struct state_ops fake_state = {
    .t = { HEAD("state", "state.fake"), .features = STATE_ETAG | STATE_TXN | STATE_QUERY },
    .get = state_get,
    .bulk_get = state_bulk_get,
    .write = state_write,
    .transact = state_transact,
    .max_ops = state_max_ops,
    .query = state_query,
};
static const struct state_ops fake_state_small = {
    .t = { HEAD("state", "state.small") },
    .get = state_get,
    .write = state_write,
};

CO static int publish(void *self, const struct pubsub_message *m, struct error *err)
{
    struct fake *f = self;
    int r = begin(f, err);
    if (r == 0) {
        REQUIRE(f->n < FAKE_ITEMS);
        f->metadata[f->n] = m->metadata;
        f->item[f->n++] =
            (struct kv){ arena_dup(&f->arena, m->topic), arena_dup(&f->arena, m->data) };
    }
    return r;
}

CO static int bulk_publish(void *self, struct pubsub_message *m, size_t n, struct error *err)
{
    struct fake *f = self;
    int r = begin(f, err), failed = 0;
    for (size_t i = 0; i < n && r == 0; i++) {
        if (f->fail_only >> i & 1) {
            fail(&m[i].err, UNAVAILABLE, NULL, "entry %zu failed", i);
            failed++;
        } else
            (void)publish(self, &m[i], NULL);
    }
    return r < 0 ? r : failed;
}

CO static int subscribe(void *self, const struct pubsub_subscription *s, void **ret_sub,
                        struct error *err)
{
    struct fake *f = self;
    int r = begin(f, err);
    if (r < 0)
        return r;
    f->sub = *s;
    f->sub.topic = arena_dup(&f->arena, s->topic); /* it is borrowed */
    f->subscribed = true;
    *ret_sub = f;
    return 0;
}

CO static void unsubscribe(void *self, void *sub)
{
    ((struct fake *)self)->subscribed = false;
}

static const struct pubsub_ops fake_pubsub = {
    .t = { HEAD("pubsub", "pubsub.fake") },
    .publish = publish,
    .subscribe = subscribe,
    .unsubscribe = unsubscribe,
};
static const struct pubsub_ops fake_pubsub_bulk = {
    .t = { HEAD("pubsub", "pubsub.bulk"),
           .features = PUBSUB_BULK_PUBLISH | PUBSUB_BULK_SUBSCRIBE | PUBSUB_TTL },
    .publish = publish,
    .bulk_publish = bulk_publish,
    .subscribe = subscribe,
    .unsubscribe = unsubscribe,
};

CO static int secret_get(void *self, str name, struct kvs metadata, struct arena *a,
                         struct kvs *ret, struct error *err)
{
    static const struct kv kv[] = { { { "password", 8 }, { "pass word", 9 } } };
    int r = begin(self, err);
    if (r == 0)
        *ret = (struct kvs){ kv, 1 };
    return r;
}

CO static int secret_bulk(void *self, struct kvs metadata, struct arena *a, struct secret **ret,
                          size_t *ret_n, struct error *err)
{
    static const struct kv kv[] = { { { "k", 1 }, { "v", 1 } } };
    int r = begin(self, err);
    if (r < 0)
        return r;
    *ret = arena_zalloc(a, 2 * sizeof **ret);
    (*ret)[0] = (struct secret){ S("open"), { kv, 1 } };
    (*ret)[1] = (struct secret){ S("hidden"), { kv, 1 } };
    *ret_n = 2;
    return 0;
}

static const struct secret_ops fake_secret = {
    .t = { HEAD("secretstores", "secretstores.fake") },
    .get = secret_get,
    .bulk = secret_bulk,
};
static const struct secret_ops fake_secret_small = {
    .t = { HEAD("secretstores", "secretstores.small") },
    .get = secret_get,
};

CO static int binding_invoke(void *self, str operation, str data, struct kvs metadata,
                             struct arena *a, struct binding_result *ret, struct error *err)
{
    static const struct kv kv[] = { { { "took", 4 }, { "3ms", 3 } } };
    struct fake *f = self;
    f->metadata[0] = metadata;
    ret->metadata = (struct kvs){ kv, 1 };
    int r = begin(f, err);
    if (r == 0)
        ret->data = str_eq(operation, S("get")) ? S("{\"got\":1}") : S("");
    keep(f, operation, data);
    return r;
}

static const char *const fake_operations[] = { "create", "get", NULL };
static const struct binding_ops fake_binding = {
    .t = { HEAD("bindings", "bindings.fake") },
    .operations = fake_operations,
    .invoke = binding_invoke,
};

/* Each field of .item is an app id and its addresses, "a:1 b:2". */
CO static int do_resolve(void *self, str app_id, str namespace_, struct arena *a,
                         struct registration *ret, size_t max, size_t *ret_n, struct error *err)
{
    struct fake *f = self;
    int r = begin(f, err);
    *ret_n = 0;
    for (size_t i = 0; r == 0 && i < f->n; i++) {
        str name = arena_printf(a, STR_FMT "." STR_FMT, STR_ARG(app_id), STR_ARG(namespace_)), item;
        if (!str_eq(f->item[i].key, app_id) && !str_eq(f->item[i].key, name))
            continue;
        for (str rest = f->item[i].value; *ret_n < max && rest.n && str_next(&rest, ' ', &item);)
            ret[(*ret_n)++] = (struct registration){ .address = arena_dup(a, item) };
    }
    return r;
}

static const struct resolver_ops fake_resolver = {
    .t = { HEAD("nameresolution", "nameresolution.fake") },
    .resolve = do_resolve,
};

/* ---- configuration, locks, crypto ---- */

CO static int configuration_get(void *self, const str *keys, size_t n_keys, struct kvs metadata,
                                struct arena *a, struct configuration_item **ret, size_t *ret_n,
                                struct error *err)
{
    struct fake *f = self;
    int r = begin(f, err);
    if (r < 0)
        return r;
    *ret = arena_zalloc(a, (n_keys + 1) * (f->n + 1) * sizeof **ret);
    for (size_t i = 0; i < f->n; i++)
        for (size_t k = 0; k < (n_keys ? n_keys : 1); k++)
            if (!n_keys || str_eq(keys[k], f->item[i].key))
                (*ret)[(*ret_n)++] =
                    (struct configuration_item){ f->item[i].key, f->item[i].value, S("1"), { 0 } };
    return 0;
}

CO static int configuration_subscribe(void *self, const struct configuration_subscription *s,
                                      void **ret_sub, struct error *err)
{
    struct fake *f = self;
    int r = begin(f, err);
    if (r < 0)
        return r;
    f->watch = *s;
    f->subscribed = true;
    *ret_sub = f;
    return 0;
}

static const struct configuration_ops fake_configuration = {
    .t = { HEAD("configuration", "configuration.fake") },
    .get = configuration_get,
    .subscribe = configuration_subscribe,
    .unsubscribe = unsubscribe,
};
static const struct configuration_ops fake_configuration_small = {
    .t = { HEAD("configuration", "configuration.small") },
    .get = configuration_get,
};

/* item: resource and owner. */
CO static int try_lock(void *self, str resource, str owner, int64_t expiry_s, bool *ret,
                       struct error *err)
{
    struct fake *f = self;
    int r = begin(f, err);
    *ret = r == 0;
    for (size_t i = 0; i < f->n; i++)
        if (str_eq(f->item[i].key, resource) && f->item[i].value.n)
            *ret = false;
    if (*ret)
        keep(f, resource, owner);
    return r;
}

CO static int unlock(void *self, str resource, str owner, enum unlock_status *ret,
                     struct error *err)
{
    struct fake *f = self;
    int r = begin(f, err);
    *ret = UNLOCK_DOES_NOT_EXIST;
    for (size_t i = 0; i < f->n && r == 0; i++) {
        if (!str_eq(f->item[i].key, resource) || !f->item[i].value.n)
            continue;
        *ret = str_eq(f->item[i].value, owner) ? UNLOCK_SUCCESS : UNLOCK_BELONGS_TO_OTHERS;
        if (*ret == UNLOCK_SUCCESS)
            f->item[i].value = S("");
    }
    return r;
}

static const struct lock_ops fake_lock = {
    .t = { HEAD("lock", "lock.fake") },
    .try_lock = try_lock,
    .unlock = unlock,
};

CO static int crypto_get_key(void *self, str key, enum crypto_key_format format, struct arena *a,
                             str *ret, struct error *err)
{
    int r = begin(self, err);
    if (r == 0)
        *ret = format == CRYPTO_KEY_JSON ? S("{}") : S("-----BEGIN PUBLIC KEY-----");
    return r;
}

/* What encrypts also decrypts: each byte is turned around, the tag is fixed. */
CO static int crypto_flip(void *self, const struct crypto_input *in, struct arena *a,
                          struct crypto_output *ret, struct error *err)
{
    int r = begin(self, err);
    char *p = arena_alloc(a, in->data.n);
    for (size_t i = 0; p && i < in->data.n; i++)
        p[i] = (char)~in->data.p[i];
    if (in->tag.n && !str_eq(in->tag, S("tag")))
        return fail(err, INVALID, NULL, "the tag is wrong");
    *ret = (struct crypto_output){ str_of(p, in->data.n), in->tag.n ? S("") : S("tag") };
    return p ? r : -EXHAUSTED;
}

CO static int crypto_verify(void *self, const struct crypto_input *in, bool *ret, struct error *err)
{
    int r = begin(self, err);
    *ret = str_eq(in->tag, S("good"));
    return r;
}

static const struct crypto_ops fake_crypto = {
    .t = { HEAD("crypto", "crypto.fake") },
    .get_key = crypto_get_key,
    .encrypt = crypto_flip,
    .decrypt = crypto_flip,
    .wrap_key = crypto_flip,
    .unwrap_key = crypto_flip,
    .sign = crypto_flip,
    .verify = crypto_verify,
};
static const struct crypto_ops fake_crypto_small = { .t = { HEAD("crypto", "crypto.small") } };

static const struct row {
    const char *kind;
    const struct component_type *type;
} rows[] = {
    { "state", &fake_state.t },
    { "state-small", &fake_state_small.t },
    { "pubsub", &fake_pubsub.t },
    { "pubsub-bulk", &fake_pubsub_bulk.t },
    { "secret", &fake_secret.t },
    { "secret-small", &fake_secret_small.t },
    { "binding", &fake_binding.t },
    { "resolver", &fake_resolver.t },
    { "configuration", &fake_configuration.t },
    { "configuration-small", &fake_configuration_small.t },
    { "lock", &fake_lock.t },
    { "crypto", &fake_crypto.t },
    { "crypto-small", &fake_crypto_small.t },
};

/* ---- putting them in ---- */

static const struct row *row_of(const char *kind)
{
    for (size_t i = 0; i < COUNT(rows); i++)
        if (str_eq(str_c(rows[i].kind), str_c(kind)))
            return &rows[i];
    REQUIRE(!"a kind of the fixture");
    return NULL;
}

static void attach(struct fixture *f, const struct row *row, struct instance *i)
{
    struct error err = { 0 };
    int r = 0;
    if (str_starts(str_c(row->kind), S("state")))
        r = state_attach(&f->b, i, &err);
    else if (str_starts(str_c(row->kind), S("pubsub")))
        r = publish_attach(&f->b, i, kvs_get(i->metadata, S("namespaced")).n > 0, &err);
    else if (str_starts(str_c(row->kind), S("secret")))
        r = secret_attach(&f->b, i, &err);
    else if (str_eq(str_c(row->kind), S("binding")))
        r = binding_attach(&f->b, i, &err);
    else if (str_starts(str_c(row->kind), S("configuration")))
        r = configuration_attach(&f->b, i, &err);
    else if (str_eq(str_c(row->kind), S("lock")))
        r = lock_attach(&f->b, i, &err);
    else if (str_starts(str_c(row->kind), S("crypto")))
        r = crypto_attach(&f->b, i, &err);
    REQUIRE(r == 0, "%s", err.text);
}

struct fake *fixture_add(struct fixture *f, const char *kind, const char *name,
                         const char *const *fields)
{
    const struct row *row = row_of(kind);
    struct instance *i = mem_zalloc(sizeof *i);
    struct fake *fake = mem_zalloc(sizeof *fake);
    REQUIRE(i && fake);
    arena_init(&i->arena, MIB(1));
    arena_init(&fake->arena, MIB(16));
    i->type = row->type;
    i->self = fake;
    i->name = mem_dup(name, strlen(name));
    struct kv *kv = arena_zalloc(&i->arena, 16 * sizeof *kv);
    size_t n = 0;
    for (; fields && fields[n]; n++)
        (void)str_cut(str_c(fields[n]), '=', &kv[n].key, &kv[n].value);
    i->metadata = (struct kvs){ kv, n };
    attach(f, row, i);
    struct error err = { 0 };
    if (component_kind_of(row->type->kind) == COMPONENT_KINDS)
        f->b.resolver = i;
    else
        REQUIRE(catalog_add(&f->b, i, &err) == 0, "%s", err.text);
    return fake;
}

struct instance *fixture_instance(struct fixture *f, const char *kind, const char *name)
{
    const struct row *row = row_of(kind);
    return catalog_get(&f->b, component_kind_of(row->type->kind), str_c(name));
}

/* ---- the app ---- */

CO static void app_handle(void *arg, struct http_exchange *x)
{
    struct fixture *f = arg;
    f->app_calls++;
    f->seen_target = arena_dup(&f->arena, x->req.target);
    http_headers_init(&f->seen, &f->arena);
    for (size_t i = 0; i < x->req.headers.n; i++)
        (void)http_headers_add(&f->seen, arena_dup(&f->arena, x->req.headers.v[i].name),
                               arena_dup(&f->arena, x->req.headers.v[i].value));
    if (f->handle) {
        f->handle(f, x);
        return;
    }
    str body = S("");
    if (http_read_all(x, MIB(16), &body) < 0) {
        (void)http_reply(x, 400, NULL, S("what?"));
        return;
    }
    f->seen_body = arena_dup(&f->arena, body);
    (void)http_reply(x, f->status ? f->status : 200, NULL, str_c(f->body));
}

/* ---- the whole ---- */

static bool ready(void *arg, struct error *err)
{
    struct fixture *f = arg;
    if (!f->stopping)
        return true;
    fail(err, INTERNAL, "ERR_HEALTH_NOT_READY", "dapr is not ready: [runtime]");
    return false;
}

static bool probe(void *arg, enum host_probe probe, struct error *err)
{
    struct fixture *f = arg;
    if (!f->stopping || probe == PROBE_LIVE || probe == PROBE_STARTED)
        return true;
    fail(err, UNAVAILABLE, "ERR_HEALTH_NOT_READY", "the sidecar is about to stop");
    return false;
}

CO static void shut_down(void *arg, bool force)
{
    struct fixture *f = arg;
    f->stopping = true;
}

CO static int describe(void *arg, struct arena *a, struct sidecar_info *ret)
{
    *ret = (struct sidecar_info){ .id = S("me"), .version = S("1") };
    return 0;
}

CO static void write_feed(void *arg, struct buf *out)
{
    buf_put(out, S("{\"app\":\"me\"}"));
}

static int set_metadata(void *arg, str key, str value)
{
    return value.n > 100 ? -EXHAUSTED : 0;
}

void fixture_open(struct fixture *f, const char *yaml)
{
    struct error err = { 0 };
    *f = (struct fixture){ 0 };
    arena_init(&f->arena, MIB(64));
    REQUIRE(blocks_init(&f->b) == 0);
    REQUIRE((f->b.streamings = streamings_new()));
    f->b.app_id = "me";
    f->b.namespace_ = "default";
    f->b.namespace_raw = "";
    f->b.ask_app = true;
    str text = str_c(yaml);
    ptrdiff_t at = str_find(text, S("--- config\n"));
    struct resource_text texts[] = {
        { "test.yaml", at < 0 ? text : str_take(text, (size_t)at), false },
        { "config.yaml", at < 0 ? S("") : str_skip(text, (size_t)at + 11), true },
    };
    struct resource_options opt = { .app_id = S("me") };
    REQUIRE(resources_parse(&opt, texts, at < 0 ? 1 : 2, &f->res, &err) == 0, "%s", err.text);
    REQUIRE(!f->res->fatal, "%s", f->res->fatal);
    f->b.resources = f->res;
    f->b.resiliency = resiliency_new((const struct resiliency_spec *const *)f->res->resiliency,
                                     f->res->n_resiliencies, &err);
    REQUIRE(f->b.resiliency, "%s", err.text);
    struct app_config app = { .app_id = "me",
                              .host = "127.0.0.1",
                              .protocol = "http",
                              .handle = app_handle,
                              .handle_arg = f };
    REQUIRE(app_new(&app, &f->app, &err) == 0, "%s", err.text);
    f->b.app = f->app;
    struct api_config api = { .blocks = &f->b,
                              .host = { .arg = f,
                                        .ready = ready,
                                        .outbound_ready = ready,
                                        .probe = probe,
                                        .shutdown = shut_down,
                                        .describe = describe,
                                        .set_metadata = set_metadata,
                                        .write_feed = write_feed },
                              .max_body_bytes = 4096 };
    REQUIRE(api_new(&api, &f->api, &err) == 0, "%s", err.text);
}

void fixture_close(struct fixture *f)
{
    api_free(f->api);
    configuration_stop(&f->b);
    blocks_done(&f->b);
    streamings_free(f->b.streamings);
    app_free(f->app);
    resiliency_free(f->b.resiliency);
    resources_unref(f->res);
    arena_done(&f->arena);
}

static struct http_request parse_call(struct fixture *f, const char *what, const char *headers)
{
    struct http_request req = { .authority = S("localhost") };
    (void)str_cut(str_c(what), ' ', &req.method, &req.target);
    (void)str_cut(req.target, '?', &req.path, &req.query);
    http_headers_init(&req.headers, &f->arena);
    str line;
    for (str rest = str_c(headers); rest.n && str_next(&rest, '\n', &line);) {
        str name, value;
        (void)str_cut(line, ':', &name, &value);
        REQUIRE(http_headers_add(&req.headers, name, str_trim(value)) == 0);
    }
    return req;
}

struct reply fixture_call(struct fixture *f, const char *what, const char *headers,
                          const char *body)
{
    struct http_request req = parse_call(f, what, headers);
    struct http_memory m;
    req.content_length = body ? (int64_t)strlen(body) : 0;
    http_memory_init(&m, &req, str_c(body), &f->arena, MIB(16));
    m.x.peer = "127.0.0.1:4711";
    api_handle(f->api, &m.x);
    struct reply r = { m.x.status, arena_dup(&f->arena, buf_str(&m.reply)), m.reply_headers };
    if (!m.x.ended || m.aborted)
        r.status = 0;
    http_memory_done(&m);
    return r;
}
