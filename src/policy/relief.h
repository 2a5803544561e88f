/* relief.h — whether more instances of our app are on their way, so that calls may wait for them
 * instead of being turned away.
 * Owner:  a plain struct in its user, all zeroes = nobody ever comes.   Thread: one at a time.
 * Failure: none. Pure: the clock and what is known are passed in.
 *
 * An app that is scaled has a number of instances that it may grow to. While there are fewer, more
 * are hoped for, as long as they usually take; when one has come that counts anew, so that what has
 * waited for it is worked off. When none came in time the hope was vain, and there is none for a
 * while: an app that nobody can help is overloaded as any other. */
#pragma once

#include "base/defs.h"

struct relief_facts {
    unsigned instances, max; /* that there are, and that there may be; max 0 = it isn't scaled */
    uint64_t patience_ns;    /* what it takes to notice the load and to start an instance */
};

struct relief {
    struct relief_facts facts;
    unsigned most;     /* instances lately: one that comes back each time it has died is no help */
    uint64_t came_ns;  /* when the last one came; 0 = none has yet */
    uint64_t again_ns; /* after a vain hope there is none before that */
};

/* Now and then, and at once when it has changed. */
void relief_see(struct relief *r, const struct relief_facts *facts, uint64_t now_ns);
/* Whether those that have waited since then may wait on: more instances come, or have just come. */
bool relief_comes(struct relief *r, uint64_t since_ns, uint64_t now_ns);
