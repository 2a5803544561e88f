#include "http/h2_session.h"

#include "base/clock.h"

enum {
    STREAM_WINDOW = 64 << 10,
    STREAM_OUT = 8 << 10, /* held of what a stream sends: a thousand slow ones must stay cheap */
    CONN_WINDOW = 1 << 20,
    HELD_MAX = 4 << 20,    /* unread bytes of a connection: then its window isn't opened again */
    SEND_BATCH = 64 << 10, /* bytes a write */
    READ_BATCH = 32 << 10, /* bytes a read */
    READS_PER_EVENT = 16,
    SETTINGS_MAX = 4,
    LISTS_MAX = 32 << 20, /* header lists of a client's open streams: HPACK makes 4 KiB of a byte */
};

static _Thread_local char scratch[SEND_BATCH]; /* a worker's, used without suspending */

/* ---- waking ---- */

static void wake(struct h2_stream *s)
{
    if (s->reader)
        (void)fiber_wake(s->reader, 0);
    if (s->sender)
        (void)fiber_wake(s->sender, 0);
}

static void close_stream(struct h2_stream *s, uint32_t code)
{
    if (s->closed)
        return;
    s->closed = s->lingers = true;
    s->conn->n_lingering++;
    s->error = code;
    list_remove(&s->link);
    wake(s);
    s->conn->side->closed(s);
}

/* ---- nghttp2's callbacks: never more than notes and wakes ---- */

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
    struct h2_conn *c = arg;
    if (!c->side->server || frame->headers.cat != NGHTTP2_HCAT_REQUEST)
        return 0;
    struct h2_stream *s = c->side->open(c, frame->hd.stream_id);
    if (!s)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    nghttp2_session_set_stream_user_data(session, frame->hd.stream_id, s);
    return 0;
}

static int keep_header(struct h2_stream *s, str name, str value)
{
    str copy = arena_dup(s->arena, value);
    if (!copy.p)
        return -EXHAUSTED;
    if (name.p[0] != ':') {
        str own = arena_dup(s->arena, name);
        struct http_headers *to = s->head_done ? &s->trailers : &s->headers;
        return own.p ? http_headers_add(to, own, copy) : -EXHAUSTED;
    }
    if (str_eq(name, S(":method")))
        s->method = copy;
    else if (str_eq(name, S(":path")))
        s->path = copy;
    else if (str_eq(name, S(":authority")))
        s->authority = copy;
    else if (str_eq(name, S(":status")))
        for (size_t i = s->status = 0; i < copy.n; i++)
            s->status = s->status * 10 + (copy.p[i] - '0'); /* nghttp2 has checked the digits */
    return 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, nghttp2_rcbuf *name,
                     nghttp2_rcbuf *value, uint8_t flags, void *arg)
{
    (void)flags;
    struct h2_conn *c = arg;
    struct h2_stream *s = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    nghttp2_vec n = nghttp2_rcbuf_get_buf(name), v = nghttp2_rcbuf_get_buf(value);
    if (!s)
        return 0;
    size_t size = n.len + v.len + 32; /* RFC 9113 section 6.5.2 */
    s->header_bytes += size;
    s->list_bytes += size;
    c->list_bytes += size;
    if (c->side->server && c->list_bytes > LISTS_MAX) {
        c->verdict = NGHTTP2_ENHANCE_YOUR_CALM;
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    }
    if (s->header_bytes > c->max_header_bytes) {
        s->headers_too_large = true;
        /* It must be decoded on, for the sake of HPACK's table, but not without end. */
        bool flood = s->header_bytes > c->max_header_bytes * 4 + MIB(1);
        if (flood)
            c->verdict = NGHTTP2_ENHANCE_YOUR_CALM;
        return flood ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
    }
    if (keep_header(s, str_of(n.base, n.len), str_of(v.base, v.len)) < 0)
        s->no_memory = true;
    return 0;
}

static void end_of_headers(struct h2_stream *s)
{
    if (!s->head_done && !s->conn->side->server && s->status < 200 && !s->headers_too_large) {
        s->headers.n = 0; /* an interim answer */
        s->header_bytes = 0;
        return;
    }
    bool trailers = s->head_done;
    s->head_done = true;
    s->header_bytes = 0;
    if (!trailers)
        s->conn->side->headers(s);
}

static int on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
    struct h2_conn *c = arg;
    if (frame->hd.type == NGHTTP2_GOAWAY && c->side->draining)
        c->side->draining(c);
    if (frame->hd.type == NGHTTP2_SETTINGS && !c->settled) {
        c->settled = true;
        if (c->settler)
            (void)fiber_wake(c->settler, 0);
    }
    if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA)
        return 0;
    struct h2_stream *s = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (!s)
        return 0;
    bool end = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;
    if (end)
        s->in_end = true;
    if (frame->hd.type == NGHTTP2_HEADERS)
        end_of_headers(s);
    wake(s);
    return 0;
}

/* Opens the connection's window again for n bytes that nobody holds any more. */
static void grant_conn(struct h2_conn *c, size_t n)
{
    c->held -= n;
    if (!c->session)
        return;
    size_t late = min_size(c->deferred, n);
    if (late)
        (void)nghttp2_session_consume_connection(c->session, late);
    c->deferred -= late;
}

/* A slow reader stops its own stream at once; the connection's window is opened without regard to
 * readers until they hold HELD_MAX together, so that one doesn't stop the others. */
static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *p, size_t n,
                   void *arg)
{
    (void)flags;
    struct h2_conn *c = arg;
    struct h2_stream *s = nghttp2_session_get_stream_user_data(session, id);
    if (!s || s->discard) {
        (void)nghttp2_session_consume(session, id, n);
        if (s) {
            s->discarded += n;
            wake(s);
        }
        return 0;
    }
    buf_put(&s->in, str_of(p, n));
    if (!buf_ok(&s->in)) {
        (void)nghttp2_session_consume_connection(session, n);
        return nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, id, NGHTTP2_INTERNAL_ERROR);
    }
    c->held += n;
    if (c->held <= HELD_MAX)
        (void)nghttp2_session_consume_connection(session, n);
    else
        c->deferred += n;
    wake(s);
    return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t code, void *arg)
{
    (void)arg;
    struct h2_stream *s = nghttp2_session_get_stream_user_data(session, id);
    if (s)
        close_stream(s, code);
    return 0;
}

static int on_frame_send(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
    struct h2_conn *c = arg;
    bool body = frame->hd.type == NGHTTP2_DATA || frame->hd.type == NGHTTP2_HEADERS;
    if (!body || !(frame->hd.flags & NGHTTP2_FLAG_END_STREAM))
        return 0;
    struct h2_stream *s = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (s) {
        s->out_sent = true;
        c->side->sent(s);
    }
    return 0;
}

/* A request that could not even be sent has no stream yet: it is found by hand. */
static int on_frame_not_send(nghttp2_session *session, const nghttp2_frame *frame, int code,
                             void *arg)
{
    (void)session, (void)code;
    struct h2_conn *c = arg;
    if (frame->hd.type != NGHTTP2_HEADERS || c->side->server)
        return 0;
    LIST_EACH (&c->streams, node) {
        struct h2_stream *s = CONTAINER_OF(node, struct h2_stream, link);
        if (s->id == frame->hd.stream_id) {
            close_stream(s, NGHTTP2_REFUSED_STREAM);
            break;
        }
    }
    return 0;
}

static ssize_t on_more(nghttp2_session *session, int32_t id, uint8_t *to, size_t length,
                       uint32_t *flags, nghttp2_data_source *source, void *arg)
{
    (void)source, (void)arg;
    struct h2_stream *s = nghttp2_session_get_stream_user_data(session, id);
    if (!s)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    size_t n = min_size(length, s->out.len);
    if (!n && !s->out_end) {
        s->deferred = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    if (n)
        memcpy(to, s->out.p + s->out.head, n);
    buf_consume(&s->out, n);
    if (s->sender)
        (void)fiber_wake(s->sender, 0);
    if (s->out.len || !s->out_end)
        return (ssize_t)n;
    *flags |= NGHTTP2_DATA_FLAG_EOF;
    if (s->n_trailer_nv) {
        *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
        if (nghttp2_submit_trailer(session, id, s->trailer_nv, s->n_trailer_nv) < 0)
            return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    }
    return (ssize_t)n;
}

nghttp2_data_provider h2_stream_provider(struct h2_stream *s)
{
    return (nghttp2_data_provider){ .source.ptr = s, .read_callback = on_more };
}

/* ---- sending ---- */

static void check_over(struct h2_conn *c)
{
    bool over = c->session && !c->writer && !nghttp2_session_want_write(c->session) &&
                (!nghttp2_session_want_read(c->session) ||
                 (c->closing && !c->n_streams && list_empty(&c->streams)));
    c->over = over;
    if (over)
        h2_conn_fail(c);
}

/* Fills the scratch buffer with frames; 0 = there are none. */
static ssize_t gather(struct h2_conn *c)
{
    size_t n = 0;
    while (n <= SEND_BATCH / 2) { /* a frame has 16 KiB at most: it always fits */
        const uint8_t *p;
        ssize_t got = nghttp2_session_mem_send(c->session, &p);
        if (got < 0)
            return -INTERNAL;
        if (!got)
            break;
        INV(n + (size_t)got <= sizeof scratch);
        memcpy(scratch + n, p, (size_t)got);
        n += (size_t)got;
    }
    return (ssize_t)n;
}

CO static int wait_written(struct h2_conn *c)
{
    while (c->out.len && !c->failed) {
        DEADLINE(c->write_timeout_ns);
        str rest = buf_str(&c->out);
        int r = stream_write(c->stream, rest);
        if (r < 0)
            return r;
        buf_clear(&c->out);
    }
    return 0;
}

static void write_rest(void *arg)
{
    struct h2_conn *c = arg;
    int r = wait_written(c);
    c->writer = NULL;
    buf_done(&c->out);
    if (c->failed || r < 0)
        h2_conn_fail(c);
    else
        h2_conn_flush(c);
}

/* Returns whether the socket took all of it; otherwise a fiber waits with the rest. */
static int send_batch(struct h2_conn *c, size_t n)
{
    struct iovec iov = { scratch, n };
    ssize_t done = stream_try_writev(c->stream, &iov, 1);
    if (done < 0)
        return (int)done;
    if ((size_t)done == n)
        return 1;
    buf_put(&c->out, str_of(scratch + done, n - (size_t)done));
    c->writer = buf_ok(&c->out) ? fiber_spawn("h2-write", write_rest, c) : NULL;
    return c->writer ? 0 : -EXHAUSTED;
}

static void on_flush(struct flush *f)
{
    struct h2_conn *c = CONTAINER_OF(f, struct h2_conn, flush);
    while (!c->writer && c->session) {
        ssize_t n = gather(c);
        int r = n > 0 ? send_batch(c, (size_t)n) : (int)n;
        if (r < 0) {
            h2_conn_fail(c);
            return;
        }
        if (!n || !r)
            break;
    }
    check_over(c);
}

void h2_conn_flush(struct h2_conn *c)
{
    if (c->session && !c->writer)
        flush_later(&c->flush);
}

/* ---- receiving ---- */

static int receive(struct h2_conn *c, str bytes)
{
    uint64_t now = clock_now_ns();
    h2_keepalive_heard(&c->keepalive, now);
    size_t good = h2_guard_read(&c->guard, bytes, now, &c->verdict);
    ssize_t n = nghttp2_session_mem_recv(c->session, (const uint8_t *)bytes.p, good);
    if (n == NGHTTP2_ERR_FLOODED)
        c->verdict = NGHTTP2_ENHANCE_YOUR_CALM; /* more answers are queued than it keeps */
    if (c->verdict != NGHTTP2_NO_ERROR) { /* tell them why, if it can be done without waiting */
        (void)nghttp2_session_terminate_session(c->session, c->verdict);
        ssize_t last = c->writer ? 0 : gather(c);
        struct iovec iov = { scratch, last > 0 ? (size_t)last : 0 };
        (void)!stream_try_writev(c->stream, &iov, 1);
        return -EXHAUSTED;
    }
    return n < 0 ? -INVALID : 0;
}

static void on_readable(void *arg, bool timed_out);

static void wait_readable(struct h2_conn *c)
{
    uint64_t wait = h2_keepalive_wait(&c->keepalive, c->n_streams, clock_now_ns());
    stream_on_readable(c->stream, wait, on_readable, c);
}

/* Nothing has come for a while. */
static void on_quiet(struct h2_conn *c)
{
    switch (h2_keepalive_look(&c->keepalive, c->n_streams, clock_now_ns())) {
    case H2_DEAD:
        h2_conn_fail(c);
        return;
    case H2_IDLE:
        if (c->side->expired)
            c->side->expired(c);
        h2_conn_drain(c);
        return;
    case H2_PING:
        (void)nghttp2_submit_ping(c->session, NGHTTP2_FLAG_NONE, NULL);
        break;
    case H2_QUIET:
        break;
    }
    wait_readable(c);
    h2_conn_flush(c);
}

static void on_readable(void *arg, bool timed_out)
{
    struct h2_conn *c = arg;
    if (timed_out) {
        on_quiet(c);
        return;
    }
    static _Thread_local char in[READ_BATCH];
    for (int i = 0; i < READS_PER_EVENT; i++) {
        ssize_t n = stream_try_read(c->stream, in, sizeof in);
        if (n == -ABORTED)
            break;
        if (n <= 0 || receive(c, str_of(in, (size_t)n)) < 0) {
            h2_conn_fail(c);
            return;
        }
        if ((size_t)n < sizeof in)
            break;
    }
    wait_readable(c);
    h2_conn_flush(c);
}

/* ---- the connection ---- */

static void set_callbacks(nghttp2_session_callbacks *cb)
{
    nghttp2_session_callbacks_set_on_begin_headers_callback(cb, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback2(cb, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame_recv);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_close);
    nghttp2_session_callbacks_set_on_frame_send_callback(cb, on_frame_send);
    nghttp2_session_callbacks_set_on_frame_not_send_callback(cb, on_frame_not_send);
}

/* What the guard counts: nghttp2 bears 33 resets a second, fewer than callers who hedge send, and 8
 * CONTINUATIONs, fewer than a list of max_header_bytes may need. */
static void lift_limits(nghttp2_option *option)
{
    (void)option;
#ifdef HAVE_STREAM_RESET_RATE_LIMIT
    nghttp2_option_set_stream_reset_rate_limit(option, 1000000, 1000000);
#endif
#ifdef HAVE_MAX_CONTINUATIONS
    nghttp2_option_set_max_continuations(option, 1000000);
#endif
}

static int new_session(struct h2_conn *c)
{
    nghttp2_session_callbacks *cb = NULL;
    nghttp2_option *option = NULL;
    int r = nghttp2_session_callbacks_new(&cb);
    if (r == 0)
        r = nghttp2_option_new(&option);
    if (r == 0) {
        set_callbacks(cb);
        nghttp2_option_set_no_auto_window_update(option, 1);
        nghttp2_option_set_no_closed_streams(option, 1);
        lift_limits(option);
        r = c->side->server ? nghttp2_session_server_new2(&c->session, cb, c, option)
                            : nghttp2_session_client_new2(&c->session, cb, c, option);
    }
    nghttp2_option_del(option);
    nghttp2_session_callbacks_del(cb);
    return r < 0 ? -EXHAUSTED : 0;
}

int h2_conn_init(struct h2_conn *c, const struct h2_side *side, struct stream *stream,
                 const nghttp2_settings_entry *settings, size_t n_settings)
{
    PRE(n_settings <= SETTINGS_MAX);
    c->side = side;
    c->stream = stream;
    uint64_t now = clock_now_ns();
    h2_guard_init(&c->guard, side->server, c->max_header_bytes, now);
    h2_keepalive_start(&c->keepalive, now);
    list_init(&c->streams);
    buf_init(&c->out, SEND_BATCH);
    flush_init(&c->flush, on_flush);
    int r = new_session(c);
    if (r < 0)
        return r;
    if (nghttp2_submit_settings(c->session, NGHTTP2_FLAG_NONE, settings, n_settings) < 0 ||
        nghttp2_session_set_local_window_size(c->session, NGHTTP2_FLAG_NONE, 0, CONN_WINDOW) < 0) {
        nghttp2_session_del(TAKE(c->session));
        return -EXHAUSTED;
    }
    return 0;
}

void h2_conn_run(struct h2_conn *c, str received)
{
    stream_on_hangup(c->stream, NULL, NULL); /* a read tells as well */
    if (received.n && receive(c, received) < 0) {
        h2_conn_fail(c);
        return;
    }
    wait_readable(c);
    h2_conn_flush(c);
}

static void check_gone(struct h2_conn *c)
{
    if (!c->failed || c->n_streams || c->writer)
        return;
    buf_done(&c->out);
    c->side->gone(c);
}

void h2_conn_fail(struct h2_conn *c)
{
    if (c->failed) {
        check_gone(c);
        return;
    }
    c->failed = true;
    if (c->side->draining)
        c->side->draining(c);
    flush_cancel(&c->flush);
    (void)stream_off_readable(c->stream);
    nghttp2_session *session = TAKE(c->session);
    c->n_streams++; /* holds it while the streams are told */
    while (!list_empty(&c->streams))
        close_stream(CONTAINER_OF(c->streams.next, struct h2_stream, link), NGHTTP2_CONNECT_ERROR);
    nghttp2_session_del(session);
    if (c->writer)
        fiber_cancel(c->writer);
    if (c->settler)
        (void)fiber_wake(c->settler, 0);
    h2_conn_release(c);
}

int h2_conn_settle(struct h2_conn *c)
{
    int r = 0;
    c->n_streams++; /* holds it */
    while (!c->settled && !c->failed && r == 0) {
        c->settler = fiber_self();
        r = fiber_park();
        c->settler = NULL;
    }
    if (c->failed)
        r = -UNAVAILABLE;
    if (r < 0)
        h2_conn_fail(c);
    h2_conn_release(c);
    return r;
}

void h2_conn_drain(struct h2_conn *c)
{
    if (!c->session)
        return;
    c->closing = true;
    (void)nghttp2_submit_goaway(c->session, NGHTTP2_FLAG_NONE,
                                nghttp2_session_get_last_proc_stream_id(c->session),
                                NGHTTP2_NO_ERROR, NULL, 0);
    h2_conn_flush(c);
}

void h2_conn_release(struct h2_conn *c)
{
    if (!--c->n_streams)
        c->keepalive.free_at = clock_now_ns();
    if (c->closing && !c->n_streams)
        h2_conn_flush(c); /* which sees that it is over */
    check_gone(c);
}

/* ---- streams ---- */

void h2_stream_init(struct h2_stream *s, struct h2_conn *c, int32_t id, struct arena *arena)
{
    *s = (struct h2_stream){ .conn = c, .id = id, .arena = arena };
    http_headers_init(&s->headers, arena);
    http_headers_init(&s->trailers, arena);
    buf_init(&s->in, STREAM_WINDOW);
    buf_init(&s->given, STREAM_WINDOW);
    buf_init(&s->out, STREAM_OUT);
    list_append(&c->streams, &s->link);
    c->n_streams++;
}

void h2_stream_done(struct h2_stream *s, uint32_t code)
{
    struct h2_conn *c = s->conn;
    list_remove(&s->link);
    if (!s->closed && c->session) {
        nghttp2_session_set_stream_user_data(c->session, s->id, NULL);
        (void)nghttp2_submit_rst_stream(c->session, NGHTTP2_FLAG_NONE, s->id, code);
        h2_conn_flush(c);
    }
    c->list_bytes -= s->list_bytes;
    c->n_lingering -= s->lingers;
    grant_conn(c, s->in.len + s->given.len);
    buf_done(&s->in);
    buf_done(&s->given);
    buf_done(&s->out);
    h2_conn_release(c);
}

int h2_stream_failure(const struct h2_stream *s)
{
    switch (s->error) {
    case NGHTTP2_PROTOCOL_ERROR:
    case NGHTTP2_FLOW_CONTROL_ERROR:
    case NGHTTP2_FRAME_SIZE_ERROR:
    case NGHTTP2_COMPRESSION_ERROR:
        return -INVALID;
    default:
        return s->conn->side->server ? -CANCELLED : -UNAVAILABLE;
    }
}

int h2_stream_wait(struct h2_stream *s)
{
    s->reader = fiber_self();
    int r = fiber_park();
    s->reader = NULL;
    return r;
}

static void grant(struct h2_stream *s, size_t n)
{
    struct h2_conn *c = s->conn;
    grant_conn(c, n);
    if (!c->session)
        return;
    if (!s->closed)
        (void)nghttp2_session_consume_stream(c->session, s->id, n);
    h2_conn_flush(c);
}

void h2_stream_consumed(struct h2_stream *s, size_t n)
{
    buf_consume(&s->in, n);
    grant(s, n);
}

void h2_stream_discard(struct h2_stream *s)
{
    size_t held = s->given.len + s->in.len;
    s->discard = true;
    s->discarded = s->in.len;
    buf_done(&s->given);
    buf_done(&s->in);
    grant(s, held);
}

/* What the reader held is granted to the peer only when it asks for more: 64 KiB are all there is.
 */
int h2_stream_read(struct h2_stream *s, str *ret)
{
    size_t held = s->given.len;
    buf_clear(&s->given);
    if (held)
        grant(s, held);
    while (!s->in.len) {
        if (s->in_end)
            return 0;
        if (s->closed)
            return h2_stream_failure(s);
        int r = h2_stream_wait(s);
        if (r < 0)
            return r;
    }
    struct buf empty = s->given;
    s->given = s->in;
    s->in = empty;
    *ret = buf_str(&s->given);
    return 1;
}

void h2_stream_resume(struct h2_stream *s)
{
    struct h2_conn *c = s->conn;
    if (s->deferred && c->session && !s->closed) {
        s->deferred = false;
        (void)nghttp2_session_resume_data(c->session, s->id);
    }
    h2_conn_flush(c);
}

int h2_stream_write(struct h2_stream *s, str data)
{
    while (data.n) {
        if (s->closed)
            return h2_stream_failure(s);
        str piece = str_take(data, s->out.max - s->out.len);
        if (piece.n) {
            buf_put(&s->out, piece);
            if (!buf_ok(&s->out))
                return -EXHAUSTED;
            data = str_skip(data, piece.n);
            h2_stream_resume(s);
            continue;
        }
        s->sender = fiber_self();
        int r = fiber_park();
        s->sender = NULL;
        if (r < 0)
            return r;
    }
    return s->closed ? h2_stream_failure(s) : 0;
}

int h2_stream_end(struct h2_stream *s, const struct http_headers *trailers)
{
    if (s->closed)
        return h2_stream_failure(s);
    if (trailers && trailers->n) {
        int r = h2_make_nv(s->arena, NULL, 0, trailers, -1, &s->trailer_nv, &s->n_trailer_nv);
        for (size_t i = 0; r == 0 && i < s->n_trailer_nv; i++) { /* they go out when we're gone */
            nghttp2_nv *nv = &s->trailer_nv[i];
            nv->value = (uint8_t *)arena_cstr(s->arena, str_of(nv->value, nv->valuelen));
            r = nv->value ? 0 : -EXHAUSTED;
        }
        if (r < 0) {
            s->n_trailer_nv = 0;
            return r;
        }
    }
    s->out_end = true;
    h2_stream_resume(s);
    return 0;
}

/* ---- header blocks ---- */

/* RFC 9113 section 8.2.2: fields of the connection have no place here. */
static bool forbidden(str name)
{
    static const str names[] = { S("Connection"),        S("Keep-Alive"),    S("Proxy-Connection"),
                                 S("Transfer-Encoding"), S("Upgrade"),       S("Host"),
                                 S("Content-Length"),    S("HTTP2-Settings") };
    for (size_t i = 0; i < COUNT(names); i++)
        if (names[i].n == name.n && str_ieq(names[i], name))
            return true;
    return false;
}

static nghttp2_nv make_one(str name, str value)
{
    return (nghttp2_nv){ (uint8_t *)name.p, (uint8_t *)value.p, name.n, value.n,
                         NGHTTP2_NV_FLAG_NONE };
}

static str lower(struct arena *arena, str s)
{
    char *p = arena_alloc(arena, s.n);
    for (size_t i = 0; p && i < s.n; i++)
        p[i] = s.p[i] >= 'A' && s.p[i] <= 'Z' ? s.p[i] | 0x20 : s.p[i];
    return str_of(p, s.n);
}

int h2_make_nv(struct arena *arena, const struct http_header *pseudo, size_t n_pseudo,
               const struct http_headers *h, int64_t content_length, nghttp2_nv **ret,
               size_t *ret_n)
{
    size_t max = n_pseudo + (h ? h->n : 0) + 1, n = 0;
    nghttp2_nv *nv = arena_alloc(arena, max * sizeof *nv);
    if (!nv)
        return -EXHAUSTED;
    for (size_t i = 0; i < n_pseudo; i++) {
        if (!http_is_field_value(pseudo[i].value))
            return -INVALID;
        nv[n++] = make_one(pseudo[i].name, pseudo[i].value);
    }
    for (size_t i = 0; h && i < h->n; i++) {
        str name = h->v[i].name, value = h->v[i].value;
        if (!http_is_token(name) || !http_is_field_value(value))
            return -INVALID;
        if (forbidden(name) || (str_ieq(name, S("TE")) && !str_ieq(value, S("trailers"))))
            continue;
        name = lower(arena, name);
        if (!name.p)
            return -EXHAUSTED;
        nv[n++] = make_one(name, value);
    }
    if (content_length >= 0) {
        str text = arena_printf(arena, "%lld", (long long)content_length);
        if (!text.p)
            return -EXHAUSTED;
        nv[n++] = make_one(S("content-length"), text);
    }
    *ret = nv;
    *ret_n = n;
    return 0;
}
