/* heap.h — intrusive binary heap of points in time: the nearest is always at hand.
 * Owner:  the nodes' owner; the heap holds pointers to them.
 * Thread: one.   Failure: only heap_reserve() can fail, so that heap_add() never does. */
#pragma once

#include "base/defs.h"

struct heap_node {
    uint64_t at;
    size_t place; /* 1 … n in the heap; 0 = in none */
};

struct heap {
    struct heap_node **node;
    size_t n, cap;
};

void heap_done(struct heap *h); /* zeroed = empty, so there is no init */
/* Room for n nodes in all; -EXHAUSTED out of memory. */
int heap_reserve(struct heap *h, size_t n) WUR;
/* Adds a node that is in no heap; room must have been reserved. */
void heap_add(struct heap *h, struct heap_node *node, uint64_t at);
/* Removing a node that is in no heap is fine. */
void heap_remove(struct heap *h, struct heap_node *node);

static inline struct heap_node *heap_first(const struct heap *h) /* NULL when empty */
{
    return h->n ? h->node[0] : NULL;
}

/* The first one's time, UINT64_MAX when empty. */
static inline uint64_t heap_next(const struct heap *h)
{
    return h->n ? h->node[0]->at : UINT64_MAX;
}
