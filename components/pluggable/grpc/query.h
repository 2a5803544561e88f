/* query.h — a query of the state API as the message that a pluggable store takes.
 * Owner:  everything made lives in the given arena.
 * Thread: any.   Failure: -INVALID with what is wrong in the query. */
#pragma once

#include "component/state.h"
#include "wire.h"

int plugin_query_to(str query, struct arena *a, WIRE(Query) * into, struct error *err) WUR;
/* The operation of a store; self begins with its struct plug. */
CO int plugin_query(void *self, str query, struct kvs metadata, struct arena *a,
                    struct state_query_result **ret, size_t *ret_n, str *ret_token,
                    struct error *err);
