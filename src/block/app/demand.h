/* demand.h — what our app is asked for, as metrics that autoscalers read: proa_scale_*.
 * Owner:  process-wide metrics.   Thread: any worker.   Failure: what can't be had stays as it was.
 */
#pragma once

#include "block/core/block.h"

/* Before metrics are written: asks brokers that can tell how much waits. */
CO void demand_metrics(struct blocks *b);
