#include "block/app/channel_private.h"

#include "base/clock.h"
#include "base/id.h"
#include "block/core/headers.h"
#include "block/core/pipeline.h"
#include "block/core/relay.h"
#include "block/core/words.h"
#include "http/memory.h"
#include "telemetry/http_labels.h"
#include "telemetry/metrics.h"

#include <stdio.h>

/* What an app is told over HTTP: facts 2.4, 2.7, 2.9 and 5.1. */

enum { EVENT_ANSWER_MAX = 1 << 20, BULK_MAX = 256 << 20 };

static struct metric_family client_count = {
    .name = "dapr_http_client_completed_count",
    .help = "Calls to the app that were answered.",
    .label = { "method", "path", "status" },
};
static struct metric_family client_latency = {
    .name = "dapr_http_client_roundtrip_latency",
    .help = "Time of a call to the app, ms.",
    .kind = METRIC_HISTOGRAM,
    .buckets = &metric_latency_ms,
    .label = { "method", "path", "status" },
};
static struct metric_family client_sent = {
    .name = "dapr_http_client_sent_bytes",
    .help = "Size of the bodies sent to the app.",
    .kind = METRIC_HISTOGRAM,
    .buckets = &metric_size_bytes,
    .label = { "method", "path", "status" },
};
static struct metric_family client_received = {
    .name = "dapr_http_client_received_bytes",
    .help = "Size of the bodies that the app answered with.",
    .kind = METRIC_HISTOGRAM,
    .buckets = &metric_size_bytes,
};
static struct metric_family probe_count = {
    .name = "dapr_http_healthprobes_completed_count",
    .help = "Health probes that were answered.",
    .label = { "status" },
};
static struct metric_family probe_latency = {
    .name = "dapr_http_healthprobes_roundtrip_latency",
    .help = "Time of a health probe, ms.",
    .kind = METRIC_HISTOGRAM,
    .buckets = &metric_latency_ms,
    .label = { "status" },
};

/* ---- one call whose answer is gathered ---- */

struct app_call {
    const char *verb;
    str path; /* "/orders"; escaped as on the wire */
    struct kvs headers;
    str content_type, body;
    size_t max_answer; /* bytes, more is -RANGE; 0 = CHANNEL_ANSWER_MAX */
    bool probe;        /* health probe: no token, no concurrency slot (surprise 54) */
};
struct app_answer {
    int status;
    str body, content_type;
};

static size_t max_answer(const struct app_call *call)
{
    return call->max_answer ? call->max_answer : CHANNEL_ANSWER_MAX;
}

static void count_probe(int status, uint64_t start_ns)
{
    char text[3];
    str label[] = { http_status_text(status, text) };
    metric_add(metric_cell(&probe_count, label), 1);
    metric_observe(&probe_latency, metric_cell(&probe_latency, label),
                   (double)(clock_now_ns() - start_ns) / 1e6);
}

struct traffic { /* bytes of bodies */
    uint64_t sent, received;
};

static void count_call(str verb, str path, int status, struct traffic bytes, uint64_t start_ns)
{
    static struct metric_cell *_Atomic received; /* without labels: the same cell for ever */
    char text[3];
    str label[] = { http_method_label(verb), http_path_label(path, false),
                    http_status_text(status, text) };
    uint64_t hash = metric_hash(label, COUNT(label));
    metric_add(metric_cell_hashed(&client_count, label, hash), 1);
    metric_observe(&client_latency, metric_cell_hashed(&client_latency, label, hash),
                   (double)(clock_now_ns() - start_ns) / 1e6);
    metric_observe(&client_sent, metric_cell_hashed(&client_sent, label, hash), (double)bytes.sent);
    if (UNLIKELY(!received))
        received = metric_cell(&client_received, NULL);
    metric_observe(&client_received, received, (double)bytes.received);
}

/* Whatever a message's metadata says, these are the connection's business. */
static bool may_carry(const struct kv *h)
{
    static const str ours[] = { S("content-length"), S("host"), S("expect") };
    for (size_t i = 0; i < COUNT(ours); i++)
        if (str_ieq(h->key, ours[i]))
            return false;
    return http_is_token(h->key) && http_is_field_value(h->value);
}

static int build_request(struct app *a, const struct app_call *call, struct arena *arena,
                         struct http_request *req)
{
    str part[] = { S("/"), call->path }; /* routes may be written without their slash */
    *req = (struct http_request){
        .method = str_c(call->verb),
        .target = str_starts(call->path, S("/")) ? call->path : arena_join(arena, part, 2),
        .content_length = (int64_t)call->body.n,
    };
    http_headers_init(&req->headers, arena);
    int r = req->target.p ? 0 : -EXHAUSTED;
    for (size_t i = 0; i < call->headers.n && r >= 0; i++)
        if (may_carry(&call->headers.v[i]))
            r = http_headers_add(&req->headers, call->headers.v[i].key, call->headers.v[i].value);
    http_headers_strip_hop(&req->headers);
    if (r >= 0 && call->content_type.n)
        r = http_headers_set(&req->headers, S("Content-Type"), call->content_type);
    if (r >= 0 && a->config.token && !call->probe)
        r = http_headers_set(&req->headers, S("dapr-api-token"), str_c(a->config.token));
    return r;
}

CO static int exchange(struct app *a, const struct app_call *call, const struct http_request *req,
                       str content, struct arena *arena, struct app_answer *ret, struct error *err)
{
    AUTO(http_call_freep) struct http_call *c = NULL;
    int r = http_call_start(a->client, a->address, req, content, true, &c, err);
    if (r < 0)
        return r;
    const struct http_response *response;
    r = http_call_response(c, &response, err);
    if (r < 0)
        return r;
    str body;
    r = http_call_read_all(c, max_answer(call), &body);
    if (r < 0)
        return fail(err, (enum code) - r, NULL,
                    r == -RANGE ? "the app's answer to %s " STR_FMT " is larger than %zu bytes"
                                : "the app's answer to %s " STR_FMT " broke off (limit %zu bytes)",
                    call->verb, STR_ARG(call->path), max_answer(call));
    ret->status = response->status;
    ret->content_type = arena_dup(arena, http_headers_get(&response->headers, S("Content-Type")));
    ret->body = arena_dup(arena, body);
    return ret->body.p && ret->content_type.p ? 0 : fail(err, EXHAUSTED, NULL, "out of memory");
}

/* ---- an answer by way of an exchange in memory: for middlewares, and for an app in this process
 * ---- */

/* appHttpPipeline as it is now; it stays while *ret_pin is held. */
static const struct pipeline *pin_pipeline(const struct app *a, struct catalog **ret_pin)
{
    static const struct pipeline none;
    *ret_pin = a->blocks ? catalog_pin(a->blocks) : NULL;
    return a->blocks ? catalog_pipeline(a->blocks, PIPELINE_APP) : &none;
}

struct inside {
    struct app *a;
    const struct app_call *call;
    struct error *err;
};

/* The end of the pipeline: the request, as the middlewares have left it, to the app. */
CO static void pass_on(void *arg, struct http_exchange *x)
{
    struct inside *in = arg;
    if (in->a->config.handle) {
        in->a->config.handle(in->a->config.handle_arg, x);
        return;
    }
    str body;
    struct app_answer answer;
    struct http_request req = x->req;
    if (http_read_all(x, SIZE_MAX, &body) < 0)
        return;
    req.content_length = (int64_t)body.n;
    if (exchange(in->a, in->call, &req, body, x->arena, &answer, in->err) < 0)
        return;
    struct http_headers h;
    http_headers_init(&h, x->arena);
    if (answer.content_type.n && http_headers_add(&h, S("Content-Type"), answer.content_type) < 0)
        return;
    (void)http_reply(x, answer.status, &h, answer.body);
}

CO static int exchange_inside(struct app *a, const struct pipeline *pipeline,
                              const struct app_call *call, struct http_request *req,
                              struct arena *arena, struct app_answer *ret, struct error *err)
{
    struct inside in = { a, call, err };
    struct http_memory m;
    (void)str_cut(req->target, '?', &req->path, &req->query);
    http_memory_init(&m, req, call->body, arena, max_answer(call));
    pipeline_run(pipeline, &m.x, pass_on, &in);
    int r = m.too_large ? -RANGE : !m.x.ended || m.aborted ? -UNAVAILABLE : 0;
    ret->status = m.x.status;
    ret->content_type = http_headers_get(&m.reply_headers, S("Content-Type"));
    ret->body = arena_dup(arena, buf_str(&m.reply));
    http_memory_done(&m);
    if (r < 0) {
        fail(err, (enum code) - r, NULL,
             m.too_large ? "the app's answer to %s " STR_FMT " is larger than %zu bytes"
                         : "no whole answer of the app to %s " STR_FMT " (limit %zu bytes)",
             call->verb, STR_ARG(call->path), max_answer(call));
        return err ? -(int)err->code : r; /* what the call to the app failed by, if it did */
    }
    return ret->body.p ? 0 : fail(err, EXHAUSTED, NULL, "out of memory");
}

CO static int ask(struct app *a, const struct app_call *call, struct arena *arena,
                  struct app_answer *ret, struct error *err)
{
    uint64_t start = clock_now_ns();
    struct http_request req;
    if (build_request(a, call, arena, &req) < 0)
        return fail(err, EXHAUSTED, NULL, "the call to the app needs too much memory");
    struct admit_place place;
    int r =
        call->probe ? 0 : app_enter(a, &place, &(struct admit_ask){ .method = call->path }, err);
    if (r < 0)
        return r;
    AUTO(catalog_unpinp) struct catalog *pin;
    const struct pipeline *pipeline = pin_pipeline(a, &pin);
    bool inside = a->config.handle || (pipeline->n && !call->probe);
    r = inside ? exchange_inside(a, pipeline, call, &req, arena, ret, err)
               : exchange(a, call, &req, call->body, arena, ret, err);
    if (!call->probe)
        app_leave(a, &place, r, r < 0 ? 0 : ret->status);
    if (r >= 0 && call->probe)
        count_probe(ret->status, start);
    else if (r >= 0)
        count_call(str_c(call->verb), call->path, ret->status,
                   (struct traffic){ call->body.n, ret->body.n }, start);
    return r;
}

static bool is_2xx(int status)
{
    return status >= 200 && status <= 299;
}

/* ---- calls of services ---- */

/* What a call may bring along that isn't a header of HTTP (facts 5.1). */
static int for_app(struct arena *a, struct http_headers *h)
{
    struct http_headers out;
    http_headers_init(&out, a);
    http_headers_remove(h, S(DIRECT_HEADER));
    http_headers_remove(h, S(WORDS_CALL));
    bool odd = false;
    for (size_t i = 0; i < h->n && !odd; i++)
        odd = str_istarts(h->v[i].name, S("grpc-")) || str_ends(h->v[i].name, S("-bin"));
    if (!odd)
        return 0;
    int r = words_headers(h, &out);
    *h = out;
    return r;
}

/* Its answer lasts for as long as somebody listens. */
static bool is_event_stream(const struct answer *answer)
{
    return str_istarts(http_headers_get(&answer->headers, S("content-type")),
                       S("text/event-stream"));
}

CO static int pass_on_call(struct app *a, struct admit_place *place, struct http_exchange *x,
                           struct error *err)
{
    struct {
        struct relay relay;
        struct http_request req;
    } c = { 0 };
    if (relay_request(x, x->req.target, &c.req) < 0 || for_app(x->arena, &c.req.headers) < 0)
        return fail(err, EXHAUSTED, NULL, "the request is too large for its memory");
    c.req.authority = str_c(a->address);
    if (a->config.token &&
        http_headers_set(&c.req.headers, S("dapr-api-token"), str_c(a->config.token)) < 0)
        return fail(err, EXHAUSTED, NULL, "the request is too large for its memory");
    uint64_t start = clock_now_ns();
    int r = relay_init(&c.relay, x, err);
    if (r >= 0) {
        struct guard_attempt attempt = { 0 };
        r = relay_try(&c.relay, a->client, a->address, &c.req, &attempt, err);
        words_remove(&c.relay.answer.headers); /* only a gRPC app has such */
        if (c.relay.answer.source) {
            if (http_headers_has(&x->req.headers, S(DIRECT_HEADER)))
                app_tell_load(a, &c.relay.answer.headers);
            if (r < 0)
                app_tell_retried(a, &x->req.headers, start, &c.relay.answer.headers);
            if (is_event_stream(&c.relay.answer))
                admit_stream(a->admit, place);
        }
        r = relay_pass(&c.relay, r, err);
    }
    if (r == -UNAVAILABLE &&
        c.relay.reached) /* UNAVAILABLE tells the caller that nothing was sent */
        r = fail_as(err, INTERNAL, NULL, "error invoking app channel: the connection broke");
    relay_done(&c.relay);
    return r;
}

struct invocation {
    struct app *a;
    struct admit_place *place;
    struct error *err;
    int result;
};

/* The end of the app's pipeline. */
CO static void to_app(void *arg, struct http_exchange *x)
{
    struct invocation *i = arg;
    if (i->a->config.handle)
        i->a->config.handle(i->a->config.handle_arg, x);
    else
        i->result = pass_on_call(i->a, i->place, x, i->err);
}

CO static int http_invoke(struct app *a, struct admit_place *place, struct http_exchange *x,
                          str target, struct error *err)
{
    uint64_t start = clock_now_ns();
    if (str_eq(x->req.method, S(WORDS_NO_VERB)) || str_eq(x->req.method, S("CONNECT")))
        return fail(err, INVALID, NULL,
                    "invalid HTTP verb: an app that speaks HTTP needs one, and not CONNECT");
    x->req.target = target;
    (void)str_cut(target, '?', &x->req.path, &x->req.query);
    str path = x->req.path; /* a middleware may change it */
    struct invocation i = { a, place, err, 0 };
    AUTO(catalog_unpinp) struct catalog *pin;
    pipeline_run(pin_pipeline(a, &pin), x, to_app, &i);
    if (x->started)
        count_call(x->req.method, path, x->status, (struct traffic){ x->bytes_in, x->bytes_out },
                   start);
    return i.result;
}

/* ---- messages ---- */

/* The metadata as headers, the trace's and one more of ours: they win over the metadata's own. */
static int tell_headers(struct kvs metadata, const struct trace_context *trace, struct kv more,
                        struct arena *arena, struct kvs *ret)
{
    struct kv *h = arena_alloc(arena, (metadata.n + 3) * sizeof *h);
    size_t at = 0;
    bool traced = trace->parent[0];
    if (!h)
        return -EXHAUSTED;
    for (size_t i = 0; i < metadata.n; i++) {
        str key = metadata.v[i].key;
        bool ours = (more.key.n && str_ieq(key, more.key)) ||
                    (traced && (str_ieq(key, S("traceparent")) || str_ieq(key, S("tracestate"))));
        if (!ours)
            h[at++] = metadata.v[i];
    }
    if (more.key.n)
        h[at++] = more;
    if (traced)
        h[at++] = (struct kv){ S("traceparent"), str_c(trace->parent) };
    if (traced && trace->state.n)
        h[at++] = (struct kv){ S("tracestate"), trace->state };
    *ret = (struct kvs){ h, at };
    return 0;
}

int http_read_status(str body, str id, struct arena *arena, enum event_verdict *ret,
                     struct error *err)
{
    struct json v;
    str status = S("");
    if (json_parse(body, &v, NULL) >= 0)
        (void)json_string_or(arena, json_get_fold(v, S("status")), S(""), &status);
    if (!status.n || str_eq(status, S("SUCCESS")))
        *ret = EVENT_SUCCESS;
    else if (str_eq(status, S("DROP")))
        *ret = EVENT_DROP;
    else if (str_eq(status, S("RETRY")))
        *ret = EVENT_RETRY;
    else
        return fail(err, UNKNOWN, NULL,
                    "unknown status returned from app while processing pub/sub event " STR_FMT
                    ": " STR_FMT,
                    STR_ARG(id), STR_ARG(str_take(status, 40)));
    return 0;
}

CO static int http_event(struct app *a, const struct app_event *e, struct arena *arena,
                         enum event_verdict *ret, int *ret_http, struct error *err)
{
    struct app_call call = {
        .verb = "POST",
        .path = e->path,
        .body = e->body,
        .content_type = S("application/cloudevents+json"),
        .max_answer = EVENT_ANSWER_MAX,
    };
    struct app_answer answer;
    struct kv pubsub = { S("pubsubName"), e->pubsub };
    if (tell_headers(e->m->metadata, &e->trace, pubsub, arena, &call.headers) < 0)
        return fail(err, EXHAUSTED, NULL, "the message doesn't fit into memory");
    int r = ask(a, &call, arena, &answer, err);
    if (r < 0)
        return r;
    if (is_2xx(answer.status))
        return http_read_status(answer.body, e->ce->id, arena, ret, err);
    if (answer.status == 404) { /* nobody will ever take it: surprise 27 */
        *ret = EVENT_DROP;
        return 0;
    }
    *ret_http = answer.status;
    return fail(err, UNAVAILABLE, NULL,
                "retriable error returned from app while processing pub/sub event " STR_FMT
                ", topic: " STR_FMT ", body: " STR_FMT ". status code returned: %d",
                STR_ARG(e->ce->id), STR_ARG(e->topic), STR_ARG(str_take(answer.body, 200)),
                answer.status);
}

static void write_entry(struct json_w *w, bool raw, const struct app_bulk_entry *e)
{
    const struct pubsub_message *m = e->m;
    json_w_object(w);
    json_w_kv(w, S("entryId"), e->id);
    json_w_key(w, S("event"));
    struct json v;
    if (raw)
        json_w_base64(w, m->data);
    else if (json_parse(m->data, &v, NULL) >= 0)
        json_w_raw(w, v.raw);
    else
        json_w_str(w, m->data);
    json_w_key(w, S("metadata"));
    json_w_object(w);
    for (size_t k = 0; k < m->metadata.n; k++)
        json_w_kv(w, m->metadata.v[k].key, m->metadata.v[k].value);
    json_w_object_end(w);
    str type = m->content_type;
    if (!type.n)
        type = raw ? S("application/octet-stream") : S("application/cloudevents+json");
    json_w_kv(w, S("contentType"), type);
    json_w_object_end(w);
}

static int write_bulk(const struct app_bulk *b, struct buf *out)
{
    char id[UUID_LEN];
    id_uuid4(id);
    struct json_w w;
    json_w_init(&w, out, 0);
    json_w_object(&w);
    json_w_key(&w, S("entries"));
    json_w_array(&w);
    for (size_t i = 0; i < b->n; i++)
        write_entry(&w, b->raw, &b->entry[i]);
    json_w_array_end(&w);
    json_w_kv(&w, S("id"), str_of(id, UUID_LEN));
    json_w_key(&w, S("metadata"));
    json_w_object(&w);
    json_w_kv(&w, S("pubsubName"), b->pubsub);
    json_w_object_end(&w);
    json_w_kv(&w, S("pubsubname"), b->pubsub);
    json_w_kv(&w, S("topic"), b->topic);
    json_w_kv(&w, S("type"), S("com.dapr.event.sent.bulk"));
    json_w_object_end(&w);
    return buf_ok(out) ? 0 : -EXHAUSTED;
}

/* A missing status, or a missing entry, is a retry. */
void http_read_statuses(struct app_bulk *b, str body, struct arena *arena)
{
    struct json v, item;
    if (json_parse(body, &v, NULL) < 0)
        return;
    struct json_iter it = json_iter(json_get_fold(v, S("statuses")));
    while (json_next(&it, NULL, &item)) {
        str id, status;
        if (json_string_or(arena, json_get_fold(item, S("entryId")), S(""), &id) < 0 ||
            json_string_or(arena, json_get_fold(item, S("status")), S(""), &status) < 0)
            continue;
        enum event_verdict verdict = str_eq(status, S("SUCCESS")) ? EVENT_SUCCESS
                                     : str_eq(status, S("DROP"))  ? EVENT_DROP
                                                                  : EVENT_RETRY;
        for (size_t i = 0; i < b->n; i++)
            if (str_eq(b->entry[i].id, id))
                b->entry[i].verdict = verdict;
    }
}

CO static int http_bulk(struct app *a, struct app_bulk *b, struct arena *arena, int *ret_http,
                        struct error *err)
{
    AUTO(buf_done) struct buf out;
    buf_init(&out, BULK_MAX);
    if (write_bulk(b, &out) < 0)
        return fail(err, EXHAUSTED, NULL, "the bulk doesn't fit into memory");
    struct kv header = { S("pubsubName"), b->pubsub };
    struct app_call call = {
        .verb = "POST",
        .path = b->path,
        .headers = { &header, 1 },
        .body = buf_str(&out),
        .content_type = S("application/json"),
        .max_answer = EVENT_ANSWER_MAX,
    };
    struct app_answer answer;
    int r = ask(a, &call, arena, &answer, err);
    if (r < 0)
        return r;
    if (!is_2xx(answer.status) && answer.status != 404) {
        *ret_http = answer.status;
        return fail(err, UNAVAILABLE, NULL,
                    "retriable error returned from app while processing bulk pub/sub event, "
                    "topic: " STR_FMT ". status code returned: %d",
                    STR_ARG(b->topic), answer.status);
    }
    for (size_t i = 0; i < b->n; i++)
        b->entry[i].verdict = answer.status == 404 ? EVENT_DROP : EVENT_RETRY;
    if (answer.status != 404)
        http_read_statuses(b, answer.body, arena);
    return 0;
}

/* ---- what it subscribes to: the array that GET /dapr/subscribe answers with ---- */

static int text(struct arena *a, struct json v, const char *key, str *ret)
{
    return json_string_or(a, json_get_fold(v, str_c(key)), S(""), ret);
}

static int read_metadata(struct arena *a, struct json v, struct kvs *ret)
{
    size_t n = json_count(v);
    struct kv *kv = arena_alloc(a, n * sizeof *kv);
    if (!kv)
        return -EXHAUSTED;
    struct json_iter it = json_iter(v);
    struct json key, value;
    *ret = (struct kvs){ kv, 0 };
    while (json_next(&it, &key, &value)) {
        struct kv *to = &kv[ret->n++];
        if (json_string(a, key, &to->key) < 0)
            return -EXHAUSTED;
        if (json_string(a, value, &to->value) < 0)
            to->value = value.raw; /* true, 10: as it is written */
    }
    return 0;
}

static int read_rule(struct arena *a, struct json v, struct route_rule *ret)
{
    *ret = (struct route_rule){ 0 };
    return text(a, v, "match", &ret->match) < 0 || text(a, v, "path", &ret->path) < 0 ? -INVALID
                                                                                      : 0;
}

/* routes.default beats route (surprise 30). Returns what is wrong; NULL = nothing. */
static const char *read_rules(struct arena *a, struct json v, struct app_subscription *s)
{
    struct json routes = json_get_fold(v, S("routes")), list = json_get_fold(routes, S("rules"));
    s->rules = arena_zalloc(a, (json_count(list) + 1) * sizeof *s->rules);
    if (!s->rules)
        return "too many rules";
    struct json_iter it = json_iter(list);
    struct json item;
    while (json_next(&it, NULL, &item))
        if (read_rule(a, item, &s->rules[s->n_rules++]) < 0)
            return "a rule's match and path must be strings";
    str path, route;
    if (text(a, routes, "default", &path) < 0 || text(a, v, "route", &route) < 0)
        return "route and routes.default must be strings";
    path = path.n ? path : s->n_rules ? S("") : route;
    if (path.n)
        s->rules[s->n_rules++] = (struct route_rule){ .path = path };
    return NULL;
}

static void read_subscription(struct arena *a, struct json v, struct app_subscription *s)
{
    struct json bulk = json_get_fold(v, S("bulkSubscribe"));
    if (text(a, v, "pubsubname", &s->pubsub) < 0 || text(a, v, "topic", &s->topic) < 0 ||
        text(a, v, "deadLetterTopic", &s->dead_letter) < 0 ||
        read_metadata(a, json_get_fold(v, S("metadata")), &s->metadata) < 0) {
        s->wrong = "pubsubname, topic and deadLetterTopic must be strings, metadata an object";
        return;
    }
    s->wrong = read_rules(a, v, s);
    if (!json_bool(json_get_fold(bulk, S("enabled")), &s->bulk))
        s->bulk = false;
    if (!json_i64(json_get_fold(bulk, S("maxMessagesCount")), &s->bulk_max))
        s->bulk_max = 0;
    if (!json_i64(json_get_fold(bulk, S("maxAwaitDurationMs")), &s->bulk_await_ms))
        s->bulk_await_ms = 0;
}

int http_read_subscriptions(str body, struct arena *arena, struct app_subscriptions *ret)
{
    struct json root, item;
    if (json_parse(body, &root, NULL) < 0 || (root.type != JSON_ARRAY && !json_is_null(root))) {
        ret->refused = "the app's answer to GET /dapr/subscribe is no JSON array of subscriptions";
        return 0;
    }
    ret->v = arena_zalloc(arena, json_count(root) * sizeof *ret->v);
    if (!ret->v)
        return -EXHAUSTED;
    struct json_iter it = json_iter(root);
    while (json_next(&it, NULL, &item))
        read_subscription(arena, item, &ret->v[ret->n++]);
    return 0;
}

CO static int http_subscriptions(struct app *a, struct arena *arena, struct app_subscriptions *ret,
                                 struct error *err)
{
    struct kv id = { S("dapr-app-id"), str_c(a->config.app_id) };
    struct app_call call = {
        .verb = "GET",
        .path = S("/dapr/subscribe"),
        .headers = { &id, 1 },
        .content_type = S("application/json"),
    };
    struct app_answer answer;
    *ret = (struct app_subscriptions){ 0 };
    int r = ask(a, &call, arena, &answer, err);
    if (r < 0)
        return r;
    if (answer.status == 404)
        return 0;
    if (answer.status == 200)
        return http_read_subscriptions(answer.body, arena, ret) < 0
                   ? fail(err, EXHAUSTED, NULL, "too many subscriptions")
                   : 0;
    str why = arena_printf(arena, "app returned http status code %d from subscription endpoint",
                           answer.status);
    ret->refused = why.p ? why.p : "app refused to list its subscriptions";
    return 0;
}

/* ---- bindings, configuration ---- */

/* 405: it has the route, for POST. */
CO static bool http_wants_binding(struct app *a, str name, str path)
{
    struct arena arena;
    arena_init(&arena, 2 * CHANNEL_ANSWER_MAX);
    struct app_call call = { .verb = "OPTIONS", .path = path };
    struct app_answer answer = { 0 };
    struct error err = { 0 };
    int r = ask(a, &call, &arena, &answer, &err);
    arena_done(&arena);
    return r >= 0 && (is_2xx(answer.status) || answer.status == 405);
}

/* "to" and "state" of the answer mean nothing over HTTP (surprise 53). */
CO static int http_binding(struct app *a, const struct app_binding_event *e, struct arena *arena,
                           struct app_binding_answer *ret, int *ret_http, struct error *err)
{
    struct app_call call = {
        .verb = "POST",
        .path = e->path,
        .body = e->e->data,
        .content_type = S("application/json"),
    };
    struct app_answer answer;
    *ret = (struct app_binding_answer){ 0 };
    if (tell_headers(e->e->metadata, &e->trace, (struct kv){ 0 }, arena, &call.headers) < 0)
        return fail(err, EXHAUSTED, NULL, "the event doesn't fit into memory");
    int r = ask(a, &call, arena, &answer, err);
    if (r < 0)
        return r;
    ret->data = answer.body;
    if (answer.status == 200)
        return 0;
    *ret_http = answer.status;
    return fail(err, UNKNOWN, NULL,
                "fails to send binding event to http app channel, status code: %d body: " STR_FMT,
                answer.status, STR_ARG(str_take(answer.body, 200)));
}

CO static int http_configuration(struct app *a, str store, str key, str body, struct arena *arena,
                                 int *ret_http, struct error *err)
{
    str part[] = { S("configuration/"), store, S("/"), key };
    str method = arena_join(arena, part, COUNT(part)), path;
    if (!method.p || relay_target(arena, method, S(""), &path) < 0)
        return fail(err, EXHAUSTED, NULL, "the update doesn't fit into memory");
    struct app_call call = {
        .verb = "POST",
        .path = path,
        .body = body,
        .content_type = S("application/json"),
    };
    struct app_answer answer;
    int r = ask(a, &call, arena, &answer, err);
    if (r < 0 || answer.status == 200)
        return r;
    *ret_http = answer.status;
    return fail(err, UNKNOWN, NULL, "the app answered a configuration update with status %d",
                answer.status);
}

/* ---- life ---- */

CO static int http_probe(struct app *a, str path, struct error *err)
{
    struct arena arena;
    arena_init(&arena, 2 * CHANNEL_ANSWER_MAX);
    struct app_call call = { .verb = "GET", .path = path, .probe = true };
    struct app_answer answer = { 0 };
    int r = ask(a, &call, &arena, &answer, err);
    arena_done(&arena);
    return r >= 0 && !is_2xx(answer.status)
               ? fail(err, UNAVAILABLE, NULL, "status %d", answer.status)
               : r;
}

/* Serves actors only, which come later; apps count on being asked. */
CO static int http_config(struct app *a, struct error *err)
{
    struct arena arena;
    arena_init(&arena, 2 * CHANNEL_ANSWER_MAX);
    struct kv id = { S("dapr-app-id"), str_c(a->config.app_id) };
    struct app_call call = {
        .verb = "GET",
        .path = S("/dapr/config"),
        .headers = { &id, 1 },
        .content_type = S("application/json"),
    };
    struct app_answer answer;
    int r = ask(a, &call, &arena, &answer, err);
    arena_done(&arena);
    return r;
}

const struct channel channel_http = {
    .invoke = http_invoke,
    .event = http_event,
    .bulk = http_bulk,
    .subscriptions = http_subscriptions,
    .wants_binding = http_wants_binding,
    .binding = http_binding,
    .configuration = http_configuration,
    .probe = http_probe,
    .config = http_config,
};
