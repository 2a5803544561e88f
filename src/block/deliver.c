#include "block/deliver.h"

#include "base/clock.h"
#include "base/id.h"
#include "block/app/channel.h"
#include "block/core/observe.h"
#include "block/core/operation.h"
#include "block/publish.h"
#include "format/cel.h"
#include "format/cloudevent.h"
#include "telemetry/span.h"

enum { ARENA_MAX = 256 << 20 };

struct delivery {
    struct subscription *s;
    const struct pubsub_message *m;
    struct arena *arena;
    str body; /* what the app gets */
    struct cloudevent ce;
    str path;           /* of the rule that matched; .p NULL = none did */
    const char *status; /* as the app said, for the metrics */
    enum event_verdict verdict;
};

static const struct broker *broker_of(const struct subscription *s)
{
    return s->instance->extra;
}

/* Deliveries are being stopped: what fails isn't hopeless, the broker gives it again. */
static const atomic_bool *stop_of(const struct subscription *s)
{
    return s->sink ? s->sink->over : &s->blocks->draining;
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

CO static int dead_letter(struct delivery *d, struct error *err)
{
    SHIELD(); /* a stop must not leave it between here and there */
    struct pubsub_message m = *d->m;
    str part[] = { broker_of(d->s)->topics.prefix, d->s->dead_letter };
    m.topic = arena_join(d->arena, part, 2);
    return m.topic.p ? block_publish_raw(d->s->blocks, d->s->instance, &m, err)
                     : fail(err, EXHAUSTED, NULL, "out of memory");
}

static const char *status_text(enum event_verdict v)
{
    static const char *const text[] = { "SUCCESS", "RETRY", "DROP", "DROP" };
    return text[v];
}

/* The event says whose trace it belongs to; without tracing its context goes on as it is. */
static void begin_span(const struct subscription *s, const struct cloudevent *ce, struct span *ret)
{
    struct trace_context from;
    trace_read(&from, trace_parent_valid(ce->traceparent) ? ce->traceparent : ce->traceid,
               ce->tracestate);
    span_start(ret, &from, SPAN_SERVER);
    if (!span_recorded(ret))
        return;
    span_name(ret, (str[]){ S("pubsub/"), s->topic }, 2);
    span_attr(ret, S("messaging.system"), S("pubsub"));
    span_attr(ret, S("messaging.destination.name"), s->topic);
}

static void end_span(struct span *s, enum event_verdict verdict, const struct error *err)
{
    if (verdict == EVENT_RETRY)
        span_fail(s, err && err->code ? str_c(err->text) : S("RETRY"));
    span_end(s);
}

CO static int tell(struct delivery *d, struct guard_attempt *attempt, struct error *err)
{
    struct subscription *s = d->s;
    struct span span;
    str topic = d->m->topic.n ? app_topic(s, d->m->topic) : s->topic;
    begin_span(s, &d->ce, &span);
    struct app_event e = { d->path, topic, s->pubsub, d->m, d->body, &d->ce, span.context };
    d->verdict = EVENT_RETRY;
    struct app *app = s->blocks->app;
    int r = s->sink
                ? s->sink->event(s->sink->arg, &e, d->arena, &d->verdict, err)
                : app->channel->event(app, &e, d->arena, &d->verdict, &attempt->http_status, err);
    if (!s->sink)
        attempt->grpc_status = app_grpc_code(app, r);
    if (r < 0)
        d->verdict = EVENT_RETRY;
    end_span(&span, d->verdict, err);
    d->status = status_text(d->verdict);
    if (r < 0 || d->verdict != EVENT_RETRY)
        return r;
    return fail(err, UNAVAILABLE, NULL,
                "RETRY status returned from app while processing pub/sub event " STR_FMT,
                STR_ARG(d->ce.id));
}

CO static int try_deliver(void *arg, struct guard_attempt *attempt, struct error *err)
{
    struct delivery *d = arg;
    attempt->stop = stop_of(d->s);
    int r = tell(d, attempt, err);
    if (r < 0 || d->verdict != EVENT_DROP || !d->s->dead_letter.n)
        return r;
    return dead_letter(d, err); /* its failure enters the retry policy: surprise 33 */
}

/* What the retries could not heal: to the dead letter topic, or back to the broker. */
CO static int give_up(struct delivery *d, int r, struct error *err)
{
    /* Cut short by a stop: it isn't hopeless, the broker gives it again. */
    if (!d->s->dead_letter.n || r == -CANCELLED || atomic_load(stop_of(d->s)))
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
    d->verdict = EVENT_DROP;
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
    r = operation_event(d->s->instance, "deliver", try_deliver, d, err);
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
    const char *process = r < 0 ? "retry" : d.verdict >= EVENT_DROP ? "drop" : "success";
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
    str *ids; /* entry ids that the app answers with */
    struct cloudevent *ce;
    bool *here; /* goes to this path */
};

/* On a retry: only what isn't done. *ret_at: which message each entry is. */
static int gather(const struct bulk_delivery *d, struct app_bulk *ret, size_t **ret_at)
{
    *ret = (struct app_bulk){ d->path, d->s->topic, d->s->pubsub, d->s->raw, NULL, 0 };
    ret->entry = arena_alloc(d->arena, d->n * sizeof *ret->entry);
    *ret_at = arena_alloc(d->arena, d->n * sizeof **ret_at);
    if (!ret->entry || !*ret_at)
        return -EXHAUSTED;
    for (size_t i = 0; i < d->n; i++) {
        if (!d->here[i] || d->codes[i] == 0)
            continue;
        (*ret_at)[ret->n] = i;
        ret->entry[ret->n++] =
            (struct app_bulk_entry){ d->ids[i], &d->m[i], &d->ce[i], EVENT_RETRY };
    }
    return 0;
}

CO static int settle(struct bulk_delivery *d, size_t i, enum event_verdict verdict,
                     struct error *err)
{
    struct delivery one = { .s = d->s, .m = &d->m[i], .arena = d->arena };
    if (verdict == EVENT_RETRY)
        return d->codes[i];
    return verdict == EVENT_DROP && d->s->dead_letter.n ? dead_letter(&one, err) : 0;
}

/* One for each message: they may come from as many traces. NULL: tracing is off, or no memory. */
static struct span *begin_spans(const struct bulk_delivery *d, const struct app_bulk *bulk)
{
    struct span *s = tracer_on() ? arena_alloc(d->arena, bulk->n * sizeof *s) : NULL;
    for (size_t i = 0; s && i < bulk->n; i++)
        begin_span(d->s, bulk->entry[i].ce, &s[i]);
    return s;
}

CO static int try_bulk(void *arg, struct guard_attempt *attempt, struct error *err)
{
    struct bulk_delivery *d = arg;
    struct app_bulk bulk;
    size_t *at, open = 0;
    struct app *app = d->s->blocks->app;
    attempt->stop = stop_of(d->s);
    if (gather(d, &bulk, &at) < 0)
        return fail(err, EXHAUSTED, NULL, "the bulk doesn't fit into memory");
    struct span *spans = begin_spans(d, &bulk);
    int r = app->channel->bulk(app, &bulk, d->arena, &attempt->http_status, err);
    attempt->grpc_status = app_grpc_code(app, r);
    for (size_t k = 0; spans && k < bulk.n; k++)
        end_span(&spans[k], r < 0 ? EVENT_RETRY : bulk.entry[k].verdict, err);
    if (r < 0)
        return r;
    for (size_t k = 0; k < bulk.n; k++) {
        d->codes[at[k]] = settle(d, at[k], bulk.entry[k].verdict, err);
        open += d->codes[at[k]] != 0;
    }
    return open ? fail(err, UNAVAILABLE, NULL, "%zu messages of a bulk are to be retried", open)
                : 0;
}

/* All messages of one path together; then what is left of them to the dead letters. */
CO static void deliver_path(struct bulk_delivery *d, struct error *err)
{
    (void)operation_event(d->s->instance, "deliver", try_bulk, d, err);
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
        d->ce[i] = one.ce;
        char id[UUID_LEN];
        id_uuid4(id);
        d->ids[i] =
            d->m[i].entry_id.n ? d->m[i].entry_id : arena_dup(d->arena, str_of(id, UUID_LEN));
    }
}

static int make_bulk(struct bulk_delivery *d, str **ret_paths, struct error *err)
{
    d->ids = arena_zalloc(d->arena, d->n * sizeof *d->ids);
    d->here = arena_zalloc(d->arena, d->n);
    d->ce = arena_zalloc(d->arena, d->n * sizeof *d->ce);
    *ret_paths = arena_zalloc(d->arena, d->n * sizeof **ret_paths);
    return d->ids && d->here && d->ce && *ret_paths
               ? 0
               : fail(err, EXHAUSTED, NULL, "the bulk doesn't fit into memory");
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
    str *paths;
    int r = make_bulk(&d, &paths, err);
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
    size_t failed = 0;
    for (size_t i = 0; i < n; i++)
        failed += ret_codes[i] < 0;
    r = failed ? -UNAVAILABLE : r;
    observe_ingress_bulk(d.s->blocks, d.s->topic, n - failed, failed, start);
    arena_done(&arena);
    return r;
}
