#include "base/mem.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static atomic_bool armed;
static _Atomic uint64_t fail_at, count;

static bool must_fail(void)
{
    if (LIKELY(!atomic_load_explicit(&armed, memory_order_relaxed)))
        return false;
    return atomic_fetch_add(&count, 1) + 1 == atomic_load(&fail_at);
}

void mem_fail_at(uint64_t n)
{
    atomic_store(&count, 0);
    atomic_store(&fail_at, n);
    atomic_store(&armed, n != 0);
}

uint64_t mem_count(void)
{
    return atomic_load(&count);
}

void *mem_alloc(size_t size)
{
    return must_fail() ? NULL : malloc(size ? size : 1);
}

void *mem_zalloc(size_t size)
{
    return must_fail() ? NULL : calloc(1, size ? size : 1);
}

void *mem_realloc(void *p, size_t size)
{
    return must_fail() ? NULL : realloc(p, size ? size : 1);
}

char *mem_dup(const void *p, size_t n)
{
    char *copy = mem_alloc(n + 1);
    if (!copy)
        return NULL;
    if (n)
        memcpy(copy, p, n);
    copy[n] = 0;
    return copy;
}

void mem_free(void *p)
{
    free(p);
}

void mem_freep(void *pp)
{
    free(*(void **)pp);
}
