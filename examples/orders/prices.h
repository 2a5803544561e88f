/* prices.h — the catalogue of the inventory service, kept in memory for a moment.
 * It's read with each order and changes seldom. When it can't be fetched, the last one is good
 * enough: orders are taken although inventory is down.
 * Owner:  static, one for the process.   Thread: the service's one worker. */
#pragma once

#include "common.h"

/* The price of one piece, in cents. -PROA_NOT_FOUND: nothing of that name is sold;
 * -PROA_UNAVAILABLE: the catalogue was never seen. May wait for inventory. */
int price_of(struct proa *p, const char *sku, int64_t *ret);
/* The catalogue as JSON, "" when it was never seen; valid until the next call that suspends. */
const char *prices_json(struct proa *p, size_t *ret_len);
