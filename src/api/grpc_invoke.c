#include "api/grpc_call.h"
#include "block/call/unary.h"
#include "http/grpc.h"
#include "runtime.pb-c.h"

/* InvokeService: deprecated, and still what SDKs call apps by. */

typedef Dapr__Proto__Runtime__V1__InvokeServiceRequest invoke_request;
typedef Dapr__Proto__Common__V1__InvokeResponse invoke_response;
typedef Dapr__Proto__Common__V1__InvokeRequest message;

static const str verbs[] = { S(""),       S("GET"),     S("HEAD"),    S("POST"),  S("PUT"),
                             S("DELETE"), S("CONNECT"), S("OPTIONS"), S("TRACE"), S("PATCH") };

/* The call's metadata goes along; what is its transport's, or for us, doesn't. */
static int copy_metadata(const struct grpc_call *c, struct http_headers *ret)
{
    static const str drop[] = { S("te"), S("grpc-timeout"), S("grpc-encoding"), S("dapr-app-id") };
    const struct http_headers *h = &c->x->req.headers;
    int r = 0;
    http_headers_init(ret, c->a);
    for (size_t i = 0; i < h->n && r >= 0; i++) {
        bool ours = false;
        for (size_t k = 0; k < COUNT(drop); k++)
            ours = ours || str_eq(h->v[i].name, drop[k]);
        if (!ours)
            r = http_headers_add(ret, h->v[i].name, h->v[i].value);
    }
    return r;
}

static int read_request(const struct grpc_call *c, const message *m, struct unary_request *ret,
                        struct error *err)
{
    *ret = (struct unary_request){ .content_type = pb_str(m->content_type),
                                   .peer = c->x->peer,
                                   .local = c->x->local };
    if (m->data) {
        ret->data = pb_bytes(m->data->value);
        ret->type_url = pb_str(m->data->type_url);
    }
    if (m->http_extension) {
        int verb = (int)m->http_extension->verb;
        if (verb < 0 || verb >= (int)COUNT(verbs))
            return fail(err, INVALID, "ERR_DIRECT_INVOKE", "invalid HTTP verb: %d", verb);
        ret->verb = verbs[verb];
        ret->query = pb_str(m->http_extension->querystring);
    }
    return copy_metadata(c, &ret->headers) < 0 ? grpc_no_memory(err) : 0;
}

static int read_target(const invoke_request *q, struct invoke_target *ret, struct error *err)
{
    *ret = (struct invoke_target){ 0 };
    str id = pb_str(q->id);
    if (!id.n)
        return fail(err, INVALID, "ERR_DIRECT_INVOKE", "id is empty: it names the app to call");
    if (!q->message)
        return fail(err, INVALID, "ERR_DIRECT_INVOKE", "message is missing");
    (void)str_cut(id, '.', &ret->app_id, &ret->namespace_);
    if (str_find_c(ret->namespace_, '.') >= 0)
        return fail(err, INVALID, "ERR_DIRECT_INVOKE",
                    "an app id has at most one dot: <app>.<namespace>");
    ret->method = pb_str(q->message->method); /* as it is (surprise 5) */
    return 0;
}

/* Headers of an HTTP app: those that IANA has registered as dapr-<name> (surprise 48). */
static int http_answer(struct grpc_call *c, const struct unary_answer *answer, struct error *err)
{
    char digits[3];
    str status = arena_dup(c->a, http_status_text(answer->status, digits));
    if (!status.p || words_metadata(&answer->headers, &c->headers) < 0 ||
        http_headers_add(&c->headers, S("dapr-http-status"), status) < 0)
        return grpc_no_memory(err);
    if (answer->outcome.code == OK)
        return 0;
    const char *body = arena_cstr(c->a, str_take(answer->data, 256));
    return grpc_http_error(err, answer->status, http_reason(answer->status), body ? body : "");
}

/* The status of a gRPC app, its details and its trailers are the answer's. */
CO static int grpc_answer(struct grpc_call *c, const struct unary_answer *answer, const void *out,
                          struct error *err)
{
    const struct words_status *s = &answer->outcome;
    int r = 0;
    for (size_t i = 0; i < answer->headers.n && r >= 0; i++)
        r = http_headers_add(&c->headers, answer->headers.v[i].name, answer->headers.v[i].value);
    if (r >= 0 && s->code == OK)
        r = grpc_write(c, out, err);
    else if (r >= 0)
        r = grpc_send_headers(c->x, &c->headers);
    c->passed = s->code;
    if (r >= 0)
        r = grpc_finish(c->x, s->code, s->message, s->details, &answer->trailers);
    return r < 0 ? fail(err, (enum code) - r, NULL, "the answer could not be passed on") : 0;
}

CO int invoke_service_rpc(struct grpc_call *c, const void *in, void **ret_out, struct error *err)
{
    const invoke_request *q = in;
    struct invoke_target target;
    struct unary_request request;
    struct unary_answer answer;
    int r = read_target(q, &target, err);
    if (r >= 0)
        r = read_request(c, q->message, &request, err);
    if (r >= 0)
        r = unary_invoke(c->b, &target, &request, c->a, &answer, err);
    if (r < 0)
        return r;
    invoke_response *out = *ret_out = pb_new(c->a, c->method->out);
    if (!out || !(out->data = pb_new(c->a, &google__protobuf__any__descriptor)) ||
        !(out->data->type_url = pb_text(c->a, answer.type_url)) ||
        !(out->content_type = pb_text(c->a, answer.content_type)))
        return grpc_no_memory(err);
    out->data->value = pb_data(answer.data);
    return answer.grpc ? grpc_answer(c, &answer, out, err) : http_answer(c, &answer, err);
}
