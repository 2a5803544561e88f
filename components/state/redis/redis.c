/* redis.c — state.redis: each key a hash with the fields "data" and "version", as the contract's
 * runtimes keep it, so that they may share one Redis.
 * Owner:  the instance owns its client; answers are in the caller's arena.
 * Thread: any worker.   Failure: -ABORTED for a stale ETag; else as common/redis/redis.h says. */
#include "components/common/redis/redis.h"
#include "base/clock.h"
#include "base/mem.h"
#include "component/state.h"

#include <stdio.h>

struct store {
    struct redis_config config;
    int64_t ttl_s; /* of keys that say nothing; 0 = none */
    struct redis *redis;
    int64_t replicas; /* when it was opened: a strong write waits for them */
    struct redis_script write, take;
};

/* Writes, all or none: first every ETag is checked against what it will meet in its turn, then they
 * are done. Answers 0, or the number of the write that met another version. Four arguments for each
 * key, see ARG_OP … ARG_VALUE. A key that isn't a hash is replaced; "first-write" marks a key that
 * other runtimes of the contract don't overwrite without its ETag. */
static const char write_script[] =
    "local now, wrong = {}, {}\n"
    "for i = 1, #KEYS do\n"
    "  local k, op, etag = KEYS[i], ARGV[4*i-3], ARGV[4*i-2]\n"
    "  local v = now[k]\n"
    "  if v == nil then\n"
    "    v = redis.pcall('HGET', k, 'version')\n"
    "    if type(v) == 'table' then\n"
    "      if not string.find(v.err, 'WRONGTYPE', 1, true) then return v end\n"
    "      wrong[k] = true\n"
    "      v = false\n"
    "    elseif v and not tonumber(v) then\n"
    "      return redis.error_reply('ERR the version of key ' .. k .. ' is no number')\n"
    "    end\n"
    "  end\n"
    "  if etag ~= '' then\n"
    "    if v ~= etag then return i end\n"
    "  elseif op == 'f' and v then\n"
    "    return i\n"
    "  end\n"
    "  now[k] = op ~= 'd' and string.format('%.0f', tonumber(v or 0) + 1)\n"
    "end\n"
    "for i = 1, #KEYS do\n"
    "  local k, op, ttl, value = KEYS[i], ARGV[4*i-3], tonumber(ARGV[4*i-1]), ARGV[4*i]\n"
    "  if op == 'd' or wrong[k] then\n"
    "    redis.call('DEL', k)\n"
    "    wrong[k] = nil\n"
    "  end\n"
    "  if op ~= 'd' then\n"
    "    if op == 'f' then\n"
    "      redis.call('HSET', k, 'data', value, 'first-write', 0)\n"
    "    else\n"
    "      redis.call('HSET', k, 'data', value)\n"
    "    end\n"
    "    if redis.call('HINCRBY', k, 'version', 1) > 1 and ttl == 0 then\n"
    "      redis.call('PERSIST', k)\n"
    "    end\n"
    "    if ttl > 0 then redis.call('EXPIRE', k, ttl) end\n"
    "  end\n"
    "end\n"
    "return 0\n";

enum { ARG_OP, ARG_ETAG, ARG_TTL, ARG_VALUE, N_ARGS };

/* ---- reading ---- */

static int damaged(str key, struct error *err)
{
    return fail(err, DATA_LOSS, NULL,
                "key " STR_FMT " is a hash without the fields data and version: delete it, or name "
                "another database or keyPrefix",
                STR_ARG(key));
}

static const str hash_fields[] = { { "data", 4 }, { "version", 7 } };

struct get { /* two commands for a key */
    str value[4], ttl[2];
};

static void make_get(struct get *g, str key, struct redis_command c[2])
{
    g->value[0] = S("HMGET");
    g->value[1] = key;
    g->value[2] = hash_fields[0];
    g->value[3] = hash_fields[1];
    g->ttl[0] = S("PTTL");
    g->ttl[1] = key;
    c[0] = (struct redis_command){ g->value, COUNT(g->value), key };
    c[1] = (struct redis_command){ g->ttl, COUNT(g->ttl), key };
}

static void set_expiry(const struct redis_reply *ttl, struct state_value *ret)
{
    if (ttl->kind == REDIS_INTEGER && ttl->integer >= 0)
        ret->expire_ns = clock_wall_ns() + MS((uint64_t)ttl->integer);
}

/* Plain strings are what the earliest runtimes wrote; they have no ETag. */
CO static int get_plain(struct store *s, str key, const struct redis_reply *ttl, struct arena *a,
                        struct state_value *ret, struct error *err)
{
    struct redis_reply reply;
    str arg[] = { S("GET"), key };
    struct redis_command c = { arg, COUNT(arg), key };
    int r = redis_do(s->redis, &c, REDIS_AGAIN, a, &reply, err);
    if (r < 0)
        return r;
    ret->found = reply.kind == REDIS_STRING;
    ret->value = reply.text;
    ret->etag = (str){ 0 };
    set_expiry(ttl, ret);
    return 0;
}

CO static int take_answer(struct store *s, str key, const struct redis_reply reply[2],
                          struct arena *a, struct state_value *ret, struct error *err)
{
    const struct redis_reply *v = &reply[0], *ttl = &reply[1];
    ret->found = false;
    ret->expire_ns = 0;
    if (redis_error_is(v, "WRONGTYPE"))
        return get_plain(s, key, ttl, a, ret, err);
    for (int i = 0; i < 2; i++) {
        int r = redis_check(s->redis, &reply[i], err);
        if (r < 0)
            return r;
    }
    if (ttl->kind == REDIS_INTEGER && ttl->integer == -2)
        return 0;
    if (v->kind != REDIS_ARRAY || v->n != 2 || v->item[0].kind != REDIS_STRING ||
        v->item[1].kind != REDIS_STRING)
        return damaged(key, err);
    ret->found = true;
    ret->value = v->item[0].text;
    ret->etag = v->item[1].text;
    set_expiry(ttl, ret);
    return 0;
}

CO static int store_get(void *self, str key, enum state_consistency consistency,
                        struct kvs metadata, struct arena *a, struct state_value *ret,
                        struct error *err)
{
    struct store *s = self;
    struct get get;
    struct redis_command c[2];
    struct redis_reply reply[2];
    (void)consistency;
    (void)metadata;
    make_get(&get, key, c);
    int r = redis_pipeline(s->redis, c, 2, REDIS_AGAIN, a, reply, err);
    return r < 0 ? r : take_answer(s, key, reply, a, ret, err);
}

CO static int store_bulk_get(void *self, const str *keys, size_t n, struct kvs metadata,
                             struct arena *a, struct state_value *ret, struct error *err)
{
    struct store *s = self;
    struct get *get = arena_alloc(a, n * sizeof *get);
    struct redis_command *c = arena_alloc(a, 2 * n * sizeof *c);
    struct redis_reply *reply = arena_alloc(a, 2 * n * sizeof *reply);
    (void)metadata;
    if (!get || !c || !reply)
        return fail(err, EXHAUSTED, NULL, "the request is too large for its memory");
    for (size_t i = 0; i < n; i++)
        make_get(&get[i], keys[i], &c[2 * i]);
    int r = redis_pipeline(s->redis, c, 2 * n, REDIS_AGAIN, a, reply, err);
    for (size_t i = 0; r == 0 && i < n; i++) {
        ret[i].err = (struct error){ 0 };
        (void)take_answer(s, keys[i], &reply[2 * i], a, &ret[i], &ret[i].err);
    }
    return r;
}

/* ---- writing ---- */

/* The contract's ETags are numbers; "0" is none. Puts it as the server would write it. */
static int read_etag(str etag, char ret[24], str *ret_text, struct error *err)
{
    int64_t v = 0;
    *ret_text = S("");
    if (!etag.n)
        return 0;
    if (!str_to_i64(etag, &v) || v < 0)
        return fail(err, INVALID, NULL,
                    "invalid etag value: \"" STR_FMT "\" is none of Redis' (a whole number)",
                    STR_ARG(str_take(etag, 40)));
    if (v)
        *ret_text = str_of(ret, (size_t)snprintf(ret, 24, "%lld", (long long)v));
    return 0;
}

struct change { /* texts that a write's arguments point to */
    char etag_text[24], ttl_text[24];
};

static int prepare(const struct store *s, const struct state_write *w, struct change *p, str *arg,
                   struct error *err)
{
    int64_t ttl = 0;
    if (!w->key.n)
        return fail(err, INVALID, NULL, "the key is empty: give it a name");
    int r = read_etag(w->etag, p->etag_text, &arg[ARG_ETAG], err);
    if (r == 0 && !w->remove)
        r = state_ttl(w->metadata, &ttl, err);
    if (r < 0)
        return r;
    ttl = ttl ? ttl : s->ttl_s;
    int n = snprintf(p->ttl_text, sizeof p->ttl_text, "%lld", (long long)(ttl > 0 ? ttl : 0));
    arg[ARG_OP] = w->remove ? S("d") : w->concurrency == FIRST_WRITE ? S("f") : S("s");
    arg[ARG_TTL] = str_of(p->ttl_text, (size_t)n);
    arg[ARG_VALUE] = w->remove ? S("") : w->value;
    return 0;
}

/* Whether doing it twice ends as doing it once: not when the first try's success would be taken for
 * somebody else's write. */
static bool may_be_repeated(const struct state_write *w)
{
    return !w->etag.n && w->concurrency != FIRST_WRITE;
}

static int conflict(const struct state_write *w, struct error *err)
{
    return fail(err, ABORTED, NULL,
                "possible etag mismatch. error from state store: key " STR_FMT "%s",
                STR_ARG(w->key),
                w->etag.n ? " has another etag or is gone" : " exists and no etag was passed");
}

/* The scripts answer 0, or the number of the write whose ETag doesn't match. */
static int take_verdict(const struct redis_reply *reply, const struct state_write *w, size_t n,
                        struct error *err)
{
    if (reply->kind != REDIS_INTEGER || reply->integer < 0 || (size_t)reply->integer > n)
        return fail(err, INTERNAL, NULL, "Redis gave an answer to a script that it can't give");
    return reply->integer ? conflict(&w[reply->integer - 1], err) : 0;
}

CO static int run_writes(struct store *s, const struct state_write *w, size_t n, const str *keys,
                         const str *args, struct arena *a, struct error *err)
{
    struct redis_reply reply;
    bool again = true, strong = false;
    for (size_t i = 0; i < n; i++) {
        again &= may_be_repeated(&w[i]);
        strong |= w[i].consistency == STRONG;
    }
    struct redis_eval e = { .script = &s->write,
                            .keys = keys,
                            .n_keys = n,
                            .args = args,
                            .n_args = n * N_ARGS,
                            .flags = again ? REDIS_AGAIN : 0,
                            .replicas = strong ? s->replicas : 0 };
    int r = redis_eval(s->redis, &e, a, &reply, err);
    return r < 0 ? r : take_verdict(&reply, w, n, err);
}

CO static int store_write(void *self, const struct state_write *w, struct error *err)
{
    struct store *s = self;
    struct change change;
    str arg[N_ARGS];
    int r = prepare(s, w, &change, arg, err);
    if (r < 0)
        return r;
    AUTO(arena_done) struct arena a;
    arena_init(&a, KIB(64));
    return run_writes(s, w, 1, &w->key, arg, &a, err);
}

static int check_slots(struct store *s, const struct state_write *w, size_t n, struct error *err)
{
    if (!redis_is_cluster(s->redis))
        return 0;
    for (size_t i = 1; i < n; i++)
        if (redis_slot(w[i].key) != redis_slot(w[0].key))
            return fail(err, INVALID, NULL,
                        "the keys " STR_FMT " and " STR_FMT " of a transaction are in different "
                        "slots of the cluster: give them a common {tag}",
                        STR_ARG(str_take(w[0].key, 100)), STR_ARG(str_take(w[i].key, 100)));
    return 0;
}

CO static int store_transact(void *self, const struct state_write *w, size_t n, struct kvs metadata,
                             struct error *err)
{
    struct store *s = self;
    (void)metadata;
    if (n == 0)
        return 0;
    AUTO(arena_done) struct arena a;
    arena_init(&a, MIB(1) + n * (sizeof(struct change) + (2 * N_ARGS + 4) * sizeof(str)));
    struct change *change = arena_alloc(&a, n * sizeof *change);
    str *keys = arena_alloc(&a, n * sizeof *keys), *arg = arena_alloc(&a, n * N_ARGS * sizeof *arg);
    if (!change || !keys || !arg)
        return fail(err, EXHAUSTED, NULL, "out of memory for %zu operations", n);
    int r = check_slots(s, w, n, err);
    for (size_t i = 0; r == 0 && i < n; i++) {
        keys[i] = w[i].key;
        r = prepare(s, &w[i], &change[i], arg + i * N_ARGS, err);
    }
    return r < 0 ? r : run_writes(s, w, n, keys, arg, &a, err);
}

/* ---- opening, closing ---- */

/* ---- buckets of rate limits ---- */

/* The generic cell rate algorithm: the key holds when the bucket will be full again, in µs. ARGV:
 * µs for one token, size of the bucket. Answers 0, or the µs until there is a token. */
static const char take_script[] =
    "local t = redis.call('TIME')\n"
    "local now = t[1] * 1000000 + t[2]\n"
    "local one, burst = tonumber(ARGV[1]), tonumber(ARGV[2])\n"
    "local full = tonumber(redis.call('GET', KEYS[1]) or now)\n"
    "if full < now then full = now end\n"
    "local wait = full + one - one * burst - now\n"
    "if wait > 0 then return math.ceil(wait) end\n"
    "redis.call('SET', KEYS[1], string.format('%.0f', full + one), 'PX',\n"
    "           math.ceil((full + one - now) / 1000) + 1)\n"
    "return 0\n";

CO static int take(void *self, str bucket, double per_s, double burst, uint64_t *ret_wait_ns,
                   struct error *err)
{
    struct store *s = self;
    AUTO(arena_done) struct arena a;
    arena_init(&a, KIB(64));
    struct redis_reply reply;
    str arg[] = { arena_printf(&a, "%.3f", 1e6 / per_s), arena_printf(&a, "%.0f", burst) };
    if (!arg[0].p || !arg[1].p)
        return fail(err, EXHAUSTED, NULL, "out of memory");
    struct redis_eval e = {
        .script = &s->take, .keys = &bucket, .n_keys = 1, .args = arg, .n_args = COUNT(arg)
    };
    int r = redis_eval(s->redis, &e, &a, &reply, err);
    if (r < 0)
        return r;
    if (reply.kind != REDIS_INTEGER || reply.integer < 0)
        return fail(err, INTERNAL, NULL, "Redis gave an answer to a script that it can't give");
    *ret_wait_ns = (uint64_t)reply.integer * 1000;
    return 0;
}

CO static int store_open(void *self, const struct component_env *env, struct error *err)
{
    struct store *s = self;
    (void)env;
    if (s->ttl_s < -1 || s->ttl_s > INT32_MAX)
        return fail(err, INVALID, NULL, "ttlInSeconds %lld is not in -1 (never) … %d",
                    (long long)s->ttl_s, INT32_MAX);
    redis_script_init(&s->write, str_c(write_script));
    redis_script_init(&s->take, str_c(take_script));
    int r = redis_open(&s->config, &s->redis, err);
    return r < 0 ? r : redis_count_replicas(s->redis, &s->replicas, err);
}

CO static void store_close(void *self)
{
    struct store *s = self;
    redis_close(TAKE(s->redis));
}

static const struct cfg_field fields[] = {
    REDIS_FIELDS(struct store, config),
    { .name = "ttlInSeconds",
      .kind = CFG_INT,
      .off = offsetof(struct store, ttl_s),
      .doc = "time to live of keys that are saved without one; 0 or -1 never" },
};

extern const struct state_ops state_redis;
const struct state_ops state_redis = {
    .t = {
        .kind = "state",
        .type = "state.redis",
        .version = "v1",
        .doc = "Key/value state in Redis: one server, Sentinel or Cluster.",
        .features = STATE_ETAG | STATE_TXN | STATE_TTL,
        .size = sizeof(struct store),
        .fields = fields,
        .n_fields = COUNT(fields),
        .open = store_open,
        .close = store_close,
    },
    .get = store_get,
    .bulk_get = store_bulk_get,
    .write = store_write,
    .transact = store_transact,
    .take = take,
};
