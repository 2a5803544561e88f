#include "component/registry.h"

static const struct component_type *added[REGISTRY_ADDED_MAX];
static size_t n_added;

static const struct component_type *find_in(const struct component_type *const *list, size_t n,
                                            str type, str version)
{
    for (size_t i = 0; i < n; i++)
        if (type_is(list[i], type, version))
            return list[i];
    return NULL;
}

const struct component_type *registry_find(str type, str version)
{
    const struct component_type *t = find_in(component_list, component_list_n, type, version);
    return t ? t : find_in(added, n_added, type, version);
}

int registry_add(const struct component_type *t)
{
    if (registry_find(str_c(t->type), str_c(t->version)))
        return -EXISTS;
    if (n_added == REGISTRY_ADDED_MAX)
        return -EXHAUSTED;
    added[n_added++] = t;
    return 0;
}

void registry_remove(const struct component_type *t)
{
    for (size_t i = 0; i < n_added; i++)
        if (added[i] == t) {
            memmove(&added[i], &added[i + 1], (--n_added - i) * sizeof *added);
            return;
        }
}

const struct component_type *const *registry_added(size_t *ret_n)
{
    *ret_n = n_added;
    return added;
}

const struct component_type *const *registry_all(size_t *ret_n)
{
    *ret_n = component_list_n;
    return component_list;
}
