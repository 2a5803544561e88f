/* operator.h — the hand that edits a configuration store from outside, as its tools would: one row
 * for each engine.
 * Owner:  the suite.   Thread: a case's fiber; may suspend.   Failure: reported through CHECK(). */
#pragma once

#include "test/conformance/suite.h"

/* value NULL deletes the key. */
CO void operator_set(struct suite *s, const char *key, const char *value);
