#include "test/conformance/pubsub/cases.h"

#include "base/clock.h"
#include "base/mem.h"
#include "loop/worker.h"

#include <stdio.h>

struct sink *sink_new(void)
{
    struct sink *k = mem_zalloc(sizeof *k);
    INV(k);
    pthread_mutex_init(&k->lock, NULL);
    return k;
}

void sink_free(struct sink *k)
{
    for (size_t i = 0; i < k->n; i++)
        mem_free(k->v[i].data);
    pthread_mutex_destroy(&k->lock);
    mem_free(k);
}

static str keep(char **at, str s)
{
    char *p = *at;
    if (s.n)
        memcpy(p, s.p, s.n);
    p[s.n] = 0;
    *at += s.n + 1;
    return str_of(p, s.n);
}

static void record(struct sink *k, const struct pubsub_message *m)
{
    str mark = kvs_get(m->metadata, S("mark"));
    char *at = mem_alloc(m->data.n + m->topic.n + m->content_type.n + mark.n + 4);
    INV(at);
    struct sink_entry e = { .data = at, .n = m->data.n, .at = clock_now_ns() };
    (void)keep(&at, m->data);
    e.topic = keep(&at, m->topic);
    e.type = keep(&at, m->content_type);
    e.mark = keep(&at, mark);
    pthread_mutex_lock(&k->lock);
    INV(k->n < SINK_MAX);
    k->v[k->n++] = e;
    pthread_mutex_unlock(&k->lock);
}

static void pass_time(struct sink *k)
{
    int running = atomic_fetch_add(&k->running, 1) + 1, peak = atomic_load(&k->peak);
    while (running > peak && !atomic_compare_exchange_weak(&k->peak, &peak, running))
        ;
    if (atomic_load(&k->hold_ns))
        (void)!fiber_sleep(atomic_load(&k->hold_ns));
    while (atomic_load(&k->gate))
        if (fiber_sleep(MS(1)) < 0)
            break;
}

int sink_handle(void *arg, const struct pubsub_message *m, struct error *err)
{
    struct sink *k = arg;
    pass_time(k);
    record(k, m);
    atomic_fetch_sub(&k->running, 1);
    if (atomic_fetch_sub(&k->fail_first, 1) > 0)
        return fail(err, (enum code) - atomic_load(&k->fail_code), NULL, "refused by the test");
    return 0;
}

int sink_handle_bulk(void *arg, const struct pubsub_message *m, size_t n, int *ret_codes,
                     struct error *err)
{
    struct sink *k = arg;
    pass_time(k);
    atomic_fetch_add(&k->bulks, 1);
    for (size_t i = 0; i < n; i++) {
        record(k, &m[i]);
        ret_codes[i] = atomic_fetch_sub(&k->fail_first, 1) > 0 ? atomic_load(&k->fail_code) : 0;
    }
    atomic_fetch_sub(&k->running, 1);
    (void)err;
    return 0;
}

size_t sink_count(struct sink *k)
{
    pthread_mutex_lock(&k->lock);
    size_t n = k->n;
    pthread_mutex_unlock(&k->lock);
    return n;
}

size_t sink_count_of(struct sink *k, const char *data)
{
    size_t n = 0;
    pthread_mutex_lock(&k->lock);
    for (size_t i = 0; i < k->n; i++)
        n += str_eq(str_of(k->v[i].data, k->v[i].n), str_c(data));
    pthread_mutex_unlock(&k->lock);
    return n;
}

static bool has_enough(void *arg)
{
    struct sink *k = arg;
    return sink_count(k) >= k->want;
}

bool sink_wait(struct sink *k, size_t n)
{
    k->want = n;
    return suite_wait(has_enough, k, SEC(5));
}

bool sink_stays(struct sink *k, size_t n, uint64_t ms)
{
    k->want = n + 1;
    return !suite_wait(has_enough, k, MS(ms)) && sink_count(k) == n;
}

/* ---- the engine ---- */

void *pubsub_subscribe(struct suite *s, const char *topic, struct sink *k)
{
    return pubsub_subscribe_dead(s, topic, NULL, k);
}

void *pubsub_subscribe_dead(struct suite *s, const char *topic, const char *dead, struct sink *k)
{
    struct error err = { 0 };
    struct kv kv = { S("deadLetterTopic"), str_c(dead) };
    struct pubsub_subscription sub = {
        .topic = str_c(topic), .metadata = { &kv, dead ? 1 : 0 }, .handle = sink_handle, .arg = k
    };
    void *handle = NULL;
    if (ops_of(s)->subscribe(s->self, &sub, &handle, &err) < 0)
        printf("    subscribing: %s\n", err.text);
    CHECK(handle != NULL);
    return handle;
}

void pubsub_unsubscribe(struct suite *s, void *sub)
{
    if (sub)
        ops_of(s)->unsubscribe(s->self, sub);
}

int pubsub_publish(struct suite *s, const char *topic, const char *data)
{
    return pubsub_publish_with(s, topic, data, NULL, NULL);
}

int pubsub_publish_with(struct suite *s, const char *topic, const char *data, const char *key,
                        const char *value)
{
    struct error err = { 0 };
    struct kv kv = { str_c(key), str_c(value) };
    struct pubsub_message m = { .topic = str_c(topic),
                                .data = str_c(data),
                                .content_type = S("text/plain"),
                                .metadata = { &kv, key ? 1 : 0 } };
    return ops_of(s)->publish(s->self, &m, &err);
}

bool pubsub_configure(struct suite *s, const char *field, const char *value)
{
    INV(s->n_extra < COUNT(s->extra));
    s->extra[s->n_extra++] = (struct kv){ str_c(field), str_c(value) };
    return suite_reopen(s);
}
