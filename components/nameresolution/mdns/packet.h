/* packet.h — one service's records, and what a datagram means to it: no I/O.
 * Owner:  the caller; nothing is kept of a datagram but what the cache learns.
 * Thread: the worker of the instance.   Limits: PACKET_RECORDS_MAX records of a response count.
 * Failure: a datagram that is malformed, or not for us, changes nothing. */
#pragma once

#include "cache.h"

enum { PACKET_RECORDS_MAX = 64, SERVICE_TTL_S = 120, LEGACY_TTL_S = 10 };
/* A Proa is taken for gone after so long a silence, and repeats itself three times within it. */
enum { LEASE_S = 9 };

struct mdns_service {
    const char *app_id;
    struct dns_name type;     /* <app id>.local. */
    struct dns_name instance; /* <hostname>:<pid>.<app id>.local. */
    struct dns_name host;     /* <hostname>-<pid>-<port>.local.: ours alone, so that sidecars of one
                                 machine with several addresses don't mix */
    struct dns_name all;      /* _services._dns-sd._udp.local.: RFC 6763 section 9 */
    struct mdns_peer self;
};

/* ip is an IPv4 or IPv6 address as text. */
int mdns_service_init(struct mdns_service *s, const char *app_id, const char *hostname, long pid,
                      const char *ip, uint16_t port, struct error *err) WUR;
/* Where it is; part of what mdns_service_put() says. */
void mdns_service_place(struct mdns_service *s, const char *zone, const char *region);
/* A response with all our records; ttl_s 0 = goodbye. */
void mdns_service_put(struct buf *b, const struct mdns_service *s, uint32_t ttl_s);
/* The same for a querier that isn't one of multicast DNS: with its id and question, RFC 6762
 * section 6.7. */
void mdns_service_put_legacy(struct buf *b, const struct mdns_service *s, uint16_t id,
                             const struct dns_question *q);
void mdns_query_put(struct buf *b, const struct dns_name *service);

enum mdns_verdict {
    MDNS_NOTHING, /* to be done */
    MDNS_ANSWER,  /* a query for us: send mdns_service_put() to the group */
    MDNS_LEGACY,  /* the same from another port: send mdns_service_put_legacy() to the sender */
};

struct mdns_packet { /* scratch, too large for a fiber's stack */
    struct dns_record record[PACKET_RECORDS_MAX];
    struct dns_question question; /* of MDNS_LEGACY */
    uint16_t id;
};

/* mdns_port: the datagram came from the port of the group; a response from another is ignored (RFC
 * 6762 section 6). A response goes to the cache. */
enum mdns_verdict mdns_packet_take(struct mdns_packet *p, const struct mdns_service *s,
                                   struct mdns_cache *c, str datagram, bool mdns_port,
                                   uint64_t now_ns) WUR;
