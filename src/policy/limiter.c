#include "policy/limiter.h"

#include "base/hash.h"
#include "base/list.h"
#include "base/map.h"
#include "base/mem.h"

#include <pthread.h>

enum { KEY_MAX = 256, KEYS_MAX = 1000000 };

struct bucket {
    struct list idle; /* in limiter.by_use */
    double tokens;
    uint64_t at_ns; /* when tokens was right */
    size_t key_len;
    char key[];
};

struct limiter {
    struct limiter_config config;
    pthread_mutex_t lock; /* of all below */
    struct map buckets;
    struct list by_use; /* longest idle first */
};

struct limiter *limiter_new(const struct limiter_config *config)
{
    PRE(config->per_s > 0 && config->burst >= 1);
    PRE(config->max_keys >= 1 && config->max_keys <= KEYS_MAX);
    struct limiter *l = mem_zalloc(sizeof *l);
    if (!l)
        return NULL;
    l->config = *config;
    pthread_mutex_init(&l->lock, NULL);
    map_init(&l->buckets, config->max_keys);
    list_init(&l->by_use);
    return l;
}

static void forget(struct limiter *l, struct bucket *b)
{
    (void)map_remove(&l->buckets, str_of(b->key, b->key_len));
    list_remove(&b->idle);
    mem_free(b);
}

void limiter_free(struct limiter *l)
{
    if (!l)
        return;
    while (!list_empty(&l->by_use))
        forget(l, CONTAINER_OF(l->by_use.next, struct bucket, idle));
    map_done(&l->buckets);
    pthread_mutex_destroy(&l->lock);
    mem_free(l);
}

static struct bucket *add_bucket(struct limiter *l, str key, uint64_t now_ns)
{
    if (map_count(&l->buckets) == l->config.max_keys)
        forget(l, CONTAINER_OF(l->by_use.next, struct bucket, idle));
    struct bucket *b = mem_alloc(sizeof *b + key.n);
    if (!b)
        return NULL;
    *b = (struct bucket){ .tokens = l->config.burst, .at_ns = now_ns, .key_len = key.n };
    if (key.n)
        memcpy(b->key, key.p, key.n);
    list_init(&b->idle);
    if (map_put(&l->buckets, key, b, NULL) < 0) {
        mem_free(b);
        return NULL;
    }
    return b;
}

static void refill(const struct limiter *l, struct bucket *b, uint64_t now_ns)
{
    if (now_ns <= b->at_ns)
        return;
    b->tokens += (double)(now_ns - b->at_ns) / 1e9 * l->config.per_s;
    if (b->tokens > l->config.burst)
        b->tokens = l->config.burst;
    b->at_ns = now_ns;
}

static bool take_locked(struct limiter *l, str key, uint64_t now_ns, uint64_t *wait_ns)
{
    struct bucket *b = map_get(&l->buckets, key);
    if (!b && !(b = add_bucket(l, key, now_ns)))
        return true;
    list_remove(&b->idle);
    list_append(&l->by_use, &b->idle);
    refill(l, b, now_ns);
    if (b->tokens >= 1) {
        b->tokens -= 1;
        return true;
    }
    *wait_ns = (uint64_t)((1 - b->tokens) / l->config.per_s * 1e9) + 1;
    return false;
}

bool limiter_take(struct limiter *l, str key, uint64_t now_ns, uint64_t *ret_wait_ns)
{
    uint64_t hash = key.n > KEY_MAX ? hash_bytes(key) : 0;
    if (key.n > KEY_MAX)
        key = str_of(&hash, sizeof hash);
    uint64_t wait_ns = 0;
    pthread_mutex_lock(&l->lock);
    bool taken = take_locked(l, key, now_ns, &wait_ns);
    pthread_mutex_unlock(&l->lock);
    if (!taken && ret_wait_ns)
        *ret_wait_ns = wait_ns;
    return taken;
}

size_t limiter_count(struct limiter *l)
{
    pthread_mutex_lock(&l->lock);
    size_t n = map_count(&l->buckets);
    pthread_mutex_unlock(&l->lock);
    return n;
}
