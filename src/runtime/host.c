#include "base/buf.h"
#include "base/hash.h"
#include "runtime/private.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

str host_getenv(void *arg, str name)
{
    char key[256];
    if (name.n >= sizeof key)
        return (str){ 0 };
    memcpy(key, name.p, name.n);
    key[name.n] = 0;
    const char *value = getenv(key);
    return value ? str_c(value) : (str){ 0 };
}

int host_read_file(str path, struct buf *out)
{
    char name[4096] = "";
    if (path.n >= sizeof name)
        return -INVALID;
    memcpy(name, path.p, path.n);
    FILE *f = fopen(name, "re");
    if (!f)
        return -NOT_FOUND;
    for (size_t n = 1; n && buf_ok(out);) {
        char piece[4096];
        n = fread(piece, 1, sizeof piece, f);
        buf_put(out, str_of(piece, n));
    }
    bool bad = ferror(f);
    fclose(f);
    return bad || !buf_ok(out) ? -INVALID : 0;
}

uint16_t host_stable_port(const char *app_id)
{
    enum { FIRST = 47300, LAST = 65535 };
    char cwd[4096] = "", host[256] = "";
    if (!getcwd(cwd, sizeof cwd))
        cwd[0] = 0;
    if (gethostname(host, sizeof host - 1) < 0)
        host[0] = 0;
    AUTO(buf_done) struct buf text;
    buf_init(&text, KIB(16));
    buf_printf(&text, "%s|%s|%u|%s", app_id, cwd, (unsigned)getuid(), host);
    uint8_t digest[32];
    hash_sha256(buf_str(&text), digest);
    return (uint16_t)(FIRST + (digest[0] | digest[1] << 8) % (LAST - FIRST));
}

/* The local end of a UDP "connection": nothing is sent. */
static bool by_route(int family, const char *to, char ret[64])
{
    struct sockaddr_storage a = { .ss_family = (sa_family_t)family };
    struct sockaddr_in *v4 = (struct sockaddr_in *)&a;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&a;
    socklen_t len = family == AF_INET ? sizeof *v4 : sizeof *v6;
    if (inet_pton(family, to, family == AF_INET ? (void *)&v4->sin_addr : (void *)&v6->sin6_addr) !=
        1)
        return false;
    if (family == AF_INET)
        v4->sin_port = htons(80);
    else
        v6->sin6_port = htons(80);
    int fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;
    bool ok = connect(fd, (struct sockaddr *)&a, len) == 0 &&
              getsockname(fd, (struct sockaddr *)&a, &len) == 0;
    close(fd);
    if (!ok)
        return false;
    /* 192.0.0.0/29 is what some translators hand out: nobody can reach us there */
    uint32_t bits = family == AF_INET ? ntohl(v4->sin_addr.s_addr) : 0;
    if (family == AF_INET && (bits & 0xfffffff8u) == 0xc0000000u)
        return false;
    return inet_ntop(family, family == AF_INET ? (void *)&v4->sin_addr : (void *)&v6->sin6_addr,
                     ret, 64) != NULL;
}

/* Public v4 before private v4; v6 only when there is no v4. */
static int rank(const struct sockaddr *a)
{
    if (a->sa_family == AF_INET6) {
        const struct in6_addr *v6 = &((const struct sockaddr_in6 *)a)->sin6_addr;
        return IN6_IS_ADDR_LINKLOCAL(v6) ? 1 : (v6->s6_addr[0] & 0xfe) == 0xfc ? 2 : 4;
    }
    uint32_t v4 = ntohl(((const struct sockaddr_in *)a)->sin_addr.s_addr);
    bool private_ = v4 >> 24 == 10 || v4 >> 20 == 0xac1 || v4 >> 16 == 0xc0a8 || v4 >> 22 == 0x191;
    return v4 >> 16 == 0xa9fe ? 1 : private_ ? 3 : 5;
}

static bool by_interface(char ret[64])
{
    struct ifaddrs *list;
    int best = 0;
    if (getifaddrs(&list) < 0)
        return false;
    for (struct ifaddrs *i = list; i; i = i->ifa_next) {
        const struct sockaddr *a = i->ifa_addr;
        if (!a || i->ifa_flags & IFF_LOOPBACK ||
            (a->sa_family != AF_INET && a->sa_family != AF_INET6) || rank(a) <= best)
            continue;
        const void *bits = a->sa_family == AF_INET
                               ? (const void *)&((const struct sockaddr_in *)a)->sin_addr
                               : (const void *)&((const struct sockaddr_in6 *)a)->sin6_addr;
        if (inet_ntop(a->sa_family, bits, ret, 64))
            best = rank(a);
    }
    freeifaddrs(list);
    return best > 0;
}

void host_address(const char *override, char ret[64])
{
    if (override && override[0]) {
        snprintf(ret, 64, "%s", override);
        return;
    }
    if (!by_route(AF_INET, "192.0.2.1", ret) && !by_route(AF_INET6, "2001:db8::1", ret) &&
        !by_interface(ret))
        snprintf(ret, 64, "127.0.0.1");
}
