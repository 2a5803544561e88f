/* context.h — what travels along a chain of calls: how important the work is, and how long there is
 * for it. In headers (gRPC: metadata); and where an app passes on no more than the trace, by its
 * id: the calls that our app works on are remembered until they end. Owner:  an entry is in the
 * frame of its call; texts are the request's. Thread: any; a short mutex of one shard, and none
 * while nothing is remembered. Limits: entries are as many as calls in the app.   Failure: a
 * malformed header is -INVALID. */
#pragma once

#include "base/list.h"
#include "http/message.h"
#include "policy/priority.h"

struct call_context {
    enum priority priority;
    int sub;             /* -1: none was given */
    bool has_priority;   /* else .priority is PRIORITY_NORMAL */
    uint64_t timeout_ns; /* what is left; UINT64_MAX = no deadline */
};

/* As the headers say. -INVALID, with the HTTP status 400: one of them can't be read. */
int context_read(const struct http_headers *h, struct call_context *ret, struct error *err) WUR;
/* The 16 bytes of the trace that the headers name; false: none. */
bool context_trace(const struct http_headers *h, uint8_t ret[16]);
/* Puts c into the headers of a call that goes on: the priority if there is one, and the fiber's
 * deadline, if it has one. -EXHAUSTED. */
int context_write(const struct call_context *c, struct http_headers *h) WUR;

/* The deadline alone: what is left of it by now. */
int context_write_timeout(struct http_headers *h) WUR;
/* The error of a call that has run out of the time which its headers gave: 504. Returns -TIMEOUT.
 */
int context_expired(struct error *err);

/* A refusal by another's overload control, as its headers or trailers have it, into the error that
 * tells of it; without one err stays as it is. */
void context_read_refusal(const struct http_headers *h, struct error *err);

/* ---- by trace id ---- */

struct contexts;
struct context_entry {
    struct list node;
    uint8_t trace[16];
    struct call_context context;
    uint64_t deadline_ns; /* by sched_now(); UINT64_MAX = none */
    bool kept;
};

struct contexts *contexts_new(void) WUR; /* NULL out of memory */
void contexts_free(struct contexts *c);
/* From now until context_forget(): nothing is kept for a call without a trace, or with neither
 * priority nor deadline. The deadline is the fiber's. */
void context_remember(struct contexts *c, struct context_entry *e, const struct http_headers *h,
                      const struct call_context *context);
void context_forget(struct contexts *c, struct context_entry *e);
/* What the call lacks it inherits from those of its trace that are in our app: the highest
 * priority, the latest deadline. */
void context_inherit(struct contexts *c, const struct http_headers *h,
                     struct call_context *context);
