#include "block/core/pipeline.h"

struct position { /* in a pipeline, of one exchange */
    struct middleware_chain chain;
    const struct pipeline *p;
    size_t at;
    pipeline_end_fn *end;
    void *arg;
};

CO static void go_on(struct middleware_chain *rest, struct http_exchange *x)
{
    const struct position *here = CONTAINER_OF(rest, struct position, chain);
    if (here->at == here->p->n) {
        here->end(here->arg, x);
        return;
    }
    struct position next = *here;
    next.at++;
    const struct instance *i = here->p->v[here->at];
    const struct middleware_ops *ops = CONTAINER_OF(i->type, struct middleware_ops, t);
    ops->handle(i->self, x, &next.chain);
}

CO void pipeline_run(const struct pipeline *p, struct http_exchange *x, pipeline_end_fn *end,
                     void *arg)
{
    struct position first = { .chain = { go_on }, .p = p, .end = end, .arg = arg };
    go_on(&first.chain, x);
}
