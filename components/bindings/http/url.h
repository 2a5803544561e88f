/* url.h — where a call of bindings.http goes: the configured URL, a path behind it, redirects.
 * Owner:  results live in the caller's arena.
 * Thread: any; pure.
 * Failure: -INVALID with a text that shows the URL without its password; -EXHAUSTED. */
#pragma once

#include "base/arena.h"
#include "base/error.h"

struct binding_url {
    bool tls;            /* https */
    str text;            /* as given, characters escaped that a URL can't have */
    const char *address; /* "host:port", for the dial */
    str authority;       /* Host header */
    str target;          /* path and query, never empty */
    str basic;           /* value of Authorization when the URL names a user; else empty */
};

/* base and path joined by exactly one slash; an empty path adds nothing. */
int binding_url_make(struct arena *a, str base, str path, struct binding_url *ret,
                     struct error *err) WUR;
/* What a Location header means, seen from `from`. */
int binding_url_follow(struct arena *a, const struct binding_url *from, str location,
                       struct binding_url *ret, struct error *err) WUR;
