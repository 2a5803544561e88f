#include "block/block.h"

#include "base/mem.h"

enum { MAX_COMPONENTS = 1000 };

void blocks_init(struct blocks *b)
{
    struct map *maps[] = { &b->state,      &b->pubsub,        &b->secret, &b->binding,
                           &b->middleware, &b->configuration, &b->lock,   &b->crypto };
    for (size_t i = 0; i < COUNT(maps); i++)
        map_init(maps[i], MAX_COMPONENTS);
}

static struct map *map_of(struct blocks *b, const struct instance *i)
{
    const struct {
        const char *kind;
        struct map *map;
    } kinds[] = {
        { "state", &b->state },
        { "pubsub", &b->pubsub },
        { "secretstores", &b->secret },
        { "bindings", &b->binding },
        { "middleware.http", &b->middleware },
        { "configuration", &b->configuration },
        { "lock", &b->lock },
        { "crypto", &b->crypto },
    };
    for (size_t k = 0; k < COUNT(kinds); k++)
        if (str_eq(str_c(kinds[k].kind), str_c(i->type->kind)))
            return kinds[k].map;
    return NULL;
}

int blocks_add(struct blocks *b, struct instance *i, struct error *err)
{
    struct map *map = map_of(b, i);
    if (!map)
        return fail(err, INVALID, NULL, "incorrect type %s", i->type->type);
    if (map_has(map, str_c(i->name)))
        return fail(err, EXISTS, NULL, "a component named %s is loaded already", i->name);
    if (map_put(map, str_c(i->name), i, NULL) < 0)
        return fail(err, EXHAUSTED, NULL, "more than %d components", MAX_COMPONENTS);
    return 0;
}

CO void instance_free(struct instance *i)
{
    if (!i)
        return;
    if (i->self && i->type->close)
        i->type->close(i->self);
    if (i->extra_free)
        i->extra_free(i->extra);
    arena_done(&i->arena);
    mem_free(i->self);
    mem_free(i->name);
    mem_free(i);
}

CO void blocks_done(struct blocks *b)
{
    struct map *maps[] = { &b->binding, &b->pubsub, &b->configuration, &b->lock,
                           &b->crypto,  &b->state,  &b->middleware,    &b->secret };
    for (size_t m = 0; m < COUNT(maps); m++) {
        struct map_entry *e;
        for (size_t at = 0; (e = map_next(maps[m], &at));)
            instance_free(e->value);
        map_done(maps[m]);
    }
    instance_free(TAKE(b->resolver));
}
