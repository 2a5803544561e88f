/* operation.h — an operation on a component, and an event of one for our app: both under the
 * component's policies, and where faults on purpose strike components.
 * Owner:  policies belong to the resiliency; the instance borrows them and the faults.
 * Thread: any.
 * Failure: the function's own error, -TIMEOUT of a try, -UNAVAILABLE "circuit breaker is open", or
 * a fault on purpose. */
#pragma once

#include "block/core/block.h"
#include "block/core/guard.h"

/* Once an instance is open, before it's used. type: as policies call its kind, "Statestore" … */
void operation_attach(struct blocks *b, struct instance *i, const char *type);
/* name: of the operation, as faults call it: "get", "publish" … */
CO int operation_run(struct instance *i, const char *name, guard_fn *fn, void *arg,
                     struct error *err) WUR;
/* The same for what comes from the component: "deliver" … */
CO int operation_event(struct instance *i, const char *name, guard_fn *fn, void *arg,
                       struct error *err) WUR;
