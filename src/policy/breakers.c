#include "policy/breakers.h"

#include "base/mem.h"

struct breaker_slot {
    struct list use;
    struct breaker *breaker;
    size_t key_len;
    char key[];
};

void breakers_init(struct breaker_table *t, size_t max)
{
    PRE(max >= 1);
    *t = (struct breaker_table){ .max = max };
    pthread_mutex_init(&t->lock, NULL);
    map_init(&t->by_key, max);
    list_init(&t->by_use);
}

static void drop(struct breaker_table *t, struct breaker_slot *s)
{
    (void)map_remove(&t->by_key, str_of(s->key, s->key_len));
    list_remove(&s->use);
    breaker_unref(s->breaker);
    mem_free(s);
}

void breakers_done(struct breaker_table *t)
{
    while (!list_empty(&t->by_use))
        drop(t, CONTAINER_OF(t->by_use.next, struct breaker_slot, use));
    map_done(&t->by_key);
    pthread_mutex_destroy(&t->lock);
}

static struct breaker_slot *add(struct breaker_table *t, str key,
                                const struct breaker_config *config, uint64_t now_ns)
{
    if (map_count(&t->by_key) == t->max)
        drop(t, CONTAINER_OF(t->by_use.next, struct breaker_slot, use));
    struct breaker_slot *s = mem_alloc(sizeof *s + key.n);
    if (!s)
        return NULL;
    *s = (struct breaker_slot){ .key_len = key.n, .breaker = breaker_new(config, now_ns) };
    if (key.n)
        memcpy(s->key, key.p, key.n);
    list_init(&s->use);
    if (!s->breaker || map_put(&t->by_key, key, s, NULL) < 0) {
        breaker_unref(s->breaker);
        mem_free(s);
        return NULL;
    }
    return s;
}

struct breaker *breakers_get(struct breaker_table *t, str key, const struct breaker_config *config,
                             uint64_t now_ns)
{
    pthread_mutex_lock(&t->lock);
    struct breaker_slot *s = map_get(&t->by_key, key);
    if (!s)
        s = add(t, key, config, now_ns);
    if (s) {
        list_remove(&s->use);
        list_append(&t->by_use, &s->use);
    }
    struct breaker *b = s ? breaker_ref(s->breaker) : NULL;
    pthread_mutex_unlock(&t->lock);
    return b;
}
