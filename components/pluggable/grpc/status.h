/* status.h — a component's gRPC status as an error of the house (facts 4.5).
 * Owner:  texts are copied into the error.   Thread: any.
 * Failure: details that can't be read are as good as none. */
#pragma once

#include "http/grpc.h"

/* Fills err and returns -code. An error that the component made its own (kit_error) keeps its
 * status and words. etags: as state stores have it, an ETag that doesn't match is -ABORTED, one
 * that can't be is -INVALID, and nothing else is either. */
int plugin_status(const struct grpc_status *status, bool etags, struct error *err);
