/* fake_loop.h — src/loop for one worker without sockets: a stream whose peer is a slice of bytes.
 * Owner:  the fuzzer; one stream at a time.
 * Thread: the only one.   Failure: FUZZ_CHECK(): a fiber that waits for ever is a finding. */
#pragma once

#include "loop/stream.h"
#include "loop/worker.h"

/* What the peer sends, `step` bytes at a time (0 = all at once), then the end of the stream. The
 * socket takes `room` bytes at once (0 = all). */
struct fake_peer {
    str in;
    size_t step, room;
    size_t n_out; /* bytes that were sent to it */
    bool closed;
};

/* To be called first, and again before each input. */
void fake_reset(struct fake_peer *peer);
/* A connection from the peer to the listener that was opened last. */
void fake_accept(void);
/* Runs until nothing is left to do; time jumps when fibers wait for it. */
void fake_run(void);
