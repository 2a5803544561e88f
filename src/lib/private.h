/* private.h — the parts of a struct proa, for the files of src/lib alone.
 * Owner, thread, failure: as in proa.h. */
#pragma once

#include "base/arena.h"
#include "http/client.h"
#include "http/server.h"
#include "proa.h"
#include "runtime/runtime.h"

#include <pthread.h>
#include <stdatomic.h>

struct method {
    char *name;
    proa_method_fn *fn;
    void *arg;
};
struct topic {
    char *pubsub, *topic, *dead_letter; /* dead_letter may be NULL */
    char path[32];                      /* "/proa/topic/3": where deliveries come in */
    proa_topic_fn *fn;
    void *arg;
};
enum { METHODS_MAX = 256, TOPICS_MAX = 256 };

struct proa {
    char *app_id;
    struct proa_options options;
    uint64_t timeout_ns;
    struct method method[METHODS_MAX];
    size_t n_methods;
    struct topic topic[TOPICS_MAX];
    size_t n_topics;
    void (*on_start)(struct proa *p, void *arg);
    void *on_start_arg;

    /* beside a sidecar */
    struct http_server *server;
    struct http_client *client;
    char sidecar[32]; /* "127.0.0.1:3500" */
    /* inside */
    struct arena arena;
    struct options runtime_options;
    struct runtime *runtime;

    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool stop, ended_start;
    struct fiber *start_fiber; /* worker 0 */
};

/* serve.c: everything that comes in, by either way */
CO void serve(void *proa, struct http_exchange *x);
/* call.c: one request to the API; headers may be NULL. Fills *res but its code; negative: no
 * answer. */
struct api_request {
    const char *verb;
    str path; /* with query */
    str content_type, body;
    const struct http_header *headers;
    size_t n_headers;
};
CO int api_call(struct proa *p, const struct api_request *q, struct proa_result *res);
