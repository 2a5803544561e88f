#include "block/batch.h"

#include "base/mem.h"
#include "block/deliver.h"
#include "loop/worker.h"

#include <pthread.h>

/* One gathering: lives in the frame of its first message's fiber, which also delivers it. */
struct batch {
    struct pubsub_message *m;
    int *codes;
    struct ticket **waiter; /* of the other messages; [0] is unused */
    size_t n;
    bool full;             /* the leader has been told */
    struct worker *worker; /* the leader's */
    struct fiber *leader;
    struct mail mail;
    bool woken;
};

struct batcher {
    struct subscription *s;
    size_t max;
    uint64_t await_ns;
    pthread_mutex_t lock;
    struct batch *open; /* takes messages; NULL = the next message begins one */
};

struct batcher *batcher_new(struct subscription *s, size_t max, uint64_t await_ns)
{
    struct batcher *b = mem_zalloc(sizeof *b);
    if (!b)
        return NULL;
    b->s = s;
    b->max = max;
    b->await_ns = await_ns;
    pthread_mutex_init(&b->lock, NULL);
    return b;
}

void batcher_free(struct batcher *b)
{
    if (!b)
        return;
    PRE(!b->open);
    pthread_mutex_destroy(&b->lock);
    mem_free(b);
}

static void on_full(struct mail *m) /* on the leader's worker */
{
    struct batch *x = CONTAINER_OF(m, struct batch, mail);
    x->woken = true;
    fiber_wake(x->leader, 0);
}

/* Adds m to the open batch; -PRECONDITION when there is none. t: where the verdict will come. */
static int join(struct batcher *b, const struct pubsub_message *m, struct ticket *t)
{
    pthread_mutex_lock(&b->lock);
    struct batch *x = b->open;
    if (x) {
        x->m[x->n] = *m;
        x->waiter[x->n++] = t;
        x->full = x->n == b->max;
        if (x->full)
            b->open = NULL;
    }
    bool full = x && x->full;
    pthread_mutex_unlock(&b->lock);
    if (full)
        worker_post(x->worker, &x->mail);
    return x ? 0 : -PRECONDITION;
}

static bool begin(struct batcher *b, struct batch *x)
{
    pthread_mutex_lock(&b->lock);
    bool first = !b->open;
    if (first && b->max > 1)
        b->open = x;
    pthread_mutex_unlock(&b->lock);
    return first;
}

/* Waits until the batch is full or its time is up, then takes it off, so that nobody joins any
 * more. */
CO static void gather(struct batcher *b, struct batch *x)
{
    SHIELD(); /* others wait in this batch: it is delivered in any case */
    if (b->max > 1) {
        DEADLINE(b->await_ns);
        while (!x->woken && fiber_park() >= 0)
            ;
    }
    pthread_mutex_lock(&b->lock);
    if (b->open == x)
        b->open = NULL;
    bool told = x->full;
    pthread_mutex_unlock(&b->lock);
    while (told && !x->woken) /* the message of the last one is under way to this frame */
        (void)fiber_park();
}

CO static int lead(struct batcher *b, struct batch *x, struct error *err)
{
    gather(b, x);
    SHIELD();
    (void)deliver_bulk(b->s, x->m, x->n, x->codes, err);
    for (size_t i = 1; i < x->n; i++)
        ticket_done(x->waiter[i], x->codes[i]);
    return x->codes[0];
}

static bool make(struct batch *x, const struct pubsub_message *m, size_t max)
{
    x->m = mem_alloc(max * sizeof *x->m);
    x->codes = mem_alloc(max * sizeof *x->codes);
    x->waiter = mem_alloc(max * sizeof(struct ticket *));
    x->worker = worker_self();
    x->leader = fiber_self();
    x->mail.run = on_full;
    if (!x->m || !x->codes || !x->waiter)
        return false;
    x->m[x->n++] = *m;
    return true;
}

CO int batcher_deliver(void *batcher, const struct pubsub_message *m, struct error *err)
{
    struct batcher *b = batcher;
    struct ticket t;
    struct batch x = { 0 };
    ticket_init(&t);
    if (join(b, m, &t) >= 0)
        return ticket_wait(&t);
    int r = -EXHAUSTED;
    if (!make(&x, m, b->max))
        fail(err, EXHAUSTED, NULL, "out of memory");
    else if (begin(b, &x))
        r = lead(b, &x, err);
    else /* somebody else has just begun one */
        r = join(b, m, &t) >= 0 ? ticket_wait(&t) : lead(b, &x, err);
    mem_free(x.m);
    mem_free(x.codes);
    mem_free(x.waiter);
    return r;
}
