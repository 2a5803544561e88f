#include "block/subscribe.h"

#include "base/log.h"
#include "base/mem.h"
#include "block/app/channel.h"
#include "block/batch.h"
#include "block/core/guard.h"
#include "block/deliver.h"
#include "block/publish.h"
#include "format/cel.h"
#include "format/duration.h"

enum { ARENA_MAX = 16 << 20, SUBSCRIPTIONS_MAX = 10000 };
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
        resources_unref(old->from);
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

void subscription_read_raw(struct subscription *s)
{
    str raw = kvs_get(s->metadata, S("rawPayload"));
    s->raw_malformed = raw.n && !str_to_bool(raw, &s->raw); /* fails each delivery: facts 11.9 */
}

/* ---- declarative ---- */

static int add_declarative(struct blocks *b, struct subscriptions *l, struct resources *res,
                           const struct subscription_resource *r)
{
    if (find(l, r->pubsub, r->topic))
        return 0;
    struct subscription s = {
        .type = DECLARATIVE,
        .hash = r->head.hash,
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
    subscription_read_raw(&s);
    s.from = resources_ref(res);
    int code = add(l, &s);
    if (code < 0)
        resources_unref(res);
    return code;
}

CO static int add_all_declarative(struct blocks *b, struct subscriptions *l, struct resources *res)
{
    int code = 0;
    for (size_t i = 0; i < res->n_subscriptions && code >= 0; i++)
        if (resource_in_scope(&res->subscription[i].head, str_c(b->app_id)))
            code = add_declarative(b, l, res, &res->subscription[i]);
    return code;
}

/* ---- programmatic ---- */

static int compile(struct arena *a, struct app_subscription *from, struct error *err)
{
    for (size_t i = 0; i < from->n_rules; i++) {
        struct route_rule *rule = &from->rules[i];
        struct cel_program *program;
        if (!str_trim(rule->match).n)
            continue;
        int r = cel_compile(a, rule->match, &program, err);
        if (r < 0)
            return r;
        rule->program = program;
    }
    return 0;
}

static int add_programmatic(struct blocks *b, struct subscriptions *l,
                            struct app_subscription *from, struct error *err)
{
    struct subscription s = {
        .type = PROGRAMMATIC,
        .blocks = b,
        .pubsub = from->pubsub,
        .topic = from->topic,
        .dead_letter = from->dead_letter,
        .metadata = from->metadata,
        .rules = from->rules,
        .n_rules = from->n_rules,
        .bulk = from->bulk,
        .bulk_max = from->bulk_max,
        .bulk_await_ms = from->bulk_await_ms,
    };
    if (from->wrong)
        return fail(err, INVALID, NULL, "%s", from->wrong);
    int r = compile(&l->arena, from, err);
    if (r < 0)
        return r;
    if (!s.n_rules) {
        log_warn(SCOPE, "subscription to topic " STR_FMT " of " STR_FMT " has no route: ignored",
                 STR_ARG(s.topic), STR_ARG(s.pubsub));
        return 0;
    }
    subscription_read_raw(&s);
    return add(l, &s) < 0 ? fail(err, EXHAUSTED, NULL, "too many subscriptions") : 0;
}

struct question {
    struct blocks *b;
    struct arena *arena;
    struct app_subscriptions answer;
};

CO static int try_ask(void *arg, struct guard_attempt *attempt, struct error *err)
{
    struct question *q = arg;
    return q->b->app->channel->subscriptions(q->b->app, q->arena, &q->answer, err);
}

CO static int discover_programmatic(struct blocks *b, struct subscriptions *l, struct error *err)
{
    struct question q = { .b = b, .arena = &l->arena };
    int r =
        guard_call(policy_builtin(b->resiliency, BUILTIN_INIT_RETRIES), S(""), try_ask, &q, err);
    if (r < 0)
        return r;
    if (q.answer.refused)
        log_error(SCOPE, "%s", q.answer.refused);
    for (size_t i = 0; i < q.answer.n; i++) {
        struct error cause = { 0 };
        if (add_programmatic(b, l, &q.answer.v[i], &cause) < 0)
            log_error(SCOPE, "a subscription of the app is left out: %s", cause.text);
    }
    return 0;
}

CO int subscriptions_discover(struct blocks *b, struct subscriptions *ret, struct error *err)
{
    *ret = (struct subscriptions){ 0 };
    arena_init(&ret->arena, ARENA_MAX);
    if (add_all_declarative(b, ret, b->resources) < 0)
        return fail(err, EXHAUSTED, NULL, "too many subscriptions");
    if (!b->app || !b->ask_app || !catalog_count(b, KIND_PUBSUB))
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
    s->instance = catalog_get(s->blocks, KIND_PUBSUB, s->pubsub);
    if (!s->instance)
        return fail(err, NOT_FOUND, NULL, "pubsub " STR_FMT " isn't loaded", STR_ARG(s->pubsub));
    const struct broker *k = s->instance->extra;
    if (!topics_may_subscribe(&k->topics, s->topic))
        return fail(err, DENIED, NULL,
                    "subscription to topic '" STR_FMT "' on pubsub '" STR_FMT "' is not allowed",
                    STR_ARG(s->topic), STR_ARG(s->pubsub));
    return 0;
}

/* Engines of ours may use the dead letter topic for what nobody could process. */
int subscription_metadata(const struct subscription *s, struct arena *a, struct kvs *ret)
{
    *ret = s->metadata;
    if (!s->dead_letter.n)
        return 0;
    struct kv *kv = arena_alloc(a, (s->metadata.n + 1) * sizeof *kv);
    if (!kv)
        return -EXHAUSTED;
    for (size_t i = 0; i < s->metadata.n; i++)
        kv[i] = s->metadata.v[i];
    kv[s->metadata.n] = (struct kv){ S("deadLetterTopic"), s->dead_letter };
    *ret = (struct kvs){ kv, s->metadata.n + 1 };
    return 0;
}

CO static int start_one(struct subscription *s, struct arena *a, struct error *err)
{
    const struct broker *k = s->instance->extra;
    str part[] = { k->topics.prefix, s->topic };
    struct pubsub_subscription p = {
        .topic = arena_join(a, part, 2),
        .handle = deliver_one,
        .handle_bulk = s->bulk ? deliver_bulk : NULL,
        .bulk_max = s->bulk_max > 0 ? (size_t)s->bulk_max : 100,
        .bulk_await_ns = MS(s->bulk_await_ms > 0 ? s->bulk_await_ms : 1000),
        .arg = s,
    };
    if (!p.topic.p)
        return fail(err, EXHAUSTED, NULL, "out of memory");
    if (s->bulk && !(instance_features(s->instance) & PUBSUB_BULK_SUBSCRIBE)) {
        s->batcher = batcher_new(s, p.bulk_max, p.bulk_await_ns);
        if (!s->batcher)
            return fail(err, EXHAUSTED, NULL, "out of memory");
        p.handle = batcher_deliver;
        p.handle_bulk = NULL;
        p.arg = s->batcher;
    }
    if (subscription_metadata(s, a, &p.metadata) < 0)
        return fail(err, EXHAUSTED, NULL, "out of memory");
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

CO static void stop_one(struct subscription *s)
{
    if (s->engine)
        ops(s->instance)->unsubscribe(s->instance->self, TAKE(s->engine));
    batcher_free(TAKE(s->batcher));
}

CO void subscriptions_stop(struct subscriptions *l)
{
    SHIELD(); /* deliveries in flight end first */
    for (size_t i = 0; i < l->n; i++)
        stop_one(l->v[i]);
}

CO void subscriptions_leave(struct subscriptions *l, const struct instance *broker)
{
    SHIELD();
    for (size_t i = 0; i < l->n; i++) {
        if (l->v[i]->instance == broker)
            stop_one(l->v[i]);
        l->v[i]->hopeless = false; /* things change: what is wrong is said again */
    }
}

static bool still_there(const struct subscription *s, const struct resources *res, str app_id)
{
    for (size_t i = 0; i < res->n_subscriptions; i++)
        if (res->subscription[i].head.hash == s->hash &&
            resource_in_scope(&res->subscription[i].head, app_id))
            return true;
    return s->type != DECLARATIVE;
}

CO void subscriptions_update(struct blocks *b, struct subscriptions *l, struct resources *res)
{
    SHIELD();
    size_t kept = 0;
    for (size_t i = 0; i < l->n; i++) {
        struct subscription *s = l->v[i];
        s->hopeless = false;
        if (still_there(s, res, str_c(b->app_id))) {
            l->v[kept++] = s;
            continue;
        }
        stop_one(s);
        log_info(SCOPE, "app is no longer subscribed to topic " STR_FMT " through pubsub=" STR_FMT,
                 STR_ARG(s->topic), STR_ARG(s->pubsub));
        resources_unref(s->from);
    }
    l->n = kept;
    if (add_all_declarative(b, l, res) < 0)
        log_error(SCOPE, "more than %d subscriptions: the rest is left out", SUBSCRIPTIONS_MAX);
}

CO void subscriptions_done(struct subscriptions *l)
{
    subscriptions_stop(l);
    for (size_t i = 0; i < l->n; i++)
        resources_unref(l->v[i]->from);
    arena_done(&l->arena);
    *l = (struct subscriptions){ 0 };
}
