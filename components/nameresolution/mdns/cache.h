/* cache.h — what mDNS has told us of the apps that somebody asked for.
 * Owner:  the resolver's instance; apps stay where they are until they are evicted.
 * Thread: the worker of the instance; the time is passed in, ns of the monotonic clock.
 * Limits: CACHE_APPS_MAX apps (the one not asked for longest goes first), CACHE_PEERS_MAX addresses
 * each, at most CACHE_TTL_S seconds old. */
#pragma once

#include "base/map.h"
#include "components/common/dns/dns.h"
#include "fiber/sync.h"

enum { CACHE_APPS_MAX = 256, CACHE_PEERS_MAX = 64, CACHE_TTL_S = 75, PEER_TEXT_MAX = 64 };
enum { PLACE_MAX = 64 /* a zone's or region's name and its NUL */ };

struct mdns_peer {
    uint64_t instance; /* hash of its service instance name */
    uint64_t expires_ns;
    uint16_t port;
    uint8_t ip_len, ip[16]; /* 4 or 16 */
    char zone[PLACE_MAX], region[PLACE_MAX];
};

struct mdns_app {
    char *id;
    struct dns_name service; /* <app id>.local. */
    uint64_t asked_ns, queried_ns;
    size_t n_waiting;     /* fibers that hold this pointer */
    struct waitq waiters; /* woken when an address comes */
    size_t n;
    struct mdns_peer peer[CACHE_PEERS_MAX];
};

struct mdns_cache {
    struct map apps; /* by the key of the service name */
};

/* "a.b" + "local"; -INVALID when the id makes no DNS name. */
int mdns_service_name(str app_id, struct dns_name *ret) WUR;

void mdns_cache_init(struct mdns_cache *c);
void mdns_cache_done(struct mdns_cache *c);
/* The app's entry, made when there is none, and marked as asked for. NULL: no memory, or all
 * entries have waiters. */
struct mdns_app *mdns_cache_track(struct mdns_cache *c, str app_id, const struct dns_name *service,
                                  uint64_t now_ns);
/* Adds or refreshes; ttl_s 0 does nothing. A full app keeps those that it has. */
void mdns_cache_put(struct mdns_app *app, const struct mdns_peer *peer, uint32_t ttl_s,
                    uint64_t now_ns);
/* Drops what is too old; returns how many addresses are left in app->peer. */
size_t mdns_cache_fresh(struct mdns_app *app, uint64_t now_ns);
/* Takes in the records of one response: goodbyes too. Apps nobody asked for are passed over. */
void mdns_cache_learn(struct mdns_cache *c, const struct dns_record *rec, size_t n,
                      uint64_t now_ns);

/* A name that is too long counts as none. */
void mdns_peer_place(struct mdns_peer *p, str zone, str region);
uint64_t mdns_instance_hash(const struct dns_name *instance);
/* "192.0.2.1:50002", "[2001:db8::1]:50002"; returns the length. */
size_t mdns_peer_print(const struct mdns_peer *p, char ret[PEER_TEXT_MAX]);
