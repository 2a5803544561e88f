#include "http/client_private.h"
#include "http/h2_session.h"

#include "base/mem.h"

enum {
    STREAMS_MAX = 2048, /* of a connection; then a further one is dialled */
    CALL_ARENA_MAX = 64 << 20,
    WRITE_TIMEOUT_S = 60,
};

struct h2_link { /* a connection */
    struct h2_conn h2;
    struct list link; /* client_pool.conns */
    struct client_pool *pool;
    bool draining; /* takes no new streams */
};

struct h2_call {
    struct http_call base;
    struct h2_stream s;
    struct h2_link *link;
    struct arena arena;
    struct http_response response;
};

static struct h2_call *call_of(struct http_call *base)
{
    return CONTAINER_OF(base, struct h2_call, base);
}

static struct h2_link *link_of(struct h2_conn *c)
{
    return CONTAINER_OF(c, struct h2_link, h2);
}

/* ---- connections ---- */

static void on_headers(struct h2_stream *s)
{
    (void)s; /* whoever waits is woken */
}

static void on_stream_event(struct h2_stream *s)
{
    (void)s;
}

static void on_draining(struct h2_conn *c)
{
    link_of(c)->draining = c->closing = true;
}

static void on_expired(struct h2_conn *c)
{
    struct client_pool *p = link_of(c)->pool;
    const struct http_client_config *config = &p->worker->client->config;
    on_draining(c); /* a call that comes before it has ended takes another */
    if (config->expired)
        config->expired(p->address);
}

static void on_gone(struct h2_conn *c)
{
    struct h2_link *l = link_of(c);
    struct client_pool *p = l->pool;
    list_remove(&l->link);
    stream_close(c->stream);
    mem_free(l);
    client_pool_closed(p);
}

static const struct h2_side client_side = { .server = false,
                                            .headers = on_headers,
                                            .closed = on_stream_event,
                                            .sent = on_stream_event,
                                            .draining = on_draining,
                                            .expired = on_expired,
                                            .gone = on_gone };

static int link_open(struct client_pool *p, struct stream *stream, struct h2_link **ret)
{
    const struct http_client_config *config = &p->worker->client->config;
    struct h2_link *l = mem_zalloc(sizeof *l);
    if (!l)
        return -EXHAUSTED;
    l->pool = p;
    l->h2.max_header_bytes = config->max_header_bytes;
    l->h2.keepalive.idle_ns = config->idle_timeout_ns;
    l->h2.keepalive.ping_ns = config->keepalive_ns;
    l->h2.keepalive.timeout_ns = config->keepalive_timeout_ns;
    l->h2.write_timeout_ns = SEC(WRITE_TIMEOUT_S);
    const nghttp2_settings_entry settings[] = {
        { NGHTTP2_SETTINGS_ENABLE_PUSH, 0 },
        { NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, (uint32_t)config->max_header_bytes },
    };
    int r = h2_conn_init(&l->h2, &client_side, stream, settings, COUNT(settings));
    if (r < 0) {
        mem_free(l);
        return r;
    }
    list_push(&p->conns, &l->link);
    h2_conn_run(&l->h2, S(""));
    *ret = l;
    return 0;
}

/* Its SETTINGS are waited for: they say how many streams it takes, and that it speaks HTTP/2. */

CO static int dial(struct client_pool *p, struct h2_link **ret, struct error *err)
{
    const struct http_client_config *config = &p->worker->client->config;
    DEADLINE(config->dial_timeout_ns);
    struct stream *stream;
    int r = stream_dial_tls(p->address, config->tls, NULL, &stream, err);
    if (r < 0) {
        p->n_conns--;
        return r;
    }
    r = link_open(p, stream, ret);
    if (r < 0) {
        stream_close(stream);
        p->n_conns--;
        return fail(err, EXHAUSTED, NULL, "out of memory");
    }
    r = h2_conn_settle(&(*ret)->h2); /* after a failure the connection takes itself off the pool */
    if (r < 0)
        return fail(err, (enum code) - r, NULL, "%s: no HTTP/2 answer to the connection's preface",
                    p->address);
    return 0;
}

static struct h2_link *find_room(struct client_pool *p, str peer_id)
{
    LIST_EACH (&p->conns, node) {
        struct h2_link *l = CONTAINER_OF(node, struct h2_link, link);
        if (l->draining || !l->h2.session || !l->h2.settled ||
            client_check_peer(p, l->h2.stream, peer_id, NULL) < 0)
            continue;
        uint32_t theirs = nghttp2_session_get_remote_settings(
            l->h2.session, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
        if (l->h2.n_streams < min_size(STREAMS_MAX, theirs))
            return l;
    }
    return NULL;
}

/* Somebody else's: what was begun on it by then goes on, and it ends with the last of it. */
static int check_new(struct client_pool *p, struct h2_link *l, str peer_id, struct error *err)
{
    int r = client_check_peer(p, l->h2.stream, peer_id, err);
    if (r < 0) {
        l->draining = true;
        h2_conn_drain(&l->h2);
    }
    return r;
}

/* One fiber dials, the others wait for what it brings, be it a failure. */
CO static int take_link(struct client_pool *p, str peer_id, struct h2_link **ret, bool *ret_reused,
                        struct error *err)
{
    for (;;) {
        *ret = find_room(p, peer_id);
        *ret_reused = *ret;
        if (*ret)
            return 0;
        if (!p->dialing && p->n_conns < p->worker->client->config.max_conns) {
            p->dialing = true;
            p->n_conns++;
            int r = dial(p, ret, err);
            p->dialing = false;
            waitq_wake_all(&p->waiters, r == -CANCELLED || r == -TIMEOUT ? 0 : r);
            if (r < 0)
                return r;
            POST(*ret);
            return check_new(p, *ret, peer_id, err);
        }
        int r = waitq_wait(&p->waiters);
        if (r < 0)
            return fail(err, (enum code) - r, NULL, "%s: no connection with room for a stream",
                        p->address);
    }
}

void h2_client_close_all(struct client_pool *p)
{
    while (!list_empty(&p->conns)) {
        struct h2_link *l = CONTAINER_OF(p->conns.next, struct h2_link, link);
        list_remove(&l->link);
        h2_conn_fail(&l->h2);
    }
}

/* ---- the request ---- */

static int submit(struct h2_call *c, const struct http_request *req, bool has_body,
                  int64_t content_length)
{
    str authority = req->authority.n ? req->authority : str_c(c->link->pool->address);
    if (str_starts(authority, S("unix:")))
        authority = S("localhost");
    bool tls = c->link->pool->worker->client->config.tls;
    struct http_header first[] = { { S(":method"), req->method },
                                   { S(":scheme"), tls ? S("https") : S("http") },
                                   { S(":authority"), authority },
                                   { S(":path"), req->target } };
    if (!http_is_token(req->method) || !req->target.n)
        return -INVALID;
    nghttp2_nv *nv;
    size_t n;
    int r = h2_make_nv(&c->arena, first, COUNT(first), &req->headers, content_length, &nv, &n);
    if (r < 0)
        return r;
    nghttp2_data_provider provider = h2_stream_provider(&c->s);
    int32_t id =
        nghttp2_submit_request(c->s.conn->session, NULL, nv, n, has_body ? &provider : NULL, &c->s);
    if (id < 0) { /* no more stream numbers: the next call gets a fresh connection */
        on_draining(c->s.conn);
        return id == NGHTTP2_ERR_NOMEM ? -EXHAUSTED : -UNAVAILABLE;
    }
    c->s.id = id;
    h2_conn_flush(c->s.conn);
    return 0;
}

/* An answer that comes before the whole body was taken is no failure to send. */
CO static int send_body(struct h2_call *c, str body, bool end)
{
    int r = h2_stream_write(&c->s, body);
    if (r == 0 && end)
        r = h2_stream_end(&c->s, NULL);
    return r < 0 && c->s.closed && c->s.head_done ? 0 : r;
}

CO static int start(struct h2_call *c, const struct http_request *req, str body, bool end,
                    struct error *err)
{
    bool has_body = !end || body.n;
    int64_t length = !end ? req->content_length : body.n ? (int64_t)body.n : -1;
    int r = submit(c, req, has_body, length);
    if (r < 0)
        return fail(err, (enum code) - r, NULL,
                    r == -INVALID ? "a method, target or field that HTTP/2 can't carry"
                                  : "the request could not be made");
    r = has_body ? send_body(c, body, end) : 0;
    if (r < 0)
        return fail(err, (enum code) - r, NULL, "%s: the request could not be sent",
                    c->link->pool->address);
    return 0;
}

static const struct http_call_ops h2_call_ops;

static void call_free(struct http_call *base)
{
    struct h2_call *c = call_of(base);
    struct client_pool *p = c->link->pool;
    p->n_users++;
    if (!c->s.id)
        c->s.closed = true; /* nghttp2 never knew it */
    h2_stream_done(&c->s, NGHTTP2_CANCEL);
    (void)waitq_wake_one(&p->waiters, 0);
    arena_done(&c->arena);
    mem_free(c);
    client_pool_leave(p);
}

int h2_call_start(struct client_pool *p, const struct http_request *req, str body, bool end,
                  struct http_call **ret, struct error *err)
{
    struct h2_call *c = mem_zalloc(sizeof *c);
    if (!c)
        return fail(err, EXHAUSTED, NULL, "out of memory");
    arena_init(&c->arena, CALL_ARENA_MAX);
    c->base.ops = &h2_call_ops;
    c->base.arena = &c->arena;
    int r = take_link(p, req->peer_id, &c->link, &c->base.reused, err);
    if (r < 0) {
        mem_free(c);
        return r;
    }
    h2_stream_init(&c->s, &c->link->h2, 0, &c->arena);
    r = start(c, req, body, end, err);
    if (r < 0) {
        call_free(&c->base);
        return r;
    }
    *ret = &c->base;
    return 0;
}

/* ---- after the start ---- */

CO static int call_write(struct http_call *base, str data)
{
    struct h2_stream *s = &call_of(base)->s;
    return s->out_end ? -PRECONDITION : h2_stream_write(s, data);
}

static int call_end(struct http_call *base, const struct http_headers *trailers)
{
    struct h2_stream *s = &call_of(base)->s;
    return s->out_end ? -PRECONDITION : h2_stream_end(s, trailers);
}

static void set_response(struct h2_call *c)
{
    c->response = (struct http_response){ .status = c->s.status,
                                          .headers = c->s.headers,
                                          .content_length = -1 };
    str length = http_headers_get(&c->s.headers, S("content-length"));
    int64_t n;
    if (length.p && str_to_i64(length, &n) && n >= 0)
        c->response.content_length = n;
}

CO static int call_response(struct http_call *base, const struct http_response **ret,
                            struct error *err)
{
    struct h2_call *c = call_of(base);
    const char *address = c->link->pool->address;
    while (!c->s.head_done) {
        if (c->s.closed)
            return fail(err, (enum code) - h2_stream_failure(&c->s), NULL,
                        "%s: the stream was closed before an answer: %s", address,
                        nghttp2_http2_strerror(c->s.error));
        int r = h2_stream_wait(&c->s);
        if (r < 0)
            return fail(err, (enum code) - r, NULL, "%s: no answer in time", address);
    }
    if (c->s.headers_too_large)
        return fail(err, INVALID, NULL, "%s: the answer's fields are over the limit", address);
    if (c->s.no_memory)
        return fail(err, EXHAUSTED, NULL, "%s: the answer's fields need too much memory", address);
    if (!c->response.status)
        set_response(c);
    *ret = &c->response;
    return 0;
}

CO static int call_read(struct http_call *base, str *ret)
{
    const struct http_response *unused;
    int r = call_response(base, &unused, NULL);
    return r < 0 ? r : h2_stream_read(&call_of(base)->s, ret);
}

static const struct http_headers *call_trailers(const struct http_call *base)
{
    const struct h2_stream *s = &CONTAINER_OF(base, struct h2_call, base)->s;
    return s->in_end && s->trailers.n ? &s->trailers : NULL;
}

static const struct http_call_ops h2_call_ops = { .write = call_write,
                                                  .end = call_end,
                                                  .response = call_response,
                                                  .read = call_read,
                                                  .trailers = call_trailers,
                                                  .free = call_free };

struct h2_stream *h2_call_stream(struct http_call *c)
{
    return c->ops == &h2_call_ops ? &call_of(c)->s : NULL;
}
