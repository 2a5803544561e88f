/* errors.h — from an error of the house to what the wire shows: HTTP status and body, gRPC status.
 * The one table of the contract's statuses is here.
 * Owner:  none.   Thread: any.   Failure: none. */
#pragma once

#include "base/error.h"
#include "http/server.h"

/* By err->http, else the tag's row, else the code. */
int error_http_status(const struct error *err);
/* The details of the contract's errors, in the order in which they are built (facts 3.5). */
enum error_detail {
    ERROR_HELP,
    ERROR_BAD_REQUEST,
    ERROR_RESOURCE_INFO,
    ERROR_INFO,
    ERROR_DETAILS,
};
bool error_has(const struct error *err, enum error_detail d);
/* A pubsub's ResourceInfo repeats the message, a state store's leaves it out. */
const char *error_resource_text(const struct error *err);
/* google.rpc.Status with them for grpc-status-details-bin; empty when there are none. */
int error_grpc_details(const struct error *err, struct arena *a, str *ret) WUR;
/* The body {"errorCode","message"[,"details"]}. */
void error_http_body(const struct error *err, struct buf *out);
/* Of a refusal by overload control: proa-shed and retry-after. -EXHAUSTED. */
int error_headers(const struct error *err, struct http_headers *h) WUR;
/* Counts it as well. An empty error means that memory ran out. */
CO void reply_error(struct http_exchange *x, const struct error *err);
/* dapr_error_code_total, for answers that aren't made by reply_error(); off unless the
 * Configuration says recordErrorCodes. */
void error_count(const struct error *err);
void error_counting(bool on);
