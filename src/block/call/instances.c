#include "block/call/instances.h"

#include "block/call/zones.h"

#include "base/hash.h"
#include "base/id.h"
#include "base/mem.h"

#include <stdio.h>

enum { KEY_MAX = 512 };

#define GET(field) atomic_load_explicit(&(field), memory_order_relaxed)
#define SET(field, value) atomic_store_explicit(&(field), (value), memory_order_relaxed)

/* ---- one instance ---- */

struct peer *peer_ref(struct peer *p)
{
    atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed);
    return p;
}

void peer_unref(struct peer *p)
{
    if (!p || atomic_fetch_sub_explicit(&p->refs, 1, memory_order_acq_rel) != 1)
        return;
    upstream_unref(p->up);
    mem_free(p);
}

static struct peer *peer_new(struct upstream *u, const struct registration *r)
{
    struct peer *p = mem_zalloc(sizeof *p);
    if (!p)
        return NULL;
    atomic_init(&p->refs, 1);
    p->up = upstream_ref(u);
    p->hash = hash_stable(r->address);
    snprintf(p->address, sizeof p->address, STR_FMT, STR_ARG(r->address));
    snprintf(p->zone, sizeof p->zone, STR_FMT, STR_ARG(str_take(r->zone, sizeof p->zone - 1)));
    snprintf(p->region, sizeof p->region, STR_FMT,
             STR_ARG(str_take(r->region, sizeof p->region - 1)));
    p->zone_hash = (uint32_t)(hash_bytes(r->zone) + 3 * hash_bytes(r->region));
    SET(p->zone_weight, 1000);
    return p;
}

/* ---- one app ---- */

struct upstream *upstream_ref(struct upstream *u)
{
    atomic_fetch_add_explicit(&u->refs, 1, memory_order_relaxed);
    return u;
}

void upstream_unref(struct upstream *u)
{
    if (!u || atomic_fetch_sub_explicit(&u->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (size_t i = 0; i < UPSTREAM_METHODS; i++)
        mem_free(u->method[i]);
    zoned_free(u->zoned);
    mem_free((void *)u->key.p);
    mem_free(u);
}

static struct upstream *upstream_new(str key, str app_id, uint64_t now_ns)
{
    struct upstream *u = mem_zalloc(sizeof *u);
    char *text = mem_dup(key.p, key.n);
    if (!u || !text) {
        mem_free(u);
        mem_free(text);
        return NULL;
    }
    atomic_init(&u->refs, 1);
    u->key = str_of(text, key.n);
    u->app_id = str_skip(u->key, key.n - app_id.n);
    u->born_ns = now_ns;
    SET(u->sweep_ns, now_ns); /* the first call finds its zone */
    budget_init(&u->retries, &(struct budget_config){ 0 });
    return u;
}

/* Out of the table: its instances live on with the calls that are under way. */
static void upstream_leave(struct upstream *u)
{
    for (size_t i = 0; i < u->n_peers; i++)
        peer_unref(u->peer[i]);
    u->n_peers = 0;
    upstream_unref(u);
}

/* ---- the table ---- */

int instances_init(struct instances *t)
{
    *t = (struct instances){ 0 };
    map_init(&t->by_key, INSTANCES_APPS);
    return pthread_mutex_init(&t->lock, NULL) ? -EXHAUSTED : 0;
}

void instances_done(struct instances *t)
{
    struct map_entry *e;
    for (size_t at = 0; (e = map_next(&t->by_key, &at));)
        upstream_leave(e->value);
    map_done(&t->by_key);
    pthread_mutex_destroy(&t->lock);
}

/* Room for one more: the app that came first goes. */
static void make_room(struct map *m)
{
    size_t at = 0;
    struct map_entry *first = map_count(m) < INSTANCES_APPS ? NULL : map_next(m, &at);
    if (first)
        upstream_leave(map_remove(m, first->key));
}

static struct upstream *add(struct instances *t, str key, str app_id, uint64_t now_ns)
{
    struct upstream *u = upstream_new(key, app_id, now_ns);
    make_room(&t->by_key);
    if (u && map_put(&t->by_key, u->key, u, NULL) < 0) {
        upstream_unref(u);
        return NULL;
    }
    return u;
}

struct upstream *instances_get(struct instances *t, str app_id, str namespace_, uint64_t now_ns)
{
    char text[KEY_MAX];
    app_id = str_take(app_id, KEY_MAX / 2 - 2);
    namespace_ = str_take(namespace_, KEY_MAX / 2 - 2);
    int n = snprintf(text, sizeof text, STR_FMT "/" STR_FMT, STR_ARG(namespace_), STR_ARG(app_id));
    str key = str_of(text, (size_t)n);
    pthread_mutex_lock(&t->lock);
    struct upstream *u = map_get(&t->by_key, key);
    if (!u)
        u = add(t, key, app_id, now_ns);
    if (u)
        upstream_ref(u);
    pthread_mutex_unlock(&t->lock);
    return u;
}

/* ---- its instances ---- */

static struct peer *find(struct upstream *u, str address)
{
    for (size_t i = 0; i < u->n_peers; i++)
        if (str_eq(str_c(u->peer[i]->address), address))
            return u->peer[i];
    return NULL;
}

static bool find_peer(const struct upstream *u, const struct peer *p)
{
    for (size_t i = 0; i < u->n_peers; i++)
        if (u->peer[i] == p)
            return true;
    return false;
}

/* One that joins others gets its share bit by bit; where all are new nobody is. */
static struct peer *arrive(struct upstream *u, const struct registration *r, uint64_t now_ns)
{
    static const uint64_t GATHERING_NS = SEC(10); /* resolvers may find them one by one */
    struct peer *p = peer_new(u, r);
    if (p && u->n_peers && now_ns - u->born_ns > GATHERING_NS)
        SET(p->health.returned_ns, now_ns);
    return p;
}

/* Under the lock. A peer that stays keeps its place in ret, and what is known of it. */
static int gather(struct upstream *u, const struct registration *found, size_t n, uint64_t now_ns,
                  struct peer *ret[INSTANCES_MAX], size_t *ret_n)
{
    *ret_n = 0;
    for (size_t i = 0; i < n && *ret_n < INSTANCES_MAX; i++) {
        str address = found[i].address;
        if (!address.n || address.n >= sizeof ret[0]->address)
            continue; /* not ip:port */
        struct peer *p = find(u, address);
        p = p ? peer_ref(p) : arrive(u, &found[i], now_ns);
        if (!p)
            return -EXHAUSTED;
        ret[(*ret_n)++] = p;
    }
    return 0;
}

/* Under the lock. */
static bool are_others(const struct upstream *u, struct peer *const *peer, size_t n)
{
    bool others = n != u->n_peers;
    for (size_t i = 0; i < n && !others; i++)
        others = !find_peer(u, peer[i]);
    return others;
}

/* Whoever comes or goes changes what the others are to take: the next call looks. */
static void sweep_soon(struct upstream *u, uint64_t now_ns)
{
    uint64_t due = GET(u->sweep_ns);
    if (due != UINT64_MAX) /* else it is being done; the next one is near */
        (void)atomic_compare_exchange_strong_explicit(&u->sweep_ns, &due, now_ns,
                                                      memory_order_relaxed, memory_order_relaxed);
}

int upstream_update(struct instances *t, struct upstream *u, const struct registration *found,
                    size_t n, uint64_t now_ns, struct peer *ret[INSTANCES_MAX], size_t *ret_n)
{
    struct peer *now[INSTANCES_MAX];
    size_t n_now;
    pthread_mutex_lock(&t->lock);
    int r = gather(u, found, n, now_ns, now, &n_now);
    bool others = r == 0 && are_others(u, now, n_now);
    for (size_t i = 0; i < (r < 0 ? n_now : u->n_peers); i++)
        peer_unref(r < 0 ? now[i] : u->peer[i]);
    if (others)
        sweep_soon(u, now_ns);
    if (r == 0) {
        for (size_t i = 0; i < n_now; i++)
            ret[i] = peer_ref(u->peer[i] = now[i]);
        *ret_n = u->n_peers = n_now;
        SET(u->group.n, (uint32_t)n_now);
    }
    pthread_mutex_unlock(&t->lock);
    return r;
}

/* ---- while it is called ---- */

struct latency *upstream_latency(struct upstream *u, uint64_t method)
{
    struct latency *_Atomic *slot = &u->method[method % UPSTREAM_METHODS];
    struct latency *l = atomic_load_explicit(slot, memory_order_acquire);
    if (LIKELY(l))
        return l;
    struct latency *mine = mem_zalloc(sizeof *mine);
    if (!mine || atomic_compare_exchange_strong(slot, &l, mine))
        return mine;
    mem_free(mine); /* another worker was faster */
    return l;
}

static void roll_latencies(struct upstream *u, double high, uint64_t now_ns)
{
    uint64_t slowest = 0;
    for (size_t i = 0; i < UPSTREAM_METHODS; i++) {
        struct latency *l = atomic_load_explicit(&u->method[i], memory_order_acquire);
        if (!l)
            continue;
        latency_roll(l, high, now_ns);
        uint64_t median = GET(l->median_ns);
        slowest = median > slowest ? median : slowest;
    }
    SET(u->median_ns, slowest);
}

/* One that takes calls and answers none: while its peers do, each sweep is a failure. */
static void judge_stuck(struct upstream *u, const struct outlier_config *c,
                        struct peer *const *peer, size_t n, uint64_t now_ns)
{
    static const uint64_t STUCK_NS = MS(500);
    enum { ANSWERS = 5 };
    uint64_t answers = 0, long_ns = (uint64_t)c->slow_factor * GET(u->median_ns);
    if (!long_ns)
        return;
    long_ns = long_ns > STUCK_NS ? long_ns : STUCK_NS;
    for (size_t i = 0; i < n; i++)
        answers += GET(peer[i]->health.good);
    for (size_t i = 0; i < n && answers >= ANSWERS; i++) {
        uint64_t since = GET(peer[i]->progress_ns);
        if (GET(peer[i]->waiting) && now_ns > since + long_ns &&
            outlier_record(c, &u->group, &peer[i]->health, OUTLIER_FAILED, since, now_ns,
                           id_random_unit()))
            atomic_fetch_add_explicit(&peer[i]->ejections, 1, memory_order_relaxed);
    }
}

void upstream_sweep(struct instances *t, struct upstream *u, const struct traffic_rule *rule,
                    struct peer *const *peer, size_t n, uint64_t now_ns)
{
    static const double HIGH = 0.95;
    struct outlier *health[INSTANCES_MAX];
    uint64_t due = GET(u->sweep_ns);
    if (LIKELY(now_ns < due) ||
        !atomic_compare_exchange_strong_explicit(&u->sweep_ns, &due, UINT64_MAX,
                                                 memory_order_acquire, memory_order_relaxed))
        return;
    for (size_t i = 0; i < n; i++)
        health[i] = &peer[i]->health;
    budget_share(&u->retries, rule->retry_percent / 100.0);
    roll_latencies(u, HIGH, now_ns);
    judge_stuck(u, &rule->outlier, peer, n, now_ns);
    outlier_sweep(&u->group, health, n);
    if (t->zones)
        t->zones(t->zones_arg, u, rule, peer, n, now_ns);
    atomic_store_explicit(&u->sweep_ns, now_ns + SWEEP_NS, memory_order_release);
}
