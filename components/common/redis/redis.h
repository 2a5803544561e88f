/* redis.h — a client for Redis: one server, Sentinel or Cluster; pooled, pipelined, over our
 * streams. Owner:  the component that opened it; replies live in the caller's arena. Thread: any
 * worker; each has connections of its own. Calls suspend. Failure: -UNAVAILABLE no connection, or
 * it broke before the answer (a write may have happened), -TIMEOUT, -DENIED (NOAUTH, WRONGPASS,
 * NOPERM); an error reply of the server is -UNKNOWN with its text, and its first word is told by
 * redis_error_is(). MOVED, ASK, READONLY and LOADING are followed inside, within the caller's
 * deadline. Limits: redis_config.max_conns connections a worker and server, REDIS_REPLY_MAX bytes a
 * reply. */
#pragma once

#include "component/component.h"

enum { REDIS_REPLY_MAX = 64 << 20, REDIS_ARGS_MAX = 1 << 20 };

struct redis; /* one configured Redis, whatever is behind it */

/* The contract's metadata, shared by all engines: the rows are REDIS_FIELDS(struct, member). */
struct redis_config {
    const char *host; /* redisHost: "host:port", or a list of them */
    const char *username, *password;
    const char *type;   /* redisType: "node" or "cluster" */
    int64_t db;         /* redisDB */
    bool tls, insecure; /* enableTLS; insecure: no verification */
    const char *client_cert, *client_key;
    bool failover; /* Sentinel */
    const char *sentinel_master, *sentinel_username, *sentinel_password;
    int64_t dial_timeout, read_timeout, write_timeout;         /* ns; 5 s, 3 s, 3 s */
    int64_t max_retries, min_retry_backoff, max_retry_backoff; /* ns */
    int64_t pool_size, pool_timeout, min_idle, idle_timeout, max_conn_age, idle_check;
};

enum redis_kind { REDIS_NIL, REDIS_STRING, REDIS_STATUS, REDIS_ERROR, REDIS_INTEGER, REDIS_ARRAY };

struct redis_reply {
    enum redis_kind kind;
    str text;        /* STRING, STATUS, ERROR */
    int64_t integer; /* INTEGER */
    struct redis_reply *item;
    size_t n;
};

CO int redis_open(const struct redis_config *c, struct redis **ret, struct error *err) WUR;
CO void redis_close(struct redis *r); /* NULL is fine */

/* One command. key: which node of a cluster (usually one of args); .p NULL = any. idempotent: may
 * be sent again on another connection when this one broke. */
struct redis_command {
    const str *arg;
    size_t n;
    str key;
    bool idempotent;
};
CO int redis_do(struct redis *r, const struct redis_command *c, struct arena *a,
                struct redis_reply *ret, struct error *err) WUR;
/* Several to one node in one write, answered in order; each reply may be a REDIS_ERROR. */
CO int redis_pipeline(struct redis *r, const struct redis_command *c, size_t n, struct arena *a,
                      struct redis_reply *ret, struct error *err) WUR;
/* EVALSHA with a fall back to EVAL; keys all in one slot. sha1 is computed once by
 * redis_script_init(). */
struct redis_script {
    const char *text;
    char sha1[41];
};
void redis_script_init(struct redis_script *s);
CO int redis_eval(struct redis *r, const struct redis_script *s, const str *keys, size_t n_keys,
                  const str *args, size_t n_args, struct arena *a, struct redis_reply *ret,
                  struct error *err) WUR;
bool redis_error_is(const struct redis_reply *reply,
                    const char *word); /* "NOSCRIPT", "BUSYGROUP" */

/* A connection of one's own, for what blocks or listens: XREADGROUP BLOCK, SUBSCRIBE. Not pooled;
 * on the calling worker. */
struct redis_conn;
CO int redis_conn_open(struct redis *r, str key, struct redis_conn **ret, struct error *err) WUR;
CO int redis_conn_do(struct redis_conn *c, const str *arg, size_t n, uint64_t timeout_ns,
                     struct arena *a, struct redis_reply *ret, struct error *err) WUR;
/* The next pushed message after SUBSCRIBE; waits until the fiber's deadline or cancel. */
CO int redis_conn_next(struct redis_conn *c, struct arena *a, struct redis_reply *ret,
                       struct error *err) WUR;
void redis_conn_close(struct redis_conn *c); /* NULL is fine */
