/* memory.h — an exchange without a connection: the request is given, the reply is gathered.
 * Owner:  the caller's frame and arena.   Thread: one worker.
 * Failure: a reply over the limit: writes return -RANGE and the handler sees it; .too_large says
 * so. */
#pragma once

#include "http/server.h"

struct http_memory {
    struct http_exchange x; /* hand &m.x to a handler */
    str body;               /* of the request, not yet read */
    struct http_headers reply_headers, reply_trailers;
    struct buf reply; /* reply.max is the limit */
    bool too_large, aborted;
};

/* req and body are borrowed; the reply's body is at most max_reply bytes. */
void http_memory_init(struct http_memory *m, const struct http_request *req, str body,
                      struct arena *a, size_t max_reply);
void http_memory_done(struct http_memory *m);
