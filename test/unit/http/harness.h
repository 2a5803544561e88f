/* harness.h — a server of ours, a scripted peer and a raw connection, for the tests of src/http.
 * Owner:  the test that opened it; harness_close() before its end.
 * Thread: a TEST_LOOP() fiber.   Failure: REQUIRE(). */
#pragma once

#include "http/client.h"
#include "http/server.h"
#include "loop/stream.h"
#include "test/testing.h"

/* Room for 4 KiB heads, on 127.0.0.1. config may be NULL; handle and arg are filled in. */
struct http_server *harness_open(void (*handle)(void *arg, struct http_exchange *x), void *arg,
                                 const struct http_server_config *config);
/* Stops within grace_ns and frees; returns how many exchanges were cut off. */
size_t harness_close(struct http_server *s, uint64_t grace_ns);

void harness_client_free(struct http_client *c);

struct stream *harness_dial(const char *address);
/* Sends the text, in pieces of step bytes (0 = whole), and reads to the end of the stream. */
str harness_talk(const char *address, str text, size_t step, struct arena *arena);
/* Reads until the text was seen. */
str harness_read_until(struct stream *s, const char *text, struct arena *arena);

/* A peer that answers the n-th connection by reading until a request's end "\r\n\r\n" and writing
 * reply[n], once for each request, then closing when `close` is set. */
struct script {
    const char *reply[4]; /* the last one again and again; NULL = close without a word */
    _Atomic bool close;   /* after the first request of a connection */
    _Atomic size_t n_conns, n_requests;
    struct listener *listener;
};
void script_open(struct script *s);
void script_close(struct script *s);
