#include "block/configuration.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "block/app/channel.h"
#include "block/core/observe.h"
#include "block/core/operation.h"
#include "policy/resiliency.h"

#include <pthread.h>
#include <stdlib.h>

enum { UPDATE_MAX = 64 << 20, KEYS_TEXT = 200 };
static const char SCOPE[] = "dapr.runtime.configuration";

enum op { GET, SUBSCRIBE, UNSUBSCRIBE, N_OPS };

/* What the block keeps with each store: instance.extra. */
struct watched {
    struct observer observer[N_OPS];
    pthread_mutex_t lock; /* of what follows; never held across a suspension */
    struct list watches;
    size_t n;
    bool stopped;
};

/* A subscription. Whoever takes it out of the list ends it, and nobody else. */
struct watch {
    struct list link;
    char id[UUID_LEN];
    struct blocks *b;
    struct instance *store;
    void *engine;
    struct configuration_watcher watcher;
    atomic_bool ending;
};

static const struct configuration_ops *ops(const struct instance *i)
{
    return CONTAINER_OF(i->type, struct configuration_ops, t);
}

CO static void end_watches(struct instance *i);

static void watched_free(void *extra)
{
    struct watched *w = extra;
    pthread_mutex_destroy(&w->lock);
}

int configuration_attach(struct blocks *b, struct instance *i, struct error *err)
{
    struct watched *w = arena_zalloc(&i->arena, sizeof *w);
    if (!w)
        return fail(err, EXHAUSTED, NULL, "out of memory");
    operation_attach(b, i, "Configuration");
    pthread_mutex_init(&w->lock, NULL);
    list_init(&w->watches);
    i->extra = w;
    i->extra_stop = end_watches;
    i->extra_free = watched_free;
    return 0;
}

int configuration_find(struct blocks *b, str name, struct instance **ret, struct error *err)
{
    if (!catalog_count(b, KIND_CONFIGURATION))
        return fail(err, PRECONDITION, "ERR_CONFIGURATION_STORE_NOT_CONFIGURED",
                    "configuration stores not configured");
    struct instance *i = catalog_get(b, KIND_CONFIGURATION, name);
    if (!i)
        return fail(err, INVALID, "ERR_CONFIGURATION_STORE_NOT_FOUND",
                    "configuration store " STR_FMT " not found", STR_ARG(name));
    *ret = i;
    return 0;
}

static void count(struct blocks *b, struct instance *i, enum op op, uint64_t start, int r)
{
    static const char *const name[] = { "get", "subscribe", "unsubscribe" };
    struct watched *w = i->extra;
    observe(&w->observer[op], OBSERVE_CONFIGURATION, b, i->name, name[op], start,
            r < 0 ? OUTCOME_FAILED : OUTCOME_OK);
}

/* "[a b]", as the contract's messages have it; cut. */
static const char *keys_text(const struct configuration_query *q, char text[KEYS_TEXT])
{
    size_t n = 0;
    text[n++] = '[';
    for (size_t i = 0; i < q->n_keys && n < KEYS_TEXT - 3; i++) {
        str key = str_take(q->keys[i], KEYS_TEXT - 3 - n);
        if (i)
            text[n++] = ' ';
        if (key.n)
            memcpy(text + n, key.p, key.n);
        n += key.n;
    }
    text[n++] = ']';
    text[n] = 0;
    return text;
}

/* ---- get ---- */

struct get_call {
    struct instance *store;
    const struct configuration_query *q;
    struct arena *arena;
    struct configuration_item **ret;
    size_t *ret_n;
};

CO static int try_get(void *arg, struct guard_attempt *attempt, struct error *err)
{
    struct get_call *c = arg;
    return ops(c->store)->get(c->store->self, c->q->keys, c->q->n_keys, c->q->metadata, c->arena,
                              c->ret, c->ret_n, err);
}

static int by_key(const void *a, const void *b)
{
    const struct configuration_item *x = a, *y = b;
    return str_cmp(x->key, y->key);
}

/* A key that was asked for twice is there once: the answer is a map. */
static size_t sort_items(struct configuration_item *v, size_t n)
{
    size_t kept = 0;
    if (n)
        qsort(v, n, sizeof *v, by_key);
    for (size_t i = 0; i < n; i++)
        if (!kept || !str_eq(v[kept - 1].key, v[i].key))
            v[kept++] = v[i];
    return kept;
}

CO int block_configuration_get(struct blocks *b, struct instance *store,
                               const struct configuration_query *q, struct arena *a,
                               struct configuration_item **ret, size_t *ret_n, struct error *err)
{
    struct configuration_item *items = NULL;
    size_t n = 0;
    struct get_call call = { store, q, a, &items, &n };
    struct error cause = { 0 };
    char keys[KEYS_TEXT];
    uint64_t start = clock_now_ns();
    int r = operation_run(store, "get", try_get, &call, &cause);
    count(b, store, GET, start, r);
    if (r < 0)
        return fail(err, INTERNAL, "ERR_CONFIGURATION_GET",
                    "failed to get %s from Configuration store %s: %s", keys_text(q, keys),
                    store->name, cause.text);
    *ret = items;
    *ret_n = sort_items(items, n);
    return 0;
}

/* ---- subscriptions ---- */

CO static int tell(void *arg, const struct configuration_item *items, size_t n, struct error *err)
{
    struct watch *w = arg;
    return w->watcher.tell(w->watcher.arg, str_of(w->id, UUID_LEN), items, n, err);
}

struct subscribe_call {
    struct watch *watch;
    const struct configuration_query *q;
};

CO static int try_subscribe(void *arg, struct guard_attempt *attempt, struct error *err)
{
    struct subscribe_call *c = arg;
    struct instance *store = c->watch->store;
    struct configuration_subscription s = {
        .keys = c->q->keys,
        .n_keys = c->q->n_keys,
        .metadata = c->q->metadata,
        .handle = tell,
        .arg = c->watch,
    };
    if (!ops(store)->subscribe) {
        attempt->fatal = true;
        return fail(err, UNIMPLEMENTED, NULL, "this configuration store can't be watched");
    }
    return ops(store)->subscribe(store->self, &s, &c->watch->engine, err);
}

static bool enlist(struct watched *s, struct watch *w)
{
    pthread_mutex_lock(&s->lock);
    bool ok = !s->stopped && s->n < CONFIGURATION_WATCHES;
    if (ok) {
        list_append(&s->watches, &w->link);
        s->n++;
    }
    pthread_mutex_unlock(&s->lock);
    return ok;
}

/* The subscription, which is the caller's to end; id empty: any. */
static struct watch *take_out(struct watched *s, str id)
{
    struct watch *found = NULL;
    pthread_mutex_lock(&s->lock);
    LIST_EACH (&s->watches, at) {
        struct watch *w = CONTAINER_OF(at, struct watch, link);
        if (id.n && !str_eq(id, str_of(w->id, UUID_LEN)))
            continue;
        list_remove(at);
        s->n--;
        found = w;
        break;
    }
    pthread_mutex_unlock(&s->lock);
    return found;
}

/* Not to be interrupted: the engine must have forgotten the watch before it is freed. */
CO static void end_watch(struct watch *w)
{
    SHIELD();
    atomic_store(&w->ending, true);
    if (w->watcher.stop)
        w->watcher.stop(w->watcher.arg);
    ops(w->store)->unsubscribe(w->store->self, w->engine);
    if (w->watcher.gone)
        w->watcher.gone(w->watcher.arg);
    mem_free(w);
}

CO static int subscribe(struct watch *w, const struct configuration_query *q, struct error *err)
{
    struct watched *s = w->store->extra;
    struct subscribe_call call = { w, q };
    int r = operation_run(w->store, "subscribe", try_subscribe, &call, err);
    if (r < 0 || enlist(s, w))
        return r;
    SHIELD();
    ops(w->store)->unsubscribe(w->store->self, w->engine);
    return fail(err, EXHAUSTED, NULL,
                "the sidecar is stopping, or there are %d subscriptions: unsubscribe some",
                CONFIGURATION_WATCHES);
}

CO static int add_watch(struct blocks *b, struct watch *w, const struct configuration_query *q,
                        char ret_id[UUID_LEN], struct error *err)
{
    struct error cause = { 0 };
    char keys[KEYS_TEXT], id[UUID_LEN];
    struct instance *store = w->store;
    w->b = b;
    id_uuid4(id);
    memcpy(w->id, id, UUID_LEN);
    uint64_t start = clock_now_ns();
    int r = subscribe(w, q, &cause); /* from here on it may be ended by others */
    count(b, store, SUBSCRIBE, start, r);
    if (r < 0) {
        mem_free(w);
        return fail(err, INVALID, "ERR_CONFIGURATION_SUBSCRIBE",
                    "failed to subscribe %s from Configuration store %s: %s", keys_text(q, keys),
                    store->name, cause.text);
    }
    memcpy(ret_id, id, UUID_LEN);
    return 0;
}

CO int block_configuration_subscribe(struct blocks *b, struct instance *store,
                                     const struct configuration_query *q,
                                     const struct configuration_watcher *watcher,
                                     char ret_id[UUID_LEN], struct error *err)
{
    struct watch *w = mem_zalloc(sizeof *w);
    if (!w)
        return fail(err, EXHAUSTED, NULL, "out of memory");
    w->store = store;
    w->watcher = *watcher;
    return add_watch(b, w, q, ret_id, err);
}

CO int block_configuration_unsubscribe(struct blocks *b, struct instance *store, str id,
                                       struct error *err)
{
    uint64_t start = clock_now_ns();
    struct watch *w = id.n ? take_out(store->extra, id) : NULL;
    if (w)
        end_watch(w);
    count(b, store, UNSUBSCRIBE, start, w ? 0 : -NOT_FOUND);
    return w ? 0
             : fail(err, NOT_FOUND, "ERR_CONFIGURATION_UNSUBSCRIBE",
                    "failed to unsubscribe to configuration request " STR_FMT
                    ": there is no subscription with this id",
                    STR_ARG(str_take(id, 100)));
}

CO static void end_watches(struct instance *i)
{
    struct watched *s = i->extra;
    pthread_mutex_lock(&s->lock);
    s->stopped = true;
    pthread_mutex_unlock(&s->lock);
    for (struct watch *w; (w = take_out(s, S("")));)
        end_watch(w);
}

CO void configuration_stop(struct blocks *b)
{
    AUTO(catalog_unpinp) struct catalog *pin = catalog_pin(b);
    struct instance *i;
    for (size_t at = 0; (i = catalog_next(pin, KIND_CONFIGURATION, &at));)
        end_watches(i);
}

/* ---- updates to the app ---- */

struct update {
    struct watch *watch;
    str key, body;
    struct arena *arena;
};

/* 200 alone is a success: facts 2.9. */
CO static int try_update(void *arg, struct guard_attempt *attempt, struct error *err)
{
    struct update *u = arg;
    struct app *app = u->watch->b->app;
    attempt->stop = &u->watch->ending;
    DEADLINE(SEC(10));
    int r = app->channel->configuration(app, str_c(u->watch->store->name), u->key, u->body,
                                        u->arena, &attempt->http_status, err);
    attempt->grpc_status = app_grpc_code(app, r);
    return r;
}

void configuration_item_json(struct json_w *w, const struct configuration_item *item)
{
    json_w_object(w);
    if (item->value.n)
        json_w_kv(w, S("value"), item->value);
    if (item->version.n)
        json_w_kv(w, S("version"), item->version);
    if (item->metadata.n) {
        json_w_key(w, S("metadata"));
        json_w_object(w);
        for (size_t i = 0; i < item->metadata.n; i++)
            json_w_kv(w, item->metadata.v[i].key, item->metadata.v[i].value);
        json_w_object_end(w);
    }
    json_w_object_end(w);
}

static void write_event(struct buf *out, str id, const struct configuration_item *items, size_t n)
{
    struct json_w w;
    json_w_init(&w, out, JSON_W_HTML);
    json_w_object(&w);
    json_w_kv(&w, S("id"), id);
    json_w_key(&w, S("items"));
    json_w_object(&w);
    for (size_t i = 0; i < n; i++) {
        json_w_key(&w, items[i].key);
        configuration_item_json(&w, &items[i]);
    }
    json_w_object_end(&w);
    json_w_object_end(&w);
}

CO static int tell_key(struct watch *w, str key, str body, struct error *err)
{
    struct arena arena;
    arena_init(&arena, 2 * CHANNEL_ANSWER_MAX);
    struct update u = { w, key, body, &arena };
    int r = operation_event(w->store, "deliver", try_update, &u, err);
    arena_done(&arena);
    return r;
}

/* Once for each key, always with the whole event (surprise 78). A failure concerns its key alone.
 */
CO static int tell_app(void *arg, str id, const struct configuration_item *items, size_t n,
                       struct error *err)
{
    struct watch *w = arg;
    AUTO(buf_done) struct buf body;
    buf_init(&body, UPDATE_MAX);
    write_event(&body, id, items, n);
    if (!buf_ok(&body))
        return fail(err, EXHAUSTED, NULL, "the update is larger than %d MiB", UPDATE_MAX >> 20);
    for (size_t i = 0; i < n && !atomic_load(&w->ending); i++) {
        struct error cause = { 0 };
        if (tell_key(w, items[i].key, buf_str(&body), &cause) < 0)
            log_error(SCOPE, "error sending configuration item to the app: %s", cause.text);
    }
    return 0;
}

CO int block_configuration_subscribe_app(struct blocks *b, struct instance *store,
                                         const struct configuration_query *q, char ret_id[UUID_LEN],
                                         struct error *err)
{
    if (!b->app)
        return fail(err, INTERNAL, "ERR_APP_CHANNEL_NIL",
                    "app channel is not initialized. cannot subscribe to configuration updates");
    struct watch *w = mem_zalloc(sizeof *w);
    if (!w)
        return fail(err, EXHAUSTED, NULL, "out of memory");
    w->store = store;
    w->watcher = (struct configuration_watcher){ .tell = tell_app, .arg = w };
    return add_watch(b, w, q, ret_id, err);
}
