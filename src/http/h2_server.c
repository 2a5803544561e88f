#include "http/h2_session.h"
#include "http/server_private.h"

#include "base/clock.h"
#include "base/id.h"
#include "base/mem.h"

enum {
    UNWINDING_MAX = 1000, /* handlers of streams that were reset and haven't returned yet */
    WRITE_PIECE = 64 << 10,
    SETTINGS_TEXT_MAX = 512, /* of HTTP2-Settings */
    DISCARD_MAX = 64 << 10,  /* of a body that is of no use any more */
};

static const uint64_t DISCARD_NS = SEC(1);

struct h2_server_conn {
    struct server_conn base;
    struct h2_conn h2;
    size_t handling;
    uint64_t linger_until; /* clock_now_ns() */
    size_t lingered;       /* bytes */
};

struct h2_exchange {
    struct http_exchange base;
    struct h2_stream s;
    struct h2_server_conn *conn;
    struct arena arena;
    struct fiber *fiber; /* the handler's */
    uint64_t left;       /* bytes that the reply still owes */
    bool counted;        /* `left` counts */
    bool bodyless;
};

static struct h2_exchange *exchange_of(struct h2_stream *s)
{
    return CONTAINER_OF(s, struct h2_exchange, s);
}

static const struct http_server_config *config_of(const struct h2_exchange *x)
{
    return &x->conn->base.worker->server->config;
}

static void exchange_free(struct h2_exchange *x, uint32_t code)
{
    h2_stream_done(&x->s, code);
    arena_done(&x->arena);
    mem_free(x);
}

/* A gRPC stream may be silent for days. */
static uint64_t body_timeout(const struct h2_exchange *x)
{
    return config_of(x)->long_streams ? UINT64_MAX : config_of(x)->body_timeout_ns;
}

/* ---- the exchange ---- */

CO static int x_read(struct http_exchange *base, str *ret)
{
    struct h2_exchange *x = CONTAINER_OF(base, struct h2_exchange, base);
    uint64_t max = config_of(x)->max_body_bytes;
    if (max && base->req.content_length > 0 && (uint64_t)base->req.content_length > max)
        return -RANGE;
    DEADLINE(body_timeout(x));
    int r = h2_stream_read(&x->s, ret);
    return r == 1 && max && base->bytes_in + ret->n > max ? -RANGE : r;
}

/* The head of the reply; end = there's nothing behind it. */
static int submit_head(struct h2_exchange *x, int status, const struct http_headers *headers,
                       int64_t length, bool end)
{
    if (status < 200 || status > 999)
        return -INVALID;
    if (x->s.closed)
        return h2_stream_failure(&x->s);
    char digits[3] = { (char)('0' + status / 100), (char)('0' + status / 10 % 10),
                       (char)('0' + status % 10) };
    struct http_header first[2] = { { S(":status"), str_of(digits, 3) },
                                    { S("date"), http_date() } };
    bool dated = headers && http_headers_has(headers, S("Date"));
    nghttp2_nv *nv;
    size_t n;
    int r = h2_make_nv(&x->arena, first, dated ? 1 : 2, headers, length, &nv, &n);
    if (r < 0)
        return r;
    nghttp2_data_provider provider = h2_stream_provider(&x->s);
    r = nghttp2_submit_response(x->s.conn->session, x->s.id, nv, n, end ? NULL : &provider);
    h2_conn_flush(x->s.conn);
    return r < 0 ? -EXHAUSTED : 0;
}

static bool bodyless(const struct h2_exchange *x, int status)
{
    return status == 204 || status == 304 || str_eq(x->base.req.method, S("HEAD"));
}

static int x_start(struct http_exchange *base, int status, const struct http_headers *headers,
                   int64_t length)
{
    struct h2_exchange *x = CONTAINER_OF(base, struct h2_exchange, base);
    x->bodyless = bodyless(x, status);
    x->counted = length >= 0 && !x->bodyless;
    x->left = x->counted ? (uint64_t)length : 0;
    return submit_head(x, status, headers, status == 204 ? -1 : length, x->bodyless);
}

CO static int x_write(struct http_exchange *base, str data)
{
    struct h2_exchange *x = CONTAINER_OF(base, struct h2_exchange, base);
    if (x->bodyless)
        return 0;
    if (x->counted && data.n > x->left)
        return -RANGE;
    x->left -= x->counted ? data.n : 0;
    int r = 0;
    do { /* each piece within the timeout */
        DEADLINE(body_timeout(x));
        str piece = str_take(data, WRITE_PIECE);
        r = h2_stream_write(&x->s, piece);
        data = str_skip(data, piece.n);
    } while (r == 0 && data.n);
    return r;
}

static int x_end(struct http_exchange *base, const struct http_headers *trailers)
{
    struct h2_exchange *x = CONTAINER_OF(base, struct h2_exchange, base);
    if (x->left)
        return -PRECONDITION;
    return x->bodyless ? 0 : h2_stream_end(&x->s, trailers);
}

CO static int x_reply(struct http_exchange *base, int status, const struct http_headers *headers,
                      str body)
{
    struct h2_exchange *x = CONTAINER_OF(base, struct h2_exchange, base);
    x->bodyless = bodyless(x, status) || !body.n;
    int r = submit_head(x, status, headers, status == 204 ? -1 : (int64_t)body.n, x->bodyless);
    if (r < 0 || x->bodyless)
        return r;
    r = x_write(base, body);
    return r < 0 ? r : h2_stream_end(&x->s, NULL);
}

static void x_abort(struct http_exchange *base)
{
    struct h2_exchange *x = CONTAINER_OF(base, struct h2_exchange, base);
    if (x->s.closed)
        return;
    (void)nghttp2_submit_rst_stream(x->s.conn->session, NGHTTP2_FLAG_NONE, x->s.id,
                                    NGHTTP2_INTERNAL_ERROR);
    h2_conn_flush(x->s.conn);
}

static const struct http_exchange_ops h2_ops = { .read = x_read,
                                                 .start = x_start,
                                                 .write = x_write,
                                                 .end = x_end,
                                                 .reply = x_reply,
                                                 .abort = x_abort };

struct h2_stream *h2_exchange_stream(struct http_exchange *x)
{
    return x->ops == &h2_ops ? &CONTAINER_OF(x, struct h2_exchange, base)->s : NULL;
}

/* ---- the handler ---- */

/* RFC 9113 section 8.1: a whole answer ends the request's body, without an error. */
static void stop_upload(struct h2_stream *s)
{
    if (s->closed || s->in_end || !s->out_sent)
        return;
    (void)nghttp2_submit_rst_stream(s->conn->session, NGHTTP2_FLAG_NONE, s->id, NGHTTP2_NO_ERROR);
    h2_conn_flush(s->conn);
}

/* A caller that isn't through with its request when it has the answer is read to the end of it for
 * a moment: most are nearly there, and what they do wrong is still told them. */
CO static void finish_upload(struct h2_exchange *x)
{
    struct h2_stream *s = &x->s;
    h2_stream_discard(s);
    DEADLINE(DISCARD_NS);
    int r = 0;
    while (!s->closed && !s->in_end && s->discarded < DISCARD_MAX && r == 0)
        r = x->conn->base.worker->stopping ? -CANCELLED : h2_stream_wait(s);
}

static void run(void *arg)
{
    struct h2_exchange *x = arg;
    x->conn->handling++;
    server_run_handler(x->conn->base.worker, &x->base);
    x->conn->handling--;
    finish_upload(x);
    x->fiber = NULL;
    if (x->s.closed)
        exchange_free(x, 0);
    else
        stop_upload(&x->s);
}

/* RFC 9113 section 8.2.3: crumbs of Cookie become one field before anybody else sees them. */
static int join_cookies(struct h2_stream *s)
{
    const str name = S("cookie");
    str whole = http_headers_get(&s->headers, name);
    size_t n = 0;
    for (size_t i = 0; i < s->headers.n; i++)
        if (str_eq(s->headers.v[i].name, name) && n++) {
            const str part[] = { whole, S("; "), s->headers.v[i].value };
            whole = arena_join(s->arena, part, COUNT(part));
            if (!whole.p)
                return -EXHAUSTED;
        }
    return n > 1 ? http_headers_set(&s->headers, name, whole) : 0;
}

static void set_request(struct h2_exchange *x)
{
    struct h2_stream *s = &x->s;
    if (join_cookies(s) < 0)
        s->no_memory = true;
    struct http_request *req = &x->base.req;
    str host = http_headers_get(&s->headers, S("host"));
    *req = (struct http_request){ .method = s->method,
                                  .target = s->path,
                                  .authority = s->authority.p ? s->authority : host,
                                  .headers = s->headers,
                                  .content_length = s->in_end ? 0 : -1 };
    if (!str_cut(req->target, '?', &req->path, &req->query))
        req->query = S("");
    str length = http_headers_get(&s->headers, S("content-length"));
    int64_t n;
    if (length.p && str_to_i64(length, &n) && n >= 0)
        req->content_length = n; /* nghttp2 holds the peer to it */
}

static void reset(struct h2_stream *s, uint32_t code)
{
    (void)nghttp2_submit_rst_stream(s->conn->session, NGHTTP2_FLAG_NONE, s->id, code);
}

static void on_headers(struct h2_stream *s)
{
    struct h2_exchange *x = exchange_of(s);
    set_request(x);
    bool connect = str_eq(s->method, S("CONNECT"));
    if (s->headers_too_large || s->no_memory || connect) {
        s->discard = true;
        if (submit_head(x, connect ? 501 : 431, NULL, 0, true) < 0)
            reset(s, NGHTTP2_INTERNAL_ERROR);
        return;
    }
    x->fiber = fiber_spawn("http2", run, x);
    if (!x->fiber)
        reset(s, NGHTTP2_REFUSED_STREAM);
}

static void on_sent(struct h2_stream *s)
{
    if (!exchange_of(s)->fiber)
        stop_upload(s);
}

static void on_closed(struct h2_stream *s)
{
    struct h2_exchange *x = exchange_of(s);
    if (!x->fiber)
        exchange_free(x, 0);
    else if (s->error != NGHTTP2_NO_ERROR || !x->base.ended)
        fiber_cancel(x->fiber);
}

/* ---- the connection ---- */

static struct h2_exchange *exchange_new(struct h2_server_conn *conn, int32_t id)
{
    struct h2_exchange *x = mem_zalloc(sizeof *x);
    if (!x)
        return NULL;
    arena_init(&x->arena, conn->base.worker->server->config.max_arena_bytes);
    x->conn = conn;
    x->base = (struct http_exchange){ .ops = &h2_ops,
                                      .arena = &x->arena,
                                      .peer = stream_peer(conn->base.stream),
                                      .peer_id = stream_peer_id(conn->base.stream),
                                      .local = stream_local(conn->base.stream),
                                      .version = 20 };
    h2_stream_init(&x->s, &conn->h2, id, &x->arena);
    return x;
}

static struct h2_stream *on_open(struct h2_conn *c, int32_t id)
{
    struct h2_server_conn *conn = CONTAINER_OF(c, struct h2_server_conn, h2);
    if (c->n_lingering > UNWINDING_MAX)
        return NULL; /* they open and reset faster than handlers can return */
    struct h2_exchange *x = exchange_new(conn, id);
    return x ? &x->s : NULL;
}

static void conn_free(struct h2_server_conn *conn)
{
    server_conn_done(&conn->base);
    stream_close(conn->base.stream);
    mem_free(conn);
}

/* ---- lingering: our GOAWAY has gone out, and they may have something under way ---- */

static void linger(struct h2_server_conn *conn);

static void on_lingering(void *arg, bool timed_out)
{
    struct h2_server_conn *conn = arg;
    char in[KIB(4)];
    ssize_t n = 1;
    while (n > 0 && !timed_out && conn->lingered < LINGER_MAX) {
        n = stream_try_read(conn->base.stream, in, sizeof in);
        conn->lingered += n > 0 ? (size_t)n : 0;
    }
    if (n == -ABORTED)
        linger(conn);
    else
        conn_free(conn);
}

static void linger(struct h2_server_conn *conn)
{
    uint64_t now = clock_now_ns();
    uint64_t left = conn->linger_until > now ? conn->linger_until - now : 1;
    stream_on_readable(conn->base.stream, left, on_lingering, conn);
}

static void stay(struct server_conn *base)
{
    (void)base; /* it is about to end anyway */
}

static void stop_lingering(struct server_conn *base)
{
    (void)stream_off_readable(base->stream);
    conn_free(CONTAINER_OF(base, struct h2_server_conn, base));
}

static size_t kill_lingering(struct server_conn *base)
{
    stop_lingering(base);
    return 0;
}

static const struct server_conn_ops lingering_ops = { stay, stop_lingering, kill_lingering };

static void on_gone(struct h2_conn *c)
{
    struct h2_server_conn *conn = CONTAINER_OF(c, struct h2_server_conn, h2);
    if (!c->over || stream_shutdown(conn->base.stream) < 0) {
        conn_free(conn);
        return;
    }
    conn->base.ops = &lingering_ops;
    conn->linger_until = clock_now_ns() + LINGER_NS;
    linger(conn);
}

static const struct h2_side server_side = { .server = true,
                                            .open = on_open,
                                            .headers = on_headers,
                                            .closed = on_closed,
                                            .sent = on_sent,
                                            .gone = on_gone };

static void stop(struct server_conn *base)
{
    h2_conn_drain(&CONTAINER_OF(base, struct h2_server_conn, base)->h2);
}

static size_t kill_conn(struct server_conn *base)
{
    struct h2_server_conn *conn = CONTAINER_OF(base, struct h2_server_conn, base);
    size_t n = conn->handling;
    h2_conn_fail(&conn->h2);
    return n;
}

static const struct server_conn_ops h2_conn_ops = { stop, NULL, kill_conn };

static struct h2_server_conn *conn_new(struct server_worker *w, struct stream *s)
{
    const struct http_server_config *config = &w->server->config;
    struct h2_server_conn *conn = mem_zalloc(sizeof *conn);
    if (!conn)
        return NULL;
    conn->h2.max_header_bytes = config->max_header_bytes;
    conn->h2.keepalive.idle_ns = config->idle_timeout_ns;
    conn->h2.keepalive.ping_ns = config->keepalive_ns;
    conn->h2.keepalive.timeout_ns = config->keepalive_timeout_ns;
    conn->h2.write_timeout_ns = config->body_timeout_ns;
    const nghttp2_settings_entry settings[] = {
        { NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, config->max_streams },
        { NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, (uint32_t)config->max_header_bytes },
    };
    if (h2_conn_init(&conn->h2, &server_side, s, settings, COUNT(settings)) < 0) {
        mem_free(conn);
        return NULL;
    }
    server_conn_init(&conn->base, w, s, &h2_conn_ops);
    return conn;
}

/* base64url without padding: RFC 7540 section 3.2.1. */
static bool decode_settings(str text, uint8_t *ret, size_t *ret_n)
{
    char standard[SETTINGS_TEXT_MAX];
    size_t n = 0;
    if (text.n > sizeof standard - 4)
        return false;
    for (; n < text.n; n++) {
        char c = text.p[n];
        standard[n] = c == '-' ? '+' : c == '_' ? '/' : c;
    }
    while (n % 4)
        standard[n++] = '=';
    return base64_decode(str_of(standard, n), (char *)ret, ret_n);
}

static int copy_request(struct h2_exchange *x, const struct http_request *req)
{
    struct h2_stream *s = &x->s;
    s->method = arena_dup(&x->arena, req->method);
    s->path = arena_dup(&x->arena, req->target);
    s->authority = arena_dup(&x->arena, req->authority);
    bool ok = s->method.p && s->path.p && s->authority.p;
    for (size_t i = 0; ok && i < req->headers.n; i++) {
        str name = arena_dup(&x->arena, req->headers.v[i].name);
        str value = arena_dup(&x->arena, req->headers.v[i].value);
        ok = name.p && value.p && http_headers_add(&s->headers, name, value) == 0;
    }
    http_headers_strip_hop(&s->headers);
    return ok ? 0 : -EXHAUSTED;
}

static int begin_upgraded(struct h2_server_conn *conn, const struct http_request *req, str settings)
{
    uint8_t payload[SETTINGS_TEXT_MAX];
    size_t n;
    if (!decode_settings(settings, payload, &n))
        return -INVALID;
    bool head = str_eq(req->method, S("HEAD"));
    struct h2_exchange *x = exchange_new(conn, 1);
    if (!x)
        return -EXHAUSTED;
    int r = copy_request(x, req);
    if (r == 0 && nghttp2_session_upgrade2(conn->h2.session, payload, n, head, NULL) < 0)
        r = -INVALID;
    if (r == 0 && nghttp2_session_set_stream_user_data(conn->h2.session, 1, &x->s) < 0)
        r = -INTERNAL;
    if (r < 0) {
        x->s.closed = true; /* nghttp2 doesn't know it */
        exchange_free(x, 0);
        return r;
    }
    x->s.in_end = x->s.head_done = true;
    h2_guard_upgrade(&conn->h2.guard);
    on_headers(&x->s);
    return 0;
}

int h2_server_adopt(struct server_worker *w, struct stream *s, str received,
                    const struct http_request *req, str settings)
{
    struct h2_server_conn *conn = conn_new(w, s);
    if (!conn)
        return -EXHAUSTED;
    int r = req ? begin_upgraded(conn, req, settings) : 0;
    if (r < 0) {
        flush_cancel(&conn->h2.flush);
        nghttp2_session_del(conn->h2.session);
        server_conn_done(&conn->base);
        mem_free(conn);
        return r;
    }
    if (w->stopping)
        h2_conn_drain(&conn->h2);
    h2_conn_run(&conn->h2, received); /* conn may be gone */
    return 0;
}
