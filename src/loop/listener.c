#include "loop/stream_private.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BACKLOG = 1024, ACCEPTS_PER_EVENT = 64, PAUSE_MS = 100 };

static const char scope[] = "proa.loop";

/* One listening socket on one worker; freed by libuv's close callback. */
struct port {
    uv_poll_t poll;
    struct listener *listener;
    struct worker *worker;
    struct timed pause; /* after EMFILE */
    int fd;
    bool open; /* poll was initialised, and room reserved for the pause */
};

struct listener {
    accept_fn *on_accept;
    void *arg;
    size_t n_ports, next_worker;
    bool handed_round; /* a unix socket: the first worker accepts for all */
    uint16_t port;
    char address[ADDRESS_TEXT_MAX];
    char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
    dev_t dev; /* of the unix socket: another one at its path is not ours to remove */
    ino_t ino;
    struct port *ports[];
};

/* ---- accepting ---- */

static void deliver(struct listener *l, int fd, const char *peer)
{
    struct stream *s = stream_wrap(fd, peer);
    if (s)
        l->on_accept(l->arg, s);
    else
        (void)close(fd);
}

struct handover { /* of an accepted socket to another worker */
    struct mail mail;
    struct listener *listener;
    int fd;
};

static void on_handover(struct mail *m)
{
    struct handover *h = CONTAINER_OF(m, struct handover, mail);
    deliver(h->listener, h->fd, "unix:");
    mem_free(h);
}

static void hand_round(struct listener *l, int fd)
{
    struct worker *w = worker_at(l->next_worker++ % workers_count());
    if (w == worker_self()) {
        deliver(l, fd, "unix:");
        return;
    }
    struct handover *h = mem_alloc(sizeof *h);
    if (!h) {
        (void)close(fd);
        return;
    }
    *h = (struct handover){ .mail.run = on_handover, .listener = l, .fd = fd };
    worker_post(w, &h->mail);
}

static void on_connection(uv_poll_t *h, int status, int events);

static void on_pause_end(struct timed *t)
{
    struct port *p = CONTAINER_OF(t, struct port, pause);
    (void)uv_poll_start(&p->poll, UV_READABLE, on_connection);
}

/* Out of descriptors or memory the connection stays in the backlog; polling on would spin. */
static void pause_accepting(struct port *p, int e)
{
    static struct log_limit limit;
    uint64_t missed;
    (void)uv_poll_stop(&p->poll);
    timed_start(p->worker, &p->pause, clock_now_ns() + MS(PAUSE_MS));
    if (log_allow(&limit, SEC(10), &missed))
        log_warn(scope, "%s: cannot accept: %s; trying again in %d ms (raise ulimit -n?)",
                 p->listener->address, uv_strerror(-e), PAUSE_MS);
}

static bool accept_one(struct port *p)
{
    struct listener *l = p->listener;
    union sockaddr_any addr = { 0 };
    socklen_t len = sizeof addr;
    int fd = accept4(p->fd, &addr.sa, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
            pause_accepting(p, errno);
        return errno == ECONNABORTED || errno == EINTR;
    }
    if (l->handed_round) {
        hand_round(l, fd);
        return true;
    }
    char peer[ADDRESS_TEXT_MAX];
    int one = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    address_format(&addr, len, peer);
    deliver(l, fd, peer);
    return true;
}

static void on_connection(uv_poll_t *h, int status, int events)
{
    (void)status, (void)events;
    struct port *p = h->data;
    for (int i = 0; i < ACCEPTS_PER_EVENT && accept_one(p); i++)
        ;
}

/* ---- opening ---- */

static int refuse(struct error *err, const char *what, const char *address, int e)
{
    enum code code = e == EADDRINUSE ? EXISTS : e == EACCES ? DENIED : UNAVAILABLE;
    return fail(err, code, NULL, "cannot %s %s: %s", what, address, uv_strerror(-e));
}

/* A socket file that nobody listens on is left over from a crash; one that answers is not ours. */
static int remove_stale(const char *path, struct error *err)
{
    struct stat st;
    if (lstat(path, &st) < 0)
        return 0;
    if (!S_ISSOCK(st.st_mode))
        return fail(err, EXISTS, NULL,
                    "cannot listen on unix:%s: a file that is no socket is there", path);
    struct sockaddr_un un = { .sun_family = AF_UNIX };
    memcpy(un.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool alive = fd >= 0 && connect(fd, (struct sockaddr *)&un, sizeof un) == 0;
    if (fd >= 0)
        (void)close(fd);
    if (alive)
        return refuse(err, "listen on", path, EADDRINUSE);
    (void)unlink(path);
    return 0;
}

static void set_options(int fd, int family, bool any)
{
    int one = 1, both = 0;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one);
    if (family == AF_INET6 && any)
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &both, sizeof both);
}

static int bind_one(const struct address *a, int *ret_fd)
{
    int family = a->addr.sa.sa_family;
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return errno;
    if (family != AF_UNIX)
        set_options(fd, family, !a->host[0]);
    if (bind(fd, &a->addr.sa, a->len) < 0 || listen(fd, BACKLOG) < 0) {
        int e = errno;
        (void)close(fd);
        return e;
    }
    *ret_fd = fd;
    return 0;
}

/* SO_REUSEPORT would let a second process of ours share the port in silence: the first socket is
 * tried without it. */
static int probe_free(const struct address *a)
{
    int fd = socket(a->addr.sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1, e = 0, both = 0;
    if (fd < 0)
        return errno;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (a->addr.sa.sa_family == AF_INET6 && !a->host[0])
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &both, sizeof both);
    if (bind(fd, &a->addr.sa, a->len) < 0)
        e = errno;
    (void)close(fd);
    return e;
}

/* ":80" = every interface: one IPv6 socket that takes IPv4 too, or IPv4 where there is no IPv6. */
static void any_address(struct address *a, bool v6)
{
    if (v6) {
        a->addr.in6 = (struct sockaddr_in6){ .sin6_family = AF_INET6,
                                             .sin6_port = htons(a->port),
                                             .sin6_addr = in6addr_any };
        a->len = sizeof a->addr.in6;
    } else {
        a->addr.in = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(a->port) };
        a->len = sizeof a->addr.in;
    }
}

/* At start-up on the calling thread, so it may block. */
static int resolve(struct address *a, struct error *err)
{
    if (a->len)
        return 0;
    if (!a->host[0]) {
        any_address(a, true);
        return 0;
    }
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE }, *found;
    int r = getaddrinfo(a->host, NULL, &hints, &found);
    if (r)
        return fail(err, UNAVAILABLE, NULL, "cannot resolve %s: %s", a->host, gai_strerror(r));
    memcpy(&a->addr, found->ai_addr, found->ai_addrlen);
    a->len = found->ai_addrlen;
    if (a->addr.sa.sa_family == AF_INET)
        a->addr.in.sin_port = htons(a->port);
    else
        a->addr.in6.sin6_port = htons(a->port);
    freeaddrinfo(found);
    return 0;
}

static int bind_first(struct listener *l, struct address *a, const char *text, struct error *err)
{
    bool is_unix = a->addr.sa.sa_family == AF_UNIX;
    if (is_unix && remove_stale(a->addr.un.sun_path, err) < 0)
        return -(int)(err ? err->code : EXISTS);
    int e = is_unix ? 0 : probe_free(a);
    if (!e)
        e = bind_one(a, &l->ports[0]->fd);
    if (e == EAFNOSUPPORT && !a->host[0]) {
        any_address(a, false);
        e = bind_one(a, &l->ports[0]->fd);
    }
    if (e)
        return refuse(err, "listen on", text, e);
    struct stat st;
    if (is_unix && lstat(a->addr.un.sun_path, &st) == 0) {
        memcpy(l->path, a->addr.un.sun_path, sizeof l->path);
        l->dev = st.st_dev;
        l->ino = st.st_ino;
    }
    a->len = sizeof a->addr;
    (void)getsockname(l->ports[0]->fd, &a->addr.sa, &a->len); /* the port, when it was 0 */
    address_format(&a->addr, a->len, l->address);
    if (!is_unix)
        l->port =
            ntohs(a->addr.sa.sa_family == AF_INET ? a->addr.in.sin_port : a->addr.in6.sin6_port);
    return 0;
}

static int bind_all(struct listener *l, const char *text, struct error *err)
{
    struct address a;
    int r = address_parse(text, &a, err);
    if (r == 0)
        r = resolve(&a, err);
    if (r < 0)
        return r;
    l->handed_round = a.addr.sa.sa_family == AF_UNIX;
    r = bind_first(l, &a, text, err);
    for (size_t i = 1; i < l->n_ports && r == 0 && !l->handed_round; i++) {
        int e = bind_one(&a, &l->ports[i]->fd);
        if (e)
            r = refuse(err, "listen on", l->address, e);
    }
    return r;
}

static void start_port(void *arg)
{
    struct port *p = arg;
    if (timed_reserve(p->worker) < 0)
        return;
    if (uv_poll_init(&p->worker->uv, &p->poll, p->fd) < 0) {
        timed_release(p->worker);
        return;
    }
    p->poll.data = p;
    p->open = true;
    (void)uv_poll_start(&p->poll, UV_READABLE, on_connection);
}

static int start_all(struct listener *l, struct error *err)
{
    for (size_t i = 0; i < l->n_ports && l->ports[i]->fd >= 0; i++) {
        worker_call(l->ports[i]->worker, start_port, l->ports[i]);
        if (!l->ports[i]->open)
            return fail(err, EXHAUSTED, NULL, "cannot listen on %s: out of memory", l->address);
    }
    return 0;
}

static struct listener *new_listener(accept_fn *on_accept, void *arg)
{
    size_t n = workers_count();
    struct listener *l = mem_zalloc(sizeof *l + n * sizeof l->ports[0]);
    if (!l)
        return NULL;
    l->on_accept = on_accept;
    l->arg = arg;
    for (; l->n_ports < n; l->n_ports++) {
        struct port *p = l->ports[l->n_ports] = mem_zalloc(sizeof *p);
        if (!p) {
            listener_close(l);
            return NULL;
        }
        *p = (struct port){
            .fd = -1, .listener = l, .worker = worker_at(l->n_ports), .pause.fn = on_pause_end
        };
    }
    return l;
}

int listener_open(const char *address, accept_fn *on_accept, void *arg, struct listener **ret,
                  struct error *err)
{
    PRE(workers_count());
    struct listener *l = new_listener(on_accept, arg);
    if (!l)
        return fail(err, EXHAUSTED, NULL, "out of memory");
    int r = bind_all(l, address, err);
    if (r == 0)
        r = start_all(l, err);
    if (r < 0) {
        listener_close(l);
        return r;
    }
    *ret = l;
    return 0;
}

const char *listener_address(const struct listener *l)
{
    return l->address;
}

uint16_t listener_port(const struct listener *l)
{
    return l->port;
}

/* ---- closing ---- */

static void on_port_closed(uv_handle_t *h)
{
    mem_free(h->data);
}

static void stop_port(void *arg)
{
    struct port *p = arg;
    timed_stop(p->worker, &p->pause);
    timed_release(p->worker);
    uv_close((uv_handle_t *)&p->poll, on_port_closed);
    (void)close(p->fd);
}

static void close_port(struct port *p)
{
    if (p->open) {
        worker_call(p->worker, stop_port, p);
        return;
    }
    if (p->fd >= 0)
        (void)close(p->fd);
    mem_free(p);
}

static void remove_path(const struct listener *l)
{
    struct stat st;
    if (l->path[0] && lstat(l->path, &st) == 0 && st.st_dev == l->dev && st.st_ino == l->ino)
        (void)unlink(l->path);
}

static void nothing(void *arg)
{
    (void)arg;
}

void listener_close(struct listener *l)
{
    if (!l)
        return;
    remove_path(l);
    for (size_t i = 0; i < l->n_ports; i++)
        close_port(l->ports[i]);
    /* Sockets that were handed to other workers lie before this in their mail. */
    for (size_t i = 0; i < workers_count() && l->handed_round; i++)
        worker_call(worker_at(i), nothing, NULL);
    mem_free(l);
}
