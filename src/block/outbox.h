/* outbox.h — a transaction and the events about it, both or none: the event goes to a topic of our
 * own first, the transaction carries a marker, and whoever reads that topic publishes the event
 * once the marker is there.
 *
 *   transact: publish to <namespace><app><topic>outbox → transaction + marker outbox-<uuid> →
 * answer reader:   wait for the marker → publish to the public topic → delete the marker →
 * acknowledge
 *
 * An acknowledged transaction is published at least once, to the promise of broker and store: a
 * crash in between leaves the event in the topic. One whose marker never comes is given back to the
 * broker until it is OUTBOX_GIVE_UP old: its transaction failed, or it was published just before a
 * crash.
 * Owner:  the runtime has the readers; what a store is configured to lives in its instance.
 * Thread: prepare on any worker; start and stop on worker 0.   Failure: ERR_PUBLISH_OUTBOX. */
#pragma once

#include "block/state.h"

#define OUTBOX_GIVE_UP_NS SEC(3600)

struct outbox { /* a state store's; strings live in its instance */
    str publish_pubsub, publish_topic, pubsub;
    bool discard; /* without a marker the event is dropped at once */
};

/* *ret NULL: the store has no outbox. */
int outbox_attach(struct instance *i, struct outbox **ret, struct error *err) WUR;
/* Publishes the events of the transaction to the topic of our own. t->w: afterwards without
 * projections and with the markers. Its keys have their prefix. */
CO int outbox_prepare(struct blocks *b, const struct outbox *o, struct state_transaction *t,
                      struct arena *a, struct error *err) WUR;

struct outboxes;
/* A reader for each store that has an outbox; what a broker refuses is tried again. */
CO int outboxes_start(struct blocks *b, struct outboxes **ret, struct error *err) WUR;
CO void outboxes_stop(struct outboxes *o);                 /* and frees; NULL is fine */
struct outbox *state_outbox(const struct instance *store); /* state.c; NULL = none */
