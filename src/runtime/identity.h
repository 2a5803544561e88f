/* identity.h — who this sidecar is to other sidecars: a certificate that the fleet's authority (the
 * sentry) signed, kept fresh.
 * Owner:  the runtime, from identity_start() to identity_stop().
 * Thread: both from a thread that isn't a worker; the contexts any.
 * Failure: start fails with the last cause when 1 + IDENTITY_RETRIES tries brought nothing. Later
 * failures are logged and counted, and tried again; until then the certificate that is there is
 * used. Connections that there are outlive a renewal. */
#pragma once

#include "block/call/sentry.h"
#include "loop/tls.h"

enum { IDENTITY_RETRIES = 5, IDENTITY_PAUSE_S = 3, IDENTITY_TOKEN_MAX = 64 << 10 };

/* All texts are borrowed for the identity's life. */
struct identity_config {
    const char *app_id, *namespace_;
    str trust_domain;             /* that we want to be of */
    const char *trust_anchors;    /* PEM: whom everybody in the fleet chains to */
    const char *sentry_address;   /* "host:port" */
    const char *sentry_domain;    /* its trust domain … */
    const char *sentry_namespace; /* … and namespace: it is dapr-sentry of these */
    const char *sentry_identity;  /* under which we ask; NULL = the app id */
    const char *token_file;       /* see identity_token(); NULL = none */
    char *const *audience;        /* of the JWT that is asked for */
    size_t n_audiences;
};

struct identity;
int identity_start(const struct identity_config *c, struct identity **ret, struct error *err) WUR;
void identity_stop(struct identity *i); /* NULL is fine */
/* For the server between sidecars (h2 and http/1.1), and for calls in either; live as long as it.
 */
struct tls_context *identity_server(const struct identity *i);
struct tls_context *identity_h1(const struct identity *i);
struct tls_context *identity_h2(const struct identity *i);

/* What proves to the sentry who we are: what token_file holds, else what Kubernetes has put into
 * kubernetes_file, else nothing. -INVALID: token_file can't be read. */
int identity_token(const char *token_file, const char *kubernetes_file, struct arena *a,
                   str *ret_token, enum sentry_validator *ret_validator, struct error *err) WUR;

struct identity_plan {
    uint64_t renew_ns; /* clock_wall_ns() of the first try to renew */
    uint64_t pause_ns; /* between tries */
};
/* When 65 to 75 % of the life that the certificate has left are over; random in [0, 1). -INVALID:
 * it has ended. */
int identity_plan(const struct tls_certificate *c, uint64_t wall_ns, double random,
                  struct identity_plan *ret) WUR;
