#include "http/client_private.h"

#include "base/mem.h"

enum {
    SPARES_KEPT = 128,         /* calls with their buffers, a worker */
    REPLAY_MAX = 64 << 10,     /* of a body that is copied so that it can be sent again */
    INTERIM_MAX = 16,          /* 1xx answers to one request */
    CALL_ARENA_MAX = 64 << 20, /* a read body included */
};

struct h1_link { /* a connection */
    struct list idle;
    struct client_pool *pool;
    struct stream *stream;
};

struct h1_call {
    struct http_call base;
    struct h1_call *next; /* as a spare */
    struct client_pool *pool;
    struct h1_link *link; /* NULL once lost */
    struct arena arena;
    struct h1_head head;
    struct h1_input in;
    struct h1_body body;
    struct http_response response;
    enum h1_framing framing;
    uint64_t left;  /* of our body, H1_FRAME_LENGTH */
    str text;       /* our head */
    str copy;       /* our whole body, for a second try */
    str peer_id;    /* whom the call is for */
    bool replay;    /* a kept connection's death may be answered with a fresh one */
    bool head_only; /* HEAD */
    bool sent, answered, broken;
    size_t cap;
    char buf[];
};

/* ---- connections ---- */

static void link_close(struct h1_link *l)
{
    struct client_pool *p = l->pool;
    stream_close(l->stream);
    mem_free(l);
    client_pool_closed(p);
}

/* The peer closed a kept connection, said something unasked, or it has idled too long. */
static void on_idle_event(void *arg, bool timed_out)
{
    (void)timed_out;
    struct h1_link *l = arg;
    list_remove(&l->idle);
    l->pool->n_idle--;
    link_close(l);
}

static void link_keep(struct h1_link *l)
{
    struct client_pool *p = l->pool;
    const struct http_client_config *config = &p->worker->client->config;
    if (p->n_idle >= config->max_idle) {
        link_close(l);
        return;
    }
    list_push(&p->idle, &l->idle);
    p->n_idle++;
    stream_on_readable(l->stream, config->idle_timeout_ns, on_idle_event, l);
    (void)waitq_wake_one(&p->waiters, 0);
}

static struct h1_link *take_idle(struct client_pool *p)
{
    struct list *node = list_pop(&p->idle);
    if (!node)
        return NULL;
    struct h1_link *l = CONTAINER_OF(node, struct h1_link, idle);
    p->n_idle--;
    (void)stream_off_readable(l->stream);
    return l;
}

CO static int dial(struct client_pool *p, struct h1_link **ret, struct error *err)
{
    struct h1_link *l = mem_zalloc(sizeof *l);
    if (!l)
        return fail(err, EXHAUSTED, NULL, "out of memory");
    list_init(&l->idle);
    l->pool = p;
    p->n_conns++;
    const struct http_client_config *config = &p->worker->client->config;
    DEADLINE(config->dial_timeout_ns);
    int r = stream_dial_tls(p->address, config->tls, NULL, &l->stream, err);
    if (r < 0) {
        mem_free(l);
        client_pool_closed(p); /* the caller is a user: the pool stays */
        return r;
    }
    *ret = l;
    return 0;
}

CO static int dial_peer(struct client_pool *p, str peer_id, struct h1_link **ret, struct error *err)
{
    struct h1_link *l = NULL;
    int r = dial(p, &l, err);
    if (r < 0)
        return r;
    r = client_check_peer(p, l->stream, peer_id, err);
    if (r < 0)
        link_close(l);
    else
        *ret = l;
    return r;
}

/* A kept connection (unless a fresh one is wanted), a new one, or waits for either. */
CO static int take_link(struct client_pool *p, str peer_id, bool fresh, struct h1_link **ret,
                        bool *ret_reused, struct error *err)
{
    for (;;) {
        struct h1_link *l = fresh ? NULL : take_idle(p);
        if (l && client_check_peer(p, l->stream, peer_id, NULL) < 0) {
            link_close(l);
            continue;
        }
        *ret_reused = l;
        if (l) {
            *ret = l;
            return 0;
        }
        if (p->n_conns < p->worker->client->config.max_conns)
            return dial_peer(p, peer_id, ret, err);
        if (fresh && p->n_idle) {
            link_close(take_idle(p));
            continue;
        }
        int r = waitq_wait(&p->waiters);
        if (r < 0)
            return fail(err, (enum code) - r, NULL, "%s: all %zu connections are busy", p->address,
                        p->n_conns);
    }
}

/* ---- calls and their buffers ---- */

static struct h1_call *call_new(struct client_pool *p)
{
    struct client_worker *w = p->worker;
    struct h1_call *c = w->spares;
    size_t cap = w->client->config.max_header_bytes + H1_BODY_ROOM;
    if (c) {
        w->spares = c->next;
        w->n_spares--;
        struct arena arena = c->arena;
        *c = (struct h1_call){ .arena = arena };
    } else {
        c = mem_alloc(sizeof *c + cap);
        if (!c)
            return NULL;
        *c = (struct h1_call){ 0 };
        arena_init(&c->arena, CALL_ARENA_MAX);
    }
    c->cap = cap;
    c->base.arena = &c->arena;
    c->pool = p;
    p->n_users++;
    return c;
}

static void call_drop(struct h1_call *c)
{
    struct client_pool *p = c->pool;
    struct client_worker *w = p->worker;
    if (w->n_spares >= SPARES_KEPT) {
        arena_done(&c->arena);
        mem_free(c);
    } else {
        arena_reset(&c->arena);
        c->next = w->spares;
        w->spares = c;
        w->n_spares++;
    }
    client_pool_leave(p);
}

void h1_client_free_spares(struct client_worker *w)
{
    while (w->spares) {
        struct h1_call *c = w->spares;
        w->spares = c->next;
        arena_done(&c->arena);
        mem_free(c);
    }
}

void h1_client_close_idle(struct client_pool *p)
{
    for (struct h1_link *l; (l = take_idle(p));)
        link_close(l);
}

static void lose_link(struct h1_call *c)
{
    if (c->link)
        link_close(TAKE(c->link));
}

static void set_link(struct h1_call *c, struct h1_link *l, bool reused)
{
    c->link = l;
    c->base.reused = reused;
    c->broken = false;
    c->in = (struct h1_input){ .stream = l->stream, .buf = c->buf, .cap = c->cap };
}

/* ---- sending ---- */

CO static int send(struct h1_call *c, struct iovec *iov, size_t n)
{
    if (c->broken || !c->link)
        return -UNAVAILABLE;
    int r = stream_writev(c->link->stream, iov, n);
    if (r < 0)
        c->broken = true;
    return r;
}

/* The head with the first piece of the body, in one write. */
CO static int send_first(struct h1_call *c, str body)
{
    char size[H1_CHUNK_MAX];
    struct iovec iov[5] = { { (void *)c->text.p, c->text.n } };
    size_t n = 1;
    bool chunk = c->framing == H1_FRAME_CHUNKED && body.n;
    if (chunk)
        iov[n++] = (struct iovec){ size, h1_put_chunk_size(size, body.n) };
    if (body.n)
        iov[n++] = (struct iovec){ (void *)body.p, body.n };
    if (chunk)
        iov[n++] = (struct iovec){ "\r\n", 2 };
    return send(c, iov, n);
}

CO static int call_write(struct http_call *base, str data)
{
    struct h1_call *c = CONTAINER_OF(base, struct h1_call, base);
    if (c->sent || (c->framing == H1_FRAME_LENGTH && data.n > c->left))
        return -PRECONDITION;
    if (!data.n)
        return 0;
    if (c->framing == H1_FRAME_LENGTH) {
        c->left -= data.n;
        struct iovec iov = { (void *)data.p, data.n };
        return send(c, &iov, 1);
    }
    char size[H1_CHUNK_MAX];
    struct iovec iov[3] = { { size, h1_put_chunk_size(size, data.n) },
                            { (void *)data.p, data.n },
                            { "\r\n", 2 } };
    return send(c, iov, 3);
}

CO static int call_end(struct http_call *base, const struct http_headers *trailers)
{
    struct h1_call *c = CONTAINER_OF(base, struct h1_call, base);
    if (c->sent || (c->framing == H1_FRAME_LENGTH && c->left))
        return -PRECONDITION;
    str last = { 0 };
    int r = c->framing == H1_FRAME_CHUNKED ? h1_put_trailers(&c->arena, trailers, &last) : 0;
    if (r < 0)
        return r;
    struct iovec iov = { (void *)last.p, last.n };
    r = last.n ? send(c, &iov, 1) : 0;
    c->sent = r == 0;
    return r;
}

static bool may_have_body(str method)
{
    return str_eq(method, S("POST")) || str_eq(method, S("PUT")) || str_eq(method, S("PATCH"));
}

static int put_text(struct h1_call *c, const struct http_request *req, size_t body_n, bool end)
{
    struct h1_message m = { .headers = &req->headers };
    if (end) {
        m.framing = body_n || may_have_body(req->method) ? H1_FRAME_LENGTH : H1_FRAME_NONE;
        m.length = body_n;
    } else if (req->content_length >= 0) {
        if (body_n > (uint64_t)req->content_length)
            return -INVALID;
        m.framing = H1_FRAME_LENGTH;
        m.length = (uint64_t)req->content_length;
    } else {
        m.framing = H1_FRAME_CHUNKED;
    }
    c->framing = m.framing;
    c->left = m.framing == H1_FRAME_LENGTH ? m.length - body_n : 0;
    str host = req->authority;
    if (!host.n)
        host = str_starts(str_c(c->pool->address), S("unix:")) ? S("localhost")
                                                               : str_c(c->pool->address);
    return h1_put_request(&c->arena, req, host, &m, &c->text);
}

/* A kept connection that fails before it took a byte is replaced; after that, see replay(). */
CO static int connect_and_send(struct h1_call *c, str body, struct error *err)
{
    for (bool fresh = false;; fresh = true) {
        struct h1_link *l;
        bool reused;
        int r = take_link(c->pool, c->peer_id, fresh, &l, &reused, err);
        if (r < 0)
            return r;
        set_link(c, l, reused);
        r = send_first(c, body);
        if (r == 0)
            return 0;
        const char *tls = stream_tls_failure(l->stream);
        lose_link(c);
        if (!reused || r != -UNAVAILABLE)
            return fail(err, (enum code) - r, NULL, "%s: the request could not be sent%s%s",
                        c->pool->address, tls ? ": " : "", tls ? tls : "");
    }
}

CO static int start(struct h1_call *c, const struct http_request *req, str body, bool end,
                    struct error *err)
{
    int r = put_text(c, req, body.n, end);
    if (r < 0)
        return fail(err, (enum code) - r, NULL,
                    r == -INVALID ? "a method, target or field that HTTP/1.1 can't carry"
                                  : "the request's fields need too much memory");
    c->head_only = str_eq(req->method, S("HEAD"));
    c->sent = end;
    c->peer_id = req->peer_id.n ? arena_dup(&c->arena, req->peer_id) : S("");
    if (!c->peer_id.p)
        return fail(err, EXHAUSTED, NULL, "out of memory");
    r = connect_and_send(c, body, err);
    if (r < 0)
        return r;
    if (c->base.reused && end && body.n <= REPLAY_MAX && http_is_idempotent(req)) {
        c->copy = body.n ? arena_dup(&c->arena, body) : S("");
        c->replay = c->copy.p;
    }
    return 0;
}

static const struct http_call_ops h1_call_ops;

CO int h1_call_start(struct client_pool *p, const struct http_request *req, str body, bool end,
                     struct http_call **ret, struct error *err)
{
    struct h1_call *c = call_new(p);
    if (!c)
        return fail(err, EXHAUSTED, NULL, "out of memory");
    c->base.ops = &h1_call_ops;
    int r = start(c, req, body, end, err);
    if (r < 0) {
        call_drop(c);
        return r;
    }
    *ret = &c->base;
    return 0;
}

/* ---- the answer ---- */

/* The kept connection died before a byte of the answer: the request goes out again, once. */
CO static int replay(struct h1_call *c, struct error *err)
{
    struct h1_link *l;
    bool reused;
    c->replay = false;
    lose_link(c);
    int r = take_link(c->pool, c->peer_id, true, &l, &reused, err);
    if (r < 0)
        return r;
    set_link(c, l, false);
    return send_first(c, c->copy);
}

CO static int read_head(struct h1_call *c, struct error *err)
{
    size_t max = c->pool->worker->client->config.max_header_bytes;
    for (int i = 0; i < INTERIM_MAX; i++) {
        h1_input_restart(&c->in);
        h1_head_init(&c->head, H1_RESPONSE, max, &c->arena);
        int r = h1_input_head(&c->in, &c->head);
        if ((r == 0 || r == -UNAVAILABLE) && i == 0 && c->in.end == c->in.at && c->replay) {
            r = replay(c, err);
            if (r == 0)
                r = h1_input_head(&c->in, &c->head);
        }
        if (r == 0)
            return -UNAVAILABLE;
        if (r < 0)
            return r;
        if (c->head.code >= 200)
            return 0;
    }
    c->head.why = "more than 16 interim answers";
    return -INVALID;
}

static void begin_body(struct h1_call *c)
{
    const struct h1_head *h = &c->head;
    bool none = c->head_only || h->code == 204 || h->code == 304;
    enum h1_body_kind kind = none                     ? H1_BODY_NONE
                             : h->chunked             ? H1_BODY_CHUNKED
                             : h->content_length >= 0 ? H1_BODY_LENGTH
                                                      : H1_BODY_TO_END;
    h1_body_init(&c->body, kind, h->content_length, &c->arena);
    c->response = (struct http_response){ .status = h->code,
                                          .headers = h->headers,
                                          .content_length = h->content_length };
}

static int tell_no_answer(const struct h1_call *c, int r, struct error *err)
{
    const char *tls = c->link ? stream_tls_failure(c->link->stream) : NULL;
    const char *why = r == -INVALID       ? c->head.why
                      : r == -UNAVAILABLE ? "connection lost before an answer"
                      : r == -EXHAUSTED   ? "the answer's fields need too much memory"
                                          : "no answer in time";
    return fail(err, (enum code) - r, NULL, "%s: %s%s%s", c->pool->address, why, tls ? ": " : "",
                tls ? tls : "");
}

CO static int call_response(struct http_call *base, const struct http_response **ret,
                            struct error *err)
{
    struct h1_call *c = CONTAINER_OF(base, struct h1_call, base);
    if (!c->answered) {
        int r = c->link ? read_head(c, err) : -UNAVAILABLE;
        if (r < 0) {
            c->broken = true;
            return tell_no_answer(c, r, err);
        }
        begin_body(c);
        c->answered = true;
    }
    *ret = &c->response;
    return 0;
}

CO static int call_read(struct http_call *base, str *ret)
{
    struct h1_call *c = CONTAINER_OF(base, struct h1_call, base);
    const struct http_response *unused;
    int r = call_response(base, &unused, NULL);
    if (r == 0)
        r = h1_body_read(&c->body, &c->in, ret);
    if (r < 0)
        c->broken = true;
    return r;
}

static const struct http_headers *call_trailers(const struct http_call *base)
{
    const struct h1_call *c = CONTAINER_OF(base, struct h1_call, base);
    const struct http_headers *t = &c->body.trailers.headers;
    return c->answered && c->body.done && c->body.kind == H1_BODY_CHUNKED && t->n ? t : NULL;
}

/* RFC 9112 section 9.3: may another request follow on this connection? */
static bool reusable(const struct h1_call *c)
{
    const struct h1_head *h = &c->head;
    bool persists = !h->close && (h->minor == 1 || h->keep_alive);
    return c->link && !c->broken && c->sent && c->answered && c->body.done && persists &&
           c->body.kind != H1_BODY_TO_END && c->in.at == c->in.end;
}

static void call_free(struct http_call *base)
{
    struct h1_call *c = CONTAINER_OF(base, struct h1_call, base);
    if (reusable(c))
        link_keep(c->link);
    else
        lose_link(c);
    call_drop(c);
}

static const struct http_call_ops h1_call_ops = { .write = call_write,
                                                  .end = call_end,
                                                  .response = call_response,
                                                  .read = call_read,
                                                  .trailers = call_trailers,
                                                  .free = call_free };
