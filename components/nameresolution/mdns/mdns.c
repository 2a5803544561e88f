/* mdns.c — nameresolution.mdns: sidecars of one network find each other by multicast DNS.
 * Owner:  the instance holds the socket, the cache and the fibers.
 * Thread: everything lives on the worker that opened it; a resolve on another worker sends a fiber
 * there and waits.   Limits: as in cache.h; one answer in 100 ms.
 * Failure: open fails where the network has no multicast; an unknown app takes a second to say so.
 */
#include "base/clock.h"
#include "base/log.h"
#include "component/kinds.h"
#include "loop/stream.h"
#include "loop/worker.h"
#include "packet.h"

#include <stdio.h>
#include <unistd.h>

#define SCOPE "proa.nameresolution.mdns"

enum { APP_ID_MAX = 200, HOST_MAX = 256, ENTRY_MAX = APP_ID_MAX + ADDRESS_MAX };
static const uint64_t BROWSE_NS = SEC(1);
static const uint64_t GATHER_NS = MS(20);     /* after the first answer, for the others */
static const uint64_t ASK_AGAIN_NS = MS(250); /* a datagram may get lost */
static const uint64_t ANSWER_EVERY_NS = MS(100);
static const uint64_t REPEAT_NS = SEC(LEASE_S) / 3;
static const unsigned REFRESH_EVERY = 10;          /* repetitions */
static const uint64_t REFRESH_ASKED_NS = SEC(600); /* apps not asked for since then rest */

struct mdns {
    const char *group;
    int64_t port;
    struct mdns_service service;
    struct mdns_cache cache;
    struct mdns_packet packet;
    struct udp *udp;
    struct worker *home;
    struct fiber *receiver, *keeper, *announcer, *answerer;
    struct wait_group fibers;
    uint64_t answered_ns;
    bool closing;
    bool present, left;    /* we are to be found; never again */
    char from_port[8];     /* ":5353" */
    char entry[ENTRY_MAX]; /* "<app id> -> ip:port" */
    char datagram[DNS_MESSAGE_MAX];
};

/* ---- sending ---- */

static int send_buf(struct mdns *m, struct buf *b, const char *to)
{
    return buf_ok(b) ? udp_send(m->udp, buf_str(b), to) : -EXHAUSTED;
}

static int send_service(struct mdns *m, uint32_t ttl_s)
{
    AUTO(buf_done) struct buf b;
    buf_init(&b, DNS_MESSAGE_MAX);
    mdns_service_put(&b, &m->service, ttl_s);
    m->answered_ns = clock_now_ns();
    return send_buf(m, &b, NULL);
}

static void send_legacy(struct mdns *m, const char *to)
{
    AUTO(buf_done) struct buf b;
    buf_init(&b, DNS_MESSAGE_MAX);
    mdns_service_put_legacy(&b, &m->service, m->packet.id, &m->packet.question);
    (void)send_buf(m, &b, to);
}

static void send_query(struct mdns *m, struct mdns_app *app)
{
    AUTO(buf_done) struct buf b;
    buf_init(&b, DNS_MESSAGE_MAX);
    mdns_query_put(&b, &app->service);
    app->queried_ns = clock_now_ns();
    (void)send_buf(m, &b, NULL); /* a lost one is sent again */
}

/* ---- answering; at most one answer in ANSWER_EVERY_NS, none is dropped ---- */

CO static void answer_later(void *arg)
{
    struct mdns *m = arg;
    uint64_t due = m->answered_ns + ANSWER_EVERY_NS, now = clock_now_ns();
    if (fiber_sleep(due > now ? due - now : 0) == 0 && m->present)
        (void)send_service(m, SERVICE_TTL_S);
    m->answerer = NULL;
    wait_group_done(&m->fibers);
}

static void answer(struct mdns *m)
{
    if (!m->present)
        return;
    if (clock_now_ns() - m->answered_ns >= ANSWER_EVERY_NS) {
        (void)send_service(m, SERVICE_TTL_S);
        return;
    }
    if (m->answerer || m->closing)
        return;
    m->answerer = fiber_spawn("mdns.answer", answer_later, m);
    if (m->answerer)
        wait_group_add(&m->fibers);
}

/* ---- the fibers of an instance ---- */

CO static void receive(void *arg)
{
    struct mdns *m = arg;
    char from[ADDRESS_MAX];
    for (;;) {
        ssize_t n = udp_recv(m->udp, m->datagram, sizeof m->datagram, from);
        if (n == -CANCELLED || m->closing)
            break;
        if (n < 0) { /* such as an interface that went away */
            if (fiber_sleep(SEC(1)))
                break;
            continue;
        }
        str datagram = str_of(m->datagram, (size_t)n);
        bool mdns_port = str_ends(str_c(from), str_c(m->from_port));
        switch (mdns_packet_take(&m->packet, &m->service, &m->cache, datagram, mdns_port,
                                 clock_now_ns())) {
        case MDNS_ANSWER:
            answer(m);
            break;
        case MDNS_LEGACY:
            if (m->present)
                send_legacy(m, from);
            break;
        case MDNS_NOTHING:
            break;
        }
    }
    m->receiver = NULL;
    wait_group_done(&m->fibers);
}

CO static void announce_again(void *arg)
{
    struct mdns *m = arg;
    if (fiber_sleep(SEC(1)) == 0)
        answer(m);
    m->announcer = NULL;
    wait_group_done(&m->fibers);
}

static void refresh(struct mdns *m)
{
    uint64_t now = clock_now_ns();
    size_t at = 0;
    for (struct map_entry *e; (e = map_next(&m->cache.apps, &at));) {
        struct mdns_app *app = e->value;
        if (now - app->asked_ns < REFRESH_ASKED_NS)
            send_query(m, app);
    }
}

/* Again while the lease runs, and now and then a refresh of what is asked for. */
CO static void keep(void *arg)
{
    struct mdns *m = arg;
    for (unsigned n = 1; fiber_sleep(REPEAT_NS) == 0; n++) {
        answer(m);
        if (n % REFRESH_EVERY == 0)
            refresh(m);
    }
    m->keeper = NULL;
    wait_group_done(&m->fibers);
}

/* ---- browsing ---- */

/* A wait within the caller's own deadline: 0 also when only this step's time is over. */
CO static int wait_step(struct mdns_app *app, uint64_t ns)
{
    uint64_t outer = fiber_deadline();
    DEADLINE(ns);
    int r = waitq_wait(&app->waiters);
    return r == -TIMEOUT && sched_now() < outer ? 0 : r;
}

/* Until an address is there or BROWSE_NS have passed. */
CO static int await_first(struct mdns *m, struct mdns_app *app)
{
    uint64_t start = clock_now_ns();
    while (app->n == 0) {
        uint64_t now = clock_now_ns();
        if (now - start >= BROWSE_NS)
            return 0;
        if (now - app->queried_ns >= ASK_AGAIN_NS)
            send_query(m, app);
        int r = wait_step(app, min_u64(ASK_AGAIN_NS, BROWSE_NS - (now - start)));
        if (r)
            return r;
    }
    return fiber_sleep(GATHER_NS);
}

struct browse {
    struct ticket ticket;
    struct mdns *m;
    str app_id;
    size_t n;
    struct mdns_peer peer[CACHE_PEERS_MAX];
};

CO static int browse(struct browse *b)
{
    struct mdns *m = b->m;
    struct dns_name service;
    if (mdns_service_name(b->app_id, &service))
        return -INVALID;
    struct mdns_app *app = mdns_cache_track(&m->cache, b->app_id, &service, clock_now_ns());
    if (!app)
        return -EXHAUSTED;
    if (dns_name_eq(&service, &m->service.type) && m->present)
        mdns_cache_put(app, &m->service.self, SERVICE_TTL_S, clock_now_ns());
    int r = 0;
    if (mdns_cache_fresh(app, clock_now_ns()) == 0) {
        app->n_waiting++;
        r = await_first(m, app);
        app->n_waiting--;
    }
    b->n = mdns_cache_fresh(app, clock_now_ns());
    memcpy(b->peer, app->peer, b->n * sizeof *b->peer);
    return r;
}

CO static void browse_at_home(void *arg)
{
    struct browse *b = arg;
    struct mdns *m = b->m;
    wait_group_add(&m->fibers);
    int r = m->closing ? -UNAVAILABLE : browse(b);
    wait_group_done(&m->fibers);
    ticket_done(&b->ticket, r);
}

CO static int browse_from_afar(struct browse *b)
{
    ticket_init(&b->ticket);
    int r = worker_spawn(b->m->home, "mdns.browse", browse_at_home, b);
    return r ? r : ticket_wait(&b->ticket);
}

static int give(const struct browse *b, struct arena *a, struct registration *ret, size_t max,
                size_t *ret_n)
{
    size_t n = min_size(b->n, max);
    for (size_t i = 0; i < n; i++) {
        char text[PEER_TEXT_MAX];
        ret[i] = (struct registration){
            .address = arena_dup(a, str_of(text, mdns_peer_print(&b->peer[i], text))),
            .zone = str_c(b->peer[i].zone), /* b is in the arena, too */
            .region = str_c(b->peer[i].region),
        };
        if (!ret[i].address.p)
            return -EXHAUSTED;
    }
    *ret_n = n;
    return 0;
}

CO static int mdns_resolve(void *self, str app_id, str namespace_, struct arena *a,
                           struct registration *ret, size_t max, size_t *ret_n, struct error *err)
{
    struct mdns *m = self;
    if (app_id.n == 0 || app_id.n > APP_ID_MAX)
        return fail(err, INVALID, NULL, "an app id has 1 to %d bytes", APP_ID_MAX);
    struct browse *b = arena_alloc(a, sizeof *b);
    if (!b)
        return fail(err, EXHAUSTED, NULL, "the addresses do not fit into the request's memory");
    *b = (struct browse){ .m = m, .app_id = app_id };
    int r = worker_self() == m->home ? browse(b) : browse_from_afar(b);
    if (!r)
        r = give(b, a, ret, max, ret_n);
    if (r)
        return fail(err, (enum code) - r, NULL, "mDNS look-up of '" STR_FMT "' failed: %s",
                    STR_ARG(app_id),
                    r == -INVALID ? "the app id makes no DNS name" : code_name((enum code) - r));
    return 0;
}

/* ---- life ---- */

static int check_env(const struct component_env *env, struct error *err)
{
    if (!env->app_id || !*env->app_id)
        return fail(err, INVALID, NULL, "name is missing: set the app id");
    if (!env->host_address || !*env->host_address)
        return fail(err, INVALID, NULL, "address is missing: no address of this host is known");
    if (!env->internal_port)
        return fail(err, INVALID, NULL,
                    "port is missing or invalid: the internal port is not open");
    return 0;
}

static int spawn(struct mdns *m, const char *name, fiber_fn *fn, struct fiber **ret,
                 struct error *err)
{
    *ret = fiber_spawn(name, fn, m);
    if (!*ret)
        return fail(err, EXHAUSTED, NULL, "no fiber is left for multicast DNS");
    wait_group_add(&m->fibers);
    return 0;
}

static int start(struct mdns *m, struct error *err)
{
    int r = udp_open_multicast(m->group, (uint16_t)m->port, &m->udp, err);
    if (!r)
        r = spawn(m, "mdns.receive", receive, &m->receiver, err);
    if (!r)
        r = spawn(m, "mdns.keep", keep, &m->keeper, err);
    return r;
}

CO static int mdns_open(void *self, const struct component_env *env, struct error *err)
{
    struct mdns *m = self;
    mdns_cache_init(&m->cache);
    wait_group_init(&m->fibers);
    m->home = worker_self();
    int r = check_env(env, err);
    if (r)
        return r;
    if (m->port < 1 || m->port > UINT16_MAX)
        return fail(err, INVALID, NULL, "port must be 1 to 65535");
    snprintf(m->from_port, sizeof m->from_port, ":%u", (unsigned)m->port);
    char host[HOST_MAX] = "";
    (void)gethostname(host, sizeof host - 1);
    r = mdns_service_init(&m->service, env->app_id, host, (long)getpid(), env->host_address,
                          env->internal_port, err);
    snprintf(m->entry, sizeof m->entry, "%s -> %s:%u", env->app_id, env->host_address,
             env->internal_port);
    mdns_service_place(&m->service, env->zone, env->region);
    return r ? r : start(m, err);
}

static void cancel(struct fiber *f)
{
    if (f)
        fiber_cancel(f);
}

static void wake_browsers(struct mdns *m)
{
    size_t at = 0;
    for (struct map_entry *e; (e = map_next(&m->cache.apps, &at));)
        waitq_wake_all(&((struct mdns_app *)e->value)->waiters, -CANCELLED);
}

/* Announced twice (RFC 6762 section 8.3), the second time by a fiber, as any answer may be. */
CO static int mdns_join(void *self, struct error *err)
{
    struct mdns *m = self;
    if (m->left)
        return 0;
    m->present = true;
    if (send_service(m, SERVICE_TTL_S))
        return fail(err, UNAVAILABLE, NULL, "no announcement could be sent to %s", m->group);
    log_info(SCOPE, "local service entry announced: %s", m->entry);
    return m->announcer ? 0 : spawn(m, "mdns.announce", announce_again, &m->announcer, err);
}

/* Runs where the instance was opened, as close does. */
CO static void mdns_leave(void *self)
{
    struct mdns *m = self;
    PRE(worker_self() == m->home);
    bool present = m->present;
    m->present = false;
    m->left = true;
    if (m->udp && present)
        (void)send_service(m, 0);
}

CO static void mdns_close(void *self)
{
    struct mdns *m = self;
    SHIELD();
    m->closing = true;
    cancel(m->answerer);
    cancel(m->announcer);
    cancel(m->keeper);
    cancel(m->receiver);
    wake_browsers(m);
    (void)wait_group_wait(&m->fibers);
    if (m->udp) {
        if (m->present)
            (void)send_service(m, 0);
        udp_close(m->udp);
        m->udp = NULL;
    }
    mdns_cache_done(&m->cache);
}

static const struct cfg_field mdns_fields[] = {
    { .name = "group",
      .kind = CFG_STR,
      .off = offsetof(struct mdns, group),
      .def = "224.0.0.251",
      .doc = "multicast group; another one makes an island of its own" },
    { .name = "port",
      .kind = CFG_INT,
      .off = offsetof(struct mdns, port),
      .def = "5353",
      .doc = "UDP port of the group" },
};

const struct resolver_ops nameresolution_mdns = {
    .t = {
        .kind = "nameresolution",
        .type = "nameresolution.mdns",
        .version = "v1",
        .doc = "sidecars of one network find each other by multicast DNS",
        .size = sizeof(struct mdns),
        .fields = mdns_fields,
        .n_fields = COUNT(mdns_fields),
        .open = mdns_open,
        .close = mdns_close,
    },
    .join = mdns_join,
    .leave = mdns_leave,
    .resolve = mdns_resolve,
};
