/* server.h — HTTP/1.1 and HTTP/2 (h2c by prior knowledge and Upgrade) on one port, one API for
 * both. Owner:  the server owns connections; an exchange lives until its handler returns. Thread: a
 * handler runs in a fiber of its own on the connection's worker. Failure: reads and writes return
 * -CANCELLED when the caller has left, -TIMEOUT at the fiber's deadline. Limits: header bytes, body
 * bytes, idle time and streams by config; one fiber a request in flight, none and no buffer for an
 * idle connection; at most 64 KiB of a body is held in each direction. */
#pragma once

#include "base/buf.h"
#include "http/message.h"
#include "loop/tls.h"

struct http_server;
struct http_exchange;

/* What an HTTP version (or a middleware that wraps an exchange, or a test) does behind the
 * functions below. */
struct http_exchange_ops {
    CO int (*read)(struct http_exchange *x, str *ret_chunk);
    CO int (*start)(struct http_exchange *x, int status, const struct http_headers *headers,
                    int64_t content_length);
    CO int (*write)(struct http_exchange *x, str data);
    CO int (*end)(struct http_exchange *x, const struct http_headers *trailers);
    /* start, write and end in one go, so that a small reply is one system call; NULL = the three in
     * turn. */
    CO int (*reply)(struct http_exchange *x, int status, const struct http_headers *headers,
                    str body);
    void (*abort)(struct http_exchange *x);
};

struct http_exchange {
    const struct http_exchange_ops *ops;
    struct http_request req;
    struct arena *arena; /* the request's: reset when the handler has returned */
    const char *peer;    /* "127.0.0.1:4711" */
    const char *local;
    str peer_id;                  /* the URI of its certificate, where TLS is .spiffe; else empty */
    int version;                  /* 11 or 20 */
    int status;                   /* of the reply, once started; 0 before */
    uint64_t bytes_in, bytes_out; /* of bodies, so far */
    bool started, ended;          /* the reply */
    void *user;                   /* for the layers above */
    void *grpc;                   /* grpc.h's place in the stream of messages */
};

struct http_server_config {
    CO void (*handle)(void *arg, struct http_exchange *x); /* no reply by its end: 500 is sent */
    void *arg;
    size_t max_header_bytes;    /* request line and fields; over it: 431 */
    uint64_t max_body_bytes;    /* over it http_read() fails with -RANGE; 0 = no limit */
    size_t max_arena_bytes;     /* memory of one request besides the streamed body; 0 = 16 MiB */
    uint64_t header_timeout_ns; /* from the first byte of a head to its last; 0 = 10 s */
    uint64_t idle_timeout_ns;   /* a kept connection without a request; 0 = 75 s */
    uint64_t body_timeout_ns;   /* without any progress of a body; 0 = 60 s */
    /* HTTP/2: a connection that was silent for the first is sent a PING, and ends when it stays
     * silent for the second (0 = 5 s). 0 = no PINGs. */
    uint64_t keepalive_ns, keepalive_timeout_ns;
    bool long_streams;    /* HTTP/2: a body may pause for as long as the connection lives */
    bool h2;              /* accept HTTP/2 cleartext */
    bool h2_only;         /* gRPC ports: HTTP/1 gets 400 */
    uint32_t max_streams; /* HTTP/2 streams of one connection; 0 = 10000 */
    /* A server's context, with the same .h2: every connection begins with TLS. The server takes a
     * reference. NULL = plain. */
    struct tls_context *tls;
};

/* address as in listener_open(). The config is copied. */
int http_server_open(const char *address, const struct http_server_config *config,
                     struct http_server **ret, struct error *err) WUR;
uint16_t http_server_port(const struct http_server *s);
const char *http_server_address(const struct http_server *s);
/* Exchanges in flight; what those did that have ended is seen by whoever sees that. */
size_t http_server_active(const struct http_server *s);
/* Stops accepting, closes idle connections (h2: GOAWAY), lets exchanges in flight end (at most
 * grace_ns, UINT64_MAX = no limit), then closes what is left. Returns how many were cut off.
 * Off-worker thread. */
size_t http_server_stop(struct http_server *s, uint64_t grace_ns);
void http_server_free(struct http_server *s); /* after stop; NULL is fine */

/* ---- in a handler ---- */

/* Next piece of the request's body: 1 and a slice that is good until the next call; 0 at the end;
 * -RANGE over max_body_bytes, -INVALID bad framing, -CANCELLED, -TIMEOUT. Sends 100 Continue when
 * asked for. */
CO int http_read(struct http_exchange *x, str *ret_chunk) WUR;
/* The whole body into the arena; at most max bytes, else -RANGE. One slice, no copy when it's all
 * there. */
CO int http_read_all(struct http_exchange *x, size_t max, str *ret) WUR;

/* A whole reply. Sets Content-Length and Date; headers may be NULL. */
CO int http_reply(struct http_exchange *x, int status, const struct http_headers *headers, str body)
    WUR;
/* A streamed reply: content_length -1 = unknown (chunked in h1). */
CO int http_reply_start(struct http_exchange *x, int status, const struct http_headers *headers,
                        int64_t content_length) WUR;
CO int http_reply_write(struct http_exchange *x, str data)
    WUR; /* suspends while the peer doesn't read */
CO int http_reply_end(struct http_exchange *x, const struct http_headers *trailers) WUR;
/* Breaks the reply off so that the peer can tell: connection closed in h1, RST_STREAM in h2. */
void http_reply_abort(struct http_exchange *x);
