/* runtime.h — one sidecar: assembled, started, served, drained, stopped; in its own process or in
 * an app's. Owner:  runtime_new() to runtime_free(); the workers are the process's and must run in
 * between. Thread: start and stop from a thread that isn't a worker. Failure: start reports the
 * first cause, and everything that had begun is taken back by runtime_free(). */
#pragma once

#include "http/server.h"
#include "runtime/options.h"

struct runtime;
struct api;
struct blocks;

struct runtime_app { /* an app in this process, instead of one on a port */
    CO void (*handle)(void *arg, struct http_exchange *x);
    void *arg;
};

/* options are borrowed for the runtime's life. app may be NULL. */
int runtime_new(const struct options *options, const struct runtime_app *app, struct runtime **ret,
                struct error *err) WUR;
/* Returns when the APIs listen; the app is waited for in the background. */
int runtime_start(struct runtime *r, struct error *err) WUR;
/* Drains in the contract's order (facts 5.5). Returns how many requests were cut off: 0 is a clean
 * end. */
size_t runtime_stop(struct runtime *r);
void runtime_free(struct runtime *r); /* NULL is fine */
struct blocks *runtime_blocks(struct runtime *r);
struct api *runtime_api(struct runtime *r); /* for calls from this process */
bool runtime_ready(struct runtime *r);

/* The command `proa sidecar`, and the face `daprd`: exit status. */
int runtime_main(int argc, char **argv);
