#include "block/pipeline.h"

struct middleware_chain {
    const struct pipeline *p;
    size_t at;
    pipeline_end_fn *end;
    void *arg;
};

CO void middleware_next(struct middleware_chain *rest, struct http_exchange *x)
{
    if (rest->at == rest->p->n) {
        rest->end(rest->arg, x);
        return;
    }
    struct middleware_chain next = *rest;
    next.at++;
    const struct instance *i = rest->p->v[rest->at];
    const struct middleware_ops *ops = CONTAINER_OF(i->type, struct middleware_ops, t);
    ops->handle(i->self, x, &next);
}

CO void pipeline_run(const struct pipeline *p, struct http_exchange *x, pipeline_end_fn *end,
                     void *arg)
{
    struct middleware_chain all = { .p = p, .end = end, .arg = arg };
    middleware_next(&all, x);
}
