/* redis_private.h — the inside of the client, for the files of this folder only.
 * Owner:  struct redis; each worker's share of it belongs to that worker.
 * Thread: what hangs on a share, on its worker; the configuration any, it doesn't change.
 * Failure: negative codes.
 *
 *   redis ──▶ share (one a worker) ──▶ node (a server) ──▶ conn (pipelined) ──▶ link (stream, RESP)
 *                                                          redis_conn (one's own) ──▶ link */
#pragma once

#include "base/buf.h"
#include "components/common/redis/resp.h"
#include "fiber/sync.h"
#include "http/flush.h"
#include "loop/stream.h"
#include "loop/tls.h"
#include "loop/worker.h"

#include <stdatomic.h>

enum {
    HOSTS_MAX = 32,
    NODES_MAX = 1024,
    SLOTS = 16384,        /* of a cluster */
    LINK_IN = 32 << 10,   /* bytes of a link's input buffer; more than RESP_LINE_MAX */
    OUT_MAX = 512 << 20,  /* of a connection's output: what the protocol allows for one value */
    OUT_HIGH = 1 << 20,   /* then callers wait */
    RING_HIGH = 16 << 10, /* answers that one connection may owe; then callers wait */
    SPREAD_AT = 512,      /* … from here on another connection is opened */
    REDIRECTS_MAX = 16,
};

struct redis {
    struct redis_config c;
    const char *host[HOSTS_MAX];
    size_t n_hosts;
    char *host_text;     /* owned, what host[] points into */
    struct share *share; /* one a worker */
    size_t n_shares;
    bool cluster;
    struct tls_context *tls; /* NULL: without */
    atomic_uint generation;  /* grows when Sentinel tells of a new master */
};

/* A worker's part. */
struct share {
    struct redis *r;
    /* ---- the view: which servers there are ---- */
    struct node **node;
    size_t n_nodes;
    struct node *master; /* without a cluster: where all goes; NULL = not known yet */
    uint16_t *slot;      /* of a cluster: number of its node, 0 = of none; NULL = not known yet */
    bool doubt, looking; /* doubt: look again before the next call */
    struct waitq looked;
    uint64_t looked_ns;
    unsigned generation;
    size_t good_host; /* the Sentinel that answered last */
    struct fiber *watch;
    /* ---- its life ---- */
    size_t n_alive; /* connections, and fibers that work for it */
    bool closing;
    struct mail close;
    struct closer *closer;
};

struct node {
    struct share *share;
    char address[ADDRESS_MAX];
    struct list conns;
    size_t n_shared, n_alone;
    struct waitq room;
};

/* ---- link.c: a stream that speaks RESP ---- */

struct link {
    const struct redis *r;
    struct stream *stream;
    struct resp_reader reader;
    char address[ADDRESS_MAX];
    size_t head, len; /* of in: what wasn't fed yet */
    char in[LINK_IN];
};

enum link_role { LINK_SERVER, LINK_SENTINEL };

/* Dials, and says who we are; within dialTimeout. */
CO int link_open(const struct redis *r, const char *address, enum link_role role, struct link **ret,
                 struct error *err) WUR;
void link_close(struct link *l); /* NULL is fine; no fiber may be inside */
/* Writes a command and reads its answer. */
CO int link_ask(struct link *l, const str *arg, size_t n, struct arena *a, struct redis_reply *ret,
                struct error *err) WUR;
CO int link_read(struct link *l, struct arena *a, struct redis_reply *ret, struct error *err) WUR;
/* Feeds what has been read to the reader: 1 a reply is complete, 0 more is needed, -DATA_LOSS. */
int link_step(struct link *l) WUR;
/* Reads what is there without waiting: > 0, 0 at the end, -ABORTED nothing, -UNAVAILABLE. */
ssize_t link_try_fill(struct link *l) WUR;

/* ---- conn.c: a connection that many fibers of a worker share ---- */

struct batch { /* what one fiber waits for; on its stack */
    struct fiber *fiber;
    size_t left; /* calls without a result */
    bool parked;
    struct arena *a;
    struct error err; /* of the first call that failed */
};

struct call {
    struct batch *batch;
    struct conn *conn; /* while it has no result */
    uint64_t seq;
    struct redis_reply *ret; /* NULL: the answer doesn't matter */
    int result;              /* 0 answered (perhaps with an error reply), or -CODE */
    bool again;              /* to be sent, once more or for the first time */
    bool unsent;             /* failed before its last byte was written: it wasn't run */
    uint8_t redirects;
    struct node *node; /* where it went */
    struct node *ask;  /* where an ASK sent it, for its next try only */
};

struct slot {          /* an answer that is due */
    struct call *call; /* NULL: nobody waits for it */
    bool asking;       /* belongs to the command behind it */
    uint64_t end;      /* how many bytes of output there were with its command */
};

struct conn {
    struct list in_node;
    struct node *node;
    struct share *share;
    enum { CONN_DIALLING, CONN_READY, CONN_BROKEN } state;
    bool alone, old;
    struct link *link;
    struct fiber *dialler, *writer; /* the fibers inside */
    struct buf out;
    uint64_t queued, sent; /* bytes, since the beginning */
    struct slot *ring;
    size_t ring_head, ring_n, ring_cap;
    uint64_t seq; /* of the slot at ring_head */
    bool reading; /* the reader is inside the first slot's reply */
    struct flush flush;
    uint64_t born_ns, progress_ns; /* progress: an answer came, or the first one became due */
};

/* A connection of the node that takes a command now; may wait for room. */
CO int conn_take(struct node *n, bool alone, struct conn **ret, struct error *err) WUR;
/* Queues a command. -EXHAUSTED: out of memory, or it is too long. Nothing is written before the
 * worker's batch of work has ended. */
int conn_send(struct conn *c, const str *arg, size_t n, struct call *call, struct error *err) WUR;
/* Queues ASKING, which the next command needs. */
int conn_send_asking(struct conn *c, struct error *err) WUR;
/* Nobody waits for the call's answer any more; it is read all the same, in its turn. */
void conn_forget(struct call *call);
/* Ends it: all calls on it fail with code and text, those that weren't sent yet say so. */
void conn_break(struct conn *c, enum code code, const char *fmt, ...) PRINTF(3, 4);

/* ---- nodes.c: which server ---- */

CO int node_for_key(struct share *s, str key, struct node **ret, struct error *err) WUR;
/* The node of an address, made when there is none; may take one that nothing uses any more. */
int node_at(struct share *s, const char *address, struct node **ret, struct error *err) WUR;
size_t node_number(const struct share *s, const struct node *n); /* from 1 */
void node_drop_conns(struct node *n, const char *why);
void node_address(char ret[ADDRESS_MAX], str host, int64_t port);
str node_host(const char *address); /* of "host:port" */
/* Follows a MOVED or ASK that `from` has answered. -DATA_LOSS: it can't be read. */
int node_redirected(struct share *s, const struct redis_reply *reply, const struct node *from,
                    struct node **ret) WUR;
void view_doubt(struct share *s); /* something went wrong: perhaps the servers are others now */
void nodes_free(struct share *s);

/* ---- sentinel.c, cluster.c: ask who they are ---- */

CO int sentinel_look(struct share *s, struct error *err) WUR;
int sentinel_watch(struct share *s, struct error *err) WUR; /* a fiber that listens for news */
CO int cluster_look(struct share *s, struct error *err) WUR;

/* ---- open.c, client.c ---- */

struct share *redis_share(struct redis *r); /* of the calling worker */
void share_leave(struct share *s);          /* one of s->n_alive has ended */

static inline uint64_t limit_or(int64_t ns, uint64_t otherwise)
{
    return ns < 0 ? UINT64_MAX / 4 : ns == 0 ? otherwise : (uint64_t)ns;
}
