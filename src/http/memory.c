#include "http/memory.h"

static struct http_memory *memory_of(struct http_exchange *x)
{
    return CONTAINER_OF(x, struct http_memory, x);
}

CO static int memory_read(struct http_exchange *x, str *ret_chunk)
{
    struct http_memory *m = memory_of(x);
    if (!m->body.n)
        return 0;
    *ret_chunk = m->body;
    m->body = str_skip(m->body, m->body.n);
    return 1;
}

static int copy_headers(struct http_exchange *x, const struct http_headers *from,
                        struct http_headers *to)
{
    for (size_t i = 0; from && i < from->n; i++) {
        str name = arena_dup(x->arena, from->v[i].name);
        str value = arena_dup(x->arena, from->v[i].value);
        if (!name.p || !value.p || http_headers_add(to, name, value) < 0)
            return -EXHAUSTED;
    }
    return 0;
}

CO static int memory_start(struct http_exchange *x, int status, const struct http_headers *headers,
                           int64_t content_length)
{
    x->status = status;
    x->started = true;
    return copy_headers(x, headers, &memory_of(x)->reply_headers);
}

CO static int memory_write(struct http_exchange *x, str data)
{
    struct http_memory *m = memory_of(x);
    buf_put(&m->reply, data);
    m->too_large = !buf_ok(&m->reply);
    return m->too_large ? -RANGE : 0;
}

CO static int memory_end(struct http_exchange *x, const struct http_headers *trailers)
{
    x->ended = true;
    return copy_headers(x, trailers, &memory_of(x)->reply_trailers);
}

static void memory_abort(struct http_exchange *x)
{
    memory_of(x)->aborted = true;
    x->ended = true;
}

static const struct http_exchange_ops memory_ops = {
    .read = memory_read,
    .start = memory_start,
    .write = memory_write,
    .end = memory_end,
    .abort = memory_abort,
};

void http_memory_init(struct http_memory *m, const struct http_request *req, str body,
                      struct arena *a, size_t max_reply)
{
    *m = (struct http_memory){ .body = body };
    m->x = (struct http_exchange){
        .ops = &memory_ops,
        .req = *req,
        .arena = a,
        .peer = "",
        .local = "",
        .version = 11,
    };
    http_headers_init(&m->reply_headers, a);
    http_headers_init(&m->reply_trailers, a);
    buf_init(&m->reply, max_reply);
}

void http_memory_done(struct http_memory *m)
{
    buf_done(&m->reply);
}
