/* cases.h — helpers of the state cases.
 * Owner:  the suite's arena holds what is read.
 * Thread: fibers of any worker (reading into an own arena).   Failure: -CODE as the engine gave it.
 */
#pragma once

#include "component/state.h"
#include "test/conformance/suite.h"

static inline const struct state_ops *ops_of(const struct suite *s)
{
    return CONTAINER_OF(s->type, const struct state_ops, t);
}

struct kvs state_meta(struct suite *s, const char *key, const char *value);

/* A save of JSON text without ETag. */
int state_put(struct suite *s, const char *key, const char *json);
int state_write(struct suite *s, struct state_write w, struct error *err);
int state_read(struct suite *s, str key, struct state_value *ret);
/* Whether key holds exactly json; NULL: whether it is absent. */
bool state_holds(struct suite *s, const char *key, const char *json);
str state_etag(struct suite *s, const char *key); /* .n == 0 when absent */

extern const struct suite_case state_write_cases[], state_limit_cases[];
extern const size_t n_state_write_cases, n_state_limit_cases;
