/* server_private.h — the inside of a server, for the files of src/http only.
 * Owner:  the server; each worker's part belongs to that worker.
 * Thread: struct server_worker on its own worker, but for the atomics.
 * Failure: negative codes. */
#pragma once

#include "http/h1_io.h"
#include "http/server.h"

#include "fiber/sync.h"
#include "loop/stream.h"
#include "loop/worker.h"

#include <stdatomic.h>

/* What is read in vain before we close, so that the last we sent isn't lost to an RST. */
#define LINGER_NS SEC(2)
enum { LINGER_MAX = 256 << 10 };

struct server_conn;

struct server_conn_ops {
    void (*stop)(struct server_conn *c);   /* no new requests; close when idle */
    void (*hurry)(struct server_conn *c);  /* a head that is still not whole isn't waited for */
    size_t (*kill)(struct server_conn *c); /* cancel what runs; how many exchanges that were */
};

struct server_conn {
    struct list link; /* server_worker.conns */
    const struct server_conn_ops *ops;
    struct server_worker *worker;
    struct stream *stream;
};

struct server_worker {
    struct http_server *server;
    struct list conns;
    struct h1_unit *units; /* spare ones */
    size_t n_units;
    _Atomic size_t active; /* exchanges in flight; written by this worker only */
    bool stopping;
    struct waitq drained; /* conns has become empty */
    char pad[64];         /* the next worker's part is on other cache lines */
};

struct http_server {
    struct http_server_config config;
    struct listener *listener;
    size_t n_workers;
    struct server_worker worker[];
};

void server_conn_init(struct server_conn *c, struct server_worker *w, struct stream *s,
                      const struct server_conn_ops *ops);
/* Forgets the connection; its stream is the caller's to close. */
void server_conn_done(struct server_conn *c);
void server_active_add(struct server_worker *w, int n);
/* Calls the handler and sees to it that there's an end to the reply. */
CO void server_run_handler(struct server_worker *w, struct http_exchange *x);

/* Takes a stream that was just accepted. */
void h1_server_accept(struct server_worker *w, struct stream *s);
void h1_units_free(struct server_worker *w);

/* HTTP/2 takes over a stream on which `received` was read; copies that. Upgrade: req is stream 1
 * (its slices are copied), settings the HTTP2-Settings field, and 101 has been sent. Without: NULL.
 * -INVALID bad settings or preface, -EXHAUSTED; then the stream is still the caller's. */
int h2_server_adopt(struct server_worker *w, struct stream *s, str received,
                    const struct http_request *req, str settings) WUR;
