/* error.h — one error vocabulary for the whole house; its numbers are the gRPC status codes.
 * Owner:  the caller holds the struct; all texts are copied into it.
 * Thread: any.   Leaf code returns -CODE; code that knows the story calls fail(). Only src/api maps
 * codes to HTTP. The first cause wins: fail() on a filled error keeps the older story. */
#pragma once

#include "base/str.h"

enum code {
    OK = 0,
    CANCELLED = 1,
    UNKNOWN = 2,
    INVALID = 3, /* INVALID_ARGUMENT */
    TIMEOUT = 4, /* DEADLINE_EXCEEDED */
    NOT_FOUND = 5,
    EXISTS = 6,
    DENIED = 7,    /* PERMISSION_DENIED */
    EXHAUSTED = 8, /* RESOURCE_EXHAUSTED: a limit of ours, or memory */
    PRECONDITION = 9,
    ABORTED = 10, /* also: a stale ETag */
    RANGE = 11,
    UNIMPLEMENTED = 12,
    INTERNAL = 13,
    UNAVAILABLE = 14,
    DATA_LOSS = 15,
    UNAUTHENTICATED = 16,
};

struct error {
    enum code code;
    int http;        /* HTTP status where the contract wants another than the table's; 0 = table */
    const char *tag; /* HTTP errorCode, such as "ERR_STATE_GET"; static storage; NULL = by code */
    /* ErrorInfo reason, such as "DAPR_STATE_NOT_FOUND"; static; NULL = no details */
    const char *reason;
    char resource_type[16], resource[64]; /* ResourceInfo; empty = none */
    char violation[32];                   /* field of a BadRequest detail; empty = none */
    const char *meta_key[2]; /* ErrorInfo metadata, see fail_meta(); static; NULL = none */
    char meta[2][128];
    /* Why overload control has refused it, "queue"; static; NULL = it has not. And when to come
     * back. */
    const char *shed;
    unsigned retry_after_s;           /* 0 = nothing is said about it */
    const char *help_url, *help_text; /* a Help link; static; NULL = none */
    /* Of an error that a pluggable component made its own (facts 4.5); .own: there is one. */
    bool own;
    uint16_t own_at; /* where in .text its own words begin: what gRPC clients see */
    char own_tag[48], own_reason[48], own_domain[48]; /* empty = none */
    char text[512]; /* what happened and what to do about it; cut, never overrun */
};

const char *code_name(enum code code);    /* "INVALID_ARGUMENT": the gRPC spelling */
const char *code_go_name(enum code code); /* "InvalidArgument": as daprd's messages have it */

/* HTTP status ↔ code, by the contract's two tables, which aren't each other's inverse. */
int code_http_status(enum code code);
enum code code_of_http_status(int status);

/* Fills *err (unless NULL or already filled) and returns -code. tag has static storage or is NULL.
 */
int fail(struct error *err, enum code code, const char *tag, const char *fmt, ...) PRINTF(4, 5);
/* Adds to an error that fail() has filled: the details that kit errors of the contract carry. */
void fail_reason(struct error *err, const char *reason, const char *resource_type, str resource);
void fail_meta(struct error *err, const char *key, str value); /* at most two; key is static */
/* Puts "<context>: " before the text of an error that is already there. Returns -err->code;
 * -UNKNOWN when err is NULL. */
int fail_wrap(struct error *err, const char *fmt, ...) PRINTF(2, 3);
/* Takes over what is a component's own in cause: its HTTP status, its words and its details stay
 * with err, which has been filled with a text that ends in cause's. */
void fail_own(struct error *err, const struct error *cause);
/* Replaces whatever is there; for the block that must answer with the contract's own error. */
int fail_as(struct error *err, enum code code, const char *tag, const char *fmt, ...) PRINTF(4, 5);
