#include "block/app/channel_private.h"

#include "appcallback.pb-c.h"
#include "base/clock.h"
#include "base/id.h"
#include "block/app/app_rpc.h"
#include "block/app/topic_event.h"
#include "block/core/headers.h"
#include "block/core/proto.h"
#include "block/core/words.h"
#include "common.pb-c.h"
#include "format/uri.h"
#include "http/grpc.h"

/* What an app is told over gRPC: the services AppCallback, AppCallbackAlpha and
 * AppCallbackHealthCheck (facts 2.4, 3.3 and 5.2). */

#define APP_SERVICE "/dapr.proto.runtime.v1.AppCallback/"
#define ALPHA_SERVICE "/dapr.proto.runtime.v1.AppCallbackAlpha/"
#define HEALTH_SERVICE "/dapr.proto.runtime.v1.AppCallbackHealthCheck/"

enum { SCRATCH_MORE = 16 << 20 };
static const size_t MESSAGE_MAX = (size_t)1 << 30; /* where --max-body-size sets no limit */

typedef Dapr__Proto__Runtime__V1__StringEntry string_entry;
typedef Dapr__Proto__Runtime__V1__TopicEventRequest topic_request;
typedef Dapr__Proto__Runtime__V1__TopicEventResponse topic_response;
typedef Dapr__Proto__Runtime__V1__TopicEventCERequest bulk_event;
typedef Dapr__Proto__Runtime__V1__TopicEventBulkRequest bulk_request;
typedef Dapr__Proto__Runtime__V1__TopicEventBulkRequestEntry bulk_entry;
typedef Dapr__Proto__Runtime__V1__TopicEventBulkResponse bulk_response;
typedef Dapr__Proto__Runtime__V1__TopicSubscription topic_subscription;
typedef Dapr__Proto__Runtime__V1__ListTopicSubscriptionsResponse subscriptions_response;
typedef Dapr__Proto__Runtime__V1__ListInputBindingsResponse bindings_response;
typedef Dapr__Proto__Runtime__V1__BindingEventRequest binding_request;
typedef Dapr__Proto__Runtime__V1__BindingEventResponse binding_response;
typedef Dapr__Proto__Common__V1__InvokeRequest invoke_request;
typedef Dapr__Proto__Common__V1__InvokeResponse invoke_response;

static string_entry **entries(struct texts *t, struct kvs kvs, size_t *ret_n)
{
    string_entry **e = arena_alloc(t->a, kvs.n * sizeof(string_entry *));
    string_entry *v = arena_alloc(t->a, kvs.n * sizeof *v);
    *ret_n = e && v ? kvs.n : 0;
    t->failed = t->failed || !e || !v;
    for (size_t i = 0; i < *ret_n; i++) {
        dapr__proto__runtime__v1__string_entry__init(&v[i]);
        v[i].key = texts_put(t, kvs.v[i].key);
        v[i].value = texts_put(t, kvs.v[i].value);
        e[i] = &v[i];
    }
    return e;
}

/* ---- calls of services: OnInvoke ---- */

static size_t message_max(const struct app *a)
{
    return a->config.max_body_bytes ? a->config.max_body_bytes : MESSAGE_MAX;
}

CO static int read_body(struct http_exchange *x, size_t max, struct buf *out, struct error *err)
{
    str chunk;
    int r;
    buf_init(out, max);
    while ((r = http_read(x, &chunk)) > 0) {
        buf_put(out, chunk);
        if (!buf_ok(out))
            return fail(err, EXHAUSTED, NULL, "the request's body is larger than %zu bytes", max);
    }
    return r < 0 ? fail(err, (enum code) - r, NULL,
                        r == -RANGE ? "the request's body is over the limit of --max-body-size"
                                    : "the request's body could not be read")
                 : 0;
}

static Dapr__Proto__Common__V1__HTTPExtension__Verb verb_number(str verb)
{
    static const str verbs[] = { S(WORDS_NO_VERB), S("GET"),    S("HEAD"),    S("POST"),
                                 S("PUT"),         S("DELETE"), S("CONNECT"), S("OPTIONS"),
                                 S("TRACE"),       S("PATCH") };
    size_t at = 0;
    for (size_t i = 0; i < COUNT(verbs); i++)
        if (str_eq(verbs[i], verb))
            at = i;
    return (Dapr__Proto__Common__V1__HTTPExtension__Verb)at;
}

struct invocation { /* OnInvoke's message, in parts */
    invoke_request m;
    Google__Protobuf__Any any;
    Dapr__Proto__Common__V1__HTTPExtension extension;
};

static int fill_invocation(struct invocation *i, str verb, str target, str content_type,
                           str type_url, str body, struct arena *a)
{
    static const invoke_request request = DAPR__PROTO__COMMON__V1__INVOKE_REQUEST__INIT;
    static const Google__Protobuf__Any any = GOOGLE__PROTOBUF__ANY__INIT;
    static const Dapr__Proto__Common__V1__HTTPExtension extension =
        DAPR__PROTO__COMMON__V1__HTTPEXTENSION__INIT;
    struct texts t = { a, false };
    str path, query, method;
    *i = (struct invocation){ request, any, extension };
    (void)str_cut(target, '?', &path, &query);
    if (uri_decode(a, str_skip(path, 1), URI_PATH, &method) < 0)
        return -INVALID;
    i->m.method = texts_put(&t, method); /* it travels decoded; an empty one stays so (facts 9.2) */
    i->m.content_type = texts_put(&t, content_type);
    i->any.type_url = texts_put(&t, type_url);
    i->any.value = proto_bytes(body);
    i->m.data = &i->any;
    i->extension.verb = verb_number(verb);
    i->extension.querystring = texts_put(&t, query);
    i->m.http_extension = &i->extension;
    return t.failed ? -EXHAUSTED : 0;
}

static void tell_load(const struct app *app, const struct http_exchange *x, struct http_headers *h)
{
    if (http_headers_has(&x->req.headers, S(DIRECT_HEADER)))
        app_tell_load(app, h);
}

/* A failure: in the caller's words, so with the status in headers, or as HTTP with a JSON body. */
CO static int answer_failure(const struct app *app, struct http_exchange *x,
                             const struct app_rpc_answer *answer, bool marked, uint64_t start_ns,
                             struct arena *a, struct error *err)
{
    struct http_headers h;
    AUTO(buf_done) struct buf body;
    buf_init(&body, MIB(1));
    http_headers_init(&h, a);
    int r =
        marked ? app_rpc_metadata(&answer->headers, a, &h) : words_headers(&answer->headers, &h);
    if (r >= 0)
        r = marked ? words_put(&h, &answer->status, S("")) : words_json(&answer->status, a, &body);
    if (r >= 0 && !marked)
        r = http_headers_set(&h, S("Content-Type"), S("application/json"));
    if (r < 0)
        return app_rpc_no_memory(err);
    app_tell_retried(app, &x->req.headers, start_ns, &h);
    tell_load(app, x, &h);
    int status = code_http_status(answer->status.code);
    r = http_reply_start(x, status, &h, marked ? -1 : (int64_t)body.len);
    if (r >= 0 && body.len)
        r = http_reply_write(x, buf_str(&body));
    return r < 0 ? r : http_reply_end(x, marked ? &answer->trailers : NULL);
}

static int success_headers(const struct app_rpc_answer *answer, const invoke_response *m,
                           bool marked, struct arena *a, struct http_headers *h)
{
    str type = str_c(m->content_type);
    http_headers_init(h, a);
    int r = marked ? app_rpc_metadata(&answer->headers, a, h) : words_headers(&answer->headers, h);
    if (r >= 0 && type.n && http_is_field_value(type))
        r = http_headers_set(h, S("Content-Type"), type);
    return r < 0 || !marked
               ? r
               : words_put(h, &answer->status, m->data ? str_c(m->data->type_url) : S(""));
}

CO static int answer_success(const struct app *app, struct http_exchange *x,
                             const struct app_rpc_answer *answer, bool marked, struct arena *a,
                             struct error *err)
{
    const invoke_response *m =
        proto_unpack(&dapr__proto__common__v1__invoke_response__descriptor, answer->message, a);
    struct http_headers h;
    if (!m)
        return app_rpc_unreadable(err, "OnInvoke");
    if (success_headers(answer, m, marked, a, &h) < 0)
        return app_rpc_no_memory(err);
    tell_load(app, x, &h);
    str body = m->data ? proto_slice(m->data->value) : S("");
    if (!marked || !answer->trailers.n)
        return http_reply(x, 200, &h, body);
    int r = http_reply_start(x, 200, &h, -1);
    if (r >= 0 && body.n)
        r = http_reply_write(x, body);
    return r < 0 ? r : http_reply_end(x, &answer->trailers);
}

CO static int invoke_in(struct app *a, struct http_exchange *x, str target, str body,
                        struct arena *arena, struct error *err)
{
    struct invocation i;
    struct app_rpc c = { .path = S(APP_SERVICE "OnInvoke"), .max_answer = message_max(a) };
    const struct http_headers *h = &x->req.headers;
    bool marked = words_marked(h), reached;
    http_headers_init(&c.metadata, arena);
    int r = words_metadata(h, &c.metadata);
    if (r >= 0)
        r = fill_invocation(&i, x->req.method, target, http_headers_get(h, S("content-type")),
                            http_headers_get(h, S(WORDS_CALL)), body, arena);
    if (r < 0)
        return r == -INVALID ? fail(err, INVALID, NULL, "the method's path has a broken escape")
                             : app_rpc_no_memory(err);
    c.in = &i.m.base;
    struct app_rpc_answer answer;
    uint64_t start = clock_now_ns();
    r = app_rpc_exchange(a, &c, arena, &answer, &reached, err);
    if (r == -UNAVAILABLE && reached) /* UNAVAILABLE tells the caller that nothing was sent */
        return fail_as(err, INTERNAL, NULL, "error invoking app channel: the connection broke");
    if (r < 0)
        return r;
    app_rpc_count(&c, &answer, start);
    return answer.status.code ? answer_failure(a, x, &answer, marked, start, arena, err)
                              : answer_success(a, x, &answer, marked, arena, err);
}

CO static int grpc_invoke(struct app *a, struct admit_place *place, struct http_exchange *x,
                          str target, struct error *err)
{
    AUTO(buf_done) struct buf body;
    AUTO(arena_done) struct arena scratch;
    arena_init(&scratch, 4 * message_max(a) + SCRATCH_MORE); /* packed, received, unpacked */
    int r = read_body(x, message_max(a), &body, err);
    return r < 0 ? r : invoke_in(a, x, target, buf_str(&body), &scratch, err);
}

/* ---- messages ---- */

/* Metadata of a message or an event, its trace and one more of ours, as metadata of the call. */
static int tell_metadata(struct kvs metadata, const struct trace_context *trace, struct kv more,
                         struct arena *a, struct http_headers *ret)
{
    struct http_headers h;
    int r = 0;
    http_headers_init(&h, a);
    http_headers_init(ret, a);
    for (size_t i = 0; i < metadata.n && r >= 0; i++)
        if (!str_ends(metadata.v[i].key, S("-bin")))
            r = http_headers_add(&h, metadata.v[i].key, metadata.v[i].value);
    if (r >= 0 && more.key.n)
        r = http_headers_set(&h, more.key, more.value);
    if (r >= 0 && trace->parent[0])
        r = http_headers_set(&h, S("traceparent"), str_c(trace->parent));
    if (r >= 0 && trace->parent[0] && trace->state.n)
        r = http_headers_set(&h, S("tracestate"), trace->state);
    return r < 0 ? r : words_metadata(&h, ret);
}

CO static int grpc_event(struct app *a, const struct app_event *e, struct arena *arena,
                         enum event_verdict *ret, int *ret_http, struct error *err)
{
    topic_request m;
    struct app_rpc_answer answer;
    struct app_rpc c = { .path = S(APP_SERVICE "OnTopicEvent"), .in = &m.base };
    int r = topic_event_fill(e, arena, &m, err);
    struct kv pubsub = { S("pubsubName"), e->pubsub };
    if (r >= 0 && tell_metadata(e->m->metadata, &e->trace, pubsub, arena, &c.metadata) < 0)
        r = app_rpc_no_memory(err);
    if (r >= 0)
        r = app_rpc_ask(a, &c, arena, &answer, err);
    if (r < 0)
        return r;
    if (answer.status.code == UNIMPLEMENTED) { /* surprise 28 */
        *ret = EVENT_IGNORED;
        return 0;
    }
    if (answer.status.code)
        return app_rpc_refused(&answer, err,
                               "error returned from app while processing pub/sub event");
    const topic_response *v = proto_unpack(
        &dapr__proto__runtime__v1__topic_event_response__descriptor, answer.message, arena);
    return v ? topic_event_verdict((int)v->status, e->ce->id, ret, err)
             : app_rpc_unreadable(err, "OnTopicEvent");
}

/* ---- bulks ---- */

static int fill_bulk_event(struct texts *t, const struct cloudevent *ce, bulk_event *m)
{
    str data;
    dapr__proto__runtime__v1__topic_event_cerequest__init(m);
    if (cloudevent_data(ce, t->a, &data) < 0)
        return -INVALID;
    m->id = texts_put(t, ce->id);
    m->source = texts_put(t, ce->source);
    m->type = texts_put(t, ce->type);
    m->spec_version = texts_put(t, ce->specversion);
    m->data_content_type = texts_put(t, ce->datacontenttype);
    m->data = proto_bytes(data);
    return topic_event_extensions(ce, t->a, &m->extensions);
}

static int fill_bulk_entry(struct texts *t, bool raw, const struct app_bulk_entry *from,
                           bulk_entry *m, bulk_event *event)
{
    str type = from->m->content_type;
    dapr__proto__runtime__v1__topic_event_bulk_request_entry__init(m);
    m->entry_id = texts_put(t, from->id);
    if (!type.n)
        type = raw ? S("application/octet-stream") : S("application/cloudevents+json");
    m->content_type = texts_put(t, type);
    m->metadata = entries(t, from->m->metadata, &m->n_metadata);
    m->event_case =
        raw ? DAPR__PROTO__RUNTIME__V1__TOPIC_EVENT_BULK_REQUEST_ENTRY__EVENT_BYTES
            : DAPR__PROTO__RUNTIME__V1__TOPIC_EVENT_BULK_REQUEST_ENTRY__EVENT_CLOUD_EVENT;
    if (raw) {
        m->bytes = proto_bytes(from->m->data);
        return 0;
    }
    m->cloud_event = event;
    return fill_bulk_event(t, from->ce, event);
}

static int fill_bulk(const struct app_bulk *b, struct arena *a, bulk_request *m)
{
    struct texts t = { a, false };
    struct kv pubsub = { S("pubsubName"), b->pubsub };
    char id[UUID_LEN];
    id_uuid4(id);
    dapr__proto__runtime__v1__topic_event_bulk_request__init(m);
    m->id = texts_put(&t, str_of(id, UUID_LEN));
    m->topic = texts_put(&t, b->topic);
    m->pubsub_name = texts_put(&t, b->pubsub);
    m->type = "com.dapr.event.sent.bulk";
    m->path = texts_put(&t, b->path);
    m->metadata = entries(&t, (struct kvs){ &pubsub, 1 }, &m->n_metadata);
    bulk_entry *entry = arena_alloc(a, b->n * sizeof *entry);
    bulk_event *event = arena_alloc(a, b->n * sizeof *event);
    m->entries = arena_alloc(a, b->n * sizeof(bulk_entry *));
    if (!entry || !event || !m->entries)
        return -EXHAUSTED;
    for (size_t i = 0; i < b->n; i++) {
        int r = fill_bulk_entry(&t, b->raw, &b->entry[i], &entry[i], &event[i]);
        if (r < 0)
            return r;
        m->entries[m->n_entries++] = &entry[i];
    }
    return t.failed ? -EXHAUSTED : 0;
}

/* A missing status, or a missing entry, is a retry. */
int grpc_read_statuses(struct app_bulk *b, str message, struct arena *a)
{
    const bulk_response *v =
        proto_unpack(&dapr__proto__runtime__v1__topic_event_bulk_response__descriptor, message, a);
    if (!v)
        return -INVALID;
    for (size_t i = 0; i < b->n; i++)
        b->entry[i].verdict = EVENT_RETRY;
    for (size_t k = 0; k < v->n_statuses; k++) {
        enum event_verdict verdict = EVENT_RETRY;
        if (topic_event_verdict((int)v->statuses[k]->status, S(""), &verdict, NULL) < 0)
            continue;
        for (size_t i = 0; i < b->n; i++)
            if (str_eq(b->entry[i].id, str_c(v->statuses[k]->entry_id)))
                b->entry[i].verdict = verdict;
    }
    return 0;
}

CO static int grpc_bulk(struct app *a, struct app_bulk *b, struct arena *arena, int *ret_http,
                        struct error *err)
{
    static const str method[] = { S(APP_SERVICE "OnBulkTopicEvent"),
                                  S(ALPHA_SERVICE "OnBulkTopicEventAlpha1") };
    bulk_request m;
    struct app_rpc_answer answer = { .status.code = UNIMPLEMENTED };
    int r = fill_bulk(b, arena, &m);
    if (r < 0)
        return r == -INVALID ? fail(err, INVALID, NULL, "an event's data_base64 isn't base64")
                             : app_rpc_no_memory(err);
    for (size_t i = 0; i < COUNT(method) && answer.status.code == UNIMPLEMENTED; i++) {
        struct app_rpc c = { .path = method[i], .in = &m.base };
        http_headers_init(&c.metadata, arena);
        r = http_headers_add(&c.metadata, S("pubsubname"), b->pubsub) < 0
                ? app_rpc_no_memory(err)
                : app_rpc_ask(a, &c, arena, &answer, err);
        if (r < 0)
            return r;
    }
    for (size_t i = 0; i < b->n && answer.status.code == UNIMPLEMENTED; i++)
        b->entry[i].verdict = EVENT_IGNORED; /* as a single one: surprise 28 */
    if (answer.status.code == UNIMPLEMENTED)
        return 0;
    if (answer.status.code)
        return app_rpc_refused(&answer, err, "error returned from app while processing bulk event");
    return grpc_read_statuses(b, answer.message, arena) < 0
               ? app_rpc_unreadable(err, "OnBulkTopicEvent")
               : 0;
}

/* ---- what it subscribes to ---- */

static int read_metadata(string_entry *const *v, size_t n, struct arena *a, struct kvs *ret)
{
    struct kv *kv = arena_alloc(a, n * sizeof *kv);
    if (!kv)
        return -EXHAUSTED;
    for (size_t i = 0; i < n; i++)
        kv[i] = (struct kv){ str_c(v[i]->key), str_c(v[i]->value) };
    *ret = (struct kvs){ kv, n };
    return 0;
}

/* Without routes there is one rule, with path "": surprise 30. */
static int read_subscription(const topic_subscription *m, struct arena *a,
                             struct app_subscription *s)
{
    const Dapr__Proto__Runtime__V1__TopicRoutes *routes = m->routes;
    size_t n = routes ? routes->n_rules : 0;
    *s = (struct app_subscription){
        .pubsub = str_c(m->pubsub_name),
        .topic = str_c(m->topic),
        .dead_letter = str_c(m->dead_letter_topic),
        .rules = arena_zalloc(a, (n + 1) * sizeof *s->rules),
    };
    if (!s->rules || read_metadata(m->metadata, m->n_metadata, a, &s->metadata) < 0)
        return -EXHAUSTED;
    for (size_t i = 0; i < n; i++)
        s->rules[s->n_rules++] = (struct route_rule){ .match = str_c(routes->rules[i]->match),
                                                      .path = str_c(routes->rules[i]->path) };
    str path = routes ? str_c(routes->default_path) : S("");
    if (path.n || !n)
        s->rules[s->n_rules++] = (struct route_rule){ .path = path };
    if (m->bulk_subscribe) {
        s->bulk = m->bulk_subscribe->enabled;
        s->bulk_max = m->bulk_subscribe->max_messages_count;
        s->bulk_await_ms = m->bulk_subscribe->max_await_duration_ms;
    }
    return 0;
}

int grpc_read_subscriptions(str message, struct arena *a, struct app_subscriptions *ret)
{
    const subscriptions_response *m = proto_unpack(
        &dapr__proto__runtime__v1__list_topic_subscriptions_response__descriptor, message, a);
    *ret = (struct app_subscriptions){ 0 };
    if (!m) {
        ret->refused = "the app's answer to ListTopicSubscriptions is no list of subscriptions";
        return 0;
    }
    ret->v = arena_zalloc(a, m->n_subscriptions * sizeof *ret->v);
    for (size_t i = 0; ret->v && i < m->n_subscriptions; i++)
        if (read_subscription(m->subscriptions[i], a, &ret->v[ret->n++]) < 0)
            return -EXHAUSTED;
    return ret->v ? 0 : -EXHAUSTED;
}

CO static int grpc_subscriptions(struct app *a, struct arena *arena, struct app_subscriptions *ret,
                                 struct error *err)
{
    struct app_rpc c = { .path = S(APP_SERVICE "ListTopicSubscriptions") };
    struct app_rpc_answer answer;
    *ret = (struct app_subscriptions){ 0 };
    int r = app_rpc_ask(a, &c, arena, &answer, err);
    if (r < 0 || answer.status.code == UNIMPLEMENTED)
        return r < 0 ? r : 0;
    if (answer.status.code)
        return app_rpc_refused(&answer, err, "ListTopicSubscriptions");
    return grpc_read_subscriptions(answer.message, arena, ret) < 0 ? app_rpc_no_memory(err) : 0;
}

/* ---- bindings ---- */

/* The names that the app wants events of; asked once, on the worker that starts bindings. */
CO static int list_bindings(struct app *a, struct error *err)
{
    struct app_bindings *list = &a->bindings;
    struct app_rpc c = { .path = S(APP_SERVICE "ListInputBindings") };
    struct app_rpc_answer answer;
    arena_done(&list->arena);
    *list = (struct app_bindings){ 0 };
    arena_init(&list->arena, 4 * CHANNEL_ANSWER_MAX);
    int r = app_rpc_ask(a, &c, &list->arena, &answer, err);
    if (r < 0)
        return r;
    list->known = !answer.status.code || answer.status.code == UNIMPLEMENTED;
    const bindings_response *m =
        answer.status.code
            ? NULL
            : proto_unpack(&dapr__proto__runtime__v1__list_input_bindings_response__descriptor,
                           answer.message, &list->arena);
    if (m) {
        list->v = m->bindings;
        list->n = m->n_bindings;
    }
    return 0;
}

CO static bool grpc_wants_binding(struct app *a, str name, str path)
{
    struct error err = { 0 };
    if (!a->bindings.known && list_bindings(a, &err) < 0)
        return false;
    for (size_t i = 0; i < a->bindings.n; i++)
        if (str_eq(str_c(a->bindings.v[i]), name))
            return true;
    return false;
}

static int read_states(const binding_response *m, struct arena *a, struct app_binding_answer *ret)
{
    ret->state = arena_zalloc(a, m->n_states * sizeof *ret->state);
    if (!ret->state)
        return -EXHAUSTED;
    for (size_t i = 0; i < m->n_states; i++) {
        const Dapr__Proto__Common__V1__StateItem *from = m->states[i];
        struct state_write *w = &ret->state[ret->n_states++];
        w->key = str_c(from->key);
        w->value = proto_slice(from->value);
        w->etag = from->etag ? str_c(from->etag->value) : S("");
        if (from->options) {
            w->concurrency = (enum state_concurrency)from->options->concurrency;
            w->consistency = (enum state_consistency)from->options->consistency;
        }
        if (read_metadata(from->metadata, from->n_metadata, a, &w->metadata) < 0)
            return -EXHAUSTED;
    }
    return 0;
}

int grpc_read_binding(str message, struct arena *a, struct app_binding_answer *ret)
{
    const binding_response *m =
        proto_unpack(&dapr__proto__runtime__v1__binding_event_response__descriptor, message, a);
    if (!m)
        return -INVALID;
    ret->data = proto_slice(m->data);
    ret->store = str_c(m->store_name);
    ret->parallel =
        m->concurrency ==
        DAPR__PROTO__RUNTIME__V1__BINDING_EVENT_RESPONSE__BINDING_EVENT_CONCURRENCY__PARALLEL;
    ret->to = arena_alloc(a, m->n_to * sizeof *ret->to);
    if (!ret->to)
        return -EXHAUSTED;
    for (size_t i = 0; i < m->n_to; i++)
        ret->to[ret->n_to++] = str_c(m->to[i]);
    return read_states(m, a, ret);
}

CO static int grpc_binding(struct app *a, const struct app_binding_event *e, struct arena *arena,
                           struct app_binding_answer *ret, int *ret_http, struct error *err)
{
    struct texts t = { arena, false };
    binding_request m = DAPR__PROTO__RUNTIME__V1__BINDING_EVENT_REQUEST__INIT;
    struct app_rpc c = { .path = S(APP_SERVICE "OnBindingEvent"), .in = &m.base };
    struct app_rpc_answer answer;
    *ret = (struct app_binding_answer){ 0 };
    m.name = texts_put(&t, e->name);
    m.data = proto_bytes(e->e->data);
    m.metadata = entries(&t, e->e->metadata, &m.n_metadata);
    struct kv none = { 0 };
    if (t.failed || tell_metadata((struct kvs){ 0 }, &e->trace, none, arena, &c.metadata) < 0)
        return app_rpc_no_memory(err);
    int r = app_rpc_ask(a, &c, arena, &answer, err);
    if (r < 0)
        return r;
    if (answer.status.code)
        return app_rpc_refused(&answer, err, "error invoking app");
    r = grpc_read_binding(answer.message, arena, ret);
    return r == -EXHAUSTED ? app_rpc_no_memory(err)
           : r < 0         ? app_rpc_unreadable(err, "OnBindingEvent")
                           : 0;
}

/* ---- configuration, life ---- */

CO static int grpc_configuration(struct app *a, str store, str key, str body, struct arena *arena,
                                 int *ret_http, struct error *err)
{
    struct invocation i;
    struct app_rpc c = { .path = S(APP_SERVICE "OnInvoke"), .in = &i.m.base };
    struct app_rpc_answer answer = { 0 };
    struct texts t = { arena, false };
    str part[] = { S("configuration/"), store, S("/"), key };
    str method = arena_join(arena, part, COUNT(part));
    if (!method.p ||
        fill_invocation(&i, S("POST"), S("/"), S("application/json"), S(""), body, arena) < 0)
        return app_rpc_no_memory(err);
    i.m.method = texts_put(&t, method);
    int r = t.failed ? app_rpc_no_memory(err) : app_rpc_ask(a, &c, arena, &answer, err);
    if (r < 0 || !answer.status.code)
        return r;
    return app_rpc_refused(&answer, err, "the app refused a configuration update");
}

CO static int grpc_probe(struct app *a, str path, struct error *err)
{
    struct app_rpc c = { .path = S(HEALTH_SERVICE "HealthCheck"), .probe = true };
    struct app_rpc_answer answer;
    AUTO(arena_done) struct arena arena;
    arena_init(&arena, 2 * CHANNEL_ANSWER_MAX);
    int r = app_rpc_ask(a, &c, &arena, &answer, err);
    if (r < 0 || !answer.status.code)
        return r;
    return app_rpc_refused(&answer, err, "HealthCheck");
}

const struct channel channel_grpc = {
    .invoke = grpc_invoke,
    .event = grpc_event,
    .bulk = grpc_bulk,
    .subscriptions = grpc_subscriptions,
    .wants_binding = grpc_wants_binding,
    .binding = grpc_binding,
    .configuration = grpc_configuration,
    .probe = grpc_probe,
    .config = NULL, /* surprise 57 */
};
