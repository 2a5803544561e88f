#include "api/grpc_health.h"

#include "fiber/fiber.h"
#include "health.pb-c.h"

#define SERVICE "/grpc.health.v1.Health/"

typedef Grpc__Health__V1__HealthCheckRequest request;
typedef Grpc__Health__V1__HealthCheckResponse response;
typedef Grpc__Health__V1__HealthCheckResponse__ServingStatus status;
#define UP GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING
#define DOWN GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__NOT_SERVING
#define UNKNOWN_ GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVICE_UNKNOWN

static const uint64_t WATCH_EVERY_NS = MS(100);

/* ---- one look ---- */

static bool find(str service, enum host_probe *ret)
{
    static const struct {
        str name;
        enum host_probe probe;
    } row[] = {
        { S(""), PROBE_READY },           { S(DAPR_SERVICE), PROBE_READY },
        { S("proa.ready"), PROBE_READY }, { S("proa.started"), PROBE_STARTED },
        { S("proa.live"), PROBE_LIVE },
    };
    for (size_t i = 0; i < COUNT(row); i++)
        if (str_eq(row[i].name, service)) {
            *ret = row[i].probe;
            return true;
        }
    return false;
}

static status look(const struct grpc_call *c, enum host_probe probe)
{
    const struct api_host *h = &c->config->host;
    struct error why = { 0 };
    return h->probe(h->arg, probe, &why) ? UP : DOWN;
}

CO static int check_rpc(struct grpc_call *c, const void *in, void **ret_out, struct error *err)
{
    const request *q = in;
    enum host_probe probe;
    if (!find(pb_str(q->service), &probe))
        return fail(err, NOT_FOUND, NULL, "unknown service " STR_FMT,
                    STR_ARG(str_take(pb_str(q->service), 100)));
    response *m = pb_new(c->a, c->method->out);
    if (!m)
        return grpc_no_memory(err);
    m->status = look(c, probe);
    *ret_out = m;
    return 0;
}

/* ---- all looks ---- */

CO static int tell(struct grpc_call *c, status s, struct error *err)
{
    response m = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__INIT;
    m.status = s;
    return grpc_write(c, &m.base, err);
}

/* Each change; until the caller leaves, or we do. */
CO static int watch(struct grpc_call *c, str service, struct error *err)
{
    enum host_probe probe = PROBE_LIVE;
    bool known = find(service, &probe);
    status told = known ? look(c, probe) : UNKNOWN_, now;
    int r = tell(c, told, err);
    while (r >= 0 && look(c, PROBE_STAYS) == UP && (r = fiber_sleep(WATCH_EVERY_NS)) >= 0) {
        now = known ? look(c, probe) : UNKNOWN_;
        if (now != told)
            r = tell(c, now, err);
        told = now;
    }
    return r < 0 ? r : fail(err, UNAVAILABLE, NULL, "the sidecar is about to stop");
}

CO static int watch_rpc(struct grpc_call *c, struct error *err)
{
    void *in;
    int r = grpc_read(c, c->a, &in, err);
    if (r == 0)
        return fail(err, INVALID, NULL, "Watch needs one message");
    return r < 0 ? r : watch(c, pb_str(((const request *)in)->service), err);
}

static const struct grpc_method table[] = {
    { S("Check"), NULL, NULL, &grpc__health__v1__health_check_request__descriptor,
      &grpc__health__v1__health_check_response__descriptor, .unary = check_rpc },
    { S("Watch"), NULL, NULL, &grpc__health__v1__health_check_request__descriptor,
      &grpc__health__v1__health_check_response__descriptor, .stream = watch_rpc },
};

bool health_serves(const struct grpc_call *c)
{
    return str_starts(c->x->req.path, S(SERVICE)) &&
           !http_headers_get(&c->x->req.headers, S("dapr-app-id")).n;
}

CO int health_run(struct grpc_call *c, struct error *err)
{
    str name = str_skip(c->x->req.path, strlen(SERVICE));
    for (size_t i = 0; i < COUNT(table); i++)
        if (str_eq(table[i].name, name))
            c->method = &table[i];
    if (!c->method)
        return fail(err, UNIMPLEMENTED, NULL, "unknown method " STR_FMT " for service " SERVICE,
                    STR_ARG(str_take(name, 100)));
    return grpc_run_method(c, err);
}
