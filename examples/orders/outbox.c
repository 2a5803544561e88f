#include "outbox.h"

#include <stdio.h>
#include <stdlib.h>

enum { SWEEP_MS = 500, WAIT_MS = 5 };

/* All slots are OWED at first: who knows what the process before us left in them. */
static enum { OWED, FREE, TAKEN } slots[OUTBOX_SLOTS];

static struct outbox_slot slot_at(int number)
{
    struct outbox_slot slot = { .number = number };
    const char *zone = getenv("PROA_ZONE");
    if (zone && *zone)
        snprintf(slot.key, sizeof slot.key, "outbox/%.64s/%d", zone, number);
    else
        snprintf(slot.key, sizeof slot.key, "outbox/%d", number);
    return slot;
}

int outbox_take(struct outbox_slot *ret, int timeout_ms)
{
    for (int waited = 0; waited <= timeout_ms; waited += WAIT_MS) {
        for (int i = 0; i < OUTBOX_SLOTS; i++)
            if (slots[i] == FREE) {
                slots[i] = TAKEN;
                *ret = slot_at(i);
                return 0;
            }
        if (!proa_sleep_ms(WAIT_MS))
            return -PROA_CANCELLED;
    }
    return -PROA_EXHAUSTED;
}

void outbox_give_back(const struct outbox_slot *slot)
{
    slots[slot->number] = FREE;
}

void outbox_doubt(const struct outbox_slot *slot)
{
    slots[slot->number] = OWED;
}

void outbox_publish(struct proa *p, const struct outbox_slot *slot, const struct order *o)
{
    slots[slot->number] = emit(p, "orders.placed", o) == 0 ? FREE : OWED;
}

static void sweep_one(struct proa *p, int number)
{
    struct outbox_slot slot = slot_at(number);
    struct order o;
    PROA_RESULT res = { 0 };
    int r = proa_state_get(p, STORE, slot.key, &res);
    if (r == -PROA_NOT_FOUND)
        slots[number] = FREE;
    else if (r == 0 && order_read(res.data, res.len, &o))
        outbox_publish(p, &slot, &o);
    else
        complain(p, "%s can't be read: %s", slot.key, r < 0 ? res.error : "it holds no order");
}

void outbox_sweep(struct proa *p, void *arg)
{
    do {
        for (int i = 0; i < OUTBOX_SLOTS; i++)
            if (slots[i] == OWED)
                sweep_one(p, i);
    } while (proa_sleep_ms(SWEEP_MS));
}
