/* stream.h — byte streams (TCP, unix socket, either with TLS: tls.h) that read like blocking calls.
 * Owner:  whoever accepted or dialled it; stream_close() frees, and no fiber may be inside by then.
 * Thread: the worker that made it.   Failure: negative codes; after one the stream is only good for
 * closing. Limits: none of its own: it never buffers, a read goes straight to the caller's memory.
 */
#pragma once

#include "base/error.h"
#include "fiber/fiber.h"

#include <sys/types.h>
#include <sys/uio.h>

struct stream;

enum { ADDRESS_MAX = 128 };

/* host:port, [v6]:port or unix:/path. Names are resolved on the pool. TCP_NODELAY is set. Gives up
 * at the fiber's deadline, after 10 s at the latest. -UNAVAILABLE with address and cause, -TIMEOUT,
 * -CANCELLED, -INVALID (address), -EXHAUSTED (descriptors, memory). */
CO int stream_dial(const char *address, struct stream **ret, struct error *err) WUR;
/* Closes and frees; the peer sees FIN. reset = RST at once (after a protocol error, without
 * TIME_WAIT). */
void stream_close(struct stream *s);
void stream_reset(struct stream *s);
void stream_closep(struct stream **s); /* for AUTO() */

/* 1 … n bytes, 0 at the end of the stream, or -CANCELLED, -TIMEOUT, -UNAVAILABLE (connection lost).
 */
CO ssize_t stream_read(struct stream *s, void *p, size_t n) WUR;
/* The same without waiting: -ABORTED when nothing is there yet. Outside of fibers too. */
ssize_t stream_try_read(struct stream *s, void *p, size_t n) WUR;
/* Writes it all or fails; the vector is changed on the way. */
CO int stream_writev(struct stream *s, struct iovec *iov, size_t n_iov) WUR;
CO int stream_write(struct stream *s, str data) WUR;
/* What the socket takes at once: 0 … n bytes written, never waits. Outside of fibers too. */
ssize_t stream_try_writev(struct stream *s, const struct iovec *iov, size_t n_iov) WUR;
int stream_shutdown(struct stream *s); /* no more writes from us */

/* Idle mode: no fiber waits, so no stack and no buffer is held. fn(arg) is called on the worker,
 * outside a fiber, once, when the stream becomes readable or the peer has gone; it may spawn a
 * fiber that reads. At most one of stream_read() and this is pending. idle_ns: then fn gets
 * timed_out = true; 0 = never. */
void stream_on_readable(struct stream *s, uint64_t idle_ns, void (*fn)(void *arg, bool timed_out),
                        void *arg);
/* Takes it back; false when it has fired already. */
bool stream_off_readable(struct stream *s);

/* Watches for the peer leaving while a fiber works on its request: fn(arg) once on FIN, RST or
 * error, on the worker, outside a fiber; typically fiber_cancel(). NULL = stop watching. Data is
 * left alone. */
void stream_on_hangup(struct stream *s, void (*fn)(void *arg), void *arg);

const char *stream_peer(
    const struct stream *s); /* "127.0.0.1:4711", "unix:"; lives with the stream */
const char *stream_local(const struct stream *s);
void stream_set_data(struct stream *s, void *data);
void *stream_data(const struct stream *s);

/* ---- listening ---- */

struct listener;
typedef void accept_fn(void *arg,
                       struct stream *s); /* on the worker that accepted, outside a fiber */

/* Listens on every worker (SO_REUSEPORT; a unix socket on the first, which hands streams round) and
 * returns the real address, so that port 0 is good for tests. "host:port", "[v6]:port",
 * ":port" (all interfaces) or "unix:/path" (a stale file is replaced). At start-up: it blocks to
 * resolve a name. Backlog 1024. -EXISTS when the address is in use, -DENIED without the right to
 * it. */
int listener_open(const char *address, accept_fn *on_accept, void *arg, struct listener **ret,
                  struct error *err) WUR;
const char *listener_address(const struct listener *l); /* "127.0.0.1:40123" */
uint16_t listener_port(const struct listener *l);
/* Stops accepting on all workers, waits for that, frees; NULL is fine. From a fiber, or off the
 * workers. */
void listener_close(struct listener *l);

/* ---- datagrams (mDNS) ---- */

struct udp;
int udp_open_multicast(const char *group, uint16_t port, struct udp **ret, struct error *err)
    WUR; /* on a worker */
CO ssize_t udp_recv(struct udp *u, void *p, size_t n, char ret_from[ADDRESS_MAX]) WUR;
int udp_send(struct udp *u, str data, const char *to) WUR; /* NULL = the group */
void udp_close(struct udp *u);
