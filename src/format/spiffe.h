/* spiffe.h — names of workloads as certificates carry them: "spiffe://<trust domain>/<path>".
 * Owner:  none: slices of what is given.
 * Thread: any.   Failure: false on anything that the SPIFFE-ID standard doesn't allow. */
#pragma once

#include "base/str.h"

enum { SPIFFE_MAX = 2048 };

/* The path begins with its slash; an id without one has no path and is refused: it names a whole
 * domain. */
bool spiffe_parse(str id, str *ret_trust_domain, str *ret_path);
/* Whether id is the one that is wanted: a whole id, or a path alone ("/ns/prod/shop"), which may be
 * of any trust domain. */
bool spiffe_is(str id, str wanted);
