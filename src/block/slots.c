#include "block/slots.h"

struct waiter {
    struct list node;
    bool granted; /* under the lock */
    struct fiber *fiber;
    struct mail mail;
    struct worker *worker;
    bool woken;
};

void slots_init(struct slots *s, size_t n)
{
    pthread_mutex_init(&s->lock, NULL);
    s->free = n;
    s->unlimited = n == 0;
    list_init(&s->waiters);
}

void slots_done(struct slots *s)
{
    PRE(list_empty(&s->waiters));
    pthread_mutex_destroy(&s->lock);
}

static void on_granted(struct mail *m) /* on the waiter's worker */
{
    struct waiter *w = CONTAINER_OF(m, struct waiter, mail);
    w->woken = true;
    fiber_wake(w->fiber, 0);
}

/* The wait was interrupted: either nobody has granted yet and we leave the queue, or the grant is
 * on its way to this worker and must be met before the frame goes. Returns whether a slot is now
 * held. */
CO static bool leave(struct slots *s, struct waiter *w)
{
    pthread_mutex_lock(&s->lock);
    bool granted = w->granted;
    if (!granted)
        list_remove(&w->node);
    pthread_mutex_unlock(&s->lock);
    SHIELD();
    while (granted && !w->woken)
        (void)fiber_park();
    return granted;
}

CO int slots_take(struct slots *s)
{
    if (s->unlimited)
        return 0;
    struct waiter w = { .fiber = fiber_self(), .worker = worker_self() };
    w.mail.run = on_granted;
    pthread_mutex_lock(&s->lock);
    bool now = s->free > 0;
    if (now)
        s->free--;
    else
        list_append(&s->waiters, &w.node);
    pthread_mutex_unlock(&s->lock);
    if (now)
        return 0;
    int r = 0;
    while (!w.woken && r >= 0)
        r = fiber_park();
    if (w.woken)
        return 0;
    if (leave(s, &w))
        slots_give(s);
    return r;
}

void slots_give(struct slots *s)
{
    if (s->unlimited)
        return;
    pthread_mutex_lock(&s->lock);
    struct list *first = list_pop(&s->waiters);
    struct waiter *w = first ? CONTAINER_OF(first, struct waiter, node) : NULL;
    if (w)
        w->granted = true; /* the slot passes on; nobody can overtake */
    else
        s->free++;
    pthread_mutex_unlock(&s->lock);
    if (w)
        worker_post(w->worker, &w->mail);
}
