/* client_private.h — the inside of a client, for the files of src/http only.
 * Owner:  the client; each worker's part belongs to that worker.
 * Thread: struct client_worker on its own worker.
 * Failure: negative codes. */
#pragma once

#include "http/client.h"
#include "http/h1_io.h"

#include "base/map.h"
#include "fiber/sync.h"
#include "loop/stream.h"
#include "loop/worker.h"

enum { CLIENT_WORKERS_MAX = 64, CLIENT_ADDRESSES_MAX = 4096 };

struct http_call_ops {
    CO int (*write)(struct http_call *c, str data);
    CO int (*end)(struct http_call *c, const struct http_headers *trailers);
    CO int (*response)(struct http_call *c, const struct http_response **ret, struct error *err);
    CO int (*read)(struct http_call *c, str *ret);
    const struct http_headers *(*trailers)(const struct http_call *c);
    void (*free)(struct http_call *c);
};

struct http_call {
    const struct http_call_ops *ops;
    struct arena *arena;
    bool reused;
    void *grpc; /* grpc.h's place in the stream of messages */
};

/* The connections of one worker to one address; there while it has any, or somebody in it. */
struct client_pool {
    struct client_worker *worker;
    struct list conns;      /* HTTP/2: all that take new streams */
    struct list idle;       /* HTTP/1: kept ones, the latest first */
    size_t n_conns;         /* open, or being dialled */
    size_t n_idle, n_users; /* users: fibers that hold the pool across a suspension */
    struct waitq waiters;
    bool dialing; /* HTTP/2: the others wait for that */
    char address[ADDRESS_MAX];
};

struct client_worker {
    struct http_client *client;
    struct map pools;       /* by address */
    struct h1_call *spares; /* h1 calls with their buffers */
    size_t n_spares;
};

struct http_client {
    struct http_client_config config;
    struct client_worker *worker[CLIENT_WORKERS_MAX]; /* each made by its worker */
};

/* Makes the pool when needed, and counts the caller as a user. NULL: out of memory. */
struct client_pool *client_pool_enter(struct client_worker *w, const char *address) WUR;
/* The pool may be gone afterwards. */
void client_pool_leave(struct client_pool *p);
/* A connection is gone: somebody who waits may dial. The pool may be gone afterwards. */
void client_pool_closed(struct client_pool *p);

/* Whether the server is whom the call is for: 0, -UNAVAILABLE. */
int client_check_peer(const struct client_pool *p, const struct stream *s, str peer_id,
                      struct error *err) WUR;

int h1_call_start(struct client_pool *p, const struct http_request *req, str body, bool end,
                  struct http_call **ret, struct error *err) WUR;
void h1_client_close_idle(struct client_pool *p);
void h1_client_free_spares(struct client_worker *w);

CO int h2_call_start(struct client_pool *p, const struct http_request *req, str body, bool end,
                     struct http_call **ret, struct error *err) WUR;
void h2_client_close_all(struct client_pool *p);
