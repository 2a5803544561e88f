/* breaker.h — circuit breaker: closed, open, half-open, tripped by a CEL condition over counts.
 * Owner:  reference counted: the table of its target, and each call in flight.
 * Thread: any, at the same time; a short mutex inside, never held while a caller waits.
 * Failure: breaker_enter() answers -UNAVAILABLE with the contract's words when it is not closed. */
#pragma once

#include "base/error.h"

struct cel_program;

enum breaker_state { BREAKER_CLOSED, BREAKER_HALF_OPEN, BREAKER_OPEN, BREAKER_STATES };
const char *breaker_state_name(enum breaker_state s); /* "closed", "half-open", "open" */

struct breaker_config {
    uint32_t max_requests; /* in flight while half-open, and successes that close it; 0 = 1 */
    uint64_t interval_ns;  /* closed: counts are cleared this often; 0 = never */
    uint64_t timeout_ns;   /* open for this long; 0 = 60 s */
    const struct cel_program *trip; /* over requests, totalSuccesses, totalFailures,
                                       consecutiveSuccesses, consecutiveFailures;
                                       NULL = consecutiveFailures > 5 */
};

struct breaker_counts {
    uint32_t requests, total_successes, total_failures, consecutive_successes, consecutive_failures;
};

struct breaker;

/* The program in config must outlive the breaker. NULL out of memory. */
struct breaker *breaker_new(const struct breaker_config *config, uint64_t now_ns) WUR;
struct breaker *breaker_ref(struct breaker *b);
void breaker_unref(struct breaker *b); /* NULL is fine */

/* Before a call. 0 and a ticket for breaker_leave(), or -UNAVAILABLE "circuit breaker is open" or
 * "too many requests" (half-open and full). */
int breaker_enter(struct breaker *b, uint64_t now_ns, uint64_t *ret_ticket, struct error *err) WUR;
/* After it, exactly once per ticket. Returns whether the state changed by it. */
bool breaker_leave(struct breaker *b, uint64_t ticket, bool success, uint64_t now_ns);
/* Instead of breaker_leave() when the caller went away: neither success nor failure. */
void breaker_forget(struct breaker *b, uint64_t ticket, uint64_t now_ns);

/* An open one whose time is over counts as half-open. */
enum breaker_state breaker_state(struct breaker *b, uint64_t now_ns);
struct breaker_counts breaker_counts(struct breaker *b);
