/* metric_rules.h — metrics.rules of the Configuration: label values of a metric, rewritten by
 * regular expressions before they are counted. Owner:  process-wide, replaced when the runtime is
 * rebuilt.   Thread: any; set only while nothing is served. Failure: a pattern that can't be read
 * is refused when it is set. Limits: METRIC_RULES_MAX expressions; values are looked at up to
 * METRIC_VALUE_MAX bytes. */
#pragma once

#include "base/arena.h"
#include "base/error.h"

enum { METRIC_RULES_MAX = 256, METRIC_VALUE_MAX = 512 };

struct metric_rule {
    str metric; /* with or without dapr_, '/' or '_' */
    str label, regex, replacement;
};
int metric_rules_setup(const struct metric_rule *rule, size_t n, struct error *err) WUR;
extern bool metric_rules_present;

/* Rewrites values, n of them, in place; what is new lives in the arena. */
void metric_rules_apply(const char *metric, const char *const *label, str *value, size_t n,
                        struct arena *a);
