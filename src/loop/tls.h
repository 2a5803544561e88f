/* tls.h — TLS over a stream that has been dialled or accepted: from then on stream_read() and its
 * kin are encrypted, and nothing above this folder sees a difference.
 * Owner:  a context is its maker's and shared by its streams (reference counted).
 * Thread: a context any; a stream its worker.   Failure: -UNAVAILABLE the handshake failed (the
 * text says why: certificate, name, protocol), -INVALID a certificate or key that can't be read.
 * Limits: TLS 1.2 and later, no resumption; OpenSSL isn't initialised before the first context. */
#pragma once

#include "base/arena.h"
#include "loop/stream.h"

struct tls_context;

/* What a client does when a TLS 1.2 server asks for a new handshake. */
enum tls_renegotiation { TLS_RENEGOTIATE_NEVER, TLS_RENEGOTIATE_ONCE, TLS_RENEGOTIATE_FREELY };
/* What a server asks of its clients. */
enum tls_client_auth { TLS_CLIENT_ANY, TLS_CLIENT_MAY, TLS_CLIENT_MUST };

struct tls_options {
    str ca;               /* PEM, what the peer must chain to; empty = the system's roots */
    str certificate, key; /* PEM, our own, chain included; empty = none. A server must have one */
    bool insecure;        /* the server's certificate isn't verified (app channels: facts 5.1) */
    /* The peer is a workload with a SPIFFE id: no host's name is verified, but its certificate
     * must name exactly one URI (stream_peer_id()) and be no CA's. Needs .ca. */
    bool spiffe;
    bool h2;      /* ALPN: a client offers h2 alone, a server takes h2 and http/1.1 … */
    bool no_alpn; /* … not HTTP: none; neither: http/1.1 */
    enum tls_renegotiation renegotiation;
    bool server;                      /* for stream_accept_tls() */
    enum tls_client_auth client_auth; /* of a server; MAY and MUST need .ca */
};

/* "RenegotiateNever" (as ""), "RenegotiateOnceAsClient", "RenegotiateFreelyAsClient": the
 * contract's words. False: another. */
bool tls_renegotiation_parse(str text, enum tls_renegotiation *ret) WUR;

/* The texts are read, not kept. Reads files only for the system's roots, at each handshake the few
 * it needs. */
int tls_context_new(const struct tls_options *o, struct tls_context **ret, struct error *err) WUR;
/* From now on handshakes take what *o says, made as by tls_context_new(): of the same side, with
 * the same .h2 and .spiffe. Streams that there are keep what they began with. Any thread, also
 * while others shake hands. After a failure all is as before. */
int tls_context_renew(struct tls_context *c, const struct tls_options *o, struct error *err) WUR;
struct tls_context *tls_context_ref(struct tls_context *c);
void tls_context_unref(struct tls_context *c); /* NULL is fine */

/* Client handshake on s; server_name is sent (SNI) and verified unless it is an address, which is
 * verified as one. Ends at the fiber's deadline, after 15 s at the latest. After a failure s is
 * only good for closing. */
CO int stream_start_tls(struct stream *s, struct tls_context *c, const char *server_name,
                        struct error *err) WUR;
/* The server's side of it, on a stream that was accepted and not read from yet. */
CO int stream_accept_tls(struct stream *s, struct tls_context *c, struct error *err) WUR;

/* stream_dial() and stream_start_tls() in one; c NULL: without TLS. server_name NULL: the host of
 * the address, "localhost" for a unix socket. */
CO int stream_dial_tls(const char *address, struct tls_context *c, const char *server_name,
                       struct stream **ret, struct error *err) WUR;

/* "h2", "http/1.1", or empty: no TLS, or nothing was agreed on. Lives with the stream. */
str stream_alpn(const struct stream *s);
/* Whether the peer has shown a certificate that was verified. */
bool stream_peer_verified(const struct stream *s);
/* The URI of the peer's certificate, where the context is .spiffe; else empty. Lives with the
 * stream. */
str stream_peer_id(const struct stream *s);
/* Why TLS failed after the handshake, such as "tlsv13 alert certificate required" (a TLS 1.3 server
 * refuses a client's certificate only then) or an end without TLS's close_notify; NULL: it didn't.
 * Static storage. */
const char *stream_tls_failure(const struct stream *s);

/* What the first certificate of a PEM text says of itself; id in the arena. */
struct tls_certificate {
    int64_t from_s, until_s; /* validity, since 1970 UTC */
    str id;                  /* its URI */
};
/* -INVALID: unreadable, or without exactly one URI, or a CA's. */
int tls_certificate_read(str pem, struct arena *a, struct tls_certificate *ret, struct error *err)
    WUR;
