#include "block/call/resolve.h"

#include "base/clock.h"
#include "base/map.h"
#include "base/mem.h"
#include "loop/worker.h"

#include <stdio.h>

enum { WORKERS_MAX = 64, TRIES = 5, ARENA_MAX = 64 << 10, KEY_MAX = 512 };
static const uint64_t KEEP_NS = SEC(3), LOOK_NS = MS(250), AGAIN_NS = SEC(1);
static const uint32_t BUSY = 500; /* permille of what an instance can do */

struct resolve_cache {
    struct instances *table;
    struct map map[WORKERS_MAX]; /* "namespace/app id" → struct fleet, one map a worker */
};

struct resolve_cache *resolve_cache_new(struct instances *t)
{
    struct resolve_cache *c = mem_zalloc(sizeof *c);
    for (size_t i = 0; c && i < WORKERS_MAX; i++)
        map_init(&c->map[i], RESOLVE_IDS);
    if (c)
        c->table = t;
    return c;
}

static void fleet_free(struct fleet *f)
{
    for (size_t i = 0; f && i < f->n; i++)
        peer_unref(f->peer[i]);
    upstream_unref(f ? f->up : NULL);
    mem_free(f);
}

void resolve_cache_free(struct resolve_cache *c)
{
    for (size_t i = 0; c && i < WORKERS_MAX; i++) {
        struct map_entry *e;
        for (size_t at = 0; (e = map_next(&c->map[i], &at));)
            fleet_free(e->value);
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

static struct fleet *find(struct resolve_cache *c, const struct key *k)
{
    return map_get(my_map(c), str_of(k->text, k->n));
}

/* Room for one more: the entry that came first goes. */
static void make_room(struct map *m)
{
    size_t at = 0;
    struct map_entry *first = map_count(m) < RESOLVE_IDS ? NULL : map_next(m, &at);
    if (first)
        fleet_free(map_remove(m, first->key));
}

/* Who has come or gone lately is seldom the only one. */
static bool has_changed(const struct fleet *old, const struct fleet *f)
{
    if (!old || old->n != f->n)
        return true;
    for (size_t i = 0; i < f->n; i++) {
        size_t k = 0;
        while (k < old->n && old->peer[k] != f->peer[i])
            k++;
        if (k == old->n)
            return true;
    }
    return false;
}

/* All that are known have much to do: there may be more of them by now. */
static bool is_busy(const struct fleet *f)
{
    for (size_t i = 0; i < f->n; i++)
        if (atomic_load_explicit(&f->peer[i]->load, memory_order_relaxed) < BUSY)
            return false;
    return f->n > 0;
}

static bool is_due(struct fleet *f, uint64_t now)
{
    if (LIKELY(now < f->look_ns))
        return false;
    f->look_ns = now + LOOK_NS;
    return now >= f->until_ns || is_busy(f);
}

/* Takes the resolver's answer over. */
static int update(struct resolve_cache *c, const struct key *k, str app_id, str namespace_,
                  const struct registration *found, size_t n)
{
    uint64_t now = clock_now_ns();
    struct fleet *old = find(c, k), *f = mem_zalloc(sizeof *f);
    if (!f)
        return -EXHAUSTED;
    f->up = instances_get(c->table, app_id, namespace_, now);
    if (!f->up || upstream_update(c->table, f->up, found, n, now, f->peer, &f->n) < 0) {
        fleet_free(f);
        return -EXHAUSTED;
    }
    f->look_ns = now + LOOK_NS;
    f->until_ns = now + (has_changed(old, f) ? LOOK_NS : KEEP_NS);
    if (!old)
        make_room(my_map(c));
    if (map_put(my_map(c), str_of(k->text, k->n), f, NULL) < 0) {
        fleet_free(f);
        return -EXHAUSTED;
    }
    fleet_free(old);
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
    if (r >= 0 && update(c, k, app_id, namespace_, found, n) < 0)
        r = fail(err, EXHAUSTED, NULL, "out of memory");
    arena_done(&arena);
    return r;
}

/* Nobody is known, or it's time to ask again. */
NOINLINE CO static int refresh(struct resolve_cache *c, struct blocks *b, const struct key *k,
                               str app_id, str namespace_, struct fleet **ret, struct error *err)
{
    struct error cause = { 0 };
    if (*ret)
        (*ret)->look_ns =
            clock_now_ns() + AGAIN_NS; /* one asks, the others go on with what was known */
    int r = ask(c, b, k, app_id, namespace_, &cause);
    *ret = find(c, k); /* others may have replaced it while we waited */
    /* With an old answer at hand a resolver that fails is no reason to fail. */
    if (r < 0 && (!*ret || !(*ret)->n))
        return fail(err, cause.code ? cause.code : (enum code) - r, NULL, "%s",
                    cause.code ? cause.text : "the name resolution was interrupted");
    return 0;
}

CO int resolve(struct resolve_cache *c, struct blocks *b, str app_id, str namespace_,
               const struct fleet **ret, struct error *err)
{
    struct key k = key_of(app_id, namespace_);
    struct fleet *f = find(c, &k);
    int r = 0;
    if (!f || is_due(f, clock_now_ns()))
        r = refresh(c, b, &k, app_id, namespace_, &f, err);
    if (r < 0)
        return r;
    if (!f->n)
        return fail(err, UNAVAILABLE, NULL, "couldn't find service: " STR_FMT, STR_ARG(app_id));
    *ret = f;
    return 0;
}

void resolve_again(struct resolve_cache *c, str app_id, str namespace_)
{
    struct key k = key_of(app_id, namespace_);
    struct fleet *f = find(c, &k);
    if (f)
        f->look_ns = f->until_ns = 0;
}
