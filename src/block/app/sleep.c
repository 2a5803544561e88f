#include "block/app/sleep.h"

void sleep_init(struct sleep *s, CO bool (*listens)(void *arg), void *arg)
{
    atomic_init(&s->state, SLEEP_STARTING);
    atomic_init(&s->inside, 0);
    atomic_init(&s->waiting, 0);
    atomic_init(&s->looking, false);
    s->listens = listens;
    s->arg = arg;
}

static bool move(struct sleep *s, int from, enum sleep_state to)
{
    return atomic_compare_exchange_strong(&s->state, &from, to);
}

bool sleep_is_asleep(const struct sleep *s)
{
    return atomic_load(&s->state) > SLEEP_STARTING;
}

void sleep_started(struct sleep *s)
{
    (void)move(s, SLEEP_STARTING, SLEEP_AWAKE);
}

/* Counted first, then looked: whoever shuts the door either sees us inside or we see it shut. */
static bool come_in(struct sleep *s)
{
    atomic_fetch_add(&s->inside, 1);
    if (LIKELY(atomic_load(&s->state) == SLEEP_AWAKE))
        return true;
    atomic_fetch_sub(&s->inside, 1);
    return false;
}

/* One of those that wait looks, the others see the door open. */
CO static void look(struct sleep *s)
{
    int state = atomic_load(&s->state);
    bool comes = state == SLEEP_WAKING || state == SLEEP_STARTING;
    if (!comes || atomic_exchange(&s->looking, true))
        return;
    if (s->listens(s->arg))
        (void)move(s, state, SLEEP_AWAKE);
    atomic_store(&s->looking, false);
}

CO static int wait(struct sleep *s, struct error *err)
{
    bool starting = atomic_load(&s->state) == SLEEP_STARTING;
    DEADLINE(MS(starting ? SLEEP_START_MS : SLEEP_WAIT_MS));
    for (;;) {
        look(s);
        if (come_in(s))
            return 0;
        if (atomic_load(&s->state) == SLEEP_OVER)
            return fail(err, UNAVAILABLE, NULL, "the app is asleep and its sidecar about to stop");
        int r = fiber_sleep(MS(SLEEP_LOOK_MS));
        if (r == -TIMEOUT && starting) {
            sleep_started(s);
            atomic_fetch_add(&s->inside, 1);
            return 0;
        }
        if (r == -TIMEOUT)
            return fail(err, UNAVAILABLE, NULL,
                        "the app was asleep and didn't come up in time: its log tells why");
        if (r < 0)
            return fail(err, (enum code) - r, NULL, "the caller has left");
    }
}

int sleep_enter(struct sleep *s, struct error *err)
{
    if (LIKELY(come_in(s)))
        return 0;
    if (atomic_fetch_add(&s->waiting, 1) >= SLEEP_WAITERS) {
        atomic_fetch_sub(&s->waiting, 1);
        return fail(err, UNAVAILABLE, NULL, "the app is asleep and %d calls wait for it already",
                    SLEEP_WAITERS);
    }
    int r = wait(s, err);
    atomic_fetch_sub(&s->waiting, 1);
    return r;
}

void sleep_leave(struct sleep *s)
{
    atomic_fetch_sub(&s->inside, 1);
}

CO static int drain(struct sleep *s)
{
    DEADLINE(MS(SLEEP_DRAIN_MS));
    while (atomic_load(&s->inside) && !atomic_load(&s->waiting)) {
        int r = fiber_sleep(MS(SLEEP_LOOK_MS));
        if (r < 0)
            return r;
    }
    return atomic_load(&s->waiting) ? -ABORTED : 0;
}

int sleep_begin(struct sleep *s, struct error *err)
{
    if (!move(s, SLEEP_AWAKE, SLEEP_ASLEEP) && !move(s, SLEEP_STARTING, SLEEP_ASLEEP))
        return fail(err, ABORTED, NULL, "the app is asleep already");
    if (drain(s) == 0)
        return 0;
    atomic_store(&s->state, SLEEP_AWAKE);
    return fail(err, ABORTED, NULL, "the app is needed: calls are under way");
}

void sleep_wake(struct sleep *s)
{
    (void)move(s, SLEEP_ASLEEP, SLEEP_WAKING);
}

void sleep_end(struct sleep *s)
{
    (void)move(s, SLEEP_ASLEEP, SLEEP_OVER);
}

void sleep_describe(const struct sleep *s, struct json_w *w)
{
    json_w_key(w, S("sleep"));
    json_w_object(w);
    json_w_key(w, S("asleep"));
    json_w_bool(w, sleep_is_asleep(s));
    json_w_key(w, S("waiting"));
    json_w_u64(w, atomic_load(&s->waiting));
    json_w_object_end(w);
}
