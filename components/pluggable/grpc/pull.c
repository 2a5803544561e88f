#include "pull.h"

#include "base/log.h"
#include "base/mem.h"
#include "fiber/sync.h"
#include "loop/worker.h"

enum { PAUSE_MIN_MS = 50, PAUSE_MAX_MS = 2000, CLOSE_MS = 2000, OPEN_S = 10 };
static const char SCOPE[] = "dapr.runtime.pluggable";

struct pull {
    struct plug *plug;
    const struct pull_ops *ops;
    void *arg;
    struct worker *home;
    struct fiber *reader;
    struct http_call *call;     /* NULL: there is no stream just now */
    unsigned stream;            /* counts streams: an ack belongs to the one of its message */
    struct fiber_mutex sending; /* of one frame after the other, and of .call */
    struct semaphore room;
    struct wait_group handlers, readers;
    bool stopping;
    struct ticket stopped;
};

struct delivery {
    struct pull *p;
    unsigned stream;
    struct arena arena;
    struct pull_message m;
};

/* ---- one message ---- */

static void delivery_free(struct delivery *d)
{
    struct pull *p = d->p;
    arena_done(&d->arena);
    mem_free(d);
    semaphore_give(&p->room);
}

CO static void acknowledge(struct delivery *d, char *text)
{
    struct pull *p = d->p;
    SHIELD();
    DEADLINE(MS(CLOSE_MS));
    if (fiber_mutex_lock(&p->sending) < 0)
        return; /* the stream takes nothing any more: its reader will see that */
    if (p->call && p->stream == d->stream)
        (void)p->ops->ack(p->arg, p->call, &d->m, text);
    fiber_mutex_unlock(&p->sending);
}

CO static void handler_main(void *arg)
{
    struct delivery *d = arg;
    struct pull *p = d->p;
    struct error err = { 0 };
    int r = p->ops->handle(p->arg, &d->m, &err);
    if (r < 0 && !err.text[0])
        fail(&err, (enum code) - r, NULL, "%s", code_name((enum code) - r));
    acknowledge(d, r < 0 ? err.text : NULL);
    delivery_free(d);
    wait_group_done(&p->handlers);
}

/* What comes while it is being stopped is neither acknowledged nor refused. */
CO static int dispatch(struct delivery *d)
{
    struct pull *p = d->p;
    wait_group_add(&p->handlers);
    if (!p->stopping && fiber_spawn("pluggable message", handler_main, d))
        return 0;
    wait_group_done(&p->handlers);
    delivery_free(d);
    return p->stopping ? 0 : -EXHAUSTED;
}

/* ---- the stream ---- */

CO static void close_stream(struct pull *p)
{
    SHIELD();
    (void)fiber_mutex_lock(&p->sending);
    http_call_free(TAKE(p->call));
    fiber_mutex_unlock(&p->sending);
}

CO static int open_stream(struct pull *p, struct error *err)
{
    DEADLINE(SEC(OPEN_S));
    struct http_call *call;
    int r = plug_stream(p->plug, p->ops->path, &call, err);
    if (r < 0)
        return r;
    r = p->ops->first ? p->ops->first(p->arg, call) : 0;
    if (r < 0) {
        r = plug_ended(p->plug, call, r, err);
        http_call_free(call);
        return r;
    }
    p->call = call;
    p->stream++;
    return 0;
}

/* Until the stream ends: how it did. */
CO static int read_stream(struct pull *p, struct error *err)
{
    for (;;) {
        int r = semaphore_take(&p->room);
        if (r < 0)
            return r;
        struct delivery *d = mem_zalloc(sizeof *d);
        if (!d) {
            semaphore_give(&p->room);
            return fail(err, EXHAUSTED, NULL, "out of memory");
        }
        *d = (struct delivery){ .p = p, .stream = p->stream };
        arena_init(&d->arena, PLUGIN_ARENA_MAX);
        d->m.arena = &d->arena;
        r = plug_recv(p->call, p->ops->type, &d->arena, &d->m.m);
        if (r <= 0) {
            delivery_free(d);
            return plug_ended(p->plug, p->call, r, err);
        }
        r = dispatch(d);
        if (r < 0)
            return fail(err, EXHAUSTED, NULL, "too many fibers for another message");
    }
}

CO static int reopen(struct pull *p)
{
    uint64_t pause = MS(PAUSE_MIN_MS);
    struct error err;
    do {
        int r = fiber_sleep(pause);
        if (r < 0 || p->stopping)
            return -CANCELLED;
        pause = min_u64(pause * 2, MS(PAUSE_MAX_MS));
        err = (struct error){ 0 };
    } while (open_stream(p, &err) < 0);
    log_info(SCOPE, "%s: the stream of messages is open again", p->plug->env->name);
    return 0;
}

CO static void reader_main(void *arg)
{
    struct pull *p = arg;
    int r = 0;
    while (r == 0) {
        struct error err = { 0 };
        r = read_stream(p, &err);
        close_stream(p);
        if (p->stopping || fiber_cancelled())
            break;
        log_warn(SCOPE, "%s: the stream of messages ended, it will be opened again: %s",
                 p->plug->env->name, r < 0 ? err.text : "by the component");
        r = reopen(p);
    }
    wait_group_done(&p->readers);
}

int pull_start(struct plug *plug, const struct pull_ops *ops, void *arg, struct pull **ret,
               struct error *err)
{
    struct pull *p = mem_zalloc(sizeof *p);
    if (!p)
        return fail(err, EXHAUSTED, NULL, "out of memory");
    *p = (struct pull){ .plug = plug, .ops = ops, .arg = arg, .home = worker_self() };
    fiber_mutex_init(&p->sending);
    semaphore_init(&p->room, ops->parallel);
    wait_group_init(&p->handlers);
    wait_group_init(&p->readers);
    int r = open_stream(p, err);
    if (r >= 0) {
        wait_group_add(&p->readers);
        p->reader = fiber_spawn("pluggable stream", reader_main, p);
        if (!p->reader)
            r = fail(err, EXHAUSTED, NULL, "no memory for another fiber");
    }
    if (r < 0) {
        http_call_free(p->call);
        mem_free(p);
        return r;
    }
    *ret = p;
    return 0;
}

/* ---- stopping ---- */

/* The stream stays open for the acknowledgements of what is in flight, then our side ends it; a
 * component that doesn't end its own side is not waited for. */
CO static void stop_main(void *arg)
{
    struct pull *p = arg;
    SHIELD();
    p->stopping = true;
    if (p->ops->pause)
        p->ops->pause(p->arg);
    (void)wait_group_wait(&p->handlers);
    {
        DEADLINE(MS(CLOSE_MS));
        if (fiber_mutex_lock(&p->sending) == 0) {
            if (p->call)
                (void)http_call_end(p->call, NULL);
            fiber_mutex_unlock(&p->sending);
        }
        if (!p->call || wait_group_wait(&p->readers) < 0)
            fiber_cancel(p->reader);
    }
    (void)wait_group_wait(&p->readers);
    ticket_done(&p->stopped, 0);
}

void pull_stop(struct pull *p)
{
    ticket_init(&p->stopped);
    while (worker_spawn(p->home, "pluggable stop", stop_main, p) < 0)
        (void)fiber_sleep(MS(10)); /* no memory just now: it must be stopped all the same */
    (void)ticket_wait(&p->stopped);
    mem_free(p);
}
