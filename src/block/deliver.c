#include "block/deliver.h"

#include "base/clock.h"
#include "base/id.h"
#include "block/app.h"
#include "block/guard.h"
#include "block/observe.h"
#include "block/publish.h"
#include "format/cel.h"
#include "format/cloudevent.h"

enum { ARENA_MAX = 256 << 20, ANSWER_MAX = 1 << 20 };

enum verdict { SUCCESS, RETRY, DROP };

struct delivery {
    struct subscription *s;
    const struct pubsub_message *m;
    struct arena *arena;
    str body; /* what the app gets */
    struct cloudevent ce;
    str path;           /* of the rule that matched; .p NULL = none did */
    const char *status; /* as the app said, for the metrics */
    enum verdict verdict;
};

static const struct broker *broker_of(const struct subscription *s)
{
    return s->instance->extra;
}

static str app_topic(const struct subscription *s, str topic)
{
    str prefix = broker_of(s)->topics.prefix;
    return prefix.n && str_starts(topic, prefix) ? str_skip(topic, prefix.n) : topic;
}

/* A raw payload gets an envelope of its own. */
static int wrap_raw(struct delivery *d, struct error *err)
{
    char id[UUID_LEN];
    id_uuid4(id);
    struct cloudevent_fields f = {
        .id = str_of(id, UUID_LEN),
        .source = S("Dapr"),
        .datacontenttype = S("application/octet-stream"),
        .topic = d->s->topic,
        .pubsubname = d->s->pubsub,
        .traceid = kvs_get(d->m->metadata, S("traceid")),
        .traceparent = kvs_get(d->m->metadata, S("traceparent")),
        .tracestate = kvs_get(d->m->metadata, S("tracestate")),
        .data = d->m->data,
        .sparse = true,
    };
    AUTO(buf_done) struct buf out;
    buf_init(&out, ARENA_MAX);
    if (cloudevent_build(&f, &out) < 0)
        return fail(err, EXHAUSTED, NULL, "the message doesn't fit into memory");
    d->body = arena_dup(d->arena, buf_str(&out));
    return d->body.p ? 0 : fail(err, EXHAUSTED, NULL, "the message doesn't fit into memory");
}

/* The bytes of the broker go to the app unchanged (surprise 26), unless they're raw. */
static int read_message(struct delivery *d, struct error *err)
{
    if (d->s->raw_malformed)
        return fail(err, INVALID, NULL,
                    "the subscription's rawPayload isn't a boolean: write true or false");
    d->body = d->m->data;
    int r = d->s->raw ? wrap_raw(d, err) : 0;
    return r < 0 ? r : cloudevent_read(d->body, d->arena, &d->ce, err);
}

static bool lookup_event(void *arg, str name, struct cel_value *ret)
{
    struct delivery *d = arg;
    return str_eq(name, S("event")) && cel_json(d->arena, d->ce.root, ret) >= 0;
}

/* The first rule that matches; an evaluation error is a failed delivery. */
static int route(struct delivery *d, struct error *err)
{
    struct cel_env env = { .lookup = lookup_event, .arg = d };
    for (size_t i = 0; i < d->s->n_rules; i++) {
        const struct route_rule *rule = &d->s->rules[i];
        bool match = true;
        int r = rule->program ? cel_eval_bool(rule->program, &env, d->arena, &match, err) : 0;
        if (r < 0) {
            fail(err, (enum code) - r, NULL, "the event doesn't fit into memory");
            return fail_wrap(err, "error matching the rule " STR_FMT, STR_ARG(rule->match));
        }
        if (match) {
            d->path = rule->path;
            return 0;
        }
    }
    d->path = (str){ 0 };
    return 0;
}

/* ---- to the app, and what its answer means ---- */

static int build_headers(const struct delivery *d, struct kvs *ret)
{
    size_t n = d->m->metadata.n + 3, at = 0;
    struct kv *h = arena_alloc(d->arena, n * sizeof *h);
    if (!h)
        return -EXHAUSTED;
    str parent = trace_parent_valid(d->ce.traceparent) ? d->ce.traceparent : d->ce.traceid;
    bool traced = trace_parent_valid(parent);
    for (size_t i = 0; i < d->m->metadata.n; i++) {
        str key = d->m->metadata.v[i].key;
        bool ours = str_ieq(key, S("pubsubName")) ||
                    (traced && (str_ieq(key, S("traceparent")) || str_ieq(key, S("tracestate"))));
        if (!ours)
            h[at++] = d->m->metadata.v[i];
    }
    h[at++] = (struct kv){ S("pubsubName"), d->s->pubsub };
    if (traced) {
        h[at++] = (struct kv){ S("traceparent"), parent };
        if (d->ce.tracestate.n)
            h[at++] = (struct kv){ S("tracestate"), d->ce.tracestate };
    }
    *ret = (struct kvs){ h, at };
    return 0;
}

static int judge_status(struct delivery *d, const struct app_answer *a, struct error *err)
{
    struct json v;
    str status = S("");
    if (json_parse(a->body, &v, NULL) >= 0)
        (void)json_string_or(d->arena, json_get(v, S("status")), S(""), &status);
    d->verdict = SUCCESS;
    d->status = "SUCCESS";
    if (!status.n || str_eq(status, S("SUCCESS")))
        return 0;
    if (str_eq(status, S("DROP"))) {
        d->verdict = DROP;
        d->status = "DROP";
        return 0;
    }
    d->verdict = RETRY;
    d->status = "RETRY";
    if (str_eq(status, S("RETRY")))
        return fail(err, UNAVAILABLE, NULL,
                    "RETRY status returned from app while processing pub/sub event " STR_FMT,
                    STR_ARG(d->ce.id));
    return fail(err, UNKNOWN, NULL,
                "unknown status returned from app while processing pub/sub event " STR_FMT
                ": " STR_FMT,
                STR_ARG(d->ce.id), STR_ARG(str_take(status, 40)));
}

static int judge(struct delivery *d, const struct app_answer *a, struct guard_attempt *attempt,
                 struct error *err)
{
    if (a->status >= 200 && a->status <= 299)
        return judge_status(d, a, err);
    if (a->status == 404) { /* nobody will ever take it: surprise 27 */
        d->verdict = DROP;
        d->status = "DROP";
        return 0;
    }
    d->verdict = RETRY;
    d->status = "RETRY";
    attempt->http_status = a->status;
    return fail(err, UNAVAILABLE, NULL,
                "retriable error returned from app while processing pub/sub event " STR_FMT
                ", topic: " STR_FMT ", body: " STR_FMT ". status code returned: %d",
                STR_ARG(d->ce.id), STR_ARG(d->s->topic), STR_ARG(str_take(a->body, 200)),
                a->status);
}

CO static int dead_letter(struct delivery *d, struct error *err)
{
    SHIELD(); /* a stop must not leave it between here and there */
    struct pubsub_message m = *d->m;
    str part[] = { broker_of(d->s)->topics.prefix, d->s->dead_letter };
    m.topic = arena_join(d->arena, part, 2);
    return m.topic.p ? block_publish_raw(d->s->blocks, d->s->instance, &m, err)
                     : fail(err, EXHAUSTED, NULL, "out of memory");
}

CO static int try_deliver(void *arg, struct guard_attempt *attempt, struct error *err)
{
    struct delivery *d = arg;
    struct kvs headers;
    attempt->stop = &d->s->blocks->draining;
    if (build_headers(d, &headers) < 0)
        return fail(err, EXHAUSTED, NULL, "the message doesn't fit into memory");
    struct app_call call = {
        .verb = "POST",
        .path = d->path,
        .headers = headers,
        .body = d->body,
        .max_answer = ANSWER_MAX,
        .content_type = S("application/cloudevents+json"),
    };
    struct app_answer answer;
    int r = app_do(d->s->blocks->app, &call, d->arena, &answer, err);
    if (r >= 0)
        r = judge(d, &answer, attempt, err);
    else
        d->status = "RETRY";
    if (r < 0 || d->verdict != DROP || !d->s->dead_letter.n)
        return r;
    return dead_letter(d, err); /* its failure enters the retry policy: surprise 33 */
}

/* What the retries could not heal: to the dead letter topic, or back to the broker. */
CO static int give_up(struct delivery *d, int r, struct error *err)
{
    /* Cut short by a stop: it isn't hopeless, the broker gives it again. */
    if (!d->s->dead_letter.n || r == -CANCELLED || atomic_load(&d->s->blocks->draining))
        return r;
    struct error dlq = { 0 };
    int moved = dead_letter(d, &dlq);
    if (moved >= 0)
        return 0;
    fail(err, (enum code) - r, NULL, "the message could not be delivered");
    (void)fail_wrap(err, "the dead letter topic " STR_FMT " failed too (%s)",
                    STR_ARG(d->s->dead_letter), dlq.text);
    return r;
}

CO static int drop(struct delivery *d, struct error *err)
{
    d->verdict = DROP;
    d->status = "DROP";
    return d->s->dead_letter.n ? dead_letter(d, err) : 0;
}

CO static int deliver(struct delivery *d, struct error *err)
{
    int r = read_message(d, err);
    if (r >= 0 && cloudevent_expired(&d->ce, clock_wall_ns()))
        return drop(d, err);
    if (r >= 0)
        r = route(d, err);
    if (r < 0)
        return give_up(d, r, err);
    if (!d->path.p)
        return drop(d, err); /* no rule: surprise 32 */
    r = guard_call(broker_of(d->s)->inbound, S(""), try_deliver, d, err);
    return r < 0 ? give_up(d, r, err) : r;
}

CO int deliver_one(void *subscription, const struct pubsub_message *m, struct error *err)
{
    struct subscription *s = subscription;
    struct arena arena;
    arena_init(&arena, ARENA_MAX);
    struct delivery d = { .s = s, .m = m, .arena = &arena, .status = "" };
    uint64_t start = clock_now_ns();
    int r = deliver(&d, err);
    const char *process = r < 0 ? "retry" : d.verdict == DROP ? "drop" : "success";
    observe_ingress(s->blocks, s->pubsub, app_topic(s, m->topic), process, d.status, start);
    arena_done(&arena);
    return r;
}

/* ---- bulk ---- */

struct bulk_delivery {
    struct subscription *s;
    const struct pubsub_message *m;
    size_t n;
    int *codes; /* 1 = not decided yet */
    struct arena *arena;
    str path;
    str *ids;   /* entry ids that the app answers with */
    bool *here; /* goes to this path */
};

static void write_entry(struct json_w *w, struct bulk_delivery *d, size_t i)
{
    const struct pubsub_message *m = &d->m[i];
    json_w_object(w);
    json_w_kv(w, S("entryId"), d->ids[i]);
    json_w_key(w, S("event"));
    struct json v;
    if (d->s->raw)
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
        type = d->s->raw ? S("application/octet-stream") : S("application/cloudevents+json");
    json_w_kv(w, S("contentType"), type);
    json_w_object_end(w);
}

static int write_bulk(struct bulk_delivery *d, struct buf *out)
{
    char id[UUID_LEN];
    id_uuid4(id);
    struct json_w w;
    json_w_init(&w, out, 0);
    json_w_object(&w);
    json_w_key(&w, S("entries"));
    json_w_array(&w);
    for (size_t i = 0; i < d->n; i++)
        if (d->here[i])
            write_entry(&w, d, i);
    json_w_array_end(&w);
    json_w_kv(&w, S("id"), str_of(id, UUID_LEN));
    json_w_key(&w, S("metadata"));
    json_w_object(&w);
    json_w_kv(&w, S("pubsubName"), d->s->pubsub);
    json_w_object_end(&w);
    json_w_kv(&w, S("pubsubname"), d->s->pubsub);
    json_w_kv(&w, S("topic"), d->s->topic);
    json_w_kv(&w, S("type"), S("com.dapr.event.sent.bulk"));
    json_w_object_end(&w);
    return buf_ok(out) ? 0 : -EXHAUSTED;
}

/* A missing status, or a missing entry, is a retry. */
static void read_statuses(struct bulk_delivery *d, str body, bool *ret_drop)
{
    struct json v, item;
    if (json_parse(body, &v, NULL) < 0)
        return;
    struct json_iter it = json_iter(json_get(v, S("statuses")));
    while (json_next(&it, NULL, &item)) {
        str id, status;
        if (json_string_or(d->arena, json_get(item, S("entryId")), S(""), &id) < 0 ||
            json_string_or(d->arena, json_get(item, S("status")), S(""), &status) < 0)
            continue;
        for (size_t i = 0; i < d->n; i++) {
            if (!d->here[i] || !str_eq(d->ids[i], id))
                continue;
            bool dropped = str_eq(status, S("DROP"));
            if (dropped || str_eq(status, S("SUCCESS")))
                d->codes[i] = 0;
            ret_drop[i] = dropped;
        }
    }
}

CO static int try_bulk(void *arg, struct guard_attempt *attempt, struct error *err)
{
    struct bulk_delivery *d = arg;
    AUTO(buf_done) struct buf out;
    buf_init(&out, ARENA_MAX);
    attempt->stop = &d->s->blocks->draining;
    for (size_t i = 0; i < d->n; i++)
        d->here[i] = d->here[i] && d->codes[i] != 0; /* on a retry: only what isn't done */
    if (write_bulk(d, &out) < 0)
        return fail(err, EXHAUSTED, NULL, "the bulk doesn't fit into memory");
    struct kv header = { S("pubsubName"), d->s->pubsub };
    struct app_call call = {
        .verb = "POST",
        .path = d->path,
        .headers = { &header, 1 },
        .body = buf_str(&out),
        .content_type = S("application/json"),
        .max_answer = ANSWER_MAX,
    };
    struct app_answer answer;
    int r = app_do(d->s->blocks->app, &call, d->arena, &answer, err);
    if (r < 0)
        return r;
    bool *dropped = arena_zalloc(d->arena, d->n);
    if (!dropped)
        return fail(err, EXHAUSTED, NULL, "the bulk doesn't fit into memory");
    if (answer.status == 404)
        memset(dropped, 1, d->n);
    else if (answer.status < 200 || answer.status > 299) {
        attempt->http_status = answer.status;
        return fail(err, UNAVAILABLE, NULL,
                    "retriable error returned from app while processing bulk pub/sub event, "
                    "topic: " STR_FMT ". status code returned: %d",
                    STR_ARG(d->s->topic), answer.status);
    } else
        read_statuses(d, answer.body, dropped);
    size_t open = 0;
    for (size_t i = 0; i < d->n; i++) {
        if (!d->here[i])
            continue;
        struct delivery one = { .s = d->s, .m = &d->m[i], .arena = d->arena };
        if (dropped[i])
            d->codes[i] = d->s->dead_letter.n ? dead_letter(&one, err) : 0;
        open += d->codes[i] != 0;
    }
    return open ? fail(err, UNAVAILABLE, NULL, "%zu messages of a bulk are to be retried", open)
                : 0;
}

/* All messages of one path together; then what is left of them to the dead letters. */
CO static void deliver_path(struct bulk_delivery *d, struct error *err)
{
    (void)guard_call(broker_of(d->s)->inbound, S(""), try_bulk, d, err);
    for (size_t i = 0; i < d->n; i++) {
        if (!d->here[i] || d->codes[i] == 0)
            continue;
        struct delivery one = { .s = d->s, .m = &d->m[i], .arena = d->arena };
        struct error cause = { 0 };
        d->codes[i] = give_up(&one, -UNAVAILABLE, &cause);
    }
}

/* Finds each message's path; what can't be read, has expired or matches nothing is decided here. */
CO static void route_bulk(struct bulk_delivery *d, str *paths)
{
    for (size_t i = 0; i < d->n; i++) {
        struct delivery one = { .s = d->s, .m = &d->m[i], .arena = d->arena, .status = "" };
        struct error err = { 0 };
        int r = read_message(&one, &err);
        bool gone = r >= 0 && cloudevent_expired(&one.ce, clock_wall_ns());
        if (r >= 0 && !gone)
            r = route(&one, &err);
        if (r < 0)
            d->codes[i] = give_up(&one, r, &err);
        else if (gone || !one.path.p)
            d->codes[i] = drop(&one, &err);
        else
            d->codes[i] = 1;
        paths[i] = one.path;
        char id[UUID_LEN];
        id_uuid4(id);
        d->ids[i] =
            d->m[i].entry_id.n ? d->m[i].entry_id : arena_dup(d->arena, str_of(id, UUID_LEN));
    }
}

CO int deliver_bulk(void *subscription, const struct pubsub_message *m, size_t n, int *ret_codes,
                    struct error *err)
{
    struct arena arena;
    arena_init(&arena, ARENA_MAX);
    struct bulk_delivery d = {
        .s = subscription, .m = m, .n = n, .codes = ret_codes, .arena = &arena
    };
    uint64_t start = clock_now_ns();
    d.ids = arena_zalloc(&arena, n * sizeof *d.ids);
    d.here = arena_zalloc(&arena, n);
    str *paths = arena_zalloc(&arena, n * sizeof *paths);
    int r = d.ids && d.here && paths
                ? 0
                : fail(err, EXHAUSTED, NULL, "the bulk doesn't fit into memory");
    for (size_t i = 0; i < n && r < 0; i++)
        ret_codes[i] = r;
    if (r >= 0)
        route_bulk(&d, paths);
    for (size_t i = 0; i < n && r >= 0; i++) {
        if (ret_codes[i] != 1)
            continue;
        d.path = paths[i];
        for (size_t j = 0; j < n; j++)
            d.here[j] = ret_codes[j] == 1 && str_eq(paths[j], d.path);
        deliver_path(&d, err);
    }
    for (size_t i = 0; i < n; i++)
        if (ret_codes[i] < 0)
            r = -UNAVAILABLE;
    observe_ingress_bulk(d.s->blocks, d.s->topic, r < 0 ? "retry" : "success", start);
    arena_done(&arena);
    return r;
}
