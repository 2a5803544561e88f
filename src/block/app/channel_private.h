/* channel_private.h — the decoders of what an app answers, for the channels, their tests and
 * fuzzers. Owner:  what is read borrows from the bytes or lives in the arena.   Thread: any.
 * Failure: -INVALID bytes that are no such answer, -EXHAUSTED the arena's limit. */
#pragma once

#include "block/app/channel.h"

/* A JSON array of subscriptions; one that isn't gives ret->refused. */
int http_read_subscriptions(str body, struct arena *arena, struct app_subscriptions *ret) WUR;
/* {"status":"SUCCESS"}: anything that isn't understood as JSON is success (surprise 27). */
int http_read_status(str body, str id, struct arena *arena, enum event_verdict *ret,
                     struct error *err) WUR;
/* {"statuses":[…]}; sets the verdicts of entries that are named. */
void http_read_statuses(struct app_bulk *b, str body, struct arena *arena);

int grpc_read_subscriptions(str message, struct arena *a, struct app_subscriptions *ret) WUR;
/* Each entry without a known status is a retry. */
int grpc_read_statuses(struct app_bulk *b, str message, struct arena *a) WUR;
int grpc_read_binding(str message, struct arena *a, struct app_binding_answer *ret) WUR;
