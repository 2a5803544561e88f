#include "block/call/remote.h"

#include "block/call/peer.h"
#include "block/core/chaos.h"
#include "block/core/headers.h"

/* Another app's sidecar by now, or one that can't reach its app: nothing was done (RFC 9110
 * 15.5.20; without our header it's the app's own answer). */
CO static int undelivered(const struct remote *c, struct relay *relay, const struct peer *peer,
                          bool *ret_gone, struct error *err)
{
    const struct answer *a = &relay->answer;
    bool misdirected = a->status == 421 && http_headers_has(&a->headers, S(DIRECT_HEADER));
    if (!misdirected && !http_headers_has(&a->headers, S(UNDELIVERED_HEADER)))
        return 0;
    if (misdirected)
        fail_as(err, UNAVAILABLE, NULL, "%s is not app " STR_FMT " any more", peer->address,
                STR_ARG(c->t->app_id));
    else
        fail_as(err, UNAVAILABLE, NULL,
                "%s can't reach its app " STR_FMT " at the moment: " STR_FMT, peer->address,
                STR_ARG(c->t->app_id),
                STR_ARG(http_headers_get(&a->headers, S(UNDELIVERED_HEADER))));
    relay_done(relay);
    relay->reached = false;
    *ret_gone = misdirected;
    return -UNAVAILABLE;
}

/* With what is left of the deadline by now; in headers of its own, since copies of the call may go
 * out at the same time. */
static int with_time_left(const struct http_request *req, struct http_request *ret)
{
    *ret = *req;
    if (fiber_deadline() == UINT64_MAX)
        return 0;
    struct http_headers *h = &ret->headers;
    h->v = arena_alloc(h->arena, (h->n + 1) * sizeof *h->v);
    if (!h->v)
        return -EXHAUSTED;
    memcpy(h->v, req->headers.v, h->n * sizeof *h->v);
    h->cap = h->n + 1;
    return context_write_timeout(h);
}

CO static int ask_by_protocol(const struct remote *c, struct relay *relay, struct peer *peer,
                              bool *ret_gone, struct guard_attempt *attempt, struct error *err)
{
    const struct invoker *i = c->b->invoker;
    bool direct = atomic_load_explicit(&peer->direct, memory_order_relaxed), is_proa = direct;
    struct http_request req;
    if (with_time_left(direct ? &c->direct_req : &c->req, &req) < 0)
        return fail(err, EXHAUSTED, NULL, "the request is too large for its memory");
    int r = direct ? relay_try(relay, i->direct, peer->address, &req, attempt, err)
                   : peer_try(relay, i->grpc, peer->address, &req, &is_proa, attempt, err);
    if (is_proa != direct)
        atomic_store_explicit(&peer->direct, is_proa, memory_order_relaxed);
    *ret_gone = r == -UNAVAILABLE && !attempt->http_status;
    const struct answer *a = &relay->answer;
    if (!direct || !a->source || (a->status != 421 && a->status != 503))
        return r;
    int nothing = undelivered(c, relay, peer, ret_gone, err);
    if (nothing < 0)
        attempt->http_status = 0;
    return nothing < 0 ? nothing : r;
}

/* A fault on purpose instead of the way there; 0 = none. Whoever wakes a relay's reader wakes us.
 */
CO static int meet_chaos(const struct remote *c, struct relay *relay, const struct peer *peer,
                         struct guard_attempt *attempt, struct error *err)
{
    struct chaos_call call = { .app = c->t->app_id,
                               .verb = c->req.method,
                               .zone = str_c(peer->zone) };
    struct chaos_outcome outcome;
    str query;
    (void)str_cut(c->req.target, '?', &call.path, &query);
    relay_wait(relay);
    int r = relay_waited(relay, chaos_strike(c->b->chaos, &call, &outcome, err), err);
    if (!outcome.status)
        return r;
    if (err)
        *err = (struct error){ 0 };
    return relay_pretend(relay, outcome.status, str_c(outcome.name), attempt, err);
}

CO int remote_ask(const struct remote *c, struct relay *relay, struct peer *peer,
                  struct peer_asked *ret, struct guard_attempt *attempt, struct error *err)
{
    int r = chaos_on(c->b->chaos) ? meet_chaos(c, relay, peer, attempt, err) : 0;
    if (r < 0)
        return r;
    r = ask_by_protocol(c, relay, peer, &ret->gone, attempt, err);
    ret->unsent = r == -UNAVAILABLE && !attempt->http_status && !relay->reached && !relay->sent;
    attempt->shed = r < 0 && err && err->shed;
    if (relay->answer.source) {
        peers_hear(&relay->answer.headers, r, ret, attempt);
        traffic_strip(&relay->answer.headers);
    }
    return r;
}

int remote_address(struct remote *c, struct arena *a)
{
    str peer_id = invoke_peer_id(c->b, c->t->app_id, c->t->namespace_, a);
    if (!peer_id.p || http_headers_set(&c->req.headers, S("dapr-callee-app-id"), c->t->app_id) < 0)
        return -EXHAUSTED;
    c->req.peer_id = peer_id;
    c->direct_req = c->req;
    struct http_headers *h = &c->direct_req.headers;
    h->v = arena_alloc(a, (c->req.headers.n + 1) * sizeof *h->v);
    if (!h->v)
        return -EXHAUSTED;
    memcpy(h->v, c->req.headers.v, c->req.headers.n * sizeof *h->v);
    h->cap = c->req.headers.n + 1;
    h->v[h->n++] = (struct http_header){ S(DIRECT_HEADER), c->t->app_id };
    return 0;
}
