#include "api/access.h"
#include "api/api.h"
#include "api/errors.h"
#include "api/grpc_proxy.h"
#include "api/grpc_reflect.h"
#include "api/internal.h"
#include "block/call/frames.h"
#include "block/call/unary.h"
#include "block/core/headers.h"
#include "block/core/relay.h"
#include "http/grpc.h"

/* The contract's ServiceInvocation (facts 3.4): what a daprd calls us by, and a Proa until it knows
 * us. */

static const char NO_ANSWER[] = "error invoking app channel: the app gave no answer";

/* An exchange with the app whose other side is a gRPC stream. */
struct inner {
    struct http_exchange x;
    struct http_exchange *outer;
    str pending;                   /* payload of the first frame */
    uint64_t seq_in, seq_out, got; /* got: bytes of the body */
    struct http_headers headers;   /* of the answer, held until there's a frame to go with */
    str held; /* of a gRPC app's one message, until its trailers are known; .p NULL = nothing */
    bool head_sent, failed;
    struct buf out;
    struct arena scratch; /* of the frame that is being read */
};

static struct inner *inner_of(struct http_exchange *x)
{
    return CONTAINER_OF(x, struct inner, x);
}

/* 1 and the next payload, 0 at the end, negative when the frames break the rules. */
CO static int next_data(struct inner *i, str *ret)
{
    if (i->pending.n) {
        *ret = i->pending;
        i->pending = S("");
        return 1;
    }
    for (;;) {
        str message;
        struct frame_request f;
        int r = grpc_recv(i->outer, FRAME_MESSAGE_MAX, &message);
        if (r <= 0)
            return r;
        arena_reset(&i->scratch);
        r = frame_unpack_request(message, &i->scratch, &f);
        if (r < 0 || f.has_request || (f.has_payload && f.seq != i->seq_in++))
            return -INVALID;
        if (!f.data.n)
            continue;
        *ret = f.data;
        return 1;
    }
}

/* A length that the caller has named must come true: the app waits for it. */
CO static int inner_read(struct http_exchange *x, str *ret_chunk)
{
    struct inner *i = inner_of(x);
    int r = next_data(i, ret_chunk);
    if (r > 0)
        i->got += ret_chunk->n;
    int64_t want = x->req.content_length;
    bool wrong = want >= 0 && (r > 0    ? i->got > (uint64_t)want
                               : r == 0 ? i->got < (uint64_t)want
                                        : false);
    r = wrong ? -INVALID : r;
    i->failed = i->failed || r == -INVALID;
    return r;
}

CO static int inner_start(struct http_exchange *x, int status, const struct http_headers *headers,
                          int64_t content_length)
{
    struct inner *i = inner_of(x);
    http_headers_init(&i->headers, x->arena);
    for (size_t k = 0; headers && k < headers->n; k++) { /* they outlive the caller's frame */
        str name = arena_dup(x->arena, headers->v[k].name);
        str value = arena_dup(x->arena, headers->v[k].value);
        if (!name.p || !value.p || http_headers_add(&i->headers, name, value) < 0)
            return -EXHAUSTED;
    }
    x->status = status;
    x->started = true;
    return 0;
}

/* The first frame's head; a gRPC app's status is taken off its headers (words.h). */
static void fill_head(struct inner *i, const struct http_headers *trailers,
                      struct frame_response *ret)
{
    *ret = (struct frame_response){ .status = i->x.status, .headers = i->headers };
    ret->grpc = words_take(&ret->headers, &ret->outcome, &ret->type_url);
    if (ret->grpc && trailers)
        ret->trailers = *trailers;
}

CO static int send_frame(struct inner *i, str data, const struct http_headers *trailers)
{
    struct frame_response head;
    bool first = !i->head_sent;
    buf_clear(&i->out);
    if (first)
        fill_head(i, trailers, &head);
    int r = frame_pack_response(first ? &head : NULL, data, i->seq_out, i->x.arena, &i->out);
    if (r < 0)
        return r;
    i->head_sent = true;
    i->seq_out += data.p != NULL;
    return grpc_send(i->outer, buf_str(&i->out));
}

CO static int send_body(struct inner *i, str data, const struct http_headers *trailers)
{
    int r = 0;
    for (; data.n && r >= 0; data = str_skip(data, FRAME_MAX))
        r = send_frame(i, str_take(data, FRAME_MAX), trailers);
    return r;
}

CO static int inner_write(struct http_exchange *x, str data)
{
    struct inner *i = inner_of(x);
    x->bytes_out += data.n;
    if (!i->head_sent && !i->held.p && http_headers_has(&i->headers, S(WORDS_STATUS))) {
        i->held = data; /* the channel's until the reply has ended */
        return 0;
    }
    int r = send_body(i, i->held, NULL);
    i->held = (str){ 0 };
    return r < 0 ? r : send_body(i, data, NULL);
}

CO static int inner_end(struct http_exchange *x, const struct http_headers *trailers)
{
    struct inner *i = inner_of(x);
    int r = send_body(i, i->held, trailers);
    if (r >= 0 && !i->head_sent)
        r = send_frame(i, (str){ 0 }, trailers);
    x->ended = true;
    return r < 0 ? r : grpc_finish(i->outer, OK, S(""), S(""), NULL);
}

static void inner_abort(struct http_exchange *x)
{
    inner_of(x)->failed = true;
    x->ended = true;
    http_reply_abort(inner_of(x)->outer);
}

static const struct http_exchange_ops inner_ops = {
    .read = inner_read,
    .start = inner_start,
    .write = inner_write,
    .end = inner_end,
    .abort = inner_abort,
};

CO static void refuse(struct http_exchange *x, enum code code, const char *text)
{
    (void)grpc_finish(x, code, str_c(text), S(""), NULL);
}

CO static void refuse_with(struct http_exchange *x, int r, const struct error *err)
{
    struct http_headers trailers;
    http_headers_init(&trailers, x->arena);
    (void)error_headers(err, &trailers);
    (void)grpc_finish(x, err->code ? err->code : (enum code) - r, str_c(err->text), S(""),
                      &trailers);
}

static int read_head(const struct frame_request *f, struct http_exchange *outer,
                     struct http_request *ret, str *ret_target)
{
    *ret = (struct http_request){ .method = f->verb.n ? f->verb : S(WORDS_NO_VERB),
                                  .content_length = f->content_length,
                                  .headers = f->headers };
    if (f->content_type.n &&
        http_headers_set(&ret->headers, S("content-type"), f->content_type) < 0)
        return -EXHAUSTED;
    int r = words_mark(&ret->headers, f->type_url);
    return r < 0 ? r : relay_target(outer->arena, f->method, f->query, ret_target);
}

CO static void call_stream(struct blocks *b, struct http_exchange *x)
{
    str message, target;
    struct frame_request f;
    struct inner i = { .outer = x };
    int r = grpc_recv(x, FRAME_MESSAGE_MAX, &message);
    r = r > 0 ? frame_unpack_request(message, x->arena, &f) : -INVALID;
    if (r < 0 || !f.has_request || (f.has_payload && f.seq != i.seq_in++) ||
        read_head(&f, x, &i.x.req, &target) < 0) {
        refuse(x, INVALID,
               "parsing InternalInvokeRequest error: the first message must hold a request "
               "with its message and metadata, payloads are numbered from 0");
        return;
    }
    i.x.ops = &inner_ops;
    i.x.arena = x->arena;
    i.x.peer = x->peer;
    i.x.peer_id = x->peer_id;
    i.x.local = x->local;
    i.x.version = 20;
    i.pending = f.data;
    buf_init(&i.out, FRAME_MESSAGE_MAX);
    arena_init(&i.scratch, 2 * FRAME_MESSAGE_MAX);
    struct error err = { 0 };
    struct internal_call call;
    internal_received(&call, b, &i.x.req, target, &x->req.headers);
    r = access_check(b, x->peer_id, target, i.x.req.method, &err);
    if (r >= 0)
        r = invoke_app(b, &i.x, target, &err);
    if (r < 0 && !x->ended)
        refuse_with(x, err.code ? r : -INTERNAL, &err);
    else if (!i.x.started && !x->ended)
        refuse(x, INTERNAL, NO_ANSWER);
    internal_answered(&call, i.x.started ? i.x.status : 500);
    buf_done(&i.out);
    arena_done(&i.scratch);
}

/* To the app, and its answer packed into *out. */
CO static int answer_unary(struct blocks *b, struct http_exchange *x, const struct frame_request *f,
                           struct http_request *req, struct buf *out, int *ret_status,
                           struct error *err)
{
    struct unary_answer answer;
    struct unary_request q = {
        .verb = f->verb,
        .method = f->method,
        .query = f->query,
        .data = f->data,
        .type_url = f->type_url,
        .content_type = f->content_type,
        .headers = req->headers,
        .peer = x->peer,
        .local = x->local,
    };
    int r = unary_invoke_app(b, &q, x->arena, &answer, err);
    if (r < 0)
        return r;
    struct frame_response head = {
        .status = answer.status,
        .grpc = answer.grpc,
        .outcome = answer.outcome,
        .content_type = answer.content_type,
        .type_url = answer.type_url,
        .headers = answer.headers,
        .trailers = answer.trailers,
    };
    *ret_status = answer.status;
    return frame_pack_unary(&head, answer.data, x->arena, out) < 0
               ? fail(err, EXHAUSTED, NULL,
                      "error invoking app channel: the answer is too large for CallLocal")
               : 0;
}

CO static void call_unary(struct blocks *b, struct http_exchange *x)
{
    str message, target;
    struct frame_request f;
    struct http_request req;
    int r = grpc_recv(x, FRAME_MESSAGE_MAX, &message), status = 500;
    r = r > 0 ? frame_unpack_unary(message, x->arena, &f) : -INVALID;
    if (r < 0 || read_head(&f, x, &req, &target) < 0) {
        refuse(x, INVALID,
               "parsing InternalInvokeRequest error: it must hold a message and metadata");
        return;
    }
    struct error err = { 0 };
    AUTO(buf_done) struct buf out;
    buf_init(&out, UNARY_ANSWER_MAX + MIB(1));
    struct internal_call call;
    internal_received(&call, b, &req, target, &x->req.headers);
    r = access_check(b, x->peer_id, target, req.method, &err);
    if (r >= 0)
        r = answer_unary(b, x, &f, &req, &out, &status, &err);
    if (r < 0)
        refuse_with(x, err.code ? r : -INTERNAL, &err);
    else if (grpc_send(x, buf_str(&out)) >= 0)
        (void)grpc_finish(x, OK, S(""), S(""), NULL);
    internal_answered(&call, status);
}

/* Reflection, or a service of the app's, which another sidecar passes on. */
CO static void pass_on(void *api, struct http_exchange *x)
{
    const struct api_config *config = api_config_of(api);
    size_t max = config->max_body_bytes ? (size_t)config->max_body_bytes : UINT32_MAX;
    struct error err = { 0 };
    str service, method;
    bool own = grpc_split_path(x->req.path, &service, &method) && reflect_serves(service);
    int r = own ? reflect_run(x, INTERNAL_SERVICE, &err)
                : grpc_proxy_internal(config->blocks, x, max, &err);
    if (r >= 0 && !x->ended)
        r = grpc_finish(x, OK, S(""), S(""), NULL);
    if (r < 0 && !x->ended)
        refuse_with(x, r, &err);
}

CO void api_handle_grpc_internal(void *api, struct http_exchange *x)
{
    struct blocks *b = api_blocks(api);
    str service, method;
    struct http_headers hello;
    http_headers_init(&hello, x->arena);
    if (!grpc_is_request(&x->req)) {
        (void)http_reply(x, 415, NULL, S("this port takes gRPC calls of other sidecars\n"));
        return;
    }
    if (!grpc_split_path(x->req.path, &service, &method) || !str_eq(service, S(INTERNAL_SERVICE))) {
        pass_on(api, x);
        return;
    }
    /* Tells a Proa that it may call in plain HTTP from now on. */
    if (http_headers_add(&hello, S(DIRECT_HEADER), S("1")) < 0 || grpc_send_headers(x, &hello) < 0)
        return;
    if (str_eq(method, S("CallLocalStream")))
        call_stream(b, x);
    else if (str_eq(method, S("CallLocal")))
        call_unary(b, x);
    else
        refuse(x, UNIMPLEMENTED, "unknown method");
}
