/* certs.h — certificates that are made when a test needs them, so none is kept and none expires.
 * Owner:  the caller; cert_done() frees.
 * Thread: any.   Failure: aborts the test. */
#pragma once

#include "base/str.h"

struct cert {
    void *x509, *pkey; /* OpenSSL's */
    str pem, key_pem;
};

struct cert_spec {
    const char *name;        /* the subject's common name */
    const char *alternative; /* "DNS:localhost,IP:127.0.0.1", NULL = none */
    bool ca;
    int from_days, to_days; /* from now; both 0 = valid now */
};

/* issuer NULL: signs itself. */
struct cert cert_make(const struct cert_spec *spec, const struct cert *issuer);
void cert_done(struct cert *c);
/* Its key, under a password; to be freed with mem_free(). */
str cert_key_encrypted(const struct cert *c);
/* Into a new file; its path, to be freed with mem_free(). */
char *cert_file(str pem);
