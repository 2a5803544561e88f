/* map.h — hash map from byte strings to pointers, open addressing, insertion order kept for walks.
 * Owner:  the map copies keys; values belong to the caller.
 * Thread: one.   Failure: map_put() returns -EXHAUSTED out of memory or past the maximum. */
#pragma once

#include "base/str.h"

struct map_entry {
    str key; /* owned by the map */
    void *value;
    uint64_t hash;
};

struct map {
    struct map_entry *entry; /* in order of insertion; a removed one has key.p == NULL */
    uint32_t *slot;          /* entry index + 1; 0 = free */
    size_t n, n_entries, n_slots, max;
};

void map_init(struct map *m, size_t max);
void map_done(struct map *m);
void *map_get(const struct map *m, str key); /* NULL when absent */
bool map_has(const struct map *m, str key);
/* Adds or replaces; *ret_old (may be NULL) = the value before, or NULL. */
int map_put(struct map *m, str key, void *value, void **ret_old) WUR;
void *map_remove(struct map *m, str key); /* the value, NULL when absent */

static inline size_t map_count(const struct map *m)
{
    return m->n;
}

/* Next live entry at or after *at, which moves on; NULL at the end. Start with *at = 0. */
struct map_entry *map_next(const struct map *m, size_t *at);
