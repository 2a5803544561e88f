#include "loop/watch.h"

#include "base/mem.h"
#include "loop/private.h"

struct watch {
    struct fiber *waiter;
    bool changed;
    size_t n_open; /* handles that libuv has not let go yet */
    size_t n;
    uv_fs_event_t handle[];
};

static void on_change(uv_fs_event_t *h, const char *name, int events, int status)
{
    struct watch *w = h->data;
    w->changed = true;
    if (w->waiter)
        (void)fiber_wake(w->waiter, 0);
}

static void on_closed(uv_handle_t *h)
{
    struct watch *w = h->data;
    if (--w->n_open == 0)
        mem_free(w);
}

void watch_close(struct watch *w)
{
    if (!w)
        return;
    PRE(!w->waiter);
    if (!w->n_open)
        mem_free(w);
    else
        for (size_t i = 0, n = w->n; i < n; i++)
            uv_close((uv_handle_t *)&w->handle[i], on_closed);
}

int watch_open(const char *const *folder, size_t n, struct watch **ret, struct error *err)
{
    struct worker *self = worker_self();
    PRE(self);
    if (n > WATCH_MAX)
        return fail(err, EXHAUSTED, NULL, "more than %d folders to watch", WATCH_MAX);
    struct watch *w = mem_zalloc(sizeof *w + n * sizeof w->handle[0]);
    if (!w)
        return fail(err, EXHAUSTED, NULL, "out of memory");
    int r = 0;
    for (size_t i = 0; i < n && r == 0; i++) {
        w->handle[i].data = w;
        (void)uv_fs_event_init(&self->uv, &w->handle[i]); /* can't fail on Linux and macOS */
        w->n++;
        w->n_open++;
        r = uv_fs_event_start(&w->handle[i], on_change, folder[i], 0);
        if (r < 0)
            fail(err, r == UV_ENOMEM ? EXHAUSTED : UNAVAILABLE, NULL, "can't watch %s: %s",
                 folder[i], uv_strerror(r));
    }
    if (r < 0) {
        watch_close(w);
        return r == UV_ENOMEM ? -EXHAUSTED : -UNAVAILABLE;
    }
    *ret = w;
    return 0;
}

CO int watch_next(struct watch *w)
{
    int r = 0;
    if (!w->changed) {
        w->waiter = fiber_self();
        r = fiber_park();
        w->waiter = NULL;
    }
    if (r == 0)
        w->changed = false;
    return r;
}
