/* arena.h — bump allocator that lives as long as one request.
 * Owner:  the request; nothing in it is freed by hand, arena_done() ends it all.
 * Thread: one worker.   Limit: set at init, past it (or out of memory) arena_alloc() returns NULL.
 */
#pragma once

#include "base/str.h"

#include <stdarg.h>

struct arena_chunk;

struct arena {
    struct arena_chunk *chunks; /* newest first */
    char *at, *end;
    size_t used, max; /* bytes taken from the heap, and the most that may be */
};

void arena_init(struct arena *a, size_t max);
/* Frees all but one chunk, so that the next request starts without the heap. */
void arena_reset(struct arena *a);
void arena_done(struct arena *a);

/* 16-byte aligned, not zeroed; a size of 0 gives a valid pointer. */
void *arena_alloc(struct arena *a, size_t size) WUR;
void *arena_zalloc(struct arena *a, size_t size) WUR;
/* Copy with a NUL after it (not counted). On failure .p is NULL. */
str arena_dup(struct arena *a, str s) WUR;
/* The same as a C string, NULL on failure. */
char *arena_cstr(struct arena *a, str s) WUR;
str arena_printf(struct arena *a, const char *fmt, ...) PRINTF(2, 3) WUR;
str arena_vprintf(struct arena *a, const char *fmt, va_list args) WUR;
/* Joins the n parts; .p is NULL on failure. */
str arena_join(struct arena *a, const str *part, size_t n) WUR;
