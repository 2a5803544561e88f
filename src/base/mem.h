/* mem.h — the only door to the heap, so that tests can make each allocation fail in turn.
 * Owner:  the caller frees with mem_free().
 * Thread: any.   Failure: NULL; a size of 0 gives a valid pointer. */
#pragma once

#include "base/defs.h"

void *mem_alloc(size_t size) WUR;
void *mem_zalloc(size_t size) WUR;
void *mem_realloc(void *p, size_t size) WUR;
/* Copies n bytes and adds a NUL that is not counted. */
char *mem_dup(const void *p, size_t n) WUR;
void mem_free(void *p);
void mem_freep(void *pp); /* for AUTO(mem_freep): frees *(void **)pp */

/* Test hook: the n-th allocation from now on (1 = the next) fails, all others succeed; 0 = off. */
void mem_fail_at(uint64_t n);
/* Number of allocations since the last mem_fail_at(). */
uint64_t mem_count(void);
