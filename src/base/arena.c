#include "base/arena.h"

#include "base/mem.h"

#include <stdio.h>

enum { FIRST_CHUNK = 4096 - 64, ALIGN = 16 };

struct arena_chunk {
    struct arena_chunk *next;
    size_t size; /* of data */
    _Alignas(ALIGN) char data[];
};

void arena_init(struct arena *a, size_t max)
{
    *a = (struct arena){ .max = max };
}

static bool grow(struct arena *a, size_t need)
{
    size_t size = a->chunks ? min_size(a->chunks->size * 2, KIB(64)) : FIRST_CHUNK;
    if (size < need)
        size = need;
    if (size > a->max - a->used)
        size = need; /* the last one before the limit may be small */
    if (size > a->max - a->used)
        return false;
    struct arena_chunk *c = mem_alloc(sizeof *c + size);
    if (!c)
        return false;
    c->size = size;
    c->next = a->chunks;
    a->chunks = c;
    a->used += size;
    a->at = c->data;
    a->end = c->data + size;
    return true;
}

void *arena_alloc(struct arena *a, size_t size)
{
    if (size > SIZE_MAX / 2)
        return NULL;
    size = size ? size : 1; /* so that NULL always means failure */
    size = (size + ALIGN - 1) & ~(size_t)(ALIGN - 1);
    if (size > (size_t)(a->end - a->at) && !grow(a, size))
        return NULL;
    void *p = a->at;
    a->at += size;
    return p;
}

void *arena_zalloc(struct arena *a, size_t size)
{
    void *p = arena_alloc(a, size);
    if (p)
        memset(p, 0, size);
    return p;
}

static void free_chunks(struct arena_chunk *c)
{
    while (c) {
        struct arena_chunk *next = c->next;
        mem_free(c);
        c = next;
    }
}

void arena_reset(struct arena *a)
{
    struct arena_chunk *keep = a->chunks;
    if (!keep)
        return;
    free_chunks(keep->next);
    if (keep->size > KIB(16)) { /* one huge request must not pin its memory */
        mem_free(keep);
        arena_init(a, a->max);
        return;
    }
    keep->next = NULL;
    a->used = keep->size;
    a->at = keep->data;
    a->end = keep->data + keep->size;
}

void arena_done(struct arena *a)
{
    free_chunks(a->chunks);
    arena_init(a, a->max);
}

char *arena_cstr(struct arena *a, str s)
{
    char *p = arena_alloc(a, s.n + 1);
    if (!p)
        return NULL;
    if (s.n)
        memcpy(p, s.p, s.n);
    p[s.n] = 0;
    return p;
}

str arena_dup(struct arena *a, str s)
{
    char *p = arena_cstr(a, s);
    return (str){ p, p ? s.n : 0 };
}

str arena_vprintf(struct arena *a, const char *fmt, va_list args)
{
    va_list again;
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, fmt, args);
    char *p = n < 0 ? NULL : arena_alloc(a, (size_t)n + 1);
    if (p)
        vsnprintf(p, (size_t)n + 1, fmt, again);
    va_end(again);
    return (str){ p, p ? (size_t)n : 0 };
}

str arena_printf(struct arena *a, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    str s = arena_vprintf(a, fmt, args);
    va_end(args);
    return s;
}

str arena_join(struct arena *a, const str *part, size_t n)
{
    size_t total = 0;
    for (size_t i = 0; i < n; i++)
        total += part[i].n;
    char *p = arena_alloc(a, total + 1), *at = p;
    if (!p)
        return (str){ 0 };
    for (size_t i = 0; i < n; i++) {
        if (part[i].n)
            memcpy(at, part[i].p, part[i].n);
        at += part[i].n;
    }
    *at = 0;
    return (str){ p, total };
}
