/* routes.h — path patterns with {variables}, and which of them a path meets.
 * Owner:  the table and its texts live in the arena it was compiled in.
 * Thread: compile in one; match in any, at the same time.
 * Limits: ROUTES_MAX routes, ROUTE_VARS_MAX variables each. Matching never goes back over a
 * segment, so its cost is the length of the path.
 * Failure: -INVALID with the pattern and what is wrong with it. */
#pragma once

#include "base/arena.h"
#include "base/error.h"

enum { ROUTES_MAX = 1000, ROUTE_VARS_MAX = 16 };

struct route_part { /* literal text, then a variable (not behind the last literal of a segment) */
    str literal;
    str name; /* empty: the segment ends here */
};

struct route_segment {
    struct route_part *part;
    size_t n;
};

struct route {
    str pattern, target;
    struct route_segment *segment;
    size_t n_segments, n_vars;
};

struct route_table {
    struct route *v;
    size_t n;
};

struct route_var {
    str name, value; /* the value is a piece of the path */
};

/* pattern: "/a/{id}/b", "/files/{name}.{ext}"; a variable takes one or more bytes of one segment.
 */
int route_compile(struct arena *a, str pattern, str target, struct route *ret, struct error *err)
    WUR;
/* The first route that the path (decoded) meets, NULL without one; vars has room for
 * ROUTE_VARS_MAX. */
const struct route *route_match(const struct route_table *t, str path, struct route_var *vars);
