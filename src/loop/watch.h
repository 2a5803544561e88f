/* watch.h — tells when something in some folders has changed.
 * Owner:  whoever opened it; watch_close() frees, and no fiber may wait by then.
 * Thread: the worker that opened it.   Failure: -UNAVAILABLE a folder that can't be watched (it
 * isn't there, or the system's limit of watches is reached), -EXHAUSTED out of memory.
 * Limits: WATCH_MAX folders. Changes are told, not listed, and several may be told as one. */
#pragma once

#include "base/error.h"
#include "fiber/fiber.h"

enum { WATCH_MAX = 64 };

struct watch;

/* Folders only: to watch a file, watch its folder, since editors and Kubernetes replace files. */
int watch_open(const char *const *folder, size_t n, struct watch **ret, struct error *err) WUR;
/* Waits until there was a change since the last call: 0, or -CANCELLED, -TIMEOUT. */
CO int watch_next(struct watch *w) WUR;
void watch_close(struct watch *w); /* NULL is fine */
