#include "fiber/sync.h"

#include "base/error.h"
#include "base/mem.h"

struct waiter { /* on the waiting fiber's stack */
    struct list link;
    struct fiber *fiber;
};

void waitq_init(struct waitq *q)
{
    list_init(&q->waiters);
}

int waitq_wait(struct waitq *q)
{
    struct waiter w = { .fiber = fiber_self() };
    list_append(&q->waiters, &w.link);
    int r = fiber_park();
    list_remove(&w.link); /* still in the queue after cancel or timeout */
    return r;
}

/* Wakes the first that is really waiting: one whose cancel or timeout came first is passed over. */
static struct fiber *wake_first(struct waitq *q, int value)
{
    for (struct list *node; (node = list_pop(&q->waiters));) {
        struct fiber *f = CONTAINER_OF(node, struct waiter, link)->fiber;
        if (fiber_wake(f, value))
            return f;
    }
    return NULL;
}

bool waitq_wake_one(struct waitq *q, int value)
{
    return wake_first(q, value) != NULL;
}

void waitq_wake_all(struct waitq *q, int value)
{
    while (wake_first(q, value))
        ;
}

void fiber_mutex_init(struct fiber_mutex *m)
{
    m->owner = NULL;
    waitq_init(&m->queue);
}

int fiber_mutex_lock(struct fiber_mutex *m)
{
    PRE(m->owner != fiber_self());
    if (m->owner)
        return waitq_wait(&m->queue); /* woken as the owner */
    m->owner = fiber_self();
    return 0;
}

void fiber_mutex_unlock(struct fiber_mutex *m)
{
    PRE(m->owner && m->owner == fiber_self());
    m->owner = wake_first(&m->queue, 0);
}

void semaphore_init(struct semaphore *s, size_t n)
{
    s->free = n;
    waitq_init(&s->queue);
}

int semaphore_take(struct semaphore *s)
{
    if (!s->free)
        return waitq_wait(&s->queue); /* woken as a holder */
    s->free--;
    return 0;
}

void semaphore_give(struct semaphore *s)
{
    if (!waitq_wake_one(&s->queue, 0))
        s->free++;
}

int chan_init(struct chan *c, size_t cap)
{
    PRE(cap);
    *c = (struct chan){ .cap = cap };
    c->ring = cap > SIZE_MAX / sizeof *c->ring ? NULL : mem_alloc(cap * sizeof *c->ring);
    waitq_init(&c->readers);
    waitq_init(&c->writers);
    return c->ring ? 0 : -EXHAUSTED;
}

void chan_done(struct chan *c)
{
    PRE(list_empty(&c->readers.waiters) && list_empty(&c->writers.waiters));
    mem_free(TAKE(c->ring));
}

bool chan_try_put(struct chan *c, void *item)
{
    if (c->closed || c->n == c->cap)
        return false;
    c->ring[(c->head + c->n++) % c->cap] = item;
    (void)waitq_wake_one(&c->readers, 0);
    return true;
}

int chan_put(struct chan *c, void *item)
{
    while (!chan_try_put(c, item)) {
        if (c->closed)
            return -PRECONDITION;
        int r = waitq_wait(&c->writers);
        if (r < 0)
            return r;
    }
    return 0;
}

int chan_get(struct chan *c, void **ret_item)
{
    while (!c->n) {
        if (c->closed)
            return -NOT_FOUND;
        int r = waitq_wait(&c->readers);
        if (r < 0)
            return r;
    }
    *ret_item = c->ring[c->head];
    c->head = (c->head + 1) % c->cap;
    c->n--;
    (void)waitq_wake_one(&c->writers, 0);
    return 0;
}

void chan_close(struct chan *c)
{
    c->closed = true;
    waitq_wake_all(&c->readers, 0);
    waitq_wake_all(&c->writers, 0);
}

void wait_group_init(struct wait_group *g)
{
    g->n = 0;
    waitq_init(&g->queue);
}

void wait_group_add(struct wait_group *g)
{
    g->n++;
}

void wait_group_done(struct wait_group *g)
{
    PRE(g->n);
    if (!--g->n)
        waitq_wake_all(&g->queue, 0);
}

int wait_group_wait(struct wait_group *g)
{
    while (g->n) {
        int r = waitq_wait(&g->queue);
        if (r < 0)
            return r;
    }
    return 0;
}
