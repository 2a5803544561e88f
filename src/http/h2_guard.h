/* h2_guard.h — judges what a peer sends by the heads of its frames, before nghttp2 works on it:
 * floods, and streams that are used again after their end.
 * Owner:  the connection embeds it.   Thread: the connection's worker; the clock is passed in.
 * Failure: the error code of the GOAWAY that has to follow. Limits: 10,000 frames without use and
 * 1,000 more a second; CONTINUATIONs by the size of header lists; 64 streams are remembered. */
#pragma once

#include "base/str.h"

enum { H2_FRAME_HEAD = 9 };

struct h2_guard {
    bool of_client;
    size_t left; /* bytes until the next frame's head */
    unsigned char head[H2_FRAME_HEAD];
    size_t n_head;
    double budget;
    uint64_t budget_at;
    unsigned continuations, max_continuations;
    uint32_t newest;        /* the stream that the client opened last */
    uint64_t opened, ended; /* bit i is stream newest - 2 * i; both by the client */
};

/* of_client: a client is the peer. max_header_bytes: of a header list. now: clock_now_ns(). */
void h2_guard_init(struct h2_guard *g, bool of_client, size_t max_header_bytes, uint64_t now);
/* The next bytes from the peer: how many of them are good for nghttp2. If that isn't all of them,
 * *ret_code says why the connection must end. */
size_t h2_guard_read(struct h2_guard *g, str bytes, uint64_t now, uint32_t *ret_code) WUR;
/* HTTP/1.1's Upgrade: stream 1 is there, and its request was whole. */
void h2_guard_upgrade(struct h2_guard *g);
