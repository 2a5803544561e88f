#include "base/map.h"

#include "base/id.h"
#include "test/testing.h"

static str key_of(int i, char text[16])
{
    return str_of(text, (size_t)snprintf(text, 16, "k%d", i));
}

TEST(put_get_replace_remove)
{
    struct map m;
    map_init(&m, 100);
    int a, b;
    void *old = &a;
    CHECK(!map_get(&m, S("x")));
    CHECK(!map_remove(&m, S("x")));
    CHECK_OK(map_put(&m, S("x"), &a, &old));
    CHECK(!old);
    CHECK_OK(map_put(&m, S("x"), &b, &old));
    CHECK(old == &a);
    CHECK(map_get(&m, S("x")) == &b);
    CHECK_EQ(map_count(&m), 1);
    CHECK_OK(map_put(&m, S(""), NULL, NULL));
    CHECK(map_has(&m, S("")), "an empty key, an empty value");
    CHECK(!map_get(&m, S("")));
    CHECK(map_remove(&m, S("x")) == &b);
    CHECK(!map_has(&m, S("x")));
    CHECK_EQ(map_count(&m), 1);
    map_done(&m);
}

TEST(it_agrees_with_a_plain_table_over_many_steps)
{
    enum { KEYS = 300 };
    struct map m;
    map_init(&m, KEYS);
    intptr_t want[KEYS] = { 0 };
    size_t n = 0;
    for (int step = 1; step < 60000; step++) {
        char text[16];
        int i = (int)(id_random() % KEYS);
        str key = key_of(i, text);
        if (id_random() % 2) {
            n += !want[i];
            want[i] = step;
            CHECK_OK(map_put(&m, key, (void *)(intptr_t)step, NULL));
        } else {
            CHECK_EQ((intptr_t)map_remove(&m, key), want[i]);
            n -= want[i] != 0;
            want[i] = 0;
        }
        if (!CHECK_EQ(map_count(&m), n))
            break;
    }
    for (int i = 0; i < KEYS; i++) {
        char text[16];
        CHECK_EQ((intptr_t)map_get(&m, key_of(i, text)), want[i]);
    }
    CHECK(m.n_slots <= 2048, "%zu slots for %zu: removed ones are swept", m.n_slots, n);
    map_done(&m);
}

TEST(walk_follows_insertion_and_bears_removal)
{
    struct map m;
    map_init(&m, 100);
    char text[16];
    for (intptr_t i = 0; i < 100; i++)
        CHECK_OK(map_put(&m, key_of((int)i, text), (void *)i, NULL));
    for (int i = 0; i < 100; i += 3)
        CHECK_EQ((intptr_t)map_remove(&m, key_of(i, text)), i);
    size_t at = 0;
    intptr_t last = -1, n = 0;
    for (struct map_entry *e; (e = map_next(&m, &at)); n++) {
        CHECK((intptr_t)e->value > last);
        last = (intptr_t)e->value;
        if (last % 2)
            CHECK(map_remove(&m, e->key) == (void *)last, "the current one may go");
    }
    CHECK_EQ(n, 66);
    CHECK_EQ(map_count(&m), 33);
    map_done(&m);
}

TEST(maximum_is_kept)
{
    struct map m;
    map_init(&m, 2);
    CHECK_OK(map_put(&m, S("a"), NULL, NULL));
    CHECK_OK(map_put(&m, S("b"), NULL, NULL));
    CHECK_EQ(map_put(&m, S("c"), NULL, NULL), -EXHAUSTED);
    CHECK_OK(map_put(&m, S("a"), NULL, NULL), "replacing is fine");
    (void)map_remove(&m, S("b"));
    CHECK_OK(map_put(&m, S("c"), NULL, NULL));
    map_done(&m);
}

TEST(each_failing_allocation_leaves_it_whole)
{
    FAIL_EACH_ALLOC(n)
    {
        struct map m;
        map_init(&m, 100);
        char text[16];
        size_t put = 0;
        for (int i = 0; i < 40; i++)
            put += map_put(&m, key_of(i, text), &m, NULL) == 0;
        CHECK_EQ(put, test_alloc_failed(n) ? 39 : 40);
        CHECK_EQ(map_count(&m), put);
        size_t found = 0;
        for (int i = 0; i < 40; i++)
            found += map_get(&m, key_of(i, text)) == &m;
        CHECK_EQ(found, put);
        map_done(&m);
    }
}

TEST(adding_and_removing_in_turn_does_not_rehash_each_time)
{
    struct map m;
    map_init(&m, 100000);
    char text[16];
    for (int i = 0; i < 32767; i++) /* as many as half of a power of two: the worst number */
        CHECK_OK(map_put(&m, key_of(i, text), &m, NULL));
    mem_fail_at(UINT64_MAX); /* counts only */
    for (int i = 0; i < 1000; i++) {
        CHECK(map_remove(&m, key_of(i, text)) == &m);
        CHECK_OK(map_put(&m, key_of(i, text), &m, NULL));
    }
    CHECK(mem_count() <= 1000 + 4, "%ju allocations", (uintmax_t)mem_count());
    map_done(&m);
}
