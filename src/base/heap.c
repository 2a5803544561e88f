#include "base/heap.h"

#include "base/error.h"
#include "base/mem.h"

void heap_done(struct heap *h)
{
    mem_free(h->node);
    *h = (struct heap){ 0 };
}

int heap_reserve(struct heap *h, size_t n)
{
    if (n <= h->cap)
        return 0;
    size_t cap = h->cap ? h->cap : 16;
    while (cap < n)
        cap *= 2;
    struct heap_node **node = mem_realloc(h->node, cap * sizeof *node);
    if (!node)
        return -EXHAUSTED;
    h->node = node;
    h->cap = cap;
    return 0;
}

static void put(struct heap *h, size_t i, struct heap_node *node)
{
    h->node[i] = node;
    node->place = i + 1;
}

static void sift_up(struct heap *h, size_t i, struct heap_node *node)
{
    while (i && h->node[(i - 1) / 2]->at > node->at) {
        put(h, i, h->node[(i - 1) / 2]);
        i = (i - 1) / 2;
    }
    put(h, i, node);
}

static void sift_down(struct heap *h, size_t i, struct heap_node *node)
{
    for (size_t child; (child = 2 * i + 1) < h->n; i = child) {
        if (child + 1 < h->n && h->node[child + 1]->at < h->node[child]->at)
            child++;
        if (h->node[child]->at >= node->at)
            break;
        put(h, i, h->node[child]);
    }
    put(h, i, node);
}

void heap_add(struct heap *h, struct heap_node *node, uint64_t at)
{
    PRE(!node->place && h->n < h->cap);
    node->at = at;
    sift_up(h, h->n++, node);
}

void heap_remove(struct heap *h, struct heap_node *node)
{
    if (!node->place)
        return;
    size_t i = node->place - 1;
    INV(i < h->n && h->node[i] == node);
    node->place = 0;
    struct heap_node *last = h->node[--h->n];
    if (last == node)
        return;
    if (i && h->node[(i - 1) / 2]->at > last->at)
        sift_up(h, i, last);
    else
        sift_down(h, i, last);
}
