#include "loop/stream_private.h"

#include "base/mem.h"

#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <stdio.h>
#include <unistd.h>

enum { INTERFACES_MAX = 16, TTL = 255 }; /* RFC 6762 section 11 asks for 255 */

struct udp {
    struct stream *stream; /* for waiting only */
    int fd;
    struct address group;
    unsigned interface[INTERFACES_MAX];
    size_t n_interfaces;
};

static int refuse(struct error *err, const char *what, const char *group)
{
    int e = errno;
    enum code code = e == EMFILE || e == ENFILE ? EXHAUSTED : UNAVAILABLE;
    return fail(err, code, NULL, "cannot %s multicast group %s: %s", what, group, uv_strerror(-e));
}

static int join(struct udp *u, unsigned interface)
{
    if (u->group.addr.sa.sa_family == AF_INET) {
        struct ip_mreqn m = { .imr_multiaddr = u->group.addr.in.sin_addr,
                              .imr_ifindex = (int)interface };
        return setsockopt(u->fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &m, sizeof m);
    }
    struct ipv6_mreq m = { .ipv6mr_multiaddr = u->group.addr.in6.sin6_addr,
                           .ipv6mr_interface = interface };
    return setsockopt(u->fd, IPPROTO_IPV6, IPV6_JOIN_GROUP, &m, sizeof m);
}

static bool knows(const struct udp *u, unsigned interface)
{
    for (size_t i = 0; i < u->n_interfaces; i++)
        if (u->interface[i] == interface)
            return true;
    return false;
}

/* Every interface that is up and can do it; the loopback too, for services on one machine. */
static void join_all(struct udp *u)
{
    struct ifaddrs *all;
    if (getifaddrs(&all) < 0)
        return;
    for (struct ifaddrs *i = all; i && u->n_interfaces < INTERFACES_MAX; i = i->ifa_next) {
        unsigned index = if_nametoindex(i->ifa_name);
        bool able = i->ifa_flags & (IFF_MULTICAST | IFF_LOOPBACK) && i->ifa_flags & IFF_UP;
        if (able && index && !knows(u, index) && join(u, index) == 0)
            u->interface[u->n_interfaces++] = index;
    }
    freeifaddrs(all);
}

static void set_options(struct udp *u)
{
    int one = 1, ttl = TTL;
    (void)setsockopt(u->fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    (void)setsockopt(u->fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one);
    if (u->group.addr.sa.sa_family == AF_INET) {
        (void)setsockopt(u->fd, IPPROTO_IP, IP_MULTICAST_LOOP, &one, sizeof one);
        (void)setsockopt(u->fd, IPPROTO_IP, IP_MULTICAST_TTL, &ttl, sizeof ttl);
    } else {
        (void)setsockopt(u->fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one);
        (void)setsockopt(u->fd, IPPROTO_IPV6, IPV6_MULTICAST_LOOP, &one, sizeof one);
        (void)setsockopt(u->fd, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, &ttl, sizeof ttl);
    }
}

static int open_socket(struct udp *u, const char *group, struct error *err)
{
    u->fd = socket(u->group.addr.sa.sa_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (u->fd < 0)
        return refuse(err, "open a socket for", group);
    set_options(u);
    /* Bound to the group, not to any address: then only the group's datagrams arrive. */
    if (bind(u->fd, &u->group.addr.sa, u->group.len) < 0)
        return refuse(err, "bind to", group);
    join_all(u);
    if (!u->n_interfaces) {
        errno = ENODEV;
        return refuse(err, "join", group);
    }
    u->stream = stream_wrap(u->fd, group);
    return u->stream ? 0 : fail(err, EXHAUSTED, NULL, "out of memory");
}

static bool is_multicast(const struct address *a)
{
    if (a->len && a->addr.sa.sa_family == AF_INET)
        return IN_MULTICAST(ntohl(a->addr.in.sin_addr.s_addr));
    return a->len && a->addr.sa.sa_family == AF_INET6 &&
           IN6_IS_ADDR_MULTICAST(&a->addr.in6.sin6_addr);
}

int udp_open_multicast(const char *group, uint16_t port, struct udp **ret, struct error *err)
{
    PRE(worker_self());
    struct udp *u = mem_zalloc(sizeof *u);
    if (!u)
        return fail(err, EXHAUSTED, NULL, "out of memory");
    u->fd = -1;
    char text[ADDRESS_MAX];
    snprintf(text, sizeof text, strchr(group, ':') ? "[%s]:%u" : "%s:%u", group, port);
    int r = address_parse(text, &u->group, err);
    if (r == 0 && !is_multicast(&u->group))
        r = fail(err, INVALID, NULL, "'%s' is no multicast address", group);
    if (r == 0)
        r = open_socket(u, group, err);
    if (r < 0) {
        if (u->fd >= 0)
            (void)close(u->fd);
        mem_free(u);
        return r;
    }
    *ret = u;
    return 0;
}

ssize_t udp_recv(struct udp *u, void *p, size_t n, char ret_from[ADDRESS_MAX])
{
    for (;;) {
        union sockaddr_any from = { 0 };
        socklen_t len = sizeof from;
        ssize_t got = recvfrom(u->fd, p, n, 0, &from.sa, &len);
        if (got >= 0) {
            address_format(&from, len, ret_from);
            return got;
        }
        if (errno != EAGAIN && errno != EINTR)
            return -UNAVAILABLE;
        u->stream->maybe_data = false;
        int r = stream_wait_readable(u->stream);
        if (r < 0)
            return r;
    }
}

static int send_on(struct udp *u, unsigned interface, str data)
{
    int r;
    if (u->group.addr.sa.sa_family == AF_INET) {
        struct ip_mreqn m = { .imr_ifindex = (int)interface };
        r = setsockopt(u->fd, IPPROTO_IP, IP_MULTICAST_IF, &m, sizeof m);
    } else {
        r = setsockopt(u->fd, IPPROTO_IPV6, IPV6_MULTICAST_IF, &interface, sizeof interface);
    }
    if (r < 0)
        return -UNAVAILABLE;
    ssize_t n = sendto(u->fd, data.p, data.n, MSG_NOSIGNAL, &u->group.addr.sa, u->group.len);
    return n < 0 ? -UNAVAILABLE : 0;
}

int udp_send(struct udp *u, str data, const char *to)
{
    if (!to) { /* good if it went out anywhere */
        int r = -UNAVAILABLE;
        for (size_t i = 0; i < u->n_interfaces; i++)
            if (send_on(u, u->interface[i], data) == 0)
                r = 0;
        return r;
    }
    struct address a;
    int r = address_parse(to, &a, NULL);
    if (r < 0)
        return r;
    if (a.addr.sa.sa_family != u->group.addr.sa.sa_family)
        return -INVALID;
    ssize_t n = sendto(u->fd, data.p, data.n, MSG_NOSIGNAL, &a.addr.sa, a.len);
    return n < 0 ? -UNAVAILABLE : 0;
}

void udp_close(struct udp *u)
{
    if (!u)
        return;
    stream_close(u->stream);
    mem_free(u);
}
