/* status_tables.h — what 'proa status' shows besides instances: overload, scale, breakers, zones,
 * faults. A table is there only if it has something to say.
 * Owner:  all of it lies in the arena.   Thread: one.   Failure: -EXHAUSTED. */
#pragma once

#include "base/arena.h"
#include "format/json.h"

/* feed: what /feed.json of a run gives. */
int status_print_tables(struct json feed, struct arena *a) WUR;
