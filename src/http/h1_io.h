/* h1_io.h — one HTTP/1.1 message at a time over a stream: its input buffer, its body, its head's
 * text. Owner:  the connection that works on the message; slices point into the input buffer.
 * Thread: one worker.   Failure: -INVALID bad framing, -UNAVAILABLE the peer left too early, or the
 * stream's own. Limit: the buffer, its size is fixed; a head and 16 KiB of a body fit. */
#pragma once

#include "http/h1_parse.h"
#include "loop/stream.h"

enum { H1_BODY_ROOM = 16 << 10, H1_TRAILERS_MAX = 8 << 10 };

struct h1_input {
    struct stream *stream;
    char *buf;
    size_t cap;
    size_t at, end; /* unread: buf[at … end) */
    size_t floor;   /* what lies below is in use: the head */
};

/* 1 = more bytes, 0 = end of the stream, -EXHAUSTED the buffer is full, or the stream's failure. */
CO int h1_input_fill(struct h1_input *in) WUR;
/* Moves what is unread to the front of the buffer; slices of the head before are gone. */
void h1_input_restart(struct h1_input *in);
/* Reads a head: 1 = done, 0 = end of the stream before its first byte, negative on failure. */
CO int h1_input_head(struct h1_input *in, struct h1_head *head) WUR;

enum h1_body_kind { H1_BODY_NONE, H1_BODY_LENGTH, H1_BODY_CHUNKED, H1_BODY_TO_END };

struct h1_body {
    enum h1_body_kind kind;
    bool done;
    uint64_t left; /* H1_BODY_LENGTH */
    struct h1_chunks chunks;
    struct h1_head trailers; /* good once done, of a chunked body */
};

/* content_length is -1 or the length; trailers go to the arena. */
void h1_body_init(struct h1_body *b, enum h1_body_kind kind, int64_t content_length,
                  struct arena *arena);
/* Next piece: 1 and a slice good until the next call, 0 at the end, negative on failure. */
CO int h1_body_read(struct h1_body *b, struct h1_input *in, str *ret) WUR;

/* ---- text ---- */

enum h1_framing { H1_FRAME_NONE, H1_FRAME_LENGTH, H1_FRAME_CHUNKED, H1_FRAME_CLOSE };

struct h1_message {
    const struct http_headers *headers; /* may be NULL; those that frame are left out */
    enum h1_framing framing;
    uint64_t length; /* H1_FRAME_LENGTH */
    bool close;
};

/* The whole head in the arena. -INVALID: a name, value, method or target that would break it. */
int h1_put_reply(struct arena *arena, int status, const struct h1_message *m, str *ret) WUR;
int h1_put_request(struct arena *arena, const struct http_request *req, str host,
                   const struct h1_message *m, str *ret) WUR;
/* The last chunk with the trailers. */
int h1_put_trailers(struct arena *arena, const struct http_headers *trailers, str *ret) WUR;
/* "Sun, 06 Nov 1994 08:49:37 GMT", now; good until the next call on this thread. */
str http_date(void);
/* "400\r\n"; returns its length. */
enum { H1_CHUNK_MAX = 20 };
size_t h1_put_chunk_size(char ret[H1_CHUNK_MAX], size_t n);
