#include "block/core/parallel.h"

#include "fiber/sync.h"

struct job {
    size_t n, next;
    CO void (*fn)(void *arg, size_t i);
    void *arg;
    struct wait_group group;
};

CO static void work(struct job *j)
{
    while (j->next < j->n)
        j->fn(j->arg, j->next++);
}

CO static void helper(void *arg)
{
    struct job *j = arg;
    work(j);
    wait_group_done(&j->group);
}

CO void parallel_for(size_t n, size_t limit, CO void (*fn)(void *arg, size_t i), void *arg)
{
    struct job j = { .n = n, .fn = fn, .arg = arg };
    wait_group_init(&j.group);
    for (size_t k = 1; k < min_size(limit, n); k++) {
        wait_group_add(&j.group);
        if (!fiber_spawn("parallel", helper, &j)) {
            wait_group_done(&j.group);
            break;
        }
    }
    work(&j);
    SHIELD(); /* the helpers use this frame */
    (void)wait_group_wait(&j.group);
}
