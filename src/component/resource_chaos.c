/* Kind Chaos of proa.dev/v1alpha1: one fault on purpose (policy/chaos.h). */
#include "component/resource_priv.h"

#define AT(field) offsetof(struct chaos_words, field)
static const struct bind_row rows[] = {
    { "fault", BIND_STR, AT(fault) },         { "app", BIND_STR, AT(app) },
    { "method", BIND_STR, AT(method) },       { "zone", BIND_STR, AT(zone) },
    { "percent", BIND_STR, AT(percent) },     { "delay", BIND_STR, AT(delay) },
    { "status", BIND_STR, AT(status) },       { "for", BIND_STR, AT(length) },
    { "component", BIND_STR, AT(component) },
};
#undef AT
static const struct bind_table table = { "a Chaos' spec", sizeof(struct chaos_words), rows,
                                         COUNT(rows) };

void load_chaos(struct loader *l, struct document *d)
{
    struct chaos_words words = { .name = d->head.name };
    struct chaos_fault fault;
    struct error err = { 0 };
    if (!resource_in_scope(&d->head, l->opt->app_id))
        return;
    if (!l->opt->chaos) {
        bind_warn(&d->bind, d->node,
                  "Chaos \"%.*s\" is ignored: faults need a sidecar that was started with "
                  "--enable-chaos",
                  (int)min_size(d->head.name.n, 60), d->head.name.p);
        return;
    }
    bind_map(&d->bind, &table, d->spec, &words);
    if (!d->bind.failed && chaos_parse(&words, &fault, &err) < 0)
        bind_fail(&d->bind, d->spec ? d->spec : d->node, "%s", err.text);
    struct chaos_resource *c = d->bind.failed ? NULL : vec_push(l, &l->chaos, sizeof *c);
    if (c)
        *c = (struct chaos_resource){ d->head, fault };
}
