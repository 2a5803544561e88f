/* row.h — a row of the state table as a value; apart, so that a fuzzer can feed it any row.
 * Owner:  results go into the caller's arena.
 * Thread: any.   Failure: -DATA_LOSS for what no engine of the contract would have written. */
#pragma once

#include "component/state.h"

#include <sqlite3.h>

/* s stands on a row (value, is_binary, etag, expiration_time). key is for the error's text. */
int state_row_decode(sqlite3_stmt *s, str key, struct arena *a, struct state_value *ret,
                     struct error *err) WUR;
