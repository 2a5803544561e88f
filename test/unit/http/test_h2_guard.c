#include "http/h2_guard.h"

#include "base/clock.h"
#include "test/testing.h"

#include <nghttp2/nghttp2.h>

enum { END = NGHTTP2_FLAG_END_STREAM };

struct frame {
    unsigned char type, flags;
    unsigned id, length;
};

/* Puts it at `to`, with a body of zeros. */
static size_t put(char *to, const struct frame *f)
{
    const unsigned char head[H2_FRAME_HEAD] = {
        (unsigned char)(f->length >> 16),
        (unsigned char)(f->length >> 8),
        (unsigned char)f->length,
        f->type,
        f->flags,
        (unsigned char)(f->id >> 24),
        (unsigned char)(f->id >> 16),
        (unsigned char)(f->id >> 8),
        (unsigned char)f->id,
    };
    memcpy(to, head, sizeof head);
    memset(to + sizeof head, 0, f->length);
    return sizeof head + f->length;
}

/* How many of the frames behind a client's preface pass, and the code that stops the next. */
static size_t judge(const struct frame *frame, size_t n, size_t step, uint32_t *ret_code)
{
    static char bytes[4096];
    size_t end[16] = { 0 }, at = NGHTTP2_CLIENT_MAGIC_LEN, passed = 0;
    memcpy(bytes, NGHTTP2_CLIENT_MAGIC, NGHTTP2_CLIENT_MAGIC_LEN);
    for (size_t i = 0; i < n; i++) {
        REQUIRE(at + H2_FRAME_HEAD + frame[i].length <= sizeof bytes && i < COUNT(end));
        end[i] = at += put(bytes + at, &frame[i]);
    }
    struct h2_guard g;
    h2_guard_init(&g, true, KIB(4), 0);
    uint32_t code = NGHTTP2_NO_ERROR;
    size_t good = 0;
    while (good < at && code == NGHTTP2_NO_ERROR)
        good += h2_guard_read(&g, str_take(str_of(bytes + good, at - good), step), 0, &code);
    while (passed < n && end[passed] <= good)
        passed++;
    *ret_code = code;
    return passed;
}

#define HEADERS(id, flags)                                                                         \
    {                                                                                              \
        NGHTTP2_HEADERS, flags, id, 3                                                              \
    }
#define DATA(id, flags)                                                                            \
    {                                                                                              \
        NGHTTP2_DATA, flags, id, 5                                                                 \
    }
#define RESET(id)                                                                                  \
    {                                                                                              \
        NGHTTP2_RST_STREAM, 0, id, 4                                                               \
    }
#define WINDOW(id)                                                                                 \
    {                                                                                              \
        NGHTTP2_WINDOW_UPDATE, 0, id, 4                                                            \
    }
#define PRIORITY(id)                                                                               \
    {                                                                                              \
        NGHTTP2_PRIORITY, 0, id, 5                                                                 \
    }

TEST(streams_are_not_used_after_their_end)
{
    static const struct {
        const char *name;
        struct frame frame[6];
        size_t n;
        uint32_t last; /* NO_ERROR: all of them pass, else all but the last */
    } row[] = {
        { "one request", { HEADERS(1, 0), DATA(1, 0), DATA(1, END) }, 3, NGHTTP2_NO_ERROR },
        { "trailers", { HEADERS(1, 0), DATA(1, 0), HEADERS(1, END) }, 3, NGHTTP2_NO_ERROR },
        { "side by side", { HEADERS(1, 0), HEADERS(3, 0), DATA(1, END), DATA(3, END) }, 4, 0 },
        { "DATA after END_STREAM", { HEADERS(1, END), DATA(1, 0) }, 2, NGHTTP2_STREAM_CLOSED },
        { "DATA after DATA with it",
          { HEADERS(1, 0), DATA(1, END), DATA(1, 0) },
          3,
          NGHTTP2_STREAM_CLOSED },
        { "HEADERS after END_STREAM",
          { HEADERS(1, END), HEADERS(1, END) },
          2,
          NGHTTP2_STREAM_CLOSED },
        { "after trailers",
          { HEADERS(1, 0), HEADERS(1, END), DATA(1, 0) },
          3,
          NGHTTP2_STREAM_CLOSED },
        { "DATA after RST_STREAM",
          { HEADERS(1, 0), RESET(1), DATA(1, 0) },
          3,
          NGHTTP2_STREAM_CLOSED },
        { "HEADERS after RST_STREAM",
          { HEADERS(1, 0), RESET(1), HEADERS(1, END) },
          3,
          NGHTTP2_STREAM_CLOSED },
        { "other frames after the end",
          { HEADERS(1, END), WINDOW(1), PRIORITY(1), RESET(1), RESET(1) },
          5,
          NGHTTP2_NO_ERROR },
        { "an older stream ended",
          { HEADERS(1, END), HEADERS(7, 0), DATA(1, 0) },
          3,
          NGHTTP2_STREAM_CLOSED },
        { "a stream that was passed over",
          { HEADERS(5, END), HEADERS(3, END) },
          2,
          NGHTTP2_PROTOCOL_ERROR },
        { "DATA on such a stream", { HEADERS(5, END), DATA(3, END) }, 2, NGHTTP2_PROTOCOL_ERROR },
        { "the oldest that is remembered",
          { HEADERS(1, END), HEADERS(127, END), DATA(1, 0) },
          3,
          NGHTTP2_STREAM_CLOSED },
        { "a forgotten one", { HEADERS(1, END), HEADERS(129, END), DATA(1, 0) }, 3, 0 },
        { "all are forgotten", { HEADERS(1, 0), HEADERS(0x7fffffff, 0), DATA(1, 0) }, 3, 0 },
        { "idle and even ones are nghttp2's", { DATA(1, 0), HEADERS(2, 0), DATA(2, 0) }, 3, 0 },
    };
    static const size_t steps[] = { 4096, 1, 7 };
    EACH (row, r)
        for (size_t i = 0; i < COUNT(steps); i++) {
            uint32_t code = 99;
            size_t want = r->last == NGHTTP2_NO_ERROR ? r->n : r->n - 1;
            CHECK_EQ(judge(r->frame, r->n, steps[i], &code), want, "%s, by %zu", r->name, steps[i]);
            CHECK_EQ(code, r->last, "%s, by %zu", r->name, steps[i]);
        }
}

TEST(upgraded_stream_has_ended)
{
    struct h2_guard g;
    char bytes[64];
    uint32_t code = NGHTTP2_NO_ERROR;
    h2_guard_init(&g, true, KIB(4), 0);
    h2_guard_upgrade(&g);
    str preface = str_of(NGHTTP2_CLIENT_MAGIC, NGHTTP2_CLIENT_MAGIC_LEN);
    CHECK_EQ(h2_guard_read(&g, preface, 0, &code), preface.n);
    size_t n = put(bytes, &(struct frame)DATA(1, END));
    CHECK_EQ(h2_guard_read(&g, str_of(bytes, n), 0, &code), 0);
    CHECK_EQ(code, NGHTTP2_STREAM_CLOSED);
}

TEST(answers_are_not_judged_by_their_streams)
{
    struct h2_guard g;
    char bytes[64];
    uint32_t code = NGHTTP2_NO_ERROR;
    h2_guard_init(&g, false, KIB(4), 0);
    for (int i = 0; i < 3; i++) {
        size_t n = put(bytes, &(struct frame)DATA(1, END));
        CHECK_EQ(h2_guard_read(&g, str_of(bytes, n), 0, &code), n);
    }
    CHECK_EQ(code, NGHTTP2_NO_ERROR);
}

/* How many of a frame pass, one every step_ns; at most max. */
static size_t passing(struct h2_guard *g, const struct frame *f, uint64_t step_ns, uint64_t *now,
                      size_t max)
{
    char bytes[64];
    uint32_t code = NGHTTP2_NO_ERROR;
    size_t n = put(bytes, f), count = 0;
    for (; count < max; count++, *now += step_ns)
        if (h2_guard_read(g, str_of(bytes, n), *now, &code) < n) {
            CHECK_EQ(code, NGHTTP2_ENHANCE_YOUR_CALM);
            break;
        }
    return count;
}

TEST(frames_of_no_use_have_a_budget_that_refills)
{
    static const struct {
        const char *name;
        struct frame frame;
        uint64_t step_ns;
        size_t pass;
    } row[] = {
        { "PING", { NGHTTP2_PING, 0, 0, 8 }, 0, 10000 },
        { "PING, 1,000 a second", { NGHTTP2_PING, 0, 0, 8 }, MS(1), 50000 },
        { "PING, 2,000 a second", { NGHTTP2_PING, 0, 0, 8 }, MS(1) / 2, 19999 },
        { "SETTINGS", { NGHTTP2_SETTINGS, 0, 0, 0 }, 0, 10000 },
        { "PRIORITY", PRIORITY(1), 0, 10000 },
        { "unknown", { 0x42, 0, 0, 0 }, 0, 10000 },
        { "empty DATA", { NGHTTP2_DATA, 0, 1, 0 }, 0, 10000 },
        { "RST_STREAM", RESET(1), 0, 40000 },
        { "WINDOW_UPDATE", WINDOW(1), 0, 50000 },
        { "DATA", DATA(1, 0), 0, 50000 },
        { "CONTINUATION", { NGHTTP2_CONTINUATION, 0, 1, 1 }, MS(10), 32 },
    };
    EACH (row, r) {
        struct h2_guard g;
        uint64_t now = SEC(7);
        h2_guard_init(&g, false, KIB(4), now);
        CHECK_EQ(passing(&g, &r->frame, r->step_ns, &now, 50000), r->pass, "%s", r->name);
    }
}

TEST(continuations_are_counted_by_header_block_and_grow_with_its_limit)
{
    struct h2_guard g;
    uint64_t now = 0;
    const struct frame more = { NGHTTP2_CONTINUATION, 0, 1, 1 }, head = HEADERS(1, 0);
    h2_guard_init(&g, false, MIB(4), 0);
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(passing(&g, &head, 0, &now, 1), 1);
        CHECK_EQ(passing(&g, &more, 0, &now, 288), 288);
    }
    CHECK_EQ(passing(&g, &more, 0, &now, 1), 0);
}
