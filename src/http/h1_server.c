#include "http/server_private.h"

#include "http/flush.h"

#include "base/mem.h"

enum {
    UNITS_KEPT = 128,        /* spare units of a worker */
    DRAIN_MAX = 64 << 10,    /* of a body that the handler left unread */
    WRITE_PIECE = 256 << 10, /* of a reply: each has the whole body timeout */
};

static const str preface = { "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24 };

struct h1_exchange {
    struct http_exchange base;
    struct h1_conn *conn;
    struct h1_input in;
    struct h1_body body;
    enum h1_framing framing; /* of the reply */
    uint64_t left;           /* bytes that it still owes, H1_FRAME_LENGTH */
    str pending;             /* the reply's head, held back for the first write */
    struct flush flush;      /* sends it if there's none in this round */
    bool head_only;          /* HEAD: the reply has no body whatever its fields say */
    bool expect;             /* 100 Continue is owed */
    bool close;
    bool unreadable; /* the body's framing or stream failed; a reply may still get through */
    bool broken;     /* nothing more can be written */
};

/* What a connection needs only while it works on requests; the worker keeps spare ones. */
struct h1_unit {
    struct h1_unit *next;
    struct arena arena;
    struct h1_head head;
    struct h1_exchange x;
    char buf[];
};

struct h1_conn {
    struct server_conn base;
    struct fiber *fiber; /* NULL: idle */
    bool handling;       /* the fiber is in the handler */
    bool fresh;          /* nothing was read yet: HTTP/2's preface may come */
};

enum next { NEXT_REQUEST, NEXT_IDLE, NEXT_CLOSE, NEXT_LINGER, NEXT_RESET, NEXT_GONE };

/* ---- units ---- */

/* Where only HTTP/2 is served a head is read for its answer alone. */
static size_t max_head(const struct http_server *s)
{
    return min_size(s->config.max_header_bytes, s->config.h2_only ? KIB(4) : MIB(1));
}

static size_t unit_buffer(const struct http_server *s)
{
    return max_head(s) + H1_BODY_ROOM;
}

static struct h1_unit *unit_take(struct server_worker *w)
{
    struct h1_unit *u = w->units;
    if (u) {
        w->units = u->next;
        w->n_units--;
        return u;
    }
    u = mem_alloc(sizeof *u + unit_buffer(w->server));
    if (u)
        arena_init(&u->arena, w->server->config.max_arena_bytes);
    return u;
}

static void unit_give(struct server_worker *w, struct h1_unit *u)
{
    if (w->n_units >= UNITS_KEPT) {
        arena_done(&u->arena);
        mem_free(u);
        return;
    }
    arena_reset(&u->arena);
    u->next = w->units;
    w->units = u;
    w->n_units++;
}

void h1_units_free(struct server_worker *w)
{
    while (w->units) {
        struct h1_unit *u = w->units;
        w->units = u->next;
        arena_done(&u->arena);
        mem_free(u);
    }
    w->n_units = 0;
}

/* ---- the exchange: reading ---- */

static const struct http_server_config *config_of(const struct h1_exchange *x)
{
    return &x->conn->base.worker->server->config;
}

CO static int send_continue(struct h1_exchange *x)
{
    x->expect = false;
    if (x->in.at < x->in.end || x->base.started)
        return 0; /* they didn't wait for it, or have their answer */
    return stream_write(x->in.stream, S("HTTP/1.1 100 Continue\r\n\r\n"));
}

CO static int x_read(struct http_exchange *base, str *ret)
{
    struct h1_exchange *x = CONTAINER_OF(base, struct h1_exchange, base);
    uint64_t max = config_of(x)->max_body_bytes;
    if (max && base->req.content_length > 0 && (uint64_t)base->req.content_length > max) {
        x->close = x->unreadable = true;
        return -RANGE;
    }
    if (x->unreadable)
        return -UNAVAILABLE;
    DEADLINE(config_of(x)->body_timeout_ns);
    int r = x->expect ? send_continue(x) : 0;
    if (r == 0)
        r = h1_body_read(&x->body, &x->in, ret);
    if (r == 1 && max && base->bytes_in + ret->n > max)
        r = -RANGE;
    if (r < 0)
        x->close = x->unreadable = true;
    return r;
}

/* ---- the exchange: replying ---- */

static bool bodyless(int status)
{
    return status == 204 || status == 304;
}

/* Whether the next request could be found at all: not behind a body that nobody reads. */
static bool must_close(const struct h1_exchange *x)
{
    bool waits = x->expect && !x->body.done;
    bool large = x->body.kind == H1_BODY_LENGTH && x->body.left > DRAIN_MAX;
    return x->close || waits || large || x->conn->base.worker->stopping;
}

static int put_head(struct h1_exchange *x, int status, const struct http_headers *headers,
                    enum h1_framing framing, uint64_t length, str *ret)
{
    x->close = must_close(x) || framing == H1_FRAME_CLOSE;
    struct h1_message m = { headers, framing, length, x->close };
    return h1_put_reply(x->base.arena, status, &m, ret);
}

/* Writes the vector, each piece within the body timeout. */
CO static int send(struct h1_exchange *x, struct iovec *iov, size_t n_iov)
{
    flush_cancel(&x->flush);
    x->pending = (str){ 0 };
    if (x->broken)
        return -UNAVAILABLE;
    DEADLINE(config_of(x)->body_timeout_ns);
    int r = stream_writev(x->in.stream, iov, n_iov);
    if (r < 0)
        x->broken = x->close = true;
    return r;
}

/* The pieces of a long slice but the last, which is left for the caller to join with its end. */
CO static int send_long(struct h1_exchange *x, str *data)
{
    while (data->n > WRITE_PIECE) {
        struct iovec iov[2] = { { (void *)x->pending.p, x->pending.n },
                                { (void *)data->p, WRITE_PIECE } };
        int r = send(x, iov, 2);
        if (r < 0)
            return r;
        *data = str_skip(*data, WRITE_PIECE);
    }
    return 0;
}

CO static int x_reply(struct http_exchange *base, int status, const struct http_headers *headers,
                      str body)
{
    struct h1_exchange *x = CONTAINER_OF(base, struct h1_exchange, base);
    bool none = bodyless(status);
    int r =
        put_head(x, status, headers, none ? H1_FRAME_NONE : H1_FRAME_LENGTH, body.n, &x->pending);
    if (r < 0)
        return r;
    if (none || x->head_only)
        body.n = 0;
    r = send_long(x, &body);
    if (r < 0)
        return r;
    struct iovec iov[2] = { { (void *)x->pending.p, x->pending.n }, { (void *)body.p, body.n } };
    return send(x, iov, body.n ? 2 : 1);
}

static enum h1_framing choose_framing(const struct h1_exchange *x, int status, int64_t length)
{
    if (bodyless(status))
        return H1_FRAME_NONE;
    if (length >= 0)
        return H1_FRAME_LENGTH;
    return x->base.version == 11 ? H1_FRAME_CHUNKED : H1_FRAME_CLOSE;
}

/* Runs when the handler waits for something before its first write: the head must not. */
static void on_flush(struct flush *f)
{
    struct h1_exchange *x = CONTAINER_OF(f, struct h1_exchange, flush);
    struct iovec iov = { (void *)x->pending.p, x->pending.n };
    ssize_t n = iov.iov_len ? stream_try_writev(x->in.stream, &iov, 1) : 0;
    if (n > 0)
        x->pending = str_skip(x->pending, (size_t)n);
}

static int x_start(struct http_exchange *base, int status, const struct http_headers *headers,
                   int64_t length)
{
    struct h1_exchange *x = CONTAINER_OF(base, struct h1_exchange, base);
    x->framing = choose_framing(x, status, length);
    x->left = length > 0 && !x->head_only ? (uint64_t)length : 0;
    int r =
        put_head(x, status, headers, x->framing, length > 0 ? (uint64_t)length : 0, &x->pending);
    if (r == 0)
        flush_later(&x->flush);
    return r;
}

CO static int write_chunk(struct h1_exchange *x, str data)
{
    char size[H1_CHUNK_MAX];
    struct iovec iov[4] = { { (void *)x->pending.p, x->pending.n },
                            { size, h1_put_chunk_size(size, data.n) },
                            { (void *)data.p, data.n },
                            { "\r\n", 2 } };
    return send(x, iov, 4);
}

CO static int x_write(struct http_exchange *base, str data)
{
    struct h1_exchange *x = CONTAINER_OF(base, struct h1_exchange, base);
    if (x->head_only || x->framing == H1_FRAME_NONE)
        return 0;
    if (x->framing == H1_FRAME_LENGTH) {
        if (data.n > x->left)
            return -RANGE;
        x->left -= data.n;
    }
    while (data.n) {
        str piece = str_take(data, WRITE_PIECE);
        struct iovec iov[2] = { { (void *)x->pending.p, x->pending.n },
                                { (void *)piece.p, piece.n } };
        int r = x->framing == H1_FRAME_CHUNKED ? write_chunk(x, piece) : send(x, iov, 2);
        if (r < 0)
            return r;
        data = str_skip(data, piece.n);
    }
    return 0;
}

CO static int x_end(struct http_exchange *base, const struct http_headers *trailers)
{
    struct h1_exchange *x = CONTAINER_OF(base, struct h1_exchange, base);
    if (x->framing == H1_FRAME_LENGTH && x->left)
        return -PRECONDITION; /* they were promised more: the reply can only be aborted */
    str last = { 0 };
    if (x->framing == H1_FRAME_CHUNKED && !x->head_only) {
        int r = h1_put_trailers(base->arena, trailers, &last);
        if (r < 0)
            return r;
    }
    struct iovec iov[2] = { { (void *)x->pending.p, x->pending.n }, { (void *)last.p, last.n } };
    return x->pending.n || last.n ? send(x, iov, 2) : 0;
}

static void x_abort(struct http_exchange *base)
{
    struct h1_exchange *x = CONTAINER_OF(base, struct h1_exchange, base);
    flush_cancel(&x->flush);
    x->broken = x->close = true;
}

static const struct http_exchange_ops h1_ops = { .read = x_read,
                                                 .start = x_start,
                                                 .write = x_write,
                                                 .end = x_end,
                                                 .reply = x_reply,
                                                 .abort = x_abort };

/* ---- one request ---- */

static void begin_exchange(struct h1_conn *c, struct h1_unit *u)
{
    struct h1_exchange *x = &u->x;
    const struct h1_head *h = &u->head;
    struct h1_input in = x->in;
    *x = (struct h1_exchange){
        .base = { .ops = &h1_ops,
                  .arena = &u->arena,
                  .peer = stream_peer(c->base.stream),
                  .peer_id = stream_peer_id(c->base.stream),
                  .local = stream_local(c->base.stream),
                  .version = h->minor == 1 ? 11 : 10,
                  .req = { .method = h->method,
                           .target = h->target,
                           .path = h->path,
                           .query = h->query,
                           .authority = h->authority,
                           .headers = h->headers,
                           .content_length = h->chunked                ? -1
                                             : h->content_length == -1 ? 0
                                                                       : h->content_length } },
        .conn = c,
        .in = in,
        .head_only = str_eq(h->method, S("HEAD")),
        .expect = h->expect_continue && h->minor == 1,
        .close = h->close || h->minor == 0,
    };
    h1_body_init(&x->body, h->chunked ? H1_BODY_CHUNKED : H1_BODY_LENGTH,
                 x->base.req.content_length, &u->arena);
    flush_init(&x->flush, on_flush);
}

/* Reads what the handler left, so that the next request is found. */
CO static enum next finish_body(struct h1_exchange *x)
{
    size_t drained = 0;
    DEADLINE(config_of(x)->header_timeout_ns);
    while (!x->body.done) {
        str piece;
        int r = drained < DRAIN_MAX ? h1_body_read(&x->body, &x->in, &piece) : -RANGE;
        if (r < 0)
            return NEXT_LINGER;
        if (r == 1)
            drained += piece.n;
    }
    return NEXT_REQUEST;
}

CO static enum next finish(struct h1_exchange *x)
{
    if (x->broken && x->framing == H1_FRAME_CLOSE)
        return NEXT_RESET; /* a plain end would look like the end of the body */
    if (x->close || x->broken)
        return x->body.done && x->in.at == x->in.end ? NEXT_CLOSE : NEXT_LINGER;
    enum next next = finish_body(x);
    if (next != NEXT_REQUEST)
        return next;
    return x->in.at < x->in.end ? NEXT_REQUEST : NEXT_IDLE;
}

/* A reply of ours to what is no request. */
CO static enum next refuse(struct h1_conn *c, struct h1_unit *u, int status, const char *why)
{
    struct http_headers headers;
    http_headers_init(&headers, &u->arena);
    struct h1_message m = { &headers, H1_FRAME_LENGTH, strlen(why), true };
    str head;
    if (http_headers_add(&headers, S("Content-Type"), S("text/plain")) < 0 ||
        h1_put_reply(&u->arena, status, &m, &head) < 0)
        return NEXT_CLOSE;
    struct iovec iov[2] = { { (void *)head.p, head.n }, { (void *)why, strlen(why) } };
    DEADLINE(SEC(1));
    return stream_writev(c->base.stream, iov, 2) < 0 ? NEXT_CLOSE : NEXT_LINGER;
}

static bool wants_h2(const struct h1_conn *c, const struct h1_head *h, const struct h1_body *b)
{
    return c->base.worker->server->config.h2 && h->upgrade_h2c && h->http2_settings_named &&
           h->http2_settings.p && h->minor == 1 && b->done;
}

/* RFC 7540 section 3.2: the request becomes stream 1. */
CO static enum next upgrade(struct h1_conn *c, struct h1_unit *u)
{
    struct h1_exchange *x = &u->x;
    int r = stream_write(c->base.stream, S("HTTP/1.1 101 Switching Protocols\r\n"
                                           "Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n"));
    if (r == 0)
        r = h2_server_adopt(c->base.worker, c->base.stream,
                            str_of(x->in.buf + x->in.at, x->in.end - x->in.at), &x->base.req,
                            u->head.http2_settings);
    return r < 0 ? NEXT_CLOSE : NEXT_GONE;
}

static enum next serve(struct h1_conn *c, struct h1_unit *u)
{
    const struct http_server_config *config = &c->base.worker->server->config;
    begin_exchange(c, u);
    if (config->h2_only)
        return refuse(c, u, 400, "this port speaks HTTP/2 only\n");
    if (wants_h2(c, &u->head, &u->x.body))
        return upgrade(c, u);
    if (str_eq(u->head.method, S("CONNECT")))
        return refuse(c, u, 501, "CONNECT is not supported\n");
    c->handling = true;
    server_run_handler(c->base.worker, &u->x.base);
    c->handling = false;
    return finish(&u->x);
}

/* ---- heads ---- */

enum { GOT_EOF = 0, GOT_HEAD = 1, GOT_PREFACE = 2 };

/* Whether HTTP/2's preface is what has come; needs more bytes only while it may be. */
CO static int read_preface(struct h1_input *in, bool *ret_is)
{
    for (;;) {
        size_t n = min_size(in->end - in->at, preface.n);
        bool same = !n || memcmp(in->buf + in->at, preface.p, n) == 0;
        *ret_is = same && n == preface.n;
        if (!same || *ret_is)
            return 1;
        int r = h1_input_fill(in);
        if (r <= 0)
            return r;
    }
}

CO static int read_head(struct h1_conn *c, struct h1_unit *u)
{
    const struct http_server_config *config = &c->base.worker->server->config;
    struct h1_input *in = &u->x.in;
    DEADLINE(config->header_timeout_ns);
    h1_head_init(&u->head, H1_REQUEST, max_head(c->base.worker->server), &u->arena);
    if (c->fresh && config->h2) {
        bool is_h2;
        int r = read_preface(in, &is_h2);
        if (r <= 0)
            return r;
        if (is_h2)
            return GOT_PREFACE;
    }
    c->fresh = false;
    return h1_input_head(in, &u->head);
}

CO static enum next refuse_head(struct h1_conn *c, struct h1_unit *u, int r)
{
    switch (r) {
    case -INVALID:
        if (c->base.worker->server->config.h2_only)
            return NEXT_CLOSE; /* no preface: RFC 9113 section 3.4 */
        return refuse(c, u, u->head.status, u->head.why);
    case -EXHAUSTED:
        arena_reset(&u->arena);
        return refuse(c, u, 431, "the fields need more memory than a request may have");
    case -TIMEOUT:
        if (u->x.in.end > u->x.in.at)
            return refuse(c, u, 408, "the head took too long");
        return NEXT_CLOSE;
    default:
        return NEXT_CLOSE;
    }
}

CO static enum next next_request(struct h1_conn *c, struct h1_unit *u)
{
    struct h1_input *in = &u->x.in;
    arena_reset(&u->arena);
    h1_input_restart(in);
    int r = read_head(c, u);
    if (r == GOT_HEAD)
        return serve(c, u);
    if (r != GOT_PREFACE)
        return r == GOT_EOF ? NEXT_CLOSE : refuse_head(c, u, r);
    str received = { in->buf + in->at, in->end - in->at };
    r = h2_server_adopt(c->base.worker, c->base.stream, received, NULL, S(""));
    return r < 0 ? NEXT_CLOSE : NEXT_GONE;
}

/* ---- the connection ---- */

/* So that the peer gets our last reply: what it still sends is read, within bounds, before the
 * socket is closed; closing with unread data would send an RST. */
CO static void linger(struct h1_conn *c, struct h1_unit *u)
{
    if (stream_shutdown(c->base.stream) < 0)
        return;
    DEADLINE(LINGER_NS);
    for (size_t n = 0; n < LINGER_MAX;) {
        ssize_t got = stream_read(c->base.stream, u->buf, unit_buffer(c->base.worker->server));
        if (got <= 0)
            return;
        n += (size_t)got;
    }
}

static void conn_free(struct h1_conn *c, enum next how)
{
    server_conn_done(&c->base);
    if (how == NEXT_RESET)
        stream_reset(c->base.stream);
    else if (how != NEXT_GONE)
        stream_close(c->base.stream);
    mem_free(c);
}

static void go_idle(struct h1_conn *c);

/* The fiber: one for as long as requests follow each other without a pause. */
static void run(void *arg)
{
    struct h1_conn *c = arg;
    struct server_worker *w = c->base.worker;
    struct h1_unit *u = unit_take(w);
    enum next next = u ? NEXT_REQUEST : NEXT_CLOSE;
    if (u)
        u->x.in = (struct h1_input){ .stream = c->base.stream,
                                     .buf = u->buf,
                                     .cap = unit_buffer(w->server) };
    while (next == NEXT_REQUEST)
        next = next_request(c, u);
    if (next == NEXT_LINGER)
        linger(c, u);
    if (u)
        unit_give(w, u);
    c->fiber = NULL;
    if (next == NEXT_IDLE && !w->stopping)
        go_idle(c);
    else
        conn_free(c, next);
}

static void on_readable(void *arg, bool timed_out)
{
    struct h1_conn *c = arg;
    if (!timed_out)
        c->fiber = fiber_spawn("http1", run, c);
    if (c->fiber)
        return;
    if (!timed_out) { /* the worker is full: say so, without waiting */
        static const str busy =
            S("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        struct iovec iov = { (void *)busy.p, busy.n };
        (void)!stream_try_writev(c->base.stream, &iov, 1);
    }
    conn_free(c, NEXT_CLOSE);
}

static void go_idle(struct h1_conn *c)
{
    stream_on_readable(c->base.stream, c->base.worker->server->config.idle_timeout_ns, on_readable,
                       c);
}

/* A caller that has left cancels its call. Once per connection: what was half-closed before its
 * request came is answered like any other. */
static void on_hangup(void *arg)
{
    struct h1_conn *c = arg;
    if (c->handling)
        fiber_cancel(c->fiber);
}

static void stop(struct server_conn *base)
{
    struct h1_conn *c = CONTAINER_OF(base, struct h1_conn, base);
    if (!c->fiber)
        conn_free(c, NEXT_CLOSE);
}

static void hurry(struct server_conn *base)
{
    struct h1_conn *c = CONTAINER_OF(base, struct h1_conn, base);
    if (c->fiber && !c->handling)
        fiber_cancel(c->fiber);
}

static size_t kill_conn(struct server_conn *base)
{
    struct h1_conn *c = CONTAINER_OF(base, struct h1_conn, base);
    if (c->fiber)
        fiber_cancel(c->fiber);
    return c->handling;
}

static const struct server_conn_ops h1_conn_ops = { stop, hurry, kill_conn };

void h1_server_accept(struct server_worker *w, struct stream *s)
{
    struct h1_conn *c = mem_zalloc(sizeof *c);
    if (!c) {
        stream_close(s);
        return;
    }
    server_conn_init(&c->base, w, s, &h1_conn_ops);
    c->fresh = true;
    stream_on_hangup(s, on_hangup, c);
    go_idle(c);
}
