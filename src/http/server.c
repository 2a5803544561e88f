#include "http/private.h"
#include "http/server_private.h"

#include "base/clock.h"
#include "base/mem.h"

/* ---- what a handler calls ---- */

int http_read(struct http_exchange *x, str *ret_chunk)
{
    int r = x->ops->read(x, ret_chunk);
    if (r == 1)
        x->bytes_in += ret_chunk->n;
    return r;
}

CO static int next_of_exchange(void *arg, str *ret)
{
    return http_read(arg, ret);
}

int http_read_all(struct http_exchange *x, size_t max, str *ret)
{
    int64_t length = x->req.content_length;
    if (length > 0 && (uint64_t)length > max)
        return -RANGE;
    str first;
    int r = http_read(x, &first);
    if (r == 0)
        *ret = S("");
    if (r <= 0)
        return r;
    if (length >= 0 && first.n == (size_t)length) {
        *ret = first; /* it all came with the head: no copy */
        return 0;
    }
    return http_gather(x->arena, max, length, first, next_of_exchange, x, ret);
}

int http_reply_start(struct http_exchange *x, int status, const struct http_headers *headers,
                     int64_t content_length)
{
    if (x->started)
        return -PRECONDITION;
    int r = x->ops->start(x, status, headers, content_length);
    if (r == -INVALID)
        return r; /* nothing was sent: another reply may be tried */
    x->started = true;
    x->status = status;
    return r;
}

int http_reply_write(struct http_exchange *x, str data)
{
    if (!x->started || x->ended)
        return -PRECONDITION;
    int r = x->ops->write(x, data);
    if (r == 0)
        x->bytes_out += data.n;
    return r;
}

int http_reply_end(struct http_exchange *x, const struct http_headers *trailers)
{
    if (!x->started || x->ended)
        return -PRECONDITION;
    int r = x->ops->end(x, trailers);
    if (r == 0)
        x->ended = true;
    return r;
}

int http_reply(struct http_exchange *x, int status, const struct http_headers *headers, str body)
{
    if (x->started)
        return -PRECONDITION;
    if (!x->ops->reply) {
        int r = http_reply_start(x, status, headers, (int64_t)body.n);
        if (r == 0 && body.n)
            r = http_reply_write(x, body);
        return r < 0 ? r : http_reply_end(x, NULL);
    }
    int r = x->ops->reply(x, status, headers, body);
    if (r == -INVALID)
        return r;
    x->started = true;
    x->status = status;
    if (r < 0)
        return r;
    x->ended = true;
    x->bytes_out += body.n;
    return 0;
}

void http_reply_abort(struct http_exchange *x)
{
    if (x->ended)
        return;
    x->started = x->ended = true;
    x->ops->abort(x);
}

/* ---- for the versions ---- */

void server_conn_init(struct server_conn *c, struct server_worker *w, struct stream *s,
                      const struct server_conn_ops *ops)
{
    *c = (struct server_conn){ .ops = ops, .worker = w, .stream = s };
    list_append(&w->conns, &c->link);
}

void server_conn_done(struct server_conn *c)
{
    struct server_worker *w = c->worker;
    list_remove(&c->link);
    if (list_empty(&w->conns))
        waitq_wake_all(&w->drained, 0);
}

void server_active_add(struct server_worker *w, int n)
{
    size_t now = atomic_load_explicit(&w->active, memory_order_relaxed);
    atomic_store_explicit(&w->active, now + (size_t)n, memory_order_release);
}

void server_run_handler(struct server_worker *w, struct http_exchange *x)
{
    const struct http_server_config *config = &w->server->config;
    server_active_add(w, 1);
    config->handle(config->arg, x);
    if (!x->started)
        (void)http_reply(x, 500, NULL, S(""));
    if (!x->ended)
        http_reply_abort(x);
    server_active_add(w, -1);
}

/* ---- TLS ---- */

/* A connection whose handshake is under way. */
struct hello {
    struct server_conn base;
    struct fiber *fiber;
};

static void hello_stop(struct server_conn *c)
{
    fiber_cancel(CONTAINER_OF(c, struct hello, base)->fiber);
}

static size_t hello_kill(struct server_conn *c)
{
    hello_stop(c);
    return 0;
}

static const struct server_conn_ops hello_ops = { hello_stop, hello_stop, hello_kill };

static void shake_hands(void *arg)
{
    AUTO(mem_freep) struct hello *h = arg;
    struct server_worker *w = h->base.worker;
    int r = stream_accept_tls(h->base.stream, w->server->config.tls, NULL);
    if (r < 0 || w->stopping)
        stream_close(h->base.stream);
    else
        h1_server_accept(w, h->base.stream);
    server_conn_done(&h->base); /* last: whoever drains looks at the list only then */
}

static void tls_server_accept(struct server_worker *w, struct stream *s)
{
    struct hello *h = mem_zalloc(sizeof *h);
    if (h)
        h->fiber = fiber_spawn("tls-accept", shake_hands, h);
    if (h && h->fiber) {
        server_conn_init(&h->base, w, s, &hello_ops);
        return;
    }
    mem_free(h); /* the worker is full, and can't say so before a handshake */
    stream_close(s);
}

/* ---- life ---- */

static void on_accept(void *arg, struct stream *s)
{
    struct http_server *server = arg;
    struct server_worker *w = &server->worker[worker_index(worker_self())];
    if (w->stopping)
        stream_close(s);
    else if (server->config.tls)
        tls_server_accept(w, s);
    else
        h1_server_accept(w, s);
}

static void set_defaults(struct http_server_config *c)
{
    c->max_header_bytes = c->max_header_bytes ? c->max_header_bytes : KIB(4);
    c->max_header_bytes = min_size(c->max_header_bytes, c->h2_only ? MIB(16) : MIB(1));
    c->max_arena_bytes = c->max_arena_bytes ? c->max_arena_bytes : MIB(16);
    c->header_timeout_ns = c->header_timeout_ns ? c->header_timeout_ns : SEC(10);
    c->idle_timeout_ns = c->idle_timeout_ns ? c->idle_timeout_ns : SEC(75);
    c->body_timeout_ns = c->body_timeout_ns ? c->body_timeout_ns : SEC(60);
    c->keepalive_timeout_ns = c->keepalive_timeout_ns ? c->keepalive_timeout_ns : SEC(5);
    c->max_streams = c->max_streams ? c->max_streams : 10000;
    c->h2 = c->h2 || c->h2_only;
}

int http_server_open(const char *address, const struct http_server_config *config,
                     struct http_server **ret, struct error *err)
{
    PRE(config->handle);
    size_t n = workers_count();
    struct http_server *s = mem_zalloc(sizeof *s + n * sizeof s->worker[0]);
    if (!s)
        return fail(err, EXHAUSTED, NULL, "out of memory");
    s->config = *config;
    set_defaults(&s->config);
    s->n_workers = n;
    for (size_t i = 0; i < n; i++) {
        s->worker[i].server = s;
        list_init(&s->worker[i].conns);
        waitq_init(&s->worker[i].drained);
    }
    int r = listener_open(address, on_accept, s, &s->listener, err);
    if (r < 0) {
        mem_free(s);
        return r;
    }
    (void)tls_context_ref(config->tls);
    *ret = s;
    return 0;
}

uint16_t http_server_port(const struct http_server *s)
{
    return listener_port(s->listener);
}

const char *http_server_address(const struct http_server *s)
{
    return listener_address(s->listener);
}

size_t http_server_active(const struct http_server *s)
{
    size_t n = 0;
    for (size_t i = 0; i < s->n_workers; i++)
        n += atomic_load_explicit(&s->worker[i].active, memory_order_acquire);
    return n;
}

/* Calls fn for each connection; it may take that one off the list. */
static void each_conn(struct server_worker *w, void (*fn)(struct server_conn *c, void *arg),
                      void *arg)
{
    if (list_empty(&w->conns))
        return;
    struct list rest = w->conns;
    rest.next->prev = rest.prev->next = &rest;
    list_init(&w->conns);
    for (struct list *node; (node = list_pop(&rest));) {
        list_append(&w->conns, node);
        fn(CONTAINER_OF(node, struct server_conn, link), arg);
    }
}

static void stop_one(struct server_conn *c, void *arg)
{
    (void)arg;
    c->ops->stop(c);
}

static void stop_conns(void *arg)
{
    struct server_worker *w = arg;
    w->stopping = true;
    each_conn(w, stop_one, NULL);
}

static const uint64_t HEADS_NS = MS(300); /* for requests that are on their way when we stop */

struct drain {
    struct server_worker *worker;
    uint64_t until; /* clock_now_ns() */
    size_t cut;
};

CO static int wait_drained(struct server_worker *w, uint64_t until)
{
    uint64_t now = clock_now_ns();
    DEADLINE(until == UINT64_MAX ? UINT64_MAX : until > now ? until - now : 0);
    while (!list_empty(&w->conns)) {
        int r = waitq_wait(&w->drained);
        if (r < 0)
            return r;
    }
    return 0;
}

static void hurry_one(struct server_conn *c, void *arg)
{
    if (c->ops->hurry)
        c->ops->hurry(c);
}

static void kill_one(struct server_conn *c, void *arg)
{
    *(size_t *)arg += c->ops->kill(c);
}

CO static void drain_conns(void *arg)
{
    struct drain *d = arg;
    struct server_worker *w = d->worker;
    SHIELD();
    if (wait_drained(w, min_u64(d->until, clock_now_ns() + HEADS_NS)) == 0)
        return;
    each_conn(w, hurry_one, NULL);
    if (wait_drained(w, d->until) == 0)
        return;
    each_conn(w, kill_one, &d->cut);
    (void)wait_drained(w, UINT64_MAX); /* their fibers still use our memory */
}

size_t http_server_stop(struct http_server *s, uint64_t grace_ns)
{
    if (!s->n_workers)
        return 0;
    listener_close(TAKE(s->listener));
    uint64_t now = clock_now_ns();
    uint64_t until = grace_ns < UINT64_MAX - now ? now + grace_ns : UINT64_MAX;
    size_t cut = 0;
    for (size_t i = 0; i < s->n_workers; i++)
        http_run_surely(i, "http-stop", stop_conns, &s->worker[i]);
    for (size_t i = 0; i < s->n_workers; i++) {
        struct drain d = { &s->worker[i], until, 0 };
        http_run_surely(i, "http-drain", drain_conns, &d);
        cut += d.cut;
    }
    return cut;
}

void http_server_free(struct http_server *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->n_workers; i++)
        h1_units_free(&s->worker[i]);
    tls_context_unref(s->config.tls);
    mem_free(s);
}
