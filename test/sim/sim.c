#include "test/sim/sim.h"

#include "base/mem.h"

#include <math.h>

struct block {
    struct list node;
    _Alignas(16) char data[];
};

void sim_init(struct sim *s, uint64_t seed)
{
    *s = (struct sim){ .now = SEC(1000), .seed = seed, .dice = seed };
    list_init(&s->all);
}

void sim_done(struct sim *s)
{
    struct list *node;
    while ((node = list_pop(&s->all)))
        mem_free(CONTAINER_OF(node, struct block, node));
    heap_done(&s->heap);
}

void *sim_alloc(struct sim *s, size_t size)
{
    struct block *b = mem_zalloc(sizeof *b + size);
    PRE(b);
    list_append(&s->all, &b->node);
    return b->data;
}

void sim_at(struct sim *s, struct event *e, uint64_t at)
{
    PRE(e->fn && at >= s->now);
    heap_remove(&s->heap, &e->node);
    int r = heap_reserve(&s->heap, s->heap.n + 1);
    PRE(r == 0);
    heap_add(&s->heap, &e->node, at);
}

void sim_cancel(struct sim *s, struct event *e)
{
    heap_remove(&s->heap, &e->node);
}

static uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

void sim_run_until(struct sim *s, uint64_t at)
{
    while (heap_next(&s->heap) <= at) {
        struct event *e = CONTAINER_OF(heap_first(&s->heap), struct event, node);
        s->now = e->node.at;
        heap_remove(&s->heap, &e->node);
        s->trace = mix(s->trace ^ s->now) + s->dice;
        s->n_events++;
        e->fn(s, e);
    }
    s->now = at;
}

uint64_t sim_bits(struct sim *s)
{
    return mix(s->dice += UINT64_C(0x9e3779b97f4a7c15));
}

double sim_unit(struct sim *s)
{
    return (double)(sim_bits(s) >> 11) / 9007199254740992.0;
}

uint64_t sim_exponential(struct sim *s, double mean_ns)
{
    return (uint64_t)(-log(1 - sim_unit(s)) * mean_ns);
}
