/* uri.h — percent-encoding, query strings and path cleaning, by the rules of Go's net/url and path.
 * Owner:  results borrow from the input when nothing changed, else live in the caller's arena.
 * Thread: any.   Failure: -INVALID on a broken escape, -EXHAUSTED when the arena is full. */
#pragma once

#include "base/arena.h"
#include "base/buf.h"
#include "base/error.h"

enum uri_rule {
    URI_PATH,  /* '+' is a plus */
    URI_QUERY, /* '+' is a space */
};

/* Decodes %XX (and '+' by the rule); the result may hold any byte, NUL too. */
int uri_decode(struct arena *a, str s, enum uri_rule rule, str *ret) WUR;
/* Escapes everything but what Go's url.PathEscape / url.QueryEscape leave alone. */
void uri_encode(struct buf *out, str s, enum uri_rule rule);

/* Walks "a=1&b=2" (a '?' in front isn't part of it), decoded by the query rule:
 *   struct uri_query q = uri_query(text, arena);
 *   while (uri_query_next(&q, &key, &value)) …
 * Pairs with a broken escape or a ';' are left out and counted, as Go does. */
struct uri_query {
    str rest;
    struct arena *arena;
    size_t n_bad;
    bool failed; /* the arena was full: the walk ended early */
};
struct uri_query uri_query(str text, struct arena *a);
bool uri_query_next(struct uri_query *q, str *ret_key, str *ret_value);
/* First value of key; false when absent. */
bool uri_query_get(str text, struct arena *a, str key, str *ret) WUR;
/* Next pair whose key begins with "metadata." in any case; *ret_key = the rest of the key. */
bool uri_query_next_metadata(struct uri_query *q, str *ret_key, str *ret_value);

/* Go's path.Clean: no "//", no "." and ".." segments, "" becomes "."; escapes are left as they are
 * ("%2F" is no slash, "%2e%2e" no dots). */
int uri_clean(struct arena *a, str path, str *ret) WUR;

struct uri {
    str scheme;      /* lower or upper case as written; empty = none */
    str userinfo;    /* before the last @, as written; empty = none */
    str host;        /* without brackets and port */
    uint16_t port;   /* 0 = none given */
    str path, query; /* as written; query without '?', a fragment is cut off */
    bool ipv6;       /* host stood in brackets */
};
/* "http://host:80/path?q", "host:port" (needs no scheme) or "/path". Borrows from s. */
int uri_parse(str s, struct uri *ret) WUR;
/* What `ref` (a Location) means where the absolute URL `base` stands: RFC 3986 section 5.2. The
 * result has no fragment; it is text, not yet parsed. */
int uri_resolve(struct arena *a, str base, str ref, str *ret) WUR;
