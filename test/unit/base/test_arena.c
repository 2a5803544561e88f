#include "base/arena.h"

#include "test/testing.h"

TEST(allocations_are_aligned_and_apart)
{
    struct arena a;
    arena_init(&a, MIB(1));
    char *last = NULL;
    for (size_t size = 0; size < 300; size++) {
        char *p = arena_alloc(&a, size);
        REQUIRE(p, "%zu", size);
        CHECK_EQ((uintptr_t)p % 16, 0);
        CHECK(p != last);
        memset(p, (int)size, size);
        last = p;
    }
    char *z = arena_zalloc(&a, 100);
    REQUIRE(z);
    for (size_t i = 0; i < 100; i++)
        CHECK_EQ(z[i], 0);
    arena_done(&a);
    CHECK_EQ(a.used, 0);
}

TEST(limit_is_kept_exactly)
{
    struct arena a;
    arena_init(&a, KIB(10));
    CHECK(!arena_alloc(&a, KIB(10) + 1));
    CHECK(arena_alloc(&a, KIB(10)), "all of it at once");
    CHECK(!arena_alloc(&a, 1));
    arena_done(&a);

    size_t n = 0;
    while (arena_alloc(&a, 16))
        n++;
    CHECK_EQ(n, KIB(10) / 16, "the last chunk is cut to what is left");
    CHECK_EQ(a.used, KIB(10));
    CHECK(!arena_alloc(&a, SIZE_MAX));
    CHECK(!arena_alloc(&a, SIZE_MAX - 15));
    arena_done(&a);
}

TEST(reset_keeps_one_small_chunk)
{
    struct arena a;
    arena_init(&a, MIB(1));
    arena_reset(&a);
    char *first = arena_alloc(&a, 10);
    arena_reset(&a);
    mem_fail_at(1);
    CHECK(arena_alloc(&a, 10) == first, "without the heap");
    mem_fail_at(0);
    REQUIRE(arena_alloc(&a, KIB(100)));
    arena_reset(&a);
    CHECK_EQ(a.used, 0, "a big one isn't kept");
    arena_done(&a);
}

TEST(text_is_copied_with_a_nul)
{
    struct arena a;
    arena_init(&a, MIB(1));
    str d = arena_dup(&a, S("hello"));
    CHECK_STR(d, "hello");
    CHECK_EQ(d.p[d.n], 0);
    CHECK_STR(arena_dup(&a, (str){ 0 }), "");
    CHECK_TEXT(arena_cstr(&a, S("x")), "x");
    CHECK_STR(arena_printf(&a, "%d-%s", 42, "y"), "42-y");
    str parts[] = { S("a"), { 0 }, S("bc") };
    CHECK_STR(arena_join(&a, parts, COUNT(parts)), "abc");
    CHECK_STR(arena_join(&a, NULL, 0), "");
    arena_done(&a);
}

TEST(out_of_memory_gives_null_and_leaves_it_usable)
{
    struct arena a;
    arena_init(&a, MIB(1));
    mem_fail_at(1);
    CHECK(!arena_dup(&a, S("x")).p);
    mem_fail_at(1);
    CHECK(!arena_printf(&a, "%5000d", 1).p);
    mem_fail_at(1);
    CHECK(!arena_join(&a, (str[]){ S("x") }, 1).p);
    mem_fail_at(1);
    CHECK(!arena_zalloc(&a, 1));
    mem_fail_at(0);
    CHECK_STR(arena_dup(&a, S("x")), "x");
    arena_done(&a);
}
