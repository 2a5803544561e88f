#include "block/relay.h"

enum { ANSWER_WHOLE = 16 << 10 };

CO
int relay_init(struct relay *r, struct http_exchange *x, struct error *err)
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
    if (got < 0)
        return fail(err, (enum code) - got, NULL,
                    got == -RANGE ? "the request's body is over the limit of --max-body-size"
                                  : "the request's body could not be read");
    return 0;
}

/* ---- the upload of a streamed body, beside the wait for the answer and its way back ---- */

CO
static int pump_up(struct relay *r)
{
    str chunk;
    int code;
    while ((code = http_read(r->x, &chunk)) > 0) {
        code = http_call_write(r->call, chunk);
        if (code < 0)
            return code;
    }
    return code < 0 ? code : http_call_end(r->call, NULL);
}

CO
static void upload_main(void *arg)
{
    struct relay *r = arg;
    r->upload.result = pump_up(r);
    r->upload.done = true;
    if (r->upload.waiter)
        fiber_wake(r->upload.waiter, 0);
}

/* Ends it, at once or in its own time: it works on our frame, so it can't outlive us. */
CO
static void upload_end(struct upload *u)
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

CO
void relay_done(struct relay *r)
{
    upload_end(&r->upload);
    http_call_freep(&r->call);
}

CO
static int start(struct relay *r, struct http_client *client, const char *address,
                 const struct http_request *req, struct error *err)
{
    struct http_request out = *req;
    if (r->whole)
        out.content_length = (int64_t)r->body.n;
    int code = http_call_start(client, address, &out, r->body, r->whole, &r->call, err);
    if (code < 0 || r->whole)
        return code;
    r->sent = true;
    r->upload = (struct upload){ 0 };
    r->upload.fiber = fiber_spawn("upload", upload_main, r);
    return r->upload.fiber ? 0 : fail(err, EXHAUSTED, NULL, "too many requests at once");
}

CO
int relay_try(struct relay *r, struct http_client *client, const char *address,
              const struct http_request *req, struct guard_attempt *attempt, struct error *err)
{
    relay_done(r); /* of an earlier try */
    if (r->sent) {
        attempt->fatal = true;
        return fail(err, UNAVAILABLE, NULL, "a streamed request can't be sent twice");
    }
    int code = start(r, client, address, req, err);
    attempt->fatal = r->sent;
    if (code >= 0)
        code = http_call_response(r->call, &r->response, err);
    if (code < 0) {
        relay_done(r);
        return code;
    }
    int status = r->response->status;
    if (status >= 200 && status <= 399)
        return 0;
    attempt->http_status = status;
    return fail(err, UNKNOWN, NULL, "the app answered with status %d", status);
}

CO
static int answer_whole(struct relay *r, const struct http_headers *headers, struct error *err)
{
    str body;
    int code = http_call_read_all(r->call, ANSWER_WHOLE, &body);
    if (code < 0)
        return fail(err, (enum code) - code, NULL, "the answer broke off");
    return http_reply(r->x, r->response->status, headers, body);
}

CO
static int answer_stream(struct relay *r, const struct http_headers *headers, struct error *err)
{
    int code = http_reply_start(r->x, r->response->status, headers, r->response->content_length);
    str chunk;
    while (code >= 0 && (code = http_call_read(r->call, &chunk)) > 0)
        code = http_reply_write(r->x, chunk);
    if (code >= 0)
        code = http_reply_end(r->x, http_call_trailers(r->call));
    if (code < 0)
        http_reply_abort(r->x); /* the caller must not take the part for the whole */
    return code;
}

CO
int relay_answer(struct relay *r, struct error *err)
{
    PRE(r->call && r->response);
    struct http_headers headers = r->response->headers;
    http_headers_strip_hop(&headers);
    http_headers_remove(&headers, S("content-length"));
    bool head = str_eq(r->x->req.method, S("HEAD"));
    int64_t n = r->response->content_length;
    if (head || (n >= 0 && n <= ANSWER_WHOLE))
        return answer_whole(r, &headers, err);
    return answer_stream(r, &headers, err);
}
