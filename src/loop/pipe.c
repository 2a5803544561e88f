#include "loop/pipe.h"

#include "base/mem.h"
#include "loop/worker.h"

#include <errno.h>
#include <unistd.h>
#include <uv.h>

struct pipe_end {
    uv_poll_t poll;
    struct fiber *reader;
    int fd;
};

static void on_event(uv_poll_t *h, int status, int events)
{
    struct pipe_end *p = h->data;
    (void)uv_poll_stop(h); /* level-triggered: armed only while a fiber waits */
    if (p->reader)
        fiber_wake(p->reader, 0);
}

struct pipe_end *pipe_open(int fd)
{
    PRE(worker_self());
    struct pipe_end *p = mem_zalloc(sizeof(*p));
    if (!p)
        return NULL;
    if (uv_poll_init(worker_uv(worker_self()), &p->poll, fd) < 0) {
        mem_free(p);
        return NULL;
    }
    p->poll.data = p;
    p->fd = fd;
    return p;
}

CO static int wait_readable(struct pipe_end *p)
{
    PRE(!p->reader);
    if (uv_poll_start(&p->poll, UV_READABLE, on_event) < 0)
        return -UNAVAILABLE;
    p->reader = fiber_self();
    int r = fiber_park();
    p->reader = NULL;
    (void)uv_poll_stop(&p->poll);
    return r < 0 ? r : 0;
}

ssize_t pipe_read(struct pipe_end *p, void *to, size_t n)
{
    for (;;) {
        ssize_t got = read(p->fd, to, n);
        if (got >= 0)
            return got;
        if (errno == EINTR)
            continue;
        int r = errno == EAGAIN ? wait_readable(p) : -UNAVAILABLE;
        if (r < 0)
            return r;
    }
}

static void on_closed(uv_handle_t *h)
{
    mem_free(h->data);
}

void pipe_close(struct pipe_end *p)
{
    if (!p)
        return;
    PRE(!p->reader);
    uv_close((uv_handle_t *)&p->poll, on_closed);
    (void)close(p->fd);
}
