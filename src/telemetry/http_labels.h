/* http_labels.h — the labels method and path of the HTTP metrics, by the Configuration's
 * metrics.http.
 * Owner:  process-wide settings, replaced when the runtime is rebuilt.
 * Thread: any; set only while nothing is served.
 * Failure: a pattern that can't be read is refused when it is set.
 * Patterns are those of Go's ServeMux ("/a/{id}", "/a/", "/a/{rest...}", "/a/{$}", "GET /a"): the
 * most specific one that matches gives the label, its own text. Limits: below. */
#pragma once

#include "base/error.h"

enum { HTTP_PATTERNS_MAX = 256, HTTP_PATTERN_SEGMENTS = 32 };

struct http_labels {
    bool increased_cardinality; /* paths as they are; false: only what a pattern names */
    bool exclude_verbs;
    const str *pattern; /* copied; each one also for the invoke API */
    size_t n_patterns;
};
int http_labels_setup(const struct http_labels *config, struct error *err) WUR;

str http_method_label(str method);
/* path: cleaned and escaped, without query. keyed: of state or secrets, whose key is left out
 * (surprise 60). */
str http_path_label(str path, bool keyed);
/* Whether server_response_count is there at all. */
bool http_labels_increased(void);
