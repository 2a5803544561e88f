#include "cache.h"

#include "base/hash.h"
#include "base/mem.h"

#include <arpa/inet.h>
#include <stdio.h>

int mdns_service_name(str app_id, struct dns_name *ret)
{
    dns_name_init(ret);
    if (dns_name_append_dotted(ret, app_id) || dns_name_append(ret, S("local")))
        return -INVALID;
    return 0;
}

uint64_t mdns_instance_hash(const struct dns_name *instance)
{
    uint8_t key[DNS_NAME_MAX];
    return hash_bytes(dns_name_key(instance, key));
}

size_t mdns_peer_print(const struct mdns_peer *p, char ret[PEER_TEXT_MAX])
{
    char ip[INET6_ADDRSTRLEN];
    bool v6 = p->ip_len == 16;
    inet_ntop(v6 ? AF_INET6 : AF_INET, p->ip, ip, sizeof ip);
    return (size_t)snprintf(ret, PEER_TEXT_MAX, v6 ? "[%s]:%u" : "%s:%u", ip, p->port);
}

/* ---- apps ---- */

void mdns_cache_init(struct mdns_cache *c)
{
    map_init(&c->apps, CACHE_APPS_MAX);
}

static void free_app(struct mdns_app *app)
{
    INV(app->n_waiting == 0);
    mem_free(app->id);
    mem_free(app);
}

void mdns_cache_done(struct mdns_cache *c)
{
    size_t at = 0;
    for (struct map_entry *e; (e = map_next(&c->apps, &at));)
        free_app(e->value);
    map_done(&c->apps);
}

static struct mdns_app *find(const struct mdns_cache *c, const struct dns_name *service)
{
    uint8_t key[DNS_NAME_MAX];
    return map_get(&c->apps, dns_name_key(service, key));
}

static bool evict_one(struct mdns_cache *c)
{
    struct mdns_app *oldest = NULL;
    size_t at = 0;
    for (struct map_entry *e; (e = map_next(&c->apps, &at));) {
        struct mdns_app *app = e->value;
        if (app->n_waiting == 0 && (!oldest || app->asked_ns < oldest->asked_ns))
            oldest = app;
    }
    if (!oldest)
        return false;
    uint8_t key[DNS_NAME_MAX];
    map_remove(&c->apps, dns_name_key(&oldest->service, key));
    free_app(oldest);
    return true;
}

static struct mdns_app *add(struct mdns_cache *c, str app_id, const struct dns_name *service)
{
    if (map_count(&c->apps) >= CACHE_APPS_MAX && !evict_one(c))
        return NULL;
    struct mdns_app *app = mem_zalloc(sizeof *app);
    if (!app)
        return NULL;
    uint8_t key[DNS_NAME_MAX];
    app->id = mem_dup(app_id.p, app_id.n);
    app->service = *service;
    waitq_init(&app->waiters);
    if (!app->id || map_put(&c->apps, dns_name_key(service, key), app, NULL)) {
        free_app(app);
        return NULL;
    }
    return app;
}

struct mdns_app *mdns_cache_track(struct mdns_cache *c, str app_id, const struct dns_name *service,
                                  uint64_t now_ns)
{
    struct mdns_app *app = find(c, service);
    if (!app)
        app = add(c, app_id, service);
    if (app)
        app->asked_ns = now_ns;
    return app;
}

/* ---- addresses ---- */

static bool same_peer(const struct mdns_peer *a, const struct mdns_peer *b)
{
    return a->instance == b->instance && a->port == b->port && a->ip_len == b->ip_len &&
           memcmp(a->ip, b->ip, a->ip_len) == 0;
}

void mdns_cache_put(struct mdns_app *app, const struct mdns_peer *peer, uint32_t ttl_s,
                    uint64_t now_ns)
{
    if (ttl_s == 0 || peer->port == 0)
        return;
    (void)mdns_cache_fresh(app, now_ns);
    size_t i = 0;
    while (i < app->n && !same_peer(&app->peer[i], peer))
        i++;
    if (i == CACHE_PEERS_MAX)
        return;
    if (i == app->n)
        app->n++;
    app->peer[i] = *peer;
    app->peer[i].expires_ns = now_ns + SEC(min_u64(ttl_s, CACHE_TTL_S));
    waitq_wake_all(&app->waiters, 0);
}

size_t mdns_cache_fresh(struct mdns_app *app, uint64_t now_ns)
{
    size_t kept = 0;
    for (size_t i = 0; i < app->n; i++)
        if (app->peer[i].expires_ns > now_ns)
            app->peer[kept++] = app->peer[i];
    return app->n = kept;
}

/* port 0 = all of the instance. */
static void forget(struct mdns_app *app, uint64_t instance, uint16_t port)
{
    size_t kept = 0;
    for (size_t i = 0; i < app->n; i++) {
        const struct mdns_peer *p = &app->peer[i];
        if (p->instance != instance || (port && p->port != port))
            app->peer[kept++] = *p;
    }
    app->n = kept;
}

/* ---- learning ---- */

struct records {
    const struct dns_record *v;
    size_t n;
};

static const struct dns_record *record_of(struct records all, const struct dns_name *name,
                                          enum dns_type type)
{
    for (size_t i = 0; i < all.n; i++)
        if (all.v[i].type == type && dns_name_eq(&all.v[i].name, name))
            return &all.v[i];
    return NULL;
}

/* What the strings of a TXT record say. Sidecars list their app id; a service of another kind with
 * the same name doesn't. The rest is ours: daprd neither says nor minds it. */
struct strings {
    bool lists_app;
    str zone, region;
    int64_t lease_s; /* said again before it is over; 0 = not said */
};

static bool value_of(str item, str name, str *ret)
{
    if (!str_starts(item, name))
        return false;
    *ret = str_skip(item, name.n);
    return true;
}

static struct strings read_strings(const struct dns_record *txt, const char *id)
{
    struct strings s = { .lists_app = !txt };
    str data = txt ? txt->data : S(""), item, lease;
    while (dns_txt_next(&data, &item)) {
        if (str_eq(item, str_c(id)))
            s.lists_app = true;
        else if (value_of(item, S("lease="), &lease) &&
                 (!str_to_i64(lease, &s.lease_s) || s.lease_s < 0))
            s.lease_s = 0;
        else if (!value_of(item, S("zone="), &s.zone))
            (void)value_of(item, S("region="), &s.region);
    }
    return s;
}

void mdns_peer_place(struct mdns_peer *p, str zone, str region)
{
    snprintf(p->zone, sizeof p->zone, STR_FMT, STR_ARG(zone.n < PLACE_MAX ? zone : S("")));
    snprintf(p->region, sizeof p->region, STR_FMT, STR_ARG(region.n < PLACE_MAX ? region : S("")));
}

static bool usable(const uint8_t *ip, size_t len)
{
    static const uint8_t zero[16];
    bool multicast = len == 4 ? ip[0] >= 224 : ip[0] == 0xff;
    return !multicast && memcmp(ip, zero, len) != 0;
}

static void learn_instance(struct mdns_app *app, const struct dns_record *ptr, struct records all,
                           uint64_t now_ns)
{
    const struct dns_record *srv = record_of(all, &ptr->target, DNS_SRV);
    uint64_t instance = mdns_instance_hash(&ptr->target);
    if (ptr->ttl == 0) {
        forget(app, instance, srv ? srv->port : 0);
        return;
    }
    struct strings said = read_strings(record_of(all, &ptr->target, DNS_TXT), app->id);
    if (!srv || !said.lists_app)
        return;
    uint32_t ttl = ptr->ttl < srv->ttl ? ptr->ttl : srv->ttl;
    if (said.lease_s && said.lease_s < ttl)
        ttl = (uint32_t)said.lease_s;
    for (size_t i = 0; i < all.n; i++) {
        const struct dns_record *r = &all.v[i];
        size_t len = r->type == DNS_A ? 4 : r->type == DNS_AAAA ? 16 : 0;
        if (!len || !usable(r->ip, len) || !dns_name_eq(&r->name, &srv->target))
            continue;
        struct mdns_peer p = { .instance = instance, .port = srv->port, .ip_len = (uint8_t)len };
        memcpy(p.ip, r->ip, len);
        mdns_peer_place(&p, said.zone, said.region);
        mdns_cache_put(app, &p, ttl, now_ns);
    }
}

void mdns_cache_learn(struct mdns_cache *c, const struct dns_record *rec, size_t n, uint64_t now_ns)
{
    for (size_t i = 0; i < n; i++) {
        if (rec[i].type != DNS_PTR || rec[i].class != DNS_CLASS_IN)
            continue;
        struct mdns_app *app = find(c, &rec[i].name);
        if (app)
            learn_instance(app, &rec[i], (struct records){ rec, n }, now_ns);
    }
}
