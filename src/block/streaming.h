/* streaming.h — subscriptions whose events go to a client that holds a stream open, not to the app.
 * Delivery, dead letters and policies are those of deliver.c. Streams on one topic of a broker
 * share one subscription at it, so that each gets every message even where consumers compete.
 * Owner:  a stream is its caller's until streaming_close(); the list of them is the blocks'.
 * Thread: a stream's functions in fibers of the worker that opened it; deliveries come from any.
 * Failure: an event that the client hasn't answered when its stream ends goes back to the broker,
 * and so to the others again. Limits: STREAMING_MAX streams on a topic; a stream's events wait in
 * the broker's own fibers, as many as it has under way. */
#pragma once

#include "block/app/channel.h"

struct subscription;
struct streaming;
enum { STREAMING_MAX = 1000 };

struct streaming_request {
    str pubsub, topic, dead_letter;
    struct kvs metadata;
    /* Makes the bytes of an event, in the delivery's fiber and arena. */
    int (*pack)(const struct app_event *e, struct arena *a, str *ret, struct error *err);
    /* On the stream's worker, outside a fiber: it is being stopped, it shall be closed soon. */
    void (*ended)(void *arg);
    void *arg;
};

/* Subscribes. Everything in r is copied. -NOT_FOUND no such pubsub, -DENIED a scope forbids it,
 * -UNAVAILABLE the sidecar is stopping. */
CO int streaming_open(struct blocks *b, const struct streaming_request *r, struct streaming **ret,
                      struct error *err) WUR;
/* The next event's bytes, appended to out. 0, or negative: -UNAVAILABLE the sidecar or the
 * component is being stopped, -CANCELLED, -TIMEOUT. */
CO int streaming_next(struct streaming *s, struct buf *out, struct error *err) WUR;
/* The client's verdict on the oldest event of that id; an unknown id is ignored: it came too late.
 */
void streaming_answer(struct streaming *s, str id, enum event_verdict verdict);
CO void streaming_close(struct streaming *s); /* frees */

/* ---- the blocks' side ---- */

struct streamings;
struct streamings *streamings_new(void) WUR; /* NULL: out of memory */
void streamings_free(struct streamings *l);  /* no stream may be open */
/* Ends every stream, refuses new ones, waits until they have left. Worker 0. */
CO void streamings_stop(struct streamings *l);
/* The same for one component, which is to be closed. Worker 0. */
CO void streamings_end(struct instance *i);
/* Each open stream as a subscription, copied for whoever shows them: pointers appended behind
 * *ret_n of them; ret has room for STREAMINGS_SHOWN more, what is beyond is left out. */
enum { STREAMINGS_SHOWN = 1000 };
int streamings_copy(struct streamings *l, struct arena *a, struct subscription **ret, size_t *ret_n)
    WUR;
