/* fetch.h — a small document by its URL.
 * Owner:  fetcher_done() ends it, when no call is left.   Thread: any worker.
 * Limits: FETCH_MAX bytes, FETCH_S seconds; redirects aren't followed. https is verified by the
 * system's roots.   Failure: -INVALID the URL, -UNAVAILABLE, -TIMEOUT, -EXHAUSTED; *err names it.
 */
#pragma once

#include "base/arena.h"
#include "http/schemes.h"

enum { FETCH_MAX = 1 << 20, FETCH_S = 5 };

struct fetcher {
    struct http_schemes *clients;
};

int fetcher_init(struct fetcher *f, struct error *err) WUR;
CO void fetcher_done(struct fetcher *f); /* shielded; also when init failed */
/* The body of a 200, in the arena. */
CO int fetch(struct fetcher *f, str url, struct arena *a, str *ret, struct error *err) WUR;
