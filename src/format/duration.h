/* duration.h — Go's durations and Kubernetes' quantities, as text and as numbers.
 * Owner:  none.   Thread: any.
 * Failure: parsing returns false and leaves *ret alone; nothing overflows silently. */
#pragma once

#include "base/str.h"

/* Go's time.ParseDuration: "1h2m3.5s", "300ms", "-1.5h", "0"; ns us µs ms s m h. */
bool duration_parse(str s, int64_t *ret_ns) WUR;
/* The same, but a bare integer counts units of bare_ns (1000000 = milliseconds, as in Resiliency).
 */
bool duration_parse_bare(str s, int64_t bare_ns, int64_t *ret_ns) WUR;

enum { DURATION_MAX = 32 };
/* As Go prints it: "2s", "3m0s", "500ms", "1.5µs", "0s". NUL-terminated; returns the length. */
size_t duration_print(int64_t ns, char ret[DURATION_MAX]);

/* Kubernetes quantity: "4Mi", "1500m", "2e3", "0.5", "1k". Fractions are rounded away from zero, as
 * Quantity.Value() does: "1500m" = 2. false when it doesn't fit. */
bool quantity_parse(str s, int64_t *ret) WUR;
/* In thousandths, for CPU: "1500m" = 1500, "2" = 2000. */
bool quantity_parse_milli(str s, int64_t *ret) WUR;
