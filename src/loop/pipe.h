/* pipe.h — reads what isn't a socket but can be polled: pipes, signalfd, pidfd.
 * Owner:  who opens it; pipe_close() closes the descriptor and frees.
 * Thread: the worker that opened it.   Failure: -UNAVAILABLE (read error), -CANCELLED, -TIMEOUT. */
#pragma once

#include "base/error.h"
#include "fiber/fiber.h"

#include <sys/types.h>

struct pipe_end;

/* fd must be non-blocking. NULL: it can't be polled, or out of memory; then it's still the
 * caller's. */
struct pipe_end *pipe_open(int fd) WUR;
/* 1 … n bytes, 0 at the end. One reader at a time. */
CO ssize_t pipe_read(struct pipe_end *p, void *to, size_t n) WUR;
/* No fiber may be inside; NULL is fine. */
void pipe_close(struct pipe_end *p);
