/* message.h — headers and requests as every HTTP version of ours shows them.
 * Owner:  all slices live in the exchange's (or call's) arena or in its connection buffer, as said.
 * Thread: one worker.   Failure: adding returns -EXHAUSTED at the arena's limit. */
#pragma once

#include "base/arena.h"
#include "base/error.h"
#include "fiber/fiber.h"

struct http_header {
    str name, value; /* h1 keeps the peer's letter case, h2 has lower case; compare with str_ieq */
};

struct http_headers {
    struct http_header *v;
    size_t n, cap;
    struct arena *arena;
};

void http_headers_init(struct http_headers *h, struct arena *arena);
int http_headers_add(struct http_headers *h, str name, str value) WUR; /* slices are borrowed */
int http_headers_set(struct http_headers *h, str name, str value)
    WUR; /* replaces all of that name */
/* The first of that name; .p is NULL when there is none. */
str http_headers_get(const struct http_headers *h, str name);
bool http_headers_has(const struct http_headers *h, str name);
void http_headers_remove(struct http_headers *h, str name);
/* Drops the hop-by-hop fields of RFC 9110 section 7.6.1, and those that Connection names. */
void http_headers_strip_hop(struct http_headers *h);

struct http_request {
    str method;    /* "GET" */
    str target;    /* as on the wire: "/a%20b?x=1" */
    str path;      /* the part of target before '?', not decoded */
    str query;     /* behind '?', without it; empty when there is none */
    str authority; /* Host or :authority */
    /* Of a call: whom the server's certificate must name, as spiffe_is() wants it; the client's TLS
     * is .spiffe then. Empty = whoever answers the address. */
    str peer_id;
    struct http_headers headers;
    int64_t
        content_length; /* -1: not known before the end (chunked, or h2 without content-length) */
};

/* Whether the request may be sent twice: its method (RFC 9110 section 9.2.2), or an
 * Idempotency-Key. */
bool http_is_idempotent(const struct http_request *req);

size_t http_token_span(const char *p, size_t n); /* how many bytes from p on are token characters */
const char *http_reason(int status);             /* "Not Found", "" when unknown */
/* The three digits of a status, in to. */
str http_status_text(int status, char to[3]);
bool http_is_token(str s);       /* RFC 9110 section 5.6.2 */
bool http_is_field_value(str s); /* no CR, LF, NUL or other control but tab */
