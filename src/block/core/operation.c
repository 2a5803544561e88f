#include "block/core/operation.h"

#include "block/core/chaos.h"

void operation_attach(struct blocks *b, struct instance *i, const char *type)
{
    i->outbound = policy_component(b->resiliency, str_c(i->name), type, POLICY_OUTBOUND);
    i->inbound = policy_component(b->resiliency, str_c(i->name), type, POLICY_INBOUND);
    i->chaos = b->chaos;
}

struct operation {
    struct instance *instance;
    const char *name;
    guard_fn *fn;
    void *arg;
};

CO static int try_operation(void *arg, struct guard_attempt *attempt, struct error *err)
{
    const struct operation *o = arg;
    const struct chaos_call call = { .component = str_c(o->instance->name),
                                     .path = str_c(o->name) };
    struct chaos_outcome outcome;
    int r = chaos_strike(o->instance->chaos, &call, &outcome, err);
    return r < 0 ? r : o->fn(o->arg, attempt, err);
}

CO static int run(struct policy *p, struct instance *i, const char *name, guard_fn *fn, void *arg,
                  struct error *err)
{
    struct operation o = { i, name, fn, arg };
    return chaos_on(i->chaos) ? guard_call(p, S(""), try_operation, &o, err)
                              : guard_call(p, S(""), fn, arg, err);
}

CO int operation_run(struct instance *i, const char *name, guard_fn *fn, void *arg,
                     struct error *err)
{
    return run(i->outbound, i, name, fn, arg, err);
}

CO int operation_event(struct instance *i, const char *name, guard_fn *fn, void *arg,
                       struct error *err)
{
    return run(i->inbound, i, name, fn, arg, err);
}
