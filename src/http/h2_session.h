/* h2_session.h — one HTTP/2 connection over nghttp2, for server and client alike.
 * Owner:  the side (h2_server.c, h2_client.c) embeds both structs and frees them when told to.
 * Thread: the stream's worker.   Failure: a stream is closed with an error code; the connection
 * fails as a whole, then each of its streams is told. Limits: 64 KiB of a body a stream and
 * direction, 8 MiB unread a connection, header bytes by the side, and those of h2_guard.h. */
#pragma once

#include "http/flush.h"
#include "http/h2_guard.h"
#include "http/h2_keepalive.h"
#include "http/message.h"

#include "base/buf.h"
#include "loop/stream.h"

#include <nghttp2/nghttp2.h>

struct h2_conn;
struct h2_stream;

struct h2_side {
    bool server;
    /* Server: a request begins; NULL refuses it. */
    struct h2_stream *(*open)(struct h2_conn *c, int32_t id);
    /* A block of headers is whole: the first final one (then s->head_done is set), or trailers. */
    void (*headers)(struct h2_stream *s);
    /* Nothing will come any more, and nothing can be sent; s is off the connection's list. */
    void (*closed)(struct h2_stream *s);
    /* END_STREAM of ours has gone out. */
    void (*sent)(struct h2_stream *s);
    /* The peer takes no new streams. Client only. */
    void (*draining)(struct h2_conn *c);
    /* It had no streams for long enough and is about to end. NULL = nobody wants to know. */
    void (*expired)(struct h2_conn *c);
    /* The connection is over and no stream holds it: free it. */
    void (*gone)(struct h2_conn *c);
};

struct h2_conn {
    const struct h2_side *side;
    nghttp2_session *session; /* NULL once failed */
    struct stream *stream;
    struct list streams;  /* open ones */
    size_t n_streams;     /* all that hold the connection, closed ones included */
    size_t n_lingering;   /* those that were closed and are still held */
    struct buf out;       /* what the socket didn't take */
    struct fiber *writer; /* waits for it to take more */
    struct flush flush;
    size_t held, deferred; /* unread bytes of bodies; those not yet granted again */
    size_t max_header_bytes;
    size_t list_bytes; /* of all header lists that its streams have */
    uint64_t write_timeout_ns;
    struct h2_keepalive keepalive; /* its config is set before h2_conn_init() */
    struct h2_guard guard;
    uint32_t verdict; /* the connection ends with it unless it is NGHTTP2_NO_ERROR */
    bool failed, closing;
    bool over;             /* all was said: it ended as the protocol has it */
    bool settled;          /* the peer's first SETTINGS are here: its limits are known */
    struct fiber *settler; /* waits for that */
};

struct h2_stream {
    struct h2_conn *conn;
    struct list link;
    int32_t id;
    struct arena *arena;
    struct http_headers headers, trailers;
    str method, path, authority; /* pseudo headers */
    int status;
    size_t header_bytes, list_bytes; /* of the list that is coming; of all so far */
    bool head_done, headers_too_large, no_memory;

    struct buf in, given; /* what has come; what the reader holds, not yet granted again */
    bool in_end, discard;
    size_t discarded; /* bytes */
    struct fiber *reader, *sender;
    struct buf out;
    nghttp2_nv *trailer_nv;
    size_t n_trailer_nv;
    bool out_end, out_sent, deferred;

    bool closed, lingers;
    uint32_t error; /* NGHTTP2_… once closed */
};

/* Takes the stream over (and, on failure, leaves it). settings: up to 4 of the side's. */
int h2_conn_init(struct h2_conn *c, const struct h2_side *side, struct stream *stream,
                 const nghttp2_settings_entry *settings, size_t n_settings) WUR;
/* Starts to read; the connection may be gone when the first bytes were bad. */
void h2_conn_run(struct h2_conn *c, str received);
/* Waits for the peer's SETTINGS; the connection may be gone after a failure. */
CO int h2_conn_settle(struct h2_conn *c) WUR;
/* Ends it: every stream is closed with -UNAVAILABLE, gone() follows when the last lets go. */
void h2_conn_fail(struct h2_conn *c);
/* GOAWAY; fails when the last stream has ended. */
void h2_conn_drain(struct h2_conn *c);
/* One stream object less. */
void h2_conn_release(struct h2_conn *c);
/* There's something for nghttp2 to send. */
void h2_conn_flush(struct h2_conn *c);

void h2_stream_init(struct h2_stream *s, struct h2_conn *c, int32_t id, struct arena *arena);
/* Forgets it: reset with the code unless it is closed, buffers freed. The arena is the side's. */
void h2_stream_done(struct h2_stream *s, uint32_t code);

/* Next piece: 1, 0 at the end, or the fiber's failure, or h2_stream_failure(). */
CO int h2_stream_read(struct h2_stream *s, str *ret) WUR;
/* Puts data into the send buffer, waiting for room. */
CO int h2_stream_write(struct h2_stream *s, str data) WUR;
/* Ends our side; trailers may be NULL, they are copied. */
int h2_stream_end(struct h2_stream *s, const struct http_headers *trailers) WUR;
/* For who works on the buffers himself (splice.c): n bytes of s->in were taken; something was put
 * into s->out. */
void h2_stream_consumed(struct h2_stream *s, size_t n);
void h2_stream_resume(struct h2_stream *s);
/* Nobody reads any more: what has come and what comes is dropped, and the peer may send on. */
void h2_stream_discard(struct h2_stream *s);
/* The stream behind an exchange or a call; NULL when it isn't HTTP/2. */
struct http_exchange;
struct http_call;
struct h2_stream *h2_exchange_stream(struct http_exchange *x);
struct h2_stream *h2_call_stream(struct http_call *c);
/* Waits until something happens to the stream. */
CO int h2_stream_wait(struct h2_stream *s) WUR;
/* The code for a stream that was closed early. */
int h2_stream_failure(const struct h2_stream *s);

/* The provider of a stream's send buffer. */
nghttp2_data_provider h2_stream_provider(struct h2_stream *s);
/* Pseudo headers first, then those of h with lower-case names, without what HTTP/2 forbids, and
 * content-length unless it is negative. -INVALID, -EXHAUSTED. */
int h2_make_nv(struct arena *arena, const struct http_header *pseudo, size_t n_pseudo,
               const struct http_headers *h, int64_t content_length, nghttp2_nv **ret,
               size_t *ret_n) WUR;
