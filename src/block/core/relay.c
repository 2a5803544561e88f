#include "block/core/relay.h"

#include "block/core/words.h"
#include "format/uri.h"

enum { ANSWER_WHOLE = 16 << 10 };

/* ---- what is sent ---- */

/* What may stand in a path as it is (RFC 3986 section 3.3). */
static bool path_char(unsigned char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           memchr("/-._~$&+:=@!'()*,;", c, 18);
}

/* Segment by segment: a '/' stays one. */
static void escape_path(struct buf *out, str path)
{
    str part;
    for (bool more = true; more;) {
        more = str_cut(path, '/', &part, &path);
        uri_encode(out, part, URI_PATH);
        if (more)
            buf_putc(out, '/');
    }
}

int relay_target(struct arena *a, str method, str query, str *ret)
{
    size_t plain = 0;
    while (plain < method.n && path_char((unsigned char)method.p[plain]))
        plain++;
    AUTO(buf_done) struct buf escaped;
    buf_init(&escaped, 64 << 10);
    if (plain < method.n)
        escape_path(&escaped, method);
    if (!buf_ok(&escaped))
        return -EXHAUSTED;
    str path = plain < method.n ? buf_str(&escaped) : method;
    str part[] = { S("/"), path, query.n ? S("?") : S(""), query };
    *ret = arena_join(a, part, COUNT(part));
    return ret->p ? 0 : -EXHAUSTED;
}

int relay_request(const struct http_exchange *x, str target, struct http_request *ret)
{
    *ret = x->req;
    ret->target = target;
    http_headers_init(&ret->headers, x->arena);
    ret->headers.v = arena_alloc(x->arena, (x->req.headers.n + 12) * sizeof *ret->headers.v);
    if (!ret->headers.v)
        return -EXHAUSTED;
    ret->headers.cap = x->req.headers.n + 12;
    for (size_t i = 0; i < x->req.headers.n; i++)
        ret->headers.v[ret->headers.n++] = x->req.headers.v[i];
    http_headers_strip_hop(&ret->headers);
    static const str drop[] = { S("host"), S("content-length"), S("dapr-app-id"), S("expect"),
                                S("destination-app-id") };
    for (size_t i = 0; i < COUNT(drop); i++)
        http_headers_remove(&ret->headers, drop[i]);
    return 0;
}

static int body_failed(int code, struct error *err)
{
    return fail(err, (enum code) - code, NULL,
                code == -RANGE ? "the request's body is over the limit of --max-body-size"
                               : "the request's body could not be read");
}

CO int relay_init(struct relay *r, struct http_exchange *x, struct error *err)
{
    *r = (struct relay){ .x = x };
    if (x->req.content_length == 0) {
        r->whole = true;
        return 0;
    }
    int got;
    if (x->req.content_length > 0 && x->req.content_length <= RELAY_WHOLE) {
        r->whole = true;
        got = http_read_all(x, RELAY_WHOLE, &r->body);
    } else {
        got = http_read(x, &r->body); /* chunked or large: streams */
        r->whole = got == 0;
    }
    return got < 0 ? body_failed(got, err) : 0;
}

/* ---- the upload of a streamed body, beside the wait for the answer and its way back ---- */

/* A sink that takes no more is no failure: its answer says what it thinks of the request. */
CO static void pump_up(struct relay *r)
{
    int code = r->body.n ? r->sink_write(r->sink, r->body) : 0;
    while (code >= 0) {
        str chunk;
        int got = http_read(r->x, &chunk);
        if (got < 0)
            r->upload.lost = got;
        if (got <= 0) {
            (void)(got < 0 ? 0 : r->sink_end(r->sink));
            return;
        }
        code = r->sink_write(r->sink, chunk);
    }
}

CO static void upload_main(void *arg)
{
    struct relay *r = arg;
    struct upload *u = &r->upload;
    pump_up(r);
    /* The reader may just run: it looks at .lost before it waits again, or is woken here. */
    while (u->lost && u->reader && !fiber_wake(u->reader, u->lost))
        fiber_yield();
    u->done = true;
    if (u->waiter)
        fiber_wake(u->waiter, 0);
}

void relay_wait(struct relay *r)
{
    r->upload.reader = fiber_self();
}

int relay_waited(struct relay *r, int code, struct error *err)
{
    r->upload.reader = NULL;
    if (!r->upload.lost || code >= 0)
        return code;
    if (err)
        *err = (struct error){ 0 };
    return body_failed(r->upload.lost, err);
}

/* Ends it, at once or in its own time: it works on our frame, so it can't outlive us. */
CO static void upload_end(struct upload *u)
{
    if (!u->fiber)
        return;
    SHIELD();
    u->waiter = fiber_self();
    if (!u->done)
        fiber_cancel(u->fiber);
    while (!u->done)
        (void)fiber_park();
    u->fiber = NULL;
}

CO void relay_done(struct relay *r)
{
    upload_end(&r->upload);
    if (r->answer.source)
        r->answer.free(r->answer.source);
    r->answer = (struct answer){ 0 };
}

int relay_upload(struct relay *r, struct error *err)
{
    r->sent = true;
    r->upload = (struct upload){ 0 };
    r->upload.fiber = fiber_spawn("upload", upload_main, r);
    return r->upload.fiber ? 0 : fail(err, EXHAUSTED, NULL, "too many requests at once");
}

CO int relay_again(struct relay *r, struct guard_attempt *attempt, struct error *err)
{
    relay_done(r);
    r->reached = false;
    attempt->fatal = r->sent;
    return r->sent ? fail(err, UNAVAILABLE, NULL, "a streamed request can't be sent twice") : 0;
}

int relay_judge(struct relay *r, struct guard_attempt *attempt, struct error *err)
{
    int status = r->answer.status;
    if (status >= 200 && status <= 399)
        return 0;
    attempt->http_status = status;
    return fail(err, UNKNOWN, NULL, "the app answered with status %d", status);
}

/* ---- by nobody ---- */

CO static int nothing_next(void *source, str *ret_chunk)
{
    return 0;
}

static const struct http_headers *no_trailers(void *source)
{
    return NULL;
}

static void nothing_to_free(void *source)
{
}

CO int relay_pretend(struct relay *r, int status, str name, struct guard_attempt *attempt,
                     struct error *err)
{
    int code = relay_again(r, attempt, err);
    if (code < 0)
        return code;
    bool grpc = status <= UNAUTHENTICATED;
    r->answer = (struct answer){
        .status = grpc ? code_http_status((enum code)status) : status,
        .content_length = 0,
        .source = r,
        .next = nothing_next,
        .trailers = no_trailers,
        .free = nothing_to_free,
    };
    http_headers_init(&r->answer.headers, r->x->arena);
    str kept = arena_dup(r->x->arena, name);
    code = kept.p ? http_headers_add(&r->answer.headers, S("proa-chaos"), kept) : -EXHAUSTED;
    if (code >= 0 && grpc && words_marked(&r->x->req.headers))
        code = words_put(&r->answer.headers,
                         &(struct words_status){ (enum code)status, S("fault on purpose"), S("") },
                         S(""));
    if (code < 0) {
        relay_done(r);
        return fail(err, EXHAUSTED, NULL, "out of memory");
    }
    return relay_judge(r, attempt, err);
}

/* ---- by HTTP ---- */

CO static int call_write(void *sink, str data)
{
    return http_call_write(sink, data);
}

CO static int call_end(void *sink)
{
    return http_call_end(sink, NULL);
}

CO static int call_next(void *source, str *ret_chunk)
{
    return http_call_read(source, ret_chunk);
}

static const struct http_headers *call_trailers(void *source)
{
    return http_call_trailers(source);
}

static void call_free(void *source)
{
    http_call_free(source);
}

CO static int start(struct relay *r, struct http_client *client, const char *address,
                    const struct http_request *req, struct error *err)
{
    struct http_request out = *req;
    struct http_call *call = NULL;
    if (r->whole)
        out.content_length = (int64_t)r->body.n;
    str first = r->whole ? r->body : S("");
    int code = http_call_start(client, address, &out, first, r->whole, &call, err);
    if (code < 0)
        return code;
    r->reached = true;
    r->answer = (struct answer){
        .source = call,
        .next = call_next,
        .trailers = call_trailers,
        .free = call_free,
    };
    if (r->whole)
        return 0;
    r->sink = call;
    r->sink_write = call_write;
    r->sink_end = call_end;
    return relay_upload(r, err);
}

CO int relay_try(struct relay *r, struct http_client *client, const char *address,
                 const struct http_request *req, struct guard_attempt *attempt, struct error *err)
{
    const struct http_response *response;
    int code = relay_again(r, attempt, err);
    if (code >= 0)
        code = start(r, client, address, req, err);
    attempt->fatal = r->sent;
    if (code >= 0) {
        relay_wait(r);
        code = relay_waited(r, http_call_response(r->answer.source, &response, err), err);
    }
    if (code < 0) {
        relay_done(r);
        return code;
    }
    r->answer.status = response->status;
    r->answer.headers = response->headers;
    r->answer.content_length = response->content_length;
    return relay_judge(r, attempt, err);
}

/* ---- the way back ---- */

CO static int next(struct relay *r, str *ret_chunk)
{
    if (r->upload.lost)
        return r->upload.lost;
    relay_wait(r);
    return relay_waited(r, r->answer.next(r->answer.source, ret_chunk), NULL);
}

/* A small answer that came in pieces, gathered so that it goes out in one write. */
CO static int gather(struct relay *r, str first, str *ret)
{
    size_t want = (size_t)r->answer.content_length, n = 0;
    char *all = arena_alloc(r->x->arena, want);
    if (!all)
        return -EXHAUSTED;
    int code = 1;
    for (str chunk = first; code > 0; code = next(r, &chunk)) {
        if (chunk.n > want - n)
            return -INVALID;
        memcpy(all + n, chunk.p, chunk.n);
        n += chunk.n;
    }
    *ret = str_of(all, n);
    return code;
}

CO static int answer_whole(struct relay *r, const struct http_headers *headers)
{
    str body = S("");
    int code = next(r, &body);
    if (code == 0)
        body = S("");
    else if (code > 0 && body.n < (size_t)r->answer.content_length)
        code = gather(r, body, &body);
    return code < 0 ? code : http_reply(r->x, r->answer.status, headers, body);
}

CO static int answer_stream(struct relay *r, const struct http_headers *headers)
{
    int code = http_reply_start(r->x, r->answer.status, headers, r->answer.content_length);
    str chunk;
    while (code >= 0 && (code = next(r, &chunk)) > 0)
        code = http_reply_write(r->x, chunk);
    if (code >= 0)
        code = http_reply_end(r->x, r->answer.trailers(r->answer.source));
    if (code < 0)
        http_reply_abort(r->x); /* the caller must not take the part for the whole */
    return code;
}

CO int relay_answer(struct relay *r, struct error *err)
{
    PRE(r->answer.source);
    struct http_headers headers = r->answer.headers;
    http_headers_strip_hop(&headers);
    http_headers_remove(&headers, S("content-length"));
    int64_t n = r->answer.content_length;
    int code = n >= 0 && n <= ANSWER_WHOLE ? answer_whole(r, &headers) : answer_stream(r, &headers);
    return code < 0 ? fail(err, (enum code) - code, NULL, "the answer broke off") : 0;
}

CO int relay_pass(struct relay *r, int code, struct error *err)
{
    if (code < 0 && !r->answer.source)
        return code;
    if (err)
        *err = (struct error){ 0 }; /* a failure status is an answer: it goes back as it is */
    return relay_answer(r, err);
}
