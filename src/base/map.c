#include "base/map.h"

#include "base/error.h"
#include "base/hash.h"
#include "base/mem.h"

static const uint32_t FREE = 0, GONE = UINT32_MAX;

void map_init(struct map *m, size_t max)
{
    *m = (struct map){ .max = max };
}

void map_done(struct map *m)
{
    for (size_t i = 0; i < m->n_entries; i++)
        mem_free((void *)m->entry[i].key.p);
    mem_free(m->entry);
    mem_free(m->slot);
    map_init(m, m->max);
}

static uint32_t *find_slot(const struct map *m, str key, uint64_t hash)
{
    if (!m->n_slots)
        return NULL;
    for (size_t i = hash & (m->n_slots - 1);; i = (i + 1) & (m->n_slots - 1)) {
        uint32_t at = m->slot[i];
        if (at == FREE)
            return NULL;
        if (at == GONE)
            continue;
        const struct map_entry *e = &m->entry[at - 1];
        if (e->hash == hash && str_eq(e->key, key))
            return &m->slot[i];
    }
}

static void link_slot(uint32_t *slot, size_t n_slots, uint64_t hash, uint32_t at)
{
    size_t i = hash & (n_slots - 1);
    while (slot[i] != FREE)
        i = (i + 1) & (n_slots - 1);
    slot[i] = at;
}

static int rehash(struct map *m)
{
    /* A sixth of the slots is left over, else adding and removing in turn would rehash each time.
     */
    size_t n_slots = 16;
    while (n_slots < (m->n + 1) * 3)
        n_slots *= 2;
    uint32_t *slot = mem_zalloc(n_slots * sizeof *slot);
    struct map_entry *entry = mem_alloc(n_slots / 2 * sizeof *entry);
    if (!slot || !entry) {
        mem_free(slot);
        mem_free(entry);
        return -EXHAUSTED;
    }
    size_t n = 0;
    for (size_t i = 0; i < m->n_entries; i++)
        if (m->entry[i].key.p) {
            entry[n++] = m->entry[i];
            link_slot(slot, n_slots, m->entry[i].hash, (uint32_t)n);
        }
    mem_free(m->slot);
    mem_free(m->entry);
    m->slot = slot;
    m->entry = entry;
    m->n_slots = n_slots;
    m->n_entries = n;
    return 0;
}

void *map_get(const struct map *m, str key)
{
    const uint32_t *slot = find_slot(m, key, hash_bytes(key));
    return slot ? m->entry[*slot - 1].value : NULL;
}

bool map_has(const struct map *m, str key)
{
    return find_slot(m, key, hash_bytes(key)) != NULL;
}

int map_put(struct map *m, str key, void *value, void **ret_old)
{
    uint64_t hash = hash_bytes(key);
    uint32_t *slot = find_slot(m, key, hash);
    if (slot) {
        struct map_entry *e = &m->entry[*slot - 1];
        if (ret_old)
            *ret_old = e->value;
        e->value = value;
        return 0;
    }
    if (m->n >= m->max)
        return -EXHAUSTED;
    /* Entries, live or removed, fill at most half of the slots: probes stay short and end. */
    if ((m->n_entries + 1) * 2 > m->n_slots && rehash(m) < 0)
        return -EXHAUSTED;
    char *copy = mem_dup(key.p, key.n);
    if (!copy)
        return -EXHAUSTED;
    m->entry[m->n_entries] = (struct map_entry){ str_of(copy, key.n), value, hash };
    link_slot(m->slot, m->n_slots, hash, (uint32_t)++m->n_entries);
    m->n++;
    if (ret_old)
        *ret_old = NULL;
    return 0;
}

void *map_remove(struct map *m, str key)
{
    uint32_t *slot = find_slot(m, key, hash_bytes(key));
    if (!slot)
        return NULL;
    struct map_entry *e = &m->entry[*slot - 1];
    void *value = e->value;
    mem_free((void *)e->key.p);
    *e = (struct map_entry){ 0 };
    *slot = GONE;
    m->n--;
    return value;
}

struct map_entry *map_next(const struct map *m, size_t *at)
{
    while (*at < m->n_entries) {
        struct map_entry *e = &m->entry[(*at)++];
        if (e->key.p)
            return e;
    }
    return NULL;
}
