/* errors.h — from an error of the house to what the wire shows: HTTP status and body, gRPC status.
 * The one table of the contract's statuses is here.
 * Owner:  none.   Thread: any.   Failure: none. */
#pragma once

#include "base/error.h"
#include "http/server.h"

/* By err->http, else the tag's row, else the code. */
int error_http_status(const struct error *err);
/* The body {"errorCode","message"[,"details"]}. */
void error_http_body(const struct error *err, struct buf *out);
/* Counts it as well. An empty error means that memory ran out. */
CO void reply_error(struct http_exchange *x, const struct error *err);
/* dapr_error_code_total, for answers that aren't made by reply_error(); off unless the
 * Configuration says recordErrorCodes. */
void error_count(const struct error *err);
void error_counting(bool on);
