/* resources_fuzz.c — any bytes as a resource file or a --config file: the first byte says which.
 * What loads must hold together, and go through the policies. */
#include "fuzz.h"

#include "component/registry.h"
#include "component/resource.h"

const struct component_type *const component_list[] = { NULL };
const size_t component_list_n = 0;

static void check(const struct resources *r)
{
    for (size_t i = 0; i < r->n_components; i++) {
        const struct component_resource *c = &r->component[i];
        FUZZ_CHECK(c->head.name.n && c->init_timeout_ns);
        FUZZ_CHECK(component_resource_eq(c, c));
        FUZZ_CHECK(r->fatal || resources_component(r, c->head.name) == c);
    }
    for (size_t i = 0; i < r->n_subscriptions; i++)
        for (size_t k = 0; k < r->subscription[i].n_rules; k++)
            FUZZ_CHECK(!r->subscription[i].rule[k].program || r->subscription[i].rule[k].match.n);
    for (size_t i = 0; i < r->diags.n; i++)
        FUZZ_CHECK(r->diags.v[i].text && (r->diags.v[i].level != DIAG_FATAL || r->fatal));
}

static void check_policies(const struct resources *r)
{
    const struct resiliency_spec *const *spec =
        (const struct resiliency_spec *const *)r->resiliency;
    struct resiliency *res = resiliency_new(spec, r->n_resiliencies, NULL);
    for (size_t s = 0; res && s < r->n_resiliencies; s++)
        for (size_t i = 0; i < spec[s]->n_app; i++) {
            struct policy *p = policy_app(res, spec[s]->app[i].name);
            breaker_unref(p ? policy_breaker(p, S("x"), 1) : NULL);
        }
    resiliency_free(res);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct resource_options opt = { .app_id = S("me") };
    struct resource_text text = { "fuzz.yaml", { 0 }, size && (data[0] & 1) };
    text.text = str_of(data + (size > 0), size - (size > 0));
    struct resources *r = NULL;
    struct error err = { 0 };
    int code = resources_parse(&opt, &text, 1, &r, &err);
    FUZZ_CHECK(!code || (code == -EXHAUSTED && err.text[0]));
    if (code)
        return 0;
    check(r);
    check_policies(r);
    resources_unref(r);
    return 0;
}
