#include "block/app/context.h"

#include "block/core/headers.h"
#include "test/testing.h"

#define TRACE "00-0102030405060708090a0b0c0d0e0f10-00f067aa0ba902b7-01"
#define OTHER "00-ffffffffffffffffffffffffffffffff-00f067aa0ba902b7-01"

struct headers {
    struct http_headers h;
    struct arena arena;
};

static void headers_init(struct headers *h, const char *const *pairs)
{
    arena_init(&h->arena, 1 << 20);
    http_headers_init(&h->h, &h->arena);
    for (size_t i = 0; pairs[i]; i += 2)
        CHECK_OK(http_headers_add(&h->h, str_c(pairs[i]), str_c(pairs[i + 1])));
}

static void headers_done(struct headers *h)
{
    arena_done(&h->arena);
}

TEST(headers_say_priority_and_deadline)
{
    static const struct {
        const char *name, *pairs[5];
        int want;
        bool has_priority;
        enum priority priority;
        int sub;
        uint64_t timeout_ns;
    } row[] = {
        { "nothing", { "accept", "*/*" }, 0, false, PRIORITY_NORMAL, -1, UINT64_MAX },
        { "both",
          { "Proa-Priority", "high/9", "proa-timeout", "250m" },
          0,
          true,
          PRIORITY_HIGH,
          9,
          MS(250) },
        { "a class", { PRIORITY_HEADER, "low" }, 0, true, PRIORITY_LOW, -1, UINT64_MAX },
        { "no such class", { PRIORITY_HEADER, "first" }, -INVALID },
        { "unit missing", { TIMEOUT_HEADER, "250" }, -INVALID },
        { "unit of Go", { TIMEOUT_HEADER, "250ms" }, -INVALID },
        { "negative", { TIMEOUT_HEADER, "-1m" }, -INVALID },
        { "empty", { TIMEOUT_HEADER, "" }, -INVALID },
    };
    EACH (row, r) {
        struct headers h;
        struct call_context c = { .sub = 77 };
        struct error err = { 0 };
        headers_init(&h, r->pairs);
        CHECK_EQ(context_read(&h.h, &c, &err), r->want, "%s", r->name);
        CHECK_EQ(err.http, r->want ? 400 : 0, "%s", r->name);
        if (r->want == 0) {
            CHECK_EQ(c.has_priority, r->has_priority, "%s", r->name);
            CHECK_EQ(c.priority, r->priority, "%s", r->name);
            CHECK_EQ(c.sub, r->sub, "%s", r->name);
            CHECK_EQ(c.timeout_ns, r->timeout_ns, "%s", r->name);
        } else
            CHECK_EQ(c.sub, 77, "%s", r->name);
        headers_done(&h);
    }
}

TEST_CO(what_goes_on_is_what_is_left)
{
    struct headers h;
    headers_init(&h, (const char *const[]){ TIMEOUT_HEADER, "9S", NULL });
    struct call_context c = { .priority = PRIORITY_HIGH, .sub = -1, .has_priority = true };
    CHECK_OK(context_write(&c, &h.h)); /* no deadline of the fiber's: nothing is known */
    CHECK_STR(http_headers_get(&h.h, S(TIMEOUT_HEADER)), "9S");
    CHECK_STR(http_headers_get(&h.h, S(PRIORITY_HEADER)), "high");
    DEADLINE(MS(500));
    CHECK_OK(fiber_sleep(MS(200)));
    c.sub = 3;
    CHECK_OK(context_write(&c, &h.h));
    CHECK_STR(http_headers_get(&h.h, S(PRIORITY_HEADER)), "high/3");
    CHECK_STR(http_headers_get(&h.h, S(TIMEOUT_HEADER)), "300000u");
    headers_done(&h);
}

static struct call_context nothing(void)
{
    return (
        struct call_context){ .priority = PRIORITY_NORMAL, .sub = -1, .timeout_ns = UINT64_MAX };
}

TEST_CO(calls_of_a_trace_inherit_while_it_is_here)
{
    struct contexts *all = contexts_new();
    struct context_entry one = { 0 }, two = { 0 };
    struct headers h, other;
    headers_init(&h, (const char *const[]){ "traceparent", TRACE, NULL });
    headers_init(&other, (const char *const[]){ "traceparent", OTHER, NULL });
    struct call_context c = { .priority = PRIORITY_LOW, .sub = 5, .has_priority = true };
    {
        DEADLINE(SEC(4));
        context_remember(all, &one, &h.h, &c);
    }
    c.priority = PRIORITY_HIGH;
    c.sub = 6;
    {
        DEADLINE(SEC(2));
        context_remember(all, &two, &h.h, &c);
    }
    struct call_context got = nothing();
    context_inherit(all, &other.h, &got);
    CHECK(!got.has_priority && got.timeout_ns == UINT64_MAX);
    context_inherit(all, &h.h, &got);
    CHECK_EQ(got.priority, PRIORITY_HIGH);
    CHECK_EQ(got.sub, 6);
    CHECK_EQ(got.timeout_ns, SEC(4));
    got = (struct call_context){ PRIORITY_BACKGROUND, -1, true, MS(1) };
    context_inherit(all, &h.h, &got); /* its own words stand */
    CHECK_EQ(got.priority, PRIORITY_BACKGROUND);
    CHECK_EQ(got.timeout_ns, MS(1));
    context_forget(all, &two);
    got = nothing();
    context_inherit(all, &h.h, &got);
    CHECK_EQ(got.priority, PRIORITY_LOW);
    context_forget(all, &one);
    context_forget(all, &one); /* twice is fine */
    got = nothing();
    context_inherit(all, &h.h, &got);
    CHECK(!got.has_priority);
    contexts_free(all);
    headers_done(&h);
    headers_done(&other);
}

TEST_CO(call_without_a_trace_or_anything_to_tell_is_not_kept)
{
    struct contexts *all = contexts_new();
    struct context_entry e = { 0 };
    struct headers none, h, bad;
    headers_init(&none, (const char *const[]){ NULL });
    headers_init(&h, (const char *const[]){ "traceparent", TRACE, NULL });
    headers_init(&bad, (const char *const[]){ "traceparent", "00-xyz", NULL });
    struct call_context c = { .priority = PRIORITY_HIGH, .sub = -1, .has_priority = true };
    context_remember(all, &e, &none.h, &c);
    CHECK(!e.kept);
    context_remember(all, &e, &bad.h, &c);
    CHECK(!e.kept);
    c = nothing();
    context_remember(all, &e, &h.h, &c);
    CHECK(!e.kept);
    contexts_free(all);
    headers_done(&none);
    headers_done(&h);
    headers_done(&bad);
}
