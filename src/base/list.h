/* list.h — intrusive doubly linked list; a head is a node that links to itself.
 * Owner:  the elements' owner; the list holds no memory.
 * Thread: one.   Failure: none. */
#pragma once

#include "base/defs.h"

struct list {
    struct list *next, *prev;
};

static inline void list_init(struct list *l)
{
    l->next = l->prev = l;
}

static inline bool list_empty(const struct list *l)
{
    return l->next == l;
}

static inline void list_append(struct list *head, struct list *node)
{
    node->prev = head->prev;
    node->next = head;
    head->prev->next = node;
    head->prev = node;
}

static inline void list_push(struct list *head, struct list *node)
{
    list_append(head->next, node);
}

/* Unlinks; removing a node that is in no list is fine. */
static inline void list_remove(struct list *node)
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
    list_init(node);
}

static inline struct list *list_pop(struct list *head) /* the first, NULL when empty */
{
    struct list *first = head->next;
    if (first == head)
        return NULL;
    list_remove(first);
    return first;
}

#define LIST_EACH(head, node)                                                                      \
    for (struct list *node = (head)->next; node != (head); node = node->next)
