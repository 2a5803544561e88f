/* buf.h — growable byte buffer with a stated maximum; data is consumed from the front.
 * Owner:  the holder; buf_done() frees.
 * Thread: one.   Failure: past the maximum or out of memory a put sets .failed and changes nothing,
 * so a writer may put many pieces and check buf_ok() once at the end. */
#pragma once

#include "base/str.h"

#include <stdarg.h>

struct buf {
    char *p;
    size_t head, len; /* live bytes are p[head … head+len) */
    size_t cap, max;
    bool failed;
};

void buf_init(struct buf *b, size_t max);
void buf_done(struct buf *b);
void buf_clear(struct buf *b); /* empty again, memory kept, failure forgotten */

static inline str buf_str(const struct buf *b)
{
    return str_of(b->head ? b->p + b->head : b->p, b->len);
}

static inline bool buf_ok(const struct buf *b)
{
    return !b->failed;
}

/* Room for n more bytes behind the live ones; NULL past the maximum. Then buf_commit(what was
 * written). */
char *buf_make_room(struct buf *b, size_t n) WUR; /* the slow path of buf_reserve() */
static inline char *buf_reserve(struct buf *b, size_t n)
{
    if (LIKELY(b->p && !b->failed && n <= b->cap - b->head - b->len))
        return b->p + b->head + b->len;
    return buf_make_room(b, n);
}
void buf_commit(struct buf *b, size_t n);
void buf_consume(struct buf *b, size_t n);

static inline void buf_put(struct buf *b, str s)
{
    char *to = buf_reserve(b, s.n);
    if (!to)
        return;
    if (s.n)
        memcpy(to, s.p, s.n);
    b->len += s.n;
}
static inline void buf_putc(struct buf *b, char c)
{
    buf_put(b, str_of(&c, 1));
}
void buf_put_u64(struct buf *b, uint64_t v); /* decimal */
void buf_printf(struct buf *b, const char *fmt, ...) PRINTF(2, 3);
