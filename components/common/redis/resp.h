/* resp.h — RESP2, the protocol of Redis: replies read piece by piece into an arena, commands
 * written into a buffer.
 * Owner:  a reply's memory is the arena given with it; the reader holds none.
 * Thread: one.   Failure: -DATA_LOSS what isn't RESP2: the connection is lost. A reply that doesn't
 * fit (arena, REDIS_REPLY_MAX, REDIS_ARGS_MAX) is read to its end and thrown away: .failed tells,
 * and the next one is read as if nothing had happened. */
#pragma once

#include "base/buf.h"
#include "components/common/redis/redis.h"

enum {
    RESP_DEPTH_MAX = 8,
    RESP_LINE_MAX = 16 << 10,  /* of a status, an error, a number */
    RESP_BULK_MAX = 512 << 20, /* of the protocol: no server sends more */
};

struct resp_reader {
    struct arena *a; /* NULL: the reply is thrown away */
    struct redis_reply *root;
    struct {
        struct redis_reply *next; /* of the array being filled */
        size_t left;
    } frame[RESP_DEPTH_MAX];
    size_t depth;
    char *bulk;       /* where the rest of a string goes; NULL: nowhere */
    size_t bulk_left; /* bytes of it, with its CRLF */
    size_t taken;     /* bytes of this reply's memory */
    int failed;       /* -EXHAUSTED: it didn't fit */
};

void resp_begin(struct resp_reader *r, struct arena *a, struct redis_reply *ret);
/* Nobody wants the reply any more: the rest is read and thrown away. */
void resp_forget(struct resp_reader *r);
/* Takes bytes of one reply. Returns 1 when it is complete, 0 when more are needed; *ret_used is how
 * many were taken: what is left must be given again, with more behind it. */
int resp_feed(struct resp_reader *r, const char *p, size_t n, size_t *ret_used) WUR;
/* Where the next bytes of a long string may be put without a copy, and how many; then
 * resp_advance(). NULL: they have to go through resp_feed(). */
char *resp_direct(const struct resp_reader *r, size_t *ret_n);
void resp_advance(struct resp_reader *r, size_t n);

/* Appends a command. False, and nothing changed, when it doesn't fit. */
bool resp_write(struct buf *to, const str *arg, size_t n);
