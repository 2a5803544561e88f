#include "block/call/unary.h"

#include "block/core/relay.h"
#include "http/memory.h"

static int no_memory(struct error *err)
{
    return fail(err, EXHAUSTED, NULL, "the request is too large for its memory");
}

/* The message's content type is the exchange's; the metadata's may be that of the gRPC call. */
static int build(const struct unary_request *req, struct arena *a, struct http_request *ret,
                 struct error *err)
{
    *ret = (struct http_request){
        .method = req->verb.n ? req->verb : S(WORDS_NO_VERB),
        .query = req->query,
        .content_length = (int64_t)req->data.n,
        .headers = req->headers,
    };
    if (!http_is_field_value(req->content_type) || !http_is_field_value(req->type_url))
        return fail(err, INVALID, NULL,
                    "content_type and data.type_url can't hold control characters");
    ret->headers.arena = a;
    ret->headers.cap = ret->headers.n; /* the caller's own list stays as it is */
    struct http_header *v = arena_alloc(a, (req->headers.n + 1) * sizeof *v);
    if (!v)
        return no_memory(err);
    if (req->headers.n)
        memcpy(v, req->headers.v, req->headers.n * sizeof *v);
    ret->headers.v = v;
    int r = 0;
    if (req->content_type.n)
        r = http_headers_set(&ret->headers, S("content-type"), req->content_type);
    else
        http_headers_remove(&ret->headers, S("content-type"));
    return r < 0 || words_mark(&ret->headers, req->type_url) < 0 ? no_memory(err) : 0;
}

static int read_answer(struct http_memory *m, struct arena *a, struct unary_answer *ret,
                       struct error *err)
{
    if (m->too_large)
        return fail(err, EXHAUSTED, NULL, "the answer is larger than %d bytes", UNARY_ANSWER_MAX);
    if (!m->x.ended || m->aborted)
        return fail(err, INTERNAL, NULL, "error invoking app channel: no whole answer came");
    *ret = (struct unary_answer){ .status = m->x.status,
                                  .headers = m->reply_headers,
                                  .trailers = m->reply_trailers };
    str type = http_headers_get(&ret->headers, S("content-type"));
    ret->content_type = type.p ? type : S("");
    http_headers_remove(&ret->headers, S("content-type"));
    http_headers_remove(&ret->headers, S("content-length"));
    ret->data = arena_dup(a, buf_str(&m->reply));
    if (!ret->data.p)
        return fail(err, EXHAUSTED, NULL, "the answer doesn't fit into memory");
    ret->grpc = words_take(&ret->headers, &ret->outcome, &ret->type_url);
    if (!ret->grpc)
        ret->outcome = (struct words_status){ code_of_http_status(ret->status), ret->data, S("") };
    return 0;
}

CO int unary_invoke(struct blocks *b, const struct invoke_target *t,
                    const struct unary_request *req, struct arena *a, struct unary_answer *ret,
                    struct error *err)
{
    struct http_memory m;
    struct http_request head;
    struct invoke_target target = *t;
    int r = build(req, a, &head, err);
    if (r < 0)
        return r;
    target.grpc = true;
    http_memory_init(&m, &head, req->data, a, UNARY_ANSWER_MAX);
    m.x.peer = req->peer ? req->peer : "";
    m.x.local = req->local ? req->local : "";
    r = invoke(b, &target, &m.x, err);
    if (r >= 0)
        r = read_answer(&m, a, ret, err);
    http_memory_done(&m);
    return r;
}

CO int unary_invoke_app(struct blocks *b, const struct unary_request *req, struct arena *a,
                        struct unary_answer *ret, struct error *err)
{
    struct http_memory m;
    struct http_request head;
    str target;
    int r = build(req, a, &head, err);
    if (r >= 0 && relay_target(a, req->method, req->query, &target) < 0)
        r = no_memory(err);
    if (r < 0)
        return r;
    http_memory_init(&m, &head, req->data, a, UNARY_ANSWER_MAX);
    m.x.peer = req->peer ? req->peer : "";
    m.x.local = req->local ? req->local : "";
    r = invoke_app(b, &m.x, target, err);
    if (r >= 0)
        r = read_answer(&m, a, ret, err);
    http_memory_done(&m);
    return r;
}
