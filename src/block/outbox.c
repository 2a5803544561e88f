#include "block/outbox.h"

#include "base/clock.h"
#include "base/id.h"
#include "base/log.h"
#include "base/mem.h"
#include "block/publish.h"
#include "fiber/sync.h"
#include "format/cloudevent.h"

enum { ENVELOPE_MAX = 64 << 20, READ_MEMORY = 192 << 20, MARKER_LEN = 7 + UUID_LEN };
static const char SCOPE[] = "dapr.outbox";

int outbox_attach(struct instance *i, struct outbox **ret, struct error *err)
{
    *ret = NULL;
    struct outbox o = {
        .publish_pubsub = kvs_get(i->metadata, S("outboxPublishPubsub")),
        .publish_topic = kvs_get(i->metadata, S("outboxPublishTopic")),
        .pubsub = kvs_get(i->metadata, S("outboxPubsub")),
        .discard = str_truthy(kvs_get(i->metadata, S("outboxDiscardWhenMissingState"))),
    };
    if (!o.publish_pubsub.n || !o.publish_topic.n)
        return 0;
    o.pubsub = o.pubsub.n ? o.pubsub : o.publish_pubsub;
    struct outbox *copy = arena_alloc(&i->arena, sizeof *copy);
    if (!copy)
        return fail(err, EXHAUSTED, NULL, "out of memory");
    *copy = o;
    *ret = copy;
    return 0;
}

static const struct state_ops *state_ops_of(const struct instance *i)
{
    return CONTAINER_OF(i->type, struct state_ops, t);
}

/* Name at the broker: a bare concatenation (surprise 35). */
static str own_topic(const struct blocks *b, const struct instance *pubsub, str topic,
                     struct arena *a)
{
    const struct broker *k = pubsub->extra;
    str part[] = { k->topics.prefix, str_c(b->namespace_), str_c(b->app_id), topic, S("outbox") };
    return arena_join(a, part, COUNT(part));
}

static int find_pubsub(const struct blocks *b, str name, struct instance **ret, struct error *err)
{
    *ret = catalog_get(b, KIND_PUBSUB, name);
    return *ret ? 0 : fail(err, NOT_FOUND, NULL, "pubsub " STR_FMT " isn't loaded", STR_ARG(name));
}

/* ---- the transaction's side ---- */

static bool is_projection(const struct state_write *w)
{
    return !w->remove && str_truthy(kvs_get(w->metadata, S("outbox.projection")));
}

/* What is told of a key: its projection, if there is one. */
static const struct state_write *payload_of(const struct state_write *w, size_t n,
                                            const struct state_write *of)
{
    for (size_t i = 0; i < n; i++)
        if (is_projection(&w[i]) && str_eq(w[i].key, of->key))
            return &w[i];
    return of;
}

/* A JSON string that isn't declared as JSON is told without its quotes, as text. */
static int payload_text(const struct state_write *w, str type, struct arena *a, str *ret)
{
    struct json v;
    *ret = w->value;
    if (!w->json || cloudevent_type_is_json(type) || json_parse(w->value, &v, NULL) < 0 ||
        v.type != JSON_STRING)
        return 0;
    return json_string(a, v, ret);
}

/* Metadata of the operation becomes attributes, "data" and "id" excepted. */
static void set_attributes(struct cloudevent_fields *f, struct cloudevent_extra *extra,
                           struct kvs metadata)
{
    struct {
        str name, *to;
    } own[] = {
        { S("source"), &f->source },           { S("type"), &f->type },
        { S("subject"), &f->subject },         { S("time"), &f->time },
        { S("specversion"), &f->specversion }, { S("datacontenttype"), &f->datacontenttype },
        { S("traceid"), &f->traceid },         { S("traceparent"), &f->traceparent },
        { S("tracestate"), &f->tracestate },
    };
    f->extra = extra;
    for (size_t i = 0; i < metadata.n && f->n_extra < CLOUDEVENT_EXTRA_MAX; i++) {
        const struct kv *kv = &metadata.v[i];
        bool known = str_eq(kv->key, S("data")) || str_eq(kv->key, S("id"));
        for (size_t k = 0; k < COUNT(own) && !known; k++)
            if ((known = str_eq(kv->key, own[k].name)))
                *own[k].to = kv->value;
        if (!known)
            extra[f->n_extra++] = (struct cloudevent_extra){ kv->key, kv->value };
    }
}

struct telling {
    const struct state_write *w, *told; /* told: whose value goes out */
    str id;
    const struct trace_context *trace;
};

static int build_event(const struct blocks *b, const struct outbox *o, const struct telling *e,
                       struct arena *a, struct buf *out)
{
    char time[RFC3339_MAX];
    size_t n = clock_rfc3339(clock_wall_ns(), true, 0, time);
    str type = kvs_get(e->told->metadata, S("contentType"));
    str parent = publish_trace_parent(b, e->trace);
    struct cloudevent_extra *extra = arena_alloc(a, CLOUDEVENT_EXTRA_MAX * sizeof *extra);
    struct cloudevent_fields f = {
        .id = e->id,
        .source = str_c(b->app_id),
        .time = str_of(time, n),
        .datacontenttype = type,
        .pubsubname = o->pubsub,
        .traceid = parent, /* the whole of it, as in other events */
        .traceparent = parent,
        .tracestate = e->trace->state,
    };
    if (!extra || payload_text(e->told, type, a, &f.data) < 0)
        return -EXHAUSTED;
    set_attributes(&f, extra, e->w->metadata);
    return cloudevent_build(&f, out);
}

CO static int tell_one(struct blocks *b, const struct outbox *o, struct instance *pubsub,
                       const struct telling *e, struct arena *a, struct error *err)
{
    AUTO(buf_done) struct buf out;
    buf_init(&out, ENVELOPE_MAX);
    struct pubsub_message m = { .content_type = S("application/cloudevents+json") };
    m.topic = own_topic(b, pubsub, o->publish_topic, a);
    if (!m.topic.p || build_event(b, o, e, a, &out) < 0)
        return fail(err, EXHAUSTED, NULL, "the event doesn't fit into memory");
    m.data = buf_str(&out);
    return block_publish_raw(b, pubsub, &m, err);
}

static str new_marker(struct arena *a)
{
    char *id = arena_alloc(a, MARKER_LEN);
    if (!id)
        return (str){ 0 };
    memcpy(id, "outbox-", 7);
    id_uuid4(id + 7);
    return str_of(id, MARKER_LEN);
}

CO static int tell_all(struct blocks *b, const struct outbox *o, const struct state_transaction *t,
                       struct state_write *to, size_t *ret_n, struct arena *a, struct error *err)
{
    struct instance *pubsub;
    size_t kept = 0;
    int r = find_pubsub(b, o->pubsub, &pubsub, err);
    for (size_t i = 0; i < t->n; i++)
        if (!is_projection(&t->w[i]))
            to[kept++] = t->w[i];
    *ret_n = kept;
    for (size_t i = 0; r >= 0 && i < kept; i++) {
        if (to[i].remove)
            continue;
        str id = new_marker(a);
        if (!id.p)
            return fail(err, EXHAUSTED, NULL, "out of memory");
        const struct telling e = { &to[i], payload_of(t->w, t->n, &to[i]), id, &t->trace };
        r = tell_one(b, o, pubsub, &e, a, err);
        to[(*ret_n)++] = (struct state_write){ .key = id, .value = S("\"0\""), .json = true };
    }
    return r;
}

CO int outbox_prepare(struct blocks *b, const struct outbox *o, struct state_transaction *t,
                      struct arena *a, struct error *err)
{
    struct error cause = { 0 };
    struct state_write *to = arena_alloc(a, 2 * t->n * sizeof *to);
    size_t n_to = 0;
    int r = to ? tell_all(b, o, t, to, &n_to, a, &cause)
               : fail(&cause, EXHAUSTED, NULL, "out of memory");
    if (r >= 0) {
        t->w = to;
        t->n = n_to;
        return 0;
    }
    fail(err, INTERNAL, "ERR_PUBLISH_OUTBOX", "error while publishing outbox message: %s",
         cause.text);
    fail_reason(err, "DAPR_PUBSUB_OUTBOX", "pubsub", o->pubsub);
    return -INTERNAL;
}

/* ---- the reader's side ---- */

struct reader {
    struct reader *next;
    struct outboxes *set;
    char *store;             /* the state store's name; owned */
    struct fiber *fiber;     /* while it subscribes */
    struct instance *pubsub; /* once subscribed */
    void *sub;
};

struct outboxes {
    struct blocks *b;
    struct reader *first;
    struct wait_group subscribing;
    atomic_bool stopping;
};

/* Interrupted by the end, looked for often enough. */
CO static int pause_for(struct outboxes *o, uint64_t ns)
{
    static const uint64_t LOOK_NS = MS(50);
    for (; ns; ns -= min_u64(ns, LOOK_NS)) {
        if (atomic_load(&o->stopping))
            return -CANCELLED;
        int r = fiber_sleep(min_u64(ns, LOOK_NS));
        if (r < 0)
            return r;
    }
    return 0;
}

CO static int look_for_marker(struct instance *store, str id, struct arena *a, bool *ret,
                              struct error *err)
{
    struct state_value v = { 0 };
    int r = state_ops_of(store)->get(store->self, id, STRONG, (struct kvs){ 0 }, a, &v, err);
    *ret = r >= 0 && v.found;
    return r;
}

/* The transaction mostly follows within milliseconds: looked for at once and then ever less often,
 * 11 s in all. (The contract waits for a second first, which only makes the event late.) */
CO static int wait_for_marker(struct outboxes *o, struct instance *store, str id, struct arena *a,
                              struct error *err)
{
    bool there = false;
    uint64_t pause = 0, waited = 0;
    for (;;) {
        if (look_for_marker(store, id, a, &there, err) < 0 && err)
            *err = (struct error){ 0 }; /* perhaps the next time */
        if (there || waited >= SEC(11))
            break;
        pause = pause ? min_u64(pause * 3, SEC(3)) : MS(10);
        waited += pause;
        int r = pause_for(o, pause);
        if (r < 0)
            return r;
    }
    return there ? 0
                 : fail(err, NOT_FOUND, NULL,
                        "outbox state not found: the transaction failed, or "
                        "its event was published already");
}

static bool too_old(const struct cloudevent *ce)
{
    uint64_t at;
    return clock_parse_rfc3339(ce->time, &at) && clock_wall_ns() > at + OUTBOX_GIVE_UP_NS;
}

CO static int publish_public(struct blocks *b, const struct outbox *o, str event, struct arena *a,
                             struct error *err)
{
    struct instance *pubsub;
    AUTO(buf_done) struct buf out;
    buf_init(&out, ENVELOPE_MAX);
    struct cloudevent_fields f = { .topic = o->publish_topic, .pubsubname = o->publish_pubsub };
    int r = find_pubsub(b, o->publish_pubsub, &pubsub, err);
    if (r >= 0)
        r = cloudevent_wrap(event, &f, a, &out, err);
    if (r < 0)
        return r;
    const struct broker *k = pubsub->extra;
    str part[] = { k->topics.prefix, o->publish_topic };
    struct pubsub_message m = {
        .topic = arena_join(a, part, COUNT(part)),
        .data = buf_str(&out),
        .content_type = S("application/cloudevents+json"),
    };
    return m.topic.p ? block_publish_raw(b, pubsub, &m, err)
                     : fail(err, EXHAUSTED, NULL, "out of memory");
}

/* A marker that stays is only litter, and no reason to publish once more. */
CO static void delete_marker(struct instance *store, str id)
{
    struct state_write w = { .key = id, .remove = true };
    struct error err = { 0 };
    for (int i = 0; i < 3; i++) {
        err = (struct error){ 0 };
        if (state_ops_of(store)->write(store->self, &w, &err) >= 0)
            return;
    }
    log_warn(SCOPE, "marker " STR_FMT " could not be deleted from %s: %s", STR_ARG(id), store->name,
             err.text);
}

CO static int read_event(struct reader *rd, const struct pubsub_message *m, struct arena *a,
                         struct error *err)
{
    struct blocks *b = rd->set->b;
    struct instance *store = catalog_get(b, KIND_STATE, str_c(rd->store));
    const struct outbox *o = store ? state_outbox(store) : NULL;
    struct cloudevent ce;
    if (!o)
        return fail(err, NOT_FOUND, NULL, "state store %s isn't loaded with an outbox", rd->store);
    int r = cloudevent_read(m->data, a, &ce, err);
    if (r < 0)
        return r;
    r = wait_for_marker(rd->set, store, ce.id, a, err);
    if (r == -NOT_FOUND && (o->discard || too_old(&ce))) {
        log_error(SCOPE,
                  "failed to publish outbox topic to pubsub " STR_FMT ": %s, discarding message",
                  STR_ARG(o->publish_pubsub), err->text);
        return 0;
    }
    if (r >= 0)
        r = publish_public(b, o, m->data, a, err);
    if (r < 0)
        return r;
    delete_marker(store, ce.id);
    return 0;
}

/* Negative: the broker gives it again. */
CO static int on_event(void *arg, const struct pubsub_message *m, struct error *err)
{
    struct reader *rd = arg;
    struct arena a;
    struct error own = { 0 };
    PINNED(rd->set->b);
    arena_init(&a, READ_MEMORY);
    int r = read_event(rd, m, &a, &own);
    arena_done(&a);
    return r < 0 ? fail(err, (enum code) - r, NULL, "%s", own.text) : 0;
}

CO static int subscribe(struct reader *rd, struct error *err)
{
    struct blocks *b = rd->set->b;
    PINNED(b);
    struct instance *store = catalog_get(b, KIND_STATE, str_c(rd->store)), *pubsub;
    const struct outbox *o = store ? state_outbox(store) : NULL;
    int r = o ? find_pubsub(b, o->pubsub, &pubsub, err) : -NOT_FOUND;
    if (r < 0)
        return r;
    struct arena a;
    arena_init(&a, KIB(64));
    struct pubsub_subscription s = {
        .topic = own_topic(b, pubsub, o->publish_topic, &a),
        .handle = on_event,
        .arg = rd,
    };
    r = s.topic.p ? CONTAINER_OF(pubsub->type, struct pubsub_ops, t)
                        ->subscribe(pubsub->self, &s, &rd->sub, err)
                  : fail(err, EXHAUSTED, NULL, "out of memory");
    if (r >= 0)
        rd->pubsub = pubsub;
    arena_done(&a);
    return r;
}

CO static void subscribe_main(void *arg)
{
    struct reader *rd = arg;
    rd->fiber = fiber_self();
    for (uint64_t wait = MS(500);; wait = min_u64(wait * 2, SEC(60))) {
        struct error err = { 0 };
        if (atomic_load(&rd->set->stopping) || subscribe(rd, &err) >= 0)
            break;
        log_warn(SCOPE, "could not subscribe to internal outbox topic of %s: %s", rd->store,
                 err.text);
        if (fiber_sleep(wait) < 0)
            break;
    }
    rd->fiber = NULL;
    wait_group_done(&rd->set->subscribing);
}

static int add_reader(struct outboxes *o, const struct instance *store)
{
    struct reader *rd = mem_zalloc(sizeof *rd);
    if (!rd || !(rd->store = mem_dup(store->name, strlen(store->name)))) {
        mem_free(rd);
        return -EXHAUSTED;
    }
    rd->set = o;
    rd->next = o->first;
    o->first = rd;
    wait_group_add(&o->subscribing);
    if (fiber_spawn("outbox", subscribe_main, rd))
        return 0;
    wait_group_done(&o->subscribing);
    return -EXHAUSTED;
}

CO int outboxes_start(struct blocks *b, struct outboxes **ret, struct error *err)
{
    struct outboxes *o = mem_zalloc(sizeof *o);
    if (!o)
        return fail(err, EXHAUSTED, NULL, "out of memory");
    o->b = b;
    wait_group_init(&o->subscribing);
    AUTO(catalog_unpinp) struct catalog *pin = catalog_pin(b);
    struct instance *i;
    int r = 0;
    for (size_t at = 0; r >= 0 && (i = catalog_next(pin, KIND_STATE, &at));)
        if (state_outbox(i))
            r = add_reader(o, i);
    if (r < 0) {
        outboxes_stop(o);
        return fail(err, EXHAUSTED, NULL, "out of memory");
    }
    *ret = o;
    return 0;
}

CO void outboxes_stop(struct outboxes *o)
{
    if (!o)
        return;
    SHIELD();
    atomic_store(&o->stopping, true);
    for (struct reader *rd = o->first; rd; rd = rd->next)
        if (rd->fiber)
            fiber_cancel(rd->fiber);
    (void)wait_group_wait(&o->subscribing);
    for (struct reader *rd = o->first, *next; rd; rd = next) {
        next = rd->next;
        if (rd->pubsub)
            CONTAINER_OF(rd->pubsub->type, struct pubsub_ops, t)
                ->unsubscribe(rd->pubsub->self, rd->sub);
        mem_free(rd->store);
        mem_free(rd);
    }
    mem_free(o);
}
