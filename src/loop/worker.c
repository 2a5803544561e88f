#include "loop/private.h"

#include "base/clock.h"
#include "base/mem.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <time.h>

enum { WORKERS_MAX = 64, STACK_SIZE = 128 << 10, TRIM_MS = 1000 };

static struct {
    struct worker *worker[WORKERS_MAX];
    size_t n;
    pthread_mutex_t lock; /* for busy */
    pthread_cond_t changed;
    size_t busy; /* while stopping: workers that still have fibers */
    struct worker *abandoned;
} all = { .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };

static _Thread_local struct worker *self;

size_t workers_count(void)
{
    return all.n;
}

struct worker *worker_at(size_t i)
{
    PRE(i < all.n);
    return all.worker[i];
}

struct worker *worker_self(void)
{
    return self;
}

size_t worker_index(const struct worker *w)
{
    return w->index;
}

struct uv_loop_s *worker_uv(struct worker *w)
{
    return &w->uv;
}

/* ---- mail ---- */

void worker_post(struct worker *w, struct mail *m)
{
    m->next = atomic_load_explicit(&w->inbox, memory_order_relaxed);
    while (!atomic_compare_exchange_weak(&w->inbox, &m->next, m))
        ;
    /* Either we see `asleep` here, or sleep() sees our mail: both sides store before they load. */
    if (atomic_load(&w->asleep) && atomic_exchange(&w->asleep, false))
        uv_async_send(&w->wake);
}

static void read_mail(struct worker *w)
{
    struct mail *newest = atomic_exchange(&w->inbox, NULL), *oldest = NULL;
    while (newest) {
        struct mail *next = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    while (oldest) {
        struct mail *next = oldest->next; /* run() may free it or post it again */
        oldest->run(oldest);
        oldest = next;
    }
}

/* ---- spawning from outside ---- */

struct spawn {
    struct mail mail;
    struct list link; /* worker.waiting */
    const char *name;
    fiber_fn *fn;
    void *arg;
};

static bool try_spawn(struct spawn *s)
{
    if (!fiber_spawn(s->name, s->fn, s->arg))
        return false;
    mem_free(s);
    return true;
}

static void on_spawn(struct mail *m)
{
    struct spawn *s = CONTAINER_OF(m, struct spawn, mail);
    if (!list_empty(&self->waiting) || !try_spawn(s))
        list_append(&self->waiting, &s->link);
}

/* Returns whether there are new ones. */
static bool spawn_waiting(struct worker *w)
{
    bool any = false;
    for (struct list *node; (node = list_pop(&w->waiting)); any = true)
        if (!try_spawn(CONTAINER_OF(node, struct spawn, link))) {
            list_push(&w->waiting, node);
            break;
        }
    return any;
}

int worker_spawn(struct worker *w, const char *name, fiber_fn *fn, void *arg)
{
    struct spawn *s = mem_alloc(sizeof *s);
    if (!s)
        return -EXHAUSTED;
    *s = (struct spawn){ .mail.run = on_spawn, .name = name, .fn = fn, .arg = arg };
    list_init(&s->link);
    worker_post(w, &s->mail);
    return 0;
}

/* ---- the round: mail, fibers, then poll ---- */

static void count_busy(struct worker *w, bool idle)
{
    if (w->counted_idle == idle)
        return;
    w->counted_idle = idle;
    pthread_mutex_lock(&all.lock);
    all.busy += idle ? -1 : 1;
    pthread_cond_signal(&all.changed);
    pthread_mutex_unlock(&all.lock);
}

static void on_trim(uv_timer_t *t)
{
    struct worker *w = t->data;
    sched_trim(w->sched); /* prepare starts the timer again when more is due */
}

static void run_timers(struct worker *w)
{
    if (!w->timers.n)
        return;
    uint64_t at = clock_now_ns();
    while (heap_next(&w->timers) <= at) {
        struct heap_node *first = heap_first(&w->timers);
        heap_remove(&w->timers, first);
        struct timed *t = CONTAINER_OF(first, struct timed, node);
        t->fn(t);
    }
}

static void on_timer(uv_timer_t *t)
{
    struct worker *w = t->data;
    w->armed_at = UINT64_MAX; /* waking up was all: prepare and check look at the clock */
}

/* libuv counts in ms: rounded up, so that we don't wake just before the time. A later time than
 * the armed one costs a wake-up in vain, which is cheaper than moving the timer each round. */
static void arm_timer(struct worker *w, uint64_t fibers_in_ns)
{
    uint64_t at = heap_next(&w->timers);
    if (at == UINT64_MAX && fibers_in_ns == UINT64_MAX)
        return;
    uint64_t from = clock_now_ns();
    if (fibers_in_ns < UINT64_MAX - from)
        at = min_u64(at, from + fibers_in_ns);
    if (at >= w->armed_at)
        return;
    w->armed_at = at;
    uv_update_time(&w->uv);
    uv_timer_start(&w->timer, on_timer, at > from ? (at - from) / MS(1) + 1 : 0, 0);
}

/* Returns whether there is more to do at once. */
static bool run_round(struct worker *w)
{
    read_mail(w);
    run_timers(w);
    uint64_t next = sched_run(w->sched);
    bool more = !next | spawn_waiting(w);
    if (w->stopping) {
        more |= sched_cancel_all(w->sched);
        count_busy(w, !sched_count(w->sched) && list_empty(&w->waiting));
    }
    arm_timer(w, next);
    return more;
}

static void on_idle(uv_idle_t *h)
{
    (void)h;
}

static void set_more(struct worker *w, bool more)
{
    if (more)
        uv_idle_start(&w->idle, on_idle);
    else
        uv_idle_stop(&w->idle);
}

static void on_prepare(uv_prepare_t *h)
{
    struct worker *w = h->data;
    bool more = run_round(w);
    atomic_store(&w->asleep, true);
    set_more(w, more || atomic_load(&w->inbox));
    if (sched_trim_due(w->sched) && !uv_is_active((uv_handle_t *)&w->trim))
        uv_timer_start(&w->trim, on_trim, TRIM_MS, 0);
}

static void on_check(uv_check_t *h)
{
    struct worker *w = h->data;
    atomic_store(&w->asleep, false);
    set_more(w, run_round(w));
}

static void on_wake(uv_async_t *h)
{
    (void)h; /* check reads the mail */
}

/* ---- life ---- */

static uint64_t now(void *ctx)
{
    (void)ctx;
    return clock_now_ns();
}

static int init_loop(struct worker *w)
{
    int r = uv_loop_init(&w->uv);
    if (r < 0)
        return r;
    r = uv_async_init(&w->uv, &w->wake, on_wake);
    if (r < 0) {
        (void)uv_loop_close(&w->uv);
        return r;
    }
    uv_prepare_init(&w->uv, &w->prepare);
    uv_check_init(&w->uv, &w->check);
    uv_idle_init(&w->uv, &w->idle);
    uv_timer_init(&w->uv, &w->timer);
    uv_timer_init(&w->uv, &w->trim);
    w->prepare.data = w->check.data = w->timer.data = w->trim.data = w;
    uv_prepare_start(&w->prepare, on_prepare);
    uv_check_start(&w->check, on_check);
    return 0;
}

static void close_handle(uv_handle_t *h, void *arg)
{
    (void)arg;
    if (!uv_is_closing(h))
        uv_close(h, NULL);
}

/* What libraries left behind is closed too, but not waited for without end: a pool thread may hang
 * in the resolver. */
static void done_loop(struct worker *w)
{
    uint64_t limit = clock_now_ns() + SEC(1);
    uv_walk(&w->uv, close_handle, NULL);
    while (uv_run(&w->uv, UV_RUN_NOWAIT) && clock_now_ns() < limit)
        nanosleep(&(struct timespec){ .tv_nsec = MS(1) }, NULL);
}

static void *worker_main(void *arg)
{
    struct worker *w = self = arg;
    sched_enter(w->sched);
    uv_run(&w->uv, UV_RUN_DEFAULT);
    if (!sched_count(w->sched))
        done_loop(w);
    sched_enter(NULL);
    return NULL;
}

/* A worker whose fibers would not end keeps its memory: their stacks point into it. */
static size_t free_worker(struct worker *w)
{
    size_t left = sched_count(w->sched);
    if (left || uv_loop_close(&w->uv) < 0) {
        w->next_abandoned = all.abandoned;
        all.abandoned = w;
        return left;
    }
    sched_free(w->sched);
    heap_done(&w->timers);
    mem_free(w);
    return 0;
}

static struct worker *new_worker(size_t index, size_t max_fibers)
{
    struct worker *w = mem_zalloc(sizeof *w);
    if (!w)
        return NULL;
    w->index = index;
    w->armed_at = UINT64_MAX;
    list_init(&w->waiting);
    w->sched = sched_new(
        &(struct sched_config){ .max_fibers = max_fibers, .stack_size = STACK_SIZE, .now = now });
    if (!w->sched || init_loop(w) < 0) {
        sched_free(w->sched);
        mem_free(w);
        return NULL;
    }
    return w;
}

/* Workers take no signals: those are the main thread's. Faults stay open, for a sanitizer's or a
 * crash handler's sake: the kernel kills at once where they are blocked. */
static int start_thread(struct worker *w)
{
    static const int fault[] = {
        SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS, SIGPROF
    };
    sigset_t every, old;
    sigfillset(&every);
    for (size_t i = 0; i < COUNT(fault); i++)
        sigdelset(&every, fault[i]);
    pthread_sigmask(SIG_SETMASK, &every, &old);
    int r = pthread_create(&w->thread, NULL, worker_main, w);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return r ? -EXHAUSTED : 0;
}

int workers_start(size_t n, size_t max_fibers, struct error *err)
{
    PRE(n >= 1 && n <= WORKERS_MAX && !all.n);
    for (size_t i = 0; i < n; i++) {
        struct worker *w = new_worker(i, max_fibers);
        if (w && start_thread(w) < 0) {
            done_loop(w);
            (void)free_worker(w);
            w = NULL;
        }
        if (!w) {
            (void)workers_stop(0);
            return fail(err, EXHAUSTED, NULL,
                        "cannot start worker %zu of %zu: out of memory, threads or file "
                        "descriptors (see ulimit -u and -n)",
                        i + 1, n);
        }
        all.worker[all.n++] = w;
    }
    return 0;
}

static void on_stop(struct mail *m)
{
    (void)m;
    self->stopping = true;
}

static void on_leave(struct mail *m)
{
    (void)m;
    uv_stop(&self->uv);
}

static void wait_until_idle(uint64_t grace_ns)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t); /* the clock of a static condition variable */
    uint64_t end = SEC(t.tv_sec) + (uint64_t)t.tv_nsec + min_u64(grace_ns, SEC(86400));
    t = (struct timespec){ .tv_sec = (time_t)(end / SEC(1)), .tv_nsec = (long)(end % SEC(1)) };
    pthread_mutex_lock(&all.lock);
    while (all.busy && pthread_cond_timedwait(&all.changed, &all.lock, &t) != ETIMEDOUT)
        ;
    pthread_mutex_unlock(&all.lock);
}

size_t workers_stop(uint64_t grace_ns)
{
    PRE(!self);
    struct mail stop[WORKERS_MAX], leave[WORKERS_MAX];
    all.busy = all.n;
    for (size_t i = 0; i < all.n; i++) {
        stop[i].run = on_stop;
        worker_post(all.worker[i], &stop[i]);
    }
    /* Together: a fiber of one may wait for an answer from another. */
    wait_until_idle(grace_ns);
    for (size_t i = 0; i < all.n; i++) {
        leave[i].run = on_leave;
        worker_post(all.worker[i], &leave[i]);
    }
    for (size_t i = 0; i < all.n; i++)
        pthread_join(all.worker[i]->thread, NULL);
    size_t left = 0;
    for (size_t i = 0; i < all.n; i++)
        left += free_worker(all.worker[i]);
    all.n = 0;
    return left;
}
