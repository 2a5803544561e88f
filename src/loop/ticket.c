#include "loop/private.h"

static void on_ticket(struct mail *m)
{
    struct ticket *t = CONTAINER_OF(m, struct ticket, mail);
    t->done = true;
    if (t->fiber)
        (void)fiber_wake(t->fiber, 0);
}

void ticket_init(struct ticket *t)
{
    PRE(worker_self());
    *t = (struct ticket){ .mail.run = on_ticket, .worker = worker_self() };
}

void ticket_done(struct ticket *t, int result)
{
    t->result = result;
    worker_post(t->worker, &t->mail); /* from here on *t may be gone */
}

int ticket_wait(struct ticket *t)
{
    SHIELD();
    t->fiber = fiber_self(); /* set only now: until here a wake would hit another wait of ours */
    while (!t->done)
        (void)fiber_park();
    return t->result;
}

/* ---- the pool ---- */

struct job {
    uv_work_t req;
    void (*fn)(void *arg);
    void *arg;
    struct fiber *fiber;
    bool done;
};

static void run_job(uv_work_t *req)
{
    struct job *job = CONTAINER_OF(req, struct job, req);
    job->fn(job->arg);
}

static void on_job(uv_work_t *req, int status)
{
    (void)status; /* never cancelled */
    struct job *job = CONTAINER_OF(req, struct job, req);
    job->done = true;
    (void)fiber_wake(job->fiber, 0);
}

int blocking(void (*fn)(void *arg), void *arg)
{
    struct job job = { .fn = fn, .arg = arg, .fiber = fiber_self() };
    PRE(job.fiber && worker_self());
    if (uv_queue_work(worker_uv(worker_self()), &job.req, run_job, on_job) < 0)
        return -EXHAUSTED;
    SHIELD();
    while (!job.done)
        (void)fiber_park();
    return 0;
}

/* ---- calls into a worker ---- */

struct call {
    struct mail mail;
    void (*fn)(void *arg);
    void *arg;
    struct ticket *ticket; /* NULL: a foreign thread waits */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool done;
};

static void finish_call(struct call *c)
{
    if (c->ticket) {
        ticket_done(c->ticket, 0);
        return;
    }
    pthread_mutex_lock(&c->lock);
    c->done = true;
    pthread_cond_signal(&c->changed);
    pthread_mutex_unlock(&c->lock); /* the waiter frees it only after this: it needs the lock */
}

static void wait_call(struct call *c)
{
    pthread_mutex_lock(&c->lock);
    while (!c->done)
        pthread_cond_wait(&c->changed, &c->lock);
    pthread_mutex_unlock(&c->lock);
    pthread_cond_destroy(&c->changed);
    pthread_mutex_destroy(&c->lock);
}

static void on_call(struct mail *m)
{
    struct call *c = CONTAINER_OF(m, struct call, mail);
    c->fn(c->arg);
    finish_call(c);
}

void worker_call(struct worker *w, void (*fn)(void *arg), void *arg)
{
    struct call c = { .mail.run = on_call,
                      .fn = fn,
                      .arg = arg,
                      .lock = PTHREAD_MUTEX_INITIALIZER,
                      .changed = PTHREAD_COND_INITIALIZER };
    if (w == worker_self()) {
        fn(arg);
    } else if (worker_self()) {
        struct ticket ticket;
        ticket_init(&ticket);
        c.ticket = &ticket;
        worker_post(w, &c.mail);
        (void)ticket_wait(&ticket);
    } else {
        worker_post(w, &c.mail);
        wait_call(&c);
    }
}

static void run_call(void *arg)
{
    struct call *c = arg;
    c->fn(c->arg);
    finish_call(c);
}

int worker_run(struct worker *w, const char *name, fiber_fn *fn, void *arg)
{
    PRE(!worker_self());
    struct call c = {
        .fn = fn, .arg = arg, .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER
    };
    int r = worker_spawn(w, name, run_call, &c);
    if (r < 0)
        return r;
    wait_call(&c);
    return 0;
}
