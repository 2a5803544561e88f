/* policy_metrics.h — what timeouts, retries and circuit breakers did, as dapr_resiliency_* metrics.
 * Owner:  the process's metrics.   Thread: any fiber; two at once write the same values.
 * Failure: targets past METRIC_CELLS label sets are added up under "_overflow", as everywhere. */
#pragma once

#include "block/core/block.h"

/* Brings the families up to date; before each metrics_write(). */
void policy_metrics(const struct blocks *b);
