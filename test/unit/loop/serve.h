/* serve.h — a listener whose streams are served by one fiber each, for the tests of src/loop.
 * Owner:  the test; serve_stop() ends it, all streams must have ended.
 * Thread: any.   Failure: aborts the test. */
#pragma once

#include "fiber/sync.h"
#include "loop/stream.h"
#include "test/testing.h"

#include <stdatomic.h>
#include <unistd.h>

struct server {
    struct listener *listener;
    void (*serve)(struct stream *s); /* in a fiber; the stream is closed after it */
    atomic_size_t n_open, per_worker[2];
};

static inline void unix_address(char ret[64], const char *suffix)
{
    snprintf(ret, 64, "unix:/tmp/proa-test-%ld-%s", (long)getpid(), suffix);
}

static inline void serve_fiber(void *arg)
{
    struct stream *s = arg;
    struct server *server = stream_data(s);
    server->serve(s);
    stream_close(s);
    atomic_fetch_sub(&server->n_open, 1);
}

static inline void serve_accept(void *arg, struct stream *s)
{
    struct server *server = arg;
    stream_set_data(s, server);
    atomic_fetch_add(&server->n_open, 1);
    atomic_fetch_add(&server->per_worker[worker_index(worker_self())], 1);
    if (fiber_spawn("serve", serve_fiber, s))
        return;
    atomic_fetch_sub(&server->n_open, 1); /* out of memory */
    stream_close(s);
}

static inline void serve_start(struct server *server, const char *address,
                               void (*serve)(struct stream *))
{
    struct error err = { 0 };
    *server = (struct server){ .serve = serve };
    REQUIRE(listener_open(address, serve_accept, server, &server->listener, &err) == 0, "%s",
            err.text);
}

/* From a fiber. Waits (at most 5 s) until the last stream has ended. */
static inline void serve_stop(struct server *server)
{
    listener_close(server->listener);
    DEADLINE(SEC(5));
    while (atomic_load(&server->n_open) && fiber_sleep(MS(1)) == 0)
        ;
    CHECK_EQ(atomic_load(&server->n_open), 0);
}

static inline struct stream *dial_server(const struct server *server)
{
    struct stream *s = NULL;
    struct error err = { 0 };
    REQUIRE(stream_dial(listener_address(server->listener), &s, &err) == 0, "%s", err.text);
    return s;
}

/* Exactly n bytes. */
static inline bool read_all(struct stream *s, char *p, size_t n)
{
    while (n) {
        ssize_t got = stream_read(s, p, n);
        if (got <= 0)
            return false;
        p += got;
        n -= (size_t)got;
    }
    return true;
}
