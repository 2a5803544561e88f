/* h2_keepalive.h — when a quiet HTTP/2 connection is pinged, when it is given up, when it is idle.
 * Owner:  the connection embeds it.   Thread: the connection's worker; the clock is passed in.
 * Failure: none.   Limits: the times of its config. */
#pragma once

#include "base/defs.h"

struct h2_keepalive {
    uint64_t ping_ns;    /* nothing was heard for so long: PING; 0 = never */
    uint64_t timeout_ns; /* nothing was heard since the PING for so long: the peer is gone */
    uint64_t idle_ns;    /* without a stream for so long: the connection ends; 0 = never */
    uint64_t heard_at, pinged_at, free_at; /* free: of streams, since */
    bool pinged;
};

enum h2_keepalive_verdict { H2_QUIET, H2_PING, H2_IDLE, H2_DEAD };

/* The first three are set. now: clock_now_ns(), here and below. */
void h2_keepalive_start(struct h2_keepalive *k, uint64_t now);
/* Bytes have come. */
void h2_keepalive_heard(struct h2_keepalive *k, uint64_t now);
/* What is due. H2_PING is told once, until something is heard. */
enum h2_keepalive_verdict h2_keepalive_look(struct h2_keepalive *k, bool has_streams, uint64_t now)
    WUR;
/* How long until it has to be looked at again, unless something is heard; 0 = never. */
uint64_t h2_keepalive_wait(const struct h2_keepalive *k, bool has_streams, uint64_t now);
