#include "block/call/sentry.h"

#include "block/core/proto.h"
#include "http/grpc.h"

#include "sentry.pb-c.h"

typedef Dapr__Proto__Sentry__V1__SignCertificateRequest request_message;
typedef Dapr__Proto__Sentry__V1__SignCertificateResponse response_message;

static const str SIGN = { "/dapr.proto.sentry.v1.CA/SignCertificate",
                          sizeof "/dapr.proto.sentry.v1.CA/SignCertificate" - 1 };

int sentry_pack(const struct sentry_request *q, struct arena *a, str *ret)
{
    request_message m = DAPR__PROTO__SENTRY__V1__SIGN_CERTIFICATE_REQUEST__INIT;
    m.id = arena_cstr(a, q->id);
    m.token = arena_cstr(a, q->token);
    m.trust_domain = arena_cstr(a, q->trust_domain);
    m.namespace_ = arena_cstr(a, q->namespace_);
    m.certificate_signing_request = proto_bytes(q->csr);
    m.token_validator =
        (Dapr__Proto__Sentry__V1__SignCertificateRequest__TokenValidator)q->validator;
    m.jwt_audiences = (char **)q->audience;
    m.n_jwt_audiences = q->n_audiences;
    if (!m.id || !m.token || !m.trust_domain || !m.namespace_)
        return -EXHAUSTED;
    return proto_pack_to(&m.base, a, ret);
}

int sentry_unpack(str message, struct arena *a, str *ret_certificate, struct error *err)
{
    const response_message *m =
        proto_unpack(&dapr__proto__sentry__v1__sign_certificate_response__descriptor, message, a);
    if (!m)
        return fail(err, INVALID, NULL, "the sentry's answer can't be read");
    if (!m->workload_certificate.len)
        return fail(err, INVALID, NULL, "the sentry's answer holds no certificate");
    *ret_certificate = proto_slice(m->workload_certificate);
    return 0;
}

/* The one answer of a call that is under way. */
CO static int receive(struct http_call *call, struct arena *a, str *ret_certificate,
                      struct error *err)
{
    str message = { 0 };
    struct grpc_status status = { 0 };
    int r = grpc_call_recv(call, SENTRY_ANSWER_MAX, &message), more = r;
    str copy = r > 0 ? arena_dup(a, message) : (str){ 0 };
    while (more > 0)
        more = grpc_call_recv(call, SENTRY_ANSWER_MAX, &message);
    if (more >= 0)
        more = grpc_call_status(call, &status);
    if (more < 0)
        return fail(err, (enum code) - more, NULL, "the call broke off: %s",
                    code_name((enum code) - more));
    if (status.code != OK)
        return fail(err, status.code, NULL, "%s: " STR_FMT, code_name(status.code),
                    STR_ARG(str_take(status.message, 300)));
    if (!copy.p)
        return fail(err, r > 0 ? EXHAUSTED : INVALID, NULL, "the sentry's answer %s",
                    r > 0 ? "is too large" : "is empty");
    return sentry_unpack(copy, a, ret_certificate, err);
}

CO int sentry_sign(struct http_client *client, const char *address, str server_id,
                   const struct sentry_request *q, struct arena *a, str *ret_certificate,
                   struct error *err)
{
    str message;
    AUTO(http_call_freep) struct http_call *call = NULL;
    if (sentry_pack(q, a, &message) < 0)
        return fail(err, EXHAUSTED, NULL, "the certificate request is too large");
    int r = grpc_call_start_to(client, address, server_id, SIGN, NULL, UINT64_MAX, &call, err);
    if (r < 0)
        return r;
    r = grpc_call_send(call, message, true);
    if (r < 0)
        return fail(err, (enum code) - r, NULL, "the request couldn't be sent: %s",
                    code_name((enum code) - r));
    return receive(call, a, ret_certificate, err);
}
