/* RESP2: what servers send, whole and in pieces, and what they must not send. */
#include "components/common/redis/resp.h"
#include "test/testing.h"

static void print(struct buf *b, const struct redis_reply *v)
{
    switch (v->kind) {
    case REDIS_NIL:
        buf_put(b, S("nil"));
        break;
    case REDIS_STRING:
        buf_printf(b, "\"" STR_FMT "\"", STR_ARG(v->text));
        break;
    case REDIS_STATUS:
        buf_printf(b, "+" STR_FMT, STR_ARG(v->text));
        break;
    case REDIS_ERROR:
        buf_printf(b, "-" STR_FMT, STR_ARG(v->text));
        break;
    case REDIS_INTEGER:
        buf_printf(b, "%lld", (long long)v->integer);
        break;
    case REDIS_ARRAY:
        buf_putc(b, '[');
        for (size_t i = 0; i < v->n; i++) {
            if (i)
                buf_putc(b, ' ');
            print(b, &v->item[i]);
        }
        buf_putc(b, ']');
    }
}

/* Gives the first `cut` bytes, then the rest byte by byte, as a connection would. */
static int read_in_pieces(struct resp_reader *r, str in, size_t cut, size_t *ret_used)
{
    size_t used = 0, end = cut;
    for (;; end++) {
        size_t n = 0;
        int done = resp_feed(r, in.p + used, end - used, &n);
        used += n;
        *ret_used = used;
        if (done || end == in.n)
            return done;
    }
}

TEST(replies_are_read_however_they_are_cut)
{
    static const struct {
        const char *in, *want;
    } row[] = {
        { "+OK\r\n", "+OK" },
        { "+\r\n", "+" },
        { "-ERR no such key\r\n", "-ERR no such key" },
        { ":0\r\n", "0" },
        { ":-9223372036854775808\r\n", "-9223372036854775808" },
        { "$0\r\n\r\n", "\"\"" },
        { "$5\r\nhello\r\n", "\"hello\"" },
        { "$4\r\na\r\nb\r\n", "\"a\r\nb\"" },
        { "$-1\r\n", "nil" },
        { "*-1\r\n", "nil" },
        { "*0\r\n", "[]" },
        { "*2\r\n$1\r\na\r\n:7\r\n", "[\"a\" 7]" },
        { "*3\r\n*0\r\n*1\r\n*1\r\n$-1\r\n+x\r\n", "[[] [[nil]] +x]" },
        { "*2\r\n*2\r\n:1\r\n:2\r\n*2\r\n:3\r\n-E\r\n", "[[1 2] [3 -E]]" },
    };
    EACH (row, r) {
        str in = str_c(r->in);
        for (size_t cut = 0; cut <= in.n; cut++) {
            struct resp_reader reader;
            struct redis_reply reply;
            struct arena a;
            struct buf text;
            size_t used = 99;
            arena_init(&a, KIB(64));
            buf_init(&text, KIB(1));
            resp_begin(&reader, &a, &reply);
            CHECK_EQ(read_in_pieces(&reader, in, cut, &used), 1, "%s cut at %zu", r->in, cut);
            CHECK_EQ(used, in.n);
            CHECK_OK(reader.failed);
            print(&text, &reply);
            CHECK_STR(buf_str(&text), r->want, "cut at %zu", cut);
            buf_done(&text);
            arena_done(&a);
        }
    }
}

TEST(what_follows_a_reply_is_left_alone)
{
    struct resp_reader reader;
    struct redis_reply reply;
    struct arena a;
    size_t used = 0;
    str in = S(":1\r\n:2\r\n");
    arena_init(&a, KIB(64));
    resp_begin(&reader, &a, &reply);
    CHECK_EQ(resp_feed(&reader, in.p, in.n, &used), 1);
    CHECK_EQ(used, 4);
    CHECK_EQ(reply.integer, 1);
    arena_done(&a);
}

TEST(what_is_not_resp2_is_refused)
{
    static const char *const row[] = {
        "OK\r\n",
        "\r\n",
        "\n",
        "+OK\n",
        ":\r\n",
        ":1x\r\n",
        ":99999999999999999999\r\n",
        "$\r\n",
        "$x\r\n",
        "$-2\r\n",
        "$536870913\r\n",
        "*-2\r\n",
        "*99999999999\r\n",
        "$2\r\nabc\r\n",
        "$2\r\nab\rx",
        "$2\r\nabx\n",
        "%1\r\n:1\r\n:1\r\n",
        "_\r\n",
        "HTTP/1.1 400 Bad Request\r\n",
        "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n",
    };
    EACH (row, r) {
        struct resp_reader reader;
        struct redis_reply reply;
        struct arena a;
        size_t used;
        arena_init(&a, KIB(64));
        for (size_t cut = 0; cut <= strlen(*r); cut++) {
            resp_begin(&reader, &a, &reply);
            CHECK_EQ(read_in_pieces(&reader, str_c(*r), cut, &used), -DATA_LOSS, "%s", *r);
        }
        arena_done(&a);
    }
}

TEST(line_without_an_end_is_refused)
{
    static char line[RESP_LINE_MAX + 1];
    struct resp_reader reader;
    size_t used;
    memset(line, 'x', sizeof line);
    line[0] = '+';
    resp_begin(&reader, NULL, NULL);
    CHECK_EQ(resp_feed(&reader, line, RESP_LINE_MAX - 1, &used), 0);
    CHECK_EQ(used, 0);
    CHECK_EQ(resp_feed(&reader, line, RESP_LINE_MAX, &used), -DATA_LOSS);
}

/* Reads `in` whole into an arena of `max` bytes, then the reply behind it. */
static void check_too_large(str in, size_t max)
{
    struct resp_reader reader;
    struct redis_reply reply;
    struct arena a;
    size_t used = 0, more = 0;
    arena_init(&a, max);
    resp_begin(&reader, &a, &reply);
    CHECK_EQ(resp_feed(&reader, in.p, in.n, &used), 1);
    CHECK_EQ(reader.failed, -EXHAUSTED);
    resp_begin(&reader, &a, &reply);
    CHECK_EQ(resp_feed(&reader, ":42\r\n", 5, &more), 1);
    CHECK_OK(reader.failed);
    CHECK_EQ(reply.integer, 42);
    arena_done(&a);
}

TEST(reply_that_does_not_fit_is_skipped_and_the_next_is_read)
{
    struct buf big;
    buf_init(&big, MIB(4));
    buf_put(&big, S("*3\r\n:1\r\n$100000\r\n"));
    for (int i = 0; i < 100000; i++)
        buf_putc(&big, 'x');
    buf_put(&big, S("\r\n*2\r\n$1\r\na\r\n+OK\r\n"));
    check_too_large(buf_str(&big), KIB(16));
    buf_clear(&big);
    buf_put(&big, S("*1000\r\n"));
    for (int i = 0; i < 1000; i++)
        buf_put(&big, S("*1\r\n:1\r\n"));
    check_too_large(buf_str(&big), KIB(16));
    buf_done(&big);
}

TEST(array_of_more_than_the_limit_needs_no_memory)
{
    struct resp_reader reader;
    struct redis_reply reply;
    struct arena a;
    size_t used;
    arena_init(&a, MIB(512));
    resp_begin(&reader, &a, &reply);
    CHECK_EQ(resp_feed(&reader, "*2000000000\r\n:1\r\n", 17, &used), 0);
    CHECK_EQ(reader.failed, -EXHAUSTED);
    CHECK(a.used < KIB(64));
    arena_done(&a);
}

TEST(forgotten_reply_is_read_to_its_end)
{
    str in = S("*2\r\n$5\r\nhello\r\n*1\r\n$3\r\nabc\r\n");
    for (size_t cut = 0; cut < in.n; cut++) {
        struct resp_reader reader;
        struct redis_reply reply;
        struct arena a;
        size_t used = 0, more = 0;
        arena_init(&a, KIB(64));
        resp_begin(&reader, &a, &reply);
        CHECK_EQ(resp_feed(&reader, in.p, cut, &used), 0);
        resp_forget(&reader);
        arena_done(&a); /* nothing may be put there any more */
        memset(&reply, 0xee, sizeof reply);
        CHECK_EQ(resp_feed(&reader, in.p + used, in.n - used, &more), 1);
        CHECK_EQ(used + more, in.n);
    }
}

TEST(long_string_is_put_straight_into_its_place)
{
    struct resp_reader reader;
    struct redis_reply reply;
    struct arena a;
    size_t used = 0, room = 0;
    arena_init(&a, KIB(64));
    resp_begin(&reader, &a, &reply);
    CHECK(!resp_direct(&reader, &room));
    CHECK_EQ(resp_feed(&reader, "$8000\r\nab", 9, &used), 0);
    char *to = resp_direct(&reader, &room);
    REQUIRE(to && room == 7998);
    memset(to, 'c', 5000);
    resp_advance(&reader, 5000);
    CHECK(!resp_direct(&reader, &room)); /* the rest is short */
    char rest[3001];
    memset(rest, 'd', 2998);
    memcpy(rest + 2998, "\r\n", 2);
    CHECK_EQ(resp_feed(&reader, rest, 3000, &used), 1);
    CHECK(reply.text.n == 8000 && reply.text.p[1] == 'b' && reply.text.p[2] == 'c');
    CHECK(reply.text.p[5001] == 'c' && reply.text.p[5002] == 'd' && reply.text.p[8000] == 0);
    arena_done(&a);
}

TEST(commands_are_written_as_arrays_of_strings)
{
    struct buf b;
    str arg[] = { S("SET"), S(""), str_of("a\0b", 3), S("0123456789") };
    buf_init(&b, KIB(1));
    CHECK(resp_write(&b, arg, COUNT(arg)));
    str want = S("*4\r\n$3\r\nSET\r\n$0\r\n\r\n$3\r\na\0b\r\n$10\r\n0123456789\r\n");
    CHECK(str_eq(buf_str(&b), want));
    buf_done(&b);
}

TEST(command_that_does_not_fit_changes_nothing)
{
    struct buf b;
    str small[] = { S("PING") },
        large[] = { S("SET"), str_of("0123456789012345678901234567890123456789", 40) };
    buf_init(&b, 128);
    CHECK(resp_write(&b, small, 1));
    str before = buf_str(&b);
    CHECK(!resp_write(&b, large, 2));
    CHECK(buf_ok(&b) && str_eq(buf_str(&b), before));
    buf_done(&b);
}
