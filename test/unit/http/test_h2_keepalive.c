#include "http/h2_keepalive.h"

#include "base/clock.h"
#include "test/testing.h"

/* One connection, told what comes when, and looked at whenever it wants to be. */
struct line {
    struct h2_keepalive k;
    uint64_t now, heard[8];
    bool streams;
};

/* The next verdict but H2_QUIET; *ret_at is when. Bytes come at the times in `heard`. */
static enum h2_keepalive_verdict next(struct line *l, uint64_t *ret_at)
{
    for (int i = 0; i < 1000; i++) {
        uint64_t wait = h2_keepalive_wait(&l->k, l->streams, l->now), at = l->now + wait;
        uint64_t *first = NULL;
        for (size_t n = 0; n < COUNT(l->heard); n++)
            if (l->heard[n] > l->now && (!first || l->heard[n] < *first))
                first = &l->heard[n];
        if (first && (!wait || *first < at)) {
            l->now = *first;
            h2_keepalive_heard(&l->k, l->now);
            continue;
        }
        if (!wait)
            break;
        l->now = *ret_at = at;
        enum h2_keepalive_verdict v = h2_keepalive_look(&l->k, l->streams, at);
        if (v != H2_QUIET)
            return v;
    }
    *ret_at = 0;
    return H2_QUIET;
}

TEST(quiet_connection_is_pinged_and_given_up)
{
    static const struct {
        const char *name;
        unsigned ping_s, timeout_s, idle_s;
        bool streams;
        unsigned heard_s[4];
        struct {
            enum h2_keepalive_verdict verdict;
            unsigned at_s;
        } want[4];
    } row[] = {
        { "dead from the start", 10, 5, 180, true, { 0 }, { { H2_PING, 10 }, { H2_DEAD, 15 } } },
        { "dead without streams", 10, 5, 180, false, { 0 }, { { H2_PING, 10 }, { H2_DEAD, 15 } } },
        { "answers once",
          10,
          5,
          180,
          true,
          { 11 },
          { { H2_PING, 10 }, { H2_PING, 21 }, { H2_DEAD, 26 } } },
        { "answers at the last moment",
          10,
          5,
          180,
          true,
          { 14 },
          { { H2_PING, 10 }, { H2_PING, 24 }, { H2_DEAD, 29 } } },
        { "speaks by itself",
          10,
          5,
          180,
          true,
          { 3, 12, 20 },
          { { H2_PING, 30 }, { H2_DEAD, 35 } } },
        { "idle", 10, 5, 12, false, { 11 }, { { H2_PING, 10 }, { H2_IDLE, 12 } } },
        { "idle without PINGs", 0, 5, 12, false, { 5 }, { { H2_IDLE, 12 } } },
        { "streams without PINGs", 0, 5, 12, true, { 5 }, { { H2_QUIET, 0 } } },
        { "no limits", 0, 5, 0, false, { 5 }, { { H2_QUIET, 0 } } },
    };
    EACH (row, r) {
        struct line l = { .k = { .ping_ns = SEC(r->ping_s),
                                 .timeout_ns = SEC(r->timeout_s),
                                 .idle_ns = SEC(r->idle_s) },
                          .now = SEC(100),
                          .streams = r->streams };
        for (size_t i = 0; i < COUNT(r->heard_s); i++)
            l.heard[i] = r->heard_s[i] ? SEC(100) + SEC(r->heard_s[i]) : 0;
        h2_keepalive_start(&l.k, l.now);
        for (size_t i = 0; i < COUNT(r->want) && (!i || r->want[i].at_s); i++) {
            uint64_t at = 99;
            CHECK_EQ(next(&l, &at), r->want[i].verdict, "%s, %zu", r->name, i);
            CHECK_EQ(at, r->want[i].at_s ? SEC(100) + SEC(r->want[i].at_s) : 0, "%s, %zu", r->name,
                     i);
        }
    }
}

/* The end of a stream isn't told: the next look finds it. */
TEST(idle_time_begins_with_the_end_of_the_last_stream)
{
    struct h2_keepalive k = { .idle_ns = SEC(12) };
    h2_keepalive_start(&k, 0);
    CHECK_EQ(h2_keepalive_wait(&k, true, SEC(5)), SEC(12));
    k.free_at = SEC(7);
    CHECK_EQ(h2_keepalive_look(&k, false, SEC(17)), H2_QUIET);
    CHECK_EQ(h2_keepalive_wait(&k, false, SEC(17)), SEC(2));
    CHECK_EQ(h2_keepalive_look(&k, false, SEC(19)), H2_IDLE);
}
