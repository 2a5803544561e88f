#include "base/buf.h"

#include "test/testing.h"

TEST(puts_append_and_consume_takes_from_the_front)
{
    AUTO(buf_done) struct buf b;
    buf_init(&b, 1000);
    CHECK_STR(buf_str(&b), "");
    buf_put(&b, S("hello"));
    buf_putc(&b, ' ');
    buf_put_u64(&b, 0);
    buf_put_u64(&b, UINT64_MAX);
    buf_printf(&b, "%s-%d", "x", -1);
    CHECK_STR(buf_str(&b), "hello 018446744073709551615x--1");
    buf_consume(&b, 6);
    CHECK_STR(buf_str(&b), "018446744073709551615x--1");
    buf_consume(&b, b.len);
    CHECK_EQ(b.head, 0);
    CHECK(buf_ok(&b));
}

TEST(maximum_is_exact_and_failure_sticks)
{
    AUTO(buf_done) struct buf b;
    buf_init(&b, 10);
    buf_put(&b, S("0123456789"));
    CHECK(buf_ok(&b));
    buf_putc(&b, 'x');
    CHECK(!buf_ok(&b));
    CHECK_STR(buf_str(&b), "0123456789", "a failed put changes nothing");
    buf_consume(&b, 5);
    buf_putc(&b, 'x');
    CHECK_STR(buf_str(&b), "56789", "until it's cleared");
    CHECK(!buf_reserve(&b, 1));
    buf_clear(&b);
    buf_printf(&b, "%s", "0123456789");
    CHECK_STR(buf_str(&b), "0123456789", "printf too fills it to the brim");
    CHECK(buf_ok(&b));
    buf_printf(&b, "x");
    CHECK(!buf_ok(&b));
}

TEST(consumed_room_is_used_again)
{
    AUTO(buf_done) struct buf b;
    buf_init(&b, 300);
    for (int i = 0; i < 10000; i++) {
        buf_printf(&b, "%08d", i);
        if (b.len > 200) {
            CHECK_EQ(strtoul((char[9]){ b.p[b.head], b.p[b.head + 1], b.p[b.head + 2],
                                        b.p[b.head + 3], b.p[b.head + 4], b.p[b.head + 5],
                                        b.p[b.head + 6], b.p[b.head + 7], 0 },
                             NULL, 10),
                     i - 25);
            buf_consume(&b, 8);
        }
    }
    CHECK(buf_ok(&b));
    CHECK(b.cap <= 300);
}

TEST(reserve_and_commit_fill_in_place)
{
    AUTO(buf_done) struct buf b;
    buf_init(&b, 4096);
    char *p = buf_reserve(&b, 1000);
    REQUIRE(p);
    memset(p, 'x', 1000);
    buf_commit(&b, 600);
    CHECK_EQ(b.len, 600);
    CHECK(buf_reserve(&b, 0));
    CHECK(!buf_reserve(&b, SIZE_MAX));
}

TEST(out_of_memory_fails_the_put)
{
    AUTO(buf_done) struct buf b;
    buf_init(&b, 4096);
    mem_fail_at(1);
    buf_putc(&b, 'x');
    CHECK(!buf_ok(&b));
    buf_clear(&b);
    mem_fail_at(0);
    buf_putc(&b, 'x');
    CHECK_STR(buf_str(&b), "x");
    mem_fail_at(1);
    buf_printf(&b, "%1000d", 1);
    CHECK_STR(buf_str(&b), "x", "what was there is still there");
}
