#include "loop/address.h"

#include <arpa/inet.h>
#include <stdio.h>

static int bad(const char *text, struct error *err)
{
    return fail(err, INVALID, NULL,
                "bad address '%.200s': want host:port, [v6]:port, :port or unix:/path", text);
}

static int parse_unix(const char *text, const char *path, struct address *ret, struct error *err)
{
    size_t n = strlen(path);
    if (!n)
        return bad(text, err);
    if (n >= sizeof ret->addr.un.sun_path)
        return fail(err, INVALID, NULL, "unix socket path '%.200s' is longer than %zu bytes", path,
                    sizeof ret->addr.un.sun_path - 1);
    ret->addr.un.sun_family = AF_UNIX;
    memcpy(ret->addr.un.sun_path, path, n + 1);
    ret->len = sizeof ret->addr.un;
    return 0;
}

/* Splits at the last colon; brackets around the host are taken off. */
static bool split(str text, str *ret_host, str *ret_port)
{
    size_t at = text.n;
    while (at && text.p[at - 1] != ':')
        at--;
    if (!at)
        return false;
    *ret_host = str_take(text, at - 1);
    *ret_port = str_skip(text, at);
    bool brackets = str_starts(*ret_host, S("["));
    if (brackets != str_ends(*ret_host, S("]")))
        return false;
    if (brackets)
        *ret_host = str_of(ret_host->p + 1, ret_host->n - 2);
    return brackets || str_find_c(*ret_host, ':') < 0;
}

int address_parse(const char *text, struct address *ret, struct error *err)
{
    *ret = (struct address){ 0 };
    str s = str_c(text), host, port;
    if (str_starts(s, S("unix:")))
        return parse_unix(text, text + 5, ret, err);
    uint64_t number;
    if (!split(s, &host, &port) || !str_to_u64(port, &number) || number > UINT16_MAX ||
        host.n >= sizeof ret->host)
        return bad(text, err);
    ret->port = (uint16_t)number;
    memcpy(ret->host, host.p, host.n);
    if (inet_pton(AF_INET, ret->host, &ret->addr.in.sin_addr) == 1) {
        ret->addr.in.sin_family = AF_INET;
        ret->addr.in.sin_port = htons(ret->port);
        ret->len = sizeof ret->addr.in;
    } else if (inet_pton(AF_INET6, ret->host, &ret->addr.in6.sin6_addr) == 1) {
        ret->addr.in6.sin6_family = AF_INET6;
        ret->addr.in6.sin6_port = htons(ret->port);
        ret->len = sizeof ret->addr.in6;
    } else if (str_find_c(host, ':') >= 0 && str_find_c(host, '%') < 0) {
        return bad(text, err);
    }
    return 0;
}

void address_format(const union sockaddr_any *addr, socklen_t len, char ret[ADDRESS_TEXT_MAX])
{
    char host[INET6_ADDRSTRLEN] = "";
    if (addr->sa.sa_family == AF_INET) {
        (void)inet_ntop(AF_INET, &addr->in.sin_addr, host, sizeof host);
        snprintf(ret, ADDRESS_TEXT_MAX, "%s:%u", host, ntohs(addr->in.sin_port));
    } else if (addr->sa.sa_family == AF_INET6) {
        bool mapped = IN6_IS_ADDR_V4MAPPED(&addr->in6.sin6_addr);
        if (mapped)
            (void)inet_ntop(AF_INET, &addr->in6.sin6_addr.s6_addr[12], host, sizeof host);
        else
            (void)inet_ntop(AF_INET6, &addr->in6.sin6_addr, host, sizeof host);
        snprintf(ret, ADDRESS_TEXT_MAX, mapped ? "%s:%u" : "[%s]:%u", host,
                 ntohs(addr->in6.sin6_port));
    } else {
        bool named = len > offsetof(struct sockaddr_un, sun_path);
        size_t max =
            named ? strnlen(addr->un.sun_path, len - offsetof(struct sockaddr_un, sun_path)) : 0;
        snprintf(ret, ADDRESS_TEXT_MAX, "unix:%.*s", (int)max, addr->un.sun_path);
    }
}
