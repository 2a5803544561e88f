#include "block/core/block.h"

#include "base/mem.h"
#include "block/core/catalog.h"

int blocks_init(struct blocks *b)
{
    return catalogs_init(b);
}

unsigned instance_features(const struct instance *i)
{
    return i->type->features_of ? i->type->features_of(i->self) : i->type->features;
}

CO void instance_free(struct instance *i)
{
    if (!i)
        return;
    if (i->extra_stop)
        i->extra_stop(i);
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
    catalogs_done(b);
    instance_free(TAKE(b->resolver));
}
