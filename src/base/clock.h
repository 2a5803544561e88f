/* clock.h — monotonic and wall time, and RFC 3339 text.
 * Owner:  none.   Thread: any.   Failure: parsing returns false. Pure code takes the time as an
 * argument. */
#pragma once

#include "base/str.h"

uint64_t clock_now_ns(void);  /* monotonic */
uint64_t clock_wall_ns(void); /* since 1970 UTC */

enum { RFC3339_MAX = 40 };
/* "2026-01-02T03:04:05[.fff]Z" or with the local offset; digits = 0, 3, 6 or 9 of the second.
 * Returns the length written, no NUL counted (but one is written). */
size_t clock_rfc3339(uint64_t wall_ns, bool local, int digits, char ret[RFC3339_MAX]);
bool clock_parse_rfc3339(str s, uint64_t *ret_wall_ns);
