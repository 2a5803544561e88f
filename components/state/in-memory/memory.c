/* memory.c — state.in-memory: a hash table in this process, gone with it.
 * Owner:  the instance owns all items; answers are copied into the caller's arena.
 * Thread: any; 64 shards with a mutex each, held for some hundred ns and never over a suspension.
 * Failure: -ABORTED for a stale ETag in the contract's words, -EXHAUSTED for memory or ITEMS_MAX.
 */
#include "base/clock.h"
#include "base/hash.h"
#include "base/id.h"
#include "base/map.h"
#include "base/mem.h"
#include "component/state.h"
#include "loop/worker.h"

#include <pthread.h>

enum {
    SHARDS = 64,           /* a transaction's set of them is one uint64_t */
    ITEMS_MAX = 4 << 20,   /* of a shard */
    SWEEP_MAX = 200 * 1000 /* items looked at in one go: about 2 ms of a worker's time */
};
#define SWEEP_NS SEC(1)

struct item {
    char etag[UUID_LEN];
    uint64_t expire_ns; /* wall clock; 0 = never */
    size_t n;
    char value[];
};

struct shard {
    pthread_mutex_t lock;
    struct map items;
    uint64_t first_expire_ns; /* no item expires before it; UINT64_MAX = none ever */
    char apart[64];           /* the next lock lies in another cache line */
};

struct memory {
    struct shard *shard;
    struct loop_timer *timer;
    size_t swept; /* shard that the sweep goes on with */
};

static struct shard *shard_of(struct memory *m, str key)
{
    return &m->shard[hash_bytes(key) >> 58]; /* the map uses the low bits */
}

static bool expired(const struct item *it, uint64_t now)
{
    return it->expire_ns && it->expire_ns <= now;
}

/* The shard is locked. */
static struct item *find(const struct shard *s, str key, uint64_t now)
{
    struct item *it = map_get(&s->items, key);
    return it && !(it->expire_ns && expired(it, now)) ? it : NULL;
}

/* ---- reading ---- */

static int memory_get(void *self, str key, enum state_consistency c, struct kvs metadata,
                      struct arena *a, struct state_value *ret, struct error *err)
{
    struct shard *s = shard_of(self, key);
    uint64_t now = clock_wall_ns();
    str value = { 0 }, etag = { 0 };
    (void)c;
    (void)metadata;
    ret->found = false;
    pthread_mutex_lock(&s->lock);
    const struct item *it = find(s, key, now);
    if (it) {
        value = arena_dup(a, str_of(it->value, it->n));
        etag = arena_dup(a, str_of(it->etag, UUID_LEN));
        ret->expire_ns = it->expire_ns;
    }
    pthread_mutex_unlock(&s->lock);
    if (!it)
        return 0;
    if (!value.p || !etag.p)
        return fail(err, EXHAUSTED, NULL, "no memory left in this request for the value of a key");
    ret->found = true;
    ret->value = value;
    ret->etag = etag;
    return 0;
}

static int memory_bulk_get(void *self, const str *keys, size_t n, struct kvs metadata,
                           struct arena *a, struct state_value *ret, struct error *err)
{
    (void)err;
    for (size_t i = 0; i < n; i++)
        (void)memory_get(self, keys[i], CONSISTENCY_NONE, metadata, a, &ret[i], &ret[i].err);
    return 0;
}

/* ---- writing ---- */

static int stale(struct error *err, const char *detail, str key, const struct item *it, str etag)
{
    static const char prefix[] = "possible etag mismatch. error from state store";
    if (!it)
        return fail(err, ABORTED, NULL, "%s: %s" STR_FMT, prefix, detail, STR_ARG(key));
    return fail(err, ABORTED, NULL, "%s: %s" STR_FMT ": current=%.*s, expect=" STR_FMT, prefix,
                detail, STR_ARG(key), UUID_LEN, it->etag, STR_ARG(etag));
}

/* The contract's rules; the shard is locked. */
static int check(const struct shard *s, const struct state_write *w, uint64_t now,
                 struct error *err)
{
    if (!w->etag.n && w->concurrency != FIRST_WRITE)
        return 0;
    const struct item *it = find(s, w->key, now);
    if (!w->etag.n)
        return it ? fail(err, ABORTED, NULL,
                         "possible etag mismatch. error from state store: item already exists and "
                         "no etag was passed")
                  : 0;
    if (!it)
        return stale(err, "state not exist or expired for key=", w->key, NULL, w->etag);
    if (!str_eq(str_of(it->etag, UUID_LEN), w->etag))
        return stale(err, "state etag not match for key=", w->key, it, w->etag);
    return 0;
}

/* The item that w asks for, NULL for a removal. */
static int make_item(const struct state_write *w, struct item **ret, struct error *err)
{
    int64_t ttl = 0;
    *ret = NULL;
    if (!w->key.n)
        return fail(err, INVALID, NULL, "the key is empty: give it a name");
    if (w->remove)
        return 0;
    int r = state_ttl(w->metadata, &ttl, err);
    if (r < 0)
        return r;
    struct item *it = mem_alloc(sizeof *it + w->value.n);
    if (!it)
        return fail(err, EXHAUSTED, NULL, "out of memory for a value of %zu bytes", w->value.n);
    id_uuid4(it->etag);
    it->expire_ns = ttl > 0 ? clock_wall_ns() + SEC((uint64_t)ttl) : 0;
    it->n = w->value.n;
    if (w->value.n)
        memcpy(it->value, w->value.p, w->value.n);
    *ret = it;
    return 0;
}

static void note_expiry(struct shard *s, const struct item *it)
{
    if (it && it->expire_ns)
        s->first_expire_ns = min_u64(s->first_expire_ns, it->expire_ns);
}

static int memory_write(void *self, const struct state_write *w, struct error *err)
{
    struct shard *s = shard_of(self, w->key);
    struct item *it;
    void *old = NULL;
    int r = make_item(w, &it, err);
    if (r < 0)
        return r;
    pthread_mutex_lock(&s->lock);
    r = check(s, w, clock_wall_ns(), err);
    if (r == 0 && w->remove)
        old = map_remove(&s->items, w->key);
    else if (r == 0 && map_put(&s->items, w->key, it, &old) < 0)
        r = fail(err, EXHAUSTED, NULL, "no room for another key: this store is full");
    if (r == 0)
        note_expiry(s, TAKE(it));
    pthread_mutex_unlock(&s->lock);
    mem_free(old);
    mem_free(it);
    return r;
}

/* ---- transactions ----
 * 1 make all items; 2 lock the shards in order; 3 check every ETag against what was there before;
 * 4 put, where a removal puts NULL so that nothing after this step needs memory; 5 take the NULLs
 * out. A failure in 4 puts the old values back, which needs no memory either. */

struct change {
    struct item *it, *old;
    bool put, fresh; /* fresh: the key wasn't there */
};

static uint64_t shards_of(struct memory *m, const struct state_write *w, size_t n)
{
    uint64_t set = 0;
    for (size_t i = 0; i < n; i++)
        set |= UINT64_C(1) << (shard_of(m, w[i].key) - m->shard);
    return set;
}

static void lock_all(struct memory *m, uint64_t set)
{
    for (size_t i = 0; i < SHARDS; i++)
        if (set >> i & 1)
            pthread_mutex_lock(&m->shard[i].lock);
}

static void unlock_all(struct memory *m, uint64_t set)
{
    for (size_t i = 0; i < SHARDS; i++)
        if (set >> i & 1)
            pthread_mutex_unlock(&m->shard[i].lock);
}

static int put_all(struct memory *m, const struct state_write *w, size_t n, struct change *change,
                   struct error *err)
{
    for (size_t i = 0; i < n; i++) {
        struct shard *s = shard_of(m, w[i].key);
        void *old = NULL;
        bool fresh = !map_has(&s->items, w[i].key);
        if (fresh && w[i].remove)
            continue;
        if (map_put(&s->items, w[i].key, change[i].it, &old) < 0)
            return fail(err, EXHAUSTED, NULL, "no room for another key: this store is full");
        change[i].put = true;
        change[i].fresh = fresh;
        change[i].old = old;
    }
    return 0;
}

static void undo_all(struct memory *m, const struct state_write *w, size_t n, struct change *change)
{
    for (size_t i = n; i-- > 0;) {
        struct shard *s = shard_of(m, w[i].key);
        if (change[i].put && change[i].fresh)
            (void)map_remove(&s->items, w[i].key);
        else if (change[i].put)
            INV(map_put(&s->items, w[i].key, change[i].old, NULL) == 0); /* replaces: no memory */
        change[i].old = NULL;
    }
}

static void settle_all(struct memory *m, const struct state_write *w, size_t n,
                       struct change *change)
{
    for (size_t i = 0; i < n; i++) {
        struct shard *s = shard_of(m, w[i].key);
        if (map_has(&s->items, w[i].key) && !map_get(&s->items, w[i].key))
            (void)map_remove(&s->items, w[i].key);
        note_expiry(s, change[i].it);
        change[i].it = NULL; /* the table's, or in a later change's .old */
    }
}

static int apply_all(struct memory *m, const struct state_write *w, size_t n, struct change *change,
                     struct error *err)
{
    uint64_t set = shards_of(m, w, n), now = clock_wall_ns();
    int r = 0;
    lock_all(m, set);
    for (size_t i = 0; r == 0 && i < n; i++)
        r = check(shard_of(m, w[i].key), &w[i], now, err);
    if (r == 0) {
        r = put_all(m, w, n, change, err);
        if (r < 0)
            undo_all(m, w, n, change);
        else
            settle_all(m, w, n, change);
    }
    unlock_all(m, set);
    return r;
}

static int memory_transact(void *self, const struct state_write *w, size_t n, struct kvs metadata,
                           struct error *err)
{
    struct change *change = mem_zalloc(n * sizeof *change);
    (void)metadata;
    if (!change)
        return fail(err, EXHAUSTED, NULL, "out of memory for %zu operations", n);
    int r = 0;
    for (size_t i = 0; r == 0 && i < n; i++)
        r = make_item(&w[i], &change[i].it, err);
    if (r == 0 && n)
        r = apply_all(self, w, n, change, err);
    for (size_t i = 0; i < n; i++) {
        mem_free(change[i].it);
        mem_free(change[i].old);
    }
    mem_free(change);
    return r;
}

/* ---- expiry, opening, closing ---- */

static size_t sweep_shard(struct shard *s, uint64_t now)
{
    struct map_entry *e;
    size_t at = 0, seen = 0;
    pthread_mutex_lock(&s->lock);
    uint64_t first = UINT64_MAX;
    if (s->first_expire_ns > now)
        first = s->first_expire_ns;
    else
        while ((e = map_next(&s->items, &at))) {
            struct item *it = e->value;
            seen++;
            if (expired(it, now))
                mem_free(map_remove(&s->items, e->key));
            else if (it->expire_ns)
                first = min_u64(first, it->expire_ns);
        }
    s->first_expire_ns = first;
    pthread_mutex_unlock(&s->lock);
    return seen;
}

static void sweep(void *arg)
{
    struct memory *m = arg;
    uint64_t now = clock_wall_ns();
    for (size_t i = 0, seen = 0; i < SHARDS && seen < SWEEP_MAX; i++) {
        seen += sweep_shard(&m->shard[m->swept], now);
        m->swept = (m->swept + 1) % SHARDS;
    }
}

CO static int memory_open(void *self, const struct component_env *env, struct error *err)
{
    struct memory *m = self;
    (void)env;
    m->shard = mem_zalloc(SHARDS * sizeof *m->shard);
    if (!m->shard)
        return fail(err, EXHAUSTED, NULL, "out of memory for the state store");
    for (size_t i = 0; i < SHARDS; i++) {
        pthread_mutex_init(&m->shard[i].lock, NULL);
        map_init(&m->shard[i].items, ITEMS_MAX);
        m->shard[i].first_expire_ns = UINT64_MAX;
    }
    m->timer = loop_timer_start(SWEEP_NS, SWEEP_NS, sweep, m);
    return m->timer ? 0 : fail(err, EXHAUSTED, NULL, "out of memory for the state store's timer");
}

CO static void memory_close(void *self)
{
    struct memory *m = self;
    if (m->timer)
        loop_timer_stop(TAKE(m->timer));
    for (size_t i = 0; m->shard && i < SHARDS; i++) {
        struct map_entry *e;
        size_t at = 0;
        while ((e = map_next(&m->shard[i].items, &at)))
            mem_free(e->value);
        map_done(&m->shard[i].items);
        pthread_mutex_destroy(&m->shard[i].lock);
    }
    mem_free(TAKE(m->shard));
}

const struct state_ops state_in_memory = {
    .t = {
        .kind = "state",
        .type = "state.in-memory",
        .version = "v1",
        .doc = "Key/value state in the memory of this process: for development and tests; it ends "
               "with the process.",
        .features = STATE_ETAG | STATE_TXN | STATE_TTL,
        .size = sizeof(struct memory),
        .open = memory_open,
        .close = memory_close,
    },
    .get = memory_get,
    .bulk_get = memory_bulk_get,
    .write = memory_write,
    .transact = memory_transact,
};
