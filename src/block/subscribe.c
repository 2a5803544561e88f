#include "block/subscribe.h"

#include "base/log.h"
#include "base/mem.h"
#include "block/app.h"
#include "block/batch.h"
#include "block/deliver.h"
#include "block/guard.h"
#include "block/publish.h"
#include "format/cel.h"
#include "format/duration.h"

enum { ARENA_MAX = 16 << 20, DISCOVERY_MAX = 4 << 20, SUBSCRIPTIONS_MAX = 10000 };
static const char SCOPE[] = "dapr.runtime.pubsub";

static const struct pubsub_ops *ops(const struct instance *i)
{
    return CONTAINER_OF(i->type, struct pubsub_ops, t);
}

/* ---- the list ---- */

static struct subscription *find(const struct subscriptions *l, str pubsub, str topic)
{
    for (size_t i = 0; i < l->n; i++)
        if (str_eq(l->v[i]->pubsub, pubsub) && str_eq(l->v[i]->topic, topic))
            return l->v[i];
    return NULL;
}

/* Among declaratives the first one wins; a programmatic one replaces a declarative one (surprise
 * 31). */
static int add(struct subscriptions *l, const struct subscription *s)
{
    struct subscription *old = find(l, s->pubsub, s->topic);
    if (old && s->type == DECLARATIVE)
        return 0;
    if (old) {
        *old = *s;
        return 0;
    }
    if (l->n == SUBSCRIPTIONS_MAX)
        return -EXHAUSTED;
    if (l->n == l->cap) {
        size_t cap = l->cap ? l->cap * 2 : 16;
        struct subscription **v = arena_alloc(&l->arena, cap * sizeof(struct subscription *));
        if (!v)
            return -EXHAUSTED;
        for (size_t i = 0; i < l->n; i++)
            v[i] = l->v[i];
        l->v = v;
        l->cap = cap;
    }
    struct subscription *copy = arena_alloc(&l->arena, sizeof *copy);
    if (!copy)
        return -EXHAUSTED;
    *copy = *s;
    l->v[l->n++] = copy;
    return 0;
}

static void read_raw(struct subscription *s)
{
    str raw = kvs_get(s->metadata, S("rawPayload"));
    s->raw_malformed = raw.n && !str_to_bool(raw, &s->raw); /* fails each delivery: facts 11.9 */
}

/* ---- declarative ---- */

static int add_declarative(struct blocks *b, struct subscriptions *l,
                           const struct subscription_resource *r)
{
    struct subscription s = {
        .type = DECLARATIVE,
        .blocks = b,
        .pubsub = r->pubsub,
        .topic = r->topic,
        .dead_letter = r->dead_letter_topic,
        .metadata = r->metadata,
        .bulk = r->bulk,
        .bulk_max = r->bulk_max,
        .bulk_await_ms = r->bulk_await_ms,
    };
    s.rules = arena_alloc(&l->arena, (r->n_rules + 1) * sizeof *s.rules);
    if (!s.rules)
        return -EXHAUSTED;
    for (size_t i = 0; i < r->n_rules; i++)
        s.rules[s.n_rules++] = r->rule[i];
    if (r->default_path.n)
        s.rules[s.n_rules++] = (struct route_rule){ .path = r->default_path };
    read_raw(&s);
    return add(l, &s);
}

/* ---- programmatic: the array that GET /dapr/subscribe answers with ---- */

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

static int read_rule(struct arena *a, struct json v, struct route_rule *ret, struct error *err)
{
    *ret = (struct route_rule){ 0 };
    if (text(a, v, "match", &ret->match) < 0 || text(a, v, "path", &ret->path) < 0)
        return fail(err, INVALID, NULL, "a rule's match and path must be strings");
    struct cel_program *program;
    if (!str_trim(ret->match).n)
        return 0;
    int r = cel_compile(a, ret->match, &program, err);
    ret->program = r < 0 ? NULL : program;
    return r;
}

/* routes.default beats route (surprise 30). */
static int read_rules(struct arena *a, struct json v, struct subscription *s, struct error *err)
{
    struct json routes = json_get_fold(v, S("routes")), list = json_get_fold(routes, S("rules"));
    s->rules = arena_alloc(a, (json_count(list) + 1) * sizeof *s->rules);
    if (!s->rules)
        return fail(err, EXHAUSTED, NULL, "too many rules");
    struct json_iter it = json_iter(list);
    struct json item;
    while (json_next(&it, NULL, &item)) {
        int r = read_rule(a, item, &s->rules[s->n_rules], err);
        if (r < 0)
            return r;
        s->n_rules++;
    }
    str path, route;
    if (text(a, routes, "default", &path) < 0 || text(a, v, "route", &route) < 0)
        return fail(err, INVALID, NULL, "route and routes.default must be strings");
    path = path.n ? path : s->n_rules ? S("") : route;
    if (path.n)
        s->rules[s->n_rules++] = (struct route_rule){ .path = path };
    return 0;
}

static int add_programmatic(struct blocks *b, struct subscriptions *l, struct json v,
                            struct error *err)
{
    struct arena *a = &l->arena;
    struct subscription s = { .type = PROGRAMMATIC, .blocks = b };
    struct json bulk = json_get_fold(v, S("bulkSubscribe"));
    if (text(a, v, "pubsubname", &s.pubsub) < 0 || text(a, v, "topic", &s.topic) < 0 ||
        text(a, v, "deadLetterTopic", &s.dead_letter) < 0 ||
        read_metadata(a, json_get_fold(v, S("metadata")), &s.metadata) < 0)
        return fail(err, INVALID, NULL,
                    "pubsubname, topic and deadLetterTopic must be strings, metadata an object");
    int r = read_rules(a, v, &s, err);
    if (r < 0)
        return r;
    if (!json_bool(json_get_fold(bulk, S("enabled")), &s.bulk))
        s.bulk = false;
    if (!json_i64(json_get_fold(bulk, S("maxMessagesCount")), &s.bulk_max))
        s.bulk_max = 0;
    if (!json_i64(json_get_fold(bulk, S("maxAwaitDurationMs")), &s.bulk_await_ms))
        s.bulk_await_ms = 0;
    if (!s.n_rules) {
        log_warn(SCOPE, "subscription to topic " STR_FMT " of " STR_FMT " has no route: ignored",
                 STR_ARG(s.topic), STR_ARG(s.pubsub));
        return 0;
    }
    read_raw(&s);
    return add(l, &s) < 0 ? fail(err, EXHAUSTED, NULL, "too many subscriptions") : 0;
}

struct ask {
    struct blocks *b;
    struct arena *arena;
    struct app_answer answer;
};

CO static int try_ask(void *arg, struct guard_attempt *attempt, struct error *err)
{
    struct ask *q = arg;
    struct kv id = { S("dapr-app-id"), str_c(q->b->app_id) };
    struct app_call call = {
        .verb = "GET",
        .path = S("/dapr/subscribe"),
        .headers = { &id, 1 },
        .content_type = S("application/json"),
        .max_answer = DISCOVERY_MAX,
    };
    return app_do(q->b->app, &call, q->arena, &q->answer, err);
}

CO static int discover_programmatic(struct blocks *b, struct subscriptions *l, struct error *err)
{
    struct ask q = { .b = b, .arena = &l->arena };
    int r =
        guard_call(policy_builtin(b->resiliency, BUILTIN_INIT_RETRIES), S(""), try_ask, &q, err);
    if (r < 0)
        return r;
    if (q.answer.status == 404)
        return 0;
    struct json root, item;
    struct json_error where;
    if (q.answer.status != 200) {
        log_error(SCOPE, "app returned http status code %d from subscription endpoint",
                  q.answer.status);
        return 0;
    }
    if (json_parse(q.answer.body, &root, &where) < 0 ||
        (root.type != JSON_ARRAY && !json_is_null(root))) {
        log_error(SCOPE,
                  "the app's answer to GET /dapr/subscribe is no JSON array of subscriptions");
        return 0;
    }
    struct json_iter it = json_iter(root);
    while (json_next(&it, NULL, &item)) {
        struct error cause = { 0 };
        if (add_programmatic(b, l, item, &cause) < 0)
            log_error(SCOPE, "a subscription of the app is left out: %s", cause.text);
    }
    return 0;
}

CO int subscriptions_discover(struct blocks *b, struct subscriptions *ret, struct error *err)
{
    *ret = (struct subscriptions){ 0 };
    arena_init(&ret->arena, ARENA_MAX);
    const struct resources *res = b->resources;
    for (size_t i = 0; i < res->n_subscriptions; i++)
        if (resource_in_scope(&res->subscription[i].head, str_c(b->app_id)) &&
            add_declarative(b, ret, &res->subscription[i]) < 0)
            return fail(err, EXHAUSTED, NULL, "too many subscriptions");
    if (!b->app || !b->ask_app || !map_count(&b->pubsub))
        return 0; /* surprise 37 */
    int r = discover_programmatic(b, ret, err);
    if (r < 0) { /* the declared ones work all the same */
        log_error(SCOPE, "can't ask the app for its subscriptions: %s", err->text);
        *err = (struct error){ 0 };
    }
    return 0;
}

/* ---- start and stop ---- */

static int check_start(struct subscription *s, struct error *err)
{
    s->instance = map_get(&s->blocks->pubsub, s->pubsub);
    if (!s->instance)
        return fail(err, NOT_FOUND, NULL, "pubsub " STR_FMT " isn't loaded", STR_ARG(s->pubsub));
    const struct broker *k = s->instance->extra;
    if (!topics_may_subscribe(&k->topics, s->topic))
        return fail(err, DENIED, NULL,
                    "subscription to topic '" STR_FMT "' on pubsub '" STR_FMT "' is not allowed",
                    STR_ARG(s->topic), STR_ARG(s->pubsub));
    return 0;
}

CO static int start_one(struct subscription *s, struct arena *a, struct error *err)
{
    const struct broker *k = s->instance->extra;
    str part[] = { k->topics.prefix, s->topic };
    struct pubsub_subscription p = {
        .topic = arena_join(a, part, 2),
        .metadata = s->metadata,
        .handle = deliver_one,
        .handle_bulk = s->bulk ? deliver_bulk : NULL,
        .bulk_max = s->bulk_max > 0 ? (size_t)s->bulk_max : 100,
        .bulk_await_ns = MS(s->bulk_await_ms > 0 ? s->bulk_await_ms : 1000),
        .arg = s,
    };
    if (!p.topic.p)
        return fail(err, EXHAUSTED, NULL, "out of memory");
    if (s->bulk && !(s->instance->type->features & PUBSUB_BULK_SUBSCRIBE)) {
        s->batcher = batcher_new(s, p.bulk_max, p.bulk_await_ns);
        if (!s->batcher)
            return fail(err, EXHAUSTED, NULL, "out of memory");
        p.handle = batcher_deliver;
        p.handle_bulk = NULL;
        p.arg = s->batcher;
    }
    if (s->dead_letter.n) { /* engines of ours may use it for what nobody could process */
        struct kv *kv = arena_alloc(a, (s->metadata.n + 1) * sizeof *kv);
        if (!kv)
            return fail(err, EXHAUSTED, NULL, "out of memory");
        for (size_t i = 0; i < s->metadata.n; i++)
            kv[i] = s->metadata.v[i];
        kv[s->metadata.n] = (struct kv){ S("deadLetterTopic"), s->dead_letter };
        p.metadata = (struct kvs){ kv, s->metadata.n + 1 };
    }
    return ops(s->instance)->subscribe(s->instance->self, &p, &s->engine, err);
}

CO size_t subscriptions_start(struct blocks *b, struct subscriptions *l)
{
    size_t missing = 0;
    for (size_t i = 0; i < l->n; i++) {
        struct subscription *s = l->v[i];
        if (s->engine || s->hopeless)
            continue;
        struct error err = { 0 };
        s->hopeless = check_start(s, &err) < 0;
        if (!s->hopeless && start_one(s, &l->arena, &err) >= 0) {
            log_info(SCOPE, "app is subscribed to topic " STR_FMT " through pubsub=" STR_FMT,
                     STR_ARG(s->topic), STR_ARG(s->pubsub));
            continue;
        }
        missing += !s->hopeless;
        batcher_free(TAKE(s->batcher));
        log_error(SCOPE, "error occurred while beginning pubsub " STR_FMT " topic " STR_FMT ": %s",
                  STR_ARG(s->pubsub), STR_ARG(s->topic), err.text);
    }
    return missing;
}

CO void subscriptions_stop(struct subscriptions *l)
{
    SHIELD(); /* deliveries in flight end first */
    for (size_t i = 0; i < l->n; i++) {
        struct subscription *s = l->v[i];
        if (s->engine)
            ops(s->instance)->unsubscribe(s->instance->self, TAKE(s->engine));
        batcher_free(TAKE(s->batcher));
    }
}

CO void subscriptions_done(struct subscriptions *l)
{
    subscriptions_stop(l);
    arena_done(&l->arena);
    *l = (struct subscriptions){ 0 };
}
