/* deliver.h — one message, or a bulk of them, to the app: envelope, route, verdict, dead letter.
 * Owner:  everything is of the delivery's own arena.   Thread: the engine's fiber, any worker.
 * Failure: 0 = may be acknowledged; negative = the engine must keep it (redeliver if it can). */
#pragma once

#include "block/subscribe.h"

CO int deliver_one(void *subscription, const struct pubsub_message *m, struct error *err);
CO int deliver_bulk(void *subscription, const struct pubsub_message *m, size_t n, int *ret_codes,
                    struct error *err);
