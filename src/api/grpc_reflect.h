/* grpc_reflect.h — gRPC server reflection, v1 and v1alpha: what a port serves, for clients like
 * grpcurl.
 * Owner:  the descriptors are static, made at build time (tools/gen_descriptors.py).
 * Thread: the exchange's fiber.
 * Failure: negative with *err; an unknown symbol is an answer. */
#pragma once

#include "base/error.h"
#include "http/server.h"

struct reflect_file {
    const char *name;
    const unsigned char *data;
    size_t len;
    const int *needs; /* files that it imports; -1 at the end */
};
struct reflect_symbol {
    const char *name; /* sorted */
    int file;
};
extern const struct reflect_file reflect_files[];
extern const size_t reflect_n_files;
extern const struct reflect_symbol reflect_symbols[];
extern const size_t reflect_n_symbols;

/* Whether a service is one of the two. */
bool reflect_serves(str service);
/* own: the service that the port has besides. */
CO int reflect_run(struct http_exchange *x, const char *own, struct error *err) WUR;
/* One request, packed, to one answer in the arena. -INVALID. */
int reflect_answer(str request, const char *own, struct arena *a, str *ret) WUR;
