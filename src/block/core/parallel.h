/* parallel.h — the same work on many items, several at a time, on this worker.
 * Owner:  the caller's frame outlives it: it returns when every item has been done.
 * Thread: one worker.   Failure: items report by themselves; no fiber left = fewer at a time, never
 * fewer done. */
#pragma once

#include "fiber/fiber.h"

/* Calls fn(arg, i) for i = 0 … n-1, at most 'limit' (≥ 1) at once. */
CO void parallel_for(size_t n, size_t limit, CO void (*fn)(void *arg, size_t i), void *arg);
