#include "block/core/chaos.h"

#include "component/resource.h"
#include "test/testing.h"

static const struct chaos_call call_of_a = { S("orders"), S("GET"), S("/orders/1"), S("a") };

static struct chaos_fault make(const char *name, enum chaos_kind kind)
{
    struct chaos_fault f = { .kind = kind, .percent = 100, .for_ns = SEC(10) };
    snprintf(f.name, sizeof f.name, "%s", name);
    if (kind == CHAOS_DELAY)
        f.delay_ns = f.delay_max_ns = SEC(2);
    if (kind == CHAOS_ERROR)
        f.status = 429;
    return f;
}

static struct chaos *chaos_of(const char *name, enum chaos_kind kind)
{
    struct chaos *c = chaos_new();
    struct chaos_fault f = make(name, kind);
    REQUIRE(c != NULL && chaos_add(c, &f, NULL) == 0);
    return c;
}

static bool has(struct chaos *c, const char *text)
{
    AUTO(buf_done) struct buf out;
    struct json_w w;
    buf_init(&out, KIB(64));
    json_w_init(&w, &out, 0);
    chaos_write(c, &w);
    return str_contains(buf_str(&out), str_c(text));
}

TEST_CO(a_delay_holds_the_call_and_lets_it_go_on)
{
    struct chaos *c = chaos_of("slow", CHAOS_DELAY);
    struct chaos_outcome outcome;
    uint64_t start = sched_now();
    CHECK(chaos_on(c));
    CHECK_OK(chaos_strike(c, &call_of_a, &outcome, NULL));
    CHECK_EQ(sched_now() - start, SEC(2));
    CHECK(has(c, "\"injected\":1"));
    chaos_free(c);
}

TEST_CO(a_delay_is_no_longer_than_the_deadline)
{
    struct chaos *c = chaos_of("slow", CHAOS_DELAY);
    struct chaos_outcome outcome;
    uint64_t start = sched_now();
    {
        DEADLINE(MS(300));
        CHECK_EQ(chaos_strike(c, &call_of_a, &outcome, NULL), -TIMEOUT);
    }
    CHECK_EQ(sched_now() - start, MS(300));
    chaos_free(c);
}

TEST_CO(an_error_says_its_status_and_a_reset_has_none)
{
    struct chaos *c = chaos_of("busy", CHAOS_ERROR);
    struct chaos_outcome outcome;
    struct error err = { 0 };
    CHECK_EQ(chaos_strike(c, &call_of_a, &outcome, &err), -EXHAUSTED);
    CHECK_EQ(outcome.status, 429);
    CHECK_TEXT(outcome.name, "busy");
    CHECK(strstr(err.text, "on purpose"), "%s", err.text);
    chaos_free(c);
    c = chaos_of("broken", CHAOS_RESET);
    CHECK_EQ(chaos_strike(c, &call_of_a, &outcome, NULL), -UNAVAILABLE);
    CHECK_EQ(outcome.status, 0);
    chaos_free(c);
}

TEST_CO(a_blackhole_swallows_until_the_deadline_or_its_own_end)
{
    struct chaos *c = chaos_of("hole", CHAOS_BLACKHOLE);
    struct chaos_outcome outcome;
    uint64_t start = sched_now();
    {
        DEADLINE(SEC(3));
        CHECK_EQ(chaos_strike(c, &call_of_a, &outcome, NULL), -TIMEOUT);
    }
    CHECK_EQ(sched_now() - start, SEC(3));
    CHECK_EQ(chaos_strike(c, &call_of_a, &outcome, NULL), -UNAVAILABLE);
    CHECK_EQ(sched_now() - start, SEC(10));
    CHECK_OK(chaos_strike(c, &call_of_a, &outcome, NULL));
    CHECK(!chaos_on(c), "what has ended costs nothing");
    chaos_free(c);
}

static void take_away(void *arg)
{
    (void)fiber_sleep(SEC(1));
    CHECK_EQ(chaos_remove(arg, S("hole")), 1);
}

TEST_CO(who_is_held_goes_on_soon_after_the_fault_is_taken_away)
{
    struct chaos *c = chaos_of("hole", CHAOS_BLACKHOLE);
    struct chaos_outcome outcome;
    uint64_t start = sched_now();
    REQUIRE(fiber_spawn("take", take_away, c) != NULL);
    CHECK_EQ(chaos_strike(c, &call_of_a, &outcome, NULL), -UNAVAILABLE);
    CHECK(sched_now() - start <= MS(1200));
    CHECK(!chaos_on(c));
    chaos_free(c);
}

TEST_CO(a_cancelled_call_is_let_go_at_once)
{
    struct chaos *c = chaos_of("hole", CHAOS_BLACKHOLE);
    struct chaos_outcome outcome;
    uint64_t start = sched_now();
    fiber_cancel(fiber_self());
    CHECK_EQ(chaos_strike(c, &call_of_a, &outcome, NULL), -CANCELLED);
    CHECK_EQ(sched_now(), start);
    chaos_free(c);
}

TEST_CO(others_calls_are_not_struck)
{
    struct chaos *c = chaos_new();
    struct chaos_fault f = make("x", CHAOS_RESET);
    struct chaos_outcome outcome;
    REQUIRE(c != NULL);
    snprintf(f.zone, sizeof f.zone, "b");
    CHECK_OK(chaos_add(c, &f, NULL));
    CHECK_OK(chaos_strike(c, &call_of_a, &outcome, NULL));
    chaos_free(c);
}

/* ---- resources ---- */

static struct resources *parsed(const char *const *spec, size_t n)
{
    AUTO(buf_done) struct buf text;
    const struct resource_options opt = { .app_id = S("me"), .chaos = true };
    struct resources *r = NULL;
    buf_init(&text, KIB(64));
    for (size_t i = 0; i < n; i++)
        buf_printf(&text, "---\napiVersion: proa.dev/v1alpha1\nkind: Chaos\n%s\n", spec[i]);
    struct resource_text file = { "f.yaml", buf_str(&text), false };
    REQUIRE(resources_parse(&opt, &file, 1, &r, NULL) == 0 && r->n_chaos == n);
    return r;
}

TEST_CO(a_reload_begins_what_is_new_and_ends_what_is_gone)
{
    static const char *const first[] = { "metadata: {name: stays}\nspec: {fault: reset}",
                                         "metadata: {name: goes}\nspec: {fault: reset}" };
    static const char *const second[] = { "metadata: {name: stays}\nspec: {fault: reset}",
                                          "metadata: {name: comes}\nspec: {fault: blackhole}" };
    struct chaos *c = chaos_new();
    struct resources *old = parsed(first, 2), *new = parsed(second, 2);
    chaos_reload(c, NULL, old);
    CHECK(has(c, "stays") && has(c, "goes"));
    (void)fiber_sleep(SEC(30));
    chaos_reload(c, old, new);
    CHECK(has(c, "stays") && has(c, "comes") && !has(c, "goes"));
    (void)fiber_sleep(SEC(31));
    CHECK(has(c, "comes") && !has(c, "stays"), "the time of what stays goes on");
    chaos_reload(c, new, new);
    CHECK(!has(c, "stays"), "what has ended isn't begun again by a reload");
    resources_unref(old);
    resources_unref(new);
    chaos_free(c);
}

TEST_CO(a_reload_leaves_alone_what_came_by_the_api)
{
    static const char *const spec[] = { "metadata: {name: x}\nspec: {fault: reset}" };
    struct chaos *c = chaos_new();
    struct chaos_fault f = make("x", CHAOS_DELAY);
    struct resources *old = parsed(spec, 1), *none = parsed(NULL, 0);
    chaos_reload(c, NULL, old);
    CHECK_OK(chaos_add(c, &f, NULL));
    chaos_reload(c, old, none);
    CHECK(has(c, "delay"));
    resources_unref(old);
    resources_unref(none);
    chaos_free(c);
}
