/* redis.c — lock.redis: a lock is a key that holds its owner's name and expires, as the contract's
 * runtimes keep it.
 * Owner:  the instance owns its client.
 * Thread: any worker.   Failure: as common/redis/redis.h says. A lock that was asked for and not
 * answered isn't asked for again: it may be held, and ends with its expiry. */
#include "components/common/redis/redis.h"
#include "base/mem.h"
#include "component/lock.h"

struct locks {
    struct redis_config config;
    struct redis *redis;
    struct redis_script unlock;
};

/* -1: nobody holds it, -2: somebody else does. */
static const char unlock_script[] = "local owner = redis.call('GET', KEYS[1])\n"
                                    "if not owner then return -1 end\n"
                                    "if owner ~= ARGV[1] then return -2 end\n"
                                    "return redis.call('DEL', KEYS[1])\n";

CO static int try_lock(void *self, str resource, str owner, int64_t expiry_s, bool *ret,
                       struct error *err)
{
    struct locks *l = self;
    AUTO(arena_done) struct arena a;
    arena_init(&a, KIB(64));
    struct redis_reply reply;
    str seconds = arena_printf(&a, "%lld", (long long)expiry_s);
    str arg[] = { S("SET"), resource, owner, S("NX"), S("EX"), seconds };
    struct redis_command c = { arg, COUNT(arg), resource };
    if (!seconds.p)
        return fail(err, EXHAUSTED, NULL, "out of memory for a lock");
    int r = redis_do(l->redis, &c, 0, &a, &reply, err);
    if (r < 0)
        return r;
    *ret = reply.kind == REDIS_STATUS;
    return 0;
}

static enum unlock_status status_of(const struct redis_reply *reply)
{
    if (reply->kind != REDIS_INTEGER)
        return UNLOCK_INTERNAL_ERROR;
    if (reply->integer >= 0)
        return UNLOCK_SUCCESS;
    return reply->integer == -1 ? UNLOCK_DOES_NOT_EXIST : UNLOCK_BELONGS_TO_OTHERS;
}

CO static int unlock(void *self, str resource, str owner, enum unlock_status *ret,
                     struct error *err)
{
    struct locks *l = self;
    AUTO(arena_done) struct arena a;
    arena_init(&a, KIB(64));
    struct redis_reply reply;
    struct redis_eval e = {
        .script = &l->unlock, .keys = &resource, .n_keys = 1, .args = &owner, .n_args = 1
    };
    int r = redis_eval(l->redis, &e, &a, &reply, err);
    *ret = r < 0 ? UNLOCK_INTERNAL_ERROR : status_of(&reply);
    return r;
}

CO static int locks_open(void *self, const struct component_env *env, struct error *err)
{
    struct locks *l = self;
    int64_t replicas = 0;
    (void)env;
    if (l->config.failover)
        return fail(err, INVALID, NULL,
                    "lock.redis takes no failover: a new master may not know of a lock");
    redis_script_init(&l->unlock, str_c(unlock_script));
    int r = redis_open(&l->config, &l->redis, err);
    if (r == 0)
        r = redis_count_replicas(l->redis, &replicas, err);
    if (r == 0 && replicas > 0)
        return fail(
            err, INVALID, NULL,
            "lock.redis takes no server with replicas: a new master may not know of a lock");
    return r;
}

CO static void locks_close(void *self)
{
    struct locks *l = self;
    redis_close(TAKE(l->redis));
}

static const struct cfg_field fields[] = { REDIS_FIELDS(struct locks, config) };

extern const struct lock_ops lock_redis;
const struct lock_ops lock_redis = {
    .t = {
        .kind = "lock",
        .type = "lock.redis",
        .version = "v1",
        .doc = "Locks in one server of Redis.",
        .size = sizeof(struct locks),
        .fields = fields,
        .n_fields = COUNT(fields),
        .open = locks_open,
        .close = locks_close,
    },
    .try_lock = try_lock,
    .unlock = unlock,
};
