/* sleep.h — our app when nothing needs it: it isn't running, what comes for it waits at its door,
 * and that somebody waits is what wakes it (who started us does that: docs/scale.md).
 * Owner:  the app embeds it; sleep_init().   Thread: any worker; awake it costs a call two atomics.
 * Failure: -UNAVAILABLE too many wait, or the app didn't come up in time; -CANCELLED, -TIMEOUT.
 * Limits: SLEEP_WAITERS calls wait, each for SLEEP_WAIT_MS at most. */
#pragma once

#include "base/error.h"
#include "fiber/fiber.h"
#include "format/json.h"

#include <stdatomic.h>

enum {
    SLEEP_WAITERS = 2000,
    SLEEP_WAIT_MS = 60000,
    SLEEP_START_MS = 1000,
    SLEEP_DRAIN_MS = 20000,
    SLEEP_LOOK_MS = 10,
};

/* SLEEP_STARTING: the app hasn't listened yet, since we began: who finds us by our name already
 * waits for SLEEP_START_MS, and is then let in, to fail as calls do that find no app. */
enum sleep_state { SLEEP_AWAKE, SLEEP_STARTING, SLEEP_ASLEEP, SLEEP_WAKING, SLEEP_OVER };

struct sleep {
    _Atomic int state;
    atomic_uint inside; /* calls that have come in */
    atomic_uint waiting;
    atomic_bool looking; /* one of those that wait looks whether the app listens */
    CO bool (*listens)(void *arg);
    void *arg;
};

void sleep_init(struct sleep *s, CO bool (*listens)(void *arg), void *arg);

/* The app that is still to come has come. */
void sleep_started(struct sleep *s);

/* A call comes in, at once or when the app is awake; each that is let in leaves. */
CO int sleep_enter(struct sleep *s, struct error *err) WUR;
void sleep_leave(struct sleep *s);

/* Shuts the door and waits for those inside. 0: nobody is, and the app can be ended. -ABORTED: a
 * call came meanwhile, or one takes too long; then all is as before. */
CO int sleep_begin(struct sleep *s, struct error *err) WUR;
/* The app has been started: the door opens when it listens. */
void sleep_wake(struct sleep *s);
/* The sidecar is about to stop: nobody will wake an app that sleeps now, and who waits fails. */
void sleep_end(struct sleep *s);
bool sleep_is_asleep(const struct sleep *s);
/* The feed's member "sleep". */
void sleep_describe(const struct sleep *s, struct json_w *w);
