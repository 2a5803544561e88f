/* pull.h — a stream on which a component sends messages and we acknowledge them; kept up until it
 * is stopped: when it breaks it is opened again, and messages that weren't acknowledged come again
 * if the component can do that. Owner:  who started it; pull_stop() frees. Thread: it lives on the
 * worker that started it; may be stopped from any. Limits: .parallel messages at once; then no more
 * is read. Failure: a start that fails is told; what breaks later is logged. */
#pragma once

#include "plugin.h"

struct pull_message {
    void *m; /* of .type, in the arena */
    struct arena *arena;
    str reply; /* of the app, where the protocol has a place for it */
};

struct pull_ops {
    str path;
    const ProtobufCMessageDescriptor *type;
    size_t parallel;
    CO int (*first)(void *arg, struct http_call *call); /* NULL: nothing is said first */
    CO int (*handle)(void *arg, struct pull_message *m, struct error *err);
    /* text NULL: it was processed. */
    CO int (*ack)(void *arg, struct http_call *call, const struct pull_message *m, char *text);
    /* The work is over and all that is in flight is to be finished; may be NULL. */
    CO void (*pause)(void *arg);
};

struct pull;
CO int pull_start(struct plug *plug, const struct pull_ops *ops, void *arg, struct pull **ret,
                  struct error *err) WUR;
/* Takes no new message, waits for handlers in flight and acknowledges them, closes, frees. */
CO void pull_stop(struct pull *p);
