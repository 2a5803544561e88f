/* A consumer: its pump's fiber claims messages and starts a fiber for each (or for each bulk),
 * which calls the handler and settles. The pump also prolongs the leases of handlers that take
 * long. */
#include "components/pubsub/sqlite/queue.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

#include <limits.h>

static const char LOG[] = "dapr.contrib";

enum { BULK_MAX = 1000, SETTLING_MAX = 4 /* times the concurrency */ };
#define RETRY_FIRST_NS MS(20)
#define RETRY_LAST_NS SEC(5)
#define LOOK_AGAIN_NS SEC(30) /* without any news */

struct batch { /* one handler's call */
    struct consumer *k;
    size_t n;
    struct lease *lease[];
};

/* ---- news: the writer's thread ---- */

static void note(struct queue *q, int64_t topic, int64_t group)
{
    pthread_mutex_lock(&q->lock);
    LIST_EACH (&q->consumers, node) {
        struct consumer *k = CONTAINER_OF(node, struct consumer, node);
        k->news |= k->topic_id == topic || k->group_id == group;
    }
    pthread_mutex_unlock(&q->lock);
}

void queue_note_topic(struct queue *q, int64_t topic)
{
    note(q, topic, 0);
}

void queue_note_group(struct queue *q, int64_t group)
{
    note(q, 0, group);
}

void queue_ring_noted(void *arg)
{
    struct queue *q = arg;
    pthread_mutex_lock(&q->lock);
    LIST_EACH (&q->consumers, node) {
        struct consumer *k = CONTAINER_OF(node, struct consumer, node);
        if (k->news)
            bell_ring(&k->bell);
        k->news = false;
    }
    pthread_mutex_unlock(&q->lock);
}

static bool has_news(struct consumer *k, struct sqlite_conn *c)
{
    struct error err = { 0 };
    sqlite3_stmt *s = sqlite_stmt(c, Q_NEWS, &err);
    bool news = false;
    if (!s)
        return true;
    (void)sqlite3_bind_int64(s, 1, k->group_id);
    (void)sqlite3_bind_int64(s, 2, QUEUE_LAST(k->topic_id));
    if (sqlite_step(c, s, "looking for news", &err) == SQLITE_ROW) {
        news = sqlite3_column_int(s, 0);
        sqlite_done(s);
    }
    s = news ? NULL : sqlite_stmt(c, Q_NEXT_DUE, &err);
    if (!s)
        return true;
    (void)sqlite3_bind_int64(s, 1, k->group_id);
    if (sqlite_step(c, s, "looking for news", &err) == SQLITE_ROW) {
        news = sqlite3_column_int64(s, 0) < atomic_load(&k->wake_ms);
        sqlite_done(s);
    }
    return news;
}

void queue_look_around(void *arg, struct sqlite_conn *c)
{
    struct queue *q = arg;
    pthread_mutex_lock(&q->lock);
    LIST_EACH (&q->consumers, node) {
        struct consumer *k = CONTAINER_OF(node, struct consumer, node);
        if (has_news(k, c))
            bell_ring(&k->bell);
    }
    pthread_mutex_unlock(&q->lock);
}

/* ---- handling ---- */

static void complain(struct consumer *k, const char *what, const struct error *err)
{
    static struct log_limit limit;
    uint64_t missed;
    if (log_allow(&limit, SEC(5), &missed))
        log_warn(LOG, "%s: %s of topic %s: %s (%llu more like it since)", k->q->name, what,
                 k->topic, err->text, (unsigned long long)missed);
}

/* Tries for as long as the lease may last: an answer that is lost means a second delivery. */
CO static void settle(struct batch *b, const int *verdict, const char *cause)
{
    struct consumer *k = b->k;
    uint64_t until = clock_now_ns() + (uint64_t)k->q->lease_ns, pause = RETRY_FIRST_NS;
    for (;;) {
        struct error err = { 0 };
        struct settle p = { .job = { .run = queue_settle, .flags = SQLITE_JOB_ATOMIC },
                            .q = k->q,
                            .consumer = k,
                            .lease = b->lease,
                            .verdict = verdict,
                            .cause = cause,
                            .n = b->n };
        if (sqlite_write(k->q->db, &p.job, &err) == 0)
            return;
        complain(k, "acknowledging messages", &err);
        if (clock_now_ns() >= until || fiber_sleep(pause) < 0)
            return;
        pause = min_u64(pause * 2, RETRY_LAST_NS);
    }
}

static int verdict_of(int code)
{
    return code == 0 ? VERDICT_ACK : code == -CANCELLED ? VERDICT_BACK : VERDICT_RETRY;
}

CO static void call_bulk(struct batch *b, int *verdict, struct error *err)
{
    struct consumer *k = b->k;
    struct pubsub_message *m = mem_alloc(b->n * sizeof *m);
    for (size_t i = 0; m && i < b->n; i++)
        m[i] = b->lease[i]->m;
    for (size_t i = 0; i < b->n; i++)
        verdict[i] = INT_MIN;
    int r = m ? k->s.handle_bulk(k->s.arg, m, b->n, verdict, err)
              : fail(err, EXHAUSTED, NULL, "out of memory for a bulk of %zu messages", b->n);
    for (size_t i = 0; i < b->n; i++)
        verdict[i] = verdict_of(verdict[i] == INT_MIN ? r : verdict[i]);
    mem_free(m);
}

static void batch_free(struct batch *b)
{
    struct consumer *k = b->k;
    pthread_mutex_lock(&k->lock);
    for (size_t i = 0; i < b->n; i++)
        list_remove(&b->lease[i]->node);
    k->in_flight--;
    bell_ring(&k->bell); /* under the lock: once it's open the consumer may be gone */
    pthread_mutex_unlock(&k->lock);
    for (size_t i = 0; i < b->n; i++)
        lease_free(b->lease[i]);
    mem_free(b);
}

/* The next message may be claimed while this one's answer waits for its commit. */
static void handler_ended(struct consumer *k)
{
    pthread_mutex_lock(&k->lock);
    k->running--;
    bell_ring(&k->bell);
    pthread_mutex_unlock(&k->lock);
}

CO static void handle(void *arg)
{
    struct batch *b = arg;
    struct consumer *k = b->k;
    struct error err = { 0 };
    int one, *verdict = b->n > 1 ? mem_alloc(b->n * sizeof *verdict) : &one;
    if (verdict && k->s.handle_bulk)
        call_bulk(b, verdict, &err);
    else if (verdict)
        one = verdict_of(k->s.handle(k->s.arg, &b->lease[0]->m, &err));
    handler_ended(k);
    if (verdict)
        settle(b, verdict, err.text[0] ? err.text : "the subscriber did not accept it");
    if (verdict != &one)
        mem_free(verdict);
    batch_free(b); /* without a verdict the lease runs out */
}

/* ---- the pump ---- */

/* Moves the first n leases of a claim into a batch of its own and starts its fiber. What can't be
 * started stays leased, and is due again when the lease is over. */
static void start_batch(struct consumer *k, struct claim *claim, size_t n)
{
    struct batch *b = mem_alloc(sizeof *b + n * sizeof *b->lease);
    if (b) {
        *b = (struct batch){ .k = k, .n = n };
        pthread_mutex_lock(&k->lock);
        for (size_t i = 0; i < n; i++) {
            struct list *node = list_pop(&claim->leases);
            INV(node != NULL);
            b->lease[i] = CONTAINER_OF(node, struct lease, node);
            list_append(&k->leases, node);
        }
        k->running++;
        k->in_flight++;
        pthread_mutex_unlock(&k->lock);
        claim->n -= n;
    }
    size_t at = b ? atomic_fetch_add(&k->q->next_worker, 1) % workers_count() : 0;
    if (b && worker_spawn(worker_at(at), "queue consumer", handle, b) < 0) {
        handler_ended(k);
        batch_free(b);
    }
    for (; !b && n > 0; n--, claim->n--)
        lease_free(CONTAINER_OF(list_pop(&claim->leases), struct lease, node));
}

static bool quiet(struct consumer *k)
{
    pthread_mutex_lock(&k->lock);
    bool none = k->in_flight == 0;
    pthread_mutex_unlock(&k->lock);
    return none;
}

/* How many handlers more may be started. */
static size_t room(struct consumer *k)
{
    pthread_mutex_lock(&k->lock);
    size_t n = k->concurrency > k->running ? k->concurrency - k->running : 0;
    size_t all = SETTLING_MAX * k->concurrency;
    n = min_size(n, all > k->in_flight ? all - k->in_flight : 0);
    pthread_mutex_unlock(&k->lock);
    return n;
}

/* Claims at most max messages more. Returns 0 or -CODE, with nothing claimed then. */
CO static int claim_more(struct consumer *k, struct claim *claim, size_t max, struct error *err)
{
    struct claim more = { .job = { .run = queue_claim, .flags = SQLITE_JOB_ATOMIC },
                          .q = k->q,
                          .consumer = k,
                          .max = max };
    struct list *node;
    list_init(&more.leases);
    int r = sqlite_write(k->q->db, &more.job, err);
    while ((node = list_pop(&more.leases))) {
        if (r == 0)
            list_append(&claim->leases, node);
        else
            lease_free(CONTAINER_OF(node, struct lease, node));
    }
    claim->n += r == 0 ? more.n : 0;
    claim->now = more.now;
    claim->next_due = more.next_due;
    claim->more = r < 0 || more.more || more.n == max;
    return r;
}

/* A bulk is worth waiting for, but not for long. */
CO static int claim_bulk(struct consumer *k, struct claim *claim, struct error *err)
{
    size_t max = k->s.bulk_max;
    int r = claim_more(k, claim, max, err);
    uint64_t wait = min_u64(k->s.bulk_await_ns, (uint64_t)k->q->lease_ns / 3);
    uint64_t until = clock_now_ns() + wait, now;
    while (r == 0 && claim->n && claim->n < max && !atomic_load(&k->closing) &&
           (now = clock_now_ns()) < until) {
        bell_wait(&k->bell, until - now);
        r = claim_more(k, claim, max - claim->n, err);
    }
    return claim->n ? 0 : r;
}

static uint64_t until_due(struct consumer *k, const struct claim *claim)
{
    uint64_t ns = LOOK_AGAIN_NS;
    if (claim->next_due != INT64_MAX) {
        int64_t ms = claim->next_due - claim->now;
        ns = ms <= 0 ? 0 : min_u64(ns, MS((uint64_t)ms));
    }
    atomic_store(&k->wake_ms, claim->now + (int64_t)(ns / MS(1)));
    return ns;
}

/* One round: what may be handled now is claimed and started. Returns how long nothing more is to be
 * expected, in ns. */
CO static uint64_t pump_round(struct consumer *k, uint64_t *pause)
{
    struct claim claim = { .next_due = INT64_MAX };
    struct error err = { 0 };
    size_t free = room(k);
    list_init(&claim.leases);
    if (!free)
        return LOOK_AGAIN_NS;             /* a handler that ends rings */
    atomic_store(&k->wake_ms, INT64_MAX); /* until it's known again, any due message rings */
    int r = k->s.handle_bulk ? claim_bulk(k, &claim, &err) : claim_more(k, &claim, free, &err);
    if (r < 0) {
        complain(k, "claiming messages", &err);
        *pause = min_u64(*pause * 2, RETRY_LAST_NS);
        return *pause;
    }
    *pause = RETRY_FIRST_NS;
    while (claim.n)
        start_batch(k, &claim, k->s.handle_bulk ? claim.n : 1);
    return claim.more ? 0 : until_due(k, &claim);
}

/* Copies the ids and tokens of at most max leases. Returns how many there are. */
static size_t copy_leases(struct consumer *k, int64_t (*ret)[2], size_t max)
{
    size_t n = 0;
    pthread_mutex_lock(&k->lock);
    LIST_EACH (&k->leases, node) {
        struct lease *l = CONTAINER_OF(node, struct lease, node);
        if (n < max) {
            ret[n][0] = l->id;
            ret[n][1] = l->token;
        }
        n++;
    }
    pthread_mutex_unlock(&k->lock);
    return n;
}

/* Prolongs the leases of all that is being handled. */
CO static void extend_leases(struct consumer *k)
{
    struct error err = { 0 };
    size_t n = copy_leases(k, NULL, 0);
    int64_t(*lease)[2] = n ? mem_alloc(n * sizeof *lease) : NULL;
    if (!lease)
        return;
    n = min_size(n, copy_leases(k, lease, n)); /* only this fiber adds to them */
    struct extend p = {
        .job = { .run = queue_extend }, .q = k->q, .consumer = k, .lease = lease, .n = n
    };
    if (n && sqlite_write(k->q->db, &p.job, &err) < 0)
        complain(k, "prolonging leases", &err);
    mem_free(lease);
}

CO static void end_pump(struct consumer *k)
{
    pthread_mutex_lock(&k->lock);
    k->ended = true;
    struct ticket *closer = k->closer;
    pthread_mutex_unlock(&k->lock);
    if (closer)
        ticket_done(closer, 0);
}

/* A cancelled pump waits for its handlers, which ring, and for nothing else. */
CO static void pump_wait(struct consumer *k, uint64_t ns)
{
    if (!fiber_cancelled()) {
        bell_wait(&k->bell, ns);
        return;
    }
    SHIELD();
    bell_wait(&k->bell, ns);
}

CO static void pump(void *arg)
{
    struct consumer *k = arg;
    uint64_t pause = RETRY_FIRST_NS, every = (uint64_t)k->q->lease_ns / 3;
    uint64_t extend_at = clock_now_ns() + every;
    for (;;) {
        bool closing = atomic_load(&k->closing) || fiber_cancelled();
        if (closing && quiet(k))
            break;
        uint64_t wait = closing ? every : pump_round(k, &pause), now = clock_now_ns();
        if (now >= extend_at) {
            extend_leases(k);
            extend_at = now + every;
        }
        if (wait)
            pump_wait(k, min_u64(wait, extend_at - now));
    }
    end_pump(k);
}

/* ---- subscribing ---- */

struct join {
    struct sqlite_job job;
    struct consumer *k;
    const char *group;
};

static int find_number(struct sqlite_conn *c, sqlite3_stmt *s, int64_t *ret, int64_t *ret2,
                       struct error *err)
{
    int r = sqlite_step(c, s, "subscribing", err);
    if (r == SQLITE_DONE)
        return fail(err, INTERNAL, NULL, "subscribing: a row that was just written is not there");
    if (r < 0)
        return r;
    *ret = sqlite3_column_int64(s, 0);
    if (ret2)
        *ret2 = sqlite3_column_int64(s, 1);
    sqlite_done(s);
    return 0;
}

/* The group begins after the messages that are there, unless it's to have them all. */
static int run_join(struct sqlite_job *job, struct sqlite_conn *c)
{
    struct join *j = CONTAINER_OF(job, struct join, job);
    struct consumer *k = j->k;
    struct error *err = &job->err;
    int64_t next = 0, now = 0;
    bool oldest = str_ieq(str_c(k->q->start), S("oldest"));
    sqlite3_stmt *topic = sqlite_stmt(c, Q_TOPIC_MAKE, err),
                 *make = sqlite_stmt(c, Q_GROUP_MAKE, err),
                 *find = sqlite_stmt(c, Q_GROUP_FIND, err);
    if (!topic || !make || !find)
        return -(int)err->code;
    int r = queue_now(k->q, c, &now, err);
    sqlite_bind_str(topic, 1, str_c(k->topic));
    if (r == 0)
        r = find_number(c, topic, &k->topic_id, &next, err);
    if (r < 0)
        return r;
    (void)sqlite3_bind_int64(make, 1, k->topic_id);
    sqlite_bind_str(make, 2, str_c(j->group));
    (void)sqlite3_bind_int64(make, 3, QUEUE_FIRST(k->topic_id) + (oldest ? 0 : next - 1));
    (void)sqlite3_bind_int64(make, 4, now);
    r = sqlite_run(c, make, "subscribing", err);
    if (r < 0)
        return r;
    (void)sqlite3_bind_int64(find, 1, k->topic_id);
    sqlite_bind_str(find, 2, str_c(j->group));
    return find_number(c, find, &k->group_id, NULL, err);
}

static void consumer_free(struct consumer *k)
{
    pthread_mutex_destroy(&k->lock);
    mem_free(k->topic);
    mem_free(k->dead_topic);
    mem_free(k);
}

static struct consumer *consumer_new(struct queue *q, const struct pubsub_subscription *s)
{
    struct consumer *k = mem_zalloc(sizeof *k);
    if (!k)
        return NULL;
    str dead = kvs_get(s->metadata, S("deadLetterTopic"));
    pthread_mutex_init(&k->lock, NULL);
    list_init(&k->node);
    list_init(&k->leases);
    k->q = q;
    k->s = *s;
    k->s.bulk_max = s->bulk_max < 1 ? 1 : min_size(s->bulk_max, BULK_MAX);
    k->concurrency = (size_t)q->concurrency;
    k->topic = mem_dup(s->topic.p, s->topic.n);
    k->dead_topic = dead.n ? mem_dup(dead.p, dead.n) : NULL;
    bell_init(&k->bell);
    if (!k->topic || (dead.n && !k->dead_topic)) {
        consumer_free(k);
        return NULL;
    }
    return k;
}

CO int queue_subscribe(void *self, const struct pubsub_subscription *s, void **ret,
                       struct error *err)
{
    struct queue *q = self;
    if (!s->topic.n || s->topic.n > 1024 || str_find_c(s->topic, 0) >= 0)
        return fail(err, INVALID, NULL, "a topic's name has 1 … 1024 bytes, none of them NUL");
    struct consumer *k = consumer_new(q, s);
    if (!k)
        return fail(err, EXHAUSTED, NULL, "out of memory for a subscription");
    struct join join = {
        .job = { .run = run_join, .flags = SQLITE_JOB_ATOMIC | SQLITE_JOB_DURABLE },
        .k = k,
        .group = *q->consumer_id ? q->consumer_id : q->app_id,
    };
    int r = sqlite_write(q->db, &join.job, err);
    if (r < 0) {
        consumer_free(k);
        return r;
    }
    pthread_mutex_lock(&q->lock);
    list_append(&q->consumers, &k->node);
    pthread_mutex_unlock(&q->lock);
    if (!fiber_spawn("queue pump", pump, k)) {
        k->ended = true;
        queue_unsubscribe(q, k);
        return fail(err, EXHAUSTED, NULL, "no fiber for a subscription: raise the limit of fibers");
    }
    *ret = k;
    return 0;
}

CO void queue_unsubscribe(void *self, void *sub)
{
    struct queue *q = self;
    struct consumer *k = sub;
    struct ticket ticket;
    ticket_init(&ticket);
    atomic_store(&k->closing, true);
    pthread_mutex_lock(&k->lock);
    bool wait = !k->ended;
    k->closer = wait ? &ticket : NULL;
    pthread_mutex_unlock(&k->lock);
    if (wait) {
        bell_ring(&k->bell);
        (void)!ticket_wait(&ticket);
    }
    pthread_mutex_lock(&q->lock);
    list_remove(&k->node);
    pthread_mutex_unlock(&q->lock);
    bell_silence(&k->bell);
    consumer_free(k);
}
