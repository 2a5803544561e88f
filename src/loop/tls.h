/* tls.h — TLS over a stream that has been dialled: from then on stream_read() and its kin are
 * encrypted, and nothing above this folder sees a difference.
 * Owner:  a context is its maker's and shared by its streams (reference counted).
 * Thread: a context any; a stream its worker.   Failure: -UNAVAILABLE the handshake failed (the
 * text says why: certificate, name, protocol), -INVALID a certificate or key that can't be read.
 * Limits: TLS 1.2 and later; OpenSSL isn't initialised before the first context is made. */
#pragma once

#include "loop/stream.h"

struct tls_context;

struct tls_options {
    str ca;               /* PEM; empty = the system's roots */
    str certificate, key; /* PEM, of the client; empty = none */
    bool insecure;        /* the peer's certificate isn't verified (app channels: facts 5.1) */
    bool h2;              /* ALPN: h2 only; else http/1.1 is offered */
    bool no_alpn;         /* not HTTP: nothing is offered */
};

int tls_context_new(const struct tls_options *o, struct tls_context **ret, struct error *err) WUR;
struct tls_context *tls_context_ref(struct tls_context *c);
void tls_context_unref(struct tls_context *c); /* NULL is fine */

/* Client handshake on s; server_name is sent (SNI) and verified unless it is an address, which is
 * verified as one. Ends at the fiber's deadline, after 15 s at the latest. After a failure s is
 * only good for closing. */
CO int stream_start_tls(struct stream *s, struct tls_context *c, const char *server_name,
                        struct error *err) WUR;
