/* internal.h — what both ways between sidecars, plain HTTP and gRPC, count.
 * Owner:  none.   Thread: any.   Failure: none. */
#pragma once

#include "base/arena.h"
#include "http/message.h"

/* Counts a call that came in; the caller's app id, copied into the arena ("" = it names none). */
str internal_received(struct arena *a, const struct http_headers *headers);
/* Counts its answer. */
void internal_answered(str caller, int status);
