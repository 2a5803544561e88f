/* client.h — pooled HTTP client, HTTP/1.1 and HTTP/2 by prior knowledge, one API for both.
 * Owner:  the client owns connections; a call is its caller's, http_call_free() ends it.
 * Thread: any worker; each has a pool of its own. A call stays on its worker.
 * Failure: -UNAVAILABLE no connection (nothing was sent, or a kept connection died before any
 * answer), -CANCELLED, -TIMEOUT, -INVALID malformed answer, -EXHAUSTED the pool's limit. Limits:
 * max_conns an address and worker (then callers queue), max_idle kept; response head by config. */
#pragma once

#include "http/message.h"
#include "loop/tls.h"

struct http_client;
struct http_call;

struct http_client_config {
    bool h2; /* HTTP/2 prior knowledge; streams share connections, up to 2048 each */
    size_t max_conns, max_idle; /* an address and worker; 0 = 1024 and 64 */
    uint64_t idle_timeout_ns;   /* a kept connection; 0 = 3 min */
    /* HTTP/2: a connection that was silent for the first is sent a PING, and ends when it stays
     * silent for the second (0 = 5 s). 0 = no PINGs. */
    uint64_t keepalive_ns, keepalive_timeout_ns;
    void (*expired)(const char *address); /* HTTP/2: one ends after idle_timeout_ns; may be NULL */
    uint64_t dial_timeout_ns;             /* TLS's handshake included; 0 = 5 s */
    size_t max_header_bytes;              /* of a response; 0 = 64 KiB */
    /* Every connection speaks TLS, its peer verified by the address' host; made with the same .h2.
     * The client takes a reference. NULL = plain. */
    struct tls_context *tls;
};

struct http_client *http_client_new(const struct http_client_config *config)
    WUR; /* NULL: out of memory */
bool http_client_is_h2(const struct http_client *c);
/* Closes all connections on all workers. Off-worker thread, no call may be left. */
void http_client_free(struct http_client *c);

struct http_response {
    int status;
    struct http_headers headers; /* in the call's arena */
    int64_t content_length;      /* -1: unknown */
};

/* Takes a connection (dialling when needed) and sends the head with the first piece of the body, in
 * one write when they fit; end = that is all of it. req->content_length -1 and !end: chunked. Host
 * is added from req->authority, or the address. A kept connection that turns out dead is
 * replaced: when it took nothing of the request, and once more before a byte of the answer came if
 * end is set, the body is at most 64 KiB and the method idempotent (RFC 9110 section 9.2.2, or an
 * Idempotency-Key): anything else might happen twice. address: "host:port" or "unix:/path". Waits
 * end at the fiber's deadline. */
CO int http_call_start(struct http_client *c, const char *address, const struct http_request *req,
                       str body, bool end, struct http_call **ret, struct error *err) WUR;
CO int http_call_write(struct http_call *call, str data) WUR;
CO int http_call_end(struct http_call *call, const struct http_headers *trailers) WUR;
/* Waits for the final head; 1xx are passed over. The call may still be sending (another fiber of
 * this worker may write while this one reads). */
CO int http_call_response(struct http_call *call, const struct http_response **ret,
                          struct error *err) WUR;
/* As http_read(): 1 and a slice, 0 at the end, negative on failure. */
CO int http_call_read(struct http_call *call, str *ret_chunk) WUR;
CO int http_call_read_all(struct http_call *call, size_t max, str *ret)
    WUR; /* into the call's arena; -RANGE */
const struct http_headers *http_call_trailers(
    const struct http_call *call); /* after the end; NULL = none */
struct arena *http_call_arena(struct http_call *call);
/* Whether this call's connection was kept from an earlier one. */
bool http_call_reused(const struct http_call *call);
/* Whether the peer has said that it took nothing of the call (HTTP/2: REFUSED_STREAM), so that it
 * may be made again whatever it is (RFC 9113 section 8.7). Servers do so when they have many. */
bool http_call_refused(struct http_call *call);
/* Keeps the connection when both sides have ended cleanly, otherwise closes it (h2: RST_STREAM
 * CANCEL). */
void http_call_free(struct http_call *call);
void http_call_freep(struct http_call **call);
