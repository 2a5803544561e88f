#include "block/publish.h"

#include "base/clock.h"
#include "base/id.h"
#include "base/map.h"
#include "base/mem.h"
#include "block/core/observe.h"
#include "block/core/operation.h"
#include "block/core/parallel.h"
#include "block/streaming.h"
#include "format/cloudevent.h"
#include "format/duration.h"

enum { BULK_PARALLEL = 100, ENVELOPE_MAX = 256 << 20, ENVELOPE_EXTRA = 600 };

static const struct pubsub_ops *ops(const struct instance *i)
{
    return CONTAINER_OF(i->type, struct pubsub_ops, t);
}

int publish_attach(struct blocks *b, struct instance *i, bool namespaced, struct error *err)
{
    struct broker *k = arena_zalloc(&i->arena, sizeof *k);
    if (!k ||
        topics_parse(i->metadata, b->app_id, b->namespace_, namespaced, &i->arena, &k->topics) < 0)
        return fail(err, EXHAUSTED, NULL, "out of memory");
    operation_attach(b, i, "Pubsub");
    list_init(&k->hubs);
    i->extra = k;
    i->extra_stop = streamings_end;
    return 0;
}

/* Every refusal of the contract has a tag, a reason and, mostly, the resource it's about. */
static int refuse(struct error *err, int r, const char *reason, str pubsub)
{
    fail_reason(err, reason, pubsub.n ? "pubsub" : NULL, pubsub);
    return r;
}

int block_publish_check(struct blocks *b, str pubsub, str topic, struct instance **ret,
                        struct error *err)
{
    if (!catalog_count(b, KIND_PUBSUB))
        return refuse(
            err, fail(err, PRECONDITION, "ERR_PUBSUB_NOT_CONFIGURED", "pubsub is not configured"),
            "DAPR_PUBSUB_NOT_CONFIGURED", S(""));
    if (!pubsub.n)
        return refuse(err, fail(err, INVALID, "ERR_PUBSUB_EMPTY", "pubsub name is empty"),
                      "DAPR_PUBSUB_NAME_EMPTY", S(""));
    struct instance *i = catalog_get(b, KIND_PUBSUB, pubsub);
    if (!i)
        return refuse(err,
                      fail(err, INVALID, "ERR_PUBSUB_NOT_FOUND", "pubsub " STR_FMT " not found",
                           STR_ARG(pubsub)),
                      "DAPR_PUBSUB_NOT_FOUND", S(""));
    if (!topic.n)
        return refuse(err,
                      fail(err, INVALID, "ERR_TOPIC_NAME_EMPTY",
                           "topic is empty in pubsub " STR_FMT, STR_ARG(pubsub)),
                      "DAPR_PUBSUB_TOPIC_NAME_EMPTY", pubsub);
    const struct broker *k = i->extra;
    if (!topics_may_publish(&k->topics, topic)) {
        int r = refuse(err,
                       fail(err, DENIED, "ERR_PUBSUB_FORBIDDEN",
                            "topic " STR_FMT " is not allowed for app id %s", STR_ARG(topic),
                            b->app_id),
                       "DAPR_PUBSUB_FORBIDDEN", pubsub);
        fail_meta(err, "topic", topic);
        return r;
    }
    *ret = i;
    return 0;
}

/* ---- the envelope ---- */

/* Local time changes once a second: formatting it costs more than the rest of an envelope. */
static str time_text(void)
{
    static _Thread_local uint64_t second;
    static _Thread_local char text[RFC3339_MAX];
    static _Thread_local size_t len;
    uint64_t now = clock_wall_ns();
    if (now / SEC(1) != second) {
        second = now / SEC(1);
        len = clock_rfc3339(now, true, 0, text);
    }
    return str_of(text, len);
}

static int expiration(struct kvs metadata, struct arena *a, str *ret)
{
    str ttl = kvs_get(metadata, S("ttlInSeconds"));
    if (!ttl.p)
        ttl = kvs_get(metadata, S("ttl"));
    int64_t ns;
    if (!ttl.n || !duration_parse_bare(ttl, (int64_t)SEC(1), &ns) || ns <= 0)
        return 0;
    char text[RFC3339_MAX];
    size_t n = clock_rfc3339(clock_wall_ns() + (uint64_t)ns, false, 0, text);
    *ret = arena_dup(a, str_of(text, n));
    return ret->p ? 0 : -EXHAUSTED;
}

/* "cloudevent.<field>" of the request's metadata overrides that field. */
static void override(struct cloudevent_fields *f, struct kvs metadata)
{
    const struct {
        str name;
        str *field;
    } rows[] = {
        { S("cloudevent.id"), &f->id },
        { S("cloudevent.source"), &f->source },
        { S("cloudevent.type"), &f->type },
        { S("cloudevent.subject"), &f->subject },
        { S("cloudevent.traceid"), &f->traceid },
        { S("cloudevent.traceparent"), &f->traceparent },
        { S("cloudevent.tracestate"), &f->tracestate },
    };
    for (size_t m = 0; m < metadata.n; m++)
        for (size_t i = 0; str_istarts(metadata.v[m].key, S("cloudevent.")) && i < COUNT(rows); i++)
            if (str_ieq(metadata.v[m].key, rows[i].name))
                *rows[i].field = metadata.v[m].value;
}

static bool engine_has_ttl(const struct instance *i)
{
    return instance_features(i) & PUBSUB_TTL;
}

str publish_trace_parent(const struct blocks *b, const struct trace_context *t)
{
    return t->parent[0] || !b->trace_zero
               ? str_c(t->parent)
               : S("00-00000000000000000000000000000000-0000000000000000-00");
}

static int envelope(struct blocks *b, struct instance *i, const struct publish_request *p,
                    struct arena *a, struct buf *out, struct error *err)
{
    char id[UUID_LEN];
    id_uuid4(id);
    str parent = publish_trace_parent(b, &p->trace);
    struct cloudevent_fields f = {
        .id = str_of(id, UUID_LEN),
        .source = str_c(b->app_id),
        .time = time_text(),
        .datacontenttype = p->content_type,
        .topic = p->topic,
        .pubsubname = p->pubsub,
        .traceid = parent, /* the whole traceparent, as the contract has it (facts 11.8) */
        .traceparent = parent,
        .tracestate = p->trace.state,
        .data = p->data,
    };
    struct error cause = { 0 };
    int r = engine_has_ttl(i) ? 0 : expiration(p->metadata, a, &f.expiration);
    if (r >= 0 && cloudevent_type_is_event(p->content_type)) {
        f.id = f.source = (str){ 0 };
        f.id = str_of(id, UUID_LEN);
        r = cloudevent_wrap(p->data, &f, a, out, &cause);
        if (r == -INVALID) {
            fail_as(err, INVALID, "ERR_PUBSUB_CLOUD_EVENTS_SER", "cannot create cloudevent");
            fail_reason(err, "DAPR_PUBSUB_CLOUD_EVENT_CREATION", "pubsub", p->pubsub);
            return r;
        }
    } else if (r >= 0) {
        override(&f, p->metadata);
        r = cloudevent_build(&f, out);
    }
    if (r < 0)
        return refuse(err,
                      fail(err, EXHAUSTED, "ERR_PUBSUB_CLOUD_EVENTS_SER", "%s",
                           cause.code ? cause.text : "the event doesn't fit into memory"),
                      "DAPR_PUBSUB_MARSHAL_ENVELOPE", p->pubsub);
    return 0;
}

static int is_raw(const struct publish_request *p, bool *ret, struct error *err)
{
    str raw = kvs_get(p->metadata, S("rawPayload"));
    *ret = false;
    if (!raw.n || str_to_bool(raw, ret))
        return 0;
    return refuse(err,
                  fail(err, INVALID, "ERR_PUBSUB_REQUEST_METADATA",
                       "failed deserializing metadata. Error: rawPayload is \"" STR_FMT
                       "\", not a boolean: send true or false",
                       STR_ARG(str_take(raw, 64))),
                  "DAPR_PUBSUB_METADATA_DESERIALIZATION", p->pubsub);
}

/* The name at the broker. */
static str broker_topic(const struct broker *k, str topic, struct arena *a)
{
    str part[] = { k->topics.prefix, topic };
    return k->topics.prefix.n ? arena_join(a, part, 2) : topic;
}

/* ---- one message ---- */

struct publish_call {
    struct instance *instance;
    const struct pubsub_message *m;
};

CO static int try_publish(void *arg, struct guard_attempt *attempt, struct error *err)
{
    struct publish_call *c = arg;
    return ops(c->instance)->publish(c->instance->self, c->m, err);
}

CO int block_publish_raw(struct blocks *b, struct instance *pubsub, const struct pubsub_message *m,
                         struct error *err)
{
    struct publish_call call = { pubsub, m };
    uint64_t start = clock_now_ns();
    int r = operation_run(pubsub, "publish", try_publish, &call, err);
    observe_egress(b, str_c(pubsub->name), m->topic, start, r >= 0);
    return r;
}

CO int block_publish(struct blocks *b, const struct publish_request *p, struct arena *a,
                     struct error *err)
{
    struct instance *i;
    bool raw;
    int r = block_publish_check(b, p->pubsub, p->topic, &i, err);
    if (r >= 0)
        r = is_raw(p, &raw, err);
    if (r < 0)
        return r;
    const struct broker *k = i->extra;
    AUTO(buf_done) struct buf out;
    buf_init(&out, ENVELOPE_MAX);
    if (!raw && !buf_reserve(&out, p->data.n + ENVELOPE_EXTRA)) /* once, instead of growing */
        return fail(err, EXHAUSTED, NULL, "the event doesn't fit into memory");
    r = raw ? 0 : envelope(b, i, p, a, &out, err);
    if (r < 0)
        return r;
    struct pubsub_message m = {
        .topic = broker_topic(k, p->topic, a),
        .data = raw ? p->data : buf_str(&out),
        .content_type = raw ? p->content_type : S("application/cloudevents+json"),
        .metadata = p->metadata,
    };
    struct error cause = { 0 };
    if (!m.topic.p)
        return fail(err, EXHAUSTED, NULL, "the event doesn't fit into memory");
    r = block_publish_raw(b, i, &m, &cause);
    if (r < 0) {
        fail(err, INTERNAL, "ERR_PUBSUB_PUBLISH_MESSAGE",
             "error when publishing to topic " STR_FMT " in pubsub " STR_FMT ": %s",
             STR_ARG(p->topic), STR_ARG(p->pubsub), cause.text);
        fail_reason(err, "DAPR_PUBSUB_PUBLISH_MESSAGE", "pubsub", p->pubsub);
        fail_meta(err, "topic", p->topic);
        fail_meta(err, "error", str_c(cause.text));
        return -INTERNAL;
    }
    return 0;
}

/* ---- many ---- */

struct bulk_call {
    struct blocks *b;
    struct instance *instance;
    struct pubsub_message *m;
    size_t n;
};

CO static void publish_one(void *arg, size_t i)
{
    struct bulk_call *c = arg;
    struct publish_call call = { c->instance, &c->m[i] };
    if (!c->m[i].err.code)
        (void)operation_run(c->instance, "publish", try_publish, &call, &c->m[i].err);
}

CO static int try_bulk(void *arg, struct guard_attempt *attempt, struct error *err)
{
    struct bulk_call *c = arg;
    for (size_t i = 0; i < c->n; i++)
        c->m[i].err = (struct error){ 0 };
    return ops(c->instance)->bulk_publish(c->instance->self, c->m, c->n, err);
}

static int bulk_envelopes(struct blocks *b, struct instance *i,
                          const struct publish_request *common, const struct publish_entry *e,
                          size_t n, struct arena *a, struct buf *out, struct pubsub_message *m,
                          struct error *err)
{
    const struct broker *k = i->extra;
    for (size_t at = 0; at < n; at++) {
        struct publish_request p = *common;
        p.data = e[at].data;
        p.content_type = e[at].content_type;
        p.metadata = e[at].metadata;
        bool raw;
        int r = is_raw(&p, &raw, err);
        buf_clear(out);
        if (r >= 0 && !raw)
            r = envelope(b, i, &p, a, out, err);
        if (r < 0)
            return r;
        m[at] = (struct pubsub_message){
            .topic = broker_topic(k, p.topic, a),
            .data = raw ? p.data : arena_dup(a, buf_str(out)),
            .content_type = raw ? p.content_type : S("application/cloudevents+json"),
            .metadata = p.metadata,
            .entry_id = e[at].id,
        };
        if ((!m[at].data.p && !raw) || !m[at].topic.p)
            return fail(err, EXHAUSTED, NULL, "the bulk publish is too large for its memory");
    }
    return 0;
}

static int refuse_entry(const struct publish_request *common, const char *why, struct error *err)
{
    return refuse(err,
                  fail(err, INVALID, "ERR_PUBSUB_EVENTS_SER",
                       "error marshaling events to bytes for topic " STR_FMT " pubsub " STR_FMT
                       ": %s",
                       STR_ARG(common->topic), STR_ARG(common->pubsub), why),
                  "DAPR_PUBSUB_MARSHAL_EVENTS", common->pubsub);
}

int block_publish_check_entries(const struct publish_request *common, const struct publish_entry *e,
                                size_t n, struct error *err)
{
    struct map seen;
    map_init(&seen, n + 1);
    int r = 0;
    for (size_t i = 0; i < n && r >= 0; i++) {
        if (!e[i].id.n)
            r = refuse_entry(common, "entryId is empty or not given", err);
        else if (map_has(&seen, e[i].id))
            r = refuse_entry(common, "entryId is duplicated", err);
        else if (map_put(&seen, e[i].id, &seen, NULL) < 0)
            r = fail(err, EXHAUSTED, NULL, "out of memory");
    }
    map_done(&seen);
    return r;
}

CO int block_publish_bulk(struct blocks *b, const struct publish_request *common,
                          struct publish_entry *entries, size_t n, struct arena *a,
                          struct error *err)
{
    struct instance *i;
    int r = block_publish_check(b, common->pubsub, common->topic, &i, err);
    if (r < 0 || !n)
        return r;
    struct pubsub_message *m = arena_zalloc(a, n * sizeof *m);
    if (!m)
        return fail(err, EXHAUSTED, NULL, "the bulk publish is too large for its memory");
    AUTO(buf_done) struct buf out;
    buf_init(&out, ENVELOPE_MAX);
    r = bulk_envelopes(b, i, common, entries, n, a, &out, m, err);
    if (r < 0)
        return r;
    struct bulk_call call = { b, i, m, n };
    uint64_t start = clock_now_ns();
    struct error cause = { 0 };
    bool whole = false;
    if (ops(i)->bulk_publish && instance_features(i) & PUBSUB_BULK_PUBLISH)
        whole = operation_run(i, "publish", try_bulk, &call, &cause) < 0;
    else
        parallel_for(n, BULK_PARALLEL, publish_one, &call);
    size_t failed = 0;
    for (size_t at = 0; at < n; at++) {
        if (whole && !m[at].err.code)
            m[at].err = cause;
        entries[at].err = m[at].err;
        failed += m[at].err.code != OK;
    }
    observe_egress_bulk(b, common->pubsub, common->topic, start, !failed);
    if (!failed)
        return 0;
    fail(err, INTERNAL, "ERR_PUBSUB_PUBLISH_MESSAGE",
         "error when publishing to topic " STR_FMT " in pubsub " STR_FMT
         ": %zu of %zu messages failed",
         STR_ARG(common->topic), STR_ARG(common->pubsub), failed, n);
    fail_reason(err, "DAPR_PUBSUB_PUBLISH_MESSAGE", "pubsub", common->pubsub);
    return -INTERNAL;
}
