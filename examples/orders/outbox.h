/* outbox.h — orders that are saved but perhaps not published yet, in a fixed number of slots.
 * An order's slot is written in the same transaction as the order, and used again only after the
 * order is published. So after a crash whatever may be unpublished is in one of the slots, and
 * there is nothing to search for. Publishing one twice is harmless: its event has the same id.
 * Owner:  static, one for the process: one instance of a service has the slots to itself; with one
 * in each zone each has those of its zone (PROA_ZONE).
 * Thread: the service's one worker.   Limit: OUTBOX_SLOTS orders on their way at a time. */
#pragma once

#include "common.h"

enum { OUTBOX_SLOTS = 64 };

struct outbox_slot {
    int number;
    char key[KEY_MAX]; /* where to write the order, in the order's own transaction */
};

/* Waits up to timeout_ms for a free slot. -PROA_EXHAUSTED: there is none. */
int outbox_take(struct outbox_slot *ret, int timeout_ms);
/* The order wasn't saved after all. */
void outbox_give_back(const struct outbox_slot *slot);
/* Nobody knows whether it was: the sweeper looks what the slot holds before it's used again. */
void outbox_doubt(const struct outbox_slot *slot);
/* The order is saved: publishes it. If that fails the sweeper will do it, for as long as it takes.
 */
void outbox_publish(struct proa *p, const struct outbox_slot *slot, const struct order *o);
/* For proa_on_start(): first publishes what an earlier process left, then what failed in this one.
 */
void outbox_sweep(struct proa *p, void *arg);
