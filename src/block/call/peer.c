#include "block/call/peer.h"
#include "block/app/context.h"

#include "block/call/frames.h"
#include "block/call/invoke.h"
#include "block/core/headers.h"
#include "http/grpc.h"
#include "telemetry/trace.h"

static const str STREAM = { "/" INTERNAL_SERVICE "/CallLocalStream",
                            sizeof "/" INTERNAL_SERVICE "/CallLocalStream" - 1 };
static const str UNARY = { "/" INTERNAL_SERVICE "/CallLocal",
                           sizeof "/" INTERNAL_SERVICE "/CallLocal" - 1 };

/* A stream to a peer: the relay's sink while the request goes out, its answer's source afterwards.
 */
struct peer_stream {
    struct http_call *call;
    struct http_request req; /* not yet sent: it goes with the first frame */
    bool unary;              /* CallLocal: one message each way */
    bool unimplemented;      /* the peer has no such method */
    bool began, half_closed;
    uint64_t seq_out, seq_in;
    struct buf out;
    struct arena scratch; /* of the frame that is being read */
    str pending;          /* body that came with the first answer */
    struct frame_response first;
};

CO static int send_frame(struct peer_stream *s, str data, bool last)
{
    struct arena *a = http_call_arena(s->call);
    buf_clear(&s->out);
    const struct http_request *head = s->began ? NULL : &s->req;
    int r = frame_pack_request(head, data, s->seq_out, a, &s->out);
    if (r < 0)
        return r;
    s->began = true;
    s->seq_out += data.p != NULL;
    s->half_closed = last;
    return grpc_call_send(s->call, buf_str(&s->out), last);
}

/* At most FRAME_MAX bytes a frame. */
CO static int stream_write_body(void *sink, str data)
{
    struct peer_stream *s = sink;
    while (data.n) {
        int r = send_frame(s, str_take(data, FRAME_MAX), false);
        if (r < 0)
            return r;
        data = str_skip(data, FRAME_MAX);
    }
    return 0;
}

CO static int stream_end(void *sink)
{
    struct peer_stream *s = sink;
    if (!s->began)
        return send_frame(s, (str){ 0 }, true);
    return http_call_end(s->call, NULL);
}

CO static int send_message(struct peer_stream *s, str body)
{
    AUTO(buf_done) struct buf out;
    buf_init(&out, 2 * FRAME_MESSAGE_MAX);
    int r = frame_pack_unary_request(&s->req, body, http_call_arena(s->call), &out);
    s->half_closed = true;
    return r < 0 ? r : grpc_call_send(s->call, buf_str(&out), true);
}

CO static int send_whole(struct peer_stream *s, str body)
{
    int r = 0;
    if (s->unary)
        return send_message(s, body);
    while (r >= 0 && body.n > FRAME_MAX) {
        r = send_frame(s, str_take(body, FRAME_MAX), false);
        body = str_skip(body, FRAME_MAX);
    }
    return r < 0 ? r : send_frame(s, body.n ? body : (str){ 0 }, true);
}

/* ---- the answer ---- */

CO static int next(void *source, str *ret_chunk)
{
    struct peer_stream *s = source;
    if (s->pending.n) {
        *ret_chunk = s->pending;
        s->pending = S("");
        return 1;
    }
    for (;;) {
        str message;
        int r = s->unary ? 0 : grpc_call_recv(s->call, FRAME_MESSAGE_MAX, &message);
        if (r == 0) {
            struct grpc_status status;
            r = grpc_call_status(s->call, &status);
            return r < 0 ? r : status.code == OK ? 0 : -(int)status.code;
        }
        struct frame_response f;
        arena_reset(&s->scratch);
        if (r > 0)
            r = frame_unpack_response(message, &s->scratch, &f);
        if (r < 0)
            return r;
        if (!f.has_payload)
            continue;
        if (f.seq != s->seq_in++)
            return -INVALID;
        if (!f.data.n)
            continue;
        *ret_chunk = f.data;
        return 1;
    }
}

static const struct http_headers *trailers(void *source)
{
    struct peer_stream *s = source;
    return s->first.trailers.n ? &s->first.trailers : NULL;
}

static void stream_free(void *source)
{
    struct peer_stream *s = source;
    buf_done(&s->out);
    arena_done(&s->scratch);
    http_call_free(TAKE(s->call)); /* s lived in the call's arena */
}

CO static int read_first(struct peer_stream *s, const struct http_response *head, struct error *err)
{
    str message;
    int r = grpc_call_recv(s->call, FRAME_MESSAGE_MAX, &message);
    if (r == 0) { /* ended without an answer: the status says why */
        struct grpc_status status = { 0 };
        r = grpc_call_status(s->call, &status);
        s->unimplemented = r >= 0 && status.code == UNIMPLEMENTED;
        if (r >= 0 && status.code != OK) {
            r = fail(err, status.code, NULL, STR_FMT, STR_ARG(status.message));
            context_read_refusal(grpc_call_trailers(s->call, head), err);
            return r;
        }
        return fail(err, INTERNAL, NULL, "the peer ended the call without an answer");
    }
    if (r < 0)
        return fail(err, (enum code) - r, NULL, "the peer broke the call off before an answer");
    struct arena *a = http_call_arena(s->call);
    r = s->unary ? frame_unpack_unary_response(message, a, &s->first)
                 : frame_unpack_response(message, a, &s->first);
    if (r < 0 || !s->first.has_response)
        return fail(err, r < 0 ? (enum code) - r : INTERNAL, NULL,
                    "the peer's first frame has no status");
    if (!s->unary && s->first.has_payload && s->first.seq != s->seq_in++)
        return fail(err, INTERNAL, NULL, "the peer's frames aren't in sequence");
    if (s->first.status < 200 || s->first.status > 999)
        return fail(err, INTERNAL, NULL, "the peer's answer has status %d", s->first.status);
    s->pending = s->first.data;
    return 0;
}

/* A gRPC app's answer in the words of its caller: with its status, or as HTTP has it (facts 5.2).
 */
static int translate(struct relay *r, struct peer_stream *s, bool marked)
{
    struct frame_response *f = &s->first;
    struct arena *a = http_call_arena(s->call);
    if (marked)
        return words_put(&r->answer.headers, &f->outcome, f->type_url);
    struct http_headers headers;
    http_headers_init(&headers, a);
    http_headers_init(&f->trailers, a);
    int code = words_headers(&r->answer.headers, &headers);
    r->answer.headers = headers;
    if (code < 0 || f->outcome.code == OK)
        return code;
    AUTO(buf_done) struct buf body;
    buf_init(&body, MIB(1));
    code = words_json(&f->outcome, a, &body);
    s->pending = arena_dup(a, buf_str(&body));
    if (code < 0 || !s->pending.p)
        return -EXHAUSTED;
    f->content_type = S("application/json");
    return 0;
}

static int set_answer(struct relay *r, struct peer_stream *s, bool marked, struct error *err)
{
    r->answer.status = s->first.status;
    r->answer.headers = s->first.headers;
    r->answer.content_length = -1;
    int code = s->first.grpc ? translate(r, s, marked) : 0;
    if (code >= 0 && s->first.content_type.n)
        code = http_headers_set(&r->answer.headers, S("content-type"), s->first.content_type);
    return code < 0 ? fail(err, EXHAUSTED, NULL, "the answer is too large for its memory") : 0;
}

/* The trace once more, as a daprd reads it: in the call's own metadata. */
static int trace_metadata(const struct http_request *req, char bin[TRACE_BINARY_TEXT + 1],
                          struct arena *a, struct http_headers *ret)
{
    struct trace_context t;
    http_headers_init(ret, a);
    trace_read(&t, http_headers_get(&req->headers, S("traceparent")),
               http_headers_get(&req->headers, S("tracestate")));
    str binary = trace_binary_text(&t, bin);
    int code = binary.n ? http_headers_add(ret, S("grpc-trace-bin"), binary) : 0;
    if (code >= 0 && binary.n)
        code = http_headers_add(ret, S("traceparent"),
                                http_headers_get(&req->headers, S("traceparent")));
    return code >= 0 && t.state.n ? http_headers_add(ret, S("tracestate"), t.state) : code;
}

CO static int open_stream(struct relay *r, struct http_client *client, const char *address,
                          const struct http_request *req, bool unary, struct peer_stream **ret,
                          struct error *err)
{
    struct http_call *call;
    struct http_headers metadata;
    char bin[TRACE_BINARY_TEXT + 1];
    if (trace_metadata(req, bin, r->x->arena, &metadata) < 0)
        return fail(err, EXHAUSTED, NULL, "out of memory");
    int code = grpc_call_start_to(client, address, req->peer_id, unary ? UNARY : STREAM, &metadata,
                                  UINT64_MAX, &call, err);
    if (code < 0)
        return code;
    struct peer_stream *s = arena_zalloc(http_call_arena(call), sizeof *s);
    if (!s) {
        http_call_free(call);
        return fail(err, EXHAUSTED, NULL, "out of memory");
    }
    s->call = call;
    s->req = *req;
    s->unary = unary;
    if (r->whole)
        s->req.content_length = (int64_t)r->body.n;
    buf_init(&s->out, FRAME_MESSAGE_MAX);
    arena_init(&s->scratch, 2 * FRAME_MESSAGE_MAX);
    r->answer =
        (struct answer){ .source = s, .next = next, .trailers = trailers, .free = stream_free };
    r->reached = true;
    *ret = s;
    return 0;
}

CO static int send_request(struct relay *r, struct peer_stream *s, const char *address,
                           struct error *err)
{
    if (r->whole) {
        int code = send_whole(s, r->body);
        return code < 0 ? fail(err, (enum code) - code, NULL, "the connection to %s broke", address)
                        : 0;
    }
    r->sink = s;
    r->sink_write = stream_write_body;
    r->sink_end = stream_end;
    return relay_upload(r, err);
}

CO static int await_answer(struct relay *r, struct peer_stream *s, bool *ret_direct,
                           struct error *err)
{
    const struct http_response *head;
    relay_wait(r);
    int code = http_call_response(s->call, &head, err);
    if (code >= 0) {
        *ret_direct = http_headers_has(&head->headers, S(DIRECT_HEADER));
        code = read_first(s, head, err);
    }
    return relay_waited(r, code, err);
}

CO int peer_try(struct relay *r, struct http_client *client, const char *address,
                const struct http_request *req, bool *ret_direct, struct guard_attempt *attempt,
                struct error *err)
{
    struct peer_stream *s = NULL;
    bool again = false;
    int code = relay_again(r, attempt, err);
    if (code < 0)
        return code;
    for (bool unary = false;; unary = true) {
        code = open_stream(r, client, address, req, unary, &s, err);
        if (code >= 0)
            code = send_request(r, s, address, err);
        attempt->fatal = r->sent;
        if (code >= 0)
            code = await_answer(r, s, ret_direct, err);
        /* An old sidecar: once more, as one message (facts 3.4). */
        again = code < 0 && !unary && r->whole && s && s->unimplemented;
        if (!again)
            break;
        relay_done(r);
        s = NULL;
        if (err)
            *err = (struct error){ 0 };
    }
    if (code >= 0)
        code = set_answer(r, s, words_marked(&req->headers), err);
    if (code < 0) {
        relay_done(r);
        return code;
    }
    return relay_judge(r, attempt, err);
}
