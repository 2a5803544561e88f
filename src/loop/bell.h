/* bell.h — wakes one fiber from any thread; ringing it twice is ringing it once.
 * Owner:  whoever waits; bell_silence() before its memory goes away, once nobody rings any more.
 * Thread: bell_ring() any; the rest on the worker that made it.   Failure: none. */
#pragma once

#include "loop/worker.h"

#include <stdatomic.h>

struct bell {
    struct mail mail;
    struct worker *worker;
    struct fiber *fiber; /* the worker's */
    bool heard;          /* the worker's */
    atomic_bool rung;    /* the mail is under way */
};

void bell_init(struct bell *b);
void bell_ring(struct bell *b);
/* Until it rings (or has rung since the last wait), ns are over, or the fiber is cancelled. */
CO void bell_wait(struct bell *b, uint64_t ns);
CO void bell_silence(struct bell *b);
