#include "loop/private.h"

#include "base/clock.h"
#include "base/mem.h"

int timed_reserve(struct worker *w)
{
    if (heap_reserve(&w->timers, w->n_timed + 1) < 0)
        return -EXHAUSTED;
    w->n_timed++;
    return 0;
}

void timed_release(struct worker *w)
{
    PRE(w->n_timed);
    w->n_timed--;
}

void timed_start(struct worker *w, struct timed *t, uint64_t at)
{
    heap_add(&w->timers, &t->node, at);
}

void timed_stop(struct worker *w, struct timed *t)
{
    heap_remove(&w->timers, &t->node);
}

struct loop_timer {
    struct timed timed;
    struct worker *worker;
    uint64_t repeat_ns;
    void (*fn)(void *);
    void *arg;
};

static void on_time(struct timed *timed)
{
    struct loop_timer *t = CONTAINER_OF(timed, struct loop_timer, timed);
    if (t->repeat_ns)
        timed_start(t->worker, timed, clock_now_ns() + t->repeat_ns);
    t->fn(t->arg); /* last: it may stop the timer */
}

struct loop_timer *loop_timer_start(uint64_t first_ns, uint64_t repeat_ns, void (*fn)(void *),
                                    void *arg)
{
    struct worker *w = worker_self();
    PRE(w);
    struct loop_timer *t = mem_alloc(sizeof *t);
    if (!t || timed_reserve(w) < 0) {
        mem_free(t);
        return NULL;
    }
    *t = (struct loop_timer){
        .timed.fn = on_time, .worker = w, .repeat_ns = repeat_ns, .fn = fn, .arg = arg
    };
    timed_start(w, &t->timed, clock_now_ns() + first_ns);
    return t;
}

void loop_timer_stop(struct loop_timer *t)
{
    if (!t)
        return;
    PRE(t->worker == worker_self());
    timed_stop(t->worker, &t->timed);
    timed_release(t->worker);
    mem_free(t);
}
