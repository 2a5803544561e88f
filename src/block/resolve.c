#include "block/resolve.h"

#include "base/clock.h"
#include "base/id.h"
#include "base/map.h"
#include "base/mem.h"
#include "loop/worker.h"

#include <stdio.h>

enum { WORKERS_MAX = 64, TRIES = 5, ARENA_MAX = 64 << 10, KEY_MAX = 512 };
static const uint64_t KEEP_NS = 3000000000u, BAD_NS = 1000000000u;

struct entry {
    struct peer peer[RESOLVE_ADDRESSES];
    size_t n, next;
    uint64_t until_ns; /* then the resolver is asked again */
};

struct resolve_cache {
    struct map map[WORKERS_MAX]; /* "namespace/app id" → entry, one map a worker */
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

struct key {
    char text[KEY_MAX];
    size_t n;
};

/* Names longer than that don't reach a resolver: whoever registers has shorter ones. */
static struct key key_of(str app_id, str namespace_)
{
    struct key k;
    int n =
        snprintf(k.text, sizeof k.text, STR_FMT "/" STR_FMT, STR_ARG(namespace_), STR_ARG(app_id));
    k.n = min_size((size_t)n, sizeof k.text);
    return k;
}

static struct entry *find(struct resolve_cache *c, const struct key *k)
{
    return map_get(my_map(c), str_of(k->text, k->n));
}

/* Room for one more: the entry that came first goes. */
static void make_room(struct map *m)
{
    size_t at = 0;
    struct map_entry *first = map_count(m) < RESOLVE_IDS ? NULL : map_next(m, &at);
    if (first)
        mem_free(map_remove(m, first->key));
}

/* Takes the resolver's answer over, keeping what is known of addresses that are still there. */
static int update(struct resolve_cache *c, const struct key *k, const struct registration *found,
                  size_t n)
{
    struct entry *old = find(c, k);
    struct entry *e = mem_zalloc(sizeof *e);
    if (!e)
        return -EXHAUSTED;
    for (size_t i = 0; i < min_size(n, RESOLVE_ADDRESSES); i++) {
        str address = found[i].address;
        if (address.n >= sizeof e->peer[0].address)
            continue; /* not ip:port */
        struct peer *p = &e->peer[e->n++];
        snprintf(p->address, sizeof p->address, STR_FMT, STR_ARG(address));
        for (size_t j = 0; old && j < old->n; j++)
            if (str_eq(str_c(old->peer[j].address), address))
                *p = old->peer[j];
    }
    e->next = e->n ? id_random() % e->n : 0;
    e->until_ns = clock_now_ns() + KEEP_NS;
    if (!old)
        make_room(my_map(c));
    if (map_put(my_map(c), str_of(k->text, k->n), e, NULL) < 0) {
        mem_free(e);
        return -EXHAUSTED;
    }
    mem_free(old);
    return 0;
}

CO static int ask(struct resolve_cache *c, struct blocks *b, const struct key *k, str app_id,
                  str namespace_, struct error *err)
{
    if (!b->resolver)
        return fail(err, UNAVAILABLE, NULL,
                    "no name resolution is running: can't find app id " STR_FMT, STR_ARG(app_id));
    const struct resolver_ops *ops = CONTAINER_OF(b->resolver->type, struct resolver_ops, t);
    struct arena arena;
    arena_init(&arena, ARENA_MAX);
    struct registration found[RESOLVE_ADDRESSES];
    size_t n = 0;
    int r = 0;
    for (int i = 0; i < TRIES && r >= 0 && !n; i++) {
        if (i)
            r = fiber_sleep(MS(100));
        if (r >= 0)
            r = ops->resolve(b->resolver->self, app_id, namespace_, &arena, found,
                             RESOLVE_ADDRESSES, &n, err);
    }
    if (r >= 0 && !n)
        r = fail(err, UNAVAILABLE, NULL, "couldn't find service: " STR_FMT, STR_ARG(app_id));
    if (r >= 0 && update(c, k, found, n) < 0)
        r = fail(err, EXHAUSTED, NULL, "out of memory");
    arena_done(&arena);
    return r;
}

CO int resolve(struct resolve_cache *c, struct blocks *b, str app_id, str namespace_,
               struct peer *ret, struct error *err)
{
    uint64_t now = clock_now_ns();
    struct key k = key_of(app_id, namespace_);
    struct entry *e = find(c, &k);
    if (!e || now >= e->until_ns) {
        struct error cause = { 0 };
        if (e)
            e->until_ns = now + BAD_NS; /* one asks, the others go on with what was known */
        int r = ask(c, b, &k, app_id, namespace_, &cause);
        e = find(c, &k); /* others may have replaced it while we waited */
        if (r < 0 && (!e || !e->n))
            return fail(err, cause.code ? cause.code : (enum code) - r, NULL, "%s",
                        cause.code ? cause.text : "the name resolution was interrupted");
        /* With an old answer at hand a resolver that fails is no reason to fail. */
        now = clock_now_ns();
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

static struct peer *known(struct resolve_cache *c, str app_id, str namespace_,
                          const struct peer *peer, struct entry **ret_entry)
{
    struct key k = key_of(app_id, namespace_);
    struct entry *e = find(c, &k);
    for (size_t i = 0; e && i < e->n; i++)
        if (str_eq(str_c(e->peer[i].address), str_c(peer->address))) {
            *ret_entry = e;
            return &e->peer[i];
        }
    return NULL;
}

void resolve_learn(struct resolve_cache *c, str app_id, str namespace_, const struct peer *peer)
{
    struct entry *e;
    struct peer *p = known(c, app_id, namespace_, peer, &e);
    if (p) {
        p->direct = peer->direct;
        p->bad_until_ns = 0;
    }
}

void resolve_failed(struct resolve_cache *c, str app_id, str namespace_, const struct peer *peer,
                    bool gone)
{
    struct entry *e;
    struct peer *p = known(c, app_id, namespace_, peer, &e);
    if (!p)
        return;
    uint64_t now = clock_now_ns();
    p->bad_until_ns = now + BAD_NS;
    if (!gone)
        return;
    p->direct = false; /* whoever takes this address next may be another program */
    e->until_ns = now;
}
