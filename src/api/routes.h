/* routes.h — the table of the HTTP API: verb, pattern, handler, and what the lists and logs call
 * it. Owner:  static.   Thread: any.   Failure: NULL = no such route. */
#pragma once

#include "api/request.h"

struct route {
    unsigned verbs;
    const char *pattern;
    route_fn *handle;
    const char *group, *version; /* for api.allowed and api.denied */
    const char *name;            /* for the API log */
    bool open;                   /* needs no token, can't be denied */
};

const struct route *route_find(str method, str path, str ret_part[PATH_PARTS]);
const struct route *route_at(size_t i); /* NULL past the end */
