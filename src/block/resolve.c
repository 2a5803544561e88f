#include "block/resolve.h"

#include "base/clock.h"
#include "base/id.h"
#include "base/map.h"
#include "base/mem.h"
#include "loop/worker.h"

#include <stdio.h>

enum { WORKERS_MAX = 64, TRIES = 5, ARENA_MAX = 64 << 10 };
static const uint64_t KEEP_NS = 3000000000u, BAD_NS = 1000000000u;

struct entry {
    struct peer peer[RESOLVE_ADDRESSES];
    size_t n, next;
    uint64_t until_ns; /* then the resolver is asked again */
};

struct resolve_cache {
    struct map map[WORKERS_MAX]; /* app id → entry, one map a worker */
};

struct resolve_cache *resolve_cache_new(void)
{
    struct resolve_cache *c = mem_zalloc(sizeof *c);
    for (size_t i = 0; c && i < WORKERS_MAX; i++)
        map_init(&c->map[i], RESOLVE_IDS);
    return c;
}

void resolve_cache_free(struct resolve_cache *c)
{
    for (size_t i = 0; c && i < WORKERS_MAX; i++) {
        struct map_entry *e;
        for (size_t at = 0; (e = map_next(&c->map[i], &at));)
            mem_free(e->value);
        map_done(&c->map[i]);
    }
    mem_free(c);
}

static struct map *my_map(struct resolve_cache *c)
{
    return &c->map[worker_index(worker_self())];
}

static struct entry *find(struct resolve_cache *c, str app_id)
{
    return map_get(my_map(c), app_id);
}

/* Takes the resolver's answer over, keeping what is known of addresses that are still there. */
static int update(struct resolve_cache *c, str app_id, const str *address, size_t n)
{
    struct entry *old = find(c, app_id);
    struct entry *e = mem_zalloc(sizeof *e);
    if (!e)
        return -EXHAUSTED;
    for (size_t i = 0; i < n; i++) {
        struct peer *p = &e->peer[e->n++];
        snprintf(p->address, sizeof p->address, STR_FMT, STR_ARG(address[i]));
        for (size_t k = 0; old && k < old->n; k++)
            if (str_eq(str_c(old->peer[k].address), address[i]))
                *p = old->peer[k];
    }
    e->next = e->n ? id_random() % e->n : 0;
    e->until_ns = clock_now_ns() + KEEP_NS;
    if (map_put(my_map(c), app_id, e, NULL) < 0) {
        mem_free(e);
        return -EXHAUSTED;
    }
    mem_free(old);
    return 0;
}

CO static int ask(struct resolve_cache *c, struct blocks *b, str app_id, str namespace_,
                  struct error *err)
{
    if (!b->resolver)
        return fail(err, UNAVAILABLE, NULL,
                    "no name resolution is running: can't find app id " STR_FMT, STR_ARG(app_id));
    const struct resolver_ops *ops = CONTAINER_OF(b->resolver->type, struct resolver_ops, t);
    struct arena arena;
    arena_init(&arena, ARENA_MAX);
    str address[RESOLVE_ADDRESSES];
    size_t n = 0;
    int r = 0;
    for (int i = 0; i < TRIES && r >= 0 && !n; i++) {
        if (i)
            r = fiber_sleep(MS(100));
        if (r >= 0)
            r = ops->resolve(b->resolver->self, app_id, namespace_, &arena, address,
                             RESOLVE_ADDRESSES, &n, err);
    }
    if (r >= 0 && !n)
        r = fail(err, UNAVAILABLE, NULL, "couldn't find service: " STR_FMT, STR_ARG(app_id));
    if (r >= 0 && update(c, app_id, address, n) < 0)
        r = fail(err, EXHAUSTED, NULL, "out of memory");
    arena_done(&arena);
    return r;
}

CO int resolve(struct resolve_cache *c, struct blocks *b, str app_id, str namespace_,
               struct peer *ret, struct error *err)
{
    uint64_t now = clock_now_ns();
    struct entry *e = find(c, app_id);
    if (!e || now >= e->until_ns) {
        struct error cause = { 0 };
        int r = ask(c, b, app_id, namespace_, &cause);
        e = find(c, app_id); /* others may have replaced it while we waited */
        if (r < 0 && (!e || !e->n))
            return fail(err, cause.code, NULL, "%s", cause.text);
        /* With an old answer at hand a resolver that fails is no reason to fail. */
    }
    for (size_t i = 0; i < e->n; i++) {
        struct peer *p = &e->peer[(e->next + i) % e->n];
        if (p->bad_until_ns <= now || i + 1 == e->n) {
            e->next = (e->next + i + 1) % e->n;
            *ret = *p;
            return 0;
        }
    }
    return fail(err, UNAVAILABLE, NULL, "couldn't find service: " STR_FMT, STR_ARG(app_id));
}

static struct peer *known(struct resolve_cache *c, str app_id, const struct peer *peer,
                          struct entry **ret_entry)
{
    struct entry *e = find(c, app_id);
    for (size_t i = 0; e && i < e->n; i++)
        if (str_eq(str_c(e->peer[i].address), str_c(peer->address))) {
            *ret_entry = e;
            return &e->peer[i];
        }
    return NULL;
}

void resolve_learn(struct resolve_cache *c, str app_id, const struct peer *peer)
{
    struct entry *e;
    struct peer *p = known(c, app_id, peer, &e);
    if (p) {
        p->direct = peer->direct;
        p->bad_until_ns = 0;
    }
}

void resolve_failed(struct resolve_cache *c, str app_id, const struct peer *peer)
{
    struct entry *e;
    struct peer *p = known(c, app_id, peer, &e);
    if (!p)
        return;
    uint64_t now = clock_now_ns();
    p->direct = false; /* whoever takes this address next may be another program */
    p->bad_until_ns = now + BAD_NS;
    e->until_ns = now; /* ask again */
}
