/* feed.h — what the live page shows of one sidecar: calls along each edge, and recent events.
 * Owner:  process-wide tables.   Thread: any; recording takes no lock once an edge is known.
 * Limits: FEED_EDGES edges (later ones are added up under "_overflow"), FEED_EVENTS last events.
 * Failure: none. Everything is cumulative since the start; the reader takes differences. */
#pragma once

#include "format/json.h"

enum { FEED_EDGES = 256, FEED_BUCKETS = 48, FEED_EVENTS = 100 };
enum feed_kind { FEED_INVOKE, FEED_PUBLISH, FEED_DELIVER, FEED_STATE, FEED_BINDING };

struct feed_edge;
/* ids: a service's app id, "topic:<pubsub>/<topic>", "store:<name>@<app>", "binding:<name>",
 * "client". */
struct feed_edge *feed_edge(str from, str to, enum feed_kind kind);
/* Bucket i counts [2^(i/2), 2^((i+1)/2)) microseconds. */
void feed_record(struct feed_edge *e, uint64_t latency_ns, bool failed);

/* level "info", "warn" or "error". */
void feed_event(const char *level, const char *fmt, ...) PRINTF(2, 3);

/* Writes the members "edges" and "events" into the object that w has open. */
void feed_write(struct json_w *w);
