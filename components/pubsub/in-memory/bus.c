/* bus.c — pubsub.in-memory: subscribers of this process, nothing kept.
 * Owner:  the instance owns its subscriptions; a message on its way is one counted block.
 * Thread: publish on any worker; each subscription's handler runs in a fiber of its home worker.
 * Failure: as in the contract a handler's error is logged and the message is gone.
 *
 * The contract: one message of a subscription at a time; publish hands its message over and
 * returns, or waits while the handler is busy with the one before. A topic that ends in '*' takes
 * all longer topics with that stem. */
#include "base/list.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "component/pubsub.h"
#include "loop/worker.h"

#include <pthread.h>
#include <stdatomic.h>

enum { TOPICS_MAX = 100000, MATCH_INLINE = 16 };

struct message {
    atomic_size_t refs;
    struct pubsub_message m; /* its slices lie behind it */
};

struct waiting { /* a publisher, in its own frame */
    struct waiting *next;
    struct message *message;
    struct ticket ticket;
};

struct sub {
    struct list all;  /* of the bus */
    struct sub *next; /* same topic, or the next wildcard */
    struct bus *bus;
    struct pubsub_subscription s;
    char *topic; /* owned; s.topic without the '*' of a wildcard */
    bool wildcard;
    struct worker *home;
    atomic_size_t refs;

    pthread_mutex_t lock;
    bool busy, closing;
    struct message *message; /* for the fiber that has been spawned */
    struct waiting *first, **last;
    struct ticket *closer;
};

struct bus {
    pthread_rwlock_t lock; /* of what follows; publish only reads */
    bool has_lock;
    struct map exact; /* topic to the first struct sub */
    struct sub *wildcards;
    struct list all;
    atomic_size_t next_home;
    const char *name;
};

/* ---- messages ---- */

static str put(char **at, str s)
{
    char *p = *at;
    if (s.n)
        memcpy(p, s.p, s.n);
    *at += s.n;
    return str_of(p, s.n);
}

static struct message *message_new(const struct pubsub_message *m)
{
    size_t n = m->topic.n + m->data.n + m->content_type.n + m->metadata.n * sizeof(struct kv);
    for (size_t i = 0; i < m->metadata.n; i++)
        n += m->metadata.v[i].key.n + m->metadata.v[i].value.n;
    struct message *copy = mem_alloc(sizeof *copy + n);
    if (!copy)
        return NULL;
    struct kv *kv = (struct kv *)(copy + 1);
    char *at = (char *)(kv + m->metadata.n);
    for (size_t i = 0; i < m->metadata.n; i++)
        kv[i] = (struct kv){ put(&at, m->metadata.v[i].key), put(&at, m->metadata.v[i].value) };
    copy->m = (struct pubsub_message){ .topic = put(&at, m->topic),
                                       .data = put(&at, m->data),
                                       .content_type = put(&at, m->content_type),
                                       .metadata = { kv, m->metadata.n } };
    atomic_init(&copy->refs, 1);
    return copy;
}

static struct message *message_ref(struct message *m)
{
    atomic_fetch_add(&m->refs, 1);
    return m;
}

static void message_unref(struct message *m)
{
    if (m && atomic_fetch_sub(&m->refs, 1) == 1)
        mem_free(m);
}

static void sub_unref(struct sub *s)
{
    if (!s || atomic_fetch_sub(&s->refs, 1) != 1)
        return;
    pthread_mutex_destroy(&s->lock);
    mem_free(s->topic);
    mem_free(s);
}

/* ---- delivery: on the subscription's home ---- */

/* The lock is held. NULL: nobody waits, the subscription is idle from now on. */
static struct message *next_message(struct sub *s)
{
    struct waiting *w = s->first;
    if (!w) {
        s->busy = false;
        if (s->closer)
            ticket_done(s->closer, 0);
        return NULL;
    }
    struct message *m = w->message;
    s->first = w->next;
    if (!s->first)
        s->last = &s->first;
    ticket_done(&w->ticket, 0); /* the publisher goes on; *w is gone */
    return m;
}

CO static void deliver(void *arg)
{
    static struct log_limit limit;
    struct sub *s = arg;
    struct message *m = TAKE(s->message);
    while (m) {
        struct error err = { 0 };
        uint64_t missed;
        int r = s->s.handle(s->s.arg, &m->m, &err);
        if (r < 0 && log_allow(&limit, SEC(1), &missed))
            log_warn("dapr.contrib", "%s: a subscriber of %s failed, the message is gone: %s",
                     s->bus->name, s->topic, err.text[0] ? err.text : code_name((enum code) - r));
        message_unref(m);
        pthread_mutex_lock(&s->lock);
        m = next_message(s);
        pthread_mutex_unlock(&s->lock);
    }
    sub_unref(s);
}

/* No fiber to be had: the message is refused, and whoever waits behind it has its turn. */
static void give_up(struct sub *s)
{
    struct message *m;
    pthread_mutex_lock(&s->lock);
    message_unref(TAKE(s->message));
    while ((m = next_message(s)))
        message_unref(m);
    pthread_mutex_unlock(&s->lock);
    sub_unref(s);
}

CO static int hand_over(struct sub *s, struct message *m, struct error *err)
{
    struct waiting w = { .message = m };
    pthread_mutex_lock(&s->lock);
    bool wait = s->busy && !s->closing, start = !s->busy && !s->closing;
    if (wait) {
        ticket_init(&w.ticket);
        message_ref(m);
        *s->last = &w;
        s->last = &w.next;
    } else if (start) {
        s->busy = true;
        s->message = message_ref(m);
    }
    pthread_mutex_unlock(&s->lock);
    if (wait)
        return ticket_wait(&w.ticket);
    if (!start)
        return 0; /* unsubscribed just now */
    atomic_fetch_add(&s->refs, 1);
    if (worker_spawn(s->home, "in-memory subscriber", deliver, s) == 0)
        return 0;
    give_up(s);
    return fail(err, EXHAUSTED, NULL, "no memory for another delivery: publish again later");
}

/* ---- publishing ---- */

struct match {
    struct sub *inline_[MATCH_INLINE], **v;
    size_t n;
};

static bool takes(const struct sub *s, str topic)
{
    str stem = str_c(s->topic);
    return topic.n > stem.n && str_starts(topic, stem);
}

static size_t visit(const struct bus *b, str topic, struct sub **ret)
{
    size_t n = 0;
    for (struct sub *s = map_get(&b->exact, topic); s; s = s->next, n++)
        if (ret)
            ret[n] = s;
    for (struct sub *s = b->wildcards; s; s = s->next)
        if (takes(s, topic)) {
            if (ret)
                ret[n] = s;
            n++;
        }
    return n;
}

/* Fills match with a reference to each subscription that takes the topic. */
static int find_subs(struct bus *b, str topic, struct match *match)
{
    int r = 0;
    match->v = match->inline_;
    pthread_rwlock_rdlock(&b->lock);
    match->n = visit(b, topic, NULL);
    if (match->n > MATCH_INLINE)
        match->v = mem_alloc(match->n * sizeof *match->v);
    if (!match->v) {
        match->n = 0;
        r = -EXHAUSTED;
    } else if (match->n) {
        match->n = visit(b, topic, match->v);
        for (size_t i = 0; i < match->n; i++)
            atomic_fetch_add(&match->v[i]->refs, 1);
    }
    pthread_rwlock_unlock(&b->lock);
    return r;
}

CO static int bus_publish(void *self, const struct pubsub_message *m, struct error *err)
{
    struct match match = { 0 };
    int r = find_subs(self, m->topic, &match);
    if (match.n == 0 && r == 0)
        return 0;
    struct message *copy = r == 0 ? message_new(m) : NULL;
    if (!copy)
        r = fail(err, EXHAUSTED, NULL, "out of memory for a message of %zu bytes", m->data.n);
    for (size_t i = 0; i < match.n; i++) {
        if (r == 0)
            r = hand_over(match.v[i], copy, err);
        sub_unref(match.v[i]);
    }
    message_unref(copy);
    if (match.v != match.inline_)
        mem_free(match.v);
    return r;
}

/* ---- subscribing ---- */

static int link_sub(struct bus *b, struct sub *s)
{
    int r = 0;
    pthread_rwlock_wrlock(&b->lock);
    if (s->wildcard) {
        s->next = b->wildcards;
        b->wildcards = s;
    } else {
        s->next = map_get(&b->exact, str_c(s->topic));
        r = map_put(&b->exact, str_c(s->topic), s, NULL);
    }
    if (r == 0)
        list_append(&b->all, &s->all);
    pthread_rwlock_unlock(&b->lock);
    return r;
}

static void unlink_sub(struct bus *b, struct sub *s)
{
    str topic = str_c(s->topic);
    pthread_rwlock_wrlock(&b->lock);
    struct sub *first = s->wildcard ? b->wildcards : map_get(&b->exact, topic), **at = &first;
    while (*at && *at != s)
        at = &(*at)->next;
    INV(*at == s);
    *at = s->next;
    if (s->wildcard)
        b->wildcards = first;
    else if (first)
        INV(map_put(&b->exact, topic, first, NULL) == 0); /* replaces: needs no memory */
    else
        (void)map_remove(&b->exact, topic);
    list_remove(&s->all);
    pthread_rwlock_unlock(&b->lock);
}

CO static int bus_subscribe(void *self, const struct pubsub_subscription *sub, void **ret_sub,
                            struct error *err)
{
    struct bus *b = self;
    if (!sub->topic.n || str_find_c(sub->topic, 0) >= 0)
        return fail(err, INVALID, NULL, "the topic is empty: name the one to subscribe to");
    struct sub *s = mem_zalloc(sizeof *s);
    bool wildcard = str_ends(sub->topic, S("*"));
    char *topic = mem_dup(sub->topic.p, sub->topic.n - wildcard);
    if (!s || !topic) {
        mem_free(s);
        mem_free(topic);
        return fail(err, EXHAUSTED, NULL, "out of memory for a subscription");
    }
    *s = (struct sub){ .bus = b, .s = *sub, .topic = topic, .wildcard = wildcard };
    s->home = worker_at(atomic_fetch_add(&b->next_home, 1) % workers_count());
    s->last = &s->first;
    list_init(&s->all);
    pthread_mutex_init(&s->lock, NULL);
    atomic_init(&s->refs, 1);
    if (link_sub(b, s) < 0) {
        sub_unref(s);
        return fail(err, EXHAUSTED, NULL, "no room for another topic (at most %d)", TOPICS_MAX);
    }
    *ret_sub = s;
    return 0;
}

CO static void bus_unsubscribe(void *self, void *sub)
{
    struct sub *s = sub;
    struct ticket ticket;
    unlink_sub(self, s);
    ticket_init(&ticket);
    pthread_mutex_lock(&s->lock);
    s->closing = true;
    bool wait = s->busy;
    s->closer = wait ? &ticket : NULL;
    pthread_mutex_unlock(&s->lock);
    if (wait)
        (void)!ticket_wait(&ticket); /* those who waited to publish have their turn first */
    sub_unref(s);
}

/* ---- opening, closing ---- */

CO static int bus_open(void *self, const struct component_env *env, struct error *err)
{
    struct bus *b = self;
    (void)err;
    pthread_rwlock_init(&b->lock, NULL);
    b->has_lock = true;
    b->name = env->name;
    map_init(&b->exact, TOPICS_MAX);
    list_init(&b->all);
    return 0;
}

CO static void bus_close(void *self)
{
    struct bus *b = self;
    if (!b->has_lock)
        return;
    while (!list_empty(&b->all))
        bus_unsubscribe(b, CONTAINER_OF(b->all.next, struct sub, all));
    map_done(&b->exact);
    pthread_rwlock_destroy(&b->lock);
    b->has_lock = false;
}

const struct pubsub_ops pubsub_in_memory = {
    .t = {
        .kind = "pubsub",
        .type = "pubsub.in-memory",
        .version = "v1",
        .doc = "Messages between the subscribers of this process: for development and tests; "
               "nothing is kept or delivered again.",
        .features = PUBSUB_WILDCARDS,
        .size = sizeof(struct bus),
        .open = bus_open,
        .close = bus_close,
    },
    .publish = bus_publish,
    .subscribe = bus_subscribe,
    .unsubscribe = bus_unsubscribe,
};
