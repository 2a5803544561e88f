#include "base/buf.h"

#include "base/mem.h"

#include <stdio.h>

void buf_init(struct buf *b, size_t max)
{
    *b = (struct buf){ .max = max };
}

void buf_done(struct buf *b)
{
    mem_free(b->p);
    buf_init(b, b->max);
}

void buf_clear(struct buf *b)
{
    b->head = b->len = 0;
    b->failed = false;
}

static bool grow(struct buf *b, size_t need)
{
    size_t cap = b->cap ? b->cap : 256;
    while (cap < need)
        cap *= 2;
    if (cap > b->max)
        cap = b->max;
    char *p = mem_realloc(b->p, cap + 1); /* the spare byte takes the NUL of vsnprintf() */
    if (!p)
        return false;
    b->p = p;
    b->cap = cap;
    return true;
}

/* Moving to the front costs len, so it waits until as much was consumed, or until there is no other
 * way. */
static bool make_room(struct buf *b, size_t n)
{
    size_t need = b->head + b->len + n;
    if (b->p && need <= b->cap)
        return true;
    if (b->head && (b->head >= b->len || need > b->max)) {
        memmove(b->p, b->p + b->head, b->len);
        b->head = 0;
        need = b->len + n;
    }
    return (b->p && need <= b->cap) || grow(b, need);
}

char *buf_make_room(struct buf *b, size_t n)
{
    if (b->failed || n > b->max || b->len > b->max - n) {
        b->failed = true;
        return NULL;
    }
    if (!make_room(b, n)) {
        b->failed = true;
        return NULL;
    }
    return b->p + b->head + b->len;
}

void buf_commit(struct buf *b, size_t n)
{
    PRE(b->head + b->len + n <= b->cap);
    b->len += n;
}

void buf_consume(struct buf *b, size_t n)
{
    PRE(n <= b->len);
    b->head += n;
    b->len -= n;
    if (!b->len)
        b->head = 0;
}

void buf_put_u64(struct buf *b, uint64_t v)
{
    char digit[20];
    size_t n = sizeof digit;
    do
        digit[--n] = (char)('0' + v % 10);
    while (v /= 10);
    buf_put(b, str_of(digit + n, sizeof digit - n));
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
    va_list args, again;
    va_start(args, fmt);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, fmt, args);
    char *to = n < 0 ? NULL : buf_reserve(b, (size_t)n);
    if (to) {
        vsnprintf(to, (size_t)n + 1, fmt, again);
        b->len += (size_t)n;
    }
    va_end(again);
    va_end(args);
}
