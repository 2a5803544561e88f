#include "loop/stream_private.h"

#include "base/mem.h"
#include "loop/tls.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <unistd.h>

enum { DIAL_DEFAULT_S = 10, ADDRESSES_MAX = 8 };

struct candidates {
    union sockaddr_any addr[ADDRESSES_MAX];
    socklen_t len[ADDRESSES_MAX];
    size_t n;
};

/* ---- names ---- */

/* On the heap: the resolver can't be interrupted, so a fiber that gives up leaves it behind. */
struct lookup {
    uv_getaddrinfo_t req;
    struct fiber *fiber; /* NULL: abandoned */
    int status;
    bool done;
};

static void on_lookup(uv_getaddrinfo_t *req, int status, struct addrinfo *found)
{
    struct lookup *l = CONTAINER_OF(req, struct lookup, req);
    if (!l->fiber) {
        uv_freeaddrinfo(found);
        mem_free(l);
        return;
    }
    l->status = status;
    l->done = true;
    (void)fiber_wake(l->fiber, 0);
}

CO static int wait_lookup(struct lookup *l)
{
    while (!l->done) {
        int r = fiber_park();
        if (r < 0 && !l->done)
            return r;
    }
    return 0;
}

static void collect(const struct addrinfo *found, struct candidates *ret)
{
    for (const struct addrinfo *a = found; a && ret->n < ADDRESSES_MAX; a = a->ai_next) {
        if (a->ai_addrlen > sizeof ret->addr[0])
            continue;
        memcpy(&ret->addr[ret->n], a->ai_addr, a->ai_addrlen);
        ret->len[ret->n++] = a->ai_addrlen;
    }
}

CO static int lookup(const struct address *address, struct candidates *ret, struct error *err)
{
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG };
    struct lookup *l = mem_zalloc(sizeof *l);
    if (!l)
        return fail(err, EXHAUSTED, NULL, "out of memory");
    l->fiber = fiber_self();
    char port[8];
    snprintf(port, sizeof port, "%u", address->port);
    int r =
        uv_getaddrinfo(worker_uv(worker_self()), &l->req, on_lookup, address->host, port, &hints);
    if (r < 0) {
        mem_free(l);
        return fail(err, UNAVAILABLE, NULL, "cannot resolve %s: %s", address->host, uv_strerror(r));
    }
    r = wait_lookup(l);
    if (r < 0) {
        l->fiber = NULL;
        (void)uv_cancel((uv_req_t *)&l->req);
        return fail(err, (enum code) - r, NULL, "resolving %s: %s", address->host,
                    r == -TIMEOUT ? "no answer within the deadline" : "cancelled");
    }
    int status = l->status;
    collect(l->req.addrinfo, ret);
    uv_freeaddrinfo(l->req.addrinfo);
    mem_free(l);
    if (status < 0 || !ret->n)
        return fail(err, UNAVAILABLE, NULL, "cannot resolve %s: %s", address->host,
                    status < 0 ? uv_strerror(status) : "no address");
    return 0;
}

/* ---- connecting ---- */

static void set_tcp(int fd, int level, int option, int value)
{
    (void)setsockopt(fd, level, option, &value, sizeof value);
}

/* A host that vanished without a FIN is noticed within 25 s: by the kernel, which offends no peer.
 */
static int open_socket(int family)
{
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || family == AF_UNIX)
        return fd;
    set_tcp(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    set_tcp(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
#ifdef TCP_KEEPIDLE
    set_tcp(fd, IPPROTO_TCP, TCP_KEEPIDLE, 10);
    set_tcp(fd, IPPROTO_TCP, TCP_KEEPINTVL, 5);
    set_tcp(fd, IPPROTO_TCP, TCP_KEEPCNT, 3);
#endif
    return fd;
}

static int pending_error(int fd)
{
    int e = 0;
    socklen_t len = sizeof e;
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &e, &len) < 0 ? errno : e;
}

/* Waits for the outcome of a connect() that is under way; leaves the errno of a failed one. */
CO static int finish_connect(struct stream *s, int *ret_errno)
{
    *ret_errno = 0;
    int r = stream_wait_writable(s);
    if (r < 0)
        return r;
    *ret_errno = pending_error(s->fd);
    return *ret_errno ? -UNAVAILABLE : 0;
}

static int tell(struct error *err, int r, const char *text, int e)
{
    const char *cause = e ? uv_strerror(-e) : r == -TIMEOUT ? "no answer in time" : "cancelled";
    return fail_as(err, (enum code) - r, NULL, "cannot connect to %s: %s", text, cause);
}

CO static int connect_to(const union sockaddr_any *addr, socklen_t len, struct stream **ret,
                         struct error *err)
{
    char text[ADDRESS_TEXT_MAX];
    address_format(addr, len, text);
    int fd = open_socket(addr->sa.sa_family);
    if (fd < 0)
        return tell(err, -(errno == EMFILE || errno == ENFILE ? EXHAUSTED : UNAVAILABLE), text,
                    errno);
    struct stream *s = stream_wrap(fd, text);
    if (!s) {
        (void)close(fd);
        return tell(err, -EXHAUSTED, text, ENOMEM);
    }
    int r = 0, e = 0;
    if (connect(fd, &addr->sa, len) < 0) {
        e = errno;
        r = e == EINPROGRESS ? finish_connect(s, &e) : -UNAVAILABLE;
    }
    if (r < 0) {
        stream_close(s);
        return tell(err, r, text, e);
    }
    s->broken = false;
    *ret = s;
    return 0;
}

/* Each address gets its share of the time, so that a dead first one leaves some to the others. */
CO static int try_each(const struct candidates *c, struct stream **ret, struct error *err)
{
    int r = -UNAVAILABLE;
    for (size_t i = 0; i < c->n; i++) {
        uint64_t now = sched_now(), end = fiber_deadline();
        DEADLINE(end > now ? (end - now) / (c->n - i) : 0);
        r = connect_to(&c->addr[i], c->len[i], ret, err);
        if (r == 0 || r == -CANCELLED)
            break;
    }
    return r;
}

int stream_dial(const char *text, struct stream **ret, struct error *err)
{
    struct error local = { 0 };
    struct error *story = err && !err->code ? err : &local;
    struct address address;
    int r = address_parse(text, &address, story);
    if (r < 0)
        return r;
    DEADLINE(SEC(DIAL_DEFAULT_S));
    struct candidates c = { 0 };
    if (address.len) {
        c.addr[0] = address.addr;
        c.len[0] = address.len;
        c.n = 1;
    } else if (!address.host[0]) {
        return fail(story, INVALID, NULL, "cannot connect to '%s': it names no host", text);
    } else {
        r = lookup(&address, &c, story);
        if (r < 0)
            return r;
    }
    r = try_each(&c, ret, story);
    if (r == 0)
        *story = (struct error){ 0 };
    return r;
}

/* The name to verify is the one that was asked for, never one that a resolver came up with. */
CO static int start_tls(struct stream *s, struct tls_context *c, const char *address,
                        const char *name, struct error *err)
{
    struct address parsed;
    int r = name ? 0 : address_parse(address, &parsed, err);
    if (r < 0)
        return r;
    if (!name)
        name = parsed.addr.sa.sa_family == AF_UNIX ? "localhost" : parsed.host;
    return stream_start_tls(s, c, name, err);
}

int stream_dial_tls(const char *address, struct tls_context *c, const char *server_name,
                    struct stream **ret, struct error *err)
{
    struct stream *s;
    int r = stream_dial(address, &s, err);
    if (r < 0)
        return r;
    if (c)
        r = start_tls(s, c, address, server_name, err);
    if (r < 0) {
        stream_close(s);
        return r;
    }
    *ret = s;
    return 0;
}
