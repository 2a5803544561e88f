/* words.h — a gRPC call in the words of an HTTP exchange, and back: so that everything between an
 * edge and the app knows one kind of call. A caller that speaks gRPC marks its request by
 * WORDS_CALL; only then a gRPC app's answer carries its status in WORDS_STATUS, which the edge
 * takes off. The same headers travel between two Proas. Owner:  slices live in the arena of the
 * headers.   Thread: any. Failure: -EXHAUSTED past the arena's limit, -INVALID what can't be said
 * in a header. */
#pragma once

#include "http/message.h"

#include "base/buf.h"

#define WORDS_CALL "proa-grpc"          /* of a request: data.type_url, mostly empty */
#define WORDS_STATUS "proa-grpc-status" /* of an answer: base64 of google.rpc.Status */
#define WORDS_TYPE "proa-grpc-type"     /* of an answer: data.type_url; absent = empty */
#define WORDS_NO_VERB "NONE"            /* the method of a request that names none */

struct words_status {
    enum code code;
    str message;
    str details; /* serialized google.rpc.Status, for grpc-status-details-bin; empty = none */
};

/* ---- requests ---- */
int words_mark(struct http_headers *h, str type_url) WUR;
bool words_marked(const struct http_headers *h);

/* ---- answers ---- */
int words_put(struct http_headers *h, const struct words_status *status, str type_url) WUR;
/* Takes them off. false, nothing set: it was no gRPC app. */
bool words_take(struct http_headers *h, struct words_status *ret, str *ret_type_url);
void words_remove(struct http_headers *h);
/* A failure as an HTTP caller sees it: google.rpc.Status as JSON (facts 5.2). */
int words_json(const struct words_status *status, struct arena *a, struct buf *out) WUR;

/* ---- headers and metadata ---- */

/* A header of HTTP that IANA has registered for good: to a gRPC app it goes as "dapr-<name>"
 * (surprise 48). */
bool words_is_permanent(str name);
/* Headers of an exchange as metadata for a gRPC app: lower case, registered ones renamed unless the
 * caller speaks gRPC (then its names are lower case already), what is the connection's left out. */
int words_metadata(const struct http_headers *h, struct http_headers *ret) WUR;
/* Metadata as headers for HTTP: "-bin" ones left out, "grpc-…" renamed to "dapr-grpc-…"
 * (facts 5.1). */
int words_headers(const struct http_headers *h, struct http_headers *ret) WUR;
/* base64 as it stands in "-bin" metadata, with padding or without → strict; .p NULL: it isn't. */
str words_padded(struct arena *a, str base64) WUR;
