#include "base/map.h"
#include "base/mem.h"
#include "plugin.h"
#include "pull.h"
#include "wire.h"

struct broker {
    struct plug plug;
    atomic_uint subscriptions;
    atomic_bool paused;
};

struct subscription {
    struct broker *broker;
    struct pubsub_subscription s; /* its slices lie in .arena */
    struct arena arena;
    struct pull *pull;
};

/* Bulks of messages aren't in the protocol: BULK_SUBSCRIBE_IMMEDIATE would mean nothing. */
static const struct plugin_feature features[] = {
    { "MESSAGE_TTL", PUBSUB_TTL },
    { "SUBSCRIBE_WILDCARDS", PUBSUB_WILDCARDS },
    { "BULK_PUBSUB", PUBSUB_BULK_PUBLISH },
    { NULL, 0 },
};

enum { SUBSCRIPTION_ARENA_MAX = 1 << 20 };

static int no_memory(struct error *err)
{
    return fail(err, EXHAUSTED, NULL, "the message is too large for its memory");
}

/* ---- publishing ---- */

CO static int broker_publish(void *self, const struct pubsub_message *m, struct error *err)
{
    struct broker *b = self;
    WIRE(PublishRequest) request = DAPR__PROTO__COMPONENTS__V1__PUBLISH_REQUEST__INIT;
    WIRE(Nothing) * reply;
    AUTO(arena_done) struct arena a;
    arena_init(&a, PLUGIN_ARENA_MAX);
    request.data = wire_bytes(m->data);
    request.pubsub_name = (char *)b->plug.env->name;
    request.topic = arena_cstr(&a, m->topic);
    request.content_type = arena_cstr(&a, m->content_type);
    if (!request.topic || !request.content_type ||
        wire_map(m->metadata, &a, &request.metadata, &request.n_metadata) < 0)
        return no_memory(err);
    return plug_call(&b->plug, PLUGIN_PATH("PubSub", "Publish"), &request.base, WIRE_TYPE(nothing),
                     &a, &reply, err);
}

static int entry_to(const struct pubsub_message *m, struct arena *a, WIRE(BulkMessageEntry) * e)
{
    dapr__proto__components__v1__bulk_message_entry__init(e);
    e->event = wire_bytes(m->data);
    e->entry_id = arena_cstr(a, m->entry_id);
    e->content_type = arena_cstr(a, m->content_type);
    return e->entry_id && e->content_type ? wire_map(m->metadata, a, &e->metadata, &e->n_metadata)
                                          : -EXHAUSTED;
}

/* The number of entries that failed; -EXHAUSTED for want of memory. */
static int mark_failed(const WIRE(BulkPublishResponse) * reply, struct pubsub_message *m, size_t n)
{
    AUTO(map_done) struct map why;
    int failed = 0;
    map_init(&why, reply->n_failed_entries + 1);
    for (size_t i = 0; i < reply->n_failed_entries; i++)
        if (map_put(&why, str_c(reply->failed_entries[i]->entry_id),
                    reply->failed_entries[i]->error, NULL) < 0)
            return -EXHAUSTED;
    for (size_t k = 0; k < n; k++) {
        const char *text = map_get(&why, m[k].entry_id);
        if (text)
            failed += fail(&m[k].err, UNKNOWN, NULL, "%s", text) < 0;
    }
    return failed;
}

CO static int broker_bulk_publish(void *self, struct pubsub_message *m, size_t n, struct error *err)
{
    struct broker *b = self;
    WIRE(BulkPublishRequest) request = DAPR__PROTO__COMPONENTS__V1__BULK_PUBLISH_REQUEST__INIT;
    WIRE(BulkPublishResponse) * reply;
    AUTO(arena_done) struct arena a;
    arena_init(&a, PLUGIN_ARENA_MAX);
    WIRE(BulkMessageEntry) *e = arena_alloc(&a, n * sizeof *e);
    request.entries = arena_alloc(&a, n * sizeof e);
    request.pubsub_name = (char *)b->plug.env->name;
    request.topic = arena_cstr(&a, n ? m[0].topic : S(""));
    if (!e || !request.entries || !request.topic)
        return no_memory(err);
    for (size_t i = 0; i < n; i++)
        if (entry_to(&m[i], &a, request.entries[i] = &e[i]) < 0)
            return no_memory(err);
    request.n_entries = n;
    int r = plug_call(&b->plug, PLUGIN_PATH("PubSub", "BulkPublish"), &request.base,
                      WIRE_TYPE(bulk_publish_response), &a, &reply, err);
    if (r >= 0)
        r = mark_failed(reply, m, n);
    return r == -EXHAUSTED ? no_memory(err) : r;
}

/* ---- subscribing ---- */

/* Components that can't pause are as they are: what comes while a stream ends isn't acknowledged.
 */
CO static void tell(struct broker *b, str path)
{
    WIRE(Nothing) request = DAPR__PROTO__COMPONENTS__V1__NOTHING__INIT, *reply;
    AUTO(arena_done) struct arena a;
    struct error ignored = { 0 };
    DEADLINE(SEC(5));
    arena_init(&a, PLUGIN_ARENA_MAX);
    (void)plug_call(&b->plug, path, &request.base, WIRE_TYPE(nothing), &a, &reply, &ignored);
}

CO static int say_topic(void *arg, struct http_call *call)
{
    struct subscription *s = arg;
    WIRE(PullMessagesRequest) request = DAPR__PROTO__COMPONENTS__V1__PULL_MESSAGES_REQUEST__INIT;
    WIRE(Topic) topic = DAPR__PROTO__COMPONENTS__V1__TOPIC__INIT;
    AUTO(arena_done) struct arena a;
    arena_init(&a, SUBSCRIPTION_ARENA_MAX);
    topic.name = arena_cstr(&a, s->s.topic);
    if (!topic.name || wire_map(s->s.metadata, &a, &topic.metadata, &topic.n_metadata) < 0)
        return -EXHAUSTED;
    request.topic = &topic;
    return plug_send(call, &request.base);
}

CO static int handle(void *arg, struct pull_message *pulled, struct error *err)
{
    struct subscription *s = arg;
    const WIRE(PullMessagesResponse) *from = pulled->m;
    struct pubsub_message m = {
        .topic = from->topic_name[0] ? str_c(from->topic_name) : s->s.topic,
        .data = wire_slice(from->data),
        .content_type = str_c(from->content_type),
    };
    if (wire_kvs(from->metadata, from->n_metadata, pulled->arena, &m.metadata) < 0)
        return no_memory(err);
    return s->s.handle(s->s.arg, &m, err);
}

CO static int ack(void *arg, struct http_call *call, const struct pull_message *pulled, char *text)
{
    const WIRE(PullMessagesResponse) *from = pulled->m;
    WIRE(PullMessagesRequest) request = DAPR__PROTO__COMPONENTS__V1__PULL_MESSAGES_REQUEST__INIT;
    WIRE(AckError) error = DAPR__PROTO__COMPONENTS__V1__ACK_ERROR__INIT;
    request.ack_message_id = from->id;
    error.message = text;
    request.ack_error = text ? &error : NULL;
    return plug_send(call, &request.base);
}

CO static void pause_all(void *arg)
{
    struct subscription *s = arg;
    atomic_store(&s->broker->paused, true);
    tell(s->broker, PLUGIN_PATH("PubSub", "Pause"));
}

CO static void resume_all(struct broker *b)
{
    if (atomic_exchange(&b->paused, false))
        tell(b, PLUGIN_PATH("PubSub", "Resume"));
}

/* One message of a stream at a time, in the order in which they come. */
static const struct pull_ops pull_messages = {
    .path = { "/" PLUGIN_PACKAGE "PubSub/PullMessages",
              sizeof "/" PLUGIN_PACKAGE "PubSub/PullMessages" - 1 },
    .type = WIRE_TYPE(pull_messages_response),
    .parallel = 1,
    .first = say_topic,
    .handle = handle,
    .ack = ack,
    .pause = pause_all,
};

static void subscription_free(struct subscription *s)
{
    arena_done(&s->arena);
    mem_free(s);
}

static int copy_subscription(const struct pubsub_subscription *from, struct subscription *s)
{
    arena_init(&s->arena, SUBSCRIPTION_ARENA_MAX);
    s->s = *from;
    s->s.topic = arena_dup(&s->arena, from->topic);
    struct kv *kv = arena_alloc(&s->arena, from->metadata.n * sizeof *kv);
    if (!kv || !s->s.topic.p)
        return -EXHAUSTED;
    for (size_t i = 0; i < from->metadata.n; i++) {
        kv[i] = (struct kv){ arena_dup(&s->arena, from->metadata.v[i].key),
                             arena_dup(&s->arena, from->metadata.v[i].value) };
        if (!kv[i].key.p || !kv[i].value.p)
            return -EXHAUSTED;
    }
    s->s.metadata = (struct kvs){ kv, from->metadata.n };
    return 0;
}

CO static int broker_subscribe(void *self, const struct pubsub_subscription *from, void **ret_sub,
                               struct error *err)
{
    struct broker *b = self;
    if (!from->topic.n)
        return fail(err, INVALID, NULL, "the topic is empty: name the one to subscribe to");
    struct subscription *s = mem_zalloc(sizeof *s);
    if (!s)
        return no_memory(err);
    s->broker = b;
    resume_all(b);
    int r = copy_subscription(from, s);
    r = r < 0 ? no_memory(err) : pull_start(&b->plug, &pull_messages, s, &s->pull, err);
    if (r < 0) {
        subscription_free(s);
        return r;
    }
    atomic_fetch_add(&b->subscriptions, 1);
    *ret_sub = s;
    return 0;
}

/* Pausing stops the whole component: what is still subscribed goes on afterwards. */
CO static void broker_unsubscribe(void *self, void *sub)
{
    struct broker *b = self;
    struct subscription *s = sub;
    pull_stop(s->pull);
    subscription_free(s);
    if (atomic_fetch_sub(&b->subscriptions, 1) > 1)
        resume_all(b);
}

/* ---- life ---- */

static unsigned broker_features(void *self)
{
    struct broker *b = self;
    return atomic_load_explicit(&b->plug.features, memory_order_relaxed);
}

CO static int broker_open(void *self, const struct component_env *env, struct error *err)
{
    struct broker *b = self;
    return plug_open(&b->plug, CONTAINER_OF(env->type, struct plugin, pubsub.t), PART_PUBSUB,
                     features, env, err);
}

static void broker_close(void *self)
{
}

void plugin_pubsub_table(struct plugin *p)
{
    struct component_type t = p->pubsub.t;
    t.doc = "a message broker in a process of its own";
    t.size = sizeof(struct broker);
    t.features_of = broker_features;
    t.free_form = true;
    t.open = broker_open;
    t.close = broker_close;
    p->pubsub = (struct pubsub_ops){
        .t = t,
        .publish = broker_publish,
        .bulk_publish = broker_bulk_publish,
        .subscribe = broker_subscribe,
        .unsubscribe = broker_unsubscribe,
    };
}
