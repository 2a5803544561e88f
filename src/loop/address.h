/* address.h — "host:port", "[v6]:port", ":port" and "unix:/path" to socket addresses and back.
 * Owner:  plain values.
 * Thread: any.   Failure: -INVALID with a text that shows what is accepted. */
#pragma once

#include "base/error.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

enum { HOST_MAX = 256, ADDRESS_TEXT_MAX = 128 };

union sockaddr_any {
    struct sockaddr sa;
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
    struct sockaddr_un un;
};

struct address {
    union sockaddr_any addr;
    socklen_t len; /* 0: host is a name that must be resolved, or empty */
    char host[HOST_MAX];
    uint16_t port;
};

/* "localhost:80" leaves .len = 0. An empty host (":80") too, with .host empty. */
int address_parse(const char *text, struct address *ret, struct error *err) WUR;
/* "127.0.0.1:80", "[::1]:80", "unix:/path" ("unix:" for an unnamed one); v4-mapped v6 as v4. */
void address_format(const union sockaddr_any *addr, socklen_t len, char ret[ADDRESS_TEXT_MAX]);
