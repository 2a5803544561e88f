/* redis.c — configuration.redis: each key a string of Redis, "value" or "value||version", as the
 * contract has it; changes are told by Redis' keyspace events.
 * Owner:  the instance owns its client; a subscription its connection and the fiber that listens.
 * Thread: get on any worker; a subscription's handler runs on the worker that subscribed.
 * Failure: as common/redis/redis.h says. While Redis is away nothing is told; once it is back, keys
 * that were asked for by name and have changed meanwhile are. */
#include "component/configuration.h"

#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "components/common/redis/redis.h"
#include "loop/worker.h"

#include <stdio.h>
#include <stdlib.h>

enum { KEYS_MAX = 10000, PREFIX_MAX = 40 };
#define RETRY_FIRST_NS MS(50)
#define RETRY_LAST_NS SEC(5)

static const char LOG[] = "dapr.contrib";

struct settings {
    struct redis_config config;
    const char *name;
    struct redis *redis;
};

/* ---- reading ---- */

/* "value||version": what follows a second "||" is left out, as in the contract. */
static struct configuration_item item_of(str key, str text)
{
    struct configuration_item it = { .key = key, .value = text, .version = S("") };
    ptrdiff_t at = str_find(text, S("||"));
    if (at < 0)
        return it;
    it.value = str_take(text, (size_t)at);
    it.version = str_skip(text, (size_t)at + 2);
    at = str_find(it.version, S("||"));
    if (at >= 0)
        it.version = str_take(it.version, (size_t)at);
    return it;
}

static int too_large(struct error *err)
{
    return fail(err, EXHAUSTED, NULL, "the request is too large for its memory");
}

/* GET of each key; ret[i] answers keys[i]. */
CO static int read_all(struct settings *s, const str *keys, size_t n, struct arena *a,
                       struct redis_reply **ret, struct error *err)
{
    struct redis_command *c = arena_alloc(a, n * sizeof *c);
    str *arg = arena_alloc(a, 2 * n * sizeof *arg);
    *ret = arena_alloc(a, n * sizeof **ret);
    if (!c || !arg || !*ret)
        return too_large(err);
    for (size_t i = 0; i < n; i++) {
        arg[2 * i] = S("GET");
        arg[2 * i + 1] = keys[i];
        c[i] = (struct redis_command){ arg + 2 * i, 2, keys[i] };
    }
    int r = redis_pipeline(s->redis, c, n, REDIS_AGAIN, a, *ret, err);
    for (size_t i = 0; r == 0 && i < n; i++)
        if (!redis_error_is(&(*ret)[i], "WRONGTYPE")) /* no setting: another engine's key */
            r = redis_check(s->redis, &(*ret)[i], err);
    return r;
}

struct keys {
    str *v;
    size_t n, cap;
};

static int add_key(struct keys *k, str key, struct arena *a, struct error *err)
{
    if (k->n == KEYS_MAX)
        return fail(err, EXHAUSTED, NULL,
                    "there are more than %d keys: ask for them by name, or give the settings a "
                    "database of their own",
                    KEYS_MAX);
    if (k->n == k->cap) {
        size_t cap = k->cap ? k->cap * 2 : 64;
        str *v = arena_alloc(a, cap * sizeof *v);
        if (!v)
            return too_large(err);
        if (k->n)
            memcpy(v, k->v, k->n * sizeof *v);
        k->v = v;
        k->cap = cap;
    }
    k->v[k->n++] = key;
    return 0;
}

static int by_bytes(const void *a, const void *b)
{
    return str_cmp(*(const str *)a, *(const str *)b);
}

/* SCAN may give a key twice. */
static void make_unique(struct keys *k)
{
    size_t n = 0;
    if (k->n)
        qsort(k->v, k->n, sizeof *k->v, by_bytes);
    for (size_t i = 0; i < k->n; i++)
        if (!n || !str_eq(k->v[n - 1], k->v[i]))
            k->v[n++] = k->v[i];
    k->n = n;
}

CO static int scan(struct settings *s, struct arena *a, struct keys *ret, struct error *err)
{
    str cursor = S("0");
    do {
        struct redis_reply reply;
        str arg[] = { S("SCAN"), cursor, S("COUNT"), S("500") };
        struct redis_command c = { arg, COUNT(arg), { 0 } };
        int r = redis_do(s->redis, &c, REDIS_AGAIN, a, &reply, err);
        if (r < 0)
            return r;
        if (reply.kind != REDIS_ARRAY || reply.n != 2 || reply.item[0].kind != REDIS_STRING ||
            reply.item[1].kind != REDIS_ARRAY)
            return fail(err, UNKNOWN, NULL, "Redis gave an answer to SCAN that it can't give");
        for (size_t i = 0; r == 0 && i < reply.item[1].n; i++)
            r = add_key(ret, reply.item[1].item[i].text, a, err);
        if (r < 0)
            return r;
        cursor = reply.item[0].text;
    } while (!str_eq(cursor, S("0")));
    make_unique(ret);
    return 0;
}

CO static int settings_get(void *self, const str *keys, size_t n_keys, struct kvs metadata,
                           struct arena *a, struct configuration_item **ret, size_t *ret_n,
                           struct error *err)
{
    struct settings *s = self;
    struct keys all = { 0 };
    struct redis_reply *reply = NULL;
    (void)metadata;
    if (!n_keys && redis_is_cluster(s->redis))
        return fail(err, UNIMPLEMENTED, NULL, "a cluster isn't searched: ask for keys by name");
    int r = n_keys ? 0 : scan(s, a, &all, err);
    if (n_keys)
        all = (struct keys){ (str *)keys, n_keys, n_keys };
    if (r == 0)
        r = read_all(s, all.v, all.n, a, &reply, err);
    if (r < 0)
        return r;
    struct configuration_item *v = arena_alloc(a, all.n * sizeof *v);
    if (!v || (all.n && !reply))
        return too_large(err);
    *ret_n = 0;
    for (size_t i = 0; i < all.n; i++)
        if (reply[i].kind == REDIS_STRING)
            v[(*ret_n)++] = item_of(all.v[i], reply[i].text);
    *ret = v;
    return 0;
}

/* ---- listening ---- */

struct listener {
    struct settings *s;
    struct configuration_subscription sub;
    struct arena arena; /* of the keys */
    str *keys;
    uint64_t *seen; /* hash of each one's text when it was last looked at; 0 = absent */
    size_t n;
    struct redis_conn *conn; /* opened by who subscribed; then the fiber's */
    struct fiber *fiber;
    struct worker *worker;
    bool waits, closing, ended; /* of its worker; waits: may be cancelled, no handler is at work */
    struct mail stop;
    struct ticket ticket; /* of who unsubscribes */
};

static uint64_t mark_of(const struct redis_reply *reply)
{
    return reply->kind == REDIS_STRING ? hash_stable(reply->text) | 1 : 0;
}

static void complain(const struct listener *l, const struct error *err)
{
    static struct log_limit limit;
    uint64_t missed;
    if (log_allow(&limit, SEC(5), &missed))
        log_warn(LOG, "%s: listening for changes: %s (%llu more like it since)", l->s->name,
                 err->text, (unsigned long long)missed);
}

static str prefix_of(const struct listener *l, char text[PREFIX_MAX])
{
    int n = snprintf(text, PREFIX_MAX, "__keyspace@%lld__:", (long long)l->s->config.db);
    return str_of(text, (size_t)n);
}

/* What Redis must tell: K (keyspace), g (del, rename), $ (set), x (expired), e (evicted). Flags
 * that are there already stay: somebody else may listen too. */
CO static void switch_on(struct redis_conn *conn, struct arena *a)
{
    static const char want[] = "Kg$xe";
    struct redis_reply reply;
    struct error err = { 0 };
    char flags[64];
    str name = S("notify-keyspace-events"), get[] = { S("CONFIG"), S("GET"), name };
    int r = redis_conn_do(conn, get, COUNT(get), 0, a, &reply, &err);
    if (r < 0 || reply.kind != REDIS_ARRAY || reply.n != 2)
        return; /* CONFIG is often forbidden: then the operator has set them, or nothing is told */
    str now = str_take(reply.item[1].text, sizeof flags - sizeof want);
    size_t n = now.n, missing = 0;
    memcpy(flags, now.p, now.n);
    for (const char *c = want; *c; c++)
        if (str_find_c(now, *c) < 0 && (*c == 'K' || str_find_c(now, 'A') < 0)) {
            flags[n++] = *c;
            missing++;
        }
    str set[] = { S("CONFIG"), S("SET"), name, str_of(flags, n) };
    if (missing)
        (void)!redis_conn_do(conn, set, COUNT(set), 0, a, &reply, &err);
}

CO static int listen_to(struct listener *l, struct redis_conn *conn, struct arena *a,
                        struct error *err)
{
    char text[PREFIX_MAX];
    str prefix = prefix_of(l, text);
    size_t n = l->n ? l->n : 1;
    for (size_t i = 0; i < n; i++) {
        struct redis_reply reply;
        str part[] = { prefix, l->n ? l->keys[i] : S("*") };
        str arg[] = { l->n ? S("SUBSCRIBE") : S("PSUBSCRIBE"), arena_join(a, part, 2) };
        if (!arg[1].p)
            return too_large(err);
        int r = redis_conn_do(conn, arg, 2, 0, a, &reply, err);
        if (r < 0)
            return r;
    }
    return 0;
}

/* Tells one key's present value. */
CO static void tell(struct listener *l, str key, const struct redis_reply *now)
{
    struct error err = { 0 };
    struct configuration_item it = { .key = key };
    if (now->kind == REDIS_STRING)
        it = item_of(key, now->text);
    (void)l->sub.handle(l->sub.arg, &it, 1, &err); /* its failure is its own business */
}

/* Looks at the keys that were asked for by name: the first time to know them, after an interruption
 * to tell what has changed. */
CO static int look_again(struct listener *l, bool first, struct arena *a, struct error *err)
{
    struct redis_reply *reply;
    if (!l->n)
        return 0;
    int r = read_all(l->s, l->keys, l->n, a, &reply, err);
    for (size_t i = 0; r == 0 && i < l->n; i++) {
        uint64_t mark = mark_of(&reply[i]);
        bool changed = mark != l->seen[i];
        l->seen[i] = mark;
        if (changed && !first && !l->closing)
            tell(l, l->keys[i], &reply[i]);
    }
    return r;
}

/* The key and the event of ["message", channel, event] or ["pmessage", pattern, channel, event]. */
static bool event_of(const struct redis_reply *m, str prefix, str *ret_key, str *ret_event)
{
    size_t at = m->kind == REDIS_ARRAY && m->n ? m->n - 2 : 0;
    bool one = m->n == 3 && str_eq(m->item[0].text, S("message"));
    bool all = m->n == 4 && str_eq(m->item[0].text, S("pmessage"));
    if (m->kind != REDIS_ARRAY || !(one || all) || !str_starts(m->item[at].text, prefix))
        return false;
    *ret_key = str_skip(m->item[at].text, prefix.n);
    *ret_event = m->item[at + 1].text;
    return true;
}

CO static int hear(struct listener *l, const struct redis_reply *message, struct arena *a,
                   struct error *err)
{
    char text[PREFIX_MAX];
    str key, event;
    struct redis_reply *now;
    if (!event_of(message, prefix_of(l, text), &key, &event) || str_eq(event, S("expire")) ||
        str_eq(event, S("persist")))
        return 0;
    int r = read_all(l->s, &key, 1, a, &now, err);
    if (r < 0)
        return r;
    for (size_t i = 0; i < l->n; i++)
        if (str_eq(l->keys[i], key))
            l->seen[i] = mark_of(now);
    if (now->kind == REDIS_STRING || now->kind == REDIS_NIL)
        tell(l, key, now);
    return 0;
}

CO static int connect_up(struct listener *l, bool first, struct redis_conn **ret, struct arena *a,
                         struct error *err)
{
    struct redis_conn *conn = NULL;
    int r = redis_conn_open(l->s->redis, (str){ 0 }, &conn, err);
    if (r == 0) {
        switch_on(conn, a);
        r = listen_to(l, conn, a, err);
    }
    if (r == 0)
        r = look_again(l, first, a, err);
    if (r < 0)
        redis_conn_close(conn);
    else
        *ret = conn;
    return r;
}

/* Until the connection breaks or the subscription ends. */
CO static int hear_all(struct listener *l, struct arena *a, struct error *err)
{
    int r = 0;
    while (r == 0 && !l->closing) {
        struct redis_reply message;
        arena_reset(a);
        l->waits = true;
        r = redis_conn_next(l->conn, a, &message, err);
        l->waits = false;
        if (r == 0)
            r = hear(l, &message, a, err);
    }
    return r;
}

CO static void listen_fiber(void *arg)
{
    struct listener *l = arg;
    uint64_t pause = RETRY_FIRST_NS;
    AUTO(arena_done) struct arena a;
    arena_init(&a, MIB(64));
    while (!l->closing && !fiber_cancelled()) {
        struct error err = { 0 };
        arena_reset(&a);
        int r = l->conn ? 0 : connect_up(l, false, &l->conn, &a, &err);
        if (r == 0) {
            pause = RETRY_FIRST_NS;
            r = hear_all(l, &a, &err);
            redis_conn_close(TAKE(l->conn));
        }
        if (r >= 0 || l->closing || fiber_cancelled())
            continue;
        complain(l, &err);
        l->waits = true;
        (void)!fiber_sleep(pause);
        l->waits = false;
        pause = min_u64(pause * 2, RETRY_LAST_NS);
    }
    redis_conn_close(TAKE(l->conn));
    l->ended = true;
    if (l->closing)
        ticket_done(&l->ticket, 0);
}

/* ---- subscribing ---- */

static void listener_free(struct listener *l)
{
    redis_conn_close(l->conn);
    mem_free(l->seen);
    arena_done(&l->arena);
    mem_free(l);
}

static struct listener *listener_new(struct settings *s, const struct configuration_subscription *c)
{
    struct listener *l = mem_zalloc(sizeof *l);
    if (!l)
        return NULL;
    arena_init(&l->arena, MIB(16));
    l->s = s;
    l->sub = *c;
    l->n = c->n_keys;
    l->worker = worker_self();
    l->seen = mem_zalloc((l->n + 1) * sizeof *l->seen);
    l->keys = arena_alloc(&l->arena, l->n * sizeof *l->keys);
    bool ok = l->seen && l->keys;
    for (size_t i = 0; ok && i < l->n; i++) {
        l->keys[i] = arena_dup(&l->arena, c->keys[i]);
        ok = l->keys[i].p;
    }
    if (ok)
        return l;
    listener_free(l);
    return NULL;
}

CO static int settings_subscribe(void *self, const struct configuration_subscription *c, void **ret,
                                 struct error *err)
{
    struct settings *s = self;
    if (redis_is_cluster(s->redis))
        return fail(
            err, UNIMPLEMENTED, NULL,
            "changes aren't told with redisType cluster: its nodes tell their own keys only");
    struct listener *l = listener_new(s, c);
    if (!l)
        return fail(err, EXHAUSTED, NULL, "out of memory for a subscription");
    AUTO(arena_done) struct arena a;
    arena_init(&a, MIB(64));
    int r = connect_up(l, true, &l->conn, &a, err);
    if (r == 0) {
        l->fiber = fiber_spawn("redis listener", listen_fiber, l);
        if (!l->fiber)
            r = fail(err, EXHAUSTED, NULL,
                     "no fiber for a subscription: raise the limit of fibers");
    }
    if (r < 0) {
        listener_free(l);
        return r;
    }
    *ret = l;
    return 0;
}

/* A handler at work isn't disturbed: the fiber looks at `closing` after it. */
static void on_stop(struct mail *m)
{
    struct listener *l = CONTAINER_OF(m, struct listener, stop);
    l->closing = true;
    if (l->ended)
        ticket_done(&l->ticket, 0);
    else if (l->waits)
        fiber_cancel(l->fiber);
}

CO static void settings_unsubscribe(void *self, void *sub)
{
    struct listener *l = sub;
    (void)self;
    ticket_init(&l->ticket);
    l->stop.run = on_stop;
    worker_post(l->worker, &l->stop);
    (void)!ticket_wait(&l->ticket);
    listener_free(l);
}

/* ---- opening, closing ---- */

CO static int settings_open(void *self, const struct component_env *env, struct error *err)
{
    struct settings *s = self;
    s->name = env->name;
    return redis_open(&s->config, &s->redis, err);
}

CO static void settings_close(void *self)
{
    struct settings *s = self;
    redis_close(TAKE(s->redis));
}

static const struct cfg_field fields[] = { REDIS_FIELDS(struct settings, config) };

extern const struct configuration_ops configuration_redis;
const struct configuration_ops configuration_redis = {
    .t = {
        .kind = "configuration",
        .type = "configuration.redis",
        .version = "v1",
        .doc = "Settings in Redis, told as they change.",
        .size = sizeof(struct settings),
        .fields = fields,
        .n_fields = COUNT(fields),
        .open = settings_open,
        .close = settings_close,
    },
    .get = settings_get,
    .subscribe = settings_subscribe,
    .unsubscribe = settings_unsubscribe,
};
