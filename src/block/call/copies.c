#include "block/call/copies.h"

#include "base/clock.h"
#include "base/id.h"
#include "base/mem.h"

enum { MIRROR_ARENA_MAX = 256 << 10, MIRROR_READ_MAX = 64 << 10 };
static const uint64_t MIRROR_NS = SEC(10);

/* ---- hedges ---- */

struct hedge {
    struct remote *c;
    uint64_t first;    /* hash of the instance that has the first copy */
    uint64_t delay_ns; /* until the second one */
    struct peers peers;
    struct relay relay; /* of the copy */
    struct guard_attempt attempt;
    struct fiber *fiber, *waiter;
    bool sent, won; /* the copy; won: it has a good answer */
    bool over;      /* the first one has come to its end */
    bool ended;     /* the fiber has */
};

CO static int ask_copy(void *arg, struct peer *peer, struct peer_asked *ret,
                       struct guard_attempt *attempt, struct error *err)
{
    struct hedge *h = arg;
    return remote_ask(h->c, &h->relay, peer, ret, attempt, err);
}

static bool may_copy(struct upstream *up)
{
    return !atomic_load_explicit(&up->panic, memory_order_relaxed) && hedge_take(&up->hedges) &&
           budget_withdraw(&up->retries, clock_now_ns());
}

/* Breaks the first one's wait off. It may be dialling: then it's looked for until it waits. */
CO static void tell_first(struct hedge *h)
{
    int r = 0;
    struct upload *first = &h->c->relay.upload;
    while (r >= 0 && !h->over && !(first->reader && fiber_wake(first->reader, -ABORTED)))
        r = fiber_sleep(MS(1));
}

CO static void send_copy(struct hedge *h)
{
    struct upstream *up = h->c->peers.up;
    if (fiber_sleep(h->delay_ns) < 0 || h->over || !may_copy(up))
        return;
    upstream_count(up, STAT_HEDGE);
    h->sent = true;
    h->won = peers_ask_other(&h->peers, h->first, &h->attempt, NULL) >= 0;
    if (h->won)
        tell_first(h);
}

CO static void hedge_main(void *arg)
{
    struct hedge *h = arg;
    send_copy(h);
    h->ended = true;
    if (h->waiter)
        fiber_wake(h->waiter, 0);
}

/* After a failure of the first one the second may still bring an answer; else it's cancelled. It
 * works on our frame, so it can't outlive us. */
CO static void hedge_end(struct hedge *h, bool want)
{
    h->over = true;
    h->waiter = fiber_self();
    while (want && h->sent && !h->ended && fiber_park() >= 0)
        ;
    SHIELD();
    if (!h->ended)
        fiber_cancel(h->fiber);
    while (!h->ended)
        (void)fiber_park();
}

static void take_over(struct hedge *h, struct guard_attempt *attempt, struct error *err)
{
    h->c->relay.answer = h->relay.answer;
    h->c->relay.reached = true;
    h->relay.answer = (struct answer){ 0 };
    h->c->peers.chosen = h->peers.chosen;
    attempt->http_status = attempt->grpc_status = 0;
    if (err)
        *err = (struct error){ 0 };
    upstream_count(h->c->peers.up, STAT_HEDGE_WON);
}

CO static int with_hedge(struct hedge *h, struct peer *peer, struct peer_asked *ret,
                         struct guard_attempt *attempt, struct error *err)
{
    struct remote *c = h->c;
    int r = remote_ask(c, &c->relay, peer, ret, attempt, err);
    hedge_end(h, r < 0 && r != -CANCELLED);
    if (r < 0 && h->won) {
        ret->beaten = r == -ABORTED;
        ret->failed = r != -ABORTED;
        relay_done(&c->relay);
        take_over(h, attempt, err);
        r = 0;
    }
    relay_done(&h->relay);
    return r;
}

CO int copies_hedged_ask(struct remote *c, struct peer *peer, struct peer_asked *ret,
                         struct guard_attempt *attempt, struct error *err)
{
    const struct hedge_config *config = &c->traffic->rule->hedge;
    struct upstream *up = c->peers.up;
    struct hedge h = { .c = c, .first = peer->hash, .peers = c->peers };
    h.delay_ns = hedge_delay(config, upstream_latency(up, c->peers.method));
    hedge_deposit(&up->hedges, config);
    h.relay = (struct relay){ .x = c->relay.x, .body = c->relay.body, .whole = true };
    h.peers.ask = ask_copy;
    h.peers.arg = &h;
    if (h.delay_ns)
        h.fiber = fiber_spawn("hedge", hedge_main, &h);
    if (!h.fiber)
        return remote_ask(c, &c->relay, peer, ret, attempt, err);
    return with_hedge(&h, peer, ret, attempt, err);
}

/* ---- mirrors ---- */

struct mirror {
    struct arena arena;
    struct http_exchange x; /* nothing but an arena: the request is whole, the answer dropped */
    struct invoke_target t;
    struct remote c;
    struct upstream *up; /* of the app that is mirrored */
};

CO static int ask_mirror(void *arg, struct peer *peer, struct peer_asked *ret,
                         struct guard_attempt *attempt, struct error *err)
{
    struct mirror *m = arg;
    return remote_ask(&m->c, &m->c.relay, peer, ret, attempt, err);
}

static void mirror_free(struct mirror *m)
{
    atomic_fetch_sub_explicit(&m->up->mirrors, 1, memory_order_relaxed);
    upstream_unref(m->up);
    arena_done(&m->arena);
    mem_free(m);
}

/* Reads a little of the answer, so that its connection can be kept. */
CO static void mirror_main(void *arg)
{
    struct mirror *m = arg;
    struct answer *a = &m->c.relay.answer;
    struct guard_attempt attempt = { 0 };
    DEADLINE(MIRROR_NS);
    int r = peers_ask(&m->c.peers, &attempt, NULL);
    str chunk;
    for (size_t n = 0;
         r >= 0 && a->source && n < MIRROR_READ_MAX && a->next(a->source, &chunk) > 0;)
        n += chunk.n;
    relay_done(&m->c.relay);
    peers_done(&m->c.peers);
    mirror_free(m);
}

static int copy_str(struct arena *a, str *s)
{
    *s = arena_dup(a, *s);
    return s->p ? 0 : -EXHAUSTED;
}

static int copy_request(struct mirror *m, const struct remote *c)
{
    struct arena *a = &m->arena;
    struct http_request *req = &m->c.req;
    *req = c->req;
    http_headers_init(&req->headers, a);
    int r = copy_str(a, &req->method) | copy_str(a, &req->target) | copy_str(a, &req->authority);
    for (size_t i = 0; i < c->req.headers.n && r >= 0; i++) {
        struct http_header h = c->req.headers.v[i];
        r = copy_str(a, &h.name) | copy_str(a, &h.value);
        if (r >= 0)
            r = http_headers_add(&req->headers, h.name, h.value);
    }
    str from = c->t->app_id;
    m->c.relay.body = c->relay.body;
    if (r >= 0)
        r = copy_str(a, &from) | copy_str(a, &m->c.relay.body) | copy_str(a, &m->t.app_id) |
            copy_str(a, &m->t.namespace_);
    return r < 0 ? r : http_headers_set(&req->headers, S("proa-mirror"), from);
}

static int prepare(struct mirror *m, const struct remote *c)
{
    m->x.arena = &m->arena;
    m->t = (struct invoke_target){ .app_id = c->traffic->rule->mirror.app,
                                   .namespace_ = c->t->namespace_ };
    m->c.b = c->b;
    m->c.t = &m->t;
    m->c.relay = (struct relay){ .x = &m->x, .whole = true };
    int r = copy_request(m, c);
    if (r >= 0)
        r = remote_address(&m->c, &m->arena);
    m->c.peers = (struct peers){ .b = c->b,
                                 .app_id = m->t.app_id,
                                 .namespace_ = m->t.namespace_,
                                 .ask = ask_mirror,
                                 .arg = m,
                                 .method = c->peers.method };
    return r;
}

static void start(struct upstream *up, const struct remote *c)
{
    struct mirror *m = mem_zalloc(sizeof *m);
    if (!m) {
        atomic_fetch_sub_explicit(&up->mirrors, 1, memory_order_relaxed);
        return;
    }
    m->up = upstream_ref(up);
    arena_init(&m->arena, MIRROR_ARENA_MAX);
    if (prepare(m, c) < 0 || !fiber_spawn("mirror", mirror_main, m)) {
        upstream_count(up, STAT_MIRROR_DROPPED);
        mirror_free(m);
        return;
    }
    upstream_count(up, STAT_MIRROR);
}

void copies_mirror(const struct remote *c)
{
    const struct traffic_mirror *mirror = &c->traffic->rule->mirror;
    struct upstream *up = c->peers.up;
    if (!mirror->app.n || !up || id_random_unit() * 100 >= (double)mirror->percent)
        return;
    uint32_t others = atomic_fetch_add_explicit(&up->mirrors, 1, memory_order_relaxed);
    if (c->relay.whole && others < mirror->max_concurrent) {
        start(up, c);
        return;
    }
    atomic_fetch_sub_explicit(&up->mirrors, 1, memory_order_relaxed);
    upstream_count(up, STAT_MIRROR_DROPPED);
}
