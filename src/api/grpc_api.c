#include "api/access.h"
#include "api/errors.h"
#include "api/grpc_call.h"
#include "api/grpc_health.h"
#include "api/grpc_proxy.h"
#include "api/grpc_reflect.h"
#include "api/grpc_watch.h"
#include "api/trace_grpc.h"
#include "base/clock.h"
#include "component/config.h"
#include "component/resource.h"
#include "format/uri.h"
#include "http/grpc.h"

/* The gRPC API: from a path to a row of the table, and from its result to a status. */

int grpc_http_error(struct error *err, int status, const char *text, const char *detail)
{
    char digits[3];
    enum { CUT = 63 }; /* of http.error_message: the contract's own */
    int r = fail(err, code_of_http_status(status), NULL, "%s", text);
    fail_reason(err, http_reason(status), NULL, S(""));
    fail_meta(err, "http.code", http_status_text(status, digits));
    fail_meta(err, "http.error_message", str_take(str_c(detail), CUT));
    return r;
}

/* ---- who may call what ---- */

CO static int authorize(struct grpc_call *c, struct error *err)
{
    if (!c->config->token)
        return 0;
    struct http_headers *h = &c->x->req.headers;
    if (!access_same_secret(http_headers_get(h, S("dapr-api-token")), str_c(c->config->token)))
        return grpc_http_error(err, 401, "authentication error: api token mismatch",
                               "authentication error: api token mismatch");
    http_headers_remove(h, S("dapr-api-token")); /* it's ours alone */
    return 0;
}

static bool rule_names(const struct config_api_rule *rule, const struct grpc_method *m)
{
    return str_eq(rule->protocol, S("grpc")) && str_eq(rule->name, str_c(m->group)) &&
           str_eq(rule->version, str_c(m->version));
}

/* api.denied first; a list api.allowed that has anything for gRPC is all there is (surprise 12). */
static bool available(const struct grpc_call *c)
{
    const struct configuration *config = &c->b->resources->config;
    for (size_t i = 0; i < config->api_denied.n; i++)
        if (rule_names(&config->api_denied.v[i], c->method))
            return false;
    bool any = false;
    for (size_t i = 0; i < config->api_allowed.n; i++) {
        any = any || str_eq(config->api_allowed.v[i].protocol, S("grpc"));
        if (rule_names(&config->api_allowed.v[i], c->method))
            return true;
    }
    return !any;
}

/* ---- messages ---- */

static size_t max_message(const struct grpc_call *c)
{
    return c->config->max_body_bytes ? (size_t)c->config->max_body_bytes : UINT32_MAX;
}

/* What is wrong with a message that could not be read. */
static int unread(const struct grpc_call *c, int r, struct error *err)
{
    switch (r) {
    case -EXHAUSTED:
        return fail(err, EXHAUSTED, NULL, "a message is larger than --max-body-size, %zu bytes",
                    max_message(c));
    case -UNIMPLEMENTED:
        return fail(err, UNIMPLEMENTED, NULL,
                    "compressed messages aren't taken: see grpc-accept-encoding");
    case -INTERNAL:
        return fail(err, INTERNAL, NULL, "the message's frame is broken");
    default:
        return fail(err, (enum code) - r, NULL, "the request could not be read");
    }
}

CO int grpc_read(struct grpc_call *c, struct arena *a, void **ret_message, struct error *err)
{
    str bytes;
    int r = grpc_recv(c->x, max_message(c), &bytes);
    if (r <= 0)
        return r < 0 ? unread(c, r, err) : 0;
    r = pb_decode(a, c->method->in, bytes, ret_message, err);
    return r < 0 ? r : 1;
}

/* Encoded in memory of its own: a stream may write for days. */
CO int grpc_write(struct grpc_call *c, const ProtobufCMessage *m, struct error *err)
{
    str bytes;
    struct arena a;
    arena_init(&a, UINT32_MAX);
    int r = pb_encode(&a, m, &bytes);
    if (r < 0)
        r = grpc_no_memory(err);
    if (r >= 0 && !c->x->started)
        r = grpc_send_headers(c->x, &c->headers);
    if (r >= 0)
        r = grpc_send(c->x, bytes);
    arena_done(&a);
    return r < 0 ? fail(err, (enum code) - r, NULL, "the caller has left") : 0;
}

CO int grpc_reply(struct grpc_call *c, const ProtobufCMessage *m, struct error *err)
{
    if (!m && !(m = pb_new(c->a, c->method->out)))
        return grpc_no_memory(err);
    int r = grpc_write(c, m, err);
    if (r >= 0)
        r = grpc_finish(c->x, OK, S(""), S(""), NULL);
    return r < 0 ? fail(err, (enum code) - r, NULL, "the caller has left") : 0;
}

/* ---- the way of a call ---- */

CO static int call_unary(struct grpc_call *c, struct error *err)
{
    void *in, *out = NULL;
    int r = grpc_read(c, c->a, &in, err);
    if (r == 0)
        return fail(err, UNIMPLEMENTED, NULL, "a unary call needs one message");
    if (r > 0)
        trace_grpc_tell(c, in);
    PINNED(c->b);
    if (r > 0)
        r = c->method->unary(c, in, &out, err);
    return r < 0 || c->x->ended ? r : grpc_reply(c, out, err);
}

CO int grpc_run_method(struct grpc_call *c, struct error *err)
{
    const struct grpc_method *m = c->method;
    if (m->unary)
        return call_unary(c, err);
    if (m->stream)
        return m->stream(c, err);
    return fail(err, UNIMPLEMENTED, NULL, STR_FMT ": %s", STR_ARG(m->name), m->why);
}

CO static int call_method(struct grpc_call *c, struct error *err)
{
    if (!available(c))
        return grpc_http_error(err, 501, "requested endpoint is not available",
                               "requested endpoint is not available");
    return grpc_run_method(c, err);
}

CO static int route(struct grpc_call *c, struct error *err)
{
    str service, method;
    if (uri_clean(c->a, c->x->req.path, &c->x->req.path) < 0) /* surprise 5 */
        return grpc_no_memory(err);
    if (!grpc_split_path(c->x->req.path, &service, &method))
        return fail(err, UNIMPLEMENTED, NULL, "malformed method name: \"" STR_FMT "\"",
                    STR_ARG(str_take(c->x->req.path, 200)));
    if (reflect_serves(service))
        return reflect_run(c->x, DAPR_SERVICE, err);
    if (!str_eq(service, S(DAPR_SERVICE)))
        return grpc_proxy(c->b, c->x, max_message(c), &c->passed, err);
    c->method = grpc_method_find(method);
    if (!c->method)
        return fail(err, UNIMPLEMENTED, NULL, "unknown method " STR_FMT " for service %s",
                    STR_ARG(str_take(method, 200)), DAPR_SERVICE);
    return call_method(c, err);
}

/* Whatever an operation says that was cut short: the caller's deadline is why. */
CO static int run(struct grpc_call *c, struct error *err)
{
    uint64_t timeout_ns, start = clock_now_ns();
    if (!grpc_timeout(&c->x->req.headers, &timeout_ns))
        return fail(err, INTERNAL, NULL, "malformed grpc-timeout");
    DEADLINE(timeout_ns);
    int r = 0;
    if (health_serves(c)) { /* who asks for it has no token */
        r = health_run(c, err);
    } else {
        r = authorize(c, err);
        if (r >= 0)
            r = route(c, err);
    }
    if (r < 0 && timeout_ns != UINT64_MAX && clock_now_ns() - start >= timeout_ns)
        r = fail_as(err, TIMEOUT, NULL, "the deadline of the call has passed");
    return r;
}

CO static void finish(struct grpc_call *c, enum code code, const struct error *err)
{
    if (code != OK)
        error_count(err);
    if (!c->x->started && grpc_send_headers(c->x, &c->headers) < 0)
        return; /* the caller has left */
    str details = S("");
    if (code != OK && error_grpc_details(err, c->a, &details) < 0)
        details = S("");                                            /* code and text matter more */
    str text = code == OK ? S("") : str_c(err->text + err->own_at); /* facts 4.5 */
    struct http_headers trailers;
    http_headers_init(&trailers, c->a);
    (void)error_headers(err, &trailers);
    (void)grpc_finish(c->x, code, text, details, &trailers);
}

CO void api_handle_grpc(void *api, struct http_exchange *x)
{
    if (!grpc_is_request(&x->req)) {
        (void)http_reply(x, 415, NULL, S("this port takes gRPC calls\n"));
        return;
    }
    struct grpc_call c = {
        .api = api,
        .config = api_config_of(api),
        .b = api_blocks(api),
        .x = x,
        .a = x->arena,
    };
    struct error err = { 0 };
    struct span span;
    uint64_t start = clock_now_ns();
    http_headers_init(&c.headers, x->arena);
    int r = trace_grpc_begin(&c, &span, &err);
    if (r >= 0)
        r = run(&c, &err);
    enum code code = r >= 0 ? c.passed : err.code ? err.code : (enum code) - r;
    if (!x->ended)
        finish(&c, code, &err);
    trace_grpc_end(&c, &span, &err);
    grpc_measure(&c, code, start);
    grpc_log(&c, code, start);
}
