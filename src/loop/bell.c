#include "loop/bell.h"

static void on_bell(struct mail *m)
{
    struct bell *b = CONTAINER_OF(m, struct bell, mail);
    b->heard = true;
    atomic_store(&b->rung, false);
    if (b->fiber)
        fiber_wake(b->fiber, 0);
}

void bell_init(struct bell *b)
{
    *b = (struct bell){ .mail.run = on_bell, .worker = worker_self() };
}

void bell_ring(struct bell *b)
{
    if (!atomic_exchange(&b->rung, true))
        worker_post(b->worker, &b->mail);
}

CO void bell_wait(struct bell *b, uint64_t ns)
{
    DEADLINE(ns);
    b->fiber = fiber_self();
    while (!b->heard && fiber_park() == 0)
        ;
    b->fiber = NULL;
    b->heard = false;
}

CO void bell_silence(struct bell *b)
{
    SHIELD();
    while (atomic_load(&b->rung))
        fiber_yield();
}
