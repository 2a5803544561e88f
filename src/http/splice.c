#include "http/splice.h"

#include "http/grpc.h"
#include "http/h2_session.h"

int splice_count(struct splice_way *w, str data, size_t max)
{
    w->bytes += data.n;
    while (data.n) {
        size_t n = min_size(w->left, data.n);
        w->left -= n;
        data = str_skip(data, n);
        while (!w->left && data.n && w->have < sizeof w->prefix) {
            w->prefix[w->have++] = (unsigned char)data.p[0];
            data = str_skip(data, 1);
        }
        if (w->have < sizeof w->prefix)
            continue;
        w->have = 0;
        w->messages++;
        w->left = (size_t)w->prefix[1] << 24 | (size_t)w->prefix[2] << 16 |
                  (size_t)w->prefix[3] << 8 | w->prefix[4];
        if (w->left > max)
            return -EXHAUSTED;
    }
    return 0;
}

static void keep(struct http_splice *s, str data)
{
    if (s->lost || s->x->started)
        return;
    str copy = { 0 };
    if (s->n_kept < SPLICE_KEPT_PARTS && s->kept_bytes + data.n <= SPLICE_KEPT_MAX)
        copy = arena_dup(s->x->arena, data);
    s->lost = !copy.p;
    if (s->lost)
        return;
    s->kept[s->n_kept++] = copy;
    s->kept_bytes += data.n;
}

bool splice_kept(const struct http_splice *s, str *ret)
{
    if (s->lost || s->x->started)
        return false;
    *ret = s->n_kept ? arena_join(s->x->arena, s->kept, s->n_kept) : S("");
    return ret->p;
}

/* As much as the other stream takes: 1, 0 = nothing, negative. */
static int move(struct http_splice *s, struct splice_way *w, struct h2_stream *from,
                struct h2_stream *to)
{
    str data = str_take(buf_str(&from->in), to->out.max - to->out.len);
    if (!data.n)
        return 0;
    int r = splice_count(w, data, s->max_message);
    if (r < 0)
        return r;
    if (w == &s->up)
        keep(s, data);
    buf_put(&to->out, data);
    if (!buf_ok(&to->out))
        return -EXHAUSTED;
    h2_stream_consumed(from, data.n);
    h2_stream_resume(to);
    return 1;
}

/* A callee that takes no more is no failure: its answer says what it thinks of the request. */
static int move_up(struct http_splice *s, struct h2_stream *from, struct h2_stream *to)
{
    if (s->up.done || to->closed || to->out_end)
        return 0;
    if (s->closed && from->in.len)
        return -PRECONDITION;
    if (from->in.len)
        return move(s, &s->up, from, to);
    if (!from->in_end)
        return from->closed ? h2_stream_failure(from) : 0;
    s->up.done = true;
    int r = h2_stream_end(to, NULL);
    return r < 0 ? r : 1;
}

/* Whether the answer is one that can be passed on as it comes. */
static bool passes(const struct http_response *res)
{
    str type = http_headers_get(&res->headers, S("content-type"));
    return res->status == 200 && !http_headers_has(&res->headers, S("grpc-status")) &&
           str_istarts(type, S("application/grpc"));
}

/* The head of the answer, when it is time for it. */
CO static int move_head(struct http_splice *s, struct h2_stream *from)
{
    const struct http_response *res;
    if (!from->head_done)
        return from->closed ? h2_stream_failure(from) : 0;
    int r = http_call_response(s->call, &res, NULL);
    if (r < 0)
        return r;
    if (from->in_end && !from->in.len) {
        s->down.done = true; /* there is no body */
        return 1;
    }
    if (!passes(res)) {
        from->discard = true;
        s->down.done = from->in_end || from->closed;
        h2_stream_consumed(from, from->in.len);
        return 1;
    }
    if (s->hold && !from->in.len)
        return from->closed ? h2_stream_failure(from) : 0;
    r = http_reply_start(s->x, 200, &res->headers, -1);
    return r < 0 ? r : 1;
}

CO static int move_down(struct http_splice *s, struct h2_stream *from, struct h2_stream *to)
{
    if (!s->x->started)
        return move_head(s, from);
    uint64_t before = s->down.bytes;
    int r = from->in.len ? move(s, &s->down, from, to) : 0;
    s->x->bytes_out += s->down.bytes - before;
    if (r || from->in.len)
        return r;
    if (!from->in_end)
        return from->closed ? h2_stream_failure(from) : 0;
    s->down.done = true;
    return 1;
}

/* Until something happens on either side. */
CO static int wait_for(struct h2_stream *a, struct h2_stream *b)
{
    struct fiber *me = fiber_self();
    a->reader = a->sender = b->reader = b->sender = me;
    int r = fiber_park();
    a->reader = a->sender = b->reader = b->sender = NULL;
    return r;
}

int http_splice(struct http_splice *s)
{
    struct h2_stream *x = h2_exchange_stream(s->x), *call = h2_call_stream(s->call);
    if (!x || !call)
        return -UNIMPLEMENTED;
    for (;;) {
        uint64_t before = s->up.bytes;
        int up = move_up(s, x, call);
        s->x->bytes_in += s->up.bytes - before;
        int down = up < 0 ? 0 : move_down(s, call, x);
        if (up < 0 || down < 0)
            return up < 0 ? up : down;
        if (s->down.done)
            return 0;
        if (x->closed)
            return h2_stream_failure(x);
        int r = up || down ? 0 : wait_for(x, call);
        if (r < 0)
            return r;
    }
}
