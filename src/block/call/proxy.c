#include "block/call/proxy.h"

#include "base/clock.h"
#include "block/app/app.h"
#include "block/app/retried.h"
#include "block/call/invoke.h"
#include "block/call/peers.h"
#include "block/call/traffic.h"
#include "block/core/chaos.h"
#include "block/core/headers.h"
#include "block/core/observe.h"
#include "http/grpc.h"
#include "http/splice.h"

enum {
    PREFIX = 5, /* bytes in front of each message */
    REFUSED_TRIES =
        8, /* of a stream; the pauses between them double, a quarter of a second in all */
};

/* A call that is being passed on. */
struct forward {
    const struct proxy_call *p;
    const struct app *app; /* ours; NULL: it goes to another one */
    str app_id, namespace_;
    str endpoint; /* "id:/package.Service/Method": what breakers are kept by */
    struct policy *policy;
    struct peers peers;
    bool start_only; /* a try ends when the call has been started */
    bool hold;       /* a failure isn't passed on before its last try */
    bool once;       /* the one message below is all there may be */
    str first;       /* what goes with the start */
    struct http_request req;
    struct http_client *client; /* of the last try */
    const char *address;
    struct http_call *call; /* of the last try; owned */
    uint64_t start_ns;      /* of the last try */
    struct grpc_status status;
    bool spent; /* it has failed, and trying is no use any more */
};

/* ---- the request ---- */

static bool is_ours(str name)
{
    static const str drop[] = { S("dapr-app-id"),  S("dapr-stream"), S("dapr-api-token"),
                                S("grpc-timeout"), S("te"),          S("content-length") };
    for (size_t i = 0; i < COUNT(drop); i++)
        if (str_eq(name, drop[i]))
            return true;
    return false;
}

static int no_memory(struct error *err)
{
    return fail(err, EXHAUSTED, NULL, "the request is too large for its memory");
}

static int copy_headers(struct forward *f)
{
    const struct http_exchange *x = f->p->x;
    f->req =
        (struct http_request){ .method = S("POST"), .target = f->p->path, .content_length = -1 };
    http_headers_init(&f->req.headers, x->arena);
    int r = http_headers_add(&f->req.headers, S("te"), S("trailers"));
    for (size_t i = 0; i < x->req.headers.n && r >= 0; i++)
        if (!is_ours(x->req.headers.v[i].name))
            r = http_headers_add(&f->req.headers, x->req.headers.v[i].name,
                                 x->req.headers.v[i].value);
    return r;
}

/* What is left of the deadline goes on, anew with each try. */
static int set_timeout(struct forward *f)
{
    str left = grpc_timeout_left(f->p->x->arena);
    if (!left.p)
        return -EXHAUSTED;
    if (left.n)
        return http_headers_set(&f->req.headers, S("grpc-timeout"), left);
    http_headers_remove(&f->req.headers, S("grpc-timeout"));
    return 0;
}

/* ---- the answer ---- */

static bool is_of_http(str name)
{
    static const str skip[] = { S("content-type"), S("content-length"), S("date"), S("server"),
                                S("transfer-encoding") };
    for (size_t i = 0; i < COUNT(skip); i++)
        if (str_eq(name, skip[i]))
            return true;
    return false;
}

/* Of a failure: further tries are no use. Ours were, or the app's own were (retried.h). */
static void mark(const struct forward *f, struct http_headers *trailers)
{
    const struct http_headers *call = &f->p->x->req.headers;
    if (f->status.code == OK)
        return;
    if (f->app)
        app_tell_retried(f->app, call, f->start_ns, trailers);
    else if (f->spent && !retried_is_marked(trailers))
        (void)http_headers_set(trailers, S(RETRIED_HEADER), S("1"));
}

/* Status, message, details and whatever else the trailers have, as they came. Where all the callee
 * sent was one block of fields, they are trailers (gRPC's "Trailers-Only"). */
CO static int answer_end(struct forward *f)
{
    struct http_exchange *x = f->p->x;
    const struct http_response *res;
    int r = http_call_response(f->call, &res, NULL);
    if (r < 0)
        return r;
    const struct http_headers *t = grpc_call_trailers(f->call, res);
    bool alone = t == &res->headers;
    if (alone && !http_headers_has(t, S("grpc-status")))
        return grpc_finish(x, f->status.code, f->status.message, S(""), NULL);
    struct http_headers h;
    http_headers_init(&h, x->arena);
    if (!x->started)
        r = alone ? grpc_send_headers(x, NULL) : http_reply_start(x, 200, &res->headers, -1);
    for (size_t i = 0; i < t->n && r >= 0; i++)
        if (!alone || !is_of_http(t->v[i].name))
            r = http_headers_add(&h, t->v[i].name, t->v[i].value);
    mark(f, &h);
    if (!f->app)
        traffic_strip(&h);
    else if (http_headers_has(&x->req.headers, S("dapr-callee-app-id"))) /* another sidecar's */
        app_tell_load(f->app, &h);
    return r < 0 ? r : http_reply_end(x, &h);
}

static int splice_failed(const struct forward *f, int r, struct error *err)
{
    switch (r) {
    case -EXHAUSTED:
        return fail(err, EXHAUSTED, NULL, "a message is larger than --max-body-size, %zu bytes",
                    f->p->max_message);
    case -PRECONDITION:
        return fail(err, PRECONDITION, NULL,
                    "cannot use resiliency policies with retries on streaming RPCs: send metadata "
                    "dapr-stream: true");
    case -TIMEOUT:
        return fail(err, TIMEOUT, NULL, "no answer of " STR_FMT " in time", STR_ARG(f->app_id));
    default:
        return fail(err, (enum code) - r, NULL, "the call to " STR_FMT " broke off",
                    STR_ARG(f->app_id));
    }
}

static uint64_t payload_bytes(const struct splice_way *w)
{
    return w->bytes - min_u64(w->bytes, w->messages * PREFIX);
}

static void measure(const struct forward *f, const struct http_splice *s, enum code code)
{
    uint64_t first = f->first.n - min_size(f->first.n, PREFIX);
    observe_rpc(f->p->path, code, first + payload_bytes(&s->up), payload_bytes(&s->down),
                f->start_ns);
}

/* A callee that has as many streams as it likes refuses a further one; it took nothing of it. */
CO static bool start_again(struct forward *f, struct http_splice *s, unsigned n)
{
    str kept;
    if (!http_call_refused(f->call) || !splice_kept(s, &kept) || fiber_sleep(MS(1) << n) < 0)
        return false;
    str part[] = { f->first, kept }, body = arena_join(f->p->x->arena, part, COUNT(part));
    http_call_free(TAKE(f->call));
    if (!body.p ||
        http_call_start(f->client, f->address, &f->req, body, s->up.done, &f->call, NULL) < 0)
        return false;
    s->call = f->call;
    return true;
}

CO static int splice(struct forward *f, struct http_splice *s)
{
    int r = http_splice(s);
    for (unsigned n = 0; r == -UNAVAILABLE && n < REFUSED_TRIES && start_again(f, s, n); n++)
        r = http_splice(s);
    return r;
}

/* Both ways until the callee ends it. A failure of the callee that has not been passed on yet is
 * returned, for another try; the answer is kept. */
CO static int pass(struct forward *f, struct guard_attempt *attempt, struct error *err)
{
    struct http_exchange *x = f->p->x;
    struct http_splice s = { .x = x,
                             .call = f->call,
                             .max_message = f->p->max_message,
                             .hold = f->hold,
                             .closed = f->once };
    int r = splice(f, &s);
    if (r >= 0)
        r = grpc_call_status(f->call, &f->status);
    measure(f, &s, r < 0 ? (enum code) - r : f->status.code);
    if (r < 0) {
        attempt->fatal = x->started || r == -PRECONDITION || r == -EXHAUSTED || !f->hold;
        http_call_free(TAKE(f->call));
        return splice_failed(f, r, err);
    }
    attempt->grpc_status = (int)f->status.code;
    if (f->status.code != OK && f->hold && !x->started)
        return fail(err, f->status.code, NULL, STR_FMT, STR_ARG(f->status.message));
    attempt->fatal = true; /* whatever it was: it's on its way */
    r = answer_end(f);
    return r < 0 ? r : -(int)f->status.code;
}

CO static int try_at(struct forward *f, struct http_client *client, const char *address,
                     bool *ret_unsent, struct guard_attempt *attempt, struct error *err)
{
    http_call_free(TAKE(f->call));
    f->req.authority = str_c(address);
    f->client = client;
    f->address = address;
    *ret_unsent = false;
    f->start_ns = clock_now_ns();
    if (set_timeout(f) < 0)
        return no_memory(err);
    int r = http_call_start(client, address, &f->req, f->first, false, &f->call, err);
    if (r < 0) {
        *ret_unsent = r == -UNAVAILABLE;
        return r;
    }
    return f->start_only ? 0 : pass(f, attempt, err);
}

/* ---- to whom ---- */

/* A fault on purpose; 0 = none. */
CO static int meet_chaos(struct forward *f, const struct peer *peer, struct guard_attempt *attempt,
                         struct error *err)
{
    struct chaos *chaos = f->p->b->chaos;
    const struct chaos_call call = { f->app_id, f->req.method, f->p->path, str_c(peer->zone) };
    struct chaos_outcome outcome;
    struct error cause = { 0 };
    http_call_free(TAKE(f->call));
    f->start_ns = clock_now_ns();
    int r = chaos_strike(chaos, &call, &outcome, &cause);
    if (r >= 0)
        return r;
    f->status.code = cause.code;
    attempt->grpc_status = outcome.status ? (int)cause.code : 0;
    observe_rpc(f->p->path, cause.code, 0, 0, f->start_ns);
    return fail(err, cause.code, NULL, "%s", cause.text);
}

/* What the other sidecar's trailers say of it. A stream that has only been started has none yet. */
CO static void hear(struct forward *f, int r, struct peer_asked *ret, struct guard_attempt *attempt)
{
    const struct http_response *res;
    if (f->call && !f->start_only && http_call_response(f->call, &res, NULL) >= 0)
        peers_hear(grpc_call_trailers(f->call, res), r, ret, attempt);
}

CO static int ask_peer(void *arg, struct peer *peer, struct peer_asked *ret,
                       struct guard_attempt *attempt, struct error *err)
{
    struct forward *f = arg;
    int r = chaos_on(f->p->b->chaos) ? meet_chaos(f, peer, attempt, err) : 0;
    if (r < 0)
        return r;
    r = try_at(f, f->p->b->invoker->grpc, peer->address, &ret->unsent, attempt, err);
    ret->gone = ret->unsent;
    hear(f, r, ret, attempt);
    return r;
}

CO static int try_peers(void *arg, struct guard_attempt *attempt, struct error *err)
{
    struct forward *f = arg;
    return peers_ask(&f->peers, attempt, err);
}

/* The message that may be sent again: whole, and the only one. */
CO static int read_first(struct forward *f, struct error *err)
{
    struct splice_way w = { 0 };
    AUTO(buf_done) struct buf all;
    str piece;
    int r;
    buf_init(&all, f->p->max_message < SIZE_MAX / 2 ? f->p->max_message + 5 : SIZE_MAX / 2);
    while ((!w.messages || w.left) && (r = http_read(f->p->x, &piece)) != 0) {
        if (r > 0)
            r = splice_count(&w, piece, f->p->max_message);
        if (r < 0)
            return splice_failed(f, r, err);
        buf_put(&all, piece);
    }
    if (w.messages > 1 || w.have)
        return splice_failed(f, -PRECONDITION, err);
    f->first = arena_dup(f->p->x->arena, buf_str(&all));
    return buf_ok(&all) && f->first.p ? 0 : no_memory(err);
}

/* The end of a call that was only started under its policies, or whose last failure was kept. */
CO static int conclude(struct forward *f, int r, struct error *err)
{
    struct guard_attempt last = { 0 };
    if (r >= 0 && f->start_only) {
        f->hold = false;
        r = pass(f, &last, err);
    } else if (r < 0 && f->call && !f->p->x->ended && f->status.code != OK) {
        r = answer_end(f);
    }
    return f->p->x->ended ? 0 : r;
}

CO static int forward_remote(struct forward *f, const struct traffic_call *traffic,
                             struct error *err)
{
    const struct proxy_call *p = f->p;
    struct http_headers *h = &f->req.headers;
    if (http_headers_set(h, S("dapr-caller-app-id"), str_c(p->b->app_id)) < 0 ||
        http_headers_set(h, S("dapr-callee-app-id"), f->app_id) < 0)
        return no_memory(err);
    str part[] = { f->app_id, S(":"), p->path };
    f->endpoint = arena_join(p->x->arena, part, COUNT(part));
    f->req.peer_id = invoke_peer_id(p->b, f->app_id, f->namespace_, p->x->arena);
    if (!f->endpoint.p || !f->req.peer_id.p)
        return no_memory(err);
    f->policy = policy_app(p->b->resiliency, f->app_id);
    f->start_only = f->policy && p->stream;
    f->hold = f->policy && !p->stream;
    f->once = f->hold && f->policy->retry;
    f->peers = (struct peers){
        .b = p->b,
        .app_id = f->app_id,
        .namespace_ = f->namespace_,
        .ask = ask_peer,
        .arg = f,
        .rule = traffic->rule,
        .key = traffic->key,
        .method = traffic->method,
        .open_ended = !f->once,
        .idempotent = f->once && http_is_idempotent(&p->x->req),
    };
    int r = f->once ? read_first(f, err) : 0;
    struct guard_attempt outer = { 0 };
    if (r >= 0)
        r = guard_call_in(&outer, f->policy, f->endpoint, try_peers, f, err);
    f->spent = r < 0 && (outer.spent || f->peers.spent);
    if (f->spent)
        app_note_retried(p->b->app, &p->x->req.headers);
    return conclude(f, r, err);
}

static int init(struct forward *f, const struct proxy_call *p, str app_id, struct error *err)
{
    *f = (struct forward){ .p = p };
    (void)str_cut(app_id, '.', &f->app_id, &f->namespace_);
    return copy_headers(f) < 0 ? no_memory(err) : 0;
}

CO int proxy_to_app(struct proxy_call *p, struct error *err)
{
    struct app *app = p->b->app;
    struct forward f;
    struct guard_attempt attempt = { 0 };
    bool unsent;
    if (!app || app->config.handle)
        return fail(err, INTERNAL, NULL,
                    "app channel is not initialized: start the sidecar with --app-port");
    if (!atomic_load(&app->healthy))
        return fail(err, INTERNAL, NULL, "app is not in a healthy state");
    if (!http_client_is_h2(app->client))
        return fail(err, UNIMPLEMENTED, NULL,
                    "the app doesn't speak gRPC: start the sidecar with --app-protocol grpc");
    int r = init(&f, p, str_c(p->b->app_id), err);
    if (r >= 0 && app->config.token)
        r = http_headers_set(&f.req.headers, S("dapr-api-token"), str_c(app->config.token));
    struct call_context c;
    struct admit_place place;
    struct admit_ask ask = { p->path, &p->x->req.headers, &c };
    if (r >= 0)
        r = context_read(&p->x->req.headers, &c, err);
    if (r < 0)
        return r;
    f.app = app;
    DEADLINE(c.timeout_ns);
    r = app_enter(app, &place, &ask, err); /* until the call has ended, a stream's end too */
    if (r < 0)
        return r;
    r = try_at(&f, app->client, app->address, &unsent, &attempt, err);
    http_call_free(f.call);
    app_leave(app, &place, r, 0);
    p->status = f.status.code;
    return p->x->ended ? 0 : r;
}

bool proxy_is_own(const struct blocks *b, str app_id)
{
    str id, space;
    (void)str_cut(app_id, '.', &id, &space);
    return str_eq(id, str_c(b->app_id)) && (!space.n || str_eq(space, str_c(b->namespace_)));
}

CO int proxy_to(struct proxy_call *p, str app_id, struct error *err)
{
    if (proxy_is_own(p->b, app_id))
        return proxy_to_app(p, err);
    uint64_t start = clock_now_ns();
    struct forward f;
    struct traffic_call traffic;
    int r = init(&f, p, app_id, err);
    traffic_begin(&traffic, p->b, f.app_id, &p->x->req, p->path, true);
    f.app_id = traffic.app_id;
    if (r >= 0)
        r = forward_remote(&f, &traffic, err);
    peers_done(&f.peers);
    observe_call(str_c(p->b->app_id), f.app_id, start, r < 0 || f.status.code != OK);
    traffic_end(&traffic);
    http_call_free(f.call);
    p->status = f.status.code;
    return r;
}
