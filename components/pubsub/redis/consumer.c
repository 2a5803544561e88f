/* A subscription. Two fibers on the worker that subscribed:
 *
 *   pump     XREADGROUP … > on a connection of its own, blocking; what comes is taken
 *   keeper   prolongs what is being handled (XCLAIM … JUSTID), claims what others left (XPENDING,
 *            XCLAIM) or what failed here
 *
 * and up to `concurrency` runners on all workers, each handling one taken message after the other
 * and acknowledging it after its handler's success only. A message that failed is made due again in
 * redeliverInterval, for whoever looks first; one that wasn't tried (shutdown) at once. */
#include "components/pubsub/redis/streams.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "loop/bell.h"

#include <stdio.h>

enum { PAGE = 100, UNBLOCK_TRIES = 20, IDS_HEAD = 5, ID_MAX = 48 };
#define RETRY_FIRST_NS MS(10)
#define RETRY_LAST_NS SEC(2)
#define BLOCK_NS SEC(2)
#define LOOK_AGAIN_NS SEC(60)

static const char LOG[] = "dapr.contrib";

struct consumer {
    struct streams *s;
    struct pubsub_subscription sub;
    char *topic; /* owned */
    /* ---- the pump's and the keeper's worker ---- */
    struct fiber *pump;
    struct bell pump_bell, keeper_bell;
    bool keeper_runs, keeper_stops;
    size_t page; /* messages of one reply; fewer while they are too large */
    /* ---- any thread ---- */
    struct mail hurry;
    atomic_bool hurried, reading, closing;
    _Atomic int64_t client_id; /* of the connection that blocks; 0 = none */
    pthread_mutex_t lock;      /* of what follows */
    struct list taken, ready;
    size_t n_taken, n_running;
    bool deaf; /* nobody may ring any more */
    bool ended;
    struct ticket *closer;
};

static str topic_of(const struct consumer *k)
{
    return str_c(k->topic);
}

static str group_of(const struct consumer *k)
{
    return str_c(k->s->consumer_id);
}

static void complain(struct consumer *k, const char *what, const struct error *err)
{
    static struct log_limit limit;
    uint64_t missed;
    if (log_allow(&limit, SEC(5), &missed))
        log_warn(LOG, "%s: %s of topic %s: %s (%llu more like it since)", k->s->name, what,
                 k->topic, err->text, (unsigned long long)missed);
}

/* One command that may be sent twice; complains when it fails. */
CO static int ask(struct consumer *k, const char *what, const str *arg, size_t n, struct arena *a,
                  struct redis_reply *ret)
{
    struct error err = { 0 };
    struct redis_command c = { arg, n, topic_of(k) };
    int r = redis_do(k->s->redis, &c, REDIS_AGAIN, a, ret, &err);
    if (r < 0 && r != -CANCELLED)
        complain(k, what, &err);
    return r;
}

/* ---- giving messages back, keeping them ---- */

static str milliseconds(char text[24], int64_t ns)
{
    int n = snprintf(text, 24, "%lld", (long long)(ns / (int64_t)MS(1)));
    return str_of(text, (size_t)n);
}

/* XCLAIM of messages that are ours, so that their idle time is what is said. Those that were
 * acknowledged meanwhile are left alone. */
CO static void set_idle(struct consumer *k, const str *id, size_t n, int64_t idle_ns)
{
    char text[24];
    AUTO(arena_done) struct arena a;
    arena_init(&a, KIB(64) + n * sizeof(str));
    str *arg = arena_alloc(&a, (n + IDS_HEAD + 3) * sizeof *arg);
    struct redis_reply reply;
    size_t at = 0;
    if (!arg || !n || !k->s->processing_ns)
        return;
    arg[at++] = S("XCLAIM");
    arg[at++] = topic_of(k);
    arg[at++] = group_of(k);
    arg[at++] = group_of(k);
    arg[at++] = S("0");
    memcpy(arg + at, id, n * sizeof *id);
    at += n;
    arg[at++] = S("IDLE");
    arg[at++] = milliseconds(text, idle_ns);
    arg[at++] = S("JUSTID");
    (void)ask(k, "keeping messages", arg, at, &a, &reply);
}

/* Ids of all that is taken, copied: the entries may go while a command is under way. */
static str *copy_ids(struct consumer *k, struct arena *a, size_t *ret_n)
{
    pthread_mutex_lock(&k->lock);
    str *id = arena_alloc(a, (k->n_taken + 1) * sizeof *id);
    size_t n = 0;
    LIST_EACH (&k->taken, node) {
        struct entry *e = CONTAINER_OF(node, struct entry, node);
        str copy = id && n < k->n_taken ? arena_dup(a, e->id) : (str){ 0 };
        if (copy.p)
            id[n++] = copy;
    }
    pthread_mutex_unlock(&k->lock);
    *ret_n = n;
    return id;
}

CO static void keep_taken(struct consumer *k, int64_t idle_ns)
{
    AUTO(arena_done) struct arena a;
    size_t n;
    arena_init(&a, MIB(4));
    str *id = copy_ids(k, &a, &n);
    for (size_t at = 0; id && at < n; at += PAGE)
        set_idle(k, id + at, min_size(PAGE, n - at), idle_ns);
}

/* ---- handling ---- */

/* For as long as it may stay pending: an acknowledgement that is lost means a second delivery. */
CO static void acknowledge(struct consumer *k, const struct entry *e)
{
    SHIELD();
    uint64_t until =
        clock_now_ns() + (k->s->processing_ns ? (uint64_t)k->s->processing_ns : SEC(60));
    for (uint64_t pause = RETRY_FIRST_NS;; pause = min_u64(pause * 2, RETRY_LAST_NS)) {
        AUTO(arena_done) struct arena a;
        struct redis_reply reply;
        str arg[] = { S("XACK"), topic_of(k), group_of(k), e->id };
        arena_init(&a, KIB(16));
        int r = ask(k, "acknowledging a message", arg, COUNT(arg), &a, &reply);
        if (r == 0 || r == -DENIED || r == -UNKNOWN || clock_now_ns() >= until ||
            atomic_load(&k->closing))
            return;
        (void)fiber_sleep(pause);
    }
}

CO static void give_back(struct consumer *k, const struct entry *e, int code)
{
    SHIELD();
    int64_t processing = k->s->processing_ns;
    int64_t idle = code == -CANCELLED ? processing : processing - k->s->redeliver_ns;
    set_idle(k, &e->id, 1, idle > 0 ? idle : processing);
}

CO static void handle(struct consumer *k, struct entry *e)
{
    struct error err = { 0 };
    int r = k->sub.handle(k->sub.arg, &e->m, &err);
    if (r == 0)
        acknowledge(k, e);
    else
        give_back(k, e, r);
    pthread_mutex_lock(&k->lock);
    list_remove(&e->node);
    if (k->n_taken-- >= (size_t)k->s->queue_depth)
        bell_ring(&k->pump_bell);
    pthread_mutex_unlock(&k->lock);
    entry_free(e);
}

CO static void run(void *arg)
{
    struct consumer *k = arg;
    for (;;) {
        pthread_mutex_lock(&k->lock);
        struct list *node = atomic_load(&k->closing) ? NULL : list_pop(&k->ready);
        if (!node) {
            k->n_running--;
            bell_ring(&k->pump_bell); /* under the lock: once it's open the consumer may be gone */
            pthread_mutex_unlock(&k->lock);
            return;
        }
        pthread_mutex_unlock(&k->lock);
        handle(k, CONTAINER_OF(node, struct entry, ready));
    }
}

/* Starts runners for what is ready. One that can't be started is tried again with the next message,
 * or by the keeper. */
static void start_runners(struct consumer *k)
{
    for (;;) {
        pthread_mutex_lock(&k->lock);
        bool start = !list_empty(&k->ready) && k->n_running < (size_t)k->s->concurrency &&
                     !atomic_load(&k->closing);
        k->n_running += start;
        pthread_mutex_unlock(&k->lock);
        if (!start)
            return;
        size_t at = atomic_fetch_add(&k->s->next_worker, 1) % workers_count();
        if (worker_spawn(worker_at(at), "redis consumer", run, k) == 0)
            continue;
        pthread_mutex_lock(&k->lock);
        k->n_running--;
        pthread_mutex_unlock(&k->lock);
        return;
    }
}

/* ---- taking ---- */

static size_t room(struct consumer *k)
{
    pthread_mutex_lock(&k->lock);
    size_t depth = (size_t)k->s->queue_depth, n = depth > k->n_taken ? depth - k->n_taken : 0;
    pthread_mutex_unlock(&k->lock);
    return min_size(n, k->page);
}

static bool is_taken(struct consumer *k, str id)
{
    LIST_EACH (&k->taken, node)
        if (str_eq(CONTAINER_OF(node, struct entry, node)->id, id))
            return true;
    return false;
}

static void take(struct consumer *k, const struct redis_reply *entries)
{
    for (size_t i = 0; entries->kind == REDIS_ARRAY && i < entries->n; i++) {
        struct entry *e;
        if (entry_read(&entries->item[i], topic_of(k), &e) < 0)
            continue; /* deleted; or out of memory: it comes again */
        pthread_mutex_lock(&k->lock);
        bool again = is_taken(k, e->id);
        if (!again) {
            list_append(&k->taken, &e->node);
            list_append(&k->ready, &e->ready);
            k->n_taken++;
        }
        pthread_mutex_unlock(&k->lock);
        if (again)
            entry_free(e);
    }
    start_runners(k);
}

/* ---- the keeper ---- */

/* Which of a page of XPENDING have been idle for long enough: [id, consumer, ms, deliveries]. */
static size_t pick_idle(const struct redis_reply *page, int64_t idle_ms, str *ret, size_t max)
{
    size_t n = 0;
    for (size_t i = 0; i < page->n && n < max; i++) {
        const struct redis_reply *v = &page->item[i];
        if (v->kind == REDIS_ARRAY && v->n >= 3 && v->item[0].kind == REDIS_STRING &&
            v->item[2].kind == REDIS_INTEGER && v->item[2].integer >= idle_ms)
            ret[n++] = v->item[0].text;
    }
    return n;
}

CO static int claim(struct consumer *k, const str *id, size_t n, str idle, struct arena *a)
{
    struct redis_reply reply;
    str arg[IDS_HEAD + PAGE] = { S("XCLAIM"), topic_of(k), group_of(k), group_of(k), idle };
    memcpy(arg + IDS_HEAD, id, n * sizeof *id);
    int r = ask(k, "claiming messages", arg, IDS_HEAD + n, a, &reply);
    if (r == 0)
        take(k, &reply);
    else if (r == -EXHAUSTED && k->page > 1)
        k->page /= 2;
    return r;
}

/* Claims what has been pending for too long, page by page; returns when there is no room left. */
CO static void claim_due(struct consumer *k)
{
    char start[ID_MAX] = "-", text[24];
    str idle = milliseconds(text, k->s->processing_ns);
    for (bool more = true; more && !k->keeper_stops;) {
        AUTO(arena_done) struct arena a;
        struct redis_reply page;
        str due[PAGE],
            arg[] = { S("XPENDING"), topic_of(k), group_of(k), str_c(start), S("+"), S("100") };
        _Static_assert(PAGE == 100, "the command says so");
        arena_init(&a, 2 * (size_t)REDIS_REPLY_MAX);
        if (ask(k, "looking for pending messages", arg, COUNT(arg), &a, &page) < 0 ||
            page.kind != REDIS_ARRAY || !page.n)
            return;
        const struct redis_reply *last = &page.item[page.n - 1];
        more = page.n == PAGE && last->n && entry_id_next(last->item[0].text, start);
        size_t max = room(k);
        size_t n = pick_idle(&page, k->s->processing_ns / (int64_t)MS(1), due, max);
        if (!max || (n && claim(k, due, n, idle, &a) < 0))
            return;
    }
}

CO static void keeper(void *arg)
{
    struct consumer *k = arg;
    uint64_t extend = (uint64_t)k->s->processing_ns / 3, look = (uint64_t)k->s->redeliver_ns;
    uint64_t extend_at = clock_now_ns() + extend, look_at = 0;
    SHIELD(); /* it ends when the pump says so */
    while (!k->keeper_stops) {
        uint64_t now = clock_now_ns();
        if (now >= extend_at) {
            keep_taken(k, 0);
            extend_at = now + extend;
        }
        if (now >= look_at && !atomic_load(&k->closing)) {
            claim_due(k);
            start_runners(k);
            look_at = now + look;
        }
        now = clock_now_ns();
        uint64_t until = atomic_load(&k->closing) ? extend_at : min_u64(extend_at, look_at);
        if (k->keeper_stops || now >= until)
            continue;
        bell_wait(&k->keeper_bell, until - now);
    }
    k->keeper_runs = false;
    bell_ring(&k->pump_bell);
}

/* ---- the pump ---- */

CO static int make_group(struct consumer *k, struct error *err)
{
    AUTO(arena_done) struct arena a;
    struct redis_reply reply;
    str arg[] = { S("XGROUP"), S("CREATE"), topic_of(k), group_of(k), S("0"), S("MKSTREAM") };
    struct redis_command c = { arg, COUNT(arg), topic_of(k) };
    struct error why = { 0 };
    arena_init(&a, KIB(64));
    int r = redis_do(k->s->redis, &c, REDIS_AGAIN, &a, &reply, &why);
    if (r == -UNKNOWN && redis_error_is(&reply, "BUSYGROUP"))
        return 0;
    return r < 0 ? fail(err, why.code, NULL, "%s", why.text) : 0;
}

CO static int connect_own(struct consumer *k, struct redis_conn **conn, struct arena *a,
                          struct error *err)
{
    struct redis_reply reply;
    struct error ignored = { 0 };
    str arg[] = { S("CLIENT"), S("ID") };
    int r = redis_conn_open(k->s->redis, topic_of(k), conn, err);
    if (r < 0)
        return r;
    r = redis_conn_do(*conn, arg, COUNT(arg), 0, a, &reply, &ignored);
    if (r == 0 && reply.kind == REDIS_INTEGER)
        atomic_store(&k->client_id, reply.integer);
    else if (r != 0 && r != -UNKNOWN && r != -DENIED)
        return fail(err, ignored.code, NULL, "%s", ignored.text);
    return 0;
}

CO static int read_new(struct consumer *k, struct redis_conn *conn, size_t max, struct arena *a,
                       struct redis_reply *reply, struct error *err)
{
    char count[24], block[24];
    str arg[] = { S("XREADGROUP"), S("GROUP"), group_of(k),  group_of(k), S("COUNT"), S(""),
                  S("BLOCK"),      S(""),      S("STREAMS"), topic_of(k), S(">") };
    int n = snprintf(count, sizeof count, "%zu", max);
    arg[5] = str_of(count, (size_t)n);
    arg[7] = milliseconds(block, BLOCK_NS);
    atomic_store(&k->reading, true);
    int r = atomic_load(&k->closing)
                ? -CANCELLED
                : redis_conn_do(conn, arg, COUNT(arg), BLOCK_NS + SEC(3), a, reply, err);
    atomic_store(&k->reading, false);
    return r;
}

/* What to do about a failed read. Returns whether to pause. */
CO static bool mend(struct consumer *k, struct redis_conn **conn, int r,
                    const struct redis_reply *reply, const struct error *err)
{
    struct error why = *err;
    if (r == -UNKNOWN && redis_error_is(reply, "UNBLOCKED"))
        return false;
    if (r == -UNKNOWN && redis_error_is(reply, "NOGROUP")) {
        why = (struct error){ 0 };
        if (make_group(k, &why) == 0)
            return false;
    } else if (r != -UNKNOWN && r != -DENIED) {
        redis_conn_close(TAKE(*conn));
        atomic_store(&k->client_id, 0);
        if (r == -EXHAUSTED && k->page > 1)
            k->page /= 2; /* what was too large together comes again piece by piece */
    }
    complain(k, "reading messages", &why);
    return true;
}

CO static void read_on(struct consumer *k)
{
    struct redis_conn *conn = NULL;
    uint64_t pause = RETRY_FIRST_NS;
    AUTO(arena_done) struct arena a;
    arena_init(&a, 2 * (size_t)REDIS_REPLY_MAX);
    while (!atomic_load(&k->closing) && !fiber_cancelled()) {
        struct redis_reply reply = { 0 };
        struct error err = { 0 };
        size_t max = room(k);
        if (!max) {
            bell_wait(&k->pump_bell, LOOK_AGAIN_NS);
            continue;
        }
        int r = conn ? 0 : connect_own(k, &conn, &a, &err);
        if (r == 0)
            r = read_new(k, conn, max, &a, &reply, &err);
        if (r == 0 && reply.kind == REDIS_ARRAY && reply.n == 1 && reply.item[0].n == 2) {
            take(k, &reply.item[0].item[1]);
            k->page = min_size(k->page * 2, PAGE);
        }
        if (r == 0)
            pause = RETRY_FIRST_NS;
        else if (r != -CANCELLED && mend(k, &conn, r, &reply, &err)) {
            bell_wait(&k->pump_bell, pause);
            pause = min_u64(pause * 2, RETRY_LAST_NS);
        }
        arena_reset(&a);
    }
    redis_conn_close(conn);
}

static bool is_quiet(struct consumer *k)
{
    pthread_mutex_lock(&k->lock);
    bool quiet = k->n_running == 0;
    pthread_mutex_unlock(&k->lock);
    return quiet;
}

CO static void pump(void *arg)
{
    struct consumer *k = arg;
    read_on(k);
    atomic_store(&k->closing, true);
    SHIELD();
    while (!is_quiet(k))
        bell_wait(&k->pump_bell, LOOK_AGAIN_NS);
    k->keeper_stops = true;
    bell_ring(&k->keeper_bell);
    while (k->keeper_runs)
        bell_wait(&k->pump_bell, LOOK_AGAIN_NS);
    {
        DEADLINE(SEC(1)); /* what can't be given back comes again after processingTimeout */
        keep_taken(k, k->s->processing_ns);
    }
    pthread_mutex_lock(&k->lock);
    k->deaf = true;
    pthread_mutex_unlock(&k->lock);
    bell_silence(&k->keeper_bell);
    bell_silence(&k->pump_bell);
    pthread_mutex_lock(&k->lock);
    k->ended = true;
    struct ticket *closer = k->closer;
    pthread_mutex_unlock(&k->lock);
    if (closer)
        ticket_done(closer, 0);
}

/* ---- subscribing ---- */

static void consumer_free(struct consumer *k)
{
    struct list *node;
    while ((node = list_pop(&k->taken)))
        entry_free(CONTAINER_OF(node, struct entry, node));
    pthread_mutex_destroy(&k->lock);
    mem_free(k->topic);
    mem_free(k);
}

static void on_hurry(struct mail *m)
{
    struct consumer *k = CONTAINER_OF(m, struct consumer, hurry);
    if (!k->ended)
        fiber_cancel(k->pump);
    atomic_store(&k->hurried, false);
}

static struct consumer *consumer_new(struct streams *s, const struct pubsub_subscription *sub)
{
    struct consumer *k = mem_zalloc(sizeof *k);
    if (!k)
        return NULL;
    pthread_mutex_init(&k->lock, NULL);
    list_init(&k->taken);
    list_init(&k->ready);
    bell_init(&k->pump_bell);
    bell_init(&k->keeper_bell);
    k->s = s;
    k->sub = *sub;
    k->hurry.run = on_hurry;
    k->page = min_size((size_t)s->queue_depth, PAGE);
    k->topic = mem_dup(sub->topic.p, sub->topic.n);
    if (k->topic)
        return k;
    consumer_free(k);
    return NULL;
}

CO int streams_subscribe(void *self, const struct pubsub_subscription *sub, void **ret,
                         struct error *err)
{
    struct streams *s = self;
    if (!sub->topic.n || str_find_c(sub->topic, 0) >= 0)
        return fail(err, INVALID, NULL, "a topic's name isn't empty and has no NUL");
    struct consumer *k = consumer_new(s, sub);
    if (!k)
        return fail(err, EXHAUSTED, NULL, "out of memory for a subscription");
    int r = make_group(k, err);
    if (r < 0) {
        consumer_free(k);
        return r;
    }
    k->keeper_runs = s->processing_ns > 0 && s->redeliver_ns > 0;
    if (k->keeper_runs && !fiber_spawn("redis keeper", keeper, k)) {
        consumer_free(k);
        return fail(err, EXHAUSTED, NULL, "no fiber for a subscription: raise the limit of fibers");
    }
    k->pump = fiber_spawn("redis pump", pump, k);
    if (!k->pump) {
        k->keeper_stops = true;
        while (k->keeper_runs)
            fiber_yield();
        consumer_free(k);
        return fail(err, EXHAUSTED, NULL, "no fiber for a subscription: raise the limit of fibers");
    }
    *ret = k;
    return 0;
}

/* The blocked read ends with nothing lost when Redis is asked to end it; when Redis doesn't answer
 * the fiber is cancelled. */
CO static void interrupt(struct consumer *k)
{
    AUTO(arena_done) struct arena a;
    arena_init(&a, KIB(64));
    DEADLINE(MS(500));
    for (int i = 0; i < UNBLOCK_TRIES && atomic_load(&k->reading); i++) {
        struct redis_reply reply;
        struct error err = { 0 };
        char text[24];
        int n = snprintf(text, sizeof text, "%lld", (long long)atomic_load(&k->client_id));
        str arg[] = { S("CLIENT"), S("UNBLOCK"), str_of(text, (size_t)n) };
        struct redis_command c = { arg, COUNT(arg), topic_of(k) };
        int r = redis_do(k->s->redis, &c, REDIS_AGAIN, &a, &reply, &err);
        if (r < 0)
            break;
        if (reply.integer == 1)
            return;
        if (fiber_sleep(MS(10)) < 0) /* it hasn't been blocked yet */
            break;
    }
    if (atomic_load(&k->reading) && !atomic_exchange(&k->hurried, true))
        worker_post(k->pump_bell.worker, &k->hurry);
}

CO void streams_unsubscribe(void *self, void *sub)
{
    struct consumer *k = sub;
    struct ticket ticket;
    (void)self;
    if (!k)
        return;
    ticket_init(&ticket);
    atomic_store(&k->closing, true);
    pthread_mutex_lock(&k->lock);
    bool wait = !k->ended;
    k->closer = wait ? &ticket : NULL;
    if (!k->deaf)
        bell_ring(&k->pump_bell);
    pthread_mutex_unlock(&k->lock);
    if (wait) {
        interrupt(k);
        (void)!ticket_wait(&ticket);
    }
    SHIELD();
    while (atomic_load(&k->hurried))
        fiber_yield();
    consumer_free(k);
}
