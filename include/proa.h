/* proa.h — write a service in C: handlers for methods and topics, and calls to the world around it.
 *
 * The same program runs beside a sidecar (`proa run`, `dapr run`) or with the runtime inside it and
 * no sidecar at all: proa_options.inside, or PROA_MODE=inside in the environment, is the only
 * switch.
 *
 * Owner:  you own the struct proa; data given to a handler lives until the handler returns; results
 * are freed with proa_result_free(). Strings are UTF-8 and NUL-terminated; data has a length, may
 * hold NULs, and is NUL-terminated besides for convenience. Thread: handlers run in fibers on the
 * library's worker threads, several at once: guard what they share. A call such as proa_invoke()
 * suspends the fiber, not the thread. Code that blocks a thread (a database driver, sleep) belongs
 * into proa_blocking(). A fiber has a stack of 128 KiB: no large arrays on it. Failure: calls
 * return 0 or a negative enum proa_code; the result's .error says what happened and what to do. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define PROA_API __attribute__((visibility("default")))

/* The gRPC status codes; calls return them negated. */
enum proa_code {
    PROA_OK = 0,
    PROA_CANCELLED = 1,
    PROA_UNKNOWN = 2,
    PROA_INVALID = 3,
    PROA_TIMEOUT = 4,
    PROA_NOT_FOUND = 5,
    PROA_EXISTS = 6,
    PROA_DENIED = 7,
    PROA_EXHAUSTED = 8,
    PROA_PRECONDITION = 9,
    PROA_CONFLICT = 10, /* somebody else changed it: the ETag is stale */
    PROA_UNIMPLEMENTED = 12,
    PROA_INTERNAL = 13,
    PROA_UNAVAILABLE = 14,
};

struct proa;

struct proa_options {
    const char *app_id; /* NULL: APP_ID of the environment */
    int app_port;     /* where the service listens for its sidecar; 0: APP_PORT, or any free port */
    int sidecar_port; /* the sidecar's HTTP API; 0: DAPR_HTTP_PORT, or 3500 */
    bool inside;      /* the runtime runs in this process; also by PROA_MODE=inside */
    const char
        *resources; /* inside: folder with component files; NULL: PROA_RESOURCES, or ./resources */
    const char *config; /* inside: Configuration file; NULL: PROA_CONFIG, or none */
    int workers;        /* threads that serve; 0: 1 beside a sidecar, one a core inside */
};

/* options may be NULL. NULL result: out of memory, or an option makes no sense (said on stderr). */
PROA_API struct proa *proa_new(const struct proa_options *options);
/* Serves until SIGINT or SIGTERM, or proa_stop(); drains first. Returns an exit status. */
PROA_API int proa_run(struct proa *p);
PROA_API void proa_stop(struct proa *p); /* any thread */
PROA_API void proa_free(struct proa *p);
PROA_API const char *proa_app_id(const struct proa *p);
PROA_API const char *proa_version(void);

/* ---- methods: what other services, or clients, call ---- */

struct proa_request {
    const char *verb;   /* "POST" */
    const char *method; /* "orders/17": the path without its first slash */
    const char *query;  /* "a=b", "" */
    const char *content_type;
    const char *caller; /* app id of the calling service; "" when it isn't one */
    const char *data;
    size_t len;
    struct proa *proa;
    void *impl;
};
typedef void proa_method_fn(struct proa_request *r, void *arg);

/* method "orders" also gets "orders/17" when no longer name matches. The longest registered name
 * wins. Before proa_run(). Returns 0 or -PROA_EXHAUSTED. */
PROA_API int proa_method(struct proa *p, const char *method, proa_method_fn *fn, void *arg);
/* Once a request; without one the caller gets 500. data is copied. */
PROA_API void proa_reply(struct proa_request *r, int status, const char *content_type,
                         const char *data, size_t len);
/* application/json by printf; strings from outside go through proa_json_quote(). */
PROA_API void proa_reply_json(struct proa_request *r, int status, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* A request header, "" when absent; lives as long as the request. */
PROA_API const char *proa_header(const struct proa_request *r, const char *name);

/* ---- topics: messages from the queue ---- */

struct proa_event {
    const char *pubsub, *topic;
    const char *id; /* the same at each redelivery: for idempotent consumers */
    const char *type, *source, *subject;
    const char *content_type;
    const char *data;
    size_t len;
    struct proa *proa;
};
enum proa_verdict {
    PROA_DONE,  /* processed: never comes again */
    PROA_RETRY, /* comes again, later */
    PROA_DROP,  /* can't ever be processed: to the dead letter topic, if there is one */
};
typedef enum proa_verdict proa_topic_fn(const struct proa_event *e, void *arg);

struct proa_topic_options {
    const char *dead_letter; /* topic; NULL: none */
};
/* options may be NULL. Before proa_run(). Returns 0 or -PROA_EXHAUSTED. */
PROA_API int proa_topic(struct proa *p, const char *pubsub, const char *topic, proa_topic_fn *fn,
                        void *arg, const struct proa_topic_options *options);

/* Called once, in a fiber, when the sidecar (or the runtime inside) answers: for what a service
 * does by itself. */
PROA_API int proa_on_start(struct proa *p, void (*fn)(struct proa *p, void *arg), void *arg);

/* ---- calls; from handlers, from proa_on_start() and from fibers of proa_spawn() ---- */

struct proa_result {
    int code;   /* 0 or a negative enum proa_code: the same as the call returned */
    int status; /* HTTP status; 0: there was no answer */
    char *data; /* never NULL after a call */
    size_t len;
    char content_type[64];
    char etag[64];   /* of state; "" when there is none */
    char error[256]; /* "" when code is 0 */
};
PROA_API void proa_result_free(struct proa_result *r); /* a zeroed one is fine */
#define PROA_RESULT __attribute__((cleanup(proa_result_free))) struct proa_result

/* How long a call may take; default 30 s. Of this service, for all its calls. Before proa_run(). */
PROA_API void proa_set_timeout(struct proa *p, int ms);

/* Calls method of another app. A status of 300 or more is a failure (code by the contract's table),
 * its body is in res. data NULL with len 0: no body. content_type NULL: application/json. */
PROA_API int proa_invoke(struct proa *p, const char *app_id, const char *method, const char *verb,
                         const char *data, size_t len, struct proa_result *res);

/* State: values are JSON. get: -PROA_NOT_FOUND when the key isn't there. */
PROA_API int proa_state_get(struct proa *p, const char *store, const char *key,
                            struct proa_result *res);
/* etag NULL: whatever is there is overwritten. etag "": only if the key isn't there yet. Otherwise
 * only if nobody has changed it since: -PROA_CONFLICT. ttl_s 0: for ever. */
PROA_API int proa_state_set(struct proa *p, const char *store, const char *key, const char *json,
                            size_t len, const char *etag, int ttl_s, struct proa_result *res);
PROA_API int proa_state_delete(struct proa *p, const char *store, const char *key, const char *etag,
                               struct proa_result *res);
struct proa_write {
    const char *key;
    const char *json; /* NULL: delete */
    size_t len;
    const char *etag; /* as above */
};
/* All of them or none. */
PROA_API int proa_state_transact(struct proa *p, const char *store, const struct proa_write *w,
                                 size_t n, struct proa_result *res);

struct proa_publish_options {
    const char *
        id; /* CloudEvent id: brokers of ours drop a second one with the same id; NULL: a new one */
    const char *key;          /* messages of one key are delivered in order; NULL: no order */
    int ttl_s;                /* 0: for ever */
    const char *content_type; /* NULL: application/json */
};
/* Returns when the broker has the message safely. options may be NULL. */
PROA_API int proa_publish(struct proa *p, const char *pubsub, const char *topic, const char *data,
                          size_t len, const struct proa_publish_options *options,
                          struct proa_result *res);

/* data: a JSON object of the secret's keys. */
PROA_API int proa_secret(struct proa *p, const char *store, const char *name,
                         struct proa_result *res);

/* ---- fibers ---- */

PROA_API int proa_spawn(struct proa *p, void (*fn)(void *arg),
                        void *arg); /* from a handler or on_start */
/* false: the service is ending, stop what you do. */
PROA_API bool proa_sleep_ms(int ms);
PROA_API int proa_blocking(void (*fn)(void *arg), void *arg);

/* ---- JSON, as far as handlers need it ---- */

/* path "order.items.0.sku". false: not there, another type, or it doesn't fit; *out is untouched
 * then. */
PROA_API bool proa_json_str(const char *json, size_t len, const char *path, char *out, size_t size);
PROA_API bool proa_json_int(const char *json, size_t len, const char *path, int64_t *out);
/* The value's exact text: *out points into json. */
PROA_API bool proa_json_raw(const char *json, size_t len, const char *path, const char **out,
                            size_t *out_len);
/* s as a JSON string with its quotes. Returns out; "" in quotes when it doesn't fit. */
PROA_API char *proa_json_quote(const char *s, char *out, size_t size);

#ifdef __cplusplus
}
#endif
