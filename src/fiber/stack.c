#include "fiber/private.h"

#include <sys/mman.h>
#include <unistd.h>

#ifndef MAP_STACK
#define MAP_STACK 0
#endif
#ifndef MAP_NORESERVE
#define MAP_NORESERVE 0
#endif

/* Between two trims the pool may grow to POOL_MAX; what was idle for that long shrinks to
 * POOL_IDLE stacks, of which only the top page stays in memory. */
enum { POOL_MAX = 1024, POOL_IDLE = 32, FIBER_ALIGN = 64 };

void pool_init(struct pool *p, size_t stack_size)
{
    *p = (struct pool){ .stack_size = hooks_stack_size(stack_size), .trimmed = true };
    list_init(&p->free);
}

static size_t page_size(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

static size_t fiber_size(void)
{
    return (sizeof(struct fiber) + FIBER_ALIGN - 1) & ~(size_t)(FIBER_ALIGN - 1);
}

/* [guard page][stack, growing down from the fiber][struct fiber] */
static struct fiber *map_stack(struct pool *p)
{
    size_t page = page_size();
    char *base = mmap(NULL, p->stack_size + page, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
    if (base == MAP_FAILED)
        return NULL;
    if (mprotect(base, page, PROT_NONE) < 0) {
        (void)munmap(base, p->stack_size + page);
        return NULL;
    }
    struct fiber *f = (struct fiber *)(base + page + p->stack_size - fiber_size());
    hooks_map(&f->hooks, base + page, p->stack_size - fiber_size());
    p->n_mapped++;
    return f;
}

static void unmap_stack(struct pool *p, struct fiber *f)
{
    size_t page = page_size();
    char *end = (char *)f + fiber_size();
    hooks_unmap(&f->hooks);
    (void)munmap(end - p->stack_size - page, p->stack_size + page);
    p->n_mapped--;
}

void pool_done(struct pool *p)
{
    for (struct list *node; (node = list_pop(&p->free));)
        unmap_stack(p, CONTAINER_OF(node, struct fiber, link));
    p->n = 0;
}

struct fiber *pool_take(struct pool *p)
{
    struct list *node = list_pop(&p->free);
    if (!node)
        return map_stack(p);
    if (--p->n < p->low)
        p->low = p->n;
    struct fiber *f = CONTAINER_OF(node, struct fiber, link);
    f->cold = false;
    return f;
}

void pool_give(struct pool *p, struct fiber *f)
{
    if (p->n >= POOL_MAX) {
        unmap_stack(p, f);
        return;
    }
    list_push(&p->free, &f->link);
    p->n++;
    p->trimmed = false;
}

/* Gives all but the page with the struct back; the kernel fills in zeroes on the next use. */
static void cool(struct pool *p, struct fiber *f)
{
    if (f->cold)
        return;
    size_t page = page_size();
    char *end = (char *)f + fiber_size();
    (void)madvise(end - p->stack_size, p->stack_size - page, MADV_DONTNEED);
    f->cold = true;
}

void pool_trim(struct pool *p)
{
    for (size_t idle = p->low; idle > POOL_IDLE; idle--, p->n--) {
        struct list *last = p->free.prev;
        list_remove(last);
        unmap_stack(p, CONTAINER_OF(last, struct fiber, link));
    }
    size_t idle = min_size(p->low, POOL_IDLE);
    for (struct list *node = p->free.prev; idle--; node = node->prev)
        cool(p, CONTAINER_OF(node, struct fiber, link));
    p->trimmed = p->low >= p->n;
    p->low = p->n;
}
