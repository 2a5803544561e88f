#include "api/trace_grpc.h"

#include "http/grpc.h"

#include <stdio.h>

static const str TRACE_BIN = { "grpc-trace-bin", 14 };

static str header(const struct grpc_call *c, const char *name)
{
    return http_headers_get(&c->x->req.headers, str_c(name));
}

/* To whoever is called next, and back; InvokeService answers with the callee's metadata. */
static int pass_on(struct grpc_call *c)
{
    char text[TRACE_BINARY_TEXT + 1];
    struct http_headers *h = &c->x->req.headers;
    str bin = arena_dup(c->a, trace_binary_text(&c->trace, text)), baggage = header(c, "baggage");
    if (!bin.p || http_headers_set(h, TRACE_BIN, bin) < 0 ||
        http_headers_set(h, S("traceparent"), str_c(c->trace.parent)) < 0)
        return -EXHAUSTED;
    int r = str_ends(c->x->req.path, S("/InvokeService"))
                ? 0
                : http_headers_set(&c->headers, TRACE_BIN, bin);
    return r >= 0 && baggage.n ? http_headers_set(&c->headers, S("baggage"), baggage) : r;
}

/* A call that is only passed to our own app is served here, any other is made for the caller. */
static enum span_kind kind_of(const struct grpc_call *c)
{
    bool own = str_eq(header(c, "dapr-app-id"), str_c(c->b->app_id));
    return own && !str_starts(c->x->req.path, S("/" DAPR_SERVICE "/")) ? SPAN_SERVER : SPAN_CLIENT;
}

int trace_grpc_begin(struct grpc_call *c, struct span *s, struct error *err)
{
    s->block = NULL;
    c->span = s;
    trace_read_grpc(&c->trace, http_headers_get(&c->x->req.headers, TRACE_BIN),
                    header(c, "traceparent"), header(c, "tracestate"));
    if (!tracer_on() || str_starts(c->x->req.path, S("/grpc."))) /* reflection, health */
        return 0;
    str baggage = header(c, "baggage");
    if (baggage.n && !trace_baggage_valid(baggage))
        return fail(err, INVALID, NULL, "invalid baggage: it must be key=value,key=value");
    span_start(s, &c->trace, kind_of(c));
    c->trace = s->context;
    span_name(s, &c->x->req.path, 1);
    return pass_on(c) < 0 ? grpc_no_memory(err) : 0;
}

/* ---- what the span tells: names by the contract (facts 7) ---- */

static str text_field(const ProtobufCMessage *m, const char *name)
{
    const ProtobufCFieldDescriptor *f =
        protobuf_c_message_descriptor_get_field_by_name(m->descriptor, name);
    if (!f || f->type != PROTOBUF_C_TYPE_STRING || f->label == PROTOBUF_C_LABEL_REPEATED)
        return S("");
    char *text;
    memcpy(&text, (const char *)m + f->offset, sizeof text);
    return pb_str(text);
}

/* InvokeServiceRequest.message.method */
static str invoked_method(const ProtobufCMessage *m)
{
    const ProtobufCFieldDescriptor *f =
        protobuf_c_message_descriptor_get_field_by_name(m->descriptor, "message");
    const ProtobufCMessage *inner = NULL;
    if (f && f->type == PROTOBUF_C_TYPE_MESSAGE && f->label != PROTOBUF_C_LABEL_REPEATED)
        memcpy(&inner, (const char *)m + f->offset, sizeof inner);
    return inner ? text_field(inner, "method") : S("");
}

static void tell_invoke(const struct grpc_call *c, const ProtobufCMessage *m)
{
    str id = text_field(m, "id"), name[] = { S("CallLocal/"), id, S("/"), invoked_method(m) };
    span_name(c->span, name, COUNT(name));
    span_attr(c->span, S("rpc.service"), S("ServiceInvocation"));
    span_attr(c->span, S("net.peer.name"), id);
}

static void tell_store(const struct grpc_call *c, str system, str name)
{
    span_attr(c->span, S("rpc.service"), S("Dapr"));
    span_attr(c->span, S("db.system"), system);
    span_attr(c->span, S("db.name"), name);
    span_attr(c->span, S("db.statement"), c->x->req.path);
    span_attr(c->span, S("db.connection_string"), system);
}

void trace_grpc_tell(const struct grpc_call *c, const void *in)
{
    static const struct {
        str group;
        const char *field[2]; /* its name has a capital once */
    } db[] = {
        { S("state"), { "store_name", "storeName" } },
        { S("secrets"), { "store_name", NULL } },
        { S("bindings"), { "name", NULL } },
        { S("configuration"), { "store_name", NULL } },
    };
    const ProtobufCMessage *m = in;
    if (!span_recorded(c->span))
        return;
    str group = str_c(c->method->group);
    if (str_eq(group, S("invoke")))
        tell_invoke(c, m);
    if (str_eq(group, S("publish"))) {
        span_attr(c->span, S("rpc.service"), S("Dapr"));
        span_attr(c->span, S("messaging.system"), S("pubsub"));
        span_attr(c->span, S("messaging.destination.name"), text_field(m, "topic"));
    }
    for (size_t i = 0; i < COUNT(db); i++) {
        str name = str_eq(group, db[i].group) ? text_field(m, db[i].field[0]) : S("");
        if (!name.n && db[i].field[1] && str_eq(group, db[i].group))
            name = text_field(m, db[i].field[1]);
        if (name.n)
            tell_store(c, group, name);
    }
}

/* dapr-… metadata are how users label their spans; the token isn't theirs to show. */
static void tell_metadata(const struct grpc_call *c, struct span *s)
{
    const struct http_headers *h = &c->x->req.headers;
    for (size_t i = 0; i < h->n; i++)
        if (str_starts(h->v[i].name, S("dapr-")) && !str_ends(h->v[i].name, S("-bin")) &&
            !str_eq(h->v[i].name, S("dapr-api-token")))
            span_attr(s, h->v[i].name, h->v[i].value);
}

void trace_grpc_end(const struct grpc_call *c, struct span *s, const struct error *err)
{
    if (!span_recorded(s))
        return;
    char code[16];
    snprintf(code, sizeof code, "%d", (int)err->code);
    span_attr(s, S("dapr.protocol"), S("grpc"));
    span_attr(s, S("dapr.api"), c->x->req.path);
    span_attr(s, S("dapr.status_code"), str_c(code));
    tell_metadata(c, s);
    if (err->code != OK)
        span_fail(s, str_c(err->text));
    span_end(s);
}
