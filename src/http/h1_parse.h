/* h1_parse.h — HTTP/1.1 heads and chunked framing by RFC 9112: strict, incremental, no copies.
 * Owner:  the caller's buffer and arena; all slices point into that buffer.
 * Thread: any, no I/O.   Failure: -INVALID with the status to answer and why; what has no single
 * meaning is refused. Limits: bytes of a head by the caller, 256 fields, 8 KiB of chunk extensions.
 */
#pragma once

#include "http/message.h"

enum h1_kind { H1_REQUEST, H1_RESPONSE, H1_TRAILERS };

struct h1_head {
    enum h1_kind kind;
    struct http_headers headers;
    size_t line, scan; /* where the line in work begins, and how far it was searched for its end */
    size_t max;        /* bytes of the head at most */
    bool first_done, skipped_empty;

    /* Results; all but the last two good when h1_parse() returned 1. */
    str method, target, path, query, authority; /* request */
    int code;                                   /* response: its status */
    str reason;
    int minor;              /* of HTTP/1.minor */
    int64_t content_length; /* -1: no such field */
    bool chunked, close, keep_alive, expect_continue, upgrade_h2c, host_seen;
    bool http2_settings_named; /* Connection: HTTP2-Settings */
    str http2_settings;
    size_t size;     /* bytes of the head with its empty line */
    int status;      /* after -INVALID: 400, 414, 431, 501 or 505 */
    const char *why; /* after -INVALID: what was wrong, static */
};

void h1_head_init(struct h1_head *h, enum h1_kind kind, size_t max, struct arena *arena);
/* The head is expected at p; n bytes of it are there, more than at the call before. 1 = complete,
 * 0 = needs more, -INVALID, -EXHAUSTED the arena's limit. p must stay where it is between calls. */
int h1_parse(struct h1_head *h, const char *p, size_t n) WUR;

/* RFC 9112 section 7.1, one byte of framing at a time; data is not looked at. */
struct h1_chunks {
    uint64_t left; /* of the present chunk */
    int state;
    unsigned digits, ext;
};

enum { H1_CHUNKS_MORE = 0, H1_CHUNKS_DATA = 1, H1_CHUNKS_END = 2 };

void h1_chunks_init(struct h1_chunks *c);
/* Eats framing and at most one piece of data from p[0 … n). *ret_used = bytes eaten, data included.
 * H1_CHUNKS_DATA with a slice; _MORE when all is eaten; _END behind the line of the last chunk,
 * where the trailer section begins; -INVALID. */
int h1_chunks_next(struct h1_chunks *c, const char *p, size_t n, size_t *ret_used, str *ret_data)
    WUR;
