/* lookup.h — service addresses from the system's DNS resolver.
 * Owner:  the caller; results are plain values.
 * Thread: blocking: pool threads only, any number at once.   Limits: LOOKUP_MAX addresses
 * a name, of messages up to 9000 bytes.
 * Failure: -UNAVAILABLE no server answered; a name that doesn't exist has no addresses. */
#pragma once

#include "base/error.h"

enum { LOOKUP_MAX = 256, LOOKUP_TEXT_MAX = 64, LOOKUP_NAME_MAX = 256 };

struct lookup {
    const char *server; /* "ip:port"; "" = as the system is set up */
    unsigned timeout_s, tries;
    uint16_t port; /* 0 = SRV records, else address records and this port */
};

struct found {
    size_t n;
    char address[LOOKUP_MAX][LOOKUP_TEXT_MAX]; /* "ip:port" */
};

/* Adds the addresses of a name to *ret. */
int lookup_name(const struct lookup *l, const char *name, struct found *ret, struct error *err) WUR;
/* "1.2.3.4:53" */
bool lookup_server_ok(const char *server);
