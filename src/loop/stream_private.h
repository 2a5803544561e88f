/* stream_private.h — the inside of a stream, for the files of src/loop only.
 * Owner:  see stream.h.
 * Thread: the stream's worker.   Failure: negative codes. */
#pragma once

#include "loop/address.h"
#include "loop/private.h"
#include "loop/stream.h"

enum { PEER_MAX = 56 }; /* of an IPv6 address with port; a longer unix path is cut */

struct tls;

struct stream {
    uv_poll_t poll;
    struct worker *worker;
    struct fiber *reader, *writer;
    void (*on_readable)(void *arg, bool timed_out);
    void *readable_arg;
    void (*on_hangup)(void *arg);
    void *hangup_arg;
    struct timed idle;
    void *data;
    struct tls *tls; /* NULL: plain */
    int fd;
    uint8_t armed;         /* what poll watches: UV_READABLE … */
    uint8_t n_eager;       /* reads and writes since the last event */
    bool maybe_data;       /* a recv() may find something */
    bool hangup_seen;      /* the peer's FIN was reported */
    bool broken;           /* an error was reported */
    bool due;              /* `idle` is to fire on_readable at once: there is data in TLS's hands */
    bool write_needs_read; /* TLS can't write before it has read */
    char peer[PEER_MAX], local[PEER_MAX];
};

/* Wraps a non-blocking socket, on its worker. NULL out of memory; then fd is still the caller's. */
struct stream *stream_wrap(int fd, const char *peer) WUR;
/* What the socket itself has and takes, past TLS: as stream_try_read() and stream_try_writev(). */
ssize_t stream_raw_read(struct stream *s, void *p, size_t n) WUR;
ssize_t stream_raw_writev(struct stream *s, const struct iovec *iov, size_t n_iov) WUR;
/* Something that decides on what is polled for has changed. */
void stream_rearm(struct stream *s);
/* Waits for the next event; the caller then tries again. */
CO int stream_wait_readable(struct stream *s) WUR;
CO int stream_wait_writable(struct stream *s) WUR;
