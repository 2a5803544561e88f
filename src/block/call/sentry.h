/* sentry.h — asks the fleet's certificate authority for a workload's certificate
 * (dapr.proto.sentry.v1.CA/SignCertificate; facts 6).
 * Owner:  what is answered lives in the arena.
 * Thread: any worker.   Failure: the authority's own code and words, -UNAVAILABLE it can't be
 * reached or isn't the one that was meant, -INVALID an answer that can't be read.
 * Limits: SENTRY_ANSWER_MAX bytes an answer; waits end at the fiber's deadline. */
#pragma once

#include "base/buf.h"
#include "http/client.h"

enum { SENTRY_ANSWER_MAX = 1 << 20 };
enum sentry_validator {                     /* of the token; numbers of the wire */
                        SENTRY_UNKNOWN = 0, /* as the authority is set up */
                        SENTRY_KUBERNETES = 2,
                        SENTRY_JWKS = 3,
};

struct sentry_request {
    str id, namespace_, trust_domain;
    str token; /* empty = none */
    enum sentry_validator validator;
    str csr;               /* PEM */
    char *const *audience; /* of a JWT */
    size_t n_audiences;
};

int sentry_pack(const struct sentry_request *q, struct arena *a, str *ret) WUR;
/* The certificate, PEM, with what leads to the trust anchors. */
int sentry_unpack(str message, struct arena *a, str *ret_certificate, struct error *err) WUR;
/* server_id: the authority's SPIFFE id. */
CO int sentry_sign(struct http_client *client, const char *address, str server_id,
                   const struct sentry_request *q, struct arena *a, str *ret_certificate,
                   struct error *err) WUR;
