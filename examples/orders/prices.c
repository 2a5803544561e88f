#include "prices.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

enum { FRESH_S = 2, CATALOGUE_MAX = 8192, ITEMS_MAX = 100 };

static struct {
    char json[CATALOGUE_MAX];
    size_t len;
    time_t fetched; /* or tried: one that fails isn't asked again at once */
    bool fetching;
} cache;

/* Only one fiber fetches; the others go on with what there is. */
static void refresh(struct proa *p)
{
    if (cache.fetching || time(NULL) - cache.fetched < FRESH_S)
        return;
    cache.fetching = true;
    PROA_RESULT res = { 0 };
    int r = proa_invoke(p, "inventory", "catalogue", "GET", NULL, 0, &res);
    if (r == 0 && res.len < sizeof cache.json) {
        memcpy(cache.json, res.data, res.len + 1);
        cache.len = res.len;
    } else
        complain(p, "no new catalogue: %s", r < 0 ? res.error : "it is too large");
    cache.fetched = time(NULL);
    cache.fetching = false;
}

const char *prices_json(struct proa *p, size_t *ret_len)
{
    refresh(p);
    *ret_len = cache.len;
    return cache.json;
}

int price_of(struct proa *p, const char *sku, int64_t *ret)
{
    refresh(p);
    if (!cache.len)
        return -PROA_UNAVAILABLE;
    for (int i = 0; i < ITEMS_MAX; i++) {
        char path[32], name[SKU_MAX + 1];
        snprintf(path, sizeof path, "items.%d.sku", i);
        if (!proa_json_str(cache.json, cache.len, path, name, sizeof name))
            break;
        snprintf(path, sizeof path, "items.%d.price", i);
        if (strcmp(name, sku) == 0)
            return proa_json_int(cache.json, cache.len, path, ret) ? 0 : -PROA_INTERNAL;
    }
    return -PROA_NOT_FOUND;
}
