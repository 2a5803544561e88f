/* retried.h — only the hop next to a failure tries again. A call whose tries are spent is noted by
 * its trace; when our app then answers a call of that trace with a failure of its own, the answer
 * is marked, and whoever has made that call doesn't try it again. So k hops of r retries each stay
 * 1 + r tries at the last one, and aren't (1 + r)^k.
 * Owner:  the app.   Thread: any, without a lock; nothing is touched by a call that goes well.
 * Failure: none: what is forgotten, or told by an app that doesn't pass the trace on, is tried
 * again.   Limit: RETRIED_TRACES traces, the oldest of four makes room. */
#pragma once

#include "http/message.h"

enum { RETRIED_TRACES = 16 << 10 };

struct retried;

struct retried *retried_new(void) WUR; /* NULL: out of memory */
void retried_free(struct retried *r);  /* NULL is fine */

/* A call of the trace that these headers name has failed, and there is no further try. */
void retried_note(struct retried *r, const struct http_headers *call, uint64_t now_ns);
/* Whether one has since then. */
bool retried_since(struct retried *r, const struct http_headers *call, uint64_t since_ns);

/* The same into the headers of our app's answer, or into its trailers: call has been in the app
 * since then. Out of memory: there is no mark. */
void retried_mark(struct retried *r, const struct http_headers *call, uint64_t since_ns,
                  struct http_headers *answer);
bool retried_is_marked(const struct http_headers *answer);
