#include "block/call/invoke.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "block/app/channel.h"
#include "block/call/copies.h"
#include "block/call/outside.h"
#include "block/core/headers.h"
#include "block/core/observe.h"
#include "block/core/words.h"
#include "format/uri.h"

#include <stdio.h>
#include <unistd.h>

static struct metric_family req_sent = {
    .name = "dapr_runtime_service_invocation_req_sent_total",
    .help = "Calls sent to other services.",
    .label = { "dst_app_id", "type" },
};
static struct metric_family res_recv = {
    .name = "dapr_runtime_service_invocation_res_recv_total",
    .help = "Answers of other services.",
    .label = { "src_app_id", "status", "type" },
};
static struct metric_family res_latency = {
    .name = "dapr_runtime_service_invocation_res_recv_latency_ms",
    .help = "Time until another service's answer, ms.",
    .kind = METRIC_HISTOGRAM,
    .buckets = &metric_latency_ms,
    .label = { "src_app_id", "status" },
};

static void on_expired(const char *address)
{
    log_debug("dapr.runtime.grpc", "closing 1 expired gRPC connection(s) to %s", address);
}

int invoker_new(const char *host_address, uint64_t conn_idle_ns, const struct invoker_tls *tls,
                struct invoker **ret, struct error *err)
{
    struct invoker *i = mem_zalloc(sizeof *i);
    if (!i)
        return fail(err, EXHAUSTED, NULL, "out of memory");
    i->secure = tls;
    /* All that a burst has opened stay for a while: to dial anew for each call would cost more than
     * the call, and that just when there are the most of them. */
    i->direct = http_client_new(&(struct http_client_config){
        .max_idle = 1024, .idle_timeout_ns = SEC(60), .tls = tls ? tls->h1 : NULL });
    i->grpc = http_client_new(&(struct http_client_config){ .h2 = true,
                                                            .idle_timeout_ns = conn_idle_ns,
                                                            .keepalive_ns = SEC(10),
                                                            .expired = on_expired,
                                                            .tls = tls ? tls->h2 : NULL });
    int r = instances_init(&i->instances);
    i->resolved = resolve_cache_new(&i->instances);
    if (r >= 0)
        r = outside_new(&(struct outside_config){ 0 }, &i->outside, err);
    i->host_address = str_c(host_address);
    if (gethostname(i->hostname, sizeof i->hostname - 1) < 0)
        i->hostname[0] = 0;
    if (!i->direct || !i->grpc || !i->resolved || r < 0) {
        invoker_free(i);
        return fail(err, EXHAUSTED, NULL, "out of memory");
    }
    *ret = i;
    return 0;
}

void invoker_free(struct invoker *i)
{
    if (!i)
        return;
    if (i->direct)
        http_client_free(i->direct);
    if (i->grpc)
        http_client_free(i->grpc);
    outside_free(i->outside);
    resolve_cache_free(i->resolved);
    instances_done(&i->instances);
    zoning_free(i->zoning);
    mem_free(i);
}

int invoker_place(struct invoker *i, const char *zone, const char *region, struct error *err)
{
    i->zoning = zoning_new(zone, region);
    if (!i->zoning)
        return fail(err, EXHAUSTED, NULL, "out of memory");
    i->instances.zones = zones_weigh;
    i->instances.zones_arg = i->zoning;
    return 0;
}

str invoke_peer_id(const struct blocks *b, str app_id, str namespace_, struct arena *a)
{
    str part[] = { S("/ns/"), namespace_.n ? namespace_ : str_c(b->namespace_), S("/"), app_id };
    return b->invoker->secure ? arena_join(a, part, COUNT(part)) : S("");
}

/* ---- our own app ---- */

enum { UPLOAD_LARGE = 64 << 10 }; /* more than is held of a body that nobody reads */

CO int invoke_app(struct blocks *b, struct http_exchange *x, str target, struct error *err)
{
    if (!b->app)
        return fail(err, INTERNAL, "ERR_DIRECT_INVOKE",
                    "app channel is not initialized: start the sidecar with --app-port");
    if (!atomic_load(&b->app->healthy))
        return fail(err, INTERNAL, "ERR_DIRECT_INVOKE", "app is not in a healthy state");
    struct call_context c;
    struct admit_place place;
    struct admit_ask ask = { target, &x->req.headers, &c, x->req.content_length > UPLOAD_LARGE };
    int r = context_read(&x->req.headers, &c, err);
    if (r < 0)
        return r;
    DEADLINE(c.timeout_ns);
    r = app_enter(b->app, &place, &ask, err);
    if (r < 0)
        return r;
    r = b->app->channel->invoke(b->app, &place, x, target, err);
    app_leave(b->app, &place, r, x->status);
    return r == -TIMEOUT && c.timeout_ns != UINT64_MAX ? context_expired(err) : r;
}

/* ---- another app ---- */

CO static int ask_peer(void *arg, struct peer *peer, struct peer_asked *ret,
                       struct guard_attempt *attempt, struct error *err)
{
    struct remote *c = arg;
    if (c->traffic->rule->hedge.on && c->peers.idempotent)
        return copies_hedged_ask(c, peer, ret, attempt, err);
    return remote_ask(c, &c->relay, peer, ret, attempt, err);
}

CO static int try_peers(void *arg, struct guard_attempt *attempt, struct error *err)
{
    struct remote *c = arg;
    return peers_ask(&c->peers, attempt, err);
}

CO static int try_with_policy(void *arg, struct guard_attempt *attempt, struct error *err)
{
    struct remote *c = arg;
    int r = guard_call_in(attempt, c->policy, c->endpoint, try_peers, c, err);
    attempt->fatal =
        c->relay.sent || c->relay.answer.source || (r != -UNAVAILABLE && r != -UNAUTHENTICATED);
    attempt->budget = c->peers.up ? &c->peers.up->retries : NULL;
    return r;
}

/* Whoever called our app for this shan't try it again if all we could do has been done. */
static void note_failure(struct remote *c, bool spent)
{
    if (!spent && !c->peers.spent)
        return;
    app_note_retried(c->b->app, &c->req.headers);
    if (c->relay.answer.source) /* the app may pass it on */
        (void)http_headers_set(&c->relay.answer.headers, S(RETRIED_HEADER), S("1"));
}

CO static int call_remote(struct remote *c, struct error *err)
{
    struct guard_attempt outer = { 0 };
    c->policy = policy_app(c->b->resiliency, c->t->app_id);
    int r = guard_call_in(&outer, peers_builtin(c->b, c->t->app_id), c->endpoint, try_with_policy,
                          c, err);
    if (r < 0)
        note_failure(c, outer.spent);
    return r;
}

/* The caller's identity, and what proxies add (surprise 46). */
static int stamp(struct blocks *b, const struct http_exchange *x, struct http_request *req)
{
    str peer = str_c(x->peer);
    ptrdiff_t colon = (ptrdiff_t)peer.n;
    while (colon > 0 && peer.p[colon - 1] != ':')
        colon--;
    str ip = colon > 0 ? str_take(peer, (size_t)colon - 1) : peer;
    const str part[] = { S("for="),   ip,
                         S(";by="),   b->invoker->host_address,
                         S(";host="), str_c(b->invoker->hostname) };
    str forwarded = arena_join(x->arena, part, COUNT(part));
    if (!forwarded.p)
        return -EXHAUSTED;
    const struct http_header add[] = {
        { S("dapr-caller-app-id"), str_c(b->app_id) },
        { S("dapr-caller-namespace"), str_c(b->namespace_) },
        { S("x-forwarded-for"), ip },
        { S("x-forwarded-host"), x->req.authority },
        { S("forwarded"), forwarded },
    };
    int r = 0;
    for (size_t i = 0; i < COUNT(add) && r >= 0; i++)
        r = http_headers_set(&req->headers, add[i].name, add[i].value);
    return r;
}

static void count_remote(const struct invoke_target *t, const struct http_exchange *x,
                         uint64_t start, bool failed)
{
    char status[3];
    str sent[] = { t->app_id, S("unary") };
    str received[] = { t->app_id, http_status_text(x->started ? x->status : 500, status),
                       S("unary") };
    metric_add(metric_cell(&req_sent, sent), 1);
    metric_add(metric_cell(&res_recv, received), 1);
    metric_observe(&res_latency, metric_cell(&res_latency, received),
                   (double)(clock_now_ns() - start) / 1e6);
}

static void choose_by(struct remote *c, const struct traffic_call *traffic)
{
    c->peers = (struct peers){
        .b = c->b,
        .app_id = c->t->app_id,
        .namespace_ = c->t->namespace_,
        .ask = ask_peer,
        .arg = c,
        .rule = traffic->rule,
        .key = traffic->key,
        .sticky = traffic->sticky,
        .method = traffic->method,
        .idempotent = c->relay.whole && http_is_idempotent(&c->req),
    };
}

CO static int invoke_remote(struct blocks *b, const struct invoke_target *t, str target,
                            const struct traffic_call *traffic, struct http_exchange *x,
                            struct error *err)
{
    struct remote c = { .b = b, .t = t, .traffic = traffic };
    str part[] = { t->app_id, S(":"), t->method };
    c.endpoint = arena_join(x->arena, part, COUNT(part));
    if (!c.endpoint.p || relay_request(x, target, &c.req) < 0 || stamp(b, x, &c.req) < 0 ||
        remote_address(&c, x->arena) < 0)
        return fail(err, EXHAUSTED, NULL, "the request is too large for its memory");
    int r = relay_init(&c.relay, x, err);
    if (r >= 0) {
        choose_by(&c, traffic);
        r = call_remote(&c, err);
        copies_mirror(&c);
        if (c.relay.answer.source)
            traffic_answer(traffic, c.peers.chosen, &c.relay.answer.headers);
        r = relay_pass(&c.relay, r, err);
    }
    relay_done(&c.relay);
    peers_done(&c.peers);
    return r;
}

/* ---- which of them ---- */

static int strip_identity(struct blocks *b, struct http_exchange *x)
{
    static const str identity[] = { S("dapr-caller-app-id"), S("dapr-callee-app-id"),
                                    S("dapr-caller-namespace") };
    const str value[] = { str_c(b->app_id), str_c(b->app_id), str_c(b->namespace_) };
    int r = 0;
    for (size_t i = 0; i < COUNT(identity) && r >= 0; i++)
        r = http_headers_set(&x->req.headers, identity[i], value[i]);
    return r;
}

static const struct endpoint *endpoint_find(const struct blocks *b, str name)
{
    for (size_t i = 0; i < b->n_endpoints; i++)
        if (str_eq(b->endpoints[i].name, name))
            return &b->endpoints[i];
    return NULL;
}

CO static int to_other(struct blocks *b, const struct invoke_target *asked, str target,
                       struct http_exchange *x, struct error *err)
{
    uint64_t start = clock_now_ns();
    struct invoke_target t = *asked;
    struct traffic_call traffic;
    str path, query;
    (void)str_cut(target, '?', &path, &query);
    traffic_begin(&traffic, b, asked->app_id, &x->req, path, asked->grpc);
    t.app_id = traffic.app_id;
    int r = invoke_remote(b, &t, target, &traffic, x, err);
    traffic_end(&traffic);
    bool failed = r < 0 || x->status >= 500;
    count_remote(&t, x, start, failed);
    observe_call(str_c(b->app_id), t.app_id, start, failed);
    return r;
}

CO static int dispatch(struct blocks *b, const struct invoke_target *t, struct http_exchange *x,
                       struct error *err)
{
    if (t->url.n)
        return invoke_outside(b, b->invoker->outside, t->url, NULL, t, x, err);
    const struct endpoint *e = endpoint_find(b, t->app_id);
    if (e)
        return invoke_outside(b, e->outside, e->base_url, e, t, x, err);
    str target;
    if (relay_target(x->arena, t->method, x->req.query, &target) < 0)
        return fail(err, EXHAUSTED, NULL, "the request is too large for its memory");
    bool own = str_eq(t->app_id, str_c(b->app_id)) &&
               (!t->namespace_.n || str_eq(t->namespace_, str_c(b->namespace_)));
    if (!own)
        return to_other(b, t, target, x, err);
    uint64_t start = clock_now_ns();
    int r = strip_identity(b, x) < 0 ? -EXHAUSTED : invoke_app(b, x, target, err);
    observe_call(S("client"), t->app_id, start, r < 0 || x->status >= 500);
    return r;
}

/* What the call lacks it has from the call that our app works on; both go on from here. */
CO static int dispatch_within(struct blocks *b, const struct invoke_target *t,
                              struct call_context *c, struct http_exchange *x, struct error *err)
{
    if (b->app)
        context_inherit(admit_contexts(b->app->admit), &x->req.headers, c);
    DEADLINE(c->timeout_ns);
    if (context_write(c, &x->req.headers) < 0)
        return fail(err, EXHAUSTED, NULL, "the request is too large for its memory");
    int r = dispatch(b, t, x, err);
    bool expired = r == -TIMEOUT && c->timeout_ns != UINT64_MAX && !err->shed;
    return expired ? context_expired(err) : r;
}

CO int invoke(struct blocks *b, const struct invoke_target *t, struct http_exchange *x,
              struct error *err)
{
    struct error cause = { 0 };
    struct call_context c;
    if (!t->grpc)
        http_headers_remove(&x->req.headers, S(WORDS_CALL));
    int r = context_read(&x->req.headers, &c, &cause);
    if (r >= 0)
        r = dispatch_within(b, t, &c, x, &cause);
    if (r >= 0 || x->started)
        return 0;                   /* once begun, the reply itself shows how it ended */
    if (cause.shed || cause.http) { /* it says by itself what happened */
        if (err)
            *err = cause;
        return r;
    }
    fail(err, cause.code ? cause.code : (enum code) - r, "ERR_DIRECT_INVOKE",
         "failed to invoke, id: " STR_FMT ", err: %s", STR_ARG(t->url.n ? t->url : t->app_id),
         cause.text);
    return r;
}
