#include "loop/stream_private.h"

#include "base/clock.h"
#include "base/mem.h"
#include "loop/tls_private.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <unistd.h>

/* How the syscalls are kept few. READABLE and DISCONNECT stay armed once they are, since a change
 * costs two epoll_ctl(). An event that finds nobody waiting is remembered and disarmed: epoll is
 * level-triggered, it would be reported for ever. A read that filled less than its buffer has
 * drained the socket: the next one waits for the event before it tries. So a request on a
 * keep-alive connection costs one recv(), one sendmsg() and a share of one epoll_wait(). */
enum { EAGER_MAX = 32 };

static void on_event(uv_poll_t *h, int status, int events);

static int wanted(const struct stream *s)
{
    bool writes = s->writer && !s->write_needs_read;
    bool reads = s->reader || s->on_readable || (s->writer && s->write_needs_read);
    int events = writes || (s->tls && tls_unsent(s)) ? UV_WRITABLE : 0;
    if (reads || !s->maybe_data)
        events |= UV_READABLE;
    if (s->on_hangup || !s->hangup_seen)
        events |= UV_DISCONNECT;
    return events;
}

static void arm(struct stream *s)
{
    int events = wanted(s);
    if (events == s->armed)
        return;
    s->armed = (uint8_t)events;
    if (events)
        (void)uv_poll_start(&s->poll, events, on_event);
    else
        (void)uv_poll_stop(&s->poll);
}

void stream_rearm(struct stream *s)
{
    arm(s);
}

static void fire_readable(struct stream *s, bool timed_out)
{
    void (*fn)(void *, bool) = s->on_readable;
    s->on_readable = NULL;
    s->due = false;
    timed_stop(s->worker, &s->idle);
    fn(s->readable_arg, timed_out);
}

static void fire_hangup(struct stream *s)
{
    void (*fn)(void *) = s->on_hangup;
    s->on_hangup = NULL;
    fn(s->hangup_arg);
}

static void wake_waiters(struct stream *s, int events)
{
    if (events & UV_WRITABLE && s->tls)
        (void)!tls_flush(s); /* whoever reads or writes next is told of a failure */
    int for_writer = s->write_needs_read ? UV_READABLE | UV_DISCONNECT : UV_WRITABLE;
    if (events & for_writer && s->writer)
        (void)fiber_wake(s->writer, 0);
    if (events & (UV_READABLE | UV_DISCONNECT) && s->reader)
        (void)fiber_wake(s->reader, 0);
}

/* For a plain stream the event says so. */
static bool has_data(struct stream *s)
{
    return !s->tls || tls_readable(s);
}

/* Callbacks may close the stream: at most one is run, as the last thing; the other event, if it was
 * due, is reported again. */
static void on_event(uv_poll_t *h, int status, int events)
{
    struct stream *s = h->data;
    s->n_eager = 0;
    if (status < 0) { /* libuv has stopped the poll; the next recv or send tells the cause */
        s->armed = 0;
        s->broken = true;
        events = UV_READABLE | UV_WRITABLE | UV_DISCONNECT;
    }
    bool drop = events & UV_DISCONNECT || (events & UV_WRITABLE && !s->writer) ||
                (!s->reader && !s->on_readable);
    if (events & (UV_READABLE | UV_DISCONNECT))
        s->maybe_data = true;
    if (events & UV_DISCONNECT)
        s->hangup_seen = true;
    wake_waiters(s, events);
    if (events & UV_DISCONNECT && s->on_hangup)
        fire_hangup(s);
    else if (events & (UV_READABLE | UV_DISCONNECT) && s->on_readable && has_data(s))
        fire_readable(s, false);
    else if (drop)
        arm(s);
}

static void on_idle_end(struct timed *t)
{
    struct stream *s = CONTAINER_OF(t, struct stream, idle);
    fire_readable(s, !s->due);
}

struct stream *stream_wrap(int fd, const char *peer)
{
    struct worker *w = worker_self();
    PRE(w);
    struct stream *s = mem_zalloc(sizeof *s);
    if (!s)
        return NULL;
    if (timed_reserve(w) < 0) {
        mem_free(s);
        return NULL;
    }
    if (uv_poll_init(&w->uv, &s->poll, fd) < 0) {
        timed_release(w);
        mem_free(s);
        return NULL;
    }
    s->poll.data = s;
    s->worker = w;
    s->fd = fd;
    s->idle.fn = on_idle_end;
    snprintf(s->peer, sizeof s->peer, "%s", peer);
    return s;
}

static void on_closed(uv_handle_t *h)
{
    mem_free(h->data);
}

static void close_with(struct stream *s, bool abrupt)
{
    PRE(!s->reader && !s->writer && s->worker == worker_self());
    if (s->tls)
        tls_close(s, abrupt);
    s->on_readable = NULL;
    s->on_hangup = NULL;
    timed_stop(s->worker, &s->idle);
    timed_release(s->worker);
    uv_close((uv_handle_t *)&s->poll, on_closed);
    (void)close(s->fd);
}

void stream_close(struct stream *s)
{
    if (s)
        close_with(s, false);
}

void stream_reset(struct stream *s)
{
    if (!s)
        return;
    struct linger at_once = { .l_onoff = 1, .l_linger = 0 };
    (void)setsockopt(s->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    close_with(s, true);
}

void stream_closep(struct stream **s)
{
    stream_close(*s);
}

/* ---- waiting ---- */

int stream_wait_readable(struct stream *s)
{
    PRE(!s->reader && !s->on_readable);
    s->n_eager = 0;
    s->reader = fiber_self();
    arm(s);
    int r = fiber_park();
    s->reader = NULL;
    return r;
}

int stream_wait_writable(struct stream *s)
{
    PRE(!s->writer);
    s->writer = fiber_self();
    arm(s);
    int r = fiber_park();
    s->writer = NULL;
    return r;
}

/* ---- reading ---- */

ssize_t stream_raw_read(struct stream *s, void *p, size_t n)
{
    if (!s->maybe_data)
        return -ABORTED;
    ssize_t got;
    do
        got = recv(s->fd, p, n, 0);
    while (got < 0 && errno == EINTR);
    if (got >= 0) {
        s->maybe_data = !got || (size_t)got == n || s->hangup_seen || s->broken;
        return got;
    }
    if (errno != EAGAIN || s->broken)
        return -UNAVAILABLE;
    s->maybe_data = false;
    return -ABORTED;
}

ssize_t stream_try_read(struct stream *s, void *p, size_t n)
{
    PRE(n);
    return s->tls ? tls_try_read(s, p, n) : stream_raw_read(s, p, n);
}

/* A fast peer must not keep the worker to itself. */
CO static void take_turns(struct stream *s)
{
    if (++s->n_eager < EAGER_MAX)
        return;
    s->n_eager = 0;
    fiber_yield();
}

ssize_t stream_read(struct stream *s, void *p, size_t n)
{
    take_turns(s);
    for (;;) {
        ssize_t got = stream_try_read(s, p, n);
        if (got != -ABORTED)
            return got;
        int r = stream_wait_readable(s);
        if (r < 0)
            return r;
    }
}

void stream_on_readable(struct stream *s, uint64_t idle_ns, void (*fn)(void *arg, bool timed_out),
                        void *arg)
{
    PRE(!s->reader && !s->on_readable && fn);
    s->on_readable = fn;
    s->readable_arg = arg;
    s->due = s->tls && tls_readable(s);
    if (s->due || idle_ns)
        timed_start(s->worker, &s->idle, clock_now_ns() + (s->due ? 0 : idle_ns));
    arm(s);
}

bool stream_off_readable(struct stream *s)
{
    if (!s->on_readable)
        return false;
    s->on_readable = NULL;
    s->due = false;
    timed_stop(s->worker, &s->idle);
    return true;
}

void stream_on_hangup(struct stream *s, void (*fn)(void *arg), void *arg)
{
    s->on_hangup = fn;
    s->hangup_arg = arg;
    if (fn)
        arm(s);
}

/* ---- writing ---- */

ssize_t stream_raw_writev(struct stream *s, const struct iovec *iov, size_t n_iov)
{
    struct msghdr msg = { .msg_iov = (struct iovec *)iov, .msg_iovlen = min_size(n_iov, 1024) };
    ssize_t n;
    do
        n = sendmsg(s->fd, &msg, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    if (n >= 0)
        return n;
    return errno == EAGAIN && !s->broken ? 0 : -UNAVAILABLE;
}

ssize_t stream_try_writev(struct stream *s, const struct iovec *iov, size_t n_iov)
{
    return s->tls ? tls_try_writev(s, iov, n_iov) : stream_raw_writev(s, iov, n_iov);
}

int stream_writev(struct stream *s, struct iovec *iov, size_t n_iov)
{
    int r = 0;
    take_turns(s);
    while (n_iov && r >= 0) {
        ssize_t n = stream_try_writev(s, iov, n_iov);
        if (n < 0)
            return (int)n;
        size_t done = (size_t)n;
        while (n_iov && done >= iov->iov_len) {
            done -= iov->iov_len;
            iov++;
            n_iov--;
        }
        if (!n_iov)
            break;
        iov->iov_base = (char *)iov->iov_base + done;
        iov->iov_len -= done;
        r = stream_wait_writable(s);
    }
    return r < 0 ? r : 0; /* WRITABLE is dropped at the first event that finds no writer */
}

int stream_write(struct stream *s, str data)
{
    struct iovec iov = { (void *)data.p, data.n };
    return stream_writev(s, &iov, 1);
}

int stream_shutdown(struct stream *s)
{
    if (s->tls)
        return tls_shutdown(s);
    return shutdown(s->fd, SHUT_WR) < 0 ? -UNAVAILABLE : 0;
}

/* ---- the rest ---- */

const char *stream_peer(const struct stream *s)
{
    return s->peer;
}

const char *stream_local(const struct stream *s)
{
    struct stream *self = (struct stream *)s; /* asked for seldom, so it's found out late */
    if (self->local[0])
        return self->local;
    union sockaddr_any addr = { 0 };
    socklen_t len = sizeof addr;
    char text[ADDRESS_TEXT_MAX];
    if (getsockname(s->fd, &addr.sa, &len) < 0)
        return "?";
    address_format(&addr, len, text);
    snprintf(self->local, sizeof self->local, "%.*s", PEER_MAX - 1, text);
    return self->local;
}

void stream_set_data(struct stream *s, void *data)
{
    s->data = data;
}

void *stream_data(const struct stream *s)
{
    return s->data;
}
