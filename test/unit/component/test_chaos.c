#include "load.h"

static const char HEAD[] = "apiVersion: proa.dev/v1alpha1\nkind: Chaos\nmetadata: {name: slow}\n";

static struct resources *load_chaos(const char *spec, bool enabled)
{
    char text[1024];
    struct resource_options opt = load_defaults;
    opt.chaos = enabled;
    snprintf(text, sizeof text, "%s%s", HEAD, spec);
    return load_with(&opt, text, false);
}

TEST(a_chaos_is_a_fault_with_its_name)
{
    struct resources *r = load_chaos("spec: {fault: delay, app: inventory, method: /reserve*, "
                                     "zone: b, percent: 12.5, delay: 50ms-200ms, for: 30s}\n",
                                     true);
    REQUIRE(r->n_chaos == 1, "%s", said(r));
    const struct chaos_fault *f = &r->chaos[0].fault;
    CHECK_TEXT(f->name, "slow");
    CHECK_TEXT(f->app, "inventory");
    CHECK_TEXT(f->method, "/reserve*");
    CHECK_TEXT(f->zone, "b");
    CHECK(f->percent == 12.5);
    CHECK_EQ(f->delay_ns, MS(50));
    CHECK_EQ(f->delay_max_ns, MS(200));
    CHECK_EQ(f->for_ns, SEC(30));
    CHECK_TEXT(said(r), "");
    resources_unref(r);
}

TEST(without_enable_chaos_it_is_ignored_with_a_warning)
{
    struct resources *r = load_chaos("spec: {fault: reset}\n", false);
    CHECK_EQ(r->n_chaos, 0);
    CHECK(strstr(said(r), "w ") && strstr(said(r), "--enable-chaos"), "%s", said(r));
    resources_unref(r);
}

TEST(what_is_wrong_with_a_chaos_is_told_with_its_place)
{
    static const struct {
        const char *name, *spec, *want;
    } row[] = {
        { "no spec", "", "f.yaml:1:1" },
        { "no such fault", "spec:\n  fault: slow\n", "f.yaml:5:3: fault \"slow\"" },
        { "no such key", "spec:\n  fault: reset\n  percents: 5\n", "f.yaml:6:3" },
        { "too long", "spec:\n  fault: reset\n  for: 2h\n", "at most 1h" },
    };
    EACH (row, r) {
        struct resources *res = load_chaos(r->spec, true);
        CHECK(strstr(said(res), r->want), "%s: %s", r->name, said(res));
        resources_unref(res);
    }
}

TEST(a_chaos_for_other_apps_is_none_of_ours)
{
    struct resources *r = load_chaos("spec: {fault: reset}\nscopes: [other]\n", true);
    CHECK_EQ(r->n_chaos, 0);
    CHECK_TEXT(said(r), "");
    resources_unref(r);
}
