/* flatten.h — turns a JSON document into secrets, once, before the store opens.
 * Owner:  everything goes into the arena; the document may be freed afterwards.
 * Thread: one; it neither suspends nor does I/O, and recurses at most FLATTEN_DEPTH_MAX levels.
 * Failure: -INVALID with the name of the value, never the value itself; -EXHAUSTED at a limit. */
#pragma once

#include "component/kinds.h"

enum { FLATTEN_DEPTH_MAX = 64, FLATTEN_VALUES_MAX = 100000, FLATTEN_NAME_MAX = 4096 };

struct flatten_options {
    str separator; /* between the levels of a name */
    bool multi;    /* a top-level object is one secret with many values */
};

/* text is the whole document. Nested objects and lists become names "a:b:0"; a number or a boolean
 * is its JSON text, null is empty. */
int local_file_flatten(str text, const struct flatten_options *options, struct arena *a,
                       struct secret **ret, size_t *ret_n, struct error *err) WUR;
