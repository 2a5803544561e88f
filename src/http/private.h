/* private.h — what server and client share inside src/http.
 * Owner:  none.
 * Thread: http_run_surely() off the workers, the rest on one.   Failure: negative codes. */
#pragma once

#include "base/arena.h"
#include "fiber/fiber.h"

/* The next piece of a body: 1, 0 at its end, or negative. */
typedef int http_next_fn(void *arg, str *ret);

/* A whole body in one slice of the arena, from its first piece and those that next() brings.
 * expected = its length or -1. -RANGE past max, -EXHAUSTED the arena's limit. */
CO int http_gather(struct arena *arena, size_t max, int64_t expected, str first, http_next_fn *next,
                   void *arg, str *ret) WUR;

/* worker_run() that tries again when memory is short: what ends things must not be skipped. */
void http_run_surely(size_t worker, const char *name, fiber_fn *fn, void *arg);
