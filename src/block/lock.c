#include "block/lock.h"

#include "block/core/keyprefix.h"
#include "block/core/operation.h"
#include "policy/resiliency.h"

struct locks {  /* what the block keeps with each store: instance.extra */
    str prefix; /* "lock||app||" */
};

static const struct lock_ops *ops(const struct instance *i)
{
    return CONTAINER_OF(i->type, struct lock_ops, t);
}

int lock_attach(struct blocks *b, struct instance *i, struct error *err)
{
    str part[] = { S("lock||"), S("") };
    int r = keyprefix_of(b, i, &part[1], err);
    if (r < 0)
        return r;
    struct locks *l = arena_zalloc(&i->arena, sizeof *l);
    if (!l || !(l->prefix = arena_join(&i->arena, part, COUNT(part))).p)
        return fail(err, EXHAUSTED, NULL, "out of memory");
    operation_attach(b, i, "Lock");
    i->extra = l;
    return 0;
}

/* The store, after the contract's checks in its order. */
static int find(struct blocks *b, const struct lock_request *q, struct instance **ret,
                struct error *err)
{
    if (!catalog_count(b, KIND_LOCK))
        return fail(err, PRECONDITION, "ERR_LOCK_STORE_NOT_CONFIGURED",
                    "lock store is not configured");
    if (!q->resource.n)
        return fail(err, INVALID, "ERR_MALFORMED_REQUEST",
                    "ResourceId is empty in lock store " STR_FMT, STR_ARG(q->store));
    if (!q->owner.n)
        return fail(err, INVALID, "ERR_MALFORMED_REQUEST",
                    "LockOwner is empty in lock store " STR_FMT, STR_ARG(q->store));
    struct instance *i = catalog_get(b, KIND_LOCK, q->store);
    if (!i)
        return fail(err, INVALID, "ERR_LOCK_STORE_NOT_FOUND", "lock store " STR_FMT " not found",
                    STR_ARG(q->store));
    *ret = i;
    return 0;
}

struct call {
    struct instance *store;
    str resource, owner;
    int64_t expiry_s;
    bool locked;
    enum unlock_status status;
};

CO static int try_lock(void *arg, struct guard_attempt *attempt, struct error *err)
{
    struct call *c = arg;
    return ops(c->store)->try_lock(c->store->self, c->resource, c->owner, c->expiry_s, &c->locked,
                                   err);
}

CO static int try_unlock(void *arg, struct guard_attempt *attempt, struct error *err)
{
    struct call *c = arg;
    return ops(c->store)->unlock(c->store->self, c->resource, c->owner, &c->status, err);
}

CO static int run(struct call *c, const char *name, guard_fn *fn, str resource, struct arena *a,
                  struct error *err)
{
    const struct locks *l = c->store->extra;
    int r = keyprefix_join(l->prefix, resource, a, &c->resource, err);
    return r < 0 ? r : operation_run(c->store, name, fn, c, err);
}

CO int block_lock_try(struct blocks *b, const struct lock_request *q, struct arena *a, bool *ret,
                      struct error *err)
{
    struct call c = { .owner = q->owner, .expiry_s = q->expiry_s };
    if (q->expiry_s <= 0) /* before anything about the store: surprise 18 */
        return fail(err, INVALID, "ERR_MALFORMED_REQUEST",
                    "ExpiryInSeconds is not positive in lock store " STR_FMT, STR_ARG(q->store));
    int r = find(b, q, &c.store, err);
    if (r < 0)
        return r;
    struct error cause = { 0 };
    if (run(&c, "lock", try_lock, q->resource, a, &cause) < 0)
        return fail(err, INTERNAL, "ERR_TRY_LOCK", "failed to try acquiring lock: %s", cause.text);
    *ret = c.locked;
    return 0;
}

CO int block_lock_unlock(struct blocks *b, const struct lock_request *q, struct arena *a,
                         enum unlock_status *ret, struct error *err)
{
    struct call c = { .owner = q->owner };
    int r = find(b, q, &c.store, err);
    if (r < 0)
        return r;
    struct error cause = { 0 };
    if (run(&c, "unlock", try_unlock, q->resource, a, &cause) < 0)
        return fail(err, INTERNAL, "ERR_UNLOCK", "failed to release lock: %s", cause.text);
    *ret = c.status;
    return 0;
}
