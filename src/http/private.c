#include "http/private.h"

#include "base/error.h"
#include "loop/worker.h"

#include <sched.h>

/* Gathers by doubling; the arena takes the old pieces along until the request's end. */
int http_gather(struct arena *arena, size_t max, int64_t expected, str first, http_next_fn *next,
                void *arg, str *ret)
{
    size_t cap = expected >= 0 ? (size_t)expected : min_size(max, first.n * 2 + 4096);
    char *p = arena_alloc(arena, cap + 1);
    size_t n = 0;
    str piece = first;
    int r = 1;
    for (; p && r == 1; r = next(arg, &piece)) {
        if (piece.n > max - n)
            return -RANGE;
        if (piece.n > cap - n) {
            cap = min_size(max, (n + piece.n) * 2);
            char *bigger = arena_alloc(arena, cap + 1);
            if (bigger)
                memcpy(bigger, p, n);
            p = bigger;
            if (!p)
                break;
        }
        memcpy(p + n, piece.p, piece.n);
        n += piece.n;
    }
    if (!p)
        return -EXHAUSTED;
    if (r == 0)
        *ret = str_of(p, n);
    return r;
}

void http_run_surely(size_t worker, const char *name, fiber_fn *fn, void *arg)
{
    while (worker_run(worker_at(worker), name, fn, arg) < 0)
        sched_yield();
}
