#include "cli/scaler_private.h"

#include "base/clock.h"
#include "externalscaler.pb-c.h"

#include "http/grpc.h"
#include <stdio.h>

/* Tells KEDA one number: how many instances the law wants (target 1 a replica). So Kubernetes does
 * what 'proa run' does, and the HPA's own averaging has nothing left to add. */

#define SERVICE "externalscaler.ExternalScaler"
enum { MESSAGE_MAX = 64 << 10, REPLY_MAX = 8 << 10 };
static const char METRIC[] = "proa-instances";

typedef Externalscaler__ScaledObjectRef object;

/* ---- messages ---- */

static int unpack(struct http_exchange *x, str bytes, const ProtobufCMessageDescriptor *d,
                  ProtobufCMessage **ret, struct error *err)
{
    (void)x;
    *ret = protobuf_c_message_unpack(d, NULL, bytes.n, (const uint8_t *)bytes.p);
    return *ret ? 0 : fail(err, INVALID, NULL, "the message isn't a %s", d->name);
}

CO static int send(struct http_exchange *x, const ProtobufCMessage *m, struct error *err)
{
    uint8_t bytes[REPLY_MAX];
    if (protobuf_c_message_get_packed_size(m) > sizeof(bytes))
        return fail(err, EXHAUSTED, NULL, "the answer is too large");
    size_t n = protobuf_c_message_pack(m, bytes);
    return grpc_send(x, str_of((const char *)bytes, n));
}

static str metadata(const object *o, str key)
{
    for (size_t i = 0; i < o->n_scalermetadata; i++)
        if (str_eq(str_c(o->scalermetadata[i]->key), key))
            return str_c(o->scalermetadata[i]->value);
    return (str){ 0 };
}

/* The trigger's metadata: app, and where its sidecars' metrics are unless that's as the injector
 * has it. */
CO static struct scaled *find(struct scaler *s, const object *o, struct error *err)
{
    char usual[SCALER_ADDRESS_MAX];
    str app = metadata(o, S("app")), address = metadata(o, S("address"));
    if (!app.n || app.n >= sizeof(((struct scaled *)0)->app) || address.n >= sizeof(usual)) {
        (void)fail(err, INVALID, NULL,
                   "the trigger's metadata needs app: the app id; and address, if given, is a list "
                   "of host:port of at most %zu bytes",
                   sizeof(usual) - 1);
        return NULL;
    }
    if (!address.n) {
        int n = snprintf(usual, sizeof(usual), STR_FMT "-dapr.%s.svc.cluster.local:%lld",
                         STR_ARG(app), o->namespace_ && *o->namespace_ ? o->namespace_ : "default",
                         (long long)s->options->metrics_port);
        if (n < 0 || (size_t)n >= sizeof(usual)) {
            (void)fail(err, INVALID, NULL, "app and namespace are too long: give address");
            return NULL;
        }
        address = str_c(usual);
    }
    return scaler_find(s, app, address, err);
}

/* ---- the four methods ---- */

static bool is_active(const struct scaled *a)
{
    return a->decision.desired > 0;
}

CO static int send_active(struct http_exchange *x, bool active, struct error *err)
{
    Externalscaler__IsActiveResponse m = EXTERNALSCALER__IS_ACTIVE_RESPONSE__INIT;
    m.result = active;
    return send(x, &m.base, err);
}

CO static int serve_active(struct scaler *s, struct http_exchange *x, const ProtobufCMessage *in,
                           struct error *err)
{
    struct scaled *a = find(s, (const object *)in, err);
    return a ? send_active(x, is_active(a), err) : -(int)err->code;
}

/* Each change, until the caller leaves. */
CO static int serve_active_stream(struct scaler *s, struct http_exchange *x,
                                  const ProtobufCMessage *in, struct error *err)
{
    bool first = true, told = false;
    while (!s->ending) {
        struct scaled *a = find(s, (const object *)in, err);
        if (!a)
            return -(int)err->code;
        bool active = is_active(a);
        int r = first || active != told ? send_active(x, active, err) : 0;
        if (!r)
            r = waitq_wait(&s->changed);
        if (r < 0)
            return r;
        first = false;
        told = active;
    }
    return 0;
}

CO static int serve_spec(struct scaler *s, struct http_exchange *x, const ProtobufCMessage *in,
                         struct error *err)
{
    if (!find(s, (const object *)in, err))
        return -(int)err->code;
    Externalscaler__MetricSpec spec = EXTERNALSCALER__METRIC_SPEC__INIT, *specs[] = { &spec };
    Externalscaler__GetMetricSpecResponse m = EXTERNALSCALER__GET_METRIC_SPEC_RESPONSE__INIT;
    spec.metricname = (char *)(uintptr_t)METRIC;
    spec.targetsize = 1;
    spec.targetsizefloat = 1;
    m.metricspecs = specs;
    m.n_metricspecs = COUNT(specs);
    return send(x, &m.base, err);
}

CO static int serve_metrics(struct scaler *s, struct http_exchange *x, const ProtobufCMessage *in,
                            struct error *err)
{
    const Externalscaler__GetMetricsRequest *q = (const Externalscaler__GetMetricsRequest *)in;
    if (!q->scaledobjectref)
        return fail(err, INVALID, NULL, "scaledObjectRef is missing");
    const struct scaled *a = find(s, q->scaledobjectref, err);
    if (!a)
        return -(int)err->code;
    Externalscaler__MetricValue value = EXTERNALSCALER__METRIC_VALUE__INIT, *values[] = { &value };
    Externalscaler__GetMetricsResponse m = EXTERNALSCALER__GET_METRICS_RESPONSE__INIT;
    value.metricname = (char *)(uintptr_t)METRIC;
    value.metricvalue = a->decision.desired;
    value.metricvaluefloat = a->decision.desired;
    m.metricvalues = values;
    m.n_metricvalues = COUNT(values);
    return send(x, &m.base, err);
}

static const struct {
    str name;
    const ProtobufCMessageDescriptor *in;
    CO int (*serve)(struct scaler *s, struct http_exchange *x, const ProtobufCMessage *in,
                    struct error *err);
} methods[] = {
    { S("IsActive"), &externalscaler__scaled_object_ref__descriptor, serve_active },
    { S("StreamIsActive"), &externalscaler__scaled_object_ref__descriptor, serve_active_stream },
    { S("GetMetricSpec"), &externalscaler__scaled_object_ref__descriptor, serve_spec },
    { S("GetMetrics"), &externalscaler__get_metrics_request__descriptor, serve_metrics },
};

/* ---- a call ---- */

CO static int serve(struct scaler *s, struct http_exchange *x, struct error *err)
{
    str service, method, bytes;
    size_t i = 0;
    if (!grpc_is_request(&x->req) || !grpc_split_path(x->req.path, &service, &method))
        return fail(err, UNIMPLEMENTED, NULL, "this is a gRPC service: " SERVICE);
    while (i < COUNT(methods) && !str_eq(methods[i].name, method))
        i++;
    if (!str_eq(service, S(SERVICE)) || i == COUNT(methods))
        return fail(err, UNIMPLEMENTED, NULL, "there is no such method");
    int r = grpc_recv(x, MESSAGE_MAX, &bytes);
    if (r <= 0)
        return fail(err, r < 0 ? (enum code) - r : INVALID, NULL, "the message could not be read");
    ProtobufCMessage *in;
    r = unpack(x, bytes, methods[i].in, &in, err);
    if (r)
        return r;
    r = methods[i].serve(s, x, in, err);
    protobuf_c_message_free_unpacked(in, NULL);
    return r;
}

void scaler_serve(void *arg, struct http_exchange *x)
{
    struct error err = { 0 };
    int r = serve(arg, x, &err);
    enum code code = err.code ? err.code : (enum code) - r;
    if (grpc_finish(x, code, str_c(err.text), S(""), NULL) != 0)
        http_reply_abort(x);
}
