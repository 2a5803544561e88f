#include "block/streaming.h"

#include "base/mem.h"
#include "block/core/parallel.h"
#include "block/deliver.h"
#include "block/publish.h"

#include <pthread.h>

/* The way of an event: an engine's fiber → hub_deliver() → deliver_one() for each stream → its
 * sink, which puts a struct pending on the stream's queue and waits. The stream's writer takes it
 * off (streaming_next()), and the client's answer (streaming_answer()) wakes the waiter:
 *
 *   delivering fiber, any worker        the stream's worker
 *   queue ← pending, mail ───────────→  writer wakes, pending: queue → sent
 *   park                                … the client answers: sent → out, done
 *   woken  ←────────────────────────── mail
 *
 * A waiter whose time is up takes its pending out under the lock; is it done by then, its mail is
 * on the way and is waited for. */

enum { ARENA_MAX = 1 << 20, EVENT_MAX = 256 << 20 };

struct streamings {
    pthread_mutex_t lock; /* .all, and the members of every hub */
    struct list all;
    /* worker 0 */
    struct fiber_mutex changing;
    struct wait_group open;
    bool over;
};

/* What the streams of one topic share: a subscription at the broker. */
struct hub {
    struct list node; /* of the broker's */
    struct blocks *b;
    struct instance *instance;
    void *engine;
    struct list members; /* under the list's lock */
    size_t n;
    struct arena arena;
    str topic;
};

struct pending {
    struct list node; /* of .queue or .sent */
    str id, bytes;
    enum event_verdict verdict;
    int result;
    bool done; /* under the stream's lock; then the mail has been posted */
    bool woken;
    struct worker *worker;
    struct fiber *fiber;
    struct mail mail;
};

struct streaming {
    struct list all_node, hub_node; /* under the list's lock */
    struct streamings *list;
    struct hub *hub;
    struct subscription sub;
    struct event_sink sink;
    struct arena arena;
    int (*pack)(const struct app_event *e, struct arena *a, str *ret, struct error *err);
    void (*told)(void *arg); /* NULL: once it is being closed */
    void *told_arg;
    atomic_uint refs; /* the caller's, and one of each delivery */
    pthread_mutex_t lock;
    struct list queue, sent;
    bool ended; /* takes no more events */
    atomic_bool over;
    /* the writer's wait; its worker */
    struct worker *worker;
    struct fiber *writer;
    bool ringing; /* under the lock: the mail is on its way */
    struct mail mail;
};

/* ---- one stream's events ---- */

static void on_settled(struct mail *m) /* on the waiter's worker */
{
    struct pending *p = CONTAINER_OF(m, struct pending, mail);
    p->woken = true;
    fiber_wake(p->fiber, 0);
}

static void streaming_unref(struct streaming *s)
{
    if (atomic_fetch_sub(&s->refs, 1) != 1)
        return;
    pthread_mutex_destroy(&s->lock);
    arena_done(&s->arena);
    mem_free(s);
}

static void on_ring(struct mail *m) /* on the stream's worker */
{
    struct streaming *s = CONTAINER_OF(m, struct streaming, mail);
    pthread_mutex_lock(&s->lock);
    s->ringing = false;
    bool ended = s->ended;
    pthread_mutex_unlock(&s->lock);
    if (s->writer)
        fiber_wake(s->writer, 0);
    if (ended && s->told)
        s->told(s->told_arg);
    streaming_unref(s);
}

/* Under the lock. */
static void ring(struct streaming *s)
{
    if (s->ringing)
        return;
    s->ringing = true;
    atomic_fetch_add(&s->refs, 1);
    worker_post(s->worker, &s->mail);
}

/* Under the lock; p is in no list any more. */
static void settle(struct pending *p, int result, enum event_verdict verdict)
{
    p->result = result;
    p->verdict = verdict;
    p->done = true;
    worker_post(p->worker, &p->mail);
}

CO static int wait_settled(struct streaming *s, struct pending *p)
{
    int r = 0;
    while (!p->woken && r >= 0)
        r = fiber_park();
    if (p->woken)
        return p->result;
    pthread_mutex_lock(&s->lock);
    bool done = p->done;
    if (!done)
        list_remove(&p->node);
    pthread_mutex_unlock(&s->lock);
    SHIELD();
    while (done && !p->woken)
        (void)fiber_park();
    return done ? p->result : r;
}

CO static int to_stream(void *arg, const struct app_event *e, struct arena *a,
                        enum event_verdict *ret, struct error *err)
{
    struct streaming *s = arg;
    struct pending p = { .id = e->ce->id, .worker = worker_self(), .fiber = fiber_self() };
    int r = s->pack(e, a, &p.bytes, err);
    if (r < 0)
        return r;
    p.mail.run = on_settled;
    pthread_mutex_lock(&s->lock);
    bool ended = s->ended;
    if (!ended) {
        list_append(&s->queue, &p.node);
        ring(s);
    }
    pthread_mutex_unlock(&s->lock);
    r = ended ? -UNAVAILABLE : wait_settled(s, &p);
    *ret = p.verdict;
    return r < 0 ? fail(err, (enum code) - r, NULL,
                        r == -UNAVAILABLE ? "the stream ended before its client answered"
                                          : "the client didn't answer in time")
                 : 0;
}

CO int streaming_next(struct streaming *s, struct buf *out, struct error *err)
{
    for (;;) {
        pthread_mutex_lock(&s->lock);
        struct list *first = s->ended ? NULL : list_pop(&s->queue);
        if (first) {
            struct pending *p = CONTAINER_OF(first, struct pending, node);
            buf_put(out, p->bytes); /* a copy: the waiter may give up while it is written */
            list_append(&s->sent, &p->node);
        }
        bool ended = s->ended;
        s->writer = first || ended ? NULL : fiber_self();
        pthread_mutex_unlock(&s->lock);
        if (first)
            return buf_ok(out) ? 0 : fail(err, EXHAUSTED, NULL, "the event is too large");
        if (ended)
            return fail(err, UNAVAILABLE, NULL, "the subscription is being stopped");
        int r = fiber_park();
        s->writer = NULL;
        if (r < 0)
            return fail(err, (enum code) - r, NULL, "the stream was interrupted");
    }
}

void streaming_answer(struct streaming *s, str id, enum event_verdict verdict)
{
    pthread_mutex_lock(&s->lock);
    LIST_EACH (&s->sent, node) {
        struct pending *p = CONTAINER_OF(node, struct pending, node);
        if (!str_eq(p->id, id))
            continue;
        list_remove(&p->node);
        settle(p, 0, verdict);
        break;
    }
    pthread_mutex_unlock(&s->lock);
}

/* No more events; what is under way goes back. */
static void end(struct streaming *s)
{
    atomic_store(&s->over, true);
    pthread_mutex_lock(&s->lock);
    s->ended = true;
    struct list *lists[] = { &s->queue, &s->sent }, *node;
    for (size_t i = 0; i < COUNT(lists); i++)
        while ((node = list_pop(lists[i])))
            settle(CONTAINER_OF(node, struct pending, node), -UNAVAILABLE, EVENT_RETRY);
    ring(s);
    pthread_mutex_unlock(&s->lock);
}

/* ---- the hub: one message to every stream ---- */

struct fan_out {
    struct streaming **member;
    int *code;
    struct error *err;
    const struct pubsub_message *m;
};

CO static void deliver_to(void *arg, size_t i)
{
    struct fan_out *f = arg;
    struct error err = { 0 };
    f->code[i] = deliver_one(&f->member[i]->sub, f->m, &err);
    if (f->code[i] < 0 && !f->err->code)
        *f->err = err;
}

/* The members of now, each with a reference; *ret_one instead when it is a single one. */
static size_t members(struct hub *h, struct streaming **ret, size_t max, struct streaming **ret_one)
{
    struct streamings *l = h->b->streamings;
    size_t n = 0;
    pthread_mutex_lock(&l->lock);
    LIST_EACH (&h->members, node) {
        struct streaming *s = CONTAINER_OF(node, struct streaming, hub_node);
        if (n < max) {
            atomic_fetch_add(&s->refs, 1);
            ret[n] = s;
        }
        n++;
        *ret_one = s;
    }
    if (!max && n == 1)
        atomic_fetch_add(&(*ret_one)->refs, 1);
    pthread_mutex_unlock(&l->lock);
    return n;
}

CO static int deliver_to_all(struct hub *h, const struct pubsub_message *m, struct error *err)
{
    struct error cause = { 0 };
    struct streaming *unused, **member = mem_alloc(STREAMING_MAX * sizeof(struct streaming *));
    int *code = mem_alloc(STREAMING_MAX * sizeof *code), r = member && code ? 0 : -EXHAUSTED;
    size_t n = r < 0 ? 0 : members(h, member, STREAMING_MAX, &unused);
    struct fan_out f = { member, code, &cause, m };
    if (n)
        parallel_for(n, n, deliver_to, &f);
    for (size_t i = 0; i < n; i++) {
        r = code[i] < 0 ? code[i] : r;
        streaming_unref(member[i]);
    }
    mem_free(member);
    mem_free(code);
    if (r < 0 && err && !err->code)
        *err = cause;
    return n || r < 0 ? r : fail(err, UNAVAILABLE, NULL, "every stream has just ended");
}

/* Acknowledged when every stream's client has taken it. */
CO static int hub_deliver(void *arg, const struct pubsub_message *m, struct error *err)
{
    struct hub *h = arg;
    struct streaming *one = NULL;
    size_t n = members(h, NULL, 0, &one);
    if (n > 1)
        return deliver_to_all(h, m, err);
    if (!n)
        return fail(err, UNAVAILABLE, NULL, "no stream takes the message at the moment");
    int r = deliver_one(&one->sub, m, err);
    streaming_unref(one);
    return r;
}

/* ---- coming and going: on worker 0, one at a time ---- */

static const struct pubsub_ops *ops(const struct instance *i)
{
    return CONTAINER_OF(i->type, struct pubsub_ops, t);
}

static struct hub *find_hub(struct broker *k, str topic)
{
    LIST_EACH (&k->hubs, node) {
        struct hub *h = CONTAINER_OF(node, struct hub, node);
        if (str_eq(h->topic, topic))
            return h;
    }
    return NULL;
}

static void hub_free(struct hub *h)
{
    arena_done(&h->arena);
    mem_free(h);
}

/* Subscribes at the broker by the first stream's metadata. */
CO static int new_hub(struct blocks *b, struct instance *i, const struct streaming *s,
                      struct hub **ret, struct error *err)
{
    struct broker *k = i->extra;
    struct hub *h = mem_zalloc(sizeof *h);
    if (!h)
        return fail(err, EXHAUSTED, NULL, "out of memory");
    arena_init(&h->arena, ARENA_MAX);
    h->b = b;
    h->instance = i;
    list_init(&h->members);
    h->topic = arena_dup(&h->arena, s->sub.topic);
    str part[] = { k->topics.prefix, s->sub.topic };
    struct pubsub_subscription p = { .topic = arena_join(&h->arena, part, 2),
                                     .handle = hub_deliver,
                                     .arg = h };
    int r = h->topic.p && p.topic.p ? subscription_metadata(&s->sub, &h->arena, &p.metadata)
                                    : -EXHAUSTED;
    if (r < 0)
        (void)fail(err, EXHAUSTED, NULL, "out of memory");
    else
        r = ops(i)->subscribe(i->self, &p, &h->engine, err);
    if (r < 0) {
        hub_free(h);
        return r;
    }
    list_append(&k->hubs, &h->node);
    *ret = h;
    return 0;
}

static int find_instance(struct blocks *b, const struct streaming *s, struct instance **ret,
                         struct error *err)
{
    if (b->streamings->over)
        return fail(err, UNAVAILABLE, NULL, "the sidecar is stopping");
    struct instance *i = catalog_get(b, KIND_PUBSUB, s->sub.pubsub);
    if (!i)
        return fail(err, NOT_FOUND, NULL,
                    "pubsub " STR_FMT " is not found: is its component there?",
                    STR_ARG(s->sub.pubsub));
    const struct broker *k = i->extra;
    if (!topics_may_subscribe(&k->topics, s->sub.topic))
        return fail(err, DENIED, NULL,
                    "subscription to topic '" STR_FMT "' on pubsub '" STR_FMT "' is not allowed",
                    STR_ARG(s->sub.topic), STR_ARG(s->sub.pubsub));
    *ret = i;
    return 0;
}

CO static int join(struct blocks *b, struct streaming *s, struct error *err)
{
    struct instance *i = NULL;
    struct hub *h;
    int r = find_instance(b, s, &i, err);
    if (r < 0)
        return r;
    s->sub.instance = i;
    h = find_hub(i->extra, s->sub.topic);
    if (h && h->n == STREAMING_MAX)
        return fail(err, EXHAUSTED, NULL, "topic '" STR_FMT "' has %d streams already",
                    STR_ARG(s->sub.topic), STREAMING_MAX);
    if (!h && (r = new_hub(b, i, s, &h, err)) < 0)
        return r;
    h->n++;
    s->hub = h;
    wait_group_add(&b->streamings->open);
    pthread_mutex_lock(&s->list->lock);
    list_append(&h->members, &s->hub_node);
    list_append(&s->list->all, &s->all_node);
    pthread_mutex_unlock(&s->list->lock);
    return 0;
}

CO static void leave(struct blocks *b, struct streaming *s)
{
    struct hub *h = s->hub;
    pthread_mutex_lock(&s->list->lock);
    list_remove(&s->hub_node);
    list_remove(&s->all_node);
    pthread_mutex_unlock(&s->list->lock);
    if (--h->n == 0) {
        list_remove(&h->node);
        ops(h->instance)->unsubscribe(h->instance->self, h->engine);
        hub_free(h);
    }
    wait_group_done(&b->streamings->open);
}

struct change {
    struct blocks *b;
    struct streaming *s;
    bool joins;
    struct error *err;
    struct ticket ticket;
};

CO static void change_main(void *arg)
{
    struct change *c = arg;
    PINNED(c->b);
    SHIELD(); /* whoever asked waits for it */
    int r = fiber_mutex_lock(&c->b->streamings->changing);
    if (c->joins && r >= 0)
        r = join(c->b, c->s, c->err);
    else if (r >= 0)
        leave(c->b, c->s);
    fiber_mutex_unlock(&c->b->streamings->changing);
    ticket_done(&c->ticket, r);
}

CO static int change(struct blocks *b, struct streaming *s, bool joins, struct error *err)
{
    struct change c = { .b = b, .s = s, .joins = joins, .err = err };
    ticket_init(&c.ticket);
    int r = worker_spawn(worker_at(0), "stream", change_main, &c);
    return r < 0 ? fail(err, EXHAUSTED, NULL, "too many fibers at once") : ticket_wait(&c.ticket);
}

/* ---- opening and closing ---- */

static int fill(struct streaming *s, struct blocks *b, const struct streaming_request *r)
{
    struct arena *a = &s->arena;
    struct kv *kv = arena_alloc(a, r->metadata.n * sizeof *kv);
    struct route_rule *rule = arena_zalloc(a, sizeof *rule);
    if (!kv || !rule)
        return -EXHAUSTED;
    for (size_t i = 0; i < r->metadata.n; i++) {
        kv[i].key = arena_dup(a, r->metadata.v[i].key);
        kv[i].value = arena_dup(a, r->metadata.v[i].value);
        if (!kv[i].key.p || !kv[i].value.p)
            return -EXHAUSTED;
    }
    rule->path = S("/");
    s->sink = (struct event_sink){ to_stream, s, &s->over };
    s->sub = (struct subscription){
        .type = STREAMING,
        .pubsub = arena_dup(a, r->pubsub),
        .topic = arena_dup(a, r->topic),
        .dead_letter = arena_dup(a, r->dead_letter),
        .metadata = { kv, r->metadata.n },
        .rules = rule,
        .n_rules = 1,
        .blocks = b,
        .sink = &s->sink,
    };
    subscription_read_raw(&s->sub);
    return s->sub.pubsub.p && s->sub.topic.p && s->sub.dead_letter.p ? 0 : -EXHAUSTED;
}

CO int streaming_open(struct blocks *b, const struct streaming_request *r, struct streaming **ret,
                      struct error *err)
{
    struct streaming *s = mem_zalloc(sizeof *s);
    if (!s)
        return fail(err, EXHAUSTED, NULL, "out of memory");
    arena_init(&s->arena, ARENA_MAX);
    pthread_mutex_init(&s->lock, NULL);
    list_init(&s->queue);
    list_init(&s->sent);
    atomic_init(&s->refs, 1);
    s->list = b->streamings;
    s->pack = r->pack;
    s->told = r->ended;
    s->told_arg = r->arg;
    s->worker = worker_self();
    s->mail.run = on_ring;
    int code = fill(s, b, r) < 0 ? fail(err, EXHAUSTED, NULL, "the subscription is too large")
                                 : change(b, s, true, err);
    if (code < 0) {
        streaming_unref(s);
        return code;
    }
    *ret = s;
    return 0;
}

CO void streaming_close(struct streaming *s)
{
    struct error err = { 0 };
    s->told = NULL; /* the caller knows */
    end(s);
    SHIELD();
    while (change(s->sub.blocks, s, false, &err) == -EXHAUSTED) /* no fiber free: a little later */
        (void)fiber_sleep(MS(10));
    streaming_unref(s);
}

/* ---- all of them ---- */

struct streamings *streamings_new(void)
{
    struct streamings *l = mem_zalloc(sizeof *l);
    if (!l)
        return NULL;
    pthread_mutex_init(&l->lock, NULL);
    list_init(&l->all);
    fiber_mutex_init(&l->changing);
    wait_group_init(&l->open);
    return l;
}

void streamings_free(struct streamings *l)
{
    if (!l)
        return;
    PRE(list_empty(&l->all));
    pthread_mutex_destroy(&l->lock);
    mem_free(l);
}

/* Ends those of i (NULL = all). */
static void end_all(struct streamings *l, const struct instance *i)
{
    pthread_mutex_lock(&l->lock);
    LIST_EACH (&l->all, node) {
        struct streaming *s = CONTAINER_OF(node, struct streaming, all_node);
        if (!i || s->sub.instance == i)
            end(s);
    }
    pthread_mutex_unlock(&l->lock);
}

CO void streamings_stop(struct streamings *l)
{
    SHIELD();
    if (fiber_mutex_lock(&l->changing) >= 0) { /* nobody is half way in */
        l->over = true;
        fiber_mutex_unlock(&l->changing);
    }
    end_all(l, NULL);
    (void)wait_group_wait(&l->open);
}

CO void streamings_end(struct instance *i)
{
    struct broker *k = i->extra;
    SHIELD();
    while (!list_empty(&k->hubs)) {
        struct hub *h = CONTAINER_OF(k->hubs.next, struct hub, node);
        end_all(h->b->streamings, i);
        (void)fiber_sleep(MS(1));
    }
}

static struct subscription *copy(const struct subscription *s, struct arena *a)
{
    struct subscription *c = arena_zalloc(a, sizeof *c);
    struct route_rule *rule = arena_zalloc(a, sizeof *rule);
    struct kv *kv = arena_zalloc(a, s->metadata.n * sizeof *kv);
    if (!c || !rule || !kv)
        return NULL;
    bool ok = true;
    for (size_t i = 0; i < s->metadata.n && ok; i++) {
        kv[i].key = arena_dup(a, s->metadata.v[i].key);
        kv[i].value = arena_dup(a, s->metadata.v[i].value);
        ok = kv[i].key.p && kv[i].value.p;
    }
    rule->path = S("/");
    *c = (struct subscription){
        .type = STREAMING,
        .pubsub = arena_dup(a, s->pubsub),
        .topic = arena_dup(a, s->topic),
        .dead_letter = arena_dup(a, s->dead_letter),
        .metadata = { kv, s->metadata.n },
        .rules = rule,
        .n_rules = 1,
    };
    return ok && c->pubsub.p && c->topic.p && c->dead_letter.p ? c : NULL;
}

int streamings_copy(struct streamings *l, struct arena *a, struct subscription **ret, size_t *ret_n)
{
    size_t most = *ret_n + STREAMINGS_SHOWN;
    bool ok = true;
    pthread_mutex_lock(&l->lock);
    LIST_EACH (&l->all, node) {
        if (!ok || *ret_n == most)
            break;
        ret[*ret_n] = copy(&CONTAINER_OF(node, struct streaming, all_node)->sub, a);
        ok = ret[*ret_n];
        *ret_n += ok;
    }
    pthread_mutex_unlock(&l->lock);
    return ok ? 0 : -EXHAUSTED;
}
