/* redis.h — a client for Redis: one server, Sentinel or Cluster, over our streams.
 * Owner:  the component that opened it; it is closed after the last call. Replies live in the
 * caller's arena.
 * Thread: any worker; each has connections and a view of the servers of its own. Calls suspend.
 * Failure: -UNAVAILABLE no connection, or it broke before the answer (a write may have happened),
 * -TIMEOUT, -CANCELLED, -DENIED (NOAUTH, WRONGPASS, NOPERM), -EXHAUSTED (memory, OOM); any other
 * error reply is -UNKNOWN with its text, and redis_error_is() tells its first word. MOVED, ASK,
 * READONLY, LOADING and their like are followed inside, within the caller's deadline.
 * Limits: REDIS_REPLY_MAX bytes a reply, REDIS_ARGS_MAX elements of an array and of a command.
 *
 * How calls share a connection, and what a timeout does to it: docs/redis.md. */
#pragma once

#include "component/component.h"

enum { REDIS_REPLY_MAX = 64 << 20, REDIS_ARGS_MAX = 1 << 20 };

struct redis; /* one configured Redis, whatever is behind it */

/* The contract's metadata, shared by all engines: REDIS_FIELDS() are its rows. A duration or number
 * below 0 switches off what it limits. */
struct redis_config {
    const char *hosts; /* "host:port" or "unix:/path", or a list of them */
    int64_t port;      /* for hosts that name none */
    const char *username, *password;
    const char *type; /* "node" or "cluster" */
    int64_t db;
    bool tls, insecure;
    const char *client_cert, *client_key;
    bool failover; /* hosts are Sentinels */
    const char *sentinel_master, *sentinel_username, *sentinel_password;
    bool entra_id, oidc; /* refused */
    int64_t max_retries, retry_min, retry_max;
    int64_t dial_timeout, read_timeout, write_timeout;
    int64_t pool_size, pool_timeout, min_idle;
    int64_t idle_timeout, idle_check, max_age;
};

/* Rows for the cfg table of struct type, whose member is a struct redis_config. */
#define REDIS_ROW(field, cfg_kind, holder, member, ...)                                            \
    {                                                                                              \
        .name = field, .kind = cfg_kind, .off = offsetof(holder, member), __VA_ARGS__              \
    }
#define REDIS_FIELDS(holder, m)                                                                    \
    REDIS_ROW("redisHost", CFG_STR, holder, m.hosts, .flags = CFG_REQUIRED,                        \
              .doc =                                                                               \
                  "host:port or unix:/path; with redisType cluster or failover a list of them"),   \
        REDIS_ROW("redisPort", CFG_INT, holder, m.port,                                            \
                  .doc = "for a redisHost without one; 6379"),                                     \
        REDIS_ROW("redisUsername", CFG_STR, holder, m.username, .doc = "ACL user"),                \
        REDIS_ROW("redisPassword", CFG_STR, holder, m.password, .flags = CFG_SECRET,               \
                  .doc = "password of the user, or of the server"),                                \
        REDIS_ROW("redisDB", CFG_INT, holder, m.db,                                                \
                  .doc = "database to select; a cluster has only 0"),                              \
        REDIS_ROW("redisType", CFG_STR, holder, m.type, .def = "node", .doc = "node or cluster"),  \
        REDIS_ROW("enableTLS", CFG_BOOL, holder, m.tls, .doc = "TLS to the servers"),              \
        REDIS_ROW("insecureSkipTLSVerify", CFG_BOOL, holder, m.insecure,                           \
                  .doc = "takes any certificate: for tests"),                                      \
        REDIS_ROW("clientCert", CFG_STR, holder, m.client_cert,                                    \
                  .doc = "PEM text of the certificate to show"),                                   \
        REDIS_ROW("clientKey", CFG_STR, holder, m.client_key, .flags = CFG_SECRET,                 \
                  .doc = "PEM text of its key"),                                                   \
        REDIS_ROW("failover", CFG_BOOL, holder, m.failover,                                        \
                  .doc = "redisHost names Sentinels, which know the master"),                      \
        REDIS_ROW("sentinelMasterName", CFG_STR, holder, m.sentinel_master,                        \
                  .doc = "the master's name there"),                                               \
        REDIS_ROW("sentinelUsername", CFG_STR, holder, m.sentinel_username,                        \
                  .doc = "ACL user of the Sentinels"),                                             \
        REDIS_ROW("sentinelPassword", CFG_STR, holder, m.sentinel_password, .flags = CFG_SECRET,   \
                  .doc = "their password"),                                                        \
        REDIS_ROW("useEntraID", CFG_BOOL, holder, m.entra_id, .alias = "useAzureAD",               \
                  .doc = "not supported: use redisUsername and redisPassword"),                    \
        REDIS_ROW("useOIDC", CFG_BOOL, holder, m.oidc,                                             \
                  .doc = "not supported: use redisUsername and redisPassword"),                    \
        REDIS_ROW("redisMaxRetries", CFG_INT, holder, m.max_retries, .alias = "maxRetries",        \
                  .def = "3", .doc = "tries after the first, of what may be sent again; -1 none"), \
        REDIS_ROW("redisMinRetryInterval", CFG_DURATION, holder, m.retry_min, .def = "8ms",        \
                  .doc = "pause before the first of them; it doubles"),                            \
        REDIS_ROW("redisMaxRetryInterval", CFG_DURATION, holder, m.retry_max, .def = "512ms",      \
                  .doc = "longest pause"),                                                         \
        REDIS_ROW("dialTimeout", CFG_DURATION, holder, m.dial_timeout, .def = "5s",                \
                  .doc = "for connecting, TLS and AUTH together"),                                 \
        REDIS_ROW("readTimeout", CFG_DURATION, holder, m.read_timeout, .def = "3s",                \
                  .doc = "for an answer; a connection that is silent for so long is given up; "    \
                         "-1 none"),                                                               \
        REDIS_ROW("writeTimeout", CFG_DURATION, holder, m.write_timeout,                           \
                  .doc = "for what the server doesn't take; as readTimeout"),                      \
        REDIS_ROW("poolSize", CFG_INT, holder, m.pool_size,                                        \
                  .doc = "connections of a worker to a server, at most; 10. Most need one"),       \
        REDIS_ROW("poolTimeout", CFG_DURATION, holder, m.pool_timeout,                             \
                  .doc = "wait while all of them are full; readTimeout + 1 s"),                    \
        REDIS_ROW("minIdleConns", CFG_INT, holder, m.min_idle,                                     \
                  .doc = "taken and ignored: calls share connections"),                            \
        REDIS_ROW("idleTimeout", CFG_DURATION, holder, m.idle_timeout, .def = "5m",                \
                  .doc = "an unused connection is closed after it; -1 never"),                     \
        REDIS_ROW("idleCheckFrequency", CFG_DURATION, holder, m.idle_check,                        \
                  .doc = "taken and ignored: each connection has a timer"),                        \
        REDIS_ROW("maxConnAge", CFG_DURATION, holder, m.max_age,                                   \
                  .doc = "a connection is replaced at that age; 0 never")

enum redis_kind { REDIS_NIL, REDIS_STRING, REDIS_STATUS, REDIS_ERROR, REDIS_INTEGER, REDIS_ARRAY };

struct redis_reply {
    enum redis_kind kind;
    str text;        /* STRING (NUL behind it), STATUS, ERROR */
    int64_t integer; /* INTEGER */
    struct redis_reply *item;
    size_t n; /* of item */
};

/* Checks the configuration and that a server answers. */
CO int redis_open(const struct redis_config *c, struct redis **ret, struct error *err) WUR;
CO void redis_close(struct redis *r); /* NULL is fine */
/* How many replicas the server has now; 0 also for who may not ask. */
CO int redis_count_replicas(struct redis *r, int64_t *ret, struct error *err) WUR;
bool redis_is_cluster(const struct redis *r);
uint16_t redis_slot(str key); /* of a cluster: by its {tag} when it has one */

enum {
    REDIS_AGAIN = 1, /* may be sent twice: when its connection breaks before the answer */
    REDIS_ALONE = 2, /* blocks its connection (WAIT): not on one that others share */
};

struct redis_command {
    const str *arg;
    size_t n;
    str key; /* says which node of a cluster: one of arg; .p NULL = any */
};
/* One command. On -UNKNOWN and -DENIED *ret holds the error reply. */
CO int redis_do(struct redis *r, const struct redis_command *c, unsigned flags, struct arena *a,
                struct redis_reply *ret, struct error *err) WUR;
/* Several, written together, each to its node; ret[i] answers c[i] and may be a REDIS_ERROR.
 * Commands to one node are run in order, with others' between them. Negative: at least one has no
 * answer. With REDIS_ALONE all go over one connection: they must have one node. */
CO int redis_pipeline(struct redis *r, const struct redis_command *c, size_t n, unsigned flags,
                      struct arena *a, struct redis_reply *ret, struct error *err) WUR;

/* A Lua script: EVALSHA, and EVAL where the server doesn't know it yet. The keys of a call lie in
 * one slot of a cluster. */
struct redis_script {
    str text;
    char sha1[41];
};
void redis_script_init(struct redis_script *s, str text); /* text is borrowed */
struct redis_eval {
    const struct redis_script *script;
    const str *keys, *args;
    size_t n_keys, n_args;
    unsigned flags;
    int64_t replicas; /* > 0: then waits until so many have it, a second at most */
};
CO int redis_eval(struct redis *r, const struct redis_eval *e, struct arena *a,
                  struct redis_reply *ret, struct error *err) WUR;

bool redis_error_is(const struct redis_reply *reply, const char *word); /* "BUSYGROUP" */
/* Turns an error reply into the code and text that redis_do() gives; 0 for any other reply. */
int redis_check(const struct redis *r, const struct redis_reply *reply, struct error *err) WUR;

/* ---- a connection of one's own: for what listens (SUBSCRIBE) or blocks (XREADGROUP BLOCK) ----
 * On the calling worker. After an error other than an error reply it is only good for closing. */
struct redis_conn;
CO int redis_conn_open(struct redis *r, str key, struct redis_conn **ret, struct error *err) WUR;
/* timeout_ns: for the answer, beside the fiber's deadline; 0 = readTimeout. */
CO int redis_conn_do(struct redis_conn *c, const str *arg, size_t n, uint64_t timeout_ns,
                     struct arena *a, struct redis_reply *ret, struct error *err) WUR;
/* The next pushed message after SUBSCRIBE; waits until the fiber's deadline or cancel. */
CO int redis_conn_next(struct redis_conn *c, struct arena *a, struct redis_reply *ret,
                       struct error *err) WUR;
void redis_conn_close(struct redis_conn *c); /* NULL is fine */
