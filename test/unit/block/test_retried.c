#include "block/app/retried.h"

#include "test/testing.h"

#include <stdio.h>

struct request { /* of a trace */
    struct http_headers h;
    struct arena arena;
    char parent[56];
};

/* trace < 0: it has none. */
static struct http_headers *request(struct request *r, long trace)
{
    arena_init(&r->arena, 1 << 20);
    http_headers_init(&r->h, &r->arena);
    snprintf(r->parent, sizeof r->parent, "00-%032lx-00f067aa0ba902b7-01", trace + 1);
    if (trace >= 0)
        CHECK_OK(http_headers_add(&r->h, S("traceparent"), str_c(r->parent)));
    return &r->h;
}

static void note(struct retried *t, long trace, uint64_t now_ns)
{
    struct request r;
    retried_note(t, request(&r, trace), now_ns);
    arena_done(&r.arena);
}

static bool since(struct retried *t, long trace, uint64_t since_ns)
{
    struct request r;
    bool is = retried_since(t, request(&r, trace), since_ns);
    arena_done(&r.arena);
    return is;
}

TEST(a_failure_counts_for_calls_of_its_trace_that_were_there)
{
    struct retried *t = retried_new();
    CHECK(t);
    CHECK(!since(t, 1, 0));
    note(t, 1, 50);
    CHECK(since(t, 1, 40));
    CHECK(since(t, 1, 50));
    CHECK(!since(t, 1, 51), "that one came later");
    CHECK(!since(t, 2, 40));
    note(t, 1, 60);
    CHECK(since(t, 1, 51));
    retried_free(t);
}

TEST(without_a_trace_nothing_is_known)
{
    struct retried *t = retried_new();
    CHECK(t);
    note(t, -1, 50);
    CHECK(!since(t, -1, 0));
    retried_free(t);
}

/* Many more than there is room for: the latest are there, and it's the oldest that have gone. */
TEST(the_oldest_make_room)
{
    struct retried *t = retried_new();
    long n = 8 * RETRIED_TRACES, lately = 0, old = 0;
    CHECK(t);
    for (long i = 0; i < n; i++)
        note(t, i, (uint64_t)i + 1);
    for (long i = 0; i < RETRIED_TRACES / 8; i++) {
        lately += since(t, n - 1 - i, 1);
        old += since(t, i, 1);
    }
    CHECK(lately > RETRIED_TRACES / 8 * 99 / 100, "%ld of the last %d", lately, RETRIED_TRACES / 8);
    CHECK(old < RETRIED_TRACES / 8 / 100, "%ld of the first %d", old, RETRIED_TRACES / 8);
    retried_free(t);
}

TEST(answers_are_marked_once)
{
    struct retried *t = retried_new();
    struct request call, answer;
    struct http_headers *h = request(&answer, -1);
    CHECK(t);
    (void)request(&call, 7);
    retried_mark(t, &call.h, 40, h);
    CHECK(!retried_is_marked(h));
    retried_note(t, &call.h, 50);
    retried_mark(t, &call.h, 51, h);
    CHECK(!retried_is_marked(h));
    for (int i = 0; i < 2; i++) {
        retried_mark(t, &call.h, 40, h);
        CHECK(retried_is_marked(h));
        CHECK_EQ(h->n, 1);
    }
    arena_done(&call.arena);
    arena_done(&answer.arena);
    retried_free(t);
}
